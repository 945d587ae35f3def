//! Key packages for whoever asks, Welcomes as they come, and joining.

use std::collections::HashMap;

use dmls_core::codec::Bytes;
use dmls_core::group::{Changes, GroupId, JoinError, Key, StoreError, Table};
use dmls_gossip::PeerId;
use sha2::{Digest, Sha256};

use super::direct::{Refusal, WelcomeDelivery};
use super::engine::{Engine, now_ms, rng, store_failure};
use crate::api::views::{EventView, GroupView, InvitationView};
use crate::error::{ErrorCode, Failure};
use crate::store::types::{Contact, Invitation, Issued, PeerRecord, clean_name};
use crate::store::{Column, Extra};

/// Unused key packages that one peer can hold; a further one replaces its oldest.
pub(super) const PER_PEER: usize = 4;
/// Key packages that one peer gets in [`SPAN_MS`].
pub(super) const PER_SPAN: usize = 16;
/// The time for which they are counted.
pub(super) const SPAN_MS: u64 = 10_000;
/// Unused key packages, and remembered used ones, in all.
const MAX_ISSUED: usize = 1024;
/// Invitations that wait.
const MAX_INVITATIONS: usize = 64;
/// Those of them for key packages that one peer was given.
pub(super) const MAX_INVITATIONS_PER_PEER: usize = 8;

/// How many key packages were asked for in this span of time, by peer.
#[derive(Default)]
pub(super) struct Asked {
    since_ms: u64,
    peers: HashMap<String, usize>,
}

impl Asked {
    fn may(&mut self, peer: &str, now: u64) -> bool {
        // A clock that was set back begins a new span, too.
        if !(self.since_ms..self.since_ms.saturating_add(SPAN_MS)).contains(&now) {
            *self = Self { since_ms: now, peers: HashMap::new() };
        }
        if !self.peers.contains_key(peer) && self.peers.len() >= MAX_ISSUED {
            return false;
        }
        let count = self.peers.entry(peer.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count <= PER_SPAN
    }
}

/// Forgets key packages that are too many: of this peer those without a Welcome, else the oldest of all that no
/// invitation needs.
fn make_room(all: &[(Vec<u8>, Issued)], peer: &str, changes: &mut Changes, extra: &mut Extra) {
    let mut forget = |reference: &[u8]| {
        changes.delete(Key::key_package(&Bytes::from(reference)));
        extra.delete(Column::Issued, reference);
    };
    let open = |issued: &Issued| issued.welcome.is_none() && issued.peer == peer;
    let mut of_peer: Vec<_> = all.iter().filter(|(_, issued)| open(issued)).collect();
    of_peer.sort_by_key(|(_, issued)| issued.at_ms);
    for (reference, _) in of_peer.iter().rev().skip(PER_PEER - 1) {
        forget(reference);
    }
    let mut oldest: Vec<_> =
        all.iter().filter(|(_, issued)| !open(issued) && (issued.used || issued.welcome.is_none())).collect();
    oldest.sort_by_key(|(_, issued)| issued.at_ms);
    for (reference, _) in oldest.iter().take(all.len().saturating_sub(MAX_ISSUED)) {
        forget(reference);
    }
}

impl Engine {
    /// Makes a key package for a peer. It is stored before it is handed out.
    pub(super) fn on_key_package_request(&mut self, peer: &PeerId, now: u64) -> Result<Vec<u8>, Refusal> {
        if self.failed.is_some() {
            return Err(Refusal::Later);
        }
        let later = |error: &dyn std::fmt::Display| {
            tracing::warn!("no key package could be made: {error}");
            Refusal::Later
        };
        let peer = peer.to_string();
        // Each costs a key pair and a wait for the disk: who takes them faster than it can use them has to wait.
        if !self.asked.may(&peer, now) {
            return Err(Refusal::Later);
        }
        let issued: Vec<(Vec<u8>, Issued)> =
            self.parts.database.scan(Column::Issued, &[], &[], usize::MAX).map_err(|e| later(&e))?;
        let made =
            self.client.key_package(&self.parts.config.group, now, &mut rng()).map_err(|e| later(&e))?;
        let mut changes = made.changes;
        let mut extra = Extra::default();
        let new = Issued { peer: peer.clone(), at_ms: now, welcome: None, used: false };
        extra.put(Column::Issued, made.reference.as_slice(), &new).map_err(|e| later(&e))?;
        make_room(&issued, &peer, &mut changes, &mut extra);
        if let Err(error) = self.parts.database.apply_with(&changes, &extra) {
            self.note_failure(&error);
            return Err(later(&error));
        }
        Ok(made.bytes)
    }

    /// A Welcome that a peer delivers. Once this returns `Ok` it is stored, and the peer may forget it.
    pub(super) fn on_welcome(&mut self, peer: &PeerId, body: &[u8]) -> Result<(), Refusal> {
        if self.failed.is_some() {
            return Err(Refusal::Later);
        }
        let delivery = WelcomeDelivery::decode(body)?;
        let hash: [u8; 32] = Sha256::digest(&delivery.welcome).into();
        let later = |error: StoreError| {
            tracing::warn!("a Welcome could not be taken: {error}");
            Refusal::Later
        };
        let known = self.parts.database.get(Column::Issued, &delivery.reference).map_err(later)?;
        let issued: Issued = known.ok_or(Refusal::UnknownKeyPackage)?;
        match issued.welcome {
            // The answer to the first delivery was lost.
            Some(before) if before == hash => return Ok(()),
            Some(_) => return Err(Refusal::UsedKeyPackage),
            None => {}
        }
        let all: Vec<(Vec<u8>, Issued)> =
            self.parts.database.scan(Column::Issued, &[], &[], usize::MAX).map_err(later)?;
        // Nobody takes up the room of all others.
        let same = |(_, other): &&(Vec<u8>, Issued)| {
            other.peer == issued.peer && other.welcome.is_some() && !other.used
        };
        if all.iter().filter(same).count() >= MAX_INVITATIONS_PER_PEER
            || self.invitation_count().map_err(later)? >= MAX_INVITATIONS
        {
            return Err(Refusal::Later);
        }
        let mut extra = Extra::default();
        let invitation = Invitation {
            from: peer.to_string(),
            name: delivery.name.clone(),
            welcome: delivery.welcome,
            contacts: delivery.contacts,
            at_ms: now_ms(),
        };
        extra.put(Column::Invitations, &delivery.reference, &invitation).map_err(later)?;
        let issued = Issued { welcome: Some(hash), ..issued };
        extra.put(Column::Issued, &delivery.reference, &issued).map_err(later)?;
        let event = EventView::Invited { invitation: hex::encode(&delivery.reference), name: delivery.name };
        self.record(extra, "", Some(event)).map_err(later)?;
        if self.parts.config.auto_join
            && let Err(failure) = self.join_by(&delivery.reference)
        {
            tracing::warn!("an invitation could not be accepted: {}", failure.message);
        }
        Ok(())
    }

    /// How many invitations wait.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn invitation_count(&self) -> Result<usize, StoreError> {
        let mut count = 0;
        let take = |_: &[u8]| {
            count += 1;
            true
        };
        self.parts.database.keys(Column::Invitations, &[], &[], take)?;
        Ok(count)
    }

    /// Invitations that wait, oldest first.
    ///
    /// # Errors
    /// [`ErrorCode::Store`].
    pub(super) fn invitations(&self) -> Result<Vec<InvitationView>, Failure> {
        let found: Vec<(Vec<u8>, Invitation)> =
            self.parts.database.scan(Column::Invitations, &[], &[], usize::MAX).map_err(store_failure)?;
        let mut views: Vec<InvitationView> = Vec::new();
        for (reference, invitation) in found {
            let known: Option<PeerRecord> =
                self.parts.database.get(Column::Peers, invitation.from.as_bytes()).map_err(store_failure)?;
            let name = known.map(|peer| peer.name).filter(|name| !name.is_empty());
            views.push(InvitationView {
                id: hex::encode(reference),
                name: invitation.name,
                from: name.unwrap_or(invitation.from),
                at_ms: invitation.at_ms,
            });
        }
        views.sort_by_key(|view| view.at_ms);
        Ok(views)
    }

    /// Accepts the invitation that a name, or the beginning of an id, means; the only one if `wanted` is empty.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`], [`ErrorCode::Usage`], [`ErrorCode::Refused`], [`ErrorCode::Store`].
    pub(super) fn join(&mut self, wanted: &str) -> Result<GroupView, Failure> {
        self.writable()?;
        let all = self.invitations()?;
        let fits =
            |view: &&InvitationView| wanted.is_empty() || view.name == wanted || view.id.starts_with(wanted);
        let found: Vec<_> = all.iter().filter(fits).collect();
        match found.as_slice() {
            [one] => {
                let reference = hex::decode(&one.id).unwrap_or_default();
                self.join_by(&reference)
            }
            [] => {
                let hint =
                    "Give the output of `dmls id` to a member; `dmls join --wait` waits for the invitation.";
                Err(Failure::new(ErrorCode::NotFound, "There is no such invitation.").hint(hint))
            }
            _ => {
                let hint = "Name one of them; `dmls join --list` shows them.";
                Err(Failure::new(ErrorCode::Usage, "There are several invitations.").hint(hint))
            }
        }
    }

    fn join_by(&mut self, reference: &[u8]) -> Result<GroupView, Failure> {
        let found: Option<Invitation> =
            self.parts.database.get(Column::Invitations, reference).map_err(store_failure)?;
        let invitation = found.ok_or_else(|| Failure::new(ErrorCode::NotFound, "The invitation is gone."))?;
        let none = Extra::default();
        let database = self.parts.database.clone();
        let store = database.step(&none);
        let joined =
            self.client.join(&store, &invitation.welcome, &self.parts.config.group, now_ms(), &mut rng());
        let step = match joined {
            Ok(step) => step,
            Err(JoinError::Store(error)) => return Err(store_failure(error)),
            Err(error @ JoinError::Load(_)) => return Err(Failure::new(ErrorCode::Store, error)),
            Err(error) => return Err(self.decline(reference, &error)),
        };
        let id = step.group.id().clone();
        let name = if invitation.name.is_empty() { "group" } else { &invitation.name };
        // Who was put out of a group and is invited again finds it under the name it had.
        let name = match self.names.get(&id) {
            Some(before) => before.clone(),
            None => self.free_name(name, false)?,
        };
        let extra = self.joining(reference, &id, &name, &invitation).map_err(store_failure)?;
        self.commit(step, extra).map_err(store_failure)?;
        self.parts.unwanted.forget(&id);
        self.reconciled.remove(&id);
        self.names.insert(id.clone(), name);
        self.parts.outbound.topics();
        for contact in invitation.contacts {
            self.parts.outbound.peer(contact);
        }
        self.view(&id)
    }

    /// The node's own records of joining.
    fn joining(
        &self,
        reference: &[u8],
        id: &GroupId,
        name: &str,
        invitation: &Invitation,
    ) -> Result<Extra, StoreError> {
        let mut extra = Extra::default();
        extra.delete(Column::Invitations, reference);
        let issued: Option<Issued> = self.parts.database.get(Column::Issued, reference)?;
        if let Some(issued) = issued {
            extra.put(Column::Issued, reference, &Issued { used: true, ..issued })?;
        }
        extra.put(Column::Names, id.0.as_slice(), &name)?;
        // What was judged, or was to be delivered, in an earlier membership.
        self.parts.unwanted.erase(&self.parts.database, id, &mut extra)?;
        let earlier = |key: &[u8]| {
            extra.delete(Column::Deliveries, key);
            true
        };
        let prefix = Key::of_group(Table::Welcomes, id).bytes;
        self.parts.database.keys(Column::Deliveries, &prefix, &[], earlier)?;
        for Contact { peer, addresses } in &invitation.contacts {
            if !self.parts.database.has(Column::Peers, peer.as_bytes())? {
                let record =
                    PeerRecord { name: String::new(), addresses: addresses.clone(), fingerprint: None };
                extra.put(Column::Peers, peer.as_bytes(), &record)?;
            }
        }
        Ok(extra)
    }

    /// An invitation that can never be accepted goes, and its key package with it: that takes no second Welcome.
    fn decline(&mut self, reference: &[u8], error: &JoinError) -> Failure {
        let failure = Failure::new(ErrorCode::Refused, error);
        if matches!(error, JoinError::AlreadyMember) {
            // It can be accepted as soon as this client knows that it is out.
            return failure.hint(
                "If you were removed, this node does not know yet: join again once `dmls group show` says so.",
            );
        }
        let declined = || -> Result<(Changes, Extra), StoreError> {
            let (mut changes, mut extra) = (Changes::default(), Extra::default());
            extra.delete(Column::Invitations, reference);
            changes.delete(Key::key_package(&Bytes::from(reference)));
            let issued: Option<Issued> = self.parts.database.get(Column::Issued, reference)?;
            if let Some(issued) = issued {
                extra.put(Column::Issued, reference, &Issued { used: true, ..issued })?;
            }
            Ok((changes, extra))
        };
        let stored = declined().and_then(|(changes, extra)| {
            let stored = self.parts.database.apply_with(&changes, &extra);
            stored.inspect_err(|error| self.note_failure(error))
        });
        match stored {
            Ok(()) => failure.hint("The invitation was deleted; ask to be invited again."),
            Err(error) => store_failure(error),
        }
    }

    /// Accepts what can be accepted, where the configuration says so.
    pub(super) fn accept_all(&mut self) {
        for invitation in self.invitations().unwrap_or_default() {
            let reference = hex::decode(&invitation.id).unwrap_or_default();
            if let Err(failure) = self.join_by(&reference) {
                tracing::warn!("an invitation could not be accepted: {}", failure.message);
            }
        }
    }

    /// Deletes the key packages that nobody may use any more, unless an invitation needs them.
    pub(super) fn prune_key_packages(&mut self, now: u64) {
        let lifetime_ms = self.parts.config.group.key_package_lifetime_s.saturating_mul(1000);
        let pruned = || -> Result<usize, StoreError> {
            let (mut changes, mut extra, mut count) = (Changes::default(), Extra::default(), 0);
            let all: Vec<(Vec<u8>, Issued)> =
                self.parts.database.scan(Column::Issued, &[], &[], usize::MAX)?;
            for (reference, issued) in &all {
                let over = issued.at_ms.saturating_add(lifetime_ms) <= now;
                if over && !self.parts.database.has(Column::Invitations, reference)? {
                    changes.delete(Key::key_package(&Bytes::from(reference.as_slice())));
                    extra.delete(Column::Issued, reference);
                    count += 1;
                }
            }
            if count > 0 {
                self.parts.database.apply_with(&changes, &extra)?;
            }
            Ok(count)
        };
        match pruned() {
            Ok(0) => {}
            Ok(count) => tracing::debug!("{count} key packages have expired"),
            Err(error) => {
                tracing::error!("expired key packages could not be deleted: {error}");
                self.note_failure(&error);
            }
        }
    }

    /// A Welcome was delivered, or refused for good: it is not delivered again.
    pub(super) fn delivered(
        &mut self,
        id: &GroupId,
        reference: &Bytes,
        peer: &str,
        refusal: Option<Refusal>,
    ) {
        if self.failed.is_some() {
            return;
        }
        let mut extra = Extra::default();
        extra.delete(Column::Deliveries, &Key::named(Table::Welcomes, id, reference.as_slice()).bytes);
        let result = match self.groups.get(id) {
            Some(group) => {
                let step = group.welcome_delivered(reference);
                self.commit(step, extra).map(|_| ())
            }
            None => self.record(extra, "", None),
        };
        if let Err(error) = result {
            tracing::error!("a delivery could not be recorded: {error}");
            return;
        }
        let peer = peer.to_owned();
        let event = match refusal {
            None => EventView::Welcomed { peer },
            Some(refusal) => EventView::WelcomeRefused { peer, reason: refusal.sentence().into() },
        };
        if let Err(error) = self.record(Extra::default(), &hex::encode(id.0.as_slice()), Some(event)) {
            tracing::error!("a delivery could not be recorded: {error}");
        }
    }

    /// Remembers a peer.
    ///
    /// # Errors
    /// [`ErrorCode::Store`].
    pub(super) fn remember_peer(&mut self, peer: &PeerId, record: &PeerRecord) -> Result<(), Failure> {
        self.writable()?;
        let mut extra = Extra::default();
        let record = PeerRecord { name: clean_name(&record.name), ..record.clone() };
        extra.put(Column::Peers, peer.to_string().as_bytes(), &record).map_err(store_failure)?;
        self.record(extra, "", None).map_err(store_failure)
    }

    /// Forgets a peer.
    ///
    /// # Errors
    /// [`ErrorCode::Store`].
    pub(super) fn forget_peer(&mut self, peer: &PeerId) -> Result<(), Failure> {
        self.writable()?;
        let mut extra = Extra::default();
        extra.delete(Column::Peers, peer.to_string().as_bytes());
        self.record(extra, "", None).map_err(store_failure)
    }
}
