//! Work on long texts goes in turns that addresses and callers share fairly.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use arom::scoring::{Caller, Client, ScoreError, Scorer, ScoringConfig};
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::scripted::{Script, Turn};
use crate::support::uncached;

/// Bytes of a text that takes a turn.
const LONG: usize = 2000;

fn scorer(max_wait: Duration) -> Scorer {
    let config = ScoringConfig { workers: 1, max_wait, ..uncached() };
    Script::new(Turn::Answer).scorer(&config, Arc::default())
}

fn client(peer: u8) -> Client {
    Client { address: Some(IpAddr::from([10, 0, 0, peer])), deadline: None }
}

/// The names of those who work on long texts, in the order of their turns: each has so many texts. The first turn comes when all of
/// them ask.
async fn order(scorer: &Scorer, callers: Vec<(&'static str, Caller, usize)>) -> Vec<&'static str> {
    let (release, held) = mpsc::sync_channel::<()>(1);
    let (begin, begun) = oneshot::channel::<()>();
    let holder = scorer.patient_caller();
    let holding = holder.work_on(LONG, move || begin.send(()).map(|()| held.recv()));
    let order = Arc::<Mutex<Vec<&'static str>>>::default();
    let steps = callers.iter().flat_map(|(name, caller, texts)| {
        let (order, name) = (&order, *name);
        (0..*texts).map(move |_| {
            let order = Arc::clone(order);
            caller.work_on(LONG, move || order.lock().expect("no panic").push(name))
        })
    });
    let asking = async {
        begun.await.expect("it has its turn");
        let mut steps = Box::pin(join_all(steps));
        assert!(futures_util::poll!(&mut steps).is_pending());
        // This runtime has one thread: each task that was spawned gets as far as it can before this one goes on.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        release.send(()).expect("it is held");
        steps.await
    };
    let (held, steps) = tokio::join!(holding, asking);
    held.expect("no panic").expect("released").expect("released");
    for step in steps {
        step.expect("nobody is refused");
    }
    let order = order.lock().expect("no panic");
    order.clone()
}

fn place_of(name: &str, order: &[&str]) -> usize {
    order.iter().position(|one| *one == name).expect("it had a turn")
}

#[tokio::test]
async fn a_long_text_waits_for_a_turn_of_another_address_and_not_for_all_of_its_texts() {
    let scorer = scorer(Duration::from_secs(60));
    let mut callers: Vec<_> =
        (0..50).map(|_| ("one of many", scorer.patient_caller_for(client(1)), 10)).collect();
    callers.push(("alone", scorer.caller_for(client(2)), 1));
    let order = order(&scorer, callers).await;
    assert!(place_of("alone", &order) <= 2, "{order:?}");
}

#[tokio::test]
async fn a_long_text_does_not_wait_for_a_batch_of_its_own_address_or_without_one() {
    for client in [client(1), Client::default()] {
        let scorer = scorer(Duration::from_secs(60));
        let batch = scorer.caller_for(client);
        let order =
            order(&scorer, vec![("batch", batch, 200), ("alone", scorer.caller_for(client), 1)]).await;
        assert!(place_of("alone", &order) <= 2, "{order:?}");
    }
}

#[tokio::test]
async fn more_than_a_burst_that_wait_too_long_for_a_turn_are_refused() {
    /// So many may always wait.
    const BURST: usize = 64;
    let scorer = scorer(Duration::from_millis(1));
    let (release, held) = mpsc::sync_channel::<()>(1);
    let working = scorer.caller();
    let mut working = Box::pin(working.work_on(LONG, move || held.recv()));
    assert!(futures_util::poll!(&mut working).is_pending());
    let patient = scorer.patient_caller_for(client(1));
    let mut patient = Box::pin(patient.work_on(LONG, || ()));
    assert!(futures_util::poll!(&mut patient).is_pending());
    let mut rest = JoinSet::new();
    for _ in 0..BURST + 6 {
        let caller = scorer.caller_for(client(1));
        rest.spawn(async move { caller.work_on(LONG, || ()).await });
    }
    // With the patient one, which is not refused, seven are too many.
    for _ in 0..7 {
        let first = rest.join_next().await.expect("some wait").expect("no panic");
        assert!(matches!(first, Err(ScoreError::QueueFull { .. })), "{first:?}");
    }
    for _ in 0..3 {
        let refused = scorer.caller_for(client(2)).work_on(LONG, || ()).await;
        assert!(matches!(refused, Err(ScoreError::QueueFull { .. })), "{refused:?}");
    }
    // Nobody polls the patient one now: the turn that it gets is not stuck for that.
    release.send(()).expect("the work waits for it");
    working.await.expect("no panic").expect("released");
    while let Some(one) = rest.join_next().await {
        one.expect("no panic").expect("a burst may wait");
    }
    patient.await.expect("it is never refused");
}
