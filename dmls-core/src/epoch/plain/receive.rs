//! What a member receives.

use super::{GroupPsks, MAX_PROPOSALS, PlainError, PlainGroup};
use crate::codec::Bytes;
use crate::epoch::{Added, CommitPolicy, InitSource, OpenError, Opened, PskStore, Removed, SentProposal};
use crate::framing::{Content, MlsMessage, ProposalRef, ReInit, Sender};
use crate::suite::Secret;
use crate::tree::LeafIndex;

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advanced {
    /// The committer's leaf in the new epoch.
    pub committer: LeafIndex,
    /// Who came.
    pub added: Vec<Added>,
    /// Who left.
    pub removed: Vec<Removed>,
    /// Whose leaf was updated by proposal.
    pub updated: Vec<LeafIndex>,
    /// Whether the group is closed now.
    pub reinit: Option<ReInit>,
    /// Data that came with the commit.
    pub authenticated_data: Bytes,
}

/// What a message was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Processed {
    /// Application data.
    Application {
        /// From whom.
        sender: LeafIndex,
        /// What.
        data: Secret,
        /// Data that was authenticated but not encrypted.
        authenticated_data: Bytes,
    },
    /// A proposal, which a commit may refer to now.
    Proposal {
        /// From whom.
        sender: Sender,
        /// How a commit refers to it.
        reference: ProposalRef,
    },
    /// A commit: the group is in the next epoch.
    Commit(Box<Advanced>),
    /// The own pending commit came back: it has been taken.
    OwnCommit,
    /// A commit that removes this member. The state stays in the old epoch and is to be dropped.
    Removed(Box<Advanced>),
}

impl PlainGroup {
    /// Processes a message of the current epoch. A commit discards an own one that was pending.
    ///
    /// # Errors
    /// [`PlainError`]; nothing has changed then.
    pub fn process(
        &mut self,
        message: &MlsMessage,
        psks: &dyn PskStore,
        policy: &dyn CommitPolicy,
    ) -> Result<Processed, PlainError> {
        self.check_open()?;
        if self.pending.as_ref().is_some_and(|pending| pending.message == *message) {
            self.merge_pending()?;
            return Ok(Processed::OwnCommit);
        }
        let opened = self.epoch.open(message, self.config.windows)?;
        match &opened.content.content.content {
            Content::Application(data) => {
                let sender = opened.content.member().ok_or(OpenError::SenderContent)?;
                let data = data.clone();
                self.consume(&opened)?;
                let authenticated_data = opened.content.content.authenticated_data;
                Ok(Processed::Application { sender, data, authenticated_data })
            }
            Content::Proposal(proposal) => {
                let sender = opened.content.content.sender;
                let sent = SentProposal { sender, proposal: proposal.clone(), reference: None };
                self.epoch.public().check_new_leaf(&sent, policy)?;
                let known = self.epoch.proposals().values().filter(|sent| sent.sender == sender);
                if known.count() >= MAX_PROPOSALS {
                    return Err(PlainError::TooManyProposals);
                }
                let (epoch, reference) = self.epoch.with_proposal(&opened.content)?;
                let before = std::mem::replace(&mut self.epoch, epoch);
                if let Err(error) = self.consume(&opened) {
                    self.epoch = before;
                    return Err(error);
                }
                Ok(Processed::Proposal { sender, reference })
            }
            Content::Commit(_) => self.process_commit(opened, psks, policy),
        }
    }

    fn consume(&mut self, opened: &Opened) -> Result<(), PlainError> {
        if let Some(key) = opened.key {
            self.epoch = self.epoch.consume(key, self.config.windows)?;
        }
        Ok(())
    }

    fn process_commit(
        &mut self,
        opened: Opened,
        psks: &dyn PskStore,
        policy: &dyn CommitPolicy,
    ) -> Result<Processed, PlainError> {
        let staged = self.epoch.stage_commit(&opened.content, policy)?;
        let advanced = Box::new(Advanced {
            committer: staged.committer_leaf,
            added: staged.added.clone(),
            removed: staged.removed.clone(),
            updated: staged.updated.clone(),
            reinit: staged.reinit().cloned(),
            authenticated_data: opened.content.content.authenticated_data,
        });
        if staged.self_removed {
            return Ok(Processed::Removed(advanced));
        }
        let psks = GroupPsks { group: self, host: psks };
        let entered = self.epoch.enter(&staged, InitSource::Plain, &psks)?;
        self.advance(entered.epoch, advanced.reinit.clone());
        Ok(Processed::Commit(advanced))
    }
}
