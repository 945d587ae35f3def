//! A cut is real: no byte passes, on either transport. Afterwards everything heals.

use std::collections::HashSet;

use dmls_gossip::{DialError, RequestError};

use crate::support::{Node, Over, REVERSE, TOPIC, connect, pause, until};

async fn cut(over: Over) {
    let (a, b) = (Node::new(over, 80).await, Node::new(over, 81).await);
    connect(&a, &b).await;
    let before = a.counters(b.id).await;
    a.publish(0, "before the cut").await;
    until("it arrives", 5, async || b.count() == 1).await;
    let moved = a.counters(b.id).await;
    assert!(moved.bytes_out > before.bytes_out, "the control: the counters move while connected");

    let (all_a, all_b) = (HashSet::from([a.id]), HashSet::from([b.id]));
    a.handle.set_blocked(all_b).await.unwrap();
    b.handle.set_blocked(all_a).await.unwrap();
    assert!(!a.is_connected(b.id).await && !b.is_connected(a.id).await);
    let (ab, ba) = (a.counters(b.id).await, b.counters(a.id).await);
    assert!(ab.blocked && ba.blocked && ab.connections == 0);
    for n in 0..10 {
        a.publish(n, &format!("cut a{n}")).await;
        b.publish(n, &format!("cut b{n}")).await;
    }
    a.handle.reconcile(TOPIC).await.unwrap();
    let refused = a.handle.dial(b.addresses[0].clone().with_p2p(b.id).unwrap()).await;
    assert_eq!(refused, Err(DialError::Blocked { peer: b.id }));
    let refused = a.handle.request(b.id, b.addresses.clone(), REVERSE, vec![1]).await;
    assert_eq!(refused, Err(RequestError::Blocked { peer: b.id }));
    b.know(&a).await;
    pause(1_500).await;
    assert_eq!((a.counters(b.id).await, b.counters(a.id).await), (ab, ba), "the counters stand still");
    assert_eq!((a.count(), b.count()), (11, 11));

    a.handle.set_blocked(HashSet::new()).await.unwrap();
    b.handle.set_blocked(HashSet::new()).await.unwrap();
    until("the cut has healed", 10, async || a.count() == 21 && b.count() == 21).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_passes_a_cut_over_quic() {
    cut(Over::Quic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_passes_a_cut_over_tcp() {
    cut(Over::Tcp).await;
}

/// Only one side blocks: the other keeps trying, and still nothing passes on any stream that the blocking side reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_one_sided_block_holds_against_a_peer_that_keeps_dialling() {
    for over in [Over::Quic, Over::Tcp] {
        let (a, b) = (Node::new(over, 82).await, Node::new(over, 83).await);
        connect(&b, &a).await;
        a.handle.set_blocked(HashSet::from([b.id])).await.unwrap();
        let before = a.counters(b.id).await;
        pause(1_500).await;
        let after = a.counters(b.id).await;
        assert_eq!((after.bytes_in, after.bytes_out), (before.bytes_in, before.bytes_out));
        assert!(a.handle.stats().await.unwrap().denied > 0, "the other side did try");
        a.handle.set_blocked(HashSet::new()).await.unwrap();
        until("they are together again", 10, async || a.sees(b.id).await && b.sees(a.id).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_and_two_are_cut_apart_and_heal() {
    let mut nodes = Vec::new();
    for n in 0..5 {
        let over = if n % 2 == 0 { Over::Quic } else { Over::Tcp };
        nodes.push(Node::new(over, 84 + n).await);
    }
    for (n, node) in nodes.iter().enumerate() {
        for other in &nodes[n + 1..] {
            connect(node, other).await;
        }
    }
    let (left, right) = nodes.split_at(3);
    let ids = |side: &[Node]| side.iter().map(|node| node.id).collect::<HashSet<_>>();
    for node in left {
        node.handle.set_blocked(ids(right)).await.unwrap();
    }
    for node in right {
        node.handle.set_blocked(ids(left)).await.unwrap();
    }
    let mut still = Vec::new();
    for node in left {
        for other in right {
            still.push((node.counters(other.id).await, other.counters(node.id).await));
        }
    }
    left[0].publish(1, "left").await;
    right[0].publish(1, "right").await;
    let side = |side: &[Node], n: usize| side.iter().all(|node| node.count() == n);
    until("each side talks", 5, async || side(left, 1) && side(right, 1)).await;
    pause(500).await;
    let mut after = Vec::new();
    for node in left {
        for other in right {
            after.push((node.counters(other.id).await, other.counters(node.id).await));
        }
    }
    assert_eq!(still, after, "the counters between the sides stand still");
    for node in &nodes {
        node.handle.set_blocked(HashSet::new()).await.unwrap();
    }
    let start = std::time::Instant::now();
    until("the sides have healed", 10, async || side(&nodes, 2)).await;
    println!("3|2 healed in {:?}", start.elapsed());
}
