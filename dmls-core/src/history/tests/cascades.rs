//! What is carried where merges have been made before: wrong ones, ones on losing branches, and ones that come early.

use super::branched::*;
use super::*;
use crate::framing::Merge;

#[test]
fn who_was_added_by_a_merge_on_the_losing_branch_may_act() {
    // Inside the losing side x loses to y, and y's branch merges it; then e, whom x had added, does something.
    let build = |first: &[Do]| {
        let mut group = Group::of(&["a", "b", "c", "d"]);
        group.commit("p", "w", "a", first);
        group.commit("p", "s", "b", &[]);
        group.commit("s", "x", "c", &[Add("e")]);
        group.commit("s", "y", "b", &[]);
        let inner = group.set("s", "y", None);
        group.merge("y", "m", "b", &[Add("e")], Some(group.record_of(&inner, &[])));
        group.commit("m", "z", "e", &[Add("f"), Remove("d")]);
        group
    };
    assert_eq!(build(&[]).carried("w"), ["+e", "+f", "-d"], "at once, not only when e is in");
    // Control: without c's say e does not come, whoever repeats its Add.
    assert_eq!(build(&[Remove("c")]).carried("w"), Vec::<String>::new());
}

#[test]
fn a_merge_speaks_for_others_only_where_it_repeats_itself() {
    // b, on the losing side, names a tip in which the removed d removed c, and commits c's removal as a proposed it.
    let mut group = Group::of(&["a", "b", "c", "d"]);
    group.commit("p", "w", "a", &[Remove("d")]);
    group.commit("p", "s", "b", &[]);
    group.commit("s", "y", "d", &[Remove("c")]);
    group.commit("s", "x", "b", &[]);
    let inner = group.set("s", "x", None);
    group.merge("x", "m", "b", &[RemoveFor("a", "c")], Some(group.record_of(&inner, &[])));
    assert_eq!(group.carried("w"), ["-c"], "a wants it, too");
    // Control: b's own is d's.
    group.merge("x", "n", "b", &[Remove("c")], Some(group.record_of(&inner, &[])));
    group.history.remove_branch(&epoch("m")).expect("a branch");
    let removal = group.history.epoch_mut(&epoch("x")).expect("x").children.remove(&commit("m"));
    assert!(removal.is_some());
    assert_eq!(group.carried("w"), Vec::<String>::new());
}

#[test]
fn a_removal_that_comes_after_the_merge_of_its_branch_counts() {
    // x adds e and is merged; on x, somebody who has not heard of it removes e again.
    let build = |merged: bool| {
        let mut group = Group::of(&["a", "b", "c"]);
        group.commit("p", "w", "a", &[]);
        group.commit("p", "x", "b", &[Add("e")]);
        let set = group.set("p", "w", None);
        let record = merged.then(|| group.record_of(&set, &[]));
        group.merge("w", "m", "a", &[Add("e")], record);
        group.commit("x", "y", "b", &[Remove("e")]);
        group
    };
    let mut group = build(true);
    let set = group.set("p", "m", None);
    assert_eq!(words(&set), ["-e"], "as if it had come before");
    let carried = &set.operations[0];
    assert_eq!((carried.at_fork, carried.onto), (None, Some(LeafIndex(group.leaf_of("m", "e")))));
    group.merge("m", "n", "c", &[Remove("e")], Some(group.record_of(&set, &[])));
    assert!(group.check("m", "n").is_right());
    assert_eq!(group.carried("n"), Vec::<String>::new());
    // Added anew after that, it is somebody else.
    group.commit("n", "o", "a", &[Add("e")]);
    assert_eq!(group.carried("o"), Vec::<String>::new());
    // Control: the head's own Add is another one, which y does not undo.
    assert_eq!(build(false).carried("m"), Vec::<String>::new());
    // And before the merge e is removed before it comes.
    assert_eq!(build(false).carried("w"), Vec::<String>::new());
}

#[test]
fn a_merge_is_judged_by_the_tips_that_it_names() {
    // a merges x, which adds e; then it turns out that on x, and on another branch, e has been removed.
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Add("e")]);
    let set = group.set("p", "w", None);
    group.merge("w", "m", "a", &[Add("e")], Some(group.record_of(&set, &[])));
    group.commit("x", "y", "b", &[Remove("e")]);
    group.commit("p", "z", "c", &[Add("e"), Add("f")]);
    group.commit("z", "zz", "c", &[Remove("e")]);
    assert!(group.check("w", "m").is_right(), "it could not know");
    // Whoever knows says so: a tip that keeps somebody out is named, too.
    group.commit("p", "u", "b", &[Add("g")]);
    group.commit("p", "v", "c", &[Remove("b")]);
    group.commit("v", "vv", "c", &[Add("g")]);
    group.commit("vv", "vvv", "c", &[Remove("g")]);
    let set = group.set("p", "w", None);
    assert_eq!((words(&set), set.tips.len()), (vec!["+f".to_string(), "-b".to_string()], 3));
    group.merge("w", "n", "a", &[Add("f"), Remove("b")], Some(group.record_of(&set, &[])));
    assert!(group.check("w", "n").is_right());
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[Remove("c")]);
    group.commit("p", "u", "b", &[Add("f"), Add("g")]);
    group.commit("p", "v", "c", &[Add("g")]);
    group.commit("v", "vv", "c", &[Remove("g")]);
    let set = group.set("p", "w", None);
    assert_eq!((words(&set), set.tips.clone()), (vec!["+f".to_string()], vec![commit("u"), commit("vv")]));
    // Control: by the one tip alone g would have come.
    assert_eq!(words(&group.set("p", "w", Some(&["u"]))), ["+f", "+g"]);
}

#[test]
fn who_came_by_two_merges_is_one_member() {
    // a and c merge x, which added e, each on its own; a's loses, and on it e is removed.
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Add("e")]);
    let set = group.set("p", "w", None);
    group.merge("w", "m", "c", &[Add("e")], Some(group.record_of(&set, &[])));
    group.merge("w", "n", "a", &[Add("e")], Some(group.record_of(&set, &[])));
    group.commit("n", "o", "a", &[Remove("e")]);
    assert_eq!(words(&group.set("w", "m", None)), ["-e"]);
    // Control: the removal is of somebody else where a had added e itself.
    group.commit("w", "q", "a", &[Add("e")]);
    group.commit("q", "r", "a", &[Remove("e")]);
    group.history.remove_branch(&epoch("n")).expect("a branch");
    assert_eq!(words(&group.set("w", "m", None)), Vec::<String>::new());
    // The other way round: a losing branch merges what the head has added itself, and removes it.
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[Add("e")]);
    group.commit("p", "x", "b", &[]);
    let set = group.set("p", "x", None);
    group.merge("x", "m", "b", &[Add("e")], Some(group.record_of(&set, &[])));
    group.commit("m", "n", "b", &[Remove("e")]);
    assert_eq!(group.carried("w"), ["-e"]);
}

#[test]
fn who_comes_by_a_merge_may_leave_on_its_branch() {
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Add("e")]);
    let set = group.set("p", "w", None);
    group.merge("w", "m", "a", &[Add("e")], Some(group.record_of(&set, &[])));
    group.commit("x", "y", "b", &[RemoveFor("e", "e")]);
    assert_eq!(group.carried("m"), ["-e"]);
}

#[test]
fn a_rejoin_can_be_put_off() {
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Rejoin("c")]);
    let set = group.set("p", "w", None);
    assert!(set.is_open());
    group.merge("w", "m", "a", &[], Some(group.record_of(&set, &["c"])));
    assert!(group.check("w", "m").is_right(), "without a KeyPackage there is no rejoin");
    let rest = group.set("p", "m", None);
    assert_eq!((words(&rest), rest.is_open()), (vec!["~c".to_string()], false));
    // A Remove needs none: it is not put off.
    group.commit("x", "y", "b", &[Remove("a")]);
    let set = group.set("p", "m", None);
    group.merge("m", "n", "b", &[], Some(group.record_of(&set, &["a", "c"])));
    assert_eq!(group.check("m", "n").missing.len(), 1);
    assert!(group.set("p", "n", None).is_open());
}

#[test]
fn what_is_put_off_in_advance_is_not() {
    let mut group = Group::of(&["a", "b", "c", "d"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Remove("d")]);
    let set = group.set("p", "w", None);
    group.merge("w", "m", "a", &[Remove("d")], Some(group.record_of(&set, &["e"])));
    group.commit("p", "y", "c", &[Add("e")]);
    assert!(group.set("p", "m", None).is_open(), "no merge has had to do with it");
    // Control: once a merge of that tip says so, it is.
    let set = group.set("p", "m", None);
    group.merge("m", "n", "a", &[], Some(group.record_of(&set, &["e"])));
    assert!(!group.set("p", "n", None).is_open());
}

#[test]
fn what_is_put_off_holds_up_nothing_else() {
    let names: Vec<&'static str> = (0..300).map(|n| &*format!("n{n}").leak()).collect();
    let adds: Vec<Do> = names.iter().map(|name| Add(name)).collect();
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &adds);
    for (at, merge) in [("w", "m"), ("m", "n")] {
        let set = group.set("p", at, None);
        let all: Vec<&str> = names.clone();
        group.merge(at, merge, "a", &[], Some(group.record_of(&set, &all)));
        assert!(group.check(at, merge).is_right());
    }
    assert!(!group.set("p", "n", None).is_open());
    // What comes later is in the next set, however many cannot be had: Removes first.
    group.commit("p", "y", "b", &[Remove("c"), Add("zz")]);
    let set = group.set("p", "n", None);
    let (words, open) = (words(&set), set.operations.iter().filter(|carried| !set.is_deferred(carried)));
    assert_eq!((words.len(), open.count()), (256, 2));
    assert!(words.contains(&"-c".into()) && words.contains(&"+zz".into()));
}

#[test]
fn tips_of_what_is_put_off_hold_up_no_others() {
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    for n in 0..70 {
        let (branch, client) = (format!("a{n:02}"), &*format!("n{n}").leak());
        group.commit("p", &branch, "b", &[Add(client)]);
    }
    let mut at = "w".to_string();
    for round in 0..2 {
        let set = group.set("p", &at, None);
        assert_eq!((set.tips.len(), set.is_open()), (64, true));
        let all: Vec<String> = words(&set).iter().map(|word| word[1..].to_string()).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let name = format!("m{round}");
        group.merge(&at, &name, "a", &[], Some(group.record_of(&set, &all)));
        at = name;
    }
    assert!(!group.set("p", &at, None).is_open());
    group.commit("p", "z", "c", &[Remove("b")]);
    let set = group.set("p", &at, None);
    assert!(set.tips.contains(&commit("z")) && words(&set).contains(&"-b".into()));
}

#[test]
fn who_is_to_go_leaves_that_to_another() {
    // b and c have removed each other, on two branches, and a lost both: nobody is left whom no merge removes.
    let mut group = Group::of(&["a", "b", "c"]);
    group.commit("p", "w", "a", &[]);
    group.commit("p", "x", "b", &[Remove("c"), Remove("a")]);
    group.commit("p", "y", "c", &[Remove("b")]);
    let set = group.set("p", "w", None);
    assert_eq!(words(&set), ["-a", "-b", "-c"]);
    assert!((0..3).all(|leaf| set.removes(LeafIndex(leaf))));
    assert_eq!(set.left_to(LeafIndex(1)).count(), 2);
    group.merge("w", "m", "b", &[Remove("a"), Remove("c")], Some(group.record_of(&set, &[])));
    assert!(group.check("w", "m").is_right(), "nobody removes itself");
    assert_eq!(group.carried("m"), Vec::<String>::new(), "c is out, so what it did is void");
    // Control: who is not to go has no such excuse.
    let d = Merge { deferred: Vec::new(), ..group.record_of(&set, &[]) };
    group.merge("w", "n", "a", &[Remove("b")], Some(d));
    assert_eq!(group.check("w", "n").missing.len(), 1);
    assert_eq!(group.carried("n"), Vec::<String>::new());
}
