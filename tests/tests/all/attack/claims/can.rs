//! Claim 2: what a thief of one member's state can do.

use dmls_core::codec::encode;
use dmls_core::framing::{Content, DmlsApplication, DmlsMeta, Proposal};
use dmls_core::group::{Disposition, Event};
use dmls_core::schedule::{EpochId, RatchetType};
use dmls_tests::{Insider, World};
use rand_chacha::ChaCha20Rng;

use super::super::{group_id, in_head, insider};
use super::histories::{self, talk};
use super::{Annals, Theft, check, rob};

#[test]
fn unvisited_children_are_derived() {
    let mut world = histories::world(511, 4, 0, true);
    talk(&mut world, &[2]);
    // Member 0 hears nothing any more; the others fork and go on. All of that is in the traffic.
    world.cut(&[0, 1, 1, 2]);
    talk(&mut world, &[1, 2]);
    talk(&mut world, &[3, 3]);
    let theft = Theft::of(&world, 0);
    let loot = check(&world, &theft);
    let unvisited: Vec<_> =
        Annals::of(&world).0.into_keys().filter(|id| !theft.visited.contains(id)).collect();
    assert_eq!(unvisited.len(), 4);
    assert!(unvisited.iter().all(|id| loot.derived.contains(id)));
    assert!(loot.read.values().any(|text| dmls_tests::contains(text.as_slice(), b"of 3")));
    // Control: once it has visited and caught up, its state gives nothing.
    world.heal();
    world.run(60_000);
    assert!(check(&world, &Theft::of(&world, 0)).derived.is_empty());
}

/// HPKE keys are not punctured: paths of commits on retained epochs open, visited or not, whatever became of the child.
#[test]
fn node_keys_of_visited_commits_are_learnt() {
    let world = histories::private_branch(512, true);
    let theft = Theft::of(&world, 0);
    let loot = rob(&world, &theft);
    assert!(loot.derived.is_empty());
    let view = world.peers[0].group().history();
    let children = view.epochs.iter().filter_map(|epoch| epoch.fork.as_ref()).flat_map(|fork| &fork.children);
    let (mut retained, mut deleted) = (0, 0);
    for child in children.filter(|child| loot.paths.contains(&child.commit)) {
        match &child.epoch {
            Some(epoch) if theft.held.contains(epoch) => retained += 1,
            _ => deleted += 1,
        }
    }
    assert!(retained >= 3, "{retained}");
    assert_eq!(deleted, 1, "the first epoch of the losing branch has no keys of messages, but of nodes");
}

/// Acknowledgements and votes that were opened long ago are opened again, in retained epochs only.
#[test]
fn handshake_contents_of_retained_epochs_are_read() {
    let world = histories::linear(513, true);
    let theft = Theft::of(&world, 1);
    let loot = rob(&world, &theft);
    let epochs: Vec<EpochId> = loot.handshakes.iter().map(|index| super::label(&world, *index).0).collect();
    assert!(theft.held.iter().filter(|id| epochs.contains(id)).count() >= 3);
    assert!(theft.deleted().iter().all(|id| !epochs.contains(id)));
}

#[test]
fn an_unused_key_package_opens_its_welcome() {
    let mut world = histories::world(514, 5, 1, true);
    let key_package = world.key_package(4);
    let before = Theft::of(&world, 4);
    world.act(1, |group, now, rng| {
        group.invite(std::slice::from_ref(&key_package), now, rng).expect("an invitation")
    });
    world.run(20_000);
    talk(&mut world, &[2]);
    // The key package is all that this state has.
    let loot = rob(&world, &before);
    assert!(loot.held.is_empty() && loot.welcomes.len() == 1, "{loot:?}");
    assert!(loot.derived.contains(world.peers[0].group().head()));
    assert!(!loot.read.is_empty());
    // Control: joining deletes it.
    let loot = rob(&world, &Theft::of(&world, 4));
    assert!(loot.welcomes.is_empty() && loot.derived.is_empty() && loot.read.is_empty());
}

/// A message as from the member whose keys these are.
fn forge(keys: &Insider, text: &str, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let own = keys.epoch.own_leaf();
    let generation = keys.epoch.secret_tree().next_generation(own, RatchetType::Application);
    let generation = generation.expect("keys");
    let data = DmlsApplication { generation, heads: Default::default(), payload: text.as_bytes().into() };
    keys.send(Content::Application(encode(&data).expect("bytes").into()), generation, rng)
}

/// Whether others take a message as one of member 1.
fn believed(world: &mut World, bytes: &[u8], text: &str) -> bool {
    let who = world.peers[1].client.fingerprint();
    let takes = |place: usize| {
        let applied = world.inject(place, bytes) == Disposition::Applied;
        let said = world.peers[place].events.iter().any(|event| {
            matches!(event, Event::Message { sender, payload, .. }
                if sender.fingerprint == who && payload == text.as_bytes())
        });
        assert_eq!(applied, said);
        applied
    };
    let taken: Vec<bool> = [0, 2, 3].into_iter().map(takes).collect();
    assert!(taken.iter().all(|one| *one == taken[0]), "{taken:?}");
    taken[0]
}

#[test]
fn a_thief_signs_as_its_victim_until_that_heals() {
    let mut world = histories::world(515, 4, 0, true);
    talk(&mut world, &[2]);
    let theft = Theft::of(&world, 1);
    let old = world.peers[1].group().head().clone();
    let stolen = Insider::read(&theft.store, &group_id(), &old).expect("the head");
    let mut rng = world.rng.clone();
    let forged = forge(&stolen, "not I", &mut rng);
    assert!(believed(&mut world, &forged, "not I"));
    // Somebody else's commit heals nothing: the thief follows.
    talk(&mut world, &[0]);
    let loot = check(&world, &theft);
    assert!(loot.derived.contains(world.peers[0].group().head()));
    // The victim's own does. From here on the thief is out, whoever commits.
    talk(&mut world, &[1]);
    let healed = world.peers[1].group().head().clone();
    talk(&mut world, &[3, 2]);
    let loot = check(&world, &theft);
    let out = Annals::of(&world).0.into_iter().filter(|(_, edge)| edge.parent == healed);
    assert!(!loot.derived.contains(&healed) && out.count() == 1);
    assert!(!loot.derived.contains(world.peers[0].group().head()));
    // It has no key of the new epoch: what it makes with those that it has is nothing there.
    let relabelled = Insider { id: healed.clone(), ..stolen.clone() };
    let forged = forge(&relabelled, "not I, again", &mut rng);
    assert!(!believed(&mut world, &forged, "not I, again"));
    // But the old epoch is retained by the others, and there its word still counts.
    let later = Insider { epoch: next_own(&stolen), ..stolen.clone() };
    let forged = forge(&later, "I, of old", &mut rng);
    assert!(believed(&mut world, &forged, "I, of old"));
    let ack = Content::Proposal(Proposal::DmlsMeta(DmlsMeta::default()));
    let ack = stolen.send(ack, 1000, &mut rng);
    assert_eq!(world.inject(0, &ack), Disposition::Applied);
    // Not where it is deleted.
    world.run(histories::CLOSING);
    talk(&mut world, &[0]);
    let latest = Insider { epoch: next_own(&later), ..later.clone() };
    let forged = forge(&latest, "I, too late", &mut rng);
    assert!(!believed(&mut world, &forged, "I, too late"));
}

/// The epoch after one more own message.
fn next_own(keys: &Insider) -> dmls_core::epoch::Epoch {
    let mut tree = keys.epoch.secret_tree().clone();
    tree.next_own(keys.epoch.own_leaf(), RatchetType::Application).expect("a key");
    keys.epoch.with_secret_tree(tree)
}

/// A member whose refresh was lost with its branch heals by an Update proposal that somebody else commits.
#[test]
fn an_update_that_others_commit_heals_too() {
    let mut world = histories::world(517, 5, 0, true);
    let theft = Theft::of(&world, 3);
    world.cut(&[0, 0, 0, 1, 1]);
    talk(&mut world, &[3]);
    talk(&mut world, &[1]);
    world.heal();
    world.run(60_000);
    talk(&mut world, &[0, 2]);
    let annals = Annals::of(&world);
    let healed =
        annals.0.iter().find(|(_, edge)| edge.updated.contains(&theft.who) && edge.committer != theft.who);
    let (healed, edge) = healed.expect("an Update of member 3");
    let loot = check(&world, &theft);
    // Up to there the thief follows the branch on which its victim had not healed.
    assert!(loot.derived.contains(&edge.parent) && !loot.derived.contains(healed));
    assert!(!loot.derived.contains(world.peers[3].group().head()));
}

/// A refresh replaces HPKE keys, not the signature key, which is the client's identity: with a member's help, or with a
/// later theft from anybody, the thief of an old state still signs as its victim.
#[test]
fn with_an_insider_a_thief_signs_even_after_that() {
    let mut world = histories::world(516, 4, 0, true);
    talk(&mut world, &[2]);
    let victim = in_head(&world, 1);
    talk(&mut world, &[1]);
    let head = world.peers[3].group().head().clone();
    let accomplice = insider(&world, 3, &head);
    let leaf = victim.epoch.own_leaf();
    let generation = accomplice.epoch.secret_tree().next_generation(leaf, RatchetType::Application);
    let generation = generation.expect("keys");
    let data = DmlsApplication { generation, heads: Default::default(), payload: b"I?".as_slice().into() };
    let content = Content::Application(encode(&data).expect("bytes").into());
    let mut rng = world.rng.clone();
    let signed = accomplice.sign_as(leaf, victim.epoch.signature_private(), content.clone());
    let forged = accomplice.encrypt(&signed, generation, &mut rng);
    assert!(believed_by(&mut world, &[0, 2], &forged));
    // Control: the accomplice alone cannot.
    let signed = accomplice.sign_as(leaf, accomplice.epoch.signature_private(), content);
    let forged = accomplice.encrypt(&signed, generation + 1, &mut rng);
    assert!(!believed_by(&mut world, &[0, 2], &forged));
}

fn believed_by(world: &mut World, places: &[usize], bytes: &[u8]) -> bool {
    let taken: Vec<bool> =
        places.iter().map(|place| world.inject(*place, bytes) == Disposition::Applied).collect();
    assert!(taken.iter().all(|one| *one == taken[0]));
    taken[0]
}
