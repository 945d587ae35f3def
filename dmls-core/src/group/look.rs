//! Looking at a group from outside.

use super::state::Place;
use super::store::{GroupId, Key, Store, StoreError, Table};
use super::transaction::member;
use super::view::{ChildView, EpochView, ForkView, GroupView, HistoryView, Standing};
use super::{ActionError, Group, Keys, MessageId, SpeakError};
use crate::history::{Blocked, HistoryEpoch};
use crate::schedule::EpochId;
use crate::suite::Secret;

/// The groups of a store.
///
/// # Errors
/// [`StoreError`].
pub fn group_ids(store: &dyn Store) -> Result<Vec<GroupId>, StoreError> {
    let places = store.places(&Key { table: Table::Groups, bytes: Vec::new() })?;
    let damaged =
        || StoreError::Damaged { table: Table::Groups.name(), reason: "a place is too short".into() };
    places.into_iter().map(|place| Ok(GroupId(place.get(4..).ok_or_else(damaged)?.into()))).collect()
}

impl Group {
    /// The group's name.
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// The epoch in which this client sends.
    pub fn head(&self) -> &EpochId {
        &self.state.head
    }

    /// Where this client stands, with the commit that decided it.
    pub fn place(&self) -> &Place {
        &self.state.place
    }

    /// Messages of epochs below this number are neither kept nor wanted.
    pub fn floor(&self) -> u64 {
        self.state.floor
    }

    /// The messages of the log, with their epoch numbers.
    pub fn log(&self) -> impl Iterator<Item = (&MessageId, u64)> {
        self.log.iter().map(|(id, order)| (id, *order))
    }

    /// Whether the message is stored: in the log, or waiting.
    pub fn has_message(&self, id: &MessageId) -> bool {
        self.log.contains_key(id) || self.waiting.get(id).is_some()
    }

    /// `MLS-Exporter(label, context, length)` of the head (RFC 9420 8.5).
    ///
    /// # Errors
    /// [`ActionError::Crypto`] if the length is more than the KDF gives.
    pub fn exporter(&self, label: &str, context: &[u8], length: usize) -> Result<Secret, ActionError> {
        let keys = self.keys.get(&self.state.head).ok_or(SpeakError::NoKeys)?;
        Ok(keys.epoch.export(label, context, length)?)
    }

    /// Whether an epoch could be deleted for being closed, as far as the epoch itself is concerned (DESIGN 4.4).
    pub(super) fn is_closed(&self, epoch: &HistoryEpoch) -> bool {
        let after = self.options.close_after_ms;
        epoch.settled_since.is_some_and(|since| self.state.reconciled_ms >= since.saturating_add(after))
    }

    /// The group as of now. None if the head's keys are gone, which no step leaves behind.
    pub fn view(&self) -> Option<GroupView> {
        let Keys { epoch, .. } = self.keys.get(&self.state.head)?;
        let standing = match &self.state.place {
            Place::Member if self.state.leaving => Standing::Leaving,
            Place::Member => self.state.behind.map_or(Standing::Member, Standing::Behind),
            Place::Outside { why: Blocked::Removed, .. } => Standing::Removed,
            Place::Outside { why: Blocked::Unusable(reason), .. } => Standing::Outside(reason.clone()),
        };
        Some(GroupView {
            id: self.id.clone(),
            suite: self.suite.name(),
            head: self.state.head.clone(),
            number: epoch.context().epoch,
            tree_hash: epoch.context().tree_hash.clone(),
            epoch_authenticator: epoch.epoch_authenticator().as_slice().into(),
            is_final: self.history.is_final(&self.state.head, &|epoch| self.is_closed(epoch)),
            standing,
            own_leaf: epoch.own_leaf(),
            members: epoch.tree().leaves().map(|(leaf, node)| member(leaf, node)).collect(),
            unhealed: self.debts().iter().collect(),
            pending_proposals: epoch.proposals().len(),
            waiting: self.waiting.len(),
            profile: epoch.profile().cloned(),
            log_messages: self.log.size(),
            log_commits: self.log_marks.commits(),
            split: self.split_view(),
            epochs: self.retained_view(epoch.profile()),
            proofs: self.proof_views(),
            retained: self.keys.len(),
            retained_bytes: self.retained_bytes(),
            punctures: self.keys.values().map(|keys| keys.init.punctured_count()).sum(),
        })
    }

    /// The history as this client knows it.
    pub fn history(&self) -> HistoryView {
        let order = self.history.subtree(self.history.anchor());
        HistoryView {
            anchor: self.history.anchor().clone(),
            head: self.state.head.clone(),
            epochs: order.iter().filter_map(|id| self.epoch_view(id)).collect(),
        }
    }

    fn epoch_view(&self, id: &EpochId) -> Option<EpochView> {
        let epoch = self.history.epoch(id)?;
        let made_by = epoch.parent.as_ref().and_then(|(parent, commit)| {
            self.history.epoch(parent)?.children.get(commit).map(|child| child.summary.clone())
        });
        Some(EpochView {
            id: id.clone(),
            parent: epoch.parent.as_ref().map(|(parent, _)| parent.clone()),
            commit: epoch.parent.as_ref().map(|(_, commit)| commit.clone()),
            number: epoch.number,
            committer: made_by.as_ref().map(|summary| summary.committer.clone()),
            operations: made_by.map(|summary| summary.operations().cloned().collect()).unwrap_or_default(),
            members: epoch.electors.len(),
            on_head: self.history.is_on_path(id, &self.state.head),
            punctures: self.keys.get(id).map_or(0, |keys| keys.init.punctured_count()),
            messages: epoch.messages,
            fork: (!epoch.children.is_empty()).then(|| self.fork_view(epoch)),
        })
    }

    fn fork_view(&self, epoch: &HistoryEpoch) -> ForkView {
        let decision = epoch.decision();
        let children = decision.ranked.iter().map(|ranked| {
            let child = epoch.children.get(&ranked.commit);
            let outcome = child.map(|child| &child.outcome);
            ChildView {
                commit: ranked.commit.clone(),
                epoch: outcome.and_then(|outcome| outcome.as_ref().ok()).cloned(),
                blocked: match outcome {
                    Some(Err(Blocked::Removed)) => Some("The commit removes this client.".into()),
                    Some(Err(Blocked::Unusable(reason))) => Some(reason.clone()),
                    Some(Ok(_)) => None,
                    None => Some("The commit has not come yet.".into()),
                },
                weight: ranked.weight,
            }
        });
        ForkView {
            electors: decision.electors,
            silent: decision.silent,
            void: decision.void.len(),
            children: children.collect(),
            soft_final: decision.soft_final(),
            hard_final: decision.hard_final(),
            closed: self.is_closed(epoch),
        }
    }
}
