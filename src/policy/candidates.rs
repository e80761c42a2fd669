use std::fmt;

use crate::endpoint::{EndpointId, Member};
use crate::load::{Measure, Nanos};
use crate::random::Source;

/// The endpoints among which to pick, as one request sees them: live costs, and which of them the
/// request allows.
///
/// Indexes are those of [`Build::endpoints`](super::Build::endpoints). An index of `len` or more
/// panics, as with a slice; the cluster contains it.
pub struct Candidates<'a> {
    members: &'a [Member],
    /// Which member each index means; `None` if they are all the members in their order, which
    /// saves the usual pick a step.
    places: Option<&'a [u32]>,
    asked: &'a Asked,
    moment: &'a Moment<'a>,
}

/// What a request asks of the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) hash: Option<u64>,
    pub(crate) exclude: Vec<EndpointId>,
}

/// What does not depend on the endpoints of one pick.
pub(crate) struct Moment<'a> {
    pub(crate) measure: Measure,
    pub(crate) now: Nanos,
    pub(crate) random: &'a Source,
}

impl<'a> Candidates<'a> {
    #[inline]
    pub(crate) fn new(
        members: &'a [Member],
        places: Option<&'a [u32]>,
        asked: &'a Asked,
        moment: &'a Moment<'a>,
    ) -> Self {
        Self { members, places, asked, moment }
    }

    #[inline]
    pub(crate) fn member(&self, index: usize) -> &'a Member {
        &self.members[self.places.map_or(index, |places| places[index] as usize)]
    }

    /// How many there are; never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "candidates are never empty")]
    #[inline]
    pub fn len(&self) -> usize {
        self.places.map_or(self.members.len(), <[u32]>::len)
    }

    /// What the endpoint costs now, by the cluster's [`Cost`](crate::load::Cost): finite and not negative.
    #[must_use]
    #[inline]
    pub fn cost(&self, index: usize) -> f64 {
        self.member(index).node.load.cost(self.moment.measure, self.moment.now)
    }

    /// What the endpoint will cost once it has this request too: one more than
    /// [`cost`](Self::cost) if that is the number in flight, while a latency cost has counted it
    /// already.
    #[must_use]
    pub fn next_cost(&self, index: usize) -> f64 {
        match self.moment.measure {
            Measure::InFlight => self.cost(index) + 1.0,
            Measure::Latency => self.cost(index),
        }
    }

    /// The requests in flight on the endpoint.
    #[must_use]
    #[inline]
    pub fn in_flight(&self, index: usize) -> u32 {
        self.member(index).node.load.in_flight()
    }

    /// Who the endpoint is.
    #[must_use]
    pub fn id(&self, index: usize) -> &EndpointId {
        self.member(index).endpoint.id()
    }

    /// Whether the request may go to the endpoint.
    #[must_use]
    #[inline]
    pub fn allows(&self, index: usize) -> bool {
        self.asked.exclude.is_empty() || !self.asked.exclude.contains(self.id(index))
    }

    /// Whether there may be endpoints that the request does not allow. While there are none, a
    /// policy need not ask [`allows`](Self::allows).
    #[must_use]
    #[inline]
    pub fn is_restricted(&self) -> bool {
        !self.asked.exclude.is_empty()
    }

    /// The hash of the request's key, if it has one.
    #[must_use]
    pub fn hash(&self) -> Option<u64> {
        self.asked.hash
    }

    /// A random number, uniform over all of `u64`, another one at every call. With a seeded
    /// cluster the numbers repeat from run to run.
    #[must_use]
    #[inline]
    pub fn random(&self) -> u64 {
        self.moment.random.next()
    }
}

impl fmt::Debug for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidates")
            .field("len", &self.len())
            .field("measure", &self.moment.measure)
            .field("asked", self.asked)
            .finish_non_exhaustive()
    }
}
