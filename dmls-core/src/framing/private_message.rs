//! `PrivateMessage` (RFC 9420 6.3): encrypted under a key of its sender's ratchet.
//!
//! Opening takes two steps, neither of which consumes anything: [`PrivateMessage::open_sender_data`] says which key
//! is needed, [`PrivateMessage::decrypt`] uses it. The caller deletes keys when it has verified what came out.

use rand_core::CryptoRng;
use tls_codec::{DeserializeBytes, Error, Serialize, Size};
use zeroize::Zeroizing;

use super::FramingError;
use super::content::{
    AuthenticatedContent, Content, ContentType, FramedContent, FramedContentAuthData, Sender, WireFormat,
};
use crate::codec::{Bytes, CodecError, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::schedule::{AeadKeys, sender_data_keys};
use crate::suite::{Secret, Suite};
use crate::tree::LeafIndex;

/// `PrivateMessage` (RFC 9420 6.3).
#[derive(Debug, Clone, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct PrivateMessage {
    /// The group.
    pub group_id: Bytes,
    /// The number of the epoch.
    pub epoch: u64,
    /// The type of the content.
    pub content_type: ContentType,
    /// Data that is authenticated but not encrypted.
    pub authenticated_data: Bytes,
    /// An encrypted [`SenderData`].
    pub encrypted_sender_data: Bytes,
    /// An encrypted `PrivateMessageContent`.
    pub ciphertext: Bytes,
}

/// `SenderData` (RFC 9420 6.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSize, TlsSerialize, TlsDeserializeBytes)]
pub struct SenderData {
    /// The sender.
    pub leaf_index: LeafIndex,
    /// The generation of its ratchet.
    pub generation: u32,
    /// Mixed into the nonce, so that a reused generation does not reuse a nonce.
    pub reuse_guard: [u8; 4],
}

impl SenderData {
    /// With a fresh reuse guard.
    pub fn new(leaf_index: LeafIndex, generation: u32, rng: &mut dyn CryptoRng) -> Self {
        let mut reuse_guard = [0; 4];
        rng.fill_bytes(&mut reuse_guard);
        Self { leaf_index, generation, reuse_guard }
    }
}

/// How many zero bytes go behind a plaintext (RFC 9420 6.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Padding {
    /// None: the length of the content shows.
    #[default]
    None,
    /// Up to a multiple of so many bytes; 0 and 1 mean none.
    Multiple(u32),
}

impl Padding {
    fn bytes(self, len: usize) -> usize {
        match self {
            Self::None | Self::Multiple(0) => 0,
            Self::Multiple(size) => len.next_multiple_of(size as usize) - len,
        }
    }
}

impl PrivateMessage {
    /// `SenderDataAAD` (RFC 9420 6.3.2).
    fn sender_data_aad(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::new();
        self.group_id.tls_serialize(&mut out)?;
        self.epoch.tls_serialize(&mut out)?;
        self.content_type.tls_serialize(&mut out)?;
        Ok(out)
    }

    /// `PrivateContentAAD` (RFC 9420 6.3.1): the same, and the authenticated data.
    fn content_aad(&self) -> Result<Vec<u8>, CodecError> {
        let mut out = self.sender_data_aad()?;
        self.authenticated_data.tls_serialize(&mut out)?;
        Ok(out)
    }

    /// Decrypts who sent the message, and at which generation. Consumes nothing.
    ///
    /// # Errors
    /// [`FramingError::SenderData`] if it does not open or decode.
    pub fn open_sender_data(
        &self,
        suite: Suite,
        sender_data_secret: &Secret,
    ) -> Result<SenderData, FramingError> {
        let key = sender_data_keys(suite, sender_data_secret, self.ciphertext.as_slice())?;
        let aad = self.sender_data_aad()?;
        let plaintext = suite
            .aead()
            .open(&key.key, key.nonce.as_slice(), &aad, self.encrypted_sender_data.as_slice())
            .map_err(|_| FramingError::SenderData)?;
        crate::codec::decode(plaintext.as_slice()).map_err(|_| FramingError::SenderData)
    }

    /// Decrypts the content. Consumes nothing; the signature is still to be verified.
    ///
    /// # Errors
    /// [`FramingError::Ciphertext`] if it does not open, [`FramingError::Padding`] if the padding is not all zero,
    /// [`FramingError::Codec`] if the content is malformed.
    pub fn decrypt(
        &self,
        suite: Suite,
        sender: &SenderData,
        key: &AeadKeys,
    ) -> Result<AuthenticatedContent, FramingError> {
        let nonce = key.guarded_nonce(sender.reuse_guard);
        let plaintext = suite
            .aead()
            .open(&key.key, nonce.as_slice(), &self.content_aad()?, self.ciphertext.as_slice())
            .map_err(|_| FramingError::Ciphertext)?;
        let (content, auth, padding) =
            read_content(self.content_type, plaintext.as_slice()).map_err(CodecError::from)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(FramingError::Padding);
        }
        let content = FramedContent {
            group_id: self.group_id.clone(),
            epoch: self.epoch,
            sender: Sender::Member(sender.leaf_index),
            authenticated_data: self.authenticated_data.clone(),
            content,
        };
        Ok(AuthenticatedContent { wire_format: WireFormat::PrivateMessage, content, auth })
    }

    /// Encrypts a signed message of a member under the key of `sender.generation`.
    ///
    /// # Errors
    /// [`FramingError::WireFormat`] if it was signed for another format, [`FramingError::NotAMember`] if `sender` is
    /// not the content's.
    pub fn encrypt(
        suite: Suite,
        message: &AuthenticatedContent,
        sender: &SenderData,
        key: &AeadKeys,
        sender_data_secret: &Secret,
        padding: Padding,
    ) -> Result<Self, FramingError> {
        if message.wire_format != WireFormat::PrivateMessage {
            return Err(FramingError::WireFormat);
        }
        if message.member() != Some(sender.leaf_index) {
            return Err(FramingError::NotAMember);
        }
        let plaintext = write_content(message, padding).map_err(CodecError::from)?;
        let content = &message.content;
        let mut out = Self {
            group_id: content.group_id.clone(),
            epoch: content.epoch,
            content_type: content.content.content_type(),
            authenticated_data: content.authenticated_data.clone(),
            encrypted_sender_data: Bytes::default(),
            ciphertext: Bytes::default(),
        };
        let nonce = key.guarded_nonce(sender.reuse_guard);
        out.ciphertext =
            suite.aead().seal(&key.key, nonce.as_slice(), &out.content_aad()?, &plaintext)?.into();
        let key = sender_data_keys(suite, sender_data_secret, out.ciphertext.as_slice())?;
        let sender = crate::codec::encode(sender)?;
        let aad = out.sender_data_aad()?;
        out.encrypted_sender_data = suite.aead().seal(&key.key, key.nonce.as_slice(), &aad, &sender)?.into();
        Ok(out)
    }
}

/// `PrivateMessageContent` (RFC 9420 6.3.1): content, proof, and what is left as padding.
fn read_content(
    content_type: ContentType,
    bytes: &[u8],
) -> Result<(Content, FramedContentAuthData, &[u8]), Error> {
    let (content, rest) = match content_type {
        ContentType::Application => {
            let (data, rest) = Secret::tls_deserialize_bytes(bytes)?;
            (Content::Application(data), rest)
        }
        ContentType::Proposal => {
            let (proposal, rest) = DeserializeBytes::tls_deserialize_bytes(bytes)?;
            (Content::Proposal(proposal), rest)
        }
        ContentType::Commit => {
            let (commit, rest) = DeserializeBytes::tls_deserialize_bytes(bytes)?;
            (Content::Commit(commit), rest)
        }
    };
    let (auth, rest) = FramedContentAuthData::decode(content_type, rest)?;
    Ok((content, auth, rest))
}

/// The plaintext: as [`read_content`] reads it.
fn write_content(message: &AuthenticatedContent, padding: Padding) -> Result<Zeroizing<Vec<u8>>, Error> {
    // One allocation, so that no copy of the plaintext is left behind by growing.
    let len = message.content.content.tls_serialized_len() + message.auth.tls_serialized_len();
    let mut out = Zeroizing::new(Vec::with_capacity(len + padding.bytes(len)));
    match &message.content.content {
        Content::Application(data) => data.tls_serialize(&mut *out)?,
        Content::Proposal(proposal) => proposal.tls_serialize(&mut *out)?,
        Content::Commit(commit) => commit.tls_serialize(&mut *out)?,
    };
    message.auth.tls_serialize(&mut *out)?;
    let padding = padding.bytes(out.len());
    let padded = out.len() + padding;
    out.resize(padded, 0);
    Ok(out)
}
