use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::evaluation::Evaluation;
use super::queue::{Caller, Full, Queue, Waiting};
use super::sentiment::Sentiment;
use super::window::Windows;
use crate::model::{Label, Probabilities};

#[derive(Debug)]
struct Job {
    name: u32,
    tokens: usize,
    deadline: Option<Instant>,
    abandoned: bool,
}

impl Waiting for Job {
    fn tokens(&self) -> usize {
        self.tokens
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned
    }
}

fn job(name: u32, tokens: usize) -> Job {
    Job { name, tokens, deadline: None, abandoned: false }
}

const ALICE: Caller = Caller(1);
const BOB: Caller = Caller(2);

/// Names of the jobs to run together, and of those whose deadline has passed.
fn taken(queue: &mut Queue<Job>, now: Instant, budget: usize) -> (Vec<u32>, Vec<u32>) {
    let names = |jobs: Vec<Job>| jobs.into_iter().map(|job| job.name).collect();
    let taken = queue.take(now, budget);
    (names(taken.batch), names(taken.expired))
}

/// The order in which single jobs are taken.
fn order(queue: &mut Queue<Job>) -> Vec<u32> {
    std::iter::from_fn(|| taken(queue, Instant::now(), 1).0.first().copied()).collect()
}

#[test]
fn the_queue_takes_whole_texts_up_to_its_tokens() {
    let mut queue = Queue::new(20);
    queue.push(ALICE, vec![job(1, 4), job(2, 4)]).expect("room for 8");
    assert_eq!(queue.push(ALICE, vec![job(3, 2), job(4, 1)]), Err(Full { tokens: 8 }), "half is the most");
    queue.push(ALICE, vec![job(5, 2)]).expect("room for 2 more");
    queue.push(BOB, vec![job(6, 10)]).expect("the other half");
    assert_eq!(queue.push(Caller(3), vec![job(7, 1)]), Err(Full { tokens: 20 }));
    assert_eq!(order(&mut queue), [1, 6, 2, 5]);
    queue.push(ALICE, vec![job(8, 99)]).expect("an empty queue takes a text of any size");
}

#[test]
fn nobody_works_for_callers_who_have_gone() {
    let mut queue = Queue::new(100);
    let now = Instant::now();
    let late = Job { deadline: Some(now), ..job(1, 1) };
    let gone = Job { abandoned: true, ..job(2, 1) };
    let waiting = Job { deadline: Some(now + Duration::from_secs(1)), ..job(3, 1) };
    queue.push(ALICE, vec![late, gone, waiting]).expect("room");
    assert_eq!(taken(&mut queue, now, 9), (vec![3], vec![1]));
    assert_eq!(taken(&mut queue, now, 9), (vec![], vec![]));
    queue
        .push(ALICE, vec![Job { abandoned: true, ..job(4, 100) }])
        .expect("what was dropped gave its room back");
    queue.push(BOB, vec![job(5, 100)]).expect("a caller who has gone makes room");
    assert_eq!((order(&mut queue), queue.tokens()), (vec![5], 0));
}

#[test]
fn callers_take_turns_by_their_tokens() {
    let mut queue = Queue::new(1000);
    queue.push(ALICE, (0..6).map(|name| job(name, 10)).collect()).expect("room");
    assert_eq!(taken(&mut queue, Instant::now(), 1).0, [0]);
    queue.push(BOB, vec![job(10, 5), job(11, 5)]).expect("room");
    // Bob's first goes before the rest of Alice's, and two of his cost what one of hers does.
    assert_eq!(order(&mut queue), [10, 11, 1, 2, 3, 4, 5]);
}

#[test]
fn a_batch_is_of_like_lengths_and_within_its_tokens() {
    let mut queue = Queue::new(10_000);
    let lengths = [40, 9, 41, 200, 38, 10, 44, 40];
    queue.push(ALICE, (0..).zip(lengths).map(|(name, length)| job(name, length)).collect()).expect("room");
    let now = Instant::now();
    assert_eq!(taken(&mut queue, now, 170).0, [0, 7, 2, 4], "the nearest four, of which the longest has 41");
    assert_eq!(taken(&mut queue, now, 170).0, [1, 5]);
    assert_eq!(taken(&mut queue, now, 170).0, [3], "the first is taken whatever its length");
    assert_eq!(taken(&mut queue, now, 170).0, [6]);
    assert!(queue.is_empty());
}

proptest! {
    #[test]
    fn every_job_is_taken_once_and_no_batch_breaks_its_bounds(
        jobs in prop::collection::vec((0u64..5, 1usize..300, any::<bool>()), 1..60),
        budget in 1usize..2000,
    ) {
        let mut queue = Queue::new(1_000_000);
        for (name, (caller, tokens, abandoned)) in (0..).zip(jobs.clone()) {
            queue.push(Caller(caller), vec![Job { abandoned, ..job(name, tokens) }]).expect("room");
        }
        let mut seen = Vec::new();
        loop {
            let batch = queue.take(Instant::now(), budget).batch;
            let Some(longest) = batch.iter().map(Waiting::tokens).max() else { break };
            prop_assert!(batch.len() == 1 || longest * batch.len() <= budget);
            prop_assert!(batch.iter().all(|job| longest - job.tokens() <= (longest / 8).max(3)));
            seen.extend(batch.into_iter().map(|job| job.name));
        }
        prop_assert!(queue.is_empty() && queue.tokens() == 0);
        seen.sort_unstable();
        let wanted: Vec<u32> = (0..).zip(jobs).filter(|(_, (_, _, abandoned))| !abandoned).map(|(name, _)| name).collect();
        prop_assert_eq!(seen, wanted);
    }
}

#[test]
fn the_retry_delay_is_the_time_the_queue_takes() {
    let full = Full { tokens: 1000 };
    assert_eq!(full.retry_after(Duration::from_micros(200), 2), Duration::from_millis(100));
    assert_eq!(Full { tokens: 1 }.retry_after(Duration::from_micros(1), 8), Duration::from_millis(10));
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
    // Scores of the positives: 0.8667, 0; of the negatives: -0.9333, 0.2. Three of four pairs are in order.
    close(evaluation.polarity_auc.expect("both signs occur"), 0.75);
    assert_eq!(Evaluation::of(&[]).polarity_auc, None);
    close(Evaluation::of(&[(Positive, answer(Positive, 1.0))]).macro_f1, 1.0);
}

mod golden {
    //! The Rust path against the reference that Python's tokenizers and onnxruntime made: tests/golden.

    use std::fs;
    use std::path::Path;

    use serde::Deserialize;

    use crate::model::{Bundle, Runtime, Session};
    use crate::scoring::{Content, Scorer, ScoringConfig};
    use crate::text::normalize;

    /// How far a logit may lie from the reference. AVX-512 gives its five decimals, and so did
    /// AVX2 on the texts tried; a CPU that adds floats
    /// in another order may tip the rounding of an activation, which moves a logit in the third.
    const LOGIT_TOLERANCE: f32 = 0.01;

    #[derive(Deserialize)]
    struct Text {
        text: String,
    }

    #[derive(Deserialize)]
    struct Reference {
        normalized: String,
        windows: Vec<Vec<i64>>,
        logits: Vec<[f32; 4]>,
    }

    fn read<T: for<'de> Deserialize<'de>>(name: &str) -> Vec<T> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let lines = fs::read_to_string(file).expect("it is in the repository");
        lines.lines().map(|line| serde_json::from_str(line).expect("it is JSON of this shape")).collect()
    }

    fn shipped() -> (Bundle, Runtime) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/e5-small-wisesight");
        let bundle = Bundle::read(&folder).expect("the shipped bundle is whole");
        (bundle, Runtime::load(None).expect("the build fetched ONNX Runtime"))
    }

    #[test]
    fn neither_company_nor_padding_moves_a_logit() {
        let (bundle, runtime) = shipped();
        let mut session = Session::open(&runtime, &bundle).expect("the shipped bundle fits");
        let references: Vec<Reference> = read("reference.jsonl");
        let rows: Vec<Vec<i64>> = references.into_iter().flat_map(|reference| reference.windows).collect();
        let mut alone = Vec::new();
        for row in &rows {
            alone.extend(session.run(std::slice::from_ref(row), 1).expect("it runs"));
        }
        for size in [2, 7, 16] {
            let mut together = Vec::new();
            for group in rows.chunks(size) {
                together.extend(session.run(group, 1).expect("it runs"));
            }
            assert!(alone == together, "in batches of {size}, to the bit");
        }
    }

    #[test]
    fn token_ids_and_logits_are_those_of_python() {
        let (bundle, runtime) = shipped();
        let config = ScoringConfig { workers: 1, inbox_tokens: 10_000 };
        let scorer = Scorer::open(&bundle, &runtime, &config).expect("the shipped bundle fits");
        let mut session = Session::open(&runtime, &bundle).expect("the shipped bundle fits");
        let (texts, references): (Vec<Text>, Vec<Reference>) = (read("texts.jsonl"), read("reference.jsonl"));
        assert_eq!(texts.len(), references.len());
        assert!(texts.len() >= 200);
        let waiting = tokio::runtime::Runtime::new().expect("a runtime");
        let scored = waiting.block_on(scorer.score_many(texts.iter().map(|row| row.text.clone()), None));
        let mut furthest = 0.0_f32;
        for ((Text { text }, reference), scored) in texts.iter().zip(&references).zip(scored) {
            let scored = scored.expect("scored");
            assert_eq!(normalize(text).as_str(), reference.normalized, "from {text:?}");
            if scored.content != Content::Linguistic {
                assert_eq!(scored.window_count, 0);
                continue;
            }
            assert_eq!(scorer.rows(text), reference.windows, "token ids of {text:?}");
            for (row, expected) in reference.windows.iter().zip(&reference.logits) {
                let logits = session.run(std::slice::from_ref(row), 1).expect("it runs");
                for (logit, expected) in logits.iter().flatten().zip(expected) {
                    furthest = furthest.max((logit - expected).abs());
                }
            }
            if let [expected] = reference.logits.as_slice() {
                let expected = bundle.manifest.calibration.apply(*expected, bundle.labels);
                for (found, expected) in scored.sentiment.probabilities.0.iter().zip(expected.0) {
                    assert!((found - expected).abs() < LOGIT_TOLERANCE, "probabilities of {text:?}");
                }
            }
        }
        assert!(furthest < LOGIT_TOLERANCE, "a logit is {furthest} from its reference");
        let longest =
            references.iter().map(|reference| reference.windows.iter().map(Vec::len).sum::<usize>()).max();
        assert!(longest > Some(600), "the reference reaches 600 tokens");
    }
}
