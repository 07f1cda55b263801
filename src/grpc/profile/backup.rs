//! `BackUpProfiles`: the store as a stream of bytes.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tonic::Status;

use super::super::call::Call;
use super::super::phase::Halt;
use super::super::status::{Failure, OK, name};
use super::super::{Shared, v1};
use crate::profile::{Disk, Keeper};

/// The messages of one stream.
pub(super) type Pieces =
    Pin<Box<dyn Stream<Item = Result<v1::BackUpProfilesResponse, Status>> + Send + 'static>>;

/// Pieces that were read and are not sent yet.
const AHEAD: usize = 4;

/// Most bytes of one piece: clients take 4 MiB in a message, and a row of the store may be longer.
const PIECE_BYTES: usize = 1 << 20;

/// Who takes no piece for so long is not waited for: what they are shown cannot leave the disk meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// What comes out of the store: its bytes, then that they were all.
enum Piece {
    Data(Vec<u8>),
    End,
}

/// Reads the store as fast as the caller takes it.
pub(super) fn pieces(shared: &Arc<Shared>, keeper: Arc<Keeper<Disk>>, mut call: Call) -> Pieces {
    let (give, mut taken) = mpsc::channel::<Result<Piece, Failure>>(AHEAD);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let send = |piece| runtime.block_on(give.send_timeout(piece, PATIENCE));
        // Whoever goes away closes the channel, and with it ends the work.
        let sent = keeper.book().back_up(keeper.now(), &mut |data| {
            let mut pieces = data.chunks(PIECE_BYTES).map(|piece| send(Ok(Piece::Data(piece.to_vec()))));
            if pieces.all(|sent| sent.is_ok()) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let last = match sent {
            Ok(Some(done)) => {
                tracing::info!(rows = done.rows, "the profile store was backed up");
                Ok(Piece::End)
            }
            Ok(None) => {
                return tracing::info!("whoever backed up the profile store went away or took nothing");
            }
            Err(error) => Err(Failure::Storage(error)),
        };
        drop(send(last));
    });
    let mut halt = Halt::new(shared, call.deadline);
    let next = async move || {
        // A backup is in use as long as pieces are taken.
        halt.heard();
        let piece = tokio::select! {
            biased;
            failure = halt.reached() => Err(failure),
            // Without an end it was not all.
            piece = taken.recv() => piece.unwrap_or(Err(Failure::Died)),
        };
        match piece {
            Ok(Piece::Data(data)) => Some(Ok(v1::BackUpProfilesResponse { data })),
            Ok(Piece::End) => {
                call.end(OK);
                None
            }
            Err(failure) => {
                let status = Status::from(failure);
                call.end(name(&status));
                Some(Err(status))
            }
        }
    };
    // Nothing comes after an error.
    Box::pin(stream::unfold(Some(next), async |state| {
        let mut next = state?;
        let piece = next().await?;
        let state = piece.is_ok().then_some(next);
        Some((piece, state))
    }))
}
