#![forbid(unsafe_code)]
//! A puncturable pseudorandom function on a GGM tree.
//!
//! The function is a binary tree of depth `d`. Its root is a secret, a [`Derivation`] gives the two children of a node,
//! and the value at an input of `d` bits is the leaf that the input leads to, most significant bit first, 0 to the
//! left. *Puncturing* an input replaces the stored node above that leaf by the siblings of the way down: every other
//! input can still be evaluated, and that one never again.
//!
//! # What it guarantees
//!
//! - Evaluating changes nothing, and fails only because the input is punctured ([`Punctured`]). What could be wrong
//!   with an input or a derivation is found earlier, by [`Pprf::at`] and [`Pprf::at_mut`] ([`ShapeError`]).
//! - The set of punctured inputs only grows: there is no call that un-punctures. Puncturing again changes nothing.
//! - The state depends on the root and on the set of punctured inputs, never on their order; its encoding is canonical
//!   ([`Pprf::to_bytes`] has the format).
//! - Nodes are wiped when they are punctured and dropped, have no `Debug`, and compare in constant time. Clones share
//!   nodes until they diverge, so a node that one clone has punctured is wiped when the last clone that may still use
//!   it punctures it too or is dropped.
//! - `n` stored nodes cost `n` times their size plus the punctured inputs: where a node belongs follows from these.
//!   Every operation takes `O(d + log p)` steps for `p` punctured inputs, of which at most `d` derivations.
//!
//! # What it does not do
//!
//! It hides neither the inputs nor which of them are punctured: only the values of nodes are secret, and running time
//! depends on everything else. It draws no randomness, and has no opinion on what a leaf is used for.
//!
//! # How to drive it
//!
//! ```
//! use pprf::{Hash, HmacDerivation, NodeSize, Pprf};
//!
//! let derivation = HmacDerivation::new(Hash::Sha256, b"left", b"right");
//! let mut tree = Pprf::new(NodeSize::N32, 256, &[7; 32])?;
//! let x = [0xa5; 32];
//!
//! let value = tree.at(&derivation, &x)?.eval()?;                    // as often as needed
//! let again = tree.at_mut(&derivation, &x)?.eval_and_puncture()?;   // once
//! assert_eq!(value.as_bytes(), again.as_bytes());
//! assert!(tree.at(&derivation, &x)?.eval().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A tree over leaf indices, such as the secret tree of RFC 9420 9, is made with [`Pprf::for_leaves`] and addressed with
//! [`Pprf::at_leaf`] and [`Pprf::at_leaf_mut`].

mod bits;
mod codec;
mod derivation;
mod hmac;
mod secret;
mod shape;
mod tree;

pub use codec::DecodeError;
pub use derivation::{Derivation, Side};
pub use hmac::{Hash, HmacDerivation};
pub use secret::Secret;
pub use shape::{MAX_DEPTH, NodeSize, ShapeError, depth_for_leaves};
pub use tree::{Point, PointMut, Pprf, Punctured};
