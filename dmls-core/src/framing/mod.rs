//! Messages: their structure and their protection (RFC 9420 6, 10, 12.1, 12.4; DESIGN 4.3).
//!
//! **What it does.** Encodes and decodes every message, signs, verifies, tags, encrypts and decrypts it, one step a call.
//! **What it never does.** It holds no group and no ratchet: keys are arguments, and opening a message consumes nothing.

mod bounds;
mod content;
mod dmls;
mod key_package;
mod message;
mod notice;
mod private_message;
mod proof;
mod proposal;
mod public_message;
mod welcome;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use bounds::ProfileError;
pub use content::{
    AuthenticatedContent, Content, ContentType, FramedContent, FramedContentAuthData, Sender, WireFormat,
};
pub use dmls::{
    DmlsApplication, DmlsEpochInfo, DmlsError, DmlsJoin, DmlsMeta, DmlsProfile, Heads, MAX_ADMINS, MAX_HEADS,
    MAX_ID_LEN, MAX_OPERATIONS, MAX_TIPS, Merge, PROFILE, TRUNCATED_LEN, TruncatedId,
};
pub use key_package::{
    KeyPackage, KeyPackageBuilder, KeyPackageBundle, KeyPackageError, KeyPackagePolicy, LAST_RESORT_EXTENSION,
};
pub use message::{DmlsMessage, MlsMessage, MlsMessageBody};
pub use notice::{ApplicationData, DmlsNotice, DmlsRejoin, MAX_NOTICE_KEY_PACKAGE, MAX_NOTICE_LEN};
pub use private_message::{Padding, PrivateMessage, SenderData};
pub use proof::{
    Below, EquivocationProof, MAX_PROOF_COMMITS, MAX_PROOF_LEN, NamedChild, ProofError, Statement,
    verify_equivocation,
};
pub use proposal::{
    Add, Commit, ExternalInit, GroupContextExtensions, PreSharedKey, Proposal, ProposalOrRef, ProposalRef,
    ReInit, Remove, Update,
};
pub use public_message::PublicMessage;
pub use welcome::{EncryptedGroupSecrets, GroupInfo, GroupSecrets, PathSecret, Welcome};

use crate::codec::CodecError;
use crate::suite::CryptoError;

/// Why a message could not be protected, or its protection not be removed (RFC 9420 6).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FramingError {
    /// Application data would go, or came, unencrypted (RFC 9420 6).
    #[error("Application data must not be sent in a PublicMessage.")]
    PublicApplication,
    /// The signature was made for another wire format.
    #[error("The message was signed for another wire format.")]
    WireFormat,
    /// Only members, as themselves, can send a PrivateMessage (RFC 9420 6.3).
    #[error("A PrivateMessage must be sent by the member who signed it.")]
    NotAMember,
    /// The membership tag is missing or wrong (RFC 9420 6.2).
    #[error("The membership tag is wrong.")]
    MembershipTag,
    /// The sender data does not open or decode (RFC 9420 6.3.2).
    #[error("The sender data is not authentic.")]
    SenderData,
    /// The ciphertext does not open (RFC 9420 6.3.1).
    #[error("The content is not authentic.")]
    Ciphertext,
    /// A byte of the padding is not zero (RFC 9420 6.3.1).
    #[error("The padding is not all zero.")]
    Padding,
    /// A cryptographic operation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// Something could not be decoded or encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}
