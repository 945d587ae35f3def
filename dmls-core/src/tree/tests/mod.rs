//! Tests of the layer, and what they share.

mod paths;
mod rules;
mod stored;
mod structure;
mod tree_rules;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use rand_core::{Rng, TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};

use super::*;
use crate::codec::Bytes;
use crate::suite::{
    CipherSuite, HpkePrivateKey, HpkePublicKey, Secret, SignaturePrivateKey, Strictness, Suite,
};

pub(super) const GROUP: &[u8] = b"group";

/// A seeded generator: hashes of a counter.
pub(super) struct TestRng(u64, u64);

pub(super) fn rng(seed: u64) -> TestRng {
    TestRng(seed, 0)
}

impl TestRng {
    fn block(&mut self) -> [u8; 32] {
        self.1 += 1;
        Sha256::digest([self.0.to_be_bytes(), self.1.to_be_bytes()].concat()).into()
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next_u64() % u64::try_from(bound).unwrap()).unwrap()
    }
}

impl TryRng for TestRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_be_bytes(*self.block().first_chunk().unwrap()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_be_bytes(*self.block().first_chunk().unwrap()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(32) {
            chunk.copy_from_slice(&self.block()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for TestRng {}

/// A value as a store gives it back.
pub(super) fn restored<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let config = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(value, config).unwrap();
    let (value, read) = bincode::serde::decode_from_slice(&bytes, config).unwrap();
    assert_eq!(read, bytes.len());
    value
}

/// Prints the seed of a test that fails.
pub(super) struct Seed(pub(super) u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

pub(super) fn suite() -> Suite {
    CipherSuite::X25519_AES128GCM.suite().unwrap()
}

pub(super) fn template(name: &str) -> LeafTemplate {
    LeafTemplate {
        credential: Credential::basic(name),
        capabilities: Capabilities {
            versions: vec![ProtocolVersion::MLS10, ProtocolVersion(0x0a0a)],
            cipher_suites: CipherSuite::supported().collect(),
            extensions: vec![ExtensionType::DMLS_PROFILE, ExtensionType(0x1a1a)],
            proposals: vec![ProposalType::DMLS_META, ProposalType(0x2a2a)],
            credentials: vec![CredentialType::BASIC, CredentialType(0x3a3a)],
        },
        extensions: Extensions(vec![Extension {
            extension_type: ExtensionType(0x1a1a),
            extension_data: Bytes::default(),
        }]),
    }
}

/// Rules without group extensions and time.
pub(super) fn rules() -> LeafRules<'static> {
    static NONE: Extensions = Extensions(Vec::new());
    LeafRules {
        group_id: GROUP,
        group_extensions: &NONE,
        strictness: Strictness::Canonical,
        now_seconds: Some(1_000),
    }
}

pub(super) const LIFETIME: Lifetime = Lifetime { not_before: 500, not_after: 1_500 };

/// A member as it sees itself.
pub(super) struct Member {
    pub(super) template: LeafTemplate,
    pub(super) signer: SignaturePrivateKey,
    pub(super) keys: PrivateKeys,
}

impl Member {
    /// Somebody new, with the leaf of a KeyPackage.
    pub(super) fn new(suite: Suite, rng: &mut TestRng) -> (Self, LeafNode) {
        let (signer, public) = suite.signature().generate(rng);
        let template = template(&format!("{public:?}"));
        let (leaf, private) = template.key_package(suite, LIFETIME, &signer, rng).unwrap();
        let mut keys = PrivateKeys::default();
        keys.insert(leaf.encryption_key.clone(), private);
        (Self { template, signer, keys }, leaf)
    }

    pub(super) fn lookup(&self) -> impl Fn(&HpkePublicKey) -> Option<HpkePrivateKey> {
        |key| self.keys.get(key).map(|key| (**key).clone())
    }
}

/// A group with all its members.
pub(super) struct World {
    pub(super) tree: RatchetTree,
    pub(super) members: BTreeMap<LeafIndex, Member>,
    pub(super) epoch: u64,
}

/// A commit that everybody has processed.
pub(super) struct Committed {
    pub(super) before: RatchetTree,
    pub(super) added: BTreeSet<LeafIndex>,
    pub(super) draft: PathDraft,
    pub(super) path: UpdatePath,
    pub(super) context: Vec<u8>,
}

impl World {
    pub(super) fn new(suite: Suite, rng: &mut TestRng) -> Self {
        let (creator, leaf) = Member::new(suite, rng);
        let tree = RatchetTree::new(suite, leaf);
        Self { tree, members: BTreeMap::from([(LeafIndex(0), creator)]), epoch: 0 }
    }

    /// A group of `size` whose first member added the others one commit at a time, each committing once.
    pub(super) fn of(size: usize, rng: &mut TestRng) -> Self {
        let mut world = Self::new(suite(), rng);
        while world.members.len() < size {
            let committer = *world.members.keys().nth(rng.below(world.members.len())).unwrap();
            world.commit(committer, 1, &[], rng);
        }
        for committer in world.members.keys().copied().collect::<Vec<_>>() {
            world.commit(committer, 0, &[], rng);
        }
        world
    }

    /// One commit, processed by all that are left: everybody has the same tree and commit secret, and only the keys of
    /// its own path. Whoever is removed can merge the path and not open it.
    pub(super) fn commit(
        &mut self,
        committer: LeafIndex,
        adds: usize,
        removes: &[LeafIndex],
        rng: &mut TestRng,
    ) -> Committed {
        let suite = self.tree.suite();
        let mut tree = self.tree.clone();
        for index in removes {
            tree = tree.remove_leaf(*index).unwrap();
        }
        let removed: Vec<_> =
            removes.iter().map(|index| (*index, self.members.remove(index).unwrap())).collect();
        let mut newcomers = BTreeMap::new();
        for _ in 0..adds {
            let (member, leaf) = Member::new(suite, rng);
            let (wider, place) = tree.with_blank_leaf().unwrap();
            wider.validate_leaf(place, &leaf, LeafSourceKind::KeyPackage, &rules()).unwrap();
            let index;
            (tree, index) = tree.add_leaf(leaf).unwrap();
            assert_eq!(index, place);
            newcomers.insert(index, member);
        }
        let added: BTreeSet<_> = newcomers.keys().copied().collect();
        let (from, own) = (PathSender::Member(committer), &self.members[&committer]);
        let draft = tree.draw_path(from, &own.template, &own.signer, GROUP, rng).unwrap();
        self.epoch += 1;
        let context = [&self.epoch.to_be_bytes(), draft.tree.tree_hash().unwrap().as_slice()].concat();
        let path = draft.encrypt(&added, &context, rng).unwrap();
        let before =
            std::mem::replace(&mut self.tree, tree.apply_path(from, &path, &added, &rules()).unwrap());
        assert_eq!(self.tree.tree_hash(), draft.tree.tree_hash());
        self.tree.validate(&rules()).unwrap();
        drop(before);
        for (index, member) in &removed {
            let opened = tree.decrypt_path(committer, *index, &path, &added, &context, &member.lookup());
            assert!(opened.is_err(), "a removed member opens the path");
        }
        for (index, member) in self.members.iter_mut().filter(|(index, _)| **index != committer) {
            let opened =
                tree.decrypt_path(committer, *index, &path, &added, &context, &member.lookup()).unwrap();
            assert_eq!(opened.commit_secret, draft.commit_secret);
            assert_eq!(Some(&opened.last_path_secret), draft.last_path_secret.as_ref());
            member.keys.extend(opened.private_keys);
        }
        for (index, member) in &mut newcomers {
            let secret = path_secret_for(&draft.path_secrets, *index).unwrap().clone();
            let derived = self.tree.derive_from_path_secret(*index, committer, secret).unwrap();
            assert_eq!(derived.commit_secret, draft.commit_secret);
            member.keys.extend(derived.private_keys);
        }
        self.members.get_mut(&committer).unwrap().keys.extend(draft.private_keys.clone());
        self.members.append(&mut newcomers);
        self.check_private_keys();
        Committed { before: tree, added, draft, path, context }
    }

    /// Everybody holds the keys of its own leaf and of the filled nodes above it where it is not unmerged, and no other.
    fn check_private_keys(&mut self) {
        for (index, member) in &mut self.members {
            member.keys.retain(&self.tree, *index);
            member.keys = restored(&member.keys);
            let path = index.direct_path(self.tree.width());
            let merged = path.into_iter().filter(|node| {
                self.tree.parent_node(*node).is_some_and(|node| !node.unmerged_leaves.contains(index))
            });
            let expected: BTreeSet<_> = merged
                .chain([index.node()])
                .map(|node| self.tree.encryption_key(node).unwrap().clone())
                .collect();
            assert_eq!(member.keys.iter().map(|(key, _)| key.clone()).collect::<BTreeSet<_>>(), expected);
            for (public, private) in member.keys.iter() {
                assert_eq!(self.tree.suite().hpke().public_key(private).unwrap(), *public);
            }
        }
    }
}

/// A leaf that costs no cryptography: for tests of the structure alone.
pub(super) fn mock_leaf(rng: &mut TestRng) -> LeafNode {
    let key = rng.block().to_vec();
    LeafNode {
        encryption_key: key.clone().into(),
        signature_key: key.into(),
        credential: Credential::basic("mock"),
        capabilities: Capabilities::default(),
        source: LeafNodeSource::KeyPackage(Lifetime::UNLIMITED),
        extensions: Extensions::default(),
        signature: Bytes::default(),
    }
}

pub(super) fn secret(byte: u8) -> Secret {
    vec![byte; 32].into()
}
