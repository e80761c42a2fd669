//! Bounded loads: how many requests each endpoint may have in flight.

use super::shares::{Shares, part_up};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::policy::Candidates;

/// Parts of 1 in which a factor is kept: whole numbers, so that 1.1 times 110 is 121 and not a
/// little more.
const PARTS: u64 = 1_000_000;

/// How far above its share of the load an endpoint may go, in millionths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor(u64);

impl Factor {
    /// The largest factor. It is far beyond any use (HAProxy advises 1.25 to 2) and keeps the
    /// arithmetic in 64 bits.
    const MOST: f64 = 1000.0;

    pub(super) fn new(factor: f64) -> Result<Self, Error> {
        // Not a number is neither.
        if factor > 1.0 && factor <= Self::MOST {
            return Ok(Self((factor * PARTS as f64).round() as u64));
        }
        Err(Error::config("bounded", factor, "is not above 1 and at most 1000"))
    }

    /// The slots of all endpoints together while so many requests are in flight: room for these
    /// and one more, times the factor, rounded up.
    fn total(self, in_flight: u64) -> u64 {
        (in_flight + 1).saturating_mul(self.0).div_ceil(PARTS)
    }
}

/// Shares the slots out by weight.
#[derive(Debug)]
pub(super) struct Bound {
    factor: Factor,
    shares: Shares,
}

impl Bound {
    pub(super) fn new(factor: Factor, endpoints: &[&Endpoint]) -> Self {
        Self { factor, shares: Shares::new(endpoints) }
    }

    /// The slots of all, or `None` if the endpoint, `home`, surely has one free.
    ///
    /// An idle endpoint has. Otherwise the requests in flight are summed until there are so many
    /// that its share exceeds what it has; only if that does not happen is the sum complete.
    pub(super) fn slots_unless_free(
        &self,
        home: usize,
        candidates: &Candidates<'_>,
    ) -> Option<Slots<'_>> {
        let enough = match candidates.in_flight(home) {
            0 => return None,
            busy => self.enough(home, busy),
        };
        let restricted = candidates.is_restricted();
        let mut sum = 0;
        for index in 0..candidates.len() {
            if !restricted || candidates.allows(index) {
                sum += u64::from(candidates.in_flight(index));
                if sum >= enough {
                    return None;
                }
            }
        }
        let within = || allowed(candidates).map(|index| self.shares.weight(index)).sum();
        let within = restricted.then(within);
        Some(Slots { shares: &self.shares, total: self.factor.total(sum), within })
    }

    /// How many requests in flight on all endpoints give this one more slots than `busy`, whatever
    /// the rounding.
    fn enough(&self, index: usize, busy: u32) -> u64 {
        let (weight, whole) = (self.shares.weight(index) as f64, self.shares.whole() as f64);
        let total = f64::from(busy + 1) * whole / weight;
        (total * PARTS as f64 / self.factor.0 as f64).ceil() as u64
    }
}

/// The slots at the moment of one pick.
pub(super) struct Slots<'a> {
    shares: &'a Shares,
    total: u64,
    /// The weight of the allowed endpoints, if they are not all.
    within: Option<u64>,
}

impl Slots<'_> {
    /// The slots of an endpoint, at least 1.
    ///
    /// Among a part of the endpoints each share is rounded up by itself: at most one slot more,
    /// for which the weights before each endpoint need not be summed at every pick.
    pub(super) fn of(&self, index: usize) -> u64 {
        let slots = match self.within {
            None => self.shares.of(index, self.total),
            Some(whole) => part_up(self.total, self.shares.weight(index), whole.max(1)),
        };
        slots.max(1)
    }
}

/// The allowed endpoint with the fewest requests in flight per weight.
pub(super) fn least_loaded(bound: &Bound, candidates: &Candidates<'_>) -> Option<usize> {
    let price = |index: &usize| {
        f64::from(candidates.in_flight(*index) + 1) / bound.shares.weight(*index) as f64
    };
    allowed(candidates).min_by(|one, other| price(one).total_cmp(&price(other)))
}

fn allowed<'a>(candidates: &'a Candidates<'_>) -> impl Iterator<Item = usize> + 'a {
    (0..candidates.len()).filter(|&index| candidates.allows(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(percent: u32, in_flight: u64, weights: &[u16], expected: &[u64]) {
        let weighted = |(i, &weight): (usize, &u16)| {
            Endpoint::new(format!("a:{}", i + 1)).unwrap().with_weight(weight)
        };
        let endpoints: Vec<Endpoint> = weights.iter().enumerate().map(weighted).collect();
        let endpoints: Vec<&Endpoint> = endpoints.iter().collect();
        let factor = Factor::new(f64::from(percent) / 100.0).unwrap();
        let bound = Bound::new(factor, &endpoints);
        let slots =
            Slots { shares: &bound.shares, total: bound.factor.total(in_flight), within: None };
        let found: Vec<u64> = (0..weights.len()).map(|index| slots.of(index)).collect();
        assert_eq!(found, expected, "{percent} %, {in_flight} in flight, {weights:?}");
    }

    /// The arithmetic of HAProxy's `hash-balance-factor` (`lb_chash.c`).
    #[test]
    fn slots_are_those_of_haproxy() {
        check(150, 0, &[1, 1, 1], &[1, 1, 1]);
        check(150, 9, &[1, 1, 1], &[5, 5, 5]);
        check(150, 30, &[1, 1, 1], &[15, 16, 16]);
        check(125, 0, &[1, 1, 1, 1], &[1, 1, 1, 1]);
        check(125, 9, &[1; 10], &[1, 1, 1, 2, 1, 1, 2, 1, 1, 2]);
        check(125, 99, &[1; 10], &[12, 13, 12, 13, 12, 13, 12, 13, 12, 13]);
        check(150, 99, &[1; 10], &[15; 10]);
        check(125, 99, &[1, 2, 3, 4], &[12, 25, 38, 50]);
        check(125, 7, &[1, 1, 1], &[3, 3, 4]);
        check(200, 999, &[5, 1, 1], &[1428, 286, 286]);
    }

    #[test]
    fn factors_are_exact_where_binary_fractions_are_not() {
        check(110, 109, &[1], &[121]);
        check(115, 99, &[1], &[115]);
        check(101, 99, &[1], &[101]);
    }

    #[test]
    fn largest_numbers_do_not_overflow() {
        let factor = Factor::new(1000.0).unwrap();
        assert_eq!(factor.total(1 << 30), 1000 * ((1 << 30) + 1));
        assert!(factor.total(u64::MAX - 1) > 1 << 37);
        let heavy = Endpoint::new("a:1").unwrap().with_weight(u16::MAX);
        let shares = Shares::new(&[&heavy, &heavy]);
        assert_eq!(
            [0, 1].map(|index| shares.of(index, u64::MAX)),
            [u64::MAX / 2, u64::MAX / 2 + 1]
        );
        assert_eq!(part_up(u64::MAX, 2, u64::MAX), 2);
    }

    #[test]
    fn factors_that_bound_nothing_are_refused() {
        for factor in [1.0, 0.5, 0.0, -2.0, f64::NAN, f64::INFINITY, 1000.1] {
            let error = Factor::new(factor).unwrap_err();
            assert!(error.is_config(), "{factor}");
            let message = format!("bounded: \"{factor}\" is not above 1 and at most 1000");
            assert_eq!(error.to_string(), message);
        }
        assert!(Factor::new(1.000_001).is_ok());
    }
}
