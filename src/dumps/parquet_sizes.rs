//! What a Parquet file says of its own size, looked at before the library reads it: its index, its columns and every page.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::Path;

use super::DumpError;
use super::limits::{Exceeded, Limits};
use super::thrift::Values;

/// The index is taken into memory whole, and grows there to about forty times its size.
const INDEX_BYTES: u64 = 16 << 20;

/// Columns inside of columns: the library calls itself for each.
const DEPTH: usize = 32;

/// One page is taken into memory whole, packed and inflated.
const PAGE_BYTES: u64 = 64 << 20;

/// The largest pages of all columns of a row group are in memory at once.
const PAGES_BYTES: u64 = 512 << 20;

/// The kind of a page that holds a dictionary.
const DICTIONARY: i64 = 2;

/// A column of a row group: where its pages are.
#[derive(Clone, Copy, Debug, Default)]
struct Chunk {
    dictionary_at: Option<u64>,
    data_at: u64,
    bytes: u64,
}

/// Refuses a file whose parts are larger than the limits, or do not say how large they are.
///
/// # Errors
///
/// If it is refused, is no Parquet, or cannot be read.
pub(super) fn check(path: &Path, name: &str, limits: Limits) -> Result<(), DumpError> {
    let checked = File::open(path).and_then(|file| look(file, limits));
    checked.map_err(|error| match Exceeded::of(&error) {
        Some(exceeded) => DumpError::Limit { name: name.to_owned(), problem: exceeded.to_string() },
        None if error.raw_os_error().is_some() => DumpError::File { path: path.to_owned(), cause: error },
        None => {
            DumpError::Parquet { path: path.to_owned(), problem: format!("its index is broken: {error}") }
        }
    })
}

fn exceeded(problem: String) -> io::Error {
    io::Error::other(Exceeded::Parquet(problem))
}

fn look(mut file: File, limits: Limits) -> io::Result<()> {
    let packed = file.seek(SeekFrom::End(0))?;
    if packed < 12 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut tail = [0; 8];
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut tail)?;
    let [a, b, c, d, ..] = tail;
    let index_bytes = u64::from(u32::from_le_bytes([a, b, c, d]));
    if index_bytes > INDEX_BYTES {
        return Err(exceeded(format!(
            "has an index of {index_bytes} bytes, at most {INDEX_BYTES} are taken"
        )));
    }
    let Some(index_at) = (packed - 8).checked_sub(index_bytes) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    file.seek(SeekFrom::Start(index_at))?;
    let groups = index(BufReader::new(&file).take(index_bytes), limits)?;
    let mut inflated = 0;
    for chunks in groups {
        let mut held = 0;
        for chunk in chunks {
            let (largest, all) = pages(&file, chunk)?;
            held += largest;
            inflated += all;
        }
        if held > PAGES_BYTES {
            let problem =
                format!("needs {held} bytes of memory for its pages, at most {PAGES_BYTES} are taken");
            return Err(exceeded(problem));
        }
        limits.check(packed, inflated).map_err(io::Error::other)?;
    }
    Ok(())
}

/// The columns of the row groups, if there are not too many.
fn index(reader: impl Read, limits: Limits) -> io::Result<Vec<Vec<Chunk>>> {
    let mut groups = Vec::new();
    // As the library does, the number of a field says what it is, whatever kind it claims to be.
    Values::new(reader).fields(&mut |values, field| match field {
        // FileMetaData.schema
        2 => schema(values, limits).map(|()| true),
        // FileMetaData.row_groups
        4 => {
            for _ in 0..values.list()? {
                let mut chunks = Vec::new();
                values.fields(&mut |values, field| {
                    // RowGroup.columns
                    if field != 1 {
                        return Ok(false);
                    }
                    for _ in 0..values.list()? {
                        chunks.push(chunk(values)?);
                    }
                    Ok(true)
                })?;
                groups.push(chunks);
            }
            Ok(true)
        }
        _ => Ok(false),
    })?;
    Ok(groups)
}

/// A schema is a list of its elements, each with how many of those that follow are inside of it.
fn schema<R: Read>(values: &mut Values<R>, limits: Limits) -> io::Result<()> {
    let (mut leaves, mut open) = (0, Vec::new());
    for _ in 0..values.list()? {
        let mut children = 0;
        values.fields(&mut |values, field| {
            let is_children = field == 5;
            children = if is_children { values.number()? } else { children };
            Ok(is_children)
        })?;
        if children > 0 {
            open.push(children);
            if open.len() > DEPTH {
                return Err(exceeded(format!("has columns inside of columns more than {DEPTH} deep")));
            }
            continue;
        }
        leaves += 1;
        limits.check_columns(leaves).map_err(io::Error::other)?;
        while let Some(left) = open.last_mut() {
            *left -= 1;
            if *left > 0 {
                break;
            }
            open.pop();
        }
    }
    Ok(())
}

fn chunk<R: Read>(values: &mut Values<R>) -> io::Result<Chunk> {
    let mut chunk = Chunk::default();
    values.fields(&mut |values, field| {
        // ColumnChunk.meta_data
        if field != 3 {
            return Ok(false);
        }
        values.fields(&mut |values, field| {
            if ![7, 9, 11].contains(&field) {
                return Ok(false);
            }
            let number = u64::try_from(values.number()?).unwrap_or(0);
            match field {
                7 => chunk.bytes = number,
                9 => chunk.data_at = number,
                _ => chunk.dictionary_at = Some(number).filter(|at| *at > 0),
            }
            Ok(true)
        })?;
        Ok(true)
    })?;
    Ok(chunk)
}

/// Bytes of the largest pages of a column that are in memory at once, and of all.
fn pages(mut file: &File, chunk: Chunk) -> io::Result<(u64, u64)> {
    let mut at = chunk.dictionary_at.map_or(chunk.data_at, |dictionary| dictionary.min(chunk.data_at));
    let end = at.saturating_add(chunk.bytes);
    let (mut dictionary, mut data, mut all) = (0, 0, 0);
    while at < end {
        file.seek(SeekFrom::Start(at))?;
        let (mut kind, mut inflated, mut packed) = (0, 0, 0);
        let mut values = Values::new(BufReader::with_capacity(256, file.take(end - at)));
        values.fields(&mut |values, field| {
            let wanted = match field {
                1 => &mut kind,
                2 => &mut inflated,
                3 => &mut packed,
                _ => return Ok(false),
            };
            *wanted = values.number()?;
            Ok(true)
        })?;
        let [inflated, packed] = [inflated, packed].map(|size| u64::try_from(size).unwrap_or(u64::MAX));
        let largest = inflated.max(packed);
        if largest > PAGE_BYTES {
            return Err(exceeded(format!("has a page of {largest} bytes, at most {PAGE_BYTES} are taken")));
        }
        let held = if kind == DICTIONARY { &mut dictionary } else { &mut data };
        *held = largest.max(*held);
        all += inflated;
        at += values.count + packed;
    }
    Ok((dictionary + data, all))
}
