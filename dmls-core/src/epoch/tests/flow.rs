use super::world::*;
use crate::epoch::*;
use crate::schedule::DmlsKeyError;
use crate::suite::CipherSuite;
use crate::tree::Extensions;

fn life_of_a_group(suite: CipherSuite, extensions: Extensions) {
    let mut world = World::new(suite, extensions, &["a", "b", "c", "d", "e"]);
    // An empty commit, a Remove by value, an Add into the gap, an Update by reference.
    let request = world.request(vec![]);
    world.commit(3, &request, &[]);
    let request = world.request(vec![remove(1)]);
    world.commit(2, &request, &[]);
    assert_eq!(world.clients.len(), 4);
    let f = world.bundle("f");
    world.add_all(1, &[f]);
    assert_eq!(world.clients[4].epoch.own_leaf().0, 1);
    let epoch = &world.clients[4].epoch;
    let sealed = epoch.seal_update(&template("f"), None, &private(), &mut world.rng).unwrap();
    let update = world.hand_out(4, sealed);
    let removal = world.propose(0, remove(3));
    let request = CommitRequest { references: vec![update, removal], ..world.request(vec![]) };
    world.commit(1, &request, &[]);
    assert_eq!(world.clients.len(), 4);
    assert_eq!(world.clients[0].epoch.context().epoch, 5);
}

#[test]
fn plain_groups_live_in_every_suite() {
    for suite in CipherSuite::supported() {
        life_of_a_group(suite, Extensions::default());
    }
}

#[test]
fn dmls_groups_live_in_every_suite() {
    for suite in CipherSuite::supported() {
        life_of_a_group(suite, dmls_extensions());
    }
}

#[test]
fn a_dmls_epoch_has_many_children_and_none_twice() {
    let mut world = World::dmls(&["a", "b", "c"]);
    let request = world.request(vec![]);
    let (one, two) = (world.create(0, &request).unwrap(), world.create(1, &request).unwrap());
    assert_ne!(one.dmls.as_ref().unwrap().dmls_epoch, two.dmls.as_ref().unwrap().dmls_epoch);
    for created in [&one, &two] {
        let entered = world.process(2, &created.message).unwrap();
        assert_eq!(entered.epoch.epoch_authenticator(), created.child.epoch_authenticator());
        assert_eq!(entered.conf, created.conf);
        assert_eq!(entered.dmls.unwrap().dmls_epoch, created.dmls.as_ref().unwrap().dmls_epoch);
    }
    // Both are punctured now.
    for created in [&one, &two] {
        let again = world.process(2, &created.message).unwrap_err();
        assert_eq!(again, CommitError::Init(DmlsKeyError::Punctured));
    }
    // Each committer can enter the other's child, its own it only selects.
    world.process(0, &two.message).unwrap();
    assert_eq!(world.process(0, &one.message).unwrap_err(), CommitError::OwnCommit);
}

#[test]
fn a_removed_member_stages_the_commit_and_learns_its_confirmation() {
    let mut world = World::dmls(&["a", "b", "c"]);
    let request = world.request(vec![remove(1)]);
    let created = world.create(0, &request).unwrap();
    let epoch = &world.clients[1].epoch;
    let opened = epoch.open(&created.message, Default::default()).unwrap();
    let staged = epoch.stage_commit(&opened.content, &DefaultPolicy).unwrap();
    assert!(staged.self_removed);
    assert_eq!(staged.commit_id(), created.child.commit_id());
    let conf = created.conf.as_ref().unwrap();
    assert_eq!(staged.meta().unwrap().conf.as_ref().unwrap().as_slice(), conf.as_slice());
    assert_eq!(world.process(1, &created.message).unwrap_err(), CommitError::Removed);
    // A member who stays sees the same commit otherwise.
    let staged = &world.clients[2].epoch.stage_commit(&opened.content, &DefaultPolicy).unwrap();
    assert!(!staged.self_removed);
    assert_eq!(staged.removed[0].leaf.0, 1);
}
