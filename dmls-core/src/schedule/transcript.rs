//! Transcript hashes (RFC 9420 8.2).

use crate::codec::{Bytes, encode};
use crate::suite::{CryptoError, Suite};

/// The confirmed transcript hash after a commit: `Hash(interim_before || ConfirmedTranscriptHashInput)`.
///
/// `confirmed_input` is the encoding of the commit's wire format, FramedContent and signature. It needs no secret, so a
/// removed member computes it too: in DMLS it is the commit's id (DESIGN 1).
pub fn confirmed_transcript_hash(suite: Suite, interim_before: &Bytes, confirmed_input: &[u8]) -> Bytes {
    suite.hash(&[interim_before.as_slice(), confirmed_input].concat()).into()
}

/// The interim transcript hash of an epoch: `Hash(confirmed || InterimTranscriptHashInput)`.
///
/// For the first epoch of a group `confirmed` is empty (RFC 9420 11).
///
/// # Errors
/// [`CryptoError::Codec`] if the tag is longer than 2^30 - 1 bytes.
pub fn interim_transcript_hash(
    suite: Suite,
    confirmed: &Bytes,
    confirmation_tag: &Bytes,
) -> Result<Bytes, CryptoError> {
    // InterimTranscriptHashInput has the tag as its only field.
    let input = encode(confirmation_tag)?;
    Ok(suite.hash(&[confirmed.as_slice(), &input].concat()).into())
}
