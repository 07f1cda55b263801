//! The one path from text to sentiment; every caller, whatever its transport, goes through [`Scorer`].

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::queue::Caller;
use super::sentiment::{Content, Scored, ScoredWindow, Sentiment, Timings};
use super::window::Windows;
use super::workers::{Inferred, Reply, Workers};
use crate::model::{
    Bundle, Calibration, Label, Probabilities, Runtime, Session, SessionError, TokenId, Tokenizer,
    TokenizerError,
};
use crate::text::{is_linguistic, normalize, snap_to_graphemes};

/// Settings of the scorer.
#[derive(Clone, Debug)]
pub struct ScoringConfig {
    /// Threads that run the model; each has a session of its own.
    pub workers: usize,
    /// Most tokens that wait for a worker.
    pub inbox_tokens: usize,
}

/// Scores text. Cheap to clone; the last clone to go finishes the accepted work and joins the workers.
#[derive(Clone, Debug)]
pub struct Scorer {
    engine: Arc<Engine>,
}

#[derive(Debug)]
struct Engine {
    fingerprint: String,
    labels: [Label; Label::COUNT],
    calibration: Calibration,
    tokenizer: Tokenizer,
    windows: Windows,
    workers: Workers,
    callers: AtomicU64,
}

/// Why a bundle could not be put to work.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The tokenizer was refused.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The graph was refused.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Why a text was not scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// More text is waiting than the scorer takes.
    #[error("the queue is full")]
    QueueFull {
        /// When room is likely.
        retry_after: Duration,
    },
    /// The caller's deadline passed before a worker was free.
    #[error("the deadline passed before the text was scored")]
    DeadlineExceeded,
    /// The tokenizer failed.
    #[error("the text could not be tokenised")]
    Tokenize(#[source] TokenizerError),
    /// The model failed.
    #[error("the model failed")]
    Inference(#[source] Arc<SessionError>),
    /// A thread that held the text died.
    #[error("a worker died")]
    WorkerLost,
}

/// A text on its way: what is known of it before the model has spoken.
#[derive(Debug)]
struct Prepared {
    arrived: Instant,
    tokenize: Duration,
    content: Content,
    has_thai: bool,
    token_count: usize,
    windows: Vec<PreparedWindow>,
}

#[derive(Debug)]
struct PreparedWindow {
    row: Vec<TokenId>,
    token_count: usize,
    span: Range<usize>,
}

/// A text whose windows are queued.
#[derive(Debug)]
struct Pending {
    text: Prepared,
    replies: Vec<Reply>,
}

impl Scorer {
    /// Loads a verified bundle, starts the workers and has each answer once, so that the first caller does not
    /// pay for it.
    ///
    /// # Errors
    ///
    /// If the tokenizer or the graph does not fit the manifest.
    pub fn open(bundle: &Bundle, runtime: &Runtime, config: &ScoringConfig) -> Result<Self, OpenError> {
        let tokenizer = Tokenizer::open(bundle)?;
        let special = tokenizer.window(&[]).len();
        let windows = Windows {
            size: bundle.manifest.max_tokens - special,
            overlap: bundle.manifest.window_overlap.min(bundle.manifest.max_tokens / 2 - special),
        };
        let warm = |_| {
            let mut session = Session::open(runtime, bundle)?;
            session.run(&[tokenizer.window(&[])], tokenizer.padding())?;
            Ok(session)
        };
        let sessions = (0..config.workers.max(1)).map(warm).collect::<Result<Vec<_>, SessionError>>()?;
        let engine = Engine {
            fingerprint: bundle.fingerprint.clone(),
            labels: bundle.labels,
            calibration: bundle.manifest.calibration.clone(),
            workers: Workers::start(sessions, config.inbox_tokens, tokenizer.padding()),
            callers: AtomicU64::new(0),
            tokenizer,
            windows,
        };
        Ok(Self { engine: Arc::new(engine) })
    }

    /// Name and fingerprint of the bundle behind the scores.
    pub fn fingerprint(&self) -> &str {
        &self.engine.fingerprint
    }

    /// The rows of token ids that the model is given for a text, one for each window.
    #[cfg(test)]
    pub(super) fn rows(&self, text: &str) -> Vec<Vec<TokenId>> {
        let prepared = self.engine.prepare(text, Instant::now()).expect("any text can be tokenised");
        prepared.windows.into_iter().map(|window| window.row).collect()
    }

    /// Scores one text.
    ///
    /// Dropping the future leaves its windows undone.
    ///
    /// # Errors
    ///
    /// Says whether to retry ([`ScoreError::QueueFull`]), to give up, or to look into the log.
    pub async fn score(&self, text: String, deadline: Option<Instant>) -> Result<Scored, ScoreError> {
        let text = self.prepare(text).await?;
        let replies = self.submit(self.engine.next_caller(), &text, deadline)?;
        self.finish(Pending { text, replies }).await
    }

    /// Scores several texts and answers in their order, each on its own.
    ///
    /// Takes no more than half of the queue, and turns with other callers: a batch larger than that waits for its
    /// own texts, and is refused only what finds the queue full of others'.
    pub async fn score_many(
        &self,
        texts: impl IntoIterator<Item = String>,
        deadline: Option<Instant>,
    ) -> Vec<Result<Scored, ScoreError>> {
        let caller = self.engine.next_caller();
        let mut done = Vec::new();
        let mut flying: VecDeque<Result<Pending, ScoreError>> = VecDeque::new();
        for text in texts {
            let text = match self.prepare(text).await {
                Ok(text) => text,
                Err(error) => {
                    flying.push_back(Err(error));
                    continue;
                }
            };
            let replies = loop {
                match self.submit(caller, &text, deadline) {
                    Err(ScoreError::QueueFull { .. }) if !flying.is_empty() => {
                        done.extend(self.land(flying.pop_front()).await);
                    }
                    replies => break replies,
                }
            };
            flying.push_back(replies.map(|replies| Pending { text, replies }));
        }
        while !flying.is_empty() {
            done.extend(self.land(flying.pop_front()).await);
        }
        done
    }

    async fn land(&self, pending: Option<Result<Pending, ScoreError>>) -> Option<Result<Scored, ScoreError>> {
        match pending? {
            Ok(pending) => Some(self.finish(pending).await),
            Err(error) => Some(Err(error)),
        }
    }

    /// Long texts take milliseconds to tokenise, so this never runs on a thread that serves sockets.
    async fn prepare(&self, text: String) -> Result<Prepared, ScoreError> {
        let arrived = Instant::now();
        let engine = Arc::clone(&self.engine);
        tokio::task::spawn_blocking(move || engine.prepare(&text, arrived))
            .await
            .map_err(|_| ScoreError::WorkerLost)?
    }

    fn submit(
        &self,
        caller: Caller,
        text: &Prepared,
        deadline: Option<Instant>,
    ) -> Result<Vec<Reply>, ScoreError> {
        if text.windows.is_empty() {
            return Ok(Vec::new());
        }
        let rows = text.windows.iter().map(|window| window.row.clone()).collect();
        self.engine.workers.submit(caller, rows, deadline)
    }

    async fn finish(&self, pending: Pending) -> Result<Scored, ScoreError> {
        let mut inferred = Vec::with_capacity(pending.replies.len());
        for reply in pending.replies {
            inferred.push(reply.await.map_err(|_| ScoreError::WorkerLost)??);
        }
        Ok(self.engine.merge(pending.text, &inferred))
    }
}

impl Engine {
    fn next_caller(&self) -> Caller {
        Caller(self.callers.fetch_add(1, Ordering::Relaxed))
    }

    fn prepare(&self, text: &str, arrived: Instant) -> Result<Prepared, ScoreError> {
        let normalized = normalize(text);
        let content = if normalized.as_str().is_empty() {
            Content::Empty
        } else if is_linguistic(&normalized) {
            Content::Linguistic
        } else {
            Content::NonLinguistic
        };
        let tokens = match content {
            Content::Linguistic => self.tokenizer.encode(&normalized).map_err(ScoreError::Tokenize)?,
            Content::Empty | Content::NonLinguistic => crate::model::Tokens::default(),
        };
        let token_count = tokens.0.len();
        let ranges = if content == Content::Linguistic { self.windows.cut(token_count) } else { Vec::new() };
        // Only a text of several windows is asked where they lie.
        let bytes = match ranges.len() {
            0 | 1 => Vec::new(),
            _ => self.tokenizer.byte_ranges(&normalized).map_err(ScoreError::Tokenize)?,
        };
        let windows = ranges
            .into_iter()
            .map(|range| {
                let edge = |index: usize| bytes.get(index).cloned();
                let span = match (edge(range.start), edge(range.end.saturating_sub(1))) {
                    (Some(first), Some(last)) => normalized.original_range(first.start..last.end),
                    _ => 0..text.len(),
                };
                let part = tokens.0.get(range.clone()).unwrap_or_default();
                PreparedWindow {
                    row: self.tokenizer.window(part),
                    token_count: range.len(),
                    span: snap_to_graphemes(text, span),
                }
            })
            .collect();
        let has_thai = normalized.as_str().chars().any(|ch| ('\u{E01}'..='\u{E5B}').contains(&ch));
        Ok(Prepared { arrived, tokenize: arrived.elapsed(), content, has_thai, token_count, windows })
    }

    fn merge(&self, text: Prepared, inferred: &[Inferred]) -> Scored {
        let parts: Vec<(Probabilities, usize)> = inferred
            .iter()
            .zip(&text.windows)
            // A window without tokens still has a say, or its mean would divide by nothing.
            .map(|(window, of)| (self.calibration.apply(window.logits, self.labels), of.token_count.max(1)))
            .collect();
        let sentiment = if parts.is_empty() { Sentiment::neutral() } else { Sentiment::of_windows(&parts) };
        let timings = Timings {
            tokenize: text.tokenize,
            queue: inferred.iter().map(|window| window.queue).max().unwrap_or_default(),
            infer: inferred.iter().map(|window| window.infer).sum(),
            total: text.arrived.elapsed(),
        };
        let window_count = text.windows.len();
        let scored = |(window, (probabilities, _)): (PreparedWindow, &(Probabilities, usize))| ScoredWindow {
            span: window.span,
            score: probabilities.polarity(),
            token_count: window.token_count,
        };
        let windows = if window_count > 1 {
            text.windows.into_iter().zip(&parts).map(scored).collect()
        } else {
            Vec::new()
        };
        Scored {
            content: text.content,
            sentiment,
            has_thai: text.has_thai,
            token_count: text.token_count,
            window_count,
            windows,
            timings,
        }
    }
}
