//! Signature schemes (RFC 9420 5.1.2), verified in their canonical form only.

use ed25519_dalek::Signer;
use p256::ecdsa::signature::Verifier as _;
use p256::elliptic_curve::Generate;
use rand_core::CryptoRng;

use super::CryptoError;
use super::secret::{SignaturePrivateKey, SignaturePublicKey};

/// How strictly a signature's encoding is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// RFC 9420: any encoding that the scheme's own standard accepts.
    Standard,
    /// The DMLS profile (DESIGN 4.3): one encoding a signature, so that nobody makes two of one.
    Canonical,
}

/// A signature scheme.
pub trait SignatureScheme: Sync {
    /// Makes a key pair.
    fn generate(&self, rng: &mut dyn CryptoRng) -> (SignaturePrivateKey, SignaturePublicKey);
    /// The public key of a private key.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the private key is malformed.
    fn public_key(&self, key: &SignaturePrivateKey) -> Result<SignaturePublicKey, CryptoError>;
    /// Signs, deterministically and in canonical form.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the private key is malformed.
    fn sign(&self, key: &SignaturePrivateKey, message: &[u8]) -> Result<Vec<u8>, CryptoError>;
    /// Verifies.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] for a malformed public key, [`CryptoError::BadSignature`] otherwise.
    fn verify(
        &self,
        key: &SignaturePublicKey,
        message: &[u8],
        signature: &[u8],
        strictness: Strictness,
    ) -> Result<(), CryptoError>;
}

/// Ed25519. Always verified strictly: S < L, canonical encodings, no key of small order.
pub(super) struct Ed25519;

impl Ed25519 {
    fn signing_key(key: &SignaturePrivateKey) -> Result<ed25519_dalek::SigningKey, CryptoError> {
        // Some implementations store the seed with the public key behind it.
        let seed = key.0.as_slice().first_chunk::<32>().ok_or(CryptoError::BadKey)?;
        let signing_key = ed25519_dalek::SigningKey::from_bytes(seed);
        match &key.0.as_slice()[32..] {
            [] => Ok(signing_key),
            public if public == signing_key.verifying_key().as_bytes() => Ok(signing_key),
            _ => Err(CryptoError::BadKey),
        }
    }
}

impl SignatureScheme for Ed25519 {
    fn generate(&self, rng: &mut dyn CryptoRng) -> (SignaturePrivateKey, SignaturePublicKey) {
        let key = ed25519_dalek::SigningKey::generate(rng);
        let public = key.verifying_key().as_bytes().to_vec();
        (SignaturePrivateKey(key.as_bytes().as_slice().into()), public.into())
    }

    fn public_key(&self, key: &SignaturePrivateKey) -> Result<SignaturePublicKey, CryptoError> {
        Ok(Self::signing_key(key)?.verifying_key().as_bytes().to_vec().into())
    }

    fn sign(&self, key: &SignaturePrivateKey, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Ok(Self::signing_key(key)?.sign(message).to_bytes().to_vec())
    }

    fn verify(
        &self,
        key: &SignaturePublicKey,
        message: &[u8],
        signature: &[u8],
        _: Strictness,
    ) -> Result<(), CryptoError> {
        let key = key.as_slice().try_into().map_err(|_| CryptoError::BadKey)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(|_| CryptoError::BadKey)?;
        let signature =
            ed25519_dalek::Signature::from_slice(signature).map_err(|_| CryptoError::BadSignature)?;
        key.verify_strict(message, &signature).map_err(|_| CryptoError::BadSignature)
    }
}

/// ECDSA over P-256 with SHA-256; signatures in DER, made with low S.
pub(super) struct EcdsaP256;

impl SignatureScheme for EcdsaP256 {
    fn generate(&self, rng: &mut dyn CryptoRng) -> (SignaturePrivateKey, SignaturePublicKey) {
        let mut rng = rng;
        let key = p256::ecdsa::SigningKey::generate_from_rng(&mut rng);
        let public = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
        (SignaturePrivateKey(key.to_bytes().as_slice().into()), public.into())
    }

    fn public_key(&self, key: &SignaturePrivateKey) -> Result<SignaturePublicKey, CryptoError> {
        let key = p256::ecdsa::SigningKey::from_slice(key.0.as_slice()).map_err(|_| CryptoError::BadKey)?;
        Ok(key.verifying_key().to_sec1_point(false).as_bytes().to_vec().into())
    }

    fn sign(&self, key: &SignaturePrivateKey, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let key = p256::ecdsa::SigningKey::from_slice(key.0.as_slice()).map_err(|_| CryptoError::BadKey)?;
        let signature: p256::ecdsa::Signature = key.sign(message);
        Ok(signature.normalize_s().to_der().as_bytes().to_vec())
    }

    fn verify(
        &self,
        key: &SignaturePublicKey,
        message: &[u8],
        signature: &[u8],
        strictness: Strictness,
    ) -> Result<(), CryptoError> {
        // Uncompressed points only (RFC 9420 5.1.1): with two encodings of a key, it could be in a tree twice.
        if key.as_slice().first() != Some(&4) {
            return Err(CryptoError::BadKey);
        }
        let key =
            p256::ecdsa::VerifyingKey::from_sec1_bytes(key.as_slice()).map_err(|_| CryptoError::BadKey)?;
        let parsed = p256::ecdsa::Signature::from_der(signature).map_err(|_| CryptoError::BadSignature)?;
        if strictness == Strictness::Canonical && parsed.normalize_s().to_der().as_bytes() != signature {
            return Err(CryptoError::BadSignature);
        }
        key.verify(message, &parsed).map_err(|_| CryptoError::BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_p256_key_has_one_encoding() {
        let seed = SignaturePrivateKey([7; 32].as_slice().into());
        let key = EcdsaP256.public_key(&seed).unwrap();
        let signature = EcdsaP256.sign(&seed, b"x").unwrap();
        let mut compressed = key.as_slice()[..33].to_vec();
        compressed[0] = 2 + (key.as_slice()[64] & 1);
        // It is the same point.
        let same = p256::ecdsa::VerifyingKey::from_sec1_bytes(&compressed).unwrap();
        assert_eq!(same.to_sec1_point(false).as_bytes(), key.as_slice());
        for strictness in [Strictness::Standard, Strictness::Canonical] {
            let verify = |key| EcdsaP256.verify(key, b"x", &signature, strictness);
            assert_eq!(verify(&key), Ok(()));
            assert_eq!(verify(&compressed.clone().into()), Err(CryptoError::BadKey));
        }
    }
}
