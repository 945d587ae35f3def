//! Under an admin list, only admins decide who is a member.

use dmls_core::framing::{Content, DmlsProfile, Proposal, ProposalOrRef, Remove};
use dmls_core::group::{Disposition, Event};
use dmls_core::tree::LeafIndex;
use dmls_tests::World;

use super::in_head;

/// Member 0 is the only admin.
fn world(seed: u64) -> World {
    let mut world = World::new(seed, 4);
    let admins = vec![world.peers[0].client.credential().clone()];
    world.create(DmlsProfile { admins, ..DmlsProfile::default() });
    world.invite(0, &[1, 2, 3]);
    world.run(30_000);
    world
}

#[test]
fn who_is_no_admin_neither_removes_nor_is_believed() {
    let mut world = world(91);
    let mut rng = world.rng.clone();
    let refused = world.peers[1].group().remove(LeafIndex(2), world.now, &mut rng).err().expect("no admin");
    assert!(refused.to_string().contains("only an admin"), "{refused}");
    // A client that does not ask itself first.
    let insider = in_head(&world, 1);
    let good = insider.commit(Vec::new(), &mut rng);
    let remove = |commit: &mut dmls_core::framing::Commit| {
        let remove = Proposal::Remove(Remove { removed: LeafIndex(2) });
        commit.proposals.push(ProposalOrRef::Proposal(remove));
    };
    let forged = insider.forge(&good, remove, 5, &mut rng);
    for place in [0, 2, 3] {
        match world.inject(place, &forged) {
            Disposition::Rejected { rule } => assert!(rule.contains("only an admin"), "{rule}"),
            other => panic!("{other:?}"),
        }
    }
    // Control: it may refresh its keys, and the admin may remove.
    world.refresh(1);
    world.run(30_000);
    world.remove(0, 2);
    world.run(60_000);
    assert!(world.peers[2].events.iter().any(|event| matches!(event, Event::Removed { .. })));
    assert_eq!(world.peers[3].group().view().expect("a view").members.len(), 3);
}

#[test]
fn proposals_to_remove_others_are_not_committed_but_leaving_is() {
    let mut world = world(92);
    let mut rng = world.rng.clone();
    let insider = in_head(&world, 1);
    let remove = Content::Proposal(Proposal::Remove(Remove { removed: LeafIndex(2) }));
    let proposal = insider.send(remove, 9, &mut rng);
    for place in [0, 2, 3] {
        assert_eq!(world.inject(place, &proposal), Disposition::Applied);
    }
    world.run(60_000);
    assert_eq!(world.peers[0].group().view().expect("a view").members.len(), 4);
    world.refresh(3);
    world.run(60_000);
    assert_eq!(world.peers[0].group().view().expect("a view").members.len(), 4);
    world.act(3, |group, now, rng| group.leave(now, rng).expect("a request"));
    world.run(60_000);
    assert_eq!(world.peers[0].group().view().expect("a view").members.len(), 3);
    assert!(world.peers[3].events.iter().any(|event| matches!(event, Event::Removed { .. })));
}
