//! Proposals and commits (RFC 9420 12.1, 12.4).

use super::dmls::DmlsMeta;
use super::key_package::KeyPackage;
use crate::codec::{Bytes, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::schedule::PreSharedKeyId;
use crate::suite::CipherSuite;
use crate::tree::{Extensions, LeafIndex, LeafNode, ProposalType, ProtocolVersion, UpdatePath};

/// Asks that a client be added (RFC 9420 12.1.1).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Add {
    /// The client's key package.
    pub key_package: Box<KeyPackage>,
}

/// Asks that the sender's leaf be replaced (RFC 9420 12.1.2).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Update {
    /// The new leaf.
    pub leaf_node: LeafNode,
}

/// Asks that a member be removed (RFC 9420 12.1.3).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Remove {
    /// The member's leaf.
    pub removed: LeafIndex,
}

/// Asks that a PSK be mixed into the key schedule (RFC 9420 12.1.4).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct PreSharedKey {
    /// Which PSK, and a fresh nonce.
    pub psk: PreSharedKeyId,
}

/// Asks that the group be closed and opened anew with other parameters (RFC 9420 12.1.5).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct ReInit {
    /// The id of the new group.
    pub group_id: Bytes,
    /// Its version of MLS.
    pub version: ProtocolVersion,
    /// Its cipher suite.
    pub cipher_suite: CipherSuite,
    /// The extensions of its GroupContext.
    pub extensions: Extensions,
}

/// The first step of an external commit (RFC 9420 12.1.6).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct ExternalInit {
    /// The KEM's encapsulated key.
    pub kem_output: Bytes,
}

/// Asks that the extensions of the GroupContext be replaced (RFC 9420 12.1.7).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct GroupContextExtensions {
    /// All extensions of the next epoch.
    pub extensions: Extensions,
}

/// `Proposal` (RFC 9420 12.1).
///
/// A proposal of another type has no length on the wire, so it cannot be skipped: decoding it is
/// [`crate::codec::CodecError::UnknownVariant`] with the type's number.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u16)]
#[allow(clippy::large_enum_variant)]
pub enum Proposal {
    /// Type 1.
    #[tls_codec(discriminant = 1)]
    Add(Add),
    /// Type 2.
    Update(Update),
    /// Type 3.
    Remove(Remove),
    /// Type 4.
    PreSharedKey(PreSharedKey),
    /// Type 5.
    ReInit(ReInit),
    /// Type 6.
    ExternalInit(ExternalInit),
    /// Type 7.
    GroupContextExtensions(GroupContextExtensions),
    /// Type 0xFD01 (DESIGN 4.3).
    #[tls_codec(discriminant = 0xFD01)]
    DmlsMeta(DmlsMeta),
}

impl Proposal {
    /// The type's number (RFC 9420 17.4).
    pub fn proposal_type(&self) -> ProposalType {
        match self {
            Self::Add(_) => ProposalType::ADD,
            Self::Update(_) => ProposalType::UPDATE,
            Self::Remove(_) => ProposalType::REMOVE,
            Self::PreSharedKey(_) => ProposalType::PSK,
            Self::ReInit(_) => ProposalType::REINIT,
            Self::ExternalInit(_) => ProposalType::EXTERNAL_INIT,
            Self::GroupContextExtensions(_) => ProposalType::GROUP_CONTEXT_EXTENSIONS,
            Self::DmlsMeta(_) => ProposalType::DMLS_META,
        }
    }

    /// Whether a commit of this proposal must have a path (RFC 9420 17.4, column "Path Required").
    pub fn requires_path(&self) -> bool {
        matches!(
            self,
            Self::Update(_) | Self::Remove(_) | Self::ExternalInit(_) | Self::GroupContextExtensions(_)
        )
    }
}

/// `ProposalRef` (RFC 9420 5.2): the hash of a proposal's AuthenticatedContent.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct ProposalRef(pub Bytes);

/// `ProposalOrRef` (RFC 9420 12.4).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
#[allow(clippy::large_enum_variant)]
pub enum ProposalOrRef {
    /// By value: the committer proposes it in the commit itself.
    #[tls_codec(discriminant = 1)]
    Proposal(Proposal),
    /// By reference to a proposal message of the same epoch.
    Reference(ProposalRef),
}

/// `Commit` (RFC 9420 12.4).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Commit {
    /// What it does, in order.
    pub proposals: Vec<ProposalOrRef>,
    /// The committer's fresh keys.
    pub path: Option<UpdatePath>,
}

crate::serde_as_tls!(Proposal, Commit, ReInit);
