//! Stores a [`Suite`] as its number: `#[serde(with = "suite_id")]`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::suite::{CipherSuite, Suite};

pub(super) fn serialize<S: Serializer>(suite: &Suite, serializer: S) -> Result<S::Ok, S::Error> {
    suite.id().serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Suite, D::Error> {
    CipherSuite::deserialize(deserializer)?.suite().map_err(D::Error::custom)
}
