//! Rules that a peer can break, and what each costs.

use thiserror::Error;

/// A rule that a peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Fault {
    /// A frame could not be decoded, or has the wrong type for its place.
    #[error("The peer sent a frame that cannot be decoded.")]
    Malformed,
    /// A frame or message exceeds its bound.
    #[error("The peer sent a frame above the size limit.")]
    TooLarge,
    /// More requests in a window than are allowed.
    #[error("The peer sent too many requests.")]
    TooManyRequests,
    /// More bytes in a window than are allowed and were not asked for.
    #[error("The peer sent too many bytes that were not asked for.")]
    TooManyBytes,
    /// A body whose hash is not the id that was asked for.
    #[error("The peer sent a body that was not asked for.")]
    WrongBody,
    /// It offered ids and then did not have the bodies.
    #[error("The peer offered messages that it does not deliver.")]
    NotDelivered,
    /// A reconciliation that goes on without finding anything.
    #[error("The peer's reconciliation does not end.")]
    Endless,
    /// An announcement that contradicts the body.
    #[error("The peer announced a message with a wrong size.")]
    WrongAnnouncement,
    /// The application rejected a message that the peer handed over.
    #[error("The peer handed over a message that was rejected.")]
    Rejected,
    /// It asked for a topic that this node is not in.
    #[error("The peer asked for a topic that this node is not in.")]
    UnknownTopic,
}

impl Fault {
    /// Points that one breach costs; at [`Limits::ban_points`](crate::Limits::ban_points) the peer is banned.
    ///
    /// What no honest peer can do costs a ban at once by the default limits; what a race or a fork can make of an
    /// honest peer costs little.
    pub fn points(self) -> u32 {
        match self {
            Self::WrongBody | Self::TooLarge => 100,
            Self::Malformed | Self::Endless | Self::TooManyBytes | Self::WrongAnnouncement => 50,
            Self::TooManyRequests | Self::NotDelivered => 10,
            Self::Rejected => 5,
            Self::UnknownTopic => 2,
        }
    }
}
