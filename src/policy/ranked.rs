use std::any::Any;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Build, Candidates, Pick, Policy};
use crate::endpoint::EndpointId;

/// One endpoint serves, the others stand by: the one with the highest rank, by VRRP's rule.
///
/// For what must not be spread: a primary database, the writer of a log, a licence for one machine.
/// The effective rank of an endpoint is its [rank](crate::Endpoint::with_rank), adjusted by what is
/// known against it. Who serves goes on serving until there is a reason to move, and then the
/// requests move once:
///
/// | what happens | [`new`](Self::new) | [`preempt_delay(d)`](Self::preempt_delay) | [`no_preempt`](Self::no_preempt) |
/// |---|---|---|---|
/// | the one that serves is out | the highest of the others, at once | the same | the same |
/// | another has a higher rank: it came back, or the serving one's rank fell | it, at once | it, after `d` | nothing |
/// | another has an equal rank | nothing | nothing | nothing |
///
/// When nobody has served yet, or the serving one is out, the lower id wins among equal ranks (VRRP
/// compares addresses). The serving one is *out* when it is no candidate: removed, not available, or of
/// weight 0. Other weights mean nothing here, and neither does load.
///
/// A request that excludes the endpoint that serves, such as a retry, gets the next by rank; that
/// moves nobody else. [Priorities](crate::Endpoint::with_priority) come first: they move requests back
/// at once and know no rule, so endpoints that this policy shall choose among want the same one.
///
/// This is no election among several processes. Each decides by what itself has seen, and two that
/// see different things use different endpoints at the same time.
///
/// A [limit](crate::Endpoint::with_max_in_flight) moves nobody either: requests beyond it wait, or fail.
/// A [slow start](crate::health::SlowStart) means nothing here: there is no second endpoint that could take
/// the rest. [`preempt_delay`](Self::preempt_delay) does what it is for.
///
/// In a [panic](crate::cluster::Panic) it goes by health as ever, as long as there is one endpoint that
/// is well. An endpoint that was ejected returns when its time is over, without a request on trial:
/// that request would be one on an endpoint that does not serve.
///
/// A pick reads nothing but the exclusions. Memory: 4 bytes per endpoint, and some 50 for each of
/// those that wait for a delay to pass.
///
/// ```
/// use whippletree::policy::Ranked;
/// use whippletree::{Cluster, Context, Endpoint};
///
/// let cluster = Cluster::builder().policy(Ranked::new().no_preempt()).connect(|_| ());
/// let primary = Endpoint::new("db-1:5432")?.with_rank(200)?;
/// cluster.replace([primary.clone(), Endpoint::new("db-2:5432")?])?;
/// assert_eq!(cluster.pick(&Context::new())?.id(), primary.id());
///
/// cluster.remove(primary.id());
/// assert_eq!(cluster.pick(&Context::new())?.id().as_str(), "db-2:5432");
/// cluster.insert(primary)?;
/// assert_eq!(cluster.pick(&Context::new())?.id().as_str(), "db-2:5432");
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Ranked {
    /// How long a higher rank waits; for ever if `None`.
    delay: Option<Duration>,
}

impl Ranked {
    /// A higher rank takes over at once (VRRP's `Preempt_Mode`, true by default in RFC 5798).
    #[must_use]
    pub const fn new() -> Self {
        Self { delay: Some(Duration::ZERO) }
    }

    /// A higher rank waits until the endpoint that serves is out (keepalived's `nopreempt`).
    ///
    /// Also if it is the higher one only since evidence has lowered the rank of the one that serves, as
    /// in keepalived. The first endpoint ever serves as soon as it is there: give a list at once, by
    /// [`Cluster::replace`](crate::Cluster::replace), if its highest shall begin.
    #[must_use]
    pub const fn no_preempt(mut self) -> Self {
        self.delay = None;
        self
    }

    /// A higher rank takes over when it has been both available and the higher one for `delay`
    /// without interruption, so that an endpoint that comes and goes moves nobody (keepalived's
    /// `preempt_delay`, 0 to 1000 s there). 0 is [at once](Self::new).
    ///
    /// Of several the highest is waited for, though a lower one may have waited long enough: the
    /// requests move once, not from step to step.
    #[must_use]
    pub const fn preempt_delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Who serves from now on, by index; `order` is that of the ranks.
    fn next(&self, build: &Build<'_>, order: &[u32]) -> (u32, Term) {
        let last = build.memory.as_deref().and_then(|memory| memory.downcast_ref::<Term>());
        let Some((last, serving)) = last.and_then(|last| Some((last, last.still_serves(build)?)))
        else {
            return (order[0], Term::of(order[0], build));
        };
        let stay = Term::of(serving, build);
        let Some(delay) = self.delay else {
            return (serving, stay);
        };
        let rank = |index: u32| build.ranks[index as usize];
        let better = order.iter().copied().take_while(|index| rank(*index) > rank(serving));
        let since = |index| (id(index, build).clone(), last.since(index, build));
        let waiting: HashMap<EndpointId, Duration> = better.clone().map(since).collect();
        // Of equal ranks who has waited longest, so that it does not matter when this is asked.
        let best = better.take_while(|index| rank(*index) == rank(order[0]));
        let Some(best) = best.min_by_key(|index| waiting[id(*index, build)]) else {
            return (serving, stay);
        };
        match waiting[id(best, build)].checked_add(delay) {
            Some(due) if due <= build.now => (best, Term::of(best, build)),
            due => (serving, Term { waiting, due, ..stay }),
        }
    }
}

impl Default for Ranked {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for Ranked {
    fn name(&self) -> &str {
        "ranked"
    }

    fn spreads(&self) -> bool {
        false
    }

    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        let mut order: Vec<u32> = (0..build.endpoints.len() as u32).collect();
        // Stable: of equal ranks the lower id stays in front.
        order.sort_by_key(|index| Reverse(build.ranks[*index as usize]));
        let (serving, term) = self.next(build, &order);
        if let Some(at) = order.iter().position(|index| *index == serving) {
            order[..=at].rotate_right(1);
        }
        Box::new(Active { order: order.into(), term: Arc::new(term) })
    }
}

struct Active {
    /// The one that serves, then the others by rank.
    order: Box<[u32]>,
    term: Arc<Term>,
}

impl Pick for Active {
    /// It has no shares: a slow start would have a second endpoint serve beside the one.
    fn heeds_share(&self) -> bool {
        true
    }

    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
        let mut order = self.order.iter().map(|index| *index as usize);
        order.find(|index| candidates.permits(*index))
    }

    fn memory(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::clone(&self.term) as _)
    }

    fn rebuild_at(&self) -> Option<Duration> {
        self.term.due
    }
}

/// What the next picker has to know of this one.
struct Term {
    serving: EndpointId,
    /// Since when those of a higher rank have been that.
    waiting: HashMap<EndpointId, Duration>,
    /// When the best of them takes over.
    due: Option<Duration>,
}

impl Term {
    /// Nobody waits yet.
    fn of(index: u32, build: &Build<'_>) -> Self {
        Self { serving: id(index, build).clone(), waiting: HashMap::new(), due: None }
    }

    fn still_serves(&self, build: &Build<'_>) -> Option<u32> {
        let found = build.endpoints.binary_search_by(|endpoint| endpoint.id().cmp(&self.serving));
        found.ok().map(|index| index as u32)
    }

    fn since(&self, index: u32, build: &Build<'_>) -> Duration {
        self.waiting.get(id(index, build)).map_or(build.now, |since| build.now.min(*since))
    }
}

fn id<'a>(index: u32, build: &Build<'a>) -> &'a EndpointId {
    build.endpoints[index as usize].id()
}

#[cfg(test)]
mod tests;
