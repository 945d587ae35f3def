//! Vectors of the ratchet tree and of TreeKEM.

use std::collections::{BTreeMap, BTreeSet};

use dmls_core::codec::{decode, encode};
use dmls_core::framing::Proposal;
use dmls_core::schedule::GroupContext;
use dmls_core::suite::{HpkePrivateKey, HpkePublicKey, SignaturePrivateKey, Strictness, Suite};
use dmls_core::tree::{
    DerivedPath, Extensions, LeafIndex, LeafRules, LeafTemplate, NodeIndex, PathSender, PrivateKeys,
    ProtocolVersion, RatchetTree, UpdatePath,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::Value;

use crate::Outcome;
use crate::input::{At, bytes, field, list, number, opaque, same, secret, suite_or_skip};

/// A node's relative of one kind, if it has one.
type Relation<'a> = &'a dyn Fn(NodeIndex) -> Option<NodeIndex>;

/// Root, children, parent and sibling of every node.
pub(crate) fn tree_math(case: &Value) -> Result<Outcome, String> {
    let width: u32 = number(case, "n_leaves")?;
    let n_nodes = (0..).take_while(|node| NodeIndex(*node).is_in(width)).count();
    if n_nodes != number::<usize>(case, "n_nodes")? {
        return Err(format!("n_nodes: computed {n_nodes}"));
    }
    same_node(field(case, "root")?, Some(NodeIndex::root(width))).at("root")?;
    let relations: [(&str, Relation<'_>); 4] = [
        ("left", &NodeIndex::left),
        ("right", &NodeIndex::right),
        ("parent", &|node| node.parent(width)),
        ("sibling", &|node| node.sibling(width)),
    ];
    for (key, relation) in relations {
        let expected = list(case, key)?;
        if expected.len() != n_nodes {
            return Err(format!("{key}: {} nodes", expected.len()));
        }
        for (node, expected) in (0..).zip(expected) {
            same_node(expected, relation(NodeIndex(node))).at(key)?;
        }
    }
    Ok(Outcome::Passed)
}

/// Compares a node index, or its absence.
fn same_node(expected: &Value, ours: Option<NodeIndex>) -> Result<(), String> {
    let theirs = expected.as_u64();
    if (theirs.is_some() || expected.is_null()) && theirs == ours.map(|node| node.0.into()) {
        return Ok(());
    }
    Err(format!("expected {expected}, computed {ours:?}"))
}

/// One proposal applied to a tree.
pub(crate) fn tree_operations(case: &Value) -> Result<Outcome, String> {
    let suite = suite_or_skip!(case);
    let before = RatchetTree::from_extension(suite, &bytes(case, "tree_before")?).at("tree_before")?;
    same(case, "tree_before", &before.to_extension().encode().at("tree_before")?)?;
    same(case, "tree_hash_before", before.tree_hash().at("tree_hash_before")?.as_slice())?;
    let sender = LeafIndex(number(case, "proposal_sender")?);
    let after = match decode::<Proposal>(&bytes(case, "proposal")?).at("proposal")? {
        Proposal::Add(add) => before.add_leaf(add.key_package.leaf_node).map(|(tree, _)| tree),
        Proposal::Update(update) => before.update_leaf(sender, update.leaf_node),
        Proposal::Remove(remove) => before.remove_leaf(remove.removed),
        other => return Err(format!("proposal: {:?} changes no tree", other.proposal_type())),
    }
    .at("proposal")?;
    same(case, "tree_after", &after.to_extension().encode().at("tree_after")?)?;
    same(case, "tree_hash_after", after.tree_hash().at("tree_hash_after")?.as_slice())?;
    // The tree of the nodes alone hashes alike: what is cached along the way is right.
    let anew = RatchetTree::from_nodes(suite, after.to_nodes()).at("tree_after")?;
    same(case, "tree_hash_after", anew.tree_hash().at("tree_hash_after")?.as_slice())?;
    Ok(Outcome::Passed)
}

/// Resolutions, tree hashes, and every rule for a tree that is joined.
pub(crate) fn tree_validation(case: &Value) -> Result<Outcome, String> {
    let suite = suite_or_skip!(case);
    let tree = RatchetTree::from_extension(suite, &bytes(case, "tree")?).at("tree")?;
    let (resolutions, hashes) = (list(case, "resolutions")?, list(case, "tree_hashes")?);
    let n_nodes = tree.to_nodes().len();
    if resolutions.len() != n_nodes || hashes.len() != n_nodes {
        return Err(format!(
            "tree: {n_nodes} nodes, {} resolutions, {} hashes",
            resolutions.len(),
            hashes.len()
        ));
    }
    for (node, (resolution, hash)) in (0..).zip(resolutions.iter().zip(hashes)) {
        let ours: Vec<_> = tree.resolution(NodeIndex(node)).into_iter().map(|node| node.0).collect();
        if Value::from(ours.clone()) != *resolution {
            return Err(format!("resolutions[{node}]: expected {resolution}, computed {ours:?}"));
        }
        let ours = tree.node_hash(NodeIndex(node)).at("tree_hashes")?.ok_or("tree_hashes: no such node")?;
        if hash.as_str() != Some(hex::encode(ours.as_slice()).as_str()) {
            return Err(format!("tree_hashes[{node}]: expected {hash}, computed {ours:?}"));
        }
    }
    let group_id = bytes(case, "group_id")?;
    tree.validate(&rules(&group_id, &Extensions::default())).at("tree")?;
    Ok(Outcome::Passed)
}

/// The vectors know neither time nor GroupContext extensions.
fn rules<'a>(group_id: &'a [u8], group_extensions: &'a Extensions) -> LeafRules<'a> {
    LeafRules { group_id, group_extensions, strictness: Strictness::Standard, now_seconds: None }
}

/// A member of a `treekem` case.
struct Member {
    keys: PrivateKeys,
    signer: SignaturePrivateKey,
}

impl Member {
    /// Its keys: of its leaf, and of the nodes that the listed path secrets are of.
    fn new(suite: Suite, tree: &RatchetTree, index: LeafIndex, private: &Value) -> Result<Self, String> {
        let mut keys = PrivateKeys::default();
        let leaf = tree.leaf(index).ok_or("leaves_private: a blank leaf")?;
        let own = HpkePrivateKey(secret(private, "encryption_priv")?);
        same_key(&suite.hpke().public_key(&own).at("encryption_priv")?, &leaf.encryption_key)?;
        keys.insert(leaf.encryption_key.clone(), own);
        for entry in list(private, "path_secrets")? {
            let node_secret =
                suite.derive_secret(&secret(entry, "path_secret")?, "node").at("path_secret")?;
            let (key, public) = suite.hpke().derive_key_pair(&node_secret);
            let node = NodeIndex(number(entry, "node")?);
            same_key(&public, tree.encryption_key(node).ok_or("path_secrets: a blank node")?)?;
            keys.insert(public, key);
        }
        let signer = SignaturePrivateKey(secret(private, "signature_priv")?);
        let public = suite.signature().public_key(&signer).at("signature_priv")?;
        if public != leaf.signature_key {
            return Err("signature_priv: not the key of the leaf".into());
        }
        Ok(Self { keys, signer })
    }

    fn decrypt(
        &self,
        tree: &RatchetTree,
        (sender, own): (LeafIndex, LeafIndex),
        path: &UpdatePath,
        context: &[u8],
    ) -> Result<DerivedPath, String> {
        let lookup = |key: &HpkePublicKey| self.keys.get(key).map(|key| (**key).clone());
        tree.decrypt_path(sender, own, path, &BTreeSet::new(), context, &lookup)
            .at(&format!("path of {sender} at {own}"))
    }
}

fn same_key(ours: &HpkePublicKey, theirs: &HpkePublicKey) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("a private key yields {ours:?}, not {theirs:?}")) }
}

/// Every member opens every path; then each sends a path of its own that all others open.
pub(crate) fn treekem(case: &Value) -> Result<Outcome, String> {
    let suite = suite_or_skip!(case);
    let tree = RatchetTree::from_extension(suite, &bytes(case, "ratchet_tree")?).at("ratchet_tree")?;
    let mut members = BTreeMap::new();
    for private in list(case, "leaves_private")? {
        let index = LeafIndex(number(private, "index")?);
        members.insert(index, Member::new(suite, &tree, index, private)?);
    }
    for path in list(case, "update_paths")? {
        given_path(case, suite, &tree, &members, path)?;
    }
    for sender in members.keys() {
        own_path(case, suite, &tree, &members, *sender)?;
    }
    Ok(Outcome::Passed)
}

/// The encoded provisional GroupContext of a path that leads to `tree`.
fn context(case: &Value, suite: Suite, tree: &RatchetTree) -> Result<Vec<u8>, String> {
    encode(&GroupContext {
        version: ProtocolVersion::MLS10,
        cipher_suite: suite.id(),
        group_id: opaque(case, "group_id")?,
        epoch: number(case, "epoch")?,
        tree_hash: tree.tree_hash().at("tree_hash")?,
        confirmed_transcript_hash: opaque(case, "confirmed_transcript_hash")?,
        extensions: Extensions::default(),
    })
    .at("group context")
}

fn given_path(
    case: &Value,
    suite: Suite,
    tree: &RatchetTree,
    members: &BTreeMap<LeafIndex, Member>,
    entry: &Value,
) -> Result<(), String> {
    let sender = LeafIndex(number(entry, "sender")?);
    let path: UpdatePath = decode(&bytes(entry, "update_path")?).at("update_path")?;
    same(entry, "update_path", &encode(&path).at("update_path")?)?;
    let group_id = bytes(case, "group_id")?;
    let extensions = Extensions::default();
    let rules = rules(&group_id, &extensions);
    let after =
        tree.apply_path(PathSender::Member(sender), &path, &BTreeSet::new(), &rules).at("update_path")?;
    same(entry, "tree_hash_after", after.tree_hash().at("tree_hash_after")?.as_slice())?;
    after.validate(&rules).at("tree after update_path")?;
    let context = context(case, suite, &after)?;
    let path_secrets = list(entry, "path_secrets")?;
    for (own, member) in members.iter().filter(|(own, _)| **own != sender) {
        let opened = member.decrypt(tree, (sender, *own), &path, &context)?;
        let (_, first) = opened.path_secrets.first().ok_or("path_secrets: none derived")?;
        let expected = path_secrets.get(own.0 as usize).and_then(Value::as_str);
        if expected != Some(&hex::encode(first.as_slice())) {
            return Err(format!("path_secrets[{own}]: differs"));
        }
        same(entry, "commit_secret", opened.commit_secret.as_slice())?;
    }
    Ok(())
}

fn own_path(
    case: &Value,
    suite: Suite,
    tree: &RatchetTree,
    members: &BTreeMap<LeafIndex, Member>,
    sender: LeafIndex,
) -> Result<(), String> {
    let mut rng = ChaCha20Rng::seed_from_u64(sender.0.into());
    let group_id = bytes(case, "group_id")?;
    let extensions = Extensions::default();
    let rules = LeafRules { strictness: Strictness::Canonical, ..rules(&group_id, &extensions) };
    let template = LeafTemplate::of(tree.leaf(sender).ok_or("leaves_private: a blank leaf")?);
    let from = PathSender::Member(sender);
    let signer = &members.get(&sender).ok_or("leaves_private: a missing leaf")?.signer;
    let draft = tree.draw_path(from, &template, signer, &group_id, &mut rng).at("own path")?;
    let context = context(case, suite, &draft.tree)?;
    let path = draft.encrypt(&BTreeSet::new(), &context, &mut rng).at("own path")?;
    let after = tree.apply_path(from, &path, &BTreeSet::new(), &rules).at("own path")?;
    if after.tree_hash().at("own path")? != draft.tree.tree_hash().at("own path")? {
        return Err(format!("own path of {sender}: the trees differ"));
    }
    for (own, member) in members.iter().filter(|(own, _)| **own != sender) {
        let opened = member.decrypt(tree, (sender, *own), &path, &context)?;
        let last = Some(&opened.last_path_secret) == draft.last_path_secret.as_ref();
        if opened.commit_secret != draft.commit_secret || !last {
            return Err(format!("own path of {sender}: {own} derives other secrets"));
        }
    }
    Ok(())
}
