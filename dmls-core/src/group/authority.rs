//! Who may do what: the admin list of the group (DESIGN 4.3, 4.4). It is judged from the parent epoch alone, so that
//! every member judges alike.

use super::rejoin::rejoins;
use crate::epoch::{CommitPolicy, Committer, PublicState, SentProposal};
use crate::framing::{Proposal, Sender};

/// The policy by which commits of a DMLS group are judged, made or received.
pub(super) struct Authority;

impl CommitPolicy for Authority {
    fn authorise(
        &self,
        epoch: &PublicState,
        _committer: Committer,
        proposals: &[SentProposal],
    ) -> Result<(), String> {
        let rejoins = rejoins(epoch, proposals);
        // Any member may commit a rejoin: the client itself has signed for it.
        let of_rejoin = |place| rejoins.iter().any(|rejoin| rejoin.remove == place || rejoin.add == place);
        let mut all = proposals.iter().enumerate();
        if all.all(|(place, sent)| is_authorised(epoch, sent) || of_rejoin(place)) {
            Ok(())
        } else {
            Err("only an admin may add or remove members, or change the group.".into())
        }
    }
}

/// Whether the author of a proposal may make it. Everybody may ask for its own removal, and anybody commit that.
pub(super) fn is_authorised(epoch: &PublicState, sent: &SentProposal) -> bool {
    let admins = epoch.profile().map(|profile| &profile.admins).filter(|admins| !admins.is_empty());
    let Some(admins) = admins else { return true };
    let Sender::Member(author) = sent.sender else { return false };
    match &sent.proposal {
        Proposal::Update(_) | Proposal::PreSharedKey(_) | Proposal::DmlsMeta(_) => true,
        Proposal::Remove(remove) if remove.removed == author => true,
        Proposal::Add(_)
        | Proposal::Remove(_)
        | Proposal::ReInit(_)
        | Proposal::ExternalInit(_)
        | Proposal::GroupContextExtensions(_) => {
            epoch.leaf(author).is_some_and(|leaf| admins.contains(&leaf.credential))
        }
    }
}
