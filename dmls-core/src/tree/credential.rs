//! Credentials (RFC 9420 5.3). What one means is for the application's authentication service to say.

use super::extension::CredentialType;
use crate::codec::{Bytes, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::serde_as_tls;

/// `Credential`. A type that is not known here is a decoding error: nobody could say whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u16)]
pub enum Credential {
    /// An identity that the application understands.
    #[tls_codec(discriminant = 1)]
    Basic {
        /// The identity.
        identity: Bytes,
    },
    /// A chain of certificates, the end entity's first.
    #[tls_codec(discriminant = 2)]
    X509 {
        /// DER encodings.
        certificates: Vec<Bytes>,
    },
}

impl Credential {
    /// A basic credential.
    pub fn basic(identity: impl Into<Vec<u8>>) -> Self {
        Self::Basic { identity: identity.into().into() }
    }

    /// Its code point.
    pub fn credential_type(&self) -> CredentialType {
        match self {
            Self::Basic { .. } => CredentialType::BASIC,
            Self::X509 { .. } => CredentialType::X509,
        }
    }
}

serde_as_tls!(Credential);
