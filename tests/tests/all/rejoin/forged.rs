//! Welcomes by which somebody wants to put a group of its own in the place of another's state.

use dmls_core::codec::{Bytes, encode};
use dmls_core::epoch::{CommitRequest, DefaultPolicy, InitSource, NoPsks};
use dmls_core::framing::{
    Add, ApplicationData, Content, DmlsJoin, DmlsMeta, DmlsNotice, Heads, MlsMessage, Proposal,
};
use dmls_core::group::{JoinError, MemoryStore};
use dmls_core::schedule::{GroupContext, child_init_input};
use dmls_core::suite::Secret;
use dmls_tests::{Insider, stored_records};

use super::*;
use crate::rejoin::hostile::key_package_of;

/// A Welcome to a group of the same name that `by` has founded for this, with what it says was merged.
fn forged_welcome(world: &mut World, by: usize, key_package: &[u8], merged_tips: Vec<Bytes>) -> Vec<u8> {
    let mut rng = world.rng.clone();
    let profile = DmlsProfile::default();
    let founded =
        world.peers[by].client.create_group(group_id(), &profile, &world.options, world.now, &mut rng);
    let founded = founded.expect("a group");
    let (mut store, mut group) = (MemoryStore::default(), founded.group.clone());
    founded.commit(&mut store, &mut group).expect("memory");
    let insider = Insider::read(&store, &group_id(), group.head()).expect("the head");
    let mut evaluate = |conf: &Secret, context: &GroupContext| {
        insider.init.evaluate(&child_init_input(insider.epoch.suite(), conf, context)?)
    };
    let mut request = CommitRequest::new(&NoPsks, &DefaultPolicy);
    request.proposals = vec![Proposal::Add(Add { key_package: Box::new(key_package_of(key_package)) })];
    request.meta = Some(DmlsMeta::default());
    request.group_info.join =
        Some(DmlsJoin { parent: insider.id.0.clone(), merged_tips, added_in: Bytes::default() });
    let created = insider.epoch.create_commit(&request, InitSource::Dmls(&mut evaluate), &mut rng);
    world.rng = rng;
    let welcome = created.expect("a commit").welcome.expect("a Welcome");
    MlsMessage::from(welcome).to_bytes().expect("bytes")
}

/// How many members the client has if it takes the Welcome, or why it does not; then nothing has changed.
fn joined(world: &mut World, victim: usize, welcome: &[u8]) -> Result<usize, JoinError> {
    let before = stored_records(&world.peers[victim].store);
    let peer = &world.peers[victim];
    let step = peer.client.join(&peer.store, welcome, &world.options, world.now, &mut world.rng.clone());
    match step {
        Ok(step) => {
            world.take_step(victim, step);
            Ok(world.peers[victim].group().view().expect("a head").members.len())
        }
        Err(error) => {
            assert!(stored_records(&world.peers[victim].store) == before);
            Err(error)
        }
    }
}

fn commit_of(world: &World, place: usize) -> Bytes {
    let head = world.peers[place].group().head().clone();
    Insider::read(&world.peers[place].store, &group_id(), &head).expect("the head").epoch.commit_id().0
}

#[test]
fn a_peers_floor_and_a_strangers_welcome_replace_nothing() {
    let mut world = World::new(901, 4);
    world.create(DmlsProfile::default());
    world.invite(0, &[1, 2]);
    world.run(60_000);
    world.act(1, |group, now, rng| group.handle(Input::PeerFloor(1 << 40), now, rng));
    assert_eq!(standing(&world, 1), Standing::Behind(1 << 40));
    let key_package = world.key_package(1);
    let head = commit_of(&world, 1);
    for merged in [Vec::new(), vec![head]] {
        let welcome = forged_welcome(&mut world, 3, &key_package, merged);
        assert_eq!(joined(&mut world, 1, &welcome), Err(JoinError::AlreadyMember));
    }
    assert_eq!(world.peers[1].group().view().expect("a head").members.len(), 3);
    // Control: the same bytes from a member of its head. What a member can do is said in docs/security.md.
    let welcome = forged_welcome(&mut world, 2, &key_package, Vec::new());
    assert_eq!(joined(&mut world, 1, &welcome), Ok(2));
}

#[test]
fn whoever_was_removed_takes_over_nobody() {
    let mut world = formed(902, 4, true);
    let old = commit_of(&world, 3);
    let above = world.peers[3].group().head().clone();
    let removed = Insider::read(&world.peers[3].store, &group_id(), &above).expect("the head");
    world.remove(0, 3);
    world.run(60_000);
    assert_eq!(standing(&world, 3), Standing::Removed);
    let head = commit_of(&world, 1);
    let key_package = world.key_package(1);
    for merged in [old, head.clone()] {
        let welcome = forged_welcome(&mut world, 3, &key_package, vec![merged]);
        assert_eq!(joined(&mut world, 1, &welcome), Err(JoinError::AlreadyMember));
    }
    // By a notice, in an epoch whose keys both have: the same.
    world.act(1, |group, now, rng| group.request_rejoin(now, rng).expect("a request"));
    let asked = world.peers[1].requests.last().expect("a request").clone();
    let welcome = forged_welcome(&mut world, 3, &asked, vec![head.clone()]);
    let notice = ApplicationData::notice(0, Heads::default(), DmlsNotice::Welcome(welcome.into()));
    let content = Content::Application(encode(&notice).expect("bytes").into());
    let bytes = removed.send(content, 0, &mut world.rng.clone());
    let before = world.peers[1].group().head().clone();
    assert_eq!(world.inject(1, &bytes), Disposition::Applied);
    assert_eq!(*world.peers[1].group().head(), before);
    assert_together(&world, &[0, 1, 2], 3);
    // Control: a member of the head who says that the head's commit is merged.
    let welcome = forged_welcome(&mut world, 2, &key_package, vec![head]);
    assert_eq!(joined(&mut world, 1, &welcome), Ok(2));
}

#[test]
fn whoever_is_outside_is_welcomed_by_those_that_it_knew() {
    let mut world = formed(903, 5, false);
    // The others add a client anew that has lost its key package; it hears of that.
    let lost = lost_request(&mut world, 2, &group_id());
    assert_eq!(offer(&mut world, 0, &lost), Disposition::Applied);
    world.cut(&[0, 0, 1, 0, 0]);
    world.run(30_000);
    let heard: Vec<usize> = (0..world.sent()).filter(|i| !world.peers[2].seen.contains_key(i)).collect();
    for index in heard {
        world.deliver(index, 2);
    }
    world.act(2, |group, now, rng| group.handle(Input::Tick, now, rng));
    assert!(matches!(standing(&world, 2), Standing::Outside(_)), "{:?}", standing(&world, 2));
    let request = request(&mut world, 2);
    let mut stranger = World::new(904, 1);
    stranger.now = world.now;
    let welcome = forged_welcome(&mut stranger, 0, &request, Vec::new());
    assert_eq!(joined(&mut world, 2, &welcome), Err(JoinError::UnknownSigner));
    // Control: the members bring it back.
    world.heal();
    world.run(60_000);
    assert_together(&world, &[0, 1, 2, 3, 4], 5);
    assert_talking(&mut world, 2, 3);
}
