//! Every message gets an end (DESIGN 4.7): decoding, routing, application messages.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Keys;
use super::options::{limits, windows};
use super::records::Value;
use super::step::{Disposition, Event, Missing};
use super::store::{Key, MessageId, Table};
use super::transaction::Transaction;
use super::waiting::{Reason, Waiting};
use crate::codec::{Bytes, decode};
use crate::epoch::{OpenError, Opened};
use crate::framing::{Content, ContentType, DmlsApplication, DmlsMessage, MlsMessageBody, ProposalRef};
use crate::schedule::{EpochId, RatchetError};

/// What became of a message, before it is stored accordingly.
pub(super) enum Outcome {
    /// It took effect: keep it in the log.
    Applied,
    /// What it says is known from another copy: keep nothing.
    Duplicate,
    /// It waits.
    Wait(Reason),
    /// It breaks a rule.
    Rejected(String),
    /// It is too old.
    Expired,
}

impl Outcome {
    pub(super) fn rejected(rule: impl ToString) -> Self {
        Self::Rejected(rule.to_string())
    }
}

impl Transaction<'_> {
    /// Takes a message from outside.
    pub(super) fn message(&mut self, bytes: &[u8]) -> Disposition {
        let id = MessageId(Sha256::digest(bytes).into());
        if self.group.log.contains_key(&id) {
            return Disposition::Duplicate;
        }
        if let Some(waiting) = self.group.waiting.get(&id) {
            return disposition(&waiting.reason);
        }
        self.take(id, bytes)
    }

    /// Processes a message and keeps it as its outcome says.
    pub(super) fn take(&mut self, id: MessageId, bytes: &[u8]) -> Disposition {
        let message = match self.decode(bytes) {
            Ok(message) => message,
            Err(rule) => return Disposition::Rejected { rule },
        };
        let order = message.message.group_and_epoch().map(|(_, number)| number).unwrap_or_default();
        match self.route(&message, order) {
            Outcome::Applied => {
                self.log(id, order, bytes);
                self.retry_waiting();
                Disposition::Applied
            }
            Outcome::Duplicate => Disposition::Duplicate,
            Outcome::Rejected(rule) => Disposition::Rejected { rule },
            Outcome::Expired => Disposition::Expired,
            Outcome::Wait(reason) => {
                let answer = disposition(&reason);
                self.keep_waiting(id, Waiting { bytes: bytes.into(), reason, since_ms: self.now() });
                answer
            }
        }
    }

    /// Strict decoding, and what can be judged without any key.
    fn decode(&self, bytes: &[u8]) -> Result<DmlsMessage, String> {
        if bytes.len() > self.max_message_bytes() {
            return Err("The message is larger than any valid message of this group.".into());
        }
        let message: DmlsMessage = decode(bytes).map_err(|error| error.to_string())?;
        let Some((group_id, _)) = message.message.group_and_epoch() else {
            return Err("The message is neither a private nor a public message.".into());
        };
        if *group_id != self.group.id.0 {
            return Err("The message is of another group.".into());
        }
        if !matches!(message.message.body, MlsMessageBody::Private(_)) {
            return Err("A DMLS group takes private messages only.".into());
        }
        Ok(message)
    }

    /// A commit is at most 64 KiB + n·(256 B + KEM ciphertext) + its Adds; a payload has its own bound.
    fn max_message_bytes(&self) -> usize {
        let members = self.group.history.epochs().map(|(_, epoch)| epoch.width as usize).max().unwrap_or(1);
        let per_member = limits::PATH_BYTES_PER_MEMBER + self.group.suite.hpke().kem_output_len();
        let path = members.saturating_mul(per_member);
        limits::HANDSHAKE_BYTES + path + (limits::ADDS * limits::KEY_PACKAGE_BYTES).max(limits::PAYLOAD_BYTES)
    }

    /// Finds the epoch. The header is a hint: whatever it says wrongly fails to open.
    fn route(&mut self, message: &DmlsMessage, order: u64) -> Outcome {
        let epoch = EpochId(message.dmls_epoch.clone());
        let Some(record) = self.group.history.epoch(&epoch) else {
            let anchor = self.group.history.epoch(self.group.history.anchor());
            return match anchor {
                // Deleted, from before joining, or beside the anchor on a branch that is gone.
                Some(anchor) if order <= anchor.number => Outcome::Expired,
                _ => Outcome::Wait(Reason::Missing(Missing::Epoch(epoch))),
            };
        };
        if record.number != order {
            return Outcome::rejected("The message names an epoch id and an epoch number that differ.");
        }
        let Some(keys) = self.group.keys.get(&epoch).cloned() else { return Outcome::Expired };
        let MlsMessageBody::Private(private) = &message.message.body else {
            return Outcome::rejected("A DMLS group takes private messages only.");
        };
        let handshake = private.content_type != ContentType::Application;
        if handshake && private.ciphertext.len() > self.max_message_bytes() {
            return Outcome::rejected("The handshake message is too large.");
        }
        match keys.epoch.open(&message.message, windows()) {
            Ok(opened) if handshake => self.handshake(&epoch, &keys, opened),
            Ok(opened) => self.application(&epoch, &keys, message, opened),
            Err(OpenError::Ratchet(RatchetError::TooFarAhead { generation, .. })) if !handshake => {
                match private.open_sender_data(keys.epoch.suite(), &keys.epoch.secrets().sender_data_secret) {
                    Ok(sender) => {
                        let sender = sender.leaf_index;
                        Outcome::Wait(Reason::Missing(Missing::Generation { sender, generation }))
                    }
                    Err(error) => Outcome::rejected(error),
                }
            }
            Err(OpenError::Ratchet(RatchetError::TooOld(_) | RatchetError::Deleted)) => Outcome::Expired,
            Err(error) => Outcome::rejected(error),
        }
    }

    /// Delivers an application message, once.
    fn application(
        &mut self,
        epoch: &EpochId,
        keys: &Keys,
        message: &DmlsMessage,
        opened: Opened,
    ) -> Outcome {
        let (Some(leaf), Some(key)) = (opened.content.member(), opened.key) else {
            return Outcome::rejected("An application message comes from a member.");
        };
        let Content::Application(data) = &opened.content.content.content else {
            return Outcome::rejected("The message's content is of another type than it says.");
        };
        let application: DmlsApplication = match decode(data.as_slice()) {
            Ok(application) => application,
            Err(error) => return Outcome::rejected(error),
        };
        // The signature does not cover the key's generation: an insider may have encrypted an old message again.
        if application.generation != key.generation {
            return Outcome::rejected(
                "The message was encrypted at another generation than it was signed for.",
            );
        }
        if application.payload.len() > limits::PAYLOAD_BYTES {
            return Outcome::rejected("The payload is larger than a payload may be.");
        }
        let next = match keys.epoch.consume(key, windows()) {
            Ok(next) => next,
            Err(error) => return Outcome::rejected(error),
        };
        let Some(sender) = self.member_of(epoch, leaf) else {
            return Outcome::rejected("The sender is not a member of the epoch.");
        };
        self.group.keys.insert(epoch.clone(), Keys { epoch: Arc::new(next), init: Arc::clone(&keys.init) });
        self.evidence |= self.group.history.record_spoken(epoch, leaf).unwrap_or(false);
        if let Some(record) = self.group.history.epoch_mut(epoch) {
            record.messages += 1;
        }
        let id = crate::codec::encode(message).map(|bytes| MessageId(Sha256::digest(&bytes).into()));
        let Ok(id) = id else { return Outcome::rejected("The message cannot be encoded again.") };
        let on_head = self.group.history.is_on_path(epoch, &self.group.state.head);
        let payload = application.payload.as_slice().to_vec();
        self.event(Event::Message { id, epoch: epoch.clone(), sender, payload, on_head });
        Outcome::Applied
    }

    /// Stores a message that waits; whoever it pushes out can be fetched again.
    fn keep_waiting(&mut self, id: MessageId, waiting: Waiting) {
        let key = |id: &MessageId, group| Key::named(Table::Waiting, group, &id.0);
        self.changes.put(key(&id, &self.group.id), Value::Waiting(waiting.clone()));
        for evicted in self.group.waiting.insert(id, waiting) {
            self.changes.delete(key(&evicted, &self.group.id));
        }
    }

    /// Takes a message out of the waiting room.
    pub(super) fn stop_waiting(&mut self, id: &MessageId) -> Option<Bytes> {
        let waiting = self.group.waiting.remove(id)?;
        self.changes.delete(Key::named(Table::Waiting, &self.group.id, &id.0));
        Some(waiting.bytes)
    }

    /// Takes up what waited for something that is here now, until nothing moves any more.
    fn retry_waiting(&mut self) {
        let ready = |group: &super::Group, missing: &Missing| match missing {
            Missing::Epoch(epoch) => group.history.epoch(epoch).is_some(),
            Missing::Proposal(reference) => group
                .keys
                .values()
                .any(|keys| keys.epoch.proposals().contains_key(&ProposalRef(reference.clone()))),
            Missing::Generation { .. } => false,
        };
        let group = &self.group;
        let next = group.waiting.waiting_for(|missing| ready(group, missing)).into_iter().next();
        if let Some(id) = next
            && let Some(bytes) = self.stop_waiting(&id)
        {
            // A message that is applied takes up the next one; one that is not must not stop the others.
            self.take(id, bytes.as_slice());
            self.retry_waiting();
        }
    }
}

/// What is said of a message that waits.
fn disposition(reason: &Reason) -> Disposition {
    match reason {
        Reason::Missing(missing) => Disposition::Pending { missing: missing.clone() },
        Reason::Quarantined { .. } => Disposition::Quarantined,
    }
}
