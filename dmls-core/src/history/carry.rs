//! What of losing branches is carried over to the head (DESIGN 4.6): the only place where that is decided. Like the
//! head it is a pure function, of the history and of what the head's roster and admin list say.

use std::collections::{BTreeMap, BTreeSet};

use super::branches::{Edge, Losing, Node, Origin};
use super::{Deed, History, LeafSet, Member, Operation, Summary};
use crate::codec::{Bytes, CodecError, TlsSerialize, TlsSize, encode};
use crate::framing::{MAX_OPERATIONS, MAX_TIPS};
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
    /// Its leaf at the fork point; none for an Add.
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
    fn encoding(&self) -> Result<Vec<u8>, CodecError> {
        encode(&CarriedEntry {
            operation: self.kind.code(),
            credential: self.member.credential.clone(),
            leaf_index: self.at_fork.map_or(NO_LEAF, |leaf| leaf.0),
        })
    }

    /// Whether it is the Add of this client.
    pub fn is_add_of(&self, client: &Credential) -> bool {
        self.kind == CarryKind::Add && self.member.credential == *client
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
    /// Clients among them whose Add a merge has put off already.
    pub deferred: BTreeSet<Credential>,
}

impl CarrySet {
    /// Whether there is something that no merge has done or put off.
    pub fn is_open(&self) -> bool {
        self.operations.iter().any(|carried| !self.is_deferred(carried))
    }

    /// Whether a merge has put the operation off.
    pub fn is_deferred(&self, carried: &Carried) -> bool {
        carried.kind == CarryKind::Add && self.deferred.contains(&carried.member.credential)
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
        self.path_below(from, to)?.iter().try_fold(leaf, |leaf, edge| edge.follow(leaf))
    }

    /// The ancestors of `head` that have other children than the one towards it, oldest first.
    pub fn losing_forks(&self, head: &EpochId) -> Vec<EpochId> {
        let forked = |at: &EpochId| self.epoch(at).is_some_and(|epoch| epoch.children.len() > 1);
        let mut forks: Vec<EpochId> =
            self.ancestors(head).filter(|(at, _)| forked(at)).map(|(at, _)| at.clone()).collect();
        forks.reverse();
        forks
    }

    /// What a merge on `onto` carries of the branches that lose at `fork`, an ancestor of it. `tips`: up to these
    /// commits, of which unknown ones are left out; `None`: of every tip with something that is not in effect.
    pub fn carry(&self, fork: &EpochId, onto: &Onto<'_>, tips: Option<&[CommitId]>) -> CarrySet {
        let none = CarrySet {
            fork: fork.clone(),
            tips: Vec::new(),
            operations: Vec::new(),
            deferred: BTreeSet::new(),
        };
        let Some(judge) = Judge::new(self, fork, onto) else { return none };
        let mut chosen: BTreeMap<CommitId, Vec<Carried>> = BTreeMap::new();
        for (place, node) in judge.losing.nodes().iter().enumerate() {
            let tip = node.edge.commit;
            let wanted = tips.map_or(node.is_tip, |tips| tips.contains(tip));
            let carried = if wanted { judge.carried(place) } else { Vec::new() };
            if wanted && (tips.is_some() || !carried.is_empty()) {
                chosen.insert(tip.clone(), carried);
            }
        }
        while chosen.len() > MAX_TIPS {
            chosen.pop_last();
        }
        let mut sorted: BTreeMap<Vec<u8>, Carried> = BTreeMap::new();
        for carried in chosen.values().flatten() {
            // What cannot be encoded cannot have come over the wire.
            let Ok(encoding) = carried.encoding() else { continue };
            sorted.entry(encoding).or_insert_with(|| carried.clone());
        }
        drop_rejoins_of_removed(&mut sorted);
        let operations: Vec<Carried> = sorted.into_values().take(MAX_OPERATIONS).collect();
        let mut deferred = judge.deferred();
        deferred.retain(|client| operations.iter().any(|carried| carried.is_add_of(client)));
        CarrySet { tips: chosen.into_keys().collect(), operations, deferred, ..none }
    }

    /// Compares a merge on `onto` with what it should carry. Beyond that it may commit what others have proposed, and
    /// take in who asks for it.
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
        let put_off = |carried: &Carried| merge.deferred.iter().any(|client| carried.is_add_of(client));
        let missing = right.operations.iter().filter(|carried| !put_off(carried) && !done(carried));
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
            let losing = self.losing(&fork, path.first().map(|edge| edge.commit));
            for leaf in losing.refreshed() {
                let here = path.iter().try_fold((leaf, false), |(leaf, paid), edge| {
                    let fresh = edge.rejoins(leaf) || edge.refreshed().any(|fresh| fresh == leaf);
                    Some((edge.follow(leaf)?, paid || fresh))
                });
                if let Some((leaf, false)) = here {
                    debts.insert(leaf);
                }
            }
        }
        debts
    }
}

/// Whom the head removes it need not take in again.
fn drop_rejoins_of_removed(sorted: &mut BTreeMap<Vec<u8>, Carried>) {
    let removes = sorted.values().filter(|carried| carried.kind == CarryKind::Remove);
    let removed: BTreeSet<LeafIndex> = removes.filter_map(|carried| carried.onto).collect();
    let stays = |carried: &Carried| {
        carried.kind != CarryKind::Rejoin || carried.onto.is_none_or(|leaf| !removed.contains(&leaf))
    };
    sorted.retain(|_, carried| stays(carried));
}

/// Judges the operations of the branches that lose at a fork point.
struct Judge<'a> {
    history: &'a History,
    onto: &'a Onto<'a>,
    fork: &'a EpochId,
    /// From the fork point to what the merge is made on.
    path: Vec<Edge<'a>>,
    losing: Losing<'a>,
    /// Clients that are members of what the merge is made on.
    present: BTreeSet<&'a Credential>,
    /// Clients that a branch below the fork point removed, other than by a rejoin.
    removed: BTreeSet<&'a Credential>,
}

impl<'a> Judge<'a> {
    fn new(history: &'a History, fork: &'a EpochId, onto: &'a Onto<'a>) -> Option<Self> {
        let path = history.path_below(fork, onto.epoch)?;
        let losing = history.losing(fork, path.first().map(|edge| edge.commit));
        let edges = path.iter().copied().chain(losing.nodes().iter().map(|node| node.edge));
        let removed = edges.flat_map(Edge::operations).filter_map(|operation| match operation {
            Operation::Remove(member) => Some(&member.credential),
            _ => None,
        });
        let removed = removed.collect();
        let present = onto.members.iter().map(|member| &member.credential).collect();
        Some(Self { history, onto, fork, path, losing, present, removed })
    }

    /// Clients whose Add a merge on the path has put off.
    fn deferred(&self) -> BTreeSet<Credential> {
        let merges = self.path.iter().filter_map(|edge| edge.child.summary.merge.as_ref());
        let here = merges.filter(|merge| merge.fork_epoch == self.fork.0);
        here.flat_map(|merge| merge.deferred.iter().cloned()).collect()
    }

    /// Where a member of the fork point sits now, if it is still there.
    fn now(&self, at_fork: LeafIndex) -> Option<LeafIndex> {
        self.path.iter().try_fold(at_fork, |leaf, edge| edge.follow(leaf))
    }

    /// Whether the path has taken in again a member of the fork point.
    fn has_rejoined(&self, at_fork: LeafIndex) -> bool {
        let mut leaf = Some(at_fork);
        self.path.iter().any(|edge| {
            let rejoins = leaf.is_some_and(|leaf| edge.rejoins(leaf));
            leaf = leaf.and_then(|leaf| edge.follow(leaf));
            rejoins
        })
    }

    /// What the head shall have of the commits from the fork point to this one.
    fn carried(&self, tip: usize) -> Vec<Carried> {
        let mut found: Vec<Carried> = Vec::new();
        for node in self.losing.branch_to(tip) {
            let originals = self.originals(node);
            for deed in &node.edge.child.summary.deeds {
                if originals.iter().any(|original| is_same(original, &deed.operation)) {
                    continue;
                }
                let committer = node.edge.child.committer;
                let stand = |leaf| self.stands(&found, self.losing.origin(node, leaf));
                if stand(deed.author.leaf) && stand(committer) && self.is_authorised(deed) {
                    found.extend(self.carry_over(node, &deed.operation));
                }
            }
        }
        found
    }

    /// Whether an author is in the head as the member that it was, or comes into it with its own Add.
    fn stands(&self, found: &[Carried], origin: Option<Origin<'_>>) -> bool {
        match origin {
            Some(Origin::AtFork(leaf)) => self.now(leaf).is_some(),
            Some(Origin::Added(client)) => {
                let is_in = self.present.contains(client) && !self.removed.contains(client);
                is_in || found.iter().any(|carried| carried.is_add_of(client))
            }
            None => false,
        }
    }

    /// Whether the head's admin list lets the author do this.
    fn is_authorised(&self, deed: &Deed) -> bool {
        let asked_for = match &deed.operation {
            Operation::Remove(member) => member.leaf == deed.author.leaf,
            Operation::Rejoin { .. } => true,
            _ => false,
        };
        let admins = self.onto.admins;
        asked_for || admins.is_empty() || admins.contains(&deed.author.credential)
    }

    fn carry_over(&self, node: &Node<'a>, operation: &Operation) -> Option<Carried> {
        let at_fork = |leaf| match self.losing.origin(node, leaf) {
            Some(Origin::AtFork(leaf)) => Some(leaf),
            _ => None,
        };
        let carried = |kind, member: &Member, at_fork: Option<LeafIndex>, onto| {
            Some(Carried { kind, member: member.clone(), at_fork, onto, commit: node.edge.commit.clone() })
        };
        match operation {
            Operation::Add(member) => {
                let client = &member.credential;
                let is_new = !self.present.contains(client) && !self.removed.contains(client);
                if is_new { carried(CarryKind::Add, member, None, None) } else { None }
            }
            Operation::Remove(member) => {
                let leaf = at_fork(member.leaf)?;
                carried(CarryKind::Remove, member, Some(leaf), Some(self.now(leaf)?))
            }
            Operation::Rejoin { from, .. } => {
                let leaf = at_fork(from.leaf)?;
                let now = self.now(leaf)?;
                // Taken in again on the head's branch too: it is there.
                if self.has_rejoined(leaf) {
                    None
                } else {
                    carried(CarryKind::Rejoin, from, Some(leaf), Some(now))
                }
            }
            Operation::Update(_) | Operation::Context | Operation::PreSharedKey => None,
        }
    }

    /// What the tips did that a merge on a losing branch merged, where they are known: it only repeats that, and who
    /// did it first is the author.
    fn originals(&self, node: &Node<'a>) -> Vec<&'a Operation> {
        let Some(merge) = &node.edge.child.summary.merge else { return Vec::new() };
        let fork = EpochId(merge.fork_epoch.clone());
        let losing = self.history.losing(&fork, None);
        let mut found = Vec::new();
        for (place, tip) in losing.nodes().iter().enumerate() {
            if merge.tips.contains(&tip.edge.commit.0) {
                found.extend(losing.branch_to(place).into_iter().flat_map(|node| node.edge.operations()));
            }
        }
        found
    }
}

/// Whether two operations do the same to the same client.
fn is_same(one: &Operation, other: &Operation) -> bool {
    match (one, other) {
        (Operation::Add(one), Operation::Add(other)) | (Operation::Remove(one), Operation::Remove(other)) => {
            one.credential == other.credential
        }
        (Operation::Rejoin { from: one, .. }, Operation::Rejoin { from: other, .. }) => {
            one.credential == other.credential
        }
        _ => false,
    }
}
