//! The list of proposals of a commit, and what makes it valid (RFC 9420 12.1, 12.2).

use std::collections::BTreeSet;

use thiserror::Error;

use super::state::PublicState;
use crate::codec::Bytes;
use crate::framing::{DmlsError, DmlsMeta, DmlsProfile, KeyPackage, Proposal, ProposalRef, ReInit, Sender};
use crate::schedule::{PreSharedKeyId, PskType, ResumptionPskUsage};
use crate::suite::CryptoError;
use crate::tree::{ExtensionType, Extensions, LeafIndex, LeafNode, ProposalType};

/// A proposal, with who made it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SentProposal {
    /// Who proposes it; the committer, where the commit has it by value.
    pub sender: Sender,
    /// What is proposed.
    pub proposal: Proposal,
    /// Its reference, where the commit has it by reference.
    pub reference: Option<ProposalRef>,
}

/// Who commits (RFC 9420 12.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committer {
    /// A member.
    Member(LeafIndex),
    /// A client that joins by this commit (RFC 9420 12.4.3.2).
    New,
}

/// Why a list of proposals is not valid: a variant for each rule of RFC 9420 12.1 and 12.2, and of DESIGN 4.3.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProposalListError {
    /// The message is no proposal.
    #[error("The message is not a proposal.")]
    NotAProposal,
    /// A reference could not be computed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The commit refers to a proposal that is not known.
    #[error("The commit refers to the unknown proposal {0:?}.")]
    UnknownReference(ProposalRef),
    /// 12.2: the commit refers to one proposal twice.
    #[error("The commit refers to the proposal {0:?} twice.")]
    DuplicateReference(ProposalRef),
    /// 12.1.2: only members have a leaf to update.
    #[error("An Update was not sent by a member.")]
    UpdateNotByMember,
    /// 12.1.3: the leaf to remove is blank or not in the tree.
    #[error("Leaf {0} is to be removed, but has no member.")]
    RemoveBlank(LeafIndex),
    /// 12.1.4: the nonce of a PSK has not Nh bytes.
    #[error("The nonce of a PSK has not Nh bytes.")]
    PskNonce,
    /// 12.1.4: a PSK of re-initialisation outside of one.
    #[error("A PSK for re-initialisation is proposed outside of a re-initialisation.")]
    PskReinit,
    /// 12.1.4: a PSK of branching outside of one.
    #[error("A PSK for branching is proposed outside of a branching.")]
    PskBranch,
    /// 12.1.5: the new group would have an older version of MLS.
    #[error("A ReInit names an older protocol version than the group's.")]
    ReInitVersion,
    /// 12.1.6: a member proposes an external init.
    #[error("An ExternalInit is only valid in an external commit.")]
    ExternalInitByMember,
    /// 12.1.7: the new extensions are malformed.
    #[error("The proposed GroupContext extension {:#06x} is malformed.", .0.0)]
    MalformedExtension(ExtensionType),
    /// 13.4: an extension type occurs twice, in new GroupContext extensions or in those of a ReInit.
    #[error("The proposed GroupContext extensions have type {:#06x} twice.", .0.0)]
    DuplicateExtension(ExtensionType),
    /// 12.1.8: an external sender may not propose this.
    #[error("An external sender may not send a proposal of type {:#06x}.", .0.0)]
    ExternalType(ProposalType),
    /// 12.1.8: a client that is no member may only propose its own Add.
    #[error("A new member may not send a proposal of type {:#06x}.", .0.0)]
    NewMemberType(ProposalType),
    /// 12.1.8.1: the group has no such external sender.
    #[error("The group has no external sender {0}.")]
    UnknownExternalSender(u32),
    /// The sender is not a member any more, or never was.
    #[error("Leaf {0}, who sent a proposal, is not a member.")]
    UnknownSender(LeafIndex),
    /// 12.2: an Update by the committer.
    #[error("The commit has an Update of the committer.")]
    CommitterUpdates,
    /// 12.2: a Remove of the committer.
    #[error("The commit removes the committer.")]
    CommitterRemoved,
    /// 12.2: more than one Update or Remove of a leaf.
    #[error("The commit has more than one Update or Remove of leaf {0}.")]
    DuplicateLeaf(LeafIndex),
    /// 12.2: two Adds of one client: they share a key.
    #[error("The commit has two Adds with the same {0}.")]
    DuplicateAdd(SharedKey),
    /// 12.2: a PSK twice.
    #[error("The commit has the same PSK twice.")]
    DuplicatePsk,
    /// 12.2: more than one GroupContextExtensions.
    #[error("The commit has more than one GroupContextExtensions proposal.")]
    DuplicateGroupContextExtensions,
    /// 12.2: a ReInit beside anything else.
    #[error("The commit has a ReInit and other proposals.")]
    ReInitNotAlone,
    /// 7.3, 12.2: a member cannot process the proposal's type.
    #[error("Member {member} does not support proposals of type {:#06x}.", .proposal_type.0)]
    Unsupported {
        /// Who does not.
        member: LeafIndex,
        /// What it does not support.
        proposal_type: ProposalType,
    },
    /// 12.2: an external commit refers to a proposal.
    #[error("An external commit has a proposal by reference.")]
    ExternalReference,
    /// 12.2: an external commit has no ExternalInit.
    #[error("An external commit has no ExternalInit.")]
    ExternalInitMissing,
    /// 12.2: an external commit has more than one ExternalInit.
    #[error("An external commit has more than one ExternalInit.")]
    DuplicateExternalInit,
    /// 12.2: an external commit removes more than one leaf.
    #[error("An external commit has more than one Remove.")]
    ExternalRemoves,
    /// 12.2: an external commit has a proposal of another type.
    #[error("An external commit may not have a proposal of type {:#06x}.", .0.0)]
    ExternalProposal(ProposalType),
    /// DESIGN 4.3: `dmls_meta` in a plain group.
    #[error("A group without the DMLS profile has no dmls_meta proposals.")]
    MetaInPlainGroup,
    /// DESIGN 4.3: `dmls_meta` by reference.
    #[error("A dmls_meta proposal is committed by reference.")]
    MetaByReference,
    /// DESIGN 4.3: a commit without `dmls_meta`.
    #[error("The commit has no dmls_meta proposal.")]
    MetaMissing,
    /// DESIGN 4.3: a commit with two.
    #[error("The commit has more than one dmls_meta proposal.")]
    DuplicateMeta,
    /// DESIGN 4.3: a commit that votes.
    #[error("The dmls_meta proposal of a commit has a vote.")]
    MetaVote,
    /// DESIGN 4.3: a commit without its confirmation.
    #[error("The dmls_meta proposal of a commit has no confirmation.")]
    MetaWithoutConfirmation,
    /// DESIGN 4.1: a group is either plain or DMLS, for its whole life.
    #[error("The proposed extensions would add or remove the DMLS profile.")]
    ProfileChange,
    /// DESIGN 4.3: the profile is not valid.
    #[error(transparent)]
    Dmls(#[from] DmlsError),
    /// DESIGN 4.3: extension and proposal type of the profile must be required capabilities.
    #[error("The required capabilities of a DMLS group lack those of its profile.")]
    ProfileNotRequired,
}

/// What two Adds of one client share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedKey {
    /// The leaf's signature key.
    Signature,
    /// The leaf's encryption key.
    Encryption,
    /// The init key.
    Init,
}

impl std::fmt::Display for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Signature => "signature key",
            Self::Encryption => "encryption key",
            Self::Init => "init key",
        })
    }
}

/// A valid list, by type, in the order of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProposalList {
    /// The GroupContext's new extensions.
    pub extensions: Option<Extensions>,
    /// New leaves of members.
    pub updates: Vec<(LeafIndex, LeafNode)>,
    /// Members who leave.
    pub removes: Vec<LeafIndex>,
    /// Clients who come.
    pub adds: Vec<KeyPackage>,
    /// PSKs, in the order in which they are mixed in.
    pub psks: Vec<PreSharedKeyId>,
    /// The end of the group.
    pub reinit: Option<ReInit>,
    /// `kem_output` of an external commit.
    pub external_init: Option<Bytes>,
    /// What a DMLS commit says of the history.
    pub meta: Option<DmlsMeta>,
}

/// For which purpose a commit is made (RFC 9420 11.2, 11.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// Any commit but the two below.
    #[default]
    Ordinary,
    /// The first commit of a group that replaces another.
    Reinit,
    /// The first commit of a group that branches off another.
    Branch,
}

impl PublicState {
    /// Sorts a list and checks what can be checked without changing the tree.
    pub(super) fn check_list(
        &self,
        committer: Committer,
        proposals: &[SentProposal],
        purpose: Purpose,
    ) -> Result<ProposalList, ProposalListError> {
        let mut list = ProposalList::default();
        for sent in proposals {
            self.check_proposal(sent, purpose)?;
            self.take(committer, sent, &mut list)?;
        }
        match committer {
            Committer::Member(leaf) => check_member_list(leaf, &list)?,
            Committer::New => check_external_list(proposals, &list)?,
        }
        let others = proposals.iter().filter(|sent| !matches!(sent.proposal, Proposal::DmlsMeta(_)));
        if list.reinit.is_some() && others.count() > 1 {
            return Err(ProposalListError::ReInitNotAlone);
        }
        check_duplicates(&list)?;
        self.check_meta(&list)?;
        Ok(list)
    }

    /// The rules of a single proposal (RFC 9420 12.1), whether it is committed or only received.
    pub(super) fn check_proposal(
        &self,
        sent: &SentProposal,
        purpose: Purpose,
    ) -> Result<(), ProposalListError> {
        let proposal_type = sent.proposal.proposal_type();
        match sent.sender {
            Sender::Member(leaf) if self.tree.leaf(leaf).is_none() => {
                return Err(ProposalListError::UnknownSender(leaf));
            }
            Sender::External(index) => self.check_external_sender(index, proposal_type)?,
            Sender::NewMemberProposal if proposal_type != ProposalType::ADD => {
                return Err(ProposalListError::NewMemberType(proposal_type));
            }
            _ => {}
        }
        match &sent.proposal {
            Proposal::Update(_) if !matches!(sent.sender, Sender::Member(_)) => {
                Err(ProposalListError::UpdateNotByMember)
            }
            Proposal::Remove(remove) if self.tree.leaf(remove.removed).is_none() => {
                Err(ProposalListError::RemoveBlank(remove.removed))
            }
            Proposal::PreSharedKey(psk) => self.check_psk(&psk.psk, purpose),
            Proposal::ReInit(reinit) if reinit.version < self.context.version => {
                Err(ProposalListError::ReInitVersion)
            }
            Proposal::ReInit(reinit) => match reinit.extensions.duplicate() {
                // Nobody could open the group that it announces.
                Some(duplicate) => Err(ProposalListError::DuplicateExtension(duplicate)),
                None => Ok(()),
            },
            Proposal::GroupContextExtensions(new) => self.check_extensions(&new.extensions),
            Proposal::DmlsMeta(_) if self.profile.is_none() => Err(ProposalListError::MetaInPlainGroup),
            _ => self.check_supported(proposal_type),
        }
    }

    /// RFC 9420 12.1.8.
    fn check_external_sender(&self, index: u32, ty: ProposalType) -> Result<(), ProposalListError> {
        let senders = self.context.extensions.external_senders();
        let malformed = |_| ProposalListError::MalformedExtension(ExtensionType::EXTERNAL_SENDERS);
        if usize::try_from(index).map_or(true, |index| index >= senders.as_ref().map_or(0, Vec::len)) {
            senders.map_err(malformed)?;
            return Err(ProposalListError::UnknownExternalSender(index));
        }
        let allowed = [
            ProposalType::ADD,
            ProposalType::REMOVE,
            ProposalType::PSK,
            ProposalType::REINIT,
            ProposalType::GROUP_CONTEXT_EXTENSIONS,
        ];
        if allowed.contains(&ty) { Ok(()) } else { Err(ProposalListError::ExternalType(ty)) }
    }

    /// RFC 9420 12.1.4.
    fn check_psk(&self, psk: &PreSharedKeyId, purpose: Purpose) -> Result<(), ProposalListError> {
        if psk.psk_nonce.len() != self.suite.nh() {
            return Err(ProposalListError::PskNonce);
        }
        match psk.psktype {
            PskType::Resumption { usage: ResumptionPskUsage::Reinit, .. } if purpose != Purpose::Reinit => {
                Err(ProposalListError::PskReinit)
            }
            PskType::Resumption { usage: ResumptionPskUsage::Branch, .. } if purpose != Purpose::Branch => {
                Err(ProposalListError::PskBranch)
            }
            _ => Ok(()),
        }
    }

    /// RFC 9420 12.1.7, 13.4, and DESIGN 4.1, 4.3. Whether the members support them is seen when the tree is known.
    fn check_extensions(&self, new: &Extensions) -> Result<(), ProposalListError> {
        check_context_extensions(new)?;
        let profile = DmlsProfile::from_extensions(new)?;
        if profile.is_some() != self.profile.is_some() {
            return Err(ProposalListError::ProfileChange);
        }
        Ok(())
    }

    /// RFC 9420 7.2, 12.2: proposals beyond the default types need the support of all members.
    fn check_supported(&self, proposal_type: ProposalType) -> Result<(), ProposalListError> {
        if proposal_type.is_default() {
            return Ok(());
        }
        match self.tree.leaves().find(|(_, leaf)| !leaf.capabilities.supports_proposal(proposal_type)) {
            Some((member, _)) => Err(ProposalListError::Unsupported { member, proposal_type }),
            None => Ok(()),
        }
    }

    /// Puts a proposal in its place in the list, with the rules that need the ones before it.
    fn take(
        &self,
        committer: Committer,
        sent: &SentProposal,
        list: &mut ProposalList,
    ) -> Result<(), ProposalListError> {
        match &sent.proposal {
            Proposal::Add(add) => list.adds.push(KeyPackage::clone(&add.key_package)),
            Proposal::Update(update) => match sent.sender {
                Sender::Member(leaf) => list.updates.push((leaf, update.leaf_node.clone())),
                _ => return Err(ProposalListError::UpdateNotByMember),
            },
            Proposal::Remove(remove) => list.removes.push(remove.removed),
            Proposal::PreSharedKey(psk) => list.psks.push(psk.psk.clone()),
            Proposal::ReInit(reinit) => {
                if list.reinit.replace(reinit.clone()).is_some() {
                    return Err(ProposalListError::ReInitNotAlone);
                }
            }
            Proposal::ExternalInit(init) => {
                if committer != Committer::New {
                    return Err(ProposalListError::ExternalInitByMember);
                }
                if list.external_init.replace(init.kem_output.clone()).is_some() {
                    return Err(ProposalListError::DuplicateExternalInit);
                }
            }
            Proposal::GroupContextExtensions(new) => {
                if list.extensions.replace(new.extensions.clone()).is_some() {
                    return Err(ProposalListError::DuplicateGroupContextExtensions);
                }
            }
            Proposal::DmlsMeta(meta) => {
                if sent.reference.is_some() {
                    return Err(ProposalListError::MetaByReference);
                }
                if list.meta.replace(meta.clone()).is_some() {
                    return Err(ProposalListError::DuplicateMeta);
                }
            }
        }
        Ok(())
    }

    /// DESIGN 4.3.
    fn check_meta(&self, list: &ProposalList) -> Result<(), ProposalListError> {
        let Some(meta) = &list.meta else {
            return if self.profile.is_some() { Err(ProposalListError::MetaMissing) } else { Ok(()) };
        };
        if meta.vote.is_some() {
            return Err(ProposalListError::MetaVote);
        }
        if meta.conf.is_none() {
            return Err(ProposalListError::MetaWithoutConfirmation);
        }
        Ok(())
    }
}

/// What the extensions of any GroupContext must be (RFC 9420 13.4; DESIGN 4.3).
pub(super) fn check_context_extensions(extensions: &Extensions) -> Result<(), ProposalListError> {
    if let Some(duplicate) = extensions.duplicate() {
        return Err(ProposalListError::DuplicateExtension(duplicate));
    }
    let malformed = |ty| move |_| ProposalListError::MalformedExtension(ty);
    let required = extensions
        .required_capabilities()
        .map_err(malformed(ExtensionType::REQUIRED_CAPABILITIES))?
        .unwrap_or_default();
    extensions.external_senders().map_err(malformed(ExtensionType::EXTERNAL_SENDERS))?;
    if DmlsProfile::from_extensions(extensions)?.is_some()
        && !(required.extension_types.contains(&ExtensionType::DMLS_PROFILE)
            && required.proposal_types.contains(&ProposalType::DMLS_META))
    {
        return Err(ProposalListError::ProfileNotRequired);
    }
    Ok(())
}

/// RFC 9420 12.2, for a list that a member commits.
fn check_member_list(committer: LeafIndex, list: &ProposalList) -> Result<(), ProposalListError> {
    if list.updates.iter().any(|(leaf, _)| *leaf == committer) {
        return Err(ProposalListError::CommitterUpdates);
    }
    if list.removes.contains(&committer) {
        return Err(ProposalListError::CommitterRemoved);
    }
    Ok(())
}

/// RFC 9420 12.2, for the list of an external commit.
fn check_external_list(proposals: &[SentProposal], list: &ProposalList) -> Result<(), ProposalListError> {
    for sent in proposals {
        if sent.reference.is_some() {
            return Err(ProposalListError::ExternalReference);
        }
        match sent.proposal {
            Proposal::ExternalInit(_) | Proposal::Remove(_) | Proposal::PreSharedKey(_) => {}
            _ => return Err(ProposalListError::ExternalProposal(sent.proposal.proposal_type())),
        }
    }
    if list.external_init.is_none() {
        return Err(ProposalListError::ExternalInitMissing);
    }
    if list.removes.len() > 1 {
        return Err(ProposalListError::ExternalRemoves);
    }
    Ok(())
}

/// RFC 9420 12.2: what may be in a list once only.
fn check_duplicates(list: &ProposalList) -> Result<(), ProposalListError> {
    let mut leaves = BTreeSet::new();
    let updated = list.updates.iter().map(|(leaf, _)| *leaf);
    if let Some(leaf) = updated.chain(list.removes.iter().copied()).find(|leaf| !leaves.insert(*leaf)) {
        return Err(ProposalListError::DuplicateLeaf(leaf));
    }
    let mut psks = BTreeSet::new();
    if !list.psks.iter().all(|psk| psks.insert(psk)) {
        return Err(ProposalListError::DuplicatePsk);
    }
    let (mut signature, mut encryption, mut init) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for add in &list.adds {
        if !signature.insert(&add.leaf_node.signature_key) {
            return Err(ProposalListError::DuplicateAdd(SharedKey::Signature));
        }
        if !encryption.insert(&add.leaf_node.encryption_key) {
            return Err(ProposalListError::DuplicateAdd(SharedKey::Encryption));
        }
        if !init.insert(&add.init_key) {
            return Err(ProposalListError::DuplicateAdd(SharedKey::Init));
        }
    }
    Ok(())
}
