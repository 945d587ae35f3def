//! Leaf nodes (RFC 9420 7.2): what they are, how they are signed and made.

use std::collections::BTreeSet;

use rand_core::CryptoRng;

use super::credential::Credential;
use super::extension::{CredentialType, ExtensionType, Extensions, ProposalType, ProtocolVersion};
use super::math::LeafIndex;
use crate::codec::{Bytes, CodecError, Serialize, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::serde_as_tls;
use crate::suite::{
    CipherSuite, CryptoError, HpkePrivateKey, HpkePublicKey, SignaturePrivateKey, SignaturePublicKey,
    Strictness, Suite,
};

/// The label that leaf signatures are made under.
const SIGNATURE_LABEL: &str = "LeafNodeTBS";

/// `Capabilities` (RFC 9420 7.2). Default extension and proposal types are not listed.
#[derive(Debug, Clone, PartialEq, Eq, Default, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Capabilities {
    /// Protocol versions.
    pub versions: Vec<ProtocolVersion>,
    /// Cipher suites.
    pub cipher_suites: Vec<CipherSuite>,
    /// Extension types beyond the default ones.
    pub extensions: Vec<ExtensionType>,
    /// Proposal types beyond the default ones.
    pub proposals: Vec<ProposalType>,
    /// Credential types.
    pub credentials: Vec<CredentialType>,
}

impl Capabilities {
    /// Whether extensions of the type are understood.
    pub fn supports_extension(&self, extension_type: ExtensionType) -> bool {
        extension_type.is_default() || self.extensions.contains(&extension_type)
    }

    /// The first of many extension types that is not understood. Both lists may be as long as a message, so this does not
    /// search the one for each of the other.
    pub(super) fn first_unsupported(
        &self,
        types: impl IntoIterator<Item = ExtensionType>,
    ) -> Option<ExtensionType> {
        let listed: BTreeSet<ExtensionType> = self.extensions.iter().copied().collect();
        types.into_iter().find(|ty| !ty.is_default() && !listed.contains(ty))
    }

    /// Whether proposals of the type are understood.
    pub fn supports_proposal(&self, proposal_type: ProposalType) -> bool {
        proposal_type.is_default() || self.proposals.contains(&proposal_type)
    }

    /// Whether credentials of the type are understood.
    pub fn supports_credential(&self, credential_type: CredentialType) -> bool {
        self.credentials.contains(&credential_type)
    }
}

/// `Lifetime` (RFC 9420 7.2): seconds since the Unix epoch, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Lifetime {
    /// Not to be used before.
    pub not_before: u64,
    /// Not to be used after.
    pub not_after: u64,
}

impl Lifetime {
    /// A lifetime that never ends.
    pub const UNLIMITED: Self = Self { not_before: 0, not_after: u64::MAX };
}

/// `leaf_node_source` and what depends on it (RFC 9420 7.2).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u8)]
pub enum LeafNodeSource {
    /// Published in a KeyPackage, not yet updated in the group.
    #[tls_codec(discriminant = 1)]
    KeyPackage(Lifetime),
    /// From an Update proposal.
    #[tls_codec(discriminant = 2)]
    Update,
    /// From the path of a commit.
    #[tls_codec(discriminant = 3)]
    Commit {
        /// Binds the leaf to the path above it (RFC 9420 7.9).
        parent_hash: Bytes,
    },
}

/// [`LeafNodeSource`] without its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafSourceKind {
    /// From a KeyPackage.
    KeyPackage,
    /// From an Update proposal.
    Update,
    /// From the path of a commit.
    Commit,
}

impl LeafNodeSource {
    /// Which of the three it is.
    pub fn kind(&self) -> LeafSourceKind {
        match self {
            Self::KeyPackage(_) => LeafSourceKind::KeyPackage,
            Self::Update => LeafSourceKind::Update,
            Self::Commit { .. } => LeafSourceKind::Commit,
        }
    }
}

/// `LeafNode` (RFC 9420 7.2).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct LeafNode {
    /// Path secrets for this leaf are encrypted to it.
    pub encryption_key: HpkePublicKey,
    /// Verifies what the member signs, this leaf included.
    pub signature_key: SignaturePublicKey,
    /// Who the member is.
    pub credential: Credential,
    /// What the member's client supports.
    pub capabilities: Capabilities,
    /// Where the leaf comes from.
    pub source: LeafNodeSource,
    /// The leaf's own extensions.
    pub extensions: Extensions,
    /// By the key above, over all of this and, but for a KeyPackage's, its place.
    pub signature: Bytes,
}

serde_as_tls!(Capabilities, Lifetime, LeafNodeSource, LeafNode);

/// Where a leaf of source update or commit stands. Its signature covers it, so that it cannot be moved.
#[derive(Debug, Clone, Copy)]
pub struct LeafPosition<'a> {
    /// The group.
    pub group_id: &'a [u8],
    /// The leaf's index in the group's tree.
    pub leaf_index: LeafIndex,
}

/// What a member says about itself in each of its leaves. It holds no private key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeafTemplate {
    /// Who the member is.
    pub credential: Credential,
    /// What its client supports.
    pub capabilities: Capabilities,
    /// The leaf's extensions.
    pub extensions: Extensions,
}

impl LeafTemplate {
    /// What an existing leaf says.
    pub fn of(leaf: &LeafNode) -> Self {
        Self {
            credential: leaf.credential.clone(),
            capabilities: leaf.capabilities.clone(),
            extensions: leaf.extensions.clone(),
        }
    }

    /// Signs a leaf with given keys. `position` is none exactly for [`LeafNodeSource::KeyPackage`].
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the signature key is malformed; [`CryptoError::Codec`] if a field is too long.
    pub fn sign(
        &self,
        suite: Suite,
        encryption_key: HpkePublicKey,
        source: LeafNodeSource,
        position: Option<LeafPosition<'_>>,
        signer: &SignaturePrivateKey,
    ) -> Result<LeafNode, CryptoError> {
        let mut leaf = LeafNode {
            encryption_key,
            signature_key: suite.signature().public_key(signer)?,
            credential: self.credential.clone(),
            capabilities: self.capabilities.clone(),
            source,
            extensions: self.extensions.clone(),
            signature: Bytes::default(),
        };
        leaf.signature = suite.sign_with_label(signer, SIGNATURE_LABEL, &leaf.to_be_signed(position)?)?;
        Ok(leaf)
    }

    /// A leaf for a KeyPackage, with a fresh encryption key.
    ///
    /// # Errors
    /// As for [`LeafTemplate::sign`].
    pub fn key_package(
        &self,
        suite: Suite,
        lifetime: Lifetime,
        signer: &SignaturePrivateKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<(LeafNode, HpkePrivateKey), CryptoError> {
        let (private, public) = suite.hpke().derive_key_pair(&suite.random_secret(rng));
        let leaf = self.sign(suite, public, LeafNodeSource::KeyPackage(lifetime), None, signer)?;
        Ok((leaf, private))
    }

    /// A leaf for an Update proposal, with a fresh encryption key.
    ///
    /// # Errors
    /// As for [`LeafTemplate::sign`].
    pub fn update(
        &self,
        suite: Suite,
        position: LeafPosition<'_>,
        signer: &SignaturePrivateKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<(LeafNode, HpkePrivateKey), CryptoError> {
        let (private, public) = suite.hpke().derive_key_pair(&suite.random_secret(rng));
        Ok((self.sign(suite, public, LeafNodeSource::Update, Some(position), signer)?, private))
    }
}

impl LeafNode {
    /// `parent_hash` of a leaf from a commit; none for other leaves.
    pub fn parent_hash(&self) -> Option<&Bytes> {
        match &self.source {
            LeafNodeSource::Commit { parent_hash } => Some(parent_hash),
            LeafNodeSource::KeyPackage(_) | LeafNodeSource::Update => None,
        }
    }

    /// `LeafNodeTBS` (RFC 9420 7.2).
    fn to_be_signed(&self, position: Option<LeafPosition<'_>>) -> Result<Vec<u8>, CryptoError> {
        let mut out = Vec::new();
        self.write_to_be_signed(position, &mut out).map_err(CodecError::from)?;
        Ok(out)
    }

    fn write_to_be_signed(
        &self,
        position: Option<LeafPosition<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), tls_codec::Error> {
        self.encryption_key.tls_serialize(out)?;
        self.signature_key.tls_serialize(out)?;
        self.credential.tls_serialize(out)?;
        self.capabilities.tls_serialize(out)?;
        self.source.tls_serialize(out)?;
        self.extensions.tls_serialize(out)?;
        match (&self.source, position) {
            (LeafNodeSource::KeyPackage(_), _) => {}
            (_, Some(position)) => {
                Bytes::from(position.group_id).tls_serialize(out)?;
                position.leaf_index.tls_serialize(out)?;
            }
            // Without its place such a leaf has no meaning: nothing may sign or verify it.
            (_, None) => return Err(tls_codec::Error::InvalidInput),
        }
        Ok(())
    }

    /// Verifies the signature. `position` may be given for any leaf; one from a KeyPackage does not cover it.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`], or [`CryptoError::BadKey`] for a malformed signature key.
    pub fn verify_signature(
        &self,
        suite: Suite,
        position: Option<LeafPosition<'_>>,
        strictness: Strictness,
    ) -> Result<(), CryptoError> {
        let content = self.to_be_signed(position)?;
        suite.verify_with_label(&self.signature_key, SIGNATURE_LABEL, &content, &self.signature, strictness)
    }
}
