//! The thread that writes: rows in blocks, each of them on the disk before the checkpoint says so.
//!
//! A block is of a fixed number of rows, whatever the time, so that a run that was stopped and begun again writes the
//! same bytes as one that was not: also where each block is a member of gzip or a frame of Zstandard of its own.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::answer::{Answer, is_added};
use super::checkpoint::{Checkpoint, Reached};
use super::files::remove_if_there;
use super::record::Recorder;
use super::steps::{Content, Input, Step};
use crate::dumps::{Cells, Compression, Ending, encode_rows};
use crate::files as private;

/// Rows of the dumps in a block.
pub(super) const BLOCK: usize = 1024;

/// A block has no further row once its rows have so many bytes.
const BLOCK_BYTES: usize = 16 << 20;

/// What a run looks like from outside while it goes on.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) read: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) cache_hits: AtomicU64,
}

/// What is written, and how.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) ending: Ending,
    /// The columns of a CSV file.
    pub(super) columns: Vec<String>,
    /// Before the names of the columns that are added.
    pub(super) prefix: String,
    /// The column that names the dump of a row, if there are several.
    pub(super) source_column: Option<String>,
    pub(super) inputs: Arc<[Input]>,
    pub(super) output: Output,
    pub(super) rejects: PathBuf,
    pub(super) checkpoint: Checkpoint,
    pub(super) reached: Reached,
    pub(super) recorder: Option<Recorder>,
    pub(super) max_errors: Option<u64>,
    /// Whether the columns of the dumps are escaped in CSV; those that are added always are.
    pub(super) escape_formulas: bool,
    pub(super) progress: Arc<Progress>,
}

/// A file that grows by whole blocks. Nobody else writes it meanwhile.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) path: PathBuf,
    file: File,
}

impl Output {
    /// Opens the output that the user named, or makes it; nothing of it changes yet. A link to a file is followed.
    pub(super) fn lock(path: &Path) -> Result<Self> {
        Self::locked(path, private::open(path, private::options().write(true)))
    }

    /// As [`lock`](Self::lock), of a file that Arom made itself: no link is followed.
    pub(super) fn lock_own(path: &Path) -> Result<Self> {
        Self::locked(path, private::open_own(path))
    }

    /// As [`lock`](Self::lock), of a file that is not there yet.
    fn lock_new(path: &Path) -> Result<Self> {
        Self::locked(path, private::create_new(path))
    }

    fn locked(path: &Path, file: io::Result<File>) -> Result<Self> {
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), file }),
            Err(fs::TryLockError::WouldBlock) => {
                Err(anyhow!("another arom batch is writing {}", path.display()))
            }
            Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Goes on where `bytes` of it end; what is behind them was not noted.
    pub(super) fn go_on_at(&self, bytes: u64) -> Result<()> {
        let there = self.file.metadata().with_context(|| self.name())?.len();
        if there < bytes {
            bail!(
                "{} has {there} bytes, and the checkpoint says that {bytes} were written; begin anew with --overwrite",
                self.path.display()
            );
        }
        self.cut(bytes).with_context(|| self.name())
    }

    fn name(&self) -> String {
        format!("cannot write {}", self.path.display())
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        (&self.file).seek(SeekFrom::Start(bytes)).map(drop)
    }

    /// Adds bytes and waits until they are on the disk; if that fails the file ends where it did.
    fn add(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let written = (&self.file).write_all(bytes).and_then(|()| self.file.sync_data());
        written.map_err(|error| {
            let cut = self.cut(at);
            let error = anyhow::Error::from(error);
            let error = match cut {
                Ok(()) => error,
                Err(cut) => error.context(format!("and it cannot be cut to its good part: {cut}")),
            };
            error.context(self.name())
        })
    }
}

impl Writer {
    /// Writes what comes until it ends. What is no whole block is written only if `whole` is said before the end.
    pub(super) fn run(
        mut self,
        mut done: mpsc::Receiver<Step<Answer>>,
        whole: &std::sync::atomic::AtomicBool,
    ) -> Result<(Self, Reached)> {
        let mut rejects = None;
        let (mut block, mut bytes) = (Vec::with_capacity(BLOCK), 0);
        while let Some(mut next) = done.blocking_recv() {
            // Whoever reads may read on: a block is small enough.
            drop(next.room.take());
            bytes += next.bytes;
            block.push(next);
            if block.len() == BLOCK || bytes >= BLOCK_BYTES {
                self.commit(&mut rejects, std::mem::take(&mut block))?;
                bytes = 0;
            }
        }
        // A dump without rows gives a table without rows, and no file without a head.
        if (!block.is_empty() || self.reached.output_bytes == 0) && whole.load(Ordering::Acquire) {
            self.commit(&mut rejects, block)?;
        }
        if let Some(recorder) = &self.recorder {
            recorder.sum_up();
        }
        let reached = self.reached;
        Ok((self, reached))
    }

    fn commit(&mut self, rejects: &mut Option<Output>, block: Vec<Step<Answer>>) -> Result<()> {
        let Reached { read, output_bytes, rejects_bytes, mut counts } = self.reached;
        let read = read + block.len() as u64;
        let (mut rows, mut refused, mut hits) = (Vec::with_capacity(block.len()), Vec::new(), 0);
        let mut events = Vec::new();
        for Step { source, line, content, .. } in block {
            match content {
                Content::Row(mut cells, text, answer) => {
                    counts.rows += 1;
                    counts.damaged += u64::from(text.contains(char::REPLACEMENT_CHARACTER));
                    hits += u64::from(answer.cache_hit);
                    if let (Some(recorder), Some(input)) = (&mut self.recorder, self.inputs.get(source)) {
                        match recorder.event(&cells, &input.columns, &text, &answer) {
                            Ok(event) => events.push((line, event)),
                            Err(why) => {
                                counts.unrecorded += 1;
                                recorder.tell(line, &why);
                            }
                        }
                    }
                    if let Some(column) = &self.source_column {
                        cells.insert(column.clone(), self.name(source).into());
                    }
                    answer.add_to(&mut cells, &self.prefix);
                    rows.push(cells);
                }
                Content::Bad(content, reason) => {
                    counts.rejected += 1;
                    let reject = json!({
                        "source": self.name(source), "line": line, "reason": reason, "row": content
                    });
                    append_line(&mut refused, &reject)?;
                }
            }
        }
        let bytes = self.encode(output_bytes == 0, &rows)?;
        self.output.add(output_bytes, &bytes)?;
        if !refused.is_empty() {
            if rejects.is_none() {
                let output = if rejects_bytes == 0 {
                    Output::lock_new(&self.rejects)?
                } else {
                    Output::lock_own(&self.rejects)?
                };
                output.go_on_at(rejects_bytes)?;
                *rejects = Some(output);
                private::sync_folder_of(&self.rejects)?;
            }
            if let Some(rejects) = rejects {
                rejects.add(rejects_bytes, &refused)?;
            }
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.record(events, &mut counts)?;
        }
        let reached = Reached {
            read,
            output_bytes: output_bytes + bytes.len() as u64,
            rejects_bytes: rejects_bytes + refused.len() as u64,
            counts,
        };
        self.checkpoint.note(reached).context("cannot write the checkpoint")?;
        self.reached = reached;
        self.progress.read.store(read, Ordering::Relaxed);
        self.progress.rejected.store(counts.rejected, Ordering::Relaxed);
        self.progress.cache_hits.fetch_add(hits, Ordering::Relaxed);
        check_errors(counts.rejected, self.max_errors, &self.rejects)
    }

    fn name(&self, source: usize) -> &str {
        self.inputs.get(source).map_or("", |input| input.source.name.as_str())
    }

    fn encode(&self, first: bool, rows: &[Cells]) -> Result<Vec<u8>> {
        let escaped = |name: &str| self.escape_formulas || is_added(name, &self.prefix);
        let bytes = encode_rows(self.ending, &self.columns, first, rows, escaped)?;
        let compression = match self.ending {
            Ending::JsonLines(compression) | Ending::Csv(compression) => compression,
            Ending::Parquet => Compression::None,
        };
        if bytes.is_empty() && !first {
            Ok(bytes)
        } else {
            compression.pack(bytes).context("cannot compress")
        }
    }

    /// Takes what an earlier run noted: the file of rejects is cut to it as the output is.
    pub(super) fn cut_rejects(path: &Path, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return remove_if_there(path);
        }
        Output::lock_own(path)?.go_on_at(bytes)
    }

    /// The run is whole: there is no more to go on from.
    pub(super) fn finish(self) -> Result<()> {
        self.checkpoint.remove()
    }
}

/// Stops a run with too many rows that are refused.
pub(super) fn check_errors(refused: u64, most: Option<u64>, rejects: &Path) -> Result<()> {
    match most {
        Some(most) if refused > most => bail!(
            "{refused} rows are refused, more than --max-errors {most}; {} says why; to go on allow more",
            rejects.display()
        ),
        _ => Ok(()),
    }
}

fn append_line(bytes: &mut Vec<u8>, value: &Value) -> Result<()> {
    serde_json::to_writer(&mut *bytes, value).context("a reject cannot be written as JSON")?;
    bytes.push(b'\n');
    Ok(())
}
