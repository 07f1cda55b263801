#![allow(clippy::indexing_slicing, reason = "an index that is wrong fails its test")]

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::task::noop_waker;
use proptest::prelude::*;

use super::*;

type Waiting = Pin<Box<dyn Future<Output = Turn<u8>>>>;

/// One who asks for a turn.
fn ask(turns: &Turns<u8>, key: Option<u8>) -> Waiting {
    let turns = turns.clone();
    Box::pin(async move { turns.take(key).await })
}

fn poll(waiting: &mut Waiting) -> Option<Turn<u8>> {
    match waiting.as_mut().poll(&mut Context::from_waker(&noop_waker())) {
        Poll::Ready(turn) => Some(turn),
        Poll::Pending => None,
    }
}

/// Those who wait, in the order in which they asked; polling moves them from line to line.
struct Crowd {
    turns: Turns<u8>,
    waiting: Vec<(u8, Waiting)>,
    working: Vec<(u8, Turn<u8>)>,
}

impl Crowd {
    fn new(most: usize) -> Self {
        Self { turns: Turns::new(most), waiting: Vec::new(), working: Vec::new() }
    }

    fn ask(&mut self, key: u8) {
        self.waiting.push((key, ask(&self.turns, Some(key))));
        self.settle();
    }

    /// Polls until nothing moves.
    fn settle(&mut self) {
        let mut moved = true;
        while moved {
            let before = self.working.len();
            for (key, mut one) in std::mem::take(&mut self.waiting) {
                match poll(&mut one) {
                    Some(turn) => self.working.push((key, turn)),
                    None => self.waiting.push((key, one)),
                }
            }
            moved = self.working.len() > before;
        }
    }

    /// Ends the turn that began first.
    fn end(&mut self) -> Option<u8> {
        let ended = (!self.working.is_empty()).then(|| self.working.remove(0).0);
        self.settle();
        ended
    }
}

#[test]
fn one_of_another_key_waits_for_one_turn_and_not_for_the_line_of_a_key() {
    let mut crowd = Crowd::new(1);
    (0..1000).for_each(|_| crowd.ask(1));
    crowd.ask(2);
    // One works and one of the same key stands in the line of all already, at most.
    let order: Vec<u8> = (0..3).filter_map(|_| crowd.end()).collect();
    assert!(order.contains(&2), "{order:?}");
}

#[test]
fn one_key_alone_has_all_turns() {
    let mut crowd = Crowd::new(3);
    (0..5).for_each(|_| crowd.ask(1));
    assert_eq!((crowd.working.len(), crowd.waiting.len()), (3, 2));
}

#[test]
fn without_a_key_there_is_only_the_line_of_all() {
    let turns = Turns::<u8>::new(2);
    let mut asked: Vec<Waiting> = (0..3).map(|_| ask(&turns, None)).collect();
    let first: Vec<_> = asked.iter_mut().filter_map(poll).collect();
    assert_eq!(first.len(), 2);
    assert!(turns.0.lines().is_empty());
    drop(first);
    assert!(poll(&mut asked[2]).is_some());
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Ask(u8),
    End,
    Leave(prop::sample::Index),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0_u8..5).prop_map(Act::Ask),
        2 => Just(Act::End),
        1 => any::<prop::sample::Index>().prop_map(Act::Leave),
    ]
}

proptest! {
    /// Whoever asks, ends and leaves: no turn is lost or doubled, none stands idle while somebody waits, no key waits for more than
    /// a round of the others, and no line is left behind.
    #[test]
    fn turns_are_bounded_busy_fair_and_leave_nothing(most in 1_usize..4, acts in prop::collection::vec(act(), 0..200)) {
        let mut crowd = Crowd::new(most);
        // Turns of others that began since a key has waited without one.
        let mut passed: HashMap<u8, usize> = HashMap::new();
        for act in acts {
            let before = crowd.working.len();
            let mut began = 0;
            match act {
                Act::Ask(key) => {
                    crowd.ask(key);
                    began = crowd.working.len() - before;
                }
                Act::End => {
                    let ended = usize::from(crowd.end().is_some());
                    began = crowd.working.len() + ended - before;
                }
                Act::Leave(which) if !crowd.waiting.is_empty() => {
                    let which = which.index(crowd.waiting.len());
                    let (key, gone) = crowd.waiting.remove(which);
                    drop(gone);
                    // Its place in the line of all goes with it: the next of its key stands at the end.
                    passed.remove(&key);
                    crowd.settle();
                    began = crowd.working.len() - before;
                }
                Act::Leave(_) => {}
            }
            prop_assert!(crowd.working.len() <= most);
            prop_assert!(crowd.working.len() == most || crowd.waiting.is_empty());
            let fresh: Vec<u8> = crowd.working.iter().rev().take(began).map(|(key, _)| *key).collect();
            for key in 0..5 {
                if fresh.contains(&key) || !crowd.waiting.iter().any(|(waits, _)| *waits == key) {
                    passed.remove(&key);
                } else {
                    let passed = passed.entry(key).or_default();
                    *passed += began;
                    // Each of five keys has so many in the line of all, at most.
                    prop_assert!(*passed <= 5 * most, "key {} was passed {} times", key, passed);
                }
            }
        }
        crowd.waiting.clear();
        crowd.working.clear();
        prop_assert!(crowd.turns.0.lines().is_empty());
        prop_assert_eq!(crowd.turns.0.all.available_permits(), most);
    }
}
