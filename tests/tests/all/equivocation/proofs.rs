//! What a proof must show, and what shows nothing.

use dmls_core::codec::{decode, encode};
use dmls_core::framing::{
    Content, DmlsMeta, EquivocationProof, ProofError, Proposal, Sender, Statement, verify_equivocation,
};
use dmls_core::group::Disposition;
use dmls_core::suite::CryptoError;
use dmls_core::tree::LeafIndex;
use dmls_tests::World;

use super::{key_of, proofs, two_commits};
use crate::attack::in_head;

/// A proof that a group has made of two commits of member 3.
fn good() -> (World, EquivocationProof, Vec<u8>) {
    let mut world = World::new(211, 4);
    world.form();
    let parent = world.peers[3].group().head().clone();
    for bytes in two_commits(&mut world, 3) {
        assert_eq!(world.inject(0, &bytes), Disposition::Applied);
    }
    let group = world.peers[0].group();
    let view = proofs(group).pop().expect("a proof");
    assert_eq!(view.member.fingerprint, world.peers[3].client.fingerprint());
    let bytes = group.proof(&view.id).expect("a proof").bytes.as_slice().to_vec();
    let proof: EquivocationProof = decode(&bytes).expect("a proof");
    assert_eq!(proof.fork, *crate::attack::insider(&world, 0, &parent).epoch.context());
    (world, proof, bytes)
}

#[test]
fn anybody_verifies_it_against_the_key() {
    let (world, proof, bytes) = good();
    assert_eq!(verify_equivocation(&bytes, &key_of(&world, 3)).as_ref(), Ok(&proof));
    for other in [0, 1, 2] {
        assert_eq!(verify_equivocation(&bytes, &key_of(&world, other)), Err(ProofError::OtherKey));
        // With another's key in it, the signatures are not of that key.
        let framed = EquivocationProof { key: key_of(&world, other), ..proof.clone() };
        let refused = framed.verify(&key_of(&world, other));
        assert_eq!(refused, Err(ProofError::Signature(CryptoError::BadSignature)));
    }
}

#[test]
fn no_bit_of_it_can_be_another() {
    let (world, proof, bytes) = good();
    let key = key_of(&world, 3);
    // The tags of its commits are not what it says, and prove nothing.
    let tags: Vec<Vec<u8>> = [&proof.one, &proof.other]
        .map(|statement| statement.message.auth.confirmation_tag.clone().expect("a tag").as_slice().to_vec())
        .to_vec();
    let fork_tag = proof.confirmation_tag.as_slice().to_vec();
    let is_tag = |place: usize| {
        tags.iter().chain([&fork_tag]).any(|tag| {
            let at = bytes.windows(tag.len()).position(|window| window == tag).expect("a tag");
            (at..at + tag.len()).contains(&place)
        })
    };
    let mut refused = 0;
    for place in (0..bytes.len()).filter(|place| !is_tag(*place)) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        assert!(verify_equivocation(&flipped, &key).is_err(), "byte {place}");
        refused += 1;
    }
    assert!(refused > 1000);
    for len in 0..bytes.len() {
        assert!(matches!(verify_equivocation(&bytes[..len], &key), Err(ProofError::Codec(_))));
    }
    let long = vec![0; dmls_core::framing::MAX_PROOF_LEN + 1];
    assert_eq!(verify_equivocation(&long, &key), Err(ProofError::TooLong));
    assert!(verify_equivocation(&bytes, &key).is_ok(), "control");
}

#[test]
fn each_rule_of_proofs_is_enforced() {
    let (world, proof, _) = good();
    let key = key_of(&world, 3);
    let check = |change: &dyn Fn(&mut EquivocationProof)| {
        let mut changed = proof.clone();
        change(&mut changed);
        let bytes = encode(&changed).expect("bytes");
        verify_equivocation(&bytes, &key).expect_err("it proves nothing")
    };
    assert_eq!(check(&|proof| proof.other = proof.one.clone()), ProofError::NoContradiction);
    let retagged = |proof: &mut EquivocationProof| {
        proof.other = proof.one.clone();
        proof.other.message.auth.confirmation_tag = Some(vec![1; 32].into());
    };
    assert_eq!(check(&retagged), ProofError::NoContradiction);
    let two_senders = |proof: &mut EquivocationProof| {
        proof.other.message.content.sender = Sender::Member(LeafIndex(0));
    };
    assert_eq!(check(&two_senders), ProofError::TwoSenders);
    assert_eq!(check(&|proof| proof.fork.epoch += 1), ProofError::NotOfTheEpoch);
    let other_tree = |proof: &mut EquivocationProof| proof.fork.tree_hash = vec![1; 32].into();
    assert_eq!(check(&other_tree), ProofError::Signature(CryptoError::BadSignature));
    let plain = |proof: &mut EquivocationProof| proof.fork.extensions = Default::default();
    assert_eq!(check(&plain), ProofError::NotOfTheEpoch);
    // An acknowledgement in the fork point itself names nothing there.
    let own = in_head(&world, 3);
    let ack = own.sign(Content::Proposal(Proposal::DmlsMeta(DmlsMeta::default())));
    let names_nothing = |proof: &mut EquivocationProof| {
        proof.other = Statement { message: ack.clone(), below: None };
    };
    assert_eq!(check(&names_nothing), ProofError::NamesNothing);
}
