//! `arom config check` refuses what `arom serve` refuses, in the same words.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{Process, arom, bundle_folder, repository, stderr};

/// Arguments, variables, the exit code, and a part of what is said.
type Row<'a> = (Vec<String>, &'a [(&'a str, &'a str)], i32, &'a str);

/// Runs a command to its end with these arguments and variables.
fn ended(command: &[&str], args: &[String], variables: &[(&str, &str)]) -> Output {
    let mut arom: Command = arom();
    arom.args(command).args(args).envs(variables.iter().copied()).stdin(Stdio::null());
    arom.output().expect("it runs")
}

/// What a command says of its failure: the lines after its log, which `arom config check` has not.
fn failure(output: &Output) -> String {
    let said = format!("\n{}", stderr(output));
    said.find("\narom: ").and_then(|at| said.get(at..)).unwrap_or_default().trim().to_owned()
}

/// The shipped bundle with one of its files changed.
fn spoilt(folder: &Path, change: impl Fn(&Path)) -> String {
    fs::create_dir_all(folder).expect("made");
    for name in ["manifest.toml", "model.onnx", "tokenizer.json"] {
        fs::copy(bundle_folder().join(name), folder.join(name)).expect("copied");
    }
    change(folder);
    folder.display().to_string()
}

#[test]
fn what_the_server_refuses_the_check_refuses_in_the_same_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let file = |name: &str, content: &str| {
        fs::write(folder.path().join(name), content).expect("written");
        path(name)
    };
    let (text, secret) = (file("text", "no certificate\n"), file("secret", &"s".repeat(32)));
    let (short, inside) = (file("short", "tiny"), format!("{text}/store"));
    let (store, missing) = (path("store"), path("missing"));
    let (toml, catalogue) = (file("bad.toml", "[server\n"), file("catalogue.toml", "[[brand]]\n"));
    let webhook = |more: &[&str]| {
        let first = ["--profile-store", &store, "--sink-webhook-url", "https://hooks.example/x"];
        first.iter().chain(more).map(|arg| (*arg).to_owned()).collect::<Vec<_>>()
    };
    let args = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
    let manifest = spoilt(&folder.path().join("manifest"), |at| {
        fs::write(at.join("manifest.toml"), "").expect("written")
    });
    let tokenizer = spoilt(&folder.path().join("tokenizer"), |at| {
        fs::write(at.join("tokenizer.json"), "{}").expect("written");
    });
    let cut =
        spoilt(&folder.path().join("cut"), |at| fs::write(at.join("model.onnx"), "x").expect("written"));
    let rows: Vec<Row<'_>> = vec![
        (args(&["--otlp-endpoint", "collector"]), &[], 2, "trace.otlp_endpoint"),
        (args(&["--otlp-endpoint", "127.0.0.1:4317"]), &[], 2, "is not a URL such as"),
        (args(&["--otlp-endpoint", "ftp://collector:4317"]), &[], 2, "is not a URL such as"),
        (args(&["--otlp-endpoint", "http://127.0.0.1:99999"]), &[], 2, "trace.otlp_endpoint"),
        (args(&["--otlp-endpoint", "http://collector:abc"]), &[], 2, "trace.otlp_endpoint"),
        (args(&["--otlp-endpoint", "https://[::1]:0"]), &[], 2, "trace.otlp_endpoint"),
        (args(&["--otlp-endpoint", "http://:4317"]), &[], 2, "trace.otlp_endpoint"),
        (args(&["--otlp-endpoint", "https://c:1", "--otlp-ca-file", &missing]), &[], 2, "missing"),
        (args(&["--otlp-endpoint", "https://c:1", "--otlp-ca-file", &text]), &[], 2, "no certificate"),
        (args(&["--otlp-endpoint", "http://c:1", "--otlp-ca-file", &text]), &[], 2, "is not https"),
        (args(&[]), &[("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere")], 2, "is not a URL such as"),
        (
            args(&["--otlp-endpoint", "http://c:1"]),
            &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
            2,
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ),
        (
            args(&["--otlp-endpoint", "http://c:1"]),
            &[("OTEL_TRACES_SAMPLER", "sometimes")],
            2,
            "OTEL_TRACES_SAMPLER",
        ),
        (args(&["--log", "arom=loud"]), &[], 2, "log.filter"),
        (args(&["--log", "inof"]), &[], 2, "log.filter \"inof\" is no level"),
        (args(&[]), &[("AROM_LOG", "info,warning")], 2, "AROM_LOG: log.filter \"warning\" is no level"),
        (args(&["--trace-sample-ratio", "2"]), &[], 2, "trace.sample_ratio"),
        (
            args(&["--listen", "127.0.0.1:50999", "--http-listen", "0.0.0.0:50999"]),
            &[],
            2,
            "server.http_listen",
        ),
        (args(&["--profile-store", &inside]), &[], 2, "profile.store: cannot write"),
        (args(&["--profile-store", "/proc/arom-store"]), &[], 1, "/proc/arom-store"),
        (args(&["--profile-store", &store, "--sink-jsonl-folder", &inside]), &[], 2, "sink.jsonl_folder"),
        (args(&["--sink-jsonl-folder", &store]), &[], 2, "needs profile.store"),
        (
            args(&["--profile-store", &store, "--profile-store-must-exist", "true"]),
            &[],
            2,
            "there is no store, and profile.store_must_exist is true",
        ),
        (webhook(&["--sink-webhook-secret-file", &missing]), &[], 2, "missing"),
        (webhook(&["--sink-webhook-secret-file", &short]), &[], 2, "sink.webhook_secret_file"),
        (
            webhook(&["--sink-webhook-secret-file", &secret, "--sink-webhook-ca-file", &text]),
            &[],
            2,
            "sink.webhook_ca_file",
        ),
        (
            webhook(&["--sink-webhook-secret-file", &secret, "--sink-webhook-dead-letters", &inside]),
            &[],
            2,
            "sink.webhook_dead_letters",
        ),
        (args(&["--profile-store", &store, "--profile-pseudonym-key-file", &short]), &[], 2, "pseudonym"),
        (args(&["--catalogue", &catalogue]), &[], 2, "catalogue.toml"),
        (args(&["--catalogue", &missing]), &[], 2, "scoring.catalogue"),
        (args(&["--config", &toml]), &[], 2, "bad.toml"),
        (args(&["--model", &missing]), &[], 1, "the model bundle is refused"),
        (args(&["--model", &manifest]), &[], 1, "manifest.toml"),
        (args(&["--model", &tokenizer]), &[], 1, "tokenizer.json"),
        (args(&["--model", &cut]), &[], 1, "model.onnx"),
        (args(&["--runtime-library", &text]), &[], 1, "text"),
    ];
    for (mut args, variables, code, wanted) in rows {
        if args.iter().all(|arg| arg != "--listen") {
            args.extend(["--listen".to_owned(), "127.0.0.1:0".to_owned()]);
        }
        let checked = ended(&["config", "check"], &args, variables);
        // A store that cannot be made is seen when it is made, and the check makes nothing.
        let said = failure(&checked);
        let served = ended(&["serve"], &args, variables);
        assert_eq!(served.status.code(), Some(code), "serve {args:?}: {}", stderr(&served));
        assert!(stderr(&served).contains(wanted), "serve {args:?}: {}", stderr(&served));
        if !wanted.starts_with("/proc") {
            assert_eq!(checked.status.code(), Some(code), "check {args:?}: {}", stderr(&checked));
            assert!(!said.is_empty() && said == failure(&served), "{said}\n{}", failure(&served));
        }
    }
}

#[test]
fn good_settings_are_checked_without_a_word_beside_a_running_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(folder.path().join("secret"), "s".repeat(32)).expect("written");
    let settings = fs::read_to_string(repository().join("examples/arom.toml")).expect("readable");
    fs::write(folder.path().join("arom.toml"), settings).expect("written");
    let (store, secret, file) = (path("store"), path("secret"), path("arom.toml"));
    let args = ["--profile-store", &store, "--sink-webhook-url", "http://127.0.0.1:9/hook"];
    let args = [&args[..], &["--sink-webhook-secret-file", &secret, "--config", &file]].concat();
    let server = Process::start(&args);
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let checked = ended(&["config", "check"], &args, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4317")]);
    assert_eq!((checked.status.code(), stderr(&checked).as_str()), (Some(0), ""));
    drop(server);
    let fresh = path("fresh");
    let checked = ended(&["config", "check"], &["--profile-store".to_owned(), fresh.clone()], &[]);
    assert!(checked.status.success() && !Path::new(&fresh).exists(), "{}", stderr(&checked));
}
