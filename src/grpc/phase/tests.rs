//! When streams are told that the server stops, under a clock that the tests move.

use super::*;

const GRACE: Duration = Duration::from_secs(30);

/// A stream, and what moves its server on.
fn stream() -> (watch::Sender<Phase>, Halt) {
    let (phases, phase) = watch::channel(Phase::Serving);
    (phases, Halt { phase, deadline: None, heard: None })
}

fn drain(phases: &watch::Sender<Phase>) {
    phases.send_replace(Phase::draining(Instant::now(), GRACE));
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_told_when_the_port_closes_and_not_before() {
    let (phases, mut halt) = stream();
    phases.send_replace(Phase::Leaving);
    let waited = tokio::time::timeout(Duration::from_secs(3600), halt.reached()).await;
    assert!(waited.is_err(), "the server serves on");
    halt.heard();
    tokio::time::sleep(QUIET).await;
    let closed = Instant::now();
    drain(&phases);
    assert!(matches!(halt.reached().await, Failure::Stopping));
    assert_eq!(closed.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_stream_in_use_has_half_of_the_grace() {
    let (phases, mut halt) = stream();
    let closed = Instant::now();
    halt.heard();
    drain(&phases);
    // It sends ten times a second.
    while tokio::time::timeout(Duration::from_millis(100), halt.reached()).await.is_err() {
        halt.heard();
    }
    assert_eq!(closed.elapsed(), GRACE / 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_falls_silent_is_told_a_second_later() {
    let (phases, mut halt) = stream();
    halt.heard();
    let heard = Instant::now();
    drain(&phases);
    assert!(matches!(halt.reached().await, Failure::Stopping));
    assert_eq!(heard.elapsed(), QUIET);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_stream_of_a_server_that_serves() {
    let (_phases, mut halt) = stream();
    halt.deadline = Some(Instant::now() + Duration::from_secs(9));
    assert!(matches!(halt.reached().await, Failure::DeadlineExceeded));
}
