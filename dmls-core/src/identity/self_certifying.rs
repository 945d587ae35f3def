//! The default: the identity is the key.

use super::{AuthenticationService, Identity, IdentityError};
use crate::suite::SignaturePublicKey;
use crate::tree::Credential;

/// Accepts self-certifying credentials ([`Credential::self_certifying`]), and no others. Nothing expires, nobody
/// vouches for names: people compare fingerprints. Two credentials are of one client if they are of one key.
#[derive(Debug, Clone, Copy, Default)]
pub struct SelfCertifying;

impl AuthenticationService for SelfCertifying {
    fn validate(
        &self,
        credential: &Credential,
        signature_key: &SignaturePublicKey,
        _now_s: u64,
    ) -> Result<Identity, IdentityError> {
        let parts = credential.self_certified()?.ok_or(IdentityError::UnknownForm)?;
        let id = parts.key_hash.as_slice().into();
        credential.check_key(signature_key)?;
        Ok(Identity { id, name: credential.display_name(), vouched: false })
    }

    fn is_same_client(&self, one: &Credential, other: &Credential) -> bool {
        match (one.self_certified(), other.self_certified()) {
            (Ok(Some(one)), Ok(Some(other))) => one.key_hash == other.key_hash,
            _ => false,
        }
    }
}
