//! The libp2p protocols of a node and their settings.

use std::time::Duration;

use libp2p::StreamProtocol;
use libp2p::allow_block_list::{self, BlockedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{
    self, AllowAllSubscriptionFilter, IdentTopic, IdentityTransform, MaxCountSubscriptionFilter,
    MessageAuthenticity, PeerScoreParams, PeerScoreThresholds, TopicScoreParams, ValidationMode,
};
use libp2p::identity::Keypair;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{identify, mdns, memory_connection_limits, ping};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::config::ms;
use crate::frame::{FrameCodec, Reading};
use crate::wire::{MAX_DIRECT, MAX_REQUEST, MAX_RESPONSE};
use crate::{Config, Topic};

/// Reconciliation and bodies.
pub(crate) const SYNC: StreamProtocol = StreamProtocol::new("/dmls/sync/1");
/// The application's own requests.
pub(crate) const DIRECT: StreamProtocol = StreamProtocol::new("/dmls/direct/1");
/// What identify says.
const IDENTIFY: &str = "/dmls/1";

pub(crate) type Gossipsub =
    gossipsub::Behaviour<IdentityTransform, MaxCountSubscriptionFilter<AllowAllSubscriptionFilter>>;
pub(crate) type Frames = request_response::Behaviour<FrameCodec>;

/// Those that deny connections come first: the others remember a connection once they have been asked for a handler,
/// and are not told when a later one denies it.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) blocked: allow_block_list::Behaviour<BlockedPeers>,
    pub(crate) limits: connection_limits::Behaviour,
    pub(crate) memory: Toggle<memory_connection_limits::Behaviour>,
    pub(crate) gossip: Gossipsub,
    pub(crate) sync: Frames,
    pub(crate) direct: Frames,
    pub(crate) identify: identify::Behaviour,
    pub(crate) ping: ping::Behaviour,
    pub(crate) mdns: Toggle<mdns::tokio::Behaviour>,
}

/// Why a protocol could not be set up.
#[derive(Debug, Error)]
pub enum ProtocolError {
    /// Gossipsub refused its settings.
    #[error("Gossipsub refused its settings: {0}.")]
    Gossipsub(String),
    /// Multicast DNS could not open its socket.
    #[error("Multicast DNS could not be started: {0}.")]
    Mdns(std::io::Error),
}

impl Behaviour {
    pub(crate) fn new(pair: &Keypair, config: &Config, instance: u64) -> Result<Self, ProtocolError> {
        let limits = &config.limits;
        let reading = Reading::new(limits.max_reading);
        let mdns = config
            .mdns
            .then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), pair.public().to_peer_id()));
        let memory = Some(limits.max_process_memory).filter(|max| *max > 0);
        // A number of this run: peers see by it that an old connection belongs to an earlier life of this node.
        let identify = identify::Config::new(IDENTIFY.into(), pair.public())
            .with_agent_version(format!("dmls/{instance:016x}"));
        let ping = ping::Config::new()
            .with_interval(ms(config.timing.ping_ms))
            .with_timeout(ms(config.timing.ping_ms.saturating_mul(2)));
        Ok(Self {
            blocked: allow_block_list::Behaviour::default(),
            limits: connection_limits::Behaviour::new(connection_limits(config)),
            memory: memory.map(memory_connection_limits::Behaviour::with_max_bytes).into(),
            gossip: gossip(config)?,
            sync: sync(config, reading.clone()),
            direct: direct(config, reading),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            mdns: mdns.transpose().map_err(ProtocolError::Mdns)?.into(),
        })
    }
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    let limits = &config.limits;
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits.max_pending_connections))
        .with_max_pending_outgoing(Some(limits.max_pending_connections))
        .with_max_established_incoming(Some(limits.max_connections_in))
        .with_max_established(Some(limits.max_connections))
        .with_max_established_per_peer(Some(limits.max_connections_per_peer))
}

fn sync(config: &Config, reading: Reading) -> Frames {
    // The protocol's bounds, not the configured ones: a peer with other limits is no offender.
    let codec = FrameCodec { max_request: MAX_REQUEST, max_response: MAX_RESPONSE, reading };
    // Streams in both directions count: our sessions, the peer's, and hints. What does not fit is dropped by libp2p
    // without a word, so the bound is above what this node can have open by itself.
    let streams = config.limits.max_sessions_per_peer.saturating_mul(4).saturating_add(16);
    frames(codec, SYNC, config, streams)
}

fn direct(config: &Config, reading: Reading) -> Frames {
    let max = MAX_DIRECT + 1;
    let codec = FrameCodec { max_request: max, max_response: max, reading };
    frames(codec, DIRECT, config, config.limits.max_direct_pending.saturating_mul(2))
}

fn frames(codec: FrameCodec, protocol: StreamProtocol, config: &Config, streams: usize) -> Frames {
    let settings = request_response::Config::default()
        .with_request_timeout(ms(config.timing.request_timeout_ms))
        .with_max_concurrent_streams(streams);
    Frames::with_codec(codec, [(protocol, ProtocolSupport::Full)], settings)
}

fn gossip(config: &Config) -> Result<Gossipsub, ProtocolError> {
    let limits = &config.limits;
    let inline = limits.max_inline.saturating_add(4096).max(64 * 1024);
    let settings = gossipsub::ConfigBuilder::default()
        .heartbeat_interval(ms(config.timing.heartbeat_ms))
        .heartbeat_initial_delay(ms(config.timing.first_heartbeat_ms))
        .max_transmit_size(inline)
        // A message waits in the cache for its verdict: long enough for a slow application.
        .history_length(15)
        .history_gossip(5)
        .duplicate_cache_time(Duration::from_secs(120))
        .connection_handler_queue_len(2048)
        .publish_queue_duration(Duration::from_secs(60))
        .forward_queue_duration(Duration::from_secs(30))
        .mesh_n_low(4)
        .mesh_n(6)
        .mesh_n_high(12)
        .mesh_outbound_min(2)
        .flood_publish(true)
        .unsubscribe_backoff(Duration::from_secs(2))
        // No author and no sequence number: the bytes say what there is to say, and the id is made of all of them.
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(|message| {
            let mut hash = Sha256::new();
            hash.update(message.topic.as_str());
            hash.update(&message.data);
            hash.finalize().to_vec().into()
        })
        .build()
        .map_err(|error| ProtocolError::Gossipsub(error.to_string()))?;
    let filter = MaxCountSubscriptionFilter {
        filter: AllowAllSubscriptionFilter {},
        max_subscribed_topics: limits.max_topics,
        max_subscriptions_per_request: limits.max_topics,
    };
    let mut gossip =
        Gossipsub::new_with_subscription_filter(MessageAuthenticity::Anonymous, settings, filter)
            .map_err(|error| ProtocolError::Gossipsub(error.into()))?;
    gossip.with_peer_score(score(), PeerScoreThresholds::default()).map_err(ProtocolError::Gossipsub)?;
    Ok(gossip)
}

fn score() -> PeerScoreParams {
    PeerScoreParams {
        // Our own penalty points, as negative numbers. With the weight of invalid messages below it is so small that
        // a peer is banned, which is told, before gossipsub ignores it, which is not.
        app_specific_weight: 0.5,
        // A household, a company, or all tests share one address.
        ip_colocation_factor_weight: 0.0,
        // A slow peer is repaired by catching up, not punished.
        slow_peer_weight: 0.0,
        behaviour_penalty_threshold: 6.0,
        ..PeerScoreParams::default()
    }
}

/// Quiet groups are the rule: only invalid messages count, never how many a peer delivers.
pub(crate) fn topic_score() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -0.05,
        invalid_message_deliveries_decay: 0.9,
        ..TopicScoreParams::default()
    }
}

/// The gossipsub name of a topic: its hex.
pub(crate) fn name_of(topic: &Topic) -> IdentTopic {
    IdentTopic::new(topic.to_string())
}
