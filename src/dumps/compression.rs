//! Files that are plain, gzip or Zstandard.

use std::io::{self, BufRead, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

/// How the bytes of a file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, one member or many.
    Gzip,
    /// RFC 8878, one frame or many.
    Zstd,
}

impl Compression {
    /// By the first bytes of a file.
    pub(super) fn detect(head: &[u8]) -> Self {
        match head {
            [0x1F, 0x8B, ..] => Self::Gzip,
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The ending of its file names.
    pub fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }

    /// What the file is when it is not compressed.
    pub(super) fn reader(self, file: impl BufRead + 'static) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Self::None => Box::new(file),
            Self::Gzip => Box::new(MultiGzDecoder::new(file)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(file)?),
        })
    }

    /// The bytes as a member or frame of their own: several one after the other are a file again.
    ///
    /// # Errors
    ///
    /// If the library fails.
    pub fn pack(self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(bytes),
            Self::Gzip => {
                let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::default());
                packed.write_all(&bytes)?;
                packed.finish()
            }
            Self::Zstd => zstd::encode_all(bytes.as_slice(), 0),
        }
    }
}
