//! What is remembered of merges to be made: since when, and whose Add has been put off (DESIGN 4.6).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Group;
use super::options::limits;
use super::step::Event;
use super::transaction::Transaction;
use crate::codec::encode;
use crate::history::{Carried, CarryKind, CarrySet, History, Member};
use crate::schedule::{CommitId, EpochId};
use crate::tree::Credential;

/// What this client remembers of branches that are, or were, to be merged. Times are Unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Merging {
    /// When a commit on, or a vote at, a fork point came last.
    pub(super) touched: BTreeMap<EpochId, u64>,
    /// From when on what is to be merged may be; none: nothing is.
    pub(super) from: Option<u64>,
    /// The fork point of a merge that lacks KeyPackages, and since when.
    pub(super) lacking: Option<(EpochId, u64)>,
    /// Adds that merges have put off. They outlive their branches.
    deferred: Vec<Deferred>,
    /// Branch tips of which somebody has said that they are left behind, and for which commits.
    pub(super) closed: BTreeMap<EpochId, BTreeSet<CommitId>>,
    /// When to say so of the others.
    pub(super) farewells: BTreeMap<EpochId, u64>,
}

/// An Add that a merge has put off for want of a KeyPackage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Deferred {
    /// The client, as it was on its branch.
    member: Member,
    fork: EpochId,
    tips: Vec<CommitId>,
    since: u64,
    /// Whether it has been given up. It is remembered for as long as its branch is.
    abandoned: bool,
}

impl Merging {
    /// Notes that somebody has said on `tip` that `winner` has won: nobody has to say so again. Of what others say no
    /// more is remembered than there can be winners; what this client has said it always remembers.
    pub(super) fn note_closed(&mut self, tip: &EpochId, winner: &CommitId, own: bool) {
        let winners = self.closed.entry(tip.clone()).or_default();
        if own || winners.len() < limits::CHILDREN {
            winners.insert(winner.clone());
        }
    }

    /// Whether that has been said.
    pub(super) fn is_closed(&self, tip: &EpochId, winner: &CommitId) -> bool {
        self.closed.get(tip).is_some_and(|winners| winners.contains(winner))
    }

    /// Whether there is something to merge, and it has been quiet for long enough.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.from.is_some_and(|from| from <= now)
    }

    /// Whether the Add of a client has been put off.
    pub(super) fn awaits(&self, who: &Member) -> bool {
        let is_who =
            |member: &Member| member.credential == who.credential && member.fingerprint == who.fingerprint;
        self.deferred.iter().any(|deferred| !deferred.abandoned && is_who(&deferred.member))
    }

    /// When something has to be done about it after `now`.
    pub(super) fn next_deadline(&self, now: u64, deferred_for: u64) -> Option<u64> {
        let expiring = self.deferred.iter().filter(|deferred| !deferred.abandoned);
        let expiring = expiring.map(|deferred| deferred.since.saturating_add(deferred_for));
        let farewells = self.farewells.values().copied();
        self.from.filter(|from| *from > now).into_iter().chain(expiring).chain(farewells).min()
    }
}

impl Group {
    pub(super) fn is_abandoned(&self, client: &Credential) -> bool {
        let mut deferred = self.state.merging.deferred.iter();
        deferred.any(|deferred| deferred.abandoned && deferred.member.credential == *client)
    }

    /// The Adds that were put off, of a branch that is not stored any more.
    pub(super) fn orphaned_set(&self) -> Option<CarrySet> {
        let orphans =
            || self.state.merging.deferred.iter().filter(|deferred| !self.history.knows_all(&deferred.tips));
        let ready =
            |deferred: &&Deferred| !deferred.abandoned && self.fresh_key_package(&deferred.member).is_some();
        let fork = orphans().find(ready)?.fork.clone();
        let of_fork: Vec<&Deferred> = orphans().filter(|deferred| deferred.fork == fork).collect();
        let carried = |deferred: &Deferred| {
            let commit = deferred.tips.first()?.clone();
            let member = deferred.member.clone();
            let key = encode(&member.credential).ok()?;
            Some((key, Carried { kind: CarryKind::Add, member, at_fork: None, onto: None, commit }))
        };
        let operations: BTreeMap<Vec<u8>, Carried> = of_fork.iter().filter_map(|d| carried(d)).collect();
        let tips: BTreeSet<&CommitId> = of_fork.iter().flat_map(|deferred| &deferred.tips).collect();
        let deferred = operations.values().map(|carried| carried.member.credential.clone()).collect();
        let tips = tips.into_iter().take(crate::framing::MAX_TIPS).cloned().collect();
        Some(CarrySet { fork, tips, operations: operations.into_values().collect(), deferred })
    }
}

impl Transaction<'_> {
    /// Remembers whose Add has been put off, and forgets who is in, was removed since, or was put off by a
    /// merge that is not in effect.
    pub(super) fn note_deferred(&mut self, sets: &[CarrySet]) {
        if sets.is_empty() && self.group.state.merging.deferred.is_empty() {
            return;
        }
        let now = self.now();
        let members = self.group.roster(&self.group.state.head);
        // Also whom one step has seen come and go.
        let removed = self.newly_removed();
        let Group { history, state, .. } = &mut self.group;
        let deferred = &mut state.merging.deferred;
        let put_off = |set: &CarrySet, client: &Credential| set.deferred.contains(client);
        deferred.retain(|entry| {
            let client = &entry.member.credential;
            let is_in = members.iter().any(|member| member.credential == *client);
            let open = sets.iter().any(|set| set.fork == entry.fork && put_off(set, client));
            !is_in && !removed.contains(client) && (open || !history.knows_all(&entry.tips))
        });
        for set in sets {
            for carried in set.operations.iter().filter(|carried| set.is_deferred(carried)) {
                let client = &carried.member.credential;
                let known = deferred.iter().any(|entry| entry.member.credential == *client);
                if !known && deferred.len() < limits::DEFERRED {
                    deferred.push(Deferred {
                        member: carried.member.clone(),
                        fork: set.fork.clone(),
                        tips: set.tips.clone(),
                        since: now,
                        abandoned: false,
                    });
                }
            }
        }
    }

    /// Gives up Adds whose clients have not been heard of for a week.
    pub(super) fn expire_deferred(&mut self) {
        let Some(before) = self.now().checked_sub(self.group.options.deferred_for_ms) else { return };
        let Group { history, state, .. } = &mut self.group;
        let mut gone = Vec::new();
        state.merging.deferred.retain_mut(|entry| {
            if !entry.abandoned && entry.since <= before {
                entry.abandoned = true;
                gone.push(entry.member.clone());
            }
            !entry.abandoned || history.knows_all(&entry.tips)
        });
        for member in gone {
            self.event(Event::AddAbandoned { member });
        }
    }
}

impl History {
    /// Whether all of these commits are known.
    fn knows_all(&self, commits: &[CommitId]) -> bool {
        let known = |commit: &CommitId| self.epochs().any(|(_, epoch)| epoch.children.contains_key(commit));
        commits.iter().all(known)
    }
}
