//! Synthetic histories: no keys, and ids are short words. A commit "a" makes the epoch "a".

mod branched;
mod carry;
mod cascades;
mod finality;
mod order;
mod records;
mod reference;
mod rules;
mod ties;
mod timing;
mod walk;
mod work;

use std::collections::BTreeSet;

use super::*;
use crate::tree::Credential;
use reference::Reference;

const REMOVED: Blocked = Blocked::Removed;

fn epoch(name: &str) -> EpochId {
    EpochId::from(name.as_bytes().to_vec())
}

fn commit(name: &str) -> CommitId {
    CommitId::from(name.as_bytes().to_vec())
}

fn leaves(leaves: impl IntoIterator<Item = u32>) -> LeafSet {
    leaves.into_iter().map(LeafIndex).collect()
}

/// What a commit makes.
#[derive(Debug, Clone)]
struct Made {
    width: u32,
    electors: BTreeSet<u32>,
    blanked: BTreeSet<u32>,
}

impl Made {
    fn removing(&self, removed: &[u32]) -> Self {
        let mut made = self.readding(removed);
        made.electors.retain(|leaf| !removed.contains(leaf));
        made
    }

    fn readding(&self, leaves: &[u32]) -> Self {
        Self { blanked: leaves.iter().copied().collect(), ..self.clone() }
    }
}

/// A message as the history sees it.
#[derive(Debug, Clone)]
enum Message {
    Commit {
        at: EpochId,
        by: u32,
        name: String,
        class: u8,
        makes: Result<Made, Blocked>,
        since: Option<EpochId>,
    },
    Vote {
        at: EpochId,
        by: u32,
        child: CommitId,
        since: Option<EpochId>,
    },
    Ack {
        at: EpochId,
        by: u32,
        since: Option<EpochId>,
    },
    Application {
        at: EpochId,
        by: u32,
    },
}

/// Hands a message to the history.
fn record(history: &mut History, message: &Message) -> Result<bool, HistoryError> {
    match message {
        Message::Commit { at, by, name, class, makes, since } => {
            let parent = history.epoch(at).ok_or(HistoryError::UnknownEpoch)?;
            let made = makes.as_ref().ok().map(|made| {
                let link = Some((at.clone(), commit(name)));
                let electors = leaves(made.electors.iter().copied());
                let blanked = leaves(made.blanked.iter().copied());
                HistoryEpoch::new(link, parent.number + 1, made.width, electors, blanked)
            });
            let outcome = makes.as_ref().map(|_| epoch(name)).map_err(Blocked::clone);
            let child = child(*by, *class, outcome);
            history.record_commit(at, commit(name), child, made, since.as_ref()).map(|()| true)
        }
        Message::Vote { at, by, child, since } => {
            history.record_vote(at, LeafIndex(*by), child, since.as_ref())
        }
        Message::Ack { at, by, since } => history.record_handshake(at, LeafIndex(*by), since.as_ref()),
        Message::Application { at, by } => history.record_spoken(at, LeafIndex(*by)),
    }
}

fn child(by: u32, class: u8, outcome: Result<EpochId, Blocked>) -> Child {
    let committer =
        Member { leaf: LeafIndex(by), credential: Credential::basic(b"member"), fingerprint: [7; 32] };
    Child {
        committer: LeafIndex(by),
        class,
        summary: Summary {
            deeds: vec![Deed { author: committer.clone(), operation: Operation::Context }],
            committer,
            merge: None,
        },
        outcome,
    }
}

/// A history that is told one message after the other. After each it is compared with the naive reference.
struct Scene {
    history: History,
    reference: Reference,
}

impl Scene {
    /// The anchor "p" with these members, which fill its tree, as epoch `number`.
    fn numbered(number: u64, members: u32) -> Self {
        let anchor = HistoryEpoch::new(None, number, members, leaves(0..members), LeafSet::default());
        let reference = Reference::new(epoch("p"), &anchor);
        Self { history: History::new(epoch("p"), anchor), reference }
    }

    fn new(members: u32) -> Self {
        Self::numbered(0, members)
    }

    /// Whether it is news.
    fn say(&mut self, message: Message) -> bool {
        let news = record(&mut self.history, &message).unwrap();
        self.reference.messages.push(message);
        self.check();
        news
    }

    fn check(&self) {
        self.reference.compare(&self.history);
    }

    fn made(&self, at: &str) -> Made {
        let parent = self.history.epoch(&epoch(at)).unwrap();
        let electors = parent.electors.iter().map(|leaf| leaf.0).collect();
        Made { width: parent.width, electors, blanked: BTreeSet::new() }
    }

    /// A commit of class 1 that changes no member.
    fn commit(&mut self, at: &str, by: u32, name: &str) -> bool {
        let made = self.made(at);
        self.commit_as(at, by, name, 1, Ok(made), None)
    }

    fn commit_as(
        &mut self,
        at: &str,
        by: u32,
        name: &str,
        class: u8,
        makes: Result<Made, Blocked>,
        since: Option<&str>,
    ) -> bool {
        let since = since.map(epoch);
        self.say(Message::Commit { at: epoch(at), by, name: name.into(), class, makes, since })
    }

    fn vote(&mut self, at: &str, by: u32, name: &str) -> bool {
        self.say(Message::Vote { at: epoch(at), by, child: commit(name), since: None })
    }

    fn ack(&mut self, at: &str, by: u32, since: Option<&str>) -> bool {
        self.say(Message::Ack { at: epoch(at), by, since: since.map(epoch) })
    }

    /// Nobody can produce a child.
    fn write_off(&mut self, at: &str, name: &str) {
        self.history.epoch_mut(&epoch(at)).unwrap().written_off.insert(commit(name));
        self.reference.written_off.insert((epoch(at), commit(name)));
        self.check();
    }

    fn decision(&self, at: &str) -> Decision {
        self.history.epoch(&epoch(at)).unwrap().decision()
    }

    fn weights(&self, at: &str) -> Vec<(String, usize)> {
        let name = |id: &CommitId| String::from_utf8(id.as_slice().to_vec()).unwrap();
        self.decision(at).ranked.iter().map(|child| (name(&child.commit), child.weight)).collect()
    }

    fn named(&self, at: &str, name: &str) -> LeafSet {
        self.history.epoch(&epoch(at)).unwrap().named.get(&commit(name)).cloned().unwrap_or_default()
    }

    fn head(&self) -> Head {
        self.history.head()
    }
}

fn inside(name: &str) -> Head {
    Head { epoch: epoch(name), outside: None }
}

fn outside(at: &str, name: &str, why: Blocked) -> Head {
    Head { epoch: epoch(at), outside: Some((commit(name), why)) }
}

fn ranking<const N: usize>(expected: [(&str, usize); N]) -> Vec<(String, usize)> {
    expected.into_iter().map(|(name, weight)| (name.into(), weight)).collect()
}
