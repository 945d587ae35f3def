//! The log of ciphertexts. It outlives the keys, so that a straggler can be served, but not for ever (DESIGN 4.5).

use super::options::limits;
use super::store::Key;
use super::transaction::Transaction;

impl Transaction<'_> {
    /// Drops what is further back than the log reaches.
    pub(super) fn prune_log(&mut self) {
        let anchor = self.group.history.epoch(self.group.history.anchor()).map_or(0, |epoch| epoch.number);
        let floor = anchor.saturating_sub(limits::LOG_DEPTH);
        if floor <= self.group.state.floor {
            return;
        }
        self.group.state.floor = floor;
        let old: Vec<_> =
            self.group.log.iter().filter(|(_, order)| **order < floor).map(|(i, o)| (*i, *o)).collect();
        for (id, order) in old {
            self.group.log.remove_mut(&id);
            self.changes.delete(Key::log(&self.group.id, order, &id));
        }
    }
}
