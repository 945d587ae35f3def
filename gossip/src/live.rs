//! Live traffic: gossipsub in both directions, and the application's verdicts.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::gossipsub::{self, MessageAcceptance, PublishError as Refused};

use crate::behaviour::name_of;
use crate::task::{Key, Task};
use crate::wire::Live;
use crate::{Event, Fault, MessageId, PublishError, Published, Topic, Verdict};

/// News that did not come live are told to peers after this time, so that one hint serves many.
const SPREAD: Duration = Duration::from_millis(200);

impl Task {
    pub(crate) fn publish(&mut self, topic: Topic, bytes: Vec<u8>) -> Result<Published, PublishError> {
        let (size, max) = (bytes.len(), self.config.limits.max_message);
        if size > max {
            return Err(PublishError::TooLarge { size, max });
        }
        if !self.topics.contains_key(&topic) {
            return Err(PublishError::NotSubscribed { topic });
        }
        let live = if size <= self.config.limits.max_inline {
            Live::Inline(bytes)
        } else {
            let len = u32::try_from(size).map_err(|_| PublishError::TooLarge { size, max })?;
            Live::Announced { id: MessageId::of(&bytes), len }
        };
        match self.swarm.behaviour_mut().gossip.publish(name_of(&topic), live.encode()) {
            Ok(_) => Ok(Published::Sent),
            Err(Refused::Duplicate) => Ok(Published::Duplicate),
            Err(Refused::NoPeersSubscribedToTopic) => Ok(Published::NoPeers),
            Err(Refused::AllQueuesFull(_)) => {
                self.spread(&topic);
                Ok(Published::Congested)
            }
            Err(error) => Err(PublishError::Refused { reason: error.to_string() }),
        }
    }

    /// Tells the peers of a topic soon that there is something that they may lack.
    pub(crate) fn spread(&mut self, topic: &Topic) {
        if let Some(state) = self.topics.get_mut(topic) {
            state.spread.get_or_insert(Instant::now() + SPREAD);
        }
    }

    pub(crate) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                if let Some(topic) = Topic::from_name(message.topic.as_str()) {
                    self.on_live(propagation_source, message_id, topic, &message.data);
                }
            }
            gossipsub::Event::Subscribed { peer_id, topic } => {
                if let Some(topic) = Topic::from_name(topic.as_str()) {
                    self.on_joined(peer_id, topic);
                }
            }
            gossipsub::Event::Unsubscribed { peer_id, topic } => {
                if let Some(topic) = Topic::from_name(topic.as_str()) {
                    self.on_left(peer_id, topic);
                }
            }
            gossipsub::Event::SlowPeer { peer_id, failed_messages } => {
                self.on_slow(peer_id, failed_messages.priority.saturating_add(failed_messages.non_priority));
            }
            gossipsub::Event::GossipsubNotSupported { .. } => {}
        }
    }

    fn on_joined(&mut self, peer: PeerId, topic: Topic) {
        let max = self.config.limits.max_topics;
        let Some(state) = self.peers.get_mut(&peer) else { return };
        // To come and go all the time is a way to fill the application's queue.
        if !state.window.request(&self.config.limits) {
            return self.fault(peer, Fault::TooManyRequests);
        }
        if state.topics.len() >= max || !state.topics.insert(topic) {
            return;
        }
        if self.topics.contains_key(&topic) {
            self.emit(Event::PeerJoined { topic, peer });
            self.plan(peer, topic, Instant::now());
        }
    }

    fn on_left(&mut self, peer: PeerId, topic: Topic) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.topics.remove(&topic) && self.topics.contains_key(&topic) {
            self.emit(Event::PeerLeft { topic, peer });
        }
    }

    fn on_slow(&mut self, peer: PeerId, dropped: usize) {
        self.stats.dropped_slow += dropped as u64;
        self.emit(Event::SlowPeer { peer, dropped });
        let Some(state) = self.peers.get(&peer) else { return };
        let shared = state.topics.iter().filter(|topic| self.topics.contains_key(topic)).copied();
        for topic in shared.collect::<Vec<_>>() {
            self.spread(&topic);
        }
    }

    fn on_live(&mut self, source: PeerId, gossip: gossipsub::MessageId, topic: Topic, data: &[u8]) {
        if !self.topics.contains_key(&topic) {
            self.settle(&gossip, &source, MessageAcceptance::Ignore);
            return;
        }
        match Live::decode(data) {
            Ok(Live::Inline(bytes)) => {
                let key = (topic, MessageId::of(&bytes));
                if !self.is_settled(&key, &gossip, source) {
                    self.hand_over_live(key, bytes, source, gossip);
                }
            }
            Ok(Live::Announced { id, len }) => {
                let key = (topic, id);
                if self.is_wanted_now(&key) {
                    self.fetch_announced(key, len, source, gossip);
                } else {
                    // Only an announcement whose length has been seen to be true is passed on: the next peer holds
                    // it against whoever passed it on. Who lacks the message is told by a hint.
                    self.settle(&gossip, &source, MessageAcceptance::Ignore);
                }
            }
            Err(_) => {
                self.settle(&gossip, &source, MessageAcceptance::Reject);
                self.fault(source, Fault::Malformed);
            }
        }
    }

    /// Whether a message is known or refused, so that gossipsub could be told at once what to do with it, or waits
    /// for a verdict already.
    pub(crate) fn is_settled(&mut self, key: &Key, gossip: &gossipsub::MessageId, source: PeerId) -> bool {
        if let Some(waiting) = self.unreported.get_mut(key) {
            // Fetched after an announcement and inline from another: both wait for the one verdict.
            if waiting.len() < 8 {
                waiting.push((gossip.clone(), source));
            }
            return true;
        }
        let acceptance = match self.store.has(&key.0, &key.1) {
            Ok(true) => MessageAcceptance::Accept,
            Ok(false) if self.is_refused(key) => MessageAcceptance::Ignore,
            Ok(false) => return false,
            // It cannot be told whether this was ever judged: it is not passed on, and catching up brings it again.
            Err(_) => MessageAcceptance::Ignore,
        };
        self.settle(gossip, &source, acceptance);
        true
    }

    /// Hands a live message over. If it does not fit, catching up brings it later.
    pub(crate) fn hand_over_live(
        &mut self,
        key: Key,
        bytes: Vec<u8>,
        source: PeerId,
        gossip: gossipsub::MessageId,
    ) {
        if !self.hand_over(key, bytes, source, Some(gossip.clone())) {
            self.stats.dropped_live += 1;
            self.settle(&gossip, &source, MessageAcceptance::Ignore);
            self.plan(source, key.0, Instant::now());
        }
    }

    /// Queues a message for the application and waits for its verdict. False if there is no room for it.
    pub(crate) fn hand_over(
        &mut self,
        (topic, id): Key,
        bytes: Vec<u8>,
        source: PeerId,
        gossip: Option<gossipsub::MessageId>,
    ) -> bool {
        if !self.unreported.has_room() {
            return false;
        }
        let live = gossip.is_some();
        if self.queue.offer(Event::Message { topic, id, bytes, source, live }).is_err() {
            return false;
        }
        let waiting = gossip.map(|gossip| (gossip, source)).into_iter().collect();
        self.unreported.insert((topic, id), waiting, Instant::now())
    }

    /// Tells gossipsub whether to pass a message on.
    pub(crate) fn settle(
        &mut self,
        gossip: &gossipsub::MessageId,
        source: &PeerId,
        acceptance: MessageAcceptance,
    ) -> bool {
        self.swarm.behaviour_mut().gossip.report_message_validation_result(gossip, source, acceptance)
    }

    pub(crate) fn report(&mut self, key: Key, source: PeerId, verdict: Verdict) {
        let waiting = self.unreported.remove(&key);
        let awaited = waiting.is_some();
        let waiting = waiting.unwrap_or_default();
        let mut passed_on = false;
        for (gossip, from) in &waiting {
            let acceptance = match verdict {
                Verdict::Accept => MessageAcceptance::Accept,
                Verdict::Reject => MessageAcceptance::Reject,
                Verdict::Ignore => MessageAcceptance::Ignore,
            };
            passed_on |= self.settle(gossip, from, acceptance);
        }
        match verdict {
            // What came by catching up, or waited longer than gossipsub remembers it, is not passed on live.
            Verdict::Accept if !passed_on => self.spread(&key.0),
            Verdict::Accept => {}
            Verdict::Reject => {
                self.rejected.insert(key);
                if awaited {
                    self.fault(source, Fault::Rejected);
                }
            }
            Verdict::Ignore => {
                self.ignored.insert(key, (), Instant::now());
            }
        }
    }
}
