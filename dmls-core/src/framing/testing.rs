//! What the tests of this layer and of those above share.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};

use crate::suite::CipherSuite;
use crate::tree::{Capabilities, CredentialType, ExtensionType, ProposalType, ProtocolVersion};

/// A seeded generator: hashes of a counter.
pub(crate) struct TestRng {
    seed: u64,
    counter: u64,
}

/// The generator of a seed.
pub(crate) fn rng(seed: u64) -> TestRng {
    TestRng { seed, counter: 0 }
}

impl TestRng {
    fn block(&mut self) -> [u8; 32] {
        self.counter += 1;
        Sha256::digest([self.seed.to_be_bytes(), self.counter.to_be_bytes()].concat()).into()
    }
}

impl TryRng for TestRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_be_bytes(*self.block().first_chunk().unwrap()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_be_bytes(*self.block().first_chunk().unwrap()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(32) {
            chunk.copy_from_slice(&self.block()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for TestRng {}

/// What a test client supports: everything of this build.
pub(crate) fn capabilities() -> Capabilities {
    Capabilities {
        versions: vec![ProtocolVersion::MLS10],
        cipher_suites: CipherSuite::supported().collect(),
        extensions: vec![ExtensionType::DMLS_PROFILE],
        proposals: vec![ProposalType::DMLS_META],
        credentials: vec![CredentialType::BASIC, CredentialType::X509],
    }
}
