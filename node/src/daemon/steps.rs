//! Taking a step: store it with the node's own records in one write, then move memory on, then act.

use dmls_core::group::{Changes, Disposition, Effect, Event, Group, GroupId, Input, Step, StoreError};
use dmls_core::group::{Key, Source, Table};
use dmls_core::schedule::EpochId;
use dmls_gossip::{MessageId, PeerId, Topic, Verdict};

use super::engine::{Engine, now_ms, rng};
use super::present;
use super::topics::topic_of;
use crate::api::views::{EventView, MessageView};
use crate::store::types::MessageRecord;
use crate::store::{Column, Extra};

/// The key in [`Column::Meta`] of the highest sequence number that may have been used.
pub(super) const SEQ_KEY: &[u8] = b"seq";
/// Sequence numbers are reserved by so many.
const SEQ_BLOCK: u64 = 1024;
/// How long ids that are not wanted may wait for the next write.
const FLUSH_MS: u64 = 1_000;

/// The key of a stored message.
pub(super) fn message_key(group: &GroupId, seq: u64) -> Vec<u8> {
    let mut key = Key::of_group(Table::Log, group).bytes;
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// What became of a step.
pub(super) struct Taken {
    /// What became of the message.
    pub(super) disposition: Option<Disposition>,
}

impl Engine {
    /// Takes a step, or leaves everything as it was. Afterwards its effects are under way.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed, nothing was sent, and nobody was told.
    pub(super) fn commit(&mut self, step: Step, extra: Extra) -> Result<Taken, StoreError> {
        self.commit_with(step, extra, None).map(|(taken, _)| taken)
    }

    /// The same for a step that sends `own`: that is stored beside the messages of others. The second result is its
    /// record.
    pub(super) fn commit_with(
        &mut self,
        step: Step,
        mut extra: Extra,
        own: Option<&[u8]>,
    ) -> Result<(Taken, Option<MessageRecord>), StoreError> {
        let id = step.group.id().clone();
        let mut seq = self.next_seq;
        let mut news = Vec::new();
        let mut sent = None;
        let equivocation = |effect: &Effect| matches!(effect, Effect::Event(Event::Equivocation { .. }));
        let guilty = step.effects.iter().any(equivocation);
        for effect in &step.effects {
            match effect {
                Effect::Event(Event::Sent { id: message, epoch, .. }) => {
                    let record = self.own_record(message.0, epoch, own.unwrap_or_default(), seq);
                    extra.put(Column::Messages, &message_key(&id, seq), &record)?;
                    news.push((seq, EventView::Message(present::message(record.clone()))));
                    sent = Some(record);
                    seq += 1;
                }
                Effect::Event(event) => {
                    if let Some(event) = self.news(&id, event, seq, &mut extra)? {
                        news.push((seq, event));
                        seq += 1;
                    }
                }
                Effect::Publish { .. } | Effect::Welcome { .. } | Effect::Request { .. } => {}
            }
        }
        let reserved = self.reserve(seq, &mut extra)?;
        let (disposition, effects) = self.store(step, &extra)?;
        (self.next_seq, self.reserved_seq) = (seq, reserved);
        for (seq, event) in news {
            // An invitation that came before this client knew that it was out can be accepted now.
            if matches!(event, EventView::Removed { .. } | EventView::Outside { .. }) {
                self.accept_waiting = self.parts.config.auto_join;
            }
            self.parts.bus.publish(seq, hex::encode(id.0.as_slice()), event);
        }
        if let Some(group) = self.groups.get(&id) {
            self.parts.topics.set(&id, group.floor());
        }
        self.act(&id, effects);
        if guilty {
            self.prove(&id)?;
        }
        Ok((Taken { disposition }, sent))
    }

    /// Looks for the proof that a member has named two children, so that others can be shown.
    pub(super) fn prove(&mut self, id: &GroupId) -> Result<(), StoreError> {
        let none = Extra::default();
        let proved = self.groups.get(id).map(|group| group.prove(&self.parts.database.step(&none)));
        match proved.transpose()? {
            Some(step) => self.commit(step, none).map(|_| ()),
            None => Ok(()),
        }
    }

    fn store(&mut self, step: Step, extra: &Extra) -> Result<(Option<Disposition>, Vec<Effect>), StoreError> {
        let id = step.group.id().clone();
        let database = self.parts.database.clone();
        let stored = (|| {
            if step.changes.is_empty() && !extra.is_empty() {
                database.apply_with(&Changes::default(), extra)?;
            }
            let mut group = self.groups.get(&id).unwrap_or(&step.group).clone();
            let outcome = step.commit(&mut database.step(extra), &mut group)?;
            Ok((group, outcome))
        })();
        match stored {
            Ok((group, outcome)) => {
                self.groups.insert(id, group);
                Ok(outcome)
            }
            Err(error) => {
                self.note_failure(&error);
                Err(error)
            }
        }
    }

    /// An event for the API; a message becomes a record, stored with the step, so that it is delivered exactly once.
    fn news(
        &self,
        id: &GroupId,
        event: &Event,
        seq: u64,
        extra: &mut Extra,
    ) -> Result<Option<EventView>, StoreError> {
        let Event::Message { id: message, epoch, sender, payload, on_head, unhealed } = event else {
            return Ok(present::event(event));
        };
        let record = MessageRecord {
            seq,
            id: message.0,
            epoch: epoch.0.as_slice().to_vec(),
            sender: sender.credential.display_name(),
            fingerprint: sender.fingerprint,
            own: false,
            on_head: *on_head,
            unhealed: *unhealed,
            at_ms: now_ms(),
            payload: payload.clone(),
        };
        extra.put(Column::Messages, &message_key(id, seq), &record)?;
        Ok(Some(EventView::Message(present::message(record))))
    }

    /// Keeps sequence numbers rising over restarts without a write for each: they are reserved in blocks.
    fn reserve(&self, seq: u64, extra: &mut Extra) -> Result<u64, StoreError> {
        if seq <= self.reserved_seq {
            return Ok(self.reserved_seq);
        }
        let reserved = seq.saturating_add(SEQ_BLOCK);
        extra.put(Column::Meta, SEQ_KEY, &reserved)?;
        Ok(reserved)
    }

    fn own_record(&self, id: [u8; 32], epoch: &EpochId, payload: &[u8], seq: u64) -> MessageRecord {
        MessageRecord {
            seq,
            id,
            epoch: epoch.0.as_slice().to_vec(),
            sender: self.own_name(),
            fingerprint: self.client.fingerprint(),
            own: true,
            on_head: true,
            unhealed: false,
            at_ms: now_ms(),
            payload: payload.to_vec(),
        }
    }

    fn act(&mut self, id: &GroupId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Publish { bytes, .. } => self.parts.outbound.publish(topic_of(id), bytes),
                Effect::Welcome { .. } => self.parts.outbound.welcomes(),
                // Its notice has gone out with the other messages.
                Effect::Event(_) | Effect::Request { .. } => {}
            }
        }
    }

    /// A message that the network brought.
    pub(super) fn on_message(&mut self, topic: Topic, id: MessageId, bytes: &[u8], source: PeerId) {
        if self.failed.is_some() {
            // Without a verdict it is offered again.
            return;
        }
        let group_id = self.parts.topics.group(&topic);
        let group = group_id.as_ref().and_then(|id| self.groups.get(id));
        let (Some(group), Some(group_id)) = (group, group_id.clone()) else {
            self.parts.outbound.report(topic, id, source, Verdict::Ignore);
            return;
        };
        let input = Input::From { source: Source::of(&source.to_bytes()), bytes };
        let step = group.handle(input, now_ms(), &mut rng());
        match self.commit(step, Extra::default()) {
            Ok(taken) => {
                let verdict = self.judge(&group_id, &id, taken.disposition.as_ref());
                self.parts.outbound.report(topic, id, source, verdict);
            }
            Err(error) => tracing::error!("a message was not taken: {error}"),
        }
    }

    /// What peers are told of a message. Only what is stored is passed on: peers will ask this node for it. What can
    /// never be of use is not fetched again.
    pub(super) fn judge(
        &mut self,
        group: &GroupId,
        id: &MessageId,
        disposition: Option<&Disposition>,
    ) -> Verdict {
        let stored = |group: &Group| group.has_message(&dmls_core::group::MessageId(id.0));
        if self.groups.get(group).is_some_and(stored) {
            return Verdict::Accept;
        }
        let verdict = match disposition {
            Some(Disposition::Rejected { rule }) => {
                tracing::debug!("a message was rejected: {rule}");
                Verdict::Reject
            }
            // The duplicate is another encryption of what is here; so the id is not in the log.
            Some(Disposition::Expired { .. } | Disposition::Duplicate) => Verdict::Ignore,
            // There was no room for it to wait, or it has been dropped since: it may be of use later.
            Some(Disposition::Applied | Disposition::Pending { .. } | Disposition::Quarantined) | None => {
                return Verdict::Ignore;
            }
        };
        if self.parts.unwanted.add(group, id.0) && self.flush_at.is_none() {
            self.flush_at = Some(now_ms().saturating_add(FLUSH_MS));
        }
        verdict
    }

    /// Stores what is not to be fetched again.
    pub(super) fn flush_unwanted(&mut self) {
        self.flush_at = None;
        if self.failed.is_some() {
            self.flush_at = Some(now_ms().saturating_add(FLUSH_MS));
            return;
        }
        let mut extra = Extra::default();
        let stored = self.parts.unwanted.collect(&mut extra).and_then(|()| self.record(extra, "", None));
        match stored {
            Ok(()) => self.parts.unwanted.stored(),
            Err(error) => {
                tracing::error!("what is not wanted could not be stored: {error}");
                self.flush_at = Some(now_ms().saturating_add(FLUSH_MS));
            }
        }
    }

    /// A reconciliation that found nothing missing.
    pub(super) fn on_reconciled(&mut self, topic: Topic) {
        let Some(id) = self.parts.topics.group(&topic).filter(|_| self.failed.is_none()) else { return };
        let Some(group) = self.groups.get(&id) else { return };
        let now = now_ms();
        let step = group.handle(Input::Reconciled, now, &mut rng());
        match self.commit(step, Extra::default()) {
            Ok(_) => {
                self.reconciled.insert(id, now);
            }
            Err(error) => tracing::error!("a step was not taken: {error}"),
        }
    }

    /// Who this client says it is.
    pub(super) fn own_name(&self) -> String {
        crate::store::types::clean_name(&String::from_utf8_lossy(self.client.identity()))
    }

    /// Stores records of the node that belong to no step, then tells the API why.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub(super) fn record(
        &mut self,
        mut extra: Extra,
        group: &str,
        event: Option<EventView>,
    ) -> Result<(), StoreError> {
        let seq = self.next_seq;
        let reserved = self.reserve(seq + 1, &mut extra)?;
        let stored = match extra.is_empty() {
            true => Ok(()),
            false => self.parts.database.apply_with(&Changes::default(), &extra),
        };
        if let Err(error) = stored {
            self.note_failure(&error);
            return Err(error);
        }
        self.reserved_seq = reserved;
        if let Some(event) = event {
            self.next_seq += 1;
            self.parts.bus.publish(seq, group.to_owned(), event);
        }
        Ok(())
    }

    /// Marks messages of branches that have lost since they came.
    pub(super) fn mark_branches(&self, id: &GroupId, messages: &mut [MessageView]) {
        let Some(group) = self.groups.get(id) else { return };
        let epochs = group.history().epochs.into_iter();
        let on_head: std::collections::HashMap<String, bool> =
            epochs.map(|epoch| (hex::encode(epoch.id.0.as_slice()), epoch.on_head)).collect();
        for message in messages {
            if let Some(on_head) = on_head.get(&message.epoch) {
                message.on_head = *on_head;
            }
        }
    }
}
