mod retry_line;
mod targets;

use std::time::Duration;

use proptest::prelude::*;

use super::behaviour::{Behaviour, BehaviourTest, Expectation};
use super::evaluation::{Evaluation, McNemar};
use super::queue::{Ahead, CallerId, Full, Queue, Waiting};
use super::sentiment::Sentiment;
use super::slices::slices;
use super::window::Windows;
use super::workers::Pace;
use crate::model::{Label, Probabilities};

#[derive(Debug)]
struct Job {
    name: u32,
    tokens: usize,
}

impl Waiting for Job {
    fn tokens(&self) -> usize {
        self.tokens
    }
}

fn job(name: u32, tokens: usize) -> Job {
    Job { name, tokens }
}

const ALICE: CallerId = CallerId(1);
const BOB: CallerId = CallerId(2);
const CAROL: CallerId = CallerId(3);

/// However long it takes.
const PATIENT: Ahead = ahead(usize::MAX);

const fn ahead(tokens: usize) -> Ahead {
    Ahead { callers: 0, tokens }
}

/// Names of the jobs to run together.
fn taken(queue: &mut Queue<Job>, budget: usize) -> Vec<u32> {
    queue.take(budget).into_iter().map(|job| job.name).collect()
}

/// The order in which single jobs are taken.
fn order(queue: &mut Queue<Job>) -> Vec<u32> {
    std::iter::from_fn(|| taken(queue, 1).first().copied()).collect()
}

#[test]
fn the_queue_takes_whole_texts_up_to_its_tokens() {
    let mut queue = Queue::new(20);
    queue.push(ALICE, vec![job(1, 4), job(2, 4)], PATIENT).expect("room for 8");
    let refused = queue.push(ALICE, vec![job(3, 2), job(4, 1)], PATIENT);
    assert!(refused.is_err(), "half is the most");
    queue.push(ALICE, vec![job(5, 2)], PATIENT).expect("room for 2 more");
    queue.push(BOB, vec![job(6, 10)], PATIENT).expect("the other half");
    assert!(queue.push(CAROL, vec![job(7, 1)], PATIENT).is_err(), "the whole is the most");
    assert_eq!(order(&mut queue), [1, 2, 6, 5]);
    queue.push(ALICE, vec![job(8, 99)], PATIENT).expect("an empty queue takes a text of any size");
}

#[test]
fn nobody_is_let_wait_too_long() {
    let mut queue = Queue::new(1000);
    queue.push(ALICE, vec![job(1, 10)], ahead(15)).expect("nothing is before it");
    queue.push(BOB, vec![job(2, 10)], ahead(15)).expect("10 before it");
    assert_eq!(queue.push(CAROL, vec![job(3, 1)], ahead(15)), Err(Full { tokens: 20 }));
    // A batch is let in by its first text, and then waits for itself.
    queue.push(ALICE, vec![job(4, 10)], ahead(15)).expect("her own go before it");
    // What stands behind others does not count for those who go before it.
    let mut queue = Queue::new(1000);
    for name in 0..20 {
        queue.push(ALICE, vec![job(name, 10)], ahead(15)).expect("her own go before it");
    }
    queue.push(BOB, vec![job(20, 10)], ahead(15)).expect("one of hers goes before it");
    queue.push(CAROL, vec![job(21, 10)], ahead(15)).expect_err("20 before it");
    // A burst is no overload.
    let mut queue = Queue::new(1000);
    let burst = Ahead { callers: 3, tokens: 15 };
    for caller in 0..3 {
        queue.push(CallerId(caller), vec![job(0, 10)], burst).expect("fewer than three wait");
    }
    queue.push(CallerId(3), vec![job(0, 10)], burst).expect_err("three wait");
}

#[test]
fn what_nobody_waits_for_leaves_the_queue_at_once() {
    let mut queue = Queue::new(200);
    let [first, second, third] = [1, 2, 3].map(|name| {
        let places = queue.push(ALICE, vec![job(name, 30)], PATIENT).expect("room");
        *places.first().expect("a place for each")
    });
    queue.push(BOB, vec![job(4, 111)], PATIENT).expect_err("no room");
    assert!(queue.cancel(first) && queue.cancel(second));
    assert_eq!((queue.tokens(), queue.len()), (30, 1));
    queue.push(BOB, vec![job(4, 111)], PATIENT).expect("who has gone makes room");
    assert!(!queue.cancel(first), "it is gone already");
    assert_eq!(taken(&mut queue, 1), [4], "the line did not move while nobody worked");
    assert_eq!(taken(&mut queue, 1), [3]);
    assert!(!queue.cancel(third), "a worker has it");
    assert_eq!((queue.tokens(), queue.len()), (0, 0));
}

#[test]
fn callers_take_turns_by_their_tokens() {
    let mut queue = Queue::new(1000);
    let push = |queue: &mut Queue<Job>, caller, name, tokens| {
        queue.push(caller, vec![job(name, tokens)], PATIENT).expect("room");
    };
    (0..6).for_each(|name| push(&mut queue, ALICE, name, 10));
    assert_eq!(taken(&mut queue, 1), [0]);
    (10..12).for_each(|name| push(&mut queue, BOB, name, 5));
    // Bob's first goes before the rest of Alice's, and two of his cost what one of hers does.
    assert_eq!(order(&mut queue), [10, 11, 1, 2, 3, 4, 5]);
}

#[test]
fn newcomers_keep_nobody_waiting_for_ever() {
    let mut queue = Queue::new(100_000);
    let long = (1..5).map(|name| job(name, 600)).collect();
    queue.push(ALICE, long, PATIENT).expect("room");
    let mut newcomers = (5..).map(|name| (CallerId(u64::from(name)), vec![job(name, 30)]));
    let mut arrive = |queue: &mut Queue<Job>| {
        let (caller, jobs) = newcomers.next().expect("there is always another");
        queue.push(caller, jobs, PATIENT).expect("room");
    };
    (0..50).for_each(|_| arrive(&mut queue));
    let mut seen = Vec::new();
    // As many come as are done: the queue never gets shorter.
    for round in 0..2000 {
        arrive(&mut queue);
        seen.extend(taken(&mut queue, 30).into_iter().filter(|name| *name < 5));
        if seen.len() == 4 {
            assert!(round > 50, "a long text does not go before everybody");
            return;
        }
    }
    panic!("of a text's windows only {seen:?} were taken");
}

#[test]
fn a_job_overtakes_only_so_many_of_others_to_join_its_length() {
    let mut queue = Queue::new(100_000);
    let mut push =
        |caller, name, tokens| queue.push(CallerId(caller), vec![job(name, tokens)], PATIENT).expect("room");
    push(0, 0, 10);
    (1..9).for_each(|caller| _ = push(caller, 1, 200));
    push(9, 2, 10);
    push(0, 3, 10);
    assert_eq!(taken(&mut queue, 512), [0, 3], "only who stands behind its own goes before all others");
    assert_eq!(taken(&mut queue, 512), [1, 1]);
    assert_eq!(queue.len(), 7);
}

#[test]
fn the_windows_of_a_text_wait_together() {
    let mut queue = Queue::new(100_000);
    queue.push(ALICE, vec![job(1, 250), job(2, 90), job(3, 30)], PATIENT).expect("room");
    queue.push(BOB, vec![job(4, 30)], PATIENT).expect("room");
    queue.push(ALICE, vec![job(5, 30)], PATIENT).expect("room");
    assert_eq!(order(&mut queue), [1, 2, 3, 4, 5], "her second text waits for his");
}

#[test]
fn a_batch_is_of_like_lengths_and_within_its_tokens() {
    let mut queue = Queue::new(10_000);
    let lengths = [40, 9, 41, 200, 38, 10, 44, 40];
    queue
        .push(ALICE, (0..).zip(lengths).map(|(name, length)| job(name, length)).collect(), PATIENT)
        .expect("room");
    assert_eq!(taken(&mut queue, 170), [0, 2, 4, 7], "44 would make four of them too many");
    assert_eq!(taken(&mut queue, 170), [1, 5]);
    assert_eq!(taken(&mut queue, 170), [3], "the first is taken whatever its length");
    assert_eq!(taken(&mut queue, 170), [6]);
    assert_eq!(queue.len(), 0);
}

proptest! {
    #[test]
    fn every_job_is_taken_or_cancelled_once_and_no_batch_breaks_its_bounds(
        jobs in prop::collection::vec((0u64..5, 1usize..300, any::<bool>()), 1..60),
        budget in 1usize..2000,
    ) {
        let mut queue = Queue::new(1_000_000);
        let mut leaving = Vec::new();
        for (name, (caller, tokens, leaves)) in (0..).zip(jobs.clone()) {
            let places = queue.push(CallerId(caller), vec![job(name, tokens)], PATIENT).expect("room");
            leaving.extend(places.into_iter().filter(|_| leaves));
        }
        for place in leaving {
            prop_assert!(queue.cancel(place));
        }
        let mut seen = Vec::new();
        loop {
            let batch = queue.take(budget);
            let Some(longest) = batch.iter().map(Waiting::tokens).max() else { break };
            prop_assert!(batch.len() == 1 || longest * batch.len() <= budget);
            prop_assert!(batch.iter().all(|job| longest - job.tokens() <= (longest / 8).max(3)));
            seen.extend(batch.into_iter().map(|job| job.name));
        }
        prop_assert!(queue.len() == 0 && queue.tokens() == 0);
        seen.sort_unstable();
        let wanted: Vec<u32> = (0..).zip(jobs).filter(|(_, (_, _, leaves))| !leaves).map(|(name, _)| name).collect();
        prop_assert_eq!(seen, wanted);
    }
}

#[test]
fn tokens_are_time_at_the_pace_of_the_workers() {
    let pace = Pace { per_token: Duration::from_micros(200), workers: 2 };
    assert_eq!(pace.time_for(1000), Duration::from_millis(100));
    assert_eq!(pace.tokens_within(Duration::from_millis(100)), 1000);
}

proptest! {
    #[test]
    fn windows_cover_every_token_and_overlap(size in 2usize..300, share in 0usize..100, length in 0usize..3000) {
        let overlap = (size / 2 * share / 100).min(size - 1);
        let cut = Windows { size, overlap }.cut(length);
        prop_assert_eq!(cut.first().map(|range| range.start), Some(0));
        prop_assert_eq!(cut.last().map(|range| range.end), Some(length));
        prop_assert!(cut.iter().all(|range| range.len() <= size));
        prop_assert!(cut.len() == 1 || cut.iter().all(|range| range.len() == size));
        for (left, right) in cut.iter().zip(cut.iter().skip(1)) {
            prop_assert!(left.start < right.start && left.end >= right.start + overlap);
        }
    }
}

#[test]
fn doubt_is_measured_and_what_is_left_is_counted() {
    let sure = Probabilities([0.9, 0.05, 0.05, 0.0]);
    let torn = Probabilities([0.25; 4]);
    assert_eq!((torn.entropy(), torn.risk()), (2.0, 0.75));
    assert_eq!((Probabilities::NEUTRAL.entropy(), Probabilities::NEUTRAL.risk()), (0.0, 0.0));
    assert!((sure.entropy() - 0.569).abs() < 0.001 && (sure.risk() - 0.1).abs() < 1e-6);
    let rows =
        [(Label::Positive, sure), (Label::Negative, sure), (Label::Positive, torn), (Label::Question, torn)];
    let found = Evaluation::of(&rows);
    let at = |max_risk: f32| {
        let point = found
            .risk_coverage
            .iter()
            .find(|point| point.max_risk == max_risk)
            .expect("a point of the curve");
        (point.coverage, point.error)
    };
    assert_eq!(at(0.05), (0.0, 0.0));
    assert_eq!(at(0.2), (0.5, 0.5));
    assert_eq!(at(1.0), (1.0, 0.5));
    // Wrong among the first 1, 2, 3, 4: 0, 1, 1, 2.
    assert!((found.risk_coverage_area - (0.0 + 1.0 / 2.0 + 1.0 / 3.0 + 2.0 / 4.0) / 4.0).abs() < 1e-12);
}

#[test]
fn windows_are_merged_by_their_tokens() {
    let (glad, angry) = (Probabilities([0.8, 0.1, 0.1, 0.0]), Probabilities([0.0, 0.2, 0.8, 0.0]));
    let both = Sentiment::of_windows(&[(glad, 300), (angry, 100)]);
    let close = |left: f32, right: f32| assert!((left - right).abs() < 1e-6, "{left} is not {right}");
    close(both.probabilities.of(Label::Positive), 0.6);
    close(both.probabilities.of(Label::Negative), 0.275);
    close(both.score, 0.325);
    close(both.magnitude, 1.5);
    assert_eq!((both.label, both.mixed), (Label::Positive, true));
    let alone = Sentiment::of_windows(&[(glad, 7)]);
    assert_eq!((alone.probabilities, alone.mixed), (glad, false));
}

fn answer(label: Label, sure: f32) -> Probabilities {
    let rest = (1.0 - sure) / 3.0;
    Probabilities(Label::ALL.map(|other| if other == label { sure } else { rest }))
}

/// The expected figures are scikit-learn's for the same rows.
#[test]
fn figures_are_those_of_scikit_learn() {
    use Label::{Negative, Neutral, Positive, Question};
    let rows: Vec<(Label, Probabilities)> = [
        (Positive, Positive, 0.9),
        (Positive, Neutral, 0.5),
        (Neutral, Neutral, 0.8),
        (Neutral, Neutral, 0.7),
        (Neutral, Negative, 0.6),
        (Negative, Negative, 0.95),
        (Negative, Positive, 0.4),
        (Question, Neutral, 0.55),
    ]
    .into_iter()
    .map(|(truth, answered, sure)| (truth, answer(answered, sure)))
    .collect();
    let evaluation = Evaluation::of(&rows);
    let close = |left: f64, right: f64| assert!((left - right).abs() < 1e-6, "{left} is not {right}");
    close(evaluation.micro_f1, 0.5);
    // f1_score([0,0,1,1,1,2,2,3], [0,1,1,1,2,2,0,1], average=None) = [0.5, 0.571428..., 0.5, 0]
    close(evaluation.macro_f1, (0.5 + 4.0 / 7.0 + 0.5) / 4.0);
    assert_eq!(evaluation.confusion, [[1, 1, 0, 0], [0, 2, 1, 0], [1, 0, 1, 0], [0, 1, 0, 0]]);
    // By hand: every answer lies in a bin of its own, so each adds the distance of its probability from 1 if it
    // is right and from 0 if it is wrong.
    let bins = 0.1 + 0.5 + 0.2 + 0.3 + 0.6 + 0.05 + 0.4 + 0.55;
    close(evaluation.expected_calibration_error, bins / 8.0);
    // Three answers of one bin, one of them wrong, and one of another.
    let shared = [(Positive, 0.75), (Positive, 0.75), (Negative, 0.75), (Positive, 0.45)];
    let shared = shared.map(|(truth, sure)| (truth, answer(Positive, sure)));
    close(Evaluation::of(&shared).expected_calibration_error, (3.0 * 0.75 - 2.0 + 0.55) / 4.0);
    // log_loss of the same rows.
    close(evaluation.log_loss, 1.006212);
    close(Evaluation::of(&[(Positive, answer(Negative, 1.0))]).log_loss, 23.0 * 2_f64.ln());
    // Scores of the positives: 0.8667, 0; of the negatives: -0.9333, 0.2. Three of four pairs are in order.
    close(evaluation.polarity_auc.expect("both signs occur"), 0.75);
    assert_eq!(Evaluation::of(&[]).polarity_auc, None);
    close(Evaluation::of(&[(Positive, answer(Positive, 1.0))]).macro_f1, 1.0);
}

mod golden {
    //! The Rust path against the reference that Python's tokenizers and onnxruntime made: tests/golden.

    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use futures_util::StreamExt;
    use serde::Deserialize;

    use crate::model::{Bundle, Model, Runtime};
    use crate::scoring::{Content, Features, Scorer, ScoringConfig};
    use crate::text::normalize;

    /// How far a logit may lie from the reference. AVX-512 with VNNI gives its five decimals. A CPU that adds floats in another order
    /// now and then tips the rounding of an activation to the next of its 256 steps: with AVX2 alone (EPYC of the first generation) 95
    /// of 100 logits lay within 0.0004, 1 beyond 0.01 and the furthest at 0.038, measured with the bundle before these.
    const LOGIT_TOLERANCE: f32 = 0.01;

    /// How many of 100 logits may lie further than that.
    const TIPPED: usize = 5;

    /// How far those may.
    const TIPPED_TOLERANCE: f32 = 0.1;

    #[derive(Deserialize)]
    struct Text {
        text: String,
    }

    #[derive(Deserialize)]
    struct Reference {
        normalized: String,
        windows: Vec<Vec<i64>>,
        /// Of each bundle that ships.
        logits: BTreeMap<String, Vec<[f32; 4]>>,
    }

    const SHIPPED: [&str; 2] = ["arom-base", "arom-fast"];

    fn read<T: for<'de> Deserialize<'de>>(name: &str) -> Vec<T> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let lines = fs::read_to_string(file).expect("it is in the repository");
        lines.lines().map(|line| serde_json::from_str(line).expect("it is JSON of this shape")).collect()
    }

    fn shipped(name: &str) -> (Bundle, Runtime) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
        let bundle = Bundle::read(&folder).expect("the shipped bundle is whole");
        (bundle, Runtime::load(None).expect("the build fetched ONNX Runtime"))
    }

    #[test]
    fn neither_company_nor_padding_moves_a_logit() {
        SHIPPED.into_iter().for_each(company_moves_none);
    }

    fn company_moves_none(name: &str) {
        let (bundle, runtime) = shipped(name);
        let mut session = Model::load(&runtime, &bundle)
            .and_then(|model| model.session())
            .expect("the shipped bundle fits");
        let references: Vec<Reference> = read("reference.jsonl");
        let rows: Vec<Vec<i64>> = references.into_iter().flat_map(|reference| reference.windows).collect();
        let mut alone = Vec::new();
        for row in &rows {
            alone.extend(session.run(std::slice::from_ref(row), 1).expect("it runs"));
        }
        // Batches of few rows and of many, in turn.
        let (mut together, mut rest, mut sizes) =
            (Vec::new(), rows.as_slice(), [2, 7, 16].into_iter().cycle());
        while let (false, Some(size)) = (rest.is_empty(), sizes.next()) {
            let (group, after) = rest.split_at(size.min(rest.len()));
            together.extend(session.run(group, 1).expect("it runs"));
            rest = after;
        }
        assert!(alone == together, "{name} in batches, to the bit");
    }

    #[test]
    fn token_ids_and_logits_are_those_of_python() {
        SHIPPED.into_iter().for_each(as_python_does);
    }

    fn as_python_does(name: &str) {
        let (bundle, runtime) = shipped(name);
        let config = ScoringConfig::default();
        let scorer =
            Scorer::open(&bundle, &runtime, &config, Arc::default()).expect("the shipped bundle fits");
        let mut session = Model::load(&runtime, &bundle)
            .and_then(|model| model.session())
            .expect("the shipped bundle fits");
        let (texts, references): (Vec<Text>, Vec<Reference>) = (read("texts.jsonl"), read("reference.jsonl"));
        assert_eq!(texts.len(), references.len());
        assert!(texts.len() >= 200);
        let waiting = tokio::runtime::Runtime::new().expect("a runtime");
        let scored = waiting.block_on(
            scorer.score_all(texts.iter().map(|row| (&row.text, Features::default()))).collect::<Vec<_>>(),
        );
        let (mut count, mut tipped, mut furthest) = (0, 0, 0.0_f32);
        for ((Text { text }, reference), scored) in texts.iter().zip(&references).zip(scored) {
            let scored = scored.expect("scored");
            assert_eq!(normalize(text).as_str(), reference.normalized, "from {text:?}");
            if scored.content != Content::Linguistic {
                assert_eq!(scored.window_count, 0);
                continue;
            }
            assert_eq!(
                scorer.rows(text).expect("any text can be tokenised"),
                reference.windows,
                "token ids of {text:?}"
            );
            let wanted = reference.logits.get(name).expect("each bundle has its logits");
            assert_eq!(
                wanted.len(),
                reference.windows.len(),
                "one row of logits for each window of {text:?}"
            );
            for (row, expected) in reference.windows.iter().zip(wanted) {
                let logits = session.run(std::slice::from_ref(row), 1).expect("it runs");
                for (logit, expected) in logits.iter().flatten().zip(expected) {
                    let distance = (logit - expected).abs();
                    (count, tipped) = (count + 1, tipped + usize::from(distance > LOGIT_TOLERANCE));
                    furthest = furthest.max(distance);
                }
            }
            if let [expected] = wanted.as_slice() {
                let expected = bundle.manifest.calibration.apply(*expected, bundle.labels);
                for (found, expected) in scored.sentiment.probabilities.0.iter().zip(expected.0) {
                    // A probability moves by at most a quarter of what its logit does beside the others.
                    assert!((found - expected).abs() < TIPPED_TOLERANCE / 2.0, "probabilities of {text:?}");
                }
            }
        }
        assert!(furthest < TIPPED_TOLERANCE, "{name}: a logit is {furthest} from its reference");
        assert!(
            tipped * 100 <= count * TIPPED,
            "{name}: {tipped} of {count} logits are not those of the reference"
        );
        let longest =
            references.iter().map(|reference| reference.windows.iter().map(Vec::len).sum::<usize>()).max();
        assert!(longest > Some(600), "the reference reaches 600 tokens");
    }
}

#[test]
fn two_models_are_told_apart_by_the_exact_test() {
    use Label::{Negative, Positive};
    for (first_right, second_right, p_value) in
        [(0, 0, 1.0), (5, 5, 1.0), (10, 2, 0.038_574_218_75), (1000, 1100, 0.030_720_707_864)]
    {
        let only = |count, first, second| std::iter::repeat_n((Positive, first, second), count);
        let labels = only(first_right, Positive, Negative)
            .chain(only(second_right, Negative, Positive))
            .chain(only(3, Positive, Positive))
            .chain(only(2, Negative, Negative));
        let found = McNemar::of(labels);
        assert_eq!((found.both_right, found.neither_right), (3, 2));
        assert_eq!((found.first_right, found.second_right), (first_right, second_right));
        assert!((found.p_value - p_value).abs() < 1e-9, "{first_right} {second_right}: {}", found.p_value);
    }
}

#[test]
fn a_behaviour_is_met_by_its_margin() {
    let answer =
        |positive: f32, negative: f32| Probabilities([positive, 1.0 - positive - negative, negative, 0.0]);
    let (good, fair, bad) = (answer(0.9, 0.0), answer(0.85, 0.0), answer(0.1, 0.8));
    for (expect, text, other, met) in [
        (Expectation::Lower, good, Some(bad), true),
        (Expectation::Lower, good, Some(fair), false),
        (Expectation::Lower, bad, Some(good), false),
        (Expectation::Higher, bad, Some(good), true),
        (Expectation::Higher, fair, Some(good), false),
        (Expectation::NotLower, good, Some(fair), true),
        (Expectation::NotLower, good, Some(bad), false),
        (Expectation::NotHigher, fair, Some(good), true),
        (Expectation::NotHigher, bad, Some(good), false),
        (Expectation::Same, good, Some(fair), true),
        (Expectation::Same, good, Some(bad), false),
        (Expectation::Positive, good, None, true),
        (Expectation::Negative, good, None, false),
    ] {
        let test = BehaviourTest {
            capability: "any".to_owned(),
            text: "first".to_owned(),
            other: other.map(|_| "second".to_owned()),
            expect,
        };
        assert_eq!(test.verify(), Ok(()));
        let behaviour = Behaviour::of([(test, text, other)]);
        assert_eq!(behaviour.failures.is_empty(), met, "{expect:?} {text:?} {other:?}");
        assert_eq!((behaviour.tests, behaviour.pass_rate > 0.5), (1, met));
    }
}

#[test]
fn a_text_is_in_its_slices() {
    for (text, channel, wanted) in [
        ("ดีมากกก 555", Some("review"), vec!["up to 20 characters", "555", "elongation", "channel review"]),
        ("ราคา 1,555 บาท", None, vec!["up to 20 characters"]),
        (
            "service ไม่ดีเลย 😡 จริง ๆ",
            None,
            vec!["21 to 60 characters", "emoji", "ๆ", "negation", "code-mixed"],
        ),
        ("ดู https://example.com #โปร", None, vec!["21 to 60 characters", "URL", "hashtag"]),
        ("รอนานมากค่ะ", None, vec!["up to 20 characters", "particle"]),
        ("คะแนนเต็มสิบ", None, vec!["up to 20 characters"]),
        ("มีแต่คุณค่า ดูสถานะ ตรงหน้า", None, vec!["21 to 60 characters"]),
        ("ส่งไวนะคะ ชอบ", None, vec!["up to 20 characters", "particle"]),
        ("so good", None, vec!["up to 20 characters", "no Thai"]),
    ] {
        assert_eq!(slices(text, channel), wanted, "{text}");
    }
}
