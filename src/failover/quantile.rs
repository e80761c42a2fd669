use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sync::Mutex;

/// Eight per doubling: a value is known to 9 %.
const PER_DOUBLING: u32 = 8;

/// From 64 µs to 67 s, in 20 doublings.
const BUCKETS: usize = 20 * PER_DOUBLING as usize;

const SHORTEST: f64 = 64e-6;

/// Samples before the estimate is believed, as tower's hedge has it by default in its example.
const ENOUGH: u32 = 100;

/// Samples after which all counts are halved: the last few thousand decide.
const MANY: u32 = 4_000;

/// The estimate is computed anew after so many samples.
const BATCH: u32 = 32;

/// A latency that a given share of the responses stays below, of the last few thousand.
///
/// A histogram whose buckets grow by 2^(1/8). One short lock per response; reading is one load.
#[derive(Debug)]
pub(super) struct Quantile {
    share: f64,
    counts: Mutex<Counts>,
    /// The estimate in nanoseconds; 0 while there is none.
    estimate: AtomicU64,
}

#[derive(Debug)]
struct Counts {
    buckets: Box<[u32]>,
    total: u32,
    fresh: u32,
}

impl Quantile {
    /// The latency that `share`, from 0 to 1, of the responses stay below.
    pub(super) fn new(share: f64) -> Self {
        let counts = Counts { buckets: vec![0; BUCKETS].into(), total: 0, fresh: 0 };
        Self { share, counts: Mutex::new(counts), estimate: AtomicU64::new(0) }
    }

    pub(super) fn record(&self, took: Duration) {
        let mut counts = self.counts.lock();
        counts.buckets[bucket(took)] += 1;
        counts.total += 1;
        counts.fresh += 1;
        if counts.total >= ENOUGH && counts.fresh >= BATCH {
            counts.fresh = 0;
            let estimate = counts.below(self.share).as_nanos() as u64;
            self.estimate.store(estimate, Ordering::Relaxed);
        }
        if counts.total >= MANY {
            counts.halve();
        }
    }

    /// The estimate, once there were enough responses.
    pub(super) fn estimate(&self) -> Option<Duration> {
        let nanos = self.estimate.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }
}

impl Counts {
    /// The upper end of the bucket that the share ends in.
    fn below(&self, share: f64) -> Duration {
        let wanted = (f64::from(self.total) * share).ceil();
        let mut sum = 0.0;
        let reaches = |count: &u32| {
            sum += f64::from(*count);
            sum >= wanted
        };
        let place = self.buckets.iter().position(reaches).unwrap_or(BUCKETS - 1);
        let doublings = (place + 1) as f64 / f64::from(PER_DOUBLING);
        Duration::from_secs_f64(SHORTEST * doublings.exp2())
    }

    fn halve(&mut self) {
        self.buckets.iter_mut().for_each(|count| *count /= 2);
        self.total = self.buckets.iter().sum();
    }
}

fn bucket(took: Duration) -> usize {
    let doublings = (took.as_secs_f64() / SHORTEST).max(1.0).log2();
    ((doublings * f64::from(PER_DOUBLING)) as usize).min(BUCKETS - 1)
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use std::iter::repeat_n;

    use super::*;

    /// Records latencies of so many ms, and checks the estimate in ms.
    fn check(share: f64, latencies: impl IntoIterator<Item = u64>, expected: f64) {
        let quantile = Quantile::new(share);
        latencies.into_iter().for_each(|took| quantile.record(Duration::from_millis(took)));
        let estimate = quantile.estimate().expect("enough samples").as_secs_f64() * 1000.0;
        let off = estimate / expected;
        assert!((0.91..1.1).contains(&off), "{estimate} ms, not {expected} ms");
    }

    #[test]
    fn estimate_is_within_a_tenth() {
        check(0.95, (0..4000).map(|at| 1 + at % 100), 95.0);
        check(0.5, (0..4000).map(|at| 1 + at % 100), 50.0);
        check(0.99, (0..4000).map(|at| if at % 50 == 0 { 800 } else { 3 }), 800.0);
        check(0.95, [0; 200], 0.064);
        check(0.95, [1_000_000; 200], 67_108.0);
    }

    #[test]
    fn estimate_follows_a_change_within_some_thousand_responses() {
        check(0.95, repeat_n(5, 20_000).chain(repeat_n(50, 4_000)), 50.0);
        check(0.95, repeat_n(50, 20_000).chain(repeat_n(5, 20_000)), 5.0);
    }

    #[test]
    fn few_responses_say_nothing() {
        let quantile = Quantile::new(0.95);
        (0..99).for_each(|_| quantile.record(Duration::from_millis(5)));
        assert_eq!(quantile.estimate(), None);
    }
}
