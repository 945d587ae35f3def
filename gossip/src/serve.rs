//! Answers peers' synchronisation requests. Store reads run on threads for blocking work, a bounded number at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::request_response::{self, Message, ResponseChannel};

use crate::frame::{FrameError, Incoming};
use crate::reconcile::{self, ReconcileError, Snapshot};
use crate::task::{Done, Task};
use crate::wire::{Offer, Refusal, Request, Response};
use crate::{Fault, Limits, MessageId, MessageStore, StoreError, Topic};

/// A snapshot serves the rounds of one session; a session that takes longer gets a fresh one.
const SNAPSHOT_LIFE: Duration = Duration::from_secs(30);

type Channel = ResponseChannel<Vec<u8>>;

/// The state of answering.
#[derive(Default)]
pub(crate) struct Serving {
    /// Store jobs that run.
    pub(crate) running: usize,
    waiting: VecDeque<(PeerId, Request, Channel)>,
    snapshots: HashMap<(PeerId, Topic), (Arc<Snapshot>, Instant)>,
}

/// What a store job made of a request.
pub(crate) struct Served {
    peer: PeerId,
    channel: Channel,
    response: Response,
    snapshot: Option<(Topic, Arc<Snapshot>)>,
    fault: Option<Fault>,
}

impl Serving {
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.snapshots.retain(|_, (_, made)| now.saturating_duration_since(*made) < SNAPSHOT_LIFE);
    }

    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.snapshots.retain(|(whose, _), _| whose != peer);
        self.waiting.retain(|(whose, _, _)| whose != peer);
    }

    fn keep(&mut self, key: (PeerId, Topic), snapshot: Arc<Snapshot>, max: usize) {
        if self.snapshots.len() >= max
            && !self.snapshots.contains_key(&key)
            && let Some(oldest) =
                self.snapshots.iter().min_by_key(|(_, (_, made))| *made).map(|(key, _)| *key)
        {
            self.snapshots.remove(&oldest);
        }
        self.snapshots.insert(key, (snapshot, Instant::now()));
    }
}

impl Task {
    pub(crate) fn on_sync(&mut self, event: request_response::Event<Incoming, Vec<u8>>) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                Message::Request { request, channel, .. } => match request {
                    Ok(request) => self.on_sync_request(peer, &request, channel),
                    Err(error) => {
                        self.refuse(channel, error.refusal());
                        self.on_unread(peer, error);
                    }
                },
                Message::Response { request_id, response } => {
                    self.on_sync_response(peer, request_id, &response);
                }
            },
            request_response::Event::OutboundFailure { peer, request_id, error, .. } => {
                self.on_sync_failure(peer, request_id, &error);
            }
            request_response::Event::InboundFailure { .. } | request_response::Event::ResponseSent { .. } => {
            }
        }
    }

    /// A request was not read.
    pub(crate) fn on_unread(&mut self, peer: PeerId, error: FrameError) {
        if let FrameError::TooLarge { .. } = error {
            self.fault(peer, Fault::TooLarge);
        }
    }

    fn on_sync_request(&mut self, peer: PeerId, request: &[u8], channel: Channel) {
        let limits = &self.config.limits;
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if !state.window.request(limits) {
            self.refuse(channel, Refusal::Busy);
            return self.fault(peer, Fault::TooManyRequests);
        }
        let may_serve = state.window.may_serve(limits);
        let Ok(request) = Request::decode(request) else {
            self.refuse(channel, Refusal::Malformed);
            return self.fault(peer, Fault::Malformed);
        };
        let topic = request.topic();
        if !self.topics.contains_key(&topic) {
            self.refuse(channel, Refusal::UnknownTopic);
            return self.fault(peer, Fault::UnknownTopic);
        }
        if matches!(request, Request::Hint { .. }) {
            self.plan(peer, topic, Instant::now());
            return self.answer(channel, &Response::Noted);
        }
        // Nobody fills the queue alone.
        let max = self.config.limits.max_jobs;
        let own = self.serving.waiting.iter().filter(|(whose, _, _)| *whose == peer).count();
        if !may_serve || own >= max.div_ceil(2) || self.serving.waiting.len() >= max * 2 {
            return self.refuse(channel, Refusal::Busy);
        }
        self.serving.waiting.push_back((peer, request, channel));
        self.serve_waiting();
    }

    fn serve_waiting(&mut self) {
        while self.serving.running < self.config.limits.max_jobs {
            let Some((peer, request, channel)) = self.serving.waiting.pop_front() else { return };
            let snapshot = self.serving.snapshots.get(&(peer, request.topic()));
            let snapshot = snapshot.map(|(snapshot, _)| snapshot.clone());
            let (store, limits) = (self.store.clone(), self.config.limits.clone());
            self.serving.running += 1;
            self.jobs.spawn_blocking(move || {
                let (response, kept, fault) = serve(store.as_ref(), &limits, &request, snapshot);
                let snapshot = kept.map(|kept| (request.topic(), kept));
                Done::Served(Served { peer, channel, response, snapshot, fault })
            });
        }
    }

    pub(crate) fn on_served(&mut self, served: Served) {
        self.serving.running = self.serving.running.saturating_sub(1);
        let response = served.response.encode();
        if let Some(state) = self.peers.get_mut(&served.peer) {
            state.window.serve(response.len());
            if let Some((topic, snapshot)) = served.snapshot {
                self.serving.keep((served.peer, topic), snapshot, self.config.limits.max_sessions);
            }
        }
        self.send(served.channel, response);
        if let Some(fault) = served.fault {
            self.fault(served.peer, fault);
        }
        self.serve_waiting();
    }

    fn refuse(&mut self, channel: Channel, refusal: Refusal) {
        self.stats.refused_busy += u64::from(refusal == Refusal::Busy);
        self.answer(channel, &Response::Refused(refusal));
    }

    fn answer(&mut self, channel: Channel, response: &Response) {
        self.send(channel, response.encode());
    }

    fn send(&mut self, channel: Channel, response: Vec<u8>) {
        if self.swarm.behaviour_mut().sync.send_response(channel, response).is_err() {
            tracing::trace!("a peer went away before its answer");
        }
    }
}

impl FrameError {
    fn refusal(self) -> Refusal {
        match self {
            Self::TooLarge { .. } => Refusal::Malformed,
            Self::Busy => Refusal::Busy,
        }
    }
}

type Made = (Response, Option<Arc<Snapshot>>, Option<Fault>);

/// The answer to one request; on a thread for blocking work.
fn serve(
    store: &dyn MessageStore,
    limits: &Limits,
    request: &Request,
    cached: Option<Arc<Snapshot>>,
) -> Made {
    let failed = |error: StoreError| {
        tracing::warn!(%error, "a request could not be served");
        Response::Refused(Refusal::Failed)
    };
    match request {
        Request::Open { topic, .. } => {
            let floor = reconcile::floor(store, topic, limits.max_items);
            (floor.map_or_else(failed, |floor| Response::Opened { floor }), None, None)
        }
        Request::Round { topic, floor, first, frame } => {
            let cached = cached.filter(|snapshot| !first && snapshot.floor() == *floor);
            let snapshot = cached
                .map_or_else(|| Snapshot::take(store, topic, *floor, limits.max_items).map(Arc::new), Ok);
            let answered = snapshot.and_then(|snapshot| {
                let answer = snapshot.answer(frame, limits.max_frame)?;
                Ok((answer, snapshot))
            });
            match answered {
                Ok((answer, snapshot)) => (Response::Frame(answer), Some(snapshot), None),
                Err(ReconcileError::FloorMoved { .. }) => {
                    (Response::Refused(Refusal::FloorMoved), None, None)
                }
                Err(ReconcileError::Store(error)) => (failed(error), None, None),
                Err(ReconcileError::Frame(_)) => {
                    (Response::Refused(Refusal::Malformed), None, Some(Fault::Malformed))
                }
            }
        }
        Request::Pull { topic, ids } => {
            (bodies(store, limits, topic, ids).map_or_else(failed, Response::Bodies), None, None)
        }
        Request::Chunk { topic, id, offset } => {
            (chunk(store, limits, topic, id, *offset).unwrap_or_else(failed), None, None)
        }
        Request::Hint { .. } => (Response::Noted, None, None),
    }
}

/// As many bodies as fit a batch, lowest order first, so that the receiver sees parents before children.
fn bodies(
    store: &dyn MessageStore,
    limits: &Limits,
    topic: &Topic,
    ids: &[MessageId],
) -> Result<Vec<Offer>, StoreError> {
    let (mut offers, mut found) = (Vec::new(), Vec::new());
    let floor = store.floor(topic)?;
    for id in ids {
        match store.order(topic, id)? {
            Some(order) if order >= floor => found.push((order, *id)),
            _ => offers.push(Offer::Missing(*id)),
        }
    }
    found.sort_unstable();
    found.dedup();
    let mut used = 0usize;
    for (_, id) in found {
        let Some(bytes) = store.get(topic, &id)? else {
            offers.push(Offer::Missing(id));
            continue;
        };
        if bytes.len() > limits.max_batch {
            let len = u32::try_from(bytes.len()).map_err(|_| StoreError("a message exceeds 4 GiB".into()))?;
            offers.push(Offer::Large { id, len });
            break;
        }
        used = used.saturating_add(bytes.len());
        if used > limits.max_batch {
            break;
        }
        offers.push(Offer::Body(bytes));
    }
    Ok(offers)
}

fn chunk(
    store: &dyn MessageStore,
    limits: &Limits,
    topic: &Topic,
    id: &MessageId,
    offset: u32,
) -> Result<Response, StoreError> {
    let Some(bytes) = store.get(topic, id)? else { return Ok(Response::Refused(Refusal::Missing)) };
    let total = u32::try_from(bytes.len()).map_err(|_| StoreError("a message exceeds 4 GiB".into()))?;
    let rest = bytes.get(offset as usize..).unwrap_or_default();
    let part = rest.get(..limits.max_batch).unwrap_or(rest);
    Ok(Response::Part { total, bytes: part.to_vec() })
}
