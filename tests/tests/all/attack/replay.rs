//! What has been processed cannot be derived again from what is stored.

use std::cell::RefCell;
use std::rc::Rc;

use dmls_core::epoch::CommitError;
use dmls_core::group::{Event, Group, Key, MemoryStore, ReplayError, Step, Table, Value};
use dmls_core::schedule::{CommitId, DmlsKeyError, EpochId};
use dmls_tests::{Insider, World};

use super::{forked, group_id};

/// What came of replaying everything that a store has processed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Replays {
    /// Commits of others, refused by the PPRF.
    others_punctured: usize,
    /// Own commits whose init secret is gone.
    own_punctured: usize,
    /// Commits that remove the owner of the store, whose init secret is gone.
    removals_punctured: usize,
    /// Whatever could be derived again.
    derived: usize,
}

fn loaded(store: &MemoryStore, world: &World) -> Group {
    Group::load(store, &group_id(), &world.options).expect("a good store").expect("a group")
}

/// Replays every commit of the world on the stored state of one client, deduplication bypassed.
fn replay_all(world: &World, place: usize) -> Replays {
    let store = world.peers[place].store.clone();
    let group = loaded(&store, world);
    let mut replays = Replays::default();
    for view in group.history().epochs {
        let parent = Insider::read(&store, &group_id(), &view.id).expect("a retained epoch");
        for index in 0..world.sent() {
            let Some(commit) = parent.stage(world.bytes(index)) else { continue };
            let fork = view.fork.as_ref().expect("an epoch with a child");
            let child = fork.children.iter().find(|child| child.commit == commit.commit_id());
            let child = child.expect("a commit that was processed").epoch.clone();
            replay(&parent, &group, &store, &commit, child, &mut replays);
        }
    }
    replays
}

fn replay(
    parent: &Insider,
    group: &Group,
    store: &MemoryStore,
    commit: &dmls_core::epoch::PublicCommit,
    child: Option<EpochId>,
    replays: &mut Replays,
) {
    // Whoever has the state has the confirmation too: it is in the commit.
    let secret = parent.init.evaluate(&parent.child_input(commit));
    let tried = group.try_replay(store, &commit.commit_id());
    match (parent.enter(commit), secret) {
        (Err(CommitError::Init(DmlsKeyError::Punctured)), Err(DmlsKeyError::Punctured)) => {
            assert_eq!(tried, Err(ReplayError::Commit(CommitError::Init(DmlsKeyError::Punctured))));
            replays.others_punctured += 1;
        }
        (Err(CommitError::OwnCommit), Err(DmlsKeyError::Punctured)) => replays.own_punctured += 1,
        (Err(CommitError::Removed), Err(DmlsKeyError::Punctured)) => replays.removals_punctured += 1,
        (Ok(epoch), Ok(_)) => {
            assert_eq!(Some(&epoch), child.as_ref());
            assert_eq!(tried.expect("a replay").epoch, epoch);
            replays.derived += 1;
        }
        (Err(CommitError::OwnCommit | CommitError::Removed), Ok(_)) => replays.derived += 1,
        (entered, secret) => panic!("{entered:?}, {secret:?}"),
    }
}

fn add(sum: Replays, one: Replays) -> Replays {
    Replays {
        others_punctured: sum.others_punctured + one.others_punctured,
        own_punctured: sum.own_punctured + one.own_punctured,
        removals_punctured: sum.removals_punctured + one.removals_punctured,
        derived: sum.derived + one.derived,
    }
}

#[test]
fn no_processed_commit_is_processed_again() {
    let world = forked(31, true);
    let all = (0..5).map(|place| replay_all(&world, place)).fold(Replays::default(), add);
    println!("{all:?}");
    assert_eq!(all.derived, 0);
    assert!(all.others_punctured >= 12 && all.own_punctured >= 4 && all.removals_punctured == 1, "{all:?}");
}

#[test]
fn without_puncturing_every_commit_is() {
    let world = forked(31, false);
    let all = (0..5).map(|place| replay_all(&world, place)).fold(Replays::default(), add);
    println!("{all:?}");
    assert_eq!((all.others_punctured, all.own_punctured, all.removals_punctured), (0, 0, 0));
    assert!(all.derived >= 17);
}

/// Checks that a step which has a new child has its parent too, punctured by that child's commit.
fn check_step(store: &MemoryStore, step: &Step, children: &mut usize) {
    let id = group_id();
    let puts = |table: Table| step.changes.put.iter().filter(move |(key, _)| key.table == table);
    for (key, record) in puts(Table::History) {
        let Value::History(record) = record else { panic!("a record of another table") };
        let before = match dmls_core::group::Store::get(store, key).expect("memory") {
            Some(Value::History(before)) => before.children.len(),
            _ => 0,
        };
        let news = record.children.len().saturating_sub(before);
        if news == 0 {
            continue;
        }
        let at = EpochId::from(key.bytes[Key::of_group(Table::History, &id).bytes.len()..].to_vec());
        let old = Insider::read(store, &id, &at).map_or(0, |parent| parent.init.punctured_count());
        match step.changes.put.get(&Key::epoch(Table::Inits, &id, &at)) {
            Some(Value::Init(init)) => {
                assert_eq!(init.punctured_count(), old + news, "the parent is punctured")
            }
            _ => panic!("a step has a child of {at} without the punctured parent"),
        }
        for child in record.children.values().filter_map(|child| child.outcome.as_ref().ok()) {
            let key = Key::epoch(Table::Epochs, &id, child);
            let stored = step.changes.put.contains_key(&key)
                || dmls_core::group::Store::get(store, &key).expect("memory").is_some();
            assert!(stored, "the child is stored with the punctured parent");
        }
        *children += news;
    }
}

#[test]
fn child_and_punctured_parent_are_one_step() {
    let children = Rc::new(RefCell::new(0));
    let mut world = World::new(32, 4);
    let count = Rc::clone(&children);
    world.ordeal.watch =
        Some(Box::new(move |_, store, step| check_step(store, step, &mut count.borrow_mut())));
    world.form();
    world.cut(&[0, 0, 1, 1]);
    world.refresh(0);
    world.remove(2, 1);
    world.run(30_000);
    world.heal();
    world.run(60_000);
    world.refresh(3);
    world.run(30_000);
    // The invitation is one child for its maker only; three more commits are known to the four clients.
    assert!(*children.borrow() > 3 * 3, "{}", children.borrow());
}

#[test]
fn an_own_commit_is_selected_again_by_its_id() {
    let mut world = World::new(33, 3);
    world.form();
    world.cut(&[0, 1, 1]);
    world.refresh(0);
    world.refresh(1);
    world.run(30_000);
    world.heal();
    world.run(60_000);
    // One of the two committers came over; both know both, and none has derived its own again.
    for place in [0, 1] {
        let own =
            world.peers[place].events.iter().filter(|event| matches!(event, Event::Epoch { .. })).count();
        assert!(own >= 2);
        let head = world.peers[place].group().head().clone();
        assert_eq!(&head, world.peers[2].group().head());
    }
    let mut commits: Vec<(usize, CommitId)> = Vec::new();
    for index in 0..world.sent() {
        for place in [0, 1] {
            for view in world.peers[place].group().history().epochs {
                let insider = super::insider(&world, place, &view.id);
                commits.extend(insider.stage(world.bytes(index)).map(|c| (place, c.commit_id())));
            }
        }
    }
    let before = world.peers[0].group().history();
    for index in 0..world.sent() {
        let bytes = world.bytes(index).to_vec();
        assert_eq!(world.inject(0, &bytes), dmls_core::group::Disposition::Duplicate);
    }
    assert_eq!(world.peers[0].group().history(), before);
    assert!(commits.len() >= 4, "{commits:?}");
}
