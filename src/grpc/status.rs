//! Where failures become statuses: the only file that names tonic's codes.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::front::Missing;
use super::shares::UsedUp;
use super::violations::{Violations, cut, shown};
use crate::profile::{KeepError, Outcome, StorageError};
use crate::scoring::ScoreError;
use crate::telemetry;

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "arom.v1";

/// The trailer that tells a client's retry policy when to come back.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// When to ask again while the model is being loaded.
const LOADING: Duration = Duration::from_secs(1);

/// When to ask again after a server stopped: another may serve already.
const STOPPING: Duration = Duration::from_millis(200);

/// When to ask again while the profile store refuses: somebody has to mend the disk.
const STORE_AWAY: Duration = Duration::from_secs(5);

/// When to send an event again while the clock is distrusted: it proves itself, or a person accepts it.
const CLOCK_IN_DOUBT: Duration = Duration::from_secs(60);

/// Why a call, or one item of a batch, has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Fields of the request that are out of range.
    Invalid(Violations),
    /// The answer might be larger than clients take.
    AnswerTooLarge {
        /// The field that asks for so much.
        field: &'static str,
        /// The bytes that it may be of.
        bytes: usize,
        /// The most that are sent.
        most: usize,
        /// What to ask for instead.
        instead: &'static str,
    },
    /// The model is not loaded yet.
    NotReady,
    /// More is asked for at once than the server takes.
    TooManyCalls {
        /// What is used up.
        used_up: UsedUp,
        /// When to come back.
        retry_after: Duration,
    },
    /// The server stops, and with it a stream.
    Stopping,
    /// What the transport made of the caller's messages.
    Transport(Status),
    /// Nothing was sent on a stream for too long.
    StreamIdle(Duration),
    /// The caller's deadline passed.
    DeadlineExceeded,
    /// The server keeps no profiles.
    ProfilesOff,
    /// The health of a service was asked for that is not one of these.
    ServiceUnknown(Vec<String>),
    /// The server's clock is not where the person saw it who accepts it.
    ClockMoved,
    /// There is no profile of that key.
    ProfileNotFound(String),
    /// What came after a resume token is not known any more.
    ChangesForgotten,
    /// An event was not taken.
    NotRecorded(Outcome),
    /// The profiles were not written.
    Keep(KeepError),
    /// The profiles were not read.
    Storage(StorageError),
    /// The profile store must be opened anew.
    StoreAway,
    /// The caller took a backup too slowly.
    BackupTooSlow,
    /// The thread that worked for the call died.
    Died,
    /// The scorer gave no score.
    Score(ScoreError),
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Invalid(violations) => invalid(violations),
            Failure::AnswerTooLarge { field, bytes, most, instead } => {
                let problem =
                    format!("asks for an answer of up to {bytes} bytes, at most {most} are sent; {instead}");
                let message = format!("answer too large: {field} {problem}");
                let mut details = ErrorDetails::with_bad_request_violation(field, problem);
                let figures = [("answer_bytes", bytes), ("max_answer_bytes", most)];
                let figures = figures.map(|(name, figure)| (name.to_owned(), figure.to_string()));
                details.set_error_info("ANSWER_TOO_LARGE", DOMAIN, figures);
                Status::with_error_details(Code::InvalidArgument, message, details)
            }
            Failure::NotReady => later(
                Code::Unavailable,
                "NOT_READY",
                "the model is still being loaded; retry after the delay given",
                LOADING,
            ),
            Failure::TooManyCalls { used_up, retry_after } => {
                later(Code::ResourceExhausted, used_up.reason(), used_up.message(), retry_after)
            }
            Failure::Stopping => later(
                Code::Unavailable,
                "STOPPING",
                "the server stops; send again what was not answered",
                STOPPING,
            ),
            Failure::Transport(status) => unread(&status, Limit::Setting)
                .map_or_else(|| bounded(status.clone()), |unread| unread.status),
            Failure::ClockMoved => plain(
                Code::FailedPrecondition,
                "CLOCK_MOVED",
                "system_time is older than one hour, or ahead of the server's clock; call GetProfileClock again and send the system_time that it gives",
            ),
            Failure::ProfilesOff => plain(
                Code::FailedPrecondition,
                "PROFILES_OFF",
                "this server keeps no profiles; start it with --profile-store FOLDER",
            ),
            Failure::ServiceUnknown(known) => {
                let message = format!("no such service; the health of these is known: {known:?}");
                plain(Code::NotFound, "SERVICE_UNKNOWN", &message)
            }
            Failure::ProfileNotFound(key) => {
                plain(Code::NotFound, "PROFILE_NOT_FOUND", &format!("nothing is known of {}", shown(&key)))
            }
            Failure::ChangesForgotten => plain(
                Code::OutOfRange,
                "CHANGES_FORGOTTEN",
                "what came after this resume token is not known any more; watch again without one and take the snapshot for what you had",
            ),
            Failure::NotRecorded(outcome) => not_recorded(outcome),
            Failure::Keep(KeepError::Storage(error))
                if matches!(*error, StorageError::Key { .. } | StorageError::Panicked) =>
            {
                Failure::Died.into()
            }
            Failure::Keep(error) => store_unavailable(&error),
            Failure::Storage(error @ (StorageError::Key { .. } | StorageError::Panicked)) => {
                tracing::error!(error = telemetry::chain(&error), "a call is refused");
                Failure::Died.into()
            }
            Failure::Storage(error) => store_unavailable(&error),
            Failure::StoreAway => store_away(),
            Failure::BackupTooSlow => plain(
                Code::DeadlineExceeded,
                "BACKUP_TOO_SLOW",
                "the backup was not taken fast enough: 256 KiB a second are needed after the first minute; begin another",
            ),
            Failure::Died => {
                plain(Code::Internal, "WORK_FAILED", "the server failed to do this; its log says why")
            }
            Failure::StreamIdle(limit) => plain(
                Code::DeadlineExceeded,
                "STREAM_IDLE",
                &format!(
                    "nothing was sent on this stream for {} s (server.stream_idle_seconds); open another",
                    limit.as_secs_f64()
                ),
            ),
            Failure::DeadlineExceeded => plain(
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
                "the deadline passed before there was an answer",
            ),
            Failure::Score(ScoreError::QueueFull { retry_after }) => later(
                Code::ResourceExhausted,
                "QUEUE_FULL",
                "more text is waiting than this server takes; retry after the delay given",
                retry_after,
            ),
            Failure::Score(
                error @ (ScoreError::Tokenize(_) | ScoreError::Inference(_) | ScoreError::WorkerLost),
            ) => {
                tracing::error!(error = telemetry::chain(&error), "scoring failed");
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

/// Most bytes of a message as HTTP/2 carries it, where spaces and Thai letters take three each. The details repeat the
/// message, so that twice this and the violations fit into the 8 KB that clients take.
const MESSAGE_BYTES: usize = 1200;

fn invalid(violations: Violations) -> Status {
    let count = violations.count();
    let (named, others) = violations.into_parts();
    let mut message = "invalid request: ".to_owned();
    let mut said = 0;
    for fault in &named {
        let next = format!("{}{} {}", if said > 0 { "; " } else { "" }, fault.field, fault.description);
        if said > 0 && encoded_len(&message) + encoded_len(&next) > MESSAGE_BYTES {
            break;
        }
        message.push_str(&next);
        said += 1;
    }
    if count > said {
        message.push_str(&format!("; and {} other fields", count - said));
    }
    let mut details = ErrorDetails::with_bad_request(named);
    let others = (others > 0).then(|| ("other_violations".to_owned(), others.to_string()));
    details.set_error_info("INVALID_REQUEST", DOMAIN, others.into_iter().collect::<HashMap<_, _>>());
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// How many bytes a text takes in the header `grpc-message`.
fn encoded_len(text: &str) -> usize {
    text.bytes()
        .map(|byte| if byte.is_ascii_graphic() && !br##""#%<>`?{}"##.contains(&byte) { 1 } else { 3 })
        .sum()
}

/// A status of the transport with no more of a message than clients take.
pub(super) fn bounded(status: Status) -> Status {
    if encoded_len(status.message()) <= MESSAGE_BYTES {
        return status;
    }
    Status::new(status.code(), cut(status.message(), MESSAGE_BYTES / 3))
}

/// A request that the transport refused, with the details of a refusal of ours.
#[derive(Debug)]
pub(super) struct Unread {
    /// The reason in its `ErrorInfo`.
    pub(super) reason: &'static str,
    /// What the caller gets.
    pub(super) status: Status,
}

/// What limits the messages of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// `server.max_message_bytes`.
    Setting,
    /// A constant: health and reflection take short names only.
    Fixed,
}

/// Says of a status without details why tonic could not read the request.
///
/// tonic has no types for these: they are told apart by their code and the start of their text, which the tests of
/// `tests/it/unread.rs` hold to what tonic sends.
pub(super) fn unread(status: &Status, limit: Limit) -> Option<Unread> {
    let bounded = bounded(status.clone());
    let (code, text) = (status.code(), bounded.message());
    if !status.details().is_empty() {
        return None;
    }
    let mut details = ErrorDetails::new();
    let (reason, code, message) = if text.contains("message length too large") || text.contains("size limit")
    {
        // The limit is the last number of the text.
        let mut numbers = text.split(|ch: char| !ch.is_ascii_digit()).filter(|number| !number.is_empty());
        let most = numbers.next_back().unwrap_or_default().to_owned();
        let message = match limit {
            Limit::Setting => format!(
                "the message is larger than the {most} bytes that this server takes, inflated; send less at once, \
                 or start the server with a larger server.max_message_bytes; a message of a stream holds one text, so its \
                 limit goes by server.max_text_bytes: twice that, and room for what goes with it"
            ),
            Limit::Fixed => format!(
                "the message is larger than the {most} bytes that this service takes, inflated; no setting changes \
                 this limit; a request names one symbol, file or service"
            ),
        };
        details.set_error_info(MESSAGE_TOO_LARGE, DOMAIN, [("max_message_bytes".to_owned(), most)]);
        (MESSAGE_TOO_LARGE, Code::ResourceExhausted, message)
    } else if let Some(problem) = text.strip_prefix(UNDECODED) {
        let problem = match undecoded_field(problem) {
            Some((field, problem)) => {
                details.add_bad_request_violation(&field, problem);
                format!("{field}: {problem}")
            }
            None => problem.to_owned(),
        };
        let message = format!(
            "the message cannot be decoded: {problem}; generate the client from the protos of this server, \
             which reflection gives"
        );
        ("UNREADABLE_MESSAGE", Code::InvalidArgument, message)
    } else if let Some(field) = text.strip_prefix(TOO_MANY) {
        let problem = "holds more parts than any request may have";
        details.add_bad_request_violation(field, problem);
        let message = format!("{field}: {problem}; send fewer at once");
        ("TOO_MANY_ITEMS", Code::InvalidArgument, message)
    } else if text.starts_with("Error decompressing") {
        let message = "the message is not compressed as its grpc-encoding says".to_owned();
        ("UNREADABLE_MESSAGE", Code::InvalidArgument, message)
    } else if text.starts_with("Content is compressed") {
        let message =
            "the grpc-encoding of the message is not known; use one of grpc-accept-encoding, or none"
                .to_owned();
        ("UNKNOWN_COMPRESSION", code, message)
    } else if code == Code::Internal {
        // gRPC's protocol asks for this code where the frames are broken.
        ("BROKEN_FRAMING", code, text.to_owned())
    } else {
        return None;
    };
    if details.error_info().is_none() {
        details.set_error_info(reason, DOMAIN, []);
    }
    let mut metadata = status.metadata().clone();
    if code == Code::ResourceExhausted {
        // The same again would be refused again, so gRPC's own retries are told to stop.
        metadata.insert(PUSHBACK, MetadataValue::from_static("-1"));
    }
    Some(Unread { reason, status: Status::with_error_details_and_metadata(code, message, details, metadata) })
}

/// Refuses a request that was not decoded, for the number of items in the list of that name; [`unread`] gives it its details.
pub(super) fn too_many_items(field: &str) -> Status {
    Status::invalid_argument(format!("{TOO_MANY}{field}"))
}

/// How the text of such a refusal begins.
const TOO_MANY: &str = "too many items in ";

/// The field that could not be decoded and what is wrong with it, out of prost's text, which begins with the innermost:
/// "Inner.text: Outer.inner: invalid …".
fn undecoded_field(problem: &str) -> Option<(String, &str)> {
    let (mut path, mut rest) = (Vec::new(), problem);
    while let Some((step, after)) = rest.split_once(": ")
        && let Some((message, field)) = step.split_once('.')
        && !message.contains(' ')
    {
        path.insert(0, field);
        rest = after;
    }
    (!path.is_empty()).then(|| (path.join("."), rest))
}

/// The reason of a message over the limit, which no retry mends although its code is that of a full queue.
const MESSAGE_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";

/// How prost begins what it says of bytes that are not the message.
const UNDECODED: &str = "failed to decode Protobuf message: ";

/// The name of a good end in metrics and traces.
pub(super) const OK: &str = "OK";

/// The name of the end that a caller put to its call.
pub(super) const CANCELLED: &str = "CANCELLED";

/// Whether the same may go well later: the server is away, or has no room now.
pub(crate) fn is_for_now(status: &Status) -> bool {
    status.code() == Code::Unavailable
        || (status.code() == Code::ResourceExhausted && reason(status).as_deref() != Some(MESSAGE_TOO_LARGE))
}

/// How long the server asks to wait before the same is tried again, if it says so.
pub(crate) fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}

/// Whether it is for what was asked, and would be the same again.
pub(crate) fn is_of_the_request(status: &Status) -> bool {
    status.code() == Code::InvalidArgument || reason(status).as_deref() == Some(MESSAGE_TOO_LARGE)
}

fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// The status of an item of a batch or stream as that of a call.
pub(crate) fn status_of(item: tonic_types::Status) -> Status {
    let details = item.encode_to_vec();
    Status::with_details(Code::from_i32(item.code), item.message, details.into())
}

/// The name of a status in metrics and traces.
pub(super) fn name(status: &Status) -> &'static str {
    code_name(status.code())
}

/// The name of the status of an item, as [`name`].
pub(super) fn item_name(status: &tonic_types::Status) -> &'static str {
    code_name(Code::from_i32(status.code))
}

/// The number of a status by its name.
pub(super) fn number(name: &str) -> i32 {
    (0..=16).find(|code| code_name(Code::from_i32(*code)) == name).unwrap_or(Code::Unknown.into())
}

/// Whether a status is for a fault of the server, as OpenTelemetry's conventions for gRPC servers have it.
pub(super) fn is_server_fault(name: &str) -> bool {
    let faults = [
        Code::Unknown,
        Code::DeadlineExceeded,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
    ];
    faults.into_iter().any(|code| code_name(code) == name)
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => OK,
        Code::Cancelled => CANCELLED,
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// A service or method that is not there.
pub(super) fn not_here(missing: Missing) -> Status {
    plain(Code::Unimplemented, missing.reason, &missing.message)
}

/// A message whose last byte did not come in time.
pub(super) fn message_too_slow(limit: Duration) -> Status {
    let message = format!("the request message did not arrive within {} s", limit.as_secs());
    plain(Code::DeadlineExceeded, "MESSAGE_TOO_SLOW", &message)
}

/// A call that has one message sent more.
pub(super) fn second_message() -> Status {
    let message = "this method takes one message, and the request has more bytes after it";
    plain(Code::InvalidArgument, "UNREADABLE_MESSAGE", message)
}

fn not_recorded(outcome: Outcome) -> Status {
    let (code, reason, message) = match outcome {
        Outcome::Conflict => (
            Code::AlreadyExists,
            "EVENT_CONFLICT",
            "another event of this id is there; give this one an id of its own, and replaces_event_id to correct that one",
        ),
        Outcome::Superseded => (
            Code::AlreadyExists,
            "EVENT_CONFLICT",
            "the event of replaces_event_id was corrected or taken back already; correct its correction, or send this one without replaces_event_id",
        ),
        Outcome::NotFound => {
            (Code::NotFound, "EVENT_NOT_FOUND", "the event of replaces_event_id is not there")
        }
        Outcome::TooOld => (
            Code::OutOfRange,
            "EVENT_TOO_OLD",
            "the event is older than events are kept: profile.retention_days",
        ),
        Outcome::TooNew => (
            Code::OutOfRange,
            "EVENT_IN_FUTURE",
            "the event is more than 10 minutes ahead of the server's clock; check whether event_time is local time that was taken for UTC, and the clocks",
        ),
        Outcome::InDoubt => {
            return later(
                Code::Unavailable,
                "CLOCK_DISTRUSTED",
                "the server's clock jumped, so it is not known whether the event is of now or of the future; send it again later",
                CLOCK_IN_DOUBT,
            );
        }
        Outcome::Erased => {
            (Code::FailedPrecondition, "CUSTOMER_ERASED", "the customer was erased after this happened")
        }
        Outcome::Recorded
        | Outcome::Duplicate
        | Outcome::Retracted
        | Outcome::AlreadyRetracted
        | Outcome::Forgotten(_)
        | Outcome::Done => (Code::Internal, "NOT_RECORDED", "the event was not taken"),
    };
    plain(code, reason, message)
}

fn store_unavailable(error: &(dyn std::error::Error + 'static)) -> Status {
    // The store itself says at error when it begins to refuse; this is each call.
    tracing::debug!(error = telemetry::chain(error), "the profile store refuses");
    store_away()
}

fn store_away() -> Status {
    later(
        Code::Unavailable,
        "STORE_UNAVAILABLE",
        "the profile store refuses; the server's log says why",
        STORE_AWAY,
    )
}

fn plain(code: Code, reason: &str, message: &str) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, []))
}

/// A refusal that another try may not meet, with a delay in whole milliseconds, rounded up so that a caller that keeps it is not early.
///
/// The delay stands in the details, and in the trailer that gRPC's own retries read
/// (<https://github.com/grpc/proposal/blob/master/A6-client-retries.md>).
fn later(code: Code, reason: &str, message: &str, delay: Duration) -> Status {
    let delay = Duration::from_millis(whole_milliseconds(delay));
    let mut details = ErrorDetails::with_retry_info(Some(delay));
    details.set_error_info(reason, DOMAIN, []);
    let mut status = Status::with_error_details(code, message, details);
    status.metadata_mut().insert(PUSHBACK, whole_milliseconds(delay).into());
    status
}

fn whole_milliseconds(delay: Duration) -> u64 {
    u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
