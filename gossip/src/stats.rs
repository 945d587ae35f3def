//! Counters that the application can read.

use std::collections::BTreeMap;

use serde::Serialize;

/// A snapshot of all counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// By peer id (base58), also of peers that have gone; the number of those is bounded.
    pub peers: BTreeMap<String, PeerStats>,
    /// Established connections that peers opened.
    pub connections_in: u32,
    /// Established connections that this node opened.
    pub connections_out: u32,
    /// Connections that were denied because of a limit, a block or a ban.
    pub denied: u64,
    /// Live messages that did not fit the event queue; catch-up fetches them.
    pub dropped_live: u64,
    /// Other events that did not fit the event queue.
    pub dropped_events: u64,
    /// Live messages that peers were too slow to take.
    pub dropped_slow: u64,
    /// Requests that were answered "busy".
    pub refused_busy: u64,
    /// Reconciliation sessions that were started from here.
    pub sessions_started: u64,
    /// Those that ended with nothing missing.
    pub sessions_complete: u64,
    /// Messages that were fetched, by reconciliation or after an announcement.
    pub fetched: u64,
    /// Rules that peers broke.
    pub faults: u64,
    /// Rejected ids that are remembered.
    pub rejected_remembered: usize,
}

/// Counters of one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PeerStats {
    /// Bytes received on all streams of all authenticated connections with the peer. Handshakes and the framing of
    /// QUIC, Noise and Yamux are not counted.
    pub bytes_in: u64,
    /// Bytes sent, counted likewise.
    pub bytes_out: u64,
    /// Open connections.
    pub connections: u32,
    /// Whether the application has blocked it.
    pub blocked: bool,
    /// Whether it is banned for a time.
    pub banned: bool,
    /// Its penalty points.
    pub points: u32,
}
