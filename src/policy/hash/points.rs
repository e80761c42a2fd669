//! A ring: points with owners, searched by a guide.

use super::picker::Order;
use super::scores::Scores;

/// Points that a key goes past at most to find an endpoint that may have it. Where one of a
/// hundred endpoints can, that finds it for all but a few keys in 10^17.
const STEPS: usize = 4096;

/// A place on the ring: 32 bits of nginx's, 64 of Envoy's.
pub(super) trait Place: Copy + Ord + Send + Sync + 'static {
    const BITS: u32;

    fn of_key(key: u64) -> Self;
    fn bits(self) -> u64;
}

impl Place for u32 {
    const BITS: u32 = Self::BITS;

    fn of_key(key: u64) -> Self {
        key as Self
    }

    fn bits(self) -> u64 {
        self.into()
    }
}

impl Place for u64 {
    const BITS: u32 = Self::BITS;

    fn of_key(key: u64) -> Self {
        key
    }

    fn bits(self) -> u64 {
        self
    }
}

/// A key belongs to the owner of the first point at or after its place, clockwise.
///
/// The ring is cut into arcs, one for every one or two points, and a guide says with which point
/// each begins. Places are hashes, so no arc holds many: a search reads two entries of the guide
/// and a few neighbouring points, however many there are.
pub(super) struct Ring<P> {
    /// In the order of the places; of two points at one place, the one of the first endpoint.
    points: Box<[(P, u32)]>,
    /// The first point of each arc, and the number of points at the end.
    guide: Box<[u32]>,
    shift: u32,
    /// Who comes after all that were looked at.
    rest: Scores,
}

impl<P: Place> Ring<P> {
    /// Of at least one point, in any order.
    pub(super) fn new(points: &[(P, u32)], rest: Scores) -> Self {
        let shift = P::BITS - points.len().ilog2().max(1);
        let arc = |place: P| (place.bits() >> shift) as usize;
        // The points of each arc are counted, put into their arc and sorted there: twice as fast
        // as sorting all.
        let mut guide = vec![0_u32; (1 << (P::BITS - shift)) + 1];
        for (place, _) in points {
            guide[arc(*place) + 1] += 1;
        }
        for arc in 1..guide.len() {
            guide[arc] += guide[arc - 1];
        }
        let mut free = guide.clone();
        let mut sorted = points.to_vec();
        for point in points {
            let next = &mut free[arc(point.0)];
            sorted[*next as usize] = *point;
            *next += 1;
        }
        for ends in guide.windows(2) {
            sorted[ends[0] as usize..ends[1] as usize].sort_unstable();
        }
        Self { points: sorted.into_boxed_slice(), guide: guide.into_boxed_slice(), shift, rest }
    }

    /// The first point at or after the key's place.
    #[inline]
    fn locate(&self, key: u64) -> usize {
        let place = P::of_key(key);
        let arc = (place.bits() >> self.shift) as usize;
        let (first, last) = (self.guide[arc] as usize, self.guide[arc + 1] as usize);
        let found = first + self.points[first..last].partition_point(|(point, _)| *point < place);
        if found == self.points.len() { 0 } else { found }
    }
}

impl<P: Place> Order for Ring<P> {
    #[inline]
    fn home(&self, key: u64) -> usize {
        self.points[self.locate(key)].1 as usize
    }

    fn first(&self, key: u64, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let (before, behind) = self.points.split_at(self.locate(key));
        let clockwise = behind.iter().chain(before).take(STEPS);
        let mut owners = clockwise.map(|(_, owner)| *owner as usize);
        owners.find(|owner| wanted(*owner)).or_else(|| self.rest.best(key, wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::mix;

    fn ring<P: Place>(points: &[(P, u32)]) -> Ring<P> {
        Ring::new(points, Scores::new(&[]))
    }

    #[test]
    fn every_key_finds_the_next_point_and_the_last_ones_the_first() {
        for count in [1, 2, 3, 4, 5, 100] {
            let mut points: Vec<(u64, u32)> = (0..count).map(|i| (mix(i), i as u32)).collect();
            let ring = ring(&points);
            points.sort_unstable();
            let near = points.iter().flat_map(|(place, _)| [place - 1, *place, place + 1]);
            for key in near.chain([0, u64::MAX]) {
                let next = points.iter().find(|(place, _)| *place >= key).unwrap_or(&points[0]);
                assert_eq!(ring.home(key), next.1 as usize, "{key} of {count}");
            }
        }
    }

    #[test]
    fn places_at_the_ends_of_the_ring_are_found() {
        let ring = ring(&[(0_u32, 0), (u32::MAX, 1), (u32::MAX, 2)]);
        let homes = [0, 1, u64::from(u32::MAX), 1 << 32].map(|key| ring.home(key));
        assert_eq!(homes, [0, 1, 1, 0]);
        assert_eq!(ring.first(1, |owner| owner != 1), Some(2));
    }
}
