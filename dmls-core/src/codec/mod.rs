//! The TLS presentation language (RFC 8446 3, RFC 9420 2.1), by way of `tls_codec`.
//!
//! Decoding is strict: [`decode`] takes exactly one value, lengths are minimal (RFC 9420 2.1.2), and memory is
//! bounded by the length of the input.

pub(crate) mod bytes;

pub use bytes::Bytes;
pub use tls_codec::{DeserializeBytes, Serialize, Size, TlsDeserializeBytes, TlsSerialize, TlsSize};

use thiserror::Error;

/// Why bytes could not be decoded, or a value not encoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodecError {
    /// The input ends in the middle of a value.
    #[error("The input is truncated.")]
    Truncated,
    /// The input goes on after the value.
    #[error("The input has trailing bytes.")]
    Trailing,
    /// A length is not minimal, too large, or does not fit its contents.
    #[error("A vector length is not canonical or does not fit its contents.")]
    BadLength,
    /// A tag names no variant of its enum.
    #[error("An enum has no variant {0}.")]
    UnknownVariant(u64),
    /// The bytes are no encoding of the value for another reason.
    #[error("The input is malformed: {0}.")]
    Malformed(String),
}

impl From<tls_codec::Error> for CodecError {
    fn from(error: tls_codec::Error) -> Self {
        use tls_codec::Error as E;
        match error {
            E::EndOfStream => Self::Truncated,
            E::TrailingData => Self::Trailing,
            E::InvalidVectorLength => Self::BadLength,
            E::UnknownValue(v) => Self::UnknownVariant(v),
            other => Self::Malformed(other.to_string()),
        }
    }
}

/// Decodes exactly one value from all of `bytes`.
///
/// # Errors
/// [`CodecError`] if `bytes` is not one canonical encoding of a `T`.
pub fn decode<T: DeserializeBytes>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, rest) = T::tls_deserialize_bytes(bytes)?;
    if rest.is_empty() { Ok(value) } else { Err(CodecError::Trailing) }
}

/// Encodes one value.
///
/// # Errors
/// [`CodecError::BadLength`] if a vector is longer than 2^30 - 1 bytes.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(value.tls_serialized_len());
    value.tls_serialize(&mut out)?;
    Ok(out)
}

/// Implements serde through the TLS encoding, for wire types that are also stored.
#[macro_export]
#[doc(hidden)]
macro_rules! serde_as_tls {
    ($($ty:ty),+ $(,)?) => {$(
        impl serde::Serialize for $ty {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                let bytes = $crate::codec::encode(self).map_err(serde::ser::Error::custom)?;
                serde::Serialize::serialize(&$crate::codec::Bytes::from(bytes), s)
            }
        }
        impl<'de> serde::Deserialize<'de> for $ty {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let bytes = <$crate::codec::Bytes as serde::Deserialize>::deserialize(d)?;
                $crate::codec::decode(bytes.as_slice()).map_err(serde::de::Error::custom)
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal_and_bounded_by_the_input() {
        assert_eq!(decode::<Bytes>(&[2, 7, 8]).unwrap().as_slice(), &[7, 8]);
        assert_eq!(decode::<Bytes>(&[2, 7]), Err(CodecError::Truncated));
        assert_eq!(decode::<Bytes>(&[1, 7, 8]), Err(CodecError::Trailing));
        assert_eq!(decode::<Bytes>(&[0x40, 1, 7]), Err(CodecError::BadLength));
        assert_eq!(decode::<Bytes>(&[0xbf, 0xff, 0xff, 0xff, 1]), Err(CodecError::Truncated));
        assert!(decode::<Bytes>(&[0xc0, 0, 0, 0, 0, 0, 0, 1, 7]).is_err());
        assert!(decode::<Vec<Bytes>>(&[2, 0, 1, 7]).is_err());
        assert!(decode::<Option<Bytes>>(&[2, 0]).is_err());
    }
}
