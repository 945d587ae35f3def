//! Local policy and limits of a group (DESIGN 4.4, 4.5, 4.7): the one place where both live.

use serde::{Deserialize, Serialize};

use crate::framing::{DmlsProfile, Padding, ProfileError};
use crate::identity::Authentication;
use crate::schedule::Windows;

/// Local policy. The retention bounds are the group's, in its `dmls_profile`; a device may only keep less.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupOptions {
    /// Acknowledgements and votes are spread over this many milliseconds at least.
    pub ack_span_ms: u64,
    /// And over this many milliseconds a member at least.
    pub ack_span_per_member_ms: u64,
    /// `Δ`: how long each member waits longer than the one before it for committing what is pending.
    pub turn_slot_ms: u64,
    /// A fork that is not decided is merged when nothing has come there for this long.
    pub settle_ms: u64,
    /// How long a merge waits for KeyPackages before the first turn.
    pub key_package_wait_ms: u64,
    /// After how long an Add is given up whose KeyPackage never came.
    pub deferred_for_ms: u64,
    /// How long a decision must have held before its epoch is closed; reconciled time.
    pub close_after_ms: u64,
    /// For how long a sender's application keys of an epoch are kept once it has spoken below it; reconciled time.
    pub late_messages_ms: u64,
    /// Reconciled time after which a named child that nobody can produce is written off.
    pub write_off_after_ms: u64,
    /// The name of a retention profile that this device keeps to where it is narrower than its group's. Creating or
    /// joining a group that does not allow as much is refused.
    pub profile: Option<String>,
    /// So many commits are kept in the log.
    pub log_commits: u64,
    /// And none for longer than this once its epoch is deleted; reconciled time.
    pub log_age_ms: u64,
    /// A reconciliation counts as reconciled time for this long.
    pub reconciled_for_ms: u64,
    /// After how long a waiting message is dropped; it can be fetched again.
    pub waiting_ms: u64,
    /// How often a quarantined commit is taken, for each parent.
    pub quarantine_interval_ms: u64,
    /// So many own commits that are not final are made without waiting.
    pub own_commits: u32,
    /// How long to wait before one more; each further one waits twice as long.
    pub own_commit_wait_ms: u64,
    /// And at most this long.
    pub own_commit_max_wait_ms: u64,
    /// A merge or a rejoin waits no longer than this.
    pub merge_max_wait_ms: u64,
    /// A member replaces its keys, in its turn, before they are older than this; 0: never.
    pub refresh_after_ms: u64,
    /// A member that has said nothing for so long, though there is an epoch that it has not acknowledged, is removed by
    /// whoever may, in its turn; reconciled time; 0: never.
    pub silent_after_ms: u64,
    /// For how long a key package that this client makes is valid, in seconds.
    pub key_package_lifetime_s: u64,
    /// How long a client that asks to rejoin waits before it asks again.
    pub rejoin_interval_ms: u64,
    /// How plaintexts are padded.
    pub padding: Padding,
    /// Who says who is who. Asked about clients that are added here, never about those that others add.
    #[serde(skip)]
    pub authentication: Authentication,
    /// Whether processed commits are punctured. Off only in the tests that show what puncturing is for.
    #[serde(skip, default = "yes")]
    #[doc(hidden)]
    pub puncturing: bool,
}

fn yes() -> bool {
    true
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            ack_span_ms: 5_000,
            ack_span_per_member_ms: 50,
            turn_slot_ms: 1_000,
            settle_ms: 1_000,
            key_package_wait_ms: 2_000,
            deferred_for_ms: 7 * 24 * 3_600_000,
            close_after_ms: 10 * 60_000,
            late_messages_ms: 10 * 60_000,
            write_off_after_ms: 60 * 60_000,
            profile: None,
            log_commits: 1024,
            log_age_ms: 90 * 24 * 3_600_000,
            reconciled_for_ms: 60_000,
            waiting_ms: 10 * 60_000,
            quarantine_interval_ms: 60_000,
            own_commits: 8,
            own_commit_wait_ms: 60_000,
            own_commit_max_wait_ms: 60 * 60_000,
            merge_max_wait_ms: 60_000,
            refresh_after_ms: 7 * 24 * 3_600_000,
            silent_after_ms: 0,
            key_package_lifetime_s: 90 * 24 * 3600,
            rejoin_interval_ms: 10 * 60_000,
            padding: Padding::Multiple(64),
            authentication: Authentication::default(),
            puncturing: true,
        }
    }
}

impl GroupOptions {
    /// What this device keeps in a group with that profile.
    pub(super) fn narrowed(&self, group: &DmlsProfile) -> DmlsProfile {
        let device = self.profile.as_deref().and_then(|name| DmlsProfile::named(name).ok());
        device.map_or_else(|| group.clone(), |device| group.clone().narrowed(&device))
    }

    /// Whether a group allows what this device wants to keep.
    pub(super) fn check_profile(&self, group: &DmlsProfile) -> Result<(), ProfileError> {
        self.profile.as_deref().map_or(Ok(()), |name| DmlsProfile::named(name)?.check_within(group))
    }

    /// Over how long `members` spread what all of them send: `max(5 s, n·50 ms)` by default.
    pub fn span(&self, members: usize) -> u64 {
        let members = u64::try_from(members).unwrap_or(u64::MAX);
        self.ack_span_ms.max(members.saturating_mul(self.ack_span_per_member_ms)).max(1)
    }
}

/// Bounds on what others can make this client hold or do (DESIGN 4.7). Not configurable.
pub mod limits {
    /// Children of a parent that are processed at once: those with the smallest keys.
    pub const CHILDREN: usize = 16;
    /// Commits of one member on a parent that are processed at once: those with the smallest keys.
    pub const COMMITS_OF_MEMBER: usize = 2;
    /// Quarantined commits of a parent; those with the largest keys are dropped and can be fetched again.
    pub const QUARANTINED: usize = 64;
    /// Messages that wait for something.
    pub const WAITING: usize = 256;
    /// Those of them that one peer has handed over.
    pub const WAITING_OF_PEER: usize = 64;
    /// Their bytes.
    pub const WAITING_BYTES: usize = 1 << 20;
    /// Bytes of a handshake message beyond what its update path and its key packages take.
    pub const HANDSHAKE_BYTES: usize = 64 << 10;
    /// Bytes of an update path for each member, beyond the KEM's output.
    pub const PATH_BYTES_PER_MEMBER: usize = 256;
    /// Bytes of one key package in an Add.
    pub const KEY_PACKAGE_BYTES: usize = 16 << 10;
    /// Adds in one commit.
    pub const ADDS: usize = 256;
    /// Bytes of one application payload.
    pub const PAYLOAD_BYTES: usize = 1 << 20;
    /// Bytes of the quarantined commits of a parent, likewise.
    pub const QUARANTINED_BYTES: usize = 1 << 20;
    /// Proposals of one member in one epoch that are kept for commits to come. Any more wait until a commit names them.
    pub const PROPOSALS_OF_MEMBER: usize = 16;
    /// Proposals by reference in one commit.
    pub const REFERENCES: usize = 256;
    /// Adds that are put off and remembered.
    pub const DEFERRED: usize = 256;
    /// Key packages of others that are kept, one a client.
    pub const OFFERS: usize = 256;
    /// Rejoins in one commit.
    pub const REJOINS: usize = 16;
    /// Own requests to rejoin that can still be answered.
    pub const REQUESTS: usize = 4;
    /// For how long a request to rejoin is valid, in seconds: whoever is not answered asks again.
    pub const REQUEST_LIFETIME_S: u64 = 7 * 24 * 3600;
    /// How many generations back an application key is kept while this client is catching up.
    pub const CATCHING_UP_BACK: u32 = 2048;
    /// Deleted epochs that are remembered by name.
    pub const GONE: usize = 1024;
    /// Proofs of equivocation of a group.
    pub const PROOFS: usize = 64;
    /// Those of them about one signature key.
    pub const PROOFS_OF_KEY: usize = 4;
    /// Bytes of all of them.
    pub const PROOF_BYTES: usize = 2 << 20;
}

/// The windows of application ratchets: 1000 forward, 100 back; while catching up more, so that it loses nothing
/// (DESIGN 4.5).
pub(super) fn windows(catching_up: bool) -> Windows {
    let windows = Windows::default();
    if catching_up { Windows { back: limits::CATCHING_UP_BACK, ..windows } } else { windows }
}
