//! The log outlives the keys: stragglers replay from it, and beyond it they are told.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use dmls_core::codec::decode;
use dmls_core::framing::{ContentType, DmlsMessage, DmlsProfile, MlsMessageBody};
use dmls_core::group::{Disposition, Effect, Event, Input, JoinError, Key, Standing, Store, Table, Value};
use dmls_tests::World;

use super::{formed, group_id, texts};

const MINUTE: u64 = 60_000;

/// What a client's log has, by order and id.
fn log_of(world: &World, place: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let prefix = Key::of_group(Table::Log, &group_id());
    let records = world.peers[place].store.scan(&prefix).expect("memory");
    let entry = |(key, value): (Key, Value)| match value {
        Value::Log(bytes) => (key.bytes[prefix.bytes.len()..].to_vec(), bytes.as_slice().to_vec()),
        _ => panic!("a record of another table"),
    };
    records.into_iter().map(entry).collect()
}

/// Hands everything in one client's log to another, and nothing else; what became of it.
fn replay(world: &mut World, from: usize, to: usize) -> Vec<Disposition> {
    let log = log_of(world, from);
    log.values().map(|bytes| world.inject(to, bytes)).collect()
}

/// Three members talk and commit for `rounds`, a fourth is away. What they keep goes by count.
fn away(seed: u64, rounds: usize, log_commits: u64) -> World {
    let profile = DmlsProfile { max_behind: 2, max_retained: 4, ..DmlsProfile::default() };
    let mut world = World::new(seed, 4);
    world.options.log_commits = log_commits;
    world.create(profile);
    world.invite(0, &[1, 2, 3]);
    world.run(MINUTE);
    world.cut(&[0, 0, 0, 1]);
    for round in 0..rounds {
        world.refresh(round % 3);
        world.run(8_000);
        world.send(round % 3, &format!("round {round}"));
        world.run(2_000);
    }
    world
}

#[test]
fn a_straggler_replays_what_the_others_have_deleted() {
    let mut world = away(41, 12, 1024);
    let straggler = world.peers[3].group().head().clone();
    for place in 0..3 {
        let history = world.peers[place].group().history();
        assert!(
            history.epochs.iter().all(|epoch| epoch.id != straggler),
            "member {place} has deleted the epoch"
        );
    }
    world.send(3, "before it knew");
    let before = world.sent();
    let outcomes = replay(&mut world, 1, 3);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Disposition::Applied | Disposition::Duplicate)));
    assert_eq!(world.peers[3].group().head(), world.peers[1].group().head());
    let expected: Vec<String> = (0..12).map(|round| format!("round {round}")).collect();
    assert_eq!(texts(&world, 3), expected, "each message once, in order");
    // It takes part again. What it had said meanwhile is lost to who has deleted that epoch, and they are told so.
    world.heal();
    world.run(MINUTE);
    world.send(3, "back");
    world.run(1_000);
    assert_eq!(texts(&world, 0).last().expect("a message"), "back");
    assert!(world.sent() > before);
}

#[test]
fn beyond_the_log_a_straggler_is_told() {
    let mut world = away(42, 12, 6);
    let others = world.peers[1].group().clone();
    let head = world.peers[3].group().view().expect("a view").number;
    assert!(others.floor() > head, "{} {head}", others.floor());
    replay(&mut world, 1, 3);
    assert_eq!(
        world.peers[3].group().view().expect("a view").number,
        head,
        "control: what is left is of no use"
    );
    let told = |world: &World| {
        let behind = |event: &&Event| matches!(event, Event::Behind { .. });
        world.peers[3].events.iter().filter(behind).count()
    };
    // A peer whose log has it all first: nothing to be told.
    world.act(3, |group, now, rng| group.handle(Input::PeerFloor(head), now, rng));
    assert_eq!(
        (told(&world), world.peers[3].group().view().expect("a view").standing),
        (0, Standing::Member)
    );
    for _ in 0..3 {
        let floor = others.floor();
        world.act(3, move |group, now, rng| group.handle(Input::PeerFloor(floor), now, rng));
        world.restart(3);
        assert_eq!(world.peers[3].group().view().expect("a view").standing, Standing::Behind(floor));
    }
    assert_eq!(told(&world), 1, "it is told once");
    // Another peer has what the first one dropped.
    world.act(3, |group, now, rng| group.handle(Input::PeerFloor(head - 1), now, rng));
    assert_eq!(world.peers[3].group().view().expect("a view").standing, Standing::Member);
}

#[test]
fn whoever_is_beyond_the_log_comes_back_by_a_rejoin() {
    let mut world = away(46, 12, 6);
    // It asks out of band: nobody can read any more what it would send.
    let (now, mut rng) = (world.now, world.rng.clone());
    let made = world.peers[3].client.rejoin_key_package(&group_id(), &world.options, now, &mut rng);
    let made = made.expect("a request");
    world.peers[3].store.apply(&made.changes).expect("memory");
    let welcomes = Rc::new(RefCell::new(Vec::new()));
    let caught = welcomes.clone();
    world.ordeal.watch = Some(Box::new(move |_, _, step| {
        let welcome = |effect: &Effect| match effect {
            Effect::Welcome { bytes, .. } => Some(bytes.clone()),
            _ => None,
        };
        caught.borrow_mut().extend(step.effects.iter().filter_map(welcome));
    }));
    world.act(0, |group, now, rng| group.handle(Input::KeyPackage(&made.bytes), now, rng));
    world.run(10_000);
    let welcome = welcomes.borrow().first().cloned().expect("a member has committed it in its turn");
    let join = |world: &World| {
        let peer = &world.peers[3];
        peer.client.join(&peer.store, &welcome, &world.options, world.now, &mut world.rng.clone())
    };
    assert_eq!(
        join(&world).err(),
        Some(JoinError::AlreadyMember),
        "control: it does not know that it has to"
    );
    let floor = world.peers[0].group().floor();
    world.act(3, move |group, now, rng| group.handle(Input::PeerFloor(floor), now, rng));
    assert_eq!(world.peers[3].group().view().expect("a view").standing, Standing::Behind(floor));
    let step = join(&world).expect("now it may");
    world.take_step(3, step);
    world.heal();
    world.run(MINUTE);
    let view = world.peers[3].group().view().expect("a view");
    assert_eq!((view.standing, view.members.len()), (Standing::Member, 4));
    assert_eq!(world.peers[3].group().head(), world.peers[0].group().head());
    world.send(3, "back");
    world.spread();
    assert_eq!(texts(&world, 1).last().expect("a message"), "back");
}

#[test]
fn the_log_is_bounded_by_commits_and_by_age() {
    let world = away(43, 12, 6);
    for place in 0..3 {
        let group = world.peers[place].group();
        let view = group.view().expect("a view");
        let stored = log_of(&world, place).len();
        assert_eq!((view.log_messages, view.log_commits), (stored, 6), "member {place}");
        assert!(group.log().all(|(_, order)| order >= group.floor()));
        let marks =
            world.peers[place].store.scan(&Key::of_group(Table::LogMarks, &group_id())).expect("memory");
        assert_eq!(marks.len(), 6);
        assert!(view.log_messages > 12, "commits, messages, acknowledgements");
    }
    let unbound = away(43, 12, 1024);
    assert!(unbound.peers[0].group().view().expect("a view").log_commits > 12, "control");
    // Two commits of one epoch count as two.
    let mut world = formed(44, 4, DmlsProfile::default());
    let before = world.peers[0].group().view().expect("a view").log_commits;
    world.refresh(0);
    world.refresh(1);
    world.spread();
    assert_eq!(world.peers[0].group().view().expect("a view").log_commits, before + 2);
    world.run(MINUTE);
    let is_commit = |bytes: &Vec<u8>| match decode::<DmlsMessage>(bytes).expect("a message").message.body {
        MlsMessageBody::Private(private) => private.content_type == ContentType::Commit,
        _ => panic!("a public message"),
    };
    let commits = log_of(&world, 0).values().filter(|bytes| is_commit(bytes)).count() as u64;
    assert_eq!(world.peers[0].group().view().expect("a view").log_commits, commits);
}

#[test]
fn the_log_ages_while_reconciled_and_never_below_what_is_retained() {
    let day = 24 * 60 * MINUTE;
    let mut world = World::new(45, 3);
    world.options.reconciled_for_ms = 2 * day;
    world.options.log_age_ms = 10 * day;
    world.options.refresh_after_ms = 0;
    world.form();
    world.refresh(1);
    world.run(MINUTE);
    world.send(2, "text");
    world.run(9 * day);
    let count = |world: &World| log_of(world, 0).len();
    let before = count(&world);
    assert!(before > 4);
    world.run(2 * day);
    let group = world.peers[0].group();
    let head = group.view().expect("a view").number;
    assert_eq!(group.floor(), head, "what is below the head has gone");
    let left = count(&world);
    assert!(left < before && left > 0, "{left} of {before}: what was sent in the head stays");
    world.run(30 * day);
    assert_eq!(count(&world), left, "while the head is the head");
}
