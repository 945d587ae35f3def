//! Groups that follow another: re-initialisation and branching (RFC 9420 11.2, 11.3).

use rand_core::CryptoRng;

use super::{Committed, GroupPsks, PlainCommit, PlainConfig, PlainError, PlainGroup, References};
use crate::codec::Bytes;
use crate::epoch::welcome_in::follows_a_group;
use crate::epoch::{CommitPolicy, Join, Joined, PskStore, Purpose};
use crate::framing::{Add, KeyPackage, KeyPackageBundle, PreSharedKey, Proposal, Welcome};
use crate::schedule::{PskType, ResumptionPskUsage};
use crate::suite::Suite;
use crate::tree::Extensions;

/// Who is in a group that follows another.
pub struct Successor<'a> {
    /// This member's new leaf.
    pub founder: &'a KeyPackageBundle,
    /// The others.
    pub key_packages: Vec<KeyPackage>,
    /// Where PSKs come from.
    pub psks: &'a dyn PskStore,
    /// What the application has to say.
    pub policy: &'a dyn CommitPolicy,
}

impl std::fmt::Debug for Successor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Successor").field("key_packages", &self.key_packages).finish_non_exhaustive()
    }
}

impl Successor<'_> {
    fn found(
        &self,
        suite: Suite,
        group_id: Bytes,
        extensions: Extensions,
        config: &PlainConfig,
        rng: &mut dyn CryptoRng,
    ) -> Result<PlainGroup, PlainError> {
        PlainGroup::create(suite, group_id, extensions, self.founder, config.clone(), rng)
    }
}

impl PlainGroup {
    /// The PSK that ties a new group to this one.
    fn tie(&self, usage: ResumptionPskUsage) -> PskType {
        PskType::Resumption {
            usage,
            psk_group_id: self.group_id().clone(),
            psk_epoch: self.epoch.context().epoch,
        }
    }

    /// Opens the group that the ReInit announced. The commit need not be sent: nobody else is in the first epoch.
    ///
    /// # Errors
    /// [`PlainError::NotEnded`] if there was no ReInit, else as for [`PlainGroup::commit`].
    pub fn reinit(
        &self,
        successor: &Successor<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Committed), PlainError> {
        let reinit = self.ended.as_ref().ok_or(PlainError::NotEnded)?;
        let (suite, extensions) = (reinit.cipher_suite.suite()?, reinit.extensions.clone());
        let next = successor.found(suite, reinit.group_id.clone(), extensions, &self.config, rng)?;
        self.follow(next, Purpose::Reinit, successor, rng)
    }

    /// Opens a group of some of this group's members, with the same suite.
    ///
    /// # Errors
    /// As for [`PlainGroup::commit`].
    pub fn branch(
        &self,
        group_id: Bytes,
        extensions: Extensions,
        successor: &Successor<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Committed), PlainError> {
        let next = successor.found(self.suite(), group_id, extensions, &self.config, rng)?;
        self.follow(next, Purpose::Branch, successor, rng)
    }

    /// Ties a new group to this one and brings the others in.
    fn follow(
        &self,
        mut next: Self,
        purpose: Purpose,
        successor: &Successor<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Committed), PlainError> {
        let usage = match purpose {
            Purpose::Reinit => ResumptionPskUsage::Reinit,
            Purpose::Branch | Purpose::Ordinary => ResumptionPskUsage::Branch,
        };
        let psk = Proposal::PreSharedKey(PreSharedKey { psk: next.psk_id(self.tie(usage), rng) });
        let add =
            |key_package: &KeyPackage| Proposal::Add(Add { key_package: Box::new(key_package.clone()) });
        let commit = PlainCommit {
            proposals: successor.key_packages.iter().map(add).chain([psk]).collect(),
            references: References::These(Vec::new()),
            ..PlainCommit::default()
        };
        let psks = GroupPsks { group: self, host: successor.psks };
        let committed = next.commit_for(purpose, &commit, &psks, successor.policy, rng)?;
        next.merge_pending()?;
        Ok((next, committed))
    }

    /// Joins the group that the ReInit announced, and verifies that it is that one (RFC 9420 11.2).
    ///
    /// # Errors
    /// [`PlainError::NotEnded`], [`PlainError::DoesNotFollow`], [`PlainError::ReInitMismatch`], [`PlainError::Welcome`].
    pub fn join_reinit(&self, welcome: &Welcome, join: &Join<'_>) -> Result<Self, PlainError> {
        let reinit = self.ended.as_ref().ok_or(PlainError::NotEnded)?;
        let joined = self.join_tied(welcome, join, ResumptionPskUsage::Reinit)?;
        let context = joined.epoch.context();
        if context.version != reinit.version
            || context.cipher_suite != reinit.cipher_suite
            || context.group_id != reinit.group_id
            || context.extensions != reinit.extensions
        {
            return Err(PlainError::ReInitMismatch);
        }
        Self::of(joined.epoch, self.config.clone())
    }

    /// Joins a branch of this group, and verifies that it is one (RFC 9420 11.3).
    ///
    /// # Errors
    /// [`PlainError::DoesNotFollow`], [`PlainError::BranchMismatch`], [`PlainError::BranchMember`],
    /// [`PlainError::Welcome`].
    pub fn join_branch(&self, welcome: &Welcome, join: &Join<'_>) -> Result<Self, PlainError> {
        let joined = self.join_tied(welcome, join, ResumptionPskUsage::Branch)?;
        let (context, own) = (joined.epoch.context(), self.epoch.context());
        if context.version != own.version || context.cipher_suite != own.cipher_suite {
            return Err(PlainError::BranchMismatch);
        }
        let stranger =
            joined.epoch.tree().leaves().find(|(_, leaf)| {
                !self.members().any(|(_, member)| join.policy.accept_successor(member, leaf))
            });
        if let Some((leaf, _)) = stranger {
            return Err(PlainError::BranchMember(leaf));
        }
        Self::of(joined.epoch, self.config.clone())
    }

    /// Joins a group that names this group's current epoch.
    fn join_tied(
        &self,
        welcome: &Welcome,
        join: &Join<'_>,
        usage: ResumptionPskUsage,
    ) -> Result<Joined, PlainError> {
        let psks = GroupPsks { group: self, host: join.psks };
        let joined = Join { psks: &psks, ..*join }.welcome(welcome)?;
        let tie = self.tie(usage);
        let tied = joined.psks.iter().any(|psk| follows_a_group(psk) && psk.psktype == tie);
        if tied { Ok(joined) } else { Err(PlainError::DoesNotFollow) }
    }
}
