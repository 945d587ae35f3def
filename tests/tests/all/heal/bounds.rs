//! A merge carries 256 operations; the rest is for the next one.

use dmls_core::group::{Client, Disposition, Input};
use dmls_core::suite::CipherSuite;
use dmls_tests::World;
use dmls_tests::oracle::assert_one_head;

use super::{merges, mismatches, world};

/// Strangers, each with a key package for the losing branch and one for later.
fn strangers(world: &mut World, n: usize) -> Vec<[Vec<u8>; 2]> {
    let stranger = |place: usize, world: &mut World| {
        let name = format!("stranger {place}");
        let (client, _) =
            Client::new(CipherSuite::X25519_AES128GCM, name.as_bytes(), &mut world.rng).expect("a client");
        let mut key_package =
            || client.key_package(&world.options, world.now, &mut world.rng).expect("a key package").bytes;
        [key_package(), key_package()]
    };
    (0..n).map(|place| stranger(place, world)).collect()
}

#[test]
fn more_than_256_operations_take_two_merges() {
    let mut world = world(1, 3, 3);
    let strangers = strangers(&mut world, 260);
    world.cut(&[0, 0, 1]);
    world.refresh(0);
    let first: Vec<Vec<u8>> = strangers.iter().map(|[first, _]| first.clone()).collect();
    for part in first.chunks(130) {
        world.act(2, |group, now, rng| group.invite(part, now, rng).expect("an invitation"));
    }
    world.run(20_000);
    world.heal();
    world.spread();
    for place in 0..3 {
        for [_, later] in &strangers[..256] {
            let step = world.peers[place].group().handle(Input::KeyPackage(later), world.now, &mut world.rng);
            assert_eq!(world.take_step(place, step), Some(Disposition::Applied));
        }
    }
    // Those who are in by the first merge have turns before the second, and do not take them.
    world.run(300_000);
    assert_one_head(&world, &[0, 1, 2]);
    let seen: Vec<(usize, usize)> =
        merges(&world, 1).iter().map(|(_, carried, deferred)| (carried.len(), *deferred)).collect();
    println!("carried and put off: {seen:?}");
    assert!(seen.iter().all(|(carried, deferred)| carried + deferred <= 256));
    let carried: usize = seen.iter().map(|(carried, _)| carried).sum();
    assert_eq!((carried, seen.last().map(|(_, deferred)| *deferred)), (256, Some(4)));
    assert_eq!((world.peers[0].group().view().expect("a head").members.len(), mismatches(&world)), (259, 0));
}
