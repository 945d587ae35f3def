//! `PublicMessage` (RFC 9420 6.2): signed, and by members tagged, but not encrypted.

use std::io::Write;

use tls_codec::{DeserializeBytes, Error, Serialize, Size};

use super::FramingError;
use super::content::{
    AuthenticatedContent, Content, ContentType, FramedContent, FramedContentAuthData, Sender, WireFormat,
    to_be_signed,
};
use crate::codec::Bytes;
use crate::schedule::GroupContext;
use crate::suite::{CryptoError, Secret, Suite};

/// `PublicMessage` (RFC 9420 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicMessage {
    /// What is said.
    pub content: FramedContent,
    /// The proof of who said it.
    pub auth: FramedContentAuthData,
    /// `MAC(membership_key, AuthenticatedContentTBM)`; from members only.
    pub membership_tag: Option<Bytes>,
}

impl Size for PublicMessage {
    fn tls_serialized_len(&self) -> usize {
        self.content.tls_serialized_len()
            + self.auth.tls_serialized_len()
            + self.membership_tag.as_ref().map_or(0, Size::tls_serialized_len)
    }
}

impl Serialize for PublicMessage {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, Error> {
        let content = self.content.tls_serialize(writer)?;
        let auth = self.auth.tls_serialize(writer)?;
        let tag = self.membership_tag.as_ref().map_or(Ok(0), |tag| tag.tls_serialize(writer))?;
        Ok(content + auth + tag)
    }
}

impl DeserializeBytes for PublicMessage {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (content, rest) = FramedContent::tls_deserialize_bytes(bytes)?;
        let (auth, rest) = FramedContentAuthData::decode(content.content.content_type(), rest)?;
        if !matches!(content.sender, Sender::Member(_)) {
            return Ok((Self { content, auth, membership_tag: None }, rest));
        }
        let (tag, rest) = Bytes::tls_deserialize_bytes(rest)?;
        Ok((Self { content, auth, membership_tag: Some(tag) }, rest))
    }
}

/// `AuthenticatedContentTBM` (RFC 9420 6.2).
fn to_be_maced(
    content: &FramedContent,
    auth: &FramedContentAuthData,
    context: &GroupContext,
) -> Result<Vec<u8>, CryptoError> {
    let mut out = to_be_signed(WireFormat::PublicMessage, content, context)?;
    auth.tls_serialize(&mut out).map_err(crate::codec::CodecError::from)?;
    Ok(out)
}

impl PublicMessage {
    /// Puts a signed message into a PublicMessage, tagged if a member sends it.
    ///
    /// # Errors
    /// [`FramingError::PublicApplication`] for application data, [`FramingError::WireFormat`] if it was signed for
    /// another format.
    pub fn protect(
        suite: Suite,
        message: AuthenticatedContent,
        context: &GroupContext,
        membership_key: &Secret,
    ) -> Result<Self, FramingError> {
        let AuthenticatedContent { wire_format, content, auth } = message;
        if wire_format != WireFormat::PublicMessage {
            return Err(FramingError::WireFormat);
        }
        if content.content.content_type() == ContentType::Application {
            return Err(FramingError::PublicApplication);
        }
        let membership_tag = match content.sender {
            Sender::Member(_) => Some(suite.mac(membership_key, &to_be_maced(&content, &auth, context)?)?),
            _ => None,
        };
        Ok(Self { content, auth, membership_tag })
    }

    /// Checks the membership tag, where there must be one. The signature is still to be verified.
    ///
    /// # Errors
    /// [`FramingError::PublicApplication`] for application data, [`FramingError::MembershipTag`] if the tag is wrong.
    pub fn unprotect(
        &self,
        suite: Suite,
        context: &GroupContext,
        membership_key: &Secret,
    ) -> Result<AuthenticatedContent, FramingError> {
        if matches!(self.content.content, Content::Application(_)) {
            return Err(FramingError::PublicApplication);
        }
        if matches!(self.content.sender, Sender::Member(_)) {
            let tbm = to_be_maced(&self.content, &self.auth, context)?;
            let tag = self.membership_tag.as_ref().ok_or(FramingError::MembershipTag)?;
            if !suite.verify_mac(membership_key, &tbm, tag)? {
                return Err(FramingError::MembershipTag);
            }
        }
        Ok(self.clone().into_content())
    }

    /// The content with nothing checked: for messages whose sender is no member, or whose state is not known.
    pub fn into_content(self) -> AuthenticatedContent {
        AuthenticatedContent {
            wire_format: WireFormat::PublicMessage,
            content: self.content,
            auth: self.auth,
        }
    }
}
