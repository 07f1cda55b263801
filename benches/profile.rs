//! Profiles: recording, reading, watching, space and recovery; beside Redis and PostgreSQL doing the same work.
//!
//! ```sh
//! make bench-profile                                # all; needs redis-server and postgresql from Debian's packages
//! cargo bench --bench profile -- stores             # only some: fold, keeper, stores, watch, watchers, space
//! CUSTOMERS=200000 make bench-profile               # with fewer customers, and events in proportion
//! ```
//!
//! Stores: each is a process of its own on loopback with its files on the same disk, and answers when the event is on it
//! (`fsync` in Arom, `appendfsync always` in Redis, `fsync` and `synchronous_commit` in PostgreSQL). First 1,000,000 events
//! of as many customers about 20 brands over 30 days in batches of 256 from 8 callers; then, in the loaded store, 300,000 events of
//! the last minute in the same batches, and 100,000 one by one from 64 callers; then reads of customers, one by one and 256 at a
//! time, and of brands (PostgreSQL after a VACUUM ANALYZE). Then it is killed and started again. Arom's store is then also measured
//! without a transport ("linked"). Their clients share the machine with them. Arom alone
//! checks, keeps decayed sums, takes back, judges signals and notes each change for who watches; the heads of
//! benches/stores/*.rs say what the others do. Writes target/bench/profile.json.

#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark that panics has failed"
)]

mod stores;
mod support;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arom::grpc::v1::watch_profiles_response::Event as Said;
use arom::grpc::v1::{RecordEventsRequest, WatchProfilesRequest};
use arom::profile::{Book, Command, Contribution, Disk, Order, Sign, State, Storage, Table, Terms};
use jiff::Timestamp;

use stores::{
    Arom, BRANDS, Linked, Postgres, Redis, Store, Traffic, bytes, command, contribution, customer, folder,
    scattered,
};
use support::{Figure, milliseconds, quantile, report};

const CUSTOMERS: u64 = 1_000_000;
const BATCH: usize = 256;
const DAY: u64 = 86_400_000;

/// One of the measurements for one of the stores.
#[derive(Debug)]
struct Measured {
    store: &'static str,
    what: &'static str,
    value: f64,
    unit: &'static str,
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    let customers: u64 = std::env::var("CUSTOMERS").ok().and_then(|n| n.parse().ok()).unwrap_or(CUSTOMERS);
    let waiting = tokio::runtime::Runtime::new().expect("a runtime");
    let mut figures = Vec::new();
    if wanted("fold") {
        figures.extend(fold());
    }
    if wanted("keeper") {
        figures.extend(waiting.block_on(keeper()));
    }
    if wanted("space") {
        figures.extend(space());
    }
    if wanted("watch") {
        figures.extend(waiting.block_on(watch()));
    }
    if wanted("watchers") {
        figures.extend(waiting.block_on(watchers()));
    }
    if wanted("stores") {
        figures.extend(waiting.block_on(compare(customers)));
    }
    report("profile", &figures);
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Folding alone: one thread, one key.
fn fold() -> Vec<Figure> {
    const EVENTS: u64 = 2_000_000;
    let traffic = Traffic { customers: 1, now: now(), span: 30 * DAY, kind: 'f' };
    let events: Vec<Contribution> = (0..20_000).map(|number| contribution(&traffic.event(number))).collect();
    let moment = Timestamp::now();
    let rate = |sign: Sign, state: &mut State| {
        let started = Instant::now();
        for event in events.iter().cycle().take(EVENTS as usize) {
            state.fold(sign, event, moment);
        }
        EVENTS as f64 / started.elapsed().as_secs_f64()
    };
    let mut state = State::default();
    let (plus, minus) = (rate(Sign::Plus, &mut state), rate(Sign::Minus, &mut state));
    assert_eq!(state, State::default(), "what is taken back is gone");
    vec![
        Figure::beside("fold an event into a key, in memory", plus, "/s", ("itself", plus)),
        Figure::beside("take it back", minus, "/s", ("fold", plus)),
    ]
}

fn book(folder: &std::path::Path) -> Book<Disk> {
    Book::open(Disk::open(folder).expect("it opens"), Terms::default(), [7; 32]).expect("a book")
}

/// Durable ingest without a transport.
async fn keeper() -> Vec<Figure> {
    const TIME: Duration = Duration::from_secs(6);
    let mut rates = Vec::new();
    for (callers, batch) in [(1, 1), (64, 1), (8, BATCH)] {
        let linked = Arc::new(Linked::open(&folder("keeper")));
        let traffic = Traffic { customers: 100_000, now: now(), span: 60_000, kind: 'k' };
        let next = Arc::new(AtomicU64::new(0));
        let (started, end) = (Instant::now(), Instant::now() + TIME);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..callers {
            let (linked, next) = (Arc::clone(&linked), Arc::clone(&next));
            tasks.spawn(async move {
                while Instant::now() < end {
                    let first = next.fetch_add(batch as u64, Ordering::Relaxed);
                    linked
                        .record((first..first + batch as u64).map(|number| traffic.event(number)).collect())
                        .await;
                }
            });
        }
        tasks.join_all().await;
        rates.push(next.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64());
    }
    let one = rates[0];
    let names = ["durable, one caller, one event a commit", "64 callers", "8 callers, 256 at a time"];
    let figures = names.into_iter().zip(rates);
    figures.map(|(name, rate)| Figure::beside(name, rate, "events/s", ("one caller", one))).collect()
}

/// What keys take on the disk, after everything is written anew.
fn space() -> Vec<Figure> {
    const MANY: u64 = 20_000;
    const OF_BRAND: u64 = 1_000_000;
    let moment = now();
    let mut figures = Vec::new();
    let fill = |name: &str, count: u64, event: &dyn Fn(u64) -> stores::Event, keys: u64| {
        let path = folder(name);
        let book = book(&path);
        for first in (0..count).step_by(4096) {
            let mut commands: Vec<Command> =
                (first..(first + 4096).min(count)).map(|number| command(event(number))).collect();
            for command in &mut commands {
                if let Command::Record { event, .. } = command {
                    event.customer = event.customer.take().filter(|name| !name.is_empty());
                    event.brands.retain(|name| !name.is_empty());
                }
            }
            book.apply(&commands, Timestamp::from_millisecond(moment).expect("in range")).expect("written");
        }
        book.apply(&[Command::Trim(u64::MAX)], Timestamp::now()).expect("written");
        book.storage().scrub().expect("written anew");
        let state: usize = [Table::Profiles, Table::Tiles]
            .into_iter()
            .flat_map(|table| {
                book.storage().scan(table, &[], &[0xFF; 16], Order::Ascending, usize::MAX).expect("readable")
            })
            .map(|(row, value)| row.len() + value.len())
            .sum();
        drop(book);
        let journal: u64 = std::fs::read_dir(path.join("rows"))
            .expect("a folder")
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "jnl"))
            .map(|path| std::os::unix::fs::MetadataExt::blocks(&path.metadata().expect("there")) * 512)
            .sum();
        let disk = (bytes(&path) - journal) as f64;
        (state as f64 / keys as f64, disk / keys as f64)
    };
    let traffic = Traffic { customers: MANY, now: moment, span: 30 * DAY, kind: 's' };
    let ten = |number: u64| stores::Event {
        customer: customer(number % MANY),
        brand: String::new(),
        ..traffic.event(number)
    };
    let (state, disk) = fill("customers", 10 * MANY, &ten, MANY);
    figures.push(Figure::beside("customer of 10 events: its features", state, "bytes", ("itself", state)));
    figures.push(Figure::beside(
        "  with its events and their ids, on disk",
        disk,
        "bytes",
        ("features", state),
    ));
    let brand = |number: u64| stores::Event {
        customer: String::new(),
        brand: "brand".to_owned(),
        ..traffic.event(number)
    };
    let (state, disk) = fill("brand", OF_BRAND, &brand, 1);
    figures.push(Figure::beside(
        "brand of 1,000,000 events: its features",
        state,
        "bytes",
        ("itself", state),
    ));
    let each = disk / OF_BRAND as f64;
    figures.push(Figure::beside("  an event of it with its id, on disk", each, "bytes", ("features", state)));
    figures
}

/// From sending an event to its update at a watcher, and to the answer that it is on the disk.
async fn watch() -> Vec<Figure> {
    const EVENTS: u64 = 200;
    const PAUSE: Duration = Duration::from_millis(40);
    let mut figures = Vec::new();
    for watchers in [1_usize, 100, 1000] {
        let path = folder("watch");
        let server = Arom::serve(&path);
        let writer = Arom::connect(&server).await;
        let traffic = Traffic { customers: 1000, now: now(), span: 60_000, kind: 'w' };
        let event = |number: u64| stores::Event { brand: "watched".to_owned(), ..traffic.event(number) };
        writer.record(vec![event(u64::MAX / 2)]).await;
        let origin = Instant::now();
        let sent: Arc<Vec<AtomicU64>> = Arc::new((0..EVENTS).map(|_| AtomicU64::new(0)).collect());
        let mut tasks = tokio::task::JoinSet::new();
        let mut channel = Arom::connect(&server).await;
        let ready = Arc::new(AtomicU64::new(0));
        for number in 0..watchers {
            if number % 250 == 249 {
                channel = Arom::connect(&server).await;
            }
            let (mut client, sent, ready) = (channel.client.clone(), Arc::clone(&sent), Arc::clone(&ready));
            tasks.spawn(async move {
                let request =
                    WatchProfilesRequest { key_prefixes: vec!["brand/".to_owned()], ..Default::default() };
                let mut stream = client.watch_profiles(request).await.expect("a stream").into_inner();
                let (mut took, mut seen) = (Vec::new(), 0);
                while seen < EVENTS {
                    let message = stream.message().await.expect("it goes on").expect("a message");
                    match message.event {
                        Some(Said::SnapshotEnd(_)) => drop(ready.fetch_add(1, Ordering::Relaxed)),
                        Some(Said::Profile(profile)) if !message.resume_token.is_empty() => {
                            let at = origin.elapsed();
                            let lifetime = profile.windows.last().and_then(|window| window.counts);
                            let count: u64 = lifetime.expect("counts").total.try_into().expect("a count");
                            // Several may have become one: it is that of each.
                            for number in seen..count - 1 {
                                let sent =
                                    Duration::from_nanos(sent[number as usize].load(Ordering::Acquire));
                                took.push(milliseconds(at - sent));
                            }
                            seen = seen.max(count - 1);
                        }
                        _ => {}
                    }
                }
                took
            });
        }
        while ready.load(Ordering::Relaxed) < watchers as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut answered = Vec::new();
        for number in 0..EVENTS {
            let started = Instant::now();
            sent[number as usize].store(origin.elapsed().as_nanos() as u64, Ordering::Release);
            let events = vec![stores::message(event(number))];
            writer.client.clone().record_events(RecordEventsRequest { events }).await.expect("recorded");
            answered.push(milliseconds(started.elapsed()));
            tokio::time::sleep(PAUSE).await;
        }
        let took: Vec<f64> = tasks.join_all().await.into_iter().flatten().collect();
        let answer = median(&answered);
        let baseline = ("the answer", answer);
        let name = format!("answer that it is on the disk, beside {watchers} watchers, p50");
        figures.push(Figure::beside(name, answer, "ms", baseline));
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let name = format!("event sent to update at {watchers} watchers, {name}");
            figures.push(Figure::beside(name, quantile(&took, share), "ms", baseline));
        }
    }
    figures
}

/// What those who watch everything cost whoever records: 64 callers record one event a call, beside 0, 1 and 50 streams.
///
/// Each event changes a customer, a brand and a pair. The streams are read and decoded in this process, on the same cores.
async fn watchers() -> Vec<Figure> {
    const TIME: Duration = Duration::from_secs(6);
    const CALLERS: u64 = 64;
    let (mut figures, mut alone) = (Vec::new(), None);
    for watchers in [0_usize, 1, 50] {
        let path = folder("watchers");
        let server = Arom::serve(&path);
        let client = Arc::new(Arom::connect(&server).await);
        let received = Arc::new(AtomicU64::new(0));
        let mut streams = tokio::task::JoinSet::new();
        for _ in 0..watchers {
            let mut watching = Arom::connect(&server).await.client;
            let stream = watching.watch_profiles(WatchProfilesRequest::default()).await;
            let (mut stream, received) = (stream.expect("a stream").into_inner(), Arc::clone(&received));
            streams.spawn(async move {
                while let Ok(Some(_)) = stream.message().await {
                    received.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while received.load(Ordering::Relaxed) < 2 * watchers as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let traffic = Traffic { customers: 10_000, now: now(), span: 60_000, kind: 'm' };
        let next = Arc::new(AtomicU64::new(0));
        let (started, end) = (Instant::now(), Instant::now() + TIME);
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let (client, next) = (Arc::clone(&client), Arc::clone(&next));
            callers.spawn(async move {
                while Instant::now() < end {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    client.record(vec![traffic.event(number)]).await;
                }
            });
        }
        callers.join_all().await;
        let seconds = started.elapsed().as_secs_f64();
        let rate = next.load(Ordering::Relaxed) as f64 / seconds;
        let alone = *alone.get_or_insert(rate);
        let name = format!("recorded beside {watchers} streams of everything");
        figures.push(Figure::beside(name, rate, "events/s", ("no stream", alone)));
        if watchers > 0 {
            let each = received.load(Ordering::Relaxed) as f64 / seconds / watchers as f64;
            let name = format!("  messages that each of {watchers} streams was sent");
            figures.push(Figure::beside(name, each, "/s", ("events", rate)));
        }
        streams.abort_all();
    }
    figures
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

async fn compare(customers: u64) -> Vec<Figure> {
    let now = now();
    let mut measured = Vec::new();
    {
        let path = folder("arom");
        let mut server = Arom::serve(&path);
        let mut connected = Vec::new();
        for _ in 0..8 {
            connected.push(Arc::new(Arom::connect(&server).await));
        }
        let total = fill("arom", &connected, customers, now, &mut measured).await;
        let total = live("arom", &connected, &connected, customers, (now, 'b'), total, &mut measured).await;
        drop(connected);
        drop(server);
        let started = Instant::now();
        let linked = Linked::open(&path);
        measured.push(recovery("arom", started));
        let linked = [Arc::new(linked)];
        live("arom, linked", &linked, &linked, customers, (now, 'l'), total, &mut measured).await;
        drop(linked);
        // Nothing of what was read last is in its memory.
        server = Arom::serve(&path);
        let client = Arc::new(Arom::connect(&server).await);
        measured.push(single_reads("arom", &client, customers, "read a customer after a restart, p99").await);
    }
    {
        let path = folder("redis");
        if let Some(mut server) = Redis::serve(&path) {
            let mut connected = Vec::new();
            for _ in 0..8 {
                connected.push(Arc::new(Redis::connect(&server, now).await));
            }
            let total = fill("redis", &connected, customers, now, &mut measured).await;
            live("redis", &connected, &connected[..1], customers, (now, 'b'), total, &mut measured).await;
            server.crash();
            let started = Instant::now();
            Redis::connect(&server, now).await;
            measured.push(recovery("redis", started));
        } else {
            println!("redis-server is not there: apt-get install redis-server");
        }
    }
    {
        let path = folder("postgres");
        if let Some(mut server) = Postgres::serve(&path) {
            let mut connected = Vec::new();
            for _ in 0..64 {
                connected.push(Arc::new(Postgres::connect(&server, now).await));
            }
            let total = fill("postgres", &connected[..8], customers, now, &mut measured).await;
            live("postgres", &connected[..8], &connected, customers, (now, 'b'), total, &mut measured).await;
            server.crash();
            let started = Instant::now();
            Postgres::connect(&server, now).await;
            measured.push(recovery("postgres", started));
        } else {
            println!("postgres is not there: apt-get install postgresql");
        }
    }
    let of = |what: &str| {
        measured.iter().find(|own| own.store == "arom" && own.what == what).map_or(f64::NAN, |own| own.value)
    };
    let figure = |found: &Measured| {
        let Measured { store, what, value, unit } = found;
        Figure::beside(format!("{what}: {store}"), *value, unit, ("arom", of(what)))
    };
    let mut sorted: Vec<&Measured> = measured.iter().collect();
    sorted.sort_by_key(|found| measured.iter().position(|other| other.what == found.what));
    sorted.into_iter().map(figure).collect()
}

fn recovery(store: &'static str, started: Instant) -> Measured {
    let value = milliseconds(started.elapsed());
    Measured { store, what: "killed, and there again", value, unit: "ms" }
}

/// Records the first event of every customer: how many that is.
async fn fill<S: Store>(
    store: &'static str,
    clients: &[Arc<S>],
    customers: u64,
    now: i64,
    measured: &mut Vec<Measured>,
) -> u64 {
    let past = Traffic { customers, now, span: 30 * DAY, kind: 'p' };
    let (value, total) = drive(clients, 8, BATCH, 0..customers, record(past)).await;
    measured.push(noted(store, "record, new customers, 8 callers x 256", value, "events/s"));
    total
}

fn record<S: Store>(
    traffic: Traffic,
) -> impl Fn(Arc<S>, Range<u64>) -> std::pin::Pin<Box<dyn Future<Output = u64> + Send>> + Copy + Send + 'static
{
    move |client, numbers| {
        Box::pin(async move { client.record(numbers.map(|number| traffic.event(number)).collect()).await })
    }
}

fn noted(store: &'static str, what: &'static str, value: f64, unit: &'static str) -> Measured {
    println!("{store}: {what}: {value:.2} {unit}");
    Measured { store, what, value, unit }
}

/// All that is measured of a store whose customers are known; how many events it then has. Batches go through `few` clients,
/// single events of 64 callers through `many`.
async fn live<S: Store>(
    store: &'static str,
    few: &[Arc<S>],
    many: &[Arc<S>],
    customers: u64,
    (now, kind): (i64, char),
    mut total: u64,
    measured: &mut Vec<Measured>,
) -> u64 {
    let mut note = |what, value, unit| measured.push(noted(store, what, value, unit));
    for (what, clients, callers, batch, count, kind) in [
        ("record, 8 callers x 256", few, 8, BATCH, customers * 3 / 10, kind),
        ("record, 64 callers x 1", many, 64, 1, customers / 10, kind.to_ascii_uppercase()),
    ] {
        let live = Traffic { customers, now, span: 60_000, kind };
        let (rate, more) = drive(clients, callers, batch, customers..customers + count, record(live)).await;
        assert_eq!(more, count, "each is new");
        note(what, rate, "events/s");
        total += more;
    }
    let client = &few[0];
    client.tidy().await;
    let single = single_reads(store, client, customers, "read a customer, p99").await;
    note(single.what, single.value, single.unit);
    let read = move |client: Arc<S>, numbers: Range<u64>| async move {
        let keys = numbers.map(|number| customer(scattered(number) % customers));
        client.read(keys.collect()).await
    };
    for (what, callers, batch, count) in
        [("read, 8 callers x 1", 8, 1, customers / 10), ("read, 2 callers x 256", 2, BATCH, customers / 2)]
    {
        let (rate, seen) = drive(few, callers, batch, 0..count, read).await;
        assert!(seen >= count, "each has an event at least");
        note(what, rate, "customers/s");
    }
    let (mut took, mut of_brands) = (Vec::new(), 0);
    for round in 0..3 {
        for number in 0..BRANDS {
            let started = Instant::now();
            let count = client.brand(format!("brand-{number}")).await;
            took.push(milliseconds(started.elapsed()));
            of_brands += if round == 0 { count } else { 0 };
        }
    }
    assert_eq!(of_brands, total, "all of it is there");
    note("read a brand, p50", median(&took), "ms");
    total
}

/// Has callers do their work on numbers, so many at a time, until all are done: numbers a second, and the sum of what they
/// return.
async fn drive<S: Store, F: Future<Output = u64> + Send>(
    clients: &[Arc<S>],
    callers: usize,
    batch: usize,
    numbers: Range<u64>,
    work: impl Fn(Arc<S>, Range<u64>) -> F + Copy + Send + 'static,
) -> (f64, u64) {
    let (next, end) = (Arc::new(AtomicU64::new(numbers.start)), numbers.end);
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for client in clients.iter().cycle().take(callers) {
        let (client, next) = (Arc::clone(client), Arc::clone(&next));
        tasks.spawn(async move {
            let mut sum = 0;
            loop {
                let first = next.fetch_add(batch as u64, Ordering::Relaxed);
                if first >= end {
                    break sum;
                }
                sum += work(Arc::clone(&client), first..end.min(first + batch as u64)).await;
            }
        });
    }
    let sum = tasks.join_all().await.into_iter().sum();
    ((numbers.end - numbers.start) as f64 / started.elapsed().as_secs_f64(), sum)
}

async fn single_reads<S: Store>(
    store: &'static str,
    client: &Arc<S>,
    customers: u64,
    what: &'static str,
) -> Measured {
    let mut took = Vec::new();
    for number in 0..10_000 {
        let whose = customer(scattered(number ^ 0xBEEF) % customers);
        let started = Instant::now();
        assert!(client.read(vec![whose]).await > 0);
        took.push(milliseconds(started.elapsed()));
    }
    println!("{store}: a read, p50 {:.3} ms, p99 {:.3} ms", median(&took), quantile(&took, 0.99));
    Measured { store, what, value: quantile(&took, 0.99), unit: "ms" }
}
