//! Profiles, signals and erasures as JSON, in the shape of the contract, for those who get them outside of gRPC.

use jiff::Timestamp;
use serde_json::Value;

use super::json::{from_json, to_json};
use super::profile::{convert, erasures};
use super::v1;
use crate::profile::{Erasure, Key, Profile, Signal};

pub(crate) fn profile(profile: &Profile, now: Timestamp) -> Value {
    to_json("Profile", &convert::profile(profile, now))
}

pub(crate) fn gone(key: &Key, erased: bool) -> Value {
    to_json("ProfileGone", &v1::ProfileGone { key: Some(convert::key_to(key)), erased })
}

pub(crate) fn signal(signal: &Signal) -> Value {
    to_json("Signal", &convert::signal(signal))
}

/// The erasure that JSON says, if it is one.
pub(crate) fn erasure(value: Value) -> Option<Erasure> {
    erasures::read(&from_json("Erasure", value)?)
}
