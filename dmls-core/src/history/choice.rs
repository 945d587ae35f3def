//! The fork choice (DESIGN 4.4): the only place where a branch is chosen.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Blocked, Child, History, HistoryEpoch, LeafSet};
use crate::schedule::{CommitId, EpochId};
use crate::tree::LeafIndex;

/// Where a client stands after walking the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The last epoch on the best branch that this client can enter.
    pub epoch: EpochId,
    /// The decided child of `epoch` that it cannot enter: it is outside the group.
    pub outside: Option<(CommitId, Blocked)>,
}

/// `key(c) = (-weight, class, rank(committer), commit id)`: the smallest wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChoiceKey {
    weight: Reverse<usize>,
    class: u8,
    /// Void committers last, and among them by rank too: a commit id can be ground.
    rank: (bool, u64),
    commit: CommitId,
}

/// A commit that is not known yet, with what its key depends on.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The commit.
    pub commit: &'a CommitId,
    /// Leaf of its committer.
    pub committer: LeafIndex,
    /// Its class (DESIGN 4.4).
    pub class: u8,
}

/// A child with its place in the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankedChild {
    /// The commit.
    pub commit: CommitId,
    /// Number of electors that stand on it.
    pub weight: usize,
    /// Whether the commit itself is known, and not only named.
    pub known: bool,
}

/// What the electors of an epoch have decided so far. A pure function of the epoch's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Known and named children, best first; those that are only named come behind known ones of their weight.
    pub ranked: Vec<RankedChild>,
    /// `N`: number of electors.
    pub electors: usize,
    /// `U`: electors that have named no child.
    pub silent: usize,
    /// Electors that have named two children, or one that is written off.
    pub void: LeafSet,
    /// How many have named two children.
    pub equivocators: usize,
}

impl Decision {
    /// Number of electors that stand on a child.
    fn weight(&self, commit: &CommitId) -> usize {
        self.ranked.iter().find(|child| child.commit == *commit).map_or(0, |child| child.weight)
    }

    /// `W1 - W2`.
    fn margin(&self) -> usize {
        let weight = |n: usize| self.ranked.get(n).map_or(0, |child| child.weight);
        weight(0) - weight(1)
    }

    /// Whether every child that counts is known.
    pub fn all_known(&self) -> bool {
        self.ranked.iter().all(|child| child.known)
    }

    /// Whether the best child leads by more than the silent electors, or nobody is silent and all is known.
    pub fn soft_final(&self) -> bool {
        let Some(best) = self.ranked.first() else { return false };
        best.known && (self.margin() > self.silent || (self.silent == 0 && self.all_known()))
    }

    /// Equivocators up to which nothing final may be re-opened: a third, in a group of two or three one.
    fn tolerated(&self) -> usize {
        if self.electors <= 3 { self.electors / 2 } else { self.electors.saturating_sub(1) / 3 }
    }

    /// Whether the best child has more than two thirds of the electors. Never re-opened: an elector who names a second
    /// child is still counted, up to the tolerated number, or whoever has voted could take finality back. It has no
    /// more power so than by a vote, and the best child stays ahead of what all others can reach.
    pub fn hard_final(&self) -> bool {
        let counted = |best: &RankedChild| best.weight + self.equivocators.min(self.tolerated());
        self.ranked.first().is_some_and(|best| best.known && counted(best) > 2 * self.electors / 3)
    }

    /// Whether the decision holds against a third of the electors changing their minds: one part of *closed*.
    pub fn holds(&self) -> bool {
        let third = self.electors.saturating_sub(1) / 3;
        let known = self.ranked.first().is_some_and(|best| best.known);
        self.hard_final()
            || (known && self.margin() > self.silent + third)
            || (self.electors <= 3 && self.soft_final())
    }
}

/// How many known children have smaller keys than a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// Of anybody.
    pub all: usize,
    /// Of the same committer.
    pub of_member: usize,
}

/// `rank(m) = (leaf index - epoch number) mod number of leaves`.
pub(super) fn rank(leaf: LeafIndex, number: u64, width: u32) -> u64 {
    let width = u64::from(width.max(1));
    (u64::from(leaf.0) % width + width - number % width) % width
}

impl HistoryEpoch {
    /// The decision at this epoch as of now.
    pub fn decision(&self) -> Decision {
        let mut once = LeafSet::default();
        let mut void = LeafSet::default();
        let mut unheard = LeafSet::default();
        for (commit, leaves) in &self.named {
            let leaves = leaves.intersection(&self.electors);
            void.union_with(&once.intersection(&leaves));
            once.union_with(&leaves);
            // Nobody could produce it: voting for it is voting for nothing.
            if self.written_off.contains(commit) && !self.children.contains_key(commit) {
                unheard.union_with(&leaves);
            }
        }
        let equivocators = void.len();
        void.union_with(&unheard);
        let weigh = |leaves: &LeafSet| {
            let mut standing = leaves.intersection(&self.electors);
            standing.subtract(&void);
            standing.len()
        };
        let mut weights: BTreeMap<&CommitId, usize> =
            self.named.iter().map(|(commit, leaves)| (commit, weigh(leaves))).collect();
        // A child named by void members alone is only a rumour.
        weights.retain(|commit, weight| *weight > 0 || self.children.contains_key(*commit));
        self.children.keys().for_each(|commit| {
            weights.entry(commit).or_default();
        });
        let mut ranked: Vec<_> =
            weights.into_iter().map(|(c, w)| (self.choice_key(c, w, &void), c, w)).collect();
        ranked.sort();
        let ranked = ranked.into_iter().map(|(_, commit, weight)| RankedChild {
            known: self.children.contains_key(commit),
            commit: commit.clone(),
            weight,
        });
        let electors = self.electors.len();
        Decision { ranked: ranked.collect(), electors, silent: electors - once.len(), void, equivocators }
    }

    /// How many known children come before a commit that is not known yet.
    pub fn children_before(&self, candidate: &Candidate<'_>) -> Before {
        let decision = self.decision();
        let key = self.candidate_key(&decision, candidate);
        let committer = candidate.committer;
        let known = |id: &CommitId| self.choice_key(id, decision.weight(id), &decision.void);
        let before = self.children.iter().filter(|(id, _)| known(id) < key);
        before.fold(Before { all: 0, of_member: 0 }, |sum, (_, child)| Before {
            all: sum.all + 1,
            of_member: sum.of_member + usize::from(child.committer == committer),
        })
    }

    /// The key that a commit would have as a child.
    pub fn candidate_key(&self, decision: &Decision, candidate: &Candidate<'_>) -> ChoiceKey {
        ChoiceKey {
            weight: Reverse(decision.weight(candidate.commit)),
            class: candidate.class,
            rank: self.rank_of(candidate.committer, &decision.void),
            commit: candidate.commit.clone(),
        }
    }

    /// How many electors come before a leaf in rank order.
    pub fn place_by_rank(&self, leaf: LeafIndex) -> u64 {
        self.place_among(leaf, &self.electors)
    }

    /// How many of some leaves come before a leaf in rank order.
    pub fn place_among(&self, leaf: LeafIndex, leaves: &LeafSet) -> u64 {
        let own = rank(leaf, self.number, self.width);
        let before = leaves.iter().filter(|other| rank(*other, self.number, self.width) < own);
        u64::try_from(before.count()).unwrap_or(u64::MAX)
    }

    fn rank_of(&self, committer: LeafIndex, void: &LeafSet) -> (bool, u64) {
        (void.contains(committer), rank(committer, self.number, self.width))
    }

    fn choice_key(&self, commit: &CommitId, weight: usize, void: &LeafSet) -> ChoiceKey {
        let child = self.children.get(commit);
        let rank = child.map_or((true, u64::MAX), |child| self.rank_of(child.committer, void));
        let class = child.map_or(u8::MAX, |child| child.class);
        ChoiceKey { weight: Reverse(weight), class, rank, commit: commit.clone() }
    }

    /// The child that the walk takes from here: the best one that can be entered, unless one that cannot be entered
    /// is decided.
    fn best_child(&self) -> Option<(CommitId, &Child)> {
        // Where there is no choice, votes need not be counted: an only child is entered whatever they say.
        if let (Some((commit, child)), true) = (self.children.first_key_value(), self.children.len() <= 1)
            && child.outcome.is_ok()
        {
            return Some((commit.clone(), child));
        }
        if self.children.is_empty() {
            return None;
        }
        let decision = self.decision();
        let decided = decision.soft_final();
        decision.ranked.into_iter().enumerate().find_map(|(place, ranked)| {
            let child = self.children.get(&ranked.commit)?;
            (child.outcome.is_ok() || (place == 0 && decided)).then_some((ranked.commit, child))
        })
    }
}

impl History {
    /// The head: a pure function of the anchor, the valid commits and the names.
    pub fn head(&self) -> Head {
        let mut at = &self.anchor;
        loop {
            let best = self.epochs.get(at).and_then(|epoch| epoch.best_child());
            match best {
                Some((_, Child { outcome: Ok(child), .. })) if self.epochs.contains_key(child) => at = child,
                Some((commit, Child { outcome: Err(blocked), .. })) => {
                    return Head { epoch: at.clone(), outside: Some((commit, blocked.clone())) };
                }
                _ => return Head { epoch: at.clone(), outside: None },
            }
        }
    }
}
