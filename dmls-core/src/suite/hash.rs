//! Hash, MAC and KDF of a suite (RFC 9420 5.1).

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Digest;

use super::CryptoError;
use super::secret::Secret;

/// The hash function of a suite, with the HMAC and HKDF made from it.
pub trait Hash: Sync {
    /// `Nh`, the output length in bytes.
    fn output_len(&self) -> usize;
    /// `Hash(data)`.
    fn hash(&self, data: &[u8]) -> Vec<u8>;
    /// `MAC(key, data)`: HMAC.
    ///
    /// # Errors
    /// None today: HMAC takes keys of any length.
    fn mac(&self, key: &[u8], data: &[u8]) -> Result<Vec<u8>, CryptoError>;
    /// `KDF.Extract(salt, ikm)`.
    fn extract(&self, salt: &[u8], ikm: &[u8]) -> Secret;
    /// `KDF.Expand(prk, info, length)`.
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] if `prk` is shorter than Nh or `length` above 255·Nh.
    fn expand(&self, prk: &[u8], info: &[u8], length: usize) -> Result<Secret, CryptoError>;
}

macro_rules! sha2_hash {
    ($(#[$doc:meta])* $name:ident, $digest:ty, $len:literal) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl Hash for $name {
            fn output_len(&self) -> usize {
                $len
            }

            fn hash(&self, data: &[u8]) -> Vec<u8> {
                <$digest>::digest(data).to_vec()
            }

            fn mac(&self, key: &[u8], data: &[u8]) -> Result<Vec<u8>, CryptoError> {
                let mac = Hmac::<$digest>::new_from_slice(key).map_err(|_| CryptoError::BadLength)?;
                Ok(mac.chain_update(data).finalize().into_bytes().to_vec())
            }

            fn extract(&self, salt: &[u8], ikm: &[u8]) -> Secret {
                Hkdf::<$digest>::extract(Some(salt), ikm).0.to_vec().into()
            }

            fn expand(&self, prk: &[u8], info: &[u8], length: usize) -> Result<Secret, CryptoError> {
                let mut out = vec![0; length];
                let hkdf = Hkdf::<$digest>::from_prk(prk).map_err(|_| CryptoError::BadLength)?;
                hkdf.expand(info, &mut out).map_err(|_| CryptoError::BadLength)?;
                Ok(out.into())
            }
        }
    };
}

sha2_hash!(
    /// SHA-256.
    Sha256, sha2::Sha256, 32
);
