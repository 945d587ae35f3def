//! As much of X.509 (RFC 5280 4.1) as a leaf's validity depends on: for which key a certificate is. Whether anybody
//! should believe it is not asked here.
//!
//! The walk is exact, so that all members agree: definite lengths in their shortest form, single-byte tags, nothing
//! behind the certificate. Fields that are not needed are skipped by their length.

use thiserror::Error;

use crate::suite::SignaturePublicKey;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BOOLEAN: u8 = 0x01;
const OCTETS: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
/// `[0] EXPLICIT Version`.
const VERSION: u8 = 0xa0;
/// `[3] EXPLICIT Extensions`.
const EXTENSIONS: u8 = 0xa3;
/// `id-ce-subjectAltName`, 2.5.29.17.
const ALTERNATIVE_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];
/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
/// Alternative names that are text: rfc822Name, dNSName, uniformResourceIdentifier.
const GENERAL_NAMES: [u8; 3] = [0x81, 0x82, 0x86];
/// The string types whose bytes are UTF-8: UTF8String, PrintableString, IA5String.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// What precedes the key in a `SubjectPublicKeyInfo` with the length of the key: Ed25519 (RFC 8410), and ECDSA over
/// P-256, P-384 and P-521 with uncompressed points (RFC 5480).
const KEY_INFOS: [(&[u8], usize); 4] = [
    (b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", 32),
    (
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
        65,
    ),
    (b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00", 97),
    (b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00", 133),
];

/// The certificate cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("The certificate is malformed.")]
pub struct MalformedCertificate;

/// The parts of a certificate that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateParts<'a> {
    /// The encoding of the subject's `Name`.
    pub subject: &'a [u8],
    /// The encoding of `SubjectPublicKeyInfo`.
    pub key_info: &'a [u8],
    /// The encoding of `SubjectAltName`, if there is exactly one.
    pub alternative_names: Option<&'a [u8]>,
}

impl<'a> CertificateParts<'a> {
    /// Walks through a DER encoding.
    ///
    /// # Errors
    /// [`MalformedCertificate`].
    pub fn of(der: &'a [u8]) -> Result<Self, MalformedCertificate> {
        let parts = || {
            let (certificate, nothing) = Element::read(der)?;
            let (to_be_signed, _) = Element::read(certificate.contents_of(SEQUENCE)?)?;
            let mut rest = to_be_signed.contents_of(SEQUENCE)?;
            if rest.first() == Some(&VERSION) {
                (_, rest) = Element::read(rest)?;
            }
            // serialNumber, signature, issuer, validity.
            for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE] {
                let (element, behind) = Element::read(rest)?;
                element.contents_of(tag)?;
                rest = behind;
            }
            let (subject, rest) = Element::read(rest)?;
            let (key_info, rest) = Element::read(rest)?;
            subject.contents_of(SEQUENCE)?;
            key_info.contents_of(SEQUENCE)?;
            let alternative_names = alternative_names(rest);
            let parts = Self { subject: subject.whole, key_info: key_info.whole, alternative_names };
            nothing.is_empty().then_some(parts)
        };
        parts().ok_or(MalformedCertificate)
    }

    /// A name of the subject: its common name, else the first alternative one. The bytes are as they came.
    pub fn name(&self) -> Option<&'a [u8]> {
        self.common_name().or_else(|| {
            let mut names = Element::read(self.alternative_names?)?.0.contents_of(SEQUENCE)?;
            loop {
                let (name, behind) = Element::read(names)?;
                names = behind;
                if GENERAL_NAMES.contains(&name.tag) {
                    return Some(name.contents);
                }
            }
        })
    }

    /// The last common name of the subject, if it is in a string type whose bytes are UTF-8.
    fn common_name(&self) -> Option<&'a [u8]> {
        let mut found = None;
        let mut names = Element::read(self.subject)?.0.contents_of(SEQUENCE)?;
        while !names.is_empty() {
            let (set, behind) = Element::read(names)?;
            names = behind;
            let mut attributes = set.contents_of(SET)?;
            while !attributes.is_empty() {
                let (attribute, behind) = Element::read(attributes)?;
                attributes = behind;
                let (id, value) = Element::read(attribute.contents_of(SEQUENCE)?)?;
                let (value, _) = Element::read(value)?;
                if id.contents_of(OBJECT_ID)? == COMMON_NAME && TEXTS.contains(&value.tag) {
                    found = Some(value.contents);
                }
            }
        }
        found
    }
}

/// Finds `SubjectAltName` in what is behind the key. Nobody's validity depends on it.
fn alternative_names(mut rest: &[u8]) -> Option<&[u8]> {
    let mut extensions = loop {
        let (element, behind) = Element::read(rest)?;
        rest = behind;
        if element.tag == EXTENSIONS {
            break Element::read(element.contents)?.0.contents_of(SEQUENCE)?;
        }
    };
    let mut found = None;
    while !extensions.is_empty() {
        let (extension, behind) = Element::read(extensions)?;
        extensions = behind;
        let (id, mut value) = Element::read(extension.contents_of(SEQUENCE)?)?;
        if value.first() == Some(&BOOLEAN) {
            (_, value) = Element::read(value)?;
        }
        let (value, _) = Element::read(value)?;
        if id.contents_of(OBJECT_ID)? == ALTERNATIVE_NAMES
            && found.replace(value.contents_of(OCTETS)?).is_some()
        {
            return None;
        }
    }
    found
}

/// Whether a `SubjectPublicKeyInfo` is that of a signature key as MLS encodes it (RFC 9420 5.1.1).
pub(super) fn fits_key_info(key: &SignaturePublicKey, key_info: &[u8]) -> bool {
    let key = key.as_slice();
    KEY_INFOS.iter().any(|(prefix, len)| *len == key.len() && key_info.strip_prefix(*prefix) == Some(key))
}

/// One element of DER.
#[derive(Clone, Copy)]
struct Element<'a> {
    tag: u8,
    whole: &'a [u8],
    contents: &'a [u8],
}

impl<'a> Element<'a> {
    /// The first element, and what is behind it.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest, shortest) = match first {
            0..=0x7f => (usize::from(first), rest, 0),
            0x81 => {
                let (&len, rest) = rest.split_first()?;
                (usize::from(len), rest, 0x80)
            }
            0x82 => {
                let (len, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*len)), rest, 0x100)
            }
            // Nothing longer is a certificate.
            _ => return None,
        };
        if len < shortest {
            return None;
        }
        // Tags of several bytes occur in no field that is read or skipped here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (contents, behind) = rest.split_at_checked(len)?;
        let whole = bytes.get(..bytes.len() - behind.len())?;
        Some((Self { tag, whole, contents }, behind))
    }

    fn contents_of(&self, tag: u8) -> Option<&'a [u8]> {
        (self.tag == tag).then_some(self.contents)
    }
}
