//! From a key to an endpoint: what the three policies have in common.

use std::sync::Arc;

use super::bound::{Bound, Factor, least_loaded};
use crate::policy::{Build, Candidates, P2c, Pick, Policy};

/// The order in which each key goes through the endpoints.
///
/// It depends on the key, the ids and the weights alone, so an endpoint that is passed over loses
/// its own keys and nobody else's.
pub(super) trait Order: Send + Sync + 'static {
    /// The first endpoint of the key's order.
    fn home(&self, key: u64) -> usize;

    /// The first one that is `wanted`; `None` if none is.
    fn first(&self, key: u64, wanted: impl Fn(usize) -> bool) -> Option<usize>;
}

/// What may be set on every hash policy.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) bound: Option<Factor>,
    /// `None` is [`P2c`].
    pub(super) fallback: Option<Arc<dyn Policy>>,
}

impl Options {
    pub(super) fn picker(&self, order: impl Order, build: &Build<'_>) -> Box<dyn Pick> {
        let fallback = match &self.fallback {
            Some(policy) => policy.build(build),
            None => P2c::new().build(build),
        };
        let keyed = Keyed { order, fallback };
        match self.bound {
            None => Box::new(keyed),
            Some(factor) => Box::new(Bounded { keyed, bound: Bound::new(factor, build.endpoints) }),
        }
    }
}

/// Every key to the first allowed endpoint of its order.
struct Keyed<O> {
    order: O,
    fallback: Box<dyn Pick>,
}

impl<O: Order> Keyed<O> {
    #[inline]
    fn first_allowed(&self, key: u64, candidates: &Candidates<'_>) -> Option<usize> {
        if candidates.is_restricted() {
            let allowed = |index| candidates.allows(index);
            // Slow start turns a key away from an endpoint until its share has grown to it.
            let warm = self.order.first(key, |index| allowed(index) && candidates.admits(index));
            return warm.or_else(|| self.order.first(key, allowed));
        }
        Some(self.order.home(key))
    }
}

impl<O: Order> Pick for Keyed<O> {
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
        match candidates.hash() {
            Some(key) => self.first_allowed(key, candidates),
            None => self.fallback.pick(candidates),
        }
    }

    fn phase(&self) -> u64 {
        self.fallback.phase()
    }

    fn heeds_share(&self) -> bool {
        self.fallback.heeds_share()
    }
}

/// Every key to the first allowed endpoint of its order that has a slot free.
struct Bounded<O> {
    keyed: Keyed<O>,
    bound: Bound,
}

impl<O: Order> Pick for Bounded<O> {
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
        let Some(key) = candidates.hash() else {
            return self.keyed.fallback.pick(candidates);
        };
        let home = self.keyed.first_allowed(key, candidates)?;
        let Some(slots) = self.bound.slots_unless_free(home, candidates) else {
            return Some(home);
        };
        let fits = |index| slots.of(index) > u64::from(candidates.in_flight(index));
        if fits(home) {
            return Some(home);
        }
        let wanted = |index| candidates.allows(index) && fits(index);
        let warm = |index| wanted(index) && candidates.admits(index);
        let next = self.keyed.order.first(key, warm);
        let next = next.or_else(|| self.keyed.order.first(key, wanted));
        // There are more slots than requests; but requests begin and end while they are counted.
        next.or_else(|| least_loaded(&self.bound, candidates))
    }

    fn phase(&self) -> u64 {
        self.keyed.phase()
    }

    fn heeds_share(&self) -> bool {
        self.keyed.heeds_share()
    }
}
