//! Merging in groups of four and five, over every set of evidence out of one pool of commits and votes; and whoever
//! merges, however wrong its first merges are.

use std::collections::BTreeSet;

use dmls_core::history::History;
use dmls_core::schedule::EpochId;
use dmls_core::tree::LeafIndex;

use super::changes::{
    Change, Op, UNREACHABLE, all_in_effect, carry_sets, check, is_member, is_wanted, merge_due, merge_of,
    op_of,
};
use super::{Message, Says, anchor, commit_id, epoch_id, large, name_of, record};

/// The clients that are added.
const E: u32 = 6;
const F: u32 = 7;

/// Who merges first, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// Honest members in rank order.
    Honest,
    /// The Byzantine member does nothing of what it says.
    Less,
    /// It puts everything off.
    PutsOff,
    /// It adds a removal of its own.
    More,
}

struct Scope {
    members: u32,
    number: u64,
    messages: Vec<Message>,
}

fn change(at: &str, by: u32, name: &str, ops: &[Op]) -> Message {
    Message::new(at, by, Says::Change(Change::new(name.into(), ops.to_vec())))
}

impl Scope {
    /// The last member is the Byzantine one. Two branches below "p", forks below both, and removals of each other.
    fn new(members: u32, number: u64) -> Self {
        let liar = members - 1;
        let vote = |by: u32, name: &str| Message::new("p", by, Says::Vote(name.into()));
        let mut messages = vec![
            change("p", 0, "pa", &[]),
            change("p", 1, "pb", &[Op::Add(E)]),
            change("p", liar, "pc", &[Op::Remove(0), Op::Add(UNREACHABLE)]),
            change("pa", 0, "pad", &[Op::Remove(liar)]),
            change("pa", 2, "pae", &[Op::Remove(1)]),
            change("pb", 1, "pbf", &[Op::Remove(2)]),
            change("pb", liar, "pbg", &[Op::Remove(E), Op::Remove(1)]),
            vote(2, "pb"),
            vote(2, "pa"),
            vote(liar, "pa"),
        ];
        if members > 4 {
            messages.extend([vote(3, "pb"), change("pc", 3, "pch", &[Op::Add(F)])]);
        }
        Self { members, number, messages }
    }

    fn liar(&self) -> u32 {
        self.members - 1
    }

    fn honest(&self) -> Vec<u32> {
        (0..self.liar()).collect()
    }

    /// The history of a set, and what of it has its epoch in the set.
    fn history(&self, set: usize) -> (History, BTreeSet<Message>) {
        let (mut history, mut sent) = (anchor(self.number, self.members), BTreeSet::new());
        for (_, message) in self.messages.iter().enumerate().filter(|(bit, _)| set & 1 << bit != 0) {
            if record(&mut history, message).is_ok() {
                sent.insert(message.clone());
            }
        }
        (history, sent)
    }

    /// A wrong merge of the head by the Byzantine member.
    fn lie(&self, history: &History, head: &EpochId, first: First) -> Option<Change> {
        let liar = LeafIndex(self.liar());
        let sets = carry_sets(history, head);
        let set = sets.iter().find(|set| set.is_open()).filter(|_| is_member(history, head, liar.0))?;
        let name = format!("{}L", name_of(head.as_slice()));
        let ops: Vec<Op> = set.left_to(liar).map(op_of).collect();
        let clients = ops.iter().map(|op| match op {
            Op::Add(client) | Op::Remove(client) => *client,
        });
        match first {
            First::Honest => None,
            First::Less => Some(merge_of(set, name, Vec::new(), Vec::new())),
            First::PutsOff => Some(merge_of(set, name, Vec::new(), clients.collect())),
            First::More => {
                let victim = (0..liar.0).map(Op::Remove).find(|op| match op {
                    Op::Remove(client) => is_member(history, head, *client) && !ops.contains(op),
                    Op::Add(_) => false,
                });
                Some(merge_of(set, name, ops.iter().copied().chain(victim).collect(), Vec::new()))
            }
        }
    }

    /// The merge of the honest member whose turn it is.
    fn next(&self, history: &History, head: &EpochId) -> Option<(u32, Change)> {
        let sets = carry_sets(history, head);
        let epoch = history.epoch(head)?;
        let mut honest: Vec<u32> =
            self.honest().into_iter().filter(|by| is_member(history, head, *by)).collect();
        honest.sort_by_key(|by| epoch.place_by_rank(LeafIndex(*by)));
        let actors = self.honest();
        honest.into_iter().find_map(|by| Some((by, merge_due(history, &sets, head, by, &actors)?)))
    }

    /// Merges until nobody has anything to merge, then lets everybody pay its debts. How many merges that took.
    fn heal(&self, set: usize, first: First, with_next: bool) -> Result<usize, String> {
        let (mut history, mut sent) = self.history(set);
        let mut tell = |history: &mut History, at: &EpochId, by: u32, change: Change, right: bool| {
            let name = change.name.clone();
            let message = Message::new(&name_of(at.as_slice()), by, Says::Change(change));
            record(history, &message).map_err(|error| format!("{message:?}: {error}"))?;
            // Whoever follows a merge says so.
            for leaf in self.honest().into_iter().map(LeafIndex) {
                history.record_vote(at, leaf, &commit_id(&name), None).expect("its parent");
            }
            let check = check(history, at, &commit_id(&name));
            if right && message_merges(&message) && !(check.known && check.is_right()) {
                return Err(format!("{message:?} is not right: {check:?}"));
            }
            if right && !is_wanted(history, &sent, &message, self.liar()) {
                return Err(format!("{message:?} is not what anybody wanted"));
            }
            sent.insert(message);
            Ok(())
        };
        let head = history.head().epoch;
        if let Some(change) = self.lie(&history, &head, first) {
            tell(&mut history, &head, self.liar(), change, false)?;
        }
        let mut merges = 0;
        while let Some((by, change)) = self.next(&history, &history.head().epoch).filter(|_| with_next) {
            let head = history.head().epoch;
            tell(&mut history, &head, by, change, true)?;
            merges += 1;
            if merges > 8 {
                return Err("it does not end".into());
            }
        }
        for by in self.honest() {
            let head = history.head().epoch;
            if history.heal_debts(&head).contains(LeafIndex(by)) {
                let change = Change::new(format!("{}{by}", name_of(head.as_slice())), Vec::new());
                tell(&mut history, &head, by, change, true)?;
            }
        }
        let head = history.head().epoch;
        let honest = self.honest();
        if honest.iter().any(|by| is_member(&history, &head, *by)) {
            all_in_effect(&history, &sent, &head, &honest)?;
        }
        let debts = history.heal_debts(&head);
        if honest.iter().any(|by| debts.contains(LeafIndex(*by))) {
            return Err("somebody owes a refresh".into());
        }
        Ok(merges)
    }
}

fn message_merges(message: &Message) -> bool {
    matches!(&message.says, Says::Change(change) if change.merge.is_some())
}

fn check_all(members: u32, number: u64) {
    let scope = Scope::new(members, number);
    let sets = 1 << scope.messages.len();
    let (mut runs, mut merges, mut most) = (0, 0, 0);
    for set in 0..sets {
        for first in [First::Honest, First::Less, First::PutsOff, First::More] {
            let done = scope.heal(set, first, true);
            let done = done
                .unwrap_or_else(|why| panic!("{members} members, epoch {number}, {set:b}, {first:?}: {why}"));
            (runs, merges, most) = (runs + 1, merges + done, most.max(done));
        }
    }
    println!(
        "{members} members, epoch {number}: {sets} sets, {runs} runs, {merges} honest merges, at most {most} a run"
    );
    // Control: without merges something is lost.
    let lost = (0..sets).filter(|set| scope.heal(*set, First::Honest, false).is_err()).count();
    assert!(lost > sets / 8, "only {lost} of {sets} sets need a merge");
}

#[test]
fn model_of_merging_all_evidence_sets_of_four() {
    for number in 0..if large() { 4 } else { 1 } {
        check_all(4, number);
    }
}

#[test]
fn model_of_merging_all_evidence_sets_of_five() {
    for number in 1..if large() { 6 } else { 2 } {
        check_all(5, number);
    }
}

/// Whether each set gives one history, one head and one list of carry sets, whichever of its messages came last. By
/// induction: in whatever order. Messages wait for their epochs.
fn orders_agree(scope: &Scope, deaf: bool) -> Result<usize, String> {
    let mut compared = 0;
    for set in 1..1_usize << scope.messages.len() {
        let (expected, sent) = scope.history(set);
        let head = expected.head();
        for message in sent.iter().filter(|message| !sent.iter().any(|other| is_below(other, message))) {
            let without = scope.messages.iter().enumerate().filter(|(_, other)| *other != message);
            let rest = without.filter(|(bit, _)| set & 1 << bit != 0).map(|(bit, _)| 1 << bit).sum();
            let mut history = scope.history(rest).0;
            // A wrong rule: where something has been named, what comes later is not carried.
            let late =
                deaf && history.epoch(&epoch_id(&message.at)).is_some_and(|epoch| !epoch.named.is_empty());
            let mut message = message.clone();
            if let (Says::Change(change), true) = (&mut message.says, late) {
                change.ops.clear();
            }
            record(&mut history, &message).map_err(|error| error.to_string())?;
            compared += 1;
            let same = history == expected && history.head() == head;
            if !same || carry_sets(&history, &head.epoch) != carry_sets(&expected, &head.epoch) {
                return Err(format!("set {set:b} depends on when {message:?} comes"));
            }
        }
    }
    Ok(compared)
}

/// Whether a message lies in the epoch that another one makes.
fn is_below(message: &Message, of: &Message) -> bool {
    matches!(&of.says, Says::Change(change) if change.name == message.at)
}

#[test]
fn model_of_any_order_of_what_is_carried() {
    let scope = Scope::new(4, 0);
    let compared = orders_agree(&scope, false).expect("order does not matter");
    println!("4 members: {compared} pairs of last messages, one history and one list of carry sets each");
    assert!(orders_agree(&scope, true).is_err(), "the check sees no order");
}
