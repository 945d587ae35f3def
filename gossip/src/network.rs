//! Connections: who comes and goes, dialling, blocks and bans.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionError, ConnectionId, DialError, ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, mdns, ping};

use crate::behaviour::BehaviourEvent;
use crate::config::peer_of;
use crate::peers::{Window, plausible};
use crate::task::{Peer, Task};
use crate::{DialError as Refusal, Event};

/// How long `set_blocked` waits for connections to close.
const CLOSING: Duration = Duration::from_secs(2);

impl Task {
    pub(crate) fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, cause, .. } => {
                let broken = matches!(cause, Some(ConnectionError::IO(_)));
                self.on_closed(peer_id, connection_id, num_established, broken);
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                self.on_dial_error(peer_id, &error);
            }
            SwarmEvent::IncomingConnectionError { error: ListenError::Denied { .. }, .. } => {
                self.stats.denied += 1;
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.listening.push(address.clone());
                self.emit(Event::NewListenAddr { address });
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_listen_gone(address),
            SwarmEvent::ListenerClosed { addresses, .. } => {
                addresses.into_iter().for_each(|address| self.on_listen_gone(address));
            }
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Sync(event) => self.on_sync(event),
            BehaviourEvent::Direct(event) => self.on_direct(event),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.on_identified(peer_id, info);
            }
            BehaviourEvent::Ping(ping::Event { connection, result: Err(ping::Failure::Timeout), .. }) => {
                self.swarm.close_connection(connection);
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.on_discovered(found),
            _ => {}
        }
    }

    fn on_listen_gone(&mut self, address: Multiaddr) {
        if self.listening.contains(&address) {
            self.listening.retain(|known| *known != address);
            self.emit(Event::ListenAddrGone { address });
        }
    }

    fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let now = Instant::now();
        self.known.connected(&peer);
        if let Some(state) = self.peers.get_mut(&peer) {
            state.connections.push((connection, now));
            return;
        }
        let address = endpoint.get_remote_address().clone();
        let received = self.meter.of(&peer).map_or(0, |bytes| bytes.received());
        let state = Peer {
            address: address.clone(),
            connections: vec![(connection, now)],
            listens: Vec::new(),
            instance: None,
            topics: HashSet::new(),
            window: Window::new(now, received),
        };
        self.peers.insert(peer, state);
        tracing::debug!(%peer, %address, "connected");
        self.emit(Event::PeerConnected { peer, address });
    }

    fn on_closed(&mut self, peer: PeerId, connection: ConnectionId, left: u32, broken: bool) {
        let now = Instant::now();
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let since = state.connections.iter().find(|(id, _)| *id == connection).map_or(now, |(_, at)| *at);
        state.connections.retain(|(id, _)| *id != connection);
        if left > 0 {
            if broken && state.connections.iter().all(|(_, at)| *at > since) {
                self.start_over(peer);
            }
            return;
        }
        if let Some(state) = self.peers.remove(&peer) {
            // A peer of a common topic is worth finding again, even if it was the one that found us.
            let shared = state.topics.iter().any(|topic| self.topics.contains_key(topic));
            if shared && !state.listens.is_empty() && !self.standing.is_out(&peer) {
                self.known.add(peer, state.listens, false, None);
            }
        }
        self.known.lost(&peer, now.saturating_duration_since(since), now, &mut self.jitter);
        self.end_sessions_with(&peer);
        self.serving.forget(&peer);
        tracing::debug!(%peer, "disconnected");
        self.emit(Event::PeerDisconnected { peer });
        self.answer_closed(now);
    }

    /// Closes all connections with a peer that has lost the older ones (it was restarted), although nobody told us.
    /// Gossipsub says what it subscribes to on the first connection only: on a later one a restarted peer would never
    /// learn it. Both sides dial again at once.
    fn start_over(&mut self, peer: PeerId) {
        tracing::debug!(%peer, "a peer was restarted");
        // An error means that it is not connected any more.
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    fn on_dial_error(&mut self, peer: Option<PeerId>, error: &DialError) {
        if matches!(error, DialError::Denied { .. }) {
            self.stats.denied += 1;
        }
        let Some(peer) = peer else { return };
        let condition = matches!(error, DialError::DialPeerConditionFalse(_));
        if condition || self.peers.contains_key(&peer) || self.standing.is_out(&peer) {
            return;
        }
        if let Some((attempts, delay)) = self.known.failed(&peer, Instant::now(), &mut self.jitter) {
            let retry_in_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            self.emit(Event::DialFailed { peer, attempts, retry_in_ms, reason: error.to_string() });
        }
    }

    fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
        let max = self.config.limits.max_addresses_per_peer;
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let met_at = &state.address;
        state.listens = info.listen_addrs.into_iter().filter(|a| plausible(a, met_at)).take(max).collect();
        if state.instance.replace(info.agent_version.clone()).is_some_and(|old| old != info.agent_version) {
            self.start_over(peer);
        }
    }

    fn on_discovered(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let now = Instant::now();
        for (peer, address) in found {
            if peer != *self.swarm.local_peer_id() {
                let next = (!self.peers.contains_key(&peer)).then_some(now);
                self.known.add(peer, [address], false, next);
            }
        }
    }

    pub(crate) fn remember_bootstrap(&mut self) {
        let now = Instant::now();
        for address in self.config.bootstrap.clone() {
            if let Some(peer) = peer_of(&address).filter(|peer| peer != self.swarm.local_peer_id()) {
                self.known.add(peer, [address], true, Some(now));
                self.swarm.behaviour_mut().limits.bypass_peer_id(&peer);
            }
        }
    }

    /// Dials known peers whose time has come.
    pub(crate) fn dial_due(&mut self, now: Instant) {
        for peer in self.known.due(now) {
            if self.peers.contains_key(&peer) || self.standing.is_out(&peer) {
                continue;
            }
            let addresses = self.known.addresses(&peer).to_vec();
            if let Err(error) = self.dial_now(peer, addresses) {
                self.on_dial_error(Some(peer), &error);
            }
        }
    }

    fn dial_now(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), DialError> {
        let dial = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .build();
        match self.swarm.dial(dial) {
            Err(DialError::DialPeerConditionFalse(_)) => Ok(()),
            result => result,
        }
    }

    pub(crate) fn dial(&mut self, peer: PeerId, address: Multiaddr) -> Result<(), Refusal> {
        self.may_dial(&peer)?;
        self.dial_now(peer, vec![address]).map_err(|error| Refusal::Refused { reason: error.to_string() })
    }

    pub(crate) fn add_peer(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), Refusal> {
        if peer == *self.swarm.local_peer_id() {
            return Err(Refusal::Myself { peer });
        }
        let next = (!self.peers.contains_key(&peer)).then(Instant::now);
        if self.known.add(peer, addresses, true, next) {
            self.swarm.behaviour_mut().limits.bypass_peer_id(&peer);
            Ok(())
        } else {
            Err(Refusal::TooMany { max: self.config.limits.max_known_peers })
        }
    }

    fn may_dial(&self, peer: &PeerId) -> Result<(), Refusal> {
        if peer == self.swarm.local_peer_id() {
            Err(Refusal::Myself { peer: *peer })
        } else if self.standing.is_out(peer) {
            Err(Refusal::Blocked { peer: *peer })
        } else {
            Ok(())
        }
    }

    /// Makes libp2p's block list what blocks and bans say. Who comes off it is dialled again at once, if known.
    pub(crate) fn apply_outside(&mut self, now: Instant) {
        let wanted = self.standing.outside();
        let blocked = &mut self.swarm.behaviour_mut().blocked;
        let freed: Vec<_> = blocked.blocked_peers().difference(&wanted).copied().collect();
        for peer in &freed {
            blocked.unblock_peer(*peer);
        }
        for peer in wanted {
            blocked.block_peer(peer);
        }
        for peer in freed {
            let points = self.standing.points(&peer, now);
            self.tell_score(&peer, points);
            if !self.peers.contains_key(&peer) {
                self.known.hurry(&peer, now);
            }
        }
    }

    /// Answers those who wait for blocked peers to be gone.
    pub(crate) fn answer_closed(&mut self, now: Instant) {
        let gone = !self.peers.keys().any(|peer| self.standing.is_out(peer));
        for (reply, since) in std::mem::take(&mut self.closing) {
            if gone || now.saturating_duration_since(since) > CLOSING {
                // An error means that nobody waits any more.
                let _ = reply.send(());
            } else {
                self.closing.push((reply, since));
            }
        }
    }
}
