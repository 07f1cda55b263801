#![allow(clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn peer(number: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, number])
}

fn seats(total: usize, per_peer: usize) -> Seats {
    Seats::new(Caps { total, per_peer })
}

fn admitted(seats: &mut Seats, number: u8) -> (SeatId, Option<SeatId>) {
    match seats.admit(peer(number)) {
        Admission::Admitted { seat, evicted } => (seat, evicted),
        Admission::Refused(full) => panic!("{full:?}"),
    }
}

/// A connection with an open call.
fn busy(seats: &mut Seats, number: u8) -> SeatId {
    let (seat, _) = admitted(seats, number);
    seats.busy(seat);
    seat
}

#[test]
fn busy_connections_are_never_evicted() {
    let mut seats = seats(3, 2);
    let first = busy(&mut seats, 1);
    busy(&mut seats, 1);
    assert_eq!(seats.admit(peer(1)), Admission::Refused(Full::Peer));
    busy(&mut seats, 2);
    assert_eq!(seats.admit(peer(3)), Admission::Refused(Full::Total));
    seats.left(first);
    assert_eq!(admitted(&mut seats, 3).1, None);
}

#[test]
fn a_connection_that_never_called_leaves_before_one_that_did_and_the_oldest_first() {
    let mut seats = seats(3, 3);
    let called = busy(&mut seats, 1);
    seats.idle(called);
    let (silent, _) = admitted(&mut seats, 2);
    let (later, _) = admitted(&mut seats, 2);
    assert_eq!(admitted(&mut seats, 3).1, Some(silent));
    assert_eq!(admitted(&mut seats, 3).1, Some(later));
}

#[test]
fn a_peer_at_its_cap_makes_room_out_of_its_own() {
    let mut seats = seats(10, 2);
    let (other, _) = admitted(&mut seats, 1);
    let (first, _) = admitted(&mut seats, 2);
    admitted(&mut seats, 2);
    let (_, evicted) = admitted(&mut seats, 2);
    assert_eq!(evicted, Some(first));
    assert_ne!(evicted, Some(other));
}

#[test]
fn evicted_connections_that_stay_open_do_not_add_up() {
    let mut seats = seats(2, 2);
    admitted(&mut seats, 1);
    admitted(&mut seats, 1);
    let evicted: Vec<_> = (0..MOST_LEAVING).filter_map(|_| admitted(&mut seats, 1).1).collect();
    assert_eq!(seats.admit(peer(1)), Admission::Refused(Full::Peer));
    seats.left(evicted[0]);
    assert!(admitted(&mut seats, 1).1.is_some());
}

#[test]
fn addresses_of_one_customer_are_one_peer() {
    for (one, other, same) in [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ("::ffff:192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
    ] {
        let [one, other]: [IpAddr; 2] = [one, other].map(|address| address.parse().expect("an address"));
        assert_eq!(network(one) == network(other), same, "{one} {other}");
    }
}

proptest! {
    #[test]
    fn caps_hold_and_nothing_is_left_behind(steps in prop::collection::vec((0u8..4, 0u8..5, any::<prop::sample::Index>()), 0..300)) {
        let caps = Caps { total: 6, per_peer: 3 };
        let mut seats = Seats::new(caps);
        // What is open or leaving, with its peer.
        let mut open: Vec<(SeatId, u8)> = Vec::new();
        let mut leaving = HashSet::new();
        for (step, number, which) in steps {
            match step {
                0 => if let Admission::Admitted { seat, evicted } = seats.admit(peer(number)) {
                    open.push((seat, number));
                    leaving.extend(evicted);
                },
                _ if open.is_empty() => {}
                1 => seats.busy(open[which.index(open.len())].0),
                2 => seats.idle(open[which.index(open.len())].0),
                _ => {
                    let (seat, _) = open.swap_remove(which.index(open.len()));
                    leaving.remove(&seat);
                    seats.left(seat);
                }
            }
            let counted: Vec<_> = open.iter().filter(|(seat, _)| !leaving.contains(seat)).collect();
            prop_assert_eq!(counted.len(), seats.open);
            prop_assert!(counted.len() <= caps.total);
            for number in 0..5 {
                prop_assert!(counted.iter().filter(|(_, of)| *of == number).count() <= caps.per_peer);
            }
            prop_assert_eq!(leaving.len(), seats.leaving);
        }
        for (seat, _) in open {
            seats.left(seat);
        }
        prop_assert!(seats.seats.is_empty() && seats.peers.is_empty() && seats.idle.is_empty());
        prop_assert_eq!((seats.open, seats.leaving), (0, 0));
    }
}
