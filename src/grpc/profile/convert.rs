//! Between messages and the domain, for profiles.

use jiff::Timestamp;

use super::super::convert::{count, label as label_to, moment, narrow, timestamp};
use super::super::status::Failure;
use super::super::v1::profile_event::Felt as Given;
use super::super::violations::Violations;
use super::super::{ServerConfig, v1};
use crate::model::Label;
use crate::profile::{
    Alarm, Channel, Command, Contribution, Event, Figures, Held, Key, Known, Micros, Outcome, Profile,
    Signal, SignalKind, Window, WindowFeatures,
};

const MAX_ID_BYTES: usize = 128;
const MAX_BRANDS: usize = 16;

/// Most bytes of the beginning of a key's name: as many as the longest name has, `customer/c/brand/b`.
const MAX_PREFIX_BYTES: usize = "customer/".len() + MAX_ID_BYTES + "/brand/".len() + MAX_ID_BYTES;

/// What an event says was felt.
#[derive(Clone, Debug)]
pub(in crate::grpc) enum Felt {
    Scored(Label, f32),
    Text(String),
}

/// An event that has passed every check.
#[derive(Debug)]
pub(in crate::grpc) struct Checked {
    pub(in crate::grpc) felt: Felt,
    id: String,
    time: Timestamp,
    customer: Option<String>,
    brands: Vec<String>,
    channel: Channel,
    replaces: Option<String>,
}

impl Checked {
    /// The words, if it has some to score.
    pub(super) fn text(&self) -> Option<&String> {
        match &self.felt {
            Felt::Text(text) => Some(text),
            Felt::Scored(..) => None,
        }
    }

    /// The command that records it with this label and score. Its words, if it has some, are known again by their hash.
    pub(in crate::grpc) fn into_command(self, (label, score): (Label, f32)) -> Command {
        let contribution =
            Contribution { time: self.time, label, score: Micros::of(score), channel: self.channel };
        let content = match self.felt {
            Felt::Text(text) => text.into_bytes(),
            Felt::Scored(..) => Vec::new(),
        };
        let event = Event { id: self.id, customer: self.customer, brands: self.brands, contribution };
        Command::Record { event, content, replaces: self.replaces }
    }
}

/// A name is of 1 to 128 bytes that show; in one of a key no slash is.
fn name(faults: &mut Violations, field: &str, name: &str, in_key: bool) {
    if name.is_empty() || name.len() > MAX_ID_BYTES {
        faults.add(field, format!("is {} bytes long, 1 to {MAX_ID_BYTES} are taken", name.len()));
    } else if name.chars().any(char::is_control) {
        faults.add(field, "holds a control character");
    } else if in_key && name.contains('/') {
        faults.add(field, "holds a slash, which parts the names of a key");
    }
}

/// Refuses more brands than an event may be about, before anything is done with them.
pub(in crate::grpc) fn brand_count(brands: &[String]) -> Result<(), Violations> {
    let mut faults = Violations::default();
    if brands.len() > MAX_BRANDS {
        faults.add("brand_ids", format!("are {}, at most {MAX_BRANDS} are taken", brands.len()));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Checks every field and reports all that are out of range.
pub(in crate::grpc) fn event(given: v1::ProfileEvent, config: &ServerConfig) -> Result<Checked, Violations> {
    brand_count(&given.brand_ids)?;
    let mut faults = Violations::default();
    name(&mut faults, "event_id", &given.event_id, false);
    let time = given.event_time.as_ref().and_then(moment);
    if time.is_none() {
        faults.add(
            "event_time",
            "is missing or no time: seconds since 1970 are wanted, in the years 1 to 9999",
        );
    }
    if !given.customer_id.is_empty() {
        name(&mut faults, "customer_id", &given.customer_id, true);
    } else if given.brand_ids.is_empty() {
        faults.add("customer_id", "is missing, and so is any brand_ids");
    }
    for (at, brand) in given.brand_ids.iter().enumerate() {
        name(&mut faults, &format!("brand_ids[{at}]"), brand, true);
        if given.brand_ids.iter().take(at).any(|other| other == brand) {
            faults.add(&format!("brand_ids[{at}]"), "is there twice");
        }
    }
    let channel = match v1::Channel::try_from(given.channel) {
        Ok(v1::Channel::Review) => Channel::Review,
        Ok(v1::Channel::Social) => Channel::Social,
        Ok(v1::Channel::LineChat) => Channel::LineChat,
        Ok(v1::Channel::Unspecified | v1::Channel::Other) => Channel::Other,
        Err(_) => {
            faults.add("channel", format!("{} is no Channel; use 0 to 4", given.channel));
            Channel::Other
        }
    };
    let felt = match given.felt {
        Some(Given::Text(text)) => {
            let (bytes, most) = (text.len(), config.max_text_bytes);
            if bytes > most {
                faults.add("text", format!("is {bytes} bytes long, at most {most} are taken"));
            }
            Some(Felt::Text(text))
        }
        Some(Given::Scored(v1::ScoredText { label: given, score })) => {
            if !(-1.0..=1.0).contains(&score) {
                faults.add("scored.score", format!("is {score}; use a number in [-1, 1]"));
            }
            let label = label(given);
            if label.is_none() {
                faults.add("scored.label", format!("{given} is no SentimentLabel; use 1 to 4"));
            }
            label.map(|label| Felt::Scored(label, score))
        }
        None => {
            faults.add("felt", "is missing; give scored or text");
            None
        }
    };
    if !given.replaces_event_id.is_empty() {
        name(&mut faults, "replaces_event_id", &given.replaces_event_id, false);
        if given.replaces_event_id == given.event_id {
            faults.add("replaces_event_id", "is the event's own id; give the correction an id of its own");
        }
    }
    match (time, felt) {
        (Some(time), Some(felt)) if faults.is_empty() => Ok(Checked {
            felt,
            id: given.event_id,
            time,
            customer: Some(given.customer_id)
                .filter(|customer| !customer.is_empty())
                .map(|customer| known_as(customer, config)),
            brands: given.brand_ids,
            channel,
            replaces: Some(given.replaces_event_id).filter(|id| !id.is_empty()),
        }),
        _ => Err(faults),
    }
}

/// The name that a customer is kept under.
fn known_as(customer: String, config: &ServerConfig) -> String {
    match &config.pseudonyms {
        Some(pseudonyms) => pseudonyms.name(&customer),
        None => customer,
    }
}

/// Checks the key that stands in such a field.
pub(super) fn key(field: &str, given: v1::ProfileKey, config: &ServerConfig) -> Result<Key, Violations> {
    let v1::ProfileKey { customer_id: customer, brand_id: brand } = given;
    let mut faults = Violations::default();
    if !customer.is_empty() {
        name(&mut faults, &format!("{field}.customer_id"), &customer, true);
    }
    if !brand.is_empty() {
        name(&mut faults, &format!("{field}.brand_id"), &brand, true);
    }
    let key = match (customer.is_empty(), brand.is_empty()) {
        (false, false) => Key::Pair { customer: known_as(customer, config), brand },
        (false, true) => Key::Customer(known_as(customer, config)),
        (true, false) => Key::Brand(brand),
        (true, true) => {
            faults.add(field, "names no customer and no brand");
            Key::Brand(brand)
        }
    };
    if faults.is_empty() { Ok(key) } else { Err(faults) }
}

pub(super) fn customer(id: String, config: &ServerConfig) -> Result<String, Failure> {
    let mut faults = Violations::default();
    name(&mut faults, "customer_id", &id, true);
    faults.none_or(known_as(id, config))
}

/// Checks the id of an event that is named.
pub(super) fn event_id(faults: &mut Violations, field: &str, id: &str) {
    name(faults, field, id, false);
}

/// Checks the beginning of the names of keys.
pub(super) fn key_prefix(faults: &mut Violations, field: &str, prefix: &str) {
    if prefix.len() > MAX_PREFIX_BYTES {
        let problem = format!("is {} bytes long, at most {MAX_PREFIX_BYTES} are taken", prefix.len());
        faults.add(field, problem);
    } else if prefix.chars().any(char::is_control) {
        faults.add(field, "holds a control character");
    }
}

fn label(given: i32) -> Option<Label> {
    match v1::SentimentLabel::try_from(given) {
        Ok(v1::SentimentLabel::Positive) => Some(Label::Positive),
        Ok(v1::SentimentLabel::Neutral) => Some(Label::Neutral),
        Ok(v1::SentimentLabel::Negative) => Some(Label::Negative),
        Ok(v1::SentimentLabel::Question) => Some(Label::Question),
        Ok(v1::SentimentLabel::Unspecified) | Err(_) => None,
    }
}

/// How the taking of an event ended.
pub(in crate::grpc) fn recorded(outcome: Option<Outcome>) -> Result<v1::RecordStatus, Failure> {
    match outcome {
        Some(Outcome::Recorded) => Ok(v1::RecordStatus::Recorded),
        Some(Outcome::Duplicate) => Ok(v1::RecordStatus::Duplicate),
        Some(refused) => Err(Failure::NotRecorded(refused)),
        None => Err(Failure::Died),
    }
}

/// What became of each event, by its id: its own fault, or the next outcome of those that were kept.
pub(in crate::grpc) fn results(
    ids: Vec<String>,
    items: Vec<Result<Command, Failure>>,
    outcomes: Vec<Outcome>,
) -> Vec<v1::RecordEventResult> {
    let mut outcomes = outcomes.into_iter();
    let result = |((item, event_id), index): ((Result<Command, Failure>, String), i32)| {
        let outcome = match item.and_then(|_| recorded(outcomes.next())) {
            Ok(status) => v1::record_event_result::Outcome::Status(status.into()),
            Err(failure) => v1::record_event_result::Outcome::Error(failure.into_item()),
        };
        // An id that is too long is not given back; the index tells which it was.
        let event_id = Some(event_id).filter(|id| id.len() <= MAX_ID_BYTES).unwrap_or_default();
        v1::RecordEventResult { index, event_id, outcome: Some(outcome) }
    };
    items.into_iter().zip(ids).zip(0..).map(result).collect()
}

pub(super) fn retracted(outcome: Outcome) -> v1::RetractStatus {
    match outcome {
        Outcome::Retracted => v1::RetractStatus::Retracted,
        Outcome::AlreadyRetracted => v1::RetractStatus::AlreadyRetracted,
        Outcome::NotFound
        | Outcome::Recorded
        | Outcome::Duplicate
        | Outcome::Conflict
        | Outcome::Superseded
        | Outcome::TooOld
        | Outcome::TooNew
        | Outcome::InDoubt
        | Outcome::Erased
        | Outcome::Forgotten(_)
        | Outcome::Done => v1::RetractStatus::NotFound,
    }
}

pub(super) fn held(held: Held) -> v1::HeldEvent {
    let Held { event: Event { id, customer, brands, contribution }, retracted } = held;
    let channel = match contribution.channel {
        Channel::Review => v1::Channel::Review,
        Channel::Social => v1::Channel::Social,
        Channel::LineChat => v1::Channel::LineChat,
        Channel::Other => v1::Channel::Other,
    };
    let scored = v1::ScoredText {
        label: label_to(contribution.label).into(),
        score: narrow(contribution.score.score()),
    };
    let event = v1::ProfileEvent {
        event_id: id,
        event_time: Some(timestamp(contribution.time)),
        customer_id: customer.unwrap_or_default(),
        brand_ids: brands,
        channel: channel.into(),
        felt: Some(Given::Scored(scored)),
        replaces_event_id: String::new(),
    };
    v1::HeldEvent { event: Some(event), retracted }
}

pub(in crate::grpc) fn key_to(key: &Key) -> v1::ProfileKey {
    match key.clone() {
        Key::Customer(customer_id) => v1::ProfileKey { customer_id, ..v1::ProfileKey::default() },
        Key::Brand(brand_id) => v1::ProfileKey { brand_id, ..v1::ProfileKey::default() },
        Key::Pair { customer, brand } => v1::ProfileKey { customer_id: customer, brand_id: brand },
    }
}

pub(in crate::grpc) fn profile(profile: &Profile, now: Timestamp) -> v1::Profile {
    let of = &profile.features;
    let [day, week, month] = of.decayed;
    let last = |present: Known<crate::profile::Last>| match present {
        Known::Present(last) => (Known::Present(last.score.score()), Some(timestamp(last.time))),
        Known::NoData => (Known::NoData, None),
        Known::OutsideRetention => (Known::OutsideRetention, None),
    };
    let (last_score, last_event_time) = last(of.last);
    let days = match of.days_since_negative {
        Known::Present(days) => Known::Present(as_float(days)),
        Known::NoData => Known::NoData,
        Known::OutsideRetention => Known::OutsideRetention,
    };
    v1::Profile {
        key: Some(key_to(&profile.key)),
        as_of_time: Some(timestamp(now)),
        windows: of.windows.iter().map(window).collect(),
        decayed_mean_1d: value(day),
        decayed_mean_7d: value(week),
        decayed_mean_30d: value(month),
        trend: value(of.trend),
        daily_slope: value(of.slope),
        volatility: value(of.volatility),
        last_score: value(last_score),
        last_event_time,
        days_since_negative: value(days),
        negative_run: count(of.negative_run),
        revision: number(profile.revision),
        raised: profile.raised.iter().map(raised).collect(),
    }
}

fn window(of: &WindowFeatures) -> v1::WindowFeatures {
    let window = match of.window {
        Window::Hour => v1::FeatureWindow::Hour,
        Window::Day => v1::FeatureWindow::Day,
        Window::Week => v1::FeatureWindow::Week,
        Window::Month => v1::FeatureWindow::Month,
        Window::Quarter => v1::FeatureWindow::Quarter,
        Window::Lifetime => v1::FeatureWindow::Lifetime,
    };
    let ([positive, neutral, negative, question], [review, social, line_chat, other]) =
        (of.sums.labels, of.sums.channels);
    let total = of.sums.count();
    v1::WindowFeatures {
        window: window.into(),
        counts: Some(v1::FeatureCount {
            total,
            positive,
            neutral,
            negative,
            question,
            review,
            social,
            line_chat,
            other,
        }),
        mean_score: value(of.mean),
        score_deviation: value(of.deviation),
        mean_score_error: value(of.mean_error),
    }
}

fn value(known: Known<f64>) -> Option<v1::FeatureValue> {
    let (presence, value) = match known {
        Known::Present(value) => (v1::FeaturePresence::Present, value),
        Known::NoData => (v1::FeaturePresence::NoData, 0.0),
        Known::OutsideRetention => (v1::FeaturePresence::OutsideRetention, 0.0),
    };
    Some(v1::FeatureValue { presence: presence.into(), value })
}

#[expect(clippy::cast_precision_loss, reason = "a number of days")]
fn as_float(days: i64) -> f64 {
    days as f64
}

/// A sequence or revision: these never come near the largest of 63 bits.
pub(super) fn number(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

fn kind(kind: SignalKind) -> v1::SignalKind {
    match kind {
        SignalKind::NegativeShare => v1::SignalKind::NegativeShare,
        SignalKind::MoodFell => v1::SignalKind::MoodFell,
        SignalKind::NegativeRun => v1::SignalKind::NegativeRun,
    }
}

fn raised(alarm: &Alarm) -> v1::RaisedSignal {
    v1::RaisedSignal { kind: kind(alarm.kind).into(), raise_time: Some(timestamp(alarm.since())) }
}

pub(in crate::grpc) fn signal(signal: &Signal) -> v1::Signal {
    let figures = match signal.figures {
        Figures::Share { recent, recent_negative, baseline, baseline_negative } => {
            v1::signal::Figures::NegativeShare(v1::NegativeShareFigures {
                recent_count: recent,
                recent_negative_count: recent_negative,
                baseline_count: baseline,
                baseline_negative_count: baseline_negative,
            })
        }
        Figures::Mood { short, long } => v1::signal::Figures::MoodFell(v1::MoodFellFigures {
            decayed_mean_1d: short,
            decayed_mean_30d: long,
        }),
        Figures::Run { length } => {
            v1::signal::Figures::NegativeRun(v1::NegativeRunFigures { length: number(length) })
        }
    };
    let phase = if signal.raised { v1::SignalPhase::Raised } else { v1::SignalPhase::Cleared };
    v1::Signal {
        kind: kind(signal.kind).into(),
        key: Some(key_to(&signal.key)),
        phase: phase.into(),
        signal_time: Some(timestamp(signal.time())),
        statistic: signal.statistic,
        threshold: signal.threshold,
        figures: Some(figures),
    }
}
