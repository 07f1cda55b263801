//! The one path from text to sentiment; every caller, whatever its transport, goes through [`Scorer`].

mod outline;
mod preparing;

use std::cell::LazyCell;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt, TryStreamExt, future, stream};
use tokio::sync::{Mutex, Notify};

use super::cache::Cache;
use super::catalogue::Catalogue;
use super::explanation::{Contribution, DECIDING, Explanation, deciding, strongest, without};
use super::prepared::{Prepared, join_to};
use super::queue::CallerId;
use super::sentiment::{
    Analysis, AnalyzedWindow, Content, Features, Intent, Scored, ScoredClause, ScoredMention, ScoredWindow,
    Sentiment, Timings,
};
use super::window::Windows;
use super::workers::{Asker, Inferred, NotQueued, Ticket, Workers, WorkersConfig};
use crate::model::{
    Bundle, Calibration, Distributions, Inference, Label, Model, Probabilities, Runtime, SessionError,
    TokenId, Tokenizer, TokenizerError,
};
use crate::telemetry::{self, Metrics};
use crate::text::{GraphemeEdges, Normalized, Script, normalize};

pub use outline::Outline;
use preparing::{Entrant, Preparing};

/// Texts of one caller that are on their way at once in [`Scorer::score_all`]: enough that some are of like length.
const AT_ONCE: usize = 1024;

/// How long a patient caller waits at most before it looks whether others have left room: it need not wait for its time in the line.
const PATIENT_GLANCE: Duration = Duration::from_millis(100);

/// Texts up to this many bytes are prepared where they are: handing them over would take about as long.
const SHORT_BYTES: usize = 1024;

/// Bytes of short texts that are prepared for one unit of a task's budget, of which tokio gives it 128 a turn: 8 KiB, about a
/// millisecond. A task with many short texts that are at hand would otherwise hold its thread until all are done.
const BYTES_PER_UNIT: usize = 64;

/// What one explanation holds at once of a text without its words.
const OCCLUDED_BYTES: usize = 1 << 20;

/// Texts without a word that are on their way at once, however long they are.
const OCCLUDED_AT_LEAST: usize = 4;

/// Texts of one caller that have spans of their own in a trace: a stream may have millions.
const TRACED_TEXTS: usize = 32;

/// Settings of the scorer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoringConfig {
    /// Threads that run the model; each has a session of its own.
    pub workers: usize,
    /// Most tokens that wait for a worker.
    pub inbox_tokens: usize,
    /// Longest that a caller's first text is let wait for a worker; it is refused if it would be longer.
    pub max_wait: Duration,
    /// Most memory for answers that may be asked for again; 0 keeps none.
    pub cache_bytes: u64,
    /// The brands and aspects that are looked for in texts.
    pub catalogue: Arc<Catalogue>,
}

impl Default for ScoringConfig {
    /// What `arom` does without settings, but with one worker.
    fn default() -> Self {
        Self {
            workers: 1,
            inbox_tokens: 131_072,
            max_wait: Duration::from_millis(150),
            cache_bytes: 64 << 20,
            catalogue: Arc::default(),
        }
    }
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
    reference: Option<Distributions>,
    tokenizer: Tokenizer,
    windows: Windows,
    workers: Workers,
    cache: Option<Cache>,
    metrics: Arc<Metrics>,
    config: ScoringConfig,
    callers: AtomicU64,
    /// The turns of work on long texts off the threads that serve sockets: one for each worker.
    preparing: Preparing,
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

/// Why a text was not scored. Several callers of one text share it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ScoreError {
    /// More text is waiting than the scorer takes.
    #[error("the queue is full")]
    QueueFull {
        /// When room is likely.
        retry_after: Duration,
    },
    /// The tokenizer failed.
    #[error("the text could not be tokenised")]
    Tokenize(#[source] Arc<TokenizerError>),
    /// The model failed.
    #[error("the model failed")]
    Inference(#[source] Arc<SessionError>),
    /// A thread that held the text died.
    #[error("a worker died")]
    WorkerLost,
}

impl Scorer {
    /// Loads a verified bundle, starts the workers and has each answer once, so that the first caller does not
    /// pay for it.
    ///
    /// # Errors
    ///
    /// If the tokenizer or the graph does not fit the manifest.
    pub fn open(
        bundle: &Bundle,
        runtime: &Runtime,
        config: &ScoringConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let cache = (config.cache_bytes > 0).then(|| Cache::new(config.cache_bytes));
        Self::with_cache(bundle, runtime, config, metrics, cache)
    }

    /// A scorer of another bundle and catalogue with the same settings, to take this one's place. They share the cache,
    /// whose entries know which model made them.
    ///
    /// # Errors
    ///
    /// As [`Scorer::open`]; this one is left as it is.
    pub fn successor(
        &self,
        bundle: &Bundle,
        runtime: &Runtime,
        catalogue: Arc<Catalogue>,
    ) -> Result<Self, OpenError> {
        let Engine { config, metrics, cache, .. } = self.engine.as_ref();
        let config = ScoringConfig { catalogue, ..config.clone() };
        Self::with_cache(bundle, runtime, &config, Arc::clone(metrics), cache.clone())
    }

    fn with_cache(
        bundle: &Bundle,
        runtime: &Runtime,
        config: &ScoringConfig,
        metrics: Arc<Metrics>,
        cache: Option<Cache>,
    ) -> Result<Self, OpenError> {
        let tokenizer = Tokenizer::open(bundle)?;
        let padding = tokenizer.padding();
        let model = Model::load(runtime, bundle)?;
        let warm = |_| {
            let mut session = model.session()?;
            session.run(&[tokenizer.window(&[])], padding)?;
            Ok(Box::new(session) as Box<dyn Inference>)
        };
        let sessions = (0..config.workers.max(1)).map(warm).collect::<Result<Vec<_>, SessionError>>()?;
        Ok(Self::assemble(bundle, tokenizer, sessions, config, metrics, cache))
    }

    /// A scorer of a bundle's tokenizer and calibration whose model is run by the given sessions, one a worker;
    /// `config.workers` does not count. For tests and for other engines; [`Scorer::open`] runs the bundle's own graph.
    ///
    /// # Errors
    ///
    /// If the tokenizer does not fit the manifest.
    pub fn with_sessions(
        bundle: &Bundle,
        sessions: Vec<Box<dyn Inference>>,
        config: &ScoringConfig,
        metrics: Arc<Metrics>,
    ) -> Result<Self, TokenizerError> {
        let cache = (config.cache_bytes > 0).then(|| Cache::new(config.cache_bytes));
        Ok(Self::assemble(bundle, Tokenizer::open(bundle)?, sessions, config, metrics, cache))
    }

    fn assemble(
        bundle: &Bundle,
        tokenizer: Tokenizer,
        sessions: Vec<Box<dyn Inference>>,
        config: &ScoringConfig,
        metrics: Arc<Metrics>,
        cache: Option<Cache>,
    ) -> Self {
        let special = tokenizer.window(&[]).len();
        let windows = Windows {
            size: bundle.manifest.max_tokens - special,
            overlap: bundle.manifest.window_overlap.min(bundle.manifest.max_tokens / 2 - special),
        };
        let padding = tokenizer.padding();
        let preparing = Preparing::new(sessions.len().max(1));
        let workers_config = WorkersConfig {
            inbox_tokens: config.inbox_tokens,
            max_wait: config.max_wait,
            padding,
            shares_flights: cache.is_some(),
        };
        let workers = Workers::start(sessions, workers_config, Arc::clone(&metrics));
        let engine = Engine {
            fingerprint: bundle.fingerprint.clone(),
            labels: bundle.labels,
            calibration: bundle.manifest.calibration.clone(),
            reference: bundle.manifest.reference.clone(),
            callers: AtomicU64::new(0),
            preparing,
            config: config.clone(),
            tokenizer,
            windows,
            workers,
            cache,
            metrics,
        };
        Self { engine: Arc::new(engine) }
    }

    /// Name and fingerprint of the bundle behind the scores.
    pub fn fingerprint(&self) -> &str {
        &self.engine.fingerprint
    }

    /// The texts that its model was judged on, to compare others with.
    pub fn reference(&self) -> Option<&Distributions> {
        self.engine.reference.as_ref()
    }

    /// Whether every worker still works.
    pub fn is_whole(&self) -> bool {
        self.engine.workers.are_whole()
    }

    /// Whether another clone or a caller still uses this scorer.
    pub fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.engine) > 1
    }

    /// Entries of the cache and what they weigh in bytes.
    pub async fn cache_level(&self) -> (u64, u64) {
        match &self.engine.cache {
            Some(cache) => cache.level().await,
            None => (0, 0),
        }
    }

    /// The rows of token ids that the model is given for a text, one for each window.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails.
    pub fn rows(&self, text: &str) -> Result<Vec<Vec<TokenId>>, ScoreError> {
        Ok(self.engine.tokenize(&normalize(text))?.rows)
    }

    /// One who asks: its texts wait for one another and take turns with those of others.
    pub fn caller(&self) -> Caller {
        self.caller_for(Client::default())
    }

    /// One who asks for a client.
    pub fn caller_for(&self, client: Client) -> Caller {
        self.caller_of(client, false)
    }

    fn caller_of(&self, client: Client, patient: bool) -> Caller {
        let id = CallerId(self.engine.callers.fetch_add(1, Ordering::Relaxed));
        let Client { address, deadline } = client;
        let asker = Asker { id, address, patient, deadline, admitted: false, comes_back: None };
        Caller {
            engine: Arc::clone(&self.engine),
            entrant: self.engine.preparing.entrant(client, patient),
            turn: Mutex::new(asker),
            flying: AtomicUsize::new(0),
            to_trace: AtomicUsize::new(TRACED_TEXTS),
            landed: Notify::new(),
        }
    }

    /// A caller that is never refused: while the queue has no room it waits.
    pub fn patient_caller(&self) -> Caller {
        self.patient_caller_for(Client::default())
    }

    /// A caller that asks for a client, and is never refused.
    pub fn patient_caller_for(&self, client: Client) -> Caller {
        self.caller_of(client, true)
    }

    /// Scores one text.
    ///
    /// Dropping the future leaves its windows undone, so a deadline is kept by whoever has one.
    ///
    /// # Errors
    ///
    /// Says whether to retry ([`ScoreError::QueueFull`]), to give up, or to look into the log.
    pub async fn score(&self, text: &str, features: Features) -> Result<Scored, ScoreError> {
        self.caller().score(text, features).await
    }

    /// Scores several texts for one caller and gives their answers in their order, each on its own.
    ///
    /// Takes no more than half of the queue, and turns with other callers: what is more than that waits for its
    /// own texts, and is refused only what finds the queue full of others'.
    pub fn score_all<T: AsRef<str>>(
        &self,
        texts: impl IntoIterator<Item = (T, Features)>,
    ) -> impl Stream<Item = Result<Scored, ScoreError>> {
        self.caller().score_all(texts)
    }
}

/// The client for whom a text is scored, as far as it is known. A refused client is told when to come back, and known by this
/// when it does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client {
    /// Its address.
    pub address: Option<IpAddr>,
    /// Until when it waits. It is the caller's to keep: here it only decides whether the client can come back in time.
    pub deadline: Option<Instant>,
}

/// One who asks a [`Scorer`], once or many times at once.
#[derive(Debug)]
pub struct Caller {
    engine: Arc<Engine>,
    /// How it stands where long texts are prepared.
    entrant: Arc<Entrant>,
    /// Held by the text that is being tokenised and queued: one after the other, so that a caller's many do not
    /// stand in the way of another's one.
    turn: Mutex<Asker>,
    /// Texts that are queued or with a worker.
    flying: AtomicUsize,
    /// Texts that may still have spans of their own.
    to_trace: AtomicUsize,
    landed: Notify,
}

/// Counts a text of a caller as flying until it is dropped.
struct Flying<'a>(&'a Caller);

impl Drop for Flying<'_> {
    fn drop(&mut self) {
        self.0.flying.fetch_sub(1, Ordering::AcqRel);
        // Only the one whose turn it is listens.
        self.0.landed.notify_one();
    }
}

/// Where the time of a flight went.
#[derive(Clone, Copy, Debug, Default)]
struct Flight {
    tokenize: Duration,
    queue: Duration,
    infer: Duration,
}

/// What the model says of a text, and what finding out took.
#[derive(Debug)]
struct Known {
    analysis: Arc<Analysis>,
    cache_hit: bool,
    flight: Flight,
}

/// The rows of a text for the model.
#[derive(Debug)]
struct Rows {
    token_count: usize,
    unknown_count: usize,
    rows: Vec<Vec<TokenId>>,
    /// Where each row's tokens lie in the normalised text, and how many they are.
    windows: Vec<(Range<usize>, usize)>,
}

impl Caller {
    /// Scores one text; see [`Scorer::score`].
    ///
    /// # Errors
    ///
    /// As [`Scorer::score`].
    pub async fn score(&self, text: &str, features: Features) -> Result<Scored, ScoreError> {
        let arrived = Instant::now();
        let engine = &self.engine;
        let asked = text.to_owned();
        let task = Arc::clone(engine);
        let prepared =
            self.work_on(text.len(), move || Prepared::of(&asked, features, &task.config.catalogue));
        let Prepared { normalized, content, words, parts, clauses, mentions, asks, modifiers } =
            prepared.await?;
        let prepared = arrived.elapsed();
        let parts = future::try_join_all(parts.iter().map(|part| self.known(part))).await?;
        let Some(whole) = parts.first() else { return Err(ScoreError::WorkerLost) };
        let sentiment = |part: usize| parts.get(part).unwrap_or(whole).analysis.sentiment.clone();
        let mut explanation = match (content, features.explanation) {
            (Content::Linguistic, Some(most)) => Some(self.explain(&normalized, words, whole, most).await?),
            _ => None,
        };
        let edges = LazyCell::new(|| GraphemeEdges::of(text));
        let span = |range: Range<usize>| edges.snap(normalized.original_range(range));
        for word in explanation.iter_mut().flat_map(|explanation| &mut explanation.contributions) {
            word.span = span(word.span.clone());
        }
        let clauses: Vec<ScoredClause> = clauses
            .into_iter()
            .map(|(part, range)| ScoredClause { span: span(range), sentiment: sentiment(part) })
            .collect();
        let mentions = mentions.into_iter().filter_map(|(said, around, mention)| {
            let said =
                if said == around { sentiment(said) } else { sentiment(said).amid(&sentiment(around)) };
            Some(ScoredMention {
                target: Arc::clone(engine.config.catalogue.target(mention.target)?),
                span: span(mention.named),
                statement: span(mention.said.range.clone()),
                sentiment: if mention.opposite { said.opposite() } else { said },
                compared: mention.opposite,
            })
        });
        let mentions = mentions.collect();
        let intent = asks.map(|asks| Intent::of(whole.analysis.sentiment.probabilities, asks));
        let flights = || parts.iter().map(|known| known.flight);
        let sentiment = match clauses.len() {
            // The only clause of a text is the text.
            0 | 1 => sentiment(0),
            _ => sentiment(0).with_parts(clauses.iter().map(|clause| clause.sentiment.score)),
        };
        let timings = Timings {
            tokenize: prepared + flights().map(|flight| flight.tokenize).sum::<Duration>(),
            queue: flights().map(|flight| flight.queue).max().unwrap_or_default(),
            infer: flights().map(|flight| flight.infer).sum(),
            total: arrived.elapsed(),
        };
        let scored = Scored {
            content,
            sentiment,
            script: Script::of(&normalized),
            token_count: whole.analysis.token_count,
            unknown_count: whole.analysis.unknown_count,
            window_count: whole.analysis.window_count,
            windows: windows(span, &whole.analysis),
            clauses,
            mentions,
            modifiers,
            intent,
            explanation,
            cache_hit: whole.cache_hit,
            timings,
        };
        engine.metrics.text_scored(&scored);
        Ok(scored)
    }

    /// Takes away each word, and then the strongest together. The spans are those of the normalised text.
    async fn explain(
        &self,
        normalized: &Arc<Normalized>,
        words: Vec<Range<usize>>,
        whole: &Known,
        most: usize,
    ) -> Result<Explanation, ScoreError> {
        // Each of a long text's occlusions costs as many inferences as it has windows.
        let texts = most / whole.analysis.window_count.max(1);
        let words = join_to(words, texts.saturating_sub(DECIDING).max(1));
        let at_once = (OCCLUDED_BYTES / normalized.as_str().len().max(1)).max(OCCLUDED_AT_LEAST);
        let each = words.iter().map(|word| vec![word.clone()]).collect();
        let one_less = self.occluded(normalized, each, at_once).await?;
        let sentiments = |known: &[Known]| -> Vec<Sentiment> {
            known.iter().map(|known| known.analysis.sentiment.clone()).collect()
        };
        let sentiment = &whole.analysis.sentiment;
        let strongest = strongest(sentiment, &sentiments(&one_less));
        // The first of them alone was taken away above.
        let several = (2..=strongest.len())
            .map(|several| {
                strongest.iter().take(several).filter_map(|word| words.get(*word).cloned()).collect()
            })
            .collect();
        let several = self.occluded(normalized, several, at_once).await?;
        let first = strongest.first().and_then(|word| one_less.get(*word));
        let growing: Vec<Sentiment> =
            first.into_iter().chain(&several).map(|known| known.analysis.sentiment.clone()).collect();
        let decisive = strongest.get(..deciding(sentiment, &growing)).unwrap_or_default();
        let contribution = |(number, (word, known)): (usize, (&Range<usize>, &Known))| Contribution {
            span: word.clone(),
            contribution: sentiment.score - known.analysis.sentiment.score,
            decisive: decisive.contains(&number),
        };
        Ok(Explanation {
            contributions: words.iter().zip(&one_less).enumerate().map(contribution).collect(),
            inference_count: one_less.iter().chain(&several).map(|known| known.analysis.window_count).sum(),
        })
    }

    /// What the model says of a text without some parts of it, for each of several such parts, so many at once.
    async fn occluded(
        &self,
        text: &Arc<Normalized>,
        each: Vec<Vec<Range<usize>>>,
        at_once: usize,
    ) -> Result<Vec<Known>, ScoreError> {
        let one = |parts: Vec<Range<usize>>| {
            let (bytes, text) = (text.as_str().len(), Arc::clone(text));
            let rest = move || Arc::new(normalize(&without(text.as_str(), &parts)));
            async move { self.known(&self.work_on(bytes, rest).await?).await }
        };
        stream::iter(each).map(one).buffered(at_once).try_collect().await
    }

    /// Scores several texts; see [`Scorer::score_all`].
    pub fn score_all<T: AsRef<str>>(
        self,
        texts: impl IntoIterator<Item = (T, Features)>,
    ) -> impl Stream<Item = Result<Scored, ScoreError>> {
        let caller = Arc::new(self);
        stream::iter(texts)
            .map(move |(text, features)| {
                let caller = Arc::clone(&caller);
                async move { caller.score(text.as_ref(), features).await }
            })
            .buffered(AT_ONCE)
    }

    /// Does work on a text of so many bytes: away from the threads that serve sockets, or at once if it is short. Between many short
    /// texts other tasks get the thread, and long texts take turns with those of other callers.
    ///
    /// # Errors
    ///
    /// If the work panics, or too many wait for a turn.
    pub async fn work_on<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ScoreError> {
        if bytes > SHORT_BYTES {
            return self.prepare(bytes, work).await;
        }
        pay_for(bytes).await;
        Ok(work())
    }

    /// What the model says of a text, remembered or asked.
    async fn known(&self, text: &Arc<Normalized>) -> Result<Known, ScoreError> {
        let engine = &self.engine;
        let flight = OnceLock::new();
        let times_of = &flight;
        let work = |begun: Arc<AtomicBool>| async move {
            let (analysis, times) = self.analyze(text, begun).await?;
            times_of.get_or_init(|| times);
            Ok(Arc::new(analysis))
        };
        let (analysis, cache_hit) = match (Content::of(text), &engine.cache) {
            (Content::Empty | Content::NonLinguistic, _) => (Arc::new(Analysis::neutral()), false),
            (Content::Linguistic, None) => (work(Arc::default()).await?, false),
            (Content::Linguistic, Some(cache)) => {
                let key = cache.key(&engine.fingerprint, text);
                let found = cache.get_or(key, engine.config.max_wait, work).await?;
                engine.metrics.cache_asked(found.1);
                found
            }
        };
        Ok(Known { analysis, cache_hit, flight: flight.get().copied().unwrap_or_default() })
    }

    /// Asks the model, and notes when a worker has begun.
    async fn analyze(
        &self,
        text: &Arc<Normalized>,
        begun: Arc<AtomicBool>,
    ) -> Result<(Analysis, Flight), ScoreError> {
        let engine = &self.engine;
        let mut turn = self.turn.lock().await;
        let started = Instant::now();
        let (task, text) = (Arc::clone(engine), Arc::clone(text));
        let rows = self.work_on(text.as_str().len(), move || task.tokenize(&text)).await??;
        let tokenize = started.elapsed();
        let (tickets, _flying) = self.queue(&mut turn, &rows.rows, &begun).await?;
        drop(turn);
        let mut inferred = Vec::with_capacity(tickets.len());
        for ticket in tickets {
            inferred.push(ticket.answer().await?);
        }
        let flight = Flight {
            tokenize,
            queue: inferred.iter().map(|window| window.queue).max().unwrap_or_default(),
            infer: inferred.iter().map(|window| window.infer).sum(),
        };
        Ok((engine.merge(rows, &inferred), flight))
    }

    /// Whether the next text has spans of its own.
    fn traces(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        telemetry::is_traced()
            && self.to_trace.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// Queues the windows of a text, if need be when others of the same caller are done.
    async fn queue(
        &self,
        asker: &mut Asker,
        rows: &[Vec<TokenId>],
        begun: &Arc<AtomicBool>,
    ) -> Result<(Vec<Ticket>, Flying<'_>), ScoreError> {
        let workers = &self.engine.workers;
        // When a patient caller's time in the line of refused callers comes.
        let mut due = Instant::now();
        let traced = self.traces();
        loop {
            match workers.submit(asker, rows, traced, begun) {
                Ok(tickets) => {
                    self.flying.fetch_add(1, Ordering::AcqRel);
                    asker.admitted = true;
                    return Ok((tickets, Flying(self)));
                }
                Err(NotQueued::Full(_)) if self.flying.load(Ordering::Acquire) > 0 => {
                    self.landed.notified().await;
                }
                Err(NotQueued::Full(no_room)) if asker.patient => {
                    let now = Instant::now();
                    if due <= now {
                        due = now + workers.line_up(asker, &no_room, rows);
                    }
                    tokio::time::sleep_until(due.min(now + PATIENT_GLANCE).into()).await;
                }
                Err(NotQueued::Full(no_room)) => {
                    let retry_after = workers.line_up(asker, &no_room, rows);
                    asker.comes_back.get_or_insert_with(|| Instant::now() + retry_after);
                    self.engine.metrics.text_refused(retry_after);
                    return Err(ScoreError::QueueFull { retry_after });
                }
                Err(NotQueued::Lost) => return Err(ScoreError::WorkerLost),
            }
        }
    }
}

/// Lets other tasks go first when this one has prepared its share of bytes.
async fn pay_for(bytes: usize) {
    for _ in 0..=bytes / BYTES_PER_UNIT {
        tokio::task::consume_budget().await;
    }
}

impl Engine {
    fn tokenize(&self, text: &Normalized) -> Result<Rows, ScoreError> {
        let failed = |error| ScoreError::Tokenize(Arc::new(error));
        let tokens = self.tokenizer.encode(text).map_err(failed)?.0;
        let ranges = self.windows.cut(tokens.len());
        // Only a text of several windows is asked where they lie.
        let bytes = match ranges.len() {
            1 => Vec::new(),
            _ => self.tokenizer.byte_ranges(text).map_err(failed)?,
        };
        let place = |range: &Range<usize>| {
            let edge = |index: usize| bytes.get(index);
            match (edge(range.start), edge(range.end.saturating_sub(1))) {
                (Some(first), Some(last)) => first.start..last.end,
                _ => 0..text.as_str().len(),
            }
        };
        Ok(Rows {
            token_count: tokens.len(),
            unknown_count: self.tokenizer.count_unknown(&tokens),
            windows: ranges.iter().map(|range| (place(range), range.len())).collect(),
            rows: ranges
                .into_iter()
                .map(|range| self.tokenizer.window(tokens.get(range).unwrap_or_default()))
                .collect(),
        })
    }

    fn merge(&self, text: Rows, inferred: &[Inferred]) -> Analysis {
        let parts: Vec<(Probabilities, usize)> = inferred
            .iter()
            .zip(&text.windows)
            // A window without tokens still has a say, or its mean would divide by nothing.
            .map(|(window, (_, tokens))| {
                (self.calibration.apply(window.logits, self.labels), (*tokens).max(1))
            })
            .collect();
        let window_count = parts.len();
        let window = |((range, token_count), (probabilities, _)): (_, &(Probabilities, usize))| {
            AnalyzedWindow { range, score: probabilities.polarity(), token_count }
        };
        Analysis {
            sentiment: Sentiment::of_windows(&parts),
            token_count: text.token_count,
            unknown_count: text.unknown_count,
            window_count,
            windows: match window_count {
                1 => Vec::new(),
                _ => text.windows.into_iter().zip(&parts).map(window).collect(),
            },
        }
    }
}

/// Where the windows lie in the text as it was sent.
fn windows(span: impl Fn(Range<usize>) -> Range<usize>, analysis: &Analysis) -> Vec<ScoredWindow> {
    let window = |window: &AnalyzedWindow| ScoredWindow {
        span: span(window.range.clone()),
        score: window.score,
        token_count: window.token_count,
    };
    analysis.windows.iter().map(window).collect()
}
