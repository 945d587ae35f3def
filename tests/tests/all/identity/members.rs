//! Groups of members with certificates: the service decides who is added, and nothing else.

use std::sync::Arc;

use dmls_core::framing::{Content, KeyPackageBuilder, MlsMessage, Proposal, Update};
use dmls_core::group::{ActionError, Client, ClientError, Disposition};
use dmls_core::identity::{AnyOf, Authentication, IdentityError, SelfCertifying, X509};
use dmls_core::suite::{CipherSuite, SignaturePrivateKey};
use dmls_core::tree::{Credential, CredentialError, LeafTemplate, Lifetime};
use dmls_tests::World;

use super::{Authority, Holder, NOW, key_pair, replace};
use crate::attack::in_head;

/// Members 0 and 3 certify themselves, 1 and 2 are certified by the authority until the end of 2027.
fn world(seed: u64, suite: CipherSuite) -> (World, Authority) {
    let mut world = World::with_suite(seed, 4, suite);
    let authority = Authority::new(CipherSuite::X25519_AES128GCM, 1, "authority", None);
    for (place, name) in [(1, "ann"), (2, "bob")] {
        let (key, _) = key_pair(&mut world, suite);
        let credential = authority.credential(suite, &key, &Holder::named(name));
        replace(&mut world, place, credential, key);
    }
    let certificates = X509::new(&[authority.anchor()]).expect("an anchor");
    let both = AnyOf(vec![Arc::new(certificates), Arc::new(SelfCertifying)]);
    world.options.authentication = Authentication::by(both);
    (world, authority)
}

/// What a member thinks of the others, in short.
fn verdicts(world: &World, place: usize) -> Vec<String> {
    let verdicts = world.peers[place].group().verdicts(world.now).into_iter();
    let text = verdicts.map(|(_, verdict)| match verdict {
        Ok(identity) => format!("{}{}", identity.name, if identity.vouched { "!" } else { "" }),
        Err(error) => error.to_string(),
    });
    text.collect()
}

#[test]
fn members_with_certificates_talk_and_stay_when_these_expire() {
    for suite in [CipherSuite::X25519_AES128GCM, CipherSuite::P256_AES128GCM] {
        let (mut world, _) = world(401, suite);
        world.form();
        for place in 0..4 {
            assert_eq!(verdicts(&world, place), ["m0", "ann!", "bob!", "m3"]);
        }
        world.send(1, "hello");
        world.refresh(2);
        world.run(20_000);
        assert!(world.peers.iter().enumerate().all(|(place, peer)| place == 1 || peer.messages().len() == 1));
        // Years later.
        world.now += 2 * 365 * 24 * 3600 * 1000;
        world.refresh(1);
        world.run(20_000);
        world.send(2, "still here");
        world.run(20_000);
        for place in [0, 3] {
            assert_eq!(world.peers[place].messages().len(), 2);
            let seen = verdicts(&world, place);
            assert!(seen[1].contains("expired") && seen[2].contains("expired"), "{seen:?}");
            assert_eq!(world.peers[place].group().head(), world.peers[1].group().head());
        }
        // But nobody adds one of them anew.
        let key_package = world.key_package(1);
        let mut rng = world.rng.clone();
        let refused = world.peers[0].group().invite(&[key_package], world.now, &mut rng).err();
        assert!(matches!(refused, Some(ActionError::Identity(IdentityError::Expired { .. }))), "{refused:?}");
    }
}

#[test]
fn who_is_invited_has_to_be_who_it_says() {
    let suite = CipherSuite::X25519_AES128GCM;
    let (mut world, authority) = world(402, suite);
    world.create(Default::default());
    let foreign = Authority::new(suite, 9, "foreign", None);
    let (key, public) = key_pair(&mut world, suite);
    let (_, others_public) = key_pair(&mut world, suite);
    let mut rng = world.rng.clone();
    let mut invite = |credential: Credential| {
        let own = in_head(&world, 0);
        let own = own.epoch.leaf(own.epoch.own_leaf()).expect("a leaf");
        let template = LeafTemplate { credential, ..LeafTemplate::of(own) };
        let lifetime = Lifetime { not_before: NOW - 60, not_after: NOW + 3600 };
        let builder = KeyPackageBuilder::new(suite.suite().expect("a suite"), template, key.clone());
        let made = builder.lifetime(lifetime).build(&mut rng).expect("a key package");
        let bytes = MlsMessage::from(made.key_package).to_bytes().expect("bytes");
        match world.peers[0].group().invite(&[bytes], world.now, &mut rng) {
            Ok(_) => Ok(()),
            Err(ActionError::Identity(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    };
    let of = |authority: &Authority, holder: &Holder<'_>| authority.credential(suite, &key, holder);
    let ann = Holder::named("ann");
    assert_eq!(invite(of(&authority, &ann)), Ok(()));
    assert_eq!(invite(Credential::self_certifying(&public, "ann").expect("short")), Ok(()));
    assert_eq!(invite(of(&foreign, &ann)), Err(IdentityError::UnknownIssuer));
    let expired = invite(of(&authority, &Holder { years: (2020, 2026), ..Holder::named("ann") }));
    assert!(matches!(expired, Err(IdentityError::Expired { .. })), "{expired:?}");
    let others_key = SignaturePrivateKey([8; 32].as_slice().into());
    let others = authority.credential(suite, &others_key, &ann);
    assert_eq!(invite(others.clone()), Err(CredentialError::CertificateOfOtherKey.into()));
    let others = Credential::self_certifying(&others_public, "ann").expect("short");
    assert_eq!(invite(others.clone()), Err(CredentialError::IdentityOfOtherKey.into()));
    assert_eq!(invite(of(&authority, &Holder::named(""))), Err(IdentityError::NoName));
    assert_eq!(invite(Credential::basic("ann")), Err(IdentityError::UnknownForm));
    // Nor does an honest client put on somebody else's credential.
    let refused = Client::with_credential(suite, others, key.clone()).err();
    assert_eq!(refused, Some(ClientError::Credential(CredentialError::IdentityOfOtherKey)));
}

#[test]
fn who_receives_a_commit_does_not_ask_its_own_service() {
    let (mut world, _) = world(403, CipherSuite::X25519_AES128GCM);
    world.create(Default::default());
    world.invite(0, &[3]);
    world.run(20_000);
    // Member 3 trusts no authority at all.
    let trusting = std::mem::take(&mut world.options.authentication);
    world.restart(3);
    world.options.authentication = trusting;
    world.invite(0, &[1, 2]);
    world.run(20_000);
    assert_eq!(world.peers[3].group().head(), world.peers[0].group().head());
    assert_eq!(world.peers[3].group().view().expect("a view").members.len(), 4);
    let unknown = IdentityError::UnknownForm.to_string();
    assert_eq!(verdicts(&world, 3), ["m0", "m3", &unknown, &unknown]);
    // It hears them, and would not have added them.
    world.send(1, "hello");
    world.run(1_000);
    assert_eq!(world.peers[3].messages().len(), 1);
    let key_package = world.key_package(1);
    let mut rng = world.rng.clone();
    let refused = world.peers[3].group().invite(&[key_package], world.now, &mut rng).err();
    assert_eq!(refused, Some(ActionError::Identity(IdentityError::UnknownForm)));
}

#[test]
fn a_member_keeps_its_credential_and_so_its_key() {
    let (mut world, authority) = world(404, CipherSuite::X25519_AES128GCM);
    world.form();
    let mut rng = world.rng.clone();
    let suite = world.peers[1].client.suite();
    let (other_key, _) = key_pair(&mut world, suite);
    for (place, wrong) in [(0, "of another signature key"), (1, "for another signature key")] {
        let insider = in_head(&world, place);
        let leaf = insider.epoch.own_leaf();
        let template = LeafTemplate::of(insider.epoch.leaf(leaf).expect("a leaf"));
        let group_id = insider.epoch.context().group_id.clone();
        let position = dmls_core::tree::LeafPosition { group_id: group_id.as_slice(), leaf_index: leaf };
        let mut update = |credential: &Credential, key: &SignaturePrivateKey, generation| {
            let template = LeafTemplate { credential: credential.clone(), ..template.clone() };
            let (leaf_node, _) =
                template.update(suite.suite().expect("a suite"), position, key, &mut rng).expect("a leaf");
            insider.send(Content::Proposal(Proposal::Update(Update { leaf_node })), generation, &mut rng)
        };
        let own = &template.credential;
        // A new key under the old credential.
        let stolen = update(own, &other_key, 20);
        match world.inject(3, &stolen) {
            Disposition::Rejected { rule } => assert!(rule.contains(wrong), "{rule}"),
            other => panic!("{other:?}"),
        }
        // A new key under a credential of its own, which the service would accept as the successor.
        let renewed = authority.credential(suite, &other_key, &Holder::named("ann"));
        let renewed = update(&renewed, &other_key, 21);
        match world.inject(3, &renewed) {
            Disposition::Rejected { rule } => assert!(rule.contains("may not replace"), "{rule}"),
            other => panic!("{other:?}"),
        }
        // Control: the old key and the old credential.
        let good = update(own, insider.epoch.signature_private(), 22);
        assert_eq!(world.inject(3, &good), Disposition::Applied);
    }
}
