//! `grpc.health.v1` as its protocol describes it, seen by a client that is not ours.

use std::collections::BTreeMap;

use arom::grpc::Parts;
use arom::grpc::v1::AnalyzeSentimentRequest;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use prost::Message;
use tokio::runtime::Builder;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::support::{Server, raw, scorer, server_config};

/// The answer of `List`, which tonic-health does not know.
#[derive(Clone, PartialEq, Message)]
struct Listed {
    #[prost(btree_map = "string, message", tag = "1")]
    statuses: BTreeMap<String, tonic_health::pb::HealthCheckResponse>,
}

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn an_unknown_service_is_not_found_by_check() {
    let server = Server::start().await;
    let mut client = HealthClient::new(server.ready().await);
    let status = client.check(about("arom.v1.Nothing")).await.expect_err("unknown");
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.get_details_error_info().expect("details").reason, "SERVICE_UNKNOWN");
    assert!(status.message().contains("arom.v1.SentimentService"), "it says which there are: {status}");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_watch_of_an_unknown_service_says_so_and_stays_open_until_the_server_stops() {
    let server = Server::start().await;
    let channel = server.ready().await;
    let mut client = HealthClient::new(channel.clone());
    let mut watch = client.watch(about("arom.v1.Nothing")).await.expect("it opens").into_inner();
    let first = watch.message().await.expect("an answer").expect("it is open");
    assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    // Other calls on the connection are answered meanwhile, and the watch has nothing more to say.
    let mut known = client.watch(about("")).await.expect("it opens").into_inner();
    assert_eq!(
        known.message().await.expect("an answer").expect("it is open").status(),
        ServingStatus::Serving
    );
    let (next, stopped) = tokio::join!(watch.message(), server.stop());
    assert_eq!(next.expect("a clean end"), None, "nothing was said in between");
    stopped.expect("a clean stop");
}

#[tokio::test]
async fn list_gives_every_service_with_its_status() {
    let server = Server::start().await;
    let channel = server.ready().await;
    let answer = raw(channel, "/grpc.health.v1.Health/List", Vec::new()).await.expect("listed");
    let listed = Listed::decode(answer.as_slice()).expect("a HealthListResponse");
    let listed: Vec<(&str, ServingStatus)> =
        listed.statuses.iter().map(|(service, of)| (service.as_str(), of.status())).collect();
    // This server keeps no profiles.
    assert_eq!(
        listed,
        [
            ("", ServingStatus::Serving),
            ("arom.profile.clock", ServingStatus::NotServing),
            ("arom.v1.ConversationService", ServingStatus::Serving),
            ("arom.v1.ProfileService", ServingStatus::NotServing),
            ("arom.v1.SentimentService", ServingStatus::Serving),
        ]
    );
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn health_is_answered_while_calls_hold_all_of_their_threads() {
    let calls = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a thread");
    let parts = Parts { calls: Some(calls.handle().clone()), ..Parts::default() };
    let server = Server::start_with(server_config(), parts, |_| Ok(scorer())).await;
    let channel = server.ready().await;
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (let_go, held) = std::sync::mpsc::sync_channel::<()>(0);
    calls.spawn(async move {
        begun.send(()).expect("the test waits");
        held.recv().expect("the test lets go");
    });
    has_begun.await.expect("it begins");
    let mut client = SentimentServiceClient::new(channel.clone());
    let text =
        AnalyzeSentimentRequest { text: "ดีมาก".to_owned(), ..AnalyzeSentimentRequest::default() };
    let call = tokio::spawn(async move { client.analyze_sentiment(text).await });
    let mut health = HealthClient::new(channel);
    for _ in 0..100 {
        let answer = health.check(about("")).await.expect("answered").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    assert!(!call.is_finished(), "calls run on threads of their own");
    let_go.send(()).expect("it is held");
    call.await.expect("no panic").expect("scored");
    server.stop().await.expect("a clean stop");
    calls.shutdown_background();
}

#[tokio::test]
async fn watches_use_up_no_room_of_checks() {
    let server = Server::start().await;
    server.ready().await;
    let mut open = Vec::new();
    // A connection has room for some hundred calls.
    'open: loop {
        let mut client = HealthClient::new(server.channel().await);
        for _ in 0..100 {
            match client.watch(about("")).await {
                Ok(watch) => open.push(watch.into_inner()),
                Err(refused) => {
                    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
                    break 'open;
                }
            }
        }
        assert!(open.len() < 2000, "one address may not watch as often as it likes");
    }
    assert!(open.len() > 500, "{} watches", open.len());
    let mut client = HealthClient::new(server.channel().await);
    client.check(about("")).await.expect("checks have room of their own");
    drop(open);
    server.stop().await.expect("a clean stop");
}
