//! The server: services, health, reflection, metrics, and the order in which it starts, changes its model and stops.

mod answer_size;
mod bounded;
mod budget;
mod call;
mod conversation;
mod convert;
mod explained;
mod framing;
mod front;
mod guarded;
pub(crate) mod health;
mod heavy;
mod json;
mod offload;
mod page_token;
mod phase;
mod places;
mod profile;
mod recording;
mod reflection;
pub(crate) mod sealed;
mod sentiment;
mod shares;
mod status;
mod stream;
mod violations;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::server::NamedService;
use tonic::service::Routes;

use crate::descriptors::Shares;
use crate::http::{self, StoreNote};
use crate::net::{self, Age, Caps, Drain, Http2, Protocol};
use crate::profile::{ClockState, Disk, Keeper, Pseudonyms};
use crate::scoring::Scorer;
use crate::sinks::Sinks;
use crate::telemetry::{self, Metrics, ServerAddress};
use call::InFlight;
use conversation::Conversations;
use explained::Explained;
pub use front::{Origins, OriginsError};
use guarded::Guarded;
use health::{HealthReporter, ServingStatus};
use heavy::Heavy;
pub(crate) use json::{from_json, to_json};
use offload::Offload;
use phase::Phase;
use profile::{Backups, Profiles, Watched};
pub(crate) use recording::record_blocking;
use sentiment::Sentiment;
use status::Failure;
pub(crate) use status::{is_for_now, is_of_the_request, retry_delay, status_of};

/// The generated messages, clients and servers of package `arom.v1`; the proto files are their manual.
pub mod v1 {
    #![allow(missing_docs, reason = "generated from proto/, whose comments are the documentation")]
    #![allow(clippy::all, clippy::pedantic, reason = "generated code")]
    tonic::include_proto!("arom.v1");

    /// The compiled protos, for reflection.
    pub const DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("arom_descriptor");
}

use v1::conversation_service_server::ConversationServiceServer;
use v1::profile_service_server::ProfileServiceServer;
use v1::sentiment_service_server::SentimentServiceServer;

/// What may stand beside the text in a message of a stream.
const BESIDE_TEXT_BYTES: usize = 64 << 10;

/// Settings of the server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen for gRPC.
    pub listen: SocketAddr,
    /// Where to listen for metrics and probes over HTTP, if anywhere.
    pub http_listen: Option<SocketAddr>,
    /// A label that is wrong with a higher probability is marked, unless a request says otherwise.
    pub max_risk: f32,
    /// Most bytes in one text.
    pub max_text_bytes: usize,
    /// Most texts in one batch.
    pub max_batch_size: usize,
    /// Most messages in one conversation.
    pub max_conversation_messages: usize,
    /// Most bytes in one message.
    pub max_message_bytes: usize,
    /// Most bytes in one answer.
    pub max_answer_bytes: usize,
    /// Most bytes that requests and answers hold at once.
    pub max_request_bytes: usize,
    /// Most bytes that requests and answers of one peer hold at once.
    pub max_peer_request_bytes: usize,
    /// Most bytes in the headers of one call.
    pub max_header_bytes: u32,
    /// Most calls that are answered at once.
    pub max_calls: usize,
    /// Most calls that are answered at once of one peer.
    pub max_peer_calls: usize,
    /// How long a stream of texts or of a conversation may be idle.
    pub stream_idle: Duration,
    /// Most calls at once on one connection.
    pub max_connection_calls: u32,
    /// Most texts of one stream on their way at once.
    pub stream_window: usize,
    /// The other names of customers, if they are to be kept under such.
    pub pseudonyms: Option<Pseudonyms>,
    /// Whether the server is ready only while its profile store takes writes.
    pub readiness_needs_store: bool,
    /// When a silent connection is pinged.
    pub keepalive: Duration,
    /// How long the answer to a ping may take.
    pub keepalive_timeout: Duration,
    /// When a connection is told to move on.
    pub max_connection_age: Duration,
    /// How long such a connection has to finish its calls.
    pub max_connection_age_grace: Duration,
    /// Most open connections.
    pub max_connections: usize,
    /// Most open connections of one client address.
    pub max_peer_connections: usize,
    /// How long the first bytes of a connection may take.
    pub handshake_timeout: Duration,
    /// When a connection without calls is told to move on.
    pub max_connection_idle: Duration,
    /// How long a client may take nothing of an answer.
    pub send_timeout: Duration,
    /// Origins whose pages may call by gRPC-Web.
    pub web_origins: Origins,
    /// Whether the gRPC port opens only when the model is loaded.
    pub listen_when_ready: bool,
    /// How long the server serves on after the stop signal while it says that it is not ready.
    pub shutdown_delay: Duration,
    /// How long open calls may take to finish after that.
    pub shutdown_grace: Duration,
    /// How long workers and sinks may take to end after the last call.
    pub join_within: Duration,
}

impl ServerConfig {
    /// Most bytes in one message of a stream, which holds one text: twice what a text may have, so that one that is too long is refused
    /// by itself and the stream goes on, and room for what goes with it. A stream keeps buffers of this size for as long as it lasts.
    fn max_stream_message_bytes(&self) -> usize {
        self.max_text_bytes.saturating_mul(2).saturating_add(BESIDE_TEXT_BYTES).min(self.max_message_bytes)
    }

    /// Whether one address is one peer. It is not where it may have all calls: behind a proxy that all callers share.
    fn tells_peers_apart(&self) -> bool {
        self.max_peer_calls < self.max_calls
    }
}

impl Default for ServerConfig {
    /// What `arom serve` does without settings.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
            http_listen: None,
            max_risk: 0.5,
            max_text_bytes: 65_536,
            max_batch_size: 256,
            max_conversation_messages: 5000,
            max_message_bytes: 4 << 20,
            max_answer_bytes: 7 << 19,
            max_request_bytes: 256 << 20,
            max_peer_request_bytes: 64 << 20,
            max_header_bytes: 16_384,
            max_calls: 4096,
            max_peer_calls: 3072,
            stream_idle: Duration::from_secs(1800),
            max_connection_calls: 1024,
            stream_window: 512,
            pseudonyms: None,
            readiness_needs_store: false,
            keepalive: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
            max_connection_age: Duration::from_secs(3600),
            max_connection_age_grace: Duration::from_secs(3600),
            max_connections: 10_000,
            max_peer_connections: 1_000,
            handshake_timeout: Duration::from_secs(10),
            max_connection_idle: Duration::from_secs(900),
            send_timeout: Duration::from_secs(60),
            web_origins: Origins::None,
            listen_when_ready: true,
            shutdown_delay: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(30),
            join_within: Duration::from_secs(10),
        }
    }
}

/// What is open when the server starts.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC.
    pub grpc: Port,
    /// For metrics and probes, if wanted.
    pub http: Option<TcpListener>,
}

/// A port of the server.
#[derive(Debug)]
pub enum Port {
    /// It is open.
    Open(TcpListener),
    /// It has an address, and opens when the model is loaded. Until then connections are refused.
    WhenReady(TcpSocket),
}

impl Port {
    /// Takes an address.
    ///
    /// # Errors
    ///
    /// If the address is not free.
    pub async fn bind(address: SocketAddr, when_ready: bool) -> std::io::Result<Self> {
        if !when_ready {
            return TcpListener::bind(address).await.map(Self::Open);
        }
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // As TcpListener does: connections of an earlier process may still be closing.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self::WhenReady(socket))
    }

    /// Its address.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        match self {
            Self::Open(listener) => listener.local_addr(),
            Self::WhenReady(socket) => socket.local_addr(),
        }
    }

    fn open(self) -> std::io::Result<TcpListener> {
        const BACKLOG: u32 = 1024;
        match self {
            Self::Open(listener) => Ok(listener),
            Self::WhenReady(socket) => socket.listen(BACKLOG),
        }
    }
}

/// What all calls share.
#[derive(Debug)]
struct Shared {
    /// The scorer that serves, once one is ready.
    scorer: ArcSwapOption<Scorer>,
    /// What is kept of customers and brands, if anything is.
    profiles: Option<Arc<Keeper<Disk>>>,
    in_flight: InFlight,
    /// What is made of conversations.
    heavy: Heavy,
    /// Short reads of the profile store.
    reads: Heavy,
    /// Long reads of the profile store.
    scans: Heavy,
    /// Backups that may be read at once.
    backups: Backups,
    /// Where the server is reached, for traces.
    address: ServerAddress,
    phase: watch::Receiver<Phase>,
    config: ServerConfig,
    metrics: Arc<Metrics>,
}

impl Shared {
    fn scorer(&self) -> Result<Arc<Scorer>, Failure> {
        self.scorer.load_full().ok_or(Failure::NotReady)
    }

    fn keeper(&self) -> Result<Arc<Keeper<Disk>>, Failure> {
        self.profiles.clone().ok_or(Failure::ProfilesOff)
    }
}

/// Why the server stopped other than by its stop signal.
#[derive(Debug, thiserror::Error)]
pub enum ServeError<E: std::error::Error + 'static> {
    /// The model could not be loaded.
    #[error("the model cannot be loaded")]
    Load(#[source] E),
    /// The thread that loaded the model died.
    #[error("the thread that loads the model died")]
    LoadDied,
    /// The gRPC port could not be opened.
    #[error("the gRPC port cannot be opened; does another process listen on it?")]
    Listen(#[source] std::io::Error),
    /// Accepted requests did not finish in time.
    #[error("open calls were not finished within {} s of closing the port", .0.as_secs())]
    GraceExceeded(Duration),
    /// A worker did not end.
    #[error("a worker is stuck and was left behind")]
    Stuck,
}

/// A generated server within the limits of the settings, with the compressions that clients may use. The servers have these
/// methods in common, but no trait.
macro_rules! limited {
    ($most:expr, $server:expr) => {
        $server
            .max_decoding_message_size($most)
            .accept_compressed(Gzip)
            .accept_compressed(Zstd)
            .send_compressed(Gzip)
            .send_compressed(Zstd)
    };
}

/// A service whose panics are answered, and whose refusals by tonic are explained.
fn guarded<S>(shared: &Shared, service: S) -> Explained<Guarded<S>> {
    let metrics = || Arc::clone(&shared.metrics);
    Explained::new(Guarded::new(service, metrics()), metrics())
}

/// What the server works with beside its scorer.
#[derive(Debug, Default)]
pub struct Parts {
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// What is kept of customers and brands, if anything is.
    pub profiles: Option<Arc<Keeper<Disk>>>,
    /// Where what changes of it is delivered.
    pub sinks: Sinks,
    /// The runtime that calls run on. Without one they share the threads that serve sockets and health.
    pub calls: Option<Handle>,
}

/// Serves until `shutdown` completes, then finishes what was accepted.
///
/// The gRPC port opens when `load` has given a scorer; or it is open at once, and health is NOT_SERVING and calls are UNAVAILABLE
/// until then. Every message of `reload` has `load` called again, with the scorer that serves: what it gives takes
/// that one's place between two calls, and if it gives an error all stays as it is.
///
/// Stopping goes: say that it is not ready and serve on for a while, so that proxies and clients turn away; close the gRPC
/// port and send GOAWAY; finish open calls; join the sinks and workers; close the HTTP port, which answers probes until then.
///
/// # Errors
///
/// If the first model cannot be loaded, the port cannot be opened, the grace period runs out, or a worker is stuck.
pub async fn serve<E>(
    listeners: Listeners,
    config: &ServerConfig,
    Parts { metrics, profiles, sinks, calls }: Parts,
    load: impl Fn(Option<&Scorer>) -> Result<Scorer, E> + Send + Sync + 'static,
    mut reload: mpsc::Receiver<()>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError<E>>
where
    E: std::error::Error + Send + 'static,
{
    let (phase, phases) = watch::channel(Phase::Starting);
    let shared = Arc::new(Shared {
        scorer: ArcSwapOption::empty(),
        profiles,
        in_flight: InFlight::new(config),
        heavy: Heavy::conversations(config),
        reads: Heavy::reads(config),
        scans: Heavy::scans(config),
        backups: Backups::new(config),
        address: ServerAddress::of(listeners.grpc.local_addr().unwrap_or(config.listen)),
        phase: phases.clone(),
        config: config.clone(),
        metrics: Arc::clone(&metrics),
    });
    let (health, health_service) = health::health_reporter();
    set_health(&health, ServingStatus::NotServing).await;
    let most = config.max_message_bytes;
    let profiles = Arc::new(Profiles::new(Arc::clone(&shared)));
    let generated = limited!(most, ProfileServiceServer::from_arc(Arc::clone(&profiles)));
    let watched = Watched::new(generated, profiles, most);
    let profiles = Offload::new(guarded(&shared, watched), calls.clone());
    let scoring = |routes: Routes, most: usize| {
        let texts = limited!(most, SentimentServiceServer::new(Sentiment::new(Arc::clone(&shared))));
        let conversations =
            limited!(most, ConversationServiceServer::new(Conversations::new(Arc::clone(&shared))));
        routes
            .add_service(Offload::new(guarded(&shared, texts), calls.clone()))
            .add_service(Offload::new(guarded(&shared, conversations), calls.clone()))
    };
    let routes = scoring(Routes::new(health_service).add_service(profiles), most);
    let streams = scoring(reflection::routes(&shared, calls.as_ref()), config.max_stream_message_bytes());
    let drain = Drain::default();
    let shares = Shares::now();
    let most = config.max_connections.min(shares.grpc);
    let settings = transport(config, "grpc", protocol(&config.web_origins), most);
    let service = front::service(routes, streams, config.web_origins.clone(), Arc::clone(&shared));
    let http_address = listeners.http.as_ref().and_then(|http| http.local_addr().ok());
    let (ready, warm) = oneshot::channel::<()>();
    let (open, opened) = oneshot::channel::<()>();
    let serving = async {
        let at_once = matches!(listeners.grpc, Port::Open(_));
        // Without a model there is nothing to serve: `ending` says why.
        if !at_once && warm.await.is_err() {
            return Ok(());
        }
        let listener = listeners.grpc.open().map_err(ServeError::Listen)?;
        let (address, http) = (listener.local_addr().ok(), http_address.map(tracing::field::display));
        tracing::info!(address = address.map(tracing::field::display), http_address = http, "listening");
        if open.send(()).is_err() {
            tracing::debug!("the server stops already");
        }
        net::serve(listener, service, settings, Arc::clone(&metrics), &drain).await;
        Ok(())
    };
    let probed = Arc::clone(&shared);
    let store = Arc::clone(&shared);
    let store_note = move || StoreHealth::note(&store);
    let while_serving =
        move || probed.scorer.load_full().filter(|_| *probed.phase.borrow() == Phase::Serving);
    // Probes are answered until the end.
    let http_drain = Drain::default();
    let http = async {
        if let Some(listener) = listeners.http {
            let settings = transport(config, "http", Protocol::Http1, shares.http);
            let (metrics, note) = (Arc::clone(&metrics), Arc::new(store_note));
            http::serve(listener, metrics, Arc::new(while_serving), note, settings, &http_drain).await;
        }
    };
    let load = Arc::new(load);
    let keeping = async {
        let (scorer, load_s) = loaded(&load, None).await?;
        let model = scorer.fingerprint().to_owned();
        install(&shared, scorer);
        if ready.send(()).is_ok() && opened.await.is_err() {
            // The port could not be opened, which ends the server.
            return std::future::pending().await;
        }
        phase.send_replace(Phase::Serving);
        set_health(&health, ServingStatus::Serving).await;
        tracing::info!(model, load_s, "ready");
        let mut stores = StoreHealth::of(&shared);
        stores.tell(&health).await;
        // At the same time: a change waits for the last call of the old model, which may take hours.
        let changing = async {
            while reload.recv().await.is_some() {
                change(&shared, &load).await;
            }
            std::future::pending::<()>().await;
        };
        let telling = async {
            loop {
                stores.changed(&shared).await;
                stores.tell(&health).await;
            }
        };
        tokio::select! {
            () = changing => {}
            () = telling => {}
            () = workers_lost(&shared) => {}
        }
        tracing::error!("a worker died; restart the server");
        set_health(&health, ServingStatus::NotServing).await;
        std::future::pending().await
    };
    let ending = async {
        let ended = tokio::select! {
            // A model that cannot be loaded ends the server; one that can leaves it to the stop signal.
            result = keeping => result,
            () = shutdown => Ok(()),
        };
        let delay = if *phase.borrow() == Phase::Serving { config.shutdown_delay } else { Duration::ZERO };
        tracing::info!(delay_s = delay.as_secs_f64(), "stopping");
        phase.send_replace(Phase::Leaving);
        set_health(&health, ServingStatus::NotServing).await;
        // Proxies and clients turn away meanwhile.
        tokio::time::sleep(delay).await;
        tracing::info!(calls = shared.in_flight.count(), "closing the gRPC port");
        // Ends the health watches, which would otherwise keep their connections open.
        for service in health_names() {
            health.clear_service_status(service).await;
        }
        phase.send_replace(Phase::draining(tokio::time::Instant::now(), config.shutdown_grace));
        drain.start();
        ended
    };
    let limit = async {
        phase::draining(phases.clone()).await;
        tokio::time::sleep(config.shutdown_grace).await;
    };
    let serving = async {
        let outcome = tokio::select! {
            outcome = async { tokio::try_join!(serving, ending) } => outcome.map(|_| ()),
            () = limit => Err(ServeError::GraceExceeded(config.shutdown_grace)),
        };
        drain.cut();
        let joined = join_threads(Arc::clone(&shared), sinks, config.join_within).await;
        http_drain.start();
        if tokio::time::timeout(PROBE_WITHIN, http_drain.closed()).await.is_err() {
            http_drain.cut();
        }
        tracing::info!("stopped");
        if joined { outcome } else { outcome.and(Err(ServeError::Stuck)) }
    };
    tokio::join!(serving, http).0
}

/// How long an answer on the HTTP port may take at the end.
const PROBE_WITHIN: Duration = Duration::from_secs(1);

/// What a client may send on one stream before the server reads it.
///
/// The h2 crate closes a connection on which too many small frames wait unread: the bytes that each lacks of 256 may add
/// up to half of the connection's window. A stream that is not read for a while must not get there, so its own
/// window is small beside that: eight streams full of the smallest messages, or ninety of texts of 150 bytes.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Settings of a port that takes so many connections at most.
fn transport(config: &ServerConfig, port: &'static str, protocol: Protocol, most: usize) -> net::Settings {
    let http2 = Http2 {
        stream_window: STREAM_WINDOW_BYTES,
        connection_window: CONNECTION_WINDOW_BYTES,
        max_streams: config.max_connection_calls,
        max_header_bytes: config.max_header_bytes,
        keepalive: config.keepalive,
        keepalive_timeout: config.keepalive_timeout,
    };
    let age = Age { limit: config.max_connection_age, grace: config.max_connection_age_grace };
    // One peer never takes the last place.
    let caps = Caps { total: most, per_peer: config.max_peer_connections.min((most - most / 4).max(1)) };
    net::Settings {
        port,
        protocol,
        http2,
        caps,
        handshake_timeout: config.handshake_timeout,
        idle_timeout: config.max_connection_idle,
        send_timeout: config.send_timeout,
        age: Some(age),
    }
}

/// Browsers speak HTTP/1.1 where there is no TLS.
fn protocol(origins: &Origins) -> Protocol {
    match origins {
        Origins::None => Protocol::Http2,
        Origins::Of(_) | Origins::Any => Protocol::Both,
    }
}

/// A scorer, and how many seconds that took.
async fn loaded<E, L>(load: &Arc<L>, current: Option<Arc<Scorer>>) -> Result<(Scorer, f64), ServeError<E>>
where
    E: std::error::Error + Send + 'static,
    L: Fn(Option<&Scorer>) -> Result<Scorer, E> + Send + Sync + 'static,
{
    let started = Instant::now();
    let load = Arc::clone(load);
    let scorer = tokio::task::spawn_blocking(move || load(current.as_deref()))
        .await
        .map_err(|_| ServeError::LoadDied)?
        .map_err(ServeError::Load)?;
    Ok((scorer, started.elapsed().as_secs_f64()))
}

/// Calls that come from now on go to this scorer; gives the one that served before.
fn install(shared: &Shared, scorer: Scorer) -> Option<Arc<Scorer>> {
    shared.metrics.model_serves(scorer.fingerprint(), scorer.reference());
    shared.scorer.swap(Some(Arc::new(scorer)))
}

/// Puts the model that `load` gives in the place of the one that serves.
async fn change<E, L>(shared: &Shared, load: &Arc<L>)
where
    E: std::error::Error + Send + 'static,
    L: Fn(Option<&Scorer>) -> Result<Scorer, E> + Send + Sync + 'static,
{
    let loaded = loaded(load, shared.scorer.load_full()).await;
    shared.metrics.reload_tried(loaded.is_ok());
    match loaded {
        Ok((scorer, load_s)) => {
            tracing::info!(model = scorer.fingerprint(), load_s, "ready");
            if let Some(old) = install(shared, scorer) {
                retire(old).await;
            }
        }
        Err(error) => {
            let error = telemetry::chain(&error);
            tracing::error!(error, "the new model or catalogue is refused; the old one serves on");
        }
    }
}

/// Waits until nobody uses a scorer any more and joins its workers.
async fn retire(scorer: Arc<Scorer>) {
    const GLANCE: Duration = Duration::from_millis(20);
    while Arc::strong_count(&scorer) > 1 || scorer.is_in_use() {
        tokio::time::sleep(GLANCE).await;
    }
    tracing::info!(model = scorer.fingerprint(), "retired");
    join(scorer).await;
}

/// Completes when a worker of the scorer that serves has died.
async fn workers_lost(shared: &Shared) {
    const GLANCE: Duration = Duration::from_secs(1);
    while shared.scorer.load().as_ref().is_none_or(|scorer| scorer.is_whole()) {
        tokio::time::sleep(GLANCE).await;
    }
}

/// How the profile store stands, for health checks and probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StoreHealth {
    /// It takes writes.
    writes: bool,
    /// It trusts the clock.
    trusts_clock: bool,
}

impl StoreHealth {
    fn of(shared: &Shared) -> Self {
        let Some(keeper) = &shared.profiles else { return Self { writes: false, trusts_clock: false } };
        Self { writes: keeper.accepts_writes(), trusts_clock: keeper.clock().distrust.is_none() }
    }

    /// What `/readyz` says of it.
    fn note(shared: &Shared) -> StoreNote {
        let Some(keeper) = &shared.profiles else { return StoreNote { is_ready: true, text: String::new() } };
        let Self { writes, .. } = Self::of(shared);
        let mut text = String::new();
        if !writes {
            text.push_str("the profile store takes no writes; the server's log says why\n");
        }
        let ClockState { now, wall, distrust, .. } = keeper.clock();
        if let Some(why) = distrust {
            let why = why.text();
            text.push_str(&format!(
                "profile clock distrusted: {why}; it says {wall}, the store goes by {now}\n"
            ));
        }
        StoreNote { is_ready: writes || !shared.config.readiness_needs_store, text }
    }

    /// Completes when it stands otherwise than it did.
    async fn changed(&mut self, shared: &Shared) {
        const GLANCE: Duration = Duration::from_millis(200);
        let before = *self;
        while *self == before {
            tokio::time::sleep(GLANCE).await;
            *self = Self::of(shared);
        }
    }

    async fn tell(self, health: &HealthReporter) {
        let status = |good| if good { ServingStatus::Serving } else { ServingStatus::NotServing };
        health.set_service_status(PROFILES, status(self.writes)).await;
        health.set_service_status(PROFILE_CLOCK, status(self.trusts_clock)).await;
    }
}

const PROFILES: &str = ProfileServiceServer::<Profiles>::NAME;

/// The name of the profile store's clock in health checks: NOT_SERVING while it is distrusted. The service itself serves on.
const PROFILE_CLOCK: &str = "arom.profile.clock";

/// The server as a whole, its services, and the clock of its profile store.
fn health_names() -> [&'static str; 5] {
    [
        "",
        SentimentServiceServer::<Sentiment>::NAME,
        ConversationServiceServer::<Conversations>::NAME,
        PROFILES,
        PROFILE_CLOCK,
    ]
}

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for service in health_names() {
        health.set_service_status(service, status).await;
    }
}

/// Ends the sinks and the workers, and says whether the workers have ended.
async fn join_threads(shared: Arc<Shared>, sinks: Sinks, within: Duration) -> bool {
    let sinks = tokio::task::spawn_blocking(move || drop(sinks));
    let workers = async {
        if let Some(scorer) = shared.scorer.swap(None) {
            join(scorer).await;
        }
    };
    let (sinks, workers) =
        tokio::join!(tokio::time::timeout(within, sinks), tokio::time::timeout(within, workers));
    match sinks {
        Ok(Ok(())) => {}
        Ok(Err(_)) => tracing::error!("the sinks could not be joined"),
        // What they have not delivered they deliver after the next start.
        Err(_) => tracing::warn!("a sink still waits for its receiver and is left behind"),
    }
    if workers.is_err() {
        tracing::error!("a worker is stuck and is left behind");
    }
    workers.is_ok()
}

/// Dropping the last scorer drains and joins its threads, which must not hold up the async runtime: so it is dropped here, after
/// the calls that were cut off have let go of it. A thread that is stuck keeps this one alone.
async fn join(scorer: Arc<Scorer>) {
    const GLANCE: Duration = Duration::from_millis(5);
    let let_go = move || {
        while Arc::strong_count(&scorer) > 1 {
            std::thread::sleep(GLANCE);
        }
        drop(scorer);
    };
    if tokio::task::spawn_blocking(let_go).await.is_err() {
        tracing::error!("the workers could not be joined");
    }
}
