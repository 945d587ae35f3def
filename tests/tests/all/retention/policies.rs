//! What members do by themselves: refresh, and remove who is silent.

use std::collections::BTreeSet;

use dmls_core::framing::DmlsProfile;
use dmls_core::group::{Event, GroupOptions, Place};
use dmls_core::history::Operation;
use dmls_tests::World;

use super::stored;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn world(seed: u64, n: usize, admins: &[usize], options: GroupOptions) -> World {
    let mut world = World::new(seed, n);
    world.options = GroupOptions { reconciled_for_ms: 2 * HOUR, ..options };
    let admins = admins.iter().map(|place| world.peers[*place].client.credential().clone()).collect();
    world.create(DmlsProfile { admins, ..DmlsProfile::default() });
    let others: Vec<usize> = (1..n).collect();
    world.invite(0, &others);
    world.run(MINUTE);
    world
}

/// The members of a client's head, by place.
fn members(world: &World, place: usize) -> BTreeSet<usize> {
    let view = world.peers[place].group().view().expect("a view");
    let place = |fingerprint| world.peers.iter().position(|peer| peer.client.fingerprint() == fingerprint);
    view.members.iter().map(|member| place(member.fingerprint).expect("a client")).collect()
}

/// Own encryption key of a client in its head.
fn own_key(world: &World, place: usize) -> Vec<u8> {
    let head = world.peers[place].group().head().clone();
    let insider = stored(world, place, &head).expect("the head");
    let leaf = insider.epoch.leaf(insider.epoch.own_leaf()).expect("a leaf");
    leaf.encryption_key.0.as_slice().to_vec()
}

fn count(world: &World, place: usize, of: impl Fn(&Event) -> bool) -> usize {
    world.peers[place].events.iter().filter(|event| of(event)).count()
}

#[test]
fn everybody_refreshes_before_its_keys_are_old() {
    for n in [2, 6] {
        let options = GroupOptions { refresh_after_ms: DAY, ..GroupOptions::default() };
        let mut world = world(51, n, &[], options);
        for day in 0..4 {
            let before: Vec<_> = (0..n).map(|place| own_key(&world, place)).collect();
            world.run(DAY + MINUTE);
            for (place, before) in before.iter().enumerate() {
                assert_ne!(*before, own_key(&world, place), "member {place} on day {day}");
            }
        }
        let heads: BTreeSet<_> = world.peers.iter().map(|peer| peer.group().head().clone()).collect();
        assert_eq!(heads.len(), 1);
        let commits = count(&world, 0, |event| matches!(event, Event::Epoch { .. }));
        let forks = count(&world, 0, |event| matches!(event, Event::Forked { .. }));
        println!("{n} members: {commits} commits in 4 days, {forks} forks");
        // At most one in three quarters of the period for each, and turns keep them apart.
        assert!(commits <= n * 6 + 1 && forks * 10 <= commits, "{commits} commits, {forks} forks");
    }
}

#[test]
fn no_period_means_no_refresh() {
    let options = GroupOptions { refresh_after_ms: 0, ..GroupOptions::default() };
    let mut world = world(52, 3, &[], options);
    let (before, sent) = (own_key(&world, 1), world.sent());
    world.run(30 * DAY);
    assert_eq!((own_key(&world, 1), world.sent()), (before, sent));
}

#[test]
fn a_refresh_by_hand_counts() {
    let options = GroupOptions { refresh_after_ms: DAY, ..GroupOptions::default() };
    let mut world = world(53, 3, &[], options);
    world.run(DAY / 2);
    for place in 0..3 {
        world.refresh(place);
        world.run(MINUTE);
    }
    let sent = world.sent();
    world.run(DAY / 3);
    assert_eq!(world.sent(), sent, "nobody is due");
    world.restart(1);
    world.run(DAY);
    assert!(world.sent() > sent);
}

#[test]
fn who_wakes_up_catches_up_before_it_refreshes() {
    let options = GroupOptions { refresh_after_ms: DAY, ..GroupOptions::default() };
    let mut world = world(54, 3, &[], options);
    let asleep = world.peers[2].group().clone();
    let (awake, _) = super::goes_on(&asleep, dmls_core::group::Input::Tick, world.now + 3 * DAY);
    let later = super::goes_on(&awake, dmls_core::group::Input::Tick, world.now + 3 * DAY + HOUR).0;
    assert_eq!(later.head(), asleep.head(), "it has heard nothing yet");
    let awake = super::goes_on(&later, dmls_core::group::Input::Reconciled, world.now + 3 * DAY + HOUR).0;
    let due = awake.next_deadline().expect("it is overdue");
    assert!(due < world.now + 3 * DAY + HOUR + MINUTE, "its turn comes soon");
    let awake = super::goes_on(&awake, dmls_core::group::Input::Tick, due).0;
    assert_ne!(awake.head(), asleep.head(), "control: then it does");
    // The group itself: all are there, and the three end on one head.
    world.run(2 * DAY);
    let heads: BTreeSet<_> = world.peers.iter().map(|peer| peer.group().head().clone()).collect();
    assert_eq!(heads.len(), 1);
}

fn silence(silent_after_ms: u64) -> GroupOptions {
    GroupOptions { refresh_after_ms: DAY / 2, silent_after_ms, ..GroupOptions::default() }
}

#[test]
fn who_is_silent_for_long_is_removed_once() {
    for restart in [false, true] {
        let mut world = world(55, 5, &[], silence(2 * DAY));
        world.cut(&[0, 0, 0, 0, 1]);
        world.run(2 * DAY - HOUR);
        assert_eq!(members(&world, 0).len(), 5, "not before its time");
        world.ordeal.restart = restart;
        world.run(5 * HOUR);
        world.ordeal.restart = false;
        world.run(DAY - 5 * HOUR);
        let here: BTreeSet<usize> = (0..4).collect();
        let removals = |world: &World, place: usize| {
            let removes = |operation: &Operation| matches!(operation, Operation::Remove(_));
            count(
                world,
                place,
                |event| matches!(event, Event::Epoch { operations, .. } if operations.iter().any(removes)),
            )
        };
        for place in 0..4 {
            assert_eq!(
                (members(&world, place), removals(&world, place)),
                (here.clone(), 1),
                "member {place}"
            );
        }
        // It comes back and learns of it; the side of one had removed nobody.
        assert_eq!((members(&world, 4).len(), removals(&world, 4)), (5, 0));
        world.heal();
        world.run(HOUR);
        assert!(matches!(world.peers[4].group().place(), Place::Outside { .. }));
        assert_eq!(members(&world, 0), here);
    }
    // Control: off by default.
    let mut world = world(55, 5, &[], silence(GroupOptions::default().silent_after_ms));
    world.cut(&[0, 0, 0, 0, 1]);
    world.run(5 * DAY);
    assert_eq!(members(&world, 0).len(), 5);
}

#[test]
fn any_message_breaks_the_silence() {
    let mut world = world(56, 4, &[], silence(2 * DAY));
    // Member 3 hears nothing, but is heard: what it says comes from an old epoch. Of itself it does nothing.
    world.cut(&[0, 0, 0, 1]);
    world.options.refresh_after_ms = 0;
    world.restart(3);
    for _ in 0..8 {
        world.run(DAY / 2);
        world.send(3, "here");
        for index in 0..world.sent() {
            for to in (0..3).filter(|_| world.author(index) == 3).collect::<Vec<_>>() {
                if !world.peers[to].seen.contains_key(&index) {
                    world.deliver(index, to);
                }
            }
        }
    }
    assert_eq!(members(&world, 0).len(), 4);
    assert_eq!(super::texts(&world, 0), ["here"; 8]);
    // Control: and then it is silent.
    world.run(3 * DAY);
    assert_eq!(members(&world, 0).len(), 3);
}

#[test]
fn an_idle_group_is_not_a_silent_one() {
    let options = GroupOptions { refresh_after_ms: 0, ..silence(2 * DAY) };
    let mut world = world(57, 4, &[], options);
    world.run(20 * DAY);
    assert_eq!(members(&world, 0).len(), 4);
    world.refresh(1);
    world.run(DAY);
    assert_eq!(members(&world, 0).len(), 4);
}

#[test]
fn half_a_group_removes_nobody() {
    let mut world = world(58, 4, &[], silence(2 * DAY));
    world.cut(&[0, 0, 1, 1]);
    world.run(5 * DAY);
    assert_eq!((members(&world, 0).len(), members(&world, 2).len()), (4, 4));
    world.heal();
    world.run(HOUR);
    let heads: BTreeSet<_> = world.peers.iter().map(|peer| peer.group().head().clone()).collect();
    assert_eq!((heads.len(), members(&world, 0).len()), (1, 4));
}

#[test]
fn only_admins_remove_who_is_silent() {
    let mut world = world(59, 5, &[0], silence(2 * DAY));
    world.cut(&[1, 0, 0, 0, 2]);
    world.run(4 * DAY);
    assert_eq!(members(&world, 1).len(), 5, "the only admin is away");
    world.cut(&[0, 0, 0, 0, 2]);
    world.run(DAY);
    assert_eq!(members(&world, 1), (0..4).collect());
    let by = |event: &Event| match event {
        Event::Epoch { committer, operations, .. } => {
            let removes = operations.iter().any(|operation| matches!(operation, Operation::Remove(_)));
            removes.then_some(committer.fingerprint)
        }
        _ => None,
    };
    let committers: Vec<_> = world.peers[1].events.iter().filter_map(by).collect();
    assert_eq!(committers, [world.peers[0].client.fingerprint()]);
}
