//! Sinks: nothing is lost, whoever fails, and nobody who was erased is told of.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::{GetProfileRequest, ProfileEvent, ProfileKey};
use arom::sinks::{DeadLetters, Webhook, WebhookConfig};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;
use tonic::transport::Channel;

use crate::profile::{erase, event, record};
use crate::support::{
    PATIENCE, Process, arom, eventually, run_command, stderr, stdout, until, wait_for_serving,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What a receiver does with a post.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Takes,
    /// Answers with this status.
    Says(u16),
    /// Has it, and breaks the connection before it says so.
    Vanishes,
}

/// A webhook receiver on a real socket.
struct Receiver {
    url: String,
    taken: Arc<Mutex<Vec<Value>>>,
    manners: Arc<Mutex<VecDeque<Manner>>>,
    always: Arc<Mutex<Manner>>,
    posts: Arc<Mutex<usize>>,
}

impl Receiver {
    fn start(always: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        let receiver = Self {
            url,
            taken: Arc::default(),
            manners: Arc::default(),
            always: Arc::new(Mutex::new(always)),
            posts: Arc::default(),
        };
        let (taken, manners) = (Arc::clone(&receiver.taken), Arc::clone(&receiver.manners));
        let (always, posts) = (Arc::clone(&receiver.always), Arc::clone(&receiver.posts));
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let manner = manners.lock().expect("whole").pop_front();
                let manner = manner.unwrap_or(*always.lock().expect("whole"));
                // A sender that was killed leaves half a request.
                let Some(events) = read(&connection) else { continue };
                *posts.lock().expect("whole") += 1;
                let answer = |mut connection: &TcpStream, status: u16| {
                    let text =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    connection.write_all(text.as_bytes()).unwrap_or_default();
                };
                match manner {
                    Manner::Takes => {
                        taken.lock().expect("whole").extend(events);
                        answer(&connection, 204);
                    }
                    Manner::Says(status) => answer(&connection, status),
                    Manner::Vanishes => taken.lock().expect("whole").extend(events),
                }
            }
        });
        receiver
    }

    fn taken(&self) -> Vec<Value> {
        self.taken.lock().expect("whole").clone()
    }

    fn posts(&self) -> usize {
        *self.posts.lock().expect("whole")
    }
}

/// The events of a post whose signature is right.
fn read(connection: &TcpStream) -> Option<Vec<Value>> {
    let mut reader = BufReader::new(connection);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    mac.update(format!("{}.{}.", headers["webhook-id"], headers["webhook-timestamp"]).as_bytes());
    mac.update(&body);
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(headers["webhook-signature"], signature);
    assert!(headers["content-type"].starts_with("application/cloudevents-batch+json"));
    let events: Vec<Value> = serde_json::from_slice(&body).expect("JSON");
    for event in &events {
        for name in ["specversion", "id", "source", "type", "subject", "time", "data"] {
            assert!(!event[name].is_null(), "{name} in {event}");
        }
    }
    Some(events)
}

struct Setting {
    folder: tempfile::TempDir,
    args: Vec<String>,
}

impl Setting {
    fn new(receiver: &Receiver, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(folder.path().join("secret"), SECRET).expect("written");
        let mut args = vec!["--profile-store".to_owned(), path("store")];
        args.extend(["--sink-webhook-url".to_owned(), receiver.url.clone()]);
        args.extend(["--sink-webhook-secret-file".to_owned(), path("secret")]);
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        Self { folder, args }
    }

    async fn start(&self) -> (Process, ProfileServiceClient<Channel>) {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let process = Process::start(&args);
        let channel = Channel::from_shared(format!("http://{}", process.address)).expect("an address");
        let channel = channel.connect().await.expect("it listens");
        wait_for_serving(channel.clone()).await;
        (process, ProfileServiceClient::new(channel))
    }
}

/// The latest revision of each key among events.
fn latest(events: &[Value]) -> BTreeMap<String, i64> {
    let mut latest = BTreeMap::new();
    for event in events.iter().filter(|event| event["type"] == "arom.v1.profile.updated") {
        let revision = event["data"]["revision"].as_i64().expect("a number");
        let known: &mut i64 = latest.entry(event["subject"].as_str().expect("a key").to_owned()).or_default();
        *known = revision.max(*known);
    }
    latest
}

/// The events in the files of a JSON Lines sink.
fn lines(folder: &Path) -> (Vec<Value>, usize) {
    let (mut events, mut files) = (Vec::new(), 0);
    for entry in fs::read_dir(folder).expect("a folder") {
        let text = fs::read_to_string(entry.expect("readable").path()).expect("UTF-8");
        events.extend(text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        files += 1;
    }
    (events, files)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_and_a_failing_receiver_lose_nothing() {
    let receiver = Receiver::start(Manner::Takes);
    let json_lines = tempfile::tempdir().expect("a temporary folder");
    let json_folder = json_lines.path().display().to_string();
    let setting =
        Setting::new(&receiver, &["--sink-jsonl-folder", &json_folder, "--sink-jsonl-rotate-bytes", "8192"]);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let (mut keys, mut number) = (BTreeMap::new(), 0_u64);
    for round in 0..3 {
        let (mut process, mut client) = setting.start().await;
        {
            let mut manners = receiver.manners.lock().expect("whole");
            for _ in 0..3 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                manners.push_back(match random >> 62 {
                    0 => Manner::Says(503),
                    1 => Manner::Vanishes,
                    2 => Manner::Says(429),
                    _ => Manner::Takes,
                });
            }
        }
        for _ in 0..20 {
            let customer = format!("c{}", number % 7);
            let score = if number.is_multiple_of(5) { 0.5 } else { -0.5 };
            let events = vec![event(&format!("e{number}"), &customer, &["b"], 100 - number, score)];
            record(&mut client, events).await;
            number += 1;
        }
        if round < 2 {
            // In the middle of what it delivers, or before it has delivered anything.
            let posts = receiver.posts() + round;
            until(|| receiver.posts() >= posts).await;
            process.child.kill().expect("it runs");
            process.child.wait().expect("it ended");
            continue;
        }
        for name in (0..7).map(|customer| format!("c{customer}")).chain(["".to_owned()]) {
            let brand_id = if name.is_empty() { "b".to_owned() } else { String::new() };
            let key = Some(ProfileKey { customer_id: name.clone(), brand_id });
            let found = client.get_profile(GetProfileRequest { key }).await.expect("known").into_inner();
            let subject = if name.is_empty() { "brand/b".to_owned() } else { format!("customer/{name}") };
            keys.insert(subject, found.profile.expect("a profile").revision);
        }
        let whole = |events: &[Value]| {
            let latest = latest(events);
            keys.iter().all(|(key, revision)| latest.get(key) == Some(revision))
        };
        until(|| whole(&receiver.taken())).await;
        until(|| whole(&lines(json_lines.path()).0)).await;
        let raised =
            |events: &[Value]| events.iter().filter(|event| event["type"] == "arom.v1.signal.raised").count();
        assert!(raised(&receiver.taken()) > 0 && raised(&lines(json_lines.path()).0) > 0);
        process.stop();
    }
    assert!(lines(json_lines.path()).1 > 1, "the file was rotated");
    let text = fs::read_to_string(json_lines.path().join("profiles.jsonl")).expect("UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'), "no line is cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_waits_to_be_replayed() {
    let receiver = Receiver::start(Manner::Says(422));
    let setting = Setting::new(&receiver, &[]);
    let letters = setting.folder.path().join("store/webhook-dead-letters.jsonl");
    let (process, mut client) = setting.start().await;
    record(&mut client, vec![event("e1", "c", &["b"], 30, 0.5), event("e2", "d", &[], 30, 0.5)]).await;
    let dead = || fs::read_to_string(&letters).unwrap_or_default();
    until(|| dead().lines().count() == 4).await;
    assert_eq!(receiver.posts(), 1, "it is not tried again");
    let letter: Value = serde_json::from_str(dead().lines().next().expect("a letter")).expect("JSON");
    assert_eq!((&letter["attempts"], &letter["error"]), (&json!(1), &json!("the receiver answered 422")));
    erase(&mut client, "c").await;
    until(|| {
        let of_c: Vec<String> =
            dead().lines().filter(|line| line.contains("\"customer/c")).map(str::to_owned).collect();
        of_c.len() == 1 && of_c[0].contains("arom.v1.profile.erased")
    })
    .await;
    process.stop();
    let replay = || {
        let args = ["sink", "replay"].into_iter().chain(setting.args.iter().map(String::as_str));
        run_command(arom().args(args), "")
    };
    let failed = replay();
    assert!(!failed.status.success() && stderr(&failed).contains("answered 422"), "{}", stderr(&failed));
    assert_eq!(dead().lines().count(), 3);
    *receiver.always.lock().expect("whole") = Manner::Takes;
    assert!(stdout(&replay()).contains("3 events delivered"));
    assert_eq!((receiver.taken().len(), dead().lines().count()), (3, 0));
    assert!(stdout(&replay()).contains("nothing to replay"));
}

#[test]
fn a_replay_from_a_mistyped_path_makes_nothing_and_names_the_path() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let secret = folder.path().join("secret");
    fs::write(&secret, "s".repeat(32)).expect("written");
    let replay = |store: &str, letters: &str| {
        let mut command = arom();
        command.current_dir(folder.path()).args(["sink", "replay", "--profile-store", store]);
        command.args([
            "--sink-webhook-url",
            "http://127.0.0.1:9/hook",
            "--sink-webhook-secret-file",
            "secret",
        ]);
        command.args(["--sink-webhook-dead-letters", letters]);
        run_command(&mut command, "")
    };
    let refused = replay("store", "stroe/letters.jsonl");
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("there is no folder stroe"), "{}", stderr(&refused));
    // A server that had nothing to give up has not written the file.
    assert!(stdout(&replay("store", "letters.jsonl")).contains("letters.jsonl: nothing to replay"));
    let names =
        fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("readable").file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["secret"], "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_while_the_receiver_is_away_is_not_told_of() {
    let receiver = Receiver::start(Manner::Says(503));
    let setting = Setting::new(&receiver, &[]);
    let (process, mut client) = setting.start().await;
    let events = vec![event("e1", "gone", &["b"], 30, -0.5), event("e2", "back", &["b"], 30, -0.5)];
    record(&mut client, events).await;
    until(|| receiver.posts() > 0).await;
    erase(&mut client, "gone").await;
    erase(&mut client, "back").await;
    // One attempt may have begun before; those after it know of the erasures.
    let posts = receiver.posts();
    until(|| receiver.posts() > posts).await;
    // One of them is a customer again before the receiver is back. The clock of their phone is a minute ahead.
    let ahead = Timestamp::now() + Duration::from_mins(1);
    let event_time = Some(prost_types::Timestamp { seconds: ahead.as_second(), nanos: 0 });
    record(&mut client, vec![ProfileEvent { event_time, ..event("e3", "back", &[], 0, 0.5) }]).await;
    *receiver.always.lock().expect("whole") = Manner::Takes;
    until(|| latest(&receiver.taken()).contains_key("customer/back")).await;
    process.stop();
    let taken = receiver.taken();
    let told = |name: &str| {
        let of = taken.iter().filter(|event| event["subject"].as_str().is_some_and(|key| key.contains(name)));
        of.map(|event| event["type"].as_str().expect("a type")).collect::<Vec<_>>()
    };
    assert_eq!(told("gone"), ["arom.v1.profile.erased"]);
    assert_eq!(told("back"), ["arom.v1.profile.erased", "arom.v1.profile.updated"]);
    assert!(latest(&taken).contains_key("brand/b"));
}

/// What was refused is older than what was taken since: replayed, it does not put the receiver back.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_skips_what_newer_events_replaced() {
    let receiver = Receiver::start(Manner::Says(422));
    let setting = Setting::new(&receiver, &[]);
    let letters = setting.folder.path().join("store/webhook-dead-letters.jsonl");
    let dead = || fs::read_to_string(&letters).unwrap_or_default();
    let letter_count = || dead().lines().filter(|line| line.contains("\"attempts\"")).count();
    let (process, mut client) = setting.start().await;
    // Three negative events are a run: with the customer's profile, its signal is refused as well.
    for number in 0..3 {
        let id = format!("e{number}");
        record(&mut client, vec![event(&id, "c", &[], 30 - number, -0.5)]).await;
        let wanted = 1 + usize::try_from(number).expect("few") + usize::from(number == 2);
        until(|| letter_count() == wanted).await;
    }
    record(&mut client, vec![event("other", "d", &[], 30, 0.5)]).await;
    until(|| letter_count() == 5).await;
    *receiver.always.lock().expect("whole") = Manner::Takes;
    record(&mut client, vec![event("e3", "c", &[], 10, 0.5)]).await;
    until(|| receiver.taken().len() == 2).await;
    let kinds: Vec<String> =
        receiver.taken().iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect();
    assert_eq!(kinds, ["arom.v1.profile.updated", "arom.v1.signal.cleared"]);
    let newest = latest(&receiver.taken());
    let args = ["sink", "replay"].into_iter().chain(setting.args.iter().map(String::as_str));
    // The server runs meanwhile.
    let replayed = run_command(arom().args(args), "");
    let told = stdout(&replayed);
    assert!(told.contains("4 events skipped") && told.contains("1 events delivered"), "{told}");
    process.stop();
    let taken = receiver.taken();
    let replayed: Vec<&str> =
        taken[2..].iter().map(|event| event["subject"].as_str().expect("a key")).collect();
    assert_eq!((replayed, dead().as_str()), (vec!["customer/d"], ""));
    assert_eq!(latest(&taken)["customer/c"], newest["customer/c"]);
}

/// Of several letters of one profile the newest is replayed, and an erasure always.
#[test]
fn a_replay_posts_the_newest_letter_of_each_subject_and_every_erasure() {
    let receiver = Receiver::start(Manner::Takes);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("letters.jsonl");
    fs::write(folder.path().join("secret"), SECRET).expect("written");
    let letter = |id: &str, kind: &str, subject: &str| {
        let event = json!({
            "specversion": "1.0", "id": id, "source": "s", "type": kind, "subject": subject, "time": "t",
            "data": { "kind": "SIGNAL_KIND_NEGATIVE_RUN" },
        });
        json!({ "time": "t", "attempts": 1, "error": "e", "event": event }).to_string()
    };
    let updated = "arom.v1.profile.updated";
    let lines = [
        letter("1", updated, "customer/a"),
        letter("2", "arom.v1.profile.erased", "customer/a"),
        letter("3", updated, "customer/a"),
        letter("4", updated, "brand/b"),
        letter("5", "arom.v1.signal.raised", "customer/c"),
        letter("6", "arom.v1.signal.cleared", "customer/c"),
        letter("7", updated, "customer/c"),
        json!({ "superseded": { "subject": "brand/b", "of": "profile" } }).to_string(),
        letter("8", "arom.v1.profile.gone", "customer/c"),
    ];
    // A line that a crash cut off is none.
    fs::write(&path, lines.join("\n") + "\n{\"time\": \"t").expect("written");
    let config = WebhookConfig {
        url: receiver.url.clone().into(),
        secret_file: folder.path().join("secret"),
        ca_file: None,
        attempts: 1,
        timeout: PATIENCE,
        dead_letters: path.clone(),
    };
    let webhook = Webhook::new(&config).expect("a webhook");
    let replayed = DeadLetters::open(&path).expect("it opens").replay(&webhook).expect("readable");
    assert_eq!((replayed.delivered, replayed.superseded, replayed.left), (4, 4, 0));
    let taken = receiver.taken();
    let ids: Vec<&str> = taken.iter().map(|event| event["id"].as_str().expect("an id")).collect();
    assert_eq!(ids, ["2", "3", "6", "8"]);
    assert_eq!(fs::read_to_string(&path).expect("readable"), "");
}

/// How far a sink is behind is told while it waits for its receiver, or nobody would hear of a receiver that is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_waits_says_how_far_it_is_behind() {
    let receiver = Receiver::start(Manner::Says(503));
    let setting = Setting::new(&receiver, &["--http-listen", "127.0.0.1:0"]);
    let (process, mut client) = setting.start().await;
    let http = process.http_address.clone().expect("it has one");
    for number in 0..5 {
        record(&mut client, vec![event(&format!("e{number}"), &format!("c{number}"), &["b"], 30, 0.5)]).await;
    }
    let behind = async || {
        let (_, metrics) = crate::support::http_get(&http, "/metrics").await;
        let line =
            metrics.lines().find(|line| line.starts_with("arom_sink_behind_changes{")).map(str::to_owned);
        line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).unwrap_or_default()
    };
    eventually(async || behind().await >= 4.0).await;
    *receiver.always.lock().expect("whole") = Manner::Takes;
    eventually(async || behind().await == 0.0).await;
    process.stop();
}

/// A person may replay while the receiver takes nothing new: a customer who was erased is not in the file any more.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_leaves_the_dead_letters_while_the_sink_is_stuck() {
    let receiver = Receiver::start(Manner::Says(410));
    let setting = Setting::new(&receiver, &[]);
    let letters = setting.folder.path().join("store/webhook-dead-letters.jsonl");
    let has = |name: &str| fs::read_to_string(&letters).is_ok_and(|text| text.contains(name));
    let (process, mut client) = setting.start().await;
    record(&mut client, vec![event("e1", "victim", &[], 30, 0.5)]).await;
    until(|| has("customer/victim")).await;
    *receiver.always.lock().expect("whole") = Manner::Says(503);
    record(&mut client, vec![event("e2", "other", &[], 30, 0.5)]).await;
    let before = receiver.posts();
    until(|| receiver.posts() > before).await;
    erase(&mut client, "victim").await;
    until(|| !has("customer/victim")).await;
    process.stop();
}

/// A restored or copied store goes on otherwise than the first: what it says has other ids, and no sequence tells it. A copy has the
/// source of the first, for nothing tells the two apart but the run.
#[tokio::test(flavor = "multi_thread")]
async fn no_two_stores_give_an_event_the_same_id() {
    let mut ids: BTreeMap<String, Value> = BTreeMap::new();
    let mut sources = std::collections::BTreeSet::new();
    let backup = tempfile::NamedTempFile::new().expect("a temporary file");
    let backup_name = backup.path().display().to_string();
    let copied = tempfile::tempdir().expect("a temporary folder");
    let copy = |from: &str, to: &str| {
        let done = std::process::Command::new("cp").args(["-r", from, to]).status().expect("cp runs");
        assert!(done.success());
    };
    let kept = copied.path().join("store").display().to_string();
    for store in ["first", "second", "restored", "restored again", "copied", "copied again"] {
        let receiver = Receiver::start(Manner::Takes);
        let setting = Setting::new(&receiver, &[]);
        let folder = setting.folder.path().join("store").display().to_string();
        if store.starts_with("restored") {
            let args = ["profile", "restore", &backup_name, "--profile-store", &folder];
            let restored = run_command(arom().args(args), "");
            assert!(restored.status.success(), "{}", stderr(&restored));
        }
        if store.starts_with("copied") {
            copy(&kept, &folder);
            // A command records in it before a server does.
            let dump = setting.folder.path().join("dump.csv");
            let time = jiff::Timestamp::now() - Duration::from_secs(60);
            fs::write(&dump, format!("text,customer,time\nดีมาก,batch of {store},{time}\n")).expect("written");
            let (dump, out) = (dump.display().to_string(), format!("{folder}.jsonl"));
            let args = ["batch", &dump, "--out", &out, "--record", "--profile-store", &folder];
            let ran = run_command(arom().args(args), "");
            assert!(ran.status.success(), "{}", stderr(&ran));
        }
        let (process, mut client) = setting.start().await;
        for number in 0..3 {
            let (id, customer) = (format!("{store}-{number}"), format!("c{number}"));
            record(&mut client, vec![event(&id, &customer, &["b"], 30, 0.5)]).await;
            if store == "second" && number == 1 {
                let args = ["profile", "backup", "--force", &backup_name, "--server", &process.address];
                let made = run_command(arom().args(args), "");
                assert!(made.status.success(), "{}", stderr(&made));
            }
        }
        until(|| latest(&receiver.taken()).contains_key("customer/c2")).await;
        process.stop();
        if store == "second" {
            copy(&folder, &kept);
        }
        for event in receiver.taken() {
            sources.insert(event["source"].as_str().expect("a source").to_owned());
            let id = event["id"].as_str().expect("an id").to_owned();
            if let Some(other) = ids.insert(id.clone(), event.clone()) {
                panic!("{id} of {store} is that of another event: {other} and {event}");
            }
        }
    }
    assert_eq!(sources.len(), 4);
}

#[test]
fn posts_go_over_tls_to_whom_the_certificates_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    fs::write(folder.path().join("ca.pem"), key.cert.pem()).expect("written");
    fs::write(folder.path().join("secret"), SECRET).expect("written");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("a key");
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .expect("a certificate with its key");
    let server = Arc::new(server);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut session = rustls::ServerConnection::new(Arc::clone(&server)).expect("a session");
            let mut stream = rustls::Stream::new(&mut session, &mut socket);
            let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"]") {
                match stream.read(&mut chunk) {
                    Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
                    Ok(_) | Err(_) => break,
                }
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .unwrap_or_default();
        }
    });
    let config = |host: &str, ca: bool| WebhookConfig {
        url: format!("https://{host}:{port}/hook").into(),
        secret_file: folder.path().join("secret"),
        ca_file: ca.then(|| folder.path().join("ca.pem")),
        attempts: 1,
        timeout: PATIENCE,
        dead_letters: folder.path().join("letters"),
    };
    let post = |host: &str, ca: bool| {
        let webhook = Webhook::new(&config(host, ca)).expect("a webhook");
        webhook.post(&[json!({ "id": "1" })]).map_err(|error| error.to_string())
    };
    assert_eq!(post("localhost", true), Ok(()));
    assert!(post("localhost", false).is_err(), "nobody vouches for it");
    assert!(post("127.0.0.1", true).is_err(), "the certificate names another");
    let clear = WebhookConfig { url: "http://cdp.example/".to_owned().into(), ..config("x", true) };
    let refused = Webhook::new(&clear).expect_err("refused").to_string();
    assert!(refused.contains("sink.webhook_url") && refused.contains("https"), "{refused}");
}
