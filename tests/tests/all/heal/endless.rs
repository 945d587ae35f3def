//! Nobody commits twice for the same reason without anything having changed: once everything is delivered, the head
//! stands still, whatever somebody has put in its way.

use dmls_core::codec::encode;
use dmls_core::framing::{Content, KeyPackageBuilder, MlsMessage, Proposal, Update};
use dmls_core::group::{Disposition, Input};
use dmls_core::tree::{LeafNodeSource, LeafPosition, LeafTemplate, Lifetime};
use dmls_tests::oracle::assert_one_head;
use dmls_tests::{Insider, World};

use super::{has, merges, unhealed, world};

const HOUR_MS: u64 = 3_600_000;

fn number(world: &World) -> u64 {
    world.peers[0].group().view().expect("a head").number
}

/// For an hour nobody commits.
fn assert_at_rest(world: &mut World, places: &[usize]) {
    assert_one_head(world, places);
    let before = number(world);
    world.run(HOUR_MS);
    assert_one_head(world, places);
    assert_eq!(number(world), before, "somebody has committed though nothing has changed");
}

fn in_head(world: &World, place: usize) -> Insider {
    let group = world.peers[place].group();
    Insider::read(&world.peers[place].store, group.id(), group.head()).expect("a head")
}

/// A key package of a client, which supports what the group requires or does not.
fn key_package(world: &mut World, of: &Insider, capable: bool) -> Vec<u8> {
    let mut template = LeafTemplate::of(of.epoch.leaf(of.epoch.own_leaf()).expect("a leaf"));
    if !capable {
        template.capabilities.extensions.clear();
        template.capabilities.proposals.clear();
    }
    template.extensions = Default::default();
    let lifetime = Lifetime { not_before: 0, not_after: world.now / 1000 + 80_000_000 };
    let builder = KeyPackageBuilder::new(of.epoch.suite(), template, of.epoch.signature_private().clone());
    let bundle = builder.lifetime(lifetime).build(&mut world.rng).expect("a key package");
    encode(&MlsMessage::from(bundle.key_package)).expect("bytes")
}

/// The losing side has invited 4 and 5, who have been put off and are away.
fn put_off(seed: u64) -> (World, [Insider; 2]) {
    let mut world = world(seed, 4, 6);
    world.cut(&[0, 0, 0, 1, 1, 1]);
    world.invite(3, &[4, 5]);
    world.refresh(0);
    world.run(30_000);
    let guests = [in_head(&world, 4), in_head(&world, 5)];
    world.cut(&[0, 0, 0, 0, 2, 2]);
    world.run(60_000);
    assert_one_head(&world, &[0, 1, 2, 3]);
    assert!(!has(&world, 0, 4) && !has(&world, 0, 5));
    (world, guests)
}

fn offer(world: &mut World, bytes: &[u8]) {
    for place in 0..4 {
        let step = world.peers[place].group().handle(Input::KeyPackage(bytes), world.now, &mut world.rng);
        assert_eq!(world.take_step(place, step), Some(Disposition::Applied));
    }
}

#[test]
fn a_key_package_that_fits_no_commit_makes_none() {
    for capable in [false, true] {
        let (mut world, [guest, _]) = put_off(1);
        let before = number(&world);
        let offered = key_package(&mut world, &guest, capable);
        offer(&mut world, &offered);
        world.run(60_000);
        assert_eq!((has(&world, 0, 4), number(&world) - before), (capable, u64::from(capable)));
        assert_at_rest(&mut world, &[0, 1, 2, 3]);
    }
}

#[test]
fn nor_does_it_keep_out_another() {
    let (mut world, [one, other]) = put_off(2);
    let (bad, good) = (key_package(&mut world, &one, false), key_package(&mut world, &other, true));
    offer(&mut world, &bad);
    offer(&mut world, &good);
    world.run(60_000);
    assert!(!has(&world, 0, 4) && has(&world, 0, 5));
    let deferred: Vec<usize> = merges(&world, 0).iter().map(|(_, _, deferred)| *deferred).collect();
    assert_eq!(deferred, [2, 1], "who is put off stays so");
    assert_at_rest(&mut world, &[0, 1, 2, 3]);
}

/// 3 and 4 owe a refresh, have had no time to pay, and are away.
fn in_debt(seed: u64) -> World {
    let mut world = world(seed, 5, 5);
    world.cut(&[0, 0, 0, 1, 1]);
    world.refresh(1);
    world.refresh(3);
    world.run(9_000);
    world.refresh(4);
    world.run(9_000);
    world.heal();
    world.spread();
    assert_eq!(unhealed(&world, 0).len(), 2);
    world.cut(&[0, 0, 0, 1, 1]);
    world
}

/// An Update of a member goes to 0, 1 and 2: with a key of its own, or with that of member 0.
fn update(world: &mut World, of: usize, good: bool) {
    let insider = in_head(world, of);
    let leaf = insider.epoch.own_leaf();
    let template = LeafTemplate::of(insider.epoch.leaf(leaf).expect("a leaf"));
    let group_id = insider.epoch.context().group_id.clone();
    let position = LeafPosition { group_id: group_id.as_slice(), leaf_index: leaf };
    let (suite, signer) = (insider.epoch.suite(), insider.epoch.signature_private());
    let leaf_node = if good {
        template.update(suite, position, signer, &mut world.rng).expect("a leaf").0
    } else {
        let used = world.peers[0].leaf_of(&world.peers[0].client).expect("a member");
        let used = insider.epoch.leaf(used).expect("a leaf").encryption_key.clone();
        template.sign(suite, used, LeafNodeSource::Update, Some(position), signer).expect("a leaf")
    };
    let content = Content::Proposal(Proposal::Update(Update { leaf_node }));
    let bytes = insider.send(content, 0, &mut world.rng);
    for to in 0..3 {
        assert_eq!(world.inject(to, &bytes), Disposition::Applied);
    }
}

#[test]
fn an_update_that_fits_no_tree_makes_no_commit() {
    for good in [false, true] {
        let mut world = in_debt(10);
        let before = number(&world);
        update(&mut world, 3, good);
        world.run(60_000);
        let debts = if good { 1 } else { 2 };
        assert_eq!((unhealed(&world, 0).len(), number(&world) - before), (debts, u64::from(good)));
        assert_at_rest(&mut world, &[0, 1, 2]);
    }
}

#[test]
fn nor_does_it_hold_up_another() {
    let mut world = in_debt(11);
    let before = number(&world);
    update(&mut world, 3, false);
    update(&mut world, 4, true);
    world.run(60_000);
    assert_eq!((unhealed(&world, 0).len(), number(&world) - before), (1, 1));
    assert_at_rest(&mut world, &[0, 1, 2]);
}
