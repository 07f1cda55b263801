//! CloudEvents 1.0 in JSON (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
//!
//! | type | subject | data |
//! | --- | --- | --- |
//! | `arom.v1.profile.updated` | the key, as `brand/b` | `arom.v1.Profile` |
//! | `arom.v1.profile.gone` | the key | `arom.v1.ProfileGone`: nothing is known any more |
//! | `arom.v1.profile.erased` | the key | `arom.v1.ProfileGone`: the customer was erased, forget them, too |
//! | `arom.v1.signal.raised`, `arom.v1.signal.cleared` | the key | `arom.v1.Signal` |
//!
//! `id` is that of the change and its part, so that the same again can be told; `sequence` grows.

use serde_json::{Value, json};

use super::Parcel;
use crate::grpc::sealed;
use crate::profile::Update;

/// Puts updates of a store into envelopes.
#[derive(Debug)]
pub(super) struct Envelope {
    source: String,
}

impl Envelope {
    pub(super) fn of(identity: u64) -> Self {
        Self { source: format!("urn:arom:store:{identity:016x}") }
    }

    pub(super) fn seal(&self, parcel: &Parcel) -> Value {
        let (kind, time, data) = match &parcel.update {
            Update::Profile(profile) => {
                let now = jiff::Timestamp::now();
                ("arom.v1.profile.updated", now, sealed::profile(profile, now))
            }
            Update::Gone { key, erased } => {
                let kind = if *erased { "arom.v1.profile.erased" } else { "arom.v1.profile.gone" };
                (kind, jiff::Timestamp::now(), sealed::gone(key, *erased))
            }
            Update::Signal(signal) => {
                let kind = if signal.raised { "arom.v1.signal.raised" } else { "arom.v1.signal.cleared" };
                (kind, signal.time(), sealed::signal(signal))
            }
        };
        let (sequence, part) = (parcel.position.next, parcel.position.parts);
        json!({
            "specversion": "1.0",
            "id": format!("{sequence}-{part}"),
            "source": self.source,
            "type": kind,
            "subject": parcel.key.to_string(),
            "time": time.to_string(),
            "datacontenttype": "application/json",
            "sequence": format!("{sequence:020}"),
            "data": data,
        })
    }
}
