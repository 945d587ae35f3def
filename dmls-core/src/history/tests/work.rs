//! What healing costs, whatever a member has committed: counted, not timed.

use super::branched::*;
use super::*;
use crate::framing::Merge;
use crate::history::work;

/// A chain of one member's commits with 256 operations each on a branch that loses, half of them false merges of all
/// that came before.
fn hostile(commits: usize) -> Group {
    let names: Vec<&'static str> = (0..256).map(|n| &*format!("n{n}").leak()).collect();
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    let mut at = "p".to_string();
    let mut tips: Vec<String> = Vec::new();
    for n in 0..commits {
        let what: Vec<Do> =
            names.iter().map(|name| if n % 2 == 0 { Add(name) } else { Remove(name) }).collect();
        let record = Merge {
            fork_epoch: epoch("p").0,
            tips: tips.iter().rev().take(64).map(|tip| commit(tip).0).collect(),
            carried_hash: vec![0; 32].into(),
            deferred: Vec::new(),
            healed: Vec::new(),
        };
        let name = format!("x{n:02}");
        group.merge(&at, &name, "b", &what, (n % 4 >= 2).then_some(record));
        tips.push(name.clone());
        at = name;
    }
    group
}

#[test]
fn false_merges_do_not_make_healing_expensive() {
    let cost = |commits: usize| {
        let group = hostile(commits);
        work::take();
        let set = group.set("p", "w", None);
        let carry = work::take();
        let debts = group.history.heal_debts(&epoch("w"));
        assert_eq!(debts, leaves([1]), "b has new keys there");
        assert!(set.operations.is_empty(), "all that it added it has removed");
        (carry, work::take())
    };
    let ((carry, debts), (carry_twice, debts_twice)) = (cost(30), cost(60));
    // A few looks at each operation, of the branch and of the path; and no more than twice that for twice as many.
    assert!(carry_twice < 12 * 60 * 256, "{carry_twice} steps");
    assert!(debts_twice < 6 * 60 * 256, "{debts_twice} steps");
    assert!(carry_twice < carry * 9 / 4, "{carry} -> {carry_twice}");
    assert!(debts_twice < debts * 9 / 4, "{debts} -> {debts_twice}");
    // Control: what is counted is the work.
    assert!(carry_twice > 60 * 256 && debts_twice > 60 * 256);
}

#[test]
fn a_path_of_false_merges_is_no_dearer() {
    // The same commits win; a branch with as many Adds of the same clients loses at every other epoch.
    let cost = |commits: usize| {
        let mut group = hostile(commits);
        group.commit("p", "l", "c", &[Add("n0"), Remove("a")]);
        let head = format!("x{:02}", commits - 1);
        work::take();
        let set = group.set("p", &head, None);
        assert_eq!(words(&set), ["-a"]);
        work::take()
    };
    let (once, twice) = (cost(30), cost(60));
    assert!(twice < 12 * 60 * 256 && twice < once * 9 / 4, "{once} -> {twice}");
}

/// For the record: `cargo test -p dmls-core -- --ignored --nocapture time_of_the_hostile_chain`.
#[test]
#[ignore = "prints a time"]
fn time_of_the_hostile_chain() {
    let group = hostile(60);
    let begin = std::time::Instant::now();
    let set = group.set("p", "w", None);
    let carry = begin.elapsed();
    let debts = group.history.heal_debts(&epoch("w"));
    println!("carry {carry:?} ({}), with debts ({}) {:?}", set.tips.len(), debts.len(), begin.elapsed());
}
