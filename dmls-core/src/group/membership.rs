//! Who comes and goes, as the application is told: provisional, final, undone (DESIGN 4.4). What has been told is part of
//! the stored history, so that a restart tells nothing twice.

use super::step::Event;
use super::transaction::Transaction;
use crate::history::{HistoryEpoch, Member, Operation, Roster, Summary};
use crate::schedule::EpochId;

/// Members that a commit adds, and those that it removes. Who rejoins is in both.
fn changes(summary: &Summary) -> (Vec<Member>, Vec<Member>) {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for operation in summary.operations() {
        match operation {
            Operation::Add(member) => added.push(member.clone()),
            Operation::Remove(member) => removed.push(member.clone()),
            Operation::Rejoin { from, to } => {
                removed.push(from.clone());
                added.push(to.clone());
            }
            Operation::Update(_) | Operation::Context | Operation::PreSharedKey => {}
        }
    }
    (added, removed)
}

impl Transaction<'_> {
    /// Reports what has changed in the roster since it was reported last, by the head and the newest final epoch that
    /// have been reported.
    pub(super) fn report_membership(&mut self) {
        let Self { group, before, .. } = self;
        let same = |before: &&super::Group| {
            before.state.head == group.state.head && before.state.final_epoch == group.state.final_epoch
        };
        if before.is_some_and(|before| same(&before)) {
            return;
        }
        let head = group.state.head.clone();
        let path: Vec<EpochId> =
            std::iter::once(&head).chain(group.history.ancestors(&head).map(|(id, _)| id)).cloned().collect();
        let reported = |epoch: &HistoryEpoch| epoch.own.reported_roster != Roster::Unreported;
        let left = group.history.epochs().filter(|(id, epoch)| reported(epoch) && !path.contains(id));
        let mut left: Vec<(u64, EpochId)> = left.map(|(id, epoch)| (epoch.number, id.clone())).collect();
        // Newest first, as one goes back.
        left.sort();
        for (_, id) in left.into_iter().rev() {
            self.report_roster(&id, Roster::Unreported);
        }
        // Oldest first: from here up everything is final once one epoch is.
        let is_final = |id: &EpochId| self.group.state.final_epoch.as_ref() == Some(id);
        let finals = path.iter().position(is_final).unwrap_or(path.len());
        for (place, id) in path.iter().enumerate().rev() {
            let roster = if place >= finals { Roster::Final } else { Roster::Provisional };
            self.report_roster(id, roster);
        }
    }

    /// Tells the application where a commit's changes of the roster stand, if that is news.
    pub(super) fn report_roster(&mut self, id: &EpochId, roster: Roster) {
        let history = &self.group.history;
        let Some(epoch) = history.epoch(id) else { return };
        let reported = epoch.own.reported_roster;
        // What has been final is not called provisional again: it stands, or it is undone.
        if reported == roster || (reported == Roster::Final && roster == Roster::Provisional) {
            return;
        }
        let child = epoch.parent.as_ref().and_then(|(at, by)| history.epoch(at)?.children.get(by));
        let Some((added, removed)) = child.map(|child| changes(&child.summary)) else { return };
        if added.is_empty() && removed.is_empty() {
            return;
        }
        if let Some(epoch) = self.group.history.epoch_mut(id) {
            epoch.own.reported_roster = roster;
        }
        let epoch = id.clone();
        if reported == Roster::Unreported && !added.is_empty() && self.is_own_commit(id) {
            self.share_with_joiners();
        }
        self.event(match roster {
            Roster::Unreported => Event::MembershipUndone { epoch, added, removed },
            Roster::Provisional => Event::Membership { epoch, added, removed, is_final: false },
            Roster::Final => Event::Membership { epoch, added, removed, is_final: true },
        });
    }

    fn is_own_commit(&self, id: &EpochId) -> bool {
        let history = &self.group.history;
        let parent = history.epoch(id).and_then(|epoch| epoch.parent.as_ref());
        parent
            .and_then(|(at, by)| {
                Some(
                    history.epoch(at)?.own.named.as_ref() == Some(by) && {
                        let committer = history.epoch(at)?.children.get(by)?.committer;
                        self.group.keys.get(at)?.epoch.own_leaf() == committer
                    },
                )
            })
            .unwrap_or(false)
    }

    /// The anchor is about to move to its child `next`. What led there can be undone by nothing any more; and where this
    /// client has named another child, or spoken below one, it says so for ever after: others may retain the epoch for
    /// longer, and it must not name two children for them.
    pub(super) fn pass_anchor(&mut self, next: &EpochId) {
        self.report_roster(next, Roster::Final);
        let history = &self.group.history;
        let at = history.anchor().clone();
        let towards = history.epoch(next).and_then(|epoch| epoch.parent.as_ref()).map(|(_, commit)| commit);
        let Some(own) = history.epoch(&at).map(|epoch| &epoch.own) else { return };
        let named = own.named.as_ref().or(own.first_sent.as_ref());
        let since = if named.is_some() && named != towards { Some(at) } else { own.since.clone() };
        if since.is_some()
            && let Some(epoch) = self.group.history.epoch_mut(next)
        {
            epoch.own.since = since;
        }
    }
}
