//! Whom this client adds, and what it can tell of those whom others have added: the only questions to the
//! authentication service (DESIGN 4.4).

use super::Group;
use super::act::ActionError;
use super::options::GroupOptions;
use crate::framing::{KeyPackage, KeyPackagePolicy};
use crate::identity::{Identity, IdentityError};
use crate::suite::{Strictness, Suite};
use crate::tree::LeafIndex;

/// Judges a key package before this client uses it: RFC 9420 10.1 with its lifetime, and whose it is. Whoever receives
/// the commit asks neither.
pub(super) fn judge_key_package(
    key_package: &KeyPackage,
    suite: Suite,
    options: &GroupOptions,
    now_ms: u64,
) -> Result<Identity, ActionError> {
    let now_s = now_ms / 1000;
    let policy =
        KeyPackagePolicy { suite, strictness: Strictness::Canonical, now: Some(now_s), last_resort: false };
    key_package.validate(&policy)?;
    let leaf = &key_package.leaf_node;
    Ok(options.authentication.service().validate(&leaf.credential, &leaf.signature_key, now_s)?)
}

impl Group {
    /// What the authentication service says of each member of the head, now. It is for people to see: a member stays one
    /// whatever the verdict, for others may judge by other anchors or another clock. Worth showing after joining.
    pub fn verdicts(&self, now_ms: u64) -> Vec<(LeafIndex, Result<Identity, IdentityError>)> {
        let service = self.options.authentication.service();
        let leaves = self.keys.get(&self.state.head).into_iter().flat_map(|keys| keys.epoch.tree().leaves());
        let verdict = |(index, leaf): (LeafIndex, &crate::tree::LeafNode)| {
            (index, service.validate(&leaf.credential, &leaf.signature_key, now_ms / 1000))
        };
        leaves.map(verdict).collect()
    }
}
