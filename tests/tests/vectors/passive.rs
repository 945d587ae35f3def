//! Recorded sessions, followed by a member who only listens.

use std::collections::BTreeMap;

use dmls_core::codec::Bytes;
use dmls_core::epoch::plain::{PlainConfig, PlainGroup, Processed};
use dmls_core::epoch::{DefaultPolicy, Join, PskStore};
use dmls_core::framing::{KeyPackageBundle, MlsMessage, MlsMessageBody};
use dmls_core::schedule::PskType;
use dmls_core::suite::{HpkePrivateKey, Secret, SignaturePrivateKey};
use serde_json::Value;

use crate::Outcome;
use crate::input::{At, bytes, field, list, opaque, same, secret, suite_or_skip};

/// External PSKs by their ids.
struct Psks(BTreeMap<Bytes, Secret>);

impl PskStore for Psks {
    fn psk(&self, psk: &PskType) -> Option<Secret> {
        match psk {
            PskType::External { psk_id } => self.0.get(psk_id).cloned(),
            PskType::Resumption { .. } => None,
        }
    }
}

impl Psks {
    fn read(case: &Value) -> Result<Self, String> {
        let Some(psks) = case.get("external_psks").filter(|psks| !psks.is_null()) else {
            return Ok(Self(BTreeMap::new()));
        };
        let psks = psks.as_array().ok_or("external_psks: not an array")?;
        let one = |psk: &Value| Ok((opaque(psk, "psk_id")?, secret(psk, "psk")?));
        psks.iter().map(one).collect::<Result<_, String>>().map(Self)
    }
}

fn message(bytes: &[u8], what: &str) -> Result<MlsMessage, String> {
    MlsMessage::from_bytes(bytes).at(what)
}

fn bundle(case: &Value) -> Result<KeyPackageBundle, String> {
    let MlsMessageBody::KeyPackage(key_package) = message(&bytes(case, "key_package")?, "key_package")?.body
    else {
        return Err("key_package: not a KeyPackage".into());
    };
    Ok(KeyPackageBundle {
        key_package,
        init_private: HpkePrivateKey(secret(case, "init_priv")?),
        leaf_private: HpkePrivateKey(secret(case, "encryption_priv")?),
        signature_private: SignaturePrivateKey(secret(case, "signature_priv")?),
    })
}

/// Joins by Welcome, then follows every epoch.
pub(crate) fn passive_client(case: &Value) -> Result<Outcome, String> {
    let _suite = suite_or_skip!(case);
    let psks = Psks::read(case)?;
    let bundle = bundle(case)?;
    let MlsMessageBody::Welcome(welcome) = message(&bytes(case, "welcome")?, "welcome")?.body else {
        return Err("welcome: not a Welcome".into());
    };
    let tree = match case.get("ratchet_tree") {
        None | Some(Value::Null) => None,
        Some(_) => Some(bytes(case, "ratchet_tree")?),
    };
    let join = Join { bundle: &bundle, ratchet_tree: tree.as_deref(), psks: &psks, policy: &DefaultPolicy };
    let mut group = PlainGroup::join(&welcome, &join, PlainConfig::default()).at("welcome")?;
    same(case, "initial_epoch_authenticator", group.epoch_authenticator().as_slice())?;
    for (number, epoch) in list(case, "epochs")?.iter().enumerate() {
        follow(&mut group, epoch, &psks).at(&format!("epochs/{number}"))?;
    }
    Ok(Outcome::Passed)
}

fn follow(group: &mut PlainGroup, epoch: &Value, psks: &Psks) -> Result<(), String> {
    for proposal in list(epoch, "proposals")? {
        let text = proposal.as_str().ok_or("proposals: not a string")?;
        let proposal = message(&hex::decode(text).at("proposals")?, "proposals")?;
        match group.process(&proposal, psks, &DefaultPolicy).at("proposals")? {
            Processed::Proposal { .. } => {}
            other => return Err(format!("proposals: not a proposal but {other:?}")),
        }
    }
    field(epoch, "commit")?;
    let commit = message(&bytes(epoch, "commit")?, "commit")?;
    match group.process(&commit, psks, &DefaultPolicy).at("commit")? {
        Processed::Commit(_) => {}
        other => return Err(format!("commit: not a commit but {other:?}")),
    }
    // What is stored is all that is needed to go on.
    let stored = serde_json::to_vec(&group.snapshot().at("snapshot")?).at("snapshot")?;
    *group = PlainGroup::restore(serde_json::from_slice(&stored).at("snapshot")?).at("snapshot")?;
    same(epoch, "epoch_authenticator", group.epoch_authenticator().as_slice())
}
