//! Clients in memory and the network between them.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use dmls_core::framing::DmlsProfile;
use dmls_core::group::{
    Client, Disposition, Effect, Event, Group, GroupId, GroupOptions, Input, Key, MemoryStore, Step, Store,
    Table, Value,
};
use dmls_core::schedule::EpochId;
use dmls_core::suite::CipherSuite;
use dmls_core::tree::LeafIndex;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// A client with its store, and what it has seen.
#[derive(Clone)]
pub struct Peer {
    /// Its identity.
    pub client: Client,
    /// What it has stored.
    pub store: MemoryStore,
    /// The group, once it is in.
    pub group: Option<Group>,
    /// Every event so far.
    pub events: Vec<Event>,
    /// Its requests to rejoin, as they can be handed to any member.
    pub requests: Vec<Vec<u8>>,
    /// Messages of the world that have been handed to it, by index, with what became of them.
    pub seen: BTreeMap<usize, Disposition>,
    /// Which side of a cut it is on.
    pub side: usize,
}

impl Peer {
    /// The group.
    pub fn group(&self) -> &Group {
        self.group.as_ref().expect("the peer is in the group")
    }

    /// Payloads delivered to it, with their epochs, in order of delivery.
    pub fn messages(&self) -> Vec<(EpochId, Vec<u8>)> {
        let message = |event: &Event| match event {
            Event::Message { epoch, payload, .. } => Some((epoch.clone(), payload.clone())),
            _ => None,
        };
        self.events.iter().filter_map(message).collect()
    }

    /// The leaf of another client in this one's head.
    pub fn leaf_of(&self, other: &Client) -> Option<LeafIndex> {
        let view = self.group().view().expect("the head has keys");
        view.members.iter().find(|member| member.fingerprint == other.fingerprint()).map(|member| member.leaf)
    }
}

/// A message on the network, with everybody who holds it.
#[derive(Clone)]
struct Sent {
    author: usize,
    bytes: Vec<u8>,
    holders: BTreeSet<usize>,
}

/// Sees each step before it is stored: whose it is, its store, and the step.
pub type Watch = Box<dyn FnMut(usize, &MemoryStore, &Step)>;

/// What each step has to go through. A clone has nobody who watches.
#[derive(Default)]
pub struct Ordeal {
    /// The store fails once at each step, which must change nothing; then the step is made again.
    pub failing_store: bool,
    /// The client is killed after each step and starts from its store.
    pub restart: bool,
    /// Looks at each step.
    pub watch: Option<Watch>,
    /// How many steps failed in the store.
    pub failures: usize,
    /// How many restarts there were.
    pub restarts: usize,
}

impl Clone for Ordeal {
    fn clone(&self) -> Self {
        Self { watch: None, ..*self }
    }
}

/// All clients, the network, and the time.
#[derive(Clone)]
pub struct World {
    /// The clients.
    pub peers: Vec<Peer>,
    /// Virtual time; Unix milliseconds.
    pub now: u64,
    /// The one RNG.
    pub rng: ChaCha20Rng,
    /// Local policy of everybody.
    pub options: GroupOptions,
    /// What is done about each step beside storing it.
    pub ordeal: Ordeal,
    /// Every Welcome so far, delivered or not.
    pub welcomed: Vec<Vec<u8>>,
    sent: Vec<Sent>,
    welcomes: Vec<(usize, Vec<u8>)>,
    trace: DefaultHasher,
}

/// The most ticks in a row that may leave something due at once.
const RESTLESS: usize = 100;

impl World {
    /// `n` clients that know nothing of each other.
    pub fn new(seed: u64, n: usize) -> Self {
        Self::with_suite(seed, n, CipherSuite::X25519_AES128GCM)
    }

    /// The same, with a suite.
    pub fn with_suite(seed: u64, n: usize, suite: CipherSuite) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let peer = |place: usize, rng: &mut ChaCha20Rng| {
            let (client, changes) =
                Client::new(suite, format!("m{place}").as_bytes(), rng).expect("a client");
            let mut store = MemoryStore::default();
            dmls_core::group::Store::apply(&mut store, &changes).expect("memory");
            Peer {
                client,
                store,
                group: None,
                events: Vec::new(),
                requests: Vec::new(),
                seen: BTreeMap::new(),
                side: 0,
            }
        };
        let peers = (0..n).map(|place| peer(place, &mut rng)).collect();
        let now = 1_800_000_000_000;
        Self {
            peers,
            now,
            rng,
            options: GroupOptions::default(),
            ordeal: Ordeal::default(),
            welcomed: Vec::new(),
            sent: Vec::new(),
            welcomes: Vec::new(),
            trace: DefaultHasher::new(),
        }
    }

    /// A random number of `0..below`.
    pub fn below(&mut self, below: usize) -> usize {
        (self.rng.next_u64() % below.max(1) as u64) as usize
    }

    /// Shuffles.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }

    /// The first client makes a group and invites all others; everybody settles.
    pub fn form(&mut self) {
        self.create(DmlsProfile::default());
        let others: Vec<usize> = (1..self.peers.len()).collect();
        self.invite(0, &others);
        self.run(60_000);
    }

    /// The first client makes a group.
    pub fn create(&mut self, profile: DmlsProfile) {
        let id = GroupId(b"the group".to_vec().into());
        let peer = &self.peers[0];
        let step =
            peer.client.create_group(id, &profile, &self.options, self.now, &mut self.rng).expect("a group");
        self.show(0, &step);
        let mut group = step.group.clone();
        let (_, effects) = step.commit(&mut self.peers[0].store, &mut group).expect("memory");
        self.peers[0].group = Some(group);
        self.carry_out(0, effects);
    }

    /// A key package of a client.
    pub fn key_package(&mut self, of: usize) -> Vec<u8> {
        let made =
            self.peers[of].client.key_package(&self.options, self.now, &mut self.rng).expect("a key package");
        dmls_core::group::Store::apply(&mut self.peers[of].store, &made.changes).expect("memory");
        made.bytes
    }

    /// One client invites others by one commit.
    pub fn invite(&mut self, by: usize, others: &[usize]) {
        let key_packages: Vec<Vec<u8>> = others.iter().map(|other| self.key_package(*other)).collect();
        self.act(by, |group, now, rng| group.invite(&key_packages, now, rng).expect("an invitation"));
    }

    /// One client does something.
    pub fn act(&mut self, by: usize, action: impl Fn(&Group, u64, &mut ChaCha20Rng) -> Step) {
        self.perform(by, action);
    }

    /// Makes a step and stores it, through whatever the ordeal asks for.
    fn perform(
        &mut self,
        by: usize,
        action: impl Fn(&Group, u64, &mut ChaCha20Rng) -> Step,
    ) -> Option<Disposition> {
        if self.ordeal.failing_store {
            let rng = self.rng.clone();
            let step = action(self.peers[by].group(), self.now, &mut self.rng);
            self.fail(by, step);
            self.rng = rng;
        }
        let step = action(self.peers[by].group(), self.now, &mut self.rng);
        let disposition = self.take_step(by, step);
        if self.ordeal.restart {
            let (view, history) = (self.peers[by].group().view(), self.peers[by].group().history());
            let deadline = self.peers[by].group().next_deadline();
            self.restart(by);
            let group = self.peers[by].group();
            assert_eq!((group.view(), group.history()), (view, history), "client {by} after a restart");
            assert_eq!(group.next_deadline(), deadline, "client {by} after a restart");
            self.ordeal.restarts += 1;
        }
        disposition
    }

    fn show(&mut self, by: usize, step: &Step) {
        if let Some(watch) = &mut self.ordeal.watch {
            watch(by, &self.peers[by].store, step);
        }
    }

    /// A step that the store refuses changes neither the store nor the client.
    fn fail(&mut self, by: usize, step: Step) {
        if step.changes.is_empty() {
            return;
        }
        let peer = &mut self.peers[by];
        let group = peer.group.as_mut().expect("the peer is in the group");
        let before = (crate::stored_bytes(&peer.store), group.view(), group.history(), group.next_deadline());
        peer.store.set_failing(true);
        assert!(step.commit(&mut peer.store, group).is_err(), "the store was told to fail");
        peer.store.set_failing(false);
        let after = (crate::stored_bytes(&peer.store), group.view(), group.history(), group.next_deadline());
        assert!(before == after, "client {by} moved on though its store failed");
        self.ordeal.failures += 1;
    }

    /// One client sends a message.
    pub fn send(&mut self, by: usize, payload: &str) {
        self.act(by, |group, now, rng| group.send(payload.as_bytes(), now, rng).expect("a message"));
    }

    /// One client refreshes its keys.
    pub fn refresh(&mut self, by: usize) {
        self.act(by, |group, now, rng| group.refresh(now, rng).expect("a commit"));
    }

    /// One client removes another.
    pub fn remove(&mut self, by: usize, other: usize) {
        let leaf = self.peers[by].leaf_of(&self.peers[other].client).expect("a member");
        self.act(by, |group, now, rng| group.remove(leaf, now, rng).expect("a commit"));
    }

    /// Stores a step of a client and carries out its effects.
    pub fn take_step(&mut self, by: usize, step: Step) -> Option<Disposition> {
        self.show(by, &step);
        let peer = &mut self.peers[by];
        let group = peer.group.as_mut().expect("the peer is in the group");
        let (disposition, effects) = step.commit(&mut peer.store, group).expect("memory");
        format!("{by} {disposition:?}").hash(&mut self.trace);
        let guilty = |effect: &Effect| matches!(effect, Effect::Event(Event::Equivocation { .. }));
        let guilty = effects.iter().any(guilty);
        self.carry_out(by, effects);
        if guilty {
            let peer = &self.peers[by];
            let proved = peer.group().prove(&peer.store).expect("memory");
            self.take_step(by, proved);
        }
        disposition
    }

    /// A hash of everything that has happened: dispositions, events and messages, in order.
    pub fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// One client does something and is killed after that is stored, before anything is published. Events are stored
    /// by the host together with the step.
    pub fn act_and_crash(&mut self, by: usize, action: impl FnOnce(&Group, u64, &mut ChaCha20Rng) -> Step) {
        let step = action(self.peers[by].group(), self.now, &mut self.rng);
        self.show(by, &step);
        let events =
            step.effects.iter().filter(|effect| matches!(effect, Effect::Event(_))).cloned().collect();
        let peer = &mut self.peers[by];
        let group = peer.group.as_mut().expect("the peer is in the group");
        step.commit(&mut peer.store, group).expect("memory");
        self.carry_out(by, events);
        self.restart(by);
    }

    fn carry_out(&mut self, by: usize, effects: Vec<Effect>) {
        for effect in effects {
            format!("{effect:?}").hash(&mut self.trace);
            match effect {
                Effect::Publish { bytes, .. } => {
                    self.publish(by, bytes);
                }
                Effect::Welcome { key_package, bytes } => self.address(&key_package, bytes),
                Effect::Request { bytes, .. } => self.peers[by].requests.push(bytes),
                Effect::Event(event) => self.peers[by].events.push(event),
            }
        }
    }

    /// Puts a message on the network on behalf of a client; its index.
    pub fn publish(&mut self, by: usize, bytes: Vec<u8>) -> usize {
        let index = self.sent.len();
        self.sent.push(Sent { author: by, bytes, holders: BTreeSet::from([by]) });
        self.peers[by].seen.insert(index, Disposition::Applied);
        index
    }

    fn address(&mut self, key_package: &dmls_core::codec::Bytes, bytes: Vec<u8>) {
        if !self.welcomed.contains(&bytes) {
            self.welcomed.push(bytes.clone());
        }
        let holds = |peer: &Peer| {
            let key = dmls_core::group::Key::key_package(key_package);
            dmls_core::group::Store::get(&peer.store, &key).expect("memory").is_some()
        };
        if let Some(to) = self.peers.iter().position(holds) {
            self.welcomes.push((to, bytes));
        }
    }

    /// Hands over the Welcomes that wait. Only a client that is in no group takes one.
    pub fn deliver_welcomes(&mut self) {
        for (to, bytes) in std::mem::take(&mut self.welcomes) {
            let peer = &self.peers[to];
            if peer.group.is_some() {
                continue;
            }
            let step = peer.client.join(&peer.store, &bytes, &self.options, self.now, &mut self.rng);
            let step = step.expect("a good Welcome");
            self.show(to, &step);
            let mut group = step.group.clone();
            let (_, effects) = step.commit(&mut self.peers[to].store, &mut group).expect("memory");
            self.peers[to].group = Some(group);
            self.carry_out(to, effects);
        }
    }

    /// Hands one message to one client.
    pub fn deliver(&mut self, index: usize, to: usize) -> Disposition {
        let bytes = self.sent[index].bytes.clone();
        let disposition = self.inject(to, &bytes);
        self.peers[to].seen.insert(index, disposition.clone());
        self.sent[index].holders.insert(to);
        disposition
    }

    /// Hands any bytes to one client.
    pub fn inject(&mut self, to: usize, bytes: &[u8]) -> Disposition {
        let disposition = self.perform(to, |group, now, rng| group.handle(Input::Message(bytes), now, rng));
        disposition.expect("a message has a disposition")
    }

    /// How many messages were ever sent.
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// The bytes of a message.
    pub fn bytes(&self, index: usize) -> &[u8] {
        &self.sent[index].bytes
    }

    /// Who published a message.
    pub fn author(&self, index: usize) -> usize {
        self.sent[index].author
    }

    /// Puts clients on sides: only those of one side hear each other.
    pub fn cut(&mut self, sides: &[usize]) {
        for (peer, side) in self.peers.iter_mut().zip(sides) {
            peer.side = *side;
        }
    }

    /// Everybody hears everybody again.
    pub fn heal(&mut self) {
        self.peers.iter_mut().for_each(|peer| peer.side = 0);
    }

    /// Messages that a client on the same side holds and this one has not seen: index and receiver.
    pub fn deliverable(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for (index, sent) in self.sent.iter().enumerate() {
            for (to, peer) in self.peers.iter().enumerate() {
                let reachable = sent.holders.iter().any(|holder| self.peers[*holder].side == peer.side);
                if peer.group.is_some() && reachable && !peer.seen.contains_key(&index) {
                    found.push((index, to));
                }
            }
        }
        found
    }

    /// Spreads everything that can be spread, in random order, without time passing.
    pub fn spread(&mut self) {
        loop {
            self.deliver_welcomes();
            let mut next = self.deliverable();
            if next.is_empty() {
                break;
            }
            self.shuffle(&mut next);
            for (index, to) in next {
                self.deliver(index, to);
            }
        }
        for to in 0..self.peers.len() {
            if self.peers[to].group.is_some() {
                self.perform(to, |group, now, rng| group.handle(Input::Reconciled, now, rng));
            }
        }
        if !self.deliverable().is_empty() {
            self.spread();
        }
    }

    /// Hands over some of what can be handed over, in random order, each with a chance of `tenths`, and some of it
    /// twice.
    pub fn spread_some(&mut self, tenths: usize) {
        self.deliver_welcomes();
        let mut next = self.deliverable();
        self.shuffle(&mut next);
        for (index, to) in next {
            if self.below(10) < tenths {
                self.deliver(index, to);
            }
            if self.below(10) == 0 && self.peers[to].seen.contains_key(&index) {
                let bytes = self.sent[index].bytes.clone();
                let again = self.inject(to, &bytes);
                assert!(!matches!(again, Disposition::Applied), "a message has taken effect twice");
            }
        }
    }

    /// Lets `ms` of virtual time pass: messages spread at once, timers run when they are due.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        let mut restless = 0;
        loop {
            self.spread();
            let deadlines = self.peers.iter().filter_map(|peer| peer.group.as_ref()?.next_deadline());
            let next = deadlines.min().unwrap_or(u64::MAX);
            restless = if next <= self.now { restless + 1 } else { 0 };
            assert!(restless < RESTLESS, "a timer spins: due at {next}, and it is {}", self.now);
            // Peers reconcile often enough to count as reconciled all the time.
            let next = next.min(self.now + self.options.reconciled_for_ms / 2);
            let next = next.max(self.now + 1);
            if next > end {
                break;
            }
            self.now = next;
            self.tick();
        }
        self.now = end;
        self.tick();
        self.spread();
    }

    /// Lets `ms` of virtual time pass while nobody hears anything: timers run when they are due.
    pub fn run_alone(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            let deadlines = self.peers.iter().filter_map(|peer| peer.group.as_ref()?.next_deadline());
            let next = deadlines.min().unwrap_or(u64::MAX).max(self.now + 1);
            if next > end {
                break;
            }
            self.now = next;
            self.tick();
        }
        self.now = end;
        self.tick();
    }

    fn tick(&mut self) {
        for place in 0..self.peers.len() {
            if self.peers[place].group.is_some() {
                self.perform(place, |group, now, rng| group.handle(Input::Tick, now, rng));
            }
        }
    }

    /// Kills a client and starts it again from its store. What it had stored and not published is published now.
    pub fn restart(&mut self, place: usize) {
        let id = self.peers[place].group().id().clone();
        let loaded = Group::load(&self.peers[place].store, &id, &self.options).expect("a good store");
        self.peers[place].group = loaded;
        let stored = |table| self.peers[place].store.scan(&Key::of_group(table, &id)).expect("memory");
        let mut own: Vec<Vec<u8>> = Vec::new();
        for (_, value) in stored(Table::Log) {
            if let Value::Log(bytes) = value {
                own.push(bytes.as_slice().to_vec());
            }
        }
        let prefix = Key::of_group(Table::Welcomes, &id).bytes.len();
        let welcomes: Vec<_> = stored(Table::Welcomes)
            .into_iter()
            .filter_map(|(key, value)| match value {
                Value::Welcome(bytes) => Some((key.bytes[prefix..].to_vec(), bytes.as_slice().to_vec())),
                _ => None,
            })
            .collect();
        own.retain(|bytes| !self.sent.iter().any(|sent| sent.bytes == *bytes));
        for bytes in own {
            self.publish(place, bytes);
        }
        for (key_package, bytes) in welcomes {
            self.address(&key_package.into(), bytes);
        }
    }
}
