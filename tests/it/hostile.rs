//! Requests made to hurt: each is refused in a bounded answer, and everybody else is served.

use std::time::Duration;

use arom::grpc::ServerConfig;
use arom::grpc::v1::conversation_service_client::ConversationServiceClient;
use arom::grpc::v1::profile_event::Felt;
use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::*;
use arom::profile::{Disk, Order, Storage, StorageError, Table};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tonic::codegen::http::HeaderMap;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_types::StatusExt;

use crate::profile::{event, record};
use crate::support::{Server, raw, scorer, server_config, wait_for_serving};

/// What clients take of an answer's metadata by default, with the 32 bytes that HTTP/2 counts for each header.
const METADATA_BYTES: usize = 8192;

/// Most violations that an answer names.
const NAMED: usize = 16;

struct Clients {
    texts: SentimentServiceClient<Channel>,
    conversations: ConversationServiceClient<Channel>,
    profiles: ProfileServiceClient<Channel>,
}

impl Clients {
    async fn of(server: &Server) -> Self {
        let channel = server.ready().await;
        Self {
            texts: SentimentServiceClient::new(channel.clone()),
            conversations: ConversationServiceClient::new(channel.clone()),
            profiles: ProfileServiceClient::new(channel),
        }
    }
}

/// The headers that a status takes, as HTTP/2 counts them.
fn header_bytes(status: &Status) -> usize {
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers).expect("headers");
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// The request was refused as bad, in an answer that every client reads, and the field is named.
#[track_caller]
fn refused<T: std::fmt::Debug>(what: &str, answer: Result<T, Status>, field: &str) {
    let status = answer.expect_err(what);
    assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
    let bytes = header_bytes(&status);
    assert!(bytes < METADATA_BYTES, "{what}: {bytes} bytes of metadata");
    let details = status.get_error_details();
    let named = &details.bad_request().expect("violations").field_violations;
    assert!((1..=NAMED).contains(&named.len()), "{what}: {} violations", named.len());
    assert!(named.iter().any(|fault| fault.field == field), "{what}: {named:?}");
}

/// The error of an item, as small as that of a call.
#[track_caller]
fn refused_item(what: &str, status: &tonic_types::pb::Status) {
    assert_eq!(Code::from_i32(status.code), Code::InvalidArgument, "{what}");
    let bytes = prost::Message::encoded_len(status);
    assert!(bytes < METADATA_BYTES, "{what}: {bytes} bytes");
}

fn recording(brands: usize) -> Recording {
    Recording {
        event_id: "e".to_owned(),
        event_time: event("", "", &[], 1, 0.0).event_time,
        customer_id: "c".to_owned(),
        brand_ids: (0..brands).map(|at| at.to_string()).collect(),
        replaces_event_id: String::new(),
    }
}

#[tokio::test]
async fn counts_are_checked_before_contents() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::keeping(folder.path()).await;
    let Clients { mut texts, mut conversations, mut profiles } = Clients::of(&server).await;
    // Each compared with all before it, so many brands would take minutes.
    let many = 300_000;
    let brands: Vec<String> = (0..many).map(|at| at.to_string()).collect();
    let event = ProfileEvent { brand_ids: brands, ..event("e", "c", &[], 1, 0.5) };
    let request = RecordEventsRequest { events: vec![event] };
    let results = profiles.record_events(request).await.expect("answered").into_inner().results;
    let Some(record_event_result::Outcome::Error(error)) = &results[0].outcome else { panic!("{results:?}") };
    refused_item("brands of an event", error);
    assert!(error.message.contains("300000") && error.message.contains("16"), "{}", error.message);

    let recorded = AnalyzeSentimentRequest {
        text: "อร่อยมาก".to_owned(),
        recording: Some(recording(many)),
        ..AnalyzeSentimentRequest::default()
    };
    refused("brands of a text", texts.analyze_sentiment(recorded).await, "recording.brand_ids");

    let events = vec![ProfileEvent::default(); 257];
    refused("events", profiles.record_events(RecordEventsRequest { events }).await, "events");
    let event_ids = vec![String::new(); many];
    refused("ids", profiles.retract_events(RetractEventsRequest { event_ids }).await, "event_ids");
    let keys = vec![ProfileKey::default(); 257];
    refused("keys", profiles.batch_get_profiles(BatchGetProfilesRequest { keys }).await, "keys");
    let keys = vec![ProfileKey::default(); 1025];
    let watch = WatchProfilesRequest { keys, ..WatchProfilesRequest::default() };
    refused("watched keys", profiles.watch_profiles(watch).await, "keys");
    let key_prefixes = vec!["x".repeat(400); 65];
    let watch = WatchProfilesRequest { key_prefixes, ..WatchProfilesRequest::default() };
    refused("watched prefixes", profiles.watch_profiles(watch).await, "key_prefixes");

    let requests = vec![AnalyzeSentimentRequest::default(); 257];
    let batch = BatchAnalyzeSentimentRequest { requests };
    refused("texts", texts.batch_analyze_sentiment(batch).await, "requests");
    let messages = vec![ConversationMessage::default(); 5001];
    let chat = AnalyzeConversationRequest { messages, ..AnalyzeConversationRequest::default() };
    refused("messages", conversations.analyze_conversation(chat).await, "messages");
    let speaker_roles = (0..2000).map(|at| (format!("n{at}"), 1)).collect();
    let chat = AnalyzeConversationRequest { speaker_roles, ..AnalyzeConversationRequest::default() };
    refused("speakers", conversations.analyze_conversation(chat).await, "speaker_roles");
    let sticker = Sticker { keywords: vec!["k".to_owned(); many] };
    let message = ConversationMessage {
        role: 1,
        content: Some(conversation_message::Content::Sticker(sticker)),
        ..ConversationMessage::default()
    };
    let chat =
        AnalyzeConversationRequest { messages: vec![message], ..AnalyzeConversationRequest::default() };
    refused("keywords", conversations.analyze_conversation(chat).await, "messages[0].sticker.keywords");
    server.stop().await.expect("a clean stop");
}

/// A part of two bytes would be a message of hundreds in memory.
#[tokio::test]
async fn messages_of_very_many_tiny_parts_are_refused_before_they_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::keeping(folder.path()).await;
    let channel = server.ready().await;
    for (method, field) in [
        ("/arom.v1.SentimentService/AnalyzeSentiment", "text"),
        ("/arom.v1.SentimentService/BatchAnalyzeSentiment", "requests"),
        ("/arom.v1.ConversationService/AnalyzeConversation", "messages"),
        ("/arom.v1.ProfileService/RecordEvents", "events"),
        ("/arom.v1.ProfileService/WatchProfiles", "keys"),
    ] {
        let parts = [0x0a, 0].repeat(2_000_000);
        refused(method, raw(channel.clone(), method, parts).await, field);
    }
    // Messages of streams are too short for so many.
    for method in [
        "/arom.v1.SentimentService/StreamAnalyzeSentiment",
        "/arom.v1.ConversationService/StreamConversation",
    ] {
        let status = raw(channel.clone(), method, [0x0a, 0].repeat(2_000_000)).await.expect_err("refused");
        assert_eq!(status.get_error_details().error_info().expect("details").reason, "MESSAGE_TOO_LARGE");
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn many_violations_are_answered_with_sixteen_and_a_count() {
    let server = Server::start().await;
    let Clients { mut conversations, .. } = Clients::of(&server).await;
    for count in [1_usize, 16, 17, 150, 5000] {
        let message = ConversationMessage { role: 99, ..ConversationMessage::default() };
        let messages = vec![message; count];
        let chat = AnalyzeConversationRequest { messages, ..AnalyzeConversationRequest::default() };
        let status = conversations.analyze_conversation(chat).await.expect_err("refused");
        let details = status.get_error_details();
        let named = details.bad_request().expect("violations").field_violations.len();
        assert_eq!(named, count.min(NAMED));
        let info = details.error_info().expect("a reason");
        let others = info.metadata.get("other_violations").map(|others| others.parse::<usize>());
        assert_eq!(others.transpose().expect("a number").unwrap_or(0), count - named);
        refused("bad roles", Err::<(), _>(status), "messages[0].role");
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn long_strings_are_refused_and_not_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::keeping(folder.path()).await;
    let Clients { mut texts, mut conversations, mut profiles } = Clients::of(&server).await;
    // Three bytes a letter, which grow to nine in a header.
    let long = || "ก".repeat(200_000);
    let recording = Recording {
        event_id: long(),
        customer_id: long(),
        brand_ids: vec!["ก".repeat(10_000); 16],
        replaces_event_id: long(),
        ..recording(0)
    };
    let all = AnalyzeSentimentRequest {
        text: long(),
        message_id: long(),
        language_code: long(),
        channel: 99,
        offset_encoding: 99,
        max_risk: Some(f32::MAX),
        recording: Some(recording),
        ..AnalyzeSentimentRequest::default()
    };
    refused("every field", texts.analyze_sentiment(all.clone()).await, "text");
    let batch = BatchAnalyzeSentimentRequest { requests: vec![all.clone()] };
    let results = texts.batch_analyze_sentiment(batch).await.expect("answered").into_inner().results;
    let Some(batch_analyze_sentiment_result::Outcome::Error(error)) = &results[0].outcome else {
        panic!("{results:?}")
    };
    refused_item("an item", error);
    // A message of a stream has room for a text that is too long, and not for everything.
    let too_long = AnalyzeSentimentRequest {
        text: "ก".repeat(30_000),
        message_id: "ก".repeat(10_000),
        language_code: "ก".repeat(10_000),
        ..AnalyzeSentimentRequest::default()
    };
    let stream = tokio_stream_of(StreamAnalyzeSentimentRequest { request: Some(too_long), in_order: false });
    let mut answers = texts.stream_analyze_sentiment(stream).await.expect("opened").into_inner();
    let answer = answers.message().await.expect("open").expect("an answer");
    assert_eq!(answer.message_id, "", "one that is too long is not given back");

    let event = ProfileEvent {
        event_id: long(),
        customer_id: long(),
        brand_ids: vec![],
        felt: Some(Felt::Text(String::new())),
        ..ProfileEvent::default()
    };
    let request = RecordEventsRequest { events: vec![event] };
    let results = profiles.record_events(request).await.expect("answered").into_inner().results;
    assert_eq!(results[0].event_id, "", "one that is too long is not given back");

    let speaker_roles = [(long(), 1)].into();
    let chat = AnalyzeConversationRequest { speaker_roles, ..AnalyzeConversationRequest::default() };
    refused("a speaker", conversations.analyze_conversation(chat).await, "speaker_roles");
    let unsend = StreamConversationRequest {
        event: Some(stream_conversation_request::Event::UnsendMessageId("ก".repeat(60_000))),
    };
    let mut answers =
        conversations.stream_conversation(tokio_stream_of(unsend)).await.expect("opened").into_inner();
    let answer = answers.message().await.expect("open").expect("an answer");
    let Some(stream_conversation_response::Outcome::Error(error)) = &answer.outcome else {
        panic!("{answer:?}")
    };
    refused_item("an id that was not sent", error);
    server.stop().await.expect("a clean stop");
}

fn tokio_stream_of<T: Send + 'static>(message: T) -> impl futures_util::Stream<Item = T> + Send + 'static {
    futures_util::stream::iter([message])
}

#[tokio::test]
async fn no_name_prefix_or_token_is_too_long_for_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::keeping(folder.path()).await;
    let Clients { mut profiles, .. } = Clients::of(&server).await;
    for bytes in [300, 65_500, 65_527, 65_535, 65_536, 1_000_000] {
        let long = || "a".repeat(bytes);
        let list = ListProfilesRequest { key_prefix: long(), ..ListProfilesRequest::default() };
        refused("a prefix", profiles.list_profiles(list).await, "key_prefix");
        let watch = WatchProfilesRequest { key_prefixes: vec![long()], ..WatchProfilesRequest::default() };
        refused("a watched prefix", profiles.watch_profiles(watch).await, "key_prefixes[0]");
        let key = ProfileKey { customer_id: long(), brand_id: long() };
        let watch = WatchProfilesRequest { keys: vec![key.clone()], ..WatchProfilesRequest::default() };
        refused("a watched key", profiles.watch_profiles(watch).await, "keys[0].customer_id");
        let get = GetProfileRequest { key: Some(key.clone()) };
        refused("a key", profiles.get_profile(get).await, "key.customer_id");
        let batch = BatchGetProfilesRequest { keys: vec![key] };
        let results = profiles.batch_get_profiles(batch).await.expect("answered").into_inner().results;
        let Some(batch_get_profiles_result::Outcome::Error(error)) = &results[0].outcome else {
            panic!("{results:?}")
        };
        refused_item("a key of several", error);
        let retract = RetractEventsRequest { event_ids: vec!["e".to_owned(), long()] };
        refused("an event id", profiles.retract_events(retract).await, "event_ids[1]");
        let erase = EraseSubjectRequest { customer_id: long(), erase_from_brands: true };
        refused("a subject", profiles.erase_subject(erase).await, "customer_id");
        let export = ExportSubjectRequest { customer_id: long(), ..ExportSubjectRequest::default() };
        refused("a subject", profiles.export_subject(export).await, "customer_id");
        let erasures = ListErasuresRequest { customer_id: long(), ..ListErasuresRequest::default() };
        refused("whose erasures", profiles.list_erasures(erasures).await, "customer_id");
        let erasures = ListErasuresRequest { page_token: long(), ..ListErasuresRequest::default() };
        refused("a page of erasures", profiles.list_erasures(erasures).await, "page_token");
        let list = ListProfilesRequest { page_token: long(), ..ListProfilesRequest::default() };
        refused("a page", profiles.list_profiles(list).await, "page_token");
        let resume_token = long().into_bytes();
        let watch = WatchProfilesRequest { resume_token, ..WatchProfilesRequest::default() };
        refused("a resume token", profiles.watch_profiles(watch).await, "resume_token");
    }
    let taken = record(&mut profiles, vec![event("after", "c", &["b"], 1, 0.5)]).await;
    assert_eq!(taken, [Ok(RecordStatus::Recorded)], "the store takes writes");
    server.stop().await.expect("a clean stop");
}

#[test]
fn the_store_refuses_a_key_of_any_length_without_panicking() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open(folder.path()).expect("it opens");
    let is_key_error = |error: StorageError| matches!(error, StorageError::Key { .. });
    for bytes in [65_536, 65_537, 1 << 20] {
        let long = vec![b'a'; bytes];
        assert!(disk.get(Table::Ledger, &long).is_err_and(is_key_error));
        for (from, to) in [(long.as_slice(), b"b".as_slice()), (b"a", &long)] {
            let found = disk.scan(Table::Ledger, from, to, Order::Ascending, 1);
            assert!(found.is_err_and(is_key_error));
        }
        for value in [Some(b"v".as_slice()), None] {
            assert!(disk.commit(&[(Table::Ledger, &long, value)]).is_err_and(is_key_error));
        }
    }
    assert!(disk.commit(&[(Table::Ledger, b"", Some(b"v"))]).is_err_and(is_key_error));
    // The longest is taken, and so is a write after all that was refused.
    let longest = vec![b'a'; 65_535];
    disk.commit(&[(Table::Ledger, &longest, Some(b"v"))]).expect("written");
    assert_eq!(disk.get(Table::Ledger, &longest).expect("read"), Some(b"v".to_vec()));
    // A range that ends before it begins holds nothing.
    let none = disk.scan(Table::Ledger, b"b", b"a", Order::Descending, 9).expect("read");
    assert_eq!(none, []);
}

/// A stream on which nothing is sent, held open.
async fn idle_stream(
    channel: &Channel,
) -> Result<(mpsc::Sender<StreamAnalyzeSentimentRequest>, Streaming<StreamAnalyzeSentimentResponse>), Status>
{
    let (send, mut sent) = mpsc::channel(1);
    let requests = futures_util::stream::poll_fn(move |context| sent.poll_recv(context));
    let answers = SentimentServiceClient::new(channel.clone()).stream_analyze_sentiment(requests).await?;
    Ok((send, answers.into_inner()))
}

#[tokio::test]
async fn idle_streams_leave_room_for_short_calls_and_for_health() {
    let config = ServerConfig { max_calls: 64, max_peer_calls: 8, ..server_config() };
    let server = Server::with(config, |_| Ok(scorer())).await;
    let channel = server.ready().await;
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(idle_stream(&channel).await.expect("streams get three quarters of a peer's calls"));
    }
    for _ in 0..3 {
        let refused = idle_stream(&channel).await.expect_err("no more of them");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let details = refused.get_error_details();
        assert_eq!(details.error_info().expect("a reason").reason, "TOO_MANY_CALLS");
        assert!(details.retry_info().is_some() && refused.message().contains("max_peer_calls"));
    }
    let text =
        AnalyzeSentimentRequest { text: "ดีมาก".to_owned(), ..AnalyzeSentimentRequest::default() };
    let mut texts = SentimentServiceClient::new(channel.clone());
    texts.analyze_sentiment(text.clone()).await.expect("short calls have room");
    wait_for_serving(channel.clone()).await;
    drop(held.pop());
    // The end of a stream reaches the server after the client.
    while idle_stream(&channel).await.is_err() {
        tokio::task::yield_now().await;
    }
    drop(held);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn idle_streams_end_with_a_reason() {
    let config = ServerConfig { stream_idle: Duration::from_millis(100), ..server_config() };
    let server = Server::with(config, |_| Ok(scorer())).await;
    let channel = server.ready().await;
    let reason = |status: Status| {
        assert_eq!(status.code(), Code::DeadlineExceeded);
        status.get_error_details().error_info().expect("a reason").reason.clone()
    };
    let (send, mut answers) = idle_stream(&channel).await.expect("opened");
    let ended = answers.message().await.expect_err("it ends by itself");
    assert_eq!(reason(ended), "STREAM_IDLE");
    drop(send);
    let (send, mut sent) = mpsc::channel::<StreamConversationRequest>(1);
    let events = futures_util::stream::poll_fn(move |context| sent.poll_recv(context));
    let mut conversations = ConversationServiceClient::new(channel);
    let mut answers = conversations.stream_conversation(events).await.expect("opened").into_inner();
    let ended = answers.message().await.expect_err("it ends by itself");
    assert_eq!(reason(ended), "STREAM_IDLE");
    drop(send);
    server.stop().await.expect("a clean stop");
}

/// A stream of reflection that asks for these symbols and stays open.
async fn reflected(
    channel: &Channel,
    symbols: Vec<String>,
) -> Result<Streaming<ServerReflectionResponse>, Status> {
    let requests = symbols.into_iter().map(|symbol| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(symbol)),
    });
    let requests = futures_util::stream::iter(requests).chain(futures_util::stream::pending());
    let answers = ServerReflectionClient::new(channel.clone()).server_reflection_info(requests).await?;
    Ok(answers.into_inner())
}

#[tokio::test]
async fn reflection_has_the_limits_of_other_services() {
    let config = ServerConfig { max_calls: 8, max_peer_calls: 8, ..server_config() };
    let server = Server::with(config, |_| Ok(scorer())).await;
    let channel = server.ready().await;
    for symbol in ["ก".repeat(1_300), "x".repeat(4_000)] {
        let mut answers = reflected(&channel, vec![symbol]).await.expect("open");
        let status = answers.message().await.expect_err("there is no such symbol");
        assert_eq!(status.code(), Code::NotFound);
        assert!(header_bytes(&status) < METADATA_BYTES, "{} bytes", header_bytes(&status));
    }
    for bytes in [5_000, 3_000_000] {
        let mut answers = reflected(&channel, vec!["x".repeat(bytes)]).await.expect("open");
        let status = answers.message().await.expect_err("a request names one symbol");
        let reason = status.get_error_details().error_info().expect("a reason").reason.clone();
        assert_eq!((status.code(), reason.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
        // No setting changes its limit.
        assert!(status.message().contains("4096 bytes") && !status.message().contains("--"), "{status}");
    }
    let mut held = Vec::new();
    for _ in 0..6 {
        let mut answers =
            reflected(&channel, vec!["arom.v1.SentimentService".to_owned()]).await.expect("open");
        answers.message().await.expect("answered").expect("a file");
        held.push(answers);
    }
    let refused = reflected(&channel, Vec::new()).await.expect_err("they are streams, and counted");
    assert_eq!(refused.get_error_details().error_info().expect("a reason").reason, "TOO_MANY_CALLS");
    drop(held);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn an_idle_stream_of_reflection_ends() {
    let config = ServerConfig { stream_idle: Duration::from_millis(100), ..server_config() };
    let server = Server::with(config, |_| Ok(scorer())).await;
    let channel = server.ready().await;
    let mut answers = reflected(&channel, Vec::new()).await.expect("open");
    let ended = answers.message().await.expect_err("it ends by itself");
    assert_eq!(ended.get_error_details().error_info().expect("a reason").reason, "STREAM_IDLE");
    server.stop().await.expect("a clean stop");
}
