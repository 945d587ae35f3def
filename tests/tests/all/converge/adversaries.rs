//! Who would win by making things, loses to who is many.

use std::collections::BTreeSet;

use dmls_core::group::{Disposition, Effect, Event, Group, Place, Step};
use dmls_core::schedule::EpochId;
use dmls_tests::World;

use super::{assert_one_head, fingerprint};

/// Bytes that a step would publish.
fn published(step: &Step) -> Vec<Vec<u8>> {
    let bytes = |effect: &Effect| match effect {
        Effect::Publish { bytes, .. } => Some(bytes.clone()),
        _ => None,
    };
    step.effects.iter().filter_map(bytes).collect()
}

fn head_committer(world: &World, place: usize) -> Option<[u8; 32]> {
    let history = world.peers[place].group().history();
    let head = history.epochs.iter().find(|epoch| epoch.id == history.head)?;
    head.committer.as_ref().map(|member| member.fingerprint)
}

/// Whether a commit of this client stands where others competed with it.
fn stands(world: &World, place: usize) -> bool {
    let (history, by) = (world.peers[0].group().history(), world.peers[place].client.fingerprint());
    let contested = |id: &EpochId| {
        let fork = history.epochs.iter().find(|epoch| epoch.id == *id).and_then(|epoch| epoch.fork.as_ref());
        fork.is_some_and(|fork| fork.children.len() > 1)
    };
    history.epochs.iter().any(|epoch| {
        epoch.on_head
            && epoch.committer.as_ref().is_some_and(|member| member.fingerprint == by)
            && epoch.parent.as_ref().is_some_and(contested)
    })
}

/// Of many commits of `by` on its head the one with the smallest id.
fn ground(world: &mut World, by: usize) -> Step {
    let group = world.peers[by].group().clone();
    let id = |step: &Step| {
        let history = step.group.history();
        let head = history.epochs.iter().find(|epoch| epoch.id == history.head).expect("a head").clone();
        head.commit.expect("a commit")
    };
    let steps = (0..50).map(|_| group.refresh(world.now, &mut world.rng).expect("a commit"));
    steps.min_by_key(id).expect("candidates")
}

/// The member with the best rank, and the one with the worst. All leaves are taken.
fn best_and_worst(world: &World) -> (usize, usize) {
    let view = world.peers[0].group().view().expect("a head");
    let width = u64::try_from(view.members.len()).expect("few");
    let rank = |place: &usize| {
        let leaf = world.peers[0].leaf_of(&world.peers[*place].client).expect("a member");
        (u64::from(leaf.0) + width - view.number % width) % width
    };
    let places = 0..world.peers.len();
    (places.clone().min_by_key(rank).expect("members"), places.max_by_key(rank).expect("members"))
}

#[test]
fn a_small_commit_id_beats_neither_rank_nor_weight() {
    for seed in 1..=5 {
        let mut world = World::new(seed, 4);
        world.form();
        // One against one: the better rank wins, and the id is not looked at.
        let (honest, grinder) = best_and_worst(&world);
        let step = ground(&mut world, grinder);
        world.take_step(grinder, step);
        world.refresh(honest);
        world.spread();
        let winner = Some(world.peers[honest].client.fingerprint());
        for place in 0..4 {
            assert_eq!(head_committer(&world, place), winner, "seed {seed}: the better rank wins a tie");
        }
        world.run(60_000);
        assert_one_head(&world, &[0, 1, 2, 3]);
        assert!(stands(&world, honest) && !stands(&world, grinder));
    }
    // Against weight even the best rank with the smallest id is nothing.
    let mut world = World::new(9, 4);
    world.form();
    let (grinder, honest) = best_and_worst(&world);
    let sides: Vec<usize> = (0..4).map(|place| usize::from(place == grinder)).collect();
    world.cut(&sides);
    let step = ground(&mut world, grinder);
    world.take_step(grinder, step);
    world.refresh(honest);
    world.run(30_000);
    world.heal();
    world.run(60_000);
    assert_one_head(&world, &[0, 1, 2, 3]);
    assert!(stands(&world, honest) && !stands(&world, grinder));
}

#[test]
fn a_deep_private_branch_loses_to_two_members() {
    let mut world = World::new(3, 3);
    // Nobody has to be as patient as an honest client is.
    world.options.own_commits = u32::MAX;
    world.form();
    world.cut(&[0, 0, 1]);
    for _ in 0..20 {
        world.refresh(2);
        world.run(1_000);
    }
    world.refresh(0);
    world.run(30_000);
    let honest = fingerprint(&world, 1);
    world.heal();
    world.spread();
    assert_one_head(&world, &[0, 1, 2]);
    assert_eq!(fingerprint(&world, 2), honest);
    world.run(60_000);
    // What it refreshed where it lost it owes to the head, and has paid.
    assert_one_head(&world, &[0, 1, 2]);
    let lost = world.peers[2].events.iter().filter(|event| matches!(event, Event::BranchLost { .. }));
    assert_eq!(lost.count(), 20, "each epoch of the lost branch is reported, once");
}

#[test]
fn a_deep_branch_in_reverse_order_is_taken_up_at_once() {
    let mut world = World::new(4, 2);
    world.options.own_commits = u32::MAX;
    world.form();
    let first = world.sent();
    (0..30).for_each(|_| world.refresh(0));
    for index in (first + 1..world.sent()).rev() {
        assert!(matches!(world.deliver(index, 1), Disposition::Pending { .. }));
    }
    assert_eq!(world.deliver(first, 1), Disposition::Applied);
    assert_one_head(&world, &[0, 1]);
    assert_eq!(world.peers[1].group().view().expect("a head").waiting, 0);
}

#[test]
fn the_vote_of_an_equivocator_is_void() {
    let mut world = World::new(5, 5);
    world.form();
    let thief = 4;
    let parent = world.peers[thief].group().head().clone();
    let state: Group = world.peers[thief].group().clone();
    let one = state.refresh(world.now, &mut world.rng).expect("a commit");
    let other = state.refresh(world.now, &mut world.rng).expect("a commit");
    world.cut(&[0, 0, 1, 1, 2]);
    for (step, to) in [(&one, 0), (&other, 2)] {
        for bytes in published(step) {
            assert_eq!(world.inject(to, &bytes), Disposition::Applied);
            world.publish(to, bytes);
        }
    }
    world.run(30_000);
    assert_ne!(fingerprint(&world, 0).head, fingerprint(&world, 2).head);
    world.cut(&[0, 0, 0, 0, 1]);
    world.run(120_000);
    assert_one_head(&world, &[0, 1, 2, 3]);
    let guilty = world.peers[thief].client.fingerprint();
    for place in 0..4 {
        let history = world.peers[place].group().history();
        let fork =
            history.epochs.iter().find(|e| e.id == parent).expect("kept").fork.clone().expect("a fork");
        let weights: Vec<usize> = fork.children.iter().map(|child| child.weight).collect();
        assert_eq!((fork.void, weights), (1, vec![2, 2]), "the fifth counts for neither");
        let named = world.peers[place].events.iter().filter(
            |event| matches!(event, Event::Equivocation { member, .. } if member.fingerprint == guilty),
        );
        assert_eq!(named.count(), 1, "member {place} is told once who equivocates");
    }
}

#[test]
fn a_fork_inside_a_fork_heals() {
    let mut world = World::new(6, 7);
    world.form();
    world.cut(&[0, 0, 0, 0, 1, 1, 1]);
    world.refresh(0);
    world.refresh(4);
    world.run(20_000);
    world.cut(&[0, 0, 2, 2, 1, 1, 3]);
    for by in [0, 2, 4, 6] {
        world.refresh(by);
        world.send(by, &format!("from {by}"));
    }
    world.run(20_000);
    let heads: BTreeSet<_> = (0..7).map(|place| fingerprint(&world, place).head).collect();
    assert_eq!(heads.len(), 4);
    world.heal();
    world.run(120_000);
    assert_one_head(&world, &[0, 1, 2, 3, 4, 5, 6]);
    for place in 0..7 {
        let own = usize::from([0, 2, 4, 6].contains(&place));
        assert_eq!(world.peers[place].messages().len(), 4 - own, "member {place} has read all branches");
        assert_eq!(*world.peers[place].group().place(), Place::Member);
    }
}

#[test]
fn unequal_clocks_make_no_difference() {
    let mut world = World::new(7, 4);
    world.form();
    // What one client does next, it does an hour ahead of the others.
    let now = world.now;
    world.now = now + 3_600_000;
    world.refresh(3);
    world.now = now;
    world.refresh(1);
    world.run(60_000);
    assert_one_head(&world, &[0, 1, 2]);
    world.run(2 * 3_600_000);
    assert_one_head(&world, &[0, 1, 2, 3]);
}
