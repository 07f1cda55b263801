//! The files that are read: found, opened, and looked through once before their rows are used.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use indexmap::IndexSet;
use sha2::{Digest, Sha256};

use super::compression::Compression;
use super::dialect::{Dialect, Format, Given};
use super::limits::{Counting, Exceeded, Inflated, Limits};
use super::read::{self, Reading};
use super::{Cells, DumpError, Item, parquet};
use crate::text::Charset;

/// A dump that was looked through.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name for people.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// How it is written.
    pub dialect: Dialect,
    /// How it is compressed.
    pub compression: Compression,
    /// Its bytes when they are not.
    pub bytes: u64,
    /// SHA-256 of these, in hexadecimal digits.
    pub sha256: String,
    /// The names of its columns; of JSON, those of the first rows.
    pub columns: Vec<String>,
    /// The columns of a Parquet file that hold times and days.
    pub times: parquet::Moments,
    /// Its first rows.
    pub sample: Vec<Cells>,
    /// How large it may be.
    limits: Limits,
}

/// Endings of the files that are taken out of a folder.
const ENDINGS: [&str; 8] = ["csv", "tsv", "ssv", "txt", "jsonl", "ndjson", "json", "parquet"];

/// Bytes of the beginning by which a dialect is found.
const HEAD: usize = 1 << 18;

/// Rows by which the columns are found, and about how many bytes of them.
const SAMPLE: usize = 200;
const SAMPLE_BYTES: u64 = 16 << 20;

/// A file with so many characters of UTF-8 for each wrong byte is UTF-8 that was damaged, and no cp874.
const DAMAGED: u64 = 100;

/// The same of Thai characters: cp874 hardly ever spells one by chance. Each row may be cut inside of one.
const DAMAGED_THAI: u64 = 4;

/// The files that names stand for: themselves, those of a folder and below, those that a pattern fits. Sorted within
/// each name; `except` is left out.
///
/// # Errors
///
/// If a name stands for none.
pub fn find(names: &[PathBuf], except: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, DumpError> {
    let mut found = Vec::new();
    for name in names {
        let text = name.to_string_lossy();
        if name.is_dir() {
            let mut inside = Vec::new();
            walk(name, &mut inside)?;
            let inside = inside.into_iter().filter(|path| is_dump(path) && !except(path));
            let before = found.len();
            found.extend(inside);
            if found.len() == before {
                let endings = ENDINGS.join(", .");
                return Err(DumpError::NoInput(format!(
                    "{text} has no dump in it; taken are .{endings}, also with .gz or .zst"
                )));
            }
        } else if !name.exists() && text.contains(['*', '?', '[']) {
            let fitting = matching(&text)?;
            if fitting.is_empty() {
                return Err(DumpError::NoInput(format!("no file fits {text}")));
            }
            found.extend(fitting.into_iter().filter(|path| path.is_file() && !except(path)));
        } else if name.exists() {
            found.push(name.clone());
        } else {
            return Err(DumpError::NoInput(format!("there is no file {text}")));
        }
    }
    Ok(found)
}

/// Adds the files of a folder and below, sorted. No link is followed: it may lead out of the folder, or in a circle.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), DumpError> {
    let failed = |cause| DumpError::File { path: folder.to_owned(), cause };
    let entries = fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_symlink() {
            if path.is_dir() || is_dump(&path) {
                tracing::warn!(
                    "{} is a link in a folder, and left out; name it to have it read",
                    path.display()
                );
            }
        } else if path.is_dir() {
            walk(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// The files that a pattern fits. One with `**`, which stands for any folders, follows no link behind that.
fn matching(pattern: &str) -> Result<Vec<PathBuf>, DumpError> {
    let unusable = |error| DumpError::NoInput(format!("{pattern} is no pattern of files: {error}"));
    if let Some((before, _)) = pattern.split_once("**") {
        let whole = glob::Pattern::new(pattern).map_err(unusable)?;
        let before = before.split_once(['*', '?', '[']).map_or(before, |(before, _)| before);
        let folder = before.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folder = if before.starts_with('/') && folder.is_empty() { "/" } else { folder };
        let here = Path::new(".");
        let mut inside = Vec::new();
        walk(if folder.is_empty() { here } else { Path::new(folder) }, &mut inside)?;
        let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
        let inside = inside.into_iter().map(|path| match path.strip_prefix(here) {
            Ok(path) if folder.is_empty() => path.to_owned(),
            _ => path,
        });
        return Ok(inside.filter(|path| whole.matches_path_with(path, options)).collect());
    }
    let paths = glob::glob(pattern).map_err(unusable)?;
    let read = |path: Result<PathBuf, glob::GlobError>| {
        path.map_err(|error| DumpError::File { path: error.path().to_owned(), cause: error.into() })
    };
    paths.map(read).collect()
}

/// The ending of a name, that of a compression left aside.
fn ending(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    name.rsplit_once('.').map(|(_, ending)| ending.to_owned()).unwrap_or_default()
}

fn is_dump(path: &Path) -> bool {
    path.is_file() && ENDINGS.contains(&ending(path).as_str())
}

impl Source {
    /// Looks through a file: its letters and dialect, its hash, its first rows.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is empty, larger than its limits, or its beginning is broken.
    pub fn survey(path: &Path, name: &str, given: Given) -> Result<Self, DumpError> {
        let (compression, mut reader) = open(path, given.limits)?;
        let failed = |cause: io::Error| match Exceeded::of(&cause) {
            Some(limit) => DumpError::Limit { name: name.to_owned(), problem: limit.to_string() },
            None => DumpError::File { path: path.to_owned(), cause },
        };
        let (mut digest, mut bytes, mut head) = (Sha256::new(), 0_u64, Vec::new());
        let mut letters = Letters::default();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = reader.read(&mut buffer).map_err(failed)?;
            let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
            digest.update(read);
            bytes += count as u64;
            letters.add(read);
            let room = HEAD.saturating_sub(head.len());
            head.extend(read.iter().take(room));
        }
        if bytes == 0 {
            return Err(DumpError::Empty(name.to_owned()));
        }
        let hash = digest.finalize();
        let is_parquet = head.starts_with(b"PAR1") && matches!(given.format, None | Some(Format::Parquet));
        let dialect = if is_parquet {
            Dialect { format: Format::Parquet, charset: Charset::Utf8 }
        } else {
            let charset = Charset::detect(&head, letters.are_utf8());
            Dialect::detect(&head, charset, given, ending(path) == "txt").map_err(|problem| {
                let problem = problem.replace("FILE", name);
                DumpError::NoInput(format!("{name} {problem}"))
            })?
        };
        if dialect.format == Format::Parquet && compression != Compression::None {
            let problem = "is Parquet inside of another compression; unpack it first".to_owned();
            return Err(DumpError::Parquet { path: path.to_owned(), problem });
        }
        let mut source = Self {
            name: name.to_owned(),
            path: path.to_owned(),
            dialect,
            compression,
            bytes,
            sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            columns: Vec::new(),
            times: Vec::new(),
            sample: Vec::new(),
            limits: given.limits,
        };
        source.look()?;
        Ok(source)
    }

    /// The first rows, and the columns.
    fn look(&mut self) -> Result<(), DumpError> {
        let (mut sample, mut first_bad, reading) = (Vec::new(), None, Reading::default());
        let head = self.read(&reading, &mut |item| {
            match item {
                Item::Row(row) => sample.push(row.cells),
                Item::Bad(bad) => first_bad = first_bad.take().or(Some(bad)),
            }
            let is_full = sample.len() >= SAMPLE || reading.bytes.load(Ordering::Relaxed) > SAMPLE_BYTES;
            if is_full && !sample.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // What is broken further down is told when its rows are used.
        match head {
            Ok(()) => {}
            Err(error @ DumpError::Limit { .. }) => return Err(error),
            Err(error) if sample.is_empty() => return Err(error),
            Err(_) => {}
        }
        let is_json = matches!(self.dialect.format, Format::JsonLines | Format::JsonArray);
        if let Some(bad) = first_bad.filter(|_| is_json && sample.is_empty()) {
            return Err(self.broken(format!("row {}", bad.line), bad.reason));
        }
        match self.dialect.format {
            Format::Parquet => (self.columns, self.times) = parquet::columns(&self.path)?,
            Format::Csv { delimiter, header, titles } => {
                let (_, reader) = open(&self.path, self.limits)?;
                let reader = read::Counted::new(reader, &Reading::default()).separated_by(delimiter);
                self.columns = read::head(reader, self.dialect.charset, delimiter, header, titles);
            }
            Format::Text | Format::JsonLines | Format::JsonArray => {
                let names: IndexSet<&String> = sample.iter().flat_map(Cells::keys).collect();
                self.check_columns(names.len())?;
                self.columns = names.into_iter().cloned().collect();
            }
        }
        self.sample = sample;
        Ok(())
    }

    /// The names of all columns: JSON is read through for them.
    ///
    /// # Errors
    ///
    /// If it is broken.
    pub fn all_columns(&self) -> Result<Vec<String>, DumpError> {
        let mut names: IndexSet<String> = self.columns.iter().cloned().collect();
        if matches!(self.dialect.format, Format::JsonLines | Format::JsonArray) {
            self.read(&Reading::default(), &mut |item| {
                if let Item::Row(row) = item {
                    names.extend(row.cells.into_iter().map(|(name, _)| name));
                }
                let goes_on = names.len() <= self.limits.columns;
                if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        self.check_columns(names.len())?;
        Ok(names.into_iter().collect())
    }

    /// Gives its rows and what is none, in their order, until told to stop.
    ///
    /// # Errors
    ///
    /// If what follows a place cannot be found, or the file is no longer as long as it was; what is before was given.
    pub fn read(
        &self,
        reading: &Reading,
        each: &mut dyn FnMut(Item) -> ControlFlow<()>,
    ) -> Result<(), DumpError> {
        match self.dialect.format {
            Format::Parquet => parquet::read(&self.path, &self.name, self.limits, reading, each),
            format @ (Format::Csv { .. } | Format::Text | Format::JsonLines | Format::JsonArray) => {
                let (_, reader) = open(&self.path, self.limits)?;
                let reader = read::Counted::new(reader, reading);
                let reader = match format {
                    Format::Csv { delimiter, .. } => reader.separated_by(delimiter),
                    Format::Text | Format::JsonLines | Format::JsonArray | Format::Parquet => reader,
                };
                let count = reader.count();
                let mut stopped = false;
                let read = read::read(format, self.dialect.charset, self.limits, reader, &mut |item| {
                    let flow = each(item);
                    stopped |= flow.is_break();
                    flow
                });
                read.map_err(|fault| self.failed(fault))?;
                if !stopped && count.get() != self.bytes {
                    return Err(
                        self.broken("at its end".to_owned(), "has changed while it was read".to_owned())
                    );
                }
                Ok(())
            }
        }
    }

    /// What the system could not read may be read another time; what a decoder could not is broken for good.
    fn failed(&self, fault: read::Fault) -> DumpError {
        if let Some(limit) = Exceeded::of(&fault.cause) {
            DumpError::Limit { name: self.name.clone(), problem: limit.to_string() }
        } else if fault.cause.raw_os_error().is_some() {
            DumpError::File { path: self.path.clone(), cause: fault.cause }
        } else {
            self.broken(fault.place, fault.cause.to_string())
        }
    }

    fn check_columns(&self, count: usize) -> Result<(), DumpError> {
        let limit =
            |limit: Exceeded| DumpError::Limit { name: self.name.clone(), problem: limit.to_string() };
        self.limits.check_columns(count).map_err(limit)
    }

    fn broken(&self, place: String, problem: String) -> DumpError {
        DumpError::Broken { name: self.name.clone(), place, problem }
    }
}

fn open(path: &Path, limits: Limits) -> Result<(Compression, Box<dyn Read>), DumpError> {
    let failed = |cause| DumpError::File { path: path.to_owned(), cause };
    let file = Counting::new(File::open(path).map_err(failed)?);
    let packed = file.count();
    let mut file = BufReader::with_capacity(1 << 16, file);
    let head = io::BufRead::fill_buf(&mut file).map_err(failed)?;
    let compression = Compression::detect(head);
    let reader = compression.reader(file).map_err(failed)?;
    Ok((
        compression,
        match compression {
            Compression::None => reader,
            Compression::Gzip | Compression::Zstd => Box::new(Inflated::new(reader, packed, limits)),
        },
    ))
}

/// Counts what is UTF-8 and what is not, chunk after chunk.
#[derive(Debug, Default)]
struct Letters {
    characters: u64,
    thai: u64,
    wrong: u64,
    /// The beginning of a character whose rest is in the next chunk.
    begun: Vec<u8>,
}

impl Letters {
    fn add(&mut self, bytes: &[u8]) {
        let joined;
        let mut bytes = bytes;
        if !self.begun.is_empty() {
            joined = [self.begun.as_slice(), bytes].concat();
            self.begun.clear();
            bytes = &joined;
        }
        let mut left = bytes.len();
        for chunk in bytes.utf8_chunks() {
            for ch in chunk.valid().chars() {
                self.characters += u64::from(!ch.is_ascii());
                self.thai += u64::from(('\u{E00}'..='\u{E7F}').contains(&ch));
            }
            left -= chunk.valid().len() + chunk.invalid().len();
            if chunk.invalid().is_empty() {
                continue;
            }
            // Fewer than four bytes at the end may be the beginning of a character.
            if left == 0 && chunk.invalid().first().is_some_and(|byte| *byte >= 0xC2) {
                self.begun = chunk.invalid().to_vec();
            } else {
                self.wrong += 1;
            }
        }
    }

    fn are_utf8(&self) -> bool {
        self.characters >= DAMAGED * self.wrong || self.thai >= DAMAGED_THAI * self.wrong
    }
}
