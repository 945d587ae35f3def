//! Application messages: a key that was used is gone, one that waits for its message is not.

use std::collections::BTreeSet;

use dmls_core::group::{Disposition, Input};
use dmls_tests::World;

use super::histories::{self, talk};
use super::{Theft, check, label, rob};

/// Member 1 sends this many messages that nobody hears; their places in the traffic.
fn unheard(world: &mut World, count: usize) -> Vec<usize> {
    let first = world.sent();
    for number in 0..count {
        world.send(1, &format!("message {number}"));
    }
    (first..world.sent()).collect()
}

fn read(world: &World, theft: &Theft) -> BTreeSet<usize> {
    check(world, theft).read.into_keys().collect()
}

#[test]
fn used_keys_are_gone() {
    let mut world = histories::world(531, 4, 0, true);
    talk(&mut world, &[1, 2]);
    let sent = unheard(&mut world, 5);
    let before = Theft::of(&world, 0);
    world.run(1_000);
    assert!(world.peers[0].messages().iter().any(|(_, text)| text == b"message 4"));
    let after = Theft::of(&world, 0);
    // All epochs are retained, and no message that was ever delivered or sent is read.
    assert!(after.deleted().is_empty() && after.held.len() >= 3);
    assert!(read(&world, &after).is_empty());
    assert!(read(&world, &Theft::of(&world, 1)).is_empty(), "the sender's own");
    // Control: before they came, these could be read.
    assert_eq!(read(&world, &before), sent.iter().copied().collect());
}

/// Without puncturing, the keys come back with the epoch, though each was deleted when it was used.
#[test]
fn without_puncturing_used_keys_come_back() {
    let world = histories::linear(532, false);
    let theft = Theft::of(&world, 0);
    let loot = check(&world, &theft);
    let again: Vec<_> = loot.read.keys().filter(|index| theft.used.contains(index)).collect();
    assert!(again.iter().any(|index| theft.held.contains(&label(&world, **index).0)));
    assert!(rob(&histories::linear(532, true), &Theft::of(&histories::linear(532, true), 0)).read.is_empty());
}

#[test]
fn skipped_messages_are_read_within_the_window() {
    let mut world = histories::world(533, 3, 0, true);
    world.cut(&[0, 1, 2]);
    let sent = unheard(&mut world, 150);
    assert_eq!(world.deliver(sent[120], 0), Disposition::Applied);
    world.act(0, |group, now, rng| group.handle(Input::Reconciled, now, rng));
    // The one that came is gone, and what is more than a hundred generations behind the next one is. Those between
    // wait for their messages, and those to come can always be read.
    let theft = Theft::of(&world, 0);
    let loot = rob(&world, &theft);
    let expected: BTreeSet<usize> = (21..120).chain(121..150).map(|number| sent[number]).collect();
    assert_eq!(loot.read.keys().copied().collect::<BTreeSet<_>>(), expected);
    assert_eq!(loot.read[&sent[119]].as_slice().windows(11).filter(|text| text == b"message 119").count(), 1);
    // Once they have come, they are gone too.
    world.heal();
    world.run(1_000);
    assert!(rob(&world, &Theft::of(&world, 0)).read.is_empty());
}
