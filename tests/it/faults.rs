//! A model that fails, and workers that die.

use std::sync::Arc;

use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::{AnalyzeSentimentRequest, BatchAnalyzeSentimentRequest, batch_analyze_sentiment_result};
use arom::scoring::{Features, ScoreError, ScoringConfig};
use arom::telemetry::Metrics;
use futures_util::future::join_all;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::scripted::{Script, Turn};
use crate::support::{Server, metric, server_config, uncached};

fn text(text: &str) -> AnalyzeSentimentRequest {
    AnalyzeSentimentRequest { text: text.to_owned(), ..AnalyzeSentimentRequest::default() }
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_error_details().error_info().expect("a reason").reason.clone())
}

fn inference_failed() -> (Code, String) {
    (Code::Internal, "INFERENCE_FAILED".to_owned())
}

#[tokio::test]
async fn a_failed_run_fails_its_texts_and_no_others() {
    for turn in [Turn::Fail, Turn::Short] {
        let script = Script::new(turn);
        let (server, _) = Server::scripted(server_config(), &uncached(), &script).await;
        let mut client = SentimentServiceClient::new(server.ready().await);
        let status = client.analyze_sentiment(text("ดีมาก")).await.expect_err("it failed");
        assert_eq!(reason(&status), inference_failed(), "{turn:?}");
        assert!(!status.message().contains("script"), "the cause is for the log: {}", status.message());
        // The second text is empty, so it needs no model.
        let requests = vec![text("แย่มาก"), text("")];
        let batch = BatchAnalyzeSentimentRequest { requests };
        let results = client.batch_analyze_sentiment(batch).await.expect("an answer").into_inner().results;
        let codes = results.into_iter().map(|result| match result.outcome.expect("an outcome") {
            batch_analyze_sentiment_result::Outcome::Response(_) => Code::Ok as i32,
            batch_analyze_sentiment_result::Outcome::Error(status) => status.code,
        });
        assert_eq!(codes.collect::<Vec<_>>(), [Code::Internal as i32, Code::Ok as i32], "{turn:?}");
        script.all(Turn::Answer);
        client.analyze_sentiment(text("ดีมาก")).await.expect("the worker goes on");
        server.stop().await.expect("a clean stop");
    }
}

#[tokio::test]
async fn a_worker_that_dies_takes_its_own_texts_and_health_says_so() {
    let script = Script::new(Turn::Panic);
    let config = ScoringConfig { workers: 2, ..uncached() };
    let (server, metrics) = Server::scripted(server_config(), &config, &script).await;
    let channel = server.ready().await;
    let mut client = SentimentServiceClient::new(channel.clone());
    let status = client.analyze_sentiment(text("ดีมาก")).await.expect_err("its worker died");
    assert_eq!(reason(&status), inference_failed());
    script.all(Turn::Answer);
    client.analyze_sentiment(text("ดีมาก")).await.expect("the other worker goes on");
    let request = HealthCheckRequest { service: String::new() };
    let mut health = HealthClient::new(channel).watch(request).await.expect("it begins").into_inner();
    while health.message().await.expect("the watch goes on").expect("a status").status()
        != ServingStatus::NotServing
    {}
    assert_eq!(metric(&metrics, "arom_queue_windows"), 0.0);
    drop(health);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn without_workers_every_text_is_answered_at_once() {
    let script = Script::new(Turn::Hold);
    let config = ScoringConfig { workers: 1, ..uncached() };
    let metrics = Arc::<Metrics>::default();
    let scorer = script.scorer(&config, Arc::clone(&metrics));
    let texts: Vec<String> = (0..50).map(|id| format!("รอบที่ {id} {}", "บริการดี ".repeat(id))).collect();
    let waiting = join_all(texts.iter().map(|text| scorer.score(text, Features::default())));
    let dying = async {
        script.begun(1).await;
        script.all(Turn::Panic);
    };
    let (answers, ()) = tokio::join!(waiting, dying);
    assert!(answers.iter().all(|answer| matches!(answer, Err(ScoreError::WorkerLost))), "{answers:?}");
    assert!(!scorer.is_whole());
    let late = scorer.score("มาทีหลัง", Features::default()).await;
    assert!(matches!(late, Err(ScoreError::WorkerLost)), "{late:?}");
    assert_eq!(metric(&metrics, "arom_queue_windows"), 0.0);
    assert_eq!(script.runs(), 1, "the rest was never run");
}
