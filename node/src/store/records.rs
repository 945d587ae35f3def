//! How records become bytes: the one module that knows bincode.
//!
//! A stored record is one byte that says how the rest is kept, then serde in bincode 2's standard configuration.
//! Records with secrets have a type and a path of their own, [`SecretRecord`]: the vault (a later version) will seal
//! there and nowhere else. Until then they lie in the database as they are.

use bincode::config::{Config as BincodeConfig, standard};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use zeroize::Zeroizing;

use super::tables::Column;

/// The largest record, in bytes: what a damaged length can make this node allocate.
pub const MAX_RECORD: usize = 64 * 1024 * 1024;

/// The first byte of a record without secrets.
const PLAIN: u8 = 1;
/// The first byte of a record with secrets that is not sealed.
const SECRET: u8 = 2;

/// Why a record could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The record is larger than [`MAX_RECORD`], or its type cannot be encoded.
    #[error("A record of table {table} cannot be encoded: {reason}.")]
    Encode {
        /// The table.
        table: &'static str,
        /// What the encoder said.
        reason: String,
    },
    /// The stored bytes are not a record of this table.
    #[error("A stored record of table {table} is damaged: {reason}.")]
    Damaged {
        /// The table.
        table: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// The bytes of a record with secrets; wiped on drop, not printable. Only these go into secret columns.
pub struct SecretRecord(Zeroizing<Vec<u8>>);

impl SecretRecord {
    /// The bytes as they are stored. The vault's sealing will come between these and the disk.
    pub(super) fn stored(&self) -> &[u8] {
        &self.0
    }
}

fn config() -> impl BincodeConfig {
    standard().with_limit::<MAX_RECORD>()
}

/// Encodes a record without secrets.
///
/// # Errors
/// [`RecordError::Encode`].
pub fn encode<T: Serialize>(column: Column, value: &T) -> Result<Vec<u8>, RecordError> {
    if column.is_secret() {
        return Err(encode_error(column, "it holds secrets"));
    }
    Ok(encode_with(column, PLAIN, value)?.to_vec())
}

/// Encodes a record with secrets.
///
/// # Errors
/// [`RecordError::Encode`].
pub fn encode_secret<T: Serialize>(column: Column, value: &T) -> Result<SecretRecord, RecordError> {
    if !column.is_secret() {
        return Err(encode_error(column, "it is no place for secrets"));
    }
    encode_with(column, SECRET, value).map(SecretRecord)
}

/// Decodes what [`encode`] or [`encode_secret`] wrote for this column. Every byte must be used.
///
/// # Errors
/// [`RecordError::Damaged`].
pub fn decode<T: DeserializeOwned>(column: Column, bytes: &[u8]) -> Result<T, RecordError> {
    let damaged = |reason: String| RecordError::Damaged { table: column.name(), reason };
    let kind = if column.is_secret() { SECRET } else { PLAIN };
    let body = match bytes.split_first() {
        Some((first, body)) if *first == kind => body,
        Some((first, _)) => return Err(damaged(format!("its first byte is {first}, not {kind}"))),
        None => return Err(damaged("it is empty".into())),
    };
    if body.len() > MAX_RECORD {
        return Err(damaged(format!("it has {} bytes", body.len())));
    }
    // The decoder's own words may quote the data; its kind of error is enough.
    let decoded = bincode::serde::decode_from_slice(body, config());
    let (value, used) = decoded.map_err(|error| damaged(name_of(&error).to_owned()))?;
    if used != body.len() {
        return Err(damaged(format!("{} bytes are left over", body.len() - used)));
    }
    Ok(value)
}

fn encode_error(column: Column, reason: impl ToString) -> RecordError {
    RecordError::Encode { table: column.name(), reason: reason.to_string() }
}

/// Measures first, so that no growing buffer leaves copies of secrets behind.
fn encode_with<T: Serialize>(column: Column, kind: u8, value: &T) -> Result<Zeroizing<Vec<u8>>, RecordError> {
    let mut size = bincode::enc::write::SizeWriter::default();
    bincode::serde::encode_into_writer(value, &mut size, config())
        .map_err(|error| encode_error(column, error))?;
    if size.bytes_written > MAX_RECORD {
        return Err(encode_error(column, format!("it has {} bytes", size.bytes_written)));
    }
    let mut bytes = Zeroizing::new(vec![0; size.bytes_written + 1]);
    let Some((first, body)) = bytes.split_first_mut() else {
        return Err(encode_error(column, "it has no room"));
    };
    *first = kind;
    let written = bincode::serde::encode_into_slice(value, body, config())
        .map_err(|error| encode_error(column, error))?;
    if written != size.bytes_written {
        return Err(encode_error(column, "its size changed"));
    }
    Ok(bytes)
}

fn name_of(error: &bincode::error::DecodeError) -> &'static str {
    use bincode::error::DecodeError;
    match error {
        DecodeError::UnexpectedEnd { .. } => "it ends too early",
        DecodeError::LimitExceeded => "it claims to be too large",
        DecodeError::UnexpectedVariant { .. } => "it names an unknown variant",
        DecodeError::Utf8 { .. } => "its text is not UTF-8",
        _ => "its contents are not of its type",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dmls_core::group::Table;
    use serde::Deserialize;

    use super::*;

    const OPEN: Column = Column::Peers;
    const CLOSED: Column = Column::Core(Table::Epochs);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        name: String,
        numbers: Vec<u64>,
        map: BTreeMap<[u8; 4], Option<bool>>,
        either: Result<u8, String>,
    }

    fn sample() -> Sample {
        Sample {
            name: "näme".into(),
            numbers: vec![0, 250, 251, 65_536, u64::MAX],
            map: BTreeMap::from([([1; 4], None), ([2; 4], Some(true))]),
            either: Err("no".into()),
        }
    }

    #[test]
    fn round_trip_on_both_paths() {
        let open = encode(OPEN, &sample()).unwrap();
        assert_eq!(decode::<Sample>(OPEN, &open).unwrap(), sample());
        let closed = encode_secret(CLOSED, &sample()).unwrap();
        assert_eq!(decode::<Sample>(CLOSED, closed.stored()).unwrap(), sample());
        assert_eq!(open[1..], closed.stored()[1..]);
    }

    #[test]
    fn secrets_and_others_do_not_mix() {
        assert!(matches!(encode(CLOSED, &1u8), Err(RecordError::Encode { table: "epochs", .. })));
        assert!(matches!(encode_secret(OPEN, &1u8), Err(RecordError::Encode { .. })));
        let open = encode(OPEN, &1u8).unwrap();
        assert!(matches!(decode::<u8>(CLOSED, &open), Err(RecordError::Damaged { table: "epochs", .. })));
    }

    #[test]
    fn truncated_and_trailing_bytes_are_damage() {
        let bytes = encode(OPEN, &sample()).unwrap();
        for end in 0..bytes.len() {
            assert!(
                matches!(decode::<Sample>(OPEN, &bytes[..end]), Err(RecordError::Damaged { .. })),
                "{end}"
            );
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(decode::<Sample>(OPEN, &longer).unwrap_err().to_string().contains("1 bytes are left over"));
    }

    #[test]
    fn mutated_bytes_never_panic_nor_decode_to_other_bytes() {
        let bytes = encode(OPEN, &sample()).unwrap();
        let mut refused = 0;
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut mutated = bytes.clone();
                mutated[at] ^= 1 << bit;
                match decode::<Sample>(OPEN, &mutated) {
                    Ok(value) => assert_ne!(value, sample(), "byte {at} bit {bit} changes nothing"),
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > 0);
    }

    #[test]
    fn a_huge_length_allocates_nothing() {
        let mut bytes = vec![PLAIN, 253];
        bytes.extend_from_slice(&u64::MAX.to_le_bytes());
        for error in
            [decode::<Vec<u8>>(OPEN, &bytes).unwrap_err(), decode::<Vec<[u8; 32]>>(OPEN, &bytes).unwrap_err()]
        {
            assert!(matches!(error, RecordError::Damaged { .. }), "{error}");
        }
    }

    #[test]
    fn a_record_beyond_the_limit_is_not_written() {
        let large = vec![0u8; MAX_RECORD + 1];
        assert!(matches!(encode(OPEN, &large), Err(RecordError::Encode { .. })));
    }
}
