//! A member of a real group receives what the input makes: bytes, messages that were changed on the way, and what an
//! insider signs. Everything gets a disposition, what is refused changes nothing, and the honest end in one state.

use dmls_core::codec::{Bytes, decode};
use dmls_core::framing::{DmlsProfile, KeyPackage, MlsMessage, MlsMessageBody};
use dmls_core::group::{Disposition, GroupId, Input as Told, Place, Step, Table};

use super::hostile::Hostile;
use super::input::Input;
use crate::oracle::{Judge, Said, fingerprint};
use crate::{Insider, Ordeal, World};

/// Does as the input says; all others are honest.
const INSIDER: usize = 0;
/// Receives what the input makes before others do.
const VICTIM: usize = 2;
/// Members of the first epoch: one of four may be hostile.
const MEMBERS: usize = 4;
/// Messages in one input at most.
const MOST: usize = 6;

/// A group with a past, made once.
struct Scene {
    world: World,
    insiders: Vec<Insider>,
    ids: Vec<Bytes>,
    key_packages: Vec<KeyPackage>,
    /// A text that is on its way to the victim.
    text: usize,
    said: Vec<Said>,
}

impl Scene {
    /// Four members with a fork between two and two in their past, and messages that the victim has not got.
    fn new() -> Self {
        let mut world = World::new(77, MEMBERS + 2);
        world.create(DmlsProfile::default());
        world.invite(0, &[1, 2, 3]);
        world.run(60_000);
        world.refresh(1);
        world.run(20_000);
        world.cut(&[0, 0, 1, 1, 0, 0]);
        world.refresh(1);
        world.refresh(3);
        world.run(20_000);
        world.heal();
        world.run(40_000);
        world.cut(&[0, 0, 1, 0, 0, 0]);
        world.send(1, "on its way");
        let text = world.sent() - 1;
        let said = Said { payload: b"on its way".to_vec(), by: 1, roster: fingerprint(&world, 1).members };
        world.refresh(3);
        world.run(6_000);
        let packages: Vec<Vec<u8>> = [MEMBERS, MEMBERS + 1, 1].map(|of| world.key_package(of)).into();
        let key_package = |bytes: &Vec<u8>| match MlsMessage::from_bytes(bytes).expect("a message").body {
            MlsMessageBody::KeyPackage(key_package) => key_package,
            _ => panic!("a key package"),
        };
        let group = GroupId(b"the group".to_vec().into());
        let history = world.peers[INSIDER].group().history();
        let store = &world.peers[INSIDER].store;
        let insiders: Vec<Insider> =
            history.epochs.iter().filter_map(|epoch| Insider::read(store, &group, &epoch.id)).collect();
        let mut ids: Vec<Bytes> = history.epochs.iter().map(|epoch| epoch.id.0.clone()).collect();
        ids.extend(history.epochs.iter().filter_map(|epoch| Some(epoch.commit.clone()?.0)));
        world.peers[INSIDER].group = None;
        world.cut(&[9, 0, 1, 0, 0, 0]);
        let key_packages = packages.iter().map(key_package).collect();
        Self { world, insiders, ids, key_packages, text, said: vec![said] }
    }
}

thread_local! {
    static SCENE: Scene = Scene::new();
}

/// Judges an input.
pub fn run(data: &[u8]) {
    play(data);
}

/// Judges an input; what became of each message that it made.
fn play(data: &[u8]) -> Vec<Disposition> {
    SCENE.with(|scene| {
        let mut input = Input(data);
        let flags = input.byte();
        let mut world = scene.world.clone();
        // Most inputs are spared these: they cost twenty times the rest.
        world.ordeal.failing_store = flags == 1;
        world.ordeal.restart = flags == 2;
        world.ordeal.watch = Some(Box::new(|_, _, step| judge_step(step)));
        let hostile = Hostile {
            input,
            insiders: scene.insiders.clone(),
            ids: scene.ids.clone(),
            key_packages: scene.key_packages.clone(),
            rng: world.rng.clone(),
        };
        Play { scene, world, hostile, heard: false, became: Vec::new() }.play()
    })
}

/// What is refused writes nothing but the clock and what waits, and says nothing. Panics if not.
pub fn judge_step(step: &Step) {
    let Some(Disposition::Rejected { .. } | Disposition::Duplicate | Disposition::Expired { .. }) =
        step.disposition
    else {
        return;
    };
    let mut put = step.changes.put.keys().map(|key| key.table);
    let written = |table: &Table| !matches!(table, Table::Waiting | Table::Groups);
    assert_eq!(put.find(written), None, "{:?} has written", step.disposition);
    let mut delete = step.changes.delete.iter().map(|key| key.table);
    assert_eq!(delete.find(written), None, "{:?} has deleted", step.disposition);
    assert!(step.effects.is_empty(), "{:?} has effects: {:?}", step.disposition, step.effects);
}

struct Play<'a, 'b> {
    scene: &'a Scene,
    world: World,
    hostile: Hostile<'b>,
    /// Whether anything was more than refused.
    heard: bool,
    /// What became of each message.
    became: Vec<Disposition>,
}

impl Play<'_, '_> {
    fn play(mut self) -> Vec<Disposition> {
        for _ in 0..MOST {
            if self.hostile.input.is_empty() {
                break;
            }
            self.act();
        }
        self.honest_text();
        if self.heard {
            self.all_hear_all();
        }
        self.became
    }

    /// One thing that the input asks for.
    fn act(&mut self) {
        let recorded = self.scene.world.sent();
        let message = match self.hostile.input.below(10) {
            0 => Some(self.hostile.input.string().to_vec()),
            1 => Some(self.world.bytes(self.hostile.input.below(recorded)).to_vec()),
            2 | 3 => {
                let bytes = self.world.bytes(self.hostile.input.below(recorded)).to_vec();
                Some(self.hostile.edited(&bytes))
            }
            4 => {
                self.world.now += 1 + self.hostile.input.number() as u64;
                self.world.act(VICTIM, |group, now, rng| group.handle(Told::Tick, now, rng));
                None
            }
            _ => self.hostile.message(),
        };
        if let Some(bytes) = message {
            self.hand(bytes);
        }
    }

    /// The victim gets a message first; all others later.
    fn hand(&mut self, bytes: Vec<u8>) {
        let state = |world: &World| {
            let group = world.peers[VICTIM].group();
            let view = group.view().map(|mut view| {
                view.waiting = 0;
                view
            });
            (view, group.history())
        };
        let before = state(&self.world);
        let disposition = self.world.inject(VICTIM, &bytes);
        match disposition {
            Disposition::Applied => {}
            _ => assert!(before == state(&self.world), "{disposition:?} has changed the group"),
        }
        let refused = matches!(disposition, Disposition::Rejected { .. } | Disposition::Duplicate);
        self.heard |= !refused;
        if !refused || decode::<dmls_core::framing::DmlsMessage>(&bytes).is_ok() {
            self.world.publish(INSIDER, bytes);
        }
        self.became.push(disposition);
    }

    /// What an honest member said before still arrives.
    fn honest_text(&mut self) {
        let bytes = self.world.bytes(self.scene.text).to_vec();
        let said = &self.scene.said[0].payload;
        let disposition = self.world.inject(VICTIM, &bytes);
        let came = self.world.peers[VICTIM].messages().iter().filter(|(_, text)| text == said).count();
        assert_eq!(came, 1, "the text of an honest member: {disposition:?}");
        assert_eq!(self.world.inject(VICTIM, &bytes), Disposition::Duplicate);
    }

    /// All hear all, in another order, and agree. Nothing waits for ever.
    fn all_hear_all(&mut self) {
        let world = &mut self.world;
        world.ordeal = Ordeal::default();
        world.heal();
        world.run(60_000);
        let inside: Vec<usize> =
            (1..MEMBERS).filter(|place| *world.peers[*place].group().place() == Place::Member).collect();
        let mut said = self.scene.said.clone();
        for by in inside {
            let roster = fingerprint(world, by).members;
            let payload = format!("afterwards {by}").into_bytes();
            let group = world.peers[by].group().clone();
            if let Ok(step) = group.send(&payload, world.now, &mut world.rng) {
                world.take_step(by, step);
                said.push(Said { payload, by, roster });
            }
        }
        world.run(15 * 60_000);
        let peers = &world.peers[1..MEMBERS];
        if peers.iter().any(|peer| *peer.group().place() == Place::Member) {
            Judge { world, founders: MEMBERS, said: &said, intents: &[], name: "input" }.judge();
        }
        for place in 1..MEMBERS {
            let waiting = world.peers[place].group().view().map_or(0, |view| view.waiting);
            assert_eq!(waiting, 0, "member {place} waits for ever");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of one message of the insider, in any epoch: `kind` as in [`Hostile::message`].
    fn told(kind: u8, rest: &[u8]) -> Vec<Disposition> {
        let epochs = SCENE.with(|scene| scene.insiders.len());
        assert!(epochs >= 3, "the insider has a past");
        (0..epochs)
            .flat_map(|which| play(&[&[0, 9, u8::try_from(which).expect("few"), kind], rest].concat()))
            .collect()
    }

    #[test]
    fn an_insider_is_heard_where_it_keeps_to_the_rules_and_refused_where_not() {
        let applied = |became: &[Disposition]| became.contains(&Disposition::Applied);
        let refused = |became: &[Disposition]| {
            became.iter().any(|became| matches!(became, Disposition::Rejected { .. }))
        };
        // An application message, an acknowledgement, a commit that refreshes, and one that removes a member.
        let (text, ack, commit, removal) = (told(0, &[]), told(2, &[6]), told(4, &[]), told(4, &[1, 1, 3]));
        for became in [&text, &ack, &commit, &removal] {
            assert!(applied(became), "{became:?}");
        }
        // The commit without its path, and an ack that votes for what does not exist.
        let (forged, vote) = (told(3, &[0]), told(2, &[6, 1, 1, 0, 2, 7, 7]));
        for became in [&forged, &vote] {
            assert!(refused(became) && !applied(became), "{became:?}");
        }
    }

    #[test]
    fn what_is_on_its_way_arrives_and_what_was_changed_does_not() {
        let recorded = SCENE.with(|scene| scene.world.sent());
        assert!(recorded < 256);
        let (mut applied, mut refused) = (0, 0);
        for index in (0..recorded).map(|index| u8::try_from(index).expect("few")) {
            let became = play(&[0, 1, index, 2, index, 0, 0, 9, 3, 1]);
            applied += usize::from(became.first() == Some(&Disposition::Applied));
            refused += usize::from(matches!(became.get(1), Some(Disposition::Rejected { .. })));
        }
        assert!(applied > 0 && refused > 0, "{applied} of {recorded} apply, {refused} are refused");
    }
}
