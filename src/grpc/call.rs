//! One call from its arrival to its end: admitted or refused, counted, traced, ended by its deadline.

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prost::Message;
use tokio::sync::watch;
use tonic::codegen::http::HeaderMap;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span};

use super::budget::Charge;
use super::shares::{Kind, Shares, UsedUp};
use super::status::{CANCELLED, Failure, OK, is_server_fault, name, number};
use super::{ServerConfig, Shared};
use crate::scoring::{Client, Refused, RetryLine, chance};
use crate::telemetry;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// A refused caller is told to come back no sooner than this: a call ends and not a text.
const SOONEST_RETRY: Duration = Duration::from_millis(200);

/// A refused caller is told to come back no later than this.
const LATEST_RETRY: Duration = Duration::from_secs(30);

/// No call is taken to last longer than this, since a stream may last for hours.
const LONGEST_CALL: Duration = Duration::from_millis(2500);

/// The calls that are being answered.
#[derive(Debug)]
pub(super) struct InFlight {
    count: watch::Sender<usize>,
    begun: Instant,
    /// When the last call was admitted or ended, in microseconds since it all began.
    moved_us: AtomicU64,
    /// How long the slowest of the last calls took, in microseconds: it counts a quarter less with each that is faster.
    slowest_us: AtomicU64,
    /// Most calls at once.
    limit: usize,
    /// Whose they are.
    shares: Mutex<Shares>,
    refused: Mutex<Line>,
    /// Those who met a limit of their own address. They wait in a line of their own: or one address could make everybody wait.
    refused_peers: Mutex<Line>,
    hasher: RandomState,
}

/// The callers who were refused.
#[derive(Debug)]
struct Line {
    line: RetryLine,
    refusals: u64,
}

impl Line {
    fn new() -> Self {
        Self { line: RetryLine::new(LATEST_RETRY), refusals: 0 }
    }
}

impl InFlight {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let limit = config.max_calls;
        Self {
            shares: Mutex::new(Shares::new(limit, config.max_peer_calls)),
            count: watch::Sender::new(0),
            begun: Instant::now(),
            moved_us: AtomicU64::new(0),
            slowest_us: AtomicU64::new(0),
            limit,
            refused: Mutex::new(Line::new()),
            refused_peers: Mutex::new(Line::new()),
            hasher: RandomState::new(),
        }
    }

    fn moved(&self) {
        self.moved_us.store(microseconds(self.begun.elapsed()), Ordering::Relaxed);
    }

    /// Counts a call, if there is room for it.
    fn admit(&self, peer: Option<IpAddr>, kind: Kind) -> Result<usize, UsedUp> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = shares.enter(peer, kind)?;
        self.count.send_replace(calls);
        Ok(calls)
    }

    /// A call that was counted is over.
    fn leave(&self, peer: Option<IpAddr>, kind: Kind) -> usize {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = shares.leave(peer, kind);
        self.count.send_replace(calls);
        calls
    }

    /// Notes how long a call took.
    fn ended(&self, took: Duration) {
        self.moved();
        let took = microseconds(took.min(LONGEST_CALL));
        // Of two at once one may be lost: it is an estimate.
        let slowest = self.slowest_us.load(Ordering::Relaxed);
        self.slowest_us.store(took.max(slowest - slowest / 4), Ordering::Relaxed);
    }

    /// When a refused caller is to come back: after the time of a call, and after the callers refused before it. Calls take no
    /// less than nothing has moved for.
    fn retry_after(&self, used_up: UsedUp, patience: Option<Duration>) -> Duration {
        let now = self.begun.elapsed();
        let still = microseconds(now).saturating_sub(self.moved_us.load(Ordering::Relaxed));
        let slowest = Duration::from_micros(self.slowest_us.load(Ordering::Relaxed).max(still));
        let slowest = slowest.clamp(SOONEST_RETRY, LONGEST_CALL);
        let line = if used_up.is_of_peer() { &self.refused_peers } else { &self.refused };
        let mut refused = line.lock().unwrap_or_else(PoisonError::into_inner);
        refused.refusals += 1;
        let chance = chance(&self.hasher, refused.refusals);
        // So many calls end at once.
        let work = slowest / u32::try_from(self.limit.max(1)).unwrap_or(u32::MAX);
        refused
            .line
            .refuse(Refused { key: None, ahead: slowest, work, patience, comes_back: None, chance }, now)
    }

    /// Calls that are being answered.
    pub(super) fn count(&self) -> usize {
        *self.count.borrow()
    }
}

/// A call that was admitted. Counted until it is dropped; one that is dropped before its end was cancelled.
#[derive(Debug)]
pub(super) struct Call {
    shared: Arc<Shared>,
    method: &'static str,
    started: Instant,
    status: &'static str,
    peer: Option<IpAddr>,
    kind: Kind,
    /// What it holds; nothing is counted for one that did not come through the front.
    charge: Option<Arc<Charge>>,
    pub(super) deadline: Option<Instant>,
    pub(super) span: Span,
}

impl Call {
    /// Admits a call of one request and answer, unless too many are being answered or its message is too large for now.
    pub(super) fn enter<T: Message>(
        shared: &Arc<Shared>,
        service: &'static str,
        method: &'static str,
        request: &Request<T>,
    ) -> Result<Self, Status> {
        let mut call = Self::of(Kind::Short, shared, service, method, request)?;
        let inflated = |charge: &Arc<Charge>| charge.inflated(|| request.get_ref().encoded_len());
        if let Some(Err(used_up)) = call.charge.as_ref().map(inflated) {
            let refused = Status::from(shared.refused(used_up));
            call.end(name(&refused));
            return Err(refused);
        }
        Ok(call)
    }

    /// Admits a stream, unless too many are open.
    pub(super) fn enter_stream<T>(
        shared: &Arc<Shared>,
        service: &'static str,
        method: &'static str,
        request: &Request<T>,
    ) -> Result<Self, Status> {
        Self::of(Kind::Stream, shared, service, method, request)
    }

    fn of<T>(
        kind: Kind,
        shared: &Arc<Shared>,
        service: &'static str,
        method: &'static str,
        request: &Request<T>,
    ) -> Result<Self, Status> {
        let metadata = request.metadata();
        let peer = request.remote_addr().map(|address| address.ip());
        let charge = request.extensions().get::<Arc<Charge>>().cloned();
        if let Some(charge) = &charge {
            charge.read();
        }
        let given = [TRACEPARENT, TRACESTATE]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), metadata.get(name)?.to_str().ok()?.to_owned())));
        let headers = given.collect::<HashMap<_, _>>();
        let span = telemetry::call_span(service, method, &shared.address, &headers);
        let deadline = request.extensions().get::<Arrival>().and_then(|arrival| arrival.deadline);
        let admitted = shared.in_flight.admit(peer, kind);
        if let Err(used_up) = admitted {
            let patience = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let refused = Status::from(shared.refused_for(used_up, patience));
            end_span(&span, name(&refused));
            shared.metrics.request_done(method, name(&refused), Duration::ZERO);
            return Err(refused);
        }
        shared.in_flight.moved();
        shared.metrics.in_flight(admitted.unwrap_or_default());
        Ok(Self {
            shared: Arc::clone(shared),
            method,
            started: Instant::now(),
            status: CANCELLED,
            peer,
            kind,
            charge,
            deadline,
            span,
        })
    }

    /// It has taken a message of so many bytes, inflated, into its buffers, which never shrink.
    pub(super) fn took(&self, bytes: usize) -> Result<(), UsedUp> {
        self.charge.as_ref().map_or(Ok(()), |charge| charge.took(bytes))
    }

    /// Work on its message of so many bytes begins, which makes copies.
    pub(super) fn works_on(&self, bytes: usize) -> Result<(), UsedUp> {
        self.charge.as_ref().map_or(Ok(()), |charge| charge.works_on(bytes))
    }

    /// It remembers so many bytes now, beside its message.
    pub(super) fn remember(&self, bytes: usize) -> Result<(), UsedUp> {
        self.charge.as_ref().map_or(Ok(()), |charge| charge.remember(bytes))
    }

    /// Does the work of the call, for as long as its caller waits, and ends it.
    pub(super) async fn answer<T>(
        mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Response<T>, Status> {
        let done = within(self.deadline, work).instrument(self.span.clone()).await;
        match done {
            Ok(answer) => {
                self.end(OK);
                let mut response = Response::new(answer);
                self.trace(response.metadata_mut());
                Ok(response)
            }
            Err(failure) => {
                let mut status = Status::from(failure);
                self.end(name(&status));
                self.trace(status.metadata_mut());
                Err(status)
            }
        }
    }

    /// The client of the call, as the queue of texts knows it.
    pub(super) fn client(&self) -> Client {
        Client { address: self.peer, deadline: self.deadline }
    }

    /// Says how the call ended.
    pub(super) fn end(&mut self, status: &'static str) {
        self.status = status;
    }

    /// Counts the texts of the call as they are answered.
    pub(super) fn items(&self) -> impl Fn(&'static str) + Send + Sync + use<> {
        let (shared, method) = (Arc::clone(&self.shared), self.method);
        move |status| shared.metrics.item_done(method, status)
    }

    /// Tells the caller which trace this was.
    pub(super) fn trace(&self, metadata: &mut MetadataMap) {
        if let Some(parent) = telemetry::traceparent(&self.span)
            && let Ok(value) = MetadataValue::try_from(parent)
        {
            metadata.insert(TRACEPARENT, value);
        }
    }
}

impl Shared {
    /// The refusal of a caller who found something used up, which is counted.
    pub(super) fn refused(&self, used_up: UsedUp) -> Failure {
        self.refused_for(used_up, None)
    }

    fn refused_for(&self, used_up: UsedUp, patience: Option<Duration>) -> Failure {
        let retry_after = self.in_flight.retry_after(used_up, patience);
        self.metrics.told_to_retry(retry_after);
        self.metrics.call_refused(used_up.name());
        Failure::TooManyCalls { used_up, retry_after }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        end_span(&self.span, self.status);
        let took = self.started.elapsed();
        self.shared.metrics.request_done(self.method, self.status, took);
        self.shared.in_flight.ended(took);
        self.shared.metrics.in_flight(self.shared.in_flight.leave(self.peer, self.kind));
    }
}

/// Notes on the span of a call how it ended.
fn end_span(span: &Span, status: &'static str) {
    telemetry::call_ended(span, status, number(status), is_server_fault(status));
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Ends the work when the caller stops waiting for it.
pub(super) async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match deadline {
        None => work.await,
        // A timeout would let the work begin.
        Some(deadline) if deadline <= Instant::now() => Err(Failure::DeadlineExceeded),
        Some(deadline) => {
            tokio::time::timeout_at(deadline.into(), work).await.unwrap_or(Err(Failure::DeadlineExceeded))
        }
    }
}

/// When a call came, and when its caller stops waiting. What the call waits for before it is admitted counts, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    deadline: Option<Instant>,
}

impl Arrival {
    /// Of a call that comes now.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let timeout = headers.get("grpc-timeout").and_then(|timeout| timeout.to_str().ok()).and_then(timeout);
        Self { deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) }
    }

    /// Waits for something until the caller stops waiting.
    pub(super) async fn within<T>(self, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let Some(deadline) = self.deadline else { return work.await };
        let done = tokio::time::timeout_at(deadline.into(), work).await;
        done.unwrap_or_else(|_| Err(Failure::DeadlineExceeded.into()))
    }
}

/// How long a caller waits, from the header `grpc-timeout`: up to eight digits and a unit.
fn timeout(header: &str) -> Option<Duration> {
    let (digits, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_at_the_limit_of_one_address_make_nobody_else_wait() {
        let in_flight = InFlight::new(&ServerConfig::default());
        for _ in 0..1_000_000 {
            in_flight.retry_after(UsedUp::PeerCalls, None);
        }
        assert!(in_flight.retry_after(UsedUp::PeerBytes, None) > LATEST_RETRY / 2);
        assert!(in_flight.retry_after(UsedUp::Calls, None) < LATEST_RETRY / 10);
    }
}
