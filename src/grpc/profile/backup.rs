//! `BackUpProfiles`: the store as a stream of bytes.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::{Stream, stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::super::call::Call;
use super::super::phase::Halt;
use super::super::places::{Places, Taking};
use super::super::shares::UsedUp;
use super::super::status::{Failure, OK, name};
use super::super::{ServerConfig, Shared, v1};
use crate::profile::{Disk, Keeper};

/// The messages of one stream.
pub(super) type Pieces =
    Pin<Box<dyn Stream<Item = Result<v1::BackUpProfilesResponse, Status>> + Send + 'static>>;

/// Pieces that were read and are not sent yet.
const AHEAD: usize = 4;

/// Most bytes of one piece: clients take 4 MiB in a message, and a row of the store may be longer.
const PIECE_BYTES: usize = 1 << 20;

/// Backups that may be read at once.
const MOST: usize = 2;

/// How long the first pieces may take. What a backup shows cannot leave the disk meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// After that, the caller must have taken so much of the backup for each second that it is open.
const LEAST_BYTES_A_SECOND: u64 = 256 << 10;

/// How often a backup that waits for its caller looks whether it must end.
const GLANCE: Duration = Duration::from_millis(100);

/// While bytes of erased customers wait to be wiped off the disk, no backup begins for so long after the last one: the store
/// tries each minute, and cannot while a backup is open.
const WIPING: Duration = Duration::from_secs(90);

/// The backups that are being read.
#[derive(Clone, Debug)]
pub(in super::super) struct Backups {
    open: Places,
    /// When the last one ended.
    ended: Arc<Mutex<Option<Instant>>>,
}

/// One backup, from its call to its last piece.
#[derive(Debug)]
struct Open {
    backups: Backups,
    _place: Taking,
}

impl Backups {
    pub(in super::super) fn new(config: &ServerConfig) -> Self {
        Self { open: Places::new(MOST, config.tells_peers_apart(), UsedUp::Backups), ended: Arc::default() }
    }

    /// Begins one, unless too many are open, in all or of the caller's peer, or what was erased must be wiped first.
    fn begin(&self, address: Option<IpAddr>, is_wiping: bool, now: Instant) -> Result<Open, UsedUp> {
        let ended = *self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = self.open.count() > 0;
        if is_wiping && (is_open || ended.is_some_and(|ended| now < ended + WIPING)) {
            return Err(UsedUp::Backups);
        }
        Ok(Open { _place: self.open.take(address)?, backups: self.clone() })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        *self.backups.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// What comes out of the store: its bytes, then that they were all.
#[derive(Debug)]
enum Piece {
    Data(Vec<u8>),
    /// Its receiver says by this that it was taken.
    End(oneshot::Sender<()>),
}

/// Hands pieces to a caller, for as long as it takes them fast enough.
struct Pace {
    begun: Instant,
    bytes: u64,
}

impl Pace {
    /// When the next piece must have been taken.
    fn until(&self) -> Instant {
        self.begun + PATIENCE + Duration::from_secs(self.bytes / LEAST_BYTES_A_SECOND)
    }
}

/// Reads the store on a thread of its own, as fast as the caller takes it.
struct Reader {
    keeper: Arc<Keeper<Disk>>,
    runtime: Handle,
    give: mpsc::Sender<Piece>,
    pace: Pace,
    /// Why it ended before the last piece. Nothing if the caller went away.
    failure: Option<Failure>,
}

impl Reader {
    fn read(mut self, failed: oneshot::Sender<Failure>, open: Arc<Open>, waiting: &Weak<Waiting>) {
        let keeper = Arc::clone(&self.keeper);
        let sent = keeper.book().back_up(keeper.now(), &mut |data| {
            let mut pieces = data.chunks(PIECE_BYTES);
            let sent = pieces.all(|piece| self.send(Piece::Data(piece.to_vec()), piece.len()));
            if sent { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let rows = match sent {
            Ok(done) => done.map(|done| done.rows),
            Err(error) => {
                self.failure = Some(Failure::Storage(error));
                None
            }
        };
        let (taken, end) = oneshot::channel();
        if let Some(rows) = rows.filter(|_| self.send(Piece::End(taken), 0)) {
            // What waits keeps the place.
            drop(open);
            if self.all_taken(end) {
                return tracing::info!(rows, "the profile store was backed up");
            }
        }
        let bytes = self.pace.bytes;
        match &self.failure {
            Some(reason) => {
                tracing::warn!(?reason, bytes, "a backup of the profile store ended before its last piece");
            }
            None => tracing::warn!(
                bytes,
                "a backup of the profile store is not whole: its caller went away before its last piece"
            ),
        }
        // A caller that went away does not need the reason.
        drop(self.failure.map(|failure| failed.send(failure)));
        // A caller that takes little keeps its stream open, but not its place.
        if let Some(waiting) = waiting.upgrade() {
            waiting.give_up();
        }
    }

    /// Waits until the caller has taken the last piece; whether it did, in time.
    fn all_taken(&mut self, end: oneshot::Receiver<()>) -> bool {
        let left = self.pace.until().saturating_duration_since(Instant::now());
        let ended = self.runtime.block_on(async { tokio::time::timeout(left, end).await });
        if ended.is_err() {
            self.failure = Some(Failure::BackupTooSlow);
        }
        // The end is dropped with the stream of a caller that went away.
        matches!(ended, Ok(Ok(())))
    }

    /// Waits until there is room for a piece; whether it was taken.
    fn send(&mut self, mut piece: Piece, bytes: usize) -> bool {
        loop {
            match self.runtime.block_on(self.give.send_timeout(piece, GLANCE)) {
                Ok(()) => {
                    self.pace.bytes += bytes as u64;
                    return true;
                }
                Err(SendTimeoutError::Closed(_)) => return false,
                Err(SendTimeoutError::Timeout(_)) if Instant::now() >= self.pace.until() => {
                    self.failure = Some(Failure::BackupTooSlow);
                    return false;
                }
                // The store must be opened anew, which waits for its readers.
                Err(SendTimeoutError::Timeout(_)) if !self.keeper.accepts_writes() => {
                    self.failure = Some(Failure::StoreAway);
                    return false;
                }
                Err(SendTimeoutError::Timeout(again)) => piece = again,
            }
        }
    }
}

/// What a backup holds for its caller: its place, and the pieces that wait.
#[derive(Debug)]
struct Waiting {
    open: Mutex<Option<Arc<Open>>>,
    /// Locked while the caller waits for a piece: then there is none.
    pieces: tokio::sync::Mutex<mpsc::Receiver<Piece>>,
}

impl Waiting {
    fn new(open: Arc<Open>, pieces: mpsc::Receiver<Piece>) -> Self {
        Self { open: Mutex::new(Some(open)), pieces: tokio::sync::Mutex::new(pieces) }
    }

    /// Drops the pieces and gives the place back, whether or not the caller ever asks again.
    fn give_up(&self) {
        if let Ok(mut pieces) = self.pieces.try_lock() {
            pieces.close();
            while pieces.try_recv().is_ok() {}
        }
        drop(self.open.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The next piece, unless the backup has failed: then why, whatever still waits.
    async fn next(&self, failure: &mut oneshot::Receiver<Failure>) -> Result<Piece, Failure> {
        let mut pieces = self.pieces.lock().await;
        if let Ok(failure) = failure.try_recv() {
            return Err(failure);
        }
        let piece = pieces.recv().await;
        // Without an end it was not all.
        piece.ok_or_else(|| failure.try_recv().unwrap_or(Failure::Died))
    }
}

/// Begins a backup.
pub(super) fn pieces(
    shared: &Arc<Shared>,
    keeper: Arc<Keeper<Disk>>,
    mut call: Call,
) -> Result<Pieces, Status> {
    let is_wiping = keeper.book().unscrubbed().map_err(Failure::Storage)?.is_some();
    let begun = shared.backups.begin(call.client().address, is_wiping, Instant::now());
    let open = Arc::new(begun.map_err(|used_up| {
        let refused = Status::from(shared.refused(used_up));
        call.end(name(&refused));
        refused
    })?);
    let (give, pieces) = mpsc::channel::<Piece>(AHEAD);
    let (failed, mut failure) = oneshot::channel();
    let pace = Pace { begun: Instant::now(), bytes: 0 };
    let reader = Reader { keeper, runtime: Handle::current(), give, pace, failure: None };
    let waiting = Arc::new(Waiting::new(Arc::clone(&open), pieces));
    let held = Arc::downgrade(&waiting);
    let thread =
        thread::Builder::new().name("arom-backup".to_owned()).spawn(move || reader.read(failed, open, &held));
    if let Err(error) = thread {
        tracing::error!(%error, "no thread for a backup could be started");
        call.end(name(&Failure::Died.into()));
        return Err(Failure::Died.into());
    }
    let mut halt = Halt::new(shared, call.deadline);
    let next = async move || {
        // A backup is in use as long as pieces are taken.
        halt.heard();
        let piece = tokio::select! {
            biased;
            failure = halt.reached() => Err(failure),
            piece = waiting.next(&mut failure) => piece,
        };
        match piece {
            Ok(Piece::Data(data)) => Some(Ok(v1::BackUpProfilesResponse { data })),
            Ok(Piece::End(taken)) => {
                // The reader may have given up waiting.
                taken.send(()).unwrap_or_default();
                call.end(OK);
                None
            }
            Err(failure) => {
                let status = Status::from(failure);
                call.end(name(&status));
                Some(Err(status))
            }
        }
    };
    // Nothing comes after an error.
    Ok(Box::pin(stream::unfold(Some(next), async |state| {
        let mut next = state?;
        let piece = next().await?;
        let state = piece.is_ok().then_some(next);
        Some((piece, state))
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_open_at_once_and_what_was_erased_is_wiped_between() {
        let (backups, now) = (Backups::new(&ServerConfig::default()), Instant::now());
        let first = backups.begin(None, false, now).expect("none is open");
        assert!(backups.begin(None, true, now).is_err(), "the first must end for the bytes to be wiped");
        let second = backups.begin(None, false, now).expect("one is open");
        assert!(backups.begin(None, false, now).is_err(), "two are open");
        drop((first, second));
        let now = Instant::now();
        assert!(backups.begin(None, true, now).is_err(), "the store has not tried yet");
        assert!(backups.begin(None, true, now + WIPING).is_ok(), "it has, and the disk may be too full to");
        assert!(backups.begin(None, false, now).is_ok());
    }

    #[tokio::test]
    async fn a_backup_that_failed_gives_its_place_back_and_no_piece_that_waits() {
        let backups = Backups::new(&ServerConfig::default());
        let (give, pieces) = mpsc::channel(AHEAD);
        let open = backups.begin(None, false, Instant::now()).expect("none is open");
        let waiting = Waiting::new(Arc::new(open), pieces);
        let (failed, mut failure) = oneshot::channel();
        for _ in 0..AHEAD {
            give.send(Piece::Data(vec![0])).await.expect("there is room");
        }
        assert!(matches!(waiting.next(&mut failure).await, Ok(Piece::Data(_))));
        failed.send(Failure::BackupTooSlow).expect("the stream is open");
        waiting.give_up();
        // The caller has not asked since.
        assert_eq!(backups.open.count(), 0);
        assert!(give.is_closed());
        assert!(matches!(waiting.next(&mut failure).await, Err(Failure::BackupTooSlow)));
    }

    #[test]
    fn a_caller_that_takes_nothing_has_a_minute_and_a_fast_one_as_long_as_it_needs() {
        let begun = Instant::now();
        let until = |bytes| Pace { begun, bytes }.until() - begun;
        assert_eq!(until(0), PATIENCE);
        assert_eq!(until(LEAST_BYTES_A_SECOND - 1), PATIENCE);
        assert_eq!(until(3600 * LEAST_BYTES_A_SECOND), PATIENCE + Duration::from_secs(3600));
    }
}
