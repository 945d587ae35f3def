//! The application's side: calls that become commands of the network task.

use std::collections::HashSet;

use libp2p::{Multiaddr, PeerId};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::config::peer_of;
use crate::{MessageId, ResponseToken, Stats, Topic};

/// What the application says of a message that it was handed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Valid and stored: it is passed on.
    Accept,
    /// Invalid for everybody: it is not passed on, not fetched again, and its source is penalised. Not for what an
    /// honest peer may have accepted: twenty of these in a short time ban it.
    Reject,
    /// Not passed on and not held against its source; it may be fetched again after a time.
    Ignore,
}

/// What became of a message that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It was handed to at least one peer.
    Sent,
    /// Nobody who is subscribed is connected. Who comes later finds it by reconciliation.
    NoPeers,
    /// The same bytes went out a moment ago.
    Duplicate,
    /// No peer could take it just now; they have been told to reconcile.
    Congested,
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its id.
    pub peer: PeerId,
    /// Its address as seen from here, of the first connection.
    pub address: Multiaddr,
    /// Number of connections to it.
    pub connections: u32,
    /// Topics that it shares with this node.
    pub topics: Vec<Topic>,
}

/// The network task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("The network task has ended.")]
pub struct Closed;

/// Why a topic could not be subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SubscribeError {
    /// The number of topics is bounded.
    #[error("There are too many topics: at most {max} can be subscribed to.")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// The network task has ended.
    #[error("The network task has ended.")]
    Closed,
}

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PublishError {
    /// The message is larger than [`Limits::max_message`](crate::Limits::max_message).
    #[error("The message has {size} bytes; at most {max} can be published.")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// This node is not subscribed to the topic.
    #[error("The topic {topic} is not subscribed to.")]
    NotSubscribed {
        /// The topic.
        topic: Topic,
    },
    /// Gossipsub refused the message.
    #[error("The message could not be published: {reason}.")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The network task has ended.
    #[error("The network task has ended.")]
    Closed,
}

/// Why a peer was not dialled or not remembered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DialError {
    /// The address does not end in `/p2p/<peer id>`.
    #[error("The address {address} does not end in /p2p/<peer id>.")]
    NoPeerId {
        /// The address.
        address: Multiaddr,
    },
    /// The peer is this node itself.
    #[error("The peer {peer} is this node.")]
    Myself {
        /// The peer.
        peer: PeerId,
    },
    /// The peer is blocked or banned.
    #[error("The peer {peer} is blocked.")]
    Blocked {
        /// The peer.
        peer: PeerId,
    },
    /// Too many peers are remembered.
    #[error("There are too many peers: at most {max} are remembered.")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// The address cannot be dialled.
    #[error("The address cannot be dialled: {reason}.")]
    Refused {
        /// What the transport said.
        reason: String,
    },
    /// The network task has ended.
    #[error("The network task has ended.")]
    Closed,
}

/// Why a direct request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The request is larger than [`Limits::max_direct`](crate::Limits::max_direct).
    #[error("The request has {size} bytes; at most {max} can be sent.")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// Too many requests wait for their answers.
    #[error("Too many requests are waiting for answers.")]
    TooMany,
    /// The peer is blocked or banned.
    #[error("The peer {peer} is blocked.")]
    Blocked {
        /// The peer.
        peer: PeerId,
    },
    /// The peer is not connected and could not be dialled.
    #[error("The peer {peer} cannot be reached.")]
    Unreachable {
        /// The peer.
        peer: PeerId,
    },
    /// There was no answer in time, or the peer gave the request up.
    #[error("The peer did not answer in time.")]
    Timeout,
    /// The connection ended before the answer came. Whether the peer acted on the request is not known.
    #[error("The connection ended before the answer came.")]
    Disconnected,
    /// The peer does not speak this protocol.
    #[error("The peer does not answer direct requests.")]
    Unsupported,
    /// The peer is busy; the request was not looked at.
    #[error("The peer is busy.")]
    Busy,
    /// The application at the other end said no.
    #[error("The peer refused the request (code {code}).")]
    Refused {
        /// The code it gave, in the application's numbering.
        code: u8,
    },
    /// The answer was larger than the bound, or not an answer at all.
    #[error("The peer's answer is malformed or too large.")]
    Malformed,
    /// The network task has ended.
    #[error("The network task has ended.")]
    Closed,
}

/// Why an answer could not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RespondError {
    /// The answer is larger than [`Limits::max_direct`](crate::Limits::max_direct). The peer was told "busy".
    #[error("The answer has {size} bytes; at most {max} can be sent.")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// The peer has gone, or its request has timed out.
    #[error("The peer no longer waits for this answer.")]
    Gone,
    /// The network task has ended.
    #[error("The network task has ended.")]
    Closed,
}

/// An answer to a direct request: a body, or a code that says why there is none.
pub type Answer = Result<Vec<u8>, u8>;

pub(crate) type Reply<T> = oneshot::Sender<T>;

pub(crate) enum Command {
    Subscribe(Topic, Reply<Result<(), SubscribeError>>),
    Unsubscribe(Topic, Reply<()>),
    Publish(Topic, Vec<u8>, Reply<Result<Published, PublishError>>),
    Report(Topic, MessageId, PeerId, Verdict),
    Reconcile(Topic),
    Dial(PeerId, Multiaddr, Reply<Result<(), DialError>>),
    AddPeer(PeerId, Vec<Multiaddr>, Reply<Result<(), DialError>>),
    RemovePeer(PeerId, Reply<()>),
    Peers(Reply<Vec<PeerInfo>>),
    ListenAddrs(Reply<Vec<Multiaddr>>),
    SetBlocked(HashSet<PeerId>, Reply<()>),
    Request(PeerId, Vec<Multiaddr>, u8, Vec<u8>, Reply<Result<Vec<u8>, RequestError>>),
    Respond(ResponseToken, Answer, Reply<Result<(), RespondError>>),
    Stats(Reply<Stats>),
    Shutdown(Reply<()>),
}

/// Controls a running [`Gossip`](crate::Gossip). Clones share it; it ends when the last one is dropped.
#[derive(Clone)]
pub struct Handle {
    pub(crate) local: PeerId,
    pub(crate) commands: mpsc::Sender<Command>,
}

impl Handle {
    /// This node's peer id.
    pub fn local_peer_id(&self) -> PeerId {
        self.local
    }

    /// Takes part in a topic: hears it live, reconciles it with every peer that shares it, and serves it.
    pub async fn subscribe(&self, topic: Topic) -> Result<(), SubscribeError> {
        self.call(|reply| Command::Subscribe(topic, reply)).await.unwrap_or(Err(SubscribeError::Closed))
    }

    /// Leaves a topic.
    pub async fn unsubscribe(&self, topic: Topic) -> Result<(), Closed> {
        self.call(|reply| Command::Unsubscribe(topic, reply)).await
    }

    /// Sends a message, **which the store has already**, to the peers of its topic. It is never an error that there
    /// are none.
    pub async fn publish(&self, topic: Topic, bytes: Vec<u8>) -> Result<Published, PublishError> {
        self.call(|reply| Command::Publish(topic, bytes, reply)).await.unwrap_or(Err(PublishError::Closed))
    }

    /// Says what the application thinks of a message it was handed: `topic`, `id` and `source` are those of
    /// [`Event::Message`](crate::Event::Message).
    pub async fn report(
        &self,
        topic: Topic,
        id: MessageId,
        source: PeerId,
        verdict: Verdict,
    ) -> Result<(), Closed> {
        self.commands.send(Command::Report(topic, id, source, verdict)).await.map_err(|_| Closed)
    }

    /// Starts a reconciliation of a topic with every connected peer that shares it; the outcomes are events.
    pub async fn reconcile(&self, topic: Topic) -> Result<(), Closed> {
        self.commands.send(Command::Reconcile(topic)).await.map_err(|_| Closed)
    }

    /// Dials an address that ends in `/p2p/<peer id>` once. Whether it worked is an event.
    pub async fn dial(&self, address: Multiaddr) -> Result<PeerId, DialError> {
        let peer = peer_of(&address).ok_or_else(|| DialError::NoPeerId { address: address.clone() })?;
        self.call(|reply| Command::Dial(peer, address, reply)).await.unwrap_or(Err(DialError::Closed))?;
        Ok(peer)
    }

    /// Remembers a peer: it is dialled now, and again whenever the connection is lost, for ever. Further addresses of
    /// a known peer are added to those known.
    pub async fn add_peer(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), DialError> {
        let call = self.call(|reply| Command::AddPeer(peer, addresses, reply));
        call.await.unwrap_or(Err(DialError::Closed))
    }

    /// Forgets a peer: it is no longer redialled. An open connection stays.
    pub async fn remove_peer(&self, peer: PeerId) -> Result<(), Closed> {
        self.call(|reply| Command::RemovePeer(peer, reply)).await
    }

    /// The connected peers.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, Closed> {
        self.call(Command::Peers).await
    }

    /// The addresses that this node listens on, without its peer id.
    pub async fn listen_addrs(&self) -> Result<Vec<Multiaddr>, Closed> {
        self.call(Command::ListenAddrs).await
    }

    /// Cuts this node off from exactly these peers: connections are closed, none is made or accepted, no byte of any
    /// stream passes. Peers that were in the set before and are not any more are dialled again at once if remembered.
    pub async fn set_blocked(&self, peers: HashSet<PeerId>) -> Result<(), Closed> {
        self.call(|reply| Command::SetBlocked(peers, reply)).await
    }

    /// Asks a peer directly and waits for its application's answer. `addresses` are tried if the peer is not
    /// connected; they may be empty if it is or is remembered. `kind` is the application's own numbering.
    pub async fn request(
        &self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        kind: u8,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, RequestError> {
        let call = self.call(|reply| Command::Request(peer, addresses, kind, body, reply));
        call.await.unwrap_or(Err(RequestError::Closed))
    }

    /// Answers an [`Event::Request`](crate::Event::Request).
    pub async fn respond(&self, token: ResponseToken, answer: Answer) -> Result<(), RespondError> {
        self.call(|reply| Command::Respond(token, answer, reply)).await.unwrap_or(Err(RespondError::Closed))
    }

    /// Counters, also of peers that are no longer connected.
    pub async fn stats(&self) -> Result<Stats, Closed> {
        self.call(Command::Stats).await
    }

    /// Closes all connections and ends the network task.
    pub async fn shutdown(&self) -> Result<(), Closed> {
        self.call(Command::Shutdown).await
    }

    async fn call<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Closed> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Closed)?;
        answer.await.map_err(|_| Closed)
    }
}
