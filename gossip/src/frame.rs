//! Frames on a request-response stream: a length (32 bits, big endian) and that many bytes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libp2p::StreamProtocol;
use libp2p::futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::request_response::Codec;
use thiserror::Error;

/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;

/// Why a frame was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    /// The announced length is above the bound.
    #[error("A frame of {len} bytes was announced; at most {max} are read.")]
    TooLarge { len: usize, max: usize },
    /// All peers together have too much half-read.
    #[error("Too many bytes are being read at this time.")]
    Busy,
}

impl FrameError {
    /// The frame error inside an I/O error, if there is one.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).copied()
    }
}

/// A request as it came in (one that goes out is always `Ok`).
pub(crate) type Incoming = Result<Vec<u8>, FrameError>;

/// Reads and writes opaque frames within bounds.
#[derive(Clone)]
pub(crate) struct FrameCodec {
    pub(crate) max_request: usize,
    pub(crate) max_response: usize,
    pub(crate) reading: Reading,
}

/// How many bytes are being read at this time, over all streams of all peers.
#[derive(Clone)]
pub(crate) struct Reading {
    used: Arc<AtomicUsize>,
    max: usize,
}

impl Reading {
    pub(crate) fn new(max: usize) -> Self {
        Self { used: Arc::default(), max }
    }

    fn hold(&self) -> Held<'_> {
        Held { reading: self, len: 0 }
    }
}

/// The share of one frame; given back on drop.
struct Held<'a> {
    reading: &'a Reading,
    len: usize,
}

impl Held<'_> {
    fn grow(&mut self, len: usize) -> Result<(), FrameError> {
        let before = self.reading.used.fetch_add(len, Ordering::AcqRel);
        self.len = self.len.saturating_add(len);
        if before.saturating_add(len) > self.reading.max { Err(FrameError::Busy) } else { Ok(()) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.reading.used.fetch_sub(self.len, Ordering::AcqRel);
    }
}

async fn read<T>(io: &mut T, max: usize, reading: &Reading) -> io::Result<Vec<u8>>
where
    T: AsyncRead + Unpin + Send,
{
    let mut len = [0u8; 4];
    io.read_exact(&mut len).await?;
    let len = u32::from_be_bytes(len) as usize;
    if len > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, FrameError::TooLarge { len, max }));
    }
    // Buffer and share grow with what has come: who only announces much takes nothing away from others.
    let (mut held, mut out) = (reading.hold(), Vec::new());
    let mut piece = vec![0; len.min(PIECE)];
    while out.len() < len {
        let open = piece.len().min(len - out.len());
        let n = io.read(piece.get_mut(..open).unwrap_or_default()).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        held.grow(n).map_err(io::Error::other)?;
        out.extend_from_slice(piece.get(..n).unwrap_or_default());
    }
    Ok(out)
}

async fn write<T>(io: &mut T, bytes: &[u8]) -> io::Result<()>
where
    T: AsyncWrite + Unpin + Send,
{
    let len = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    io.write_all(&len.to_be_bytes()).await?;
    io.write_all(bytes).await
}

impl Codec for FrameCodec {
    type Protocol = StreamProtocol;
    type Request = Incoming;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Incoming>
    where
        T: AsyncRead + Unpin + Send,
    {
        // libp2p keeps a failed read of a request to itself; as a value it reaches the task, which books the fault.
        match read(io, self.max_request, &self.reading).await {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(error) => FrameError::of(&error).map(Err).ok_or(error),
        }
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read(io, self.max_response, &self.reading).await
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Incoming) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &bytes.map_err(io::Error::other)?).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &bytes).await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use libp2p::futures::executor::block_on;
    use libp2p::futures::io::Cursor;

    use super::*;

    fn frame(len: u32, body: &[u8]) -> Cursor<Vec<u8>> {
        Cursor::new([&len.to_be_bytes()[..], body].concat())
    }

    #[test]
    fn a_frame_is_read_within_its_bound_only() {
        let reading = Reading::new(100);
        assert_eq!(block_on(read(&mut frame(3, b"abc"), 3, &reading)).unwrap(), b"abc");
        let error = block_on(read(&mut frame(4, b"abcd"), 3, &reading)).unwrap_err();
        assert_eq!(FrameError::of(&error), Some(FrameError::TooLarge { len: 4, max: 3 }));
        let error = block_on(read(&mut frame(4, b"abc"), 4, &reading)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_being_read_is_bounded_over_all_streams_and_given_back() {
        let reading = Reading::new(100);
        let mut held = reading.hold();
        held.grow(98).unwrap();
        let error = block_on(read(&mut frame(3, b"abc"), 3, &reading)).unwrap_err();
        assert_eq!(FrameError::of(&error), Some(FrameError::Busy));
        drop(held);
        assert!(block_on(read(&mut frame(3, b"abc"), 3, &reading)).is_ok());
        assert_eq!(reading.used.load(Ordering::SeqCst), 0);
    }

    /// Gives what it has and then neither more nor an end.
    struct Stalled(Cursor<Vec<u8>>);

    impl AsyncRead for Stalled {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            match Pin::new(&mut self.0).poll_read(cx, buf) {
                Poll::Ready(Ok(0)) => Poll::Pending,
                other => other,
            }
        }
    }

    #[test]
    fn an_announced_length_takes_nothing_away_from_others() {
        let reading = Reading::new(100_000);
        let mut cx = Context::from_waker(Waker::noop());
        let mut stalled: Vec<_> = (0..20).map(|_| Stalled(frame(100_000, &[7; 4_000]))).collect();
        let mut open: Vec<_> = stalled.iter_mut().map(|io| Box::pin(read(io, 100_000, &reading))).collect();
        assert!(open.iter_mut().all(|read| read.as_mut().poll(&mut cx).is_pending()));
        assert_eq!(reading.used.load(Ordering::SeqCst), 80_000, "what has come is counted");
        assert!(block_on(read(&mut frame(20_000, &[1; 20_000]), 20_000, &reading)).is_ok());
        let error = block_on(read(&mut frame(20_001, &[1; 20_001]), 20_001, &reading)).unwrap_err();
        assert_eq!(FrameError::of(&error), Some(FrameError::Busy), "the control: what has come is bounded");
        drop(open);
        assert_eq!(reading.used.load(Ordering::SeqCst), 0);
    }
}
