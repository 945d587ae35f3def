//! Random groups, cuts, commits, crashes and deliveries: after healing there is one head.

use std::collections::{BTreeMap, BTreeSet};

use dmls_core::framing::DmlsProfile;
use dmls_core::group::{Event, GroupOptions, Place};
use dmls_core::history::Blocked;
use dmls_core::schedule::EpochId;
use dmls_tests::World;

use super::{Print, fingerprint, schedules};

/// A message that somebody has sent, with who could read it.
struct Said {
    payload: Vec<u8>,
    by: usize,
    roster: Vec<[u8; 32]>,
}

/// A schedule in the making.
struct Run {
    world: World,
    /// Clients of the first epoch; the others may be invited.
    members: usize,
    said: Vec<Said>,
}

/// What a schedule has shown.
struct Report {
    trace: u64,
    forks: usize,
    left_out: BTreeMap<String, usize>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, 0);
        let members = if world.below(25) == 0 { 16 } else { 2 + world.below(7) };
        let mut world = World::new(seed, members + 2);
        world.options = GroupOptions::default();
        world.create(DmlsProfile::default());
        let others: Vec<usize> = (1..members).collect();
        world.invite(0, &others);
        world.run(60_000);
        Self { world, members, said: Vec::new() }
    }

    /// Anybody who is in the group.
    fn somebody(&mut self) -> usize {
        let inside: Vec<usize> =
            (0..self.world.peers.len()).filter(|place| self.world.peers[*place].group.is_some()).collect();
        inside[self.world.below(inside.len())]
    }

    /// One random thing happens. What a client may not do now, it does not do.
    fn happen(&mut self) {
        match self.world.below(15) {
            0 | 1 => {
                let sides = 1 + self.world.below(3);
                let sides: Vec<usize> =
                    (0..self.world.peers.len()).map(|_| self.world.below(sides)).collect();
                self.world.cut(&sides);
            }
            2 => self.world.heal(),
            3 | 4 => self.change(false),
            5 => self.change(true),
            6 | 7 => self.send(),
            8 => self.invite(),
            9 => {
                let by = self.somebody();
                let world = &mut self.world;
                let step = world.peers[by].group().leave(world.now, &mut world.rng);
                step.into_iter().for_each(|step| {
                    world.take_step(by, step);
                });
            }
            10 => {
                let by = self.somebody();
                self.world.restart(by);
            }
            11 => {
                let chance = 1 + self.world.below(9);
                self.world.spread_some(chance);
            }
            _ => {
                let ms = self.world.below(20_000) as u64;
                self.world.run(ms);
            }
        }
    }

    /// A refresh or a removal; sometimes the client dies between storing and publishing it.
    fn change(&mut self, remove: bool) {
        let by = self.somebody();
        let other = self.world.below(self.world.peers.len());
        let crash = self.world.below(4) == 0;
        let world = &mut self.world;
        let leaf = world.peers[by].leaf_of(&world.peers[other].client);
        let group = world.peers[by].group();
        let step = match leaf.filter(|_| remove) {
            Some(leaf) => group.remove(leaf, world.now, &mut world.rng),
            None => group.refresh(world.now, &mut world.rng),
        };
        let Ok(step) = step else { return };
        if crash {
            world.act_and_crash(by, |_, _, _| step);
        } else {
            world.take_step(by, step);
        }
    }

    fn send(&mut self) {
        let by = self.somebody();
        let payload = format!("{} of {by}", self.said.len()).into_bytes();
        let world = &mut self.world;
        let group = world.peers[by].group();
        let roster = group.view().expect("a head").members.iter().map(|member| member.fingerprint).collect();
        if let Ok(step) = group.send(&payload, world.now, &mut world.rng) {
            world.take_step(by, step);
            self.said.push(Said { payload, by, roster });
        }
    }

    fn invite(&mut self) {
        let by = self.somebody();
        let Some(other) =
            (self.members..self.world.peers.len()).find(|p| self.world.peers[*p].group.is_none())
        else {
            return;
        };
        let key_package = self.world.key_package(other);
        let world = &mut self.world;
        if world.peers[by].leaf_of(&world.peers[other].client).is_some() {
            return;
        }
        let step = world.peers[by].group().invite(&[key_package], world.now, &mut world.rng);
        step.into_iter().for_each(|step| {
            world.take_step(by, step);
        });
    }

    /// The ancestors of a member's head.
    fn above_head(&self, place: usize) -> Vec<EpochId> {
        let view = self.world.peers[place].group().history();
        let parents: BTreeMap<_, _> =
            view.epochs.iter().map(|epoch| (&epoch.id, epoch.parent.as_ref())).collect();
        let parent = |id: &&EpochId| parents.get(*id).copied().flatten();
        std::iter::successors(parent(&&view.head), parent).cloned().collect()
    }

    /// One head for all in its roster; whoever is left out, and why.
    fn judge(&self, seed: u64) -> Report {
        let peers = &self.world.peers;
        let inside =
            |place: usize| peers[place].group.as_ref().is_some_and(|group| *group.place() == Place::Member);
        let prints: BTreeMap<usize, Print> =
            (0..peers.len()).filter(|p| inside(*p)).map(|p| (p, fingerprint(&self.world, p))).collect();
        // A client that was invited may stand on a losing branch, with others of its kind only.
        let mut heads: BTreeMap<_, (usize, usize)> = BTreeMap::new();
        for (place, print) in &prints {
            let (founders, all) = heads.entry(print.head.clone()).or_default();
            *founders += usize::from(*place < self.members);
            *all += 1;
        }
        // Whoever was removed and cannot know it (docs/decisions.md, a silent half) stands above the others' head. One
        // that is merely behind is listed there, and found below.
        let passed: BTreeSet<EpochId> = prints.keys().flat_map(|place| self.above_head(*place)).collect();
        let ahead = heads.iter().filter(|(head, _)| !passed.contains(*head));
        let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
        let Some((winner, _)) = ahead.max_by_key(|(_, count)| **count) else {
            panic!("seed {seed}: nobody is left\n{}", self.draw());
        };
        let (_, best) = prints.iter().find(|(_, print)| print.head == *winner).expect("the winner");
        for (place, peer) in peers.iter().enumerate() {
            let Some(group) = &peer.group else { continue };
            let listed = best.members.contains(&peer.client.fingerprint());
            let founder = place < self.members;
            let why = match (group.place(), prints.get(&place)) {
                (_, Some(print)) if print.head == *winner => {
                    assert_eq!(print, best, "seed {seed}: member {place} has another state in the same head");
                    continue;
                }
                (Place::Outside { why: Blocked::Removed, .. }, _) => {
                    assert!(
                        !(listed && founder && heads[winner].0 > 0),
                        "seed {seed}: member {place} is removed and in the roster\n{}",
                        self.draw()
                    );
                    "removed by the winning branch"
                }
                (Place::Outside { .. }, _) => "the winning branch is unusable for it",
                _ if !founder => "it joined a losing branch",
                (Place::Member, _) if listed => {
                    panic!("seed {seed}: member {place} of the roster has another head\n{}", self.draw())
                }
                (Place::Member, _) => "not in the roster, and it does not know yet",
            };
            *left_out.entry(why.to_string()).or_default() += 1;
        }
        self.judge_messages(seed);
        let forks = peers.iter().map(|peer| {
            let forks = peer.events.iter().filter(|event| matches!(event, Event::Forked { .. }));
            forks.count()
        });
        Report { trace: self.world.trace(), forks: forks.max().unwrap_or(0), left_out }
    }

    /// Every message has come to everybody who could read it, once, whichever branch it was on.
    fn judge_messages(&self, seed: u64) {
        for (place, peer) in self.world.peers.iter().enumerate() {
            let mut got: Vec<Vec<u8>> = peer.messages().into_iter().map(|(_, payload)| payload).collect();
            got.sort();
            let distinct: BTreeSet<&Vec<u8>> = got.iter().collect();
            assert_eq!(distinct.len(), got.len(), "seed {seed}: member {place} got a message twice");
            if place >= self.members {
                continue;
            }
            for said in self.said.iter().filter(|said| said.by != place) {
                let readable = said.roster.contains(&peer.client.fingerprint());
                let text = String::from_utf8_lossy(&said.payload);
                let came = distinct.contains(&said.payload);
                assert_eq!(came, readable, "seed {seed}: member {place}: message {text}\n{}", self.draw());
            }
        }
    }

    /// The histories, for a failure.
    fn draw(&self) -> String {
        let mut out = String::new();
        for (place, peer) in self.world.peers.iter().enumerate() {
            let Some(group) = &peer.group else { continue };
            let view = group.history();
            out += &format!(
                "member {place} {:?} waiting {}\n",
                group.place(),
                group.view().map_or(0, |v| v.waiting)
            );
            let short = |id: &[u8]| hex::encode(&id[..4]);
            for epoch in view.epochs {
                let fork = epoch.fork.map(|fork| {
                    let children = fork.children.iter().map(|c| {
                        let epoch = c.epoch.as_ref().map(|e| short(e.as_slice()));
                        format!("{}={:?} w{} {:?}", short(c.commit.0.as_slice()), epoch, c.weight, c.blocked)
                    });
                    let children: Vec<String> = children.collect();
                    format!("N{} U{} void{} {children:?}", fork.electors, fork.silent, fork.void)
                });
                out += &format!(
                    "  {}{} #{} of {:?} {:?}\n",
                    if epoch.on_head { "*" } else { " " },
                    short(epoch.id.as_slice()),
                    epoch.number,
                    epoch.parent.as_ref().map(|p| short(p.as_slice())),
                    fork
                );
            }
        }
        out
    }
}

fn run(seed: u64) -> Report {
    let mut run = Run::new(seed);
    let events = 6 + run.world.below(16);
    for _ in 0..events {
        run.happen();
    }
    run.world.heal();
    run.world.run(180_000);
    run.judge(seed)
}

#[test]
fn random_schedules_end_on_one_head() {
    let first = std::env::var("DMLS_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let count = schedules(400);
    println!("seeds {first}..{}", first + count);
    let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
    let (mut forked, mut failed) = (0, Vec::new());
    for seed in first..first + count {
        let Ok(report) = std::panic::catch_unwind(|| run(seed)) else {
            failed.push(seed);
            continue;
        };
        forked += usize::from(report.forks > 0);
        for (why, n) in report.left_out {
            *left_out.entry(why).or_default() += n;
        }
    }
    println!("{count} schedules, {forked} with forks; members left out: {left_out:?}");
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
    assert!(forked * 3 > usize::try_from(count).expect("a count"), "too few schedules have forks: {forked}");
}

#[test]
fn one_seed_is_one_trace() {
    let traces: Vec<u64> = (1..=10).map(|seed| run(seed).trace).collect();
    let again: Vec<u64> = (1..=10).map(|seed| run(seed).trace).collect();
    assert_eq!(traces, again);
    let distinct: BTreeSet<&u64> = traces.iter().collect();
    assert_eq!(distinct.len(), traces.len(), "other seeds, other traces");
}
