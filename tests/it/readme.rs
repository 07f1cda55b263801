//! What README.md promises of this repository.

use std::fs;
use std::path::Path;

use crate::support::repository;

fn rust_sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            rust_sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push_str(&fs::read_to_string(&path).expect("readable"));
        }
    }
}

#[test]
fn every_test_that_the_comparison_names_is_there() {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("## Beside others").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(2);
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        rust_sources(&repository().join(folder), &mut sources);
    }
    let mut seen = 0;
    for row in rows {
        let last = row.trim_end_matches([' ', '|']).rsplit('|').next().expect("cells").trim();
        if last != "–" {
            let test = last.trim_matches('`');
            assert!(
                sources.contains(&format!("fn {test}()")) || sources.contains(&format!("fn {test}(text")),
                "no test {test}"
            );
            seen += 1;
        }
    }
    assert!(seen >= 12, "{seen} rows");
}
