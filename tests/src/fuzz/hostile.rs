//! What an insider says: contents made from an input, signed and encrypted with the keys of a real member.

use dmls_core::codec::{Bytes, decode, encode};
use dmls_core::epoch::{CommitRequest, CreatedCommit, DefaultPolicy, InitSource, NoPsks};
use dmls_core::framing::{
    Add, ApplicationData, AuthenticatedContent, Commit, Content, DmlsApplication, DmlsMeta, DmlsNotice,
    FramedContent, GroupContextExtensions, Heads, KeyPackage, Merge, MlsMessage, Padding, PrivateMessage,
    Proposal, ProposalOrRef, Remove, Sender, SenderData, TruncatedId, Update, WireFormat,
};
use dmls_core::schedule::{GroupContext, RatchetType, Windows, child_init_input};
use dmls_core::suite::Secret;
use dmls_core::tree::{Credential, LeafIndex};
use rand_chacha::ChaCha20Rng;

use super::input::Input;
use crate::Insider;

/// An insider at work: what it knows, and the decisions that it makes.
pub(super) struct Hostile<'a> {
    pub(super) input: Input<'a>,
    /// Its keys, an entry an epoch; commits of its own lead to further ones.
    pub(super) insiders: Vec<Insider>,
    /// Epoch ids and commit ids that mean something.
    pub(super) ids: Vec<Bytes>,
    /// Key packages of clients.
    pub(super) key_packages: Vec<KeyPackage>,
    pub(super) rng: ChaCha20Rng,
}

impl Hostile<'_> {
    /// A message: an application message, a proposal, a commit that is valid but for what the input put in, or one that
    /// is not. `None`: what the input asks for cannot be made.
    pub(super) fn message(&mut self) -> Option<Vec<u8>> {
        let which = self.input.below(self.insiders.len());
        let insider = self.insiders[which].clone();
        match self.input.below(6) {
            0 | 1 => {
                let data = self.application_data(&insider);
                self.send(&insider, Content::Application(data.into()), None)
            }
            2 => {
                let proposal = self.proposal(&insider);
                self.send(&insider, Content::Proposal(proposal), None)
            }
            3 => {
                let good = self.commit(&insider)?;
                self.forge(&insider, &good)
            }
            _ => {
                let made = self.commit(&insider)?;
                let secrets = made.dmls?;
                self.ids.push(secrets.dmls_epoch.0.clone());
                self.ids.push(made.child.commit_id().0);
                let child = made.child;
                self.insiders.push(Insider {
                    id: secrets.dmls_epoch,
                    epoch: child,
                    init: secrets.parent_init,
                });
                Some(insider.wrap(made.message))
            }
        }
    }

    /// An id of an epoch or a commit; one that means nothing; none.
    pub(super) fn id(&mut self) -> Bytes {
        match self.input.below(8) {
            0 => Bytes::default(),
            1 => self.input.string().into(),
            _ => self.input.pick(&self.ids).clone(),
        }
    }

    fn optional_id(&mut self) -> Option<Bytes> {
        self.input.one_in(2).then(|| self.id())
    }

    pub(super) fn list<T>(&mut self, most: usize, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let len = self.input.below(most + 1);
        (0..len).map(|_| item(self)).collect()
    }

    fn heads(&mut self) -> Heads {
        let ids = self.list(3, Self::id);
        Heads(ids.iter().filter_map(|id| TruncatedId::of(id.as_slice())).collect())
    }

    fn meta(&mut self) -> DmlsMeta {
        let (vote, since, conf) = (self.optional_id(), self.id(), self.optional_id());
        let heads = self.heads();
        let merge = self.input.one_in(3).then(|| Merge {
            fork_epoch: self.id(),
            tips: self.list(3, Self::id),
            carried_hash: self.id(),
            deferred: self.list(2, |all| Credential::Basic { identity: all.input.string().into() }),
            healed: self.list(3, |all| u32::from(all.input.byte())),
        });
        DmlsMeta { vote, since, conf, heads, merge }
    }

    fn proposal(&mut self, insider: &Insider) -> Proposal {
        let epoch = &insider.epoch;
        match self.input.below(8) {
            0 => decode(self.input.string()).unwrap_or_else(|_| Proposal::DmlsMeta(self.meta())),
            1 => Proposal::Remove(Remove { removed: LeafIndex(self.input.below(6) as u32) }),
            2 | 3 => {
                let key_package = Box::new(self.input.pick(&self.key_packages).clone());
                Proposal::Add(Add { key_package })
            }
            4 => match epoch.leaf(LeafIndex(self.input.below(6) as u32)) {
                Some(leaf) => Proposal::Update(Update { leaf_node: leaf.clone() }),
                None => Proposal::DmlsMeta(self.meta()),
            },
            5 => {
                let mut extensions = epoch.context().extensions.clone();
                if let Some(last) = extensions.0.last_mut() {
                    last.extension_data = self.edited(last.extension_data.as_slice()).into();
                }
                Proposal::GroupContextExtensions(GroupContextExtensions { extensions })
            }
            _ => Proposal::DmlsMeta(self.meta()),
        }
    }

    fn application_data(&mut self, insider: &Insider) -> Vec<u8> {
        if self.input.one_in(4) {
            return self.input.string().to_vec();
        }
        let next = insider.epoch.next_generation(RatchetType::Application).unwrap_or(0);
        let generation = next.wrapping_add(self.input.below(3) as u32);
        let heads = self.heads();
        let notice = match self.input.below(6) {
            0 | 1 => None,
            2 => Some(DmlsNotice::Closed { winner: self.id() }),
            3 => Some(DmlsNotice::Welcome(self.input.string().into())),
            4 => {
                let key_package = MlsMessage::from(self.input.pick(&self.key_packages).clone());
                Some(DmlsNotice::KeyPackage(key_package.to_bytes().unwrap_or_default().into()))
            }
            _ => Some(DmlsNotice::Unknown { notice_type: 9, contents: self.input.string().into() }),
        };
        let payload = if notice.is_some() { &[][..] } else { self.input.string() };
        let application = DmlsApplication { generation, heads, payload: payload.into() };
        encode(&ApplicationData { application, notice }).unwrap_or_default()
    }

    /// A commit with a right path, tag and confirmation, and contents of the input.
    fn commit(&mut self, insider: &Insider) -> Option<CreatedCommit> {
        let proposals = self.list(3, |all| all.proposal(insider));
        let meta = self.meta();
        let init = insider.init.clone();
        let suite = insider.epoch.suite();
        let mut evaluate =
            |conf: &Secret, context: &GroupContext| init.evaluate(&child_init_input(suite, conf, context)?);
        let mut request = CommitRequest::new(&NoPsks, &DefaultPolicy);
        request.proposals = proposals;
        request.references =
            insider.epoch.proposals().keys().filter(|_| self.input.one_in(2)).cloned().collect();
        request.meta = Some(meta);
        insider.epoch.create_commit(&request, InitSource::Dmls(&mut evaluate), &mut self.rng).ok()
    }

    /// A commit that says something else than the one it was made from, signed, under that one's tag.
    fn forge(&mut self, insider: &Insider, good: &CreatedCommit) -> Option<Vec<u8>> {
        let Content::Commit(mut commit) = good.content.content.content.clone() else { return None };
        match self.input.below(4) {
            0 => commit.path = None,
            1 => commit.proposals = self.list(3, |all| ProposalOrRef::Proposal(all.proposal(insider))),
            2 => {
                let more = ProposalOrRef::Proposal(self.proposal(insider));
                commit.proposals.push(more);
            }
            _ => {
                let bytes = encode(&commit).ok()?;
                commit = decode::<Commit>(&self.edited(&bytes)).ok()?;
            }
        }
        let tag = good.content.auth.confirmation_tag.clone();
        self.send(insider, Content::Commit(commit), tag)
    }

    /// Signs as whomever the input says, with the insider's key, and encrypts under that member's key.
    fn send(&mut self, insider: &Insider, content: Content, tag: Option<Bytes>) -> Option<Vec<u8>> {
        let (epoch, own) = (&insider.epoch, insider.epoch.own_leaf());
        let ratchet = match content {
            Content::Application(_) => RatchetType::Application,
            _ => RatchetType::Handshake,
        };
        let context = epoch.context();
        let mut framed = FramedContent {
            group_id: context.group_id.clone(),
            epoch: context.epoch,
            sender: Sender::Member(own),
            authenticated_data: Bytes::default(),
            content,
        };
        let mut leaf = own;
        if self.input.one_in(8) {
            match self.input.below(5) {
                0 => framed.group_id = self.id(),
                1 => framed.epoch = self.input.number() as u64,
                2 => framed.sender = Sender::NewMemberCommit,
                3 => framed.authenticated_data = self.input.string().into(),
                _ => {
                    leaf = LeafIndex(self.input.below(6) as u32);
                    framed.sender = Sender::Member(leaf);
                }
            }
        }
        let key = epoch.signature_private();
        let mut signed =
            AuthenticatedContent::sign(epoch.suite(), WireFormat::PrivateMessage, framed, context, key)
                .ok()?;
        signed.auth.confirmation_tag = match (&signed.content.content, tag) {
            (Content::Commit(_), None) => Some(self.input.string().into()),
            (_, tag) => tag,
        };
        let first = if leaf == own { epoch.next_generation(ratchet).unwrap_or(0) } else { 0 };
        let ahead =
            if self.input.one_in(16) { 1 << self.input.below(12) } else { self.input.below(4) as u32 };
        let windows = Windows { forward: u32::MAX, back: u32::MAX };
        let keys = epoch.secret_tree().peek(leaf, ratchet, first + ahead, windows).ok()?;
        let header = first + ahead + u32::from(self.input.one_in(16));
        let sender = SenderData::new(leaf, header, &mut self.rng);
        let secret = &epoch.secrets().sender_data_secret;
        let message =
            PrivateMessage::encrypt(epoch.suite(), &signed, &sender, &keys, secret, Padding::None).ok()?;
        Some(insider.wrap(message.into()))
    }

    /// Bytes with a few of them changed, and perhaps cut off or drawn out.
    pub(super) fn edited(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + self.input.below(4) {
            let place = self.input.number();
            let len = bytes.len().max(1);
            match (self.input.below(8), bytes.get_mut(place % len)) {
                (0, _) => bytes.truncate(place % len),
                (1, _) => bytes.extend_from_slice(self.input.string()),
                (_, Some(byte)) => *byte ^= self.input.byte(),
                (_, None) => {}
            }
        }
        bytes
    }
}
