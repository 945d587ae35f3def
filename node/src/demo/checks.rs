//! What must hold in the demo, with the figures that say so.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::GROUP;
use super::fleet::{Daemon, POLL};
use super::report::{Report, Spoken};
use super::scenario::{Counters, Cut, PATIENCE, RIGHT, SEVENTH, SIXTH, Scenario};
use crate::api::protocol::Request;
use crate::api::views::ReplayView;
use crate::error::Failure;

/// What became of the commits that one daemon tried again.
#[derive(Debug, Default, Serialize)]
struct Replays {
    /// Refused because the PPRF is punctured there.
    refused: usize,
    /// Refused for another reason.
    otherwise: usize,
    /// Derived again, which must not be.
    derived: usize,
    /// Its parent or its bytes are not stored any more.
    not_retained: usize,
    /// The daemon's own: not tried.
    own: usize,
}

impl Scenario {
    /// Both sides have gone on, apart.
    pub(super) async fn check_cut(
        &self,
        report: &mut Report,
        cut: &Cut,
        killed: &Counters,
    ) -> Result<(), Failure> {
        let (alice, dave) = (self.get("alice")?.group().await?, self.get("dave")?.group().await?);
        let figures = json!({ "three": alice.head, "two": dave.head });
        let text = format!(
            "alice is in epoch {}, dave in epoch {}, on different branches",
            alice.number, dave.number
        );
        report.check("forked", alice.head != dave.head, figures, text);

        // The counters of who was killed ended with it: what they said right before counts.
        let mut now = self.across(&["alice", "carol"], &RIGHT).await?;
        now.bytes.extend(killed.bytes.clone());
        let same = now.bytes.iter().all(|(pair, bytes)| cut.across.bytes.get(pair) == Some(bytes));
        let newcomers = self.across(&[SIXTH], &["dave", "erin", SEVENTH]).await?.total()
            + self.across(&["alice", "carol"], &[SEVENTH]).await?.total();
        let inside = self.across(&["alice"], &["carol"]).await?.total()
            + self.across(&["dave"], &["erin"]).await?.total();
        let grown = inside.saturating_sub(cut.inside);
        // Each side had something to tell the other, and nothing of it has come over.
        let said = |branch: &str| -> BTreeSet<String> {
            let of_side = report.messages.iter().filter(|spoken| spoken.branch == branch);
            of_side.map(|spoken| spoken.id.clone()).collect()
        };
        let (three, two) = (said("three"), said("two"));
        let mut crossed = 0;
        for (names, others) in
            [(["alice", "carol", SIXTH].as_slice(), &two), (&["dave", "erin", SEVENTH], &three)]
        {
            for name in names {
                let messages = self.get(name)?.messages().await?;
                crossed += messages.iter().filter(|message| others.contains(&message.id)).count();
            }
        }
        let figures = json!({
            "pairs": now.bytes.len(), "bytes_across_before": cut.across.total(), "bytes_across_after": now.total(),
            "bytes_of_newcomers": newcomers, "bytes_within_the_sides_meanwhile": grown,
            "said_by_the_three": three.len(), "said_by_the_two": two.len(), "crossed": crossed,
        });
        let counted = cut.across.total() > 0 && now.bytes.len() == cut.across.bytes.len();
        let tried = grown > 0 && !three.is_empty() && !two.is_empty();
        let holds = same && counted && tried && newcomers == 0 && crossed == 0;
        let text = format!(
            "the counters of all {} pairs between the sides stood still at {} bytes; {grown} bytes passed within the \
             sides; of {} messages {crossed} came over",
            now.bytes.len(),
            now.total(),
            three.len() + two.len()
        );
        report.check("really cut", holds, figures, text);
        Ok(())
    }

    /// What the losing side did is in the head's history: the merge, with whom it added and removed.
    pub(super) async fn check_nothing_lost(&self, report: &mut Report) -> Result<(), Failure> {
        let history = self.get("alice")?.history().await?;
        let done: BTreeSet<String> = history
            .epochs
            .iter()
            .filter(|epoch| epoch.on_head)
            .flat_map(|epoch| epoch.operations.iter().cloned())
            .collect();
        let wanted = ["adds frank", "removes erin", "adds grace", "removes carol"];
        let missing: Vec<&str> =
            wanted.into_iter().filter(|wanted| !done.iter().any(|done| done.starts_with(wanted))).collect();
        let figures = json!({ "in_effect": done, "missing": missing });
        let text = format!("what both sides did is in effect: {}", wanted.join(", "));
        report.check("nothing is lost", missing.is_empty(), figures, text);
        Ok(())
    }

    /// The counters that stood still do count: they move again now.
    pub(super) async fn check_counters(&self, report: &mut Report, cut: &Cut) -> Result<(), Failure> {
        let live = ["alice", "carol"];
        let now = self.across(&live, &RIGHT).await?;
        let before = |pair: &(String, String)| cut.across.bytes.get(pair).copied().unwrap_or_default();
        let before: u64 = now.bytes.keys().map(before).sum();
        let grown = now.total().saturating_sub(before);
        let figures = json!({ "bytes_during_the_cut": before, "bytes_after": now.total() });
        let text = format!("{grown} bytes passed between alice, carol and dave, erin since the cut ended");
        report.check("really healed", grown > 0, figures, text);
        Ok(())
    }

    /// Who was a member of a message's epoch has it, once; nobody else has it.
    pub(super) async fn check_messages(&self, report: &mut Report) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut twice = 0;
            for spoken in &mut report.messages {
                spoken.has_read.clear();
            }
            for daemon in &self.daemons {
                let mut seen = BTreeSet::new();
                for message in daemon.messages().await? {
                    twice += usize::from(!seen.insert(message.id.clone()));
                    for spoken in report.messages.iter_mut().filter(|spoken| spoken.id == message.id) {
                        spoken.has_read.push(daemon.name.clone());
                    }
                }
            }
            let missing =
                |spoken: &Spoken| spoken.may_read.iter().filter(|n| !spoken.has_read.contains(n)).count();
            let stray =
                |spoken: &Spoken| spoken.has_read.iter().filter(|n| !spoken.may_read.contains(n)).count();
            let missing: usize = report.messages.iter().map(missing).sum();
            let stray: usize = report.messages.iter().map(stray).sum();
            if (missing == 0 && stray == 0 && twice == 0) || Instant::now() >= until {
                let reads: usize = report.messages.iter().map(|spoken| spoken.has_read.len()).sum();
                let figures = json!({
                    "messages": report.messages.len(), "reads": reads, "missing": missing, "stray": stray, "twice": twice,
                });
                let text = format!(
                    "{} messages, {reads} times read, {missing} missing, {stray} by strangers, {twice} twice",
                    report.messages.len()
                );
                let holds = missing + stray + twice == 0 && reads > report.messages.len();
                report.check("everybody who may read has read", holds, figures, text);
                return Ok(());
            }
            tokio::time::sleep(2 * POLL).await;
        }
    }

    /// What was processed is punctured, and processing it again fails, at every member.
    pub(super) async fn check_punctures(&self, report: &mut Report) -> Result<(), Failure> {
        let (mut punctures, mut epochs, mut bytes) = (BTreeMap::new(), 0, 0);
        let (mut tried, mut words) = (BTreeMap::new(), BTreeSet::new());
        for name in ["alice", "bob", "carol", "dave", SIXTH] {
            let daemon = self.get(name)?;
            let view = daemon.group().await?;
            punctures.insert(name, view.punctures);
            (epochs, bytes) = (epochs + view.retained, bytes + view.retained_bytes);
            let replays = self.replays(daemon, &mut words).await?;
            tried.insert(name, replays);
        }
        let figures = json!({ "punctures": punctures, "retained_epochs": epochs, "bytes_of_secrets": bytes });
        let text = format!(
            "{} punctures in {epochs} retained epochs of five members, {bytes} bytes of secrets",
            punctures.values().sum::<usize>()
        );
        report.check("punctured", punctures.values().all(|count| *count > 0), figures, text);

        let sum = |of: fn(&Replays) -> usize| tried.values().map(of).sum::<usize>();
        let (refused, least) =
            (sum(|r| r.refused), tried.values().map(|r| r.refused).min().unwrap_or_default());
        let (otherwise, derived) = (sum(|r| r.otherwise), sum(|r| r.derived));
        let words = Vec::from_iter(words);
        let figures = json!({
            "by_daemon": tried, "refused": refused, "otherwise": otherwise, "derived": derived, "words": words,
        });
        let text = format!(
            "{refused} commits of others that were processed are tried again, at least {least} at each of five \
             daemons: {derived} can be derived, {otherwise} are refused for another reason; the PPRF says: {}",
            words.join(" / ")
        );
        report.check("replay refused", least > 0 && otherwise + derived == 0, figures, text);
        Ok(())
    }

    /// Tries every commit that a daemon knows once more.
    async fn replays(&self, daemon: &Daemon, words: &mut BTreeSet<String>) -> Result<Replays, Failure> {
        let mut replays = Replays::default();
        for epoch in daemon.history().await?.epochs {
            let Some(commit) = epoch.commit else { continue };
            if epoch.committer.as_deref() == Some(&daemon.name) {
                // An own commit is never processed, also not the first time: its child was stored when it was made.
                replays.own += 1;
                continue;
            }
            match daemon.ask(Request::Replay { group: GROUP.into(), commit }).await? {
                ReplayView::Refused(why) => {
                    let by_the_pprf = why.to_lowercase().contains("punctured");
                    *(if by_the_pprf { &mut replays.refused } else { &mut replays.otherwise }) += 1;
                    words.insert(why);
                }
                ReplayView::Derived => replays.derived += 1,
                ReplayView::NotRetained => replays.not_retained += 1,
            }
        }
        Ok(replays)
    }
}
