//! Messages that nobody should have sent: each is refused, and changes nothing but the clock.

use dmls_core::codec::{decode, encode};
use dmls_core::framing::{DmlsMessage, MlsMessage, MlsMessageBody, PublicMessage};
use dmls_core::group::{Disposition, Group, Input, Missing, Table, Unreadable};
use dmls_tests::{World, stored_records};

use super::in_head;

/// A world with one message on its way to client 2: a commit, an acknowledgement-like vote, or a text.
fn with_message(seed: u64, what: &str) -> (World, Vec<u8>) {
    let mut world = World::new(seed, 3);
    world.form();
    match what {
        "commit" => world.refresh(0),
        "text" => world.send(0, "some text"),
        _ => world.act(0, |group, now, rng| group.leave(now, rng).expect("a request")),
    }
    let bytes = world.bytes(world.sent() - 1).to_vec();
    (world, bytes)
}

/// Hands bytes to client 2 and checks that nothing has changed.
fn refuse(world: &mut World, bytes: &[u8]) -> Disposition {
    let state = |world: &World| {
        let mut records = stored_records(&world.peers[2].store);
        // Of the group's own record only the clock may change, and it stands still here.
        records.retain(|key, _| key.table != Table::Waiting);
        (records, world.peers[2].group().view(), world.peers[2].group().history())
    };
    let mut before = state(world);
    let disposition = world.inject(2, bytes);
    let mut after = state(world);
    for view in [&mut before.1, &mut after.1] {
        view.as_mut().expect("a view").waiting = 0;
    }
    assert!(before == after, "something changed: {disposition:?}");
    disposition
}

fn refused(world: &mut World, bytes: &[u8]) -> String {
    match refuse(world, bytes) {
        Disposition::Rejected { rule } => rule,
        other => panic!("{other:?}"),
    }
}

fn reworked(bytes: &[u8], change: impl FnOnce(&mut DmlsMessage)) -> Vec<u8> {
    let mut message: DmlsMessage = decode(bytes).expect("a message");
    change(&mut message);
    encode(&message).expect("bytes")
}

fn private(message: &mut DmlsMessage) -> &mut dmls_core::framing::PrivateMessage {
    match &mut message.message.body {
        MlsMessageBody::Private(private) => private,
        _ => panic!("a private message"),
    }
}

#[test]
fn every_flipped_byte_is_refused_and_the_honest_copy_applies() {
    for what in ["commit", "text", "leave"] {
        let (mut world, bytes) = with_message(51, what);
        let step = if bytes.len() > 600 { 7 } else { 1 };
        let mut refusals = std::collections::BTreeMap::<String, usize>::new();
        for place in (0..bytes.len()).step_by(step) {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            let said = match refuse(&mut world, &flipped) {
                Disposition::Rejected { rule } => rule,
                // The epoch id in the header is no more than a hint, and so is the epoch number beside it.
                Disposition::Pending { missing: Missing::Epoch(_) } => "pending".into(),
                Disposition::Expired { reason } => format!("expired: {reason}"),
                other => panic!("byte {place} of a {what}: {other:?}"),
            };
            *refusals.entry(said).or_default() += 1;
        }
        println!("{what}: {refusals:#?}");
        assert!(refusals.len() >= 4);
        assert_eq!(world.inject(2, &bytes), Disposition::Applied, "the honest {what}");
        assert_eq!(world.inject(2, &bytes), Disposition::Duplicate);
    }
}

#[test]
fn truncated_and_trailing_bytes_are_refused() {
    for what in ["commit", "text"] {
        let (mut world, bytes) = with_message(52, what);
        let step = if bytes.len() > 600 { 13 } else { 1 };
        for len in (0..bytes.len()).step_by(step) {
            refused(&mut world, &bytes[..len]);
        }
        assert_eq!(refused(&mut world, &[&bytes[..], &[0]].concat()), "The input has trailing bytes.");
        assert_eq!(refused(&mut world, &[&bytes[..], &bytes[..]].concat()), "The input has trailing bytes.");
        assert_eq!(world.inject(2, &bytes), Disposition::Applied);
    }
}

#[test]
fn messages_of_another_group_or_epoch_are_refused() {
    let (mut world, bytes) = with_message(53, "text");
    let other_group = reworked(&bytes, |message| private(message).group_id = b"another".to_vec().into());
    assert_eq!(refused(&mut world, &other_group), "The message is of another group.");
    let other_number = reworked(&bytes, |message| private(message).epoch += 1);
    let rule = "The message names an epoch id and an epoch number that differ.";
    assert_eq!(refused(&mut world, &other_number), rule);
    let unknown = reworked(&bytes, |message| {
        message.dmls_epoch = vec![7; 32].into();
        private(message).epoch += 1;
    });
    let disposition = refuse(&mut world, &unknown);
    assert!(matches!(disposition, Disposition::Pending { missing: Missing::Epoch(_) }), "{disposition:?}");
    let gone = reworked(&bytes, |message| {
        message.dmls_epoch = vec![7; 32].into();
        private(message).epoch = 0;
    });
    assert_eq!(refuse(&mut world, &gone), Disposition::Expired { reason: Unreadable::BeforeJoining });
    // The header of a real epoch on another epoch's message: it does not open there.
    world.spread();
    world.refresh(1);
    let commit = world.bytes(world.sent() - 1).to_vec();
    let old = DmlsMessage::clone(&decode(&commit).expect("a message")).dmls_epoch;
    world.run(20_000);
    world.send(0, "below");
    let below = world.bytes(world.sent() - 1).to_vec();
    let misrouted = reworked(&below, |message| message.dmls_epoch = old.clone());
    assert_eq!(refused(&mut world, &misrouted), rule);
    let number = DmlsMessage::clone(&decode(&commit).expect("a message"));
    let number = number.message.group_and_epoch().expect("a group message").1;
    let misrouted = reworked(&misrouted, |message| private(message).epoch = number);
    refused(&mut world, &misrouted);
    assert_eq!(world.inject(2, &below), Disposition::Applied);
}

#[test]
fn other_messages_than_private_ones_are_refused() {
    let (mut world, bytes) = with_message(54, "text");
    let insider = in_head(&world, 0);
    let signed = insider.sign(dmls_core::framing::Content::Proposal(dmls_core::framing::Proposal::DmlsMeta(
        Default::default(),
    )));
    let public = PublicMessage {
        content: signed.content,
        auth: signed.auth,
        membership_tag: Some(vec![7; 32].into()),
    };
    let public = insider.wrap(MlsMessage::from(public));
    assert_eq!(refused(&mut world, &public), "A DMLS group takes private messages only.");
    let key_package = world.key_package(1);
    let key_package = MlsMessage::from_bytes(&key_package).expect("a message");
    let wrapped = encode(&DmlsMessage { message: key_package, dmls_epoch: insider.id.0.clone() });
    refused(&mut world, &wrapped.expect("bytes"));
    for garbage in [vec![], vec![0; 1], vec![0xff; 64], b"GET / HTTP/1.1\r\n".to_vec()] {
        refused(&mut world, &garbage);
    }
    assert_eq!(world.inject(2, &bytes), Disposition::Applied);
}

#[test]
fn sizes_are_bounded_before_anything_is_decoded() {
    let (mut world, bytes) = with_message(55, "text");
    let bound = (64 << 10) + 4 * (256 + 32) + 256 * (16 << 10);
    let too_large = "The message is larger than any valid message of this group.";
    let padded = |len: usize| {
        let mut padded = bytes.clone();
        padded.resize(len, 0);
        padded
    };
    assert_eq!(refused(&mut world, &padded(bound + 1)), too_large);
    assert_eq!(refused(&mut world, &padded(bound)), "The input has trailing bytes.");
    // Payloads: one byte more than allowed is not sent, and not taken if somebody sends it all the same.
    let group: &Group = world.peers[0].group();
    let mut rng = world.rng.clone();
    assert!(group.send(&vec![1; (1 << 20) + 1], world.now, &mut rng).is_err());
    world.act(0, |group, now, rng| group.send(&vec![1; 1 << 20], now, rng).expect("the largest payload"));
    let largest = world.bytes(world.sent() - 1).to_vec();
    let insider = in_head(&world, 0);
    let data = |len| dmls_core::framing::DmlsApplication {
        generation: 9,
        heads: Default::default(),
        payload: vec![1; len].into(),
    };
    let mut rng = world.rng.clone();
    let mut send = |len| {
        let content = dmls_core::framing::Content::Application(encode(&data(len)).expect("bytes").into());
        insider.send(content, 9, &mut rng)
    };
    let (over, at) = (send((1 << 20) + 1), send(1 << 20));
    assert_eq!(refused(&mut world, &over), "The payload is larger than a payload may be.");
    assert_eq!(world.inject(2, &largest), Disposition::Applied);
    assert_eq!(world.inject(2, &at), Disposition::Applied);
    assert_eq!(world.inject(2, &bytes), Disposition::Applied);
}

#[test]
fn a_dropped_step_has_not_happened() {
    let (mut world, bytes) = with_message(56, "commit");
    let before = (stored_records(&world.peers[2].store), world.peers[2].group().view());
    let mut rng = world.rng.clone();
    let step = world.peers[2].group().handle(Input::Message(&bytes), world.now, &mut rng);
    assert_eq!(step.disposition, Some(Disposition::Applied));
    drop(step);
    assert!(before == (stored_records(&world.peers[2].store), world.peers[2].group().view()));
    assert_eq!(world.inject(2, &bytes), Disposition::Applied);
}

#[test]
fn garbage_makes_nobody_write() {
    let (mut world, bytes) = with_message(57, "text");
    assert_eq!(world.inject(2, &bytes), Disposition::Applied);
    // No timer is due in this time.
    let until = world.peers[2].group().next_deadline().unwrap_or(u64::MAX);
    world.now = (world.now + 5_000).min(until - 1);
    let mut rng = world.rng.clone();
    for bad in [&bytes[..], &bytes[1..], b"garbage", b""] {
        let step = world.peers[2].group().handle(Input::Message(bad), world.now, &mut rng);
        assert!(step.changes.is_empty() && step.effects.is_empty(), "{:?}", step.disposition);
    }
    // Control: what applies is written.
    world.send(0, "more");
    let more = world.bytes(world.sent() - 1).to_vec();
    let step = world.peers[2].group().handle(Input::Message(&more), world.now, &mut rng);
    assert!(!step.changes.is_empty() && step.disposition == Some(Disposition::Applied));
}
