//! Commits, judged without a secret (RFC 9420 12.4.2): the part that a removed member can do too.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::apply::{Added, Applied, Removed, Side};
use super::proposals::{Committer, ProposalList, ProposalListError, Purpose, SentProposal};
use super::state::{Epoch, PublicState};
use crate::codec::{Bytes, CodecError};
use crate::framing::{
    AuthenticatedContent, Commit, Content, DmlsMeta, KeyPackageError, ProposalOrRef, ProposalRef, ReInit,
    Sender,
};
use crate::schedule::{
    CommitId, DmlsKeyError, GroupContext, PreSharedKeyId, PskError, RatchetError, confirmed_transcript_hash,
    interim_transcript_hash,
};
use crate::suite::CryptoError;
use crate::tree::{LeafIndex, LeafNode, LeafNodeError, PathSender, RatchetTree, TreeError, UpdatePath};

/// Why a commit is not valid, or cannot be entered: a variant for each rule of RFC 9420 12.4.2, and of DESIGN 4.3.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommitError {
    /// The message is no commit.
    #[error("The message is not a commit.")]
    NotACommit,
    /// It is of another group or epoch.
    #[error("The commit is of another group or epoch.")]
    WrongEpoch,
    /// Neither a member nor a joiner sent it.
    #[error("A commit must come from a member, or from a client that joins by it.")]
    BadSender,
    /// It has no confirmation tag.
    #[error("The commit has no confirmation tag.")]
    MissingConfirmationTag,
    /// DESIGN 4.3: external commits cannot be punctured.
    #[error("A DMLS group takes no external commits.")]
    ExternalInDmls,
    /// There is no epoch after this one.
    #[error("The epoch number would overflow.")]
    EpochOverflow,
    /// 12.2: its list of proposals is not valid.
    #[error(transparent)]
    List(#[from] ProposalListError),
    /// The application refuses it.
    #[error("The commit is not authorised: {0}")]
    Denied(String),
    /// 10.1: a key package that it adds is not valid.
    #[error("An Add is not valid: {0}")]
    AddKeyPackage(KeyPackageError),
    /// 7.3: a leaf that it adds is not valid.
    #[error("The Add at leaf {leaf} is not valid: {error}")]
    AddLeaf {
        /// Where it would go.
        leaf: LeafIndex,
        /// Which rule it breaks.
        error: LeafNodeError,
    },
    /// 7.3: the leaf that an Add proposes is not valid, wherever it would go.
    #[error("The leaf of an Add is not valid: {0}")]
    ProposedLeaf(LeafNodeError),
    /// 5.3.1: the application refuses a new member's credential.
    #[error("The credential of a new member is refused.")]
    MemberRefused,
    /// 7.3: an updated leaf is not valid.
    #[error("The Update of leaf {leaf} is not valid: {error}")]
    UpdateLeaf {
        /// Whose.
        leaf: LeafIndex,
        /// Which rule it breaks.
        error: LeafNodeError,
    },
    /// 5.3.1: a leaf's new credential may not stand for the old one.
    #[error("The new credential of leaf {0} may not replace the old one.")]
    Successor(LeafIndex),
    /// DESIGN 4.4: the new leaf of a member has another `dmls_rejoin` extension than the old one.
    #[error("The new leaf of member {0} changes the number of its request to rejoin.")]
    RejoinNumber(LeafIndex),
    /// 12.1.7: a member does not support the new GroupContext extensions.
    #[error("Member {member} does not support the new extensions: {error}")]
    MemberSupport {
        /// Who does not.
        member: LeafIndex,
        /// What it does not support.
        error: LeafNodeError,
    },
    /// 12.4: the proposals need a path, and there is none.
    #[error("The commit must have a path.")]
    PathRequired,
    /// 12.4.2: the tree or the path is not valid.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The commit does not follow this epoch.
    #[error("The commit was staged in another epoch.")]
    OtherParent,
    /// This member is removed.
    #[error("The commit removes this member.")]
    Removed,
    /// This member made it; its child was made with it.
    #[error("This member made the commit; it is not processed but selected.")]
    OwnCommit,
    /// The own Update of another state of this member.
    #[error("The private key of the own Update is not known.")]
    UnknownOwnUpdate,
    /// The init secret of the other kind of group was offered.
    #[error("The source of the init secret does not fit the group.")]
    InitSource,
    /// 8.4: a PSK is not known.
    #[error("The PSK {0:?} is not known.")]
    UnknownPsk(Box<PreSharedKeyId>),
    /// 8.4: the PSKs cannot be combined.
    #[error(transparent)]
    Psk(#[from] PskError),
    /// DESIGN 4.3: `conf` of the `dmls_meta` is not the derived one.
    #[error("The commit's confirmation is not that of its path.")]
    Confirmation,
    /// DESIGN 4.3: the init secret cannot be had.
    #[error(transparent)]
    Init(#[from] DmlsKeyError),
    /// 12.4.2: the confirmation tag is wrong. This condemns the copy of the message, not its content.
    #[error("The confirmation tag is wrong.")]
    ConfirmationTag,
    /// The message keys of the new epoch cannot be had.
    #[error(transparent)]
    Ratchet(#[from] RatchetError),
    /// A cryptographic operation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// Something cannot be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// What the application has to say about commits. Every method has a default.
pub trait CommitPolicy {
    /// Seconds since the Unix epoch, for lifetimes; none: they are not checked.
    fn now(&self) -> Option<u64> {
        None
    }

    /// Whether the committer may do this, in this epoch.
    ///
    /// # Errors
    /// The reason why not. In a DMLS group it must depend on the arguments alone, or members will disagree.
    fn authorise(
        &self,
        _epoch: &PublicState,
        _committer: Committer,
        _proposals: &[SentProposal],
    ) -> Result<(), String> {
        Ok(())
    }

    /// Whether the leaf's signature key belongs to whom its credential names, and may be in the group: the authentication
    /// service's verdict (RFC 9420 5.3.1). Asked about each client that is added or adds itself, about each member of a
    /// group that is joined, and, in plain MLS, about each leaf with another credential or signature key than the one it
    /// replaces. This is also where a bound on lifetimes goes (7.2; [`LeafNode::check_lifetime_length`]).
    fn accept_member(&self, _leaf: &LeafNode) -> bool {
        true
    }

    /// Whether a new leaf may stand for the member of an old one (RFC 9420 5.3.1, 12.1.2, 12.2): whether the two name the
    /// same. That the new one's key is its own is for [`CommitPolicy::accept_member`] to say.
    fn accept_successor(&self, old: &LeafNode, new: &LeafNode) -> bool {
        old.credential == new.credential
    }
}

/// The defaults of [`CommitPolicy`].
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultPolicy;

impl CommitPolicy for DefaultPolicy {}

/// A commit that is valid as far as anybody can tell without a secret.
#[derive(Debug, Clone)]
pub struct PublicCommit {
    /// Who committed.
    pub committer: Committer,
    /// The committer's leaf in the new tree.
    pub committer_leaf: LeafIndex,
    /// Its proposals, in order.
    pub proposals: Vec<SentProposal>,
    /// The same, by type.
    pub list: ProposalList,
    /// Who was added.
    pub added: Vec<Added>,
    /// Whose leaves were updated by proposal; the committer's is, if there is a path.
    pub updated: Vec<LeafIndex>,
    /// Who was removed.
    pub removed: Vec<Removed>,
    /// Whether this member was removed.
    pub self_removed: bool,
    /// The child's public state.
    pub child: PublicState,
    /// The confirmation tag, not yet verified.
    pub confirmation_tag: Bytes,
    /// The parent's transcript: a commit follows one epoch only.
    pub(super) parent: Bytes,
    pub(super) path: Option<UpdatePath>,
    pub(super) provisional: RatchetTree,
}

impl PublicCommit {
    /// The commit's id: the confirmed transcript hash of its child (DESIGN 1).
    pub fn commit_id(&self) -> CommitId {
        CommitId(self.child.context.confirmed_transcript_hash.clone())
    }

    /// The child's GroupContext.
    pub fn context(&self) -> &GroupContext {
        &self.child.context
    }

    /// What a DMLS commit says of the history.
    pub fn meta(&self) -> Option<&DmlsMeta> {
        self.list.meta.as_ref()
    }

    /// The end of the group, if the commit is one.
    pub fn reinit(&self) -> Option<&ReInit> {
        self.list.reinit.as_ref()
    }

    /// Whether the commit has a path.
    pub fn has_path(&self) -> bool {
        self.path.is_some()
    }

    pub(super) fn new_leaves(&self) -> BTreeSet<LeafIndex> {
        self.added.iter().map(|added| added.leaf).collect()
    }

    /// The GroupContext that path secrets are encrypted under (RFC 9420 12.4.2): the child's, before its transcript.
    pub(super) fn provisional_context(&self, parent: &PublicState) -> Result<Vec<u8>, CodecError> {
        provisional_context(parent, &self.child.context)
    }
}

/// The child's context with the parent's transcript hash, encoded.
pub(super) fn provisional_context(parent: &PublicState, child: &GroupContext) -> Result<Vec<u8>, CodecError> {
    let confirmed_transcript_hash = parent.context.confirmed_transcript_hash.clone();
    GroupContext { confirmed_transcript_hash, ..child.clone() }.encoded()
}

impl Epoch {
    /// Judges a commit of this epoch as far as that needs no secret. Works for a member whom it removes, too.
    ///
    /// The content must have come out of [`Epoch::open`] of this epoch: signatures are not verified again.
    ///
    /// # Errors
    /// [`CommitError`]: which rule the commit breaks.
    pub fn stage_commit(
        &self,
        content: &AuthenticatedContent,
        policy: &dyn CommitPolicy,
    ) -> Result<PublicCommit, CommitError> {
        self.public().stage(content, &self.proposals, Some(self.own_leaf()), Purpose::Ordinary, policy)
    }
}

impl PublicState {
    /// [`Epoch::stage_commit`] for whoever knows the public state and the proposals only.
    pub(super) fn stage(
        &self,
        content: &AuthenticatedContent,
        known: &BTreeMap<ProposalRef, SentProposal>,
        own_leaf: Option<LeafIndex>,
        purpose: Purpose,
        policy: &dyn CommitPolicy,
    ) -> Result<PublicCommit, CommitError> {
        let framed = &content.content;
        let Content::Commit(commit) = &framed.content else { return Err(CommitError::NotACommit) };
        if framed.group_id != self.context.group_id || framed.epoch != self.context.epoch {
            return Err(CommitError::WrongEpoch);
        }
        let committer = match framed.sender {
            Sender::Member(leaf) => Committer::Member(leaf),
            Sender::NewMemberCommit if self.is_dmls() => return Err(CommitError::ExternalInDmls),
            Sender::NewMemberCommit => Committer::New,
            _ => return Err(CommitError::BadSender),
        };
        let tag = content.auth.confirmation_tag.as_ref().ok_or(CommitError::MissingConfirmationTag)?;
        let proposals = resolve(commit, framed.sender, known)?;
        let list = self.check_list(committer, &proposals, purpose)?;
        policy.authorise(self, committer, &proposals).map_err(CommitError::Denied)?;
        if commit.path.is_none() && self.path_required(&proposals) {
            return Err(CommitError::PathRequired);
        }
        let applied = self.apply(&list, policy, Side::Receiving)?;
        let (sender, provisional) = path_sender(committer, &applied)?;
        let tree = match &commit.path {
            Some(path) => self.check_path(sender, path, &provisional, &applied, policy)?,
            None => provisional.clone(),
        };
        let staged = Staged { committer, sender, proposals, list, applied, provisional, tree };
        staged.finish(self, content, tag, commit.path.clone(), own_leaf)
    }

    /// RFC 9420 12.4; a DMLS commit always has a path (DESIGN 4.3).
    pub(super) fn path_required(&self, proposals: &[SentProposal]) -> bool {
        self.is_dmls() || proposals.is_empty() || proposals.iter().any(|sent| sent.proposal.requires_path())
    }

    /// The tree after a path, if that is valid (RFC 9420 12.4.2).
    fn check_path(
        &self,
        sender: PathSender,
        path: &UpdatePath,
        provisional: &RatchetTree,
        applied: &Applied,
        policy: &dyn CommitPolicy,
    ) -> Result<RatchetTree, CommitError> {
        let rules = self.next_rules(&applied.extensions, None);
        let tree = provisional.apply_path(sender, path, &applied.new_leaves(), &rules)?;
        // An external committer that removes its old leaf succeeds it (RFC 9420 12.2).
        let old = match sender {
            PathSender::Member(leaf) => Some(leaf),
            PathSender::NewMember(_) => applied.removed.first().map(|removed| removed.leaf),
        };
        match old {
            Some(old) => self.check_successor(old, sender.index(), &path.leaf_node, policy)?,
            None if !policy.accept_member(&path.leaf_node) => return Err(CommitError::MemberRefused),
            None => {}
        }
        Ok(tree)
    }

    /// The GroupContext after a commit, but for its transcript hash.
    pub(super) fn next_context(
        &self,
        applied: &Applied,
        tree: &RatchetTree,
    ) -> Result<GroupContext, CommitError> {
        Ok(GroupContext {
            epoch: self.context.epoch.checked_add(1).ok_or(CommitError::EpochOverflow)?,
            tree_hash: tree.tree_hash()?,
            extensions: applied.extensions.clone(),
            ..self.context.clone()
        })
    }
}

/// Who puts the path where, and the tree that it is put in: an external committer takes the leftmost blank leaf.
pub(super) fn path_sender(
    committer: Committer,
    applied: &Applied,
) -> Result<(PathSender, RatchetTree), CommitError> {
    match committer {
        Committer::Member(leaf) => Ok((PathSender::Member(leaf), applied.tree.clone())),
        Committer::New => {
            let (tree, leaf) = applied.tree.with_blank_leaf()?;
            Ok((PathSender::NewMember(leaf), tree))
        }
    }
}

/// The proposals that a commit means.
fn resolve(
    commit: &Commit,
    sender: Sender,
    known: &BTreeMap<ProposalRef, SentProposal>,
) -> Result<Vec<SentProposal>, ProposalListError> {
    let (mut seen, mut proposals) = (BTreeSet::new(), Vec::with_capacity(commit.proposals.len()));
    for proposal in &commit.proposals {
        let reference = match proposal {
            ProposalOrRef::Proposal(proposal) => {
                proposals.push(SentProposal { sender, proposal: proposal.clone(), reference: None });
                continue;
            }
            ProposalOrRef::Reference(_) if sender == Sender::NewMemberCommit => {
                return Err(ProposalListError::ExternalReference);
            }
            ProposalOrRef::Reference(reference) => reference,
        };
        // No proposal is valid twice (RFC 9420 12.2), and a reference is much shorter than what it costs here.
        if !seen.insert(reference) {
            return Err(ProposalListError::DuplicateReference(reference.clone()));
        }
        let unknown = || ProposalListError::UnknownReference(reference.clone());
        proposals.push(known.get(reference).cloned().ok_or_else(unknown)?);
    }
    Ok(proposals)
}

/// A commit before its transcript hash is known.
pub(super) struct Staged {
    pub(super) committer: Committer,
    pub(super) sender: PathSender,
    pub(super) proposals: Vec<SentProposal>,
    pub(super) list: ProposalList,
    pub(super) applied: Applied,
    pub(super) provisional: RatchetTree,
    pub(super) tree: RatchetTree,
}

impl Staged {
    /// Adds what depends on the signed content.
    pub(super) fn finish(
        self,
        parent: &PublicState,
        content: &AuthenticatedContent,
        tag: &Bytes,
        path: Option<UpdatePath>,
        own_leaf: Option<LeafIndex>,
    ) -> Result<PublicCommit, CommitError> {
        let mut context = parent.next_context(&self.applied, &self.tree)?;
        let input = content.confirmed_transcript_input()?;
        let confirmed = confirmed_transcript_hash(parent.suite, &parent.interim_transcript_hash, &input);
        context.confirmed_transcript_hash = confirmed.clone();
        let profile = crate::framing::DmlsProfile::from_extensions(&context.extensions)
            .map_err(ProposalListError::from)?;
        let child = PublicState {
            suite: parent.suite,
            context,
            tree: self.tree,
            interim_transcript_hash: interim_transcript_hash(parent.suite, &confirmed, tag)?,
            profile,
        };
        Ok(PublicCommit {
            committer: self.committer,
            committer_leaf: self.sender.index(),
            self_removed: self.applied.removed.iter().any(|removed| Some(removed.leaf) == own_leaf),
            proposals: self.proposals,
            list: self.list,
            added: self.applied.added,
            updated: self.applied.updated,
            removed: self.applied.removed,
            child,
            confirmation_tag: tag.clone(),
            parent: parent.interim_transcript_hash.clone(),
            path,
            provisional: self.provisional,
        })
    }
}
