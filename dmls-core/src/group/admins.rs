//! Who is an admin: the list in the group's `dmls_profile` (DESIGN 4.3), and how it is changed.

use std::collections::BTreeSet;

use rand_core::CryptoRng;

use super::act::ActionError;
use super::speak::SpeakError;
use super::step::Step;
use super::{Group, Keys};
use crate::framing::{GroupContextExtensions, Proposal};
use crate::tree::{Credential, LeafIndex};

impl Group {
    /// The admins of the head, by credential; empty: every member is one.
    pub fn admin_list(&self) -> &[Credential] {
        self.admins(&self.state.head)
    }

    /// Replaces the list of admins by a commit, at once; an empty one makes every member an admin. Two concurrent changes
    /// are a fork: the winning branch's list stands, and the other is handed over as [`super::Event::BranchLost`] with
    /// [`crate::history::Operation::Context`].
    ///
    /// # Errors
    /// [`ActionError::NoAdminLeft`] if nobody on the list is a member, and others; then nothing has changed.
    pub fn set_admins(
        &self,
        admins: &[Credential],
        now_ms: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step, ActionError> {
        let admins: BTreeSet<Credential> = admins.iter().cloned().collect();
        if admins.len() > crate::framing::MAX_ADMINS {
            return Err(ActionError::TooManyAdmins);
        }
        let Keys { epoch, .. } = self.keys.get(&self.state.head).ok_or(SpeakError::NoKeys)?;
        let mut profile = epoch.profile().cloned().ok_or(ActionError::NotAMember)?;
        if !admins.is_empty() && !epoch.tree().leaves().any(|(_, leaf)| admins.contains(&leaf.credential)) {
            return Err(ActionError::NoAdminLeft);
        }
        profile.admins = admins.into_iter().collect();
        let mut extensions = epoch.context().extensions.clone();
        let extension = profile.to_extension()?;
        extensions.set(extension.extension_type, extension.extension_data);
        let change = Proposal::GroupContextExtensions(GroupContextExtensions { extensions });
        self.commit_now(vec![change], now_ms, rng)
    }

    /// Whether the group has admins, and the member on this leaf of the head is the last of them.
    pub(super) fn is_last_admin(&self, leaf: LeafIndex) -> bool {
        let Some(Keys { epoch, .. }) = self.keys.get(&self.state.head) else { return false };
        let admins: Vec<LeafIndex> = epoch
            .tree()
            .leaves()
            .filter(|(_, node)| self.admin_list().contains(&node.credential))
            .map(|(index, _)| index)
            .collect();
        admins == [leaf]
    }
}
