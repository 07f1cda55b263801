//! Ports and connections: what stands between a listening socket and a service, written once for gRPC and HTTP.
//!
//! ```text
//! listener ─► accept (errors, caps) ─► connection (one task: time limits, age, drain) ─► service
//! ```
//!
//! tonic's own server is not used: with a grace it never sends GOAWAY (tonic 0.14.9), and it has no limits on
//! connections. TLS will wrap the stream in [`serve`], before the connection reads from it.

mod accept;
mod authority;
mod calls;
mod connection;
mod drain;
mod executor;
mod inbound;
mod places;
mod ration;
mod resets;
mod seats;
mod timetable;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::telemetry::Metrics;
use accept::Errors;
pub use calls::Received;
use connection::{Connection, End};
pub use drain::Drain;
use places::Places;
pub use seats::Caps;
use seats::Full;
pub(crate) use seats::network;
use timetable::Why;

/// Settings of one port.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the port in log lines and metrics.
    pub port: &'static str,
    /// Which versions of HTTP it speaks.
    pub protocol: Protocol,
    /// Settings of HTTP/2 connections.
    pub http2: Http2,
    /// How many connections it takes.
    pub caps: Caps,
    /// How long a connection may take for its first bytes, and over HTTP/1 for the head of a request.
    pub handshake_timeout: Duration,
    /// A connection without calls is told to move on after so long.
    pub idle_timeout: Duration,
    /// A stream of whose answer the client takes nothing for so long is reset; a connection from which it takes nothing is told to
    /// move on.
    pub send_timeout: Duration,
    /// When a connection is told to move on, and how long its calls have after that; never if not set.
    pub age: Option<Age>,
}

/// Which versions of HTTP a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 with prior knowledge only.
    Http2,
    /// Both, told apart by the first bytes.
    Both,
}

/// Settings of HTTP/2 connections.
#[derive(Clone, Copy, Debug)]
pub struct Http2 {
    /// What a client may send on one stream before it is read, in bytes.
    pub stream_window: u32,
    /// What a client may send on one connection before it is read, in bytes.
    pub connection_window: u32,
    /// Most open streams on one connection.
    pub max_streams: u32,
    /// Most bytes in the headers of one request.
    pub max_header_bytes: u32,
    /// A silent connection is pinged after so long.
    pub keepalive: Duration,
    /// A connection that does not answer a ping within this is closed.
    pub keepalive_timeout: Duration,
}

/// How old a connection may become.
#[derive(Clone, Copy, Debug)]
pub struct Age {
    /// The client is told to move on after so long, give or take a tenth.
    pub limit: Duration,
    /// What is still open so long after that is cut.
    pub grace: Duration,
}

/// The two ends of a connection; every request carries it as an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client's address.
    pub peer: SocketAddr,
    /// This server's address.
    pub local: Option<SocketAddr>,
}

/// A service that a port can offer.
pub trait Offer<B>:
    hyper::service::Service<
        Request<Received>,
        Response = Response<B>,
        Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
}

impl<S, B> Offer<B> for S where
    S: hyper::service::Service<
            Request<Received>,
            Response = Response<B>,
            Error: Into<Box<dyn std::error::Error + Send + Sync>>,
            Future: Send,
        > + Clone
        + Send
        + 'static
{
}

/// Serves a port until `drain` has started and every connection has closed.
pub async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    settings: Settings,
    metrics: Arc<Metrics>,
    drain: &Drain,
) where
    S: Offer<B>,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (port, local) = (settings.port, listener.local_addr().ok());
    let builder = connection::builder(&settings, &metrics);
    let places = Places::new(settings.caps);
    let mut errors = Errors::default();
    let mut refusals = Refusals::default();
    let mut stage = drain.watch();
    loop {
        let count = || metrics.connections().accept_failed(port);
        let (stream, peer) = tokio::select! {
            accepted = errors.next(|| listener.accept(), count) => accepted,
            _ = stage.next() => break,
        };
        let place = match places.take(peer.ip()) {
            Ok(place) => place,
            Err(full) => {
                metrics.connections().refused(port, name_of_full(full));
                refusals.log(port, full);
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection closed before it was served");
        }
        let connection = Connection {
            builder: builder.clone(),
            limits: connection::limits(&settings),
            ends: Ends { peer, local },
            place,
            stage: drain.watch(),
        };
        metrics.connections().opened(port);
        let (service, metrics) = (service.clone(), Arc::clone(&metrics));
        tokio::spawn(async move {
            let end = connection.run(stream, service).await;
            metrics.connections().closed(port, name_of_end(end));
        });
        // In a flood of newcomers, those who must leave for them get a turn.
        tokio::task::yield_now().await;
    }
    drop(stage);
    // A closed listener refuses newcomers at once; an open one would let them wait.
    drop(listener);
    drain.closed().await;
}

/// Refused connections, of which a line is logged now and then.
#[derive(Debug, Default)]
struct Refusals {
    logged: Option<Instant>,
    unlogged: u64,
}

impl Refusals {
    fn log(&mut self, port: &'static str, full: Full) {
        const LOG_EVERY: Duration = Duration::from_secs(10);
        let now = Instant::now();
        if self.logged.is_some_and(|logged| now < logged + LOG_EVERY) {
            self.unlogged += 1;
            return;
        }
        let (cap, more_since_last_line) = (name_of_full(full), self.unlogged);
        tracing::warn!(
            port,
            cap,
            more_since_last_line,
            "too many connections with open calls; one was refused"
        );
        (self.logged, self.unlogged) = (Some(now), 0);
    }
}

fn name_of_full(full: Full) -> &'static str {
    match full {
        Full::Total => "total",
        Full::Peer => "peer",
    }
}

fn name_of_end(end: End) -> &'static str {
    match end {
        End::Done => "done",
        End::Failed => "failed",
        End::Closed(Why::Handshake) => "handshake",
        End::Closed(Why::Idle) => "idle",
        End::Closed(Why::Age) => "age",
        End::Closed(Why::Drain) => "drain",
        End::Closed(Why::Evicted) => "evicted",
        End::Closed(Why::Resets) => "resets",
        End::Closed(Why::Frames) => "frames",
        End::Closed(Why::Stalled) => "stalled",
    }
}

#[cfg(test)]
mod tests;
