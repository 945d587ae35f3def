//! Reading and comparing the fields of a case. Every error names the field.

use dmls_core::codec::Bytes;
use dmls_core::suite::{CipherSuite, Secret, Suite};
use serde_json::Value;

/// The member `key` of an object.
pub(crate) fn field<'a>(value: &'a Value, key: &str) -> Result<&'a Value, String> {
    value.get(key).ok_or_else(|| format!("{key}: the field is missing"))
}

/// Hex bytes.
pub(crate) fn bytes(value: &Value, key: &str) -> Result<Vec<u8>, String> {
    let text = field(value, key)?.as_str().ok_or_else(|| format!("{key}: not a string"))?;
    hex::decode(text).map_err(|e| format!("{key}: {e}"))
}

/// Hex bytes as a TLS byte string.
pub(crate) fn opaque(value: &Value, key: &str) -> Result<Bytes, String> {
    bytes(value, key).map(Bytes::from)
}

/// Hex bytes as a secret.
pub(crate) fn secret(value: &Value, key: &str) -> Result<Secret, String> {
    bytes(value, key).map(Secret::from)
}

/// A string that is no hex.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    field(value, key)?.as_str().ok_or_else(|| format!("{key}: not a string"))
}

/// A number.
pub(crate) fn number<T: TryFrom<u64>>(value: &Value, key: &str) -> Result<T, String> {
    let number = field(value, key)?.as_u64().ok_or_else(|| format!("{key}: not a number"))?;
    T::try_from(number).map_err(|_| format!("{key}: {number} is out of range"))
}

/// An array.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    field(value, key)?.as_array().ok_or_else(|| format!("{key}: not an array"))
}

/// The suite of a case: our algorithms, or its number if this build has it not.
pub(crate) fn suite(case: &Value) -> Result<Result<Suite, u16>, String> {
    let id: u16 = number(case, "cipher_suite")?;
    Ok(CipherSuite(id).suite().map_err(|_| id))
}

/// Returns from a case function with [`Outcome::MissingSuite`](crate::Outcome) if the case's suite is not of this
/// build, else gives the suite.
macro_rules! suite_or_skip {
    ($case:expr) => {
        match $crate::input::suite($case)? {
            Ok(suite) => suite,
            Err(id) => return Ok($crate::Outcome::MissingSuite(id)),
        }
    };
}
pub(crate) use suite_or_skip;

/// Compares our bytes with those of the field.
pub(crate) fn same(value: &Value, key: &str, ours: &[u8]) -> Result<(), String> {
    let theirs = bytes(value, key)?;
    if ours == theirs {
        return Ok(());
    }
    Err(format!("{key}: expected {}, computed {}", hex::encode(theirs), hex::encode(ours)))
}

/// Says of an operation's error where it came from.
pub(crate) trait At<T> {
    /// Prefixes the error with `what`.
    fn at(self, what: &str) -> Result<T, String>;
}

impl<T, E: std::fmt::Display> At<T> for Result<T, E> {
    fn at(self, what: &str) -> Result<T, String> {
        self.map_err(|e| format!("{what}: {e}"))
    }
}
