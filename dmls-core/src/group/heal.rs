//! Heal debts (DESIGN 4.6): whoever got new keys only on a branch that lost owes the head a refresh. It is paid by an
//! Update proposal in somebody's next commit, or by an own commit.

use std::sync::Arc;

use super::Keys;
use super::commit::Waiting;
use super::speak::SpeakError;
use super::state::Place;
use super::transaction::Transaction;
use super::{ActionError, Group};
use crate::framing::{Proposal, Sender};
use crate::history::{LeafSet, Member};
use crate::tree::{LeafIndex, LeafTemplate, TreeError};

impl Group {
    /// The leaves of the head that owe a refresh.
    pub(super) fn debts(&self) -> LeafSet {
        self.healing().debts.clone()
    }

    /// Whether somebody, a member of any epoch, owes the head a refresh.
    pub(super) fn is_unhealed(&self, sender: &Member) -> bool {
        let debts = self.debts();
        let Some(keys) = self.keys.get(&self.state.head) else { return false };
        debts.iter().filter_map(|leaf| keys.epoch.leaf(leaf)).any(|node| {
            node.credential == sender.credential
                && super::transaction::fingerprint(&node.signature_key) == sender.fingerprint
        })
    }

    /// The members whose Update waits in the head.
    pub(super) fn updates(&self) -> LeafSet {
        let proposals = self.keys.get(&self.state.head).map(|keys| keys.epoch.proposals());
        let sender = |proposal: &crate::epoch::SentProposal| match (&proposal.proposal, proposal.sender) {
            (Proposal::Update(_), Sender::Member(leaf)) => Some(leaf),
            _ => None,
        };
        proposals.into_iter().flat_map(|proposals| proposals.values()).filter_map(sender).collect()
    }
}

impl Transaction<'_> {
    /// Who owes a refresh proposes one, some time within the span of acknowledgements.
    pub(super) fn schedule_update(&mut self) {
        let head = self.group.state.head.clone();
        let own = self.group.keys.get(&head).map(|keys| keys.epoch.own_leaf());
        let owes = |own: LeafIndex| self.group.debts().contains(own) && !self.group.updates().contains(own);
        if self.group.state.place != Place::Member || !own.is_some_and(owes) {
            self.group.state.update_due = None;
        } else if self.group.state.update_due.is_none() {
            let members = self.group.history.epoch(&head).map_or(1, |epoch| epoch.electors.len());
            let wait = self.random_below(self.group.options.span(members));
            self.group.state.update_due = Some(self.now().saturating_add(wait));
        }
    }

    /// Proposes new keys of this client in the head.
    pub(super) fn propose_update(&mut self) -> Result<(), ActionError> {
        let head = self.member_head()?;
        let keys = self.keys_of(&head)?;
        let own = keys.epoch.own_leaf();
        let leaf = keys
            .epoch
            .leaf(own)
            .ok_or_else(|| ActionError::Create(crate::epoch::CreateError::from(TreeError::NoLeaf(own))))?;
        let sending = self.sending();
        let sealed = keys
            .epoch
            .seal_update(&LeafTemplate::of(leaf), None, &sending, self.rng)
            .map_err(SpeakError::from)?;
        self.group.keys.insert(head.clone(), Keys { epoch: Arc::new(sealed.epoch), init: keys.init });
        self.publish(&head, sealed.message)?;
        self.mark_sent(&head);
        Ok(())
    }

    /// The debts that a commit on the head pays by the Updates that it takes: for [`crate::framing::Merge::healed`].
    pub(super) fn healed_by(&self, waiting: &Waiting) -> Vec<u32> {
        if waiting.updated.is_empty() {
            return Vec::new();
        }
        let debts = self.group.debts();
        waiting.updated.iter().filter(|leaf| debts.contains(**leaf)).map(|leaf| leaf.0).collect()
    }
}
