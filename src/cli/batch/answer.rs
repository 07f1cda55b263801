//! What is added to a row: the columns of its sentiment, the same from this process and from a server.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::dumps::Cells;
use crate::grpc::v1;
use crate::model::{Label, Probabilities};
use crate::scoring::{Content, Scored, ScoredMention, TargetKind};
use crate::text::{Encoding, Offsets};

/// The sentiment of a row's text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) label: Label,
    /// Of positive, neutral, negative and question.
    pub(super) probabilities: [f32; Label::COUNT],
    pub(super) score: f32,
    magnitude: f32,
    mixed: bool,
    entropy: f32,
    abstain: bool,
    content: Content,
    token_count: i64,
    window_count: i64,
    targets: Option<Vec<Value>>,
    pub(super) fingerprint: Arc<str>,
    pub(super) cache_hit: bool,
}

/// The columns in their order.
pub(super) const COLUMNS: [&str; 14] = [
    "label",
    "score",
    "positive",
    "neutral",
    "negative",
    "question",
    "magnitude",
    "mixed",
    "entropy",
    "abstain",
    "content",
    "token_count",
    "window_count",
    "model",
];

/// The column of targets, if they are looked for.
pub(super) const TARGETS: &str = "targets";

/// The column that names the dump of a row, if there are several.
pub(super) const SOURCE: &str = "source";

/// Whether Arom adds a column of that name, and not the dump.
pub(super) fn is_added(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|name| COLUMNS.contains(&name) || [TARGETS, SOURCE].contains(&name))
}

const LABELS: [Label; Label::COUNT] = [Label::Positive, Label::Neutral, Label::Negative, Label::Question];

impl Answer {
    pub(super) fn of(
        text: &str,
        scored: Scored,
        max_risk: f32,
        fingerprint: &Arc<str>,
        targets: bool,
    ) -> Self {
        let Scored { sentiment, content, token_count, window_count, mentions, cache_hit, .. } = scored;
        let probabilities: Probabilities = sentiment.probabilities;
        Self {
            label: sentiment.label,
            probabilities: LABELS.map(|label| probabilities.of(label)),
            score: sentiment.score,
            magnitude: sentiment.magnitude,
            mixed: sentiment.mixed,
            entropy: probabilities.entropy(),
            abstain: probabilities.risk() > max_risk,
            content,
            token_count: count(token_count),
            window_count: count(window_count),
            targets: targets.then(|| {
                let offsets = Encoding::Utf32.offsets(text);
                mentions.iter().map(|mention| said(&offsets, mention)).collect()
            }),
            fingerprint: Arc::clone(fingerprint),
            cache_hit,
        }
    }

    /// Out of a server's answer; nothing if it is none that this program knows.
    pub(super) fn received(answer: v1::AnalyzeSentimentResponse, targets: bool) -> Option<Self> {
        let sentiment = answer.sentiment.as_ref()?;
        let of = sentiment.probabilities.as_ref()?;
        Some(Self {
            label: label(sentiment.label)?,
            probabilities: [of.positive, of.neutral, of.negative, of.question],
            score: sentiment.score,
            magnitude: sentiment.magnitude,
            mixed: sentiment.mixed,
            entropy: sentiment.entropy,
            abstain: sentiment.abstain,
            content: match answer.content() {
                v1::TextContent::Linguistic => Content::Linguistic,
                v1::TextContent::Empty => Content::Empty,
                v1::TextContent::NonLinguistic => Content::NonLinguistic,
                v1::TextContent::Unspecified => return None,
            },
            token_count: answer.token_count.into(),
            window_count: answer.window_count.into(),
            targets: if targets {
                Some(answer.target_mentions.iter().map(received_target).collect::<Option<_>>()?)
            } else {
                None
            },
            fingerprint: answer.model_fingerprint.into(),
            cache_hit: answer.cache_hit,
        })
    }

    /// Adds its columns to a row.
    pub(super) fn add_to(&self, cells: &mut Cells, prefix: &str) {
        let [positive, neutral, negative, question] = self.probabilities.map(shortest);
        let values: [Value; COLUMNS.len()] = [
            self.label.name().into(),
            shortest(self.score),
            positive,
            neutral,
            negative,
            question,
            shortest(self.magnitude),
            self.mixed.into(),
            shortest(self.entropy),
            self.abstain.into(),
            content_name(self.content).into(),
            self.token_count.into(),
            self.window_count.into(),
            self.fingerprint.as_ref().into(),
        ];
        for (name, value) in COLUMNS.into_iter().zip(values) {
            cells.insert(format!("{prefix}{name}"), value);
        }
        if let Some(targets) = &self.targets {
            cells.insert(format!("{prefix}{TARGETS}"), Value::Array(targets.clone()));
        }
    }
}

/// The content of such a name.
pub(super) fn content_of(name: &str) -> Option<Content> {
    [Content::Linguistic, Content::Empty, Content::NonLinguistic]
        .into_iter()
        .find(|content| content_name(*content) == name)
}

fn content_name(content: Content) -> &'static str {
    match content {
        Content::Linguistic => "linguistic",
        Content::Empty => "empty",
        Content::NonLinguistic => "non_linguistic",
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A score with no more digits than it has, and not those of the double next to it.
fn shortest(score: f32) -> Value {
    score.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// A target with what is said of it; the offsets of the statement are in characters.
fn target(id: &str, is_brand: bool, sentiment: (Label, f32), span: (i64, i64)) -> Value {
    json!({
        "target": id,
        "kind": if is_brand { "brand" } else { "aspect" },
        "label": sentiment.0.name(),
        "score": shortest(sentiment.1),
        "begin_offset": span.0,
        "end_offset": span.1,
    })
}

fn said(offsets: &Offsets, mention: &ScoredMention) -> Value {
    let ScoredMention { target: of, statement, sentiment, .. } = mention;
    let span = offsets.range(statement.clone());
    let is_brand = match of.kind {
        TargetKind::Brand => true,
        TargetKind::Aspect => false,
    };
    target(&of.id, is_brand, (sentiment.label, sentiment.score), (count(span.start), count(span.end)))
}

fn received_target(mention: &v1::TargetMention) -> Option<Value> {
    let sentiment = mention.sentiment.as_ref()?;
    let span = mention.statement.as_ref()?;
    let is_brand = match mention.kind() {
        v1::TargetKind::Brand => true,
        v1::TargetKind::Aspect => false,
        v1::TargetKind::Unspecified => return None,
    };
    let sentiment = (label(sentiment.label)?, sentiment.score);
    Some(target(&mention.target_id, is_brand, sentiment, (span.begin_offset.into(), span.end_offset.into())))
}

fn label(label: i32) -> Option<Label> {
    match v1::SentimentLabel::try_from(label).ok()? {
        v1::SentimentLabel::Positive => Some(Label::Positive),
        v1::SentimentLabel::Neutral => Some(Label::Neutral),
        v1::SentimentLabel::Negative => Some(Label::Negative),
        v1::SentimentLabel::Question => Some(Label::Question),
        v1::SentimentLabel::Unspecified => None,
    }
}
