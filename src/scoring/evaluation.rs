//! How well labels and probabilities fit the truth. Pure.

use serde::Serialize;

use crate::model::{Label, Probabilities};

/// Where the risk-coverage curve is read.
const MAX_RISKS: [f32; 7] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0];

/// Bins of the expected calibration error.
const BINS: usize = 15;

/// The figures of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Texts evaluated.
    pub rows: usize,
    /// F1 over all decisions. Each text has one label, so this equals accuracy.
    pub micro_f1: f64,
    /// Mean F1 of the classes that occur in the truth or the answers, as scikit-learn has it.
    pub macro_f1: f64,
    /// Expected calibration error over 15 bins of equal width: the mean distance between the probability of
    /// the answer and how often it is right (Guo et al. 2017).
    pub expected_calibration_error: f64,
    /// Mean of −ln of the probability that the true label was given, in nats: 0 if it was always certain, 1.386 if all four
    /// were always held alike. A probability below 2⁻²³ counts as that.
    pub log_loss: f64,
    /// How often a random positive text has a higher score than a random negative one; absent without both.
    pub polarity_auc: Option<f64>,
    /// What is left, and how much of it is wrong, if what is too doubtful is not answered.
    pub risk_coverage: Vec<RiskCoverage>,
    /// Area under the risk-coverage curve: the mean error of answering only the k surest texts, over all k (Geifman
    /// and El-Yaniv 2017). 0 if every error is among the last.
    pub risk_coverage_area: f64,
    /// Per class, in the order of [`Label::ALL`].
    pub classes: Vec<ClassFigures>,
    /// Texts by true label (rows) and answer (columns), both in the order of [`Label::ALL`].
    pub confusion: [[usize; Label::COUNT]; Label::COUNT],
}

/// One point of the risk-coverage curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RiskCoverage {
    /// The setting: answers that are wrong with a higher probability are marked.
    pub max_risk: f32,
    /// Share of the texts whose answer is not marked.
    pub coverage: f64,
    /// Share of those that are wrong; 0 if there is none.
    pub error: f64,
}

/// The figures of one class. A ratio without a denominator is 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassFigures {
    /// The class.
    pub label: Label,
    /// Of the answers of this class, the share that is right.
    pub precision: f64,
    /// Of the texts of this class, the share that is found.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Texts of this class.
    pub support: usize,
}

impl Evaluation {
    /// Compares true labels with answers.
    pub fn of(rows: &[(Label, Probabilities)]) -> Self {
        let mut confusion = [[0; Label::COUNT]; Label::COUNT];
        for (truth, answer) in rows {
            if let Some(cell) =
                confusion.get_mut(index(*truth)).and_then(|row| row.get_mut(index(answer.label())))
            {
                *cell += 1;
            }
        }
        let cell = |truth: usize, answer: usize| {
            confusion.get(truth).and_then(|row| row.get(answer)).copied().unwrap_or(0)
        };
        let all = 0..Label::COUNT;
        let (classes, occurs): (Vec<ClassFigures>, Vec<bool>) = Label::ALL
            .into_iter()
            .enumerate()
            .map(|(at, label)| {
                let support: usize = all.clone().map(|answer| cell(at, answer)).sum();
                let answered: usize = all.clone().map(|truth| cell(truth, at)).sum();
                let right = cell(at, at);
                let f1 = ratio(2 * right, support + answered);
                let (precision, recall) = (ratio(right, answered), ratio(right, support));
                (ClassFigures { label, precision, recall, f1, support }, support + answered > 0)
            })
            .unzip();
        let occurring: Vec<f64> =
            classes.iter().zip(occurs).filter(|(_, occurs)| *occurs).map(|(class, _)| class.f1).collect();
        let right: usize = all.map(|at| cell(at, at)).sum();
        Self {
            rows: rows.len(),
            micro_f1: ratio(right, rows.len()),
            macro_f1: occurring.iter().sum::<f64>() / float(occurring.len().max(1)),
            expected_calibration_error: calibration_error(rows),
            log_loss: log_loss(rows),
            polarity_auc: polarity_auc(rows),
            risk_coverage: MAX_RISKS.iter().map(|max_risk| risk_coverage(rows, *max_risk)).collect(),
            risk_coverage_area: risk_coverage_area(rows),
            classes,
            confusion,
        }
    }
}

/// Whether one of two models is right more often than the other on the same texts, or only by luck (McNemar 1947).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct McNemar {
    /// Texts that both have right.
    pub both_right: usize,
    /// Texts that only the first has right.
    pub first_right: usize,
    /// Texts that only the second has right.
    pub second_right: usize,
    /// Texts that neither has right.
    pub neither_right: usize,
    /// How likely a difference at least as large is if both are right equally often: the exact two-sided binomial test
    /// on the texts that one has right and the other has not.
    pub p_value: f64,
}

impl McNemar {
    /// Compares the labels that two models give to texts with the true ones: truth, first, second.
    pub fn of(labels: impl Iterator<Item = (Label, Label, Label)>) -> Self {
        let mut counts = [[0; 2]; 2];
        for (truth, first, second) in labels {
            if let Some(count) = counts
                .get_mut(usize::from(first != truth))
                .and_then(|row| row.get_mut(usize::from(second != truth)))
            {
                *count += 1;
            }
        }
        let [[both_right, first_right], [second_right, neither_right]] = counts;
        let p_value = binomial_two_sided(first_right.min(second_right), first_right + second_right);
        Self { both_right, first_right, second_right, neither_right, p_value }
    }
}

/// How likely at most `few` of `count` fair coins fall on one side, or on the other.
fn binomial_two_sided(few: usize, count: usize) -> f64 {
    // In logarithms: the coefficients of a few thousand coins are beyond any float.
    let mut log_term = -float(count) * std::f64::consts::LN_2;
    let mut tail = log_term.exp();
    for taken in 1..=few {
        log_term += (float(count - taken + 1) / float(taken)).ln();
        tail += log_term.exp();
    }
    (2.0 * tail).min(1.0)
}

fn risk_coverage(rows: &[(Label, Probabilities)], max_risk: f32) -> RiskCoverage {
    let answered = || rows.iter().filter(|(_, answer)| answer.risk() <= max_risk);
    let wrong = answered().filter(|(truth, answer)| answer.label() != *truth).count();
    let answered = answered().count();
    RiskCoverage { max_risk, coverage: ratio(answered, rows.len()), error: ratio(wrong, answered) }
}

fn risk_coverage_area(rows: &[(Label, Probabilities)]) -> f64 {
    let mut by_risk: Vec<(f32, bool)> =
        rows.iter().map(|(truth, answer)| (answer.risk(), answer.label() != *truth)).collect();
    by_risk.sort_by(|left, right| left.0.total_cmp(&right.0));
    let mut wrong = 0;
    let errors = by_risk.iter().zip(1..).map(|((_, is_wrong), answered)| {
        wrong += usize::from(*is_wrong);
        ratio(wrong, answered)
    });
    errors.sum::<f64>() / float(rows.len().max(1))
}

fn calibration_error(rows: &[(Label, Probabilities)]) -> f64 {
    let mut bins = [(0.0, 0.0); BINS];
    for (truth, answer) in rows {
        let confidence = f64::from(answer.of(answer.label()));
        // The bin edges belong to the bin below, as in the paper.
        let bin = (1..BINS).filter(|edge| confidence > float(*edge) / float(BINS)).count();
        if let Some((sure, right)) = bins.get_mut(bin) {
            *sure += confidence;
            *right += if answer.label() == *truth { 1.0 } else { 0.0 };
        }
    }
    bins.iter().map(|(sure, right): &(f64, f64)| (sure - right).abs()).sum::<f64>() / float(rows.len().max(1))
}

fn log_loss(rows: &[(Label, Probabilities)]) -> f64 {
    let losses = rows.iter().map(|(truth, answer)| -f64::from(answer.of(*truth).max(f32::EPSILON)).ln());
    // Of certain answers the sum is -0.
    (0.0 + losses.sum::<f64>()) / float(rows.len().max(1))
}

/// The Mann-Whitney statistic; texts of equal score count half.
fn polarity_auc(rows: &[(Label, Probabilities)]) -> Option<f64> {
    let mut scores: Vec<(f32, bool)> = rows
        .iter()
        .filter(|(truth, _)| matches!(truth, Label::Positive | Label::Negative))
        .map(|(truth, answer)| (answer.polarity(), *truth == Label::Positive))
        .collect();
    scores.sort_by(|left, right| left.0.total_cmp(&right.0));
    let positives = scores.iter().filter(|(_, positive)| *positive).count();
    let negatives = scores.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    let (mut wins, mut below) = (0.0, 0);
    for tied in scores.chunk_by(|left, right| left.0.total_cmp(&right.0).is_eq()) {
        let up = tied.iter().filter(|(_, positive)| *positive).count();
        let down = tied.len() - up;
        wins += float(up) * (float(below) + float(down) / 2.0);
        below += down;
    }
    Some(wins / (float(positives) * float(negatives)))
}

fn index(label: Label) -> usize {
    Label::ALL.iter().position(|other| *other == label).unwrap_or(0)
}

pub(super) fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

#[expect(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}
