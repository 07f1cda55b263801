//! File descriptors: the limit of this process, and who may use how many of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the model, log, sinks, epoll and what else is opened once.
const BASE: u64 = 64;

/// For files that the store opens beside those that it keeps open: journals, and tables while they are merged.
const STORE_WORK: u64 = 64;

/// What fjall keeps open if nobody says otherwise.
const MOST_STORE_FILES: u64 = 900;

/// Where the system names no limit.
const UNLIMITED: u64 = 1 << 20;

/// The share of each part of the process, such that all together stay below the limit: connections can never keep the
/// store from opening a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Files that the profile store keeps open.
    pub store_files: usize,
    /// Connections of the HTTP port.
    pub http: usize,
    /// Connections of the gRPC port.
    pub grpc: usize,
}

impl Shares {
    /// The shares under a limit.
    pub fn of(limit: u64) -> Self {
        let store_files = (limit / 4).clamp(32, MOST_STORE_FILES);
        let http = (limit / 8).clamp(8, 128);
        let grpc = limit.saturating_sub(BASE + STORE_WORK + store_files + http).max(8);
        let count = |share: u64| usize::try_from(share).unwrap_or(usize::MAX);
        Self { store_files: count(store_files), http: count(http), grpc: count(grpc) }
    }

    /// The shares under the limit of this process, as it is now.
    pub fn now() -> Self {
        Self::of(soft(getrlimit(Resource::Nofile)))
    }
}

/// What became of the limit of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// The limit before.
    pub from: u64,
    /// The limit now.
    pub to: u64,
}

/// Raises the soft limit on descriptors to the hard one. Call it before anything is opened that counts on it.
pub fn raise() -> Raised {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        // macOS refuses more than `kern.maxfilesperproc`; the soft limit then stays.
        tracing::debug!(%error, "the limit on file descriptors stays as it is");
    }
    Raised { from: soft(limit), to: soft(getrlimit(Resource::Nofile)) }
}

fn soft(limit: Rlimit) -> u64 {
    limit.current.unwrap_or(UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_stay_below_the_limit() {
        for limit in [256, 512, 1024, 4096, 65_536, 1 << 20, u64::MAX] {
            let Shares { store_files, http, grpc } = Shares::of(limit);
            let all = [store_files, http, grpc].map(|share| share as u64).iter().sum::<u64>();
            assert!(all + BASE + STORE_WORK <= limit, "{limit}");
        }
        assert_eq!(Shares::of(1024), Shares { store_files: 256, http: 128, grpc: 512 });
    }
}
