//! Connections from a listening socket, whatever goes wrong between two of them.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::time::Instant;

/// How long the loop rests after an error of the process or the system, at first and at most.
const REST: Duration = Duration::from_millis(10);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Errors of one kind that follow each other are logged so often.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Errors that came one after the other.
#[derive(Debug, Default)]
pub(super) struct Errors {
    rest: Option<Duration>,
    logged: Option<Instant>,
    unlogged: u64,
}

impl Errors {
    /// The next connection. An error is counted, logged and waited out: without a rest, a process that has no descriptor
    /// left would do nothing but fail to accept.
    pub(super) async fn next<C, F: Future<Output = io::Result<C>>>(
        &mut self,
        mut accept: impl FnMut() -> F,
        count: impl Fn(),
    ) -> C {
        loop {
            match accept().await {
                Ok(connection) => {
                    self.rest = None;
                    return connection;
                }
                Err(error) if is_of_one_connection(&error) => {
                    count();
                    tracing::debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => {
                    count();
                    self.log(&error);
                    let rest = self.rest.unwrap_or(REST);
                    tokio::time::sleep(rest).await;
                    self.rest = Some((rest * 2).min(LONGEST_REST));
                }
            }
        }
    }

    fn log(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.logged.is_some_and(|logged| now < logged + LOG_EVERY) {
            self.unlogged += 1;
            return;
        }
        tracing::error!(
            %error,
            more_since_last_line = self.unlogged,
            "cannot accept connections; look at the limits on open files and memory"
        );
        (self.logged, self.unlogged) = (Some(now), 0);
    }
}

/// Whether the error is of the connection that was to be accepted, and the next may be well.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rustix::io::Errno;

    use super::*;

    /// How long it takes to get a connection after these errors, and how many were counted.
    async fn after(errors: &[Errno]) -> (Duration, usize) {
        let started = Instant::now();
        let mut left = errors.iter().copied();
        let counted = Cell::new(0);
        let accept = || std::future::ready(left.next().map_or(Ok(()), |error| Err(error.into())));
        Errors::default().next(accept, || counted.set(counted.get() + 1)).await;
        (started.elapsed(), counted.get())
    }

    #[tokio::test(start_paused = true)]
    async fn errors_of_the_process_are_waited_out_and_those_of_a_connection_are_not() {
        let milliseconds = Duration::from_millis;
        assert_eq!(after(&[]).await, (milliseconds(0), 0));
        assert_eq!(after(&[Errno::CONNABORTED; 100]).await, (milliseconds(0), 100));
        assert_eq!(after(&[Errno::MFILE; 3]).await, (milliseconds(10 + 20 + 40), 3));
        for errno in [Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::INVAL] {
            assert_eq!(after(&[errno]).await, (milliseconds(10), 1), "{errno}");
        }
        // Two minutes without a descriptor cost about two tries a second at most.
        let (took, _) = after(&[Errno::MFILE; 120]).await;
        assert!(took > milliseconds(110_000), "{took:?}");
    }
}
