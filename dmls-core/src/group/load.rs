//! Loading a group from its records (DESIGN 4.8).

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::key_packages::offers;
use super::log::LogMarks;
use super::options::GroupOptions;
use super::records::Value;
use super::store::{GroupId, Key, MessageId, Store, StoreError, Table};
use super::waiting::WaitingRoom;
use super::{Group, Keys};
use crate::codec::Bytes;
use crate::epoch::{Epoch, RecordError};
use crate::framing::KeyPackageBundle;
use crate::history::{History, HistoryEpoch, HistoryError};
use crate::schedule::{EpochId, InitPprf, LeafRatchets};
use crate::suite::{HpkePrivateKey, HpkePublicKey};
use crate::tree::{LeafIndex, RatchetTree, StoredSubtree, SubtreeCache};

/// Why a stored group cannot be used. The store is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The epochs do not form a tree.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// An epoch's records do not fit together.
    #[error("The records of epoch {epoch} do not fit together: {source}")]
    Epoch {
        /// The epoch.
        epoch: EpochId,
        /// What is wrong.
        source: RecordError,
    },
    /// The records of one epoch are in the place of another's.
    #[error("The records of epoch {0} are those of another epoch.")]
    Misplaced(EpochId),
    /// The epoch has a child, and could still derive it: its record is older than the child's.
    #[error(
        "Epoch {0} is not punctured by a commit that has been processed: its records are of different times."
    )]
    Unpunctured(EpochId),
    /// A record that others need is not there.
    #[error("A record of table {0} is missing.")]
    Missing(&'static str),
}

fn wrong_table(table: Table) -> StoreError {
    StoreError::Damaged { table: table.name(), reason: "the record is of another table".into() }
}

/// Everything of a group in one table, with the places behind the group's prefix.
fn scan<T>(
    store: &dyn Store,
    table: Table,
    id: &GroupId,
    take: impl Fn(Value) -> Option<T>,
) -> Result<BTreeMap<Vec<u8>, T>, StoreError> {
    let prefix = Key::of_group(table, id);
    let records = store.scan(&prefix)?.into_iter().map(|(key, value)| {
        let place = key.bytes.get(prefix.bytes.len()..).unwrap_or_default().to_vec();
        take(value).map(|value| (place, value)).ok_or_else(|| wrong_table(table))
    });
    records.collect()
}

macro_rules! only {
    ($variant:path) => {
        |value| if let $variant(value) = value { Some(value) } else { None }
    };
}

/// The parts of which a group's epochs are made.
struct Parts<'a> {
    id: &'a GroupId,
    store: &'a dyn Store,
    subtrees: BTreeMap<Vec<u8>, StoredSubtree>,
    node_keys: BTreeMap<Vec<u8>, HpkePrivateKey>,
    cache: SubtreeCache,
}

impl Parts<'_> {
    fn keys(&mut self, id: &EpochId, facts: &HistoryEpoch, puncturing: bool) -> Result<Keys, LoadError> {
        let missing = |table: Table| LoadError::Missing(table.name());
        let record = match self.store.get(&Key::epoch(Table::Epochs, self.id, id))? {
            Some(Value::Epoch(record)) => record,
            Some(_) => return Err(wrong_table(Table::Epochs).into()),
            None => return Err(missing(Table::Epochs)),
        };
        let init: InitPprf = match self.store.get(&Key::epoch(Table::Inits, self.id, id))? {
            Some(Value::Init(init)) => init,
            Some(_) => return Err(wrong_table(Table::Inits).into()),
            None => return Err(missing(Table::Inits)),
        };
        let failed = |source: RecordError| LoadError::Epoch { epoch: id.clone(), source };
        let mut fetch = |hash: &[u8]| self.subtrees.get(hash).cloned();
        let suite = record.suite().map_err(failed)?;
        let tree = RatchetTree::load(suite, record.tree_hash(), record.width(), &mut fetch, &mut self.cache);
        let tree = tree.map_err(|error| failed(error.into()))?;
        // A key in the place of another counts as missing.
        let private_key = |public: &HpkePublicKey| {
            let private = self.node_keys.get(public.as_slice())?;
            (suite.hpke().public_key(private).as_ref() == Ok(public)).then(|| private.clone())
        };
        let ratchets = self.ratchets(id)?;
        let epoch = Epoch::from_record(record, tree, &private_key, ratchets).map_err(failed)?;
        let context = epoch.context();
        let by = facts.parent.as_ref().map(|(_, commit)| commit);
        if context.group_id != self.id.0
            || context.epoch != facts.number
            || by.is_some_and(|commit| *commit != epoch.commit_id())
        {
            return Err(LoadError::Misplaced(id.clone()));
        }
        if puncturing && init.punctured_count() < facts.children.len() {
            return Err(LoadError::Unpunctured(id.clone()));
        }
        Ok(Keys { epoch: Arc::new(epoch), init: Arc::new(init) })
    }

    fn ratchets(&self, id: &EpochId) -> Result<Vec<(LeafIndex, LeafRatchets)>, LoadError> {
        let prefix = Key::epoch(Table::Ratchets, self.id, id);
        let mut ratchets = Vec::new();
        for (key, value) in self.store.scan(&prefix)? {
            let leaf = key.bytes.get(prefix.bytes.len()..).and_then(|place| place.try_into().ok());
            match (leaf, value) {
                (Some(leaf), Value::Ratchets(value)) => {
                    ratchets.push((LeafIndex(u32::from_be_bytes(leaf)), value))
                }
                _ => return Err(wrong_table(Table::Ratchets).into()),
            }
        }
        Ok(ratchets)
    }
}

impl Group {
    /// The stored group, if there is one.
    ///
    /// # Errors
    /// [`LoadError`] if a record is damaged, missing, or does not fit the others.
    pub fn load(store: &dyn Store, id: &GroupId, options: &GroupOptions) -> Result<Option<Self>, LoadError> {
        let state = match store.get(&Key::group(id))? {
            None => return Ok(None),
            Some(Value::Group(state)) => *state,
            Some(_) => return Err(wrong_table(Table::Groups).into()),
        };
        let history = scan(store, Table::History, id, only!(Value::History))?;
        let history =
            History::from_epochs(history.into_iter().map(|(place, record)| (EpochId::from(place), record)))?;
        let mut parts = Parts {
            id,
            store,
            subtrees: scan(store, Table::Subtrees, id, only!(Value::Subtree))?,
            node_keys: scan(store, Table::NodeKeys, id, only!(Value::NodeKey))?,
            cache: SubtreeCache::default(),
        };
        let mut keys = BTreeMap::new();
        for (epoch, facts) in history.epochs() {
            keys.insert(epoch.clone(), parts.keys(epoch, facts, options.puncturing)?);
        }
        // Keys without facts: a record of the history is missing, perhaps the anchor's, which nothing refers to.
        if store.places(&Key::of_group(Table::Epochs, id))?.len() != keys.len() {
            return Err(LoadError::Missing(Table::History.name()));
        }
        let suite = keys.get(&state.head).map(|keys: &Keys| keys.epoch.suite());
        let mut waiting = WaitingRoom::default();
        for (place, value) in scan(store, Table::Waiting, id, only!(Value::Waiting))? {
            let id = place.try_into().map(MessageId).map_err(|_| wrong_table(Table::Waiting))?;
            waiting.put(id, value);
        }
        let welcomes = scan(store, Table::Welcomes, id, only!(Value::Welcome))?;
        Ok(Some(Self {
            id: id.clone(),
            suite: suite.ok_or(LoadError::Missing(Table::Epochs.name()))?,
            options: Arc::new(options.clone()),
            history,
            keys,
            log: load_log(store, id)?,
            log_marks: load_marks(store, id)?,
            sizes: BTreeMap::new(),
            waiting,
            gone: scan(store, Table::Gone, id, only!(Value::Gone))?
                .into_iter()
                .map(|(place, gone)| (EpochId::from(place), gone))
                .collect(),
            proofs: super::proof::load(scan(store, Table::Proofs, id, only!(Value::Proof))?)?,
            offers: offers(scan(store, Table::Offers, id, only!(Value::Offer))?)
                .ok_or_else(|| wrong_table(Table::Offers))?,
            requests: load_requests(store, &state.requests)?,
            welcomes: welcomes.into_keys().map(Bytes::from).collect(),
            state,
            healing: Default::default(),
        }))
    }
}

/// How many commits of each epoch number are in the log.
fn load_marks(store: &dyn Store, id: &GroupId) -> Result<LogMarks, StoreError> {
    let marks = scan(store, Table::LogMarks, id, only!(Value::LogMark))?;
    let number = |place: Vec<u8>| place.try_into().map(u64::from_be_bytes);
    let mark =
        |(place, mark)| number(place).map(|number| (number, mark)).map_err(|_| wrong_table(Table::LogMarks));
    marks.into_iter().map(mark).collect()
}

/// The own requests that can still be answered. One whose record is gone has been answered by the host's way.
fn load_requests(
    store: &dyn Store,
    references: &[Bytes],
) -> Result<BTreeMap<Bytes, Arc<KeyPackageBundle>>, StoreError> {
    let mut requests = BTreeMap::new();
    for reference in references {
        match store.get(&Key::key_package(reference))? {
            Some(Value::KeyPackage(bundle)) => {
                requests.insert(reference.clone(), Arc::new(bundle));
            }
            Some(_) => return Err(wrong_table(Table::KeyPackages)),
            None => {}
        }
    }
    Ok(requests)
}

/// The names of the messages in the log: their places say all that is needed.
fn load_log(
    store: &dyn Store,
    id: &GroupId,
) -> Result<rpds::RedBlackTreeMapSync<MessageId, u64>, StoreError> {
    let mut log = rpds::RedBlackTreeMap::new_sync();
    for place in store.places(&Key::of_group(Table::Log, id))? {
        let split = place.split_first_chunk::<8>();
        let entry =
            split.and_then(|(order, id)| Some((u64::from_be_bytes(*order), MessageId(id.try_into().ok()?))));
        let (order, id) = entry.ok_or_else(|| wrong_table(Table::Log))?;
        log.insert_mut(id, order);
    }
    Ok(log)
}
