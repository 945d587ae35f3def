//! The ratchet tree and TreeKEM (RFC 9420 4, 7), persistent (DESIGN 4.2).

mod credential;
mod extension;
mod leaf_node;
mod math;
mod node;
mod update_path;

pub use credential::Credential;
pub use extension::{
    CredentialType, Extension, ExtensionType, Extensions, ExternalSender, ProposalType, ProtocolVersion,
    RequiredCapabilities, is_grease,
};
pub use leaf_node::{Capabilities, LeafNode, LeafNodeSource, LeafPosition, LeafTemplate, Lifetime};
pub use math::{LeafIndex, MAX_WIDTH, NodeIndex};
pub use node::{Node, NodesError, ParentNode, RatchetTreeExtension};
pub use update_path::{UpdatePath, UpdatePathNode};
