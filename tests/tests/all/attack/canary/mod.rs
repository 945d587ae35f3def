//! What must never be stored is not stored, and what is used up is gone: all of it is derived once more by somebody who
//! sees every step of everybody, and looked for in all that is stored, after every step of random schedules.

mod needles;
mod observer;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use dmls_core::framing::DmlsProfile;
use dmls_core::group::Key;
use dmls_core::schedule::EpochId;
use dmls_tests::{Insider, Schedule, World, contains, stored_bytes};

use super::{group_id, seeds};
use needles::Needles;
use observer::Observer;

fn occurs(records: &BTreeMap<Key, Vec<u8>>, needle: &[u8]) -> bool {
    records.values().any(|bytes| contains(bytes, needle))
}

/// A random schedule with forks, crashes, joins and removals, seen from its first step.
fn schedule(seed: u64, puncturing: bool) -> (Schedule, Rc<RefCell<Observer>>) {
    let mut world = World::new(seed, 0);
    let (founders, events) = (2 + world.below(4), 15 + world.below(20));
    let mut world = World::new(seed, founders + 2);
    world.options.puncturing = puncturing;
    let observer = Rc::new(RefCell::new(Observer::default()));
    let seeing = Rc::clone(&observer);
    world.ordeal.watch = Some(Box::new(move |by, store, step| seeing.borrow_mut().see(by, store, step)));
    // Small bounds, so that much is deleted.
    let profile = DmlsProfile { max_retained: 3 + seed as u32 % 4, ..DmlsProfile::default() };
    let mut schedule = Schedule::forming(world, founders, &profile);
    for _ in 0..events {
        schedule.happen();
    }
    schedule.world.heal();
    schedule.world.run(60_000);
    (schedule, observer)
}

/// What must be stored is found by the same search.
fn controls(world: &World, observer: &Observer) -> usize {
    let mut beside = 0;
    for peer in world.peers.iter() {
        let Some(group) = &peer.group else { continue };
        let bytes = stored_bytes(&peer.store);
        let head = Insider::read(&peer.store, &group_id(), group.head()).expect("the head");
        let mut expected = Needles::default();
        let secrets = head.epoch.secrets();
        let stored = [&secrets.sender_data_secret, &secrets.exporter_secret, &secrets.resumption_psk];
        stored.iter().for_each(|secret| expected.add("stored", secret.as_slice()));
        expected.add("signature key", head.epoch.signature_private().0.as_slice());
        head.epoch.private_keys().iter().for_each(|(_, key)| expected.add("node key", key.0.as_slice()));
        let found: BTreeSet<_> = expected.found_in(&bytes).into_iter().collect();
        assert_eq!(found, BTreeSet::from(["stored", "signature key", "node key"]));
        assert!(expected.found_in(&bytes).len() >= expected.len());
        let held: BTreeSet<EpochId> = group.history().epochs.into_iter().map(|epoch| epoch.id).collect();
        let mut nodes = Needles::default();
        observer.nodes_beside(&held).iter().for_each(|node| nodes.add("beside", node.as_slice()));
        beside += nodes.found_in(&bytes).len();
    }
    beside
}

#[test]
fn nothing_that_must_not_be_stored_ever_is() {
    let (first, count) = seeds(551, 8);
    println!("seeds {first}..{}", first + count);
    let (mut beside, mut never_stored) = (0, 0);
    for seed in first..first + count {
        let (schedule, observer) = schedule(seed, true);
        let (world, observer) = (&schedule.world, observer.borrow());
        for (place, peer) in world.peers.iter().enumerate() {
            observer.check(place, &peer.store);
        }
        assert!(observer.findings.is_empty(), "seed {seed}: {:?}", observer.findings);
        let (never, gone) = observer.secrets();
        println!("seed {seed}: {} steps, {never} secrets in no store, {gone} gone from one", observer.steps);
        never_stored += never;
        assert!(observer.opaque.values().all(|others| *others == 0), "seed {seed}: {:?}", observer.opaque);
        beside += controls(world, &observer);
    }
    // A few schedules may have little to find.
    if count >= 8 {
        assert!(never_stored > 6 * usize::try_from(count).expect("a count"), "{never_stored}");
        assert!(beside > 200, "nodes beside the punctured ways are stored: {beside}");
    }
}

/// Control: the same search finds what is stored without puncturing.
#[test]
fn without_puncturing_it_is_found() {
    let (_, observer) = schedule(551, false);
    let found: BTreeSet<String> =
        observer.borrow().findings.iter().map(|(name, _, _)| name.clone()).collect();
    assert_eq!(found, BTreeSet::from(["used PPRF root".to_owned()]));
}
