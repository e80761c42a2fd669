use std::cmp::Ordering;

use crate::policy::Candidates;
use crate::random::{below, unit};

/// Who chooses where a request goes that no preferred endpoint serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The cluster's policy.
    #[default]
    Policy,
    /// The request begins a session.
    NewSession,
    /// The request is diverted: the same endpoint stands in for all of the key.
    StandIn(u64),
}

impl Placement {
    /// The index of the endpoint, if any is allowed; none if the policy is to say.
    pub(super) fn choose(self, candidates: &Candidates<'_>) -> Option<usize> {
        match self {
            Self::Policy => None,
            Self::NewSession => fewest_sessions(candidates),
            Self::StandIn(key) => stand_in(candidates, key),
        }
    }
}

/// The endpoint that has the fewest sessions and requests in flight for its weight, once it has
/// this one too. Where some are equal, any of them.
fn fewest_sessions(candidates: &Candidates<'_>) -> Option<usize> {
    let load = |index: usize| {
        let counted =
            f64::from(candidates.sessions(index)) + f64::from(candidates.in_flight(index));
        (counted + 1.0) / (candidates.weight(index) * candidates.share(index))
    };
    let len = candidates.len();
    let start = below((candidates.random() >> 32) as u32, len);
    let allowed = (start..len).chain(0..start).filter(|&index| candidates.allows(index));
    best(allowed, |index| -load(index))
}

/// The highest random weight, as [`Rendezvous`](crate::policy::Rendezvous) scores it.
fn stand_in(candidates: &Candidates<'_>, key: u64) -> Option<usize> {
    let score = |index: usize| {
        let drawn = unit(candidates.id(index).mixed_with(key)).max(f64::MIN_POSITIVE);
        // Not above: 1 is never drawn, so the logarithm is below 0.
        -candidates.weight(index) / drawn.ln()
    };
    best((0..candidates.len()).filter(|&index| candidates.allows(index)), score)
}

/// The first of those that score highest.
fn best(indexes: impl Iterator<Item = usize>, score: impl Fn(usize) -> f64) -> Option<usize> {
    let scored = indexes.map(|index| (index, score(index)));
    let best = scored.reduce(|best, next| match next.1.total_cmp(&best.1) {
        Ordering::Greater => next,
        _ => best,
    });
    best.map(|(index, _)| index)
}
