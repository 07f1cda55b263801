//! The bytes of a connection on their way in: counted until the first have come, mended where gRPC's C core needs it, read in turns with
//! those of others, and refused after too many frames that ask for nothing. On their way out: since when the client takes none.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use tokio::time::Instant;

use super::authority::Authority;
use super::ration::Ration;

/// An HTTP/2 client begins with a preface of 24 bytes and a frame with a head of 9. The head of an HTTP/1 request has its own time limit.
const GREETING_BYTES: usize = 24 + 9;

/// Whether the first bytes have come.
#[derive(Clone, Debug, Default)]
pub(super) struct Greeted(Arc<AtomicBool>);

impl Greeted {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether the client sent too many frames that ask for nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Flooded(Arc<AtomicBool>);

impl Flooded {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Since when bytes wait that the client does not take from the socket; none while nothing waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocked(Arc<Mutex<Option<Instant>>>);

impl Blocked {
    pub(super) fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw<T>(&self, written: &Poll<T>) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *since = written.is_pending().then(|| since.unwrap_or_else(Instant::now));
    }
}

/// How long a connection has the thread before others have their turn: each read is followed by work on what it brought.
const TURN: Duration = Duration::from_micros(250);

/// The most bytes of a read where frames are short, so that the work on them is, too.
const SHORT_READ: usize = 4096;

/// Frames are short that have fewer bytes than this.
const SHORT_FRAME: usize = 64;

/// A stream whose incoming bytes are looked at.
#[derive(Debug)]
pub(super) struct Inbound<I> {
    inner: I,
    received: usize,
    greeted: Greeted,
    blocked: Blocked,
    flooded: Flooded,
    ration: Ration,
    authority: Authority,
    /// Since when the connection has had the thread.
    turn: Option<Instant>,
    has_short_frames: bool,
}

impl<I> Inbound<I> {
    pub(super) fn new(inner: I, greeted: Greeted, blocked: Blocked, flooded: Flooded) -> Self {
        let ration = Ration::new(Instant::now());
        let authority = Authority::default();
        Self {
            inner,
            received: 0,
            greeted,
            blocked,
            flooded,
            ration,
            authority,
            turn: None,
            has_short_frames: false,
        }
    }
}

impl<I> Inbound<I> {
    fn wrote(&mut self, written: &Poll<io::Result<usize>>) {
        self.blocked.saw(written);
        if let Poll::Ready(Ok(bytes)) = written {
            self.ration.sent(*bytes);
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Inbound<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let now = Instant::now();
        if now.duration_since(*self.turn.get_or_insert(now)) > TURN {
            self.turn = None;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = if self.has_short_frames && buffer.remaining() > SHORT_READ {
            let mut short = ReadBuf::new(buffer.initialize_unfilled_to(SHORT_READ));
            let read = Pin::new(&mut self.inner).poll_read(context, &mut short);
            let count = short.filled().len();
            buffer.advance(count);
            read
        } else {
            Pin::new(&mut self.inner).poll_read(context, buffer)
        };
        if read.is_pending() {
            self.turn = None;
        }
        let came = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        let frames = self.authority.pass(came);
        self.has_short_frames = (frames.all as usize).saturating_mul(SHORT_FRAME) > came.len();
        if frames.all > 0 && self.ration.is_used_up(frames, now) {
            self.flooded.0.store(true, Ordering::Relaxed);
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::other("too many frames that ask for nothing")));
        }
        if self.received < GREETING_BYTES {
            self.received += came.len();
            if self.received >= GREETING_BYTES {
                self.greeted.0.store(true, Ordering::Relaxed);
            }
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Inbound<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
