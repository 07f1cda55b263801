//! The open calls of one connection: how many, since when there is none, and how many were cancelled.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body, Buf, Bytes, Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper::{Request, Response};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use super::Ends;
use super::executor;
use super::places::Place;
use super::resets::{Budget, Verdict};

/// Most bytes of an answer that are handed over at once. What is handed over waits in the connection until the client takes it.
const CHUNK_BYTES: usize = 32 << 10;

/// An answer of so many bytes keeps its last byte back until the connection asks for more.
///
/// hyper asks for more once the client has given room for what it has. An answer that is handed over to its end is no longer watched,
/// and its last part may wait for that room for ever. Clients give 64 KiB of it to each new stream, so a smaller answer goes in one part.
pub(super) const CHECKED_BYTES: usize = 16 << 10;

/// Shared by a connection and its calls.
#[derive(Debug)]
pub(super) struct Calls {
    state: Mutex<State>,
    place: Place,
    /// Wakes the connection when the verdict on it changes.
    judged: Notify,
}

#[derive(Debug)]
struct State {
    open: HashSet<u64>,
    begun: u64,
    idle_since: Instant,
    budget: Budget,
    verdict: Verdict,
}

impl Calls {
    pub(super) fn new(place: Place) -> Arc<Self> {
        let now = Instant::now();
        let (open, budget) = (HashSet::new(), Budget::new(now));
        let state = State { open, begun: 0, idle_since: now, budget, verdict: Verdict::Fine };
        Arc::new(Self { state: Mutex::new(state), place, judged: Notify::new() })
    }

    /// Since when there is no open call.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        state.open.is_empty().then_some(state.idle_since)
    }

    /// Completes when another connection needs this one's place.
    pub(super) async fn evicted(&self) {
        self.place.evicted().await;
    }

    /// Completes when the verdict on the cancelled calls is no longer the one given.
    pub(super) async fn judged(&self, last: Verdict) -> Verdict {
        loop {
            let notified = self.judged.notified();
            let verdict = self.state().verdict;
            if verdict != last {
                return verdict;
            }
            notified.await;
        }
    }

    fn begin(self: &Arc<Self>) -> Call {
        let mut state = self.state();
        state.begun += 1;
        let (number, waits) = (state.begun, Arc::new(Waits::new()));
        state.open.insert(number);
        if state.open.len() == 1 {
            self.place.busy();
        }
        drop(state);
        Call { calls: Arc::clone(self), number, waits, answered: false, broken: Arc::default() }
    }

    fn end(&self, number: u64, answered: bool) {
        let mut state = self.state();
        state.open.remove(&number);
        let now = Instant::now();
        if answered {
            state.budget.answered();
        } else {
            let verdict = state.budget.cancelled(now);
            // A connection that was told to move on is not taken back.
            if verdict > state.verdict {
                state.verdict = verdict;
                self.judged.notify_one();
            }
        }
        if state.open.is_empty() {
            state.idle_since = now;
            self.place.idle();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call from its headers to the end of its answer. One that is dropped before that was cancelled.
#[derive(Debug)]
struct Call {
    calls: Arc<Calls>,
    number: u64,
    waits: Arc<Waits>,
    answered: bool,
    /// Whether the request ended before its end. A service that reads it may still answer, to nobody.
    broken: Arc<AtomicBool>,
}

impl Drop for Call {
    fn drop(&mut self) {
        // A call that the server gave up was not cancelled by its client.
        let answered = self.waits.is_given_up() || (self.answered && !self.broken.load(Ordering::Relaxed));
        self.calls.end(self.number, answered);
    }
}

/// Since when a part of an answer waits for its client.
#[derive(Debug)]
pub(super) struct Waits {
    begun: Instant,
    /// In milliseconds since then, and one more; 0 while nothing waits.
    since_ms: AtomicU64,
    given_up: AtomicBool,
}

impl Waits {
    fn new() -> Self {
        Self { begun: Instant::now(), since_ms: AtomicU64::new(0), given_up: AtomicBool::new(false) }
    }

    /// A part was handed over. The next is asked for once the client has taken it.
    fn given(&self) {
        let passed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.since_ms.store(passed + 1, Ordering::Relaxed);
    }

    /// The next part is asked for.
    fn taken(&self) {
        self.since_ms.store(0, Ordering::Relaxed);
    }

    /// The answer has waited for too long.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(super) fn since(&self) -> Option<Instant> {
        let since = self.since_ms.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.begun + Duration::from_millis(since))
    }
}

/// The body of a request.
#[derive(Debug)]
pub struct Received {
    body: Incoming,
    broken: Arc<AtomicBool>,
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Err(_))) = &frame {
            self.broken.store(true, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A service whose calls are counted; every request carries the ends of its connection.
#[derive(Clone, Debug)]
pub(super) struct Counted<S> {
    pub(super) inner: S,
    pub(super) ends: Ends,
    pub(super) calls: Arc<Calls>,
}

impl<S, B> Service<Request<Incoming>> for Counted<S>
where
    S: Service<Request<Received>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: Body,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.ends);
        let mut call = self.calls.begin();
        let broken = Arc::clone(&call.broken);
        let answer = self.inner.call(request.map(|body| Received { body, broken }));
        Box::pin(async move {
            let response = answer.await?;
            call.answered = response.body().is_end_stream();
            call.waits.given();
            executor::answers(&call.waits);
            Ok(response.map(|body| Answer { body: Box::pin(body), rest: Bytes::new(), call }))
        })
    }
}

/// The body of an answer. Its call is open while it lives.
pub(super) struct Answer<B> {
    body: Pin<Box<B>>,
    /// What is left of a frame that was too large to be handed over at once.
    rest: Bytes,
    call: Call,
}

impl<B> fmt::Debug for Answer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("call", &self.call).finish_non_exhaustive()
    }
}

impl<B: Body> Answer<B> {
    /// As much of some bytes as is handed over at once; the rest is kept.
    fn part_of(&mut self, mut data: B::Data) -> Bytes {
        self.rest = data.copy_to_bytes(data.remaining());
        if self.rest.len() < CHECKED_BYTES { std::mem::take(&mut self.rest) } else { self.next_part() }
    }

    /// The next part of what was kept. The last byte is a part of its own.
    fn next_part(&mut self) -> Bytes {
        let size = (self.rest.len() - 1).clamp(1, CHUNK_BYTES);
        self.rest.split_to(size)
    }
}

impl<B: Body> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.call.waits.taken();
        let frame = if self.rest.has_remaining() {
            Some(Ok(Frame::data(self.next_part())))
        } else {
            let frame = std::task::ready!(self.body.as_mut().poll_frame(context));
            frame.map(|frame| frame.map(|frame| frame.map_data(|data| self.part_of(data))))
        };
        // hyper does not ask for more after trailers, nor after an error.
        self.call.answered |= match &frame {
            Some(Ok(frame)) => frame.is_trailers() || self.is_end_stream(),
            Some(Err(_)) | None => true,
        };
        if !self.call.answered {
            self.call.waits.given();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        !self.rest.has_remaining() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
