//! What a caller decides: identity, addresses, discovery, times.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId, identity::Keypair};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::Limits;

/// The Ed25519 secret of a peer (RFC 8032 5.1.5), 32 bytes. It has no `Debug` and is wiped on drop.
pub struct IdentitySeed(Zeroizing<[u8; 32]>);

impl IdentitySeed {
    /// Takes the seed over. The caller wipes its own copy.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// The peer id that this seed gives.
    pub fn peer_id(&self) -> Result<PeerId, ConfigError> {
        Ok(self.keypair()?.public().to_peer_id())
    }

    pub(crate) fn keypair(&self) -> Result<Keypair, ConfigError> {
        let mut copy = *self.0;
        let pair = Keypair::ed25519_from_bytes(&mut copy).map_err(|_| ConfigError::Identity);
        copy.zeroize();
        pair
    }
}

/// Everything but the identity. Unknown keys are an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen; the default is loopback only, on a free port each for QUIC and TCP.
    pub listen: Vec<Multiaddr>,
    /// Peers that are dialled, and redialled for ever; each address ends in `/p2p/<peer id>`.
    pub bootstrap: Vec<Multiaddr>,
    /// Finds peers on the local network by multicast DNS. Off by default: it sends packets beyond this machine.
    pub mdns: bool,
    /// Bounds.
    pub limits: Limits,
    /// Times.
    pub timing: Timing,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"];
        Self {
            listen: loopback.iter().filter_map(|a| a.parse().ok()).collect(),
            bootstrap: Vec::new(),
            mdns: false,
            limits: Limits::default(),
            timing: Timing::default(),
        }
    }
}

/// Times, all in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// Gossipsub's heartbeat: meshes are mended and missed messages offered at this pace.
    pub heartbeat_ms: u64,
    /// Delay of the first heartbeat.
    pub first_heartbeat_ms: u64,
    /// Mean time between two rounds of reconciliation of a topic with a few of its peers; jittered by half.
    pub reconcile_ms: u64,
    /// Shortest time between two sessions with one peer on one topic.
    pub reconcile_min_ms: u64,
    /// First delay before a lost peer is dialled again; it doubles up to `redial_max_ms`, jittered.
    pub redial_min_ms: u64,
    /// Longest delay between two dials of one peer.
    pub redial_max_ms: u64,
    /// A request without an answer fails after this time.
    pub request_timeout_ms: u64,
    /// A connection without a stream and without a shared mesh is closed after this time.
    pub idle_ms: u64,
    /// How often a connected peer is pinged; one that does not answer within twice this time is disconnected.
    pub ping_ms: u64,
    /// How long a banned peer stays banned.
    pub ban_ms: u64,
    /// Time in which half of a peer's penalty points are forgiven.
    pub forgive_ms: u64,
    /// A delivered message without a verdict may be fetched again after this time.
    pub unreported_ms: u64,
    /// A message whose verdict was [`Verdict::Ignore`](crate::Verdict::Ignore) may be fetched again after this time.
    pub ignored_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 700,
            first_heartbeat_ms: 100,
            reconcile_ms: 20_000,
            reconcile_min_ms: 250,
            redial_min_ms: 250,
            redial_max_ms: 60_000,
            request_timeout_ms: 10_000,
            idle_ms: 600_000,
            ping_ms: 5_000,
            ban_ms: 600_000,
            forgive_ms: 60_000,
            unreported_ms: 30_000,
            ignored_ms: 60_000,
        }
    }
}

impl Config {
    /// Checks what can be checked without a network.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(rule) = self.limits.broken_rule() {
            return Err(ConfigError::Limits { rule });
        }
        let t = &self.timing;
        let zero = [t.heartbeat_ms, t.first_heartbeat_ms, t.reconcile_ms, t.redial_min_ms, t.redial_max_ms];
        let zero = zero.contains(&0) || [t.request_timeout_ms, t.ping_ms, t.forgive_ms].contains(&0);
        if zero || t.redial_min_ms > t.redial_max_ms {
            return Err(ConfigError::Timing);
        }
        for address in &self.bootstrap {
            peer_of(address).ok_or_else(|| ConfigError::NoPeerId { address: address.clone() })?;
        }
        Ok(())
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The identity seed is not an Ed25519 secret.
    #[error("The identity seed is not an Ed25519 secret.")]
    Identity,
    /// A limit contradicts another one or its own range.
    #[error("The limits cannot be used: {rule}.")]
    Limits {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// A time that must not be zero is zero, or the shortest redial delay is above the longest one.
    #[error("A time is zero that must not be, or the redial delays are the wrong way round.")]
    Timing,
    /// An address that must name a peer does not end in `/p2p/<peer id>`.
    #[error("The address {address} does not end in /p2p/<peer id>.")]
    NoPeerId {
        /// The address.
        address: Multiaddr,
    },
}

/// The peer that an address names in its last component.
pub(crate) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(libp2p::multiaddr::Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

pub(crate) fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_listens_on_loopback_only_and_is_usable() {
        let config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.listen.len(), 2);
        assert!(config.listen.iter().all(|address| address.to_string().starts_with("/ip4/127.0.0.1/")));
        assert!(!config.mdns && config.bootstrap.is_empty());
    }

    #[test]
    fn a_configuration_comes_back_and_an_unknown_key_is_an_error() {
        let text = r#"{ "mdns": true, "timing": { "ping_ms": 7 }, "limits": { "max_topics": 3 } }"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert!(config.mdns && config.timing.ping_ms == 7 && config.limits.max_topics == 3);
        assert_eq!(config.timing.ban_ms, Timing::default().ban_ms);
        let whole = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&whole).unwrap(), config);
        for odd in [r#"{"mdsn":true}"#, r#"{"limits":{"max_topic":3}}"#, r#"{"timing":{"ping":7}}"#] {
            assert!(serde_json::from_str::<Config>(odd).is_err(), "{odd}");
        }
    }
}
