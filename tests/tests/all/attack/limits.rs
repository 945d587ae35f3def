//! What forking without an arbiter cannot prevent (docs/security.md): these attacks succeed, as far as the text says.

use dmls_core::framing::{Proposal, Remove};
use dmls_core::group::{Disposition, Place};
use dmls_core::schedule::EpochId;
use dmls_tests::{World, meta_of};

use super::in_head;

/// Whether a member's head is below an epoch.
fn is_below(world: &World, place: usize, epoch: &EpochId) -> bool {
    let history = world.peers[place].group().history();
    history.epochs.iter().any(|view| view.id == *epoch && view.on_head)
}

/// Seven members; four honest ones on these sides, three organised ones together. Both kinds go on; then all is healed.
fn minority(seed: u64, honest: [usize; 4]) -> (World, EpochId) {
    let mut world = World::new(seed, 7);
    world.form();
    world.cut(&[honest[0], honest[1], honest[2], honest[3], 9, 9, 9]);
    for by in [0, 2, 4] {
        // Where 0 and 2 are together, the second of them follows the first.
        world.refresh(by);
        world.run(20_000);
    }
    let organised = world.peers[4].group().head().clone();
    world.heal();
    world.run(90_000);
    (world, organised)
}

#[test]
fn an_organised_minority_beats_every_smaller_fragment() {
    let (world, organised) = minority(561, [0, 0, 1, 1]);
    assert!((0..7).all(|place| is_below(&world, place, &organised)));
    // Control: four honest members that hear each other are not moved by three.
    let (world, organised) = minority(561, [0, 0, 0, 0]);
    assert!((0..7).all(|place| !is_below(&world, place, &organised)));
    assert!((1..7).all(|place| world.peers[place].group().head() == world.peers[0].group().head()));
}

#[test]
fn a_silent_majority_finalises_nothing() {
    let mut world = World::new(562, 5);
    world.form();
    world.cut(&[0, 0, 1, 2, 3]);
    world.refresh(0);
    world.run(20_000);
    let head = world.peers[0].group().head().clone();
    for _ in 0..24 {
        world.run(3_600_000);
        let view = world.peers[1].group().view().expect("a view");
        assert!(view.head == head && !view.is_final && view.retained >= 2);
    }
    // Control: with those who were silent it is final.
    world.heal();
    world.run(60_000);
    assert!(world.peers[1].group().view().expect("a view").is_final);
}

/// A removed member cannot open the path, so it believes the confirmation that it is given. The liar wins nothing: all
/// others refuse the commit, and nobody stands on it.
#[test]
fn a_removed_member_takes_the_confirmation_on_trust() {
    let mut world = World::new(563, 5);
    world.form();
    let mut rng = world.rng.clone();
    let liar = in_head(&world, 1);
    let before = in_head(&world, 4);
    let remove = Proposal::Remove(Remove { removed: before.epoch.own_leaf() });
    let good = liar.commit(vec![remove], &mut rng);
    let lie = liar.forge(&good, |commit| meta_of(commit).conf = Some(vec![7; 32].into()), 5, &mut rng);
    for place in [0, 2, 3] {
        match world.inject(place, &lie) {
            Disposition::Rejected { rule } => assert!(rule.contains("confirmation"), "{rule}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.inject(4, &lie), Disposition::Applied);
    let after = in_head(&world, 4);
    assert_eq!((before.id, before.init.punctured_count() + 1), (after.id, after.init.punctured_count()));
    // It goes on with the others, and what they commit is not burnt.
    world.refresh(0);
    world.run(60_000);
    assert_eq!(*world.peers[4].group().place(), Place::Member);
    assert_eq!(world.peers[4].group().head(), world.peers[0].group().head());
}

/// What somebody without any key sees of a message.
#[test]
fn the_wire_shows_group_epoch_and_size() {
    let mut world = World::new(564, 3);
    world.form();
    let first = world.sent();
    world.send(1, "a");
    world.send(1, &"b".repeat(20));
    world.send(2, &"c".repeat(200));
    let sent: Vec<&[u8]> = (first..world.sent()).map(|index| world.bytes(index)).collect();
    let head = world.peers[0].group().head();
    for bytes in &sent {
        assert!(dmls_tests::contains(bytes, b"the group") && dmls_tests::contains(bytes, head.as_slice()));
        // Neither who sent it nor what it says.
        let senders = [1, 2].map(|place: usize| world.peers[place].client.fingerprint());
        assert!(senders.iter().all(|sender| !dmls_tests::contains(bytes, sender)));
        assert!(!dmls_tests::contains(bytes, b"cccc"));
    }
    // Sizes are padded to 64 bytes: short messages look alike, long ones do not look like short ones.
    assert_eq!(sent[0].len(), sent[1].len());
    assert!(sent[2].len() > sent[1].len());
}
