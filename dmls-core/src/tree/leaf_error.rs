//! Why a leaf node is refused.

use thiserror::Error;

use super::credential::CredentialError;
use super::extension::{CredentialType, ExtensionType, ProposalType};
use super::leaf_node::LeafSourceKind;
use super::math::LeafIndex;
use crate::codec::CodecError;
use crate::suite::CryptoError;

/// The rules of RFC 9420 7.2 and 7.3 that a leaf can break.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LeafNodeError {
    /// The signature is not the leaf's own.
    #[error("The leaf's signature is refused: {0}")]
    Signature(CryptoError),
    /// The lifetime has not begun.
    #[error("The leaf's lifetime has not begun.")]
    NotYetValid,
    /// The lifetime is over.
    #[error("The leaf's lifetime is over.")]
    Expired,
    /// The lifetime is longer than the application accepts.
    #[error("The leaf's lifetime is too long.")]
    LifetimeTooLong,
    /// The source does not fit where the leaf was found.
    #[error("The leaf has source {found:?} where {expected:?} is needed.")]
    WrongSource {
        /// What the place demands.
        expected: LeafSourceKind,
        /// What the leaf says.
        found: LeafSourceKind,
    },
    /// An extension type occurs twice.
    #[error("The leaf has two extensions of type {0:?}.")]
    DuplicateExtension(ExtensionType),
    /// The leaf has an extension that its capabilities do not list.
    #[error("The leaf's capabilities do not list its extension type {0:?}.")]
    ExtensionNotListed(ExtensionType),
    /// The leaf has a credential that its capabilities do not list.
    #[error("The leaf's capabilities do not list its credential type {0:?}.")]
    CredentialNotListed(CredentialType),
    /// The credential is not one of the leaf's signature key.
    #[error("The leaf's credential does not fit its signature key: {0}")]
    CredentialKey(CredentialError),
    /// The group has an extension that the leaf's capabilities do not list.
    #[error("The leaf does not support the group's extension type {0:?}.")]
    GroupExtensionUnsupported(ExtensionType),
    /// The group's `required_capabilities` are malformed.
    #[error("The group's required capabilities are malformed: {0}")]
    BadRequiredCapabilities(CodecError),
    /// A required extension type is not supported.
    #[error("The leaf does not support required extension type {0:?}.")]
    RequiredExtension(ExtensionType),
    /// A required proposal type is not supported.
    #[error("The leaf does not support required proposal type {0:?}.")]
    RequiredProposal(ProposalType),
    /// A required credential type is not supported.
    #[error("The leaf does not support required credential type {0:?}.")]
    RequiredCredential(CredentialType),
    /// A member does not support this leaf's credential type.
    #[error("Member {member} does not support the leaf's credential type {credential_type:?}.")]
    CredentialUnsupportedByMember {
        /// Who does not support it.
        member: LeafIndex,
        /// What this leaf has.
        credential_type: CredentialType,
    },
    /// This leaf does not support a member's credential type.
    #[error("The leaf does not support credential type {credential_type:?} of member {member}.")]
    MemberCredentialUnsupported {
        /// Whose it is.
        member: LeafIndex,
        /// What this leaf does not support.
        credential_type: CredentialType,
    },
    /// The encryption key is already in the tree.
    #[error("The leaf's encryption key is already in the tree.")]
    EncryptionKeyInUse,
    /// The signature key is already in the tree.
    #[error("The leaf's signature key is already in the tree.")]
    SignatureKeyInUse,
    /// The encryption key is no public key of the suite's KEM.
    #[error("The leaf's encryption key is malformed.")]
    BadEncryptionKey,
}
