//! Rows as events of their customers and brands: recorded by a server, or in a store of this machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use tonic_types::StatusExt as _;

use super::answer::Answer;
use super::checkpoint::Counts;
use crate::cli::profile::{Client, connect, for_now, record};
use crate::cli::serve::borrowed_profiles;
use crate::config::{Config, ConfigError};
use crate::dumps::{Cells, Columns, Role};
use crate::grpc::v1::profile_event::Felt;
use crate::grpc::v1::record_event_result::Outcome;
use crate::grpc::v1::{Channel, ProfileEvent, RecordEventResult, RecordStatus, ScoredText, SentimentLabel};
use crate::grpc::{ServerConfig, record_blocking, status_of};
use crate::model::Label;
use crate::profile::{ClockState, Command, Disk, Keeper};
use crate::telemetry::Metrics;

/// Events of one call.
const CALL: usize = 256;

/// Reasons that are told one by one.
const TOLD: u64 = 5;

/// A store that was not used for longer than this is accepted by a person, not by a job. Less than half of the shortest retention.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Where events go.
#[derive(Debug)]
pub(super) struct Recorder {
    place: Place,
    brand: Option<String>,
    channel: Channel,
    /// How many rows were not recorded in this run, by reason.
    reasons: BTreeMap<String, u64>,
}

#[derive(Debug)]
enum Place {
    Server { runtime: tokio::runtime::Handle, client: Box<Client> },
    Store { keeper: Box<Keeper<Disk>>, config: Box<ServerConfig> },
}

/// Why a row is not recorded.
#[derive(Debug)]
pub(super) struct Unrecorded {
    /// The reason in the details of the server's error, or one of its kind.
    reason: String,
    text: String,
}

impl Unrecorded {
    fn new(reason: &str, text: &str) -> Self {
        Self { reason: reason.to_owned(), text: text.to_owned() }
    }
}

/// A word of `--channel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Written {
    /// A product, place or service review
    Review,
    /// A post or comment on a social network
    Social,
    /// A message in a LINE chat
    LineChat,
    /// Anything else
    Other,
}

impl From<Written> for Channel {
    fn from(written: Written) -> Self {
        match written {
            Written::Review => Self::Review,
            Written::Social => Self::Social,
            Written::LineChat => Self::LineChat,
            Written::Other => Self::Other,
        }
    }
}

impl Recorder {
    /// To a server. Records only from a thread that is none of the runtime's.
    pub(super) async fn to_server(address: &str, brand: Option<String>, channel: Channel) -> Result<Self> {
        let client = Box::new(connect("--record", address).await?);
        let runtime = tokio::runtime::Handle::current();
        Ok(Self { place: Place::Server { runtime, client }, brand, channel, reasons: BTreeMap::new() })
    }

    /// To the store of the settings, which no server may have open.
    pub(super) async fn to_store(
        config: &Config,
        brand: Option<String>,
        channel: Channel,
        accept_clock: bool,
    ) -> Result<Self> {
        let keeper = borrowed_profiles(config, Arc::new(Metrics::default()))?.ok_or_else(|| {
            let problem = "--record needs --profile-store FOLDER, or a server: --record=127.0.0.1:50051";
            ConfigError::invalid(problem.to_owned())
        })?;
        let ClockState { now, wall, .. } = keeper.clock();
        if accept_clock && wall.duration_since(now) > LONGEST_PAUSE {
            bail!(
                "--accept-clock: the store's time is {now:.0}, the system's is {wall:.0}, more than {} days later. If that is right, see \
                 `arom profile clock --help`: what is too old by an accepted time is forgotten for good",
                LONGEST_PAUSE.as_hours() / 24
            );
        }
        if accept_clock {
            keeper.accept_clock().await?;
        }
        let ClockState { now, wall, distrust, .. } = keeper.clock();
        if let Some(why) = distrust
            && wall > now
        {
            bail!(
                "--record: {}: the store's time is {now:.0}, the system's is {wall:.0}. Events between the two could not be recorded. \
                 If the system's time is right, run this again with --accept-clock",
                why.text()
            );
        }
        // What is recorded here has ids of its own, also in a copy of the store.
        let run = getrandom::u32().map_err(|error| anyhow!("the system gives no random numbers: {error}"))?;
        keeper.apply(vec![Command::BeginRun(run)]).await?;
        let place = Place::Store { keeper: Box::new(keeper), config: Box::new(config.server.clone()) };
        Ok(Self { place, brand, channel, reasons: BTreeMap::new() })
    }

    /// A row as an event, whose id is made of all that the dump says of it and not of how it was scored: the same row
    /// is recorded once, however often it is.
    pub(super) fn event(
        &self,
        cells: &Cells,
        columns: &Columns,
        text: &str,
        answer: &Answer,
    ) -> Result<ProfileEvent, Unrecorded> {
        let cell = |role| columns.cell(role, cells);
        let time: Result<Timestamp, _> =
            columns.time(cells).ok_or_else(|| Unrecorded::new("NO_TIME", "it has no time"))?;
        let time = time.map_err(|time| Unrecorded::new("BAD_TIME", &format!("“{time}” is no time")))?;
        let customer_id = cell(Role::Customer).unwrap_or_default();
        let brand_ids: Vec<String> = self.brand.clone().or_else(|| cell(Role::Brand)).into_iter().collect();
        let mut digest = Sha256::new();
        for part in [
            &cell(Role::Id).unwrap_or_default(),
            &time.to_string(),
            &customer_id,
            &brand_ids.join("\0"),
            self.channel.as_str_name(),
            text,
        ] {
            digest.update(part.as_bytes());
            digest.update([0]);
        }
        let digest = digest.finalize();
        let event_id = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let label = match answer.label {
            Label::Positive => SentimentLabel::Positive,
            Label::Neutral => SentimentLabel::Neutral,
            Label::Negative => SentimentLabel::Negative,
            Label::Question => SentimentLabel::Question,
        };
        Ok(ProfileEvent {
            event_id,
            event_time: Some(prost_types::Timestamp {
                seconds: time.as_second(),
                nanos: time.subsec_nanosecond(),
            }),
            customer_id,
            brand_ids,
            channel: self.channel.into(),
            felt: Some(Felt::Scored(ScoredText { label: label.into(), score: answer.score })),
            replaces_event_id: String::new(),
        })
    }

    /// Records the events of lines, and counts how each ended.
    pub(super) fn record(&mut self, events: Vec<(u64, ProfileEvent)>, counts: &mut Counts) -> Result<()> {
        let mut left = events.into_iter();
        loop {
            let (lines, events): (Vec<u64>, Vec<ProfileEvent>) = left.by_ref().take(CALL).unzip();
            if events.is_empty() {
                return Ok(());
            }
            for (line, result) in lines.into_iter().zip(self.place.record(events)?) {
                match result.outcome {
                    Some(Outcome::Status(status)) if status == i32::from(RecordStatus::Recorded) => {
                        counts.recorded += 1;
                    }
                    Some(Outcome::Status(_)) => counts.known += 1,
                    Some(Outcome::Error(status)) => {
                        counts.unrecorded += 1;
                        let status = status_of(status);
                        let reason =
                            status.get_details_error_info().map_or("OTHER".to_owned(), |info| info.reason);
                        self.tell(line, &Unrecorded::new(&reason, status.message()));
                    }
                    None => bail!("the server gave no outcome for an event"),
                }
            }
        }
    }

    /// Says why the row of a line is not recorded, the first few times.
    pub(super) fn tell(&mut self, line: u64, why: &Unrecorded) {
        let told: u64 = self.reasons.values().sum();
        *self.reasons.entry(why.reason.clone()).or_default() += 1;
        if told < TOLD {
            tracing::warn!(line, reason = why.reason, why = why.text, "a row is not recorded");
        } else if told == TOLD {
            tracing::warn!("more rows are not recorded; they are counted");
        }
    }

    /// Says how many rows were not recorded, and why.
    pub(super) fn sum_up(&self) {
        for (reason, rows) in &self.reasons {
            tracing::warn!(rows, reason, "not recorded in this run");
        }
    }
}

impl Place {
    fn record(&mut self, events: Vec<ProfileEvent>) -> Result<Vec<RecordEventResult>> {
        match self {
            Self::Server { runtime, client } => runtime.block_on(record(client, events, true)),
            Self::Store { keeper, config } => {
                let results = record_blocking(keeper, config, events)
                    .map_err(|problem| anyhow!("cannot record: {problem}"))?;
                // The clock may have jumped since the store was opened.
                match results.iter().find_map(for_now) {
                    Some(status) => bail!("cannot record: {}", status.message()),
                    None => Ok(results),
                }
            }
        }
    }
}
