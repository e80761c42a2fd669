use crate::sync::{AtomicU64, Ordering};

/// Bits of the word that count the requests in flight.
const IN_FLIGHT_BITS: u32 = 24;

/// Selects them.
const IN_FLIGHT: u64 = (1 << IN_FLIGHT_BITS) - 1;

/// One request more in flight, and one more begun.
const BEGIN: u64 = (1 << IN_FLIGHT_BITS) + 1;

/// The most requests in flight. The 2^16 counts above it are room for threads that go beyond it at
/// the same moment and are about to take their step back.
const MOST: u64 = IN_FLIGHT - (1 << 16);

/// Requests in flight (24 bits) and requests begun since the start (40 bits), in one word.
///
/// One word because the pick path pays for every atomic write: beginning a request is one addition
/// that counts it twice. The 40 bits last 12 days at a million requests a second on one endpoint;
/// then the count starts again at 0, as every monotone counter does at a restart.
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

    /// Counts a request out. The release pairs with the acquire of [`now`](Self::now): who sees
    /// the count reach 0 sees all that the requests did.
    #[inline]
    pub(crate) fn end(&self) {
        let before = self.0.fetch_sub(1, Ordering::Release);
        debug_assert!(before & IN_FLIGHT > 0, "a request ended that had not begun");
    }

    #[inline]
    pub(crate) fn now(&self) -> u32 {
        (self.0.load(Ordering::Acquire) & IN_FLIGHT) as u32
    }

    /// Requests begun, and those of them in flight, at one moment.
    pub(crate) fn both(&self) -> (u64, u32) {
        let word = self.0.load(Ordering::Acquire);
        (word >> IN_FLIGHT_BITS, (word & IN_FLIGHT) as u32)
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
        counter.end();
        assert_eq!(counter.both(), (2, 1));
    }

    #[test]
    fn full_counter_refuses_and_stays_as_it_was() {
        let counter = InFlight(AtomicU64::new(MOST));
        assert_eq!(counter.begin(), Err(MOST as u32));
        assert_eq!(counter.both(), (0, MOST as u32));
    }

    #[test]
    fn begun_count_wraps_without_touching_the_requests_in_flight() {
        let counter = InFlight(AtomicU64::new(u64::MAX << IN_FLIGHT_BITS));
        counter.begin().unwrap();
        assert_eq!(counter.both(), (0, 1));
    }
}
