//! `GetProfileClock` and `AcceptProfileClock`: which time the store goes by.

use jiff::SignedDuration;

use super::super::convert::{moment, timestamp};
use super::super::status::Failure;
use super::super::v1;
use super::super::violations::Violations;
use super::Profiles;
use crate::profile::{ClockState, STEP};

/// A person needs some time between looking and accepting.
const LOOKED: SignedDuration = SignedDuration::from_hours(1);

impl Profiles {
    pub(super) fn clock(&self) -> Result<v1::GetProfileClockResponse, Failure> {
        let clock = message(&self.keeper()?.clock());
        Ok(v1::GetProfileClockResponse { clock: Some(clock) })
    }

    pub(super) async fn accept_clock(
        &self,
        request: v1::AcceptProfileClockRequest,
    ) -> Result<v1::AcceptProfileClockResponse, Failure> {
        let keeper = self.keeper()?;
        let looked_at = request.system_time.as_ref().and_then(moment);
        let Some(looked_at) = looked_at else {
            let fault = "is needed: the time that GetProfileClock gave and a person looked at";
            return Err(Failure::Invalid(Violations::of("system_time", fault)));
        };
        let since = keeper.clock().wall.duration_since(looked_at);
        if since < -STEP || since > LOOKED {
            return Err(Failure::ClockMoved);
        }
        let state = keeper.accept_clock().await.map_err(Failure::Keep)?;
        tracing::warn!(system_time = %state.wall, "the clock of the profile store was accepted by a person");
        Ok(v1::AcceptProfileClockResponse { clock: Some(message(&state)) })
    }
}

fn message(state: &ClockState) -> v1::ProfileClock {
    v1::ProfileClock {
        trusted: state.distrust.is_none(),
        distrust_reason: state.distrust.map(|why| why.text().to_owned()).unwrap_or_default(),
        system_time: Some(timestamp(state.wall)),
        store_time: Some(timestamp(state.now)),
        proven_time: Some(timestamp(state.proven)),
    }
}
