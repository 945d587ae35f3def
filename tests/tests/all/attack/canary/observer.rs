//! One who sees every step of every member, derives every secret of every commit once more, and looks for those that
//! must not be stored in everything that is.

use std::collections::{BTreeMap, BTreeSet};

use dmls_core::codec::decode;
use dmls_core::epoch::PublicCommit;
use dmls_core::framing::{AuthenticatedContent, Content, DmlsMessage};
use dmls_core::group::{Effect, Event, Key, MemoryStore, Step, Store, Table, Value};
use dmls_core::schedule::{
    CommitId, EpochId, GroupContext, HandshakeKeys, InitPprf, RatchetType, SecretTree, Windows,
    joiner_secret, psk_secret, welcome_secret,
};
use dmls_core::suite::{HpkePrivateKey, HpkePublicKey, Secret, Suite};
use dmls_tests::{Insider, open_path, stored_records};

use super::super::group_id;
use super::needles::Needles;

const ALL: Windows = Windows { forward: u32::MAX, back: u32::MAX };

/// The stored state of one member, as bytes.
#[derive(Default)]
struct Mirror {
    store: MemoryStore,
    records: BTreeMap<Key, Vec<u8>>,
    /// What this member must not have any more.
    forbidden: Needles,
}

/// An epoch, as it was when it was first stored by anybody: its maker, before any message.
struct First {
    keys: Insider,
    root: Secret,
    /// Nodes beside the ways to visited points of its PPRF: what is stored after a puncture.
    beside: Vec<Secret>,
}

/// A message that was opened, with its epoch and generation.
type Logged = (EpochId, AuthenticatedContent, u32);

/// The observer.
#[derive(Default)]
pub(super) struct Observer {
    mirrors: BTreeMap<usize, Mirror>,
    epochs: BTreeMap<EpochId, First>,
    keys: BTreeMap<HpkePublicKey, HpkePrivateKey>,
    /// What nobody must ever have.
    never: Needles,
    derived: BTreeSet<EpochId>,
    /// Epochs that members have entered, some of which the same step has deleted.
    entered: BTreeSet<EpochId>,
    /// Secrets that were found where they must not be: name, member, table.
    pub(super) findings: BTreeSet<(String, usize, &'static str)>,
    /// How many steps were looked at.
    pub(super) steps: usize,
    /// Commits whose path nobody that was seen can open, each with the number of those that it was made for: none, or
    /// somebody who has not joined yet.
    pub(super) opaque: BTreeMap<CommitId, usize>,
}

fn encoded(value: &Value) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).expect("bytes")
}

fn bytes_of(init: &InitPprf) -> Vec<u8> {
    bincode::serde::encode_to_vec(init, bincode::config::standard()).expect("bytes")
}

/// The root of an unpunctured PPRF: its only node is what its encoding ends with.
fn root_of(suite: Suite, init: &InitPprf) -> Secret {
    assert_eq!(init.punctured_count(), 0, "an epoch begins unpunctured");
    let bytes = bytes_of(init);
    let root = Secret::from(&bytes[bytes.len() - suite.nh()..]);
    assert_eq!(bytes_of(&InitPprf::new(suite, &root).expect("a PPRF")), bytes);
    root
}

/// The way from the root of a PPRF to a point, both included, and the nodes beside it.
fn way(suite: Suite, root: &Secret, x: &[u8]) -> (Vec<Secret>, Vec<Secret>) {
    let child = |node: &Secret, side: &[u8]| suite.expand_with_label(node, "tree", side, suite.nh());
    let (mut way, mut beside) = (vec![root.clone()], Vec::new());
    for bit in 0..8 * x.len() {
        let node = way.last().expect("a node").clone();
        let (left, right) = (child(&node, b"left").expect("a node"), child(&node, b"right").expect("a node"));
        let is_right = x[bit / 8] >> (7 - bit % 8) & 1 == 1;
        let (on, off) = if is_right { (right, left) } else { (left, right) };
        way.push(on);
        beside.push(off);
    }
    (way, beside)
}

impl Observer {
    /// Looks at a step that is about to be stored.
    pub(super) fn see(&mut self, by: usize, before: &MemoryStore, step: &Step) {
        self.steps += 1;
        self.take_over(by, before);
        self.entered.extend(step.effects.iter().filter_map(|effect| match effect {
            Effect::Event(Event::Epoch { epoch, .. }) => Some(epoch.clone()),
            _ => None,
        }));
        let mut news = Needles::default();
        for key in &step.changes.delete {
            self.deleted(by, key, &mut news);
        }
        let mirror = self.mirrors.get_mut(&by).expect("a mirror");
        mirror.store.apply(&step.changes).expect("memory");
        let changed: Vec<Key> = step.changes.put.keys().cloned().collect();
        for (key, value) in &step.changes.put {
            mirror.records.insert(key.clone(), encoded(value));
            if let Value::NodeKey(private) = value {
                let prefix = Key::of_group(Table::NodeKeys, &group_id()).bytes.len();
                self.keys.insert(HpkePublicKey::from(key.bytes[prefix..].to_vec()), private.clone());
            }
        }
        for key in &step.changes.delete {
            mirror.records.remove(key);
        }
        self.note_epochs(by, &changed);
        let logged = step.changes.put.values().filter_map(|value| match value {
            Value::Log(bytes) => Some(bytes.as_slice().to_vec()),
            _ => None,
        });
        let known = self.never.len();
        let mut never = Needles::default();
        // A member may commit and speak in one step: its commit has the keys that it has used before it stored them.
        let (first, rest) = self.open(logged.collect());
        self.messages(first, (&mut news, &mut never));
        let (second, rest) = self.open(rest);
        self.messages(second, (&mut news, &mut never));
        assert!(rest.is_empty(), "honest messages open");
        self.never.extend(&never);
        self.search(by, &changed, &news, if self.never.len() > known { Some(&never) } else { None });
    }

    /// What is stored apart from steps: the identity and key packages.
    fn take_over(&mut self, by: usize, before: &MemoryStore) {
        let mirror = self.mirrors.entry(by).or_default();
        let apart = |key: &Key| matches!(key.table, Table::Client | Table::KeyPackages);
        for (key, value) in before.records().filter(|(key, _)| apart(key)) {
            if !mirror.records.contains_key(key) {
                mirror.records.insert(key.clone(), encoded(value));
                let mut changes = dmls_core::group::Changes::default();
                changes.put(key.clone(), value.clone());
                mirror.store.apply(&changes).expect("memory");
            }
            if let Value::KeyPackage(bundle) = value {
                let public = bundle.key_package.leaf_node.encryption_key.clone();
                self.keys.insert(public, bundle.leaf_private.clone());
            }
        }
    }

    /// A member deletes a record.
    fn deleted(&mut self, by: usize, key: &Key, news: &mut Needles) {
        let mirror = &self.mirrors[&by];
        match mirror.store.get(key).expect("memory") {
            Some(Value::KeyPackage(bundle)) => {
                let found = super::occurs(&mirror.records, bundle.init_private.0.as_slice());
                assert!(found, "control: the init key is there until it is used");
                news.add("used init key", bundle.init_private.0.as_slice());
            }
            Some(Value::Init(_)) => {
                let prefix = Key::of_group(Table::Inits, &group_id()).bytes.len();
                let first = &self.epochs[&EpochId::from(key.bytes[prefix..].to_vec())];
                let secrets = first.keys.epoch.secrets();
                news.add("PPRF root of a deleted epoch", first.root.as_slice());
                for node in &first.beside {
                    news.add("PPRF node of a deleted epoch", node.as_slice());
                }
                for secret in [
                    &secrets.sender_data_secret,
                    &secrets.exporter_secret,
                    &secrets.confirmation_key,
                    &secrets.membership_key,
                    &secrets.resumption_psk,
                ] {
                    news.add("secret of a deleted epoch", secret.as_slice());
                }
            }
            _ => {}
        }
    }

    /// Remembers epochs that nobody has stored before.
    fn note_epochs(&mut self, by: usize, changed: &[Key]) {
        let prefix = Key::of_group(Table::Epochs, &group_id()).bytes.len();
        for key in changed.iter().filter(|key| key.table == Table::Epochs) {
            let id = EpochId::from(key.bytes[prefix..].to_vec());
            if !self.epochs.contains_key(&id) {
                let store = &self.mirrors[&by].store;
                let keys = Insider::read(store, &group_id(), &id).expect("a whole epoch");
                let root = root_of(keys.epoch.suite(), &keys.init);
                self.epochs.insert(id, First { keys, root, beside: Vec::new() });
            }
        }
    }

    /// Opens what can be opened, proposals before the commits that name them; and the rest.
    fn open(&self, logged: Vec<Vec<u8>>) -> (Vec<Logged>, Vec<Vec<u8>>) {
        let (mut opened, mut rest) = (Vec::new(), Vec::new());
        for bytes in logged {
            let message: DmlsMessage = decode(&bytes).expect("a message");
            let id = EpochId(message.dmls_epoch.clone());
            match self.epochs[&id].keys.epoch.open(&message.message, ALL) {
                Ok(found) => {
                    opened.push((id, found.content, found.key.expect("a private message").generation))
                }
                Err(_) => rest.push(bytes),
            }
        }
        opened.sort_by_key(|(_, content, _)| matches!(content.content.content, Content::Commit(_)));
        (opened, rest)
    }

    fn messages(&mut self, logged: Vec<Logged>, (news, never): (&mut Needles, &mut Needles)) {
        for (epoch, content, generation) in logged {
            self.message(&epoch, &content, generation, (news, never));
        }
    }

    /// A member has processed or sent a message.
    fn message(
        &mut self,
        at: &EpochId,
        content: &AuthenticatedContent,
        generation: u32,
        (news, never): (&mut Needles, &mut Needles),
    ) {
        let first = self.epochs.get_mut(at).expect("a known epoch");
        let leaf = content.member().expect("a member's message");
        match &content.content.content {
            Content::Application(_) => {
                let tree = first.keys.epoch.secret_tree();
                let keys = tree.peek(leaf, RatchetType::Application, generation, ALL).expect("a key");
                news.add("used message key", keys.key.as_slice());
                news.add("used message nonce", keys.nonce.as_slice());
            }
            Content::Proposal(_) => {
                if let Ok((next, _)) = first.keys.epoch.with_proposal(content) {
                    first.keys.epoch = next;
                }
            }
            Content::Commit(_) => {
                let policy = dmls_core::epoch::DefaultPolicy;
                let staged = first.keys.epoch.stage_commit(content, &policy).expect("a valid commit");
                self.commit(at, content, &staged, (news, never));
            }
        }
    }

    /// A member has processed or made a commit.
    fn commit(
        &mut self,
        at: &EpochId,
        content: &AuthenticatedContent,
        staged: &PublicCommit,
        (news, never): (&mut Needles, &mut Needles),
    ) {
        let first = self.epochs.get_mut(at).expect("a known epoch");
        let suite = first.keys.epoch.suite();
        let conf = staged.meta().and_then(|meta| meta.conf.clone()).expect("a DMLS commit");
        let context = staged.context().encoded().expect("bytes");
        let conf = Secret::from(conf.as_slice());
        let x = suite.expand_with_label(&conf, "child_init", &context, suite.nh()).expect("an input");
        let (way, beside) = way(suite, &first.root, x.as_slice());
        news.add("used PPRF root", way[0].as_slice());
        for node in &way[1..] {
            news.add("punctured PPRF node", node.as_slice());
        }
        let init_secret = suite.derive_secret(way.last().expect("a leaf"), "pprf").expect("a secret");
        let real = first.keys.init.evaluate(&first.keys.child_input(staged)).expect("an unpunctured PPRF");
        assert_eq!(init_secret, real, "the derivation is the real one");
        let Some(path) = open_path(&first.keys.epoch, content, staged, &self.keys) else {
            let others = staged.child.tree().leaves().count() - staged.added.len() - 1;
            self.opaque.insert(staged.commit_id(), others);
            return;
        };
        self.opaque.remove(&staged.commit_id());
        let (id, encryption, secrets) = derive(suite, &init_secret, &path, staged.context());
        if self.derived.insert(id.clone()) {
            secrets.iter().for_each(|(name, secret)| never.add(name, secret.as_slice()));
            first.beside.extend(beside);
            let width = staged.child.tree().width();
            let unused = SecretTree::new(suite, &encryption, width, HandshakeKeys::Retained);
            if let Some(child) = self.epochs.get_mut(&id) {
                child.keys.epoch = child.keys.epoch.with_secret_tree(unused.expect("a tree"));
            }
        }
    }

    /// Looks for everything that is new in all that is stored, and for everything in all that is new.
    fn search(&mut self, by: usize, changed: &[Key], news: &Needles, never: Option<&Needles>) {
        let mirror = self.mirrors.get_mut(&by).expect("a mirror");
        mirror.forbidden.extend(news);
        let mut findings = Vec::new();
        let mut look = |needles: &Needles, place: usize, key: &Key, bytes: &[u8]| {
            let found = needles.found_in(bytes).into_iter();
            findings.extend(found.map(|name| (name.to_owned(), place, key.table.name())));
        };
        for key in changed {
            look(&mirror.forbidden, by, key, &mirror.records[key]);
            look(&self.never, by, key, &mirror.records[key]);
        }
        if news.len() > 0 {
            mirror.records.iter().for_each(|(key, bytes)| look(news, by, key, bytes));
        }
        for (place, mirror) in never.into_iter().flat_map(|_| &self.mirrors) {
            let never = never.expect("something new");
            mirror.records.iter().for_each(|(key, bytes)| look(never, *place, key, bytes));
        }
        self.findings.extend(findings);
    }

    /// That the observer has looked at what is stored, and that every epoch which it derived is real.
    pub(super) fn check(&self, place: usize, store: &MemoryStore) {
        let Some(mirror) = self.mirrors.get(&place) else { return };
        let real = stored_records(store);
        let apart = |key: &&Key| !matches!(key.table, Table::Client | Table::KeyPackages);
        assert!(mirror.records.keys().filter(apart).eq(real.keys().filter(apart)), "the same records");
        assert!(mirror.records.iter().all(|(key, bytes)| real.get(key) == Some(bytes)), "the same bytes");
        assert!(self.derived.is_subset(&self.entered), "every derived epoch is real");
    }

    /// The number of secrets that are looked for, in any store and in some.
    pub(super) fn secrets(&self) -> (usize, usize) {
        (self.never.len(), self.mirrors.values().map(|mirror| mirror.forbidden.len()).sum())
    }

    /// Nodes beside the ways that were punctured, in epochs that this member has.
    pub(super) fn nodes_beside(&self, held: &BTreeSet<EpochId>) -> Vec<Secret> {
        let epochs = self.epochs.iter().filter(|(id, _)| held.contains(id));
        epochs.flat_map(|(_, first)| first.beside.iter().cloned()).collect()
    }
}

/// The id of a commit's child, the root of its message keys, and the secrets that are met on the way to it and never stored.
fn derive(
    suite: Suite,
    init_secret: &Secret,
    path: &dmls_core::tree::DerivedPath,
    context: &GroupContext,
) -> (EpochId, Secret, Vec<(&'static str, Secret)>) {
    let joiner = joiner_secret(suite, init_secret, &path.commit_secret, context).expect("a secret");
    let psk = psk_secret(suite, &[]).expect("a secret");
    let welcome = welcome_secret(suite, &joiner, &psk).expect("a secret");
    let member = suite.extract(&joiner, &psk);
    let context = context.encoded().expect("bytes");
    let epoch = suite.expand_with_label(&member, "epoch", &context, suite.nh()).expect("a secret");
    let id = suite.derive_secret(&epoch, "epoch").expect("a secret");
    let encryption = suite.derive_secret(&epoch, "encryption").expect("a secret");
    let mut secrets = vec![
        ("init_secret", init_secret.clone()),
        ("commit_secret", path.commit_secret.clone()),
        ("joiner_secret", joiner),
        ("member_secret", member),
        ("welcome_secret", welcome),
        ("epoch_secret", epoch),
    ];
    secrets.extend(path.path_secrets.iter().map(|(_, secret)| ("path_secret", secret.clone())));
    (EpochId(id.as_slice().into()), encryption, secrets)
}
