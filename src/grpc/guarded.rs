//! Keeps the panic of one call from hurting another.
//!
//! A panic unwinds its task, and with it the HTTP/2 stream: the client would see a reset and an unknown status, and the server
//! would not say which method failed. Here the call is answered with INTERNAL, counted and logged; its connection and all other
//! calls go on.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{BoxFuture, Bytes, Context, Poll, Service};
use tonic::server::NamedService;

use super::status::Failure;
use crate::telemetry::Metrics;

/// A service whose calls may panic.
#[derive(Clone, Debug)]
pub(super) struct Guarded<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S, metrics: Arc<Metrics>) -> Self {
        Self { inner, metrics }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let witness = Witness { method: request.uri().path().to_owned(), metrics: Arc::clone(&self.metrics) };
        // A call owns all that it changes, but for what it shares, which is guarded by locks that are not poisoned.
        let begun = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        Box::pin(async move {
            let Ok(answer) = begun else { return Ok(witness.panicked().into_http()) };
            match AssertUnwindSafe(answer).catch_unwind().await {
                Ok(response) => response
                    .map(|response| response.map(|body| Body::new(Messages { body: Some(body), witness }))),
                Err(_) => Ok(witness.panicked().into_http()),
            }
        })
    }
}

/// Who tells of a panic.
#[derive(Debug)]
struct Witness {
    method: String,
    metrics: Arc<Metrics>,
}

impl Witness {
    fn panicked(&self) -> Status {
        tracing::error!(method = self.method, "a call panicked; it was answered with INTERNAL");
        self.metrics.call_panicked();
        Failure::Died.into()
    }
}

/// The messages of an answer, for as long as none panics.
#[derive(Debug)]
struct Messages {
    /// Nothing after a panic.
    body: Option<Body>,
    witness: Witness,
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(context))) {
            Ok(frame) => frame,
            Err(_) => {
                self.body = None;
                let mut trailers = HeaderMap::new();
                let told = self.witness.panicked().add_header(&mut trailers);
                Poll::Ready(Some(told.map(|()| Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Body as _;

    use super::*;
    use crate::grpc::status::name;

    /// A service that panics before its answer, or in its second message.
    #[derive(Clone, Debug)]
    struct Careless {
        at_once: bool,
    }

    impl Service<Request<()>> for Careless {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<Response<Body>, Infallible>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            assert!(!self.at_once, "careless at once");
            Box::pin(async { Ok(Response::new(Body::new(Careful(0)))) })
        }
    }

    struct Careful(u8);

    impl http_body::Body for Careful {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            assert!(self.0 == 0, "careless in the second message");
            self.0 += 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"first")))))
        }
    }

    async fn call(at_once: bool) -> (Response<Body>, Arc<Metrics>) {
        let metrics = Arc::<Metrics>::default();
        let mut guarded = Guarded::new(Careless { at_once }, Arc::clone(&metrics));
        let response = guarded.call(Request::new(())).await.expect("infallible");
        (response, metrics)
    }

    fn counted(metrics: &Metrics) -> bool {
        metrics.render().contains("arom_call_panics_total 1\n")
    }

    #[tokio::test]
    async fn a_panic_before_the_answer_is_internal() {
        let (response, metrics) = call(true).await;
        let status = Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(name(&status), "INTERNAL");
        assert!(counted(&metrics));
    }

    #[tokio::test]
    async fn a_panic_within_a_stream_ends_it_with_internal() {
        let (response, metrics) = call(false).await;
        let mut body = response.into_body();
        let frames = stream::poll_fn(move |context| Pin::new(&mut body).poll_frame(context));
        let frames: Vec<_> = futures_util::StreamExt::collect(frames).await;
        let frames: Vec<Frame<Bytes>> = frames.into_iter().collect::<Result<_, _>>().expect("frames");
        let [first, last] = frames.as_slice() else { panic!("a message and the end, not {frames:?}") };
        assert!(first.is_data());
        let trailers = last.trailers_ref().expect("trailers");
        assert_eq!(name(&Status::from_header_map(trailers).expect("a status")), "INTERNAL");
        assert!(counted(&metrics));
    }
}
