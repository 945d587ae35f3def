//! The engine without a network.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dmls_core::codec::Bytes;
use dmls_core::framing::DmlsProfile;
use dmls_core::group::{
    Changes, Client, Effect, Group, GroupId, GroupOptions, Key, MemoryStore, MessageId, Missing, Reason,
    Store, Table, Unreadable, Value, Waiting,
};
use dmls_core::schedule::EpochId;
use dmls_core::suite::CipherSuite;
use dmls_gossip::{IdentitySeed, MessageStore, PeerId, Topic};

use super::direct::{Refusal, WelcomeDelivery};
use super::engine::{Engine, Parts, now_ms, queues, rng};
use super::events::Bus;
use super::joining::{MAX_INVITATIONS_PER_PEER, PER_PEER, PER_SPAN, SPAN_MS};
use super::network::{self, OutboundQueue};
use super::topics::{LogStore, Topics, topic_of};
use super::unwanted::{self, Unwanted};
use crate::config::Config;
use crate::store::types::{Invitation, Issued};
use crate::store::{Column, Database, Extra};

struct World {
    dir: tempfile::TempDir,
    engine: Engine,
    log: LogStore,
    _queue: OutboundQueue,
}

fn load(dir: tempfile::TempDir) -> World {
    let database = Arc::new(Database::open(&dir.path().join("db")).unwrap());
    let (topics, unwanted) = (Arc::new(Topics::default()), Arc::new(Unwanted::default()));
    let (outbound, queue) = network::outbound();
    let log = LogStore { database: database.clone(), topics: topics.clone(), unwanted: unwanted.clone() };
    let parts = Parts {
        database,
        topics,
        unwanted,
        bus: Arc::new(Bus::new(16, 0)),
        outbound,
        config: Arc::new(Config::default()),
        last_seq: 0,
    };
    World { dir, engine: Engine::load(parts).unwrap(), log, _queue: queue }
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let (_, changes) = Client::new(CipherSuite::X25519_AES128GCM, b"ann", &mut rng()).unwrap();
    Database::create(&dir.path().join("db"), &changes, &Extra::default()).unwrap();
    load(dir)
}

impl World {
    fn restarted(self) -> Self {
        let Self { dir, mut engine, log, _queue } = self;
        engine.flush_unwanted();
        drop((engine, log, _queue));
        load(dir)
    }

    fn group(&mut self) -> (GroupId, Topic) {
        let view = self.engine.create_group("g", None, false).unwrap();
        let id = GroupId(Bytes::from(hex::decode(view.id).unwrap()));
        let topic = topic_of(&id);
        (id, topic)
    }

    fn takes(&mut self, topic: Topic, bytes: &[u8]) -> dmls_gossip::MessageId {
        let id = dmls_gossip::MessageId::of(bytes);
        let source = IdentitySeed::new([5; 32]).peer_id().unwrap();
        self.engine.on_message(topic, id, bytes, source);
        id
    }

    fn issued(&self) -> Vec<(Vec<u8>, Issued)> {
        self.engine.parts.database.scan(Column::Issued, &[], &[], usize::MAX).unwrap()
    }

    fn has_key_package(&self, reference: &[u8]) -> bool {
        let key = Key::key_package(&Bytes::from(reference));
        self.engine.parts.database.has(Column::Core(Table::KeyPackages), &key.bytes).unwrap()
    }
}

/// Another client's group with the same name, and a message of it: to this client its epoch is unknown.
fn orphan(id: &GroupId) -> (Vec<u8>, u64) {
    let (client, _) = Client::new(CipherSuite::X25519_AES128GCM, b"eve", &mut rng()).unwrap();
    let options = GroupOptions::default();
    let (mut store, now) = (MemoryStore::default(), now_ms());
    let step = client.create_group(id.clone(), &DmlsProfile::default(), &options, now, &mut rng()).unwrap();
    let mut group: Group = step.group.clone();
    step.commit(&mut store, &mut group).unwrap();
    group.refresh(now, &mut rng()).unwrap().commit(&mut store, &mut group).unwrap();
    let effects = group.send(b"hello", now, &mut rng()).unwrap().effects;
    let sent = effects.into_iter().find_map(|effect| match effect {
        Effect::Publish { bytes, order, .. } => Some((bytes, order)),
        _ => None,
    });
    sent.unwrap()
}

#[test]
fn what_waits_is_here_and_served_but_not_offered() {
    let mut world = world();
    let (group, topic) = world.group();
    let (bytes, order) = orphan(&group);
    let id = world.takes(topic, &bytes);
    let log = &world.log;
    assert!(log.has(&topic, &id).unwrap());
    assert_eq!(log.get(&topic, &id).unwrap().as_ref(), Some(&bytes));
    assert_eq!((log.order(&topic, &id).unwrap(), order), (Some(1), 1));
    assert!(!log.unwanted(&topic, &id).unwrap());
    assert!(log.ids(&topic, 0).unwrap().iter().all(|item| item.id != id), "it has not been judged");

    // Own messages are offered, whether or not they were ever sent.
    let sent = world.engine.send(&group, b"mine").unwrap();
    let own = dmls_gossip::MessageId(hex::decode(sent.id).unwrap().try_into().unwrap());
    let world = world.restarted();
    assert!(world.log.ids(&topic, 0).unwrap().iter().any(|item| item.id == own));
    assert_eq!(world.log.get(&topic, &id).unwrap(), Some(bytes), "after a restart");
    let other = dmls_gossip::MessageId([1; 32]);
    assert!(!world.log.has(&topic, &other).unwrap());
    assert_eq!(world.log.get(&topic, &other).unwrap(), None);
}

#[test]
fn what_has_no_room_to_wait_is_neither_passed_on_nor_refused() {
    let mut world = world();
    let (group, topic) = world.group();
    let taken = world.takes(topic, &orphan(&group).0);
    let disposition =
        dmls_core::group::Disposition::Pending { missing: Missing::Epoch(EpochId(Bytes::from(vec![1; 32]))) };
    let judged = world.engine.judge(&group, &taken, Some(&disposition));
    assert_eq!(judged, dmls_gossip::Verdict::Accept);
    let dropped = dmls_gossip::MessageId([9; 32]);
    let judged = world.engine.judge(&group, &dropped, Some(&disposition));
    assert_eq!(judged, dmls_gossip::Verdict::Ignore);
    assert!(!world.log.unwanted(&topic, &dropped).unwrap());
}

#[test]
fn what_is_of_no_use_is_remembered_over_restarts_up_to_a_bound() {
    let mut world = world();
    let (group, topic) = world.group();
    let refused = world.takes(topic, b"garbage");
    assert!(world.log.unwanted(&topic, &refused).unwrap());
    assert!(!world.log.has(&topic, &refused).unwrap());
    // An expired message: of epoch 0, which another has made under the same name.
    let expired = dmls_gossip::MessageId([3; 32]);
    let disposition = dmls_core::group::Disposition::Expired { reason: Unreadable::BeforeJoining };
    assert_eq!(world.engine.judge(&group, &expired, Some(&disposition)), dmls_gossip::Verdict::Ignore);
    let world = world.restarted();
    assert!(world.log.unwanted(&topic, &refused).unwrap() && world.log.unwanted(&topic, &expired).unwrap());

    let id = |number: usize| {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    };
    for number in 0..unwanted::MAX - 1 {
        world.engine.parts.unwanted.add(&group, id(number));
    }
    assert!(!world.log.unwanted(&topic, &refused).unwrap(), "the oldest made room");
    assert!(world.log.unwanted(&topic, &expired).unwrap());
    let world = world.restarted();
    let mut stored = 0;
    let count = |_: &[u8]| {
        stored += 1;
        true
    };
    world.engine.parts.database.keys(Column::Unwanted, &[], &[], count).unwrap();
    assert_eq!(stored, unwanted::MAX);
    assert!(!world.log.unwanted(&topic, &refused).unwrap());
    assert!(world.log.unwanted(&topic, &expired).unwrap());

    let mut world = world;
    world.engine.delete_group(&group).unwrap();
    stored = 0;
    let count = |_: &[u8]| {
        stored += 1;
        true
    };
    world.engine.parts.database.keys(Column::Unwanted, &[], &[], count).unwrap();
    assert_eq!(stored, 0);
}

#[test]
fn key_packages_go_when_their_lifetime_has_passed() {
    let mut world = world();
    let peer = IdentitySeed::new([5; 32]).peer_id().unwrap();
    for _ in 0..2 {
        world.engine.on_key_package_request(&peer, now_ms()).unwrap();
    }
    let issued = world.issued();
    let needed = issued[0].0.clone();
    let invitation = Invitation {
        from: peer.to_string(),
        name: "g".into(),
        welcome: vec![1],
        contacts: Vec::new(),
        at_ms: 0,
    };
    let mut extra = Extra::default();
    extra.put(Column::Invitations, &needed, &invitation).unwrap();
    world.engine.parts.database.apply_with(&Changes::default(), &extra).unwrap();

    let first = issued.iter().map(|(_, issued)| issued.at_ms).min().unwrap();
    let lifetime = GroupOptions::default().key_package_lifetime_s * 1000;
    world.engine.prune_key_packages(first + lifetime - 1);
    assert_eq!(world.issued().len(), 2, "not before");
    world.engine.prune_key_packages(now_ms() + lifetime);
    let left: Vec<_> = world.issued().into_iter().map(|(reference, _)| reference).collect();
    assert_eq!(left, std::slice::from_ref(&needed), "an invitation needs it");
    assert!(world.has_key_package(&needed));
    assert!(!world.has_key_package(&issued[1].0));

    // The invitation is none: it goes, and its key package takes no second Welcome.
    assert_eq!(world.engine.join("").unwrap_err().code, crate::error::ErrorCode::Refused);
    assert!(!world.has_key_package(&needed));
    assert!(world.issued()[0].1.used, "so that it counts among those that make room");
    assert!(world.engine.invitations().unwrap().is_empty());
}

#[test]
fn waiting_records_are_of_the_layout_that_is_served() {
    let mut world = world();
    let (group, topic) = world.group();
    let id = MessageId([4; 32]);
    let waiting = Waiting {
        bytes: Bytes::from(b"not a message".to_vec()),
        reason: Reason::Missing(Missing::Proposal(Bytes::from(vec![1]))),
        since_ms: 0,
        source: None,
    };
    let mut changes = Changes::default();
    changes.put(Key::named(Table::Waiting, &group, &id.0), Value::Waiting(waiting));
    world.engine.parts.database.step(&Extra::default()).apply(&changes).unwrap();
    let id = dmls_gossip::MessageId(id.0);
    assert_eq!(world.log.order(&topic, &id).unwrap(), None, "what cannot be read has no order");
    assert_eq!(world.log.get(&topic, &id).unwrap().unwrap(), b"not a message");
}

#[test]
fn who_asks_for_key_packages_too_fast_has_to_wait() {
    let mut world = world();
    let (peer, other) =
        (IdentitySeed::new([5; 32]).peer_id().unwrap(), IdentitySeed::new([6; 32]).peer_id().unwrap());
    let mut got = 0;
    let now = now_ms();
    for number in 0..100 {
        got += usize::from(world.engine.on_key_package_request(&peer, now + number).is_ok());
    }
    assert_eq!(got, PER_SPAN);
    assert_eq!(world.engine.on_key_package_request(&peer, now + 100), Err(Refusal::Later));
    assert!(world.engine.on_key_package_request(&other, now + 100).is_ok(), "others do not");
    assert!(world.engine.on_key_package_request(&peer, now + 100 + SPAN_MS).is_ok());
    assert_eq!(world.issued().iter().filter(|(_, issued)| issued.peer == peer.to_string()).count(), PER_PEER);
}

#[test]
fn one_peer_does_not_take_up_the_room_for_invitations() {
    let mut world = world();
    let (peer, other) =
        (IdentitySeed::new([5; 32]).peer_id().unwrap(), IdentitySeed::new([6; 32]).peer_id().unwrap());
    let deliver = |peer: &PeerId, world: &mut World| {
        let before: BTreeSet<_> = world.issued().into_iter().map(|(reference, _)| reference).collect();
        world.engine.on_key_package_request(peer, now_ms()).unwrap();
        let after = world.issued().into_iter().map(|(reference, _)| reference);
        let reference = after.into_iter().find(|reference| !before.contains(reference)).unwrap();
        let delivery =
            WelcomeDelivery { reference, name: "g".into(), contacts: Vec::new(), welcome: vec![1] };
        world.engine.on_welcome(peer, &delivery.encode())
    };
    for _ in 0..MAX_INVITATIONS_PER_PEER {
        deliver(&peer, &mut world).unwrap();
    }
    assert_eq!(deliver(&peer, &mut world), Err(Refusal::Later));
    deliver(&other, &mut world).unwrap();
    assert_eq!(world.engine.invitation_count().unwrap(), MAX_INVITATIONS_PER_PEER + 1);
    // Those that turn out to be none make room.
    world.engine.accept_all();
    assert_eq!(world.engine.invitation_count().unwrap(), 0);
    deliver(&peer, &mut world).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_run_on_while_the_queues_are_full() {
    let mut world = world();
    let (_, topic) = world.group();
    world.takes(topic, b"garbage");
    let World { dir: _dir, engine, .. } = world;
    let database = engine.parts.database.clone();
    let stored = || {
        let mut found = false;
        let take = |_: &[u8]| {
            found = true;
            false
        };
        database.keys(Column::Unwanted, &[], &[], take).unwrap();
        found
    };
    assert!(!stored(), "it is written later");
    let (handle, inbox) = queues();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::spawn(move || runtime.block_on(engine.run(inbox, stopped)));
    let floods: Vec<_> = (0..8)
        .map(|_| {
            let handle = handle.clone();
            // There is always something to do.
            tokio::spawn(async move {
                loop {
                    handle.network(|_| std::thread::sleep(Duration::from_millis(1))).await;
                }
            })
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(8);
    while !stored() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let in_time = stored();
    floods.iter().for_each(|flood| flood.abort());
    stop.send_replace(true);
    thread.join().unwrap();
    assert!(in_time, "the clocks stand still");
}
