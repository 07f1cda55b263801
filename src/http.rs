//! Metrics and probes over plain HTTP, for Prometheus and for whoever cannot speak gRPC.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use crate::net::{self, Drain, Settings};
use crate::scoring::Scorer;
use crate::telemetry::Metrics;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Gives the scorer while the server is ready, and nothing before and after.
pub type Serving = Arc<dyn Fn() -> Option<Arc<Scorer>> + Send + Sync>;

/// What the profile store says of itself to `/readyz`.
#[derive(Clone, Debug)]
pub struct StoreNote {
    /// Whether the server is ready with a store that stands so.
    pub is_ready: bool,
    /// What is wrong with it, a line each; empty if nothing is.
    pub text: String,
}

/// Asks the profile store how it stands.
pub type StoreProbe = Arc<dyn Fn() -> StoreNote + Send + Sync>;

/// Answers `/metrics`, `/healthz` (the process lives) and `/readyz` (it takes calls) until `drain` has started and every
/// connection has closed.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    serving: Serving,
    store: StoreProbe,
    settings: Settings,
    drain: &Drain,
) {
    let probe = Arc::clone(&serving);
    let ready = async move || match probe() {
        Some(scorer) if scorer.is_whole() => {
            let StoreNote { is_ready, text } = store();
            let (status, first) = if is_ready {
                (StatusCode::OK, "ready\n")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
            };
            (status, [first, &text].concat())
        }
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "a worker died; restart\n".to_owned()),
        None => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
    };
    let scraped = Arc::clone(&metrics);
    let scrape = async move |headers: HeaderMap| {
        if let Some(scorer) = serving() {
            scraped.scorer_stands(scorer.is_whole(), scorer.cache_level().await);
        }
        let (kind, text) = if wants_openmetrics(&headers) {
            (OPENMETRICS, scraped.render())
        } else {
            (PLAIN, scraped.render_plain())
        };
        ([(header::CONTENT_TYPE, kind), (header::VARY, "Accept")], text).into_response()
    };
    let router = Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape));
    net::serve(listener, TowerToHyperService::new(router), settings, metrics, drain).await;
}

/// Whether a scraper asks for OpenMetrics at least as much as for text.
fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let (mut openmetrics, mut text) = (0.0_f32, 0.0_f32);
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in accepted.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        match kind.as_str() {
            "application/openmetrics-text" => openmetrics = openmetrics.max(weight),
            "text/plain" | "text/*" | "*/*" => text = text.max(weight),
            _ => {}
        }
    }
    openmetrics > 0.0 && openmetrics >= text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
            ("application/json", false),
            ("application/openmetrics-text", true),
            ("Application/OpenMetrics-Text; version=1.0.0", true),
            ("application/openmetrics-text, */*", true),
            ("application/openmetrics-text;q=0.1, text/plain;q=0.9", false),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=x", false),
            (prometheus, true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("a header"));
            assert_eq!(wants_openmetrics(&headers), expected, "{accept}");
        }
        assert!(!wants_openmetrics(&HeaderMap::new()));
    }
}
