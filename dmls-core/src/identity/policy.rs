//! The service's verdicts as the policy of a plain MLS group.

use super::AuthenticationService;
use crate::epoch::CommitPolicy;
use crate::tree::LeafNode;

/// Asks an authentication service about every leaf of a plain MLS group (RFC 9420 5.3.1). A DMLS group asks it only where
/// a client is added.
#[derive(Debug, Clone, Copy)]
pub struct ServicePolicy<'a> {
    /// Who is asked.
    pub service: &'a dyn AuthenticationService,
    /// Unix time in seconds: certificates and lifetimes are judged by it.
    pub now_s: u64,
}

impl CommitPolicy for ServicePolicy<'_> {
    fn now(&self) -> Option<u64> {
        Some(self.now_s)
    }

    fn accept_member(&self, leaf: &LeafNode) -> bool {
        self.service.validate(&leaf.credential, &leaf.signature_key, self.now_s).is_ok()
    }

    fn accept_successor(&self, old: &LeafNode, new: &LeafNode) -> bool {
        old.credential == new.credential || self.service.accepts_successor(&old.credential, &new.credential)
    }
}
