//! The files of a run: its output and what stands beside it, none of them another's or an input.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::BatchArgs;
use super::checkpoint::is_checkpoint;
use crate::config::{ConfigError, Protected};
use crate::dumps::{DumpError, Ending};
use crate::files::{self as private, DANGLING, Identity, leads_nowhere, standard_files, sync_folder_of};

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
        let mut seen: Vec<(PathBuf, Option<Identity>, &Path)> = Vec::new();
        for path in files.all() {
            if leads_nowhere(path) {
                return Err(ConfigError::invalid(format!("{} {DANGLING}", path.display())).into());
            }
            if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
                let problem = format!("{} is no plain file; name another", path.display());
                return Err(ConfigError::invalid(problem).into());
            }
            let (whole, identity) = (whole(path), Identity::at(path));
            let same = |other: &Option<Identity>| identity.is_some() && identity == *other;
            if let Some((.., other)) = seen.iter().find(|(known, other, _)| *known == whole || same(other)) {
                let problem =
                    format!("{} and {} are one file; name another", other.display(), path.display());
                return Err(ConfigError::invalid(problem).into());
            }
            seen.push((whole, identity, path));
        }
        for (name, stream) in standard_files() {
            files.are_not_open(&stream, name)?;
        }
        Ok(files)
    }

    /// The files that are made and gone again within a run, those that keep pipes not counted.
    fn passing(&self) -> impl Iterator<Item = PathBuf> {
        let out = Some(&self.out).filter(|out| **out != self.growing);
        out.into_iter().chain(&self.reports).chain([&self.checkpoint]).map(|path| beside(path, NEXT))
    }

    /// Whether an earlier run of Arom left its checkpoint; a file of that name which is none is refused.
    fn are_of_a_run(&self) -> Result<bool> {
        private::is_left_or_free(&self.checkpoint, is_checkpoint)
            .with_context(|| self.checkpoint.display().to_string())
            .map_err(|error| ConfigError::invalid(format!("{error:#}")))?;
        Ok(fs::metadata(&self.checkpoint).is_ok_and(|meta| meta.len() > 0))
    }

    /// Refuses a run where somebody's file is in the place of one that it makes for itself, whatever `--overwrite` says.
    ///
    /// # Errors
    ///
    /// Names the file.
    pub(super) fn own_are_free(&self) -> Result<()> {
        let is_of_a_run = self.are_of_a_run()?;
        let rows = Some(self.growing.clone()).filter(|growing| *growing != self.out);
        for path in self.passing().chain(rows) {
            private::is_left_or_free(&path, |head| is_of_a_run || is_checkpoint(head))
                .with_context(|| path.display().to_string())
                .map_err(|error| ConfigError::invalid(format!("{error:#}")))?;
        }
        Ok(())
    }

    /// Removes what a run that was killed left of files that are made anew. [`own_are_free`](Self::own_are_free) comes first.
    pub(super) fn clear(&self) -> Result<()> {
        self.passing().try_for_each(|path| remove_if_there(&path))
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        let rows = Some(&self.growing).filter(|growing| **growing != self.out);
        let named = [&self.out, &self.rejects, &self.checkpoint].into_iter();
        named.chain(rows).chain(&self.reports).map(PathBuf::as_path)
    }

    /// Whether a path is one of these, however it is spelt, or on its way to be one. A link to one is not; see
    /// [`are_not`](Self::are_not).
    pub(super) fn have(&self, path: &Path) -> bool {
        let path = place(path);
        self.all().any(|own| {
            let own = place(own);
            own == path || beside(&own, NEXT) == path
        }) || (0..SPOOLS).any(|number| place(&self.spool(number)) == path)
    }

    /// Refuses a run that would write over a file of the settings, the model, the program or a profile store.
    ///
    /// # Errors
    ///
    /// Names both.
    pub(super) fn are_not_protected(&self, protected: &Protected) -> Result<()> {
        let own = self.written();
        let refused = own.iter().try_for_each(|own| protected.refuse(own));
        refused.map_err(|problem| ConfigError::invalid(problem).into())
    }

    /// Every path that a run may write to.
    fn written(&self) -> Vec<PathBuf> {
        let beside = self.all().map(|own| beside(own, NEXT));
        let spools = (0..SPOOLS).map(|number| self.spool(number));
        self.all().map(Path::to_owned).chain(beside).chain(spools).collect()
    }

    /// Refuses a run one of whose files is one that it reads, by a hard link, a symbolic link or another mount.
    ///
    /// # Errors
    ///
    /// Names both.
    pub(super) fn are_not(&self, read: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<()> {
        read.into_iter().try_for_each(|path| {
            let path = path.as_ref();
            let name = path.display().to_string();
            fs::metadata(path).map_or(Ok(()), |meta| self.are_not_open(&meta, &name))
        })
    }

    /// As [`are_not`](Self::are_not), of something that is open.
    ///
    /// # Errors
    ///
    /// The same.
    pub(super) fn are_not_open(&self, read: &Metadata, name: &str) -> Result<()> {
        let identity = Some(Identity::of(read)).filter(|_| read.is_file());
        let same = self.written().into_iter().find(|own| identity.is_some() && Identity::at(own) == identity);
        same.map_or(Ok(()), |own| {
            let act = if ["stdout", "stderr"].contains(&name) { "written" } else { "read" };
            let problem =
                format!("{} is the same file as {name}, which is {act}; name another", own.display());
            Err(ConfigError::invalid(problem).into())
        })
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
        if self.are_of_a_run()? {
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
    fs::canonicalize(path).unwrap_or_else(|_| place(path))
}

/// A path by which the same name in the same folder is known, a link by its own.
fn place(path: &Path) -> PathBuf {
    let in_folder = || {
        let folder = fs::canonicalize(folder(path)).ok()?;
        Some(folder.join(path.file_name()?))
    };
    in_folder().unwrap_or_else(|| path.to_owned())
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
    write(&next).inspect_err(|error| {
        let is_anothers =
            matches!(error, DumpError::File { cause, .. } if cause.kind() == io::ErrorKind::AlreadyExists);
        if !is_anothers {
            // What is left of it is of no use; that it could not be written is what is told.
            fs::remove_file(&next).unwrap_or_default();
        }
    })?;
    let placed = fs::rename(&next, path).and_then(|()| sync_folder_of(path));
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
