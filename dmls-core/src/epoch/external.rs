//! Joining by an external commit (RFC 9420 12.4.3.2). Plain MLS only.

use rand_core::CryptoRng;

use super::commit::{CommitError, CommitPolicy};
use super::create::{CommitRequest, Draft, NewLeaf};
use super::enter::{CommitSecrets, Member, PskStore, derive_child, find_psks};
use super::proposals::{Committer, SentProposal};
use super::state::Epoch;
use super::welcome_in::{WelcomeError, verify_group_info};
use crate::codec::{Bytes, decode};
use crate::framing::{
    AuthenticatedContent, Content, ExternalInit, FramedContent, GroupInfo, MlsMessage, PreSharedKey,
    Proposal, PublicMessage, Remove, Sender, WireFormat,
};
use crate::schedule::{PreSharedKeyId, external_init_send, joiner_secret, psk_secret};
use crate::suite::{HpkePublicKey, Secret, SignaturePrivateKey};
use crate::tree::{ExtensionType, LeafIndex, LeafTemplate, PrivateKeys};

/// How a client joins without being asked in.
pub struct ExternalJoin<'a> {
    /// What its leaf is to say.
    pub template: &'a LeafTemplate,
    /// Signs its leaf and its messages.
    pub signature_private: &'a SignaturePrivateKey,
    /// Its own old leaf, which is removed by the same commit.
    pub replaces: Option<LeafIndex>,
    /// PSKs to be mixed in, with fresh nonces.
    pub psk_ids: Vec<PreSharedKeyId>,
    /// The `ratchet_tree` extension's data, if it is not in the GroupInfo.
    pub ratchet_tree: Option<&'a [u8]>,
    /// Data that is authenticated with the commit.
    pub authenticated_data: Bytes,
    /// Where PSKs come from.
    pub psks: &'a dyn PskStore,
    /// What the application has to say.
    pub policy: &'a dyn CommitPolicy,
}

impl std::fmt::Debug for ExternalJoin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalJoin")
            .field("template", self.template)
            .field("replaces", &self.replaces)
            .finish_non_exhaustive()
    }
}

/// A client that has joined by an external commit, once the group has taken that.
#[derive(Debug, Clone)]
pub struct ExternallyJoined {
    /// The commit, as a PublicMessage.
    pub message: MlsMessage,
    /// The epoch that it leads to.
    pub epoch: Epoch,
}

impl ExternalJoin<'_> {
    /// Makes the external commit from a GroupInfo.
    ///
    /// # Errors
    /// [`WelcomeError`] if the GroupInfo is not valid, or the commit would not be.
    pub fn commit(
        &self,
        group_info: &GroupInfo,
        rng: &mut dyn CryptoRng,
    ) -> Result<ExternallyJoined, WelcomeError> {
        let suite = group_info.group_context.cipher_suite.suite()?;
        let public = verify_group_info(suite, group_info, self.ratchet_tree, self.policy)?;
        if public.is_dmls() {
            return Err(WelcomeError::ExternalInDmls);
        }
        let external_pub = group_info.extensions.get(ExtensionType::EXTERNAL_PUB);
        let external_pub: HpkePublicKey =
            decode(external_pub.ok_or(WelcomeError::NoExternalPub)?.as_slice())?;
        let (kem_output, init_secret) = external_init_send(suite, &external_pub, rng)?;

        let request = CommitRequest::new(self.psks, self.policy);
        let new_leaf = NewLeaf { template: self.template, signature_private: self.signature_private };
        let draft = public.draft(Committer::New, self.proposals(kem_output), &new_leaf, &request, rng)?;
        let content = FramedContent {
            group_id: public.context.group_id.clone(),
            epoch: public.context.epoch,
            sender: Sender::NewMemberCommit,
            authenticated_data: self.authenticated_data.clone(),
            content: Content::Commit(draft.commit()),
        };
        let format = WireFormat::PublicMessage;
        let mut content =
            AuthenticatedContent::sign(suite, format, content, &public.context, self.signature_private)?;

        let Draft { staged, path, commit_secret, private_keys, .. } = draft;
        let commit = staged.finish(&public, &content, &Bytes::default(), path, None)?;
        let psks = find_psks(&commit.list.psks, &|psk| self.psks.psk(psk))?;
        let secrets = CommitSecrets {
            joiner_secret: joiner_secret(suite, &init_secret, &commit_secret, commit.context())?,
            psk_secret: psk_secret(suite, &psks).map_err(CommitError::from)?,
        };
        let member = Member {
            own_leaf: commit.committer_leaf,
            keys: PrivateKeys::from_iter(private_keys),
            signature_private: self.signature_private.clone(),
        };
        let (epoch, _) = derive_child(commit.child, None, &secrets, member)?;
        content.auth.confirmation_tag = Some(epoch.confirmation_tag().clone());
        // A joiner's message has no membership tag, so the key is not used.
        let message = PublicMessage::protect(suite, content, &public.context, &Secret::default())?;
        Ok(ExternallyJoined { message: message.into(), epoch })
    }

    fn proposals(&self, kem_output: Bytes) -> Vec<SentProposal> {
        let init = Proposal::ExternalInit(ExternalInit { kem_output });
        let remove = self.replaces.map(|removed| Proposal::Remove(Remove { removed }));
        let psks = self.psk_ids.iter().map(|psk| Proposal::PreSharedKey(PreSharedKey { psk: psk.clone() }));
        let by_value = |proposal| SentProposal { sender: Sender::NewMemberCommit, proposal, reference: None };
        std::iter::once(init).chain(remove).chain(psks).map(by_value).collect()
    }
}
