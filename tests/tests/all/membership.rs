//! Who comes and goes, as the application is told: provisional, final, undone; each once.

use std::collections::{BTreeMap, BTreeSet};

use dmls_core::group::Event;
use dmls_core::history::Member;
use dmls_core::schedule::EpochId;
use dmls_tests::World;
use dmls_tests::oracle::assert_one_head;

/// What was told of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Provisional,
    Final,
    Undone,
}

/// What a client was told of each epoch that changes the roster, in order.
fn told(world: &World, place: usize) -> BTreeMap<EpochId, Vec<Told>> {
    let mut all: BTreeMap<EpochId, Vec<Told>> = BTreeMap::new();
    for event in &world.peers[place].events {
        let (epoch, told) = match event {
            Event::Membership { epoch, is_final: false, .. } => (epoch, Told::Provisional),
            Event::Membership { epoch, is_final: true, .. } => (epoch, Told::Final),
            Event::MembershipUndone { epoch, .. } => (epoch, Told::Undone),
            _ => continue,
        };
        all.entry(epoch.clone()).or_default().push(told);
    }
    all
}

fn names(members: impl IntoIterator<Item = Member>) -> BTreeSet<(u32, [u8; 32])> {
    members.into_iter().map(|member| (member.leaf.0, member.fingerprint)).collect()
}

/// The roster that follows from what a client was told since it began with `roster`.
fn followed(world: &World, place: usize, from: usize, roster: &mut BTreeSet<(u32, [u8; 32])>) {
    let mut in_effect = BTreeSet::new();
    for event in &world.peers[place].events[from..] {
        let (epoch, come, gone, done) = match event {
            Event::Membership { epoch, added, removed, .. } => (epoch, added, removed, true),
            Event::MembershipUndone { epoch, added, removed } => (epoch, removed, added, false),
            _ => continue,
        };
        // What becomes final was in effect before.
        let news = if done { in_effect.insert(epoch.clone()) } else { in_effect.remove(epoch) };
        if news {
            let gone = names(gone.clone());
            roster.retain(|member| !gone.contains(member));
            roster.extend(names(come.clone()));
        } else {
            assert!(done, "member {place}: what was not in effect cannot be undone");
        }
    }
}

#[test]
fn a_change_is_provisional_and_then_final() {
    let mut world = World::new(231, 5);
    world.ordeal.restart = true;
    world.create(Default::default());
    world.invite(0, &[1, 2, 3]);
    world.run(60_000);
    world.invite(1, &[4]);
    let added = world.peers[1].group().head().clone();
    world.spread();
    for place in [0, 2, 3] {
        assert_eq!(told(&world, place)[&added], [Told::Provisional], "member {place}");
    }
    world.run(60_000);
    let last = world.peers[0].leaf_of(&world.peers[4].client).expect("a member");
    for place in 0..4 {
        assert_eq!(told(&world, place)[&added], [Told::Provisional, Told::Final], "member {place}");
        let event = world.peers[place].events.iter().find_map(|event| match event {
            Event::Membership { epoch, added: who, removed, is_final: true } if *epoch == added => {
                Some((who.clone(), removed.clone()))
            }
            _ => None,
        });
        let (who, removed) = event.expect("a final change");
        assert_eq!((who.len(), removed.len()), (1, 0));
        assert_eq!((who[0].leaf, who[0].fingerprint), (last, world.peers[4].client.fingerprint()));
    }
    assert!(told(&world, 4).is_empty(), "the joiner's own coming is told as that");
    // Hours later nothing is told again, whatever was deleted meanwhile.
    world.refresh(2);
    world.run(3 * 3_600_000);
    for place in 0..4 {
        assert_eq!(told(&world, place)[&added], [Told::Provisional, Told::Final], "member {place}");
    }
    assert!(world.ordeal.restarts > 100);
}

#[test]
fn what_a_reorganisation_undoes_is_told_as_undone() {
    let mut world = World::new(232, 7);
    world.ordeal.restart = true;
    world.create(Default::default());
    world.invite(0, &[1, 2, 3, 4]);
    world.run(60_000);
    world.cut(&[0, 0, 0, 0, 1, 1, 0]);
    world.invite(4, &[5]);
    let lost = world.peers[4].group().head().clone();
    world.invite(0, &[6]);
    let won = world.peers[0].group().head().clone();
    world.run(30_000);
    assert_eq!(told(&world, 4)[&lost], [Told::Provisional]);
    world.heal();
    world.run(120_000);
    assert_one_head(&world, &[0, 1, 2, 3, 4, 6]);
    let fourth = told(&world, 4);
    assert_eq!(fourth[&lost], [Told::Provisional, Told::Undone]);
    // It may be final when member 4 comes over.
    assert!([&[Told::Provisional, Told::Final][..], &[Told::Final]].contains(&fourth[&won].as_slice()));
    for place in [0, 1, 2, 3] {
        let told = told(&world, place);
        assert!(!told.contains_key(&lost), "member {place} was never there");
        assert_eq!(told[&won], [Told::Provisional, Told::Final], "member {place}");
    }
}

#[test]
fn the_roster_follows_from_what_was_told() {
    for seed in 1..=6 {
        let mut world = World::new(240 + seed, 6);
        world.form();
        let from: Vec<usize> = world.peers.iter().map(|peer| peer.events.len()).collect();
        let view =
            |world: &World, place: usize| names(world.peers[place].group().view().expect("a head").members);
        let rosters: Vec<_> = (0..6).map(|place| view(&world, place)).collect();
        for round in 0..3 {
            let sides: Vec<usize> = (0..6).map(|_| world.below(2)).collect();
            world.cut(&sides);
            for by in 0..6 {
                let other = world.below(6);
                let act = world.below(3);
                let group = world.peers[by].group().clone();
                let leaf = world.peers[by].leaf_of(&world.peers[other].client);
                let step = match (act, leaf) {
                    (0, _) => group.refresh(world.now, &mut world.rng),
                    (1, Some(leaf)) if round > 0 && other != by => {
                        group.remove(leaf, world.now, &mut world.rng)
                    }
                    _ => continue,
                };
                if let Ok(step) = step {
                    world.take_step(by, step);
                }
                world.run(1_000);
            }
            world.run(20_000);
            world.heal();
            world.run(60_000);
        }
        for place in 0..6 {
            let mut roster = rosters[place].clone();
            followed(&world, place, from[place], &mut roster);
            assert_eq!(roster, view(&world, place), "seed {seed}, member {place}");
        }
    }
}
