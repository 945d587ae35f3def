//! The key schedule of the profile, from the secrets of a parent and a commit to those of the child.

use dmls_core::codec::{decode, encode};
use dmls_core::schedule::{
    DerivedEpoch, GroupContext, InitPprf, Profile, child_init_input, commit_confirmation, joiner_secret,
};
use dmls_core::suite::{CipherSuite, Secret, Suite};
use dmls_core::tree::{Extensions, ProtocolVersion};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

use super::pprf::child_input;
use super::{Failure, bytes, fail, optional_bytes, random, random_hex, suite};

fn context(rng: &mut ChaCha20Rng, id: CipherSuite, nh: usize) -> String {
    let context = GroupContext {
        version: ProtocolVersion::MLS10,
        cipher_suite: id,
        group_id: random(rng, 16).into(),
        epoch: 8,
        tree_hash: random(rng, nh).into(),
        confirmed_transcript_hash: random(rng, nh).into(),
        extensions: Extensions::default(),
    };
    hex::encode(encode(&context).unwrap())
}

pub(super) fn inputs(rng: &mut ChaCha20Rng) -> Vec<(String, Value)> {
    let mut cases = Vec::new();
    for id in CipherSuite::supported() {
        let nh = id.suite().unwrap().nh();
        for (what, with_path) in [("with a path", true), ("without a path", false)] {
            let path_secret = with_path.then(|| random_hex(rng, nh));
            // Without a path RFC 9420 8 has the zero secret.
            let commit_secret = if with_path { random_hex(rng, nh) } else { hex::encode(vec![0; nh]) };
            let input = json!({
                "cipher_suite": id.0,
                "parent_epoch_secret": random_hex(rng, nh),
                "last_path_secret": path_secret,
                "commit_secret": commit_secret,
                "psk_secret": random_hex(rng, nh),
                "child_group_context": context(rng, id, nh),
            });
            cases.push((format!("suite {}, {what}", id.0), input));
        }
    }
    cases
}

/// `epoch_secret` (RFC 9420 8), which `dmls-core` never gives out.
fn epoch_secret(suite: Suite, joiner: &Secret, psk: &Secret, context: &[u8]) -> Result<Secret, Failure> {
    suite.expand_with_label(&suite.extract(joiner, psk), "epoch", context, suite.nh()).map_err(fail)
}

fn agree(one: &[u8], other: &[u8], what: &str) -> Result<(), Failure> {
    if one == other { Ok(()) } else { Err(format!("two derivations of {what} differ")) }
}

pub(super) fn compute(input: &Value) -> Result<Value, Failure> {
    let suite = suite(input)?;
    let secret = |field| bytes(input, field).map(Secret::from);
    let (parent_epoch, commit_secret, psk) =
        (secret("parent_epoch_secret")?, secret("commit_secret")?, secret("psk_secret")?);
    let encoded = bytes(input, "child_group_context")?;
    let context: GroupContext = decode(&encoded).map_err(fail)?;
    let path_secret = optional_bytes(input, "last_path_secret")?.map(Secret::from);

    let parent = DerivedEpoch::from_epoch_secret(suite, Profile::Dmls, &parent_epoch).map_err(fail)?;
    let parent = parent.dmls.ok_or("a DMLS epoch has no DMLS secrets")?;
    let conf = commit_confirmation(suite, path_secret.as_ref()).map_err(fail)?;
    let x = child_init_input(suite, &conf, &context).map_err(fail)?;
    let init = parent.parent_init.evaluate(&x).map_err(fail)?;
    let joiner = joiner_secret(suite, &init, &commit_secret, &context).map_err(fail)?;
    let child = DerivedEpoch::new(suite, Profile::Dmls, &joiner, &psk, &context).map_err(fail)?;
    let dmls = child.dmls.ok_or("a DMLS epoch has no DMLS secrets")?;

    // The values that dmls-core keeps to itself, derived once more, and shown to be the ones that it uses.
    let x_bytes = suite.expand_with_label(&conf, "child_init", &encoded, suite.nh()).map_err(fail)?;
    if child_input(x_bytes.as_slice())? != x {
        return Err("two derivations of x differ".into());
    }
    let child_epoch = epoch_secret(suite, &joiner, &psk, &encoded)?;
    let id = suite.derive_secret(&child_epoch, "epoch").map_err(fail)?;
    agree(id.as_slice(), dmls.dmls_epoch.as_slice(), "dmls_epoch")?;
    let root_of = |epoch: &Secret, pprf: &InitPprf| {
        let root = suite.derive_secret(epoch, "parent_init").map_err(fail)?;
        let again = InitPprf::new(suite, &root).and_then(|again| again.evaluate(&x)).map_err(fail)?;
        agree(again.as_slice(), pprf.evaluate(&x).map_err(fail)?.as_slice(), "parent_init")?;
        Ok::<_, Failure>(hex::encode(root.as_slice()))
    };
    Ok(json!({
        "parent": {
            "parent_init": root_of(&parent_epoch, &parent.parent_init)?,
            "dmls_epoch": hex::encode(parent.dmls_epoch.as_slice()),
        },
        "conf": hex::encode(conf.as_slice()),
        "x": hex::encode(x_bytes.as_slice()),
        "init_secret": hex::encode(init.as_slice()),
        "joiner_secret": hex::encode(joiner.as_slice()),
        "child": {
            "epoch_secret": hex::encode(child_epoch.as_slice()),
            "parent_init": root_of(&child_epoch, &dmls.parent_init)?,
            "dmls_epoch": hex::encode(dmls.dmls_epoch.as_slice()),
            "sender_data_secret": hex::encode(child.secrets.sender_data_secret.as_slice()),
            "encryption_secret": hex::encode(child.encryption_secret.as_slice()),
            "exporter_secret": hex::encode(child.secrets.exporter_secret.as_slice()),
            "confirmation_key": hex::encode(child.secrets.confirmation_key.as_slice()),
        },
    }))
}
