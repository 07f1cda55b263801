//! `arom serve`: the server under the system's signals.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::verify::{no_store, resolve, verify};
use super::{open_scorer, read_bundle};
use crate::config::{CommonFlags, Config, ConfigError, ServeFlags};
use crate::descriptors::{self, Shares};
use crate::grpc::{self, Listeners, Parts, Port};
use crate::model;
use crate::profile::{Book, Disk, Keeper, Pseudonyms, StorageError, Terms, Upkeep, system_clock};
use crate::scoring::Scorer;
use crate::sinks::Sinks;
use crate::telemetry::{self, Metrics};

/// How long threads may take to end once the server has stopped.
const LEFT_BEHIND: std::time::Duration = std::time::Duration::from_secs(5);

/// Tasks that a thread runs before it looks for new bytes and timers. tokio's 61 are too many where each may take a millisecond.
const EVENT_INTERVAL: u32 = 16;

/// Serve gRPC.
///
/// The gRPC port opens when the model has answered a warm-up; the HTTP port opens at once. On SIGTERM and SIGINT readiness and
/// health say NOT_SERVING while the server serves on for server.shutdown_delay_seconds; then it closes the gRPC port and
/// finishes open calls. A second signal ends it at once. SIGHUP reads the model bundle and the
/// catalogue again, from where the settings then say, and swaps them in without a failed call; if either is bad both
/// stay as they were. Every flag has a key in the settings file: see examples/arom.toml.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  arom serve\n  arom serve --listen 0.0.0.0:50051 --log-format json\n  \
    arom serve --http-listen 127.0.0.1:9464\n  arom serve --config examples/arom.toml")]
pub(super) struct ServeArgs {
    #[command(flatten)]
    flags: ServeFlags,
}

pub(super) fn run(args: &ServeArgs, common: &CommonFlags) -> Result<()> {
    let config = resolve(common, &args.flags)?;
    verify(&config)?;
    let runtime = runtime_of("arom-net")?;
    // Calls have threads of their own, so that none of them holds up sockets and health.
    let calls = runtime_of("arom-calls")?;
    let within = runtime.enter();
    let telemetry = telemetry::start(&config.telemetry).map_err(ConfigError::invalid)?;
    telemetry::log_panics();
    drop(within);
    let served = runtime.block_on(serve(args, common, &config, calls.handle().clone()));
    telemetry.flush();
    // A thread that is stuck does not hold up the end of the process. Calls end first: they wait on timers of connections.
    calls.shutdown_timeout(LEFT_BEHIND);
    runtime.shutdown_timeout(LEFT_BEHIND);
    served
}

/// Tasks that a thread runs before it takes one of those that no thread has: with the library's 61, a call of a client could wait for
/// seconds beside another's flood of calls, which fill the queues of the threads.
const SHARED_INTERVAL: u32 = 4;

/// A runtime with a thread for each CPU.
fn runtime_of(threads: &str) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    let built = builder
        .enable_all()
        .thread_name(threads)
        .event_interval(EVENT_INTERVAL)
        .global_queue_interval(SHARED_INTERVAL)
        .build();
    built.context("cannot start the async runtime")
}

async fn serve(args: &ServeArgs, common: &CommonFlags, config: &Config, calls: Handle) -> Result<()> {
    let server = &config.server;
    let metrics = Arc::new(Metrics::default());
    raise_descriptors(server.max_connections, &metrics);
    let profiles = profiles(config, Arc::clone(&metrics))?;
    let grpc = Port::bind(server.listen, server.listen_when_ready).await;
    let grpc = grpc.with_context(|| cannot_listen(server.listen, "--listen"))?;
    let http = match server.http_listen {
        Some(address) => Some(bind(address, "--http-listen").await?),
        None => None,
    };
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let address = grpc.local_addr().context("the listener has no address")?;
    let http_address = http.as_ref().and_then(|http| http.local_addr().ok()).map(tracing::field::display);
    let store = config.profile_store.as_ref().map(|folder| tracing::field::display(folder.display()));
    tracing::info!(%address, http_address, workers = config.scoring.workers, store, "starting");
    for variable in &config.unknown_variables {
        tracing::warn!(variable, "an environment variable names no setting; see arom config keys");
    }
    let (first, measured) = (config.clone(), Arc::clone(&metrics));
    let (common, flags) = (common.clone(), args.flags.clone());
    let load = move |current: Option<&Scorer>| match current {
        None => open_scorer(&first, Arc::clone(&measured)).map_err(LoadError),
        Some(current) => reopen(current, &first, &common, &flags).map_err(LoadError),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    // One signal waits while a model is being loaded; more would load the same again.
    let (reload, reloads) = mpsc::channel(1);
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let twice = async {
        signalled().await;
        drop(stop);
        signalled().await;
    };
    let reloading = async {
        while hangup.recv().await.is_some() {
            if reload.try_send(()).is_err() {
                tracing::debug!("a model is waiting to be loaded already");
            }
        }
    };
    let shutdown = async { stopped.await.unwrap_or(()) };
    let listeners = Listeners { grpc, http };
    let sinks = match &profiles {
        Some(keeper) => {
            let (keeper, sinks, metrics) = (Arc::clone(keeper), config.sinks.clone(), Arc::clone(&metrics));
            let started = move || Sinks::start(&keeper, &sinks, &metrics);
            tokio::task::spawn_blocking(started).await.context("the sinks could not be started")??
        }
        None => Sinks::default(),
    };
    let parts = Parts { metrics, profiles, sinks, calls: Some(calls) };
    let served = tokio::select! {
        served = grpc::serve(listeners, server, parts, load, reloads, shutdown) => served,
        () = twice => bail!("a second signal: what was still being answered is dropped"),
        () = reloading => bail!("SIGHUP cannot be heard any more"),
    };
    served.map_err(|error| match error {
        // The chain is printed once, from the cause that a person can mend.
        grpc::ServeError::Load(LoadError(cause)) => cause,
        other @ (grpc::ServeError::LoadDied
        | grpc::ServeError::Listen(_)
        | grpc::ServeError::GraceExceeded(_)
        | grpc::ServeError::Stuck) => anyhow!(other),
    })
}

/// What is kept of customers and brands, if a folder for it is named.
fn profiles(config: &Config, metrics: Arc<Metrics>) -> Result<Option<Arc<Keeper<Disk>>>> {
    let Some(folder) = &config.profile_store else { return Ok(None) };
    let book = open_book(open_store(folder, config)?, config.profile_terms, config)?;
    book.keep_terms()?;
    let keeper = Keeper::start(book, system_clock(), config.profile_upkeep, metrics);
    Ok(Some(Arc::new(keeper.context("cannot start the threads of the profile store")?)))
}

/// The store of the settings, for a command that records in it for a while: by the terms of its server, if it has had one. What is older
/// than is kept is left to the server.
pub(super) fn borrowed_profiles(config: &Config, metrics: Arc<Metrics>) -> Result<Option<Keeper<Disk>>> {
    let Some(folder) = &config.profile_store else { return Ok(None) };
    let disk = open_store(folder, config)?;
    let terms = Terms::kept(&disk)?.unwrap_or(config.profile_terms);
    let upkeep = Upkeep { forgets: false, ..config.profile_upkeep };
    let keeper = Keeper::start(open_book(disk, terms, config)?, system_clock(), upkeep, metrics);
    Ok(Some(keeper.context("cannot start the threads of the profile store")?))
}

fn open_store(folder: &Path, config: &Config) -> Result<Disk> {
    if !config.profile_store_must_exist {
        return Ok(Disk::open(folder)?);
    }
    Disk::open_existing(folder).map_err(|error| {
        let is_absent = matches!(error, StorageError::Absent { .. });
        if is_absent { ConfigError::invalid(no_store(folder)).into() } else { error.into() }
    })
}

fn open_book(disk: Disk, terms: Terms, config: &Config) -> Result<Book<Disk>> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|error| anyhow!("the system gives no random numbers: {error}"))?;
    let book = Book::open(disk, terms, salt)?;
    book.go_by(config.server.pseudonyms.as_ref().map(Pseudonyms::mark))?;
    Ok(book)
}

/// Raises the limit on file descriptors, and says so where it leaves room for fewer connections than the settings allow.
fn raise_descriptors(max_connections: usize, metrics: &Metrics) {
    let raised = descriptors::raise();
    metrics.connections().descriptors(raised.to);
    let connections = Shares::of(raised.to).grpc.min(max_connections);
    tracing::info!(from = raised.from, to = raised.to, connections, "limit on open files");
    if connections < max_connections {
        let hint =
            "raise the hard limit on open files (ulimit -Hn, LimitNOFILE), or lower server.max_connections";
        tracing::warn!(max_connections, connections, hint, "fewer connections than the settings allow");
    }
}

async fn bind(address: std::net::SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| cannot_listen(address, flag))
}

fn cannot_listen(address: std::net::SocketAddr, flag: &str) -> String {
    format!("cannot listen on {address}; stop what listens there, or choose another address with {flag}")
}

/// The bundle and catalogue that the settings name now. Only these are read again: the rest needs a restart.
fn reopen(current: &Scorer, started: &Config, common: &CommonFlags, flags: &ServeFlags) -> Result<Scorer> {
    let config = Config::resolve(common, flags)?;
    let changed = started.needing_restart(&config);
    if !changed.is_empty() {
        tracing::warn!(
            settings = changed.join(", "),
            "changed settings are not taken over; they need a restart"
        );
    }
    let runtime = model::Runtime::load(config.runtime_library.as_deref())?;
    let bundle = read_bundle(&config)?;
    Ok(current.successor(&bundle, &runtime, config.scoring.catalogue)?)
}

/// Carries an error chain through the server.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct LoadError(anyhow::Error);
