//! What a member sends.

use std::collections::BTreeSet;

use rand_core::CryptoRng;

use super::{GroupPsks, Pending, PlainError, PlainGroup};
use crate::epoch::{CommitPolicy, CommitRequest, InitSource, PskStore, Purpose, Sealed, SentProposal};
use crate::framing::{
    Add, Content, GroupContextExtensions, KeyPackage, MlsMessage, PreSharedKey, Proposal, ProposalRef,
    ReInit, Remove, Sender, Welcome,
};
use crate::schedule::PskType;
use crate::suite::{HpkePublicKey, SignaturePrivateKey, SignaturePublicKey};
use crate::tree::{Extensions, LeafIndex, LeafNode, LeafTemplate};

/// Which known proposals a commit includes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum References {
    /// All that go together: no own Update or removal, one for a leaf, Removes first.
    #[default]
    All,
    /// These.
    These(Vec<ProposalRef>),
}

/// What a commit is to do.
#[derive(Debug, Clone, Default)]
pub struct PlainCommit {
    /// Proposals that it makes itself.
    pub proposals: Vec<Proposal>,
    /// Proposals of others that it includes.
    pub references: References,
    /// Leave the path out where it may be left out.
    pub no_path: bool,
    /// What the own new leaf says; none: what the old one says.
    pub template: Option<LeafTemplate>,
    /// A new signature key.
    pub signature_private: Option<SignaturePrivateKey>,
    /// Whether the Welcome's GroupInfo has the key of external commits.
    pub external_pub: bool,
    /// Data that is authenticated with the commit.
    pub authenticated_data: Vec<u8>,
}

/// A commit that was made, and waits.
#[derive(Debug, Clone)]
pub struct Committed {
    /// To the group.
    pub message: MlsMessage,
    /// To those whom it adds, once the group has taken it.
    pub welcome: Option<Welcome>,
}

impl PlainGroup {
    fn sealed(&mut self, sealed: Sealed) -> MlsMessage {
        self.epoch = sealed.epoch;
        sealed.message
    }

    /// Sends application data (RFC 9420 15). Proposals must be committed first (RFC 9420 12).
    ///
    /// # Errors
    /// [`PlainError::UncommittedProposals`], [`PlainError::Ended`], [`PlainError::Seal`].
    pub fn encrypt(
        &mut self,
        data: &[u8],
        authenticated_data: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<MlsMessage, PlainError> {
        self.check_open()?;
        if !self.epoch.proposals().is_empty() {
            return Err(PlainError::UncommittedProposals);
        }
        let mut sending = self.config.handshake(authenticated_data);
        sending.public = false;
        let sealed = self.epoch.seal(Content::Application(data.into()), &sending, rng)?;
        Ok(self.sealed(sealed))
    }

    /// Proposes anything but an Update, which needs a key.
    ///
    /// # Errors
    /// [`PlainError::Ended`], [`PlainError::Seal`].
    pub fn propose(&mut self, proposal: Proposal, rng: &mut dyn CryptoRng) -> Result<MlsMessage, PlainError> {
        self.check_open()?;
        let sending = self.config.handshake(b"");
        let sealed = self.epoch.seal(Content::Proposal(proposal), &sending, rng)?;
        Ok(self.sealed(sealed))
    }

    /// Proposes to add a client.
    ///
    /// # Errors
    /// As for [`PlainGroup::propose`].
    pub fn propose_add(
        &mut self,
        key_package: KeyPackage,
        rng: &mut dyn CryptoRng,
    ) -> Result<MlsMessage, PlainError> {
        self.propose(Proposal::Add(Add { key_package: Box::new(key_package) }), rng)
    }

    /// Proposes to remove a member.
    ///
    /// # Errors
    /// As for [`PlainGroup::propose`].
    pub fn propose_remove(
        &mut self,
        removed: LeafIndex,
        rng: &mut dyn CryptoRng,
    ) -> Result<MlsMessage, PlainError> {
        self.propose(Proposal::Remove(Remove { removed }), rng)
    }

    /// Proposes an own new leaf, with a fresh encryption key.
    ///
    /// # Errors
    /// As for [`PlainGroup::propose`].
    pub fn propose_update(
        &mut self,
        template: Option<&LeafTemplate>,
        signature_private: Option<SignaturePrivateKey>,
        rng: &mut dyn CryptoRng,
    ) -> Result<MlsMessage, PlainError> {
        self.check_open()?;
        let own = self.epoch.leaf(self.own_leaf()).map(LeafTemplate::of);
        let template = template.cloned().or(own);
        let template = template.ok_or(crate::epoch::OpenError::UnknownMember(self.own_leaf()))?;
        let sending = self.config.handshake(b"");
        let sealed = self.epoch.seal_update(&template, signature_private, &sending, rng)?;
        Ok(self.sealed(sealed))
    }

    /// Proposes to mix in a PSK.
    ///
    /// # Errors
    /// As for [`PlainGroup::propose`].
    pub fn propose_psk(&mut self, psk: PskType, rng: &mut dyn CryptoRng) -> Result<MlsMessage, PlainError> {
        let psk = self.psk_id(psk, rng);
        self.propose(Proposal::PreSharedKey(PreSharedKey { psk }), rng)
    }

    /// Proposes to close the group and open another.
    ///
    /// # Errors
    /// As for [`PlainGroup::propose`].
    pub fn propose_reinit(
        &mut self,
        reinit: ReInit,
        rng: &mut dyn CryptoRng,
    ) -> Result<MlsMessage, PlainError> {
        self.propose(Proposal::ReInit(reinit), rng)
    }

    /// Proposes other extensions of the GroupContext.
    ///
    /// # Errors
    /// As for [`PlainGroup::propose`].
    pub fn propose_extensions(
        &mut self,
        extensions: Extensions,
        rng: &mut dyn CryptoRng,
    ) -> Result<MlsMessage, PlainError> {
        self.propose(Proposal::GroupContextExtensions(GroupContextExtensions { extensions }), rng)
    }

    /// Makes a commit. It waits until [`PlainGroup::merge_pending`] or [`PlainGroup::discard_pending`].
    ///
    /// # Errors
    /// [`PlainError::CommitPending`], [`PlainError::Ended`], [`PlainError::Create`].
    pub fn commit(
        &mut self,
        commit: &PlainCommit,
        psks: &dyn PskStore,
        policy: &dyn CommitPolicy,
        rng: &mut dyn CryptoRng,
    ) -> Result<Committed, PlainError> {
        self.commit_for(Purpose::Ordinary, commit, psks, policy, rng)
    }

    pub(super) fn commit_for(
        &mut self,
        purpose: Purpose,
        commit: &PlainCommit,
        psks: &dyn PskStore,
        policy: &dyn CommitPolicy,
        rng: &mut dyn CryptoRng,
    ) -> Result<Committed, PlainError> {
        self.check_open()?;
        if self.pending.is_some() {
            return Err(PlainError::CommitPending);
        }
        let psks = GroupPsks { group: self, host: psks };
        let request = CommitRequest {
            proposals: commit.proposals.clone(),
            references: match &commit.references {
                References::All => self.compatible_references(&commit.proposals),
                References::These(references) => references.clone(),
            },
            path: !commit.no_path,
            sending: self.config.handshake(&commit.authenticated_data),
            template: commit.template.clone(),
            signature_private: commit.signature_private.clone(),
            group_info: self.config.group_info(commit.external_pub),
            purpose,
            ..CommitRequest::new(&psks, policy)
        };
        let created = self.epoch.create_commit(&request, InitSource::Plain, rng)?;
        let reinit = created.commit.reinit().cloned();
        let pending = Pending { message: created.message.clone(), child: created.child, reinit };
        self.epoch = created.parent;
        self.pending = Some(Box::new(pending));
        Ok(Committed { message: created.message, welcome: created.welcome })
    }

    /// The own commit has been taken: its child is the new epoch.
    ///
    /// # Errors
    /// [`PlainError::NoCommitPending`].
    pub fn merge_pending(&mut self) -> Result<(), PlainError> {
        let pending = self.pending.take().ok_or(PlainError::NoCommitPending)?;
        self.advance(pending.child, pending.reinit);
        Ok(())
    }

    /// The own commit has not been taken.
    ///
    /// # Errors
    /// [`PlainError::NoCommitPending`].
    pub fn discard_pending(&mut self) -> Result<(), PlainError> {
        self.pending.take().map(|_| ()).ok_or(PlainError::NoCommitPending)
    }

    /// Forgets the proposals of this epoch.
    pub fn discard_proposals(&mut self) {
        self.epoch = self.epoch.forget_proposals();
    }

    /// The known proposals that go together with each other and with `by_value` (RFC 9420 12.2).
    fn compatible_references(&self, by_value: &[Proposal]) -> Vec<ProposalRef> {
        let own = self.own_leaf();
        let known: Vec<(&ProposalRef, &SentProposal)> = self.epoch.proposals().iter().collect();
        let closing = known.iter().find(|(_, sent)| matches!(sent.proposal, Proposal::ReInit(_)));
        if let Some((reference, _)) = closing.filter(|_| by_value.is_empty()) {
            return vec![(*reference).clone()];
        }
        let mut leaves: BTreeSet<LeafIndex> = by_value.iter().filter_map(removed_leaf).collect();
        let (removes, others): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|(_, sent)| removed_leaf(&sent.proposal).is_some());
        let mut new = |leaf| leaf != own && leaves.insert(leaf);
        let removes =
            removes.into_iter().filter(|(_, sent)| removed_leaf(&sent.proposal).is_some_and(&mut new));
        let removes: Vec<_> = removes.collect();
        // The first of these is committed, so joiners are judged by it.
        let mut new_extensions =
            by_value.iter().chain(others.iter().map(|(_, sent)| &sent.proposal)).filter_map(extensions_of);
        let extensions = new_extensions.next().unwrap_or(&self.epoch.context().extensions);
        let mut extensions_taken = by_value.iter().any(|proposal| extensions_of(proposal).is_some());
        let mut keys: BTreeSet<_> = by_value.iter().filter_map(added_keys).flatten().collect();
        // A client that is a member already can come again only if it goes (RFC 9420 12.2).
        let staying = self.members().filter(|(leaf, _)| !leaves.contains(leaf));
        keys.extend(staying.flat_map(|(_, leaf)| leaf_keys(leaf)));
        let mut take = |sent: &SentProposal| match (&sent.proposal, sent.sender) {
            (Proposal::Update(_), Sender::Member(leaf)) => leaf != own && leaves.insert(leaf),
            (Proposal::GroupContextExtensions(_), _) => !std::mem::replace(&mut extensions_taken, true),
            (Proposal::Add(add), _) => {
                let leaf = &add.key_package.leaf_node;
                let supports = leaf.check_required_capabilities(extensions).is_ok()
                    && leaf.check_group_extensions(extensions).is_ok();
                let new = added_keys(&sent.proposal).filter(|new| !new.iter().any(|key| keys.contains(key)));
                new.filter(|_| supports).map(|new| keys.extend(new)).is_some()
            }
            (Proposal::PreSharedKey(_), _) => true,
            _ => false,
        };
        let others = others.into_iter().filter(|(_, sent)| take(sent));
        removes.into_iter().chain(others).map(|(reference, _)| reference.clone()).collect()
    }
}

fn removed_leaf(proposal: &Proposal) -> Option<LeafIndex> {
    match proposal {
        Proposal::Remove(remove) => Some(remove.removed),
        _ => None,
    }
}

fn extensions_of(proposal: &Proposal) -> Option<&Extensions> {
    match proposal {
        Proposal::GroupContextExtensions(new) => Some(&new.extensions),
        _ => None,
    }
}

/// A key that no two clients of a group may share.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum ClientKey {
    Signature(SignaturePublicKey),
    Encryption(HpkePublicKey),
    Init(HpkePublicKey),
}

fn leaf_keys(leaf: &LeafNode) -> [ClientKey; 2] {
    let LeafNode { signature_key, encryption_key, .. } = leaf;
    [ClientKey::Signature(signature_key.clone()), ClientKey::Encryption(encryption_key.clone())]
}

fn added_keys(proposal: &Proposal) -> Option<[ClientKey; 3]> {
    match proposal {
        Proposal::Add(add) => {
            let [signature, encryption] = leaf_keys(&add.key_package.leaf_node);
            Some([signature, encryption, ClientKey::Init(add.key_package.init_key.clone())])
        }
        _ => None,
    }
}
