//! Claim 1: what was visited and deleted cannot be derived, nor what is reachable only through it.

use std::collections::BTreeSet;

use dmls_tests::World;

use super::histories::{self, CLOSING, talk};
use super::{Annals, Theft, check, label, rob};

type History = fn(u64, bool) -> World;

const HISTORIES: [(&str, History); 5] = [
    ("linear", histories::linear),
    ("forked", histories::forked),
    ("private branch", histories::private_branch),
    ("late joiner", histories::late_joiner),
    ("removed", histories::removed),
];

#[test]
fn deleted_epochs_stay_underivable() {
    for (name, history) in HISTORIES {
        let world = history(501, true);
        for place in 0..world.peers.len() {
            let theft = Theft::of(&world, place);
            let (deleted, loot) = (theft.deleted(), check(&world, &theft));
            println!(
                "{name}, member {place}: {} held, {} deleted, {} paths, {} handshake messages",
                loot.held.len(),
                deleted.len(),
                loot.paths.len(),
                loot.handshakes.len()
            );
            assert!(!deleted.is_empty() && loot.held.len() >= 2, "{name}, member {place}: {deleted:?}");
            // Everybody has caught up: there is no unvisited child of what is retained, and all messages were read.
            assert!(loot.derived.is_empty(), "{name}, member {place}: {:?}", loot.derived);
            assert!(loot.read.is_empty() && loot.welcomes.is_empty(), "{name}, member {place}");
            assert!(!loot.handshakes.is_empty(), "the thief does read what it can");
        }
    }
}

#[test]
fn without_puncturing_deleted_epochs_are_derived() {
    for (name, history) in [HISTORIES[1], HISTORIES[2]] {
        let (with, without) = (history(501, true), history(501, false));
        let (mut again, mut beyond) = (0, 0);
        for place in 0..3 {
            let theft = Theft::of(&without, place);
            assert_eq!(theft.held, Theft::of(&with, place).held, "the same history");
            let loot = check(&without, &theft);
            let deleted = theft.deleted();
            again += deleted.intersection(&loot.derived).count();
            beyond += loot.derived.difference(&theft.visited).count();
            let read = loot.read.keys().filter(|index| deleted.contains(&label(&without, **index).0));
            assert!(read.count() > 0, "{name}, member {place}: messages of deleted epochs");
        }
        println!("{name}: {again} deleted epochs derived, and {beyond} below them");
        assert!(again >= 3, "{name}: {again}");
        // What nobody but its author ever entered was reachable only through what had been deleted.
        assert_eq!(beyond > 0, name == "private branch");
    }
}

/// The harness is no weaker than the claim needs: the same epochs fall to who comes earlier.
#[test]
fn who_comes_before_the_deletion_has_them() {
    let mut world = histories::world(502, 4, 0, true);
    let first = Theft::of(&world, 2);
    talk(&mut world, &[1, 3, 0]);
    let second = Theft::of(&world, 2);
    world.run(CLOSING);
    talk(&mut world, &[1, 3]);
    let last = Theft::of(&world, 2);
    let deleted = last.deleted();
    assert!(deleted.len() >= 3, "{deleted:?}");
    assert_eq!(rob(&world, &last).derived, BTreeSet::new());
    // Before the deletion: the keys are there, but for those of messages, which were used.
    let loot = check(&world, &second);
    assert!(deleted.is_subset(&loot.held), "{:?}", loot.held);
    assert!(loot.read.keys().all(|index| !deleted.contains(&label(&world, *index).0)));
    // Before the visits: everything that came after, messages too.
    let loot = check(&world, &first);
    let all: BTreeSet<_> = loot.held.union(&loot.derived).cloned().collect();
    assert!(deleted.is_subset(&all) && last.held.is_subset(&all));
    let messages = (0..world.sent()).filter(|index| label(&world, *index).1).count();
    assert_eq!(loot.read.len(), messages, "{} epochs: {:?}", Annals::of(&world).0.len(), loot.derived.len());
}
