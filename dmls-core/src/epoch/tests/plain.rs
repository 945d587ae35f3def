//! Plain groups, through the public API alone.

use std::collections::BTreeMap;

use super::world::{dmls_extensions, public, template};
use crate::codec::Bytes;
use crate::epoch::plain::*;
use crate::epoch::*;
use crate::framing::testing::{TestRng, rng};
use crate::framing::*;
use crate::schedule::PskType;
use crate::suite::{CipherSuite, Secret, Suite};
use crate::tree::*;

fn suite() -> Suite {
    CipherSuite::X25519_CHACHA20POLY1305.suite().unwrap()
}

fn bundle(name: &str, rng: &mut TestRng) -> KeyPackageBundle {
    let (key, _) = suite().signature().generate(rng);
    KeyPackageBuilder::new(suite(), template(name), key).build(rng).unwrap()
}

fn join<'a>(bundle: &'a KeyPackageBundle, psks: &'a dyn PskStore) -> Join<'a> {
    Join { bundle, ratchet_tree: None, psks, policy: &DefaultPolicy }
}

fn successor<'a>(founder: &'a KeyPackageBundle, joiner: &KeyPackageBundle) -> Successor<'a> {
    let key_packages = vec![joiner.key_package.clone()];
    Successor { founder, key_packages, psks: &NoPsks, policy: &DefaultPolicy }
}

struct Psks(BTreeMap<Bytes, Secret>);

impl PskStore for Psks {
    fn psk(&self, psk: &PskType) -> Option<Secret> {
        match psk {
            PskType::External { psk_id } => self.0.get(psk_id).cloned(),
            PskType::Resumption { .. } => None,
        }
    }
}

struct Room {
    rng: TestRng,
    groups: Vec<PlainGroup>,
}

impl Room {
    fn new(config: &PlainConfig, names: &[&str]) -> Self {
        let mut rng = rng(7);
        let founder = bundle(names[0], &mut rng);
        let extensions = Extensions::default();
        let group =
            PlainGroup::create(suite(), vec![5].into(), extensions, &founder, config.clone(), &mut rng);
        let mut room = Self { rng, groups: vec![group.unwrap()] };
        for name in &names[1..] {
            let joiner = bundle(name, &mut room.rng);
            let proposal = room.groups[0].propose_add(joiner.key_package.clone(), &mut room.rng).unwrap();
            room.hand(0, &proposal);
            let welcome = room.commit(0, &PlainCommit::default()).welcome.unwrap();
            let group = PlainGroup::join(&welcome, &join(&joiner, &NoPsks), config.clone()).unwrap();
            room.groups.push(group);
            room.agree();
        }
        room
    }

    /// Hands a message to all but its sender.
    fn hand(&mut self, from: usize, message: &MlsMessage) {
        let message = MlsMessage::from_bytes(&message.to_bytes().unwrap()).unwrap();
        for (index, group) in self.groups.iter_mut().enumerate().filter(|(index, _)| *index != from) {
            let done = group.process(&message, &NoPsks, &DefaultPolicy);
            assert!(done.is_ok(), "{index}: {done:?}");
        }
    }

    fn commit(&mut self, who: usize, commit: &PlainCommit) -> Committed {
        let committed = self.groups[who].commit(commit, &NoPsks, &DefaultPolicy, &mut self.rng).unwrap();
        self.hand(who, &committed.message);
        // Its own message comes back to the committer as well.
        let own = self.groups[who].process(&committed.message, &NoPsks, &DefaultPolicy).unwrap();
        assert_eq!(own, Processed::OwnCommit);
        committed
    }

    fn agree(&mut self) {
        for group in &mut self.groups {
            *group = PlainGroup::restore(group.snapshot().unwrap()).unwrap();
        }
        let first = self.groups[0].epoch_authenticator().clone();
        assert!(self.groups.iter().all(|group| *group.epoch_authenticator() == first));
        for from in 0..self.groups.len() {
            let message = self.groups[from].encrypt(b"hi", b"aad", &mut self.rng).unwrap();
            let sender = self.groups[from].own_leaf();
            for to in (0..self.groups.len()).filter(|to| *to != from) {
                let got = self.groups[to].process(&message, &NoPsks, &DefaultPolicy).unwrap();
                let authenticated_data = b"aad".as_slice().into();
                let data = b"hi".as_slice().into();
                assert_eq!(got, Processed::Application { sender, data, authenticated_data });
            }
        }
    }
}

#[test]
fn proposals_of_every_kind_by_reference() {
    for public_handshake in [false, true] {
        let config =
            PlainConfig { public_handshake, padding: Padding::Multiple(32), ..PlainConfig::default() };
        let mut room = Room::new(&config, &["a", "b", "c", "d"]);
        let removal = room.groups[1].propose_remove(LeafIndex(3), &mut room.rng).unwrap();
        room.hand(1, &removal);
        let update = room.groups[2].propose_update(None, None, &mut room.rng).unwrap();
        room.hand(2, &update);
        let sent = room.groups[0].encrypt(b"x", b"", &mut room.rng).unwrap_err();
        assert_eq!(sent, PlainError::UncommittedProposals);
        let committed =
            room.groups[0].commit(&PlainCommit::default(), &NoPsks, &DefaultPolicy, &mut room.rng).unwrap();
        let removed =
            room.groups.pop().unwrap().process(&committed.message, &NoPsks, &DefaultPolicy).unwrap();
        let Processed::Removed(advanced) = removed else { panic!("{removed:?}") };
        assert_eq!(advanced.updated, [LeafIndex(2)]);
        room.hand(0, &committed.message);
        room.groups[0].merge_pending().unwrap();
        room.agree();
        let senders = room.groups[0].epoch().context().extensions.clone();
        let mut extensions = senders;
        extensions.set(ExtensionType::EXTERNAL_SENDERS, vec![0].into());
        let proposal = room.groups[1].propose_extensions(extensions.clone(), &mut room.rng).unwrap();
        room.hand(1, &proposal);
        room.commit(2, &PlainCommit::default());
        assert_eq!(room.groups[0].epoch().context().extensions, extensions);
        room.agree();
    }
}

#[test]
fn psks_of_the_application_and_of_epochs_gone_by() {
    let mut room = Room::new(&PlainConfig::default(), &["a", "b", "c"]);
    room.commit(0, &PlainCommit::default());
    let external = PskType::External { psk_id: vec![1].into() };
    let past = |psk_epoch| PskType::Resumption {
        usage: crate::schedule::ResumptionPskUsage::Application,
        psk_group_id: vec![5].into(),
        psk_epoch,
    };
    // Everybody has been here since epoch 2.
    let psk = room.groups[1].propose_psk(past(2), &mut room.rng).unwrap();
    room.hand(1, &psk);
    room.commit(0, &PlainCommit::default());
    room.agree();

    let psk = room.groups[1].propose_psk(external, &mut room.rng).unwrap();
    room.hand(1, &psk);
    let known = Psks(BTreeMap::from([(vec![1].into(), vec![9; 32].into())]));
    let other = Psks(BTreeMap::from([(vec![1].into(), vec![8; 32].into())]));
    let commit = PlainCommit::default();
    let committed = room.groups[0].commit(&commit, &known, &DefaultPolicy, &mut room.rng).unwrap();
    let wrong = room.groups[1].process(&committed.message, &other, &DefaultPolicy).unwrap_err();
    assert_eq!(wrong, PlainError::Commit(CommitError::ConfirmationTag));
    let none = room.groups[1].process(&committed.message, &NoPsks, &DefaultPolicy).unwrap_err();
    assert!(matches!(none, PlainError::Commit(CommitError::UnknownPsk(_))));
    for group in &mut room.groups[1..] {
        group.process(&committed.message, &known, &DefaultPolicy).unwrap();
    }
    room.groups[0].merge_pending().unwrap();
    room.agree();

    let config = PlainConfig { resumption_epochs: 1, ..PlainConfig::default() };
    room.groups.iter_mut().for_each(|group| group.set_config(config.clone()));
    room.commit(0, &PlainCommit::default());
    let psk = room.groups[1].propose_psk(past(2), &mut room.rng).unwrap();
    room.hand(1, &psk);
    let gone = room.groups[0].commit(&commit, &NoPsks, &DefaultPolicy, &mut room.rng).unwrap_err();
    let unknown = |error: &PlainError| {
        matches!(error, PlainError::Create(CreateError::Commit(CommitError::UnknownPsk(_))))
    };
    assert!(unknown(&gone), "{gone}");
}

#[test]
fn external_joins_resyncs_and_senders() {
    let mut room = Room::new(&PlainConfig::default(), &["a", "b", "c"]);
    let (key, _) = suite().signature().generate(&mut room.rng);
    let dana = template("d");
    let enter = |room: &mut Room, replaces, name: &LeafTemplate, key: &_| {
        let info = room.groups[0].group_info(true).unwrap();
        let join = ExternalJoin {
            template: name,
            signature_private: key,
            replaces,
            psk_ids: vec![],
            ratchet_tree: None,
            authenticated_data: Bytes::default(),
            psks: &NoPsks,
            policy: &DefaultPolicy,
        };
        PlainGroup::join_external(&info, &join, PlainConfig::default(), &mut room.rng)
    };
    let (group, message) = enter(&mut room, None, &dana, &key).unwrap();
    room.hand(9, &message);
    room.groups.push(group);
    room.agree();
    // The same client again, in the place of its old leaf; another may not take that place.
    let stranger = enter(&mut room, Some(LeafIndex(1)), &dana, &key).unwrap_err();
    assert!(
        matches!(stranger, PlainError::Welcome(WelcomeError::Commit(CommitError::Tree(_)))),
        "{stranger}"
    );
    let (other, _) = suite().signature().generate(&mut room.rng);
    let stranger = enter(&mut room, Some(LeafIndex(1)), &dana, &other).unwrap_err();
    let expected = CommitError::Successor(LeafIndex(1));
    assert_eq!(stranger, PlainError::Welcome(WelcomeError::Commit(expected)));
    let (group, message) = enter(&mut room, Some(LeafIndex(3)), &dana, &key).unwrap();
    room.groups.pop();
    room.hand(9, &message);
    room.groups.push(group);
    assert_eq!(room.groups[0].members().count(), 4);
    room.agree();
    let info = room.groups[0].group_info(false).unwrap();
    assert_eq!(info.extensions.get(ExtensionType::EXTERNAL_PUB), None);

    // A server may propose, once the group says so.
    let (server, public_key) = suite().signature().generate(&mut room.rng);
    let senders = vec![ExternalSender { signature_key: public_key, credential: Credential::basic("server") }];
    let mut extensions = Extensions::default();
    let senders = crate::codec::encode(&senders).unwrap();
    extensions.set(ExtensionType::EXTERNAL_SENDERS, senders.into());
    let new = Proposal::GroupContextExtensions(GroupContextExtensions { extensions });
    room.commit(0, &PlainCommit { proposals: vec![new], ..PlainCommit::default() });
    let context = room.groups[0].epoch().context().clone();
    let sign = |sender, proposal, key: &_| {
        let content = FramedContent {
            group_id: context.group_id.clone(),
            epoch: context.epoch,
            sender,
            authenticated_data: Bytes::default(),
            content: Content::Proposal(proposal),
        };
        let format = WireFormat::PublicMessage;
        let signed = AuthenticatedContent::sign(suite(), format, content, &context, key).unwrap();
        MlsMessage::from(PublicMessage::protect(suite(), signed, &context, &Secret::default()).unwrap())
    };
    let removal = || Proposal::Remove(Remove { removed: LeafIndex(3) });
    let forged = sign(Sender::External(0), removal(), &key);
    let refused = room.groups[0].process(&forged, &NoPsks, &DefaultPolicy).unwrap_err();
    assert_eq!(refused, PlainError::Open(OpenError::Signature));
    let removal = sign(Sender::External(0), removal(), &server);
    room.hand(9, &removal);
    let joiner = bundle("e", &mut room.rng);
    let own_add = Proposal::Add(Add { key_package: Box::new(joiner.key_package.clone()) });
    let own_add = sign(Sender::NewMemberProposal, own_add, &joiner.signature_private);
    room.hand(9, &own_add);
    room.groups.pop();
    let committed = room.commit(1, &PlainCommit::default());
    let group =
        PlainGroup::join(&committed.welcome.unwrap(), &join(&joiner, &NoPsks), PlainConfig::default());
    room.groups.push(group.unwrap());
    room.agree();
}

#[test]
fn a_commit_that_lost_is_dropped() {
    let mut room = Room::new(&PlainConfig::default(), &["a", "b", "c"]);
    let commit = PlainCommit::default();
    let lost = room.groups[0].commit(&commit, &NoPsks, &DefaultPolicy, &mut room.rng).unwrap();
    let again = room.groups[0].commit(&commit, &NoPsks, &DefaultPolicy, &mut room.rng).unwrap_err();
    assert_eq!(again, PlainError::CommitPending);
    room.commit(1, &commit);
    assert!(!room.groups[0].has_pending_commit());
    assert_eq!(room.groups[0].merge_pending().unwrap_err(), PlainError::NoCommitPending);
    assert_eq!(room.groups[0].discard_pending().unwrap_err(), PlainError::NoCommitPending);
    let late = room.groups[2].process(&lost.message, &NoPsks, &DefaultPolicy).unwrap_err();
    assert!(matches!(late, PlainError::Open(OpenError::WrongEpoch(_))), "{late}");
    room.agree();
    room.groups[0].commit(&commit, &NoPsks, &DefaultPolicy, &mut room.rng).unwrap();
    room.groups[0].discard_pending().unwrap();
    room.agree();
}

#[test]
fn a_group_is_opened_anew() {
    let mut room = Room::new(&PlainConfig::default(), &["a", "b"]);
    let (founder, joiner) = (bundle("a", &mut room.rng), bundle("b", &mut room.rng));
    let successor = successor(&founder, &joiner);
    let early = room.groups[0].reinit(&successor, &mut room.rng);
    assert_eq!(early.unwrap_err(), PlainError::NotEnded);
    let reinit = ReInit {
        group_id: b"anew".to_vec().into(),
        version: ProtocolVersion::MLS10,
        cipher_suite: suite().id(),
        extensions: Extensions::default(),
    };
    let proposal = room.groups[1].propose_reinit(reinit.clone(), &mut room.rng).unwrap();
    room.hand(1, &proposal);
    room.commit(0, &PlainCommit { no_path: true, ..PlainCommit::default() });
    assert_eq!(room.groups[1].ended(), Some(&reinit));
    let closed = room.groups[1].encrypt(b"x", b"", &mut room.rng).unwrap_err();
    assert_eq!(closed, PlainError::Ended);

    let (one, committed) = room.groups[0].reinit(&successor, &mut room.rng).unwrap();
    let welcome = committed.welcome.unwrap();
    let unnamed = PlainGroup::join(&welcome, &join(&joiner, &NoPsks), PlainConfig::default()).unwrap_err();
    assert!(matches!(unnamed, PlainError::Welcome(WelcomeError::UnknownPsk(_))), "{unnamed}");
    // Nor with the PSK at hand: the rules of 11.2 need the group before.
    struct Tie(Secret);
    impl PskStore for Tie {
        fn psk(&self, _: &PskType) -> Option<Secret> {
            Some(self.0.clone())
        }
    }
    let tie = Tie(room.groups[1].epoch().secrets().resumption_psk.clone());
    let with_tie = Join { psks: &tie, ..join(&joiner, &NoPsks) };
    let unnamed = PlainGroup::join(&welcome, &with_tie, PlainConfig::default()).unwrap_err();
    assert_eq!(unnamed, PlainError::FollowsAGroup);
    let join = join(&joiner, &NoPsks);
    let two = room.groups[1].join_reinit(&welcome, &join).unwrap();
    assert_eq!(one.epoch_authenticator(), two.epoch_authenticator());
    assert_eq!(two.group_id().as_slice(), b"anew");
    let branch = room.groups[1].join_branch(&welcome, &join).unwrap_err();
    assert_eq!(branch, PlainError::DoesNotFollow);

    // A group with other parameters than announced.
    let mut liar = room.groups[0].clone();
    liar.set_ended(ReInit { group_id: b"other".to_vec().into(), ..reinit });
    let (_, committed) = liar.reinit(&successor, &mut room.rng).unwrap();
    let wrong = room.groups[1].join_reinit(&committed.welcome.unwrap(), &join).unwrap_err();
    assert_eq!(wrong, PlainError::ReInitMismatch);
}

#[test]
fn a_group_branches() {
    let mut room = Room::new(&PlainConfig::default(), &["a", "b", "c"]);
    let id = || Bytes::from(b"side".to_vec());
    let founder = bundle("a", &mut room.rng);
    let branch = |room: &mut Room, joiner: &KeyPackageBundle| {
        let successor = successor(&founder, joiner);
        room.groups[0].branch(id(), Extensions::default(), &successor, &mut room.rng).unwrap()
    };
    let joiner = bundle("b", &mut room.rng);
    let (one, committed) = branch(&mut room, &joiner);
    let welcome = committed.welcome.unwrap();
    let two = room.groups[1].join_branch(&welcome, &join(&joiner, &NoPsks)).unwrap();
    assert_eq!(one.epoch_authenticator(), two.epoch_authenticator());
    let reinit = room.groups[1].join_reinit(&welcome, &join(&joiner, &NoPsks)).unwrap_err();
    assert_eq!(reinit, PlainError::NotEnded);

    let stranger = bundle("mallory", &mut room.rng);
    let (_, committed) = branch(&mut room, &stranger);
    let welcome = committed.welcome.unwrap();
    let refused = room.groups[1].join_branch(&welcome, &join(&stranger, &NoPsks)).unwrap_err();
    assert_eq!(refused, PlainError::BranchMember(LeafIndex(1)));
}

#[test]
fn a_branch_has_the_suite_of_its_group() {
    struct Tie(Secret);
    impl PskStore for Tie {
        fn psk(&self, _: &PskType) -> Option<Secret> {
            Some(self.0.clone())
        }
    }
    let room = Room::new(&PlainConfig::default(), &["a", "b"]);
    let group = &room.groups[1];
    let tie = Tie(group.epoch().secrets().resumption_psk.clone());
    // Suite 1, where the group has suite 3.
    let mut world = super::world::World::plain(&["a"]);
    let joiner = world.bundle("b");
    let psk = crate::schedule::PreSharedKeyId {
        psktype: PskType::Resumption {
            usage: crate::schedule::ResumptionPskUsage::Branch,
            psk_group_id: group.group_id().clone(),
            psk_epoch: group.epoch().context().epoch,
        },
        psk_nonce: vec![1; 32].into(),
    };
    let psk = Proposal::PreSharedKey(PreSharedKey { psk });
    let proposals = vec![super::world::add(&joiner), psk];
    let request = CommitRequest { purpose: Purpose::Branch, psks: &tie, ..world.request(proposals) };
    let welcome = world.create(0, &request).unwrap().welcome.unwrap();
    let refused = group.join_branch(&welcome, &join(&joiner, &NoPsks)).unwrap_err();
    assert_eq!(refused, PlainError::BranchMismatch);
}

#[test]
fn nobody_fills_the_memory_with_proposals() {
    let config = PlainConfig { public_handshake: true, ..PlainConfig::default() };
    let mut room = Room::new(&config, &["a", "b", "c"]);
    let mut sender = room.groups[1].clone();
    for _ in 0..MAX_PROPOSALS {
        let psk = PskType::External { psk_id: vec![1].into() };
        let message = sender.propose_psk(psk, &mut room.rng).unwrap();
        room.groups[0].process(&message, &NoPsks, &DefaultPolicy).unwrap();
    }
    let one_more = sender.propose_remove(LeafIndex(2), &mut room.rng).unwrap();
    let refused = room.groups[0].process(&one_more, &NoPsks, &DefaultPolicy).unwrap_err();
    assert_eq!(refused, PlainError::TooManyProposals);
    let of_another = room.groups[2].propose_remove(LeafIndex(1), &mut room.rng).unwrap();
    room.groups[0].process(&of_another, &NoPsks, &DefaultPolicy).unwrap();
}

#[test]
fn dmls_groups_are_refused() {
    let mut rng = rng(1);
    let founder = bundle("a", &mut rng);
    let config = PlainConfig::default();
    let refused = PlainGroup::create(suite(), id(), dmls_extensions(), &founder, config, &mut rng);
    assert_eq!(refused.unwrap_err(), PlainError::NotPlain);
    assert!(public().public);
}

fn id() -> Bytes {
    vec![1].into()
}

#[test]
fn damaged_messages_are_errors_and_change_nothing() {
    let config = PlainConfig { public_handshake: true, ..PlainConfig::default() };
    let mut room = Room::new(&config, &["a", "b", "c"]);
    let mut messages = vec![room.groups[0].encrypt(b"hello", b"", &mut room.rng).unwrap()];
    let mut sender = room.groups[0].clone();
    messages.push(sender.propose_remove(LeafIndex(2), &mut room.rng).unwrap());
    let committed = sender.commit(&PlainCommit::default(), &NoPsks, &DefaultPolicy, &mut room.rng).unwrap();
    let receiver = room.groups[1].clone();
    let mut with_proposal = receiver.clone();
    with_proposal.process(&messages[1], &NoPsks, &DefaultPolicy).unwrap();
    messages.push(committed.message);
    let mut noise = rng(11);
    for (kind, message) in messages.iter().enumerate() {
        let receiver = if kind == 2 { &with_proposal } else { &receiver };
        receiver.clone().process(message, &NoPsks, &DefaultPolicy).unwrap();
        let bytes = message.to_bytes().unwrap();
        for round in 0..400 {
            let mut damaged = bytes.clone();
            let mut random = [0; 6];
            rand_core::Rng::fill_bytes(&mut noise, &mut random);
            let at = usize::from(u16::from_be_bytes([random[0], random[1]])) % damaged.len();
            match random[2] % 4 {
                0 => damaged.truncate(at),
                1 => damaged.insert(at, random[3]),
                _ => damaged[at] ^= random[3].max(1),
            }
            let Ok(damaged) = MlsMessage::from_bytes(&damaged) else { continue };
            let mut group = receiver.clone();
            let done = group.process(&damaged, &NoPsks, &DefaultPolicy);
            assert!(done.is_err(), "seed 11, message {kind}, round {round}");
            assert_eq!(group.epoch_authenticator(), receiver.epoch_authenticator());
            assert_eq!(group.epoch().proposals(), receiver.epoch().proposals());
            group.process(message, &NoPsks, &DefaultPolicy).unwrap();
        }
    }
}

/// RFC 9420 13.5: values that mean nothing disturb nobody.
#[test]
fn grease_is_ignored() {
    let mut room = Room::new(&PlainConfig::default(), &["a", "b"]);
    let grease = 0x5a5a;
    let mut greasy = template("x");
    greasy.capabilities.versions.push(ProtocolVersion(grease));
    greasy.capabilities.cipher_suites.push(CipherSuite(grease));
    greasy.capabilities.extensions.push(ExtensionType(grease));
    greasy.capabilities.proposals.push(ProposalType(grease));
    greasy.capabilities.credentials.push(CredentialType(grease));
    let extension = Extension { extension_type: ExtensionType(grease), extension_data: vec![1, 2].into() };
    greasy.extensions.0.push(extension.clone());
    let (key, _) = suite().signature().generate(&mut room.rng);
    let builder = KeyPackageBuilder::new(suite(), greasy, key).extensions(Extensions(vec![extension]));
    let joiner = builder.build(&mut room.rng).unwrap();
    let add = Proposal::Add(Add { key_package: Box::new(joiner.key_package.clone()) });
    let committed = room.commit(1, &PlainCommit { proposals: vec![add], ..PlainCommit::default() });
    let welcome = committed.welcome.unwrap();
    room.groups.push(PlainGroup::join(&welcome, &join(&joiner, &NoPsks), PlainConfig::default()).unwrap());
    room.agree();
    room.commit(2, &PlainCommit::default());
    room.agree();
}
