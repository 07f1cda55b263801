//! Asked for more than it can do, the server says so at once and does what it accepted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arom::grpc::ServerConfig;
use arom::grpc::v1::AnalyzeSentimentRequest;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::scoring::ScoringConfig;
use futures_util::future::join_all;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::support::{Server, metric, server_config, uncached, until};

type Client = SentimentServiceClient<Channel>;

fn text(text: &str) -> AnalyzeSentimentRequest {
    AnalyzeSentimentRequest { text: text.to_owned(), ..AnalyzeSentimentRequest::default() }
}

/// Reason of a refusal and when to come back.
fn refusal(status: &Status) -> (String, Duration) {
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    let delay = details.retry_info().and_then(|info| info.retry_delay).expect("a delay");
    let pushback = status.metadata().get("grpc-retry-pushback-ms").expect("for gRPC's own retries");
    assert_eq!(pushback.to_str().expect("ASCII"), delay.as_millis().to_string());
    (details.error_info().expect("a reason").reason.clone(), delay)
}

#[tokio::test]
async fn more_calls_than_the_server_takes_are_refused_at_once() {
    let config = ServerConfig { max_calls: 2, ..server_config() };
    let (server, metrics) = Server::measured(config, &uncached()).await;
    let channel = server.ready().await;
    let long = text(&"รอนานมากกว่าจะได้กิน ".repeat(1000));
    let work: Vec<_> = (0..2)
        .map(|_| {
            let (mut client, request) = (Client::new(channel.clone()), long.clone());
            tokio::spawn(async move { client.analyze_sentiment(request).await })
        })
        .collect();
    until(|| metric(&metrics, "arom_calls_in_flight") == 2.0).await;
    let status = Client::new(channel.clone()).analyze_sentiment(text("ดี")).await.expect_err("refused");
    assert_eq!(refusal(&status).0, "TOO_MANY_CALLS");
    for call in work {
        call.await.expect("no panic").expect("what was accepted is answered");
    }
    Client::new(channel).analyze_sentiment(text("ดี")).await.expect("there is room again");
    let refused =
        "arom_request_duration_seconds_count{method=\"AnalyzeSentiment\",status=\"RESOURCE_EXHAUSTED\"}";
    assert_eq!(metric(&metrics, refused), 1.0);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn who_would_wait_too_long_is_told_when_to_come_back() {
    let scoring = ScoringConfig { max_wait: Duration::from_millis(60), ..uncached() };
    let (server, metrics) = Server::measured(server_config(), &scoring).await;
    let channel = server.ready().await;
    let request = text(&"คิวยาวมากแต่คุ้มค่าที่รอ ".repeat(10));
    let calls = (0..200).map(|_| {
        let (mut client, request) = (Client::new(channel.clone()), request.clone());
        async move { client.analyze_sentiment(request).await }
    });
    let mut accepted = 0;
    let mut refused = 0;
    for answer in join_all(calls).await {
        match answer {
            Ok(_) => accepted += 1,
            Err(status) => {
                let (reason, delay) = refusal(&status);
                assert_eq!(reason, "QUEUE_FULL");
                assert!(delay >= Duration::from_millis(10), "{delay:?}");
                refused += 1;
            }
        }
    }
    // 64 may always wait, and the workers had one or two; a few more fit while those were done.
    assert!(refused > 50 && accepted >= 64, "{refused} refused, {accepted} accepted");
    assert_eq!(metric(&metrics, "arom_queue_refused_texts_total"), f64::from(refused));
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_deadline_that_has_passed_costs_nothing_and_one_that_passes_frees_the_work() {
    let (server, metrics) = Server::measured(server_config(), &uncached()).await;
    server.ready().await;
    let late = |timeout: &str| {
        let mut request = Request::new(text(&"รอนานมากกว่าจะได้กิน ".repeat(1000)));
        request.metadata_mut().insert("grpc-timeout", timeout.parse().expect("a header"));
        let mut client = server.patient_client();
        async move { client.analyze_sentiment(request).await.expect_err("too late").code() }
    };
    assert_eq!(late("1m").await, Code::DeadlineExceeded);
    assert_eq!(metric(&metrics, "arom_text_duration_seconds_count{step=\"total\"}"), 0.0);
    assert_eq!(metric(&metrics, "arom_queue_cancelled_windows_total"), 0.0, "it was never queued");
    let many = join_all((0..4).map(|_| late("120m"))).await;
    // tonic's own timer says CANCELLED; on a machine with more work than cores it may run before ours.
    let late = [Code::DeadlineExceeded, Code::Cancelled];
    assert!(many.iter().all(|code| late.contains(code)), "{many:?}");
    until(|| metric(&metrics, "arom_queue_windows") == 0.0).await;
    assert!(metric(&metrics, "arom_queue_cancelled_windows_total") > 50.0);
    let metrics = Arc::clone(&metrics);
    until(|| metric(&metrics, "arom_calls_in_flight") == 0.0).await;
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let mut request = Request::new(text("ดี"));
    request.metadata_mut().insert("x-large", "x".repeat(20_000).parse().expect("a header"));
    client.analyze_sentiment(request).await.expect_err("refused");
    Client::new(server.channel().await).analyze_sentiment(text("ดี")).await.expect("others are served");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn an_old_connection_moves_on_and_no_call_fails() {
    let config = ServerConfig { max_connection_age: Duration::from_millis(300), ..server_config() };
    let server = Server::with(config, |_| Ok(crate::support::scorer())).await;
    let mut client = Client::new(server.ready().await);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) {
        client.analyze_sentiment(text("ดี")).await.expect("the channel connects anew by itself");
    }
    server.stop().await.expect("a clean stop");
}
