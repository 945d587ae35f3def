//! Every message gets an end (DESIGN 4.7): decoding, routing, application messages.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Keys;
use super::gone::Unreadable;
use super::options::{limits, windows};
use super::retry::disposition;
use super::step::{Disposition, Event, Missing};
use super::store::MessageId;
use super::transaction::Transaction;
use super::waiting::{Reason, Source, Waiting};
use crate::codec::decode;
use crate::epoch::{OpenError, Opened};
use crate::framing::{
    ApplicationData, Content, ContentType, DmlsMessage, MlsMessageBody, Proposal, ProposalOrRef,
};
use crate::schedule::{EpochId, RatchetError, Windows};

const TOO_LARGE: &str = "The message is larger than its contents may be.";

/// When a message came, and from whom.
pub(super) struct Arrival {
    pub(super) since_ms: u64,
    pub(super) source: Option<Source>,
}

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
    /// It cannot be read by this client.
    Expired(Unreadable),
}

impl Outcome {
    pub(super) fn rejected(rule: impl ToString) -> Self {
        Self::Rejected(rule.to_string())
    }
}

impl Transaction<'_> {
    /// Takes a message from outside.
    pub(super) fn message(&mut self, bytes: &[u8], source: Option<Source>) -> Disposition {
        let id = MessageId(Sha256::digest(bytes).into());
        if self.group.log.contains_key(&id) {
            return Disposition::Duplicate;
        }
        if let Some(waiting) = self.group.waiting.get(&id) {
            return disposition(&waiting.reason);
        }
        let disposition = self.take(id, bytes, &Arrival { since_ms: self.now(), source });
        self.retry_waiting();
        disposition
    }

    /// Processes a message, and keeps it as its outcome says.
    pub(super) fn take(&mut self, id: MessageId, bytes: &[u8], arrival: &Arrival) -> Disposition {
        let message = match self.decode(bytes) {
            Ok(message) => message,
            Err(rule) => return Disposition::Rejected { rule },
        };
        let order = message.message.group_and_epoch().map(|(_, number)| number).unwrap_or_default();
        match self.route(&message, order) {
            Outcome::Applied => {
                // A Welcome in it may have replaced the whole group: then the message is of none of its epochs.
                if order >= self.group.state.floor {
                    self.log(id, order, bytes);
                }
                self.news = true;
                Disposition::Applied
            }
            Outcome::Duplicate => Disposition::Duplicate,
            Outcome::Rejected(rule) => Disposition::Rejected { rule },
            Outcome::Expired(reason) => Disposition::Expired { reason },
            Outcome::Wait(reason) => {
                let answer = disposition(&reason);
                let Arrival { since_ms, source } = *arrival;
                self.keep_waiting(id, Waiting { bytes: bytes.into(), reason, since_ms, source });
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

    /// The same for the contents of one type, before it is decrypted.
    fn max_ciphertext(&self, content_type: ContentType) -> usize {
        match content_type {
            ContentType::Application => limits::HANDSHAKE_BYTES + limits::PAYLOAD_BYTES,
            ContentType::Proposal => limits::HANDSHAKE_BYTES,
            ContentType::Commit => self.max_message_bytes(),
        }
    }

    /// And when it is known what it says: a commit is as large as its path and its Adds allow.
    fn max_opened(&self, keys: &Keys, opened: &Opened) -> usize {
        let Content::Commit(commit) = &opened.content.content.content else { return usize::MAX };
        let is_add =
            |proposal: &&ProposalOrRef| matches!(proposal, ProposalOrRef::Proposal(Proposal::Add(_)));
        let adds = commit.proposals.iter().filter(is_add).count();
        let per_member = limits::PATH_BYTES_PER_MEMBER + self.group.suite.hpke().kem_output_len();
        let path = (keys.epoch.tree().width() as usize).saturating_mul(per_member);
        limits::HANDSHAKE_BYTES + path + adds.saturating_mul(limits::KEY_PACKAGE_BYTES)
    }

    /// The windows of application keys as of now.
    pub(super) fn windows(&self) -> Windows {
        windows(self.retrying || self.now() >= self.group.state.reconciled_until)
    }

    /// Finds the epoch. The header is a hint: whatever it says wrongly fails to open.
    fn route(&mut self, message: &DmlsMessage, order: u64) -> Outcome {
        let epoch = EpochId(message.dmls_epoch.clone());
        let Some(record) = self.group.history.epoch(&epoch) else {
            return self.unknown_epoch(epoch, order);
        };
        if record.number != order {
            return Outcome::rejected("The message names an epoch id and an epoch number that differ.");
        }
        let Some(keys) = self.group.keys.get(&epoch).cloned() else {
            return Outcome::Expired(Unreadable::Retention);
        };
        let MlsMessageBody::Private(private) = &message.message.body else {
            return Outcome::rejected("A DMLS group takes private messages only.");
        };
        let handshake = private.content_type != ContentType::Application;
        let size = private.ciphertext.len() + private.authenticated_data.len();
        if size > self.max_ciphertext(private.content_type) {
            return Outcome::rejected(TOO_LARGE);
        }
        match keys.epoch.open(&message.message, self.windows()) {
            Ok(opened) if size > self.max_opened(&keys, &opened) => Outcome::rejected(TOO_LARGE),
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
            Err(OpenError::Ratchet(RatchetError::TooOld(_))) => Outcome::Expired(Unreadable::Key),
            Err(OpenError::Ratchet(RatchetError::Deleted)) => Outcome::Expired(Unreadable::MovedOn),
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
        let ApplicationData { application, notice } = match decode(data.as_slice()) {
            Ok(data) => data,
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
        let next = match keys.epoch.consume(key, self.windows()) {
            Ok(next) => next,
            Err(error) => return Outcome::rejected(error),
        };
        let Some(sender) = self.member_of(epoch, leaf) else {
            return Outcome::rejected("The sender is not a member of the epoch.");
        };
        self.group.keys.insert(epoch.clone(), Keys { epoch: Arc::new(next), init: Arc::clone(&keys.init) });
        self.evidence |= self.group.history.record_spoken(epoch, leaf).unwrap_or(false);
        self.note_heard(epoch, leaf);
        if let Some(notice) = notice {
            self.notice(epoch, &sender, notice);
            return Outcome::Applied;
        }
        if let Some(record) = self.group.history.epoch_mut(epoch) {
            record.messages += 1;
        }
        let id = crate::codec::encode(message).map(|bytes| MessageId(Sha256::digest(&bytes).into()));
        let Ok(id) = id else { return Outcome::rejected("The message cannot be encoded again.") };
        let on_head = self.group.history.is_on_path(epoch, &self.group.state.head);
        let payload = application.payload.as_slice().to_vec();
        let unhealed = self.group.is_unhealed(&sender);
        self.event(Event::Message { id, epoch: epoch.clone(), sender, payload, on_head, unhealed });
        Outcome::Applied
    }
}
