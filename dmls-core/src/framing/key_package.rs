//! Key packages (RFC 9420 10): what a client publishes so that others can add it.

use rand_core::CryptoRng;
use thiserror::Error;

use crate::codec::{Bytes, CodecError, Serialize, Size, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::suite::{
    CipherSuite, CryptoError, HpkePrivateKey, HpkePublicKey, RefHashLabel, SignaturePrivateKey, Strictness,
    Suite,
};
use crate::tree::{
    ExtensionType, Extensions, LeafNode, LeafNodeSource, LeafTemplate, Lifetime, ProtocolVersion,
};

/// Marks a key package that may be used more than once (draft-ietf-mls-extensions).
pub const LAST_RESORT_EXTENSION: ExtensionType = ExtensionType(0x000A);

/// The label that key packages are signed under.
const SIGNATURE_LABEL: &str = "KeyPackageTBS";

/// `KeyPackage` (RFC 9420 10).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct KeyPackage {
    /// The version of MLS that it is for.
    pub version: ProtocolVersion,
    /// The cipher suite that it is for.
    pub cipher_suite: CipherSuite,
    /// Encrypts the Welcome; used once.
    pub init_key: HpkePublicKey,
    /// The leaf that goes into the tree.
    pub leaf_node: LeafNode,
    /// Extensions of the key package.
    pub extensions: Extensions,
    /// By the leaf's signature key, over all the above.
    pub signature: Bytes,
}

crate::serde_as_tls!(KeyPackage);

/// Why a key package is not valid (RFC 9420 10.1). Whether its leaf fits a group (7.3) is the group's to say.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyPackageError {
    /// It is for another version of MLS.
    #[error("The key package is for protocol version {0}, not for the group's.")]
    Version(u16),
    /// It is for another cipher suite.
    #[error("The key package is for cipher suite {0:#06x}, not for the group's.")]
    CipherSuite(u16),
    /// Its leaf was made for an Update or a commit.
    #[error("The leaf of the key package has another source than key_package.")]
    LeafSource,
    /// The leaf's signature is invalid.
    #[error("The signature of the key package's leaf is invalid.")]
    LeafSignature,
    /// The signature is invalid.
    #[error("The signature of the key package is invalid.")]
    Signature,
    /// The init key is also the leaf's encryption key.
    #[error("The init key of the key package is its leaf's encryption key.")]
    InitKeyIsEncryptionKey,
    /// The init key is no key of the suite's KEM.
    #[error("The init key of the key package is malformed.")]
    InitKey,
    /// The leaf's encryption key is no key of the suite's KEM.
    #[error("The encryption key of the key package's leaf is malformed.")]
    EncryptionKey,
    /// The same extension occurs twice.
    #[error("The key package has more than one extension of type {:#06x}.", .0.0)]
    DuplicateExtension(ExtensionType),
    /// Its time has not come, or is over.
    #[error("The key package is outside its lifetime.")]
    Lifetime,
    /// It may be used again, which a DMLS group does not accept (DESIGN 4.3).
    #[error("The key package is one of last resort, which this group does not accept.")]
    LastResort,
    /// A cryptographic operation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// It cannot be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// What a key package is measured by.
#[derive(Debug, Clone, Copy)]
pub struct KeyPackagePolicy {
    /// The group's cipher suite.
    pub suite: Suite,
    /// How signatures are judged.
    pub strictness: Strictness,
    /// The time, in seconds since the Unix epoch; none: lifetimes are not checked.
    pub now: Option<u64>,
    /// Whether one that may be used again is accepted.
    pub last_resort: bool,
}

impl KeyPackage {
    /// `KeyPackageTBS` (RFC 9420 10).
    fn to_be_signed(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::with_capacity(self.tls_serialized_len());
        self.version.tls_serialize(&mut out)?;
        self.cipher_suite.tls_serialize(&mut out)?;
        self.init_key.tls_serialize(&mut out)?;
        self.leaf_node.tls_serialize(&mut out)?;
        self.extensions.tls_serialize(&mut out)?;
        Ok(out)
    }

    /// `KeyPackageRef` (RFC 9420 5.2).
    ///
    /// # Errors
    /// [`CryptoError::Codec`] if it cannot be encoded.
    pub fn reference(&self, suite: Suite) -> Result<Bytes, CryptoError> {
        suite.ref_hash(RefHashLabel::KeyPackage, &crate::codec::encode(self)?)
    }

    /// Whether it may be used more than once.
    pub fn is_last_resort(&self) -> bool {
        self.extensions.get(LAST_RESORT_EXTENSION).is_some()
    }

    /// The lifetime that its leaf states.
    pub fn lifetime(&self) -> Option<Lifetime> {
        match self.leaf_node.source {
            LeafNodeSource::KeyPackage(lifetime) => Some(lifetime),
            LeafNodeSource::Update | LeafNodeSource::Commit { .. } => None,
        }
    }

    /// Every check of RFC 9420 10.1 that needs no tree.
    ///
    /// # Errors
    /// One variant of [`KeyPackageError`] a rule.
    pub fn validate(&self, policy: &KeyPackagePolicy) -> Result<(), KeyPackageError> {
        let suite = policy.suite;
        if self.version != ProtocolVersion::MLS10 {
            return Err(KeyPackageError::Version(self.version.0));
        }
        if self.cipher_suite != suite.id() {
            return Err(KeyPackageError::CipherSuite(self.cipher_suite.0));
        }
        let lifetime = self.lifetime().ok_or(KeyPackageError::LeafSource)?;
        if let Some(duplicate) = self.extensions.duplicate() {
            return Err(KeyPackageError::DuplicateExtension(duplicate));
        }
        if self.is_last_resort() && !policy.last_resort {
            return Err(KeyPackageError::LastResort);
        }
        if self.init_key == self.leaf_node.encryption_key {
            return Err(KeyPackageError::InitKeyIsEncryptionKey);
        }
        suite.hpke().validate_public_key(&self.init_key).map_err(|_| KeyPackageError::InitKey)?;
        suite
            .hpke()
            .validate_public_key(&self.leaf_node.encryption_key)
            .map_err(|_| KeyPackageError::EncryptionKey)?;
        if policy.now.is_some_and(|now| now < lifetime.not_before || now > lifetime.not_after) {
            return Err(KeyPackageError::Lifetime);
        }
        self.leaf_node
            .verify_signature(suite, None, policy.strictness)
            .map_err(|_| KeyPackageError::LeafSignature)?;
        let key = &self.leaf_node.signature_key;
        suite
            .verify_with_label(
                key,
                SIGNATURE_LABEL,
                &self.to_be_signed()?,
                &self.signature,
                policy.strictness,
            )
            .map_err(|_| KeyPackageError::Signature)
    }

    /// Signs anew, after a field has been changed.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the key is malformed.
    pub fn sign(&mut self, suite: Suite, key: &SignaturePrivateKey) -> Result<(), CryptoError> {
        self.signature = suite.sign_with_label(key, SIGNATURE_LABEL, &self.to_be_signed()?)?;
        Ok(())
    }
}

/// A key package with its private keys: what a client stores until it is added.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeyPackageBundle {
    /// What is published.
    pub key_package: KeyPackage,
    /// Opens the Welcome; deleted on joining.
    pub init_private: HpkePrivateKey,
    /// Belongs to the leaf's encryption key.
    pub leaf_private: HpkePrivateKey,
    /// Belongs to the leaf's signature key.
    pub signature_private: SignaturePrivateKey,
}

/// Makes key packages.
#[derive(Debug, Clone)]
pub struct KeyPackageBuilder {
    suite: Suite,
    template: LeafTemplate,
    lifetime: Lifetime,
    extensions: Extensions,
    signature_private: SignaturePrivateKey,
}

impl KeyPackageBuilder {
    /// For a client that the template describes. Without more, its lifetime does not end.
    pub fn new(suite: Suite, template: LeafTemplate, signature_private: SignaturePrivateKey) -> Self {
        let extensions = Extensions::default();
        Self { suite, template, lifetime: Lifetime::UNLIMITED, extensions, signature_private }
    }

    /// When it may be used.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Extensions of the key package (not of its leaf, which the template has).
    #[must_use]
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Allows it to be used more than once.
    #[must_use]
    pub fn last_resort(mut self) -> Self {
        self.extensions.set(LAST_RESORT_EXTENSION, Bytes::default());
        self
    }

    /// Makes one, with fresh keys.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the signature key is malformed.
    pub fn build(&self, rng: &mut dyn CryptoRng) -> Result<KeyPackageBundle, CryptoError> {
        let suite = self.suite;
        let (init_private, init_key) = suite.hpke().derive_key_pair(&suite.random_secret(rng));
        let (leaf_node, leaf_private) =
            self.template.key_package(suite, self.lifetime, &self.signature_private, rng)?;
        let mut key_package = KeyPackage {
            version: ProtocolVersion::MLS10,
            cipher_suite: suite.id(),
            init_key,
            leaf_node,
            extensions: self.extensions.clone(),
            signature: Bytes::default(),
        };
        key_package.sign(suite, &self.signature_private)?;
        let signature_private = self.signature_private.clone();
        Ok(KeyPackageBundle { key_package, init_private, leaf_private, signature_private })
    }
}
