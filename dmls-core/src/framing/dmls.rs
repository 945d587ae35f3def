//! The wire types of the DMLS profile (DESIGN 4.3). Every list is bounded when it is read.

use std::io::Write;

use thiserror::Error;
use tls_codec::{DeserializeBytes, Error as TlsError, Serialize, Size};

use crate::codec::bytes::{read_vector, vector_len, write_vector};
use crate::codec::{Bytes, CodecError, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::suite::Secret;
use crate::tree::{Credential, Extension, ExtensionType, Extensions};

/// The number of this profile.
pub const PROFILE: u16 = 3;
/// Heads in one message at most.
pub const MAX_HEADS: usize = 16;
/// Tips of one merge at most: no node retains more epochs by default.
pub const MAX_TIPS: usize = 64;
/// Operations of one merge at most.
pub const MAX_OPERATIONS: usize = 256;
/// Admins of a group at most.
pub const MAX_ADMINS: usize = 256;
/// Length of a truncated epoch id in bytes.
pub const TRUNCATED_LEN: usize = 16;
/// Length of an epoch or commit id at most: the largest Nh.
pub const MAX_ID_LEN: usize = 64;

/// Why something of the DMLS profile is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DmlsError {
    /// The group has another profile number than this build knows.
    #[error("The group uses DMLS profile {0}, which is not supported.")]
    UnsupportedProfile(u16),
    /// An extension of the profile is malformed.
    #[error("An extension of the DMLS profile is malformed: {0}")]
    Codec(#[from] CodecError),
    /// A retention bound is zero.
    #[error("A retention bound of the group is zero.")]
    ZeroBound,
}

/// The first 16 bytes of an epoch id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct TruncatedId(pub [u8; TRUNCATED_LEN]);

impl TruncatedId {
    /// Truncates an epoch id; shorter ones do not exist (`None`).
    pub fn of(id: &[u8]) -> Option<Self> {
        id.first_chunk().copied().map(Self)
    }
}

impl std::fmt::Debug for TruncatedId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// `opaque heads<V>`: truncated ids of tips, at most [`MAX_HEADS`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heads(pub Vec<TruncatedId>);

impl Size for Heads {
    fn tls_serialized_len(&self) -> usize {
        vector_len(self.0.len() * TRUNCATED_LEN)
    }
}

impl Serialize for Heads {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, TlsError> {
        bounded(self.0.len(), MAX_HEADS, "heads")?;
        write_vector(&self.0.iter().flat_map(|id| id.0).collect::<Vec<_>>(), writer)
    }
}

impl DeserializeBytes for Heads {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), TlsError> {
        let (heads, rest) = read_vector(bytes)?;
        let (ids, odd) = heads.as_chunks::<TRUNCATED_LEN>();
        bounded(ids.len(), MAX_HEADS, "heads")?;
        if !odd.is_empty() {
            return Err(TlsError::InvalidVectorLength);
        }
        Ok((Self(ids.iter().copied().map(TruncatedId).collect()), rest))
    }
}

pub(super) fn bounded(len: usize, max: usize, what: &str) -> Result<(), TlsError> {
    if len <= max { Ok(()) } else { Err(TlsError::DecodingError(format!("more than {max} {what}"))) }
}

/// Reads an epoch or commit id; empty means none.
pub(super) fn read_id(bytes: &[u8]) -> Result<(Bytes, &[u8]), TlsError> {
    let (id, rest) = read_vector(bytes)?;
    bounded(id.len(), MAX_ID_LEN, "bytes in an id")?;
    Ok((id.into(), rest))
}

fn read_optional_id(bytes: &[u8]) -> Result<(Option<Bytes>, &[u8]), TlsError> {
    let (id, rest) = Option::<Bytes>::tls_deserialize_bytes(bytes)?;
    bounded(id.as_ref().map_or(0, Bytes::len), MAX_ID_LEN, "bytes in an id")?;
    Ok((id, rest))
}

pub(super) fn read_list<'a, T: DeserializeBytes>(
    bytes: &'a [u8],
    max: usize,
    what: &str,
) -> Result<(Vec<T>, &'a [u8]), TlsError> {
    let (mut list, rest) = read_vector(bytes)?;
    let mut out = Vec::new();
    while !list.is_empty() {
        // Counted before the next one is read, so that memory stays within the bound.
        bounded(out.len() + 1, max, what)?;
        let (item, tail) = T::tls_deserialize_bytes(list)?;
        out.push(item);
        list = tail;
    }
    Ok((out, rest))
}

fn read_ids<'a>(bytes: &'a [u8], what: &str) -> Result<(Vec<Bytes>, &'a [u8]), TlsError> {
    let (ids, rest) = read_list::<Bytes>(bytes, MAX_TIPS, what)?;
    ids.iter().try_for_each(|id| bounded(id.len(), MAX_ID_LEN, "bytes in an id"))?;
    Ok((ids, rest))
}

/// `Merge`: what a merge commit merged.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize)]
pub struct Merge {
    /// Epoch id of the fork point.
    pub fork_epoch: Bytes,
    /// Commit ids of the tips that it merged.
    pub tips: Vec<Bytes>,
    /// `Hash` of the sorted vector of carried operations.
    pub carried_hash: Bytes,
    /// Clients whose Add is put off, for want of a KeyPackage.
    pub deferred: Vec<Credential>,
    /// Leaf indices of members whose heal debt it pays.
    pub healed: Vec<u32>,
}

impl DeserializeBytes for Merge {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), TlsError> {
        let (fork_epoch, rest) = read_id(bytes)?;
        let (tips, rest) = read_ids(rest, "merged tips")?;
        let (carried_hash, rest) = read_id(rest)?;
        let (deferred, rest) = read_list(rest, MAX_OPERATIONS, "deferred operations")?;
        let (healed, rest) = read_list(rest, MAX_OPERATIONS, "healed members")?;
        Ok((Self { fork_epoch, tips, carried_hash, deferred, healed }, rest))
    }
}

/// `DmlsMeta`: in every commit by value; alone, an acknowledgement or a vote.
#[derive(Debug, Clone, PartialEq, Eq, Default, TlsSize, TlsSerialize)]
pub struct DmlsMeta {
    /// Only when sent in a fork point: the full commit id of the child voted for.
    pub vote: Option<Bytes>,
    /// Epoch id of the newest ancestor at which the author's own vote or commit names another child than the one
    /// that this message lies below; empty: none.
    pub since: Bytes,
    /// In commits: the commit confirmation.
    pub conf: Option<Bytes>,
    /// Other tips that the author knows; empty in a vote.
    pub heads: Heads,
    /// In merge commits: what was merged.
    pub merge: Option<Merge>,
}

impl DeserializeBytes for DmlsMeta {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), TlsError> {
        let (vote, rest) = read_optional_id(bytes)?;
        let (since, rest) = read_id(rest)?;
        let (conf, rest) = read_optional_id(rest)?;
        let (heads, rest) = Heads::tls_deserialize_bytes(rest)?;
        let (merge, rest) = Option::tls_deserialize_bytes(rest)?;
        Ok((Self { vote, since, conf, heads, merge }, rest))
    }
}

/// `DmlsApplication`: what is inside `application_data`.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct DmlsApplication {
    /// The generation of the message key. The signature covers this one, so a copy under another key shows.
    pub generation: u32,
    /// Other tips that the author knows.
    pub heads: Heads,
    /// What the application sent.
    pub payload: Secret,
}

/// `DmlsJoin`: what a joiner must know of the history.
#[derive(Debug, Clone, PartialEq, Eq, Default, TlsSize, TlsSerialize)]
pub struct DmlsJoin {
    /// Epoch id of the parent of the epoch that is joined.
    pub parent: Bytes,
    /// Commit ids of the tips that are merged into it.
    pub merged_tips: Vec<Bytes>,
    /// Epoch id of the epoch in which the joiner was added before, if it was.
    pub added_in: Bytes,
}

impl DeserializeBytes for DmlsJoin {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), TlsError> {
        let (parent, rest) = read_id(bytes)?;
        let (merged_tips, rest) = read_ids(rest, "merged tips")?;
        let (added_in, rest) = read_id(rest)?;
        Ok((Self { parent, merged_tips, added_in }, rest))
    }
}

/// The content of the GroupInfo extension `dmls_epoch`.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize)]
pub struct DmlsEpochInfo {
    /// The id of the epoch that the GroupInfo describes.
    pub dmls_epoch: Bytes,
    /// Its place in the history.
    pub join: DmlsJoin,
}

impl DeserializeBytes for DmlsEpochInfo {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), TlsError> {
        let (dmls_epoch, rest) = read_id(bytes)?;
        let (join, rest) = DmlsJoin::tls_deserialize_bytes(rest)?;
        Ok((Self { dmls_epoch, join }, rest))
    }
}

impl DmlsEpochInfo {
    /// Reads the extension, if a GroupInfo has it.
    ///
    /// # Errors
    /// [`DmlsError::Codec`] if it is malformed.
    pub fn from_extensions(extensions: &Extensions) -> Result<Option<Self>, DmlsError> {
        Ok(extensions
            .get(ExtensionType::DMLS_EPOCH)
            .map(|e| crate::codec::decode(e.as_slice()))
            .transpose()?)
    }

    /// The extension.
    ///
    /// # Errors
    /// [`DmlsError::Codec`] if it is too long.
    pub fn to_extension(&self) -> Result<Extension, DmlsError> {
        Ok(Extension {
            extension_type: ExtensionType::DMLS_EPOCH,
            extension_data: crate::codec::encode(self)?.into(),
        })
    }
}

/// The content of the GroupContext extension `dmls_profile`: what all members agree on.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize)]
pub struct DmlsProfile {
    /// [`PROFILE`].
    pub profile: u16,
    /// Epochs behind the head that are kept at most.
    pub max_behind: u32,
    /// Epochs that are kept in all.
    pub max_retained: u32,
    /// For how long an epoch is kept, in seconds.
    pub max_age_seconds: u64,
    /// What the kept epochs take at most, in bytes.
    pub max_bytes: u64,
    /// Who may add and remove members; empty: everybody.
    pub admins: Vec<Credential>,
}

impl Default for DmlsProfile {
    fn default() -> Self {
        Self {
            profile: PROFILE,
            max_behind: 32,
            max_retained: 64,
            max_age_seconds: 7 * 24 * 3600,
            max_bytes: 32 << 20,
            admins: Vec::new(),
        }
    }
}

impl DeserializeBytes for DmlsProfile {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), TlsError> {
        let (profile, rest) = u16::tls_deserialize_bytes(bytes)?;
        let (max_behind, rest) = u32::tls_deserialize_bytes(rest)?;
        let (max_retained, rest) = u32::tls_deserialize_bytes(rest)?;
        let (max_age_seconds, rest) = u64::tls_deserialize_bytes(rest)?;
        let (max_bytes, rest) = u64::tls_deserialize_bytes(rest)?;
        let (admins, rest) = read_list(rest, MAX_ADMINS, "admins")?;
        Ok((Self { profile, max_behind, max_retained, max_age_seconds, max_bytes, admins }, rest))
    }
}

impl DmlsProfile {
    /// Reads the extension; `None`: the group is plain MLS.
    ///
    /// # Errors
    /// [`DmlsError`] if it is malformed, of another profile, or has a bound of zero.
    pub fn from_extensions(extensions: &Extensions) -> Result<Option<Self>, DmlsError> {
        let Some(data) = extensions.get(ExtensionType::DMLS_PROFILE) else { return Ok(None) };
        // The number first: another profile may have another shape.
        let (profile, _) = u16::tls_deserialize_bytes(data.as_slice()).map_err(CodecError::from)?;
        if profile != PROFILE {
            return Err(DmlsError::UnsupportedProfile(profile));
        }
        let profile: Self = crate::codec::decode(data.as_slice())?;
        if profile.max_behind == 0
            || profile.max_retained == 0
            || profile.max_age_seconds == 0
            || profile.max_bytes == 0
        {
            return Err(DmlsError::ZeroBound);
        }
        Ok(Some(profile))
    }

    /// The extension.
    ///
    /// # Errors
    /// [`DmlsError::Codec`] if it is too long.
    pub fn to_extension(&self) -> Result<Extension, DmlsError> {
        let data = crate::codec::encode(self)?;
        Ok(Extension { extension_type: ExtensionType::DMLS_PROFILE, extension_data: data.into() })
    }
}

crate::serde_as_tls!(DmlsMeta, Merge, DmlsJoin, DmlsEpochInfo, DmlsProfile);
