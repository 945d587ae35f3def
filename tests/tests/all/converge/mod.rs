//! Members that hear the same end in the same state, in whatever order they hear it.

mod adversaries;
mod finality;
mod orders;
mod removals;
mod schedules;

use dmls_core::group::{Event, Group};
use dmls_core::schedule::EpochId;
use dmls_tests::World;

/// What members of one head must agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Print {
    head: EpochId,
    tree_hash: Vec<u8>,
    epoch_authenticator: Vec<u8>,
    members: Vec<[u8; 32]>,
    exported: Vec<u8>,
}

fn print_of(group: &Group) -> Print {
    let view = group.view().expect("a head");
    let exported = group.exporter("test", b"context", 32).expect("an exporter secret");
    Print {
        head: view.head,
        tree_hash: view.tree_hash.as_slice().to_vec(),
        epoch_authenticator: view.epoch_authenticator.as_slice().to_vec(),
        members: view.members.iter().map(|member| member.fingerprint).collect(),
        exported: exported.as_slice().to_vec(),
    }
}

fn fingerprint(world: &World, place: usize) -> Print {
    print_of(world.peers[place].group())
}

/// Schedules that a test runs: `DMLS_SCHEDULES`, else `default`.
fn schedules(default: u64) -> u64 {
    std::env::var("DMLS_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn assert_one_head(world: &World, places: &[usize]) {
    let first = fingerprint(world, places[0]);
    for place in places {
        assert_eq!(fingerprint(world, *place), first, "member {place} differs from member {}", places[0]);
    }
}

#[test]
fn a_group_forms_and_talks() {
    let mut world = World::new(1, 4);
    world.form();
    assert_one_head(&world, &[0, 1, 2, 3]);
    world.send(2, "hello");
    world.spread();
    for place in [0, 1, 3] {
        assert_eq!(world.peers[place].messages().last().expect("a message").1, b"hello");
    }
}

#[test]
fn a_fork_heals() {
    let mut world = World::new(2, 5);
    world.form();
    world.cut(&[0, 0, 0, 1, 1]);
    world.refresh(1);
    world.refresh(3);
    world.send(0, "from the three");
    world.send(4, "from the two");
    world.run(30_000);
    assert_one_head(&world, &[0, 1, 2]);
    assert_one_head(&world, &[3, 4]);
    assert_ne!(fingerprint(&world, 0), fingerprint(&world, 3));
    world.heal();
    world.run(60_000);
    assert_one_head(&world, &[0, 1, 2, 3, 4]);
    for place in [0, 1, 2, 3, 4] {
        let mut texts: Vec<Vec<u8>> =
            world.peers[place].messages().into_iter().map(|(_, text)| text).collect();
        texts.sort();
        let mut expected = vec![b"from the three".to_vec(), b"from the two".to_vec()];
        expected
            .retain(|text| !(place == 0 && text.ends_with(b"three") || place == 4 && text.ends_with(b"two")));
        assert_eq!(texts, expected, "member {place}");
    }
    let lost = |event: &Event| matches!(event, Event::BranchLost { .. });
    assert!(world.peers[3].events.iter().any(lost));
}
