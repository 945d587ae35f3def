//! The children of a tree node, shared by the secret tree (RFC 9420 9) and the init PPRF (DESIGN 4.3).

use pprf::{Hash, HmacDerivation, NodeSize};

use crate::suite::{CryptoError, Suite};

/// `left = ExpandWithLabel(node, "tree", "left", Nh)`, `right` likewise.
///
/// # Errors
/// [`CryptoError::BadLength`] for a suite whose hashes are of no SHA-2 length.
pub(super) fn tree_derivation(suite: Suite) -> Result<HmacDerivation, CryptoError> {
    // All suites of RFC 9420 17.1 use HKDF with the SHA-2 function of their Nh; the test below checks each of this build.
    let hash = match node_size(suite)? {
        NodeSize::N32 => Hash::Sha256,
        NodeSize::N48 => Hash::Sha384,
        NodeSize::N64 => Hash::Sha512,
    };
    let info = |side: &[u8]| suite.kdf_label("tree", side, suite.nh());
    Ok(HmacDerivation::new(hash, &info(b"left")?, &info(b"right")?))
}

/// Nh as the length of a tree's nodes.
pub(super) fn node_size(suite: Suite) -> Result<NodeSize, CryptoError> {
    NodeSize::from_bytes(suite.nh()).ok_or(CryptoError::BadLength)
}

#[cfg(test)]
mod tests {
    use pprf::{Derivation, Side};

    use super::*;
    use crate::suite::{CipherSuite, Secret};

    #[test]
    fn every_suite_derives_children_as_its_own_kdf_does() {
        for id in CipherSuite::supported() {
            let suite = id.suite().unwrap();
            let derivation = tree_derivation(suite).unwrap();
            let node = Secret::from(vec![0x5a; suite.nh()]);
            for (side, context) in [(Side::Left, b"left".as_slice()), (Side::Right, b"right")] {
                let mut child = vec![0; suite.nh()];
                derivation.child(node.as_slice(), side, &mut child);
                let expected = suite.expand_with_label(&node, "tree", context, suite.nh()).unwrap();
                assert_eq!(expected.as_slice(), child, "{suite:?}");
            }
        }
    }
}
