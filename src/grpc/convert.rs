//! Between messages and the domain: requests are checked here once, answers are written here.

use std::ops::Range;
use std::time::Duration;

use super::recording::Recording;
use super::status::Failure;
use super::violations::Violations;
use super::{ServerConfig, v1};
use crate::model::{Label, Probabilities};
use crate::scoring::{Content, EXPLANATION_INFERENCES, Features, Scored, Sentiment, TargetKind};
use crate::text::{Encoding, Modifiers, Script};

pub(super) const MAX_MESSAGE_ID_BYTES: usize = 128;
const MAX_LANGUAGE_CODE_BYTES: usize = 35;

/// A request that has passed every check.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) text: String,
    message_id: String,
    language_code: String,
    encoding: Encoding,
    pub(super) features: Features,
    max_risk: f32,
    /// What is to be recorded of it; taken before it is answered.
    pub(super) recording: Option<Recording>,
}

impl Checked {
    /// Checks every field and reports all that are out of range.
    pub(super) fn new(request: v1::AnalyzeSentimentRequest, config: &ServerConfig) -> Result<Self, Failure> {
        let mut violations = Violations::default();
        let mut most = |field: &str, bytes: usize, limit: usize| {
            if bytes > limit {
                let problem = format!("is {bytes} bytes long, at most {limit} are taken");
                violations.add(field, problem);
            }
        };
        most("text", request.text.len(), config.max_text_bytes);
        most("message_id", request.message_id.len(), MAX_MESSAGE_ID_BYTES);
        most("language_code", request.language_code.len(), MAX_LANGUAGE_CODE_BYTES);
        let tag = request.language_code.as_bytes();
        if tag.len() <= MAX_LANGUAGE_CODE_BYTES
            && !tag.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        {
            violations.add("language_code", "is no BCP 47 tag; use one such as th or th-TH");
        }
        if v1::Channel::try_from(request.channel).is_err() {
            let problem = format!("{} is no Channel; use 0 to 4", request.channel);
            violations.add("channel", problem);
        }
        let encoding = match v1::OffsetEncoding::try_from(request.offset_encoding) {
            Ok(v1::OffsetEncoding::Unspecified | v1::OffsetEncoding::Utf8) => Encoding::Utf8,
            Ok(v1::OffsetEncoding::Utf16) => Encoding::Utf16,
            Ok(v1::OffsetEncoding::Utf32) => Encoding::Utf32,
            Err(_) => {
                let problem = format!("{} is no OffsetEncoding; use 0 to 3", request.offset_encoding);
                violations.add("offset_encoding", problem);
                Encoding::Utf8
            }
        };
        let (least, most, default) = EXPLANATION_INFERENCES;
        let asked = request.features.as_ref().map_or(0, |features| features.max_explanation_inferences);
        let inferences = if asked == 0 { Some(default) } else { usize::try_from(asked).ok() };
        let inferences =
            inferences.filter(|inferences| (least..=most).contains(inferences)).unwrap_or_else(|| {
                let problem = format!("is {asked}; use {least} to {most}, or 0 for {default}");
                violations.add("features.max_explanation_inferences", problem);
                default
            });
        let max_risk = request.max_risk.unwrap_or(config.max_risk);
        if !(0.0..=1.0).contains(&max_risk) {
            let problem = format!("is {max_risk}; use a probability in [0, 1]");
            violations.add("max_risk", problem);
        }
        let recording = Recording::of(&request, config).unwrap_or_else(|found| {
            violations.append(found, |field| format!("recording.{field}"));
            None
        });
        if !violations.is_empty() {
            return Err(violations.into());
        }
        let v1::AnalyzeSentimentRequest { text, message_id, language_code, features, .. } = request;
        let v1::AnalysisFeatures { clauses, targets, modifiers, explanation, intent, .. } =
            features.unwrap_or_default();
        let features =
            Features { clauses, targets, modifiers, intent, explanation: explanation.then_some(inferences) };
        Ok(Self { text, message_id, language_code, encoding, features, max_risk, recording })
    }

    /// The answer to this request.
    pub(super) fn answer(
        self,
        scored: Scored,
        fingerprint: &str,
        record: Option<v1::RecordOutcome>,
    ) -> v1::AnalyzeSentimentResponse {
        let (language_code, language_supported) = self.language(scored.script != Script::Other);
        let offsets = self.encoding.offsets(&self.text);
        let span = |bytes: Range<usize>| {
            let span = offsets.range(bytes);
            v1::TextSpan { begin_offset: count(span.start), end_offset: count(span.end) }
        };
        let windows = scored.windows.into_iter().map(|window| v1::ScoredWindow {
            span: Some(span(window.span)),
            score: window.score,
            token_count: count(window.token_count),
        });
        let clauses = scored.clauses.into_iter().map(|clause| v1::ScoredClause {
            span: Some(span(clause.span)),
            sentiment: Some(self.sentiment(&clause.sentiment)),
        });
        let mentions = scored.mentions.into_iter().map(|mention| v1::TargetMention {
            target_id: mention.target.id.clone(),
            kind: kind(mention.target.kind).into(),
            display_name: mention.target.name.clone(),
            span: Some(span(mention.span)),
            statement: Some(span(mention.statement)),
            sentiment: Some(self.sentiment(&mention.sentiment)),
            compared: mention.compared,
        });
        let explanation = scored.explanation.map(|explanation| v1::Explanation {
            inference_count: count(explanation.inference_count),
            contributions: explanation
                .contributions
                .into_iter()
                .map(|word| v1::WordContribution {
                    span: Some(span(word.span)),
                    contribution: word.contribution,
                    decisive: word.decisive,
                })
                .collect(),
        });
        v1::AnalyzeSentimentResponse {
            record,
            content: content(scored.content).into(),
            sentiment: Some(self.sentiment(&scored.sentiment)),
            language_code,
            language_supported,
            model_fingerprint: fingerprint.to_owned(),
            token_count: count(scored.token_count),
            window_count: count(scored.window_count),
            windows: windows.collect(),
            clauses: clauses.collect(),
            target_mentions: mentions.collect(),
            modifiers: scored.modifiers.map(modifiers),
            explanation,
            intent: scored.intent.map(|intent| v1::Intent {
                question: intent.question,
                polarity: label(intent.polarity).into(),
            }),
            timings: Some(v1::AnalysisTimings {
                tokenize_duration: duration(scored.timings.tokenize),
                queue_duration: duration(scored.timings.queue),
                infer_duration: duration(scored.timings.infer),
                total_duration: duration(scored.timings.total),
            }),
            message_id: self.message_id,
            cache_hit: scored.cache_hit,
        }
    }

    fn sentiment(&self, of: &Sentiment) -> v1::Sentiment {
        sentiment(of, self.max_risk)
    }

    /// The language assumed and whether the model knows it: the caller's word, else the letters.
    fn language(&self, has_thai: bool) -> (String, bool) {
        match (self.language_code.as_str(), has_thai) {
            ("", true) => ("th".to_owned(), true),
            ("", false) => ("und".to_owned(), false),
            (given, _) => {
                let primary = given.split('-').next().unwrap_or_default();
                (given.to_owned(), primary.eq_ignore_ascii_case("th"))
            }
        }
    }
}

/// What was felt, marked where its label is wrong with a higher probability than `max_risk`.
pub(super) fn sentiment(of: &Sentiment, max_risk: f32) -> v1::Sentiment {
    v1::Sentiment {
        label: label(of.label).into(),
        probabilities: Some(probabilities(of.probabilities)),
        score: of.score,
        magnitude: of.magnitude,
        mixed: of.mixed,
        entropy: of.probabilities.entropy(),
        abstain: of.probabilities.risk() > max_risk,
    }
}

fn content(content: Content) -> v1::TextContent {
    match content {
        Content::Linguistic => v1::TextContent::Linguistic,
        Content::Empty => v1::TextContent::Empty,
        Content::NonLinguistic => v1::TextContent::NonLinguistic,
    }
}

fn kind(kind: TargetKind) -> v1::TargetKind {
    match kind {
        TargetKind::Brand => v1::TargetKind::Brand,
        TargetKind::Aspect => v1::TargetKind::Aspect,
    }
}

fn modifiers(of: Modifiers) -> v1::Modifiers {
    v1::Modifiers {
        elongation_count: count(of.elongations),
        laughter_count: count(of.laughs),
        emoji_count: count(of.emoji),
        negation_count: count(of.negations),
        profanity_count: count(of.profanities),
    }
}

pub(super) fn label(label: Label) -> v1::SentimentLabel {
    match label {
        Label::Positive => v1::SentimentLabel::Positive,
        Label::Neutral => v1::SentimentLabel::Neutral,
        Label::Negative => v1::SentimentLabel::Negative,
        Label::Question => v1::SentimentLabel::Question,
    }
}

fn probabilities(of: Probabilities) -> v1::LabelProbabilities {
    v1::LabelProbabilities {
        positive: of.of(Label::Positive),
        neutral: of.of(Label::Neutral),
        negative: of.of(Label::Negative),
        question: of.of(Label::Question),
    }
}

/// A text is bounded far below two thousand million of anything.
pub(super) fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

pub(super) fn duration(duration: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(duration).ok()
}

/// The moment that a message says, if it is one by the contract of the type: in the years 1 to 9999, with nanoseconds that count forward.
pub(super) fn moment(time: &prost_types::Timestamp) -> Option<jiff::Timestamp> {
    const YEAR_1: i64 = -62_135_596_800;
    let is_one = time.seconds >= YEAR_1 && (0..1_000_000_000).contains(&time.nanos);
    is_one.then(|| jiff::Timestamp::new(time.seconds, time.nanos).ok()).flatten()
}

/// The time that a message says to wait, if it is one by the contract of the type and not negative.
pub(super) fn wait(duration: &prost_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(duration.seconds).ok()?, nanos))
}

pub(super) fn timestamp(time: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

#[expect(clippy::cast_possible_truncation, reason = "a score keeps its meaning in 32 bits")]
pub(super) fn narrow(score: f64) -> f32 {
    score as f32
}
