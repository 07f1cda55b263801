//! From the rows of the dumps to rows with their sentiment, in the same order.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tokio::sync::mpsc;

use super::answer::Answer;
use crate::dumps::{Bad, Cells, Columns, DumpError, Item, Reading, Role, Row, Source};
use crate::scoring::{Features, ScoreError, Scorer};

/// Rows that are read together.
pub(super) const CHUNK: usize = 128;

/// Texts that are on their way at once: so far ahead others of like length are looked for.
const LOOK_AHEAD: usize = 2048;

/// A row of a dump on its way.
#[derive(Debug)]
pub(super) struct Step {
    /// Which of the dumps.
    pub(super) source: usize,
    pub(super) line: u64,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// A row and its text.
    Row(Cells, String),
    /// What is refused, with the reason.
    Bad(Value, String),
}

/// A row that is done.
#[derive(Debug)]
pub(super) enum Done {
    Scored { source: usize, cells: Cells, text: String, answer: Answer },
    Refused { source: usize, line: u64, content: Value, reason: String },
}

/// A dump and which of its columns holds what.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) source: Source,
    pub(super) columns: Columns,
}

/// What comes out of the reader.
pub(super) type Steps = mpsc::Receiver<Result<Vec<Step>, DumpError>>;

/// Reads the dumps in a thread of its own; the first `skip` rows were done before.
pub(super) fn read(
    inputs: Arc<[Input]>,
    skip: u64,
    max_text_bytes: usize,
    reading: Reading,
) -> std::io::Result<Steps> {
    let (sender, steps) = mpsc::channel(8);
    let work = move || {
        let mut seen = 0;
        let mut chunk = Vec::with_capacity(CHUNK);
        for (number, input) in inputs.iter().enumerate() {
            let mut gone = false;
            let read = input.source.read(&reading, &mut |item| {
                seen += 1;
                reading.rows.store(seen, Ordering::Relaxed);
                if seen > skip {
                    chunk.push(step(number, item, &input.columns, max_text_bytes));
                }
                if chunk.len() == CHUNK && sender.blocking_send(Ok(std::mem::take(&mut chunk))).is_err() {
                    gone = true;
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            if gone {
                return;
            }
            if let Err(error) = read {
                // What came before the fault is done first.
                if sender.blocking_send(Ok(chunk)).is_ok() && sender.blocking_send(Err(error)).is_err() {
                    tracing::debug!("nobody waits for the fault");
                }
                return;
            }
        }
        if sender.blocking_send(Ok(chunk)).is_err() {
            tracing::debug!("nobody waits for the last rows");
        }
    };
    std::thread::Builder::new().name("dumps".to_owned()).spawn(work)?;
    Ok(steps)
}

fn step(source: usize, item: Item, columns: &Columns, max_text_bytes: usize) -> Step {
    let (line, content) = match item {
        Item::Bad(Bad { line, reason, content }) => (line, Content::Bad(content, reason)),
        Item::Row(Row { line, cells }) => match text(&cells, columns, max_text_bytes) {
            Ok(text) => (line, Content::Row(cells, text)),
            Err(reason) => (line, Content::Bad(Value::Object(cells), reason)),
        },
    };
    Step { source, line, content }
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
    done: mpsc::Sender<Done>,
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
                let Step { source, line, content } = step?;
                match content {
                    Content::Bad(content, reason) => Ok(Done::Refused { source, line, content, reason }),
                    Content::Row(cells, text) => match caller.score(&text, features).await {
                        Ok(scored) => {
                            let answer = Answer::of(&text, scored, max_risk, &fingerprint, features.targets);
                            Ok(Done::Scored { source, cells, text, answer })
                        }
                        Err(error @ ScoreError::Tokenize(_)) => {
                            let (content, reason) = (Value::Object(cells), error.to_string());
                            Ok(Done::Refused { source, line, content, reason })
                        }
                        Err(error) => Err(anyhow::Error::from(error)),
                    },
                }
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
