//! What the profiles share and where they part. The values themselves are checked by the official vectors.

use super::*;
use crate::suite::CipherSuite;
use crate::tree::{Extensions, ProtocolVersion};

fn suite() -> Suite {
    CipherSuite::X25519_AES128GCM.suite().unwrap()
}

fn context() -> GroupContext {
    GroupContext {
        version: ProtocolVersion::MLS10,
        cipher_suite: CipherSuite::X25519_AES128GCM,
        group_id: b"group".to_vec().into(),
        epoch: 3,
        tree_hash: vec![1; 32].into(),
        confirmed_transcript_hash: vec![2; 32].into(),
        extensions: Extensions::default(),
    }
}

fn derive(profile: Profile, context: &GroupContext) -> DerivedEpoch {
    DerivedEpoch::new(suite(), profile, &Secret::from(vec![3; 32]), &Secret::zero(32), context).unwrap()
}

#[test]
fn a_dmls_epoch_has_no_secret_that_cannot_be_punctured() {
    let (plain, dmls) = (derive(Profile::Plain, &context()), derive(Profile::Dmls, &context()));
    assert!(plain.dmls.is_none() && dmls.dmls.is_some());
    assert!(plain.secrets.init_secret.is_some() && plain.secrets.external_secret.is_some());
    assert!(plain.secrets.external_key_pair(suite()).is_some());
    assert!(dmls.secrets.external_key_pair(suite()).is_none());
    assert_eq!(plain.encryption_secret, dmls.encryption_secret);
    let shared = EpochSecrets { external_secret: None, init_secret: None, ..plain.secrets };
    assert_eq!(shared, dmls.secrets);
}

#[test]
fn every_secret_depends_on_the_context() {
    let other = GroupContext { epoch: 4, ..context() };
    let (a, b) = (derive(Profile::Dmls, &context()), derive(Profile::Dmls, &other));
    assert_ne!(a.encryption_secret, b.encryption_secret);
    assert_ne!(a.secrets.confirmation_key, b.secrets.confirmation_key);
    assert_ne!(a.secrets.exporter_secret, b.secrets.exporter_secret);
    assert_ne!(a.dmls.unwrap().dmls_epoch, b.dmls.unwrap().dmls_epoch);
}

#[test]
fn a_context_is_stored_and_sent_as_one_encoding() {
    let encoded = context().encoded().unwrap();
    assert_eq!(crate::codec::decode::<GroupContext>(&encoded).unwrap(), context());
    let config = bincode::config::standard();
    let stored = bincode::serde::encode_to_vec(context(), config).unwrap();
    let loaded: (GroupContext, _) = bincode::serde::decode_from_slice(&stored, config).unwrap();
    assert_eq!(loaded.0, context());
}

#[test]
fn tags_verify_under_their_key_and_content_only() {
    let secrets = derive(Profile::Plain, &context()).secrets;
    let hash = context().confirmed_transcript_hash;
    let tag = secrets.confirmation_tag(suite(), &hash).unwrap();
    assert!(secrets.verify_confirmation_tag(suite(), &hash, &tag).unwrap());
    assert!(!secrets.verify_confirmation_tag(suite(), &vec![3; 32].into(), &tag).unwrap());
    assert!(!secrets.verify_confirmation_tag(suite(), &hash, &Bytes::default()).unwrap());
    let truncated = tag.as_slice()[..31].into();
    assert!(!secrets.verify_confirmation_tag(suite(), &hash, &truncated).unwrap());

    let membership = secrets.membership_tag(suite(), hash.as_slice()).unwrap();
    assert_ne!(membership, tag);
    assert!(secrets.verify_membership_tag(suite(), hash.as_slice(), &membership).unwrap());
    assert!(!secrets.verify_membership_tag(suite(), b"other", &membership).unwrap());
}

#[test]
fn both_sides_of_an_external_init_have_one_secret() {
    for id in CipherSuite::supported() {
        let suite = id.suite().unwrap();
        let secrets = derive(Profile::Plain, &context()).secrets;
        let (private, public) = secrets.external_key_pair(suite).unwrap();
        let mut rng = crate::framing::testing::rng(1);
        let (kem_output, sent) = external_init_send(suite, &public, &mut rng).unwrap();
        assert_eq!(external_init_receive(suite, &private, kem_output.as_slice()).unwrap(), sent);
        assert_eq!(sent.len(), suite.nh());
        assert!(external_init_receive(suite, &private, &kem_output.as_slice()[1..]).is_err());
    }
}

#[test]
fn sender_data_samples_at_most_nh_bytes() {
    let secret = Secret::from(vec![4; 32]);
    let keys = |ciphertext: &[u8]| sender_data_keys(suite(), &secret, ciphertext).unwrap();
    assert_eq!(keys(&[5; 32]), keys(&[5; 99]));
    assert_ne!(keys(&[5; 31]), keys(&[5; 32]));
    assert_eq!(keys(&[]), welcome_keys(suite(), &secret).unwrap());
}
