//! `SentimentService`: one text, or several each on its own.

use std::time::{Duration, Instant};

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tonic_types::FieldViolation;

use super::convert::Checked;
use super::status::Failure;
use super::v1::batch_analyze_sentiment_result::Outcome;
use super::v1::sentiment_service_server::SentimentService;
use super::v1::{
    AnalyzeSentimentRequest, AnalyzeSentimentResponse, BatchAnalyzeSentimentRequest,
    BatchAnalyzeSentimentResponse, BatchAnalyzeSentimentResult,
};
use super::{InFlight, Ready, ServerConfig};
use crate::scoring::Scorer;

/// The service behind `arom.v1.SentimentService`.
#[derive(Debug)]
pub(super) struct Sentiment {
    ready: Ready,
    in_flight: InFlight,
    config: ServerConfig,
}

impl Sentiment {
    pub(super) fn new(ready: Ready, in_flight: InFlight, config: &ServerConfig) -> Self {
        Self { ready, in_flight, config: config.clone() }
    }

    fn scorer(&self) -> Result<&Scorer, Failure> {
        self.ready.get().ok_or(Failure::NotReady)
    }

    async fn analyze(
        &self,
        request: AnalyzeSentimentRequest,
        deadline: Option<Instant>,
    ) -> Result<AnalyzeSentimentResponse, Failure> {
        let scorer = self.scorer()?;
        let checked = Checked::new(request, &self.config)?;
        let scored = scorer.score(checked.text.clone(), deadline).await.map_err(Failure::Score)?;
        Ok(checked.answer(scored, scorer.fingerprint()))
    }

    async fn batch(
        &self,
        requests: Vec<AnalyzeSentimentRequest>,
        deadline: Option<Instant>,
    ) -> Result<Vec<BatchAnalyzeSentimentResult>, Failure> {
        let scorer = self.scorer()?;
        let limit = self.config.max_batch_size;
        if requests.is_empty() || requests.len() > limit {
            let problem = format!("holds {} texts, 1 to {limit} are taken", requests.len());
            return Err(Failure::Invalid(vec![FieldViolation::new("requests", problem)]));
        }
        let checked: Vec<Result<Checked, Failure>> =
            requests.into_iter().map(|request| Checked::new(request, &self.config)).collect();
        let texts: Vec<String> = checked.iter().flatten().map(|item| item.text.clone()).collect();
        let mut scored = scorer.score_many(texts, deadline).await.into_iter();
        let mut outcome = |item: Result<Checked, Failure>| -> Result<AnalyzeSentimentResponse, Failure> {
            let item = item?;
            let scored = scored.next().ok_or(Failure::Score(crate::scoring::ScoreError::WorkerLost))?;
            Ok(item.answer(scored.map_err(Failure::Score)?, scorer.fingerprint()))
        };
        let results = checked.into_iter().zip(0..).map(|(item, index)| {
            let outcome = match outcome(item) {
                Ok(response) => Outcome::Response(response),
                Err(failure) => Outcome::Error(failure.into_item()),
            };
            BatchAnalyzeSentimentResult { index, outcome: Some(outcome) }
        });
        Ok(results.collect())
    }
}

#[tonic::async_trait]
impl SentimentService for Sentiment {
    async fn analyze_sentiment(
        &self,
        request: Request<AnalyzeSentimentRequest>,
    ) -> Result<Response<AnalyzeSentimentResponse>, Status> {
        let _counted = self.in_flight.enter();
        let deadline = deadline(request.metadata());
        let answer = within(deadline, self.analyze(request.into_inner(), deadline)).await?;
        Ok(Response::new(answer))
    }

    async fn batch_analyze_sentiment(
        &self,
        request: Request<BatchAnalyzeSentimentRequest>,
    ) -> Result<Response<BatchAnalyzeSentimentResponse>, Status> {
        let _counted = self.in_flight.enter();
        let deadline = deadline(request.metadata());
        let results = within(deadline, self.batch(request.into_inner().requests, deadline)).await?;
        Ok(Response::new(BatchAnalyzeSentimentResponse { results }))
    }
}

/// Ends the work when the caller stops waiting for it.
async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match deadline {
        None => work.await,
        Some(deadline) => {
            tokio::time::timeout_at(deadline.into(), work).await.unwrap_or(Err(Failure::DeadlineExceeded))
        }
    }
}

/// When the caller stops waiting, from the header `grpc-timeout`: up to eight digits and a unit.
fn deadline(metadata: &MetadataMap) -> Option<Instant> {
    // tonic ends a late call itself, but as CANCELLED and without details; this answers just before it.
    const HEAD_START: Duration = Duration::from_millis(2);
    let timeout = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = timeout.split_at_checked(timeout.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Instant::now().checked_add(timeout.saturating_sub(HEAD_START))
}
