//! Fetching the bodies that a session found missing.

use std::collections::HashSet;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::gossipsub::MessageAcceptance;

use crate::catchup::{Ask, Next, Purpose, Session, Stage};
use crate::config::ms;
use crate::task::{Key, Task};
use crate::wire::{MAX_PULL, MIN_PART, Offer, Request};
use crate::{Fault, MessageId};

/// A body that comes in chunks and has not been begun.
pub(crate) struct Large {
    id: MessageId,
    len: u32,
}

/// A body of which some chunks have come.
pub(crate) struct Partial {
    id: MessageId,
    total: u32,
    bytes: Vec<u8>,
}

impl Task {
    /// Asks for the next bodies, or for the next chunk of one.
    pub(crate) fn pull_next(&mut self, session: &mut Session) -> Next {
        if let Some(partial) = &session.partial {
            return partial.ask(session);
        }
        if !self.queue.has_room() || !self.unreported.has_room() {
            return Next::Wait(Stage::ForRoom);
        }
        if let Some(large) = session.large.take() {
            return self.begin_large(session, large);
        }
        // The answer must fit the application's queue, of which at least half is free.
        let max = MAX_PULL.min(self.config.limits.max_events / 2).max(1);
        let mut others = Vec::new();
        while session.asked.len() < max
            && let Some(id) = session.need.pop_front()
        {
            let key = (session.topic, id);
            if !session.is_announced() && self.is_in_flight(&key) {
                others.push(id);
            } else if self.is_wanted(session, &key) {
                session.asked.insert(id);
            }
        }
        others.into_iter().rev().for_each(|id| session.need.push_front(id));
        if !session.asked.is_empty() {
            let ids = session.asked.iter().copied().collect();
            return Next::Ask(Ask::Pull, Request::Pull { topic: session.topic, ids });
        }
        if session.need.is_empty() { Next::Finished } else { Next::Wait(Stage::ForOthers) }
    }

    /// Whether a message is still to be fetched.
    fn is_wanted(&self, session: &Session, key: &Key) -> bool {
        session.is_announced() || self.is_wanted_now(key)
    }

    /// Whether another session is fetching this message. One that takes too long is not waited for: who hands out a
    /// large body drop by drop must not keep it from coming from others.
    fn is_in_flight(&self, key: &Key) -> bool {
        let patience = ms(self.config.timing.request_timeout_ms).saturating_mul(2);
        self.catchup.in_flight.get(key).is_some_and(|(_, since)| since.elapsed() < patience)
    }

    /// The outstanding pull has been answered or given up.
    pub(crate) fn release(&mut self, session: &mut Session) -> Vec<MessageId> {
        let asked: Vec<_> = session.asked.drain().collect();
        for id in &asked {
            let key = (session.topic, *id);
            if self.catchup.in_flight.get(&key).is_some_and(|(number, _)| *number == session.number) {
                self.catchup.in_flight.remove(&key);
            }
        }
        asked
    }

    pub(crate) fn on_bodies(&mut self, session: &mut Session, offers: Vec<Offer>) -> Next {
        let mut open: HashSet<_> = self.release(session).into_iter().collect();
        if offers.is_empty() {
            self.fault(session.peer, Fault::Malformed);
            return Next::Failed;
        }
        // Each offer settles an id that was asked for; thus each answer is progress, and pulling ends.
        for offer in offers {
            let id = match &offer {
                Offer::Body(bytes) => MessageId::of(bytes),
                Offer::Large { id, .. } | Offer::Missing(id) => *id,
            };
            if !open.remove(&id) || session.large.is_some() {
                self.fault(session.peer, Fault::WrongBody);
                return Next::Failed;
            }
            match offer {
                Offer::Body(bytes) => {
                    if !self.take_body(session, id, bytes) {
                        return Next::Failed;
                    }
                }
                Offer::Large { len, .. } if len as usize > self.config.limits.max_message => {
                    // A peer may have wider limits than we have: not its fault, but not for us either.
                    self.ignored.insert((session.topic, id), (), Instant::now());
                }
                Offer::Large { id, len } => session.large = Some(Large { id, len }),
                Offer::Missing(_) => session.undelivered += 1,
            }
        }
        open.into_iter().for_each(|id| session.need.push_front(id));
        self.pull_next(session)
    }

    fn begin_large(&mut self, session: &mut Session, large: Large) -> Next {
        // What is half-fetched counts against the same bound as what waits for the application.
        let held = self.catchup.sessions.values().filter_map(|other| other.partial.as_ref());
        let held: usize = held.map(|partial| partial.total as usize).sum();
        if held > 0 && held.saturating_add(large.len as usize) > self.config.limits.max_event_bytes {
            session.large = Some(large);
            return Next::Wait(Stage::ForRoom);
        }
        let partial = Partial { id: large.id, total: large.len, bytes: Vec::new() };
        session.asked.insert(large.id);
        let next = partial.ask(session);
        session.partial = Some(partial);
        next
    }

    pub(crate) fn forget_partial(&mut self, session: &mut Session) {
        session.partial = None;
        self.release(session);
    }

    pub(crate) fn on_part(&mut self, session: &mut Session, total: u32, bytes: &[u8]) -> Next {
        let Some(partial) = session.partial.as_mut() else { return Next::Failed };
        let missing = (partial.total as usize).saturating_sub(partial.bytes.len());
        let fits = bytes.len() <= missing && bytes.len() >= missing.min(MIN_PART);
        if total != partial.total || bytes.is_empty() || !fits {
            self.fault(session.peer, Fault::Malformed);
            return Next::Failed;
        }
        partial.bytes.extend_from_slice(bytes);
        if partial.bytes.len() < partial.total as usize {
            return self.pull_next(session);
        }
        let (id, body) = (partial.id, std::mem::take(&mut partial.bytes));
        self.forget_partial(session);
        if MessageId::of(&body) != id {
            self.fault(session.peer, Fault::WrongBody);
            return Next::Failed;
        }
        if self.take_body(session, id, body) { self.pull_next(session) } else { Next::Failed }
    }

    /// Hands a fetched body over. False if the application is too far behind; then it is fetched again later.
    fn take_body(&mut self, session: &mut Session, id: MessageId, bytes: Vec<u8>) -> bool {
        let key = (session.topic, id);
        let peer: PeerId = session.peer;
        let given = match &mut session.purpose {
            Purpose::Announced { gossip, len, settled } => {
                *settled = true;
                let (gossip, honest) = (gossip.clone(), bytes.len() == *len as usize);
                if !honest {
                    // The body is good, but what announced it is not to be passed on.
                    self.settle(&gossip, &peer, MessageAcceptance::Reject);
                    self.fault(peer, Fault::WrongAnnouncement);
                    if !self.is_wanted_now(&key) {
                        return true;
                    }
                    self.hand_over(key, bytes, peer, None)
                } else if self.is_settled(&key, &gossip, peer) {
                    return true;
                } else {
                    self.hand_over_live(key, bytes, peer, gossip);
                    true
                }
            }
            // It may have come another way while this pull was out.
            Purpose::Reconcile if !self.is_wanted_now(&key) => return true,
            Purpose::Reconcile => self.hand_over(key, bytes, peer, None),
        };
        session.fetched += u64::from(given);
        self.stats.fetched += u64::from(given);
        given
    }

    /// Whether a message is neither here, nor refused, nor waiting for its verdict.
    pub(crate) fn is_wanted_now(&self, key: &Key) -> bool {
        !(self.unreported.contains(key) || self.is_stored(key) || self.is_refused(key))
    }

    /// Lets sessions go on that waited for room or for others.
    pub(crate) fn resume_waiting(&mut self) {
        let room = self.queue.has_room();
        let ready = |session: &Session| match session.stage {
            Stage::ForRoom => room,
            // A few ids tell whether the other session's pull is over; looking at all would be work at each tick.
            Stage::ForOthers => {
                session.need.iter().take(16).any(|id| !self.is_in_flight(&(session.topic, *id)))
            }
            _ => false,
        };
        let those: Vec<_> =
            self.catchup.sessions.iter().filter(|(_, s)| ready(s)).map(|(number, _)| *number).collect();
        those.into_iter().for_each(|number| self.step(number, Self::pull_next));
    }
}

impl Session {
    fn is_announced(&self) -> bool {
        matches!(self.purpose, Purpose::Announced { .. })
    }
}

impl Partial {
    fn ask(&self, session: &Session) -> Next {
        // The length is at most `total`, which has 32 bits.
        let offset = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        Next::Ask(Ask::Chunk, Request::Chunk { topic: session.topic, id: self.id, offset })
    }
}
