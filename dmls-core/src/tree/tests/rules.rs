//! One test a rule for leaves: what breaks it, and what just does not.

use super::*;
use crate::codec::CodecError;
use crate::suite::{CryptoError, SignaturePublicKey};

/// A group of three and a newcomer.
struct Scene {
    tree: RatchetTree,
    place: LeafIndex,
    member: Member,
    rng: TestRng,
}

fn scene() -> Scene {
    let mut rng = rng(1);
    let world = World::of(3, &mut rng);
    let (tree, place) = world.tree.with_blank_leaf().unwrap();
    let (member, _) = Member::new(suite(), &mut rng);
    Scene { tree, place, member, rng }
}

impl Scene {
    /// Judges the newcomer's leaf made from a changed template: it is signed anew, so only the change can be wrong.
    fn judge(
        &mut self,
        change: impl FnOnce(&mut LeafTemplate),
        rules: &LeafRules<'_>,
    ) -> Result<(), LeafNodeError> {
        let mut template = self.member.template.clone();
        change(&mut template);
        let (leaf, _) = template.key_package(suite(), LIFETIME, &self.member.signer, &mut self.rng).unwrap();
        self.judge_leaf(&leaf, rules)
    }

    /// Judges it beside nobody.
    fn judge_alone(&mut self, change: impl FnOnce(&mut LeafTemplate)) -> Result<(), LeafNodeError> {
        let mut template = self.member.template.clone();
        change(&mut template);
        let (leaf, _) = template.key_package(suite(), LIFETIME, &self.member.signer, &mut self.rng).unwrap();
        leaf.check_alone(suite(), self.place, &rules())
    }

    fn judge_leaf(&self, leaf: &LeafNode, rules: &LeafRules<'_>) -> Result<(), LeafNodeError> {
        self.tree.validate_leaf(self.place, leaf, LeafSourceKind::KeyPackage, rules)
    }

    fn leaf(&mut self) -> LeafNode {
        let Self { member, rng, .. } = self;
        member.template.key_package(suite(), LIFETIME, &member.signer, rng).unwrap().0
    }
}

fn extensions(list: impl IntoIterator<Item = (u16, Vec<u8>)>) -> Extensions {
    let list = list
        .into_iter()
        .map(|(ty, data)| Extension { extension_type: ExtensionType(ty), extension_data: data.into() });
    Extensions(list.collect())
}

#[test]
fn signature() {
    let mut scene = scene();
    let right = scene.leaf();
    assert_eq!(scene.judge_leaf(&right, &rules()), Ok(()));
    let mut leaf = right.clone();
    leaf.credential = Credential::basic("somebody else");
    let expected = Err(LeafNodeError::Signature(CryptoError::BadSignature));
    assert_eq!(scene.judge_leaf(&leaf, &rules()), expected);
    let mut leaf = right.clone();
    leaf.signature = Bytes::default();
    assert_eq!(scene.judge_leaf(&leaf, &rules()), expected);
    let mut leaf = right;
    leaf.signature_key = vec![1; 5].into();
    assert_eq!(scene.judge_leaf(&leaf, &rules()), Err(LeafNodeError::Signature(CryptoError::BadKey)));
}

#[test]
fn signature_covers_the_place_of_an_update() {
    let mut scene = scene();
    let place = LeafPosition { group_id: GROUP, leaf_index: LeafIndex(1) };
    let member = &scene.member;
    let (leaf, _) = member.template.update(suite(), place, &member.signer, &mut scene.rng).unwrap();
    let judge = |index, group_id| {
        let rules = LeafRules { group_id, ..rules() };
        scene.tree.validate_leaf(LeafIndex(index), &leaf, LeafSourceKind::Update, &rules)
    };
    assert_eq!(judge(1, GROUP), Ok(()));
    assert_eq!(judge(2, GROUP), Err(LeafNodeError::Signature(CryptoError::BadSignature)));
    assert_eq!(judge(1, b"x"), Err(LeafNodeError::Signature(CryptoError::BadSignature)));
    // Nothing signs or verifies such a leaf without a place.
    assert!(leaf.verify_signature(suite(), None, Strictness::Standard).is_err());
    let key = leaf.encryption_key.clone();
    assert!(member.template.sign(suite(), key, LeafNodeSource::Update, None, &member.signer).is_err());
}

#[test]
fn lifetime() {
    let mut scene = scene();
    let leaf = scene.leaf();
    let at = |now_seconds| scene.judge_leaf(&leaf, &LeafRules { now_seconds, ..rules() });
    assert_eq!(at(Some(LIFETIME.not_before - 1)), Err(LeafNodeError::NotYetValid));
    assert_eq!(at(Some(LIFETIME.not_before)), Ok(()));
    assert_eq!(at(Some(LIFETIME.not_after)), Ok(()));
    assert_eq!(at(Some(LIFETIME.not_after + 1)), Err(LeafNodeError::Expired));
    assert_eq!(at(None), Ok(()));
}

#[test]
fn lifetime_length() {
    let leaf = scene().leaf();
    assert_eq!(leaf.check_lifetime_length(1_000), Ok(()));
    assert_eq!(leaf.check_lifetime_length(999), Err(LeafNodeError::LifetimeTooLong));
    let commit = LeafNode { source: LeafNodeSource::Update, ..leaf };
    assert_eq!(commit.check_lifetime_length(0), Ok(()));
}

#[test]
fn source() {
    let mut scene = scene();
    let leaf = scene.leaf();
    for expected in [LeafSourceKind::Update, LeafSourceKind::Commit] {
        let error = LeafNodeError::WrongSource { expected, found: LeafSourceKind::KeyPackage };
        assert_eq!(scene.tree.validate_leaf(scene.place, &leaf, expected, &rules()), Err(error));
    }
    assert_eq!(scene.judge_leaf(&leaf, &rules()), Ok(()));
}

#[test]
fn own_extensions() {
    let mut scene = scene();
    let twice = extensions([(0x1a1a, vec![]), (1, vec![]), (0x1a1a, vec![1])]);
    let error = LeafNodeError::DuplicateExtension(ExtensionType(0x1a1a));
    assert_eq!(scene.judge(|leaf| leaf.extensions = twice, &rules()), Err(error));
    let unlisted = extensions([(0x4a4a, vec![])]);
    let error = LeafNodeError::ExtensionNotListed(ExtensionType(0x4a4a));
    assert_eq!(scene.judge(|leaf| leaf.extensions = unlisted, &rules()), Err(error));
    let default_types = extensions((1..=5).map(|ty| (ty, vec![])));
    assert_eq!(scene.judge(|leaf| leaf.extensions = default_types, &rules()), Ok(()));
}

#[test]
fn own_credential() {
    let mut scene = scene();
    let types = vec![CredentialType::X509];
    let leaf = {
        let mut template = scene.member.template.clone();
        template.capabilities.credentials = types;
        let Scene { member, rng, .. } = &mut scene;
        template.key_package(suite(), LIFETIME, &member.signer, rng).unwrap().0
    };
    let error = LeafNodeError::CredentialNotListed(CredentialType::BASIC);
    assert_eq!(leaf.check_own_credential(), Err(error.clone()));
    // In an otherwise empty group nobody else minds.
    let alone = RatchetTree::new(suite(), scene.leaf());
    let judged = alone.validate_leaf(LeafIndex(0), &leaf, LeafSourceKind::KeyPackage, &rules());
    assert_eq!(judged, Err(error));
    let right = scene.leaf();
    assert_eq!(
        alone.validate_leaf(LeafIndex(1), &right, LeafSourceKind::KeyPackage, &rules()),
        Err(LeafNodeError::SignatureKeyInUse)
    );
    assert_eq!(alone.validate_leaf(LeafIndex(0), &right, LeafSourceKind::KeyPackage, &rules()), Ok(()));
}

#[test]
fn group_extensions() {
    let mut scene = scene();
    let supported = extensions([(5, vec![]), (0xfd01, vec![])]);
    let under = |extensions| LeafRules { group_extensions: extensions, ..rules() };
    assert_eq!(scene.judge(|_| {}, &under(&supported)), Ok(()));
    let unsupported = extensions([(0xfd01, vec![]), (0xfd03, vec![])]);
    let error = LeafNodeError::GroupExtensionUnsupported(ExtensionType(0xfd03));
    assert_eq!(scene.judge(|_| {}, &under(&unsupported)), Err(error));
}

#[test]
fn required_capabilities() {
    let mut scene = scene();
    let mut judge = |required: RequiredCapabilities| {
        let extensions = Extensions(vec![required.to_extension().unwrap()]);
        scene.judge(|_| {}, &LeafRules { group_extensions: &extensions, ..rules() })
    };
    let met = RequiredCapabilities {
        extension_types: vec![ExtensionType::APPLICATION_ID, ExtensionType::DMLS_PROFILE],
        proposal_types: vec![ProposalType::ADD, ProposalType::DMLS_META],
        credential_types: vec![CredentialType::BASIC],
    };
    assert_eq!(judge(met.clone()), Ok(()));
    let extension_types = vec![ExtensionType::DMLS_PROFILE, ExtensionType(0x4a4a)];
    let error = LeafNodeError::RequiredExtension(ExtensionType(0x4a4a));
    assert_eq!(judge(RequiredCapabilities { extension_types, ..met.clone() }), Err(error));
    let error = LeafNodeError::RequiredProposal(ProposalType(8));
    assert_eq!(
        judge(RequiredCapabilities { proposal_types: vec![ProposalType(8)], ..met.clone() }),
        Err(error)
    );
    let error = LeafNodeError::RequiredCredential(CredentialType::X509);
    assert_eq!(
        judge(RequiredCapabilities { credential_types: vec![CredentialType::X509], ..met }),
        Err(error)
    );
    let malformed = extensions([(3, vec![9])]);
    let judged = scene.judge(|_| {}, &LeafRules { group_extensions: &malformed, ..rules() });
    assert_eq!(judged, Err(LeafNodeError::BadRequiredCapabilities(CodecError::Truncated)));
}

#[test]
fn credentials_are_supported_mutually() {
    let mut scene = scene();
    let x509 = Credential::X509 { certificates: vec![vec![1].into()] };
    let both = vec![CredentialType::BASIC, CredentialType::X509];
    let judged = scene.judge(
        |leaf| {
            leaf.credential = x509.clone();
            leaf.capabilities.credentials = both.clone();
        },
        &rules(),
    );
    let member = LeafIndex(0);
    let credential_type = CredentialType::X509;
    assert_eq!(judged, Err(LeafNodeError::CredentialUnsupportedByMember { member, credential_type }));
    // A group that supports both, with an X.509 member, and a newcomer that supports basic alone.
    let mut template = scene.member.template.clone();
    template.credential = x509;
    template.capabilities.credentials = both;
    let (creator, _) = Member::new(suite(), &mut scene.rng);
    let (leaf, _) = template.key_package(suite(), LIFETIME, &creator.signer, &mut scene.rng).unwrap();
    (scene.tree, scene.place) = RatchetTree::new(suite(), leaf).with_blank_leaf().unwrap();
    let error = LeafNodeError::MemberCredentialUnsupported { member, credential_type };
    assert_eq!(scene.judge(|_| {}, &rules()), Err(error));
    let judged = scene.judge(|leaf| leaf.capabilities.credentials.push(CredentialType::X509), &rules());
    assert_eq!(judged, Ok(()));
    // Whom the leaf replaces is not asked.
    let mut leaf = scene.leaf();
    leaf.capabilities.credentials.retain(|ty| *ty == CredentialType::BASIC);
    assert_eq!(scene.tree.check_credential_support(&leaf, Some(LeafIndex(0))), Ok(()));
}

#[test]
fn encryption_key_is_new() {
    let mut scene = scene();
    let Scene { tree, place, member, .. } = &scene;
    let with_key = |key: HpkePublicKey, place: LeafIndex| {
        let source = LeafNodeSource::KeyPackage(LIFETIME);
        let leaf = member.template.sign(suite(), key, source, None, &member.signer).unwrap();
        tree.validate_leaf(place, &leaf, LeafSourceKind::KeyPackage, &rules())
    };
    for (_, key) in tree.encryption_keys() {
        assert_eq!(with_key(key.clone(), *place), Err(LeafNodeError::EncryptionKeyInUse));
    }
    // Not even the replaced leaf's own.
    let own = tree.leaf(LeafIndex(1)).unwrap().encryption_key.clone();
    assert_eq!(with_key(own, LeafIndex(1)), Err(LeafNodeError::EncryptionKeyInUse));
    assert_eq!(with_key(vec![1; 31].into(), *place), Err(LeafNodeError::BadEncryptionKey));
    assert_eq!(scene.judge(|_| {}, &rules()), Ok(()));
}

#[test]
fn signature_key_is_new() {
    let mut rng = rng(2);
    let world = World::of(3, &mut rng);
    let member = &world.members[&LeafIndex(1)];
    let (leaf, _) = member.template.key_package(suite(), LIFETIME, &member.signer, &mut rng).unwrap();
    let judge = |index| {
        let (tree, _) = world.tree.with_blank_leaf().unwrap();
        tree.validate_leaf(LeafIndex(index), &leaf, LeafSourceKind::KeyPackage, &rules())
    };
    assert_eq!(judge(3), Err(LeafNodeError::SignatureKeyInUse));
    assert_eq!(judge(0), Err(LeafNodeError::SignatureKeyInUse));
    // A member keeps its own.
    assert_eq!(judge(1), Ok(()));
}

#[test]
fn canonical_signatures() {
    let mut rng = rng(3);
    let suite = CipherSuite::P256_AES128GCM.suite().unwrap();
    let (_, leaf) = Member::new(suite, &mut rng);
    let der = p256::ecdsa::Signature::from_der(leaf.signature.as_slice()).unwrap();
    let (r, s) = der.split_scalars();
    let high = p256::ecdsa::Signature::from_scalars(r, -*s).unwrap();
    let other = LeafNode { signature: high.to_der().as_bytes().into(), ..leaf.clone() };
    assert_ne!(other, leaf);
    let judge = |leaf: &LeafNode, strictness| leaf.check_signature(suite, None, strictness);
    assert_eq!(judge(&leaf, Strictness::Canonical), Ok(()));
    assert_eq!(judge(&other, Strictness::Standard), Ok(()));
    let refused = Err(LeafNodeError::Signature(CryptoError::BadSignature));
    assert_eq!(judge(&other, Strictness::Canonical), refused);
}

#[test]
fn credential_of_the_key() {
    let mut scene = scene();
    let other = SignaturePublicKey::from(vec![7; 32]);
    let stolen = Credential::self_certifying(&other, "ann").unwrap();
    let own = scene.leaf().signature_key;
    let fitting = Credential::self_certifying(&own, "ann").unwrap();
    let profile = extensions([(ExtensionType::DMLS_PROFILE.0, Vec::new())]);
    let dmls = LeafRules { group_extensions: &profile, ..rules() };
    let put = |credential: &Credential| {
        let credential = credential.clone();
        move |template: &mut LeafTemplate| {
            template.credential = credential;
            template.capabilities.extensions.push(ExtensionType::DMLS_PROFILE);
        }
    };
    let expected = Err(LeafNodeError::CredentialKey(CredentialError::IdentityOfOtherKey));
    assert_eq!(scene.judge(put(&stolen), &dmls), expected);
    assert_eq!(scene.judge(put(&fitting), &dmls), Ok(()));
    // In a plain group an identity is the application's alone; a certificate is not (RFC 9420 5.3).
    assert_eq!(scene.judge(put(&stolen), &rules()), Ok(()));
    let certificate = |template: &mut LeafTemplate| {
        template.credential = Credential::X509 { certificates: Vec::new() };
        template.capabilities.credentials.push(CredentialType::X509);
    };
    let expected = Err(LeafNodeError::CredentialKey(CredentialError::NoCertificate));
    assert_eq!(scene.judge_alone(certificate), expected);
}
