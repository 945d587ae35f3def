//! No secret is printed.

use dmls_core::framing::{Content, DmlsApplication, DmlsMeta, MlsMessage, Proposal};
use dmls_core::group::{Input, Value};
use dmls_tests::{Insider, World};

use super::group_id;

/// How a byte string may show in text.
fn shapes(secret: &[u8]) -> Vec<String> {
    let lower: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{secret:?}");
    let list = list.trim_matches(['[', ']']).to_owned();
    // A third of it is too much already.
    let third = lower[..lower.len() / 3].to_owned();
    vec![lower.to_uppercase(), third, list]
}

fn assert_silent(what: &str, text: &str, secrets: &[Vec<u8>]) {
    for secret in secrets.iter().filter(|secret| secret.len() >= 12) {
        for shape in shapes(secret) {
            assert!(!text.contains(&shape), "{what} prints a secret: {shape}");
        }
    }
}

#[test]
fn nothing_prints_a_secret() {
    let mut world = World::new(141, 3);
    world.form();
    world.send(1, "a text that nobody else should see");
    world.spread();
    let head = world.peers[0].group().head().clone();
    let insider = Insider::read(&world.peers[0].store, &group_id(), &head).expect("the head");
    let epoch = &insider.epoch;
    let stored = epoch.secrets();
    let mut secrets: Vec<Vec<u8>> = [
        &stored.exporter_secret,
        &stored.sender_data_secret,
        &stored.confirmation_key,
        &stored.membership_key,
        &stored.resumption_psk,
        &epoch.signature_private().0,
    ]
    .iter()
    .map(|secret| secret.as_slice().to_vec())
    .collect();
    secrets.extend(epoch.private_keys().iter().map(|(_, key)| key.0.as_slice().to_vec()));
    secrets.push(b"a text that nobody else should see".to_vec());
    let bundle = world.key_package(1);
    let MlsMessage { .. } = MlsMessage::from_bytes(&bundle).expect("a key package");
    let bundles = world.peers[1].store.records().filter_map(|(_, value)| match value {
        Value::KeyPackage(bundle) => Some(bundle.clone()),
        _ => None,
    });
    let bundle = bundles.into_iter().next().expect("a key package");
    for secret in [&bundle.init_private.0, &bundle.leaf_private.0, &bundle.signature_private.0] {
        secrets.push(secret.as_slice().to_vec());
    }
    let mut rng = world.rng.clone();
    let created = insider.commit(Vec::new(), &mut rng);
    let dmls = created.dmls.clone().expect("a DMLS commit");
    let conf = created.conf.clone().expect("a DMLS commit");
    secrets.push(conf.as_slice().to_vec());
    secrets.push(created.child.secrets().exporter_secret.as_slice().to_vec());
    let windows = dmls_core::schedule::Windows::default();
    let keys = epoch.secret_tree().peek(
        dmls_core::tree::LeafIndex(2),
        dmls_core::schedule::RatchetType::Application,
        0,
        windows,
    );
    let keys = keys.expect("a key");
    secrets.push(keys.key.as_slice().to_vec());
    secrets.push(keys.nonce.as_slice().to_vec());
    let data = DmlsApplication {
        generation: 0,
        heads: Default::default(),
        payload: b"a text that nobody else should see".as_slice().into(),
    };
    let content = Content::Application(b"a text that nobody else should see".as_slice().into());
    let sealed =
        epoch.seal(Content::Proposal(Proposal::DmlsMeta(DmlsMeta::default())), &Default::default(), &mut rng);
    let commit = insider.wrap(created.message.clone());
    let opened = insider.open(&commit).expect("the own commit");
    let texts = [
        ("Epoch", format!("{epoch:?}")),
        ("EpochSecrets", format!("{stored:?}")),
        ("PrivateKeys", format!("{:?}", epoch.private_keys())),
        ("SignaturePrivateKey", format!("{:?}", epoch.signature_private())),
        ("SecretTree", format!("{:?}", epoch.secret_tree())),
        ("LeafRatchets", format!("{:?}", epoch.secret_tree().leaves().collect::<Vec<_>>())),
        ("AeadKeys", format!("{keys:?}")),
        ("InitPprf", format!("{:?}", insider.init)),
        ("DmlsSecrets", format!("{dmls:?}")),
        ("KeyPackageBundle", format!("{bundle:?}")),
        ("CreatedCommit", format!("{:?}", (&created.child, &created.parent, &created.dmls, &created.conf))),
        ("DmlsApplication", format!("{data:?}")),
        ("Content", format!("{content:?}")),
        ("Sealed", format!("{sealed:?}")),
        ("Opened", format!("{:?}", opened.key)),
        ("GroupView", format!("{:?}", world.peers[0].group().view())),
        ("HistoryView", format!("{:?}", world.peers[0].group().history())),
    ];
    // The epoch authenticator is made to be compared, so views show it; all else is silent.
    for (what, text) in &texts {
        assert!(!text.is_empty());
        assert_silent(what, text, &secrets);
    }
    // Control: the search finds what is printed.
    let printed = format!("{:02x?}", secrets[0]).replace([',', ' '], "");
    let found = std::panic::catch_unwind(|| assert_silent("control", &printed, &secrets));
    assert!(found.is_err());
}

#[test]
fn errors_print_no_secret() {
    let mut world = World::new(142, 3);
    world.form();
    let head = world.peers[2].group().head().clone();
    let insider = Insider::read(&world.peers[2].store, &group_id(), &head).expect("the head");
    let secrets = vec![
        insider.epoch.secrets().sender_data_secret.as_slice().to_vec(),
        insider.epoch.signature_private().0.as_slice().to_vec(),
    ];
    world.refresh(0);
    let bytes = world.bytes(world.sent() - 1).to_vec();
    for place in (0..bytes.len()).step_by(17) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 0x40;
        let mut rng = world.rng.clone();
        let step = world.peers[2].group().handle(Input::Message(&flipped), world.now, &mut rng);
        assert_silent("a disposition", &format!("{:?} {:?}", step.disposition, step.effects), &secrets);
    }
}
