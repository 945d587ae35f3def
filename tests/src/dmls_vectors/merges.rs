//! Merges: what is carried over from losing branches, what a merge is checked against, and who owes a refresh.

use std::collections::BTreeMap;

use dmls_core::framing::Merge;
use dmls_core::history::{
    Carried, CarryKind, CarrySet, Child, Deed, History, HistoryEpoch, LeafSet, Member, Onto, Operation,
    Summary,
};
use dmls_core::schedule::{CommitId, EpochId};
use dmls_core::suite::Suite;
use dmls_core::tree::{Credential, LeafIndex};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

use super::{Failure, bytes, fail, list, number, number_as, suite, text, unhex};

#[path = "merge_scenes.rs"]
mod merge_scenes;

pub(super) fn inputs(_: &mut ChaCha20Rng) -> Vec<(String, Value)> {
    merge_scenes::all()
}

fn epoch_id(value: &Value, field: &str) -> Result<EpochId, Failure> {
    bytes(value, field).map(EpochId::from)
}

fn leaf(value: &Value, field: &str) -> Result<LeafIndex, Failure> {
    number_as(value, field).map(LeafIndex)
}

fn client(value: &Value) -> Result<Credential, Failure> {
    unhex(value).map(Credential::basic)
}

fn clients(value: &Value, field: &str) -> Result<Vec<Credential>, Failure> {
    list(value, field)?.iter().map(client).collect()
}

fn member(value: &Value) -> Result<Member, Failure> {
    let credential = client(&value["client"])?;
    Ok(Member { leaf: leaf(value, "leaf")?, credential, fingerprint: [0; 32] })
}

fn members(value: &Value, field: &str) -> Result<Vec<Member>, Failure> {
    list(value, field)?.iter().map(member).collect()
}

fn leaves(members: &[Member]) -> LeafSet {
    members.iter().map(|member| member.leaf).collect()
}

fn deed(value: &Value) -> Result<Deed, Failure> {
    let operation = match text(value, "operation")? {
        "add" => Operation::Add(member(&value["member"])?),
        "remove" => Operation::Remove(member(&value["member"])?),
        "update" => Operation::Update(member(&value["member"])?),
        "rejoin" => Operation::Rejoin { from: member(&value["member"])?, to: member(&value["to"])? },
        other => return Err(format!("no such operation: {other}")),
    };
    Ok(Deed { author: member(&value["author"])?, operation })
}

fn merge(value: &Value) -> Result<Option<Merge>, Failure> {
    if value.is_null() {
        return Ok(None);
    }
    let tips = list(value, "tips")?.iter().map(|tip| unhex(tip).map(Into::into));
    Ok(Some(Merge {
        fork_epoch: bytes(value, "fork_epoch")?.into(),
        tips: tips.collect::<Result<_, Failure>>()?,
        carried_hash: bytes(value, "carried_hash")?.into(),
        deferred: clients(value, "deferred")?,
        healed: Vec::new(),
    }))
}

/// A history, and the members of each of its epochs.
struct Group {
    history: History,
    members: BTreeMap<EpochId, Vec<Member>>,
    admins: Vec<Credential>,
}

impl Group {
    fn read(input: &Value) -> Result<Self, Failure> {
        let anchor = &input["anchor"];
        let (id, there) = (epoch_id(anchor, "epoch")?, members(anchor, "members")?);
        let (number, width) = (number(anchor, "number")?, number_as(anchor, "width")?);
        let epoch = HistoryEpoch::new(None, number, width, leaves(&there), LeafSet::default());
        let history = History::new(id.clone(), epoch);
        let mut group =
            Self { history, members: BTreeMap::from([(id, there)]), admins: clients(input, "admins")? };
        for commit in list(input, "commits")? {
            group.record(commit)?;
        }
        Ok(group)
    }

    fn record(&mut self, commit: &Value) -> Result<(), Failure> {
        let (at, id, epoch) =
            (epoch_id(commit, "at")?, CommitId::from(bytes(commit, "commit")?), epoch_id(commit, "epoch")?);
        let deeds = list(commit, "deeds")?.iter().map(deed).collect::<Result<Vec<Deed>, Failure>>()?;
        let blanked = deeds.iter().filter_map(|deed| match &deed.operation {
            Operation::Remove(member) | Operation::Rejoin { from: member, .. } => Some(member.leaf),
            _ => None,
        });
        let blanked = blanked.collect();
        let there = members(commit, "members")?;
        let number = self.history.epoch(&at).ok_or("a commit on no epoch")?.number + 1;
        let link = Some((at.clone(), id.clone()));
        let made = HistoryEpoch::new(link, number, number_as(commit, "width")?, leaves(&there), blanked);
        let committer = member(&commit["committer"])?;
        let child = Child {
            committer: committer.leaf,
            class: 1,
            summary: Summary { committer, deeds, merge: merge(&commit["merge"])? },
            outcome: Ok(epoch.clone()),
        };
        self.members.insert(epoch, there);
        self.history.record_commit(&at, id, child, Some(made), None).map_err(fail)
    }

    fn onto<T>(&self, epoch: &EpochId, with: impl FnOnce(&Onto<'_>) -> T) -> Result<T, Failure> {
        let members = self.members.get(epoch).ok_or("a merge on no epoch")?;
        Ok(with(&Onto { epoch, members, admins: &self.admins }))
    }

    fn sets(&self, epoch: &EpochId) -> Result<Vec<CarrySet>, Failure> {
        let forks = self.history.losing_forks(epoch);
        self.onto(epoch, |onto| forks.iter().map(|fork| self.history.carry(fork, onto, None)).collect())
    }
}

fn code(kind: CarryKind) -> (u8, &'static str) {
    match kind {
        CarryKind::Add => (1, "add"),
        CarryKind::Remove => (2, "remove"),
        CarryKind::Rejoin => (3, "rejoin"),
    }
}

fn identity(credential: &Credential) -> Vec<u8> {
    match credential {
        Credential::Basic { identity } => identity.as_slice().to_vec(),
        _ => Vec::new(),
    }
}

/// The entry of an operation in the carried hash, written here byte by byte.
fn entry(carried: &Carried) -> Vec<u8> {
    let identity = identity(&carried.member.credential);
    let leaf = carried.at_fork.map_or([0xff; 4], |leaf| leaf.0.to_be_bytes());
    let length = u8::try_from(identity.len()).expect("a short name");
    assert!(length < 64, "a length of one byte");
    [&[code(carried.kind).0, 0, 1, length], identity.as_slice(), &leaf].concat()
}

/// The vector that is hashed.
fn hashed(set: &CarrySet) -> Vec<u8> {
    let mut entries: Vec<Vec<u8>> = set.operations.iter().map(entry).collect();
    entries.sort();
    let entries = entries.concat();
    let length = u16::try_from(entries.len()).expect("few operations");
    let prefix = if length < 64 {
        length.to_be_bytes()[1..].to_vec()
    } else {
        (0x4000 | length).to_be_bytes().to_vec()
    };
    [prefix, entries].concat()
}

fn operation(carried: &Carried) -> Value {
    json!({
        "operation": code(carried.kind).1,
        "client": hex::encode(identity(&carried.member.credential)),
        "leaf_at_fork": carried.at_fork.map(|leaf| leaf.0),
        "leaf": carried.onto.map(|leaf| leaf.0),
        "commit": hex::encode(carried.commit.as_slice()),
    })
}

fn carry_set(suite: Suite, set: &CarrySet) -> Result<Value, Failure> {
    let (list, hash) = (hashed(set), set.hash(suite).map_err(fail)?);
    if suite.hash(&list) != hash.as_slice() {
        return Err("the carried hash is not the hash of the list".into());
    }
    Ok(json!({
        "fork_epoch": hex::encode(set.fork.as_slice()),
        "tips": set.tips.iter().map(|tip| hex::encode(tip.as_slice())).collect::<Vec<_>>(),
        "operations": set.operations.iter().map(operation).collect::<Vec<_>>(),
        "deferred": set.deferred.iter().map(|client| hex::encode(identity(client))).collect::<Vec<_>>(),
        "is_open": set.is_open(),
        "carried_list": hex::encode(list),
        "carried_hash": hex::encode(hash.as_slice()),
    }))
}

fn extra(operation: &Operation) -> Value {
    let (name, member) = match operation {
        Operation::Add(member) => ("add", member),
        Operation::Remove(member) => ("remove", member),
        _ => return Value::Null,
    };
    json!({ "operation": name, "client": hex::encode(identity(&member.credential)) })
}

/// What every merge of the history is found to be.
fn checks(group: &Group, suite: Suite) -> Result<Vec<Value>, Failure> {
    let mut checks = Vec::new();
    for (at, epoch) in group.history.epochs() {
        for (commit, child) in epoch.children.iter().filter(|(_, child)| child.summary.merge.is_some()) {
            let check = group.onto(at, |onto| group.history.check_merge(suite, onto, &child.summary))?;
            let check = check.map_err(fail)?;
            checks.push(json!({
                "commit": hex::encode(commit.as_slice()),
                "known": check.known,
                "missing": check.missing.iter().map(operation).collect::<Vec<_>>(),
                "extra": check.extra.iter().map(extra).collect::<Vec<_>>(),
                "other_hash": check.other_hash,
            }));
        }
    }
    Ok(checks)
}

pub(super) fn compute(input: &Value) -> Result<Value, Failure> {
    let (group, suite, epoch) = (Group::read(input)?, suite(input)?, epoch_id(input, "onto")?);
    let sets = group.sets(&epoch)?;
    Ok(json!({
        "carried": sets.iter().map(|set| carry_set(suite, set)).collect::<Result<Vec<_>, Failure>>()?,
        "checks": checks(&group, suite)?,
        "heal_debts": group.history.heal_debts(&epoch).iter().map(|leaf| leaf.0).collect::<Vec<_>>(),
    }))
}
