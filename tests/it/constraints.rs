//! The limits that the protos state are the limits that the server keeps.
//!
//! Each bound in the comment of a request field has a row here. The row builds a request of a given size or value, and the server
//! must take the bounds and refuse what is one step beyond. A bound in a comment without a row fails, and so does a row whose comment
//! says something else. The crates that read protovalidate's annotations are young (0.6 and one author at the time of writing), and
//! many limits depend on the server's settings, which annotations cannot say.

use std::collections::BTreeMap;
use std::fs;

use arom::grpc::v1::conversation_message::Content;
use arom::grpc::v1::conversation_service_client::ConversationServiceClient;
use arom::grpc::v1::profile_event::Felt;
use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::*;
use regex::Regex;
use tonic::transport::Channel as Connection;
use tonic_types::StatusExt;

use crate::support::{Server, repository};

/// A request that is at a bound or beyond it.
enum Asked {
    Text(AnalyzeSentimentRequest),
    Batch(BatchAnalyzeSentimentRequest),
    Chat(AnalyzeConversationRequest),
    Events(RecordEventsRequest),
    Retract(RetractEventsRequest),
    Profiles(BatchGetProfilesRequest),
    Watch(WatchProfilesRequest),
    Export(ExportSubjectRequest),
    Erase(EraseSubjectRequest),
    List(ListProfilesRequest),
    Erasures(ListErasuresRequest),
}

struct Row {
    field: &'static str,
    /// As the comment has it.
    says: &'static str,
    /// Where the refusal may lay the blame.
    blamed: &'static [&'static str],
    asks: fn(f64) -> Asked,
}

/// Says a number that is not a bound of the request.
const NO_BOUNDS: [&str; 1] = ["AnalysisFeatures.targets"];

/// Of pages; `answers.rs` tests them.
const PAGES: [&str; 2] = ["page_size", "page_token"];

fn rows() -> Vec<Row> {
    let row = |field, says, blamed, asks| Row { field, says, blamed, asks };
    vec![
        row("AnalyzeSentimentRequest.text", "at most 65,536 bytes", &["text"], |n| {
            Asked::Text(AnalyzeSentimentRequest { text: letters(n), ..Default::default() })
        }),
        row("AnalyzeSentimentRequest.message_id", "at most 128 bytes", &["message_id"], |n| {
            Asked::Text(AnalyzeSentimentRequest { message_id: letters(n), ..Default::default() })
        }),
        row("AnalyzeSentimentRequest.language_code", "at most 35 bytes", &["language_code"], |n| {
            Asked::Text(AnalyzeSentimentRequest { language_code: letters(n), ..Default::default() })
        }),
        row("AnalyzeSentimentRequest.max_risk", "in [0, 1]", &["max_risk"], |n| {
            Asked::Text(AnalyzeSentimentRequest { max_risk: Some(narrow(n)), ..Default::default() })
        }),
        row(
            "AnalysisFeatures.max_explanation_inferences",
            "in [16, 256]",
            &["features.max_explanation_inferences"],
            |n| {
                let features =
                    AnalysisFeatures { max_explanation_inferences: whole(n), ..Default::default() };
                Asked::Text(AnalyzeSentimentRequest { features: Some(features), ..Default::default() })
            },
        ),
        row("Recording.event_id", "1 to 128 bytes", &["recording.event_id"], |n| {
            recorded(Recording { event_id: letters(n), ..recording() })
        }),
        row("Recording.customer_id", "1 to 128 bytes", &["recording.customer_id"], |n| {
            recorded(Recording { customer_id: letters(n), ..recording() })
        }),
        row("Recording.brand_ids", "at most 16", &["recording.brand_ids"], |n| {
            recorded(Recording { brand_ids: names(n), ..recording() })
        }),
        row("BatchAnalyzeSentimentRequest.requests", "1 to 256", &["requests"], |n| {
            Asked::Batch(BatchAnalyzeSentimentRequest { requests: vec![Default::default(); size(n)] })
        }),
        row("Sticker.keywords", "at most 15", &["messages[0].sticker.keywords"], |n| {
            chat(ConversationMessage {
                content: Some(Content::Sticker(Sticker { keywords: names(n) })),
                ..message()
            })
        }),
        row("ConversationMessage.message_id", "at most 128 bytes", &["messages[0].message_id"], |n| {
            chat(ConversationMessage { message_id: letters(n), ..message() })
        }),
        row("ConversationMessage.speaker", "at most 256 bytes", &["messages[0].speaker"], |n| {
            chat(ConversationMessage { speaker: letters(n), ..message() })
        }),
        row("ConversationMessage.text", "at most 65,536 bytes", &["messages[0].text"], |n| {
            chat(ConversationMessage { content: Some(Content::Text(" ".repeat(size(n)))), ..message() })
        }),
        row("AnalyzeConversationRequest.messages", "1 to 5,000", &["messages"], |n| {
            Asked::Chat(AnalyzeConversationRequest {
                messages: vec![message(); size(n)],
                ..Default::default()
            })
        }),
        row("ProfileKey.customer_id", "1 to 128 bytes", &["keys[0]", "keys[0].customer_id"], |n| {
            let key = ProfileKey { customer_id: letters(n), brand_id: String::new() };
            Asked::Watch(WatchProfilesRequest { keys: vec![key], ..Default::default() })
        }),
        row("ScoredText.score", "in [-1, 1]", &["scored.score"], |n| {
            let scored = ScoredText { label: SentimentLabel::Neutral.into(), score: narrow(n) };
            events(vec![ProfileEvent { felt: Some(Felt::Scored(scored)), ..event() }])
        }),
        row("ProfileEvent.event_id", "1 to 128 bytes", &["event_id"], |n| {
            events(vec![ProfileEvent { event_id: letters(n), ..event() }])
        }),
        row("ProfileEvent.customer_id", "1 to 128 bytes", &["customer_id"], |n| {
            events(vec![ProfileEvent { customer_id: letters(n), ..event() }])
        }),
        row("ProfileEvent.brand_ids", "at most 16", &["brand_ids"], |n| {
            events(vec![ProfileEvent { brand_ids: names(n), ..event() }])
        }),
        row("ProfileEvent.text", "at most 65,536 bytes", &["text"], |n| {
            events(vec![ProfileEvent { felt: Some(Felt::Text(" ".repeat(size(n)))), ..event() }])
        }),
        row("Recording.replaces_event_id", "at most 128 bytes", &["recording.replaces_event_id"], |n| {
            recorded(Recording { replaces_event_id: letters(n), ..recording() })
        }),
        row("ProfileEvent.replaces_event_id", "at most 128 bytes", &["replaces_event_id"], |n| {
            events(vec![ProfileEvent { replaces_event_id: letters(n), ..event() }])
        }),
        row("AnalyzeConversationRequest.speaker_roles", "at most 1,024", &["speaker_roles"], |n| {
            let roles = names(n).into_iter().map(|name| (name, ConversationRole::Customer.into()));
            let request = AnalyzeConversationRequest { messages: vec![message()], ..Default::default() };
            Asked::Chat(AnalyzeConversationRequest { speaker_roles: roles.collect(), ..request })
        }),
        row("ExportSubjectRequest.customer_id", "1 to 128 bytes", &["customer_id"], |n| export(&letters(n))),
        row("EraseSubjectRequest.customer_id", "1 to 128 bytes", &["customer_id"], |n| erase(&letters(n))),
        row("ListErasuresRequest.customer_id", "at most 128 bytes", &["customer_id"], |n| {
            erasures(&letters(n))
        }),
        row("ListProfilesRequest.key_prefix", "at most 272 bytes", &["key_prefix"], |n| list(&letters(n))),
        row("RecordEventsRequest.events", "1 to 256", &["events"], |n| events(vec![event(); size(n)])),
        row("RetractEventsRequest.event_ids", "1 to 256", &["event_ids"], |n| {
            Asked::Retract(RetractEventsRequest { event_ids: names(n) })
        }),
        row("BatchGetProfilesRequest.keys", "1 to 256", &["keys"], |n| {
            Asked::Profiles(BatchGetProfilesRequest { keys: keys(n) })
        }),
        row("WatchProfilesRequest.keys", "at most 1,024", &["keys"], |n| {
            Asked::Watch(WatchProfilesRequest { keys: keys(n), ..Default::default() })
        }),
        row("WatchProfilesRequest.key_prefixes", "at most 64", &["key_prefixes"], |n| {
            Asked::Watch(WatchProfilesRequest { key_prefixes: names(n), ..Default::default() })
        }),
        row("WatchProfilesRequest.heartbeat_interval", "1 to 300", &["heartbeat_interval"], |n| {
            let every = prost_types::Duration { seconds: whole(n).into(), nanos: 0 };
            Asked::Watch(WatchProfilesRequest { heartbeat_interval: Some(every), ..Default::default() })
        }),
    ]
}

#[expect(clippy::cast_possible_truncation, reason = "bounds are whole or have few digits")]
fn whole(n: f64) -> i32 {
    n as i32
}

#[expect(clippy::cast_possible_truncation, reason = "as above")]
fn narrow(n: f64) -> f32 {
    n as f32
}

fn size(n: f64) -> usize {
    usize::try_from(whole(n)).expect("not negative")
}

fn letters(n: f64) -> String {
    "a".repeat(size(n))
}

fn names(n: f64) -> Vec<String> {
    (0..size(n)).map(|at| format!("n-{at}")).collect()
}

fn keys(n: f64) -> Vec<ProfileKey> {
    names(n).into_iter().map(|brand_id| ProfileKey { brand_id, customer_id: String::new() }).collect()
}

fn now() -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: jiff::Timestamp::now().as_second(), nanos: 0 })
}

fn event() -> ProfileEvent {
    ProfileEvent {
        event_id: "e".to_owned(),
        event_time: now(),
        customer_id: "c".to_owned(),
        felt: Some(Felt::Scored(ScoredText { label: SentimentLabel::Neutral.into(), score: 0.0 })),
        ..Default::default()
    }
}

fn events(events: Vec<ProfileEvent>) -> Asked {
    Asked::Events(RecordEventsRequest { events })
}

fn recording() -> Recording {
    Recording {
        event_id: "e".to_owned(),
        event_time: now(),
        customer_id: "c".to_owned(),
        ..Default::default()
    }
}

fn recorded(recording: Recording) -> Asked {
    Asked::Text(AnalyzeSentimentRequest { recording: Some(recording), ..Default::default() })
}

fn export(id: &str) -> Asked {
    Asked::Export(ExportSubjectRequest { customer_id: id.to_owned(), ..Default::default() })
}

fn erase(id: &str) -> Asked {
    Asked::Erase(EraseSubjectRequest { customer_id: id.to_owned(), ..Default::default() })
}

fn erasures(id: &str) -> Asked {
    Asked::Erasures(ListErasuresRequest { customer_id: id.to_owned(), ..Default::default() })
}

fn list(prefix: &str) -> Asked {
    Asked::List(ListProfilesRequest { key_prefix: prefix.to_owned(), ..Default::default() })
}

/// One that holds nothing to score.
fn message() -> ConversationMessage {
    ConversationMessage { role: ConversationRole::Customer.into(), ..Default::default() }
}

fn chat(message: ConversationMessage) -> Asked {
    Asked::Chat(AnalyzeConversationRequest { messages: vec![message], ..Default::default() })
}

/// Sends it; gives the fields that are blamed, or none if it was taken.
async fn send(channel: &Connection, asked: Asked) -> Vec<String> {
    let mut texts = SentimentServiceClient::new(channel.clone());
    let mut profiles = ProfileServiceClient::new(channel.clone());
    let status = match asked {
        Asked::Text(request) => texts.analyze_sentiment(request).await.err(),
        Asked::Batch(request) => texts.batch_analyze_sentiment(request).await.err(),
        Asked::Chat(request) => {
            let mut chats =
                ConversationServiceClient::new(channel.clone()).max_decoding_message_size(64 << 20);
            chats.analyze_conversation(request).await.err()
        }
        Asked::Retract(request) => profiles.retract_events(request).await.err(),
        Asked::Profiles(request) => profiles.batch_get_profiles(request).await.err(),
        Asked::Watch(request) => profiles.watch_profiles(request).await.err(),
        Asked::Export(request) => profiles.export_subject(request).await.err(),
        Asked::Erase(request) => profiles.erase_subject(request).await.err(),
        Asked::List(request) => profiles.list_profiles(request).await.err(),
        Asked::Erasures(request) => profiles.list_erasures(request).await.err(),
        Asked::Events(request) => match profiles.record_events(request).await {
            Err(status) => Some(status),
            Ok(answer) => {
                let first = answer.into_inner().results.into_iter().next().expect("a result");
                let Some(record_event_result::Outcome::Error(item)) = first.outcome else {
                    return Vec::new();
                };
                let bytes = prost::Message::encode_to_vec(&item);
                Some(tonic::Status::with_details(
                    tonic::Code::from_i32(item.code),
                    item.message,
                    bytes.into(),
                ))
            }
        },
    };
    let Some(status) = status else { return Vec::new() };
    // What is taken by the checks may be refused for what it is, as a known event with another text.
    let Some(bad) = status.get_details_bad_request() else { return Vec::new() };
    bad.field_violations.into_iter().map(|fault| fault.field).collect()
}

/// The least and the most that a bound says, and how far beyond them a step is.
fn bounds(says: &str) -> (f64, f64, f64) {
    let digits = says.replace(',', if says.starts_with("in [") { " " } else { "" });
    let numbers: Vec<f64> = digits
        .split(|ch: char| !(ch.is_ascii_digit() || ch == '-'))
        .filter_map(|number| number.parse().ok())
        .collect();
    match numbers.as_slice() {
        [most] => (0.0, *most, 1.0),
        [least, most] if *most <= 1.0 => (*least, *most, 0.001),
        [least, most] => (*least, *most, 1.0),
        _ => panic!("{says:?} is no bound"),
    }
}

/// Every field of a request, by message and name, with its comment.
fn commented() -> BTreeMap<String, String> {
    let message = Regex::new(r"^message (\w+) \{").expect("valid");
    let field = Regex::new(r"^\s+(?:repeated |optional )?[\w.<>, ]+ (\w+) = \d+(.*)$").expect("valid");
    let mut found = BTreeMap::new();
    for file in [
        "conversation",
        "conversation_service",
        "profile",
        "profile_service",
        "sentiment",
        "sentiment_service",
    ] {
        let path = repository().join(format!("proto/arom/v1/{file}.proto"));
        let (mut inside, mut comment) = (String::new(), String::new());
        for line in fs::read_to_string(path).expect("readable").lines() {
            if let Some(said) = line.trim().strip_prefix("//") {
                comment.push_str(said);
            } else {
                if let Some(name) = message.captures(line) {
                    inside = name[1].to_owned();
                } else if let Some(of) = field.captures(line) {
                    // Those of a request say how they are to be given, but for the members of a oneof.
                    let is_request = of[2].contains("field_behavior")
                        || (["ConversationMessage", "ProfileEvent"].contains(&inside.as_str()));
                    if is_request {
                        found.insert(format!("{inside}.{}", &of[1]), comment.trim().to_owned());
                    }
                }
                comment.clear();
            }
        }
    }
    found
}

#[tokio::test]
async fn the_server_keeps_the_bounds_that_the_protos_state() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let channel = server.ready().await;
    for Row { field, says, blamed, asks } in rows() {
        let (least, most, step) = bounds(says);
        let is_refused = async |n: f64| {
            let fields = send(&channel, asks(n)).await;
            fields.iter().any(|found| blamed.contains(&found.as_str()))
        };
        // A least of 1 refuses 0; other leasts of 0 have nothing below.
        if least != 0.0 || step < 1.0 {
            assert!(is_refused(least - step).await, "{field} of {} is taken, it says {says}", least - step);
        }
        assert!(!is_refused(least).await, "{field} of {least} is refused, it says {says}");
        assert!(!is_refused(most).await, "{field} of {most} is refused, it says {says}");
        assert!(is_refused(most + step).await, "{field} of {} is taken, it says {says}", most + step);
    }
    server.stop().await.expect("a clean stop");
}

#[test]
fn every_bound_of_a_request_field_is_tried() {
    let bound =
        Regex::new(r"(?i)\bat most [\d,]*\d(?: bytes)?|[\d,]*\d to [\d,]*\d(?: bytes)?|\bin \[-?\d+, \d+\]")
            .expect("valid");
    let stated: BTreeMap<String, String> = commented()
        .into_iter()
        .filter(|(field, _)| {
            !NO_BOUNDS.contains(&field.as_str()) && !PAGES.iter().any(|page| field.ends_with(page))
        })
        .filter_map(|(field, comment)| Some((field, bound.find(&comment)?.as_str().to_lowercase())))
        .collect();
    let tried: BTreeMap<String, String> =
        rows().into_iter().map(|row| (row.field.to_owned(), row.says.to_owned())).collect();
    assert_eq!(stated, tried, "left: the comments of the protos; right: the rows of this file");
}

/// Makes a request with a time.
type WithTime = fn(prost_types::Timestamp) -> Asked;

/// The types say of themselves which values are times: years 1 to 9999, nanoseconds that count forward.
#[tokio::test]
async fn times_that_are_none_are_refused_by_their_field() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let channel = server.ready().await;
    let times: [(&str, &str, WithTime); 3] = [
        ("ConversationMessage.send_time", "messages[0].send_time", |time| {
            chat(ConversationMessage { send_time: Some(time), ..message() })
        }),
        ("ProfileEvent.event_time", "event_time", |time| {
            events(vec![ProfileEvent { event_time: Some(time), ..event() }])
        }),
        ("Recording.event_time", "recording.event_time", |time| {
            recorded(Recording { event_time: Some(time), ..recording() })
        }),
    ];
    let seconds = now().expect("a time").seconds;
    let none =
        [(seconds, -1), (seconds, 1_000_000_000), (-62_135_596_801, 0), (253_402_300_800, 0), (i64::MIN, 0)];
    for (field, blamed, asks) in times {
        for (seconds, nanos) in none {
            let fields = send(&channel, asks(prost_types::Timestamp { seconds, nanos })).await;
            assert_eq!(fields, [blamed], "{field} of {seconds} s and {nanos} ns");
        }
        let fields = send(&channel, asks(prost_types::Timestamp { seconds, nanos: 999_999_999 })).await;
        assert!(fields.is_empty(), "{field}: {fields:?}");
    }
    for (seconds, nanos) in none {
        let system_time = Some(prost_types::Timestamp { seconds, nanos });
        let mut client = ProfileServiceClient::new(channel.clone());
        let refused = client.accept_profile_clock(AcceptProfileClockRequest { system_time }).await;
        let details = refused.expect_err("no time").get_details_bad_request().expect("a bad request");
        assert_eq!(details.field_violations[0].field, "system_time", "{seconds} s and {nanos} ns");
    }
    for (seconds, nanos) in [(5, -1), (5, 1_000_000_000), (-5, 0), (i64::MAX, 0), (i64::MIN, -1)] {
        let heartbeat_interval = Some(prost_types::Duration { seconds, nanos });
        let request = WatchProfilesRequest { heartbeat_interval, ..Default::default() };
        assert_eq!(
            send(&channel, Asked::Watch(request)).await,
            ["heartbeat_interval"],
            "{seconds} s, {nanos} ns"
        );
    }
    server.stop().await.expect("a clean stop");

    // A field that is added is to be tried here as well.
    let field =
        Regex::new(r"google\.protobuf\.(?:Timestamp|Duration) (\w+) = \d+ \[\(google\.api\.field_behavior\)")
            .expect("valid");
    let mut stated = Vec::new();
    for file in fs::read_dir(repository().join("proto/arom/v1")).expect("a folder") {
        let proto = fs::read_to_string(file.expect("readable").path()).expect("readable");
        stated.extend(field.captures_iter(&proto).map(|found| found[1].to_owned()));
    }
    stated.sort();
    assert_eq!(stated, ["event_time", "event_time", "heartbeat_interval", "send_time", "system_time"]);
}

/// Makes a request with an id.
type WithId = fn(&str) -> Asked;

/// Ids that say so hold no control characters, and those of keys no slashes.
#[tokio::test]
async fn ids_hold_what_the_protos_allow() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let channel = server.ready().await;
    let control = "without control characters";
    let stated: Vec<String> = commented()
        .into_iter()
        .filter(|(_, comment)| comment.contains(control))
        .map(|(field, _)| field)
        .collect();
    let rows: [(&str, &str, WithId); 11] = [
        ("EraseSubjectRequest.customer_id", "customer_id", erase),
        ("ExportSubjectRequest.customer_id", "customer_id", export),
        ("ListErasuresRequest.customer_id", "customer_id", erasures),
        ("ListProfilesRequest.key_prefix", "key_prefix", list),
        ("ProfileEvent.customer_id", "customer_id", |id| {
            events(vec![ProfileEvent { customer_id: id.to_owned(), ..event() }])
        }),
        ("ProfileEvent.event_id", "event_id", |id| {
            events(vec![ProfileEvent { event_id: id.to_owned(), ..event() }])
        }),
        ("ProfileKey.customer_id", "customer_id", |id| {
            let key = ProfileKey { customer_id: id.to_owned(), brand_id: String::new() };
            Asked::Watch(WatchProfilesRequest { keys: vec![key], ..Default::default() })
        }),
        ("Recording.customer_id", "recording.customer_id", |id| {
            recorded(Recording { customer_id: id.to_owned(), ..recording() })
        }),
        ("Recording.event_id", "recording.event_id", |id| {
            recorded(Recording { event_id: id.to_owned(), ..recording() })
        }),
        ("RetractEventsRequest.event_ids", "event_ids", |id| {
            Asked::Retract(RetractEventsRequest { event_ids: vec![id.to_owned()] })
        }),
        ("WatchProfilesRequest.key_prefixes", "key_prefixes", |id| {
            Asked::Watch(WatchProfilesRequest { key_prefixes: vec![id.to_owned()], ..Default::default() })
        }),
    ];
    assert_eq!(stated, rows.map(|(field, ..)| field.to_owned()), "the comments that say so");
    for (field, blamed, asks) in rows {
        let is_key = field.ends_with("customer_id");
        for (id, is_taken) in
            [("ส้มตำ 1", true), ("a\u{7}b", false), ("a\nb", false), ("a\u{85}b", false), ("a/b", !is_key)]
        {
            let fields = send(&channel, asks(id)).await;
            let is_refused = fields.iter().any(|found| found.contains(blamed));
            assert_eq!(is_refused, !is_taken, "{field} {id:?}: {fields:?}");
        }
    }
    server.stop().await.expect("a clean stop");
}
