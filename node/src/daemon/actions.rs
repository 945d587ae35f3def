//! What the API asks the engine to do with groups.

use dmls_core::codec::Bytes;
use dmls_core::framing::DmlsProfile;
use dmls_core::group::{
    ActionError, Changes, Effect, Event, Group, GroupId, Key, ReplayError, Standing, Step, Store, Table,
};
use dmls_core::schedule::CommitId;
use dmls_core::tree::LeafIndex;
use rand_core::Rng;

use super::engine::{Engine, now_ms, rng, store_failure};
use super::keeping;
use super::present::{self, Surroundings};
use crate::api::retention::ProofView;
use crate::api::views::{GroupView, HistoryView, MemberView, ReplayView, SentView};
use crate::error::{ErrorCode, Failure};
use crate::store::types::{Contact, Delivery, clean_name};
use crate::store::{Column, Extra};

/// Random bytes in a group id: nobody finds its topic by guessing.
const GROUP_ID: usize = 16;

/// The hint for whatever the protocol does not allow just now.
const SHOW: &str = "`dmls group show` tells how the group stands.";

impl Engine {
    /// The group that a name, or the beginning of an id in hex, means.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`], [`ErrorCode::Usage`] if it means several.
    pub(super) fn find_group(&self, wanted: &str) -> Result<GroupId, Failure> {
        let named = self.names.iter().filter(|(_, name)| *name == wanted).map(|(id, _)| id);
        let mut found: Vec<&GroupId> = named.collect();
        if found.is_empty() && wanted.len() >= 4 {
            found.extend(self.groups.keys().filter(|id| hex::encode(id.0.as_slice()).starts_with(wanted)));
        }
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let text = format!("There is no group {wanted}.");
                Err(Failure::new(ErrorCode::NotFound, text).hint("`dmls group list` shows the groups."))
            }
            _ => {
                let text = format!("Several groups begin with {wanted}.");
                Err(Failure::new(ErrorCode::Usage, text)
                    .hint("Give more of the id, as `dmls group list` shows it."))
            }
        }
    }

    fn group(&self, id: &GroupId) -> Result<&Group, Failure> {
        self.groups.get(id).ok_or_else(|| Failure::new(ErrorCode::NotFound, "The group is gone."))
    }

    /// The group's view, with members.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`].
    pub(super) fn view(&self, id: &GroupId) -> Result<GroupView, Failure> {
        let view = self.group(id)?.view();
        let view = view.ok_or_else(|| Failure::new(ErrorCode::Store, "The group has no keys."))?;
        let name = self.names.get(id).cloned().unwrap_or_default();
        let around = Surroundings { name, peers: 0, reconciled_ms: self.reconciled.get(id).copied() };
        Ok(present::group(view, around))
    }

    /// The fingerprints of the members of the head.
    pub(super) fn fingerprints(&self, id: &GroupId) -> Vec<[u8; 32]> {
        let view = self.groups.get(id).and_then(Group::view);
        view.map(|view| view.members.iter().map(|member| member.fingerprint).collect()).unwrap_or_default()
    }

    /// Every group, without members.
    pub(super) fn list(&self) -> Vec<GroupView> {
        let views = self.groups.keys().filter_map(|id| self.view(id).ok());
        let mut views: Vec<GroupView> =
            views.map(|view| GroupView { members: Vec::new(), epochs: Vec::new(), ..view }).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// A name that no other group has here.
    ///
    /// # Errors
    /// [`ErrorCode::Usage`] if nothing is left of it once it is fit to be shown.
    pub(super) fn free_name(&self, wanted: &str, exact: bool) -> Result<String, Failure> {
        let wanted = clean_name(wanted);
        if wanted.is_empty() {
            return Err(
                Failure::new(ErrorCode::Usage, "A group needs a name.").hint("1 to 64 bytes of text.")
            );
        }
        let taken = |name: &str| self.names.values().any(|other| other == name);
        if !taken(&wanted) {
            return Ok(wanted);
        }
        if exact {
            let text = format!("There is a group {wanted} already.");
            return Err(
                Failure::new(ErrorCode::Usage, text).hint("Choose another name; it is only for this node.")
            );
        }
        let numbered = (2..).map(|number: u32| format!("{wanted}-{number}"));
        Ok(numbered.into_iter().find(|name| !taken(name)).unwrap_or(wanted))
    }

    /// Makes a group with the bounds of a named profile. `admins`: only this client may add and remove, to begin with.
    ///
    /// # Errors
    /// [`ErrorCode::Usage`], [`ErrorCode::Store`].
    pub(super) fn create_group(
        &mut self,
        name: &str,
        profile: Option<&str>,
        admins: bool,
    ) -> Result<GroupView, Failure> {
        self.writable()?;
        let name = self.free_name(name, true)?;
        let profile = DmlsProfile::named(profile.unwrap_or("default"));
        let mut profile = profile.map_err(|error| Failure::new(ErrorCode::Usage, error))?;
        profile.admins.extend(admins.then(|| self.client.credential().clone()));
        let mut id = vec![0; GROUP_ID];
        rng().fill_bytes(&mut id);
        let id = GroupId(Bytes::from(id));
        let options = &self.parts.config.group;
        let step = self.client.create_group(id.clone(), &profile, options, now_ms(), &mut rng());
        let step = step.map_err(|error| Failure::new(ErrorCode::Failed, error))?;
        let mut extra = Extra::default();
        extra.put(Column::Names, id.0.as_slice(), &name).map_err(store_failure)?;
        self.commit(step, extra).map_err(store_failure)?;
        self.names.insert(id.clone(), name);
        self.parts.outbound.topics();
        self.view(&id)
    }

    /// Does something with a group that the protocol may forbid.
    pub(super) fn act_on(
        &mut self,
        id: &GroupId,
        extra: Extra,
        action: impl FnOnce(&Group) -> Result<Step, ActionError>,
    ) -> Result<GroupView, Failure> {
        self.writable()?;
        let step = action(self.group(id)?).map_err(|error| refused(&error))?;
        self.commit(step, extra).map_err(store_failure)?;
        self.view(id)
    }

    /// Adds clients. `who` says, for each key package reference, where its Welcome goes.
    ///
    /// # Errors
    /// [`ErrorCode::Refused`], [`ErrorCode::Store`].
    pub(super) fn invite(
        &mut self,
        id: &GroupId,
        key_packages: &[Vec<u8>],
        who: Vec<(Bytes, Contact)>,
    ) -> Result<GroupView, Failure> {
        let mut extra = Extra::default();
        let name = self.names.get(id).cloned().unwrap_or_default();
        for (reference, to) in who {
            let key = Key::named(Table::Welcomes, id, reference.as_slice());
            let delivery = Delivery { to, name: name.clone() };
            extra.put(Column::Deliveries, &key.bytes, &delivery).map_err(store_failure)?;
        }
        self.act_on(id, extra, |group| group.invite(key_packages, now_ms(), &mut rng()))
    }

    /// Removes the member that a name, a leaf index or the beginning of a fingerprint means.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`], [`ErrorCode::Usage`], [`ErrorCode::Refused`], [`ErrorCode::Store`].
    pub(super) fn remove(&mut self, id: &GroupId, wanted: &str) -> Result<GroupView, Failure> {
        let leaf = LeafIndex(self.member(id, wanted)?.leaf);
        self.act_on(id, Extra::default(), |group| group.remove(leaf, now_ms(), &mut rng()))
    }

    /// Says who may add and remove members; nobody: every member.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`], [`ErrorCode::Usage`] if a name is not one member's, [`ErrorCode::Refused`].
    pub(super) fn set_admins(&mut self, id: &GroupId, wanted: &[String]) -> Result<GroupView, Failure> {
        let leaves: Vec<u32> =
            wanted.iter().map(|wanted| Ok(self.member(id, wanted)?.leaf)).collect::<Result<_, Failure>>()?;
        let members = self.group(id)?.view().map(|view| view.members).unwrap_or_default();
        let admins = members.into_iter().filter(|member| leaves.contains(&member.leaf.0));
        let admins: Vec<_> = admins.map(|member| member.credential).collect();
        self.act_on(id, Extra::default(), |group| group.set_admins(&admins, now_ms(), &mut rng()))
    }

    /// A proof that a member's key was misused, by the beginning of its id.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`].
    pub(super) fn proof(&self, id: &GroupId, wanted: &str) -> Result<ProofView, Failure> {
        let group = self.group(id)?;
        let views = group.view().map(|view| view.proofs).unwrap_or_default();
        let found = views.iter().find(|view| hex::encode(view.id.0).starts_with(wanted));
        let found = found.and_then(|view| Some((view, group.proof(&view.id)?)));
        let (view, record) = found.ok_or_else(|| {
            Failure::new(ErrorCode::NotFound, format!("There is no proof {wanted} in the group."))
                .hint("`dmls group show` lists the keys that are proved to have been misused.")
        })?;
        Ok(ProofView { about: keeping::proof(view), bytes: hex::encode(record.bytes.as_slice()) })
    }

    /// A member by its name, leaf index, or the beginning of its fingerprint.
    fn member(&self, id: &GroupId, wanted: &str) -> Result<MemberView, Failure> {
        let members = self.view(id)?.members;
        let mut found: Vec<_> = members.iter().filter(|member| member.name == wanted).collect();
        if found.is_empty() {
            found = members
                .iter()
                .filter(|member| {
                    member.leaf.to_string() == wanted
                        || (wanted.len() >= 8 && member.fingerprint.starts_with(wanted))
                })
                .collect();
        }
        match found.as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let text = format!("There is no member {wanted} in the group.");
                Err(Failure::new(ErrorCode::NotFound, text).hint("`dmls group show` lists the members."))
            }
            _ => {
                let text = format!("Several members are called {wanted}.");
                let hint = "Give the leaf index or the fingerprint, as `dmls group show` lists them.";
                Err(Failure::new(ErrorCode::Usage, text).hint(hint))
            }
        }
    }

    /// Sends a message to the head.
    ///
    /// # Errors
    /// [`ErrorCode::Refused`], [`ErrorCode::Store`].
    pub(super) fn send(&mut self, id: &GroupId, payload: &[u8]) -> Result<SentView, Failure> {
        self.writable()?;
        let step = self.group(id)?.send(payload, now_ms(), &mut rng()).map_err(|error| refused(&error))?;
        let number = step.effects.iter().find_map(|effect| match effect {
            Effect::Event(Event::Sent { number, .. }) => Some(*number),
            _ => None,
        });
        let (_, sent) = self.commit_with(step, Extra::default(), Some(payload)).map_err(store_failure)?;
        let sent = sent.zip(number);
        let (sent, number) =
            sent.ok_or_else(|| Failure::new(ErrorCode::Failed, "The step sent no message."))?;
        Ok(SentView { id: hex::encode(sent.id), seq: sent.seq, epoch: hex::encode(sent.epoch), number })
    }

    /// The history of a group.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`].
    pub(super) fn history(&self, id: &GroupId) -> Result<HistoryView, Failure> {
        let name = self.names.get(id).map_or("", String::as_str);
        Ok(present::history(id, name, &self.group(id)?.history()))
    }

    /// Tries a processed commit again.
    ///
    /// # Errors
    /// [`ErrorCode::Usage`] if the commit's id is not hex, [`ErrorCode::Store`].
    pub(super) fn replay(&self, id: &GroupId, commit: &str) -> Result<ReplayView, Failure> {
        let commit = hex::decode(commit).map_err(|error| {
            Failure::new(ErrorCode::Usage, format!("The commit's id is not hex: {error}."))
        })?;
        let none = Extra::default();
        let store = self.parts.database.step(&none);
        match self.group(id)?.try_replay(&store, &CommitId(Bytes::from(commit))) {
            Ok(_) => Ok(ReplayView::Derived),
            Err(ReplayError::NotRetained) => Ok(ReplayView::NotRetained),
            Err(ReplayError::Store(error)) => Err(store_failure(error)),
            Err(error @ (ReplayError::Open(_) | ReplayError::Commit(_))) => {
                Ok(ReplayView::Refused(error.to_string()))
            }
        }
    }

    /// Deletes every record of a group.
    ///
    /// # Errors
    /// [`ErrorCode::Refused`] while this client is a member beside others, [`ErrorCode::Store`].
    pub(super) fn delete_group(&mut self, id: &GroupId) -> Result<(), Failure> {
        self.writable()?;
        let view = self.group(id)?.view();
        let alone = view.as_ref().is_none_or(|view| view.members.len() < 2);
        let member = view.is_some_and(|view| matches!(view.standing, Standing::Member | Standing::Leaving));
        if member && !alone {
            let text = "This client is still a member of the group.";
            return Err(Failure::new(ErrorCode::Refused, text).hint("Leave it first: `dmls group leave`."));
        }
        let (mut changes, mut extra) = (Changes::default(), Extra::default());
        let none = Extra::default();
        let store = self.parts.database.step(&none);
        for table in
            Table::ALL.into_iter().filter(|table| !matches!(table, Table::Client | Table::KeyPackages))
        {
            let prefix = Key::of_group(table, id);
            for place in store.places(&prefix).map_err(store_failure)? {
                changes.delete(Key::named(table, id, &place));
            }
        }
        let prefix = Key::of_group(Table::Log, id).bytes;
        for column in [Column::Messages, Column::Deliveries] {
            let take = |key: &[u8]| {
                extra.delete(column, key);
                true
            };
            self.parts.database.keys(column, &prefix, &[], take).map_err(store_failure)?;
        }
        self.parts.unwanted.erase(&self.parts.database, id, &mut extra).map_err(store_failure)?;
        extra.delete(Column::Names, id.0.as_slice());
        if let Err(error) = self.parts.database.apply_with(&changes, &extra) {
            self.note_failure(&error);
            return Err(store_failure(error));
        }
        self.groups.remove(id);
        self.names.remove(id);
        self.reconciled.remove(id);
        self.parts.unwanted.forget(id);
        self.parts.topics.remove(id);
        self.parts.outbound.topics();
        Ok(())
    }
}

/// A refusal of the core in the words of the API.
pub(super) fn refused(error: &ActionError) -> Failure {
    let hint = match error {
        ActionError::NotAMember => {
            "Ask a member to invite you again, and `dmls join`; `dmls group delete` forgets the group."
        }
        ActionError::AlreadyCommitted => "Try again in a few seconds.",
        ActionError::OnlyMember => "`dmls group delete` forgets it.",
        ActionError::PayloadTooLarge(_) => "Send it in parts.",
        _ => SHOW,
    };
    Failure::new(ErrorCode::Refused, error).hint(hint)
}
