//! The layout of the log's keys, as [`Key::log`] makes them: group id behind its length, order, message id.

use dmls_core::group::{GroupId, Key, MessageId, Table};

const ORDER: usize = 8;
const ID: usize = 32;

/// The order of a key of the log, and the key of its message in [`super::Column::LogOrders`]; `None` if it is none.
pub fn split(key: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (rest, id) = key.split_at_checked(key.len().checked_sub(ID)?)?;
    let (group, order) = rest.split_at_checked(rest.len().checked_sub(ORDER)?)?;
    let order = u64::from_be_bytes(order.try_into().ok()?);
    Some((order, [group, id].concat()))
}

/// The order and the message id of a key of the log.
pub fn parts(key: &[u8]) -> Option<(u64, MessageId)> {
    let (order, _) = split(key)?;
    Some((order, MessageId(*key.last_chunk::<ID>()?)))
}

/// The key of a message in [`super::Column::LogOrders`].
pub fn index(group: &GroupId, id: &MessageId) -> Vec<u8> {
    let mut key = Key::of_group(Table::Log, group).bytes;
    key.extend_from_slice(&id.0);
    key
}

/// The least key of the log of `group` with this order.
pub fn from_order(group: &GroupId, order: u64) -> Vec<u8> {
    let mut key = Key::of_group(Table::Log, group).bytes;
    key.extend_from_slice(&order.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_core_are_taken_apart() {
        let group = GroupId(vec![7; 5].into());
        let id = MessageId([9; 32]);
        let key = Key::log(&group, 0x0102, &id).bytes;
        assert_eq!(split(&key), Some((0x0102, index(&group, &id))));
        assert_eq!(parts(&key), Some((0x0102, id)));
        assert!(key.starts_with(&from_order(&group, 0x0102)));
        for end in 0..ORDER + ID {
            assert_eq!(split(&key[..end]), None);
        }
    }
}
