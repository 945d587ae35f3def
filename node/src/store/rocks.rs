//! RocksDB: one synced write batch a step.
//!
//! A write that failed may or may not have reached the disk. So after one the database takes no further write until
//! [`Database::reopen`] has read back what is really there.

use std::path::{Path, PathBuf};
use std::sync::{RwLock, RwLockReadGuard};

use dmls_core::group::{Changes, Key, Store, StoreError, Table, Value};
use rocksdb::{ColumnFamily, DB, Direction, ErrorKind, IteratorMode, PrefixRange, ReadOptions, WriteBatch};
use serde::de::DeserializeOwned;

use super::extra::{Extra, record_error};
use super::log_key;
use super::open::{FORMAT_KEY, OpenError, open_checked, open_error, open_with, options, synced};
use super::records;
use super::tables::{Column, FORMAT_VERSION};

/// An open database. Shared by reference: it locks inside.
pub struct Database {
    path: PathBuf,
    inner: RwLock<Inner>,
    #[cfg(test)]
    fail_next: std::sync::atomic::AtomicBool,
}

struct Inner {
    db: Option<DB>,
    /// Why writes are refused until the database has been reopened.
    failed: Option<StoreError>,
}

impl Database {
    /// Makes a new database whose first records are these. Either all of it is there afterwards or nothing.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn create(path: &Path, changes: &Changes, extra: &Extra) -> Result<(), OpenError> {
        let building = path.with_extension("new");
        let fail = |reason: String| OpenError::Io { path: path.display().to_string(), reason };
        if building.exists() {
            std::fs::remove_dir_all(&building).map_err(|error| fail(error.to_string()))?;
        }
        let mut options = options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let db = open_with(&options, &building)?;
        let mut batch = WriteBatch::default();
        let first = || -> Result<WriteBatch, StoreError> {
            batch.put_cf(family(&db, Column::Meta)?, FORMAT_KEY, FORMAT_VERSION.to_be_bytes());
            fill(&db, &mut batch, changes, extra)?;
            Ok(batch)
        };
        let batch = first().map_err(|error| fail(error.to_string()))?;
        db.write_opt(batch, &synced()).map_err(|error| open_error(path, &error))?;
        drop(db);
        std::fs::rename(&building, path).map_err(|error| fail(error.to_string()))?;
        let parent = path.parent().unwrap_or(Path::new("."));
        std::fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(|error| fail(error.to_string()))
    }

    /// Opens what [`Self::create`] made.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let db = open_checked(path)?;
        Ok(Self {
            path: path.to_owned(),
            inner: RwLock::new(Inner { db: Some(db), failed: None }),
            #[cfg(test)]
            fail_next: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// Closes and opens the database, and takes writes again. What a failed write left there is there afterwards, or
    /// is not: state held in memory has to be loaded again.
    ///
    /// # Errors
    /// [`OpenError`]; then the database stays closed, and this can be called again.
    pub fn reopen(&self) -> Result<(), OpenError> {
        let mut inner = self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.db = None;
        inner.db = Some(open_checked(&self.path)?);
        inner.failed = None;
        Ok(())
    }

    /// Stores a step of the core and the node's own records with it, all or nothing, synced.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was stored that a later read can see, and nothing will be until
    /// [`Self::reopen`].
    pub fn apply_with(&self, changes: &Changes, extra: &Extra) -> Result<(), StoreError> {
        let error = {
            let inner = self.read();
            if let Some(error) = &inner.failed {
                return Err(error.clone());
            }
            let db = inner.db()?;
            let mut batch = WriteBatch::default();
            fill(db, &mut batch, changes, extra)?;
            match self.write(db, batch) {
                Ok(()) => return Ok(()),
                Err(reason) => StoreError::Io(reason),
            }
        };
        let mut inner = self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.failed = Some(error.clone());
        Err(error)
    }

    fn write(&self, db: &DB, batch: WriteBatch) -> Result<(), String> {
        #[cfg(test)]
        if self.fail_next.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return Err("this write was told to fail".into());
        }
        db.write_opt(batch, &synced()).map_err(rocksdb::Error::into_string)
    }

    /// Makes the next write fail.
    #[cfg(test)]
    pub(super) fn fail_next_write(&self) {
        self.fail_next.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// The record at `key`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get<T: DeserializeOwned>(&self, column: Column, key: &[u8]) -> Result<Option<T>, StoreError> {
        let inner = self.read();
        let db = inner.db()?;
        match db.get_pinned_cf(family(db, column)?, key).map_err(|error| read_error(column, &error))? {
            Some(bytes) => records::decode(column, &bytes).map(Some).map_err(record_error),
            None => Ok(None),
        }
    }

    /// Whether there is a record at `key`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has(&self, column: Column, key: &[u8]) -> Result<bool, StoreError> {
        let inner = self.read();
        let db = inner.db()?;
        let found = db.get_pinned_cf(family(db, column)?, key).map_err(|error| read_error(column, &error))?;
        Ok(found.is_some())
    }

    /// Up to `limit` records whose key begins with `prefix` and is not below `from`, in bytewise order of keys.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn scan<T: DeserializeOwned>(
        &self,
        column: Column,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, T)>, StoreError> {
        let mut found = Vec::new();
        self.walk(column, prefix, from, |key, bytes| {
            found.push((key.to_vec(), records::decode(column, bytes).map_err(record_error)?));
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// The keys that begin with `prefix` and are not below `from`, until `take` says no.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keys(
        &self,
        column: Column,
        prefix: &[u8],
        from: &[u8],
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), StoreError> {
        self.walk(column, prefix, from, |key, _| Ok(take(key)))
    }

    fn walk(
        &self,
        column: Column,
        prefix: &[u8],
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let inner = self.read();
        let db = inner.db()?;
        let mut range = ReadOptions::default();
        range.set_iterate_range(PrefixRange(prefix));
        let mode = IteratorMode::From(from.max(prefix), Direction::Forward);
        for item in db.iterator_cf_opt(family(db, column)?, range, mode) {
            let (key, bytes) = item.map_err(|error| read_error(column, &error))?;
            if !visit(&key, &bytes)? {
                break;
            }
        }
        Ok(())
    }

    /// The last key that begins with `prefix`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last_key(&self, column: Column, prefix: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let inner = self.read();
        let db = inner.db()?;
        let mut range = ReadOptions::default();
        range.set_iterate_range(PrefixRange(prefix));
        match db.iterator_cf_opt(family(db, column)?, range, IteratorMode::End).next() {
            Some(item) => Ok(Some(item.map_err(|error| read_error(column, &error))?.0.into_vec())),
            None => Ok(None),
        }
    }

    /// Why writes are refused, if they are.
    pub fn failure(&self) -> Option<StoreError> {
        self.read().failed.clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A [`Store`] for the core that writes `extra` in the same batch as the core's changes.
    pub fn step<'a>(&'a self, extra: &'a Extra) -> StepStore<'a> {
        StepStore { database: self, extra }
    }
}

impl Inner {
    fn db(&self) -> Result<&DB, StoreError> {
        self.db.as_ref().ok_or_else(|| StoreError::Io("the database is closed".into()))
    }
}

/// The database as the core sees it during one step.
pub struct StepStore<'a> {
    database: &'a Database,
    extra: &'a Extra,
}

impl Store for StepStore<'_> {
    fn apply(&mut self, changes: &Changes) -> Result<(), StoreError> {
        self.database.apply_with(changes, self.extra)
    }

    fn get(&self, key: &Key) -> Result<Option<Value>, StoreError> {
        let value: Option<Value> = self.database.get(Column::Core(key.table), &key.bytes)?;
        value.map(|value| of_table(key.table, value)).transpose()
    }

    fn scan(&self, prefix: &Key) -> Result<Vec<(Key, Value)>, StoreError> {
        let table = prefix.table;
        let found = self.database.scan(Column::Core(table), &prefix.bytes, &[], usize::MAX)?;
        let keyed = found.into_iter();
        keyed.map(|(bytes, value)| Ok((Key { table, bytes }, of_table(table, value)?))).collect()
    }

    fn places(&self, prefix: &Key) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut places = Vec::new();
        let take = |key: &[u8]| {
            places.push(key.get(prefix.bytes.len()..).unwrap_or_default().to_vec());
            true
        };
        self.database.keys(Column::Core(prefix.table), &prefix.bytes, &[], take)?;
        Ok(places)
    }
}

fn of_table(table: Table, value: Value) -> Result<Value, StoreError> {
    if value.table() == table {
        return Ok(value);
    }
    let reason = format!("it is of table {}", value.table().name());
    Err(StoreError::Damaged { table: table.name(), reason })
}

fn fill(db: &DB, batch: &mut WriteBatch, changes: &Changes, extra: &Extra) -> Result<(), StoreError> {
    for (key, value) in &changes.put {
        let column = Column::Core(key.table);
        let family = family(db, column)?;
        if column.is_secret() {
            let record = records::encode_secret(column, value).map_err(record_error)?;
            batch.put_cf(family, &key.bytes, record.stored());
        } else {
            batch.put_cf(family, &key.bytes, records::encode(column, value).map_err(record_error)?);
        }
    }
    for key in &changes.delete {
        batch.delete_cf(family(db, Column::Core(key.table))?, &key.bytes);
    }
    index_log(db, batch, changes)?;
    for (column, key, stored) in &extra.put {
        batch.put_cf(family(db, *column)?, key, stored.bytes());
    }
    for (column, key) in &extra.delete {
        batch.delete_cf(family(db, *column)?, key);
    }
    Ok(())
}

/// The network asks for messages by id; the log is ordered by epoch number.
fn index_log(db: &DB, batch: &mut WriteBatch, changes: &Changes) -> Result<(), StoreError> {
    let family = family(db, Column::LogOrders)?;
    for key in changes.put.keys().filter(|key| key.table == Table::Log) {
        if let Some((order, index)) = log_key::split(&key.bytes) {
            batch.put_cf(family, index, records::encode(Column::LogOrders, &order).map_err(record_error)?);
        }
    }
    for key in changes.delete.iter().filter(|key| key.table == Table::Log) {
        if let Some((_, index)) = log_key::split(&key.bytes) {
            batch.delete_cf(family, index);
        }
    }
    Ok(())
}

fn family(db: &DB, column: Column) -> Result<&ColumnFamily, StoreError> {
    db.cf_handle(column.name())
        .ok_or_else(|| StoreError::Damaged { table: column.name(), reason: "the table is missing".into() })
}

fn read_error(column: Column, error: &rocksdb::Error) -> StoreError {
    match error.kind() {
        ErrorKind::Corruption => StoreError::Damaged { table: column.name(), reason: error.to_string() },
        _ => StoreError::Io(error.to_string()),
    }
}
