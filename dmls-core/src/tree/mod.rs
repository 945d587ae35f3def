//! The ratchet tree and TreeKEM (RFC 9420 4, 7), persistent (DESIGN 4.2).

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

pub use credential::Credential;
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
