//! Who names two children of one epoch is shown to have done so, and nobody else is.

mod kept;
mod proofs;
mod statements;

use dmls_core::framing::{EquivocationProof, verify_equivocation};
use dmls_core::group::{Effect, Event, Group, Input, MemoryStore, ProofView, Step};
use dmls_core::suite::SignaturePublicKey;
use dmls_tests::{Insider, World};

use crate::attack::insider;

/// Bytes that a step would publish.
fn published(step: &Step) -> Vec<Vec<u8>> {
    let bytes = |effect: &Effect| match effect {
        Effect::Publish { bytes, .. } => Some(bytes.clone()),
        _ => None,
    };
    step.effects.iter().filter_map(bytes).collect()
}

/// Two commits of one client on its head, from the same state.
fn two_commits(world: &mut World, by: usize) -> [Vec<u8>; 2] {
    let group: Group = world.peers[by].group().clone();
    [(); 2].map(|()| {
        let step = group.refresh(world.now, &mut world.rng).expect("a commit");
        published(&step).pop().expect("a message")
    })
}

/// Hands messages to a copy of a client, looks for proofs as a host does, and says what it has learnt.
fn tell(world: &mut World, to: usize, messages: &[Vec<u8>]) -> (Group, Vec<Event>) {
    let (mut group, mut store) = (world.peers[to].group().clone(), world.peers[to].store.clone());
    let mut events = Vec::new();
    for bytes in messages {
        let step = group.handle(Input::Message(bytes), world.now, &mut world.rng);
        events.extend(take(step, &mut store, &mut group));
    }
    let step = group.prove(&store).expect("memory");
    events.extend(take(step, &mut store, &mut group));
    (group, events)
}

fn take(step: Step, store: &mut MemoryStore, group: &mut Group) -> Vec<Event> {
    let (_, effects) = step.commit(store, group).expect("memory");
    let event = |effect| match effect {
        Effect::Event(event) => Some(event),
        _ => None,
    };
    effects.into_iter().filter_map(event).collect()
}

fn equivocations(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Equivocation { .. })).count()
}

fn proved(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::EquivocationProved { .. })).count()
}

fn proofs(group: &Group) -> Vec<ProofView> {
    group.view().expect("a head").proofs
}

/// The signature key of a client, as it is in its head.
fn key_of(world: &World, place: usize) -> SignaturePublicKey {
    let own = insider(world, place, &world.peers[place].group().head().clone());
    key(&own)
}

fn key(own: &Insider) -> SignaturePublicKey {
    own.epoch.leaf(own.epoch.own_leaf()).expect("a leaf").signature_key.clone()
}

/// A proof that a group has, read and verified without the group.
fn verified(group: &Group, view: &ProofView, key: &SignaturePublicKey) -> EquivocationProof {
    let bytes = group.proof(&view.id).expect("a proof").bytes.clone();
    verify_equivocation(bytes.as_slice(), key).expect("a good proof")
}
