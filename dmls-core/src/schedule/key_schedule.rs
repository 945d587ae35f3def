//! The key schedule (RFC 9420 8) and where the DMLS profile leaves it (DESIGN 4.3).

use rand_core::CryptoRng;

use super::ratchet::AeadKeys;
use super::{DmlsKeyError, DmlsSecrets, GroupContext};
use crate::codec::Bytes;
use crate::suite::{CryptoError, HpkePrivateKey, HpkePublicKey, NONCE_LEN, Secret, Suite};

/// Which key schedule a group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Profile {
    /// RFC 9420 as it is.
    Plain,
    /// The DMLS profile: an init PPRF instead of an init secret, an epoch id, no external init.
    Dmls,
}

/// `joiner_secret` (RFC 9420 8). `context` is that of the new epoch; `commit_secret` is the zero secret for a commit
/// without a path. The result lives only until the epoch is derived and the Welcome sealed.
///
/// # Errors
/// [`CryptoError::Codec`] if the context cannot be encoded.
pub fn joiner_secret(
    suite: Suite,
    init_secret: &Secret,
    commit_secret: &Secret,
    context: &GroupContext,
) -> Result<Secret, CryptoError> {
    let extracted = suite.extract(init_secret, commit_secret);
    suite.expand_with_label(&extracted, "joiner", &context.encoded()?, suite.nh())
}

/// `welcome_secret` (RFC 9420 8). It needs no GroupContext, so a joiner has it before it knows one.
///
/// # Errors
/// None for secrets of Nh bytes.
pub fn welcome_secret(
    suite: Suite,
    joiner_secret: &Secret,
    psk_secret: &Secret,
) -> Result<Secret, CryptoError> {
    suite.derive_secret(&suite.extract(joiner_secret, psk_secret), "welcome")
}

/// The key and nonce of `encrypted_group_info` (RFC 9420 12.4.3.1).
///
/// # Errors
/// [`CryptoError::BadLength`] if the secret is shorter than Nh.
pub fn welcome_keys(suite: Suite, welcome_secret: &Secret) -> Result<AeadKeys, CryptoError> {
    aead_keys(suite, welcome_secret, b"")
}

/// The key and nonce of the sender data before this ciphertext (RFC 9420 6.3.2).
///
/// # Errors
/// [`CryptoError::BadLength`] if the secret is shorter than Nh.
pub fn sender_data_keys(
    suite: Suite,
    sender_data_secret: &Secret,
    ciphertext: &[u8],
) -> Result<AeadKeys, CryptoError> {
    let sample = ciphertext.get(..suite.nh()).unwrap_or(ciphertext);
    aead_keys(suite, sender_data_secret, sample)
}

fn aead_keys(suite: Suite, secret: &Secret, context: &[u8]) -> Result<AeadKeys, CryptoError> {
    Ok(AeadKeys {
        key: suite.expand_with_label(secret, "key", context, suite.aead().key_len())?,
        nonce: suite.expand_with_label(secret, "nonce", context, NONCE_LEN)?,
    })
}

/// What an external committer's init secret is exported with (RFC 9420 8.3).
const EXTERNAL_INIT: &[u8] = b"MLS 1.0 external init secret";

/// The external committer's side of external init (RFC 9420 8.3): `kem_output` for the ExternalInit proposal, and the
/// init secret.
///
/// # Errors
/// [`CryptoError::BadKey`] if the external public key is malformed.
pub fn external_init_send(
    suite: Suite,
    external_pub: &HpkePublicKey,
    rng: &mut dyn CryptoRng,
) -> Result<(Bytes, Secret), CryptoError> {
    suite.hpke().export_to(external_pub, EXTERNAL_INIT, suite.nh(), rng)
}

/// The members' side of external init (RFC 9420 8.3): the init secret from the private key of
/// [`EpochSecrets::external_key_pair`].
///
/// # Errors
/// [`CryptoError::Decryption`] for a bad `kem_output`.
pub fn external_init_receive(
    suite: Suite,
    external_priv: &HpkePrivateKey,
    kem_output: &[u8],
) -> Result<Secret, CryptoError> {
    suite.hpke().export_from(external_priv, kem_output, EXTERNAL_INIT, suite.nh())
}

/// The secrets of an epoch that are stored while it is retained (RFC 9420 8, table 4). The encryption secret is in the
/// [`SecretTree`](super::SecretTree), and what DMLS adds is in [`DmlsSecrets`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EpochSecrets {
    /// Encrypts who sent a PrivateMessage.
    pub sender_data_secret: Secret,
    /// What exported secrets are derived from.
    pub exporter_secret: Secret,
    /// The MAC key of confirmation tags.
    pub confirmation_key: Secret,
    /// The MAC key of membership tags.
    pub membership_key: Secret,
    /// The PSK that proves membership in this epoch.
    pub resumption_psk: Secret,
    /// What members compare to see that they agree.
    pub epoch_authenticator: Secret,
    /// The seed of the external key pair. Absent in DMLS: nobody could puncture it (DESIGN 4.3).
    pub external_secret: Option<Secret>,
    /// The next epoch's init secret. Absent in DMLS, which has the init PPRF.
    pub init_secret: Option<Secret>,
}

/// An epoch, just derived: each part goes where it is kept. The epoch secret itself is gone by then.
#[derive(Debug)]
pub struct DerivedEpoch {
    /// The root of the epoch's [`SecretTree`](super::SecretTree), which takes its place at once.
    pub encryption_secret: Secret,
    /// The stored secrets.
    pub secrets: EpochSecrets,
    /// What the DMLS profile derives; present if and only if it was asked for.
    pub dmls: Option<DmlsSecrets>,
}

impl DerivedEpoch {
    /// The epoch that a commit leads to. `context` is that of the new epoch, `psk_secret` the zero secret without PSKs.
    ///
    /// # Errors
    /// [`DmlsKeyError::Crypto`] if the context cannot be encoded.
    pub fn new(
        suite: Suite,
        profile: Profile,
        joiner_secret: &Secret,
        psk_secret: &Secret,
        context: &GroupContext,
    ) -> Result<Self, DmlsKeyError> {
        let member_secret = suite.extract(joiner_secret, psk_secret);
        let context = context.encoded().map_err(CryptoError::from)?;
        let epoch_secret = suite.expand_with_label(&member_secret, "epoch", &context, suite.nh())?;
        Self::from_epoch_secret(suite, profile, &epoch_secret)
    }

    /// The first epoch of a group, whose epoch secret its creator draws at random (RFC 9420 11).
    ///
    /// # Errors
    /// [`DmlsKeyError::Crypto`] if the secret has not Nh bytes.
    pub fn from_epoch_secret(
        suite: Suite,
        profile: Profile,
        epoch_secret: &Secret,
    ) -> Result<Self, DmlsKeyError> {
        let derive = |label| suite.derive_secret(epoch_secret, label);
        let plain = profile == Profile::Plain;
        let secrets = EpochSecrets {
            sender_data_secret: derive("sender data")?,
            exporter_secret: derive("exporter")?,
            confirmation_key: derive("confirm")?,
            membership_key: derive("membership")?,
            resumption_psk: derive("resumption")?,
            epoch_authenticator: derive("authentication")?,
            external_secret: plain.then(|| derive("external")).transpose()?,
            init_secret: plain.then(|| derive("init")).transpose()?,
        };
        let dmls = match profile {
            Profile::Plain => None,
            Profile::Dmls => Some(DmlsSecrets::new(suite, epoch_secret)?),
        };
        Ok(Self { encryption_secret: derive("encryption")?, secrets, dmls })
    }
}

impl EpochSecrets {
    /// The key pair of external commits, from `external_secret` (RFC 9420 8). None in DMLS.
    pub fn external_key_pair(&self, suite: Suite) -> Option<(HpkePrivateKey, HpkePublicKey)> {
        self.external_secret.as_ref().map(|secret| suite.hpke().derive_key_pair(secret))
    }

    /// `MLS-Exporter(label, context, length)` (RFC 9420 8.5).
    ///
    /// # Errors
    /// [`CryptoError::BadLength`] if `length` is above 255·Nh or 65,535.
    pub fn export(
        &self,
        suite: Suite,
        label: &str,
        context: &[u8],
        length: usize,
    ) -> Result<Secret, CryptoError> {
        let derived = suite.derive_secret(&self.exporter_secret, label)?;
        suite.expand_with_label(&derived, "exported", &suite.hash(context), length)
    }

    /// The confirmation tag of this epoch: `MAC(confirmation_key, confirmed_transcript_hash)` (RFC 9420 6.1).
    ///
    /// # Errors
    /// None today.
    pub fn confirmation_tag(
        &self,
        suite: Suite,
        confirmed_transcript_hash: &Bytes,
    ) -> Result<Bytes, CryptoError> {
        suite.mac(&self.confirmation_key, confirmed_transcript_hash.as_slice())
    }

    /// Whether `tag` is this epoch's confirmation tag, compared in constant time.
    ///
    /// # Errors
    /// None today.
    pub fn verify_confirmation_tag(
        &self,
        suite: Suite,
        confirmed_transcript_hash: &Bytes,
        tag: &Bytes,
    ) -> Result<bool, CryptoError> {
        suite.verify_mac(&self.confirmation_key, confirmed_transcript_hash.as_slice(), tag)
    }

    /// `MAC(membership_key, AuthenticatedContentTBM)` (RFC 9420 6.2); the argument is already encoded.
    ///
    /// # Errors
    /// None today.
    pub fn membership_tag(&self, suite: Suite, content_tbm: &[u8]) -> Result<Bytes, CryptoError> {
        suite.mac(&self.membership_key, content_tbm)
    }

    /// Whether `tag` is the membership tag of this content, compared in constant time.
    ///
    /// # Errors
    /// None today.
    pub fn verify_membership_tag(
        &self,
        suite: Suite,
        content_tbm: &[u8],
        tag: &Bytes,
    ) -> Result<bool, CryptoError> {
        suite.verify_mac(&self.membership_key, content_tbm, tag)
    }
}

#[cfg(test)]
mod tests;
