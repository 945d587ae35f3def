//! Rejoining: a client is removed and added in one commit, at its own signed request (DESIGN 4.4).

use crate::epoch::{PublicState, SentProposal};
use crate::framing::{DmlsRejoin, Proposal};
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
