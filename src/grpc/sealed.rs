//! Profiles and signals as JSON, in the shape of the contract, for those who get them outside of gRPC.

use jiff::Timestamp;
use serde_json::Value;

use super::json::to_json;
use super::profile::convert;
use super::v1;
use crate::profile::{Key, Profile, Signal};

pub(crate) fn profile(profile: &Profile, now: Timestamp) -> Value {
    to_json("Profile", &convert::profile(profile, now))
}

pub(crate) fn gone(key: &Key, erased: bool) -> Value {
    to_json("ProfileGone", &v1::ProfileGone { key: Some(convert::key_to(key)), erased })
}

pub(crate) fn signal(signal: &Signal) -> Value {
    to_json("Signal", &convert::signal(signal))
}
