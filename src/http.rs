//! Metrics and probes over plain HTTP, for Prometheus and for whoever cannot speak gRPC.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::scoring::Scorer;
use crate::telemetry::Metrics;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Gives the scorer while the server is ready, and nothing before and after.
pub type Serving = Arc<dyn Fn() -> Option<Arc<Scorer>> + Send + Sync>;

/// Answers `/metrics`, `/healthz` (the process lives) and `/readyz` (it takes calls) until `shutdown` completes.
///
/// # Errors
///
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    serving: Serving,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let probe = Arc::clone(&serving);
    let ready = async move || match probe() {
        Some(scorer) if scorer.is_whole() => (StatusCode::OK, "ready\n"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "a worker died; restart\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    };
    let scrape = async move || {
        if let Some(scorer) = serving() {
            metrics.scorer_stands(scorer.is_whole(), scorer.cache_level().await);
        }
        ([(header::CONTENT_TYPE, OPENMETRICS)], metrics.render()).into_response()
    };
    let router = Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape));
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}
