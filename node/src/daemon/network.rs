//! Between the engine and the network: what goes out, what comes in.
//!
//! The engine hands work to [`Outbound`], which never blocks it: a full queue drops live messages and verdicts, and
//! catch-up repairs that, because everything is in the log.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dmls_gossip::{Event, Events, Handle, MessageId, PeerId, Topic, Verdict};
use tokio::sync::{Notify, mpsc, watch};

use super::direct::{self, Refusal};
use super::engine::EngineHandle;
use super::topics::Topics;
use crate::store::types::Contact;

/// Messages and verdicts that may wait for the network.
const QUEUE: usize = 512;
/// How often a failed subscription is tried again.
const RESUBSCRIBE: Duration = Duration::from_secs(5);

enum Out {
    Publish(Topic, Vec<u8>),
    Report(Topic, MessageId, PeerId, Verdict),
    Peer(Contact),
}

/// The engine's end.
#[derive(Clone)]
pub(super) struct Outbound {
    queue: mpsc::Sender<Out>,
    topics: Arc<Notify>,
    welcomes: Arc<Notify>,
    dropped: Arc<AtomicU64>,
}

/// The network's end.
pub(super) struct OutboundQueue {
    queue: mpsc::Receiver<Out>,
    topics: Arc<Notify>,
}

/// Both ends.
pub(super) fn outbound() -> (Outbound, OutboundQueue) {
    let (tx, rx) = mpsc::channel(QUEUE);
    let topics = Arc::new(Notify::new());
    let out = Outbound {
        queue: tx,
        topics: topics.clone(),
        welcomes: Arc::new(Notify::new()),
        dropped: Arc::new(AtomicU64::new(0)),
    };
    (out, OutboundQueue { queue: rx, topics })
}

impl Outbound {
    /// Sends a message, which is in the log already.
    pub(super) fn publish(&self, topic: Topic, bytes: Vec<u8>) {
        self.offer(Out::Publish(topic, bytes));
    }

    /// Says what became of a message.
    pub(super) fn report(&self, topic: Topic, id: MessageId, source: PeerId, verdict: Verdict) {
        self.offer(Out::Report(topic, id, source, verdict));
    }

    /// Connects to a peer.
    pub(super) fn peer(&self, contact: Contact) {
        self.offer(Out::Peer(contact));
    }

    /// The set of groups has changed.
    pub(super) fn topics(&self) {
        self.topics.notify_one();
    }

    /// There are Welcomes to deliver.
    pub(super) fn welcomes(&self) {
        self.welcomes.notify_one();
    }

    /// Ends when there are Welcomes to deliver.
    pub(super) async fn welcomes_waiting(&self) {
        self.welcomes.notified().await;
    }

    /// What did not fit the queue so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn offer(&self, out: Out) {
        if self.queue.try_send(out).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Carries out what the engine wants until `stop` says so.
pub(super) async fn send(
    gossip: Handle,
    mut out: OutboundQueue,
    topics: Arc<Topics>,
    mut stop: watch::Receiver<bool>,
) {
    let mut subscribed: HashSet<Topic> = HashSet::new();
    loop {
        tokio::select! {
            () = crate::stop::requested(&mut stop) => break,
            item = out.queue.recv() => match item {
                Some(item) => {
                    // A new group's first message must find its topic subscribed.
                    if let Out::Publish(topic, _) = &item && !subscribed.contains(topic) {
                        subscribe(&gossip, &topics, &mut subscribed).await;
                    }
                    carry_out(&gossip, item).await;
                }
                None => break,
            },
            () = out.topics.notified() => subscribe(&gossip, &topics, &mut subscribed).await,
            () = tokio::time::sleep(RESUBSCRIBE) => subscribe(&gossip, &topics, &mut subscribed).await,
        }
    }
}

async fn subscribe(gossip: &Handle, topics: &Topics, subscribed: &mut HashSet<Topic>) {
    let wanted: HashSet<Topic> = topics.all().into_iter().collect();
    for topic in wanted.difference(&subscribed.clone()) {
        match gossip.subscribe(*topic).await {
            Ok(()) => {
                subscribed.insert(*topic);
            }
            Err(error) => tracing::warn!("a group cannot be followed: {error}"),
        }
    }
    for topic in subscribed.clone().difference(&wanted) {
        if gossip.unsubscribe(*topic).await.is_ok() {
            subscribed.remove(topic);
        }
    }
}

async fn carry_out(gossip: &Handle, item: Out) {
    match item {
        Out::Publish(topic, bytes) => match gossip.publish(topic, bytes).await {
            Ok(published) => tracing::trace!("published: {published:?}"),
            Err(error) => tracing::warn!("a message waits for catch-up: {error}"),
        },
        Out::Report(topic, id, source, verdict) => {
            // A network that has ended needs no verdicts.
            let _ = gossip.report(topic, id, source, verdict).await;
        }
        Out::Peer(contact) => {
            let Some((peer, addresses)) = contact.parsed() else { return };
            if let Err(error) = gossip.add_peer(peer, addresses).await {
                tracing::debug!("a contact is not used: {error}");
            }
        }
    }
}

/// Hands what comes from the network to the engine until the network ends.
pub(super) async fn receive(mut events: Events, gossip: Handle, engine: EngineHandle) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Message { topic, id, bytes, source, .. } => {
                engine.network(move |engine| engine.on_message(topic, id, &bytes, source)).await;
            }
            Event::Reconciled { topic, complete: true, .. } => {
                engine.network(move |engine| engine.on_reconciled(topic)).await;
            }
            Event::Request { peer, kind, body, token } => {
                let gossip = gossip.clone();
                let runtime = tokio::runtime::Handle::current();
                let work = move |engine: &mut super::engine::Engine| {
                    let answer = answer(engine, &peer, kind, &body);
                    runtime.spawn(async move {
                        // Whoever asked may have gone.
                        let _ = gossip.respond(token, answer.map_err(|refusal| refusal as u8)).await;
                    });
                };
                engine.network(work).await;
            }
            Event::SlowPeer { dropped, .. } => {
                tracing::debug!("a peer is slow: {dropped} messages wait for catch-up")
            }
            Event::Penalised { fault, banned, .. } => {
                tracing::info!("a peer broke a rule: {fault:?}, banned: {banned}")
            }
            other => tracing::debug!("network: {other:?}"),
        }
    }
}

fn answer(
    engine: &mut super::engine::Engine,
    peer: &PeerId,
    kind: u8,
    body: &[u8],
) -> Result<Vec<u8>, Refusal> {
    match kind {
        direct::KEY_PACKAGE => {
            direct::check_key_package_request(body)?;
            engine.on_key_package_request(peer, super::engine::now_ms())
        }
        direct::WELCOME => engine.on_welcome(peer, body).map(|()| Vec::new()),
        _ => Err(Refusal::UnknownKind),
    }
}
