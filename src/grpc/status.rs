//! Where failures become statuses: the only file that names tonic's codes.

use std::error::Error;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::scoring::ScoreError;

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "arom.v1";

/// Why a call, or one item of a batch, has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Fields of the request that are out of range, all of them.
    Invalid(Vec<FieldViolation>),
    /// The model is not loaded yet.
    NotReady,
    /// The caller's deadline passed.
    DeadlineExceeded,
    /// The scorer gave no score.
    Score(ScoreError),
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Invalid(violations) => {
                let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
                let message = format!("invalid request: {}", fields.join(", "));
                let mut details = ErrorDetails::with_bad_request(violations);
                details.set_error_info("INVALID_REQUEST", DOMAIN, []);
                Status::with_error_details(Code::InvalidArgument, message, details)
            }
            Failure::NotReady => {
                plain(Code::Unavailable, "NOT_READY", "the model is still being loaded; retry in a second")
            }
            Failure::DeadlineExceeded | Failure::Score(ScoreError::DeadlineExceeded) => plain(
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
                "the deadline passed before the text was scored",
            ),
            Failure::Score(ScoreError::QueueFull { retry_after }) => {
                let mut details = ErrorDetails::with_retry_info(Some(retry_after));
                details.set_error_info("QUEUE_FULL", DOMAIN, []);
                let message = "more text is waiting than this server takes; retry after the delay given";
                Status::with_error_details(Code::ResourceExhausted, message, details)
            }
            Failure::Score(
                error @ (ScoreError::Tokenize(_) | ScoreError::Inference(_) | ScoreError::WorkerLost),
            ) => {
                tracing::error!(error = chain(&error), "scoring failed");
                plain(
                    Code::Internal,
                    "INFERENCE_FAILED",
                    "the text could not be scored; the server's log says why",
                )
            }
        }
    }
}

impl Failure {
    /// The same status as a message, for one item of a batch.
    pub(super) fn into_item(self) -> tonic_types::Status {
        let status = Status::from(self);
        // The details of a status are a google.rpc.Status of their own.
        tonic_types::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::Status {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: Vec::new(),
        })
    }
}

fn plain(code: Code, reason: &str, message: &str) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, []))
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
