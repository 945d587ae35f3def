//! What a user is told of what a thief could read, against what one can.

use dmls_core::framing::DmlsProfile;
use dmls_core::schedule::{RatchetType, Windows};

use super::{formed, stored};

const MINUTE: u64 = 60_000;

#[test]
fn the_view_says_what_a_thief_can_read() {
    let mut world = formed(31, 4, DmlsProfile::default());
    world.cut(&[0, 0, 0, 1]);
    for round in 0..3 {
        world.refresh(round);
        world.send(round, "text");
        world.run(4 * MINUTE);
    }
    world.run(3 * MINUTE);
    let view = world.peers[1].group().view().expect("a view");
    assert_eq!(view.epochs.len(), view.retained);
    assert!(view.retained > 3);
    assert_eq!(view.punctures, view.epochs.iter().map(|epoch| epoch.punctures).sum::<usize>());
    let mut gone = 0;
    for told in &view.epochs {
        let insider = stored(&world, 1, &told.epoch).expect("a retained epoch");
        let own = insider.epoch.own_leaf();
        for (leaf, _) in insider.epoch.tree().leaves().filter(|(leaf, _)| *leaf != own) {
            let can =
                |ratchet| insider.epoch.secret_tree().peek(leaf, ratchet, 900, Windows::default()).is_ok();
            assert_eq!(told.exposure.senders.contains(leaf), can(RatchetType::Application), "{leaf:?}");
            assert_eq!(told.exposure.handshakes, can(RatchetType::Handshake), "{leaf:?}");
            gone += usize::from(!can(RatchetType::Application));
        }
        assert!(!told.exposure.senders.contains(own) && told.exposure.commits);
        assert_eq!(told.punctures, insider.init.punctured_count());
    }
    assert!(gone > 0, "some have moved on for long enough");
    let head = view.epochs.iter().find(|epoch| epoch.epoch == view.head).expect("the head");
    assert_eq!((head.until_ms, head.exposure.senders.len()), (None, 3));
}

#[test]
fn the_view_says_until_when() {
    let mut world = formed(32, 4, DmlsProfile { max_age_seconds: 3600, ..DmlsProfile::default() });
    // Settled: ten minutes.
    world.refresh(1);
    world.run(MINUTE);
    let view = world.peers[2].group().view().expect("a view");
    let until = view.epochs.iter().find(|epoch| epoch.epoch != view.head).and_then(|epoch| epoch.until_ms);
    let until = until.expect("it goes some time");
    assert!((8 * MINUTE..=10 * MINUTE).contains(&(until - world.now)), "{}", until - world.now);
    world.run(until - world.now - 1_000);
    assert_eq!(world.peers[2].group().view().expect("a view").retained, view.retained);
    world.run(2_000);
    assert_eq!(world.peers[2].group().view().expect("a view").retained, 1);
    // Not settled, as one is away: an hour.
    world.cut(&[0, 0, 0, 1]);
    world.refresh(1);
    world.run(MINUTE);
    let view = world.peers[2].group().view().expect("a view");
    let until = view.epochs.iter().find(|epoch| epoch.epoch != view.head).and_then(|epoch| epoch.until_ms);
    let until = until.expect("it goes some time");
    assert!((58 * MINUTE..=60 * MINUTE).contains(&(until - world.now)), "{}", until - world.now);
    world.run(until - world.now - 1_000);
    assert_eq!(world.peers[2].group().view().expect("a view").retained, 2);
    world.run(2_000);
    assert_eq!(world.peers[2].group().view().expect("a view").retained, 1);
}
