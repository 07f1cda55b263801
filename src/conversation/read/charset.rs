//! The letters of a file: UTF-8, UTF-16, or Thai Windows' cp874.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_874};

/// How a file spells its letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8, with or without a mark at the beginning.
    Utf8,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
    /// Windows-874, which is TIS-620 and some marks.
    Cp874,
}

impl Charset {
    /// Its name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf16Le => "utf-16le",
            Self::Utf16Be => "utf-16be",
            Self::Cp874 => "cp874",
        }
    }
}

/// Direction marks around names, and characters that show nothing; a joiner stays, for emoji are made with it.
fn is_dropped(ch: char) -> bool {
    matches!(ch, '\u{2066}'..='\u{2069}' | '\u{200B}' | '\u{200C}' | '\u{200E}' | '\u{200F}' | '\u{FEFF}')
}

/// The text of a file, and how it was spelt. Lines end in `\n` alone.
pub(super) fn decode(bytes: &[u8]) -> (String, Charset) {
    let charset = detect(bytes);
    let encoding: &Encoding = match charset {
        Charset::Utf8 => UTF_8,
        Charset::Utf16Le => UTF_16LE,
        Charset::Utf16Be => UTF_16BE,
        Charset::Cp874 => WINDOWS_874,
    };
    let (text, _, _) = encoding.decode(bytes);
    let text = text.replace("\r\n", "\n");
    (text.chars().filter(|ch| !is_dropped(*ch)).collect(), charset)
}

fn detect(bytes: &[u8]) -> Charset {
    // So much of a file tells UTF-16 from bytes by its zeros.
    let head = bytes.get(..4096).unwrap_or(bytes);
    let zeros = |parity: usize| head.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    match bytes {
        [0xFF, 0xFE, ..] => Charset::Utf16Le,
        [0xFE, 0xFF, ..] => Charset::Utf16Be,
        _ if odd > head.len() / 16 && even == 0 => Charset::Utf16Le,
        _ if even > head.len() / 16 && odd == 0 => Charset::Utf16Be,
        _ if std::str::from_utf8(bytes).is_ok() => Charset::Utf8,
        _ => Charset::Cp874,
    }
}
