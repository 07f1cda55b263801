use prost::Message;

use super::*;
use crate::grpc::v1;
use crate::profile::{KeepError, Outcome};

/// With the tag and length that it has in a list: fields over 15 have tags of two bytes.
fn listed(message: &impl Message) -> usize {
    let bytes = message.encoded_len();
    2 + prost::length_delimiter_len(bytes) + bytes
}

fn id() -> String {
    "x".repeat(128)
}

fn time() -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: 253_402_300_799, nanos: 999_999_999 })
}

fn sentiment() -> Option<v1::Sentiment> {
    let probabilities =
        v1::LabelProbabilities { positive: 0.25, neutral: 0.25, negative: 0.25, question: 0.25 };
    Some(v1::Sentiment {
        label: 4,
        probabilities: Some(probabilities),
        score: -1.0,
        magnitude: 1e9,
        mixed: true,
        entropy: 2.0,
        abstain: true,
    })
}

fn span() -> Option<v1::TextSpan> {
    Some(v1::TextSpan { begin_offset: i32::MAX, end_offset: i32::MAX })
}

fn profile() -> v1::Profile {
    let value = Some(v1::FeatureValue { presence: 3, value: -1.5 });
    let most = i64::MAX;
    let counts = v1::FeatureCount {
        total: most,
        positive: most,
        neutral: most,
        negative: most,
        question: most,
        review: most,
        social: most,
        line_chat: most,
        other: most,
    };
    let window = v1::WindowFeatures {
        window: 6,
        counts: Some(counts),
        mean_score: value,
        score_deviation: value,
        mean_score_error: value,
    };
    v1::Profile {
        key: Some(v1::ProfileKey { customer_id: id(), brand_id: id() }),
        as_of_time: time(),
        windows: vec![window; 6],
        decayed_mean_1d: value,
        decayed_mean_7d: value,
        decayed_mean_30d: value,
        trend: value,
        daily_slope: value,
        volatility: value,
        last_score: value,
        last_event_time: time(),
        days_since_negative: value,
        negative_run: i32::MAX,
        revision: most,
        raised: vec![v1::RaisedSignal { kind: 3, raise_time: time() }; 8],
    }
}

fn event_error(outcome: Outcome) -> v1::RecordEventResult {
    let error = v1::record_event_result::Outcome::Error(Failure::NotRecorded(outcome).into_item());
    v1::RecordEventResult { index: i32::MAX, event_id: id(), outcome: Some(error) }
}

#[test]
fn no_item_is_larger_than_is_reckoned_with() {
    let longest = |outcomes: &[Outcome]| {
        outcomes.iter().map(|outcome| listed(&event_error(*outcome))).max().unwrap_or_default()
    };
    let recorded = longest(&[
        Outcome::Conflict,
        Outcome::Superseded,
        Outcome::NotFound,
        Outcome::TooOld,
        Outcome::TooNew,
        Outcome::Erased,
    ]);
    let unknown = Failure::ProfileNotFound(format!("customer/{}/brand/{}", id(), id())).into_item();
    let unknown = v1::BatchGetProfilesResult {
        index: i32::MAX,
        outcome: Some(v1::batch_get_profiles_result::Outcome::Error(unknown)),
    };
    let known = v1::BatchGetProfilesResult {
        index: i32::MAX,
        outcome: Some(v1::batch_get_profiles_result::Outcome::Profile(profile())),
    };
    let erasure = v1::Erasure {
        erase_time: time(),
        subject_hash: "f".repeat(32),
        event_count: i64::MAX,
        erased_from_brands: true,
        refused_through_time: time(),
    };
    let message = v1::AnalyzedMessage {
        index: i32::MAX,
        line: i32::MAX,
        role: 4,
        send_time: time(),
        basis: 4,
        sentiment: sentiment(),
        smoothed_score: Some(-1.0),
        cues: (1..=7).collect(),
        ..v1::AnalyzedMessage::default()
    };
    let turn =
        v1::TurningPoint { index: i32::MAX, after_index: Some(i32::MAX), from_score: -1.0, to_score: 1.0 };
    let window = v1::ScoredWindow { span: span(), score: -1.0, token_count: i32::MAX };
    let clause = v1::ScoredClause { span: span(), sentiment: sentiment() };
    let word = v1::WordContribution { span: span(), contribution: -2.0, decisive: true };
    let mention = v1::TargetMention {
        target_id: "x".repeat(128),
        display_name: "x".repeat(128),
        kind: 2,
        span: span(),
        statement: span(),
        sentiment: sentiment(),
        compared: true,
    };
    for (item, largest) in [
        (Item::Profile, listed(&known).max(listed(&unknown))),
        (Item::Erasure, listed(&erasure)),
        (Item::Recorded, recorded),
        // Of the index, which is a number, and of the id that stands beside it.
        (Item::Message, listed(&message) + listed(&turn)),
        (Item::Text, listed(&text())),
        (Item::Window, listed(&window)),
        (Item::Clause, listed(&clause)),
        (Item::Word, listed(&word)),
        (Item::Mention, listed(&mention) - 2 * 128),
    ] {
        let reckoned = item.bytes();
        assert!(largest <= reckoned, "{item:?} may be of {largest} bytes, {reckoned} are reckoned with");
        assert!(largest * 2 + 64 > reckoned, "{item:?}: {reckoned} is far more than {largest}");
    }
}

/// Nothing in an update grows with the conversation, so a stream of them needs no bound of its own.
#[test]
fn the_largest_update_of_a_conversation_fits_the_smallest_answer() {
    /// The least that `server.max_answer_bytes` may be set to.
    const SMALLEST: usize = 65_536;
    /// About twice the longest summary: it tells of eight turning points.
    const SUMMARY: usize = 1024;
    let turn =
        v1::TurningPoint { index: i32::MAX, after_index: Some(i32::MAX), from_score: -1.0, to_score: 1.0 };
    let side = v1::RoleTrajectory {
        role: 4,
        message_count: i32::MAX,
        scored_count: i32::MAX,
        positive_count: i32::MAX,
        negative_count: i32::MAX,
        opening_score: -1.0,
        closing_score: -1.0,
        score_shift: -2.0,
        mean_score: -1.0,
        turning_points: vec![turn; crate::conversation::LATEST_TURNS],
        turning_point_count: i32::MAX,
        longest_negative_run: i32::MAX,
        longest_negative_run_index: Some(i32::MAX),
    };
    let waits = v1::ResponseTimes {
        wait_count: i32::MAX,
        median_wait: Some(prost_types::Duration { seconds: i64::MAX, nanos: 999_999_999 }),
        longest_wait: Some(prost_types::Duration { seconds: i64::MAX, nanos: 999_999_999 }),
        longest_wait_index: i32::MAX,
        long_wait_count: i32::MAX,
        score_after_long_waits: Some(-1.0),
        score_after_other_waits: Some(-1.0),
    };
    let update = v1::ConversationUpdate {
        message: Some(v1::AnalyzedMessage {
            message_id: id(),
            // A role stands for the name.
            speaker: "customer".to_owned(),
            sentiment: sentiment(),
            cues: (1..=7).collect(),
            ..v1::AnalyzedMessage::default()
        }),
        trajectory: Some(v1::Trajectory {
            roles: vec![side; 3],
            response_times: Some(waits),
            unresolved_negative: true,
            cue_count: i32::MAX,
            summary: "x".repeat(SUMMARY),
        }),
        model_fingerprint: "x".repeat(256),
    };
    let bytes = listed(&update);
    assert!(bytes <= SMALLEST / 4, "{bytes}");
}

/// The largest answer to a text without its parts.
fn text() -> v1::BatchAnalyzeSentimentResult {
    let long = Some(prost_types::Duration { seconds: 1_000_000, nanos: 999_999_999 });
    let modifiers = v1::Modifiers {
        elongation_count: i32::MAX,
        laughter_count: i32::MAX,
        emoji_count: i32::MAX,
        negation_count: i32::MAX,
        profanity_count: i32::MAX,
    };
    let outcomes = [
        Outcome::Conflict,
        Outcome::Superseded,
        Outcome::NotFound,
        Outcome::TooOld,
        Outcome::TooNew,
        Outcome::InDoubt,
        Outcome::Erased,
    ];
    let failures = outcomes.map(Failure::NotRecorded).into_iter();
    let failures = failures.chain([Failure::Keep(KeepError::WriterLost), Failure::StoreAway, Failure::Died]);
    let record = failures
        .map(|failure| v1::record_outcome::Outcome::Error(failure.into_item()))
        .map(|outcome| v1::RecordOutcome { outcome: Some(outcome) })
        .max_by_key(Message::encoded_len)
        .expect("there are some");
    let response = v1::AnalyzeSentimentResponse {
        message_id: id(),
        content: 3,
        sentiment: sentiment(),
        language_code: "x".repeat(35),
        language_supported: true,
        model_fingerprint: "x".repeat(200),
        token_count: i32::MAX,
        window_count: i32::MAX,
        timings: Some(v1::AnalysisTimings {
            tokenize_duration: long,
            queue_duration: long,
            infer_duration: long,
            total_duration: long,
        }),
        cache_hit: true,
        modifiers: Some(modifiers),
        explanation: Some(v1::Explanation { contributions: Vec::new(), inference_count: i32::MAX }),
        intent: Some(v1::Intent { question: 1.0, polarity: 4 }),
        record: Some(record),
        ..v1::AnalyzeSentimentResponse::default()
    };
    let outcome = v1::batch_analyze_sentiment_result::Outcome::Response(response);
    v1::BatchAnalyzeSentimentResult { index: i32::MAX, outcome: Some(outcome) }
}

#[test]
fn a_page_is_no_longer_than_its_answer_may_be() {
    let config = ServerConfig::default();
    assert_eq!(most_of(Item::Profile, &config), 256, "the usual page fits");
    let large = ServerConfig { max_batch_size: 65_536, ..config };
    let most = most_of(Item::Profile, &large);
    assert!(most < 65_536 && most * Item::Profile.bytes() <= large.max_answer_bytes);
}

#[test]
fn what_does_not_fit_says_what_to_ask_for() {
    let config = ServerConfig::default();
    fits("keys", config.max_answer_bytes, &config, "send fewer").expect("it fits");
    let refused = fits("keys", config.max_answer_bytes + 1, &config, "send fewer").expect_err("too large");
    let Failure::AnswerTooLarge { field: "keys", bytes: 3_670_017, most: 3_670_016, instead: "send fewer" } =
        refused
    else {
        panic!("{refused:?}")
    };
}
