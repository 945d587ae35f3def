//! Key schedule, PSKs, transcripts, secret tree (RFC 9420 8, 9), and what DMLS derives (DESIGN 4.3).
//!
//! **What it does.** Turns the secrets that a commit yields into the secrets of an epoch, and those into the key of
//! every message. [`DerivedEpoch`] separates what an epoch keeps ([`EpochSecrets`], [`SecretTree`], [`InitPprf`]) from
//! what lives only while it is derived.
//!
//! **What it never does.** It stores no epoch, joiner, welcome, commit or path secret: those are arguments, results and
//! locals, wiped on drop. It decides nothing about groups and reads no message.
//!
//! **How to drive it.** [`joiner_secret`], then [`DerivedEpoch::new`], then [`SecretTree::new`]. Message keys are taken
//! in two phases: [`SecretTree::peek`], open the message, then [`SecretTree::consume`]. The init PPRF likewise:
//! [`InitPprf::evaluate`], check the confirmation tag, then [`InitPprf::puncture`].

mod dmls;
mod group_context;
mod key_schedule;
mod psk;
mod ratchet;
mod secret_tree;
mod suite_id;
mod transcript;
mod tree_derivation;

pub use dmls::{
    ChildInput, CommitId, DmlsKeyError, DmlsSecrets, EpochId, InitPprf, child_init_input, commit_confirmation,
};
pub use group_context::GroupContext;
pub use key_schedule::{
    DerivedEpoch, EpochSecrets, Profile, external_init_receive, external_init_send, joiner_secret,
    sender_data_keys, welcome_keys, welcome_secret,
};
pub use psk::{PreSharedKeyId, PskError, PskType, ResumptionPskUsage, psk_secret};
pub use ratchet::{AeadKeys, OwnKeys, RETAINED_GENERATIONS, RatchetError, RatchetType, Windows};
pub use secret_tree::{HandshakeKeys, LeafRatchets, SecretTree};
pub use transcript::{confirmed_transcript_hash, interim_transcript_hash};
