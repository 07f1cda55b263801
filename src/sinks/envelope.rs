//! CloudEvents 1.0 in JSON (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
//!
//! | type | subject | data |
//! | --- | --- | --- |
//! | `arom.v1.profile.updated` | the key, as `brand/b` | `arom.v1.Profile` |
//! | `arom.v1.profile.gone` | the key | `arom.v1.ProfileGone`: nothing is known any more |
//! | `arom.v1.profile.erased` | the key | `arom.v1.ProfileGone`: the customer was erased, forget them, too |
//! | `arom.v1.signal.raised`, `arom.v1.signal.cleared` | the key | `arom.v1.Signal` |
//!
//! `source` names a store. A restored store is another one, since its changes after the backup are others.
//!
//! `id` is `STORE-RUN-SEQUENCE-PART`: the store, the run of the server in which the change was made, the change and its part. The same
//! event has the same id however often it is sent, and no other event has it, of this store, of another, or of a copy of it.
//!
//! `sequence` grows within a source; a profile's `revision` is the sequence of its last change. Of two events of one source and
//! subject the one with the lower sequence is older, and a receiver that has the newer one ignores it. An erasure is the exception:
//! it applies to everything of the customer that has a lower sequence, whenever it comes.

use std::collections::BTreeMap;
use std::fmt::Display;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Parcel;
use crate::grpc::sealed;
use crate::profile::Update;

/// Puts updates of a store into envelopes.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    store: String,
    source: String,
    runs: BTreeMap<u64, u32>,
}

impl Envelope {
    /// Of a store and the runs of its sinks, by the first change of each.
    pub(super) fn of(identity: u64, runs: BTreeMap<u64, u32>) -> Self {
        let store = format!("{identity:016x}");
        Self { source: format!("urn:arom:store:{store}"), store, runs }
    }

    /// What its events are from.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    fn id(&self, sequence: u64, part: impl Display) -> String {
        let store = &self.store;
        match self.runs.range(..=sequence).next_back() {
            Some((_, run)) => format!("{store}-{run:08x}-{sequence}-{part}"),
            // Made by a server that knew of no runs: its id was this.
            None => format!("{store}-{sequence}-{part}"),
        }
    }

    pub(super) fn seal(&self, parcel: &Parcel, now: Timestamp) -> Value {
        let (kind, time, data) = match &parcel.update {
            Update::Profile(seen) => {
                ("arom.v1.profile.updated", seen.time, sealed::profile(&seen.profile, seen.time))
            }
            Update::Gone { key, erased } => {
                let kind = if *erased { "arom.v1.profile.erased" } else { "arom.v1.profile.gone" };
                (kind, now, sealed::gone(key, *erased))
            }
            Update::Signal(signal) => {
                let kind = if signal.raised { "arom.v1.signal.raised" } else { "arom.v1.signal.cleared" };
                (kind, signal.time(), sealed::signal(signal))
            }
        };
        let (sequence, part) = (parcel.position.next, parcel.position.parts);
        json!({
            "specversion": "1.0",
            "id": self.id(sequence, part),
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
