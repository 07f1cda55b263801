//! From logits to probabilities that mean what they say. Pure.

use serde::{Deserialize, Serialize};

use super::Label;

/// Vector scaling: each class's logit is scaled and shifted, then softmax.
///
/// Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2. Of the bundles that ship all scales are one
/// temperature and the terms 0, fitted on the validation split (`models/training/calibrate.py`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// One positive factor per class, in the order of the model's outputs.
    pub scale: [f64; Label::COUNT],
    /// One term per class, added after scaling.
    pub bias: [f64; Label::COUNT],
}

/// Probabilities of the classes in the order of [`Label::ALL`]; they add up to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probabilities(pub [f32; Label::COUNT]);

impl Calibration {
    pub(super) fn verify(&self) -> Result<(), String> {
        if !self.scale.iter().all(|scale| scale.is_finite() && *scale > 0.0) {
            return Err(format!("has scale {:?}; each must be above 0", self.scale));
        }
        if !self.bias.iter().all(|bias| bias.is_finite()) {
            return Err(format!("has bias {:?}; each must be finite", self.bias));
        }
        Ok(())
    }

    /// The probabilities behind the logits of one window, whose classes stand in the order of `labels`.
    pub fn apply(&self, logits: [f32; Label::COUNT], labels: [Label; Label::COUNT]) -> Probabilities {
        let mut scaled = [0.0_f64; Label::COUNT];
        for (slot, (logit, (scale, bias))) in
            scaled.iter_mut().zip(logits.iter().zip(self.scale.iter().zip(&self.bias)))
        {
            *slot = f64::from(*logit) * scale + bias;
        }
        // The largest is subtracted so that no exponential overflows.
        let largest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights = scaled.map(|value| (value - largest).exp());
        let total: f64 = weights.iter().sum();
        let of = |wanted: Label| {
            let weight = labels.iter().zip(&weights).find(|(label, _)| **label == wanted);
            weight.map_or(0.0, |(_, weight)| weight / total)
        };
        Probabilities(Label::ALL.map(|label| narrow(of(label))))
    }
}

impl Probabilities {
    /// Certainly neutral: what text without language is answered with.
    pub const NEUTRAL: Self = Self([0.0, 1.0, 0.0, 0.0]);

    /// The probability of one class.
    pub fn of(&self, wanted: Label) -> f32 {
        Label::ALL.iter().zip(self.0).find(|(label, _)| **label == wanted).map_or(0.0, |(_, p)| p)
    }

    /// The most probable class; of equals, the first in [`Label::ALL`].
    pub fn label(&self) -> Label {
        let mut best = (Label::Positive, f32::NEG_INFINITY);
        for (label, probability) in Label::ALL.into_iter().zip(self.0) {
            if probability > best.1 {
                best = (label, probability);
            }
        }
        best.0
    }

    /// Positive and negative in each other's place.
    pub fn opposite(&self) -> Self {
        Self(Label::ALL.map(|label| match label {
            Label::Positive => self.of(Label::Negative),
            Label::Negative => self.of(Label::Positive),
            Label::Neutral | Label::Question => self.of(label),
        }))
    }

    /// The probability of neutral given out to the classes as `around` has them.
    pub fn amid(&self, around: &Self) -> Self {
        let open = self.of(Label::Neutral);
        let own = |label| if label == Label::Neutral { 0.0 } else { self.of(label) };
        Self(Label::ALL.map(|label| own(label) + open * around.of(label)))
    }

    /// The probability in [0, 0.75] that the most probable class is wrong.
    pub fn risk(&self) -> f32 {
        1.0 - self.of(self.label())
    }

    /// Shannon's entropy in bits: 0 if one class is certain, 2 if all four are as likely.
    pub fn entropy(&self) -> f32 {
        let certain = |p: &&f32| **p > 0.0;
        // Without the sign of a zero, which `max` alone may keep: protobuf drops it, and files would differ.
        self.0.iter().filter(certain).map(|p| -p * p.log2()).sum::<f32>().max(0.0) + 0.0
    }

    /// Polarity in [-1, 1]: the probability of positive less that of negative.
    pub fn polarity(&self) -> f32 {
        self.of(Label::Positive) - self.of(Label::Negative)
    }

    /// The mean of several, each with its weight.
    pub fn weighted_mean(parts: &[(Probabilities, usize)]) -> Probabilities {
        let total: f64 = parts.iter().map(|(_, weight)| as_float(*weight)).sum();
        let mut mean = [0.0_f64; Label::COUNT];
        for (probabilities, weight) in parts {
            for (slot, probability) in mean.iter_mut().zip(probabilities.0) {
                *slot += f64::from(probability) * as_float(*weight) / total;
            }
        }
        Probabilities(mean.map(narrow))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a probability keeps its meaning in 32 bits")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
fn as_float(count: usize) -> f64 {
    count as f64
}
