//! What a caller gets for a text. Pure.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::catalogue::Target;
use super::explanation::Explanation;
use crate::model::{Label, Observation, Probabilities};
use crate::text::{Modifiers, Script};

/// Parts of a text disagree when one scores at least this and another at most its negative.
pub const MIXED_MARGIN: f32 = 0.25;

/// Whether a text says anything that a model can score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Language, emoji, emoticons or laughter.
    Linguistic,
    /// Nothing, or nothing that shows.
    Empty,
    /// Only masks, LINE placeholders or stray marks.
    NonLinguistic,
}

/// The sentiment of a text as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentiment {
    /// The most probable class.
    pub label: Label,
    /// The calibrated probabilities behind it.
    pub probabilities: Probabilities,
    /// Polarity in [-1, 1]: P(positive) − P(negative).
    pub score: f32,
    /// Strength of feeling, 0 or more: the sum of |score| over the clauses, or over the windows if clauses were not
    /// asked for.
    pub magnitude: f32,
    /// Whether clauses, or else windows, disagree in sign beyond [`MIXED_MARGIN`].
    pub mixed: bool,
}

/// What to say of a text beside its sentiment. Each costs something; what is not asked for is not worked out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The clauses, each with a sentiment of its own: an inference for each, if there are several.
    pub clauses: bool,
    /// The brands and aspects it speaks of, with what is said of each: an inference for each statement about one.
    pub targets: bool,
    /// What colours the text, as counts; no inference.
    pub modifiers: bool,
    /// Whether the text asks, and what it feels apart from that; no inference.
    pub intent: bool,
    /// What each word adds to the score, for at most so many inferences more.
    pub explanation: Option<usize>,
}

/// Whether a text asks, apart from what it feels: a complaint put as a question is both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intent {
    /// Probability that the text asks something.
    pub question: f32,
    /// The most probable of positive, neutral and negative, the class of questions left aside.
    pub polarity: Label,
}

/// How much the words of a question are believed: a text that has them asks with at least this probability.
const ASKING_WORDS: f32 = 0.9;

impl Intent {
    /// From what the model says and whether the text has the words of a question, two views that may each be right.
    pub(super) fn of(probabilities: Probabilities, asks: bool) -> Self {
        let model = probabilities.of(Label::Question);
        let polarity = [Label::Positive, Label::Neutral, Label::Negative]
            .into_iter()
            .reduce(|best, label| if probabilities.of(label) > probabilities.of(best) { label } else { best })
            .unwrap_or(Label::Neutral);
        let question = if asks { 1.0 - (1.0 - model) * (1.0 - ASKING_WORDS) } else { model };
        Self { question, polarity }
    }
}

/// One of the clauses of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredClause {
    /// Where it lies in the text as sent, in bytes, on edges of grapheme clusters.
    pub span: Range<usize>,
    /// What the model says of the clause alone.
    pub sentiment: Sentiment,
}

/// A brand or aspect that a text speaks of.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredMention {
    /// What is spoken of.
    pub target: Arc<Target>,
    /// Where it is named, in the text as sent, in bytes, on edges of grapheme clusters.
    pub span: Range<usize>,
    /// Where the words lie that are said of it, as above.
    pub statement: Range<usize>,
    /// What the model says of these words; of the other side of a comparison, the opposite.
    pub sentiment: Sentiment,
    /// Whether it is the other side of a comparison: `ข` in `ก อร่อยกว่า ข`.
    pub compared: bool,
}

/// One of the overlapping parts of a long text.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredWindow {
    /// Where it lies in the text as sent, in bytes, on edges of grapheme clusters.
    pub span: Range<usize>,
    /// Polarity in [-1, 1].
    pub score: f32,
    /// Its tokens, without special tokens.
    pub token_count: usize,
}

/// What the model says of a normalised text, whoever wrote it and when.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Analysis {
    pub(super) sentiment: Sentiment,
    pub(super) token_count: usize,
    /// Tokens that the vocabulary does not have.
    pub(super) unknown_count: usize,
    pub(super) window_count: usize,
    /// The windows, if there was more than one.
    pub(super) windows: Vec<AnalyzedWindow>,
}

/// A window of a normalised text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AnalyzedWindow {
    /// Where it lies in the normalised text, in bytes.
    pub(super) range: Range<usize>,
    pub(super) score: f32,
    pub(super) token_count: usize,
}

impl Analysis {
    /// Of a text that says nothing a model can score.
    pub(super) fn neutral() -> Self {
        let sentiment = Sentiment::neutral();
        Self { sentiment, token_count: 0, unknown_count: 0, window_count: 0, windows: Vec::new() }
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(self.windows.as_slice())
    }
}

/// How long each step took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Normalising and tokenising.
    pub tokenize: Duration,
    /// Waiting for a worker: the longest wait of the windows. 0 for a cache hit.
    pub queue: Duration,
    /// Running the model: the sum over the windows. 0 for a cache hit.
    pub infer: Duration,
    /// From arrival to answer.
    pub total: Duration,
}

/// A scored text.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Whether the model was asked, and if not, why.
    pub content: Content,
    /// The sentiment of the whole.
    pub sentiment: Sentiment,
    /// What the text is written in.
    pub script: Script,
    /// Tokens of the normalised text, without special tokens.
    pub token_count: usize,
    /// Those of them that the model's vocabulary does not have.
    pub unknown_count: usize,
    /// Windows scored: 0 if the model was not asked.
    pub window_count: usize,
    /// The windows, if there was more than one.
    pub windows: Vec<ScoredWindow>,
    /// The clauses in their order, if they were asked for: one or more of a text with language.
    pub clauses: Vec<ScoredClause>,
    /// The brands and aspects it speaks of in their order, if they were asked for.
    pub mentions: Vec<ScoredMention>,
    /// What colours the text, if it was asked for.
    pub modifiers: Option<Modifiers>,
    /// Whether the text asks something, if that was asked for and the text has language.
    pub intent: Option<Intent>,
    /// Why the text has its score, if that was asked for and the text has language.
    pub explanation: Option<Explanation>,
    /// Whether the same text had been scored before, or was being scored for somebody else.
    pub cache_hit: bool,
    /// Where the time went.
    pub timings: Timings,
}

impl Scored {
    /// What is counted of it, if the model was asked.
    pub fn observation(&self) -> Option<Observation> {
        let Self { sentiment, token_count: tokens, unknown_count: unknown_tokens, script, .. } = self;
        let (tokens, unknown_tokens, script) = (*tokens, *unknown_tokens, *script);
        let confidence = sentiment.probabilities.of(sentiment.label);
        let label = sentiment.label;
        (self.window_count > 0).then_some(Observation { label, confidence, tokens, unknown_tokens, script })
    }
}

impl Sentiment {
    /// The answer for text without language: neutral, and sure of it.
    pub fn neutral() -> Self {
        Self::of_windows(&[(Probabilities::NEUTRAL, 1)])
    }

    /// Merges windows, each weighted by its tokens.
    pub fn of_windows(windows: &[(Probabilities, usize)]) -> Self {
        // One window keeps its probabilities to the bit.
        let probabilities = match windows {
            [(only, _)] => *only,
            several => Probabilities::weighted_mean(several),
        };
        let whole = Self {
            label: probabilities.label(),
            probabilities,
            score: probabilities.polarity(),
            magnitude: 0.0,
            mixed: false,
        };
        whole.with_parts(windows.iter().map(|(window, _)| window.polarity()))
    }

    /// What is felt if the opposite is meant: praise is blame.
    pub(super) fn opposite(&self) -> Self {
        Self::of_windows(&[(self.probabilities.opposite(), 1)])
    }

    /// What is felt if it is said amid that: what would be neutral alone is as probably this or that as the whole is.
    pub(super) fn amid(&self, around: &Self) -> Self {
        Self::of_windows(&[(self.probabilities.amid(&around.probabilities), 1)])
    }

    /// The same with the magnitude and disagreement of these parts.
    pub(super) fn with_parts(self, scores: impl Iterator<Item = f32>) -> Self {
        let (mut praise, mut blame) = (false, false);
        let mut magnitude = 0.0;
        for score in scores {
            magnitude += score.abs();
            praise |= score >= MIXED_MARGIN;
            blame |= score <= -MIXED_MARGIN;
        }
        Self { magnitude, mixed: praise && blame, ..self }
    }
}
