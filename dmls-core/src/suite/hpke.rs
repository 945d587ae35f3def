//! Public-key encryption of a suite: RFC 9180 in base mode, from the `hpke` crate.

use std::marker::PhantomData;

use hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;

use super::CryptoError;
use super::secret::{HpkePrivateKey, HpkePublicKey, Secret};
use crate::codec::{Bytes, TlsDeserializeBytes, TlsSerialize, TlsSize};

/// `HPKECiphertext` (RFC 9420 7.6).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct HpkeCiphertext {
    /// The KEM's encapsulated key.
    pub kem_output: Bytes,
    /// The AEAD's output.
    pub ciphertext: Bytes,
}

/// A KEM, KDF and AEAD used as RFC 9180 says.
pub trait Hpke: Sync {
    /// Length of an encapsulated key in bytes: what a ciphertext costs beyond its plaintext and tag.
    fn kem_output_len(&self) -> usize;
    /// `DeriveKeyPair(ikm)`.
    fn derive_key_pair(&self, ikm: &Secret) -> (HpkePrivateKey, HpkePublicKey);
    /// The public key of a private key.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the private key is malformed.
    fn public_key(&self, key: &HpkePrivateKey) -> Result<HpkePublicKey, CryptoError>;
    /// Whether the bytes are a public key of the KEM.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if they are not.
    fn validate_public_key(&self, key: &HpkePublicKey) -> Result<(), CryptoError>;
    /// `SealBase(pkR, info, aad, plaintext)`.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the public key is malformed or yields no shared secret.
    fn seal(
        &self,
        key: &HpkePublicKey,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<HpkeCiphertext, CryptoError>;
    /// `OpenBase(enc, skR, info, aad, ciphertext)`.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] for a malformed private key, else [`CryptoError::Decryption`].
    fn open(
        &self,
        key: &HpkePrivateKey,
        info: &[u8],
        aad: &[u8],
        ciphertext: &HpkeCiphertext,
    ) -> Result<Secret, CryptoError>;
    /// `SetupBaseS`, then `Export(exporter_context, length)`: the encapsulated key and the exported secret.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the public key is malformed.
    fn export_to(
        &self,
        key: &HpkePublicKey,
        exporter_context: &[u8],
        length: usize,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Bytes, Secret), CryptoError>;
    /// `SetupBaseR`, then `Export(exporter_context, length)`.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] for a malformed private key, [`CryptoError::Decryption`] for a bad encapsulated key.
    fn export_from(
        &self,
        key: &HpkePrivateKey,
        kem_output: &[u8],
        exporter_context: &[u8],
        length: usize,
    ) -> Result<Secret, CryptoError>;
}

/// A triple of algorithms, none of which is ever held.
type Algorithms<Kem, Kdf, Aead> = fn() -> (Kem, Kdf, Aead);

/// [`Hpke`] for one triple of algorithms.
pub(super) struct HpkeSuite<Kem, Kdf, Aead> {
    /// Whether an encoded public key that parses yields no shared secret all the same.
    is_degenerate: fn(&[u8]) -> bool,
    algorithms: PhantomData<Algorithms<Kem, Kdf, Aead>>,
}

impl<Kem, Kdf, Aead> HpkeSuite<Kem, Kdf, Aead> {
    pub(super) const fn new(is_degenerate: fn(&[u8]) -> bool) -> Self {
        Self { is_degenerate, algorithms: PhantomData }
    }
}

/// No key that parses is degenerate: SEC 1 decoding checks the curve, and the curve has prime order.
pub(super) fn never_degenerate(_: &[u8]) -> bool {
    false
}

/// u-coordinates of small order on Curve25519 and its twist, little-endian, non-canonical encodings included. A member
/// with such a key would make everybody's encryption to it fail, and so block every commit.
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    near_p(0xec),
    near_p(0xed),
    near_p(0xee),
];

/// 2^255 - 256 + `low`.
const fn near_p(low: u8) -> [u8; 32] {
    let mut bytes = [0xff; 32];
    bytes[0] = low;
    bytes[31] = 0x7f;
    bytes
}

/// Whether an X25519 public key has small order. The topmost bit is ignored (RFC 7748 5).
pub(super) fn is_small_order(key: &[u8]) -> bool {
    let Ok(mut key) = <[u8; 32]>::try_from(key) else { return false };
    key[31] &= 0x7f;
    SMALL_ORDER.contains(&key)
}

fn private_key<Kem: hpke::Kem>(key: &HpkePrivateKey) -> Result<Kem::PrivateKey, CryptoError> {
    Kem::PrivateKey::from_bytes(key.0.as_slice()).map_err(|_| CryptoError::BadKey)
}

fn public_key<Kem: hpke::Kem>(key: &HpkePublicKey) -> Result<Kem::PublicKey, CryptoError> {
    Kem::PublicKey::from_bytes(key.as_slice()).map_err(|_| CryptoError::BadKey)
}

impl<Kem: hpke::Kem, Kdf: hpke::kdf::Kdf, Aead: hpke::aead::Aead> Hpke for HpkeSuite<Kem, Kdf, Aead> {
    fn kem_output_len(&self) -> usize {
        Kem::EncappedKey::size()
    }

    fn derive_key_pair(&self, ikm: &Secret) -> (HpkePrivateKey, HpkePublicKey) {
        let (private, public) = Kem::derive_keypair(ikm.as_slice());
        (HpkePrivateKey(private.to_bytes().to_vec().into()), public.to_bytes().to_vec().into())
    }

    fn public_key(&self, key: &HpkePrivateKey) -> Result<HpkePublicKey, CryptoError> {
        Ok(Kem::sk_to_pk(&private_key::<Kem>(key)?).to_bytes().to_vec().into())
    }

    fn validate_public_key(&self, key: &HpkePublicKey) -> Result<(), CryptoError> {
        public_key::<Kem>(key)?;
        if (self.is_degenerate)(key.as_slice()) { Err(CryptoError::BadKey) } else { Ok(()) }
    }

    fn seal(
        &self,
        key: &HpkePublicKey,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        mut rng: &mut dyn CryptoRng,
    ) -> Result<HpkeCiphertext, CryptoError> {
        let key = public_key::<Kem>(key)?;
        let (enc, ciphertext) = hpke::single_shot_seal_with_rng::<Aead, Kdf, Kem>(
            &OpModeS::Base,
            &key,
            info,
            plaintext,
            aad,
            &mut rng,
        )
        .map_err(|_| CryptoError::BadKey)?;
        Ok(HpkeCiphertext { kem_output: enc.to_bytes().to_vec().into(), ciphertext: ciphertext.into() })
    }

    fn open(
        &self,
        key: &HpkePrivateKey,
        info: &[u8],
        aad: &[u8],
        ciphertext: &HpkeCiphertext,
    ) -> Result<Secret, CryptoError> {
        let enc = Kem::EncappedKey::from_bytes(ciphertext.kem_output.as_slice())
            .map_err(|_| CryptoError::Decryption)?;
        hpke::single_shot_open::<Aead, Kdf, Kem>(
            &OpModeR::Base,
            &private_key::<Kem>(key)?,
            &enc,
            info,
            ciphertext.ciphertext.as_slice(),
            aad,
        )
        .map(Into::into)
        .map_err(|_| CryptoError::Decryption)
    }

    fn export_to(
        &self,
        key: &HpkePublicKey,
        exporter_context: &[u8],
        length: usize,
        mut rng: &mut dyn CryptoRng,
    ) -> Result<(Bytes, Secret), CryptoError> {
        let key = public_key::<Kem>(key)?;
        let (enc, context) =
            hpke::setup_sender_with_rng::<Aead, Kdf, Kem>(&OpModeS::Base, &key, b"", &mut rng)
                .map_err(|_| CryptoError::BadKey)?;
        let mut out = vec![0; length];
        context.export(exporter_context, &mut out).map_err(|_| CryptoError::BadLength)?;
        Ok((enc.to_bytes().to_vec().into(), out.into()))
    }

    fn export_from(
        &self,
        key: &HpkePrivateKey,
        kem_output: &[u8],
        exporter_context: &[u8],
        length: usize,
    ) -> Result<Secret, CryptoError> {
        let enc = Kem::EncappedKey::from_bytes(kem_output).map_err(|_| CryptoError::Decryption)?;
        let key = private_key::<Kem>(key)?;
        let context = hpke::setup_receiver::<Aead, Kdf, Kem>(&OpModeR::Base, &key, &enc, b"")
            .map_err(|_| CryptoError::Decryption)?;
        let mut out = vec![0; length];
        context.export(exporter_context, &mut out).map_err(|_| CryptoError::BadLength)?;
        Ok(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::CipherSuite;

    #[test]
    fn keys_of_small_order_are_refused_because_nobody_can_encrypt_to_them() {
        let secret = x25519_dalek::StaticSecret::from([7; 32]);
        let hpke = CipherSuite::X25519_AES128GCM.suite().unwrap().hpke();
        for key in SMALL_ORDER {
            for top in [0, 0x80] {
                let mut key = key;
                key[31] |= top;
                assert!(!secret.diffie_hellman(&key.into()).was_contributory(), "{key:02x?}");
                assert_eq!(hpke.validate_public_key(&key.to_vec().into()), Err(CryptoError::BadKey));
            }
        }
        let good = x25519_dalek::PublicKey::from(&secret);
        assert!(secret.diffie_hellman(&good).was_contributory());
        assert_eq!(hpke.validate_public_key(&good.as_bytes().to_vec().into()), Ok(()));
    }
}
