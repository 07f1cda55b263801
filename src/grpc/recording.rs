//! Texts that are recorded for a profile as they are scored.

use super::profile::convert::{self, Checked};
use super::status::Failure;
use super::violations::Violations;
use super::{ServerConfig, Shared, v1};
use crate::profile::{Command, Disk, Keeper, Outcome};
use crate::scoring::Scored;
use crate::telemetry;

/// What is to be recorded, once there is a score.
#[derive(Debug)]
pub(super) struct Recording(Checked);

impl Recording {
    /// Checks its fields; those it shares with the request are the request's to check. What is recorded is what RecordEvents
    /// would take with the same text: sent both ways, it counts once.
    pub(super) fn of(
        request: &v1::AnalyzeSentimentRequest,
        config: &ServerConfig,
    ) -> Result<Option<Self>, Violations> {
        let Some(given) = &request.recording else { return Ok(None) };
        convert::brand_count(&given.brand_ids)?;
        let given = given.clone();
        // Of a text that is too long the request is told, too.
        let text = Some(&request.text).filter(|text| text.len() <= config.max_text_bytes);
        let event = v1::ProfileEvent {
            event_id: given.event_id,
            event_time: given.event_time,
            customer_id: given.customer_id,
            brand_ids: given.brand_ids,
            // The request says it, and is told if it is none.
            channel: v1::Channel::try_from(request.channel).unwrap_or_default().into(),
            felt: Some(v1::profile_event::Felt::Text(text.cloned().unwrap_or_default())),
            replaces_event_id: given.replaces_event_id,
        };
        Ok(Some(Self(convert::event(event, config)?)))
    }

    /// The command that records it with its score.
    pub(super) fn command(self, scored: &Scored) -> Command {
        self.0.into_command((scored.sentiment.label, scored.sentiment.score))
    }
}

/// Records scored events as RecordEvents does, in a store of this process.
///
/// # Errors
///
/// If the store refuses, or is broken.
pub(crate) fn record_blocking(
    keeper: &Keeper<Disk>,
    config: &ServerConfig,
    events: Vec<v1::ProfileEvent>,
) -> Result<Vec<v1::RecordEventResult>, String> {
    let ids: Vec<String> = events.iter().map(|event| event.event_id.clone()).collect();
    let command = |event: v1::ProfileEvent| {
        let event = convert::event(event, config)?;
        let felt = match &event.felt {
            convert::Felt::Scored(label, score) => (*label, *score),
            convert::Felt::Text(_) => return Err(Failure::NotReady),
        };
        Ok(event.into_command(felt))
    };
    let items: Vec<Result<Command, Failure>> = events.into_iter().map(command).collect();
    let commands: Vec<Command> = items.iter().flatten().cloned().collect();
    let outcomes = if commands.is_empty() {
        Vec::new()
    } else {
        keeper.apply_blocking(commands).map_err(|error| telemetry::chain(&error))?
    };
    Ok(convert::results(ids, items, outcomes))
}

impl Shared {
    /// Records what there is, in one commit; an outcome for each.
    ///
    /// The texts are scored already, so a store that refuses takes no score from its caller: each outcome then says why nothing was
    /// recorded, and the caller sends the events again with RecordEvents.
    pub(super) async fn record(&self, commands: Vec<Command>) -> Vec<v1::RecordOutcome> {
        let count = commands.len();
        if count == 0 {
            return Vec::new();
        }
        let failed = |failure: Failure| v1::record_outcome::Outcome::Error(failure.into_item());
        let outcomes = match self.apply(commands).await {
            Ok(outcomes) => outcomes
                .into_iter()
                .map(|outcome| match convert::recorded(Some(outcome)) {
                    Ok(status) => v1::record_outcome::Outcome::Status(status.into()),
                    Err(failure) => failed(failure),
                })
                .collect(),
            Err(failure) => vec![failed(failure); count],
        };
        outcomes.into_iter().map(|outcome| v1::RecordOutcome { outcome: Some(outcome) }).collect()
    }

    /// Records in one commit, and counts what was lost if there is none.
    pub(super) async fn apply(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, Failure> {
        let keeper = self.keeper()?;
        let count = commands.len();
        keeper.apply(commands).await.map_err(|error| {
            self.metrics.profile_unrecorded(count);
            Failure::Keep(error)
        })
    }

    /// As [`record`](Self::record), of one text or none.
    pub(super) async fn record_one(
        &self,
        recording: Option<Recording>,
        scored: &Scored,
    ) -> Option<v1::RecordOutcome> {
        let commands = recording.map(|recording| recording.command(scored)).into_iter().collect();
        self.record(commands).await.into_iter().next()
    }
}
