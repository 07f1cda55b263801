//! `arom serve --profile-store`, over gRPC, and the store of it without.

use std::path::Path;
use std::sync::Arc;

use arom::grpc::v1::profile_event::Felt;
use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::record_event_result::Outcome as Said;
use arom::grpc::v1::{
    BatchGetProfilesRequest, Channel as Where, GetProfileRequest, Profile, ProfileEvent, ProfileKey,
    RecordEventsRequest, RecordStatus, ScoredText, SentimentLabel, batch_get_profiles_result,
};
use arom::model::Label;
use arom::profile::{
    Book, Channel as Written, Clock, Command, Contribution, Disk, Event as Recorded, Keeper, Key, Micros,
    Outcome, Terms, Upkeep,
};
use prost_types::Timestamp;
use tonic::transport::Channel;

use super::{Event, Store};
use crate::support::Server;

#[derive(Clone)]
pub struct Arom {
    pub client: ProfileServiceClient<Channel>,
}

impl Arom {
    pub fn serve(folder: &Path) -> Server {
        Server::start(&["--profile-store", folder.to_str().expect("UTF-8"), "--log", "warn,arom=info"])
    }

    pub async fn connect(server: &Server) -> Self {
        let address = format!("http://{}", server.address);
        let client = ProfileServiceClient::connect(address).await.expect("it listens");
        Self { client: client.max_decoding_message_size(16 << 20) }
    }
}

/// An event as the contract has it.
pub fn message(event: Event) -> ProfileEvent {
    let label = match event.label {
        0 => SentimentLabel::Positive,
        1 => SentimentLabel::Neutral,
        2 => SentimentLabel::Negative,
        _ => SentimentLabel::Question,
    };
    let channel = match event.channel {
        0 => Where::Review,
        1 => Where::Social,
        2 => Where::LineChat,
        _ => Where::Other,
    };
    #[allow(clippy::cast_possible_truncation, reason = "a score")]
    let score = (f64::from(event.score) / 1e6) as f32;
    let nanos = i32::try_from(event.millis.rem_euclid(1000) * 1_000_000).expect("in range");
    ProfileEvent {
        event_id: event.id,
        event_time: Some(Timestamp { seconds: event.millis.div_euclid(1000), nanos }),
        customer_id: event.customer,
        brand_ids: vec![event.brand],
        channel: channel.into(),
        felt: Some(Felt::Scored(ScoredText { label: label.into(), score })),
        replaces_event_id: String::new(),
    }
}

fn lifetime(profile: &Profile) -> u64 {
    let counts = profile.windows.last().and_then(|window| window.counts).expect("counts");
    counts.total.try_into().expect("a count")
}

/// The same store without a transport, as a program would have it that links Arom.
#[derive(Debug)]
pub struct Linked {
    keeper: Keeper<Disk>,
}

impl Linked {
    pub fn open(folder: &Path) -> Self {
        let disk = Disk::open(folder).expect("it opens");
        let book = Book::open(disk, Terms::default(), [7; 32]).expect("a book");
        let clock: Clock = arom::profile::system_clock();
        let keeper = Keeper::start(book, clock, Upkeep::default(), Arc::default()).expect("two threads");
        Self { keeper }
    }

    fn known(&self, key: &Key) -> u64 {
        let profile =
            self.keeper.book().profile(key, jiff::Timestamp::now()).expect("readable").expect("known");
        let [.., lifetime] = profile.features.windows;
        lifetime.sums.count().try_into().expect("a count")
    }
}

impl Store for Linked {
    async fn record(&self, events: Vec<Event>) -> u64 {
        let outcomes = self.keeper.apply(events.into_iter().map(command).collect()).await.expect("written");
        outcomes.iter().filter(|outcome| **outcome == Outcome::Recorded).count().try_into().expect("few")
    }

    async fn read(&self, customers: Vec<String>) -> u64 {
        customers.into_iter().map(|customer| self.known(&Key::Customer(customer))).sum()
    }

    async fn brand(&self, brand: String) -> u64 {
        self.known(&Key::Brand(brand))
    }
}

pub fn contribution(event: &Event) -> Contribution {
    Contribution {
        time: jiff::Timestamp::from_millisecond(event.millis).expect("in range"),
        label: Label::ALL[usize::from(event.label)],
        score: Micros::of((f64::from(event.score) / 1e6) as f32),
        channel: Written::ALL[usize::from(event.channel)],
    }
}

pub fn command(event: Event) -> Command {
    let content = format!("{event:?}").into_bytes();
    let contribution = contribution(&event);
    let event =
        Recorded { id: event.id, customer: Some(event.customer), brands: vec![event.brand], contribution };
    Command::Record { event, content, replaces: None }
}

impl Store for Arom {
    async fn record(&self, events: Vec<Event>) -> u64 {
        let events = events.into_iter().map(message).collect();
        let answer = self.client.clone().record_events(RecordEventsRequest { events }).await;
        let results = answer.expect("recorded").into_inner().results;
        let new = |outcome: &Option<Said>| match outcome {
            Some(Said::Status(status)) => *status == i32::from(RecordStatus::Recorded),
            other => panic!("{other:?}"),
        };
        results.iter().filter(|result| new(&result.outcome)).count().try_into().expect("few")
    }

    async fn read(&self, customers: Vec<String>) -> u64 {
        let key = |customer_id: String| ProfileKey { customer_id, ..ProfileKey::default() };
        let mut client = self.client.clone();
        if let [customer] = &customers[..] {
            let request = GetProfileRequest { key: Some(key(customer.clone())) };
            let answer = client.get_profile(request).await.expect("known").into_inner();
            return lifetime(&answer.profile.expect("a profile"));
        }
        let keys = customers.into_iter().map(key).collect();
        let answer = client.batch_get_profiles(BatchGetProfilesRequest { keys }).await.expect("an answer");
        let results = answer.into_inner().results.into_iter();
        let count = |outcome| match outcome {
            Some(batch_get_profiles_result::Outcome::Profile(profile)) => lifetime(&profile),
            other => panic!("{other:?}"),
        };
        results.map(|result| count(result.outcome)).sum()
    }

    async fn brand(&self, brand_id: String) -> u64 {
        let key = ProfileKey { brand_id, ..ProfileKey::default() };
        let answer = self.client.clone().get_profile(GetProfileRequest { key: Some(key) }).await;
        lifetime(&answer.expect("known").into_inner().profile.expect("a profile"))
    }
}
