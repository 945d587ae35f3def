//! Schedules: groups, cuts, commits, crashes and deliveries, one decision after the other.

use dmls_core::framing::DmlsProfile;
use dmls_core::group::{Group, Step};
use rand_chacha::ChaCha20Rng;

use crate::World;
use crate::oracle::{Intent, Judge, Said, Verdict, What};

/// Where the decisions of a schedule come from.
#[derive(Clone)]
enum Decisions {
    /// The RNG of the world.
    Random,
    /// Bytes, last one first: they are taken from the end.
    Bytes(Vec<u8>),
}

/// A schedule in the making.
#[derive(Clone)]
pub struct Schedule {
    /// The clients.
    pub world: World,
    /// Clients of the first epoch; the others may be invited.
    founders: usize,
    said: Vec<Said>,
    intents: Vec<Intent>,
    decisions: Decisions,
}

/// For how long healing may take, in milliseconds.
const HEALING: u64 = 1_500_000;
/// After which time nothing may be left to do, in milliseconds.
const RESTING: u64 = 20 * 60_000;

/// After which nothing happens any more by itself, for so long.
const SILENCE: u64 = 300_000;

impl Schedule {
    /// A group of some size with two clients outside, all chosen by the seed, as is what happens.
    pub fn random(seed: u64) -> Self {
        let mut world = World::new(seed, 0);
        let founders = if world.below(25) == 0 { 16 } else { 2 + world.below(7) };
        Self::formed(seed, founders)
    }

    /// A group of `founders` with two clients outside.
    pub fn formed(seed: u64, founders: usize) -> Self {
        Self::forming(World::new(seed, founders + 2), founders, &DmlsProfile::default())
    }

    /// The same, with a group of this profile among clients that know nothing of each other yet.
    pub fn forming(mut world: World, founders: usize, profile: &DmlsProfile) -> Self {
        world.create(profile.clone());
        let others: Vec<usize> = (1..founders).collect();
        world.invite(0, &others);
        world.run(60_000);
        Self { world, founders, said: Vec::new(), intents: Vec::new(), decisions: Decisions::Random }
    }

    /// From here on bytes decide.
    pub fn follow(&mut self, bytes: &[u8]) {
        self.decisions = Decisions::Bytes(bytes.iter().rev().copied().collect());
    }

    /// Whether there is nothing left to decide by.
    pub fn is_over(&self) -> bool {
        matches!(&self.decisions, Decisions::Bytes(bytes) if bytes.is_empty())
    }

    /// A decision: a number below another.
    pub fn below(&mut self, below: usize) -> usize {
        match &mut self.decisions {
            Decisions::Random => self.world.below(below),
            Decisions::Bytes(bytes) => {
                let mut take = || usize::from(bytes.pop().unwrap_or(0));
                let number = if below > 256 { take() << 8 | take() } else { take() };
                number % below.max(1)
            }
        }
    }

    /// Anybody who is in the group.
    fn somebody(&mut self) -> usize {
        let inside: Vec<usize> =
            (0..self.world.peers.len()).filter(|place| self.world.peers[*place].group.is_some()).collect();
        inside[self.below(inside.len())]
    }

    /// One thing happens. What a client may not do now, it does not do.
    pub fn happen(&mut self) {
        match self.below(16) {
            0 | 1 => {
                let sides = 1 + self.below(3);
                let sides: Vec<usize> = (0..self.world.peers.len()).map(|_| self.below(sides)).collect();
                self.world.cut(&sides);
            }
            2 => self.world.heal(),
            3 | 4 => self.change(false),
            5 => self.change(true),
            6 | 7 => self.send(),
            8 => self.invite(),
            9 => {
                let by = self.somebody();
                if self.attempt(by, false, |group, now, rng| group.leave(now, rng).ok()) {
                    self.intents.push(Intent { by, what: What::Leave });
                }
            }
            10 => {
                let by = self.somebody();
                self.world.restart(by);
            }
            11 => {
                let chance = 1 + self.below(9);
                self.world.spread_some(chance);
            }
            12 => self.deliver_one(),
            _ => {
                let ms = self.below(20_000) as u64;
                self.world.run(ms);
            }
        }
    }

    /// A client does something if it may; or it dies between storing and publishing it.
    fn attempt(
        &mut self,
        by: usize,
        crash: bool,
        action: impl FnOnce(&Group, u64, &mut ChaCha20Rng) -> Option<Step>,
    ) -> bool {
        let world = &mut self.world;
        let Some(step) = action(world.peers[by].group(), world.now, &mut world.rng) else { return false };
        if crash {
            world.act_and_crash(by, |_, _, _| step);
        } else {
            world.take_step(by, step);
        }
        true
    }

    /// A refresh or a removal; sometimes the client dies between storing and publishing it.
    fn change(&mut self, remove: bool) {
        let by = self.somebody();
        let other = self.below(self.world.peers.len());
        let crash = self.below(4) == 0;
        let peers = &self.world.peers;
        let leaf = peers[by].leaf_of(&peers[other].client).filter(|_| remove);
        let done = self.attempt(by, crash, |group, now, rng| match leaf {
            Some(leaf) => group.remove(leaf, now, rng).ok(),
            None => group.refresh(now, rng).ok(),
        });
        if done && leaf.is_some() {
            self.intents.push(Intent { by, what: What::Remove(other) });
        }
    }

    fn send(&mut self) {
        let by = self.somebody();
        let payload = format!("{} of {by}", self.said.len()).into_bytes();
        if self.attempt(by, false, |group, now, rng| group.send(&payload, now, rng).ok()) {
            // Sending may have merged first: the message is in the head as it is now.
            let view = self.world.peers[by].group().view().expect("a head");
            let roster = view.members.iter().map(|member| member.fingerprint).collect();
            self.said.push(Said { payload, by, roster });
        }
    }

    fn invite(&mut self) {
        let by = self.somebody();
        let peers = &self.world.peers;
        let Some(other) = (self.founders..peers.len()).find(|place| peers[*place].group.is_none()) else {
            return;
        };
        let key_package = self.world.key_package(other);
        let peers = &self.world.peers;
        if peers[by].leaf_of(&peers[other].client).is_none()
            && self.attempt(by, false, |group, now, rng| group.invite(&[key_package], now, rng).ok())
        {
            self.intents.push(Intent { by, what: What::Add(other) });
        }
    }

    /// One message reaches one client.
    fn deliver_one(&mut self) {
        let next = self.world.deliverable();
        if !next.is_empty() {
            let (index, to) = next[self.below(next.len())];
            self.world.deliver(index, to);
        }
    }

    /// The network heals and stays up; then all are judged.
    pub fn heal_and_judge(&mut self, name: &str) -> Verdict {
        self.world.heal();
        self.world.run(HEALING);
        let heads = self.heads();
        self.world.run(SILENCE);
        assert_eq!(heads, self.heads(), "{name}: the group has healed and goes on committing");
        self.judge(name)
    }

    fn judge(&self, name: &str) -> Verdict {
        let Self { world, founders, said, intents, .. } = self;
        Judge { world, founders: *founders, said, intents, name }.judge()
    }

    fn heads(&self) -> Vec<Option<dmls_core::schedule::EpochId>> {
        self.world.peers.iter().map(|peer| peer.group.as_ref().map(|group| group.head().clone())).collect()
    }

    /// Long after: nothing waits, nobody has anything to say, a restart changes nothing, and all still agree.
    pub fn rest_and_judge(&mut self, name: &str) {
        self.world.run(RESTING);
        let sent = self.world.sent();
        self.world.run(RESTING);
        assert_eq!(self.world.sent(), sent, "{name}: somebody still speaks");
        for place in 0..self.world.peers.len() {
            let state = |world: &World| {
                let group = world.peers[place].group.as_ref()?;
                Some((group.view(), group.history(), group.next_deadline()))
            };
            let Some(before) = state(&self.world) else { continue };
            let waiting = before.0.as_ref().map_or(0, |view| view.waiting);
            assert_eq!(waiting, 0, "{name}: member {place} waits for ever");
            self.world.restart(place);
            assert!(state(&self.world) == Some(before), "{name}: a restart changes member {place}");
        }
        assert_eq!(self.world.sent(), sent, "{name}: a restart has published something");
        self.judge(name);
    }
}
