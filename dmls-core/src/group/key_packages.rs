//! Key packages of others, kept so that this client can add them in its turn: one a client (DESIGN 4.4, 4.6).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Group;
use super::options::limits;
use super::records::Value;
use super::rejoin::{request_number, succeeds};
use super::step::{Disposition, Event};
use super::store::{Key, Table};
use super::transaction::{Transaction, member};
use crate::codec::CodecError;
use crate::epoch::{Added, Epoch};
use crate::framing::{
    DmlsError, DmlsRejoin, KeyPackage, KeyPackageError, KeyPackagePolicy, MlsMessage, MlsMessageBody,
};
use crate::history::{Child, Member, Operation};
use crate::identity::IdentityError;
use crate::schedule::EpochId;
use crate::suite::Strictness;
use crate::tree::{Credential, LeafIndex, LeafNode};

/// A key package that a client has offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The key package. Valid when it came.
    pub key_package: KeyPackage,
    /// The epoch in which a notice offered it: its Welcome is sent there too.
    pub epoch: Option<EpochId>,
}

/// Why a key package is not kept. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OfferError {
    /// It is larger than 16 KiB.
    #[error("The key package is larger than a key package may be.")]
    TooLarge,
    /// It cannot be decoded.
    #[error("The key package cannot be read: {0}")]
    Encoding(#[from] CodecError),
    /// The bytes are another message.
    #[error("The message is not a key package.")]
    NotAKeyPackage,
    /// It is not valid.
    #[error("The key package is not valid: {0}")]
    KeyPackage(#[from] KeyPackageError),
    /// The authentication service does not vouch for its maker.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its request to rejoin cannot be read.
    #[error("The request to rejoin is malformed: {0}")]
    Request(#[from] DmlsError),
    /// A notice offers the key package of somebody else than its sender.
    #[error("The notice offers a key package that is not its sender's.")]
    OtherSender,
    /// Its request is for another group.
    #[error("The request is to rejoin another group.")]
    OtherGroup,
    /// It is this client's own.
    #[error("The key package is of this client itself.")]
    Own,
    /// Its maker is a member and does not ask to rejoin.
    #[error("The client is a member already and does not ask to rejoin.")]
    NotAsked,
    /// A member of that credential has another signature key, or one with that key another credential.
    #[error("The key package has another signature key than the member with its credential.")]
    OtherKey,
    /// Its maker is neither a member nor somebody whom another branch has added.
    #[error("The client is no member, and no branch has added it.")]
    NotAMember,
    /// The request has been used.
    #[error("The request to rejoin has been used already.")]
    Used,
    /// A newer request of the client is known, or has been used.
    #[error("The request to rejoin is older than one that is known.")]
    Older,
    /// There are too many.
    #[error("Too many key packages of others are kept already.")]
    Full,
}

/// The name of a client in the store: a hash of its credential and its key.
pub(super) fn client_name(credential: &Credential, fingerprint: &[u8; 32]) -> Result<[u8; 32], CodecError> {
    let credential = crate::codec::encode(credential)?;
    Ok(Sha256::new().chain_update(fingerprint).chain_update(credential).finalize().into())
}

fn fingerprint(leaf: &LeafNode) -> [u8; 32] {
    Sha256::digest(leaf.signature_key.as_slice()).into()
}

impl Group {
    fn key_package_policy(&self) -> KeyPackagePolicy {
        KeyPackagePolicy {
            suite: self.suite,
            strictness: Strictness::Canonical,
            now: Some(self.state.clock_ms / 1000),
            last_resort: false,
        }
    }

    /// Whether a client that is not in the head has been added on a branch beside it, or its Add has been put off.
    fn is_awaited(&self, who: &Member) -> bool {
        let added = |operation: &Operation| match operation {
            Operation::Add(m) => m.credential == who.credential && m.fingerprint == who.fingerprint,
            _ => false,
        };
        let beside = |child: &Child| match &child.outcome {
            Ok(epoch) => !self.history.is_on_path(epoch, &self.state.head),
            Err(_) => true,
        };
        let beside_head = self.history.epochs().flat_map(|(_, epoch)| epoch.children.values()).any(|child| {
            let deferred = child.summary.merge.iter().any(|merge| merge.deferred.contains(&who.credential));
            deferred || (child.summary.operations().any(added) && beside(child))
        });
        beside_head || self.state.merging.awaits(who)
    }

    /// Lifetimes and the authentication service bind who adds (DESIGN 4.4): asked when a key package comes, and when
    /// it is used.
    fn vouch(&self, leaf: &LeafNode) -> Result<(), IdentityError> {
        let service = self.options.authentication.service();
        service.validate(&leaf.credential, &leaf.signature_key, self.state.clock_ms / 1000).map(|_| ())
    }

    fn is_usable(&self, key_package: &KeyPackage) -> bool {
        in_lifetime(key_package, Some(self.state.clock_ms / 1000))
            && self.vouch(&key_package.leaf_node).is_ok()
    }

    fn offered(&self, member: &Member) -> Option<&KeyPackage> {
        let offer = self.offers.get(&client_name(&member.credential, &member.fingerprint).ok()?)?;
        Some(&offer.key_package).filter(|new| self.is_usable(new))
    }

    /// The key package of a client that is not in the head, to add it with; none if there is none that is valid now.
    pub(super) fn fresh_key_package(&self, member: &Member) -> Option<KeyPackage> {
        self.offered(member).cloned()
    }

    /// The same of a member of the head, to let it rejoin.
    pub(super) fn rejoin_key_package(&self, member: &Member, leaf: LeafIndex) -> Option<KeyPackage> {
        let epoch = &self.keys.get(&self.state.head)?.epoch;
        let old = epoch.leaf(leaf)?;
        self.offered(member).filter(|new| succeeds(epoch.public(), old, &new.leaf_node)).cloned()
    }

    /// Whether a client has been heard below the epoch in which it has asked, on the way to the head: it has come along,
    /// and needs no rejoin.
    fn is_heard_below(&self, offer: &Offer) -> bool {
        let head = &self.state.head;
        let Some(asked_in) = offer.epoch.as_ref().filter(|asked_in| self.history.is_on_path(asked_in, head))
        else {
            return false;
        };
        let client = &offer.key_package.leaf_node.signature_key;
        let spoken = |id: &EpochId| {
            let leaf = self.keys.get(id)?.epoch.tree().find_leaf(|leaf| leaf.signature_key == *client)?;
            Some(self.history.epoch(id)?.spoken.contains(leaf))
        };
        let above = self.history.ancestors(head).map(|(above, _)| above);
        let mut below = std::iter::once(head).chain(above).take_while(|id| *id != asked_in);
        below.any(|id| spoken(id) == Some(true))
    }

    /// What is offered that a rejoin in the head can be made of: the leaf that goes, and the new key package.
    pub(super) fn pending_rejoins(&self) -> Vec<(LeafIndex, &KeyPackage)> {
        let Some(keys) = self.keys.get(&self.state.head) else { return Vec::new() };
        let pending = self.offers.values().filter_map(|offer| {
            let new = &offer.key_package.leaf_node;
            let from = keys.epoch.tree().find_leaf(|leaf| leaf.signature_key == new.signature_key)?;
            let old = keys.epoch.leaf(from).filter(|_| from != keys.epoch.own_leaf())?;
            // Whoever speaks in the head is in it.
            if offer.epoch.as_ref() == Some(&self.state.head) || self.is_heard_below(offer) {
                return None;
            }
            (succeeds(keys.epoch.public(), old, new) && self.is_usable(&offer.key_package))
                .then_some((from, &offer.key_package))
        });
        // A merge says that it merges the client's branch, by which the client takes the Welcome.
        pending.filter(|(from, _)| !self.is_rejoin_carried(*from)).collect()
    }
}

fn in_lifetime(key_package: &KeyPackage, now: Option<u64>) -> bool {
    let lifetime = key_package.lifetime();
    lifetime.zip(now).is_some_and(|(life, now)| (life.not_before..=life.not_after).contains(&now))
}

impl Transaction<'_> {
    /// A key package that the host was handed.
    pub(super) fn key_package(&mut self, bytes: &[u8]) -> Disposition {
        match self.take_offer(bytes, None) {
            Ok(true) => Disposition::Applied,
            Ok(false) => Disposition::Duplicate,
            Err(error) => Disposition::Rejected { rule: error.to_string() },
        }
    }

    /// Keeps a key package of another client, if it can be of use; whether it is news. `from`: the notice's epoch and
    /// sender.
    pub(super) fn take_offer(
        &mut self,
        bytes: &[u8],
        from: Option<(&EpochId, &Member)>,
    ) -> Result<bool, OfferError> {
        if bytes.len() > limits::KEY_PACKAGE_BYTES {
            return Err(OfferError::TooLarge);
        }
        let MlsMessageBody::KeyPackage(key_package) = MlsMessage::from_bytes(bytes)?.body else {
            return Err(OfferError::NotAKeyPackage);
        };
        key_package.validate(&self.group.key_package_policy())?;
        let leaf = &key_package.leaf_node;
        let who = member(LeafIndex(0), leaf);
        if from.is_some_and(|(_, m)| m.credential != who.credential || m.fingerprint != who.fingerprint) {
            return Err(OfferError::OtherSender);
        }
        self.check_offer(&key_package, &who)?;
        self.group.vouch(leaf)?;
        let name = client_name(&who.credential, &who.fingerprint)?;
        if let Some(known) = self.group.offers.get(&name) {
            if known.key_package == key_package {
                return Ok(false);
            }
            let number =
                |of: &KeyPackage| DmlsRejoin::from_extensions(&of.leaf_node.extensions).ok().flatten();
            if number(&key_package).map(|new| new.number) < number(&known.key_package).map(|old| old.number) {
                return Err(OfferError::Older);
            }
        } else {
            self.make_room()?;
        }
        let offer = Offer { key_package, epoch: from.map(|(epoch, _)| epoch.clone()) };
        self.changes.put(Key::named(Table::Offers, &self.group.id, &name), Value::Offer(offer.clone()));
        self.group.offers.insert_mut(name, offer);
        // A merge may have waited for it.
        self.evidence = true;
        Ok(true)
    }

    /// Whether a valid key package is of any use here.
    fn check_offer(&mut self, key_package: &KeyPackage, who: &Member) -> Result<(), OfferError> {
        let leaf = &key_package.leaf_node;
        let request = DmlsRejoin::from_extensions(&leaf.extensions)?;
        if request.as_ref().is_some_and(|request| request.group_id != self.group.id.0) {
            return Err(OfferError::OtherGroup);
        }
        let head = self.group.state.head.clone();
        let Some(keys) = self.group.keys.get(&head) else { return Err(OfferError::NotAMember) };
        let same =
            |old: &LeafNode| old.credential == leaf.credential || old.signature_key == leaf.signature_key;
        let Some(at) = keys.epoch.tree().find_leaf(same) else {
            if self.group.is_awaited(who) {
                return Ok(());
            }
            if request.is_some() {
                self.event(Event::RejoinRequested { member: who.clone() });
            }
            return Err(OfferError::NotAMember);
        };
        check_member(&keys.epoch, at, leaf, request.is_some())
    }

    /// Drops what is over; else there may be no room.
    fn make_room(&mut self) -> Result<(), OfferError> {
        if self.group.offers.size() < limits::OFFERS {
            return Ok(());
        }
        let now = Some(self.group.state.clock_ms / 1000);
        let over = self.group.offers.iter().filter(|(_, offer)| !in_lifetime(&offer.key_package, now));
        for name in over.map(|(name, _)| *name).collect::<Vec<_>>() {
            self.drop_offer(&name);
        }
        if self.group.offers.size() < limits::OFFERS { Ok(()) } else { Err(OfferError::Full) }
    }

    /// Drops the requests of members who have come along after all.
    pub(super) fn drop_needless_offers(&mut self) {
        let heard = self.group.offers.iter().filter(|(_, offer)| self.group.is_heard_below(offer));
        for name in heard.map(|(name, _)| *name).collect::<Vec<_>>() {
            self.drop_offer(&name);
        }
    }

    pub(super) fn drop_offer(&mut self, name: &[u8; 32]) {
        self.group.offers.remove_mut(name);
        self.changes.delete(Key::named(Table::Offers, &self.group.id, name));
    }

    /// Drops the key packages that a commit uses, whoever made it: each is used once. The epochs in which notices
    /// offered them are where their makers can read the Welcome.
    pub(super) fn use_offers(&mut self, added: &[Added]) -> Vec<EpochId> {
        let suite = self.group.suite;
        let is_used = |key_package: &KeyPackage| {
            key_package.reference(suite).is_ok_and(|reference| added.iter().any(|a| a.reference == reference))
        };
        let used =
            self.group.offers.iter().filter(|(_, offer)| !added.is_empty() && is_used(&offer.key_package));
        let used: Vec<_> = used.map(|(name, offer)| (*name, offer.epoch.clone())).collect();
        used.iter().for_each(|(name, _)| self.drop_offer(name));
        let epochs: std::collections::BTreeSet<EpochId> =
            used.into_iter().filter_map(|(_, epoch)| epoch).collect();
        epochs.into_iter().collect()
    }
}

/// Whether a member of the head may be added anew with this leaf.
fn check_member(epoch: &Epoch, at: LeafIndex, new: &LeafNode, asks: bool) -> Result<(), OfferError> {
    let Some(old) = epoch.leaf(at) else { return Err(OfferError::NotAMember) };
    if old.credential != new.credential || old.signature_key != new.signature_key {
        return Err(OfferError::OtherKey);
    }
    if at == epoch.own_leaf() {
        return Err(OfferError::Own);
    }
    if !asks {
        return Err(OfferError::NotAsked);
    }
    let number = |leaf| request_number(epoch.public(), leaf);
    match succeeds(epoch.public(), old, new) {
        true => Ok(()),
        false if number(old) == number(new) => Err(OfferError::Used),
        false => Err(OfferError::Older),
    }
}

/// How the offers of a group are found again.
pub(super) type Offers = rpds::RedBlackTreeMapSync<[u8; 32], Offer>;

/// The offers out of their records.
pub(super) fn offers(records: std::collections::BTreeMap<Vec<u8>, Offer>) -> Option<Offers> {
    let mut offers = Offers::new_sync();
    for (place, offer) in records {
        let name: [u8; 32] = place.try_into().ok()?;
        let leaf = &offer.key_package.leaf_node;
        // In the place of another's it would be taken for that one's.
        if client_name(&leaf.credential, &fingerprint(leaf)).ok()? != name {
            return None;
        }
        offers.insert_mut(name, offer);
    }
    Some(offers)
}
