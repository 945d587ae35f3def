//! Requests, rejoins and notices that break a rule: each is told why, and nothing is lost.

use dmls_core::codec::encode;
use dmls_core::framing::{
    Add, ApplicationData, Commit, Content, DmlsNotice, DmlsRejoin, Heads, KeyPackageBuilder, MlsMessage,
    MlsMessageBody, Proposal, Remove,
};
use dmls_core::group::{Event, OfferError};
use dmls_core::tree::{ExtensionType, LeafIndex, LeafPosition, LeafTemplate, Lifetime};
use dmls_tests::{Insider, stored_records};

use super::*;

fn insider(world: &World, place: usize) -> Insider {
    let head = world.peers[place].group().head().clone();
    Insider::read(&world.peers[place].store, &group_id(), &head).expect("the head")
}

/// A key package is refused for this reason, and nothing changes.
fn refused(world: &mut World, to: usize, bytes: &[u8], error: &OfferError) {
    let before = stored_records(&world.peers[to].store);
    match offer(world, to, bytes) {
        Disposition::Rejected { rule } => assert_eq!(rule, error.to_string()),
        other => panic!("{other:?} instead of: {error}"),
    }
    assert!(stored_records(&world.peers[to].store) == before, "{error}");
}

/// A request in the name of a member, signed by a key that is not its.
fn of_another_key(world: &mut World, of: usize) -> Vec<u8> {
    let insider = insider(world, of);
    let suite = insider.epoch.suite();
    let mut template = LeafTemplate::of(insider.epoch.leaf(insider.epoch.own_leaf()).expect("a leaf"));
    let request = DmlsRejoin { group_id: group_id().0, number: world.now };
    template.extensions.set(ExtensionType::DMLS_REJOIN, encode(&request).expect("bytes").into());
    let (private, _) = suite.signature().generate(&mut world.rng);
    let builder = KeyPackageBuilder::new(suite, template, private).lifetime(Lifetime::UNLIMITED);
    let bundle = builder.build(&mut world.rng).expect("a key package");
    encode(&MlsMessage::from(bundle.key_package)).expect("bytes")
}

#[test]
fn each_bad_request_has_its_error_and_costs_nothing() {
    let mut world = World::new(41, 4);
    world.create(DmlsProfile::default());
    world.invite(0, &[1, 2]);
    world.run(60_000);
    let id = group_id();
    let early = lost_request(&mut world, 1, &id);
    world.now += 1_000;
    let good = lost_request(&mut world, 1, &id);

    refused(&mut world, 0, &vec![0; (16 << 10) + 1], &OfferError::TooLarge);
    let message = insider(&world, 0).epoch.seal(
        Content::Proposal(Proposal::Remove(Remove { removed: LeafIndex(1) })),
        &Default::default(),
        &mut world.rng.clone(),
    );
    let message = encode(&message.expect("a message").message).expect("bytes");
    refused(&mut world, 0, &message, &OfferError::NotAKeyPackage);
    let elsewhere = lost_request(&mut world, 1, &GroupId(b"another".to_vec().into()));
    refused(&mut world, 0, &elsewhere, &OfferError::OtherGroup);
    let plain = world.key_package(1);
    refused(&mut world, 0, &plain, &OfferError::NotAsked);
    let own = lost_request(&mut world, 0, &id);
    refused(&mut world, 0, &own, &OfferError::Own);
    let stranger = of_another_key(&mut world, 1);
    refused(&mut world, 0, &stranger, &OfferError::OtherKey);
    for cut in [0, 5, good.len() / 2, good.len() - 1] {
        assert!(matches!(offer(&mut world, 0, &good[..cut]), Disposition::Rejected { .. }));
    }
    for place in (6..good.len()).step_by(7) {
        let mut flipped = good.clone();
        flipped[place] ^= 1;
        assert!(matches!(offer(&mut world, 0, &flipped), Disposition::Rejected { .. }), "byte {place}");
    }

    // Who is not in the group asks: the application is told, and may invite.
    let outsider = lost_request(&mut world, 3, &id);
    assert!(matches!(offer(&mut world, 0, &outsider), Disposition::Rejected { .. }));
    let asked = |event: &Event| matches!(event, Event::RejoinRequested { member } if member.fingerprint == world.peers[3].client.fingerprint());
    assert_eq!(world.peers[0].events.iter().filter(|event| asked(event)).count(), 1);

    // Control: the good one is taken, once; an older one is not taken beside it, and neither after it is used.
    assert_eq!(offer(&mut world, 0, &good), Disposition::Applied);
    assert_eq!(offer(&mut world, 0, &good), Disposition::Duplicate);
    refused(&mut world, 0, &early, &OfferError::Older);
    world.peers[1].side = 1;
    world.run(30_000);
    assert_eq!((rejoins(&world, 0), rejoins(&world, 2)), (1, 1));
    refused(&mut world, 0, &good, &OfferError::Used);
    refused(&mut world, 2, &early, &OfferError::Older);
    // Out of time.
    let late = lost_request(&mut world, 1, &id);
    let now = std::mem::replace(&mut world.now, 0);
    world.now = now + 8 * 24 * 3600 * 1000;
    match offer(&mut world, 2, &late) {
        Disposition::Rejected { rule } => assert!(rule.contains("lifetime"), "{rule}"),
        other => panic!("{other:?}"),
    }
}

pub(super) fn key_package_of(bytes: &[u8]) -> dmls_core::framing::KeyPackage {
    match MlsMessage::from_bytes(bytes).expect("a message").body {
        MlsMessageBody::KeyPackage(key_package) => key_package,
        _ => panic!("a key package"),
    }
}

/// What a member who is no admin commits: a Remove and an Add.
fn swap(world: &mut World, removed: u32, request: &[u8]) -> Vec<u8> {
    let insider = insider(world, 1);
    let add = Add { key_package: Box::new(key_package_of(request)) };
    let proposals = vec![Proposal::Remove(Remove { removed: LeafIndex(removed) }), Proposal::Add(add)];
    let mut rng = world.rng.clone();
    let created = insider.commit(proposals, &mut rng);
    world.rng = rng;
    insider.wrap(created.message)
}

#[test]
fn who_is_no_admin_commits_a_rejoin_and_nothing_that_looks_like_one() {
    let mut world = formed(42, 4, true);
    world.now += 10;
    let early = lost_request(&mut world, 2, &group_id());
    world.now += 10;
    let good = lost_request(&mut world, 2, &group_id());
    let elsewhere = lost_request(&mut world, 2, &GroupId(b"another".to_vec().into()));
    let leaf =
        |world: &World, of: usize| world.peers[0].leaf_of(&world.peers[of].client).expect("a member").0;
    let (two, three) = (leaf(&world, 2), leaf(&world, 3));
    let plain = world.key_package(2);
    let denied = |world: &mut World, bytes: &[u8]| match world.inject(3, bytes) {
        Disposition::Rejected { rule } => assert!(rule.contains("only an admin"), "{rule}"),
        other => panic!("{other:?}"),
    };
    for request in [&elsewhere, &plain] {
        let bytes = swap(&mut world, two, request);
        denied(&mut world, &bytes);
    }
    // Another one's leaf, or nobody's.
    let outsider = lost_request(&mut World::new(43, 1), 0, &group_id());
    let bytes = swap(&mut world, three, &outsider);
    denied(&mut world, &bytes);
    // Control.
    let bytes = swap(&mut world, two, &good);
    world.now += 10;
    let index = world.publish(1, bytes);
    world.peers[1].seen.remove(&index);
    world.run(90_000);
    assert_together(&world, &[0, 1, 2, 3], 4);
    assert!(rejoins(&world, 0) >= 1);
    // The number only grows: the first request is of no use any more.
    let two = leaf(&world, 2);
    let bytes = swap(&mut world, two, &early);
    denied(&mut world, &bytes);
}

#[test]
fn a_member_cannot_change_the_number_in_its_leaf() {
    let mut world = formed(44, 3, false);
    let insider = insider(&world, 1);
    let suite = insider.epoch.suite();
    let own = insider.epoch.own_leaf();
    let mut rng = world.rng.clone();
    let good = insider.commit(Vec::new(), &mut rng);
    let with_number = |number: Option<u64>| {
        let insider = &insider;
        move |commit: &mut Commit| {
            let leaf = &mut commit.path.as_mut().expect("a path").leaf_node;
            let mut template = LeafTemplate::of(leaf);
            if let Some(number) = number {
                let request = DmlsRejoin { group_id: group_id().0, number };
                template.extensions.set(ExtensionType::DMLS_REJOIN, encode(&request).expect("bytes").into());
            }
            let position = LeafPosition { group_id: b"the group", leaf_index: own };
            let key = leaf.encryption_key.clone();
            let signer = insider.epoch.signature_private();
            *leaf = template.sign(suite, key, leaf.source.clone(), Some(position), signer).expect("a leaf");
        }
    };
    let forged = insider.forge(&good, with_number(Some(7)), 3, &mut rng);
    match world.inject(2, &forged) {
        Disposition::Rejected { rule } => assert!(rule.contains("number of its request"), "{rule}"),
        other => panic!("{other:?}"),
    }
    // Control: signed again in the same way, but with the number that the leaf had.
    let same = insider.forge(&good, with_number(None), 4, &mut rng);
    assert_eq!(world.inject(2, &same), Disposition::Applied);
}

#[test]
fn notices_are_read_once_by_the_client_and_never_by_its_user() {
    let mut world = formed(45, 3, false);
    let insider = insider(&world, 1);
    let mut rng = world.rng.clone();
    let mut generation = 0;
    let mut data = |notice: Vec<u8>, payload: &[u8], world: &mut World| {
        let plain = ApplicationData {
            application: dmls_core::framing::DmlsApplication {
                generation,
                heads: Heads::default(),
                payload: payload.into(),
            },
            notice: None,
        };
        let bytes = [encode(&plain).expect("bytes"), notice].concat();
        let sealed = insider.send(Content::Application(bytes.into()), generation, &mut rng);
        let before = stored_records(&world.peers[2].store);
        let disposition = world.inject(2, &sealed);
        if disposition == Disposition::Applied {
            generation += 1;
            assert_eq!(world.inject(2, &sealed), Disposition::Duplicate);
        } else {
            assert!(stored_records(&world.peers[2].store) == before);
        }
        disposition
    };
    let lost = lost_request(&mut world, 2, &group_id());
    let notice = |notice: DmlsNotice| encode(&notice).expect("bytes");
    let garbage = vec![
        notice(DmlsNotice::Closed { winner: vec![1; 3].into() }),
        notice(DmlsNotice::KeyPackage(b"no key package".to_vec().into())),
        notice(DmlsNotice::KeyPackage(Default::default())),
        notice(DmlsNotice::KeyPackage(lost.into())),
        notice(DmlsNotice::Welcome(b"no Welcome".to_vec().into())),
        notice(DmlsNotice::Welcome(vec![0xff; 100_000].into())),
        notice(DmlsNotice::Unknown { notice_type: 99, contents: vec![7; 5_000].into() }),
    ];
    for bytes in garbage {
        assert_eq!(data(bytes, b"", &mut world), Disposition::Applied);
    }
    assert!(world.peers[2].messages().is_empty(), "no user sees a notice");
    for (bytes, payload) in [
        (notice(DmlsNotice::Closed { winner: vec![1; 32].into() }), &b"text"[..]),
        (vec![1, 65], b""),
        (vec![2, 0x80, 0, 0x40, 1], b""),
        ([&[9][..], &vec![0; 1 << 20]].concat(), b""),
    ] {
        assert!(matches!(data(bytes, payload, &mut world), Disposition::Rejected { .. }));
    }
    // Control: a message is for the user.
    assert_eq!(data(Vec::new(), b"text", &mut world), Disposition::Applied);
    assert_eq!(world.peers[2].messages().len(), 1);
    world.restart(2);
    let view = world.peers[2].group().view().expect("a head");
    assert_eq!((view.standing, view.members.len()), (Standing::Member, 3));
}
