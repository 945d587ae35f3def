//! The application's own requests, peer to peer: opaque bodies with one byte in front.
//!
//! A request is its kind and its body; an answer is 0 and its body, 1 and a code, or 2 for "busy".

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::request_response::{self, Message, OutboundFailure, OutboundRequestId, ResponseChannel};
use libp2p::{Multiaddr, PeerId};

use crate::config::ms;
use crate::frame::Incoming;
use crate::handle::{Answer, Reply};
use crate::task::Task;
use crate::{Event, Fault, RequestError, RespondError, ResponseToken};

const OK: u8 = 0;
const REFUSED: u8 = 1;
const BUSY: u8 = 2;

type Asked = Result<Vec<u8>, RequestError>;

/// Requests that wait for answers, in both directions.
#[derive(Default)]
pub(crate) struct Direct {
    outgoing: HashMap<OutboundRequestId, (Reply<Asked>, Instant)>,
    incoming: HashMap<u64, (ResponseChannel<Vec<u8>>, Instant)>,
    next_token: u64,
}

impl Direct {
    /// Gives up what can have no answer any more: libp2p's own timeouts come first, but for requests that it dropped.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.incoming.retain(|_, (channel, until)| channel.is_open() && *until > now);
        let late: Vec<_> =
            self.outgoing.iter().filter(|(_, (_, until))| *until <= now).map(|(id, _)| *id).collect();
        for id in late {
            if let Some((reply, _)) = self.outgoing.remove(&id) {
                let _ = reply.send(Err(RequestError::Timeout));
            }
        }
    }
}

impl Task {
    fn direct_deadline(&self) -> Instant {
        // Dialling comes before the request's own timeout.
        Instant::now() + ms(self.config.timing.request_timeout_ms) + Duration::from_secs(12)
    }

    pub(crate) fn ask(
        &mut self,
        peer: PeerId,
        mut addresses: Vec<Multiaddr>,
        kind: u8,
        body: Vec<u8>,
        reply: Reply<Asked>,
    ) {
        if let Err(error) = self.may_ask(&peer, body.len()) {
            let _ = reply.send(Err(error));
            return;
        }
        addresses.extend_from_slice(self.known.addresses(&peer));
        let mut request = Vec::with_capacity(body.len().saturating_add(1));
        request.push(kind);
        request.extend_from_slice(&body);
        let direct = &mut self.swarm.behaviour_mut().direct;
        let id = direct.send_request_with_addresses(&peer, Ok(request), addresses);
        self.direct.outgoing.insert(id, (reply, self.direct_deadline()));
    }

    fn may_ask(&self, peer: &PeerId, size: usize) -> Result<(), RequestError> {
        let limits = &self.config.limits;
        if size > limits.max_direct {
            return Err(RequestError::TooLarge { size, max: limits.max_direct });
        }
        if self.standing.is_out(peer) {
            return Err(RequestError::Blocked { peer: *peer });
        }
        if peer == self.swarm.local_peer_id() {
            return Err(RequestError::Unreachable { peer: *peer });
        }
        if self.direct.outgoing.len() >= limits.max_direct_pending {
            return Err(RequestError::TooMany);
        }
        Ok(())
    }

    pub(crate) fn respond(&mut self, token: ResponseToken, answer: Answer) -> Result<(), RespondError> {
        let (channel, _) = self.direct.incoming.remove(&token.0).ok_or(RespondError::Gone)?;
        let max = self.config.limits.max_direct;
        let size = answer.as_ref().map_or(0, Vec::len);
        let bytes = match answer {
            Ok(_) if size > max => vec![BUSY],
            Ok(body) => [&[OK], body.as_slice()].concat(),
            Err(code) => vec![REFUSED, code],
        };
        self.send_direct(channel, bytes).map_err(|()| RespondError::Gone)?;
        if size > max { Err(RespondError::TooLarge { size, max }) } else { Ok(()) }
    }

    fn send_direct(&mut self, channel: ResponseChannel<Vec<u8>>, bytes: Vec<u8>) -> Result<(), ()> {
        self.swarm.behaviour_mut().direct.send_response(channel, bytes).map_err(|_| ())
    }

    pub(crate) fn on_direct(&mut self, event: request_response::Event<Incoming, Vec<u8>>) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                Message::Request { request, channel, .. } => match request {
                    Ok(request) => self.on_asked(peer, &request, channel),
                    Err(error) => {
                        let _ = self.send_direct(channel, vec![BUSY]);
                        self.on_unread(peer, error);
                    }
                },
                Message::Response { request_id, response } => {
                    if let Some(state) = self.peers.get_mut(&peer) {
                        state.window.solicited += response.len() as u64;
                    }
                    let answer = self.read_answer(peer, response);
                    self.end_request(request_id, answer);
                }
            },
            request_response::Event::OutboundFailure { peer, request_id, error, .. } => {
                let error = match error {
                    OutboundFailure::DialFailure => RequestError::Unreachable { peer },
                    OutboundFailure::Timeout => RequestError::Timeout,
                    OutboundFailure::ConnectionClosed => RequestError::Disconnected,
                    OutboundFailure::UnsupportedProtocols => RequestError::Unsupported,
                    OutboundFailure::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                        RequestError::Malformed
                    }
                    // The peer's own timeout is the same as ours, and may come first.
                    OutboundFailure::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                        RequestError::Timeout
                    }
                    OutboundFailure::Io(_) => RequestError::Disconnected,
                };
                self.end_request(request_id, Err(error));
            }
            request_response::Event::InboundFailure { .. } | request_response::Event::ResponseSent { .. } => {
            }
        }
    }

    fn end_request(&mut self, id: OutboundRequestId, answer: Asked) {
        if let Some((reply, _)) = self.direct.outgoing.remove(&id) {
            // An error means that the application no longer waits.
            let _ = reply.send(answer);
        }
    }

    fn read_answer(&mut self, peer: PeerId, mut answer: Vec<u8>) -> Asked {
        match answer.as_slice() {
            [OK, ..] => {
                answer.remove(0);
                Ok(answer)
            }
            [REFUSED, code] => Err(RequestError::Refused { code: *code }),
            [BUSY] => Err(RequestError::Busy),
            _ => {
                self.fault(peer, Fault::Malformed);
                Err(RequestError::Malformed)
            }
        }
    }

    fn on_asked(&mut self, peer: PeerId, request: &[u8], channel: ResponseChannel<Vec<u8>>) {
        let limits = &self.config.limits;
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if !state.window.request(limits) {
            let _ = self.send_direct(channel, vec![BUSY]);
            return self.fault(peer, Fault::TooManyRequests);
        }
        let Some((kind, body)) = request.split_first() else {
            let _ = self.send_direct(channel, vec![BUSY]);
            return self.fault(peer, Fault::Malformed);
        };
        let token = self.direct.next_token;
        let full = self.direct.incoming.len() >= limits.max_direct_pending;
        let event = Event::Request { peer, kind: *kind, body: body.to_vec(), token: ResponseToken(token) };
        let full = full || body.len() > limits.max_direct;
        if full || self.queue.offer(event).is_err() {
            self.stats.refused_busy += 1;
            let _ = self.send_direct(channel, vec![BUSY]);
            return;
        }
        self.direct.next_token = token.wrapping_add(1);
        self.direct.incoming.insert(token, (channel, self.direct_deadline()));
    }
}
