//! Random groups, cuts, commits, crashes and deliveries: after healing there is one head.

use std::collections::{BTreeMap, BTreeSet};

use dmls_tests::Schedule;
use dmls_tests::oracle::Verdict;

use super::schedules;

/// A schedule's verdict and trace.
fn run(seed: u64) -> (Verdict, u64) {
    let mut schedule = Schedule::random(seed);
    let events = 6 + schedule.below(16);
    for _ in 0..events {
        schedule.happen();
    }
    let verdict = schedule.heal_and_judge(&format!("seed {seed}"));
    (verdict, schedule.world.trace())
}

#[test]
fn random_schedules_end_on_one_head() {
    let first = std::env::var("DMLS_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let count = schedules(40);
    println!("seeds {first}..{}", first + count);
    let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
    let (mut forked, mut in_effect, mut failed) = (0, 0, Vec::new());
    for seed in first..first + count {
        let Ok((verdict, _)) = std::panic::catch_unwind(|| run(seed)) else {
            failed.push(seed);
            continue;
        };
        forked += usize::from(verdict.forks > 0);
        in_effect += verdict.in_effect;
        for (why, n) in verdict.left_out {
            *left_out.entry(why).or_default() += n;
        }
    }
    println!(
        "{count} schedules, {forked} with forks; {in_effect} adds and removes in effect; members left out: {left_out:?}"
    );
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
    assert!(forked * 3 > usize::try_from(count).expect("a count"), "too few schedules have forks: {forked}");
}

#[test]
fn one_seed_is_one_trace() {
    let traces: Vec<u64> = (1..=10).map(|seed| run(seed).1).collect();
    let again: Vec<u64> = (1..=10).map(|seed| run(seed).1).collect();
    assert_eq!(traces, again);
    let distinct: BTreeSet<&u64> = traces.iter().collect();
    assert_eq!(distinct.len(), traces.len(), "other seeds, other traces");
}
