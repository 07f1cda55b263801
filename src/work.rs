//! Shows in tests that work grows with its input and not with the square of it.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Input that is so many times as large.
const TIMES: usize = 8;

/// Less than so many times as much work.
const LIMIT: u32 = 24;

/// Asserts that `TIMES` as much input takes less than `LIMIT` times as much work. Work of the square would take
/// `TIMES * TIMES`.
///
/// Work is the processor time of this thread, so neither the speed of the machine nor other work on it decides. Cold or
/// shared caches only ever add to it, so the least of several measurements of each size counts.
pub(crate) fn assert_grows_with_its_input(size: usize, mut work: impl FnMut(usize)) {
    let mut least = [Duration::MAX; 2];
    for _ in 0..5 {
        for (least, size) in least.iter_mut().zip([size, TIMES * size]) {
            let before = processor_time();
            work(size);
            *least = (*least).min(processor_time() - before);
        }
    }
    let [small, large] = least;
    assert!(large < small * LIMIT, "{small:?} for {size}, {large:?} for {}", TIMES * size);
}

/// What the processor spent on this thread. The kernel brings this clock up to date whenever it is read; the counters
/// under `/proc` stand still until its next tick.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("this clock begins at zero")
}

fn steps(count: usize) {
    for step in 0..count {
        std::hint::black_box(step);
    }
}

#[test]
fn work_of_the_input_is_told_from_work_of_its_square() {
    assert_grows_with_its_input(1_000_000, |size| steps(20 * size));
    let squared = || assert_grows_with_its_input(1000, |size| steps(size * size));
    assert!(std::panic::catch_unwind(squared).is_err());
}
