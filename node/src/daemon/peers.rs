//! Peers: those that are remembered, and what a user means by one.

use std::collections::{BTreeMap, HashSet};

use dmls_core::group::StoreError;
use dmls_gossip::{Multiaddr, PeerId};

use super::{Node, peer_name};
use crate::api::views::{PeerView, TicketView};
use crate::error::{ErrorCode, Failure};
use crate::store::types::PeerRecord;
use crate::store::{Column, Database};
use crate::ticket::{MAX_ADDRESSES, Ticket, looks_like_ticket};

/// The most peers that are remembered.
const MAX_PEERS: usize = 1024;

/// Every remembered peer.
pub(super) fn load(database: &Database) -> Result<Vec<(PeerId, PeerRecord)>, StoreError> {
    let found: Vec<(Vec<u8>, PeerRecord)> = database.scan(Column::Peers, &[], &[], MAX_PEERS)?;
    let parsed = found.into_iter().filter_map(|(key, record)| {
        let peer = std::str::from_utf8(&key).ok()?.parse().ok()?;
        Some((peer, record))
    });
    Ok(parsed.collect())
}

/// The addresses of a record that are some.
pub(super) fn addresses(record: &PeerRecord) -> Vec<Multiaddr> {
    record.addresses.iter().filter_map(|address| address.parse().ok()).collect()
}

/// `wanted` with the ports of `before` wherever it leaves the port open.
pub(super) fn with_ports(wanted: &[Multiaddr], before: &[String]) -> Vec<Multiaddr> {
    let fixed = |address: &Multiaddr| {
        let text = address.to_string();
        let (host, rest) = text.split_once("/0")?;
        // The open port is the only component that is a plain zero.
        if !(rest.is_empty() || rest.starts_with('/')) {
            return None;
        }
        let transport = host.rsplit('/').next()?;
        let found = before.iter().find_map(|old| {
            let (_, port) = old.split_once(&format!("/{transport}/"))?;
            let (port, after) = port.split_once('/').map_or((port, ""), |(port, after)| (port, after));
            (format!("/{after}").trim_end_matches('/') == rest).then(|| port.to_owned())
        })?;
        format!("{host}/{found}{rest}").parse().ok()
    };
    wanted.iter().map(|address| fixed(address).unwrap_or_else(|| address.clone())).collect()
}

impl Node {
    /// This node's ticket.
    pub(super) async fn ticket(&self) -> Result<TicketView, Failure> {
        let mut addresses = self.gossip.listen_addrs().await.map_err(ended)?;
        addresses.truncate(MAX_ADDRESSES);
        let peer = self.gossip.local_peer_id();
        let ticket = Ticket { peer, name: self.name.clone(), fingerprint: self.fingerprint, addresses };
        Ok(TicketView {
            ticket: ticket.encode(),
            name: ticket.name,
            peer: peer.to_string(),
            fingerprint: hex::encode(self.fingerprint),
            addresses: ticket.addresses.iter().map(ToString::to_string).collect(),
        })
    }

    /// The peer that a ticket, a name or a peer id means, with what is known of it. A ticket is remembered.
    pub(super) async fn find_peer(&self, wanted: &str) -> Result<(PeerId, PeerRecord), Failure> {
        if looks_like_ticket(wanted) {
            let ticket = Ticket::decode(wanted)?;
            return self.add_ticket(ticket).await;
        }
        let known = load(&self.database).map_err(super::store_failure)?;
        let by_id: Option<PeerId> = wanted.parse().ok();
        let fits = |(peer, record): &&(PeerId, PeerRecord)| Some(*peer) == by_id || record.name == wanted;
        let found: Vec<_> = known.iter().filter(fits).collect();
        match (found.as_slice(), by_id) {
            ([one], _) => Ok((*one).clone()),
            ([], Some(peer)) => {
                let record = PeerRecord { name: String::new(), addresses: Vec::new(), fingerprint: None };
                Ok((peer, record))
            }
            ([], None) => {
                let hint = "Give a ticket (the output of `dmls id` there), or a name of `dmls peer list`.";
                Err(Failure::new(ErrorCode::NotFound, format!("There is no peer {wanted}.")).hint(hint))
            }
            _ => {
                let hint = "Give the peer id, as `dmls peer list` shows it.";
                Err(Failure::new(ErrorCode::Usage, format!("Several peers are called {wanted}.")).hint(hint))
            }
        }
    }

    async fn add_ticket(&self, ticket: Ticket) -> Result<(PeerId, PeerRecord), Failure> {
        let record = PeerRecord {
            name: ticket.name,
            addresses: ticket.addresses.iter().map(ToString::to_string).collect(),
            fingerprint: Some(ticket.fingerprint),
        };
        if ticket.peer == self.gossip.local_peer_id() {
            let failure = Failure::new(ErrorCode::Usage, "This is this node's own ticket.");
            return Err(failure.hint("Ask for the output of `dmls id` at the other node."));
        }
        self.gossip
            .add_peer(ticket.peer, ticket.addresses)
            .await
            .map_err(|error| Failure::new(ErrorCode::Refused, error))?;
        let stored = record.clone();
        self.engine.call(move |engine| engine.remember_peer(&ticket.peer, &stored)).await??;
        Ok((ticket.peer, record))
    }

    /// Remembers the peer of a ticket.
    pub(super) async fn peer_add(&self, ticket: &str) -> Result<PeerView, Failure> {
        let (peer, record) = self.add_ticket(Ticket::decode(ticket)?).await?;
        let views = self.peers().await?;
        let view = views.into_iter().find(|view| view.peer == peer.to_string());
        view.ok_or_else(|| Failure::new(ErrorCode::Failed, format!("The peer {} was not kept.", record.name)))
    }

    /// Forgets a peer.
    pub(super) async fn peer_remove(&self, wanted: &str) -> Result<(), Failure> {
        let (peer, _) = self.find_peer(wanted).await?;
        self.engine.call(move |engine| engine.forget_peer(&peer)).await??;
        self.gossip.remove_peer(peer).await.map_err(ended)
    }

    /// Cuts this node off from exactly these peers.
    pub(super) async fn block(&self, wanted: &[String]) -> Result<(), Failure> {
        let mut blocked = HashSet::new();
        for wanted in wanted {
            blocked.insert(self.find_peer(wanted).await?.0);
        }
        self.gossip.set_blocked(blocked).await.map_err(ended)
    }

    /// Every peer that is remembered or has been connected since the start.
    pub(super) async fn peers(&self) -> Result<Vec<PeerView>, Failure> {
        let known = load(&self.database).map_err(super::store_failure)?;
        let known: BTreeMap<String, PeerRecord> =
            known.into_iter().map(|(peer, record)| (peer.to_string(), record)).collect();
        let stats = self.gossip.stats().await.map_err(ended)?;
        let ids: std::collections::BTreeSet<&String> = known.keys().chain(stats.peers.keys()).collect();
        let view = |peer: &String| {
            let (record, counters) = (known.get(peer), stats.peers.get(peer).cloned().unwrap_or_default());
            PeerView {
                peer: peer.clone(),
                name: peer_name(record),
                fingerprint: record.and_then(|record| record.fingerprint).map(hex::encode),
                addresses: record.map(|record| record.addresses.clone()).unwrap_or_default(),
                remembered: record.is_some(),
                connections: counters.connections,
                bytes_in: counters.bytes_in,
                bytes_out: counters.bytes_out,
                blocked: counters.blocked,
                banned: counters.banned,
            }
        };
        Ok(ids.into_iter().map(view).collect())
    }
}

/// The network has ended.
pub(super) fn ended(error: impl std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::NoDaemon, error).hint("The daemon is stopping; start it again with `dmls run`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_kept_where_the_configuration_leaves_them_open() {
        let parse = |text: &str| text.parse::<Multiaddr>().unwrap();
        let wanted = [
            parse("/ip4/127.0.0.1/udp/0/quic-v1"),
            parse("/ip4/127.0.0.1/tcp/0"),
            parse("/ip4/127.0.0.1/tcp/99"),
            parse("/ip6/::1/udp/0/quic-v1"),
        ];
        let before = ["/ip4/127.0.0.1/udp/5/quic-v1".to_owned(), "/ip4/127.0.0.1/tcp/6".to_owned()];
        let fixed = with_ports(&wanted, &before);
        assert_eq!(fixed[0], parse("/ip4/127.0.0.1/udp/5/quic-v1"));
        assert_eq!(fixed[1], parse("/ip4/127.0.0.1/tcp/6"));
        assert_eq!(fixed[2], parse("/ip4/127.0.0.1/tcp/99"));
        assert_eq!(with_ports(&wanted, &[]), wanted);
    }
}
