//! Who was away, came late, or was too slow ends with every message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dmls_gossip::{
    Event, Gossip, IdentitySeed, Item, MemoryStore, MessageId, MessageStore, StoreError, Topic, Verdict,
};

use crate::support::{Node, Over, TOPIC, config, connect, message, order_of, patient, pause, until};

fn filled(count: u64) -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    for n in 0..count {
        store.insert(TOPIC, n / 10, message(n / 10, &format!("{n} {}", "x".repeat(200))));
    }
    store
}

async fn late(over: Over) {
    let a = Node::start(config(over), 50, filled(2_000)).await;
    let b = Node::new(over, 51).await;
    let start = Instant::now();
    b.know(&a).await;
    until("the late one has everything", 15, async || b.count() == 2_000).await;
    println!("2,000 messages from nothing over {over:?}: {:?}", start.elapsed());
    until("it is told so", 5, async || b.completed() > 0).await;
    let log = b.log.lock().unwrap();
    assert!(log.messages.iter().all(|(id, live, bytes)| !live && *id == MessageId::of(bytes)));
    assert!(log.messages.len() == 2_000 && log.faults.is_empty());
    // Parents come before children, but for the seams between pulls.
    let orders: Vec<_> = log.messages.iter().map(|(_, _, bytes)| order_of(bytes)).collect();
    let falls = orders.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(falls <= 4, "{falls} falls of order");
    assert!(a.log.lock().unwrap().messages.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_starter_catches_up_from_nothing_over_quic() {
    late(Over::Quic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_starter_catches_up_from_nothing_over_tcp() {
    late(Over::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_starter_catches_up_from_several_peers_with_different_sets() {
    let stores: Vec<_> = (0..3).map(|_| Arc::new(MemoryStore::new())).collect();
    for n in 0..900u64 {
        // A third each is held by one peer alone; the rest by all.
        for (k, store) in stores.iter().enumerate() {
            if n % 2 == 0 || n % 3 == k as u64 {
                store.insert(TOPIC, n / 10, message(n / 10, &n.to_string()));
            }
        }
    }
    let mut holders = Vec::new();
    for (k, store) in stores.iter().enumerate() {
        holders.push(Node::start(patient(Over::Quic), 52 + k as u8, store.clone()).await);
    }
    let late = Node::start(patient(Over::Quic), 56, Arc::default()).await;
    for holder in &holders {
        late.know(holder).await;
    }
    until("the late one has everything", 15, async || late.count() == 900).await;
    // What it learned it passes on, by hints: the holders do not know each other.
    until("so have the others", 15, async || holders.iter().all(|holder| holder.count() == 900)).await;
    assert_eq!(late.log.lock().unwrap().messages.len(), 900, "each was handed over once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_ends_with_every_message() {
    let (a, b) = (Node::new(Over::Quic, 60).await, Node::new(Over::Tcp, 61).await);
    let mut both = config(Over::Quic);
    both.listen.extend(Over::Tcp.listen());
    let c = Node::start(both.clone(), 62, Arc::default()).await;
    connect(&c, &a).await;
    connect(&c, &b).await;
    connect(&a, &b).await;
    a.publish(0, "before").await;
    until("all have it", 5, async || b.count() == 1 && c.count() == 1).await;
    c.handle.shutdown().await.unwrap();
    until("it is gone", 5, async || !a.is_connected(c.id).await && !b.is_connected(c.id).await).await;
    for n in 0..50 {
        a.publish(n, &format!("a{n}")).await;
        b.publish(n, &format!("b{n}")).await;
    }
    until("the others have all", 10, async || a.count() == 101 && b.count() == 101).await;
    assert_eq!(c.count(), 1);
    let c = Node::start(both, 62, c.store.clone()).await;
    c.know(&a).await;
    until("the returned one has all", 10, async || c.count() == 101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_below_either_floor_stays_out_on_both_sides() {
    let full = filled(1_000);
    let pruned = filled(1_000);
    pruned.prune(TOPIC, 60);
    pruned.insert(TOPIC, 70, message(70, "only here"));
    full.insert(TOPIC, 10, message(10, "old, and only there"));
    full.insert(TOPIC, 80, message(80, "new, and only there"));
    let a = Node::start(config(Over::Quic), 63, full).await;
    let b = Node::start(config(Over::Quic), 64, pruned).await;
    connect(&a, &b).await;
    until("both have what is above", 10, async || a.count() == 1_003 && b.count() == 402).await;
    for _ in 0..3 {
        let before = (a.completed(), b.completed());
        a.handle.reconcile(TOPIC).await.unwrap();
        b.handle.reconcile(TOPIC).await.unwrap();
        until("further sessions end", 5, async || a.completed() > before.0 && b.completed() > before.1).await;
    }
    assert_eq!((a.count(), b.count()), (1_003, 402));
    assert_eq!(a.log.lock().unwrap().messages.len(), 1);
    assert_eq!(b.log.lock().unwrap().messages.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_are_caught_up_in_chunks() {
    let store = filled(30);
    let mut body = message(1, "large");
    body.extend((0..3_500_000u32).map(|n| (n % 253) as u8));
    let id = store.insert(TOPIC, 1, body);
    let a = Node::start(config(Over::Tcp), 65, store).await;
    let b = Node::new(Over::Tcp, 66).await;
    b.know(&a).await;
    until("all are there", 10, async || b.count() == 31).await;
    assert_eq!(b.handed_over(id), 1);
    until("the session is complete", 5, async || b.completed() > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_application_is_not_flooded_and_loses_nothing() {
    let mut narrow = patient(Over::Quic);
    narrow.limits.max_events = 32;
    narrow.timing.unreported_ms = 60_000;
    let a = Node::start(patient(Over::Quic), 67, Arc::default()).await;
    let b = Node::start(narrow, 68, Arc::default()).await;
    b.slowness.store(3, Ordering::SeqCst);
    connect(&a, &b).await;
    for n in 0..400 {
        a.publish(n / 10, &format!("burst {n}")).await;
    }
    until("the slow one has everything", 30, async || b.count() == 400).await;
    let stats = b.handle.stats().await.unwrap();
    assert!(stats.dropped_live > 0, "the burst did not overflow the queue: the test tests nothing");
    assert_eq!(b.log.lock().unwrap().messages.len(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_message_does_not_come_back_and_an_ignored_one_may() {
    let a = Node::start(config(Over::Quic), 69, filled(1)).await;
    let id = MessageId::of(&message(0, &format!("0 {}", "x".repeat(200))));
    let mut forgetful = config(Over::Quic);
    forgetful.timing.ignored_ms = 100;
    let rejecting = Node::start(forgetful.clone(), 70, Arc::default()).await;
    rejecting.judge.set(Verdict::Reject);
    let ignoring = Node::start(forgetful, 71, Arc::default()).await;
    ignoring.judge.set(Verdict::Ignore);
    connect(&rejecting, &a).await;
    connect(&ignoring, &a).await;
    until("both have judged", 5, async || rejecting.handed_over(id) == 1 && ignoring.handed_over(id) == 1)
        .await;
    for _ in 0..3 {
        pause(1_300).await; // what is ignored is forgotten by a sweep once a second
        let before = rejecting.completed();
        rejecting.handle.reconcile(TOPIC).await.unwrap();
        ignoring.handle.reconcile(TOPIC).await.unwrap();
        until("a further session is complete", 5, async || rejecting.completed() > before).await;
    }
    assert_eq!(rejecting.handed_over(id), 1);
    assert!(ignoring.handed_over(id) > 1, "the control: the same path brings an ignored one again");
    assert_eq!(rejecting.handle.stats().await.unwrap().rejected_remembered, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_own_limit_is_left_out_and_blamed_on_nobody() {
    let store = filled(20);
    let mut body = message(1, "too large for one of them");
    body.resize(3_000_000, 7);
    let id = store.insert(TOPIC, 1, body);
    let a = Node::start(config(Over::Quic), 72, store).await;
    let mut narrow = config(Over::Quic);
    narrow.limits.max_message = 2_000_000;
    let b = Node::start(narrow, 73, Arc::default()).await;
    let control = Node::new(Over::Quic, 74).await;
    b.know(&a).await;
    control.know(&a).await;
    until("the rest is there", 10, async || b.count() == 20 && b.completed() > 0).await;
    until("the control has it", 10, async || control.handed_over(id) == 1).await;
    assert_eq!(b.handed_over(id), 0);
    assert!(b.log.lock().unwrap().faults.is_empty() && b.is_connected(a.id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_refuses_is_not_fetched() {
    let holder = filled(20);
    let (a, store) = (Node::start(config(Over::Quic), 75, holder).await, Arc::new(MemoryStore::new()));
    let id = MessageId::of(&message(0, &format!("3 {}", "x".repeat(200))));
    store.refuse(TOPIC, id);
    let b = Node::start(config(Over::Quic), 76, store).await;
    b.know(&a).await;
    until("all but one", 10, async || b.count() == 19 && b.completed() > 0).await;
    assert_eq!((a.store.has(&TOPIC, &id).unwrap(), b.handed_over(id)), (true, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_does_not_hide_what_lies_behind_it() {
    let (holder, store) = (filled(1_000), Arc::new(MemoryStore::new()));
    for item in holder.ids(&TOPIC, 0).unwrap().iter().filter(|item| item.order < 60) {
        store.refuse(TOPIC, item.id);
    }
    let mut small = patient(Over::Quic);
    small.limits.max_frame = 4_096;
    small.limits.max_missing = 50;
    let a = Node::start(small.clone(), 79, holder).await;
    let b = Node::start(small, 80, store).await;
    b.know(&a).await;
    until("all that is wanted", 15, async || b.count() == 400).await;
    assert!(b.log.lock().unwrap().faults.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_refuse_what_the_other_has_leave_each_other_in_peace() {
    let mut quick = patient(Over::Quic);
    quick.timing.reconcile_min_ms = 20;
    let mut nodes = Vec::new();
    for n in 0..2u64 {
        let store = Arc::new(MemoryStore::new());
        store.insert(TOPIC, 1, message(1, &format!("of {n}")));
        store.refuse(TOPIC, MessageId::of(&message(1, &format!("of {}", 1 - n))));
        nodes.push(Node::start(quick.clone(), 81 + n as u8, store).await);
    }
    connect(&nodes[0], &nodes[1]).await;
    pause(2_000).await;
    for node in &nodes {
        let started = node.handle.stats().await.unwrap().sessions_started;
        assert!((1..=5).contains(&started), "{started} sessions in two seconds");
    }
    // The control: something new still gets through by a hint alone.
    let new = nodes[0].store.insert(TOPIC, 2, message(2, "new"));
    nodes[0].handle.reconcile(TOPIC).await.unwrap();
    until("the new one", 5, async || nodes[1].handed_over(new) == 1).await;
}

/// Fails on demand.
#[derive(Default)]
struct Failing {
    inner: MemoryStore,
    fails: AtomicBool,
}

impl Failing {
    fn try_it<T>(&self, call: impl FnOnce(&MemoryStore) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.fails.load(Ordering::SeqCst) { Err(StoreError("as asked".into())) } else { call(&self.inner) }
    }
}

impl MessageStore for Failing {
    fn floor(&self, topic: &Topic) -> Result<u64, StoreError> {
        self.try_it(|inner| inner.floor(topic))
    }
    fn ids(&self, topic: &Topic, floor: u64) -> Result<Vec<Item>, StoreError> {
        self.try_it(|inner| inner.ids(topic, floor))
    }
    fn get(&self, topic: &Topic, id: &MessageId) -> Result<Option<Vec<u8>>, StoreError> {
        self.try_it(|inner| inner.get(topic, id))
    }
    fn order(&self, topic: &Topic, id: &MessageId) -> Result<Option<u64>, StoreError> {
        self.try_it(|inner| inner.order(topic, id))
    }
    fn has(&self, topic: &Topic, id: &MessageId) -> Result<bool, StoreError> {
        self.try_it(|inner| inner.has(topic, id))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_store_loses_nothing_and_blames_nobody() {
    let store = Arc::new(Failing::default());
    for n in 0..20 {
        store.inner.insert(TOPIC, n, message(n, "of the failing one"));
    }
    store.fails.store(true, Ordering::SeqCst);
    let seed = IdentitySeed::new([77; 32]);
    let (handle, mut events) = Gossip::start(&seed, config(Over::Quic), store.clone()).await.unwrap();
    handle.subscribe(TOPIC).await.unwrap();
    let b = Node::new(Over::Quic, 78).await;
    b.store.insert(TOPIC, 5, message(5, "of the other"));
    b.handle.add_peer(handle.local_peer_id(), handle.listen_addrs().await.unwrap()).await.unwrap();
    until("sessions fail", 5, async || b.log.lock().unwrap().reconciled.len() >= 2).await;
    assert_eq!((b.completed(), b.count()), (0, 1));
    store.fails.store(false, Ordering::SeqCst);
    until("then the other has everything", 10, async || b.count() == 21).await;
    let mut fetched = false;
    until("and so has the one that failed", 10, async || {
        while let Some(event) = events.try_recv() {
            fetched |= matches!(event, Event::Message { .. });
        }
        fetched
    })
    .await;
    assert!(b.log.lock().unwrap().faults.is_empty());
    drop(events);
    until("without its consumer the network ends", 5, async || handle.stats().await.is_err()).await;
}
