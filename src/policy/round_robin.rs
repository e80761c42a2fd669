use crate::endpoint::Endpoint;
use crate::sync::{AtomicU64, Ordering};

use super::wheel::{Segments, Wheel, gcd};
use super::{Build, Candidates, Pick, Policy, smooth};

/// The most steps (endpoints times sum of weights) that go into a table of nginx's order: a
/// quarter of a million additions, some 0.2 ms, and at most 512 KiB for two endpoints.
const TABLE_STEPS: u64 = 1 << 18;

/// Turns that may be passed over before the endpoints are searched one by one.
const TURNS: usize = 16;

/// Each endpoint in its turn, in proportion to the weights and smoothly: never a heavy endpoint
/// several times in a row where it can be helped.
///
/// The shares are exact over each cycle (as many picks as the sum of the weights, divided by what
/// they have in common), with any number of threads. Small cycles have nginx's order: weights
/// 5, 1, 1 give `a a b a c a a`. Larger ones are walked in steps of the golden ratio, which spreads
/// each endpoint's turns as evenly as their number allows; gRPC's static stride scheduler has the
/// same aim but passes over candidates in a loop and is exact only on average.
///
/// The start is random, so that many clients do not begin with the same endpoint, and a change of
/// the endpoints goes on from where the order was instead of beginning anew.
///
/// A pick is one increment of a counter that all threads share. Memory: nothing with equal weights;
/// otherwise 4 bytes per pick of the cycle while endpoints times cycle is at most 2^18, beyond it
/// 12 to 16 bytes per endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {}

impl RoundRobin {
    /// The policy; it has no parameters.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}

impl Policy for RoundRobin {
    fn name(&self) -> &str {
        "round_robin"
    }

    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        let order = Order::new(build.endpoints);
        let length = order.length();
        let start = ((u128::from(build.phase) * u128::from(length)) >> 64) as u64;
        let turn = AtomicU64::new(0);
        Box::new(Turns { order, length, start, turn, origin: build.phase })
    }
}

struct Turns {
    order: Order,
    length: u64,
    /// The place in the cycle of turn 0.
    start: u64,
    turn: AtomicU64,
    /// The phase that `start` was taken from, with the fraction that a place cannot hold: without
    /// it, rebuilding again and again would creep back to the first place.
    origin: u64,
}

impl Pick for Turns {
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
        let mut index = self.next();
        if !candidates.is_restricted() {
            return Some(index);
        }
        for _ in 0..TURNS {
            if candidates.allows(index) && candidates.admits(index) {
                return Some(index);
            }
            index = self.next();
        }
        let behind = index..candidates.len();
        behind.chain(0..index).find(|&index| candidates.allows(index))
    }

    fn heeds_share(&self) -> bool {
        true
    }

    fn phase(&self) -> u64 {
        let turn = u128::from(self.turn.load(Ordering::Relaxed) % self.length);
        // Rounded up, so that multiplying it out again comes back to the same turn.
        let fraction = (turn << 64).div_ceil(u128::from(self.length)) as u64;
        self.origin.wrapping_add(fraction)
    }
}

impl Turns {
    fn next(&self) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.order.at((self.start + turn % self.length) % self.length, self.length)
    }
}

/// Which endpoint each place of the cycle belongs to.
enum Order {
    Equal(usize),
    Table(Box<[u32]>),
    Strides { segments: Segments, stride: u64 },
}

impl Order {
    fn new(endpoints: &[&Endpoint]) -> Self {
        match Wheel::new(endpoints) {
            Wheel::Equal(len) => Self::Equal(len),
            Wheel::Weighted(segments) => {
                let length = segments.rim();
                let count = endpoints.len();
                if length.saturating_mul(count as u64) <= TABLE_STEPS {
                    let weights: Vec<u64> =
                        (0..count).map(|index| segments.length(index)).collect();
                    return Self::Table(smooth::cycle(&weights));
                }
                Self::Strides { segments, stride: stride(length) }
            }
        }
    }

    fn length(&self) -> u64 {
        match self {
            Self::Equal(len) => *len as u64,
            Self::Table(places) => places.len() as u64,
            Self::Strides { segments, .. } => segments.rim(),
        }
    }

    fn at(&self, place: u64, length: u64) -> usize {
        match self {
            Self::Equal(_) => place as usize,
            Self::Table(places) => places[place as usize] as usize,
            Self::Strides { segments, stride } => {
                let point = match place.checked_mul(*stride) {
                    Some(product) => product % length,
                    None => (u128::from(place) * u128::from(*stride) % u128::from(length)) as u64,
                };
                segments.locate(point)
            }
        }
    }
}

/// How far from the golden ratio a better step is looked for.
const NEIGHBOURS: u64 = 64;

/// A step near the golden ratio of `length` that has no divisor in common with it, so that `length`
/// steps meet every point of the rim once.
///
/// Of these, the one whose ratio to `length` has the smallest largest term in its continued
/// fraction: a large term means that some number of steps nearly comes back to the same point, and
/// the points between them wait. The golden ratio itself has nothing but ones.
fn stride(length: u64) -> u64 {
    let golden = (length as f64 * 0.618_033_988_749_894_9) as u64;
    let near = golden.saturating_sub(NEIGHBOURS).max(1)..=golden + NEIGHBOURS;
    near.filter(|&step| step < length && gcd(step, length) == 1)
        .min_by_key(|&step| (largest_term(step, length), step.abs_diff(golden)))
        .unwrap_or(1)
}

/// The largest term of the continued fraction of `one / other`, by Euclid's algorithm.
fn largest_term(one: u64, other: u64) -> u64 {
    let mut pair = (one, other);
    let terms = std::iter::from_fn(|| {
        let (one, other) = pair;
        let term = other.checked_div(one)?;
        pair = (other % one, one);
        Some(term)
    });
    terms.max().unwrap_or(0)
}
