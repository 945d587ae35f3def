//! Members that hear the same end in the same state, in whatever order they hear it.

mod adversaries;
mod finality;
mod orders;
mod removals;
mod schedules;

use dmls_core::group::Event;
use dmls_tests::World;
use dmls_tests::oracle::{Print, assert_one_head, fingerprint, print_of};

/// Schedules that a test runs: `DMLS_SCHEDULES`, else `default`.
fn schedules(default: u64) -> u64 {
    std::env::var("DMLS_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
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
