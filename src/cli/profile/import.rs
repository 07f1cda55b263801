//! `arom profile import`: events of a dump, recorded once.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tonic_types::StatusExt;

use super::super::Rejected;
use super::super::progress::Progress;
use super::super::rows::Lines;
use super::{Client, refused};
use crate::dumps::{ROW_VALUES, json_values};
use crate::grpc::v1::profile_event::Felt;
use crate::grpc::v1::record_event_result::Outcome;
use crate::grpc::v1::{
    Channel, ExportSubjectResponse, ProfileEvent, RecordEventResult, RecordEventsRequest, RecordStatus,
    RetractEventsRequest, ScoredText, SentimentLabel,
};
use crate::grpc::{from_json, is_for_now, retry_delay, status_of};
use crate::visible::visible;

/// Events of one call.
const BATCH: usize = 256;

/// JSON values of an export at most: those of some 300,000 events.
const EXPORT_VALUES: usize = 1 << 22;

/// Bytes of an export that goes over many lines at most, likewise.
const EXPORT_BYTES: usize = 256 << 20;

/// Faults that are told one by one.
const TOLD: usize = 20;

/// A server that asks for a longer wait needs a person.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

#[derive(Args, Debug)]
#[command(after_help = "A line is an object with\n  \
    event_time (or time)           when, as 2026-11-20T09:30:00+07:00\n  \
    customer_id (or customer)      who, and\n  \
    brand_ids (or brand_id, brand) of what: a name or a list; one of the two is needed\n  \
    label and score                as it was scored, or\n  \
    text                           the words, which the server scores and does not keep\n  \
    channel                        review, social, line_chat or other\n  \
    event_id                       its name; if there is none, one is made of all the others\n  \
    replaces_event_id              an event that is taken back as this one is taken\n\n\
    What `arom profile export` prints is taken as well.\n\n\
    Exit codes: 0 all is recorded or was already, 1 it failed or the server cannot record for now (import it again),\n\
    3 some lines were refused.\n\n\
    Examples:\n  arom profile import scored.jsonl\n  zcat scored.jsonl.gz | arom profile import -\n  \
    arom profile export somchai --server old:50051 | arom profile import -")]
pub(super) struct ImportArgs {
    /// JSON Lines, or exports; "-" for stdin.
    file: PathBuf,
}

#[derive(Debug, Default)]
struct Counts {
    recorded: usize,
    known: usize,
    refused: usize,
}

pub(super) async fn run(client: &mut Client, args: &ImportArgs) -> Result<()> {
    let mut lines = Lines::open(Some(&args.file))?;
    let mut import = Import {
        client,
        progress: Progress::new(None),
        counts: Counts::default(),
        batch: Vec::with_capacity(BATCH),
        retracted: Vec::new(),
    };
    while let Some((number, object)) = lines.next_object()? {
        match object.and_then(parsed) {
            Ok(Line::Event(event)) => import.add(number, *event, false).await?,
            Ok(Line::Export(export)) => {
                for held in export.events {
                    import.add(number, held.event.unwrap_or_default(), held.retracted).await?;
                }
            }
            Err(problem) => import.counts.tell(&import.progress, number, &problem),
        }
    }
    import.flush().await?;
    import.retract().await?;
    import.progress.finish();
    let Counts { recorded, known, refused } = import.counts;
    anstream::eprintln!("{recorded} recorded, {known} known already, {refused} refused");
    if refused > 0 { Err(Rejected(refused).into()) } else { Ok(()) }
}

/// An import that is under way.
struct Import<'a> {
    client: &'a mut Client,
    progress: Progress,
    counts: Counts,
    /// Events to record next.
    batch: Vec<Next>,
    /// Events that an export says were taken back, and that the server has: they are taken back once all are recorded.
    retracted: Vec<String>,
}

/// An event to record.
struct Next {
    /// The number of its line.
    line: usize,
    event: ProfileEvent,
    /// Whether it is to be taken back.
    retracted: bool,
}

impl Import<'_> {
    async fn add(&mut self, line: usize, event: ProfileEvent, retracted: bool) -> Result<()> {
        self.batch.push(Next { line, event, retracted });
        if self.batch.len() < BATCH { Ok(()) } else { self.flush().await }
    }

    async fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let Some(first) = batch.first().map(|next| next.line) else { return Ok(()) };
        let events = batch.iter().map(|next| next.event.clone()).collect();
        let reached = self.counts.recorded + self.counts.known > 0;
        let results = record(self.client, events, reached).await.with_context(|| {
            format!("given up at line {first}; import it again: what was recorded is not recorded twice")
        })?;
        for (Next { line, event, retracted }, result) in batch.into_iter().zip(results) {
            match result.outcome {
                Some(Outcome::Status(status)) => {
                    let is_new = status == i32::from(RecordStatus::Recorded);
                    *if is_new { &mut self.counts.recorded } else { &mut self.counts.known } += 1;
                    self.retracted.extend(retracted.then_some(event.event_id));
                }
                // The server may have another event of this id: that is not taken back.
                Some(Outcome::Error(status)) => self.counts.tell(&self.progress, line, &status.message),
                None => bail!("the server gave no outcome for line {line}"),
            }
            self.progress.advance(1);
        }
        Ok(())
    }

    async fn retract(&mut self) -> Result<()> {
        for ids in self.retracted.chunks(BATCH) {
            let request = RetractEventsRequest { event_ids: ids.to_vec() };
            self.client.retract_events(request).await.map_err(|status| refused(&status))?;
        }
        Ok(())
    }
}

/// What a line holds.
enum Line {
    Event(Box<ProfileEvent>),
    /// What `arom profile export` printed of a customer.
    Export(Box<ExportSubjectResponse>),
}

fn parsed(object: Map<String, Value>) -> Result<Line, String> {
    if !object.contains_key("events") {
        return event(&object).map(|event| Line::Event(Box::new(event)));
    }
    let export = from_json("ExportSubjectResponse", Value::Object(object));
    export
        .map(|export| Line::Export(Box::new(export)))
        .ok_or_else(|| "has events, and is no export of `arom profile export`".to_owned())
}

impl Counts {
    fn tell(&mut self, progress: &Progress, number: usize, problem: &str) {
        self.refused += 1;
        if self.refused <= TOLD {
            progress.suspend(|| anstream::eprintln!("line {number}: {}", visible(problem)));
        } else if self.refused == TOLD + 1 {
            progress.suspend(|| anstream::eprintln!("more lines are refused; they are counted"));
        }
    }
}

/// Records events. A server that has no room now, or is away after it was reached, is asked again for a while, and so are single events
/// that it could not record for now. What was recorded already is not recorded twice.
///
/// # Errors
///
/// If an event is not recorded by then, or if the server asks for a longer wait than this.
pub(in crate::cli) async fn record(
    client: &mut Client,
    events: Vec<ProfileEvent>,
    reached: bool,
) -> Result<Vec<RecordEventResult>> {
    const WAITS: [u64; 7] = [200, 400, 800, 1600, 3200, 6400, 12_800];
    let mut waits = WAITS.into_iter().map(Duration::from_millis);
    let mut results = vec![RecordEventResult::default(); events.len()];
    let mut left: Vec<(ProfileEvent, &mut RecordEventResult)> =
        events.into_iter().zip(&mut results).collect();
    loop {
        let asked = left.iter().map(|(event, _)| event.clone()).collect();
        let status = match client.record_events(RecordEventsRequest { events: asked }).await {
            Ok(answer) => {
                for ((_, result), answered) in left.iter_mut().zip(answer.into_inner().results) {
                    **result = answered;
                }
                left.retain(|(_, result)| for_now(result).is_some());
                match left.first().and_then(|(_, result)| for_now(result)) {
                    Some(status) => status,
                    None => break,
                }
            }
            // The server says its reasons; without one it was the connection.
            Err(status) if is_for_now(&status) || (reached && status.get_details_error_info().is_none()) => {
                status
            }
            Err(status) => return Err(refused(&status)),
        };
        let asks = retry_delay(&status).unwrap_or_default();
        match waits.next() {
            Some(wait) if asks <= wait.max(LONGEST_WAIT) => {
                let wait = wait.max(asks);
                if wait >= Duration::from_secs(1) {
                    let (wait_s, why) = (wait.as_secs_f64(), status.message());
                    tracing::warn!(wait_s, why, "the server takes no events now; they are sent again");
                }
                tokio::time::sleep(wait).await;
            }
            _ => return Err(refused(&status)),
        }
    }
    drop(left);
    Ok(results)
}

/// Why an event was not recorded, if it can be later.
pub(in crate::cli) fn for_now(result: &RecordEventResult) -> Option<tonic::Status> {
    match &result.outcome {
        Some(Outcome::Error(item)) => Some(status_of(item.clone())).filter(is_for_now),
        _ => None,
    }
}

fn event(object: &Map<String, Value>) -> Result<ProfileEvent, String> {
    let find =
        |names: &[&str]| names.iter().find_map(|name| object.get(*name).filter(|value| !value.is_null()));
    let text = |names: &[&str]| match find(names) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string())),
        // Two names could become one.
        Some(Value::Number(number)) => Err(format!(
            "{}: {number} is no whole number of 64 bits; write it as a string",
            names.join(" or ")
        )),
        Some(_) => Err(format!("{} is no string", names.join(" or "))),
    };
    let time = text(&["event_time", "time"])?.ok_or("event_time is missing")?;
    let time: Timestamp = time.parse().map_err(|error| {
        format!("event_time: {time:?} is no time with its zone, as 2026-11-20T09:30:00+07:00: {error}")
    })?;
    let customer_id = text(&["customer_id", "customer"])?.unwrap_or_default();
    let brand_ids = match find(&["brand_ids", "brand_id", "brand"]) {
        Some(Value::Array(brands)) => {
            let name =
                |brand: &Value| brand.as_str().map(str::to_owned).ok_or("brand_ids holds what is no string");
            brands.iter().map(name).collect::<Result<Vec<_>, _>>()?
        }
        Some(_) => text(&["brand_id", "brand", "brand_ids"])?.into_iter().collect(),
        None => Vec::new(),
    };
    let channel = match text(&["channel"])?.as_deref() {
        None | Some("other") => Channel::Other,
        Some("review") => Channel::Review,
        Some("social") => Channel::Social,
        Some("line_chat") => Channel::LineChat,
        Some(other) => {
            return Err(format!("channel: {other:?} is not one of review, social, line_chat, other"));
        }
    };
    let felt = match (text(&["label"])?, find(&["score"])) {
        (Some(label), Some(score)) => {
            let wanted = format!("SENTIMENT_LABEL_{}", label.to_uppercase());
            let label = SentimentLabel::from_str_name(&wanted).ok_or_else(|| {
                format!("label: {label:?} is not one of positive, neutral, negative, question")
            })?;
            let score = score.as_f64().ok_or("score is no number")?;
            #[expect(clippy::cast_possible_truncation, reason = "a score keeps its meaning in 32 bits")]
            Felt::Scored(ScoredText { label: label.into(), score: score as f32 })
        }
        (None, None) => Felt::Text(text(&["text"])?.ok_or("neither label and score nor text is there")?),
        _ => return Err("label and score go together".to_owned()),
    };
    let replaces_event_id = text(&["replaces_event_id"])?.unwrap_or_default();
    let event_id = text(&["event_id"])?.unwrap_or_else(|| {
        let mut parts = format!("{time}\0{customer_id}\0{}\0{channel:?}\0{felt:?}", brand_ids.join("\0"));
        if !replaces_event_id.is_empty() {
            parts.extend(["\0", &replaces_event_id]);
        }
        let digest = Sha256::digest(parts.as_bytes());
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    });
    let event_time =
        Some(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() });
    Ok(ProfileEvent {
        event_id,
        event_time,
        customer_id,
        brand_ids,
        channel: channel.into(),
        felt: Some(felt),
        replaces_event_id,
    })
}

/// The object of a line, or what is wrong with it.
type Parsed = Result<Map<String, Value>, String>;

impl Lines {
    /// The next line that is not blank, or the next export, with its number: its object, or what is wrong with it.
    fn next_object(&mut self) -> Result<Option<(usize, Parsed)>> {
        while let Some((number, mut line)) = self.numbered()? {
            if line.trim().is_empty() {
                continue;
            }
            let mut most = ROW_VALUES;
            // An export goes over many lines, up to the brace that stands at the beginning of one.
            if line == "{" {
                most = EXPORT_VALUES;
                while !line.ends_with("\n}") {
                    let Some((_, next)) = self.numbered()? else { break };
                    if line.len() + next.len() >= EXPORT_BYTES {
                        bail!(
                            "line {number}: the export that begins here has more than {} MiB",
                            EXPORT_BYTES >> 20
                        );
                    }
                    line.extend(["\n", &next]);
                }
            }
            if json_values(&line) > most {
                return Ok(Some((number, Err(format!("more than {most} values")))));
            }
            let object = match serde_json::from_str(&line) {
                Ok(Value::Object(object)) => Ok(object),
                Ok(_) => Err("not a JSON object".to_owned()),
                Err(error) => Err(anyhow!("not JSON: {error}").to_string()),
            };
            return Ok(Some((number, object)));
        }
        Ok(None)
    }
}
