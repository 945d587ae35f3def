//! One epoch of a group, and how it is left (RFC 9420 11 to 13).
//!
//! **What it does.** [`Epoch`] is the state of a member in one epoch, plain MLS or DMLS. It opens and makes messages,
//! judges commits, enters their children and makes its own. Each operation takes `&self` and gives a new value, so that
//! one that fails changes nothing.
//!
//! **What it never does.** It does not choose between children, and keeps no state of other epochs: that is for the layers
//! above, for plain MLS [`plain`].
//!
//! **How to drive it.** [`Epoch::open`] a message, then for a proposal [`Epoch::with_proposal`], for a commit
//! [`Epoch::stage_commit`] (no secret needed) and [`Epoch::enter`]. [`Epoch::consume`] deletes the key that opened it.
//! [`Epoch::create_commit`] makes a commit together with its child.

mod apply;
mod commit;
mod create;
mod enter;
mod external;
mod found;
mod open;
pub mod plain;
mod proposals;
mod record;
mod state;
#[cfg(test)]
mod tests;
mod welcome_in;
mod welcome_out;

pub use apply::{Added, Removed};
pub use commit::{CommitError, CommitPolicy, DefaultPolicy, PublicCommit};
pub use create::{CommitRequest, CreateError, CreatedCommit};
pub use enter::{Entered, InitFn, InitSource, NoPsks, PskStore};
pub use external::{ExternalJoin, ExternallyJoined};
pub use open::{OpenError, Opened, SealError, Sealed, Sending, UsedKey};
pub use proposals::{Committer, ProposalList, ProposalListError, Purpose, SentProposal, SharedKey};
pub use record::{EpochRecord, RecordError};
pub use state::{Epoch, PendingLeaf, PublicState};
pub use welcome_in::{Join, Joined, WelcomeError};
pub use welcome_out::GroupInfoOptions;
