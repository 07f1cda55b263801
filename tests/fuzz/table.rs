//! The readers of tables, and the choice of a reader, must never panic.
#![no_main]

use arom::conversation::{Format, read};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for format in [None, Some(Format::Json), Some(Format::Csv)] {
        drop(read(bytes, format));
    }
});
