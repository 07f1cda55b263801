//! Conversations: messages out of LINE exports and other files, and what was felt in them. Pure.

mod message;
mod privacy;
mod read;
mod roles;
mod trajectory;

pub use message::{Body, Media, Message, Sender};
pub use privacy::hide;
pub use read::{Charset, Format, ReadError, Skipped, Transcript, read};
pub use roles::Roles;
pub use trajectory::{
    ENDS, Felt, Role, RoleTrajectory, SMOOTHING, Trajectory, TurningPoint, Waits, change_points,
};

#[cfg(test)]
mod tests;
