//! What of a commit goes together: the leaf of one client must not hold up the others (DESIGN 4.6).

use super::authority::Authority;
use super::commit::{Intent, Waiting};
use super::key_packages::client_name;
use super::merge::Plan;
use super::transaction::Transaction;
use super::{Group, Keys};
use crate::framing::{Proposal, ProposalRef, Sender};

/// Takes as many of `items` as fit beside those that were taken before. What does not fit is found by halving, so
/// that one of many costs little.
pub(super) fn take_fitting<T: Clone>(taken: &mut Vec<T>, items: &[T], fits: &dyn Fn(&[T]) -> bool) {
    if items.is_empty() {
        return;
    }
    let with: Vec<T> = taken.iter().chain(items).cloned().collect();
    if fits(&with) {
        *taken = with;
    } else if items.len() > 1 {
        let (one, other) = items.split_at(items.len() / 2);
        take_fitting(taken, one, fits);
        take_fitting(taken, other, fits);
    }
}

impl Group {
    /// Leaves out the Updates that do not fit the tree beside the rest of a commit.
    pub(super) fn without_unfit_updates(
        &self,
        keys: &Keys,
        proposals: &[Proposal],
        waiting: &Waiting,
    ) -> Waiting {
        let sent = |reference: &ProposalRef| keys.epoch.proposals().get(reference);
        let is_update = |reference: &ProposalRef| {
            sent(reference).is_some_and(|sent| matches!(sent.proposal, Proposal::Update(_)))
        };
        let (updates, mut references): (Vec<ProposalRef>, Vec<ProposalRef>) =
            waiting.references.iter().cloned().partition(is_update);
        let fits = |with: &[ProposalRef]| keys.epoch.may_commit(proposals, with, &Authority).is_ok();
        take_fitting(&mut references, &updates, &fits);
        let sender = |reference: &ProposalRef| match sent(reference)?.sender {
            Sender::Member(leaf) => Some(leaf),
            _ => None,
        };
        let updated = references.iter().filter(|reference| is_update(reference)).filter_map(sender).collect();
        Waiting { references, removed: waiting.removed.clone(), updated }
    }
}

impl Transaction<'_> {
    /// Whether a commit in the head would pay a debt by an Update that waits there.
    pub(super) fn can_pay(&self) -> bool {
        let Some(keys) = self.group.keys.get(&self.group.state.head) else { return false };
        let waiting = self.committable(keys, &[]);
        let waiting = self.group.without_unfit_updates(keys, &[], &waiting);
        let debts = self.group.debts();
        waiting.updated.iter().any(|leaf| debts.contains(*leaf))
    }

    /// Commits a merge without whom it cannot take in; whether it is done. A key package that fits no commit is dropped:
    /// nothing is committed for the sake of what the head cannot have.
    pub(super) fn commit_merge(&mut self, plan: Plan) -> bool {
        let Some(plan) = self.fitted(plan) else { return false };
        let put_off = plan.without_adds();
        let merge = |plan| Intent { merge: Some(plan), ..Intent::default() };
        self.attempt(|step| step.commit_on_head(merge(plan)))
            || put_off.is_some_and(|plan| self.attempt(|step| step.commit_on_head(merge(plan))))
    }

    fn fitted(&mut self, plan: Plan) -> Option<Plan> {
        let keys = self.group.keys.get(&self.group.state.head)?.clone();
        let alone = |proposals: &[Proposal]| keys.epoch.may_commit(proposals, &[], &Authority).is_ok();
        if alone(&plan.proposals()) {
            return Some(plan);
        }
        let mut taken = Vec::new();
        take_fitting(&mut taken, &plan.newcomers, &|with| {
            let newcomers = with.iter().flat_map(|newcomer| &newcomer.proposals);
            let proposals: Vec<Proposal> = plan.removes.iter().chain(newcomers).cloned().collect();
            alone(&proposals)
        });
        let left = plan.newcomers.iter().filter(|newcomer| !taken.contains(newcomer));
        for newcomer in left.filter(|newcomer| !alone(&newcomer.proposals)) {
            let who = &newcomer.member;
            if let Ok(name) = client_name(&who.credential, &who.fingerprint) {
                self.drop_offer(&name);
                // What is to be merged is another now.
                self.evidence = true;
            }
        }
        plan.with_only(taken)
    }
}
