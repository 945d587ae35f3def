//! What peers say to each other below MLS: frames of the synchronisation protocol, and set reconciliation. The modules
//! are those of `gossip/`, without the network around them, whose build takes longer than a short run.

#[allow(dead_code, unreachable_pub)]
#[path = "../../../gossip/src/reconcile.rs"]
mod reconcile;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../gossip/src/store.rs"]
pub(crate) mod store;
#[allow(dead_code, unreachable_pub)]
#[path = "../../../gossip/src/wire.rs"]
mod wire;

use std::cell::OnceCell;

use crate::{MemoryStore, Topic};
use reconcile::Snapshot;
use wire::{Live, Request, Response};

/// Bytes that an answer may have.
const FRAME: usize = 4096;
/// Bytes by which one range that is never split may exceed that.
const SLACK: usize = 4096;
const TOPIC: Topic = Topic([7; 32]);

thread_local! {
    static SNAPSHOT: OnceCell<Snapshot> = const { OnceCell::new() };
}

/// Two hundred messages of a store.
fn snapshot() -> Snapshot {
    let store = MemoryStore::new();
    for n in 0..200_u64 {
        store.insert(TOPIC, n / 9, n.to_be_bytes().to_vec());
    }
    Snapshot::take(&store, &TOPIC, 0, 1000).expect("a snapshot")
}

/// Judges an input. The first byte chooses what reads it.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    let one_encoding = |again: Vec<u8>| assert!(again == bytes, "another encoding was accepted");
    match kind {
        0 => Request::decode(bytes).into_iter().for_each(|request| one_encoding(request.encode())),
        1 => Response::decode(bytes).into_iter().for_each(|response| one_encoding(response.encode())),
        2 => Live::decode(bytes).into_iter().for_each(|live| one_encoding(live.encode())),
        3 => SNAPSHOT.with(|once| {
            let snapshot = once.get_or_init(snapshot);
            if let Ok(answer) = snapshot.answer(bytes, FRAME) {
                assert!(answer.len() <= FRAME + SLACK, "an answer of {} bytes", answer.len());
            }
            if let Ok(step) = snapshot.advance(bytes, FRAME) {
                assert!(step.missing.len() * 32 <= bytes.len(), "more is missing than was named");
                let next = step.next.map_or(0, |frame| frame.len());
                assert!(next <= FRAME + SLACK, "a question of {next} bytes");
            }
        }),
        _ => {}
    }
}
