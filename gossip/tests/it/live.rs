//! Messages that travel at once.

use std::time::{Duration, Instant};

use dmls_gossip::{MessageId, PublishError, Published, Topic, Verdict};

use crate::support::{Node, Over, TOPIC, config, connect, message, patient, pause, until};

async fn two_nodes(over: Over) {
    let (a, b) = (Node::new(over, 1).await, Node::new(over, 2).await);
    let start = Instant::now();
    connect(&a, &b).await;
    let (first, sent) = a.publish(1, "first").await;
    assert_eq!(sent, Published::Sent);
    until("the first message", 5, async || b.handed_over(first) == 1).await;
    assert!(start.elapsed() < Duration::from_secs(2), "connect and deliver took {:?}", start.elapsed());
    for n in 0..20 {
        a.publish(n, &format!("a{n}")).await;
        b.publish(n, &format!("b{n}")).await;
    }
    until("all messages", 10, async || a.count() == 41 && b.count() == 41).await;
    let log = b.log.lock().unwrap();
    assert!(log.messages.iter().all(|(id, _, bytes)| *id == MessageId::of(bytes)));
    assert!(log.messages.iter().filter(|(_, live, _)| *live).count() >= 20, "they came live");
    assert!(log.faults.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_exchange_messages_over_quic() {
    two_nodes(Over::Quic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_exchange_messages_over_tcp() {
    two_nodes(Over::Tcp).await;
}

/// In a line, so that messages have to be passed on.
async fn five_nodes(over: Over) {
    let mut nodes = Vec::new();
    for n in 0..5 {
        nodes.push(Node::new(over, n + 10).await);
    }
    for pair in nodes.windows(2) {
        connect(&pair[0], &pair[1]).await;
    }
    for (n, node) in nodes.iter().enumerate() {
        for k in 0..5 {
            node.publish(k, &format!("{n} {k}")).await;
        }
    }
    until("everybody has everything", 15, async || nodes.iter().all(|node| node.count() == 25)).await;
    assert!(nodes.iter().all(|node| node.log.lock().unwrap().faults.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_nodes_in_a_line_over_quic() {
    five_nodes(Over::Quic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_nodes_in_a_line_over_tcp() {
    five_nodes(Over::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_is_announced_and_pulled_hop_by_hop() {
    let mut nodes = Vec::new();
    for n in 20..23 {
        nodes.push(Node::start(patient(Over::Quic), n, Default::default()).await);
    }
    connect(&nodes[0], &nodes[1]).await;
    connect(&nodes[1], &nodes[2]).await;
    for size in [1024 * 1024, 5 * 1024 * 1024 + 17] {
        let mut body = message(3, "large");
        body.extend((0..size).map(|n: u32| (n % 251) as u8));
        let (id, _) = nodes[0].publish_bytes(body).await;
        until("both have the large message", 10, async || {
            nodes[1].handed_over(id) == 1 && nodes[2].handed_over(id) == 1
        })
        .await;
    }
    let log = nodes[2].log.lock().unwrap();
    assert!(log.messages.iter().all(|(id, live, bytes)| *live && *id == MessageId::of(bytes)));
    assert!(log.faults.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_accepted_message_is_passed_on() {
    let mut nodes = Vec::new();
    for n in 30..33 {
        nodes.push(Node::start(patient(Over::Quic), n, Default::default()).await);
    }
    connect(&nodes[0], &nodes[1]).await;
    connect(&nodes[1], &nodes[2]).await;
    nodes[1].judge.set(Verdict::Reject);
    let (bad, _) = nodes[0].publish(1, "bad").await;
    until("the one in the middle judges", 5, async || nodes[1].handed_over(bad) == 1).await;
    pause(300).await;
    // The control: the same path, and a good message after the bad one.
    nodes[1].judge.set(Verdict::Accept);
    let (good, _) = nodes[0].publish(1, "good").await;
    until("the good message", 5, async || nodes[2].handed_over(good) == 1).await;
    pause(500).await;
    assert_eq!(nodes[2].handed_over(bad), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_published_is_a_typed_error_and_no_peers_is_none() {
    let alone = Node::new(Over::Tcp, 40).await;
    assert_eq!(alone.publish(1, "alone").await.1, Published::NoPeers);
    let max = config(Over::Tcp).limits.max_message;
    let large = alone.handle.publish(TOPIC, vec![0; max + 1]).await;
    assert_eq!(large, Err(PublishError::TooLarge { size: max + 1, max }));
    let topic = Topic::of(b"another");
    assert_eq!(alone.handle.publish(topic, vec![1]).await, Err(PublishError::NotSubscribed { topic }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_handed_over_once() {
    let (a, b) = (Node::new(Over::Quic, 41).await, Node::new(Over::Quic, 42).await);
    connect(&a, &b).await;
    let (id, first) = a.publish(1, "again").await;
    let (_, second) = a.publish(1, "again").await;
    assert_eq!((first, second), (Published::Sent, Published::Duplicate));
    until("it arrives", 5, async || b.handed_over(id) == 1).await;
    a.handle.reconcile(TOPIC).await.unwrap();
    b.handle.reconcile(TOPIC).await.unwrap();
    pause(500).await;
    assert_eq!(b.handed_over(id), 1);
    assert_eq!(a.handed_over(id), 0, "the author is not told its own message");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_apart_and_can_be_joined_and_left() {
    let (a, b) = (Node::new(Over::Tcp, 43).await, Node::new(Over::Tcp, 44).await);
    connect(&a, &b).await;
    let second = Topic::of(b"a second group");
    a.handle.subscribe(second).await.unwrap();
    let send = async |n: u64| {
        let bytes = message(n, "in the second");
        let id = a.store.insert(second, n, bytes.clone());
        (id, a.handle.publish(second, bytes).await.unwrap())
    };
    let (early, sent) = send(1).await;
    assert_eq!(sent, Published::NoPeers);
    let (control, _) = a.publish(1, "in the first").await;
    until("the first topic works", 5, async || b.handed_over(control) == 1).await;
    assert_eq!(b.handed_over(early), 0);

    b.handle.subscribe(second).await.unwrap();
    until("who joins catches up", 5, async || b.handed_over(early) == 1).await;
    let (live, _) = send(2).await;
    until("and hears what follows", 5, async || b.handed_over(live) == 1).await;

    b.handle.unsubscribe(second).await.unwrap();
    pause(300).await;
    let (late, _) = send(3).await;
    let (control, _) = a.publish(2, "in the first").await;
    until("the first topic still works", 5, async || b.handed_over(control) == 1).await;
    pause(300).await;
    assert_eq!((b.handed_over(late), b.store.len(&second)), (0, 2));
}
