//! Peer-to-peer spreading and catching up of opaque messages, over libp2p.
//!
//! **What it does.** A node subscribes to topics. A message that one node publishes reaches the others live, through
//! gossipsub; whoever was away, came late, or was too slow finds it by set reconciliation (negentropy) with any peer
//! of the topic and pulls it. A message is named by the SHA-256 of its bytes. Besides, peers can ask each other
//! directly. Connections are QUIC, or TCP with Noise and Yamux; lost peers are dialled again for ever.
//!
//! **What it never does.** It does not look into messages and knows nothing of what they mean. It does not store:
//! the application's [`MessageStore`] is read, and what arrives is handed over as [`Event::Message`]. It never
//! listens or dials beyond its configuration, and sends no multicast unless [`Config::mdns`] is set. It does not
//! buffer without bound: every bound is in [`Limits`]; what does not fit the application's queue live is dropped,
//! counted, and fetched again later.
//!
//! **How to drive it.**
//! 1. Implement [`MessageStore`] and call [`Gossip::start`] inside a tokio runtime.
//! 2. [`Handle::subscribe`] to topics; take [`Event`]s from [`Events`] for as long as it runs.
//! 3. Judge and store each [`Event::Message`], then [`Handle::report`] the [`Verdict`]. Only an accepted message is
//!    passed on; a rejected one is remembered, so that no reconciliation brings it back, and costs its source points.
//! 4. To send: put the message in the store first, then [`Handle::publish`] it. No peers is not an error.
//!
//! **What peers are held to.** Frames, rounds, requests, bytes, streams and connections are bounded. A breach is a
//! [`Fault`]; faults add up to a ban for a time. Topics are told to every connected peer (gossipsub does so), thus a
//! topic must be a hash of something that strangers do not know; whoever knows a topic may read it here.

mod behaviour;
mod bounded;
mod catchup;
mod commands;
mod config;
mod direct;
mod event;
mod fault;
mod frame;
mod handle;
mod limits;
mod live;
mod meter;
mod network;
mod peers;
mod pull;
mod reconcile;
mod schedule;
mod serve;
mod start;
mod stats;
mod store;
mod task;
mod transport;
mod wire;

pub use behaviour::ProtocolError;
pub use config::{Config, ConfigError, IdentitySeed, Timing};
pub use event::{Event, Events, ResponseToken};
pub use fault::Fault;
pub use handle::{
    Answer, Closed, DialError, Handle, PeerInfo, PublishError, Published, RequestError, RespondError,
    SubscribeError, Verdict,
};
pub use libp2p::{Multiaddr, PeerId};
pub use limits::Limits;
pub use start::{Gossip, StartError};
pub use stats::{PeerStats, Stats};
pub use store::{Item, MemoryStore, MessageId, MessageStore, StoreError, Topic};
pub use transport::TransportError;
