//! A client gets a Welcome from somebody who may put into it what the input says, all of it rightly encrypted, signed
//! and tagged. It is refused, or leads to a group that can be stored, loaded and used.

use dmls_core::codec::{Bytes, encode};
use dmls_core::framing::{
    DmlsEpochInfo, DmlsJoin, EncryptedGroupSecrets, GroupInfo, GroupSecrets, KeyPackage, MlsMessage,
    MlsMessageBody, PathSecret, Welcome,
};
use dmls_core::group::{Group, GroupId, Input as Told};
use dmls_core::schedule::{DerivedEpoch, GroupContext, Profile, welcome_keys, welcome_secret};
use dmls_core::suite::Secret;
use dmls_core::tree::{Extension, ExtensionType, LeafIndex, RatchetTree, RatchetTreeExtension};

use super::hostile::Hostile;
use super::input::Input;
use crate::{Insider, World};

/// Makes the Welcome.
const INSIDER: usize = 0;
/// Is in the group already.
const MEMBER: usize = 2;
/// Is in no group.
const OUTSIDER: usize = 4;

/// A group, a member who invites, and whom it may invite.
struct Scene {
    world: World,
    insider: Insider,
    ids: Vec<Bytes>,
    /// Key packages of the outsider and of the member.
    key_packages: Vec<KeyPackage>,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new(78, 4);
        world.form();
        (1..4).for_each(|by| {
            world.refresh(by);
            world.run(20_000);
        });
        let mut outside = World::new(79, OUTSIDER + 1);
        world.peers.push(outside.peers.remove(OUTSIDER));
        let key_packages = [OUTSIDER, MEMBER].map(|of| {
            let bytes = world.key_package(of);
            match MlsMessage::from_bytes(&bytes).expect("a message").body {
                MlsMessageBody::KeyPackage(key_package) => key_package,
                _ => panic!("a key package"),
            }
        });
        let group = GroupId(b"the group".to_vec().into());
        let history = world.peers[INSIDER].group().history();
        let insider = Insider::read(&world.peers[INSIDER].store, &group, &history.head);
        let ids = history.epochs.iter().map(|epoch| epoch.id.0.clone()).collect();
        Self { world, insider: insider.expect("a stored epoch"), ids, key_packages: key_packages.into() }
    }
}

thread_local! {
    static SCENE: Scene = Scene::new();
}

/// Judges an input.
pub fn run(data: &[u8]) {
    SCENE.with(|scene| {
        let mut hostile = Hostile {
            input: Input(data),
            insiders: vec![scene.insider.clone()],
            ids: scene.ids.clone(),
            key_packages: scene.key_packages.clone(),
            rng: scene.world.rng.clone(),
        };
        let inside = hostile.input.one_in(8);
        let who = if inside { MEMBER } else { OUTSIDER };
        let key_package = &scene.key_packages[usize::from(inside)];
        if let Some(welcome) = hostile.welcome(&scene.insider, key_package) {
            join(scene, who, &welcome);
        }
    });
}

/// Whether the client joins. If it does, it can work with what it has got.
fn join(scene: &Scene, who: usize, welcome: &[u8]) -> bool {
    let world = &scene.world;
    let (peer, options, now) = (&world.peers[who], &world.options, world.now);
    let mut rng = world.rng.clone();
    let Ok(step) = peer.client.join(&peer.store, welcome, options, now, &mut rng) else { return false };
    let mut store = peer.store.clone();
    let mut group = step.group.clone();
    step.commit(&mut store, &mut group).expect("memory");
    let loaded = Group::load(&store, group.id(), options).expect("a good store").expect("a group");
    let state = |group: &Group| (group.view(), group.history(), group.next_deadline());
    assert!(state(&loaded) == state(&group), "a restart changes the group");
    // Whatever group this is, it is one that can be used.
    for index in 0..world.sent() {
        let step = group.handle(Told::Message(world.bytes(index)), now, &mut rng);
        assert!(step.disposition.is_some(), "a message without a disposition");
        step.commit(&mut store, &mut group).expect("memory");
    }
    for step in [group.send(b"hello", now, &mut rng), group.refresh(now, &mut rng)].into_iter().flatten() {
        step.commit(&mut store.clone(), &mut group.clone()).expect("memory");
    }
    group.handle(Told::Tick, now + 3_600_000, &mut rng).commit(&mut store, &mut group).expect("memory");
    true
}

impl Hostile<'_> {
    /// A Welcome to an epoch that exists nowhere else.
    fn welcome(&mut self, insider: &Insider, key_package: &KeyPackage) -> Option<Vec<u8>> {
        let suite = insider.epoch.suite();
        let info = self.group_info(insider, key_package)?;
        let joiner_secret = joiner_secret(insider);
        let no_psks = Secret::from(vec![0; suite.nh()]);
        let keys = welcome_keys(suite, &welcome_secret(suite, &joiner_secret, &no_psks).ok()?).ok()?;
        let mut info = encode(&info).ok()?;
        if self.input.one_in(8) {
            info = self.edited(&info);
        }
        let sealed = suite.aead().seal(&keys.key, keys.nonce.as_slice(), b"", &info).ok()?;
        let path_secret = self
            .input
            .one_in(8)
            .then(|| PathSecret { path_secret: self.input.take(suite.nh()).to_vec().into() });
        let secrets = GroupSecrets { joiner_secret, path_secret, psks: Vec::new() };
        let mut plaintext = encode(&secrets).ok()?;
        if self.input.one_in(16) {
            plaintext = self.edited(&plaintext);
        }
        let encrypted_group_secrets = suite
            .encrypt_with_label(&key_package.init_key, "Welcome", &sealed, &plaintext, &mut self.rng)
            .ok()?;
        let secrets = vec![EncryptedGroupSecrets {
            new_member: key_package.reference(suite).ok()?,
            encrypted_group_secrets,
        }];
        let welcome = MlsMessage::from(Welcome {
            cipher_suite: suite.id(),
            secrets,
            encrypted_group_info: sealed.into(),
        });
        let welcome = welcome.to_bytes().ok()?;
        Some(if self.input.one_in(16) { self.edited(&welcome) } else { welcome })
    }

    fn group_info(&mut self, insider: &Insider, key_package: &KeyPackage) -> Option<GroupInfo> {
        let epoch = &insider.epoch;
        let suite = epoch.suite();
        let tree = self.tree(epoch.tree(), key_package)?;
        let hash = RatchetTree::from_extension(suite, &tree).ok().and_then(|tree| tree.tree_hash().ok());
        let mut context = GroupContext { epoch: epoch.context().epoch + 1, ..epoch.context().clone() };
        context.tree_hash = hash.unwrap_or_default();
        match self.input.below(16) {
            1 => context.epoch = u64::MAX - self.input.number() as u64,
            2 => context.group_id = self.input.string().into(),
            3 => context.confirmed_transcript_hash = self.id(),
            4 => {
                let which = self.input.below(context.extensions.0.len());
                if let Some(extension) = context.extensions.0.get_mut(which) {
                    extension.extension_data = self.edited(extension.extension_data.as_slice()).into();
                }
            }
            _ => {}
        }
        let no_psks = Secret::from(vec![0; suite.nh()]);
        let derived =
            DerivedEpoch::new(suite, Profile::Dmls, &joiner_secret(insider), &no_psks, &context).ok()?;
        let tag = derived.secrets.confirmation_tag(suite, &context.confirmed_transcript_hash).ok()?;
        let join = DmlsJoin { parent: self.id(), merged_tips: self.list(3, Self::id), added_in: self.id() };
        let dmls_epoch = if self.input.one_in(16) { self.id() } else { derived.dmls?.dmls_epoch.0 };
        let mut extensions = dmls_core::tree::Extensions::default();
        extensions.set(ExtensionType::RATCHET_TREE, tree.into());
        let info = DmlsEpochInfo { dmls_epoch, join };
        extensions.set(ExtensionType::DMLS_EPOCH, encode(&info).ok()?.into());
        if self.input.one_in(16) {
            let extension_type = ExtensionType(self.input.number() as u16);
            let extension_data = self.input.string().into();
            extensions.0.push(Extension { extension_type, extension_data });
        }
        let signer =
            if self.input.one_in(16) { LeafIndex(u32::from(self.input.byte())) } else { epoch.own_leaf() };
        GroupInfo::sign(suite, context, extensions, tag, signer, epoch.signature_private()).ok()
    }

    /// The tree with the new member in it, unmerged, and with what else the input does to it; as an extension.
    fn tree(&mut self, tree: &RatchetTree, key_package: &KeyPackage) -> Option<Vec<u8>> {
        let (tree, _) = tree.add_leaf(key_package.leaf_node.clone()).ok()?;
        let mut nodes = tree.to_nodes();
        match self.input.below(8) {
            1 => {
                let (to, from) = (self.input.below(nodes.len()), self.input.below(nodes.len()));
                nodes[to] = nodes[from].clone();
            }
            2 => {
                let blank = self.input.below(nodes.len());
                nodes[blank] = None;
            }
            3 => {
                let more = self.input.below(64);
                let last = nodes.iter().flatten().next().cloned();
                nodes.resize(nodes.len() + more, None);
                nodes.push(last);
            }
            4 => {
                let bytes = RatchetTreeExtension::from_nodes(nodes).encode().ok()?;
                return Some(self.edited(&bytes));
            }
            _ => {}
        }
        RatchetTreeExtension::from_nodes(nodes).encode().ok()
    }
}

/// Whoever makes a Welcome chooses this.
fn joiner_secret(insider: &Insider) -> Secret {
    Secret::from(vec![7; insider.epoch.suite().nh()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_that_nobody_changed_is_accepted_by_the_outsider_only() {
        SCENE.with(|scene| {
            let mut joined = Vec::new();
            for (who, key_package) in [OUTSIDER, MEMBER].into_iter().zip(&scene.key_packages) {
                let mut hostile = Hostile {
                    input: Input(&[]),
                    insiders: vec![scene.insider.clone()],
                    ids: scene.ids.clone(),
                    key_packages: scene.key_packages.clone(),
                    rng: scene.world.rng.clone(),
                };
                let welcome = hostile.welcome(&scene.insider, key_package).expect("a Welcome");
                joined.push(join(scene, who, &welcome));
            }
            assert_eq!(joined, [true, false]);
        });
    }
}
