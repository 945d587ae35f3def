//! Acknowledgements, finality, deletion, and how much is said for it.

use dmls_core::framing::DmlsProfile;
use dmls_core::group::{ActionError, Event};
use dmls_tests::World;

use super::{assert_one_head, fingerprint};

fn formed(seed: u64, n: usize, profile: DmlsProfile) -> World {
    let mut world = World::new(seed, n);
    world.create(profile);
    let others: Vec<usize> = (1..n).collect();
    world.invite(0, &others);
    world.run(60_000);
    world
}

#[test]
fn epochs_become_final_and_are_deleted() {
    let mut world = formed(1, 5, DmlsProfile::default());
    // Three against two would be decided and never final: the margin has to outlast a third that change their minds.
    world.cut(&[0, 0, 0, 0, 1]);
    world.refresh(0);
    world.refresh(4);
    world.run(30_000);
    world.heal();
    for by in [1, 2, 3] {
        world.run(30_000);
        world.refresh(by);
    }
    world.run(60_000);
    let head = fingerprint(&world, 0).head;
    for peer in &world.peers {
        assert!(peer.group().view().expect("a head").retained > 3, "nothing is closed before its time");
        let is_final = |event: &Event| matches!(event, Event::Final { epoch } if *epoch == head);
        assert!(peer.events.iter().any(is_final), "the head is final");
    }
    world.run(15 * 60_000);
    for (place, peer) in world.peers.iter().enumerate() {
        let view = peer.group().view().expect("a head");
        assert_eq!((view.retained, &view.head), (1, &head), "member {place} keeps only the head");
    }
    world.refresh(4);
    world.send(2, "after forgetting");
    world.run(30_000);
    assert_one_head(&world, &[0, 1, 2, 3, 4]);
    assert_eq!(world.peers[0].messages().last().expect("a message").1, b"after forgetting");
}

#[test]
fn nothing_is_deleted_that_an_absent_member_needs() {
    let mut world = formed(2, 4, DmlsProfile::default());
    world.cut(&[0, 0, 0, 1]);
    for by in [0, 1, 2] {
        world.refresh(by);
        world.run(30_000);
    }
    world.refresh(3);
    world.send(3, "from the absent one");
    world.run(60 * 60_000);
    world.heal();
    world.run(60_000);
    assert_one_head(&world, &[0, 1, 2, 3]);
    for place in 0..3 {
        assert_eq!(world.peers[place].messages().last().expect("a message").1, b"from the absent one");
    }
}

#[test]
fn hard_bounds_hold_under_a_flood_of_commits() {
    let profile = DmlsProfile { max_behind: 8, max_retained: 16, ..DmlsProfile::default() };
    let mut world = formed(3, 3, profile);
    // The third is away, so nothing closes; two of three decide, so the count may delete.
    world.cut(&[0, 0, 1]);
    for round in 0..40 {
        world.refresh(round % 2);
        world.run(8_000);
    }
    assert_one_head(&world, &[0, 1]);
    for place in 0..2 {
        let history = world.peers[place].group().history();
        let number = |id| history.epochs.iter().find(|epoch| epoch.id == id).expect("an epoch").number;
        assert_eq!(number(history.head.clone()) - number(history.anchor.clone()), 8, "member {place}");
    }
}

#[test]
fn the_smaller_side_of_a_long_cut_comes_over_within_bounds() {
    let mut world = formed(4, 5, DmlsProfile::default());
    world.cut(&[0, 0, 0, 1, 1]);
    for round in 0..14 {
        world.refresh(round % 3);
        world.refresh(3 + round % 2);
        world.run(8_000);
    }
    let larger = fingerprint(&world, 0);
    world.heal();
    world.spread();
    assert_one_head(&world, &[0, 1, 2, 3, 4]);
    assert_eq!(fingerprint(&world, 4), larger);
    world.run(120_000);
    assert_one_head(&world, &[0, 1, 2, 3, 4]);
}

#[test]
fn a_commit_costs_one_acknowledgement_a_member() {
    for n in [4, 8, 16] {
        let mut world = formed(5, n, DmlsProfile::default());
        let before = world.sent();
        world.refresh(1);
        world.run(10 * 60_000);
        assert_eq!(world.sent() - before, n + 1, "a commit, and an acknowledgement of each member");
        let before = world.sent();
        world.refresh(1);
        world.refresh(2);
        world.run(10 * 60_000);
        let said = world.sent() - before;
        println!("{n} members: a fork of two took {said} messages");
        assert!(said <= 2 + 3 * n, "{said} messages for a fork among {n}");
        assert_one_head(&world, &(0..n).collect::<Vec<_>>());
        let before = world.sent();
        world.run(3 * 60 * 60_000);
        assert_eq!(world.sent(), before, "and then there is silence");
    }
}

/// How long a member has to wait before it may commit, in seconds; 0: it has committed.
fn commit_or_wait(world: &mut World, place: usize) -> u64 {
    let group = world.peers[place].group().clone();
    match group.refresh(world.now, &mut world.rng) {
        Ok(step) => {
            world.take_step(place, step);
            0
        }
        Err(ActionError::TooEager { wait_s, .. }) => wait_s,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn commits_that_nobody_confirms_become_slow_and_others_do_not() {
    let mut world = formed(6, 4, DmlsProfile::default());
    for round in 0..20 {
        assert_eq!(commit_or_wait(&mut world, 1), 0, "commit {round} of a group that answers");
        world.run(30_000);
    }
    world.cut(&[0, 1, 0, 0]);
    for round in 0..8 {
        assert_eq!(commit_or_wait(&mut world, 1), 0, "commit {round} alone");
        world.run(1_000);
    }
    for expected in [60, 120, 240] {
        let wait = commit_or_wait(&mut world, 1);
        assert!((expected - 2..=expected).contains(&wait), "{wait} s where {expected} s are due");
        world.restart(1);
        assert_eq!(commit_or_wait(&mut world, 1), wait, "a restart is no way around");
        world.run(wait * 1000);
        assert_eq!(commit_or_wait(&mut world, 1), 0);
    }
}
