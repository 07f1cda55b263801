//! Whether texts are still like those a model was judged on: distributions and their population stability index. Pure.

use std::ops::Add;

use serde::{Deserialize, Serialize};

use super::Label;
use crate::text::Script;

/// Upper ends of the probabilities of the label; the last bin is what is over them.
const CONFIDENCE: [f32; 7] = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95];
/// Upper ends of the lengths, in tokens.
const LENGTH: [usize; 6] = [5, 10, 20, 40, 80, 160];
/// Upper ends of the shares of unknown tokens.
const UNKNOWN: [f32; 3] = [0.0, 0.02, 0.1];

/// What is counted of a scored text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Its label.
    pub label: Label,
    /// Probability of the label.
    pub confidence: f32,
    /// Tokens, without special tokens.
    pub tokens: usize,
    /// Those of them that the vocabulary does not have.
    pub unknown_tokens: usize,
    /// What it is written in.
    pub script: Script,
}

/// Numbers of texts by what drifts; a bundle carries those of its validation texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distributions {
    /// By label, in the order of [`Label::ALL`].
    pub labels: [u64; Label::COUNT],
    /// By probability of the label: up to 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, and more.
    pub confidence: [u64; CONFIDENCE.len() + 1],
    /// By length in tokens: up to 5, 10, 20, 40, 80, 160, and more.
    pub length: [u64; LENGTH.len() + 1],
    /// By the share of tokens that the vocabulary does not have: none, up to 0.02, 0.1, and more.
    pub unknown_tokens: [u64; UNKNOWN.len() + 1],
    /// By script: Thai, Thai with Latin letters, no Thai.
    pub script: [u64; 3],
}

/// The population stability index of each distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// Texts compared with the reference.
    pub texts: u64,
    /// Of the labels.
    pub labels: f64,
    /// Of the probability of the label.
    pub confidence: f64,
    /// Of the length.
    pub length: f64,
    /// Of the share of unknown tokens.
    pub unknown_tokens: f64,
    /// Of the script.
    pub script: f64,
}

impl Drift {
    /// Texts below which an index says little: with 50 and eight bins it is 0.14 by chance alone.
    pub const LEAST_TEXTS: u64 = 500;

    /// What an index says, by the custom of credit scoring (Siddiqi, Credit Risk Scorecards, 2006): below 0.1 steady, up to 0.25
    /// worth a look, over that shifted.
    pub fn verdict(&self, index: f64) -> &'static str {
        match index {
            _ if self.texts < Self::LEAST_TEXTS => "too few texts to say",
            ..0.1 => "steady",
            ..=0.25 => "look",
            _ => "shifted",
        }
    }
}

impl Distributions {
    /// Counts a text.
    pub fn count(&mut self, text: &Observation) {
        #[expect(clippy::cast_precision_loss, reason = "a text has far fewer tokens than 2^24")]
        let unknown = text.unknown_tokens as f32 / text.tokens.max(1) as f32;
        let label = Label::ALL.iter().position(|label| *label == text.label).unwrap_or_default();
        count(&mut self.labels, label);
        count(&mut self.confidence, CONFIDENCE.partition_point(|end| *end < text.confidence));
        count(&mut self.length, LENGTH.partition_point(|end| *end < text.tokens));
        count(&mut self.unknown_tokens, UNKNOWN.partition_point(|end| *end < unknown));
        count(
            &mut self.script,
            match text.script {
                Script::Thai => 0,
                Script::ThaiLatin => 1,
                Script::Other => 2,
            },
        );
    }

    /// Texts counted.
    pub fn texts(&self) -> u64 {
        self.labels.iter().sum()
    }

    /// How far `recent` texts are from these.
    pub fn drift(&self, recent: &Self) -> Drift {
        Drift {
            texts: recent.texts(),
            labels: stability_index(&self.labels, &recent.labels),
            confidence: stability_index(&self.confidence, &recent.confidence),
            length: stability_index(&self.length, &recent.length),
            unknown_tokens: stability_index(&self.unknown_tokens, &recent.unknown_tokens),
            script: stability_index(&self.script, &recent.script),
        }
    }

    /// Why they cannot be a reference.
    pub(super) fn verify(&self) -> Result<(), String> {
        let sums = [&self.confidence[..], &self.length, &self.unknown_tokens, &self.script]
            .map(|counts| counts.iter().sum::<u64>());
        let texts = self.texts();
        if texts == 0 {
            return Err("counts no texts".to_owned());
        }
        match sums.iter().find(|sum| **sum != texts) {
            Some(sum) => Err(format!("counts {texts} texts by label, but {sum} by something else")),
            None => Ok(()),
        }
    }
}

impl Add<&Self> for Distributions {
    type Output = Self;

    fn add(mut self, other: &Self) -> Self {
        let sum = |counts: &mut [u64], others: &[u64]| {
            counts.iter_mut().zip(others).for_each(|(count, other)| *count += other);
        };
        sum(&mut self.labels, &other.labels);
        sum(&mut self.confidence, &other.confidence);
        sum(&mut self.length, &other.length);
        sum(&mut self.unknown_tokens, &other.unknown_tokens);
        sum(&mut self.script, &other.script);
        self
    }
}

impl Drift {
    /// Each figure with its name.
    pub fn figures(&self) -> [(&'static str, f64); 5] {
        let Self { texts: _, labels, confidence, length, unknown_tokens, script } = *self;
        [
            ("labels", labels),
            ("confidence", confidence),
            ("length", length),
            ("unknown_tokens", unknown_tokens),
            ("script", script),
        ]
    }
}

fn count(counts: &mut [u64], bin: usize) {
    if let Some(count) = counts.get_mut(bin) {
        *count += 1;
    }
}

/// Population stability index: the sum over the bins of (a − e) · ln(a / e), a and e the shares of recent and reference
/// texts. Half a text more in every bin keeps an empty one finite.
fn stability_index<const N: usize>(reference: &[u64; N], recent: &[u64; N]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "numbers of texts are far below 2^52")]
    let shares = |counts: &[u64; N]| {
        let total = counts.iter().sum::<u64>() as f64 + 0.5 * N as f64;
        counts.map(|count| (count as f64 + 0.5) / total)
    };
    let pairs = shares(reference).into_iter().zip(shares(recent));
    pairs.map(|(expected, actual)| (actual - expected) * (actual / expected).ln()).sum()
}
