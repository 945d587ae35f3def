//! A sender's application keys of an epoch go ten minutes after it has spoken below it.

use dmls_core::group::{Disposition, Input, Unreadable};
use dmls_core::schedule::{EpochId, RatchetError, RatchetType, Windows};
use dmls_core::tree::LeafIndex;
use dmls_tests::World;

use super::{goes_on, stored, texts, withheld};

const MINUTE: u64 = 60_000;

/// Four members, one of whom (2) is away, so that nothing closes. Member 0 has sent four messages that 3 has not heard;
/// then 1 has committed, and 0 and 3 have moved on. The epoch, and the messages.
fn moved_on(seed: u64, late_messages_ms: u64, restart: bool) -> (World, EpochId, Vec<Vec<u8>>) {
    let mut world = World::new(seed, 4);
    world.options.late_messages_ms = late_messages_ms;
    world.form();
    world.ordeal.restart = restart;
    world.cut(&[0, 0, 1, 0]);
    let epoch = world.peers[3].group().head().clone();
    let late = (0..4).map(|n| withheld(&mut world, 0, 3, &format!("late {n}"))).collect();
    world.refresh(1);
    world.run(10_000);
    assert_ne!(*world.peers[3].group().head(), epoch);
    (world, epoch, late)
}

fn key(world: &World, epoch: &EpochId, leaf: u32, ratchet: RatchetType) -> Result<(), RatchetError> {
    let insider = stored(world, 3, epoch).expect("the epoch is retained");
    insider.epoch.secret_tree().peek(LeafIndex(leaf), ratchet, 3, Windows::default()).map(|_| ())
}

#[test]
fn late_messages_are_taken_for_ten_minutes() {
    for restart in [false, true] {
        let (mut world, epoch, late) = moved_on(1, 10 * MINUTE, restart);
        world.run(4 * MINUTE);
        assert_eq!(world.inject(3, &late[0]), Disposition::Applied);
        world.run(5 * MINUTE);
        assert_eq!(world.inject(3, &late[1]), Disposition::Applied);
        let thief = stored(&world, 3, &epoch).expect("the epoch is retained");
        assert!(thief.open(&late[2]).is_some(), "control: what is taken now reads it");
        world.run(2 * MINUTE);
        assert_eq!(world.inject(3, &late[2]), Disposition::Expired { reason: Unreadable::MovedOn });
        let thief = stored(&world, 3, &epoch).expect("the epoch is retained");
        assert!(thief.open(&late[2]).is_none(), "what is taken now does not");
        assert_eq!(texts(&world, 3), ["late 0", "late 1"]);
        // All but the absent one have moved on; the own keys are for sending. Evidence of all is readable as before.
        for (leaf, expected) in [(0, false), (1, false), (2, true), (3, true)] {
            let application = key(&world, &epoch, leaf, RatchetType::Application);
            assert_eq!(
                application,
                if expected { Ok(()) } else { Err(RatchetError::Deleted) },
                "leaf {leaf}"
            );
            assert_eq!(key(&world, &epoch, leaf, RatchetType::Handshake), Ok(()), "leaf {leaf}");
        }
        // The absent one has not moved on: what it says there is heard, by everybody, days later.
        world.run(60 * MINUTE);
        world.send(2, "from the absent one");
        world.heal();
        world.run(MINUTE);
        for place in [0, 1, 3] {
            let heard = texts(&world, place);
            assert_eq!(heard.last().expect("a message"), "from the absent one", "member {place}");
        }
        assert_eq!(world.peers[2].group().head(), world.peers[3].group().head());
    }
}

#[test]
fn the_ten_minutes_are_an_option() {
    let (mut world, epoch, late) = moved_on(2, 60 * MINUTE, false);
    world.run(30 * MINUTE);
    assert_eq!(world.inject(3, &late[2]), Disposition::Applied);
    assert_eq!(key(&world, &epoch, 0, RatchetType::Application), Ok(()));
    let (mut world, epoch, late) = moved_on(2, 2 * MINUTE, false);
    world.run(3 * MINUTE);
    assert_eq!(world.inject(3, &late[2]), Disposition::Expired { reason: Unreadable::MovedOn });
    assert_eq!(key(&world, &epoch, 0, RatchetType::Application), Err(RatchetError::Deleted));
}

#[test]
fn catching_up_loses_nothing() {
    let (world, _, late) = moved_on(3, 10 * MINUTE, false);
    let asleep = world.peers[3].group().clone();
    let week = world.now + 7 * 24 * 60 * MINUTE;
    // It wakes up after a week, and first hears what it has missed.
    let (awake, _) = goes_on(&asleep, Input::Tick, week);
    assert_eq!(awake.view().expect("a view").retained, asleep.view().expect("a view").retained);
    let (awake, disposition) = goes_on(&awake, Input::Message(&late[1]), week + MINUTE);
    assert_eq!(disposition, Some(Disposition::Applied));
    // From the first reconciliation on the time runs.
    let (mut awake, _) = goes_on(&awake, Input::Reconciled, week + 2 * MINUTE);
    assert_eq!(goes_on(&awake, Input::Message(&late[2]), week + 3 * MINUTE).1, Some(Disposition::Applied));
    for minute in 3..14 {
        awake = goes_on(&awake, Input::Reconciled, week + minute * MINUTE).0;
    }
    let (_, disposition) = goes_on(&awake, Input::Message(&late[2]), week + 14 * MINUTE);
    assert_eq!(disposition, Some(Disposition::Expired { reason: Unreadable::MovedOn }));
    // Control: the same time without a reconciliation.
    assert_eq!(goes_on(&asleep, Input::Message(&late[2]), week + 14 * MINUTE).1, Some(Disposition::Applied));
}

#[test]
fn the_deadline_is_told() {
    let (world, _, _) = moved_on(4, 10 * MINUTE, false);
    let mut group = world.peers[3].group().clone();
    let mut now = world.now;
    let until = now + 11 * MINUTE;
    // Nothing but what the deadlines ask for, and a reconciliation a minute.
    let mut reconcile = now;
    while now < until {
        let due = group.next_deadline().unwrap_or(u64::MAX).max(now + 1);
        now = due.min(reconcile);
        let input = if now == reconcile { Input::Reconciled } else { Input::Tick };
        reconcile += if now == reconcile { 30_000 } else { 0 };
        let before = group.view().expect("a view").retained_bytes;
        group = goes_on(&group, input, now).0;
        if group.view().expect("a view").retained_bytes != before {
            assert!(
                matches!(input, Input::Tick),
                "the keys go when their time comes, not when something else does"
            );
        }
    }
    assert_eq!(group.next_deadline(), None, "nothing is left to be done");
}
