//! Two to four endpoints, where a mean and a deviation say nothing: Fisher's exact test.

use super::Reason;
use super::detect::Sample;

/// The pools that the other detectors cannot judge.
const POOL: std::ops::RangeInclusive<usize> = 2..=4;

/// How many requests each side of the comparison needs.
const VOLUME: u64 = 20;

/// How probable it may be, per interval and pool, that chance alone ejects an endpoint.
const SIGNIFICANCE: f64 = 0.001;

/// The least failure rate, and the least excess over the others', in percent: what is beyond
/// chance may still be a trifle.
const LEAST: f64 = 10.0;

/// Which of a few endpoints fail more than the others do, beyond chance.
pub(super) fn detect(samples: &[Sample]) -> Vec<(usize, Reason)> {
    if !POOL.contains(&samples.len()) {
        return Vec::new();
    }
    let significance = SIGNIFICANCE / samples.len() as f64;
    let outliers = (0..samples.len()).filter_map(|index| {
        let own = samples[index];
        let others = rest(samples, index);
        let enough = own.total() >= VOLUME && others.total() >= VOLUME;
        let excess = own.failure_rate() - others.failure_rate();
        let matters = enough && own.failure_rate() >= LEAST && excess >= LEAST;
        (matters && chance(own, others) < significance).then(|| {
            let (own, others) = ((own.failed, own.total()), (others.failed, others.total()));
            (index, Reason::SmallPool { own, others })
        })
    });
    outliers.collect()
}

fn rest(samples: &[Sample], index: usize) -> Sample {
    let others = samples.iter().enumerate().filter(|(other, _)| *other != index);
    others.fold(Sample::default(), |sum, (_, sample)| Sample {
        succeeded: sum.succeeded.saturating_add(sample.succeeded),
        failed: sum.failed.saturating_add(sample.failed),
    })
}

/// The probability that, of all the failures, as many as `own` has or more fall to it by chance:
/// the upper tail of the hypergeometric distribution.
fn chance(own: Sample, others: Sample) -> f64 {
    let (requests, rest) = (own.total() as f64, others.total() as f64);
    let failures = own.failed as f64 + others.failed as f64;
    let most = requests.min(failures);
    let mut count = own.failed as f64;
    let mut term = (ln_choose(requests, count) + ln_choose(rest, failures - count)
        - ln_choose(requests + rest, failures))
    .exp();
    let mut tail = term;
    // Above the mean the terms fall faster and faster: what is left is soon too little to count.
    while count < most && term > tail * 1e-12 {
        term *= (requests - count) * (failures - count)
            / ((count + 1.0) * (rest - failures + count + 1.0));
        count += 1.0;
        tail += term;
    }
    tail
}

/// The logarithm of the number of ways to choose `k` of `n`.
fn ln_choose(n: f64, k: f64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// The logarithm of n!, by Stirling's series from 16 on: the first term left out is below 10⁻⁹.
fn ln_factorial(n: f64) -> f64 {
    if n < 16.0 {
        return (2..=n as u32).map(|factor| f64::from(factor).ln()).sum();
    }
    let series = 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3)) + 1.0 / (1260.0 * n.powi(5));
    n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Source, unit};

    fn sample(failed: u64, total: u64) -> Sample {
        Sample { succeeded: total - failed, failed }
    }

    #[test]
    fn tail_is_the_published_one() {
        // Fisher's lady tasting tea: all four cups right is 1/70, three or more 17/70.
        assert!((chance(sample(4, 4), sample(0, 4)) - 1.0 / 70.0).abs() < 1e-9);
        assert!((chance(sample(3, 4), sample(1, 4)) - 17.0 / 70.0).abs() < 1e-9);
        // Large counts neither overflow nor vanish.
        let huge = chance(sample(500_000_000, 1_000_000_000), sample(499_900_000, 1_000_000_000));
        assert!(huge > 0.0 && huge < 1e-5, "{huge}");
        assert_eq!(chance(sample(1_000_000, 1_000_000), sample(0, 1_000_000)), 0.0);
    }

    #[test]
    fn one_bad_of_two_of_three_and_of_four_is_found() {
        for pool in POOL {
            for bad in 0..pool {
                let samples: Vec<Sample> =
                    (0..pool).map(|index| sample(if index == bad { 25 } else { 1 }, 50)).collect();
                let found: Vec<usize> = detect(&samples).into_iter().map(|found| found.0).collect();
                assert_eq!(found, [bad], "{pool} endpoints");
            }
        }
    }

    #[test]
    fn trifles_little_traffic_and_larger_pools_are_left_alone() {
        // Beyond all chance, and yet only 9 % against 1 %, or 39 % against 30 %.
        assert!(detect(&[sample(9_000, 100_000), sample(1_000, 100_000)]).is_empty());
        assert!(detect(&[sample(39_000, 100_000), sample(30_000, 100_000)]).is_empty());
        assert!(detect(&[sample(19, 19), sample(0, 500)]).is_empty());
        assert!(detect(&[sample(50, 50), sample(50, 50)]).is_empty());
        assert!(detect(&[sample(50, 50)]).is_empty());
        assert!(
            detect(&[
                sample(50, 50),
                [sample(0, 50); 4][0],
                sample(0, 50),
                sample(0, 50),
                sample(0, 50)
            ])
            .is_empty()
        );
    }

    #[test]
    fn chance_ejects_in_one_interval_of_a_thousand_at_most() {
        let random = Source::new(Some(12_345));
        for (pool, requests, rate) in
            [(2, 20, 0.1), (2, 50, 0.3), (3, 30, 0.2), (3, 100, 0.05), (4, 20, 0.5), (4, 40, 0.15)]
        {
            let intervals = 20_000;
            let draw = |_| {
                let failed = (0..requests).filter(|_| unit(random.next()) < rate).count();
                sample(failed as u64, requests)
            };
            let ejecting = (0..intervals).filter(|_| {
                let samples: Vec<Sample> = (0..pool).map(draw).collect();
                !detect(&samples).is_empty()
            });
            let share = ejecting.count() as f64 / f64::from(intervals);
            // Three standard deviations of the count itself: 0.067 % of 20 000 intervals.
            assert!(share <= SIGNIFICANCE + 0.000_67, "{pool} of {requests} at {rate}: {share}");
        }
    }
}
