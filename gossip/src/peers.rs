//! What is remembered of peers: addresses and redialling, penalty points, blocks and bans.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::bounded::Jitter;
use crate::config::ms;
use crate::{Fault, Limits, Timing};

/// A learned peer (not a configured one) is forgotten after this many failed dials in a row.
const LEARNED_ATTEMPTS: u32 = 12;
/// A connection that lasted this long was not refused by the other side.
const GOOD: Duration = Duration::from_secs(3);

/// Peers that are dialled again when they are lost.
pub(crate) struct Known {
    peers: HashMap<PeerId, Entry>,
    max_peers: usize,
    max_addresses: usize,
    min: Duration,
    max: Duration,
}

struct Entry {
    addresses: Vec<Multiaddr>,
    /// How many of them, at the front, are configured: what a peer or mDNS claims does not displace them.
    pinned: usize,
    configured: bool,
    attempts: u32,
    /// When to dial; `None` while connected or dialling.
    next: Option<Instant>,
}

impl Entry {
    /// The newest are the likeliest to work and come first; the last make room.
    fn insert(&mut self, address: Multiaddr, configured: bool) {
        match self.addresses.iter().position(|known| *known == address) {
            Some(at) if configured && at >= self.pinned => {
                self.addresses.remove(at);
            }
            Some(_) => return,
            None => {}
        }
        self.addresses.insert(if configured { 0 } else { self.pinned }, address);
        self.pinned += usize::from(configured);
    }
}

impl Known {
    pub(crate) fn new(limits: &Limits, timing: &Timing) -> Self {
        Self {
            peers: HashMap::new(),
            max_peers: limits.max_known_peers,
            max_addresses: limits.max_addresses_per_peer,
            min: ms(timing.redial_min_ms),
            max: ms(timing.redial_max_ms),
        }
    }

    /// Remembers addresses of a peer; a new one is due at `next`. False if there is no room.
    pub(crate) fn add(
        &mut self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = Multiaddr>,
        configured: bool,
        next: Option<Instant>,
    ) -> bool {
        if !self.peers.contains_key(&peer) && !self.make_room(configured) {
            return false;
        }
        let entry = self.peers.entry(peer).or_insert(Entry {
            addresses: Vec::new(),
            pinned: 0,
            configured,
            attempts: 0,
            next: None,
        });
        entry.configured |= configured;
        addresses.into_iter().for_each(|address| entry.insert(address, configured));
        entry.addresses.truncate(self.max_addresses);
        entry.pinned = entry.pinned.min(entry.addresses.len());
        if next.is_some() {
            entry.next = next;
        }
        true
    }

    fn make_room(&mut self, configured: bool) -> bool {
        if self.peers.len() < self.max_peers {
            return true;
        }
        let learned = self.peers.iter().filter(|(_, entry)| !entry.configured && entry.next.is_some());
        let worst = learned.max_by_key(|(_, entry)| entry.attempts).map(|(peer, _)| *peer);
        match worst {
            Some(peer) if configured => self.peers.remove(&peer).is_some(),
            _ => false,
        }
    }

    pub(crate) fn remove(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    pub(crate) fn addresses(&self, peer: &PeerId) -> &[Multiaddr] {
        self.peers.get(peer).map_or(&[], |entry| &entry.addresses)
    }

    /// The peers to dial now; each is then waited for until it is connected or has failed.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<PeerId> {
        let due = self.peers.iter_mut().filter(|(_, entry)| entry.next.is_some_and(|next| next <= now));
        due.map(|(peer, entry)| {
            entry.next = None;
            *peer
        })
        .collect()
    }

    pub(crate) fn connected(&mut self, peer: &PeerId) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.next = None;
        }
    }

    /// A connection was lost that lived for `lived`: dial again, soon if it had been a good one. (A peer that has
    /// blocked us ends each connection at once; that is a failure.)
    pub(crate) fn lost(&mut self, peer: &PeerId, lived: Duration, now: Instant, jitter: &mut Jitter) {
        if lived < GOOD {
            self.failed(peer, now, jitter);
        } else if let Some(entry) = self.peers.get_mut(peer) {
            entry.attempts = 0;
            entry.next = Some(now + jitter.around(self.min));
        }
    }

    /// A dial failed. The number of failures in a row and the time until the next dial; `None` for unknown peers and
    /// for learned ones that are given up now.
    pub(crate) fn failed(
        &mut self,
        peer: &PeerId,
        now: Instant,
        jitter: &mut Jitter,
    ) -> Option<(u32, Duration)> {
        let entry = self.peers.get_mut(peer)?;
        entry.attempts = entry.attempts.saturating_add(1);
        if !entry.configured && entry.attempts >= LEARNED_ATTEMPTS {
            self.peers.remove(peer);
            return None;
        }
        let factor = 1u32.checked_shl(entry.attempts.min(20) - 1).unwrap_or(u32::MAX);
        let delay = jitter.around(self.min.saturating_mul(factor).min(self.max)).min(self.max);
        entry.next = Some(now + delay);
        Some((entry.attempts, delay))
    }

    /// Dial this peer at once, if it is known.
    pub(crate) fn hurry(&mut self, peer: &PeerId, now: Instant) {
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.attempts = 0;
            entry.next = Some(now);
        }
    }
}

/// Whether an address that a peer claims for itself is worth remembering: plain QUIC or TCP on an IP address, and
/// loopback only if the peer was met over loopback. Without the last rule a stranger could make a node knock on its
/// own host's ports, and a test node could be led off its host.
pub(crate) fn plausible(address: &Multiaddr, met_at: &Multiaddr) -> bool {
    let Some(ip) = ip_of(address) else { return false };
    let rest: Vec<_> = address.iter().skip(1).collect();
    let rest = match rest.split_last() {
        Some((Protocol::P2p(_), rest)) => rest,
        _ => &rest,
    };
    let plain = matches!(rest, [Protocol::Tcp(port)] if *port != 0)
        || matches!(rest, [Protocol::Udp(port), Protocol::QuicV1] if *port != 0);
    let meant = !ip.is_unspecified() && !ip.is_multicast();
    plain && meant && ip_of(met_at).is_some_and(|met| met.is_loopback() == ip.is_loopback())
}

fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

/// Penalty points, and who must stay outside.
pub(crate) struct Standing {
    points: HashMap<PeerId, (f64, Instant)>,
    banned: HashMap<PeerId, Instant>,
    blocked: HashSet<PeerId>,
    ban_points: u32,
    ban: Duration,
    half_life: Duration,
    max_peers: usize,
}

impl Standing {
    pub(crate) fn new(limits: &Limits, timing: &Timing) -> Self {
        Self {
            points: HashMap::new(),
            banned: HashMap::new(),
            blocked: HashSet::new(),
            ban_points: limits.ban_points,
            ban: ms(timing.ban_ms),
            half_life: ms(timing.forgive_ms),
            max_peers: limits.max_known_peers,
        }
    }

    /// Books a breach. The points that the peer now has, and whether they just brought it a ban.
    pub(crate) fn fault(&mut self, peer: PeerId, fault: Fault, now: Instant) -> (u32, bool) {
        let points = f64::from(self.points(&peer, now)) + f64::from(fault.points());
        if points >= f64::from(self.ban_points) && !self.banned.contains_key(&peer) {
            self.points.remove(&peer);
            self.make_room_for_ban();
            self.banned.insert(peer, now + self.ban);
            return (points as u32, true);
        }
        if self.points.len() >= self.max_peers {
            let half_life = self.half_life;
            self.points.retain(|_, (points, since)| faded(*points, *since, now, half_life) >= 1.0);
        }
        if self.points.len() < self.max_peers {
            self.points.insert(peer, (points, now));
        }
        (points as u32, false)
    }

    fn make_room_for_ban(&mut self) {
        if self.banned.len() >= self.max_peers
            && let Some(first) = self.banned.iter().min_by_key(|(_, until)| **until).map(|(peer, _)| *peer)
        {
            self.banned.remove(&first);
        }
    }

    pub(crate) fn points(&self, peer: &PeerId, now: Instant) -> u32 {
        let entry = self.points.get(peer);
        entry.map_or(0, |(points, since)| faded(*points, *since, now, self.half_life) as u32)
    }

    /// Replaces the set of blocked peers.
    pub(crate) fn set_blocked(&mut self, peers: HashSet<PeerId>) {
        self.blocked = peers;
    }

    pub(crate) fn end_bans(&mut self, now: Instant) {
        self.banned.retain(|_, until| *until > now);
    }

    /// The points of all who have some, or had when this was last called: those of whom nothing is left are forgotten.
    pub(crate) fn fade(&mut self, now: Instant) -> Vec<(PeerId, u32)> {
        let all: Vec<_> = self.points.keys().map(|peer| (*peer, self.points(peer, now))).collect();
        self.points.retain(|_, (points, since)| faded(*points, *since, now, self.half_life) >= 1.0);
        all
    }

    pub(crate) fn is_blocked(&self, peer: &PeerId) -> bool {
        self.blocked.contains(peer)
    }

    pub(crate) fn is_banned(&self, peer: &PeerId) -> bool {
        self.banned.contains_key(peer)
    }

    pub(crate) fn is_out(&self, peer: &PeerId) -> bool {
        self.is_blocked(peer) || self.is_banned(peer)
    }

    /// All who must stay outside.
    pub(crate) fn outside(&self) -> HashSet<PeerId> {
        self.blocked.iter().chain(self.banned.keys()).copied().collect()
    }
}

fn faded(points: f64, since: Instant, now: Instant, half_life: Duration) -> f64 {
    let lives = now.saturating_duration_since(since).as_secs_f64() / half_life.as_secs_f64().max(0.001);
    points * (-lives).exp2()
}

/// Counts what one peer does in a window of time.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    start: Instant,
    requests: u32,
    served: u64,
    /// Bytes that were asked for.
    pub(crate) solicited: u64,
    /// The peer's byte counter at the start.
    pub(crate) received_at_start: u64,
}

impl Window {
    pub(crate) fn new(now: Instant, received: u64) -> Self {
        Self { start: now, requests: 0, served: 0, solicited: 0, received_at_start: received }
    }

    pub(crate) fn is_over(&self, now: Instant, limits: &Limits) -> bool {
        now.saturating_duration_since(self.start) >= ms(limits.window_ms)
    }

    /// Counts a request; false if it is one too many.
    pub(crate) fn request(&mut self, limits: &Limits) -> bool {
        self.requests = self.requests.saturating_add(1);
        self.requests <= limits.max_requests_per_window
    }

    pub(crate) fn serve(&mut self, bytes: usize) {
        self.served = self.served.saturating_add(bytes as u64);
    }

    /// Whether the peer may be served more.
    pub(crate) fn may_serve(&self, limits: &Limits) -> bool {
        self.served < limits.max_served_per_window
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
