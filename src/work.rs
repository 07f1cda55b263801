//! Shows in tests that work grows with its input and not with the square of it.

/// Input that is so many times as large.
const TIMES: usize = 8;

/// Asserts that `TIMES` as much input takes less than three times `TIMES` as much work. Work of the square would take
/// `TIMES * TIMES`.
///
/// Work is the processor time of this thread, so neither the speed of the machine nor other work on it decides. What
/// disturbs the processor's caches may decide once, so a failure is tried again.
pub(crate) fn assert_grows_with_its_input(size: usize, mut work: impl FnMut(usize)) {
    let mut seen = Vec::new();
    let is_linear = (0..5).any(|_| {
        let took = [size, TIMES * size].map(|size| {
            let before = processor_time();
            work(size);
            processor_time() - before
        });
        seen.push(took);
        took[1] < 3 * TIMES as u64 * took[0]
    });
    assert!(is_linear, "nanoseconds for {size} and {}: {seen:?}", TIMES * size);
}

/// Nanoseconds that a processor spent on this thread.
fn processor_time() -> u64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    spent.split(' ').next().and_then(|spent| spent.parse().ok()).expect("a number")
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
