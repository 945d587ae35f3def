//! Three members, the third of them Byzantine: what they do to the group on branches below branches, in every order of
//! doing and of delivery, and the merges that bring it together, made by whoever knows little or much.
//!
//! As soon as nothing is left to deliver and nobody has a merge to make or a debt to pay, everything that no rule voids
//! is in effect. That such a state is always reached is shown by the search coming to an end: all that is said stays
//! said, so there are no cycles.

mod search;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use dmls_core::history::{CarrySet, History};
use dmls_core::schedule::{CommitId, EpochId};
use dmls_core::tree::LeafIndex;

use super::changes::{
    Change, Op, all_in_effect, as_seen_by, carry_sets, is_member, is_wanted, merge_due, merge_of, op_of,
};
use super::honest::{send, vote_due};
use super::{Message, Says, anchor, epoch_id, name_of, record};

const HONEST: [u32; 2] = [0, 1];
const LIAR: u32 = 2;
/// The clients that are added.
const E: u32 = 3;
const F: u32 = 4;

/// The rules that are checked, or one that is wrong in one point: each must be caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    Production,
    /// Whoever has committed stays below it.
    NeverMoves,
    /// What is carried depends on what came first.
    FirstTipOnly,
    /// Whoever is out still has a say.
    VoidAuthorsCarry,
    /// A tip that a merge has named is finished.
    NamedIsDone,
    /// Whoever is to go never merges.
    OthersMerge,
    /// Nobody pays debts.
    WithoutDebts,
    /// Every Add is tried again for ever.
    NeverPutOff,
}

#[derive(Debug, Clone)]
struct Scope {
    rules: Rules,
    number: u64,
    /// What honest members do, one after the other, each on the head that it then has.
    wishes: [Vec<Vec<Op>>; 2],
    /// What the Byzantine member may do in a commit.
    deeds: Vec<Vec<Op>>,
    /// Commits of the Byzantine member.
    lies: usize,
    /// Whether it may make merges, wrong in any way.
    lying_merges: bool,
    /// Whether votes are cast.
    votes: bool,
    /// The largest number of honest merges seen.
    most: Arc<AtomicUsize>,
}

#[derive(Debug, Clone, PartialEq)]
struct View {
    history: History,
    /// Sent by others, and not here yet.
    pending: BTreeSet<Message>,
    /// What of its wishes it has done.
    done: usize,
    /// Only for the wrong rule that needs it.
    first: Option<CommitId>,
}

#[derive(Debug, Clone, PartialEq)]
struct State {
    views: Vec<View>,
    sent: BTreeSet<Message>,
    /// All that was sent, seen by somebody whom nobody removes.
    all: History,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Wish(usize),
    Merge(usize),
    Refresh(usize),
    Lie(Message),
    Deliver(usize, Message),
}

impl Hash for State {
    fn hash<H: Hasher>(&self, to: &mut H) {
        self.sent.hash(to);
        for view in &self.views {
            (&view.pending, view.done, view.first.as_ref().map(CommitId::as_slice)).hash(to);
            for (id, epoch) in view.history.epochs() {
                let own = &epoch.own;
                id.as_slice().hash(to);
                own.named.as_ref().map(CommitId::as_slice).hash(to);
                own.first_sent.as_ref().map(CommitId::as_slice).hash(to);
            }
        }
    }
}

impl Scope {
    fn small(rules: Rules) -> Self {
        let wishes = [vec![vec![Op::Add(E)]], vec![vec![Op::Add(F)]]];
        let deeds = Vec::new();
        Self {
            rules,
            number: 0,
            wishes,
            deeds,
            lies: 0,
            lying_merges: false,
            votes: false,
            most: Arc::default(),
        }
    }

    fn head(&self, view: &View) -> EpochId {
        let own = view.history.epoch(&epoch_id("p")).and_then(|p| p.own.named.clone());
        let mut own_branch = view.history.clone();
        match own.filter(|_| self.rules == Rules::NeverMoves) {
            Some(own) if own_branch.move_anchor(&epoch_id(&name_of(own.as_slice()))).is_ok() => {
                own_branch.head().epoch
            }
            _ => view.history.head().epoch,
        }
    }

    fn describe(&self) -> String {
        let Self { number, wishes, deeds, lies, lying_merges, votes, .. } = self;
        format!(
            "healing from epoch {number}, wishes {wishes:?}, {lies} Byzantine commits of {deeds:?}, merges too \
             {lying_merges}, votes {votes}"
        )
    }

    /// What is to be carried to an epoch, as production says it or by a wrong rule.
    fn carry(&self, view: &View, at: &EpochId) -> Vec<CarrySet> {
        let mut sets = carry_sets(&view.history, at);
        for set in &mut sets {
            match self.rules {
                Rules::FirstTipOnly => {
                    set.operations
                        .retain(|carried| view.first.as_ref().is_none_or(|tip| *tip == carried.commit));
                }
                Rules::NamedIsDone => {
                    let history = &view.history;
                    let named = |tip: &CommitId| {
                        history.ancestors(at).any(|(above, commit)| {
                            let child = &history.epoch(above).expect("an ancestor").children[commit];
                            child.summary.merge.as_ref().is_some_and(|merge| merge.tips.contains(&tip.0))
                        })
                    };
                    set.operations.retain(|carried| !named(&carried.commit));
                }
                Rules::NeverPutOff => set.deferred.clear(),
                _ => {}
            }
        }
        sets
    }

    fn merge(&self, view: &View, by: usize) -> Option<Change> {
        let head = self.head(view);
        let me = HONEST[by];
        let epoch = view.history.epoch(&head).expect("a head");
        if !is_member(&view.history, &head, me) || epoch.own.named.is_some() {
            return None;
        }
        let sets = self.carry(view, &head);
        let mut change = merge_due(&view.history, &sets, &head, me, &HONEST)?;
        if self.rules == Rules::OthersMerge && sets.iter().any(|set| set.removes(LeafIndex(me))) {
            return None;
        }
        if self.rules == Rules::VoidAuthorsCarry {
            let out = view.history.epochs().flat_map(|(_, epoch)| epoch.children.values());
            let theirs = out.flat_map(|child| child.summary.operations()).filter_map(removal);
            let gone = |client: &u32| *client != me && is_member(&view.history, &head, *client);
            let more: BTreeSet<Op> = theirs.filter(gone).map(Op::Remove).collect();
            change.ops.extend(more.into_iter().filter(|op| !change.ops.contains(op)).collect::<Vec<_>>());
        }
        Some(change)
    }

    fn owes(&self, view: &View, by: usize) -> bool {
        let head = self.head(view);
        let me = LeafIndex(HONEST[by]);
        let epoch = view.history.epoch(&head).expect("a head");
        self.rules != Rules::WithoutDebts
            && epoch.own.named.is_none()
            && view.history.heal_debts(&head).contains(me)
    }

    /// Sends a message, and the votes that follow from what is known then.
    fn say(&self, state: &mut State, by: usize, message: Message) {
        let mut sent = send(&mut state.views[by].history, message, true);
        sent.extend(self.vote(&mut state.views[by].history, HONEST[by]));
        self.spread(state, Some(by), sent);
    }

    fn vote(&self, history: &mut History, me: u32) -> Vec<Message> {
        let mut sent = Vec::new();
        for at in if self.votes { history.subtree(&history.anchor().clone()) } else { Vec::new() } {
            let head = history.head().epoch;
            let due = vote_due(history, &at, &head).filter(|_| is_member(history, &at, me));
            if let Some(commit) = due {
                let says = Says::Vote(name_of(commit.as_slice()));
                sent.extend(send(history, Message::new(&name_of(at.as_slice()), me, says), true));
            }
        }
        sent
    }

    fn spread(&self, state: &mut State, from: Option<usize>, sent: Vec<Message>) {
        for message in sent {
            record(&mut state.all, &message).expect("an epoch that is known");
            for to in (0..HONEST.len()).filter(|to| Some(*to) != from) {
                state.views[to].pending.insert(message.clone());
            }
            state.sent.insert(message);
        }
    }

    fn wish(&self, view: &View, by: usize) -> Option<Message> {
        let head = self.head(view);
        let epoch = view.history.epoch(&head).expect("a head");
        if !is_member(&view.history, &head, HONEST[by]) || epoch.own.named.is_some() {
            return None;
        }
        let useful = |op: &Op| match op {
            Op::Add(client) => !is_member(&view.history, &head, *client),
            Op::Remove(client) => is_member(&view.history, &head, *client),
        };
        let ops = self.wishes[by].get(view.done)?.iter().filter(|op| useful(op)).copied().collect();
        let at = name_of(head.as_slice());
        let change = Change::new(format!("{at}{}", HONEST[by]), ops);
        Some(Message::new(&at, HONEST[by], Says::Change(change)))
    }

    /// Whatever the Byzantine member could commit next, on any epoch that it is a member of, and merges of the head
    /// that do nothing, put everything off, or do more.
    fn lies(&self, state: &State) -> BTreeSet<Message> {
        let mut lies = BTreeSet::new();
        if state.sent.iter().filter(|message| message.by == LIAR).count() >= self.lies {
            return lies;
        }
        let ids: Vec<EpochId> = state.all.epochs().map(|(id, _)| id.clone()).collect();
        let heads: BTreeSet<EpochId> = state.views.iter().map(|view| self.head(view)).collect();
        for id in ids.iter().filter(|id| is_member(&state.all, id, LIAR)) {
            let at = name_of(id.as_slice());
            let can = |op: &Op| match op {
                Op::Add(client) => !is_member(&state.all, id, *client),
                Op::Remove(client) => is_member(&state.all, id, *client),
            };
            let mut say = |change| lies.insert(Message::new(&at, LIAR, Says::Change(change)));
            for (place, ops) in
                self.deeds.iter().enumerate().filter(|(_, ops)| at.len() <= 2 && ops.iter().all(can))
            {
                say(Change::new(format!("{at}{}", ['A', 'B', 'C', 'D'][place]), ops.clone()));
            }
            let sets = if heads.contains(id) { carry_sets(&state.all, id) } else { Vec::new() };
            let open = sets.iter().find(|set| set.is_open()).filter(|_| self.lying_merges);
            if let Some(set) = open {
                let ops: Vec<Op> = set.left_to(LeafIndex(LIAR)).map(op_of).collect();
                let clients = ops.iter().map(|op| match op {
                    Op::Add(client) | Op::Remove(client) => *client,
                });
                say(merge_of(set, format!("{at}L"), Vec::new(), Vec::new()));
                say(merge_of(set, format!("{at}M"), Vec::new(), clients.collect()));
                let more = [ops.clone(), vec![Op::Remove(1)]].concat();
                if can(&Op::Remove(1)) && !ops.contains(&Op::Remove(1)) {
                    say(merge_of(set, format!("{at}N"), more, Vec::new()));
                }
            }
        }
        lies.retain(|lie| {
            !state.all.epochs().any(|(id, _)| Some(name_of(id.as_slice())) == change_name(lie))
        });
        lies
    }

    fn is_here(&self, view: &View, message: &Message) -> bool {
        view.history.epoch(&epoch_id(&message.at)).is_some()
    }

    fn is_quiet(&self, state: &State) -> bool {
        state.views.iter().enumerate().all(|(by, view)| {
            let waits = view.pending.iter().any(|message| self.is_here(view, message));
            !waits && self.merge(view, by).is_none() && !self.owes(view, by)
        })
    }

    fn honest_in_head<'a>(&'a self, state: &'a State) -> impl Iterator<Item = usize> + 'a {
        let head = state.all.head().epoch;
        (0..HONEST.len()).filter(move |by| is_member(&state.all, &head, HONEST[*by]))
    }

    /// Same evidence, same head and carry sets: as those of a client that hears it in one fixed order.
    fn is_function_of_evidence(&self, state: &State) -> bool {
        state.views.iter().enumerate().all(|(by, view)| {
            let mut other = View { history: anchor(self.number, 3), first: None, ..view.clone() };
            let mut heard: Vec<&Message> =
                state.sent.iter().filter(|message| !view.pending.contains(message)).collect();
            heard.sort_by_key(|message| message.at.len());
            for message in heard {
                self.take(&mut other, by, message);
            }
            let head = view.history.head();
            head == other.history.head() && self.carry(view, &head.epoch) == self.carry(&other, &head.epoch)
        })
    }

    fn take(&self, view: &mut View, by: usize, message: &Message) {
        record(&mut view.history, &as_seen_by(HONEST[by], message)).expect("an epoch that is known");
        if self.rules == Rules::FirstTipOnly && view.first.is_none() && message.by != HONEST[by] {
            view.first = change_name(message).map(|name| CommitId(name.into_bytes().into()));
        }
    }

    fn one_head(&self, state: &State) -> bool {
        let head = state.all.head().epoch;
        !self.is_quiet(state) || self.honest_in_head(state).all(|by| self.head(&state.views[by]) == head)
    }

    fn nothing_is_lost(&self, state: &State) -> bool {
        let someone = self.honest_in_head(state).next().is_some();
        let head = state.all.head().epoch;
        !someone || !self.is_quiet(state) || all_in_effect(&state.all, &state.sent, &head, &HONEST).is_ok()
    }

    fn nothing_void_is_carried(&self, state: &State) -> bool {
        let honest = state.sent.iter().filter(|message| message.by != LIAR);
        honest.into_iter().all(|message| is_wanted(&state.all, &state.sent, message, LIAR))
    }

    fn debts_are_paid(&self, state: &State) -> bool {
        let debts = state.all.heal_debts(&state.all.head().epoch);
        !self.is_quiet(state) || self.honest_in_head(state).all(|by| !debts.contains(LeafIndex(HONEST[by])))
    }

    fn merges(state: &State) -> usize {
        let merges = |message: &&Message| {
            message.by != LIAR && matches!(&message.says, Says::Change(change) if change.merge.is_some())
        };
        state.sent.iter().filter(merges).count()
    }
}

fn removal(operation: &dmls_core::history::Operation) -> Option<u32> {
    if let dmls_core::history::Operation::Remove(member) = operation { Some(member.leaf.0) } else { None }
}

fn change_name(message: &Message) -> Option<String> {
    if let Says::Change(change) = &message.says { Some(change.name.clone()) } else { None }
}
