//! `arom serve`: the gRPC server under the system's signals.

use anyhow::{Context, Result, anyhow, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::open_scorer;
use crate::config::Config;
use crate::grpc;

pub(super) fn run(config: &Config) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: &Config) -> Result<()> {
    let address = config.server.listen;
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address}; stop what listens there, or choose another address with --listen"
        )
    })?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let address = listener.local_addr().context("the listener has no address")?;
    tracing::info!(%address, workers = config.scoring.workers, "listening");
    let settings = config.clone();
    let load = move || open_scorer(&settings).map_err(LoadError);
    let (stop, stopped) = oneshot::channel::<()>();
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
    let shutdown = async { stopped.await.unwrap_or(()) };
    let served = tokio::select! {
        served = grpc::serve(listener, &config.server, load, shutdown) => served,
        () = twice => bail!("a second signal: what was still being answered is dropped"),
    };
    served.map_err(|error| match error {
        // The chain is printed once, from the cause that a person can mend.
        grpc::ServeError::Load(LoadError(cause)) => cause,
        other @ (grpc::ServeError::LoadDied
        | grpc::ServeError::Transport(_)
        | grpc::ServeError::GraceExceeded(_)) => anyhow!(other),
    })
}

/// Carries an error chain through the server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct LoadError(anyhow::Error);
