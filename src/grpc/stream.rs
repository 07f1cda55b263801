//! `StreamAnalyzeSentiment`: reads while there is room, answers as texts are done.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesOrdered, FuturesUnordered};
use futures_util::{FutureExt, Stream, StreamExt};
use prost::Message as _;
use tonic::{Status, Streaming};
use tracing::Instrument;

use super::Shared;
use super::answer_size::texts_fit;
use super::call::Call;
use super::convert::{Checked, MAX_MESSAGE_ID_BYTES};
use super::phase::{Halt, late};
use super::status::{Failure, OK, item_name, name};
use super::v1::stream_analyze_sentiment_response::Outcome;
use super::v1::{AnalyzeSentimentResponse, StreamAnalyzeSentimentRequest, StreamAnalyzeSentimentResponse};
use super::violations::Violations;
use crate::scoring::{Caller, Scorer};

/// The answers of one stream.
pub(super) type Answers =
    Pin<Box<dyn Stream<Item = Result<StreamAnalyzeSentimentResponse, Status>> + Send + 'static>>;

/// An answer, and how many bytes its request had.
type Item = BoxFuture<'static, (usize, StreamAnalyzeSentimentResponse)>;

/// A stream is not read while the requests on their way have so many bytes: enough for hundreds of texts of the usual length.
const WINDOW_BYTES: usize = 256 << 10;

/// A text on its way takes so many bytes for each of its own, about: the text, what is made of it, and where each part of one is in the
/// other.
const HELD_FOR_BYTE: usize = 4;

/// A stream that is being answered. Dropping it, as tonic does when the caller cancels, drops the texts on their way,
/// and with them their work.
struct Conversation {
    shared: Arc<Shared>,
    call: Call,
    requests: Streaming<StreamAnalyzeSentimentRequest>,
    halt: Halt,
    /// Who scores the texts on their way; nobody while there are none, so that a silent stream keeps no old model.
    serving: Option<(Arc<Scorer>, Arc<Caller>)>,
    flying: Flying,
    /// The bytes of their requests.
    bytes: usize,
    /// Whether there is no room for more of them among what the caller's address may hold.
    crowded: bool,
    received: i64,
    open: bool,
    failure: Option<Failure>,
}

/// The texts on their way.
enum Flying {
    AsDone(FuturesUnordered<Item>),
    InOrder(FuturesOrdered<Item>),
}

impl Flying {
    fn push(&mut self, item: Item) {
        match self {
            Self::AsDone(items) => items.push(item),
            Self::InOrder(items) => items.push_back(item),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::AsDone(items) => items.len(),
            Self::InOrder(items) => items.len(),
        }
    }

    async fn next(&mut self) -> Option<(usize, StreamAnalyzeSentimentResponse)> {
        match self {
            Self::AsDone(items) => items.next().await,
            Self::InOrder(items) => items.next().await,
        }
    }
}

/// The answers to the texts of a stream.
pub(super) fn answers(
    shared: Arc<Shared>,
    call: Call,
    requests: Streaming<StreamAnalyzeSentimentRequest>,
) -> Result<Answers, Failure> {
    shared.scorer()?;
    let halt = Halt::new(&shared, call.deadline);
    let conversation = Conversation {
        flying: Flying::AsDone(FuturesUnordered::new()),
        bytes: 0,
        crowded: false,
        received: 0,
        open: true,
        failure: None,
        shared,
        call,
        requests,
        halt,
        serving: None,
    };
    Ok(Box::pin(stream::unfold(conversation, async |mut conversation| {
        let next = conversation.next().await;
        // Many texts may be at hand, all with known scores: other calls go in between.
        tokio::task::yield_now().await;
        next.map(|answer| (answer, conversation))
    })))
}

impl Conversation {
    async fn next(&mut self) -> Option<Result<StreamAnalyzeSentimentResponse, Status>> {
        let (window, idle) = (self.shared.config.stream_window, self.shared.config.stream_idle);
        let deadline = self.call.deadline.map(Into::into);
        loop {
            let waiting = self.flying.len() > 0;
            let room = self.flying.len() < window && self.bytes < WINDOW_BYTES && !self.crowded;
            tokio::select! {
                Some((bytes, answer)) = self.flying.next(), if waiting => {
                    self.hold(self.bytes - bytes);
                    if self.flying.len() == 0 {
                        self.serving = None;
                    }
                    return Some(Ok(answer));
                }
                failure = self.halt.reached(), if self.open => {
                    if matches!(failure, Failure::DeadlineExceeded) {
                        self.give_up();
                    }
                    self.close(Some(failure));
                }
                () = late(deadline), if !self.open && waiting => {
                    self.give_up();
                    self.failure = Some(Failure::DeadlineExceeded);
                }
                message = self.requests.message(), if self.open && room => match message {
                    Ok(Some(message)) => self.receive(message),
                    Ok(None) => self.close(None),
                    Err(status) => self.close(Some(Failure::Transport(status))),
                },
                // Each message and each answer begins it anew.
                () = tokio::time::sleep(idle), if self.open && !waiting => {
                    self.close(Some(Failure::StreamIdle(idle)));
                }
                else => break,
            }
        }
        let status = self.failure.take().map(Status::from);
        self.call.end(status.as_ref().map_or(OK, name));
        status.map(Err)
    }

    /// Drops the texts on their way.
    fn give_up(&mut self) {
        self.flying = Flying::AsDone(FuturesUnordered::new());
        self.hold(0);
    }

    /// The requests of texts on their way have so many bytes now. While there is no room for them, no more are read.
    fn hold(&mut self, bytes: usize) {
        self.bytes = bytes;
        self.crowded = self.call.remember(bytes.saturating_mul(HELD_FOR_BYTE)).is_err();
    }

    fn close(&mut self, failure: Option<Failure>) {
        self.open = false;
        self.failure = failure;
    }

    fn receive(&mut self, message: StreamAnalyzeSentimentRequest) {
        if self.received == 0 && message.in_order {
            self.flying = Flying::InOrder(FuturesOrdered::new());
        }
        self.halt.heard();
        let index = self.received;
        self.received += 1;
        let bytes = message.encoded_len();
        if let Err(used_up) = self.call.took(bytes) {
            let refused = self.shared.refused(used_up);
            return self.close(Some(refused));
        }
        self.hold(self.bytes + bytes);
        // One that is too long is not given back; the index tells which it was.
        let id = message.request.as_ref().map(|request| &request.message_id);
        let message_id = id.filter(|id| id.len() <= MAX_MESSAGE_ID_BYTES).cloned();
        let item = self.analyze(message);
        let done = self.call.items();
        let answered = async move {
            let outcome = match item.await {
                Ok(response) => Outcome::Response(response),
                Err(failure) => Outcome::Error(failure.into_item()),
            };
            done(match &outcome {
                Outcome::Response(_) => OK,
                Outcome::Error(status) => item_name(status),
            });
            let message_id = message_id.unwrap_or_default();
            (bytes, StreamAnalyzeSentimentResponse { index, message_id, outcome: Some(outcome) })
        };
        self.flying.push(answered.instrument(self.call.span.clone()).boxed());
    }

    fn analyze(
        &mut self,
        message: StreamAnalyzeSentimentRequest,
    ) -> impl Future<Output = Result<AnalyzeSentimentResponse, Failure>> + Send + use<> {
        let missing = || Failure::from(Violations::of("request", "is missing"));
        let checked = message
            .request
            .ok_or_else(missing)
            .and_then(|request| Checked::new(request, &self.shared.config));
        let (serving, shared) = (self.serving(), Arc::clone(&self.shared));
        async move {
            let mut checked = checked?;
            let (scorer, caller) = serving?;
            let recording = checked.recording.take();
            texts_fit("request.features", &caller, std::iter::once(&checked), 0, &shared.config).await?;
            let scored = caller.score(&checked.text, checked.features).await.map_err(Failure::Score)?;
            let record = shared.record_one(recording, &scored).await;
            Ok(checked.answer(scored, scorer.fingerprint(), record))
        }
    }

    /// Texts read from now on go to the scorer that serves now, so that a long stream does not keep an old model.
    fn serving(&mut self) -> Result<(Arc<Scorer>, Arc<Caller>), Failure> {
        let current = self.shared.scorer()?;
        match &self.serving {
            Some((scorer, caller)) if Arc::ptr_eq(scorer, &current) => Ok((current, Arc::clone(caller))),
            _ => {
                let caller = Arc::new(current.patient_caller_for(self.call.client()));
                Ok(self.serving.insert((current, caller)).clone())
            }
        }
    }
}
