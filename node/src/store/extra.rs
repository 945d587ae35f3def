//! The node's own records, written with a step of the core.

use dmls_core::group::StoreError;
use serde::Serialize;

use super::records::{self, RecordError, SecretRecord};
use super::tables::Column;

/// The node's own records of a step.
#[derive(Default)]
pub struct Extra {
    pub(super) put: Vec<(Column, Vec<u8>, Stored)>,
    pub(super) delete: Vec<(Column, Vec<u8>)>,
}

pub(super) enum Stored {
    Plain(Vec<u8>),
    Secret(SecretRecord),
}

impl Stored {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Secret(record) => record.stored(),
        }
    }
}

impl Extra {
    /// Writes a record without secrets.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be encoded.
    pub fn put<T: Serialize>(&mut self, column: Column, key: &[u8], value: &T) -> Result<(), StoreError> {
        let bytes = records::encode(column, value).map_err(record_error)?;
        self.put.push((column, key.to_vec(), Stored::Plain(bytes)));
        Ok(())
    }

    /// Writes a record with secrets.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be encoded.
    pub fn put_secret<T: Serialize>(
        &mut self,
        column: Column,
        key: &[u8],
        value: &T,
    ) -> Result<(), StoreError> {
        let record = records::encode_secret(column, value).map_err(record_error)?;
        self.put.push((column, key.to_vec(), Stored::Secret(record)));
        Ok(())
    }

    /// Deletes a record.
    pub fn delete(&mut self, column: Column, key: &[u8]) {
        self.delete.push((column, key.to_vec()));
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }
}

pub(super) fn record_error(error: RecordError) -> StoreError {
    match error {
        RecordError::Encode { table, reason } => {
            StoreError::Io(format!("a record of table {table} cannot be encoded: {reason}"))
        }
        RecordError::Damaged { table, reason } => StoreError::Damaged { table, reason },
    }
}
