//! What may be claimed of stolen state (DESIGN 4.9), each claim as an attack: a thief with everything that a member has
//! stored, and everything that was ever sent. docs/security.md says what these tests show.

mod can;
mod deleted;
mod histories;
mod messages;
mod random;
mod together;

use std::collections::{BTreeMap, BTreeSet};

use dmls_core::codec::decode;
use dmls_core::framing::{ContentType, DmlsMessage, MlsMessageBody};
use dmls_core::group::{Event, Key, MemoryStore, Store, Table};
use dmls_core::history::Operation;
use dmls_core::schedule::{EpochId, RatchetType};
use dmls_tests::{Insider, Loot, Thief, World};

use super::group_id;

/// A commit, as everybody who was there could tell it.
#[derive(Debug, Clone)]
struct Edge {
    parent: EpochId,
    committer: [u8; 32],
    removed: BTreeSet<[u8; 32]>,
    added: BTreeSet<[u8; 32]>,
    /// Members with new keys by an Update proposal of theirs.
    updated: BTreeSet<[u8; 32]>,
}

/// Everything that happened: all epochs on all branches.
struct Annals(BTreeMap<EpochId, Edge>);

impl Annals {
    fn of(world: &World) -> Self {
        let mut edges = BTreeMap::new();
        for event in world.peers.iter().flat_map(|peer| &peer.events) {
            let Event::Epoch { epoch, parent, committer, operations, .. } = event else { continue };
            let mut edge = Edge {
                parent: parent.clone(),
                committer: committer.fingerprint,
                removed: BTreeSet::new(),
                added: BTreeSet::new(),
                updated: BTreeSet::new(),
            };
            for operation in operations {
                match operation {
                    Operation::Remove(member) => edge.removed.insert(member.fingerprint),
                    Operation::Add(member) => edge.added.insert(member.fingerprint),
                    Operation::Update(member) => edge.updated.insert(member.fingerprint),
                    _ => false,
                };
            }
            edges.insert(epoch.clone(), edge);
        }
        Self(edges)
    }

    /// The epochs that a member's keys lead to, if only the `barred` ones cannot be entered from what it held. With
    /// `sure`, without those that depend on more: on the keys of an Update, or on which key package a Welcome was for.
    fn reach(&self, theft: &Theft, barred: &BTreeSet<EpochId>, sure: bool) -> BTreeSet<EpochId> {
        let who = theft.who;
        let open = |edge: &Edge| {
            let healed = edge.updated.contains(&who) && edge.committer != who;
            let keeps = !healed || (theft.pending && !sure);
            edge.committer != who && !edge.removed.contains(&who) && keeps
        };
        let mut derived = BTreeSet::new();
        loop {
            let reached = |edge: &Edge| theft.held.contains(&edge.parent) || derived.contains(&edge.parent);
            let fresh = |edge: &Edge| derived.contains(&edge.parent);
            let invited = |edge: &Edge| !sure && theft.key_packages > 0 && edge.added.contains(&who);
            let news = self.0.iter().filter(|(child, edge)| {
                let entered = reached(edge) && open(edge) && (fresh(edge) || !barred.contains(*child));
                !derived.contains(*child) && (entered || invited(edge))
            });
            let news: Vec<EpochId> = news.map(|(child, _)| child.clone()).collect();
            if news.is_empty() {
                return derived;
            }
            derived.extend(news);
        }
    }
}

/// What was taken from a member, and when.
struct Theft {
    place: usize,
    who: [u8; 32],
    store: MemoryStore,
    /// Epochs whose keys were stored.
    held: BTreeSet<EpochId>,
    /// Epochs that the member had entered until then.
    visited: BTreeSet<EpochId>,
    /// Messages, by place in the traffic, whose keys it had used until then.
    used: BTreeSet<usize>,
    /// Whether it had proposed new keys of its own: the thief has these too.
    pending: bool,
    /// How many key packages it had made that no Welcome had used.
    key_packages: usize,
}

impl Theft {
    fn of(world: &World, place: usize) -> Self {
        let peer = &world.peers[place];
        let prefix = Key::of_group(Table::Epochs, &group_id());
        let held = peer.store.places(&prefix).expect("memory").into_iter().map(EpochId::from);
        let held: BTreeSet<EpochId> = held.collect();
        let proposed = |id: &EpochId| {
            let state = Insider::read(&peer.store, &group_id(), id).expect("a held epoch");
            !state.epoch.pending_leaves().is_empty()
        };
        let visited = peer.events.iter().filter_map(|event| match event {
            Event::Epoch { epoch, .. } | Event::Joined { epoch } => Some(epoch.clone()),
            _ => None,
        });
        // What has taken effect is in the log, whether the application was told of it or not.
        let log = Key::of_group(Table::Log, &group_id());
        let log: BTreeSet<Vec<u8>> =
            peer.store.places(&log).expect("memory").into_iter().map(|place| place[8..].to_vec()).collect();
        let used = |index: &usize| log.contains(&message_id(world, *index));
        Self {
            place,
            who: peer.client.fingerprint(),
            store: peer.store.clone(),
            pending: held.iter().any(proposed),
            held,
            visited: visited.collect(),
            key_packages: peer.store.records().filter(|(key, _)| key.table == Table::KeyPackages).count(),
            used: (0..world.sent()).filter(used).collect(),
        }
    }

    /// Epochs that the member had and has deleted.
    fn deleted(&self) -> BTreeSet<EpochId> {
        self.visited.difference(&self.held).cloned().collect()
    }

    /// Whether the keys of an application message were stored: it had not been read, and the keys of its sender had not
    /// been deleted before their epoch.
    fn is_unread(&self, epoch: &EpochId, index: usize, world: &World) -> bool {
        if !self.held.contains(epoch) || self.used.contains(&index) {
            return false;
        }
        let state = Insider::read(&self.store, &group_id(), epoch).expect("a held epoch");
        let message: DmlsMessage = decode(world.bytes(index)).expect("a message");
        let MlsMessageBody::Private(private) = &message.message.body else { panic!("a private message") };
        let secret = &state.epoch.secrets().sender_data_secret;
        let sender = private.open_sender_data(state.epoch.suite(), secret).expect("a sender");
        let leaf = sender.leaf_index;
        state.epoch.secret_tree().next_generation(leaf, RatchetType::Application).is_some()
    }
}

fn message_id(world: &World, index: usize) -> Vec<u8> {
    let suite = dmls_core::suite::CipherSuite::X25519_AES128GCM.suite().expect("a suite with SHA-256");
    suite.hash(world.bytes(index))
}

/// The epoch of a message, and whether it is an application message.
fn label(world: &World, index: usize) -> (EpochId, bool) {
    let message: DmlsMessage = decode(world.bytes(index)).expect("a message");
    let MlsMessageBody::Private(private) = &message.message.body else { panic!("a private message") };
    (EpochId(message.dmls_epoch), private.content_type == ContentType::Application)
}

/// Lets a thief do what it can with what was taken from one member.
fn rob(world: &World, theft: &Theft) -> Loot {
    Thief::listening(world, &group_id()).taking(&theft.store).plunder()
}

/// Lets a thief do what it can, and checks that this is what the claims say: no more, and no less.
fn check(world: &World, theft: &Theft) -> Loot {
    let loot = rob(world, theft);
    let annals = Annals::of(world);
    let punctured = if world.options.puncturing { theft.visited.clone() } else { BTreeSet::new() };
    let (sure, most) = (annals.reach(theft, &punctured, true), annals.reach(theft, &punctured, false));
    let name = format!("member {}", theft.place);
    assert_eq!(loot.held, theft.held, "{name}: epochs held");
    assert!(sure.is_subset(&loot.derived), "{name}: what the docs say can be derived is");
    assert!(loot.derived.is_subset(&most), "{name}: more is derived than the docs say");
    // Epochs of which the thief has keys, and the messages that these open.
    let has = |epoch: &EpochId| theft.held.contains(epoch) || loot.derived.contains(epoch);
    let (mut readable, mut handshakes) = (BTreeSet::new(), BTreeSet::new());
    for index in 0..world.sent() {
        match label(world, index) {
            (epoch, false) if has(&epoch) => {
                handshakes.insert(index);
            }
            (epoch, true) if loot.derived.contains(&epoch) => {
                readable.insert(index);
            }
            (epoch, true) if theft.is_unread(&epoch, index, world) => {
                readable.insert(index);
            }
            _ => {}
        }
    }
    assert_eq!(loot.read.keys().copied().collect::<BTreeSet<_>>(), readable, "{name}: messages read");
    assert_eq!(loot.handshakes, handshakes, "{name}: handshake messages read");
    loot
}
