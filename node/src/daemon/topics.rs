//! Which topic is which group, and the log as the network reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use dmls_core::codec::decode;
use dmls_core::framing::DmlsMessage;
use dmls_core::group::{GroupId, Key, MessageId, Store, Table, Value};
use dmls_gossip::{Item, MessageStore, StoreError, Topic};

use super::unwanted::Unwanted;
use crate::store::{Column, Database, Extra, log_key};

/// The topic of a group.
pub(super) fn topic_of(group: &GroupId) -> Topic {
    Topic::of(group.0.as_slice())
}

/// The groups that this node takes part in.
#[derive(Default)]
pub(super) struct Topics {
    entries: RwLock<BTreeMap<Topic, Entry>>,
}

#[derive(Clone)]
struct Entry {
    group: GroupId,
    /// The epoch number of the oldest epoch that the group can still process commits on.
    anchor: u64,
}

impl Topics {
    /// Sets the groups with the epoch numbers of their anchors.
    pub(super) fn replace(&self, groups: impl Iterator<Item = (GroupId, u64)>) {
        let entries = groups.map(|(group, anchor)| (topic_of(&group), Entry { group, anchor })).collect();
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = entries;
    }

    /// Adds a group, or moves its anchor.
    pub(super) fn set(&self, group: &GroupId, anchor: u64) {
        let entry = Entry { group: group.clone(), anchor };
        self.entries.write().unwrap_or_else(PoisonError::into_inner).insert(topic_of(group), entry);
    }

    /// Leaves a group out.
    pub(super) fn remove(&self, group: &GroupId) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(&topic_of(group));
    }

    /// The group of a topic.
    pub(super) fn group(&self, topic: &Topic) -> Option<GroupId> {
        self.entry(topic).map(|entry| entry.group)
    }

    /// Every topic.
    pub(super) fn all(&self) -> Vec<Topic> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn entry(&self, topic: &Topic) -> Option<Entry> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }
}

/// The log and the waiting messages, for the network.
pub(super) struct LogStore {
    /// The database.
    pub(super) database: Arc<Database>,
    /// The groups.
    pub(super) topics: Arc<Topics>,
    /// What is never fetched.
    pub(super) unwanted: Arc<Unwanted>,
}

impl LogStore {
    /// A message that waits. Peers that were told of it may ask for it, but reconciliation does not offer it: it has
    /// not been judged, and whoever has processed it offers it.
    fn waiting(&self, group: &GroupId, id: &dmls_gossip::MessageId) -> Result<Option<Vec<u8>>, StoreError> {
        let none = Extra::default();
        let key = Key::named(Table::Waiting, group, &id.0);
        match self.database.step(&none).get(&key).map_err(failed)? {
            Some(Value::Waiting(waiting)) => Ok(Some(waiting.bytes.into_vec())),
            _ => Ok(None),
        }
    }

    fn order_in(&self, group: &GroupId, id: &dmls_gossip::MessageId) -> Result<Option<u64>, StoreError> {
        let key = log_key::index(group, &MessageId(id.0));
        self.database.get(Column::LogOrders, &key).map_err(failed)
    }
}

impl MessageStore for LogStore {
    fn floor(&self, topic: &Topic) -> Result<u64, StoreError> {
        let Some(entry) = self.topics.entry(topic) else { return Ok(u64::MAX) };
        let prefix = Key::of_group(Table::Log, &entry.group).bytes;
        let mut first = None;
        let take = |key: &[u8]| {
            first = log_key::parts(key).map(|(order, _)| order);
            false
        };
        self.database.keys(Column::Core(Table::Log), &prefix, &[], take).map_err(failed)?;
        // What came before the anchor cannot be processed any more, but whoever is behind may still need it from here.
        Ok(first.map_or(entry.anchor, |first| first.min(entry.anchor)))
    }

    fn ids(&self, topic: &Topic, floor: u64) -> Result<Vec<Item>, StoreError> {
        let Some(group) = self.topics.group(topic) else { return Ok(Vec::new()) };
        let prefix = Key::of_group(Table::Log, &group).bytes;
        let mut items = Vec::new();
        let take = |key: &[u8]| {
            if let Some((order, id)) = log_key::parts(key) {
                items.push(Item { order, id: dmls_gossip::MessageId(id.0) });
            }
            true
        };
        let from = log_key::from_order(&group, floor);
        self.database.keys(Column::Core(Table::Log), &prefix, &from, take).map_err(failed)?;
        Ok(items)
    }

    fn get(&self, topic: &Topic, id: &dmls_gossip::MessageId) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(group) = self.topics.group(topic) else { return Ok(None) };
        let Some(order) = self.order_in(&group, id)? else { return self.waiting(&group, id) };
        let none = Extra::default();
        match self.database.step(&none).get(&Key::log(&group, order, &MessageId(id.0))).map_err(failed)? {
            Some(Value::Log(bytes)) => Ok(Some(bytes.into_vec())),
            // It may have gone since.
            _ => Ok(None),
        }
    }

    fn order(&self, topic: &Topic, id: &dmls_gossip::MessageId) -> Result<Option<u64>, StoreError> {
        let Some(group) = self.topics.group(topic) else { return Ok(None) };
        if let Some(order) = self.order_in(&group, id)? {
            return Ok(Some(order));
        }
        let message = self.waiting(&group, id)?.and_then(|bytes| decode::<DmlsMessage>(&bytes).ok());
        Ok(message.and_then(|message| message.message.group_and_epoch().map(|(_, number)| number)))
    }

    fn has(&self, topic: &Topic, id: &dmls_gossip::MessageId) -> Result<bool, StoreError> {
        let Some(group) = self.topics.group(topic) else { return Ok(false) };
        if self.order_in(&group, id)?.is_some() {
            return Ok(true);
        }
        // What waits is here too, and served to those who ask for it by id.
        let waiting = Key::named(Table::Waiting, &group, &id.0);
        self.database.has(Column::Core(Table::Waiting), &waiting.bytes).map_err(failed)
    }

    fn unwanted(&self, topic: &Topic, id: &dmls_gossip::MessageId) -> Result<bool, StoreError> {
        Ok(self.topics.group(topic).is_some_and(|group| self.unwanted.contains(&group, &id.0)))
    }
}

fn failed(error: dmls_core::group::StoreError) -> StoreError {
    StoreError(error.to_string())
}
