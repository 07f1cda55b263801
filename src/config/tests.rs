use super::*;

fn resolve(file: &str, serve: ServeArgs) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("arom.toml");
    fs::write(&path, file).expect("the file is written");
    let common = CommonArgs { config: Some(path), ..CommonArgs::default() };
    Config::resolve(&common, &serve).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}")
    })
}

#[test]
fn flags_go_before_the_file_and_the_file_before_defaults() {
    let file = "[server]\nmax_batch_size = 7\nlisten = \"127.0.0.1:1\"\n[scoring]\nworkers = 3";
    let serve = ServeArgs { listen: Some("127.0.0.1:2".to_owned()), ..ServeArgs::default() };
    let config = resolve(file, serve).expect("good settings");
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.server.max_batch_size, 7);
    assert_eq!(config.scoring.workers, 3);
    assert_eq!(config.server.max_text_bytes, 65_536);
}

#[test]
fn the_example_file_names_every_key_with_its_default() {
    let example = include_str!("../../examples/arom.toml");
    let written = resolve(example, ServeArgs::default()).expect("good settings");
    let defaults = resolve("", ServeArgs::default()).expect("good settings");
    assert_eq!(format!("{written:?}"), format!("{defaults:?}"));
    // With its comments taken away, every key of the file's shape is there.
    let all: String = example
        .lines()
        .filter_map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).or(Some(line)))
        .collect::<Vec<_>>()
        .join("\n");
    let file: File = toml::from_str(&all).expect("good settings");
    assert!(!format!("{file:?}").contains("None"), "a key is missing: {file:?}");
}

#[test]
fn every_fault_is_reported_at_once() {
    let file = "[server]\nlisten = \"here\"\nmax_batch_size = 0\n[scoring]\nworkers = 0";
    let error = resolve(file, ServeArgs::default()).expect_err("bad settings");
    for part in ["server.listen", "\"here\"", "server.max_batch_size", "scoring.workers"] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error =
        resolve("[server]\nlisen = \"127.0.0.1:1\"", ServeArgs::default()).expect_err("a misspelt key");
    assert!(error.contains("lisen") && error.contains("line 2") && error.contains("arom.toml"), "{error}");
}

#[test]
fn a_message_must_hold_a_text() {
    let serve = ServeArgs { max_message_bytes: Some(2000), ..ServeArgs::default() };
    let error = resolve("", serve).expect_err("too small");
    assert!(error.contains("no room for a text of 65536 bytes"), "{error}");
}
