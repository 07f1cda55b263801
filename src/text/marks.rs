//! Repairs of Thai spelling that cannot be seen on screen: doubled and disordered marks, split vowels.

use super::normalize::Glyph;

const SARA_AA: char = '\u{0E32}';
const SARA_AM: char = '\u{0E33}';
const SARA_E: char = '\u{0E40}';
const SARA_AE: char = '\u{0E41}';
const NIKHAHIT: char = '\u{0E4D}';

/// Puts every Thai cluster into the one spelling that the others look like.
pub(super) fn repair(glyphs: Vec<Glyph>) -> Vec<Glyph> {
    let mut out = Vec::with_capacity(glyphs.len());
    let mut rest = glyphs.as_slice();
    loop {
        rest = match rest {
            [] => return out,
            [first, second, after @ ..] if first.ch == SARA_E && second.ch == SARA_E => {
                out.push(Glyph { ch: SARA_AE, from: first.from, to: second.to });
                after
            }
            [first, ..] if is_mark(first.ch) || first.ch == SARA_AM => {
                let used = Cluster::read(rest);
                let (cluster, after) = rest.split_at(used.length);
                used.write(cluster, &mut out);
                after
            }
            [first, after @ ..] => {
                out.push(*first);
                after
            }
        };
    }
}

/// The marks over and under one consonant, and the SARA AM that may follow them.
#[derive(Default)]
struct Cluster {
    length: usize,
    marks: Vec<char>,
    sara_am: usize,
}

impl Cluster {
    /// Reads marks and SARA AM in any order; NIKHAHIT with SARA AA counts as SARA AM, whatever stands between.
    fn read(glyphs: &[Glyph]) -> Self {
        let mut cluster = Self::default();
        for glyph in glyphs {
            match glyph.ch {
                SARA_AM => cluster.sara_am += 1,
                SARA_AA if cluster.marks.contains(&NIKHAHIT) => {
                    cluster.marks.retain(|&mark| mark != NIKHAHIT);
                    cluster.sara_am += 1;
                }
                mark if is_mark(mark) => {
                    // A mark said twice over one consonant looks like one.
                    if !cluster.marks.contains(&mark) {
                        cluster.marks.push(mark);
                    }
                }
                _ => break,
            }
            cluster.length += 1;
        }
        // A vowel sign goes before a tone mark; the sort is stable, so the rest keeps its order.
        cluster.marks.sort_by_key(|&mark| is_upper_mark(mark));
        cluster
    }

    fn write(&self, source: &[Glyph], out: &mut Vec<Glyph>) {
        let repaired = || self.marks.iter().copied().chain(std::iter::repeat_n(SARA_AM, self.sara_am));
        if source.iter().map(|glyph| glyph.ch).eq(repaired()) {
            out.extend(source);
        } else if let [first, ..] = source
            && let [.., last] = source
        {
            out.extend(repaired().map(|ch| Glyph { ch, from: first.from, to: last.to }));
        }
    }
}

/// A Thai sign that stands over or under the consonant before it.
fn is_mark(ch: char) -> bool {
    matches!(ch, '\u{0E31}' | '\u{0E34}'..='\u{0E3A}' | '\u{0E47}'..='\u{0E4E}')
}

/// Tone marks and what else stands above a vowel sign. NIKHAHIT and MAITAIKHU stand in the vowel's place.
fn is_upper_mark(mark: char) -> bool {
    matches!(mark, '\u{0E48}'..='\u{0E4C}' | '\u{0E4E}')
}
