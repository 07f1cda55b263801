//! Requests that cannot be read: each is refused with its reason, and the connection serves on.

use arom::grpc::ServerConfig;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient as Client;
use arom::grpc::v1::{AnalyzeSentimentRequest, BatchAnalyzeSentimentRequest, StreamAnalyzeSentimentRequest};
use futures_util::StreamExt as _;
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::support::{PATIENCE, Process, Raw, Server, metric, patient_raw, raw, scorer, server_config};

const ANALYZE: &str = "/arom.v1.SentimentService/AnalyzeSentiment";
const BATCH: &str = "/arom.v1.SentimentService/BatchAnalyzeSentiment";

/// Code, reason, and the field that is blamed.
fn seen(status: &Status) -> (Code, String, String) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    let field = details.bad_request().and_then(|bad| bad.field_violations.first());
    (status.code(), info.reason.clone(), field.map(|fault| fault.field.clone()).unwrap_or_default())
}

/// A field of bytes: its tag, and what it holds.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short");
    [&[number << 3 | 2, length], bytes].concat()
}

#[tokio::test]
async fn bytes_that_are_not_the_message_are_invalid_and_name_the_field() {
    let server = Server::start().await;
    let channel = server.ready().await;
    let not_utf8 = field(1, b"\xE0\xB8");
    for (method, bytes, blamed) in [
        (ANALYZE, not_utf8.clone(), "text"),
        (ANALYZE, field(2, b"\xFF"), "message_id"),
        (BATCH, field(1, &not_utf8), "requests.text"),
        // A length that goes past the end.
        (ANALYZE, vec![0x0A, 0x7F, b'a'], "text"),
        // A number where a string belongs.
        (ANALYZE, vec![0x08, 0x01], "text"),
        // A message where a number belongs.
        (ANALYZE, field(3, b"ab"), "channel"),
        // A time whose bytes end in the middle.
        ("/arom.v1.ProfileService/RecordEvents", field(1, &field(2, &[0x08])), "events.event_time.seconds"),
        // A tag that no field has, and one that ends early.
        (ANALYZE, vec![0x00], ""),
        (ANALYZE, vec![0xFF], ""),
        (BATCH, vec![0x0A], "requests"),
    ] {
        let status = raw(channel.clone(), method, bytes.clone()).await.expect_err("it cannot be read");
        let wanted = (Code::InvalidArgument, "UNREADABLE_MESSAGE".to_owned(), blamed.to_owned());
        assert_eq!(seen(&status), wanted, "{bytes:x?}: {status}");
    }
    // Unknown fields are skipped, as protobuf wants.
    raw(channel, ANALYZE, field(15, b"later")).await.expect("answered");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_stream_whose_message_cannot_be_read_ends_with_the_same_status() {
    let server = Server::start().await;
    let mut client = tonic::client::Grpc::new(server.ready().await);
    for method in [
        "/arom.v1.SentimentService/StreamAnalyzeSentiment",
        "/arom.v1.ConversationService/StreamConversation",
    ] {
        client.ready().await.expect("the connection is open");
        let bad = futures_util::stream::iter([vec![0x08, 0x01]]);
        let path = PathAndQuery::from_static(method);
        let mut answers =
            client.streaming(Request::new(bad), path, Raw).await.expect("it opens").into_inner();
        let status = answers.message().await.expect_err("it cannot be read");
        assert_eq!(seen(&status).1, "UNREADABLE_MESSAGE", "{method}: {status}");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_call_that_takes_one_message_gets_no_second() {
    let server = Server::start().await;
    let channel = server.ready().await;
    let one = AnalyzeSentimentRequest { text: "ดี".to_owned(), ..AnalyzeSentimentRequest::default() };
    let two = futures_util::stream::iter([one.encode_to_vec(), one.encode_to_vec()]);
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("the connection is open");
    let status = client
        .client_streaming(Request::new(two), PathAndQuery::from_static(ANALYZE), Raw)
        .await
        .expect_err("it takes one");
    assert_eq!(seen(&status), (Code::InvalidArgument, "UNREADABLE_MESSAGE".to_owned(), String::new()));
    Client::new(channel).analyze_sentiment(one).await.expect("the connection serves on");
    server.stop().await.expect("a clean stop");
}

/// A message that says how long it is, and does not end.
fn endless(bytes: usize) -> impl futures_util::Stream<Item = Vec<u8>> {
    futures_util::stream::iter([vec![b'x'; bytes]]).chain(futures_util::stream::pending())
}

#[tokio::test]
async fn a_deadline_passes_while_the_message_is_not_whole() {
    let server = Server::start().await;
    server.ready().await;
    let mut client = patient_raw(&server.address);
    client.ready().await.expect("the connection is open");
    let mut request = Request::new(endless(100));
    request.metadata_mut().insert("grpc-timeout", MetadataValue::from_static("50m"));
    let call = client.client_streaming(request, PathAndQuery::from_static(ANALYZE), Raw);
    let late = tokio::time::timeout(PATIENCE, call).await.expect("it ends by itself").expect_err("late");
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_long_request_to_health_is_refused_by_what_its_head_says() {
    let server = Server::start().await;
    let mut client = tonic::client::Grpc::new(server.ready().await);
    for method in ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"] {
        client.ready().await.expect("the connection is open");
        let call =
            client.client_streaming(Request::new(endless(2000)), PathAndQuery::from_static(method), Raw);
        let refused = tokio::time::timeout(PATIENCE, call).await.expect("before its end").expect_err("long");
        assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_message_of_a_stream_is_no_longer_than_a_text_and_what_goes_with_it() {
    let server = Server::start().await;
    let channel = server.ready().await;
    let request = |bytes: usize| StreamAnalyzeSentimentRequest {
        request: Some(AnalyzeSentimentRequest {
            text: "a".repeat(bytes),
            ..AnalyzeSentimentRequest::default()
        }),
        in_order: false,
    };
    let most = server_config().max_text_bytes;
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut client = Client::new(channel.clone());
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
        }
        // A text that is too long is refused by itself, one that is far too long with its stream.
        let requests = futures_util::stream::iter([request(most + 1), request(10), request(4 * most)]);
        let mut answers = client.stream_analyze_sentiment(requests).await.expect("it opens").into_inner();
        let mut codes = Vec::new();
        let end = loop {
            match answers.message().await {
                Ok(answer) => codes.push(answer.expect("the last is refused").index),
                Err(status) => break status,
            }
        };
        codes.sort_unstable();
        assert_eq!((codes, seen(&end).1.as_str()), (vec![0, 1], "MESSAGE_TOO_LARGE"), "{end}");
    }
    server.stop().await.expect("a clean stop");
}

/// A server that takes messages of so many bytes.
async fn taking(bytes: usize) -> Server {
    let config = ServerConfig { max_message_bytes: bytes, ..server_config() };
    Server::with(config, |_| Ok(scorer())).await
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_for_good_and_names_the_setting() {
    let server = taking(10_000).await;
    let channel = server.ready().await;
    // As long as is taken, and one byte more: three of them are not text.
    let request = |bytes: usize| AnalyzeSentimentRequest {
        text: "a".repeat(bytes - 3),
        ..AnalyzeSentimentRequest::default()
    };
    assert_eq!(request(10_000).encoded_len(), 10_000);
    let mut client = Client::new(channel.clone());
    client.analyze_sentiment(request(10_000)).await.expect("it is taken");
    let mut squeezed = Client::new(channel.clone()).send_compressed(CompressionEncoding::Gzip);
    squeezed.analyze_sentiment(request(10_000)).await.expect("it is taken");
    for client in [&mut client, &mut squeezed] {
        let status = client.analyze_sentiment(request(10_001)).await.expect_err("too large");
        assert_eq!(seen(&status), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned(), String::new()));
        assert!(status.message().contains("10000 bytes"), "{status}");
        assert!(status.message().contains("server.max_message_bytes"), "{status}");
        let details = status.get_error_details();
        let info = details.error_info().expect("details");
        assert_eq!(info.metadata.get("max_message_bytes").map(String::as_str), Some("10000"));
        assert!(details.retry_info().is_none());
        // gRPC's own retry policies would send it again otherwise.
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms"), Some(&MetadataValue::from_static("-1")));
    }
    client.analyze_sentiment(request(100)).await.expect("the connection serves on");
    server.stop().await.expect("a clean stop");
}

/// Eight requests at once of 64 MB each in some 64 KB: inflated they would take 512 MB.
#[tokio::test]
async fn a_bomb_is_inflated_no_further_than_a_message_may_be_long() {
    let mut server = Process::start(&[]);
    server.wait_for("ready");
    let channel = Channel::from_shared(format!("http://{}", server.address)).expect("an address");
    let channel = channel.connect().await.expect("it listens");
    let peak = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim();
        line.split(' ').next()?.parse::<u64>().ok()
    };
    let bomb = vec![0; 64 << 20];
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let calls = (0..8).map(|_| {
            let mut client = tonic::client::Grpc::new(channel.clone()).send_compressed(encoding);
            let bomb = bomb.clone();
            async move {
                client.ready().await.expect("the connection is open");
                client.unary(Request::new(bomb), PathAndQuery::from_static(ANALYZE), Raw).await
            }
        });
        let before = peak();
        for answer in futures_util::future::join_all(calls).await {
            let status = answer.expect_err("too large");
            assert_eq!(seen(&status).1, "MESSAGE_TOO_LARGE", "{status}");
        }
        let grown = peak().zip(before).map(|(after, before)| after - before);
        assert!(grown.is_none_or(|kilobytes| kilobytes < 150_000), "{encoding}: grew by {grown:?} KB");
    }
}

#[tokio::test]
async fn compression_is_told_apart_from_what_is_not() {
    let server = Server::start().await;
    let channel = server.ready().await;
    let call = async |encoding: &'static str, bytes: Vec<u8>| {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.expect("the connection is open");
        let mut request = Request::new(bytes);
        request.metadata_mut().insert("grpc-encoding", MetadataValue::from_static(encoding));
        client.unary(request, PathAndQuery::from_static(ANALYZE), Raw).await
    };
    let status = call("snappy", Vec::new()).await.expect_err("nobody knows it here");
    assert_eq!((seen(&status).0, seen(&status).1.as_str()), (Code::Unimplemented, "UNKNOWN_COMPRESSION"));
    let accepted = status.metadata().get("grpc-accept-encoding").expect("it says what it knows");
    assert_eq!(accepted, "gzip,zstd,identity");
    // Named, but not used for this message: that is allowed.
    call("gzip", field(1, "ดี".as_bytes())).await.expect("answered");
    call("identity", field(1, "ดี".as_bytes())).await.expect("answered");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn what_could_not_be_read_is_counted() {
    let (server, metrics) = Server::measured(server_config(), &arom::scoring::ScoringConfig::default()).await;
    let channel = server.ready().await;
    let unread = "arom_unread_requests_total{reason=\"UNREADABLE_MESSAGE\"}";
    raw(channel, ANALYZE, vec![0xFF]).await.expect_err("it cannot be read");
    assert!((metric(&metrics, unread) - 1.0).abs() < 1e-9);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_missing_text_and_an_empty_one_are_the_same_bytes_and_the_answer_says_empty() {
    let server = Server::start().await;
    let channel = server.ready().await;
    let empty = AnalyzeSentimentRequest { text: String::new(), ..AnalyzeSentimentRequest::default() };
    assert_eq!(empty.encode_to_vec(), b"", "proto3 sends no empty string");
    // The second spells the empty text out, as some clients do.
    for bytes in [Vec::new(), field(1, b"")] {
        let answer = raw(channel.clone(), ANALYZE, bytes).await.expect("answered");
        let answer = arom::grpc::v1::AnalyzeSentimentResponse::decode(answer.as_slice()).expect("an answer");
        assert_eq!(answer.content(), arom::grpc::v1::TextContent::Empty);
    }
    let batch = BatchAnalyzeSentimentRequest { requests: vec![empty] };
    let answer = Client::new(channel).batch_analyze_sentiment(batch).await.expect("answered").into_inner();
    assert_eq!(answer.results.len(), 1);
    server.stop().await.expect("a clean stop");
}
