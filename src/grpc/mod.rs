//! The server: services, health, reflection, metrics, and the order in which it starts, changes its model and stops.

mod call;
mod conversation;
mod convert;
mod front;
mod guarded;
mod json;
mod profile;
mod recording;
pub(crate) mod sealed;
mod sentiment;
mod status;
mod stream;
mod violations;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::descriptors::Shares;
use crate::http::{self, StoreNote};
use crate::net::{self, Age, Caps, Drain, Http2, Protocol};
use crate::profile::{ClockState, Disk, Keeper, Pseudonyms};
use crate::scoring::Scorer;
use crate::sinks::Sinks;
use crate::telemetry::{self, Metrics, ServerAddress};
use call::InFlight;
use conversation::Conversations;
pub use front::{Origins, OriginsError};
use guarded::Guarded;
pub(crate) use json::{from_json, to_json};
use profile::{Profiles, Watched};
pub(crate) use recording::record_blocking;
use sentiment::Sentiment;
use status::Failure;
pub(crate) use status::{is_for_now, is_of_the_request, status_of};

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
    /// Most bytes in the headers of one call.
    pub max_header_bytes: u32,
    /// Most calls that are answered at once.
    pub max_calls: usize,
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
    /// Origins whose pages may call by gRPC-Web.
    pub web_origins: Origins,
    /// How long accepted requests may take to finish after the stop signal.
    pub shutdown_grace: Duration,
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
            max_header_bytes: 16_384,
            max_calls: 4096,
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
            web_origins: Origins::None,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// What is open when the server starts.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For metrics and probes, if wanted.
    pub http: Option<TcpListener>,
}

/// What all calls share.
#[derive(Debug)]
struct Shared {
    /// The scorer that serves, once one is ready.
    scorer: ArcSwapOption<Scorer>,
    /// What is kept of customers and brands, if anything is.
    profiles: Option<Arc<Keeper<Disk>>>,
    in_flight: InFlight,
    /// Where the server is reached, for traces.
    address: ServerAddress,
    stopped: watch::Receiver<bool>,
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
    /// Accepted requests did not finish in time.
    #[error("accepted requests were not finished within {} s of the stop signal", .0.as_secs())]
    GraceExceeded(Duration),
}

/// A generated server within the limits of the settings, with the compressions that clients may use. The servers have these
/// methods in common, but no trait.
macro_rules! limited {
    ($shared:expr, $server:expr) => {
        Guarded::new(
            $server
                .max_decoding_message_size($shared.config.max_message_bytes)
                .accept_compressed(Gzip)
                .accept_compressed(Zstd)
                .send_compressed(Gzip)
                .send_compressed(Zstd),
            Arc::clone(&$shared.metrics),
        )
    };
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
}

/// Serves until `shutdown` completes, then finishes what was accepted.
///
/// The port answers at once; health is NOT_SERVING and calls are UNAVAILABLE until `load` has given a scorer. Every
/// message of `reload` has `load` called again, with the scorer that serves: what it gives takes that one's place
/// between two calls, and if it gives an error all stays as it is.
/// Stopping goes: not ready, stop accepting, finish calls, drain and join the workers.
///
/// # Errors
///
/// If the first model cannot be loaded, or the grace period runs out.
pub async fn serve<E>(
    listeners: Listeners,
    config: &ServerConfig,
    Parts { metrics, profiles, sinks }: Parts,
    load: impl Fn(Option<&Scorer>) -> Result<Scorer, E> + Send + Sync + 'static,
    mut reload: mpsc::Receiver<()>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError<E>>
where
    E: std::error::Error + Send + 'static,
{
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(Shared {
        scorer: ArcSwapOption::empty(),
        profiles,
        in_flight: InFlight::new(config.max_calls),
        address: ServerAddress::of(listeners.grpc.local_addr().unwrap_or(config.listen)),
        stopped: stopped.clone(),
        config: config.clone(),
        metrics: Arc::clone(&metrics),
    });
    let (health, health_service) = tonic_health::server::health_reporter();
    set_health(&health, ServingStatus::NotServing).await;
    let texts = limited!(shared, SentimentServiceServer::new(Sentiment::new(Arc::clone(&shared))));
    let conversations =
        limited!(shared, ConversationServiceServer::new(Conversations::new(Arc::clone(&shared))));
    let profiles = Arc::new(Profiles::new(Arc::clone(&shared)));
    let generated = limited!(shared, ProfileServiceServer::from_arc(Arc::clone(&profiles)));
    let watched = Watched::new(generated, profiles, config.max_message_bytes);
    let profiles = Guarded::new(watched, Arc::clone(&shared.metrics));
    let routes = reflection().add_service(health_service);
    let routes = routes.add_service(texts).add_service(conversations).add_service(profiles);
    let drain = Drain::default();
    let shares = Shares::now();
    let most = config.max_connections.min(shares.grpc);
    let settings = transport(config, "grpc", protocol(&config.web_origins), most);
    let service = front::service(routes, config.web_origins.clone());
    let serving = net::serve(listeners.grpc, service, settings, Arc::clone(&metrics), &drain);
    let probed = Arc::clone(&shared);
    let store = Arc::clone(&shared);
    let store_note = move || StoreHealth::note(&store);
    let while_serving = move || probed.scorer.load_full().filter(|_| !*probed.stopped.borrow());
    let http = async {
        if let Some(listener) = listeners.http {
            let settings = transport(config, "http", Protocol::Http1, shares.http);
            http::serve(listener, metrics, Arc::new(while_serving), Arc::new(store_note), settings, &drain)
                .await;
        }
    };
    let load = Arc::new(load);
    let keeping = async {
        let scorer = loaded(&load, None).await?;
        install(&shared, scorer);
        set_health(&health, ServingStatus::Serving).await;
        let mut stores = StoreHealth::of(&shared);
        stores.tell(&health).await;
        loop {
            tokio::select! {
                Some(()) = reload.recv() => change(&shared, &load).await,
                () = workers_lost(&shared) => break,
                () = stores.changed(&shared) => stores.tell(&health).await,
            }
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
        tracing::info!("stopping");
        set_health(&health, ServingStatus::NotServing).await;
        // Ends the health watches, which would otherwise keep their connections open.
        let mut watched = health.clone();
        for service in health_names() {
            watched.clear_service_status(service).await;
        }
        stop.send_replace(true);
        drain.start();
        ended
    };
    let limit = async {
        until(stopped.clone()).await;
        tokio::time::sleep(config.shutdown_grace).await;
    };
    let quiet = async {
        until(stopped.clone()).await;
        shared.in_flight.idle().await;
        Ok(())
    };
    // Answered is done: connections that are still open then are closed.
    let serving = async {
        tokio::select! {
            _ = async { tokio::join!(serving, http) } => Ok(()),
            done = quiet => done,
        }
    };
    let outcome = tokio::select! {
        (served, ended) = async { tokio::join!(serving, ending) } => ended.and(served),
        () = limit => Err(ServeError::GraceExceeded(config.shutdown_grace)),
    };
    drain.cut();
    join_workers(shared, sinks).await;
    tracing::info!("stopped");
    outcome
}

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

fn reflection() -> Routes {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let built = "the descriptor sets are constants of this build";
    Routes::new(reflection().build_v1().expect(built)).add_service(reflection().build_v1alpha().expect(built))
}

async fn loaded<E, L>(load: &Arc<L>, current: Option<Arc<Scorer>>) -> Result<Scorer, ServeError<E>>
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
    tracing::info!(model = scorer.fingerprint(), load_s = started.elapsed().as_secs_f64(), "ready");
    Ok(scorer)
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
        Ok(scorer) => {
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

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the server.
    if stopped.wait_for(|stop| *stop).await.is_err() {
        tracing::debug!("the stop signal's sender is gone");
    }
}

async fn join_workers(shared: Arc<Shared>, sinks: Sinks) {
    // What they have not delivered they deliver after the next start.
    if tokio::task::spawn_blocking(move || drop(sinks)).await.is_err() {
        tracing::error!("the sinks could not be joined");
    }
    if let Some(scorer) = shared.scorer.swap(None) {
        join(scorer).await;
    }
}

/// Dropping the last scorer drains and joins its threads, which must not hold up the async runtime.
async fn join(scorer: Arc<Scorer>) {
    if tokio::task::spawn_blocking(move || drop(scorer)).await.is_err() {
        tracing::error!("the workers could not be joined");
    }
}
