//! What the application asks for.

use std::time::Instant;

use libp2p::PeerId;

use crate::behaviour::{name_of, topic_score};
use crate::handle::Command;
use crate::task::{Task, TopicState};
use crate::{Event, PeerInfo, PeerStats, Stats, SubscribeError, Topic};

impl Task {
    /// An answer that nobody waits for any more is dropped.
    pub(crate) fn on_command(&mut self, command: Command) {
        match command {
            Command::Subscribe(topic, reply) => {
                let _ = reply.send(self.subscribe(topic));
            }
            Command::Unsubscribe(topic, reply) => {
                self.unsubscribe(topic);
                let _ = reply.send(());
            }
            Command::Publish(topic, bytes, reply) => {
                let _ = reply.send(self.publish(topic, bytes));
            }
            Command::Report(topic, id, source, verdict) => self.report((topic, id), source, verdict),
            Command::Reconcile(topic) => self.reconcile_now(topic),
            Command::Dial(peer, address, reply) => {
                let _ = reply.send(self.dial(peer, address));
            }
            Command::AddPeer(peer, addresses, reply) => {
                let _ = reply.send(self.add_peer(peer, addresses));
            }
            Command::RemovePeer(peer, reply) => {
                self.known.remove(&peer);
                self.swarm.behaviour_mut().limits.remove_peer_id(&peer);
                let _ = reply.send(());
            }
            Command::Peers(reply) => {
                let _ = reply.send(self.peer_infos());
            }
            Command::ListenAddrs(reply) => {
                let _ = reply.send(self.listening.clone());
            }
            Command::SetBlocked(peers, reply) => {
                let now = Instant::now();
                self.standing.set_blocked(peers);
                self.apply_outside(now);
                self.closing.push((reply, now));
                self.answer_closed(now);
            }
            Command::Request(peer, addresses, kind, body, reply) => {
                self.ask(peer, addresses, kind, body, reply);
            }
            Command::Respond(token, answer, reply) => {
                let _ = reply.send(self.respond(token, answer));
            }
            Command::Stats(reply) => {
                let _ = reply.send(self.snapshot());
            }
            // Handled by the loop.
            Command::Shutdown(_) => {}
        }
    }

    fn subscribe(&mut self, topic: Topic) -> Result<(), SubscribeError> {
        let max = self.config.limits.max_topics;
        if self.topics.contains_key(&topic) {
            return Ok(());
        }
        if self.topics.len() >= max {
            return Err(SubscribeError::TooMany { max });
        }
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        if let Err(error) = gossip.set_topic_params(name_of(&topic), topic_score()) {
            tracing::error!(error, "gossipsub refused the score parameters");
        }
        if let Err(error) = gossip.subscribe(&name_of(&topic)) {
            tracing::debug!(?error, "the subscription could not be announced");
        }
        let now = Instant::now();
        let next_round = now + self.jitter.around(crate::config::ms(self.config.timing.reconcile_ms));
        self.topics.insert(topic, TopicState { next_round, spread: None });
        for peer in self.peers_of(&topic) {
            self.plan(peer, topic, now);
            self.emit(Event::PeerJoined { topic, peer });
        }
        Ok(())
    }

    fn unsubscribe(&mut self, topic: Topic) {
        if self.topics.remove(&topic).is_some() {
            self.swarm.behaviour_mut().gossip.unsubscribe(&name_of(&topic));
            self.end_sessions_of(&topic);
        }
    }

    fn reconcile_now(&mut self, topic: Topic) {
        if self.topics.contains_key(&topic) {
            let now = Instant::now();
            for peer in self.peers_of(&topic) {
                self.plan_at_once(peer, topic, now);
            }
        }
    }

    fn peer_infos(&self) -> Vec<PeerInfo> {
        let info = |(peer, state): (&PeerId, &crate::task::Peer)| PeerInfo {
            peer: *peer,
            address: state.address.clone(),
            connections: u32::try_from(state.connections.len()).unwrap_or(u32::MAX),
            topics: state.topics.iter().filter(|topic| self.topics.contains_key(topic)).copied().collect(),
        };
        self.peers.iter().map(info).collect()
    }

    fn snapshot(&self) -> Stats {
        let now = Instant::now();
        let counters = self.swarm.network_info();
        let counters = counters.connection_counters();
        let mut stats = self.stats.clone();
        stats.connections_in = counters.num_established_incoming();
        stats.connections_out = counters.num_established_outgoing();
        stats.rejected_remembered = self.rejected.len();
        for (peer, bytes) in self.meter.all() {
            let connections = self.peers.get(&peer).map_or(0, |state| state.connections.len());
            let counted = PeerStats {
                bytes_in: bytes.received(),
                bytes_out: bytes.sent(),
                connections: u32::try_from(connections).unwrap_or(u32::MAX),
                blocked: self.standing.is_blocked(&peer),
                banned: self.standing.is_banned(&peer),
                points: self.standing.points(&peer, now),
            };
            stats.peers.insert(peer.to_base58(), counted);
        }
        stats
    }
}
