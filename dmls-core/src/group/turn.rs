//! Turns: who commits what waits in the head, and when (DESIGN 4.4: slot i waits i·Δ plus jitter, and cancels when
//! somebody else has done it).

use serde::{Deserialize, Serialize};

use super::authority::is_authorised;
use super::commit::Intent;
use super::handshake::removed_by;
use super::state::Place;
use super::step::Event;
use super::transaction::Transaction;

/// When this client commits what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Turn {
    /// Unix milliseconds.
    pub(super) due: u64,
    /// Whether there is more to do than to take others' new keys, for which one commit may wait until all are there.
    pub(super) urgent: bool,
}

/// What waits in the head, as far as it makes somebody commit.
struct Pending {
    urgent: bool,
    /// How many have their turn before this client.
    place: u64,
}

impl Transaction<'_> {
    /// The one place that says what waits: authorised removals, rejoins, a merge, new keys of who
    /// owes them.
    fn pending(&self) -> Option<Pending> {
        let head = &self.group.state.head;
        let keys = self.group.keys.get(head)?;
        let epoch = self.group.history.epoch(head)?;
        let own = keys.epoch.own_leaf();
        let public = keys.epoch.public();
        let authorised = keys.epoch.proposals().values().filter(|sent| is_authorised(public, sent));
        let leaving = removed_by(authorised.map(|sent| &sent.proposal));
        // Whoever leaves leaves the committing to others, unless all others leave too.
        let leaves = leaving.contains(&own) && epoch.electors.iter().any(|leaf| !leaving.contains(&leaf));
        if epoch.own.named.is_some() || leaves || self.group.state.place != Place::Member {
            return None;
        }
        if leaving.iter().any(|leaf| keys.epoch.leaf(*leaf).is_some()) {
            return Some(Pending { urgent: true, place: epoch.place_by_rank(own) });
        }
        if !self.group.pending_rejoins().is_empty() {
            return Some(Pending { urgent: true, place: epoch.place_by_rank(own) });
        }
        if let Some(plan) = self.due_plan() {
            return Some(Pending { urgent: true, place: self.place_in_merge(&plan) });
        }
        let updates = self.group.updates();
        let pays = !updates.is_empty() && !updates.intersection(&self.group.debts()).is_empty();
        pays.then(|| Pending { urgent: false, place: epoch.place_by_rank(own) })
    }

    /// Whoever has its turn commits what is pending.
    pub(super) fn schedule_turn(&mut self) {
        let Some(Pending { urgent, place }) = self.pending() else {
            self.group.state.turn = None;
            return;
        };
        if self.group.state.turn.is_some_and(|turn| turn.urgent || !urgent) {
            return;
        }
        let slot = self.group.options.turn_slot_ms;
        let members =
            self.group.history.epoch(&self.group.state.head).map_or(1, |epoch| epoch.electors.len());
        // New keys come one by one over the span.
        let batch = if urgent { 0 } else { self.group.options.span(members) };
        let wait = slot.saturating_mul(place).saturating_add(self.random_below(slot / 2));
        let due = self.now().saturating_add(wait).saturating_add(batch);
        self.group.state.turn = Some(Turn { due, urgent });
    }

    /// Commits what is pending, if it is time.
    pub(super) fn take_turn(&mut self) {
        let Some(turn) = self.group.state.turn.filter(|turn| turn.due <= self.now()) else { return };
        let plan = self.due_plan();
        self.group.state.turn = None;
        // A merge has rejoins of its own. What nobody can commit is dropped, and with it perhaps the reason for a turn.
        let proposals = if plan.is_none() { self.rejoin_proposals() } else { Vec::new() };
        if plan.is_none() && self.pending().is_none() {
            return;
        }
        let done = match plan {
            Some(plan) => self.commit_merge(plan),
            // An Update that fits no tree is no reason to commit.
            None if !turn.urgent && !self.can_pay() => false,
            None => self.attempt(|step| step.commit_on_head(Intent { proposals, ..Intent::default() })),
        };
        if !done {
            // Somebody else's turn comes; this one's again when all had theirs.
            let slots = self.group.keys.get(&self.group.state.head).map_or(1, |k| k.epoch.tree().width());
            let round = self.group.options.turn_slot_ms.max(1).saturating_mul(u64::from(slots) + 1);
            let wait = if turn.urgent { round } else { round.max(self.group.options.merge_max_wait_ms) };
            let due = self.now().saturating_add(wait);
            self.group.state.turn = Some(Turn { due, ..turn });
        }
    }

    /// Whoever is about to send where a merge is to remove somebody merges first, if it may (DESIGN 4.6).
    pub(super) fn merge_before_sending(&mut self) {
        let removed = self.group.pending_removals();
        if removed.is_empty() {
            return;
        }
        let merge = self.urgent_plan();
        if merge.is_some_and(|merge| self.commit_merge(merge)) {
            self.follow_evidence();
        }
        let members = self.group.pending_removals();
        if !members.is_empty() {
            self.event(Event::RemovalPending { members });
        }
    }
}
