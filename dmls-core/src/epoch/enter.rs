//! The secret part of a commit (RFC 9420 12.4.2): path, key schedule, confirmation tag.

use super::commit::{CommitError, PublicCommit};
use super::proposals::Committer;
use super::state::{Epoch, Fixed, PublicState};
use crate::codec::Bytes;
use crate::schedule::{
    DerivedEpoch, DmlsKeyError, DmlsSecrets, GroupContext, PreSharedKeyId, PskType, SecretTree,
    commit_confirmation, external_init_receive, joiner_secret, psk_secret,
};
use crate::suite::{HpkePublicKey, Secret, SignaturePrivateKey};
use crate::tree::{DerivedPath, LeafIndex, PrivateKeys};

/// Where PSKs come from (RFC 9420 8.4).
pub trait PskStore {
    /// The PSK, if it is known.
    fn psk(&self, psk: &PskType) -> Option<Secret>;
}

/// No PSKs.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPsks;

impl PskStore for NoPsks {
    fn psk(&self, _: &PskType) -> Option<Secret> {
        None
    }
}

/// The child's init secret, from the commit's confirmation and the child's GroupContext (DESIGN 4.3).
pub type InitFn<'a> = dyn FnMut(&Secret, &GroupContext) -> Result<Secret, DmlsKeyError> + 'a;

/// Where the init secret of a child comes from.
pub enum InitSource<'a> {
    /// Plain MLS: from the epoch itself, or from an external init.
    Plain,
    /// DMLS: from the parent's init PPRF, which the caller holds.
    Dmls(&'a mut InitFn<'a>),
}

impl std::fmt::Debug for InitSource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Dmls(_) => "Dmls",
        })
    }
}

/// A child that has been entered.
#[derive(Debug, Clone)]
pub struct Entered {
    /// The child.
    pub epoch: Epoch,
    /// The commit's confirmation, derived: what the parent is to be punctured by. DMLS only.
    pub conf: Option<Secret>,
    /// The child's init PPRF and id. DMLS only; the epoch does not keep them.
    pub dmls: Option<DmlsSecrets>,
}

/// The secrets of a commit that an epoch is derived from. They live no longer than that takes.
pub(super) struct CommitSecrets {
    pub(super) joiner_secret: Secret,
    pub(super) psk_secret: Secret,
}

impl Epoch {
    /// Enters the child of a staged commit. Nothing changes, and nothing is lost, if that fails.
    ///
    /// # Errors
    /// [`CommitError`], among them [`CommitError::Removed`] and [`CommitError::OwnCommit`], which are no faults of the
    /// commit.
    pub fn enter(
        &self,
        commit: &PublicCommit,
        init: InitSource<'_>,
        psks: &dyn PskStore,
    ) -> Result<Entered, CommitError> {
        if commit.parent != self.public().interim_transcript_hash {
            return Err(CommitError::OtherParent);
        }
        if commit.self_removed {
            return Err(CommitError::Removed);
        }
        if commit.committer == Committer::Member(self.own_leaf()) {
            return Err(CommitError::OwnCommit);
        }
        let (mut keys, signature_private) = self.keys_after_updates(commit)?;
        let path = self.open_path(commit, &keys)?;
        let conf = self.check_confirmation(commit, path.as_ref())?;
        let init_secret = self.init_secret(commit, init, conf.as_ref())?;
        let zero = Secret::zero(self.suite().nh());
        let commit_secret = path.as_ref().map_or(&zero, |path| &path.commit_secret);
        let secrets = CommitSecrets {
            joiner_secret: joiner_secret(self.suite(), &init_secret, commit_secret, commit.context())?,
            psk_secret: psk_secret(self.suite(), &self.find_psks(&commit.list.psks, psks)?)?,
        };
        keys.extend(path.map(|path| path.private_keys).unwrap_or_default());
        let member = Member { own_leaf: self.own_leaf(), keys, signature_private };
        let (epoch, dmls) =
            derive_child(commit.child.clone(), Some(&commit.confirmation_tag), &secrets, member)?;
        Ok(Entered { epoch, conf, dmls })
    }

    /// The private keys with those of an own Update, if the commit has one.
    fn keys_after_updates(
        &self,
        commit: &PublicCommit,
    ) -> Result<(PrivateKeys, SignaturePrivateKey), CommitError> {
        let mut keys = self.private_keys().clone();
        let own = commit.list.updates.iter().find(|(leaf, _)| *leaf == self.own_leaf());
        let Some((_, leaf)) = own else { return Ok((keys, self.signature_private().clone())) };
        let pending = self.pending_leaves.get(&leaf.encryption_key).ok_or(CommitError::UnknownOwnUpdate)?;
        keys.extend([(leaf.encryption_key.clone(), pending.leaf_private.clone())]);
        Ok((keys, pending.signature_private.clone()))
    }

    fn open_path(
        &self,
        commit: &PublicCommit,
        keys: &PrivateKeys,
    ) -> Result<Option<DerivedPath>, CommitError> {
        let Some(path) = &commit.path else { return Ok(None) };
        let context = commit.provisional_context(self.public())?;
        let private_key = |key: &HpkePublicKey| keys.get(key).map(|key| (**key).clone());
        Ok(Some(commit.provisional.decrypt_path(
            commit.committer_leaf,
            self.own_leaf(),
            path,
            &commit.new_leaves(),
            &context,
            &private_key,
        )?))
    }

    /// The commit's confirmation, which must be the one that it names (DESIGN 4.3).
    fn check_confirmation(
        &self,
        commit: &PublicCommit,
        path: Option<&DerivedPath>,
    ) -> Result<Option<Secret>, CommitError> {
        let Some(meta) = commit.meta() else { return Ok(None) };
        let conf = commit_confirmation(self.suite(), path.map(|path| &path.last_path_secret))?;
        let named = meta.conf.as_ref().map(|conf| Secret::from(conf.as_slice()));
        if named.as_ref() == Some(&conf) { Ok(Some(conf)) } else { Err(CommitError::Confirmation) }
    }

    pub(super) fn init_secret(
        &self,
        commit: &PublicCommit,
        init: InitSource<'_>,
        conf: Option<&Secret>,
    ) -> Result<Secret, CommitError> {
        match (init, conf) {
            (InitSource::Dmls(init), Some(conf)) => Ok(init(conf, commit.context())?),
            (InitSource::Plain, None) => match &commit.list.external_init {
                Some(kem_output) => {
                    let (private, _) =
                        self.secrets().external_key_pair(self.suite()).ok_or(CommitError::InitSource)?;
                    Ok(external_init_receive(self.suite(), &private, kem_output.as_slice())?)
                }
                None => self.secrets().init_secret.clone().ok_or(CommitError::InitSource),
            },
            _ => Err(CommitError::InitSource),
        }
    }

    /// The PSKs of a commit. This epoch's own resumption PSK is always at hand.
    pub(super) fn find_psks(
        &self,
        ids: &[PreSharedKeyId],
        psks: &dyn PskStore,
    ) -> Result<Vec<(PreSharedKeyId, Secret)>, CommitError> {
        let own = |psk: &PskType| match psk {
            PskType::Resumption { psk_group_id, psk_epoch, .. }
                if *psk_group_id == self.context().group_id && *psk_epoch == self.context().epoch =>
            {
                Some(self.secrets().resumption_psk.clone())
            }
            _ => None,
        };
        find_psks(ids, &|psk| own(psk).or_else(|| psks.psk(psk)))
    }
}

/// The PSKs of a list, in its order.
pub(super) fn find_psks(
    ids: &[PreSharedKeyId],
    find: &dyn Fn(&PskType) -> Option<Secret>,
) -> Result<Vec<(PreSharedKeyId, Secret)>, CommitError> {
    let find_one = |id: &PreSharedKeyId| {
        let psk = find(&id.psktype).ok_or_else(|| CommitError::UnknownPsk(Box::new(id.clone())))?;
        Ok((id.clone(), psk))
    };
    ids.iter().map(find_one).collect()
}

/// What a member brings into a new epoch.
pub(super) struct Member {
    pub(super) own_leaf: LeafIndex,
    /// May hold keys that the new tree does not need any more.
    pub(super) keys: PrivateKeys,
    pub(super) signature_private: SignaturePrivateKey,
}

/// The key schedule of a new epoch. With a `tag`, that is verified; without one, it is made.
pub(super) fn derive_child(
    public: PublicState,
    tag: Option<&Bytes>,
    secrets: &CommitSecrets,
    member: Member,
) -> Result<(Epoch, Option<DmlsSecrets>), CommitError> {
    let derived = DerivedEpoch::new(
        public.suite,
        public.key_schedule(),
        &secrets.joiner_secret,
        &secrets.psk_secret,
        &public.context,
    )?;
    assemble(public, tag, derived, member)
}

/// An epoch from its derived secrets.
pub(super) fn assemble(
    mut public: PublicState,
    tag: Option<&Bytes>,
    derived: DerivedEpoch,
    member: Member,
) -> Result<(Epoch, Option<DmlsSecrets>), CommitError> {
    let confirmed = &public.context.confirmed_transcript_hash;
    let confirmation_tag = match tag {
        Some(tag) if derived.secrets.verify_confirmation_tag(public.suite, confirmed, tag)? => tag.clone(),
        Some(_) => return Err(CommitError::ConfirmationTag),
        None => {
            let tag = derived.secrets.confirmation_tag(public.suite, confirmed)?;
            public.interim_transcript_hash =
                crate::schedule::interim_transcript_hash(public.suite, confirmed, &tag)?;
            tag
        }
    };
    let width = public.tree.width();
    let secret_tree =
        SecretTree::new(public.suite, &derived.encryption_secret, width, public.handshake_keys())?;
    let Member { own_leaf, mut keys, signature_private } = member;
    keys.retain(&public.tree, own_leaf);
    let secrets = derived.secrets;
    let fixed = Fixed { public, confirmation_tag, secrets, own_leaf, keys, signature_private };
    Ok((Epoch::new(fixed, secret_tree), derived.dmls))
}
