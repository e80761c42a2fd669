use crate::sync::{AtomicU64, Ordering};

/// Bits of the word that count the requests in flight.
const IN_FLIGHT_BITS: u32 = 24;

/// Selects them.
const IN_FLIGHT: u64 = (1 << IN_FLIGHT_BITS) - 1;

/// Set while somebody waits for the count to reach 0. Above the count, so that "is watched" and "is
/// full" are one comparison to the path of every pick.
const WATCHED: u64 = 1 << IN_FLIGHT_BITS;

/// Where the count of requests begun starts.
const BEGUN_SHIFT: u32 = IN_FLIGHT_BITS + 1;

/// One request more in flight, and one more begun.
const BEGIN: u64 = (1 << BEGUN_SHIFT) + 1;

/// The most requests in flight. The 2^16 counts above it are room for threads that go beyond it at
/// the same moment and are about to take their step back.
const MOST: u64 = IN_FLIGHT - (1 << 16);

/// How a request has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Unwatched,
    /// The endpoint is to take no more: it has to be seen whether this one may stay.
    Watched,
}

/// Requests in flight (24 bits), whether somebody waits for their end (1 bit) and requests begun
/// since the start (39 bits), in one word.
///
/// One word because the pick path pays for every atomic write: beginning a request is one addition
/// that counts it twice. The 39 bits last 6 days at a million requests a second on one endpoint;
/// then the count starts again at 0, as every monotone counter does at a restart.
///
/// And one word because the end of the last request must not be missed by who waits for it: either
/// it finds the bit set, or who sets the bit finds the count at 0.
#[derive(Debug, Default)]
pub(crate) struct InFlight(AtomicU64);

impl InFlight {
    /// Counts a request in, or answers how many are in flight if no more can be counted.
    #[inline]
    pub(crate) fn begin(&self) -> Result<Begun, u32> {
        let before = self.0.fetch_add(BEGIN, Ordering::Relaxed) & (IN_FLIGHT | WATCHED);
        if before >= MOST { self.begin_watched(before) } else { Ok(Begun::Unwatched) }
    }

    #[cold]
    fn begin_watched(&self, before: u64) -> Result<Begun, u32> {
        let in_flight = before & IN_FLIGHT;
        if in_flight >= MOST {
            self.0.fetch_sub(BEGIN, Ordering::Relaxed);
            return Err(in_flight as u32);
        }
        // Pairs with the release of `watch`: what was published before it is seen from here on.
        self.now();
        Ok(Begun::Watched)
    }

    /// Counts a request out; answers whether it was the last one and somebody waits for that. The
    /// release pairs with the acquire of [`now`](Self::now): who sees the count reach 0 sees all
    /// that the requests did.
    #[inline]
    pub(crate) fn end(&self) -> bool {
        let before = self.0.fetch_sub(1, Ordering::Release);
        debug_assert!(before & IN_FLIGHT > 0, "a request ended that had not begun");
        before & (IN_FLIGHT | WATCHED) == WATCHED + 1
    }

    /// From now on the last request tells of its [end](Self::end), and a new one finds that it is
    /// [watched](Begun::Watched).
    pub(crate) fn watch(&self) {
        self.0.fetch_or(WATCHED, Ordering::AcqRel);
    }

    pub(crate) fn unwatch(&self) {
        self.0.fetch_and(!WATCHED, Ordering::Relaxed);
    }

    /// Whether it is watched and nothing is in flight.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire) & (IN_FLIGHT | WATCHED) == WATCHED
    }

    #[inline]
    pub(crate) fn now(&self) -> u32 {
        (self.0.load(Ordering::Acquire) & IN_FLIGHT) as u32
    }

    /// Requests begun, and those of them in flight, at one moment.
    pub(crate) fn both(&self) -> (u64, u32) {
        let word = self.0.load(Ordering::Acquire);
        (word >> BEGUN_SHIFT, (word & IN_FLIGHT) as u32)
    }
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

    #[test]
    fn begins_and_ends_are_counted() {
        let counter = InFlight::default();
        counter.begin().unwrap();
        counter.begin().unwrap();
        assert!(!counter.end());
        assert_eq!(counter.both(), (2, 1));
        assert!(!counter.end(), "nobody watches");
    }

    #[test]
    fn watched_counter_tells_the_last_end_and_lets_requests_know() {
        let counter = InFlight::default();
        assert_eq!(counter.begin(), Ok(Begun::Unwatched));
        counter.watch();
        assert!(!counter.is_over());
        assert_eq!(counter.begin(), Ok(Begun::Watched));
        assert!(!counter.end());
        assert!(counter.end() && counter.is_over());
        assert_eq!(counter.both(), (2, 0));
        counter.unwatch();
        assert_eq!(counter.begin(), Ok(Begun::Unwatched));
        assert!(!counter.is_over() && !counter.end());
    }

    #[test]
    fn full_counter_refuses_and_stays_as_it_was() {
        let counter = InFlight(AtomicU64::new(MOST));
        assert_eq!(counter.begin(), Err(MOST as u32));
        assert_eq!(counter.both(), (0, MOST as u32));
    }

    #[test]
    fn begun_count_wraps_without_touching_the_requests_in_flight() {
        let counter = InFlight(AtomicU64::new(u64::MAX << BEGUN_SHIFT));
        counter.begin().unwrap();
        assert_eq!(counter.both(), (0, 1));
    }
}
