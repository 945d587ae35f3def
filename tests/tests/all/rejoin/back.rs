//! Members that cannot enter what the others decided come back, and nothing of the old state is left.

use dmls_core::epoch::{CommitRequest, DefaultPolicy, InitSource, NoPsks, Sending};
use dmls_core::framing::DmlsMeta;
use dmls_core::group::{Disposition, Event, Standing};
use dmls_core::schedule::{GroupContext, child_init_input};
use dmls_core::suite::Secret;
use dmls_core::tree::{LeafIndex, LeafTemplate};
use dmls_tests::{Insider, World, stored_bytes};

use super::*;

/// One client falls out of the group by a commit that is of no use to it, and comes back.
fn out_and_back(world: &mut World, who: usize, by: usize) {
    let lost = lost_request(world, who, &group_id());
    assert_eq!(offer(world, by, &lost), Disposition::Applied);
    world.run(60_000);
}

/// Whether a client could not go on, and has another state since.
fn was_outside(world: &World, place: usize) -> bool {
    let joined = |event: &&Event| matches!(event, Event::Joined { .. });
    world.peers[place].events.iter().filter(joined).count() > 1
}

#[test]
fn one_of_two_comes_back_and_talks() {
    for seed in 1..=3 {
        let mut world = formed(seed, 2, false);
        out_and_back(&mut world, 1, 0);
        assert!(was_outside(&world, 1), "seed {seed}");
        assert_together(&world, &[0, 1], 2);
        assert_eq!(rejoins(&world, 0), 2, "seed {seed}: the lost one, and the one that it asked for itself");
        assert_talking(&mut world, 0, 1);
        assert_eq!(key_packages(&world, 1), 0, "the request is used up");
        // It commits as any other.
        world.refresh(1);
        world.run(60_000);
        assert_together(&world, &[0, 1], 2);
    }
}

/// A thief of `victim`'s keys proposes an Update in its name, and `by` commits it: everybody can follow but `victim`,
/// which has not the new private key.
fn commit_stolen_update(world: &mut World, victim: usize, by: usize) {
    let head = world.peers[by].group().head().clone();
    let mut rng = world.rng.clone();
    let thief = Insider::read(&world.peers[victim].store, &group_id(), &head).expect("the head");
    let own = LeafTemplate::of(thief.epoch.leaf(thief.epoch.own_leaf()).expect("a leaf"));
    let sealed = thief.epoch.seal_update(&own, None, &Sending::default(), &mut rng).expect("an Update");
    let bytes = thief.wrap(sealed.message);
    let index = world.publish(victim, bytes.clone());
    world.peers[victim].seen.remove(&index);
    assert_eq!(world.inject(by, &bytes), Disposition::Applied);
    let insider = Insider::read(&world.peers[by].store, &group_id(), &head).expect("the head");
    let mut evaluate = |conf: &Secret, context: &GroupContext| {
        insider.init.evaluate(&child_init_input(insider.epoch.suite(), conf, context)?)
    };
    let mut request = CommitRequest::new(&NoPsks, &DefaultPolicy);
    request.references = insider.epoch.proposals().keys().cloned().collect();
    request.meta = Some(DmlsMeta::default());
    let created = insider.epoch.create_commit(&request, InitSource::Dmls(&mut evaluate), &mut rng);
    let bytes = insider.wrap(created.expect("a commit").message);
    let index = world.publish(by, bytes);
    // The committer's own state does not know its commit either: it falls out as well.
    world.peers[by].seen.remove(&index);
    world.rng = rng;
}

#[test]
fn of_many_whoever_cannot_enter_a_commit_comes_back() {
    let mut world = formed(11, 5, false);
    let leaf = world.peers[0].leaf_of(&world.peers[3].client).expect("a member");
    commit_stolen_update(&mut world, 3, 4);
    world.run(90_000);
    assert!(was_outside(&world, 3) && was_outside(&world, 4));
    assert!(!was_outside(&world, 0) && !was_outside(&world, 1) && !was_outside(&world, 2));
    assert_together(&world, &[0, 1, 2, 3, 4], 5);
    for other in [0, 1, 2, 4] {
        assert_talking(&mut world, 3, other);
    }
    let rejoined = |event: &Event| {
        match event {
        Event::Epoch { operations, .. } => operations
            .iter()
            .any(|o| matches!(o, Operation::Rejoin { from, to } if from.leaf == leaf && to.fingerprint == from.fingerprint)),
        _ => false,
    }
    };
    assert!(world.peers[0].events.iter().any(rejoined), "the others are told that it is the same one");
}

#[test]
fn a_sole_admin_comes_back_through_a_member_who_is_none() {
    let mut world = formed(12, 3, true);
    out_and_back(&mut world, 0, 1);
    assert!(was_outside(&world, 0));
    assert_together(&world, &[0, 1, 2], 3);
    assert_talking(&mut world, 0, 2);
    // It is the admin still, and the others are not.
    let mut rng = world.rng.clone();
    assert!(world.peers[1].group().remove(LeafIndex(2), world.now, &mut rng).is_err());
    world.remove(0, 2);
    world.run(60_000);
    assert_eq!(standing(&world, 2), Standing::Removed);
    assert_together(&world, &[0, 1], 2);
}

#[test]
fn failures_and_restarts_at_every_step_make_no_difference() {
    let run = |prepare: fn(&mut World)| {
        let mut world = formed(13, 3, false);
        prepare(&mut world);
        out_and_back(&mut world, 2, 0);
        assert_together(&world, &[0, 1, 2], 3);
        assert_talking(&mut world, 2, 1);
        world
    };
    let outcome = |world: &World| -> Vec<(Vec<u8>, Vec<Event>)> {
        world.peers.iter().map(|peer| (stored_bytes(&peer.store), peer.events.clone())).collect()
    };
    let calm = run(|_| {});
    let failing = run(|world| world.ordeal.failing_store = true);
    let killed = run(|world| world.ordeal.restart = true);
    assert!(failing.ordeal.failures > 20 && killed.ordeal.restarts > 50);
    assert!(outcome(&calm) == outcome(&failing), "after failures");
    assert!(outcome(&calm) == outcome(&killed), "after restarts");
}

#[test]
fn whoever_rejoins_has_no_vote_above() {
    let mut world = formed(14, 4, false);
    let fork = world.peers[0].group().head().clone();
    out_and_back(&mut world, 3, 0);
    assert_together(&world, &[0, 1, 2, 3], 4);
    for place in 0..3 {
        let history = world.peers[place].group().history();
        let at = history.epochs.iter().find(|epoch| epoch.id == fork).expect("the fork point");
        let decision = at.fork.as_ref().expect("a child");
        // It named the child while it was out; what it says below, as somebody new, adds nothing.
        let below = history.epochs.iter().find(|epoch| {
            epoch.parent.as_ref().is_some_and(|p| {
                history.epochs.iter().any(|e| e.id == *p && e.parent.as_ref() == Some(&fork))
            })
        });
        let second = below.and_then(|epoch| epoch.parent.clone()).expect("the second rejoin");
        let second = history.epochs.iter().find(|epoch| epoch.id == second).and_then(|e| e.fork.clone());
        let second = second.expect("a child");
        assert_eq!((second.electors, second.silent, second.children[0].weight), (4, 1, 3), "client {place}");
        assert!(decision.children[0].weight >= 3);
    }
}

#[test]
fn on_each_of_two_sides_a_rejoin_is_committed_and_one_stays() {
    for seed in 21..=24 {
        let mut world = formed(seed, 5, false);
        let lost = lost_request(&mut world, 4, &group_id());
        world.cut(&[0, 0, 1, 1, 2]);
        assert_eq!(offer(&mut world, 0, &lost), Disposition::Applied);
        assert_eq!(offer(&mut world, 3, &lost), Disposition::Applied);
        world.run(60_000);
        assert_eq!((rejoins(&world, 0), rejoins(&world, 3)), (1, 1), "seed {seed}");
        assert_ne!(world.peers[0].group().head(), world.peers[3].group().head());
        world.heal();
        world.run(900_000);
        assert_together(&world, &[0, 1, 2, 3, 4], 5);
        assert_talking(&mut world, 4, 0);
        assert_talking(&mut world, 3, 4);
    }
}
