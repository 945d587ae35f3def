//! Code points and extensions (RFC 9420 7.2, 11.1, 12.1.8.1, 13, 17).

use std::collections::BTreeSet;

use super::credential::Credential;
use crate::codec::{Bytes, CodecError, TlsDeserializeBytes, TlsSerialize, TlsSize, decode, encode};
use crate::serde_as_tls;
use crate::suite::SignaturePublicKey;

/// Whether a 16-bit code point is one of those that are sent only to keep peers tolerant (RFC 9420 13.5).
pub fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a && value != 0xfafa
}

macro_rules! code_point {
    ($(#[$doc:meta])* $name:ident { $($(#[$const_doc:meta])* $constant:ident = $value:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSize, TlsSerialize, TlsDeserializeBytes,
            serde::Serialize, serde::Deserialize,
        )]
        pub struct $name(pub u16);

        impl $name {
            $($(#[$const_doc])* pub const $constant: Self = Self($value);)+

            /// Whether the value means nothing (RFC 9420 13.5).
            pub fn is_grease(self) -> bool {
                is_grease(self.0)
            }
        }
    };
}

code_point!(
    /// `ProtocolVersion` (RFC 9420 6).
    ProtocolVersion {
        /// MLS 1.0.
        MLS10 = 1,
    }
);

code_point!(
    /// `CredentialType` (RFC 9420 17.5).
    CredentialType {
        /// An identity without proof.
        BASIC = 1,
        /// A chain of X.509 certificates.
        X509 = 2,
    }
);

code_point!(
    /// `ProposalType` (RFC 9420 17.4).
    ProposalType {
        /// Add.
        ADD = 1,
        /// Update.
        UPDATE = 2,
        /// Remove.
        REMOVE = 3,
        /// Pre-shared key.
        PSK = 4,
        /// Re-initialisation.
        REINIT = 5,
        /// External init.
        EXTERNAL_INIT = 6,
        /// Group context extensions.
        GROUP_CONTEXT_EXTENSIONS = 7,
        /// `dmls_meta` (DESIGN 4.3).
        DMLS_META = 0xfd01,
    }
);

impl ProposalType {
    /// Whether every client supports the type, so that no capabilities list it (RFC 9420 7.2).
    pub fn is_default(self) -> bool {
        (1..=7).contains(&self.0)
    }
}

code_point!(
    /// `ExtensionType` (RFC 9420 17.3).
    ExtensionType {
        /// An identifier chosen by the application, in a leaf.
        APPLICATION_ID = 1,
        /// The ratchet tree, in a GroupInfo.
        RATCHET_TREE = 2,
        /// What every member must support, in the GroupContext.
        REQUIRED_CAPABILITIES = 3,
        /// The key of external commits, in a GroupInfo.
        EXTERNAL_PUB = 4,
        /// Who may propose from outside, in the GroupContext.
        EXTERNAL_SENDERS = 5,
        /// Makes a group a DMLS group, in the GroupContext (DESIGN 4.3).
        DMLS_PROFILE = 0xfd01,
        /// Epoch id and history for a joiner, in a GroupInfo (DESIGN 4.3).
        DMLS_EPOCH = 0xfd02,
        /// The number of a request to rejoin, in a leaf (DESIGN 4.4).
        DMLS_REJOIN = 0xfd03,
    }
);

impl ExtensionType {
    /// Whether every client supports the type, so that no capabilities list it (RFC 9420 7.2).
    pub fn is_default(self) -> bool {
        (1..=5).contains(&self.0)
    }
}

/// `Extension` (RFC 9420 13).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Extension {
    /// What the data is.
    pub extension_type: ExtensionType,
    /// The extension's own encoding.
    pub extension_data: Bytes,
}

/// `Extension extensions<V>`, in the order of the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct Extensions(pub Vec<Extension>);

impl Extensions {
    /// The data of the first extension of a type.
    pub fn get(&self, extension_type: ExtensionType) -> Option<&Bytes> {
        self.0.iter().find(|e| e.extension_type == extension_type).map(|e| &e.extension_data)
    }

    /// The types, in the order of the wire.
    pub fn types(&self) -> impl Iterator<Item = ExtensionType> {
        self.0.iter().map(|e| e.extension_type)
    }

    /// A type that occurs more than once, which no list may have (RFC 9420 13.4).
    pub fn duplicate(&self) -> Option<ExtensionType> {
        let mut seen = BTreeSet::new();
        self.types().find(|ty| !seen.insert(*ty))
    }

    /// The decoded `required_capabilities`, if there is one.
    ///
    /// # Errors
    /// [`CodecError`] if its data is malformed.
    pub fn required_capabilities(&self) -> Result<Option<RequiredCapabilities>, CodecError> {
        self.get(ExtensionType::REQUIRED_CAPABILITIES).map(|data| decode(data.as_slice())).transpose()
    }

    /// The decoded `external_senders`; none if there is no such extension.
    ///
    /// # Errors
    /// [`CodecError`] if its data is malformed.
    pub fn external_senders(&self) -> Result<Vec<ExternalSender>, CodecError> {
        self.get(ExtensionType::EXTERNAL_SENDERS).map_or(Ok(Vec::new()), |data| decode(data.as_slice()))
    }

    /// Puts an extension in: in the place of the one of its type, else at the end.
    pub fn set(&mut self, extension_type: ExtensionType, extension_data: Bytes) {
        match self.0.iter_mut().find(|e| e.extension_type == extension_type) {
            Some(extension) => extension.extension_data = extension_data,
            None => self.0.push(Extension { extension_type, extension_data }),
        }
    }
}

/// `RequiredCapabilities` (RFC 9420 11.1): what every member must list in its capabilities.
#[derive(Debug, Clone, PartialEq, Eq, Default, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct RequiredCapabilities {
    /// Extension types.
    pub extension_types: Vec<ExtensionType>,
    /// Proposal types.
    pub proposal_types: Vec<ProposalType>,
    /// Credential types.
    pub credential_types: Vec<CredentialType>,
}

impl RequiredCapabilities {
    /// The extension that carries this.
    ///
    /// # Errors
    /// [`CodecError::BadLength`] if a list is too long.
    pub fn to_extension(&self) -> Result<Extension, CodecError> {
        let extension_data = encode(self)?.into();
        Ok(Extension { extension_type: ExtensionType::REQUIRED_CAPABILITIES, extension_data })
    }
}

/// `ExternalSender` (RFC 9420 12.1.8.1): somebody outside who may send proposals.
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct ExternalSender {
    /// Verifies its proposals.
    pub signature_key: SignaturePublicKey,
    /// Who it is.
    pub credential: Credential,
}

serde_as_tls!(Extension, Extensions, RequiredCapabilities, ExternalSender);
