//! The gRPC server: services, health, reflection, and the order in which it starts and stops.

mod convert;
mod sentiment;
mod status;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::scoring::Scorer;
use sentiment::Sentiment;

/// The generated messages, clients and servers of package `arom.v1`; the proto files are their manual.
pub mod v1 {
    #![allow(missing_docs, reason = "generated from proto/, whose comments are the documentation")]
    #![allow(clippy::all, clippy::pedantic, reason = "generated code")]
    tonic::include_proto!("arom.v1");

    /// The compiled protos, for reflection.
    pub const DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("arom_descriptor");
}

use v1::sentiment_service_server::SentimentServiceServer;

/// Settings of the server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Most bytes in one text.
    pub max_text_bytes: usize,
    /// Most texts in one batch.
    pub max_batch_size: usize,
    /// Most bytes in one message.
    pub max_message_bytes: usize,
    /// How long accepted requests may take to finish after the stop signal.
    pub shutdown_grace: Duration,
}

/// The scorer, once it is ready.
type Ready = Arc<OnceLock<Scorer>>;

/// How long a connection may linger after the last call was answered, for the answer to reach its caller.
const LINGER: Duration = Duration::from_secs(2);

/// The calls that are being answered.
#[derive(Clone, Debug)]
struct InFlight(watch::Sender<usize>);

/// Counts a call until it is dropped.
struct Counted<'a>(&'a watch::Sender<usize>);

impl InFlight {
    fn enter(&self) -> Counted<'_> {
        self.0.send_modify(|calls| *calls += 1);
        Counted(&self.0)
    }

    /// Completes when there has been no call for [`LINGER`]. A peer that holds its connection open without asking
    /// anything would otherwise hold up the end.
    async fn idle(&self) {
        let mut calls = self.0.subscribe();
        while calls.wait_for(|calls| *calls == 0).await.is_ok()
            && tokio::time::timeout(LINGER, calls.wait_for(|calls| *calls > 0)).await.is_ok()
        {}
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls -= 1);
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
    /// The transport failed.
    #[error("the server failed")]
    Transport(#[source] tonic::transport::Error),
    /// Accepted requests did not finish in time.
    #[error("accepted requests were not finished within {} s of the stop signal", .0.as_secs())]
    GraceExceeded(Duration),
}

/// Serves until `shutdown` completes, then finishes what was accepted.
///
/// The port answers at once; health is NOT_SERVING and calls are UNAVAILABLE until `load` has given a scorer.
/// Stopping goes: not ready, stop accepting, finish calls, drain and join the workers.
///
/// # Errors
///
/// If the model cannot be loaded, the transport fails, or the grace period runs out.
pub async fn serve<E>(
    listener: TcpListener,
    config: &ServerConfig,
    load: impl FnOnce() -> Result<Scorer, E> + Send + 'static,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError<E>>
where
    E: std::error::Error + Send + 'static,
{
    let ready = Ready::default();
    let in_flight = InFlight(watch::Sender::new(0));
    let (health, health_service) = tonic_health::server::health_reporter();
    set_health(&health, ServingStatus::NotServing).await;
    let router = router().add_service(health_service).add_service(
        SentimentServiceServer::new(Sentiment::new(Arc::clone(&ready), in_flight.clone(), config))
            .max_decoding_message_size(config.max_message_bytes)
            .accept_compressed(Gzip)
            .accept_compressed(Zstd)
            .send_compressed(Gzip)
            .send_compressed(Zstd),
    );
    let (stop, stopped) = watch::channel(false);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = router.serve_with_incoming_shutdown(incoming, until(stopped.clone()));
    let loading = async {
        let started = Instant::now();
        let scorer = tokio::task::spawn_blocking(load).await.map_err(|_| ServeError::LoadDied)?;
        let scorer = scorer.map_err(ServeError::Load)?;
        let model = scorer.fingerprint().to_owned();
        if ready.set(scorer).is_ok() {
            set_health(&health, ServingStatus::Serving).await;
        }
        tracing::info!(model, load_ms = started.elapsed().as_millis(), "ready");
        Ok(())
    };
    let ending = async {
        let ended = tokio::select! {
            // A model that cannot be loaded ends the server; one that can leaves it to the stop signal.
            result = async { loading.await?; std::future::pending().await } => result,
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
        ended
    };
    let limit = async {
        until(stopped.clone()).await;
        tokio::time::sleep(config.shutdown_grace).await;
    };
    let quiet = async {
        until(stopped.clone()).await;
        in_flight.idle().await;
        Ok(())
    };
    // Answered is done: connections that are still open then are closed.
    let serving = async {
        tokio::select! {
            served = serving => served,
            done = quiet => done,
        }
    };
    let outcome = tokio::select! {
        (served, ended) = async { tokio::join!(serving, ending) } => {
            ended.and(served.map_err(ServeError::Transport))
        }
        () = limit => Err(ServeError::GraceExceeded(config.shutdown_grace)),
    };
    join_workers(ready).await;
    tracing::info!("stopped");
    outcome
}

fn router() -> Router {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let built = "the descriptor sets are constants of this build";
    Server::builder()
        .add_service(reflection().build_v1().expect(built))
        .add_service(reflection().build_v1alpha().expect(built))
}

/// The server as a whole, and its one service.
fn health_names() -> [&'static str; 2] {
    ["", SentimentServiceServer::<Sentiment>::NAME]
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

/// Dropping the last scorer drains and joins its threads, which must not hold up the async runtime.
async fn join_workers(ready: Ready) {
    if tokio::task::spawn_blocking(move || drop(ready)).await.is_err() {
        tracing::error!("the workers could not be joined");
    }
}
