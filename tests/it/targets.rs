//! Brands and aspects: where they are named, what is said of each, and how often that is right.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use arom::grpc::v1::sentiment_service_client::SentimentServiceClient;
use arom::grpc::v1::{
    AnalysisFeatures, AnalyzeSentimentRequest, AnalyzeSentimentResponse, OffsetEncoding, Sentiment,
    SentimentLabel, TargetKind, TargetMention, TextSpan,
};
use arom::scoring::{Catalogue, ScoringConfig};
use arom::telemetry::Metrics;
use tonic::transport::Channel;

use crate::support::{Process, Server, metric, repository, run, server_config, stdout, uncached};

type Client = SentimentServiceClient<Channel>;

const BRANDS: &str = include_str!("../../examples/catalogue.toml");

async fn served() -> (Server, Client, Arc<Metrics>) {
    let catalogue = Arc::new(Catalogue::parse(BRANDS).expect("a catalogue"));
    let config = ScoringConfig { catalogue, ..uncached() };
    let (server, metrics) = Server::measured(server_config(), &config).await;
    let client = Client::new(server.ready().await);
    (server, client, metrics)
}

fn asking(text: &str, encoding: OffsetEncoding) -> AnalyzeSentimentRequest {
    AnalyzeSentimentRequest {
        text: text.to_owned(),
        offset_encoding: encoding.into(),
        features: Some(AnalysisFeatures { targets: true, ..AnalysisFeatures::default() }),
        ..AnalyzeSentimentRequest::default()
    }
}

async fn ask(client: &mut Client, text: &str) -> AnalyzeSentimentResponse {
    client.analyze_sentiment(asking(text, OffsetEncoding::Utf8)).await.expect("scored").into_inner()
}

async fn score(client: &mut Client, text: &str) -> Sentiment {
    let request = AnalyzeSentimentRequest { text: text.to_owned(), ..AnalyzeSentimentRequest::default() };
    client.analyze_sentiment(request).await.expect("scored").into_inner().sentiment.expect("a sentiment")
}

fn part(text: &str, span: Option<TextSpan>) -> &str {
    let TextSpan { begin_offset, end_offset } = span.expect("a span");
    let offset = |offset: i32| usize::try_from(offset).expect("0 or more");
    text.get(offset(begin_offset)..offset(end_offset)).expect("whole characters")
}

fn sentiment(mention: &TargetMention) -> &Sentiment {
    mention.sentiment.as_ref().expect("a sentiment")
}

#[tokio::test]
async fn a_target_has_the_sentiment_of_what_is_said_of_it() {
    let (server, mut client, _) = served().await;
    let text = "กาแฟดอยอร่อยยยยมาก😍 แต่เเพงไปหน่อย ส่วนพนักงานพูดจาไม่ดีเลย";
    let answer = ask(&mut client, text).await;
    let mut found = Vec::new();
    for mention in &answer.target_mentions {
        let statement = part(text, mention.statement);
        // The แต่ that ties it to what stands before is not heard.
        let alone = score(&mut client, statement.trim_start_matches("แต่")).await;
        assert_eq!(sentiment(mention), &alone, "{statement}: to the bit");
        assert!(!mention.compared);
        let brand = mention.kind() == TargetKind::Brand;
        found.push((mention.target_id.as_str(), part(text, mention.span), brand, alone.score > 0.0));
    }
    let wanted = [
        ("doi", "กาแฟดอย", true, false),
        ("taste", "อร่อยยยย", false, true),
        ("price", "เเพง", false, false),
        ("staff", "พนักงาน", false, false),
    ];
    assert_eq!(found, wanted);
    assert_eq!(answer.target_mentions.first().expect("one").display_name, "กาแฟดอย");
    // Nothing of the whole depends on whether targets are asked for.
    assert_eq!(answer.sentiment, Some(score(&mut client, text).await));
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn what_sounds_neutral_alone_leans_to_what_stands_around_it() {
    let (server, mut client, _) = served().await;
    let text = "แย่มาก ผิดหวัง หมอนแข็ง แต่อาหารอร่อยมาก";
    let answer = ask(&mut client, text).await;
    let pillow = answer.target_mentions.first().expect("a mention");
    assert_eq!(part(text, pillow.statement), "หมอนแข็ง");
    let chances = |sentiment: &Sentiment| sentiment.probabilities.expect("four");
    let alone = chances(&score(&mut client, "หมอนแข็ง").await);
    let around = chances(&score(&mut client, "แย่มาก ผิดหวัง หมอนแข็ง").await);
    let leaning = chances(sentiment(pillow));
    assert!(alone.neutral > 0.5 && leaning.neutral < 0.5 && leaning.negative > 0.5, "{alone:?} {leaning:?}");
    for (leaning, alone, around, open) in [
        (leaning.positive, alone.positive, around.positive, alone.neutral),
        (leaning.neutral, 0.0, around.neutral, alone.neutral),
        (leaning.negative, alone.negative, around.negative, alone.neutral),
        (leaning.question, alone.question, around.question, alone.neutral),
    ] {
        assert!((leaning - (alone + open * around)).abs() < 1e-6);
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn offsets_of_targets_are_in_the_callers_unit() {
    let (server, mut client, _) = served().await;
    let text = "👩\u{200D}👩\u{200D}👧😍 พนั\u{200B}กงานน่ารัก แต่ Doi Kafae แพงมาก";
    let request = asking(text, OffsetEncoding::Utf16);
    let answer = client.analyze_sentiment(request).await.expect("scored").into_inner();
    let units: Vec<u16> = text.encode_utf16().collect();
    let part = |span: &Option<TextSpan>| {
        let TextSpan { begin_offset, end_offset } = span.expect("a span");
        let range = begin_offset.try_into().expect("0 or more")..end_offset.try_into().expect("0 or more");
        String::from_utf16(units.get::<std::ops::Range<usize>>(range).expect("inside")).expect("whole")
    };
    let found: Vec<_> = answer.target_mentions.iter().map(|mention| part(&mention.span)).collect();
    assert_eq!(found, ["พนั\u{200B}กงาน", "Doi Kafae", "แพง"]);
    let statements: Vec<_> = answer.target_mentions.iter().map(|mention| part(&mention.statement)).collect();
    assert_eq!(statements.last().expect("one"), "แต่ Doi Kafae แพงมาก");
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn the_sides_of_a_comparison_are_opposites() {
    let (server, mut client, _) = served().await;
    for (text, better, worse) in [
        ("กาแฟดอยอร่อยกว่าปันสุขเยอะ", "doi", "punsuk"),
        ("ปันสุขแย่กว่ากาแฟดอยอีก", "doi", "punsuk"),
        ("ชอบช้างน้อยมากกว่าปันสุข", "changnoi", "punsuk"),
        ("มังกรทองสู้กาแฟดอยไม่ได้เลย", "doi", "mangkorn"),
        ("มังกรทองไม่อร่อยเท่ากาแฟดอย", "doi", "mangkorn"),
    ] {
        let answer = ask(&mut client, text).await;
        let of = |id: &str| {
            let found = answer.target_mentions.iter().find(|mention| mention.target_id == id);
            found.unwrap_or_else(|| panic!("no {id} in {text}"))
        };
        let (better, worse) = (of(better), of(worse));
        assert!(sentiment(better).score > 0.0, "{text}: {better:?}");
        assert_eq!(sentiment(worse).score, -sentiment(better).score, "{text}");
        let chances = |mention: &TargetMention| sentiment(mention).probabilities.expect("four");
        let (better_chances, worse_chances) = (chances(better), chances(worse));
        assert_eq!(
            (worse_chances.positive, worse_chances.negative),
            (better_chances.negative, better_chances.positive)
        );
        assert_ne!(better.compared, worse.compared, "{text}");
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn nobody_pays_for_targets_that_are_not_there() {
    let (server, mut client, metrics) = served().await;
    let mut before = 0.0;
    for (text, features, inferences) in [
        ("วันนี้อากาศดีจัง", AnalysisFeatures { targets: true, ..AnalysisFeatures::default() }, 1.0),
        ("พนักงานบริการดีมาก", AnalysisFeatures { targets: true, ..AnalysisFeatures::default() }, 1.0),
        ("อาหารอร่อย แต่แพงมาก", AnalysisFeatures { targets: true, ..AnalysisFeatures::default() }, 3.0),
        // What is a clause as well is inferred once.
        (
            "อาหารอร่อย แต่แพงมาก",
            AnalysisFeatures { targets: true, clauses: true, ..AnalysisFeatures::default() },
            3.0,
        ),
        ("อาหารอร่อย แต่แพงมาก", AnalysisFeatures::default(), 1.0),
        ("https://example.com", AnalysisFeatures { targets: true, ..AnalysisFeatures::default() }, 0.0),
    ] {
        let request = AnalyzeSentimentRequest {
            text: text.to_owned(),
            features: Some(features),
            ..AnalyzeSentimentRequest::default()
        };
        let answer = client.analyze_sentiment(request).await.expect("scored").into_inner();
        assert!(features.targets || answer.target_mentions.is_empty(), "nobody asked");
        let after = metric(&metrics, "arom_batch_rows_sum");
        assert_eq!(after - before, inferences, "{text}");
        before = after;
    }
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn sighup_reads_the_catalogue_again_and_a_bad_one_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("catalogue.toml");
    let brand = |alias: &str| format!("[[brands]]\nid = \"{alias}\"\naliases = [\"{alias}\"]\n");
    fs::write(&file, brand("กาแฟดอย")).expect("written");
    let mut server = Process::start(&["--catalogue", file.to_str().expect("UTF-8")]);
    server.wait_for("ready");
    let mut client = Client::connect(format!("http://{}", server.address)).await.expect("it listens");
    let mut brands = async || -> Vec<String> {
        let answer = ask(&mut client, "กาแฟดอยดี ปันสุขแย่").await;
        answer.target_mentions.into_iter().map(|mention| mention.target_id).collect()
    };
    let hangup = |server: &Process| {
        let sent = Command::new("kill").args(["-HUP", &server.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    };
    assert_eq!(brands().await, ["กาแฟดอย"]);

    fs::write(&file, "[[brands]]\nid = \"x\"\naliases = []\n").expect("written");
    hangup(&server);
    let line = server.wait_for("the new model or catalogue is refused; the old one serves on");
    let error = line.get("error").and_then(serde_json::Value::as_str).expect("a cause");
    assert!(error.contains("catalogue.toml, line 2") && error.contains("no words"), "{error}");
    assert_eq!(brands().await, ["กาแฟดอย"]);

    fs::write(&file, brand("กาแฟดอย") + &brand("ปันสุข")).expect("written");
    hangup(&server);
    server.wait_for("ready");
    server.wait_for("retired");
    assert_eq!(brands().await, ["กาแฟดอย", "ปันสุข"]);
}

#[test]
fn the_command_line_shows_targets_and_the_catalogue() {
    let catalogue = repository().join("examples/catalogue.toml").display().to_string();
    let text = "😍กาแฟดอยอร่อยกว่าปันสุข";
    let shown = stdout(&run(&["score", "--targets", "--catalogue", &catalogue, text], ""));
    let line: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let other = &line["targets"][2];
    assert_eq!(other["target"], "punsuk");
    assert_eq!((&other["kind"], &other["compared"]), (&"brand".into(), &true.into()));
    assert_eq!(
        (&other["text"], &other["begin_offset"], &other["end_offset"]),
        (&"ปันสุข".into(), &17.into(), &23.into())
    );
    assert_eq!(other["statement"]["text"], text);
    let table = stdout(&run(&["score", "--table", "--targets", "อาหารอร่อย แต่แพงมาก"], ""));
    assert!(table.contains("@ taste: อาหารอร่อย") && table.contains("@ price: แต่แพงมาก"), "{table}");
    let shown = stdout(&run(&["targets", "--catalogue", &catalogue], ""));
    for part in ["id = \"doi\"", "\"ตังค์\"", "id = \"parking\"", "id = \"membership\""] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

/// A text with the mentions that people marked in it: `[words|target|sign]`.
struct Labelled {
    text: String,
    mentions: Vec<(std::ops::Range<i32>, String, char)>,
}

fn labelled(file: &str) -> Vec<Labelled> {
    let lines = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read = |line: &str| {
        let mut row = Labelled { text: String::new(), mentions: Vec::new() };
        for piece in line.split('[') {
            let Some((marked, rest)) = piece.split_once(']') else {
                row.text.push_str(piece);
                continue;
            };
            let mut fields = marked.split('|');
            let mut field = || fields.next().unwrap_or_else(|| panic!("three fields in {line}"));
            let (words, target, sign) = (field(), field(), field());
            let begin = i32::try_from(row.text.len()).expect("short");
            row.text.push_str(words);
            let end = i32::try_from(row.text.len()).expect("short");
            let sign = sign.chars().next().filter(|sign| "+-0".contains(*sign)).expect("a sign");
            row.mentions.push((begin..end, target.to_owned(), sign));
            row.text.push_str(rest);
        }
        row
    };
    lines.map(read).collect()
}

#[derive(Debug, Default)]
struct Figures {
    marked: usize,
    shown: usize,
    found: usize,
    right: usize,
    right_of_whole: usize,
}

fn share(of: usize, all: usize) -> f64 {
    f64::from(u32::try_from(of).expect("few")) / f64::from(u32::try_from(all.max(1)).expect("few"))
}

/// Finds the labelled mentions, prints how many and how well, and gives the figures.
async fn measured(name: &str, file: &str) -> Figures {
    let (server, mut client, _) = served().await;
    let mut figures = Figures::default();
    let sign = |of: &Sentiment| {
        let signs = [(SentimentLabel::Positive, '+'), (SentimentLabel::Negative, '-')];
        signs.into_iter().find(|(label, _)| *label == of.label()).map_or('0', |(_, sign)| sign)
    };
    for Labelled { text, mentions } in labelled(file) {
        let answer = ask(&mut client, &text).await;
        let whole = sign(answer.sentiment.as_ref().expect("a sentiment"));
        let mut shown = answer.target_mentions;
        figures.shown += shown.len();
        for (place, target, wanted) in mentions {
            figures.marked += 1;
            figures.right_of_whole += usize::from(whole == wanted);
            // Found is the same target at the same place, or for the same statement at another of its words.
            let overlaps = |span: &Option<TextSpan>| {
                let span = span.expect("a span");
                span.begin_offset < place.end && place.start < span.end_offset
            };
            let same = |mention: &TargetMention| mention.target_id == target;
            let found = shown.iter().position(|mention| same(mention) && overlaps(&mention.span));
            let found = found
                .or_else(|| shown.iter().position(|mention| same(mention) && overlaps(&mention.statement)));
            if let Some(found) = found {
                figures.found += 1;
                figures.right += usize::from(sign(sentiment(&shown.remove(found))) == wanted);
            }
        }
    }
    let Figures { marked, shown, found, right, right_of_whole } = figures;
    println!(
        "{name}: {marked} mentions; found {:.3}; of those shown marked {:.3}; sign right of those found {:.3}, of \
         all {:.3}; with the sign of the whole message {:.3}",
        share(found, marked),
        share(found, shown),
        share(right, found),
        share(right, marked),
        share(right_of_whole, marked),
    );
    server.stop().await.expect("a clean stop");
    figures
}

#[tokio::test]
async fn labelled_mentions_are_found_and_their_signs_beat_that_of_the_message() {
    let figures = measured("mentions.txt", include_str!("../data/mentions.txt")).await;
    let Figures { marked, shown, found, right, right_of_whole } = figures;
    assert!(marked >= 200, "{marked}");
    assert!(share(found, marked) > 0.95 && share(found, shown) > 0.9);
    assert!(share(right, marked) > 0.78 && right > right_of_whole);
    // Nothing was mended by these: they only measure.
    measured("mentions_unseen.txt", include_str!("../data/mentions_unseen.txt")).await;
}
