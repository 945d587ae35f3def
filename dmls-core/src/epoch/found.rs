//! A group's first epoch (RFC 9420 11).

use rand_core::CryptoRng;

use super::commit::CommitError;
use super::enter::{Member, assemble};
use super::proposals::{ProposalListError, check_context_extensions};
use super::state::{Epoch, PublicState};
use crate::codec::Bytes;
use crate::framing::{DmlsProfile, KeyPackageBundle};
use crate::schedule::{DerivedEpoch, DmlsSecrets, GroupContext};
use crate::suite::Suite;
use crate::tree::{
    Extensions, LeafIndex, LeafSourceKind, PrivateKeys, ProtocolVersion, RatchetTree, TreeError,
};

impl Epoch {
    /// Founds a group with one member, whose leaf is the bundle's. With a `dmls_profile` among the extensions it is a DMLS
    /// group, and then its init PPRF and epoch id come with it.
    ///
    /// # Errors
    /// [`CommitError::List`] if the extensions are not valid, [`CommitError::Tree`] if the founder's leaf does not support
    /// them.
    pub fn found(
        suite: Suite,
        group_id: Bytes,
        extensions: Extensions,
        founder: &KeyPackageBundle,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Self, Option<DmlsSecrets>), CommitError> {
        check_context_extensions(&extensions)?;
        let profile = DmlsProfile::from_extensions(&extensions).map_err(ProposalListError::from)?;
        let leaf = &founder.key_package.leaf_node;
        let own_leaf = LeafIndex(0);
        let tree = RatchetTree::new(suite, leaf.clone());
        let context = GroupContext {
            version: ProtocolVersion::MLS10,
            cipher_suite: suite.id(),
            group_id,
            epoch: 0,
            tree_hash: tree.tree_hash()?,
            confirmed_transcript_hash: Bytes::default(),
            extensions,
        };
        let public = PublicState { suite, context, tree, interim_transcript_hash: Bytes::default(), profile };
        let refused = |error| TreeError::Leaf { index: own_leaf, error };
        leaf.check_source(LeafSourceKind::KeyPackage).map_err(refused)?;
        leaf.check_alone(suite, own_leaf, &public.leaf_rules(None)).map_err(refused)?;

        let profile = public.key_schedule();
        let derived = DerivedEpoch::from_epoch_secret(suite, profile, &suite.random_secret(rng))?;
        let keys = PrivateKeys::from_iter([(leaf.encryption_key.clone(), founder.leaf_private.clone())]);
        let member = Member { own_leaf, keys, signature_private: founder.signature_private.clone() };
        assemble(public, None, derived, member)
    }
}
