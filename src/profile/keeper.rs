//! Who keeps the book: one thread works out what is written, one writes it, another clears away what is older
//! than is kept, and whoever watches is told.
//!
//! The writer takes what waits and commits it together. There is no timer: while a commit is on its way to the disk, the next is
//! worked out on top of it, and what comes waits for the one after, so that the busier the store the
//! larger its commits.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc as std_mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot, watch};

use super::book::{Book, Command, Outcome, Prepared};
use super::change::Change;
use super::clock::{ClockState, Distrust, Moment, Reading, StoreClock};
use super::event::Key;
use super::recent::Recent;
use super::seen::{Lately, Seen};
use super::storage::{Storage, StorageError, Table};
use crate::telemetry::{self, Metrics};

/// Most requests that wait for the writer; beyond that callers wait to be heard.
const INBOX: usize = 1024;

/// Most commands of one commit.
const COMMIT: usize = 4096;

/// Rows that are cleared away, or looked at for that, in one go.
const CHUNK: usize = 1024;

/// Tables that hold what gets old.
const SWEPT: [Table; 5] = [Table::Ledger, Table::Events, Table::Profiles, Table::Erased, Table::Audit];

/// A sweep goes on for so long each second: it reads every row, and who records must not feel it.
const SWEEP_SLICE: Duration = Duration::from_millis(100);

/// Keys with raised signals that are looked at each second, whether these are over.
const JUDGED: usize = 1024;

/// How often the clock is written to the disk though nothing else is: after a stop it is known to within this how long it lasted.
const TICK: Duration = Duration::from_secs(600);

/// It is tried again after so long, and after twice as long each time up to a few seconds, whether the disk takes writes.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// For how long the store has taken no writes, and when it is tried again.
#[derive(Debug)]
struct Outage {
    since: Instant,
    next: Instant,
    pause: Duration,
    /// What was last logged of it.
    logged: String,
}

/// How far a sweep has come.
#[derive(Debug, Default)]
struct Sweep {
    /// The place of the table among those that are swept.
    table: usize,
    /// The last row that was looked at.
    after: Vec<u8>,
    cleared: usize,
}

/// What the upkeep has done and has yet to do.
#[derive(Debug, Default)]
struct Duty {
    /// When a sweep was begun last, and the one that goes on.
    swept: Option<Instant>,
    sweep: Option<Sweep>,
    scrubbed: Option<Instant>,
    ticked: Option<Instant>,
    /// When something failed: it rests after that.
    rested: Option<Instant>,
    outage: Option<Outage>,
    /// The key with raised signals that was looked at last.
    judged: Vec<u8>,
}

/// Reads the system's clocks.
pub type Clock = Arc<dyn Fn() -> Reading + Send + Sync>;

/// The clocks of this machine.
pub fn system_clock() -> Clock {
    Arc::new(|| Reading { wall: Timestamp::now(), monotonic: since_boot() })
}

/// Time since the machine was started, with the time for which it slept: [`Instant`] does not count that, and each sleep would look
/// like a clock that jumps.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// A clock that stands still, for tests.
pub fn frozen_clock(wall: Timestamp) -> Clock {
    Arc::new(move || Reading { wall, monotonic: Duration::ZERO })
}

/// The store's clock and the system's that it is set by.
struct Ticking {
    system: Clock,
    clock: StoreClock,
    /// What was last logged of it.
    logged: Option<Distrust>,
}

impl std::fmt::Debug for Ticking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticking").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// What is asked in one go, and where its answer goes.
#[derive(Debug)]
struct Asked {
    commands: Vec<Command>,
    answer: oneshot::Sender<Result<Vec<Outcome>, Arc<StorageError>>>,
}

/// Who waits for how many outcomes.
type Answers = Vec<(usize, oneshot::Sender<Result<Vec<Outcome>, Arc<StorageError>>>)>;

/// A commit that was worked out.
#[derive(Debug)]
struct Batch {
    number: u64,
    /// The one that was on its way to the disk meanwhile: this one is void if that was not written.
    base: Option<u64>,
    prepared: Arc<Prepared>,
    answers: Answers,
    accepted: Option<Accepted>,
}

/// A clock whose time a person accepted. It counts once that is on the disk.
#[derive(Debug)]
struct Accepted {
    clock: StoreClock,
    /// Dropped when the commit is over: the next is worked out by the clock that this one leaves.
    _settled: std_mpsc::SyncSender<()>,
}

/// For how long what changed stays known, and when the rest is cleared away.
#[derive(Clone, Copy, Debug)]
pub struct Upkeep {
    /// Changes are known for so long.
    pub history: SignedDuration,
    /// And at most so many.
    pub history_count: u64,
    /// How often the store is swept of what is older than is kept.
    pub sweep: Duration,
    /// How often the bytes of what was forgotten are taken from the disk, at most.
    pub scrub: Duration,
    /// Whether what is older than is kept is forgotten: that is a server's to do.
    pub forgets: bool,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            history: SignedDuration::from_hours(24),
            history_count: 1_000_000,
            sweep: Duration::from_secs(6 * 3600),
            scrub: Duration::from_secs(60),
            forgets: true,
        }
    }
}

/// Keeps a book: many ask, one after the other is done. Dropping it writes what was accepted and ends its threads.
#[derive(Debug)]
pub struct Keeper<S> {
    shared: Arc<Inner<S>>,
    inbox: Option<mpsc::Sender<Asked>>,
    writer: Option<JoinHandle<()>>,
    janitor: Option<(std_mpsc::SyncSender<()>, JoinHandle<()>)>,
}

/// What the threads share.
#[derive(Debug)]
struct Inner<S> {
    book: Book<S>,
    recent: RwLock<Recent>,
    lately: Mutex<Lately>,
    sequence: watch::Sender<u64>,
    clock: Mutex<Ticking>,
    /// A commit panicked: what is in memory may not be what is in the storage, so no other is taken.
    broken: AtomicBool,
    metrics: Arc<Metrics>,
}

/// Why a request was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeepError {
    /// The store refused, and nothing of it was done.
    #[error(transparent)]
    Storage(Arc<StorageError>),
    /// The writer is gone.
    #[error("the thread that writes the profile store died")]
    WriterLost,
}

/// What changed after a sequence.
#[derive(Clone, Debug)]
pub enum Since {
    /// These, in their order; none if nothing did.
    Changes(Vec<Arc<Change>>),
    /// Some of it is forgotten.
    Forgotten,
}

impl<S: Storage + 'static> Keeper<S> {
    /// Begins to keep a book by this clock.
    ///
    /// # Errors
    ///
    /// If the system gives no thread, or the book cannot be read.
    pub fn start(
        book: Book<S>,
        clock: Clock,
        upkeep: Upkeep,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let sequence = watch::Sender::new(book.sequence());
        let past = book.past().map_err(std::io::Error::other)?;
        let store_clock = StoreClock::start(past, clock());
        let clock = Mutex::new(Ticking { system: clock, clock: store_clock, logged: None });
        let (recent, lately) = (RwLock::default(), Mutex::default());
        let broken = AtomicBool::new(false);
        let shared = Arc::new(Inner { book, recent, lately, sequence, clock, broken, metrics });
        shared.look();
        let (inbox, asked) = mpsc::channel(INBOX);
        let kept = Arc::clone(&shared);
        let writer = thread::Builder::new().name("profiles".to_owned()).spawn(move || kept.write(asked))?;
        let (stop, stopped) = std_mpsc::sync_channel(1);
        let (kept, asks) = (Arc::clone(&shared), inbox.clone());
        let janitor = thread::Builder::new()
            .name("profile upkeep".to_owned())
            .spawn(move || kept.keep_up(&asks, upkeep, &stopped))?;
        Ok(Self { shared, inbox: Some(inbox), writer: Some(writer), janitor: Some((stop, janitor)) })
    }

    /// The book, to read.
    pub fn book(&self) -> &Book<S> {
        &self.shared.book
    }

    /// The time that the store goes by: that of the system unless it is distrusted.
    pub fn now(&self) -> Timestamp {
        self.clock().now
    }

    /// How the store's clock stands.
    pub fn clock(&self) -> ClockState {
        self.shared.look()
    }

    /// Takes the system's time for right because a person says so, and keeps that on the disk.
    ///
    /// # Errors
    ///
    /// If it cannot be kept; the clock is then what it was.
    pub async fn accept_clock(&self) -> Result<ClockState, KeepError> {
        self.apply(vec![Command::AcceptClock]).await?;
        Ok(self.clock())
    }

    /// The sequence of the last change, as it grows.
    pub fn sequence(&self) -> watch::Receiver<u64> {
        self.shared.sequence.subscribe()
    }

    /// Does what is asked; when it answers, it is on the disk. All of it is in one commit.
    ///
    /// # Errors
    ///
    /// If the store refuses; nothing is then done.
    pub async fn apply(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, KeepError> {
        let (answer, answered) = oneshot::channel();
        let inbox = self.inbox.as_ref().ok_or(KeepError::WriterLost)?;
        inbox.send(Asked { commands, answer }).await.map_err(|_| KeepError::WriterLost)?;
        answered.await.map_err(|_| KeepError::WriterLost)?.map_err(KeepError::Storage)
    }

    /// As [`apply`](Self::apply), for threads that may wait.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn apply_blocking(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, KeepError> {
        let inbox = self.inbox.as_ref().ok_or(KeepError::WriterLost)?;
        ask(inbox, commands)
    }

    /// At most so many changes after a sequence.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn changes(&self, after: u64, most: usize) -> Result<Since, StorageError> {
        self.shared.changes(after, most)
    }

    /// The last change that [`Keeper::changes`] gives.
    pub(super) fn published(&self) -> u64 {
        *self.shared.sequence.borrow()
    }

    /// What is known of a key, as it was read within the last second, if that fits; else as it is now. So however many watch, a change
    /// is read once.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(super) fn seen(
        &self,
        key: &Key,
        now: Timestamp,
        fits: impl Fn(&Seen) -> bool,
    ) -> Result<Option<Arc<Seen>>, StorageError> {
        let lately = || self.shared.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lately().find(key, now, fits);
        if found.is_some() {
            return Ok(found);
        }
        let through = self.book().sequence();
        let Some(profile) = self.book().profile(key, now)? else { return Ok(None) };
        let seen = Arc::new(Seen::new(profile, now, through));
        lately().put(key.clone(), Arc::clone(&seen), now);
        Ok(Some(seen))
    }

    /// Whether it takes writes: its threads live, and its storage refuses none.
    pub fn accepts_writes(&self) -> bool {
        let janitor = self.janitor.as_ref().map(|(_, janitor)| janitor);
        let lives = |thread: Option<&JoinHandle<()>>| thread.is_some_and(|thread| !thread.is_finished());
        let is_stuck = self.shared.broken.load(Ordering::Acquire) || self.book().storage().is_halted();
        lives(self.writer.as_ref()) && lives(janitor) && !is_stuck
    }
}

/// Takes what waits, up to as much as one commit has.
fn gather(first: Asked, inbox: &mut mpsc::Receiver<Asked>) -> (Vec<Command>, Answers) {
    let (mut commands, mut answers) = (first.commands, vec![]);
    answers.push((commands.len(), first.answer));
    while commands.len() < COMMIT
        && let Ok(next) = inbox.try_recv()
    {
        answers.push((next.commands.len(), next.answer));
        commands.extend(next.commands);
    }
    (commands, answers)
}

fn refuse(answers: Answers, error: &Arc<StorageError>) {
    // The error that begins an outage says why; those that follow from it say nothing new.
    if !matches!(**error, StorageError::Halted { .. }) {
        tracing::error!(error = telemetry::chain(error), "the profile store refuses");
    }
    for (_, answer) in answers {
        drop(answer.send(Err(Arc::clone(error))));
    }
}

fn ask(inbox: &mpsc::Sender<Asked>, commands: Vec<Command>) -> Result<Vec<Outcome>, KeepError> {
    let (answer, answered) = oneshot::channel();
    inbox.blocking_send(Asked { commands, answer }).map_err(|_| KeepError::WriterLost)?;
    answered.blocking_recv().map_err(|_| KeepError::WriterLost)?.map_err(KeepError::Storage)
}

impl<S> Drop for Keeper<S> {
    fn drop(&mut self) {
        if let Some((stop, janitor)) = self.janitor.take() {
            drop(stop);
            if janitor.join().is_err() {
                tracing::error!("the thread that clears the profile store died");
            }
        }
        self.inbox = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes the profile store died");
        }
    }
}

impl<S: Storage> Inner<S> {
    /// Works out what is asked until nobody asks any more, and has it committed.
    fn write(&self, mut inbox: mpsc::Receiver<Asked>) {
        // Who sends waits until the commit before is over: one is on its way at most.
        let (give, batches) = std_mpsc::sync_channel::<Batch>(0);
        let settled = AtomicU64::new(0);
        thread::scope(|scope| {
            let commits = thread::Builder::new().name("profile commits".to_owned());
            let settled = &settled;
            if let Err(error) = commits.spawn_scoped(scope, move || self.settle(batches, settled)) {
                tracing::error!(error = telemetry::chain(&error), "the profile store has no thread to write");
                return;
            }
            let (mut number, mut last): (u64, Option<(u64, Arc<Prepared>)>) = (0, None);
            while let Some(first) = inbox.blocking_recv() {
                let (commands, answers) = gather(first, &mut inbox);
                let before = last.take().filter(|(number, _)| settled.load(Ordering::Acquire) < *number);
                let (moment, accepted) = self.moment(&commands);
                let (settles, is_settled) = std_mpsc::sync_channel(1);
                let waits = accepted.is_some();
                let accepted = accepted.map(|clock| Accepted { clock, _settled: settles });
                let prepare =
                    || self.book.prepare(&commands, moment, before.as_ref().map(|(_, before)| &**before));
                // Only those who asked for it are told: the store serves all others.
                let prepared = catch_unwind(AssertUnwindSafe(prepare)).unwrap_or(Err(StorageError::Panicked));
                match prepared {
                    Ok(prepared) => {
                        let (base, prepared) = (before.map(|(number, _)| number), Arc::new(prepared));
                        number += 1;
                        last = Some((number, Arc::clone(&prepared)));
                        if give.send(Batch { number, base, prepared, answers, accepted }).is_err() {
                            return;
                        }
                        if waits {
                            // Nothing is ever sent: it ends when the commit is over.
                            is_settled.recv().unwrap_or_default();
                        }
                    }
                    Err(error) => {
                        refuse(answers, &Arc::new(error));
                        last = before;
                    }
                }
            }
            drop(give);
        });
    }

    /// Commits what was worked out, one after the other.
    fn settle(&self, batches: std_mpsc::Receiver<Batch>, settled: &AtomicU64) {
        let mut failed: Option<(u64, Arc<StorageError>)> = None;
        for Batch { number, base, prepared, answers, accepted } in batches {
            let done = match &failed {
                // What it builds on is not there.
                Some((lost, error)) if base == Some(*lost) => Err(Arc::clone(error)),
                _ => self.commit(&prepared).map_err(Arc::new),
            };
            match done {
                Ok(()) => {
                    if let Some(Accepted { clock, .. }) = accepted {
                        self.accept(clock);
                    }
                    if let Some(change) = &prepared.change {
                        self.publish(Arc::clone(change));
                    }
                    self.metrics.profile_commit(&prepared.outcomes);
                    let mut outcomes = prepared.outcomes.iter().copied();
                    for (count, answer) in answers {
                        let own = outcomes.by_ref().take(count).collect();
                        // Who asked may have gone; what was asked is done.
                        drop(answer.send(Ok(own)));
                    }
                }
                Err(error) => {
                    refuse(answers, &error);
                    failed = Some((number, error));
                }
            }
            settled.store(number, Ordering::Release);
        }
    }

    fn commit(&self, prepared: &Prepared) -> Result<(), StorageError> {
        if self.broken.load(Ordering::Acquire) {
            return Err(StorageError::Broken);
        }
        catch_unwind(AssertUnwindSafe(|| self.book.commit(prepared))).unwrap_or_else(|_| {
            self.broken.store(true, Ordering::Release);
            Err(StorageError::Broken)
        })
    }

    fn publish(&self, change: Arc<Change>) {
        self.metrics.profile_changed(&change);
        if !change.erased.is_empty() {
            self.lately.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        let sequence = change.sequence;
        recent.push(change);
        drop(recent);
        self.sequence.send_replace(sequence);
    }

    fn changes(&self, after: u64, most: usize) -> Result<Since, StorageError> {
        if after < self.book.trimmed() || after > self.book.sequence() {
            return Ok(Since::Forgotten);
        }
        // A change is on the disk a moment before what is known of its brands is up to date, and before this sequence says so.
        let published = *self.sequence.borrow();
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(changes) = recent.after(after, most) {
            return Ok(Since::Changes(changes));
        }
        // On the disk the recent ones may lack the names of whom they forgot.
        let known = recent.first().map_or(published, |first| first - 1);
        drop(recent);
        let mut changes = self.book.changes(after, most)?;
        changes.retain(|change| change.sequence <= known);
        // It may have been cleared away meanwhile.
        if after < self.book.trimmed() {
            return Ok(Since::Forgotten);
        }
        Ok(Since::Changes(changes.into_iter().map(Arc::new).collect()))
    }

    /// Looks at the clock, and says so if it is not trusted any more or is again.
    fn look(&self) -> ClockState {
        let mut ticking = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = (ticking.system)();
        let state = ticking.clock.look(reading);
        let logged = std::mem::replace(&mut ticking.logged, state.distrust);
        drop(ticking);
        if logged != state.distrust {
            self.tell_clock(&state);
        }
        state
    }

    fn tell_clock(&self, state: &ClockState) {
        self.metrics.profile_clock(state);
        let ClockState { now, wall, .. } = state;
        match state.distrust {
            Some(why) => tracing::error!(
                why = why.text(),
                system_time = %wall,
                store_time = %now,
                "the profile store distrusts the clock: it goes by the last good time and forgets nothing; set the clock right, or see \
                 `arom profile clock`"
            ),
            None => tracing::info!(store_time = %now, "the profile store trusts the clock again"),
        }
    }

    /// The moment of a commit, and the clock that it is by if a person accepted that. Events of now tell whether the clock is right.
    fn moment(&self, commands: &[Command]) -> (Moment, Option<StoreClock>) {
        self.look();
        let mut ticking = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        ticking.clock.hear(commands.iter().filter_map(|command| match command {
            Command::Record { event, .. } => Some(event.contribution.time.as_millisecond()),
            Command::Retract(_)
            | Command::Erase { .. }
            | Command::Expire(_)
            | Command::Trim(_)
            | Command::Swept
            | Command::Scrubbed(_)
            | Command::Tick
            | Command::Judge(_)
            | Command::AcceptClock
            | Command::Sinks { .. }
            | Command::BeginRun(_)
            | Command::Delivered { .. } => None,
        }));
        if !commands.contains(&Command::AcceptClock) {
            return (ticking.clock.moment(), None);
        }
        let mut accepted = ticking.clock.clone();
        accepted.accept();
        (accepted.moment(), Some(accepted))
    }

    fn accept(&self, accepted: StoreClock) {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).clock = accepted;
        self.look();
    }

    /// Clears away what is older than is kept, until it is told to stop.
    fn keep_up(&self, inbox: &mpsc::Sender<Asked>, upkeep: Upkeep, stopped: &std_mpsc::Receiver<()>) {
        const GLANCE: Duration = Duration::from_secs(1);
        let goes_on = |time| stopped.recv_timeout(time) == Err(std_mpsc::RecvTimeoutError::Timeout);
        let mut duty = Duty::default();
        while goes_on(GLANCE) {
            // Without this thread nothing would have the store take writes again.
            match catch_unwind(AssertUnwindSafe(|| self.turn(inbox, upkeep, &mut duty))) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return,
                Err(_) => {
                    tracing::error!("clearing the profile store panicked; it is tried again in a minute");
                    duty = Duty { rested: Some(Instant::now()), outage: duty.outage, ..Duty::default() };
                }
            }
        }
    }

    /// Does of the upkeep what is due now.
    fn turn(&self, inbox: &mpsc::Sender<Asked>, upkeep: Upkeep, duty: &mut Duty) -> ControlFlow<()> {
        const REST: Duration = Duration::from_secs(60);
        let due = |last: Option<Instant>, every: Duration| last.is_none_or(|last| last.elapsed() >= every);
        let clock = self.look();
        self.metrics.profile_clock(&clock);
        // The store takes writes again as soon as it can, also where clearing it has to rest.
        if !self.mend(&mut duty.outage) || !due(duty.rested, REST) {
            return ControlFlow::Continue(());
        }
        duty.rested = None;
        // What is forgotten under a wrong time does not come back.
        let may_forget = upkeep.forgets && clock.distrust.is_none();
        // One that fails keeps no other from its turn.
        let trimmed = if may_forget { self.trim(inbox, clock.horizon, upkeep) } else { Ok(()) };
        let cleared = self.clear_signals(inbox, clock.now, &mut duty.judged);
        if may_forget && duty.sweep.is_none() && due(duty.swept, upkeep.sweep) {
            (duty.swept, duty.sweep) = (Some(Instant::now()), Some(Sweep::default()));
        }
        if !may_forget {
            duty.sweep = None;
        }
        let done = duty.sweep.as_mut().map_or(Ok(true), |sweep| self.sweep(inbox, clock.horizon, sweep));
        if !matches!(done, Ok(false)) {
            duty.sweep = None;
        }
        let mut scrub = Ok(());
        if due(duty.scrubbed, upkeep.scrub) {
            scrub = self.scrub(inbox).map(|tried| {
                if tried {
                    duty.scrubbed = Some(Instant::now());
                }
            });
        }
        let mut tick = Ok(());
        if due(duty.ticked, TICK) {
            tick = ask(inbox, vec![Command::Tick]).map(|_| duty.ticked = Some(Instant::now()));
        }
        for result in [trimmed, cleared, done.map(|_| ()), scrub, tick] {
            match result {
                Ok(()) => {}
                Err(KeepError::WriterLost) => return ControlFlow::Break(()),
                Err(error @ KeepError::Storage(_)) => {
                    let error = telemetry::chain(&error);
                    tracing::error!(error, "the profile store could not be cleared; it is tried again");
                    duty.rested = Some(Instant::now());
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether the storage takes writes. If it does not, it is tried now and then to have it take them.
    fn mend(&self, outage: &mut Option<Outage>) -> bool {
        let storage = self.book.storage();
        let broken = self.broken.load(Ordering::Acquire);
        let checked = if broken { Err(StorageError::Broken) } else { storage.check() };
        self.metrics.profile_store(checked.is_ok(), storage.space());
        let Err(error) = checked else { return true };
        let now = Instant::now();
        let lasting = outage.get_or_insert_with(|| {
            let logged = telemetry::chain(&error);
            tracing::error!(
                error = logged,
                "the profile store takes no writes; reads go on, and it is tried again by itself"
            );
            self.metrics.profile_outage();
            Outage { since: now, next: now, pause: RETRY, logged }
        });
        if broken || now < lasting.next {
            return false;
        }
        match storage.recover() {
            Ok(()) => {
                let after_s = lasting.since.elapsed().as_secs_f64();
                tracing::info!(after_s, "the profile store takes writes again");
                self.metrics.profile_store(true, storage.space());
                *outage = None;
                true
            }
            Err(error) => {
                let error = telemetry::chain(&error);
                if error != lasting.logged {
                    tracing::warn!(error, "the profile store takes no writes yet");
                    lasting.logged = error;
                }
                lasting.next = Instant::now() + lasting.pause;
                lasting.pause = (2 * lasting.pause).min(LONGEST_RETRY);
                false
            }
        }
    }

    /// Has the bytes of what was forgotten leave the medium, if there are any; whether there were.
    fn scrub(&self, inbox: &mpsc::Sender<Asked>) -> Result<bool, KeepError> {
        let Some(mark) = self.book.unscrubbed().map_err(failed)? else { return Ok(false) };
        if self.book.storage().scrub().map_err(failed)? {
            ask(inbox, vec![Command::Scrubbed(mark)])?;
            tracing::debug!("what was forgotten has left the disk");
        }
        Ok(true)
    }

    /// Clears signals that are over because time passed. Goes through all that are raised, some at a time.
    fn clear_signals(
        &self,
        inbox: &mpsc::Sender<Asked>,
        now: Timestamp,
        after: &mut Vec<u8>,
    ) -> Result<(), KeepError> {
        let (over, next) = self.book.over(after, JUDGED, now).map_err(failed)?;
        *after = next.unwrap_or_default();
        if !over.is_empty() {
            ask(inbox, vec![Command::Judge(over)])?;
        }
        Ok(())
    }

    fn trim(&self, inbox: &mpsc::Sender<Asked>, horizon: Timestamp, upkeep: Upkeep) -> Result<(), KeepError> {
        let spent =
            |most| self.book.spent(upkeep.history, upkeep.history_count, most, horizon).map_err(failed);
        // Mostly not even the first is.
        while spent(1)? > self.book.trimmed() {
            let through = spent(CHUNK)?;
            ask(inbox, vec![Command::Trim(through)])?;
        }
        Ok(())
    }

    /// Goes on with a sweep for a while; whether it is through.
    fn sweep(
        &self,
        inbox: &mpsc::Sender<Asked>,
        horizon: Timestamp,
        sweep: &mut Sweep,
    ) -> Result<bool, KeepError> {
        let rest = Instant::now() + SWEEP_SLICE;
        while let Some(table) = SWEPT.get(sweep.table) {
            if Instant::now() >= rest {
                return Ok(false);
            }
            let (overdue, next) = self.book.overdue(*table, &sweep.after, CHUNK, horizon).map_err(failed)?;
            if !overdue.is_empty() {
                let count = overdue.len();
                ask(inbox, vec![Command::Expire(overdue)])?;
                sweep.cleared += count;
            }
            sweep.table += usize::from(next.is_none());
            sweep.after = next.unwrap_or_default();
        }
        self.metrics.profile_swept(sweep.cleared);
        if sweep.cleared > 0 {
            ask(inbox, vec![Command::Swept])?;
            tracing::info!(rows = sweep.cleared, "swept the profile store of what is older than is kept");
        }
        Ok(true)
    }
}

fn failed(error: StorageError) -> KeepError {
    KeepError::Storage(Arc::new(error))
}

#[cfg(test)]
mod tests;
