//! What must be true of a world whose network has healed: the one place where convergence is stated.

use std::collections::{BTreeMap, BTreeSet};

use dmls_core::group::{Event, Group, Place};
use dmls_core::history::Blocked;
use dmls_core::schedule::EpochId;

use crate::World;

/// What members of one head must agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Print {
    /// The head.
    pub head: EpochId,
    /// Hash of its ratchet tree.
    pub tree_hash: Vec<u8>,
    /// Its epoch authenticator.
    pub epoch_authenticator: Vec<u8>,
    /// Fingerprints of its members.
    pub members: Vec<[u8; 32]>,
    /// Something exported from it.
    pub exported: Vec<u8>,
}

/// The print of a group's head.
pub fn print_of(group: &Group) -> Print {
    let view = group.view().expect("a head");
    let exported = group.exporter("test", b"context", 32).expect("an exporter secret");
    Print {
        head: view.head,
        tree_hash: view.tree_hash.as_slice().to_vec(),
        epoch_authenticator: view.epoch_authenticator.as_slice().to_vec(),
        members: view.members.iter().map(|member| member.fingerprint).collect(),
        exported: exported.as_slice().to_vec(),
    }
}

/// The print of a client's head.
pub fn fingerprint(world: &World, place: usize) -> Print {
    print_of(world.peers[place].group())
}

/// These clients are in one state.
pub fn assert_one_head(world: &World, places: &[usize]) {
    let first = fingerprint(world, places[0]);
    for place in places {
        assert_eq!(fingerprint(world, *place), first, "member {place} differs from member {}", places[0]);
    }
}

/// A message that somebody has sent, with who could read it.
#[derive(Clone)]
pub struct Said {
    /// What was said; no two messages are the same.
    pub payload: Vec<u8>,
    /// Who said it.
    pub by: usize,
    /// Fingerprints of the members of the epoch it was said in.
    pub roster: Vec<[u8; 32]>,
}

/// What somebody did to the group, successfully as far as it could tell.
#[derive(Clone)]
pub struct Intent {
    /// Who.
    pub by: usize,
    /// What.
    pub what: What,
}

/// What it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It added this client.
    Add(usize),
    /// It removed this client.
    Remove(usize),
    /// It asked to be removed.
    Leave,
}

/// What a schedule has shown.
pub struct Verdict {
    /// The most forks that one client has seen.
    pub forks: usize,
    /// How many clients are not in the head, by reason.
    pub left_out: BTreeMap<String, usize>,
    /// How many adds and removes were found in effect.
    pub in_effect: usize,
}

/// Judges a world that has healed. Clients below `founders` were in the first epoch; the others were invited or not.
pub struct Judge<'a> {
    /// What is judged.
    pub world: &'a World,
    /// How many clients were in the first epoch.
    pub founders: usize,
    /// What was said.
    pub said: &'a [Said],
    /// What was done.
    pub intents: &'a [Intent],
    /// What a failure is called by.
    pub name: &'a str,
}

impl Judge<'_> {
    /// One head for all in its roster, every message with everybody who could read it, once, and every add and remove
    /// of a member who is still there in effect; who is left out, and why.
    pub fn judge(&self) -> Verdict {
        let (best, left_out) = self.heads();
        let in_effect = self.intents(&best);
        self.messages();
        let forks = self.world.peers.iter().map(|peer| {
            let forks = peer.events.iter().filter(|event| matches!(event, Event::Forked { .. }));
            forks.count()
        });
        Verdict { forks: forks.max().unwrap_or(0), left_out, in_effect }
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
    fn heads(&self) -> (Print, BTreeMap<String, usize>) {
        let (name, peers) = (self.name, &self.world.peers);
        let inside =
            |place: usize| peers[place].group.as_ref().is_some_and(|group| *group.place() == Place::Member);
        let prints: BTreeMap<usize, Print> =
            (0..peers.len()).filter(|p| inside(*p)).map(|p| (p, fingerprint(self.world, p))).collect();
        // A client that was invited may stand on a losing branch, with others of its kind only.
        let mut heads: BTreeMap<_, (usize, usize)> = BTreeMap::new();
        for (place, print) in &prints {
            let (founders, all) = heads.entry(print.head.clone()).or_default();
            *founders += usize::from(*place < self.founders);
            *all += 1;
        }
        // Whoever was removed and cannot know it (docs/decisions.md, a silent half) stands above the others' head. One
        // that is merely behind is listed there, and found below.
        let passed: BTreeSet<EpochId> = prints.keys().flat_map(|place| self.above_head(*place)).collect();
        let ahead = heads.iter().filter(|(head, _)| !passed.contains(*head));
        let Some((winner, _)) = ahead.max_by_key(|(_, count)| **count) else {
            panic!("{name}: nobody is left\n{}", draw(self.world));
        };
        let (_, best) = prints.iter().find(|(_, print)| print.head == *winner).expect("the winner");
        let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
        for (place, peer) in peers.iter().enumerate() {
            let Some(group) = &peer.group else { continue };
            let listed = best.members.contains(&peer.client.fingerprint());
            let founder = place < self.founders;
            let why = match (group.place(), prints.get(&place)) {
                (_, Some(print)) if print.head == *winner => {
                    assert_eq!(print, best, "{name}: member {place} has another state in the same head");
                    continue;
                }
                (Place::Outside { why: Blocked::Removed, .. }, _) => {
                    assert!(
                        !(listed && founder && heads[winner].0 > 0),
                        "{name}: member {place} is removed and in the roster\n{}",
                        draw(self.world)
                    );
                    "removed by the winning branch"
                }
                (Place::Outside { .. }, _) => "the winning branch is unusable for it",
                (Place::Member, _) if listed => {
                    panic!("{name}: member {place} of the roster has another head\n{}", draw(self.world))
                }
                _ if !founder => "it joined a losing branch, and its Add is void",
                (Place::Member, _) => "not in the roster, and it does not know yet",
            };
            *left_out.entry(why.to_string()).or_default() += 1;
        }
        (best.clone(), left_out)
    }

    /// Adds and removes are in effect, unless a rule voids them: whose author was removed has no say, and whom anybody
    /// removed is not added. How many there were to judge.
    fn intents(&self, best: &Print) -> usize {
        let name = self.name;
        let is_in = |place: usize| best.members.contains(&self.world.peers[place].client.fingerprint());
        let distinct: BTreeSet<&[u8; 32]> = best.members.iter().collect();
        assert_eq!(distinct.len(), best.members.len(), "{name}: a client is there twice");
        let gone = |place: usize| {
            self.intents.iter().any(|intent| match intent.what {
                What::Remove(other) => other == place,
                What::Leave => intent.by == place,
                What::Add(_) => false,
            })
        };
        let mut judged = 0;
        // Invited clients may have been added on two sides, as two members: what was done to one, and what it did, need
        // not bind the other.
        for Intent { by, what } in self.intents.iter().filter(|i| i.by < self.founders && is_in(i.by)) {
            match *what {
                What::Add(other) if !gone(other) => {
                    assert!(is_in(other), "{name}: {by} added {other}, who is not in\n{}", draw(self.world));
                    judged += 1;
                }
                What::Remove(other) if other < self.founders => {
                    assert!(!is_in(other), "{name}: {by} removed {other}, who is in\n{}", draw(self.world));
                    judged += 1;
                }
                _ => {}
            }
        }
        judged
    }

    /// Every message has come to everybody who could read it, once, whichever branch it was on.
    fn messages(&self) {
        let name = self.name;
        for (place, peer) in self.world.peers.iter().enumerate() {
            let ids = peer.events.iter().filter_map(|event| match event {
                Event::Message { id, .. } => Some(id),
                _ => None,
            });
            let ids: Vec<_> = ids.collect();
            let distinct: BTreeSet<_> = ids.iter().collect();
            assert_eq!(distinct.len(), ids.len(), "{name}: member {place} got a message twice");
            let got: Vec<Vec<u8>> = peer.messages().into_iter().map(|(_, payload)| payload).collect();
            let times = |said: &Said| got.iter().filter(|payload| **payload == said.payload).count();
            // Whoever is hostile may say one thing twice; what is in the list was said once.
            assert!(self.said.iter().all(|said| times(said) <= 1), "{name}: member {place} got a text twice");
            if place >= self.founders || peer.group.is_none() {
                continue;
            }
            for said in self.said.iter().filter(|said| said.by != place) {
                let readable = said.roster.contains(&peer.client.fingerprint());
                let text = String::from_utf8_lossy(&said.payload);
                assert_eq!(
                    times(said) == 1,
                    readable,
                    "{name}: member {place}: message {text}\n{}",
                    draw(self.world)
                );
            }
        }
    }
}

/// The histories, for a failure.
pub fn draw(world: &World) -> String {
    let mut out = String::new();
    let short = |id: &[u8]| hex::encode(&id[..4]);
    for (place, peer) in world.peers.iter().enumerate() {
        let Some(group) = &peer.group else { continue };
        let view = group.history();
        let waiting = group.view().map_or(0, |v| v.waiting);
        out += &format!("member {place} {:?} waiting {waiting}\n", group.place());
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
