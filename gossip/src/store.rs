//! The messages themselves, as the application keeps them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use thiserror::Error;

/// What messages are grouped by: 32 bytes that say nothing to those who do not know them already.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(pub [u8; 32]);

impl Topic {
    /// The topic of a label, such as a group id: the SHA-256 of `"dmls topic 1"` and the label.
    pub fn of(label: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"dmls topic 1");
        hash.update(label);
        Self(hash.finalize().into())
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let bytes = name.as_bytes();
        if bytes.len() != 64 {
            return None;
        }
        let mut out = [0u8; 32];
        for (byte, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            let text = std::str::from_utf8(pair).ok()?;
            if !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                return None;
            }
            *byte = u8::from_str_radix(text, 16).ok()?;
        }
        Some(Self(out))
    }
}

/// The id of a message: the SHA-256 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub [u8; 32]);

impl MessageId {
    /// The id of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

macro_rules! hex_display {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}
hex_display!(Topic, MessageId);

/// A message in a reconciliation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// A number that all peers derive alike from the message (the MLS epoch number); never a time of arrival.
    pub order: u64,
    /// The message's id.
    pub id: MessageId,
}

/// What reconciliation reads. The application implements it; this crate never writes.
///
/// Calls may block for a disk read: all but [`has`](Self::has) and [`unwanted`](Self::unwanted) run on a thread for
/// blocking work. A message must be in the store before it is published, and before it is accepted by
/// [`Handle::report`](crate::Handle::report).
pub trait MessageStore: Send + Sync + 'static {
    /// Messages of a lower order than this are pruned: they are neither offered nor asked for.
    fn floor(&self, topic: &Topic) -> Result<u64, StoreError>;
    /// All messages of an order of at least `floor`, in any order, each once.
    fn ids(&self, topic: &Topic, floor: u64) -> Result<Vec<Item>, StoreError>;
    /// The bytes of a message, if it is here.
    fn get(&self, topic: &Topic, id: &MessageId) -> Result<Option<Vec<u8>>, StoreError>;
    /// The order of a message, if it is here. Bodies are served lowest order first.
    fn order(&self, topic: &Topic, id: &MessageId) -> Result<Option<u64>, StoreError>;
    /// Whether a message is here.
    fn has(&self, topic: &Topic, id: &MessageId) -> Result<bool, StoreError>;
    /// Whether a message that is not here must not be fetched either (rejected for good, or pruned above the floor).
    ///
    /// Rejections reported to a running [`Gossip`](crate::Gossip) are remembered there as well; this one outlives it.
    fn unwanted(&self, _topic: &Topic, _id: &MessageId) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// The store could not answer.
#[derive(Debug, Error)]
#[error("The message store failed: {0}.")]
pub struct StoreError(pub String);

/// A [`MessageStore`] in memory, for tests and examples.
#[derive(Default)]
pub struct MemoryStore {
    topics: Mutex<HashMap<Topic, Shelf>>,
}

#[derive(Default)]
struct Shelf {
    floor: u64,
    bodies: BTreeMap<MessageId, (u64, Vec<u8>)>,
    refused: BTreeSet<MessageId>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message and returns its id.
    pub fn insert(&self, topic: Topic, order: u64, bytes: Vec<u8>) -> MessageId {
        let id = MessageId::of(&bytes);
        self.lock().entry(topic).or_default().bodies.insert(id, (order, bytes));
        id
    }

    /// Raises the floor of a topic and drops what is below it.
    pub fn prune(&self, topic: Topic, floor: u64) {
        let mut topics = self.lock();
        let shelf = topics.entry(topic).or_default();
        shelf.floor = shelf.floor.max(floor);
        let floor = shelf.floor;
        shelf.bodies.retain(|_, (order, _)| *order >= floor);
    }

    /// Never fetch this message.
    pub fn refuse(&self, topic: Topic, id: MessageId) {
        self.lock().entry(topic).or_default().refused.insert(id);
    }

    /// Number of messages of a topic.
    pub fn len(&self, topic: &Topic) -> usize {
        self.lock().get(topic).map_or(0, |shelf| shelf.bodies.len())
    }

    /// Whether a topic has no messages.
    pub fn is_empty(&self, topic: &Topic) -> bool {
        self.len(topic) == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, Shelf>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MessageStore for MemoryStore {
    fn floor(&self, topic: &Topic) -> Result<u64, StoreError> {
        Ok(self.lock().get(topic).map_or(0, |shelf| shelf.floor))
    }

    fn ids(&self, topic: &Topic, floor: u64) -> Result<Vec<Item>, StoreError> {
        let topics = self.lock();
        let shelf = topics.get(topic).into_iter().flat_map(|shelf| &shelf.bodies);
        let items = shelf.map(|(id, (order, _))| Item { order: *order, id: *id });
        Ok(items.filter(|item| item.order >= floor).collect())
    }

    fn get(&self, topic: &Topic, id: &MessageId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.lock().get(topic).and_then(|shelf| shelf.bodies.get(id)).map(|(_, bytes)| bytes.clone()))
    }

    fn order(&self, topic: &Topic, id: &MessageId) -> Result<Option<u64>, StoreError> {
        Ok(self.lock().get(topic).and_then(|shelf| shelf.bodies.get(id)).map(|(order, _)| *order))
    }

    fn has(&self, topic: &Topic, id: &MessageId) -> Result<bool, StoreError> {
        Ok(self.lock().get(topic).is_some_and(|shelf| shelf.bodies.contains_key(id)))
    }
    fn unwanted(&self, topic: &Topic, id: &MessageId) -> Result<bool, StoreError> {
        Ok(self.lock().get(topic).is_some_and(|shelf| shelf.refused.contains(id)))
    }
}
