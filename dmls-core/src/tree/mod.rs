//! The ratchet tree and TreeKEM (RFC 9420 4, 7), persistent (DESIGN 4.2).
//!
//! **What it does.** [`RatchetTree`] is the tree of one epoch, an immutable value that shares what it has in common with
//! the trees of other epochs, in memory and on disk. Here are also its parts as they are on the wire, the rules for
//! leaves and trees with an error each ([`LeafNodeError`], [`TreeError`]), and the paths by which members refresh keys.
//!
//! **What it never does.** It knows no epochs, proposals or messages, stores nothing, and trusts no tree that it is
//! given: [`RatchetTree::from_nodes`] judges the shape alone, [`RatchetTree::validate`] the rest. That a credential is one
//! of its leaf's key is judged here as far as it says so itself; who it stands for is the application's to say.
//!
//! **How to drive it.** A committer applies the proposals ([`RatchetTree::add_leaf`] and its siblings), draws a path
//! ([`RatchetTree::draw_path`]), makes the provisional GroupContext with the hash of the tree that the path leads to, and
//! encrypts ([`PathDraft::encrypt`]). A receiver applies the same proposals, merges the path
//! ([`RatchetTree::apply_path`]) and opens it ([`RatchetTree::decrypt_path`]); a joiner goes on from the path secret in
//! its Welcome ([`RatchetTree::derive_from_path_secret`]). Private keys are found by public key ([`PrivateKeys`]).

mod certificate;
mod credential;
mod error;
mod extension;
mod leaf_checks;
mod leaf_error;
mod leaf_node;
mod math;
mod node;
mod parent_hash;
mod path_secrets;
mod ratchet_tree;
mod stored;
mod subtree;
mod treekem;
mod update_path;
mod validate;

pub use certificate::{CertificateParts, MalformedCertificate};
pub use credential::{Credential, CredentialError, SelfCertified};
pub use error::TreeError;
pub use extension::{
    CredentialType, Extension, ExtensionType, Extensions, ExternalSender, ProposalType, ProtocolVersion,
    RequiredCapabilities, is_grease,
};
pub use leaf_checks::LeafRules;
pub use leaf_error::LeafNodeError;
pub use leaf_node::{
    Capabilities, LeafNode, LeafNodeSource, LeafPosition, LeafSourceKind, LeafTemplate, Lifetime,
};
pub use math::{LeafIndex, MAX_WIDTH, NodeIndex};
pub use node::{Node, NodesError, ParentNode, RatchetTreeExtension};
pub use path_secrets::{DerivedPath, PrivateKeys, path_secret_for};
pub use ratchet_tree::RatchetTree;
pub use stored::{LoadError, StoredSubtree, SubtreeCache};
pub use treekem::{PathDraft, PathSender};
pub use update_path::{UpdatePath, UpdatePathNode};

#[cfg(test)]
mod tests;
