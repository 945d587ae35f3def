//! What the application is told, through a queue that is bounded in events and in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libp2p::{Multiaddr, PeerId};
use tokio::sync::{Notify, mpsc};

use crate::{Fault, MessageId, Topic};

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message that the store did not have. The application judges and stores it, then calls
    /// [`Handle::report`](crate::Handle::report): only then is a live message passed on.
    Message {
        /// The topic it came in.
        topic: Topic,
        /// The SHA-256 of `bytes`; checked.
        id: MessageId,
        /// The message.
        bytes: Vec<u8>,
        /// The peer that handed it over; not necessarily its author.
        source: PeerId,
        /// Whether it was just published (else it was found missing by reconciliation).
        live: bool,
    },
    /// A reconciliation session of this node with a peer has ended. All it fetched was queued before this event.
    Reconciled {
        /// The topic.
        topic: Topic,
        /// The peer.
        peer: PeerId,
        /// Messages that were fetched and queued.
        fetched: u64,
        /// Whether this node now has been handed everything that the peer has and this node does not refuse.
        complete: bool,
    },
    /// A direct request; answer it with [`Handle::respond`](crate::Handle::respond) before the peer's timeout.
    Request {
        /// Who asks (authenticated by the connection).
        peer: PeerId,
        /// What is asked for, in the application's numbering.
        kind: u8,
        /// The request.
        body: Vec<u8>,
        /// Names this request in the answer.
        token: ResponseToken,
    },
    /// The first connection to a peer was made.
    PeerConnected {
        /// The peer.
        peer: PeerId,
        /// Its address as seen from here.
        address: Multiaddr,
    },
    /// The last connection to a peer ended.
    PeerDisconnected {
        /// The peer.
        peer: PeerId,
    },
    /// A peer subscribed to a topic that this node is subscribed to.
    PeerJoined {
        /// The topic.
        topic: Topic,
        /// The peer.
        peer: PeerId,
    },
    /// A peer left a topic that this node is subscribed to.
    PeerLeft {
        /// The topic.
        topic: Topic,
        /// The peer.
        peer: PeerId,
    },
    /// A remembered peer could not be reached; it will be tried again.
    DialFailed {
        /// The peer.
        peer: PeerId,
        /// Failed attempts in a row.
        attempts: u32,
        /// Milliseconds until the next one.
        retry_in_ms: u64,
        /// Why, for a log.
        reason: String,
    },
    /// This node listens on a further address.
    NewListenAddr {
        /// The address, without a peer id.
        address: Multiaddr,
    },
    /// This node no longer listens on an address.
    ListenAddrGone {
        /// The address.
        address: Multiaddr,
    },
    /// A peer does not read what is sent to it: live messages to it were dropped. Catch-up will repair that.
    SlowPeer {
        /// The peer.
        peer: PeerId,
        /// Messages that were dropped.
        dropped: usize,
    },
    /// A peer broke a rule.
    Penalised {
        /// The peer.
        peer: PeerId,
        /// The rule.
        fault: Fault,
        /// Whether it has been disconnected and banned for a time.
        banned: bool,
    },
}

impl Event {
    /// Bytes that this event holds, about.
    fn weight(&self) -> usize {
        let body = match self {
            Self::Message { bytes, .. } => bytes.len(),
            Self::Request { body, .. } => body.len(),
            _ => 0,
        };
        body.saturating_add(256)
    }
}

/// Names one incoming direct request.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ResponseToken(pub(crate) u64);

/// The application's end of the queue.
pub struct Events {
    rx: mpsc::Receiver<Event>,
    gauge: Arc<Gauge>,
}

struct Gauge {
    bytes: AtomicUsize,
    room: Notify,
}

impl Events {
    /// The next event; `None` once the network task has ended.
    pub async fn recv(&mut self) -> Option<Event> {
        let event = self.rx.recv().await?;
        self.taken(&event);
        Some(event)
    }

    /// The next event, if one is waiting.
    pub fn try_recv(&mut self) -> Option<Event> {
        let event = self.rx.try_recv().ok()?;
        self.taken(&event);
        Some(event)
    }

    fn taken(&self, event: &Event) {
        self.gauge.bytes.fetch_sub(event.weight(), Ordering::AcqRel);
        self.gauge.room.notify_one();
    }
}

/// The network task's end of the queue.
pub(crate) struct EventQueue {
    tx: mpsc::Sender<Event>,
    gauge: Arc<Gauge>,
    max_bytes: usize,
}

/// An event that did not fit.
pub(crate) struct Full;

impl EventQueue {
    pub(crate) fn new(max_events: usize, max_bytes: usize) -> (Self, Events) {
        let (tx, rx) = mpsc::channel(max_events);
        let gauge = Arc::new(Gauge { bytes: AtomicUsize::new(0), room: Notify::new() });
        (Self { tx, gauge: gauge.clone(), max_bytes }, Events { rx, gauge })
    }

    /// Queues an event unless the application is too far behind. The bound may be passed by one event, so that one of
    /// the largest size always gets through an empty queue.
    pub(crate) fn offer(&self, event: Event) -> Result<(), Full> {
        let weight = event.weight();
        if self.gauge.bytes.load(Ordering::Acquire) > self.max_bytes {
            return Err(Full);
        }
        self.gauge.bytes.fetch_add(weight, Ordering::AcqRel);
        self.tx.try_send(event).map_err(|_| {
            self.gauge.bytes.fetch_sub(weight, Ordering::AcqRel);
            Full
        })
    }

    /// Whether there is comfortable room: half of both bounds.
    pub(crate) fn has_room(&self) -> bool {
        let bytes = self.gauge.bytes.load(Ordering::Acquire);
        bytes <= self.max_bytes / 2 && self.tx.capacity() * 2 >= self.tx.max_capacity()
    }

    /// Ends when the application has taken an event since the last call.
    pub(crate) async fn taken(&self) {
        self.gauge.room.notified().await;
    }

    /// Ends when the application has dropped its end.
    pub(crate) async fn closed(&self) {
        self.tx.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Event {
        let source = PeerId::random();
        let (topic, id) = (Topic([0; 32]), MessageId([0; 32]));
        Event::Message { topic, id, bytes: vec![0; len], source, live: true }
    }

    #[test]
    fn the_queue_is_bounded_in_bytes_and_frees_them() {
        let (queue, mut events) = EventQueue::new(100, 10_000);
        assert!(queue.offer(message(9_000)).is_ok());
        assert!(queue.offer(message(9_000)).is_ok(), "the bound may be passed once");
        assert!(queue.offer(message(1)).is_err());
        assert!(!queue.has_room());
        assert!(events.try_recv().is_some() && events.try_recv().is_some());
        assert!(queue.has_room());
        assert!(queue.offer(message(1)).is_ok());
    }

    #[test]
    fn the_queue_is_bounded_in_events() {
        let (queue, mut events) = EventQueue::new(2, 10_000);
        assert!(queue.offer(message(1)).is_ok() && queue.offer(message(1)).is_ok());
        assert!(queue.offer(message(1)).is_err());
        assert!(events.try_recv().is_some());
        assert!(queue.offer(message(1)).is_ok());
    }
}
