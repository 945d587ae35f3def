//! `GroupInfo` and `Welcome` (RFC 9420 12.4.3).

use crate::codec::{Bytes, CodecError, Serialize, Size, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::schedule::{GroupContext, PreSharedKeyId};
use crate::suite::{
    CipherSuite, CryptoError, HpkeCiphertext, Secret, SignaturePrivateKey, SignaturePublicKey, Strictness,
    Suite,
};
use crate::tree::{Extensions, LeafIndex};

/// `GroupInfo` (RFC 9420 12.4.3).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct GroupInfo {
    /// The state that it describes.
    pub group_context: GroupContext,
    /// Extensions of the GroupInfo: `ratchet_tree`, `external_pub`, `dmls_epoch`.
    pub extensions: Extensions,
    /// `MAC(confirmation_key, confirmed_transcript_hash)`.
    pub confirmation_tag: Bytes,
    /// The member who signed.
    pub signer: LeafIndex,
    /// Over all the above.
    pub signature: Bytes,
}

impl GroupInfo {
    /// `GroupInfoTBS` (RFC 9420 12.4.3).
    fn to_be_signed(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::with_capacity(self.tls_serialized_len());
        self.group_context.tls_serialize(&mut out)?;
        self.extensions.tls_serialize(&mut out)?;
        self.confirmation_tag.tls_serialize(&mut out)?;
        self.signer.tls_serialize(&mut out)?;
        Ok(out)
    }

    /// Makes and signs one.
    ///
    /// # Errors
    /// [`CryptoError`] if the key is malformed or the content too long.
    pub fn sign(
        suite: Suite,
        group_context: GroupContext,
        extensions: Extensions,
        confirmation_tag: Bytes,
        signer: LeafIndex,
        key: &SignaturePrivateKey,
    ) -> Result<Self, CryptoError> {
        let signature = Bytes::default();
        let mut info = Self { group_context, extensions, confirmation_tag, signer, signature };
        info.signature = suite.sign_with_label(key, "GroupInfoTBS", &info.to_be_signed()?)?;
        Ok(info)
    }

    /// Verifies the signature under the signer's key.
    ///
    /// # Errors
    /// [`CryptoError::BadSignature`], or [`CryptoError::BadKey`] if the public key is malformed.
    pub fn verify(
        &self,
        suite: Suite,
        key: &SignaturePublicKey,
        strictness: Strictness,
    ) -> Result<(), CryptoError> {
        suite.verify_with_label(key, "GroupInfoTBS", &self.to_be_signed()?, &self.signature, strictness)
    }
}

/// `PathSecret` (RFC 9420 12.4.3).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct PathSecret {
    /// The secret of the lowest common ancestor of the committer and the new member.
    pub path_secret: Secret,
}

/// `GroupSecrets` (RFC 9420 12.4.3).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct GroupSecrets {
    /// The joiner secret of the epoch.
    pub joiner_secret: Secret,
    /// The new member's share of the path, if the commit has one.
    pub path_secret: Option<PathSecret>,
    /// The PSKs of the epoch, in the order in which they are mixed in.
    pub psks: Vec<PreSharedKeyId>,
}

/// `EncryptedGroupSecrets` (RFC 9420 12.4.3).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct EncryptedGroupSecrets {
    /// The KeyPackageRef of the new member.
    pub new_member: Bytes,
    /// [`GroupSecrets`] under its init key.
    pub encrypted_group_secrets: HpkeCiphertext,
}

/// `Welcome` (RFC 9420 12.4.3).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Welcome {
    /// The group's cipher suite.
    pub cipher_suite: CipherSuite,
    /// One for each new member.
    pub secrets: Vec<EncryptedGroupSecrets>,
    /// A [`GroupInfo`] under a key from the joiner and PSK secrets.
    pub encrypted_group_info: Bytes,
}

crate::serde_as_tls!(GroupInfo, Welcome);
