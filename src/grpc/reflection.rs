//! Reflection, within the limits of the other services.
//!
//! tonic-reflection repeats the name that it does not find, and its streams have no limit of any kind. It ends an answer without
//! an error when it cannot read a request, and reads on in a task of its own when nobody takes the answer.

mod asked;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::poll_fn;
use futures_util::{Stream, stream};
use hyper::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes, Frame};
use tokio::runtime::Handle;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Context, Poll, Service};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;

use super::call::{Arrival, Call};
use super::offload::Offload;
use super::phase::Halt;
use super::status::{self, Failure, OK, name};
use super::{Shared, guarded, v1};
use asked::Asked;

/// A request names one symbol or file.
const MAX_REQUEST_BYTES: usize = 4096;

/// The services of reflection.
pub(super) fn routes(shared: &Arc<Shared>, calls: Option<&Handle>) -> Routes {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::DESCRIPTOR_SET)
    };
    let built = "the descriptor sets are constants of this build";
    let latest = builder().build_v1().expect(built).max_decoding_message_size(MAX_REQUEST_BYTES);
    let alpha = builder().build_v1alpha().expect(built).max_decoding_message_size(MAX_REQUEST_BYTES);
    let latest = guarded(shared, Limited { inner: latest, shared: Arc::clone(shared) });
    let alpha = guarded(shared, Limited { inner: alpha, shared: Arc::clone(shared) });
    Routes::new(Offload::new(latest, calls.cloned())).add_service(Offload::new(alpha, calls.cloned()))
}

/// A service whose calls are counted as streams, and end when nothing happens on them.
#[derive(Clone, Debug)]
struct Limited<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S: NamedService> NamedService for Limited<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
    S: NamedService,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // What a call is admitted by.
        let mut head = tonic::Request::new(());
        *head.metadata_mut() = MetadataMap::from_headers(request.headers().clone());
        if let Some(ends) = request.extensions().get::<TcpConnectInfo>() {
            head.extensions_mut().insert(ends.clone());
        }
        if let Some(arrival) = request.extensions().get::<Arrival>() {
            head.extensions_mut().insert(*arrival);
        }
        let call = match Call::enter_stream(&self.shared, S::NAME, "ServerReflectionInfo", &head) {
            Ok(call) => call,
            Err(refused) => return Box::pin(std::future::ready(Ok(refused.into_http()))),
        };
        let (asked, requests) = Asked::new();
        let request = request.map(|body| Body::new(requests.of(body)));
        let (shared, answer) = (Arc::clone(&self.shared), self.inner.call(request));
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|body| Body::new(Frames(Box::pin(frames(shared, call, asked, body))))))
        })
    }
}

type Sent = Result<Frame<Bytes>, Status>;

/// The frames of an answer until it ends, or must end.
///
/// Its requests end with it: `asked` is dropped.
fn frames(
    shared: Arc<Shared>,
    mut call: Call,
    asked: Asked,
    mut body: Body,
) -> impl Stream<Item = Sent> + Send {
    let mut halt = Halt::new(&shared, call.deadline);
    let next = async move || {
        let idle = shared.config.stream_idle;
        let frame = tokio::select! {
            biased;
            failure = halt.reached() => Err(failure),
            frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)) => Ok(frame?),
            () = tokio::time::sleep(idle) => Err(Failure::StreamIdle(idle)),
        };
        let ended = match frame {
            Ok(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => match trailers_status(&trailers) {
                    ended if name(&ended) == OK => asked.refused().unwrap_or(ended),
                    ended => ended,
                },
                Err(frame) => {
                    halt.heard();
                    return Some(Ok(frame));
                }
            },
            Ok(Err(status)) => status::bounded(status),
            Err(failure) => failure.into(),
        };
        call.end(name(&ended));
        let mut trailers = HeaderMap::new();
        Some(ended.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
    };
    // Nothing comes after trailers.
    stream::unfold(Some(next), async |state| {
        let mut next = state?;
        let frame = next().await?;
        let goes_on = frame.as_ref().is_ok_and(Frame::is_data);
        Some((frame, goes_on.then_some(next)))
    })
}

fn trailers_status(trailers: &HeaderMap) -> Status {
    let status = Status::from_header_map(trailers);
    status::bounded(status.unwrap_or_else(|| Failure::Died.into()))
}

/// A stream of frames as a body.
struct Frames<S>(Pin<Box<S>>);

impl<S: Stream<Item = Sent>> HttpBody for Frames<S> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Sent>> {
        self.0.as_mut().poll_next(context)
    }
}
