//! From a request of the API to what answers it.

use std::time::Duration;

use dmls_core::codec::Bytes;
use dmls_core::group::{GroupId, Key, StoreError, Table, inspect_key_package};
use dmls_gossip::{PeerId, RequestError};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::actions::refused;
use super::direct::{KEY_PACKAGE, Refusal, key_package_request};
use super::engine::{Engine, now_ms, rng, store_failure};
use super::peers::ended;
use super::steps::message_key;
use super::topics::topic_of;
use super::{Node, present};
use crate::api::protocol::{MAX_PAGE, Payload, Request, StreamItem};
use crate::api::server::Service;
use crate::api::views::{GroupView, InvitedView, MessageView, PageView, StatusView};
use crate::error::{ErrorCode, Failure};
use crate::store::types::{Contact, MessageRecord, PeerRecord};
use crate::store::{Column, Database, Extra};

/// How long an invitation waits for its Welcomes to be taken before it answers; they are tried on afterwards.
const DELIVERY_WAIT: Duration = Duration::from_secs(3);
/// How often a key package is asked for when the connection ends in between.
const KEY_PACKAGE_ATTEMPTS: u32 = 5;
/// The wait between two of these.
const RETRY_WAIT: Duration = Duration::from_millis(200);
/// Bytes of messages after which a page ends: as JSON it must stay below what clients read.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Messages that are read at one time.
const PAGE_STEP: usize = 4;
/// Events in one go of a stream.
const BATCH: usize = 64;

/// Up to `limit` messages after `after`, fewer if they are large, and whether there may be more.
fn page_of(
    database: &Database,
    id: &GroupId,
    mut after: u64,
    limit: usize,
) -> Result<(Vec<MessageRecord>, bool), StoreError> {
    let prefix = Key::of_group(Table::Log, id).bytes;
    let (mut records, mut bytes): (Vec<MessageRecord>, usize) = (Vec::new(), 0);
    while records.len() < limit && bytes < PAGE_BYTES {
        let Some(first) = after.checked_add(1) else { return Ok((records, false)) };
        let want = (limit - records.len()).min(PAGE_STEP);
        let found: Vec<(Vec<u8>, MessageRecord)> =
            database.scan(Column::Messages, &prefix, &message_key(id, first), want)?;
        let last = found.len() < want;
        for (_, record) in found {
            (after, bytes) = (record.seq, bytes.saturating_add(record.payload.len()));
            records.push(record);
        }
        if last {
            return Ok((records, false));
        }
    }
    Ok((records, true))
}

impl Service for Node {
    async fn answer(&self, request: Request) -> Result<Value, Failure> {
        match request {
            Request::Status {} => json(&self.status().await?),
            Request::Id {} => json(&self.ticket().await?),
            Request::Shutdown {} => {
                // The answer goes out before the server's tasks see this.
                let stop = self.stop.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    stop.send_replace(true);
                });
                Ok(json!({}))
            }
            Request::Peers {} => json(&self.peers().await?),
            Request::PeerAdd { ticket } => json(&self.peer_add(&ticket).await?),
            Request::PeerRemove { peer } => self.peer_remove(&peer).await.map(|()| json!({})),
            Request::PeerBlock { peers } => self.block(&peers).await.map(|()| json!({})),
            Request::GroupCreate { name, profile, admins } => {
                let create =
                    move |engine: &mut Engine| engine.create_group(&name, profile.as_deref(), admins);
                self.group_view(self.engine.call(create).await??).await
            }
            Request::GroupList {} => json(&self.groups().await?),
            Request::GroupShow { group } => self.on_group(group, |engine, id| engine.view(id)).await,
            Request::GroupInvite { group, who } => json(&self.invite(group, &who).await?),
            Request::GroupRemove { group, member } => {
                self.on_group(group, move |engine, id| engine.remove(id, &member)).await
            }
            Request::GroupLeave { group } => {
                let leave = |engine: &mut Engine, id: &GroupId| {
                    engine.act_on(id, Extra::default(), |group| group.leave(now_ms(), &mut rng()))
                };
                self.on_group(group, leave).await
            }
            Request::GroupRefresh { group } => {
                let refresh = |engine: &mut Engine, id: &GroupId| {
                    engine.act_on(id, Extra::default(), |group| group.refresh(now_ms(), &mut rng()))
                };
                self.on_group(group, refresh).await
            }
            Request::GroupAdmins { group, members } => {
                self.on_group(group, move |engine, id| engine.set_admins(id, &members)).await
            }
            Request::GroupRejoin { group } => {
                let rejoin = |engine: &mut Engine, id: &GroupId| {
                    engine.act_on(id, Extra::default(), |group| group.request_rejoin(now_ms(), &mut rng()))
                };
                self.on_group(group, rejoin).await
            }
            Request::GroupProof { group, proof } => {
                json(&self.with_group(group, move |engine, id| engine.proof(id, &proof)).await?)
            }
            Request::GroupDelete { group } => {
                self.with_group(group, |engine, id| engine.delete_group(id)).await.map(|()| json!({}))
            }
            Request::Invitations {} => json(&self.engine.call(|engine| engine.invitations()).await??),
            Request::Join { invitation } => {
                self.group_view(self.engine.call(move |engine| engine.join(&invitation)).await??).await
            }
            Request::Send { group, text, hex } => {
                let payload = Payload::one_of(text, hex)?.into_bytes()?;
                json(&self.with_group(group, move |engine, id| engine.send(id, &payload)).await?)
            }
            Request::Read { group, after, limit } => json(&self.read(group, after, limit).await?),
            Request::History { group } => {
                json(&self.with_group(group, |engine, id| engine.history(id)).await?)
            }
            Request::Sync { group } => {
                let id = self.with_group(group, |_, id| Ok(id.clone())).await?;
                self.gossip.reconcile(topic_of(&id)).await.map_err(ended)?;
                Ok(json!({}))
            }
            Request::Replay { group, commit } => {
                json(&self.with_group(group, move |engine, id| engine.replay(id, &commit)).await?)
            }
            Request::Follow { .. } | Request::Subscribe { .. } => {
                Err(Failure::new(ErrorCode::Failed, "This request is a stream."))
            }
        }
    }

    async fn stream(&self, request: Request, items: mpsc::Sender<StreamItem>) -> Result<(), Failure> {
        match request {
            Request::Follow { group, after } => self.follow(group, after, items).await,
            Request::Subscribe { after } => self.subscribe(after, items).await,
            _ => Err(Failure::new(ErrorCode::Failed, "This request is no stream.")),
        }
    }
}

fn json<T: Serialize>(value: &T) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|error| Failure::new(ErrorCode::Failed, error))
}

impl Node {
    async fn with_group<T: Send + 'static>(
        &self,
        group: String,
        call: impl FnOnce(&mut Engine, &GroupId) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let work = move |engine: &mut Engine| engine.find_group(&group).and_then(|id| call(engine, &id));
        self.engine.call(work).await?
    }

    async fn on_group(
        &self,
        group: String,
        call: impl FnOnce(&mut Engine, &GroupId) -> Result<GroupView, Failure> + Send + 'static,
    ) -> Result<Value, Failure> {
        self.group_view(self.with_group(group, call).await?).await
    }

    async fn group_view(&self, view: GroupView) -> Result<Value, Failure> {
        let views = self.with_peers(vec![view]).await?;
        views.first().map_or_else(|| json(&()), json)
    }

    /// Counts the connected peers that share each group.
    async fn with_peers(&self, mut views: Vec<GroupView>) -> Result<Vec<GroupView>, Failure> {
        let peers = self.gossip.peers().await.map_err(ended)?;
        for view in &mut views {
            let id = GroupId(Bytes::from(hex::decode(&view.id).unwrap_or_default()));
            let topic = topic_of(&id);
            view.peers = peers.iter().filter(|peer| peer.topics.contains(&topic)).count();
        }
        Ok(views)
    }

    async fn groups(&self) -> Result<Vec<GroupView>, Failure> {
        self.with_peers(self.engine.call(|engine| engine.list()).await?).await
    }

    async fn status(&self) -> Result<StatusView, Failure> {
        let ticket = self.ticket().await?;
        let (damaged, invitations) = self
            .engine
            .call(|engine| (engine.damaged.clone(), engine.invitation_count().unwrap_or(0)))
            .await?;
        let mut undelivered = 0;
        let count = |_: &[u8]| {
            undelivered += 1;
            true
        };
        // A count that cannot be had is shown as none; the failure itself is shown beside it.
        let _ = self.database.keys(Column::Deliveries, &[], &[], count);
        let stats = self.gossip.stats().await.map_err(ended)?;
        Ok(StatusView {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            name: self.name.clone(),
            fingerprint: hex::encode(self.fingerprint),
            peer: ticket.peer,
            listen: ticket.addresses,
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            store_failure: self.database.failure().map(|error| error.to_string()),
            connected: self.gossip.peers().await.map_err(ended)?.len(),
            invitations,
            undelivered,
            dropped: self.outbound.dropped() + stats.dropped_live + stats.dropped_events,
            groups: self.groups().await?,
            damaged,
        })
    }

    /// Asks each client for a key package, adds all by one commit, and waits a moment for the Welcomes.
    async fn invite(&self, group: String, who: &[String]) -> Result<InvitedView, Failure> {
        if who.is_empty() {
            return Err(
                Failure::new(ErrorCode::Usage, "Nobody was named.").hint("Give a ticket or a peer's name.")
            );
        }
        let id = self.with_group(group, |_, id| Ok(id.clone())).await?;
        let (mut key_packages, mut contacts, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for wanted in who {
            let (peer, record) = self.find_peer(wanted).await?;
            let bytes = self.fetch_key_package(peer, &record).await?;
            let info = inspect_key_package(&bytes).map_err(|error| refused(&error))?;
            if record.fingerprint.is_some_and(|known| known != info.fingerprint) {
                let text = "The key package is not of the client that the ticket names.";
                let hint = "Compare fingerprints with its owner, and ask for a new ticket.";
                return Err(Failure::new(ErrorCode::Refused, text).hint(hint));
            }
            added.push(info.credential.display_name());
            contacts.push((info.reference, Contact { peer: peer.to_string(), addresses: record.addresses }));
            key_packages.push(bytes);
        }
        let keys: Vec<Vec<u8>> = contacts
            .iter()
            .map(|(reference, _)| Key::named(Table::Welcomes, &id, reference.as_slice()).bytes)
            .collect();
        let group = self.engine.call(move |engine| engine.invite(&id, &key_packages, contacts)).await??;
        let delivered = self.wait_delivered(&keys).await;
        let group = self.with_peers(vec![group]).await?.pop();
        let group = group.ok_or_else(|| Failure::new(ErrorCode::NotFound, "The group is gone."))?;
        Ok(InvitedView { group, added, delivered })
    }

    async fn wait_delivered(&self, keys: &[Vec<u8>]) -> usize {
        let until = Instant::now() + DELIVERY_WAIT;
        loop {
            let waiting =
                keys.iter().filter(|key| self.database.has(Column::Deliveries, key).unwrap_or(true)).count();
            if waiting == 0 || Instant::now() >= until {
                return keys.len() - waiting;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn fetch_key_package(&self, peer: PeerId, record: &PeerRecord) -> Result<Vec<u8>, Failure> {
        let addresses = super::peers::addresses(record);
        let mut attempts = 0;
        let answer = loop {
            let answer =
                self.gossip.request(peer, addresses.clone(), KEY_PACKAGE, key_package_request()).await;
            attempts += 1;
            // One of two connections that were opened at once is closed again. Asking twice does no harm.
            let again = match &answer {
                Err(RequestError::Disconnected | RequestError::Busy) => true,
                Err(RequestError::Refused { code }) => Refusal::of(*code) == Some(Refusal::Later),
                _ => false,
            };
            if !again || attempts == KEY_PACKAGE_ATTEMPTS {
                break answer;
            }
            tokio::time::sleep(RETRY_WAIT).await;
        };
        answer.map_err(|error| {
            let who = if record.name.is_empty() { peer.to_string() } else { record.name.clone() };
            let code = match error {
                RequestError::Timeout | RequestError::Busy => ErrorCode::Timeout,
                RequestError::Refused { .. } | RequestError::Malformed => ErrorCode::Refused,
                _ => ErrorCode::Unreachable,
            };
            Failure::new(code, format!("No key package came from {who}: {error}"))
                .hint("Is its daemon running? Its addresses may have changed: ask for a new ticket.")
        })
    }

    /// Messages after `after`, and whether there may be more.
    async fn page(&self, id: &GroupId, after: u64, limit: usize) -> Result<PageView, Failure> {
        let limit = limit.clamp(1, MAX_PAGE);
        let (records, more) = page_of(&self.database, id, after, limit).map_err(store_failure)?;
        let mut messages: Vec<MessageView> = records.into_iter().map(present::message).collect();
        let id = id.clone();
        let messages = self
            .engine
            .call(move |engine| {
                engine.mark_branches(&id, &mut messages);
                messages
            })
            .await?;
        Ok(PageView { messages, more })
    }

    async fn read(&self, group: String, after: u64, limit: usize) -> Result<PageView, Failure> {
        let id = self.with_group(group, |_, id| Ok(id.clone())).await?;
        self.page(&id, after, limit).await
    }

    /// Messages come from the database, so a slow reader misses none; the bus only says when to look.
    async fn follow(
        &self,
        group: String,
        mut after: u64,
        items: mpsc::Sender<StreamItem>,
    ) -> Result<(), Failure> {
        let id = self.with_group(group, |_, id| Ok(id.clone())).await?;
        let mut news = self.bus.watch();
        loop {
            news.borrow_and_update();
            loop {
                let page = self.page(&id, after, BATCH).await?;
                for message in page.messages {
                    after = message.seq;
                    if items.send(StreamItem::Message(message)).await.is_err() {
                        return Ok(());
                    }
                }
                if !page.more {
                    break;
                }
            }
            tokio::select! {
                changed = news.changed() => changed.map_err(ended)?,
                () = items.closed() => return Ok(()),
            }
        }
    }

    async fn subscribe(&self, after: Option<u64>, items: mpsc::Sender<StreamItem>) -> Result<(), Failure> {
        let mut news = self.bus.watch();
        let mut after = after.unwrap_or_else(|| *news.borrow());
        loop {
            news.borrow_and_update();
            loop {
                let batch = self.bus.since(after, BATCH);
                let Some((last, _)) = batch.last() else { break };
                after = *last;
                for (_, item) in batch {
                    if items.send(item).await.is_err() {
                        return Ok(());
                    }
                }
            }
            tokio::select! {
                changed = news.changed() => changed.map_err(ended)?,
                () = items.closed() => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_in_number_and_bytes_and_miss_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let id = GroupId(Bytes::from(vec![1; 16]));
        let mut extra = Extra::default();
        for seq in 1..=40u64 {
            let payload = vec![0; if seq <= 20 { 1024 * 1024 } else { 1 }];
            let record = MessageRecord {
                seq,
                id: [0; 32],
                epoch: Vec::new(),
                sender: String::new(),
                fingerprint: [0; 32],
                own: false,
                on_head: true,
                unhealed: false,
                at_ms: 0,
                payload,
            };
            extra.put(Column::Messages, &message_key(&id, seq), &record).unwrap();
        }
        Database::create(&path, &dmls_core::group::Changes::default(), &extra).unwrap();
        let database = Database::open(&path).unwrap();
        let (mut after, mut seen, mut more) = (0, Vec::new(), true);
        while more {
            let (page, next) = page_of(&database, &id, after, 15).unwrap();
            let bytes: usize = page.iter().map(|record| record.payload.len()).sum();
            assert!(page.len() <= 15 && bytes <= PAGE_BYTES + PAGE_STEP * 1024 * 1024, "{}", page.len());
            seen.extend(page.iter().map(|record| record.seq));
            (after, more) = (*seen.last().unwrap(), next);
        }
        assert_eq!(seen, Vec::from_iter(1..=40));
        assert_eq!(page_of(&database, &id, 0, 1).unwrap().0.len(), 1);
        assert!(page_of(&database, &id, u64::MAX, 5).unwrap().0.is_empty());
        let (rest, more) = page_of(&database, &id, 20, 256).unwrap();
        assert_eq!((rest.len(), more), (20, false));
    }
}
