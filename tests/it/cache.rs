//! The cache as callers see it: the same answer, sooner.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arom::scoring::{Caller, Features, ScoreError, Scored, Scorer, ScoringConfig, Timings};
use arom::telemetry::Metrics;
use futures_util::future::join_all;

use crate::scripted::{Script, Turn};
use crate::support::{count, metric, open_scorer, uncached, until};

fn cached() -> (Scorer, Arc<Metrics>) {
    let metrics = Arc::<Metrics>::default();
    let config = ScoringConfig { cache_bytes: 1 << 20, ..uncached() };
    (open_scorer(&config, Arc::clone(&metrics)), metrics)
}

/// The answer to a text of a caller.
fn ask(caller: &Arc<Caller>, text: &str) -> impl Future<Output = Result<Scored, ScoreError>> + Send + use<> {
    let (caller, text) = (Arc::clone(caller), text.to_owned());
    async move { caller.score(&text, Features::default()).await }
}

/// What does not depend on the clock or on who asked before.
fn timeless(scored: Scored) -> Scored {
    Scored { timings: Timings::default(), cache_hit: false, ..scored }
}

#[tokio::test]
async fn a_text_seen_before_is_not_inferred_again() {
    let (scorer, metrics) = cached();
    let first = scorer.score("อาหารอร่อยมากกก 😍", Features::default()).await.expect("scored");
    // Equal once normalised, though not as sent.
    for text in ["อาหารอร่อยมากกก 😍", "  อาหารอร่อยมากกกกกก 😍 "]
    {
        let again = scorer.score(text, Features::default()).await.expect("scored");
        assert!(again.cache_hit && !first.cache_hit);
        assert_eq!((again.timings.queue, again.timings.infer), (Duration::ZERO, Duration::ZERO));
        assert_eq!(timeless(again), timeless(first.clone()));
    }
    assert!(!scorer.score("อาหารไม่อร่อย", Features::default()).await.expect("scored").cache_hit);
    assert_eq!(metric(&metrics, "arom_cache_lookups_total{result=\"hit\"}"), 2.0);
    assert_eq!(metric(&metrics, "arom_cache_lookups_total{result=\"miss\"}"), 2.0);
    assert_eq!(metric(&metrics, "arom_batch_rows_sum"), 2.0);
    let (entries, bytes) = scorer.cache_level().await;
    assert!(entries == 2 && bytes > 400, "{entries} entries of {bytes} bytes");
}

#[tokio::test]
async fn windows_of_a_cached_text_lie_where_this_text_has_them() {
    let (scorer, _) = cached();
    let text = "อาหารอร่อยมาก บริการดี ".repeat(40) + &"แต่รอนานเกินไป ".repeat(40);
    let first = scorer.score(&text, Features::default()).await.expect("scored");
    assert!(first.windows.len() > 1);
    let shifted = format!("\u{200B}\u{200B} {text}");
    let again = scorer.score(&shifted, Features::default()).await.expect("scored");
    let fresh =
        open_scorer(&uncached(), Arc::default()).score(&shifted, Features::default()).await.expect("scored");
    assert!(again.cache_hit);
    assert_eq!(timeless(again.clone()), timeless(fresh));
    assert_ne!(again.windows.last().map(|w| w.span.clone()), first.windows.last().map(|w| w.span.clone()));
}

#[tokio::test]
async fn many_who_ask_the_same_at_once_share_one_inference() {
    let (scorer, metrics) = cached();
    let text = "ถูกใจมาก ส่งไว".repeat(10);
    let answers = join_all((0..64).map(|_| scorer.score(&text, Features::default()))).await;
    let answers: Vec<Scored> = answers.into_iter().map(|answer| answer.expect("scored")).collect();
    assert_eq!(answers.iter().filter(|answer| !answer.cache_hit).count(), 1);
    assert!(answers.windows(2).all(|pair| pair[0].sentiment == pair[1].sentiment));
    assert_eq!(metric(&metrics, "arom_batch_rows_sum"), 1.0);
}

#[tokio::test]
async fn who_gives_up_first_takes_nothing_from_the_others() {
    let script = Script::new(Turn::Hold);
    let config = ScoringConfig { cache_bytes: 1 << 20, workers: 2, ..uncached() };
    let scorer = script.scorer(&config, Arc::default());
    let text = "ของแท้ไหมคะ ".repeat(20);
    // The first to ask leads the flight.
    let mut leader = Box::pin(scorer.score(&text, Features::default()));
    let led = script.begun(1);
    tokio::select! {
        _ = &mut leader => panic!("the model answers nothing"),
        () = led => {}
    }
    let mut follower = Box::pin(scorer.score(&text, Features::default()));
    assert!(futures_util::poll!(&mut follower).is_pending(), "it waits for the leader");
    assert_eq!(script.runs(), 1);
    drop(leader);
    assert!(futures_util::poll!(&mut follower).is_pending(), "it leads now");
    script.all(Turn::Answer);
    follower.await.expect("scored");
}

#[tokio::test]
async fn a_cache_of_no_bytes_keeps_nothing() {
    let metrics = Arc::<Metrics>::default();
    let scorer = open_scorer(&uncached(), Arc::clone(&metrics));
    for _ in 0..2 {
        assert!(!scorer.score("ดีมาก", Features::default()).await.expect("scored").cache_hit);
    }
    assert_eq!(scorer.cache_level().await, (0, 0));
    assert_eq!(metric(&metrics, "arom_batch_rows_sum"), 2.0);
}

#[tokio::test]
async fn the_cache_stays_within_its_bytes() {
    let metrics = Arc::<Metrics>::default();
    let config = ScoringConfig { cache_bytes: 8192, ..uncached() };
    let scorer = open_scorer(&config, metrics);
    for id in 0..100 {
        scorer.score(&format!("รอบที่ {id}"), Features::default()).await.expect("scored");
    }
    let (entries, bytes) = scorer.cache_level().await;
    assert!(bytes <= 8192 && entries > 5 && entries < 40, "{entries} entries of {bytes} bytes");
}

#[tokio::test]
async fn nobody_waits_in_the_place_of_another_who_asked_for_the_same() {
    /// Runs that end: the one that is held, and two of those that stand before the phrase. All of these are more.
    const RUNS: usize = 3;
    let script = Script::new(Turn::Hold);
    script.each(|rows| if rows.iter().any(|row| row.len() > 60) { Turn::Hold } else { Turn::Answer });
    let metrics = Arc::<Metrics>::default();
    let config = ScoringConfig {
        cache_bytes: 1 << 20,
        workers: 1,
        max_wait: Duration::from_millis(10),
        ..ScoringConfig::default()
    };
    let scorer = script.scorer(&config, Arc::clone(&metrics));
    let queued = || count(&metrics, "arom_queue_windows");
    let long = |number: usize| format!("ฉบับที่ {number} {}", "ข้อความยาว ".repeat(80));
    // One run is held, so that all the rest waits in the queue.
    let first = tokio::spawn(ask(&scorer.patient_caller().into(), &long(0)));
    script.begun(1).await;
    // A stream has long texts in the queue, and its phrase stands behind them.
    let stream = Arc::new(scorer.patient_caller());
    let mut waiting = Vec::new();
    for number in 1..=12 {
        let before = queued();
        waiting.push(tokio::spawn(ask(&stream, &long(number))));
        until(|| queued() > before).await;
    }
    let before = queued();
    let phrase = tokio::spawn(ask(&stream, "ขอบคุณค่ะ"));
    until(|| queued() > before).await;
    // Who asks for the same phrase has a place of its own before long.
    let other = tokio::spawn(ask(&scorer.caller().into(), "ขอบคุณค่ะ"));
    until(|| queued() > before + 1).await;
    script.release(RUNS);
    until(|| other.is_finished()).await;
    other.await.expect("no panic").expect("scored");
    assert!(
        waiting.iter().any(|long| !long.is_finished()),
        "it did not wait for all that stood before the phrase"
    );
    // The stream has the same answer, and its own place is given up.
    phrase.await.expect("no panic").expect("scored");
    script.all(Turn::Answer);
    for one in waiting.into_iter().chain([first]) {
        one.await.expect("no panic").expect("scored");
    }
}

#[tokio::test]
async fn a_refusal_is_not_shared_with_those_who_wait_for_the_same_text() {
    let script = Script::new(Turn::Hold);
    let metrics = Arc::<Metrics>::default();
    // Room for about one of these texts.
    let config = ScoringConfig { cache_bytes: 1 << 20, workers: 1, inbox_tokens: 40, ..uncached() };
    let scorer = script.scorer(&config, Arc::clone(&metrics));
    let first = tokio::spawn(ask(&scorer.patient_caller().into(), "มาก่อนใคร"));
    script.begun(1).await;
    let second = tokio::spawn(ask(&scorer.patient_caller().into(), &"อยู่ในคิว ".repeat(10)));
    until(|| count(&metrics, "arom_queue_windows") == 1).await;
    // There is no room: who is not patient is refused, and who is waits, although it came after the other.
    let text = "ไม่มีที่ว่าง ".repeat(10);
    let (hasty, patient) = (scorer.caller(), scorer.patient_caller());
    let mut hasty = Box::pin(hasty.score(&text, Features::default()));
    let mut patient = Box::pin(patient.score(&text, Features::default()));
    let refused = futures_util::poll!(&mut hasty);
    assert!(matches!(refused, Poll::Ready(Err(ScoreError::QueueFull { .. }))), "{refused:?}");
    assert!(futures_util::poll!(&mut patient).is_pending());
    script.all(Turn::Answer);
    patient.await.expect("it is never refused");
    for one in [first, second] {
        one.await.expect("no panic").expect("scored");
    }
}
