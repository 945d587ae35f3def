//! Catching up: the sessions that this node started, and the rounds of each.
//!
//! A session is one request or one store job after the other: own floor, [`Request::Open`], snapshot,
//! [`Request::Round`] until nothing is left to compare, then the pulls of [`pull`](crate::pull). It ends by itself, by
//! its deadline, by a refusal, or with the connection; whatever it had fetched stays fetched.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::gossipsub::{self, MessageAcceptance};
use libp2p::request_response::{OutboundFailure, OutboundRequestId};

use crate::config::ms;
use crate::frame::FrameError;
use crate::pull::{Large, Partial};
use crate::reconcile::{ReconcileError, Snapshot, Step, Surplus};
use crate::schedule::Plan;
use crate::task::{Done, Key, Task};
use crate::wire::{MAX_REQUEST, Refusal, Request, Response};
use crate::{Event, Fault, MessageId, StoreError, Topic};

/// A store job that takes longer than this is given up.
const JOB: Duration = Duration::from_secs(60);

/// Sessions and when the next ones are due.
#[derive(Default)]
pub(crate) struct Catchup {
    pub(crate) sessions: HashMap<u64, Session>,
    /// Ids that a session has asked for just now: another one waits for the outcome.
    pub(crate) in_flight: HashMap<Key, (u64, Instant)>,
    pub(crate) plans: HashMap<(PeerId, Topic), Plan>,
    /// Requests that are out, and the session each belongs to; hints belong to none.
    pub(crate) asked: HashMap<OutboundRequestId, Option<u64>>,
    next_number: u64,
}

/// Why a session exists.
pub(crate) enum Purpose {
    /// To find out what is missing.
    Reconcile,
    /// To fetch one message that was announced live; whether gossipsub has been told its fate.
    Announced { gossip: gossipsub::MessageId, len: u32, settled: bool },
}

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A store job.
    Working,
    /// The peer's answer to a request of this kind.
    Asking(Ask),
    /// Room in the application's queue.
    ForRoom,
    /// Other sessions, which are fetching the same messages.
    ForOthers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Open,
    Round,
    Pull,
    Chunk,
}

/// One session with one peer on one topic.
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) peer: PeerId,
    pub(crate) topic: Topic,
    pub(crate) purpose: Purpose,
    pub(crate) stage: Stage,
    deadline: Instant,
    floor: u64,
    snapshot: Option<Arc<Snapshot>>,
    rounds: u32,
    /// Ids that the peer has and the snapshot has not.
    found: usize,
    /// The other way round.
    surplus: Surplus,
    /// Ids to ask for.
    pub(crate) need: VecDeque<MessageId>,
    /// Ids that the outstanding pull asks for.
    pub(crate) asked: HashSet<MessageId>,
    pub(crate) large: Option<Large>,
    pub(crate) partial: Option<Partial>,
    pub(crate) fetched: u64,
    pub(crate) undelivered: u64,
    /// There is more to find than this session looked for.
    more: bool,
}

/// What a store job of a session brought.
pub(crate) enum Outcome {
    Floor(Result<u64, StoreError>),
    Ready(Result<(Arc<Snapshot>, Vec<u8>), ReconcileError>),
    Step(Result<Step, ReconcileError>),
}

/// What a session does next.
pub(crate) enum Next {
    Ask(Ask, Request),
    Work(Box<dyn FnOnce() -> Outcome + Send>),
    Wait(Stage),
    /// It is over: all that was found was fetched.
    Finished,
    /// It is over before its time.
    Failed,
    /// It is over, and to try again would bring nothing until the peer says otherwise.
    Pointless,
}

impl Catchup {
    pub(crate) fn is_waiting(&self) -> bool {
        self.sessions.values().any(|session| session.stage == Stage::ForRoom)
    }

    pub(crate) fn count(&self, peer: Option<&PeerId>, announced: bool) -> usize {
        let same = |s: &&Session| matches!(s.purpose, Purpose::Announced { .. }) == announced;
        self.sessions.values().filter(same).filter(|s| peer.is_none_or(|peer| s.peer == *peer)).count()
    }
}

/// One step after the other.
impl Task {
    pub(crate) fn open_session(
        &mut self,
        peer: PeerId,
        topic: Topic,
        purpose: Purpose,
        need: VecDeque<MessageId>,
    ) -> u64 {
        let number = self.catchup.next_number;
        self.catchup.next_number += 1;
        let session = Session {
            number,
            peer,
            topic,
            purpose,
            stage: Stage::Working,
            deadline: Instant::now() + JOB,
            floor: 0,
            snapshot: None,
            rounds: 0,
            found: 0,
            surplus: Surplus::default(),
            need,
            asked: HashSet::new(),
            large: None,
            partial: None,
            fetched: 0,
            undelivered: 0,
            more: false,
        };
        self.catchup.sessions.insert(number, session);
        number
    }

    /// Runs one step of a session and does what it says.
    pub(crate) fn step(&mut self, number: u64, step: impl FnOnce(&mut Self, &mut Session) -> Next) {
        let Some(mut session) = self.catchup.sessions.remove(&number) else { return };
        let next = step(self, &mut session);
        let now = Instant::now();
        match next {
            Next::Ask(ask, request) => {
                let sync = &mut self.swarm.behaviour_mut().sync;
                let id = sync.send_request(&session.peer, Ok(request.encode()));
                self.catchup.asked.insert(id, Some(number));
                for id in &session.asked {
                    self.catchup.in_flight.entry((session.topic, *id)).or_insert((number, now));
                }
                session.stage = Stage::Asking(ask);
                session.deadline = now + ms(self.config.timing.request_timeout_ms).saturating_mul(2);
            }
            Next::Work(work) => {
                self.jobs.spawn_blocking(move || Done::Session(number, work()));
                session.stage = Stage::Working;
                session.deadline = now + JOB;
            }
            Next::Wait(stage) => session.stage = stage,
            Next::Finished => {
                let complete = !session.more && session.undelivered == 0;
                return self.end_session(session, complete, true);
            }
            Next::Failed => return self.end_session(session, false, true),
            Next::Pointless => return self.end_session(session, false, false),
        }
        self.catchup.sessions.insert(number, session);
    }

    pub(crate) fn on_outcome(&mut self, number: u64, outcome: Outcome) {
        self.step(number, |task, session| match outcome {
            Outcome::Floor(Ok(floor)) => {
                session.floor = floor;
                Next::Ask(Ask::Open, Request::Open { topic: session.topic, floor })
            }
            Outcome::Ready(Ok((snapshot, frame))) => {
                session.snapshot = Some(snapshot);
                session.round(true, frame)
            }
            Outcome::Step(Ok(step)) => task.on_step(session, step),
            Outcome::Step(Err(ReconcileError::Frame(error))) => {
                tracing::debug!(peer = %session.peer, %error, "a bad frame");
                task.fault(session.peer, Fault::Malformed);
                Next::Failed
            }
            Outcome::Floor(Err(error)) => {
                tracing::warn!(%error, "a session could not be started");
                Next::Failed
            }
            Outcome::Ready(Err(error)) | Outcome::Step(Err(error)) => {
                tracing::debug!(%error, "a session could not go on");
                Next::Failed
            }
        });
    }

    fn on_step(&mut self, session: &mut Session, step: Step) -> Next {
        let limits = &self.config.limits;
        session.rounds += 1;
        session.surplus.add(&step.surplus);
        session.found = session.found.saturating_add(step.found);
        let topic = session.topic;
        session.need.extend(step.missing.into_iter().filter(|id| !self.is_rejected(&(topic, *id))));
        let full = session.need.len() >= limits.max_missing;
        match step.next {
            Some(frame) if !full && session.rounds < limits.max_rounds => return session.round(false, frame),
            Some(_) if session.is_idle() => {
                self.fault(session.peer, Fault::Endless);
                return Next::Failed;
            }
            Some(_) => session.more = true,
            None => {}
        }
        session.snapshot = None;
        if session.surplus.count > 0 {
            self.hint_surplus(session.peer, session.topic, session.surplus.mark);
        }
        self.pull_next(session)
    }

    pub(crate) fn on_sync_response(&mut self, peer: PeerId, id: OutboundRequestId, response: &[u8]) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.window.solicited += response.len() as u64;
        }
        let Some(asked) = self.catchup.asked.remove(&id) else { return };
        let Ok(response) = Response::decode(response) else {
            self.fault(peer, Fault::Malformed);
            if let Some(number) = asked {
                self.step(number, |_, _| Next::Failed);
            }
            return;
        };
        match asked {
            Some(number) => self.step(number, |task, session| task.on_answer(session, response)),
            None if matches!(response, Response::Noted | Response::Refused(_)) => {}
            None => self.fault(peer, Fault::Malformed),
        }
    }

    fn on_answer(&mut self, session: &mut Session, response: Response) -> Next {
        match (session.stage, response) {
            (Stage::Asking(Ask::Open), Response::Opened { floor }) => {
                // Below either floor something is pruned: there the two sides would differ for ever.
                session.floor = session.floor.max(floor);
                let (store, topic, floor) = (self.store.clone(), session.topic, session.floor);
                let (max_items, max_frame) = (self.config.limits.max_items, self.config.limits.max_frame);
                Next::Work(Box::new(move || {
                    let ready = Snapshot::take(store.as_ref(), &topic, floor, max_items);
                    Outcome::Ready(ready.and_then(|snapshot| {
                        let frame = snapshot.initiate(max_frame)?;
                        Ok((Arc::new(snapshot), frame))
                    }))
                }))
            }
            (Stage::Asking(Ask::Round), Response::Frame(frame)) if frame.len() <= MAX_REQUEST => {
                let Some(snapshot) = session.snapshot.clone() else { return Next::Failed };
                let (max_frame, store, topic) =
                    (self.config.limits.max_frame, self.store.clone(), session.topic);
                Next::Work(Box::new(move || {
                    let step = snapshot.advance(&frame, max_frame);
                    Outcome::Step(step.and_then(|step| Ok(step.without_known(store.as_ref(), &topic)?)))
                }))
            }
            (Stage::Asking(Ask::Pull), Response::Bodies(offers)) => self.on_bodies(session, offers),
            (Stage::Asking(Ask::Chunk), Response::Part { total, bytes }) => {
                self.on_part(session, total, &bytes)
            }
            (Stage::Asking(Ask::Chunk), Response::Refused(Refusal::Missing)) => {
                self.forget_partial(session);
                session.undelivered += 1;
                self.pull_next(session)
            }
            (_, Response::Refused(Refusal::UnknownTopic)) => Next::Pointless,
            (_, Response::Refused(_)) => Next::Failed,
            _ => {
                self.fault(session.peer, Fault::Malformed);
                Next::Failed
            }
        }
    }

    pub(crate) fn on_sync_failure(&mut self, peer: PeerId, id: OutboundRequestId, error: &OutboundFailure) {
        if let OutboundFailure::Io(error) = error
            && let Some(FrameError::TooLarge { .. }) = FrameError::of(error)
        {
            self.fault(peer, Fault::TooLarge);
        }
        let pointless = matches!(error, OutboundFailure::UnsupportedProtocols);
        if let Some(Some(number)) = self.catchup.asked.remove(&id) {
            self.step(number, |_, _| if pointless { Next::Pointless } else { Next::Failed });
        }
    }
}

/// The end.
impl Task {
    fn end_session(&mut self, mut session: Session, complete: bool, again: bool) {
        self.release(&mut session);
        self.forget_partial(&mut session);
        if session.undelivered > 0 {
            self.fault(session.peer, Fault::NotDelivered);
        }
        tracing::trace!(number = session.number, peer = %session.peer, fetched = session.fetched, complete, "a session ended");
        let (peer, topic, fetched) = (session.peer, session.topic, session.fetched);
        let now = Instant::now();
        match session.purpose {
            Purpose::Announced { settled: true, .. } => {}
            Purpose::Announced { gossip, .. } => {
                self.settle(&gossip, &peer, MessageAcceptance::Ignore);
                self.plan(peer, topic, now);
            }
            Purpose::Reconcile => {
                self.stats.sessions_complete += u64::from(complete);
                self.plan_after(peer, topic, complete, again, session.more && fetched > 0, now);
                self.emit(Event::Reconciled { topic, peer, fetched, complete });
            }
        }
    }

    /// Sessions with a peer that has gone.
    pub(crate) fn end_sessions_with(&mut self, peer: &PeerId) {
        self.end_sessions(|session| session.peer == *peer);
        self.catchup.plans.retain(|(whose, _), _| whose != peer);
    }

    /// Sessions on a topic that was left.
    pub(crate) fn end_sessions_of(&mut self, topic: &Topic) {
        self.end_sessions(|session| session.topic == *topic);
        self.catchup.plans.retain(|(_, which), _| which != topic);
    }

    pub(crate) fn sweep_sessions(&mut self, now: Instant) {
        let late = |session: &Session| {
            matches!(session.stage, Stage::Working | Stage::Asking(_)) && session.deadline <= now
        };
        self.end_sessions(late);
        let sessions = &self.catchup.sessions;
        self.catchup.asked.retain(|_, number| number.is_none_or(|number| sessions.contains_key(&number)));
        if self.catchup.asked.len() > 16 * self.config.limits.max_sessions.max(256) {
            // Hints that libp2p dropped without a word.
            self.catchup.asked.retain(|_, number| number.is_some());
        }
    }

    fn end_sessions(&mut self, which: impl Fn(&Session) -> bool) {
        let those: Vec<_> =
            self.catchup.sessions.iter().filter(|(_, s)| which(s)).map(|(number, _)| *number).collect();
        those.into_iter().for_each(|number| self.step(number, |_, _| Next::Failed));
    }
}

impl Session {
    /// Whether all the rounds so far were for nothing. An honest session of two large sets may need more rounds than
    /// it is given, but each compares something; and the peer cannot lack more than there is.
    fn is_idle(&self) -> bool {
        let all = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.len());
        self.found == 0 && (self.surplus.count == 0 || self.surplus.count > all)
    }

    fn round(&self, first: bool, frame: Vec<u8>) -> Next {
        Next::Ask(Ask::Round, Request::Round { topic: self.topic, floor: self.floor, first, frame })
    }
}
