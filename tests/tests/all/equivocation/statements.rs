//! Which pairs of messages prove something, and which do not.

use dmls_core::framing::{Content, DmlsMeta, Proposal, Remove};
use dmls_core::group::Disposition;
use dmls_core::schedule::EpochId;
use dmls_core::tree::LeafIndex;
use dmls_tests::{Insider, World};

use super::{equivocations, key, proofs, proved, tell, verified};
use crate::attack::{in_head, insider};

fn meta(vote: Option<Vec<u8>>, since: &[u8]) -> Content {
    let vote = vote.map(Into::into);
    Content::Proposal(Proposal::DmlsMeta(DmlsMeta {
        vote,
        since: since.to_vec().into(),
        ..Default::default()
    }))
}

/// A group of five with a fork of members 1 and 2 that everybody knows and nobody has voted on. The fork point and the
/// two epochs below, as member 3 has them.
fn fork(seed: u64) -> (World, Insider, [Insider; 2]) {
    let mut world = World::new(seed, 5);
    world.form();
    let parent = in_head(&world, 3).id;
    world.cut(&[0, 1, 2, 0, 0]);
    let mut commits: Vec<Vec<u8>> = Vec::new();
    let mut children: Vec<EpochId> = Vec::new();
    for by in [1, 2] {
        world.refresh(by);
        commits.push(world.bytes(world.sent() - 1).to_vec());
        children.push(world.peers[by].group().head().clone());
    }
    for bytes in &commits {
        for to in [0, 3, 4] {
            assert_eq!(world.inject(to, bytes), Disposition::Applied);
        }
    }
    let below = [0, 1].map(|n: usize| insider(&world, 3, &children[n]));
    let at = insider(&world, 3, &parent);
    (world, at, below)
}

#[test]
fn every_pair_that_names_two_children_is_a_proof() {
    let (mut world, at, [left, right]) = fork(201);
    let mut rng = world.rng.clone();
    let id = |below: &Insider| below.epoch.commit_id().0.as_slice().to_vec();
    let own = at.commit(Vec::new(), &mut rng);
    let statements: Vec<(&str, &str, Vec<u8>)> = vec![
        ("commit", "own", at.wrap(own.message)),
        ("vote", "left", at.send(meta(Some(id(&left)), &[]), 40, &mut rng)),
        ("vote", "right", at.send(meta(Some(id(&right)), &[]), 41, &mut rng)),
        ("vote", "nowhere", at.send(meta(Some(vec![7; 32]), &[]), 42, &mut rng)),
        ("below", "left", left.send(meta(None, &[]), 43, &mut rng)),
        ("below", "right", right.send(meta(None, &[]), 44, &mut rng)),
    ];
    let guilty = key(&at);
    let mut pairs = 0;
    for (place, (_, one, first)) in statements.iter().enumerate() {
        for (_, other, second) in &statements[place + 1..] {
            let (group, events) = tell(&mut world, 0, &[first.clone(), second.clone()]);
            let contradict = usize::from(one != other);
            assert_eq!(equivocations(&events), contradict, "{one} and {other}");
            assert_eq!(
                (proved(&events), proofs(&group).len()),
                (contradict, contradict),
                "{one} and {other}"
            );
            for view in proofs(&group) {
                let proof = verified(&group, &view, &guilty);
                assert_eq!(proof.fork, *at.epoch.context());
                assert_eq!(view.number, at.epoch.context().epoch);
                pairs += 1;
            }
        }
    }
    assert_eq!(pairs, 13, "all but two pairs of the 15 contradict each other");
}

#[test]
fn one_content_in_many_copies_proves_nothing() {
    let (mut world, at, [left, _]) = fork(202);
    let mut rng = world.rng.clone();
    let own = at.commit(Vec::new(), &mut rng);
    let mut bad_tag = own.content.clone();
    bad_tag.auth.confirmation_tag = Some(vec![0; 32].into());
    let ack = left.sign(meta(None, &[]));
    for copies in [
        vec![at.encrypt(&own.content, 50, &mut rng), at.encrypt(&own.content, 51, &mut rng)],
        vec![at.encrypt(&bad_tag, 52, &mut rng), at.wrap(own.message.clone())],
        vec![left.encrypt(&ack, 53, &mut rng), left.encrypt(&ack, 54, &mut rng)],
    ] {
        let (group, events) = tell(&mut world, 0, &copies);
        assert_eq!((equivocations(&events), proofs(&group).len()), (0, 0));
    }
    // Control: with another content it is a proof.
    let second = at.commit(Vec::new(), &mut rng);
    let (group, events) = tell(&mut world, 0, &[at.wrap(own.message), at.wrap(second.message)]);
    assert_eq!((equivocations(&events), proofs(&group).len()), (1, 1));
}

#[test]
fn a_since_and_a_doubtful_identity_are_not_proved_to_others() {
    let (mut world, at, [left, right]) = fork(204);
    let mut rng = world.rng.clone();
    let vote = at.send(meta(Some(left.epoch.commit_id().0.as_slice().to_vec()), &[]), 60, &mut rng);
    // `since` names the fork point: this is how an honest member moves over.
    let moved = right.send(meta(None, at.id.0.as_slice()), 61, &mut rng);
    let (group, events) = tell(&mut world, 0, &[vote.clone(), moved]);
    assert_eq!((equivocations(&events), proofs(&group).len()), (0, 0));
    // A `since` that is no ancestor counts as none: members see two names, and can prove that to nobody else.
    let garbled = right.send(meta(None, &[9; 32]), 62, &mut rng);
    let (group, events) = tell(&mut world, 0, &[vote.clone(), garbled]);
    assert_eq!((equivocations(&events), proofs(&group).len()), (1, 0));
    // A new incarnation of the same member on the same leaf would be innocent, so the way must show that it is none.
    for by_reference in [true, false] {
        let mut world = fork(204).0;
        let fourth = insider(&world, 4, &at.id);
        let remove = Proposal::Remove(Remove { removed: LeafIndex(2) });
        let ask = fourth.sign(Content::Proposal(remove.clone()));
        let ask_bytes = fourth.encrypt(&ask, 63, &mut rng);
        let commit = if by_reference {
            let mut known = fourth.clone();
            known.epoch = known.epoch.with_proposal(&ask).expect("a good proposal").0;
            crate::attack::flood::commit_by_reference(&known, &ask, &mut rng)
        } else {
            fourth.commit(vec![remove], &mut rng)
        };
        let id = commit.commit.commit_id();
        let commit = fourth.wrap(commit.message);
        assert_eq!(world.inject(3, &ask_bytes), Disposition::Applied);
        assert_eq!(world.inject(3, &commit), Disposition::Applied);
        let history = world.peers[3].group().history();
        let child =
            history.epochs.iter().find(|epoch| epoch.commit.as_ref() == Some(&id)).expect("the child");
        let ack = insider(&world, 3, &child.id).send(meta(None, &[]), 64, &mut rng);
        let (group, events) = tell(&mut world, 0, &[ask_bytes, commit, vote.clone(), ack]);
        assert_eq!((equivocations(&events), proofs(&group).len()), (1, usize::from(!by_reference)));
    }
}

#[test]
fn who_has_moved_over_says_so_even_when_the_fork_point_is_gone() {
    let mut world = World::new(205, 4);
    world.form();
    let fork = world.peers[3].group().head().clone();
    world.cut(&[0, 0, 0, 1]);
    world.refresh(1);
    world.refresh(3);
    world.run(20_000);
    world.heal();
    world.run(60_000);
    for by in 0..4 {
        world.refresh(by);
        world.run(15 * 60_000);
    }
    let history = world.peers[3].group().history();
    assert!(history.epochs.iter().all(|epoch| epoch.id != fork), "the fork point is gone");
    let mut since = |by: usize| {
        let at = in_head(&world, by);
        world.refresh(by);
        let commit = at.stage(world.bytes(world.sent() - 1)).expect("a commit");
        world.run(30_000);
        commit.meta().expect("a DMLS commit").since.clone()
    };
    // Whoever retains the fork point for longer would else see member 3 name two children there.
    assert_eq!(since(3), fork.0);
    assert!(since(1).is_empty(), "control");
}
