//! What the DMLS profile derives (DESIGN 4.3), normative there.
//!
//! An epoch has no init secret. It has a puncturable PRF instead: each commit has its own input, evaluated for the
//! child's init secret and then punctured. So an epoch can have many children, and none is derived twice.

use std::fmt;

use pprf::{Pprf, ShapeError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::tree_derivation::{node_size, tree_derivation};
use super::{GroupContext, suite_id};
use crate::codec::{Bytes, TlsDeserializeBytes, TlsSerialize, TlsSize};
use crate::suite::{CryptoError, Secret, Suite};

/// Defines a public identifier of Nh bytes.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSize, TlsSerialize, TlsDeserializeBytes, Serialize,
            Deserialize,
        )]
        pub struct $name(pub Bytes);

        impl $name {
            /// The identifier's bytes.
            pub fn as_slice(&self) -> &[u8] {
                self.0.as_slice()
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(bytes: Vec<u8>) -> Self {
                Self(bytes.into())
            }
        }

        /// The first six bytes in hex, or all with `{:#}`.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let shown = if f.alternate() { self.0.len() } else { 6 };
                self.as_slice().iter().take(shown).try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

identifier!(
    /// `dmls_epoch`: names a state of the group, across all branches.
    EpochId
);
identifier!(
    /// The `confirmed_transcript_hash` of the child epoch: names a commit without any secret.
    CommitId
);

/// Why the init PPRF gave no secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DmlsKeyError {
    /// The commit has been processed: its init secret can no longer be derived from what is stored.
    #[error("The init secret of this commit is punctured and cannot be derived again.")]
    Punctured,
    /// A PPRF input or root has not Nh bytes.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A derivation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl From<pprf::Punctured> for DmlsKeyError {
    fn from(_: pprf::Punctured) -> Self {
        Self::Punctured
    }
}

/// `conf = DeriveSecret(path_secret[n], "conf")`, from the last path secret of the commit's filtered direct path, or
/// from the zero secret if there is no such path. The commit's DmlsMeta reveals it to the members.
///
/// # Errors
/// [`CryptoError::BadLength`] if the path secret is shorter than Nh.
pub fn commit_confirmation(suite: Suite, last_path_secret: Option<&Secret>) -> Result<Secret, CryptoError> {
    match last_path_secret {
        Some(path_secret) => suite.derive_secret(path_secret, "conf"),
        None => suite.derive_secret(&Secret::zero(suite.nh()), "conf"),
    }
}

/// The input of the parent's PPRF that belongs to one commit. Whoever is removed by the commit derives it too.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ChildInput(Bytes);

/// `x = ExpandWithLabel(conf, "child_init", GroupContext_child, Nh)`. `child` is the *new* epoch's context, so nobody
/// who knows `conf` can burn the point of another's commit.
///
/// # Errors
/// [`CryptoError::BadLength`] if `conf` is shorter than Nh, [`CryptoError::Codec`] if the context cannot be encoded.
pub fn child_init_input(
    suite: Suite,
    conf: &Secret,
    child: &GroupContext,
) -> Result<ChildInput, CryptoError> {
    let x = suite.expand_with_label(conf, "child_init", &child.encoded()?, suite.nh())?;
    Ok(ChildInput(x.as_slice().into()))
}

/// The puncturable PRF of an epoch, from which its children's init secrets come: a GGM tree of depth 8·Nh.
///
/// Verify, then puncture: [`InitPprf::evaluate`], check the child's confirmation tag, then [`InitPprf::puncture`] and
/// store both in one transaction. A clone shares its nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InitPprf {
    #[serde(with = "suite_id")]
    suite: Suite,
    tree: Pprf,
}

impl InitPprf {
    /// The PPRF with root `parent_init`. The caller drops its copy of the root.
    ///
    /// # Errors
    /// [`DmlsKeyError::Shape`] if the root has not Nh bytes.
    pub fn new(suite: Suite, parent_init: &Secret) -> Result<Self, DmlsKeyError> {
        let size = node_size(suite)?;
        // At most 8·64, so the conversion loses nothing.
        let depth = 8 * size.bytes() as u16;
        Ok(Self { suite, tree: Pprf::new(size, depth, parent_init.as_slice())? })
    }

    /// `init_secret = DeriveSecret(PPRF(parent_init, x), "pprf")`. Changes nothing.
    ///
    /// # Errors
    /// [`DmlsKeyError::Punctured`]; [`DmlsKeyError::Shape`] if the input is of another suite.
    pub fn evaluate(&self, x: &ChildInput) -> Result<Secret, DmlsKeyError> {
        let derivation = tree_derivation(self.suite)?;
        let leaf = self.tree.at(&derivation, x.0.as_slice())?.eval()?;
        self.finish(&leaf)
    }

    /// Makes an input underivable for good. Returns whether it was derivable.
    ///
    /// # Errors
    /// [`DmlsKeyError::Shape`] if the input is of another suite.
    pub fn puncture(&mut self, x: &ChildInput) -> Result<bool, DmlsKeyError> {
        let derivation = tree_derivation(self.suite)?;
        Ok(self.tree.at_mut(&derivation, x.0.as_slice())?.puncture())
    }

    /// [`InitPprf::evaluate`] and [`InitPprf::puncture`] in one walk: for an own commit, or on a clone that takes the
    /// original's place once the commit is verified.
    ///
    /// # Errors
    /// As for [`InitPprf::evaluate`]; then nothing has changed.
    pub fn evaluate_and_puncture(&mut self, x: &ChildInput) -> Result<Secret, DmlsKeyError> {
        let derivation = tree_derivation(self.suite)?;
        let mut tree = self.tree.clone();
        let leaf = tree.at_mut(&derivation, x.0.as_slice())?.eval_and_puncture()?;
        let init_secret = self.finish(&leaf)?;
        self.tree = tree;
        Ok(init_secret)
    }

    /// Whether an input is punctured.
    ///
    /// # Errors
    /// [`DmlsKeyError::Shape`] if the input is of another suite.
    pub fn is_punctured(&self, x: &ChildInput) -> Result<bool, DmlsKeyError> {
        Ok(self.tree.is_punctured(x.0.as_slice())?)
    }

    /// Number of punctured inputs: the children that have been processed.
    pub fn punctured_count(&self) -> usize {
        self.tree.punctured_count()
    }

    /// What the PPRF takes, in bytes: nodes and punctured inputs.
    pub fn storage_len(&self) -> usize {
        self.tree.storage_len()
    }

    fn finish(&self, leaf: &pprf::Secret) -> Result<Secret, DmlsKeyError> {
        Ok(self.suite.derive_secret(&leaf.as_bytes().into(), "pprf")?)
    }
}

/// What the DMLS profile derives from an epoch secret, and stores.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DmlsSecrets {
    /// The init PPRF with root `parent_init = DeriveSecret(epoch_secret, "parent_init")`.
    pub parent_init: InitPprf,
    /// `dmls_epoch = DeriveSecret(epoch_secret, "epoch")`: public, not derivable by outsiders.
    pub dmls_epoch: EpochId,
}

impl DmlsSecrets {
    /// Derives both.
    ///
    /// # Errors
    /// [`DmlsKeyError::Crypto`] if the secret is shorter than Nh.
    pub(super) fn new(suite: Suite, epoch_secret: &Secret) -> Result<Self, DmlsKeyError> {
        let dmls_epoch = suite.derive_secret(epoch_secret, "epoch")?;
        Ok(Self {
            parent_init: InitPprf::new(suite, &suite.derive_secret(epoch_secret, "parent_init")?)?,
            dmls_epoch: EpochId(dmls_epoch.as_slice().into()),
        })
    }
}

#[cfg(test)]
mod tests;
