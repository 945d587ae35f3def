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

/// A chain of as many commits that add 256 clients each, none of them twice, half of them false merges.
fn crowd(commits: u32) -> Group {
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    let (mut at, mut tips) = ("p".to_string(), Vec::new());
    for n in 0..commits {
        let name = format!("y{n:02}");
        let add = |k: u32| Operation::Add(somebody(3 + 256 * n + k, &format!("client {n} {k}")));
        let author = somebody(1, "b");
        let deeds = (0..256).map(|k| Deed { author: author.clone(), operation: add(k) }).collect();
        let merge = (n >= commits / 2).then(|| Merge {
            fork_epoch: epoch("p").0,
            tips: tips.clone(),
            carried_hash: Default::default(),
            deferred: Vec::new(),
            healed: Vec::new(),
        });
        let (number, width) = (u64::from(n) + 1, 3 + 256 * (n + 1));
        let link = Some((epoch(&at), commit(&name)));
        let made = HistoryEpoch::new(link, number, width, leaves(0..width), LeafSet::default());
        let summary = Summary { committer: author, deeds, merge };
        let child = Child { committer: LeafIndex(1), class: 1, summary, outcome: Ok(epoch(&name)) };
        group.history.record_commit(&epoch(&at), commit(&name), child, Some(made), None).expect("a commit");
        tips.push(commit(&name).0);
        at = name;
    }
    group
}

#[test]
fn a_crowd_by_false_merges_does_not_make_healing_expensive() {
    let cost = |commits: u32| {
        let group = crowd(commits);
        work::take();
        assert_eq!(group.set("p", "w", None).operations.len(), 256);
        work::take()
    };
    let (once, twice) = (cost(30), cost(60));
    assert!(twice < 16 * 60 * 256 && twice < once * 9 / 4, "{once} -> {twice}");
    assert!(twice > 60 * 256, "control: what is counted is the work: {twice}");
}

#[test]
fn where_a_client_comes_from_is_followed_through_64_merges() {
    // x adds e and removes it again; the head has it from x by way of so many merges, each on a branch of its own.
    let carried = |merges: usize| {
        let mut group = Group::of(&["a", "b", "c"]);
        group.commit("p", "w", "a", &[]);
        group.commit("p", "x", "b", &[Add("e")]);
        group.commit("x", "xx", "b", &[Remove("e")]);
        let mut tip = "x".to_string();
        for n in 0..merges {
            let record = Merge {
                fork_epoch: epoch("p").0,
                tips: vec![commit(&tip).0],
                carried_hash: Default::default(),
                deferred: Vec::new(),
                healed: Vec::new(),
            };
            let (at, name) = if n + 1 == merges { ("w", "m".into()) } else { ("p", format!("y{n:02}")) };
            group.merge(at, &name, "a", &[Add("e")], Some(record));
            tip = name;
        }
        group.carried("m")
    };
    assert_eq!(carried(64), ["-e"]);
    assert_eq!(carried(65), Vec::<String>::new());
}

/// For the record: `cargo test -p dmls-core -- --ignored --nocapture time_of_hostile_chains`.
#[test]
#[ignore = "prints times"]
#[allow(clippy::disallowed_methods, clippy::disallowed_types)]
fn time_of_hostile_chains() {
    for (name, group) in [("chain", hostile(60)), ("crowd", crowd(60))] {
        let begin = std::time::Instant::now();
        let set = group.set("p", "w", None);
        let carry = begin.elapsed();
        let debts = group.history.heal_debts(&epoch("w"));
        let all = begin.elapsed();
        println!("{name}: carry {carry:?} ({}), with debts ({}) {all:?}", set.operations.len(), debts.len());
    }
}

#[test]
fn the_shape_changes_with_the_commits_and_with_nothing_else() {
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    let before = group.history.clone();
    group.history.record_vote(&epoch("p"), LeafIndex(1), &commit("w"), None).expect("a vote");
    group.history.record_spoken(&epoch("w"), LeafIndex(1)).expect("a word");
    assert!(group.history != before && group.history.shape() == before.shape());
    let copy = group.history.clone();
    group.commit("p", "x", "b", &[]);
    let with_x = group.history.clone();
    assert!(with_x.shape() != before.shape() && copy.shape() == before.shape());
    group.history.remove_branch(&epoch("x")).expect("a branch");
    assert!(group.history.shape() != with_x.shape() && group.history.shape() != before.shape());
    let removed = group.history.clone();
    group.history.move_anchor(&epoch("w")).expect("an epoch");
    assert!(group.history.shape() != removed.shape());
    // Two that come to the same on their own are equal, but not known to have one shape.
    let mut other = copy.clone();
    other.move_anchor(&epoch("w")).expect("an epoch");
    let mut another = copy.clone();
    another.move_anchor(&epoch("w")).expect("an epoch");
    assert!(other == another && other.shape() != another.shape());
}
