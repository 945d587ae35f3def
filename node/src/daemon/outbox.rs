//! Welcomes on their way: tried until the new member has taken or refused them, over restarts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dmls_core::codec::Bytes;
use dmls_core::group::{GroupId, Key, Store, StoreError, Table, Value};
use dmls_gossip::{Handle, RequestError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::direct::{Refusal, WELCOME, WelcomeDelivery};
use super::engine::EngineHandle;
use super::network::Outbound;
use super::topics::topic_of;
use crate::config::DeliveryConfig;
use crate::store::types::{Contact, Delivery, PeerRecord};
use crate::store::{Column, Database, Extra};

/// Deliveries that are under way at one time.
const AT_ONCE: usize = 8;
/// Deliveries that are looked at in one round.
const ROUND: usize = 1024;

/// What the outbox works with.
pub(super) struct Outbox {
    /// The database.
    pub(super) database: Arc<Database>,
    /// The network.
    pub(super) gossip: Handle,
    /// The engine.
    pub(super) engine: EngineHandle,
    /// Says when there is something new.
    pub(super) outbound: Outbound,
    /// When to try again.
    pub(super) config: DeliveryConfig,
}

/// When a delivery is tried again, and how long it waits after the next failure.
struct Retry {
    at: Instant,
    delay_ms: u64,
}

/// How one attempt ended.
enum Outcome {
    Delivered,
    Refused(Refusal),
    Failed,
    /// The Welcome is not there any more.
    Void,
}

impl Outbox {
    /// Delivers until `stop` says so.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut retries: HashMap<Vec<u8>, Retry> = HashMap::new();
        loop {
            if let Err(error) = self.round(&mut retries).await {
                tracing::warn!("Welcomes cannot be delivered: {error}");
            }
            let next = retries.values().map(|retry| retry.at).min();
            let wait =
                next.map_or(Duration::from_secs(60), |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = crate::stop::requested(&mut stop) => break,
                () = self.outbound.welcomes_waiting() => {}
                () = tokio::time::sleep(wait.max(Duration::from_millis(10))) => {}
            }
        }
    }

    async fn round(&self, retries: &mut HashMap<Vec<u8>, Retry>) -> Result<(), StoreError> {
        let waiting: Vec<(Vec<u8>, Delivery)> = self.database.scan(Column::Deliveries, &[], &[], ROUND)?;
        retries.retain(|key, _| waiting.iter().any(|(waiting, _)| waiting == key));
        let now = Instant::now();
        let due = waiting.into_iter().filter(|(key, _)| retries.get(key).is_none_or(|retry| retry.at <= now));
        let mut due: Vec<_> = due.collect();
        let mut attempts = JoinSet::new();
        while !due.is_empty() || !attempts.is_empty() {
            while attempts.len() < AT_ONCE
                && let Some((key, delivery)) = due.pop()
            {
                let request = self.request(&key, &delivery).await?;
                let gossip = self.gossip.clone();
                attempts.spawn(async move {
                    (key, delivery.to.peer.clone(), attempt(gossip, delivery, request).await)
                });
            }
            if let Some(Ok((key, peer, outcome))) = attempts.join_next().await {
                self.settle(key, peer, outcome, retries).await;
            }
        }
        Ok(())
    }

    /// The body of the request; `None` if there is no Welcome any more.
    async fn request(&self, key: &[u8], delivery: &Delivery) -> Result<Option<Vec<u8>>, StoreError> {
        let none = Extra::default();
        let stored = self.database.step(&none).get(&Key { table: Table::Welcomes, bytes: key.to_vec() })?;
        let (Some(Value::Welcome(welcome)), Some((group, reference))) = (stored, split(key)) else {
            return Ok(None);
        };
        let delivery = WelcomeDelivery {
            reference,
            name: delivery.name.clone(),
            contacts: self.contacts(&group, &delivery.to.peer).await,
            welcome: welcome.into_vec(),
        };
        Ok(Some(delivery.encode()))
    }

    /// This node, the peers that are members by their tickets, and the connected ones that share the group.
    async fn contacts(&self, group: &GroupId, but: &str) -> Vec<Contact> {
        let topic = topic_of(group);
        let listen = self.gossip.listen_addrs().await.unwrap_or_default();
        let addresses = listen.iter().map(ToString::to_string).collect();
        let mut contacts = vec![Contact { peer: self.gossip.local_peer_id().to_string(), addresses }];
        let id = group.clone();
        let members = self.engine.call(move |engine| engine.fingerprints(&id)).await.unwrap_or_default();
        // What cannot be read now is left out; the new member still has this node.
        let known = super::peers::load(&self.database).unwrap_or_default();
        let is_member =
            |record: &PeerRecord| record.fingerprint.is_some_and(|known| members.contains(&known));
        for (peer, record) in known.iter().filter(|(_, record)| is_member(record)) {
            contacts.push(Contact { peer: peer.to_string(), addresses: record.addresses.clone() });
        }
        for info in self.gossip.peers().await.unwrap_or_default() {
            let peer = info.peer.to_string();
            if !info.topics.contains(&topic) || contacts.iter().any(|contact| contact.peer == peer) {
                continue;
            }
            let record =
                known.iter().find(|(known, _)| *known == info.peer).map(|(_, record)| &record.addresses);
            // An address that is not known from elsewhere is the one it is seen at.
            let addresses = record.filter(|known| !known.is_empty()).cloned();
            contacts.push(Contact {
                peer,
                addresses: addresses.unwrap_or_else(|| vec![info.address.to_string()]),
            });
        }
        contacts.retain(|contact| contact.peer != but);
        contacts
    }

    async fn settle(
        &self,
        key: Vec<u8>,
        peer: String,
        outcome: Outcome,
        retries: &mut HashMap<Vec<u8>, Retry>,
    ) {
        let refusal = match outcome {
            Outcome::Failed => {
                let before = retries.get(&key).map_or(self.config.retry_min_ms, |retry| retry.delay_ms);
                let at = Instant::now() + Duration::from_millis(before);
                let delay_ms = before.saturating_mul(2).min(self.config.retry_max_ms);
                retries.insert(key, Retry { at, delay_ms });
                return;
            }
            Outcome::Delivered => None,
            Outcome::Refused(refusal) => Some(refusal),
            Outcome::Void => Some(Refusal::UnknownKeyPackage),
        };
        retries.remove(&key);
        let Some((group, reference)) = split(&key) else { return };
        let reference = Bytes::from(reference);
        let done = self.engine.call(move |engine| engine.delivered(&group, &reference, &peer, refusal)).await;
        if let Err(failure) = done {
            tracing::debug!("{failure}");
        }
    }
}

async fn attempt(gossip: Handle, delivery: Delivery, request: Option<Vec<u8>>) -> Outcome {
    let (Some(request), Some((peer, addresses))) = (request, delivery.to.parsed()) else {
        return Outcome::Void;
    };
    match gossip.request(peer, addresses, WELCOME, request).await {
        Ok(_) => Outcome::Delivered,
        Err(RequestError::Refused { code }) => match Refusal::of(code) {
            Some(refusal) if refusal.is_final() => Outcome::Refused(refusal),
            _ => Outcome::Failed,
        },
        Err(error) => {
            tracing::debug!("a Welcome is tried again: {error}");
            Outcome::Failed
        }
    }
}

/// The group and the key package reference in a key of [`Column::Deliveries`].
fn split(key: &[u8]) -> Option<(GroupId, Vec<u8>)> {
    let (len, rest) = key.split_first_chunk::<4>()?;
    let (group, reference) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    Some((GroupId(Bytes::from(group)), reference.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_apart() {
        let group = GroupId(vec![1, 2, 3].into());
        let key = Key::named(Table::Welcomes, &group, b"reference").bytes;
        assert_eq!(split(&key), Some((group, b"reference".to_vec())));
        assert_eq!(split(&key[..6]), None);
        assert_eq!(split(&[]), None);
    }
}
