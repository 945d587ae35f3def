//! Notices: application messages by which clients, not their users, talk (DESIGN 4.6). One takes its sender's next
//! application key, counts as having spoken, and is kept in the log, like any message; no user sees it.

use super::speak::{SpeakError, other_tips};
use super::store::MessageId;
use super::transaction::Transaction;
use crate::codec::encode;
use crate::framing::{ApplicationData, Content, DmlsNotice};
use crate::history::Member;
use crate::schedule::{CommitId, EpochId, RatchetType};

impl Transaction<'_> {
    /// Sends a notice in any epoch whose keys are here. Where its user stands this client does not say by it: no vote
    /// follows from a notice.
    pub(super) fn send_notice(
        &mut self,
        epoch: &EpochId,
        notice: DmlsNotice,
    ) -> Result<MessageId, SpeakError> {
        let keys = self.keys_of(epoch)?;
        let generation = keys.epoch.next_generation(RatchetType::Application).ok_or(SpeakError::NoKeys)?;
        let data = ApplicationData::notice(generation, other_tips(&self.group.history, epoch), notice);
        let id = self.seal(epoch, Content::Application(encode(&data)?.into()))?;
        self.evidence |= self.group.history.record_spoken(epoch, keys.epoch.own_leaf()).unwrap_or(false);
        Ok(id)
    }

    /// Takes an authentic notice. What is wrong inside it is the sender's business: it is ignored.
    pub(super) fn notice(&mut self, epoch: &EpochId, sender: &Member, notice: DmlsNotice) {
        match notice {
            DmlsNotice::Proof(proof) => self.take_proof(&proof),
            DmlsNotice::Closed { winner } => self.branch_closed(epoch, sender, &CommitId(winner)),
            DmlsNotice::KeyPackage(message) => {
                // Nobody waits for the answer: whoever is refused asks again.
                let taken = self.take_offer(message.as_slice(), Some((epoch, sender)));
                let above = self.group.history.ancestors(&self.group.state.head).any(|(id, _)| id == epoch);
                if taken == Ok(true)
                    && above
                    && let Some(record) = self.group.history.epoch_mut(epoch)
                {
                    record.own.left_behind = true;
                }
            }
            DmlsNotice::Welcome(message) => self.welcome_came(message.as_slice()),
            DmlsNotice::Unknown { .. } => {}
        }
    }
}
