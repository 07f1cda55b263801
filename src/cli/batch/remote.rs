//! Rows scored by a server over one stream: in their order, each once, also if the connection breaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::stream;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use super::answer::Answer;
use super::steps::{Content, Step, Steps};
use crate::cli::dial;
use crate::grpc::v1::sentiment_service_client::SentimentServiceClient;
use crate::grpc::v1::stream_analyze_sentiment_response::Outcome;
use crate::grpc::v1::{
    AnalysisFeatures, AnalyzeSentimentRequest, OffsetEncoding, StreamAnalyzeSentimentRequest,
    StreamAnalyzeSentimentResponse,
};
use crate::grpc::{is_for_now, is_of_the_request, status_of};

/// Rows that wait for their answer; a server reads no more than so many ahead.
const ON_THEIR_WAY: usize = 1024;

/// How often it is tried without a single answer, the pause doubled each time.
const ATTEMPTS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(100);

/// A server that scores.
#[derive(Debug)]
pub(super) struct Remote {
    client: SentimentServiceClient<Channel>,
    targets: bool,
    max_risk: f32,
    /// The model that the server had when the run began.
    pub(super) fingerprint: Arc<str>,
}

impl Remote {
    /// Connects, and asks which model there is.
    pub(super) async fn connect(address: &str, targets: bool, max_risk: f32) -> Result<Self> {
        let channel = dial("--remote", address, "start `arom serve` there").await?;
        let mut client = SentimentServiceClient::new(channel);
        let mut attempt = 0;
        let answer = loop {
            match client.analyze_sentiment(AnalyzeSentimentRequest::default()).await {
                Ok(answer) => break answer.into_inner(),
                // It has just been started, and loads its model.
                Err(status) if is_for_now(&status) && attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await;
                    attempt += 1;
                }
                Err(status) => return Err(said(&status)),
            }
        };
        Ok(Self { client, targets, max_risk, fingerprint: answer.model_fingerprint.into() })
    }

    /// Scores what is read and gives it on.
    pub(super) async fn score(mut self, mut steps: Steps, done: mpsc::Sender<Step<Answer>>) -> Result<()> {
        let mut read = Read::default();
        let mut attempt = 0;
        loop {
            match self.stream(&mut steps, &mut read, &done, &mut attempt).await? {
                None => return Ok(()),
                Some(status) => {
                    let broken = is_for_now(&status) || status.get_details_error_info().is_none();
                    if !broken || attempt + 1 >= ATTEMPTS {
                        return Err(said(&status).context("the server was given up"));
                    }
                    attempt += 1;
                    tracing::warn!(
                        reason = status.message(),
                        attempt,
                        "the stream ended; what is not answered is sent again"
                    );
                    tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await;
                }
            }
        }
    }

    /// One stream: all is answered, or the status with which it ended before.
    async fn stream(
        &mut self,
        steps: &mut Steps,
        read: &mut Read,
        done: &mpsc::Sender<Step<Answer>>,
        attempt: &mut u32,
    ) -> Result<Option<Status>> {
        let (requests, sending) = mpsc::channel(ON_THEIR_WAY + 1);
        let sending = stream::unfold(sending, async |mut sending: mpsc::Receiver<_>| {
            Some((sending.recv().await?, sending))
        });
        for step in &read.waiting {
            if let Content::Row(_, text, ()) = &step.content {
                requests.try_send(self.request(text)).context("so many are not on their way")?;
            }
        }
        let mut answers = match self.client.stream_analyze_sentiment(sending).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return Ok(Some(status)),
        };
        let mut requests = Some(requests);
        loop {
            // What needs no answer and stands first is done.
            while read.waiting.front().is_some_and(|step| matches!(step.content, Content::Bad(..))) {
                if let Some(step) = read.waiting.pop_front()
                    && done.send(step.then(|()| Err(String::new()))).await.is_err()
                {
                    return Ok(None);
                }
            }
            if read.ended && read.waiting.is_empty() {
                return match read.fault.take() {
                    Some(fault) => Err(fault),
                    None => Ok(None),
                };
            }
            tokio::select! {
                chunk = steps.recv(), if !read.ended && read.waiting.len() < ON_THEIR_WAY - CHUNK => match chunk {
                    Some(Ok(chunk)) => {
                        for step in chunk {
                            if let (Content::Row(_, text, ()), Some(requests)) = (&step.content, &requests)
                                && requests.send(self.request(text)).await.is_err()
                            {
                                tracing::debug!("the stream has ended; its status follows");
                            }
                            read.waiting.push_back(step);
                        }
                    }
                    Some(Err(fault)) => {
                        read.fault = Some(fault.into());
                        read.ended = true;
                        requests = None;
                    }
                    None => {
                        read.ended = true;
                        requests = None;
                    }
                },
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        let answer = match self.outcome(answer)? {
                            Ok(answer) => Ok(answer),
                            Err(status) if is_of_the_request(&status) => Err(status.message().to_owned()),
                            // Of the server, and not of this row: it is asked again.
                            Err(status) => return Ok(Some(status)),
                        };
                        *attempt = 0;
                        let step = read.waiting.pop_front().context("the server answers what it was not asked")?;
                        if done.send(step.then(|()| answer)).await.is_err() {
                            return Ok(None);
                        }
                    }
                    Ok(None) => return Ok(Some(Status::unavailable("the server ended the stream"))),
                    Err(status) => return Ok(Some(status)),
                },
            }
        }
    }

    fn request(&self, text: &str) -> StreamAnalyzeSentimentRequest {
        let features = AnalysisFeatures { targets: self.targets, ..AnalysisFeatures::default() };
        let request = AnalyzeSentimentRequest {
            text: text.to_owned(),
            features: Some(features),
            offset_encoding: OffsetEncoding::Utf32.into(),
            max_risk: Some(self.max_risk),
            ..AnalyzeSentimentRequest::default()
        };
        StreamAnalyzeSentimentRequest { request: Some(request), in_order: true }
    }

    /// What became of a row.
    fn outcome(&self, answer: StreamAnalyzeSentimentResponse) -> Result<Result<Answer, Status>> {
        match answer.outcome {
            Some(Outcome::Response(answer)) => {
                let answer = Answer::received(answer, self.targets).ok_or_else(|| {
                    anyhow!("the server's answer is none that this Arom knows; is it another version?")
                })?;
                if answer.fingerprint != self.fingerprint {
                    bail!(
                        "the server's model changed from {} to {} while the run went on; begin anew with --overwrite",
                        self.fingerprint,
                        answer.fingerprint
                    );
                }
                Ok(Ok(answer))
            }
            Some(Outcome::Error(status)) => Ok(Err(status_of(status))),
            None => bail!("the server gave no outcome for a row"),
        }
    }
}

/// Rows of one chunk of the reader, at most.
const CHUNK: usize = super::steps::CHUNK;

/// What was read and is not answered.
#[derive(Debug, Default)]
struct Read {
    waiting: VecDeque<Step<()>>,
    ended: bool,
    fault: Option<anyhow::Error>,
}

fn said(status: &Status) -> anyhow::Error {
    anyhow!("the server says: {}", status.message())
}
