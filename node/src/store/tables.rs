//! Every column family of the database, in one place.

use dmls_core::group::Table;

/// The version of the database's format. A database with a higher one is refused.
pub const FORMAT_VERSION: u32 = 1;

/// A column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Column {
    /// A table of the core.
    Core(Table),
    /// The format version. Keys: names.
    Meta,
    /// The secret of the peer id. One record. Secret.
    Identity,
    /// Peers to connect to, by peer id.
    Peers,
    /// What this node calls a group, by group id.
    Names,
    /// Delivered and sent application messages, by group and sequence number.
    Messages,
    /// The order of each message of the log, by group and message id. Written with the log itself.
    LogOrders,
    /// What became of each key package that was handed out, by reference.
    Issued,
    /// Welcomes that wait for the user, by key package reference.
    Invitations,
    /// To whom a stored Welcome goes, by group and key package reference.
    Deliveries,
    /// Messages that are never fetched again, by group and message id.
    Unwanted,
}

impl Column {
    /// The node's own column families.
    pub const OWN: [Self; 10] = [
        Self::Meta,
        Self::Identity,
        Self::Peers,
        Self::Names,
        Self::Messages,
        Self::LogOrders,
        Self::Issued,
        Self::Invitations,
        Self::Deliveries,
        Self::Unwanted,
    ];

    /// Every column family: the core's tables, then the node's own.
    pub fn all() -> impl Iterator<Item = Self> {
        Table::ALL.into_iter().map(Self::Core).chain(Self::OWN)
    }

    /// Its name in the database: lower case, stable. The node's own cannot clash with the core's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core(table) => table.name(),
            Self::Meta => "node_meta",
            Self::Identity => "node_identity",
            Self::Peers => "node_peers",
            Self::Names => "node_names",
            Self::Messages => "node_messages",
            Self::LogOrders => "node_log_orders",
            Self::Issued => "node_issued",
            Self::Invitations => "node_invitations",
            Self::Deliveries => "node_deliveries",
            Self::Unwanted => "node_unwanted",
        }
    }

    /// Whether its records hold secrets: these go through [`super::records::SecretRecord`] only.
    pub fn is_secret(self) -> bool {
        match self {
            Self::Core(table) => table.is_secret(),
            other => other == Self::Identity,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_distinct() {
        let names: HashSet<_> = Column::all().map(Column::name).collect();
        assert_eq!(names.len(), Table::ALL.len() + Column::OWN.len());
        assert!(!names.contains(rocksdb::DEFAULT_COLUMN_FAMILY_NAME));
    }
}
