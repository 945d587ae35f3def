//! The rules for one leaf (RFC 9420 7.2, 7.3), a function each. None asks who the credential stands for, only
//! whether it can be one of the leaf's key.

use super::credential::Credential;
use super::extension::{ExtensionType, Extensions};
use super::leaf_error::LeafNodeError as E;
use super::leaf_node::{LeafNode, LeafNodeSource, LeafPosition, LeafSourceKind};
use super::math::LeafIndex;
use super::ratchet_tree::RatchetTree;
use crate::suite::{Strictness, Suite};

/// What leaves are judged by, beside the tree.
#[derive(Debug, Clone, Copy)]
pub struct LeafRules<'a> {
    /// The group.
    pub group_id: &'a [u8],
    /// The extensions of the GroupContext that the leaf is to live under.
    pub group_extensions: &'a Extensions,
    /// How strictly signatures are judged.
    pub strictness: Strictness,
    /// Seconds since the Unix epoch; none where lifetimes are not checked.
    pub now_seconds: Option<u64>,
}

impl LeafNode {
    /// The signature is the leaf's own.
    ///
    /// # Errors
    /// [`LeafNodeError::Signature`](E::Signature).
    pub fn check_signature(
        &self,
        suite: Suite,
        position: Option<LeafPosition<'_>>,
        strictness: Strictness,
    ) -> Result<(), E> {
        self.verify_signature(suite, position, strictness).map_err(E::Signature)
    }

    /// `now_seconds` is within the lifetime. Leaves without one pass, and so do all if there is no time.
    ///
    /// # Errors
    /// [`LeafNodeError::NotYetValid`](E::NotYetValid), [`LeafNodeError::Expired`](E::Expired).
    pub fn check_lifetime(&self, now_seconds: Option<u64>) -> Result<(), E> {
        match (&self.source, now_seconds) {
            (LeafNodeSource::KeyPackage(lifetime), Some(now)) if now < lifetime.not_before => {
                Err(E::NotYetValid)
            }
            (LeafNodeSource::KeyPackage(lifetime), Some(now)) if now > lifetime.not_after => Err(E::Expired),
            _ => Ok(()),
        }
    }

    /// The lifetime spans at most `max_seconds`, a bound that the application sets (RFC 9420 7.2).
    ///
    /// # Errors
    /// [`LeafNodeError::LifetimeTooLong`](E::LifetimeTooLong).
    pub fn check_lifetime_length(&self, max_seconds: u64) -> Result<(), E> {
        match &self.source {
            LeafNodeSource::KeyPackage(lifetime)
                if lifetime.not_after.saturating_sub(lifetime.not_before) > max_seconds =>
            {
                Err(E::LifetimeTooLong)
            }
            _ => Ok(()),
        }
    }

    /// The source fits the place where the leaf was found.
    ///
    /// # Errors
    /// [`LeafNodeError::WrongSource`](E::WrongSource).
    pub fn check_source(&self, expected: LeafSourceKind) -> Result<(), E> {
        let found = self.source.kind();
        if found == expected { Ok(()) } else { Err(E::WrongSource { expected, found }) }
    }

    /// The encryption key is one of the suite's KEM.
    ///
    /// # Errors
    /// [`LeafNodeError::BadEncryptionKey`](E::BadEncryptionKey).
    pub fn check_encryption_key(&self, suite: Suite) -> Result<(), E> {
        suite.hpke().validate_public_key(&self.encryption_key).map_err(|_| E::BadEncryptionKey)
    }

    /// No extension type occurs twice, and the capabilities list each but the default ones.
    ///
    /// # Errors
    /// [`LeafNodeError::DuplicateExtension`](E::DuplicateExtension),
    /// [`LeafNodeError::ExtensionNotListed`](E::ExtensionNotListed).
    pub fn check_own_extensions(&self) -> Result<(), E> {
        if let Some(extension_type) = self.extensions.duplicate() {
            return Err(E::DuplicateExtension(extension_type));
        }
        match self.capabilities.first_unsupported(self.extensions.types()) {
            Some(extension_type) => Err(E::ExtensionNotListed(extension_type)),
            None => Ok(()),
        }
    }

    /// The capabilities list the type of the leaf's own credential.
    ///
    /// # Errors
    /// [`LeafNodeError::CredentialNotListed`](E::CredentialNotListed).
    pub fn check_own_credential(&self) -> Result<(), E> {
        let credential_type = self.credential.credential_type();
        if self.capabilities.supports_credential(credential_type) {
            Ok(())
        } else {
            Err(E::CredentialNotListed(credential_type))
        }
    }

    /// The credential fits the leaf's signature key: certificates always (RFC 9420 5.3), self-certifying identities in a
    /// DMLS group. In others an identity is the application's alone.
    ///
    /// # Errors
    /// [`LeafNodeError::CredentialKey`](E::CredentialKey).
    pub fn check_credential_key(&self, is_dmls: bool) -> Result<(), E> {
        match &self.credential {
            Credential::Basic { .. } if !is_dmls => Ok(()),
            credential => credential.check_key(&self.signature_key).map_err(E::CredentialKey),
        }
    }

    /// The leaf supports every extension of a GroupContext (RFC 9420 12.1.7, 13).
    ///
    /// # Errors
    /// [`LeafNodeError::GroupExtensionUnsupported`](E::GroupExtensionUnsupported).
    pub fn check_group_extensions(&self, group_extensions: &Extensions) -> Result<(), E> {
        match self.capabilities.first_unsupported(group_extensions.types()) {
            Some(extension_type) => Err(E::GroupExtensionUnsupported(extension_type)),
            None => Ok(()),
        }
    }

    /// The leaf has what a GroupContext's `required_capabilities` demand (RFC 9420 11.1).
    ///
    /// # Errors
    /// [`LeafNodeError::RequiredExtension`](E::RequiredExtension),
    /// [`LeafNodeError::RequiredProposal`](E::RequiredProposal),
    /// [`LeafNodeError::RequiredCredential`](E::RequiredCredential),
    /// [`LeafNodeError::BadRequiredCapabilities`](E::BadRequiredCapabilities).
    pub fn check_required_capabilities(&self, group_extensions: &Extensions) -> Result<(), E> {
        let required = group_extensions.required_capabilities().map_err(E::BadRequiredCapabilities)?;
        let Some(required) = required else {
            return Ok(());
        };
        let own = &self.capabilities;
        if let Some(ty) = own.first_unsupported(required.extension_types.iter().copied()) {
            return Err(E::RequiredExtension(ty));
        }
        if let Some(ty) = required.proposal_types.iter().find(|ty| !own.supports_proposal(**ty)) {
            return Err(E::RequiredProposal(*ty));
        }
        if let Some(ty) = required.credential_types.iter().find(|ty| !own.supports_credential(**ty)) {
            return Err(E::RequiredCredential(*ty));
        }
        Ok(())
    }

    /// All rules that need no tree but the source's: what every leaf of a group obeys at `index`.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check_alone(&self, suite: Suite, index: LeafIndex, rules: &LeafRules<'_>) -> Result<(), E> {
        self.check_lifetime(rules.now_seconds)?;
        self.check_own_extensions()?;
        self.check_own_credential()?;
        self.check_credential_key(rules.group_extensions.get(ExtensionType::DMLS_PROFILE).is_some())?;
        self.check_required_capabilities(rules.group_extensions)?;
        self.check_group_extensions(rules.group_extensions)?;
        self.check_encryption_key(suite)?;
        let position = LeafPosition { group_id: rules.group_id, leaf_index: index };
        self.check_signature(suite, Some(position), rules.strictness)
    }
}

impl RatchetTree {
    /// Every member supports the credential type of `leaf`, and `leaf` those of all members. `replaced` is not counted.
    ///
    /// # Errors
    /// [`LeafNodeError::CredentialUnsupportedByMember`](E::CredentialUnsupportedByMember),
    /// [`LeafNodeError::MemberCredentialUnsupported`](E::MemberCredentialUnsupported).
    pub fn check_credential_support(&self, leaf: &LeafNode, replaced: Option<LeafIndex>) -> Result<(), E> {
        let own = leaf.credential.credential_type();
        for (member, other) in self.leaves().filter(|(index, _)| Some(*index) != replaced) {
            if !other.capabilities.supports_credential(own) {
                return Err(E::CredentialUnsupportedByMember { member, credential_type: own });
            }
            let credential_type = other.credential.credential_type();
            if !leaf.capabilities.supports_credential(credential_type) {
                return Err(E::MemberCredentialUnsupported { member, credential_type });
            }
        }
        Ok(())
    }

    /// The encryption key of `leaf` is at no node of the tree, not even at the leaf that it replaces.
    ///
    /// # Errors
    /// [`LeafNodeError::EncryptionKeyInUse`](E::EncryptionKeyInUse).
    pub fn check_encryption_key_new(&self, leaf: &LeafNode) -> Result<(), E> {
        let used = self.encryption_keys().any(|(_, key)| *key == leaf.encryption_key);
        if used { Err(E::EncryptionKeyInUse) } else { Ok(()) }
    }

    /// The signature key of `leaf` is at no leaf but perhaps the one that is `replaced`.
    ///
    /// # Errors
    /// [`LeafNodeError::SignatureKeyInUse`](E::SignatureKeyInUse).
    pub fn check_signature_key_new(&self, leaf: &LeafNode, replaced: Option<LeafIndex>) -> Result<(), E> {
        let mut others = self.leaves().filter(|(index, _)| Some(*index) != replaced);
        if others.any(|(_, other)| other.signature_key == leaf.signature_key) {
            Err(E::SignatureKeyInUse)
        } else {
            Ok(())
        }
    }

    /// All rules of RFC 9420 7.3 for a leaf that is about to be put at `index`, where it replaces what is there.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate_leaf(
        &self,
        index: LeafIndex,
        leaf: &LeafNode,
        source: LeafSourceKind,
        rules: &LeafRules<'_>,
    ) -> Result<(), E> {
        leaf.check_source(source)?;
        self.check_credential_support(leaf, Some(index))?;
        self.check_encryption_key_new(leaf)?;
        self.check_signature_key_new(leaf, Some(index))?;
        leaf.check_alone(self.suite, index, rules)
    }
}
