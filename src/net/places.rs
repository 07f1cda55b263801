//! The places of a port, shared by its connections: who must leave is told so.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::seats::{Admission, Caps, Full, SeatId, Seats};

/// All places of a port.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    seats: Seats,
    eviction: HashMap<SeatId, Arc<Notify>>,
}

impl Places {
    pub(super) fn new(caps: Caps) -> Self {
        Self(Arc::new(Mutex::new(Taken { seats: Seats::new(caps), eviction: HashMap::new() })))
    }

    /// A place for a newcomer, if there is one.
    pub(super) fn take(&self, peer: IpAddr) -> Result<Place, Full> {
        let mut taken = self.taken();
        match taken.seats.admit(peer) {
            Admission::Admitted { seat, evicted } => {
                if let Some(leaves) = evicted.and_then(|evicted| taken.eviction.remove(&evicted)) {
                    leaves.notify_one();
                }
                let eviction = Arc::new(Notify::new());
                taken.eviction.insert(seat, Arc::clone(&eviction));
                Ok(Place { places: self.clone(), seat, eviction })
            }
            Admission::Refused(full) => Err(full),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    seat: SeatId,
    eviction: Arc<Notify>,
}

impl Place {
    pub(super) fn busy(&self) {
        self.places.taken().seats.busy(self.seat);
    }

    pub(super) fn idle(&self) {
        self.places.taken().seats.idle(self.seat);
    }

    /// Completes, once, when a newcomer was given this place.
    pub(super) async fn evicted(&self) {
        self.eviction.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.seats.left(self.seat);
        taken.eviction.remove(&self.seat);
    }
}
