//! Bounds on connections, and configurations that cannot be used.

use std::sync::Arc;

use dmls_gossip::{
    Config, ConfigError, Gossip, IdentitySeed, Limits, MemoryStore, StartError, SubscribeError, Timing, Topic,
};

use crate::support::{Node, Over, config, message, pause, until};

async fn reached(over: Over, max: u32, first_seed: u8) -> usize {
    let mut narrow = config(over);
    narrow.limits.max_connections_in = max;
    let host = Node::start(narrow, first_seed, Arc::default()).await;
    let mut guests = Vec::new();
    for n in 0..3 {
        let guest = Node::new(over, first_seed + 1 + n).await;
        guest.know(&host).await;
        let connected = async || host.handle.peers().await.unwrap().len();
        let expected = (n as usize + 1).min(max as usize);
        until("the guest is in, or there is no room", 5, async || connected().await >= expected).await;
        guests.push(guest);
    }
    pause(800).await;
    let stats = host.handle.stats().await.unwrap();
    assert_eq!(stats.denied > 0, max < 3, "denied: {}", stats.denied);
    assert!(stats.connections_in <= max);
    host.handle.peers().await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_than_allowed() {
    for (n, over) in [Over::Quic, Over::Tcp].into_iter().enumerate() {
        assert_eq!(reached(over, 2, 130 + 10 * n as u8).await, 2);
        assert_eq!(reached(over, 3, 135 + 10 * n as u8).await, 3, "the control");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_shut_out_a_configured_peer() {
    let mut narrow = config(Over::Quic);
    narrow.limits.max_connections_in = 1;
    let host = Node::start(narrow, 146, Arc::default()).await;
    let (stranger, friend) = (Node::new(Over::Quic, 147).await, Node::new(Over::Quic, 148).await);
    stranger.know(&host).await;
    until("the stranger takes the place", 5, async || host.is_connected(stranger.id).await).await;
    friend.know(&host).await;
    pause(500).await;
    assert!(!host.is_connected(friend.id).await, "the control: unknown, it is a stranger too");
    host.handle.add_peer(friend.id, vec![]).await.unwrap();
    until("the friend is in", 5, async || host.is_connected(friend.id).await).await;
    assert!(host.is_connected(stranger.id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connections_above_the_memory_limit() {
    for (limit, seed) in [(1, 150), (0, 152), (1 << 40, 154)] {
        let mut tight = config(Over::Quic);
        tight.limits.max_process_memory = limit;
        let (host, guest) =
            (Node::start(tight, seed, Arc::default()).await, Node::new(Over::Quic, seed + 1).await);
        guest.know(&host).await;
        if limit == 1 {
            pause(800).await;
            assert!(!host.is_connected(guest.id).await);
            assert!(host.handle.stats().await.unwrap().denied > 0);
        } else {
            until("the control connects", 5, async || host.is_connected(guest.id).await).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_much_is_served_in_a_window() {
    let mut mean = config(Over::Quic);
    mean.limits.max_served_per_window = 60_000;
    mean.limits.max_batch = 50_000;
    mean.limits.window_ms = 1_000;
    let store = Arc::new(MemoryStore::new());
    for n in 0..30 {
        store.insert(crate::support::TOPIC, n, message(n, &"w".repeat(10_000)));
    }
    let host = Node::start(mean, 156, store).await;
    let guest = Node::new(Over::Quic, 157).await;
    guest.know(&host).await;
    pause(700).await;
    assert!(guest.count() < 30, "the window did not hold: {}", guest.count());
    until("the next windows bring the rest", 15, async || guest.count() == 30).await;
    assert!(host.handle.stats().await.unwrap().refused_busy > 0);
    assert!(host.log.lock().unwrap().faults.is_empty() && guest.log.lock().unwrap().faults.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_topics() {
    let mut narrow = config(Over::Quic);
    narrow.limits.max_topics = 2;
    let node = Node::start(narrow, 158, Arc::default()).await;
    node.handle.subscribe(Topic::of(b"second")).await.unwrap();
    let third = Topic::of(b"third");
    assert_eq!(node.handle.subscribe(third).await, Err(SubscribeError::TooMany { max: 2 }));
    node.handle.unsubscribe(Topic::of(b"second")).await.unwrap();
    assert_eq!(node.handle.subscribe(third).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_is_a_typed_error() {
    let start = async |config: Config| {
        let seed = IdentitySeed::new([1; 32]);
        Gossip::start(&seed, config, Arc::new(MemoryStore::new())).await.map(|_| ())
    };
    let limits = Limits { max_frame: 100, ..Limits::default() };
    let bad = start(Config { limits, ..Config::default() }).await;
    assert!(matches!(bad, Err(StartError::Config(ConfigError::Limits { .. }))));
    let timing = Timing { heartbeat_ms: 0, ..Timing::default() };
    let bad = start(Config { timing, ..Config::default() }).await;
    assert!(matches!(bad, Err(StartError::Config(ConfigError::Timing))));
    let nameless = vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()];
    let bad = start(Config { bootstrap: nameless, ..Config::default() }).await;
    assert!(matches!(bad, Err(StartError::Config(ConfigError::NoPeerId { .. }))));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let listen = vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()];
    let bad = start(Config { listen: listen.clone(), ..Config::default() }).await;
    assert!(matches!(bad, Err(StartError::Listen { .. })));
    drop(taken);
    assert!(start(Config { listen, ..Config::default() }).await.is_ok(), "the control");
}
