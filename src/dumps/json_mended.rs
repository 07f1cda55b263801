//! JSON as programs write it that are no strict writers: what is no JSON in it is put right while it is read.
//!
//! | written | read | by |
//! | --- | --- | --- |
//! | `NaN`, `Infinity`, `-Infinity` | `null` | Python's `json.dumps` |
//! | `"\ud83d"`, half of an emoji | `"\ufffd"` | a text that was cut between the two |

use std::io::{self, Read};

/// What is read is looked at in pieces of so many bytes.
const PIECE: usize = 1 << 16;

/// The longest of what is put right: two escapes of a surrogate pair.
const LONGEST: usize = 12;

/// Words that are no JSON, where a value stands.
const NO_NUMBERS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// Puts JSON right while it is read.
pub(super) struct Mended<R> {
    reader: R,
    /// What was read and not looked at yet.
    raw: Vec<u8>,
    ended: bool,
    out: Vec<u8>,
    given: usize,
    inside_text: bool,
}

impl<R: Read> Mended<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, raw: Vec::new(), ended: false, out: Vec::new(), given: 0, inside_text: false }
    }

    /// Reads the next piece, and puts right all of it but the end, which may be the beginning of something.
    fn refill(&mut self) -> io::Result<()> {
        self.out.clear();
        self.given = 0;
        while self.out.is_empty() && !(self.ended && self.raw.is_empty()) {
            if !self.ended {
                let kept = self.raw.len();
                self.raw.resize(kept + PIECE, 0);
                let read = self.raw.get_mut(kept..).map_or(Ok(0), |room| self.reader.read(room));
                self.raw.truncate(kept + *read.as_ref().unwrap_or(&0));
                self.ended = read? == 0;
            }
            let end = if self.ended { self.raw.len() } else { self.raw.len().saturating_sub(LONGEST) };
            let mut at = 0;
            while at < end {
                let Some(rest) = self.raw.get(at..).filter(|rest| !rest.is_empty()) else { break };
                let (used, written) = step(rest, &mut self.inside_text);
                self.out.extend_from_slice(written);
                at += used;
            }
            self.raw.drain(..at.min(self.raw.len()));
        }
        Ok(())
    }
}

/// How many of these bytes are used, and what is read instead of them.
fn step<'a>(rest: &'a [u8], inside_text: &mut bool) -> (usize, &'a [u8]) {
    let same = |count: usize| (count.min(rest.len()), rest.get(..count).unwrap_or(rest));
    match rest {
        [b'"', ..] => {
            *inside_text = !*inside_text;
            same(1)
        }
        // A line ends every text: a quote that is not closed spoils one line.
        [b'\n', ..] => {
            *inside_text = false;
            same(1)
        }
        [b'\\', b'u', ..] if *inside_text => match (escaped(rest), rest.get(6..).and_then(escaped)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => same(12),
            (Some(0xD800..=0xDFFF), _) => (6, b"\\ufffd"),
            _ => same(2),
        },
        [b'\\', _, ..] if *inside_text => same(2),
        _ if *inside_text => same(1),
        _ => match NO_NUMBERS.iter().find(|word| rest.starts_with(word)) {
            Some(word) => (word.len(), b"null"),
            None => same(1),
        },
    }
}

/// The number of an escape such as `\ud83d`.
fn escaped(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

impl<R: Read> Read for Mended<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.out.len() {
            self.refill()?;
        }
        let left = self.out.get(self.given..).unwrap_or_default();
        let count = left.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.given += count;
        Ok(count)
    }
}
