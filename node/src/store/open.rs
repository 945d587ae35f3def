//! Opening a database: only what this program wrote, in a version that it knows.

use std::path::Path;

use rocksdb::{ColumnFamilyDescriptor, DB, DBRecoveryMode, ErrorKind, LogLevel, Options, WriteOptions};
use thiserror::Error;

use super::tables::{Column, FORMAT_VERSION};
use crate::error::{ErrorCode, Failure};

/// The key of the format version in [`Column::Meta`]: four bytes, big-endian, in every version for ever.
pub(super) const FORMAT_KEY: &[u8] = b"format";

/// Why a database could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A later program wrote it.
    #[error("The database {path} has format {found}; this program knows formats up to {FORMAT_VERSION}.")]
    Newer {
        /// Where it is.
        path: String,
        /// Its version.
        found: u32,
    },
    /// It is not what this program wrote.
    #[error("The database {path} is damaged: {reason}.")]
    Damaged {
        /// Where it is.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The disk or RocksDB failed.
    #[error("The database {path} cannot be opened: {reason}.")]
    Io {
        /// Where it is.
        path: String,
        /// What RocksDB said.
        reason: String,
    },
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let hint = match &error {
            OpenError::Newer { .. } => "Use the newer dmls that wrote it.",
            OpenError::Damaged { .. } => {
                "Do not restore an old copy: its keys must not be used again. Start with another --home and ask to \
                 be added to your groups."
            }
            OpenError::Io { .. } => "Check the disk's free space and permissions.",
        };
        Self::new(ErrorCode::Store, error).hint(hint)
    }
}

pub(super) fn options() -> Options {
    let mut options = Options::default();
    // A torn record at the end of the log is a write that nobody was told of. Damage before it is an error: the
    // default would silently go back to an earlier state, whose keys must not be used again.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(32 << 20);
    options.set_max_total_wal_size(64 << 20);
    options.set_max_open_files(256);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    options
}

pub(super) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

pub(super) fn open_with(options: &Options, path: &Path) -> Result<DB, OpenError> {
    let families = Column::all().map(|column| ColumnFamilyDescriptor::new(column.name(), Options::default()));
    DB::open_cf_descriptors(options, path, families).map_err(|error| open_error(path, &error))
}

/// Looks at the version before anything is opened for writing.
pub(super) fn open_checked(path: &Path) -> Result<DB, OpenError> {
    let options = options();
    let damaged = |reason: String| OpenError::Damaged { path: path.display().to_string(), reason };
    let listed = DB::list_cf(&options, path).map_err(|error| open_error(path, &error))?;
    let look = DB::open_cf_for_read_only(&options, path, &listed, false)
        .map_err(|error| open_error(path, &error))?;
    let version = match look.cf_handle(Column::Meta.name()) {
        Some(meta) => look.get_cf(meta, FORMAT_KEY).map_err(|error| open_error(path, &error))?,
        None => None,
    };
    let version = version.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(u32::from_be_bytes);
    drop(look);
    match version {
        None | Some(0) => return Err(damaged("it has no format version".into())),
        Some(found) if found > FORMAT_VERSION => {
            return Err(OpenError::Newer { path: path.display().to_string(), found });
        }
        Some(_) => {}
    }
    let known =
        |name: &str| name == rocksdb::DEFAULT_COLUMN_FAMILY_NAME || Column::all().any(|c| c.name() == name);
    if let Some(unknown) = listed.iter().find(|name| !known(name)) {
        return Err(damaged(format!("it has an unknown table {unknown}")));
    }
    open_with(&options, path)
}

pub(super) fn open_error(path: &Path, error: &rocksdb::Error) -> OpenError {
    let path = path.display().to_string();
    let reason = error.to_string();
    match error.kind() {
        ErrorKind::Corruption | ErrorKind::InvalidArgument | ErrorKind::NotSupported => {
            OpenError::Damaged { path, reason }
        }
        _ => OpenError::Io { path, reason },
    }
}
