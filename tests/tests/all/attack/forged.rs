//! Messages of a member who has all keys of an epoch and keeps no rule.

use dmls_core::codec::encode;
use dmls_core::framing::{
    Commit, Content, DmlsApplication, DmlsMeta, ExternalInit, Merge, Proposal, ProposalOrRef, Remove, Sender,
};
use dmls_core::group::{Disposition, Event, Missing, Unreadable};
use dmls_core::tree::LeafIndex;
use dmls_tests::{Insider, World, meta_of, stored_records};
use rand_chacha::ChaCha20Rng;

use super::{group_id, in_head};

/// Three members; the attacker is member 0, and the others have no timers due.
fn world(seed: u64) -> (World, Insider) {
    let mut world = World::new(seed, 3);
    world.form();
    let insider = in_head(&world, 0);
    (world, insider)
}

fn refused(world: &mut World, bytes: &[u8]) -> String {
    let before = stored_records(&world.peers[2].store);
    match world.inject(2, bytes) {
        Disposition::Rejected { rule } => {
            assert!(stored_records(&world.peers[2].store) == before, "something changed: {rule}");
            rule
        }
        other => panic!("{other:?}"),
    }
}

/// A forged commit is refused for its own reason, the good one that it was made from applies.
fn forged_commit(seed: u64, change: impl Fn(&mut Commit), rule: &str) {
    let (mut world, insider) = world(seed);
    let mut rng: ChaCha20Rng = world.rng.clone();
    let good = insider.commit(Vec::new(), &mut rng);
    let forged = insider.forge(&good, change, 5, &mut rng);
    assert_eq!(refused(&mut world, &forged), rule);
    assert_eq!(world.inject(2, &insider.wrap(good.message)), Disposition::Applied, "control: {rule}");
}

fn add(commit: &mut Commit, proposal: Proposal) {
    commit.proposals.push(ProposalOrRef::Proposal(proposal));
}

#[test]
fn each_rule_of_dmls_commits_is_enforced() {
    forged_commit(
        61,
        |commit| meta_of(commit).conf = Some(vec![9; 32].into()),
        "The commit's confirmation is not that of its path.",
    );
    forged_commit(
        62,
        |commit| meta_of(commit).conf = None,
        "The dmls_meta proposal of a commit has no confirmation.",
    );
    forged_commit(
        63,
        |commit| meta_of(commit).vote = Some(vec![1; 32].into()),
        "The dmls_meta proposal of a commit has a vote.",
    );
    forged_commit(64, |commit| commit.proposals.clear(), "The commit has no dmls_meta proposal.");
    forged_commit(
        65,
        |commit| add(commit, Proposal::DmlsMeta(DmlsMeta::default())),
        "The commit has more than one dmls_meta proposal.",
    );
    forged_commit(66, |commit| commit.path = None, "The commit must have a path.");
    forged_commit(
        67,
        |commit| add(commit, Proposal::ExternalInit(ExternalInit { kem_output: vec![1; 32].into() })),
        "An ExternalInit is only valid in an external commit.",
    );
    forged_commit(
        68,
        |commit| add(commit, Proposal::Remove(Remove { removed: LeafIndex(0) })),
        "The commit removes the committer.",
    );
    // Signed again without any other change, the tag is that of another transcript.
    forged_commit(69, |commit| meta_of(commit).since = vec![3; 32].into(), "The confirmation tag is wrong.");
}

#[test]
fn a_bad_tag_condemns_its_copy_only() {
    let (mut world, insider) = world(70);
    let mut rng = world.rng.clone();
    let good = insider.commit(Vec::new(), &mut rng);
    let mut bad = good.content.clone();
    bad.auth.confirmation_tag = Some(vec![0; 32].into());
    // The signature does not cover the tag: anybody can make this copy of an honest commit.
    let copy = in_head(&world, 1).encrypt(&bad, 3, &mut rng);
    assert_eq!(refused(&mut world, &copy), "The confirmation tag is wrong.");
    bad.auth.confirmation_tag = None;
    assert_eq!(world.inject(2, &insider.wrap(good.message)), Disposition::Applied);
}

#[test]
fn a_bad_signature_and_a_foreign_one_are_refused() {
    let (mut world, insider) = world(71);
    let mut rng = world.rng.clone();
    let good = insider.sign(Content::Proposal(Proposal::DmlsMeta(DmlsMeta::default())));
    let mut bad = good.clone();
    bad.auth.signature = vec![1; 64].into();
    assert_eq!(
        refused(&mut world, &insider.encrypt(&bad, 7, &mut rng)),
        "The message's signature is invalid."
    );
    // Another member's name under the attacker's signature.
    let mut foreign = good.clone();
    foreign.content.sender = Sender::Member(LeafIndex(1));
    assert_eq!(
        refused(&mut world, &insider.encrypt(&foreign, 7, &mut rng)),
        "The message's signature is invalid."
    );
    assert_eq!(world.inject(2, &insider.encrypt(&good, 7, &mut rng)), Disposition::Applied);
}

#[test]
fn a_meta_by_reference_is_refused() {
    let (mut world, insider) = world(72);
    let mut rng = world.rng.clone();
    let sent = insider.sign(Content::Proposal(Proposal::DmlsMeta(DmlsMeta::default())));
    let reference = sent.proposal_ref(insider.epoch.suite()).expect("a reference");
    assert_eq!(world.inject(2, &insider.encrypt(&sent, 7, &mut rng)), Disposition::Applied);
    let good = insider.commit(Vec::new(), &mut rng);
    let forged = insider.forge(
        &good,
        |commit| commit.proposals = vec![ProposalOrRef::Reference(reference)],
        5,
        &mut rng,
    );
    // It is kept as evidence and never as something to commit: the commit refers to nothing.
    let disposition = world.inject(2, &forged);
    assert!(matches!(disposition, Disposition::Pending { missing: Missing::Proposal(_) }), "{disposition:?}");
    assert_eq!(world.inject(2, &insider.wrap(good.message)), Disposition::Applied);
    world.run(11 * 60_000);
    assert_eq!(world.peers[2].group().view().expect("a view").waiting, 0);
}

#[test]
fn votes_have_their_shape() {
    let (mut world, insider) = world(73);
    let mut rng = world.rng.clone();
    let id = |byte: u8| Some(vec![byte; 32].into());
    let head = dmls_core::framing::TruncatedId([1; 16]);
    let shapes = [
        DmlsMeta { vote: Some(vec![1; 31].into()), ..Default::default() },
        DmlsMeta { vote: Some(Vec::new().into()), ..Default::default() },
        DmlsMeta { vote: id(1), heads: dmls_core::framing::Heads(vec![head]), ..Default::default() },
        DmlsMeta { conf: id(2), ..Default::default() },
        DmlsMeta {
            merge: Some(Merge {
                fork_epoch: vec![1; 32].into(),
                tips: Vec::new(),
                carried_hash: vec![2; 32].into(),
                deferred: Vec::new(),
                healed: Vec::new(),
            }),
            ..Default::default()
        },
    ];
    for (place, meta) in shapes.into_iter().enumerate() {
        let bytes = insider.send(Content::Proposal(Proposal::DmlsMeta(meta)), 20 + place as u32, &mut rng);
        let rule = refused(&mut world, &bytes);
        assert!(rule.starts_with("A vote names") || rule.starts_with("A DmlsMeta that"), "{rule}");
    }
    let vote = DmlsMeta { vote: id(1), ..Default::default() };
    let vote = insider.send(Content::Proposal(Proposal::DmlsMeta(vote)), 30, &mut rng);
    assert_eq!(world.inject(2, &vote), Disposition::Applied);
}

#[test]
fn handshake_generations_end_at_1024() {
    let (mut world, insider) = world(74);
    let mut rng = world.rng.clone();
    let signed = insider.sign(Content::Proposal(Proposal::DmlsMeta(DmlsMeta::default())));
    for generation in [1024, 5000, u32::MAX] {
        let bytes = insider.encrypt_as(&signed, 0, generation, &mut rng);
        assert_eq!(
            refused(&mut world, &bytes),
            format!("Handshake generation {generation} is not below 1024.")
        );
    }
    assert_eq!(world.inject(2, &insider.encrypt(&signed, 1023, &mut rng)), Disposition::Applied);
}

fn text(insider: &Insider, generation: u32, payload: &str) -> dmls_core::framing::AuthenticatedContent {
    let data = DmlsApplication { generation, heads: Default::default(), payload: payload.as_bytes().into() };
    insider.sign(Content::Application(encode(&data).expect("bytes").into()))
}

#[test]
fn application_messages_come_once_at_their_own_generation() {
    let (mut world, insider) = world(75);
    let mut rng = world.rng.clone();
    let first = text(&insider, 0, "first");
    let bytes = insider.encrypt(&first, 0, &mut rng);
    assert_eq!(world.inject(2, &bytes), Disposition::Applied);
    assert_eq!(world.inject(2, &bytes), Disposition::Duplicate);
    // The same under the same key with another reuse guard: other bytes, the key is gone.
    refused(&mut world, &insider.encrypt(&first, 0, &mut rng));
    // Another member encrypts it again at the sender's next generation: refused, and that key is not used up.
    let again = in_head(&world, 1).encrypt(&first, 1, &mut rng);
    let rule = "The message was encrypted at another generation than it was signed for.";
    assert_eq!(refused(&mut world, &again), rule);
    assert_eq!(
        world.inject(2, &insider.encrypt(&text(&insider, 1, "second"), 1, &mut rng)),
        Disposition::Applied
    );
    let texts: Vec<_> = world.peers[2].messages().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn application_windows_hold() {
    let (mut world, insider) = world(76);
    let mut rng = world.rng.clone();
    let mut send =
        |generation: u32| insider.encrypt(&text(&insider, generation, "text"), generation, &mut rng);
    let far = send(1001);
    let (first, late) = (send(0), send(5));
    let missing = Missing::Generation { sender: LeafIndex(0), generation: 1001 };
    assert_eq!(world.inject(2, &far), Disposition::Pending { missing });
    // Reconciled: what is older than 100 generations is given up.
    assert_eq!(world.inject(2, &first), Disposition::Applied);
    assert!(
        world.peers[2].group().view().expect("a view").waiting == 0,
        "1001 was taken up when it came in reach"
    );
    assert_eq!(world.inject(2, &late), Disposition::Expired { reason: Unreadable::Key });
    let delivered = world.peers[2].messages().len();
    assert_eq!(delivered, 2);
    // Catching up, nothing is given up.
    world.now += 120_000;
    let early: Vec<Vec<u8>> = [1800, 1100, 1500].into_iter().map(&mut send).collect();
    for bytes in &early {
        assert_eq!(world.inject(2, bytes), Disposition::Applied);
    }
    world.spread();
    assert_eq!(world.inject(2, &send(1699)), Disposition::Expired { reason: Unreadable::Key });
    assert_eq!(world.inject(2, &send(1701)), Disposition::Applied);
}

#[test]
fn a_message_out_of_reach_is_dropped_in_time() {
    let (mut world, insider) = world(77);
    let mut rng = world.rng.clone();
    let far = insider.encrypt(&text(&insider, 3000, "far"), 3000, &mut rng);
    assert!(matches!(world.inject(2, &far), Disposition::Pending { .. }));
    // Reconciling again and again does not keep it.
    for _ in 0..12 {
        world.run(60_000);
    }
    assert_eq!(world.peers[2].group().view().expect("a view").waiting, 0);
    assert!(!world.peers[2].events.iter().any(|event| matches!(event, Event::Message { .. })));
    let waiting = dmls_core::group::Key::of_group(dmls_core::group::Table::Waiting, &group_id());
    let left = dmls_core::group::Store::scan(&world.peers[2].store, &waiting).expect("memory");
    assert!(left.is_empty());
}
