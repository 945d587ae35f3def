//! The fork choice and merging, exhaustively at small scope. What is checked is the production [`History`]; what the
//! tests add is who says what, and in which order it arrives.

mod carried;
mod changes;
mod delivery;
mod healing;
mod honest;
mod sets;

use changes::Change;

use dmls_core::history::{Child, History, HistoryEpoch, HistoryError, LeafSet, Member, Summary};
use dmls_core::schedule::{CommitId, EpochId};
use dmls_core::tree::{Credential, LeafIndex};

/// What a handshake message says, as far as the fork choice is concerned. A commit "pa" on "p" makes the epoch "pa".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Says {
    Commit(String),
    /// A commit that adds, removes or merges.
    Change(Change),
    Vote(String),
    Ack,
}

/// A handshake message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Message {
    at: String,
    by: u32,
    says: Says,
    since: Option<String>,
}

impl Message {
    fn new(at: &str, by: u32, says: Says) -> Self {
        Self { at: at.into(), by, says, since: None }
    }
}

fn epoch_id(name: &str) -> EpochId {
    EpochId(name.as_bytes().to_vec().into())
}

fn commit_id(name: &str) -> CommitId {
    CommitId(name.as_bytes().to_vec().into())
}

fn name_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("a name")
}

/// The group as it was at "p": its epoch number decides whose turn a tie is.
fn anchor(number: u64, members: u32) -> History {
    let electors: LeafSet = (0..members).map(LeafIndex).collect();
    History::new(epoch_id("p"), HistoryEpoch::new(None, number, members, electors, LeafSet::default()))
}

fn child(by: u32, epoch: EpochId) -> Child {
    let committer =
        Member { leaf: LeafIndex(by), credential: Credential::basic(b"member"), fingerprint: [7; 32] };
    Child {
        committer: LeafIndex(by),
        class: 1,
        summary: Summary { committer, deeds: Vec::new(), merge: None },
        outcome: Ok(epoch),
    }
}

/// Hands a message to the history. [`HistoryError::UnknownEpoch`] if it has to wait for its epoch.
fn record(history: &mut History, message: &Message) -> Result<(), HistoryError> {
    let (at, since) = (epoch_id(&message.at), message.since.as_deref().map(epoch_id));
    let by = LeafIndex(message.by);
    match &message.says {
        Says::Commit(name) => {
            let parent = history.epoch(&at).ok_or(HistoryError::UnknownEpoch)?;
            let link = Some((at.clone(), commit_id(name)));
            let (number, electors) = (parent.number + 1, parent.electors.clone());
            let made = HistoryEpoch::new(link, number, parent.width, electors, LeafSet::default());
            let child = child(message.by, epoch_id(name));
            history.record_commit(&at, commit_id(name), child, Some(made), since.as_ref())
        }
        Says::Change(change) => changes::record_change(history, &at, message.by, change, since.as_ref()),
        Says::Vote(name) => history.record_vote(&at, by, &commit_id(name), since.as_ref()).map(|_| ()),
        Says::Ack => history.record_handshake(&at, by, since.as_ref()).map(|_| ()),
    }
}

/// A larger scope: `DMLS_MODEL=1`. It takes minutes.
fn large() -> bool {
    std::env::var_os("DMLS_MODEL").is_some()
}
