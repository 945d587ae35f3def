//! Who a credential stands for: the authentication service of RFC 9750, as far as a client sees it.
//!
//! **What it does.** [`AuthenticationService`] binds a credential to a signature key at a given time, says whether two
//! credentials are of one client, and whether one may follow another. [`SelfCertifying`] is the default; [`X509`] asks
//! certificates; [`AnyOf`] puts services side by side.
//!
//! **What it never does.** It reads no clock and asks nobody: a service is a pure function of its arguments. It never
//! decides whether a commit is valid, for members would disagree (DESIGN 4.4): it is asked by who adds a client, and
//! what it says of the members of a group is for people to see. What a credential says by itself of its key *is* a rule
//! of validity, in [`Credential::check_key`].
//!
//! **How to drive it.** A host puts a service in [`crate::group::GroupOptions::authentication`]; a plain MLS group asks it
//! through [`ServicePolicy`].

mod policy;
mod self_certifying;
mod x509;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

pub use policy::ServicePolicy;
pub use self_certifying::SelfCertifying;
pub use x509::{AnchorError, X509};

use crate::codec::Bytes;
use crate::suite::SignaturePublicKey;
use crate::tree::{Credential, CredentialError};

/// Whom a credential stands for, in the eyes of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The same for two credentials of one client, and different for others, under one service.
    pub id: Bytes,
    /// The name, fit to be shown.
    pub name: String,
    /// Whether somebody else than the client vouches for the name. If not, many can have it.
    pub vouched: bool,
}

/// Why a credential is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The credential says itself that it is not one of this key, or is malformed.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The service does not judge credentials of this form.
    #[error("No authentication service here knows credentials of this form.")]
    UnknownForm,
    /// The certificate, or one above it, is not valid yet.
    #[error("The certificate is not valid before {not_before_s} s after the beginning of 1970.")]
    NotYetValid {
        /// Unix time in seconds.
        not_before_s: u64,
    },
    /// The certificate, or one above it, is not valid any more.
    #[error("The certificate expired {not_after_s} s after the beginning of 1970.")]
    Expired {
        /// Unix time in seconds.
        not_after_s: u64,
    },
    /// No chain leads to an anchor that is trusted here.
    #[error("The certificate was not issued by anybody who is trusted here.")]
    UnknownIssuer,
    /// The certificate names nobody.
    #[error("The certificate has neither a subject nor an alternative name.")]
    NoName,
    /// The certificate is for a name that is not accepted, or that its issuer may not certify.
    #[error("The certificate is for a name that is not accepted here.")]
    NameRefused,
    /// The chain breaks another rule of RFC 5280.
    #[error("The chain of certificates is not valid: {0}.")]
    Chain(String),
}

/// Says who is who. Pure: the same arguments give the same answer.
pub trait AuthenticationService: fmt::Debug + Send + Sync {
    /// Whom the credential stands for, if the signature key is that client's at `now_s` (Unix time in seconds).
    ///
    /// # Errors
    /// [`IdentityError`]: why the key is not shown to be the client's.
    fn validate(
        &self,
        credential: &Credential,
        signature_key: &SignaturePublicKey,
        now_s: u64,
    ) -> Result<Identity, IdentityError>;

    /// Whether two credentials stand for one client. That each is valid is for [`AuthenticationService::validate`].
    fn is_same_client(&self, one: &Credential, other: &Credential) -> bool;

    /// Whether a client may go on under a new credential (RFC 9420 5.3.1). That the new one is valid is for
    /// [`AuthenticationService::validate`]. A DMLS group never asks: there a member keeps its credential.
    fn accepts_successor(&self, old: &Credential, new: &Credential) -> bool {
        self.is_same_client(old, new)
    }
}

/// Services side by side: the first that knows credentials of the form judges.
#[derive(Debug, Clone, Default)]
pub struct AnyOf(pub Vec<Arc<dyn AuthenticationService>>);

impl AuthenticationService for AnyOf {
    fn validate(
        &self,
        credential: &Credential,
        signature_key: &SignaturePublicKey,
        now_s: u64,
    ) -> Result<Identity, IdentityError> {
        let mut verdicts = self.0.iter().map(|service| service.validate(credential, signature_key, now_s));
        verdicts
            .find(|verdict| *verdict != Err(IdentityError::UnknownForm))
            .unwrap_or(Err(IdentityError::UnknownForm))
    }

    fn is_same_client(&self, one: &Credential, other: &Credential) -> bool {
        self.0.iter().any(|service| service.is_same_client(one, other))
    }

    fn accepts_successor(&self, old: &Credential, new: &Credential) -> bool {
        self.0.iter().any(|service| service.accepts_successor(old, new))
    }
}

/// The service that a group asks; [`SelfCertifying`] unless the host gives another. Cheap to clone.
#[derive(Clone, Default)]
pub struct Authentication(Option<Arc<dyn AuthenticationService>>);

impl Authentication {
    /// Another service than the default.
    pub fn by(service: impl AuthenticationService + 'static) -> Self {
        Self(Some(Arc::new(service)))
    }

    /// The service.
    pub fn service(&self) -> &dyn AuthenticationService {
        self.0.as_deref().unwrap_or(&SelfCertifying)
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service().fmt(f)
    }
}

impl PartialEq for Authentication {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Authentication {}
