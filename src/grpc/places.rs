//! Places for calls whose work is long: so many in all, and fewer of one peer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shares::UsedUp;
use crate::net::network;

/// The places for one kind of work. Cheap to clone; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Places {
    taken: Arc<Mutex<Taken>>,
    most: usize,
    most_of_peer: usize,
    /// What is used up when all are taken.
    used_up: UsedUp,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Those of each peer that has one.
    peers: HashMap<IpAddr, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Taking {
    places: Places,
    pub(super) peer: Option<IpAddr>,
}

impl Places {
    /// So many places, half of them for one peer; all of them if peers are not told apart, as behind a proxy.
    pub(super) fn new(most: usize, tells_peers_apart: bool, used_up: UsedUp) -> Self {
        let most_of_peer = if tells_peers_apart { most.div_ceil(2) } else { most };
        Self { taken: Arc::default(), most, most_of_peer, used_up }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are taken.
    pub(super) fn count(&self) -> usize {
        self.taken().all
    }

    /// Takes a place, if there is one. A caller without an address has only the limit of all.
    pub(super) fn take(&self, address: Option<IpAddr>) -> Result<Taking, UsedUp> {
        let peer = address.map(network);
        let mut taken = self.taken();
        let of_peer = peer.and_then(|peer| taken.peers.get(&peer)).copied().unwrap_or_default();
        if taken.all >= self.most {
            return Err(self.used_up);
        }
        if of_peer >= self.most_of_peer {
            return Err(UsedUp::PeerWork);
        }
        taken.all += 1;
        if let Some(peer) = peer {
            taken.peers.insert(peer, of_peer + 1);
        }
        Ok(Taking { places: self.clone(), peer })
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(peer) = self.peer
            && let Some(count) = taken.peers.get_mut(&peer)
        {
            *count -= 1;
            if *count == 0 {
                taken.peers.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn a_peer_has_half_of_the_places() {
        let places = Places::new(4, true, UsedUp::Scans);
        let mut taken: Vec<Taking> = Vec::new();
        let mut take = |address| places.take(address).map(|taking| taken.push(taking));
        assert_eq!(take(peer("2001:db8::1")), Ok(()));
        assert_eq!(take(peer("2001:db8::2")), Ok(()));
        assert_eq!(take(peer("2001:db8::3")), Err(UsedUp::PeerWork), "a network of IPv6 is one peer");
        assert_eq!(take(peer("10.0.0.1")), Ok(()));
        assert_eq!(take(None), Ok(()));
        assert_eq!(take(peer("10.0.0.1")), Err(UsedUp::Scans));
        assert_eq!(take(None), Err(UsedUp::Scans));
        drop(taken);
        assert!(places.count() == 0 && places.taken().peers.is_empty());
    }

    #[test]
    fn without_an_address_and_behind_a_proxy_there_is_only_the_limit_of_all() {
        for (places, address) in [
            (Places::new(3, true, UsedUp::Work), None),
            (Places::new(3, false, UsedUp::Work), peer("10.0.0.1")),
        ] {
            let taken: Vec<_> = (0..3).map(|_| places.take(address).expect("a place")).collect();
            assert_eq!(places.take(address).err(), Some(UsedUp::Work));
            drop(taken);
        }
    }
}
