//! GroupInfo and Welcome, made (RFC 9420 12.4.3, 12.4.3.1).

use rand_core::CryptoRng;

use super::commit::{CommitError, PublicCommit};
use super::enter::CommitSecrets;
use super::state::Epoch;
use crate::codec::encode;
use crate::framing::{
    DmlsEpochInfo, DmlsJoin, EncryptedGroupSecrets, GroupInfo, GroupSecrets, PathSecret, Welcome,
};
use crate::schedule::{EpochId, welcome_keys, welcome_secret};
use crate::suite::{CryptoError, Secret};
use crate::tree::{ExtensionType, Extensions, NodeIndex, path_secret_for};

/// What a GroupInfo carries beside the GroupContext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfoOptions {
    /// The ratchet tree; without it, it must reach the joiner by another way.
    pub ratchet_tree: bool,
    /// The key of external commits. Plain MLS only.
    pub external_pub: bool,
    /// DMLS: what a joiner must know of the history.
    pub join: Option<DmlsJoin>,
    /// Further extensions.
    pub extensions: Extensions,
}

impl Default for GroupInfoOptions {
    /// With the tree, and nothing else.
    fn default() -> Self {
        Self { ratchet_tree: true, external_pub: false, join: None, extensions: Extensions::default() }
    }
}

/// What only the committer can tell a new member.
pub(super) struct WelcomeSecrets<'a> {
    pub(super) secrets: &'a CommitSecrets,
    pub(super) path_secrets: &'a [(NodeIndex, Secret)],
}

impl Epoch {
    /// A signed GroupInfo of this epoch. `epoch_id` goes with [`GroupInfoOptions::join`] into the `dmls_epoch` extension.
    ///
    /// # Errors
    /// [`CryptoError`] if it cannot be encoded or signed.
    pub fn group_info(
        &self,
        options: &GroupInfoOptions,
        epoch_id: Option<&EpochId>,
    ) -> Result<GroupInfo, CryptoError> {
        let mut extensions = options.extensions.clone();
        if options.ratchet_tree {
            extensions.set(ExtensionType::RATCHET_TREE, self.tree().to_extension().encode()?.into());
        }
        if let Some((_, key)) =
            self.secrets().external_key_pair(self.suite()).filter(|_| options.external_pub)
        {
            extensions.set(ExtensionType::EXTERNAL_PUB, encode(&key)?.into());
        }
        if let (Some(join), Some(id)) = (&options.join, epoch_id) {
            let info = DmlsEpochInfo { dmls_epoch: id.0.clone(), join: join.clone() };
            extensions.set(ExtensionType::DMLS_EPOCH, encode(&info)?.into());
        }
        GroupInfo::sign(
            self.suite(),
            self.context().clone(),
            extensions,
            self.confirmation_tag().clone(),
            self.own_leaf(),
            self.signature_private(),
        )
    }

    /// The Welcome for those whom a commit added; none if it added nobody.
    pub(super) fn welcome(
        &self,
        commit: &PublicCommit,
        secrets: &WelcomeSecrets<'_>,
        options: &GroupInfoOptions,
        epoch_id: Option<&EpochId>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Option<Welcome>, CommitError> {
        if commit.added.is_empty() {
            return Ok(None);
        }
        let suite = self.suite();
        let CommitSecrets { joiner_secret, psk_secret } = secrets.secrets;
        let group_info = encode(&self.group_info(options, epoch_id)?)?;
        let keys = welcome_keys(suite, &welcome_secret(suite, joiner_secret, psk_secret)?)?;
        let encrypted_group_info = suite.aead().seal(&keys.key, keys.nonce.as_slice(), b"", &group_info)?;
        let seal = |(added, key_package): (&super::Added, &crate::framing::KeyPackage)| {
            let path_secret = path_secret_for(secrets.path_secrets, added.leaf);
            let group_secrets = GroupSecrets {
                joiner_secret: joiner_secret.clone(),
                path_secret: path_secret.map(|secret| PathSecret { path_secret: secret.clone() }),
                psks: commit.list.psks.clone(),
            };
            let plaintext = Secret::from(encode(&group_secrets)?);
            let encrypted_group_secrets = suite.encrypt_with_label(
                &key_package.init_key,
                "Welcome",
                &encrypted_group_info,
                plaintext.as_slice(),
                rng,
            )?;
            Ok::<_, CommitError>(EncryptedGroupSecrets {
                new_member: added.reference.clone(),
                encrypted_group_secrets,
            })
        };
        let secrets = commit.added.iter().zip(&commit.list.adds).map(seal).collect::<Result<_, _>>()?;
        Ok(Some(Welcome {
            cipher_suite: suite.id(),
            secrets,
            encrypted_group_info: encrypted_group_info.into(),
        }))
    }
}
