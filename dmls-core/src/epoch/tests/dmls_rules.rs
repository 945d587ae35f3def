//! DESIGN 4.3: what a DMLS group refuses beyond RFC 9420.

use super::world::*;
use crate::codec::Bytes;
use crate::epoch::*;
use crate::framing::*;
use crate::schedule::Windows;
use crate::suite::CipherSuite;
use crate::tree::*;

fn stage(world: &World, proposals: Vec<Proposal>) -> CommitError {
    let proposals = proposals.into_iter().map(ProposalOrRef::Proposal).collect();
    let content = world.forge(0, Commit { proposals, path: None });
    world.clients[1].epoch.stage_commit(&content, &DefaultPolicy).unwrap_err()
}

fn meta() -> DmlsMeta {
    DmlsMeta { conf: Some(vec![1; 32].into()), ..DmlsMeta::default() }
}

#[test]
fn every_commit_has_one_meta_by_value_and_a_path() {
    use ProposalListError as E;
    let mut world = World::dmls(&["a", "b", "c"]);
    let one = || Proposal::DmlsMeta(meta());
    assert_eq!(stage(&world, vec![remove(2)]), CommitError::List(E::MetaMissing));
    assert_eq!(stage(&world, vec![one(), one()]), CommitError::List(E::DuplicateMeta));
    let vote = Proposal::DmlsMeta(DmlsMeta { vote: Some(vec![1; 32].into()), ..meta() });
    assert_eq!(stage(&world, vec![vote]), CommitError::List(E::MetaVote));
    let without = Proposal::DmlsMeta(DmlsMeta { conf: None, ..meta() });
    assert_eq!(stage(&world, vec![without]), CommitError::List(E::MetaWithoutConfirmation));
    // With all that in order, the path is still missing.
    assert_eq!(stage(&world, vec![one()]), CommitError::PathRequired);

    let reference = world.propose(2, one());
    let proposals = vec![ProposalOrRef::Reference(reference), ProposalOrRef::Proposal(one())];
    let content = world.forge(0, Commit { proposals, path: None });
    let refused = world.clients[1].epoch.stage_commit(&content, &DefaultPolicy).unwrap_err();
    assert_eq!(refused, CommitError::List(E::MetaByReference));
}

#[test]
fn the_profile_stays_and_is_required() {
    use ProposalListError as E;
    let world = World::dmls(&["a", "b"]);
    let with = |extensions| {
        let new = Proposal::GroupContextExtensions(GroupContextExtensions { extensions });
        stage(&world, vec![new, Proposal::DmlsMeta(meta())])
    };
    assert_eq!(with(Extensions::default()), CommitError::List(E::ProfileChange));
    let profile = DmlsProfile::default().to_extension().unwrap();
    assert_eq!(with(Extensions(vec![profile])), CommitError::List(E::ProfileNotRequired));
    let mut other = dmls_extensions();
    other.set(ExtensionType::DMLS_PROFILE, vec![0, 4].into());
    assert_eq!(with(other), CommitError::List(E::Dmls(DmlsError::UnsupportedProfile(4))));
    // The control gets as far as the missing path.
    assert_eq!(with(dmls_extensions()), CommitError::PathRequired);

    let mut world = World::plain(&["a"]);
    let bundle = world.bundle("x");
    let mut found = |extensions| {
        Epoch::found(world.suite, Bytes::default(), extensions, &bundle, &mut world.rng).map(|_| ())
    };
    let profile = DmlsProfile::default().to_extension().unwrap();
    let refused = found(Extensions(vec![profile])).unwrap_err();
    assert_eq!(refused, CommitError::List(E::ProfileNotRequired));
    found(dmls_extensions()).unwrap();
}

#[test]
fn handshakes_are_private() {
    let mut world = World::dmls(&["a", "b"]);
    let epoch = world.clients[0].epoch.clone();
    let proposal = || Content::Proposal(Proposal::DmlsMeta(meta()));
    let refused = epoch.seal(proposal(), &public(), &mut world.rng).unwrap_err();
    assert_eq!(refused, SealError::PublicInDmls);
    let signed = epoch.sign(proposal(), &public()).unwrap();
    let key = &epoch.secrets().membership_key;
    let forced = PublicMessage::protect(world.suite, signed, epoch.context(), key).unwrap();
    let refused = world.clients[1].epoch.open(&forced.into(), Windows::default()).unwrap_err();
    assert_eq!(refused, OpenError::PublicInDmls);
    let sealed = epoch.seal(proposal(), &private(), &mut world.rng).unwrap();
    world.clients[1].epoch.open(&sealed.message, Windows::default()).unwrap();
}

#[test]
fn nobody_joins_by_itself() {
    let mut world = World::dmls(&["a", "b"]);
    let commit = Commit { proposals: vec![], path: None };
    let mut content = world.forge(0, commit);
    content.content.sender = Sender::NewMemberCommit;
    let refused = world.clients[1].epoch.stage_commit(&content, &DefaultPolicy).unwrap_err();
    assert_eq!(refused, CommitError::ExternalInDmls);
    let epoch = &world.clients[0].epoch;
    let options = GroupInfoOptions { external_pub: true, ..GroupInfoOptions::default() };
    let info = epoch.group_info(&options, None).unwrap();
    assert_eq!(info.extensions.get(ExtensionType::EXTERNAL_PUB), None);
    let (key, _) = world.suite.signature().generate(&mut world.rng);
    let (template, psks) = (template("x"), NoPsks);
    let join = ExternalJoin {
        template: &template,
        signature_private: &key,
        replaces: None,
        psk_ids: vec![],
        ratchet_tree: None,
        authenticated_data: Bytes::default(),
        psks: &psks,
        policy: &DefaultPolicy,
    };
    assert_eq!(join.commit(&info, &mut world.rng).unwrap_err(), WelcomeError::ExternalInDmls);
}

#[test]
fn key_packages_of_last_resort_are_for_plain_groups() {
    for dmls in [true, false] {
        let mut world = if dmls { World::dmls(&["a", "b"]) } else { World::plain(&["a", "b"]) };
        let (key, _) = world.suite.signature().generate(&mut world.rng);
        let builder = KeyPackageBuilder::new(world.suite, template("x"), key).last_resort();
        let bundle = builder.build(&mut world.rng).unwrap();
        let made = world.create(0, &world.request(vec![add(&bundle)])).map(|_| ());
        let refused = CreateError::Commit(CommitError::AddKeyPackage(KeyPackageError::LastResort));
        assert_eq!(made, if dmls { Err(refused) } else { Ok(()) });
    }
}

struct Clock(u64);

impl CommitPolicy for Clock {
    fn now(&self) -> Option<u64> {
        Some(self.0)
    }
    fn accept_member(&self, _: &LeafNode) -> bool {
        self.0 != 100
    }
}

#[test]
fn lifetimes_and_verdicts_bind_who_adds() {
    for dmls in [true, false] {
        let mut world = if dmls { World::dmls(&["a", "b"]) } else { World::plain(&["a", "b"]) };
        let (key, _) = world.suite.signature().generate(&mut world.rng);
        let lifetime = Lifetime { not_before: 100, not_after: 200 };
        let builder = KeyPackageBuilder::new(world.suite, template("x"), key).lifetime(lifetime);
        let bundle = builder.build(&mut world.rng).unwrap();
        let request = world.request(vec![add(&bundle)]);
        let late = CommitError::AddKeyPackage(KeyPackageError::Lifetime);
        let request_at = |policy| CommitRequest { policy, ..world.request(vec![add(&bundle)]) };
        let (at_99, at_100) = (request_at(&Clock(99)), request_at(&Clock(100)));
        assert_eq!(world.create(0, &at_99).unwrap_err(), CreateError::Commit(late.clone()));
        let refused = world.create(0, &at_100).unwrap_err();
        assert_eq!(refused, CreateError::Commit(CommitError::MemberRefused));
        let created = world.create(0, &request).unwrap();
        let epoch = &world.clients[1].epoch;
        let expect = |error| if dmls { Ok(()) } else { Err(error) };
        assert_eq!(epoch.stage_commit(&created.content, &Clock(201)).map(|_| ()), expect(late));
        let refused = epoch.stage_commit(&created.content, &Clock(100)).map(|_| ());
        assert_eq!(refused, expect(CommitError::MemberRefused));
        epoch.stage_commit(&created.content, &Clock(150)).unwrap();
    }
}

#[test]
fn a_confirmation_that_is_not_the_paths() {
    let mut world = World::dmls(&["a", "b"]);
    let created = world.create(0, &world.request(vec![])).unwrap();
    let reforged = |conf: Bytes| {
        let Content::Commit(mut commit) = created.content.content.content.clone() else { panic!() };
        commit.proposals = vec![ProposalOrRef::Proposal(Proposal::DmlsMeta(DmlsMeta {
            conf: Some(conf),
            ..DmlsMeta::default()
        }))];
        world.forge(0, commit)
    };
    let enter = |content: &AuthenticatedContent| {
        let epoch = &world.clients[1].epoch;
        let staged = epoch.stage_commit(content, &DefaultPolicy).unwrap();
        let mut pprf = world.clients[1].dmls.clone().unwrap().parent_init;
        with_pprf(world.suite, Some(&mut pprf), |init| epoch.enter(&staged, init, &NoPsks)).map(|_| ())
    };
    assert_eq!(enter(&reforged(vec![7; 32].into())), Err(CommitError::Confirmation));
    // The right one gets as far as the tag, which is forged.
    let conf = created.conf.as_ref().unwrap().as_slice();
    assert_eq!(enter(&reforged(conf.into())), Err(CommitError::ConfirmationTag));
    assert_eq!(enter(&created.content), Ok(()));
}

#[test]
fn the_init_secret_comes_from_the_kind_of_group() {
    for (dmls, error) in [(true, CommitError::InitSource), (false, CommitError::InitSource)] {
        let mut world = if dmls { World::dmls(&["a", "b"]) } else { World::plain(&["a", "b"]) };
        let created = world.create(0, &world.request(vec![])).unwrap();
        let epoch = &world.clients[1].epoch;
        let staged = epoch.stage_commit(&created.content, &DefaultPolicy).unwrap();
        let nh = world.suite.nh();
        let mut zero = |_: &_, _: &_| Ok(crate::suite::Secret::zero(nh));
        let wrong = if dmls { InitSource::Plain } else { InitSource::Dmls(&mut zero) };
        assert_eq!(epoch.enter(&staged, wrong, &NoPsks).map(|_| ()), Err(error));
    }
}

#[test]
fn signatures_are_canonical() {
    // The same ECDSA signature with the other s: valid for RFC 9420, not for DESIGN 4.3.
    for (extensions, strict) in [(Extensions::default(), false), (dmls_extensions(), true)] {
        let mut world = World::new(CipherSuite::P256_AES128GCM, extensions, &["a", "b"]);
        let epoch = world.clients[0].epoch.clone();
        let content = Content::Application(vec![1].into());
        let mut signed = epoch.sign(content, &private()).unwrap();
        let signature = p256::ecdsa::Signature::from_der(signed.auth.signature.as_slice()).unwrap();
        let (r, s) = signature.split_scalars();
        let high = p256::ecdsa::Signature::from_scalars(r, -*s).unwrap();
        signed.auth.signature = high.to_der().as_bytes().into();
        let (_, message) = epoch.protect(&signed, &private(), &mut world.rng).unwrap();
        let opened = world.clients[1].epoch.open(&message, Windows::default()).map(|_| ());
        assert_eq!(opened, if strict { Err(OpenError::Signature) } else { Ok(()) });
    }
}
