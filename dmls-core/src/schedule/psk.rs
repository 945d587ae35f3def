//! Pre-shared keys (RFC 9420 8.4).

use thiserror::Error;

use crate::codec::{Bytes, TlsDeserializeBytes, TlsSerialize, TlsSize, encode};
use crate::serde_as_tls;
use crate::suite::{CryptoError, Secret, Suite};

/// `ResumptionPSKUsage` (RFC 9420 8.4): what a resumption PSK is used for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSize, TlsSerialize, TlsDeserializeBytes,
)]
#[repr(u8)]
pub enum ResumptionPskUsage {
    /// Put in by the application.
    Application = 1,
    /// Ties a re-initialised group to the one before (RFC 9420 11.2).
    Reinit = 2,
    /// Ties a branch to its group (RFC 9420 11.3).
    Branch = 3,
}

/// The first part of `PreSharedKeyID` (RFC 9420 8.4): which key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum PskType {
    /// A key that the application handed out.
    #[tls_codec(discriminant = 1)]
    External {
        /// The application's name of the key.
        psk_id: Bytes,
    },
    /// The resumption secret of an epoch.
    #[tls_codec(discriminant = 2)]
    Resumption {
        /// What it is used for.
        usage: ResumptionPskUsage,
        /// The group whose secret it is.
        psk_group_id: Bytes,
        /// The epoch whose secret it is.
        psk_epoch: u64,
    },
}

/// `PreSharedKeyID` (RFC 9420 8.4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct PreSharedKeyId {
    /// Which key.
    pub psktype: PskType,
    /// Fresh random bytes, Nh of them, so that each use of a key is another.
    pub psk_nonce: Bytes,
}

serde_as_tls!(PreSharedKeyId);

/// `PSKLabel` (RFC 9420 8.4).
#[derive(TlsSize, TlsSerialize)]
struct PskLabel<'a> {
    id: &'a PreSharedKeyId,
    index: u16,
    count: u16,
}

/// Why PSKs could not be combined.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PskError {
    /// A position among the PSKs does not fit into the 16 bits of a PSKLabel.
    #[error("There are {0} PSKs; at most 65,535 can be combined.")]
    TooMany(usize),
    /// A derivation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// `psk_secret` (RFC 9420 8.4): all PSKs of a commit, in the order of its proposals, in one secret. The zero secret for
/// none.
///
/// # Errors
/// [`PskError::TooMany`] for more than 65,535 PSKs, [`PskError::Crypto`] for an id that cannot be encoded.
pub fn psk_secret(suite: Suite, psks: &[(PreSharedKeyId, Secret)]) -> Result<Secret, PskError> {
    let count = u16::try_from(psks.len()).map_err(|_| PskError::TooMany(psks.len()))?;
    let zero = Secret::zero(suite.nh());
    let mut psk_secret = zero.clone();
    for (index, (id, psk)) in (0..count).zip(psks) {
        let label = encode(&PskLabel { id, index, count }).map_err(CryptoError::from)?;
        let extracted = suite.extract(&zero, psk);
        let input = suite.expand_with_label(&extracted, "derived psk", &label, suite.nh())?;
        psk_secret = suite.extract(&input, &psk_secret);
    }
    Ok(psk_secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{CodecError, decode};

    #[test]
    fn ids_have_one_encoding_and_unknown_tags_are_rejected() {
        let external = PreSharedKeyId {
            psktype: PskType::External { psk_id: vec![7, 8].into() },
            psk_nonce: vec![9].into(),
        };
        let resumption = PreSharedKeyId {
            psktype: PskType::Resumption {
                usage: ResumptionPskUsage::Branch,
                psk_group_id: vec![5].into(),
                psk_epoch: 6,
            },
            psk_nonce: vec![9].into(),
        };
        assert_eq!(encode(&external).unwrap(), [1, 2, 7, 8, 1, 9]);
        assert_eq!(encode(&resumption).unwrap(), [2, 3, 1, 5, 0, 0, 0, 0, 0, 0, 0, 6, 1, 9]);
        for id in [external, resumption] {
            assert_eq!(decode::<PreSharedKeyId>(&encode(&id).unwrap()).unwrap(), id);
        }
        assert!(matches!(decode::<PreSharedKeyId>(&[3, 0, 0]), Err(CodecError::UnknownVariant(3))));
        for usage in [0, 4] {
            let bytes = [2, usage, 1, 5, 0, 0, 0, 0, 0, 0, 0, 6, 1, 9];
            assert!(matches!(decode::<PreSharedKeyId>(&bytes), Err(CodecError::UnknownVariant(_))));
        }
    }
}
