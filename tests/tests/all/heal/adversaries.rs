//! Merges that are not what they should be: reported, followed up, and never a reason to refuse a commit.

use dmls_core::framing::{DmlsMeta, Merge, Proposal, Remove};
use dmls_core::group::{Disposition, Event};
use dmls_core::schedule::{CommitId, EpochId};
use dmls_tests::oracle::assert_one_head;
use dmls_tests::{Insider, World};

use super::{assert_quiet, has, mismatches, world};

/// 0 to 3 stand against 4 and 5, who have removed 1 and 2; everybody has just heard of it.
fn healed_just_now(seed: u64) -> World {
    let mut world = world(seed, 6, 6);
    world.cut(&[0, 0, 0, 0, 1, 1]);
    world.refresh(0);
    world.remove(4, 1);
    world.run(20_000);
    world.remove(5, 2);
    world.run(20_000);
    world.heal();
    world.spread();
    assert!((0..6).all(|place| has(&world, place, 1) && has(&world, place, 2)));
    world
}

/// The fork point and the tip of the losing branch, as a member of the head sees them.
fn branch(world: &World) -> (EpochId, CommitId) {
    let history = world.peers[0].group().history();
    let fork = history.epochs.iter().find(|epoch| epoch.fork.as_ref().is_some_and(|f| f.children.len() == 2));
    let tip = history.epochs.iter().filter(|epoch| !epoch.on_head).max_by_key(|epoch| epoch.number);
    let tip = tip.and_then(|tip| tip.commit.clone()).expect("a losing branch");
    (fork.expect("a fork").id.clone(), tip)
}

/// Member 3 commits a merge of its own making, which goes to everybody.
fn forge(world: &mut World, removed: &[usize], change: impl FnOnce(&mut Merge)) {
    let (fork, tip) = branch(world);
    let group = world.peers[3].group();
    let insider = Insider::read(&world.peers[3].store, group.id(), group.head()).expect("a head");
    let leaf = |place: &usize| world.peers[3].leaf_of(&world.peers[*place].client).expect("a member");
    let removes = removed.iter().map(|place| Proposal::Remove(Remove { removed: leaf(place) })).collect();
    let mut merge = Merge {
        fork_epoch: fork.0,
        tips: vec![tip.0],
        carried_hash: right_hash(world),
        deferred: Vec::new(),
        healed: Vec::new(),
    };
    change(&mut merge);
    let meta = DmlsMeta { merge: Some(merge), ..DmlsMeta::default() };
    let created = insider.commit_saying(removes, meta, &mut world.rng);
    let bytes = insider.wrap(created.message);
    for to in (0..6).filter(|to| *to != 3) {
        assert_eq!(
            world.inject(to, &bytes),
            Disposition::Applied,
            "a merge is never refused for what it carries"
        );
    }
    world.publish(3, bytes.clone());
    // Whoever made it has made it on a copy of its state: this one is as surprised as the others.
    assert_eq!(world.inject(3, &bytes), Disposition::Applied);
}

/// The carried hash of the merge that an honest member would make now.
fn right_hash(world: &World) -> dmls_core::codec::Bytes {
    let mut copy = world.clone();
    copy.run(20_000);
    let history = copy.peers[0].group().history();
    let own = |event: &Event| match event {
        Event::Merged { epoch, .. } => Some(epoch.clone()),
        _ => None,
    };
    let merged = copy.peers[0].events.iter().find_map(own).expect("a merge");
    let parent = history.epochs.iter().find(|epoch| epoch.id == merged).and_then(|e| e.parent.clone());
    let store = &copy.peers[0].store;
    let insider = Insider::read(store, copy.peers[0].group().id(), &parent.expect("a parent")).expect("keys");
    let merge = (0..copy.sent()).find_map(|index| {
        let commit = insider.stage(copy.bytes(index))?;
        commit.meta().and_then(|meta| meta.merge.clone())
    });
    merge.expect("a merge").carried_hash
}

fn mismatch(world: &World, place: usize) -> Option<(usize, usize)> {
    world.peers[place].events.iter().find_map(|event| match event {
        Event::MergeMismatch { missing, extra, .. } => Some((missing.len(), extra.len())),
        _ => None,
    })
}

#[test]
fn a_right_merge_by_hand_is_right() {
    let mut world = healed_just_now(1);
    forge(&mut world, &[1, 2], |_| {});
    assert_eq!(mismatches(&world), 0);
    world.run(120_000);
    assert_quiet(&world, &[0, 4, 5]);
}

#[test]
fn an_incomplete_merge_is_reported_and_followed_up() {
    let mut world = healed_just_now(1);
    forge(&mut world, &[1], |_| {});
    for place in [0, 4, 5] {
        assert_eq!(mismatch(&world, place), Some((1, 0)), "member {place}");
        assert!(has(&world, place, 2));
    }
    world.run(120_000);
    assert_one_head(&world, &[0, 4, 5]);
    assert!(!has(&world, 0, 1) && !has(&world, 0, 2), "the follow-up has carried the other removal");
}

#[test]
fn a_merge_that_carries_what_it_may_not_is_reported() {
    let mut world = healed_just_now(1);
    forge(&mut world, &[1, 2, 0], |_| {});
    for place in [4, 5] {
        assert_eq!(mismatch(&world, place), Some((0, 1)), "member {place}");
    }
    // Any member may remove another: that is what the merge did, whatever it called it.
    world.run(120_000);
    assert_one_head(&world, &[4, 5]);
    assert!(!has(&world, 4, 0));
}

#[test]
fn a_merge_with_another_hash_is_reported() {
    let mut world = healed_just_now(1);
    forge(&mut world, &[1, 2], |merge| merge.carried_hash = b"something else".to_vec().into());
    assert_eq!(mismatch(&world, 0), Some((0, 0)));
}

#[test]
fn of_unknown_tips_nothing_is_said() {
    let mut world = healed_just_now(1);
    forge(&mut world, &[1], |merge| merge.tips = vec![vec![7; 32].into()]);
    assert_eq!(mismatches(&world), 0);
    world.run(120_000);
    assert_one_head(&world, &[0, 4, 5]);
    assert!(!has(&world, 0, 2), "and nothing is taken as merged");
}
