//! Peers that come and go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dmls_gossip::{Config, MemoryStore, Multiaddr};

use crate::support::{Node, Over, config, connect, until};

fn at(address: &Multiaddr) -> Config {
    Config { listen: vec![address.clone()], ..config(Over::Quic) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_peer_that_is_not_there_yet_is_dialled_until_it_is() {
    let later = Node::new(Over::Tcp, 160).await;
    let (address, id) = (later.addresses[0].clone(), later.id);
    later.handle.shutdown().await.unwrap();
    let mut eager = config(Over::Tcp);
    eager.bootstrap = vec![address.clone().with_p2p(id).unwrap()];
    let a = Node::start(eager, 161, Arc::default()).await;
    until("dials fail, as events", 5, async || a.log.lock().unwrap().failed_dials.len() >= 2).await;
    let later = Node::start(at(&address), 160, Arc::default()).await;
    until("they meet", 5, async || a.sees(later.id).await && later.sees(a.id).await).await;
}

/// The peer vanishes without a goodbye and comes back within the time in which nobody could have noticed.
fn killed_and_back(over: Over, seed: u8) {
    let outer = tokio::runtime::Runtime::new().unwrap();
    let inner = tokio::runtime::Runtime::new().unwrap();
    let a = outer.block_on(Node::new(over, seed));
    let mut old = inner.block_on(Node::new(over, seed + 1));
    outer.block_on(async {
        connect(&a, &old).await;
        a.publish(1, "before").await;
        until("it arrives", 5, async || old.count() == 1).await;
    });
    // Everything that the inner runtime runs stops at once; its sockets are closed without a word.
    let (store, address): (Arc<MemoryStore>, _) = (old.store.clone(), old.addresses.remove(0));
    inner.shutdown_background();
    outer.block_on(async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        a.publish(2, "while it is dead").await;
        let start = Instant::now();
        let mut back = at(&address);
        back.bootstrap = vec![a.addresses[0].clone().with_p2p(a.id).unwrap()];
        let back = Node::start(back, seed + 1, store).await;
        until("the returned one has what it missed", 12, async || back.count() == 2).await;
        until("both see each other", 12, async || a.sees(back.id).await && back.sees(a.id).await).await;
        let (id, _) = a.publish(3, "after").await;
        until("live messages flow again", 12, async || back.handed_over(id) == 1).await;
        let (id, _) = back.publish(4, "and back").await;
        until("in both directions", 12, async || a.handed_over(id) == 1).await;
        println!("{over:?}: whole again {:?} after the restart", start.elapsed());
        // QUIC alone notices a dead peer after eight seconds.
        assert!(start.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn a_killed_peer_that_returns_at_once_is_whole_again_over_quic() {
    killed_and_back(Over::Quic, 162);
}

#[test]
fn a_killed_peer_that_returns_at_once_is_whole_again_over_tcp() {
    killed_and_back(Over::Tcp, 164);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_dialled_finds_a_lost_peer_of_its_topics_again() {
    let (a, b) = (Node::new(Over::Tcp, 166).await, Node::new(Over::Tcp, 167).await);
    connect(&a, &b).await;
    // Long enough for identify to have told where `a` listens.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let address = a.addresses[0].clone();
    a.handle.shutdown().await.unwrap();
    until("it is gone", 5, async || !b.is_connected(a.id).await).await;
    // It comes back knowing nobody: only `b` can dial.
    let a = Node::start(at(&address), 166, Arc::default()).await;
    until("they meet again", 10, async || a.sees(b.id).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_dial_each_other_at_once_end_connected() {
    for n in 0..4 {
        let over = if n % 2 == 0 { Over::Quic } else { Over::Tcp };
        let (a, b) = (Node::new(over, 170 + 2 * n).await, Node::new(over, 171 + 2 * n).await);
        let (x, y) = tokio::join!(
            a.handle.add_peer(b.id, b.addresses.clone()),
            b.handle.add_peer(a.id, a.addresses.clone())
        );
        assert!(x.is_ok() && y.is_ok());
        until("both see each other", 5, async || a.sees(b.id).await && b.sees(a.id).await).await;
        let (id, _) = a.publish(1, "hello").await;
        until("and talk", 5, async || b.handed_over(id) == 1).await;
    }
}
