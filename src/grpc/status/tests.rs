use super::*;
use crate::profile::Table;

/// What a refusal must say: its code, its reason, and whether the same may go well later.
fn wanted(failure: &Failure) -> (Code, &'static str, bool) {
    match failure {
        Failure::Invalid(_) => (Code::InvalidArgument, "INVALID_REQUEST", false),
        Failure::AnswerTooLarge { .. } => (Code::InvalidArgument, "ANSWER_TOO_LARGE", false),
        Failure::NotReady => (Code::Unavailable, "NOT_READY", true),
        Failure::TooManyCalls { used_up, .. } => (Code::ResourceExhausted, used_up.reason(), true),
        Failure::Stopping => (Code::Unavailable, "STOPPING", true),
        Failure::Transport(_) => (Code::InvalidArgument, "UNREADABLE_MESSAGE", false),
        Failure::DeadlineExceeded => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", false),
        Failure::StreamIdle(_) => (Code::DeadlineExceeded, "STREAM_IDLE", false),
        Failure::ProfilesOff => (Code::FailedPrecondition, "PROFILES_OFF", false),
        Failure::ClockMoved => (Code::FailedPrecondition, "CLOCK_MOVED", false),
        Failure::ServiceUnknown(_) => (Code::NotFound, "SERVICE_UNKNOWN", false),
        Failure::ProfileNotFound(_) => (Code::NotFound, "PROFILE_NOT_FOUND", false),
        Failure::ChangesForgotten => (Code::OutOfRange, "CHANGES_FORGOTTEN", false),
        Failure::NotRecorded(outcome) => match outcome {
            Outcome::Conflict | Outcome::Superseded => (Code::AlreadyExists, "EVENT_CONFLICT", false),
            Outcome::NotFound => (Code::NotFound, "EVENT_NOT_FOUND", false),
            Outcome::TooOld => (Code::OutOfRange, "EVENT_TOO_OLD", false),
            Outcome::TooNew => (Code::OutOfRange, "EVENT_IN_FUTURE", false),
            Outcome::InDoubt => (Code::Unavailable, "CLOCK_DISTRUSTED", true),
            Outcome::Erased => (Code::FailedPrecondition, "CUSTOMER_ERASED", false),
            Outcome::Recorded
            | Outcome::Duplicate
            | Outcome::Retracted
            | Outcome::AlreadyRetracted
            | Outcome::Forgotten(_)
            | Outcome::Done => (Code::Internal, "NOT_RECORDED", false),
        },
        Failure::Keep(_) | Failure::Storage(_) => (Code::Unavailable, "STORE_UNAVAILABLE", true),
        Failure::StoreAway => (Code::Unavailable, "STORE_UNAVAILABLE", true),
        Failure::BackupTooSlow => (Code::DeadlineExceeded, "BACKUP_TOO_SLOW", false),
        Failure::Died => (Code::Internal, "WORK_FAILED", false),
        Failure::Score(ScoreError::QueueFull { .. }) => (Code::ResourceExhausted, "QUEUE_FULL", true),
        Failure::Score(ScoreError::Tokenize(_) | ScoreError::Inference(_) | ScoreError::WorkerLost) => {
            (Code::Internal, "INFERENCE_FAILED", false)
        }
    }
}

/// One of each kind. `wanted` does not compile when a kind is added; add one of it here, too.
fn every() -> Vec<Failure> {
    let retry_after = Duration::from_millis(1234);
    let outcomes = [
        Outcome::Conflict,
        Outcome::Superseded,
        Outcome::NotFound,
        Outcome::TooOld,
        Outcome::TooNew,
        Outcome::InDoubt,
        Outcome::Erased,
        Outcome::Recorded,
        Outcome::Duplicate,
        Outcome::Retracted,
        Outcome::AlreadyRetracted,
        Outcome::Forgotten(1),
        Outcome::Done,
    ];
    let mut every = vec![
        Failure::Invalid(Violations::of("text", "is too long")),
        Failure::AnswerTooLarge { field: "requests", bytes: 2, most: 1, instead: "send fewer" },
        Failure::NotReady,
        Failure::TooManyCalls { used_up: UsedUp::Calls, retry_after },
        Failure::TooManyCalls { used_up: UsedUp::PeerBytes, retry_after },
        Failure::TooManyCalls { used_up: UsedUp::Scans, retry_after },
        Failure::StoreAway,
        Failure::BackupTooSlow,
        Failure::StreamIdle(retry_after),
        Failure::Stopping,
        Failure::Transport(Status::internal(format!("{UNDECODED}buffer underflow"))),
        Failure::DeadlineExceeded,
        Failure::ProfilesOff,
        Failure::ClockMoved,
        Failure::ServiceUnknown(vec!["arom.v1.SentimentService".to_owned()]),
        Failure::ProfileNotFound("brand/b".to_owned()),
        Failure::ChangesForgotten,
        Failure::Keep(KeepError::WriterLost),
        Failure::Storage(StorageError::Row { table: Table::Events }),
        Failure::Died,
        Failure::Score(ScoreError::QueueFull { retry_after }),
        Failure::Score(ScoreError::WorkerLost),
    ];
    every.extend(outcomes.map(Failure::NotRecorded));
    every
}

#[test]
fn every_refusal_says_its_reason_and_when_to_come_back_if_that_helps() {
    for failure in every() {
        let (code, reason, later) = wanted(&failure);
        let shown = format!("{failure:?}");
        let status = Status::from(failure);
        let details = status.get_error_details();
        let info = details.error_info().unwrap_or_else(|| panic!("{shown} has no ErrorInfo"));
        assert_eq!((status.code(), info.reason.as_str(), info.domain.as_str()), (code, reason, DOMAIN));
        assert!(!status.message().is_empty(), "{shown}");
        let delay = details.retry_info().and_then(|info| info.retry_delay);
        assert_eq!(delay.is_some(), later, "{shown}: {delay:?}");
        // gRPC's own retries read the same delay from a trailer.
        let pushback = status.metadata().get(PUSHBACK).and_then(|value| value.to_str().ok()?.parse().ok());
        assert_eq!(pushback.map(Duration::from_millis), delay, "{shown}");
        assert_eq!(is_for_now(&status), later, "{shown}: what is for now says when to come back");
    }
}

#[test]
fn an_item_has_all_that_a_call_would_have() {
    for failure in every() {
        let (code, reason, _) = wanted(&failure);
        let item = failure.into_item();
        assert_eq!(item.code, i32::from(code));
        assert!(!item.details.is_empty(), "{reason}");
        let status = status_of(item);
        assert_eq!(status.get_details_error_info().map(|info| info.reason).as_deref(), Some(reason));
    }
}

/// The list is that of OpenTelemetry's conventions for spans of gRPC servers.
#[test]
fn names_have_their_numbers_and_only_faults_of_the_server_are_errors() {
    for (name, code, is_fault) in [
        ("OK", 0, false),
        ("CANCELLED", 1, false),
        ("UNKNOWN", 2, true),
        ("INVALID_ARGUMENT", 3, false),
        ("DEADLINE_EXCEEDED", 4, true),
        ("NOT_FOUND", 5, false),
        ("ALREADY_EXISTS", 6, false),
        ("PERMISSION_DENIED", 7, false),
        ("RESOURCE_EXHAUSTED", 8, false),
        ("FAILED_PRECONDITION", 9, false),
        ("ABORTED", 10, false),
        ("OUT_OF_RANGE", 11, false),
        ("UNIMPLEMENTED", 12, true),
        ("INTERNAL", 13, true),
        ("UNAVAILABLE", 14, true),
        ("DATA_LOSS", 15, true),
        ("UNAUTHENTICATED", 16, false),
    ] {
        assert_eq!((number(name), is_server_fault(name)), (code, is_fault), "{name}");
    }
}
