//! What this client says about forks: votes and acknowledgements, and what every handshake message of it must tell
//! (DESIGN 4.3, 4.4).

use std::sync::Arc;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Keys;
use super::step::Effect;
use super::store::MessageId;
use super::transaction::Transaction;
use crate::codec::{Bytes, CodecError};
use crate::epoch::{SealError, Sending};
use crate::framing::{Content, DmlsMessage, DmlsMeta, Heads, MAX_HEADS, MlsMessage, Proposal, TruncatedId};
use crate::history::{History, HistoryError};
use crate::schedule::{CommitId, EpochId};

/// Why this client could not send a message. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpeakError {
    /// The epoch's keys are not stored any more.
    #[error("The keys of the epoch are not stored any more.")]
    NoKeys,
    /// The message could not be protected.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The message could not be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The message could not be recorded.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// `since`: the newest ancestor of `epoch` at which this client has named another child than the one that leads
/// there.
pub(super) fn since(history: &History, epoch: &EpochId) -> Option<EpochId> {
    let named_other = |above: &EpochId, commit: &CommitId| {
        history.epoch(above).and_then(|above| above.own.named.as_ref()).is_some_and(|named| named != commit)
    };
    history
        .ancestors(epoch)
        .find(|(above, commit)| named_other(above, commit))
        .map(|(above, _)| above.clone())
        .or_else(|| history.epoch(history.anchor())?.own.since.clone())
}

/// The other tips that this client knows, for [`DmlsMeta::heads`].
pub(super) fn other_tips(history: &History, epoch: &EpochId) -> Heads {
    let is_tip = |id: &EpochId| history.subtree(id).len() == 1;
    let tips =
        history.epochs().filter(|(id, _)| *id != epoch && is_tip(id) && !history.is_on_path(id, epoch));
    Heads(tips.filter_map(|(id, _)| TruncatedId::of(id.as_slice())).take(MAX_HEADS).collect())
}

impl Transaction<'_> {
    /// What every handshake message of this client in `epoch` says, commits included. Votes that must come before it
    /// are cast: whoever leaves a branch on which it has spoken says so in the fork point first, or it would name
    /// two children there.
    pub(super) fn meta(&mut self, epoch: &EpochId) -> Result<DmlsMeta, SpeakError> {
        let above: Vec<_> =
            self.group.history.ancestors(epoch).map(|(a, c)| (a.clone(), c.clone())).collect();
        for (at, commit) in above.iter().rev() {
            let own = self.group.history.epoch(at).map(|epoch| &epoch.own);
            let undeclared = own.filter(|own| own.named.is_none()).and_then(|own| own.first_sent.clone());
            if let Some(first) = undeclared.filter(|first| first != commit) {
                self.vote(at, first)?;
            }
        }
        let since = since(&self.group.history, epoch).map(|id| id.0).unwrap_or_default();
        let heads = other_tips(&self.group.history, epoch);
        Ok(DmlsMeta { vote: None, since, conf: None, heads, merge: None })
    }

    /// Remembers that this client has sent something in `epoch`: below these children.
    pub(super) fn mark_sent(&mut self, epoch: &EpochId) {
        let history = &self.group.history;
        let unmarked = |at: &EpochId| history.epoch(at).is_some_and(|epoch| epoch.own.first_sent.is_none());
        let above = history.ancestors(epoch).filter(|(at, _)| unmarked(at));
        for (at, commit) in above.map(|(at, commit)| (at.clone(), commit.clone())).collect::<Vec<_>>() {
            if let Some(record) = self.group.history.epoch_mut(&at) {
                record.own.first_sent = Some(commit);
            }
        }
    }

    /// Votes in `at` for a child, once and for ever.
    pub(super) fn vote(&mut self, at: &EpochId, commit: CommitId) -> Result<(), SpeakError> {
        self.group.state.votes_due.remove(at);
        let mut meta = self.meta(at)?;
        meta.vote = Some(commit.0.clone());
        meta.heads = Heads::default();
        self.say(at, meta)?;
        if let Some(record) = self.group.history.epoch_mut(at) {
            record.own.named = Some(commit);
        }
        Ok(())
    }

    /// Acknowledges the head, and with it everything above.
    pub(super) fn acknowledge(&mut self) -> Result<(), SpeakError> {
        let head = self.group.state.head.clone();
        self.group.state.ack_due = None;
        let meta = self.meta(&head)?;
        self.say(&head, meta)
    }

    /// Sends a standalone `DmlsMeta` in `epoch` and counts it as evidence like anybody's.
    fn say(&mut self, epoch: &EpochId, meta: DmlsMeta) -> Result<(), SpeakError> {
        let since = (!meta.since.is_empty()).then(|| EpochId(meta.since.clone()));
        let vote = meta.vote.clone().map(CommitId);
        let leaf = self.keys_of(epoch)?.epoch.own_leaf();
        self.seal(epoch, Content::Proposal(Proposal::DmlsMeta(meta)))?;
        let history = &mut self.group.history;
        let news = match vote {
            Some(commit) => history.record_vote(epoch, leaf, &commit, since.as_ref())?,
            None => history.record_handshake(epoch, leaf, since.as_ref())?,
        };
        self.evidence |= news;
        self.mark_handshake(epoch);
        Ok(())
    }

    /// Remembers that this client has sent a handshake message in `epoch`: its acknowledgement.
    pub(super) fn mark_handshake(&mut self, epoch: &EpochId) {
        self.mark_sent(epoch);
        if let Some(record) = self.group.history.epoch_mut(epoch) {
            record.own.acknowledged = true;
        }
        if self.group.state.head == *epoch {
            self.group.state.ack_due = None;
        }
    }

    /// The keys of an epoch.
    pub(super) fn keys_of(&self, epoch: &EpochId) -> Result<Keys, SpeakError> {
        self.group.keys.get(epoch).cloned().ok_or(SpeakError::NoKeys)
    }

    /// How this client sends: always private, padded as the options say.
    pub(super) fn sending(&self) -> Sending {
        Sending { public: false, padding: self.group.options.padding, authenticated_data: Bytes::default() }
    }

    /// Protects a message in an epoch, keeps the advanced keys, and publishes it.
    pub(super) fn seal(&mut self, epoch: &EpochId, content: Content) -> Result<MessageId, SpeakError> {
        let keys = self.keys_of(epoch)?;
        let sealed = keys.epoch.seal(content, &self.sending(), self.rng)?;
        self.group.keys.insert(epoch.clone(), Keys { epoch: Arc::new(sealed.epoch), init: keys.init });
        self.publish(epoch, sealed.message)
    }

    /// Keeps a message of this client in the log and hands it to the network.
    pub(super) fn publish(&mut self, epoch: &EpochId, message: MlsMessage) -> Result<MessageId, SpeakError> {
        let order = message.group_and_epoch().map(|(_, number)| number).unwrap_or_default();
        let message = DmlsMessage { message, dmls_epoch: epoch.0.clone() };
        let bytes = crate::codec::encode(&message)?;
        let id = MessageId(Sha256::digest(&bytes).into());
        self.log(id, order, &bytes);
        self.effects.push(Effect::Publish { id, order, bytes });
        Ok(id)
    }
}
