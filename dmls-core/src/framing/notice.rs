//! What members' clients tell each other inside application messages (DESIGN 4.6), and the request to rejoin.

use std::io::Write;

use tls_codec::{DeserializeBytes, Error as TlsError, Serialize, Size};

use super::dmls::{DmlsApplication, DmlsError, Heads, bounded, read_id};
use super::proof::MAX_PROOF_LEN;
use crate::codec::bytes::read_vector;
use crate::codec::{Bytes, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::suite::Secret;
use crate::tree::{Extension, ExtensionType, Extensions};

/// Bytes of the key package in a notice at most.
pub const MAX_NOTICE_KEY_PACKAGE: usize = 16 << 10;
/// Bytes of a notice at most.
pub const MAX_NOTICE_LEN: usize = 1 << 20;
/// Length of a group id in a request to rejoin at most.
const MAX_GROUP_ID_LEN: usize = 1 << 10;

const CLOSED: u8 = 1;
const KEY_PACKAGE: u8 = 2;
const WELCOME: u8 = 3;
const PROOF: u8 = 4;

/// `DmlsNotice`: a message for the members' clients, not for their users. Its type in one byte, then its contents.
///
/// A notice of another type than these is kept as it is, so that it can be ignored: later builds may know more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DmlsNotice {
    /// Type 1: the sender has left this branch. A warning, never evidence.
    Closed {
        /// The commit that leads to the branch where it is now, or the one below the fork point that won.
        winner: Bytes,
    },
    /// Type 2: a fresh KeyPackage of the sender, as an `MLSMessage`: it asks to be added elsewhere.
    KeyPackage(Bytes),
    /// Type 3: a Welcome, as an `MLSMessage`, for whom it names. All others ignore it.
    Welcome(Bytes),
    /// Type 4: an [`super::EquivocationProof`]. It tells, and decides nothing: evidence is handshake messages only.
    Proof(Bytes),
    /// Any other type.
    Unknown {
        /// The type.
        notice_type: u8,
        /// Everything behind it.
        contents: Bytes,
    },
}

impl DmlsNotice {
    fn parts(&self) -> (u8, &Bytes) {
        match self {
            Self::Closed { winner } => (CLOSED, winner),
            Self::KeyPackage(message) => (KEY_PACKAGE, message),
            Self::Welcome(message) => (WELCOME, message),
            Self::Proof(proof) => (PROOF, proof),
            Self::Unknown { notice_type, contents } => (*notice_type, contents),
        }
    }
}

impl Size for DmlsNotice {
    fn tls_serialized_len(&self) -> usize {
        match self {
            Self::Unknown { contents, .. } => 1 + contents.len(),
            _ => 1 + self.parts().1.tls_serialized_len(),
        }
    }
}

impl Serialize for DmlsNotice {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, TlsError> {
        let (notice_type, contents) = self.parts();
        bounded(self.tls_serialized_len(), MAX_NOTICE_LEN, "bytes in a notice")?;
        writer.write_all(&[notice_type])?;
        match self {
            Self::Unknown { .. } => {
                writer.write_all(contents.as_slice())?;
                Ok(1 + contents.len())
            }
            _ => Ok(1 + contents.tls_serialize(writer)?),
        }
    }
}

/// An unknown notice takes all that is left of the input.
impl DeserializeBytes for DmlsNotice {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), TlsError> {
        bounded(bytes.len(), MAX_NOTICE_LEN, "bytes in a notice")?;
        let (&notice_type, rest) = bytes.split_first().ok_or(TlsError::EndOfStream)?;
        match notice_type {
            CLOSED => {
                let (winner, rest) = read_id(rest)?;
                Ok((Self::Closed { winner }, rest))
            }
            KEY_PACKAGE => {
                let (message, rest) = read_vector(rest)?;
                bounded(message.len(), MAX_NOTICE_KEY_PACKAGE, "bytes in the key package of a notice")?;
                Ok((Self::KeyPackage(message.into()), rest))
            }
            WELCOME => {
                let (message, rest) = read_vector(rest)?;
                Ok((Self::Welcome(message.into()), rest))
            }
            PROOF => {
                let (proof, rest) = read_vector(rest)?;
                bounded(proof.len(), MAX_PROOF_LEN, "bytes in a proof")?;
                Ok((Self::Proof(proof.into()), rest))
            }
            _ => Ok((Self::Unknown { notice_type, contents: rest.into() }, &[])),
        }
    }
}

/// What is inside `application_data`: a message of a user is a [`DmlsApplication`] and nothing more; behind one with
/// an empty payload follows a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplicationData {
    /// Of a notice, the payload is empty.
    pub application: DmlsApplication,
    /// The notice, if it is one.
    pub notice: Option<DmlsNotice>,
}

impl ApplicationData {
    /// A notice.
    pub fn notice(generation: u32, heads: Heads, notice: DmlsNotice) -> Self {
        let application = DmlsApplication { generation, heads, payload: Secret::from(Vec::new()) };
        Self { application, notice: Some(notice) }
    }

    fn check(&self) -> Result<(), TlsError> {
        if self.notice.is_some() && !self.application.payload.as_slice().is_empty() {
            return Err(TlsError::DecodingError("a notice has no payload".into()));
        }
        Ok(())
    }
}

impl Size for ApplicationData {
    fn tls_serialized_len(&self) -> usize {
        let notice = self.notice.as_ref().map_or(0, Size::tls_serialized_len);
        self.application.tls_serialized_len() + notice
    }
}

impl Serialize for ApplicationData {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, TlsError> {
        self.check()?;
        let application = self.application.tls_serialize(writer)?;
        let notice = self.notice.as_ref().map_or(Ok(0), |notice| notice.tls_serialize(writer))?;
        Ok(application + notice)
    }
}

impl DeserializeBytes for ApplicationData {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), TlsError> {
        let (application, rest) = DmlsApplication::tls_deserialize_bytes(bytes)?;
        if rest.is_empty() {
            return Ok((Self { application, notice: None }, rest));
        }
        let (notice, rest) = DmlsNotice::tls_deserialize_bytes(rest)?;
        let data = Self { application, notice: Some(notice) };
        data.check()?;
        Ok((data, rest))
    }
}

/// `dmls_rejoin`: the leaf extension by which a client asks to be removed and added in one commit. The signature of the
/// KeyPackage around it makes it a signed request; the leaf keeps it, so that no older request is taken after it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct DmlsRejoin {
    /// The group.
    pub group_id: Bytes,
    /// Unix milliseconds when it was made: the next one's is greater.
    pub number: u64,
}

impl DmlsRejoin {
    /// Reads the extension, if a leaf has it.
    ///
    /// # Errors
    /// [`DmlsError::Codec`] if it is malformed.
    pub fn from_extensions(extensions: &Extensions) -> Result<Option<Self>, DmlsError> {
        let Some(data) = extensions.get(ExtensionType::DMLS_REJOIN) else { return Ok(None) };
        let rejoin: Self = crate::codec::decode(data.as_slice())?;
        bounded(rejoin.group_id.len(), MAX_GROUP_ID_LEN, "bytes in a group id")
            .map_err(crate::codec::CodecError::from)?;
        Ok(Some(rejoin))
    }

    /// The extension.
    ///
    /// # Errors
    /// [`DmlsError::Codec`] if it is too long.
    pub fn to_extension(&self) -> Result<Extension, DmlsError> {
        Ok(Extension {
            extension_type: ExtensionType::DMLS_REJOIN,
            extension_data: crate::codec::encode(self)?.into(),
        })
    }
}
