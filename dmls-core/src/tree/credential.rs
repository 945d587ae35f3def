//! Credentials (RFC 9420 5.3), and what each says by itself. What else one means is for an authentication service to
//! say ([`crate::identity`]).
//!
//! A basic credential is *self-certifying* if its identity begins with a zero byte, as no text does:
//! ```text
//! struct { uint8 zero = 0; uint8 version = 1; opaque key_hash[32]; opaque name[]; } SelfCertifying;
//! ```
//! `key_hash` is the SHA-256 of the signature public key, whatever the suite; `name` is the rest, 0 to 64 bytes of UTF-8.
//! The identity is the key: the name is what its owner likes to be called, and proves nothing.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::certificate::{CertificateParts, MalformedCertificate, fits_key_info};
use super::extension::CredentialType;
use crate::codec::{Bytes, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::serde_as_tls;
use crate::suite::SignaturePublicKey;

/// The first byte of a self-certifying identity.
const SELF_CERTIFYING: u8 = 0;
/// The second.
const VERSION: u8 = 1;
/// The most bytes of a self-certifying name.
const MAX_NAME: usize = 64;
/// The most characters of a name as it is shown.
const MAX_SHOWN: usize = 64;

/// `Credential`. A type that is not known here is a decoding error: nobody could say whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSize, TlsSerialize, TlsDeserializeBytes)]
#[repr(u16)]
pub enum Credential {
    /// An identity that the application understands.
    #[tls_codec(discriminant = 1)]
    Basic {
        /// The identity.
        identity: Bytes,
    },
    /// A chain of certificates, the end entity's first.
    #[tls_codec(discriminant = 2)]
    X509 {
        /// DER encodings.
        certificates: Vec<Bytes>,
    },
}

/// Why a credential is not one of a signature key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CredentialError {
    /// The identity begins as a self-certifying one, and is none.
    #[error("The self-certifying identity is malformed.")]
    MalformedIdentity,
    /// The identity is that of another key.
    #[error("The self-certifying identity is that of another signature key.")]
    IdentityOfOtherKey,
    /// There is no certificate.
    #[error("The credential has no certificate.")]
    NoCertificate,
    /// The first certificate is malformed.
    #[error(transparent)]
    Certificate(#[from] MalformedCertificate),
    /// RFC 9420 5.3: the first certificate is for another key.
    #[error("The certificate is for another signature key than the leaf's.")]
    CertificateOfOtherKey,
}

/// The parts of a self-certifying identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfCertified<'a> {
    /// SHA-256 of the signature public key.
    pub key_hash: &'a [u8; 32],
    /// What its owner likes to be called.
    pub name: &'a str,
}

impl Credential {
    /// A basic credential.
    pub fn basic(identity: impl Into<Vec<u8>>) -> Self {
        Self::Basic { identity: identity.into().into() }
    }

    /// The self-certifying credential of a key. None if the name has more than 64 bytes.
    pub fn self_certifying(key: &SignaturePublicKey, name: &str) -> Option<Self> {
        let hash: [u8; 32] = Sha256::digest(key.as_slice()).into();
        let identity = [&[SELF_CERTIFYING, VERSION], hash.as_slice(), name.as_bytes()].concat();
        (name.len() <= MAX_NAME).then(|| Self::basic(identity))
    }

    /// Its code point.
    pub fn credential_type(&self) -> CredentialType {
        match self {
            Self::Basic { .. } => CredentialType::BASIC,
            Self::X509 { .. } => CredentialType::X509,
        }
    }

    /// The parts of a self-certifying identity; `Ok(None)` where this does not begin as one.
    ///
    /// # Errors
    /// [`CredentialError::MalformedIdentity`].
    pub fn self_certified(&self) -> Result<Option<SelfCertified<'_>>, CredentialError> {
        let Self::Basic { identity } = self else { return Ok(None) };
        let Some((&SELF_CERTIFYING, rest)) = identity.as_slice().split_first() else { return Ok(None) };
        let parts = || {
            let (&VERSION, rest) = rest.split_first()? else { return None };
            let (key_hash, name) = rest.split_first_chunk()?;
            let name = std::str::from_utf8(name).ok().filter(|name| name.len() <= MAX_NAME)?;
            Some(SelfCertified { key_hash, name })
        };
        parts().map(Some).ok_or(CredentialError::MalformedIdentity)
    }

    /// Whether the credential can be one of this key, as far as it says so itself: a function of the two alone, so all
    /// members agree on it. A basic identity of another form says nothing and fits every key.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn check_key(&self, key: &SignaturePublicKey) -> Result<(), CredentialError> {
        match self {
            Self::Basic { .. } => match self.self_certified()? {
                Some(parts) => {
                    let hash: [u8; 32] = Sha256::digest(key.as_slice()).into();
                    let same = bool::from(hash.ct_eq(parts.key_hash));
                    if same { Ok(()) } else { Err(CredentialError::IdentityOfOtherKey) }
                }
                None => Ok(()),
            },
            Self::X509 { certificates } => {
                let first = certificates.first().ok_or(CredentialError::NoCertificate)?;
                let key_info = CertificateParts::of(first.as_slice())?.key_info;
                if fits_key_info(key, key_info) {
                    Ok(())
                } else {
                    Err(CredentialError::CertificateOfOtherKey)
                }
            }
        }
    }

    /// The name in it, fit to be shown on one line: characters that are invisible or turn the direction of text, invalid
    /// bytes and backslashes are escaped, and it is cut after 64 characters. It proves nothing: two clients can have the
    /// same.
    pub fn display_name(&self) -> String {
        match self {
            Self::Basic { identity } => match self.self_certified() {
                Ok(Some(parts)) => shown(parts.name.as_bytes()),
                Ok(None) | Err(_) => shown(identity.as_slice()),
            },
            Self::X509 { certificates } => {
                let first = certificates.first().map(Bytes::as_slice).unwrap_or_default();
                let name = CertificateParts::of(first).ok().and_then(|parts| parts.name());
                name.map_or_else(|| "(certificate)".to_owned(), shown)
            }
        }
    }
}

/// Text from anybody, made fit to be shown.
fn shown(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut left = MAX_SHOWN;
    let mut push = |piece: &mut dyn Iterator<Item = char>| {
        let room = left > 0;
        if room {
            out.extend(piece);
            left -= 1;
        }
        room
    };
    let mut cut = false;
    'all: for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let fits =
                if deceives(c) { push(&mut c.escape_default()) } else { push(&mut std::iter::once(c)) };
            if !fits {
                cut = true;
                break 'all;
            }
        }
        for byte in chunk.invalid() {
            if !push(&mut format!("\\x{byte:02x}").chars()) {
                cut = true;
                break 'all;
            }
        }
    }
    if cut {
        out.push('…');
    }
    out
}

/// Whether a character shows something else than what is there: controls, separators of lines, what turns the direction
/// of text, what has no width, and the backslash that escapes begin with.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\\' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

serde_as_tls!(Credential);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SignaturePublicKey {
        vec![byte; 32].into()
    }

    #[test]
    fn a_self_certifying_identity_fits_its_key_only() {
        let ann = Credential::self_certifying(&key(1), "ann").unwrap();
        assert_eq!(ann.check_key(&key(1)), Ok(()));
        assert_eq!(ann.check_key(&key(2)), Err(CredentialError::IdentityOfOtherKey));
        let parts = ann.self_certified().unwrap().unwrap();
        assert_eq!((parts.key_hash.as_slice(), parts.name), (Sha256::digest([1; 32]).as_slice(), "ann"));
        // Control: another form fits any key.
        assert_eq!(Credential::basic("ann").self_certified(), Ok(None));
        assert_eq!(Credential::basic("ann").check_key(&key(2)), Ok(()));
    }

    #[test]
    fn names_have_up_to_64_bytes_of_utf8_and_the_version_is_known() {
        let longest = "é".repeat(32);
        assert!(Credential::self_certifying(&key(1), "").is_some());
        let longest = Credential::self_certifying(&key(1), &longest).unwrap();
        assert_eq!(longest.check_key(&key(1)), Ok(()));
        assert_eq!(Credential::self_certifying(&key(1), &"x".repeat(65)), None);
        let Credential::Basic { identity } = longest else { panic!("basic") };
        let identity = identity.into_vec();
        let mut version = identity.clone();
        version[1] = 2;
        let cut_in_a_character = identity[..97].to_vec();
        let too_long = [identity.as_slice(), b"x"].concat();
        let broken = [vec![0], identity[..33].to_vec(), version, cut_in_a_character, too_long];
        for identity in broken {
            let credential = Credential::basic(identity);
            assert_eq!(
                credential.check_key(&key(1)),
                Err(CredentialError::MalformedIdentity),
                "{credential:?}"
            );
        }
    }

    #[test]
    fn what_is_shown_deceives_nobody() {
        let shown = |name: &[u8]| Credential::basic(name).display_name();
        assert_eq!(shown("Ann Ó Súilleabháin 李 🦀".as_bytes()), "Ann Ó Súilleabháin 李 🦀");
        assert_eq!(shown("a\u{202e}b\u{200b}\n\u{1b}[2J".as_bytes()), "a\\u{202e}b\\u{200b}\\n\\u{1b}[2J");
        assert_eq!(shown(b"a\\u{202e}"), "a\\\\u{202e}");
        assert_eq!(shown(b"a\xff\xfeb\xc3"), "a\\xff\\xfeb\\xc3");
        assert_eq!(shown(&b"x".repeat(64)), "x".repeat(64));
        assert_eq!(shown(&b"x".repeat(65)), "x".repeat(64) + "…");
        // However long it is, what is shown is short.
        assert!(shown(&[0xff; 100_000]).len() <= 64 * 10 + 3);
        assert_eq!(Credential::self_certifying(&key(1), "a\tb").unwrap().display_name(), "a\\tb");
        assert_eq!(Credential::X509 { certificates: vec![] }.display_name(), "(certificate)");
    }
}
