//! Claim 3: whoever still holds an unpunctured parent undoes what others have deleted.

use std::collections::BTreeSet;

use dmls_core::schedule::EpochId;
use dmls_tests::{Loot, Thief, World};

use super::super::group_id;
use super::histories::{self, talk};
use super::{Annals, Edge, Theft, check};

fn rob_all(world: &World, thefts: &[&Theft]) -> Loot {
    let thief = Thief::listening(world, &group_id());
    thefts.iter().fold(thief, |thief, theft| thief.taking(&theft.store)).plunder()
}

#[test]
fn those_who_have_caught_up_give_nothing_together() {
    for history in [histories::linear, histories::private_branch] {
        let world = history(521, true);
        let all: Vec<_> = (0..world.peers.len()).map(|place| Theft::of(&world, place)).collect();
        let loot = rob_all(&world, &all.iter().collect::<Vec<_>>());
        assert!(all.iter().all(|theft| !theft.deleted().is_empty()));
        assert!(loot.derived.is_empty() && loot.read.is_empty(), "{loot:?}");
        // Control: the same members without puncturing.
        let world = history(521, false);
        let all: Vec<_> = (0..world.peers.len()).map(|place| Theft::of(&world, place)).collect();
        let loot = rob_all(&world, &all.iter().collect::<Vec<_>>());
        assert!(!loot.derived.is_empty() && !loot.read.is_empty());
    }
}

#[test]
fn a_lagging_member_undoes_it() {
    let mut world = histories::world(522, 5, 0, true);
    // Member 4 hears nothing while the others go on, so far that they delete what it still holds.
    world.cut(&[0, 0, 0, 0, 1]);
    talk(&mut world, &[1, 2, 3, 1, 2, 3, 1, 2]);
    let (victim, lagging) = (Theft::of(&world, 1), Theft::of(&world, 4));
    let deleted: BTreeSet<EpochId> = victim.deleted().difference(&lagging.held).cloned().collect();
    assert!(deleted.len() >= 2, "{deleted:?}");
    assert!(check(&world, &victim).derived.is_empty());
    let loot = rob_all(&world, &[&victim, &lagging]);
    assert!(deleted.is_subset(&loot.derived));
    let read = loot.read.keys().filter(|index| deleted.contains(&super::label(&world, **index).0));
    assert!(read.count() > deleted.len(), "messages of deleted epochs");
    // Control: once it has processed what came, it punctured that.
    world.heal();
    world.run(60_000);
    assert_eq!(world.peers[4].group().head(), world.peers[0].group().head());
    let (victim, followed) = (Theft::of(&world, 1), Theft::of(&world, 4));
    assert!(rob_all(&world, &[&victim, &followed]).derived.is_empty());
}

/// The commit that removes a member is the one that it cannot open: its PPRF and another member's keys are needed.
#[test]
fn a_removed_member_who_has_not_heard_of_it_undoes_it() {
    let mut world = histories::world(523, 7, 0, true);
    let parent = world.peers[5].group().head().clone();
    world.cut(&[0, 0, 0, 1, 1, 2, 0]);
    world.remove(3, 5);
    world.run(20_000);
    histories::everybody_speaks(&mut world);
    talk(&mut world, &[1]);
    // Its branch loses, and is deleted; the removed member has heard of nothing.
    world.cut(&[0, 0, 0, 0, 0, 2, 0]);
    world.run(60_000);
    // A merge has carried the removal over, and one more commit has paid what 3 owed.
    talk(&mut world, &[0, 2]);
    let gone = world.peers[5].client.fingerprint();
    let lost = |edge: &Edge| edge.removed.contains(&gone) && edge.parent == parent;
    let removal = Annals::of(&world).0.into_iter().find(|(_, edge)| lost(edge));
    let (removal, _) = removal.expect("a removal");
    let (victim, removed) = (Theft::of(&world, 0), Theft::of(&world, 5));
    assert!(victim.held.contains(&parent) && removed.held.contains(&parent));
    assert!(victim.deleted().contains(&removal));
    // Each alone does not derive it, both together do, and read what was said there.
    assert!(check(&world, &victim).derived.is_empty());
    assert!(!check(&world, &removed).derived.contains(&removal));
    let loot = rob_all(&world, &[&victim, &removed]);
    assert!(loot.derived.contains(&removal));
    assert!(loot.read.keys().any(|index| super::label(&world, *index).0 == removal));
    // Control: when it hears of its removal, it punctures by the commit's confirmation.
    world.heal();
    world.run(60_000);
    let (victim, heard) = (Theft::of(&world, 0), Theft::of(&world, 5));
    assert!(heard.held.contains(&parent) || heard.deleted().contains(&parent));
    assert!(!rob_all(&world, &[&victim, &heard]).derived.contains(&removal));
}
