//! `StreamAnalyzeSentiment`: texts in, answers out, both as long as the caller likes.

use std::sync::Arc;
use std::time::Duration;

use arom::grpc::ServerConfig;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::stream_analyze_sentiment_response::Outcome;
use arom::grpc::v1::{
    AnalyzeSentimentRequest, StreamAnalyzeSentimentRequest, StreamAnalyzeSentimentResponse,
};
use arom::scoring::ScoringConfig;
use futures_util::stream;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::{RpcStatusExt, StatusExt};

use crate::support::{Server, metric, server_config, uncached, until};

type Client = SentimentServiceClient<Channel>;

fn item(id: usize, text: &str) -> StreamAnalyzeSentimentRequest {
    let request = AnalyzeSentimentRequest {
        text: text.to_owned(),
        message_id: id.to_string(),
        ..AnalyzeSentimentRequest::default()
    };
    StreamAnalyzeSentimentRequest { request: Some(request), in_order: false }
}

fn long(id: usize) -> StreamAnalyzeSentimentRequest {
    item(id, &format!("ร้านที่ {id} {}", "รอนานมาก พนักงานไม่สนใจลูกค้าเลย ".repeat(15)))
}

/// Sends everything, half-closes, and gathers the answers.
async fn all(
    client: &mut Client,
    items: Vec<StreamAnalyzeSentimentRequest>,
) -> Result<Vec<StreamAnalyzeSentimentResponse>, Status> {
    let mut answers = client.stream_analyze_sentiment(stream::iter(items)).await?.into_inner();
    let mut seen = Vec::new();
    while let Some(answer) = answers.message().await? {
        seen.push(answer);
    }
    Ok(seen)
}

/// A stream that stays open: where to send texts, and where answers come.
struct Open {
    send: mpsc::Sender<StreamAnalyzeSentimentRequest>,
    answers: tonic::Streaming<StreamAnalyzeSentimentResponse>,
}

async fn open(client: &mut Client, timeout: Option<Duration>) -> Open {
    let (send, mut items) = mpsc::channel(1024);
    let items = stream::poll_fn(move |context| items.poll_recv(context));
    let mut request = Request::new(items);
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    let answers = client.stream_analyze_sentiment(request).await.expect("it opens").into_inner();
    Open { send, answers }
}

#[tokio::test]
async fn every_text_is_answered_once_as_it_is_done() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let mut items: Vec<_> = (0..300).map(|id| item(id, &format!("รอบที่ {id} อร่อยเหมือนเดิม"))).collect();
    items[0] = item(0, &"รอนานมาก พนักงานไม่สนใจลูกค้าเลย ".repeat(400));
    // The model has nothing to say about these, so they wait for nobody.
    items[1] = item(1, "…");
    let answers = all(&mut client, items).await.expect("a clean end");
    let mut ids: Vec<i64> = answers.iter().map(|answer| answer.index).collect();
    assert_ne!(ids[0], 0, "the long first text does not hold up what is done before it");
    ids.sort_unstable();
    assert_eq!(ids, (0..300).collect::<Vec<_>>());
    for answer in &answers {
        assert_eq!(answer.message_id, answer.index.to_string());
        let Some(Outcome::Response(response)) = &answer.outcome else { panic!("{answer:?}") };
        assert_eq!(response.message_id, answer.message_id);
    }
    // The same numbers as a single call, to the bit.
    let single = client.analyze_sentiment(item(7, "รอบที่ 7 อร่อยเหมือนเดิม").request.expect("a text")).await;
    let single = single.expect("scored").into_inner().sentiment;
    let streamed = answers.into_iter().find(|answer| answer.index == 7).and_then(|answer| answer.outcome);
    assert!(matches!(streamed, Some(Outcome::Response(response)) if response.sentiment == single));
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn answers_come_in_order_if_the_first_message_asks() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let mut items: Vec<_> = (0..100).map(|id| item(id, &format!("รอบที่ {id} บริการดี"))).collect();
    items[0] = StreamAnalyzeSentimentRequest { in_order: true, ..long(0) };
    let answers = all(&mut client, items).await.expect("a clean end");
    assert!(answers.iter().map(|answer| answer.index).eq(0..100));
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_bad_text_is_answered_with_its_status_and_ends_nothing() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let nothing = StreamAnalyzeSentimentRequest::default();
    let items = vec![item(0, "ดี"), item(1, &"ก".repeat(30_000)), nothing, item(3, "แย่")];
    let mut answers = all(&mut client, items).await.expect("a clean end");
    answers.sort_by_key(|answer| answer.index);
    let mut blamed = Vec::new();
    for answer in answers {
        if let Some(Outcome::Error(status)) = answer.outcome {
            assert_eq!(status.code, Code::InvalidArgument as i32);
            let details = status.get_error_details();
            assert_eq!(details.error_info().expect("a reason").reason, "INVALID_REQUEST");
            let bad = details.bad_request().expect("violations");
            blamed.push((answer.index, bad.field_violations[0].field.clone()));
        }
    }
    assert_eq!(blamed, [(1, "text".to_owned()), (2, "request".to_owned())]);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn an_empty_stream_ends_well() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    assert_eq!(all(&mut client, Vec::new()).await.expect("a clean end"), []);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_stream_is_read_no_further_than_its_window_and_never_refused() {
    let config = ServerConfig { stream_window: 4, ..server_config() };
    // A queue that holds a handful of texts at most.
    let scoring = ScoringConfig { inbox_tokens: 512, max_wait: Duration::from_millis(1), ..uncached() };
    let (server, metrics) = Server::measured(config, &scoring).await;
    let channel = server.ready().await;
    let streams: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Client::new(channel.clone());
            tokio::spawn(async move {
                all(&mut client, (0..30).map(|id| item(id, "ของดีบอกต่อ ราคาไม่แพง")).collect()).await
            })
        })
        .collect();
    for answers in streams {
        let answers = answers.await.expect("no panic").expect("a clean end");
        assert!(answers.iter().all(|answer| matches!(answer.outcome, Some(Outcome::Response(_)))));
        assert_eq!(answers.len(), 30);
    }
    assert_eq!(metric(&metrics, "arom_queue_refused_texts_total"), 0.0);
    let done = "arom_items_total{method=\"StreamAnalyzeSentiment\",status=\"OK\"}";
    assert_eq!(metric(&metrics, done), 120.0);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_caller_who_cancels_frees_the_work() {
    let (server, metrics) = Server::measured(server_config(), &uncached()).await;
    let mut client = Client::new(server.ready().await);
    let Open { send, answers } = open(&mut client, None).await;
    for id in 0..200 {
        send.send(long(id)).await.expect("the stream is open");
    }
    let level = || metric(&metrics, "arom_queue_windows");
    // More than are asked for below: some are run before all are dropped.
    until(|| level() > 150.0).await;
    drop((send, answers));
    until(|| level() == 0.0).await;
    let cancelled = metric(&metrics, "arom_queue_cancelled_windows_total");
    let run = metric(&metrics, "arom_batch_rows_sum");
    assert!(cancelled > 100.0 && run < 100.0, "{cancelled} cancelled, {run} run");
    until(|| metric(&metrics, "arom_calls_in_flight") == 0.0).await;
    let ended = "arom_request_duration_seconds_count{method=\"StreamAnalyzeSentiment\",status=\"CANCELLED\"}";
    assert_eq!(metric(&metrics, ended), 1.0);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_deadline_ends_a_stream_and_frees_the_work() {
    let (server, metrics) = Server::measured(server_config(), &uncached()).await;
    let mut client = Client::new(server.ready().await);
    let Open { send, mut answers } = open(&mut client, Some(Duration::from_millis(150))).await;
    for id in 0..200 {
        send.send(long(id)).await.expect("the stream is open");
    }
    let end = loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended well"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::DeadlineExceeded);
    until(|| metric(&metrics, "arom_queue_windows") == 0.0).await;
    assert!(metric(&metrics, "arom_queue_cancelled_windows_total") > 50.0);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_stopping_server_answers_what_it_has_read_and_says_so() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let Open { send, mut answers } = open(&mut client, None).await;
    for id in 0..40 {
        send.send(long(id)).await.expect("the stream is open");
    }
    // The first answer says that the rest has been read as well: all of them fit into the window.
    answers.message().await.expect("a clean answer").expect("an answer");
    let stopped = tokio::spawn(server.stop());
    let mut seen = 1;
    let end = loop {
        match answers.message().await {
            Ok(Some(answer)) => {
                assert!(matches!(answer.outcome, Some(Outcome::Response(_))));
                seen += 1;
            }
            Ok(None) => panic!("the stream ended as if nothing had happened"),
            Err(status) => break status,
        }
    };
    assert_eq!((seen, end.code()), (40, Code::Unavailable));
    assert_eq!(end.get_error_details().error_info().expect("a reason").reason, "STOPPING");
    drop(send);
    stopped.await.expect("no panic").expect("a clean stop");
}

#[tokio::test]
async fn a_stream_keeps_nobody_waiting() {
    let (server, metrics) = Server::measured(server_config(), &uncached()).await;
    let mut client = Client::new(server.ready().await);
    let Open { send, answers } = open(&mut client, None).await;
    for id in 0..200 {
        send.send(long(id)).await.expect("the stream is open");
    }
    let metrics = Arc::clone(&metrics);
    until(|| metric(&metrics, "arom_queue_windows") > 150.0).await;
    let mut few = Client::new(server.channel().await);
    for id in 0..5 {
        let request = item(id, "ดีมาก").request.expect("a text");
        few.analyze_sentiment(request).await.expect("scored");
    }
    let left = metric(&metrics, "arom_queue_windows");
    assert!(left > 50.0, "five single texts went before most of the stream; {left} were left");
    drop((send, answers));
    server.stop().await.expect("a clean stop");
}
