//! What must never be stored is not stored: derived here once more through the lower layers, then looked for.

use std::collections::BTreeSet;

use dmls_core::framing::Content;
use dmls_core::schedule::{GroupContext, joiner_secret, psk_secret, welcome_secret};
use dmls_core::suite::Secret;
use dmls_core::tree::DerivedPath;
use dmls_tests::{Insider, World, contains, stored_bytes};

use super::{group_id, in_head};

/// The secrets of a refresh commit, as one who processes it meets them.
struct Secrets {
    never_stored: Vec<(&'static str, Secret)>,
    epoch_id: Secret,
}

fn path_of(before: &Insider, bytes: &[u8]) -> DerivedPath {
    let opened = before.open(bytes).expect("a message of the epoch");
    let Content::Commit(commit) = &opened.content.content.content else { panic!("a commit") };
    let staged = before.stage(bytes).expect("a commit");
    let context = GroupContext {
        confirmed_transcript_hash: before.epoch.context().confirmed_transcript_hash.clone(),
        ..staged.context().clone()
    };
    let context = context.encoded().expect("bytes");
    let private = |key: &_| before.epoch.private_keys().get(key).map(|key| key.as_ref().clone());
    let path = commit.path.as_ref().expect("a path");
    let (from, own) = (staged.committer_leaf, before.epoch.own_leaf());
    before.epoch.tree().decrypt_path(from, own, path, &BTreeSet::new(), &context, &private).expect("a path")
}

fn derive(before: &Insider, bytes: &[u8]) -> Secrets {
    let staged = before.stage(bytes).expect("a commit");
    let path = path_of(before, bytes);
    let suite = before.epoch.suite();
    let init_secret = before.init.evaluate(&before.child_input(&staged)).expect("an unpunctured parent");
    let joiner = joiner_secret(suite, &init_secret, &path.commit_secret, staged.context()).expect("a secret");
    let psk = psk_secret(suite, &[]).expect("a secret");
    let welcome = welcome_secret(suite, &joiner, &psk).expect("a secret");
    let context = staged.context().encoded().expect("bytes");
    let member = suite.extract(&joiner, &psk);
    let epoch_secret = suite.expand_with_label(&member, "epoch", &context, suite.nh()).expect("a secret");
    let parent_init = suite.derive_secret(&epoch_secret, "parent_init").expect("a secret");
    let epoch_id = suite.derive_secret(&epoch_secret, "epoch").expect("a secret");
    let mut never_stored = vec![
        ("init_secret", init_secret),
        ("commit_secret", path.commit_secret),
        ("joiner_secret", joiner),
        ("member_secret", member),
        ("welcome_secret", welcome),
        ("epoch_secret", epoch_secret),
        ("used PPRF root", parent_init),
    ];
    never_stored.extend(path.path_secrets.into_iter().map(|(_, secret)| ("path_secret", secret)));
    Secrets { never_stored, epoch_id }
}

#[test]
fn no_store_holds_what_is_never_stored() {
    let mut world = World::new(41, 4);
    world.form();
    let thief = in_head(&world, 3);
    world.refresh(1);
    let commit = world.bytes(world.sent() - 1).to_vec();
    world.run(30_000);
    let child = in_head(&world, 3);
    let secrets = derive(&thief, &commit);
    assert_eq!(secrets.epoch_id.as_slice(), child.id.as_slice(), "the derivation is the real one");

    // Control: before the child is used, its PPRF root is there, and other secrets are found where they belong.
    let root = &secrets.never_stored.iter().find(|(name, _)| *name == "used PPRF root").expect("a root").1;
    for peer in &world.peers {
        let bytes = stored_bytes(&peer.store);
        assert!(contains(&bytes, root.as_slice()), "the root of the unused PPRF is stored");
        assert!(contains(&bytes, child.epoch.secrets().exporter_secret.as_slice()));
        assert!(contains(&bytes, child.epoch.secrets().sender_data_secret.as_slice()));
    }
    world.refresh(2);
    world.run(30_000);
    for (place, peer) in world.peers.iter().enumerate() {
        let bytes = stored_bytes(&peer.store);
        assert!(Insider::read(&peer.store, &group_id(), &child.id).is_some(), "the epoch is still retained");
        assert!(contains(&bytes, child.epoch.secrets().exporter_secret.as_slice()), "control");
        for (name, secret) in &secrets.never_stored {
            assert!(!contains(&bytes, secret.as_slice()), "client {place} stores {name}");
        }
    }
}

#[test]
fn a_joiner_stores_neither_joiner_secret_nor_used_init_key() {
    let mut world = World::new(42, 3);
    world.create(Default::default());
    world.invite(0, &[1]);
    let bundle = world.peers[1].store.records().find_map(|(_, value)| match value {
        dmls_core::group::Value::KeyPackage(bundle) => Some(bundle.clone()),
        _ => None,
    });
    let bundle = bundle.expect("a key package that waits");
    let before = stored_bytes(&world.peers[1].store);
    assert!(
        contains(&before, bundle.init_private.0.as_slice()),
        "control: the init key is there until it is used"
    );
    world.run(30_000);
    let after = stored_bytes(&world.peers[1].store);
    assert!(!contains(&after, bundle.init_private.0.as_slice()));
    assert!(contains(&after, bundle.leaf_private.0.as_slice()), "control: the leaf key stays");
}
