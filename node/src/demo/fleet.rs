//! The demo's daemons: processes of their own, and what becomes of them.
//!
//! A daemon is killed when its [`Daemon`] is dropped, and stops by itself when this process ends in any other way:
//! it watches its standard input.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::api::client::ApiClient;
use crate::api::protocol::{MAX_PAGE, Request};
use crate::api::views::{GroupView, HistoryView, MessageView, PageView, PeerView, TicketView};
use crate::error::{ErrorCode, Failure};
use crate::paths::Paths;

/// How long a daemon may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a state that is waited for is looked at.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// Short times, so that what takes minutes in earnest takes seconds. Nothing listens beyond this machine.
const CONFIG: &str = "\
[network]
listen = [\"/ip4/127.0.0.1/udp/0/quic-v1\", \"/ip4/127.0.0.1/tcp/0\"]
mdns = false

[network.timing]
heartbeat_ms = 300
reconcile_ms = 500
redial_min_ms = 100
redial_max_ms = 500

[group]
ack_span_ms = 400
ack_span_per_member_ms = 50
turn_slot_ms = 200

[delivery]
retry_min_ms = 100
retry_max_ms = 500
";

/// A directory that goes when this is dropped.
pub(super) struct Scratch {
    pub(super) path: PathBuf,
    keep: bool,
}

impl Scratch {
    pub(super) fn new(keep: bool) -> Result<Self, Failure> {
        use rand_core::Rng;
        let mut random = [0u8; 8];
        rand_core::UnwrapErr(getrandom::SysRng).fill_bytes(&mut random);
        let path = std::env::temp_dir().join(format!("dmls-demo-{}", hex::encode(random)));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path, keep })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be deleted is left to the system's own cleaning.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A daemon.
pub(super) struct Daemon {
    pub(super) name: String,
    pub(super) ticket: TicketView,
    paths: Paths,
    child: Child,
}

impl Daemon {
    /// Makes an identity and starts a daemon for it.
    pub(super) async fn start(scratch: &Path, name: &str) -> Result<Self, Failure> {
        let paths = Paths::in_home(&scratch.join(name));
        let init = command(&paths)?.args(["init", "--name", name]).stdout(Stdio::null()).status().await?;
        if !init.success() {
            return Err(Failure::new(ErrorCode::Failed, format!("`dmls init` for {name} failed.")));
        }
        fs::write(&paths.config, CONFIG)?;
        let child = spawn(&paths)?;
        let ticket = first_answer(&paths, name).await?;
        Ok(Self { name: name.to_owned(), ticket, paths, child })
    }

    /// Ends the process at once, in the middle of whatever it does: SIGKILL.
    pub(super) async fn kill(&mut self) -> Result<(), Failure> {
        Ok(self.child.kill().await?)
    }

    /// Starts it again after [`Self::kill`].
    pub(super) async fn restart(&mut self) -> Result<(), Failure> {
        self.child = spawn(&self.paths)?;
        self.ticket = first_answer(&self.paths, &self.name).await?;
        Ok(())
    }

    /// Asks it to stop, and makes sure.
    pub(super) async fn stop(mut self) {
        // Closing its standard input tells it.
        drop(self.child.stdin.take());
        if tokio::time::timeout(Duration::from_secs(3), self.child.wait()).await.is_err() {
            // Dropping the child kills it in any case.
            let _ = self.child.kill().await;
        }
    }

    pub(super) async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Failure> {
        let named =
            |failure: Failure| Failure { message: format!("{}: {}", self.name, failure.message), ..failure };
        let mut client = ApiClient::connect(&self.paths.socket).await.map_err(named)?;
        let answer = tokio::time::timeout(3 * PATIENCE, client.get(&request)).await;
        let late = || Failure::new(ErrorCode::Timeout, format!("{} does not answer.", self.name));
        answer.map_err(|_| late())?.map_err(named)
    }

    pub(super) async fn group(&self) -> Result<GroupView, Failure> {
        self.ask(Request::GroupShow { group: super::GROUP.into() }).await
    }

    pub(super) async fn history(&self) -> Result<HistoryView, Failure> {
        self.ask(Request::History { group: super::GROUP.into() }).await
    }

    pub(super) async fn peers(&self) -> Result<Vec<PeerView>, Failure> {
        self.ask(Request::Peers {}).await
    }

    pub(super) async fn messages(&self) -> Result<Vec<MessageView>, Failure> {
        let request = Request::Read { group: super::GROUP.into(), after: 0, limit: MAX_PAGE };
        Ok(self.ask::<PageView>(request).await?.messages)
    }

    /// Cuts it off from exactly these.
    pub(super) async fn block(&self, others: &[&Daemon]) -> Result<(), Failure> {
        let peers = others.iter().map(|other| other.ticket.peer.clone()).collect();
        self.ask::<serde_json::Value>(Request::PeerBlock { peers }).await.map(|_| ())
    }

    /// Bytes exchanged with these since it started, and connections to them now.
    pub(super) async fn traffic(&self, others: &[&Daemon]) -> Result<(u64, u32), Failure> {
        let peers = self.peers().await?;
        let of = peers.iter().filter(|peer| others.iter().any(|other| other.ticket.peer == peer.peer));
        Ok(of.fold((0, 0), |(bytes, connections), peer| {
            (bytes + peer.bytes_in + peer.bytes_out, connections + peer.connections)
        }))
    }
}

fn command(paths: &Paths) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--home").arg(&paths.data).kill_on_drop(true);
    // What the user has configured for an own daemon is not for these.
    for variable in ["HOME", "CONFIG", "JSON", "LOG", "LISTEN", "BOOTSTRAP", "MDNS", "AUTO_JOIN", "NAME"] {
        command.env_remove(format!("DMLS_{variable}"));
    }
    Ok(command)
}

fn spawn(paths: &Paths) -> Result<Child, Failure> {
    let log = fs::OpenOptions::new().create(true).append(true).open(paths.data.with_extension("log"))?;
    let mut command = command(paths)?;
    command.args(["run", "--until-stdin-closes"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    Ok(command.spawn()?)
}

/// Waits until a daemon that was just started answers.
async fn first_answer(paths: &Paths, name: &str) -> Result<TicketView, Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = match ApiClient::connect(&paths.socket).await {
            Ok(mut client) => client.get(&Request::Id {}).await,
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(ticket) => return Ok(ticket),
            Err(failure) if Instant::now() >= until => {
                return Err(Failure {
                    message: format!("{name} does not start: {}", failure.message),
                    ..failure
                });
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
