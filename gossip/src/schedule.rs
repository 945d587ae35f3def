//! When to reconcile, and with whom: at once with whoever joins a topic, now and then with a few peers, after a hint,
//! and after a failure later and later.

use std::collections::VecDeque;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::gossipsub::{self, MessageAcceptance};

use crate::Topic;
use crate::catchup::{Next, Outcome, Purpose};
use crate::config::ms;
use crate::reconcile;
use crate::task::{Key, Task};
use crate::wire::Request;

/// Peers of a topic that a periodic round reconciles with.
const ROUND_PEERS: usize = 3;
/// Peers of a topic that are told of news.
const SPREAD_PEERS: usize = 12;

/// When to reconcile with one peer on one topic.
#[derive(Default)]
pub(crate) struct Plan {
    next: Option<Instant>,
    last: Option<Instant>,
    failures: u32,
    running: bool,
    /// The surplus that the peer was last told of, and when.
    hinted: Option<([u8; 32], Instant)>,
}

impl Task {
    /// Reconcile with a peer at this time, or as soon after as the pace allows.
    pub(crate) fn plan(&mut self, peer: PeerId, topic: Topic, at: Instant) {
        let pace = ms(self.config.timing.reconcile_min_ms);
        let plan = self.catchup.plans.entry((peer, topic)).or_default();
        let at = plan.last.map_or(at, |last| at.max(last + pace));
        plan.next = Some(plan.next.map_or(at, |next| next.min(at)));
    }

    pub(crate) fn plan_at_once(&mut self, peer: PeerId, topic: Topic, now: Instant) {
        self.catchup.plans.entry((peer, topic)).or_default().next = Some(now);
    }

    /// Plans periodic rounds, and tells peers of news.
    pub(crate) fn plan_rounds(&mut self, now: Instant) {
        let mean = ms(self.config.timing.reconcile_ms);
        let (mut rounds, mut news) = (Vec::new(), Vec::new());
        for (topic, state) in &mut self.topics {
            if state.next_round <= now {
                state.next_round = now + self.jitter.around(mean);
                rounds.push(*topic);
            }
            if state.spread.is_some_and(|at| at <= now) {
                state.spread = None;
                news.push(*topic);
            }
        }
        for topic in rounds {
            for peer in self.some_of(self.peers_of(&topic), ROUND_PEERS) {
                self.plan(peer, topic, now);
            }
        }
        for topic in news {
            for peer in self.some_of(self.peers_of(&topic), SPREAD_PEERS) {
                self.hint(peer, topic);
            }
        }
    }

    /// Tells a peer that a session with it found more here than there, unless it was told of the same a short time
    /// ago. Two peers that each refuse what the other has would otherwise wake each other for ever.
    pub(crate) fn hint_surplus(&mut self, peer: PeerId, topic: Topic, mark: [u8; 32]) {
        let again = ms(self.config.timing.reconcile_ms);
        let Some(plan) = self.catchup.plans.get_mut(&(peer, topic)) else { return };
        if plan.hinted.is_none_or(|(told, at)| told != mark || at.elapsed() >= again) {
            plan.hinted = Some((mark, Instant::now()));
            self.hint(peer, topic);
        }
    }

    pub(crate) fn hint(&mut self, peer: PeerId, topic: Topic) {
        if self.peers.contains_key(&peer) {
            let request = Request::Hint { topic }.encode();
            let id = self.swarm.behaviour_mut().sync.send_request(&peer, Ok(request));
            self.catchup.asked.insert(id, None);
        }
    }

    /// Starts the sessions whose time has come, as far as the bounds allow.
    pub(crate) fn start_due_sessions(&mut self, now: Instant) {
        let due = |plan: &Plan| plan.next.filter(|next| *next <= now && !plan.running);
        let mut keys: Vec<_> =
            self.catchup.plans.iter().filter_map(|(key, plan)| due(plan).map(|at| (at, *key))).collect();
        keys.sort_unstable_by_key(|(at, _)| *at);
        for (_, (peer, topic)) in keys {
            // A peer that has left the topic would refuse, and hold the question against us.
            let shared = self.peers.get(&peer).is_some_and(|state| state.topics.contains(&topic));
            if !shared || !self.topics.contains_key(&topic) {
                self.catchup.plans.remove(&(peer, topic));
                continue;
            }
            if self.catchup.count(None, false) >= self.config.limits.max_sessions {
                return;
            }
            if self.catchup.count(Some(&peer), false) < self.config.limits.max_sessions_per_peer {
                self.start_session(peer, topic, now);
            }
        }
    }

    fn start_session(&mut self, peer: PeerId, topic: Topic, now: Instant) {
        if let Some(plan) = self.catchup.plans.get_mut(&(peer, topic)) {
            plan.next = None;
            plan.last = Some(now);
            plan.running = true;
        }
        self.stats.sessions_started += 1;
        let number = self.open_session(peer, topic, Purpose::Reconcile, VecDeque::new());
        let (store, max) = (self.store.clone(), self.config.limits.max_items);
        let floor = move || Outcome::Floor(reconcile::floor(store.as_ref(), &topic, max));
        self.step(number, |_, _| Next::Work(Box::new(floor)));
    }

    /// Fetches a message that a peer announced.
    pub(crate) fn fetch_announced(
        &mut self,
        (topic, id): Key,
        len: u32,
        peer: PeerId,
        gossip: gossipsub::MessageId,
    ) {
        let limits = &self.config.limits;
        let busy = self.catchup.count(None, true) >= limits.max_sessions
            || self.catchup.count(Some(&peer), true) >= limits.max_sessions_per_peer;
        if busy || len as usize > limits.max_message {
            self.settle(&gossip, &peer, MessageAcceptance::Ignore);
            if busy {
                self.plan(peer, topic, Instant::now());
            }
            return;
        }
        let purpose = Purpose::Announced { gossip, len, settled: false };
        let number = self.open_session(peer, topic, purpose, VecDeque::from([id]));
        self.step(number, Self::pull_next);
    }

    /// After a failure the next attempt comes later and later, up to the pace of the periodic rounds.
    pub(crate) fn plan_after(
        &mut self,
        peer: PeerId,
        topic: Topic,
        complete: bool,
        again: bool,
        progress: bool,
        now: Instant,
    ) {
        let timing = &self.config.timing;
        let Some(plan) = self.catchup.plans.get_mut(&(peer, topic)) else { return };
        plan.running = false;
        if complete || progress {
            plan.failures = 0;
        } else {
            plan.failures = plan.failures.saturating_add(1);
        }
        if !complete && again {
            let factor = 1u32.checked_shl(plan.failures.min(16)).unwrap_or(u32::MAX);
            let delay = ms(timing.reconcile_min_ms).saturating_mul(factor).min(ms(timing.reconcile_ms));
            let at = now + delay;
            plan.next = Some(plan.next.map_or(at, |next| next.min(at)));
        }
    }
}
