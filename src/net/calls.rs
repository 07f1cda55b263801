//! The open calls of one connection: how many, since when there is none, and how many were cancelled.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper::{Request, Response};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Ends;
use super::places::Place;
use super::resets::{Budget, Verdict};

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
    open: usize,
    idle_since: Instant,
    budget: Budget,
    verdict: Verdict,
}

impl Calls {
    pub(super) fn new(place: Place) -> Arc<Self> {
        let now = Instant::now();
        let state = State { open: 0, idle_since: now, budget: Budget::new(now), verdict: Verdict::Fine };
        Arc::new(Self { state: Mutex::new(state), place, judged: Notify::new() })
    }

    /// Since when there is no open call.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.open == 0).then_some(state.idle_since)
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
        state.open += 1;
        if state.open == 1 {
            self.place.busy();
        }
        drop(state);
        Call { calls: Arc::clone(self), answered: false, broken: Arc::default() }
    }

    fn end(&self, answered: bool) {
        let mut state = self.state();
        state.open -= 1;
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
        if state.open == 0 {
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
    answered: bool,
    /// Whether the request ended before its end. A service that reads it may still answer, to nobody.
    broken: Arc<AtomicBool>,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.end(self.answered && !self.broken.load(Ordering::Relaxed));
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
            Ok(response.map(|body| Answer { body: Box::pin(body), call }))
        })
    }
}

/// The body of an answer. Its call is open while it lives.
pub(super) struct Answer<B> {
    body: Pin<Box<B>>,
    call: Call,
}

impl<B> fmt::Debug for Answer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("call", &self.call).finish_non_exhaustive()
    }
}

impl<B: Body> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = self.body.as_mut().poll_frame(context);
        // hyper does not ask for more after trailers, nor after an error.
        self.call.answered |= match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || self.body.is_end_stream(),
            Poll::Ready(Some(Err(_)) | None) => true,
            Poll::Pending => false,
        };
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
