//! Too much of everything: memory stays bounded, and what is chosen does not depend on the order of arrival.

use dmls_core::epoch::CreatedCommit;
use dmls_core::framing::{Content, DmlsMeta, Proposal, ProposalOrRef, Remove};
use dmls_core::group::{Disposition, Key, Missing, Store, Table};
use dmls_core::schedule::{CommitId, EpochId};
use dmls_core::tree::LeafIndex;
use dmls_tests::{Insider, World};

use super::{group_id, in_head};

fn waiting(world: &World, place: usize) -> (usize, usize) {
    let records = world.peers[place].store.scan(&Key::of_group(Table::Waiting, &group_id())).expect("memory");
    let bytes = records.iter().map(|(_, value)| match value {
        dmls_core::group::Value::Waiting(waiting) => waiting.bytes.len(),
        _ => panic!("a record of another table"),
    });
    (records.len(), bytes.sum())
}

/// A message of an epoch that nobody knows.
pub(crate) fn orphan(insider: &Insider, number: u32, len: usize) -> Vec<u8> {
    let id = [number.to_be_bytes().to_vec(), vec![0; 28]].concat();
    let mut message = dmls_core::framing::PrivateMessage {
        group_id: group_id().0,
        epoch: 1_000,
        content_type: dmls_core::framing::ContentType::Application,
        authenticated_data: Default::default(),
        encrypted_sender_data: vec![1; 28].into(),
        ciphertext: Default::default(),
    };
    message.ciphertext = vec![2; len].into();
    Insider { id: EpochId::from(id), ..insider.clone() }.wrap(message.into())
}

#[test]
fn the_waiting_room_is_bounded_in_number_and_bytes() {
    let mut world = World::new(81, 3);
    world.form();
    let insider = in_head(&world, 0);
    for number in 0..300 {
        let disposition = world.inject(2, &orphan(&insider, number, 100));
        assert!(matches!(disposition, Disposition::Pending { missing: Missing::Epoch(_) }));
    }
    assert_eq!(waiting(&world, 2).0, 256);
    for number in 300..340 {
        world.inject(2, &orphan(&insider, number, 100_000));
        assert!(waiting(&world, 2).1 <= 1 << 20);
    }
    // One that is larger than the room does not stay.
    world.inject(2, &orphan(&insider, 341, (1 << 20) + 1));
    assert!(waiting(&world, 2).1 <= 1 << 20);
    // Real messages come through all the same, and the room is empty in time.
    world.send(0, "through");
    world.spread();
    assert_eq!(world.peers[2].messages().len(), 1);
    world.run(11 * 60_000);
    assert_eq!(waiting(&world, 2), (0, 0));
    assert_eq!(world.peers[2].group().view().expect("a view").waiting, 0);
}

#[test]
fn what_waits_for_an_epoch_is_taken_up_with_it() {
    let mut world = World::new(82, 3);
    world.form();
    let before = world.sent();
    world.refresh(0);
    let commit = world.bytes(before).to_vec();
    for _ in 0..250 {
        world.send(0, "below");
    }
    let below: Vec<Vec<u8>> = (before + 1..world.sent()).map(|index| world.bytes(index).to_vec()).collect();
    for bytes in &below {
        assert!(matches!(world.inject(2, bytes), Disposition::Pending { missing: Missing::Epoch(_) }));
    }
    // Not taken up one inside the other: 250 of them need no deep stack.
    let group = world.peers[2].group().clone();
    let (now, mut rng) = (world.now, world.rng.clone());
    let bytes = commit.clone();
    let small = std::thread::Builder::new().stack_size(512 << 10);
    let taken = small.spawn(move || {
        let input = dmls_core::group::Input::Message(&bytes);
        group.handle(input, now, &mut rng).disposition
    });
    assert_eq!(taken.expect("a thread").join().expect("no overflow"), Some(Disposition::Applied));
    let disposition = world.inject(2, &commit);
    assert_eq!(disposition, Disposition::Applied);
    assert_eq!(world.peers[2].messages().len(), 250);
    assert_eq!(waiting(&world, 2), (0, 0));
    for bytes in &below {
        assert_eq!(world.inject(2, bytes), Disposition::Duplicate);
    }
}

#[test]
fn a_reference_to_another_epochs_proposal_loops_nowhere() {
    let mut world = World::new(83, 3);
    world.form();
    let old = in_head(&world, 0);
    let mut rng = world.rng.clone();
    // A proposal of the old epoch, known to client 2.
    let sent = old.sign(Content::Proposal(Proposal::Remove(Remove { removed: LeafIndex(1) })));
    let reference = sent.proposal_ref(old.epoch.suite()).expect("a reference");
    assert_eq!(world.inject(2, &old.encrypt(&sent, 9, &mut rng)), Disposition::Applied);
    world.refresh(1);
    world.spread();
    let insider = in_head(&world, 0);
    assert_ne!(insider.id, old.id);
    let good = insider.commit(Vec::new(), &mut rng);
    let change = |commit: &mut dmls_core::framing::Commit| {
        commit.proposals.push(ProposalOrRef::Reference(reference));
    };
    let forged = insider.forge(&good, change, 9, &mut rng);
    assert!(matches!(world.inject(2, &forged), Disposition::Pending { missing: Missing::Proposal(_) }));
    // Every message that applies makes the node look through what waits.
    world.send(0, "text");
    world.spread();
    assert_eq!(world.peers[2].messages().len(), 1);
    assert_eq!(waiting(&world, 2).0, 1);
}

#[test]
fn nobodys_proposals_keep_a_commit_out() {
    let mut world = World::new(84, 3);
    world.form();
    let insider = in_head(&world, 0);
    let mut rng = world.rng.clone();
    let proposals: Vec<_> = (0..40)
        .map(|place| {
            let leaf = insider.sign(Content::Proposal(Proposal::Remove(Remove { removed: LeafIndex(1) })));
            // Each is signed for itself: authenticated data makes them differ.
            let mut content = leaf.content;
            content.authenticated_data = vec![place].into();
            let key = insider.epoch.signature_private();
            let context = insider.epoch.context();
            let format = dmls_core::framing::WireFormat::PrivateMessage;
            dmls_core::framing::AuthenticatedContent::sign(
                insider.epoch.suite(),
                format,
                content,
                context,
                key,
            )
            .expect("a signature")
        })
        .collect();
    let mut applied = 0;
    for (place, proposal) in proposals.iter().enumerate() {
        match world.inject(2, &insider.encrypt(proposal, 10 + place as u32, &mut rng)) {
            Disposition::Applied => applied += 1,
            Disposition::Pending { missing: Missing::Commit(_) } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(applied, 16);
    // Another member's proposal still has its place.
    world.act(1, |group, now, rng| group.leave(now, rng).expect("a request"));
    let leave = world.bytes(world.sent() - 1).to_vec();
    assert_eq!(world.inject(2, &leave), Disposition::Applied);
    // A commit that names the last one, which does not fit any more, is taken with it.
    let last = proposals.last().expect("a proposal");
    let mut known = insider.clone();
    known.epoch = known.epoch.with_proposal(last).expect("a good proposal").0;
    let commit = commit_by_reference(&known, last, &mut rng);
    let id = commit.commit.commit_id();
    let disposition = world.inject(2, &known.wrap(commit.message));
    assert!(matches!(
        disposition,
        Disposition::Pending { missing: Missing::Proposal(_) } | Disposition::Applied
    ));
    world.send(0, "any news");
    world.spread();
    let head = world.peers[2].group().history();
    let children: Vec<CommitId> = head.epochs.into_iter().filter_map(|epoch| epoch.commit).collect();
    assert!(children.contains(&id));
}

pub(crate) fn commit_by_reference(
    insider: &Insider,
    proposal: &dmls_core::framing::AuthenticatedContent,
    rng: &mut rand_chacha::ChaCha20Rng,
) -> CreatedCommit {
    use dmls_core::epoch::{CommitRequest, DefaultPolicy, InitSource, NoPsks};
    let suite = insider.epoch.suite();
    let mut evaluate = |conf: &dmls_core::suite::Secret, context: &dmls_core::schedule::GroupContext| {
        insider.init.evaluate(&dmls_core::schedule::child_init_input(suite, conf, context)?)
    };
    let mut request = CommitRequest::new(&NoPsks, &DefaultPolicy);
    request.references = vec![proposal.proposal_ref(suite).expect("a reference")];
    request.meta = Some(DmlsMeta::default());
    insider.epoch.create_commit(&request, InitSource::Dmls(&mut evaluate), rng).expect("a commit")
}

/// Commits of one member on one epoch, by id.
pub(crate) fn commits(
    insider: &Insider,
    count: usize,
    rng: &mut rand_chacha::ChaCha20Rng,
) -> Vec<(CommitId, Vec<u8>)> {
    let mut commits: Vec<_> = (0..count)
        .map(|_| insider.commit(Vec::new(), rng))
        .map(|made| (made.commit.commit_id(), insider.wrap(made.message)))
        .collect();
    commits.sort();
    commits
}

fn children(world: &World, place: usize, at: &EpochId) -> Vec<CommitId> {
    let view = world.peers[place].group().history();
    let epoch = view.epochs.into_iter().find(|epoch| epoch.id == *at).expect("the epoch");
    let known = |child: &dmls_core::group::ChildView| child.epoch.is_some();
    let children = epoch.fork.map(|fork| fork.children).unwrap_or_default();
    let mut children: Vec<_> = children.into_iter().filter(known).map(|child| child.commit).collect();
    children.sort();
    children
}

#[test]
fn many_commits_of_one_member_take_their_turn_by_key() {
    let mut world = World::new(85, 4);
    world.form();
    let insider = in_head(&world, 0);
    let mut rng = world.rng.clone();
    let all = commits(&insider, 8, &mut rng);
    let ids: Vec<_> = all.iter().map(|(id, _)| id.clone()).collect();
    // Smallest first for client 2: two are taken, the others wait.
    for (place, (_, bytes)) in all.iter().enumerate() {
        let expected = if place < 2 { Disposition::Applied } else { Disposition::Quarantined };
        assert_eq!(world.inject(2, bytes), expected, "commit {place}");
    }
    assert_eq!(children(&world, 2, &insider.id), ids[..2]);
    // Largest first for client 3: all are taken, for each is the smallest so far. Nothing is invalid for coming late.
    for (_, bytes) in all.iter().rev() {
        assert_eq!(world.inject(3, bytes), Disposition::Applied);
    }
    assert_eq!(children(&world, 3, &insider.id), ids);
    // One a minute, smallest key first; in the end both know the same.
    for turn in 1..=6 {
        world.run(60_100);
        let known = children(&world, 2, &insider.id);
        assert!(known.len() >= 2 + turn - 1 && known == ids[..known.len()], "turn {turn}: {}", known.len());
    }
    world.run(120_000);
    assert_eq!(children(&world, 2, &insider.id), ids);
    assert_eq!(waiting(&world, 2), (0, 0));
    let (two, three) = (world.peers[2].group(), world.peers[3].group());
    assert_eq!(two.head(), three.head());
    let void = |place: usize| {
        let view = world.peers[place].group().history();
        view.epochs.iter().filter_map(|epoch| Some(epoch.fork.as_ref()?.void)).max()
    };
    assert_eq!((void(2), void(3)), (Some(1), Some(1)), "the equivocator weighs nothing");
}

#[test]
fn a_parent_takes_sixteen_children_at_once() {
    let mut world = World::new(86, 10);
    world.form();
    let mut rng = world.rng.clone();
    let mut all: Vec<_> = (0..9).flat_map(|place| commits(&in_head(&world, place), 2, &mut rng)).collect();
    world.shuffle(&mut all);
    let parent = in_head(&world, 9).id;
    let taken = all.iter().filter(|(_, bytes)| world.inject(9, bytes) == Disposition::Applied).count();
    assert_eq!(children(&world, 9, &parent).len(), taken);
    assert!(taken >= 16, "{taken}");
    assert_eq!(waiting(&world, 9).0, all.len() - taken);
    // Orphans push no quarantined commit out.
    let insider = in_head(&world, 0);
    for number in 0..300 {
        world.inject(9, &orphan(&insider, number, 50));
    }
    assert_eq!(waiting(&world, 9).0, all.len() - taken + 256);
    world.run(4 * 60_000);
    assert_eq!(children(&world, 9, &parent).len(), all.len());
}
