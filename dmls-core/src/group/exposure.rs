//! What is retained, as the user sees it: how old, how much, and what a thief of this device could read now (DESIGN 4.5,
//! 4.9).

use std::collections::BTreeMap;

use super::Group;
use super::view::{Exposure, RetainedView};
use crate::framing::DmlsProfile;
use crate::history::HistoryEpoch;
use crate::schedule::EpochId;

impl Group {
    /// Every retained epoch, parents before children.
    pub(super) fn retained_view(&self, profile: Option<&DmlsProfile>) -> Vec<RetainedView> {
        let profile = profile.map(|profile| self.options.narrowed(profile));
        let mut until: BTreeMap<EpochId, Option<u64>> = BTreeMap::new();
        let mut closes = Some(0);
        let on_head: Vec<&EpochId> =
            self.history.ancestors(&self.state.head).map(|(id, _)| id).chain([&self.state.head]).collect();
        let mut views = Vec::new();
        for id in self.history.subtree(self.history.anchor()) {
            let (Some(epoch), Some(keys)) = (self.history.epoch(&id), self.keys.get(&id)) else { continue };
            let is_on_head = on_head.contains(&&id);
            let due = match &epoch.parent {
                _ if id == self.state.head => None,
                // A losing branch goes with its fork point at the latest.
                Some((parent, _)) if !is_on_head => until.get(parent).copied().flatten(),
                _ => self.deleted_by(&id, epoch, profile.as_ref(), &mut closes),
            };
            let mut senders = epoch.electors.clone();
            senders.subtract(epoch.moved_on.gone());
            senders.remove(keys.epoch.own_leaf());
            views.push(RetainedView {
                epoch: id.clone(),
                number: epoch.number,
                on_head: is_on_head,
                age_ms: self.state.reconciled_ms.saturating_sub(epoch.born),
                bytes: self.size_of(&id, keys),
                punctures: keys.init.punctured_count(),
                exposure: Exposure { commits: true, handshakes: true, senders },
                until_ms: due.map(|due| {
                    let left = due.saturating_sub(self.state.reconciled_ms);
                    self.state.clock_ms.saturating_add(left)
                }),
            });
            until.insert(id, due);
        }
        views
    }

    /// The reconciled time by which an epoch above the head goes, as things are. `closes` is when those above it close.
    fn deleted_by(
        &self,
        id: &EpochId,
        epoch: &HistoryEpoch,
        profile: Option<&DmlsProfile>,
        closes: &mut Option<u64>,
    ) -> Option<u64> {
        // What a losing branch holds comes into the head first.
        let settled = epoch.settled_since.filter(|_| !self.is_open(id));
        let settled = settled.map(|since| since.saturating_add(self.options.close_after_ms));
        // An epoch goes after all above it.
        *closes = closes.zip(settled).map(|(above, own)| above.max(own));
        let aged = profile.zip(self.superseded_ms(epoch)).map(|(profile, age)| {
            let limit = profile.max_age_seconds.saturating_mul(1000);
            self.state.reconciled_ms.saturating_add(limit.saturating_sub(age))
        });
        (*closes).into_iter().chain(aged).min()
    }
}
