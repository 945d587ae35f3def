//! Secret bytes: wiped on drop, compared in constant time, never printed.

use std::fmt;
use std::io::Write;

use subtle::ConstantTimeEq;
use tls_codec::{DeserializeBytes, Error, Serialize, Size};
use zeroize::{Zeroize, Zeroizing};

use crate::codec::bytes::{ByteVisitor, read_vector, vector_len, write_vector};
use crate::codec::{Bytes, TlsDeserializeBytes, TlsSerialize, TlsSize};

/// A secret byte string. On the wire it is `opaque x<V>`.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The all-zero secret of `len` bytes (RFC 9420 8).
    pub fn zero(len: usize) -> Self {
        vec![0; len].into()
    }

    /// The bytes. Do not copy them out of a type that wipes them.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl Zeroize for Secret {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl Size for Secret {
    fn tls_serialized_len(&self) -> usize {
        vector_len(self.len())
    }
}

impl Serialize for Secret {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, Error> {
        write_vector(&self.0, writer)
    }
}

impl DeserializeBytes for Secret {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        read_vector(bytes).map(|(contents, rest)| (contents.into(), rest))
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_byte_buf(ByteVisitor).map(Into::into)
    }
}

/// Defines a public key: a byte string of its own type.
macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSize, TlsSerialize, TlsDeserializeBytes,
            serde::Serialize, serde::Deserialize,
        )]
        pub struct $name(pub Bytes);

        impl $name {
            /// The encoded key.
            pub fn as_slice(&self) -> &[u8] {
                self.0.as_slice()
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(bytes: Vec<u8>) -> Self {
                Self(bytes.into())
            }
        }
    };
}

public_key!(
    /// An HPKE public key in the encoding of its KEM (RFC 9420 5.1.1).
    HpkePublicKey
);
public_key!(
    /// A signature public key in the encoding of its scheme (RFC 9420 5.1.1).
    SignaturePublicKey
);

/// An HPKE private key in the encoding of its KEM.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HpkePrivateKey(pub Secret);

/// A signature private key: Ed25519 seed or big-endian scalar.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SignaturePrivateKey(pub Secret);
