//! What a member does by itself for the group's health: it refreshes its keys, and removes who has long been silent
//! (DESIGN 4.5). Both are functions of stored state and of the time that is handed in, and wait for this client's turn.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::authority::is_authorised;
use super::commit::Intent;
use super::options::limits;
use super::state::Place;
use super::transaction::Transaction;
use super::{Group, Keys};
use crate::codec::Bytes;
use crate::epoch::SentProposal;
use crate::framing::{Proposal, Remove, Sender};
use crate::history::LeafSet;
use crate::schedule::EpochId;
use crate::tree::LeafIndex;

/// Parts into which the time of silence is divided: members who fall silent within one of them count as one.
const PARTS: u64 = 30;

/// What the policies remember.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Policies {
    /// The head that the rest is about.
    head: Option<EpochId>,
    /// Members of the head that have yet to say something in it, by the reconciled time since when they have been
    /// silent; rounded up. Who has said something in the head owes nothing: an idle group is not a silent one.
    owing: BTreeMap<u64, LeafSet>,
    /// The own leaf's encryption key in the head.
    own_key: Bytes,
    /// When it has to be replaced.
    refresh_at: u64,
    /// When this client's turn comes.
    due: Option<u64>,
}

impl Policies {
    fn settle_debt(&mut self, leaves: &LeafSet) {
        self.owing.values_mut().for_each(|owing| owing.subtract(leaves));
        self.owing.retain(|_, owing| !owing.is_empty());
    }

    fn owe(&mut self, leaves: &LeafSet, now: u64, silence: u64) {
        if leaves.is_empty() {
            return;
        }
        let part = (silence / PARTS).max(1);
        let since = now.div_ceil(part).saturating_mul(part);
        self.owing.entry(since).or_default().union_with(leaves);
    }

    /// Those who have been silent since `before` or longer; from now on they are kept as one.
    fn silent_since(&mut self, before: u64) -> LeafSet {
        let mut silent = LeafSet::default();
        let mut first = None;
        while let Some(entry) = self.owing.first_entry().filter(|entry| *entry.key() <= before) {
            first.get_or_insert(*entry.key());
            silent.union_with(&entry.remove());
        }
        if let Some(since) = first {
            self.owing.insert(since, silent.clone());
        }
        silent
    }
}

impl Group {
    /// When the policies want a step. What is overdue waits for something else than time.
    pub(super) fn policy_deadline(&self) -> Option<u64> {
        let Policies { owing, refresh_at, due, .. } = &self.state.policies;
        let refresh = (self.options.refresh_after_ms > 0).then_some(*refresh_at);
        let refresh = refresh.filter(|at| (self.state.now_ms + 1..=self.state.reconciled_until).contains(at));
        let silence = self.options.silent_after_ms;
        let silent = owing.keys().map(|since| since.saturating_add(silence));
        let silent = silent.filter(|at| *at > self.state.reconciled_ms).min();
        due.iter().copied().chain(refresh).chain(silent.and_then(|at| self.state.when_reconciled(at))).min()
    }
}

impl Transaction<'_> {
    /// Whoever sends anything, in any epoch, is not silent.
    pub(super) fn note_heard(&mut self, epoch: &EpochId, leaf: LeafIndex) {
        let state = &self.group.state;
        if !state.policies.owing.values().any(|owing| owing.contains(leaf)) {
            return;
        }
        let key = |at: &EpochId| {
            let leaf = self.group.keys.get(at)?.epoch.leaf(leaf)?;
            Some(leaf.signature_key.clone())
        };
        let sender = key(epoch);
        let same = state.policies.head.as_ref().is_some_and(|head| sender.is_some() && key(head) == sender);
        if same {
            let head = self.group.history.epoch(&self.group.state.head);
            let in_head = head.is_some_and(|head| head.spoken.contains(leaf));
            let leaves: LeafSet = [leaf].into_iter().collect();
            let (now, silence) = (state.reconciled_ms, self.group.options.silent_after_ms);
            let policies = &mut self.group.state.policies;
            policies.settle_debt(&leaves);
            if !in_head {
                policies.owe(&leaves, now, silence);
            }
        }
    }

    /// Brings what the policies remember in line with the head. Before anything is deleted: it is compared with the head
    /// before.
    pub(super) fn note_policies(&mut self) {
        let Some(Keys { epoch, .. }) = self.group.keys.get(&self.group.state.head).cloned() else { return };
        let own_leaf = epoch.own_leaf();
        self.note_owing(own_leaf);
        let after = self.group.options.refresh_after_ms;
        let own_key = epoch.leaf(own_leaf).map(|leaf| leaf.encryption_key.0.clone());
        let own_key = own_key.filter(|_| after > 0).unwrap_or_default();
        if own_key != self.group.state.policies.own_key {
            // Not all at once: most groups begin with one commit.
            let wait = after / 4 * 3 + self.random_below(after / 4);
            let refresh_at = self.now().saturating_add(wait);
            let policies = &mut self.group.state.policies;
            (policies.own_key, policies.refresh_at) = (own_key, refresh_at);
        }
        self.schedule_policies();
    }

    fn note_owing(&mut self, own_leaf: LeafIndex) {
        let silence = self.group.options.silent_after_ms;
        let head = self.group.state.head.clone();
        let Group { history, state, .. } = &mut self.group;
        let policies = &mut state.policies;
        if silence == 0 {
            policies.owing.clear();
        }
        if let Some(record) = history.epoch(&head).filter(|_| silence > 0) {
            if policies.head.as_ref() != Some(&head) {
                if let Some(from) = &policies.head {
                    let (to, from) = history.diverge(&head, from);
                    for id in to.iter().chain(&from) {
                        let blanked = history.epoch(id).map(|epoch| epoch.blanked.clone());
                        policies.settle_debt(&blanked.unwrap_or_default());
                    }
                }
                policies.owing.values_mut().for_each(|owing| *owing = owing.intersection(&record.electors));
                let mut fresh = record.electors.clone();
                policies.owing.values().for_each(|owing| fresh.subtract(owing));
                fresh.remove(own_leaf);
                policies.owe(&fresh, state.reconciled_ms, silence);
            }
            policies.settle_debt(&record.spoken);
        }
        if policies.head.as_ref() != Some(&head) {
            (policies.head, policies.due) = (Some(head), None);
        }
    }

    /// What the policies ask of this client now: to commit, and whom to remove. None: nothing.
    fn asked_for(&mut self) -> Option<Vec<Proposal>> {
        let Group { state, options, history, .. } = &self.group;
        let record = history.epoch(&state.head)?;
        // Who has not caught up would make a fork, and so would who does not wait for what is pending.
        let may = state.place == Place::Member
            && !state.leaving
            && state.turn.is_none()
            && record.own.named.is_none()
            && state.now_ms < state.reconciled_until
            && record.electors.len() > 1;
        if !may {
            return None;
        }
        let stale = options.refresh_after_ms > 0 && state.policies.refresh_at <= state.now_ms;
        let removals = self.removals_of_silent();
        (stale || !removals.is_empty()).then_some(removals)
    }

    /// Removals of those who have been silent for too long. Where half of the group is silent it is this side that is cut
    /// off.
    fn removals_of_silent(&mut self) -> Vec<Proposal> {
        let Some(before) =
            self.group.state.reconciled_ms.checked_sub(self.group.options.silent_after_ms.max(1))
        else {
            return Vec::new();
        };
        let silent = self.group.state.policies.silent_since(before);
        let Some(Keys { epoch, .. }) = self.group.keys.get(&self.group.state.head) else { return Vec::new() };
        if silent.len() * 2 >= epoch.tree().member_count() as usize {
            return Vec::new();
        }
        let sender = Sender::Member(epoch.own_leaf());
        let removals = silent.iter().filter(|leaf| epoch.leaf(*leaf).is_some());
        let removals = removals.map(|removed| Proposal::Remove(Remove { removed }));
        let sent = |proposal: Proposal| SentProposal { sender, proposal, reference: None };
        let may = |proposal: &Proposal| is_authorised(epoch.public(), &sent(proposal.clone()));
        removals.filter(may).take(limits::ADDS).collect()
    }

    fn schedule_policies(&mut self) {
        if self.asked_for().is_none() {
            self.group.state.policies.due = None;
            return;
        }
        if self.group.state.policies.due.is_some() {
            return;
        }
        let head = &self.group.state.head;
        let Some(own) = self.group.keys.get(head).map(|keys| keys.epoch.own_leaf()) else { return };
        let place = self.group.history.epoch(head).map_or(0, |epoch| epoch.place_by_rank(own));
        let slot = self.group.options.turn_slot_ms.max(1);
        let wait = slot.saturating_mul(place).saturating_add(self.random_below(slot / 2));
        self.group.state.policies.due = Some(self.now().saturating_add(wait));
    }

    /// Does what the policies ask for, if it is this client's turn.
    pub(super) fn run_policies(&mut self) {
        let Policies { head, due, .. } = &self.group.state.policies;
        if head.as_ref() != Some(&self.group.state.head) || due.is_none_or(|due| due > self.now()) {
            return;
        }
        self.group.state.policies.due = None;
        let Some(removals) = self.asked_for() else { return };
        if !self.attempt(|step| step.commit_on_head(Intent { proposals: removals, ..Intent::default() })) {
            // Once more when all others have had their turn.
            let slots = self.group.keys.get(&self.group.state.head).map_or(1, |k| k.epoch.tree().width());
            let wait = self.group.options.turn_slot_ms.max(1).saturating_mul(u64::from(slots) + 1);
            self.group.state.policies.due = Some(self.now().saturating_add(wait));
        }
    }
}
