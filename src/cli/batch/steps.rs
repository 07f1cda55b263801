//! From the rows of the dumps to rows with their sentiment, in the same order.

use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::answer::Answer;
use crate::dumps::{Bad, Cells, Columns, DumpError, Item, Reading, Role, Row, Source};
use crate::scoring::{Features, ScoreError, Scorer};

/// Rows that are read together, and bytes of them.
pub(super) const CHUNK: usize = 128;
const CHUNK_BYTES: usize = 1 << 20;

/// Texts that are on their way at once: so far ahead others of like length are looked for.
const LOOK_AHEAD: usize = 2048;

/// Bytes of rows that are on their way at once, from where they are read to where they are written.
const ROOM: usize = 64 << 20;

/// A row of a dump on its way: with `A`, its sentiment, once it has one.
#[derive(Debug)]
pub(super) struct Step<A> {
    /// Which of the dumps.
    pub(super) source: usize,
    pub(super) line: u64,
    /// About how many.
    pub(super) bytes: usize,
    /// What it takes of the room of all.
    pub(super) room: Option<OwnedSemaphorePermit>,
    pub(super) content: Content<A>,
}

#[derive(Debug)]
pub(super) enum Content<A> {
    /// A row, its text and what is known of it.
    Row(Cells, String, A),
    /// What is refused, with the reason.
    Bad(Value, String),
}

impl<A> Step<A> {
    /// The same with what was found out about its text, or the reason why there is nothing.
    pub(super) fn then<B>(self, answer: impl FnOnce(A) -> Result<B, String>) -> Step<B> {
        let Self { source, line, bytes, room, content } = self;
        let content = match content {
            Content::Row(cells, text, known) => match answer(known) {
                Ok(answer) => Content::Row(cells, text, answer),
                Err(reason) => Content::Bad(Value::Object(cells), reason),
            },
            Content::Bad(content, reason) => Content::Bad(content, reason),
        };
        Step { source, line, bytes, room, content }
    }
}

/// A dump and which of its columns holds what.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) source: Source,
    pub(super) columns: Columns,
}

/// What comes out of the reader.
pub(super) type Steps = mpsc::Receiver<Result<Vec<Step<()>>, DumpError>>;

/// Reads the dumps.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) inputs: Arc<[Input]>,
    /// Names that no row may have.
    pub(super) added: Vec<String>,
    /// So many rows were done before.
    pub(super) skip: u64,
    pub(super) max_text_bytes: usize,
    pub(super) reading: Reading,
}

impl Reader {
    /// In a thread of its own.
    pub(super) fn start(self) -> std::io::Result<Steps> {
        let (sender, steps) = mpsc::channel(8);
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            let read = std::panic::catch_unwind(AssertUnwindSafe(|| self.read(&runtime, &sender)));
            let fault = match read {
                Ok(read) => read.err(),
                // A dump whose end was not seen is not done.
                Err(_) => Some(DumpError::Broken {
                    name: "the dumps".to_owned(),
                    place: "somewhere".to_owned(),
                    problem: "the thread that reads died".to_owned(),
                }),
            };
            if let Some(fault) = fault
                && sender.blocking_send(Err(fault)).is_err()
            {
                tracing::debug!("nobody waits for the fault");
            }
        };
        std::thread::Builder::new().name("dumps".to_owned()).spawn(work)?;
        Ok(steps)
    }

    fn read(
        &self,
        runtime: &tokio::runtime::Handle,
        sender: &mpsc::Sender<Result<Vec<Step<()>>, DumpError>>,
    ) -> Result<(), DumpError> {
        let room = Arc::new(Semaphore::new(ROOM));
        let mut seen = 0;
        for (number, input) in self.inputs.iter().enumerate() {
            let (mut chunk, mut bytes) = (Vec::with_capacity(CHUNK), 0);
            let mut gone = false;
            let read = input.source.read(&self.reading, &mut |item| {
                seen += 1;
                self.reading.rows.store(seen, Ordering::Relaxed);
                if seen <= self.skip {
                    return ControlFlow::Continue(());
                }
                let mut step = self.step(number, item, &input.columns);
                bytes += step.bytes;
                // What waits in this chunk is let go first: nobody else could make room for it.
                let taken = u32::try_from(step.bytes.min(ROOM / 4)).unwrap_or(u32::MAX);
                step.room = match Arc::clone(&room).try_acquire_many_owned(taken) {
                    Ok(permit) => Some(permit),
                    Err(_) => {
                        gone = sender.blocking_send(Ok(std::mem::take(&mut chunk))).is_err();
                        bytes = step.bytes;
                        runtime.block_on(Arc::clone(&room).acquire_many_owned(taken)).ok()
                    }
                };
                chunk.push(step);
                if chunk.len() == CHUNK || bytes >= CHUNK_BYTES {
                    gone |= sender.blocking_send(Ok(std::mem::take(&mut chunk))).is_err();
                    bytes = 0;
                }
                if gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            // What came before a fault is done first.
            if gone || sender.blocking_send(Ok(chunk)).is_err() {
                return Ok(());
            }
            read?;
        }
        Ok(())
    }

    fn step(&self, source: usize, item: Item, columns: &Columns) -> Step<()> {
        let (line, content) = match item {
            Item::Bad(Bad { line, reason, content }) => (line, Content::Bad(content, reason)),
            Item::Row(Row { line, cells }) => match self.text(&cells, columns) {
                Ok(text) => (line, Content::Row(cells, text, ())),
                Err(reason) => (line, Content::Bad(Value::Object(cells), reason)),
            },
        };
        let bytes = match &content {
            Content::Row(cells, text, ()) => text.len() + weight_of(cells),
            Content::Bad(content, _) => weight(content),
        };
        Step { source, line, bytes, room: None, content }
    }

    fn text(&self, cells: &Cells, columns: &Columns) -> Result<String, String> {
        if let Some(taken) = self.added.iter().find(|name| cells.contains_key(*name)) {
            return Err(format!("has a column {taken} already; choose another --prefix"));
        }
        text(cells, columns, self.max_text_bytes)
    }
}

/// About the bytes that cells hold in memory.
fn weight_of(cells: &Cells) -> usize {
    cells.iter().map(|(name, cell)| name.len() + weight(cell)).sum()
}

fn weight(cell: &Value) -> usize {
    const EACH: usize = 64;
    EACH + match cell {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(cells) => cells.iter().map(weight).sum(),
        Value::Object(cells) => weight_of(cells),
    }
}

fn text(cells: &Cells, columns: &Columns, max_text_bytes: usize) -> Result<String, String> {
    let column = columns.of(Role::Text).unwrap_or_default();
    let text = match cells.get(column) {
        None => return Err(format!("has no {column:?}")),
        Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other @ (Value::Bool(_) | Value::Number(_))) => other.to_string(),
        Some(Value::Array(_) | Value::Object(_)) => return Err(format!("{column:?} is no text")),
    };
    if text.len() > max_text_bytes {
        return Err(format!("{column:?} is {} bytes long, at most {max_text_bytes} are taken", text.len()));
    }
    Ok(text)
}

/// Scores what is read in this process and gives it on.
pub(super) async fn score(
    scorer: &Scorer,
    features: Features,
    max_risk: f32,
    steps: Steps,
    done: mpsc::Sender<Step<Answer>>,
) -> Result<()> {
    let fingerprint: Arc<str> = scorer.fingerprint().into();
    let caller = Arc::new(scorer.patient_caller());
    let chunks = stream::unfold(steps, async |mut steps| Some((steps.recv().await?, steps)));
    let each = chunks.flat_map(|chunk| {
        let (steps, fault) = match chunk {
            Ok(steps) => (steps, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        stream::iter(steps.into_iter().map(Ok).chain(fault.map(Err)))
    });
    let mut scored = std::pin::pin!(
        each.map(|step| {
            let (caller, fingerprint) = (Arc::clone(&caller), Arc::clone(&fingerprint));
            async move {
                let step: Step<()> = step?;
                let scored = match &step.content {
                    Content::Bad(..) => return Ok(step.then(|()| Err(String::new()))),
                    Content::Row(_, text, ()) => match caller.score(text, features).await {
                        Ok(scored) => Ok(Answer::of(text, scored, max_risk, &fingerprint, features.targets)),
                        Err(error @ ScoreError::Tokenize(_)) => Err(error.to_string()),
                        Err(error) => return Err(anyhow::Error::from(error)),
                    },
                };
                Ok(step.then(|()| scored))
            }
        })
        .buffered(LOOK_AHEAD)
    );
    while let Some(next) = scored.next().await {
        if done.send(next?).await.is_err() {
            // The writer has said why.
            return Ok(());
        }
    }
    Ok(())
}
