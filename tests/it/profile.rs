//! Profiles over gRPC: events once, features at once, and what a customer may ask for.

use std::time::Duration;

use arom::grpc::v1::profile_event::Felt;
use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::record_event_result::Outcome;
use arom::grpc::v1::{
    BatchGetProfilesRequest, Channel as Written, EraseSubjectRequest, ExportSubjectRequest, FeaturePresence,
    FeatureValue, GetProfileRequest, ListErasuresRequest, Profile, ProfileEvent, ProfileKey,
    RecordEventsRequest, RecordStatus, RetractEventsRequest, RetractStatus, ScoredText, SentimentLabel,
    batch_get_profiles_result,
};
use arom::profile::Upkeep;
use prost_types::Timestamp;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::{RpcStatusExt, StatusExt};

use crate::support::{Server, server_config, until};

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
    let export = ExportSubjectRequest { customer_id: "c".to_owned(), ..ExportSubjectRequest::default() };
    let held = client.export_subject(export.clone()).await.expect("an answer").into_inner();
    let found: Vec<ProfileEvent> = held.events.into_iter().filter_map(|held| held.event).collect();
    assert_eq!(found, events[..2]);
    assert_eq!(count(&held.profile.expect("a profile"), 5), 2);
    assert_eq!(held.brand_profiles.iter().map(|pair| pair.key.clone()).collect::<Vec<_>>(), [key("c", "b")]);
    let erase = EraseSubjectRequest { customer_id: "c".to_owned(), erase_from_brands: false };
    let erased = client.erase_subject(erase).await.expect("an answer").into_inner();
    assert!(erased.event_count == 2 && erased.erase_time.is_some());
    let held = client.export_subject(export).await.expect("an answer").into_inner();
    assert!(held.events.is_empty() && held.profile.is_none() && held.brand_profiles.is_empty());
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

#[tokio::test]
async fn texts_are_recorded_as_they_are_scored_and_once() {
    use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
    use arom::grpc::v1::{
        AnalyzeSentimentRequest, BatchAnalyzeSentimentRequest, Recording, batch_analyze_sentiment_result,
        record_outcome,
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let channel = server.ready().await;
    let (mut texts, mut client) = (SentimentServiceClient::new(channel.clone()), Client::new(channel));
    let time = ago(30);
    let request = |id: &str, text: &str| AnalyzeSentimentRequest {
        text: text.to_owned(),
        channel: Written::Review.into(),
        recording: Some(Recording {
            event_id: id.to_owned(),
            event_time: time,
            customer_id: "c".to_owned(),
            brand_ids: vec!["b".to_owned()],
            replaces_event_id: String::new(),
        }),
        ..AnalyzeSentimentRequest::default()
    };
    let status = |record: Option<arom::grpc::v1::RecordOutcome>| match record.expect("asked for").outcome {
        Some(record_outcome::Outcome::Status(status)) => Ok(RecordStatus::try_from(status).expect("known")),
        Some(record_outcome::Outcome::Error(status)) => Err(Code::from_i32(status.code)),
        None => panic!("no outcome"),
    };
    let bad = "บริการแย่มาก รอนานเป็นชั่วโมง";
    let one = texts.analyze_sentiment(request("t1", bad)).await.expect("an answer").into_inner();
    let score = one.sentiment.expect("a sentiment").score;
    assert_eq!(status(one.record), Ok(RecordStatus::Recorded));
    // The same event in each of the other ways is the same event.
    let event = ProfileEvent {
        event_time: time,
        channel: Written::Review.into(),
        felt: Some(Felt::Text(bad.to_owned())),
        ..event("t1", "c", &["b"], 30, 0.0)
    };
    assert_eq!(record(&mut client, vec![event]).await, [Ok(RecordStatus::Duplicate)]);
    let plain = AnalyzeSentimentRequest { text: "ดี".to_owned(), ..AnalyzeSentimentRequest::default() };
    let requests = vec![request("t1", bad), plain, request("t2", "อร่อยมาก ชอบสุด ๆ"), request("t1", "อื่น ๆ")];
    let batch = texts.batch_analyze_sentiment(BatchAnalyzeSentimentRequest { requests });
    let results = batch.await.expect("an answer").into_inner().results.into_iter();
    let records: Vec<_> = results
        .map(|result| match result.outcome {
            Some(batch_analyze_sentiment_result::Outcome::Response(response)) => response.record,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(records[1].is_none());
    assert_eq!(status(records[0].clone()), Ok(RecordStatus::Duplicate));
    assert_eq!(status(records[2].clone()), Ok(RecordStatus::Recorded));
    assert_eq!(status(records[3].clone()), Err(Code::AlreadyExists));
    let found = profile(&mut client, "c", "b").await.expect("known");
    let counts = found.windows[0].counts.expect("counts");
    assert_eq!((counts.total, counts.negative, counts.review), (2, 1, 2));
    assert!(score < 0.0);
    server.stop().await.expect("a clean stop");
}

/// Texts with `recording`, in each of the three ways; of each whether it has a score, and how its recording ended.
async fn scored_and_recorded(channel: Channel, id: &str) -> Vec<(bool, Result<i32, tonic_types::Status>)> {
    use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
    use arom::grpc::v1::{
        AnalyzeSentimentRequest, AnalyzeSentimentResponse, BatchAnalyzeSentimentRequest, Recording,
        StreamAnalyzeSentimentRequest, batch_analyze_sentiment_result, record_outcome,
        stream_analyze_sentiment_response,
    };
    let mut texts = SentimentServiceClient::new(channel);
    let request = |part: &str| AnalyzeSentimentRequest {
        text: "อาหารมาช้า แต่พนักงานน่ารัก".to_owned(),
        recording: Some(Recording {
            event_id: format!("{id}-{part}"),
            event_time: ago(30),
            customer_id: "c".to_owned(),
            ..Recording::default()
        }),
        ..AnalyzeSentimentRequest::default()
    };
    let plain = AnalyzeSentimentRequest { text: "ดี".to_owned(), ..AnalyzeSentimentRequest::default() };
    let shown = |response: AnalyzeSentimentResponse| {
        let recorded = match response.record.expect("it was asked for").outcome.expect("an outcome") {
            record_outcome::Outcome::Status(status) => Ok(status),
            record_outcome::Outcome::Error(error) => Err(error),
        };
        (response.sentiment.is_some(), recorded)
    };
    let one = texts.analyze_sentiment(request("one")).await.expect("it is scored").into_inner();
    let mut all = vec![shown(one)];
    let requests = vec![request("first"), plain, request("last")];
    let batch = texts.batch_analyze_sentiment(BatchAnalyzeSentimentRequest { requests }).await;
    for result in batch.expect("they are scored").into_inner().results {
        let Some(batch_analyze_sentiment_result::Outcome::Response(response)) = result.outcome else {
            panic!("{result:?}")
        };
        if result.index == 1 {
            assert!(response.sentiment.is_some() && response.record.is_none());
        } else {
            all.push(shown(response));
        }
    }
    let message = StreamAnalyzeSentimentRequest { request: Some(request("stream")), in_order: false };
    let mut stream = texts
        .stream_analyze_sentiment(futures_util::stream::iter([message]))
        .await
        .expect("opened")
        .into_inner();
    let answer = stream.message().await.expect("open").expect("an answer");
    let Some(stream_analyze_sentiment_response::Outcome::Response(response)) = answer.outcome else {
        panic!("{answer:?}")
    };
    all.push(shown(response));
    all
}

#[tokio::test]
async fn a_text_is_scored_where_it_cannot_be_recorded() {
    let off = Server::with(server_config(), |_| Ok(crate::support::scorer())).await;
    for (is_scored, record) in scored_and_recorded(off.ready().await, "off").await {
        let error = record.expect_err("nothing is kept there");
        assert_eq!((is_scored, error.code), (true, Code::FailedPrecondition.into()));
        assert_eq!(error.get_details_error_info().expect("details").reason, "PROFILES_OFF");
        assert!(error.get_details_retry_info().is_none(), "it would be refused again");
    }
    off.stop().await.expect("a clean stop");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().display().to_string();
    let server = crate::support::Process::start_ignoring_size(&["--profile-store", &store]);
    let channel = Channel::from_shared(format!("http://{}", server.address)).expect("an address");
    let channel = channel.connect().await.expect("it listens");
    crate::support::wait_for_serving(channel.clone()).await;
    limit_files(&server, "1");
    for (is_scored, record) in scored_and_recorded(channel.clone(), "full").await {
        let error = record.expect_err("the disk is full");
        assert_eq!((is_scored, error.code), (true, Code::Unavailable.into()));
        assert_eq!(error.get_details_error_info().expect("details").reason, "STORE_UNAVAILABLE");
        assert!(error.get_details_retry_info().expect("when to try again").retry_delay.is_some());
    }
    limit_files(&server, "unlimited");
    let mut client = Client::new(channel.clone());
    // What was not recorded is sent again as events, and is new.
    let resent = || RecordEventsRequest { events: vec![event("full-one", "c", &[], 30, 0.5)] };
    let recorded = loop {
        match client.record_events(resent()).await {
            Ok(response) => break response.into_inner().results,
            Err(status) => assert_eq!(status.code(), Code::Unavailable),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let status = RecordStatus::Recorded.into();
    assert_eq!(
        recorded[0].outcome,
        Some(arom::grpc::v1::record_event_result::Outcome::Status(status)),
        "{recorded:?}"
    );
    let again = scored_and_recorded(channel, "healed").await;
    assert!(again.iter().all(|(is_scored, record)| *is_scored && *record == Ok(status)), "{again:?}");
}

#[tokio::test]
async fn customers_go_by_other_names_if_that_is_wanted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = folder.path().join("key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef").expect("written");
    let store = folder.path().join("store");
    let (key, store_name) = (key.display().to_string(), store.display().to_string());
    let server = crate::support::Process::start(&[
        "--profile-store",
        &store_name,
        "--profile-pseudonym-key-file",
        &key,
    ]);
    let channel = Channel::from_shared(format!("http://{}", server.address)).expect("an address");
    let mut client = Client::new(channel.connect().await.expect("it listens"));
    record(&mut client, vec![event("e1", "Uwho-it-is", &["b"], 30, 0.5)]).await;
    let named = profile(&mut client, "Uwho-it-is", "").await.expect("known");
    let other = named.key.expect("a key").customer_id;
    assert!(other.starts_with("pseudonym-"), "{other}");
    assert_eq!(count(&profile(&mut client, &other, "b").await.expect("known"), 5), 1);
    server.stop();
    let mut bytes = Vec::new();
    for path in files(&store) {
        bytes.extend(std::fs::read(path).expect("readable"));
    }
    let has = |name: &str| bytes.windows(name.len()).any(|part| part == name.as_bytes());
    assert!(has("pseudonym-") && !has("Uwho-it-is"));
    // Under another key nobody would be found, and erasing them would do nothing.
    let other = folder.path().join("other");
    std::fs::write(&other, "fedcba9876543210fedcba9876543210").expect("written");
    let other = other.display().to_string();
    for (flags, said) in [
        (vec!["--profile-pseudonym-key-file", &other], "has another key"),
        (vec![], "has no profile.pseudonym_key_file"),
    ] {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--profile-store", &store_name];
        let ended = std::process::Command::new(env!("CARGO_BIN_EXE_arom")).args(serve).args(flags).output();
        let ended = ended.expect("it runs");
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.code() == Some(1) && told.contains(said), "{told}");
    }
}

/// A line of a dump may take another's event back, as a call may.
#[tokio::test]
async fn an_imported_correction_is_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    record(&mut client, vec![event("e1", "c", &["b"], 30, 0.5)]).await;
    let time = jiff::Timestamp::now();
    let line = serde_json::json!({
        "event_id": "e2", "replaces_event_id": "e1", "time": time.to_string(), "customer": "c", "brand": "b",
        "label": "negative", "score": -0.5,
    });
    // As an address or as an URL.
    let (address, dump) = (server.address.clone(), line.to_string());
    let import = move || crate::support::run(&["profile", "import", "--server", &address, "-"], &dump);
    let output = tokio::task::spawn_blocking(import).await.expect("it ran");
    assert!(output.status.success(), "{}", crate::support::stderr(&output));
    let found = profile(&mut client, "c", "b").await.expect("known");
    assert_eq!((count(&found, 5), present(&found.last_score)), (1, -0.5));
    server.stop().await.expect("a clean stop");
}

/// Every file below a folder.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn the_bytes_of_whom_was_erased_leave_the_disk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A second attempt that waited a minute could come too late for this test.
    let upkeep = Upkeep { scrub: Duration::ZERO, ..Upkeep::default() };
    let clock = arom::profile::system_clock();
    let server = Server::keeping_by(folder.path(), server_config(), clock, upkeep).await;
    let mut client = Client::new(server.ready().await);
    record(
        &mut client,
        vec![event("Eventoferased", "Uerased", &["b"], 30, 0.5), event("e2", "d", &["b"], 30, 0.5)],
    )
    .await;
    let on_disk = |name: &str| {
        let name = regex::bytes::Regex::new(name).expect("letters");
        // A file may go between being seen and being read.
        let has = |path: &std::path::PathBuf| name.is_match(&std::fs::read(path).unwrap_or_default());
        files(folder.path()).into_iter().filter(has).collect::<Vec<_>>()
    };
    assert!(!on_disk("Uerased").is_empty() && !on_disk("Eventoferased").is_empty());
    erase(&mut client, "Uerased").await;
    until(|| on_disk("Uerased").is_empty() && on_disk("Eventoferased").is_empty()).await;
    assert_eq!(count(&profile(&mut client, "d", "").await.expect("known"), 5), 1);
    server.stop().await.expect("a clean stop");
}

/// Has every write of a process fail as on a full disk, by a limit on the size of files, or takes the limit away.
fn limit_files(process: &crate::support::Process, limit: &str) {
    let pid = process.child.id().to_string();
    let limited =
        std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:")]).status();
    assert!(limited.expect("prlimit of util-linux").success());
}

#[tokio::test]
async fn a_disk_that_fails_refuses_writes_serves_reads_and_heals() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().display().to_string();
    let server = crate::support::Process::start_ignoring_size(&["--profile-store", &store]);
    let channel = Channel::from_shared(format!("http://{}", server.address)).expect("an address");
    let channel = channel.connect().await.expect("it listens");
    crate::support::wait_for_serving(channel.clone()).await;
    let mut client = Client::new(channel.clone());
    assert_eq!(
        record(&mut client, vec![event("e1", "c", &["b"], 30, 0.5)]).await,
        [Ok(RecordStatus::Recorded)]
    );
    limit_files(&server, "1");
    let request = RecordEventsRequest { events: vec![event("e2", "c", &["b"], 20, 0.5)] };
    let refused = client.record_events(request.clone()).await.expect_err("it is full");
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(refused.get_details_error_info().expect("details").reason, "STORE_UNAVAILABLE");
    assert_eq!(count(&profile(&mut client, "c", "").await.expect("reads go on"), 5), 1);
    let mut health = HealthClient::new(channel);
    let mut watch = async |service: &str, wanted: ServingStatus| {
        let request = HealthCheckRequest { service: service.to_owned() };
        let mut statuses = health.watch(request).await.expect("an answer").into_inner();
        while statuses.message().await.expect("the watch goes on").expect("a status").status() != wanted {}
    };
    watch("arom.v1.ProfileService", ServingStatus::NotServing).await;
    watch("", ServingStatus::Serving).await;
    // With room again it goes on by itself, and what was refused is not there.
    limit_files(&server, "unlimited");
    watch("arom.v1.ProfileService", ServingStatus::Serving).await;
    assert_eq!(count(&profile(&mut client, "c", "").await.expect("known"), 5), 1);
    assert_eq!(record(&mut client, request.events).await, [Ok(RecordStatus::Recorded)]);
    assert_eq!(count(&profile(&mut client, "c", "").await.expect("known"), 5), 2);
    limit_files(&server, "1");
    let request = RecordEventsRequest { events: vec![event("e3", "c", &["b"], 10, 0.5)] };
    client.record_events(request.clone()).await.expect_err("it is full");
    drop(server);
    // Started again with room, it has what it had acknowledged, and takes the other.
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    assert_eq!(count(&profile(&mut client, "c", "").await.expect("known"), 5), 2);
    assert_eq!(record(&mut client, request.events).await, [Ok(RecordStatus::Recorded)]);
    server.stop().await.expect("a clean stop");
}

/// The same events one by one as they happen, again in another order and with others taken back in between, and as a dump that is
/// imported: every feature of every key is the same.
#[tokio::test]
async fn the_sample_events_are_what_the_readme_shows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    let hour = jiff::Timestamp::now() + Duration::from_secs(5 * 3600);
    let hour = hour.to_string().split_once(':').expect("a time").0.to_owned();
    let sample = crate::support::repository().join("examples/events.jsonl");
    let sample = std::fs::read_to_string(sample).expect("readable").replace("HOUR", &hour);
    let address = server.address.trim_start_matches("http://").to_owned();
    let import = move || crate::support::run(&["profile", "import", "--server", &address, "-"], &sample);
    let output = tokio::task::spawn_blocking(import).await.expect("it ran");
    assert_eq!(crate::support::stderr(&output), "6 recorded, 0 known already, 0 refused\n");
    for (brand, events, negative) in [("somtam", 4, 3), ("kafae", 2, 0)] {
        let counts = profile(&mut client, "", brand).await.expect("known").windows[1].counts.expect("counts");
        assert_eq!((counts.total, counts.negative), (events, negative), "{brand}");
    }
    server.stop().await.expect("a clean stop");
}

/// A device whose clock is nine minutes ahead: its event is erased with its customer, and refused when it is sent again.
#[tokio::test]
async fn an_erased_event_of_a_fast_clock_does_not_come_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    let mut ahead = event("fast", "c", &["b"], 0, 0.5);
    ahead.event_time.as_mut().expect("a time").seconds += 540;
    assert_eq!(record(&mut client, vec![ahead.clone()]).await, [Ok(RecordStatus::Recorded)]);
    erase(&mut client, "c").await;
    assert_eq!(record(&mut client, vec![ahead.clone()]).await, [Err(Code::FailedPrecondition)]);
    assert_eq!(profile(&mut client, "c", "").await, Err(Code::NotFound));
    assert_eq!(count(&profile(&mut client, "", "b").await.expect("known"), 5), 1);
    let erasures = client.list_erasures(ListErasuresRequest::default()).await.expect("a page").into_inner();
    assert_eq!(erasures.erasures[0].refused_through_time, ahead.event_time);
    server.stop().await.expect("a clean stop");
}

/// What is exported is recorded again as it is: nothing of it is another event, in the same store or in a new one.
#[tokio::test]
async fn an_export_is_imported_without_a_conflict() {
    let events = |customer: &'static str| {
        (0..300_u64).map(move |number| {
            let score = f32::from(i16::try_from(number).expect("few") - 150) / 151.3;
            let brands: &[&str] = if number.is_multiple_of(3) { &["z", "a"] } else { &[] };
            let id = format!("{customer}/{number}");
            let mut event = event(&id, customer, brands, 3000 * number + 60, score);
            // Finer than is kept; several of one moment; no channel said.
            event.event_time.as_mut().expect("a time").nanos = 123_456_789;
            event.channel = if number.is_multiple_of(2) { 0 } else { Written::Review.into() };
            event
        })
    };
    let text = |id: &str, text: &str| ProfileEvent {
        felt: Some(Felt::Text(text.to_owned())),
        ..event(id, "c", &["a"], 10, 0.0)
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(&folder.path().join("first")).await;
    let mut client = Client::new(server.ready().await);
    let all: Vec<ProfileEvent> = events("c").chain(events("d")).collect();
    for events in all.chunks(200) {
        record(&mut client, events.to_vec()).await;
    }
    let correction =
        ProfileEvent { replaces_event_id: "c/7".to_owned(), ..event("right", "c", &["a"], 9, 0.5) };
    let more = vec![text("t1", "อร่อยมาก ชอบสุด ๆ"), text("t2", "บริการแย่มาก"), correction];
    assert_eq!(record(&mut client, more.clone()).await, [Ok(RecordStatus::Recorded); 3]);
    let event_ids = vec!["d/5".to_owned(), "t2".to_owned()];
    client.retract_events(RetractEventsRequest { event_ids }).await.expect("an answer");
    let cli = async |address: &str, args: &[&str], input: String| {
        let address = address.trim_start_matches("http://");
        let args: Vec<String> =
            ["profile"].iter().chain(args).chain(&["--server", address]).map(ToString::to_string).collect();
        let run = move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            crate::support::run(&args, &input)
        };
        tokio::task::spawn_blocking(run).await.expect("it ran")
    };
    let mut exports = String::new();
    for customer in ["c", "d"] {
        let export = cli(&server.address, &["export", customer], String::new()).await;
        exports.push_str(&crate::support::stdout(&export));
    }
    let told = cli(&server.address, &["import", "-"], exports.clone()).await;
    assert_eq!(crate::support::stderr(&told), "0 recorded, 603 known already, 0 refused\n");
    let other = Server::keeping(&folder.path().join("second")).await;
    let mut copy = Client::new(other.ready().await);
    let told = cli(&other.address, &["import", "-"], exports.clone()).await;
    assert_eq!(crate::support::stderr(&told), "603 recorded, 0 known already, 0 refused\n");
    for (customer, brand) in [("c", ""), ("d", ""), ("", "a"), ("", "z"), ("c", "a"), ("d", "z")] {
        let mut found = Vec::new();
        for client in [&mut client, &mut copy] {
            let profile = profile(client, customer, brand).await.expect("known");
            let counts: Vec<_> = profile.windows.iter().map(|window| window.counts).collect();
            found.push((counts, profile.last_score, profile.negative_run, profile.days_since_negative));
        }
        assert_eq!(found[0], found[1], "{customer} {brand}");
    }
    // The source sends all of it to the new store, as it sent it to the first.
    for events in all.chunks(200) {
        let ended = record(&mut copy, events.to_vec()).await;
        assert!(ended.iter().all(|end| *end == Ok(RecordStatus::Duplicate)), "{ended:?}");
    }
    assert_eq!(record(&mut copy, more).await, [Ok(RecordStatus::Duplicate); 3]);
    // A line that is no export is told, and the rest is taken.
    let bad = format!("{{\n  \"events\": 7\n}}\n{exports}");
    let told = cli(&other.address, &["import", "-"], bad).await;
    let told = crate::support::stderr(&told);
    assert!(told.contains("line 1: has events") && told.contains("603 known already, 1 refused"), "{told}");
    // A third store has an event of its own by the name of one that was taken back here. It is not taken back there.
    let third = Server::keeping(&folder.path().join("third")).await;
    let mut client = Client::new(third.ready().await);
    record(&mut client, vec![event("d/5", "bob", &[], 60, 0.5)]).await;
    let told = cli(&third.address, &["import", "-"], exports).await;
    let told = crate::support::stderr(&told);
    assert!(told.contains("\n602 recorded, 0 known already, 1 refused\n"), "{told}");
    let bob = profile(&mut client, "bob", "").await.expect("known");
    assert!(
        bob.windows.iter().any(|window| window.counts.is_some_and(|counts| counts.total == 1)),
        "{bob:?}"
    );
    for server in [server, other, third] {
        server.stop().await.expect("a clean stop");
    }
}

#[tokio::test]
async fn online_replay_and_import_are_equal() {
    // The clock stands still: time that passes between the ways moves events out of windows.
    let present = jiff::Timestamp::now();
    let at = |seconds: u64, event: ProfileEvent| {
        let time = present - Duration::from_secs(seconds);
        ProfileEvent { event_time: Some(Timestamp { seconds: time.as_second(), nanos: 0 }), ..event }
    };
    let event = |id: &str, customer: &str, brands: &[&str], seconds: u64, score: f32| {
        at(seconds, event(id, customer, brands, seconds, score))
    };
    let events: Vec<ProfileEvent> = (0..60_u64)
        .map(|number| {
            let score = if number.is_multiple_of(4) { -0.625 } else { 0.25 };
            let brands: &[&str] = if number.is_multiple_of(3) { &["a", "b"] } else { &["a"] };
            event(&format!("e{number}"), &format!("c{}", number % 5), brands, 7200 * number + 60, score)
        })
        .collect();
    let mut found = Vec::new();
    for way in ["online", "replay", "import"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = arom::profile::frozen_clock(present);
        let server = Server::keeping_by(folder.path(), server_config(), clock, Upkeep::default()).await;
        let mut client = Client::new(server.ready().await);
        match way {
            "online" => {
                for event in &events {
                    record(&mut client, vec![event.clone()]).await;
                }
            }
            "replay" => {
                let other: Vec<ProfileEvent> = (0..9)
                    .map(|number| event(&format!("other{number}"), "c1", &["b"], 50_000 * number, -0.9))
                    .collect();
                record(&mut client, other.clone()).await;
                let reversed: Vec<ProfileEvent> = events.iter().rev().cloned().collect();
                record(&mut client, reversed.clone()).await;
                let event_ids = other.into_iter().map(|event| event.event_id).collect();
                client.retract_events(RetractEventsRequest { event_ids }).await.expect("an answer");
                record(&mut client, reversed).await;
            }
            _ => {
                let line = |event: &ProfileEvent| {
                    let Some(Felt::Scored(ScoredText { score, .. })) = event.felt else { panic!("scored") };
                    let time = event.event_time.expect("a time").seconds;
                    let time = jiff::Timestamp::from_second(time).expect("a time").to_string();
                    let label = if score < 0.0 { "negative" } else { "positive" };
                    serde_json::json!({
                        "event_id": event.event_id, "time": time, "customer": event.customer_id,
                        "brand_ids": event.brand_ids, "channel": "line_chat", "label": label, "score": score,
                    })
                    .to_string()
                };
                let mut dump: Vec<String> = events.iter().map(line).collect();
                dump.insert(7, "{\"time\": \"yesterday\"}".to_owned());
                let dump = dump.join("\n");
                let address = server.address.trim_start_matches("http://").to_owned();
                for said in
                    ["60 recorded, 0 known already, 1 refused", "0 recorded, 60 known already, 1 refused"]
                {
                    let (address, dump) = (address.clone(), dump.clone());
                    let import =
                        move || crate::support::run(&["profile", "import", "--server", &address, "-"], &dump);
                    let output = tokio::task::spawn_blocking(import).await.expect("it ran");
                    let told = crate::support::stderr(&output);
                    assert_eq!(output.status.code(), Some(3), "{told}");
                    assert!(told.contains(said) && told.contains("line 8: event_time"), "{told}");
                }
            }
        }
        let mut keys: Vec<(String, String)> =
            ["a", "b"].map(|brand| (String::new(), brand.to_owned())).into();
        keys.extend((0..5).map(|customer| (format!("c{customer}"), String::new())));
        keys.extend((0..5).map(|customer| (format!("c{customer}"), "a".to_owned())));
        let mut profiles = Vec::new();
        for (customer, brand) in keys {
            let mut profile = profile(&mut client, &customer, &brand).await.expect("known");
            // Sums of floats depend on their order, by less than this tells; commits are counted apart.
            for mean in [
                &mut profile.decayed_mean_1d,
                &mut profile.decayed_mean_7d,
                &mut profile.decayed_mean_30d,
                &mut profile.trend,
            ] {
                let value = mean.as_mut().expect("a value");
                value.value = (value.value * 1e3).round() / 1e3;
            }
            (profile.as_of_time, profile.revision, profile.raised) = (None, 0, Vec::new());
            profiles.push(profile);
        }
        found.push(profiles);
        server.stop().await.expect("a clean stop");
    }
    assert_eq!(found[0], found[1], "replayed");
    assert_eq!(found[0], found[2], "imported");
}

/// The clock of a store that a server keeps: shown, and accepted only as it was looked at.
#[tokio::test]
async fn the_clock_is_shown_and_accepted_as_a_person_saw_it() {
    use arom::grpc::v1::{AcceptProfileClockRequest, GetProfileClockRequest};
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    let clock = client.get_profile_clock(GetProfileClockRequest {}).await.expect("an answer").into_inner();
    let clock = clock.clock.expect("it has one");
    assert!(clock.trusted && clock.distrust_reason.is_empty());
    let accept = |system_time| AcceptProfileClockRequest { system_time };
    let missing = client.accept_profile_clock(accept(None)).await.expect_err("no time");
    assert_eq!(missing.code(), Code::InvalidArgument);
    let day_before =
        clock.system_time.map(|time| prost_types::Timestamp { seconds: time.seconds - 86_400, ..time });
    let moved = client.accept_profile_clock(accept(day_before)).await.expect_err("another time");
    assert_eq!(moved.get_details_error_info().expect("details").reason, "CLOCK_MOVED");
    let accepted =
        client.accept_profile_clock(accept(clock.system_time)).await.expect("accepted").into_inner();
    assert!(accepted.clock.expect("it has one").trusted);
    server.stop().await.expect("a clean stop");
    // A store that is closed is looked at by its folder.
    let store = folder.path().display().to_string();
    for more in [None, Some("--accept")] {
        let shown = crate::support::arom()
            .args(["profile", "clock", "--profile-store", &store])
            .args(more)
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.status.success() && text.contains("trusted      yes"), "{text}");
    }
}
