//! Scores of endpoints for a key: the highest wins (rendezvous hashing).

use xxhash_rust::xxh64::xxh64;

use crate::endpoint::Endpoint;
use crate::random::mix;

/// Bits of a draw: as many as an `f64` holds with a half added.
const BITS: u32 = 52;

/// By how much a bound of a score is taken too high, so that rounding does not make it too low.
const MARGIN: f64 = 1.0 - 1e-9;

/// Gives every endpoint its score for a key.
#[derive(Debug)]
pub(super) struct Scores {
    /// The hash of each endpoint's id.
    seeds: Box<[u64]>,
    /// `None` if all weigh the same.
    weights: Option<Box<[f64]>>,
}

impl Scores {
    pub(super) fn new(endpoints: &[&Endpoint]) -> Self {
        let seeds = endpoints.iter().map(|endpoint| xxh64(endpoint.id().as_str().as_bytes(), 0));
        let weights: Box<[f64]> =
            endpoints.iter().map(|endpoint| f64::from(endpoint.weight().get())).collect();
        let differ = weights.iter().any(|weight| *weight != weights[0]);
        Self { seeds: seeds.collect(), weights: differ.then_some(weights) }
    }

    /// The endpoint with the highest score of those that are `wanted`; of two with the same, the
    /// first.
    #[inline]
    pub(super) fn best(&self, key: u64, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        match &self.weights {
            None => self.best_draw(key, wanted),
            Some(weights) => self.best_score(weights, key, wanted),
        }
    }

    /// With equal weights the order of the scores is that of the draws.
    #[inline]
    fn best_draw(&self, key: u64, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = None;
        let mut above = 0;
        for (index, seed) in self.seeds.iter().enumerate() {
            let draw = draw(*seed, key);
            if draw >= above && wanted(index) {
                (best, above) = (Some(index), draw + 1);
            }
        }
        best
    }

    fn best_score(
        &self,
        weights: &[f64],
        key: u64,
        wanted: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut best = None;
        let mut highest = 0.0;
        for (index, (seed, weight)) in self.seeds.iter().zip(weights).enumerate() {
            let unit = unit(draw(*seed, key));
            // −ln u is at least 1 − u, which spares nearly all endpoints the logarithm.
            if *weight < highest * ((1.0 - unit) * MARGIN) {
                continue;
            }
            let score = score(*weight, unit);
            if score > highest && wanted(index) {
                (best, highest) = (Some(index), score);
            }
        }
        best
    }
}

#[inline]
fn draw(seed: u64, key: u64) -> u64 {
    mix(seed ^ key) >> (u64::BITS - BITS)
}

/// Between 0 and 1 and never either: half a step away from both.
#[inline]
fn unit(draw: u64) -> f64 {
    (draw as f64 + 0.5) / (1_u64 << BITS) as f64
}

/// Highest in a share of the keys that is the endpoint's share of the weights.
#[inline]
fn score(weight: f64, unit: f64) -> f64 {
    -weight / unit.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula of Wang and Ravishankar with weights, computed by another program.
    #[test]
    fn scores_are_those_of_the_formula() {
        let rows: [(&[f64], &[f64], &[f64]); 4] = [
            (
                &[1.0, 2.0, 10.0, 0.5],
                &[0.073_291, 0.535_81, 0.365_958, 0.058_883],
                &[0.382_655_385_361, 3.205_253_238_948, 9.947_905_739_7, 0.176_541_026_769],
            ),
            (
                &[0.5, 3.0, 3.0],
                &[0.638_636, 0.372_653, 0.547_649],
                &[1.115_024_532_601, 3.039_182_393_883, 4.982_389_675_617],
            ),
            (
                &[10.0, 2.0, 1.0, 3.0],
                &[0.979_214, 0.118_83, 0.418_287, 0.756_627],
                &[476.075_539_298_359, 0.938_940_079_388, 1.147_331_764_023, 10.757_126_683_717],
            ),
            (
                &[2.0, 10.0, 10.0, 0.5],
                &[0.061_548, 0.701_089, 0.646_835, 0.992_11],
                &[0.717_376_088_287, 28.159_460_608_899, 22.953_466_610_784, 63.121_026_093_586],
            ),
        ];
        for (weights, units, scores) in rows {
            for ((weight, unit), expected) in weights.iter().zip(units).zip(scores) {
                let found = score(*weight, *unit);
                assert!((found / expected - 1.0).abs() < 1e-9, "{found} is not {expected}");
            }
        }
    }

    #[test]
    fn extreme_draws_have_scores_that_compare() {
        let most = (1 << BITS) - 1;
        for draw in [0, 1, most - 1, most] {
            let unit = unit(draw);
            assert!(0.0 < unit && unit < 1.0, "{draw}");
            for weight in [1.0, 65_535.0] {
                let score = score(weight, unit);
                assert!(score.is_finite() && score > 0.0, "{draw} {weight}");
            }
        }
        assert!(unit(most) > unit(most - 1));
    }

    fn endpoints(weights: &[u16]) -> Vec<Endpoint> {
        let endpoint = |(i, &weight): (usize, &u16)| {
            Endpoint::new(format!("10.0.0.{i}:80")).unwrap().with_weight(weight)
        };
        weights.iter().enumerate().map(endpoint).collect()
    }

    #[test]
    fn sparing_logarithms_changes_no_winner() {
        let endpoints = endpoints(&[1, 2, 3, 4, 10, 65_535, 7, 1]);
        let endpoints: Vec<&Endpoint> = endpoints.iter().collect();
        let scores = Scores::new(&endpoints);
        for key in (0..20_000).map(mix) {
            let of = |index: usize| {
                score(f64::from(endpoints[index].weight().get()), {
                    unit(draw(scores.seeds[index], key))
                })
            };
            let wanted = |index: usize| index != 5;
            let plain = (0..8).filter(|&i| wanted(i)).max_by(|a, b| of(*a).total_cmp(&of(*b)));
            assert_eq!(scores.best(key, wanted), plain);
        }
    }
}
