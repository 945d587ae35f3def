//! A peer that speaks the protocols by hand, so that it can break them. Nothing here uses the crate's own encoding.

use std::io;
use std::sync::{Arc, Mutex};

use dmls_gossip::{MessageId, PeerId};
use libp2p::futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::request_response::{self, Codec, Message, OutboundRequestId, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{StreamProtocol, SwarmBuilder, identity, noise, tcp, yamux};
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use tokio::sync::{mpsc, oneshot};

use crate::support::{Node, TOPIC, order_of, until};

/// A frame whose header need not be true.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) header: u32,
    pub(crate) body: Vec<u8>,
}

impl From<Vec<u8>> for Frame {
    fn from(body: Vec<u8>) -> Self {
        Self { header: body.len() as u32, body }
    }
}

#[derive(Clone)]
struct RawCodec;

async fn read<T: AsyncRead + Unpin + Send>(io: &mut T) -> io::Result<Frame> {
    let mut header = [0; 4];
    io.read_exact(&mut header).await?;
    let header = u32::from_be_bytes(header);
    let mut body = Vec::new();
    io.take(header.min(1 << 24).into()).read_to_end(&mut body).await?;
    Ok(Frame { header, body })
}

async fn write<T: AsyncWrite + Unpin + Send>(io: &mut T, frame: Frame) -> io::Result<()> {
    io.write_all(&frame.header.to_be_bytes()).await?;
    io.write_all(&frame.body).await
}

impl Codec for RawCodec {
    type Protocol = StreamProtocol;
    type Request = Frame;
    type Response = Frame;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Frame>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Frame>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, frame: Frame) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, frame).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, frame: Frame) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, frame).await
    }
}

#[derive(NetworkBehaviour)]
struct RawBehaviour {
    gossip: gossipsub::Behaviour,
    sync: request_response::Behaviour<RawCodec>,
}

enum Order {
    Ask(Frame, oneshot::Sender<Option<Vec<u8>>>),
    Publish(Vec<u8>),
}

pub(crate) struct Raw {
    pub(crate) id: PeerId,
    orders: mpsc::Sender<Order>,
    /// Requests that the victim sent.
    pub(crate) asked: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// What to answer to a request; `None` leaves it open.
pub(crate) type Script = Box<dyn FnMut(&[u8]) -> Option<Frame> + Send>;

impl Raw {
    /// Connects to a node and subscribes to its topic.
    pub(crate) async fn connect(victim: &Node, script: Script) -> Self {
        let pair = identity::Keypair::generate_ed25519();
        let id = pair.public().to_peer_id();
        let mut swarm = SwarmBuilder::with_existing_identity(pair)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_quic()
            .with_behaviour(|_| behaviour())
            .unwrap()
            .build();
        swarm.behaviour_mut().gossip.subscribe(&topic()).unwrap();
        swarm.dial(victim.addresses[0].clone().with_p2p(victim.id).unwrap()).unwrap();
        let (orders, inbox) = mpsc::channel(1024);
        let asked = Arc::default();
        tokio::spawn(run(swarm, victim.id, inbox, script, Arc::clone(&asked)));
        let raw = Self { id, orders, asked };
        until("the raw peer is in the topic", 5, async || victim.sees(raw.id).await).await;
        raw
    }

    /// Sends a request and returns the answer, if there is one.
    pub(crate) async fn ask(&self, frame: impl Into<Frame>) -> Option<Vec<u8>> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Ask(frame.into(), reply)).await.unwrap();
        answer.await.unwrap_or(None)
    }

    pub(crate) async fn publish(&self, data: Vec<u8>) {
        self.orders.send(Order::Publish(data)).await.unwrap();
    }

    /// How many requests of a kind the victim sent.
    pub(crate) fn count(&self, tag: u8) -> usize {
        self.asked.lock().unwrap().iter().filter(|request| request[0] == tag).count()
    }
}

fn topic() -> IdentTopic {
    IdentTopic::new(TOPIC.to_string())
}

fn behaviour() -> RawBehaviour {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .heartbeat_initial_delay(std::time::Duration::from_millis(50))
        .max_transmit_size(1 << 20)
        .flood_publish(true)
        .message_id_fn(|m| MessageId::of(&m.data).0.to_vec().into())
        .build()
        .unwrap();
    let sync = StreamProtocol::new("/dmls/sync/1");
    RawBehaviour {
        gossip: gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config).unwrap(),
        sync: request_response::Behaviour::with_codec(
            RawCodec,
            [(sync, ProtocolSupport::Full)],
            request_response::Config::default(),
        ),
    }
}

async fn run(
    mut swarm: libp2p::Swarm<RawBehaviour>,
    victim: PeerId,
    mut inbox: mpsc::Receiver<Order>,
    mut script: Script,
    asked: Arc<Mutex<Vec<Vec<u8>>>>,
) {
    let mut open = Vec::new();
    let mut waiting: Vec<(OutboundRequestId, oneshot::Sender<Option<Vec<u8>>>)> = Vec::new();
    loop {
        tokio::select! {
            order = inbox.recv() => match order {
                None => return,
                Some(Order::Publish(data)) => {
                    swarm.behaviour_mut().gossip.publish(topic(), data).unwrap();
                }
                Some(Order::Ask(frame, reply)) => {
                    waiting.push((swarm.behaviour_mut().sync.send_request(&victim, frame), reply));
                }
            },
            event = swarm.select_next_some() => {
                let SwarmEvent::Behaviour(RawBehaviourEvent::Sync(event)) = event else { continue };
                let (id, answer) = match event {
                    request_response::Event::Message { message, .. } => match message {
                        Message::Request { request, channel, .. } => {
                            asked.lock().unwrap().push(request.body.clone());
                            match script(&request.body) {
                                Some(frame) => { let _ = swarm.behaviour_mut().sync.send_response(channel, frame); }
                                None => open.push(channel),
                            }
                            continue;
                        }
                        Message::Response { request_id, response } => (request_id, Some(response.body)),
                    },
                    request_response::Event::OutboundFailure { request_id, .. } => (request_id, None),
                    _ => continue,
                };
                if let Some(at) = waiting.iter().position(|(which, _)| *which == id) {
                    let _ = waiting.swap_remove(at).1.send(answer);
                }
            }
        }
    }
}

/// A peer that keeps to the rules and has these messages.
pub(crate) fn honest(messages: Vec<Vec<u8>>) -> impl FnMut(&[u8]) -> Option<Frame> + Send {
    let mut storage = NegentropyStorageVector::new();
    for bytes in &messages {
        storage.insert(order_of(bytes), Id::from_byte_array(MessageId::of(bytes).0)).unwrap();
    }
    storage.seal().unwrap();
    move |request| {
        let answer = match request[0] {
            1 => [&[1u8][..], &0u64.to_be_bytes()].concat(),
            2 => {
                let frame = &request[1 + 32 + 8 + 1..];
                let answer = Negentropy::borrowed(&storage, 60_000).unwrap().reconcile(frame).unwrap();
                [&[2u8][..], &answer].concat()
            }
            3 => {
                let ids: Vec<[u8; 32]> =
                    request[37..].chunks_exact(32).map(|id| id.try_into().unwrap()).collect();
                bodies(ids.iter().map(|id| {
                    messages
                        .iter()
                        .find(|bytes| MessageId::of(bytes).0 == *id)
                        .map_or_else(|| missing(id), |bytes| body(bytes))
                }))
            }
            _ => vec![5],
        };
        Some(answer.into())
    }
}

pub(crate) fn bodies(offers: impl ExactSizeIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut out = [&[3u8][..], &(offers.len() as u32).to_be_bytes()].concat();
    offers.for_each(|offer| out.extend(offer));
    out
}

pub(crate) fn body(bytes: &[u8]) -> Vec<u8> {
    [&[0u8][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

pub(crate) fn missing(id: &[u8; 32]) -> Vec<u8> {
    [&[2u8][..], id].concat()
}
