//! What people and programs are told when something cannot be done: a code, a sentence, and what to do next.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of a failure: the `code` of an API error, and the exit code of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Something failed that has no code of its own; also a demo or check that did not hold. Exit code 1.
    Failed,
    /// The command line or a request is malformed. Exit code 2.
    Usage,
    /// The configuration or the home directory cannot be used. Exit code 3.
    Config,
    /// There is no identity here yet. Exit code 4.
    NotInitialised,
    /// No daemon answers. Exit code 5.
    NoDaemon,
    /// Another daemon holds the home directory. Exit code 6.
    AlreadyRunning,
    /// The database is damaged, newer than this program, or cannot be written. Exit code 7.
    Store,
    /// There is no such group, member, peer or invitation. Exit code 8.
    NotFound,
    /// The state of the group or a rule of the protocol forbids it. Exit code 9.
    Refused,
    /// A peer cannot be reached or did not answer. Exit code 10.
    Unreachable,
    /// It did not happen in time; it may still happen. Exit code 11.
    Timeout,
    /// The other end of the socket speaks another version, or not this protocol. Exit code 12.
    Protocol,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::Failed,
        Self::Usage,
        Self::Config,
        Self::NotInitialised,
        Self::NoDaemon,
        Self::AlreadyRunning,
        Self::Store,
        Self::NotFound,
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::Protocol,
    ];

    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::NotInitialised => 4,
            Self::NoDaemon => 5,
            Self::AlreadyRunning => 6,
            Self::Store => 7,
            Self::NotFound => 8,
            Self::Refused => 9,
            Self::Unreachable => 10,
            Self::Timeout => 11,
            Self::Protocol => 12,
        }
    }
}

/// Exit codes, as `dmls --help` shows them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done                         7  database damaged, newer, or not writable
  1  failed                       8  no such group, member, peer or invitation
  2  wrong command line           9  the group's state or the protocol forbids it
  3  wrong configuration         10  a peer cannot be reached
  4  no identity yet             11  not in time
  5  no daemon answers           12  the daemon speaks another version
  6  another daemon is running";

/// Why something was not done. Nothing has changed then, unless the message says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind.
    pub code: ErrorCode,
    /// What is wrong, as a sentence.
    pub message: String,
    /// What to do next, as a sentence; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl Failure {
    /// A failure without advice.
    pub fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), hint: String::new() }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = hint.to_string();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n  {}", self.hint) }
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(ErrorCode::Failed, format!("Reading or writing failed: {error}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_distinct_and_documented() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            let exit = code.exit_code();
            assert_eq!(usize::from(exit), index + 1);
            assert!(EXIT_CODES.contains(&format!(" {exit}  ")), "{exit} is not documented");
        }
    }

    #[test]
    fn a_failure_survives_json() {
        let failure = Failure::new(ErrorCode::NotFound, "There is no group x.").hint("List them.");
        let json = serde_json::to_string(&failure).unwrap();
        assert!(json.contains("\"not_found\""));
        assert_eq!(serde_json::from_str::<Failure>(&json).unwrap(), failure);
        assert_eq!(failure.to_string(), "There is no group x.\n  List them.");
    }
}
