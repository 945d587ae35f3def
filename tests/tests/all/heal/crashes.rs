//! A crash after any step of a merge changes nothing, and a store that fails loses nothing.

use dmls_core::group::Event;
use dmls_tests::{World, stored_bytes};

use super::{assert_healed, has, world};

/// A cut with removals and refreshes on both sides, healed, cut again while merges are on their way, and healed.
fn live(world: &mut World) {
    world.cut(&[0, 0, 0, 0, 1, 1]);
    world.refresh(0);
    world.remove(4, 1);
    world.run(20_000);
    world.refresh(5);
    world.run(20_000);
    world.heal();
    world.spread();
    world.run_alone(800);
    world.cut(&[0, 1, 0, 1, 0, 1]);
    world.run(20_000);
    world.heal();
    world.run(100_000);
}

/// All that can be told apart of two runs.
fn outcome(world: &World) -> Vec<(Vec<u8>, Vec<Event>)> {
    world.peers.iter().map(|peer| (stored_bytes(&peer.store), peer.events.clone())).collect()
}

#[test]
fn a_restart_after_every_step_changes_nothing() {
    let mut plain = world(1, 6, 6);
    live(&mut plain);
    assert_healed(&plain, &[0, 2, 3, 4, 5]);
    assert!(!has(&plain, 0, 1));
    let mut killed = world(1, 6, 6);
    killed.ordeal.restart = true;
    live(&mut killed);
    assert!(killed.ordeal.restarts > 100);
    assert!(outcome(&plain) == outcome(&killed), "a restart has changed something");
}

#[test]
fn a_failing_store_loses_nothing() {
    let mut plain = world(2, 6, 6);
    live(&mut plain);
    assert_healed(&plain, &[0, 2, 3, 4, 5]);
    let mut failing = world(2, 6, 6);
    failing.ordeal.failing_store = true;
    live(&mut failing);
    assert!(failing.ordeal.failures > 100);
    assert!(outcome(&plain) == outcome(&failing), "a failing store has changed something");
}

#[test]
fn who_dies_before_its_merge_is_published_publishes_it_later() {
    let mut world = world(3, 6, 6);
    world.cut(&[0, 0, 0, 0, 1, 1]);
    world.refresh(0);
    world.remove(4, 1);
    world.run(20_000);
    world.heal();
    world.spread();
    // Sending merges first: all of it is stored, and nothing published.
    world.act_and_crash(0, |group, now, rng| group.send(b"at last", now, rng).expect("a message"));
    assert!(!has(&world, 0, 1));
    world.run(120_000);
    assert_healed(&world, &[0, 2, 3, 4, 5]);
    assert_eq!(super::texts(&world, 2), ["at last"]);
}
