//! A thief of stored state (DESIGN 4.9): it has whatever members have stored, and all that went over the network. It
//! tries every message, commit and Welcome against every state and key that it has, adds what it derives to what it
//! has, and goes on until there is nothing new.
//!
//! It keeps to no rule of the API: it takes secrets out of records, opens paths for whichever leaf it can, and feeds
//! every PPRF that it has with every commit. Only the cryptography stops it.

use std::collections::{BTreeMap, BTreeSet};

use dmls_core::codec::{Bytes, decode};
use dmls_core::epoch::{DefaultPolicy, Epoch, EpochRecord, Join, NoPsks, PendingLeaf, PublicCommit};
use dmls_core::framing::{
    AuthenticatedContent, Content, DmlsMessage, KeyPackageBundle, MlsMessage, MlsMessageBody, Welcome,
};
use dmls_core::group::{Changes, GroupId, Key, MemoryStore, Store, Table, Value};
use dmls_core::schedule::{
    CommitId, DerivedEpoch, EpochId, EpochSecrets, GroupContext, HandshakeKeys, Profile, SecretTree, Windows,
    child_init_input, commit_confirmation, joiner_secret, psk_secret, welcome_keys, welcome_secret,
};
use dmls_core::suite::{HpkePrivateKey, HpkePublicKey, Secret, SignaturePrivateKey};
use dmls_core::tree::{DerivedPath, LeafIndex};
use serde::Serialize;

use crate::{Insider, World, stored_records};

/// What a thief has found out, apart from what it took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loot {
    /// Epochs whose keys were in what it took.
    pub held: BTreeSet<EpochId>,
    /// Epochs that it derived, whether or not it held them too.
    pub derived: BTreeSet<EpochId>,
    /// Application messages that it read: their places in the traffic, and what they say.
    pub read: BTreeMap<usize, Bytes>,
    /// Handshake messages that it read.
    pub handshakes: BTreeSet<usize>,
    /// Commits whose path it opened, and so has node keys of.
    pub paths: BTreeSet<CommitId>,
    /// Welcomes that it opened.
    pub welcomes: BTreeSet<usize>,
}

/// A commit that it has opened.
struct Plunder {
    parent: usize,
    content: AuthenticatedContent,
    staged: Box<PublicCommit>,
    path: Option<DerivedPath>,
    entered: bool,
}

/// Somebody with the stored state of one or more members, and the traffic.
pub struct Thief {
    group: GroupId,
    messages: Vec<DmlsMessage>,
    welcomes: Vec<Welcome>,
    states: Vec<Insider>,
    keys: BTreeMap<HpkePublicKey, HpkePrivateKey>,
    key_packages: Vec<KeyPackageBundle>,
    commits: BTreeMap<(EpochId, CommitId), Plunder>,
    loot: Loot,
}

impl Thief {
    /// One who has recorded all traffic of a world so far, and has taken nothing yet.
    pub fn listening(world: &World, group: &GroupId) -> Self {
        let messages = (0..world.sent()).map(|index| decode(world.bytes(index)).expect("a message"));
        let welcomes = world.welcomed.iter().map(|bytes| {
            let MlsMessageBody::Welcome(welcome) = MlsMessage::from_bytes(bytes).expect("a Welcome").body
            else {
                panic!("not a Welcome")
            };
            welcome
        });
        Self {
            group: group.clone(),
            messages: messages.collect(),
            welcomes: welcomes.collect(),
            states: Vec::new(),
            keys: BTreeMap::new(),
            key_packages: Vec::new(),
            commits: BTreeMap::new(),
            loot: Loot::default(),
        }
    }

    /// Takes all that a member has stored, as bytes, and reads it.
    #[must_use]
    pub fn taking(mut self, store: &MemoryStore) -> Self {
        let store = copy_of(store);
        let prefix = Key::of_group(Table::Epochs, &self.group).bytes.len();
        for (key, value) in store.records() {
            match value {
                Value::Epoch(_) => {
                    let id = EpochId::from(key.bytes[prefix..].to_vec());
                    let state = Insider::read(&store, &self.group, &id).expect("a whole epoch");
                    let pending = state.epoch.pending_leaves().iter();
                    self.keys.extend(pending.map(|(key, leaf)| (key.clone(), leaf.leaf_private.clone())));
                    self.loot.held.insert(id);
                    self.states.push(state);
                }
                Value::NodeKey(private) => {
                    let public = HpkePublicKey::from(key.bytes[prefix..].to_vec());
                    self.keys.insert(public, private.clone());
                }
                Value::KeyPackage(bundle) => {
                    let package = &bundle.key_package;
                    self.keys.insert(package.init_key.clone(), bundle.init_private.clone());
                    self.keys.insert(package.leaf_node.encryption_key.clone(), bundle.leaf_private.clone());
                    self.key_packages.push(bundle.clone());
                }
                _ => {}
            }
        }
        self
    }

    /// Tries everything until there is nothing new.
    pub fn plunder(mut self) -> Loot {
        let mut opened = 0;
        loop {
            while opened < self.states.len() {
                self.open_all(opened);
                opened += 1;
            }
            let before = (self.states.len(), self.keys.len());
            self.try_welcomes();
            self.try_commits();
            if before == (self.states.len(), self.keys.len()) {
                return self.loot;
            }
        }
    }

    /// Tries every message on one state: twice, because a commit may refer to a proposal that comes later.
    fn open_all(&mut self, state: usize) {
        let windows = Windows { forward: u32::MAX, back: u32::MAX };
        let open = |(index, message): (usize, &DmlsMessage)| {
            Some((index, self.states[state].epoch.open(&message.message, windows).ok()?.content))
        };
        let opened: Vec<_> = self.messages.iter().enumerate().filter_map(open).collect();
        for (index, content) in &opened {
            match &content.content.content {
                Content::Application(data) => {
                    self.loot.read.insert(*index, data.as_slice().into());
                }
                other => {
                    self.loot.handshakes.insert(*index);
                    if matches!(other, Content::Proposal(_))
                        && let Ok((next, _)) = self.states[state].epoch.with_proposal(content)
                    {
                        self.states[state].epoch = next;
                    }
                }
            }
        }
        let is_commit =
            |content: &AuthenticatedContent| matches!(content.content.content, Content::Commit(_));
        for (_, content) in opened.into_iter().filter(|(_, content)| is_commit(content)) {
            let at = &self.states[state];
            let Ok(staged) = at.epoch.stage_commit(&content, &DefaultPolicy) else { continue };
            let name = (at.id.clone(), staged.commit_id());
            let found =
                Plunder { parent: state, content, staged: Box::new(staged), path: None, entered: false };
            self.commits.entry(name).or_insert(found);
        }
    }

    /// Tries every private key on every Welcome, and every key package.
    fn try_welcomes(&mut self) {
        for index in 0..self.welcomes.len() {
            if self.loot.welcomes.contains(&index) {
                continue;
            }
            let welcome = self.welcomes[index].clone();
            let suite = welcome.cipher_suite.suite().expect("a known suite");
            let info = welcome.encrypted_group_info.as_slice();
            let opens = |key: &HpkePrivateKey| {
                let mut sealed = welcome.secrets.iter().map(|secrets| &secrets.encrypted_group_secrets);
                sealed.any(|sealed| suite.decrypt_with_label(key, "Welcome", info, sealed).is_ok())
            };
            if self.keys.values().any(opens) {
                self.loot.welcomes.insert(index);
            }
            for bundle in &self.key_packages {
                let join = Join { bundle, ratchet_tree: None, psks: &NoPsks, policy: &DefaultPolicy };
                let Ok(joined) = join.welcome(&welcome) else { continue };
                let dmls = joined.dmls.expect("a DMLS group");
                self.loot.derived.insert(dmls.dmls_epoch.clone());
                let keys = joined.epoch.private_keys().iter();
                self.keys.extend(keys.map(|(public, private)| (public.clone(), (**private).clone())));
                self.states.push(Insider {
                    id: dmls.dmls_epoch,
                    epoch: joined.epoch,
                    init: dmls.parent_init,
                });
            }
        }
    }

    /// Tries every path with every key, and every PPRF with every commit whose path is open.
    fn try_commits(&mut self) {
        let names: Vec<_> = self.commits.keys().cloned().collect();
        for name in names {
            let found = &self.commits[&name];
            if found.entered {
                continue;
            }
            let parent = &self.states[found.parent].epoch;
            let open = || open_path(parent, &found.content, &found.staged, &self.keys);
            let path = found.path.clone().or_else(open);
            let Some(path) = path else { continue };
            self.keys.extend(path.private_keys.iter().cloned());
            self.loot.paths.insert(name.1.clone());
            let child = self.derive_child(found, &path);
            let entered = child.is_some();
            if let Some((child, welcomes)) = child {
                self.loot.welcomes.extend(welcomes);
                self.loot.derived.insert(child.id.clone());
                self.states.push(child);
            }
            let found = self.commits.get_mut(&name).expect("it was there");
            (found.path, found.entered) = (Some(path), entered);
        }
    }

    /// Derives a commit's child from an open path, if any PPRF at hand gives an init secret that fits; and the Welcomes
    /// that this opens.
    fn derive_child(&self, found: &Plunder, path: &DerivedPath) -> Option<(Insider, Vec<usize>)> {
        let (staged, suite) = (&found.staged, found.staged.child.suite());
        assert!(staged.list.psks.is_empty(), "no test uses PSKs");
        let psk = psk_secret(suite, &[]).expect("a secret");
        let conf = commit_confirmation(suite, Some(&path.last_path_secret)).expect("a secret");
        let x = child_init_input(suite, &conf, staged.context()).expect("an input");
        for state in &self.states {
            let Ok(init_secret) = state.init.evaluate(&x) else { continue };
            let joiner = joiner_secret(suite, &init_secret, &path.commit_secret, staged.context());
            let joiner = joiner.expect("a secret");
            let derived = DerivedEpoch::new(suite, Profile::Dmls, &joiner, &psk, staged.context());
            let derived = derived.expect("an epoch");
            let (confirmed, tag) = (&staged.context().confirmed_transcript_hash, &staged.confirmation_tag);
            if derived.secrets.verify_confirmation_tag(suite, confirmed, tag) != Ok(true) {
                continue;
            }
            let welcome = welcome_secret(suite, &joiner, &psk).expect("a secret");
            let opened = opened_infos(&self.welcomes, &welcome);
            let signature_private = state.epoch.signature_private().clone();
            return Some((written_by_hand(staged, derived, signature_private), opened));
        }
        None
    }
}

/// Opens a commit's path for whichever leaf a key is at hand.
pub fn open_path(
    parent: &Epoch,
    content: &AuthenticatedContent,
    staged: &PublicCommit,
    keys: &BTreeMap<HpkePublicKey, HpkePrivateKey>,
) -> Option<DerivedPath> {
    let Content::Commit(commit) = &content.content.content else { panic!("a commit") };
    let path = commit.path.as_ref()?;
    let confirmed_transcript_hash = parent.context().confirmed_transcript_hash.clone();
    let context = GroupContext { confirmed_transcript_hash, ..staged.context().clone() };
    let context = context.encoded().expect("bytes");
    let added = staged.added.iter().map(|added| added.leaf).collect();
    // The copath is the same before and after the path is merged.
    let tree = staged.child.tree();
    let private = |key: &HpkePublicKey| keys.get(key).cloned();
    let from = staged.committer_leaf;
    let open = |own: LeafIndex| tree.decrypt_path(from, own, path, &added, &context, &private).ok();
    tree.leaves().find_map(|(own, _)| open(own))
}

/// The Welcomes whose GroupInfo a welcome secret opens.
fn opened_infos(welcomes: &[Welcome], secret: &Secret) -> Vec<usize> {
    let opens = |welcome: &Welcome| {
        let suite = welcome.cipher_suite.suite().expect("a known suite");
        let keys = welcome_keys(suite, secret).expect("keys");
        let sealed = welcome.encrypted_group_info.as_slice();
        suite.aead().open(&keys.key, keys.nonce.as_slice(), b"", sealed).is_ok()
    };
    welcomes.iter().enumerate().filter(|(_, welcome)| opens(welcome)).map(|(index, _)| index).collect()
}

/// A store made of the bytes of another's records, and of nothing else.
fn copy_of(store: &MemoryStore) -> MemoryStore {
    let mut changes = Changes::default();
    for (key, bytes) in stored_records(store) {
        let (value, _) = bincode::serde::decode_from_slice(&bytes, bincode::config::standard())
            .expect("a record can be decoded");
        changes.put(key, value);
    }
    let mut copy = MemoryStore::default();
    copy.apply(&changes).expect("memory");
    copy
}

/// What an epoch's record consists of, field by field: a thief is no member, so it writes its own.
#[derive(Serialize)]
struct HandWritten {
    context: GroupContext,
    width: u32,
    interim_transcript_hash: Bytes,
    confirmation_tag: Bytes,
    secrets: EpochSecrets,
    own_leaf: LeafIndex,
    node_keys: Vec<HpkePublicKey>,
    signature_private: SignaturePrivateKey,
    secret_tree: SecretTree,
    proposals: Vec<()>,
    pending_leaves: Vec<(HpkePublicKey, PendingLeaf)>,
}

/// The child of a commit as nobody's state: all of its secrets, in the place of the committer.
fn written_by_hand(
    staged: &PublicCommit,
    derived: DerivedEpoch,
    signature_private: SignaturePrivateKey,
) -> Insider {
    let (suite, tree) = (staged.child.suite(), staged.child.tree());
    let (width, encryption) = (tree.width(), &derived.encryption_secret);
    let record = HandWritten {
        context: staged.context().clone(),
        width,
        interim_transcript_hash: staged.child.interim_transcript_hash().clone(),
        confirmation_tag: staged.confirmation_tag.clone(),
        secrets: derived.secrets,
        own_leaf: staged.committer_leaf,
        node_keys: Vec::new(),
        signature_private,
        secret_tree: SecretTree::new(suite, encryption, width, HandshakeKeys::Retained).expect("a tree"),
        proposals: Vec::new(),
        pending_leaves: Vec::new(),
    };
    let config = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(&record, config).expect("bytes");
    let (record, len): (EpochRecord, _) =
        bincode::serde::decode_from_slice(&bytes, config).expect("a record as the library writes them");
    assert_eq!(len, bytes.len(), "a record as the library writes them");
    let dmls = derived.dmls.expect("a DMLS group");
    let epoch = Epoch::from_record(record, tree.clone(), &|_| None, []).expect("a whole epoch");
    Insider { id: dmls.dmls_epoch, epoch, init: dmls.parent_init }
}
