//! How many sessions an endpoint is home to, without a list of them.
//!
//! A session's token says when it was counted last, so a request that counts it again takes the
//! older count back: time is cut into slots, every slot counts the sessions whose last count fell
//! into it, and the sum over the slots of one window is the number of sessions. What nobody takes
//! back leaves with its slot.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::load::Nanos;

/// The slots of a window. A session that ends is counted on for 1 to 17 sixteenths of it.
pub(crate) const SLOTS: u64 = 16;

/// How far the time that a token tells may lie beside the time at which it was counted: it is
/// rounded to milliseconds, of another clock.
const BESIDE: Nanos = 5_000_000;

/// The sessions of one endpoint, as this process has seen them.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// A slot's length; 0 until the first session.
    slot: AtomicU64,
    /// Sessions by the time of their last count: the slot's number and how many.
    slots: [AtomicU64; SLOTS as usize],
    /// Their sum, as of a slot.
    sum: AtomicU64,
}

/// Where an endpoint stands to the sessions that call it home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// It serves them, and takes new ones.
    Serves,
    /// It serves them until its drain is over.
    Leaves,
    /// It will not serve them again: it is in maintenance, or its drain is over.
    Closed,
    /// It cannot serve them at the moment.
    Out {
        /// The first moment at which it could not.
        since: Instant,
    },
}

impl Sessions {
    /// Counts a session, with slots of the length `slot`; the first caller decides on it.
    pub(crate) fn add(&self, slot: Nanos, now: Nanos) {
        let _ = self.slot.compare_exchange(0, slot.max(1), Ordering::Relaxed, Ordering::Relaxed);
        let current = now / self.length();
        let count = |stamped| Some(pack(current, count_in(stamped, current).saturating_add(1)));
        update(self.at(current), count);
        self.adjust(current, |count| count.saturating_add(1));
    }

    /// Takes back a count of the time `at`. Does nothing if it has left already.
    pub(crate) fn remove(&self, at: Nanos, now: Nanos) {
        if self.slot.load(Ordering::Relaxed) == 0 {
            return;
        }
        let (length, current) = (self.length(), now / self.length());
        let times = [at, at.saturating_sub(BESIDE), at.saturating_add(BESIDE)];
        if times.into_iter().any(|at| self.take(at / length, current)) {
            self.adjust(current, |count| count.saturating_sub(1));
        }
    }

    /// How many there are; `None` if nobody counts.
    pub(crate) fn count(&self, now: Nanos) -> Option<u32> {
        if self.slot.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let current = now / self.length();
        let (stamp, count) = unpack(self.sum.load(Ordering::Relaxed));
        Some(if stamp == stamp_of(current) { count } else { self.sum_up(current) })
    }

    /// Takes over what another has counted.
    pub(crate) fn inherit(&self, other: &Self) {
        let copy = |to: &AtomicU64, from: &AtomicU64| {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed)
        };
        copy(&self.slot, &other.slot);
        self.slots.iter().zip(&other.slots).for_each(|(to, from)| copy(to, from));
        copy(&self.sum, &other.sum);
    }

    fn length(&self) -> Nanos {
        self.slot.load(Ordering::Relaxed).max(1)
    }

    fn at(&self, slot: u64) -> &AtomicU64 {
        &self.slots[(slot % SLOTS) as usize]
    }

    fn take(&self, slot: u64, current: u64) -> bool {
        if slot > current || current - slot >= SLOTS {
            return false;
        }
        update(self.at(slot), |stamped| match count_in(stamped, slot) {
            0 => None,
            count => Some(pack(slot, count - 1)),
        })
    }

    /// Changes the sum, or makes it anew if it is of another slot.
    fn adjust(&self, current: u64, change: impl Fn(u32) -> u32) {
        let changed = update(&self.sum, |stamped| {
            let (stamp, count) = unpack(stamped);
            (stamp == stamp_of(current)).then(|| pack(current, change(count)))
        });
        if !changed {
            self.sum_up(current);
        }
    }

    /// Adds the slots up, at the first look in a slot. A count that is made at the same moment may
    /// be missed until the next slot begins.
    #[cold]
    fn sum_up(&self, current: u64) -> u32 {
        let slots = (current.saturating_sub(SLOTS - 1)..=current)
            .map(|slot| count_in(self.at(slot).load(Ordering::Relaxed), slot));
        let sum = slots.fold(0, u32::saturating_add);
        self.sum.store(pack(current, sum), Ordering::Relaxed);
        sum
    }
}

/// Slots are told apart by their number's last 32 bits, one more so that 0 is none.
fn stamp_of(slot: u64) -> u32 {
    (slot as u32).wrapping_add(1)
}

fn pack(slot: u64, count: u32) -> u64 {
    u64::from(stamp_of(slot)) << 32 | u64::from(count)
}

fn unpack(stamped: u64) -> (u32, u32) {
    ((stamped >> 32) as u32, stamped as u32)
}

/// What is counted, if it is this slot's.
fn count_in(stamped: u64, slot: u64) -> u32 {
    let (stamp, count) = unpack(stamped);
    if stamp == stamp_of(slot) { count } else { 0 }
}

/// Whether `change` had something to store.
fn update(cell: &AtomicU64, change: impl FnMut(u64) -> Option<u64>) -> bool {
    cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Nanos = 1_000_000_000;

    #[test]
    fn nobody_counts_before_the_first_session() {
        let sessions = Sessions::default();
        sessions.remove(0, 5);
        assert_eq!(sessions.count(5), None);
        sessions.add(SLOT, 5);
        assert_eq!(sessions.count(5), Some(1));
    }

    #[test]
    fn session_leaves_with_its_window() {
        let sessions = Sessions::default();
        sessions.add(SLOT, 0);
        sessions.add(SLOT, SLOT);
        assert_eq!(sessions.count(15 * SLOT), Some(2));
        assert_eq!(sessions.count(16 * SLOT), Some(1));
        assert_eq!(sessions.count(17 * SLOT), Some(0));
        assert_eq!(sessions.count(1000 * SLOT), Some(0));
    }

    #[test]
    fn sessions_that_are_counted_again_are_counted_once() {
        let sessions = Sessions::default();
        (0..100).for_each(|nth| sessions.add(SLOT, nth * SLOT / 10));
        for round in 1..50 {
            for nth in 0..100 {
                let at = |round: u64| (round - 1) * 10 * SLOT + nth * SLOT / 10;
                let now = at(round + 1);
                // As a token tells it, within its milliseconds.
                sessions.remove(at(round).saturating_sub(2_000_000), now);
                sessions.add(SLOT, now);
            }
            assert_eq!(sessions.count(round * 10 * SLOT + 10 * SLOT - SLOT / 10), Some(100));
        }
    }

    #[test]
    fn what_was_never_counted_is_not_taken_back() {
        let sessions = Sessions::default();
        sessions.add(SLOT, 100 * SLOT);
        sessions.remove(50 * SLOT, 100 * SLOT);
        sessions.remove(u64::MAX, 100 * SLOT);
        assert_eq!(sessions.count(100 * SLOT), Some(1));
        sessions.remove(100 * SLOT, 100 * SLOT);
        sessions.remove(100 * SLOT, 100 * SLOT);
        assert_eq!(sessions.count(100 * SLOT), Some(0));
    }
}
