//! A fixed set of messages, in every order.

use std::collections::BTreeMap;

use dmls_core::group::{Disposition, Effect, Event, Group, Input, MemoryStore, Place, Step};
use dmls_core::history::Blocked;
use dmls_tests::World;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::{Print, print_of, schedules};

/// A client as it was before the messages came.
struct Receiver {
    place: usize,
    group: Group,
    /// Whether it was in the group when the members were cut off from each other.
    founder: bool,
}

/// Messages of members that did not hear each other, and those who will hear them all.
struct Case {
    now: u64,
    messages: Vec<Vec<u8>>,
    receivers: Vec<Receiver>,
    fingerprints: Vec<[u8; 32]>,
    /// Whether two of the messages are of one sender and one generation.
    twice: bool,
}

/// What all orders must agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    place: Place,
    print: Print,
    delivered: Vec<Vec<u8>>,
    waiting: usize,
}

/// Bytes that a step would publish.
fn published(step: &Step) -> Vec<Vec<u8>> {
    let bytes =
        |effect: &Effect| if let Effect::Publish { bytes, .. } = effect { Some(bytes.clone()) } else { None };
    step.effects.iter().filter_map(bytes).collect()
}

impl Case {
    fn new(seed: u64, at_most: usize) -> Self {
        let mut rng = World::new(seed, 0);
        let members = 2 + rng.below(7);
        let mut world = World::new(seed, members + 1);
        world.create(Default::default());
        let others: Vec<usize> = (1..members).collect();
        world.invite(0, &others);
        world.run(60_000);
        let base: Vec<(Group, MemoryStore)> =
            (0..members).map(|p| (world.peers[p].group().clone(), world.peers[p].store.clone())).collect();
        let first = world.sent();
        let sides = 1 + world.below(members);
        let mut sides: Vec<usize> = (0..=members).map(|_| world.below(sides)).collect();
        // One member acts twice on one state, as a thief of its state could: what it did first is not remembered. More
        // than two commits of it on one epoch would have to take turns: it is alone, and what else it does is not heard.
        let twice = world.below(2) == 0;
        let thief = world.below(members);
        if twice {
            sides[thief] = usize::MAX;
        }
        world.cut(&sides);
        let mut stolen = Vec::new();
        if twice {
            for _ in 0..2 {
                let step = base[thief].0.refresh(world.now, &mut world.rng).expect("a commit");
                stolen.extend(published(&step));
            }
        }
        // A side may have nobody left who may speak.
        for _ in 0..50 {
            if world.sent() - first + stolen.len() >= at_most {
                break;
            }
            let by = world.below(members);
            if !(twice && by == thief) {
                act(&mut world, by, members);
            }
            let ms = 500 + world.below(3_000) as u64;
            world.run(ms);
        }
        let heard = |index: &usize| !(twice && world.author(*index) == thief);
        let pool: Vec<usize> = (first..world.sent()).filter(heard).collect();
        let wrote = |place: usize| pool.iter().any(|index| world.author(*index) == place);
        let receivers = (0..=members).filter(|place| !(twice && *place == thief)).filter_map(|place| {
            // Whoever has said nothing hears everything afresh.
            let fresh = base.get(place).filter(|_| !wrote(place)).map(|(group, _)| group.clone());
            let group = fresh.or_else(|| world.peers[place].group.clone())?;
            Some(Receiver { place, group, founder: place < members })
        });
        let receivers = receivers.collect();
        let mut messages: Vec<Vec<u8>> = pool.iter().map(|index| world.bytes(*index).to_vec()).collect();
        messages.extend(stolen);
        let fingerprints = world.peers.iter().map(|peer| peer.client.fingerprint()).collect();
        Self { now: world.now, messages, receivers, fingerprints, twice }
    }

    /// Hands the messages to a clone of the receiver in this order, and lets its timers run.
    fn play(&self, receiver: &Receiver, order: &[usize]) -> Outcome {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut group = receiver.group.clone();
        let mut delivered = Vec::new();
        let take = |group: &mut Group, step: Step, delivered: &mut Vec<Vec<u8>>| {
            for effect in step.effects {
                if let Effect::Event(Event::Message { payload, .. }) = effect {
                    delivered.push(payload);
                }
            }
            *group = step.group;
        };
        for index in order {
            let step = group.handle(Input::Message(&self.messages[*index]), self.now, &mut rng);
            assert!(
                !matches!(step.disposition, Some(Disposition::Rejected { .. })),
                "{:?}",
                step.disposition
            );
            take(&mut group, step, &mut delivered);
        }
        let before = print_of(&group);
        // Its own vote and acknowledgement come after all of the others': they may not change its mind.
        for _ in 0..6 {
            let Some(due) = group.next_deadline() else { break };
            let step = group.handle(Input::Tick, due.max(self.now), &mut rng);
            take(&mut group, step, &mut delivered);
        }
        let waiting = group.view().expect("a head").waiting;
        delivered.sort();
        Outcome { place: group.place().clone(), print: before, delivered, waiting }
    }
}

fn act(world: &mut World, by: usize, members: usize) {
    let what = world.below(6);
    let other = world.below(members);
    let leaf = world.peers[by].leaf_of(&world.peers[other].client);
    let guest = members;
    let package = (what == 4 && world.peers[guest].group.is_none()).then(|| world.key_package(guest));
    let group = world.peers[by].group();
    let step = match (what, leaf, package) {
        (0 | 1, _, _) => {
            group.send(format!("{} of {by}", world.sent()).as_bytes(), world.now, &mut world.rng)
        }
        (2, Some(leaf), _) => group.remove(leaf, world.now, &mut world.rng),
        (4, _, Some(package)) => group.invite(&[package], world.now, &mut world.rng),
        (5, _, _) => group.leave(world.now, &mut world.rng),
        _ => group.refresh(world.now, &mut world.rng),
    };
    step.into_iter().for_each(|step| {
        world.take_step(by, step);
    });
}

/// All orders of `0..n`, or as many random ones as `limit` says.
fn orders(n: usize, limit: usize, seed: u64) -> Vec<Vec<usize>> {
    let all = (1..=n).fold(1_usize, |all, k| all.saturating_mul(k));
    if all > limit {
        let mut world = World::new(seed, 0);
        let mut order: Vec<usize> = (0..n).collect();
        let mut found = vec![order.clone(), order.iter().rev().copied().collect()];
        while found.len() < limit {
            world.shuffle(&mut order);
            found.push(order.clone());
        }
        return found;
    }
    let mut found = vec![Vec::new()];
    for next in 0..n {
        found = found
            .into_iter()
            .flat_map(|order| {
                (0..=order.len()).map(move |place| {
                    let mut longer = order.clone();
                    longer.insert(place, next);
                    longer
                })
            })
            .collect();
    }
    found
}

/// Plays every order on every receiver; how many orders were played, and who was left out.
fn judge(seed: u64, case: &Case, limit: usize, left_out: &mut BTreeMap<&'static str, usize>) -> usize {
    let orders = orders(case.messages.len(), limit, seed);
    let mut outcomes = Vec::new();
    for receiver in &case.receivers {
        let first = case.play(receiver, &orders[0]);
        let distinct: std::collections::BTreeSet<_> = first.delivered.iter().collect();
        assert_eq!(distinct.len(), first.delivered.len(), "seed {seed}: a message was delivered twice");
        for order in &orders[1..] {
            let other = case.play(receiver, order);
            assert_eq!(other, first, "seed {seed}: member {} in order {order:?}", receiver.place);
        }
        outcomes.push((receiver, first));
    }
    let members = outcomes.iter().filter(|(receiver, o)| receiver.founder && o.place == Place::Member);
    let mut heads: BTreeMap<_, usize> = BTreeMap::new();
    members.for_each(|(_, outcome)| *heads.entry(outcome.print.head.clone()).or_default() += 1);
    let Some(winner) = heads.iter().max_by_key(|(_, n)| **n).map(|(head, _)| head.clone()) else {
        return orders.len();
    };
    let best = &outcomes.iter().find(|(_, o)| o.print.head == winner).expect("the winner").1.print;
    for (receiver, outcome) in &outcomes {
        let listed = best.members.contains(&case.fingerprints[receiver.place]);
        let why = match &outcome.place {
            _ if !listed => "not in the winner's roster",
            Place::Outside { why: Blocked::Removed, .. } => "removed where it can see",
            Place::Outside { .. } => "the winning commit is unusable for it",
            Place::Member if !receiver.founder && outcome.print.head != winner => "joined a losing branch",
            Place::Member => {
                assert_eq!(&outcome.print, best, "seed {seed}: member {} disagrees", receiver.place);
                continue;
            }
        };
        *left_out.entry(why).or_default() += 1;
    }
    if case.twice {
        *left_out.entry("acted twice").or_default() += 1;
    }
    orders.len()
}

fn sweep(name: &str, first: u64, count: u64, at_most: usize, limit: usize) {
    println!("{name}: seeds {first}..{}", first + count);
    let mut left_out: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut failed, mut played, mut twice) = (Vec::new(), 0, 0);
    for seed in first..first + count {
        let case = Case::new(seed, at_most);
        twice += usize::from(case.twice);
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut left_out = BTreeMap::new();
            (judge(seed, &case, limit, &mut left_out), left_out)
        }));
        match judged {
            Ok((orders, left)) => {
                played += orders;
                left.into_iter().for_each(|(why, n)| *left_out.entry(why).or_default() += n);
            }
            Err(_) => failed.push(seed),
        }
    }
    println!(
        "{name}: {count} sets ({twice} with one generation twice), {played} orders; left out: {left_out:?}"
    );
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
    assert!(twice > 0, "no set has two messages at one generation");
}

#[test]
fn every_order_of_four_messages() {
    sweep("orders of four", 1, schedules(60), 4, 24);
}

#[test]
fn every_order_of_six_messages() {
    sweep("orders of six", 10_000, schedules(40).div_ceil(10), 6, 720);
}

#[test]
fn sampled_orders_of_many_messages() {
    sweep("orders of many", 20_000, schedules(30).div_ceil(2), 16, 30);
}
