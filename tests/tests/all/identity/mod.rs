//! Who is who: self-certifying credentials, certificates, and what the authentication service decides and does not.

mod certificates;
mod members;
mod services;

use dmls_core::group::{Client, MemoryStore, Store};
use dmls_core::suite::{CipherSuite, SignaturePrivateKey, SignaturePublicKey};
use dmls_core::tree::Credential;
use dmls_tests::World;

pub(crate) use certificates::{Authority, Holder};

/// An hour of 2027, when every world begins; Unix seconds.
pub(crate) const NOW: u64 = 1_800_000_000;

/// A key pair of a suite.
pub(crate) fn key_pair(world: &mut World, suite: CipherSuite) -> (SignaturePrivateKey, SignaturePublicKey) {
    suite.suite().expect("a known suite").signature().generate(&mut world.rng)
}

/// Gives a client of the world, which is in no group yet, another identity.
pub(crate) fn replace(world: &mut World, place: usize, credential: Credential, key: SignaturePrivateKey) {
    let suite = world.peers[place].client.suite();
    let (client, changes) = Client::with_credential(suite, credential, key).expect("a client");
    let mut store = MemoryStore::default();
    store.apply(&changes).expect("memory");
    (world.peers[place].client, world.peers[place].store) = (client, store);
}
