//! Conversations: messages out of LINE exports and other files, who is who in them, and what was felt. Pure but for
//! [`analyze`] and [`Live`], which wait for the scorer.

mod analysis;
mod course;
mod cues;
mod levels;
mod message;
mod privacy;
mod read;
mod roles;
mod signature;
mod stickers;
mod trajectory;

pub use analysis::{Analysis, Basis, CLEAR, Heard, Live, SHORT_REPLY, analyze, hear};
pub use course::LATEST_TURNS;
pub use cues::{Cue, cues};
pub use levels::change_points;
pub use message::{Body, Media, Message, Sender};
pub use privacy::{Disguise, hide};
pub use read::{Charset, Format, ReadError, Skipped, Transcript, read};
pub use roles::Roles;
pub use signature::is_signed;
pub use stickers::sticker;
pub use trajectory::{
    ENDS, Felt, LONG_WAIT, Role, RoleTrajectory, SMOOTHING, Trajectory, TurningPoint, Waits, mean, spoken,
};

#[cfg(test)]
mod tests;
