//! Handshake messages: evidence, proposals, and commits, which are verified first and punctured after (DESIGN 4.3).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Keys;
use super::authority::Authority;
use super::options::limits;
use super::receive::Outcome;
use super::rejoin::rejoins;
use super::step::{Event, Missing};
use super::transaction::{Transaction, member};
use super::waiting::Reason;
use crate::codec::Bytes;
use crate::epoch::{
    CommitError, Entered, Epoch, InitSource, NoPsks, Opened, ProposalListError, PublicCommit, SentProposal,
};
use crate::framing::{Content, DmlsMeta, Proposal, Sender};
use crate::history::{Blocked, Candidate, Child, Deed, HistoryEpoch, Member, Operation, Summary};
use crate::schedule::{ChildInput, CommitId, EpochId, InitPprf, child_init_input};
use crate::suite::{Secret, Suite};
use crate::tree::LeafIndex;

/// Why a client does not follow its own rejoin.
const REJOINED: &str = "The commit adds this client anew, and its Welcome has not come.";

/// A commit whose child this client has: its own, or one that it has verified.
pub(super) struct NewChild {
    pub(super) parent: EpochId,
    /// The parent's keys, punctured.
    pub(super) parent_keys: Keys,
    pub(super) commit: PublicCommit,
    /// The child, or why it cannot be entered.
    pub(super) child: Result<(EpochId, Keys), Blocked>,
}

fn none_if_empty(id: &Bytes) -> Option<EpochId> {
    (!id.is_empty()).then(|| EpochId(id.clone()))
}

impl Transaction<'_> {
    /// Takes an authentic handshake message.
    pub(super) fn handshake(&mut self, epoch: &EpochId, keys: &Keys, opened: Opened) -> Outcome {
        let Some(leaf) = opened.content.member() else {
            return Outcome::rejected("A handshake message of a DMLS group comes from a member.");
        };
        let outcome = match &opened.content.content.content {
            Content::Proposal(Proposal::DmlsMeta(meta)) => self.evidence_message(epoch, leaf, meta),
            Content::Proposal(_) => self.proposal(epoch, keys, &opened),
            Content::Commit(_) => self.commit(epoch, keys, &opened, leaf),
            Content::Application(_) => {
                Outcome::rejected("The message's content is of another type than it says.")
            }
        };
        if matches!(outcome, Outcome::Applied) {
            self.evidence |= self.group.history.record_spoken(epoch, leaf).unwrap_or(false);
            self.note_heard(epoch, leaf);
        }
        outcome
    }

    /// An acknowledgement or a vote.
    fn evidence_message(&mut self, epoch: &EpochId, leaf: LeafIndex, meta: &DmlsMeta) -> Outcome {
        if meta.conf.is_some() || meta.merge.is_some() {
            return Outcome::rejected(
                "A DmlsMeta that is sent alone has neither a confirmation nor a merge.",
            );
        }
        let since = none_if_empty(&meta.since);
        let nh = self.group.suite.nh();
        let recorded = match &meta.vote {
            Some(vote) if vote.len() != nh || !meta.heads.0.is_empty() => {
                return Outcome::rejected("A vote names a full commit id and no heads.");
            }
            Some(vote) => {
                let commit = CommitId(vote.clone());
                let recorded = self.group.history.record_vote(epoch, leaf, &commit, since.as_ref());
                self.note_unseen(epoch);
                recorded
            }
            None => self.group.history.record_handshake(epoch, leaf, since.as_ref()),
        };
        match recorded {
            Ok(news) => {
                self.evidence |= news;
                Outcome::Applied
            }
            Err(error) => Outcome::rejected(error),
        }
    }

    /// Remembers since when children are named that nobody has produced. Bounded by the names that are kept.
    fn note_unseen(&mut self, at: &EpochId) {
        let now = self.group.state.reconciled_ms;
        let Some(epoch) = self.group.history.epoch(at) else { return };
        let is_unknown = |commit: &&CommitId| !epoch.children.contains_key(*commit);
        let named: BTreeSet<CommitId> = epoch.named.keys().filter(is_unknown).cloned().collect();
        let noted = named
            .iter()
            .all(|commit| epoch.unseen.contains_key(commit) || epoch.written_off.contains(commit));
        let stale = epoch.unseen.keys().chain(&epoch.written_off).any(|commit| !named.contains(commit));
        if noted && !stale {
            return;
        }
        if let Some(epoch) = self.group.history.epoch_mut(at) {
            epoch.unseen.retain(|commit, _| named.contains(commit));
            epoch.written_off.retain(|commit| named.contains(commit));
            for commit in named.into_iter().filter(|commit| !epoch.written_off.contains(commit)) {
                epoch.unseen.entry(commit).or_insert(now);
            }
        }
    }

    /// A proposal to be committed by somebody.
    fn proposal(&mut self, epoch: &EpochId, keys: &Keys, opened: &Opened) -> Outcome {
        let sender = opened.content.content.sender;
        let of_sender = keys.epoch.proposals().values().filter(|sent| sent.sender == sender);
        let full = of_sender.count() >= limits::PROPOSALS_OF_MEMBER;
        if let Content::Proposal(proposal) = &opened.content.content.content {
            let sent = SentProposal { sender, proposal: proposal.clone(), reference: None };
            // A leaf that no commit may have must not spoil the commits of those who would take it up.
            if let Err(error) = keys.epoch.public().check_new_leaf(&sent, &Authority) {
                return Outcome::rejected(error);
            }
        }
        match keys.epoch.with_proposal(&opened.content) {
            // Which of a member's proposals are kept must not decide which commits can be processed.
            Ok((_, reference)) if full && !self.is_wanted(&reference.0) => {
                Outcome::Wait(Reason::Missing(Missing::Commit(reference.0)))
            }
            Ok((next, _)) => {
                self.group
                    .keys
                    .insert(epoch.clone(), Keys { epoch: Arc::new(next), init: Arc::clone(&keys.init) });
                Outcome::Applied
            }
            Err(error) => Outcome::rejected(error),
        }
    }

    /// A commit of somebody else.
    fn commit(&mut self, epoch: &EpochId, keys: &Keys, opened: &Opened, leaf: LeafIndex) -> Outcome {
        let commit = match keys.epoch.stage_commit(&opened.content, &Authority) {
            Ok(commit) => commit,
            Err(CommitError::List(ProposalListError::UnknownReference(reference))) => {
                return Outcome::Wait(Reason::Missing(Missing::Proposal(reference.0)));
            }
            Err(error) => return Outcome::rejected(error),
        };
        let id = commit.commit_id();
        let known = |record: &HistoryEpoch| record.children.contains_key(&id);
        if self.group.history.epoch(epoch).is_some_and(known) {
            return Outcome::Duplicate;
        }
        let class = class(&keys.epoch, &commit);
        if self.must_wait(epoch, &Candidate { commit: &id, committer: leaf, class }) {
            let parent = epoch.clone();
            return Outcome::Wait(Reason::Quarantined { parent, commit: id, committer: leaf, class });
        }
        match self.process(epoch, keys, commit) {
            Ok(child) => self.add_child(child, None),
            Err(error) => Outcome::rejected(error),
        }
    }

    /// Whether a commit takes its turn: enough others with smaller keys are there (DESIGN 4.7).
    pub(super) fn must_wait(&self, epoch: &EpochId, candidate: &Candidate<'_>) -> bool {
        if self.released.as_ref() == Some(candidate.commit) {
            return false;
        }
        let Some(record) = self.group.history.epoch(epoch) else { return false };
        let smaller = record.children_before(candidate);
        smaller.all >= limits::CHILDREN || smaller.of_member >= limits::COMMITS_OF_MEMBER
    }

    /// The secret part: derive the child, check its tag, and only then puncture.
    fn process(&self, epoch: &EpochId, keys: &Keys, commit: PublicCommit) -> Result<NewChild, CommitError> {
        let suite = self.group.suite;
        let parent = epoch.clone();
        if commit.self_removed {
            let parent_keys = self.punctured(keys, &named_input(suite, &commit)?)?;
            let own = keys.epoch.own_leaf();
            let comes_back = rejoins(keys.epoch.public(), &commit.proposals).iter().any(|r| r.from == own);
            let child = Err(if comes_back { Blocked::Unusable(REJOINED.into()) } else { Blocked::Removed });
            return Ok(NewChild { parent, parent_keys, commit, child });
        }
        match enter(&keys.epoch, &keys.init, &commit) {
            Ok((entered, x)) => {
                let parent_keys = self.punctured(keys, &x)?;
                let dmls = entered.dmls.ok_or(CommitError::InitSource)?;
                let child = Keys { epoch: Arc::new(entered.epoch), init: Arc::new(dmls.parent_init) };
                Ok(NewChild { parent, parent_keys, commit, child: Ok((dmls.dmls_epoch, child)) })
            }
            // The committer signed a path or a PSK that is of no use to this client; for others it may be fine.
            Err(error) if is_unusable(&error) => {
                let parent_keys = self.punctured(keys, &named_input(suite, &commit)?)?;
                Ok(NewChild { parent, parent_keys, commit, child: Err(Blocked::Unusable(error.to_string())) })
            }
            Err(error) => Err(error),
        }
    }

    fn punctured(&self, keys: &Keys, x: &ChildInput) -> Result<Keys, CommitError> {
        let mut init = keys.init.as_ref().clone();
        if self.group.options.puncturing {
            init.puncture(x)?;
        }
        Ok(Keys { epoch: Arc::clone(&keys.epoch), init: Arc::new(init) })
    }

    /// Takes a child into the history, with the punctured parent. `own` is the id that this client named by it.
    pub(super) fn add_child(&mut self, new: NewChild, own: Option<()>) -> Outcome {
        let NewChild { parent, parent_keys, commit, child } = new;
        let id = commit.commit_id();
        let summary = summary(&parent_keys.epoch, &commit);
        let record = child.as_ref().ok().map(|(_, keys)| self.child_record(&parent, &id, &commit, keys));
        let since = commit.meta().and_then(|meta| none_if_empty(&meta.since));
        let outcome = child.as_ref().map(|(epoch, _)| epoch.clone()).map_err(Blocked::clone);
        let entry = Child {
            committer: commit.committer_leaf,
            class: class(&parent_keys.epoch, &commit),
            summary,
            outcome,
        };
        let event = child.as_ref().ok().map(|(epoch, _)| Event::Epoch {
            epoch: epoch.clone(),
            parent: parent.clone(),
            number: commit.context().epoch,
            committer: entry.summary.committer.clone(),
            operations: entry.summary.operations().cloned().collect(),
        });
        if let Err(error) =
            self.group.history.record_commit(&parent, id.clone(), entry, record, since.as_ref())
        {
            return Outcome::rejected(error);
        }
        self.evidence = true;
        self.use_offers(&commit.added);
        if own.is_some()
            && let Some(record) = self.group.history.epoch_mut(&parent)
        {
            record.own.named = Some(id.clone());
        }
        self.group.keys.insert(parent.clone(), parent_keys);
        let entered = child.as_ref().ok().map(|(epoch, _)| epoch.clone());
        if let Ok((epoch, keys)) = child {
            self.group.keys.insert(epoch, keys);
        }
        self.effects.extend(event.map(super::Effect::Event));
        if let Some(epoch) = entered {
            self.report_merge(&parent, &epoch, &id);
        }
        let children =
            self.group.history.epoch(&parent).map(|p| p.children.keys().cloned().collect::<Vec<_>>());
        if let Some(children) = children.filter(|children| children.len() > 1) {
            self.event(Event::Forked { at: parent, children });
        }
        Outcome::Applied
    }

    fn child_record(
        &self,
        parent: &EpochId,
        id: &CommitId,
        commit: &PublicCommit,
        keys: &Keys,
    ) -> HistoryEpoch {
        let tree = keys.epoch.tree();
        let electors = tree.leaves().map(|(leaf, _)| leaf).collect();
        let blanked = commit.removed.iter().map(|removed| removed.leaf).collect();
        let link = Some((parent.clone(), id.clone()));
        let mut record = HistoryEpoch::new(link, commit.context().epoch, tree.width(), electors, blanked);
        record.born = self.group.state.reconciled_ms;
        record
    }
}

/// Derives the child of a commit from the parent, and with it the PPRF input that has to be punctured. Changes
/// nothing: this is also how it is shown that a processed commit cannot be processed again.
pub(super) fn enter(
    parent: &Epoch,
    init: &InitPprf,
    commit: &PublicCommit,
) -> Result<(Entered, ChildInput), CommitError> {
    let suite = parent.suite();
    let mut input = None;
    let entered = {
        let mut evaluate = |conf: &Secret, context: &crate::schedule::GroupContext| {
            let x = child_init_input(suite, conf, context)?;
            let secret = init.evaluate(&x)?;
            input = Some(x);
            Ok(secret)
        };
        parent.enter(commit, InitSource::Dmls(&mut evaluate), &NoPsks)?
    };
    Ok((entered, input.ok_or(CommitError::InitSource)?))
}

/// The PPRF input that the commit itself names, for who cannot derive it.
fn named_input(suite: Suite, commit: &PublicCommit) -> Result<ChildInput, CommitError> {
    let conf = commit.meta().and_then(|meta| meta.conf.as_ref()).ok_or(CommitError::Confirmation)?;
    Ok(child_init_input(suite, &Secret::from(conf.as_slice()), commit.context())?)
}

/// Whether a commit may be fine for others though this client cannot enter its child (DESIGN 4.4).
fn is_unusable(error: &CommitError) -> bool {
    match error {
        // The public part has been judged before: what fails here is what was encrypted for this client.
        CommitError::Tree(_) => true,
        CommitError::UnknownPsk(_) | CommitError::UnknownOwnUpdate | CommitError::OwnCommit => true,
        _ => false,
    }
}

/// 0 if, under a non-empty admin list, an admin's commit removes another member and is no merge; else 1.
/// Who rejoins is not removed.
fn class(parent: &Epoch, commit: &PublicCommit) -> u8 {
    let admins = parent.profile().map(|profile| &profile.admins).filter(|admins| !admins.is_empty());
    let is_admin = |admins: &Vec<_>| {
        parent.leaf(commit.committer_leaf).is_some_and(|leaf| admins.contains(&leaf.credential))
    };
    let is_merge = commit.meta().is_some_and(|meta| meta.merge.is_some());
    let rejoins = rejoins(parent.public(), &commit.proposals);
    let rejoined = |leaf| rejoins.iter().any(|rejoin| rejoin.from == leaf);
    let removes = commit.removed.iter().any(|r| r.leaf != commit.committer_leaf && !rejoined(r.leaf));
    u8::from(!(admins.is_some_and(is_admin) && removes && !is_merge))
}

/// A commit in short. Those who are added are looked up in the child's tree, all others in the parent's.
fn summary(parent: &Epoch, commit: &PublicCommit) -> Summary {
    let unknown = || Member {
        leaf: commit.committer_leaf,
        credential: crate::tree::Credential::basic(Vec::new()),
        fingerprint: [0; 32],
    };
    let of_parent = |leaf: LeafIndex| parent.leaf(leaf).map(|node| member(leaf, node));
    let of_child = |leaf: LeafIndex| commit.child.tree().leaf(leaf).map(|node| member(leaf, node));
    let committer = of_parent(commit.committer_leaf).unwrap_or_else(unknown);
    // Adds fill leaves in the order in which they are proposed (RFC 9420 12.1.1).
    let mut added = commit.added.iter();
    let rejoins = rejoins(parent.public(), &commit.proposals);
    let deed = |(place, sent): (usize, &SentProposal)| {
        let operation = match &sent.proposal {
            // Told with its Add.
            Proposal::Remove(_) if rejoins.iter().any(|rejoin| rejoin.remove == place) => None,
            Proposal::Remove(remove) => of_parent(remove.removed).map(Operation::Remove),
            Proposal::Add(_) => added.next().and_then(|added| of_child(added.leaf)).map(|to| {
                let rejoin = rejoins.iter().find(|rejoin| rejoin.add == place);
                match rejoin.and_then(|rejoin| of_parent(rejoin.from)) {
                    Some(from) => Operation::Rejoin { from, to },
                    None => Operation::Add(to),
                }
            }),
            Proposal::Update(_) => match sent.sender {
                Sender::Member(leaf) => of_parent(leaf).map(Operation::Update),
                _ => None,
            },
            Proposal::GroupContextExtensions(_) => Some(Operation::Context),
            Proposal::PreSharedKey(_) => Some(Operation::PreSharedKey),
            _ => None,
        }?;
        let author = match sent.sender {
            Sender::Member(leaf) => of_parent(leaf),
            _ => None,
        };
        Some(Deed { author: author.unwrap_or_else(|| committer.clone()), operation })
    };
    let mut deeds: Vec<Deed> = commit.proposals.iter().enumerate().filter_map(deed).collect();
    // A commit without operations refreshes its committer's keys.
    if deeds.is_empty() {
        deeds.push(Deed { author: committer.clone(), operation: Operation::Update(committer.clone()) });
    }
    let merge = commit.meta().and_then(|meta| meta.merge.clone());
    Summary { committer, deeds, merge }
}

/// The leaves that a set of proposals removes; for who is not to commit them.
pub(super) fn removed_by<'a>(proposals: impl Iterator<Item = &'a Proposal>) -> BTreeSet<LeafIndex> {
    proposals
        .filter_map(
            |proposal| if let Proposal::Remove(remove) = proposal { Some(remove.removed) } else { None },
        )
        .collect()
}
