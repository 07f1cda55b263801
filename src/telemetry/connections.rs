//! What is counted of connections, on both ports.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Port {
    port: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    port: &'static str,
    reason: &'static str,
}

/// Figures of connections.
#[derive(Debug, Default)]
pub struct Connections {
    open: Family<Port, Gauge>,
    opened: Family<Port, Counter>,
    closed: Family<Reason, Counter>,
    refused: Family<Reason, Counter>,
    streams_reset: Family<Reason, Counter>,
    accept_errors: Family<Port, Counter>,
    descriptors: Gauge,
}

impl Connections {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Open connections", self.open.clone());
        registry.register("connections_opened", "Connections that were accepted", self.opened.clone());
        registry.register(
            "connections_closed",
            "Connections that ended, by what ended them",
            self.closed.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections that were closed at once because the port or the peer has too many",
            self.refused.clone(),
        );
        registry.register(
            "streams_reset",
            "HTTP/2 streams that the server reset while their connection went on, by why",
            self.streams_reset.clone(),
        );
        registry.register(
            "accept_errors",
            "Errors of the system when a connection was to be accepted",
            self.accept_errors.clone(),
        );
        registry.register(
            "process_max_fds",
            "File descriptors that this process may have open",
            self.descriptors.clone(),
        );
    }

    /// A connection was accepted.
    pub fn opened(&self, port: &'static str) {
        self.opened.get_or_create(&Port { port }).inc();
        self.open.get_or_create(&Port { port }).inc();
    }

    /// A connection has ended.
    pub fn closed(&self, port: &'static str, reason: &'static str) {
        self.open.get_or_create(&Port { port }).dec();
        self.closed.get_or_create(&Reason { port, reason }).inc();
    }

    /// A connection was refused.
    pub fn refused(&self, port: &'static str, reason: &'static str) {
        self.refused.get_or_create(&Reason { port, reason }).inc();
    }

    /// The server reset one HTTP/2 stream of a connection.
    pub fn stream_reset(&self, port: &'static str, reason: &'static str) {
        self.streams_reset.get_or_create(&Reason { port, reason }).inc();
    }

    /// The system could not give a connection.
    pub fn accept_failed(&self, port: &'static str) {
        self.accept_errors.get_or_create(&Port { port }).inc();
    }

    /// How many file descriptors this process may have open.
    pub fn descriptors(&self, limit: u64) {
        self.descriptors.set(i64::try_from(limit).unwrap_or(i64::MAX));
    }

    /// What has not happened yet is 0, not missing.
    pub(super) fn start_at_zero(&self) {
        for port in ["grpc", "http"] {
            self.open.get_or_create(&Port { port }).set(0);
            self.opened.get_or_create(&Port { port }).inc_by(0);
            self.accept_errors.get_or_create(&Port { port }).inc_by(0);
            for reason in [
                "done",
                "failed",
                "handshake",
                "idle",
                "age",
                "drain",
                "evicted",
                "resets",
                "frames",
                "stalled",
            ] {
                self.closed.get_or_create(&Reason { port, reason }).inc_by(0);
            }
            self.streams_reset.get_or_create(&Reason { port, reason: "stalled" }).inc_by(0);
            for reason in ["total", "peer"] {
                self.refused.get_or_create(&Reason { port, reason }).inc_by(0);
            }
        }
    }
}
