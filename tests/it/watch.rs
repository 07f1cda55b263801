//! Watching: a snapshot, then each change once, whatever is cut and wherever it is gone on from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::watch_profiles_response::Event;
use arom::grpc::v1::{
    ListProfilesRequest, ProfileKey, ProfileOrder, SignalKind, SignalPhase, WatchProfilesRequest,
    WatchProfilesResponse,
};
use arom::model::Label;
use arom::profile::{
    Anew, Book, Channel as Written, Command, Contribution, Disk, Event as Happened, Interest, Keeper, Key,
    Micros, Outcome, Shown, Step, Terms, Update, Upkeep, Watcher,
};
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::profile::{erase, event, record};
use crate::support::{PATIENCE, Server, until_blocking};

type Client = ProfileServiceClient<Channel>;

fn keeper(folder: &Path, upkeep: Upkeep) -> Arc<Keeper<Disk>> {
    let book = Book::open(Disk::open(folder).expect("it opens"), Terms::default(), [7; 32]).expect("a book");
    let clock = arom::profile::system_clock();
    Arc::new(Keeper::start(book, clock, upkeep, Arc::default()).expect("two threads"))
}

/// Event number so many: of one of fifty customers and one of three brands.
fn numbered(number: u64) -> Command {
    let label = if number.is_multiple_of(4) { Label::Negative } else { Label::Positive };
    let contribution = Contribution {
        time: jiff::Timestamp::now() - Duration::from_secs(number % 1000),
        label,
        score: Micros::of(if number.is_multiple_of(4) { -0.5 } else { 0.25 }),
        channel: Written::Social,
    };
    let (customer, brand) = (format!("c{}", number % 50), format!("b{}", number % 3));
    let event =
        Happened { id: format!("e{number}"), customer: Some(customer), brands: vec![brand], contribution };
    Command::Record { content: event.id.clone().into_bytes(), event, replaces: None }
}

/// Whoever gets a fresh snapshot in the middle gets the signals that were not said before it, each once.
#[test]
fn a_snapshot_in_the_middle_loses_no_signal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keeper = keeper(folder.path(), Upkeep::default());
    let now = jiff::Timestamp::now();
    let negative = |id: String, customer: &str| {
        let contribution = Contribution {
            time: now - Duration::from_secs(60),
            label: Label::Negative,
            score: Micros::of(-0.5),
            channel: Written::Social,
        };
        let customer = Some(customer.to_owned());
        let event = Happened { id, customer, brands: Vec::new(), contribution };
        Command::Record { content: Vec::new(), event, replaces: None }
    };
    // The signals that are said from here on, up to where nothing is left, and why snapshots began.
    let follow = |watcher: &mut Watcher<Disk>| {
        let (mut signals, mut why) = (Vec::new(), Vec::new());
        loop {
            match watcher.step(now).expect("readable") {
                Step::Updates(updates) => {
                    if updates.is_empty() && watcher.is_level() {
                        return (signals, why);
                    }
                    signals.extend(updates.into_iter().filter_map(|(_, update)| match update {
                        Update::Signal(signal) => Some(signal.key.to_string()),
                        Update::Profile(_) | Update::Gone { .. } => None,
                    }));
                }
                Step::Anew(reason) => {
                    why.push(reason);
                    while let Some(shown) = watcher.page(now).expect("readable") {
                        signals.extend(shown.into_iter().filter_map(|shown| match shown {
                            Shown::Signal(_, signal) => Some(signal.key.to_string()),
                            Shown::Profile(_) => None,
                        }));
                    }
                }
                Step::Lost => panic!("nothing is forgotten"),
            }
        }
    };
    keeper.apply_blocking(vec![negative("begin".to_owned(), "begin")]).expect("written");
    let mut slow = Watcher::from_now(Arc::clone(&keeper), Interest::default());
    let only = Interest::new([], ["customer/c1".to_owned()]);
    let mut some = Watcher::from_now(Arc::clone(&keeper), only.clone());
    let before = slow.position().expect("a position");
    assert!(matches!(slow.step(now), Ok(Step::Updates(updates)) if updates.is_empty()));
    assert!(matches!(some.step(now), Ok(Step::Updates(updates)) if updates.is_empty()));
    assert!(slow.is_level() && some.is_level());
    keeper.apply_blocking(vec![negative("first".to_owned(), "begin")]).expect("written");
    for watcher in [&mut slow, &mut some] {
        assert_eq!(follow(watcher), (Vec::new(), Vec::new()));
    }
    let mut wanted = Vec::new();
    for number in 0..1500 {
        let customer = format!("c{number}");
        for turn in 0..3 {
            keeper.apply_blocking(vec![negative(format!("{number}-{turn}"), &customer)]).expect("written");
        }
        wanted.push(format!("customer/{customer}"));
    }
    let of_some: Vec<String> = wanted.iter().filter(|key| key.starts_with("customer/c1")).cloned().collect();
    assert_eq!(follow(&mut slow), (wanted.clone(), vec![Anew::Behind]));
    assert_eq!(follow(&mut some), (of_some, vec![Anew::Behind]));
    // Away while somebody was erased, and the memory of who it was is gone with the process.
    let erase = Command::Erase { customer: "c7".to_owned(), from_brands: false };
    keeper.apply_blocking(vec![erase]).expect("written");
    drop((slow, some));
    drop(Arc::into_inner(keeper).expect("nobody else has it"));
    let keeper = self::keeper(folder.path(), Upkeep::default());
    let mut back = Watcher::new(Arc::clone(&keeper), Interest::default(), Some(before));
    wanted.retain(|key| key != "customer/c7");
    let (said, why) = follow(&mut back);
    assert_eq!((said, why), (wanted, vec![Anew::Erased]));
    assert_eq!(follow(&mut back), (Vec::new(), Vec::new()), "once");
}

/// A writer commits as fast as it can; the watcher is cut off at random and goes on from the last position it has. It ends
/// with what the book has, and no revision of a key and no signal comes twice.
#[test]
fn whoever_goes_on_from_a_position_misses_nothing_and_gets_nothing_twice() {
    const EVENTS: u64 = 3000;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keeper = keeper(folder.path(), Upkeep::default());
    let cuts = Arc::new(AtomicUsize::new(0));
    let (writing, cut_so_far) = (Arc::clone(&keeper), Arc::clone(&cuts));
    let writer = std::thread::spawn(move || {
        let mut next = 0;
        // On a busy machine the watcher has few turns, each with many changes.
        while next < EVENTS || cut_so_far.load(Ordering::Relaxed) <= 3 {
            let group: Vec<Command> = (next..next + 1 + next % 7).map(numbered).collect();
            next += u64::try_from(group.len()).expect("few");
            writing.apply_blocking(group).expect("written");
        }
    });
    let mut watcher = Watcher::from_now(Arc::clone(&keeper), Interest::default());
    let mut position = watcher.position().expect("a position");
    let (mut seen, mut latest) = (BTreeSet::new(), BTreeMap::new());
    let (mut signals, mut random) = (Vec::new(), 0x9E37_79B9_7F4A_7C15_u64);
    loop {
        let ended = writer.is_finished();
        let Step::Updates(updates) = watcher.step(jiff::Timestamp::now()).expect("readable") else {
            panic!("nothing is forgotten")
        };
        if ended && updates.is_empty() && watcher.is_level() {
            break;
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let cut = random >> 60 == 0;
        let taken = if cut { usize::try_from(random >> 32 & 7).expect("3 bits") } else { updates.len() };
        for (after, update) in updates.into_iter().take(taken) {
            position = after;
            match update {
                Update::Profile(seen_now) => {
                    let profile = seen_now.profile.clone();
                    assert!(
                        seen.insert((profile.key.clone(), profile.revision)),
                        "{} came twice",
                        profile.key
                    );
                    latest.insert(profile.key, profile.revision);
                }
                Update::Signal(signal) => signals.push((signal.key.clone(), signal.time(), signal.raised)),
                Update::Gone { key, .. } => panic!("{key} is not gone"),
            }
        }
        if cut {
            cuts.fetch_add(1, Ordering::Relaxed);
            watcher = Watcher::new(Arc::clone(&keeper), Interest::default(), Some(position));
        } else {
            position = watcher.position().expect("a position");
        }
    }
    writer.join().expect("it ends");
    let now = jiff::Timestamp::now();
    let keys = keeper.book().names("", None, usize::MAX).expect("readable");
    assert_eq!(keys.len(), latest.len());
    for key in keys {
        let profile = keeper.book().profile(&key, now).expect("readable").expect("it is there");
        assert_eq!(latest.get(&key), Some(&profile.revision), "{key}");
    }
    let changes = keeper.book().changes(0, usize::MAX).expect("readable");
    let raised = changes.iter().flat_map(|change| change.signals.iter().flatten());
    let raised: Vec<_> = raised.map(|signal| (signal.key.clone(), signal.time(), signal.raised)).collect();
    assert_eq!(signals, raised);
}

async fn watch(client: &mut Client, request: WatchProfilesRequest) -> Streaming<WatchProfilesResponse> {
    client.watch_profiles(request).await.expect("it begins").into_inner()
}

async fn next(stream: &mut Streaming<WatchProfilesResponse>) -> WatchProfilesResponse {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await;
    message.expect("in time").expect("no failure").expect("a message")
}

fn prefixed(prefix: &str) -> WatchProfilesRequest {
    WatchProfilesRequest { key_prefixes: vec![prefix.to_owned()], ..WatchProfilesRequest::default() }
}

/// What a message says, in short.
fn short(message: &WatchProfilesResponse) -> String {
    let name = |key: &Option<ProfileKey>| {
        let key = key.as_ref().expect("a key");
        format!("{}/{}", key.customer_id, key.brand_id)
    };
    match message.event.as_ref().expect("an event") {
        Event::SnapshotBegin(begin) => format!("begin {}", begin.reason().as_str_name()),
        Event::SnapshotEnd(end) => format!("end {}", end.profile_count),
        Event::Profile(profile) => {
            let lifetime = profile.windows[5].counts.as_ref().expect("counts");
            format!("{} {}", name(&profile.key), lifetime.total)
        }
        Event::Gone(gone) => format!("gone {}{}", name(&gone.key), if gone.erased { " erased" } else { "" }),
        Event::Signal(signal) => format!("{} {}", signal.kind().as_str_name(), signal.phase().as_str_name()),
        Event::Heartbeat(_) => "heartbeat".to_owned(),
    }
}

#[tokio::test]
async fn a_snapshot_comes_first_and_then_what_changes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    record(&mut client, vec![event("e1", "c", &["b"], 30, 0.5), event("e2", "", &["b2"], 30, 0.5)]).await;
    let mut brands = watch(&mut client, prefixed("brand/")).await;
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(short(&next(&mut brands).await));
    }
    assert_eq!(said, ["begin SNAPSHOT_REASON_FIRST", "/b 1", "/b2 1", "end 2"]);
    record(&mut client, vec![event("e3", "d", &["b"], 20, 0.5)]).await;
    let update = next(&mut brands).await;
    assert_eq!(short(&update), "/b 2");
    drop(brands);
    // While nobody watches: another change, a retraction that leaves nothing, and one that is none of their business.
    record(&mut client, vec![event("e4", "d", &["b"], 20, 0.5)]).await;
    let retract = arom::grpc::v1::RetractEventsRequest { event_ids: vec!["e2".to_owned()] };
    client.retract_events(retract).await.expect("an answer");
    record(&mut client, vec![event("e5", "d", &[], 20, 0.5)]).await;
    let on = WatchProfilesRequest { resume_token: update.resume_token, ..prefixed("brand/") };
    let heartbeat = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let mut brands = watch(&mut client, WatchProfilesRequest { heartbeat_interval: heartbeat, ..on }).await;
    assert_eq!(short(&next(&mut brands).await), "/b 3");
    assert_eq!(short(&next(&mut brands).await), "gone /b2");
    let idle = next(&mut brands).await;
    assert_eq!(
        (short(&idle).as_str(), idle.sequence),
        ("heartbeat", 5),
        "what does not concern them is passed by"
    );
    let wrong =
        |token: Vec<u8>| WatchProfilesRequest { resume_token: token, ..WatchProfilesRequest::default() };
    let garbled = client.watch_profiles(wrong(vec![1, 2, 3])).await.expect_err("refused");
    assert_eq!(garbled.code(), Code::InvalidArgument);
    // A watcher of more than the token is of would never hear of what changed of it meanwhile.
    let bound = idle.resume_token.clone();
    for request in [wrong(bound.clone()), WatchProfilesRequest { resume_token: bound, ..prefixed("brand") }] {
        let other = client.watch_profiles(request).await.expect_err("refused");
        assert_eq!(other.code(), Code::InvalidArgument);
        assert!(other.message().contains("key_prefixes"), "{}", other.message());
    }
    let mut forged = idle.resume_token;
    forged[8..].fill(0);
    let forged = client.watch_profiles(wrong(forged)).await.expect_err("there is no change 0");
    assert_eq!(forged.code(), Code::InvalidArgument);
    let another = client.watch_profiles(wrong(vec![9; 28])).await.expect_err("refused");
    assert_eq!(another.code(), Code::OutOfRange);
    drop(brands);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_run_of_negatives_is_said_with_its_figures() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    let key = ProfileKey { customer_id: "c".to_owned(), brand_id: String::new() };
    let request =
        WatchProfilesRequest { keys: vec![key], skip_snapshot: true, ..WatchProfilesRequest::default() };
    let mut watched = watch(&mut client, request).await;
    for number in 0..3 {
        record(&mut client, vec![event(&format!("e{number}"), "c", &["b"], 30 - number, -0.5)]).await;
    }
    let signal = loop {
        if let Some(Event::Signal(signal)) = next(&mut watched).await.event {
            break signal;
        }
    };
    assert_eq!((signal.kind(), signal.phase()), (SignalKind::NegativeRun, SignalPhase::Raised));
    assert_eq!((signal.statistic, signal.threshold), (3.0, 3.0));
    drop(watched);
    server.stop().await.expect("a clean stop");
}

/// Reads a snapshot to its end, and gives the token there.
async fn end_of_snapshot(watched: &mut Streaming<WatchProfilesResponse>) -> Vec<u8> {
    loop {
        let message = next(watched).await;
        if matches!(message.event, Some(Event::SnapshotEnd(_))) {
            return message.resume_token;
        }
    }
}

#[tokio::test]
async fn who_is_erased_is_said_to_be_gone_and_whoever_was_away_begins_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    record(&mut client, vec![event("e1", "c", &["b"], 30, 0.5), event("e2", "d", &["b"], 30, 0.5)]).await;
    let key = |customer: &str| ProfileKey { customer_id: customer.to_owned(), brand_id: String::new() };
    let of_keys = |customers: [&str; 2]| WatchProfilesRequest {
        keys: customers.map(key).to_vec(),
        ..WatchProfilesRequest::default()
    };
    let mut tokens = Vec::new();
    for request in [prefixed("customer/"), of_keys(["c", "d"]), prefixed("brand/")] {
        let mut watched = watch(&mut client, request).await;
        tokens.push(end_of_snapshot(&mut watched).await);
    }
    let mut all = watch(&mut client, WatchProfilesRequest::default()).await;
    end_of_snapshot(&mut all).await;
    erase(&mut client, "c").await;
    assert_eq!(short(&next(&mut all).await), "gone c/ erased");
    drop(all);
    server.stop().await.expect("a clean stop");
    // The memory of who it was is gone with the process.
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    let on = |token: usize, request| WatchProfilesRequest { resume_token: tokens[token].clone(), ..request };
    let mut customers = watch(&mut client, on(0, prefixed("customer/"))).await;
    assert_eq!(short(&next(&mut customers).await), "begin SNAPSHOT_REASON_ERASED");
    assert_eq!(short(&next(&mut customers).await), "d/ 1");
    // The order of the keys says nothing.
    let mut named = watch(&mut client, on(1, of_keys(["d", "c"]))).await;
    assert_eq!(short(&next(&mut named).await), "gone c/ erased");
    record(&mut client, vec![event("e3", "", &["b"], 30, 0.5)]).await;
    let mut brands = watch(&mut client, on(2, prefixed("brand/"))).await;
    assert_eq!(short(&next(&mut brands).await), "/b 3", "brands do not mind");
    drop((customers, named, brands));
    server.stop().await.expect("a clean stop");
}

#[test]
fn who_is_far_behind_or_asks_for_what_is_forgotten_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let upkeep = Upkeep { history_count: 100, ..Upkeep::default() };
    let keeper = keeper(folder.path(), upkeep);
    let now = jiff::Timestamp::now();
    let mut slow = Watcher::from_now(Arc::clone(&keeper), Interest::default());
    let first = slow.position().expect("a position");
    keeper.apply_blocking(vec![numbered(0)]).expect("written");
    assert!(matches!(slow.step(now), Ok(Step::Updates(updates)) if updates.len() >= 3));
    for number in 1..5000 {
        keeper.apply_blocking(vec![numbered(number)]).expect("written");
    }
    assert!(matches!(slow.step(now), Ok(Step::Anew(arom::profile::Anew::Behind))));
    until_blocking(|| keeper.book().trimmed() >= 4800);
    let mut away = Watcher::new(Arc::clone(&keeper), Interest::default(), Some(first));
    assert!(matches!(away.step(now), Ok(Step::Lost)));
}

#[tokio::test]
async fn profiles_are_listed_by_name_and_by_mood_in_pages() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    let mut events = Vec::new();
    for brand in 0..7_u64 {
        for number in 0..8_u64 {
            let score = if number < brand { -0.5 } else { 0.5 };
            events.push(event(&format!("e{brand}-{number}"), "", &[&format!("b{brand}")], 60, score));
        }
    }
    events.push(event("few", "", &["few"], 60, -0.5));
    events.push(event("other", "c", &[], 60, -0.5));
    record(&mut client, events).await;
    let mut listed = async |order: ProfileOrder, least: i64| {
        let (mut token, mut found) = (String::new(), Vec::new());
        loop {
            let request = ListProfilesRequest {
                key_prefix: "brand/".to_owned(),
                order_by: order.into(),
                min_count: least,
                page_size: 3,
                page_token: token,
                ..ListProfilesRequest::default()
            };
            let page = client.list_profiles(request).await.expect("a page").into_inner();
            assert!(page.profiles.len() <= 3);
            found.extend(page.profiles.into_iter().map(|profile| profile.key.expect("a key").brand_id));
            token = page.next_page_token;
            if token.is_empty() {
                return found;
            }
        }
    };
    let names = listed(ProfileOrder::Unspecified, 0).await;
    assert_eq!(names, ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "few"]);
    let worst = listed(ProfileOrder::NegativeShare, 2).await;
    assert_eq!(worst, ["b6", "b5", "b4", "b3", "b2", "b1", "b0"]);
    assert_eq!(listed(ProfileOrder::NegativeShare, 0).await.first().map(String::as_str), Some("few"));
    server.stop().await.expect("a clean stop");
}

/// An hour of 20 brands and 10,000 customers, at whose half one brand has a crisis: the signal is of that brand and no other, and
/// it is raised within three minutes.
#[test]
fn a_crisis_is_seen_at_its_brand_and_at_no_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let begin = jiff::Timestamp::from_second(1_795_408_200).expect("a time");
    let book =
        Book::open(Disk::open(folder.path()).expect("it opens"), Terms::default(), [7; 32]).expect("a book");
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let (mut shares, mut number) = (Vec::new(), 0_u64);
    for second in 0..3600_u64 {
        let now = begin + Duration::from_secs(second);
        let mut commands = Vec::new();
        for _ in 0..10 {
            let brand = draw(20);
            let crisis = brand == 7 && second >= 1800;
            // Brands are not alike: their usual share is 5 to 24 in 100.
            let negative = draw(100) < if crisis { 55 } else { 5 + brand };
            let score = if negative { -0.7 } else { 0.4 };
            let contribution = Contribution {
                time: now,
                label: if negative { Label::Negative } else { Label::Positive },
                score: Micros::of(score),
                channel: Written::Social,
            };
            let event = Happened {
                id: format!("e{number}"),
                customer: Some(format!("c{}", draw(10_000))),
                brands: vec![format!("b{brand}")],
                contribution,
            };
            number += 1;
            commands.push(Command::Record { content: Vec::new(), event, replaces: None });
        }
        let applied = book.apply(&commands, now).expect("written");
        assert!(applied.outcomes.iter().all(|outcome| *outcome == Outcome::Recorded));
        let signals = applied.change.iter().flat_map(|change| change.signals.iter().flatten().cloned());
        shares.extend(
            signals
                .filter(|signal| signal.kind == arom::profile::SignalKind::NegativeShare)
                .map(|signal| (second, signal)),
        );
    }
    let brands: Vec<(u64, String, bool)> =
        shares.iter().map(|(second, signal)| (*second, signal.key.to_string(), signal.raised)).collect();
    let [(second, signal)] = shares.as_slice() else { panic!("{brands:?}") };
    assert_eq!((signal.key.clone(), signal.raised), (Key::Brand("b7".to_owned()), true));
    println!("the crisis was seen after {} s", second - 1800);
    assert!((1800..1980).contains(second), "{} s after the crisis began", second - 1800);
    assert!(signal.statistic >= 4.0, "{signal:?}");
}
