//! Forked histories: what the evidence decides.

use std::collections::BTreeSet;

use dmls_core::history::{
    Blocked, Child, Decision, History, HistoryEpoch, HistoryError, LeafSet, Member, Summary,
};
use dmls_core::schedule::{CommitId, EpochId};
use dmls_core::tree::{Credential, LeafIndex};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::{Failure, bytes, fail, list, missing, number, number_as, text};

#[path = "scenes.rs"]
mod scenes;

pub(super) fn inputs(_: &mut ChaCha20Rng) -> Vec<(String, Value)> {
    scenes::all()
}

fn commit_id(value: &Value, field: &str) -> Result<CommitId, Failure> {
    bytes(value, field).map(CommitId::from)
}

fn epoch_id(value: &Value, field: &str) -> Result<EpochId, Failure> {
    bytes(value, field).map(EpochId::from)
}

fn leaf(value: &Value) -> Result<LeafIndex, Failure> {
    number_as(value, "by").map(LeafIndex)
}

fn leaves(value: &Value, field: &str) -> Result<LeafSet, Failure> {
    let leaf = |leaf: &Value| leaf.as_u64().and_then(|leaf| u32::try_from(leaf).ok()).map(LeafIndex);
    list(value, field)?.iter().map(leaf).collect::<Option<LeafSet>>().ok_or_else(|| missing(field))
}

fn since(value: &Value) -> Result<Option<EpochId>, Failure> {
    let since = epoch_id(value, "since")?;
    Ok((!since.as_slice().is_empty()).then_some(since))
}

/// The child that a commit makes, and its epoch where this client can enter it.
fn child(item: &Value, parent: &HistoryEpoch) -> Result<(Child, Option<HistoryEpoch>), Failure> {
    let makes = &item["makes"];
    let committer = leaf(item)?;
    let member = Member { leaf: committer, credential: Credential::basic(b"member"), fingerprint: [0; 32] };
    let (outcome, epoch) = match makes["blocked"].as_str() {
        Some("removed") => (Err(Blocked::Removed), None),
        Some("unusable") => (Err(Blocked::Unusable("The path cannot be opened.".into())), None),
        Some(other) => return Err(format!("no such reason: {other}")),
        None => {
            let link = Some((epoch_id(item, "at")?, commit_id(item, "commit")?));
            let (electors, blanked) = (leaves(makes, "members")?, leaves(makes, "blanked")?);
            let width = number_as(makes, "width")?;
            let epoch = HistoryEpoch::new(link, parent.number + 1, width, electors, blanked);
            (Ok(epoch_id(makes, "epoch")?), Some(epoch))
        }
    };
    let summary = Summary { committer: member, deeds: Vec::new(), merge: None };
    Ok((Child { committer, class: number_as(item, "class")?, summary, outcome }, epoch))
}

/// Tells the history one item. False: its epoch is not known yet.
fn record(history: &mut History, item: &Value) -> Result<bool, Failure> {
    let at = epoch_id(item, "at")?;
    let Some(parent) = history.epoch(&at) else { return Ok(false) };
    let done = match text(item, "kind")? {
        "commit" => {
            let (child, epoch) = child(item, parent)?;
            history.record_commit(&at, commit_id(item, "commit")?, child, epoch, since(item)?.as_ref())
        }
        "vote" => {
            let commit = commit_id(item, "commit")?;
            history.record_vote(&at, leaf(item)?, &commit, since(item)?.as_ref()).map(|_| ())
        }
        "acknowledgement" => history.record_handshake(&at, leaf(item)?, since(item)?.as_ref()).map(|_| ()),
        "application" => history.record_spoken(&at, leaf(item)?).map(|_| ()),
        "written_off" => {
            let commit = commit_id(item, "commit")?;
            let epoch = history.epoch_mut(&at).ok_or(HistoryError::UnknownEpoch).map_err(fail)?;
            epoch.written_off.insert(commit);
            Ok(())
        }
        other => return Err(format!("no such evidence: {other}")),
    };
    done.map(|()| true).map_err(fail)
}

/// The history of all items; those whose epoch is not known yet wait.
fn build(anchor: &Value, items: &[&Value]) -> Result<History, Failure> {
    let epoch = HistoryEpoch::new(
        None,
        number(anchor, "number")?,
        number_as(anchor, "width")?,
        leaves(anchor, "members")?,
        LeafSet::default(),
    );
    let mut history = History::new(epoch_id(anchor, "epoch")?, epoch);
    let mut waiting: Vec<&Value> = items.to_vec();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut later = Vec::new();
        for item in waiting {
            if !record(&mut history, item)? {
                later.push(item);
            }
        }
        if later.len() == before {
            return Err("evidence lies in an epoch that no commit makes".into());
        }
        waiting = later;
    }
    Ok(history)
}

fn decision(at: &EpochId, decision: &Decision) -> Value {
    let ranked = decision.ranked.iter().map(|child| {
        json!({
            "commit": hex::encode(child.commit.as_slice()), "weight": child.weight, "known": child.known,
        })
    });
    json!({
        "at": hex::encode(at.as_slice()),
        "ranked": ranked.collect::<Vec<_>>(),
        "electors": decision.electors,
        "silent": decision.silent,
        "void": decision.void.iter().map(|leaf| leaf.0).collect::<Vec<_>>(),
        "equivocators": decision.equivocators,
        "soft_final": decision.soft_final(),
        "hard_final": decision.hard_final(),
        "holds": decision.holds(),
    })
}

fn outcome(history: &History) -> Value {
    let head = history.head();
    let decided = history.epochs().filter(|(_, epoch)| !epoch.named.is_empty() || !epoch.children.is_empty());
    json!({
        "head": hex::encode(head.epoch.as_slice()),
        "outside": head.outside.map(|(commit, _)| hex::encode(commit.as_slice())),
        "decisions": decided.map(|(at, epoch)| decision(at, &epoch.decision())).collect::<Vec<_>>(),
    })
}

/// The items in some other order.
fn shuffled<'a>(items: &[&'a Value], rng: &mut ChaCha20Rng) -> Vec<&'a Value> {
    let mut keyed: Vec<(u64, &Value)> = items.iter().map(|item| (rng.next_u64(), *item)).collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, item)| item).collect()
}

pub(super) fn compute(input: &Value) -> Result<Value, Failure> {
    let items: Vec<&Value> = list(input, "evidence")?.iter().collect();
    let distinct: BTreeSet<String> = items.iter().map(|item| item.to_string()).collect();
    if distinct.len() != items.len() {
        return Err("the same evidence is there twice".into());
    }
    let result = outcome(&build(&input["anchor"], &items)?);
    // The order must not matter.
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for _ in 0..16 {
        let items = shuffled(&items, &mut rng);
        let other = outcome(&build(&input["anchor"], &items)?);
        if other != result {
            return Err(format!("another order gives another outcome: {other:#}"));
        }
    }
    Ok(result)
}
