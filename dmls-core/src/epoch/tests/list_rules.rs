//! RFC 9420 12.1, 12.2: each test breaks one rule of the list, in a commit signed by a member.

use super::world::*;
use crate::codec::Bytes;
use crate::epoch::{
    CommitError, Committer, CreateError, DefaultPolicy, ProposalListError as E, Purpose, SentProposal,
    SharedKey,
};
use crate::framing::*;
use crate::schedule::{PreSharedKeyId, PskType, ResumptionPskUsage};
use crate::suite::SignaturePublicKey;
use crate::tree::*;

/// What a receiver says of a list that `a` commits by value, and `a` itself when it is to make the commit.
fn refused(world: &mut World, proposals: Vec<Proposal>) -> E {
    let by_value = proposals.iter().cloned().map(ProposalOrRef::Proposal).collect();
    let content = world.forge(0, Commit { proposals: by_value, path: None });
    let received = world.clients[1].epoch.stage_commit(&content, &DefaultPolicy).unwrap_err();
    let CommitError::List(error) = received else { panic!("{received}") };
    let made = world.create(0, &world.request(proposals)).unwrap_err();
    assert_eq!(made, CreateError::Commit(CommitError::List(error.clone())));
    error
}

/// The same list is not refused for its proposals.
fn accepted(world: &mut World, proposals: Vec<Proposal>) {
    let created = world.create(0, &world.request(proposals)).unwrap();
    world.clients[1].epoch.stage_commit(&created.content, &DefaultPolicy).unwrap();
}

fn psk(psktype: PskType, nonce: usize) -> Proposal {
    let psk_nonce = vec![1; nonce].into();
    Proposal::PreSharedKey(PreSharedKey { psk: PreSharedKeyId { psktype, psk_nonce } })
}

fn resumption(usage: ResumptionPskUsage) -> PskType {
    PskType::Resumption { usage, psk_group_id: b"group".to_vec().into(), psk_epoch: 1 }
}

fn extensions(extensions: Vec<Extension>) -> Proposal {
    Proposal::GroupContextExtensions(GroupContextExtensions { extensions: Extensions(extensions) })
}

fn extension(extension_type: ExtensionType, data: &[u8]) -> Extension {
    Extension { extension_type, extension_data: data.into() }
}

fn reinit(version: u16) -> Proposal {
    Proposal::ReInit(ReInit {
        group_id: b"next".to_vec().into(),
        version: ProtocolVersion(version),
        cipher_suite: crate::suite::CipherSuite(1),
        extensions: Extensions::default(),
    })
}

#[test]
fn updates_and_removes() {
    let mut world = World::plain(&["a", "b", "c"]);
    let update = world.update_of(0);
    assert_eq!(refused(&mut world, vec![update]), E::CommitterUpdates);
    assert_eq!(refused(&mut world, vec![remove(0)]), E::CommitterRemoved);
    assert_eq!(refused(&mut world, vec![remove(2), remove(2)]), E::DuplicateLeaf(LeafIndex(2)));
    assert_eq!(refused(&mut world, vec![remove(3)]), E::RemoveBlank(LeafIndex(3)));
    assert_eq!(refused(&mut world, vec![remove(u32::MAX)]), E::RemoveBlank(LeafIndex(u32::MAX)));
    accepted(&mut world, vec![remove(2)]);
    // An Update and a Remove of one leaf; each of them is well alone.
    let proposal = world.update_of(2);
    let sent = |proposal, sender| SentProposal {
        sender: Sender::Member(LeafIndex(sender)),
        proposal,
        reference: None,
    };
    let both = [sent(proposal, 2), sent(remove(2), 0)];
    let state = world.clients[1].epoch.public().clone();
    let check = |list: &[_]| state.check_list(Committer::Member(LeafIndex(0)), list, Purpose::Ordinary);
    assert_eq!(check(&both), Err(E::DuplicateLeaf(LeafIndex(2))));
    check(&both[..1]).unwrap();
    check(&both[1..]).unwrap();
}

#[test]
fn adds_of_one_client() {
    let mut world = World::plain(&["a", "b"]);
    let (one, two) = (world.bundle("x"), world.bundle("y"));
    let mut with = |change: &dyn Fn(&mut KeyPackage)| {
        let mut key_package = two.key_package.clone();
        change(&mut key_package);
        let second = Proposal::Add(Add { key_package: Box::new(key_package) });
        refused(&mut world, vec![add(&one), second])
    };
    let first = one.key_package.clone();
    let signature: SignaturePublicKey = first.leaf_node.signature_key.clone();
    assert_eq!(
        with(&|k| k.leaf_node.signature_key = signature.clone()),
        E::DuplicateAdd(SharedKey::Signature)
    );
    let encryption = first.leaf_node.encryption_key.clone();
    assert_eq!(
        with(&|k| k.leaf_node.encryption_key = encryption.clone()),
        E::DuplicateAdd(SharedKey::Encryption)
    );
    assert_eq!(with(&|k| k.init_key = first.init_key.clone()), E::DuplicateAdd(SharedKey::Init));
    accepted(&mut world, vec![add(&one), add(&two)]);
}

#[test]
fn psks() {
    let mut world = World::plain(&["a", "b"]);
    let external = || PskType::External { psk_id: vec![1].into() };
    assert_eq!(refused(&mut world, vec![psk(external(), 31)]), E::PskNonce);
    assert_eq!(refused(&mut world, vec![psk(external(), 32), psk(external(), 32)]), E::DuplicatePsk);
    let reinit = psk(resumption(ResumptionPskUsage::Reinit), 32);
    assert_eq!(refused(&mut world, vec![reinit]), E::PskReinit);
    let branch = psk(resumption(ResumptionPskUsage::Branch), 32);
    assert_eq!(refused(&mut world, vec![branch]), E::PskBranch);
    // The current epoch's resumption PSK is always at hand.
    accepted(&mut world, vec![psk(resumption(ResumptionPskUsage::Application), 32)]);
}

#[test]
fn the_end_of_a_group_stands_alone() {
    let mut world = World::plain(&["a", "b", "c"]);
    assert_eq!(refused(&mut world, vec![reinit(0)]), E::ReInitVersion);
    assert_eq!(refused(&mut world, vec![reinit(1), remove(2)]), E::ReInitNotAlone);
    assert_eq!(refused(&mut world, vec![remove(2), reinit(1)]), E::ReInitNotAlone);
    assert_eq!(refused(&mut world, vec![reinit(1), reinit(1)]), E::ReInitNotAlone);
    accepted(&mut world, vec![reinit(1)]);
}

#[test]
fn group_context_extensions() {
    let mut world = World::plain(&["a", "b"]);
    let none = || extensions(vec![]);
    assert_eq!(refused(&mut world, vec![none(), none()]), E::DuplicateGroupContextExtensions);
    for ty in [ExtensionType::REQUIRED_CAPABILITIES, ExtensionType::EXTERNAL_SENDERS] {
        let malformed = extensions(vec![extension(ty, &[9])]);
        assert_eq!(refused(&mut world, vec![malformed]), E::MalformedExtension(ty));
    }
    let ty = ExtensionType::EXTERNAL_SENDERS;
    let twice = extensions(vec![extension(ty, &[0]), extension(ty, &[0])]);
    assert_eq!(refused(&mut world, vec![twice]), E::DuplicateExtension(ty));
    let dmls = Proposal::GroupContextExtensions(GroupContextExtensions { extensions: dmls_extensions() });
    assert_eq!(refused(&mut world, vec![dmls]), E::ProfileChange);
    accepted(&mut world, vec![extensions(vec![extension(ty, &[0])])]);
}

#[test]
fn proposals_that_this_group_has_not() {
    let mut world = World::plain(&["a", "b"]);
    let init = Proposal::ExternalInit(ExternalInit { kem_output: Bytes::default() });
    assert_eq!(refused(&mut world, vec![init]), E::ExternalInitByMember);
    let meta = Proposal::DmlsMeta(DmlsMeta::default());
    assert_eq!(refused(&mut world, vec![meta]), E::MetaInPlainGroup);

    let reference = ProposalRef(vec![1; 32].into());
    let proposals = vec![ProposalOrRef::Reference(reference.clone())];
    let content = world.forge(0, Commit { proposals, path: None });
    let staged = world.clients[1].epoch.stage_commit(&content, &DefaultPolicy);
    assert_eq!(staged.unwrap_err(), CommitError::List(E::UnknownReference(reference)));
}

#[test]
fn a_type_that_a_member_does_not_support() {
    let world = World::dmls(&["a", "b"]);
    let meta = DmlsMeta { conf: Some(Bytes::default()), ..DmlsMeta::default() };
    let sender = Sender::Member(LeafIndex(0));
    let list = [SentProposal { sender, proposal: Proposal::DmlsMeta(meta), reference: None }];
    let mut state = world.clients[0].epoch.public().clone();
    let check = |state: &crate::epoch::PublicState| {
        state.check_list(Committer::Member(LeafIndex(0)), &list, Purpose::Ordinary)
    };
    check(&state).unwrap();
    let mut leaf = state.tree.leaf(LeafIndex(1)).unwrap().clone();
    leaf.capabilities.proposals.clear();
    state.tree = state.tree.update_leaf(LeafIndex(1), leaf).unwrap();
    let unsupported = E::Unsupported { member: LeafIndex(1), proposal_type: ProposalType::DMLS_META };
    assert_eq!(check(&state), Err(unsupported));
}

#[test]
fn senders_that_are_no_members() {
    let mut world = World::plain(&["a", "b"]);
    let (_, key) = world.suite.signature().generate(&mut world.rng);
    let sender = ExternalSender { signature_key: key, credential: Credential::basic("server") };
    let senders = extension(ExtensionType::EXTERNAL_SENDERS, &crate::codec::encode(&vec![sender]).unwrap());
    let request = world.request(vec![extensions(vec![senders])]);
    world.commit(0, &request, &[]);
    let (bundle, update) = (world.bundle("x"), world.update_of(0));
    let state = world.clients[0].epoch.public().clone();
    let check = |sender, proposal: &Proposal| {
        let sent = SentProposal { sender, proposal: proposal.clone(), reference: None };
        state.check_proposal(&sent, Purpose::Ordinary)
    };
    let external = Sender::External(0);
    for allowed in [add(&bundle), remove(1), reinit(1), extensions(vec![])] {
        check(external, &allowed).unwrap();
    }
    let init = Proposal::ExternalInit(ExternalInit { kem_output: Bytes::default() });
    for refused in [update.clone(), init] {
        assert_eq!(check(external, &refused), Err(E::ExternalType(refused.proposal_type())));
    }
    assert_eq!(check(Sender::External(1), &remove(1)), Err(E::UnknownExternalSender(1)));
    check(Sender::NewMemberProposal, &add(&bundle)).unwrap();
    let other = check(Sender::NewMemberProposal, &remove(1));
    assert_eq!(other, Err(E::NewMemberType(ProposalType::REMOVE)));
    assert_eq!(check(Sender::NewMemberCommit, &update), Err(E::UpdateNotByMember));
    let gone = Sender::Member(LeafIndex(7));
    assert_eq!(check(gone, &remove(1)), Err(E::UnknownSender(LeafIndex(7))));
}

#[test]
fn external_commits() {
    let world = World::plain(&["a", "b", "c"]);
    let state = world.clients[0].epoch.public().clone();
    let sent = |proposal| SentProposal { sender: Sender::NewMemberCommit, proposal, reference: None };
    let check = |list: &[SentProposal]| state.check_list(Committer::New, list, Purpose::Ordinary);
    let init = || sent(Proposal::ExternalInit(ExternalInit { kem_output: Bytes::default() }));
    check(&[init()]).unwrap();
    check(&[init(), sent(remove(1))]).unwrap();
    check(&[init(), sent(psk(PskType::External { psk_id: vec![1].into() }, 32))]).unwrap();
    assert_eq!(check(&[sent(remove(1))]), Err(E::ExternalInitMissing));
    assert_eq!(check(&[init(), init()]), Err(E::DuplicateExternalInit));
    assert_eq!(check(&[init(), sent(remove(1)), sent(remove(2))]), Err(E::ExternalRemoves));
    let other = extensions(vec![]);
    let refused = E::ExternalProposal(ProposalType::GROUP_CONTEXT_EXTENSIONS);
    assert_eq!(check(&[init(), sent(other)]), Err(refused));
    let by_reference = SentProposal { reference: Some(ProposalRef(vec![1].into())), ..sent(remove(1)) };
    assert_eq!(check(&[init(), by_reference]), Err(E::ExternalReference));
}
