//! What happens in the demo, in order, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::GROUP;
use super::fleet::{Daemon, POLL};
use super::report::{Report, Spoken};
use crate::api::protocol::Request;
use crate::api::views::{GroupView, InvitedView, SentView, StandingView};
use crate::error::{ErrorCode, Failure};
use crate::graph;

/// How long any single thing may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const LEFT: [&str; 3] = ["alice", "bob", "carol"];
pub(super) const RIGHT: [&str; 2] = ["dave", "erin"];
/// Who comes on the side of the three.
pub(super) const SIXTH: &str = "frank";
/// Who comes on the side of the two.
pub(super) const SEVENTH: &str = "grace";
/// Who is there in the end.
pub(super) const LAST: [&str; 5] = ["alice", "bob", "dave", SIXTH, SEVENTH];

/// The daemons and what they have said.
pub(super) struct Scenario {
    scratch: PathBuf,
    pub(super) daemons: Vec<Daemon>,
}

impl Scenario {
    pub(super) fn new(scratch: &Path) -> Self {
        Self { scratch: scratch.to_owned(), daemons: Vec::new() }
    }

    /// Ends all daemons.
    pub(super) async fn stop(&mut self) {
        let stops: Vec<_> = self.daemons.drain(..).map(|daemon| tokio::spawn(daemon.stop())).collect();
        for stop in stops {
            // A task that failed has dropped its daemon, which kills it.
            let _ = stop.await;
        }
    }

    pub(super) fn get(&self, name: &str) -> Result<&Daemon, Failure> {
        let found = self.daemons.iter().find(|daemon| daemon.name == name);
        found.ok_or_else(|| Failure::new(ErrorCode::Failed, format!("There is no daemon {name}.")))
    }

    fn get_mut(&mut self, name: &str) -> Result<&mut Daemon, Failure> {
        let found = self.daemons.iter_mut().find(|daemon| daemon.name == name);
        found.ok_or_else(|| Failure::new(ErrorCode::Failed, format!("There is no daemon {name}.")))
    }

    fn all(&self, names: &[&str]) -> Result<Vec<&Daemon>, Failure> {
        names.iter().map(|name| self.get(name)).collect()
    }

    pub(super) async fn play(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.form(report).await?;
        report.say("\nThe network is cut: alice, bob, carol | dave, erin.");
        let across = self.cut().await?;
        let inside = self.across(&["alice"], &["carol"]).await?.total()
            + self.across(&["dave"], &["erin"]).await?.total();
        self.three(report).await?;
        self.two(report).await?;
        let killed = self.kill_in_the_middle(report).await?;
        let cut = Cut { across, inside };
        self.check_cut(report, &cut, &killed).await?;
        self.heal(report).await?;
        self.check_counters(report, &cut).await?;
        self.check_messages(report).await?;
        self.check_punctures(report).await?;
        report.graph = graph::render(&self.get("alice")?.history().await?);
        report.say("\nThe fork graph as alice knows it, newest first:\n");
        report.say(&report.graph.join("\n"));
        report.say("\nWho said what, where:\n");
        report.say(&report.table().join("\n"));
        Ok(())
    }

    /// Five daemons form a group and talk.
    async fn form(&mut self, report: &mut Report) -> Result<(), Failure> {
        let names: Vec<&str> = LEFT.into_iter().chain(RIGHT).collect();
        report.say(&format!("Five daemons start: {}.", names.join(", ")));
        let starts: Vec<_> = names
            .iter()
            .map(|name| {
                let (scratch, name) = (self.scratch.clone(), (*name).to_owned());
                tokio::spawn(async move { Daemon::start(&scratch, &name).await })
            })
            .collect();
        for start in starts {
            self.daemons.push(start.await.map_err(|error| Failure::new(ErrorCode::Failed, error))??);
        }
        let alice = self.get("alice")?;
        alice
            .ask::<GroupView>(Request::GroupCreate { name: GROUP.into(), profile: None, admins: false })
            .await?;
        let who = self.daemons.iter().skip(1).map(|daemon| daemon.ticket.ticket.clone()).collect();
        alice.ask::<InvitedView>(Request::GroupInvite { group: GROUP.into(), who }).await?;
        for name in names.iter().skip(1) {
            join(self.get(name)?).await?;
        }
        let head = self.one_head(&names, names.len()).await?;
        let figures = json!({ "members": head.size, "epoch": head.number });
        report.check(
            "formed",
            head.size == 5,
            figures,
            format!("{} members in epoch {}", head.size, head.number),
        );
        for name in &names {
            self.speak(report, name, "hello", "before").await?;
        }
        self.all_read(report, &names).await
    }

    /// Cuts the two sides apart. Returns the counters between them once they stand still.
    async fn cut(&self) -> Result<Counters, Failure> {
        for (side, other) in [(LEFT.as_slice(), RIGHT.as_slice()), (&RIGHT, &LEFT)] {
            for daemon in self.all(side)? {
                daemon.block(&self.all(other)?).await?;
            }
        }
        let until = Instant::now() + PATIENCE;
        let mut before = Counters::default();
        loop {
            let now = self.across(&LEFT, &RIGHT).await?;
            if now.connections == 0 && now.bytes == before.bytes {
                return Ok(now);
            }
            late(until, "the cut")?;
            before = now;
            tokio::time::sleep(2 * POLL).await;
        }
    }

    /// The counters of every pair between two sides, at both ends.
    pub(super) async fn across(&self, one: &[&str], two: &[&str]) -> Result<Counters, Failure> {
        let mut counters = Counters::default();
        for (side, other) in [(one, two), (two, one)] {
            for daemon in self.all(side)? {
                for far in self.all(other)?.into_iter().filter(|far| far.name != daemon.name) {
                    let (bytes, connections) = daemon.traffic(&[far]).await?;
                    counters.bytes.insert((daemon.name.clone(), far.name.clone()), bytes);
                    counters.connections += connections;
                }
            }
        }
        Ok(counters)
    }

    /// Starts a daemon on one side of the cut.
    async fn newcomer(&mut self, name: &str, side: &[&str], other: &[&str]) -> Result<(), Failure> {
        let newcomer = Daemon::start(&self.scratch, name).await?;
        newcomer.block(&self.all(other)?).await?;
        self.daemons.push(newcomer);
        for daemon in self.all(other)? {
            daemon.block(&self.all(side)?).await?;
        }
        Ok(())
    }

    async fn add(&self, by: &str, name: &str) -> Result<(), Failure> {
        let who = vec![self.get(name)?.ticket.ticket.clone()];
        let request = Request::GroupInvite { group: GROUP.into(), who };
        patiently(|| async { self.get(by)?.ask::<InvitedView>(request.clone()).await }).await?;
        join(self.get(name)?).await.map(|_| ())
    }

    async fn remove(&self, by: &str, name: &str) -> Result<(), Failure> {
        let request = Request::GroupRemove { group: GROUP.into(), member: name.into() };
        patiently(|| async { self.get(by)?.ask::<GroupView>(request.clone()).await }).await.map(|_| ())
    }

    /// The three add a sixth and remove one of the two.
    async fn three(&mut self, report: &mut Report) -> Result<(), Failure> {
        report.say("  alice adds frank, a sixth daemon; bob removes erin");
        let four = ["alice", "bob", "carol", SIXTH];
        self.newcomer(SIXTH, &four, &RIGHT).await?;
        self.add("alice", SIXTH).await?;
        self.one_head(&four, 6).await?;
        self.speak(report, SIXTH, "thanks for adding me", "three").await?;
        self.remove("bob", "erin").await?;
        self.one_head(&four, 5).await?;
        self.speak(report, "carol", "erin is out here", "three").await?;
        self.speak(report, "bob", "where is dave?", "three").await
    }

    /// The two refresh, add a seventh, and remove one of the three.
    async fn two(&mut self, report: &mut Report) -> Result<(), Failure> {
        report.say("  erin refreshes her keys; dave adds grace, a seventh daemon, and removes carol");
        let request = Request::GroupRefresh { group: GROUP.into() };
        patiently(|| async { self.get("erin")?.ask::<GroupView>(request.clone()).await }).await?;
        self.one_head(&RIGHT, 5).await?;
        self.speak(report, "erin", "anybody there?", "two").await?;
        let three = ["dave", "erin", SEVENTH];
        self.newcomer(SEVENTH, &three, &["alice", "bob", "carol", SIXTH]).await?;
        self.add("dave", SEVENTH).await?;
        self.one_head(&three, 6).await?;
        self.speak(report, SEVENTH, "thanks, dave", "two").await?;
        self.remove("dave", "carol").await?;
        self.one_head(&three, 5).await?;
        self.speak(report, "dave", "carol is out here", "two").await
    }

    /// SIGKILL right after a message, and life goes on. Returns what the killed daemon's counters said last.
    async fn kill_in_the_middle(&mut self, report: &mut Report) -> Result<Counters, Failure> {
        let last = self.across(&["bob"], &RIGHT).await?;
        self.speak(report, "bob", "my last words", "three").await?;
        self.get_mut("bob")?.kill().await?;
        report.say("  bob is killed (SIGKILL) right after he has sent a message");
        self.speak(report, "alice", "bob is gone", "three").await?;
        Ok(last)
    }

    /// The cut ends and the killed daemon comes back.
    async fn heal(&mut self, report: &mut Report) -> Result<(), Failure> {
        let begun = Instant::now();
        for name in ["alice", "carol", "dave", "erin", SIXTH, SEVENTH] {
            self.get(name)?.block(&[]).await?;
        }
        self.get_mut("bob")?.restart().await?;
        report.say("\nThe cut ends, and bob comes back.");
        let head = self.one_head(&LAST, LAST.len()).await?;
        report.healed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let roster: BTreeSet<&str> = head.members.iter().map(|member| member.name.as_str()).collect();
        let figures = json!({
            "head": head.head, "epoch": head.number, "tree_hash": head.tree_hash, "roster": roster,
            "epoch_authenticator": head.epoch_authenticator, "healed_ms": report.healed_ms,
        });
        let text = format!(
            "{} have one head, tree hash, roster and authenticator in epoch {} after {} ms",
            LAST.join(", "),
            head.number,
            report.healed_ms
        );
        report.check("healed", roster == BTreeSet::from(LAST), figures, text);
        self.check_nothing_lost(report).await?;
        for name in ["erin", "carol"] {
            self.removed(report, name).await?;
        }
        self.speak(report, "dave", "together again", "after").await?;
        self.speak(report, SEVENTH, "and me", "after").await?;
        self.all_read(report, &LAST).await
    }

    /// Whoever was removed on either side says so.
    async fn removed(&self, report: &mut Report, name: &str) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        let view = loop {
            let view = self.get(name)?.group().await?;
            if view.standing == StandingView::Removed || Instant::now() >= until {
                break view;
            }
            tokio::time::sleep(POLL).await;
        };
        let figures = json!({ "who": name, "standing": view.standing, "last_epoch": view.number });
        let text = format!("{name} reports: {:?}, after epoch {}", view.standing, view.number);
        report.check("removed", view.standing == StandingView::Removed, figures, text);
        Ok(())
    }

    /// Sends a message and notes who is a member of its epoch.
    async fn speak(&self, report: &mut Report, name: &str, text: &str, branch: &str) -> Result<(), Failure> {
        let daemon = self.get(name)?;
        let text = format!("{name}: {text}");
        let request = Request::Send { group: GROUP.into(), text: Some(text.clone()), hex: None };
        let sent: SentView = daemon.ask(request).await?;
        let view = daemon.group().await?;
        if view.head != sent.epoch {
            return Err(Failure::new(ErrorCode::Failed, format!("{name} moved on while sending.")));
        }
        let may_read = view.members.into_iter().map(|member| member.name).collect();
        report.messages.push(Spoken {
            sender: name.to_owned(),
            text,
            id: sent.id,
            epoch: sent.epoch,
            branch: branch.to_owned(),
            may_read,
            has_read: Vec::new(),
        });
        Ok(())
    }

    /// Waits until each of these has every message that it may read.
    async fn all_read(&self, report: &Report, names: &[&str]) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        for name in names {
            let wanted =
                report.messages.iter().filter(|spoken| spoken.may_read.iter().any(|may| may == name));
            let wanted: BTreeSet<&String> = wanted.map(|spoken| &spoken.id).collect();
            loop {
                let messages = self.get(name)?.messages().await?;
                if messages.iter().filter(|message| wanted.contains(&message.id)).count() >= wanted.len() {
                    break;
                }
                late(until, "messages")?;
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Waits until these have one head with so many members: one tree hash, authenticator and roster.
    async fn one_head(&self, names: &[&str], size: usize) -> Result<GroupView, Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut views = Vec::new();
            for name in names {
                views.push(self.get(name)?.group().await?);
            }
            let what = |view: &GroupView| {
                let standing = view.standing == StandingView::Member;
                let (hash, proof) = (view.tree_hash.clone(), view.epoch_authenticator.clone());
                (view.head.clone(), hash, proof, view.members.clone(), standing)
            };
            let one = views.first().map(what);
            if let Some(view) = views.first()
                && view.size == size
                && view.standing == StandingView::Member
                && views.iter().all(|view| Some(what(view)) == one)
            {
                return Ok(view.clone());
            }
            let heads: Vec<String> =
                views.iter().map(|view| format!("epoch {} of {}", view.number, view.size)).collect();
            late(until, &format!("one head of {} ({})", names.join(", "), heads.join(", ")))?;
            tokio::time::sleep(POLL).await;
        }
    }
}

/// What passes between two sides.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    /// Bytes in both directions, by who counts and whom with.
    pub(super) bytes: BTreeMap<(String, String), u64>,
    connections: u32,
}

impl Counters {
    pub(super) fn total(&self) -> u64 {
        self.bytes.values().sum()
    }
}

/// The counters when the cut was made.
pub(super) struct Cut {
    pub(super) across: Counters,
    /// Bytes within the sides, between those who live on.
    pub(super) inside: u64,
}

fn late(until: Instant, what: &str) -> Result<(), Failure> {
    if Instant::now() < until {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::Timeout, format!("Waited too long for {what}.")))
}

async fn join(daemon: &Daemon) -> Result<GroupView, Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        match daemon.ask(Request::Join { invitation: String::new() }).await {
            Err(failure) if failure.code == ErrorCode::NotFound => late(until, "an invitation")?,
            other => return other,
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whoever has just voted or committed has to wait for its next turn.
async fn patiently<T, F: Future<Output = Result<T, Failure>>>(
    mut action: impl FnMut() -> F,
) -> Result<T, Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        match action().await {
            Err(failure) if failure.code == ErrorCode::Refused && Instant::now() < until => {
                tokio::time::sleep(2 * POLL).await;
            }
            other => return other,
        }
    }
}
