//! A valid list of proposals, applied to the tree (RFC 9420 12.3).

use std::collections::BTreeSet;

use super::commit::{CommitError, CommitPolicy};
use super::proposals::{ProposalList, SentProposal};
use super::state::PublicState;
use crate::codec::Bytes;
use crate::framing::{KeyPackagePolicy, Proposal, Sender};
use crate::tree::{
    Credential, ExtensionType, Extensions, LeafIndex, LeafNode, LeafPosition, LeafRules, LeafSourceKind,
    RatchetTree, TreeError,
};

/// A client that a commit adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its new leaf.
    pub leaf: LeafIndex,
    /// The KeyPackageRef of the key package that was used.
    pub reference: Bytes,
    /// Who it is.
    pub credential: Credential,
}

/// A member that a commit removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The leaf that it had.
    pub leaf: LeafIndex,
    /// Who it was.
    pub credential: Credential,
}

/// The tree after the proposals, before the path.
#[derive(Debug, Clone)]
pub(super) struct Applied {
    pub(super) tree: RatchetTree,
    pub(super) extensions: Extensions,
    pub(super) added: Vec<Added>,
    pub(super) updated: Vec<LeafIndex>,
    pub(super) removed: Vec<Removed>,
}

impl Applied {
    /// The leaves that no path secret is encrypted to (RFC 9420 7.5).
    pub(super) fn new_leaves(&self) -> BTreeSet<LeafIndex> {
        self.added.iter().map(|added| added.leaf).collect()
    }
}

/// From which side a commit is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// By who makes it.
    Making,
    /// By who receives it.
    Receiving,
}

impl PublicState {
    /// What leaves of the next epoch are judged by.
    pub(super) fn next_rules<'a>(&'a self, extensions: &'a Extensions, now: Option<u64>) -> LeafRules<'a> {
        LeafRules { group_extensions: extensions, ..self.leaf_rules(now) }
    }

    /// The time by which lifetimes are judged. In DMLS they bind who adds, never who receives (DESIGN 4.4): clocks differ,
    /// and all members must agree on which commits are valid.
    fn lifetime_clock(&self, policy: &dyn CommitPolicy, side: Side) -> Option<u64> {
        if self.is_dmls() && side == Side::Receiving { None } else { policy.now() }
    }

    /// What key packages of Adds are measured by.
    fn key_package_policy(&self, now: Option<u64>) -> KeyPackagePolicy {
        KeyPackagePolicy {
            suite: self.suite,
            strictness: self.strictness(),
            now,
            // Its init key lives on, so it can be stolen after the Welcome (DESIGN 4.3).
            last_resort: !self.is_dmls(),
        }
    }

    /// The rules for the leaf of an Add or Update that no other proposal beside it can mend (RFC 9420 7.3, 10.1): what
    /// breaks one is invalid in every commit, and must not hold up those who have it in their cache (12.4).
    pub(crate) fn check_new_leaf(
        &self,
        sent: &SentProposal,
        policy: &dyn CommitPolicy,
    ) -> Result<(), CommitError> {
        match (&sent.proposal, sent.sender) {
            (Proposal::Add(add), _) => {
                let measure = self.key_package_policy(self.lifetime_clock(policy, Side::Receiving));
                add.key_package.validate(&measure).map_err(CommitError::AddKeyPackage)?;
                let node = &add.key_package.leaf_node;
                node.check_own_extensions()
                    .and_then(|()| node.check_own_credential())
                    .and_then(|()| node.check_credential_key(self.is_dmls()))
                    .map_err(CommitError::ProposedLeaf)?;
                if policy.accept_member(node) { Ok(()) } else { Err(CommitError::MemberRefused) }
            }
            (Proposal::Update(update), Sender::Member(leaf)) => {
                let node = &update.leaf_node;
                let position = LeafPosition { group_id: self.context.group_id.as_slice(), leaf_index: leaf };
                node.check_source(LeafSourceKind::Update)
                    .and_then(|()| node.check_own_extensions())
                    .and_then(|()| node.check_own_credential())
                    .and_then(|()| node.check_credential_key(self.is_dmls()))
                    .and_then(|()| node.check_encryption_key(self.suite))
                    .and_then(|()| node.check_signature(self.suite, Some(position), self.strictness()))
                    .map_err(|error| CommitError::UpdateLeaf { leaf, error })?;
                self.check_successor(leaf, leaf, node, policy)
            }
            _ => Ok(()),
        }
    }

    /// Applies a list in the order of RFC 9420 12.3 and validates every new leaf (7.3).
    ///
    /// Removes are applied before Updates: the resulting tree is the same, and an Update is then judged by the members
    /// who stay.
    pub(super) fn apply(
        &self,
        list: &ProposalList,
        policy: &dyn CommitPolicy,
        side: Side,
    ) -> Result<Applied, CommitError> {
        let extensions = list.extensions.as_ref().unwrap_or(&self.context.extensions).clone();
        let mut applied = Applied {
            tree: self.tree.clone(),
            extensions,
            added: Vec::new(),
            updated: Vec::new(),
            removed: Vec::new(),
        };
        for leaf in &list.removes {
            let credential = applied.tree.leaf(*leaf).map(|node| node.credential.clone());
            applied.tree = applied.tree.remove_leaf(*leaf)?;
            applied.removed.extend(credential.map(|credential| Removed { leaf: *leaf, credential }));
        }
        self.apply_updates(list, policy, &mut applied)?;
        self.apply_adds(list, policy, side, &mut applied)?;
        if list.extensions.is_some() {
            check_members(&applied)?;
        }
        Ok(applied)
    }

    /// RFC 9420 12.1.2. Each new leaf is judged beside the other new ones: keys must be unique after the commit (7.3).
    fn apply_updates(
        &self,
        list: &ProposalList,
        policy: &dyn CommitPolicy,
        applied: &mut Applied,
    ) -> Result<(), CommitError> {
        for (leaf, node) in &list.updates {
            applied.tree = applied.tree.update_leaf(*leaf, node.clone())?;
            applied.updated.push(*leaf);
        }
        for (leaf, node) in &list.updates {
            let old = self.tree.leaf(*leaf).ok_or(TreeError::NoLeaf(*leaf))?;
            let beside = applied.tree.update_leaf(*leaf, old.clone())?;
            let rules = self.next_rules(&applied.extensions, None);
            beside
                .validate_leaf(*leaf, node, LeafSourceKind::Update, &rules)
                .map_err(|error| CommitError::UpdateLeaf { leaf: *leaf, error })?;
            self.check_successor(*leaf, *leaf, node, policy)?;
        }
        Ok(())
    }

    /// RFC 9420 12.1.1.
    fn apply_adds(
        &self,
        list: &ProposalList,
        policy: &dyn CommitPolicy,
        side: Side,
        applied: &mut Applied,
    ) -> Result<(), CommitError> {
        let now = self.lifetime_clock(policy, side);
        let measure = self.key_package_policy(now);
        for key_package in &list.adds {
            key_package.validate(&measure).map_err(CommitError::AddKeyPackage)?;
            let node = &key_package.leaf_node;
            let (tree, leaf) = applied.tree.with_blank_leaf()?;
            let rules = self.next_rules(&applied.extensions, now);
            tree.validate_leaf(leaf, node, LeafSourceKind::KeyPackage, &rules)
                .map_err(|error| CommitError::AddLeaf { leaf, error })?;
            // In DMLS its verdict binds who adds, as lifetimes do.
            if (side == Side::Making || !self.is_dmls()) && !policy.accept_member(node) {
                return Err(CommitError::MemberRefused);
            }
            let reference = key_package.reference(self.suite)?;
            let credential = node.credential.clone();
            (applied.tree, _) = applied.tree.add_leaf(node.clone())?;
            applied.added.push(Added { leaf, reference, credential });
        }
        Ok(())
    }

    /// Whether a new leaf may stand for the member of an old one (RFC 9420 5.3.1). In a DMLS group the answer must not
    /// depend on who asks, so there the credential stays the same.
    ///
    /// A new credential or signature key is for the authentication service to judge, as that of a new member is (7.3):
    /// else whoever copies a member's credential could take its place by an external commit (12.2).
    pub(super) fn check_successor(
        &self,
        old: LeafIndex,
        new: LeafIndex,
        node: &LeafNode,
        policy: &dyn CommitPolicy,
    ) -> Result<(), CommitError> {
        let old = self.tree.leaf(old).ok_or(CommitError::Successor(new))?;
        // Else an old request to rejoin could be used again (DESIGN 4.4).
        let request = |leaf: &LeafNode| leaf.extensions.get(ExtensionType::DMLS_REJOIN).cloned();
        if self.is_dmls() && request(old) != request(node) {
            return Err(CommitError::RejoinNumber(new));
        }
        let accepted = if self.is_dmls() {
            old.credential == node.credential
        } else {
            let same = old.credential == node.credential && old.signature_key == node.signature_key;
            policy.accept_successor(old, node) && (same || policy.accept_member(node))
        };
        if accepted { Ok(()) } else { Err(CommitError::Successor(new)) }
    }
}

/// All members support new GroupContext extensions (RFC 9420 12.1.7).
fn check_members(applied: &Applied) -> Result<(), CommitError> {
    for (member, leaf) in applied.tree.leaves() {
        let refused = |error| CommitError::MemberSupport { member, error };
        leaf.check_required_capabilities(&applied.extensions).map_err(refused)?;
        leaf.check_group_extensions(&applied.extensions).map_err(refused)?;
    }
    Ok(())
}
