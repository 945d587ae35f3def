//! What an honest member sends, as the group layer does (`group/speak.rs`, `group/settle.rs`). Its memory is the one
//! that the group layer uses too: the own marks of the production history.

use dmls_core::history::History;
use dmls_core::schedule::{CommitId, EpochId};

use super::changes::Change;
use super::{Message, Says, commit_id, epoch_id, name_of, record};

/// `since`: the newest ancestor at which this member has named another child than the one that leads here.
fn since(history: &History, at: &EpochId) -> Option<String> {
    let named_other = |above: &EpochId, commit: &CommitId| {
        history.epoch(above).and_then(|above| above.own.named.as_ref()).is_some_and(|named| named != commit)
    };
    let found = history.ancestors(at).find(|(above, commit)| named_other(above, commit));
    found.map(|(above, _)| name_of(above.as_slice()))
}

/// Sends one message and the votes that must come before it. All are recorded as the sender's own.
pub(super) fn send(history: &mut History, mut message: Message, with_since: bool) -> Vec<Message> {
    let at = epoch_id(&message.at);
    let mut sent = Vec::new();
    let above: Vec<_> = history.ancestors(&at).map(|(at, c)| (at.clone(), c.clone())).collect();
    for (above, commit) in above.iter().rev() {
        let own = &history.epoch(above).expect("an ancestor").own;
        let undeclared = own.first_sent.clone().filter(|_| own.named.is_none());
        if let Some(first) = undeclared.filter(|first| first != commit) {
            let says = Says::Vote(name_of(first.as_slice()));
            sent.extend(send(
                history,
                Message::new(&name_of(above.as_slice()), message.by, says),
                with_since,
            ));
        }
    }
    message.since = since(history, &at).filter(|_| with_since);
    record(history, &message).expect("an epoch of its own");
    for (above, commit) in above {
        history.epoch_mut(&above).expect("an ancestor").own.first_sent.get_or_insert(commit);
    }
    let own = &mut history.epoch_mut(&at).expect("its epoch").own;
    own.acknowledged = true;
    match &message.says {
        Says::Vote(name) | Says::Commit(name) | Says::Change(Change { name, .. }) => {
            own.named = Some(commit_id(name));
        }
        Says::Ack => {}
    }
    sent.push(message);
    sent
}

/// The vote that a member owes at an epoch: where there are two children, for the one below which it first sent
/// anything, else for the one towards its head, else for the best.
pub(super) fn vote_due(history: &History, at: &EpochId, head: &EpochId) -> Option<CommitId> {
    let epoch = history.epoch(at)?;
    if epoch.own.named.is_some() || epoch.children.len() < 2 {
        return None;
    }
    let towards = history.ancestors(head).find(|(above, _)| *above == at).map(|(_, commit)| commit.clone());
    let best = || epoch.decision().ranked.into_iter().find(|child| child.known).map(|child| child.commit);
    epoch.own.first_sent.clone().or(towards).or_else(best)
}
