//! Repairs of Thai spelling that cannot be seen on screen: doubled and disordered marks, split vowels.

use super::normalize::Glyph;

const SARA_AA: char = '\u{0E32}';
const SARA_AM: char = '\u{0E33}';
const SARA_E: char = '\u{0E40}';
const SARA_AE: char = '\u{0E41}';
const NIKHAHIT: char = '\u{0E4D}';

/// The marks and letters of Thai fonts from before OpenType, by the places that Windows and the Mac gave them in the private use area:
/// <https://github.com/harfbuzz/harfbuzz/blob/main/src/hb-ot-shaper-thai.cc>.
fn of_unicode(ch: char) -> char {
    match ch {
        '\u{F70A}' | '\u{F88B}' | '\u{F705}' | '\u{F88C}' | '\u{F713}' | '\u{F88A}' => '\u{E48}',
        '\u{F70B}' | '\u{F88E}' | '\u{F706}' | '\u{F88F}' | '\u{F714}' | '\u{F88D}' => '\u{E49}',
        '\u{F70C}' | '\u{F891}' | '\u{F707}' | '\u{F892}' | '\u{F715}' | '\u{F890}' => '\u{E4A}',
        '\u{F70D}' | '\u{F894}' | '\u{F708}' | '\u{F895}' | '\u{F716}' | '\u{F893}' => '\u{E4B}',
        '\u{F70E}' | '\u{F897}' | '\u{F709}' | '\u{F898}' | '\u{F717}' | '\u{F896}' => '\u{E4C}',
        '\u{F710}' | '\u{F884}' => '\u{E31}',
        '\u{F701}' | '\u{F885}' => '\u{E34}',
        '\u{F702}' | '\u{F886}' => '\u{E35}',
        '\u{F703}' | '\u{F887}' => '\u{E36}',
        '\u{F704}' | '\u{F888}' => '\u{E37}',
        '\u{F712}' | '\u{F889}' => '\u{E47}',
        '\u{F711}' | '\u{F899}' => '\u{E4D}',
        '\u{F718}' | '\u{F89B}' => '\u{E38}',
        '\u{F719}' | '\u{F89C}' => '\u{E39}',
        '\u{F71A}' | '\u{F89D}' => '\u{E3A}',
        '\u{F70F}' | '\u{F89A}' => '\u{E0D}',
        '\u{F700}' | '\u{F89E}' => '\u{E10}',
        other => other,
    }
}

/// Puts every mark where it belongs: a blank before it goes, and a tone mark that was typed after SARA AA goes before that.
pub(super) fn attach(glyphs: Vec<Glyph>) -> Vec<Glyph> {
    let mut out: Vec<Glyph> = Vec::with_capacity(glyphs.len());
    for mut glyph in glyphs {
        glyph.ch = of_unicode(glyph.ch);
        if is_mark(glyph.ch) {
            let blanks = out.iter().rev().take_while(|glyph| is_blank(glyph.ch)).count();
            let bearer = out.len().checked_sub(blanks + 1).and_then(|at| out.get(at)).map(|glyph| glyph.ch);
            let bears = |ch: char| is_consonant(ch) || is_mark(ch) || (ch == SARA_AA && is_tone(glyph.ch));
            if bearer.is_some_and(bears) && blanks > 0 {
                let first = out.drain(out.len() - blanks..).next();
                glyph.from = first.map_or(glyph.from, |blank| blank.from);
            }
            if is_tone(glyph.ch)
                && let Some(vowel) = out.pop_if(|last| last.ch == SARA_AA)
            {
                let (from, to) = (vowel.from, glyph.to);
                out.extend([glyph.ch, SARA_AA].map(|ch| Glyph { ch, from, to }));
                continue;
            }
        }
        out.push(glyph);
    }
    out
}

fn is_blank(ch: char) -> bool {
    matches!(ch, ' ' | '\t' | '\u{A0}')
}

fn is_consonant(ch: char) -> bool {
    matches!(ch, '\u{E01}'..='\u{E2E}')
}

fn is_tone(ch: char) -> bool {
    matches!(ch, '\u{E48}'..='\u{E4B}')
}

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
