//! The node's own records.

use dmls_gossip::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

/// The longest name of a person or a group, in bytes of UTF-8.
pub const MAX_NAME: usize = 64;

/// A peer to connect to. Key: its peer id in base58.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// What this node calls it; may be empty.
    pub name: String,
    /// Multiaddresses without peer id.
    pub addresses: Vec<String>,
    /// SHA-256 of its signature public key, if a ticket said so.
    pub fingerprint: Option<[u8; 32]>,
}

/// An application message, delivered or sent. Key: the group's prefix and `seq`, big-endian.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRecord {
    /// Its place among all events of this node.
    pub seq: u64,
    /// Its id: SHA-256 of the ciphertext.
    pub id: [u8; 32],
    /// The epoch in which it was sent.
    pub epoch: Vec<u8>,
    /// The sender's name.
    pub sender: String,
    /// SHA-256 of the sender's signature public key.
    pub fingerprint: [u8; 32],
    /// Whether this node sent it.
    pub own: bool,
    /// Whether its epoch was the head or an ancestor of it on arrival.
    pub on_head: bool,
    /// Whether its sender owed a refresh on arrival, having come over from a branch that lost.
    pub unhealed: bool,
    /// When it arrived here, Unix milliseconds.
    pub at_ms: u64,
    /// What it says.
    pub payload: Vec<u8>,
}

/// What became of a key package that was handed out. Key: its reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Who got it: peer id in base58.
    pub peer: String,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// SHA-256 of the Welcome that came for it, once one has.
    pub welcome: Option<[u8; 32]>,
    /// Whether that Welcome was used: the key package is gone.
    pub used: bool,
}

/// A Welcome that waits for the user. Key: the key package's reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Who delivered it: peer id in base58.
    pub from: String,
    /// What the inviter calls the group.
    pub name: String,
    /// An `MLSMessage` with a Welcome.
    pub welcome: Vec<u8>,
    /// Peers that may have the group's messages.
    pub contacts: Vec<Contact>,
    /// When it came, Unix milliseconds.
    pub at_ms: u64,
}

/// Where a peer may be found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Peer id in base58.
    pub peer: String,
    /// Multiaddresses without peer id.
    pub addresses: Vec<String>,
}

impl Contact {
    /// The peer id and the addresses that are some; `None` if the peer id is none.
    pub fn parsed(&self) -> Option<(PeerId, Vec<Multiaddr>)> {
        let addresses = self.addresses.iter().filter_map(|address| address.parse().ok()).collect();
        Some((self.peer.parse().ok()?, addresses))
    }
}

/// To whom a Welcome goes. Key: the group's prefix and the key package's reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The new member.
    pub to: Contact,
    /// What this node calls the group.
    pub name: String,
}

/// Whether a character can make a terminal show something else than what is there: control characters, line and
/// paragraph separators, and those that turn the direction of text.
pub fn deceives(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Cuts `name` to what is shown and stored: nothing that [`deceives`], at most [`MAX_NAME`] bytes.
pub fn clean_name(name: &str) -> String {
    let mut clean = String::new();
    for c in name.trim().chars().filter(|c| !deceives(*c)) {
        if clean.len() + c.len_utf8() > MAX_NAME {
            break;
        }
        clean.push(c);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_cleaned() {
        assert_eq!(clean_name("  a\u{1b}[31mb\n "), "a[31mb");
        assert_eq!(clean_name("ann\u{202e}nna\u{2066}"), "annnna");
        assert_eq!(clean_name(&"é".repeat(100)).len(), MAX_NAME);
        assert_eq!(clean_name(&format!("{}é", "x".repeat(MAX_NAME - 1))).len(), MAX_NAME - 1);
    }
}
