//! The one owner of every group's state.
//!
//! It runs on a thread of its own, because a synced write blocks, and takes work from two bounded queues: what the
//! network brings and what the API asks for. It never waits for anybody: what it has to tell goes into queues that
//! drop rather than block, and everything that must not be lost is in the database.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dmls_core::group::{Changes, Client, Group, GroupId, Input, LoadError, StoreError, group_ids};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::sync::{mpsc, oneshot};

use super::events::Bus;
use super::joining::Asked;
use super::network::Outbound;
use super::topics::Topics;
use super::unwanted::Unwanted;
use crate::config::Config;
use crate::error::{ErrorCode, Failure};
use crate::store::{Column, Database, Extra};

/// How long after a failed write the database is tried again.
const RECOVER_MS: u64 = 1_000;
/// The shortest sleep: a deadline that is always due must not take a whole processor.
const MIN_SLEEP_MS: u64 = 2;
/// The longest sleep: the wall clock may be set.
const MAX_SLEEP_MS: u64 = 1_000;

/// How often key packages that have expired are looked for.
const PRUNE_MS: u64 = 60 * 60_000;

type Work = Box<dyn FnOnce(&mut Engine) + Send>;

/// What the engine is made of.
pub(super) struct Parts {
    /// The database.
    pub(super) database: Arc<Database>,
    /// Groups by topic, as the network sees them.
    pub(super) topics: Arc<Topics>,
    /// What is never fetched again.
    pub(super) unwanted: Arc<Unwanted>,
    /// What happened.
    pub(super) bus: Arc<Bus>,
    /// What goes out.
    pub(super) outbound: Outbound,
    /// The configuration.
    pub(super) config: Arc<Config>,
    /// The highest sequence number that an earlier run may have used.
    pub(super) last_seq: u64,
}

/// All state of all groups.
pub(super) struct Engine {
    pub(super) parts: Parts,
    pub(super) client: Client,
    pub(super) groups: BTreeMap<GroupId, Group>,
    pub(super) names: HashMap<GroupId, String>,
    pub(super) reconciled: HashMap<GroupId, u64>,
    /// Groups that could not be loaded, and why.
    pub(super) damaged: Vec<String>,
    pub(super) next_seq: u64,
    /// Sequence numbers up to here need no write.
    pub(super) reserved_seq: u64,
    /// Since a write failed: when to try again, and what failed. Until then nothing is taken.
    pub(super) failed: Option<(u64, StoreError)>,
    /// When what is not wanted is stored.
    pub(super) flush_at: Option<u64>,
    /// When key packages that have expired are looked for.
    pub(super) prune_at: u64,
    /// Who has asked for key packages lately.
    pub(super) asked: Asked,
    /// Whether waiting invitations are to be accepted, where that was not possible before.
    pub(super) accept_waiting: bool,
}

/// Asks the engine. Clones share it.
#[derive(Clone)]
pub(super) struct EngineHandle {
    calls: mpsc::Sender<Work>,
    network: mpsc::Sender<Work>,
}

/// The engine's ends of its queues.
pub(super) struct Inbox {
    calls: mpsc::Receiver<Work>,
    network: mpsc::Receiver<Work>,
}

/// The queues of an engine.
pub(super) fn queues() -> (EngineHandle, Inbox) {
    let (calls, calls_rx) = mpsc::channel(64);
    // A network message may have 16 MiB, and the network has a queue of its own behind this one.
    let (network, network_rx) = mpsc::channel(8);
    (EngineHandle { calls, network }, Inbox { calls: calls_rx, network: network_rx })
}

impl EngineHandle {
    /// Runs `call` on the engine and waits for what it returns.
    ///
    /// # Errors
    /// [`ErrorCode::NoDaemon`] if the engine has ended.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Engine) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let gone = || Failure::new(ErrorCode::NoDaemon, "The daemon is stopping.");
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |engine| {
            // Whoever asked may have hung up; the work is done all the same.
            let _ = reply.send(call(engine));
        });
        self.calls.send(work).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// Hands over what came from the network. Waits while the engine is behind.
    pub(super) async fn network(&self, work: impl FnOnce(&mut Engine) + Send + 'static) {
        // An engine that has ended needs nothing any more.
        let _ = self.network.send(Box::new(work)).await;
    }
}

impl Engine {
    /// Loads everything from the database.
    ///
    /// # Errors
    /// [`ErrorCode::NotInitialised`], [`ErrorCode::Store`]. A damaged group is no error here: it is left alone,
    /// reported, and the others work.
    pub(super) fn load(parts: Parts) -> Result<Self, Failure> {
        let none = Extra::default();
        let client = Client::load(&parts.database.step(&none)).map_err(store_failure)?;
        let client = client.ok_or_else(|| {
            Failure::new(ErrorCode::NotInitialised, "There is no identity here.")
                .hint("Run `dmls init` first.")
        })?;
        let last_seq = parts.last_seq;
        let mut engine = Self {
            parts,
            client,
            groups: BTreeMap::new(),
            names: HashMap::new(),
            reconciled: HashMap::new(),
            damaged: Vec::new(),
            next_seq: last_seq + 1,
            reserved_seq: last_seq,
            failed: None,
            flush_at: None,
            prune_at: 0,
            asked: Asked::default(),
            accept_waiting: false,
        };
        engine.load_groups().map_err(store_failure)?;
        for id in engine.groups.keys() {
            engine.parts.unwanted.load(&engine.parts.database, id).map_err(store_failure)?;
        }
        Ok(engine)
    }

    fn load_groups(&mut self) -> Result<(), StoreError> {
        let none = Extra::default();
        let store = self.parts.database.step(&none);
        self.groups.clear();
        self.names.clear();
        self.damaged.clear();
        for id in group_ids(&store)? {
            match Group::load(&store, &id, &self.parts.config.group) {
                Ok(Some(group)) => {
                    let name: Option<String> = self.parts.database.get(Column::Names, id.0.as_slice())?;
                    self.names.insert(id.clone(), name.unwrap_or_else(|| hex::encode(id.0.as_slice())));
                    self.groups.insert(id, group);
                }
                Ok(None) => {}
                Err(LoadError::Store(error @ StoreError::Io(_))) => return Err(error),
                Err(error) => {
                    tracing::error!("a group cannot be loaded: {error}");
                    self.damaged.push(format!("Group {}: {error}", hex::encode(id.0.as_slice())));
                }
            }
        }
        let topics = self.groups.iter().map(|(id, group)| (id.clone(), group.floor()));
        self.parts.topics.replace(topics);
        self.parts.outbound.topics();
        // Who was found out right before this program ended has not been proved guilty yet.
        for id in self.groups.keys().cloned().collect::<Vec<_>>() {
            self.prove(&id)?;
        }
        Ok(())
    }

    /// Works until both queues are closed or `stop` says so.
    pub(super) async fn run(mut self, mut inbox: Inbox, mut stop: tokio::sync::watch::Receiver<bool>) {
        let mut ticked = Instant::now();
        loop {
            let wait = Duration::from_millis(self.wait_ms());
            tokio::select! {
                () = crate::stop::requested(&mut stop) => break,
                work = inbox.calls.recv() => match work {
                    Some(work) => work(&mut self),
                    None => break,
                },
                work = inbox.network.recv() => match work {
                    Some(work) => work(&mut self),
                    None => break,
                },
                () = tokio::time::sleep(wait) => {}
            }
            // Not only when there is nothing else to do: whoever keeps the queues full must not stop the clocks.
            if self.due_in_ms() == 0 && ticked.elapsed() >= Duration::from_millis(MIN_SLEEP_MS) {
                self.tick();
                ticked = Instant::now();
            }
        }
        self.flush_unwanted();
        tracing::debug!("the engine has stopped");
    }

    fn wait_ms(&self) -> u64 {
        self.due_in_ms().clamp(MIN_SLEEP_MS, MAX_SLEEP_MS)
    }

    fn due_in_ms(&self) -> u64 {
        if self.accept_waiting && self.failed.is_none() {
            return 0;
        }
        let next = match &self.failed {
            Some((retry_at, _)) => *retry_at,
            None => {
                let groups = self.groups.values().filter_map(Group::next_deadline);
                groups.chain(self.flush_at).fold(self.prune_at, u64::min)
            }
        };
        next.saturating_sub(now_ms())
    }

    fn tick(&mut self) {
        let now = now_ms();
        if let Some((retry_at, _)) = &self.failed {
            if now >= *retry_at {
                self.recover(now);
            }
            return;
        }
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_unwanted();
        }
        if self.prune_at <= now {
            self.prune_at = now.saturating_add(PRUNE_MS);
            self.prune_key_packages(now);
        }
        if std::mem::take(&mut self.accept_waiting) {
            self.accept_all();
        }
        let due = self.groups.iter().filter(|(_, group)| group.next_deadline().is_some_and(|at| at <= now));
        let due: Vec<GroupId> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            let Some(group) = self.groups.get(&id) else { continue };
            let step = group.handle(Input::Tick, now, &mut rng());
            if let Err(error) = self.commit(step, Extra::default()) {
                tracing::error!("a step was not taken: {error}");
                return;
            }
        }
    }

    /// After a failed write nobody knows what is on the disk: read it again before anything else is done.
    fn recover(&mut self, now: u64) {
        let reopened = self.parts.database.reopen().map_err(|error| StoreError::Io(error.to_string()));
        // Opening may succeed on a full disk: what was taken from here must be writable, too.
        let probe = reopened.and_then(|()| {
            let mut extra = Extra::default();
            extra.put(Column::Meta, b"probe", &now)?;
            self.parts.database.apply_with(&Changes::default(), &extra)
        });
        match probe.and_then(|()| self.load_groups()) {
            Ok(()) => {
                self.failed = None;
                tracing::info!("the database can be written again");
            }
            Err(error) => self.failed = Some((now.saturating_add(RECOVER_MS), error)),
        }
    }

    /// Remembers that a write failed.
    pub(super) fn note_failure(&mut self, error: &StoreError) {
        self.failed = Some((now_ms().saturating_add(RECOVER_MS), error.clone()));
    }

    /// An error unless the database can be written.
    pub(super) fn writable(&self) -> Result<(), Failure> {
        match &self.failed {
            Some((_, error)) => Err(store_failure(error.clone())),
            None => Ok(()),
        }
    }
}

/// Unix milliseconds.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The operating system's random numbers. Without them nothing safe can be done: the process ends.
pub(super) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// A store's error in the words of the API.
pub(super) fn store_failure(error: StoreError) -> Failure {
    let hint = match &error {
        StoreError::Io(_) => {
            "Nothing was changed or sent. Check the disk's free space; the daemon tries again by itself."
        }
        StoreError::Damaged { .. } => {
            "Do not restore an old copy: its keys must not be used again. Ask to be added to the group again."
        }
    };
    Failure::new(ErrorCode::Store, error).hint(hint)
}
