//! The daemon: one process that owns a home directory and takes part in its groups.
//!
//! Tasks: the `engine` owns all group state; `network` carries what goes out and comes in; `outbox` delivers
//! Welcomes; the API's server answers clients through `dispatch`. SIGKILL at any point loses nothing that was
//! reported: every step is stored before anything else happens, and what was not sent is fetched by others.

mod actions;
mod direct;
mod dispatch;
mod engine;
mod events;
mod joining;
mod keeping;
mod network;
mod outbox;
mod peers;
mod present;
mod steps;
mod topics;
mod unwanted;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use dmls_core::group::{Changes, Client};
use dmls_core::suite::CipherSuite;
use dmls_gossip::{Gossip, Handle, IdentitySeed, Multiaddr};
use rand_core::Rng;
use tokio::sync::watch;
use zeroize::{Zeroize, Zeroizing};

use crate::api::server;
use crate::config::Config;
use crate::error::{ErrorCode, Failure};
use crate::lock::HomeLock;
use crate::paths::Paths;
use crate::store::types::{PeerRecord, clean_name};
use crate::store::{Column, Database, Extra};
use engine::{Engine, EngineHandle, Parts, rng, store_failure};
use events::Bus;
use network::Outbound;
use outbox::Outbox;
use topics::{LogStore, Topics};
use unwanted::Unwanted;

/// The key of the peer id's secret in [`Column::Identity`].
const SEED: &[u8] = b"seed";
/// The key in [`Column::Meta`] of the addresses that were listened on last.
const LISTEN: &[u8] = b"listen";

/// Makes an identity: the client's signature key, and the key of its peer id. Returns its name and fingerprint.
///
/// # Errors
/// [`ErrorCode::Config`] if there is one already, or the directory cannot be used; [`ErrorCode::AlreadyRunning`].
pub fn init(paths: &Paths, name: &str) -> Result<(String, [u8; 32]), Failure> {
    if paths.is_initialised() {
        let text = format!("There is an identity in {} already.", paths.data.display());
        return Err(
            Failure::new(ErrorCode::Config, text).hint("`dmls run` starts it; --home DIR makes another one.")
        );
    }
    paths.create()?;
    let _lock = HomeLock::acquire(&paths.lock(), &paths.socket)?;
    let name = clean_name(name);
    let (client, changes) = Client::new(CipherSuite::X25519_AES128GCM, name.as_bytes(), &mut rng())
        .map_err(|error| Failure::new(ErrorCode::Usage, error).hint("Choose one with --name."))?;
    let mut seed = Zeroizing::new([0u8; 32]);
    rng().fill_bytes(seed.as_mut_slice());
    let mut extra = Extra::default();
    extra.put_secret(Column::Identity, SEED, &*seed).map_err(store_failure)?;
    Database::create(&paths.database(), &changes, &extra)?;
    Ok((name, client.fingerprint()))
}

/// What the API's tasks share.
struct Node {
    database: Arc<Database>,
    gossip: Handle,
    engine: EngineHandle,
    bus: Arc<Bus>,
    outbound: Outbound,
    name: String,
    fingerprint: [u8; 32],
    started: Instant,
    stop: watch::Sender<bool>,
}

/// Runs until it is told to stop: by a signal, through the API, or, with `until_stdin_closes`, by whoever started it,
/// however that ends.
///
/// # Errors
/// [`ErrorCode::NotInitialised`], [`ErrorCode::AlreadyRunning`], [`ErrorCode::Store`], [`ErrorCode::Config`].
pub async fn run(paths: Paths, config: Config, until_stdin_closes: bool) -> Result<(), Failure> {
    if !paths.is_initialised() {
        let text = format!("There is no identity in {}.", paths.data.display());
        return Err(Failure::new(ErrorCode::NotInitialised, text)
            .hint("Run `dmls init` first, with the same --home."));
    }
    paths.check()?;
    let _lock = HomeLock::acquire(&paths.lock(), &paths.socket)?;
    let listener = server::bind(&paths.socket)?;
    let _socket = SocketFile(paths.socket.clone());
    let database = Arc::new(Database::open(&paths.database())?);
    let (stop, stopped) = watch::channel(false);
    signals(stop.clone())?;
    if until_stdin_closes {
        watch_stdin(stop.clone());
    }

    let topics = Arc::new(Topics::default());
    let unwanted = Arc::new(Unwanted::default());
    let last_seq = database.get(Column::Meta, steps::SEQ_KEY).map_err(store_failure)?.unwrap_or(0);
    let bus = Arc::new(Bus::new(config.api.event_buffer, last_seq));
    let (outbound, queue) = network::outbound();
    let config = Arc::new(config);
    let parts = Parts {
        database: database.clone(),
        topics: topics.clone(),
        unwanted: unwanted.clone(),
        bus: bus.clone(),
        outbound: outbound.clone(),
        config: config.clone(),
        last_seq,
    };
    let engine_state = Engine::load(parts)?;
    let (name, fingerprint) = (engine_state.own_name(), engine_state.client.fingerprint());
    let log = LogStore { database: database.clone(), topics: topics.clone(), unwanted };
    let (gossip, events) = start_network(&database, &config, Arc::new(log)).await?;
    remember_listening(&database, &gossip).await;
    for (peer, record) in peers::load(&database).map_err(store_failure)? {
        if let Err(error) = gossip.add_peer(peer, peers::addresses(&record)).await {
            // The error may name the peer.
            tracing::warn!("a remembered peer is not used");
            tracing::debug!("because: {error}");
        }
    }

    let (engine, inbox) = engine::queues();
    let runtime = tokio::runtime::Handle::current();
    let engine_stop = stopped.clone();
    let ended = StopOnDrop(stop.clone());
    let thread = std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || {
            let _guard = ended;
            runtime.block_on(engine_state.run(inbox, engine_stop));
        })
        .map_err(|error| Failure::new(ErrorCode::Failed, error))?;
    let sender = tokio::spawn(network::send(gossip.clone(), queue, topics.clone(), stopped.clone()));
    let receiver = tokio::spawn(network::receive(events, gossip.clone(), engine.clone()));
    let delivery = config.delivery.clone();
    let outbox = Outbox {
        database: database.clone(),
        gossip: gossip.clone(),
        engine: engine.clone(),
        outbound: outbound.clone(),
        config: delivery,
    };
    let outbox = tokio::spawn(outbox.run(stopped.clone()));
    let node = Node {
        database,
        gossip: gossip.clone(),
        engine,
        bus,
        outbound,
        name,
        fingerprint,
        started: Instant::now(),
        stop,
    };
    tracing::info!("ready: the API listens at {}", paths.socket.display());
    server::serve(listener, Arc::new(node), config.api.clone(), stopped.clone()).await;

    tracing::info!("stopping");
    // The engine first: no step is cut off. The others only carry what is in the database anyway.
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    let clean = matches!(joined, Ok(Ok(())));
    let _ = gossip.shutdown().await;
    receiver.abort();
    outbox.abort();
    sender.abort();
    if clean { Ok(()) } else { Err(Failure::new(ErrorCode::Failed, "The engine did not end cleanly.")) }
}

/// Without its engine the daemon is of no use: it stops, however the engine ended.
struct StopOnDrop(watch::Sender<bool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// Takes the socket's file away at the end.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A file that is left is replaced by the next daemon.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn signals(stop: watch::Sender<bool>) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
    });
    Ok(())
}

fn watch_stdin(stop: watch::Sender<bool>) {
    // A thread of its own: a read of standard input cannot be cancelled and would hold the runtime up.
    std::thread::spawn(move || {
        let mut sink = std::io::sink();
        // An error is an end as well.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut sink);
        stop.send_replace(true);
    });
}

/// Starts the network at the addresses of the last run where the configuration leaves the port open, so that tickets
/// stay good; at fresh ones if those are taken.
async fn start_network(
    database: &Database,
    config: &Config,
    log: Arc<LogStore>,
) -> Result<(Handle, dmls_gossip::Events), Failure> {
    let seed: Option<[u8; 32]> = database.get(Column::Identity, SEED).map_err(store_failure)?;
    let mut seed = seed.ok_or_else(|| Failure::new(ErrorCode::Store, "The peer id's secret is missing."))?;
    let identity = IdentitySeed::new(seed);
    seed.zeroize();
    let before: Vec<String> = database.get(Column::Meta, LISTEN).map_err(store_failure)?.unwrap_or_default();
    let wanted = peers::with_ports(&config.network.listen, &before);
    if wanted != config.network.listen {
        let network = dmls_gossip::Config { listen: wanted, ..config.network.clone() };
        match Gossip::start(&identity, network, log.clone()).await {
            Ok(started) => return Ok(started),
            Err(error) => {
                tracing::warn!("the ports of the last run are not free ({error}): tickets have changed")
            }
        }
    }
    Gossip::start(&identity, config.network.clone(), log).await.map_err(|error| {
        Failure::new(ErrorCode::Config, format!("The network cannot start: {error}"))
            .hint("Check network.listen in the configuration, or --listen.")
    })
}

async fn remember_listening(database: &Database, gossip: &Handle) {
    let addresses: Vec<Multiaddr> = gossip.listen_addrs().await.unwrap_or_default();
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut extra = Extra::default();
    let stored = extra
        .put(Column::Meta, LISTEN, &addresses)
        .and_then(|()| database.apply_with(&Changes::default(), &extra));
    if let Err(error) = stored {
        tracing::warn!("the ports are not remembered: {error}");
    }
}

/// What a peer record says, as the API shows it.
fn peer_name(record: Option<&PeerRecord>) -> String {
    record.map(|record| record.name.clone()).unwrap_or_default()
}
