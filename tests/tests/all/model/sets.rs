//! One fork point of four and of five members, over every set of evidence: any member may say anything, so all of the
//! properties are asked of every set and of every way in which it can grow.

use dmls_core::history::{History, HistoryError};
use dmls_core::tree::LeafIndex;

use super::{Message, Says, anchor, epoch_id, large, name_of, record};

/// Who commits which child: nobody has "px", it can only be named.
const CHILDREN: [(&str, Option<u32>); 4] = [("pa", Some(0)), ("pb", Some(1)), ("px", None), ("pc", Some(2))];

/// A set of evidence is a bit mask over these messages.
struct Scope {
    members: u32,
    number: u64,
    children: usize,
    messages: Vec<Message>,
}

/// What the production code says of one set of evidence. Children by their place in [`CHILDREN`].
#[derive(Debug, Clone, Default)]
struct Outcome {
    head: Option<usize>,
    best: Option<usize>,
    weights: [usize; 4],
    known: [bool; 4],
    silent: usize,
    equivocators: usize,
    hard: bool,
    soft: bool,
    /// Soft-final once children that nobody can produce are written off.
    settles: bool,
}

type HeadRule = fn(&History) -> Option<usize>;

fn place_of(name: &str) -> usize {
    CHILDREN.iter().position(|(child, _)| *child == name).expect("a child")
}

fn production(history: &History) -> Option<usize> {
    let head = name_of(history.head().epoch.as_slice());
    (head != "p").then(|| place_of(&head))
}

/// A wrong rule: the last commit wins, whoever stands on it.
fn last_commit(history: &History) -> Option<usize> {
    let fork = history.epoch(&epoch_id("p")).expect("the anchor");
    fork.children.keys().map(|commit| place_of(&name_of(commit.as_slice()))).max()
}

impl Scope {
    fn new(members: u32, number: u64, children: usize) -> Self {
        let mut messages = Vec::new();
        for by in 0..members {
            messages.extend(
                CHILDREN[..children].iter().map(|(c, _)| Message::new("p", by, Says::Vote((*c).into()))),
            );
        }
        let commits = CHILDREN[..children].iter().filter_map(|(child, by)| Some((child, (*by)?)));
        messages.extend(commits.map(|(child, by)| Message::new("p", by, Says::Commit((*child).to_owned()))));
        Self { members, number, children, messages }
    }

    fn sets(&self) -> usize {
        1 << self.messages.len()
    }

    /// Everything that one member may say, as a mask.
    fn of(&self, member: u32) -> usize {
        let own = self.messages.iter().enumerate().filter(|(_, message)| message.by == member);
        own.map(|(bit, _)| 1 << bit).sum()
    }

    fn outcome(&self, history: &History, rule: HeadRule) -> Outcome {
        let fork = history.epoch(&epoch_id("p")).expect("the anchor");
        let decision = fork.decision();
        let place = |at: usize| decision.ranked.get(at).map(|c| place_of(&name_of(c.commit.as_slice())));
        let mut outcome = Outcome {
            head: rule(history),
            best: place(0),
            silent: decision.silent,
            equivocators: decision.equivocators,
            hard: decision.hard_final(),
            soft: decision.soft_final(),
            settles: decision.soft_final(),
            ..Outcome::default()
        };
        for child in &decision.ranked {
            let at = place_of(&name_of(child.commit.as_slice()));
            (outcome.weights[at], outcome.known[at]) = (child.weight, child.known);
        }
        if !decision.all_known() {
            let mut later = history.clone();
            let unknown = fork.named.keys().filter(|commit| !fork.children.contains_key(*commit)).cloned();
            later.epoch_mut(&epoch_id("p")).expect("the anchor").written_off.extend(unknown);
            outcome.settles = later.epoch(&epoch_id("p")).expect("the anchor").decision().soft_final();
        }
        outcome
    }

    /// What the production code says of every set.
    fn outcomes(&self, rule: HeadRule) -> Vec<Outcome> {
        let mut table = vec![Outcome::default(); self.sets()];
        let mut open = vec![(anchor(self.number, self.members), 0, 0)];
        while let Some((history, bit, set)) = open.pop() {
            let Some(message) = self.messages.get(bit) else {
                table[set] = self.outcome(&history, rule);
                continue;
            };
            let mut told = history.clone();
            record(&mut told, message).expect("the anchor is known");
            open.push((history, bit + 1, set));
            open.push((told, bit + 1, set | 1 << bit));
        }
        table
    }

    /// The child that more than half of the electors stand on, if it is known.
    fn majority(&self, of: &Outcome) -> Option<usize> {
        (0..self.children).find(|at| of.known[*at] && 2 * of.weights[*at] > self.members as usize)
    }

    fn tolerated(&self) -> usize {
        if self.members <= 3 { self.members as usize / 2 } else { (self.members as usize - 1) / 3 }
    }
}

/// Every set that `more` can be added to `set` in part.
fn grown(set: usize, more: usize) -> impl Iterator<Item = usize> {
    let more = more & !set;
    let mut next = Some(more);
    std::iter::from_fn(move || {
        let part = next?;
        next = (part > 0).then(|| (part - 1) & more);
        Some(set | part)
    })
}

/// Where a majority stands, what can one member do about it? Returns how often it reaches a tie: only by leaving a
/// majority of one, and only where all others stand on one other child.
fn no_member_moves_a_majority(scope: &Scope, table: &[Outcome]) -> Result<(usize, usize), String> {
    let (mut looked_at, mut ties) = (0, 0);
    for (set, before) in table.iter().enumerate() {
        let Some(child) = scope.majority(before) else { continue };
        if before.head != Some(child) {
            return Err(format!("the head is not on the majority: {set:b} {before:?}"));
        }
        for member in 0..scope.members {
            for after in grown(set, scope.of(member)).map(|set| &table[set]) {
                looked_at += 1;
                if after.head == Some(child) {
                    continue;
                }
                let left = after.weights[child] + 1 == before.weights[child];
                let narrow = 2 * before.weights[child] == scope.members as usize + 1;
                let tie = after.head.is_some_and(|head| after.weights[head] == after.weights[child]);
                if !(left && narrow && tie) {
                    return Err(format!("{member} moves the head: {set:b} {before:?} {after:?}"));
                }
                ties += 1;
            }
        }
    }
    Ok((looked_at, ties))
}

/// No message re-opens what is hard-final, up to a number of equivocators. As every set is asked, none of any number
/// of messages does.
fn hard_final_stays(
    scope: &Scope,
    table: &[Outcome],
    hard: impl Fn(&Outcome) -> bool,
    equivocators: usize,
) -> Result<usize, String> {
    let mut kept = 0;
    for (set, before) in table.iter().enumerate().filter(|(_, before)| hard(before)) {
        for bit in (0..scope.messages.len()).filter(|bit| set & 1 << bit == 0) {
            let after = &table[set | 1 << bit];
            if after.equivocators > equivocators {
                continue;
            }
            if !hard(after) || after.best != before.best || after.head != before.head {
                return Err(format!("{:?} re-opens {before:?}: {after:?}", scope.messages[bit]));
            }
            kept += 1;
        }
    }
    Ok(kept)
}

fn check(members: u32, number: u64, children: usize) {
    let scope = Scope::new(members, number, children);
    let table = scope.outcomes(production);
    let (moves, ties) = no_member_moves_a_majority(&scope, &table).expect("a majority stays");
    // Four members: three stay two against one. Five: three can become two against two, which is a tie.
    assert_eq!(ties > 0, members % 2 == 1, "ties among {members}");
    let kept =
        hard_final_stays(&scope, &table, |o| o.hard, scope.tolerated()).expect("hard-final is for good");
    let spoken: Vec<_> = table.iter().filter(|o| o.silent == 0 && o.known.contains(&true)).collect();
    assert!(spoken.iter().all(|outcome| outcome.settles), "all have spoken and nothing is decided");
    println!(
        "{members} members, epoch {number}: {} sets of {} messages; {moves} moves of one member against a majority, \
         {ties} reach a tie; {kept} steps leave hard-final alone; {} sets in which all have spoken are decided",
        scope.sets(),
        scope.messages.len(),
        spoken.len()
    );
    // The controls, on the same sets.
    if number > 0 {
        return;
    }
    assert!(no_member_moves_a_majority(&scope, &scope.outcomes(last_commit)).is_err(), "a wrong head");
    let two_thirds = |o: &Outcome| o.best.is_some_and(|best| 3 * o.weights[best] > 2 * members as usize);
    assert!(hard_final_stays(&scope, &table, two_thirds, scope.tolerated()).is_err(), "votes taken back");
    assert!(hard_final_stays(&scope, &table, |o| o.hard, scope.tolerated() + 1).is_err(), "one liar more");
    assert!(spoken.iter().any(|outcome| !outcome.soft), "nothing depends on writing off");
    assert!(table.iter().any(|o| o.silent > 0 && o.known.contains(&true) && !o.settles), "silence is enough");
    let moved_by_two = table.iter().enumerate().any(|(set, before)| {
        let child = scope.majority(before);
        let both = scope.of(members - 1) | scope.of(members - 2);
        child.is_some() && grown(set, both).any(|set| table[set].head != child)
    });
    assert!(moved_by_two, "two members who lie do not even move a majority");
}

#[test]
fn model_of_all_evidence_sets_of_four() {
    for number in 0..4 {
        check(4, number, 3);
    }
    if large() {
        check(4, 0, 4);
    }
}

#[test]
fn model_of_all_evidence_sets_of_five() {
    for number in 0..if large() { 5 } else { 1 } {
        check(5, number, 3);
    }
}

type Recorder = fn(&mut History, &Message) -> Result<(), HistoryError>;

/// A wrong way to record: whoever has named a child is not heard again.
fn first_name_only(history: &mut History, message: &Message) -> Result<(), HistoryError> {
    let fork = history.epoch(&epoch_id("p")).expect("the anchor");
    let named = fork.named.values().any(|leaves| leaves.contains(LeafIndex(message.by)));
    if named && matches!(message.says, Says::Vote(_)) { Ok(()) } else { record(history, message) }
}

/// Whether each set gives one history whichever of its messages came last. By induction: in whatever order.
fn orders_agree(scope: &Scope, record: Recorder) -> Result<usize, String> {
    let mut histories = vec![anchor(scope.number, scope.members)];
    let mut compared = 0;
    for set in 1..scope.sets() {
        let last = |bit: usize| {
            let mut history = histories[set & !(1 << bit)].clone();
            record(&mut history, &scope.messages[bit]).expect("the anchor is known");
            history
        };
        let mut bits = (0..scope.messages.len()).filter(|bit| set & 1 << bit != 0);
        let first = last(bits.next().expect("not empty"));
        for bit in bits {
            let other = last(bit);
            compared += 1;
            if other != first || other.head() != first.head() {
                return Err(format!("set {set:b} depends on when {:?} comes", scope.messages[bit]));
            }
        }
        histories.push(first);
    }
    Ok(compared)
}

#[test]
fn model_of_any_order_of_evidence() {
    let scope = Scope::new(if large() { 5 } else { 4 }, 1, 3);
    let compared = orders_agree(&scope, record).expect("order does not matter");
    println!(
        "{} members: {} sets, {compared} pairs of last messages, one history each",
        scope.members,
        scope.sets()
    );
    assert!(orders_agree(&scope, first_name_only).is_err(), "the check sees no order");
}
