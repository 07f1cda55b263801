//! Who may have how many of the calls that are answered at once.
//!
//! One peer may not use up all calls, and streams, which may last for hours, may not use up those of short calls: streams get at most
//! three quarters, of all calls and of a peer's. A peer is an IP address, in IPv6 a network of 64 bits: one machine has as many addresses
//! there as it likes.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::net::network;

/// How long a call may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One request, one answer.
    Short,
    /// A stream, for as long as its caller likes.
    Stream,
}

/// What a call found used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsedUp {
    /// All calls.
    Calls,
    /// All calls of streams.
    Streams,
    /// The calls of its peer.
    PeerCalls,
    /// The streams of its peer.
    PeerStreams,
    /// The bytes of all requests and answers.
    Bytes,
    /// The bytes of the requests and answers of its peer.
    PeerBytes,
    /// The places of those who wait for work on conversations.
    Work,
    /// The places of those who wait to read profiles.
    Reads,
    /// The places of those who wait to look through the profile store.
    Scans,
    /// The backups.
    Backups,
    /// The places of its peer, of one kind of work or of backups.
    PeerWork,
}

impl UsedUp {
    /// Its name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Streams => "streams",
            Self::PeerCalls => "peer_calls",
            Self::PeerStreams => "peer_streams",
            Self::Bytes => "bytes",
            Self::PeerBytes => "peer_bytes",
            Self::Work => "work",
            Self::Reads => "reads",
            Self::Scans => "scans",
            Self::Backups => "backups",
            Self::PeerWork => "peer_work",
        }
    }

    /// Whether it is a limit of the caller's own address.
    pub(super) fn is_of_peer(self) -> bool {
        matches!(self, Self::PeerCalls | Self::PeerStreams | Self::PeerBytes | Self::PeerWork)
    }

    /// The reason in its `ErrorInfo`.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Calls | Self::Streams | Self::PeerCalls | Self::PeerStreams => "TOO_MANY_CALLS",
            Self::Bytes | Self::PeerBytes => "TOO_MANY_BYTES",
            Self::Work | Self::Reads | Self::Scans | Self::Backups | Self::PeerWork => "TOO_MUCH_WORK",
        }
    }

    /// What its caller is told.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Calls => {
                "more calls are being answered than this server takes; retry after the delay given"
            }
            Self::Streams => {
                "more streams are open than this server takes beside short calls; retry after the delay given"
            }
            Self::PeerCalls => {
                "your address has as many calls open as one may have (server.max_peer_calls); retry after the delay given"
            }
            Self::PeerStreams => {
                "your address has as many streams open as one may have beside short calls (three quarters of \
                 server.max_peer_calls); retry after the delay given"
            }
            Self::Bytes => {
                "requests and answers hold as many bytes as they may (server.max_request_bytes); retry after the \
                 delay given"
            }
            Self::PeerBytes => {
                "requests and answers of your address hold as many bytes as they may \
                 (server.max_peer_request_bytes); retry after the delay given"
            }
            Self::Work => "too many conversations wait to be analyzed; retry after the delay given",
            Self::Reads => "too many calls wait to read profiles; retry after the delay given",
            Self::Scans => {
                "too many calls wait to look through the profile store; retry after the delay given"
            }
            Self::Backups => {
                "as many backups are being read as may be at once, or bytes of erased customers are about to be wiped off the \
                 disk, which goes first; retry after the delay given"
            }
            Self::PeerWork => {
                "as much long work of your address waits as may of one, which is half of the places; retry after the delay \
                 given, or ask for less at once"
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Open {
    calls: usize,
    streams: usize,
}

impl Open {
    fn has_room(self, kind: Kind, most: usize) -> Result<(), Kind> {
        if self.calls >= most {
            return Err(Kind::Short);
        }
        let room = kind == Kind::Short || self.streams < most - most / 4;
        if room { Ok(()) } else { Err(Kind::Stream) }
    }

    fn add(&mut self, kind: Kind) {
        self.calls += 1;
        self.streams += usize::from(kind == Kind::Stream);
    }

    fn remove(&mut self, kind: Kind) {
        self.calls -= 1;
        self.streams -= usize::from(kind == Kind::Stream);
    }
}

/// The calls that are open.
#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    most_of_peer: usize,
    all: Open,
    peers: HashMap<IpAddr, Open>,
}

impl Shares {
    pub(super) fn new(most: usize, most_of_peer: usize) -> Self {
        Self { most, most_of_peer, all: Open::default(), peers: HashMap::new() }
    }

    /// Counts a call, if there is room for it; how many there are then. A caller without an address has only the limit of all.
    pub(super) fn enter(&mut self, peer: Option<IpAddr>, kind: Kind) -> Result<usize, UsedUp> {
        self.all.has_room(kind, self.most).map_err(|full| match full {
            Kind::Short => UsedUp::Calls,
            Kind::Stream => UsedUp::Streams,
        })?;
        if let Some(peer) = peer.map(network) {
            let open = self.peers.entry(peer).or_default();
            if let Err(full) = open.has_room(kind, self.most_of_peer) {
                return Err(match full {
                    Kind::Short => UsedUp::PeerCalls,
                    Kind::Stream => UsedUp::PeerStreams,
                });
            }
            open.add(kind);
        }
        self.all.add(kind);
        Ok(self.all.calls)
    }

    /// A call that was counted has ended; how many are left.
    pub(super) fn leave(&mut self, peer: Option<IpAddr>, kind: Kind) -> usize {
        self.all.remove(kind);
        if let Some(peer) = peer.map(network)
            && let Some(open) = self.peers.get_mut(&peer)
        {
            open.remove(kind);
            if *open == Open::default() {
                self.peers.remove(&peer);
            }
        }
        self.all.calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, number]))
    }

    #[test]
    fn no_peer_uses_up_all_and_no_stream_the_room_of_short_calls() {
        let mut shares = Shares::new(16, 8);
        for open in 1..=6 {
            assert_eq!(shares.enter(peer(1), Kind::Stream), Ok(open));
        }
        assert_eq!(shares.enter(peer(1), Kind::Stream), Err(UsedUp::PeerStreams));
        assert_eq!(shares.enter(peer(1), Kind::Short), Ok(7));
        assert_eq!(shares.enter(peer(1), Kind::Short), Ok(8));
        assert_eq!(shares.enter(peer(1), Kind::Short), Err(UsedUp::PeerCalls));
        for open in 9..=14 {
            assert_eq!(shares.enter(peer(2), Kind::Stream), Ok(open));
        }
        assert_eq!(shares.enter(peer(3), Kind::Stream), Err(UsedUp::Streams));
        assert_eq!(shares.enter(peer(3), Kind::Short), Ok(15));
        assert_eq!(shares.enter(peer(3), Kind::Short), Ok(16));
        assert_eq!(shares.enter(peer(3), Kind::Short), Err(UsedUp::Calls));
        assert_eq!(shares.leave(peer(1), Kind::Stream), 15);
        assert_eq!(shares.enter(peer(1), Kind::Stream), Ok(16));
    }

    #[test]
    fn a_peer_that_left_takes_no_memory() {
        let mut shares = Shares::new(16, 8);
        for number in 0..=255 {
            assert_eq!(shares.enter(peer(number), Kind::Stream), Ok(1));
            assert_eq!(shares.leave(peer(number), Kind::Stream), 0);
        }
        assert!(shares.peers.is_empty());
        // One that was refused was never there.
        let mut none = Shares::new(16, 0);
        assert_eq!(none.enter(peer(1), Kind::Short), Err(UsedUp::PeerCalls));
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let mut shares = Shares::new(16, 1);
        let address = |text: &str| Some(text.parse().expect("an address"));
        assert_eq!(shares.enter(address("2001:db8::1"), Kind::Short), Ok(1));
        assert_eq!(shares.enter(address("2001:db8::2"), Kind::Short), Err(UsedUp::PeerCalls));
        assert_eq!(shares.enter(address("2001:db8:0:1::1"), Kind::Short), Ok(2));
        assert_eq!(shares.enter(address("10.0.0.1"), Kind::Short), Ok(3));
        assert_eq!(shares.enter(address("::ffff:10.0.0.1"), Kind::Short), Err(UsedUp::PeerCalls));
    }
}
