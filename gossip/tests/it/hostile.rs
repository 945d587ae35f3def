//! Peers that break the rules. Each attack has its control: the same raw peer, honest, is served and served from.

use dmls_gossip::{Fault, Limits, MessageId, Verdict};

use crate::raw::{Frame, Raw, Script, bodies, body, honest, missing};
use crate::support::{Node, Over, TOPIC, config, connect, message, patient, pause, until};

async fn victim(seed: u8, change: impl FnOnce(&mut Limits)) -> Node {
    let mut config = config(if seed.is_multiple_of(2) { Over::Quic } else { Over::Tcp });
    config.timing.request_timeout_ms = 1_000;
    change(&mut config.limits);
    Node::start(config, seed, Default::default()).await
}

fn some_messages() -> Vec<Vec<u8>> {
    (0..100).map(|n| message(n / 10, &format!("raw {n}"))).collect()
}

/// Honest, but for the answer to requests with this tag.
fn twisted(tag: u8, mut twist: impl FnMut(&[u8]) -> Option<Frame> + Send + 'static) -> Script {
    let mut honest = honest(some_messages());
    Box::new(move |request| if request[0] == tag { twist(request) } else { honest(request) })
}

fn framed(bytes: Vec<u8>) -> Option<Frame> {
    Some(bytes.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_raw_peer_is_served_and_served_from() {
    let victim = victim(100, |_| {}).await;
    let own = victim.store.insert(TOPIC, 5, message(5, "of the victim"));
    let raw = Raw::connect(&victim, Box::new(honest(some_messages()))).await;
    until("its messages are fetched", 5, async || victim.count() == 101).await;
    until("the session is complete", 5, async || victim.completed() > 0).await;
    until("it is told that it lacks something", 5, async || raw.count(5) > 0).await;
    let pull = [&[3u8][..], &TOPIC.0, &1u32.to_be_bytes(), &own.0].concat();
    assert_eq!(raw.ask(pull).await, Some(bodies([body(&message(5, "of the victim"))].into_iter())));
    raw.publish([&[0u8][..], &message(6, "live")].concat()).await;
    until("its live message arrives", 5, async || victim.count() == 102).await;
    assert!(victim.log.lock().unwrap().faults.is_empty());
    assert!(victim.is_connected(raw.id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_answers_are_faults_and_end_in_a_ban() {
    let garbage: [(u8, &[u8]); 6] = [
        (1, b"\x09garbage"),
        (1, b""),
        (2, b"\x02\xff\xff\xffgarbage"),
        (2, b"\x03\x00\x00\x00\x00"),
        (3, b"\x03\x00\x00\x00\x00"),
        (3, b"\x03\xff\xff\xff\xff\x00"),
    ];
    for (n, (tag, bytes)) in garbage.into_iter().enumerate() {
        let victim = victim(101 + n as u8, |_| {}).await;
        let bytes = bytes.to_vec();
        let raw = Raw::connect(&victim, twisted(tag, move |_| framed(bytes.clone()))).await;
        until("the fault", 5, async || victim.has_fault(raw.id, Fault::Malformed)).await;
        until("the ban", 5, async || victim.has_ban(raw.id)).await;
        until("the connection is closed", 5, async || !victim.is_connected(raw.id).await).await;
        assert_eq!(victim.count(), 0);
        assert!(victim.counters(raw.id).await.banned);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_answer_is_not_read() {
    let victim = victim(110, |_| {}).await;
    let flood = Frame { header: u32::MAX, body: vec![7; 1 << 20] };
    let raw = Raw::connect(&victim, twisted(3, move |_| Some(flood.clone()))).await;
    until("the fault", 5, async || victim.has_fault(raw.id, Fault::TooLarge)).await;
    until("the ban", 5, async || victim.has_ban(raw.id) && !victim.is_connected(raw.id).await).await;
    assert_eq!(victim.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_body_is_not_handed_over() {
    let victim = victim(111, |_| {}).await;
    let wrong = message(3, "not what was asked for");
    let id = MessageId::of(&wrong);
    let answer = bodies([body(&wrong)].into_iter());
    let raw = Raw::connect(&victim, twisted(3, move |_| framed(answer.clone()))).await;
    until("the fault", 5, async || victim.has_fault(raw.id, Fault::WrongBody)).await;
    until("the ban", 5, async || !victim.is_connected(raw.id).await).await;
    assert_eq!((victim.handed_over(id), victim.count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_whose_chunks_are_wrong_is_not_handed_over() {
    let id = MessageId::of(&some_messages()[0]);
    let large = bodies([[&[1u8][..], &id.0, &2_000_000u32.to_be_bytes()].concat()].into_iter());
    let part = |len: usize| [&[4u8][..], &2_000_000u32.to_be_bytes(), &vec![1; len]].concat();
    // The wrong bytes, too many of them, none at all.
    for (n, (len, fault)) in
        [(1_000_000, Fault::WrongBody), (1_040_000, Fault::Malformed), (0, Fault::Malformed)]
            .into_iter()
            .enumerate()
    {
        let victim = victim(112 + n as u8, |_| {}).await;
        let (large, part) = (large.clone(), part(len));
        let mut honest = honest(some_messages()[..1].to_vec());
        let script = Box::new(move |request: &[u8]| match request[0] {
            3 => framed(large.clone()),
            4 => framed(part.clone()),
            _ => honest(request),
        });
        let raw = Raw::connect(&victim, script).await;
        until("the fault", 5, async || victim.has_fault(raw.id, fault)).await;
        assert_eq!(victim.count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_not_delivered_cost_points() {
    let victim = victim(115, |_| {}).await;
    let nothing = |request: &[u8]| {
        let ids = request[37..].chunks_exact(32);
        framed(bodies(ids.map(|id| missing(id.try_into().unwrap()))))
    };
    let raw = Raw::connect(&victim, twisted(3, nothing)).await;
    until("the fault", 5, async || victim.has_fault(raw.id, Fault::NotDelivered)).await;
    assert_eq!((victim.count(), victim.completed()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_rounds_and_endless_ids_are_bounded() {
    // A fingerprint that never matches, over everything: bound infinity, mode 1, sixteen bytes.
    let victim_a = victim(116, |limits| limits.max_rounds = 10).await;
    for n in 0..200 {
        victim_a.store.insert(TOPIC, n, message(n, "own"));
    }
    let mut n = 0u8;
    let never = move |_: &[u8]| {
        n = n.wrapping_add(1);
        framed([&[2u8, 0x61, 0, 0, 1][..], &[n; 16]].concat())
    };
    let raw = Raw::connect(&victim_a, twisted(2, never)).await;
    until("the fault", 5, async || victim_a.has_fault(raw.id, Fault::Endless)).await;
    assert!(raw.count(2) <= 2 * 10, "at most two sessions until the ban");

    // New ids in each round, and always more to come.
    let victim_b = victim(117, |limits| limits.max_missing = 500).await;
    let mut n = 0u64;
    let ids = move |_: &[u8]| {
        n += 1;
        // A list of 100 ids up to the bound (n + 1), then a fingerprint for the rest.
        let mut frame = vec![2, 0x61, n as u8 + 1, 0, 2, 100];
        (0..100u64).for_each(|k| frame.extend(MessageId::of(&(n * 1000 + k).to_be_bytes()).0));
        frame.extend([0, 0, 1]);
        frame.extend([n as u8; 16]);
        framed(frame)
    };
    let raw = Raw::connect(&victim_b, twisted(2, ids)).await;
    until("the fault", 5, async || victim_b.has_fault(raw.id, Fault::NotDelivered)).await;
    assert!(raw.count(2) <= 20 && raw.count(3) <= 4, "{} rounds, {} pulls", raw.count(2), raw.count(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_oversized_requests_are_faults() {
    let victim = victim(118, |_| {}).await;
    let raw = Raw::connect(&victim, Box::new(honest(vec![]))).await;
    assert_eq!(raw.ask(b"\x09garbage".to_vec()).await, Some(vec![0, 3]));
    until("the fault", 5, async || victim.has_fault(raw.id, Fault::Malformed)).await;
    let unknown = [&[5u8][..], &[0x77; 32]].concat();
    assert_eq!(raw.ask(unknown).await, Some(vec![0, 1]));
    until("the fault", 5, async || victim.has_fault(raw.id, Fault::UnknownTopic)).await;
    // The control: the same request for the right topic.
    assert_eq!(raw.ask([&[5u8][..], &TOPIC.0].concat()).await, Some(vec![5]));
    let flood = raw.ask(Frame { header: 1 << 30, body: vec![0; 1 << 16] }).await;
    assert!(matches!(flood.as_deref(), None | Some([0, 3])), "refused, if the answer still comes through");
    until("the ban", 5, async || victim.has_fault(raw.id, Fault::TooLarge) && victim.has_ban(raw.id)).await;
    until("the connection is closed", 5, async || !victim.is_connected(raw.id).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_frame_in_a_round_is_refused() {
    let victim = victim(119, |_| {}).await;
    let raw = Raw::connect(&victim, Box::new(honest(vec![]))).await;
    let round = |frame: &[u8]| [&[2u8][..], &TOPIC.0, &0u64.to_be_bytes(), &[1], frame].concat();
    // Version, bound infinity, a list of 99 ids that are not there.
    assert_eq!(raw.ask(round(&[0x61, 0, 0, 2, 99])).await, Some(vec![0, 3]));
    until("the fault", 5, async || victim.has_fault(raw.id, Fault::Malformed)).await;
    // The control: an empty list is an honest question.
    assert_eq!(raw.ask(round(&[0x61, 0, 0, 2, 0])).await, Some(vec![2, 0x61, 0, 0, 2, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_ends_in_a_ban() {
    let victim = victim(120, |limits| limits.max_requests_per_window = 50).await;
    let raw = Raw::connect(&victim, Box::new(honest(vec![]))).await;
    let hint = [&[5u8][..], &TOPIC.0].concat();
    for _ in 0..40 {
        assert_eq!(
            raw.ask(hint.clone()).await,
            Some(vec![5]),
            "the control: within the bound all are served"
        );
    }
    for _ in 0..40 {
        raw.ask(hint.clone()).await;
    }
    until("the ban", 5, async || victim.has_fault(raw.id, Fault::TooManyRequests) && victim.has_ban(raw.id))
        .await;
    until("the connection is closed", 5, async || !victim.is_connected(raw.id).await).await;
    // Hints are no lever: sessions keep their pace.
    assert!(raw.count(1) < 40, "{} sessions", raw.count(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_live_bytes_ends_in_disconnection() {
    let victim = victim(121, |limits| {
        limits.max_unsolicited_per_window = 1 << 20;
        limits.ban_points = 50;
    })
    .await;
    let raw = Raw::connect(&victim, Box::new(honest(vec![]))).await;
    for n in 0..10 {
        raw.publish([&[0u8][..], &message(n, &"x".repeat(40_000))].concat()).await;
    }
    until("the control: ten are taken", 5, async || victim.count() == 10).await;
    assert!(!victim.has_fault(raw.id, Fault::TooManyBytes));
    for n in 10..60 {
        raw.publish([&[0u8][..], &message(n, &"x".repeat(40_000))].concat()).await;
    }
    until("the ban", 5, async || victim.has_fault(raw.id, Fault::TooManyBytes) && victim.has_ban(raw.id))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_delays_nobody_else() {
    let victim = victim(122, |_| {}).await;
    let raw = Raw::connect(&victim, Box::new(|_| None)).await;
    until("it is asked", 5, async || raw.count(1) > 0).await;
    let holder = Node::new(Over::Quic, 123).await;
    holder.store.insert(TOPIC, 1, message(1, "from the other"));
    victim.know(&holder).await;
    until("the other's message", 5, async || victim.count() == 1).await;
    until("the silent session is given up", 6, async || {
        let log = victim.log.lock().unwrap();
        log.reconciled.contains(&(raw.id, 0, false))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_garbage_and_false_announcements_are_faults() {
    let victim = victim(124, |limits| limits.ban_points = 1_000).await;
    let there = message(1, &"y".repeat(60_000));
    let raw = Raw::connect(&victim, Box::new(honest(vec![there.clone()]))).await;
    until("the body that is there is fetched", 5, async || victim.count() == 1).await;
    raw.publish(vec![9, 9, 9]).await;
    until("garbage", 5, async || victim.has_fault(raw.id, Fault::Malformed)).await;
    raw.publish([&[1u8][..], &[0x55; 32], &60_000u32.to_be_bytes()].concat()).await;
    until("nothing there", 5, async || victim.has_fault(raw.id, Fault::NotDelivered)).await;
    pause(100).await;
    assert_eq!(victim.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_with_a_false_length_is_a_fault() {
    let victim = victim(125, |_| {}).await;
    let hidden = message(1, &"z".repeat(60_000));
    // Reconciliation finds nothing; only the pull after the announcement is answered.
    let mut empty = honest(vec![]);
    let mut full = honest(vec![hidden.clone()]);
    let script = move |request: &[u8]| if request[0] == 3 { full(request) } else { empty(request) };
    let raw = Raw::connect(&victim, Box::new(script)).await;
    let id = MessageId::of(&hidden);
    raw.publish([&[1u8][..], &id.0, &50_000u32.to_be_bytes()].concat()).await;
    until("the fault", 5, async || victim.has_fault(raw.id, Fault::WrongAnnouncement)).await;
    until("the body itself is good", 5, async || victim.handed_over(id) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hands_over_what_is_rejected_is_banned_in_the_end() {
    let victim = victim(126, |_| {}).await;
    let raw = Raw::connect(&victim, Box::new(honest(vec![]))).await;
    for n in 0..12 {
        raw.publish([&[0u8][..], &message(n, "good")].concat()).await;
    }
    until("the control: good ones are taken", 5, async || victim.count() == 12).await;
    assert!(victim.log.lock().unwrap().faults.is_empty());
    victim.judge.set(Verdict::Reject);
    for n in 0..25 {
        raw.publish([&[0u8][..], &message(n, "bad")].concat()).await;
    }
    until("the ban", 5, async || victim.has_fault(raw.id, Fault::Rejected) && victim.has_ban(raw.id)).await;
    until("the connection is closed", 5, async || !victim.is_connected(raw.id).await).await;
    assert_eq!(victim.count(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_announcement_does_not_set_honest_peers_against_each_other() {
    let victim = victim(127, |_| {}).await;
    let mut forgetful = patient(Over::Tcp);
    forgetful.timing.ignored_ms = 100;
    let next = Node::start(forgetful, 128, Default::default()).await;
    connect(&next, &victim).await;
    // The next one lacks the message, and would fetch it if it were announced.
    next.judge.set(Verdict::Ignore);
    let (known, hidden) = (message(1, &"k".repeat(60_000)), message(2, &"h".repeat(60_000)));
    let known_id = victim.store.insert(TOPIC, 1, known.clone());
    next.handle.reconcile(TOPIC).await.unwrap();
    until("it is ignored", 5, async || next.handed_over(known_id) == 1).await;
    pause(1_300).await; // what is ignored is forgotten by a sweep once a second
    next.judge.set(Verdict::Accept);

    let mut empty = honest(vec![]);
    let mut full = honest(vec![hidden.clone()]);
    let script = move |request: &[u8]| if request[0] == 3 { full(request) } else { empty(request) };
    let raw = Raw::connect(&victim, Box::new(script)).await;
    for id in [known_id, MessageId::of(&hidden)] {
        raw.publish([&[1u8][..], &id.0, &50_000u32.to_be_bytes()].concat()).await;
    }
    let hidden_id = MessageId::of(&hidden);
    until("the fault", 5, async || victim.has_fault(raw.id, Fault::WrongAnnouncement)).await;
    until("the body goes on by a hint", 5, async || next.handed_over(hidden_id) == 1).await;
    // The control: the same path, and what is true.
    let true_one = message(3, "true");
    raw.publish([&[0u8][..], &true_one].concat()).await;
    until("what is true is passed on", 5, async || next.handed_over(MessageId::of(&true_one)) == 1).await;
    pause(300).await;
    assert!(next.log.lock().unwrap().faults.is_empty(), "{:?}", next.log.lock().unwrap().faults);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_in_drops_is_fetched_from_somebody_else() {
    let large = message(1, &"d".repeat(2_000_000));
    let id = MessageId::of(&large);
    let offer = bodies([[&[1u8][..], &id.0, &(large.len() as u32).to_be_bytes()].concat()].into_iter());
    let (drop, total) = (large[..1024].to_vec(), (large.len() as u32).to_be_bytes());
    let mut honest = honest(vec![large.clone()]);
    let script = Box::new(move |request: &[u8]| match request[0] {
        3 => framed(offer.clone()),
        4 => {
            std::thread::sleep(std::time::Duration::from_millis(400));
            framed([&[4u8][..], &total, &drop].concat())
        }
        _ => honest(request),
    });
    let victim = victim(129, |_| {}).await;
    let raw = Raw::connect(&victim, script).await;
    until("the drops have begun", 5, async || raw.count(4) > 0).await;
    let holder = Node::new(Over::Tcp, 131).await;
    holder.store.insert(TOPIC, 1, large);
    victim.know(&holder).await;
    until("the other's copy", 10, async || victim.count() == 1).await;
    assert!(raw.count(4) < 100, "the drops went on meanwhile");
}
