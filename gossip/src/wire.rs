//! Bytes of the synchronisation protocol, and of what travels inside gossipsub.
//!
//! Integers are big endian. A request or response is one tag byte and the fields in the order of the enums below;
//! a list has a 32-bit count. Everything must be consumed: trailing bytes are an error.

use thiserror::Error;

use crate::{MessageId, Topic};

/// Ids in one [`Request::Pull`] at most.
pub(crate) const MAX_PULL: usize = 2048;
/// Bytes of one reconciliation frame at most, but for one range that is never split.
pub(crate) const MAX_FRAME: usize = 64 * 1024;
/// Bytes of bodies in one [`Response::Bodies`] or [`Response::Part`] at most.
pub(crate) const MAX_BATCH: usize = 1024 * 1024;
/// Bytes of one [`Response::Part`] at least, but for the last.
pub(crate) const MIN_PART: usize = 1024;
/// Longest request: a frame or a list of ids.
pub(crate) const MAX_REQUEST: usize = MAX_FRAME + 8 * 1024;
/// Longest response: bodies, each with its length, and ids that are missing.
pub(crate) const MAX_RESPONSE: usize = MAX_BATCH + 64 * MAX_PULL;
/// A direct request or its answer at most.
pub(crate) const MAX_DIRECT: usize = 8 * 1024 * 1024;

/// The bytes are not a message of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("The bytes are not a message of this protocol.")]
pub(crate) struct WireError;

/// Asked by the side that wants to learn something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// 1: starts a session; answered by [`Response::Opened`] with the other side's floor.
    Open { topic: Topic, floor: u64 },
    /// 2: one round over the items from `floor` (the higher of both) upwards; answered by [`Response::Frame`].
    Round { topic: Topic, floor: u64, first: bool, frame: Vec<u8> },
    /// 3: asks for bodies; answered by [`Response::Bodies`].
    Pull { topic: Topic, ids: Vec<MessageId> },
    /// 4: asks for a part of a large body; answered by [`Response::Part`].
    Chunk { topic: Topic, id: MessageId, offset: u32 },
    /// 5: "you lack something that I have"; answered by [`Response::Noted`].
    Hint { topic: Topic },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Response {
    /// 0
    Refused(Refusal),
    /// 1
    Opened { floor: u64 },
    /// 2
    Frame(Vec<u8>),
    /// 3: lowest order first; ids that are not mentioned did not fit and may be asked for again.
    Bodies(Vec<Offer>),
    /// 4: bytes from the offset that was asked for.
    Part { total: u32, bytes: Vec<u8> },
    /// 5
    Noted,
}

/// What a peer has to give for one id of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Offer {
    /// 0: the whole body; its id is its hash.
    Body(Vec<u8>),
    /// 1: the body does not fit a batch and is to be fetched in chunks. Always the last of a list.
    Large { id: MessageId, len: u32 },
    /// 2: not here (any more).
    Missing(MessageId),
}

/// Why a request was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 1: the topic is not subscribed to.
    UnknownTopic,
    /// 2: too much to do; try later.
    Busy,
    /// 3: the request could not be decoded.
    Malformed,
    /// 4: the floor has risen since the session was opened.
    FloorMoved,
    /// 5: the store failed.
    Failed,
    /// 6: a chunk of a body that is not here was asked for.
    Missing,
}

impl Request {
    pub(crate) fn topic(&self) -> Topic {
        match self {
            Self::Open { topic, .. }
            | Self::Round { topic, .. }
            | Self::Pull { topic, .. }
            | Self::Chunk { topic, .. }
            | Self::Hint { topic } => *topic,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Open { topic, floor } => {
                out.push(1);
                out.extend_from_slice(&topic.0);
                out.extend_from_slice(&floor.to_be_bytes());
            }
            Self::Round { topic, floor, first, frame } => {
                out.push(2);
                out.extend_from_slice(&topic.0);
                out.extend_from_slice(&floor.to_be_bytes());
                out.push(u8::from(*first));
                out.extend_from_slice(frame);
            }
            Self::Pull { topic, ids } => {
                out.push(3);
                out.extend_from_slice(&topic.0);
                put_len(&mut out, ids.len());
                ids.iter().for_each(|id| out.extend_from_slice(&id.0));
            }
            Self::Chunk { topic, id, offset } => {
                out.push(4);
                out.extend_from_slice(&topic.0);
                out.extend_from_slice(&id.0);
                out.extend_from_slice(&offset.to_be_bytes());
            }
            Self::Hint { topic } => {
                out.push(5);
                out.extend_from_slice(&topic.0);
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader(bytes);
        let tag = r.u8()?;
        let topic = Topic(r.array()?);
        let out = match tag {
            1 => Self::Open { topic, floor: r.u64()? },
            2 => Self::Round { topic, floor: r.u64()?, first: r.bool()?, frame: r.rest().to_vec() },
            3 => {
                let count = r.count(32)?;
                if count == 0 || count > MAX_PULL {
                    return Err(WireError);
                }
                let ids = (0..count).map(|_| r.array().map(MessageId)).collect::<Result<_, _>>()?;
                Self::Pull { topic, ids }
            }
            4 => Self::Chunk { topic, id: MessageId(r.array()?), offset: r.u32()? },
            5 => Self::Hint { topic },
            _ => return Err(WireError),
        };
        r.end().map(|()| out)
    }
}

impl Response {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Refused(refusal) => out.extend([0, refusal.code()]),
            Self::Opened { floor } => {
                out.push(1);
                out.extend_from_slice(&floor.to_be_bytes());
            }
            Self::Frame(frame) => {
                out.push(2);
                out.extend_from_slice(frame);
            }
            Self::Bodies(offers) => {
                out.push(3);
                put_len(&mut out, offers.len());
                offers.iter().for_each(|offer| offer.encode(&mut out));
            }
            Self::Part { total, bytes } => {
                out.push(4);
                out.extend_from_slice(&total.to_be_bytes());
                out.extend_from_slice(bytes);
            }
            Self::Noted => out.push(5),
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader(bytes);
        let out = match r.u8()? {
            0 => Self::Refused(Refusal::from_code(r.u8()?)?),
            1 => Self::Opened { floor: r.u64()? },
            2 => Self::Frame(r.rest().to_vec()),
            3 => {
                // Five bytes is the shortest offer: an empty body.
                let count = r.count(5)?;
                if count > MAX_PULL {
                    return Err(WireError);
                }
                Self::Bodies((0..count).map(|_| Offer::decode(&mut r)).collect::<Result<_, _>>()?)
            }
            4 => Self::Part { total: r.u32()?, bytes: r.rest().to_vec() },
            5 => Self::Noted,
            _ => return Err(WireError),
        };
        r.end().map(|()| out)
    }
}

impl Offer {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Body(bytes) => {
                out.push(0);
                put_len(out, bytes.len());
                out.extend_from_slice(bytes);
            }
            Self::Large { id, len } => {
                out.push(1);
                out.extend_from_slice(&id.0);
                out.extend_from_slice(&len.to_be_bytes());
            }
            Self::Missing(id) => {
                out.push(2);
                out.extend_from_slice(&id.0);
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        match r.u8()? {
            0 => {
                let len = r.u32()? as usize;
                Ok(Self::Body(r.take(len)?.to_vec()))
            }
            1 => Ok(Self::Large { id: MessageId(r.array()?), len: r.u32()? }),
            2 => Ok(Self::Missing(MessageId(r.array()?))),
            _ => Err(WireError),
        }
    }
}

impl Refusal {
    const ALL: [Self; 6] =
        [Self::UnknownTopic, Self::Busy, Self::Malformed, Self::FloorMoved, Self::Failed, Self::Missing];

    fn code(self) -> u8 {
        match self {
            Self::UnknownTopic => 1,
            Self::Busy => 2,
            Self::Malformed => 3,
            Self::FloorMoved => 4,
            Self::Failed => 5,
            Self::Missing => 6,
        }
    }

    fn from_code(code: u8) -> Result<Self, WireError> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code).ok_or(WireError)
    }
}

/// What travels inside gossipsub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Live {
    /// 0: the message itself.
    Inline(Vec<u8>),
    /// 1: its id and its length; the body is to be pulled from whoever passed this on.
    Announced { id: MessageId, len: u32 },
}

impl Live {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Inline(bytes) => [&[0], bytes.as_slice()].concat(),
            Self::Announced { id, len } => [&[1], &id.0[..], &len.to_be_bytes()].concat(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader(bytes);
        let out = match r.u8()? {
            0 => Self::Inline(r.rest().to_vec()),
            1 => Self::Announced { id: MessageId(r.array()?), len: r.u32()? },
            _ => return Err(WireError),
        };
        r.end().map(|()| out)
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    // Callers are bounded far below 2^32; should one not be, the length saturates and the peer sees a bad frame.
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(WireError)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N)?.try_into().map_err(|_| WireError)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn bool(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError),
        }
    }

    /// A count of things of at least `size` bytes each, that many of which must be there.
    fn count(&mut self, size: usize) -> Result<usize, WireError> {
        let count = self.u32()? as usize;
        if count > self.0.len() / size { Err(WireError) } else { Ok(count) }
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn end(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError) }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
