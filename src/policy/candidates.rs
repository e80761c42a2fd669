use std::fmt;

use crate::endpoint::{EndpointId, Member};
use crate::health::SlowStart;
use crate::load::{Measure, Nanos};
use crate::random::{Source, unit};

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
    /// What holds some of them back; usually nothing does.
    restraint: Option<&'a Restraint>,
    /// Those that slow start has turned this request away from.
    passed: &'a [usize],
    /// Whether any of them may have to be passed over.
    restricted: bool,
    asked: &'a Asked,
    moment: &'a Moment<'a>,
}

/// What holds some of the endpoints of a picker back, by their index.
#[derive(Debug)]
pub(crate) struct Restraint {
    /// Those that are not available: pickers that must not be built anew for each change of health
    /// pass them over.
    pub(crate) closed: Option<Box<[bool]>>,
    pub(crate) ramp: Option<Ramp>,
    /// Whether any of them has a limit.
    pub(crate) limited: bool,
}

/// Slow start under way.
#[derive(Debug)]
pub(crate) struct Ramp {
    pub(crate) slow_start: SlowStart,
    /// Since when each endpoint is in it.
    pub(crate) since: Box<[Option<Nanos>]>,
}

impl Restraint {
    fn closes(&self, index: usize) -> bool {
        self.closed.as_ref().is_some_and(|closed| closed[index])
    }
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
    /// When the request begins, if it is timed.
    pub(crate) begun: Option<Nanos>,
    /// Whether the request would wait for the endpoint that it prefers.
    pub(crate) waits: bool,
    pub(crate) random: &'a Source,
}

impl<'a> Candidates<'a> {
    #[inline]
    pub(crate) fn new(
        members: &'a [Member],
        places: Option<&'a [u32]>,
        restraint: Option<&'a Restraint>,
        asked: &'a Asked,
        moment: &'a Moment<'a>,
    ) -> Self {
        let restricted = restraint.is_some() || !asked.exclude.is_empty();
        Self { members, places, restraint, passed: &[], restricted, asked, moment }
    }

    /// The same without the endpoints that slow start has turned the request away from.
    pub(crate) fn without(&self, passed: &'a [usize]) -> Self {
        Self { passed, restricted: self.restricted || !passed.is_empty(), ..*self }
    }

    /// Whether any endpoint is in slow start.
    #[inline]
    pub(crate) fn is_ramping(&self) -> bool {
        self.restricted && self.restraint.is_some_and(|restraint| restraint.ramp.is_some())
    }

    /// Whether slow start lets this request through to the endpoint: with the probability of its
    /// [`share`](Self::share). The same key always gets the same answer until the share has grown
    /// beyond it, so that a key moves to a new endpoint once and stays there.
    pub(crate) fn admits(&self, index: usize) -> bool {
        let share = self.share(index);
        if share >= 1.0 {
            return true;
        }
        let draw = match self.asked.hash {
            Some(hash) => self.member(index).endpoint.id().mixed_with(hash),
            None => self.random(),
        };
        unit(draw) < share
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

    /// The endpoint's weight, as it was described.
    pub(crate) fn weight(&self, index: usize) -> f64 {
        f64::from(self.member(index).endpoint.weight().get())
    }

    /// The sessions that call the endpoint home; an estimate.
    pub(crate) fn sessions(&self, index: usize) -> u32 {
        self.member(index).node.sessions.count(self.moment.now).unwrap_or(0)
    }

    /// Who the endpoint is.
    #[must_use]
    pub fn id(&self, index: usize) -> &EndpointId {
        self.member(index).endpoint.id()
    }

    /// Whether the request may go to the endpoint now: it [is permitted](Self::permits), and the
    /// endpoint is below its limit. Others may take the last slot a moment later; the cluster then
    /// asks again.
    #[must_use]
    #[inline]
    pub fn allows(&self, index: usize) -> bool {
        !self.is_restricted() || self.permits_restricted(index) && !self.is_full(index)
    }

    /// Whether the request may go to the endpoint once it has room. For policies that
    /// [wait for a full endpoint](super::Policy::spreads); others ask [`allows`](Self::allows).
    #[must_use]
    #[inline]
    pub fn permits(&self, index: usize) -> bool {
        !self.is_restricted() || self.permits_restricted(index)
    }

    fn permits_restricted(&self, index: usize) -> bool {
        !self.asked.exclude.contains(self.id(index))
            && !self.restraint.is_some_and(|restraint| restraint.closes(index))
            && !self.passed.contains(&index)
    }

    /// Whether any endpoint has a limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.restraint.is_some_and(|restraint| restraint.limited)
    }

    fn is_full(&self, index: usize) -> bool {
        self.is_limited() && self.member(index).is_full(self.share(index))
    }

    /// Counts the request in, unless the endpoint is full.
    pub(crate) fn claim(&self, index: usize) -> bool {
        let member = self.member(index);
        let limit = member.limit_at(self.share(index));
        member.node.load.begin_within(limit, self.moment.begun).is_ok()
    }

    /// How much of its weight counts now: 1, or less while the endpoint is in slow start.
    ///
    /// A policy that compares costs should divide them by it, so that an endpoint that has just
    /// come does not look the cheapest by far. See [`Pick::heeds_share`](super::Pick::heeds_share).
    #[must_use]
    pub fn share(&self, index: usize) -> f64 {
        let ramp = self.restraint.and_then(|restraint| restraint.ramp.as_ref());
        let Some((ramp, since)) = ramp.and_then(|ramp| Some((ramp, ramp.since[index]?))) else {
            return 1.0;
        };
        let elapsed = self.moment.now.saturating_sub(since);
        ramp.slow_start.factor(std::time::Duration::from_nanos(elapsed))
    }

    /// Whether there may be endpoints that the request does not allow, or whose
    /// [`share`](Self::share) is less than 1. While there are none, a policy need not ask.
    #[must_use]
    #[inline]
    pub fn is_restricted(&self) -> bool {
        self.restricted
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
