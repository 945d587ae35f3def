//! How a member comes to a group: by founding it, by a Welcome, by an external commit.

use rand_core::CryptoRng;

use super::{PlainConfig, PlainError, PlainGroup};
use crate::codec::Bytes;
use crate::epoch::welcome_in::follows_a_group;
use crate::epoch::{Epoch, ExternalJoin, Join};
use crate::framing::{GroupInfo, KeyPackageBundle, MlsMessage, Welcome};
use crate::suite::Suite;
use crate::tree::{ExtensionType, Extensions};

impl PlainGroup {
    /// Founds a group with one member.
    ///
    /// # Errors
    /// [`PlainError::NotPlain`] for DMLS extensions, [`PlainError::Commit`] if they or the leaf are not valid.
    pub fn create(
        suite: Suite,
        group_id: Bytes,
        extensions: Extensions,
        founder: &KeyPackageBundle,
        config: PlainConfig,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, PlainError> {
        if extensions.get(ExtensionType::DMLS_PROFILE).is_some() {
            return Err(PlainError::NotPlain);
        }
        Self::of(Epoch::found(suite, group_id, extensions, founder, rng)?.0, config)
    }

    /// Joins by a Welcome. The init key of the key package is to be deleted then.
    ///
    /// # Errors
    /// [`PlainError::Welcome`]; [`PlainError::FollowsAGroup`] for the Welcome of a re-initialised group or a branch, which
    /// [`PlainGroup::join_reinit`] and [`PlainGroup::join_branch`] take.
    pub fn join(welcome: &Welcome, join: &Join<'_>, config: PlainConfig) -> Result<Self, PlainError> {
        let joined = join.welcome(welcome)?;
        if joined.psks.iter().any(follows_a_group) {
            return Err(PlainError::FollowsAGroup);
        }
        Self::of(joined.epoch, config)
    }

    /// Joins by an external commit: the group, and the commit to be sent. If the group does not take it, the state is to
    /// be dropped.
    ///
    /// # Errors
    /// [`PlainError::Welcome`].
    pub fn join_external(
        group_info: &GroupInfo,
        join: &ExternalJoin<'_>,
        config: PlainConfig,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, MlsMessage), PlainError> {
        let joined = join.commit(group_info, rng)?;
        Ok((Self::of(joined.epoch, config)?, joined.message))
    }
}
