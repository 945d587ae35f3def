//! Joining (RFC 9420 12.4.3.1): a Welcome is opened, everything in it verified, and the epoch derived.

use thiserror::Error;

use super::commit::{CommitError, CommitPolicy};
use super::enter::{CommitSecrets, Member, PskStore, derive_child, find_psks};
use super::proposals::{ProposalListError, check_context_extensions};
use super::state::{Epoch, PublicState};
use crate::codec::{Bytes, CodecError, decode};
use crate::framing::{
    DmlsEpochInfo, DmlsError, DmlsProfile, FramingError, GroupInfo, GroupSecrets, KeyPackageBundle, Welcome,
};
use crate::schedule::{
    DmlsSecrets, PreSharedKeyId, PskType, ResumptionPskUsage, interim_transcript_hash, psk_secret,
    welcome_keys, welcome_secret,
};
use crate::suite::{CryptoError, Secret, Suite};
use crate::tree::{
    ExtensionType, LeafIndex, NodesError, ParentNode, PrivateKeys, ProtocolVersion, RatchetTree, TreeError,
};

/// Why a Welcome or a GroupInfo does not lead into a group: a variant for each rule of RFC 9420 12.4.3.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WelcomeError {
    /// The Welcome is not for this key package.
    #[error("The Welcome has no secrets for this key package.")]
    NotForUs,
    /// The cipher suite of Welcome, key package and group are not the same.
    #[error("The Welcome is for another cipher suite than the key package.")]
    CipherSuite,
    /// The group has another version of MLS than the key package.
    #[error("The group has another protocol version than the key package.")]
    Version,
    /// The group secrets do not open.
    #[error("The group secrets cannot be decrypted with the key package's init key.")]
    GroupSecrets,
    /// The GroupInfo does not open: a wrong joiner secret or PSK.
    #[error("The GroupInfo cannot be decrypted.")]
    GroupInfo,
    /// A PSK is not known.
    #[error("The PSK {0:?} is not known.")]
    UnknownPsk(Box<PreSharedKeyId>),
    /// A PSK nonce has not Nh bytes.
    #[error("The nonce of a PSK has not Nh bytes.")]
    PskNonce,
    /// The same PSK occurs twice.
    #[error("The Welcome names the same PSK twice.")]
    DuplicatePsk,
    /// More than one PSK is for re-initialising or branching.
    #[error("The Welcome has more than one PSK for re-initialising or branching.")]
    ResumptionPsks,
    /// 11.2, 11.3: the first epoch of a group that follows another is number 1.
    #[error("A group that follows another is joined in epoch 1, not in epoch {0}.")]
    ResumptionEpoch(u64),
    /// There is no ratchet tree, neither in the GroupInfo nor beside it.
    #[error("There is no ratchet tree.")]
    MissingTree,
    /// The ratchet tree is malformed.
    #[error(transparent)]
    Nodes(#[from] NodesError),
    /// The ratchet tree is not the one of the GroupContext.
    #[error("The ratchet tree has another hash than the GroupContext says.")]
    TreeHash,
    /// The ratchet tree is not valid.
    #[error("The ratchet tree is not valid: {0}")]
    Tree(#[from] TreeError),
    /// The signer of the GroupInfo has no leaf.
    #[error("Leaf {0}, who signed the GroupInfo, is blank.")]
    Signer(LeafIndex),
    /// The signature of the GroupInfo is invalid.
    #[error("The signature of the GroupInfo is invalid.")]
    Signature,
    /// The GroupInfo has an extension twice.
    #[error("The GroupInfo has two extensions of type {:#06x}.", .0.0)]
    DuplicateExtension(ExtensionType),
    /// The GroupContext's extensions are not valid.
    #[error("The extensions of the group are not valid: {0}")]
    Extensions(#[from] ProposalListError),
    /// The own leaf is not in the tree.
    #[error("The own leaf is not in the ratchet tree.")]
    NoOwnLeaf,
    /// The own private key does not belong to the own leaf.
    #[error("A private key of the key package does not belong to its public key.")]
    PrivateKey,
    /// The path secret is missing or does not yield the keys of the tree.
    #[error("The path secret is not valid: {0}")]
    PathSecret(TreeError),
    /// The confirmation tag is wrong.
    #[error("The confirmation tag is wrong.")]
    ConfirmationTag,
    /// The application refuses a member's credential.
    #[error("The credential of member {0} is refused.")]
    MemberRefused(LeafIndex),
    /// DESIGN 4.3: the GroupInfo of a DMLS group has a `dmls_epoch`.
    #[error("The GroupInfo of a DMLS group has no dmls_epoch extension.")]
    MissingEpochInfo,
    /// DESIGN 4.3: the `dmls_epoch` is not the derived one.
    #[error("The epoch id in the GroupInfo is not the derived one.")]
    EpochId,
    /// DESIGN 4.3: last-resort key packages are not accepted by a DMLS group.
    #[error("A DMLS group is not joined with a key package of last resort.")]
    LastResort,
    /// There is no external key in the GroupInfo, so nobody can join by it.
    #[error("The GroupInfo has no external_pub extension.")]
    NoExternalPub,
    /// DESIGN 4.3: no external commits.
    #[error("A DMLS group is not joined by external commits.")]
    ExternalInDmls,
    /// Something of the profile is not valid.
    #[error(transparent)]
    Dmls(#[from] DmlsError),
    /// The external commit cannot be protected.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The key schedule or the external commit failed.
    #[error(transparent)]
    Commit(CommitError),
    /// A cryptographic operation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// Something is malformed.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl From<CommitError> for WelcomeError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::ConfirmationTag => Self::ConfirmationTag,
            CommitError::UnknownPsk(psk) => Self::UnknownPsk(psk),
            other => Self::Commit(other),
        }
    }
}

/// A group that has been joined. The key package's init key is to be deleted.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The epoch.
    pub epoch: Epoch,
    /// DMLS: the epoch's init PPRF and id.
    pub dmls: Option<DmlsSecrets>,
    /// DMLS: what the sender said of the history; its epoch id is verified.
    pub info: Option<DmlsEpochInfo>,
    /// Who sent the Welcome.
    pub sender: LeafIndex,
    /// The PSKs that were mixed in; among them the one that names the group before, if there is one.
    pub psks: Vec<PreSharedKeyId>,
    /// The GroupInfo's extensions.
    pub group_info: GroupInfo,
}

/// What is joined with, and who has a say.
pub struct Join<'a> {
    /// The own key package.
    pub bundle: &'a KeyPackageBundle,
    /// The `ratchet_tree` extension's data, if it is not in the GroupInfo.
    pub ratchet_tree: Option<&'a [u8]>,
    /// Where PSKs come from.
    pub psks: &'a dyn PskStore,
    /// What the application has to say.
    pub policy: &'a dyn CommitPolicy,
}

impl std::fmt::Debug for Join<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join").field("key_package", &self.bundle.key_package).finish_non_exhaustive()
    }
}

impl Join<'_> {
    /// Joins by a Welcome (RFC 9420 12.4.3.1).
    ///
    /// # Errors
    /// [`WelcomeError`]: what is wrong with it.
    pub fn welcome(&self, welcome: &Welcome) -> Result<Joined, WelcomeError> {
        let suite = self.suite(welcome)?;
        let group_secrets = self.open_secrets(suite, welcome)?;
        check_psks(suite, &group_secrets.psks)?;
        let psks = find_psks(&group_secrets.psks, &|psk| self.psks.psk(psk))?;
        let secrets = CommitSecrets {
            joiner_secret: group_secrets.joiner_secret,
            psk_secret: psk_secret(suite, &psks).map_err(CommitError::from)?,
        };
        let group_info = open_group_info(suite, &secrets, welcome.encrypted_group_info.as_slice())?;
        check_resumption(&group_secrets.psks, &group_info)?;
        let public = verify_group_info(suite, &group_info, self.ratchet_tree, self.policy)?;
        let own_leaf = self.find_own_leaf(&public)?;

        let leaf_key = self.bundle.key_package.leaf_node.encryption_key.clone();
        let mut keys = PrivateKeys::from_iter([(leaf_key, self.bundle.leaf_private.clone())]);
        if let Some(path_secret) = group_secrets.path_secret {
            let derived = public
                .tree
                .derive_from_path_secret(own_leaf, group_info.signer, path_secret.path_secret)
                .map_err(WelcomeError::PathSecret)?;
            keys.extend(derived.private_keys);
        }
        check_path_keys(&public.tree, own_leaf, &keys)?;
        let info = DmlsEpochInfo::from_extensions(&group_info.extensions)?;
        if public.is_dmls() && info.is_none() {
            return Err(WelcomeError::MissingEpochInfo);
        }
        let signature_private = self.bundle.signature_private.clone();
        let member = Member { own_leaf, keys, signature_private };
        let (epoch, dmls) = derive_child(public, Some(&group_info.confirmation_tag), &secrets, member)?;
        if let (Some(dmls), Some(info)) = (&dmls, &info)
            && dmls.dmls_epoch.0 != info.dmls_epoch
        {
            return Err(WelcomeError::EpochId);
        }
        let info = if epoch.is_dmls() { info } else { None };
        Ok(Joined { epoch, dmls, info, sender: group_info.signer, psks: group_secrets.psks, group_info })
    }

    fn suite(&self, welcome: &Welcome) -> Result<Suite, WelcomeError> {
        if welcome.cipher_suite != self.bundle.key_package.cipher_suite {
            return Err(WelcomeError::CipherSuite);
        }
        Ok(welcome.cipher_suite.suite()?)
    }

    fn open_secrets(&self, suite: Suite, welcome: &Welcome) -> Result<GroupSecrets, WelcomeError> {
        let reference = self.bundle.key_package.reference(suite)?;
        let ours = welcome.secrets.iter().find(|secrets| secrets.new_member == reference);
        let ours = ours.ok_or(WelcomeError::NotForUs)?;
        let info = welcome.encrypted_group_info.as_slice();
        let plaintext = suite
            .decrypt_with_label(&self.bundle.init_private, "Welcome", info, &ours.encrypted_group_secrets)
            .map_err(|_| WelcomeError::GroupSecrets)?;
        Ok(decode(plaintext.as_slice())?)
    }

    /// The own leaf, exactly as in the key package, and supported by it.
    fn find_own_leaf(&self, public: &PublicState) -> Result<LeafIndex, WelcomeError> {
        let key_package = &self.bundle.key_package;
        let own = public.tree.find_leaf(|leaf| *leaf == key_package.leaf_node);
        let own = own.ok_or(WelcomeError::NoOwnLeaf)?;
        if key_package.version != public.context.version {
            return Err(WelcomeError::Version);
        }
        if public.is_dmls() && key_package.is_last_resort() {
            return Err(WelcomeError::LastResort);
        }
        let hpke = public.suite.hpke();
        let leaf_key = hpke.public_key(&self.bundle.leaf_private)?;
        let signature_key = public.suite.signature().public_key(&self.bundle.signature_private)?;
        if leaf_key != key_package.leaf_node.encryption_key
            || signature_key != key_package.leaf_node.signature_key
        {
            return Err(WelcomeError::PrivateKey);
        }
        Ok(own)
    }
}

/// The joiner has the private key of each node above it at which it is not unmerged: those are on the committer's path
/// (RFC 9420 12.4.3.1). Without one it could join, and then open no path that is encrypted to that node.
fn check_path_keys(tree: &RatchetTree, own: LeafIndex, keys: &PrivateKeys) -> Result<(), WelcomeError> {
    let merged = |node: &ParentNode| node.unmerged_leaves.binary_search(&own).is_err();
    let above = own.direct_path(tree.width()).into_iter().filter_map(|node| tree.parent_node(node));
    if above.filter(|node| merged(node)).all(|node| keys.get(&node.encryption_key).is_some()) {
        Ok(())
    } else {
        Err(WelcomeError::PathSecret(TreeError::NoPrivateKey(own)))
    }
}

/// RFC 9420 8.4, 12.4.3.1.
fn check_psks(suite: Suite, psks: &[PreSharedKeyId]) -> Result<(), WelcomeError> {
    if psks.iter().any(|psk| psk.psk_nonce.len() != suite.nh()) {
        return Err(WelcomeError::PskNonce);
    }
    let mut seen = std::collections::BTreeSet::new();
    if !psks.iter().all(|psk| seen.insert(psk)) {
        return Err(WelcomeError::DuplicatePsk);
    }
    if psks.iter().filter(|psk| follows_a_group(psk)).count() > 1 {
        return Err(WelcomeError::ResumptionPsks);
    }
    Ok(())
}

/// Whether a PSK says that the group follows another one.
pub(super) fn follows_a_group(psk: &PreSharedKeyId) -> bool {
    matches!(
        psk.psktype,
        PskType::Resumption { usage: ResumptionPskUsage::Reinit | ResumptionPskUsage::Branch, .. }
    )
}

/// RFC 9420 11.2, 11.3.
fn check_resumption(psks: &[PreSharedKeyId], group_info: &GroupInfo) -> Result<(), WelcomeError> {
    let epoch = group_info.group_context.epoch;
    if psks.iter().any(follows_a_group) && epoch != 1 {
        return Err(WelcomeError::ResumptionEpoch(epoch));
    }
    Ok(())
}

fn open_group_info(
    suite: Suite,
    secrets: &CommitSecrets,
    ciphertext: &[u8],
) -> Result<GroupInfo, WelcomeError> {
    let welcome_secret: Secret = welcome_secret(suite, &secrets.joiner_secret, &secrets.psk_secret)?;
    let keys = welcome_keys(suite, &welcome_secret)?;
    let opened = suite.aead().open(&keys.key, keys.nonce.as_slice(), b"", ciphertext);
    Ok(decode(opened.map_err(|_| WelcomeError::GroupInfo)?.as_slice())?)
}

/// Everything of a GroupInfo that can be verified without the group's secrets (RFC 9420 12.4.3.1, 12.4.3.2).
pub(super) fn verify_group_info(
    suite: Suite,
    group_info: &GroupInfo,
    ratchet_tree: Option<&[u8]>,
    policy: &dyn CommitPolicy,
) -> Result<PublicState, WelcomeError> {
    let context = &group_info.group_context;
    if context.version != ProtocolVersion::MLS10 {
        return Err(WelcomeError::Version);
    }
    if context.cipher_suite != suite.id() {
        return Err(WelcomeError::CipherSuite);
    }
    if let Some(duplicate) = group_info.extensions.duplicate() {
        return Err(WelcomeError::DuplicateExtension(duplicate));
    }
    check_context_extensions(&context.extensions)?;
    let in_info = group_info.extensions.get(ExtensionType::RATCHET_TREE).map(Bytes::as_slice);
    let tree = in_info.or(ratchet_tree).ok_or(WelcomeError::MissingTree)?;
    let tree = RatchetTree::from_extension(suite, tree)?;
    let public = PublicState {
        suite,
        context: context.clone(),
        interim_transcript_hash: interim_transcript_hash(
            suite,
            &context.confirmed_transcript_hash,
            &group_info.confirmation_tag,
        )?,
        profile: DmlsProfile::from_extensions(&context.extensions)?,
        tree,
    };
    // The signature first: then at least a member vouches for all that is expensive to verify.
    let signer = public.tree.leaf(group_info.signer).ok_or(WelcomeError::Signer(group_info.signer))?;
    group_info
        .verify(suite, &signer.signature_key, public.strictness())
        .map_err(|_| WelcomeError::Signature)?;
    if public.tree.tree_hash()? != context.tree_hash {
        return Err(WelcomeError::TreeHash);
    }
    // Members' key packages may have run out since they joined: lifetimes bind who adds.
    public.tree.validate(&public.leaf_rules(None))?;
    let refused = public.tree.leaves().find(|(_, leaf)| !policy.accept_member(leaf));
    match refused {
        Some((leaf, _)) => Err(WelcomeError::MemberRefused(leaf)),
        None => Ok(public),
    }
}
