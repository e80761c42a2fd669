use std::time::{Duration, Instant};

use super::{Backoff, Outlier};
use crate::random::unit;

/// What is added to an ejection at random, as a share of it: a tenth spreads the returns of
/// endpoints that were ejected together.
const JITTER: f64 = 0.1;

/// How often an endpoint was ejected lately, which says for how long the next time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ejections(u32);

impl Ejections {
    /// Counts one more; answers when it ends. `draw` is random.
    pub(crate) fn eject(&mut self, now: Instant, outlier: &Outlier, draw: u64) -> Instant {
        self.0 = self.0.saturating_add(1);
        let time = self.time(outlier);
        let jitter = time.mul_f64((JITTER * unit(draw)).clamp(0.0, JITTER).min(headroom(time)));
        let end = now.checked_add(time.saturating_add(jitter));
        // A time beyond what a clock can tell is as good as the longest that is meant.
        end.or_else(|| now.checked_add(Outlier::LONGEST)).unwrap_or(now)
    }

    /// Takes one back after an interval without; answers how many are left.
    pub(crate) fn healthy_interval(&mut self) -> u32 {
        self.0 = self.0.saturating_sub(1);
        self.0
    }

    /// As many as an earlier process had counted.
    #[cfg(feature = "serde")]
    pub(crate) fn restored(count: u32) -> Self {
        Self(count)
    }

    #[cfg(feature = "serde")]
    pub(crate) fn count(self) -> u32 {
        self.0
    }

    /// The time without jitter.
    fn time(self, outlier: &Outlier) -> Duration {
        let (base, longest) = (outlier.base(), outlier.longest());
        let times = match outlier.backoff_kind() {
            Backoff::Linear => self.0,
            Backoff::Exponential => 1_u32.checked_shl(self.0.saturating_sub(1)).unwrap_or(u32::MAX),
        };
        base.saturating_mul(times).min(longest.max(base))
    }
}

/// How much may be added to so long a time before it overflows.
fn headroom(time: Duration) -> f64 {
    if time > Duration::MAX / 2 { 0.0 } else { JITTER }
}

/// Whether one more of `total` endpoints may be ejected when `ejected` are already and `left` others
/// would still serve.
///
/// A true cap: at most max(1, ⌊total · percent / 100⌋) with the candidate counted in. Envoy let two
/// of three out at 50 % (envoy#26877), gRPC A50, which looks before it counts, lets two of four out
/// at 30 %. Never the last one that serves, and none at 0 %.
pub(crate) fn may_eject(total: usize, ejected: usize, left: usize, percent: u32) -> bool {
    if percent == 0 || left == 0 {
        return false;
    }
    let cap = (total as u128 * u128::from(percent) / 100).max(1);
    (ejected as u128) < cap
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(outlier: &Outlier, ejections: usize) -> Vec<u64> {
        let start = Instant::now();
        let mut count = Ejections::default();
        (0..ejections).map(|_| (count.eject(start, outlier, 0) - start).as_secs()).collect()
    }

    #[test]
    fn ejections_get_longer_up_to_the_cap() {
        let exponential = Outlier::new();
        assert_eq!(seconds(&exponential, 8), [5, 10, 20, 40, 80, 160, 300, 300]);
        let linear = Outlier::new().backoff(Backoff::Linear);
        assert_eq!(seconds(&linear, 12), [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
    }

    #[test]
    fn healthy_interval_takes_one_back() {
        let (outlier, now) = (Outlier::new().backoff(Backoff::Linear), Instant::now());
        let mut count = Ejections::default();
        let ends = (0..3).map(|_| count.eject(now, &outlier, 0));
        assert!(ends.is_sorted());
        assert_eq!((0..4).map(|_| count.healthy_interval()).collect::<Vec<_>>(), [2, 1, 0, 0]);
    }

    #[test]
    fn jitter_adds_a_tenth_at_most_and_nothing_overflows() {
        let start = Instant::now();
        let ends = |draw| Ejections::default().eject(start, &Outlier::new(), draw) - start;
        assert_eq!(ends(0), Duration::from_secs(5));
        assert!(ends(u64::MAX) > Duration::from_millis(5_499));
        assert!(ends(u64::MAX) <= Duration::from_millis(5_500));
        let longest = Outlier::new().base_ejection_time(Duration::MAX);
        assert!(Ejections::default().eject(start, &longest, u64::MAX) > start);
        assert_eq!(Ejections(u32::MAX).time(&Outlier::new()), Duration::from_secs(300));
    }

    /// How many of `total` can be ejected one after the other.
    fn most(total: usize, percent: u32) -> usize {
        (0..total).take_while(|&out| may_eject(total, out, total - out - 1, percent)).count()
    }

    #[test]
    fn cap_is_never_exceeded_and_the_last_one_stays() {
        for (percent, total, expected) in
            [(50, 2, 1), (50, 3, 1), (50, 4, 2), (50, 5, 2), (30, 4, 1), (10, 5, 1), (10, 9, 1)]
        {
            assert_eq!(most(total, percent), expected, "{percent} % of {total}");
        }
        for total in 0..=20 {
            for percent in [0, 1, 10, 33, 50, 99, 100] {
                let cap = if percent == 0 { 0 } else { (total * percent as usize / 100).max(1) };
                assert_eq!(most(total, percent), cap.min(total.saturating_sub(1)));
            }
        }
    }
}
