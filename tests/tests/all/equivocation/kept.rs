//! Proofs are kept, passed on, shown, and bounded.

use dmls_core::codec::encode;
use dmls_core::framing::{ApplicationData, Content, DmlsMeta, DmlsNotice, EquivocationProof, Proposal};
use dmls_core::group::{Disposition, Event, Key, Store, Table};
use dmls_tests::World;

use super::{key_of, proofs, proved, two_commits, verified};
use crate::attack::{group_id, in_head};

fn stored(world: &World, place: usize) -> usize {
    world.peers[place].store.scan(&Key::of_group(Table::Proofs, &group_id())).expect("memory").len()
}

/// Two votes of a member in its head, made by a thief of its keys.
fn two_votes(world: &World, of: usize) -> [Vec<u8>; 2] {
    let thief = in_head(world, of);
    let mut rng = world.rng.clone();
    [500_u32, 501].map(|generation| {
        let vote = Some(vec![generation as u8; 32].into());
        let meta = DmlsMeta { vote, ..Default::default() };
        thief.send(Content::Proposal(Proposal::DmlsMeta(meta)), generation, &mut rng)
    })
}

/// A thief of member 3's keys votes twice in the head, and everybody else gets both votes.
fn vote_twice(world: &mut World) {
    for bytes in two_votes(world, 3) {
        world.publish(3, bytes);
    }
    world.spread();
}

/// Member 3 makes two commits, and everybody gets both.
fn betrayed(seed: u64, members: usize, more: usize) -> World {
    let mut world = World::new(seed, members + more);
    world.create(Default::default());
    world.invite(0, &(1..members).collect::<Vec<_>>());
    world.run(60_000);
    for bytes in two_commits(&mut world, 3) {
        world.publish(3, bytes);
    }
    world.run(30_000);
    world
}

#[test]
fn a_proof_outlives_its_fork_point_and_restarts() {
    let mut world = World::new(221, 4);
    world.form();
    vote_twice(&mut world);
    world.run(30_000);
    let guilty = key_of(&world, 3);
    let before = proofs(world.peers[0].group());
    assert_eq!((before.len(), stored(&world, 0)), (1, 1));
    let at = before[0].number;
    // Everybody speaks below, and the fork point goes.
    for _ in 0..3 {
        world.refresh(1);
        world.run(11 * 60_000);
    }
    for place in 0..3 {
        let history = world.peers[place].group().history();
        assert!(
            history.epochs.iter().all(|epoch| epoch.number > at),
            "member {place} still has the fork point"
        );
        world.restart(place);
        let group = world.peers[place].group();
        let view = proofs(group).pop().expect("kept");
        assert_eq!(view.number, at);
        assert_eq!(view.member.fingerprint, world.peers[3].client.fingerprint());
        verified(group, &view, &guilty);
        assert_eq!(proved(&world.peers[place].events), 1, "told once");
    }
    assert_eq!(proofs(world.peers[0].group()), before);
}

#[test]
fn who_joins_later_is_told() {
    let mut world = betrayed(222, 4, 2);
    let guilty = key_of(&world, 3);
    for (by, joiner) in [(1, 4), (4, 5)] {
        world.invite(by, &[joiner]);
        world.run(60_000);
        let group = world.peers[joiner].group();
        let view = proofs(group).pop().expect("the joiner has it");
        verified(group, &view, &guilty);
        assert_eq!(view.member.fingerprint, world.peers[3].client.fingerprint());
        let events = &world.peers[joiner].events;
        assert_eq!(proved(events), 1);
        assert!(
            !events.iter().any(|event| matches!(event, Event::Equivocation { .. })),
            "it saw nothing itself"
        );
    }
    for place in [0, 1, 2, 4, 5] {
        assert_eq!((proved(&world.peers[place].events), stored(&world, place)), (1, 1), "member {place}");
    }
    // Nobody is told who is nobody: users see no notice.
    assert!(world.peers.iter().all(|peer| peer.messages().is_empty()));
}

#[test]
fn one_copy_is_passed_on() {
    let world = betrayed(223, 4, 0);
    let commits =
        (0..world.sent()).filter(|index| world.author(*index) == 3).map(|index| world.bytes(index).len());
    let commits: Vec<usize> = commits.collect();
    let commit = *commits.iter().max().expect("commits");
    // A proof holds two commits. Nothing else but the invitation of three members is as large.
    let large = (0..world.sent()).filter(|index| world.bytes(*index).len() > commit);
    let large: Vec<(usize, usize)> =
        large.map(|index| (world.author(index), world.bytes(index).len())).collect();
    assert_eq!(large.len(), 2, "{large:?}");
}

#[test]
fn what_proves_nothing_changes_nothing() {
    let mut world = betrayed(224, 4, 0);
    let view = proofs(world.peers[0].group()).pop().expect("a proof");
    let good = world.peers[0].group().proof(&view.id).expect("a proof").bytes.as_slice().to_vec();
    let proof: EquivocationProof = dmls_core::codec::decode(&good).expect("a proof");
    let mut stranger = World::new(225, 4);
    stranger.form();
    let strange = {
        for bytes in two_commits(&mut stranger, 2) {
            stranger.inject(0, &bytes);
        }
        let view = proofs(stranger.peers[0].group()).pop().expect("a proof");
        stranger.peers[0].group().proof(&view.id).expect("a proof").bytes.as_slice().to_vec()
    };
    let framed = EquivocationProof { key: key_of(&world, 1), ..proof.clone() };
    let same = EquivocationProof { other: proof.one.clone(), ..proof };
    let encoded = |proof: &EquivocationProof| encode(proof).expect("bytes");
    let before = (0..3).map(|place| (proofs(world.peers[place].group()), stored(&world, place)));
    let before: Vec<_> = before.collect();
    for bytes in [b"nonsense".to_vec(), Vec::new(), strange, encoded(&framed), encoded(&same), good] {
        let sender = in_head(&world, 1);
        let generation = sender.epoch.next_generation(dmls_core::schedule::RatchetType::Application);
        let generation = generation.expect("a key");
        let notice = DmlsNotice::Proof(bytes.into());
        let data = ApplicationData::notice(generation, Default::default(), notice);
        let content = Content::Application(encode(&data).expect("bytes").into());
        let mut rng = world.rng.clone();
        let message = sender.send(content, generation, &mut rng);
        for to in [0, 2] {
            assert_eq!(world.inject(to, &message), Disposition::Applied);
        }
        // Its sender's own key goes on, too.
        world.send(1, "text");
    }
    let after: Vec<_> =
        (0..3).map(|place| (proofs(world.peers[place].group()), stored(&world, place))).collect();
    assert_eq!(after, before);
    for place in [0, 2] {
        assert_eq!(proved(&world.peers[place].events), 1);
    }
}

#[test]
fn proofs_about_one_key_are_bounded() {
    let mut world = World::new(226, 4);
    world.options.own_commits = u32::MAX;
    world.form();
    for round in 1..=7_usize {
        vote_twice(&mut world);
        world.refresh(0);
        world.run(20_000);
        for place in 0..3 {
            assert_eq!(
                proofs(world.peers[place].group()).len(),
                round.min(4),
                "member {place}, round {round}"
            );
            assert_eq!(stored(&world, place), round.min(4));
        }
    }
    // The newest are kept.
    let kept: Vec<u64> = proofs(world.peers[0].group()).iter().map(|view| view.number).collect();
    assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "{kept:?}");
}

#[test]
fn proofs_of_a_group_are_bounded() {
    let mut world = World::new(227, 18);
    world.options.own_commits = u32::MAX;
    world.form();
    for round in 1..=4 {
        for thief in 1..18 {
            for bytes in two_votes(&world, thief) {
                assert_eq!(world.inject(0, &bytes), Disposition::Applied);
            }
        }
        let proofs = proofs(world.peers[0].group());
        assert_eq!((proofs.len(), stored(&world, 0)), ((17 * round).min(64), (17 * round).min(64)));
        world.refresh(0);
        world.spread();
    }
    let kept = proofs(world.peers[0].group());
    let of_round = |number: u64| kept.iter().filter(|view| view.number == number).count();
    let last = kept.iter().map(|view| view.number).max().expect("proofs");
    assert_eq!([3, 2, 1, 0].map(|back| of_round(last - back)), [13, 17, 17, 17], "the newest are kept");
    assert!(
        world.peers[0].store.scan(&Key::of_group(Table::Proofs, &group_id())).expect("memory").len() == 64
    );
}
