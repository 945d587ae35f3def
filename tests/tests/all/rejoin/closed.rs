//! `closed` notices that nobody should believe, or that should not keep others from telling the truth.

use dmls_core::codec::encode;
use dmls_core::framing::{ApplicationData, Content, DmlsNotice, Heads};
use dmls_core::group::Event;
use dmls_core::schedule::EpochId;
use dmls_tests::Insider;

use super::*;

/// A member says in an epoch that another one is left for a commit that nobody knows.
fn say_closed(world: &mut World, by: usize, at: &EpochId, generation: u32) {
    let insider = Insider::read(&world.peers[by].store, &group_id(), at).expect("the epoch");
    let notice = DmlsNotice::Closed { winner: vec![7; 32].into() };
    let data = ApplicationData::notice(generation, Heads::default(), notice);
    let mut rng = world.rng.clone();
    let content = Content::Application(encode(&data).expect("bytes").into());
    let bytes = insider.send(content, generation, &mut rng);
    world.rng = rng;
    let index = world.publish(by, bytes);
    world.peers[by].seen.insert(index, Disposition::Applied);
}

fn asked(world: &World) -> usize {
    world.peers.iter().map(|peer| peer.requests.len()).sum()
}

fn joins(world: &World, place: usize) -> usize {
    world.peers[place].events.iter().filter(|event| matches!(event, Event::Joined { .. })).count()
}

#[test]
fn whoever_was_removed_is_not_believed() {
    let mut world = formed(911, 6, false);
    let before = world.peers[0].group().head().clone();
    world.remove(0, 5);
    world.run(60_000);
    say_closed(&mut world, 5, &before, 0);
    world.run(60_000);
    assert_eq!(asked(&world), 0);
    world.refresh(0);
    world.run(1_800_000);
    assert_together(&world, &[0, 1, 2, 3, 4], 5);
    assert_eq!((asked(&world), rejoins(&world, 0)), (0, 0));
    assert!((0..5).all(|place| joins(&world, place) == 1));
}

#[test]
fn a_member_who_lies_makes_nobody_rejoin_who_is_heard_in_the_head() {
    let mut world = formed(912, 6, false);
    let head = world.peers[0].group().head().clone();
    say_closed(&mut world, 5, &head, 0);
    world.run(5_000);
    // Control: those who came in by a Welcome, and have nothing above it, cannot know better. They ask, one after another.
    assert_eq!(asked(&world), 4, "neither the founder nor who says so");
    // The head goes on, and all say something in it before anybody has its turn.
    world.act(0, |group, now, rng| group.refresh(now, rng).expect("a commit"));
    world.spread();
    for place in 1..6 {
        world.send(place, "here");
    }
    world.run(60_000);
    assert_eq!(rejoins(&world, 0), 0);
    assert_together(&world, &[0, 1, 2, 3, 4, 5], 6);
    let offers = world.peers[0].store.records().filter(|(key, _)| key.table == Table::Offers).count();
    assert_eq!(offers, 0, "what is needless is dropped");
}

#[test]
fn once_the_epoch_is_closed_nobody_asks() {
    let mut world = formed(913, 4, false);
    world.refresh(0);
    world.run(1_800_000);
    world.refresh(1);
    world.run(1_800_000);
    let head = world.peers[0].group().head().clone();
    say_closed(&mut world, 3, &head, 0);
    world.run(60_000);
    assert_eq!(asked(&world), 0);
}

#[test]
fn a_lie_does_not_keep_others_from_saying_where_they_have_gone() {
    // 3 and 4 invite 5 on their side, where somebody says that it has lost, to a commit that is nowhere. Then the sides
    // meet, and 5 has to be told of the commit that has really won.
    let run = |lie: bool| {
        let mut world = World::new(914, 6);
        world.create(DmlsProfile::default());
        world.invite(0, &[1, 2, 3, 4]);
        world.run(60_000);
        world.cut(&[0, 0, 0, 1, 1, 1]);
        world.refresh(0);
        world.invite(3, &[5]);
        world.run(20_000);
        let tip = world.peers[4].group().head().clone();
        if lie {
            say_closed(&mut world, 4, &tip, 0);
            world.run(20_000);
        }
        world.heal();
        // Whoever asked on the side that lost may be added anew where the others are; and asks again if it misses the
        // Welcome, after ten minutes.
        world.run(if lie { 1_500_000 } else { 180_000 });
        assert_together(&world, &[0, 1, 2, 3, 4, 5], 6);
        world
    };
    for lie in [false, true] {
        let mut world = run(lie);
        assert_talking(&mut world, 5, 0);
        assert!(joins(&world, 5) >= 2);
    }
}
