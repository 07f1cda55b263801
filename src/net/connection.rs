//! One connection from its first byte to its last.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::calls::{Calls, Counted};
use super::drain::{Stage, Step};
use super::executor::Streams;
use super::inbound::{Blocked, Flooded, Greeted, Inbound};
use super::places::Place;
use super::resets::Verdict;
use super::timetable::{Due, Limits, Seen, Timetable, Why};
use super::{Ends, Offer, Protocol, Settings};
use crate::telemetry::Metrics;

/// How long an evicted connection may take to read that it must leave.
const EVICTION_GRACE: Duration = Duration::from_millis(100);

/// How long the calls of a connection may go on that cancels too many.
const RESETS_GRACE: Duration = Duration::from_secs(60);

/// Cancelled calls that the h2 crate has read and not yet passed on, at most: memory that an attack can take. Those over time
/// are counted by [`super::resets`].
const MOST_PENDING_RESETS: usize = 4096;

/// Streams of one connection that the h2 crate resets for errors of the client, at most. It counts them over the whole life of a connection, and
/// frames that come after the server ended a call early are among them.
const MOST_ERROR_RESETS: usize = 16_384;

/// The least buffer that hyper takes for the head of a request over HTTP/1.
const HTTP1_BUFFER: usize = 8192;

pub(super) type Builder = auto::Builder<Streams>;

/// What every connection of a port is built from.
pub(super) fn builder(settings: &Settings, metrics: &Arc<Metrics>) -> Builder {
    let (limit, port, metrics) = (settings.send_timeout, settings.port, Arc::clone(metrics));
    let builder = Builder::new(Streams { limit, port, metrics });
    let mut builder = match settings.protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
        Protocol::Both => builder,
    };
    let http2 = &settings.http2;
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.handshake_timeout)
        .max_buf_size(usize::try_from(http2.max_header_bytes).unwrap_or(usize::MAX).max(HTTP1_BUFFER));
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(http2.stream_window)
        .initial_connection_window_size(http2.connection_window)
        .max_concurrent_streams(http2.max_streams)
        .max_header_list_size(http2.max_header_bytes)
        .keep_alive_interval(http2.keepalive)
        .keep_alive_timeout(http2.keepalive_timeout)
        .max_pending_accept_reset_streams(MOST_PENDING_RESETS)
        .max_local_error_reset_streams(MOST_ERROR_RESETS);
    builder
}

/// The time limits of one connection.
pub(super) fn limits(settings: &Settings) -> Limits {
    Limits {
        handshake: Some(settings.handshake_timeout),
        idle: Some(settings.idle_timeout),
        send: Some(settings.send_timeout),
        // Connections that were opened together are not told to move on together.
        age: settings.age.map(|age| jittered(age.limit, getrandom::u32().unwrap_or(u32::MAX / 2))),
        age_grace: settings.age.map(|age| age.grace),
    }
}

/// One connection that has been accepted.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) builder: Builder,
    pub(super) limits: Limits,
    pub(super) ends: Ends,
    pub(super) place: Place,
    pub(super) stage: Stage,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client left, or all was done.
    Done,
    /// The client broke the protocol, or the network failed.
    Failed,
    /// It was closed.
    Closed(Why),
}

impl Connection {
    /// Serves until the client leaves, a time limit passes, or the port ends.
    pub(super) async fn run<I, S, B>(self, stream: I, service: S) -> End
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Offer<B>,
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let Self { builder, limits, ends, place, mut stage } = self;
        let (calls, greeted, blocked) = (Calls::new(place), Greeted::default(), Blocked::default());
        let flooded = Flooded::default();
        let service = Counted { inner: service, ends, calls: Arc::clone(&calls) };
        let stream = TokioIo::new(Inbound::new(stream, greeted.clone(), blocked.clone(), flooded.clone()));
        let mut served = pin!(builder.serve_connection(stream, service));
        let mut times = Timetable::new(Instant::now(), limits);
        let mut verdict = Verdict::Fine;
        loop {
            let seen = Seen {
                greeted: greeted.is_set(),
                idle_since: calls.idle_since(),
                stalled_since: blocked.since(),
            };
            let (why, grace) = match times.due(Instant::now(), seen) {
                Due::Close(why) => return End::Closed(why),
                Due::Tell(why) => {
                    if why == Why::Stalled {
                        tracing::warn!("a client takes nothing from its connection, which is closed");
                    }
                    (why, times.grace(why))
                }
                Due::Wait(until) => tokio::select! {
                    ended = served.as_mut() => {
                        return if flooded.is_set() { End::Closed(Why::Frames) } else { ended_with(ended) };
                    }
                    () = sleep_until_some(until) => continue,
                    step = stage.next() => match step {
                        Step::Cut => return End::Closed(Why::Drain),
                        Step::Open | Step::Started => (Why::Drain, None),
                    },
                    () = calls.evicted() => {
                        if !greeted.is_set() {
                            // There is nobody to be told yet.
                            return End::Closed(Why::Evicted);
                        }
                        (Why::Evicted, Some(EVICTION_GRACE))
                    }
                    judged = calls.judged(verdict) => {
                        verdict = judged;
                        if verdict == Verdict::Cut {
                            return End::Closed(Why::Resets);
                        }
                        (Why::Resets, Some(RESETS_GRACE))
                    }
                },
            };
            if !times.is_told() {
                // GOAWAY over HTTP/2, `connection: close` over HTTP/1.
                served.as_mut().graceful_shutdown();
            }
            times.told(Instant::now(), why, grace);
        }
    }
}

async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn ended_with(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) -> End {
    match ended {
        Ok(()) => End::Done,
        Err(error) => {
            tracing::debug!(error = crate::telemetry::chain(error.as_ref()), "a connection failed");
            End::Failed
        }
    }
}

/// From nine to eleven tenths of a time, by a random number.
fn jittered(time: Duration, random: u32) -> Duration {
    let share = f64::from(random) / f64::from(u32::MAX);
    time.mul_f64(0.9 + 0.2 * share)
}
