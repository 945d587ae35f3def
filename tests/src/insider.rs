//! A member that does with its keys what it likes: the attacks of the tests are made with it.

use std::collections::BTreeMap;

use dmls_core::codec::{decode, encode};
use dmls_core::epoch::{
    CommitError, CommitRequest, CreatedCommit, DefaultPolicy, Epoch, InitSource, NoPsks, Opened,
    PublicCommit, Sending,
};
use dmls_core::framing::{
    AuthenticatedContent, Commit, Content, DmlsMessage, DmlsMeta, FramedContent, MlsMessage, Padding,
    PrivateMessage, Proposal, ProposalOrRef, Sender, SenderData, WireFormat,
};
use dmls_core::group::{GroupId, Key, MemoryStore, Store, Table, Value};
use dmls_core::schedule::{
    ChildInput, EpochId, GroupContext, InitPprf, RatchetType, Windows, child_init_input,
};
use dmls_core::suite::{Secret, SignaturePrivateKey};
use dmls_core::tree::{LeafIndex, RatchetTree, StoredSubtree, SubtreeCache};
use rand_chacha::ChaCha20Rng;

/// Every record of a store, encoded as a host would.
pub fn stored_records(store: &MemoryStore) -> BTreeMap<Key, Vec<u8>> {
    let encode = |value: &Value| {
        bincode::serde::encode_to_vec(value, bincode::config::standard()).expect("a record can be encoded")
    };
    store.records().map(|(key, value)| (key.clone(), encode(value))).collect()
}

/// All bytes of a store, places included.
pub fn stored_bytes(store: &MemoryStore) -> Vec<u8> {
    stored_records(store).into_iter().flat_map(|(key, value)| [key.bytes, value].concat()).collect()
}

/// Whether `needle` occurs in `bytes`.
pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// One epoch of one member, read out of its store.
#[derive(Clone)]
pub struct Insider {
    /// The epoch's name.
    pub id: EpochId,
    /// Its keys.
    pub epoch: Epoch,
    /// Its puncturable PRF.
    pub init: InitPprf,
}

impl Insider {
    /// Reads an epoch out of a store, with nothing but the records' own types.
    pub fn read(store: &MemoryStore, group: &GroupId, id: &EpochId) -> Option<Self> {
        let get = |key: Key| store.get(&key).expect("memory");
        let named = |table, name: &[u8]| get(Key::named(table, group, name));
        let Some(Value::Epoch(record)) = get(Key::epoch(Table::Epochs, group, id)) else { return None };
        let Some(Value::Init(init)) = get(Key::epoch(Table::Inits, group, id)) else { return None };
        let mut fetch = |hash: &[u8]| -> Option<StoredSubtree> {
            match named(Table::Subtrees, hash) {
                Some(Value::Subtree(subtree)) => Some(subtree),
                _ => None,
            }
        };
        let suite = record.suite().expect("a known suite");
        let mut cache = SubtreeCache::default();
        let tree = RatchetTree::load(suite, record.tree_hash(), record.width(), &mut fetch, &mut cache);
        let private_key =
            |public: &dmls_core::suite::HpkePublicKey| match named(Table::NodeKeys, public.as_slice()) {
                Some(Value::NodeKey(key)) => Some(key),
                _ => None,
            };
        let prefix = Key::epoch(Table::Ratchets, group, id);
        let ratchets = store.scan(&prefix).expect("memory").into_iter().map(|(key, value)| {
            let leaf = key.bytes[prefix.bytes.len()..].try_into().expect("a leaf");
            match value {
                Value::Ratchets(ratchets) => (LeafIndex(u32::from_be_bytes(leaf)), ratchets),
                _ => panic!("a record of another table"),
            }
        });
        let ratchets: Vec<_> = ratchets.collect();
        let epoch = Epoch::from_record(record, tree.expect("a whole tree"), &private_key, ratchets);
        Some(Self { id: id.clone(), epoch: epoch.expect("a whole epoch"), init })
    }

    /// Signs a content as this member.
    pub fn sign(&self, content: Content) -> AuthenticatedContent {
        self.sign_as(self.epoch.own_leaf(), self.epoch.signature_private(), content)
    }

    /// Signs a content as any member, with any key.
    pub fn sign_as(
        &self,
        leaf: LeafIndex,
        key: &SignaturePrivateKey,
        content: Content,
    ) -> AuthenticatedContent {
        let context = self.epoch.context();
        let content = FramedContent {
            group_id: context.group_id.clone(),
            epoch: context.epoch,
            sender: Sender::Member(leaf),
            authenticated_data: Default::default(),
            content,
        };
        AuthenticatedContent::sign(self.epoch.suite(), WireFormat::PrivateMessage, content, context, key)
            .expect("a signature")
    }

    /// Encrypts a signed content, its own or another member's, under the key of that member's generation.
    pub fn encrypt(&self, content: &AuthenticatedContent, generation: u32, rng: &mut ChaCha20Rng) -> Vec<u8> {
        self.encrypt_as(content, generation, generation, rng)
    }

    /// The same, with another generation in the header than that of the key.
    pub fn encrypt_as(
        &self,
        content: &AuthenticatedContent,
        key_generation: u32,
        generation: u32,
        rng: &mut ChaCha20Rng,
    ) -> Vec<u8> {
        let leaf = content.member().expect("a member's message");
        let ratchet = match content.content.content {
            Content::Application(_) => RatchetType::Application,
            _ => RatchetType::Handshake,
        };
        let windows = Windows { forward: u32::MAX, back: u32::MAX };
        let keys = self.epoch.secret_tree().peek(leaf, ratchet, key_generation, windows).expect("a key");
        let sender = SenderData::new(leaf, generation, rng);
        let secret = &self.epoch.secrets().sender_data_secret;
        let message =
            PrivateMessage::encrypt(self.epoch.suite(), content, &sender, &keys, secret, Padding::None);
        self.wrap(message.expect("a message").into())
    }

    /// Puts the epoch id on a message.
    pub fn wrap(&self, message: MlsMessage) -> Vec<u8> {
        encode(&DmlsMessage { message, dmls_epoch: self.id.0.clone() }).expect("bytes")
    }

    /// Signs and encrypts.
    pub fn send(&self, content: Content, generation: u32, rng: &mut ChaCha20Rng) -> Vec<u8> {
        self.encrypt(&self.sign(content), generation, rng)
    }

    /// A good commit.
    pub fn commit(&self, proposals: Vec<Proposal>, rng: &mut ChaCha20Rng) -> CreatedCommit {
        self.commit_saying(proposals, DmlsMeta::default(), rng)
    }

    /// A commit that says what it likes of the history.
    pub fn commit_saying(
        &self,
        proposals: Vec<Proposal>,
        meta: DmlsMeta,
        rng: &mut ChaCha20Rng,
    ) -> CreatedCommit {
        let init = self.init.clone();
        let mut evaluate = |conf: &Secret, context: &GroupContext| {
            init.evaluate(&child_init_input(self.epoch.suite(), conf, context)?)
        };
        let mut request = CommitRequest::new(&NoPsks, &DefaultPolicy);
        request.proposals = proposals;
        request.meta = Some(meta);
        request.sending = Sending::default();
        self.epoch.create_commit(&request, InitSource::Dmls(&mut evaluate), rng).expect("a commit")
    }

    /// A commit, changed and signed again; its tag stays that of the good one.
    pub fn forge(
        &self,
        good: &CreatedCommit,
        change: impl FnOnce(&mut Commit),
        generation: u32,
        rng: &mut ChaCha20Rng,
    ) -> Vec<u8> {
        let Content::Commit(mut commit) = good.content.content.content.clone() else { panic!("a commit") };
        change(&mut commit);
        let mut signed = self.sign(Content::Commit(commit));
        signed.auth.confirmation_tag = good.content.auth.confirmation_tag.clone();
        self.encrypt(&signed, generation, rng)
    }

    /// Opens a message of this epoch.
    pub fn open(&self, bytes: &[u8]) -> Option<Opened> {
        let message: DmlsMessage = decode(bytes).ok()?;
        (message.dmls_epoch == self.id.0)
            .then(|| self.epoch.open(&message.message, Windows::default()).ok())
            .flatten()
    }

    /// Opens and judges a commit on this epoch.
    pub fn stage(&self, bytes: &[u8]) -> Option<PublicCommit> {
        let opened = self.open(bytes).filter(|o| matches!(o.content.content.content, Content::Commit(_)))?;
        Some(self.epoch.stage_commit(&opened.content, &DefaultPolicy).expect("a valid commit"))
    }

    /// The input of a commit's init secret, from the confirmation that every member of the epoch can read.
    pub fn child_input(&self, commit: &PublicCommit) -> ChildInput {
        let conf = commit.meta().and_then(|meta| meta.conf.clone()).expect("a DMLS commit");
        child_init_input(self.epoch.suite(), &Secret::from(conf.as_slice()), commit.context())
            .expect("an input")
    }

    /// Processes a commit on what this epoch has stored.
    pub fn enter(&self, commit: &PublicCommit) -> Result<EpochId, CommitError> {
        let mut evaluate = |conf: &Secret, context: &GroupContext| {
            self.init.evaluate(&child_init_input(self.epoch.suite(), conf, context)?)
        };
        let entered = self.epoch.enter(commit, InitSource::Dmls(&mut evaluate), &NoPsks)?;
        Ok(entered.dmls.expect("a DMLS group").dmls_epoch)
    }
}

/// The `dmls_meta` of a commit, to be changed.
pub fn meta_of(commit: &mut Commit) -> &mut DmlsMeta {
    let meta = commit.proposals.iter_mut().find_map(|proposal| match proposal {
        ProposalOrRef::Proposal(Proposal::DmlsMeta(meta)) => Some(meta),
        _ => None,
    });
    meta.expect("a DMLS commit")
}
