//! RFC 9420 7.3, 12.4.2: each test breaks one rule of a commit.

use super::world::*;
use crate::codec::Bytes;
use crate::epoch::*;
use crate::framing::*;
use crate::schedule::{PreSharedKeyId, PskType};
use crate::suite::Secret;
use crate::tree::*;

fn stage(world: &World, content: &AuthenticatedContent) -> Result<PublicCommit, CommitError> {
    world.clients[1].epoch.stage_commit(content, &DefaultPolicy)
}

fn refused(world: &World, content: &AuthenticatedContent) -> CommitError {
    stage(world, content).unwrap_err()
}

/// A valid commit with a path, and the Commit in it.
fn with_path(world: &mut World) -> (CreatedCommit, Commit) {
    let created = world.create(0, &world.request(vec![])).unwrap();
    let Content::Commit(commit) = created.content.content.content.clone() else { panic!() };
    (created, commit)
}

#[test]
fn what_a_commit_is() {
    let mut world = World::plain(&["a", "b", "c"]);
    let (created, _) = with_path(&mut world);
    let good = created.content;
    stage(&world, &good).unwrap();
    let changed = |change: &dyn Fn(&mut AuthenticatedContent)| {
        let mut content = good.clone();
        change(&mut content);
        refused(&world, &content)
    };
    let remove = || Content::Proposal(remove(2));
    assert_eq!(changed(&|c| c.content.content = remove()), CommitError::NotACommit);
    assert_eq!(changed(&|c| c.content.epoch = 2), CommitError::WrongEpoch);
    assert_eq!(changed(&|c| c.content.group_id = vec![1].into()), CommitError::WrongEpoch);
    assert_eq!(changed(&|c| c.content.sender = Sender::External(0)), CommitError::BadSender);
    assert_eq!(changed(&|c| c.content.sender = Sender::NewMemberProposal), CommitError::BadSender);
    assert_eq!(changed(&|c| c.auth.confirmation_tag = None), CommitError::MissingConfirmationTag);

    let mut last = world.clients[1].epoch.public().clone();
    last.context.epoch = u64::MAX;
    let mut content = good.clone();
    content.content.epoch = u64::MAX;
    let known = Default::default();
    let end = last.stage(&content, &known, None, Purpose::Ordinary, &DefaultPolicy);
    assert_eq!(end.unwrap_err(), CommitError::EpochOverflow);
}

struct Policy;

impl CommitPolicy for Policy {
    fn authorise(&self, _: &PublicState, committer: Committer, list: &[SentProposal]) -> Result<(), String> {
        let removes = list.iter().any(|sent| matches!(sent.proposal, Proposal::Remove(_)));
        match committer {
            Committer::Member(LeafIndex(0)) => Ok(()),
            _ if removes => Err("no admin".into()),
            _ => Ok(()),
        }
    }
}

#[test]
fn the_application_has_a_say() {
    let mut world = World::plain(&["a", "b", "c"]);
    let request = world.request(vec![remove(2)]);
    for (who, receiver, allowed) in [(0, 1, true), (1, 0, false)] {
        let created = world.create(who, &request).unwrap();
        let staged = world.clients[receiver].epoch.stage_commit(&created.content, &Policy).map(|_| ());
        let denied = Err(CommitError::Denied("no admin".into()));
        assert_eq!(staged, if allowed { Ok(()) } else { denied });
    }
    let own = CommitRequest { policy: &Policy, ..world.request(vec![remove(2)]) };
    let refused = world.create(1, &own).unwrap_err();
    assert_eq!(refused, CreateError::Commit(CommitError::Denied("no admin".into())));
}

#[test]
fn a_path_where_one_is_required() {
    let mut world = World::plain(&["a", "b", "c"]);
    let bundle = world.bundle("x");
    let update = world.update_of(2);
    let sent = world.clients[2].epoch.sign(Content::Proposal(update), &private()).unwrap();
    for client in &mut world.clients {
        client.epoch = client.epoch.with_proposal(&sent).unwrap().0;
    }
    let update = ProposalOrRef::Reference(sent.proposal_ref(world.suite).unwrap());
    let extensions = GroupContextExtensions { extensions: Extensions::default() };
    let by_value = |proposal| vec![ProposalOrRef::Proposal(proposal)];
    let needed =
        [vec![], by_value(remove(2)), vec![update], by_value(Proposal::GroupContextExtensions(extensions))];
    for proposals in needed {
        let content = world.forge(0, Commit { proposals, path: None });
        assert_eq!(refused(&world, &content), CommitError::PathRequired);
    }
    let proposals = vec![ProposalOrRef::Proposal(add(&bundle))];
    stage(&world, &world.forge(0, Commit { proposals, path: None })).unwrap();
}

#[test]
fn leaves_that_are_added() {
    use LeafNodeError as E;
    let mut world = World::plain(&["a", "b"]);
    let required = RequiredCapabilities { extension_types: vec![ExtensionType(0xf00)], ..Default::default() };
    let with_extension = |template: LeafTemplate| LeafTemplate {
        capabilities: Capabilities {
            extensions: vec![ExtensionType(0xf00)],
            ..template.capabilities.clone()
        },
        ..template
    };
    // A group that requires something of its members.
    let (key, _) = world.suite.signature().generate(&mut world.rng);
    let founder = KeyPackageBuilder::new(world.suite, with_extension(template("a")), key);
    let founder = founder.build(&mut world.rng).unwrap();
    let extensions = Extensions(vec![required.to_extension().unwrap()]);
    let (epoch, _) =
        Epoch::found(world.suite, Bytes::default(), extensions, &founder, &mut world.rng).unwrap();
    world.clients.truncate(1);
    world.clients[0].epoch = epoch;
    let attempt = |world: &mut World, template: LeafTemplate| {
        let (key, _) = world.suite.signature().generate(&mut world.rng);
        let bundle = KeyPackageBuilder::new(world.suite, template, key).build(&mut world.rng).unwrap();
        match world.create(0, &world.request(vec![add(&bundle)])) {
            Ok(_) => None,
            Err(CreateError::Commit(CommitError::AddLeaf { leaf: LeafIndex(1), error })) => Some(error),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(attempt(&mut world, with_extension(template("x"))), None);
    let lacking = attempt(&mut world, template("x"));
    assert_eq!(lacking, Some(E::RequiredExtension(ExtensionType(0xf00))));
    let mut changed = |change: &dyn Fn(&mut LeafTemplate)| {
        let mut template = with_extension(template("x"));
        change(&mut template);
        attempt(&mut world, template)
    };
    let basic = CredentialType::BASIC;
    let none = changed(&|t| t.capabilities.credentials = vec![CredentialType::X509]);
    let member = LeafIndex(0);
    assert_eq!(none, Some(E::MemberCredentialUnsupported { member, credential_type: basic }));
    let unlisted = Extension { extension_type: ExtensionType(0xf01), extension_data: Bytes::default() };
    let listed = changed(&|t| t.extensions.0.push(unlisted.clone()));
    assert_eq!(listed, Some(E::ExtensionNotListed(ExtensionType(0xf01))));
}

#[test]
fn keys_are_of_one_member_only() {
    use LeafNodeError as E;
    let mut world = World::plain(&["a", "b"]);
    let taken = world.clients[1].epoch.signature_private().clone();
    let builder = KeyPackageBuilder::new(world.suite, template("x"), taken);
    let bundle = builder.build(&mut world.rng).unwrap();
    let refused = world.create(0, &world.request(vec![add(&bundle)])).unwrap_err();
    let leaf = LeafIndex(2);
    let expected = CommitError::AddLeaf { leaf, error: E::SignatureKeyInUse };
    assert_eq!(refused, CreateError::Commit(expected));
    // Removed in the same commit, the member can come back with the same key.
    world.create(0, &world.request(vec![remove(1), add(&bundle)])).unwrap();

    // An Update that keeps its encryption key.
    let epoch = &world.clients[1].epoch;
    let own = epoch.leaf(LeafIndex(1)).unwrap();
    let position = LeafPosition { group_id: b"group", leaf_index: LeafIndex(1) };
    let key = own.encryption_key.clone();
    let leaf_node = LeafTemplate::of(own)
        .sign(world.suite, key, LeafNodeSource::Update, Some(position), epoch.signature_private())
        .unwrap();
    let update = Proposal::Update(Update { leaf_node });
    let reference = world.propose(1, update);
    let request = CommitRequest { references: vec![reference], ..world.request(vec![]) };
    let refused = world.create(0, &request).unwrap_err();
    let expected = CommitError::UpdateLeaf { leaf: LeafIndex(1), error: E::EncryptionKeyInUse };
    assert_eq!(refused, CreateError::Commit(expected));
}

#[test]
fn updates_are_judged_by_the_tree_after_them() {
    let mut world = World::plain(&["a", "b", "c"]);
    let key = |who: usize, world: &World| world.clients[who].epoch.signature_private().clone();
    let update = |world: &mut World, who: usize, key| {
        let epoch = &world.clients[who].epoch;
        let own = LeafTemplate::of(epoch.leaf(epoch.own_leaf()).unwrap());
        let sealed = epoch.seal_update(&own, Some(key), &private(), &mut world.rng).unwrap();
        world.hand_out(who, sealed)
    };
    let (of_b, of_c) = (key(1, &world), key(2, &world));
    let (fresh, _) = world.suite.signature().generate(&mut world.rng);
    // c takes b's signature key: refused while b keeps it, and when b takes the same new one as c.
    let taken = update(&mut world, 2, of_b);
    let request = CommitRequest { references: vec![taken.clone()], ..world.request(vec![]) };
    let refused = world.create(0, &request).unwrap_err();
    let error = LeafNodeError::SignatureKeyInUse;
    let expected = CommitError::UpdateLeaf { leaf: LeafIndex(2), error: error.clone() };
    assert_eq!(refused, CreateError::Commit(expected));
    let (one, two) = (update(&mut world, 1, fresh.clone()), update(&mut world, 2, fresh));
    let request = CommitRequest { references: vec![one, two], ..world.request(vec![]) };
    let refused = world.create(0, &request).unwrap_err();
    let expected = CommitError::UpdateLeaf { leaf: LeafIndex(1), error };
    assert_eq!(refused, CreateError::Commit(expected));
    // Each takes the other's: that is well.
    let given = update(&mut world, 1, of_c);
    let request = CommitRequest { references: vec![taken, given], ..world.request(vec![]) };
    world.commit(0, &request, &[]);
}

#[test]
fn a_member_keeps_its_credential_unless_the_application_agrees() {
    struct Anybody;
    impl CommitPolicy for Anybody {
        fn accept_successor(&self, _: &LeafNode, _: &LeafNode) -> bool {
            true
        }
    }
    let mut world = World::plain(&["a", "b"]);
    let request = CommitRequest { template: Some(template("mallory")), ..world.request(vec![]) };
    let refused = world.create(0, &request).unwrap_err();
    assert_eq!(refused, CreateError::Commit(CommitError::Successor(LeafIndex(0))));
    let created = world.create(0, &CommitRequest { policy: &Anybody, ..request }).unwrap();
    let epoch = &world.clients[1].epoch;
    let refused = epoch.stage_commit(&created.content, &DefaultPolicy).unwrap_err();
    assert_eq!(refused, CommitError::Successor(LeafIndex(0)));
    epoch.stage_commit(&created.content, &Anybody).unwrap();
}

#[test]
fn extensions_that_a_member_does_not_support() {
    let mut world = World::plain(&["a", "b"]);
    let with = |ty| {
        let extension = Extension { extension_type: ExtensionType(ty), extension_data: Bytes::default() };
        let extensions = Extensions(vec![extension]);
        Proposal::GroupContextExtensions(GroupContextExtensions { extensions })
    };
    let refused = world.create(0, &world.request(vec![with(0xf00)])).unwrap_err();
    let error = LeafNodeError::GroupExtensionUnsupported(ExtensionType(0xf00));
    let expected = CommitError::MemberSupport { member: LeafIndex(0), error };
    assert_eq!(refused, CreateError::Commit(expected));
    let required = RequiredCapabilities { proposal_types: vec![ProposalType(0xf00)], ..Default::default() };
    let extensions = Extensions(vec![required.to_extension().unwrap()]);
    let new = Proposal::GroupContextExtensions(GroupContextExtensions { extensions });
    let refused = world.create(0, &world.request(vec![new])).unwrap_err();
    let error = LeafNodeError::RequiredProposal(ProposalType(0xf00));
    let expected = CommitError::MemberSupport { member: LeafIndex(0), error };
    assert_eq!(refused, CreateError::Commit(expected));
}

#[test]
fn paths_that_do_not_fit_the_tree() {
    let mut world = World::plain(&["a", "b", "c", "d"]);
    let (created, good) = with_path(&mut world);
    stage(&world, &created.content).unwrap();
    let changed = |change: &dyn Fn(&mut UpdatePath)| {
        let mut commit = good.clone();
        change(commit.path.as_mut().unwrap());
        match refused(&world, &world.forge(0, commit)) {
            CommitError::Tree(error) => error,
            other => panic!("{other}"),
        }
    };
    let short = changed(&|path| drop(path.nodes.pop()));
    assert_eq!(short, TreeError::PathLength { expected: 2, found: 1 });
    let more = changed(&|path| {
        let again = path.nodes[0].encrypted_path_secret[0].clone();
        path.nodes[0].encrypted_path_secret.push(again);
    });
    assert!(matches!(more, TreeError::CiphertextCount { expected: 1, found: 2, .. }), "{more}");
    let twice = changed(&|path| path.nodes[1].encryption_key = path.nodes[0].encryption_key.clone());
    assert!(matches!(twice, TreeError::PathKeyReused(_)), "{twice}");
    let (_, key) = world.suite.hpke().derive_key_pair(&Secret::from(vec![3; 32]));
    let unbound = changed(&|path| path.nodes[1].encryption_key = key.clone());
    assert_eq!(unbound, TreeError::PathParentHash);
    let leaf = changed(&|path| path.leaf_node.credential = Credential::basic("x"));
    assert!(matches!(leaf, TreeError::Leaf { error: LeafNodeError::Signature(_), .. }), "{leaf}");
    // Another member's path is bound to another place.
    let moved = world.forge(2, good.clone());
    assert!(matches!(refused(&world, &moved), CommitError::Tree(_)));
}

#[test]
fn paths_that_do_not_open() {
    let mut world = World::plain(&["a", "b", "c", "d"]);
    let (created, good) = with_path(&mut world);
    let enter = |content: &AuthenticatedContent, who: usize| {
        let epoch = &world.clients[who].epoch;
        let staged = epoch.stage_commit(content, &DefaultPolicy).unwrap();
        epoch.enter(&staged, InitSource::Plain, &NoPsks).map(|_| ())
    };
    enter(&created.content, 1).unwrap();
    let mut commit = good.clone();
    commit.path.as_mut().unwrap().nodes[0].encrypted_path_secret[0].ciphertext = vec![1; 48].into();
    let broken = world.forge(0, commit);
    assert_eq!(
        enter(&broken, 1),
        Err(CommitError::Tree(TreeError::Crypto(crate::suite::CryptoError::Decryption)))
    );
    // For others the path opens: what is left is the forged tag.
    assert_eq!(enter(&broken, 2), Err(CommitError::ConfirmationTag));
    // A path secret of another node.
    let mut commit = good.clone();
    let context = {
        let staged = world.clients[1].epoch.stage_commit(&created.content, &DefaultPolicy).unwrap();
        staged.provisional_context(world.clients[1].epoch.public()).unwrap()
    };
    let key = world.clients[1].epoch.leaf(LeafIndex(1)).unwrap().encryption_key.clone();
    let sealed = world.suite.encrypt_with_label(&key, "UpdatePathNode", &context, &[5; 32], &mut world.rng);
    commit.path.as_mut().unwrap().nodes[0].encrypted_path_secret[0] = sealed.unwrap();
    let wrong = world.forge(0, commit);
    let epoch = &world.clients[1].epoch;
    let staged = epoch.stage_commit(&wrong, &DefaultPolicy).unwrap();
    let refused = epoch.enter(&staged, InitSource::Plain, &NoPsks).unwrap_err();
    assert!(matches!(refused, CommitError::Tree(TreeError::PathKeyMismatch(_))), "{refused}");
}

#[test]
fn tags_parents_and_own_commits() {
    let mut world = World::plain(&["a", "b", "c"]);
    let (created, _) = with_path(&mut world);
    let mut bad = created.content.clone();
    bad.auth.confirmation_tag = Some(vec![0; 32].into());
    let enter = |epoch: &Epoch, content: &AuthenticatedContent| {
        let staged = epoch.stage_commit(content, &DefaultPolicy).unwrap();
        epoch.enter(&staged, InitSource::Plain, &NoPsks).map(|_| ())
    };
    let receiver = world.clients[1].epoch.clone();
    assert_eq!(enter(&receiver, &bad), Err(CommitError::ConfirmationTag));
    assert_eq!(enter(&receiver, &created.content), Ok(()));
    assert_eq!(enter(&created.parent, &created.content), Err(CommitError::OwnCommit));
    let staged = receiver.stage_commit(&created.content, &DefaultPolicy).unwrap();
    let next = receiver.enter(&staged, InitSource::Plain, &NoPsks).unwrap().epoch;
    let again = next.enter(&staged, InitSource::Plain, &NoPsks).unwrap_err();
    assert_eq!(again, CommitError::OtherParent);
    let removal = world.create(0, &world.request(vec![remove(1)])).unwrap();
    assert_eq!(enter(&receiver, &removal.content), Err(CommitError::Removed));
}

#[test]
fn psks_that_are_known_and_not() {
    struct One;
    impl PskStore for One {
        fn psk(&self, _: &PskType) -> Option<Secret> {
            Some(vec![9; 32].into())
        }
    }
    let mut world = World::plain(&["a", "b"]);
    let id = PreSharedKeyId {
        psktype: PskType::External { psk_id: vec![1].into() },
        psk_nonce: vec![2; 32].into(),
    };
    let psk = Proposal::PreSharedKey(PreSharedKey { psk: id.clone() });
    let unknown = CommitError::UnknownPsk(Box::new(id));
    let refused = world.create(0, &world.request(vec![psk.clone()])).unwrap_err();
    assert_eq!(refused, CreateError::Commit(unknown.clone()));
    let request = CommitRequest { psks: &One, ..world.request(vec![psk]) };
    let created = world.create(0, &request).unwrap();
    let epoch = &world.clients[1].epoch;
    let staged = epoch.stage_commit(&created.content, &DefaultPolicy).unwrap();
    assert_eq!(epoch.enter(&staged, InitSource::Plain, &NoPsks).unwrap_err(), unknown);
    let entered = epoch.enter(&staged, InitSource::Plain, &One).unwrap();
    assert_eq!(entered.epoch.epoch_authenticator(), created.child.epoch_authenticator());
}

#[test]
fn an_own_update_needs_its_key() {
    let mut world = World::plain(&["a", "b"]);
    let epoch = world.clients[1].epoch.clone();
    let own = LeafTemplate::of(epoch.leaf(LeafIndex(1)).unwrap());
    let (new_key, _) = world.suite.signature().generate(&mut world.rng);
    let sealed = epoch.seal_update(&own, Some(new_key.clone()), &private(), &mut world.rng).unwrap();
    let content = sealed.content.clone();
    let reference = world.hand_out(1, sealed);
    let request = CommitRequest { references: vec![reference], ..world.request(vec![]) };
    let created = world.create(0, &request).unwrap();
    // A state from before the proposal, to which only the message came back.
    let (forgetful, _) = epoch.with_proposal(&content).unwrap();
    let staged = forgetful.stage_commit(&created.content, &DefaultPolicy).unwrap();
    let refused = forgetful.enter(&staged, InitSource::Plain, &NoPsks).unwrap_err();
    assert_eq!(refused, CommitError::UnknownOwnUpdate);
    let entered = world.process(1, &created.message).unwrap();
    assert_eq!(entered.epoch.signature_private(), &new_key);
    assert_eq!(entered.epoch.epoch_authenticator(), created.child.epoch_authenticator());
}
