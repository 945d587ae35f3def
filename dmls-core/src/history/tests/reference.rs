//! DESIGN 4.4 read aloud: everything is computed anew from the list of messages, without a thought for cost.

use std::collections::{BTreeMap, BTreeSet};

use super::{History, HistoryEpoch, LeafIndex, Message, commit, epoch, leaves};
use crate::history::{Blocked, Head};
use crate::schedule::{CommitId, EpochId};

pub(super) struct Reference {
    anchor: EpochId,
    anchor_facts: Facts,
    pub(super) messages: Vec<Message>,
    pub(super) written_off: BTreeSet<(EpochId, CommitId)>,
}

#[derive(Clone)]
struct Facts {
    parent: Option<(EpochId, CommitId)>,
    number: u64,
    width: u32,
    electors: BTreeSet<u32>,
    blanked: BTreeSet<u32>,
}

/// A valid commit on an epoch.
struct Known<'a> {
    by: u32,
    class: u8,
    enters: Result<EpochId, &'a Blocked>,
}

struct Verdict {
    ranked: Vec<(CommitId, usize, bool)>,
    void: BTreeSet<u32>,
    silent: usize,
    soft: bool,
    hard: bool,
    holds: bool,
}

/// What one member has sent where, with the child it names by the message itself.
struct Heard<'a> {
    at: &'a EpochId,
    by: u32,
    child: Option<CommitId>,
    since: Option<&'a EpochId>,
    handshake: bool,
}

fn heard(message: &Message) -> Heard<'_> {
    match message {
        Message::Commit { at, by, name, since, .. } => {
            Heard { at, by: *by, child: Some(commit(name)), since: since.as_ref(), handshake: true }
        }
        Message::Vote { at, by, child, since } => {
            Heard { at, by: *by, child: Some(child.clone()), since: since.as_ref(), handshake: true }
        }
        Message::Ack { at, by, since } => {
            Heard { at, by: *by, child: None, since: since.as_ref(), handshake: true }
        }
        Message::Application { at, by } => Heard { at, by: *by, child: None, since: None, handshake: false },
    }
}

impl Reference {
    pub(super) fn new(anchor: EpochId, epoch: &HistoryEpoch) -> Self {
        let facts = Facts {
            parent: None,
            number: epoch.number,
            width: epoch.width,
            electors: epoch.electors.iter().map(|leaf| leaf.0).collect(),
            blanked: BTreeSet::new(),
        };
        Self { anchor, anchor_facts: facts, messages: Vec::new(), written_off: BTreeSet::new() }
    }

    /// Every epoch that can be reached by the commits.
    fn epochs(&self) -> BTreeMap<EpochId, Facts> {
        let mut epochs = BTreeMap::from([(self.anchor.clone(), self.anchor_facts.clone())]);
        loop {
            let before = epochs.len();
            for message in &self.messages {
                let Message::Commit { at, name, makes: Ok(made), .. } = message else { continue };
                let Some(parent) = epochs.get(at) else { continue };
                let facts = Facts {
                    parent: Some((at.clone(), commit(name))),
                    number: parent.number + 1,
                    width: made.width,
                    electors: made.electors.clone(),
                    blanked: made.blanked.clone(),
                };
                epochs.insert(epoch(name), facts);
            }
            if epochs.len() == before {
                return epochs;
            }
        }
    }

    /// The epochs from just below `top` down to `bottom`, and the child of `top` that leads there.
    fn path(
        epochs: &BTreeMap<EpochId, Facts>,
        top: &EpochId,
        bottom: &EpochId,
    ) -> Option<(CommitId, Vec<EpochId>)> {
        let mut path = vec![bottom.clone()];
        loop {
            let (parent, commit) = epochs.get(path.last().unwrap())?.parent.clone()?;
            if parent == *top {
                return Some((commit, path));
            }
            path.push(parent);
        }
    }

    fn names(&self, epochs: &BTreeMap<EpochId, Facts>, p: &EpochId) -> BTreeSet<(u32, CommitId)> {
        let mut names = BTreeSet::new();
        for message in &self.messages {
            let Heard { at, by, child, since, handshake } = heard(message);
            if at == p {
                names.extend(child.map(|child| (by, child)));
            } else if let Some((child, path)) = Self::path(epochs, p, at).filter(|_| handshake) {
                let same_member = path.iter().all(|below| !epochs[below].blanked.contains(&by));
                let hidden = since.is_some_and(|since| since == p || path.contains(since));
                if same_member && !hidden {
                    names.insert((by, child));
                }
            }
        }
        names.retain(|(by, _)| epochs[p].electors.contains(by));
        names
    }

    fn children(&self, p: &EpochId) -> BTreeMap<CommitId, Known<'_>> {
        let known = self.messages.iter().filter_map(|message| match message {
            Message::Commit { at, by, name, class, makes, .. } if at == p => {
                let enters = makes.as_ref().map(|_| epoch(name));
                Some((commit(name), Known { by: *by, class: *class, enters }))
            }
            _ => None,
        });
        known.collect()
    }

    fn verdict(&self, epochs: &BTreeMap<EpochId, Facts>, p: &EpochId) -> Verdict {
        let facts = &epochs[p];
        let names = self.names(epochs, p);
        let children = self.children(p);
        let names_of =
            |m: u32| names.iter().filter(move |(by, _)| *by == m).map(|(_, c)| c).collect::<Vec<_>>();
        let lost =
            |c: &CommitId| self.written_off.contains(&(p.clone(), c.clone())) && !children.contains_key(c);
        let double: BTreeSet<u32> =
            facts.electors.iter().copied().filter(|m| names_of(*m).len() > 1).collect();
        let void: BTreeSet<u32> = {
            let is_void = |m: &u32| double.contains(m) || names_of(*m).into_iter().any(lost);
            facts.electors.iter().copied().filter(is_void).collect()
        };
        let weight = |c: &CommitId| {
            facts.electors.iter().filter(|m| !void.contains(m) && names_of(**m) == [c]).count()
        };
        let mut all: BTreeSet<CommitId> = children.keys().cloned().collect();
        all.extend(names.iter().map(|(_, c)| c.clone()).filter(|c| weight(c) > 0));
        let leaf_count = i128::from(facts.width);
        let key = |c: &CommitId| {
            let minus_weight = -i64::try_from(weight(c)).unwrap();
            match children.get(c) {
                Some(known) => {
                    let rank = (i128::from(known.by) - i128::from(facts.number)).rem_euclid(leaf_count);
                    (minus_weight, known.class, void.contains(&known.by), rank, c.clone())
                }
                None => (minus_weight, u8::MAX, true, 0, c.clone()),
            }
        };
        let mut ranked: Vec<CommitId> = all.into_iter().collect();
        ranked.sort_by_key(key);
        let n = facts.electors.len();
        let u = facts.electors.iter().filter(|m| names_of(**m).is_empty()).count();
        let w1 = ranked.first().map_or(0, weight);
        let w2 = ranked.get(1).map_or(0, weight);
        let best_known = ranked.first().is_some_and(|c| children.contains_key(c));
        let all_known = ranked.iter().all(|c| children.contains_key(c));
        let third = (n - 1) / 3;
        let tolerated = if n <= 3 { n / 2 } else { third };
        let soft = best_known && (w1 - w2 > u || (u == 0 && all_known));
        let hard = best_known && w1 + double.len().min(tolerated) > 2 * n / 3;
        let holds = hard || (best_known && w1 - w2 > u + third) || (n <= 3 && soft);
        let ranked = ranked.into_iter().map(|c| (c.clone(), weight(&c), children.contains_key(&c))).collect();
        Verdict { ranked, void, silent: u, soft, hard, holds }
    }

    fn head(&self, epochs: &BTreeMap<EpochId, Facts>) -> Head {
        let mut at = self.anchor.clone();
        'walk: loop {
            let verdict = self.verdict(epochs, &at);
            let children = self.children(&at);
            for (place, (commit, _, _)) in verdict.ranked.iter().enumerate() {
                match children.get(commit).map(|known| &known.enters) {
                    Some(Ok(child)) => {
                        at = child.clone();
                        continue 'walk;
                    }
                    Some(Err(why)) if place == 0 && verdict.soft => {
                        return Head { epoch: at, outside: Some((commit.clone(), (*why).clone())) };
                    }
                    _ => {}
                }
            }
            return Head { epoch: at, outside: None };
        }
    }

    fn settled(&self, epochs: &BTreeMap<EpochId, Facts>, p: &EpochId, head: &EpochId, own: u32) -> bool {
        let verdict = self.verdict(epochs, p);
        let Some((_, to_head)) = Self::path(epochs, p, head) else { return false };
        let still_there = |m: &u32| to_head.iter().all(|below| !epochs[below].blanked.contains(m));
        let has_spoken = |m: u32| {
            self.messages.iter().map(heard).any(|heard| {
                let path = Self::path(epochs, p, heard.at).map(|(_, path)| path).unwrap_or_default();
                heard.by == m
                    && !path.is_empty()
                    && path.iter().all(|below| !epochs[below].blanked.contains(&m))
            })
        };
        verdict.holds
            && verdict.ranked.iter().all(|(_, _, known)| *known)
            && epochs[p].electors.iter().filter(|m| still_there(m)).all(|m| *m == own || has_spoken(*m))
    }

    /// Everything that the history says is what the design says.
    pub(super) fn compare(&self, history: &History) {
        let epochs = self.epochs();
        assert!(history.epochs().map(|(id, _)| id).eq(epochs.keys()));
        let head = self.head(&epochs);
        assert_eq!(history.head(), head);
        let mut above_is_final = BTreeMap::new();
        for id in history.subtree(history.anchor()) {
            let verdict = self.verdict(&epochs, &id);
            let decision = history.epoch(&id).unwrap().decision();
            let ranked: Vec<_> =
                decision.ranked.iter().map(|c| (c.commit.clone(), c.weight, c.known)).collect();
            assert_eq!(ranked, verdict.ranked, "at {id}");
            assert_eq!(decision.electors, epochs[&id].electors.len());
            assert_eq!(decision.silent, verdict.silent, "at {id}");
            assert_eq!(decision.void, leaves(verdict.void.iter().copied()), "at {id}");
            let found = (decision.soft_final(), decision.hard_final(), decision.holds());
            assert_eq!(found, (verdict.soft, verdict.hard, verdict.holds), "at {id}");
            let is_final = epochs[&id].parent.as_ref().is_none_or(|(parent, by)| {
                let verdict = self.verdict(&epochs, parent);
                above_is_final[parent] && verdict.hard && verdict.ranked[0].0 == *by
            });
            assert_eq!(history.is_final(&id, &|_| false), is_final, "{id}");
            above_is_final.insert(id.clone(), is_final);
            for own in [0, 1] {
                let settled = self.settled(&epochs, &id, &head.epoch, own);
                assert_eq!(history.is_settled(&id, &head.epoch, LeafIndex(own)), settled, "{id}");
            }
        }
    }
}
