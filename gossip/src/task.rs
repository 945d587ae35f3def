//! The task that owns the swarm: its state, its loop, and its clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::futures::StreamExt;
use libp2p::gossipsub;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::bounded::{Expiring, Jitter, Recent};
use crate::catchup::Catchup;
use crate::config::ms;
use crate::direct::Direct;
use crate::event::EventQueue;
use crate::handle::{Command, Reply};
use crate::meter::Meter;
use crate::peers::{Known, Standing, Window};
use crate::serve::{Served, Serving};
use crate::{Config, Event, Fault, MessageId, MessageStore, Stats, Topic};

const TICK: Duration = Duration::from_millis(50);
const SWEEP: Duration = Duration::from_secs(1);
/// How long `set_blocked` and `shutdown` wait for connections to close.
const CLOSING: Duration = Duration::from_secs(2);

pub(crate) type Key = (Topic, MessageId);

/// A message that waits for its verdict: the gossipsub messages it came in, and from whom.
pub(crate) type Unreported = Vec<(gossipsub::MessageId, PeerId)>;

/// A connected peer.
pub(crate) struct Peer {
    pub(crate) address: Multiaddr,
    pub(crate) connections: Vec<(ConnectionId, Instant)>,
    /// Where it says that it listens, filtered.
    pub(crate) listens: Vec<Multiaddr>,
    /// What it calls itself: differs from one run of a peer to the next.
    pub(crate) instance: Option<String>,
    /// All topics it has told us.
    pub(crate) topics: HashSet<Topic>,
    pub(crate) window: Window,
}

/// A topic that this node is subscribed to.
pub(crate) struct TopicState {
    /// When to reconcile with a few peers.
    pub(crate) next_round: Instant,
    /// When to tell the peers that there is something new that did not come live.
    pub(crate) spread: Option<Instant>,
}

/// What a job on a blocking thread brought.
pub(crate) enum Done {
    /// For a session of this node's, by its number.
    Session(u64, crate::catchup::Outcome),
    /// An answer to a peer.
    Served(Served),
}

pub(crate) struct Task {
    pub(crate) swarm: Swarm<Behaviour>,
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) meter: Meter,
    pub(crate) queue: EventQueue,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) jobs: JoinSet<Done>,
    pub(crate) stats: Stats,
    pub(crate) jitter: Jitter,

    pub(crate) listening: Vec<Multiaddr>,
    pub(crate) peers: HashMap<PeerId, Peer>,
    pub(crate) topics: HashMap<Topic, TopicState>,
    pub(crate) known: Known,
    pub(crate) standing: Standing,

    pub(crate) unreported: Expiring<Key, Unreported>,
    pub(crate) rejected: Recent<Key>,
    pub(crate) ignored: Expiring<Key, ()>,

    pub(crate) catchup: Catchup,
    pub(crate) serving: Serving,
    pub(crate) direct: Direct,

    /// Who waits for the connections of blocked peers to close, and since when.
    pub(crate) closing: Vec<(Reply<()>, Instant)>,
    shutdown: Option<Reply<()>>,
    next_sweep: Instant,
}

impl Task {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        config: Config,
        store: Arc<dyn MessageStore>,
        meter: Meter,
        queue: EventQueue,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        let (limits, timing) = (&config.limits, &config.timing);
        Self {
            swarm,
            store,
            meter,
            queue,
            commands,
            jobs: JoinSet::new(),
            stats: Stats::default(),
            jitter: Jitter::new(),
            listening: Vec::new(),
            peers: HashMap::new(),
            topics: HashMap::new(),
            known: Known::new(limits, timing),
            standing: Standing::new(limits, timing),
            unreported: Expiring::new(limits.max_unreported, ms(timing.unreported_ms)),
            rejected: Recent::new(limits.max_rejected),
            ignored: Expiring::new(limits.max_unreported, ms(timing.ignored_ms)),
            catchup: Catchup::default(),
            serving: Serving::default(),
            direct: Direct::default(),
            closing: Vec::new(),
            shutdown: None,
            next_sweep: Instant::now(),
            config,
        }
    }

    pub(crate) async fn run(mut self, early: Vec<SwarmEvent<BehaviourEvent>>) {
        self.remember_bootstrap();
        early.into_iter().for_each(|event| self.on_swarm(event));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.shutdown.is_none() {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event),
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown(reply)) => self.shutdown = Some(reply),
                    Some(command) => self.on_command(command),
                    None => break,
                },
                Some(done) = self.jobs.join_next() => self.on_done(done),
                () = self.queue.taken(), if self.catchup.is_waiting() => self.resume_waiting(),
                _ = ticks.tick() => self.on_tick(),
                () = self.queue.closed() => break,
            }
        }
        self.close().await;
    }

    /// Says goodbye, so that peers need not find out by a timeout.
    async fn close(mut self) {
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            // An error means that the peer is not connected any more.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let goodbye = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.next().await;
            }
        };
        let _ = tokio::time::timeout(CLOSING, goodbye).await;
        let reply = self.shutdown.take();
        drop(self);
        if let Some(reply) = reply {
            let _ = reply.send(());
        }
    }

    fn on_done(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Session(number, outcome)) => self.on_outcome(number, outcome),
            Ok(Done::Served(served)) => self.on_served(served),
            // The store panicked. What waited for the job ends by its deadline; the peer's stream is closed.
            Err(error) => {
                tracing::error!(%error, "a store job failed");
                self.serving.running = self.serving.running.saturating_sub(1);
            }
        }
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        self.dial_due(now);
        self.plan_rounds(now);
        self.start_due_sessions(now);
        self.resume_waiting();
        self.answer_closed(now);
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP;
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.unreported.sweep(now);
        self.ignored.sweep(now);
        self.standing.end_bans(now);
        self.apply_outside(now);
        for (peer, points) in self.standing.fade(now) {
            self.tell_score(&peer, points);
        }
        self.sweep_sessions(now);
        self.serving.sweep(now);
        self.direct.sweep(now);
        self.check_windows(now);
    }

    /// Starts what each peer may do in a window anew, and finds peers that send too much.
    fn check_windows(&mut self, now: Instant) {
        let mut loud = Vec::new();
        for (peer, state) in &mut self.peers {
            let received = self.meter.of(peer).map_or(0, |bytes| bytes.received());
            let window = &mut state.window;
            let unsolicited =
                received.saturating_sub(window.received_at_start).saturating_sub(window.solicited);
            if unsolicited > self.config.limits.max_unsolicited_per_window {
                loud.push(*peer);
            }
            if window.is_over(now, &self.config.limits) || loud.last() == Some(peer) {
                *window = Window::new(now, received);
            }
        }
        loud.into_iter().for_each(|peer| self.fault(peer, Fault::TooManyBytes));
    }

    /// Tells the application, if there is room; messages do not come this way.
    pub(crate) fn emit(&mut self, event: Event) {
        if self.queue.offer(event).is_err() {
            self.stats.dropped_events += 1;
        }
    }

    /// Books a breach of a rule, and bans the peer if it was one too many.
    pub(crate) fn fault(&mut self, peer: PeerId, fault: Fault) {
        let now = Instant::now();
        let (points, banned) = self.standing.fault(peer, fault, now);
        tracing::debug!(%peer, %fault, points, banned, "a peer broke a rule");
        self.stats.faults += 1;
        self.tell_score(&peer, points);
        if banned {
            self.apply_outside(now);
        }
        self.emit(Event::Penalised { peer, fault, banned });
    }

    /// Tells gossipsub what a peer's points are; it does not forget by itself. Whoever is below zero is out of the
    /// mesh, so the few points that a race can cost an honest peer do not count there.
    pub(crate) fn tell_score(&mut self, peer: &PeerId, points: u32) {
        let felt = points.saturating_sub(self.config.limits.ban_points / 5);
        self.swarm.behaviour_mut().gossip.set_application_score(peer, -f64::from(felt));
    }

    /// The connected peers that share a topic.
    pub(crate) fn peers_of(&self, topic: &Topic) -> Vec<PeerId> {
        let sharing = self.peers.iter().filter(|(_, state)| state.topics.contains(topic));
        sharing.map(|(peer, _)| *peer).collect()
    }

    /// At most `max` of these, at random.
    pub(crate) fn some_of(&mut self, mut peers: Vec<PeerId>, max: usize) -> Vec<PeerId> {
        while peers.len() > max {
            let index = self.jitter.below(peers.len() as u64) as usize;
            peers.swap_remove(index);
        }
        peers
    }

    /// Whether a message that the store does not have must not be fetched or handed over (again).
    pub(crate) fn is_refused(&self, key: &Key) -> bool {
        self.is_rejected(key) || self.store.unwanted(&key.0, &key.1).unwrap_or(true)
    }

    /// Whether the application has said, a short time ago, that it does not want a message.
    pub(crate) fn is_rejected(&self, key: &Key) -> bool {
        self.rejected.contains(key) || self.ignored.contains(key)
    }

    /// Whether the store has a message. A store that fails has it: nothing is fetched into a failing store.
    pub(crate) fn is_stored(&self, key: &Key) -> bool {
        self.store.has(&key.0, &key.1).unwrap_or(true)
    }
}
