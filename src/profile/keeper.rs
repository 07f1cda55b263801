//! Who writes the book: one thread, which takes what waits and commits it together.
//!
//! There is no timer: while a commit is on its way to the disk, what comes waits for the next, so that the busier the store
//! the larger its commits.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::book::{Book, Command, Outcome};
use super::storage::{Storage, StorageError};

/// Most requests that wait for the writer; beyond that callers wait to be heard.
const INBOX: usize = 1024;

/// Most commands of one commit.
const COMMIT: usize = 4096;

/// A request and where its answer goes.
#[derive(Debug)]
struct Asked {
    commands: Vec<Command>,
    answer: oneshot::Sender<Result<Vec<Outcome>, Arc<StorageError>>>,
}

/// Keeps a book: many ask, one thread writes. Dropping it writes what was accepted and ends the thread.
#[derive(Debug)]
pub struct Keeper<S> {
    book: Arc<Book<S>>,
    inbox: Option<mpsc::Sender<Asked>>,
    writer: Option<JoinHandle<()>>,
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

impl<S: Storage + 'static> Keeper<S> {
    /// Begins to keep a book by this clock.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn start(book: Book<S>, clock: impl Fn() -> Timestamp + Send + 'static) -> std::io::Result<Self> {
        let book = Arc::new(book);
        let (inbox, asked) = mpsc::channel(INBOX);
        let kept = Arc::clone(&book);
        let writer =
            thread::Builder::new().name("profiles".to_owned()).spawn(move || write(&kept, asked, clock))?;
        Ok(Self { book, inbox: Some(inbox), writer: Some(writer) })
    }

    /// The book, to read.
    pub fn book(&self) -> &Arc<Book<S>> {
        &self.book
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

    /// Whether the writer still writes.
    pub fn is_whole(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.is_finished())
    }
}

impl<S> Drop for Keeper<S> {
    fn drop(&mut self) {
        self.inbox = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the thread that writes the profile store died");
        }
    }
}

fn write<S: Storage>(book: &Book<S>, mut asked: mpsc::Receiver<Asked>, clock: impl Fn() -> Timestamp) {
    while let Some(first) = asked.blocking_recv() {
        let mut waiting = vec![first];
        let mut count = waiting.iter().map(|asked| asked.commands.len()).sum::<usize>();
        while count < COMMIT
            && let Ok(next) = asked.try_recv()
        {
            count += next.commands.len();
            waiting.push(next);
        }
        let mut commands = Vec::with_capacity(count);
        let answers: Vec<_> = waiting
            .into_iter()
            .map(|Asked { commands: more, answer }| {
                let count = more.len();
                commands.extend(more);
                (count, answer)
            })
            .collect();
        match book.apply(&commands, clock()) {
            Ok(applied) => {
                let mut outcomes = applied.outcomes.into_iter();
                for (count, answer) in answers {
                    let own = outcomes.by_ref().take(count).collect();
                    // Who asked may have gone; what was asked is done.
                    drop(answer.send(Ok(own)));
                }
            }
            Err(error) => {
                tracing::error!(error = crate::telemetry::chain(&error), "the profile store refuses");
                let error = Arc::new(error);
                for (_, answer) in answers {
                    drop(answer.send(Err(Arc::clone(&error))));
                }
            }
        }
    }
}
