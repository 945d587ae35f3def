//! Official test vectors, and any other file of the same shapes (RFC 9420).
//!
//! `cargo test -p dmls-tests vectors` runs every `*.json` of the directory `MLS_VECTORS`, by default
//! `../shared/mls-vectors`; a relative path starts at the workspace root. What a file checks is told by the keys of its
//! cases, never by its name. One trial a file; a summary line for each follows the trials.
//!
//! To add a shape, add a row to [`SHAPES`].

mod framing;
mod input;
mod passive;
mod run;
mod schedule;
mod self_test;
mod tree;

use serde_json::Value;

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything that it lists is as we compute it.
    Passed,
    /// It needs a cipher suite that this build has not.
    MissingSuite(u16),
}

/// A kind of vector.
pub(crate) struct Shape {
    /// Its name in the official set.
    pub(crate) name: &'static str,
    /// The keys that a case must have: they tell the shape.
    pub(crate) keys: &'static [&'static str],
    /// The keys that a case may have beside them.
    pub(crate) optional: &'static [&'static str],
    /// Runs one case. The error says which field differs.
    pub(crate) run: fn(&Value) -> Result<Outcome, String>,
    /// Fields with expected results, as JSON pointers: with one hex digit changed, the case must fail.
    pub(crate) expected: &'static [&'static str],
    /// Which digit of these is changed.
    pub(crate) digit: Digit,
}

impl Shape {
    /// Whether the key is one of this shape.
    pub(crate) fn has_key(&self, key: &str) -> bool {
        self.keys.contains(&key) || self.optional.contains(&key)
    }
}

/// A hex digit of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Digit {
    /// The first: for encodings, whose first byte is part of a length or type.
    First,
    /// The last: for results and authenticated messages.
    Last,
}

/// Every known shape.
pub(crate) static SHAPES: &[Shape] = &[
    Shape {
        name: "deserialization",
        keys: &["vlbytes_header", "length"],
        optional: &[],
        run: schedule::deserialization,
        expected: &["/length", "/vlbytes_header"],
        digit: Digit::Last,
    },
    Shape {
        name: "crypto-basics",
        keys: &[
            "cipher_suite",
            "ref_hash",
            "expand_with_label",
            "derive_secret",
            "derive_tree_secret",
            "sign_with_label",
            "encrypt_with_label",
        ],
        optional: &[],
        run: schedule::crypto_basics,
        expected: &[
            "/ref_hash/out",
            "/expand_with_label/out",
            "/derive_secret/out",
            "/derive_tree_secret/out",
            "/sign_with_label/signature",
            "/encrypt_with_label/ciphertext",
            "/encrypt_with_label/plaintext",
        ],
        digit: Digit::Last,
    },
    Shape {
        name: "key-schedule",
        keys: &["cipher_suite", "group_id", "initial_init_secret", "epochs"],
        optional: &[],
        run: schedule::key_schedule,
        expected: &[
            "/epochs/0/group_context",
            "/epochs/0/joiner_secret",
            "/epochs/0/welcome_secret",
            "/epochs/0/init_secret",
            "/epochs/0/sender_data_secret",
            "/epochs/0/encryption_secret",
            "/epochs/0/exporter_secret",
            "/epochs/0/epoch_authenticator",
            "/epochs/0/external_secret",
            "/epochs/0/confirmation_key",
            "/epochs/0/membership_key",
            "/epochs/0/resumption_psk",
            "/epochs/0/external_pub",
            "/epochs/0/exporter/secret",
            "/epochs/4/init_secret",
        ],
        digit: Digit::Last,
    },
    Shape {
        name: "psk_secret",
        keys: &["cipher_suite", "psks", "psk_secret"],
        optional: &[],
        run: schedule::psk_secret,
        expected: &["/psk_secret", "/psks/0/psk_nonce"],
        digit: Digit::Last,
    },
    Shape {
        name: "secret-tree",
        keys: &["cipher_suite", "encryption_secret", "sender_data", "leaves"],
        optional: &[],
        run: schedule::secret_tree,
        expected: &[
            "/sender_data/key",
            "/sender_data/nonce",
            "/leaves/0/0/application_key",
            "/leaves/0/0/application_nonce",
            "/leaves/0/1/handshake_key",
            "/leaves/31/1/handshake_nonce",
        ],
        digit: Digit::Last,
    },
    Shape {
        name: "transcript-hashes",
        keys: &[
            "cipher_suite",
            "confirmation_key",
            "authenticated_content",
            "interim_transcript_hash_before",
            "confirmed_transcript_hash_after",
            "interim_transcript_hash_after",
        ],
        optional: &[],
        run: schedule::transcript_hashes,
        expected: &[
            "/authenticated_content",
            "/confirmed_transcript_hash_after",
            "/interim_transcript_hash_after",
        ],
        digit: Digit::Last,
    },
    Shape {
        name: "tree-math",
        keys: &["n_leaves", "n_nodes", "root", "left", "right", "parent", "sibling"],
        optional: &[],
        run: tree::tree_math,
        expected: &["/n_nodes", "/root", "/left/1", "/right/1", "/parent/0", "/sibling/0"],
        digit: Digit::Last,
    },
    Shape {
        name: "tree-operations",
        keys: &[
            "cipher_suite",
            "tree_before",
            "proposal",
            "proposal_sender",
            "tree_after",
            "tree_hash_before",
            "tree_hash_after",
        ],
        optional: &[],
        run: tree::tree_operations,
        expected: &["/tree_hash_before", "/tree_after", "/tree_hash_after"],
        digit: Digit::Last,
    },
    Shape {
        name: "tree-validation",
        keys: &["cipher_suite", "tree", "group_id", "resolutions", "tree_hashes"],
        optional: &[],
        run: tree::tree_validation,
        expected: &["/group_id", "/tree_hashes/0", "/resolutions/0/0"],
        digit: Digit::Last,
    },
    Shape {
        name: "treekem",
        keys: &[
            "cipher_suite",
            "group_id",
            "epoch",
            "confirmed_transcript_hash",
            "leaves_private",
            "ratchet_tree",
            "update_paths",
        ],
        optional: &[],
        run: tree::treekem,
        expected: &[
            "/update_paths/0/commit_secret",
            "/update_paths/0/tree_hash_after",
            "/update_paths/0/path_secrets/1",
        ],
        digit: Digit::Last,
    },
    Shape {
        name: "messages",
        keys: &[
            "mls_welcome",
            "mls_group_info",
            "mls_key_package",
            "ratchet_tree",
            "group_secrets",
            "add_proposal",
            "update_proposal",
            "remove_proposal",
            "pre_shared_key_proposal",
            "re_init_proposal",
            "external_init_proposal",
            "group_context_extensions_proposal",
            "commit",
            "public_message_application",
            "public_message_proposal",
            "public_message_commit",
            "private_message",
        ],
        optional: &[],
        run: framing::messages,
        expected: &[
            "/mls_welcome",
            "/mls_group_info",
            "/mls_key_package",
            "/ratchet_tree",
            "/group_secrets",
            "/commit",
            "/public_message_commit",
            "/private_message",
        ],
        digit: Digit::First,
    },
    Shape {
        name: "message-protection",
        keys: &[
            "cipher_suite",
            "group_id",
            "epoch",
            "tree_hash",
            "confirmed_transcript_hash",
            "signature_priv",
            "signature_pub",
            "encryption_secret",
            "sender_data_secret",
            "membership_key",
            "proposal",
            "proposal_priv",
            "proposal_pub",
            "commit",
            "commit_priv",
            "commit_pub",
            "application",
            "application_priv",
        ],
        optional: &[],
        run: framing::message_protection,
        expected: &[
            "/proposal",
            "/proposal_priv",
            "/proposal_pub",
            "/commit",
            "/commit_priv",
            "/commit_pub",
            "/application",
            "/application_priv",
        ],
        digit: Digit::Last,
    },
    Shape {
        name: "welcome",
        keys: &["cipher_suite", "init_priv", "signer_pub", "key_package", "welcome"],
        optional: &[],
        run: framing::welcome,
        expected: &["/signer_pub", "/welcome"],
        digit: Digit::Last,
    },
    Shape {
        name: "passive-client",
        keys: &[
            "cipher_suite",
            "key_package",
            "signature_priv",
            "encryption_priv",
            "init_priv",
            "welcome",
            "initial_epoch_authenticator",
            "epochs",
        ],
        optional: &["external_psks", "ratchet_tree"],
        run: passive::passive_client,
        expected: &["/initial_epoch_authenticator", "/epochs/0/epoch_authenticator"],
        digit: Digit::Last,
    },
];

fn main() -> std::process::ExitCode {
    run::main()
}
