//! RFC 9420's labelled operations: 5.1.2 (signing), 5.1.3 (encrypting), 5.2 (references), 8 (deriving).

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;

use super::hpke::HpkeCiphertext;
use super::secret::{HpkePrivateKey, HpkePublicKey, Secret, SignaturePrivateKey, SignaturePublicKey};
use super::signature::Strictness;
use super::{CryptoError, Suite};
use crate::codec::bytes::{vector_len, write_vector};
use crate::codec::{Bytes, CodecError};

/// Which reference a [`Suite::ref_hash`] makes (RFC 9420 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefHashLabel {
    /// `KeyPackageRef`.
    KeyPackage,
    /// `ProposalRef`.
    Proposal,
}

/// `struct { [uint16 length;] opaque label<V> = "MLS 1.0 " + Label; opaque content<V>; }`, shared by all labels.
fn labelled(length: Option<u16>, label: &str, content: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let label = [b"MLS 1.0 ", label.as_bytes()].concat();
    let mut out = Vec::with_capacity(2 + vector_len(label.len()) + vector_len(content.len()));
    if let Some(length) = length {
        out.extend_from_slice(&length.to_be_bytes());
    }
    write_vector(&label, &mut out).map_err(CodecError::from)?;
    write_vector(content, &mut out).map_err(CodecError::from)?;
    Ok(out)
}

impl Suite {
    /// `RefHash(label, value)` (RFC 9420 5.2).
    ///
    /// # Errors
    /// [`CryptoError::Codec`] if `value` is longer than 2^30 - 1 bytes.
    pub fn ref_hash(self, label: RefHashLabel, value: &[u8]) -> Result<Bytes, CryptoError> {
        let label: &[u8] = match label {
            RefHashLabel::KeyPackage => b"MLS 1.0 KeyPackage Reference",
            RefHashLabel::Proposal => b"MLS 1.0 Proposal Reference",
        };
        self.ref_hash_raw(label, value)
    }

    /// [`Suite::ref_hash`] for a label given in full.
    ///
    /// # Errors
    /// As there.
    pub fn ref_hash_raw(self, label: &[u8], value: &[u8]) -> Result<Bytes, CryptoError> {
        let mut input = Vec::with_capacity(vector_len(label.len()) + vector_len(value.len()));
        write_vector(label, &mut input).map_err(CodecError::from)?;
        write_vector(value, &mut input).map_err(CodecError::from)?;
        Ok(self.hash(&input).into())
    }

    /// `KDF.Extract(salt, ikm)`.
    pub fn extract(self, salt: &Secret, ikm: &Secret) -> Secret {
        self.hasher().extract(salt.as_slice(), ikm.as_slice())
    }

    /// `KDFLabel` (RFC 9420 8): what `ExpandWithLabel` hands to `KDF.Expand` as its info.
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] if `length` is above 65,535.
    pub fn kdf_label(self, label: &str, context: &[u8], length: usize) -> Result<Vec<u8>, CryptoError> {
        let length = u16::try_from(length).map_err(|_| CryptoError::BadLength)?;
        labelled(Some(length), label, context)
    }

    /// `ExpandWithLabel(secret, label, context, length)` (RFC 9420 8).
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] if `length` is more than the KDF gives, or `secret` shorter than Nh.
    pub fn expand_with_label(
        self,
        secret: &Secret,
        label: &str,
        context: &[u8],
        length: usize,
    ) -> Result<Secret, CryptoError> {
        self.hasher().expand(secret.as_slice(), &self.kdf_label(label, context, length)?, length)
    }

    /// `DeriveSecret(secret, label)` (RFC 9420 8).
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] if `secret` is shorter than Nh.
    pub fn derive_secret(self, secret: &Secret, label: &str) -> Result<Secret, CryptoError> {
        self.expand_with_label(secret, label, b"", self.nh())
    }

    /// `DeriveTreeSecret(secret, label, generation, length)` (RFC 9420 9).
    ///
    /// # Errors
    /// As for [`Suite::expand_with_label`].
    pub fn derive_tree_secret(
        self,
        secret: &Secret,
        label: &str,
        generation: u32,
        length: usize,
    ) -> Result<Secret, CryptoError> {
        self.expand_with_label(secret, label, &generation.to_be_bytes(), length)
    }

    /// `MAC(key, data)`.
    ///
    /// # Errors
    /// None today.
    pub fn mac(self, key: &Secret, data: &[u8]) -> Result<Bytes, CryptoError> {
        self.hasher().mac(key.as_slice(), data).map(Bytes::from)
    }

    /// Whether `tag` is `MAC(key, data)`, compared in constant time.
    ///
    /// # Errors
    /// None today.
    pub fn verify_mac(self, key: &Secret, data: &[u8], tag: &Bytes) -> Result<bool, CryptoError> {
        Ok(self.mac(key, data)?.as_slice().ct_eq(tag.as_slice()).into())
    }

    /// `SignWithLabel(key, label, content)` (RFC 9420 5.1.2).
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the key is malformed.
    pub fn sign_with_label(
        self,
        key: &SignaturePrivateKey,
        label: &str,
        content: &[u8],
    ) -> Result<Bytes, CryptoError> {
        self.signature().sign(key, &labelled(None, label, content)?).map(Bytes::from)
    }

    /// `VerifyWithLabel(key, label, content, signature)` (RFC 9420 5.1.2).
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] or [`CryptoError::BadSignature`].
    pub fn verify_with_label(
        self,
        key: &SignaturePublicKey,
        label: &str,
        content: &[u8],
        signature: &Bytes,
        strictness: Strictness,
    ) -> Result<(), CryptoError> {
        let content = labelled(None, label, content)?;
        self.signature().verify(key, &content, signature.as_slice(), strictness)
    }

    /// `EncryptWithLabel(key, label, context, plaintext)` (RFC 9420 5.1.3).
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the key is malformed.
    pub fn encrypt_with_label(
        self,
        key: &HpkePublicKey,
        label: &str,
        context: &[u8],
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<HpkeCiphertext, CryptoError> {
        self.hpke().seal(key, &labelled(None, label, context)?, b"", plaintext, rng)
    }

    /// `DecryptWithLabel(key, label, context, ciphertext)` (RFC 9420 5.1.3).
    ///
    /// # Errors
    /// [`CryptoError::Decryption`] if it does not open, [`CryptoError::BadKey`] if the key is malformed.
    pub fn decrypt_with_label(
        self,
        key: &HpkePrivateKey,
        label: &str,
        context: &[u8],
        ciphertext: &HpkeCiphertext,
    ) -> Result<Secret, CryptoError> {
        self.hpke().open(key, &labelled(None, label, context)?, b"", ciphertext)
    }

    /// A fresh secret of Nh bytes.
    pub fn random_secret(self, rng: &mut dyn CryptoRng) -> Secret {
        let mut bytes = vec![0; self.nh()];
        rng.fill_bytes(&mut bytes);
        bytes.into()
    }
}
