//! The same evidence in any order makes the same history, and the one that the design describes.

use std::collections::BTreeSet;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::records::stored;
use super::*;

/// Tells messages in this order. Those that need an epoch which is not there yet wait and are tried again.
fn tell(anchor: &HistoryEpoch, messages: &[&Message], mut after_each: impl FnMut(&History)) -> History {
    let mut history = History::new(epoch("p"), anchor.clone());
    let mut waiting: Vec<&Message> = Vec::new();
    for message in messages {
        waiting.push(message);
        loop {
            let before = waiting.len();
            waiting.retain(|message| match record(&mut history, message) {
                Err(HistoryError::UnknownEpoch) => true,
                Ok(_) | Err(HistoryError::EpochExists) => {
                    after_each(&history);
                    false
                }
                Err(HistoryError::NotATree) => panic!("{message:?}"),
            });
            if waiting.len() == before {
                break;
            }
        }
    }
    assert!(waiting.is_empty(), "{waiting:?}");
    history
}

/// Every order of the numbers below `n` (Heap's algorithm).
fn orders(n: usize, mut each: impl FnMut(&[usize])) {
    let mut order: Vec<usize> = (0..n).collect();
    let mut counters = vec![0; n];
    each(&order);
    let mut place = 0;
    while place < n {
        if counters[place] < place {
            let other = if place % 2 == 0 { 0 } else { counters[place] };
            order.swap(other, place);
            each(&order);
            counters[place] += 1;
            place = 0;
        } else {
            counters[place] = 0;
            place += 1;
        }
    }
}

fn all_orders(anchor: &HistoryEpoch, messages: &[Message]) {
    let mut reference = Reference::new(epoch("p"), anchor);
    reference.messages = messages.to_vec();
    let first = tell(anchor, &messages.iter().collect::<Vec<_>>(), |_| {});
    reference.compare(&first);
    let mut count = 0;
    orders(messages.len(), |order| {
        let messages: Vec<_> = order.iter().map(|n| &messages[*n]).collect();
        let history = tell(anchor, &messages, |_| {});
        assert_eq!(history, first, "{messages:?}");
        assert_eq!(history.head(), first.head());
        count += 1;
    });
    assert_eq!(count, (1..=messages.len()).product::<usize>());
}

fn anchor(number: u64, members: u32) -> HistoryEpoch {
    HistoryEpoch::new(None, number, members, leaves(0..members), LeafSet::default())
}

fn made(members: u32) -> Made {
    Made { width: members, electors: (0..members).collect(), blanked: BTreeSet::new() }
}

fn ack(at: &str, by: u32, since: Option<&str>) -> Message {
    Message::Ack { at: epoch(at), by, since: since.map(epoch) }
}

fn vote(at: &str, by: u32, name: &str) -> Message {
    Message::Vote { at: epoch(at), by, child: commit(name), since: None }
}

fn commits(at: &str, by: u32, name: &str, makes: Result<Made, Blocked>) -> Message {
    Message::Commit { at: epoch(at), by, name: name.into(), class: 1, makes, since: None }
}

#[test]
fn six_messages_in_every_order() {
    let four = anchor(0, 4);
    // A fork with votes, and an equivocator who names three.
    all_orders(
        &four,
        &[
            commits("p", 0, "a", Ok(made(4))),
            commits("p", 1, "b", Ok(made(4))),
            vote("p", 3, "a"),
            vote("p", 3, "b"),
            vote("p", 3, "c"),
            ack("b", 2, None),
        ],
    );
    // A chain with messages at its end, and one who left a branch with and without `since`.
    all_orders(
        &four,
        &[
            commits("p", 0, "a", Ok(made(4))),
            commits("a", 0, "aa", Ok(made(4))),
            commits("aa", 1, "aaa", Ok(made(4))),
            ack("aaa", 2, Some("a")),
            ack("aaa", 2, None),
            vote("p", 2, "x"),
        ],
    );
    // Two who remove each other, seen by one of them; and one who rejoins.
    all_orders(
        &four,
        &[
            commits("p", 0, "a", Ok(made(4).removing(&[1]))),
            commits("p", 1, "b", Err(REMOVED)),
            commits("a", 2, "aa", Ok(made(4).removing(&[1]).readding(&[3]))),
            ack("aa", 3, None),
            ack("a", 3, None),
            vote("p", 3, "b"),
        ],
    );
}

/// A random number below `n`.
fn below(rng: &mut ChaCha20Rng, n: usize) -> usize {
    usize::try_from(rng.next_u64() % u64::try_from(n).unwrap()).unwrap()
}

fn one_in(rng: &mut ChaCha20Rng, n: usize) -> bool {
    below(rng, n) == 0
}

fn pick<T: Clone>(rng: &mut ChaCha20Rng, from: impl IntoIterator<Item = T>) -> Option<T> {
    let from: Vec<T> = from.into_iter().collect();
    (!from.is_empty()).then(|| from[below(rng, from.len())].clone())
}

/// Messages of members who say whatever they like.
struct Babel {
    rng: ChaCha20Rng,
    epochs: Vec<(String, Option<String>, Made)>,
    children: Vec<(String, String)>,
    messages: Vec<Message>,
}

impl Babel {
    fn new(rng: ChaCha20Rng, anchor: Made) -> Self {
        Self { rng, epochs: vec![("p".into(), None, anchor)], children: Vec::new(), messages: Vec::new() }
    }

    /// Nothing, mostly; else an ancestor, the epoch itself, or any other.
    fn since(&mut self, at: &str) -> Option<EpochId> {
        match below(&mut self.rng, 8) {
            0..4 => None,
            4..7 => {
                let mut path = vec![at.to_owned()];
                while let Some(parent) =
                    self.epochs.iter().find(|e| Some(&e.0) == path.last()).and_then(|e| e.1.clone())
                {
                    path.push(parent);
                }
                pick(&mut self.rng, path).map(|name| epoch(&name))
            }
            _ => Some(epoch("above the anchor")),
        }
    }

    fn commit(&mut self, at: &str, parent: &Made, by: u32) {
        let name = format!("{:02x}{}", below(&mut self.rng, 256), self.messages.len());
        let mut made = parent.clone();
        made.blanked.clear();
        if let Some(removed) = pick(&mut self.rng, parent.electors.clone()).filter(|leaf| *leaf != by)
            && one_in(&mut self.rng, 3)
        {
            made =
                if one_in(&mut self.rng, 2) { made.removing(&[removed]) } else { made.readding(&[removed]) };
        }
        if one_in(&mut self.rng, 6) {
            // Somebody comes to a free place, or the tree grows.
            let free = (0..).find(|leaf| !made.electors.contains(leaf)).unwrap();
            made.electors.insert(free);
            made.width = made.width.max((free + 1).next_power_of_two());
        }
        let class = u8::from(!one_in(&mut self.rng, 6));
        let makes = if one_in(&mut self.rng, 7) { Err(REMOVED) } else { Ok(made) };
        if let Ok(made) = &makes {
            self.epochs.push((name.clone(), Some(at.into()), made.clone()));
        }
        self.children.push((at.into(), name.clone()));
        let since = self.since(at);
        self.messages.push(Message::Commit { at: epoch(at), by, name, class, makes, since });
    }

    fn speak(&mut self) {
        let Some((at, _, made)) = pick(&mut self.rng, self.epochs.clone()) else { return };
        let Some(by) = pick(&mut self.rng, made.electors.clone()) else { return };
        match below(&mut self.rng, 10) {
            0..3 => self.commit(&at, &made, by),
            3..6 => {
                let known: Vec<String> = self
                    .children
                    .iter()
                    .filter(|(parent, _)| *parent == at)
                    .map(|(_, name)| name.clone())
                    .collect();
                let name = match pick(&mut self.rng, known) {
                    Some(name) if !one_in(&mut self.rng, 5) => name,
                    _ => format!("never seen {}", below(&mut self.rng, 3)),
                };
                let since = self.since(&at);
                self.messages.push(Message::Vote { at: epoch(&at), by, child: commit(&name), since });
            }
            6..9 => {
                let since = self.since(&at);
                self.messages.push(Message::Ack { at: epoch(&at), by, since });
            }
            _ => self.messages.push(Message::Application { at: epoch(&at), by }),
        }
    }
}

fn shuffle<T>(rng: &mut ChaCha20Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(rng, last + 1));
    }
}

/// Messages from a seed. With even seeds most of what would be an equivocation is left unsaid.
fn babel(seed: u64, messages: usize) -> (HistoryEpoch, Babel) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let members = u32::try_from(1 + below(&mut rng, 8)).unwrap();
    let top = anchor(rng.next_u64() % 1000, members);
    let mut babel = Babel::new(rng, made(members));
    let mut history = History::new(epoch("p"), top.clone());
    while babel.messages.len() < messages {
        let before = (babel.messages.len(), babel.epochs.len(), babel.children.len());
        babel.speak();
        let Some(message) = babel.messages.get(before.0) else { continue };
        let mut told = history.clone();
        record(&mut told, message).unwrap();
        if seed.is_multiple_of(2)
            && equivocators(&told) > equivocators(&history)
            && !one_in(&mut babel.rng, 20)
        {
            babel.messages.truncate(before.0);
            babel.epochs.truncate(before.1);
            babel.children.truncate(before.2);
        } else {
            history = told;
        }
    }
    (top, babel)
}

fn equivocators(history: &History) -> usize {
    history.epochs().map(|(_, epoch)| epoch.decision().equivocators).sum()
}

/// Prints the seed if a test fails on it.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

#[test]
fn random_messages_in_every_order() {
    for seed in 0..60 {
        let _shown = Seed(seed);
        let (top, babel) = babel(seed, 6);
        all_orders(&top, &babel.messages);
    }
}

#[test]
fn random_histories_in_random_orders() {
    let (mut forked, mut void, mut outside, mut hard) = (0, 0, 0, 0);
    let mut honest = 0;
    for seed in 1000..1600 {
        let _shown = Seed(seed);
        let (top, mut babel) = babel(seed, 12 + usize::try_from(seed % 30).unwrap());
        let mut reference = Reference::new(epoch("p"), &top);
        reference.messages = std::mem::take(&mut babel.messages);
        let first = tell(&top, &reference.messages.iter().collect::<Vec<_>>(), |_| {});
        reference.compare(&first);
        assert_eq!(stored(&first), first);
        for _ in 0..6 {
            let mut order: Vec<&Message> = reference.messages.iter().collect();
            // Messages come more than once.
            for _ in 0..3 {
                order.extend(pick(&mut babel.rng, order.clone()));
            }
            shuffle(&mut babel.rng, &mut order);
            let history = tell(&top, &order, |_| {});
            assert_eq!(history, first);
            reference.compare(&history);
        }
        // A restart in the middle, and children that are given up and may come after all.
        restarted(&top, &mut reference, &mut babel.rng, &first);
        let epochs: Vec<Decision> = first.epochs().map(|(_, epoch)| epoch.decision()).collect();
        forked += usize::from(epochs.iter().any(|decision| decision.ranked.len() > 1));
        honest += usize::from(epochs.iter().any(|d| d.ranked.len() > 1) && equivocators(&first) == 0);
        void += usize::from(epochs.iter().any(|decision| decision.equivocators > 0));
        outside += usize::from(first.head().outside.is_some());
        hard += usize::from(epochs.iter().any(Decision::hard_final));
    }
    println!(
        "of 600 histories: {forked} forked, {honest} of them without and {void} with equivocators, {hard} with something hard-final, {outside} end outside"
    );
    assert!(forked > 300 && honest > 50 && void > 100 && hard > 100 && outside > 20);
}

fn restarted(top: &HistoryEpoch, reference: &mut Reference, rng: &mut ChaCha20Rng, whole: &History) {
    // Commits come in the order in which they were made, so nothing waits.
    let messages = reference.messages.clone();
    let cut = below(rng, messages.len());
    let mut history = tell(top, &messages[..cut].iter().collect::<Vec<_>>(), |_| {});
    history = stored(&history);
    let ids: Vec<EpochId> = history.epochs().map(|(id, _)| id.clone()).collect();
    reference.messages.truncate(cut);
    for id in &ids {
        let epoch = history.epoch_mut(id).unwrap();
        let unknown = epoch.named.keys().filter(|commit| !epoch.children.contains_key(*commit));
        let given_up: Vec<CommitId> = unknown.filter(|_| one_in(rng, 2)).cloned().collect();
        reference.written_off.extend(given_up.iter().map(|commit| (id.clone(), commit.clone())));
        epoch.written_off.extend(given_up);
    }
    reference.compare(&history);
    for message in &messages[cut..] {
        record(&mut history, message).unwrap();
        reference.messages.push(message.clone());
    }
    reference.compare(&history);
    for id in &ids {
        history.epoch_mut(id).unwrap().written_off.clear();
    }
    reference.written_off.clear();
    assert_eq!(history, *whole);
}

/// What was hard-final by weight alone stays so, whatever comes, up to a third of equivocators; and with no
/// equivocator a decision that was soft-final never changes either.
#[test]
fn what_is_final_stays_final() {
    let (mut kept, mut kept_soft) = (0, 0);
    for seed in 5000..5400 {
        let _shown = Seed(seed);
        let (top, mut babel) = babel(seed, 40);
        let messages = std::mem::take(&mut babel.messages);
        let mut order: Vec<&Message> = messages.iter().collect();
        shuffle(&mut babel.rng, &mut order);
        let mut hard = std::collections::BTreeMap::new();
        let mut soft = std::collections::BTreeMap::new();
        tell(&top, &order, |history| {
            for (id, epoch) in history.epochs() {
                let decision = epoch.decision();
                assert!(!decision.hard_final() || decision.soft_final());
                assert!(!decision.hard_final() || decision.holds());
                let third = (decision.electors - 1) / 3;
                let tolerated = if decision.electors <= 3 { decision.electors / 2 } else { third };
                if let Some(child) = hard.get(id).filter(|_| decision.equivocators <= tolerated) {
                    assert!(decision.hard_final() && decision.ranked[0].commit == *child, "at {id}");
                    kept += usize::from(decision.equivocators > 0);
                }
                if let Some(child) = soft.get(id).filter(|_| decision.equivocators == 0) {
                    assert!(decision.soft_final() && decision.ranked[0].commit == *child, "at {id}");
                    kept_soft += usize::from(decision.ranked.len() > 1);
                }
                let Some(best) = decision.ranked.first().filter(|best| best.known) else { continue };
                if best.weight > 2 * decision.electors / 3 {
                    hard.insert(id.clone(), best.commit.clone());
                }
                if decision.soft_final() {
                    soft.insert(id.clone(), best.commit.clone());
                }
            }
        });
    }
    println!("looked at again: {kept} hard-final with equivocators, {kept_soft} soft-final at forks");
    assert!(kept > 20 && kept_soft > 20);
}
