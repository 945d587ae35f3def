//! Private keys live as long as an epoch that needs them: no record is left over, and none is missing, after any step.

use std::cell::Cell;
use std::rc::Rc;

use dmls_core::framing::DmlsProfile;
use dmls_core::group::{Store, Table};
use dmls_tests::{Insider, World};

use super::group_id;
use crate::store::steps::{needed, stored};

/// Looks at each step that deletes an epoch, a subtree or a key; how many there were.
fn watch(world: &mut World) -> Rc<Cell<usize>> {
    let seen = Rc::new(Cell::new(0));
    let count = seen.clone();
    let tables = [Table::Epochs, Table::Subtrees, Table::NodeKeys, Table::Ratchets];
    world.ordeal.watch = Some(Box::new(move |place, store, step| {
        if !step.changes.delete.iter().any(|key| tables.contains(&key.table)) {
            return;
        }
        let mut after = store.clone();
        after.apply(&step.changes).expect("memory");
        assert_eq!(needed(&after), stored(&after), "member {place}");
        count.set(count.get() + 1);
    }));
    seen
}

#[test]
fn after_every_deletion_there_is_what_is_needed_and_no_more() {
    let profile = DmlsProfile { max_behind: 3, max_retained: 5, ..DmlsProfile::default() };
    let mut world = World::new(61, 5);
    world.options.late_messages_ms = 20_000;
    world.options.close_after_ms = 60_000;
    world.create(profile);
    world.invite(0, &[1, 2, 3]);
    world.run(30_000);
    let seen = watch(&mut world);
    for round in 0..6 {
        world.cut(if round % 2 == 0 { &[0, 0, 1, 1, 1] } else { &[0, 1, 0, 0, 0] });
        world.refresh(round % 2);
        world.refresh(2);
        world.send(3, "text");
        world.run(15_000);
        world.heal();
        world.run(40_000);
    }
    world.invite(1, &[4]);
    world.run(30_000);
    world.remove(2, 3);
    world.run(200_000);
    assert!(seen.get() > 20, "{}", seen.get());
}

#[test]
fn each_retained_epoch_has_its_own_keys_to_sign_and_decrypt_with() {
    let mut world = super::formed(62, 4, DmlsProfile::default());
    world.cut(&[0, 0, 0, 1]);
    for by in [0, 1, 2, 1] {
        world.refresh(by);
        world.run(8_000);
    }
    for place in 0..3 {
        let view = world.peers[place].group().view().expect("a view");
        assert!(view.retained > 4);
        for told in view.epochs {
            let insider =
                Insider::read(&world.peers[place].store, &group_id(), &told.epoch).expect("an epoch");
            let epoch = &insider.epoch;
            let leaf = epoch.leaf(epoch.own_leaf()).expect("a leaf");
            let signature = epoch.suite().signature().public_key(epoch.signature_private());
            assert_eq!(signature.expect("a key"), leaf.signature_key, "a vote can be signed");
            let own = epoch.private_keys().get(&leaf.encryption_key).expect("the own leaf's key");
            assert_eq!(epoch.suite().hpke().public_key(own).expect("a key"), leaf.encryption_key);
            for (public, private) in epoch.private_keys().iter() {
                assert_eq!(epoch.suite().hpke().public_key(private).as_ref(), Ok(public));
            }
        }
    }
    // Two epochs between which the own leaf was replaced do not share its key.
    let keys = |place: usize| {
        let view = world.peers[place].group().view().expect("a view");
        let read = |id| Insider::read(&world.peers[place].store, &group_id(), id).expect("an epoch").epoch;
        let epochs = view.epochs.iter().map(|told| read(&told.epoch));
        let key = |epoch: dmls_core::epoch::Epoch| {
            epoch.leaf(epoch.own_leaf()).expect("a leaf").encryption_key.clone()
        };
        epochs.map(key).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!((keys(0), keys(1), keys(2)), (3, 3, 2));
}
