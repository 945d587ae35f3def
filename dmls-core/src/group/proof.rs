//! Proofs of equivocation: found in the log, kept, passed on, shown (DESIGN 4.7).
//!
//! Whoever retains a fork point has both messages and finds the contradiction itself. The notice is for those who have
//! not: members who joined below the fork point, or who have deleted it. A proof tells; it never decides, for evidence
//! is handshake messages only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::options::limits;
use super::records::Value;
use super::settle::named_two;
use super::state::Place;
use super::step::{Disposition, Effect, Event, Step};
use super::store::{Changes, Key, Store, StoreError, Table};
use super::transaction::{Transaction, member};
use super::view::ProofView;
use super::{Group, Keys};
use crate::codec::{Bytes, CodecError, encode};
use crate::framing::{
    AuthenticatedContent, Below, Content, ContentType, DmlsNotice, EquivocationProof, MAX_PROOF_COMMITS,
    MAX_PROOF_LEN, MlsMessageBody, ProofError, Statement, verify_equivocation,
};
use crate::history::Member;
use crate::schedule::{CommitId, EpochId, GroupContext, Windows, confirmed_transcript_hash};
use crate::suite::SignaturePublicKey;
use crate::tree::LeafIndex;

/// The name of a proof: the same for every proof about one key on one leaf at one fork point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProofId(pub [u8; 32]);

/// A proof as it is stored. It outlives its fork point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofRecord {
    /// An [`EquivocationProof`].
    pub bytes: Bytes,
    /// Whose key was misused.
    pub member: Member,
    /// MLS epoch number of the fork point.
    pub number: u64,
    /// When it was found or came; Unix milliseconds.
    pub since_ms: u64,
    /// When to pass it on, if nobody else has.
    pub share_at: Option<u64>,
}

impl ProofId {
    /// The name of the proofs about the key on a leaf at a fork point.
    ///
    /// # Errors
    /// [`CodecError`] if the fork point cannot be encoded.
    pub fn of(fork: &GroupContext, leaf: LeafIndex, key: &SignaturePublicKey) -> Result<Self, CodecError> {
        let mut hash = Sha256::new();
        for field in [&fork.group_id, &fork.confirmed_transcript_hash] {
            hash.update(encode(field)?);
        }
        hash.update(fork.epoch.to_be_bytes());
        hash.update(leaf.0.to_be_bytes());
        hash.update(encode(key)?);
        Ok(Self(hash.finalize().into()))
    }

    fn of_proof(proof: &EquivocationProof) -> Result<Self, ProofError> {
        let leaf = proof.leaf().ok_or(ProofError::TwoSenders)?;
        Ok(Self::of(&proof.fork, leaf, &proof.key)?)
    }
}

pub(super) fn load(
    records: BTreeMap<Vec<u8>, ProofRecord>,
) -> Result<rpds::RedBlackTreeMapSync<ProofId, ProofRecord>, StoreError> {
    let name = |place: Vec<u8>| {
        let reason = "a place is of another length".into();
        place.try_into().map(ProofId).map_err(|_| StoreError::Damaged { table: Table::Proofs.name(), reason })
    };
    records.into_iter().map(|(place, record)| Ok((name(place)?, record))).collect()
}

/// What the log says below one fork point.
#[derive(Default)]
struct Said {
    commits: BTreeMap<CommitId, AuthenticatedContent>,
    by_leaf: BTreeMap<LeafIndex, Vec<(EpochId, AuthenticatedContent)>>,
}

impl Group {
    /// A proof of equivocation, for anybody who wants to verify it: [`verify_equivocation`].
    pub fn proof(&self, id: &ProofId) -> Option<&ProofRecord> {
        self.proofs.get(id)
    }

    /// Looks through the log for what proves the equivocations that are known at retained fork points, keeps the
    /// proofs, and arranges that other members get them. To be called after [`Event::Equivocation`]; what is proved
    /// already is left alone, and what cannot be proved to others (DESIGN 4.7, [`EquivocationProof`]) stays unproved.
    ///
    /// # Errors
    /// [`StoreError`] if the log cannot be read; then nothing has changed.
    pub fn prove(&self, store: &dyn Store) -> Result<Step, StoreError> {
        let mut step = Step {
            group: self.clone(),
            changes: Changes::default(),
            effects: Vec::new(),
            disposition: None::<Disposition>,
        };
        for (at, epoch) in self.history.epochs() {
            let guilty = named_two(epoch);
            let unproved: Vec<LeafIndex> = guilty.iter().filter(|leaf| !self.is_proved(at, *leaf)).collect();
            if unproved.is_empty() {
                continue;
            }
            let said = self.said_below(store, at, epoch.number)?;
            for leaf in unproved {
                if let Some(proof) = self.proof_about(at, leaf, &said) {
                    // One that is too long to be kept is none.
                    let share_at = self.share_time(at, leaf);
                    step.group.keep_proof(&proof, Some(share_at), &mut step.changes, &mut step.effects).ok();
                }
            }
        }
        Ok(step)
    }

    fn is_proved(&self, at: &EpochId, leaf: LeafIndex) -> bool {
        let Some(Keys { epoch, .. }) = self.keys.get(at) else { return true };
        let Some(node) = epoch.leaf(leaf) else { return true };
        let id = ProofId::of(epoch.context(), leaf, &node.signature_key);
        id.is_ok_and(|id| self.proofs.contains_key(&id))
    }

    /// Every handshake message of the fork point and of what is below it, as far as proofs reach.
    fn said_below(&self, store: &dyn Store, at: &EpochId, number: u64) -> Result<Said, StoreError> {
        let below = self.history.subtree(at);
        let reach = number..=number.saturating_add(MAX_PROOF_COMMITS as u64);
        let mut said = Said::default();
        for (id, order) in self.log.iter().filter(|(_, order)| reach.contains(order)) {
            let Some(message) = self.logged(store, id, *order)? else { continue };
            let epoch = EpochId(message.dmls_epoch.clone());
            let MlsMessageBody::Private(private) = &message.message.body else { continue };
            if private.content_type == ContentType::Application || !below.contains(&epoch) {
                continue;
            }
            let Some(keys) = self.keys.get(&epoch) else { continue };
            let Ok(opened) = keys.epoch.open(&message.message, Windows::default()) else { continue };
            let content = opened.content;
            if let Content::Commit(_) = content.content.content
                && let Ok(input) = content.confirmed_transcript_input()
            {
                let interim = keys.epoch.public().interim_transcript_hash();
                let id = confirmed_transcript_hash(self.suite, interim, &input);
                said.commits.insert(CommitId(id), content.clone());
            }
            if let Some(leaf) = content.member() {
                said.by_leaf.entry(leaf).or_default().push((epoch, content));
            }
        }
        Ok(said)
    }

    /// Two statements of one member that prove that it has named two children, the shortest that there are.
    fn proof_about(&self, at: &EpochId, leaf: LeafIndex, said: &Said) -> Option<EquivocationProof> {
        let Keys { epoch, .. } = self.keys.get(at)?;
        let key = epoch.leaf(leaf)?.signature_key.clone();
        let (fork, tag) = (epoch.context().clone(), epoch.confirmation_tag().clone());
        let statements = said.by_leaf.get(&leaf)?.iter().filter_map(|(in_epoch, message)| {
            let below = if in_epoch == at { None } else { Some(self.below(at, in_epoch, said)?) };
            let length = below.as_ref().map_or(0, |below| below.commits.len());
            Some((length, Statement { message: message.clone(), below }))
        });
        let mut statements: Vec<(usize, Statement)> = statements.collect();
        statements.sort_by_key(|(length, _)| *length);
        let named = statements.iter().filter_map(|(_, s)| Some((s, s.named(&fork, &tag, &key).ok()?)));
        let named: Vec<_> = named.collect();
        let (one, first) = named.first()?;
        let (other, _) = named.iter().find(|(_, second)| first.contradicts(second))?;
        let (one, other) = ((*one).clone(), (*other).clone());
        Some(EquivocationProof { fork, confirmation_tag: tag, key, one, other })
    }

    /// The commits that lead from a fork point to an epoch below it.
    fn below(&self, at: &EpochId, epoch: &EpochId, said: &Said) -> Option<Below> {
        let above: Vec<_> = self.history.ancestors(epoch).collect();
        let length = above.iter().position(|(above, _)| *above == at)? + 1;
        let links = above.get(..length).filter(|links| links.len() <= MAX_PROOF_COMMITS)?;
        let commits = links.iter().rev().map(|(_, commit)| said.commits.get(*commit).cloned());
        Some(Below {
            context: self.keys.get(epoch)?.epoch.context().clone(),
            commits: commits.collect::<Option<_>>()?,
        })
    }

    /// When this client passes a proof on: all find it at about the same time, and one copy is enough.
    fn share_time(&self, at: &EpochId, leaf: LeafIndex) -> u64 {
        let Some(Keys { epoch, .. }) = self.keys.get(&self.state.head) else { return self.state.now_ms };
        let seed = [at.0.as_slice(), &leaf.0.to_be_bytes(), &epoch.own_leaf().0.to_be_bytes()].concat();
        let spread = Sha256::digest(&seed).first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let span = self.options.span(epoch.tree().member_count() as usize);
        self.state.now_ms.saturating_add(spread % span)
    }

    /// Keeps a proof that has been verified, one a fork point and member. Whether it is new.
    fn keep_proof(
        &mut self,
        proof: &EquivocationProof,
        share_at: Option<u64>,
        changes: &mut Changes,
        effects: &mut Vec<Effect>,
    ) -> Result<bool, ProofError> {
        let (id, leaf) = (ProofId::of_proof(proof)?, proof.leaf().ok_or(ProofError::TwoSenders)?);
        if self.proofs.contains_key(&id) {
            return Ok(false);
        }
        let bytes = encode(proof)?;
        if bytes.len() > MAX_PROOF_LEN {
            return Err(ProofError::TooLong);
        }
        let member = self.member_by_key(leaf, &proof.key).ok_or(ProofError::OtherKey)?;
        let number = proof.fork.epoch;
        let since_ms = self.state.now_ms;
        let record = ProofRecord { bytes: bytes.into(), member: member.clone(), number, since_ms, share_at };
        changes.put(Key::named(Table::Proofs, &self.id, &id.0), Value::Proof(record.clone()));
        self.proofs.insert_mut(id, record);
        while let Some(oldest) = self.superfluous_proof(&member) {
            self.proofs.remove_mut(&oldest);
            changes.delete(Key::named(Table::Proofs, &self.id, &oldest.0));
        }
        if self.proofs.contains_key(&id) {
            effects.push(Effect::Event(Event::EquivocationProved { proof: id, member, number }));
        }
        Ok(true)
    }

    /// Whoever is known by a key, in any retained epoch: at best on the leaf that is given.
    fn member_by_key(&self, leaf: LeafIndex, key: &SignaturePublicKey) -> Option<Member> {
        let on_leaf = |keys: &Keys| {
            keys.epoch.leaf(leaf).filter(|node| node.signature_key == *key).map(|node| member(leaf, node))
        };
        let anywhere = |keys: &Keys| {
            keys.epoch.tree().leaves().find(|(_, node)| node.signature_key == *key).map(|(l, n)| member(l, n))
        };
        self.keys.values().find_map(on_leaf).or_else(|| self.keys.values().find_map(anywhere))
    }

    /// Of too many proofs about a member, or of too many in all, the one with the oldest fork point: the choice does not
    /// depend on when they were found, or what has gone would be found again.
    fn superfluous_proof(&self, of: &Member) -> Option<ProofId> {
        let oldest = |of: Option<&Member>| {
            let all = self.proofs.iter();
            let of_key = all.filter(|(_, p)| of.is_none_or(|of| of.fingerprint == p.member.fingerprint));
            of_key.min_by_key(|(id, proof)| (proof.number, **id)).map(|(id, _)| *id)
        };
        let about = self.proofs.values().filter(|proof| proof.member.fingerprint == of.fingerprint).count();
        if about > limits::PROOFS_OF_KEY {
            return oldest(Some(of));
        }
        let bytes: usize = self.proofs.values().map(|proof| proof.bytes.len()).sum();
        let full = self.proofs.size() > limits::PROOFS || bytes > limits::PROOF_BYTES;
        full.then(|| oldest(None)).flatten()
    }

    /// The proofs for the view.
    pub(super) fn proof_views(&self) -> Vec<ProofView> {
        let view = |(id, proof): (&ProofId, &ProofRecord)| ProofView {
            id: *id,
            member: proof.member.clone(),
            number: proof.number,
            since_ms: proof.since_ms,
        };
        let mut views: Vec<ProofView> = self.proofs.iter().map(view).collect();
        views.sort_by_key(|view| (view.since_ms, view.id));
        views
    }

    /// When the next proof is to be passed on.
    pub(super) fn share_due(&self) -> Option<u64> {
        let sending = self.state.place == Place::Member;
        self.proofs.values().filter_map(|proof| proof.share_at.filter(|_| sending)).min()
    }
}

impl Transaction<'_> {
    /// A proof that another member passes on. One that proves nothing, or accuses nobody who is known, is ignored; one
    /// that is known needs no further copy.
    pub(super) fn take_proof(&mut self, bytes: &Bytes) {
        let Ok(proof) = crate::codec::decode::<EquivocationProof>(bytes.as_slice()) else { return };
        let known = proof.leaf().and_then(|leaf| self.group.member_by_key(leaf, &proof.key));
        let here = proof.fork.group_id == self.group.id.0;
        if known.is_none() || !here || verify_equivocation(bytes.as_slice(), &proof.key).is_err() {
            return;
        }
        let Self { group, changes, effects, .. } = self;
        if matches!(group.keep_proof(&proof, None, changes, effects), Ok(false))
            && let Ok(id) = ProofId::of_proof(&proof)
        {
            self.share_proof_at(&id, None);
        }
    }

    fn share_proof_at(&mut self, id: &ProofId, share_at: Option<u64>) {
        let Some(record) = self.group.proofs.get(id).filter(|record| record.share_at != share_at) else {
            return;
        };
        let record = ProofRecord { share_at, ..record.clone() };
        self.changes.put(Key::named(Table::Proofs, &self.group.id, &id.0), Value::Proof(record.clone()));
        self.group.proofs.insert_mut(*id, record);
    }

    /// Passes on what nobody else has passed on in time.
    pub(super) fn share_due_proofs(&mut self) {
        let now = self.now();
        if self.group.share_due().is_none_or(|due| due > now) {
            return;
        }
        let due = self.group.proofs.iter().filter(|(_, proof)| proof.share_at.is_some_and(|at| at <= now));
        let due: Vec<(ProofId, Bytes)> = due.map(|(id, proof)| (*id, proof.bytes.clone())).collect();
        for (id, bytes) in due {
            let head = self.group.state.head.clone();
            // It can fail only when this member has used up its application keys in the head.
            self.attempt(|step| step.send_notice(&head, DmlsNotice::Proof(bytes)).map(drop));
            self.share_proof_at(&id, None);
        }
    }

    /// Whoever adds members passes on to them what it knows about those who are still there.
    pub(super) fn share_with_joiners(&mut self) {
        let head = &self.group.state.head;
        let Some(Keys { epoch, .. }) = self.group.keys.get(head) else { return };
        let there = |member: &Member| {
            epoch
                .leaf(member.leaf)
                .is_some_and(|node| super::transaction::member(member.leaf, node) == *member)
        };
        let known = self.group.proofs.iter().filter(|(_, proof)| there(&proof.member)).map(|(id, _)| *id);
        let now = self.now();
        for id in known.collect::<Vec<_>>() {
            self.share_proof_at(&id, Some(now));
        }
    }
}
