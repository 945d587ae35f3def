//! Rejoining: a client is removed and added in one commit, at its own signed request (DESIGN 4.4).

use super::authority::Authority;
use super::key_packages::client_name;
use super::options::limits;
use super::transaction::{Transaction, member};
use crate::codec::Bytes;
use crate::epoch::{PublicState, SentProposal};
use crate::framing::{Add, DmlsNotice, DmlsRejoin, KeyPackage, Proposal, Remove, Sender};
use crate::schedule::EpochId;
use crate::tree::{LeafIndex, LeafNode};

/// A Remove and an Add of one commit that are one rejoin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rejoin {
    /// The leaf that the client had.
    pub(super) from: LeafIndex,
    /// Place of the Remove among the commit's proposals.
    pub(super) remove: usize,
    /// Place of the Add.
    pub(super) add: usize,
}

/// The number of the request to rejoin this group that a leaf carries; none if it carries none that can be read.
pub(super) fn request_number(epoch: &PublicState, leaf: &LeafNode) -> Option<u64> {
    let request = DmlsRejoin::from_extensions(&leaf.extensions).ok().flatten()?;
    (request.group_id == epoch.context().group_id).then_some(request.number)
}

/// Whether `new`, a leaf with a request to rejoin, is the same client as `old` and its request newer than `old`'s own.
pub(super) fn succeeds(epoch: &PublicState, old: &LeafNode, new: &LeafNode) -> bool {
    let before = match DmlsRejoin::from_extensions(&old.extensions) {
        Ok(None) => Some(0),
        // What cannot be read has no successor: its number is not known.
        Ok(Some(_)) | Err(_) => request_number(epoch, old),
    };
    old.credential == new.credential
        && old.signature_key == new.signature_key
        && before.is_some_and(|before| request_number(epoch, new).is_some_and(|number| number > before))
}

/// The rejoins of a commit: by-value Removes and Adds of one client, the Add with a request that is newer than the
/// leaf's own. It depends on the parent epoch and the proposals alone. All else are Removes and Adds like any.
pub(super) fn rejoins(epoch: &PublicState, proposals: &[SentProposal]) -> Vec<Rejoin> {
    let by_value = || proposals.iter().enumerate().filter(|(_, sent)| sent.reference.is_none());
    let removes: Vec<(usize, LeafIndex)> = by_value()
        .filter_map(|(place, sent)| match &sent.proposal {
            Proposal::Remove(remove) => Some((place, remove.removed)),
            _ => None,
        })
        .collect();
    let rejoin = |(add, sent): (usize, &SentProposal)| {
        let Proposal::Add(new) = &sent.proposal else { return None };
        let new = &new.key_package.leaf_node;
        // Most Adds carry no request: that is told without looking at the Removes.
        request_number(epoch, new)?;
        let of_same =
            |(_, leaf): &&(usize, LeafIndex)| epoch.leaf(*leaf).is_some_and(|old| succeeds(epoch, old, new));
        removes.iter().find(of_same).map(|(remove, from)| Rejoin { from: *from, remove: *remove, add })
    };
    by_value().filter_map(rejoin).collect()
}

/// Whether some of a committer's own proposals are a rejoin.
pub(super) fn has_rejoin(epoch: &PublicState, proposals: &[Proposal]) -> bool {
    let sender = Sender::Member(LeafIndex(0));
    let sent = proposals.iter().cloned().map(|proposal| SentProposal { sender, proposal, reference: None });
    !rejoins(epoch, &sent.collect::<Vec<_>>()).is_empty()
}

impl Transaction<'_> {
    /// The rejoins that are pending in the head, as proposals: no more than one commit takes. A key package that no
    /// commit can add is dropped, so that it does not hold up the others.
    pub(super) fn rejoin_proposals(&mut self) -> Vec<Proposal> {
        let Some(keys) = self.group.keys.get(&self.group.state.head).cloned() else { return Vec::new() };
        let pending: Vec<(LeafIndex, KeyPackage)> =
            self.group.pending_rejoins().into_iter().map(|(from, new)| (from, new.clone())).collect();
        let mut proposals = Vec::new();
        for (from, new) in pending.into_iter().take(limits::REJOINS) {
            let who = member(from, &new.leaf_node);
            let rejoin = [
                Proposal::Remove(Remove { removed: from }),
                Proposal::Add(Add { key_package: Box::new(new) }),
            ];
            let with: Vec<Proposal> = proposals.iter().chain(&rejoin).cloned().collect();
            if keys.epoch.may_commit(&with, &[], &Authority).is_ok() {
                proposals = with;
            } else if keys.epoch.may_commit(&rejoin, &[], &Authority).is_err()
                && let Ok(name) = client_name(&who.credential, &who.fingerprint)
            {
                self.drop_offer(&name);
            }
        }
        proposals
    }

    /// Sends a Welcome where those who asked by a notice can read it. Where that is not possible the host's own way is
    /// left.
    pub(super) fn send_welcome(&mut self, epochs: &[EpochId], welcome: &[u8]) {
        for epoch in epochs {
            self.attempt(|step| {
                step.send_notice(epoch, DmlsNotice::Welcome(Bytes::from(welcome))).map(|_| ())
            });
        }
    }
}
