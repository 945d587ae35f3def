//! Histories of branches that add and remove, by name.

use std::collections::BTreeMap;

use super::*;
use crate::framing::Merge;
use crate::suite::CipherSuite;

/// Histories made of commits by name, with the roster of each epoch. "p" is the anchor; commit "x" makes epoch "x".
pub(super) struct Group {
    pub(super) history: History,
    pub(super) rosters: BTreeMap<String, BTreeMap<u32, String>>,
    pub(super) admins: Vec<Credential>,
}

/// What a commit shall do, by client.
#[derive(Debug, Clone)]
pub(super) enum Do {
    Add(&'static str),
    Remove(&'static str),
    Rejoin(&'static str),
    Update(&'static str),
    /// A removal that somebody else has proposed.
    RemoveFor(&'static str, &'static str),
}
pub(super) use Do::{Add, Rejoin, Remove, RemoveFor, Update};

pub(super) fn client(name: &str) -> Credential {
    Credential::basic(name.as_bytes())
}

pub(super) fn somebody(leaf: u32, name: &str) -> Member {
    Member { leaf: LeafIndex(leaf), credential: client(name), fingerprint: [0; 32] }
}

impl Group {
    pub(super) fn of(members: &[&str]) -> Self {
        let roster: BTreeMap<u32, String> = (0..).zip(members.iter().map(|name| name.to_string())).collect();
        let electors = leaves(roster.keys().copied());
        let width = members.len() as u32;
        let history =
            History::new(epoch("p"), HistoryEpoch::new(None, 0, width, electors, LeafSet::default()));
        Self { history, rosters: [("p".into(), roster)].into(), admins: Vec::new() }
    }

    pub(super) fn leaf_of(&self, at: &str, name: &str) -> u32 {
        let mut roster = self.rosters[at].iter();
        *roster.find(|(_, other)| *other == name).unwrap_or_else(|| panic!("{name} is not in {at}")).0
    }

    pub(super) fn members(&self, at: &str) -> Vec<Member> {
        self.rosters[at].iter().map(|(leaf, name)| somebody(*leaf, name)).collect()
    }

    pub(super) fn commit(&mut self, at: &str, name: &str, by: &str, what: &[Do]) {
        self.merge(at, name, by, what, None);
    }

    pub(super) fn merge(&mut self, at: &str, name: &str, by: &str, what: &[Do], merge: Option<Merge>) {
        let mut roster = self.rosters[at].clone();
        let committer = somebody(self.leaf_of(at, by), by);
        let mut blanked = Vec::new();
        for done in what {
            if let Remove(other) | Rejoin(other) | RemoveFor(_, other) = done {
                let leaf = self.leaf_of(at, other);
                roster.remove(&leaf);
                blanked.push(leaf);
            }
        }
        let mut deeds = Vec::new();
        for done in what {
            let mut sit = |name: &str| {
                let leaf = (0..).find(|leaf| !roster.contains_key(leaf)).expect("a leaf");
                roster.insert(leaf, name.into());
                somebody(leaf, name)
            };
            let before = |name: &str| somebody(self.leaf_of(at, name), name);
            let (author, operation) = match done {
                Add(name) => (by, Operation::Add(sit(name))),
                Remove(name) => (by, Operation::Remove(before(name))),
                Rejoin(name) => (by, Operation::Rejoin { from: before(name), to: sit(name) }),
                Update(name) => (*name, Operation::Update(before(name))),
                RemoveFor(author, name) => (*author, Operation::Remove(before(name))),
            };
            deeds.push(Deed { author: before(author), operation });
        }
        let width = roster.keys().max().map_or(1, |leaf| leaf + 1);
        let number = self.history.epoch(&epoch(at)).expect("an epoch").number + 1;
        let link = Some((epoch(at), commit(name)));
        let made = HistoryEpoch::new(link, number, width, leaves(roster.keys().copied()), leaves(blanked));
        let child = Child {
            committer: committer.leaf,
            class: 1,
            summary: Summary { committer, deeds, merge },
            outcome: Ok(epoch(name)),
        };
        self.history.record_commit(&epoch(at), commit(name), child, Some(made), None).expect("a commit");
        self.rosters.insert(name.into(), roster);
    }

    pub(super) fn set(&self, fork: &str, onto: &str, tips: Option<&[&str]>) -> CarrySet {
        let members = self.members(onto);
        let head = epoch(onto);
        let onto = Onto { epoch: &head, members: &members, admins: &self.admins };
        let tips = tips.map(|tips| tips.iter().map(|tip| commit(tip)).collect::<Vec<_>>());
        self.history.carry(&epoch(fork), &onto, tips.as_deref())
    }

    /// What is carried at "p", as "+name", "-name", "~name", sorted.
    pub(super) fn carried(&self, onto: &str) -> Vec<String> {
        words(&self.set("p", onto, None))
    }

    pub(super) fn check(&self, at: &str, name: &str) -> MergeCheck {
        let members = self.members(at);
        let parent = epoch(at);
        let onto = Onto { epoch: &parent, members: &members, admins: &self.admins };
        let child = &self.history.epoch(&parent).expect("an epoch").children[&commit(name)];
        let suite = CipherSuite::X25519_AES128GCM.suite().expect("a suite");
        self.history.check_merge(suite, &onto, &child.summary).expect("small")
    }

    pub(super) fn record_of(&self, set: &CarrySet, deferred: &[&str]) -> Merge {
        let suite = CipherSuite::X25519_AES128GCM.suite().expect("a suite");
        Merge {
            fork_epoch: set.fork.0.clone(),
            tips: set.tips.iter().map(|tip| tip.0.clone()).collect(),
            carried_hash: set.hash(suite).expect("small"),
            deferred: deferred.iter().map(|name| client(name)).collect(),
            healed: Vec::new(),
        }
    }
}

pub(super) fn words(set: &CarrySet) -> Vec<String> {
    let word = |carried: &Carried| {
        let sign = match carried.kind {
            CarryKind::Add => "+",
            CarryKind::Remove => "-",
            CarryKind::Rejoin => "~",
        };
        let Credential::Basic { identity } = &carried.member.credential else { panic!("a basic credential") };
        format!("{sign}{}", String::from_utf8_lossy(identity.as_slice()))
    };
    let mut words: Vec<String> = set.operations.iter().map(word).collect();
    words.sort();
    words
}
