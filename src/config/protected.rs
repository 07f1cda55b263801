//! The files that no output may be: those that the settings name, the model, the program, the runtime library and the store's.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::keys::{KEYS, Kind};
use super::{Config, Source, layers};
use crate::files::Identity;
use crate::model::locate_runtime;
use crate::profile::Disk;
use crate::sinks::{SinkConfig, current};

const JSONL: &str = "sink.jsonl_folder";
const LETTERS: &str = "sink.webhook_dead_letters";
const STORE: &str = "profile.store";

/// A file that no output may be.
#[derive(Clone, Debug)]
struct Entry {
    path: PathBuf,
    what: String,
    /// The setting that names it.
    key: Option<&'static str>,
}

/// All files that no output may be.
#[derive(Clone, Debug)]
pub(crate) struct Protected {
    entries: Vec<Entry>,
    stores: Vec<PathBuf>,
}

impl Protected {
    pub(super) fn of(config: &Config) -> Self {
        let mut entries = Vec::new();
        let mut add = |path: PathBuf, what: &str, key| {
            entries.push(Entry { path, what: what.to_owned(), key });
        };
        // A variable counts also for a command that has no flag for it: a server may run with it.
        for key in KEYS.iter().filter(|key| matches!(key.kind, Kind::Path(_))) {
            let said = config.said.get(key.name).map(|said| PathBuf::from(&said.value));
            let variable = layers::variable(key.variable).map(PathBuf::from);
            for path in said.into_iter().chain(variable).filter(|path| !path.as_os_str().is_empty()) {
                add(path, &format!("which {} names", key.name), Some(key.name));
            }
        }
        let of_said = config.said.values().filter_map(|said| match &said.source {
            Source::File { file, .. } => Some(file),
            Source::Default | Source::Variable(_) | Source::Flag(_) => None,
        });
        for file in config.file.iter().chain(of_said.take(1)) {
            add(file.clone(), "the settings file", None);
        }
        for path in within(&config.bundle, 2) {
            add(path, "a file of the model", None);
        }
        if let Ok(library) = locate_runtime(config.runtime_library.as_deref()) {
            add(library, "the ONNX Runtime library", None);
        }
        if let Ok(program) = std::env::current_exe() {
            add(program, "the program itself", None);
        }
        let of = |name| entries.iter().filter(move |entry| entry.key == Some(name)).map(|entry| &entry.path);
        let stores: Vec<PathBuf> = of(STORE).cloned().collect();
        let lines = of(JSONL).flat_map(|folder| within(folder, 1).into_iter().chain([current(folder)]));
        let what = format!("a file of {JSONL}");
        let lines =
            lines.map(|path| Entry { path, what: what.clone(), key: Some(JSONL) }).collect::<Vec<_>>();
        entries.extend(lines);
        Self { entries, stores }
    }

    /// Refuses an output that is one of these files by any path or link, or that lies in the folder of a profile store.
    ///
    /// # Errors
    ///
    /// Names the output and what it is.
    pub(crate) fn refuse(&self, output: &Path) -> Result<(), String> {
        let whole = settled(output);
        let is_inside = |store: &Path| whole.parent() == Some(store) || whole.starts_with(Disk::rows(store));
        self.refuse_but(output, &[])?;
        if self.stores_of(&whole).iter().any(|store| is_inside(store)) {
            return Err(format!(
                "{} lies in the folder of a profile store; name another file",
                output.display()
            ));
        }
        Ok(())
    }

    /// As [`refuse`](Self::refuse), of the files of sinks: what their own settings name is theirs, and dead letters may lie beside the
    /// store's files.
    pub(super) fn sink_faults(&self, sinks: &SinkConfig) -> Vec<String> {
        let own = [JSONL, LETTERS];
        let mut faults = Vec::new();
        let mut check = |key: &str, path: &Path| {
            let whole = settled(path);
            let is_store = |store: &PathBuf| whole.starts_with(Disk::rows(store)) || is_own_of(&whole, store);
            let in_store = || {
                let problem = format!("{} is a file of the profile store; name another", path.display());
                self.stores_of(&whole).iter().any(is_store).then_some(problem)
            };
            if let Some(problem) = self.refuse_but(path, &own).err().or_else(in_store) {
                faults.push(format!("{key}: {problem}"));
            }
        };
        let lines = sinks.json_lines.as_ref().map(|lines| current(&lines.folder));
        if let Some(lines) = &lines {
            check(JSONL, lines);
        }
        let letters = sinks.webhook.as_ref().map(|webhook| &webhook.dead_letters);
        if let Some(letters) = letters {
            check(LETTERS, letters);
            // Files that the sink makes beside it.
            for more in ["lock", "new"] {
                check(LETTERS, &letters.with_added_extension(more));
            }
        }
        if let Some((lines, letters)) = lines.as_ref().zip(letters)
            && same(lines, &settled(letters), Identity::at(letters))
        {
            let problem = "is the file of sink.jsonl_folder; name another";
            faults.push(format!("{LETTERS}: {} {problem}", letters.display()));
        }
        if let Some(lines) = &sinks.json_lines
            && self
                .stores
                .iter()
                .any(|store| same(store, &settled(&lines.folder), Identity::at(&lines.folder)))
        {
            let problem = "is the folder of profile.store; name another";
            faults.push(format!("{JSONL}: {} {problem}", lines.folder.display()));
        }
        faults
    }

    fn refuse_but(&self, output: &Path, own: &[&str]) -> Result<(), String> {
        let (whole, identity) = (settled(output), Identity::at(output));
        let is_own = |entry: &Entry| entry.key.is_some_and(|key| own.contains(&key));
        let entry = self.entries.iter().filter(|entry| !is_own(entry));
        let refused = |path: &Path, what: &str| {
            let (output, path) = (output.display(), path.display());
            Err(format!("{output} is the same file as {path}, {what}; name another"))
        };
        if let Some(Entry { path, what, .. }) =
            entry.into_iter().find(|entry| same(&entry.path, &whole, identity))
        {
            return refused(path, what);
        }
        // A hard link to a file of the store lies elsewhere.
        let has_links = fs::metadata(output).is_ok_and(|meta| meta.is_file());
        for store in self.stores.iter().filter(|_| has_links) {
            let files = within(&Disk::rows(store), 5).into_iter().chain(within(store, 1));
            let mut files = files.filter(|path| !self.is_of(path, own));
            if let Some(path) = files.find(|path| identity.is_some() && Identity::at(path) == identity) {
                return refused(&path, "a file of the profile store");
            }
        }
        Ok(())
    }

    /// Whether a file in the store's folder is a sink's own, or beside it: its dead letters.
    fn is_of(&self, path: &Path, own: &[&str]) -> bool {
        let is_rows = |store: &PathBuf| settled(path).starts_with(Disk::rows(&settled(store)));
        !own.is_empty() && !self.stores.iter().any(is_rows) && !path.file_name().is_some_and(Disk::has_file)
    }

    /// The stores that may hold a file: those that the settings name, and every folder above it that looks like one.
    fn stores_of(&self, whole: &Path) -> Vec<PathBuf> {
        let found = whole.ancestors().skip(1).filter(|folder| Disk::is_at(folder)).map(Path::to_owned);
        self.stores.iter().map(|store| settled(store)).chain(found).collect()
    }
}

fn is_own_of(whole: &Path, store: &Path) -> bool {
    whole.parent() == Some(store) && whole.file_name().is_some_and(Disk::has_file)
}

/// Whether a path leads to a file that is known by its own.
fn same(path: &Path, whole: &Path, identity: Option<Identity>) -> bool {
    identity.is_some() && Identity::at(path) == identity || settled(path) == whole
}

/// The files in a folder, and in the folders below it, so many deep.
fn within(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                if depth > 1 {
                    found.extend(within(&entry.path(), depth - 1));
                }
            }
            _ => found.push(entry.path()),
        }
    }
    found
}

/// The path without links as far as it exists, and without `.` and `..` behind that.
fn settled(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for above in path.ancestors() {
        if let Ok(real) = fs::canonicalize(above) {
            let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
            return rest.components().fold(real, |mut whole, part| {
                if part == Component::ParentDir {
                    whole.pop();
                } else {
                    whole.push(part);
                }
                whole
            });
        }
    }
    path
}
