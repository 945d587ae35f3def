//! Trying what must fail: processing a commit a second time from what is stored, with deduplication bypassed.

use thiserror::Error;

use super::authority::Authority;
use super::handshake::enter;
use super::options::windows;
use super::store::{Key, MessageId, Store, StoreError, Table};
use super::{Group, Value};
use crate::codec::decode;
use crate::epoch::{CommitError, OpenError};
use crate::framing::{Content, DmlsMessage};
use crate::schedule::{CommitId, EpochId};

/// Why a commit could not be processed again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplayError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The commit's parent is not retained, or its bytes are not in the log.
    #[error("The commit's parent or its bytes are not stored any more.")]
    NotRetained,
    /// The message could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The commit could not be processed: with puncturing, because its init secret is punctured.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A commit that was processed again, which puncturing is there to prevent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The child that was derived again.
    pub epoch: EpochId,
}

impl Group {
    /// Takes a commit from the log and processes it on its retained parent once more. Changes nothing.
    ///
    /// # Errors
    /// [`ReplayError::Commit`] with [`crate::schedule::DmlsKeyError::Punctured`] is the right answer for every
    /// processed commit.
    pub fn try_replay(&self, store: &dyn Store, commit: &CommitId) -> Result<Replayed, ReplayError> {
        let parent = self.history.epochs().find(|(_, epoch)| epoch.children.contains_key(commit));
        let (parent, record) = parent.ok_or(ReplayError::NotRetained)?;
        let keys = self.keys.get(parent).ok_or(ReplayError::NotRetained)?;
        let same_epoch = self.log.iter().filter(|(_, order)| **order == record.number);
        for (id, order) in same_epoch {
            let Some(message) = self.logged(store, id, *order)? else { continue };
            if message.dmls_epoch != parent.0 {
                continue;
            }
            let opened = match keys.epoch.open(&message.message, windows(true)) {
                Ok(opened) if matches!(opened.content.content.content, Content::Commit(_)) => opened,
                // Application messages cannot be opened twice; they are not what is looked for.
                _ => continue,
            };
            let staged = keys.epoch.stage_commit(&opened.content, &Authority)?;
            if staged.commit_id() == *commit {
                let (entered, _) = enter(&keys.epoch, &keys.init, &staged)?;
                let epoch = entered.dmls.ok_or(CommitError::InitSource)?.dmls_epoch;
                return Ok(Replayed { epoch });
            }
        }
        Err(ReplayError::NotRetained)
    }

    pub(super) fn logged(
        &self,
        store: &dyn Store,
        id: &MessageId,
        order: u64,
    ) -> Result<Option<DmlsMessage>, StoreError> {
        match store.get(&Key::log(&self.id, order, id))? {
            Some(Value::Log(bytes)) => Ok(decode(bytes.as_slice()).ok()),
            Some(_) => {
                let reason = "the record is of another table".into();
                Err(StoreError::Damaged { table: Table::Log.name(), reason })
            }
            None => Ok(None),
        }
    }
}
