use super::{Outlier, Reason, small_pool};

/// How many endpoints a mean needs (Envoy's `success_rate_minimum_hosts` and
/// `failure_percentage_minimum_hosts`).
const HOSTS: usize = 5;

/// How many requests in the interval a success rate needs (Envoy's `success_rate_request_volume`).
const RATE_VOLUME: u64 = 100;

/// How many a failure percentage needs (Envoy's `failure_percentage_request_volume`).
const PERCENTAGE_VOLUME: u64 = 50;

/// How far below the mean, in points of a percentage, a success rate must be besides (ours): where
/// nearly everything succeeds the deviation is so small that Envoy's rule alone ejects one of ten
/// endpoints that are all alike in every other interval.
const TRIFLE: f64 = 10.0;

/// Outcomes of one endpoint in one interval; what says nothing of it is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
}

impl Sample {
    pub(crate) fn total(self) -> u64 {
        self.succeeded.saturating_add(self.failed)
    }

    /// In percent; of nothing, everything has succeeded.
    fn success_rate(self) -> f64 {
        if self.total() == 0 {
            return 100.0;
        }
        100.0 * self.succeeded as f64 / self.total() as f64
    }

    pub(super) fn failure_rate(self) -> f64 {
        100.0 - self.success_rate()
    }
}

/// Which of the endpoints are outliers, by their place among `samples`, and why. Those that fail
/// the most come first, for the cap may not leave room for all.
pub(crate) fn detect(samples: &[Sample], config: &Outlier) -> Vec<(usize, Reason)> {
    let mut found = by_success_rate(samples, config);
    found.extend(by_failure_percentage(samples, config));
    if config.compares_small_pools() {
        found.extend(small_pool::detect(samples));
    }
    let rate = |index: usize| samples[index].success_rate();
    found.sort_by(|one, other| rate(one.0).total_cmp(&rate(other.0)).then(one.0.cmp(&other.0)));
    found.dedup_by_key(|(index, _)| *index);
    found
}

/// Envoy's success rate: mean − factor · standard deviation, of the whole population; and no
/// trifle.
fn by_success_rate(samples: &[Sample], config: &Outlier) -> Vec<(usize, Reason)> {
    let judged = with_volume(samples, RATE_VOLUME);
    let Some(factor) = config.success_rate_factor().filter(|_| judged.len() >= HOSTS) else {
        return Vec::new();
    };
    let rates = || judged.iter().map(|index| samples[*index].success_rate());
    let mean = rates().sum::<f64>() / judged.len() as f64;
    let threshold = threshold(rates(), factor).min(mean - TRIFLE);
    let low = judged.iter().filter_map(|&index| {
        let rate = samples[index].success_rate();
        (rate < threshold).then_some((index, Reason::SuccessRate { rate, threshold }))
    });
    low.collect()
}

fn threshold(rates: impl Iterator<Item = f64> + Clone, factor: f64) -> f64 {
    let count = rates.clone().count() as f64;
    let mean = rates.clone().sum::<f64>() / count;
    let variance = rates.map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    mean - factor * variance.sqrt()
}

/// Envoy's failure percentage, strictly above the threshold (gRPC A50 says both).
fn by_failure_percentage(samples: &[Sample], config: &Outlier) -> Vec<(usize, Reason)> {
    let judged = with_volume(samples, PERCENTAGE_VOLUME);
    let threshold = f64::from(config.failure_threshold());
    if judged.len() < HOSTS || threshold == 0.0 {
        return Vec::new();
    }
    let high = judged.into_iter().filter_map(|index| {
        let rate = samples[index].failure_rate();
        (rate > threshold).then_some((index, Reason::FailurePercentage { rate, threshold }))
    });
    high.collect()
}

fn with_volume(samples: &[Sample], volume: u64) -> Vec<usize> {
    (0..samples.len()).filter(|index| samples[*index].total() >= volume).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Endpoints with these success rates in percent, of 200 requests each; who is found.
    fn check(config: &Outlier, rates: &[u64], expected: &[usize]) {
        let sample = |rate: &u64| Sample { succeeded: 2 * rate, failed: 200 - 2 * rate };
        let samples: Vec<Sample> = rates.iter().map(sample).collect();
        let mut found: Vec<usize> =
            detect(&samples, config).into_iter().map(|(index, _)| index).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{rates:?}");
    }

    fn only_rate() -> Outlier {
        Outlier::new().failure_percentage(0).unwrap().small_pool(super::super::SmallPool::Off)
    }

    #[test]
    fn thresholds_are_envoys() {
        for (rates, expected) in [
            (&[50.0, 100.0, 100.0, 100.0, 100.0][..], 52.0),
            (&[0.0, 100.0, 100.0, 100.0, 100.0], 4.0),
            (&[0.0, 100.0, 100.0, 100.0], -7.272_413),
        ] {
            let threshold = threshold(rates.iter().copied(), 1.9);
            assert!((threshold - expected).abs() < 1e-5, "{rates:?}: {threshold}");
        }
    }

    #[test]
    fn low_success_rate_is_found_unless_many_share_it() {
        check(&only_rate(), &[50, 100, 100, 100, 100], &[0]);
        check(&only_rate(), &[0, 100, 100, 100, 100], &[0]);
        check(&only_rate(), &[0, 100, 100, 100], &[]);
        check(&only_rate(), &[0, 0, 100, 100, 100, 100, 100, 100, 100, 100], &[0, 1]);
        check(&only_rate(), &[0, 0, 100, 100, 100], &[]);
        check(&only_rate(), &[100; 8], &[]);
    }

    /// Envoy's rule alone would eject in 30 to 57 of a hundred of these intervals.
    #[test]
    fn endpoints_that_are_alike_are_left_alone() {
        let random = crate::random::Source::new(Some(12_345));
        for (endpoints, permille) in [(5, 1), (10, 1), (10, 10), (20, 5)] {
            let draw = |_| {
                let fails =
                    |_: &u64| crate::random::below((random.next() >> 32) as u32, 1000) < permille;
                let failed = (0..100_u64).filter(fails).count() as u64;
                Sample { succeeded: 100 - failed, failed }
            };
            for _ in 0..2_000 {
                let samples: Vec<Sample> = (0..endpoints).map(draw).collect();
                assert_eq!(detect(&samples, &only_rate()), [], "{samples:?}");
            }
        }
    }

    #[test]
    fn failure_percentage_covers_what_the_success_rate_masks() {
        check(&Outlier::new(), &[0, 0, 100, 100, 100], &[0, 1]);
        check(&Outlier::new(), &[0; 6], &[0, 1, 2, 3, 4, 5]);
        // Strictly above 85 %.
        let percentage = Outlier::new().success_rate(None).unwrap();
        check(&percentage, &[15, 100, 100, 100, 100], &[]);
        check(&percentage, &[14, 100, 100, 100, 100], &[0]);
    }

    #[test]
    fn little_traffic_is_no_evidence() {
        let few = |count| Sample { succeeded: 0, failed: count };
        let rest = [Sample { succeeded: 500, failed: 0 }; 5];
        let found = |count| detect(&[&[few(count)], &rest[..]].concat(), &Outlier::new()).len();
        assert_eq!((found(49), found(50), found(100)), (0, 1, 1));
    }

    #[test]
    fn worst_comes_first_and_nobody_twice() {
        let sample = |failed| Sample { succeeded: 1000 - failed, failed };
        let samples = [0, 900, 0, 1000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].map(sample);
        let found: Vec<_> =
            detect(&samples, &Outlier::new()).into_iter().map(|(index, _)| index).collect();
        assert_eq!(found, [3, 1]);
    }
}
