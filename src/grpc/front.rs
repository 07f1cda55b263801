//! What a request meets before its method: who may ask from a browser, the content type, and whether there is such a method.

mod checks;
mod metered;
mod methods;
mod origins;
mod patience;
mod whole;

use std::convert::Infallible;
use std::net::IpAddr;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderName, ORIGIN};
use hyper::service::Service;
use hyper::{Method, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service as TowerService;
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::Layer;
use tower_http::cors::{AllowHeaders, AllowOrigin, Cors, CorsLayer};

use super::budget::Budget;
use super::call::Arrival;
use super::health::MAX_REQUEST_BYTES;
use super::{Shared, status};
use crate::net::{Ends, Received, network};
use crate::turns::Turns;
use checks::Refusal;
use metered::Metered;
use methods::Methods;
pub(super) use methods::Missing;
pub use origins::{Origins, OriginsError};
use patience::InTime;
use whole::Whole;

/// How long the message of a unary request may take from its headers to its last byte.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a browser need not ask again whether it may.
const PREFLIGHT_AGE: Duration = Duration::from_secs(7200);

/// What pages may read of an answer beside its messages.
const EXPOSED: [HeaderName; 5] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("grpc-retry-pushback-ms"),
    HeaderName::from_static("traceparent"),
];

/// What probes of the health service of one peer may hold. It is apart from what other calls hold, and all peers have no limit together,
/// so that health is answered whatever others do: the connections are limited.
const PEER_PROBE_BYTES: usize = 64 << 20;

/// What watches of the health service may hold; of one peer a quarter. They last, so they are apart from probes.
const WATCH_BYTES: usize = 64 << 20;

/// The path of the health service.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The method of it that is a stream.
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The services of the gRPC port.
#[derive(Clone, Debug)]
pub(super) struct Front {
    origins: Origins,
    native: Known,
    /// The same for browsers, if pages of any origin may ask.
    web: Option<Cors<GrpcWebService<Known>>>,
}

/// Services for clients of gRPC and, if there are origins, for pages of these by gRPC-Web.
///
/// Calls whose requests are streams have routes of their own, whose services take smaller messages.
pub(super) fn service(routes: Routes, streams: Routes, origins: Origins, shared: Arc<Shared>) -> Front {
    let config = &shared.config;
    let budgets = Budgets {
        calls: Budget::new(config.max_request_bytes, config.max_peer_request_bytes),
        probes: Budget::new(usize::MAX, PEER_PROBE_BYTES),
        watches: Budget::new(WATCH_BYTES, WATCH_BYTES / 4),
    };
    let native = Known {
        routes: routes.prepare(),
        streams: streams.prepare(),
        methods: Arc::new(Methods::all()),
        shared,
        budgets,
        // Making one keeps a thread of calls busy: never more than there are.
        reading: Turns::new(std::thread::available_parallelism().map_or(1, NonZero::get)),
    };
    let web = (!origins.is_empty()).then(|| {
        let allowed = origins.clone();
        let cors = CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(move |origin, _| allowed.allow(origin)))
            .allow_methods([Method::POST])
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(EXPOSED)
            .max_age(PREFLIGHT_AGE);
        cors.layer(GrpcWebLayer::new().layer(native.clone()))
    });
    Front { origins, native, web }
}

impl Service<Request<Received>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<Received>) -> Self::Future {
        if let Some(Ends { peer, local }) = request.extensions().get::<Ends>().copied() {
            // Where tonic's `Request::remote_addr` looks.
            let info = TcpConnectInfo { local_addr: local, remote_addr: Some(peer) };
            request.extensions_mut().insert(info);
        }
        if let Err(refusal) = checks::check(&request, &self.origins) {
            return Box::pin(std::future::ready(Ok(refusal_response(&refusal))));
        }
        let mut request = request.map(Body::new);
        match &self.web {
            // Only browsers name an origin, and the headers of CORS go with every answer to them.
            Some(web) if request.headers().contains_key(ORIGIN) || checks::is_web(&request) => {
                checks::plain_type(&mut request);
                let mut web = web.clone();
                Box::pin(async move { web.call(request).await })
            }
            Some(_) | None => self.native.clone().call(request),
        }
    }
}

fn refusal_response(refusal: &Refusal) -> Response<Body> {
    let mut response = Response::new(Body::new(refusal.text.clone()));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(hyper::header::CONTENT_TYPE, checks::PLAIN_TEXT);
    if let Some((name, value)) = &refusal.header {
        headers.insert(name, value.clone());
    }
    response
}

/// Routes that know what there is.
#[derive(Clone, Debug)]
struct Known {
    routes: Routes,
    /// Those of requests that are streams.
    streams: Routes,
    methods: Arc<Methods>,
    shared: Arc<Shared>,
    budgets: Budgets,
    /// Turns to make a message that may take long.
    reading: Turns<IpAddr>,
}

/// What calls may hold at once.
#[derive(Clone, Debug)]
struct Budgets {
    calls: Arc<Budget>,
    probes: Arc<Budget>,
    watches: Arc<Budget>,
}

impl Budgets {
    fn of(&self, path: &str) -> &Arc<Budget> {
        match path {
            HEALTH_WATCH => &self.watches,
            _ if path.starts_with(HEALTH) => &self.probes,
            _ => &self.calls,
        }
    }
}

impl TowerService<Request<Body>> for Known {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(
        &mut self,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        // The routes are always ready.
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let methods::Method { client_streams, server_streams } = match self.methods.find(request.uri().path())
        {
            Ok(method) => method,
            Err(missing) => {
                let response = status::not_here(missing).into_http();
                return Box::pin(std::future::ready(Ok(response)));
            }
        };
        let peer = request.extensions().get::<TcpConnectInfo>().and_then(|info| info.remote_addr);
        let peer = peer.map(|peer| peer.ip());
        let charge = match self.budgets.of(request.uri().path()).enter(peer) {
            Ok(charge) => charge,
            Err(used_up) => {
                let refused = Status::from(self.shared.refused(used_up));
                return Box::pin(std::future::ready(Ok(refused.into_http())));
            }
        };
        let is_probe = request.uri().path().starts_with(HEALTH);
        let config = &self.shared.config;
        let most_of_stream = client_streams.then(|| config.max_stream_message_bytes());
        let (shared, of_body) = (Arc::clone(&self.shared), Arc::clone(&charge));
        let mut request =
            request.map(|body| Body::new(Metered::new(body, Arc::clone(&shared), of_body, most_of_stream)));
        request.extensions_mut().insert(Arc::clone(&charge));
        let arrival = Arrival::of(request.headers());
        request.extensions_mut().insert(arrival);
        if client_streams {
            let answered = self.streams.call(request);
            return Box::pin(async move {
                Ok(metered::answer(answered.await?, &shared, charge, server_streams).await)
            });
        }
        let (mut routes, reading) = (self.routes.clone(), self.reading.clone());
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = Body::new(InTime::new(body, MESSAGE_TIMEOUT));
            let most = if is_probe { MAX_REQUEST_BYTES } else { shared.config.max_message_bytes };
            let collected = async {
                let whole = Whole::of(body, most).await?;
                if whole.is_large() && !is_probe {
                    charge.read_in(reading.take(peer.map(network)).await);
                }
                Ok(whole)
            };
            let whole = match arrival.within(collected).await {
                Ok(whole) => whole,
                Err(refused) => return Ok(refused.into_http()),
            };
            let answered = routes.call(Request::from_parts(head, whole.into_body())).await?;
            Ok(metered::answer(answered, &shared, charge, server_streams).await)
        })
    }
}
