//! `MLSMessage` (RFC 9420 6): whatever travels between clients.

use tls_codec::{DeserializeBytes, Error};

use super::content::WireFormat;
use super::key_package::KeyPackage;
use super::private_message::PrivateMessage;
use super::public_message::PublicMessage;
use super::welcome::{GroupInfo, Welcome};
use crate::codec::{Bytes, CodecError, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::tree::ProtocolVersion;

/// The part of an `MLSMessage` that its wire format selects.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u16)]
#[allow(clippy::large_enum_variant)]
pub enum MlsMessageBody {
    /// Signed only.
    #[tls_codec(discriminant = 1)]
    Public(PublicMessage),
    /// Signed and encrypted.
    Private(PrivateMessage),
    /// What a new member needs to join.
    Welcome(Welcome),
    /// What anybody may know of a group.
    GroupInfo(GroupInfo),
    /// A client that can be added.
    KeyPackage(KeyPackage),
}

/// `MLSMessage` (RFC 9420 6).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize)]
pub struct MlsMessage {
    /// Always MLS 1.0: another version does not decode.
    pub version: ProtocolVersion,
    /// The message.
    pub body: MlsMessageBody,
}

impl DeserializeBytes for MlsMessage {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (version, rest) = ProtocolVersion::tls_deserialize_bytes(bytes)?;
        // The version decides how everything behind it is read.
        if version != ProtocolVersion::MLS10 {
            return Err(Error::UnknownValue(version.0.into()));
        }
        let (body, rest) = MlsMessageBody::tls_deserialize_bytes(rest)?;
        Ok((Self { version, body }, rest))
    }
}

crate::serde_as_tls!(MlsMessage);

macro_rules! from_body {
    ($($variant:ident($ty:ty)),+) => {$(
        impl From<$ty> for MlsMessage {
            fn from(body: $ty) -> Self {
                Self { version: ProtocolVersion::MLS10, body: MlsMessageBody::$variant(body) }
            }
        }
    )+};
}

from_body!(
    Public(PublicMessage),
    Private(PrivateMessage),
    Welcome(Welcome),
    GroupInfo(GroupInfo),
    KeyPackage(KeyPackage)
);

impl MlsMessage {
    /// Reads exactly one message.
    ///
    /// # Errors
    /// [`CodecError`] if `bytes` is not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        crate::codec::decode(bytes)
    }

    /// The encoding.
    ///
    /// # Errors
    /// [`CodecError::BadLength`] if a vector is too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        crate::codec::encode(self)
    }

    /// The wire format of the body.
    pub fn wire_format(&self) -> WireFormat {
        match &self.body {
            MlsMessageBody::Public(_) => WireFormat::PublicMessage,
            MlsMessageBody::Private(_) => WireFormat::PrivateMessage,
            MlsMessageBody::Welcome(_) => WireFormat::Welcome,
            MlsMessageBody::GroupInfo(_) => WireFormat::GroupInfo,
            MlsMessageBody::KeyPackage(_) => WireFormat::KeyPackage,
        }
    }

    /// Group and epoch that a public or private message, or a GroupInfo, says it belongs to.
    pub fn group_and_epoch(&self) -> Option<(&Bytes, u64)> {
        match &self.body {
            MlsMessageBody::Public(m) => Some((&m.content.group_id, m.content.epoch)),
            MlsMessageBody::Private(m) => Some((&m.group_id, m.epoch)),
            MlsMessageBody::GroupInfo(m) => Some((&m.group_context.group_id, m.group_context.epoch)),
            MlsMessageBody::Welcome(_) | MlsMessageBody::KeyPackage(_) => None,
        }
    }
}

/// `DMLSMessage` (DESIGN 4.3): a public or private message and the epoch that it claims to belong to.
///
/// The claim is not authenticated: a hint for routing, never evidence.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize)]
pub struct DmlsMessage {
    /// A public or private message.
    pub message: MlsMessage,
    /// The epoch id, Nh bytes.
    pub dmls_epoch: Bytes,
}

impl DeserializeBytes for DmlsMessage {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (message, rest) = MlsMessage::tls_deserialize_bytes(bytes)?;
        match message.body {
            MlsMessageBody::Public(_) | MlsMessageBody::Private(_) => {}
            _ => return Err(Error::UnknownValue(message.wire_format() as u64)),
        }
        let (dmls_epoch, rest) = super::dmls::read_id(rest)?;
        Ok((Self { message, dmls_epoch }, rest))
    }
}

crate::serde_as_tls!(DmlsMessage);
