//! The bytes of a connection on their way in: counted until the first have come, mended where gRPC's C core needs it, and refused after
//! too many frames about all streams. On their way out: since when the client takes none.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

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

/// Whether the client sent too many frames about all of its streams.
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
}

impl<I> Inbound<I> {
    pub(super) fn new(inner: I, greeted: Greeted, blocked: Blocked, flooded: Flooded) -> Self {
        let ration = Ration::new(Instant::now());
        Self { inner, received: 0, greeted, blocked, flooded, ration, authority: Authority::default() }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Inbound<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        let came = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        let frames = self.authority.pass(came);
        if frames > 0 && self.ration.is_used_up(frames, Instant::now()) {
            self.flooded.0.store(true, Ordering::Relaxed);
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::other("too many SETTINGS or GOAWAY frames")));
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
        self.blocked.saw(&written);
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
        self.blocked.saw(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
