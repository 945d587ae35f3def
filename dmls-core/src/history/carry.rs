//! What of losing branches is carried over to the head (DESIGN 4.6): the only place where that is decided. Like the
//! head it is a pure function, of the history and of what the head's roster and admin list say.

use std::collections::{BTreeMap, BTreeSet};

use super::commits::Commits;
use super::judge::{Fork, Judge};
use super::{Deed, History, LeafSet, Member, Operation, Summary};
use crate::codec::{Bytes, CodecError, TlsSerialize, TlsSize, encode};
use crate::framing::MAX_OPERATIONS;
use crate::schedule::{CommitId, EpochId};
use crate::suite::Suite;
use crate::tree::{Credential, LeafIndex};

/// The state that a merge is made on: the head for who merges, the parent of the merge for who checks it.
#[derive(Debug, Clone, Copy)]
pub struct Onto<'a> {
    /// The epoch.
    pub epoch: &'a EpochId,
    /// Its members.
    pub members: &'a [Member],
    /// Its admin list; empty: every member.
    pub admins: &'a [Credential],
}

/// What is done about a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CarryKind {
    /// It is added.
    Add,
    /// It is removed.
    Remove,
    /// It is removed and added again.
    Rejoin,
}

impl CarryKind {
    /// Its number in the carried hash.
    fn code(self) -> u8 {
        match self {
            Self::Add => 1,
            Self::Remove => 2,
            Self::Rejoin => 3,
        }
    }
}

/// The leaf index that the carried hash has for a client that was not at the fork point.
const NO_LEAF: u32 = u32::MAX;

/// An operation of a losing branch that the head shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// What.
    pub kind: CarryKind,
    /// Whom: an added one as it is on the branch, any other as it was in the parent of the commit.
    pub member: Member,
    /// Its leaf at the fork point; none for a client that was not there.
    pub at_fork: Option<LeafIndex>,
    /// Its leaf in the epoch that the merge is made on; none for an Add.
    pub onto: Option<LeafIndex>,
    /// The commit that did it.
    pub commit: CommitId,
}

/// The entry of the carried hash: `struct { uint8 operation; Credential credential; uint32 leaf_index; }`.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize)]
struct CarriedEntry {
    operation: u8,
    credential: Credential,
    leaf_index: u32,
}

impl Carried {
    /// `struct { uint8 operation; Credential credential; uint32 leaf_index; }`: what the carried hash has of it.
    pub(super) fn encoding(&self) -> Result<Vec<u8>, CodecError> {
        encode(&CarriedEntry {
            operation: self.kind.code(),
            credential: self.member.credential.clone(),
            leaf_index: self.at_fork.map_or(NO_LEAF, |leaf| leaf.0),
        })
    }

    /// Whether it takes this client in, for which the merge needs a fresh KeyPackage of it.
    pub fn takes_in(&self, client: &Credential) -> bool {
        self.kind != CarryKind::Remove && self.member.credential == *client
    }

    /// Whether it removes whoever sits on a leaf of the epoch that the merge is made on, to take it in again or not.
    fn blanks(&self, leaf: LeafIndex) -> bool {
        self.onto == Some(leaf)
    }

    /// Whether an operation of a merge on `onto` does this.
    fn is_done_by(&self, operation: &Operation) -> bool {
        let client = &self.member.credential;
        match operation {
            Operation::Add(member) => self.kind == CarryKind::Add && member.credential == *client,
            Operation::Remove(member) => self.kind == CarryKind::Remove && Some(member.leaf) == self.onto,
            Operation::Rejoin { from, .. } => self.kind == CarryKind::Rejoin && Some(from.leaf) == self.onto,
            _ => false,
        }
    }
}

/// What a merge of some tips carries, sorted as the carried hash sorts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarrySet {
    /// The fork point.
    pub fork: EpochId,
    /// The tips, by commit id.
    pub tips: Vec<CommitId>,
    /// The operations; at most [`MAX_OPERATIONS`], the rest is for the next merge.
    pub operations: Vec<Carried>,
    /// Clients among them that a merge has put off already.
    pub deferred: BTreeSet<Credential>,
}

impl CarrySet {
    /// Whether there is something that no merge has done or put off.
    pub fn is_open(&self) -> bool {
        self.operations.iter().any(|carried| !self.is_deferred(carried))
    }

    /// Whether a merge has put the operation off.
    pub fn is_deferred(&self, carried: &Carried) -> bool {
        carried.kind != CarryKind::Remove && self.deferred.contains(&carried.member.credential)
    }

    /// What of it a member of the epoch that the merge is made on can do: all but to itself. Whoever is to go comes last
    /// in turn, but if all who may merge are, one of them begins, or nobody ever would.
    pub fn left_to(&self, merger: LeafIndex) -> impl Iterator<Item = &Carried> {
        self.operations.iter().filter(move |carried| !carried.blanks(merger))
    }

    /// Whether it removes whoever sits on a leaf of the epoch that the merge is made on.
    pub fn removes(&self, leaf: LeafIndex) -> bool {
        self.operations.iter().any(|carried| carried.kind == CarryKind::Remove && carried.blanks(leaf))
    }

    /// `carried_hash`: the hash of the TLS vector of the entries, sorted bytewise.
    ///
    /// # Errors
    /// [`CodecError`] if there is more than a vector holds, which the bound on operations prevents.
    pub fn hash(&self, suite: Suite) -> Result<Bytes, CodecError> {
        let entries = self.operations.iter().map(Carried::encoding).collect::<Result<Vec<_>, _>>()?.concat();
        let list = encode(&Bytes::from(entries))?;
        Ok(suite.hash(&list).into())
    }
}

/// How a merge differs from what it should be, as far as this client knows the tips.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MergeCheck {
    /// Whether the fork point and all tips are known: else nothing else is judged.
    pub known: bool,
    /// Operations that it neither does nor puts off.
    pub missing: Vec<Carried>,
    /// Adds, Removes and rejoins that it may not carry.
    pub extra: Vec<Operation>,
    /// Whether it names another carried hash.
    pub other_hash: bool,
}

impl MergeCheck {
    /// Whether the merge is as it should be.
    pub fn is_right(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && !self.other_hash
    }
}

impl History {
    /// The leaf in `to` of whoever sits on `leaf` in `from`, an ancestor of it: as long as nobody removed it. A rejoin
    /// moves it (DESIGN 4.4: for authorship and carrying it is the same member).
    pub fn same_member(&self, from: &EpochId, leaf: LeafIndex, to: &EpochId) -> Option<LeafIndex> {
        self.epoch(from).filter(|epoch| epoch.electors.contains(leaf))?;
        self.path_below(from, to)?.now(leaf)
    }

    /// The ancestors of `head` that have other children than the one towards it, oldest first.
    pub fn losing_forks(&self, head: &EpochId) -> Vec<EpochId> {
        let forked = |at: &EpochId| self.epoch(at).is_some_and(|epoch| epoch.children.len() > 1);
        let mut forks: Vec<EpochId> =
            self.ancestors(head).filter(|(at, _)| forked(at)).map(|(at, _)| at.clone()).collect();
        forks.reverse();
        forks
    }

    /// What a merge on `onto` carries of the branches that lose at `fork`, an ancestor of it, up to these tips; unknown
    /// ones are left out. `None`: up to all that are known. What lies beyond the tips has no part in it, so that a
    /// merge is judged by what it says that it knew.
    pub fn carry(&self, fork: &EpochId, onto: &Onto<'_>, tips: Option<&[CommitId]>) -> CarrySet {
        Fork::of(&Commits::of(self), fork, onto, self).map_or_else(|| empty(fork), |fork| fork.carry(tips))
    }

    /// The same for each fork point above `onto`, oldest first, up to all tips that are known.
    pub fn carry_all(&self, onto: &Onto<'_>) -> Vec<CarrySet> {
        let forks = self.losing_forks(onto.epoch);
        if forks.is_empty() {
            return Vec::new();
        }
        let commits = Commits::of(self);
        let set = |fork| Fork::of(&commits, fork, onto, self).map(|fork| fork.carry(None));
        forks.iter().filter_map(set).collect()
    }

    /// Compares a merge on `onto` with what it should carry. Beyond that it may commit what others have proposed, and
    /// take in who asks for it. Its committer cannot remove itself: that is left to another.
    ///
    /// # Errors
    /// [`CodecError`] if the carried hash cannot be computed.
    pub fn check_merge(
        &self,
        suite: Suite,
        onto: &Onto<'_>,
        summary: &Summary,
    ) -> Result<MergeCheck, CodecError> {
        let Some(merge) = &summary.merge else { return Ok(MergeCheck::default()) };
        let fork = EpochId(merge.fork_epoch.clone());
        let tips: Vec<CommitId> = merge.tips.iter().map(|tip| CommitId(tip.clone())).collect();
        let right = self.carry(&fork, onto, Some(&tips));
        let named: BTreeSet<&CommitId> = tips.iter().collect();
        if named.is_empty() || right.tips.len() != named.len() {
            return Ok(MergeCheck::default());
        }
        let done = |carried: &Carried| summary.operations().any(|done| carried.is_done_by(done));
        let put_off = |carried: &Carried| merge.deferred.iter().any(|client| carried.takes_in(client));
        let missing = right.left_to(summary.committer.leaf);
        let missing = missing.filter(|carried| !put_off(carried) && !done(carried));
        let is_own = |deed: &&Deed| {
            deed.author.leaf == summary.committer.leaf
                && matches!(deed.operation, Operation::Add(_) | Operation::Remove(_))
        };
        let carried =
            |deed: &Deed| right.operations.iter().any(|carried| carried.is_done_by(&deed.operation));
        let extra = summary.deeds.iter().filter(is_own).filter(|deed| !carried(deed));
        Ok(MergeCheck {
            known: true,
            missing: missing.cloned().collect(),
            extra: extra.map(|deed| deed.operation.clone()).collect(),
            other_hash: right.hash(suite)? != merge.carried_hash,
        })
    }

    /// Leaves of `head` whose owners got new keys on a losing branch and, below the same fork point, none on the
    /// head's: they owe a new refresh (DESIGN 4.6).
    pub fn heal_debts(&self, head: &EpochId) -> LeafSet {
        let mut debts = LeafSet::default();
        for fork in self.losing_forks(head) {
            let Some(path) = self.path_below(&fork, head) else { continue };
            let losing = self.losing(&fork, path.edges().first().map(|edge| edge.commit));
            let owes = losing.refreshed().into_iter().filter(|leaf| !path.has_new_keys(*leaf));
            owes.filter_map(|leaf| path.now(leaf)).for_each(|leaf| {
                debts.insert(leaf);
            });
        }
        debts
    }
}

/// Nothing.
fn empty(fork: &EpochId) -> CarrySet {
    CarrySet { fork: fork.clone(), tips: Vec::new(), operations: Vec::new(), deferred: BTreeSet::new() }
}

impl Fork<'_> {
    fn carry(&self, tips: Option<&[CommitId]>) -> CarrySet {
        let chosen;
        let tips = match tips {
            Some(tips) => tips,
            None => {
                chosen = Judge::new(self, None).tips();
                &chosen
            }
        };
        carry_set(&Judge::new(self, Some(tips)), empty(self.id()))
    }
}

/// All that is carried up to the tips that were asked for. The bound leaves out first what has been put off, and takes
/// Removes before all else: nothing that waits for a KeyPackage holds up anything.
pub(super) fn carry_set(judge: &Judge<'_, '_>, empty: CarrySet) -> CarrySet {
    let mut sorted: BTreeMap<&Vec<u8>, &Carried> = BTreeMap::new();
    for (encoding, carried) in judge.all_carried() {
        sorted.entry(encoding).or_insert(carried);
    }
    drop_rejoins_of_removed(&mut sorted);
    let mut ranked: Vec<(&Vec<u8>, &Carried)> = sorted.into_iter().collect();
    ranked.sort_by_key(|(encoding, carried)| {
        (judge.is_put_off(carried), carried.kind != CarryKind::Remove, *encoding)
    });
    ranked.truncate(MAX_OPERATIONS);
    ranked.sort_by_key(|(encoding, _)| *encoding);
    let operations: Vec<Carried> = ranked.into_iter().map(|(_, carried)| carried.clone()).collect();
    let late = operations.iter().filter(|carried| judge.is_put_off(carried));
    let deferred = late.map(|carried| carried.member.credential.clone()).collect();
    CarrySet { tips: judge.asked_for(), operations, deferred, ..empty }
}

/// Whom the head removes it need not take in again.
fn drop_rejoins_of_removed(sorted: &mut BTreeMap<&Vec<u8>, &Carried>) {
    let removes = sorted.values().filter(|carried| carried.kind == CarryKind::Remove);
    let removed: BTreeSet<LeafIndex> = removes.filter_map(|carried| carried.onto).collect();
    let stays = |carried: &Carried| {
        carried.kind != CarryKind::Rejoin || carried.onto.is_none_or(|leaf| !removed.contains(&leaf))
    };
    sorted.retain(|_, carried| stays(carried));
}
