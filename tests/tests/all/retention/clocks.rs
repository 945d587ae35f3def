//! Clocks jump, machines sleep, groups are idle: nothing is lost by that.

use dmls_core::framing::DmlsProfile;
use dmls_core::group::Input;

use super::{deleted, formed, goes_on};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

#[test]
fn waking_up_deletes_nothing_before_it_has_caught_up() {
    let mut world = formed(11, 4, DmlsProfile::default());
    world.options.refresh_after_ms = 0;
    world.restart(2);
    world.refresh(1);
    world.run(8 * 60_000);
    // Everything is settled, but not for long enough to be closed.
    let asleep = world.peers[2].group().clone();
    let retained = asleep.view().expect("a view").retained;
    assert!(retained > 1);
    let (mut awake, _) = goes_on(&asleep, Input::Tick, world.now + 8 * DAY);
    assert_eq!(awake.view().expect("a view").retained, retained);
    for minute in 0..12 {
        awake = goes_on(&awake, Input::Reconciled, world.now + 8 * DAY + minute * 60_000).0;
    }
    assert_eq!(awake.view().expect("a view").retained, 1, "control: caught up, it closes what is settled");
}

#[test]
fn concurrent_commits_of_an_idle_group_meet() {
    let mut world = formed(12, 4, DmlsProfile::default());
    world.options.reconciled_for_ms = DAY;
    world.options.refresh_after_ms = 0;
    for place in 0..4 {
        world.restart(place);
    }
    world.run(9 * DAY);
    let epoch = world.peers[0].group().head().clone();
    world.cut(&[0, 0, 0, 1]);
    world.refresh(0);
    world.refresh(3);
    world.run(20_000);
    for place in [0, 3] {
        let history = world.peers[place].group().history();
        assert!(history.epochs.iter().any(|known| known.id == epoch), "an idle epoch is not old");
    }
    world.heal();
    world.run(60_000);
    let heads: Vec<_> = world.peers.iter().map(|peer| peer.group().head()).collect();
    assert!(heads.windows(2).all(|pair| pair[0] == pair[1]), "{heads:?}");
    // Control: once it has had a child for that long it goes.
    world.cut(&[0, 0, 0, 1]);
    world.refresh(1);
    world.run(8 * DAY);
    assert!(world.peers[0].group().history().epochs.iter().all(|known| known.id != epoch));
    assert!(deleted(&world.peers[0].events) > 0);
}

#[test]
fn a_clock_that_jumps_stops_nothing() {
    for jump in [400 * 365 * DAY, 10 * DAY] {
        let mut world = formed(13, 4, DmlsProfile::default());
        let start = world.now;
        // One client's clock says nonsense for a moment.
        for there in [start.saturating_sub(jump), start + jump] {
            let group = world.peers[1].group().clone();
            let retained = group.view().expect("a view").retained;
            let step = group.handle(Input::Reconciled, there, &mut world.rng);
            world.take_step(1, step);
            let view = world.peers[1].group().view().expect("a view");
            assert_eq!(view.retained, retained, "no jump deletes anything");
            // And then is right again: it votes, acknowledges and closes as ever.
            world.refresh(2);
            world.run(20_000);
            let head = world.peers[2].group().head().clone();
            assert_eq!(*world.peers[1].group().head(), head);
            let spoke = world.sent();
            world.run(HOUR);
            assert_eq!(world.sent(), spoke, "all had spoken");
            for (place, peer) in world.peers.iter().enumerate() {
                let view = peer.group().view().expect("a view");
                assert_eq!(
                    (view.retained, view.is_final),
                    (1, true),
                    "member {place} after a jump of {jump}"
                );
                let deadline = peer.group().next_deadline();
                assert!(deadline.is_none_or(|at| at < world.now + DAY), "{deadline:?}");
            }
            world.refresh(3);
            world.run(20_000);
        }
    }
}
