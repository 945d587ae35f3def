use crate::codec::{Bytes, CodecError, decode, encode};
use crate::framing::testing::rng;
use crate::framing::*;
use crate::schedule::{AeadKeys, GroupContext};
use crate::suite::{CipherSuite, NONCE_LEN, Secret, SignaturePublicKey, Strictness, Suite};
use crate::tree::{
    Credential, ExtensionType, Extensions, LeafIndex, LeafTemplate, Lifetime, ProtocolVersion,
};

fn suite() -> Suite {
    CipherSuite::X25519_AES128GCM.suite().unwrap()
}

fn context() -> GroupContext {
    GroupContext {
        version: ProtocolVersion::MLS10,
        cipher_suite: suite().id(),
        group_id: vec![1, 2].into(),
        epoch: 7,
        tree_hash: vec![3; 32].into(),
        confirmed_transcript_hash: vec![4; 32].into(),
        extensions: Extensions::default(),
    }
}

fn message(wire_format: WireFormat, content: Content) -> (AuthenticatedContent, SignaturePublicKey) {
    let (private, public) = suite().signature().generate(&mut rng(1));
    let content = FramedContent {
        group_id: context().group_id,
        epoch: 7,
        sender: Sender::Member(LeafIndex(3)),
        authenticated_data: vec![9].into(),
        content,
    };
    let signed = AuthenticatedContent::sign(suite(), wire_format, content, &context(), &private).unwrap();
    (signed, public)
}

fn remove() -> Content {
    Content::Proposal(Proposal::Remove(Remove { removed: LeafIndex(1) }))
}

fn keys(byte: u8) -> AeadKeys {
    let key = vec![byte; suite().aead().key_len()].into();
    AeadKeys { key, nonce: vec![byte; NONCE_LEN].into() }
}

#[test]
fn public_messages_of_members_carry_their_tag_and_nothing_else_passes() {
    let (signed, public) = message(WireFormat::PublicMessage, remove());
    let key = Secret::from(vec![5; 32]);
    let sealed = PublicMessage::protect(suite(), signed.clone(), &context(), &key).unwrap();
    let sealed: PublicMessage = decode(&encode(&sealed).unwrap()).unwrap();
    let opened = sealed.unprotect(suite(), &context(), &key).unwrap();
    assert_eq!(opened, signed);
    opened.verify(suite(), &public, &context(), Strictness::Canonical).unwrap();

    let other = Secret::from(vec![6; 32]);
    assert_eq!(sealed.unprotect(suite(), &context(), &other), Err(FramingError::MembershipTag));
    let mut changed = sealed.clone();
    changed.content.epoch += 1;
    assert_eq!(changed.unprotect(suite(), &context(), &key), Err(FramingError::MembershipTag));
    let missing = PublicMessage { membership_tag: None, ..sealed };
    assert_eq!(missing.unprotect(suite(), &context(), &key), Err(FramingError::MembershipTag));
    let mut elsewhere = context();
    elsewhere.tree_hash = vec![8; 32].into();
    assert!(opened.verify(suite(), &public, &elsewhere, Strictness::Canonical).is_err());

    let (application, _) = message(WireFormat::PublicMessage, Content::Application(vec![1].into()));
    let refused = PublicMessage::protect(suite(), application.clone(), &context(), &key);
    assert_eq!(refused, Err(FramingError::PublicApplication));
    let forced = PublicMessage {
        content: application.content,
        auth: application.auth,
        membership_tag: Some(Bytes::default()),
    };
    assert_eq!(forced.unprotect(suite(), &context(), &key), Err(FramingError::PublicApplication));
    let (private, _) = message(WireFormat::PrivateMessage, remove());
    assert_eq!(PublicMessage::protect(suite(), private, &context(), &key), Err(FramingError::WireFormat));
}

#[test]
fn private_messages_open_in_two_steps_and_every_part_is_authenticated() {
    let secret = Secret::from(vec![5; 32]);
    let content = Content::Application(b"hello".to_vec().into());
    let (signed, public) = message(WireFormat::PrivateMessage, content);
    let sender = SenderData::new(LeafIndex(3), 4, &mut rng(2));
    let seal =
        |padding| PrivateMessage::encrypt(suite(), &signed, &sender, &keys(1), &secret, padding).unwrap();
    let (short, sealed) = (seal(Padding::None), seal(Padding::Multiple(256)));
    assert!(short.ciphertext.len() < 256);
    assert_eq!(sealed.ciphertext.len(), 256 + 16);
    assert_eq!(sealed.open_sender_data(suite(), &secret).unwrap(), sender);
    let opened = sealed.decrypt(suite(), &sender, &keys(1)).unwrap();
    assert_eq!(opened, signed);
    opened.verify(suite(), &public, &context(), Strictness::Canonical).unwrap();

    let wrong = Secret::from(vec![6; 32]);
    assert_eq!(sealed.open_sender_data(suite(), &wrong), Err(FramingError::SenderData));
    assert_eq!(sealed.decrypt(suite(), &sender, &keys(2)), Err(FramingError::Ciphertext));
    let guard = SenderData { reuse_guard: [!sender.reuse_guard[0], 0, 0, 0], ..sender };
    assert_eq!(sealed.decrypt(suite(), &guard, &keys(1)), Err(FramingError::Ciphertext));
    let moved = PrivateMessage { epoch: 8, ..sealed.clone() };
    assert_eq!(moved.open_sender_data(suite(), &secret), Err(FramingError::SenderData));
    assert_eq!(moved.decrypt(suite(), &sender, &keys(1)), Err(FramingError::Ciphertext));
    let data = PrivateMessage { authenticated_data: Bytes::default(), ..sealed.clone() };
    assert_eq!(data.decrypt(suite(), &sender, &keys(1)), Err(FramingError::Ciphertext));

    let other = SenderData { leaf_index: LeafIndex(4), ..sender };
    let refused = PrivateMessage::encrypt(suite(), &signed, &other, &keys(1), &secret, Padding::None);
    assert_eq!(refused, Err(FramingError::NotAMember));
}

#[test]
fn padding_must_be_zero() {
    let secret = Secret::from(vec![5; 32]);
    let (signed, _) = message(WireFormat::PrivateMessage, remove());
    let sender = SenderData::new(LeafIndex(3), 0, &mut rng(2));
    let sealed =
        PrivateMessage::encrypt(suite(), &signed, &sender, &keys(1), &secret, Padding::Multiple(64)).unwrap();
    // Encrypted anew with one byte of the padding set; the control leaves it as it is.
    let nonce = keys(1).guarded_nonce(sender.reuse_guard);
    for (last, result) in [(0, Ok(signed)), (1, Err(FramingError::Padding))] {
        let mut aad = encode(&sealed.group_id).unwrap();
        aad.extend([&7u64.to_be_bytes()[..], &[2], &encode(&sealed.authenticated_data).unwrap()].concat());
        let open = suite().aead().open(&keys(1).key, nonce.as_slice(), &aad, sealed.ciphertext.as_slice());
        let mut plaintext = open.unwrap().as_slice().to_vec();
        *plaintext.last_mut().unwrap() = last;
        let ciphertext = suite().aead().seal(&keys(1).key, nonce.as_slice(), &aad, &plaintext).unwrap();
        let changed = PrivateMessage { ciphertext: ciphertext.into(), ..sealed.clone() };
        assert_eq!(changed.decrypt(suite(), &sender, &keys(1)), result);
    }
}

#[test]
fn hostile_encodings_are_errors() {
    // A proposal type that nobody knows, by its number.
    assert_eq!(decode::<Proposal>(&[0x0a, 0x0a, 0]), Err(CodecError::UnknownVariant(0x0a0a)));
    // Another version of MLS.
    assert_eq!(decode::<MlsMessage>(&[0, 2, 0, 1]), Err(CodecError::UnknownVariant(2)));
    assert_eq!(decode::<MlsMessage>(&[0, 1, 0, 9]), Err(CodecError::UnknownVariant(9)));
    // Every truncation and every trailing byte of a message is refused.
    let (signed, _) = message(WireFormat::PublicMessage, remove());
    let sealed = PublicMessage::protect(suite(), signed, &context(), &Secret::from(vec![5; 32])).unwrap();
    let bytes = MlsMessage::from(sealed).to_bytes().unwrap();
    assert!(MlsMessage::from_bytes(&bytes).is_ok());
    for end in 0..bytes.len() {
        assert!(MlsMessage::from_bytes(&bytes[..end]).is_err(), "{end}");
    }
    assert_eq!(MlsMessage::from_bytes(&[bytes, vec![0]].concat()), Err(CodecError::Trailing));
}

#[test]
fn lists_of_the_profile_are_bounded_when_read() {
    let heads = |n: usize| Heads(vec![TruncatedId([7; 16]); n]);
    let meta = |n| DmlsMeta { heads: heads(n), ..DmlsMeta::default() };
    assert_eq!(decode::<DmlsMeta>(&encode(&meta(16)).unwrap()).unwrap(), meta(16));
    assert!(encode(&meta(17)).is_err());
    let long = [vec![0x41, 0x10], vec![7; 272]].concat();
    assert!(decode::<Heads>(&long).is_err());
    assert_eq!(decode::<Heads>(&[&[15][..], &[7; 15]].concat()), Err(CodecError::BadLength));

    let merge = |tips: usize, deferred: usize, healed: u32| Merge {
        fork_epoch: vec![1; 32].into(),
        tips: vec![vec![2; 32].into(); tips],
        carried_hash: vec![3; 32].into(),
        deferred: vec![Credential::basic("x"); deferred],
        healed: (0..healed).collect(),
    };
    let reads = |merge: &Merge| decode::<Merge>(&encode(merge).unwrap());
    assert_eq!(reads(&merge(64, 256, 256)).unwrap(), merge(64, 256, 256));
    for over in [merge(65, 0, 0), merge(0, 257, 0), merge(0, 0, 257)] {
        assert!(matches!(reads(&over), Err(CodecError::Malformed(_))));
    }
    let long_id = DmlsMeta { since: vec![1; 65].into(), ..DmlsMeta::default() };
    assert!(decode::<DmlsMeta>(&encode(&long_id).unwrap()).is_err());
}

#[test]
fn the_profile_extension_says_which_profile() {
    let read = |profile: &DmlsProfile| {
        DmlsProfile::from_extensions(&Extensions(vec![profile.to_extension().unwrap()]))
    };
    let profile = DmlsProfile { admins: vec![Credential::basic("admin")], ..DmlsProfile::default() };
    assert_eq!(read(&profile), Ok(Some(profile.clone())));
    assert_eq!(DmlsProfile::from_extensions(&Extensions::default()), Ok(None));
    assert_eq!(read(&DmlsProfile { profile: 4, ..profile.clone() }), Err(DmlsError::UnsupportedProfile(4)));
    assert_eq!(read(&DmlsProfile { max_retained: 0, ..profile }), Err(DmlsError::ZeroBound));
    let cut = Extensions(vec![crate::tree::Extension {
        extension_type: ExtensionType::DMLS_PROFILE,
        extension_data: vec![0, 3, 0].into(),
    }]);
    assert_eq!(DmlsProfile::from_extensions(&cut), Err(DmlsError::Codec(CodecError::Truncated)));
}

#[test]
fn a_dmls_message_carries_only_public_and_private_messages() {
    let (signed, _) = message(WireFormat::PublicMessage, remove());
    let sealed = PublicMessage::protect(suite(), signed, &context(), &Secret::from(vec![5; 32])).unwrap();
    let public = DmlsMessage { message: sealed.into(), dmls_epoch: vec![1; 32].into() };
    assert_eq!(decode::<DmlsMessage>(&encode(&public).unwrap()).unwrap(), public);
    let key_package = DmlsMessage { message: bundle().key_package.into(), ..public };
    let refused = decode::<DmlsMessage>(&encode(&key_package).unwrap());
    assert_eq!(refused, Err(CodecError::UnknownVariant(5)));
}

fn template() -> LeafTemplate {
    LeafTemplate {
        credential: Credential::basic("alice"),
        capabilities: testing::capabilities(),
        extensions: Extensions::default(),
    }
}

fn bundle() -> KeyPackageBundle {
    let (private, _) = suite().signature().generate(&mut rng(3));
    let lifetime = Lifetime { not_before: 100, not_after: 200 };
    KeyPackageBuilder::new(suite(), template(), private).lifetime(lifetime).build(&mut rng(4)).unwrap()
}

#[test]
fn key_packages_are_measured_by_every_rule() {
    let policy = KeyPackagePolicy {
        suite: suite(),
        strictness: Strictness::Canonical,
        now: Some(150),
        last_resort: false,
    };
    let good = bundle();
    good.key_package.validate(&policy).unwrap();
    // Each change is signed again, so that it breaks its own rule only.
    let broken = |change: &dyn Fn(&mut KeyPackage)| {
        let mut key_package = good.key_package.clone();
        change(&mut key_package);
        key_package.sign(suite(), &good.signature_private).unwrap();
        key_package.validate(&policy).unwrap_err()
    };
    use KeyPackageError as E;
    assert_eq!(broken(&|k| k.version = ProtocolVersion(2)), E::Version(2));
    assert_eq!(broken(&|k| k.cipher_suite = CipherSuite::X25519_CHACHA20POLY1305), E::CipherSuite(3));
    assert_eq!(broken(&|k| k.leaf_node.source = crate::tree::LeafNodeSource::Update), E::LeafSource);
    assert_eq!(broken(&|k| k.leaf_node.credential = Credential::basic("bob")), E::LeafSignature);
    assert_eq!(broken(&|k| k.init_key = k.leaf_node.encryption_key.clone()), E::InitKeyIsEncryptionKey);
    assert_eq!(broken(&|k| k.init_key = vec![1].into()), E::InitKey);
    assert_eq!(broken(&|k| k.leaf_node.encryption_key = vec![1].into()), E::EncryptionKey);
    assert_eq!(broken(&|k| k.extensions.set(LAST_RESORT_EXTENSION, Bytes::default())), E::LastResort);
    let twice =
        crate::tree::Extension { extension_type: ExtensionType(0xf000), extension_data: Bytes::default() };
    assert_eq!(
        broken(&|k| k.extensions.0 = vec![twice.clone(), twice.clone()]),
        E::DuplicateExtension(ExtensionType(0xf000))
    );
    let mut unsigned = good.key_package.clone();
    unsigned.extensions.set(ExtensionType(0xf000), Bytes::default());
    assert_eq!(unsigned.validate(&policy), Err(E::Signature));
    for (now, valid) in
        [(Some(99), false), (Some(100), true), (Some(200), true), (Some(201), false), (None, true)]
    {
        let result = good.key_package.validate(&KeyPackagePolicy { now, ..policy });
        assert_eq!(result, if valid { Ok(()) } else { Err(E::Lifetime) });
    }
    let reference = good.key_package.reference(suite()).unwrap();
    assert_eq!(reference.len(), 32);
    assert_ne!(reference, unsigned.reference(suite()).unwrap());
}

/// What is inside `application_data`, encoded.
fn application_data(payload: &[u8], notice: &[u8]) -> Vec<u8> {
    let application = DmlsApplication { generation: 3, heads: Heads::default(), payload: payload.into() };
    [encode(&application).unwrap(), notice.to_vec()].concat()
}

#[test]
fn a_notice_follows_an_empty_payload_and_a_message_stays_what_it_was() {
    let read = |bytes: &[u8]| decode::<ApplicationData>(bytes);
    let plain = read(&application_data(b"hello", b"")).unwrap();
    assert_eq!((plain.application.payload.as_slice(), plain.notice.as_ref()), (&b"hello"[..], None));
    assert_eq!(encode(&plain).unwrap(), application_data(b"hello", b""));
    // A message without a payload is a message.
    assert_eq!(read(&application_data(b"", b"")).unwrap().notice, None);

    for (notice, wire) in [
        (DmlsNotice::Closed { winner: vec![7; 32].into() }, [&[1, 32][..], &[7; 32]].concat()),
        (DmlsNotice::KeyPackage(vec![8, 9].into()), vec![2, 2, 8, 9]),
        (DmlsNotice::Welcome(vec![8].into()), vec![3, 1, 8]),
        (DmlsNotice::Unknown { notice_type: 200, contents: vec![1, 2, 3].into() }, vec![200, 1, 2, 3]),
        (DmlsNotice::Unknown { notice_type: 0, contents: Bytes::default() }, vec![0]),
    ] {
        let data = ApplicationData::notice(3, Heads::default(), notice);
        assert_eq!(encode(&data).unwrap(), application_data(b"", &wire));
        assert_eq!(read(&application_data(b"", &wire)).unwrap(), data);
        assert!(read(&application_data(b"x", &wire)).is_err());
        let both = ApplicationData { application: plain.application.clone(), ..data };
        assert!(encode(&both).is_err());
    }
}

#[test]
fn notices_are_bounded_and_strict() {
    let read = |bytes: &[u8]| decode::<DmlsNotice>(bytes);
    let sized = |notice: DmlsNotice| encode(&notice).map(|bytes| read(&bytes).is_ok());
    assert!(read(&[]).is_err());
    for truncated_or_trailing in [&[1][..], &[1, 2, 3], &[2, 0, 1], &[3, 1, 2, 3]] {
        assert!(read(truncated_or_trailing).is_err(), "{truncated_or_trailing:?}");
    }
    let id = |len| DmlsNotice::Closed { winner: vec![1; len].into() };
    assert_eq!((sized(id(MAX_ID_LEN)), sized(id(MAX_ID_LEN + 1))), (Ok(true), Ok(false)));
    let key_package = |len| DmlsNotice::KeyPackage(vec![1; len].into());
    let max = MAX_NOTICE_KEY_PACKAGE;
    assert_eq!((sized(key_package(max)), sized(key_package(max + 1))), (Ok(true), Ok(false)));
    let unknown = |len| DmlsNotice::Unknown { notice_type: 9, contents: vec![1; len].into() };
    assert_eq!(sized(unknown(MAX_NOTICE_LEN - 1)), Ok(true));
    assert!(sized(unknown(MAX_NOTICE_LEN)).is_err());
    assert!(read(&[vec![9], vec![1; MAX_NOTICE_LEN]].concat()).is_err());
}

#[test]
fn the_request_to_rejoin_is_a_leaf_extension() {
    let request = DmlsRejoin { group_id: vec![1, 2].into(), number: 5 };
    let extension = request.to_extension().unwrap();
    assert_eq!(extension.extension_type.0, 0xfd03);
    let read = |extension| DmlsRejoin::from_extensions(&Extensions(vec![extension]));
    assert_eq!(read(extension.clone()), Ok(Some(request.clone())));
    assert_eq!(DmlsRejoin::from_extensions(&Extensions::default()), Ok(None));
    let mut cut = extension;
    cut.extension_data = vec![2, 1].into();
    assert!(read(cut).is_err());
    let long = DmlsRejoin { group_id: vec![1; 1025].into(), ..request };
    assert!(read(long.to_extension().unwrap()).is_err());
}
