use crate::sync::{AtomicU64, Ordering};

/// Bits of the word that count the requests in flight.
const IN_FLIGHT_BITS: u32 = 24;

/// Selects them.
const IN_FLIGHT: u64 = (1 << IN_FLIGHT_BITS) - 1;

/// Set while requests wait for a slot that this endpoint might free.
const WATCHED: u64 = 1 << IN_FLIGHT_BITS;

/// Bits below the count of requests begun.
const BEGUN_SHIFT: u32 = IN_FLIGHT_BITS + 1;

/// One request more in flight, and one more begun.
const BEGIN: u64 = (1 << BEGUN_SHIFT) + 1;

/// The most requests in flight. The 2^16 counts above it are room for threads that go beyond it at
/// the same moment and are about to take their step back.
const MOST: u64 = IN_FLIGHT - (1 << 16);

/// Requests in flight (24 bits), whether anybody waits for one of them to end (1 bit), and requests
/// begun since the start (39 bits), in one word.
///
/// One word because the pick path pays for every atomic write: beginning a request is one addition
/// that counts it twice. The 39 bits last 6 days at a million requests a second on one endpoint;
/// then the count starts again at 0, as every monotone counter does at a restart.
///
/// The mark shares the word with the count so that no slot is freed unseen: who
/// [watches](Self::watch) learns the count at the moment of the mark, and who [ends](Self::end) a
/// request later learns of the mark. It costs the end of a request nothing, not even a load.
#[derive(Debug, Default)]
pub(crate) struct InFlight(AtomicU64);

impl InFlight {
    /// Counts a request in, or answers how many are in flight if no more can be counted.
    #[inline]
    pub(crate) fn begin(&self) -> Result<(), u32> {
        let before = self.0.fetch_add(BEGIN, Ordering::Relaxed) & IN_FLIGHT;
        if before >= MOST {
            self.0.fetch_sub(BEGIN, Ordering::Relaxed);
            return Err(before as u32);
        }
        Ok(())
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

    /// Counts a request out; answers whether anybody waits for that. The release pairs with the
    /// acquire of [`now`](Self::now): who sees the count reach 0 sees all that the requests did.
    #[inline]
    #[must_use]
    pub(crate) fn end(&self) -> bool {
        let before = self.0.fetch_sub(1, Ordering::Release);
        debug_assert!(before & IN_FLIGHT > 0, "a request ended that had not begun");
        before & WATCHED != 0
    }

    /// From now on who ends a request is told that somebody waits.
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
        assert!(!counter.end());
        assert_eq!(counter.both(), (2, 1));
    }

    #[test]
    fn limit_is_reached_and_not_passed() {
        let counter = InFlight::default();
        assert_eq!([(); 3].map(|()| counter.begin_within(2)), [Ok(()), Ok(()), Err(2)]);
        assert_eq!(counter.begin_within(0), Err(2));
        assert!(!counter.end());
        assert_eq!(counter.begin_within(2), Ok(()));
        assert_eq!(counter.both(), (3, 2));
    }

    #[test]
    fn mark_touches_no_count_and_is_told_to_who_ends() {
        let counter = InFlight::default();
        counter.begin().unwrap();
        counter.begin_within(u32::MAX).unwrap();
        counter.watch();
        counter.watch();
        assert_eq!((counter.both(), counter.now()), ((2, 2), 2));
        assert!(counter.end());
        counter.unwatch();
        assert!(!counter.end());
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
