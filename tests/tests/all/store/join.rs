//! Welcomes: a bad one leaves the key package where it is, a good one uses it up.

use dmls_core::codec::encode;
use dmls_core::epoch::WelcomeError;
use dmls_core::framing::{Add, MlsMessage, MlsMessageBody, Proposal, Welcome};
use dmls_core::group::{ActionError, Effect, JoinError, Step, Table};
use dmls_core::suite::CipherSuite;
use dmls_tests::{Insider, World, stored_records};

use super::group_id;

/// Client 0 has invited client 1; the Welcome has not been delivered.
fn invited(seed: u64) -> (World, Vec<u8>) {
    let mut world = World::new(seed, 3);
    world.create(Default::default());
    let package = world.key_package(1);
    let mut rng = world.rng.clone();
    let step = world.peers[0].group().invite(&[package], world.now, &mut rng).expect("an invitation");
    world.rng = rng;
    let welcome = welcome_of(&step);
    world.take_step(0, step);
    (world, welcome)
}

fn welcome_of(step: &Step) -> Vec<u8> {
    let found = step.effects.iter().find_map(|effect| match effect {
        Effect::Welcome { bytes, .. } => Some(bytes.clone()),
        _ => None,
    });
    found.expect("a Welcome")
}

fn join(world: &World, place: usize, welcome: &[u8]) -> Result<Step, JoinError> {
    let peer = &world.peers[place];
    let mut rng = world.rng.clone();
    peer.client.join(&peer.store, welcome, &world.options, world.now, &mut rng)
}

/// Joining fails, with the key package untouched.
fn refused(world: &World, place: usize, welcome: &[u8]) -> JoinError {
    let before = stored_records(&world.peers[place].store);
    let error = join(world, place, welcome).err().expect("a bad Welcome");
    assert!(stored_records(&world.peers[place].store) == before);
    error
}

fn key_packages(world: &World, place: usize) -> usize {
    world.peers[place].store.records().filter(|(key, _)| key.table == Table::KeyPackages).count()
}

fn reworked(welcome: &[u8], change: impl FnOnce(&mut Welcome)) -> Vec<u8> {
    let mut message = MlsMessage::from_bytes(welcome).expect("a message");
    let MlsMessageBody::Welcome(welcome) = &mut message.body else { panic!("a Welcome") };
    change(welcome);
    encode(&message).expect("bytes")
}

#[test]
fn bad_welcomes_cost_nothing_and_the_good_one_works() {
    let (mut world, welcome) = invited(131);
    assert_eq!(key_packages(&world, 1), 1);
    // For somebody else.
    assert_eq!(refused(&world, 2, &welcome), JoinError::NoKeyPackage);
    let strange = reworked(&welcome, |welcome| welcome.secrets[0].new_member = vec![1; 32].into());
    assert_eq!(refused(&world, 1, &strange), JoinError::NoKeyPackage);
    // Not a Welcome, or not one whole.
    let package = world.key_package(2);
    assert_eq!(refused(&world, 1, &package), JoinError::NotAWelcome);
    for len in [0, 1, 10, welcome.len() / 2, welcome.len() - 1] {
        assert!(matches!(refused(&world, 1, &welcome[..len]), JoinError::Codec(_)));
    }
    assert!(matches!(refused(&world, 1, &[&welcome[..], &[0]].concat()), JoinError::Codec(_)));
    // Tampered.
    let tampered = reworked(&welcome, |welcome| welcome.encrypted_group_info = vec![5; 200].into());
    assert_eq!(refused(&world, 1, &tampered), JoinError::Welcome(WelcomeError::GroupSecrets));
    let suite = reworked(&welcome, |welcome| welcome.cipher_suite = CipherSuite::P256_AES128GCM);
    assert_eq!(refused(&world, 1, &suite), JoinError::Welcome(WelcomeError::CipherSuite));
    for place in (0..welcome.len()).step_by(11) {
        let mut flipped = welcome.clone();
        flipped[place] ^= 0x10;
        refused(&world, 1, &flipped);
    }
    // The good one.
    let step = join(&world, 1, &welcome).expect("a good Welcome");
    let mut group = step.group.clone();
    step.commit(&mut world.peers[1].store, &mut group).expect("memory");
    world.peers[1].group = Some(group);
    assert_eq!(key_packages(&world, 1), 0);
    assert_eq!(world.peers[0].group().head(), world.peers[1].group().head());
    // Used: the key package is gone, and with it the Welcome.
    assert_eq!(refused(&world, 1, &welcome), JoinError::NoKeyPackage);
}

#[test]
fn a_failing_store_does_not_use_up_the_key_package() {
    let (mut world, welcome) = invited(132);
    let before = stored_records(&world.peers[1].store);
    let step = join(&world, 1, &welcome).expect("a good Welcome");
    let mut group = step.group.clone();
    world.peers[1].store.set_failing(true);
    assert!(step.commit(&mut world.peers[1].store, &mut group).is_err());
    world.peers[1].store.set_failing(false);
    assert!(stored_records(&world.peers[1].store) == before);
    let step = join(&world, 1, &welcome).expect("the same Welcome again");
    step.commit(&mut world.peers[1].store, &mut group).expect("memory");
    assert_eq!(key_packages(&world, 1), 0);
}

#[test]
fn a_member_does_not_join_again() {
    let (mut world, welcome) = invited(133);
    let step = join(&world, 1, &welcome).expect("a good Welcome");
    let mut group = step.group.clone();
    step.commit(&mut world.peers[1].store, &mut group).expect("memory");
    world.peers[1].group = Some(group);
    world.run(20_000);
    // Another client makes a group of the same name and invites client 1.
    let mut other = World::new(134, 2);
    other.create(Default::default());
    let package = world.key_package(1);
    let mut rng = other.rng.clone();
    let step = other.peers[0].group().invite(&[package], other.now, &mut rng).expect("an invitation");
    assert_eq!(refused(&world, 1, &welcome_of(&step)), JoinError::AlreadyMember);
    assert_eq!(key_packages(&world, 1), 1);
}

#[test]
fn who_was_removed_can_be_invited_again() {
    let mut world = World::new(138, 3);
    world.form();
    world.remove(0, 2);
    world.run(60_000);
    assert_ne!(world.peers[2].group().place(), &dmls_core::group::Place::Member);
    let left = world.peers[2].group().head().clone();
    let package = world.key_package(2);
    let mut rng = world.rng.clone();
    let step = world.peers[0].group().invite(&[package], world.now, &mut rng).expect("an invitation");
    world.rng = rng;
    let welcome = welcome_of(&step);
    world.take_step(0, step);
    let step = join(&world, 2, &welcome).expect("a good Welcome");
    let mut group = step.group.clone();
    step.commit(&mut world.peers[2].store, &mut group).expect("memory");
    world.peers[2].group = Some(group);
    world.restart(2);
    assert!(Insider::read(&world.peers[2].store, &group_id(), &left).is_none(), "the old epochs are gone");
    world.run(60_000);
    world.send(2, "back");
    world.send(1, "welcome back");
    world.spread();
    assert_eq!(world.peers[2].group().head(), world.peers[1].group().head());
    assert_eq!(world.peers[1].messages().last().expect("a message").1, b"back");
    assert_eq!(world.peers[2].messages().last().expect("a message").1, b"welcome back");
}

#[test]
fn bad_key_packages_are_not_added() {
    let (mut world, _) = invited(135);
    let good = world.key_package(2);
    let mut rng = world.rng.clone();
    let group = world.peers[0].group().clone();
    let mut add = |bytes: &[u8], now| group.invite(&[bytes.to_vec()], now, &mut rng).err();
    assert!(matches!(add(&good[..20], world.now), Some(ActionError::KeyPackageEncoding(_))));
    let mut tampered = good.clone();
    let last = tampered.len() - 1;
    tampered[last] ^= 1;
    assert!(matches!(add(&tampered, world.now), Some(ActionError::KeyPackage(_))));
    // Out of its lifetime, which binds who adds.
    let late = world.now + 100 * 24 * 3600 * 1000;
    assert!(matches!(add(&good, late), Some(ActionError::KeyPackage(_))));
    assert!(matches!(add(&good, 0), Some(ActionError::KeyPackage(_))));
    // Another suite.
    let other = World::with_suite(136, 1, CipherSuite::P256_AES128GCM).key_package(0);
    assert!(matches!(add(&other, world.now), Some(ActionError::KeyPackage(_))));
    assert_eq!(add(&good, world.now), None);
}

#[test]
fn key_packages_of_last_resort_are_not_accepted() {
    use dmls_core::framing::KeyPackageBuilder;
    use dmls_core::tree::{Credential, LeafTemplate};
    let mut world = World::new(137, 3);
    world.form();
    let head = world.peers[0].group().head().clone();
    let insider = Insider::read(&world.peers[0].store, &group_id(), &head).expect("the head");
    let suite = insider.epoch.suite();
    let mut rng = world.rng.clone();
    let own = insider.epoch.leaf(insider.epoch.own_leaf()).expect("a leaf");
    let build = |last_resort: bool, rng: &mut rand_chacha::ChaCha20Rng| {
        let (private, public) = suite.signature().generate(rng);
        let mut template = LeafTemplate::of(own);
        template.credential = Credential::self_certifying(&public, "newcomer").expect("a short name");
        let builder = KeyPackageBuilder::new(suite, template, private);
        let builder = builder.lifetime(dmls_core::tree::Lifetime { not_before: 0, not_after: u64::MAX });
        let builder = if last_resort { builder.last_resort() } else { builder };
        builder.build(rng).expect("a key package").key_package
    };
    let (last_resort, ordinary) = (build(true, &mut rng), build(false, &mut rng));
    let bytes = encode(&MlsMessage::from(last_resort.clone())).expect("bytes");
    let refused = world.peers[0].group().invite(&[bytes], world.now, &mut rng).err();
    assert!(matches!(refused, Some(ActionError::KeyPackage(_))), "{refused:?}");
    // Somebody commits it all the same: everybody else refuses.
    let add = |key_package| Proposal::Add(Add { key_package: Box::new(key_package) });
    let good = insider.commit(vec![add(ordinary)], &mut rng);
    let change = |commit: &mut dmls_core::framing::Commit| {
        let place = commit.proposals.iter().position(|proposal| {
            matches!(proposal, dmls_core::framing::ProposalOrRef::Proposal(Proposal::Add(_)))
        });
        commit.proposals[place.expect("an Add")] =
            dmls_core::framing::ProposalOrRef::Proposal(add(last_resort));
    };
    let forged = insider.forge(&good, change, 3, &mut rng);
    match world.inject(2, &forged) {
        dmls_core::group::Disposition::Rejected { rule } => assert!(rule.contains("last resort"), "{rule}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.inject(2, &insider.wrap(good.message)), dmls_core::group::Disposition::Applied);
}
