//! Merge commits (DESIGN 4.6): what of the branches that lost the head shall have is decided in
//! [`crate::history::History::carry`]; here it becomes a commit, in time, or waits for a KeyPackage.

use std::collections::BTreeSet;

use super::step::Event;
use super::transaction::{Transaction, member};
use super::{ActionError, Group};
use crate::codec::Bytes;
use crate::framing::{Add, Merge, Proposal, Remove};
use crate::history::{Carried, CarryKind, CarrySet, History, LeafSet, Member, Onto, Operation};
use crate::schedule::{CommitId, EpochId};
use crate::suite::Suite;
use crate::tree::{Credential, LeafIndex};

/// A merge commit in the making.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    set: CarrySet,
    /// Who makes it: what it would do to itself others have to do.
    merger: LeafIndex,
    pub(super) removes: Vec<Proposal>,
    pub(super) newcomers: Vec<Newcomer>,
    deferred: BTreeSet<Credential>,
}

/// A client that a merge takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Newcomer {
    /// Who it is, as the losing branch has it.
    pub(super) member: Member,
    /// An Add, and before it a Remove if it is in the head already.
    pub(super) proposals: Vec<Proposal>,
}

impl Plan {
    /// What it commits by value.
    pub(super) fn proposals(&self) -> Vec<Proposal> {
        let newcomers = self.newcomers.iter().flat_map(|newcomer| &newcomer.proposals);
        self.removes.iter().chain(newcomers).cloned().collect()
    }

    /// Whether a KeyPackage is missing that no merge has done without.
    fn lacks_key_packages(&self) -> bool {
        self.deferred.iter().any(|client| !self.set.deferred.contains(client))
    }

    /// Whether it would change anything: else it would be committed again and again.
    fn does_something(&self) -> bool {
        self.lacks_key_packages() || !self.removes.is_empty() || !self.newcomers.is_empty()
    }

    /// The same with every Add put off; none if that does nothing new.
    pub(super) fn without_adds(&self) -> Option<Self> {
        if self.newcomers.is_empty() { None } else { self.clone().with_only(Vec::new()) }
    }

    /// The same with all but these put off; none if that does nothing new.
    pub(super) fn with_only(mut self, newcomers: Vec<Newcomer>) -> Option<Self> {
        let left = std::mem::take(&mut self.newcomers).into_iter();
        let left = left.filter(|newcomer| !newcomers.contains(newcomer));
        self.deferred.extend(left.map(|newcomer| newcomer.member.credential));
        self.newcomers = newcomers;
        self.does_something().then_some(self)
    }

    /// Who comes into the head by it.
    pub(super) fn newcomers(&self) -> impl Iterator<Item = &Member> {
        self.newcomers.iter().map(|newcomer| &newcomer.member)
    }

    /// The tips that it merges.
    pub(super) fn tips(&self) -> &[CommitId] {
        &self.set.tips
    }

    /// What the commit says of it.
    ///
    /// # Errors
    /// [`crate::codec::CodecError`] if the set is too large to be encoded, which its bound prevents.
    pub(super) fn record(&self, suite: Suite, healed: Vec<u32>) -> Result<Merge, ActionError> {
        Ok(Merge {
            fork_epoch: self.set.fork.0.clone(),
            tips: self.set.tips.iter().map(|tip| tip.0.clone()).collect(),
            carried_hash: self.set.hash(suite)?,
            deferred: self.deferred.iter().cloned().collect(),
            healed,
        })
    }
}

impl Group {
    /// The members of an epoch.
    pub(super) fn roster(&self, epoch: &EpochId) -> Vec<Member> {
        let leaves = self.keys.get(epoch).into_iter().flat_map(|keys| keys.epoch.tree().leaves());
        leaves.map(|(leaf, node)| member(leaf, node)).collect()
    }

    pub(super) fn admins(&self, epoch: &EpochId) -> &[Credential] {
        let profile = self.keys.get(epoch).and_then(|keys| keys.epoch.profile());
        profile.map(|profile| profile.admins.as_slice()).unwrap_or_default()
    }

    /// The members of the head who may merge: with an admin list, the admins.
    fn mergers(&self) -> LeafSet {
        let admins = self.admins(&self.state.head);
        let members = self.roster(&self.state.head).into_iter();
        let may = members.filter(|member| admins.is_empty() || admins.contains(&member.credential));
        may.map(|member| member.leaf).collect()
    }

    /// Whether a member's rejoin on another branch is to be merged.
    pub(super) fn is_rejoin_carried(&self, leaf: LeafIndex) -> bool {
        let carried = |c: &Carried| c.kind == CarryKind::Rejoin && c.onto == Some(leaf);
        self.carry_sets().iter().any(|set| set.operations.iter().any(carried))
            && self.mergers().iter().any(|merger| merger != leaf)
    }

    /// Whether something of the branches that lost at a fork point is neither in the head nor put off, and somebody can
    /// do it: the removal of the only admin, at its own wish, no other may commit, unless it asks again.
    pub(super) fn is_open(&self, fork: &EpochId) -> bool {
        let sets = self.carry_sets();
        let Some(set) = sets.iter().find(|set| set.fork == *fork) else { return false };
        let mergers = self.mergers();
        let is_for_somebody = |carried: &Carried| mergers.iter().any(|leaf| carried.onto != Some(leaf));
        set.operations.iter().any(|carried| !set.is_deferred(carried) && is_for_somebody(carried))
    }

    /// Of what a losing branch did, what neither is in effect nor will be by a merge.
    pub(super) fn not_carried(&self, operations: impl Iterator<Item = Operation>) -> Vec<Operation> {
        let (sets, members) = (self.carry_sets(), self.roster(&self.state.head));
        let carried = |kind: CarryKind, who: &Member| {
            let mut all = sets.iter().flat_map(|set| &set.operations);
            all.any(|carried| carried.kind == kind && carried.member.credential == who.credential)
        };
        let is_in = |who: &Member| members.iter().any(|member| member.credential == who.credential);
        let lost = |operation: &Operation| match operation {
            Operation::Add(who) => !is_in(who) && !carried(CarryKind::Add, who),
            Operation::Remove(who) => is_in(who) && !carried(CarryKind::Remove, who),
            Operation::Rejoin { from, .. } => !carried(CarryKind::Rejoin, from),
            Operation::Update(_) | Operation::Context | Operation::PreSharedKey => true,
        };
        operations.filter(lost).collect()
    }

    /// The members of the head whom a merge to come removes.
    pub(super) fn pending_removals(&self) -> Vec<Member> {
        let sets = self.carry_sets();
        let removes = |carried: &&Carried| carried.kind == CarryKind::Remove;
        let removed = sets.iter().flat_map(|set| set.operations.iter().filter(removes));
        removed.filter_map(|carried| Some(Member { leaf: carried.onto?, ..carried.member.clone() })).collect()
    }

    /// What the merge of a set would do now; none if that is nothing.
    fn plan_of(&self, set: CarrySet) -> Option<Plan> {
        let merger = self.keys.get(&self.state.head)?.epoch.own_leaf();
        let (removes, newcomers) = (Vec::new(), Vec::new());
        let mut plan = Plan { set, merger, removes, newcomers, deferred: BTreeSet::new() };
        for carried in plan.set.left_to(merger) {
            let client = &carried.member.credential;
            let remove = carried.onto.map(|removed| Proposal::Remove(Remove { removed }));
            let key_package = match carried.kind {
                CarryKind::Remove => {
                    plan.removes.extend(remove);
                    continue;
                }
                CarryKind::Add | CarryKind::Rejoin if self.is_abandoned(client) => None,
                CarryKind::Add => self.fresh_key_package(&carried.member),
                CarryKind::Rejoin => {
                    carried.onto.and_then(|leaf| self.rejoin_key_package(&carried.member, leaf))
                }
            };
            let Some(key_package) = key_package else {
                plan.deferred.insert(client.clone());
                continue;
            };
            let add = Proposal::Add(Add { key_package: Box::new(key_package) });
            let proposals = remove.into_iter().chain([add]).collect();
            plan.newcomers.push(Newcomer { member: carried.member.clone(), proposals });
        }
        plan.does_something().then_some(plan)
    }

    /// The oldest merge that there is to do.
    fn next_plan(&self, sets: &[CarrySet]) -> Option<Plan> {
        sets.iter().cloned().chain(self.orphaned_set()).find_map(|set| self.plan_of(set))
    }

    /// The tips that a joiner may take as merged: by this commit, by those above, and those that had nothing to carry.
    pub(super) fn merged_tips(&self, head: &EpochId, merge: Option<&Merge>) -> Vec<Bytes> {
        let mut tips: Vec<Bytes> = merge.iter().flat_map(|merge| merge.tips.iter().cloned()).collect();
        for (at, commit) in self.history.ancestors(head) {
            let child = self.history.epoch(at).and_then(|epoch| epoch.children.get(commit));
            let merge = child.and_then(|child| child.summary.merge.as_ref());
            tips.extend(merge.iter().flat_map(|merge| merge.tips.iter().cloned()));
        }
        let open: BTreeSet<Bytes> = self
            .carry_sets()
            .iter()
            .filter(|set| set.is_open())
            .flat_map(|set| &set.tips)
            .map(|tip| tip.0.clone())
            .collect();
        let done =
            self.history.losing_tips(head).into_iter().map(|tip| tip.0).filter(|tip| !open.contains(tip));
        tips.extend(done);
        let mut seen = BTreeSet::new();
        tips.retain(|tip| seen.insert(tip.clone()));
        tips.truncate(crate::framing::MAX_TIPS);
        tips
    }
}

impl Transaction<'_> {
    /// Finds what is to be merged, and from when on.
    pub(super) fn schedule_merge(&mut self) {
        self.note_touched();
        let sets = self.group.carry_sets();
        self.note_deferred(&sets);
        let plan = self.group.next_plan(&sets);
        let from = plan.as_ref().map(|plan| self.quiet_from(&plan.set.fork).max(self.patient_until(plan)));
        let since = self.group.state.merging.lacking.take();
        let Group { history, state, .. } = &mut self.group;
        state.merging.from = from;
        let lacking = plan.filter(|plan| plan.lacks_key_packages()).map(|plan| plan.set.fork);
        state.merging.lacking = lacking.map(|fork| match since {
            Some((at, since)) if at == fork => (fork, since),
            _ => (fork, state.now_ms),
        });
        state.merging.closed.retain(|tip, _| history.epoch(tip).is_some());
    }

    /// Until when a merge waits for KeyPackages, before the first turn.
    fn patient_until(&self, plan: &Plan) -> u64 {
        if !plan.lacks_key_packages() {
            return 0;
        }
        let since = self.group.state.merging.lacking.as_ref().filter(|(fork, _)| *fork == plan.set.fork);
        since.map_or(self.now(), |(_, since)| *since).saturating_add(self.group.options.key_package_wait_ms)
    }

    /// The merge that is due in this client's turn.
    pub(super) fn due_plan(&self) -> Option<Plan> {
        if self.group.state.merging.is_due(self.now()) { self.plan() } else { None }
    }

    /// The merge that this client may make.
    fn plan(&self) -> Option<Plan> {
        let plan = self.group.next_plan(&self.group.carry_sets())?;
        self.group.mergers().contains(plan.merger).then_some(plan)
    }

    /// The same, at once: who is about to send does not wait for KeyPackages.
    pub(super) fn urgent_plan(&self) -> Option<Plan> {
        self.plan().filter(|plan| self.quiet_from(&plan.set.fork) <= self.now())
    }

    /// How many may make a merge before this client: whoever is to go comes last.
    pub(super) fn place_in_merge(&self, plan: &Plan) -> u64 {
        let (go, stay): (Vec<_>, Vec<_>) =
            self.group.mergers().iter().partition(|leaf| plan.set.removes(*leaf));
        let place = |leaves: Vec<LeafIndex>| {
            let epoch = self.group.history.epoch(&self.group.state.head);
            epoch.map_or(0, |epoch| epoch.place_among(plan.merger, &leaves.into_iter().collect()))
        };
        if plan.set.removes(plan.merger) {
            let before = u64::try_from(stay.len()).unwrap_or(u64::MAX);
            place(go).saturating_add(before)
        } else {
            place(stay)
        }
    }

    /// Notes at which forks something has come in this step.
    fn note_touched(&mut self) {
        let Some(before) = self.before else { return };
        let now = self.now();
        let history = &self.group.history;
        let touched = history.changed_since(&before.history).filter(|(id, epoch)| {
            let old = before.history.epoch(id);
            epoch.children.len() > 1
                && old
                    .is_none_or(|old| old.children.len() != epoch.children.len() || old.named != epoch.named)
        });
        let touched: Vec<EpochId> = touched.map(|(id, _)| id.clone()).collect();
        let merging = &mut self.group.state.merging;
        merging.touched.retain(|id, _| history.epoch(id).is_some());
        merging.touched.extend(touched.into_iter().map(|id| (id, now)));
    }

    /// From when on the branches that lost at a fork point may be merged: at once when that is decided, else when it has
    /// been quiet there.
    fn quiet_from(&self, fork: &EpochId) -> u64 {
        let towards = self.group.history.ancestors(&self.group.state.head).find(|(at, _)| *at == fork);
        let decided = match (self.group.history.epoch(fork), towards) {
            (Some(epoch), Some((_, towards))) => {
                let decision = epoch.decision();
                decision.soft_final() && decision.ranked.first().is_some_and(|best| best.commit == *towards)
            }
            _ => true,
        };
        let touched = self.group.state.merging.touched.get(fork).filter(|_| !decided);
        touched.map_or(0, |touched| touched.saturating_add(self.group.options.settle_ms))
    }

    /// Tells the application what a merge did, and whether it did what it should have.
    pub(super) fn report_merge(&mut self, parent: &EpochId, epoch: &EpochId, commit: &CommitId) {
        let child = self.group.history.epoch(parent).and_then(|parent| parent.children.get(commit));
        let Some(summary) = child.map(|child| child.summary.clone()) else { return };
        let Some(merge) = summary.merge.as_ref() else { return };
        let by = summary.committer.clone();
        let own_deeds = summary.deeds.iter().filter(|deed| deed.author.leaf == by.leaf);
        let carries = |operation: &&Operation| {
            matches!(operation, Operation::Add(_) | Operation::Remove(_) | Operation::Rejoin { .. })
        };
        let carried = own_deeds.map(|deed| &deed.operation).filter(carries).cloned().collect();
        let fork = EpochId(merge.fork_epoch.clone());
        let deferred = merge.deferred.clone();
        self.event(Event::Merged { epoch: epoch.clone(), fork, by: by.clone(), carried, deferred });
        let members = self.group.roster(parent);
        let onto = Onto { epoch: parent, members: &members, admins: self.group.admins(parent) };
        let Ok(check) = self.group.history.check_merge(self.group.suite, &onto, &summary) else { return };
        if check.known && !check.is_right() {
            let missing = check.missing.into_iter().map(|carried| carried.member).collect();
            let epoch = epoch.clone();
            self.event(Event::MergeMismatch { epoch, by, missing, extra: check.extra });
        }
    }
}

impl History {
    /// The last commits of the branches that the path to `head` leaves aside, those of newer forks first.
    fn losing_tips(&self, head: &EpochId) -> Vec<CommitId> {
        let mut tips = Vec::new();
        for (at, towards) in self.ancestors(head) {
            let Some(epoch) = self.epoch(at) else { continue };
            for (commit, child) in epoch.children.iter().filter(|(commit, _)| *commit != towards) {
                match &child.outcome {
                    Err(_) => tips.push(commit.clone()),
                    Ok(branch) => {
                        tips.extend(self.subtree(branch).iter().flat_map(|id| self.tip_commits(id)))
                    }
                }
            }
        }
        tips
    }

    /// The commit of an epoch that nothing follows, and those of its children that cannot be entered.
    fn tip_commits(&self, id: &EpochId) -> Vec<CommitId> {
        let Some(epoch) = self.epoch(id) else { return Vec::new() };
        let blocked = epoch.children.iter().filter(|(_, child)| child.outcome.is_err());
        let mut tips: Vec<CommitId> = blocked.map(|(commit, _)| commit.clone()).collect();
        if epoch.children.is_empty() {
            tips.extend(epoch.parent.iter().map(|(_, commit)| commit.clone()));
        }
        tips
    }
}
