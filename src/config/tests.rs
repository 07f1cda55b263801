use std::fs;

use clap::{Args, Command, FromArgMatches};

use super::layers::{CommonFlags, ServeFlags};
use super::*;

fn resolve(file: &str, flags: &[&str]) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("arom.toml");
    fs::write(&path, file).expect("the file is written");
    let command = ServeFlags::augment_args(CommonFlags::augment_args(Command::new("arom")));
    let path = path.to_str().expect("UTF-8");
    let matches = command.get_matches_from([&["arom", "--config", path], flags].concat());
    let common = CommonFlags::from_arg_matches(&matches).expect("flags");
    let serve = ServeFlags::from_arg_matches(&matches).expect("flags");
    Config::resolve(&common, &serve).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}")
    })
}

#[test]
fn flags_go_before_the_file_and_the_file_before_defaults() {
    let file = "[server]\nmax_batch_size = 7\nlisten = \"127.0.0.1:1\"\n[scoring]\nworkers = 3";
    let config = resolve(file, &["--listen", "127.0.0.1:2"]).expect("good settings");
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.server.max_batch_size, 7);
    assert_eq!(config.scoring.workers, 3);
    assert_eq!(config.server.max_text_bytes, 65_536);
    let shown = config.to_toml();
    for part in
        ["max_batch_size = 7 # ", "arom.toml, line 2", "# --listen", "max_text_bytes = 65536 # default"]
    {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let workers = std::thread::available_parallelism().expect("the machine knows");
    let shown = resolve("", &[]).expect("good settings").to_toml();
    for part in [format!("# workers = N # default, here {workers}\n"), "/arom-base\n".to_owned()] {
        assert!(shown.contains(&part), "{part} is not in {shown}");
    }
}

#[test]
fn what_is_shown_says_the_same_when_read_again() {
    let config = resolve(
        "[trace]\nsample_ratio = 0.25\n[log]\nfilter = \"[span{x=\\\"b\\\"}]=info\"",
        &["--workers", "9"],
    );
    let config = config.expect("good settings");
    let again = resolve(&config.to_toml(), &[]).expect("good settings");
    let telemetry = |config: &Config| format!("{:?} {:?}", config.telemetry, config.server);
    assert_eq!(telemetry(&again), telemetry(&config));
    assert_eq!(again.scoring, config.scoring);
}

#[test]
fn the_example_file_and_the_readme_are_those_of_the_table() {
    let example = include_str!("../../examples/arom.toml");
    assert!(
        example.ends_with(&default_toml()),
        "examples/arom.toml: write `arom config show --defaults` into it"
    );
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&markdown_table()), "README.md: write `arom config keys` into it");
    let defaults = resolve("", &[]).expect("good settings");
    assert_eq!(
        defaults.scoring,
        ScoringConfig { workers: defaults.scoring.workers, ..ScoringConfig::default() }
    );
    assert_eq!(format!("{:?}", defaults.server), format!("{:?}", ServerConfig::default()));
}

/// What is wrong between two settings is told beside what is wrong with one, and so is a file that cannot be read.
#[test]
fn faults_of_all_kinds_are_reported_together() {
    let file = "[server]\nlisten = \"here\"\nmax_text_bytes = 9000000\nmax_peer_request_bytes = 4096\n\
        [signal]\nshare_clear = 9.0\n[scoring]\ncatalogue = \"nowhere.toml\"\n[profile]\npseudonym_key_file = \"nowhere.key\"\n\
        [sink]\njsonl_folder = \"lines\"";
    let error = resolve(file, &[]).expect_err("bad settings");
    for part in [
        "listen \"here\" is not an address",
        "server.max_text_bytes = 9000000 (",
        "arom.toml, line 3) must be less than server.max_message_bytes = 4194304 (default)",
        "server.max_peer_request_bytes = 4096 (",
        "arom.toml, line 4) must be at least ",
        "signal.share_clear = 9.0 (",
        "must be less than signal.share_raise",
        "nowhere.toml",
        "nowhere.key",
        "sink.jsonl_folder: needs profile.store",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

#[test]
fn every_fault_is_reported_at_once() {
    let file = "stray = 1\n[server]\nlisten = \"here\"\nmax_batch_size = 0\n[scoring]\nworkers = \"2\"\n\
        [log]\nformat = \"loud\"\n[trace]\nsample_ratio = 2.0\n[model]\nbundle = true";
    let error = resolve(file, &["--max-calls", "many"]).expect_err("bad settings");
    for part in [
        "arom.toml, line 1: stray stands outside a table",
        "arom.toml, line 3: server.listen \"here\" is not an address",
        "arom.toml, line 4: server.max_batch_size 0 is not within 1 to 65536",
        "arom.toml, line 6: scoring.workers must be a number without quotes",
        "arom.toml, line 8: log.format \"loud\" is not one of text, json",
        "arom.toml, line 10: trace.sample_ratio \"2.0\" is not a number within 0 to 1",
        "arom.toml, line 12: model.bundle must be text between quotes",
        "--max-calls: server.max_calls \"many\" is not a whole number",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error = resolve("[server]\nlisen = \"127.0.0.1:1\"", &[]).expect_err("a misspelt key");
    assert!(error.contains("line 2: there is no setting server.lisen"), "{error}");
}

#[test]
fn a_file_that_is_no_toml_is_named_with_its_line() {
    let error = resolve("[server]\nlisten = ", &[]).expect_err("no value");
    assert!(error.contains("arom.toml") && error.contains("line 2"), "{error}");
}

/// A secret may stand on the line that cannot be read.
#[test]
fn a_line_that_is_no_toml_is_not_printed() {
    let lines = [
        "webhook_url = user:TOPS3CRET@host/x",
        "webhook_url = \"https://host/a|TOPS3CRET\" x",
        "webhook_url = \"https://host/TOPS3CRET",
        "webhook_url = \"\\TOPS3CRET\"",
        "webhook_secret = TOPS3CRET",
        "TOPS3CRET",
        "a = 1\na = \"TOPS3CRET\"",
        "[TOPS3CRET",
    ];
    for line in lines {
        let error = resolve(&format!("[sink]\n{line}\n"), &[]).expect_err("no TOML");
        assert!(error.contains(", line ") && !error.contains("TOPS3"), "{line}: {error}");
    }
}

#[test]
fn a_message_must_hold_a_text() {
    let error = resolve("", &["--max-message-bytes", "2000"]).expect_err("too small");
    let wanted = "server.max_text_bytes = 65536 (default) must be less than server.max_message_bytes = 2000 (--max-message-bytes)";
    assert!(error.contains(wanted), "{error}");
}
