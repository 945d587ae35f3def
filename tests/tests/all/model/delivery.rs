//! Three members, the third of them Byzantine, forks below forks, every order of sending and of delivery.
//!
//! A state holds the production histories of the two honest members, so two orders that led to different histories
//! would be two states. What is left open: when anybody sends, what the Byzantine member says, and what arrives when.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use dmls_core::history::{Decision, History, HistoryEpoch, LeafSet};
use dmls_core::schedule::{CommitId, EpochId};
use dmls_core::tree::LeafIndex;
use stateright::{Checker, HasDiscoveries, Model, Property};

use super::honest::{send, vote_due};
use super::{Message, Says, anchor, epoch_id, large, name_of, record};

const HONEST: [u32; 2] = [0, 1];
const LIAR: u32 = 2;

/// The rules that are checked, or one that is wrong in one point: each must be caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    Production,
    /// The head goes to the child that came first.
    FirstSeen,
    /// The head is the longest branch.
    Longest,
    /// Honest members do not say where they have stood before.
    WithoutSince,
    /// Hard-final counts only those who have named one child.
    VotesTakenBack,
    /// Children that nobody has are waited for.
    NeverWrittenOff,
}

#[derive(Debug, Clone)]
struct Scope {
    rules: Rules,
    number: u64,
    /// Whether the two honest members have just committed on "p", each without knowing of the other.
    forked: bool,
    /// Commits of honest members, in all.
    commits: usize,
    /// Messages of the Byzantine member.
    lies: usize,
}

/// What one honest member has.
#[derive(Debug, Clone, PartialEq)]
struct View {
    history: History,
    /// Sent by others, and not here yet.
    pending: BTreeSet<Message>,
    /// What has been hard-final here at any time.
    hard: BTreeMap<EpochId, CommitId>,
    /// Only for the wrong rule that needs it.
    arrived: Vec<EpochId>,
}

#[derive(Debug, Clone, PartialEq)]
struct State {
    views: Vec<View>,
    sent: BTreeSet<Message>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Commit(usize),
    Acknowledge(usize),
    Vote(usize, EpochId),
    Lie(Message),
    Deliver(usize, Message),
}

impl Hash for View {
    fn hash<H: Hasher>(&self, to: &mut H) {
        for (id, epoch) in self.history.epochs() {
            id.as_slice().hash(to);
            for commit in epoch.children.keys() {
                commit.as_slice().hash(to);
            }
            for (commit, leaves) in &epoch.named {
                (commit.as_slice(), Vec::<u8>::from(leaves.clone())).hash(to);
            }
            Vec::<u8>::from(epoch.spoken.clone()).hash(to);
            let own = &epoch.own;
            (own.acknowledged, own.named.as_ref().map(CommitId::as_slice)).hash(to);
            own.first_sent.as_ref().map(CommitId::as_slice).hash(to);
        }
        self.pending.hash(to);
        for (id, commit) in &self.hard {
            (id.as_slice(), commit.as_slice()).hash(to);
        }
        self.arrived.iter().for_each(|id| id.as_slice().hash(to));
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, to: &mut H) {
        (&self.views, &self.sent).hash(to);
    }
}

/// Whether two histories hold the same evidence, and decide the same. What is only their owners' may differ.
fn agree(one: &History, other: &History) -> bool {
    one.len() == other.len()
        && one.epochs().zip(other.epochs()).all(|((id, a), (other, b))| {
            let same = (id, &a.parent, &a.spoken) == (other, &b.parent, &b.spoken);
            same && a.children == b.children && a.named == b.named && a.decision() == b.decision()
        })
}

impl Scope {
    fn hard_final(&self, decision: &Decision) -> bool {
        let naive =
            || decision.ranked.first().is_some_and(|c| c.known && 3 * c.weight > 2 * decision.electors);
        if self.rules == Rules::VotesTakenBack { naive() } else { decision.hard_final() }
    }

    fn head(&self, view: &View) -> EpochId {
        match self.rules {
            Rules::FirstSeen => {
                let mut at = epoch_id("p");
                let below = |at: &EpochId| {
                    view.arrived
                        .iter()
                        .find(|id| view.history.ancestors(id).next().is_some_and(|a| a.0 == at))
                };
                while let Some(child) = below(&at) {
                    at = child.clone();
                }
                at
            }
            Rules::Longest => {
                let best = view.history.epochs().max_by_key(|(id, epoch)| (epoch.number, (*id).clone()));
                best.expect("the anchor").0.clone()
            }
            _ => view.history.head().epoch,
        }
    }

    fn take(&self, view: &mut View, message: &Message) {
        record(&mut view.history, message).expect("an epoch that is known");
        self.note(view, message);
    }

    fn note(&self, view: &mut View, message: &Message) {
        if let (Says::Commit(name), Rules::FirstSeen) = (&message.says, self.rules) {
            view.arrived.push(epoch_id(name));
        }
        for (id, epoch) in view.history.epochs() {
            let decision = epoch.decision();
            if self.hard_final(&decision) && !view.hard.contains_key(id) {
                view.hard.insert(id.clone(), decision.ranked[0].commit.clone());
            }
        }
    }

    fn say(&self, state: &mut State, by: usize, message: Message) {
        let sent = send(&mut state.views[by].history, message, self.rules != Rules::WithoutSince);
        for message in sent {
            self.note(&mut state.views[by], &message);
            state.views[1 - by].pending.insert(message.clone());
            state.sent.insert(message);
        }
    }

    /// Whether a member may commit on its head: once an epoch, and a fork below a fork is deep enough.
    fn may_commit(&self, state: &State, by: usize) -> bool {
        let head = self.head(&state.views[by]);
        let epoch = state.views[by].history.epoch(&head).expect("a head");
        let is_commit = |m: &&Message| m.by != LIAR && matches!(m.says, Says::Commit(_));
        let made = state.sent.iter().filter(is_commit).count();
        epoch.own.named.is_none() && epoch.number < self.number + 2 && made < self.commits
    }

    /// What an honest member has yet to say.
    fn due(&self, view: &View, by: usize) -> Vec<Action> {
        let head = self.head(view);
        let owes = |id: &EpochId| vote_due(&view.history, id, &head).is_some();
        let votes =
            view.history.epochs().filter(|(id, _)| owes(id)).map(|(id, _)| Action::Vote(by, id.clone()));
        let mut due: Vec<Action> = votes.collect();
        if !view.history.epoch(&head).expect("a head").own.acknowledged {
            due.push(Action::Acknowledge(by));
        }
        due
    }

    /// Whatever the Byzantine member could say next: two commits in "p" and one below each child, votes for any
    /// child or for none that exists, acknowledgements with any `since`.
    fn lies(&self, state: &State) -> BTreeSet<Message> {
        let mut lies = BTreeSet::new();
        if state.sent.iter().filter(|message| message.by == LIAR).count() >= self.lies {
            return lies;
        }
        let commits = |m: &Message| if let Says::Commit(name) = &m.says { Some(name.clone()) } else { None };
        let mut epochs = vec!["p".to_owned()];
        epochs.extend(state.sent.iter().filter_map(commits));
        for at in &epochs {
            let mut say = |says: Says| lies.insert(Message::new(at, LIAR, says));
            if at.len() <= 2 {
                say(Says::Commit(format!("{at}2")));
                say(Says::Vote(format!("{at}x")));
            }
            if at == "p" {
                say(Says::Commit("p3".into()));
            }
            for child in epochs.iter().filter(|child| child.len() == at.len() + 1 && child.starts_with(at)) {
                say(Says::Vote(child.clone()));
            }
            for length in 1..=at.len() {
                let since = (length < at.len()).then(|| at[..length].to_owned());
                lies.insert(Message { since, ..Message::new(at, LIAR, Says::Ack) });
            }
        }
        lies.retain(|lie| !state.sent.contains(lie));
        lies
    }

    fn is_quiet(&self, state: &State) -> bool {
        let views = || state.views.iter().enumerate();
        views().all(|(by, view)| view.pending.is_empty() && self.due(view, by).is_empty())
    }

    /// Same evidence, same history, head and decisions: as that of a member who hears it in one fixed order.
    fn is_function_of_evidence(&self, state: &State) -> bool {
        state.views.iter().all(|view| {
            let mut one = View { history: anchor(self.number, 3), pending: BTreeSet::new(), ..view.clone() };
            one.arrived.clear();
            let mut waiting: Vec<&Message> =
                state.sent.iter().filter(|message| !view.pending.contains(message)).collect();
            // Epochs before what is said in them.
            waiting.sort_by_key(|message| message.at.len());
            for message in waiting {
                record(&mut one.history, message).expect("an epoch that is known");
                if let (Says::Commit(name), Rules::FirstSeen) = (&message.says, self.rules) {
                    one.arrived.push(epoch_id(name));
                }
            }
            agree(&one.history, &view.history) && self.head(&one) == self.head(view)
        })
    }

    /// Two of three are more than half: where both honest members are known to stand on a child, the head is there.
    fn majority_holds(&self, state: &State) -> bool {
        state.views.iter().all(|view| {
            let head = self.head(view);
            view.history.epochs().all(|(id, epoch)| {
                let honest = |leaves: &LeafSet| HONEST.iter().all(|by| leaves.contains(LeafIndex(*by)));
                let both = epoch.named.iter().find(|(_, leaves)| honest(leaves)).map(|(commit, _)| commit);
                // It is about a fork point that the head has come to.
                let Some(both) = both.filter(|c| epoch.children.contains_key(c)) else { return true };
                !view.history.is_on_path(id, &head)
                    || view.history.ancestors(&head).any(|(above, commit)| above == id && commit == both)
            })
        })
    }

    fn hard_final_stays(&self, state: &State) -> bool {
        state.views.iter().all(|view| {
            view.hard.iter().all(|(id, commit)| {
                let decision = view.history.epoch(id).expect("an epoch").decision();
                self.hard_final(&decision) && decision.ranked[0].commit == *commit
            })
        })
    }

    fn honest_never_void(&self, state: &State) -> bool {
        let void = |d: &Decision| HONEST.iter().any(|by| d.void.contains(LeafIndex(*by)));
        state.views.iter().all(|view| view.history.epochs().all(|(_, epoch)| !void(&epoch.decision())))
    }

    /// When all has arrived and nobody owes a word, honest members have one head, have all spoken at every fork
    /// point, and each at which the third has spoken too is decided.
    fn quiet_is_decided(&self, state: &State) -> bool {
        if !self.is_quiet(state) {
            return true;
        }
        let one_head = self.head(&state.views[0]) == self.head(&state.views[1]);
        one_head
            && state.views.iter().all(|view| {
                view.history.epochs().filter(|(_, epoch)| epoch.children.len() > 1).all(|(_, epoch)| {
                    let mut later = epoch.clone();
                    if self.rules != Rules::NeverWrittenOff {
                        let unknown = epoch.named.keys().filter(|c| !epoch.children.contains_key(*c));
                        later.written_off.extend(unknown.cloned());
                    }
                    let decision = later.decision();
                    decision.silent <= 1 && (decision.silent == 1 || decision.soft_final())
                })
            })
    }
}

/// Some state that an "always" would say nothing about if it were never reached.
fn any(state: &State, of: impl Fn(&View, &HistoryEpoch) -> bool) -> bool {
    state.views.iter().any(|view| view.history.epochs().any(|(_, epoch)| of(view, epoch)))
}

const EVIDENCE: &str = "same evidence, same head";
const MAJORITY: &str = "a majority holds the head";
const HARD: &str = "hard-final stays";
const VOID: &str = "honest members are never void";
const NESTED: &str = "a fork below a fork";
const VOID_AND_HARD: &str = "a liar is void and something hard-final";
const DECIDED_FORK: &str = "a fork is decided when all is said";
const DECIDED: &str = "what all have spoken on is decided";

impl Model for Scope {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut history = anchor(self.number, 3);
        // At rest: "p" has been acknowledged, which names nothing.
        history.epoch_mut(&epoch_id("p")).expect("the anchor").own.acknowledged = true;
        let view = View { history, pending: BTreeSet::new(), hard: BTreeMap::new(), arrived: Vec::new() };
        let mut state = State { views: vec![view.clone(), view], sent: BTreeSet::new() };
        for by in if self.forked { 0..2 } else { 0..0 } {
            self.say(&mut state, by, Message::new("p", HONEST[by], Says::Commit(format!("p{by}"))));
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (by, view) in state.views.iter().enumerate() {
            if self.may_commit(state, by) {
                actions.push(Action::Commit(by));
            }
            actions.extend(self.due(view, by));
            let here = |message: &&Message| view.history.epoch(&epoch_id(&message.at)).is_some();
            actions.extend(view.pending.iter().filter(here).map(|m| Action::Deliver(by, m.clone())));
        }
        actions.extend(self.lies(state).into_iter().map(Action::Lie));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let head = |by: usize| name_of(self.head(&last.views[by]).as_slice());
        match action {
            Action::Commit(by) => {
                let says = Says::Commit(format!("{}{by}", head(by)));
                self.say(&mut state, by, Message::new(&head(by), HONEST[by], says));
            }
            Action::Acknowledge(by) => {
                self.say(&mut state, by, Message::new(&head(by), HONEST[by], Says::Ack));
            }
            Action::Vote(by, at) => {
                let view = &last.views[by];
                let commit = vote_due(&view.history, &at, &self.head(view))?;
                let says = Says::Vote(name_of(commit.as_slice()));
                self.say(&mut state, by, Message::new(&name_of(at.as_slice()), HONEST[by], says));
            }
            Action::Lie(message) => {
                state.views.iter_mut().for_each(|view| {
                    view.pending.insert(message.clone());
                });
                state.sent.insert(message);
            }
            Action::Deliver(to, message) => {
                state.views[to].pending.remove(&message);
                self.take(&mut state.views[to], &message);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(EVIDENCE, Self::is_function_of_evidence),
            Property::always(MAJORITY, Self::majority_holds),
            Property::always(HARD, Self::hard_final_stays),
            Property::always(VOID, Self::honest_never_void),
            Property::always(DECIDED, Self::quiet_is_decided),
            Property::sometimes(NESTED, |model, state| {
                any(state, |view, epoch| {
                    let forked = |id: &EpochId| view.history.epoch(id).is_some_and(|e| e.children.len() > 1);
                    epoch.number > model.number && epoch.children.len() > 1 && forked(&epoch_id("p"))
                })
            }),
            Property::sometimes(VOID_AND_HARD, |_, state| {
                any(state, |_, epoch| {
                    let decision = epoch.decision();
                    decision.equivocators == 1 && decision.hard_final()
                })
            }),
            Property::sometimes(DECIDED_FORK, |model, state| {
                model.is_quiet(state) && any(state, |_, e| e.children.len() > 1 && e.decision().soft_final())
            }),
        ]
    }
}

/// Scopes to search: epoch number, whether forked at the start, honest commits in all, Byzantine messages.
fn covered() -> Vec<(u64, bool, usize, usize)> {
    let small = vec![(0, false, 4, 0), (0, false, 2, 1), (0, false, 1, 2), (1, true, 2, 1)];
    let more = vec![(2, true, 3, 1), (1, false, 2, 1), (2, false, 2, 1), (0, true, 2, 2)];
    if large() { [small, more].concat() } else { small }
}

#[test]
fn model_of_three_in_every_order_of_delivery() {
    let mut reached = BTreeSet::new();
    for (number, forked, commits, lies) in covered() {
        let began = std::time::Instant::now();
        let scope = Scope { rules: Rules::Production, number, forked, commits, lies };
        let checked = scope.checker().threads(2).finish_when(HasDiscoveries::AllFailures).spawn_bfs().join();
        for name in [EVIDENCE, MAJORITY, HARD, VOID, DECIDED] {
            if let Some(path) = checked.discovery(name) {
                panic!("{name}: {:#?}", path.into_actions());
            }
        }
        reached.extend(checked.discoveries().into_keys());
        println!(
            "3 members, epoch {number}, forked {forked}: {commits} honest commits, {lies} Byzantine messages: \
             {} states, {} steps, at most {} deep, {:.1?}",
            checked.unique_state_count(),
            checked.state_count(),
            checked.max_depth(),
            began.elapsed(),
        );
    }
    assert_eq!(reached, BTreeSet::from([NESTED, VOID_AND_HARD, DECIDED_FORK]), "the search is too small");
}

#[test]
fn model_of_wrong_rules_is_caught() {
    for (rules, property) in [
        (Rules::FirstSeen, EVIDENCE),
        (Rules::Longest, MAJORITY),
        (Rules::VotesTakenBack, HARD),
        (Rules::WithoutSince, VOID),
        (Rules::NeverWrittenOff, DECIDED),
    ] {
        let (commits, lies) = match rules {
            Rules::VotesTakenBack | Rules::Longest => (1, 2),
            Rules::FirstSeen | Rules::WithoutSince => (2, 0),
            Rules::NeverWrittenOff | Rules::Production => (2, 1),
        };
        let scope = Scope { rules, number: 0, forked: false, commits, lies };
        let builder = scope.checker().finish_when(HasDiscoveries::AnyOf(BTreeSet::from([property])));
        // A quiet state is a deep one.
        let found = if rules == Rules::NeverWrittenOff {
            builder.spawn_dfs().join().discovery(property)
        } else {
            builder.spawn_bfs().join().discovery(property)
        };
        let found = found.map(stateright::Path::into_actions);
        let path = found.unwrap_or_else(|| panic!("{rules:?} passes for right"));
        println!("{rules:?}: \"{property}\" fails after {path:?}");
    }
}
