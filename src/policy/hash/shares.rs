//! A number of whole things shared out by weight.

use crate::endpoint::Endpoint;

/// Where each endpoint's weight ends when all are laid end to end.
#[derive(Debug)]
pub(super) struct Shares {
    ends: Box<[u64]>,
}

impl Shares {
    /// Of endpoints in the order of their ids.
    pub(super) fn new(endpoints: &[&Endpoint]) -> Self {
        let ends = endpoints.iter().scan(0, |end, endpoint| {
            *end += u64::from(endpoint.weight().get());
            Some(*end)
        });
        Self { ends: ends.collect() }
    }

    /// The sum of all weights.
    pub(super) fn whole(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0).max(1)
    }

    pub(super) fn weight(&self, index: usize) -> u64 {
        self.ends[index] - self.start(index)
    }

    /// What the endpoint gets of `total`, in whole things. The shares of all add up to `total`.
    ///
    /// Rounded at the ends and not each by itself, as HAProxy does, which spreads the remainder
    /// over the endpoints.
    pub(super) fn of(&self, index: usize, total: u64) -> u64 {
        let up_to = |end| part(total, end, self.whole());
        up_to(self.ends[index]) - up_to(self.start(index))
    }

    fn start(&self, index: usize) -> u64 {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

/// `total * part / whole`, rounded down.
pub(super) fn part(total: u64, part: u64, whole: u64) -> u64 {
    match total.checked_mul(part) {
        Some(product) => product / whole,
        None => (u128::from(total) * u128::from(part) / u128::from(whole)) as u64,
    }
}

/// `total * part / whole`, rounded up.
pub(super) fn part_up(total: u64, part: u64, whole: u64) -> u64 {
    match total.checked_mul(part) {
        Some(product) => product.div_ceil(whole),
        None => (u128::from(total) * u128::from(part)).div_ceil(u128::from(whole)) as u64,
    }
}
