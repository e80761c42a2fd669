use std::time::Duration;

use super::Nanos;
use crate::sync::{AtomicU64, Ordering};

/// The shortest latency in seconds that is told apart: 1 µs, far below any network's.
const SHORTEST: f64 = 1e-6;

/// The longest latency in seconds that is told apart: one hour.
pub(super) const LONGEST: f64 = 3600.0;

/// Ticks of the stamp per decay time. 2^16 of them make a tick of the default decay 153 µs and
/// let the 32-bit stamp go round after 65 536 decay times, 7.6 days.
const TICKS_PER_DECAY: f64 = 65_536.0;

/// Parameters of the peak-sensitive exponentially weighted moving average of the latency
/// (Finagle's Peak EWMA).
///
/// A latency above the estimate replaces it at once; lower ones decay into it with the time
/// constant `decay`. So the estimate is pessimistic: quick to see an endpoint get slow, slow to
/// trust it again. Without traffic it decays too, so that a slow endpoint is tried again.
/// **Reading never stores**: however often an estimate is read, only the responses decide it.
///
/// A failure counts as a latency of at least `penalty`, so that an endpoint that fails fast does
/// not look fast.
///
/// ```
/// use std::time::Duration;
/// use whippletree::load::{Cost, PeakEwma};
///
/// let cost = Cost::PeakEwma(PeakEwma::new().decay(Duration::from_secs(30)));
/// assert_ne!(cost, Cost::PeakEwma(PeakEwma::default()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeakEwma {
    decay: Duration,
    penalty: Duration,
}

impl PeakEwma {
    /// Decay 10 s (Finagle's and linkerd2's default), penalty 5 s (linkerd2-proxy#4537).
    #[must_use]
    pub const fn new() -> Self {
        Self { decay: Duration::from_secs(10), penalty: Duration::from_secs(5) }
    }

    /// Sets the time in which an old latency loses all but 1/e of its weight, 1 ms to 1 h;
    /// a value outside is taken to the nearer end. Default 10 s.
    #[must_use]
    pub fn decay(mut self, decay: Duration) -> Self {
        self.decay = decay.clamp(Duration::from_millis(1), Duration::from_secs(3600));
        self
    }

    /// Sets the least latency that a failure counts as, up to 1 h. Default 5 s.
    #[must_use]
    pub fn penalty(mut self, penalty: Duration) -> Self {
        self.penalty = penalty.min(Duration::from_secs(3600));
        self
    }
}

impl PeakEwma {
    /// As the bits of an `f64`.
    fn ticks_per_nano(self) -> u64 {
        (TICKS_PER_DECAY / self.decay.as_nanos() as f64).to_bits()
    }
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self::new()
    }
}

/// The average itself.
///
/// An estimate in seconds (an `f32`, upper half of the word) and the tick of its last change (lower
/// half): one word, so that a reader never sees the estimate of one response with the stamp of
/// another. All zero means never measured: an estimate is at least [`SHORTEST`]. An `f32` is exact
/// to 6·10⁻⁸ of its value.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Latency {
    word: AtomicU64,
    /// An `f64`, as its bits.
    ticks_per_nano: AtomicU64,
    penalty: AtomicU64,
}

impl Latency {
    pub(super) fn new(parameters: PeakEwma) -> Self {
        Self {
            word: AtomicU64::new(0),
            ticks_per_nano: AtomicU64::new(parameters.ticks_per_nano()),
            penalty: AtomicU64::new(parameters.penalty.as_nanos() as Nanos),
        }
    }

    /// Goes by other parameters from now on. A response that comes at this very moment may be lost.
    pub(super) fn tune(&self, parameters: PeakEwma, now: Nanos) {
        self.penalty.store(parameters.penalty.as_nanos() as Nanos, Ordering::Relaxed);
        if self.ticks_per_nano.load(Ordering::Relaxed) == parameters.ticks_per_nano() {
            return;
        }
        let estimate = self.at(now);
        self.ticks_per_nano.store(parameters.ticks_per_nano(), Ordering::Relaxed);
        if let Some(estimate) = estimate {
            self.word.store(pack(estimate, self.tick(now)), Ordering::Relaxed);
        }
    }

    /// Starts with this estimate, in seconds.
    #[cfg(feature = "serde")]
    pub(super) fn restore(&self, estimate: f64, now: Nanos) {
        self.word.store(pack(estimate, self.tick(now)), Ordering::Relaxed);
    }

    /// Starts with the estimate of another, which has the same parameters.
    pub(super) fn inherit(&self, other: &Self) {
        self.word.store(other.word.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Takes a measured latency in. Of the responses within one tick the slowest counts and the
    /// others are passed over; the time they stand for goes to the next tick's response.
    pub(super) fn record(&self, took: Nanos, now: Nanos) {
        self.update(took, now, |estimate, keep, sample| {
            (keep < 1.0).then_some(estimate * keep + sample * (1.0 - keep))
        });
    }

    /// Takes in that an answer takes longer than this: the estimate rises to it, and never falls.
    /// A request that was given up says no more than that.
    pub(super) fn at_least(&self, took: Nanos, now: Nanos) {
        self.update(took, now, |_, _, _| None);
    }

    /// Lets a sample take the place of a lower estimate, or of none. What becomes of a higher one,
    /// of which the share `keep` is left, is up to `below`.
    fn update(&self, took: Nanos, now: Nanos, below: impl Fn(f64, f64, f64) -> Option<f64>) {
        let sample = (took as f64 / 1e9).clamp(SHORTEST, LONGEST);
        let tick = self.tick(now);
        // `Err` only says that there was nothing to change.
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
            let Some((estimate, stamp)) = unpack(old) else {
                return Some(pack(sample, tick));
            };
            let keep = kept(stamp, tick);
            if sample >= estimate * keep {
                return Some(pack(sample, tick));
            }
            below(estimate, keep, sample).map(|estimate| pack(estimate, tick))
        });
    }

    /// Takes a failure in, as a latency of at least the penalty.
    pub(super) fn penalize(&self, took: Nanos, now: Nanos) {
        self.record(took.max(self.penalty.load(Ordering::Relaxed)), now);
    }

    /// The estimate at `now` in seconds.
    pub(super) fn at(&self, now: Nanos) -> Option<f64> {
        let (estimate, stamp) = unpack(self.word.load(Ordering::Relaxed))?;
        Some(estimate * kept(stamp, self.tick(now)))
    }

    /// The stamp of a moment, going round every 2^32 ticks.
    fn tick(&self, now: Nanos) -> u32 {
        let ticks_per_nano = f64::from_bits(self.ticks_per_nano.load(Ordering::Relaxed));
        (now as f64 * ticks_per_nano) as u64 as u32
    }
}

/// The share that an estimate of tick `stamp` keeps at `tick`. A stamp slightly ahead, as another
/// thread may leave it, keeps all.
fn kept(stamp: u32, tick: u32) -> f64 {
    let ahead = stamp.wrapping_sub(tick);
    if ahead < TICKS_PER_DECAY as u32 {
        return 1.0;
    }
    decayed(f64::from(tick.wrapping_sub(stamp)) / TICKS_PER_DECAY)
}

/// e⁻ˣ. Of a small x, as busy endpoints have it, by the first terms of the series, which err by
/// less than x⁴/24, 3·10⁻⁹, and take a fifth of the time.
fn decayed(x: f64) -> f64 {
    if x < 1.0 / 64.0 { 1.0 - x * (1.0 - x * (0.5 - x / 6.0)) } else { (-x).exp() }
}

fn pack(estimate: f64, tick: u32) -> u64 {
    let estimate = estimate.clamp(SHORTEST, LONGEST) as f32;
    (u64::from(estimate.to_bits()) << 32) | u64::from(tick)
}

fn unpack(word: u64) -> Option<(f64, u32)> {
    (word != 0).then(|| (f64::from(f32::from_bits((word >> 32) as u32)), word as u32))
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

    const MILLISECOND: Nanos = 1_000_000;
    const SECOND: Nanos = 1_000 * MILLISECOND;

    /// Runs `(at, took)` samples in seconds and answers the estimate at `read`.
    fn check(decay: u64, samples: &[(f64, f64)], read: f64, expected: f64) {
        let parameters = PeakEwma::new().decay(Duration::from_secs(decay));
        let latency = Latency::new(parameters);
        for (at, took) in samples {
            latency.record((took * 1e9) as Nanos, (at * 1e9) as Nanos);
        }
        let got = latency.at((read * 1e9) as Nanos).expect("a sample was recorded");
        let close = (got - expected).abs() <= expected * 2e-4;
        assert!(close, "{samples:?} at {read}: {got}, expected {expected}");
    }

    /// Values of linkerd2-proxy's own tests of its peak EWMA.
    #[test]
    fn peaks_replace_and_lower_samples_decay_in() {
        check(10, &[(1.0, 1.0)], 1.0, 1.0);
        check(10, &[(1.0, 1.0)], 11.0, 0.367_879_441);
        check(10, &[(1.0, 1.0), (1.5, 2.0)], 1.5, 2.0);
        check(10, &[(1.0, 10.0), (26.0, 1.0)], 26.0, 1.0);
        check(10, &[(1.0, 10.0), (1.1, 1.0)], 1.1, 9.910_448_503);
        check(10, &[(1.0, 0.5)], 0.5, 0.5);
    }

    #[test]
    fn hundred_responses_of_100_ms_over_10_s_bring_1_s_to_431_ms_however_often_it_is_read() {
        for reads in [0, 99] {
            let parameters = PeakEwma::new();
            let latency = Latency::new(parameters);
            latency.record(SECOND, 0);
            for response in 1..=100 {
                let now = response * 100 * MILLISECOND;
                latency.record(100 * MILLISECOND, now);
                for _ in 0..reads {
                    latency.at(now);
                }
            }
            let estimate = latency.at(10 * SECOND).unwrap();
            assert!((estimate - 0.431).abs() < 0.000_5, "{estimate}");
        }
    }

    #[test]
    fn estimate_of_a_long_idle_endpoint_has_decayed() {
        for idle_decays in [30, 40_000, 65_000] {
            let parameters = PeakEwma::new();
            let latency = Latency::new(parameters);
            latency.record(SECOND, 0);
            assert!(latency.at(idle_decays * 10 * SECOND).unwrap() < 1e-9);
        }
    }

    #[test]
    fn extreme_samples_and_parameters_stay_finite() {
        for decay in [Duration::ZERO, Duration::MAX] {
            let parameters = PeakEwma::new().decay(decay).penalty(Duration::MAX);
            for took in [0, 1, Nanos::MAX] {
                for now in [0, 1, Nanos::MAX] {
                    let latency = Latency::new(parameters);
                    latency.penalize(took, now);
                    latency.record(took, now);
                    let estimate = latency.at(now).unwrap();
                    assert!((SHORTEST * 0.99..=LONGEST).contains(&estimate), "{estimate}");
                }
            }
        }
    }
}
