//! `opaque x<V>`: a byte string with a variable-length header.

use std::fmt;
use std::io::Write;

use tls_codec::{DeserializeBytes, Error, Serialize, Size, TlsVarInt};

/// `opaque x<V>` (RFC 9420 2.1.2). Public data: `Debug` prints it in hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    /// The contents.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// Whether there are no contents.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The contents, owned.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Length of `len` bytes with their header.
pub(crate) fn vector_len(len: usize) -> usize {
    let header = match len {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        _ => 4,
    };
    header + len
}

/// Writes a byte vector with its header.
pub(crate) fn write_vector<W: Write>(bytes: &[u8], writer: &mut W) -> Result<usize, Error> {
    let len = u64::try_from(bytes.len()).map_err(|_| Error::InvalidVectorLength)?;
    let header = TlsVarInt::try_from(len).map_err(|_| Error::InvalidVectorLength)?.tls_serialize(writer)?;
    writer.write_all(bytes)?;
    Ok(header + bytes.len())
}

/// Reads a byte vector with its header: the contents and the rest of the input.
pub(crate) fn read_vector(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let (len, rest) = TlsVarInt::tls_deserialize_bytes(bytes)?;
    let len = usize::try_from(len.value()).map_err(|_| Error::InvalidVectorLength)?;
    rest.split_at_checked(len).ok_or(Error::EndOfStream)
}

impl Size for Bytes {
    fn tls_serialized_len(&self) -> usize {
        vector_len(self.0.len())
    }
}

impl Serialize for Bytes {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, Error> {
        write_vector(&self.0, writer)
    }
}

impl DeserializeBytes for Bytes {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        read_vector(bytes).map(|(contents, rest)| (Self(contents.to_vec()), rest))
    }
}

impl serde::Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_byte_buf(ByteVisitor).map(Self)
    }
}

/// Takes a byte string of any serde format.
pub(crate) struct ByteVisitor;

impl<'de> serde::de::Visitor<'de> for ByteVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte string")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element::<u8>()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}
