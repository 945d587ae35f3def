//! X.509 chains (RFC 9420 5.3, RFC 5280), verified by `webpki` with the signature schemes of our own suites.

use std::time::Duration;

use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, TrustAnchor,
    UnixTime, alg_id,
};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::{AuthenticationService, Identity, IdentityError};
use crate::codec::{Bytes, encode};
use crate::suite::{CipherSuite, SignaturePublicKey, Strictness};
use crate::tree::{CertificateParts, Credential, CredentialError};

/// The most certificates of a chain that are looked at: nobody's is longer.
const MAX_CHAIN: usize = 8;

/// Why a certificate cannot be an anchor.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("The certificate cannot be a trust anchor: {0}.")]
pub struct AnchorError(String);

/// Accepts X.509 credentials whose chain leads to one of the anchors that the host gives. The end entity is no CA; if it
/// lists extended key usages, client authentication is among them. A client is its subject and alternative names: a
/// renewed certificate for the same names is its successor. Whoever is trusted as an anchor can name anybody.
/// Revocation is not checked: a host that has learned of one removes the member.
#[derive(Debug, Clone)]
pub struct X509 {
    anchors: Vec<TrustAnchor<'static>>,
    domain: Option<String>,
}

impl X509 {
    /// Trusts these certificates (DER).
    ///
    /// # Errors
    /// [`AnchorError`] if one cannot be read.
    pub fn new(anchors: &[Bytes]) -> Result<Self, AnchorError> {
        let anchor = |der: &Bytes| {
            let der = CertificateDer::from(der.as_slice());
            let anchor = anchor_from_trusted_cert(&der).map_err(|error| AnchorError(error.to_string()))?;
            Ok(anchor.to_owned())
        };
        Ok(Self { anchors: anchors.iter().map(anchor).collect::<Result<_, _>>()?, domain: None })
    }

    /// Accepts only certificates all of whose DNS names are this domain or below it, and that have one.
    #[must_use]
    pub fn within(mut self, domain: &str) -> Self {
        self.domain = Some(domain.trim_end_matches('.').to_ascii_lowercase());
        self
    }

    fn check_domain(&self, certificate: &EndEntityCert<'_>) -> Result<(), IdentityError> {
        let Some(domain) = &self.domain else { return Ok(()) };
        let below = |name: &str| {
            let name = name.to_ascii_lowercase();
            name.strip_suffix(domain.as_str()).is_some_and(|host| host.is_empty() || host.ends_with('.'))
        };
        let mut names = certificate.valid_dns_names().peekable();
        if names.peek().is_some() && names.all(below) { Ok(()) } else { Err(IdentityError::NameRefused) }
    }
}

impl AuthenticationService for X509 {
    fn validate(
        &self,
        credential: &Credential,
        signature_key: &SignaturePublicKey,
        now_s: u64,
    ) -> Result<Identity, IdentityError> {
        let Credential::X509 { certificates } = credential else { return Err(IdentityError::UnknownForm) };
        credential.check_key(signature_key)?;
        let mut chain = certificates.iter().take(MAX_CHAIN).map(|der| CertificateDer::from(der.as_slice()));
        let first = chain.next().ok_or(CredentialError::NoCertificate)?;
        let others: Vec<CertificateDer<'_>> = chain.collect();
        let certificate = EndEntityCert::try_from(&first).map_err(refused)?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now_s));
        let usage = KeyUsage::client_auth();
        certificate
            .verify_for_usage(&ALGORITHMS, &self.anchors, &others, now, usage, None, None)
            .map_err(refused)?;
        self.check_domain(&certificate)?;
        let id = names(credential).ok_or(IdentityError::NoName)?;
        Ok(Identity { id, name: credential.display_name(), vouched: true })
    }

    fn is_same_client(&self, one: &Credential, other: &Credential) -> bool {
        matches!((names(one), names(other)), (Some(one), Some(other)) if one == other)
    }
}

/// Subject and alternative names of an X.509 credential, as one string; none if it has neither.
fn names(credential: &Credential) -> Option<Bytes> {
    let Credential::X509 { certificates } = credential else { return None };
    let parts = CertificateParts::of(certificates.first()?.as_slice()).ok()?;
    let alternative = parts.alternative_names.unwrap_or_default();
    // An empty sequence is two bytes.
    let named = parts.subject.len() > 2 || !alternative.is_empty();
    let both = (Bytes::from(parts.subject), Bytes::from(alternative));
    named.then(|| encode(&both).ok().map(Bytes::from)).flatten()
}

/// The verdict of `webpki` in our words.
fn refused(error: webpki::Error) -> IdentityError {
    use webpki::Error as E;
    match error {
        E::CertNotValidYet { not_before, .. } => {
            IdentityError::NotYetValid { not_before_s: not_before.as_secs() }
        }
        E::CertExpired { not_after, .. } => IdentityError::Expired { not_after_s: not_after.as_secs() },
        // Another authority of the same name has another key.
        E::UnknownIssuer | E::InvalidSignatureForPublicKey => IdentityError::UnknownIssuer,
        E::NameConstraintViolation => IdentityError::NameRefused,
        other => IdentityError::Chain(other.to_string()),
    }
}

/// A signature algorithm of certificates, by a suite that has its scheme.
#[derive(Debug)]
struct Algorithm {
    suite: CipherSuite,
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
}

static ED25519: Algorithm =
    Algorithm { suite: CipherSuite::X25519_AES128GCM, key: alg_id::ED25519, signature: alg_id::ED25519 };
static ECDSA_P256: Algorithm = Algorithm {
    suite: CipherSuite::P256_AES128GCM,
    key: alg_id::ECDSA_P256,
    signature: alg_id::ECDSA_SHA256,
};
static ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 2] = [&ED25519, &ECDSA_P256];

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = SignaturePublicKey::from(public_key.to_vec());
        let suite = self.suite.suite().map_err(|_| InvalidSignature)?;
        let verified = suite.signature().verify(&key, message, signature, Strictness::Standard);
        verified.map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}
