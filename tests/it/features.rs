//! What is said beside the sentiment of the whole: where it lies, whether it is right, and what it costs.

use std::sync::Arc;

use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::{
    AnalysisFeatures, AnalyzeSentimentRequest, AnalyzeSentimentResponse, Modifiers, OffsetEncoding,
    Sentiment, TextContent,
};
use arom::telemetry::Metrics;
use tonic::transport::Channel;

use crate::support::{Server, metric, server_config, uncached};

type Client = SentimentServiceClient<Channel>;

async fn served() -> (Server, Client, Arc<Metrics>) {
    let (server, metrics) = Server::measured(server_config(), &uncached()).await;
    let client = Client::new(server.ready().await);
    (server, client, metrics)
}

async fn clauses(client: &mut Client, text: &str, encoding: OffsetEncoding) -> AnalyzeSentimentResponse {
    let request = AnalyzeSentimentRequest {
        text: text.to_owned(),
        offset_encoding: encoding.into(),
        features: Some(AnalysisFeatures { clauses: true, modifiers: false }),
        ..AnalyzeSentimentRequest::default()
    };
    client.analyze_sentiment(request).await.expect("scored").into_inner()
}

fn spans(answer: &AnalyzeSentimentResponse) -> Vec<std::ops::Range<usize>> {
    let offset = |offset: i32| usize::try_from(offset).expect("0 or more");
    let spans = answer.clauses.iter().map(|clause| clause.span.as_ref().expect("a span"));
    spans.map(|span| offset(span.begin_offset)..offset(span.end_offset)).collect()
}

fn sentiments(answer: &AnalyzeSentimentResponse) -> Vec<&Sentiment> {
    answer.clauses.iter().map(|clause| clause.sentiment.as_ref().expect("a sentiment")).collect()
}

#[tokio::test]
async fn offsets_are_in_the_callers_unit_and_into_the_text_as_sent() {
    let (server, mut client, _) = served().await;
    let text = "👩\u{200D}👩\u{200D}👧 เเต่อาหารอร่อยมากกกกกก😍\r\n  แต่พนั\u{200B}กงานพูดไม่ดีค่ะ";
    let wanted = ["👩\u{200D}👩\u{200D}👧 เเต่อาหารอร่อยมากกกกกก😍", "แต่พนั\u{200B}กงานพูดไม่ดีค่ะ"];
    let utf8 = clauses(&mut client, text, OffsetEncoding::Utf8).await;
    let found: Vec<&str> = spans(&utf8).into_iter().map(|span| text.get(span).expect("whole")).collect();
    assert_eq!(found, wanted);
    let units: Vec<u16> = text.encode_utf16().collect();
    let utf16 = clauses(&mut client, text, OffsetEncoding::Utf16).await;
    let found = spans(&utf16).into_iter().map(|span| String::from_utf16(units.get(span).expect("inside")));
    assert_eq!(found.collect::<Result<Vec<_>, _>>().expect("whole"), wanted);
    let scalars: Vec<char> = text.chars().collect();
    let utf32 = clauses(&mut client, text, OffsetEncoding::Utf32).await;
    let found =
        spans(&utf32).into_iter().map(|span| scalars.get(span).expect("inside").iter().collect::<String>());
    assert_eq!(found.collect::<Vec<_>>(), wanted);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn magnitude_and_disagreement_come_from_clauses_and_each_is_scored_as_if_alone() {
    let (server, mut client, _) = served().await;
    let text = "อาหารอร่อยมาก ประทับใจสุด ๆ แต่พนักงานพูดจาแย่มาก โกรธสุด ๆ";
    let answer = clauses(&mut client, text, OffsetEncoding::Utf8).await;
    let scores: Vec<f32> = sentiments(&answer).iter().map(|sentiment| sentiment.score).collect();
    assert!(
        scores.len() >= 2
            && scores.iter().any(|score| *score > 0.25)
            && scores.iter().any(|score| *score < -0.25)
    );
    let whole = answer.sentiment.expect("a sentiment");
    assert!(whole.mixed);
    assert_eq!(whole.magnitude, scores.iter().map(|score| score.abs()).sum::<f32>());
    for (span, sentiment) in spans(&answer).into_iter().zip(sentiments(&answer)) {
        let alone = clauses(&mut client, text.get(span).expect("whole"), OffsetEncoding::Utf8).await;
        assert_eq!(alone.clauses.len(), 1, "a clause is one clause");
        assert_eq!(alone.sentiment.as_ref(), Some(sentiment), "to the bit");
    }
    // The whole's own score does not depend on whether clauses are asked for.
    let plain = AnalyzeSentimentRequest { text: text.to_owned(), ..AnalyzeSentimentRequest::default() };
    let plain = client.analyze_sentiment(plain).await.expect("scored").into_inner();
    assert!(plain.clauses.is_empty(), "nobody asked");
    let plain = plain.sentiment.expect("a sentiment");
    assert_eq!(
        (plain.score, plain.label, plain.probabilities),
        (whole.score, whole.label, whole.probabilities)
    );
    assert_eq!((plain.magnitude, plain.mixed), (plain.score.abs(), false));
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn one_clause_costs_one_inference_and_three_cost_four() {
    let (server, mut client, metrics) = served().await;
    let inferred = || metric(&metrics, "arom_batch_rows_sum");
    let one = clauses(&mut client, "พนักงานบริการดีมากค่ะ", OffsetEncoding::Utf8).await;
    assert_eq!((one.clauses.len(), inferred()), (1, 1.0));
    assert_eq!(sentiments(&one).first().copied(), one.sentiment.as_ref());
    let three = clauses(&mut client, "ส่งไว แพ็กดี แต่แพง", OffsetEncoding::Utf8).await;
    assert_eq!((three.clauses.len(), inferred()), (3, 5.0));
    let nothing = clauses(&mut client, "https://example.com", OffsetEncoding::Utf8).await;
    assert_eq!(nothing.content(), TextContent::NonLinguistic);
    assert!(nothing.clauses.is_empty());
    assert_eq!(inferred(), 5.0);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_text_of_very_many_clauses_costs_no_more_than_sixty_four() {
    let (server, mut client, metrics) = served().await;
    let lines: String = (0..1000).map(|number| format!("ข้อ {number} ดี\n")).collect();
    let answer = clauses(&mut client, &lines, OffsetEncoding::Utf8).await;
    assert!((32..=64).contains(&answer.clauses.len()), "{}", answer.clauses.len());
    let covered: usize = spans(&answer).iter().map(ExactSizeIterator::len).sum();
    assert!(covered > lines.len() * 9 / 10, "nothing is left out");
    let whole = f64::from(answer.window_count);
    let clauses: usize = answer.clauses.len();
    assert!(
        metric(&metrics, "arom_batch_rows_sum") <= whole + f64::from(u32::try_from(clauses).expect("few"))
    );
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn doubt_is_marked_at_the_level_that_the_caller_or_the_server_sets() {
    let config = arom::grpc::ServerConfig { max_risk: 0.0, ..server_config() };
    let (server, _) = Server::measured(config, &uncached()).await;
    let mut client = Client::new(server.ready().await);
    let ask = |max_risk| AnalyzeSentimentRequest {
        text: "ก็โอเคนะ แต่แพงไปหน่อย".to_owned(),
        max_risk,
        ..AnalyzeSentimentRequest::default()
    };
    let marked = client.analyze_sentiment(ask(None)).await.expect("scored").into_inner().sentiment;
    let sentiment = marked.expect("a sentiment");
    assert!(sentiment.abstain, "the server takes no risk");
    assert!(sentiment.entropy > 0.1 && sentiment.entropy <= 2.0);
    let p = sentiment.probabilities.expect("four");
    let risk = 1.0 - [p.positive, p.neutral, p.negative, p.question].into_iter().fold(0.0, f32::max);
    for (max_risk, abstains) in [(risk, false), (risk - 0.001, true), (1.0, false)] {
        let answer = client.analyze_sentiment(ask(Some(max_risk))).await.expect("scored").into_inner();
        assert_eq!(answer.sentiment.expect("a sentiment").abstain, abstains, "{max_risk}");
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn modifiers_are_counted_if_asked_for_and_cost_no_inference() {
    let (server, mut client, metrics) = served().await;
    let request = AnalyzeSentimentRequest {
        text: "ไม่ไหวแล้ววววว 5555 😡😡".to_owned(),
        features: Some(AnalysisFeatures { clauses: false, modifiers: true }),
        ..AnalyzeSentimentRequest::default()
    };
    let answer = client.analyze_sentiment(request).await.expect("scored").into_inner();
    let wanted = Modifiers {
        elongation_count: 1,
        laughter_count: 1,
        emoji_count: 2,
        negation_count: 1,
        profanity_count: 0,
    };
    assert_eq!(answer.modifiers, Some(wanted));
    assert_eq!(metric(&metrics, "arom_batch_rows_sum"), 1.0);
    server.stop().await.expect("a clean stop");
}
