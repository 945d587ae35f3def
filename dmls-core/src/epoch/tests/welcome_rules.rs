//! RFC 9420 12.4.3: each test breaks one rule of a Welcome or a GroupInfo.

use super::world::*;
use crate::codec::{Bytes, decode, encode};
use crate::epoch::*;
use crate::framing::*;
use crate::schedule::{
    PreSharedKeyId, PskType, ResumptionPskUsage, psk_secret, welcome_keys, welcome_secret,
};
use crate::suite::{HpkePrivateKey, Secret, SignaturePrivateKey};
use crate::tree::*;

/// A Welcome that `a` sends to the last of the world's clients-to-be.
struct Invitation {
    world: World,
    bundle: KeyPackageBundle,
    welcome: Welcome,
    /// The signature key of the committer in the new epoch.
    signer: SignaturePrivateKey,
}

impl Invitation {
    fn new(mut world: World) -> Self {
        let bundle = world.bundle("x");
        let created = world.create(0, &world.request(vec![add(&bundle)])).unwrap();
        let signer = created.child.signature_private().clone();
        let welcome = created.welcome.unwrap();
        Self { world, bundle, welcome, signer }
    }

    fn plain() -> Self {
        Self::new(World::plain(&["a", "b", "c"]))
    }

    /// The Welcome with its contents changed, signed and encrypted again.
    fn changed(&mut self, change: &dyn Fn(&mut GroupSecrets, &mut GroupInfo)) -> Welcome {
        let (suite, rng) = (self.world.suite, &mut self.world.rng);
        let info = self.welcome.encrypted_group_info.as_slice();
        let ours = &self.welcome.secrets[0];
        let opened = suite
            .decrypt_with_label(&self.bundle.init_private, "Welcome", info, &ours.encrypted_group_secrets)
            .unwrap();
        let mut secrets: GroupSecrets = decode(opened.as_slice()).unwrap();
        let psk = psk_secret(suite, &[]).unwrap();
        let keys = |secrets: &GroupSecrets| {
            welcome_keys(suite, &welcome_secret(suite, &secrets.joiner_secret, &psk).unwrap()).unwrap()
        };
        let old = keys(&secrets);
        let opened = suite.aead().open(&old.key, old.nonce.as_slice(), b"", info).unwrap();
        let mut info: GroupInfo = decode(opened.as_slice()).unwrap();
        change(&mut secrets, &mut info);
        let signature = info.signature.clone();
        let mut info = GroupInfo::sign(
            suite,
            info.group_context,
            info.extensions,
            info.confirmation_tag,
            info.signer,
            &self.signer,
        )
        .unwrap();
        if signature.is_empty() {
            info.signature = vec![1; 64].into();
        }
        let info = suite.aead().seal(&old.key, old.nonce.as_slice(), b"", &encode(&info).unwrap()).unwrap();
        let plaintext = encode(&secrets).unwrap();
        let key = &self.bundle.key_package.init_key;
        let sealed = suite.encrypt_with_label(key, "Welcome", &info, &plaintext, rng).unwrap();
        let ours = EncryptedGroupSecrets { encrypted_group_secrets: sealed, ..ours.clone() };
        Welcome { secrets: vec![ours], encrypted_group_info: info.into(), ..self.welcome.clone() }
    }

    fn refused(&mut self, change: &dyn Fn(&mut GroupSecrets, &mut GroupInfo)) -> WelcomeError {
        let welcome = self.changed(change);
        self.world.join(&self.bundle, &welcome).unwrap_err()
    }
}

#[test]
fn the_control_joins() {
    for world in [World::plain(&["a", "b", "c"]), World::dmls(&["a", "b", "c"])] {
        let mut invitation = Invitation::new(world);
        invitation.world.join(&invitation.bundle, &invitation.welcome).unwrap();
        let same = invitation.changed(&|_, _| {});
        invitation.world.join(&invitation.bundle, &same).unwrap();
    }
}

#[test]
fn for_whom_a_welcome_is() {
    let mut invitation = Invitation::plain();
    let stranger = invitation.world.bundle("y");
    let Invitation { world, bundle, welcome, .. } = &invitation;
    assert_eq!(world.join(&stranger, welcome).unwrap_err(), WelcomeError::NotForUs);
    let other = Welcome { cipher_suite: crate::suite::CipherSuite(3), ..welcome.clone() };
    assert_eq!(world.join(bundle, &other).unwrap_err(), WelcomeError::CipherSuite);
    let wrong_init = KeyPackageBundle { init_private: stranger.init_private.clone(), ..bundle.clone() };
    assert_eq!(world.join(&wrong_init, welcome).unwrap_err(), WelcomeError::GroupSecrets);
    let wrong_leaf = KeyPackageBundle { leaf_private: stranger.leaf_private.clone(), ..bundle.clone() };
    assert_eq!(world.join(&wrong_leaf, welcome).unwrap_err(), WelcomeError::PrivateKey);
    let signature_private = stranger.signature_private.clone();
    let wrong_signature = KeyPackageBundle { signature_private, ..bundle.clone() };
    assert_eq!(world.join(&wrong_signature, welcome).unwrap_err(), WelcomeError::PrivateKey);
    let bad = HpkePrivateKey(Secret::from(vec![1]));
    let malformed = KeyPackageBundle { leaf_private: bad, ..bundle.clone() };
    assert!(matches!(world.join(&malformed, welcome).unwrap_err(), WelcomeError::Crypto(_)));
}

#[test]
fn secrets_of_a_welcome() {
    use WelcomeError as E;
    let mut invitation = Invitation::plain();
    let wrong = invitation.refused(&|secrets, _| secrets.joiner_secret = vec![1; 32].into());
    assert_eq!(wrong, E::GroupInfo);
    let path = PathSecret { path_secret: vec![1; 32].into() };
    let wrong = invitation.refused(&|secrets, _| secrets.path_secret = Some(path.clone()));
    assert!(matches!(wrong, E::PathSecret(TreeError::PathKeyMismatch(_))), "{wrong}");
    // Without it the joiner could open no path from the other side of the tree.
    let missing = invitation.refused(&|secrets, _| secrets.path_secret = None);
    assert_eq!(missing, E::PathSecret(TreeError::NoPrivateKey(LeafIndex(3))));
    let psk = |psktype, nonce: u8, len| PreSharedKeyId { psktype, psk_nonce: vec![nonce; len].into() };
    let external = || PskType::External { psk_id: vec![1].into() };
    let branch = || PskType::Resumption {
        usage: ResumptionPskUsage::Branch,
        psk_group_id: vec![1].into(),
        psk_epoch: 1,
    };
    let mut with = |psks: Vec<PreSharedKeyId>| invitation.refused(&|secrets, _| secrets.psks = psks.clone());
    assert_eq!(with(vec![psk(external(), 1, 31)]), E::PskNonce);
    assert_eq!(with(vec![psk(external(), 1, 32), psk(external(), 1, 32)]), E::DuplicatePsk);
    assert_eq!(with(vec![psk(branch(), 1, 32), psk(branch(), 2, 32)]), E::ResumptionPsks);
    let one = psk(external(), 1, 32);
    assert_eq!(with(vec![one.clone()]), E::UnknownPsk(Box::new(one)));
}

#[test]
fn the_group_info_of_a_welcome() {
    use WelcomeError as E;
    let mut invitation = Invitation::plain();
    let mut refused = |change: &dyn Fn(&mut GroupInfo)| invitation.refused(&|_, info| change(info));
    assert_eq!(refused(&|info| info.signer = LeafIndex(9)), E::Signer(LeafIndex(9)));
    assert_eq!(refused(&|info| info.signer = LeafIndex(1)), E::Signature);
    assert_eq!(refused(&|info| info.signature = Bytes::default()), E::Signature);
    assert_eq!(refused(&|info| info.confirmation_tag = vec![1; 32].into()), E::ConfirmationTag);
    assert_eq!(refused(&|info| info.group_context.version = ProtocolVersion(2)), E::Version);
    assert_eq!(
        refused(&|info| info.group_context.cipher_suite = crate::suite::CipherSuite(3)),
        E::CipherSuite
    );
    assert_eq!(refused(&|info| info.group_context.tree_hash = vec![1; 32].into()), E::TreeHash);
    // Any change of the context shows in the tag at the latest.
    assert_eq!(refused(&|info| info.group_context.epoch = 9), E::ConfirmationTag);
    let twice = |info: &mut GroupInfo| {
        let again = info.extensions.0[0].clone();
        info.extensions.0.push(again);
    };
    assert_eq!(refused(&twice), E::DuplicateExtension(ExtensionType::RATCHET_TREE));
    let malformed = |info: &mut GroupInfo| {
        info.group_context.extensions.set(ExtensionType::EXTERNAL_SENDERS, vec![9].into());
    };
    let error = ProposalListError::MalformedExtension(ExtensionType::EXTERNAL_SENDERS);
    assert_eq!(refused(&malformed), E::Extensions(error));
    // A required capability that members, and this client, have not.
    let required = |info: &mut GroupInfo| {
        let required =
            RequiredCapabilities { extension_types: vec![ExtensionType(0xf00)], ..Default::default() };
        info.group_context.extensions = Extensions(vec![required.to_extension().unwrap()]);
    };
    let error = LeafNodeError::RequiredExtension(ExtensionType(0xf00));
    let unsupported = refused(&required);
    assert!(
        matches!(&unsupported, E::Tree(TreeError::Leaf { error: found, .. }) if *found == error),
        "{unsupported}"
    );
}

#[test]
fn the_tree_of_a_welcome() {
    use WelcomeError as E;
    let mut invitation = Invitation::plain();
    let missing = invitation.refused(&|_, info| info.extensions = Extensions::default());
    assert_eq!(missing, E::MissingTree);
    let empty =
        invitation.refused(&|_, info| info.extensions.set(ExtensionType::RATCHET_TREE, vec![0].into()));
    assert_eq!(empty, E::Nodes(NodesError::Empty));
    let suite = invitation.world.suite;
    let with_tree = |info: &mut GroupInfo, change: &dyn Fn(RatchetTree) -> RatchetTree| {
        let data = info.extensions.get(ExtensionType::RATCHET_TREE).unwrap();
        let tree = change(RatchetTree::from_extension(suite, data.as_slice()).unwrap());
        info.group_context.tree_hash = tree.tree_hash().unwrap();
        let data = tree.to_extension().encode().unwrap();
        info.extensions.set(ExtensionType::RATCHET_TREE, data.into());
    };
    // A leaf whose contents its member did not sign.
    let forged = invitation.refused(&|_, info| {
        with_tree(info, &|tree| {
            let mut nodes = tree.to_nodes();
            let mut leaf = tree.leaf(LeafIndex(1)).unwrap().clone();
            leaf.credential = Credential::basic("mallory");
            nodes[2] = Some(Node::Leaf(leaf.into()));
            RatchetTree::from_nodes(suite, nodes).unwrap()
        });
    });
    assert!(
        matches!(&forged, E::Tree(TreeError::Leaf { index: LeafIndex(1), .. } | TreeError::ParentHash(_))),
        "{forged}"
    );
    let own = LeafIndex(3);
    let gone = invitation.refused(&|_, info| with_tree(info, &|tree| tree.remove_leaf(own).unwrap()));
    assert_eq!(gone, E::NoOwnLeaf);

    // Beside the GroupInfo, the tree does as well.
    let welcome = invitation.changed(&|_, info| info.extensions = Extensions::default());
    let Invitation { world, bundle, .. } = &invitation;
    assert_eq!(world.join(bundle, &welcome).unwrap_err(), E::MissingTree);
    let created = world.join(bundle, &invitation.welcome).unwrap().epoch;
    let tree = created.tree().to_extension().encode().unwrap();
    let join =
        Join { bundle: &invitation.bundle, ratchet_tree: Some(&tree), psks: &NoPsks, policy: &DefaultPolicy };
    assert_eq!(join.welcome(&welcome).unwrap().epoch.epoch_authenticator(), created.epoch_authenticator());
}

#[test]
fn credentials_of_members() {
    struct NotB;
    impl CommitPolicy for NotB {
        fn accept_member(&self, leaf: &LeafNode) -> bool {
            leaf.credential != Credential::basic("b")
        }
    }
    let invitation = Invitation::plain();
    let join = Join { bundle: &invitation.bundle, ratchet_tree: None, psks: &NoPsks, policy: &NotB };
    let refused = join.welcome(&invitation.welcome).unwrap_err();
    assert_eq!(refused, WelcomeError::MemberRefused(LeafIndex(1)));
}

#[test]
fn the_history_of_a_dmls_group() {
    let mut invitation = Invitation::new(World::dmls(&["a", "b"]));
    let joined = invitation.world.join(&invitation.bundle, &invitation.welcome).unwrap();
    assert_eq!(joined.info.unwrap().dmls_epoch, joined.dmls.unwrap().dmls_epoch.0);
    let without = |info: &mut GroupInfo| {
        info.extensions.0.retain(|e| e.extension_type != ExtensionType::DMLS_EPOCH);
    };
    assert_eq!(invitation.refused(&|_, info| without(info)), WelcomeError::MissingEpochInfo);
    let other = DmlsEpochInfo { dmls_epoch: vec![1; 32].into(), join: DmlsJoin::default() };
    let other = encode(&other).unwrap();
    let wrong =
        invitation.refused(&|_, info| info.extensions.set(ExtensionType::DMLS_EPOCH, other.clone().into()));
    assert_eq!(wrong, WelcomeError::EpochId);
    let malformed =
        invitation.refused(&|_, info| info.extensions.set(ExtensionType::DMLS_EPOCH, vec![9].into()));
    assert!(matches!(malformed, WelcomeError::Dmls(DmlsError::Codec(_))), "{malformed}");
}

#[test]
fn key_packages_of_last_resort_do_not_lead_into_dmls_groups() {
    // The committer is made to break the rule: its group is plain to it while it adds.
    let mut world = World::dmls(&["a", "b"]);
    let (key, _) = world.suite.signature().generate(&mut world.rng);
    let bundle = KeyPackageBuilder::new(world.suite, template("x"), key);
    let last_resort = bundle.last_resort().build(&mut world.rng).unwrap();
    let mut invitation = Invitation::new(world);
    let suite = invitation.world.suite;
    let leaf = last_resort.key_package.leaf_node.clone();
    // A tree with that client's leaf, and a Welcome for its key package.
    let changed = invitation.changed(&|_, info| {
        let data = info.extensions.get(ExtensionType::RATCHET_TREE).unwrap();
        let tree = RatchetTree::from_extension(suite, data.as_slice()).unwrap();
        let tree = tree.remove_leaf(LeafIndex(2)).unwrap().add_leaf(leaf.clone()).unwrap().0;
        info.group_context.tree_hash = tree.tree_hash().unwrap();
        let data = tree.to_extension().encode().unwrap();
        info.extensions.set(ExtensionType::RATCHET_TREE, data.into());
    });
    let for_last_resort = |bundle: &KeyPackageBundle| {
        let info = changed.encrypted_group_info.as_slice();
        let ours = &changed.secrets[0].encrypted_group_secrets;
        let opened =
            suite.decrypt_with_label(&invitation.bundle.init_private, "Welcome", info, ours).unwrap();
        let key = &bundle.key_package.init_key;
        let mut rng = crate::framing::testing::rng(3);
        let sealed = suite.encrypt_with_label(key, "Welcome", info, opened.as_slice(), &mut rng).unwrap();
        let new_member = bundle.key_package.reference(suite).unwrap();
        let ours = EncryptedGroupSecrets { new_member, encrypted_group_secrets: sealed };
        Welcome { secrets: vec![ours], ..changed.clone() }
    };
    let refused = invitation.world.join(&last_resort, &for_last_resort(&last_resort)).unwrap_err();
    assert_eq!(refused, WelcomeError::LastResort);
    // The same key package without the mark gets as far as the tag.
    let mut once = last_resort.clone();
    once.key_package.extensions = Extensions::default();
    once.key_package.sign(suite, &once.signature_private).unwrap();
    let refused = invitation.world.join(&once, &for_last_resort(&once)).unwrap_err();
    assert!(!matches!(refused, WelcomeError::LastResort), "{refused}");
}

#[test]
fn a_group_that_follows_another_starts_at_epoch_one() {
    let id = |psk_epoch| PreSharedKeyId {
        psktype: PskType::Resumption {
            usage: ResumptionPskUsage::Branch,
            psk_group_id: vec![1].into(),
            psk_epoch,
        },
        psk_nonce: vec![1; 32].into(),
    };
    struct Zero;
    impl PskStore for Zero {
        fn psk(&self, _: &PskType) -> Option<Secret> {
            Some(Secret::zero(32))
        }
    }
    for (before, result) in [(0, None), (1, Some(WelcomeError::ResumptionEpoch(2)))] {
        let mut world = World::plain(&["a"]);
        for _ in 0..before {
            let request = world.request(vec![]);
            world.commit(0, &request, &[]);
        }
        let bundle = world.bundle("x");
        let psk = Proposal::PreSharedKey(PreSharedKey { psk: id(0) });
        let request =
            CommitRequest { purpose: Purpose::Branch, psks: &Zero, ..world.request(vec![add(&bundle), psk]) };
        let welcome = world.create(0, &request).unwrap().welcome.unwrap();
        let join = Join { bundle: &bundle, ratchet_tree: None, psks: &Zero, policy: &DefaultPolicy };
        assert_eq!(join.welcome(&welcome).err(), result);
    }
}

#[test]
fn a_group_info_without_an_external_key_lets_nobody_in() {
    let mut world = World::plain(&["a", "b"]);
    let (key, _) = world.suite.signature().generate(&mut world.rng);
    let template = template("x");
    let join = ExternalJoin {
        template: &template,
        signature_private: &key,
        replaces: None,
        psk_ids: vec![],
        ratchet_tree: None,
        authenticated_data: Bytes::default(),
        psks: &NoPsks,
        policy: &DefaultPolicy,
    };
    let epoch = world.clients[0].epoch.clone();
    let info = |external_pub| {
        epoch.group_info(&GroupInfoOptions { external_pub, ..Default::default() }, None).unwrap()
    };
    assert_eq!(join.commit(&info(false), &mut world.rng).unwrap_err(), WelcomeError::NoExternalPub);
    join.commit(&info(true), &mut world.rng).unwrap();
    let mut forged = info(true);
    forged.group_context.epoch += 1;
    assert_eq!(join.commit(&forged, &mut world.rng).unwrap_err(), WelcomeError::Signature);
}
