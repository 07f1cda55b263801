//! The model bundle: verified files, tokenizer, ONNX Runtime session and calibration.

mod bundle;
mod calibration;
mod drift;
mod inference;
mod runtime;
mod runtime_telemetry;
mod session;
mod tokenizer;
mod weights;

pub use bundle::{BUNDLE_FORMAT, Bundle, BundleError, Manifest, Measured, Origin};
pub use calibration::{Calibration, Probabilities};
pub use drift::{Distributions, Drift, Observation};
pub use inference::Inference;
pub use runtime::{RuntimeError, locate_runtime};
pub use runtime_telemetry::{TELEMETRY_OFF, restart_without_telemetry};
pub use session::{Logits, Model, Runtime, Session, SessionError};
pub use tokenizer::{TokenId, Tokenizer, TokenizerError, Tokens};

use serde::{Deserialize, Serialize};

/// A class of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Praise, thanks, joy.
    Positive,
    /// Facts, news, advertisements, or no feeling either way.
    Neutral,
    /// Complaint, anger, disappointment.
    Negative,
    /// A question to a brand or about it.
    Question,
}

impl Label {
    /// How many classes there are.
    pub const COUNT: usize = 4;

    /// In the order of the protos, which is the order of every array of classes in this crate.
    pub const ALL: [Label; Self::COUNT] = [Label::Positive, Label::Neutral, Label::Negative, Label::Question];

    /// The label's name in manifests, data files and output.
    pub fn name(self) -> &'static str {
        match self {
            Label::Positive => "positive",
            Label::Neutral => "neutral",
            Label::Negative => "negative",
            Label::Question => "question",
        }
    }

    /// The label of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.name() == name)
    }
}

#[cfg(test)]
mod tests;
