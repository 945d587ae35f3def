//! RFC 9420 6: which messages an epoch takes.

use super::world::*;
use crate::codec::Bytes;
use crate::epoch::*;
use crate::framing::*;
use crate::schedule::{RatchetError, Windows};
use crate::tree::*;

fn open(world: &World, message: &MlsMessage) -> Result<Opened, OpenError> {
    world.clients[1].epoch.open(message, Windows::default())
}

#[test]
fn messages_of_other_groups_and_epochs() {
    let mut world = World::plain(&["a", "b"]);
    for sending in [public(), private()] {
        let content = || Content::Proposal(remove(1));
        let sealed = world.clients[0].epoch.seal(content(), &sending, &mut world.rng).unwrap();
        open(&world, &sealed.message).unwrap();
        let changed = |group: Option<Bytes>, epoch: Option<u64>| {
            let mut message = sealed.message.clone();
            match &mut message.body {
                MlsMessageBody::Public(m) => {
                    m.content.group_id = group.clone().unwrap_or(m.content.group_id.clone());
                    m.content.epoch = epoch.unwrap_or(m.content.epoch);
                }
                MlsMessageBody::Private(m) => {
                    m.group_id = group.clone().unwrap_or(m.group_id.clone());
                    m.epoch = epoch.unwrap_or(m.epoch);
                }
                other => panic!("{other:?}"),
            }
            open(&world, &message).unwrap_err()
        };
        assert_eq!(changed(Some(vec![1].into()), None), OpenError::WrongGroup);
        assert_eq!(changed(None, Some(0)), OpenError::WrongEpoch(0));
    }
    let key_package = world.bundle("x").key_package;
    let refused = open(&world, &key_package.into()).unwrap_err();
    assert_eq!(refused, OpenError::NotAGroupMessage(WireFormat::KeyPackage));
}

#[test]
fn signatures_and_senders() {
    let mut world = World::plain(&["a", "b"]);
    let bundle = world.bundle("x");
    let epoch = world.clients[0].epoch.clone();
    let key = epoch.secrets().membership_key.clone();
    let protect = |content: AuthenticatedContent| {
        MlsMessage::from(PublicMessage::protect(world.suite, content, epoch.context(), &key).unwrap())
    };
    let good = epoch.sign(Content::Proposal(remove(1)), &public()).unwrap();
    open(&world, &protect(good.clone())).unwrap();
    let changed = |change: &dyn Fn(&mut AuthenticatedContent)| {
        let mut content = good.clone();
        change(&mut content);
        open(&world, &protect(content)).unwrap_err()
    };
    // The tag is right in each: members know its key. The signature tells them apart.
    assert_eq!(changed(&|c| c.content.sender = Sender::Member(LeafIndex(1))), OpenError::Signature);
    assert_eq!(changed(&|c| c.content.content = Content::Proposal(remove(0))), OpenError::Signature);
    assert_eq!(
        changed(&|c| c.content.sender = Sender::Member(LeafIndex(5))),
        OpenError::UnknownMember(LeafIndex(5))
    );
    assert_eq!(changed(&|c| c.content.sender = Sender::External(0)), OpenError::UnknownExternalSender(0));
    assert_eq!(changed(&|c| c.content.sender = Sender::NewMemberProposal), OpenError::SenderContent);
    assert_eq!(changed(&|c| c.content.sender = Sender::NewMemberCommit), OpenError::SenderContent);
    assert_eq!(
        changed(&|c| {
            c.content.sender = Sender::NewMemberProposal;
            c.content.content = Content::Proposal(add(&bundle));
        }),
        OpenError::Signature
    );
}

#[test]
fn a_message_that_fails_consumes_nothing_and_one_that_opens_is_opened_once() {
    let mut world = World::plain(&["a", "b"]);
    let data = Content::Application(b"hello".as_slice().into());
    let sealed = world.clients[0].epoch.seal(data, &private(), &mut world.rng).unwrap();
    let mut broken = sealed.message.clone();
    let MlsMessageBody::Private(message) = &mut broken.body else { panic!() };
    let mut ciphertext = message.ciphertext.as_slice().to_vec();
    *ciphertext.last_mut().unwrap() ^= 1;
    message.ciphertext = ciphertext.into();
    assert_eq!(open(&world, &broken).unwrap_err(), OpenError::Framing(FramingError::Ciphertext));
    let opened = open(&world, &sealed.message).unwrap();
    open(&world, &sealed.message).unwrap();
    let epoch = world.clients[1].epoch.consume(opened.key.unwrap(), Windows::default()).unwrap();
    let again = epoch.open(&sealed.message, Windows::default()).unwrap_err();
    assert_eq!(again, OpenError::Ratchet(RatchetError::AlreadyUsed(opened.key.unwrap().generation)));
}

#[test]
fn what_cannot_be_sealed() {
    let mut world = World::plain(&["a", "b"]);
    let epoch = world.clients[0].epoch.clone();
    let commit = Content::Commit(Commit { proposals: vec![], path: None });
    assert_eq!(epoch.seal(commit, &private(), &mut world.rng).unwrap_err(), SealError::Commit);
    let data = || Content::Application(vec![1].into());
    let refused = epoch.seal(data(), &public(), &mut world.rng).unwrap_err();
    assert_eq!(refused, SealError::Framing(FramingError::PublicApplication));
    let refused = epoch.seal(Content::Proposal(remove(7)), &private(), &mut world.rng).unwrap_err();
    assert_eq!(refused, SealError::Proposal(ProposalListError::RemoveBlank(LeafIndex(7))));
    epoch.seal(data(), &private(), &mut world.rng).unwrap();
    let content = epoch.sign(data(), &private()).unwrap();
    assert_eq!(epoch.with_proposal(&content).unwrap_err(), ProposalListError::NotAProposal);
}
