//! Bounds on what others can make a client hold, by the hands that fill them; and why something cannot be read.

use std::collections::BTreeMap;

use dmls_core::group::{
    Disposition, GroupOptions, Input, Key, Missing, Source, Store, Table, Unreadable, Value,
};
use dmls_core::schedule::{CommitId, EpochId};
use dmls_tests::World;

use super::flood::{commits, orphan};
use super::{group_id, in_head};

fn source(number: u8) -> Source {
    Source::of(&[number])
}

/// Hands bytes to client 2 in the name of a peer.
fn hand_over(world: &mut World, from: u8, bytes: &[u8]) -> Disposition {
    let input = Input::From { source: source(from), bytes };
    let step = world.peers[2].group().handle(input, world.now, &mut world.rng);
    world.take_step(2, step).expect("a message has a disposition")
}

/// Messages that wait, and their bytes, by whoever handed them over.
fn waiting(world: &World) -> BTreeMap<Option<Source>, (usize, usize)> {
    let mut found: BTreeMap<Option<Source>, (usize, usize)> = BTreeMap::new();
    for (_, value) in world.peers[2].store.scan(&Key::of_group(Table::Waiting, &group_id())).expect("memory")
    {
        let Value::Waiting(waiting) = value else { panic!("a record of another table") };
        let entry = found.entry(waiting.source).or_default();
        *entry = (entry.0 + 1, entry.1 + waiting.bytes.len());
    }
    let in_memory = world.peers[2].group().view().expect("a view").waiting;
    assert_eq!(found.values().map(|(number, _)| number).sum::<usize>(), in_memory, "memory and store");
    found
}

fn number_of(world: &World, from: u8) -> usize {
    waiting(world).get(&Some(source(from))).map_or(0, |(number, _)| *number)
}

#[test]
fn a_peer_has_its_share_of_the_waiting_room() {
    let mut world = World::new(251, 3);
    world.form();
    let insider = in_head(&world, 0);
    let mut kept = 0;
    for number in 0..100 {
        let bytes = orphan(&insider, number, 100);
        let disposition = hand_over(&mut world, 1, &bytes);
        assert!(matches!(disposition, Disposition::Pending { missing: Missing::Epoch(_) }));
        kept += usize::from(number_of(&world, 1) == number as usize + 1);
    }
    assert_eq!((kept, number_of(&world, 1)), (64, 64), "what comes first stays");
    // Others have theirs; five of them fill the room, and whoever fills it most makes room for the next.
    for from in 2..=4 {
        for number in 0..100 {
            hand_over(&mut world, from, &orphan(&insider, 1_000 * u32::from(from) + number, 100));
        }
        assert_eq!(number_of(&world, from), 64);
    }
    for number in 0..40 {
        hand_over(&mut world, 9, &orphan(&insider, 90_000 + number, 100));
        assert_eq!(number_of(&world, 9), number as usize + 1, "an honest one finds room");
        // Whoever is full cannot push it out again.
        for from in 1..=4 {
            hand_over(&mut world, from, &orphan(&insider, 200_000 + 1_000 * u32::from(from) + number, 100));
        }
    }
    let all = waiting(&world);
    assert_eq!(all.values().map(|(number, _)| number).sum::<usize>(), 256);
    assert!(all.values().all(|(number, _)| (40..=64).contains(number)), "{all:?}");
    // The shares are stored: a restart gives nobody another one.
    world.restart(2);
    assert_eq!(waiting(&world), all);
    hand_over(&mut world, 9, &orphan(&insider, 99_999, 100));
    assert_eq!(number_of(&world, 9), 41);
    // Real messages come through, and the room is empty in time.
    world.send(0, "through");
    world.run(11 * 60_000);
    assert_eq!(world.peers[2].messages().len(), 1);
    assert!(waiting(&world).is_empty());
    assert_eq!(world.peers[2].group().next_deadline().filter(|at| *at <= world.now), None, "no timer spins");
}

#[test]
fn whoever_takes_up_the_bytes_makes_room() {
    let mut world = World::new(252, 3);
    world.form();
    let insider = in_head(&world, 0);
    for number in 0..20 {
        hand_over(&mut world, 1, &orphan(&insider, number, 100_000));
        let bytes: usize = waiting(&world).values().map(|(_, bytes)| bytes).sum();
        assert!(bytes <= 1 << 20, "{bytes}");
    }
    let large = number_of(&world, 1);
    assert!((9..=10).contains(&large), "{large}");
    for number in 100..164 {
        hand_over(&mut world, 2, &orphan(&insider, number, 4_000));
    }
    assert_eq!(number_of(&world, 2), 64, "small ones find room");
    assert!(number_of(&world, 1) < large, "at the cost of the large ones");
    let bytes: usize = waiting(&world).values().map(|(_, bytes)| bytes).sum();
    assert!(bytes <= 1 << 20, "{bytes}");
}

/// What is known below an epoch, and what waits for its turn there.
fn known(world: &World, at: &EpochId) -> Vec<CommitId> {
    let history = world.peers[2].group().history();
    let fork = history.epochs.into_iter().find(|epoch| epoch.id == *at).and_then(|epoch| epoch.fork);
    let children = fork.map(|fork| fork.children).unwrap_or_default();
    let mut known: Vec<_> = children.into_iter().filter(|c| c.epoch.is_some()).map(|c| c.commit).collect();
    known.sort();
    known
}

#[test]
fn quarantine_is_bounded_by_key_and_hides_nothing() {
    let mut world = World::new(253, 4);
    world.options.quarantine_interval_ms = 10;
    world.form();
    let insider = in_head(&world, 0);
    let mut rng = world.rng.clone();
    let all = commits(&insider, 80, &mut rng);
    let ids: Vec<_> = all.iter().map(|(id, _)| id.clone()).collect();
    // Two of the smallest first, then the others from the largest to the smallest: 64 are kept, those with the smallest
    // keys, though they came last.
    for (_, bytes) in all[..2].iter().chain(all[2..].iter().rev()) {
        world.inject(2, bytes);
        assert!(waiting(&world).values().map(|(number, _)| number).sum::<usize>() <= 64);
    }
    assert_eq!(known(&world, &insider.id), ids[..2]);
    let kept: Vec<bool> = all
        .iter()
        .map(|(_, bytes)| {
            // Both are SHA-256.
            let id = dmls_core::group::MessageId(Source::of(bytes).0);
            world.peers[2].group().has_message(&id)
        })
        .collect();
    assert_eq!(kept, [vec![true; 66], vec![false; 14]].concat());
    // All had their turn; what was dropped can come again, and has its turn then.
    world.now += 10_000;
    for _ in 0..70 {
        world.now += 10;
        let now = world.now;
        world.act(2, |group, _, rng| group.handle(Input::Tick, now, rng));
    }
    assert_eq!(known(&world, &insider.id), ids[..66]);
    for (_, bytes) in &all[66..] {
        assert_eq!(world.inject(2, bytes), Disposition::Quarantined);
    }
    for _ in 0..20 {
        world.now += 10;
        let now = world.now;
        world.act(2, |group, _, rng| group.handle(Input::Tick, now, rng));
    }
    assert_eq!(known(&world, &insider.id), ids);
    assert!(waiting(&world).is_empty());
}

#[test]
fn a_vote_brings_a_quarantined_commit_at_once() {
    let mut world = World::new(254, 4);
    world.form();
    let insider = in_head(&world, 0);
    let mut rng = world.rng.clone();
    let all = commits(&insider, 5, &mut rng);
    for (_, bytes) in &all {
        world.inject(2, bytes);
    }
    let ids: Vec<_> = all.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(known(&world, &insider.id), ids[..2]);
    let meta = dmls_core::framing::DmlsMeta { vote: Some(ids[4].0.clone()), ..Default::default() };
    let content = dmls_core::framing::Content::Proposal(dmls_core::framing::Proposal::DmlsMeta(meta));
    let vote = in_head(&world, 1).send(content, 70, &mut rng);
    assert_eq!(world.inject(2, &vote), Disposition::Applied);
    assert_eq!(known(&world, &insider.id), [ids[..2].to_vec(), vec![ids[4].clone()]].concat());
}

#[test]
fn each_reason_why_something_cannot_be_read_is_told() {
    let expired = |reason| Disposition::Expired { reason };
    let mut world = World::new(255, 6);
    world.options = GroupOptions { close_after_ms: 60_000, ..GroupOptions::default() };
    world.create(Default::default());
    let before_joining = {
        world.send(0, "to myself");
        world.bytes(world.sent() - 1).to_vec()
    };
    world.invite(0, &[1, 2, 3, 4, 5]);
    let invitation = world.bytes(world.sent() - 1).to_vec();
    world.deliver_welcomes();
    for bytes in [&before_joining, &invitation] {
        assert_eq!(world.inject(2, bytes), expired(Unreadable::BeforeJoining));
    }
    world.run(30_000);
    // A message of each side of a cut, held back from client 2 until all is decided and deleted.
    world.cut(&[0, 0, 0, 1, 1, 0]);
    world.refresh(1);
    world.refresh(3);
    world.run(5_000);
    world.refresh(4);
    let lost_commit = world.bytes(world.sent() - 1).to_vec();
    world.run(20_000);
    let late_winner = in_head(&world, 1);
    let late_loser = in_head(&world, 4);
    let parent = world.peers[3].group().history();
    let beside = parent.epochs.iter().find(|epoch| epoch.id == late_loser.id).expect("there").parent.clone();
    let beside = super::insider(&world, 3, &beside.expect("a parent"));
    let mut rng = world.rng.clone();
    let text = |insider: &dmls_tests::Insider, rng: &mut _| {
        let generation =
            insider.epoch.next_generation(dmls_core::schedule::RatchetType::Application).expect("a key");
        let data = dmls_core::framing::DmlsApplication {
            generation,
            heads: Default::default(),
            payload: b"late".as_slice().into(),
        };
        let data = dmls_core::codec::encode(&data).expect("bytes");
        insider.send(dmls_core::framing::Content::Application(data.into()), generation, rng)
    };
    let late_winner = text(&late_winner, &mut rng);
    let late_loser = text(&late_loser, &mut rng);
    let late_beside = text(&beside, &mut rng);
    // Control: before the fork is closed client 1, who is not there, only lacks the commit.
    let disposition = world.inject(2, &late_loser);
    assert!(matches!(disposition, Disposition::Pending { missing: Missing::Epoch(_) }), "{disposition:?}");
    world.heal();
    world.run(30_000);
    for by in [0, 1, 2, 3, 4, 5] {
        world.refresh(by);
        world.run(90_000);
    }
    world.run(20 * 60_000);
    assert_eq!(world.inject(2, &late_winner), expired(Unreadable::Retention));
    assert_eq!(world.inject(2, &late_beside), expired(Unreadable::Branch));
    let again = world.inject(2, &late_loser);
    assert!(again == expired(Unreadable::Branch) || again == Disposition::Duplicate, "{again:?}");
    // A straggler's commit on a deleted epoch: the same, and nothing is lost by it.
    assert_eq!(world.inject(2, &lost_commit), Disposition::Duplicate, "it was processed before");
    let commit = beside.commit(Vec::new(), &mut rng);
    let before = world.peers[2].group().history();
    assert_eq!(world.inject(2, &beside.wrap(commit.message)), expired(Unreadable::Branch));
    assert_eq!(world.peers[2].group().history(), before);
    // Who is removed knows why it cannot follow.
    world.remove(0, 5);
    world.run(60_000);
    world.send(1, "without five");
    let message = world.bytes(world.sent() - 1).to_vec();
    let disposition = world.inject(5, &message);
    assert!(
        matches!(disposition, Disposition::Pending { missing: Missing::Branch { .. } }),
        "{disposition:?}"
    );
    // Corrupt is rejected with the rule; what is early waits.
    let mut corrupt = message.clone();
    *corrupt.last_mut().expect("bytes") ^= 1;
    let place = corrupt.len() - 40;
    corrupt[place] ^= 1;
    assert!(matches!(world.inject(2, &corrupt), Disposition::Rejected { .. } | Disposition::Pending { .. }));
    // After a restart the reasons are the same.
    world.restart(2);
    assert_eq!(world.inject(2, &late_winner), expired(Unreadable::Retention));
    assert_eq!(world.inject(2, &late_beside), expired(Unreadable::Branch));
}
