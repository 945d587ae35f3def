//! Every bound of this crate, in one place.

use serde::{Deserialize, Serialize};

use crate::wire::{MAX_BATCH, MAX_DIRECT, MAX_FRAME, MIN_PART};

/// Bounds on what peers can make this node hold, read, send or compute.
///
/// All sizes are bytes. The defaults suit a peer with a few dozen groups; everything is finite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Established connections in all, both directions. Configured peers do not count against the limits on
    /// connections: strangers cannot shut them out.
    pub max_connections: u32,
    /// Established connections that other peers opened.
    pub max_connections_in: u32,
    /// Established connections to one peer (two peers that dial each other at once make two).
    pub max_connections_per_peer: u32,
    /// Connections whose handshake has not ended, each direction.
    pub max_pending_connections: u32,
    /// Streams of one connection, each direction.
    pub max_streams_per_connection: usize,
    /// Resident memory of the whole process above which no connection is accepted or opened; 0 switches it off.
    pub max_process_memory: usize,

    /// Topics this node subscribes to, and topics it remembers of one peer.
    pub max_topics: usize,
    /// Peers that are remembered for redialling; configured ones count, but are never evicted.
    pub max_known_peers: usize,
    /// Addresses remembered for one peer.
    pub max_addresses_per_peer: usize,

    /// The largest message that can be published or fetched.
    pub max_message: usize,
    /// Messages up to this size travel inside gossipsub; larger ones are announced and pulled.
    pub max_inline: usize,
    /// Bytes of bodies in one answer to a pull, and the size of one chunk of a larger message: at most 1 MiB.
    pub max_batch: usize,
    /// Body of a direct request or of its answer ([`Handle::request`](crate::Handle::request)); at most 8 MiB.
    pub max_direct: usize,
    /// Direct requests that may wait for an answer, outgoing and incoming each.
    pub max_direct_pending: usize,
    /// Request and response bytes that may be half-read at one time, over all peers.
    pub max_reading: usize,

    /// Bytes of one reconciliation frame, 4096 to 65536.
    pub max_frame: usize,
    /// Items of one topic that take part in a reconciliation: the highest by order.
    pub max_items: usize,
    /// Rounds of one reconciliation session.
    pub max_rounds: u32,
    /// Missing ids that one session collects before it pulls.
    pub max_missing: usize,
    /// Reconciliation sessions that this node runs at one time.
    pub max_sessions: usize,
    /// Reconciliation sessions that this node runs with one peer at one time.
    pub max_sessions_per_peer: usize,
    /// Store jobs (snapshots, bodies) for peers at one time; of the requests that wait, those beyond twice this number
    /// in all, or half of it from one peer, are answered "busy".
    pub max_jobs: usize,

    /// Length of the window, in milliseconds, that the three limits below count in.
    pub window_ms: u64,
    /// Requests of one peer, and topics it joins, in a window.
    pub max_requests_per_window: u32,
    /// Bytes that are served to one peer in a window.
    pub max_served_per_window: u64,
    /// Bytes that one peer may send in a window beyond those it was asked for.
    pub max_unsolicited_per_window: u64,

    /// Bytes of events that wait for the application.
    pub max_event_bytes: usize,
    /// Events that wait for the application.
    pub max_events: usize,
    /// Messages whose verdict is awaited.
    pub max_unreported: usize,
    /// Rejected ids that are remembered.
    pub max_rejected: usize,
    /// Penalty points at which a peer is disconnected and banned for a time ([`Fault::points`](crate::Fault::points)).
    pub ban_points: u32,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            max_connections: 256,
            max_connections_in: 192,
            max_connections_per_peer: 4,
            max_pending_connections: 64,
            max_streams_per_connection: 128,
            max_process_memory: 4096 * MIB,
            max_topics: 1024,
            max_known_peers: 1024,
            max_addresses_per_peer: 8,
            max_message: 16 * MIB,
            max_inline: 48 * 1024,
            max_batch: MIB,
            max_direct: 4 * MIB,
            max_direct_pending: 64,
            max_reading: 64 * MIB,
            max_frame: 60_000,
            max_items: 1_000_000,
            max_rounds: 256,
            max_missing: 16_384,
            max_sessions: 32,
            max_sessions_per_peer: 4,
            max_jobs: 8,
            window_ms: 10_000,
            max_requests_per_window: 10_000,
            max_served_per_window: 512 * MIB as u64,
            max_unsolicited_per_window: 32 * MIB as u64,
            max_event_bytes: 32 * MIB,
            max_events: 4_096,
            max_unreported: 16_384,
            max_rejected: 65_536,
            ban_points: 100,
        }
    }
}

impl Limits {
    /// The first rule that these limits break, if any.
    pub(crate) fn broken_rule(&self) -> Option<&'static str> {
        let rules = [
            (self.max_frame >= 4096, "max_frame must be at least 4096"),
            (self.max_frame <= MAX_FRAME, "max_frame must be at most 65536"),
            (self.max_direct <= MAX_DIRECT, "max_direct must be at most 8 MiB"),
            (self.max_inline <= self.max_message, "max_inline must not exceed max_message"),
            (self.max_batch <= MAX_BATCH, "max_batch must be at most 1 MiB"),
            (self.max_batch >= MIN_PART, "max_batch must be at least 1024"),
            (self.max_inline <= self.max_batch, "max_inline must not exceed max_batch"),
            (self.max_message <= self.max_event_bytes, "max_message must not exceed max_event_bytes"),
            (self.max_batch <= self.max_event_bytes, "max_batch must not exceed max_event_bytes"),
            (self.max_message <= u32::MAX as usize, "max_message must fit 32 bits"),
            (self.max_rounds > 0 && self.max_missing > 0, "max_rounds and max_missing must not be 0"),
            (self.max_sessions > 0 && self.max_sessions_per_peer > 0, "session limits must not be 0"),
            (self.max_jobs > 0 && self.max_events > 0, "max_jobs and max_events must not be 0"),
            (self.max_topics > 0 && self.window_ms > 0, "max_topics and window_ms must not be 0"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map(|(_, rule)| rule)
    }
}
