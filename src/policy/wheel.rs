use crate::endpoint::Endpoint;
use crate::random::{below, unit};

use super::Candidates;

/// Draws that may fail before the endpoints are searched one by one: enough that a request that
/// excludes half of them is searched for once in 256.
const TRIES: usize = 8;

/// Draws an endpoint in proportion to its weight, in constant time.
///
/// Imagine a wheel whose rim is divided into segments as long as the weights; a draw is a point of
/// the rim. With equal weights the point is an index. Otherwise the segments' ends are searched,
/// from where a guide table says that the search must begin (Chen and Asau 1974): on average less
/// than two steps. Unlike an alias table it works in whole numbers, so shares are exact; it also
/// finds the point of the rim with one segment cut out, and gives round robin its order.
#[derive(Debug)]
pub(super) enum Wheel {
    Equal(usize),
    Weighted(Segments),
}

#[derive(Debug)]
pub(super) struct Segments {
    /// Where each endpoint's segment ends; the last end is the length of the rim.
    ends: Box<[u64]>,
    /// The first segment that reaches into each arc of 2^`shift` points.
    guide: Box<[u32]>,
    shift: u32,
}

impl Wheel {
    /// Of endpoints whose weights are not 0, as [`Policy::build`](super::Policy::build) gets them.
    pub(super) fn new(endpoints: &[&Endpoint]) -> Self {
        let weights = || endpoints.iter().map(|endpoint| u64::from(endpoint.weight().get()));
        let mut pairs = weights().zip(weights().skip(1));
        if pairs.all(|(one, next)| one == next) {
            return Self::Equal(endpoints.len());
        }
        let divisor = weights().fold(0, gcd);
        Self::Weighted(Segments::new(weights().map(|weight| weight / divisor)))
    }

    /// The weight of the endpoint, as the wheel compares it with others.
    pub(super) fn weight(&self, index: usize) -> f64 {
        match self {
            Self::Equal(_) => 1.0,
            Self::Weighted(segments) => segments.length(index) as f64,
        }
    }

    /// Any endpoint that the request allows.
    pub(super) fn draw(&self, candidates: &Candidates<'_>) -> Option<usize> {
        if candidates.is_restricted() {
            return self.draw_where(candidates, |_| true);
        }
        Some(self.at(candidates.random()))
    }

    /// Two different endpoints; one twice where there is no other.
    #[inline]
    pub(super) fn draw_two(&self, candidates: &Candidates<'_>) -> Option<(usize, usize)> {
        if candidates.is_restricted() {
            return self.draw_two_allowed(candidates);
        }
        let draw = candidates.random();
        match self {
            Self::Equal(1) => Some((0, 0)),
            Self::Equal(len) => {
                let first = below((draw >> 32) as u32, *len);
                let second = below(draw as u32, len - 1);
                Some((first, second + usize::from(second >= first)))
            }
            Self::Weighted(segments) => {
                let first = segments.locate(scale(draw, segments.rim()));
                let rest = segments.rim() - segments.length(first);
                let point = scale(candidates.random(), rest);
                let skip = if point >= segments.start(first) { segments.length(first) } else { 0 };
                Some((first, segments.locate(point + skip)))
            }
        }
    }

    #[cold]
    fn draw_two_allowed(&self, candidates: &Candidates<'_>) -> Option<(usize, usize)> {
        let first = self.draw_where(candidates, |_| true)?;
        let second = self.draw_where(candidates, |index| index != first);
        Some((first, second.unwrap_or(first)))
    }

    /// Any endpoint that the request allows and `wanted` does too.
    pub(super) fn draw_where(
        &self,
        candidates: &Candidates<'_>,
        wanted: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let wanted = |index: &usize| wanted(*index) && candidates.allows(*index);
        (0..TRIES)
            .map(|_| self.at(candidates.random()))
            .find(|index| wanted(index) && candidates.admits(*index))
            .or_else(|| self.search(candidates, wanted))
    }

    /// Goes through all endpoints once and keeps each in proportion to its weight among those
    /// seen so far: a draw among the wanted ones, however few they are.
    fn search(
        &self,
        candidates: &Candidates<'_>,
        wanted: impl Fn(&usize) -> bool,
    ) -> Option<usize> {
        let mut seen = 0.0;
        let mut kept = None;
        for index in (0..candidates.len()).filter(wanted) {
            let weight = self.weight(index) * candidates.share(index);
            seen += weight;
            if unit(candidates.random()) * seen < weight {
                kept = Some(index);
            }
        }
        kept
    }

    fn at(&self, draw: u64) -> usize {
        match self {
            Self::Equal(len) => below((draw >> 32) as u32, *len),
            Self::Weighted(segments) => segments.locate(scale(draw, segments.rim())),
        }
    }
}

impl Segments {
    fn new(lengths: impl Iterator<Item = u64>) -> Self {
        let ends: Box<[u64]> = lengths
            .scan(0, |end, length| {
                *end += length;
                Some(*end)
            })
            .collect();
        let rim = ends.last().copied().unwrap_or(0);
        // As many arcs as endpoints, or up to twice as many.
        let shift = (rim / ends.len() as u64).ilog2();
        let mut segment = 0;
        let guide = (0..=rim >> shift)
            .map(|arc| {
                let point = arc << shift;
                while segment + 1 < ends.len() && ends[segment] <= point {
                    segment += 1;
                }
                segment as u32
            })
            .collect();
        Self { ends, guide, shift }
    }

    /// The number of points on the rim.
    pub(super) fn rim(&self) -> u64 {
        self.ends[self.ends.len() - 1]
    }

    /// The segment that holds `point`, which is less than the rim.
    pub(super) fn locate(&self, point: u64) -> usize {
        let arc = (point >> self.shift) as usize;
        let first = self.guide[arc] as usize;
        let last = self.guide.get(arc + 1).map_or(self.ends.len() - 1, |last| *last as usize);
        first + self.ends[first..last].partition_point(|end| *end <= point)
    }

    /// The points of the segment.
    pub(super) fn length(&self, index: usize) -> u64 {
        self.ends[index] - self.start(index)
    }

    fn start(&self, index: usize) -> u64 {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

/// The greatest common divisor; of 0 and a number it is the number.
pub(super) fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { gcd(other, one % other) }
}

/// Maps a random number to `0..bound`.
fn scale(draw: u64, bound: u64) -> u64 {
    ((u128::from(draw) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_of_the_rim_lies_in_its_segment() {
        for weights in [&[1, 2][..], &[5, 1, 1], &[65_535, 1, 1, 1], &[1, 1, 1, 900], &[3, 2, 4, 4]]
        {
            let segments = Segments::new(weights.iter().copied());
            let expected = weights
                .iter()
                .enumerate()
                .flat_map(|(index, &weight)| std::iter::repeat_n(index, weight as usize));
            for (point, index) in expected.enumerate() {
                assert_eq!(segments.locate(point as u64), index, "point {point} of {weights:?}");
            }
        }
    }

    #[test]
    fn equal_weights_need_no_table() {
        let endpoints = ["a:1", "b:1"].map(|at| Endpoint::new(at).unwrap().with_weight(7));
        let wheel = Wheel::new(&endpoints.each_ref());
        assert!(matches!(wheel, Wheel::Equal(2)), "{wheel:?}");
    }
}
