//! What is stored: nothing ahead of the store, everything after a restart, nothing left behind.

mod damage;
mod join;
mod secrets;
pub(crate) mod steps;

use dmls_core::group::GroupId;

/// The group of every world.
pub(crate) fn group_id() -> GroupId {
    GroupId(b"the group".to_vec().into())
}
