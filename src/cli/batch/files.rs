//! The files of a run: its output and what stands beside it, none of them another's or an input.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::BatchArgs;
use crate::config::ConfigError;
use crate::dumps::{DumpError, Ending};

/// Where a run writes.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) out: PathBuf,
    /// What grows while the run goes on: the output, or for Parquet, whose index is at its end, its rows.
    pub(super) growing: PathBuf,
    pub(super) rejects: PathBuf,
    pub(super) checkpoint: PathBuf,
    /// The page and its figures, where they are asked for.
    reports: Vec<PathBuf>,
}

impl Files {
    /// Those of a command; no two may be one.
    pub(super) fn of(args: &BatchArgs, ending: Ending) -> Result<Self> {
        let out = args.out.clone();
        let files = Self {
            growing: match ending {
                Ending::Parquet => beside(&out, ".partial.jsonl"),
                Ending::JsonLines(_) | Ending::Csv(_) => out.clone(),
            },
            rejects: args.rejects.clone().unwrap_or_else(|| beside(&out, ".rejects.jsonl")),
            checkpoint: beside(&out, ".checkpoint"),
            reports: args.report.iter().chain(&args.report_json).cloned().collect(),
            out,
        };
        let mut seen: Vec<(PathBuf, &Path)> = Vec::new();
        for path in files.all() {
            let whole = whole(path);
            if let Some((_, other)) = seen.iter().find(|(known, _)| *known == whole) {
                let problem =
                    format!("{} and {} are one file; name another", other.display(), path.display());
                return Err(ConfigError::invalid(problem).into());
            }
            seen.push((whole, path));
        }
        Ok(files)
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        let rows = Some(&self.growing).filter(|growing| **growing != self.out);
        let named = [&self.out, &self.rejects, &self.checkpoint].into_iter();
        named.chain(rows).chain(&self.reports).map(PathBuf::as_path)
    }

    /// Whether a path is one of these, however it is spelt, or on its way to be one.
    pub(super) fn have(&self, path: &Path) -> bool {
        let path = whole(path);
        self.all().any(|own| {
            let own = whole(own);
            own == path || beside(&own, NEXT) == path
        }) || (0..SPOOLS).any(|number| whole(&self.spool(number)) == path)
    }

    /// Where an input that can be read once is kept while it is used.
    pub(super) fn spool(&self, number: usize) -> PathBuf {
        match number {
            0 => beside(&self.out, ".stdin"),
            _ => beside(&self.out, &format!(".stdin-{number}")),
        }
    }

    /// Refuses to write over what no run of this command left; a file without bytes is as good as none.
    pub(super) fn are_free(&self) -> Result<()> {
        if self.checkpoint.exists() {
            return Ok(());
        }
        for path in [&self.out, &self.rejects].into_iter().chain(&self.reports) {
            if fs::metadata(path).is_ok_and(|file| file.len() > 0 || !file.is_file()) {
                let problem = "is there already; name another file, or replace it with --overwrite";
                return Err(ConfigError::invalid(format!("{} {problem}", path.display())).into());
            }
        }
        Ok(())
    }
}

/// Inputs that can be read once, in a run.
pub(super) const SPOOLS: usize = 16;

/// Behind the name of a file that takes another's place when it is whole.
const NEXT: &str = ".next";

/// A path by which the same file is known, there or not.
fn whole(path: &Path) -> PathBuf {
    let in_folder = || {
        let folder = fs::canonicalize(folder(path)).ok()?;
        Some(folder.join(path.file_name()?))
    };
    fs::canonicalize(path).ok().or_else(in_folder).unwrap_or_else(|| path.to_owned())
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A path with something added to its name.
pub(super) fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// Puts a file where it belongs at once: `write` makes it beside its place.
pub(super) fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<(), DumpError>) -> Result<()> {
    let next = beside(path, NEXT);
    write(&next)?;
    let placed = fs::rename(&next, path).and_then(|()| sync_folder(path));
    placed.with_context(|| format!("cannot write {}", path.display()))
}

pub(super) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes a new or renamed file's name last.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}
