//! The identity of a client: its key packages, and how it comes into groups.

use std::sync::Arc;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::act::{ActionError, read_key_package};
use super::ask::{Request, joined_by, open_welcome};
use super::load::LoadError;
use super::options::GroupOptions;
use super::records::Value;
use super::state::State;
use super::step::{Event, Step};
use super::store::{Changes, GroupId, Key, Store, StoreError, Table};
use super::transaction::Transaction;
use super::{Group, Keys};
use crate::codec::{Bytes, CodecError};
use crate::epoch::{CommitError, Epoch, WelcomeError};
use crate::framing::{
    DmlsError, DmlsProfile, DmlsRejoin, KeyPackageBuilder, KeyPackageBundle, MlsMessage, MlsMessageBody,
    ProfileError, Welcome,
};
use crate::history::{History, HistoryEpoch, LeafSet};
use crate::schedule::DmlsSecrets;
use crate::suite::{CipherSuite, CryptoError, SignaturePrivateKey, Suite};
use crate::tree::{
    Capabilities, CertificateParts, Credential, CredentialError, CredentialType, ExtensionType, Extensions,
    LeafTemplate, Lifetime, ProposalType, ProtocolVersion, RequiredCapabilities,
};

/// Why a client could not be made, or a group not begun.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientError {
    /// The name is empty, too long or no text.
    #[error("A name is 1 to 64 bytes of UTF-8.")]
    BadIdentity,
    /// The credential is not one of the signature key.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The founder is not among the admins that the profile lists: nobody could change the group.
    #[error("Whoever begins a group with admins has to be one of them.")]
    NoAdmin,
    /// A cryptographic operation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The group could not be made.
    #[error(transparent)]
    Create(#[from] CommitError),
    /// The profile is not valid.
    #[error(transparent)]
    Profile(#[from] DmlsError),
    /// This device wants to keep more than the group is to allow.
    #[error(transparent)]
    Bounds(#[from] ProfileError),
    /// Something could not be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Why a group could not be joined. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JoinError {
    /// The bytes are no Welcome.
    #[error("The message is not a Welcome.")]
    NotAWelcome,
    /// The bytes cannot be decoded.
    #[error("The Welcome cannot be read: {0}")]
    Codec(#[from] CodecError),
    /// No key package that the Welcome was made for is there: it was used before, or is somebody else's.
    #[error(
        "The Welcome is for a key package that was used already or is not of this client; ask to be invited again."
    )]
    NoKeyPackage,
    /// The client is in the group.
    #[error("This client is in the group already.")]
    AlreadyMember,
    /// The client has fallen out of the group, and whoever welcomes it was no member then: it may be a stranger who has a
    /// group of that name.
    #[error("The Welcome is signed by somebody who was no member of the group that this client knows.")]
    UnknownSigner,
    /// The Welcome is not valid.
    #[error("The Welcome is not valid: {0}")]
    Welcome(#[from] WelcomeError),
    /// This device wants to keep more than the group allows.
    #[error(transparent)]
    Bounds(#[from] ProfileError),
    /// The group is plain MLS.
    #[error("The group has no DMLS profile.")]
    NotDmls,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored of the group is damaged, so it cannot be told whether it may be replaced.
    #[error("What is stored of the group cannot be loaded: {0}")]
    Load(#[from] LoadError),
}

/// The stored identity.
#[derive(Clone, Serialize, Deserialize)]
pub struct ClientRecord {
    suite: CipherSuite,
    credential: Credential,
    signature_private: SignaturePrivateKey,
    fingerprint: [u8; 32],
}

/// A client: a credential and its signature key.
#[derive(Clone)]
pub struct Client {
    record: ClientRecord,
    suite: Suite,
}

/// A key package that has just been made.
pub struct NewKeyPackage {
    /// Its reference.
    pub reference: Bytes,
    /// An `MLSMessage` with it: this is what others are given.
    pub bytes: Vec<u8>,
    /// What to store before that.
    pub changes: Changes,
}

/// What a key package says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPackageInfo {
    /// Its reference.
    pub reference: Bytes,
    /// Who made it.
    pub credential: Credential,
    /// SHA-256 of the maker's signature public key.
    pub fingerprint: [u8; 32],
    /// Its suite.
    pub suite: CipherSuite,
}

/// Reads a key package (an `MLSMessage`) without judging it.
///
/// # Errors
/// [`ActionError`] if it cannot be read.
pub fn inspect_key_package(bytes: &[u8]) -> Result<KeyPackageInfo, ActionError> {
    let key_package = read_key_package(bytes)?;
    let suite = key_package.cipher_suite.suite()?;
    Ok(KeyPackageInfo {
        reference: key_package.reference(suite)?,
        fingerprint: Sha256::digest(key_package.leaf_node.signature_key.as_slice()).into(),
        credential: key_package.leaf_node.credential,
        suite: key_package.cipher_suite,
    })
}

/// What every member of a DMLS group can do.
fn capabilities() -> Capabilities {
    Capabilities {
        versions: vec![ProtocolVersion::MLS10],
        cipher_suites: CipherSuite::supported().collect(),
        extensions: vec![ExtensionType::DMLS_PROFILE, ExtensionType::DMLS_REJOIN],
        proposals: vec![ProposalType::DMLS_META],
        credentials: vec![CredentialType::BASIC, CredentialType::X509],
    }
}

impl Client {
    /// Makes a self-certifying identity with a new key. `name` is what it is called: 1 to 64 bytes of UTF-8. Others may
    /// have the same.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(
        suite: CipherSuite,
        name: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Changes), ClientError> {
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
        let (signature_private, public) = suite.suite()?.signature().generate(rng);
        let credential = name.and_then(|name| Credential::self_certifying(&public, name));
        Self::with_credential(suite, credential.ok_or(ClientError::BadIdentity)?, signature_private)
    }

    /// An identity that somebody else certifies, with the private key that belongs to it.
    ///
    /// # Errors
    /// [`ClientError::Credential`] if the credential says itself that it is not one of the key; [`ClientError::Crypto`].
    pub fn with_credential(
        suite: CipherSuite,
        credential: Credential,
        signature_private: SignaturePrivateKey,
    ) -> Result<(Self, Changes), ClientError> {
        let public = suite.suite()?.signature().public_key(&signature_private)?;
        credential.check_key(&public)?;
        let fingerprint = Sha256::digest(public.as_slice()).into();
        let record = ClientRecord { suite, credential, signature_private, fingerprint };
        let mut changes = Changes::default();
        changes.put(Key::client(), Value::Client(record.clone()));
        Ok((Self { record, suite: suite.suite()? }, changes))
    }

    /// The stored identity, if there is one.
    ///
    /// # Errors
    /// [`StoreError`], also if this build does not have its suite.
    pub fn load(store: &dyn Store) -> Result<Option<Self>, StoreError> {
        let damaged = |reason: String| StoreError::Damaged { table: Table::Client.name(), reason };
        match store.get(&Key::client())? {
            None => Ok(None),
            Some(Value::Client(record)) => {
                let suite = record.suite.suite().map_err(|error| damaged(error.to_string()))?;
                Ok(Some(Self { record, suite }))
            }
            Some(_) => Err(damaged("the record is of another table".into())),
        }
    }

    /// The name, as it was given: not fit to be shown ([`Credential::display_name`] is). Empty if there is none.
    pub fn identity(&self) -> &[u8] {
        match &self.record.credential {
            Credential::Basic { identity } => match self.record.credential.self_certified() {
                Ok(Some(parts)) => parts.name.as_bytes(),
                Ok(None) | Err(_) => identity.as_slice(),
            },
            Credential::X509 { certificates } => {
                let parts =
                    certificates.first().and_then(|first| CertificateParts::of(first.as_slice()).ok());
                parts.and_then(|parts| parts.name()).unwrap_or_default()
            }
        }
    }

    /// The credential, by which admins are listed.
    pub fn credential(&self) -> &Credential {
        &self.record.credential
    }

    /// SHA-256 of the signature public key: what people compare.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.record.fingerprint
    }

    /// The suite.
    pub fn suite(&self) -> CipherSuite {
        self.record.suite
    }

    fn template(&self) -> LeafTemplate {
        LeafTemplate {
            credential: self.record.credential.clone(),
            capabilities: capabilities(),
            extensions: Extensions::default(),
        }
    }

    fn bundle(
        &self,
        options: &GroupOptions,
        now_ms: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<KeyPackageBundle, ClientError> {
        let now = now_ms / 1000;
        // Clocks differ: an hour back is given away.
        let lifetime = Lifetime {
            not_before: now.saturating_sub(3600),
            not_after: now.saturating_add(options.key_package_lifetime_s),
        };
        let builder =
            KeyPackageBuilder::new(self.suite, self.template(), self.record.signature_private.clone());
        Ok(builder.lifetime(lifetime).build(rng)?)
    }

    /// Makes a key package, to be used once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn key_package(
        &self,
        options: &GroupOptions,
        now_ms: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<NewKeyPackage, ClientError> {
        self.publish(self.bundle(options, now_ms, rng)?)
    }

    fn publish(&self, bundle: KeyPackageBundle) -> Result<NewKeyPackage, ClientError> {
        let reference = bundle.key_package.reference(self.suite)?;
        let message = MlsMessage::from(bundle.key_package.clone());
        let mut changes = Changes::default();
        changes.put(Key::key_package(&reference), Value::KeyPackage(bundle));
        Ok(NewKeyPackage { reference, bytes: message.to_bytes()?, changes })
    }

    /// Begins a group with this client as its only member.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn create_group(
        &self,
        id: GroupId,
        profile: &DmlsProfile,
        options: &GroupOptions,
        now_ms: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step, ClientError> {
        if !profile.admins.is_empty() && !profile.admins.contains(&self.record.credential) {
            return Err(ClientError::NoAdmin);
        }
        options.check_profile(profile)?;
        let required = RequiredCapabilities {
            extension_types: vec![ExtensionType::DMLS_PROFILE],
            proposal_types: vec![ProposalType::DMLS_META],
            credential_types: Vec::new(),
        };
        let extensions = Extensions(vec![required.to_extension()?, profile.to_extension()?]);
        let founder = self.bundle(options, now_ms, rng)?;
        let (epoch, dmls) = Epoch::found(self.suite, id.0.clone(), extensions, &founder, rng)?;
        let dmls = dmls.ok_or(CommitError::InitSource)?;
        let group = first_group(id, epoch, dmls, options, now_ms);
        Ok(begin(group, rng).finish(None)?)
    }

    /// Joins the group of a Welcome (an `MLSMessage`) that was made for a key package of this client. The key package
    /// is deleted by the same step. Where this client has fallen out of its group, or is on a branch that was merged into the
    /// epoch, what it had stored of the group goes.
    ///
    /// # Errors
    /// [`JoinError`].
    pub fn join(
        &self,
        store: &dyn Store,
        welcome: &[u8],
        options: &GroupOptions,
        now_ms: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step, JoinError> {
        let MlsMessageBody::Welcome(welcome) = MlsMessage::from_bytes(welcome)?.body else {
            return Err(JoinError::NotAWelcome);
        };
        let (key, bundle) = own_key_package(store, &welcome)?.ok_or(JoinError::NoKeyPackage)?;
        let joined = open_welcome(&bundle, &welcome, options)?;
        let id = GroupId(joined.epoch.context().group_id.clone());
        let old = Group::load(store, &id, options)?;
        if let Some(old) = &old {
            old.may_be_replaced(&joined)?;
        }
        let mut group = first_group(id, joined.epoch, joined.dmls, options, now_ms);
        let reference = bundle.key_package.reference(self.suite).map_err(WelcomeError::from)?;
        group.state.joined_by = Some(Box::new(joined_by(reference, &welcome)));
        let mut transaction = match &old {
            Some(old) => {
                let mut transaction = Transaction::new(old, now_ms, rng);
                transaction.replace(group);
                transaction.retry_waiting();
                transaction
            }
            None => begin(group, rng),
        };
        transaction.changes.delete(key);
        Ok(transaction.finish(None)?)
    }

    /// Makes a request to rejoin a group without touching what is stored of it: for whoever must not send with that any
    /// more, as after a backup was restored. Any member of the group can use it ([`super::Input::KeyPackage`]).
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn rejoin_key_package(
        &self,
        id: &GroupId,
        options: &GroupOptions,
        now_ms: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<NewKeyPackage, ClientError> {
        let request = Request {
            suite: self.suite,
            template: self.template(),
            signature_private: &self.record.signature_private,
            request: DmlsRejoin { group_id: id.0.clone(), number: now_ms },
        };
        self.publish(request.build(options, now_ms, rng)?)
    }
}

/// The key package among the store's that the Welcome was made for.
fn own_key_package(
    store: &dyn Store,
    welcome: &Welcome,
) -> Result<Option<(Key, KeyPackageBundle)>, StoreError> {
    for secrets in &welcome.secrets {
        let key = Key::key_package(&secrets.new_member);
        match store.get(&key)? {
            Some(Value::KeyPackage(bundle)) => return Ok(Some((key, bundle))),
            Some(_) => {
                let reason = "the record is of another table".into();
                return Err(StoreError::Damaged { table: Table::KeyPackages.name(), reason });
            }
            None => {}
        }
    }
    Ok(None)
}

/// A group that knows one epoch.
pub(super) fn first_group(
    id: GroupId,
    epoch: Epoch,
    dmls: DmlsSecrets,
    options: &GroupOptions,
    now_ms: u64,
) -> Group {
    let anchor = dmls.dmls_epoch.clone();
    let electors: LeafSet = epoch.tree().leaves().map(|(leaf, _)| leaf).collect();
    let number = epoch.context().epoch;
    let record = HistoryEpoch::new(None, number, epoch.tree().width(), electors, LeafSet::default());
    let keys = Keys { epoch: Arc::new(epoch), init: Arc::new(dmls.parent_init) };
    Group {
        suite: keys.epoch.suite(),
        id,
        options: Arc::new(options.clone()),
        history: History::new(anchor.clone(), record),
        state: State::new(anchor.clone(), number, now_ms),
        keys: [(anchor, keys)].into(),
        log: rpds::RedBlackTreeMap::new_sync(),
        log_marks: std::iter::empty().collect(),
        sizes: Default::default(),
        waiting: Default::default(),
        gone: rpds::RedBlackTreeMap::new_sync(),
        proofs: rpds::RedBlackTreeMap::new_sync(),
        offers: rpds::RedBlackTreeMap::new_sync(),
        requests: Default::default(),
        welcomes: Default::default(),
        healing: Default::default(),
    }
}

/// The first step of a group.
fn begin(group: Group, rng: &mut dyn CryptoRng) -> Transaction<'_> {
    let epoch = group.history.anchor().clone();
    let mut transaction = Transaction::first(group, rng);
    transaction.event(Event::Joined { epoch });
    transaction
}
