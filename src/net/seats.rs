//! Who holds a connection and who may open one more: counting only, no sockets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

/// How many connections a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Most connections of all peers.
    pub total: usize,
    /// Most connections of one peer.
    pub per_peer: usize,
}

/// Evicted connections that may still be open. They hold a descriptor until they are closed.
const MOST_LEAVING: usize = 32;

/// A connection that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SeatId(u64);

/// What becomes of a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is served; another one must leave for it if one is named.
    Admitted { seat: SeatId, evicted: Option<SeatId> },
    /// It is closed.
    Refused(Full),
}

/// Which cap is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Total,
    Peer,
}

/// Connections without calls leave in this order: first those that never had one, then the one that is idle longest.
type Turn = (bool, u64);

#[derive(Debug)]
struct Seat {
    peer: IpAddr,
    called: bool,
    /// Its place in the order of leaving; none while it has calls.
    turn: Option<Turn>,
    leaving: bool,
}

#[derive(Debug, Default)]
struct Peer {
    open: usize,
    idle: BTreeSet<(Turn, SeatId)>,
}

/// The connections of a port.
#[derive(Debug)]
pub(super) struct Seats {
    caps: Caps,
    seats: HashMap<SeatId, Seat>,
    peers: HashMap<IpAddr, Peer>,
    idle: BTreeMap<Turn, SeatId>,
    open: usize,
    leaving: usize,
    counter: u64,
}

impl Seats {
    pub(super) fn new(caps: Caps) -> Self {
        Self {
            caps,
            seats: HashMap::new(),
            peers: HashMap::new(),
            idle: BTreeMap::new(),
            open: 0,
            leaving: 0,
            counter: 0,
        }
    }

    /// Admits a newcomer. Where a cap is reached, a connection without calls leaves for it, of the same peer if it is
    /// that peer's cap.
    pub(super) fn admit(&mut self, peer: IpAddr) -> Admission {
        let peer = network(peer);
        let of_peer = self.peers.get(&peer);
        let (full, oldest) = if of_peer.is_some_and(|of_peer| of_peer.open >= self.caps.per_peer) {
            (Full::Peer, of_peer.and_then(|of_peer| of_peer.idle.first()).map(|(_, seat)| *seat))
        } else if self.open >= self.caps.total {
            (Full::Total, self.idle.values().next().copied())
        } else {
            return Admission::Admitted { seat: self.sit(peer), evicted: None };
        };
        match oldest.filter(|_| self.leaving < MOST_LEAVING) {
            Some(evicted) => {
                self.evict(evicted);
                Admission::Admitted { seat: self.sit(peer), evicted: Some(evicted) }
            }
            None => Admission::Refused(full),
        }
    }

    /// A connection has its first open call.
    pub(super) fn busy(&mut self, id: SeatId) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.called = true;
        }
        self.take_turn(id);
    }

    /// A connection has no open call any more.
    pub(super) fn idle(&mut self, id: SeatId) {
        self.take_turn(id);
        self.give_turn(id);
    }

    /// A connection is closed.
    pub(super) fn left(&mut self, id: SeatId) {
        self.take_turn(id);
        let Some(seat) = self.seats.remove(&id) else { return };
        if seat.leaving {
            self.leaving -= 1;
        } else {
            self.uncount(seat.peer);
        }
    }

    fn sit(&mut self, peer: IpAddr) -> SeatId {
        self.counter += 1;
        let id = SeatId(self.counter);
        self.open += 1;
        self.peers.entry(peer).or_default().open += 1;
        self.seats.insert(id, Seat { peer, called: false, turn: None, leaving: false });
        self.give_turn(id);
        id
    }

    fn evict(&mut self, id: SeatId) {
        self.take_turn(id);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.leaving = true;
        let peer = seat.peer;
        self.leaving += 1;
        self.uncount(peer);
    }

    fn uncount(&mut self, peer: IpAddr) {
        self.open -= 1;
        if let Some(of_peer) = self.peers.get_mut(&peer) {
            of_peer.open -= 1;
            if of_peer.open == 0 {
                self.peers.remove(&peer);
            }
        }
    }

    fn give_turn(&mut self, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| !seat.leaving) else { return };
        self.counter += 1;
        let turn = (seat.called, self.counter);
        seat.turn = Some(turn);
        self.idle.insert(turn, id);
        self.peers.entry(seat.peer).or_default().idle.insert((turn, id));
    }

    fn take_turn(&mut self, id: SeatId) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(turn) = seat.turn.take() else { return };
        self.idle.remove(&turn);
        if let Some(of_peer) = self.peers.get_mut(&seat.peer) {
            of_peer.idle.remove(&(turn, id));
        }
    }
}

/// What stands for an address: one IPv6 customer has at least 2⁶⁴ of them, so those with the same first half are one peer.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests;
