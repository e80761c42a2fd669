use crate::sync::{AtomicU64, Ordering};

/// Bits of the word that count the requests in flight.
const IN_FLIGHT_BITS: u32 = 24;

/// Selects them.
const IN_FLIGHT: u64 = (1 << IN_FLIGHT_BITS) - 1;

/// Set while the endpoint is drained and somebody waits for the count to reach 0. Right above the
/// count, so that "is drained" and "is full" are one comparison to the path of every pick.
const DRAINED: u64 = 1 << IN_FLIGHT_BITS;

/// Set while requests wait for a slot that this endpoint might free.
const WATCHED: u64 = DRAINED << 1;

/// Bits below the count of requests begun.
const BEGUN_SHIFT: u32 = IN_FLIGHT_BITS + 2;

/// One request more in flight, and one more begun.
const BEGIN: u64 = (1 << BEGUN_SHIFT) + 1;

/// The most requests in flight. The 2^16 counts above it are room for threads that go beyond it at
/// the same moment and are about to take their step back.
const MOST: u64 = IN_FLIGHT - (1 << 16);

/// How a request has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Freely,
    /// The endpoint is to take no more: it has to be seen whether this one may stay.
    Drained,
}

/// What who ends a request has to see to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended(u64);

impl Ended {
    /// Whether there is anything.
    #[inline]
    pub(crate) fn is_marked(self) -> bool {
        self.0 & (DRAINED | WATCHED) != 0
    }

    /// Whether others wait for the slot.
    pub(crate) fn is_watched(self) -> bool {
        self.0 & WATCHED != 0
    }

    /// Whether a drain waits for this, the last request.
    pub(crate) fn is_last(self) -> bool {
        self.0 & (IN_FLIGHT | DRAINED) == DRAINED + 1
    }
}

/// Requests in flight (24 bits), whether a drain waits for their end (1 bit), whether anybody waits
/// for one of them to end (1 bit), and requests begun since the start (38 bits), in one word.
///
/// One word because the pick path pays for every atomic write: beginning a request is one addition
/// that counts it twice. The 38 bits last 3 days at a million requests a second on one endpoint;
/// then the count starts again at 0, as every monotone counter does at a restart.
///
/// The marks share the word with the count so that nothing is missed: who marks it learns the count
/// at that moment, and who [begins](Self::begin) or [ends](Self::end) a request later learns of the
/// marks. They cost a request nothing, not even a load.
#[derive(Debug, Default)]
pub(crate) struct InFlight(AtomicU64);

impl InFlight {
    /// Counts a request in, or answers how many are in flight if no more can be counted.
    #[inline]
    pub(crate) fn begin(&self) -> Result<Begun, u32> {
        let before = self.0.fetch_add(BEGIN, Ordering::Relaxed) & (IN_FLIGHT | DRAINED);
        if before >= MOST { self.begin_marked(before) } else { Ok(Begun::Freely) }
    }

    /// Counts a request in if fewer than `limit` are in flight, or answers how many are.
    #[inline]
    pub(crate) fn begin_within(&self, limit: u32) -> Result<(), u32> {
        let limit = u64::from(limit).min(MOST);
        let mut before = self.0.load(Ordering::Relaxed);
        while before & IN_FLIGHT < limit {
            let next = before.wrapping_add(BEGIN);
            match self.0.compare_exchange_weak(before, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => before = now,
            }
        }
        Err((before & IN_FLIGHT) as u32)
    }

    #[cold]
    fn begin_marked(&self, before: u64) -> Result<Begun, u32> {
        let in_flight = before & IN_FLIGHT;
        if in_flight >= MOST {
            self.0.fetch_sub(BEGIN, Ordering::Relaxed);
            return Err(in_flight as u32);
        }
        // Pairs with the release of `drain`: what was published before it is seen from here on.
        self.now();
        Ok(Begun::Drained)
    }

    /// Whether it is drained. Who has counted a request in and asks then cannot miss a drain that
    /// has missed the request: both are in one word.
    #[inline]
    pub(crate) fn is_drained(&self) -> bool {
        self.0.load(Ordering::Acquire) & DRAINED != 0
    }

    /// Counts a request out; answers who waits for that. The release pairs with the acquire of
    /// [`now`](Self::now): who sees the count reach 0 sees all that the requests did.
    #[inline]
    #[must_use]
    pub(crate) fn end(&self) -> Ended {
        let before = self.0.fetch_sub(1, Ordering::Release);
        debug_assert!(before & IN_FLIGHT > 0, "a request ended that had not begun");
        Ended(before)
    }

    /// From now on the last request [tells](Ended::is_last) of its end, and a new one finds that it
    /// is [drained](Begun::Drained).
    pub(crate) fn drain(&self) {
        self.0.fetch_or(DRAINED, Ordering::AcqRel);
    }

    pub(crate) fn undrain(&self) {
        self.0.fetch_and(!DRAINED, Ordering::Relaxed);
    }

    /// Whether it is drained and nothing is in flight.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire) & (IN_FLIGHT | DRAINED) == DRAINED
    }

    /// From now on who ends a request [is told](Ended::is_watched) that somebody waits.
    pub(crate) fn watch(&self) {
        self.0.fetch_or(WATCHED, Ordering::AcqRel);
    }

    /// Nobody waits any more.
    pub(crate) fn unwatch(&self) {
        self.0.fetch_and(!WATCHED, Ordering::AcqRel);
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
        assert!(!counter.end().is_marked());
        assert_eq!(counter.both(), (2, 1));
        assert!(!counter.end().is_last(), "nobody waits for it");
    }

    #[test]
    fn drained_counter_tells_the_last_end_and_lets_requests_know() {
        let counter = InFlight::default();
        assert_eq!(counter.begin(), Ok(Begun::Freely));
        counter.drain();
        assert!(!counter.is_over() && counter.is_drained());
        assert_eq!(counter.begin(), Ok(Begun::Drained));
        assert!(!counter.end().is_last());
        assert!(counter.end().is_last() && counter.is_over());
        assert_eq!(counter.both(), (2, 0));
        counter.undrain();
        assert_eq!(counter.begin(), Ok(Begun::Freely));
        assert!(!counter.is_over() && !counter.end().is_marked());
    }

    #[test]
    fn limit_is_reached_and_not_passed() {
        let counter = InFlight::default();
        assert_eq!([(); 3].map(|()| counter.begin_within(2)), [Ok(()), Ok(()), Err(2)]);
        assert_eq!(counter.begin_within(0), Err(2));
        assert!(!counter.end().is_marked());
        assert_eq!(counter.begin_within(2), Ok(()));
        assert_eq!(counter.both(), (3, 2));
    }

    #[test]
    fn marks_touch_neither_count_nor_each_other_and_are_told_to_who_ends() {
        let counter = InFlight::default();
        counter.begin().unwrap();
        counter.begin_within(u32::MAX).unwrap();
        counter.watch();
        counter.watch();
        assert_eq!((counter.both(), counter.now()), ((2, 2), 2));
        assert!(counter.end().is_watched());
        counter.drain();
        counter.unwatch();
        let last = counter.end();
        assert!(!last.is_watched() && last.is_last());
        assert_eq!(counter.both(), (2, 0));
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
