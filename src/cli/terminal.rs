//! Text for terminals.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Result;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::normalize::written;
use crate::visible::{is_obeyed, visible, visible_json};

/// Prints text for people, without colours; false when nobody reads it any more.
pub(super) fn print(text: &str) -> Result<bool> {
    written(io::stdout().lock().write_all(visible(text).as_bytes()))
}

/// Prints JSON.
pub(super) fn print_json(json: &str) -> Result<bool> {
    written(io::stdout().lock().write_all(visible_json(json).as_bytes()))
}

/// Prints a file for programs as it is, and for a terminal as [`print`] does.
pub(super) fn print_file(text: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    let text = if out.is_terminal() { visible(text) } else { text.into() };
    written(out.write_all(text.as_bytes()))
}

/// One line of at most so many columns, cut between grapheme clusters, that tells the terminal nothing.
pub(super) fn shorten(text: &str, columns: usize) -> String {
    let text: String = text.chars().filter(|ch| ch.is_whitespace() || !is_obeyed(*ch)).collect();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.width() <= columns {
        return line;
    }
    let mut kept = String::new();
    for cluster in line.graphemes(true) {
        if kept.width() + cluster.width() + 1 > columns {
            break;
        }
        kept.push_str(cluster);
    }
    kept + "…"
}

/// The text with spaces up to so many columns.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let text = shorten(text, columns);
    let room = columns.saturating_sub(text.width());
    text + &" ".repeat(room)
}
