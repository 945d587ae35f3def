//! RFC 9420 5.3.1, 12.1, 12.2: what strangers and members can do to a plain group.

use super::world::template;
use crate::codec::Bytes;
use crate::epoch::plain::*;
use crate::epoch::*;
use crate::framing::testing::{TestRng, rng};
use crate::framing::*;
use crate::suite::{CipherSuite, SignaturePublicKey, Suite};
use crate::tree::*;

fn suite() -> Suite {
    CipherSuite::X25519_AES128GCM.suite().unwrap()
}

fn bundle_of(template: LeafTemplate, lifetime: Lifetime, rng: &mut TestRng) -> KeyPackageBundle {
    let (key, _) = suite().signature().generate(rng);
    KeyPackageBuilder::new(suite(), template, key).lifetime(lifetime).build(rng).unwrap()
}

fn bundle(name: &str, rng: &mut TestRng) -> KeyPackageBundle {
    bundle_of(template(name), Lifetime::UNLIMITED, rng)
}

/// Two members, `a` and `b`.
fn group(rng: &mut TestRng) -> (PlainGroup, PlainGroup) {
    let (founder, joiner) = (bundle("a", rng), bundle("b", rng));
    let config = PlainConfig { public_handshake: true, ..PlainConfig::default() };
    let id = vec![5].into();
    let mut a =
        PlainGroup::create(suite(), id, Extensions::default(), &founder, config.clone(), rng).unwrap();
    let proposals = vec![super::world::add(&joiner)];
    let commit = PlainCommit { proposals, ..PlainCommit::default() };
    let welcome = a.commit(&commit, &NoPsks, &DefaultPolicy, rng).unwrap().welcome.unwrap();
    a.merge_pending().unwrap();
    let join = Join { bundle: &joiner, ratchet_tree: None, psks: &NoPsks, policy: &DefaultPolicy };
    (a, PlainGroup::join(&welcome, &join, config).unwrap())
}

/// An authentication service that knows some keys.
struct Known(Vec<SignaturePublicKey>);

impl CommitPolicy for Known {
    fn now(&self) -> Option<u64> {
        Some(1000)
    }

    fn accept_member(&self, leaf: &LeafNode) -> bool {
        self.0.contains(&leaf.signature_key)
    }
}

fn keys(group: &PlainGroup) -> Vec<SignaturePublicKey> {
    group.members().map(|(_, leaf)| leaf.signature_key.clone()).collect()
}

#[test]
fn nobody_takes_the_place_of_a_member_with_a_copy_of_its_credential() {
    let mut rng = rng(1);
    let (a, _) = group(&mut rng);
    let (key, public_key) = suite().signature().generate(&mut rng);
    let template = template("b");
    let join = ExternalJoin {
        template: &template,
        signature_private: &key,
        replaces: Some(LeafIndex(1)),
        psk_ids: vec![],
        ratchet_tree: None,
        authenticated_data: Bytes::default(),
        psks: &NoPsks,
        policy: &DefaultPolicy,
    };
    let info = a.group_info(true).unwrap();
    let (_, message) = PlainGroup::join_external(&info, &join, PlainConfig::default(), &mut rng).unwrap();
    let mut known = keys(&a);
    let refused = a.clone().process(&message, &NoPsks, &Known(known.clone())).unwrap_err();
    assert_eq!(refused, PlainError::Commit(CommitError::Successor(LeafIndex(1))));
    // The same by somebody whose key the service knows to be that of `b`.
    known.push(public_key);
    a.clone().process(&message, &NoPsks, &Known(known)).unwrap();
}

#[test]
fn the_new_signature_key_of_a_member_is_judged() {
    let mut rng = rng(2);
    let (a, mut b) = group(&mut rng);
    let known = Known(keys(&a));
    let (key, public_key) = suite().signature().generate(&mut rng);
    let mut with_key = known.0.clone();
    with_key.push(public_key);
    let update = b.clone().propose_update(None, Some(key.clone()), &mut rng).unwrap();
    let refused = a.clone().process(&update, &NoPsks, &known).unwrap_err();
    assert_eq!(refused, PlainError::Commit(CommitError::Successor(LeafIndex(1))));
    a.clone().process(&update, &NoPsks, &Known(with_key.clone())).unwrap();
    let commit = PlainCommit { signature_private: Some(key), ..PlainCommit::default() };
    let commit = b.commit(&commit, &NoPsks, &DefaultPolicy, &mut rng).unwrap().message;
    let refused = a.clone().process(&commit, &NoPsks, &known).unwrap_err();
    assert_eq!(refused, PlainError::Commit(CommitError::Successor(LeafIndex(1))));
    a.clone().process(&commit, &NoPsks, &Known(with_key)).unwrap();
}

/// A stranger's proposal of its own Add (RFC 9420 12.1.8).
fn ask(group: &PlainGroup, bundle: &KeyPackageBundle) -> MlsMessage {
    let context = group.epoch().context();
    let content = FramedContent {
        group_id: context.group_id.clone(),
        epoch: context.epoch,
        sender: Sender::NewMemberProposal,
        authenticated_data: Bytes::default(),
        content: Content::Proposal(super::world::add(bundle)),
    };
    let format = WireFormat::PublicMessage;
    let signer = &bundle.signature_private;
    let content = AuthenticatedContent::sign(suite(), format, content, context, signer).unwrap();
    let key = crate::suite::Secret::default();
    PublicMessage::protect(suite(), content, context, &key).unwrap().into()
}

#[test]
fn a_stranger_with_a_bad_key_package_holds_nobody_up() {
    let mut rng = rng(3);
    let (mut a, _) = group(&mut rng);
    let good = bundle("c", &mut rng);
    let mut bad = good.clone();
    bad.key_package.signature = vec![1; 64].into();
    let expired = Lifetime { not_before: 0, not_after: 999 };
    let expired = bundle_of(template("c"), expired, &mut rng);
    let mut odd = template("c");
    odd.extensions.set(ExtensionType(0xf00), Bytes::default());
    let odd = bundle_of(odd, Lifetime::UNLIMITED, &mut rng);
    let mut policy = Known(keys(&a));
    let unknown = a.process(&ask(&a, &good), &NoPsks, &policy).unwrap_err();
    assert_eq!(unknown, PlainError::Commit(CommitError::MemberRefused));
    let new = [&good, &expired, &odd].map(|bundle| bundle.key_package.leaf_node.signature_key.clone());
    policy.0.extend(new);
    let unlisted = LeafNodeError::ExtensionNotListed(ExtensionType(0xf00));
    for (bundle, error) in [
        (&bad, CommitError::AddKeyPackage(KeyPackageError::Signature)),
        (&expired, CommitError::AddKeyPackage(KeyPackageError::Lifetime)),
        (&odd, CommitError::ProposedLeaf(unlisted)),
    ] {
        let refused = a.process(&ask(&a, bundle), &NoPsks, &policy).unwrap_err();
        assert_eq!(refused, PlainError::Commit(error));
        a.encrypt(b"x", b"", &mut rng).unwrap();
    }
    a.process(&ask(&a, &good), &NoPsks, &policy).unwrap();
    assert_eq!(a.encrypt(b"x", b"", &mut rng).unwrap_err(), PlainError::UncommittedProposals);
    let committed = a.commit(&PlainCommit::default(), &NoPsks, &policy, &mut rng).unwrap();
    assert_eq!(committed.welcome.unwrap().secrets.len(), 1);
}

#[test]
fn proposals_that_do_not_go_together_are_left_out() {
    let mut rng = rng(4);
    let (mut a, b) = group(&mut rng);
    let profile = Extension { extension_type: ExtensionType(0xf00), extension_data: Bytes::default() };
    let without = |a: &PlainGroup, asking: &[&KeyPackageBundle], rng: &mut TestRng| {
        let mut a = a.clone();
        for bundle in asking {
            a.process(&ask(&a, bundle), &NoPsks, &DefaultPolicy).unwrap();
        }
        let committed = a.commit(&PlainCommit::default(), &NoPsks, &DefaultPolicy, rng).unwrap();
        committed.welcome.map_or(0, |welcome| welcome.secrets.len())
    };
    // One init key for two clients.
    let (c, mut d) = (bundle("c", &mut rng), bundle("d", &mut rng));
    assert_eq!(without(&a, &[&c, &d], &mut rng), 2);
    d.key_package.init_key = c.key_package.init_key.clone();
    let signer = d.signature_private.clone();
    d.key_package.sign(suite(), &signer).unwrap();
    assert_eq!(without(&a, &[&c, &d], &mut rng), 1);
    // A second leaf with a member's signature key, as long as that member stays.
    let signer = b.epoch().signature_private().clone();
    let again = KeyPackageBuilder::new(suite(), template("b"), signer).build(&mut rng).unwrap();
    assert_eq!(without(&a, &[&c, &again], &mut rng), 1);
    let mut removing = a.clone();
    removing.propose_remove(LeafIndex(1), &mut rng).unwrap();
    assert_eq!(without(&removing, &[&c, &again], &mut rng), 2);
    // A client that does not support what the group is about to have.
    let mut able = template("e");
    able.capabilities.extensions.push(profile.extension_type);
    let new =
        [template("a"), able.clone()].map(|t| LeafTemplate { capabilities: able.capabilities.clone(), ..t });
    let founder = bundle_of(new[0].clone(), Lifetime::UNLIMITED, &mut rng);
    let (id, config) = (vec![6].into(), PlainConfig::default());
    a = PlainGroup::create(suite(), id, Extensions::default(), &founder, config, &mut rng).unwrap();
    let e = bundle_of(new[1].clone(), Lifetime::UNLIMITED, &mut rng);
    assert_eq!(without(&a, &[&c, &e], &mut rng), 2);
    a.propose_extensions(Extensions(vec![profile]), &mut rng).unwrap();
    assert_eq!(without(&a, &[&c, &e], &mut rng), 1);
}

#[test]
fn a_commit_names_a_proposal_once() {
    let mut world = super::world::World::plain(&["a", "b"]);
    let joiner = world.bundle("x");
    let reference = world.propose(1, super::world::add(&joiner));
    let by = |count| {
        let proposals = vec![ProposalOrRef::Reference(reference.clone()); count];
        let content = world.forge(0, Commit { proposals, path: None });
        world.clients[1].epoch.stage_commit(&content, &DefaultPolicy)
    };
    let twice = ProposalListError::DuplicateReference(reference.clone());
    assert_eq!(by(2).unwrap_err(), CommitError::List(twice));
    assert_eq!(by(1).unwrap().added.len(), 1);
}

#[test]
fn a_re_initialisation_names_each_extension_once() {
    let mut rng = rng(5);
    let (mut a, _) = group(&mut rng);
    let extension =
        Extension { extension_type: ExtensionType::APPLICATION_ID, extension_data: Bytes::default() };
    let mut propose = |count: usize| {
        let extensions = Extensions(vec![extension.clone(); count]);
        let (group_id, version) = (vec![9].into(), ProtocolVersion::MLS10);
        let reinit = ReInit { group_id, version, cipher_suite: suite().id(), extensions };
        a.propose_reinit(reinit, &mut rng)
    };
    let twice = ProposalListError::DuplicateExtension(ExtensionType::APPLICATION_ID);
    assert_eq!(propose(2).unwrap_err(), PlainError::Seal(SealError::Proposal(twice)));
    propose(1).unwrap();
}
