//! Runs calls on a runtime of their own, so that nothing a call does holds up the threads that serve sockets and health.
//!
//! A thread of an async runtime that works on one task serves nobody else meanwhile, and looks for new bytes only now and then. The
//! call is polled on the other runtime; its answer comes back through a channel, frame by frame.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;

use http_body::{Body as HttpBody, Frame};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, response};
use tonic::codegen::{BoxFuture, Bytes, Context, Poll, Service};
use tonic::server::NamedService;

use super::status::Failure;

/// Frames that wait between the runtimes: the message and the trailers of most answers.
const FRAMES: usize = 2;

/// A service whose calls run on another runtime.
#[derive(Clone, Debug)]
pub(super) struct Offload<S> {
    inner: S,
    /// Where calls run; where they are called, if there is none.
    runtime: Option<Handle>,
}

impl<S> Offload<S> {
    pub(super) fn new(inner: S, runtime: Option<Handle>) -> Self {
        Self { inner, runtime }
    }
}

impl<S: NamedService> NamedService for Offload<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = Result<Response<Body>, Infallible>;

impl<S> Service<Request<Body>> for Offload<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(runtime) = &self.runtime else { return Box::pin(self.inner.call(request)) };
        let mut inner = self.inner.clone();
        let (head, headed) = oneshot::channel();
        let (frames, received) = mpsc::channel(FRAMES);
        let running = runtime.spawn(async move { pass_on(inner.call(request).await, head, frames).await });
        let running = Running(running.abort_handle());
        Box::pin(async move {
            match headed.await {
                Ok(Head { parts, ended: true }) => Ok(Response::from_parts(parts, Body::empty())),
                Ok(Head { parts, ended: false }) => {
                    Ok(Response::from_parts(parts, Body::new(Frames { received, _running: running })))
                }
                Err(_) => Ok(Status::from(Failure::Died).into_http()),
            }
        })
    }
}

/// An answer up to its body.
struct Head {
    parts: response::Parts,
    /// Whether there is no body.
    ended: bool,
}

type Sent = Result<Frame<Bytes>, Status>;

/// Passes an answer on to the other runtime, for as long as somebody takes it.
async fn pass_on(answer: Answer, head: oneshot::Sender<Head>, frames: mpsc::Sender<Sent>) {
    let Ok(response) = answer;
    let (parts, mut body) = response.into_parts();
    let ended = body.is_end_stream();
    if head.send(Head { parts, ended }).is_err() || ended {
        return;
    }
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

/// A call that runs. Dropping it ends the call.
#[derive(Debug)]
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The body of an answer that is made on the other runtime.
#[derive(Debug)]
struct Frames {
    received: mpsc::Receiver<Sent>,
    _running: Running,
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Sent>> {
        self.received.poll_recv(context)
    }
}

#[cfg(test)]
mod tests;
