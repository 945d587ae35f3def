//! What the head shall have of the branches that lost, and who owes it new keys: found once for each head and shape of
//! the history, however often a step asks.

use std::sync::{Arc, Mutex, PoisonError};

use super::Group;
use super::state::Place;
use crate::history::{CarrySet, LeafSet, Onto, Shape};
use crate::schedule::EpochId;

/// What there is to heal in a head.
#[derive(Debug, Default)]
pub(super) struct Healing {
    /// For each fork point above the head, oldest first, what of its losing branches the head shall have.
    pub(super) sets: Arc<[CarrySet]>,
    /// The leaves of the head that owe a refresh.
    pub(super) debts: LeafSet,
}

/// What has been found last, and for which history and head.
#[derive(Default)]
pub(super) struct Memo(Mutex<Option<(Shape, EpochId, Arc<Healing>)>>);

impl Memo {
    fn last(&self) -> Option<(Shape, EpochId, Arc<Healing>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Clone for Memo {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.last()))
    }
}

impl Group {
    /// What there is to heal in the head: the only way to ask the history. The head's roster and admin list, on which it
    /// depends as well, do not change.
    pub(super) fn healing(&self) -> Arc<Healing> {
        let (head, shape) = (&self.state.head, self.history.shape());
        if let Some((_, _, found)) = self.healing.last().filter(|(of, at, _)| of == shape && at == head) {
            return found;
        }
        let found = Arc::new(self.find_healing(head));
        if self.keys.contains_key(head) {
            let mut last = self.healing.0.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((shape.clone(), head.clone(), Arc::clone(&found)));
        }
        found
    }

    fn find_healing(&self, head: &EpochId) -> Healing {
        if self.history.losing_forks(head).is_empty() {
            return Healing::default();
        }
        let members = self.roster(head);
        let onto = Onto { epoch: head, members: &members, admins: self.admins(head) };
        Healing { sets: self.history.carry_all(&onto).into(), debts: self.history.heal_debts(head) }
    }

    /// For each fork point above the head, oldest first, what of its losing branches the head shall have: nothing where
    /// this client is no member.
    pub(super) fn carry_sets(&self) -> Arc<[CarrySet]> {
        if self.state.place == Place::Member { Arc::clone(&self.healing().sets) } else { Arc::default() }
    }
}
