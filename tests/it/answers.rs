//! Answers that fit: pages and their tokens, and what is refused because its answer would be too large.

use arom::grpc::ServerConfig;
use arom::grpc::v1::conversation_message::Content;
use arom::grpc::v1::conversation_service_client::ConversationServiceClient;
use arom::grpc::v1::profile_event::Felt;
use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::{self, *};
use arom::scoring::ScoringConfig;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{Server, metric, server_config};

type Profiles = ProfileServiceClient<Channel>;

/// The smallest that a server may be set to.
const SMALL: usize = 65_536;

fn small() -> ServerConfig {
    ServerConfig { max_answer_bytes: SMALL, ..server_config() }
}

/// The reason, and the field that is blamed with what is wrong with it.
fn blame(status: &Status) -> (String, String, String) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let details = status.get_error_details();
    let reason = details.error_info().expect("details").reason.clone();
    let fault = details.bad_request().and_then(|bad| bad.field_violations.first()).expect("a field");
    (reason, fault.field.clone(), fault.description.clone())
}

/// Records `count` events of a customer, each about two of eleven brands, one minute after the other.
async fn record(client: &mut Profiles, customer: &str, count: usize) {
    let now = jiff::Timestamp::now();
    let event = |at: usize| {
        let time = now - jiff::SignedDuration::from_mins(i64::try_from(count - at).expect("small"));
        ProfileEvent {
            event_id: format!("{customer}-{at:05}"),
            event_time: Some(prost_types::Timestamp { seconds: time.as_second(), nanos: 0 }),
            customer_id: customer.to_owned(),
            brand_ids: vec![format!("brand-{:02}", at % 11), format!("brand-{:02}", (at + 1) % 11)],
            channel: v1::Channel::LineChat.into(),
            felt: Some(Felt::Scored(ScoredText { label: SentimentLabel::Positive.into(), score: 0.5 })),
            replaces_event_id: String::new(),
        }
    };
    let events: Vec<ProfileEvent> = (0..count).map(event).collect();
    for some in events.chunks(60) {
        let answer =
            client.record_events(RecordEventsRequest { events: some.to_vec() }).await.expect("taken");
        assert!(answer.into_inner().results.iter().all(|result| result.outcome.is_some()));
    }
}

fn export_of(customer: &str) -> ExportSubjectRequest {
    ExportSubjectRequest { customer_id: customer.to_owned(), ..ExportSubjectRequest::default() }
}

/// All pages of an export, each asked for with the next of some page sizes.
async fn pages(client: &mut Profiles, customer: &str, sizes: &[i32]) -> Vec<ExportSubjectResponse> {
    let (mut request, mut pages) = (export_of(customer), Vec::new());
    for size in sizes.iter().cycle() {
        request.page_size = *size;
        let page = client.export_subject(request.clone()).await.expect("a page").into_inner();
        request.page_token.clone_from(&page.next_page_token);
        pages.push(page);
        if request.page_token.is_empty() {
            return pages;
        }
    }
    unreachable!("there is one page size at least")
}

#[tokio::test]
async fn an_export_of_any_length_comes_in_pages_that_fit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping_with(folder.path(), small()).await;
    let mut client = Profiles::new(server.ready().await);
    record(&mut client, "somchai", 1500).await;
    record(&mut client, "malee", 1).await;
    for sizes in [&[0][..], &[7, 0, 100], &[i32::MAX], &[499]] {
        let pages = pages(&mut client, "somchai", sizes).await;
        assert!(pages.len() > 2, "it is more than fits in one page");
        for (at, page) in pages.iter().enumerate() {
            assert!(page.encoded_len() <= SMALL, "a page of {} bytes", page.encoded_len());
            assert_eq!(page.profile.is_some(), at == 0, "the profile is in the first page");
            let size = usize::try_from(sizes[at % sizes.len()]).expect("not negative");
            assert!(size == 0 || page.events.len() + page.brand_profiles.len() <= size);
        }
        let events = pages.iter().flat_map(|page| &page.events).filter_map(|held| held.event.as_ref());
        let ids: Vec<String> = events.map(|event| event.event_id.clone()).collect();
        let wanted: Vec<String> = (0..1500).map(|at| format!("somchai-{at:05}")).collect();
        assert_eq!(ids, wanted, "each event once, the oldest first");
        let brands =
            pages.iter().flat_map(|page| &page.brand_profiles).filter_map(|profile| profile.key.as_ref());
        let brands: Vec<String> = brands.map(|key| key.brand_id.clone()).collect();
        assert_eq!(brands, (0..11).map(|at| format!("brand-{at:02}")).collect::<Vec<_>>());
    }
    // Nobody, and one who fits in a page.
    let nothing = pages(&mut client, "nobody", &[0]).await;
    assert_eq!(nothing, [ExportSubjectResponse::default()]);
    assert_eq!(pages(&mut client, "malee", &[0]).await.len(), 1);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_page_token_goes_with_its_own_request_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Profiles::new(server.ready().await);
    record(&mut client, "somchai", 20).await;
    record(&mut client, "malee", 20).await;
    for customer in ["a", "b", "c"] {
        record(&mut client, customer, 1).await;
        let erase = EraseSubjectRequest { customer_id: customer.to_owned(), erase_from_brands: false };
        client.erase_subject(erase).await.expect("erased");
    }
    let brands = ListProfilesRequest {
        key_prefix: "brand/".to_owned(),
        order_by: ProfileOrder::NegativeShare.into(),
        page_size: 2,
        ..ListProfilesRequest::default()
    };
    let listed = client.list_profiles(brands.clone()).await.expect("a page").into_inner().next_page_token;
    let erasures = ListErasuresRequest { page_size: 2, ..ListErasuresRequest::default() };
    let erased = client.list_erasures(erasures.clone()).await.expect("a page").into_inner().next_page_token;
    let first = ExportSubjectRequest { page_size: 3, ..export_of("somchai") };
    let exported = client.export_subject(first.clone()).await.expect("a page").into_inner().next_page_token;
    for token in [&listed, &erased, &exported] {
        assert!(
            !token.is_empty()
                && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
    }
    let other = "is of another request";
    let foreign = "is no token of this server";
    let list = |change: &dyn Fn(&mut ListProfilesRequest)| {
        let mut request = ListProfilesRequest { page_token: listed.clone(), ..brands.clone() };
        change(&mut request);
        request
    };
    for (request, wanted) in [
        (list(&|request| request.key_prefix = "customer/".to_owned()), other),
        (list(&|request| request.order_by = ProfileOrder::Trend.into()), other),
        (list(&|request| request.window = FeatureWindow::Hour.into()), other),
        (list(&|request| request.min_count = 2), other),
        (list(&|request| request.page_token = erased.clone()), other),
        (list(&|request| request.page_token = exported.clone()), other),
        (list(&|request| request.page_token.push('A')), foreign),
        (list(&|request| request.page_token.replace_range(3..4, "_")), foreign),
        (list(&|request| request.page_token = "MTIzIDEgYnJhbmQvYg".to_owned()), foreign),
        (list(&|request| request.page_token = "ก".repeat(30_000)), foreign),
    ] {
        let status = client.list_profiles(request).await.expect_err("refused");
        let (reason, field, problem) = blame(&status);
        assert_eq!((reason.as_str(), field.as_str()), ("INVALID_REQUEST", "page_token"));
        assert!(problem.starts_with(wanted), "{problem}");
    }
    let of_another = ExportSubjectRequest { page_token: exported.clone(), ..export_of("malee") };
    let status = client.export_subject(of_another).await.expect_err("refused");
    assert!(blame(&status).2.starts_with(other), "{status}");
    let of_another =
        ListErasuresRequest { customer_id: "a".to_owned(), page_token: erased.clone(), page_size: 0 };
    let status = client.list_erasures(of_another).await.expect_err("refused");
    assert!(blame(&status).2.starts_with(other), "{status}");
    // Another page size is taken.
    client.list_profiles(list(&|request| request.page_size = 100)).await.expect("a page");
    let more = ListErasuresRequest { page_token: erased, page_size: 100, ..ListErasuresRequest::default() };
    assert_eq!(client.list_erasures(more).await.expect("a page").into_inner().erasures.len(), 1);
    // So is the token after a restart of the server.
    server.stop().await.expect("a clean stop");
    let server = Server::keeping(folder.path()).await;
    let mut client = Profiles::new(server.ready().await);
    let next = client.list_profiles(list(&|_| ())).await.expect("a page").into_inner();
    assert_eq!(next.profiles.len(), 2);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn page_sizes_are_coerced_and_the_last_page_has_no_token() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = ServerConfig { max_batch_size: 6, ..server_config() };
    let server = Server::keeping_with(folder.path(), config).await;
    let mut client = Profiles::new(server.ready().await);
    for at in 0..4 {
        let events = vec![event_of(at * 3), event_of(at * 3 + 1), event_of(at * 3 + 2)];
        client.record_events(RecordEventsRequest { events }).await.expect("taken");
    }
    let mut sizes = async |page_size: i32| {
        let mut request = ListProfilesRequest {
            key_prefix: "customer/".to_owned(),
            page_size,
            ..ListProfilesRequest::default()
        };
        let mut sizes = Vec::new();
        loop {
            let page = client.list_profiles(request.clone()).await?.into_inner();
            sizes.push(page.profiles.len());
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return Ok::<_, Status>(sizes);
            }
        }
    };
    for (size, pages) in [
        (0, vec![6, 6]),
        (1, vec![1; 12]),
        (5, vec![5, 5, 2]),
        (6, vec![6, 6]),
        (7, vec![6, 6]),
        (i32::MAX, vec![6, 6]),
    ] {
        assert_eq!(sizes(size).await.expect("listed"), pages, "of page_size {size}");
    }
    for size in [-1, i32::MIN] {
        assert_eq!(blame(&sizes(size).await.expect_err("refused")).1, "page_size");
    }
    let erasures = ListErasuresRequest { page_size: -1, ..ListErasuresRequest::default() };
    assert_eq!(blame(&client.list_erasures(erasures).await.expect_err("refused")).1, "page_size");
    let export = ExportSubjectRequest { page_size: -1, ..export_of("c-0") };
    assert_eq!(blame(&client.export_subject(export).await.expect_err("refused")).1, "page_size");
    server.stop().await.expect("a clean stop");
}

/// An event of a customer of its own.
fn event_of(at: usize) -> ProfileEvent {
    let now = jiff::Timestamp::now().as_second();
    ProfileEvent {
        event_id: format!("e-{at}"),
        event_time: Some(prost_types::Timestamp { seconds: now, nanos: 0 }),
        customer_id: format!("c-{at}"),
        felt: Some(Felt::Scored(ScoredText { label: SentimentLabel::Neutral.into(), score: 0.0 })),
        ..ProfileEvent::default()
    }
}

fn review(at: usize, features: AnalysisFeatures) -> AnalyzeSentimentRequest {
    AnalyzeSentimentRequest {
        text: format!("รอบที่ {at} อาหารอร่อยมาก แต่รอนานไปหน่อย พนักงานพูดจาดี ราคาไม่แพง"),
        features: Some(features),
        ..AnalyzeSentimentRequest::default()
    }
}

#[tokio::test]
async fn a_batch_whose_answer_would_not_fit_is_refused_before_the_work() {
    let (server, metrics) = Server::measured(small(), &ScoringConfig::default()).await;
    let mut client = SentimentServiceClient::new(server.ready().await);
    let features = AnalysisFeatures { clauses: true, targets: true, ..AnalysisFeatures::default() };
    let batch = |count: usize, features: AnalysisFeatures| BatchAnalyzeSentimentRequest {
        requests: (0..count).map(|at| review(at, features)).collect(),
    };
    let status = client.batch_analyze_sentiment(batch(60, features)).await.expect_err("too large");
    let (reason, field, problem) = blame(&status);
    assert_eq!((reason.as_str(), field.as_str()), ("ANSWER_TOO_LARGE", "requests"));
    assert!(problem.contains("at most 65536 are sent; send fewer"), "{problem}");
    let info = status.get_details_error_info().expect("details");
    assert_eq!(info.metadata.get("max_answer_bytes").map(String::as_str), Some("65536"));
    assert!(metric(&metrics, "arom_batch_rows_count") < 0.5, "no text was scored");
    // As many as the refusal lets one reckon with are taken, and their answer fits.
    let bytes: usize =
        info.metadata.get("answer_bytes").and_then(|bytes| bytes.parse().ok()).expect("a number");
    let fit = 60 * SMALL / bytes - 1;
    let answer = client.batch_analyze_sentiment(batch(fit, features)).await.expect("it fits").into_inner();
    assert_eq!(answer.results.len(), fit);
    assert!(answer.encoded_len() <= SMALL, "{} bytes", answer.encoded_len());
    server.stop().await.expect("a clean stop");
}

/// Windows are few: a batch as long as a message may be is not refused for them.
#[tokio::test]
async fn a_batch_of_long_texts_is_not_refused() {
    let server = Server::start().await;
    let mut client = SentimentServiceClient::new(server.ready().await);
    // White space alone is not scored, but as long as any text.
    let long = AnalyzeSentimentRequest { text: " ".repeat(65_000), ..AnalyzeSentimentRequest::default() };
    let batch = BatchAnalyzeSentimentRequest { requests: vec![long; 64] };
    let answer = client.batch_analyze_sentiment(batch).await.expect("it fits").into_inner();
    assert_eq!(answer.results.len(), 64);
    server.stop().await.expect("a clean stop");
}

/// What 256 reviews with every feature may take is far below the limit, so that nobody is refused for nothing.
#[tokio::test]
async fn a_usual_batch_with_clauses_and_targets_is_not_refused() {
    let server = Server::start().await;
    let mut client = SentimentServiceClient::new(server.ready().await);
    let features = AnalysisFeatures { clauses: true, targets: true, ..AnalysisFeatures::default() };
    // Equal texts are scored once.
    let request = review(1, features);
    let batch = BatchAnalyzeSentimentRequest { requests: vec![request; 256] };
    let answer = client.batch_analyze_sentiment(batch).await.expect("it fits").into_inner();
    assert!(answer.results.len() == 256 && answer.encoded_len() < 3_670_016);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_conversation_whose_answer_would_not_fit_is_refused_before_the_work() {
    let (server, metrics) = Server::measured(small(), &ScoringConfig::default()).await;
    let mut client = ConversationServiceClient::new(server.ready().await);
    let message = |text: &str| ConversationMessage {
        role: ConversationRole::Customer.into(),
        content: Some(Content::Text(text.to_owned())),
        ..ConversationMessage::default()
    };
    let chat = |include_texts: bool| AnalyzeConversationRequest {
        messages: vec![message(&"รอนานมาก ".repeat(100)); 30],
        include_texts,
        ..AnalyzeConversationRequest::default()
    };
    let status = client.analyze_conversation(chat(true)).await.expect_err("too large");
    let (reason, field, problem) = blame(&status);
    assert_eq!((reason.as_str(), field.as_str()), ("ANSWER_TOO_LARGE", "messages"));
    assert!(problem.contains("ask without include_texts"), "{problem}");
    assert!(metric(&metrics, "arom_batch_rows_count") < 0.5, "no text was scored");
    let answer = client.analyze_conversation(chat(false)).await.expect("it fits").into_inner();
    assert!(answer.messages.len() == 30 && answer.encoded_len() <= SMALL);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn lists_in_requests_are_bounded_by_what_their_answers_take() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = ServerConfig { max_batch_size: 65_536, ..small() };
    let server = Server::keeping_with(folder.path(), config).await;
    let mut client = Profiles::new(server.ready().await);
    let keys = |count: usize| BatchGetProfilesRequest {
        keys: (0..count)
            .map(|at| ProfileKey { brand_id: format!("{at:0>128}"), customer_id: String::new() })
            .collect(),
    };
    let status = client.batch_get_profiles(keys(43)).await.expect_err("too large");
    assert_eq!((blame(&status).0.as_str(), blame(&status).1.as_str()), ("ANSWER_TOO_LARGE", "keys"));
    let answer = client.batch_get_profiles(keys(42)).await.expect("it fits").into_inner();
    assert!(answer.results.len() == 42 && answer.encoded_len() <= SMALL);
    let events = |count| RecordEventsRequest { events: (0..count).map(event_of).collect() };
    let status = client.record_events(events(129)).await.expect_err("too large");
    assert_eq!((blame(&status).0.as_str(), blame(&status).1.as_str()), ("ANSWER_TOO_LARGE", "events"));
    assert_eq!(client.record_events(events(128)).await.expect("it fits").into_inner().results.len(), 128);
    let listed = ListProfilesRequest { page_size: i32::MAX, ..ListProfilesRequest::default() };
    let listed = client.list_profiles(listed).await.expect("a page").into_inner();
    assert!(listed.profiles.len() == 42 && !listed.next_page_token.is_empty());
    assert!(listed.encoded_len() <= SMALL);
    server.stop().await.expect("a clean stop");
}
