//! Commits of this client: on the head, with everything that waits there (DESIGN 4.3, 4.6).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Group;
use super::Keys;
use super::act::ActionError;
use super::authority::{Authority, is_authorised};
use super::handshake::{NewChild, removed_by};
use super::merge::Plan;
use super::options::limits;
use super::receive::Outcome;
use super::records::Value;
use super::rejoin::has_rejoin;
use super::step::Effect;
use super::store::{Key, Table};
use super::transaction::Transaction;
use crate::codec::Bytes;
use crate::epoch::{CommitRequest, CreatedCommit, InitSource, NoPsks};
use crate::framing::{DmlsJoin, DmlsMeta, MlsMessage, Proposal, ProposalRef, Sender};
use crate::schedule::{CommitId, EpochId, GroupContext, InitPprf, child_init_input};
use crate::suite::Secret;
use crate::tree::LeafIndex;

/// What a commit is to do, beside what others have proposed.
#[derive(Default)]
pub(super) struct Intent {
    /// Proposals by value.
    pub(super) proposals: Vec<Proposal>,
    /// What it carries over from other branches.
    pub(super) merge: Option<Plan>,
}

/// Proposals of the head that a commit takes.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) references: Vec<ProposalRef>,
    /// Whom it removes.
    pub(super) removed: BTreeSet<LeafIndex>,
    /// Whose keys it updates.
    pub(super) updated: BTreeSet<LeafIndex>,
}

impl Transaction<'_> {
    /// Whether this client may commit once more: it does not pile up commits that nobody confirms (DESIGN 4.7). A
    /// merge or a rejoin waits a minute at most.
    fn be_patient(&self, head: &EpochId, merges: bool) -> Result<(), ActionError> {
        let Group { history, keys, options, state, .. } = &self.group;
        let newest_final = history.newest_final(head, &|epoch| self.group.is_closed(epoch));
        let own = |at: &EpochId, commit: &CommitId| {
            let committer =
                history.epoch(at).and_then(|epoch| epoch.children.get(commit)).map(|c| c.committer);
            committer.is_some() && committer == keys.get(at).map(|keys| keys.epoch.own_leaf())
        };
        // From the head up to what is final.
        let open = history
            .ancestors(head)
            .zip(std::iter::once(head).chain(history.ancestors(head).map(|(at, _)| at)));
        let open = open.take_while(|(_, below)| Some(*below) != newest_final);
        let commits = open.filter(|((at, commit), _)| own(at, commit)).count();
        let commits = u32::try_from(commits).unwrap_or(u32::MAX);
        let Some(excess) = commits.checked_sub(options.own_commits) else { return Ok(()) };
        let most = if merges { options.merge_max_wait_ms } else { options.own_commit_max_wait_ms };
        let wait = options.own_commit_wait_ms.saturating_mul(1 << excess.min(32)).min(most);
        let left = state.committed_at.saturating_add(wait).saturating_sub(state.now_ms);
        if left == 0 { Ok(()) } else { Err(ActionError::TooEager { commits, wait_s: left.div_ceil(1000) }) }
    }

    /// Commits these proposals, and those that wait in the head, with a new path: the child is made and the parent
    /// punctured before the first byte leaves (DESIGN 4.3).
    pub(super) fn commit_on_head(&mut self, intent: Intent) -> Result<(), ActionError> {
        let head = self.member_head()?;
        if self.group.history.epoch(&head).is_none_or(|record| record.own.named.is_some()) {
            return Err(ActionError::AlreadyCommitted);
        }
        let rejoins = has_rejoin(self.keys_of(&head)?.epoch.public(), &intent.proposals);
        self.be_patient(&head, rejoins || intent.merge.is_some())?;
        let meta = self.meta(&head).map_err(ActionError::Speak)?;
        let keys = self.keys_of(&head)?;
        let Intent { mut proposals, merge } = intent;
        proposals.extend(merge.iter().flat_map(Plan::proposals));
        let waiting = self.committable(&keys, &proposals);
        let (created, init) = match self.create(&head, &keys, &meta, &proposals, &waiting, merge.as_ref()) {
            // Somebody's Update does not fit the tree: it must not hold up the others.
            Err(_) if !waiting.updated.is_empty() => {
                let waiting = self.group.without_unfit_updates(&keys, &proposals, &waiting);
                self.create(&head, &keys, &meta, &proposals, &waiting, merge.as_ref())?
            }
            created => created?,
        };
        self.take_own(&head, created, init, merge)
    }

    /// Makes a commit. Changes nothing.
    fn create(
        &mut self,
        head: &EpochId,
        keys: &Keys,
        meta: &DmlsMeta,
        proposals: &[Proposal],
        waiting: &Waiting,
        merge: Option<&Plan>,
    ) -> Result<(CreatedCommit, InitPprf), ActionError> {
        let suite = self.group.suite;
        let puncturing = self.group.options.puncturing;
        let mut init = keys.init.as_ref().clone();
        let mut evaluate = |conf: &Secret, context: &GroupContext| {
            let x = child_init_input(suite, conf, context)?;
            if puncturing { init.evaluate_and_puncture(&x) } else { init.evaluate(&x) }
        };
        let mut request = CommitRequest::new(&NoPsks, &Authority);
        request.proposals = proposals.to_vec();
        request.references = waiting.references.clone();
        let healed = self.healed_by(waiting);
        let merge = merge.map(|plan| plan.record(suite, healed)).transpose()?;
        let adds = proposals.iter().any(|proposal| matches!(proposal, Proposal::Add(_)));
        let merged_tips = if adds { self.group.merged_tips(head, merge.as_ref()) } else { Vec::new() };
        request.meta = Some(DmlsMeta { merge, ..meta.clone() });
        request.sending = self.sending();
        request.group_info.join =
            Some(DmlsJoin { parent: head.0.clone(), merged_tips, added_in: Bytes::default() });
        let created = keys.epoch.create_commit(&request, InitSource::Dmls(&mut evaluate), self.rng)?;
        Ok((created, init))
    }

    /// Stores and publishes a commit that was made.
    fn take_own(
        &mut self,
        head: &EpochId,
        created: CreatedCommit,
        init: InitPprf,
        merge: Option<Plan>,
    ) -> Result<(), ActionError> {
        let own = created.parent.own_leaf();
        let dmls = created.dmls.ok_or(ActionError::NotAMember)?;
        let child = Keys { epoch: Arc::new(created.child), init: Arc::new(dmls.parent_init) };
        let parent_keys = Keys { epoch: Arc::new(created.parent), init: Arc::new(init) };
        self.group.state.committed_at = self.now();
        let asked_in = self.use_offers(&created.commit.added);
        let added: Vec<Bytes> = created.commit.added.iter().map(|added| added.reference.clone()).collect();
        let new = NewChild {
            parent: head.clone(),
            parent_keys,
            commit: created.commit,
            child: Ok((dmls.dmls_epoch, child)),
        };
        if let Outcome::Rejected(rule) = self.add_child(new, Some(())) {
            return Err(ActionError::Record(rule));
        }
        // What is published is stored with the child that it leads to.
        self.publish(head, created.message)?;
        self.mark_handshake(head);
        self.evidence |= self.group.history.record_spoken(head, own).unwrap_or(false);
        if let Some(welcome) = created.welcome {
            let welcome = MlsMessage::from(welcome).to_bytes()?;
            if let Some(plan) = merge {
                self.welcome_from_branches(&plan, &welcome, &asked_in);
            }
            self.send_welcome(&asked_in, &welcome);
            self.deliver(&added, welcome);
        }
        Ok(())
    }

    /// The proposals of the head that this client may commit beside `proposals`: removals of others, and others' new
    /// keys.
    pub(super) fn committable(&self, keys: &Keys, proposals: &[Proposal]) -> Waiting {
        let own = keys.epoch.own_leaf();
        let mut taken = removed_by(proposals.iter());
        let mut waiting = Waiting::default();
        for (reference, sent) in keys.epoch.proposals() {
            if let Proposal::Remove(remove) = &sent.proposal
                && remove.removed != own
                && is_authorised(keys.epoch.public(), sent)
                && keys.epoch.leaf(remove.removed).is_some()
                && taken.insert(remove.removed)
            {
                waiting.references.push(reference.clone());
                waiting.removed.insert(remove.removed);
            }
        }
        for (reference, sent) in keys.epoch.proposals() {
            if let (Proposal::Update(_), Sender::Member(leaf)) = (&sent.proposal, sent.sender)
                && leaf != own
                && waiting.references.len() < limits::REFERENCES
                && taken.insert(leaf)
            {
                waiting.references.push(reference.clone());
                waiting.updated.insert(leaf);
            }
        }
        waiting
    }

    /// Stores a Welcome for everybody who was added, until each has it.
    fn deliver(&mut self, key_packages: &[Bytes], bytes: Vec<u8>) {
        for key_package in key_packages {
            let key = Key::named(Table::Welcomes, &self.group.id, key_package.as_slice());
            self.changes.put(key, Value::Welcome(bytes.clone().into()));
            self.group.welcomes.insert(key_package.clone());
            self.effects.push(Effect::Welcome { key_package: key_package.clone(), bytes: bytes.clone() });
        }
    }
}
