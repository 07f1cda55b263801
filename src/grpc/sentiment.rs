//! `SentimentService`: one text, several each on its own, or a stream of them.

use std::sync::Arc;

use futures_util::StreamExt;
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use super::answer_size::texts_fit;
use super::call::Call;
use super::convert::Checked;
use super::status::{Failure, OK, item_name, name};
use super::stream::{Answers, answers};
use super::v1::batch_analyze_sentiment_result::Outcome;
use super::v1::sentiment_service_server::SentimentService;
use super::v1::{
    AnalyzeSentimentRequest, AnalyzeSentimentResponse, BatchAnalyzeSentimentRequest,
    BatchAnalyzeSentimentResponse, BatchAnalyzeSentimentResult, StreamAnalyzeSentimentRequest,
};
use super::violations::Violations;
use crate::scoring::{Client, ScoreError, Scored};

const SERVICE: &str = "arom.v1.SentimentService";

/// Most bytes of the status of a text that is refused: its faults are few and each is short.
const REFUSED_BYTES: usize = 4096;

/// The service behind `arom.v1.SentimentService`.
#[derive(Debug)]
pub(super) struct Sentiment {
    shared: Arc<Shared>,
}

impl Sentiment {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn analyze(
        &self,
        request: AnalyzeSentimentRequest,
        client: Client,
    ) -> Result<AnalyzeSentimentResponse, Failure> {
        let scorer = self.shared.scorer()?;
        let mut checked = Checked::new(request, &self.shared.config)?;
        let recording = checked.recording.take();
        let caller = scorer.caller_for(client);
        texts_fit("features", &caller, std::iter::once(&checked), 0, &self.shared.config).await?;
        let scored = caller.score(&checked.text, checked.features).await.map_err(Failure::Score)?;
        let record = self.shared.record_one(recording, &scored).await;
        Ok(checked.answer(scored, scorer.fingerprint(), record))
    }

    async fn batch(
        &self,
        requests: Vec<AnalyzeSentimentRequest>,
        client: Client,
        done: impl Fn(&'static str),
    ) -> Result<BatchAnalyzeSentimentResponse, Failure> {
        let scorer = self.shared.scorer()?;
        let limit = self.shared.config.max_batch_size;
        if requests.is_empty() || requests.len() > limit {
            let problem = format!("holds {} texts, 1 to {limit} are taken", requests.len());
            return Err(Violations::of("requests", problem).into());
        }
        let checked = requests.into_iter().map(|request| Checked::new(request, &self.shared.config));
        let checked: Vec<Result<Checked, Failure>> = checked.collect();
        // Those that are refused are refused in the answer, too.
        let refused = checked.iter().filter(|item| item.is_err()).count() * REFUSED_BYTES;
        let caller = scorer.caller_for(client);
        texts_fit("requests", &caller, checked.iter().flatten(), refused, &self.shared.config).await?;
        let texts: Vec<_> = checked.iter().flatten().map(|item| (item.text.clone(), item.features)).collect();
        let mut scored = caller.score_all(texts).collect::<Vec<_>>().await.into_iter();
        // All that has a score is recorded in one commit, and then answered.
        let (mut items, mut commands) = (Vec::with_capacity(checked.len()), Vec::new());
        for item in checked {
            let item = item.and_then(|mut item| {
                let scored = scored.next().unwrap_or(Err(ScoreError::WorkerLost)).map_err(Failure::Score)?;
                let command = item.recording.take().map(|recording| recording.command(&scored));
                let records = command.is_some();
                commands.extend(command);
                Ok((item, scored, records))
            });
            items.push(item);
        }
        let mut records = self.shared.record(commands).await.into_iter();
        let mut outcome =
            |item: Result<(Checked, Scored, bool), Failure>| -> Result<AnalyzeSentimentResponse, Failure> {
                let (item, scored, recorded) = item?;
                let record = if recorded { records.next() } else { None };
                Ok(item.answer(scored, scorer.fingerprint(), record))
            };
        let results = items.into_iter().zip(0..).map(|(item, index)| {
            let outcome = match outcome(item) {
                Ok(response) => Outcome::Response(response),
                Err(failure) => Outcome::Error(failure.into_item()),
            };
            done(match &outcome {
                Outcome::Response(_) => OK,
                Outcome::Error(status) => item_name(status),
            });
            BatchAnalyzeSentimentResult { index, outcome: Some(outcome) }
        });
        Ok(BatchAnalyzeSentimentResponse { results: results.collect() })
    }
}

#[tonic::async_trait]
impl SentimentService for Sentiment {
    async fn analyze_sentiment(
        &self,
        request: Request<AnalyzeSentimentRequest>,
    ) -> Result<Response<AnalyzeSentimentResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "AnalyzeSentiment", &request)?;
        let item = call.items();
        let client = call.client();
        let answer = call.answer(self.analyze(request.into_inner(), client)).await;
        item(answer.as_ref().map_or_else(name, |_| OK));
        answer
    }

    async fn batch_analyze_sentiment(
        &self,
        request: Request<BatchAnalyzeSentimentRequest>,
    ) -> Result<Response<BatchAnalyzeSentimentResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "BatchAnalyzeSentiment", &request)?;
        let item = call.items();
        let client = call.client();
        call.answer(self.batch(request.into_inner().requests, client, item)).await
    }

    type StreamAnalyzeSentimentStream = Answers;

    async fn stream_analyze_sentiment(
        &self,
        request: Request<Streaming<StreamAnalyzeSentimentRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let call = Call::enter_stream(&self.shared, SERVICE, "StreamAnalyzeSentiment", &request)?;
        let mut response = Response::new(());
        call.trace(response.metadata_mut());
        let answers = answers(Arc::clone(&self.shared), call, request.into_inner())?;
        Ok(response.map(|()| answers))
    }
}
