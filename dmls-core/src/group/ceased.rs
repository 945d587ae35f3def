//! What was to be carried and is not any more (DESIGN 4.6): nothing is lost without a word.

use std::collections::{BTreeMap, BTreeSet};

use super::Group;
use super::state::Place;
use super::step::Event;
use super::transaction::Transaction;
use crate::framing::MAX_OPERATIONS;
use crate::history::{Carried, CarryKind, Child, History, Member, Operation};
use crate::schedule::{CommitId, EpochId};
use crate::tree::Credential;

impl History {
    fn child_of(&self, commit: &CommitId) -> Option<&Child> {
        self.epochs().find_map(|(_, epoch)| epoch.children.get(commit))
    }
}

impl Transaction<'_> {
    /// What the commits did that this step has put between the head before and the head.
    fn newly_done(&self) -> impl Iterator<Item = &Operation> {
        let history = &self.group.history;
        let from = self.before.map(|before| &before.state.head);
        let new = from.map(|from| history.diverge(&self.group.state.head, from).0).unwrap_or_default();
        let child = |id: EpochId| {
            let (parent, commit) = history.epoch(&id)?.parent.as_ref()?;
            history.epoch(parent)?.children.get(commit)
        };
        new.into_iter().filter_map(child).flat_map(|child| child.summary.operations())
    }

    /// Whom these commits removed.
    pub(super) fn newly_removed(&self) -> BTreeSet<Credential> {
        let removed = self.newly_done().filter_map(|operation| match operation {
            Operation::Remove(member) => Some(member.credential.clone()),
            _ => None,
        });
        removed.collect()
    }

    /// Reports what a merge was to carry when the step began and what now is neither in effect, nor carried, nor put off:
    /// its branch has been deleted, or who did it has lost its say. It was left out when the branch was reported.
    pub(super) fn report_ceased(&mut self) {
        let Some(before) = self.before else { return };
        let same = |old: &Group, new: &Group| {
            new.history.changed_since(&old.history).next().is_none()
                && new.history.removed_since(&old.history).next().is_none()
        };
        if same(before, &self.group) || self.group.state.place != Place::Member {
            return;
        }
        let mut lost: BTreeMap<EpochId, Vec<(Member, Operation)>> = BTreeMap::new();
        for (id, by, operation) in self.ceased(before) {
            lost.entry(id).or_default().push((by, operation));
        }
        for (tip, operations) in lost {
            self.event(Event::BranchLost { tip, operations });
        }
    }

    /// Reports branches that are about to be deleted, decided or not.
    pub(super) fn report_deleted(&mut self, ids: &[EpochId]) {
        for id in ids {
            if !self.group.history.is_on_path(id, &self.group.state.head) {
                self.report_lost_epoch(id);
            }
        }
    }

    fn ceased(&self, before: &Group) -> Vec<(EpochId, Member, Operation)> {
        let were = before.carry_sets();
        if were.is_empty() {
            return Vec::new();
        }
        let are = self.group.carry_sets();
        let is_full = |fork: &EpochId| {
            are.iter().any(|set| set.fork == *fork && set.operations.len() >= MAX_OPERATIONS)
        };
        let were = were.iter().filter(|set| !is_full(&set.fork)).flat_map(|set| &set.operations);
        let ceased = were.filter_map(|carried| {
            let child = before.history.child_of(&carried.commit)?;
            let id = child.outcome.as_ref().ok()?;
            let told = before.history.epoch(id).is_some_and(|epoch| epoch.own.reported_lost);
            let gone = self.group.history.epoch(id).is_none();
            let does = |operation: &&Operation| is_done_by(carried, operation);
            let operation = child.summary.operations().find(does)?.clone();
            let is_lost = (told || gone)
                && !self.group.history.is_on_path(id, &self.group.state.head)
                && !self.newly_done().any(|done| is_done_by(carried, done))
                && !self.group.state.merging.awaits(&carried.member);
            is_lost.then(|| (id.clone(), child.summary.committer.clone(), operation))
        });
        let ceased: Vec<_> = ceased.collect();
        let lost = self.group.not_carried(ceased.iter().map(|(_, _, operation)| operation.clone()));
        ceased.into_iter().filter(|(_, _, operation)| lost.contains(operation)).collect()
    }
}

/// Whether an operation does to the same client what is carried.
fn is_done_by(carried: &Carried, operation: &Operation) -> bool {
    let client = &carried.member.credential;
    match operation {
        Operation::Add(member) => carried.kind == CarryKind::Add && member.credential == *client,
        Operation::Remove(member) => carried.kind == CarryKind::Remove && member.credential == *client,
        Operation::Rejoin { from, .. } => carried.kind == CarryKind::Rejoin && from.credential == *client,
        _ => false,
    }
}
