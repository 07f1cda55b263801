//! Text for terminals.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// One line of at most so many columns, cut between grapheme clusters, that tells the terminal nothing.
pub(super) fn shorten(text: &str, columns: usize) -> String {
    let text: String = text.chars().filter(|ch| ch.is_whitespace() || !ch.is_control()).collect();
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
