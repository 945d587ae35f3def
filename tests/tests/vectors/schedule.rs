//! Vectors of the codec, the cipher suites and the key schedule.

use dmls_core::codec::{Bytes, decode, encode};
use dmls_core::framing::AuthenticatedContent;
use dmls_core::schedule::{
    AeadKeys, DerivedEpoch, GroupContext, HandshakeKeys, PreSharedKeyId, Profile, PskType, RatchetError,
    RatchetType, SecretTree, Windows, confirmed_transcript_hash, interim_transcript_hash, joiner_secret,
    psk_secret as combine, sender_data_keys, welcome_secret,
};
use dmls_core::suite::{
    HpkeCiphertext, HpkePrivateKey, HpkePublicKey, Secret, SignaturePrivateKey, SignaturePublicKey,
    Strictness, Suite,
};
use dmls_core::tree::{Extensions, LeafIndex, ProtocolVersion};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::Value;
use tls_codec::{DeserializeBytes, Serialize, TlsVarInt};

use crate::Outcome;
use crate::input::{At, bytes, field, list, number, opaque, same, secret, suite_or_skip, text};

/// The length that a vector's header says, and the header of that length. Vectors of up to 1 MiB are decoded whole.
pub(crate) fn deserialization(case: &Value) -> Result<Outcome, String> {
    let header = bytes(case, "vlbytes_header")?;
    let length: usize = number(case, "length")?;
    let (found, rest) = TlsVarInt::tls_deserialize_bytes(&header).at("vlbytes_header")?;
    if found.value() != length as u64 || !rest.is_empty() {
        return Err(format!(
            "length: expected {length}, found {} and {} bytes more",
            found.value(),
            rest.len()
        ));
    }
    same(case, "vlbytes_header", &found.tls_serialize_detached().at("vlbytes_header")?)?;
    if length <= 1 << 20 {
        let vector = [header, vec![7; length]].concat();
        let contents = decode::<Bytes>(&vector).at("vlbytes_header")?;
        if contents.as_slice() != vec![7; length] || encode(&contents).at("length")? != vector {
            return Err("vlbytes_header: the vector that it begins is decoded to another".into());
        }
    }
    Ok(Outcome::Passed)
}

pub(crate) fn crypto_basics(case: &Value) -> Result<Outcome, String> {
    let suite = suite_or_skip!(case);
    let v = field(case, "ref_hash")?;
    let hash = suite.ref_hash_raw(text(v, "label")?.as_bytes(), &bytes(v, "value")?).at("ref_hash")?;
    same(v, "out", hash.as_slice()).at("ref_hash")?;

    let v = field(case, "expand_with_label")?;
    let out = suite
        .expand_with_label(
            &secret(v, "secret")?,
            text(v, "label")?,
            &bytes(v, "context")?,
            number(v, "length")?,
        )
        .at("expand_with_label")?;
    same(v, "out", out.as_slice()).at("expand_with_label")?;

    let v = field(case, "derive_secret")?;
    let out = suite.derive_secret(&secret(v, "secret")?, text(v, "label")?).at("derive_secret")?;
    same(v, "out", out.as_slice()).at("derive_secret")?;

    let v = field(case, "derive_tree_secret")?;
    let out = suite
        .derive_tree_secret(
            &secret(v, "secret")?,
            text(v, "label")?,
            number(v, "generation")?,
            number(v, "length")?,
        )
        .at("derive_tree_secret")?;
    same(v, "out", out.as_slice()).at("derive_tree_secret")?;

    signs(suite, field(case, "sign_with_label")?).at("sign_with_label")?;
    encrypts(suite, field(case, "encrypt_with_label")?).at("encrypt_with_label")?;
    Ok(Outcome::Passed)
}

/// Verifies the given signature, signs again and verifies that.
fn signs(suite: Suite, v: &Value) -> Result<(), String> {
    let private = SignaturePrivateKey(secret(v, "priv")?);
    let public = SignaturePublicKey(opaque(v, "pub")?);
    same(v, "pub", suite.signature().public_key(&private).at("priv")?.as_slice())?;
    let (label, content) = (text(v, "label")?, bytes(v, "content")?);
    let verify = |label: &str, signature: &Bytes, strictness| {
        suite.verify_with_label(&public, label, &content, signature, strictness)
    };
    verify(label, &opaque(v, "signature")?, Strictness::Standard).at("signature")?;
    let own = suite.sign_with_label(&private, label, &content).at("priv")?;
    // What we sign ourselves is canonical.
    verify(label, &own, Strictness::Canonical).at("own signature")?;
    match verify("another label", &own, Strictness::Standard) {
        Err(_) => Ok(()),
        Ok(()) => Err("label: a signature verifies under another label".into()),
    }
}

/// Opens the given ciphertext, seals again and opens that.
fn encrypts(suite: Suite, v: &Value) -> Result<(), String> {
    let private = HpkePrivateKey(secret(v, "priv")?);
    let public = HpkePublicKey(opaque(v, "pub")?);
    same(v, "pub", suite.hpke().public_key(&private).at("priv")?.as_slice())?;
    let (label, context) = (text(v, "label")?, bytes(v, "context")?);
    let open = |label: &str, ciphertext: &HpkeCiphertext| {
        suite.decrypt_with_label(&private, label, &context, ciphertext)
    };
    let given = HpkeCiphertext { kem_output: opaque(v, "kem_output")?, ciphertext: opaque(v, "ciphertext")? };
    same(v, "plaintext", open(label, &given).at("ciphertext")?.as_slice())?;
    let rng = &mut ChaCha20Rng::from_seed([1; 32]);
    let own = suite.encrypt_with_label(&public, label, &context, &bytes(v, "plaintext")?, rng).at("pub")?;
    same(v, "plaintext", open(label, &own).at("own ciphertext")?.as_slice())?;
    match open("another label", &own) {
        Err(_) => Ok(()),
        Ok(_) => Err("label: a ciphertext opens under another label".into()),
    }
}

pub(crate) fn key_schedule(case: &Value) -> Result<Outcome, String> {
    let suite = suite_or_skip!(case);
    let mut init_secret = secret(case, "initial_init_secret")?;
    for (number, epoch) in (0..).zip(list(case, "epochs")?) {
        let context = GroupContext {
            version: ProtocolVersion::MLS10,
            cipher_suite: suite.id(),
            group_id: opaque(case, "group_id")?,
            epoch: number,
            tree_hash: opaque(epoch, "tree_hash")?,
            confirmed_transcript_hash: opaque(epoch, "confirmed_transcript_hash")?,
            extensions: Extensions::default(),
        };
        init_secret = epoch_secrets(suite, &init_secret, &context, epoch).at(&format!("epoch {number}"))?;
    }
    Ok(Outcome::Passed)
}

/// Checks one epoch and gives the next one's init secret.
fn epoch_secrets(suite: Suite, init: &Secret, context: &GroupContext, v: &Value) -> Result<Secret, String> {
    same(v, "group_context", &context.encoded().at("group_context")?)?;
    if decode::<GroupContext>(&bytes(v, "group_context")?).at("group_context")? != *context {
        return Err("group_context: it is decoded to another".into());
    }
    let joiner = joiner_secret(suite, init, &secret(v, "commit_secret")?, context).at("joiner_secret")?;
    same(v, "joiner_secret", joiner.as_slice())?;
    let psk_secret = secret(v, "psk_secret")?;
    same(v, "welcome_secret", welcome_secret(suite, &joiner, &psk_secret).at("welcome_secret")?.as_slice())?;

    let derived =
        DerivedEpoch::new(suite, Profile::Plain, &joiner, &psk_secret, context).at("joiner_secret")?;
    let secrets = derived.secrets;
    let init = secrets.init_secret.clone().ok_or("init_secret: absent")?;
    for (key, ours) in [
        ("init_secret", &init),
        ("sender_data_secret", &secrets.sender_data_secret),
        ("encryption_secret", &derived.encryption_secret),
        ("exporter_secret", &secrets.exporter_secret),
        ("epoch_authenticator", &secrets.epoch_authenticator),
        ("external_secret", secrets.external_secret.as_ref().ok_or("external_secret: absent")?),
        ("confirmation_key", &secrets.confirmation_key),
        ("membership_key", &secrets.membership_key),
        ("resumption_psk", &secrets.resumption_psk),
    ] {
        same(v, key, ours.as_slice())?;
    }
    let (_, external_pub) = secrets.external_key_pair(suite).ok_or("external_pub: absent")?;
    same(v, "external_pub", external_pub.as_slice())?;
    let exporter = field(v, "exporter")?;
    let exported = secrets
        .export(suite, text(exporter, "label")?, &bytes(exporter, "context")?, number(exporter, "length")?)
        .at("exporter")?;
    same(exporter, "secret", exported.as_slice()).at("exporter")?;
    Ok(init)
}

pub(crate) fn psk_secret(case: &Value) -> Result<Outcome, String> {
    let suite = suite_or_skip!(case);
    let mut psks = Vec::new();
    for psk in list(case, "psks")? {
        let psktype = PskType::External { psk_id: opaque(psk, "psk_id")? };
        let id = PreSharedKeyId { psktype, psk_nonce: opaque(psk, "psk_nonce")? };
        psks.push((id, secret(psk, "psk")?));
    }
    same(case, "psk_secret", combine(suite, &psks).at("psks")?.as_slice())?;
    Ok(Outcome::Passed)
}

pub(crate) fn transcript_hashes(case: &Value) -> Result<Outcome, String> {
    let suite = suite_or_skip!(case);
    let encoded = bytes(case, "authenticated_content")?;
    let commit = decode::<AuthenticatedContent>(&encoded).at("authenticated_content")?;
    same(case, "authenticated_content", &encode(&commit).at("authenticated_content")?)?;

    let input = commit.confirmed_transcript_input().at("authenticated_content")?;
    let before = opaque(case, "interim_transcript_hash_before")?;
    let confirmed = confirmed_transcript_hash(suite, &before, &input);
    same(case, "confirmed_transcript_hash_after", confirmed.as_slice())?;

    let tag = commit.auth.confirmation_tag.ok_or("authenticated_content: no confirmation tag")?;
    let confirmation_key = secret(case, "confirmation_key")?;
    if !suite.verify_mac(&confirmation_key, confirmed.as_slice(), &tag).at("confirmation_key")? {
        return Err("authenticated_content: its confirmation tag is wrong".into());
    }
    let interim = interim_transcript_hash(suite, &confirmed, &tag).at("confirmation tag")?;
    same(case, "interim_transcript_hash_after", interim.as_slice())?;
    Ok(Outcome::Passed)
}

pub(crate) fn secret_tree(case: &Value) -> Result<Outcome, String> {
    let suite = suite_or_skip!(case);
    let v = field(case, "sender_data")?;
    let keys = sender_data_keys(suite, &secret(v, "sender_data_secret")?, &bytes(v, "ciphertext")?)
        .at("sender_data")?;
    same(v, "key", keys.key.as_slice()).at("sender_data")?;
    same(v, "nonce", keys.nonce.as_slice()).at("sender_data")?;

    let root = secret(case, "encryption_secret")?;
    let leaves = list(case, "leaves")?;
    let width = u32::try_from(leaves.len()).at("leaves")?;
    let tree = |mode| SecretTree::new(suite, &root, width, mode).at("encryption_secret");
    let (mut plain, retained) = (tree(HandshakeKeys::Consumed)?, tree(HandshakeKeys::Retained)?);
    for (index, leaf) in (0..).zip(leaves) {
        let entries = leaf.as_array().ok_or("leaves: not an array of arrays")?;
        for entry in entries {
            leaf_keys(&mut plain, &retained, LeafIndex(index), entry).at(&format!("leaf {index}"))?;
        }
    }
    Ok(Outcome::Passed)
}

/// Checks a leaf's keys at one generation, and that each can be had once; handshake keys with both ways to keep them.
fn leaf_keys(
    plain: &mut SecretTree,
    retained: &SecretTree,
    leaf: LeafIndex,
    v: &Value,
) -> Result<(), String> {
    // Vectors may list generations in any order and far apart.
    let windows = Windows { forward: u32::MAX, back: u32::MAX };
    let generation: u32 = number(v, "generation")?;
    let check = |name: &str, keys: &AeadKeys| -> Result<(), String> {
        same(v, &format!("{name}_key"), keys.key.as_slice())?;
        same(v, &format!("{name}_nonce"), keys.nonce.as_slice())
    };
    for (ratchet, name) in [(RatchetType::Application, "application"), (RatchetType::Handshake, "handshake")]
    {
        check(name, &plain.peek(leaf, ratchet, generation, windows).at(name)?)?;
        plain.consume(leaf, ratchet, generation, windows).at(name)?;
        match plain.peek(leaf, ratchet, generation, windows) {
            Err(RatchetError::AlreadyUsed(_)) => {}
            _ => return Err(format!("{name}_key: a used key can be had again")),
        }
    }
    match retained.peek(leaf, RatchetType::Handshake, generation, windows) {
        Ok(keys) => check("handshake", &keys),
        Err(RatchetError::HandshakeGeneration(_)) => Ok(()),
        Err(e) => Err(format!("handshake_key, retained: {e}")),
    }
}
