//! AEAD of a suite (RFC 9420 5.1), always with an explicit 12-byte nonce.

use aes_gcm::aead::{Aead as _, KeyInit, Payload};

use super::CryptoError;
use super::secret::Secret;

/// Length of every nonce (`Nn`) of RFC 9420's suites.
pub const NONCE_LEN: usize = 12;

/// An authenticated cipher.
pub trait Aead: Sync {
    /// `Nk`, the key length in bytes.
    fn key_len(&self) -> usize;
    /// Encrypts; the tag is the end of the ciphertext.
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] for a key or nonce of the wrong length or an oversized plaintext.
    fn seal(&self, key: &Secret, nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError>;
    /// Decrypts.
    ///
    /// # Errors
    /// [`CryptoError::Decryption`] if the ciphertext is not authentic; [`CryptoError::BadLength`] as in `seal`.
    fn open(&self, key: &Secret, nonce: &[u8], aad: &[u8], ciphertext: &[u8]) -> Result<Secret, CryptoError>;
}

macro_rules! aead {
    ($(#[$doc:meta])* $name:ident, $cipher:ty, $key_len:literal) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl Aead for $name {
            fn key_len(&self) -> usize {
                $key_len
            }

            fn seal(&self, key: &Secret, nonce: &[u8], aad: &[u8], msg: &[u8]) -> Result<Vec<u8>, CryptoError> {
                let cipher = <$cipher>::new_from_slice(key.as_slice()).map_err(|_| CryptoError::BadLength)?;
                let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| CryptoError::BadLength)?;
                cipher.encrypt(&nonce.into(), Payload { msg, aad }).map_err(|_| CryptoError::BadLength)
            }

            fn open(&self, key: &Secret, nonce: &[u8], aad: &[u8], msg: &[u8]) -> Result<Secret, CryptoError> {
                let cipher = <$cipher>::new_from_slice(key.as_slice()).map_err(|_| CryptoError::BadLength)?;
                let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| CryptoError::BadLength)?;
                let plaintext = cipher.decrypt(&nonce.into(), Payload { msg, aad });
                plaintext.map(Into::into).map_err(|_| CryptoError::Decryption)
            }
        }
    };
}

aead!(
    /// AES-128-GCM.
    Aes128Gcm, aes_gcm::Aes128Gcm, 16
);
aead!(
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305, chacha20poly1305::ChaCha20Poly1305, 32
);
