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

/// So much of a file tells UTF-16 from bytes by its zeros.
const HEAD: usize = 4096;

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

    /// The one of such a name, and of the other names it goes by.
    pub fn from_name(name: &str) -> Option<Self> {
        let encoding = if name.eq_ignore_ascii_case("cp874") {
            WINDOWS_874
        } else {
            Encoding::for_label(name.as_bytes())?
        };
        [Self::Utf8, Self::Utf16Le, Self::Utf16Be, Self::Cp874]
            .into_iter()
            .find(|charset| charset.encoding() == encoding)
    }

    /// What decodes it.
    pub fn encoding(self) -> &'static Encoding {
        match self {
            Self::Utf8 => UTF_8,
            Self::Utf16Le => UTF_16LE,
            Self::Utf16Be => UTF_16BE,
            Self::Cp874 => WINDOWS_874,
        }
    }

    /// What a file looks like by its beginning, whose bytes are all UTF-8 or not; a mark at its beginning decides.
    pub fn detect(bytes: &[u8], is_utf8: bool) -> Self {
        let head = bytes.get(..HEAD).unwrap_or(bytes);
        let zeros = |parity: usize| head.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
        let (even, odd) = (zeros(0), zeros(1));
        match bytes {
            [0xFF, 0xFE, ..] => Self::Utf16Le,
            [0xFE, 0xFF, ..] => Self::Utf16Be,
            _ if odd > head.len() / 16 && even == 0 => Self::Utf16Le,
            _ if even > head.len() / 16 && odd == 0 => Self::Utf16Be,
            _ if is_utf8 => Self::Utf8,
            _ => Self::Cp874,
        }
    }
}
