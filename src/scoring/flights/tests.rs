#![allow(clippy::indexing_slicing, reason = "an index that is wrong fails its test")]

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::*;

const WAIT: Duration = Duration::from_millis(150);
const KEY: u128 = 7;

fn answer() -> Answer {
    Ok(Arc::new(Analysis::neutral()))
}

fn full() -> Answer {
    Err(ScoreError::QueueFull { retry_after: WAIT })
}

/// The takeoff of one who has to fly now.
fn fly(seat: &Seat) -> Takeoff<'_> {
    match seat.next(WAIT).now_or_never() {
        Some(Next::Fly(takeoff)) => takeoff,
        other => panic!("it has to fly, and not {other:?}"),
    }
}

fn waits(seat: &Seat) -> bool {
    seat.next(WAIT).now_or_never().is_none()
}

#[tokio::test(start_paused = true)]
async fn one_flies_and_all_have_its_answer() {
    let flights = Flights::default();
    let seats: Vec<Seat> = (0..100).map(|_| flights.board(KEY)).collect();
    let first = fly(&seats[0]);
    assert!(seats.iter().skip(1).all(waits));
    first.land(&answer());
    for seat in &seats[1..] {
        assert!(matches!(seat.next(WAIT).now_or_never(), Some(Next::Landed(Ok(_)))));
    }
    drop(seats);
    assert!(flights.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_its_callers_own() {
    let flights = Flights::default();
    let seats = [flights.board(KEY), flights.board(KEY)];
    fly(&seats[0]).land(&full());
    fly(&seats[1]).land(&answer());
    assert!(matches!(seats[0].next(WAIT).now_or_never(), Some(Next::Landed(Ok(_)))));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_leaves_the_flight_to_the_next() {
    let flights = Flights::default();
    let seats = [flights.board(KEY), flights.board(KEY)];
    drop(fly(&seats[0]));
    drop(fly(&seats[1]));
}

#[tokio::test(start_paused = true)]
async fn of_those_who_wait_for_a_late_flight_one_flies_in_each_period() {
    let flights = Flights::default();
    let seats: Vec<Seat> = (0..10).map(|_| flights.board(KEY)).collect();
    let first = fly(&seats[0]);
    let rest = join_all(seats[1..].iter().map(async |seat| {
        let begun = Instant::now();
        match seat.next(WAIT).await {
            // It is refused, which lets nobody else fly at once: the first still does.
            Next::Fly(takeoff) => takeoff.land(&full()),
            Next::Landed(_) => panic!("nobody has an answer"),
        }
        begun.elapsed()
    }));
    let mut waited = rest.await;
    waited.sort();
    for (waited, periods) in waited.iter().zip(1..) {
        // The clock's ticks are milliseconds.
        let late = waited.saturating_sub(WAIT * periods);
        assert!(late <= Duration::from_millis(10 * u64::from(periods)), "{waited:?} are {periods} periods");
        assert!(*waited >= WAIT * periods);
    }
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn nobody_else_flies_when_a_worker_has_begun() {
    let flights = Flights::default();
    let seats = [flights.board(KEY), flights.board(KEY)];
    let first = fly(&seats[0]);
    first.begun().store(true, Ordering::Relaxed);
    let waited = tokio::time::timeout(100 * WAIT, seats[1].next(WAIT)).await;
    assert!(waited.is_err(), "{waited:?}");
    // What a worker had begun is lost with the caller.
    drop(first);
    let second = fly(&seats[1]);
    assert!(!second.begun().load(Ordering::Relaxed));
}

#[tokio::test(start_paused = true)]
async fn who_flies_has_the_answer_of_another_who_was_sooner() {
    let flights = Flights::default();
    let seats = [flights.board(KEY), flights.board(KEY)];
    let first = fly(&seats[0]);
    let Next::Fly(second) = seats[1].next(WAIT).await else { panic!("the first is late") };
    second.land(&answer());
    assert!(matches!(first.landed().now_or_never(), Some(Ok(_))));
}
