//! Rows per second and memory of `arom batch`, beside raw inference and a script of pandas.
//!
//! ```sh
//! make bench-batch                      # 20,000 rows, some minutes
//! ROWS=1000000 make bench-batch         # as many as a large dump has
//! ```
//!
//! - The dump: the texts of wisesight-valid when ../shared/data has them, else the sample messages, over and over,
//!   each time with another number behind it, so that none is seen twice.
//! - `raw`: ONNX Runtime in a tight loop on the first of these texts, tokenised beforehand, sorted by length, 512 padded
//!   tokens a run, a thread and a session for each CPU.
//! - `arom batch`: the whole command, from the start of its process to its end: CSV in, CSV out.
//! - The same with each text ten times, as dumps have "ดี" and "ส่งไว".
//! - Killed in its middle and begun again: both runs together.
//! - Memory: the most that the process ever held, at a million rows and at ten times as many, of 1,000 texts; and of the
//!   run above whose texts are all others. These files take 7 GB.
//! - The script: benches/peers/dump.py on the first rows, with the shipped weights in fp32 and in ONNX Runtime's own
//!   dynamic int8 (benches/peers/graphs.py makes both). Needs python3 with pip.
//!
//! Writes target/bench/batch.json.

#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark that panics has failed, and how many rows it has is no setting of Arom"
)]

mod support;

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use arom::model::{Model, Session, Tokenizer};
use arom::scoring::{Scorer, ScoringConfig};

use support::{Figure, bundle, report, root, rows, runtime, shipped, texts};

/// Texts that raw inference and the script are measured with.
const FEW: usize = 4000;

fn main() {
    let count = env::var("ROWS").ok().map_or(20_000, |rows| rows.parse().expect("ROWS is a number"));
    let folder = root().join("target/bench/batch");
    fs::create_dir_all(&folder).expect("there is room");
    let texts = texts();
    let distinct = |number: usize| format!("{} {number}", texts[number % texts.len()]);
    let path = |name: &str| folder.join(name);

    let few: Vec<String> = (0..FEW.min(count)).map(distinct).collect();
    let raw = inference(&few);
    println!("raw {raw:.1} texts/s");

    write(&path("all.csv"), count, distinct);
    let (took, memory) = batch(&path("all.csv"), &path("all.out.csv"));
    let rate = count as f64 / took.as_secs_f64();
    println!("batch {rate:.1} rows/s, {memory:.0} MB");

    write(&path("tenfold.csv"), count, |number| distinct(number / 10));
    let (tenfold, _) = batch(&path("tenfold.csv"), &path("tenfold.out.csv"));
    let tenfold = count as f64 / tenfold.as_secs_f64();

    let started = Instant::now();
    let out = path("killed.out.csv");
    let mut child = start(&path("all.csv"), &out);
    thread::sleep(took / 2);
    child.kill().expect("it runs");
    child.wait().expect("it ended");
    let mut child = Command::new(env!("CARGO_BIN_EXE_arom"));
    let ended = child.args(["batch", "--quiet"]).arg(path("all.csv")).arg("--out").arg(&out).status();
    assert!(ended.expect("it runs").success());
    let resumed = started.elapsed();
    assert!(
        fs::read(path("all.out.csv")).expect("there") == fs::read(&out).expect("there"),
        "other bytes than without a kill"
    );

    let levels: Vec<(usize, f64, f64)> = [1_000_000, 10_000_000]
        .into_iter()
        .map(|rows| {
            write(&path("many.csv"), rows, |number| distinct(number % 1000));
            let (took, memory) = batch(&path("many.csv"), &path("many.out.csv"));
            (rows, memory, rows as f64 / took.as_secs_f64())
        })
        .collect();

    let mut figures = vec![
        Figure::beside("raw inference", raw, "texts/s", ("raw", raw)),
        Figure::beside("arom batch, no text twice", rate, "rows/s", ("raw", raw)),
        Figure::beside("arom batch, each text ten times", tenfold, "rows/s", ("raw", raw)),
        Figure::beside(
            "killed in its middle and begun again",
            resumed.as_secs_f64(),
            "s",
            ("not killed", took.as_secs_f64()),
        ),
        Figure::against(format!("memory, {count} rows, no text twice"), memory, "MB", 600.0),
    ];
    for (rows, memory, rate) in levels {
        figures.push(Figure::against(format!("memory, {rows} rows of 1000 texts"), memory, "MB", 600.0));
        figures.push(Figure::beside(
            format!("arom batch, {rows} rows of 1000 texts"),
            rate,
            "rows/s",
            ("raw", raw),
        ));
    }
    write(&path("few.csv"), few.len(), distinct);
    let python = python(&folder);
    for graph in ["fp32", "int8"] {
        let theirs = script(&folder, &python, graph);
        println!("pandas {graph} {theirs:.1} rows/s");
        figures.push(Figure::beside(format!("script of pandas, {graph}"), theirs, "rows/s", ("raw", raw)));
        figures.push(Figure::beside(
            "arom batch beside it",
            rate,
            "rows/s",
            (&format!("script, {graph}"), theirs),
        ));
    }
    report("batch", &figures);
}

fn write(path: &Path, count: usize, text: impl Fn(usize) -> String) {
    let mut writer = csv::Writer::from_path(path).expect("there is room");
    writer.write_record(["id", "text"]).expect("written");
    for number in 0..count {
        writer.write_record([number.to_string(), text(number)]).expect("written");
    }
    writer.flush().expect("written");
}

fn start(dump: &Path, out: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arom"));
    command.args(["batch", "--quiet", "--overwrite"]).arg(dump).arg("--out").arg(out);
    command.stderr(Stdio::inherit()).spawn().expect("it starts")
}

/// How long a whole run takes, and the most memory it held in megabytes.
fn batch(dump: &Path, out: &Path) -> (Duration, f64) {
    let started = Instant::now();
    let mut child = start(dump, out);
    let mut most = 0.0_f64;
    let status = format!("/proc/{}/status", child.id());
    let ended = loop {
        if let Some(ended) = child.try_wait().expect("it can be asked") {
            break ended;
        }
        let held = fs::read_to_string(&status).unwrap_or_default();
        let peak = held.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<f64>().ok());
        most = most.max(kilobytes.unwrap_or_default() / 1e3);
        thread::sleep(Duration::from_millis(50));
    };
    assert!(ended.success(), "every row is scored");
    (started.elapsed(), most)
}

/// Texts per second of inference alone.
fn inference(texts: &[String]) -> f64 {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let (runtime, bundle) = (runtime(), bundle());
    let padding = Tokenizer::open(&bundle).expect("it fits").padding();
    let model = Model::load(&runtime, &bundle).expect("it fits");
    let mut sessions: Vec<Session> = (0..workers).map(|_| model.session().expect("it fits")).collect();
    let scorer =
        Scorer::open(&bundle, &runtime, &ScoringConfig::default(), Default::default()).expect("it fits");
    let mut rows = rows(&scorer, texts);
    rows.sort_by_key(|row| std::cmp::Reverse(row.len()));
    let rates: Vec<f64> = (0..3)
        .map(|_| {
            let started = Instant::now();
            support::raw(&mut sessions, &rows, padding);
            texts.len() as f64 / started.elapsed().as_secs_f64()
        })
        .collect();
    support::median(&rates)
}

/// Installs what the script needs and makes its graphs; gives the folder of packages.
fn python(folder: &Path) -> std::path::PathBuf {
    let packages = root().join("target/bench/python");
    let done = |command: &mut Command| assert!(command.status().expect("it runs").success(), "{command:?}");
    let requirements = root().join("benches/peers/requirements.txt");
    done(
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
            .arg(&packages)
            .arg("-r")
            .arg(requirements),
    );
    done(
        Command::new("python3")
            .env("PYTHONPATH", &packages)
            .arg(root().join("benches/peers/graphs.py"))
            .arg(shipped())
            .arg(folder),
    );
    packages
}

fn script(folder: &Path, packages: &Path, graph: &str) -> f64 {
    let ran = Command::new("python3")
        .env("PYTHONPATH", packages)
        .arg(root().join("benches/peers/dump.py"))
        .arg("--tokenizer")
        .arg(shipped().join("tokenizer.json"))
        .arg("--model")
        .arg(folder.join(format!("plain-{graph}.onnx")))
        .arg("--dump")
        .arg(folder.join("few.csv"))
        .arg("--out")
        .arg(folder.join("few.out.csv"))
        .stderr(Stdio::inherit())
        .output()
        .expect("it runs");
    assert!(ran.status.success());
    String::from_utf8(ran.stdout).expect("a number").trim().parse().expect("a number")
}
