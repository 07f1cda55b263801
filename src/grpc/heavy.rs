//! Work that is too long for the threads that serve sockets.
//!
//! A thread of the async runtime that works for long answers nobody meanwhile, health included. tokio's blocking threads are many, so
//! that without a limit the sockets' threads would get one turn in hundreds: as many run at a time as there are CPUs.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::status::Failure;

/// Turns at the threads for long work.
#[derive(Clone, Debug)]
pub(super) struct Heavy(Arc<Semaphore>);

impl Default for Heavy {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Semaphore::new(cpus)))
    }
}

impl Heavy {
    /// Does the work on another thread once it has a turn, and waits for it. The turn lasts until the work is done, even if nobody
    /// waits any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = Arc::clone(&self.0).acquire_owned().await.map_err(|_| Failure::Died)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.map_err(|_| Failure::Died)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_gives_its_turn_back() {
        let heavy = Heavy(Arc::new(Semaphore::new(1)));
        for _ in 0..3 {
            assert!(matches!(heavy.run(|| panic!("careless")).await, Err::<(), _>(Failure::Died)));
        }
        assert!(matches!(heavy.run(|| 7).await, Ok(7)));
    }

    #[tokio::test]
    async fn work_waits_for_its_turn_and_holds_no_thread_of_the_runtime() {
        let heavy = Heavy(Arc::new(Semaphore::new(1)));
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        let holding = tokio::spawn({
            let heavy = heavy.clone();
            async move { heavy.run(move || held.recv()).await }
        });
        let waiting = tokio::spawn(async move { heavy.run(|| 7).await });
        // This test has one thread: that it gets here shows that nothing holds it.
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        release.send(()).expect("the work waits for it");
        assert!(matches!(holding.await.expect("no panic"), Ok(Ok(()))));
        assert!(matches!(waiting.await.expect("no panic"), Ok(7)));
    }
}
