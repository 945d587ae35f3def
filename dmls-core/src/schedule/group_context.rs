//! `GroupContext` (RFC 9420 8.1).

use crate::codec::{Bytes, CodecError, TlsDeserializeBytes, TlsSerialize, TlsSize, encode};
use crate::serde_as_tls;
use crate::suite::CipherSuite;
use crate::tree::{Extensions, ProtocolVersion};

/// What all members agree on in an epoch (RFC 9420 8.1). Public data.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct GroupContext {
    /// The protocol version of the group.
    pub version: ProtocolVersion,
    /// The cipher suite of the group.
    pub cipher_suite: CipherSuite,
    /// The group's identifier, of the application's choice.
    pub group_id: Bytes,
    /// The number of commits since the group was made. Two branches can have the same number.
    pub epoch: u64,
    /// The tree hash of the ratchet tree's root (RFC 9420 7.8).
    pub tree_hash: Bytes,
    /// The running hash over the commits that led here (RFC 9420 8.2). Empty in the first epoch.
    pub confirmed_transcript_hash: Bytes,
    /// The group's extensions.
    pub extensions: Extensions,
}

serde_as_tls!(GroupContext);

impl GroupContext {
    /// The encoding, as the key schedule and signatures use it.
    ///
    /// # Errors
    /// [`CodecError::BadLength`] if a field is longer than 2^30 - 1 bytes.
    pub fn encoded(&self) -> Result<Vec<u8>, CodecError> {
        encode(self)
    }
}
