//! Profiles over gRPC: events once, features at once, and what a customer may ask for.

use std::time::Duration;

use arom::grpc::v1::profile_event::Felt;
use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::record_event_result::Outcome;
use arom::grpc::v1::{
    BatchGetProfilesRequest, Channel as Written, EraseSubjectRequest, ExportSubjectRequest, FeaturePresence,
    FeatureValue, GetProfileRequest, Profile, ProfileEvent, ProfileKey, RecordEventsRequest, RecordStatus,
    RetractEventsRequest, RetractStatus, ScoredText, SentimentLabel, batch_get_profiles_result,
};
use prost_types::Timestamp;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::support::{Server, server_config};

type Client = ProfileServiceClient<Channel>;

/// So many seconds ago.
fn ago(seconds: u64) -> Option<Timestamp> {
    let time = jiff::Timestamp::now() - Duration::from_secs(seconds);
    Some(Timestamp { seconds: time.as_second(), nanos: 0 })
}

pub fn event(id: &str, customer: &str, brands: &[&str], seconds: u64, score: f32) -> ProfileEvent {
    let label = if score < 0.0 { SentimentLabel::Negative } else { SentimentLabel::Positive };
    ProfileEvent {
        event_id: id.to_owned(),
        event_time: ago(seconds),
        customer_id: customer.to_owned(),
        brand_ids: brands.iter().map(|brand| (*brand).to_owned()).collect(),
        channel: Written::LineChat.into(),
        felt: Some(Felt::Scored(ScoredText { label: label.into(), score })),
        replaces_event_id: String::new(),
    }
}

/// How each event ended: taken, there already, or the code of its status.
pub async fn record(client: &mut Client, events: Vec<ProfileEvent>) -> Vec<Result<RecordStatus, Code>> {
    let answer = client.record_events(RecordEventsRequest { events }).await.expect("an answer").into_inner();
    let ended = |outcome: Option<Outcome>| match outcome.expect("an outcome") {
        Outcome::Status(status) => Ok(RecordStatus::try_from(status).expect("known")),
        Outcome::Error(status) => Err(Code::from_i32(status.code)),
    };
    answer.results.into_iter().map(|result| ended(result.outcome)).collect()
}

fn key(customer: &str, brand: &str) -> Option<ProfileKey> {
    Some(ProfileKey { customer_id: customer.to_owned(), brand_id: brand.to_owned() })
}

async fn profile(client: &mut Client, customer: &str, brand: &str) -> Result<Profile, Code> {
    let answer = client.get_profile(GetProfileRequest { key: key(customer, brand) }).await;
    answer.map(|answer| answer.into_inner().profile.expect("a profile")).map_err(|status| status.code())
}

fn count(profile: &Profile, window: usize) -> i64 {
    profile.windows[window].counts.as_ref().expect("counts").total
}

fn present(value: &Option<FeatureValue>) -> f64 {
    let value = value.as_ref().expect("a value");
    assert_eq!(value.presence(), FeaturePresence::Present);
    value.value
}

#[tokio::test]
async fn events_become_features_at_once_and_outlive_the_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    let events = vec![
        event("e1", "c", &["b"], 30, -0.8),
        event("e2", "c", &["b", "b2"], 20, -0.6),
        event("e3", "d", &["b"], 3 * 86_400, 0.5),
    ];
    let taken = Ok(RecordStatus::Recorded);
    assert_eq!(record(&mut client, events.clone()).await, [taken, taken, taken]);
    assert_eq!(record(&mut client, events).await, [Ok(RecordStatus::Duplicate); 3]);
    let brand = profile(&mut client, "", "b").await.expect("known");
    assert_eq!((count(&brand, 0), count(&brand, 1), count(&brand, 2), count(&brand, 5)), (2, 2, 3, 3));
    assert!((present(&brand.windows[5].mean_score) + 0.3).abs() < 1e-6);
    assert!(brand.negative_run == 2 && present(&brand.days_since_negative) == 0.0);
    assert!(present(&brand.trend) < 0.0 && present(&brand.last_score) < -0.59);
    let pair = profile(&mut client, "c", "b2").await.expect("known");
    assert_eq!((count(&pair, 0), pair.windows[0].counts.as_ref().expect("counts").line_chat), (1, 1));
    assert_eq!(profile(&mut client, "x", "").await, Err(Code::NotFound));
    server.stop().await.expect("a clean stop");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    let again = profile(&mut client, "", "b").await.expect("known");
    assert_eq!(count(&again, 5), 3);
    let keys = vec![key("c", "").expect("a key"), key("x", "").expect("a key"), ProfileKey::default()];
    let found =
        client.batch_get_profiles(BatchGetProfilesRequest { keys }).await.expect("an answer").into_inner();
    let codes: Vec<i32> = found
        .results
        .into_iter()
        .map(|result| match result.outcome.expect("an outcome") {
            batch_get_profiles_result::Outcome::Profile(_) => 0,
            batch_get_profiles_result::Outcome::Error(status) => status.code,
        })
        .collect();
    assert_eq!(codes, [0, Code::NotFound as i32, Code::InvalidArgument as i32]);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn texts_are_scored_on_the_way_in_and_bad_events_fail_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    let text = |id: &str, text: &str| ProfileEvent {
        felt: Some(Felt::Text(text.to_owned())),
        ..event(id, "c", &[], 10, 0.0)
    };
    let events = vec![
        text("t1", "บริการแย่มาก ผิดหวัง"),
        event("s1", "c", &["a/b"], 10, 0.5),
        text("t2", "อร่อยมาก ชอบสุด ๆ"),
        event("s2", "c", &[], 91 * 86_400, 0.5),
        ProfileEvent {
            event_time: Some(Timestamp { seconds: 4_000_000_000, nanos: 0 }),
            ..event("s3", "c", &[], 0, 0.5)
        },
        event("t1", "c", &[], 5, 0.5),
        ProfileEvent { replaces_event_id: "nothing".to_owned(), ..event("s4", "c", &[], 5, 0.5) },
        ProfileEvent { felt: None, ..event("", "", &[], 5, 0.5) },
        ProfileEvent { replaces_event_id: "t1".to_owned(), ..event("s5", "c", &[], 10, 0.9) },
        event("s6", "c", &[], 5, 7.0),
    ];
    assert_eq!(
        record(&mut client, events).await,
        [
            Ok(RecordStatus::Recorded),
            Err(Code::InvalidArgument),
            Ok(RecordStatus::Recorded),
            Err(Code::OutOfRange),
            Err(Code::OutOfRange),
            Err(Code::AlreadyExists),
            Err(Code::NotFound),
            Err(Code::InvalidArgument),
            Ok(RecordStatus::Recorded),
            Err(Code::InvalidArgument),
        ]
    );
    let found = profile(&mut client, "c", "").await.expect("known");
    let counts = found.windows[0].counts.expect("counts");
    assert_eq!((counts.total, counts.positive, counts.negative), (2, 2, 0), "t1 was replaced by s5");
    let retract = RetractEventsRequest { event_ids: ["t2", "t2", "t9"].map(str::to_owned).into() };
    let statuses = client.retract_events(retract).await.expect("an answer").into_inner();
    let wanted = [RetractStatus::Retracted, RetractStatus::AlreadyRetracted, RetractStatus::NotFound];
    assert_eq!(statuses.statuses().collect::<Vec<_>>(), wanted);
    assert_eq!(count(&profile(&mut client, "c", "").await.expect("known"), 0), 1);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_customer_gets_all_that_is_held_and_is_forgotten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    let events = vec![
        event("e1", "c", &["b"], 30, -0.8),
        event("e2", "c", &["b"], 20, 0.4),
        event("e3", "d", &["b"], 10, 0.4),
    ];
    record(&mut client, events.clone()).await;
    let export = ExportSubjectRequest { customer_id: "c".to_owned() };
    let held = client.export_subject(export.clone()).await.expect("an answer").into_inner();
    let found: Vec<ProfileEvent> = held.events.into_iter().filter_map(|held| held.event).collect();
    assert_eq!(found, events[..2]);
    assert_eq!(count(&held.profile.expect("a profile"), 5), 2);
    let erase = EraseSubjectRequest { customer_id: "c".to_owned(), erase_from_brands: false };
    let erased = client.erase_subject(erase).await.expect("an answer").into_inner();
    assert!(erased.event_count == 2 && erased.erase_time.is_some());
    let held = client.export_subject(export).await.expect("an answer").into_inner();
    assert!(held.events.is_empty() && held.profile.is_none());
    assert_eq!(profile(&mut client, "c", "b").await, Err(Code::NotFound));
    assert_eq!(count(&profile(&mut client, "", "b").await.expect("known"), 5), 3);
    assert_eq!(record(&mut client, vec![events[0].clone()]).await, [Err(Code::FailedPrecondition)]);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn many_at_once_are_all_counted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let client = Client::new(server.ready().await);
    let calls = (0..50).map(|call| {
        let mut client = client.clone();
        let name = |number: i32| format!("e{}", call * 10 + number);
        let events = (0..20).map(|number| event(&name(number), "c", &["b"], 10, 0.1)).collect();
        async move { record(&mut client, events).await }
    });
    // Half of each call's events are also in the next call.
    let ended = futures_util::future::join_all(calls).await;
    let taken = ended.iter().flatten().filter(|status| **status == Ok(RecordStatus::Recorded)).count();
    let fate = ended.iter().flatten().all(|status| {
        matches!(status, Ok(RecordStatus::Recorded | RecordStatus::Duplicate) | Err(Code::AlreadyExists))
    });
    assert_eq!((taken, fate), (510, true));
    let mut client = client.clone();
    assert_eq!(count(&profile(&mut client, "", "b").await.expect("known"), 5), 510);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_server_without_a_store_says_so() {
    let server = Server::with(server_config(), |_| Ok(crate::support::scorer())).await;
    let mut client = Client::new(server.ready().await);
    let status =
        client.get_profile(GetProfileRequest { key: key("c", "") }).await.expect_err("there is none");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.get_details_error_info().expect("details").reason, "PROFILES_OFF");
    server.stop().await.expect("a clean stop");
}

pub async fn erase(client: &mut Client, customer: &str) {
    let request = EraseSubjectRequest { customer_id: customer.to_owned(), erase_from_brands: false };
    client.erase_subject(request).await.expect("an answer");
}
