//! The reader of one format must never panic.
#![no_main]

use arom::conversation::{Format, read};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(read(bytes, Some(Format::LineTabs))));
