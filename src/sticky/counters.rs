use std::sync::atomic::{AtomicU64, Ordering};

use super::SessionState;

/// What a layer has counted since it was made. All clones of it count together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Sessions that began.
    pub new: u64,
    /// Requests that their session's home has served.
    pub home: u64,
    /// Requests that another endpoint has served, while the home stays.
    pub diverted: u64,
    /// Sessions whose home serves them no more and that were given another.
    pub rebound: u64,
    /// Sessions that moved at a safe point.
    pub moved: u64,
    /// Safe points at which a session would have moved if it had not been for the rate.
    pub deferred: u64,
    /// Sessions that the application could not hand over.
    pub stayed: u64,
    /// Requests that failed because their home could not serve them
    /// ([`OnMiss::Fail`](super::OnMiss::Fail)).
    pub missed: u64,
    /// Cookies set.
    pub set: u64,
    /// Cookies of our name that were no token: cut, too long, of other characters.
    pub malformed: u64,
    /// Tokens that none of the keys has signed for this cookie and cluster.
    pub forged: u64,
    /// Tokens past `idle` or `absolute`.
    pub expired: u64,
    /// Tokens from the future.
    pub future: u64,
}

/// The same, being counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) new: Counter,
    pub(super) home: Counter,
    pub(super) diverted: Counter,
    pub(super) rebound: Counter,
    pub(super) moved: Counter,
    pub(super) deferred: Counter,
    pub(super) stayed: Counter,
    pub(super) missed: Counter,
    pub(super) set: Counter,
    pub(super) malformed: Counter,
    pub(super) forged: Counter,
    pub(super) expired: Counter,
    pub(super) future: Counter,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn read(&self) -> Counts {
        Counts {
            new: self.new.read(),
            home: self.home.read(),
            diverted: self.diverted.read(),
            rebound: self.rebound.read(),
            moved: self.moved.read(),
            deferred: self.deferred.read(),
            stayed: self.stayed.read(),
            missed: self.missed.read(),
            set: self.set.read(),
            malformed: self.malformed.read(),
            forged: self.forged.read(),
            expired: self.expired.read(),
            future: self.future.read(),
        }
    }

    /// Counts a request that was served.
    pub(super) fn served(&self, state: SessionState) {
        match state {
            SessionState::New => self.new.count(),
            SessionState::Rebound => self.rebound.count(),
            SessionState::Diverted => self.diverted.count(),
            SessionState::Home | SessionState::Moved => self.home.count(),
        }
    }
}
