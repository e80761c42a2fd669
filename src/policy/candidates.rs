use std::fmt;

use crate::endpoint::EndpointId;
use crate::load::{Cost, Load, Nanos};
use crate::random::Draws;

/// Access to the live measurements of the endpoints that a picker was built for.
pub(crate) trait Live {
    fn load(&self, index: usize) -> &Load;
    fn id(&self, index: usize) -> &EndpointId;
}

/// The endpoints among which to pick, as one request sees them: live costs, and which of them the
/// request allows.
///
/// Indexes are those of [`Build::endpoints`](super::Build::endpoints). An index of `len` or more
/// panics, as with a slice; the cluster contains it.
pub struct Candidates<'a> {
    pub(crate) live: &'a dyn Live,
    pub(crate) len: usize,
    pub(crate) cost: Cost,
    pub(crate) now: Nanos,
    pub(crate) hash: Option<u64>,
    pub(crate) exclude: &'a [EndpointId],
    pub(crate) draws: Draws,
}

impl Candidates<'_> {
    /// How many there are; never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "candidates are never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// What the endpoint costs now, by the cluster's [`Cost`]: finite and not negative.
    #[must_use]
    pub fn cost(&self, index: usize) -> f64 {
        self.live.load(index).cost(self.cost, self.now)
    }

    /// What the endpoint will cost once it has this request too: for [`Cost::InFlight`] one more
    /// than [`cost`](Self::cost), while [`Cost::PeakEwma`] has counted it already.
    #[must_use]
    pub fn next_cost(&self, index: usize) -> f64 {
        match self.cost {
            Cost::InFlight => self.cost(index) + 1.0,
            Cost::PeakEwma(_) => self.cost(index),
        }
    }

    /// The requests in flight on the endpoint.
    #[must_use]
    pub fn in_flight(&self, index: usize) -> u32 {
        self.live.load(index).in_flight()
    }

    /// Who the endpoint is.
    #[must_use]
    pub fn id(&self, index: usize) -> &EndpointId {
        self.live.id(index)
    }

    /// Whether the request may go to the endpoint.
    #[must_use]
    pub fn allows(&self, index: usize) -> bool {
        self.exclude.is_empty() || !self.exclude.contains(self.id(index))
    }

    /// Whether there may be endpoints that the request does not allow. While there are none, a
    /// policy need not ask [`allows`](Self::allows).
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        !self.exclude.is_empty()
    }

    /// The hash of the request's key, if it has one.
    #[must_use]
    pub fn hash(&self) -> Option<u64> {
        self.hash
    }

    /// A random number, uniform over all of `u64`, another one at every call. With a seeded
    /// cluster the numbers repeat from run to run.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.draws.next()
    }
}

impl fmt::Debug for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidates")
            .field("len", &self.len)
            .field("cost", &self.cost)
            .field("hash", &self.hash)
            .field("exclude", &self.exclude)
            .finish_non_exhaustive()
    }
}
