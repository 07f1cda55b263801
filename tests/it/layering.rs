//! What the compiler would check, were the layers crates of their own.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::repository;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}

/// Code without its comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("readable");
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn pure_code_names_no_runtime_no_transport_no_clock_and_no_file() {
    let src = repository().join("src");
    let mut pure = sources(&src.join("text"));
    pure.extend(sources(&src.join("conversation")));
    pure.extend(sources(&src.join("report")));
    pure.extend(sources(&src.join("profile")));
    let on_disk = src.join("profile/storage/disk");
    pure.retain(|path| {
        !path.starts_with(&on_disk)
            && !path.ends_with("profile/storage/disk.rs")
            && !path.ends_with("profile/keeper.rs")
    });
    for file in [
        "queue.rs",
        "retry_line.rs",
        "window.rs",
        "prepared.rs",
        "explanation.rs",
        "sentiment.rs",
        "evaluation.rs",
        "catalogue.rs",
        "targets.rs",
    ] {
        pure.push(src.join("scoring").join(file));
    }
    pure.push(src.join("model/calibration.rs"));
    for path in pure {
        let code = code(&path);
        for word in [
            "tokio::",
            "tonic::",
            "Instant::now",
            "SystemTime",
            "std::fs",
            "std::io",
            "std::env",
            "std::thread",
        ] {
            assert!(!code.contains(word), "{} names {word}", path.display());
        }
    }
}

#[test]
fn each_foreign_api_is_named_in_one_place() {
    let src = repository().join("src");
    for (word, homes) in [
        ("ort::", vec!["model/session.rs"]),
        ("tokenizers::", vec!["model/tokenizer.rs"]),
        ("Code::", vec!["grpc/status.rs"]),
        ("opentelemetry", vec!["telemetry.rs", "telemetry/traces.rs"]),
        ("prometheus_client", vec!["telemetry/metrics.rs", "telemetry/connections.rs"]),
        ("axum", vec!["http.rs"]),
        ("moka", vec!["scoring/cache.rs", "profile/book.rs"]),
        ("unicode_segmentation", vec!["text/offsets.rs", "cli/terminal.rs"]),
        ("tracing_subscriber", vec!["telemetry.rs", "telemetry/traces.rs"]),
        ("nlpo3", vec!["text/matching/tests.rs"]),
        (
            "hmac",
            vec![
                "conversation/signature.rs",
                "profile/rows.rs",
                "sinks/webhook.rs",
                "grpc/page_token.rs",
                "grpc/profile/watch.rs",
            ],
        ),
        ("ring::", vec!["grpc/page_token.rs", "grpc/profile/watch.rs"]),
        ("ratatui", vec!["cli/profile/live.rs"]),
        ("ureq", vec!["sinks/webhook.rs", "telemetry.rs"]),
        ("prost_reflect", vec!["grpc/json.rs"]),
        ("fjall::", vec!["profile/storage/disk.rs", "profile/storage/disk/open.rs"]),
        ("postcard::", vec!["profile/rows.rs"]),
        ("maud", vec!["cli/chat/html.rs", "report/page.rs"]),
        ("parquet::file", vec!["dumps/parquet.rs"]),
        ("flate2", vec!["dumps/compression.rs"]),
        ("encoding_rs_io", vec!["dumps/read.rs"]),
        ("glob::", vec!["dumps/inputs.rs"]),
        ("aho_corasick", vec!["text/phrases.rs", "conversation/privacy.rs"]),
    ] {
        for path in sources(&src) {
            let home = homes.iter().any(|home| path.ends_with(home));
            let named = code(&path).lines().any(|line| {
                line.match_indices(word)
                    .any(|(at, _)| !line[..at].ends_with(|ch: char| ch.is_alphanumeric() || ch == '_'))
            });
            assert!(home || !named, "{} names {word}", path.display());
        }
    }
}

#[test]
fn files_are_made_in_one_place_so_that_all_are_private() {
    for path in sources(&repository().join("src")) {
        for word in ["File::create", "fs::write(", "OpenOptions::new", "fs::create_dir", "DirBuilder::new"] {
            let named = code(&path).contains(word);
            assert!(
                !named || path.ends_with("src/files.rs"),
                "{} says {word}; use crate::files",
                path.display()
            );
        }
    }
}
