//! Behavioural tests: what a score shall do when one thing of a text changes, in the manner of CheckList (Ribeiro et al.
//! 2020). Pure.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::model::{Label, Probabilities};

/// How far a score moves before it has moved.
pub const BEHAVIOUR_MARGIN: f32 = 0.1;

/// A behavioural test: one text that shall have a label, or two of which the second shall score so beside the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BehaviourTest {
    /// What is tested: "negation", "brand".
    pub capability: String,
    /// The text.
    pub text: String,
    /// The same text with one thing changed; absent where the text is judged alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// What is expected.
    pub expect: Expectation,
}

/// What a behavioural test expects. All but the labels compare the score of the other text with the first's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// Lower by [`BEHAVIOUR_MARGIN`] or more.
    Lower,
    /// Higher by that or more.
    Higher,
    /// Not lower by more than that.
    NotLower,
    /// Not higher by more than that.
    NotHigher,
    /// Neither.
    Same,
    /// The text alone: positive.
    Positive,
    /// Neutral.
    Neutral,
    /// Negative.
    Negative,
    /// A question.
    Question,
}

impl Expectation {
    /// The label that a text alone shall have; nothing where two are compared.
    pub fn label(self) -> Option<Label> {
        match self {
            Self::Positive => Some(Label::Positive),
            Self::Neutral => Some(Label::Neutral),
            Self::Negative => Some(Label::Negative),
            Self::Question => Some(Label::Question),
            Self::Lower | Self::Higher | Self::NotLower | Self::NotHigher | Self::Same => None,
        }
    }

    /// Whether answers are as expected. Without another text nothing that compares is.
    fn is_met(self, text: Probabilities, other: Option<Probabilities>) -> bool {
        let moved = other.map_or(f32::NAN, |other| other.polarity() - text.polarity());
        match self {
            Self::Lower => moved <= -BEHAVIOUR_MARGIN,
            Self::Higher => moved >= BEHAVIOUR_MARGIN,
            Self::NotLower => moved >= -BEHAVIOUR_MARGIN,
            Self::NotHigher => moved <= BEHAVIOUR_MARGIN,
            Self::Same => moved.abs() <= BEHAVIOUR_MARGIN,
            Self::Positive | Self::Neutral | Self::Negative | Self::Question => {
                self.label() == Some(text.label())
            }
        }
    }
}

impl BehaviourTest {
    /// What is wrong with the test itself.
    ///
    /// # Errors
    ///
    /// If a comparison has nothing or the same text to compare with, if a label has something, or if a text is empty.
    pub fn verify(&self) -> Result<(), &'static str> {
        if self.capability.is_empty() || self.text.is_empty() || self.other.as_deref() == Some("") {
            return Err("`capability`, `text` and `other` must not be empty");
        }
        match (self.expect.label(), &self.other) {
            (None, Some(other)) if *other == self.text => Err("compares `text` with the same text"),
            (None, None) => Err("compares, but there is no field `other`"),
            (Some(_), Some(_)) => {
                Err("expects a label, which is of `text` alone: leave out the field `other`")
            }
            (None, Some(_)) | (Some(_), None) => Ok(()),
        }
    }
}

/// How a model did in behavioural tests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Behaviour {
    /// Tests done.
    pub tests: usize,
    /// Share of them that passed.
    pub pass_rate: f64,
    /// Each capability, in the order in which they first came.
    pub capabilities: Vec<CapabilityFigures>,
    /// The tests that failed, in their order.
    pub failures: Vec<BehaviourFailure>,
}

/// How a model did in the tests of one capability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CapabilityFigures {
    /// The capability.
    pub capability: String,
    /// Its tests.
    pub tests: usize,
    /// Those that passed.
    pub passed: usize,
}

/// A test that failed, with what was answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BehaviourFailure {
    /// The test.
    #[serde(flatten)]
    pub test: BehaviourTest,
    /// Label of the text.
    pub label: Label,
    /// Score of the text, −1 to 1.
    pub score: f32,
    /// Score of the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_score: Option<f32>,
}

impl Behaviour {
    /// Judges tests by the answers to their texts: of the text, and of the other if there is one.
    pub fn of(
        answers: impl IntoIterator<Item = (BehaviourTest, Probabilities, Option<Probabilities>)>,
    ) -> Self {
        let mut capabilities: IndexMap<String, (usize, usize)> = IndexMap::new();
        let mut failures = Vec::new();
        for (test, text, other) in answers {
            let met = test.expect.is_met(text, other);
            let (tests, passed) = capabilities.entry(test.capability.clone()).or_default();
            *tests += 1;
            *passed += usize::from(met);
            if !met {
                let other_score = other.map(|other| other.polarity());
                failures.push(BehaviourFailure {
                    label: text.label(),
                    score: text.polarity(),
                    other_score,
                    test,
                });
            }
        }
        let tests: usize = capabilities.values().map(|(tests, _)| tests).sum();
        let figures = |(capability, (tests, passed))| CapabilityFigures { capability, tests, passed };
        Self {
            tests,
            pass_rate: super::evaluation::ratio(tests - failures.len(), tests),
            capabilities: capabilities.into_iter().map(figures).collect(),
            failures,
        }
    }
}
