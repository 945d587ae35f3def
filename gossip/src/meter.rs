//! Counts the bytes of every stream, by the peer that the connection was authenticated as.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};
use libp2p::futures::{AsyncRead, AsyncWrite};

/// The counters of one peer.
#[derive(Default)]
pub(crate) struct Bytes {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Bytes {
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// The counters of all peers.
#[derive(Clone)]
pub(crate) struct Meter {
    peers: Arc<Mutex<HashMap<PeerId, Arc<Bytes>>>>,
    max_peers: usize,
}

impl Meter {
    /// Counters of at most about `max_peers` peers are kept beyond the connected ones.
    pub(crate) fn new(max_peers: usize) -> Self {
        Self { peers: Arc::default(), max_peers }
    }

    pub(crate) fn all(&self) -> Vec<(PeerId, Arc<Bytes>)> {
        self.lock().iter().map(|(peer, bytes)| (*peer, bytes.clone())).collect()
    }

    pub(crate) fn of(&self, peer: &PeerId) -> Option<Arc<Bytes>> {
        self.lock().get(peer).cloned()
    }

    /// Wraps a connection so that it counts for `peer`.
    pub(crate) fn wrap<M>(&self, peer: PeerId, muxer: M) -> StreamMuxerBox
    where
        M: StreamMuxer + Send + 'static,
        M::Substream: Send + 'static,
        M::Error: Send + Sync + 'static,
    {
        let mut peers = self.lock();
        if peers.len() >= self.max_peers && !peers.contains_key(&peer) {
            // A wrapped connection holds a reference; what has none is only a memory of a peer that has gone.
            peers.retain(|_, bytes| Arc::strong_count(bytes) > 1);
        }
        let bytes = peers.entry(peer).or_default().clone();
        StreamMuxerBox::new(Counted { inner: StreamMuxerBox::new(muxer), bytes })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, Arc<Bytes>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Counted<T> {
    inner: T,
    bytes: Arc<Bytes>,
}

impl Counted<StreamMuxerBox> {
    fn stream(&self, inner: SubstreamBox) -> Counted<SubstreamBox> {
        Counted { inner, bytes: self.bytes.clone() }
    }
}

impl StreamMuxer for Counted<StreamMuxerBox> {
    type Substream = Counted<SubstreamBox>;
    type Error = io::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, io::Error>> {
        Pin::new(&mut self.inner).poll_inbound(cx).map_ok(|stream| self.stream(stream))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, io::Error>> {
        Pin::new(&mut self.inner).poll_outbound(cx).map_ok(|stream| self.stream(stream))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, io::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

impl AsyncRead for Counted<SubstreamBox> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(n)) = &read {
            self.bytes.received.fetch_add(*n as u64, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Counted<SubstreamBox> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = &written {
            self.bytes.sent.fetch_add(*n as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(n)) = &written {
            self.bytes.sent.fetch_add(*n as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
