//! The cache as callers see it: the same answer, sooner.

use std::sync::Arc;
use std::time::Duration;

use arom::scoring::{Features, Scored, Scorer, ScoringConfig, Timings};
use arom::telemetry::Metrics;
use futures_util::future::join_all;

use crate::scripted::{Script, Turn};
use crate::support::{metric, open_scorer, uncached};

fn cached() -> (Scorer, Arc<Metrics>) {
    let metrics = Arc::<Metrics>::default();
    let config = ScoringConfig { cache_bytes: 1 << 20, ..uncached() };
    (open_scorer(&config, Arc::clone(&metrics)), metrics)
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
