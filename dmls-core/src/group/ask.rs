//! How a client that has fallen out of its group comes back: it asks, and takes the Welcome (DESIGN 4.4, 4.6).

use std::sync::Arc;

use rand_core::CryptoRng;
use sha2::{Digest, Sha256};

use super::Group;
use super::act::ActionError;
use super::client::{JoinError, first_group};
use super::options::{GroupOptions, limits};
use super::records::Value;
use super::rejoin::request_number;
use super::speak::SpeakError;
use super::state::{AskIn, JoinedBy, Place};
use super::step::{Effect, Event, Step};
use super::store::{Key, Table};
use super::transaction::{Transaction, member};
use super::waiting::Reason;
use crate::codec::Bytes;
use crate::epoch::{DefaultPolicy, Epoch, Join, NoPsks};
use crate::framing::{
    DmlsJoin, DmlsNotice, DmlsRejoin, KeyPackageBuilder, KeyPackageBundle, MlsMessage, MlsMessageBody,
    Welcome,
};
use crate::history::{Blocked, Member};
use crate::schedule::{CommitId, DmlsSecrets, EpochId};
use crate::suite::{CryptoError, SignaturePrivateKey, Suite};
use crate::tree::{ExtensionType, LeafTemplate, Lifetime};

/// What a request to rejoin is made of.
pub(super) struct Request<'a> {
    pub(super) suite: Suite,
    /// What the client's leaf says; the request is put into it.
    pub(super) template: LeafTemplate,
    pub(super) signature_private: &'a SignaturePrivateKey,
    pub(super) request: DmlsRejoin,
}

impl Request<'_> {
    /// Makes its key package.
    pub(super) fn build(
        self,
        options: &GroupOptions,
        now_ms: u64,
        rng: &mut dyn CryptoRng,
    ) -> Result<KeyPackageBundle, CryptoError> {
        let Self { suite, mut template, signature_private, request } = self;
        template.extensions.set(ExtensionType::DMLS_REJOIN, crate::codec::encode(&request)?.into());
        let listed = &mut template.capabilities.extensions;
        if !listed.contains(&ExtensionType::DMLS_REJOIN) {
            listed.push(ExtensionType::DMLS_REJOIN);
        }
        let now = now_ms / 1000;
        let valid_for = options.key_package_lifetime_s.min(limits::REQUEST_LIFETIME_S);
        let lifetime =
            Lifetime { not_before: now.saturating_sub(3600), not_after: now.saturating_add(valid_for) };
        let builder = KeyPackageBuilder::new(suite, template, signature_private.clone());
        builder.lifetime(lifetime).build(rng)
    }
}

/// What a Welcome gives to whom it is for.
pub(super) struct Welcomed {
    pub(super) epoch: Epoch,
    pub(super) dmls: DmlsSecrets,
    pub(super) join: DmlsJoin,
    /// Who signed the GroupInfo.
    pub(super) signer: Member,
}

/// Opens a Welcome to a DMLS group.
pub(super) fn open_welcome(
    bundle: &KeyPackageBundle,
    welcome: &Welcome,
    options: &GroupOptions,
) -> Result<Welcomed, JoinError> {
    let join = Join { bundle, ratchet_tree: None, psks: &NoPsks, policy: &DefaultPolicy };
    let joined = join.welcome(welcome)?;
    options.check_profile(joined.epoch.profile().ok_or(JoinError::NotDmls)?)?;
    let signer = joined.epoch.leaf(joined.sender).map(|leaf| member(joined.sender, leaf));
    match (joined.dmls, joined.info, signer) {
        (Some(dmls), Some(info), Some(signer)) => {
            Ok(Welcomed { epoch: joined.epoch, dmls, join: info.join, signer })
        }
        _ => Err(JoinError::NotDmls),
    }
}

/// SHA-256 of the encrypted GroupInfo: what tells two Welcomes for one key package apart.
pub(super) fn joined_by(key_package: Bytes, welcome: &Welcome) -> JoinedBy {
    JoinedBy { key_package, group_info: Sha256::digest(welcome.encrypted_group_info.as_slice()).into() }
}

impl Group {
    /// Asks to be added anew, by a notice where the others can read it and by [`Effect::Request`]. Most of the time
    /// nobody has to call this: a client that cannot enter the decided branch asks by itself.
    ///
    /// # Errors
    /// [`ActionError`]; then nothing has changed.
    pub fn request_rejoin(&self, now_ms: u64, rng: &mut dyn CryptoRng) -> Result<Step, ActionError> {
        let mut transaction = Transaction::new(self, now_ms, rng);
        let epoch = transaction.group.last_epoch();
        transaction.group.state.asked_at = Some(transaction.now());
        transaction.ask(&epoch)?;
        Ok(transaction.finish(None)?)
    }

    /// The last epoch that this client can send in.
    fn last_epoch(&self) -> EpochId {
        match &self.state.place {
            Place::Outside { at, .. } => at.clone(),
            Place::Member => self.state.head.clone(),
        }
    }

    /// From when on this client has to ask to be added anew, if it has to.
    fn asks_from(&self) -> Option<u64> {
        match &self.state.place {
            Place::Outside { why: Blocked::Unusable(_), .. } => Some(self.state.now_ms),
            Place::Outside { why: Blocked::Removed, .. } => None,
            Place::Member if self.is_left_behind() => Some(self.state.now_ms),
            Place::Member => {
                let warned = self.state.ask_in.as_ref().filter(|_| self.may_have_come_in_elsewhere());
                let on_path = |warned: &&AskIn| self.history.is_on_path(&warned.epoch, &self.state.head);
                warned.filter(on_path).map(|warned| warned.from)
            }
        }
    }

    /// Whether the others may stand on a branch that this client cannot know of: the epoch in which it came in is the
    /// oldest that it has. Whoever knows the fork point follows the votes there.
    fn may_have_come_in_elsewhere(&self) -> bool {
        let anchor = self.history.epoch(self.history.anchor());
        self.state.joined_by.is_some() && anchor.is_some_and(|anchor| anchor.number == self.state.joined)
    }

    /// Whether others may have gone on by a commit that this client cannot enter. What they say below it cannot read;
    /// when it asks, they vote where it can.
    fn is_left_behind(&self) -> bool {
        let children = self.history.epoch(&self.state.head).map(|head| &head.children);
        let only =
            children.filter(|children| children.len() == 1).and_then(|children| children.values().next());
        only.is_some_and(|child| matches!(child.outcome, Err(Blocked::Unusable(_))))
    }

    /// When it asks.
    pub(super) fn ask_due(&self) -> Option<u64> {
        let next = |asked: u64| asked.saturating_add(self.options.rejoin_interval_ms);
        Some(self.asks_from()?.max(self.state.asked_at.map_or(0, next)))
    }

    /// Whether a client is a member of the head, with its key.
    fn knows(&self, who: &Member) -> bool {
        let is_who = |(leaf, node)| member(leaf, node) == Member { leaf, ..who.clone() };
        let keys = self.keys.get(&self.state.head);
        keys.is_some_and(|keys| keys.epoch.tree().leaves().any(is_who))
    }

    /// Whether a Welcome may replace this client's state of its group. Whoever was removed may be invited by anybody. All
    /// others keep their state, unless a member of their head has welcomed them to an epoch, and they cannot stay
    /// where they are: they are outside; a peer has dropped what it would take to catch up; they cannot enter the
    /// only commit on the head; or their branch has been merged.
    ///
    /// # Errors
    /// [`JoinError::AlreadyMember`], [`JoinError::UnknownSigner`].
    pub(super) fn may_be_replaced(&self, welcomed: &Welcomed) -> Result<(), JoinError> {
        let known = self.knows(&welcomed.signer);
        match &self.state.place {
            Place::Outside { why: Blocked::Removed, .. } => Ok(()),
            Place::Outside { .. } if known => Ok(()),
            Place::Outside { .. } => Err(JoinError::UnknownSigner),
            Place::Member if known && self.cannot_stay(&welcomed.join) => Ok(()),
            Place::Member => Err(JoinError::AlreadyMember),
        }
    }

    /// Whether a member of the head may have to leave it.
    fn cannot_stay(&self, join: &DmlsJoin) -> bool {
        let head = &self.state.head;
        // An old member knows the fork point. Only whoever came in below may have gone on since its branch was merged.
        let above = self.history.ancestors(head).map(|(above, _)| above);
        let above = above.filter(|_| self.may_have_come_in_elsewhere());
        let path = std::iter::once(head).chain(above);
        let mut commits = path.filter_map(|id| self.keys.get(id)).map(|keys| keys.epoch.commit_id());
        self.state.behind.is_some()
            || self.is_left_behind()
            || commits.any(|commit| join.merged_tips.contains(&commit.0))
    }
}

impl Transaction<'_> {
    /// Somebody has left the branch of `epoch` for another one. If that one is known here, or the sender is no member of
    /// the head, it is of no consequence.
    pub(super) fn branch_closed(&mut self, epoch: &EpochId, sender: &Member, winner: &CommitId) {
        self.group.state.merging.note_closed(epoch, winner, false);
        let is_known = self.group.history.epochs().any(|(_, epoch)| epoch.children.contains_key(winner));
        if !is_known && self.group.knows(sender) {
            self.warned(epoch);
        }
    }

    /// Asks in time to be added where the others are, if that can be elsewhere. It is a warning by one member, and all who
    /// came in below have it: a merge waits for their answers, but they do not all have to come at once.
    fn warned(&mut self, epoch: &EpochId) {
        let state = &self.group.state;
        let is_news = state.ask_in.as_ref().is_none_or(|warned| warned.epoch != *epoch);
        let on_path = self.group.history.is_on_path(epoch, &state.head);
        if is_news && on_path && self.group.may_have_come_in_elsewhere() {
            let spread = self.group.options.key_package_wait_ms / 2;
            let from = self.now().saturating_add(self.random_below(spread));
            self.group.state.ask_in = Some(AskIn { epoch: epoch.clone(), from });
        }
    }

    /// Takes a Welcome that came early, if now it is time, and asks to be added anew, when it is time.
    pub(super) fn ask_when_due(&mut self) {
        self.expire_requests();
        if (self.group.state.place != Place::Member || self.group.is_left_behind())
            && let Some(welcome) = self.group.state.early_welcome.take()
        {
            self.welcome_came(welcome.as_slice());
            self.retry_waiting();
        }
        if self.group.ask_due().is_none_or(|due| due > self.now()) {
            return;
        }
        let epoch = self.group.last_epoch();
        // Whether it succeeds or not: the next time is an interval away.
        self.group.state.asked_at = Some(self.now());
        self.attempt(|step| step.ask(&epoch));
    }

    /// Deletes the keys of own requests that are out of time: nobody may use them any more.
    fn expire_requests(&mut self) {
        let now = self.group.state.clock_ms / 1000;
        let over = |bundle: &KeyPackageBundle| {
            bundle.key_package.lifetime().is_none_or(|lifetime| lifetime.not_after < now)
        };
        let requests = self.group.requests.iter().filter(|(_, bundle)| over(bundle));
        for reference in requests.map(|(reference, _)| reference.clone()).collect::<Vec<_>>() {
            self.group.state.requests.retain(|request| *request != reference);
            self.group.requests.remove(&reference);
            self.changes.delete(Key::key_package(&reference));
        }
    }

    /// Makes a request, keeps its private keys, and publishes it.
    fn ask(&mut self, epoch: &EpochId) -> Result<(), ActionError> {
        let keys = self.keys_of(epoch)?;
        let own = keys.epoch.leaf(keys.epoch.own_leaf()).ok_or(SpeakError::NoKeys)?;
        let earlier = self.group.requests.values().map(|bundle| &bundle.key_package.leaf_node).chain([own]);
        let newest = earlier.filter_map(|leaf| request_number(keys.epoch.public(), leaf)).max();
        let number = self.now().max(newest.map_or(0, |newest| newest.saturating_add(1)));
        let request = Request {
            suite: self.group.suite,
            template: LeafTemplate::of(own),
            signature_private: keys.epoch.signature_private(),
            request: DmlsRejoin { group_id: self.group.id.0.clone(), number },
        };
        let bundle = request.build(&self.group.options, self.group.state.now_ms, self.rng)?;
        let reference = bundle.key_package.reference(self.group.suite)?;
        let bytes = MlsMessage::from(bundle.key_package.clone()).to_bytes()?;
        self.changes.put(Key::key_package(&reference), Value::KeyPackage(bundle.clone()));
        self.group.requests.insert(reference.clone(), Arc::new(bundle));
        self.group.state.requests.push(reference.clone());
        while self.group.state.requests.len() > limits::REQUESTS {
            let oldest = self.group.state.requests.remove(0);
            self.group.requests.remove(&oldest);
            self.changes.delete(Key::key_package(&oldest));
        }
        // Where it cannot speak any more, the host's way is left.
        let notice = DmlsNotice::KeyPackage(bytes.clone().into());
        self.attempt(|step| step.send_notice(epoch, notice).map(|_| ()));
        self.effects.push(Effect::Request { key_package: reference, bytes });
        Ok(())
    }

    /// A Welcome that somebody has sent to a branch: for this client, or for another one, or for nobody here.
    pub(super) fn welcome_came(&mut self, bytes: &[u8]) {
        let Ok(MlsMessage { body: MlsMessageBody::Welcome(welcome), .. }) = MlsMessage::from_bytes(bytes)
        else {
            return;
        };
        let mut addressed = welcome.secrets.iter().map(|secrets| &secrets.new_member);
        let own = addressed.find_map(|reference| self.group.requests.get_key_value(reference));
        let Some((reference, bundle)) = own.map(|(r, b)| (r.clone(), Arc::clone(b))) else {
            return self.other_welcome(&welcome);
        };
        let Ok(joined) = open_welcome(&bundle, &welcome, &self.group.options) else { return };
        let is_this = joined.epoch.context().group_id == self.group.id.0;
        let is_new = self.group.history.epoch(&joined.dmls.dmls_epoch).is_none();
        if !is_this || !is_new {
            return;
        }
        if self.group.may_be_replaced(&joined).is_err() {
            if self.group.knows(&joined.signer) {
                self.group.state.early_welcome = Some(Bytes::from(bytes));
            }
            return;
        }
        let options = Arc::clone(&self.group.options);
        let mut next = first_group(self.group.id.clone(), joined.epoch, joined.dmls, &options, self.now());
        next.state.joined_by = Some(Box::new(joined_by(reference, &welcome)));
        self.replace(next);
    }

    /// A second Welcome for the key package by which this client came in: others are on a branch where it was used
    /// as well, and that it cannot enter.
    fn other_welcome(&mut self, welcome: &Welcome) {
        let Some(joined) = &self.group.state.joined_by else { return };
        let addressed = welcome.secrets.iter().any(|secrets| secrets.new_member == joined.key_package);
        if addressed && joined_by(joined.key_package.clone(), welcome) != **joined {
            let head = self.group.state.head.clone();
            self.warned(&head);
        }
    }

    /// Takes over from an old state the requests that are newer than the one by which this client came in: others may use
    /// them still. The rest, to be deleted.
    fn keep_newer_requests(&mut self, old: &Group) -> Vec<Bytes> {
        let Some(keys) = self.group.keys.get(&self.group.state.head) else { return Vec::new() };
        let public = keys.epoch.public();
        let own = keys.epoch.leaf(keys.epoch.own_leaf());
        let used = own.and_then(|own| request_number(public, own)).unwrap_or(0);
        let newer = |reference: &&Bytes| {
            let number = old.requests.get(*reference).map(|bundle| &bundle.key_package.leaf_node);
            number.and_then(|leaf| request_number(public, leaf)).is_some_and(|number| number > used)
        };
        let (kept, used_up): (Vec<_>, Vec<_>) = old.state.requests.iter().partition(newer);
        for reference in &kept {
            if let Some(bundle) = old.requests.get(*reference) {
                self.group.requests.insert((*reference).clone(), Arc::clone(bundle));
            }
        }
        self.group.state.requests = kept.into_iter().cloned().collect();
        used_up.into_iter().cloned().collect()
    }

    /// Puts another state of the group in the place of this one, of which everything is deleted. What this step has
    /// done so far is deleted with it: it is of the old state. What could not be read is tried again.
    pub(super) fn replace(&mut self, next: Group) {
        let epoch = next.history.anchor().clone();
        let old = std::mem::replace(&mut self.group, next);
        let used_up = self.keep_newer_requests(&old);
        let named = |table, name: &[u8]| Key::named(table, &old.id, name);
        let logged = old.log.iter().map(|(id, order)| Key::log(&old.id, *order, id));
        let is_missing = |reason: &Reason| matches!(reason, Reason::Missing(_));
        let (kept, dropped): (Vec<_>, Vec<_>) =
            old.waiting.iter().partition(|(_, waiting)| is_missing(&waiting.reason));
        let waiting = dropped.into_iter().map(|(id, _)| named(Table::Waiting, &id.0));
        let welcomes = old.welcomes.iter().map(|reference| named(Table::Welcomes, reference.as_slice()));
        let offers = old.offers.keys().map(|name| named(Table::Offers, name));
        let marks = old.log_marks.numbers().map(|number| Key::log_mark(&old.id, number));
        let gone = old.gone.keys().map(|id| Key::epoch(Table::Gone, &old.id, id));
        let requests = used_up.iter().map(Key::key_package);
        for key in
            logged.chain(marks).chain(waiting).chain(welcomes).chain(offers).chain(gone).chain(requests)
        {
            self.changes.delete(key);
        }
        for (id, waiting) in kept {
            self.group.waiting.put(*id, waiting.clone());
        }
        // They stand by themselves.
        self.group.proofs = old.proofs.clone();
        self.evidence = true;
        self.news = true;
        self.event(Event::Joined { epoch });
    }
}
