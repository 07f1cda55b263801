//! `arom batch`: whatever the dump, the same rows with their sentiment; and whatever happens, each once.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use arom::dumps::{Compression, Ending, Given, Item, Reading, Source, encode_rows, from_json_lines};
use arom::grpc::v1::profile_service_client::ProfileServiceClient;
use arom::grpc::v1::{Channel as Written, ListProfilesRequest, ProfileEvent, profile_event::Felt};
use arom::profile::Upkeep;
use arom::scoring::Features;
use arom::text::Charset;
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use crate::profile::record;
use crate::support::{
    Process, Server, arom, bundle_folder, repository, run, run_command, scorer, server_config, stderr,
    until_blocking,
};

type Rows = Vec<Map<String, Value>>;

/// Reviews with all that a row may have; `count` of them, of few texts.
fn reviews(count: usize) -> Rows {
    let texts = [
        "อร่อยมากกก ส่งไวด้วย",
        "รอนานสองชั่วโมง อาหารเย็นหมดแล้ว",
        "บอกว่า \"ของแท้\" แต่; สีเพี้ยน, ผ้าบาง\nไม่คุ้มราคาเลย",
        "",
        "มีไซซ์ใหญ่กว่านี้ไหมคะ",
        "เฉย ๆ พอใช้ได้ 555",
    ];
    let now = jiff::Timestamp::now();
    let row = |number: usize| {
        let time = now - Duration::from_secs(60 + 7200 * (number as u64 % 300));
        let time = jiff::Timestamp::from_second(time.as_second()).expect("a time");
        let cells = json!({
            "review_id": format!("r{number}"),
            "reviewer": format!("u{}", number % 7),
            "shop_name": if number.is_multiple_of(3) { "somtam" } else { "krapao" },
            "review_date": time.to_string(),
            "rating": (number % 5 + 1).to_string(),
            "review_text": texts[number % texts.len()],
        });
        let Value::Object(cells) = cells else { unreachable!("an object") };
        cells
    };
    (0..count).map(row).collect()
}

/// A dump that says itself how it is written, by its name.
fn write(path: &Path, rows: &Rows) {
    let name = path.to_string_lossy();
    let columns: Vec<String> = rows[0].keys().cloned().collect();
    let bytes = if name.ends_with(".json") {
        serde_json::to_vec_pretty(rows).expect("JSON")
    } else if name.ends_with(".parquet") {
        let lines = path.with_extension("jsonl");
        write(&lines, rows);
        return from_json_lines(&lines, path, &[], 100).expect("written");
    } else {
        let name = name.trim_end_matches(".cp874");
        let ending = Ending::of(Path::new(name)).expect("an ending");
        let bytes = encode_rows(ending, &columns, true, rows, |_| false).expect("bytes");
        match ending {
            Ending::JsonLines(compression) | Ending::Csv(compression) => {
                compression.pack(bytes).expect("packed")
            }
            Ending::Parquet => bytes,
        }
    };
    let bytes = if name.ends_with(".cp874") {
        let text = String::from_utf8(bytes).expect("UTF-8");
        Charset::Cp874.encoding().encode(&text).0.into_owned()
    } else {
        bytes
    };
    fs::write(path, bytes).expect("written");
}

fn read(path: &Path) -> Rows {
    let source = Source::survey(path, "it", Given::default()).expect("a dump");
    let mut rows = Vec::new();
    let all = source.read(&Reading::default(), &mut |item| {
        match item {
            Item::Row(row) => rows.push(row.cells),
            Item::Bad(bad) => panic!("{bad:?}"),
        }
        ControlFlow::Continue(())
    });
    all.expect("readable");
    rows
}

fn batch(args: &[&str]) -> Output {
    run(&[&["batch"], args].concat(), "")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// As words, which is what CSV keeps.
fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    }
}

#[tokio::test]
async fn every_kind_of_dump_comes_out_as_every_kind_with_its_sentiment() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let rows = reviews(40);
    let mut scores = Vec::new();
    for row in &rows {
        let text = row["review_text"].as_str().expect("a text");
        scores.push(scorer().score(text, Features::default()).await.expect("a score").sentiment);
    }
    let (inputs, outputs) = (
        ["a.csv", "b.csv.cp874", "c.jsonl.gz", "d.json", "e.parquet", "f.csv.zst"],
        ["1.jsonl", "2.csv", "3.parquet", "4.csv.gz", "5.jsonl.zst", "6.csv.zst"],
    );
    for (input, output) in inputs.into_iter().zip(outputs) {
        let (input, output) = (path(input), path(output));
        write(&input, &rows);
        let ran = batch(&[text(&input), "--out", text(&output)]);
        assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
        let found = read(&output);
        assert_eq!(found.len(), rows.len(), "{}", output.display());
        for ((row, found), sentiment) in rows.iter().zip(&found).zip(&scores) {
            for (name, cell) in row {
                assert_eq!(words(&found[name]), words(cell), "{} {name}", output.display());
            }
            assert_eq!(found["arom_label"], sentiment.label.name());
            let score: f32 = words(&found["arom_score"]).parse().expect("a number");
            assert_eq!(score.to_bits(), sentiment.score.to_bits(), "the same to the bit");
            let content = if words(&row["review_text"]).is_empty() { "empty" } else { "linguistic" };
            assert_eq!(found["arom_content"], content);
        }
        let left: Vec<PathBuf> = fs::read_dir(folder.path())
            .expect("readable")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| text(path).starts_with(text(&output)) && *path != output)
            .collect();
        assert!(left.is_empty(), "{left:?} is left behind");
    }
    // Twice into the same file is a mistake, unless it is meant.
    let again = batch(&[text(&path("a.csv")), "--out", text(&path("1.jsonl"))]);
    assert_eq!(again.status.code(), Some(2));
    assert!(stderr(&again).contains("--overwrite"), "{}", stderr(&again));
    assert!(batch(&[text(&path("a.csv")), "--out", text(&path("1.jsonl")), "--overwrite"]).status.success());
}

#[test]
fn folders_and_stdin_are_read_and_each_row_names_its_dump() {
    let folder = tempfile::tempdir().expect("a folder");
    let dumps = folder.path().join("dumps");
    fs::create_dir(&dumps).expect("made");
    write(&dumps.join("b.csv"), &reviews(3));
    fs::write(dumps.join("a.jsonl"), "{\"text\":\"ดีมาก\",\"stars\":5}\n").expect("written");
    let out = dumps.join("scored.csv");
    for _ in 0..2 {
        // Again: what was written stands in the same folder, and is no dump.
        let ran = batch(&[text(&dumps), "--out", text(&out), "--overwrite"]);
        assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
        let found = read(&out);
        assert_eq!(found.len(), 4);
        assert!(words(&found[0]["arom_source"]).ends_with("a.jsonl") && words(&found[0]["stars"]) == "5");
        assert!(words(&found[1]["arom_source"]).ends_with("b.csv") && words(&found[1]["stars"]).is_empty());
    }
    let out = folder.path().join("stdin.jsonl");
    let ran = run(&["batch", "-", "--out", text(&out)], "รีวิว\nอร่อย\nแพงไป\n");
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("stdin: CSV (comma, with a header, utf-8); text=รีวิว"), "{}", stderr(&ran));
    assert_eq!(read(&out)[1]["รีวิว"], "แพงไป");
}

#[test]
fn a_dump_without_rows_gives_a_table_without_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let dump = folder.path().join("d.csv");
    fs::write(&dump, "id,text\n").expect("written");
    for name in ["o.jsonl", "o.csv", "o.csv.gz", "o.jsonl.zst", "o.parquet"] {
        let out = folder.path().join(name);
        let ran = batch(&[text(&dump), "--out", text(&out)]);
        assert_eq!(ran.status.code(), Some(0), "{name}: {}", stderr(&ran));
        if name != "o.jsonl" {
            let packed = name == "o.jsonl.zst";
            let found = Source::survey(&out, name, Given::default());
            assert!(packed || found.is_ok_and(|source| source.sample.is_empty()), "{name}");
        }
    }
    let head = fs::read_to_string(folder.path().join("o.csv")).expect("read");
    assert!(head.starts_with("id,text,arom_label,") && head.lines().count() == 1, "{head}");
    fs::write(&dump, "").expect("written");
    let ran = batch(&[text(&dump), "--out", text(&folder.path().join("x.csv"))]);
    assert!(ran.status.code() == Some(2) && stderr(&ran).contains("is empty"), "{}", stderr(&ran));
}

#[test]
fn what_cannot_be_used_is_refused_with_its_line_and_the_rest_is_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dump, out) = (folder.path().join("d.jsonl"), folder.path().join("o.jsonl"));
    let long = json!({ "text": "ยาว".repeat(30_000) }).to_string();
    let lines =
        ["{\"text\":\"ดี\"}", "{\"text\":", "{\"other\":1}", "{\"text\":null}", "{\"text\":{}}", &long];
    fs::write(&dump, lines.join("\n")).expect("written");
    let ran = batch(&[text(&dump), "--out", text(&out)]);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("4 refused"), "{}", stderr(&ran));
    assert_eq!(read(&out).len(), 2);
    let rejects = read(&folder.path().join("o.jsonl.rejects.jsonl"));
    let told: Vec<(u64, &str)> = rejects
        .iter()
        .map(|reject| {
            (reject["line"].as_u64().expect("a line"), reject["reason"].as_str().expect("a reason"))
        })
        .collect();
    assert_eq!(
        told,
        [
            (2, "is no JSON: EOF while parsing a value at line 1 column 8"),
            (3, "has no \"text\""),
            (5, "\"text\" is no text"),
            (6, "\"text\" is 270000 bytes long, at most 65536 are taken"),
        ]
    );
    assert_eq!((&rejects[0]["row"], &rejects[1]["row"]), (&json!("{\"text\":"), &json!({ "other": 1 })));
    let strict = batch(&[text(&dump), "--out", text(&out), "--overwrite", "--max-errors", "3"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(stderr(&strict).contains("more than --max-errors 3"), "{}", stderr(&strict));

    let nowhere = folder.path().join("x.csv");
    let nowhere = text(&nowhere);
    for (args, wanted) in [
        (vec![text(&dump), "--out", "x.xlsx"], "ends in .jsonl"),
        (vec!["nothing/*.csv", "--out", nowhere], "no file fits"),
        (vec![text(&dump), "--out", nowhere, "--columns", "text=body"], "there is no column \"body\""),
        (vec![text(&dump), "--out", nowhere, "--columns", "words=text"], "there is no such role"),
        (vec![text(&out), "--out", nowhere], "choose another --prefix"),
        (vec![text(&dump), "--out", nowhere, "--record"], "no column of times"),
    ] {
        let ran = batch(&args);
        assert_eq!(ran.status.code(), Some(2), "{args:?}: {}", stderr(&ran));
        assert!(stderr(&ran).contains(wanted), "{args:?}: {}", stderr(&ran));
        assert!(!Path::new(nowhere).exists(), "{args:?}");
    }
}

/// Rows with some that are refused.
fn dump_with_faults(path: &Path, count: usize) {
    let rows = reviews(count);
    let lines = rows.iter().enumerate().map(|(number, row)| {
        if number % 97 == 5 {
            "{\"review_text\":\n".to_owned()
        } else {
            format!("{}\n", Value::Object(row.clone()))
        }
    });
    fs::write(path, lines.collect::<String>()).expect("written");
}

/// Starts a run of `arom batch` over and over and kills it: at once, and then each time it has written more. Gives how it
/// ended when it was let end, and whether a run went on where another was.
///
/// A kill may come too late on a machine that is busy: then the run has ended, and `went_on` says so.
fn killed(args: &[&str], growing: &Path, mut look: impl FnMut()) -> (Option<i32>, bool) {
    let bytes = || fs::metadata(growing).map_or(0, |file| file.len());
    let mut went_on = false;
    for kills in 0_u32.. {
        let before = bytes();
        let mut child = arom().args(args).stderr(Stdio::piped()).spawn().expect("it starts");
        if kills < 5 {
            // The first during its start, the others when they have written a block or some more.
            let more = before + u64::from(kills * kills) * 20_000;
            until_blocking(|| kills == 0 || bytes() > more || child.try_wait().expect("asked").is_some());
            child.kill().expect("it runs, or has ended");
        }
        let ended = child.wait_with_output().expect("it ended");
        went_on |= stderr(&ended).contains("goes on after");
        if let Some(code) = ended.status.code() {
            return (Some(code), went_on);
        }
        look();
    }
    (None, went_on)
}

#[test]
fn a_run_that_is_killed_goes_on_and_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let dump = folder.path().join("dump.jsonl");
    dump_with_faults(&dump, 6000);
    for ending in ["jsonl", "csv.gz", "parquet"] {
        let whole = folder.path().join(format!("whole.{ending}"));
        let ran = batch(&[text(&dump), "--out", text(&whole), "--quiet"]);
        assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
        let out = folder.path().join(format!("killed.{ending}"));
        let growing = if ending == "parquet" {
            folder.path().join("killed.parquet.partial.jsonl")
        } else {
            out.clone()
        };
        // What the checkpoint speaks of is whole rows; a kill may cut what was being written behind it.
        let look = || {
            let noted = fs::read(format!("{}.checkpoint", out.display())).unwrap_or_default();
            let noted: Value = serde_json::from_slice(&noted).unwrap_or_default();
            if let Some(noted) = noted["reached"]["output_bytes"].as_u64().filter(|bytes| *bytes > 0) {
                let good = folder.path().join(format!("good.{ending}"));
                let good = if ending == "parquet" { good.with_extension("jsonl") } else { good };
                let noted = usize::try_from(noted).expect("it fits");
                fs::write(&good, &fs::read(&growing).expect("there")[..noted]).expect("written");
                assert!(read(&good).iter().all(|row| row.contains_key("arom_model")));
            }
        };
        let mut args = vec!["batch", text(&dump), "--out", text(&out)];
        loop {
            let (code, went_on) = killed(&args, &growing, look);
            assert_eq!(code, Some(3), "{ending}");
            assert!(
                fs::read(&whole).expect("read") == fs::read(&out).expect("read"),
                "{ending}: other bytes"
            );
            let rejects = |out: &Path| fs::read(format!("{}.rejects.jsonl", out.display())).expect("rejects");
            assert!(rejects(&whole) == rejects(&out), "{ending}: other rejects");
            if went_on {
                break;
            }
            args.truncate(4);
            args.push("--overwrite");
        }
    }
}

/// A run that goes on writes over its own files. A report that it was not begun with is somebody's.
#[test]
fn a_run_that_goes_on_writes_over_no_report_but_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let (dump, out, mine) = (path("d.jsonl"), path("out.jsonl"), path("mine"));
    dump_with_faults(&dump, 30);
    fs::write(&mine, "mine").expect("written");
    let begun: &[&str] = &["batch", text(&dump), "--out", text(&out), "--targets"];
    for report in ["--report", "--report-json"] {
        let stopped = arom().args(begun).args(["--max-errors", "0"]).output().expect("it runs");
        assert_eq!(stopped.status.code(), Some(1), "{}", stderr(&stopped));
        let other = arom().args(begun).args([report, text(&mine)]).output().expect("it runs");
        assert_eq!(other.status.code(), Some(2), "{}", stderr(&other));
        let said = format!("{report} was no file, now it is {}", mine.display());
        assert!(stderr(&other).contains(&said), "{}", stderr(&other));
        assert_eq!(fs::read_to_string(&mine).expect("it is there"), "mine");
        let ended = arom().args(begun).output().expect("it runs");
        assert_eq!(ended.status.code(), Some(3), "{}", stderr(&ended));
        fs::remove_file(&out).expect("removed");
        fs::remove_file(path("out.jsonl.rejects.jsonl")).expect("removed");
    }
    // Begun with it, the run has it at the end, also where it was killed while it wrote that.
    let page = path("page.html");
    let begun = [begun, &["--report", text(&page)]].concat();
    let stopped = arom().args(&begun).args(["--max-errors", "0"]).output().expect("it runs");
    assert_eq!(stopped.status.code(), Some(1), "{}", stderr(&stopped));
    fs::write(&page, "of this run").expect("written");
    let ended = arom().args(&begun).output().expect("it runs");
    assert_eq!(ended.status.code(), Some(3), "{}", stderr(&ended));
    assert!(fs::read_to_string(&page).expect("it is there").starts_with("<!DOCTYPE html>"));
}

#[test]
fn a_disk_that_is_full_leaves_what_is_good_and_the_run_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dump, whole, out) =
        (folder.path().join("d.jsonl"), folder.path().join("whole.csv"), folder.path().join("out.csv"));
    dump_with_faults(&dump, 6000);
    assert_eq!(batch(&[text(&dump), "--out", text(&whole), "--quiet"]).status.code(), Some(3));
    // Files of at most half a megabyte: writing beyond that fails in the middle of a block.
    let script = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\"";
    let mut shell = std::process::Command::new("sh");
    shell.args([
        "-c",
        script,
        env!("CARGO_BIN_EXE_arom"),
        "batch",
        text(&dump),
        "--out",
        text(&out),
        "--quiet",
    ]);
    let ran = run_command(shell.env("AROM_MODEL", bundle_folder()), "");
    assert_eq!(ran.status.code(), Some(1), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("the same command goes on"), "{}", stderr(&ran));
    let done = read(&out).len();
    assert!(done > 0 && done < 6000, "{done}");
    assert_eq!(batch(&[text(&dump), "--out", text(&out), "--quiet"]).status.code(), Some(3));
    assert!(fs::read(&whole).expect("read") == fs::read(&out).expect("read"));
}

#[test]
fn a_run_goes_on_only_with_what_it_began_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dump, out) = (folder.path().join("d.jsonl"), folder.path().join("o.jsonl"));
    dump_with_faults(&dump, 3000);
    let args = ["batch", text(&dump), "--out", text(&out)];
    // Stopped by the first rejects: a checkpoint is there.
    let ran = run(&[&args[..], &["--max-errors", "1"]].concat(), "");
    assert_eq!(ran.status.code(), Some(1), "{}", stderr(&ran));
    let good = fs::read_to_string(&dump).expect("read");
    fs::write(&dump, good.replace("r2999", "r2998")).expect("written");
    let changed = |ran: &Output, wanted: &str| {
        assert_eq!(ran.status.code(), Some(2), "{}", stderr(ran));
        assert!(stderr(ran).contains(wanted), "{wanted}: {}", stderr(ran));
    };
    changed(&run(&args, ""), "has changed since");
    fs::write(&dump, good).expect("written");
    changed(&run(&[&args[..], &["--targets"]].concat(), ""), "--targets was false, now it is true");
    changed(
        &run(&[&args[..], &["--columns", "text=reviewer"]].concat(), ""),
        "--columns was text=review_text",
    );
    // Another model: the same weights under another name are another bundle.
    let bundle = folder.path().join("other-model");
    fs::create_dir(&bundle).expect("made");
    for file in fs::read_dir(bundle_folder()).expect("a bundle") {
        let file = file.expect("an entry").path();
        let content = fs::read(&file).expect("read");
        let content = if file.ends_with("manifest.toml") {
            let manifest = String::from_utf8(content).expect("UTF-8");
            manifest.replacen("name = \"arom-fast\"", "name = \"other-model\"", 1).into_bytes()
        } else {
            content
        };
        fs::write(bundle.join(file.file_name().expect("a name")), content).expect("written");
    }
    changed(&run(&[&args[..], &["--model", text(&bundle)]].concat(), ""), "its model was arom-fast@");
    let ran = run(&args, "");
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("goes on after 1,024 rows"), "{}", stderr(&ran));
}

#[tokio::test]
async fn a_server_scores_as_this_process_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    dump_with_faults(&path("d.jsonl"), 1500);
    let server = Server::start().await;
    drop(server.ready().await);
    let address = server.address.trim_start_matches("http://").to_owned();
    let (dump, here, there) = (path("d.jsonl"), path("here.jsonl"), path("there.jsonl"));
    let ran = tokio::task::spawn_blocking(move || {
        let here = batch(&[text(&dump), "--out", text(&here), "--targets"]);
        let there = batch(&[text(&dump), "--out", text(&there), "--targets", "--remote", &address]);
        (here, there)
    });
    let (first, second) = ran.await.expect("they ran");
    assert_eq!((first.status.code(), second.status.code()), (Some(3), Some(3)), "{}", stderr(&second));
    let [here, there] =
        ["here.jsonl", "there.jsonl"].map(|name| fs::read_to_string(path(name)).expect("read"));
    let difference = here.lines().zip(there.lines()).find(|(here, there)| here != there);
    assert!(here == there, "here and there: {difference:#?}");
    let rows = read(&path("here.jsonl"));
    let targets = rows[1]["arom_targets"].as_array().expect("a list");
    assert!(targets.iter().any(|target| target["kind"] == "aspect" && target["score"].as_f64() < Some(0.0)));
    server.stop().await.expect("a clean stop");
}

/// The windows of every profile, by its name.
async fn profiles(address: &str) -> BTreeMap<String, String> {
    let mut client = ProfileServiceClient::connect(address.to_owned()).await.expect("it listens");
    let mut found = BTreeMap::new();
    for prefix in ["brand/", "customer/"] {
        let request = ListProfilesRequest {
            key_prefix: prefix.to_owned(),
            page_size: 256,
            ..ListProfilesRequest::default()
        };
        for profile in client.list_profiles(request).await.expect("an answer").into_inner().profiles {
            let key = profile.key.clone().expect("a key");
            let windows = format!(
                "{:?}",
                profile.windows.iter().map(|window| (&window.counts, &window.mean_score)).collect::<Vec<_>>()
            );
            found.insert(format!("{}/{}", key.customer_id, key.brand_id), windows);
        }
    }
    found
}

/// A store that was last used a week ago, which is how a weekly dump finds it.
#[tokio::test]
async fn a_store_that_was_not_used_for_a_week_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let day = Duration::from_secs(86_400);
    let now = jiff::Timestamp::now();
    let event = |id: &str, age: Duration| {
        let time = (now - age).as_second();
        ProfileEvent {
            event_id: id.to_owned(),
            event_time: Some(prost_types::Timestamp { seconds: time, nanos: 0 }),
            customer_id: "c".to_owned(),
            channel: Written::Review.into(),
            felt: Some(Felt::Text("ดีมาก".to_owned())),
            ..ProfileEvent::default()
        }
    };
    let clock = arom::profile::frozen_clock(now - 7 * day);
    let server = Server::keeping_by(&path("store"), server_config(), clock, Upkeep::default()).await;
    let mut client = ProfileServiceClient::new(server.ready().await);
    record(&mut client, vec![event("old", 8 * day)]).await;
    server.stop().await.expect("a clean stop");

    let mut rows = reviews(20);
    for row in &mut rows {
        row["review_date"] = (now - 3 * day).to_string().into();
    }
    write(&path("d.csv"), &rows);
    let (dump, out, store) = (path("d.csv"), path("o.jsonl"), path("store"));
    let record_with = |more: &'static [&str]| {
        let (dump, out, store) = (dump.clone(), out.clone(), store.clone());
        tokio::task::spawn_blocking(move || {
            let mut command = arom();
            command.args(["batch", text(&dump), "--out", text(&out), "--record"]).args(more);
            run_command(command.env("AROM_PROFILE_STORE", &store), "")
        })
    };
    let refused = record_with(&[]).await.expect("it ran");
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("--accept-clock"), "{}", stderr(&refused));
    assert!(!out.exists(), "nothing was scored that could not be recorded");

    // A server that finds the same cannot record these for now: an import does not count them as refused.
    let server = Server::keeping(&store).await;
    drop(server.ready().await);
    let line =
        json!({ "time": (now - 3 * day).to_string(), "customer": "c", "label": "positive", "score": 0.5 });
    let address = server.address.clone();
    let import =
        move || crate::support::run(&["profile", "import", "--server", &address, "-"], &line.to_string());
    let given_up = tokio::task::spawn_blocking(import).await.expect("it ran");
    assert_eq!(given_up.status.code(), Some(1), "{}", stderr(&given_up));
    for wanted in ["given up at line 1", "CLOCK_DISTRUSTED"] {
        assert!(stderr(&given_up).contains(wanted), "{}", stderr(&given_up));
    }
    server.stop().await.expect("a clean stop");

    let accepted = record_with(&["--accept-clock"]).await.expect("it ran");
    assert!(accepted.status.success(), "{}", stderr(&accepted));
    assert!(stderr(&accepted).contains("20 recorded"), "{}", stderr(&accepted));
}

/// A command keeps a store as its server does: it takes what the server takes, and leaves what is old to it.
#[test]
fn a_command_goes_by_the_terms_of_the_stores_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dump, store) = (folder.path().join("d.csv"), folder.path().join("store"));
    let server = Process::start(&["--profile-store", text(&store), "--profile-retention-days", "365"]);
    server.stop();
    let mut rows = reviews(1);
    rows[0]["review_date"] = (jiff::Timestamp::now() - Duration::from_secs(200 * 86_400)).to_string().into();
    write(&dump, &rows);
    let record = |out: &str| {
        let out = folder.path().join(out);
        run(&["batch", text(&dump), "--out", text(&out), "--record", "--profile-store", text(&store)], "")
    };
    let ran = record("1.jsonl");
    assert!(ran.status.success() && stderr(&ran).contains("1 recorded"), "{}", stderr(&ran));
    let ran = record("2.jsonl");
    assert!(stderr(&ran).contains("1 known already"), "{}", stderr(&ran));
}

/// A job may trust the clock after a pause of weeks, but not after one that would empty the store.
#[tokio::test]
async fn a_pause_of_months_is_accepted_by_a_person_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let now = jiff::Timestamp::now();
    let clock = arom::profile::frozen_clock(now - 40 * Duration::from_secs(86_400));
    let server = Server::keeping_by(&store, server_config(), clock, Upkeep::default()).await;
    let event = ProfileEvent {
        event_id: "old".to_owned(),
        event_time: Some(prost_types::Timestamp { seconds: now.as_second() - 41 * 86_400, nanos: 0 }),
        customer_id: "c".to_owned(),
        felt: Some(Felt::Text("ดีมาก".to_owned())),
        ..ProfileEvent::default()
    };
    record(&mut ProfileServiceClient::new(server.ready().await), vec![event]).await;
    server.stop().await.expect("a clean stop");
    let (dump, out) = (folder.path().join("d.csv"), folder.path().join("o.jsonl"));
    write(&dump, &reviews(2));
    let ran = tokio::task::spawn_blocking(move || {
        let args = ["batch", text(&dump), "--out", text(&out), "--record", "--accept-clock"];
        run_command(arom().args(args).env("AROM_PROFILE_STORE", &store), "")
    });
    let ran = ran.await.expect("it ran");
    assert!(ran.status.code() == Some(1) && stderr(&ran).contains("31 days"), "{}", stderr(&ran));
}

/// The exit code tells a scheduler that some rows are not in the profiles.
#[test]
fn rows_that_were_not_recorded_change_the_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut rows = reviews(4);
    rows[1]["review_date"] = "2001-02-03T04:05:06Z".into();
    write(&folder.path().join("d.csv"), &rows);
    let (dump, out) = (folder.path().join("d.csv"), folder.path().join("o.jsonl"));
    let mut command = arom();
    command.args(["batch", text(&dump), "--out", text(&out), "--record"]);
    let ran = run_command(command.env("AROM_PROFILE_STORE", folder.path().join("store")), "");
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    assert!(stderr(&ran).contains("3 recorded, 0 known already, 1 not recorded"), "{}", stderr(&ran));
    // Which line, and why; and how many for each reason.
    for said in ["line=3", "rows=1 reason=\"EVENT_TOO_OLD\""] {
        assert!(stderr(&ran).contains(said), "{said}: {}", stderr(&ran));
    }
}

#[tokio::test]
async fn rows_are_recorded_as_if_they_had_come_one_by_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let rows = reviews(280);
    write(&path("d.csv"), &rows);

    // One by one, as texts.
    let online = Server::keeping(&path("online")).await;
    let mut client = ProfileServiceClient::new(online.ready().await);
    let event = |row: &Map<String, Value>| ProfileEvent {
        event_id: words(&row["review_id"]),
        event_time: Some(prost_types::Timestamp {
            seconds: words(&row["review_date"]).parse::<jiff::Timestamp>().expect("a time").as_second(),
            nanos: 0,
        }),
        customer_id: words(&row["reviewer"]),
        brand_ids: vec![words(&row["shop_name"])],
        channel: Written::Review.into(),
        felt: Some(Felt::Text(words(&row["review_text"]))),
        replaces_event_id: String::new(),
    };
    for some in rows.chunks(100) {
        record(&mut client, some.iter().map(event).collect()).await;
    }

    // By a dump, to a server, twice.
    let there = Server::keeping(&path("there")).await;
    drop(there.ready().await);
    let (dump, address) = (path("d.csv"), there.address.trim_start_matches("http://").to_owned());
    let (first, second) = (path("1.jsonl"), path("2.jsonl"));
    let ran = tokio::task::spawn_blocking(move || {
        let to = format!("--record={address}");
        [first, second].map(|out| batch(&[text(&dump), "--out", text(&out), &to]))
    });
    let [first, second] = ran.await.expect("they ran");
    assert!(stderr(&first).contains("280 recorded, 0 known already, 0 not recorded"), "{}", stderr(&first));
    assert!(stderr(&second).contains("0 recorded, 280 known already"), "{}", stderr(&second));

    // By a dump, to a store that no server has open.
    let (dump, store, out) = (path("d.csv"), path("here"), path("3.jsonl"));
    let ran = tokio::task::spawn_blocking(move || {
        let mut command = arom();
        command
            .args(["batch", text(&dump), "--out", text(&out), "--record"])
            .env("AROM_PROFILE_STORE", &store);
        run_command(&mut command, "")
    });
    let ran = ran.await.expect("it ran");
    assert!(stderr(&ran).contains("280 recorded"), "{}", stderr(&ran));
    let here = Server::keeping(&path("here")).await;
    drop(here.ready().await);

    // Windows move on with the time: what lies on an edge may be in one reading and not in the next.
    let mut same = false;
    for _ in 0..5 {
        let mut found = Vec::new();
        for server in [&online, &there, &here] {
            found.push(profiles(&server.address).await);
        }
        assert!(found.iter().all(|found| found.len() == 2 + 7 + 14), "{found:?}");
        same = found.iter().all(|one| *one == found[0]);
        if same {
            break;
        }
    }
    assert!(same, "other features than one by one");
    for server in [online, there, here] {
        server.stop().await.expect("a clean stop");
    }
}

/// A way to a server that breaks: each of the first connections after so many bytes of answers.
async fn breaking(to: String, mut breaks: Vec<u64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&to).await.expect("it listens");
            let most = if breaks.is_empty() { u64::MAX } else { breaks.remove(0) };
            tokio::spawn(async move {
                let (mut asks, mut hears) = client.into_split();
                let (answers, mut asked) = server.into_split();
                let mut answers = answers.take(most);
                // The end of either is the end of both.
                tokio::select! {
                    _ = tokio::io::copy(&mut asks, &mut asked) => {}
                    _ = tokio::io::copy(&mut answers, &mut hears) => {}
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_connection_that_breaks_loses_no_row_and_doubles_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let lines: Vec<String> = (0..300)
        .map(|number| json!({ "text": format!("ส่งช้ามาก รอ {number} วัน ไม่ประทับใจเลย") }).to_string())
        .collect();
    fs::write(path("d.jsonl"), lines.join("\n")).expect("written");
    let server = Server::start().await;
    drop(server.ready().await);
    let to = server.address.trim_start_matches("http://").to_owned();
    let address = breaking(to, vec![8_000, 12_000]).await;
    let (dump, here, there) = (path("d.jsonl"), path("here.jsonl"), path("there.jsonl"));
    let ran = tokio::task::spawn_blocking(move || {
        let here = batch(&[text(&dump), "--out", text(&here)]);
        (here, batch(&[text(&dump), "--out", text(&there), "--remote", &address]))
    });
    let (first, second) = ran.await.expect("they ran");
    assert_eq!((first.status.code(), second.status.code()), (Some(0), Some(0)), "{}", stderr(&second));
    assert_eq!(
        stderr(&second).matches("what is not answered is sent again").count(),
        2,
        "{}",
        stderr(&second)
    );
    let [here, there] =
        ["here.jsonl", "there.jsonl"].map(|name| fs::read_to_string(path(name)).expect("read"));
    let difference = here.lines().zip(there.lines()).find(|(here, there)| here != there);
    assert!(here == there, "here and there: {difference:#?}");
    server.stop().await.expect("a clean stop");
}

#[test]
fn the_sample_dump_is_what_the_readme_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("scored.csv");
    let dump = repository().join("examples/reviews.csv");
    let ran = batch(&[text(&dump), "--out", text(&out)]);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    let told = stderr(&ran);
    let found = told.lines().next().expect("what was found").split_once("reviews.csv: ").expect("its name").1;
    let readme = fs::read_to_string(repository().join("README.md")).expect("readable");
    assert!(readme.contains(found), "{found}");
    let head = fs::read_to_string(&out).expect("read");
    assert!(Compression::None.ending().is_empty() && readme.contains(head.lines().next().expect("a head")));
}

#[test]
fn no_file_of_another_is_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let dump = "text\nดีมาก\nแย่มาก\n";
    fs::write(path("d.csv"), dump).expect("written");
    fs::write(path("mine.jsonl"), "mine").expect("written");
    std::os::unix::fs::symlink(path("d.csv"), path("other.csv")).expect("made");
    let (d, o, mine) = (path("d.csv"), path("o.jsonl"), path("mine.jsonl"));
    let (d, o, mine, other) = (text(&d), text(&o), text(&mine), path("other.csv"));
    let spelt = format!("{}/./o.jsonl", folder.path().display());
    for (args, code, wanted) in [
        // The dump itself, also by another name.
        (vec![d, "--out", d, "--overwrite"], 2, "is a file that this run writes"),
        (vec![d, "--out", text(&other), "--overwrite"], 2, "is the same file as"),
        (vec![d, "--out", o, "--rejects", d, "--overwrite"], 2, "is a file that this run writes"),
        (vec![d, "--out", o, "--report", d, "--overwrite"], 2, "is a file that this run writes"),
        // Two that are one.
        (vec![d, "--out", o, "--rejects", &spelt], 2, "are one file"),
        (vec![d, "--out", o, "--report", "r.html", "--report-json", "./r.html"], 2, "are one file"),
        // What is there already.
        (vec![d, "--out", o, "--rejects", mine], 2, "is there already"),
        (vec![d, "--out", o, "--report", mine], 2, "is there already"),
        (vec!["nowhere.csv", "--out", o], 2, "there is no file nowhere.csv"),
        (vec![d, "--out", o, "--record", "10.0.0.5:50051"], 2, "write --record=10.0.0.5:50051"),
        (vec![d, "--out", o, "--columns", "text=text,text=text"], 2, "text is said twice"),
        // Nothing is taken away before it is known that there is something to write.
        (vec![d, "--out", mine, "--overwrite", "--columns", "text=body"], 2, "there is no column"),
        (vec![d, "--out", mine, "--overwrite", "--remote", "127.0.0.1:1"], 1, "nothing answers"),
        (vec![d, "--out", mine, "--overwrite", "--model", "nowhere"], 1, "the model bundle is refused"),
    ] {
        let ran = batch(&args);
        assert_eq!(ran.status.code(), Some(code), "{args:?}: {}", stderr(&ran));
        assert!(stderr(&ran).contains(wanted), "{args:?}: {}", stderr(&ran));
        assert_eq!(fs::read_to_string(d).expect("there"), dump, "{args:?}");
        assert_eq!(fs::read_to_string(mine).expect("there"), "mine", "{args:?}");
        assert!(!Path::new(o).exists(), "{args:?}");
    }
    assert!(batch(&[d, "--out", mine, "--overwrite"]).status.success());
    assert_eq!(read(Path::new(mine)).len(), 2);
}

#[test]
fn what_comes_through_pipes_is_read_and_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("o.jsonl");
    let script = "\"$0\" batch <(printf 'text\\nดี\\n') <(printf '{\"text\":\"แย่\"}') - --out \"$1\"";
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_arom"), text(&out)]);
    let ran = run_command(&mut shell, "รีวิว\nเฉย ๆ\n");
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    assert_eq!(read(&out).len(), 3);
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing is left behind");

    // Ended while it waits for more.
    let mut child = arom()
        .args(["batch", "-", "--out", text(&out), "--overwrite"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let descriptors = format!("/proc/{}/fd", child.id());
    let keeps = |entry: std::io::Result<fs::DirEntry>| {
        let target = fs::read_link(entry.expect("there").path()).unwrap_or_default();
        target.to_string_lossy().ends_with("o.jsonl.stdin (deleted)")
    };
    until_blocking(|| fs::read_dir(&descriptors).is_ok_and(|mut open| open.any(keeps)));
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1, "no name leads to it");
    interrupt(&child);
    let pipe = child.stdin.take();
    let ended = child.wait_with_output().expect("it ended");
    drop(pipe);
    assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
    assert!(stderr(&ended).contains("stopped"), "{}", stderr(&ended));
    assert!(read(&out).len() == 3, "nothing has changed");
}

/// As Ctrl-C does.
fn interrupt(child: &std::process::Child) {
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
}

#[test]
fn a_disk_that_is_full_from_the_start_stands_in_nobodys_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dump, out) = (folder.path().join("d.csv"), folder.path().join("o.csv"));
    fs::write(&dump, "text\nดีมาก\n").expect("written");
    let mut shell = std::process::Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_arom"), "batch", text(&dump), "--out", text(&out)]);
    let ran = run_command(shell.env("AROM_MODEL", bundle_folder()), "");
    assert_eq!(ran.status.code(), Some(1), "{}", stderr(&ran));
    let ran = batch(&[text(&dump), "--out", text(&out)]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
}

#[test]
fn a_run_whose_rows_are_all_refused_has_its_report_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("d.jsonl"), "{\"text\":{}}\n{\"text\":[]}\n").expect("written");
    fs::write(path("empty.csv"), "").expect("written");
    for out in ["o.jsonl", "o.csv", "o.jsonl.zst", "o.parquet"] {
        let report = path(&format!("{out}.html"));
        let (dump, empty, out) = (path("d.jsonl"), path("empty.csv"), path(out));
        let columns = ["--columns", "text=text"];
        let args = [text(&dump), text(&empty), "--out", text(&out), "--report", text(&report)];
        let ran = batch(&[&args[..], &columns].concat());
        assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
        assert!(stderr(&ran).contains("empty.csv: is empty, and left out"), "{}", stderr(&ran));
        assert!(fs::read_to_string(&report).expect("a report").contains("is no text"));
    }
}

#[test]
fn days_times_and_numbers_that_no_calendar_has_pass_through_parquet() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dump, out) = (repository().join("tests/data/far.parquet"), folder.path().join("o.parquet"));
    let ran = batch(&[text(&dump), "--out", text(&out)]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let rows = read(&out);
    let words = |row: usize, name: &str| words(&rows[row][name]);
    assert_eq!(
        ["day", "at", "big"].map(|name| words(0, name)),
        ["2147483647", "4611686018427387904", "18446744073709551615"]
    );
    assert_eq!(["day", "at"].map(|name| words(1, name)), ["2024-10-04", "2023-11-14T22:13:20"]);
}

#[tokio::test]
async fn a_run_that_records_is_stopped_and_goes_on() {
    const ROWS: usize = 3000;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let rows: Rows = reviews(ROWS)
        .into_iter()
        .enumerate()
        .map(|(number, mut row)| {
            let words = format!("{} {number}", words(&row["review_text"]));
            row.insert("review_text".to_owned(), words.into());
            row
        })
        .collect();
    write(&path("d.csv"), &rows);
    for attempt in 0.. {
        let server = Server::keeping(&path(&format!("store{attempt}"))).await;
        drop(server.ready().await);
        let record = format!("--record={}", server.address.trim_start_matches("http://"));
        let (dump, out) = (path("d.csv"), path(&format!("o{attempt}.jsonl")));
        let ran = tokio::task::spawn_blocking(move || {
            let child = arom()
                .args(["batch", text(&dump), "--out", text(&out), &record])
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts");
            until_blocking(|| fs::metadata(&out).is_ok_and(|file| file.len() > 0));
            interrupt(&child);
            let stopped = child.wait_with_output().expect("it ended");
            let elsewhere = batch(&[text(&dump), "--out", text(&out)]);
            (stopped, elsewhere, batch(&[text(&dump), "--out", text(&out), &record]))
        });
        let (stopped, elsewhere, ended) = ran.await.expect("they ran");
        server.stop().await.expect("a clean stop");
        if stopped.status.success() || stderr(&stopped).contains("nothing is done yet") {
            // On a busy machine it may be done before it is told to stop, or have done nothing.
            continue;
        }
        assert_eq!(stopped.status.code(), Some(1), "{}", stderr(&stopped));
        let told = stderr(&stopped);
        assert!(
            told.contains("the same command goes on from there: stopped") && !told.contains("panic"),
            "{told}"
        );
        assert!(stderr(&elsewhere).contains("--record was 127.0.0.1"), "{}", stderr(&elsewhere));
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        assert!(stderr(&ended).contains("3,000 recorded, 0 known already"), "{}", stderr(&ended));
        return;
    }
}
