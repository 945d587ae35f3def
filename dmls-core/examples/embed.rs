//! Embedding the core: two members in memory, a store each, no network. The host carries bytes; the core does the rest.
//!
//! `cargo run -p dmls-core --example embed`

use std::error::Error;

use dmls_core::framing::DmlsProfile;
use dmls_core::group::{
    Client, Disposition, Effect, Event, Group, GroupId, GroupOptions, Input, MemoryStore, Step, Store,
};
use dmls_core::suite::CipherSuite;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// Stores a step first, then moves the group on; what is left to do comes back.
fn take(
    step: Step,
    store: &mut MemoryStore,
    group: &mut Group,
) -> Result<(Option<Disposition>, Vec<Effect>), Box<dyn Error>> {
    Ok(step.commit(store, group)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    // A host passes in its operating system's RNG and its clock; the core has neither.
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let now_ms = 1_800_000_000_000;
    let options = GroupOptions::default();

    let (alice, changes) = Client::new(CipherSuite::X25519_AES128GCM, b"alice", &mut rng)?;
    let mut alice_store = MemoryStore::default();
    alice_store.apply(&changes)?;
    let (bob, changes) = Client::new(CipherSuite::X25519_AES128GCM, b"bob", &mut rng)?;
    let mut bob_store = MemoryStore::default();
    bob_store.apply(&changes)?;

    // Alice begins a group; Bob hands her a key package.
    let id = GroupId(b"weekend plans".to_vec().into());
    let step = alice.create_group(id, &DmlsProfile::default(), &options, now_ms, &mut rng)?;
    let mut alice_group = step.group.clone();
    take(step, &mut alice_store, &mut alice_group)?;
    let key_package = bob.key_package(&options, now_ms, &mut rng)?;
    bob_store.apply(&key_package.changes)?;

    // She invites him: the commit goes to the group, the Welcome to him.
    let step = alice_group.invite(&[key_package.bytes], now_ms, &mut rng)?;
    let (_, effects) = take(step, &mut alice_store, &mut alice_group)?;
    let welcome = effects.iter().find_map(|effect| match effect {
        Effect::Welcome { bytes, .. } => Some(bytes),
        _ => None,
    });
    let welcome = welcome.ok_or("an invitation makes a Welcome")?;
    let step = bob.join(&bob_store, welcome, &options, now_ms, &mut rng)?;
    let mut bob_group = step.group.clone();
    take(step, &mut bob_store, &mut bob_group)?;

    // He says something; the bytes may reach her late, twice, or out of order.
    let step = bob_group.send(b"the lake, on Saturday?", now_ms, &mut rng)?;
    let (_, effects) = take(step, &mut bob_store, &mut bob_group)?;
    for effect in effects {
        let Effect::Publish { bytes, .. } = effect else { continue };
        for _ in 0..2 {
            let step = alice_group.handle(Input::Message(&bytes), now_ms, &mut rng);
            let (disposition, effects) = take(step, &mut alice_store, &mut alice_group)?;
            println!("alice: {disposition:?}");
            for effect in effects {
                if let Effect::Event(Event::Message { payload, .. }) = effect {
                    println!("alice reads: {}", String::from_utf8_lossy(&payload));
                }
            }
        }
    }
    let (alice_view, bob_view) = (alice_group.view(), bob_group.view());
    let same =
        alice_view.map(|view| view.epoch_authenticator) == bob_view.map(|view| view.epoch_authenticator);
    println!("one epoch, one authenticator: {same}");
    Ok(())
}
