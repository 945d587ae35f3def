//! What is carried over from losing branches.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::branched::*;
use super::*;
use crate::framing::Merge;

#[test]
fn adds_and_removes_of_a_losing_branch_are_carried() {
    let mut group = Group::of(&["a", "b", "c", "d"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Add("e"), Remove("c")]);
    group.commit("x", "y", "b", &[Update("d")]);
    assert_eq!(group.carried("w"), ["+e", "-c"]);
    assert_eq!(group.set("p", "w", None).tips, [commit("y")]);
    assert_eq!(group.carried("y"), Vec::<String>::new(), "the winner has nothing to carry over");
    // A merge of the inner commit alone is one, too.
    assert_eq!(words(&group.set("p", "w", Some(&["x"]))), ["+e", "-c"]);
    assert_eq!(group.set("p", "w", Some(&["nobody knows"])).tips, []);
}

#[test]
fn what_the_head_has_is_not_carried_again() {
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[Add("e"), Remove("c")]);
    group.commit("p", "x", "b", &[Add("e"), Remove("c"), Add("f")]);
    assert_eq!(group.carried("w"), ["+f"]);
    // Added on both sides and then removed by the head: it stays out.
    group.commit("w", "v", "a", &[Remove("e")]);
    assert_eq!(group.carried("v"), ["+f"]);
}

#[test]
fn whoever_is_out_has_no_say() {
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[Remove("b")]);
    group.commit("p", "x", "b", &[Remove("a"), Add("e")]);
    assert_eq!(
        group.carried("w"),
        Vec::<String>::new(),
        "concurrent removals of each other: the winner's stands"
    );
    assert_eq!(group.carried("x"), Vec::<String>::new());
    // Proposer and committer are both asked.
    group.commit("p", "y", "c", &[RemoveFor("b", "a")]);
    assert_eq!(group.carried("w"), Vec::<String>::new());
    let mut group = Group::of(&["a", "b", "c", "d"]);
    group.commit("p", "w", "a", &[Remove("b")]);
    group.commit("p", "y", "b", &[RemoveFor("c", "d")]);
    group.commit("p", "z", "c", &[RemoveFor("d", "a")]);
    assert_eq!(group.carried("w"), ["-a"]);
}

#[test]
fn removed_on_any_branch_is_not_added_by_another() {
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Remove("c")]);
    group.commit("x", "y", "b", &[Add("c"), Add("e")]);
    group.commit("y", "z", "b", &[Remove("e")]);
    assert_eq!(group.carried("w"), ["-c"]);
}

#[test]
fn who_was_added_on_the_branch_may_act_with_its_add() {
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Add("e")]);
    group.commit("x", "y", "e", &[Add("f"), Remove("c")]);
    assert_eq!(group.carried("w"), ["+e", "+f", "-c"]);
    // Control: its Add is void, so is what it did.
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[Remove("b")]);
    group.commit("p", "x", "b", &[Add("e")]);
    group.commit("x", "y", "e", &[Add("f"), Remove("c")]);
    assert_eq!(group.carried("w"), Vec::<String>::new());
}

#[test]
fn a_leaf_that_was_filled_again_is_somebody_else() {
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[Remove("c"), Add("e")]);
    assert_eq!(group.leaf_of("w", "e"), 2, "e sits where c sat");
    group.commit("p", "x", "b", &[Remove("c")]);
    assert_eq!(group.carried("w"), Vec::<String>::new());
    // And an author on a leaf that was filled again is not the old one.
    group.commit("p", "y", "c", &[Remove("b")]);
    assert_eq!(group.carried("w"), Vec::<String>::new());
}

#[test]
fn the_heads_admin_list_decides() {
    let mut group = Group::of(&["a", "b", "c", "d"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Add("e"), Remove("d"), RemoveFor("c", "c")]);
    group.admins = vec![client("a")];
    assert_eq!(group.carried("w"), ["-c"], "everybody may leave");
    group.admins.push(client("b"));
    assert_eq!(group.carried("w"), ["+e", "-c", "-d"]);
}

#[test]
fn a_rejoined_member_is_the_same_one() {
    let mut group = Group::of(&["x", "a", "b", "c"]);
    group.commit("p", "v", "a", &[Remove("x")]);
    group.commit("v", "w", "a", &[Rejoin("c")]);
    assert_eq!(group.leaf_of("w", "c"), 0, "c has moved");
    group.commit("p", "l", "c", &[Add("e")]);
    group.commit("p", "m", "b", &[Remove("c")]);
    let set = group.set("p", "w", None);
    assert_eq!(words(&set), ["+e", "-c"], "what it did counts, and what was done to it");
    let removal = set.operations.iter().find(|carried| carried.kind == CarryKind::Remove).expect("one");
    assert_eq!((removal.at_fork, removal.onto), (Some(LeafIndex(3)), Some(LeafIndex(0))));
    assert_eq!(group.history.same_member(&epoch("p"), LeafIndex(3), &epoch("w")), Some(LeafIndex(0)));
    assert_eq!(group.history.same_member(&epoch("p"), LeafIndex(0), &epoch("w")), None);
}

#[test]
fn a_rejoin_is_carried_unless_the_head_has_its_own() {
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Rejoin("c")]);
    assert_eq!(group.carried("w"), ["~c"]);
    group.commit("w", "v", "a", &[Rejoin("c")]);
    assert_eq!(group.carried("v"), Vec::<String>::new());
    group.commit("w", "u", "a", &[Remove("c")]);
    assert_eq!(group.carried("u"), Vec::<String>::new());
    // A removal elsewhere is stronger.
    group.commit("p", "y", "a", &[Remove("c")]);
    assert_eq!(group.carried("w"), ["-c"]);
}

#[test]
fn a_merge_ends_what_it_carried_and_its_loser_has_nothing() {
    let mut group = Group::of(&["a", "b", "c", "d"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Add("e"), Remove("c")]);
    let set = group.set("p", "w", None);
    group.merge("w", "m", "a", &[Add("e"), Remove("c")], Some(group.record_of(&set, &[])));
    group.merge("w", "n", "d", &[Add("e"), Remove("c")], Some(group.record_of(&set, &[])));
    assert!(group.check("w", "m").is_right() && group.check("w", "m").known);
    assert_eq!(group.carried("m"), Vec::<String>::new());
    assert_eq!(words(&group.set("w", "m", None)), Vec::<String>::new());
    // What comes later on the losing branch is carried by another merge.
    group.commit("x", "y", "b", &[Add("f")]);
    assert_eq!(group.carried("m"), ["+f"]);
}

#[test]
fn an_add_that_is_put_off_stays_and_is_no_hurry() {
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Add("e"), Remove("c")]);
    let set = group.set("p", "w", None);
    assert!(set.is_open());
    group.merge("w", "m", "a", &[Remove("c")], Some(group.record_of(&set, &["e"])));
    assert!(group.check("w", "m").is_right());
    let rest = group.set("p", "m", None);
    assert_eq!((words(&rest), rest.is_open()), (vec!["+e".to_string()], false));
    group.merge("m", "n", "b", &[Add("e")], Some(group.record_of(&rest, &[])));
    assert!(group.check("m", "n").is_right());
    assert_eq!(group.carried("n"), Vec::<String>::new());
}

#[test]
fn a_wrong_merge_is_noticed_and_followed_up() {
    let mut group = Group::of(&["a", "b", "c", "d"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Add("e"), Remove("c")]);
    let set = group.set("p", "w", None);
    let record = group.record_of(&set, &[]);
    group.merge("w", "m", "a", &[Add("e"), Remove("d"), Add("g")], Some(record.clone()));
    let check = group.check("w", "m");
    let missing: Vec<_> = check.missing.iter().map(|carried| carried.kind).collect();
    assert_eq!((missing, check.extra.len(), check.other_hash), (vec![CarryKind::Remove], 2, false));
    assert_eq!(group.carried("m"), ["-c"], "the next merge does the rest");
    group.merge(
        "w",
        "n",
        "a",
        &[Add("e"), Remove("c")],
        Some(Merge { carried_hash: vec![1].into(), ..record.clone() }),
    );
    assert!(group.check("w", "n").other_hash);
    // Committing what others proposed is no part of the merge.
    group.merge("w", "o", "a", &[Add("e"), Remove("c"), RemoveFor("d", "d")], Some(record.clone()));
    assert!(group.check("w", "o").is_right());
    // Tips that nobody here knows cannot be judged.
    group.merge("w", "q", "a", &[], Some(Merge { tips: vec![commit("?").0], ..record }));
    assert!(!group.check("w", "q").known);
}

#[test]
fn a_merge_on_a_losing_branch_repeats_and_is_not_its_own_author() {
    // Inside the losing side b and c split; b's branch merges c's, in which the removed d had a say.
    let mut group = Group::of(&["a", "b", "c", "d"]);
    group.commit("p", "w", "a", &[Remove("d")]);
    group.commit("p", "s", "b", &[]);
    group.commit("s", "x", "b", &[]);
    group.commit("s", "y", "d", &[Remove("a"), Add("e")]);
    let inner = group.set("s", "x", None);
    assert_eq!(words(&inner), ["+e", "-a"]);
    group.merge("x", "m", "b", &[Remove("a"), Add("e")], Some(group.record_of(&inner, &[])));
    assert_eq!(group.carried("w"), Vec::<String>::new(), "d is out, whoever repeats what it did");
    // Control: the same operations as b's own.
    let mut group = Group::of(&["a", "b", "c", "d"]);
    group.commit("p", "w", "a", &[Remove("d")]);
    group.commit("p", "s", "b", &[]);
    group.commit("s", "x", "b", &[Remove("a"), Add("e")]);
    assert_eq!(group.carried("w"), ["+e", "-a"]);
}

#[test]
fn debts_of_who_refreshed_on_the_losing_branch_only() {
    let mut group = Group::of(&["a", "b", "c", "d"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Update("c"), Add("e")]);
    let debts = |group: &Group, head: &str| -> Vec<u32> {
        group.history.heal_debts(&epoch(head)).iter().map(|leaf| leaf.0).collect()
    };
    assert_eq!(debts(&group, "w"), [1, 2]);
    assert_eq!(debts(&group, "x"), [0]);
    group.commit("w", "v", "b", &[]);
    assert_eq!(debts(&group, "v"), [2]);
    group.commit("v", "u", "d", &[Update("c")]);
    assert_eq!(debts(&group, "u"), Vec::<u32>::new());
    group.commit("v", "t", "d", &[Rejoin("c")]);
    assert_eq!(debts(&group, "t"), Vec::<u32>::new(), "new keys on the same leaf");
    group.commit("v", "r", "d", &[Remove("c")]);
    assert_eq!(debts(&group, "r"), Vec::<u32>::new());
}

#[test]
fn no_more_operations_than_a_merge_may_have() {
    let names: Vec<&'static str> = (0..300).map(|n| &*format!("n{n}").leak()).collect();
    let mut group = Group::of(&["a", "b"]);
    group.commit("p", "w", "a", &[]);
    let adds: Vec<Do> = names.iter().map(|name| Add(name)).collect();
    group.commit("p", "x", "b", &adds);
    let first = group.set("p", "w", None);
    assert_eq!(first.operations.len(), 256);
    let done: Vec<Do> = words(&first).iter().map(|word| Add(&*word[1..].to_string().leak())).collect();
    group.merge("w", "m", "a", &done, Some(group.record_of(&first, &[])));
    assert!(group.check("w", "m").is_right());
    assert_eq!(group.set("p", "m", None).operations.len(), 44);
}

/// Random histories: what is carried can be carried, and once it is nothing is left, whoever asks and however the
/// evidence came.
#[test]
fn random_histories_are_done_after_one_merge() {
    const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let mut carried_in_all = 0;
    for seed in 0..400_u64 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut below = |n: usize| (rng.next_u64() % n as u64) as usize;
        let mut group = Group::of(&NAMES[..2 + below(5)]);
        let mut epochs = vec!["p".to_string()];
        for step in 0..2 + below(10) {
            let at = epochs[below(epochs.len())].clone();
            let roster: Vec<String> = group.rosters[&at].values().cloned().collect();
            let by = roster[below(roster.len())].clone();
            let mut what = Vec::new();
            for name in NAMES {
                let is_in = roster.iter().any(|other| other == name);
                match (is_in && name != by, below(8)) {
                    (true, 0) => what.push(Remove(name)),
                    (true, 1) => what.push(Rejoin(name)),
                    (true, 2) => what.push(Update(name)),
                    (false, 0) if !is_in => what.push(Add(name)),
                    _ => {}
                }
            }
            let name = format!("e{step}");
            group.commit(&at, &name, &by, &what);
            epochs.push(name);
        }
        let mut head = String::from_utf8(group.history.head().epoch.as_slice().to_vec()).expect("a name");
        for (round, fork) in group.history.losing_forks(&epoch(&head)).into_iter().enumerate() {
            let fork = String::from_utf8(fork.as_slice().to_vec()).expect("a name");
            let set = group.set(&fork, &head, None);
            let roster = group.rosters[&head].clone();
            let mut what = Vec::new();
            for carried in &set.operations {
                let Credential::Basic { identity } = &carried.member.credential else { panic!("basic") };
                let name =
                    NAMES.into_iter().find(|name| name.as_bytes() == identity.as_slice()).expect("a name");
                let is_in = roster.values().any(|other| other == name);
                assert_eq!(is_in, carried.kind != CarryKind::Add, "seed {seed}: {name}");
                what.push(match carried.kind {
                    CarryKind::Add => Add(name),
                    CarryKind::Remove => Remove(name),
                    CarryKind::Rejoin => Rejoin(name),
                });
            }
            carried_in_all += what.len();
            let Some(by) = roster
                .values()
                .find(|by| !what.iter().any(|w| matches!(w, Remove(o) | Rejoin(o) if o == by)))
            else {
                continue;
            };
            let (by, name) = (by.clone(), format!("m{round}"));
            group.merge(&head, &name, &by, &what, Some(group.record_of(&set, &[])));
            if !set.tips.is_empty() {
                let check = group.check(&head, &name);
                assert!(check.known && check.is_right(), "seed {seed}: {check:?}");
            }
            assert_eq!(words(&group.set(&fork, &name, None)), Vec::<String>::new(), "seed {seed}");
            head = name;
        }
    }
    assert!(carried_in_all > 200, "the histories have something to carry: {carried_in_all}");
}
