//! A node with a store in memory and an application that stores, judges and logs.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dmls_gossip::{
    Config, Event, Events, Fault, Gossip, Handle, IdentitySeed, Limits, MemoryStore, MessageId, Multiaddr,
    PeerId, PeerStats, Published, Timing, Topic, Verdict,
};

pub(crate) const TOPIC: Topic = Topic([0x11; 32]);

/// Requests of this kind are answered with the body reversed.
pub(crate) const REVERSE: u8 = 1;
/// Requests of this kind are refused with code 7.
pub(crate) const REFUSE: u8 = 2;
/// Requests of this kind are never answered.
pub(crate) const SILENCE: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Quic,
    Tcp,
}

impl Over {
    pub(crate) fn listen(self) -> Vec<Multiaddr> {
        let address = match self {
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
            Self::Tcp => "/ip4/127.0.0.1/tcp/0",
        };
        vec![address.parse().unwrap()]
    }
}

pub(crate) fn config(over: Over) -> Config {
    let timing = Timing {
        reconcile_ms: 2_000,
        reconcile_min_ms: 100,
        request_timeout_ms: 3_000,
        redial_min_ms: 100,
        redial_max_ms: 1_000,
        ..Timing::default()
    };
    Config { listen: over.listen(), timing, limits: Limits::default(), ..Config::default() }
}

/// Without periodic reconciliation: what arrives in time came another way.
pub(crate) fn patient(over: Over) -> Config {
    let mut config = config(over);
    config.timing.reconcile_ms = 600_000;
    config
}

/// How the application judges: by a byte that the message contains, else by a setting.
#[derive(Default)]
pub(crate) struct Judge {
    verdict: AtomicU8,
}

impl Judge {
    pub(crate) fn set(&self, verdict: Verdict) {
        let code = match verdict {
            Verdict::Accept => 0,
            Verdict::Reject => 1,
            Verdict::Ignore => 2,
        };
        self.verdict.store(code, Ordering::SeqCst);
    }

    fn of(&self) -> Verdict {
        match self.verdict.load(Ordering::SeqCst) {
            0 => Verdict::Accept,
            1 => Verdict::Reject,
            _ => Verdict::Ignore,
        }
    }
}

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) messages: Vec<(MessageId, bool, Vec<u8>)>,
    pub(crate) reconciled: Vec<(PeerId, u64, bool)>,
    pub(crate) faults: Vec<(PeerId, Fault, bool)>,
    pub(crate) connected: Vec<PeerId>,
    pub(crate) disconnected: Vec<PeerId>,
    pub(crate) failed_dials: Vec<PeerId>,
    pub(crate) joined: Vec<PeerId>,
}

pub(crate) struct Node {
    pub(crate) handle: Handle,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) judge: Arc<Judge>,
    pub(crate) log: Arc<Mutex<Log>>,
    pub(crate) id: PeerId,
    pub(crate) addresses: Vec<Multiaddr>,
    /// Milliseconds that the application takes for each message.
    pub(crate) slowness: Arc<AtomicU8>,
}

/// A message of an order.
pub(crate) fn message(order: u64, text: &str) -> Vec<u8> {
    [&order.to_be_bytes(), text.as_bytes()].concat()
}

pub(crate) fn order_of(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

impl Node {
    pub(crate) async fn new(over: Over, seed: u8) -> Self {
        Self::start(config(over), seed, Arc::default()).await
    }

    /// Starts a node that is subscribed to the topic.
    pub(crate) async fn start(config: Config, seed: u8, store: Arc<MemoryStore>) -> Self {
        let seed = IdentitySeed::new([seed; 32]);
        let (handle, events) = Gossip::start(&seed, config, store.clone()).await.unwrap();
        handle.subscribe(TOPIC).await.unwrap();
        let id = handle.local_peer_id();
        assert_eq!(id, seed.peer_id().unwrap());
        let addresses = handle.listen_addrs().await.unwrap();
        let node = Self {
            handle,
            store,
            judge: Arc::default(),
            log: Arc::default(),
            id,
            addresses,
            slowness: Arc::default(),
        };
        tokio::spawn(consume(
            events,
            node.handle.clone(),
            node.store.clone(),
            node.judge.clone(),
            node.log.clone(),
            node.slowness.clone(),
        ));
        node
    }

    pub(crate) async fn know(&self, other: &Node) {
        self.handle.add_peer(other.id, other.addresses.clone()).await.unwrap();
    }

    /// Stores, then publishes.
    pub(crate) async fn publish(&self, order: u64, text: &str) -> (MessageId, Published) {
        self.publish_bytes(message(order, text)).await
    }

    pub(crate) async fn publish_bytes(&self, bytes: Vec<u8>) -> (MessageId, Published) {
        let id = self.store.insert(TOPIC, order_of(&bytes), bytes.clone());
        (id, self.handle.publish(TOPIC, bytes).await.unwrap())
    }

    pub(crate) fn count(&self) -> usize {
        self.store.len(&TOPIC)
    }

    pub(crate) async fn sees(&self, other: PeerId) -> bool {
        let peers = self.handle.peers().await.unwrap();
        peers.iter().any(|info| info.peer == other && info.topics.contains(&TOPIC))
    }

    pub(crate) async fn is_connected(&self, other: PeerId) -> bool {
        self.handle.peers().await.unwrap().iter().any(|info| info.peer == other)
    }

    pub(crate) async fn counters(&self, other: PeerId) -> PeerStats {
        self.handle.stats().await.unwrap().peers.get(&other.to_base58()).cloned().unwrap_or_default()
    }

    pub(crate) fn handed_over(&self, id: MessageId) -> usize {
        self.log.lock().unwrap().messages.iter().filter(|(which, _, _)| *which == id).count()
    }

    pub(crate) fn completed(&self) -> usize {
        self.log.lock().unwrap().reconciled.iter().filter(|(_, _, complete)| *complete).count()
    }

    pub(crate) fn has_fault(&self, peer: PeerId, fault: Fault) -> bool {
        self.log.lock().unwrap().faults.iter().any(|(who, what, _)| *who == peer && *what == fault)
    }

    pub(crate) fn has_ban(&self, peer: PeerId) -> bool {
        self.log.lock().unwrap().faults.iter().any(|(who, _, banned)| *who == peer && *banned)
    }
}

async fn consume(
    mut events: Events,
    handle: Handle,
    store: Arc<MemoryStore>,
    judge: Arc<Judge>,
    log: Arc<Mutex<Log>>,
    slowness: Arc<AtomicU8>,
) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Message { topic, id, bytes, source, live } => {
                let pause = slowness.load(Ordering::SeqCst);
                if pause > 0 {
                    tokio::time::sleep(Duration::from_millis(pause.into())).await;
                }
                log.lock().unwrap().messages.push((id, live, bytes.clone()));
                let verdict = judge.of();
                if verdict == Verdict::Accept {
                    store.insert(topic, order_of(&bytes), bytes);
                }
                let _ = handle.report(topic, id, source, verdict).await;
            }
            Event::Request { kind, mut body, token, .. } => {
                body.reverse();
                let _ = match kind {
                    REVERSE => handle.respond(token, Ok(body)).await,
                    REFUSE => handle.respond(token, Err(7)).await,
                    _ => Ok(()),
                };
            }
            Event::Reconciled { peer, fetched, complete, .. } => {
                log.lock().unwrap().reconciled.push((peer, fetched, complete));
            }
            Event::Penalised { peer, fault, banned } => {
                log.lock().unwrap().faults.push((peer, fault, banned));
            }
            Event::PeerConnected { peer, .. } => log.lock().unwrap().connected.push(peer),
            Event::PeerDisconnected { peer } => log.lock().unwrap().disconnected.push(peer),
            Event::DialFailed { peer, .. } => log.lock().unwrap().failed_dials.push(peer),
            Event::PeerJoined { peer, .. } => log.lock().unwrap().joined.push(peer),
            _ => {}
        }
    }
}

/// Waits until something holds; fails with its name after the time.
pub(crate) async fn until(what: &str, seconds: u64, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Connects two nodes and waits until each knows that the other is in the topic.
pub(crate) async fn connect(a: &Node, b: &Node) {
    a.know(b).await;
    until("two nodes see each other", 10, async || a.sees(b.id).await && b.sees(a.id).await).await;
}

pub(crate) async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
