//! How many bytes the requests and answers of one peer, and of all peers, may hold at once.
//!
//! A call is counted only when its message is whole, and no longer when its answer is made. What it holds before and after that is
//! counted here: the bytes of the message as they arrive, the message as it is inflated, what a stream remembers, and the answer until
//! it is sent.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shares::UsedUp;
use crate::net::network;
use crate::turns::Turn;

/// What a call takes beside its message, about: its headers, the state of its stream and its task.
pub(super) const CALL_BYTES: usize = 16 << 10;

/// So many times the bytes of a conversation are counted for the copies that its analysis makes: normalised texts, tokens, results.
const COPIES: usize = 2;

/// The quarters of a budget.
const ALL: usize = 4;

/// The bytes that calls hold.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    most_of_peer: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    peers: HashMap<IpAddr, usize>,
}

impl Budget {
    pub(super) fn new(most: usize, most_of_peer: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_peer, held: Mutex::default() })
    }

    /// A call of a peer begins. A caller without an address has only the limit of all.
    pub(super) fn enter(self: &Arc<Self>, peer: Option<IpAddr>) -> Result<Arc<Charge>, UsedUp> {
        let peer = peer.map(network);
        let charge = Charge {
            budget: Arc::clone(self),
            peer,
            bytes: Mutex::default(),
            packed: AtomicBool::new(false),
            turn: Mutex::default(),
        };
        charge.change(ALL, |bytes| bytes.call = CALL_BYTES)?;
        Ok(Arc::new(charge))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one call holds. It is given back when the last clone is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    peer: Option<IpAddr>,
    bytes: Mutex<Bytes>,
    /// Whether its message came compressed.
    packed: AtomicBool,
    /// Its turn to make its message.
    turn: Mutex<Option<Turn<IpAddr>>>,
}

/// What one call holds, by what for.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes {
    call: usize,
    message: usize,
    inflated: usize,
    state: usize,
}

impl Bytes {
    fn sum(self) -> usize {
        [self.message, self.inflated, self.state].into_iter().fold(self.call, usize::saturating_add)
    }
}

impl Charge {
    /// It holds a message of so many bytes now. If there is no room for them, it holds what it held.
    pub(super) fn set(&self, message: usize) -> Result<(), UsedUp> {
        self.change(ALL, |bytes| bytes.message = message)
    }

    /// It has inflated a message of so many bytes into a buffer that never shrinks. One that came as it is was counted as it came.
    pub(super) fn took(&self, message: usize) -> Result<(), UsedUp> {
        let packed = self.packed.load(Ordering::Relaxed);
        if packed { self.change(ALL, |bytes| bytes.inflated = bytes.inflated.max(message)) } else { Ok(()) }
    }

    /// It remembers so many bytes now, beside its message. If there is no room for them, it holds what it held.
    ///
    /// Streams take all the room that there is, so they leave a quarter to calls that come.
    pub(super) fn remember(&self, state: usize) -> Result<(), UsedUp> {
        self.change(ALL - 1, |bytes| bytes.state = state)
    }

    /// Changes what it holds, if that has room in so many quarters of the budget.
    fn change(&self, quarters: usize, change: impl FnOnce(&mut Bytes)) -> Result<(), UsedUp> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.budget.held();
        let mut changed = *bytes;
        change(&mut changed);
        let (before, wanted) = (bytes.sum(), changed.sum());
        let (all, peer) = (held.all, self.peer.and_then(|peer| held.peers.get(&peer)).copied().unwrap_or(0));
        let after = |of: usize| (of - before).saturating_add(wanted);
        if wanted > before {
            if self.peer.is_some() && after(peer) > self.budget.most_of_peer / ALL * quarters {
                return Err(UsedUp::PeerBytes);
            }
            if after(all) > self.budget.most / ALL * quarters {
                return Err(UsedUp::Bytes);
            }
        }
        held.all = after(all);
        if let Some(of) = self.peer {
            held.peers.insert(of, after(peer));
        }
        *bytes = changed;
        Ok(())
    }

    /// Its message is made in this turn.
    pub(super) fn read_in(&self, turn: Turn<IpAddr>) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = Some(turn);
    }

    /// Its message is made, or was refused.
    pub(super) fn read(&self) {
        drop(self.turn.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Its message is compressed.
    pub(super) fn note_packed(&self) {
        self.packed.store(true, Ordering::Relaxed);
    }

    /// Its message is inflated now. One that came as it is was counted as it came.
    pub(super) fn inflated(&self, message: impl Fn() -> usize) -> Result<(), UsedUp> {
        if self.packed.load(Ordering::Relaxed) { self.set(message()) } else { Ok(()) }
    }

    /// Work on its message of so many bytes begins, which makes copies. A call that is alone always has room for them.
    pub(super) fn works_on(&self, message: usize) -> Result<(), UsedUp> {
        let Budget { most, most_of_peer, .. } = *self.budget;
        let alone = if self.peer.is_some() { most.min(most_of_peer) } else { most } / ALL * ALL;
        self.change(ALL, |bytes| {
            let left = alone.saturating_sub(bytes.call.saturating_add(bytes.message));
            bytes.state = message.saturating_mul(COPIES).min(left);
        })
    }

    /// Its work is done, and its answer has so many bytes.
    pub(super) fn answers(&self, answer: usize) -> Result<(), UsedUp> {
        self.change(ALL, |bytes| (bytes.message, bytes.state) = (answer, 0))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner).sum();
        let mut held = self.budget.held();
        held.all -= bytes;
        if let Some(peer) = self.peer
            && let Some(of_peer) = held.peers.get_mut(&peer)
        {
            *of_peer -= bytes;
            if *of_peer == 0 {
                held.peers.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    #[test]
    fn a_peer_has_its_share_and_all_have_no_more_than_there_is() {
        let budget = Budget::new(10 * CALL_BYTES, 4 * CALL_BYTES);
        let other = Some(IpAddr::from([10, 0, 0, 1]));
        let call = budget.enter(PEER).expect("there is room");
        call.set(3 * CALL_BYTES).expect("there is room");
        assert_eq!(call.set(3 * CALL_BYTES + 1), Err(UsedUp::PeerBytes));
        assert_eq!(budget.enter(PEER).err(), Some(UsedUp::PeerBytes));
        let unknown = budget.enter(None).expect("there is room");
        unknown.set(4 * CALL_BYTES).expect("callers without an address have the limit of all");
        let last = budget.enter(other).expect("there is room");
        assert_eq!(last.set(1), Err(UsedUp::Bytes));
        call.set(0).expect("less is always taken");
        last.set(3 * CALL_BYTES).expect("there is room again");
        drop((call, unknown, last));
        let held = budget.held();
        assert_eq!((held.all, held.peers.len()), (0, 0));
    }

    #[test]
    fn what_came_compressed_is_counted_as_it_is_inflated() {
        let budget = Budget::new(usize::MAX, 4 * CALL_BYTES);
        let call = budget.enter(PEER).expect("there is room");
        call.inflated(|| 9 * CALL_BYTES).expect("it was counted as it came");
        call.note_packed();
        assert_eq!(call.inflated(|| 9 * CALL_BYTES), Err(UsedUp::PeerBytes));
    }

    #[test]
    fn a_call_that_is_alone_has_room_for_its_work_and_for_its_answer() {
        let budget = Budget::new(usize::MAX, 16 * CALL_BYTES);
        let call = budget.enter(PEER).expect("there is room");
        call.set(15 * CALL_BYTES).expect("there is room");
        call.works_on(15 * CALL_BYTES).expect("it is alone");
        call.answers(15 * CALL_BYTES).expect("the copies are gone");
        call.set(4 * CALL_BYTES).expect("less is always taken");
        call.works_on(4 * CALL_BYTES).expect("there is room");
        let other = budget.enter(PEER).expect("there is room");
        other.set(2 * CALL_BYTES).expect("the copies leave as much");
        assert_eq!(other.set(3 * CALL_BYTES), Err(UsedUp::PeerBytes), "the copies are counted");
    }

    proptest! {
        #[test]
        fn what_is_held_is_the_sum_of_all_calls(steps in prop::collection::vec((0_usize..6, 0_usize..200_000), 0..60)) {
            let budget = Budget::new(400_000, 300_000);
            let mut calls: Vec<Option<(Arc<Charge>, usize)>> = vec![None; 6];
            for (number, size) in steps {
                let peer = Some(IpAddr::from([10, 0, 0, u8::from(number < 3)]));
                match calls.get_mut(number) {
                    Some(slot @ None) => *slot = budget.enter(peer).ok().map(|charge| (charge, CALL_BYTES)),
                    Some(slot) if size % 3 == 0 => *slot = None,
                    Some(Some((charge, held))) if charge.set(size).is_ok() => *held = CALL_BYTES + size,
                    Some(Some(_)) | None => {}
                }
                let sum: usize = calls.iter().flatten().map(|(_, held)| held).sum();
                prop_assert_eq!(budget.held().all, sum);
                prop_assert_eq!(budget.held().peers.values().sum::<usize>(), sum);
                prop_assert!(sum <= 400_000);
            }
        }
    }
}
