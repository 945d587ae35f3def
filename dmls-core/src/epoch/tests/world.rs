//! Members of one group, each with its own epoch.

use crate::epoch::*;
use crate::framing::testing::{TestRng, capabilities, rng};
use crate::framing::*;
use crate::schedule::{DmlsSecrets, InitPprf, Windows, child_init_input};
use crate::suite::{CipherSuite, Suite};
use crate::tree::*;

/// A member: its epoch, and in DMLS the epoch's init PPRF.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) epoch: Epoch,
    pub(super) dmls: Option<DmlsSecrets>,
}

pub(super) struct World {
    pub(super) suite: Suite,
    pub(super) rng: TestRng,
    pub(super) clients: Vec<Client>,
}

pub(super) fn template(name: &str) -> LeafTemplate {
    LeafTemplate {
        credential: Credential::basic(name),
        capabilities: capabilities(),
        extensions: Extensions::default(),
    }
}

/// The extensions of a DMLS group.
pub(super) fn dmls_extensions() -> Extensions {
    let required = RequiredCapabilities {
        extension_types: vec![ExtensionType::DMLS_PROFILE],
        proposal_types: vec![ProposalType::DMLS_META],
        credential_types: vec![],
    };
    Extensions(vec![required.to_extension().unwrap(), DmlsProfile::default().to_extension().unwrap()])
}

pub(super) fn add(bundle: &KeyPackageBundle) -> Proposal {
    Proposal::Add(Add { key_package: Box::new(bundle.key_package.clone()) })
}

pub(super) fn remove(leaf: u32) -> Proposal {
    Proposal::Remove(Remove { removed: LeafIndex(leaf) })
}

pub(super) fn private() -> Sending {
    Sending { padding: Padding::Multiple(64), ..Sending::default() }
}

pub(super) fn public() -> Sending {
    Sending { public: true, ..Sending::default() }
}

/// An init secret from a PPRF, which is punctured.
pub(super) fn with_pprf<T>(
    suite: Suite,
    pprf: Option<&mut InitPprf>,
    use_it: impl FnOnce(InitSource<'_>) -> T,
) -> T {
    match pprf {
        None => use_it(InitSource::Plain),
        Some(pprf) => use_it(InitSource::Dmls(&mut |conf, child| {
            pprf.evaluate_and_puncture(&child_init_input(suite, conf, child)?)
        })),
    }
}

impl World {
    /// A group of `names`, the first of whom founds it and adds the others in one commit.
    pub(super) fn new(suite: CipherSuite, extensions: Extensions, names: &[&str]) -> Self {
        let suite = suite.suite().unwrap();
        let mut world = Self { suite, rng: rng(names.len() as u64), clients: Vec::new() };
        let founder = world.bundle(names[0]);
        let (epoch, dmls) =
            Epoch::found(suite, b"group".to_vec().into(), extensions, &founder, &mut world.rng).unwrap();
        world.clients.push(Client { epoch, dmls });
        let bundles: Vec<_> = names[1..].iter().map(|name| world.bundle(name)).collect();
        if !bundles.is_empty() {
            world.add_all(0, &bundles);
        }
        world
    }

    pub(super) fn plain(names: &[&str]) -> Self {
        Self::new(CipherSuite::X25519_AES128GCM, Extensions::default(), names)
    }

    pub(super) fn dmls(names: &[&str]) -> Self {
        Self::new(CipherSuite::X25519_AES128GCM, dmls_extensions(), names)
    }

    pub(super) fn bundle(&mut self, name: &str) -> KeyPackageBundle {
        let (key, _) = self.suite.signature().generate(&mut self.rng);
        KeyPackageBuilder::new(self.suite, template(name), key).build(&mut self.rng).unwrap()
    }

    /// A request that fits the group.
    pub(super) fn request(&self, proposals: Vec<Proposal>) -> CommitRequest<'static> {
        let dmls = self.clients[0].epoch.is_dmls();
        CommitRequest {
            proposals,
            meta: dmls.then(DmlsMeta::default),
            sending: private(),
            group_info: GroupInfoOptions {
                join: dmls.then(DmlsJoin::default),
                ..GroupInfoOptions::default()
            },
            ..CommitRequest::new(&NoPsks, &DefaultPolicy)
        }
    }

    pub(super) fn create(
        &mut self,
        who: usize,
        request: &CommitRequest<'_>,
    ) -> Result<CreatedCommit, CreateError> {
        let Client { epoch, dmls } = &mut self.clients[who];
        with_pprf(self.suite, dmls.as_mut().map(|dmls| &mut dmls.parent_init), |init| {
            epoch.create_commit(request, init, &mut self.rng)
        })
    }

    /// Opens, stages and enters a commit as one client.
    pub(super) fn process(&mut self, who: usize, message: &MlsMessage) -> Result<Entered, CommitError> {
        let Client { epoch, dmls } = &mut self.clients[who];
        let opened = epoch.open(message, Windows::default()).unwrap();
        let staged = epoch.stage_commit(&opened.content, &DefaultPolicy)?;
        with_pprf(self.suite, dmls.as_mut().map(|dmls| &mut dmls.parent_init), |init| {
            epoch.enter(&staged, init, &NoPsks)
        })
    }

    pub(super) fn join(&self, bundle: &KeyPackageBundle, welcome: &Welcome) -> Result<Joined, WelcomeError> {
        Join { bundle, ratchet_tree: None, psks: &NoPsks, policy: &DefaultPolicy }.welcome(welcome)
    }

    /// Commits a request, and brings all clients that stay into the child. Who joins comes last.
    pub(super) fn commit(&mut self, who: usize, request: &CommitRequest<'_>, joining: &[KeyPackageBundle]) {
        let created = self.create(who, request).unwrap();
        let bytes = created.message.to_bytes().unwrap();
        let message = MlsMessage::from_bytes(&bytes).unwrap();
        let mut next = Vec::new();
        for client in 0..self.clients.len() {
            if client == who {
                next.push(Client { epoch: created.child.clone(), dmls: created.dmls.clone() });
                continue;
            }
            match self.process(client, &message) {
                Ok(Entered { epoch, dmls, .. }) => next.push(Client { epoch, dmls }),
                Err(CommitError::Removed) => {}
                Err(error) => panic!("client {client}: {error}"),
            }
        }
        for bundle in joining {
            let joined = self.join(bundle, created.welcome.as_ref().unwrap()).unwrap();
            next.push(Client { epoch: joined.epoch, dmls: joined.dmls });
        }
        self.clients = next;
        self.agree();
    }

    pub(super) fn add_all(&mut self, who: usize, bundles: &[KeyPackageBundle]) {
        let request = self.request(bundles.iter().map(add).collect());
        self.commit(who, &request, bundles);
    }

    /// Everybody has the same state, and can read everybody.
    pub(super) fn agree(&mut self) {
        let first = self.clients[0].epoch.clone();
        for client in &self.clients {
            let epoch = &client.epoch;
            assert_eq!(epoch.context(), first.context());
            assert_eq!(epoch.epoch_authenticator(), first.epoch_authenticator());
            assert_eq!(epoch.export("test", b"x", 40).unwrap(), first.export("test", b"x", 40).unwrap());
            assert_eq!(
                client.dmls.as_ref().map(|dmls| &dmls.dmls_epoch),
                self.clients[0].dmls.as_ref().map(|dmls| &dmls.dmls_epoch)
            );
            assert_eq!(epoch.tree().tree_hash().unwrap(), epoch.context().tree_hash);
        }
        for sender in 0..self.clients.len() {
            let text = format!("from {sender}");
            let content = Content::Application(text.clone().into_bytes().into());
            let sealed = self.clients[sender].epoch.seal(content, &private(), &mut self.rng).unwrap();
            self.clients[sender].epoch = sealed.epoch;
            for receiver in (0..self.clients.len()).filter(|receiver| *receiver != sender) {
                let epoch = &self.clients[receiver].epoch;
                let opened = epoch.open(&sealed.message, Windows::default()).unwrap();
                assert_eq!(opened.content.content.content, Content::Application(text.as_bytes().into()));
                let next = epoch.consume(opened.key.unwrap(), Windows::default()).unwrap();
                assert!(next.open(&sealed.message, Windows::default()).is_err());
                self.clients[receiver].epoch = next;
            }
        }
    }

    /// Sends a proposal and hands it to everybody; its reference.
    pub(super) fn propose(&mut self, who: usize, proposal: Proposal) -> ProposalRef {
        let epoch = &self.clients[who].epoch;
        let sealed = epoch.seal(Content::Proposal(proposal), &private(), &mut self.rng).unwrap();
        self.hand_out(who, sealed)
    }

    pub(super) fn hand_out(&mut self, who: usize, sealed: Sealed) -> ProposalRef {
        let reference = sealed.content.proposal_ref(self.suite).unwrap();
        self.clients[who].epoch = sealed.epoch;
        for receiver in (0..self.clients.len()).filter(|receiver| *receiver != who) {
            let epoch = &self.clients[receiver].epoch;
            let opened = epoch.open(&sealed.message, Windows::default()).unwrap();
            let (next, found) = epoch.with_proposal(&opened.content).unwrap();
            assert_eq!(found, reference);
            self.clients[receiver].epoch = next;
        }
        reference
    }

    /// A commit signed by a member, whatever it says; its confirmation tag is worthless.
    pub(super) fn forge(&self, who: usize, commit: Commit) -> AuthenticatedContent {
        let mut content = self.clients[who].epoch.sign(Content::Commit(commit), &private()).unwrap();
        content.auth.confirmation_tag = Some(vec![7; self.suite.nh()].into());
        content
    }

    /// An Update proposal of a member that only it knows.
    pub(super) fn update_of(&mut self, who: usize) -> Proposal {
        let epoch = &self.clients[who].epoch;
        let own = LeafTemplate::of(epoch.leaf(epoch.own_leaf()).unwrap());
        let sealed = epoch.seal_update(&own, None, &private(), &mut self.rng).unwrap();
        match sealed.content.content.content {
            Content::Proposal(proposal) => proposal,
            other => panic!("{other:?}"),
        }
    }
}
