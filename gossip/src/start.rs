//! From a configuration to a running network task.

use std::sync::Arc;
use std::time::Duration;

use libp2p::core::transport::ListenerId;
use libp2p::futures::StreamExt;
use libp2p::swarm::{self, SwarmEvent};
use libp2p::{Multiaddr, Swarm};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::behaviour::{Behaviour, BehaviourEvent, ProtocolError};
use crate::bounded::Jitter;
use crate::config::ms;
use crate::event::EventQueue;
use crate::meter::Meter;
use crate::task::Task;
use crate::transport::{self, TransportError};
use crate::{Config, ConfigError, Events, Handle, IdentitySeed, MessageStore};

/// How long all listeners together may take to say where they listen.
const LISTEN: Duration = Duration::from_secs(10);

/// The network.
pub struct Gossip;

/// Why the network could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The transports could not be set up.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The protocols could not be set up.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// An address cannot be listened on (in use, not local, not supported).
    #[error("The address {address} cannot be listened on: {reason}.")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the transport said.
        reason: String,
    },
}

impl Gossip {
    /// Starts the network: binds all addresses of `config.listen`, then spawns one task on the current tokio runtime
    /// (time and I/O enabled) and returns. Bootstrap peers are dialled in the background.
    ///
    /// The task ends when [`Handle::shutdown`] is called, or all handles or the [`Events`] have been dropped.
    pub async fn start(
        seed: &IdentitySeed,
        config: Config,
        store: Arc<dyn MessageStore>,
    ) -> Result<(Handle, Events), StartError> {
        config.validate()?;
        let pair = seed.keypair()?;
        let local = pair.public().to_peer_id();
        let meter = Meter::new(config.limits.max_known_peers.saturating_mul(2).max(16));
        let transport = transport::build(&pair, &config.limits, &meter)?;
        let settings = swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(ms(config.timing.idle_ms))
            .with_max_negotiating_inbound_streams(config.limits.max_streams_per_connection);
        let instance = Jitter::new().below(u64::MAX);
        let mut swarm = Swarm::new(transport, Behaviour::new(&pair, &config, instance)?, local, settings);
        let early = listen(&mut swarm, &config.listen).await?;

        let (queue, events) = EventQueue::new(config.limits.max_events, config.limits.max_event_bytes);
        let (commands, inbox) = mpsc::channel(256);
        let task = Task::new(swarm, config, store, meter, queue, inbox);
        tokio::spawn(task.run(early));
        Ok((Handle { local, commands }, events))
    }
}

/// Binds all addresses and waits until each listener has said where it listens. What else happens meanwhile (a peer
/// may connect already) is returned too: the task must not miss it.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<Vec<SwarmEvent<BehaviourEvent>>, StartError> {
    let mut waiting: Vec<(ListenerId, &Multiaddr)> = Vec::new();
    for address in addresses {
        let id = swarm
            .listen_on(address.clone())
            .map_err(|error| StartError::Listen { address: address.clone(), reason: error.to_string() })?;
        waiting.push((id, address));
    }
    let mut early = Vec::new();
    let deadline = tokio::time::Instant::now() + LISTEN;
    while let Some((_, first)) = waiting.first() {
        let first = (*first).clone();
        let event = tokio::time::timeout_at(deadline, swarm.select_next_some()).await;
        match event {
            Ok(SwarmEvent::ListenerClosed { reason: Err(error), .. }) => {
                return Err(StartError::Listen { address: first, reason: error.to_string() });
            }
            Ok(event) => {
                if let SwarmEvent::NewListenAddr { listener_id, .. } = &event {
                    waiting.retain(|(id, _)| id != listener_id);
                }
                early.push(event);
            }
            Err(_) => return Err(StartError::Listen { address: first, reason: "it took too long".into() }),
        }
    }
    Ok(early)
}
