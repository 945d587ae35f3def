//! Cipher suites (RFC 9420 5.1): one table, one small trait an algorithm.
//!
//! Adding a suite is adding a row to the table `SUITES`. Nothing outside this folder names an algorithm.

mod aead;
mod hash;
mod hpke;
mod labels;
mod secret;
mod signature;

use thiserror::Error;

pub use aead::{Aead, NONCE_LEN};
pub use hash::Hash;
pub use hpke::{Hpke, HpkeCiphertext};
pub use labels::RefHashLabel;
pub use secret::{HpkePrivateKey, HpkePublicKey, Secret, SignaturePrivateKey, SignaturePublicKey};
pub use signature::{SignatureScheme, Strictness};

use crate::codec::{CodecError, TlsDeserializeBytes, TlsSerialize, TlsSize};

/// `CipherSuite` as on the wire (RFC 9420 17.1). Not every number has a [`Suite`].
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    TlsSize,
    TlsSerialize,
    TlsDeserializeBytes,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct CipherSuite(pub u16);

impl CipherSuite {
    /// MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519.
    pub const X25519_AES128GCM: Self = Self(1);
    /// MLS_128_DHKEMP256_AES128GCM_SHA256_P256.
    pub const P256_AES128GCM: Self = Self(2);
    /// MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519.
    pub const X25519_CHACHA20POLY1305: Self = Self(3);

    /// The algorithms of the suite.
    ///
    /// # Errors
    /// [`CryptoError::UnsupportedSuite`] if this build has no such suite.
    pub fn suite(self) -> Result<Suite, CryptoError> {
        SUITES.iter().find(|suite| suite.id == self).map(Suite).ok_or(CryptoError::UnsupportedSuite(self.0))
    }

    /// The suites of this build.
    pub fn supported() -> impl Iterator<Item = Self> {
        SUITES.iter().map(|suite| suite.id)
    }
}

/// Why a cryptographic operation failed. Never says more than an attacker may know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CryptoError {
    /// The suite is not one of this build.
    #[error("Cipher suite {0:#06x} is not supported.")]
    UnsupportedSuite(u16),
    /// A key is malformed.
    #[error("A key is malformed.")]
    BadKey,
    /// A key, nonce, or output has a length that the algorithm does not take.
    #[error("A key, nonce or output has the wrong length.")]
    BadLength,
    /// A signature is malformed, not canonical, or not of this message.
    #[error("A signature is invalid.")]
    BadSignature,
    /// A ciphertext is not authentic under this key.
    #[error("A ciphertext is not authentic.")]
    Decryption,
    /// A label's structure could not be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// A row of the table.
struct SuiteRow {
    id: CipherSuite,
    name: &'static str,
    hash: &'static dyn Hash,
    aead: &'static dyn Aead,
    hpke: &'static dyn Hpke,
    signature: &'static dyn SignatureScheme,
}

type X25519Aes128 =
    hpke::HpkeSuite<::hpke::kem::X25519HkdfSha256, ::hpke::kdf::HkdfSha256, ::hpke::aead::AesGcm128>;
type P256Aes128 =
    hpke::HpkeSuite<::hpke::kem::DhP256HkdfSha256, ::hpke::kdf::HkdfSha256, ::hpke::aead::AesGcm128>;
type X25519ChaCha =
    hpke::HpkeSuite<::hpke::kem::X25519HkdfSha256, ::hpke::kdf::HkdfSha256, ::hpke::aead::ChaCha20Poly1305>;

/// Every suite of this build.
static SUITES: [SuiteRow; 3] = [
    SuiteRow {
        id: CipherSuite::X25519_AES128GCM,
        name: "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
        hash: &hash::Sha256,
        aead: &aead::Aes128Gcm,
        hpke: &X25519Aes128::new(hpke::is_small_order),
        signature: &signature::Ed25519,
    },
    SuiteRow {
        id: CipherSuite::P256_AES128GCM,
        name: "MLS_128_DHKEMP256_AES128GCM_SHA256_P256",
        hash: &hash::Sha256,
        aead: &aead::Aes128Gcm,
        hpke: &P256Aes128::new(hpke::never_degenerate),
        signature: &signature::EcdsaP256,
    },
    SuiteRow {
        id: CipherSuite::X25519_CHACHA20POLY1305,
        name: "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519",
        hash: &hash::Sha256,
        aead: &aead::ChaCha20Poly1305,
        hpke: &X25519ChaCha::new(hpke::is_small_order),
        signature: &signature::Ed25519,
    },
];

/// The algorithms of a cipher suite. A handle: copy it freely.
#[derive(Clone, Copy)]
pub struct Suite(&'static SuiteRow);

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

impl PartialEq for Suite {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Suite {}

impl Suite {
    /// The suite's number.
    pub fn id(self) -> CipherSuite {
        self.0.id
    }

    /// The suite's registered name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Hash, MAC and KDF.
    pub fn hasher(self) -> &'static dyn Hash {
        self.0.hash
    }

    /// The authenticated cipher.
    pub fn aead(self) -> &'static dyn Aead {
        self.0.aead
    }

    /// Public-key encryption.
    pub fn hpke(self) -> &'static dyn Hpke {
        self.0.hpke
    }

    /// The signature scheme.
    pub fn signature(self) -> &'static dyn SignatureScheme {
        self.0.signature
    }

    /// `Nh`: length of hashes and secrets in bytes.
    pub fn nh(self) -> usize {
        self.0.hash.output_len()
    }

    /// `Hash(data)`.
    pub fn hash(self, data: &[u8]) -> Vec<u8> {
        self.0.hash.hash(data)
    }
}
