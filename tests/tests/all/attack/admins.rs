//! Under an admin list, only admins decide who is a member.

use dmls_core::framing::{
    Add, Content, DmlsProfile, KeyPackage, KeyPackageBuilder, MlsMessage, Proposal, ProposalOrRef, Remove,
};
use dmls_core::group::{ActionError, Client, ClientError, Disposition, Event};
use dmls_core::history::Operation;
use dmls_core::identity::{Authentication, AuthenticationService, Identity, IdentityError};
use dmls_core::suite::SignaturePublicKey;
use dmls_core::tree::{Credential, LeafIndex, LeafTemplate, Lifetime};
use dmls_tests::World;

use super::{group_id, in_head};
use crate::identity::{key_pair, replace};

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

/// The credentials of some members.
fn credentials(world: &World, places: &[usize]) -> Vec<Credential> {
    places.iter().map(|place| world.peers[*place].client.credential().clone()).collect()
}

fn set_admins(world: &mut World, by: usize, admins: &[usize]) {
    let admins = credentials(world, admins);
    world.act(by, |group, now, rng| group.set_admins(&admins, now, rng).expect("a commit"));
}

/// A key package under somebody's credential and a new key.
fn impostor(world: &mut World, of: &Credential) -> KeyPackage {
    let suite = world.peers[0].client.suite();
    let (key, _) = key_pair(world, suite);
    let own = in_head(world, 0);
    let own = own.epoch.leaf(own.epoch.own_leaf()).expect("a leaf");
    let template = LeafTemplate { credential: of.clone(), ..LeafTemplate::of(own) };
    let builder = KeyPackageBuilder::new(suite.suite().expect("a suite"), template, key);
    let lifetime = Lifetime { not_before: 0, not_after: u64::MAX };
    builder.lifetime(lifetime).build(&mut world.rng).expect("a key package").key_package
}

fn add(key_package: KeyPackage) -> Proposal {
    Proposal::Add(Add { key_package: Box::new(key_package) })
}

#[test]
fn nobody_joins_under_the_credential_of_an_admin() {
    let mut world = world(93);
    let admin = world.peers[0].client.credential().clone();
    let fake = impostor(&mut world, &admin);
    let mut rng = world.rng.clone();
    // An honest admin that is handed the key package.
    let bytes = MlsMessage::from(fake.clone()).to_bytes().expect("bytes");
    let refused = world.peers[0].group().invite(&[bytes], world.now, &mut rng).err();
    assert!(matches!(refused, Some(ActionError::Identity(IdentityError::Credential(_)))), "{refused:?}");
    // One that does not ask itself first.
    let insider = in_head(&world, 0);
    let honest = impostor(&mut world, &Credential::basic("m0"));
    let good = insider.commit(vec![add(honest)], &mut rng);
    let swap = |commit: &mut dmls_core::framing::Commit| {
        let is_add = |sent: &&mut ProposalOrRef| matches!(sent, ProposalOrRef::Proposal(Proposal::Add(_)));
        *commit.proposals.iter_mut().find(is_add).expect("an Add") =
            ProposalOrRef::Proposal(add(fake.clone()));
    };
    let forged = insider.forge(&good, swap, 5, &mut rng);
    for place in [1, 2, 3] {
        match world.inject(place, &forged) {
            Disposition::Rejected { rule } => assert!(rule.contains("of another signature key"), "{rule}"),
            other => panic!("{other:?}"),
        }
    }
    // Control: the same commit with a credential that claims no key is taken.
    assert_eq!(world.inject(1, &insider.wrap(good.message)), Disposition::Applied);
}

/// A service as it was before credentials certified themselves: a name is all that counts.
#[derive(Debug)]
struct ByName;

impl AuthenticationService for ByName {
    fn validate(
        &self,
        credential: &Credential,
        _: &SignaturePublicKey,
        _: u64,
    ) -> Result<Identity, IdentityError> {
        Ok(Identity { id: Default::default(), name: credential.display_name(), vouched: false })
    }

    fn is_same_client(&self, one: &Credential, other: &Credential) -> bool {
        one == other
    }
}

/// Members 1 and 0 have these credentials; 1 joins while the group is open, then 0 makes itself its only admin.
fn namesakes(seed: u64, credential: impl Fn(&SignaturePublicKey) -> Credential) -> World {
    let mut world = World::new(seed, 3);
    world.options.authentication = Authentication::by(ByName);
    let suite = world.peers[0].client.suite();
    for place in [0, 1] {
        let (key, public) = key_pair(&mut world, suite);
        replace(&mut world, place, credential(&public), key);
    }
    world.form();
    set_admins(&mut world, 0, &[0]);
    world.run(20_000);
    world
}

#[test]
fn a_namesake_of_an_admin_is_none() {
    let own = |public: &SignaturePublicKey| Credential::self_certifying(public, "ann").expect("short");
    let world = namesakes(94, own);
    let names: Vec<String> =
        world.peers[2].group().admin_list().iter().map(Credential::display_name).collect();
    assert_eq!(names, ["ann"]);
    assert_eq!(world.peers[1].client.credential().display_name(), "ann");
    let mut rng = world.rng.clone();
    let refused = world.peers[1].group().remove(LeafIndex(2), world.now, &mut rng).err().expect("no admin");
    assert!(refused.to_string().contains("only an admin"), "{refused}");
    // Control: with names for credentials the namesake is an admin too, and removes whom it likes.
    let mut world = namesakes(94, |_| Credential::basic("ann"));
    world.remove(1, 2);
    world.run(60_000);
    assert_eq!(world.peers[0].group().view().expect("a view").members.len(), 2);
}

#[test]
fn only_admins_change_the_list_and_an_empty_one_makes_everybody_an_admin() {
    let mut world = world(95);
    let mut rng = world.rng.clone();
    let own = credentials(&world, &[1]);
    let refused = world.peers[1].group().set_admins(&own, world.now, &mut rng).err().expect("no admin");
    assert!(refused.to_string().contains("only an admin"), "{refused}");
    set_admins(&mut world, 0, &[0, 1]);
    world.run(20_000);
    for peer in &world.peers {
        let mut expected = credentials(&world, &[0, 1]);
        expected.sort();
        assert_eq!(peer.group().admin_list(), expected);
    }
    // The new admin takes the old one off the list; that one is a member like any other now.
    set_admins(&mut world, 1, &[1]);
    world.run(20_000);
    let refused = world.peers[0].group().set_admins(&[], world.now, &mut rng).err().expect("no admin");
    assert!(refused.to_string().contains("only an admin"), "{refused}");
    set_admins(&mut world, 1, &[]);
    world.run(20_000);
    world.remove(3, 2);
    world.run(60_000);
    assert!([0, 1, 3].iter().all(|place| world.peers[*place].group().admin_list().is_empty()));
    assert_eq!(world.peers[0].group().view().expect("a view").members.len(), 3);
    assert!(world.peers[2].events.iter().any(|event| matches!(event, Event::Removed { .. })));
}

#[test]
fn nobody_locks_everybody_out() {
    let mut world = world(96);
    let mut rng = world.rng.clone();
    let nobody = vec![Credential::basic("nobody")];
    let (group, now) = (world.peers[0].group(), world.now);
    assert_eq!(group.set_admins(&nobody, now, &mut rng).err(), Some(ActionError::NoAdminLeft));
    let many: Vec<Credential> = (0..257).map(|name| Credential::basic(name.to_string())).collect();
    assert_eq!(group.set_admins(&many, now, &mut rng).err(), Some(ActionError::TooManyAdmins));
    assert_eq!(group.leave(now, &mut rng).err(), Some(ActionError::NoAdminLeft));
    let profile = DmlsProfile { admins: nobody, ..DmlsProfile::default() };
    let client: &Client = &world.peers[1].client;
    let founded = client.create_group(group_id(), &profile, &world.options, now, &mut rng);
    assert_eq!(founded.err(), Some(ClientError::NoAdmin));
    // Control: with a second admin the first may go.
    set_admins(&mut world, 0, &[0, 3]);
    world.run(20_000);
    world.act(0, |group, now, rng| group.leave(now, rng).expect("a request"));
    world.run(60_000);
    assert_eq!(world.peers[3].group().view().expect("a view").members.len(), 3);
    world.remove(3, 1);
    world.run(60_000);
    assert_eq!(world.peers[2].group().view().expect("a view").members.len(), 2);
}

#[test]
fn of_two_lists_the_winning_branch_has_its_own_and_the_other_is_handed_over() {
    let mut world = World::new(97, 5);
    world.form();
    set_admins(&mut world, 0, &[0, 3]);
    world.run(20_000);
    world.cut(&[0, 0, 0, 1, 1]);
    set_admins(&mut world, 0, &[0, 1]);
    set_admins(&mut world, 3, &[3]);
    world.run(20_000);
    // Each side lives by its own list.
    assert_eq!(world.peers[4].group().admin_list(), credentials(&world, &[3]));
    world.heal();
    world.run(60_000);
    let mut expected = credentials(&world, &[0, 1]);
    expected.sort();
    let fingerprint = world.peers[3].client.fingerprint();
    for (place, peer) in world.peers.iter().enumerate() {
        assert_eq!(peer.group().head(), world.peers[0].group().head(), "client {place}");
        assert_eq!(peer.group().admin_list(), expected, "client {place}");
        let lost = peer.events.iter().filter(|event| match event {
            Event::BranchLost { operations, .. } => operations
                .iter()
                .any(|(by, what)| by.fingerprint == fingerprint && *what == Operation::Context),
            _ => false,
        });
        assert_eq!(lost.count(), 1, "client {place}");
    }
    // Whom only the losing list names is no admin: it may not even put itself back.
    let mut rng = world.rng.clone();
    let again = credentials(&world, &[3]);
    let refused = world.peers[3].group().set_admins(&again, world.now, &mut rng).err().expect("no admin");
    assert!(refused.to_string().contains("only an admin"), "{refused}");
}
