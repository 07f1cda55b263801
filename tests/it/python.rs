//! Real Python clients (grpcio) against a real `arom serve`.
//!
//! The first run installs the pinned packages of examples/python/requirements.txt into the target folder, with
//! the machine's own pip, and generates the stubs there.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use arom::grpc::v1::profile_service_client::ProfileServiceClient;

use crate::profile::{event, record};
use crate::support::{Process, made_once, repository};

const REQUIREMENTS: &str = include_str!("../../examples/python/requirements.txt");

/// The packages, for PYTHONPATH.
fn packages() -> &'static PathBuf {
    static PACKAGES: OnceLock<PathBuf> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        made_once("python", REQUIREMENTS, |folder| {
            let requirements = repository().join("examples/python/requirements.txt");
            let installed = Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
                .arg(folder)
                .arg("-r")
                .arg(requirements)
                .status()
                .expect("python3 is installed");
            assert!(installed.success(), "pip could not install examples/python/requirements.txt");
        })
    })
}

/// The stubs of the protos as they are.
fn stubs() -> &'static PathBuf {
    static STUBS: OnceLock<PathBuf> = OnceLock::new();
    STUBS.get_or_init(|| {
        let names = [
            "conversation",
            "conversation_service",
            "profile",
            "profile_service",
            "sentiment",
            "sentiment_service",
        ]
        .map(|name| format!("proto/arom/v1/{name}.proto"));
        let protos: String = names
            .iter()
            .map(|name| fs::read_to_string(repository().join(name)).expect("it is in the repository"))
            .collect();
        let made_of = format!("{REQUIREMENTS}{protos}");
        made_once("python-stubs", &made_of, |folder| {
            let out = folder.display();
            let made = Command::new("python3")
                .env("PYTHONPATH", packages())
                .current_dir(repository())
                .args(["-m", "grpc_tools.protoc", "-I", "proto"])
                .args([format!("--python_out={out}"), format!("--grpc_python_out={out}")])
                .args(&names)
                .status()
                .expect("python3 is installed");
            assert!(made.success(), "the stubs could not be generated");
        })
    })
}

fn python(script: &str, args: &[&str]) -> String {
    let output = command(script, args).output().expect("python3 is installed");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn command(script: &str, args: &[&str]) -> Command {
    let examples = repository().join("examples/python");
    let path = [packages(), stubs(), &examples];
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", std::env::join_paths(path).expect("no colons in the target folder"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(repository())
        .arg(script)
        .args(args);
    command
}

#[test]
fn the_python_example_scores_the_samples() {
    let mut server = Process::start(&[]);
    server.wait_for("ready");
    let shown = python("examples/python/client.py", &[&server.address, "examples/messages.jsonl"]);
    assert_eq!(shown.lines().count(), 72);
    assert!(!shown.contains(" error "), "{shown}");
}

#[test]
fn the_python_stream_answers_each_line_as_it_comes() {
    let mut server = Process::start(&[]);
    server.wait_for("ready");
    let mut example = command("examples/python/stream.py", &[&server.address]);
    let mut example =
        example.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is installed");
    let (mut lines, answers) = (example.stdin.take().expect("piped"), example.stdout.take().expect("piped"));
    let mut answers = BufReader::new(answers).lines();
    for (text, label) in [("อาหารอร่อยมาก ประทับใจ", "positive"), ("บริการแย่ รอนานมาก", "negative")]
    {
        writeln!(lines, "{text}").expect("it reads");
        // The next line is not written before this answer is there.
        let answer = answers.next().expect("an answer").expect("UTF-8");
        assert!(answer.starts_with(label) && answer.ends_with(text), "{answer}");
    }
    drop(lines);
    assert!(example.wait().expect("it ends").success());
}

#[test]
fn the_python_example_of_an_explanation_cuts_by_utf_16_units() {
    let mut server = Process::start(&[]);
    server.wait_for("ready");
    // Characters of one and of two units, and one of several characters, before the words.
    let text = "👨\u{200D}👩\u{200D}👧😍 อาหารอร่อย แต่พนักงานพูดไม่ดีเลย";
    let shown = python("examples/python/explain.py", &[&server.address, text]);
    let parts = |kind: &str| -> Vec<String> {
        let lines = shown.lines().filter_map(|line| line.trim().strip_prefix(kind)?.trim().split_once(' '));
        lines.map(|(_, part)| part.replace(" decided the label", "")).collect()
    };
    assert_eq!(parts("clause"), ["👨\u{200D}👩\u{200D}👧😍 อาหารอร่อย", "แต่พนักงานพูดไม่ดีเลย"], "{shown}");
    assert_eq!(
        parts("target"),
        ["รสชาติ (อาหาร): 👨\u{200D}👩\u{200D}👧😍 อาหารอร่อย", "พนักงาน (พนักงาน): แต่พนักงานพูดไม่ดีเลย"],
        "{shown}"
    );
    assert_eq!(parts("word").concat(), text.replace(' ', ""), "{shown}");
}

#[test]
fn the_python_example_follows_a_chat_message_by_message() {
    let mut server = Process::start(&[]);
    server.wait_for("ready");
    let mut example = command("examples/python/chat.py", &[&server.address]);
    let mut example =
        example.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 is installed");
    let (mut lines, answers) = (example.stdin.take().expect("piped"), example.stdout.take().expect("piped"));
    let mut answers = BufReader::new(answers).lines();
    for (message, shown, summary) in [
        ("customer: รออยู่สามวันแล้ว แย่มาก ขอเงินคืน", "[refund_demand]", "ended negative, unresolved"),
        ("agent: ขออภัยค่ะ คืนเงินให้แล้ว และส่งของใหม่ให้ฟรีค่ะ", "ส่งของใหม่", "ended negative, unresolved"),
        ("nobody: ?", "error ", ""),
        ("customer: ขอบคุณมากค่ะ ประทับใจ", "ขอบคุณ", "did not end negative"),
    ] {
        writeln!(lines, "{message}").expect("it reads");
        // The next message is not sent before this one is answered.
        let answer = answers.next().expect("an answer").expect("UTF-8");
        assert!(answer.contains(shown), "{answer}");
        if !summary.is_empty() {
            let line = answers.next().expect("a summary").expect("UTF-8");
            assert!(line.trim().starts_with("customer opening -0.") && line.ends_with(summary), "{line}");
        }
    }
    drop(lines);
    assert!(example.wait().expect("it ends").success());
    let whole = python("examples/python/chat.py", &[&server.address, "examples/chats/parcel.txt"]);
    assert_eq!(whole.lines().count(), 44, "{whole}");
    assert!(
        whole.contains("<phone>") && whole.contains("turned at #14") && !whole.contains("มะลิ"),
        "{whole}"
    );
}

#[test]
fn a_python_watcher_whose_connection_breaks_misses_nothing_and_gets_nothing_twice() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().display().to_string();
    let server = Process::start(&["--profile-store", &store]);
    let shown = python("tests/python/watching.py", &[&server.address]);
    assert!(shown.contains(": ok"), "{shown}");
    println!("{shown}");
}

#[test]
fn the_python_examples_say_what_is_wrong_in_a_line() {
    let chat = &["examples/chats/parcel.txt"][..];
    for (script, file) in [
        ("client", &["examples/messages.jsonl"][..]),
        ("stream", &[]),
        ("explain", &["ดี"]),
        ("chat", chat),
        ("watch", &[]),
    ] {
        let script = format!("examples/python/{script}.py");
        let mut example = command(&script, &[&["127.0.0.1:1"][..], file].concat());
        let output = example.stdin(Stdio::null()).output().expect("python3 is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.starts_with("UNAVAILABLE: "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_client_whose_only_back_off_is_that_of_grpc_is_answered_by_a_full_server() {
    python("tests/python/retries.py", &[env!("CARGO_BIN_EXE_arom")]);
}

#[test]
fn a_python_client_finds_everything_the_contract_promises() {
    let shown = python("tests/python/scenario.py", &[env!("CARGO_BIN_EXE_arom")]);
    for part in ["health", "unary", "batch", "stream", "metrics", "reflection", "details", "sigterm"] {
        assert!(shown.contains(&format!("{part}: ok")), "{part} is not in {shown}");
    }
}

/// A server whose connections grow old at once.
fn short_lived() -> Process {
    let mut server = Process::start(&[
        "--model",
        "arom-fast",
        "--max-connection-age-seconds",
        "1",
        "--max-connection-age-grace-seconds",
        "3",
    ]);
    server.wait_for("ready");
    server
}

#[test]
fn a_python_client_loses_no_call_when_its_connection_is_old_and_a_stream_lasts_until_the_grace_ends() {
    let server = short_lived();
    let shown = python("tests/python/connections.py", &["age", &server.address]);
    assert!(shown.starts_with("age: ok"), "{shown}");
}

#[test]
fn a_node_client_loses_no_call_when_its_connection_is_old_and_a_stream_lasts_until_the_grace_ends() {
    let server = short_lived();
    let shown = node("tests/node/connections.mjs", &[&server.address]);
    assert!(shown.starts_with("age: ok"), "{shown}");
}

#[test]
fn thousands_of_short_deadlines_and_cancelled_calls_leave_a_stream_beside_them_alone() {
    let mut server = Process::start(&["--model", "arom-fast"]);
    server.wait_for("ready");
    let shown = python("tests/python/connections.py", &["cancelled", &server.address]);
    assert!(shown.starts_with("cancelled: ok"), "{shown}");
}

#[test]
fn a_target_of_several_addresses_works() {
    let mut servers = [(); 2].map(|()| Process::start(&["--model", "arom-fast"]));
    servers.iter_mut().for_each(|server| drop(server.wait_for("ready")));
    let [first, second] = servers.each_ref().map(|server| server.address.as_str());
    let shown = python("tests/python/connections.py", &["addresses", first, second]);
    assert_eq!(shown, "addresses: ok\n");
}

/// The packages of tests/node, which npm puts there once.
fn node_modules() -> PathBuf {
    const PACKAGES: &str = include_str!("../node/package.json");
    made_once("node", PACKAGES, |folder| {
        fs::write(folder.join("package.json"), PACKAGES).expect("written");
        let installed = Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(folder)
            .status()
            .expect("npm is installed");
        assert!(installed.success(), "npm could not install tests/node/package.json");
    })
}

fn node(script: &str, args: &[&str]) -> String {
    let output = Command::new("node")
        .current_dir(repository())
        .arg(script)
        .args(args)
        .arg(node_modules())
        .output()
        .expect("node is installed");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn grpcio_prints_every_answer_and_error_by_reflection() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = folder.path().join("store").display().to_string();
    let mut server = Process::start(&["--profile-store", &store]);
    server.wait_for("ready");
    let shown = python("tests/clients/cases.py", &[&server.address]);
    assert!(shown.ends_with(" calls: ok\n"), "{shown}");
}

/// A process that ends with its test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(|_| ()).unwrap_or_default();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_receiver_takes_the_webhook_and_refuses_a_post_that_is_not_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (secret, store) = (path("secret"), path("store"));
    fs::write(&secret, "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n").expect("written");
    let receiver = command("examples/python/webhook.py", &["0", &secret]).stdout(Stdio::piped()).spawn();
    let mut receiver = Ends(receiver.expect("python3 is installed"));
    let mut lines = BufReader::new(receiver.0.stdout.take().expect("piped")).lines();
    let mut line = || lines.next().expect("a line").expect("UTF-8");
    let said = line();
    let port = said.strip_prefix("listening on port ").expect("it says where");

    let mut stranger = TcpStream::connect(format!("127.0.0.1:{port}")).expect("it listens");
    stranger.write_all(b"POST / HTTP/1.0\r\ncontent-length: 2\r\n\r\n[]").expect("it reads");
    let mut answer = String::new();
    stranger.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.0 401 "), "{answer}");
    assert_eq!(line(), "refused a post that is not signed");

    let url = format!("http://127.0.0.1:{port}/");
    let sink = ["--sink-webhook-url", &url, "--sink-webhook-secret-file", &secret];
    let mut server = Process::start(&[&["--profile-store", &store], &sink[..]].concat());
    server.wait_for("ready");
    let profiles = ProfileServiceClient::connect(format!("http://{}", server.address)).await;
    let negative = |id: &str, seconds| event(id, "c", &["b"], seconds, -0.9);
    let events = vec![negative("e1", 30), negative("e2", 20), negative("e3", 10)];
    record(&mut profiles.expect("it listens"), events).await;
    let said: Vec<String> = std::iter::repeat_with(line)
        .take_while(|said| said != "customer/c SIGNAL_KIND_NEGATIVE_RUN signal.raised")
        .collect();
    assert!(said.iter().any(|said| said.starts_with("customer/c last score -0.9")), "{said:?}");
}
