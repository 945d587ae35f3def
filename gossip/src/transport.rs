//! QUIC (TLS 1.3), and TCP with Noise and Yamux; names are resolved only where an address has one.

use std::io;
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, dns, noise, quic, tcp, yamux};

use thiserror::Error;

use crate::Limits;
use crate::meter::Meter;

/// Why there is no transport.
#[derive(Debug, Error)]
pub enum TransportError {
    /// Noise refused the identity.
    #[error("The identity cannot be used for encryption: {0}.")]
    Noise(noise::Error),
    /// The resolver configuration became unreadable.
    #[error("The resolver configuration cannot be read: {0}.")]
    Resolver(io::Error),
}

const HANDSHAKE: Duration = Duration::from_secs(10);

pub(crate) fn build(
    pair: &Keypair,
    limits: &Limits,
    meter: &Meter,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, TransportError> {
    let mut mux = yamux::Config::default();
    mux.set_max_num_streams(limits.max_streams_per_connection);
    let counter = meter.clone();
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(pair).map_err(TransportError::Noise)?)
        .multiplex(mux)
        .timeout(HANDSHAKE)
        .map(move |(peer, muxer), _| (peer, counter.wrap(peer, muxer)));

    let mut config = quic::Config::new(pair);
    config.handshake_timeout = HANDSHAKE;
    // A peer that was killed is noticed in seconds.
    config.max_idle_timeout = 8_000;
    config.keep_alive_interval = Duration::from_secs(2);
    config.max_concurrent_stream_limit = u32::try_from(limits.max_streams_per_connection).unwrap_or(u32::MAX);
    // What a peer may have under way unread; libp2p's defaults are 10 and 15 MB.
    config.max_stream_data = 2 * 1024 * 1024;
    config.max_connection_data = 4 * 1024 * 1024;
    let counter = meter.clone();
    let quic =
        quic::tokio::Transport::new(config).map(move |(peer, muxer), _| (peer, counter.wrap(peer, muxer)));

    let both = OrTransport::new(quic, tcp).map(|either, _| either.into_inner());
    // Where the system has no resolver configuration, addresses with names cannot be dialled; others can.
    Ok(if dns::tokio::Transport::system(()).is_ok() {
        dns::tokio::Transport::system(both).map_err(TransportError::Resolver)?.boxed()
    } else {
        both.boxed()
    })
}
