//! `ProfileService`: events in, features out, and what a customer may ask for.

mod backup;
mod clock;
pub(super) mod convert;
pub(super) mod erasures;
mod export;
mod list;
mod message;
mod watch;

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::Shared;
use super::answer_size::{Item, fits};
use super::call::Call;
use super::status::{Failure, OK, item_name};
use super::v1::profile_service_server::ProfileService;
use super::v1::{self, batch_get_profiles_result, record_event_result};
use super::violations::Violations;
use crate::profile::{Command, Disk, Keeper, Key, Outcome, Profile};
use crate::scoring::{Client, Features as Asked, ScoreError};
use crate::turns::Turns;
pub(super) use backup::Backups;
use convert::Felt;
use message::Message;
pub(super) use message::Watched;

const SERVICE: &str = "arom.v1.ProfileService";

/// The service behind `arom.v1.ProfileService`.
#[derive(Debug)]
pub(super) struct Profiles {
    shared: Arc<Shared>,
    /// Of those who watch, one reads at a time.
    turns: Turns<IpAddr>,
}

impl Profiles {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, turns: Turns::new(1) }
    }

    fn keeper(&self) -> Result<Arc<Keeper<Disk>>, Failure> {
        self.shared.keeper()
    }

    /// A list may be of so many, and as its answer has one item for each, of no more than fit in it.
    fn within(&self, field: &'static str, count: usize, item: Item) -> Result<(), Failure> {
        let most = self.shared.config.max_batch_size;
        if !(1..=most).contains(&count) {
            let problem = format!("holds {count}, 1 to {most} are taken");
            return Err(Violations::of(field, problem).into());
        }
        fits(field, count * item.bytes(), &self.shared.config, "send fewer at once")
    }

    async fn record(
        &self,
        events: Vec<v1::ProfileEvent>,
        client: Client,
        done: impl Fn(&'static str),
    ) -> Result<v1::RecordEventsResponse, Failure> {
        // A store that is off or away refuses before anything is scored.
        self.keeper()?;
        self.within("events", events.len(), Item::Recorded)?;
        let ids: Vec<String> = events.iter().map(|event| event.event_id.clone()).collect();
        let checked: Vec<Result<convert::Checked, Failure>> =
            events.into_iter().map(|event| Ok(convert::event(event, &self.shared.config)?)).collect();
        let texts: Vec<String> = checked.iter().flatten().filter_map(|event| event.text().cloned()).collect();
        // Whoever sends only scores needs no model.
        let mut scores = Vec::new();
        if !texts.is_empty() {
            let scorer = self.shared.scorer()?;
            let caller = scorer.caller_for(client);
            scores = caller.score_all(texts.into_iter().map(|text| (text, Asked::default()))).collect().await;
        }
        let mut scores = scores.into_iter();
        let mut command = |item: Result<convert::Checked, Failure>| {
            let event = item?;
            let felt = match &event.felt {
                Felt::Scored(label, score) => (*label, *score),
                Felt::Text(_) => {
                    let scored =
                        scores.next().unwrap_or(Err(ScoreError::WorkerLost)).map_err(Failure::Score)?;
                    (scored.sentiment.label, scored.sentiment.score)
                }
            };
            Ok(event.into_command(felt))
        };
        let items: Vec<Result<Command, Failure>> = checked.into_iter().map(&mut command).collect();
        let commands: Vec<Command> = items.iter().flatten().cloned().collect();
        let outcomes = if commands.is_empty() { Vec::new() } else { self.shared.apply(commands).await? };
        let results = convert::results(ids, items, outcomes);
        for result in &results {
            done(match &result.outcome {
                Some(record_event_result::Outcome::Error(status)) => item_name(status),
                Some(record_event_result::Outcome::Status(_)) | None => OK,
            });
        }
        Ok(v1::RecordEventsResponse { results })
    }

    async fn retract(&self, ids: Vec<String>) -> Result<v1::RetractEventsResponse, Failure> {
        let keeper = self.keeper()?;
        self.within("event_ids", ids.len(), Item::Retracted)?;
        let mut faults = Violations::default();
        for (at, id) in ids.iter().enumerate() {
            convert::event_id(&mut faults, &format!("event_ids[{at}]"), id);
        }
        faults.none_or(())?;
        let commands = ids.into_iter().map(Command::Retract).collect();
        let outcomes = keeper.apply(commands).await.map_err(Failure::Keep)?;
        Ok(v1::RetractEventsResponse {
            statuses: outcomes.into_iter().map(|outcome| convert::retracted(outcome).into()).collect(),
        })
    }

    /// The profiles of some keys, read off the threads that serve sockets.
    async fn read(
        &self,
        keys: Vec<Key>,
        now: Timestamp,
        address: Option<IpAddr>,
    ) -> Result<Vec<Option<Profile>>, Failure> {
        let keeper = self.keeper()?;
        let read = move || keeper.book().profiles(&keys, now);
        self.shared.place(&self.shared.reads, address)?.run(read).await?.map_err(Failure::Storage)
    }

    async fn profiles(
        &self,
        keys: Vec<v1::ProfileKey>,
        address: Option<IpAddr>,
    ) -> Result<Vec<Result<v1::Profile, Failure>>, Failure> {
        let now = self.keeper()?.now();
        let checked: Vec<Result<Key, Failure>> =
            keys.into_iter().map(|key| Ok(convert::key("key", key, &self.shared.config)?)).collect();
        let known = checked.iter().flatten().cloned().collect();
        let mut found = self.read(known, now, address).await?.into_iter();
        let mut profile = |key: Result<Key, Failure>| {
            let key = key?;
            let profile = found.next().flatten().ok_or_else(|| Failure::ProfileNotFound(key.to_string()))?;
            Ok(convert::profile(&profile, now))
        };
        Ok(checked.into_iter().map(&mut profile).collect())
    }

    async fn get(
        &self,
        key: Option<v1::ProfileKey>,
        address: Option<IpAddr>,
    ) -> Result<v1::GetProfileResponse, Failure> {
        let found = self.profiles(vec![key.unwrap_or_default()], address).await?;
        let profile = found.into_iter().next().unwrap_or(Err(Failure::Died))?;
        Ok(v1::GetProfileResponse { profile: Some(profile) })
    }

    async fn batch_get(
        &self,
        keys: Vec<v1::ProfileKey>,
        address: Option<IpAddr>,
    ) -> Result<v1::BatchGetProfilesResponse, Failure> {
        self.within("keys", keys.len(), Item::Profile)?;
        let found = self.profiles(keys, address).await?;
        let result = |(found, index): (Result<v1::Profile, Failure>, i32)| {
            let outcome = match found {
                Ok(profile) => batch_get_profiles_result::Outcome::Profile(profile),
                Err(failure) => batch_get_profiles_result::Outcome::Error(failure.into_item()),
            };
            v1::BatchGetProfilesResult { index, outcome: Some(outcome) }
        };
        Ok(v1::BatchGetProfilesResponse { results: found.into_iter().zip(0..).map(result).collect() })
    }

    /// Begins to tell whoever watches. [`Watched`] sends the messages as they are.
    fn watch(&self, request: Request<v1::WatchProfilesRequest>) -> Result<Response<watch::Updates>, Status> {
        let call = Call::enter_stream(&self.shared, SERVICE, "WatchProfiles", &request)?;
        let mut response = Response::new(());
        call.trace(response.metadata_mut());
        let turns = self.turns.clone();
        let updates = watch::updates(&self.shared, self.keeper()?, turns, call, request.into_inner())?;
        Ok(response.map(|()| updates))
    }

    async fn erase(&self, request: v1::EraseSubjectRequest) -> Result<v1::EraseSubjectResponse, Failure> {
        let keeper = self.keeper()?;
        let customer = convert::customer(request.customer_id, &self.shared.config)?;
        let erase = Command::Erase { customer, from_brands: request.erase_from_brands };
        let outcomes = keeper.apply(vec![erase]).await.map_err(Failure::Keep)?;
        let count = match outcomes.first() {
            Some(Outcome::Forgotten(count)) => *count,
            _ => return Err(Failure::Died),
        };
        Ok(v1::EraseSubjectResponse {
            event_count: super::convert::count(count),
            erase_time: Some(super::convert::timestamp(keeper.now())),
        })
    }
}

#[tonic::async_trait]
impl ProfileService for Profiles {
    async fn record_events(
        &self,
        request: Request<v1::RecordEventsRequest>,
    ) -> Result<Response<v1::RecordEventsResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "RecordEvents", &request)?;
        let (item, client) = (call.items(), call.client());
        call.answer(self.record(request.into_inner().events, client, item)).await
    }

    async fn retract_events(
        &self,
        request: Request<v1::RetractEventsRequest>,
    ) -> Result<Response<v1::RetractEventsResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "RetractEvents", &request)?;
        call.answer(self.retract(request.into_inner().event_ids)).await
    }

    async fn get_profile(
        &self,
        request: Request<v1::GetProfileRequest>,
    ) -> Result<Response<v1::GetProfileResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "GetProfile", &request)?;
        let address = call.client().address;
        call.answer(self.get(request.into_inner().key, address)).await
    }

    async fn batch_get_profiles(
        &self,
        request: Request<v1::BatchGetProfilesRequest>,
    ) -> Result<Response<v1::BatchGetProfilesResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "BatchGetProfiles", &request)?;
        let address = call.client().address;
        call.answer(self.batch_get(request.into_inner().keys, address)).await
    }

    async fn list_profiles(
        &self,
        request: Request<v1::ListProfilesRequest>,
    ) -> Result<Response<v1::ListProfilesResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "ListProfiles", &request)?;
        let address = call.client().address;
        call.answer(self.list(request.into_inner(), address)).await
    }

    type WatchProfilesStream = BoxStream<'static, Result<v1::WatchProfilesResponse, Status>>;

    async fn watch_profiles(
        &self,
        request: Request<v1::WatchProfilesRequest>,
    ) -> Result<Response<Self::WatchProfilesStream>, Status> {
        let updates = self.watch(request)?;
        Ok(updates.map(|updates| updates.map_ok(Message::into_response).boxed()))
    }

    async fn export_subject(
        &self,
        request: Request<v1::ExportSubjectRequest>,
    ) -> Result<Response<v1::ExportSubjectResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "ExportSubject", &request)?;
        let address = call.client().address;
        call.answer(self.export(request.into_inner(), address)).await
    }

    async fn erase_subject(
        &self,
        request: Request<v1::EraseSubjectRequest>,
    ) -> Result<Response<v1::EraseSubjectResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "EraseSubject", &request)?;
        call.answer(self.erase(request.into_inner())).await
    }

    async fn list_erasures(
        &self,
        request: Request<v1::ListErasuresRequest>,
    ) -> Result<Response<v1::ListErasuresResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "ListErasures", &request)?;
        let address = call.client().address;
        call.answer(self.erasures(request.into_inner(), address)).await
    }

    async fn get_profile_clock(
        &self,
        request: Request<v1::GetProfileClockRequest>,
    ) -> Result<Response<v1::GetProfileClockResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "GetProfileClock", &request)?;
        call.answer(async { self.clock() }).await
    }

    async fn accept_profile_clock(
        &self,
        request: Request<v1::AcceptProfileClockRequest>,
    ) -> Result<Response<v1::AcceptProfileClockResponse>, Status> {
        let call = Call::enter(&self.shared, SERVICE, "AcceptProfileClock", &request)?;
        call.answer(self.accept_clock(request.into_inner())).await
    }

    type BackUpProfilesStream = backup::Pieces;

    async fn back_up_profiles(
        &self,
        request: Request<v1::BackUpProfilesRequest>,
    ) -> Result<Response<backup::Pieces>, Status> {
        let call = Call::enter_stream(&self.shared, SERVICE, "BackUpProfiles", &request)?;
        let mut response = Response::new(());
        call.trace(response.metadata_mut());
        let pieces = backup::pieces(&self.shared, self.keeper()?, call)?;
        Ok(response.map(|()| pieces))
    }
}
