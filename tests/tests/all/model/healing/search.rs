//! What is asked of every state, and the scopes that are searched.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use dmls_core::schedule::EpochId;
use stateright::{Checker, HasDiscoveries, Model, Property};

use super::super::changes::{Change, Op, UNREACHABLE, is_member};
use super::super::{Message, Says, anchor, epoch_id, large, name_of};
use super::{Action, E, F, HONEST, LIAR, Rules, Scope, State, View};

const EVIDENCE: &str = "same evidence, same head and carry sets";
const ONE_HEAD: &str = "who is in the head is at the head";
const EFFECT: &str = "what no rule voids is in effect";
const VOID: &str = "what is void is not carried";
const DEBTS: &str = "debts are paid";
const BOUND: &str = "no more merges than there is to merge";
const ALWAYS: [&str; 6] = [EVIDENCE, ONE_HEAD, EFFECT, VOID, DEBTS, BOUND];
const CONCURRENT: &str = "two merges at once";
const MERGED_TWICE: &str = "a merge below a merge";
const NESTED: &str = "a fork below a fork";
const CARRIED: &str = "both branches in effect";
/// Honest merges at most: far more than the largest scope needs.
const MOST_MERGES: usize = 12;

impl Model for Scope {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let history = anchor(self.number, 3);
        let view = View { history: history.clone(), pending: BTreeSet::new(), done: 0, first: None };
        vec![State { views: vec![view.clone(), view], sent: BTreeSet::new(), all: history }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (by, view) in state.views.iter().enumerate() {
            if self.wish(view, by).is_some() {
                actions.push(Action::Wish(by));
            }
            if self.merge(view, by).is_some() {
                actions.push(Action::Merge(by));
            } else if self.owes(view, by) {
                actions.push(Action::Refresh(by));
            }
            let here = view.pending.iter().filter(|message| self.is_here(view, message));
            actions.extend(here.map(|message| Action::Deliver(by, message.clone())));
        }
        actions.extend(self.lies(state).into_iter().map(Action::Lie));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let head = |by: usize| name_of(self.head(&last.views[by]).as_slice());
        match action {
            Action::Wish(by) => {
                let message = self.wish(&last.views[by], by)?;
                state.views[by].done += 1;
                self.say(&mut state, by, message);
            }
            Action::Merge(by) => {
                let change = self.merge(&last.views[by], by)?;
                self.say(&mut state, by, Message::new(&head(by), HONEST[by], Says::Change(change)));
            }
            Action::Refresh(by) => {
                let change = Change::new(format!("{}{}", head(by), HONEST[by]), Vec::new());
                self.say(&mut state, by, Message::new(&head(by), HONEST[by], Says::Change(change)));
            }
            Action::Lie(message) => self.spread(&mut state, None, vec![message]),
            Action::Deliver(to, message) => {
                state.views[to].pending.remove(&message);
                self.take(&mut state.views[to], to, &message);
                let votes = self.vote(&mut state.views[to].history, HONEST[to]);
                self.spread(&mut state, Some(to), votes);
            }
        }
        Some(state)
    }

    /// What is too much is not made more.
    fn within_boundary(&self, state: &State) -> bool {
        Self::merges(state) <= MOST_MERGES + 1
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(EVIDENCE, Self::is_function_of_evidence),
            Property::always(ONE_HEAD, Self::one_head),
            Property::always(EFFECT, Self::nothing_is_lost),
            Property::always(VOID, Self::nothing_void_is_carried),
            Property::always(DEBTS, Self::debts_are_paid),
            Property::always(BOUND, |model: &Self, state| {
                let merges = Self::merges(state);
                model.most.fetch_max(merges, Ordering::Relaxed);
                merges <= MOST_MERGES
            }),
            Property::sometimes(CONCURRENT, |_, state: &State| {
                state.all.epochs().any(|(_, epoch)| {
                    epoch.children.values().filter(|child| child.summary.merge.is_some()).count() > 1
                })
            }),
            Property::sometimes(MERGED_TWICE, |_, state: &State| {
                let head = state.all.head().epoch;
                let merges = state.all.ancestors(&head).filter(|(at, commit)| {
                    state.all.epoch(at).is_some_and(|epoch| epoch.children[*commit].summary.merge.is_some())
                });
                merges.count() > 1
            }),
            Property::sometimes(NESTED, |model: &Self, state: &State| {
                let forked = |id: &EpochId| state.all.epoch(id).is_some_and(|epoch| epoch.children.len() > 1);
                let mut below = state.all.epochs().filter(|(_, epoch)| epoch.number > model.number);
                below.any(|(id, _)| forked(id)) && forked(&epoch_id("p"))
            }),
            Property::sometimes(CARRIED, |model: &Self, state: &State| {
                let head = state.all.head().epoch;
                model.is_quiet(state) && [E, F].into_iter().all(|client| is_member(&state.all, &head, client))
            }),
        ]
    }
}

fn scopes() -> Vec<Scope> {
    let base = || Scope::small(Rules::Production);
    let add = |client| vec![Op::Add(client)];
    let small = vec![
        // Two honest members, twice each.
        Scope { wishes: [vec![add(E), vec![Op::Remove(F)]], vec![add(F), vec![Op::Remove(E)]]], ..base() },
        Scope { wishes: [vec![add(E)], vec![vec![Op::Remove(0)]]], votes: true, ..base() },
        // The third adds somebody who cannot be had, and removes both.
        Scope {
            deeds: vec![add(UNREACHABLE), vec![Op::Remove(0), Op::Remove(1)]],
            lies: 1,
            lying_merges: true,
            ..base()
        },
        Scope {
            wishes: [vec![add(E)], vec![vec![Op::Remove(LIAR)]]],
            deeds: vec![vec![Op::Remove(1)], vec![Op::Remove(E)]],
            lies: 1,
            lying_merges: true,
            number: 2,
            ..base()
        },
        Scope {
            wishes: [vec![add(E)], vec![]],
            deeds: vec![vec![Op::Remove(0), Op::Remove(1)]],
            lies: 2,
            lying_merges: true,
            ..base()
        },
    ];
    let more = vec![
        Scope { wishes: [vec![add(E), vec![]], vec![add(F), vec![Op::Remove(E)]]], ..base() },
        Scope {
            deeds: vec![add(E), vec![Op::Remove(1)]],
            lies: 1,
            lying_merges: true,
            votes: true,
            ..base()
        },
    ];
    if large() { [small, more].concat() } else { small }
}

#[test]
fn model_of_healing_in_every_order() {
    let mut reached = BTreeSet::new();
    for scope in scopes() {
        let began = std::time::Instant::now();
        let checked =
            scope.clone().checker().threads(2).finish_when(HasDiscoveries::AllFailures).spawn_bfs().join();
        for name in ALWAYS {
            if let Some(path) = checked.discovery(name) {
                let steps: Vec<String> =
                    path.into_actions().iter().map(|action| format!("{action:?}")).collect();
                panic!("{}: \"{name}\" fails after\n{}", scope.describe(), steps.join("\n"));
            }
        }
        reached.extend(checked.discoveries().into_keys());
        println!(
            "{}: {} states, {} steps, at most {} deep, at most {} honest merges, {:.1?}",
            scope.describe(),
            checked.unique_state_count(),
            checked.state_count(),
            checked.max_depth(),
            scope.most.load(Ordering::Relaxed),
            began.elapsed(),
        );
    }
    assert_eq!(
        reached,
        BTreeSet::from([CONCURRENT, MERGED_TWICE, NESTED, CARRIED]),
        "the search is too small"
    );
}

/// A scope in which a wrong rule does harm.
fn harmed(rules: Rules) -> (Scope, &'static str) {
    let base = Scope::small(rules);
    let add = |client| vec![Op::Add(client)];
    let removes_both = Scope { deeds: vec![vec![Op::Remove(0), Op::Remove(1)]], lies: 1, ..base.clone() };
    match rules {
        Rules::Production | Rules::FirstTipOnly => (removes_both, EVIDENCE),
        Rules::NeverMoves => (base, ONE_HEAD),
        Rules::VoidAuthorsCarry => {
            let wishes = [vec![vec![Op::Remove(LIAR)]], vec![add(E)]];
            (Scope { wishes, deeds: vec![vec![Op::Remove(1)]], lies: 1, ..base }, VOID)
        }
        Rules::NamedIsDone => (Scope { lies: 1, lying_merges: true, ..base }, EFFECT),
        Rules::OthersMerge => (removes_both, EFFECT),
        Rules::WithoutDebts => (base, DEBTS),
        Rules::NeverPutOff => (
            Scope { wishes: [vec![vec![]], vec![vec![]]], deeds: vec![add(UNREACHABLE)], lies: 1, ..base },
            BOUND,
        ),
    }
}

#[test]
fn model_of_wrong_merging_is_caught() {
    for rules in [
        Rules::NeverMoves,
        Rules::FirstTipOnly,
        Rules::VoidAuthorsCarry,
        Rules::NamedIsDone,
        Rules::OthersMerge,
        Rules::WithoutDebts,
        Rules::NeverPutOff,
    ] {
        let (scope, property) = harmed(rules);
        let until = HasDiscoveries::AnyOf(BTreeSet::from([property]));
        // A quiet state is a deep one.
        let found = scope.checker().finish_when(until).spawn_dfs().join().discovery(property);
        let path = found.unwrap_or_else(|| panic!("{rules:?} passes for right")).into_actions();
        println!("{rules:?}: \"{property}\" fails after {} steps", path.len());
    }
}
