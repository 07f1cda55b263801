//! Backups: made while the server writes, restored whole or not at all, without those who were erased meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::watch_profiles_response::Event;
use arom::grpc::v1::{
    BackUpProfilesRequest, ExportSubjectRequest, GetProfileRequest, ListProfilesRequest, ProfileKey,
};
use arom::grpc::v1::{RecordStatus, WatchProfilesRequest};
use prost_types::Timestamp;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::profile::{erase, event, record};
use crate::support::{Process, Server, eventually, run, stderr, stdout};

type Client = ProfileServiceClient<Channel>;

/// Runs `arom profile` beside a server of this process.
async fn arom(args: &[&str]) -> Output {
    let args: Vec<String> = ["profile"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
    let ran =
        tokio::task::spawn_blocking(move || run(&args.iter().map(String::as_str).collect::<Vec<_>>(), ""));
    ran.await.expect("it ran")
}

async fn back_up(server: &Server, file: &Path) {
    let address = server.address.trim_start_matches("http://");
    stdout(&arom(&["backup", file.to_str().expect("UTF-8"), "--server", address]).await);
}

async fn restore(file: &Path, store: &Path, more: &[&str]) -> Output {
    let (file, store) = (file.to_str().expect("UTF-8"), store.to_str().expect("UTF-8"));
    arom(&[&["restore", file, "--profile-store", store], more].concat()).await
}

/// Events of all profiles whose names begin so.
async fn counted(client: &mut Client, key_prefix: &str) -> i64 {
    let (mut total, mut page_token) = (0, String::new());
    loop {
        let request = ListProfilesRequest {
            key_prefix: key_prefix.to_owned(),
            page_size: 100,
            page_token,
            ..ListProfilesRequest::default()
        };
        let page = client.list_profiles(request).await.expect("an answer").into_inner();
        let lifetimes = page.profiles.iter().map(|profile| profile.windows[5].counts.expect("counts").total);
        total += lifetimes.sum::<i64>();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return total;
        }
    }
}

async fn ids(client: &mut Client, customer: &str) -> BTreeSet<String> {
    let request =
        ExportSubjectRequest { customer_id: customer.to_owned(), ..ExportSubjectRequest::default() };
    let held = client.export_subject(request).await.expect("an answer").into_inner();
    held.events.into_iter().map(|held| held.event.expect("an event").event_id).collect()
}

#[tokio::test]
async fn a_backup_of_a_server_that_writes_is_of_one_moment() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (backup, restored) = (folder.path().join("file"), folder.path().join("restored"));
    let server = Server::keeping(&folder.path().join("live")).await;
    let channel = server.ready().await;
    let mut client = Client::new(channel.clone());
    // Counted from one moment: told again a second later, an event is still the same.
    let now = event("now", "", &[], 0, 0.0).event_time.expect("a time");
    let numbered = move |number: u64| {
        let (id, customer) = (format!("e{number}"), format!("c{}", number % 40));
        let score = if number.is_multiple_of(3) { -0.5 } else { 0.25 };
        let mut event = event(&id, &customer, &["b"], 0, score);
        let seconds = now.seconds - i64::try_from(number % 5000).expect("few");
        event.event_time = Some(Timestamp { seconds, ..now });
        event
    };
    for first in (0..4000).step_by(200) {
        record(&mut client, (first..first + 200).map(numbered).collect()).await;
    }
    let (next, stop) = (Arc::new(AtomicU64::new(4000)), Arc::new(AtomicBool::new(false)));
    let (writes, stopped) = (Arc::clone(&next), Arc::clone(&stop));
    let writer = tokio::spawn(async move {
        let mut client = Client::new(channel);
        while !stopped.load(Ordering::Relaxed) {
            let first = writes.load(Ordering::Relaxed);
            record(&mut client, (first..first + 7).map(numbered).collect()).await;
            writes.store(first + 7, Ordering::Relaxed);
        }
    });
    let before = next.load(Ordering::Relaxed);
    back_up(&server, &backup).await;
    let after = next.load(Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("it wrote");
    let last = next.load(Ordering::Relaxed);
    assert!(after > before, "it wrote meanwhile");

    let mut watched =
        client.watch_profiles(WatchProfilesRequest::default()).await.expect("a stream").into_inner();
    let token = loop {
        let message = watched.message().await.expect("it goes on").expect("a message");
        if let Some(Event::SnapshotEnd(_)) = message.event {
            break message.resume_token;
        }
    };

    let told = stdout(&restore(&backup, &restored, &[]).await);
    assert!(told.contains("customers who were erased after that are in it"), "{told}");
    let other = Server::keeping(&restored).await;
    let mut client = Client::new(other.ready().await);
    let there = counted(&mut client, "brand/").await;
    let whole = u64::try_from(there).expect("a count");
    assert!((before..=last).contains(&whole), "{before} {whole} {last}");
    assert_eq!(whole % 7, before % 7, "no commit is half there");
    assert_eq!(
        counted(&mut client, "customer/").await,
        2 * there,
        "of customers, and of what they feel of the brand"
    );
    let mut held = BTreeSet::new();
    for customer in 0..40 {
        held.extend(ids(&mut client, &format!("c{customer}")).await);
    }
    assert_eq!(held, (0..whole).map(|number| format!("e{number}")).collect());

    // It is another store, to whoever knew the first.
    let request = WatchProfilesRequest { resume_token: token, ..WatchProfilesRequest::default() };
    let error = client.watch_profiles(request).await.expect_err("another store");
    assert_eq!(error.code(), Code::OutOfRange);
    assert_eq!(error.get_details_error_info().expect("a reason").reason, "CHANGES_FORGOTTEN");

    // What came after the backup is recorded again, and nothing counts twice.
    let again: Vec<u64> = (before - 50..last).collect();
    for numbers in again.chunks(200) {
        let ended = record(&mut client, numbers.iter().copied().map(numbered).collect()).await;
        for (number, ended) in numbers.iter().zip(ended) {
            let wanted = if *number < whole { RecordStatus::Duplicate } else { RecordStatus::Recorded };
            assert_eq!(ended, Ok(wanted), "{number}");
        }
    }
    assert_eq!(counted(&mut client, "brand/").await, i64::try_from(last).expect("few"));
    server.stop().await.expect("a clean stop");
    other.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn who_was_erased_after_the_backup_is_erased_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let server = Server::keeping(&path("live")).await;
    let mut client = Client::new(server.ready().await);
    let (first, second) = (event("e1", "somchai", &["b"], 60, -0.5), event("e2", "malee", &["b"], 60, 0.5));
    record(&mut client, vec![first.clone(), second, event("e3", "early", &["b"], 60, 0.5)]).await;
    erase(&mut client, "early").await;
    back_up(&server, &path("file")).await;
    erase(&mut client, "somchai").await;
    let address = server.address.trim_start_matches("http://").to_owned();
    let report = stdout(&arom(&["erasures", "--json", "--server", &address]).await);
    assert!(report.lines().count() == 2 && !report.contains("somchai"), "{report}");
    let of = async |customer: &str| {
        stdout(&arom(&["erasures", "--json", "--customer", customer, "--server", &address]).await)
    };
    assert_eq!(of("somchai").await, report.lines().nth(1).map(|line| format!("{line}\n")).expect("two"));
    assert_eq!(of("malee").await, "");
    // As a file: an earlier report is replaced, what a killed run left is too, and nothing else is.
    let save = async |name: &str| {
        arom(&["erasures", "--out", path(name).to_str().expect("UTF-8"), "--server", &address]).await
    };
    fs::write(path("report"), report.lines().next().expect("two")).expect("written");
    fs::write(path("report.partial"), "{\"erase_time\":\"20").expect("written");
    assert!(stdout(&save("report").await).contains("2 erasures"));
    assert_eq!(fs::read_to_string(path("report")).expect("readable"), report);
    assert!(!path("report.partial").exists());
    // One run at a time.
    let partial = fs::File::create(path("report.partial")).expect("made");
    partial.lock().expect("it locks");
    let second = save("report").await;
    assert!(
        second.status.code() == Some(1) && stderr(&second).contains("another run is writing"),
        "{second:?}"
    );
    drop(partial);
    assert!(stdout(&save("report").await).contains("2 erasures"));
    // A store that knows nobody of the report, as one that was begun anew while its disk was away.
    let line = report.lines().next().expect("two").replace("\"subject_hash\":\"", "\"subject_hash\":\"ffff");
    let (before, hash) = line.split_once("ffff").expect("it is there");
    let foreign = format!("{before}ffff{}\n", &hash[4..]);
    fs::write(path("foreign"), &foreign).expect("written");
    let refused = save("foreign").await;
    assert!(refused.status.code() == Some(1) && stderr(&refused).contains("--force"), "{refused:?}");
    assert_eq!(fs::read_to_string(path("foreign")).expect("readable"), foreign);
    let name = path("foreign");
    let forced = ["erasures", "--force", "--out", name.to_str().expect("UTF-8"), "--server", &address];
    assert!(stdout(&arom(&forced).await).contains("2 erasures"));
    // A link is followed, and stays.
    std::os::unix::fs::symlink(path("report"), path("link")).expect("linked");
    assert!(stdout(&save("link").await).contains("2 erasures"));
    assert!(path("link").is_symlink() && fs::read_to_string(path("report")).expect("readable") == report);
    // A store that a server has open is nothing that a killed restore left.
    let parent = path("parent");
    let inside = Server::keeping(&parent.join("restoring")).await;
    drop(inside.ready().await);
    let refused = restore(&path("file"), &parent, &[]).await;
    assert!(!refused.status.success() && stderr(&refused).contains("open"), "{refused:?}");
    inside.stop().await.expect("a clean stop");
    fs::write(path("notes"), "mine\n").expect("written");
    assert_eq!(save("notes").await.status.code(), Some(1));
    assert_eq!(fs::read_to_string(path("notes")).expect("readable"), "mine\n");
    server.stop().await.expect("a clean stop");

    let report_file = path("report");
    let told =
        restore(&path("file"), &path("restored"), &["--erasures", report_file.to_str().expect("UTF-8")])
            .await;
    assert!(stdout(&told).contains("erased again: 1 customers of 2 erasures"), "{told:?}");
    // A report that is empty or of another store takes nobody out, and that is said.
    fs::write(path("empty"), "").expect("written");
    let other = report.lines().map(|line| {
        let (before, hash) = line.split_once("\"subject_hash\":\"").expect("it has one");
        let turned: String = hash.chars().take(32).map(|ch| if ch == '0' { '1' } else { '0' }).collect();
        format!("{before}\"subject_hash\":\"{turned}{}\n", hash.get(32..).expect("more"))
    });
    fs::write(path("foreign"), other.collect::<String>()).expect("written");
    for (name, wanted) in [("empty", "has no erasures"), ("foreign", "of this store?")] {
        let report = path(name);
        let more = ["--erasures", report.to_str().expect("UTF-8")];
        let told = restore(&path("file"), &path(&format!("restored-{name}")), &more).await;
        assert!(told.status.success() && stderr(&told).contains(wanted), "{told:?}");
    }
    let server = Server::keeping(&path("restored")).await;
    let mut client = Client::new(server.ready().await);
    assert_eq!((ids(&mut client, "somchai").await.len(), ids(&mut client, "malee").await.len()), (0, 1));
    assert_eq!(record(&mut client, vec![first]).await, [Err(Code::FailedPrecondition)]);
    let mut later = event("e9", "somchai", &["b"], 0, 0.5);
    later.event_time.as_mut().expect("a time").seconds += 2;
    assert_eq!(record(&mut client, vec![later]).await, [Ok(RecordStatus::Recorded)]);
    let address = server.address.trim_start_matches("http://");
    assert_eq!(stdout(&arom(&["erasures", "--json", "--server", address]).await), report);
    server.stop().await.expect("a clean stop");
}

#[tokio::test]
async fn a_backup_is_restored_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let server = Server::keeping(&path("live")).await;
    let mut client = Client::new(server.ready().await);
    for first in (0..2000).step_by(200) {
        let events =
            (first..first + 200).map(|number| event(&format!("e{number}"), "c", &["b"], number, 0.5));
        record(&mut client, events.collect()).await;
    }
    back_up(&server, &path("file")).await;
    let address = server.address.trim_start_matches("http://").to_owned();
    let name = path("file");
    let name = name.to_str().expect("UTF-8");
    let again = arom(&["backup", name, "--server", &address]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("say --force"), "{again:?}");
    stdout(&arom(&["backup", name, "--force", "--server", &address]).await);
    server.stop().await.expect("a clean stop");

    let whole = fs::read(path("file")).expect("readable");
    let mut cases = vec![(b"1,2,3\n".to_vec(), "is no backup"), (Vec::new(), "is no backup")];
    for share in 1..8 {
        cases.push((whole[..whole.len() * share / 8].to_vec(), "cut off"));
        let mut flipped = whole.clone();
        flipped[whole.len() * share / 8] ^= 4;
        // Mostly a part is damaged; a length may be hit as well.
        cases.push((flipped, ""));
    }
    for (bytes, problem) in cases {
        fs::write(path("bad"), bytes).expect("written");
        let output = restore(&path("bad"), &path("restored"), &[]).await;
        assert_eq!(output.status.code(), Some(1));
        let told = stderr(&output);
        assert!(told.contains("cannot restore") && told.contains(problem), "{told}");
        let names: BTreeSet<_> = fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("readable").file_name())
            .collect();
        assert_eq!(names, ["bad", "file", "live"].map(Into::into).into(), "nothing is left");
    }
    let taken = restore(&path("file"), &path("live"), &[]).await;
    assert!(stderr(&taken).contains("is not empty"), "{taken:?}");
    // A folder that is there already, as completion in a shell writes it, with what a killed restoration left.
    fs::create_dir_all(path("restored/restoring/rows")).expect("written");
    stdout(&restore(&path("file"), &path("restored/"), &[]).await);
    let names: BTreeSet<_> = fs::read_dir(path("restored"))
        .expect("a folder")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    assert_eq!(names, ["high-water", "rows"].map(Into::into).into());
    let server = Server::keeping(&path("restored")).await;
    assert_eq!(counted(&mut Client::new(server.ready().await), "brand/").await, 2000);
    server.stop().await.expect("a clean stop");
}

/// A client that takes no more than so many bytes of each answer until it reads it.
async fn client_with_window(address: &str, bytes: u32) -> Client {
    let endpoint = Channel::from_shared(address.to_owned()).expect("an address");
    Client::new(endpoint.initial_stream_window_size(bytes).connect().await.expect("it listens"))
}

async fn unread(server: &Server) -> Client {
    client_with_window(&server.address, 1).await
}

#[tokio::test]
async fn backups_that_nobody_reads_hold_up_nobody_but_other_backups() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::keeping(folder.path()).await;
    let mut client = Client::new(server.ready().await);
    record(&mut client, vec![event("e", "c", &["b"], 60, -0.5)]).await;
    // A backup of more than the server hands over before its caller takes any: names that do not compress.
    let mut random = 1_u64;
    let mut name = || {
        let hex = (0..7).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{:016x}", random ^ random >> 29)
        });
        hex.collect::<String>()
    };
    for _ in 0..4 {
        let events = (0..250).map(|_| event(&name(), &name(), &["b"], 60, -0.5));
        record(&mut client, events.collect()).await;
    }
    let mut caller = unread(&server).await;
    let begun = caller.back_up_profiles(BackUpProfilesRequest {}).await;
    let held = (caller, begun.expect("it begins").into_inner());
    for _ in 0..20 {
        let refused = unread(&server).await.back_up_profiles(BackUpProfilesRequest {}).await;
        let refused = refused.expect_err("this address has one of the two");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let details = refused.get_error_details();
        assert_eq!(details.error_info().expect("a reason").reason, "TOO_MUCH_WORK");
        assert!(details.retry_info().is_some());
        assert!(refused.message().contains("your address"), "{refused}");
    }
    let key = ProfileKey { customer_id: "c".to_owned(), ..ProfileKey::default() };
    client.get_profile(GetProfileRequest { key: Some(key) }).await.expect("profiles are read meanwhile");
    drop(held);
    // Its end reaches the server after the client.
    eventually(async || client.back_up_profiles(BackUpProfilesRequest {}).await.is_ok()).await;
    server.stop().await.expect("a clean stop");
}

/// A small backup is read before its caller has taken any of it: that is not the end of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_a_whole_backup_from_one_whose_caller_went_away() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Process::start(&["--profile-store", folder.path().to_str().expect("UTF-8")]);
    let address = format!("http://{}", server.address);
    let channel = Channel::from_shared(address.clone()).expect("an address").connect().await;
    let mut client = Client::new(channel.expect("it listens"));
    record(&mut client, vec![event("e", "c", &["b"], 60, -0.5)]).await;
    let mut reader = client_with_window(&address, 0).await;
    let begun = reader.back_up_profiles(BackUpProfilesRequest {}).await.expect("it begins");
    drop((begun, reader));
    let line = server
        .wait_for("a backup of the profile store is not whole: its caller went away before its last piece");
    assert_eq!(line.get("level").and_then(serde_json::Value::as_str), Some("WARN"), "{line}");
    // The line is written before the place is given back.
    let mut whole = loop {
        match client.back_up_profiles(BackUpProfilesRequest {}).await {
            Ok(begun) => break begun.into_inner(),
            Err(refused) => assert_eq!(refused.code(), Code::ResourceExhausted),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    while whole.message().await.expect("it goes on").is_some() {}
    server.wait_for("the profile store was backed up");
    assert!(!server.stop().contains("not whole"));
}
