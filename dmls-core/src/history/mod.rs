//! The tree of epochs and the one function that chooses a branch (DESIGN 4.4).
//!
//! [`History`] knows nothing of keys: it holds which commits are valid, who has named which child of which epoch, and
//! what follows from that. [`History::head`] is a pure function of this; it is the only place where a branch is
//! chosen. Recording evidence in another order gives the same history.

mod branches;
mod carry;
mod choice;
mod commits;
mod evidence;
mod finality;
mod judge;
mod leaf_set;
mod moved_on;
mod summary;
#[cfg(test)]
mod tests;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use carry::{Carried, CarryKind, CarrySet, MergeCheck, Onto};
pub use choice::{Before, Candidate, ChoiceKey, Decision, Head, RankedChild};
pub use leaf_set::LeafSet;
pub use moved_on::MovedOn;
pub use summary::{Deed, Member, Operation, Summary};

use crate::schedule::{CommitId, EpochId};
use crate::tree::LeafIndex;

/// Why something could not be recorded. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HistoryError {
    /// The epoch is not, or no longer, part of the history.
    #[error("The epoch is not part of the history.")]
    UnknownEpoch,
    /// The commit, or the epoch that it makes, is there already.
    #[error("The commit or its epoch is part of the history already.")]
    EpochExists,
    /// The epochs do not form one tree.
    #[error("The epochs of the history do not form one tree.")]
    NotATree,
}

/// Why a child cannot be entered by this client. Its votes count all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blocked {
    /// The commit removes this client.
    Removed,
    /// The commit cannot be processed by this client: why, as a sentence.
    Unusable(String),
}

/// A valid commit on an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// Leaf of the committer in the parent.
    pub committer: LeafIndex,
    /// 0 for an admin's removal under a non-empty admin list, else 1 (DESIGN 4.4).
    pub class: u8,
    /// What the commit does.
    pub summary: Summary,
    /// The epoch that it makes, or why this client has none.
    pub outcome: Result<EpochId, Blocked>,
}

/// What the application has been told of a change of the roster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Roster {
    /// Nothing, or that it is undone.
    #[default]
    Unreported,
    /// That it is in effect for now.
    Provisional,
    /// That it stands.
    Final,
}

/// What this client itself has said at an epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnMarks {
    /// The child named by its own commit on the epoch or vote in it: once and for ever.
    pub named: Option<CommitId>,
    /// The child below which it first sent anything.
    pub first_sent: Option<CommitId>,
    /// Whether it has sent a handshake message in the epoch.
    pub acknowledged: bool,
    /// Whether it has told the application that the epoch's commit is not in effect.
    pub reported_lost: bool,
    /// What it has told the application of the members that the epoch's commit adds and removes.
    pub reported_roster: Roster,
    /// Of the anchor: the newest deleted epoch above it at which this client has named another child, or first spoken
    /// below another, than the one that leads here.
    pub since: Option<EpochId>,
    /// Whether a member has asked it, here, to be added anew: that one cannot read what is said below.
    pub left_behind: bool,
}

/// One epoch of the history: facts and evidence, no keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEpoch {
    /// The parent and the commit that leads here; `None` for the first epoch. The anchor's parent is not stored any
    /// more.
    pub parent: Option<(EpochId, CommitId)>,
    /// MLS epoch number.
    pub number: u64,
    /// Number of leaves of the tree, blank ones included.
    pub width: u32,
    /// Its members' leaves.
    pub electors: LeafSet,
    /// Leaves of the parent that the commit blanks: whoever sits there now is somebody new.
    pub blanked: LeafSet,
    /// Valid commits on it.
    pub children: BTreeMap<CommitId, Child>,
    /// Who has named which child, known or not. Of a leaf that has named more than two the smallest two are kept.
    pub named: BTreeMap<CommitId, LeafSet>,
    /// Named children that nobody could produce in time: votes for them count as void until one comes.
    pub written_off: BTreeSet<CommitId>,
    /// Named children that are not known, with the reconciled time, in milliseconds, when each was first named.
    pub unseen: BTreeMap<CommitId, u64>,
    /// Leaves that have sent any message in it.
    pub spoken: LeafSet,
    /// Who has spoken below it, and since when.
    pub moved_on: MovedOn,
    /// Reconciled time, in milliseconds, when it became known: its parent's age counts from then.
    pub born: u64,
    /// Since when it fulfils all else that *closed* asks for: reconciled time, in milliseconds.
    pub settled_since: Option<u64>,
    /// What this client has said here.
    pub own: OwnMarks,
    /// Application messages delivered that were sent in it.
    pub messages: u64,
}

impl HistoryEpoch {
    /// An epoch without evidence.
    pub fn new(
        parent: Option<(EpochId, CommitId)>,
        number: u64,
        width: u32,
        electors: LeafSet,
        blanked: LeafSet,
    ) -> Self {
        Self {
            parent,
            number,
            width,
            electors,
            blanked,
            children: BTreeMap::new(),
            named: BTreeMap::new(),
            written_off: BTreeSet::new(),
            unseen: BTreeMap::new(),
            spoken: LeafSet::default(),
            moved_on: MovedOn::default(),
            born: 0,
            settled_since: None,
            own: OwnMarks::default(),
            messages: 0,
        }
    }

    /// Whether it is what `commit` makes of `parent`, which is called `id`.
    fn is_child_of(&self, id: &EpochId, parent: &Self, commit: &CommitId) -> bool {
        let link = self.parent.as_ref().is_some_and(|(at, by)| at == id && by == commit);
        link && Some(self.number) == parent.number.checked_add(1)
    }
}

/// Names the commits of a history: two histories of one shape have the same ones. It says nothing of votes and marks.
#[derive(Debug, Clone, Default)]
pub struct Shape(Arc<()>);

/// Whether one is a copy of the other. Two that came about on their own are never known to be the same.
impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Shape {}

/// The tree of epochs from the anchor. Cheap to clone: epochs are shared until one changes.
#[derive(Debug, Clone)]
pub struct History {
    anchor: EpochId,
    epochs: BTreeMap<EpochId, Arc<HistoryEpoch>>,
    /// A new one whenever a commit comes or goes.
    shape: Shape,
}

/// Histories of the same epochs are equal, however they came about.
impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        self.anchor == other.anchor && self.epochs == other.epochs
    }
}

impl Eq for History {}

impl History {
    /// A history of one epoch.
    pub fn new(anchor: EpochId, epoch: HistoryEpoch) -> Self {
        Self { epochs: BTreeMap::from([(anchor.clone(), Arc::new(epoch))]), anchor, shape: Shape::default() }
    }

    /// The history of stored epochs: one of them has no parent among them.
    ///
    /// # Errors
    /// [`HistoryError::NotATree`] if there is no such epoch, or more than one, or one that it does not reach, or if an
    /// epoch and its parent do not name each other.
    pub fn from_epochs(
        epochs: impl IntoIterator<Item = (EpochId, HistoryEpoch)>,
    ) -> Result<Self, HistoryError> {
        let epochs: BTreeMap<_, _> = epochs.into_iter().map(|(id, epoch)| (id, Arc::new(epoch))).collect();
        let has_parent =
            |epoch: &HistoryEpoch| epoch.parent.as_ref().is_some_and(|(id, _)| epochs.contains_key(id));
        let mut roots = epochs.iter().filter(|(_, epoch)| !has_parent(epoch)).map(|(id, _)| id.clone());
        let (Some(anchor), None) = (roots.next(), roots.next()) else { return Err(HistoryError::NotATree) };
        let history = Self { anchor, epochs, shape: Shape::default() };
        // Every edge has two ends that agree, so that the walk below meets no epoch twice.
        let linked = history.epochs.iter().all(|(at, epoch)| {
            epoch.children.iter().all(|(commit, child)| match &child.outcome {
                Ok(id) => history.epoch(id).is_some_and(|child| child.is_child_of(at, epoch, commit)),
                Err(_) => true,
            })
        });
        if !linked || history.subtree(&history.anchor).len() != history.epochs.len() {
            return Err(HistoryError::NotATree);
        }
        Ok(history)
    }

    /// The oldest epoch.
    pub fn anchor(&self) -> &EpochId {
        &self.anchor
    }

    /// An epoch.
    pub fn epoch(&self, id: &EpochId) -> Option<&HistoryEpoch> {
        self.epochs.get(id).map(Arc::as_ref)
    }

    /// Which commits there are.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// An epoch, to change what this client has said or seen in it: its children are not for the caller to change.
    pub fn epoch_mut(&mut self, id: &EpochId) -> Option<&mut HistoryEpoch> {
        self.epochs.get_mut(id).map(Arc::make_mut)
    }

    /// Every epoch, by id.
    pub fn epochs(&self) -> impl Iterator<Item = (&EpochId, &HistoryEpoch)> {
        self.epochs.iter().map(|(id, epoch)| (id, epoch.as_ref()))
    }

    /// Number of epochs.
    pub fn len(&self) -> usize {
        self.epochs.len()
    }

    /// Never: there is always the anchor.
    pub fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// The epochs whose records differ from those of `before`.
    pub fn changed_since<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (&'a EpochId, &'a HistoryEpoch)> {
        self.epochs
            .iter()
            .filter(|(id, epoch)| !before.epochs.get(id).is_some_and(|old| Arc::ptr_eq(old, epoch)))
            .map(|(id, epoch)| (id, epoch.as_ref()))
    }

    /// The epochs of `before` that are gone.
    pub fn removed_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a EpochId> {
        before.epochs.keys().filter(|id| !self.epochs.contains_key(id))
    }

    /// The ancestors of an epoch with the commit on each that leads to it, nearest first.
    pub fn ancestors<'a>(
        &'a self,
        id: &EpochId,
    ) -> impl Iterator<Item = (&'a EpochId, &'a CommitId)> + use<'a> {
        let step = |epoch: &'a Arc<HistoryEpoch>| {
            let (parent, commit) = epoch.parent.as_ref()?;
            let (parent, epoch) = self.epochs.get_key_value(parent)?;
            Some((parent, commit, epoch))
        };
        let mut next = self.epochs.get(id).and_then(step);
        std::iter::from_fn(move || {
            let (parent, commit, epoch) = next.take()?;
            next = step(epoch);
            Some((parent, commit))
        })
    }

    /// Whether `ancestor` is `id` or above it.
    pub fn is_on_path(&self, ancestor: &EpochId, id: &EpochId) -> bool {
        ancestor == id || self.ancestors(id).any(|(above, _)| above == ancestor)
    }

    /// The epochs from below their last common ancestor to each of the two, oldest first.
    pub fn diverge(&self, one: &EpochId, other: &EpochId) -> (Vec<EpochId>, Vec<EpochId>) {
        let path = |id: &EpochId| {
            let mut path: Vec<EpochId> = self.ancestors(id).map(|(above, _)| above.clone()).collect();
            path.reverse();
            path.push(id.clone());
            path
        };
        let (one, other) = (path(one), path(other));
        let common = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
        (one[common..].to_vec(), other[common..].to_vec())
    }

    /// `id` and everything below it, parents first.
    pub fn subtree(&self, id: &EpochId) -> Vec<EpochId> {
        let mut found = vec![id.clone()];
        let mut next = 0;
        while let Some(epoch) = found.get(next).and_then(|id| self.epochs.get(id)) {
            let children = epoch.children.values().filter_map(|child| child.outcome.as_ref().ok());
            found.extend(children.filter(|child| self.epochs.contains_key(child)).cloned());
            next += 1;
        }
        found
    }

    /// Deletes everything that is not `anchor` or below it. Evidence on what is gone is ignored from now on.
    ///
    /// # Errors
    /// [`HistoryError::UnknownEpoch`] if there is no such epoch.
    pub fn move_anchor(&mut self, anchor: &EpochId) -> Result<(), HistoryError> {
        if !self.epochs.contains_key(anchor) {
            return Err(HistoryError::UnknownEpoch);
        }
        let kept: BTreeSet<EpochId> = self.subtree(anchor).into_iter().collect();
        self.epochs.retain(|id, _| kept.contains(id));
        self.shape = Shape::default();
        self.anchor = anchor.clone();
        Ok(())
    }

    /// Deletes one branch: `id` and everything below it. Its commit stays known, with its votes, as one that this
    /// client cannot enter any more.
    ///
    /// # Errors
    /// [`HistoryError::UnknownEpoch`] if there is no such epoch, or it is the anchor.
    pub fn remove_branch(&mut self, id: &EpochId) -> Result<(), HistoryError> {
        let link = self.epoch(id).filter(|_| *id != self.anchor).and_then(|epoch| epoch.parent.clone());
        let (parent, commit) = link.ok_or(HistoryError::UnknownEpoch)?;
        for id in self.subtree(id) {
            self.epochs.remove(&id);
        }
        self.shape = Shape::default();
        if let Some(child) = self.epoch_mut(&parent).and_then(|parent| parent.children.get_mut(&commit)) {
            child.outcome = Err(Blocked::Unusable("This client has deleted the branch.".into()));
        }
        Ok(())
    }
}
