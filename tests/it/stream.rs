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
use arom::telemetry::Metrics;
use futures_util::stream;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::{RpcStatusExt, StatusExt};

use crate::scripted::{Script, Turn};
use crate::support::{Server, count, metric, server_config, uncached, until};

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

async fn open(client: &mut Client) -> Open {
    open_until(client, None).await.expect("it opens")
}

async fn open_until(client: &mut Client, timeout: Option<Duration>) -> Result<Open, Status> {
    let (send, mut items) = mpsc::channel(1024);
    let items = stream::poll_fn(move |context| items.poll_recv(context));
    let mut request = Request::new(items);
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    let answers = client.stream_analyze_sentiment(request).await?.into_inner();
    Ok(Open { send, answers })
}

/// A script that holds the runs of [`long`] texts and answers short ones.
fn hold_long() -> Script {
    let script = Script::new(Turn::Answer);
    script.each(|rows| if rows.iter().any(|row| row.len() > 60) { Turn::Hold } else { Turn::Answer });
    script
}

/// Settings of a scripted model.
fn scripted(workers: usize) -> ScoringConfig {
    ScoringConfig { workers, ..uncached() }
}

#[tokio::test]
async fn every_text_is_answered_once_as_it_is_done() {
    let script = hold_long();
    let (server, _) = Server::scripted(server_config(), &scripted(2), &script).await;
    let mut client = Client::new(server.ready().await);
    let Open { send, mut answers } = open(&mut client).await;
    send.send(long(0)).await.expect("the stream is open");
    for id in 1..300 {
        send.send(item(id, &format!("รอบที่ {id} อร่อยเหมือนเดิม"))).await.expect("the stream is open");
    }
    drop(send);
    let mut seen = Vec::new();
    // The model still has the first text when all others are answered.
    while seen.len() < 299 {
        seen.push(answers.message().await.expect("a clean answer").expect("an answer"));
    }
    assert!(seen.iter().all(|answer| answer.index > 0), "the first text is not done");
    script.all(Turn::Answer);
    while let Some(answer) = answers.message().await.expect("a clean end") {
        seen.push(answer);
    }
    assert_eq!(seen.last().map(|answer| answer.index), Some(0));
    seen.sort_by_key(|answer| answer.index);
    assert!(seen.iter().map(|answer| answer.index).eq(0..300), "each once");
    for answer in &seen {
        assert_eq!(answer.message_id, answer.index.to_string());
        let Some(Outcome::Response(response)) = &answer.outcome else { panic!("{answer:?}") };
        assert_eq!(response.message_id, answer.message_id);
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_stream_gives_the_numbers_of_single_calls_to_the_bit() {
    let server = Server::start().await;
    let mut client = Client::new(server.ready().await);
    let mut items: Vec<_> = (0..20).map(|id| item(id, &format!("รอบที่ {id} อร่อยเหมือนเดิม"))).collect();
    items.extend([long(20), item(21, "…")]);
    for answer in all(&mut client, items.clone()).await.expect("a clean end") {
        let Some(Outcome::Response(streamed)) = answer.outcome else { panic!("{answer:?}") };
        let index = usize::try_from(answer.index).expect("an index");
        let single = client.analyze_sentiment(items[index].request.clone().expect("a text")).await;
        assert_eq!(streamed.sentiment, single.expect("scored").into_inner().sentiment, "text {index}");
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn answers_come_in_order_if_the_first_message_asks() {
    let script = hold_long();
    let (server, metrics) = Server::scripted(server_config(), &scripted(2), &script).await;
    let mut client = Client::new(server.ready().await);
    let Open { send, mut answers } = open(&mut client).await;
    send.send(StreamAnalyzeSentimentRequest { in_order: true, ..long(0) }).await.expect("it is open");
    for id in 1..100 {
        send.send(item(id, &format!("รอบที่ {id} บริการดี"))).await.expect("the stream is open");
    }
    drop(send);
    // All others are done before the first one is.
    until(|| metric(&metrics, "arom_text_duration_seconds_count{step=\"total\"}") == 99.0).await;
    script.all(Turn::Answer);
    let mut seen = Vec::new();
    while let Some(answer) = answers.message().await.expect("a clean end") {
        seen.push(answer.index);
    }
    assert!(seen.into_iter().eq(0..100));
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
    const STREAMS: usize = 4;
    let config = ServerConfig { stream_window: 4, ..server_config() };
    // A queue that holds a handful of texts at most.
    let scoring = ScoringConfig { inbox_tokens: 512, max_wait: Duration::from_millis(1), ..scripted(1) };
    let script = Script::new(Turn::Hold);
    let (server, metrics) = Server::scripted(config, &scoring, &script).await;
    let channel = server.ready().await;
    let streams: Vec<_> = (0..STREAMS)
        .map(|_| {
            let mut client = Client::new(channel.clone());
            tokio::spawn(async move {
                all(&mut client, (0..30).map(|id| item(id, "ของดีบอกต่อ ราคาไม่แพง")).collect()).await
            })
        })
        .collect();
    until(|| waiting(&metrics) + script.rows() == STREAMS * 4).await;
    let mut most = 0;
    for run in 1.. {
        script.begun(run).await;
        most = most.max(waiting(&metrics));
        if script.rows() == STREAMS * 30 {
            break;
        }
        script.release(1);
    }
    script.all(Turn::Answer);
    for answers in streams {
        let answers = answers.await.expect("no panic").expect("a clean end");
        assert!(answers.iter().all(|answer| matches!(answer.outcome, Some(Outcome::Response(_)))));
        assert_eq!(answers.len(), 30);
    }
    assert!(most <= STREAMS * 4, "{most} texts of {STREAMS} streams with windows of 4 waited at once");
    assert_eq!(metric(&metrics, "arom_queue_refused_texts_total"), 0.0);
    let done = "arom_items_total{method=\"StreamAnalyzeSentiment\",status=\"OK\"}";
    assert_eq!(metric(&metrics, done), 120.0);
    server.stop().await.expect("a clean stop");
}

/// A server of one worker that is held, and a stream with so many texts in its queue.
async fn filled(script: &Script, texts: usize) -> (Server, Arc<Metrics>, Open) {
    let (server, metrics) = Server::scripted(server_config(), &scripted(1), script).await;
    let mut client = Client::new(server.ready().await);
    let open = open(&mut client).await;
    for id in 0..texts {
        open.send.send(long(id)).await.expect("the stream is open");
    }
    // The worker has its first run, so that the queue stands still.
    script.begun(1).await;
    until(|| waiting(&metrics) + script.rows() == texts).await;
    (server, metrics, open)
}

/// Texts of one window each that wait for a worker.
fn waiting(metrics: &Metrics) -> usize {
    count(metrics, "arom_queue_windows")
}

const CANCELLED: &str = "arom_queue_cancelled_windows_total";

#[tokio::test]
async fn a_caller_who_cancels_frees_the_work() {
    let script = Script::new(Turn::Hold);
    let (server, metrics, open) = filled(&script, 120).await;
    let (waited, running) = (waiting(&metrics), script.rows());
    assert!(waited > 60, "a run takes few of them: {running}");
    drop(open);
    until(|| waiting(&metrics) == 0).await;
    assert_eq!(count(&metrics, CANCELLED), waited);
    script.all(Turn::Answer);
    until(|| metric(&metrics, "arom_calls_in_flight") == 0.0).await;
    let ended = "arom_request_duration_seconds_count{method=\"StreamAnalyzeSentiment\",status=\"CANCELLED\"}";
    assert_eq!(metric(&metrics, ended), 1.0);
    server.stop().await.expect("a clean stop");
    assert_eq!(script.rows(), running, "nothing of the rest was run");
}

#[tokio::test]
async fn a_deadline_ends_a_stream_and_frees_the_work() {
    // Longer and longer, until a deadline leaves the server the time to queue the texts first.
    for timeout in (0..).map(|doubling| Duration::from_millis(100 << doubling)) {
        let script = Script::new(Turn::Hold);
        let (server, metrics) = Server::scripted(server_config(), &scripted(1), &script).await;
        let mut client = Client::new(server.ready().await);
        let Ok(Open { send, mut answers }) = open_until(&mut client, Some(timeout)).await else {
            script.all(Turn::Answer);
            server.stop().await.expect("a clean stop");
            continue;
        };
        for id in 0..50 {
            // A deadline that has passed closes the stream.
            send.send(long(id)).await.unwrap_or_default();
        }
        let ended = answers.message();
        let queued = until(|| waiting(&metrics) + script.rows() == 50);
        let (end, queued) = tokio::select! {
            biased;
            () = queued => (answers.message().await, true),
            end = ended => (end, false),
        };
        assert_eq!(end.expect_err("the model answers nothing").code(), Code::DeadlineExceeded);
        let running = script.rows();
        until(|| waiting(&metrics) == 0).await;
        script.all(Turn::Answer);
        drop(send);
        server.stop().await.expect("a clean stop");
        assert_eq!(script.rows(), running, "nothing of the rest was run");
        if queued {
            assert_eq!(count(&metrics, CANCELLED), 50 - running);
            return;
        }
    }
}

#[tokio::test]
async fn a_stopping_server_answers_what_it_has_read_and_says_so() {
    let script = Script::new(Turn::Hold);
    let (server, _, Open { send, mut answers }) = filled(&script, 40).await;
    let stopped = server.stop();
    let stopped = tokio::spawn(stopped);
    script.all(Turn::Answer);
    let mut seen = 0;
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
    let script = Script::new(Turn::Hold);
    let (server, metrics, open) = filled(&script, 120).await;
    for id in 0..5 {
        let (before, runs) = (waiting(&metrics), script.runs());
        let mut few = Client::new(server.channel().await);
        let request = item(id, "ดีมาก").request.expect("a text");
        let alone = tokio::spawn(async move { few.analyze_sentiment(request).await });
        until(|| waiting(&metrics) == before + 1).await;
        // The run under way ends, at most one other goes before the single text, and then comes its own.
        script.release(3);
        alone.await.expect("no panic").expect("scored");
        // All three have ended, and the next one is held: the queue stands still.
        script.begun(runs + 3).await;
    }
    assert!(waiting(&metrics) > 60, "five single texts went before most of the stream");
    drop(open);
    script.all(Turn::Answer);
    server.stop().await.expect("a clean stop");
}
