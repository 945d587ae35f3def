//! Memory that holds secrets.

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// The leaf node that an evaluation gives: as long as a node of its tree.
///
/// Wiped on drop, compared in constant time, without `Debug`.
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes of the leaf. They stay secret: whoever copies them has to wipe the copy.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl ConstantTimeEq for Secret {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.as_bytes().ct_eq(other.as_bytes())
    }
}

/// Room for one node on its way down a tree: it lives in place, so a walk allocates nothing.
pub(crate) fn scratch() -> Zeroizing<[u8; 64]> {
    Zeroizing::new([0; 64])
}
