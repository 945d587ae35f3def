//! The same claims over random histories.

use std::cell::Cell;

use dmls_core::framing::DmlsProfile;
use dmls_tests::{Schedule, World};

use super::super::seeds;
use super::{Theft, check};

/// A schedule with small bounds, so that much is deleted.
fn history(seed: u64, puncturing: bool) -> Schedule {
    let mut world = World::new(seed, 0);
    let (founders, events) = (2 + world.below(4), 15 + world.below(20));
    let mut world = World::new(seed, founders + 2);
    world.options.puncturing = puncturing;
    let profile = DmlsProfile { max_retained: 3 + seed as u32 % 4, ..DmlsProfile::default() };
    let mut schedule = Schedule::forming(world, founders, &profile);
    for _ in 0..events {
        schedule.happen();
    }
    schedule
}

/// What has been found over all schedules.
#[derive(Debug, Default)]
struct Sums {
    deleted: Cell<usize>,
    derived: Cell<usize>,
    read: Cell<usize>,
    deleted_and_derived: Cell<usize>,
}

fn rob_everybody(world: &World, sums: &Sums) {
    for place in (0..world.peers.len()).filter(|place| world.peers[*place].group.is_some()) {
        let theft = Theft::of(world, place);
        let loot = check(world, &theft);
        let add = |sum: &Cell<usize>, more: usize| sum.set(sum.get() + more);
        add(&sums.deleted, theft.deleted().len());
        add(&sums.derived, loot.derived.len());
        add(&sums.read, loot.read.len());
        add(&sums.deleted_and_derived, theft.deleted().intersection(&loot.derived).count());
    }
}

#[test]
fn random_histories_give_a_thief_what_the_claims_say() {
    let (first, count) = seeds(541, 12);
    println!("seeds {first}..{}", first + count);
    let (with, without) = (Sums::default(), Sums::default());
    let mut failed = Vec::new();
    for seed in first..first + count {
        let run = || {
            for (puncturing, sums) in [(true, &with), (false, &without)] {
                let mut schedule = history(seed, puncturing);
                // In the middle of it, and when all have caught up.
                rob_everybody(&schedule.world, sums);
                schedule.world.heal();
                schedule.world.run(60_000);
                rob_everybody(&schedule.world, sums);
            }
        };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            failed.push(seed);
        }
    }
    println!("with puncturing {with:?}, without {without:?}");
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
    assert_eq!(with.deleted_and_derived.get(), 0);
    // A few schedules may have nothing to find.
    if count >= 12 {
        assert!(with.deleted.get() > 0 && with.derived.get() > 0 && with.read.get() > 0);
        assert!(without.deleted_and_derived.get() > 0);
    }
}
