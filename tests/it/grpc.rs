//! The server as gRPC clients see it.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use arom::grpc::ServerConfig;
use arom::grpc::v1::batch_analyze_sentiment_result::Outcome;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::{
    AnalyzeSentimentRequest, AnalyzeSentimentResponse, BatchAnalyzeSentimentRequest,
    BatchAnalyzeSentimentResult, OffsetEncoding, SentimentLabel, TextContent,
};
use arom::scoring::{Features, Scored, Scorer, ScoringConfig};
use futures_util::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::example_client;
use crate::scripted::{Script, Turn};
use crate::support::{
    PATIENCE, Process, Server, count, eventually, http_get, repository, scorer, server_config, uncached,
    until, wait_for_serving,
};

type Client = SentimentServiceClient<Channel>;

/// Settings of a scripted model.
fn scripted(workers: usize) -> ScoringConfig {
    ScoringConfig { workers, ..uncached() }
}

fn text(text: &str) -> AnalyzeSentimentRequest {
    AnalyzeSentimentRequest { text: text.to_owned(), ..AnalyzeSentimentRequest::default() }
}

async fn one(
    client: &mut Client,
    request: AnalyzeSentimentRequest,
) -> Result<AnalyzeSentimentResponse, Status> {
    client.analyze_sentiment(request).await.map(tonic::Response::into_inner)
}

async fn batch(
    client: &mut Client,
    requests: Vec<AnalyzeSentimentRequest>,
) -> Result<Vec<BatchAnalyzeSentimentResult>, Status> {
    let batch = BatchAnalyzeSentimentRequest { requests };
    client.batch_analyze_sentiment(batch).await.map(|response| response.into_inner().results)
}

/// Reason of the error and the fields it blames.
fn blame(status: &Status) -> (String, Vec<String>) {
    let details = status.get_error_details();
    let info = details.error_info().expect("every error carries ErrorInfo");
    assert_eq!(info.domain, "arom.v1");
    let fields =
        details.bad_request().map(|bad| bad.field_violations.iter().map(|v| v.field.clone()).collect());
    (info.reason.clone(), fields.unwrap_or_default())
}

/// What does not depend on the clock.
fn timeless(mut response: AnalyzeSentimentResponse) -> AnalyzeSentimentResponse {
    response.timings = None;
    response
}

#[tokio::test]
async fn a_text_is_answered_in_full() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let request = AnalyzeSentimentRequest {
        message_id: "r-1".to_owned(), ..text("อาหารอร่อยมาก พนักงานน่ารัก")
    };
    let response = one(&mut client, request).await.expect("scored");
    let sentiment = response.sentiment.expect("a sentiment");
    let p = sentiment.probabilities.expect("probabilities");
    assert_eq!(response.message_id, "r-1");
    assert_eq!(response.content(), TextContent::Linguistic);
    assert_eq!(sentiment.label(), SentimentLabel::Positive);
    assert!((p.positive + p.neutral + p.negative + p.question - 1.0).abs() < 1e-5);
    assert!((sentiment.score - (p.positive - p.negative)).abs() < 1e-6);
    assert!((sentiment.magnitude - sentiment.score.abs()).abs() < 1e-6 && !sentiment.mixed);
    assert_eq!((response.language_code.as_str(), response.language_supported), ("th", true));
    assert_eq!(response.model_fingerprint, scorer().fingerprint());
    assert_eq!((response.window_count, response.windows.len()), (1, 0));
    assert!(response.token_count > 3);
    let timings = response.timings.expect("timings");
    let seconds =
        |d: Option<prost_types::Duration>| Duration::try_from(d.expect("measured")).expect("not negative");
    assert!(seconds(timings.infer_duration) > Duration::ZERO);
    assert!(seconds(timings.total_duration) >= seconds(timings.infer_duration));
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn one_bad_item_fails_no_other() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let bad = AnalyzeSentimentRequest { channel: 77, offset_encoding: -1, ..text(&"ก".repeat(30_000)) };
    let requests = vec![text("ดีมาก"), bad, text(""), text("แย่มาก")];
    let results = batch(&mut client, requests).await.expect("answered");
    assert_eq!(results.iter().map(|result| result.index).collect::<Vec<_>>(), [0, 1, 2, 3]);
    for (index, result) in results.into_iter().enumerate() {
        match result.outcome.expect("an outcome") {
            Outcome::Response(_) => assert_ne!(index, 1),
            Outcome::Error(status) => {
                assert_eq!((index, status.code), (1, Code::InvalidArgument as i32));
                let details = tonic_types::RpcStatusExt::get_error_details(&status);
                let fields = details.bad_request().expect("violations").field_violations.clone();
                let fields: Vec<String> = fields.into_iter().map(|violation| violation.field).collect();
                assert_eq!(fields, ["text", "channel", "offset_encoding"]);
                assert_eq!(details.error_info().expect("a reason").reason, "INVALID_REQUEST");
            }
        }
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn batch_unary_and_scorer_agree_to_the_bit() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let samples = std::fs::read_to_string(repository().join("examples/messages.jsonl")).expect("samples");
    let texts: Vec<String> = samples
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            value["text"].as_str().expect("a text").to_owned()
        })
        .collect();
    let results = batch(&mut client, texts.iter().map(|t| text(t)).collect()).await.expect("answered");
    let plain = texts.iter().map(|text| (text, Features::default()));
    let direct = scorer().score_all(plain).collect::<Vec<_>>().await;
    for ((sample, result), direct) in texts.iter().zip(results).zip(direct) {
        let Some(Outcome::Response(batched)) = result.outcome else { panic!("no answer for {sample}") };
        let alone = one(&mut client, text(sample)).await.expect("scored");
        assert_eq!(timeless(alone.clone()), timeless(batched));
        let Scored { sentiment, token_count, .. } = direct.expect("scored");
        let answered = alone.sentiment.expect("a sentiment");
        assert_eq!(answered.score.to_bits(), sentiment.score.to_bits());
        assert_eq!(usize::try_from(alone.token_count), Ok(token_count));
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn bad_requests_are_refused_with_every_field() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let check = async |client: &mut Client, request: AnalyzeSentimentRequest, wanted: &[&str]| {
        let status = one(client, request).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        let (reason, fields) = blame(&status);
        assert_eq!(
            (reason.as_str(), fields),
            ("INVALID_REQUEST", wanted.iter().map(ToString::to_string).collect())
        );
    };
    check(&mut client, text(&"ก".repeat(21_846)), &["text"]).await;
    check(&mut client, AnalyzeSentimentRequest { channel: 99, ..text("ดี") }, &["channel"]).await;
    check(&mut client, AnalyzeSentimentRequest { offset_encoding: 9, ..text("ดี") }, &["offset_encoding"])
        .await;
    let all = AnalyzeSentimentRequest {
        text: "ก".repeat(30_000),
        message_id: "x".repeat(129),
        channel: i32::MIN,
        language_code: "ไทย".to_owned(),
        offset_encoding: i32::MAX,
        features: None,
        max_risk: Some(1.5),
        recording: Some(arom::grpc::v1::Recording::default()),
    };
    check(
        &mut client,
        all,
        &[
            "text",
            "message_id",
            "language_code",
            "channel",
            "offset_encoding",
            "max_risk",
            "recording.event_id",
            "recording.event_time",
            "recording.customer_id",
        ],
    )
    .await;
    // A text of exactly the limit is taken. It is one long sign, of which the normaliser leaves little to infer.
    let longest = format!("{}a", "ก".repeat(21_845));
    assert_eq!(longest.len(), 65_536);
    one(&mut client, text(&longest)).await.expect("65,536 bytes are taken");

    for size in [0, 257] {
        let status = batch(&mut client, vec![text("ดี"); size]).await.expect_err("refused");
        assert_eq!((status.code(), blame(&status).1), (Code::InvalidArgument, vec!["requests".to_owned()]));
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_unread() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let status = one(&mut client, text(&"ก".repeat(2 << 20))).await.expect_err("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("4194304"), "the limit is named: {status}");
    one(&mut client, text("ดี")).await.expect("the connection still serves");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn text_without_language_has_a_defined_answer() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    for (sample, content) in [
        ("", TextContent::Empty),
        (" \n\u{200B}", TextContent::Empty),
        ("https://example.com/a @someone", TextContent::NonLinguistic),
        ("[สติกเกอร์]", TextContent::NonLinguistic),
    ] {
        let response = one(&mut client, text(sample)).await.expect("answered");
        let sentiment = response.sentiment.expect("a sentiment");
        assert_eq!(response.content(), content, "{sample:?}");
        assert_eq!(sentiment.label(), SentimentLabel::Neutral);
        assert_eq!(sentiment.probabilities.expect("four").neutral.to_bits(), 1.0_f32.to_bits());
        assert_eq!((sentiment.score, sentiment.magnitude, response.window_count), (0.0, 0.0, 0));
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_megabyte_of_combining_marks_is_harmless() {
    let config = ServerConfig { max_text_bytes: 2 << 20, ..server_config() };
    let server = Server::with(config, |_| Ok(scorer())).await;
    let mut client = Client::new(server.ready().await);
    for mark in ["\u{0E49}", "\u{0301}", "\u{0E34}\u{0E49}\u{0E4C}"] {
        let flood = mark.repeat((1 << 20) / mark.len());
        let response = one(&mut client, text(&format!("ดี{flood}"))).await.expect("answered");
        assert_eq!(response.window_count, 1);
    }
    server.stop().await.expect("a clean stop");

    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let status = one(&mut client, text(&"\u{0E49}".repeat(349_525))).await.expect_err("over the usual limit");
    assert_eq!(blame(&status).1, ["text"]);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_long_text_is_scored_in_windows_and_says_where() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let long = "อาหารอร่อยมาก 😀 บริการดี ".repeat(60) + &"แต่ที่จอดรถแย่มาก รอนานเกินไป ".repeat(60);
    for (encoding, length) in [
        (OffsetEncoding::Utf8, long.len()),
        (OffsetEncoding::Utf16, long.encode_utf16().count()),
        (OffsetEncoding::Utf32, long.chars().count()),
    ] {
        let request = AnalyzeSentimentRequest { offset_encoding: encoding.into(), ..text(&long) };
        let response = one(&mut client, request).await.expect("scored");
        let windows = &response.windows;
        assert!(
            response.window_count > 2
                && windows.len() == usize::try_from(response.window_count).expect("small")
        );
        let spans: Vec<(i32, i32)> =
            windows.iter().map(|w| w.span.map(|s| (s.begin_offset, s.end_offset)).expect("a span")).collect();
        assert_eq!(spans.first().map(|span| span.0), Some(0));
        // The text ends in a space, which is no token.
        assert_eq!(spans.last().and_then(|span| usize::try_from(span.1).ok()), Some(length - 1));
        for pair in spans.windows(2) {
            let [left, right] = pair else { unreachable!("windows of two") };
            assert!(left.0 < right.0 && right.0 < left.1, "neighbours overlap: {spans:?}");
        }
        let sentiment = response.sentiment.expect("a sentiment");
        assert!(sentiment.mixed, "praise and blame in one text: {windows:?}");
        let sum: f32 = windows.iter().map(|window| window.score.abs()).sum();
        assert!((sentiment.magnitude - sum).abs() < 1e-5);
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn the_language_is_guessed_or_taken_from_the_caller() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    for (sample, hint, code, supported) in [
        ("ดีมาก", "", "th", true),
        ("very good", "", "und", false),
        ("very good", "en", "en", false),
        ("555", "th-TH", "th-TH", true),
    ] {
        let request = AnalyzeSentimentRequest { language_code: hint.to_owned(), ..text(sample) };
        let response = one(&mut client, request).await.expect("scored");
        assert_eq!((response.language_code.as_str(), response.language_supported), (code, supported));
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn nothing_is_served_before_the_model_has_warmed_up() {
    let (open, gate) = mpsc::sync_channel::<()>(1);
    let gate = Mutex::new(gate);
    let load = move |_: Option<&Scorer>| {
        gate.lock().expect("one thread loads").recv().expect("the test opens the gate");
        Ok(scorer())
    };
    let server = Server::with(server_config(), load).await;
    let channel = server.channel().await;
    let status = one(&mut Client::new(channel.clone()), text("ดี")).await.expect_err("not ready");
    assert_eq!((status.code(), blame(&status).0.as_str()), (Code::Unavailable, "NOT_READY"));
    let watching = tokio::spawn(wait_for_serving(channel.clone()));
    // The watch has its first answer before the gate opens: another call on the connection came after it.
    let unready = tonic_health::pb::health_client::HealthClient::new(channel.clone())
        .check(tonic_health::pb::HealthCheckRequest { service: "arom.v1.SentimentService".to_owned() })
        .await
        .expect("health answers")
        .into_inner();
    assert_eq!(unready.status, 2, "NOT_SERVING");
    open.send(()).expect("the server waits");
    let seen = watching.await.expect("the watch ends");
    assert_eq!(seen.last(), Some(&1), "SERVING");
    one(&mut Client::new(channel), text("ดี")).await.expect("ready");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_ends_the_server() {
    let load = |_: Option<&Scorer>| Err(std::io::Error::other("no model today"));
    let server = Server::with(server_config(), load).await;
    let error = server.ended().await.expect_err("it failed");
    assert!(error.contains("model cannot be loaded"), "{error}");
}

#[tokio::test]
async fn a_deadline_is_kept() {
    let script = Script::new(Turn::Hold);
    let (server, _) = Server::scripted(server_config(), &scripted(2), &script).await;
    let mut client = Client::new(server.ready().await);
    let mut request = Request::new(text("รอนานมากกว่าจะได้กิน"));
    request.set_timeout(Duration::from_millis(20));
    let status = server.patient_client().analyze_sentiment(request).await.expect_err("too late");
    let (reason, _) = blame(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    script.all(Turn::Answer);
    one(&mut client, text("ดี")).await.expect("scored");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_large_batch_keeps_nobody_waiting() {
    let script = Script::new(Turn::Hold);
    let (server, metrics) = Server::scripted(server_config(), &scripted(1), &script).await;
    let (mut many, few) = (Client::new(server.ready().await), Client::new(server.channel().await));
    let long = text(&"รอนานมาก พนักงานไม่สนใจ ".repeat(30));
    let requests = vec![long; 200];
    let work = tokio::spawn(async move { batch(&mut many, requests).await });
    let waiting = || count(&metrics, "arom_queue_windows");
    // The worker has its first run, so that the queue stands still.
    script.begun(1).await;
    until(|| waiting() + script.rows() == 200).await;
    for _ in 0..5 {
        let (before, runs) = (waiting(), script.runs());
        let mut few = few.clone();
        let alone = tokio::spawn(async move { one(&mut few, text("ดีมาก")).await });
        until(|| waiting() == before + 1).await;
        // The run under way ends, at most one other goes before the single text, and then comes its own.
        script.release(3);
        alone.await.expect("no panic").expect("scored");
        // All three have ended, and the next one is held: the queue stands still.
        script.begun(runs + 3).await;
    }
    assert!(!work.is_finished() && waiting() > 100, "single texts go before most of the batch");
    script.all(Turn::Answer);
    work.await.expect("no panic").expect("answered");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_second_signal_ends_the_server_at_once() {
    let mut server = Process::start(&["--cache-bytes", "0", "--http-listen", "127.0.0.1:0"]);
    server.wait_for("ready");
    let http = server.http_address.clone().expect("it says where");
    // Minutes of work on two cores of any machine: the test never waits for it.
    let long = text(&"รอนานมาก พนักงานไม่สนใจ ".repeat(900));
    let mut calls = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(format!("http://{}", server.address)).await.expect("it listens");
        let requests = vec![long.clone(); 60];
        calls.push(tokio::spawn(async move { batch(&mut client, requests).await }));
    }
    let signal = |server: &Process| {
        let sent = std::process::Command::new("kill").arg(server.child.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
    };
    eventually(async || http_get(&http, "/metrics").await.1.contains("\narom_calls_in_flight 8\n")).await;
    signal(&server);
    server.wait_for("stopping");
    signal(&server);
    let ended = server.child.wait().expect("it ends");
    assert_eq!(ended.code(), Some(1));
    for call in calls {
        call.await.expect("no panic").expect_err("what was being answered is dropped");
    }
}

#[tokio::test]
async fn a_silent_connection_does_not_hold_up_the_end() {
    // Nothing else ends the connection while the test waits.
    let hour = Duration::from_secs(3600);
    let config =
        ServerConfig { keepalive: hour, keepalive_timeout: hour, shutdown_grace: hour, ..server_config() };
    let server = Server::with(config, |_| Ok(scorer())).await;
    let mut client = Client::new(server.ready().await);
    let address = server.address.strip_prefix("http://").expect("a URI").to_owned();
    let silent = tokio::net::TcpStream::connect(address).await.expect("it listens");
    one(&mut client, text("ดี")).await.expect("scored");
    let stopped = tokio::time::timeout(PATIENCE, server.stop()).await;
    stopped.expect("it does not wait for the silent one").expect("a clean stop");
    drop(silent);
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let script = Script::new(Turn::Hold);
    let config = ScoringConfig { inbox_tokens: 600, ..scripted(1) };
    let (server, metrics) = Server::scripted(server_config(), &config, &script).await;
    let channel = server.ready().await;
    let long = text(&"คิวยาวมากแต่คุ้มค่าที่รอ ".repeat(400));
    // An empty queue takes a text of any size.
    let (mut client, request) = (Client::new(channel.clone()), long.clone());
    let accepted = tokio::spawn(async move { one(&mut client, request).await });
    until(|| count(&metrics, "arom_queue_tokens") > 600).await;
    for _ in 0..6 {
        let status = one(&mut Client::new(channel.clone()), long.clone()).await.expect_err("it is full");
        assert_eq!((status.code(), blame(&status).0.as_str()), (Code::ResourceExhausted, "QUEUE_FULL"));
        let delay = status.get_error_details().retry_info().and_then(|info| info.retry_delay);
        assert!(delay.expect("a delay") > Duration::ZERO);
    }
    script.all(Turn::Answer);
    accepted.await.expect("no panic").expect("scored");
    // A batch larger than the queue waits for its own items instead of refusing them.
    let results = batch(&mut Client::new(channel), vec![text("รอได้ ไม่รีบ"); 200]).await.expect("answered");
    assert!(results.iter().all(|result| matches!(result.outcome, Some(Outcome::Response(_)))));
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn stopping_finishes_what_was_accepted() {
    let script = Script::new(Turn::Hold);
    let (server, metrics) = Server::scripted(server_config(), &scripted(1), &script).await;
    let mut client = Client::new(server.ready().await);
    let requests = vec![text(&"ร้านนี้ดีจริง ".repeat(40)); 64];
    let work = tokio::spawn(async move { batch(&mut client, requests).await });
    until(|| count(&metrics, "arom_queue_windows") + script.rows() == 64).await;
    let stopped = server.stop();
    script.all(Turn::Answer);
    let results = work.await.expect("no panic").expect("the batch is answered");
    assert_eq!(results.len(), 64);
    assert!(results.iter().all(|result| matches!(result.outcome, Some(Outcome::Response(_)))));
    stopped.await.expect("a clean stop");
}

#[tokio::test]
async fn the_rust_example_scores_the_samples() {
    let server = Server::start().await;
    server.ready().await;
    let samples = repository().join("examples/messages.jsonl").display().to_string();
    let lines = example_client::score_file(server.address.clone(), &samples).await.expect("scored");
    assert_eq!(lines.len(), 72);
    assert!(lines.iter().all(|line| !line.contains("error")), "{lines:?}");
    server.stop().await.expect("a clean stop");
}
