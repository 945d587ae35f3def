//! Commits, made (RFC 9420 12.4.1). The child is made with its commit, and never by processing it (DESIGN 4.3).

use rand_core::CryptoRng;
use thiserror::Error;

use super::apply::Side;
use super::commit::{CommitError, CommitPolicy, PublicCommit, Staged, path_sender, provisional_context};
use super::enter::{CommitSecrets, InitSource, Member, PskStore, derive_child};
use super::open::{SealError, Sending};
use super::proposals::{Committer, ProposalListError, Purpose, SentProposal};
use super::state::{Epoch, PublicState};
use super::welcome_out::{GroupInfoOptions, WelcomeSecrets};
use crate::codec::Bytes;
use crate::framing::{
    AuthenticatedContent, Commit, Content, DmlsMeta, MlsMessage, Proposal, ProposalOrRef, ProposalRef,
    Sender, Welcome,
};
use crate::schedule::{DmlsSecrets, commit_confirmation, joiner_secret, psk_secret};
use crate::suite::{HpkePrivateKey, HpkePublicKey, Secret, SignaturePrivateKey};
use crate::tree::{LeafSourceKind, LeafTemplate, NodeIndex, PathDraft, TreeError, UpdatePath};

/// What a commit is to do.
pub struct CommitRequest<'a> {
    /// Proposals that the committer makes in the commit itself.
    pub proposals: Vec<Proposal>,
    /// Proposals of this epoch that it includes, before the above.
    pub references: Vec<ProposalRef>,
    /// Send a path also where none is required.
    pub path: bool,
    /// DMLS: what it says of the history; `conf` is filled in. Plain MLS: none.
    pub meta: Option<DmlsMeta>,
    /// How it is sent.
    pub sending: Sending,
    /// What the committer's new leaf says; none: what the old one says.
    pub template: Option<LeafTemplate>,
    /// The committer's new signature key; none: it stays.
    pub signature_private: Option<SignaturePrivateKey>,
    /// What the Welcome's GroupInfo carries.
    pub group_info: GroupInfoOptions,
    /// Whether it founds a group after another.
    pub purpose: Purpose,
    /// Where PSKs come from.
    pub psks: &'a dyn PskStore,
    /// What the application has to say.
    pub policy: &'a dyn CommitPolicy,
}

impl<'a> CommitRequest<'a> {
    /// An empty commit: new keys for the committer, nothing else.
    pub fn new(psks: &'a dyn PskStore, policy: &'a dyn CommitPolicy) -> Self {
        Self {
            proposals: Vec::new(),
            references: Vec::new(),
            path: true,
            meta: None,
            sending: Sending::default(),
            template: None,
            signature_private: None,
            group_info: GroupInfoOptions::default(),
            purpose: Purpose::Ordinary,
            psks,
            policy,
        }
    }
}

impl std::fmt::Debug for CommitRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitRequest")
            .field("proposals", &self.proposals)
            .field("references", &self.references)
            .field("meta", &self.meta)
            .finish_non_exhaustive()
    }
}

/// A commit that was made. Everything is to be stored before the message is sent.
#[derive(Debug, Clone)]
pub struct CreatedCommit {
    /// What is sent to the group.
    pub message: MlsMessage,
    /// What it says.
    pub content: AuthenticatedContent,
    /// What it does.
    pub commit: PublicCommit,
    /// The epoch it was made in, with its handshake ratchet moved on.
    pub parent: Epoch,
    /// The epoch it leads to.
    pub child: Epoch,
    /// DMLS: the child's init PPRF and id.
    pub dmls: Option<DmlsSecrets>,
    /// DMLS: the commit's confirmation, by which the parent was punctured.
    pub conf: Option<Secret>,
    /// What is sent to those whom it adds.
    pub welcome: Option<Welcome>,
}

/// Why a commit could not be made. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CreateError {
    /// The commit would not be valid.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

macro_rules! through_commit_error {
    ($($ty:ty),+ $(,)?) => {$(
        impl From<$ty> for CreateError {
            fn from(error: $ty) -> Self {
                Self::Commit(error.into())
            }
        }
    )+};
}

through_commit_error!(
    ProposalListError,
    TreeError,
    crate::suite::CryptoError,
    crate::codec::CodecError,
    crate::schedule::PskError
);

/// What a commit's new leaf is made from.
pub(super) struct NewLeaf<'a> {
    pub(super) template: &'a LeafTemplate,
    pub(super) signature_private: &'a SignaturePrivateKey,
}

/// A commit before it is signed.
pub(super) struct Draft {
    pub(super) staged: Staged,
    pub(super) path: Option<UpdatePath>,
    pub(super) commit_secret: Secret,
    pub(super) path_secrets: Vec<(NodeIndex, Secret)>,
    pub(super) private_keys: Vec<(HpkePublicKey, HpkePrivateKey)>,
    pub(super) conf: Option<Secret>,
}

impl Draft {
    /// What is signed.
    pub(super) fn commit(&self) -> Commit {
        let by = |sent: &SentProposal| match &sent.reference {
            Some(reference) => ProposalOrRef::Reference(reference.clone()),
            None => ProposalOrRef::Proposal(sent.proposal.clone()),
        };
        Commit { proposals: self.staged.proposals.iter().map(by).collect(), path: self.path.clone() }
    }
}

impl PublicState {
    /// Checks and applies the proposals, and draws the path.
    pub(super) fn draft(
        &self,
        committer: Committer,
        mut proposals: Vec<SentProposal>,
        new_leaf: &NewLeaf<'_>,
        request: &CommitRequest<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Draft, CommitError> {
        let mut list = self.check_list(committer, &proposals, request.purpose)?;
        request.policy.authorise(self, committer, &proposals).map_err(CommitError::Denied)?;
        let applied = self.apply(&list, request.policy, Side::Making)?;
        let (sender, provisional) = path_sender(committer, &applied)?;
        let mut staged_tree = provisional.clone();
        let drawn = if request.path || self.path_required(&proposals) {
            let NewLeaf { template, signature_private } = new_leaf;
            let group_id = self.context.group_id.as_slice();
            let drawn = provisional.draw_path(sender, template, signature_private, group_id, rng)?;
            self.check_drawn(committer, &drawn, &provisional, &applied, request.policy)?;
            let context = self.next_context(&applied, &drawn.tree)?;
            let context = provisional_context(self, &context)?;
            let path = drawn.encrypt(&applied.new_leaves(), &context, rng)?;
            staged_tree = drawn.tree.clone();
            Some((drawn, path))
        } else {
            None
        };
        let conf = match &mut list.meta {
            None => None,
            Some(meta) => {
                let last = drawn.as_ref().and_then(|(drawn, _)| drawn.last_path_secret.as_ref());
                let conf = commit_confirmation(self.suite, last)?;
                meta.conf = Some(conf.as_slice().into());
                fill_confirmation(&mut proposals, meta);
                Some(conf)
            }
        };
        let staged = Staged { committer, sender, proposals, list, applied, provisional, tree: staged_tree };
        Ok(match drawn {
            Some((drawn, path)) => Draft {
                staged,
                path: Some(path),
                commit_secret: drawn.commit_secret,
                path_secrets: drawn.path_secrets,
                private_keys: drawn.private_keys,
                conf,
            },
            None => Draft {
                staged,
                path: None,
                commit_secret: Secret::zero(self.suite.nh()),
                path_secrets: Vec::new(),
                private_keys: Vec::new(),
                conf,
            },
        })
    }

    /// The own new leaf obeys the rules that others will judge it by.
    fn check_drawn(
        &self,
        committer: Committer,
        drawn: &PathDraft,
        provisional: &crate::tree::RatchetTree,
        applied: &super::apply::Applied,
        policy: &dyn CommitPolicy,
    ) -> Result<(), CommitError> {
        let index = drawn.sender();
        let rules = self.next_rules(&applied.extensions, None);
        provisional
            .validate_leaf(index, &drawn.leaf_node, LeafSourceKind::Commit, &rules)
            .map_err(|error| TreeError::Leaf { index, error })?;
        match committer {
            Committer::Member(leaf) => self.check_successor(leaf, leaf, &drawn.leaf_node, policy),
            Committer::New => match applied.removed.first() {
                Some(old) => self.check_successor(old.leaf, index, &drawn.leaf_node, policy),
                None => Ok(()),
            },
        }
    }
}

/// Puts the confirmation into the list's `dmls_meta`.
fn fill_confirmation(proposals: &mut [SentProposal], meta: &DmlsMeta) {
    for sent in proposals {
        if let Proposal::DmlsMeta(filled) = &mut sent.proposal {
            *filled = meta.clone();
        }
    }
}

impl Epoch {
    /// Makes a commit and the epoch that it leads to.
    ///
    /// # Errors
    /// [`CreateError`]; nothing has changed then.
    pub fn create_commit(
        &self,
        request: &CommitRequest<'_>,
        init: InitSource<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<CreatedCommit, CreateError> {
        let public = self.public();
        let committer = Committer::Member(self.own_leaf());
        let proposals = self.collect(request)?;
        let own = self.leaf(self.own_leaf()).ok_or(TreeError::NoLeaf(self.own_leaf()))?;
        let old_template = LeafTemplate::of(own);
        let new_leaf = NewLeaf {
            template: request.template.as_ref().unwrap_or(&old_template),
            signature_private: request.signature_private.as_ref().unwrap_or(self.signature_private()),
        };
        let draft = public.draft(committer, proposals, &new_leaf, request, rng)?;
        let mut content = self.sign(Content::Commit(draft.commit()), &request.sending)?;
        let Draft { staged, path, commit_secret, path_secrets, private_keys, conf } = draft;
        let has_path = path.is_some();
        let untagged = Bytes::default();
        let mut commit = staged.finish(public, &content, &untagged, path, Some(self.own_leaf()))?;

        let init_secret = self.init_secret(&commit, init, conf.as_ref())?;
        let secrets = CommitSecrets {
            joiner_secret: joiner_secret(self.suite(), &init_secret, &commit_secret, commit.context())?,
            psk_secret: psk_secret(self.suite(), &self.find_psks(&commit.list.psks, request.psks)?)?,
        };
        let mut keys = self.private_keys().clone();
        keys.extend(private_keys);
        let signature_private =
            if has_path { new_leaf.signature_private } else { self.signature_private() }.clone();
        let member = Member { own_leaf: self.own_leaf(), keys, signature_private };
        let (child, dmls) = derive_child(commit.child.clone(), None, &secrets, member)?;
        commit.child = child.public().clone();
        commit.confirmation_tag = child.confirmation_tag().clone();
        content.auth.confirmation_tag = Some(commit.confirmation_tag.clone());

        let epoch_id = dmls.as_ref().map(|dmls| &dmls.dmls_epoch);
        let welcome_secrets = WelcomeSecrets { secrets: &secrets, path_secrets: &path_secrets };
        let welcome = child.welcome(&commit, &welcome_secrets, &request.group_info, epoch_id, rng)?;
        let (parent, message) = self.protect(&content, &request.sending, rng)?;
        Ok(CreatedCommit { message, content, commit, parent, child, dmls, conf, welcome })
    }

    /// Whether this member could commit these proposals, by value, and those that it has been sent, as far as the
    /// proposals go. Nothing is made.
    ///
    /// # Errors
    /// [`CommitError`]: which rule the commit would break.
    pub fn may_commit(
        &self,
        proposals: &[Proposal],
        references: &[ProposalRef],
        policy: &dyn CommitPolicy,
    ) -> Result<(), CommitError> {
        let public = self.public();
        let committer = Committer::Member(self.own_leaf());
        let mut request = CommitRequest::new(&super::NoPsks, policy);
        request.proposals = proposals.to_vec();
        request.references = references.to_vec();
        request.meta = public.is_dmls().then(DmlsMeta::default);
        let sent = self.collect(&request)?;
        let list = public.check_list(committer, &sent, Purpose::Ordinary)?;
        policy.authorise(public, committer, &sent).map_err(CommitError::Denied)?;
        public.apply(&list, policy, Side::Making).map(|_| ())
    }

    /// The proposals of a request, in the order of the commit.
    fn collect(&self, request: &CommitRequest<'_>) -> Result<Vec<SentProposal>, ProposalListError> {
        let find = |reference: &ProposalRef| {
            let unknown = || ProposalListError::UnknownReference(reference.clone());
            self.proposals.get(reference).cloned().ok_or_else(unknown)
        };
        let mut out = request.references.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        // The confirmation is known when the path is; until then its place is held.
        let meta = request.meta.clone().map(|meta| DmlsMeta { conf: Some(Bytes::default()), ..meta });
        let by_value = request.proposals.iter().cloned().chain(meta.map(Proposal::DmlsMeta));
        let sender = Sender::Member(self.own_leaf());
        out.extend(by_value.map(|proposal| SentProposal { sender, proposal, reference: None }));
        Ok(out)
    }
}
