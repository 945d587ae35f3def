//! The bounds, by name and by number: what they delete, and what they must not.

use std::collections::BTreeSet;

use dmls_core::framing::{DmlsProfile, ProfileError};
use dmls_core::group::{Event, GroupOptions, Input, SplitView, Table};
use dmls_core::schedule::EpochId;
use dmls_tests::{World, stored_records};

use super::{deleted, formed, goes_on};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;

#[test]
fn profiles_have_names() {
    let numbers = |name: &str| {
        let profile = DmlsProfile::named(name).expect("a known name");
        assert_eq!(profile.name(), Some(name));
        (profile.max_behind, profile.max_retained, profile.max_age_seconds, profile.max_bytes)
    };
    assert_eq!(numbers("default"), (32, 64, 7 * 24 * 3600, 32 << 20));
    assert_eq!(numbers("high-fs"), (8, 16, 3600, 32 << 20));
    assert_eq!(numbers("partition"), (256, 512, 7 * 24 * 3600, 32 << 20));
    assert_eq!(DmlsProfile::named("default").expect("a name"), DmlsProfile::default());
    let unknown = DmlsProfile::named("high_fs").expect_err("no such name");
    assert_eq!(unknown, ProfileError::UnknownName("high_fs".into()));
    let says =
        "There is no retention profile called `high_fs`; there are `default`, `high-fs` and `partition`.";
    assert_eq!(unknown.to_string(), says);
    let own = DmlsProfile { max_behind: 9, ..DmlsProfile::default() };
    assert_eq!(own.name(), None);
}

#[test]
fn a_device_may_keep_less_than_its_group_and_not_more() {
    let mut world = World::new(27, 2);
    let id = dmls_core::group::GroupId(b"another".to_vec().into());
    let options = |name: &str| GroupOptions { profile: Some(name.into()), ..GroupOptions::default() };
    let (now, mut rng) = (world.now, world.rng.clone());
    let mut create = |device: &str, group: &str| {
        let profile = DmlsProfile::named(group).expect("a profile");
        let created =
            world.peers[0].client.create_group(id.clone(), &profile, &options(device), now, &mut rng);
        created.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(create("high-fs", "partition"), Ok(()));
    assert_eq!(create("default", "default"), Ok(()));
    let wide = "This device wants to keep 256 epochs behind the head, and the group allows 32.";
    assert_eq!(create("partition", "default"), Err(wide.into()));
    let long = "This device wants to keep 32 epochs behind the head, and the group allows 8.";
    assert_eq!(create("default", "high-fs"), Err(long.into()));
    assert!(create("deafult", "default").expect_err("no such name").contains("no retention profile"));
    // The same where it is invited, and nothing is used up by it.
    world.create(DmlsProfile::default());
    let key_package = world.key_package(1);
    let (now, mut rng) = (world.now, world.rng.clone());
    let step = world.peers[0].group().invite(&[key_package], now, &mut rng).expect("an invitation");
    let welcome = step.effects.iter().find_map(|effect| match effect {
        dmls_core::group::Effect::Welcome { bytes, .. } => Some(bytes.clone()),
        _ => None,
    });
    let welcome = welcome.expect("a Welcome");
    let mut join = |device: &str| {
        let peer = &world.peers[1];
        let joined = peer.client.join(&peer.store, &welcome, &options(device), now, &mut rng);
        joined.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(join("partition"), Err(wide.into()));
    assert_eq!(join("high-fs"), Ok(()));
}

#[test]
fn a_device_that_keeps_less_follows_all_the_same() {
    let mut world = formed(28, 3, DmlsProfile::default());
    world.options.profile = Some("high-fs".into());
    world.restart(1);
    world.cut(&[0, 0, 1]);
    for round in 0..12 {
        world.refresh(round % 2);
        world.run(8_000);
    }
    let retained = |world: &World, place: usize| world.peers[place].group().view().expect("a view").retained;
    assert!(retained(&world, 1) <= 9 && retained(&world, 0) > 12);
    world.heal();
    world.run(MINUTE);
    assert_eq!(heads(&world).len(), 1);
}

/// Bytes of the stored records of secret tables, as a host would encode them.
fn secret_bytes(world: &World, place: usize) -> u64 {
    let records = stored_records(&world.peers[place].store);
    let epochs = [Table::Epochs, Table::Inits, Table::Ratchets, Table::NodeKeys];
    records.iter().filter(|(key, _)| epochs.contains(&key.table)).map(|(_, bytes)| bytes.len() as u64).sum()
}

fn heads(world: &World) -> BTreeSet<EpochId> {
    world.peers.iter().map(|peer| peer.group().head().clone()).collect()
}

fn splits(world: &World, place: usize) -> Vec<SplitView> {
    let split = |event: &Event| match event {
        Event::Split { split } => Some(split.clone()),
        _ => None,
    };
    world.peers[place].events.iter().filter_map(split).collect()
}

fn names(world: &World, members: &[dmls_core::history::Member]) -> Vec<usize> {
    let place = |fingerprint| world.peers.iter().position(|peer| peer.client.fingerprint() == fingerprint);
    members.iter().map(|member| place(member.fingerprint).expect("a member")).collect()
}

#[test]
fn a_count_deletes_nothing_of_the_smaller_side_of_a_cut() {
    let profile = DmlsProfile { max_behind: 4, max_retained: 6, ..DmlsProfile::default() };
    let mut world = formed(21, 5, profile);
    let fork = world.peers[0].group().head().clone();
    world.cut(&[0, 0, 0, 1, 1]);
    for round in 0..8 {
        world.refresh(round % 3);
        world.refresh(3 + round % 2);
        world.send(3, "from the smaller side");
        world.run(8_000);
    }
    let known = |world: &World, place: usize| {
        world.peers[place].group().history().epochs.iter().any(|epoch| epoch.id == fork)
    };
    for place in 0..3 {
        let view = world.peers[place].group().view().expect("a view");
        assert!(view.retained <= 6 && !known(&world, place), "member {place}: {}", view.retained);
    }
    for place in 3..5 {
        let view = world.peers[place].group().view().expect("a view");
        assert!(view.retained > 8 && known(&world, place), "member {place}: {}", view.retained);
    }
    // The larger side has deleted the fork point; from its log the smaller one comes over.
    let larger = world.peers[0].group().head().clone();
    world.heal();
    world.run(2 * MINUTE);
    assert_eq!(heads(&world).len(), 1);
    assert!(world.peers[3].group().history().epochs.iter().any(|epoch| epoch.id == larger && epoch.on_head));
    // And then the count holds for it as well.
    assert!(world.peers[3].group().view().expect("a view").retained <= 6 && !known(&world, 3));
    assert_eq!((splits(&world, 0).len(), splits(&world, 3).len()), (0, 0));
}

#[test]
fn the_bytes_hold_whatever_is_decided() {
    let run = |max_bytes: u64| {
        let profile = DmlsProfile { max_bytes, ..DmlsProfile::default() };
        let mut world = formed(22, 5, profile);
        world.cut(&[0, 0, 1, 1, 2]);
        let mut most = (0, 0);
        for round in 0..12 {
            world.refresh(round % 2);
            world.refresh(2 + round % 2);
            world.refresh(4);
            world.run(10_000);
            if round % 4 == 3 {
                world.heal();
                world.run(5_000);
                world.cut(&[0, 0, 1, 1, 2]);
            }
            for place in 0..5 {
                let group = world.peers[place].group();
                let view = group.view().expect("a view");
                let all: u64 = view.epochs.iter().map(|epoch| epoch.bytes).sum();
                assert_eq!(view.retained_bytes, all);
                most = (most.0.max(view.retained_bytes), most.1.max(secret_bytes(&world, place)));
            }
        }
        most
    };
    let free = run(32 << 20);
    let bound = run(60_000);
    println!("at most {free:?} bytes counted and stored without a bound, {bound:?} with one of 60000");
    assert!(free.0 > 120_000, "control: {free:?}");
    assert!(bound.0 <= 60_000, "{bound:?}");
    // What is counted is what is stored, but for the records' own fields, which hold no secret.
    assert!(free.1 < 2 * free.0 && bound.1 < 2 * bound.0, "{free:?} {bound:?}");
}

/// Four members, cut in halves for so many days; a commit on either side.
fn cut_for(seed: u64, days: u64) -> (World, EpochId) {
    let mut world = formed(seed, 4, DmlsProfile::default());
    world.options.reconciled_for_ms = DAY / 4;
    world.options.refresh_after_ms = 0;
    for place in 0..4 {
        world.restart(place);
    }
    let fork = world.peers[0].group().head().clone();
    world.cut(&[0, 0, 1, 1]);
    for round in 0..2 {
        world.refresh(round);
        world.refresh(2 + round);
        world.run(MINUTE);
    }
    world.run(days * DAY);
    (world, fork)
}

#[test]
fn a_cut_that_outlives_retention_is_reported_once() {
    let (mut world, fork) = cut_for(23, 9);
    for (place, others) in [(0, [2, 3]), (1, [2, 3]), (2, [0, 1]), (3, [0, 1])] {
        let told = splits(&world, place);
        assert_eq!(told.len(), 1, "member {place} is told once, though several epochs went");
        assert_eq!(told[0].at, fork);
        assert_eq!(names(&world, &told[0].silent), others, "member {place}: who has not been heard");
        let view = world.peers[place].group().view().expect("a view");
        assert_eq!(view.split.as_ref(), told.first());
        world.restart(place);
        assert_eq!(world.peers[place].group().view().expect("a view").split, view.split);
    }
    // Now the two sides cannot come together by themselves.
    world.heal();
    world.run(10 * MINUTE);
    assert_eq!(heads(&world).len(), 2);
    // People have chosen: the first side goes on without the others, and that ends the split for it.
    for other in [2, 3] {
        world.remove(0, other);
        world.run(MINUTE);
    }
    for place in [0, 1] {
        assert_eq!(world.peers[place].group().view().expect("a view").split, None, "member {place}");
        assert_eq!(splits(&world, place).len(), 1);
    }
}

#[test]
fn a_cut_within_retention_is_no_split() {
    let (mut world, _) = cut_for(23, 6);
    world.heal();
    world.run(10 * MINUTE);
    assert_eq!(heads(&world).len(), 1);
    assert!((0..4).all(|place| splits(&world, place).is_empty()));
}

#[test]
fn a_split_names_who_is_known_to_be_elsewhere() {
    // The two sides hear each other once, and then not again until all is deleted.
    let mut world = formed(24, 5, DmlsProfile { max_age_seconds: 600, ..DmlsProfile::default() });
    let fork = world.peers[0].group().head().clone();
    world.cut(&[0, 0, 1, 1, 2]);
    world.refresh(0);
    world.refresh(2);
    world.run(20_000);
    // Member 2's commit comes across, nothing else does.
    let commit = world.peers[2].group().history().epochs.into_iter().find(|epoch| epoch.parent.is_some());
    let commit = commit.and_then(|epoch| epoch.commit).expect("a commit of the other side");
    for index in 0..world.sent() {
        if world.author(index) == 2 && !world.peers[0].seen.contains_key(&index) {
            world.deliver(index, 0);
        }
    }
    world.run(12 * MINUTE);
    let told = splits(&world, 0);
    assert_eq!((told.len(), &told[0].at), (1, &fork));
    let sides: Vec<_> =
        told[0].sides.iter().map(|side| (side.commit.clone(), names(&world, &side.members))).collect();
    assert_eq!(sides, [(commit, vec![2])], "the side that is known");
    assert_eq!(names(&world, &told[0].silent), [3, 4], "who may be anywhere");
}

#[test]
fn high_fs_keeps_an_hour_and_eight_epochs() {
    let mut world = formed(25, 3, DmlsProfile::named("high-fs").expect("a profile"));
    world.cut(&[0, 0, 1]);
    for round in 0..12 {
        world.refresh(round % 2);
        world.run(8_000);
        let view = world.peers[0].group().view().expect("a view");
        assert!(view.retained <= 9, "{}", view.retained);
    }
    let before = deleted(&world.peers[0].events);
    world.run(62 * MINUTE);
    let view = world.peers[0].group().view().expect("a view");
    assert_eq!(view.retained, 1, "after an hour only the head is left");
    assert_eq!(deleted(&world.peers[0].events), before + 8);
    // The member who was away comes back by the log.
    world.heal();
    world.run(MINUTE);
    assert_eq!(heads(&world).len(), 1);
}

#[test]
fn nothing_goes_by_age_before_it_has_caught_up() {
    let mut world = formed(26, 3, DmlsProfile::named("high-fs").expect("a profile"));
    world.cut(&[0, 0, 1]);
    world.refresh(0);
    world.run(MINUTE);
    let asleep = world.peers[1].group().clone();
    let retained = asleep.view().expect("a view").retained;
    let (mut awake, _) = goes_on(&asleep, Input::Tick, world.now + DAY);
    assert_eq!(awake.view().expect("a view").retained, retained);
    for minute in 0..62 {
        awake = goes_on(&awake, Input::Reconciled, world.now + DAY + minute * MINUTE).0;
    }
    assert_eq!(awake.view().expect("a view").retained, 1, "control: reconciled for an hour");
}
