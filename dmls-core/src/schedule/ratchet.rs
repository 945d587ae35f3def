//! Symmetric ratchets (RFC 9420 9.1): the keys of one sender for one type of message.

use std::collections::BTreeMap;
use std::sync::Arc;

use pprf::ShapeError;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::suite::{CryptoError, NONCE_LEN, Secret, Suite};

/// Which ratchet of a leaf (RFC 9420 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RatchetType {
    /// Proposals and commits.
    Handshake,
    /// Application messages.
    Application,
}

impl RatchetType {
    /// The label that a leaf's first ratchet secret is derived with.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Application => "application",
        }
    }
}

/// How far from the next expected generation a receiving ratchet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// How many generations ahead of the next expected one are accepted. Each skipped one costs a stored key.
    pub forward: u32,
    /// How many generations before the next expected one stay readable.
    pub back: u32,
}

impl Default for Windows {
    /// 1000 forward, 100 back (DESIGN 4.5).
    fn default() -> Self {
        Self { forward: 1000, back: 100 }
    }
}

/// Generations of handshake keys that are retained (DESIGN 4.4): those below this are valid in a DMLS group.
pub const RETAINED_GENERATIONS: u32 = 1024;

/// Why there is no key for a generation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RatchetError {
    /// The generation is beyond the forward window; it can be taken once those before it have come.
    #[error("Generation {generation} is too far ahead of {next}, the next one expected.")]
    TooFarAhead {
        /// The generation that was asked for.
        generation: u32,
        /// The next generation that is expected.
        next: u32,
    },
    /// The generation is behind the backward window, so its key has been deleted, used or not.
    #[error("Generation {0} is so old that its key has been deleted.")]
    TooOld(u32),
    /// The generation's key has been used, and so deleted.
    #[error("The key of generation {0} has been used.")]
    AlreadyUsed(u32),
    /// The ratchet has no generation after this one.
    #[error("The generations of this ratchet are used up.")]
    GenerationOverflow,
    /// Handshake generations of 1024 and above are invalid in a DMLS group (DESIGN 4.4).
    #[error("Handshake generation {0} is not below 1024.")]
    HandshakeGeneration(u32),
    /// The leaf's keys of this type have been deleted.
    #[error("The keys of this leaf have been deleted.")]
    Deleted,
    /// The leaf is not one of this tree.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A derivation failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// A key and its nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AeadKeys {
    /// The AEAD's key, Nk bytes.
    pub key: Secret,
    /// The nonce, Nn bytes, without a reuse guard.
    pub nonce: Secret,
}

impl AeadKeys {
    /// The nonce with its first bytes XORed with the reuse guard (RFC 9420 6.3.1).
    #[must_use]
    pub fn guarded_nonce(&self, reuse_guard: [u8; 4]) -> Secret {
        let guard = reuse_guard.into_iter().chain(std::iter::repeat(0));
        self.nonce.as_slice().iter().zip(guard).map(|(nonce, guard)| nonce ^ guard).collect::<Vec<_>>().into()
    }

    fn derive(suite: Suite, secret: &Secret, generation: u32) -> Result<Self, CryptoError> {
        Ok(Self {
            key: suite.derive_tree_secret(secret, "key", generation, suite.aead().key_len())?,
            nonce: suite.derive_tree_secret(secret, "nonce", generation, NONCE_LEN)?,
        })
    }

    fn secret_bytes(&self) -> usize {
        self.key.len() + self.nonce.len()
    }
}

/// The keys of an own message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnKeys {
    /// The generation, as the sender data names it.
    pub generation: u32,
    /// Its key and nonce. They are given out once.
    pub keys: AeadKeys,
}

/// The ratchet secret of the generation after this one.
fn step(suite: Suite, secret: &Secret, generation: u32) -> Result<Secret, CryptoError> {
    suite.derive_tree_secret(secret, "secret", generation, suite.nh())
}

/// The keys of `generation`, from the ratchet secret of generation `from`, which is not above it.
fn keys_at(suite: Suite, secret: &Secret, from: u32, generation: u32) -> Result<AeadKeys, CryptoError> {
    let mut current = secret.clone();
    for at in from..generation {
        current = step(suite, &current, at)?;
    }
    AeadKeys::derive(suite, &current, generation)
}

/// A ratchet whose keys are used once (RFC 9420 9.2).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ratchet {
    /// The ratchet secret of generation `next`.
    secret: Secret,
    /// The first generation of which nothing has been derived.
    next: u32,
    /// Below this generation every key has been deleted.
    floor: u32,
    /// Keys of generations that were passed over. Shared by clones of the state, wiped with the last of them.
    skipped: BTreeMap<u32, Arc<AeadKeys>>,
}

impl Ratchet {
    pub(super) fn new(secret: Secret) -> Self {
        Self { secret, next: 0, floor: 0, skipped: BTreeMap::new() }
    }

    /// The generation that [`Ratchet::next_own`] would use.
    pub(super) fn next_generation(&self) -> u32 {
        self.next
    }

    /// The keys of a generation. Changes nothing.
    pub(super) fn peek(
        &self,
        suite: Suite,
        generation: u32,
        windows: Windows,
    ) -> Result<AeadKeys, RatchetError> {
        if generation >= self.next {
            self.check_ahead(generation, windows)?;
            return Ok(keys_at(suite, &self.secret, self.next, generation)?);
        }
        self.check_behind(generation, windows)?;
        let keys = self.skipped.get(&generation).ok_or(RatchetError::AlreadyUsed(generation))?;
        Ok(keys.as_ref().clone())
    }

    /// Deletes the key of a generation, and keeps those that it passes over.
    pub(super) fn consume(
        &mut self,
        suite: Suite,
        generation: u32,
        windows: Windows,
    ) -> Result<(), RatchetError> {
        if generation < self.next {
            self.check_behind(generation, windows)?;
            return match self.skipped.remove(&generation) {
                Some(_) => Ok(()),
                None => Err(RatchetError::AlreadyUsed(generation)),
            };
        }
        self.check_ahead(generation, windows)?;
        // Derive all before changing anything: a failure leaves the ratchet as it was.
        let oldest = (generation + 1).saturating_sub(windows.back);
        let mut secret = self.secret.clone();
        let mut skipped = Vec::new();
        for at in self.next..generation {
            if at >= oldest {
                skipped.push((at, Arc::new(AeadKeys::derive(suite, &secret, at)?)));
            }
            secret = step(suite, &secret, at)?;
        }
        self.secret = step(suite, &secret, generation)?;
        self.skipped.extend(skipped);
        self.next = generation + 1;
        self.trim(windows);
        Ok(())
    }

    /// The keys of the next own message; they are not given out again.
    pub(super) fn next_own(&mut self, suite: Suite) -> Result<OwnKeys, RatchetError> {
        let generation = self.next;
        if generation == u32::MAX {
            return Err(RatchetError::GenerationOverflow);
        }
        let keys = AeadKeys::derive(suite, &self.secret, generation)?;
        self.secret = step(suite, &self.secret, generation)?;
        self.next = generation + 1;
        Ok(OwnKeys { generation, keys })
    }

    /// Whether there is a key behind the backward window.
    pub(super) fn has_older_than(&self, windows: Windows) -> bool {
        let oldest = self.next.saturating_sub(windows.back);
        self.skipped.first_key_value().is_some_and(|(generation, _)| *generation < oldest)
    }

    /// Deletes the keys behind the backward window.
    pub(super) fn trim(&mut self, windows: Windows) {
        let oldest = self.next.saturating_sub(windows.back);
        if oldest > self.floor {
            self.floor = oldest;
            self.skipped = self.skipped.split_off(&oldest);
        }
    }

    /// Bytes of secrets that are held.
    pub(super) fn secret_bytes(&self) -> usize {
        self.secret.len() + self.skipped.values().map(|keys| keys.secret_bytes()).sum::<usize>()
    }

    fn check_ahead(&self, generation: u32, windows: Windows) -> Result<(), RatchetError> {
        match generation {
            u32::MAX => Err(RatchetError::GenerationOverflow),
            _ if generation - self.next > windows.forward => {
                Err(RatchetError::TooFarAhead { generation, next: self.next })
            }
            _ => Ok(()),
        }
    }

    fn check_behind(&self, generation: u32, windows: Windows) -> Result<(), RatchetError> {
        let too_old = generation < self.floor || self.next - generation > windows.back;
        if too_old { Err(RatchetError::TooOld(generation)) } else { Ok(()) }
    }
}

/// A ratchet whose keys are not consumed (DESIGN 4.4): it keeps the secret of generation 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RetainedRatchet {
    /// The ratchet secret of generation 0.
    first: Secret,
    /// The generation of the next own message: own generations do advance, or a nonce would be used twice.
    next_own: u32,
}

impl RetainedRatchet {
    pub(super) fn new(first: Secret) -> Self {
        Self { first, next_own: 0 }
    }

    /// The generation that [`RetainedRatchet::next_own`] would use.
    pub(super) fn next_generation(&self) -> u32 {
        self.next_own
    }

    /// The keys of a generation below [`RETAINED_GENERATIONS`].
    pub(super) fn peek(&self, suite: Suite, generation: u32) -> Result<AeadKeys, RatchetError> {
        if generation >= RETAINED_GENERATIONS {
            return Err(RatchetError::HandshakeGeneration(generation));
        }
        Ok(keys_at(suite, &self.first, 0, generation)?)
    }

    /// The keys of the next own message; they are not given out again for sending.
    pub(super) fn next_own(&mut self, suite: Suite) -> Result<OwnKeys, RatchetError> {
        let generation = self.next_own;
        let keys = self.peek(suite, generation)?;
        self.next_own = generation + 1;
        Ok(OwnKeys { generation, keys })
    }

    /// Bytes of secrets that are held.
    pub(super) fn secret_bytes(&self) -> usize {
        self.first.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::CipherSuite;

    fn suite() -> Suite {
        CipherSuite::X25519_AES128GCM.suite().unwrap()
    }

    fn ratchet() -> Ratchet {
        Ratchet::new(Secret::from(vec![7; 32]))
    }

    /// Takes one key, as a received message does.
    fn take(ratchet: &mut Ratchet, generation: u32, windows: Windows) -> Result<AeadKeys, RatchetError> {
        let keys = ratchet.peek(suite(), generation, windows)?;
        ratchet.consume(suite(), generation, windows)?;
        Ok(keys)
    }

    #[test]
    fn keys_are_the_same_in_every_order_and_used_once() {
        let windows = Windows::default();
        let mut sender = ratchet();
        let sent: Vec<_> = (0..6).map(|_| sender.next_own(suite()).unwrap()).collect();
        let mut receiver = ratchet();
        for generation in [3, 0, 5, 1, 4, 2] {
            let keys = take(&mut receiver, generation, windows).unwrap();
            assert_eq!(sent[generation as usize].generation, generation);
            assert_eq!(keys, sent[generation as usize].keys);
            let again = Err(RatchetError::AlreadyUsed(generation));
            assert_eq!(receiver.peek(suite(), generation, windows), again);
            assert_eq!(receiver.consume(suite(), generation, windows).map(|()| keys), again);
        }
        assert!(receiver.skipped.is_empty());
        assert_eq!(receiver.secret_bytes(), 32);
    }

    #[test]
    fn peeking_changes_nothing() {
        let windows = Windows::default();
        let receiver = ratchet();
        let before = format!("{:?}", (receiver.next, receiver.floor, receiver.skipped.len()));
        let first = receiver.peek(suite(), 900, windows).unwrap();
        assert_eq!(receiver.peek(suite(), 900, windows).unwrap(), first);
        assert_eq!(receiver.secret, ratchet().secret);
        assert_eq!(format!("{:?}", (receiver.next, receiver.floor, receiver.skipped.len())), before);
    }

    #[test]
    fn windows_hold_to_the_generation() {
        let windows = Windows { forward: 10, back: 4 };
        let mut receiver = ratchet();
        let ahead = Err(RatchetError::TooFarAhead { generation: 11, next: 0 });
        assert_eq!(take(&mut receiver, 11, windows), ahead);
        take(&mut receiver, 10, windows).unwrap();
        assert_eq!(receiver.skipped.keys().copied().collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!(take(&mut receiver, 6, windows), Err(RatchetError::TooOld(6)));
        // Control: a wider window from the start keeps it.
        let wide = Windows { forward: 10, back: 5 };
        let mut control = ratchet();
        take(&mut control, 10, wide).unwrap();
        take(&mut control, 6, wide).unwrap();
        // A wider window later brings no deleted key back.
        assert_eq!(take(&mut receiver, 6, wide), Err(RatchetError::TooOld(6)));
        take(&mut receiver, 7, windows).unwrap();
        take(&mut receiver, 11, windows).unwrap();
        assert_eq!(take(&mut receiver, 7, windows), Err(RatchetError::TooOld(7)));
        assert_eq!(take(&mut receiver, 10, windows), Err(RatchetError::AlreadyUsed(10)));
        // A narrower window hides at once what trimming then deletes.
        let narrow = Windows { forward: 10, back: 3 };
        assert_eq!(receiver.peek(suite(), 8, narrow), Err(RatchetError::TooOld(8)));
        receiver.peek(suite(), 8, windows).unwrap();
        receiver.trim(narrow);
        assert_eq!(receiver.peek(suite(), 8, windows), Err(RatchetError::TooOld(8)));
        receiver.peek(suite(), 9, windows).unwrap();
    }

    #[test]
    fn generations_end_with_an_error() {
        let windows = Windows::default();
        let mut at_end = Ratchet { next: u32::MAX - 1, ..ratchet() };
        assert_eq!(take(&mut at_end, u32::MAX, windows), Err(RatchetError::GenerationOverflow));
        assert_eq!(at_end.next_own(suite()).unwrap().generation, u32::MAX - 1);
        assert_eq!(at_end.next_own(suite()), Err(RatchetError::GenerationOverflow));
        assert_eq!(take(&mut at_end, u32::MAX, windows), Err(RatchetError::GenerationOverflow));

        let mut retained = RetainedRatchet { next_own: 1023, ..RetainedRatchet::new(Secret::zero(32)) };
        assert_eq!(retained.next_own(suite()).unwrap().generation, 1023);
        assert_eq!(retained.next_own(suite()), Err(RatchetError::HandshakeGeneration(1024)));
        assert_eq!(retained.peek(suite(), 1024), Err(RatchetError::HandshakeGeneration(1024)));
        retained.peek(suite(), 1023).unwrap();
    }

    #[test]
    fn retained_keys_are_those_of_the_plain_ratchet() {
        let retained = RetainedRatchet::new(Secret::from(vec![7; 32]));
        for generation in [0, 1, 63, 1000] {
            let plain = ratchet().peek(suite(), generation, Windows::default()).unwrap();
            assert_eq!(retained.peek(suite(), generation).unwrap(), plain);
        }
    }

    #[test]
    fn the_reuse_guard_covers_the_first_four_bytes() {
        let keys = AeadKeys { key: Secret::zero(16), nonce: Secret::from((0..12).collect::<Vec<u8>>()) };
        let guarded = keys.guarded_nonce([0xff, 0, 0x0f, 0x80]);
        assert_eq!(guarded.as_slice(), &[0xff, 1, 0x0d, 0x83, 4, 5, 6, 7, 8, 9, 10, 11]);
    }
}
