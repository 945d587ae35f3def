//! What a handshake or application message says, and who signed it (RFC 9420 6, 6.1).

use std::io::Write;

use tls_codec::{DeserializeBytes, Error, Serialize, Size};

use super::proposal::{Commit, Proposal, ProposalRef};
use crate::codec::{Bytes, CodecError, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::schedule::GroupContext;
use crate::suite::{
    CryptoError, RefHashLabel, Secret, SignaturePrivateKey, SignaturePublicKey, Strictness, Suite,
};
use crate::tree::{LeafIndex, ProtocolVersion};

/// `WireFormat` (RFC 9420 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u16)]
pub enum WireFormat {
    /// A PublicMessage.
    PublicMessage = 1,
    /// A PrivateMessage.
    PrivateMessage = 2,
    /// A Welcome.
    Welcome = 3,
    /// A GroupInfo.
    GroupInfo = 4,
    /// A KeyPackage.
    KeyPackage = 5,
}

/// `ContentType` (RFC 9420 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum ContentType {
    /// Application data.
    Application = 1,
    /// A proposal.
    Proposal = 2,
    /// A commit.
    Commit = 3,
}

/// `Sender` (RFC 9420 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum Sender {
    /// A member, by its leaf.
    #[tls_codec(discriminant = 1)]
    Member(LeafIndex),
    /// An external sender, by its place in the `external_senders` extension.
    External(u32),
    /// A client that proposes to add itself.
    NewMemberProposal,
    /// A client that joins by an external commit.
    NewMemberCommit,
}

/// What a message says: the part of `FramedContent` that its type selects.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
#[allow(clippy::large_enum_variant)]
pub enum Content {
    /// Application data; a secret, so that it is wiped and never printed.
    #[tls_codec(discriminant = 1)]
    Application(Secret),
    /// A proposal.
    Proposal(Proposal),
    /// A commit.
    Commit(Commit),
}

impl Content {
    /// The type of the content.
    pub fn content_type(&self) -> ContentType {
        match self {
            Self::Application(_) => ContentType::Application,
            Self::Proposal(_) => ContentType::Proposal,
            Self::Commit(_) => ContentType::Commit,
        }
    }
}

/// `FramedContent` (RFC 9420 6).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct FramedContent {
    /// The group.
    pub group_id: Bytes,
    /// The number of the epoch that the message is sent in.
    pub epoch: u64,
    /// Who sends it.
    pub sender: Sender,
    /// Data that is authenticated but not encrypted.
    pub authenticated_data: Bytes,
    /// What it says.
    pub content: Content,
}

/// `FramedContentAuthData` (RFC 9420 6.1). Its shape depends on the content, so it is decoded with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FramedContentAuthData {
    /// Over the `FramedContentTBS`, by the sender.
    pub signature: Bytes,
    /// In commits only.
    pub confirmation_tag: Option<Bytes>,
}

impl FramedContentAuthData {
    /// Reads the structure that belongs to content of the given type.
    pub(super) fn decode(content_type: ContentType, bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (signature, rest) = Bytes::tls_deserialize_bytes(bytes)?;
        if content_type != ContentType::Commit {
            return Ok((Self { signature, confirmation_tag: None }, rest));
        }
        let (tag, rest) = Bytes::tls_deserialize_bytes(rest)?;
        Ok((Self { signature, confirmation_tag: Some(tag) }, rest))
    }
}

impl Size for FramedContentAuthData {
    fn tls_serialized_len(&self) -> usize {
        self.signature.tls_serialized_len()
            + self.confirmation_tag.as_ref().map_or(0, Size::tls_serialized_len)
    }
}

impl Serialize for FramedContentAuthData {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, Error> {
        let signature = self.signature.tls_serialize(writer)?;
        Ok(signature + self.confirmation_tag.as_ref().map_or(Ok(0), |tag| tag.tls_serialize(writer))?)
    }
}

/// `AuthenticatedContent` (RFC 9420 6.1): a message freed of its protection.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize)]
pub struct AuthenticatedContent {
    /// How it is, or is to be, protected.
    pub wire_format: WireFormat,
    /// What is said.
    pub content: FramedContent,
    /// The proof of who said it.
    pub auth: FramedContentAuthData,
}

impl DeserializeBytes for AuthenticatedContent {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (wire_format, rest) = WireFormat::tls_deserialize_bytes(bytes)?;
        let (content, rest) = FramedContent::tls_deserialize_bytes(rest)?;
        let (auth, rest) = FramedContentAuthData::decode(content.content.content_type(), rest)?;
        Ok((Self { wire_format, content, auth }, rest))
    }
}

crate::serde_as_tls!(AuthenticatedContent, Sender);

/// `FramedContentTBS` (RFC 9420 6.1): what the signature covers.
pub(super) fn to_be_signed(
    wire_format: WireFormat,
    content: &FramedContent,
    context: &GroupContext,
) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(content.tls_serialized_len() + context.tls_serialized_len() + 4);
    ProtocolVersion::MLS10.tls_serialize(&mut out)?;
    wire_format.tls_serialize(&mut out)?;
    content.tls_serialize(&mut out)?;
    // Those who do not know the group's state cannot sign it.
    if matches!(content.sender, Sender::Member(_) | Sender::NewMemberCommit) {
        context.tls_serialize(&mut out)?;
    }
    Ok(out)
}

impl AuthenticatedContent {
    /// Signs a message; a commit's confirmation tag is to be filled in afterwards.
    ///
    /// # Errors
    /// [`CryptoError`] if the key is malformed or the content too long.
    pub fn sign(
        suite: Suite,
        wire_format: WireFormat,
        content: FramedContent,
        context: &GroupContext,
        key: &SignaturePrivateKey,
    ) -> Result<Self, CryptoError> {
        let tbs = to_be_signed(wire_format, &content, context)?;
        let signature = suite.sign_with_label(key, "FramedContentTBS", &tbs)?;
        Ok(Self { wire_format, content, auth: FramedContentAuthData { signature, confirmation_tag: None } })
    }

    /// Verifies the signature under the sender's key.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`], or [`CryptoError::BadKey`] if the public key is malformed.
    pub fn verify(
        &self,
        suite: Suite,
        key: &SignaturePublicKey,
        context: &GroupContext,
        strictness: Strictness,
    ) -> Result<(), CryptoError> {
        let tbs = to_be_signed(self.wire_format, &self.content, context)?;
        suite.verify_with_label(key, "FramedContentTBS", &tbs, &self.auth.signature, strictness)
    }

    /// `ConfirmedTranscriptHashInput` (RFC 9420 8.2).
    ///
    /// # Errors
    /// [`CodecError::BadLength`] if the content is too long to encode.
    pub fn confirmed_transcript_input(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::new();
        self.wire_format.tls_serialize(&mut out)?;
        self.content.tls_serialize(&mut out)?;
        self.auth.signature.tls_serialize(&mut out)?;
        Ok(out)
    }

    /// The reference by which a commit includes this proposal (RFC 9420 5.2).
    ///
    /// # Errors
    /// [`CryptoError::Codec`] if the content is too long to encode.
    pub fn proposal_ref(&self, suite: Suite) -> Result<ProposalRef, CryptoError> {
        Ok(ProposalRef(suite.ref_hash(RefHashLabel::Proposal, &crate::codec::encode(self)?)?))
    }

    /// The sender's leaf, if a member sent it.
    pub fn member(&self) -> Option<LeafIndex> {
        match self.content.sender {
            Sender::Member(leaf) => Some(leaf),
            _ => None,
        }
    }
}
