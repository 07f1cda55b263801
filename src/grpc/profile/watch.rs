//! `WatchProfiles`: a snapshot, then what changes.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, stream};
use jiff::Timestamp;
use prost::Message as _;
use ring::hmac;
use tokio::sync::watch;
use tonic::Status;

use super::super::call::Call;
use super::super::convert::{timestamp, wait};
use super::super::phase::Halt;
use super::super::status::{Failure, name};
use super::super::v1::watch_profiles_response::Event;
use super::super::violations::Violations;
use super::super::{ServerConfig, Shared, v1};
use super::convert;
use super::message::{self, Message};
use crate::net::network;
use crate::profile::{Anew, Disk, Interest, Keeper, Position, Shown, Step, StorageError, Update, Watcher};
use crate::telemetry::Metrics;
use crate::turns::{Turn, Turns};

/// The messages of one stream.
pub(super) type Updates = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send + 'static>>;

const MAX_KEYS: usize = 1024;
const MAX_PREFIXES: usize = 64;

/// The more watch, the less often each is told: each rests for so long, or for as long as its last turn took, times the number of
/// streams. So all of them together take half of one core at most, and whoever records goes first.
const REST_FOR_EACH: Duration = Duration::from_micros(50);

/// A stream that is being served.
struct Watching {
    call: Call,
    metrics: Arc<Metrics>,
    identity: u64,
    binding: Binding,
    /// Absent only while it works, and after its thread died.
    watcher: Option<Watcher<Disk>>,
    sequence: watch::Receiver<u64>,
    queue: VecDeque<Message>,
    /// One watcher at a time reads, and the others send what it has read. Peers share the turns fairly.
    turns: Turns<IpAddr>,
    /// How long its last turn took.
    took: Duration,
    in_snapshot: bool,
    sent: i64,
    heartbeat: Duration,
    spoke: tokio::time::Instant,
    /// When it last worked, if it did.
    worked: Option<Instant>,
    halt: Halt,
    ended: bool,
}

/// What the watcher found.
enum Found {
    Page(Option<Vec<Shown>>),
    Step(Step, Option<Position>),
}

impl Found {
    /// Has profiles encoded here, off the threads that serve sockets.
    fn encode(&self) {
        match self {
            Self::Page(shown) => shown.iter().flatten().for_each(|shown| {
                if let Shown::Profile(seen) = shown {
                    message::encoded(seen);
                }
            }),
            Self::Step(Step::Updates(updates), _) => updates.iter().for_each(|(_, update)| {
                if let Update::Profile(seen) = update {
                    message::encoded(seen);
                }
            }),
            Self::Step(Step::Anew(_) | Step::Lost, _) => {}
        }
    }
}

/// Checks what is asked for and begins.
pub(super) fn updates(
    shared: &Arc<Shared>,
    keeper: Arc<Keeper<Disk>>,
    turns: Turns<IpAddr>,
    call: Call,
    request: v1::WatchProfilesRequest,
) -> Result<Updates, Failure> {
    let identity = keeper.book().identity();
    // Its keys and prefixes are held as long as the stream is, in another form than they came in.
    call.remember(request.encoded_len()).map_err(|used_up| shared.refused(used_up))?;
    let (interest, heartbeat) = interest(&request, &shared.config)?;
    let binding = binding(&keeper.book().key_for(PURPOSE), &request);
    let sequence = keeper.sequence();
    let position = match request.resume_token.as_slice() {
        [] => None,
        token => Some(read_token(token, identity, binding)?),
    };
    let watcher = if position.is_none() && request.skip_snapshot {
        Watcher::from_now(keeper, interest)
    } else {
        Watcher::new(keeper, interest, position)
    };
    shared.metrics.watching(1);
    let watching = Watching {
        halt: Halt::new(shared, call.deadline),
        call,
        metrics: Arc::clone(&shared.metrics),
        identity,
        binding,
        watcher: Some(watcher),
        sequence,
        queue: VecDeque::new(),
        turns,
        took: Duration::ZERO,
        in_snapshot: false,
        sent: 0,
        heartbeat,
        spoke: tokio::time::Instant::now(),
        worked: None,
        ended: false,
    };
    Ok(Box::pin(stream::unfold(watching, async |mut watching| {
        let next = watching.next().await;
        next.map(|message| (message, watching))
    })))
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.metrics.watching(-1);
    }
}

impl Watching {
    async fn next(&mut self) -> Option<Result<Message, Status>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(message) = self.queue.pop_front() {
                self.spoke = tokio::time::Instant::now();
                return Some(Ok(message));
            }
            if let Err(failure) = self.turn().await {
                return Some(Err(self.end(failure)));
            }
        }
    }

    /// Waits for its turn, and has the watcher find what there is to say.
    async fn turn(&mut self) -> Result<(), Failure> {
        self.wait().await?;
        let peer = self.call.client().address.map(network);
        let turn = tokio::select! {
            biased;
            failure = self.halt.reached() => return Err(failure),
            turn = self.turns.take(peer) => turn,
        };
        self.sequence.borrow_and_update();
        let begun = Instant::now();
        let found = self.work(turn).await?;
        let ended = Instant::now();
        (self.took, self.worked) = (ended - begun, Some(ended));
        self.take(found)
    }

    fn end(&mut self, failure: Failure) -> Status {
        let status = Status::from(failure);
        self.call.end(name(&status));
        self.ended = true;
        status
    }

    /// Has the watcher read, off the threads that serve sockets.
    async fn work(&mut self, turn: Turn<IpAddr>) -> Result<Found, Failure> {
        let (now, in_snapshot) = (self.now(), self.in_snapshot);
        let mut watcher = self.watcher.take().ok_or(Failure::Died)?;
        let read = move || -> (Watcher<Disk>, Result<Found, StorageError>) {
            let found = if in_snapshot {
                watcher.page(now).map(Found::Page)
            } else {
                watcher.step(now).map(|step| Found::Step(step, watcher.position()))
            };
            if let Ok(found) = &found {
                found.encode();
            }
            // Also if nobody waits for it any more.
            drop(turn);
            (watcher, found)
        };
        let (watcher, found) = tokio::task::spawn_blocking(read).await.map_err(|_| Failure::Died)?;
        self.watcher = Some(watcher);
        found.map_err(Failure::Storage)
    }

    fn now(&self) -> Timestamp {
        self.watcher.as_ref().map_or_else(Timestamp::now, Watcher::now)
    }

    fn take(&mut self, found: Found) -> Result<(), Failure> {
        let now = self.now();
        match found {
            Found::Page(Some(shown)) => {
                for shown in shown {
                    match shown {
                        Shown::Profile(seen) => {
                            self.sent += 1;
                            self.queue.push_back(Message::Profile {
                                resume_token: Vec::new(),
                                sequence: 0,
                                seen,
                            });
                        }
                        // Without a token: who is cut off here has the snapshot still to come.
                        Shown::Signal(sequence, signal) => {
                            let sequence = convert::number(sequence);
                            self.put(Vec::new(), sequence, Event::Signal(convert::signal(&signal)));
                        }
                    }
                }
            }
            Found::Page(None) => {
                self.in_snapshot = false;
                let position = self.watcher.as_ref().and_then(Watcher::position);
                let profile_count = std::mem::take(&mut self.sent);
                self.say(position, Event::SnapshotEnd(v1::SnapshotEnd { profile_count }));
            }
            Found::Step(Step::Anew(why), _) => {
                let reason = match why {
                    Anew::First => v1::SnapshotReason::First,
                    Anew::Behind => v1::SnapshotReason::Behind,
                    Anew::Erased => v1::SnapshotReason::Erased,
                };
                self.in_snapshot = true;
                self.say(None, Event::SnapshotBegin(v1::SnapshotBegin { reason: reason.into() }));
            }
            Found::Step(Step::Lost, _) => return Err(Failure::ChangesForgotten),
            Found::Step(Step::Updates(updates), after) => {
                for (position, update) in updates {
                    let event = match update {
                        Update::Profile(seen) => {
                            let (resume_token, sequence) = self.place(position);
                            self.queue.push_back(Message::Profile { resume_token, sequence, seen });
                            continue;
                        }
                        Update::Gone { key, erased } => {
                            Event::Gone(v1::ProfileGone { key: Some(convert::key_to(&key)), erased })
                        }
                        Update::Signal(signal) => Event::Signal(convert::signal(&signal)),
                    };
                    self.say(Some(position), event);
                }
                let late = self.spoke.elapsed() >= self.heartbeat;
                let level = self.watcher.as_ref().is_some_and(Watcher::is_level);
                if self.queue.is_empty() && late && level {
                    let watermark_time = Some(timestamp(now));
                    self.say(after, Event::Heartbeat(v1::WatchHeartbeat { watermark_time }));
                }
            }
        }
        Ok(())
    }

    /// The resume token and the sequence of a position.
    fn place(&self, position: Position) -> (Vec<u8>, i64) {
        let sequence = position.next - u64::from(position.parts == 0);
        (token(position, self.identity, self.binding), convert::number(sequence))
    }

    fn say(&mut self, position: Option<Position>, event: Event) {
        let (token, sequence) = position.map(|position| self.place(position)).unwrap_or_default();
        self.put(token, sequence, event);
    }

    fn put(&mut self, resume_token: Vec<u8>, sequence: i64, event: Event) {
        let event = Some(event);
        let message = v1::WatchProfilesResponse { resume_token, sequence, event };
        self.queue.push_back(Message::Own(Box::new(message)));
    }

    /// Waits for something to say: at once for the first time and within a snapshot; else for a change, if all is said, and until it has
    /// rested, or for the next heartbeat.
    async fn wait(&mut self) -> Result<(), Failure> {
        let rest = REST_FOR_EACH.max(self.took) * u32::try_from(self.metrics.watchers()).unwrap_or(1);
        let level = self.watcher.as_ref().is_some_and(Watcher::is_level);
        let (worked, in_snapshot) = (self.worked, self.in_snapshot);
        let changed = async {
            if let Some(worked) = worked
                && !in_snapshot
            {
                if level && self.sequence.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep_until((worked + rest).into()).await;
            }
        };
        tokio::select! {
            biased;
            failure = self.halt.reached() => Err(failure),
            () = changed => Ok(()),
            () = tokio::time::sleep_until(self.spoke + self.heartbeat) => Ok(()),
        }
    }
}

fn interest(
    request: &v1::WatchProfilesRequest,
    config: &ServerConfig,
) -> Result<(Interest, Duration), Failure> {
    let mut faults = Violations::default();
    if request.keys.len() > MAX_KEYS {
        let problem = format!("are {}, at most {MAX_KEYS} are taken", request.keys.len());
        faults.add("keys", problem);
    }
    if request.key_prefixes.len() > MAX_PREFIXES {
        let problem = format!("are {}, at most {MAX_PREFIXES} are taken", request.key_prefixes.len());
        faults.add("key_prefixes", problem);
    }
    if request.skip_snapshot && !request.resume_token.is_empty() {
        faults.add("skip_snapshot", "does not go with a resume_token");
    }
    let heartbeat = match request.heartbeat_interval {
        None => Duration::from_secs(15),
        Some(given) => wait(&given).unwrap_or_default(),
    };
    if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&heartbeat) {
        faults.add("heartbeat_interval", "is not within 1 and 300 seconds");
    }
    // What is too much is not looked at.
    let mut faults = faults.none_or(Violations::default())?;
    for (at, prefix) in request.key_prefixes.iter().enumerate() {
        convert::key_prefix(&mut faults, &format!("key_prefixes[{at}]"), prefix);
    }
    let mut keys = Vec::new();
    for (at, key) in request.keys.iter().enumerate() {
        match convert::key(&format!("keys[{at}]"), key.clone(), config) {
            Ok(key) => keys.push(key),
            Err(found) => faults.append(found, str::to_owned),
        }
    }
    faults.none_or(())?;
    Ok((Interest::new(keys, request.key_prefixes.iter().cloned()), heartbeat))
}

/// What the key of the store is derived for.
const PURPOSE: &str = "resume tokens";

/// Stands for the keys and prefixes of a request: with others, a watcher that resumes would miss what changed of them before.
type Binding = [u8; 8];

fn binding(key: &[u8; 32], request: &v1::WatchProfilesRequest) -> Binding {
    let mut asked = v1::WatchProfilesRequest {
        keys: request.keys.clone(),
        key_prefixes: request.key_prefixes.clone(),
        ..v1::WatchProfilesRequest::default()
    };
    // Their order says nothing.
    asked.keys.sort_by_cached_key(prost::Message::encode_to_vec);
    asked.keys.dedup();
    asked.key_prefixes.sort();
    asked.key_prefixes.dedup();
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut binding = Binding::default();
    for (to, from) in binding.iter_mut().zip(hmac::sign(&key, &asked.encode_to_vec()).as_ref()) {
        *to = *from;
    }
    binding
}

/// A position in a store and the request that it belongs to, as bytes.
fn token(position: Position, identity: u64, binding: Binding) -> Vec<u8> {
    let (next, parts) = (position.next.to_be_bytes(), position.parts.to_be_bytes());
    [identity.to_be_bytes().as_slice(), &next, &parts, &binding].concat()
}

fn read_token(token: &[u8], identity: u64, binding: Binding) -> Result<Position, Failure> {
    let parts = || {
        let (of, rest) = token.split_first_chunk::<8>()?;
        let (next, rest) = rest.split_first_chunk::<8>()?;
        let (parts, rest) = rest.split_first_chunk::<4>()?;
        let bound: Binding = rest.try_into().ok()?;
        let position = Position { next: u64::from_be_bytes(*next), parts: u32::from_be_bytes(*parts) };
        Some((u64::from_be_bytes(*of), position, bound))
    };
    // Changes are numbered from 1.
    let Some((of, position, bound)) = parts().filter(|(_, position, _)| position.next > 0) else {
        let problem = "is no token of WatchProfiles; send the last one as it came, or none";
        return Err(Violations::of("resume_token", problem).into());
    };
    if of != identity {
        return Err(Failure::ChangesForgotten);
    }
    if bound != binding {
        let problem = "is of a request with other keys or key_prefixes; send the same ones, or no token";
        return Err(Violations::of("resume_token", problem).into());
    }
    Ok(position)
}
