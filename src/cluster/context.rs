use std::time::{Duration, Instant};

use super::placement::Placement;
use crate::endpoint::{EndpointId, Subset};
use crate::policy::Asked;

/// What one request asks of the pick.
///
/// Empty by default. Layers above a [`Balance`](crate::Balance) steer its picks by putting a
/// context into the request's extensions.
///
/// ```
/// use whippletree::{Balance, Context, EndpointId};
///
/// let context = Context::new().with_prefer(EndpointId::new("web-1")?);
/// let request = http::Request::builder().extension(context).body(())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    pub(crate) asked: Asked,
    pub(crate) prefer: Option<EndpointId>,
    pub(crate) prefer_wait: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) subset: Option<Subset>,
    pub(crate) placement: Placement,
    /// Whether only the preferred endpoint will do.
    pub(crate) strict: bool,
}

/// What becomes of a request whose preferred endpoint is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfFull {
    /// The policy picks another.
    Divert,
    /// It waits for that one.
    Wait,
}

impl Context {
    /// Asks for nothing in particular. Does not allocate.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            asked: Asked { hash: None, exclude: Vec::new() },
            prefer: None,
            prefer_wait: None,
            deadline: None,
            subset: None,
            placement: Placement::Policy,
            strict: false,
        }
    }

    /// Gives the hash of the request's key, by which hashing policies pick. Others pay no heed.
    #[must_use]
    pub fn with_hash(mut self, hash: u64) -> Self {
        self.asked.hash = Some(hash);
        self
    }

    /// Asks for this endpoint, whatever the policy says, if it may serve this request: also one
    /// of weight 0, but none that is gone, excluded or outside the subset. Otherwise the policy
    /// picks.
    #[must_use]
    pub fn with_prefer(mut self, id: EndpointId) -> Self {
        self.prefer = Some(id);
        self
    }

    /// If the preferred endpoint is [full](crate::Endpoint::with_max_in_flight), waits so long for it
    /// before the policy picks another: for a session whose state is there. Default: does not wait.
    ///
    /// It waits in the cluster's [queue](super::Queue), where there is one, and no longer than that
    /// lets it; see there.
    #[must_use]
    pub fn with_prefer_wait(mut self, time: Duration) -> Self {
        self.prefer_wait = Some(time);
        self
    }

    /// Says by when the caller wants an answer: no [queue](super::Queue) keeps the request longer.
    #[must_use]
    pub fn with_deadline(mut self, at: Instant) -> Self {
        self.deadline = Some(at);
        self
    }

    /// Lets the pick fail if the [preferred](Self::with_prefer) endpoint may not serve this request,
    /// instead of taking another one. Without a preferred endpoint nothing changes.
    #[must_use]
    pub fn or_fail(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Says that the request begins a session, which will ask for the same endpoint again and
    /// again: whatever the policy says, it goes to the endpoint with the fewest sessions and requests
    /// in flight for its weight. How many sessions there are, the cluster knows from its
    /// `StickyLayer`s. Reads all endpoints.
    ///
    /// The policy [`Ranked`](crate::policy::Ranked) decides all the same, as does any other that
    /// [does not spread](crate::policy::Policy::spreads).
    ///
    /// ```
    /// use whippletree::{Cluster, Context, Endpoint};
    ///
    /// let cluster = Cluster::builder().connect(|_| ());
    /// cluster.replace([Endpoint::new("a:80")?, Endpoint::new("b:80")?.with_weight(4)])?;
    /// let context = Context::new().with_new_session();
    /// let leases: Vec<_> = (0..5).map(|_| cluster.pick(&context)).collect::<Result<_, _>>()?;
    /// let on_a = leases.iter().filter(|lease| lease.id().as_str() == "a:80").count();
    /// assert_eq!(on_a, 1);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    #[must_use]
    pub fn with_new_session(mut self) -> Self {
        self.placement = Placement::NewSession;
        self
    }

    /// Names the key of a session whose [preferred](Self::with_prefer) endpoint may not serve: the
    /// same endpoint then stands in for it at every request, in every process, by the highest
    /// random weight of the key ([`Rendezvous`](crate::policy::Rendezvous)). Policies that
    /// [do not spread](crate::policy::Policy::spreads) decide themselves.
    /// Reads all endpoints, but only when another has to serve.
    #[must_use]
    pub fn with_stand_in(mut self, key: u64) -> Self {
        self.placement = Placement::StandIn(key);
        self
    }

    /// Rules an endpoint out, because it has failed this request already for one. May be called
    /// again for further ones. When all are ruled out, the pick fails.
    #[must_use]
    pub fn with_exclude(mut self, id: EndpointId) -> Self {
        self.asked.exclude.push(id);
        self
    }

    /// Restricts the pick to the endpoints of the subset.
    ///
    /// The cluster prepares a subset when a request first names it, which takes as long as a change
    /// of the endpoints, and then keeps the 64 that were named first most recently. Subsets should
    /// therefore come from configuration, not from what clients send.
    #[must_use]
    pub fn with_subset(mut self, subset: Subset) -> Self {
        self.subset = Some(subset);
        self
    }

    pub(crate) fn excluded(&self) -> &[EndpointId] {
        &self.asked.exclude
    }

    /// Allows again what was ruled out last, down to the first so many.
    pub(crate) fn keep_excluded(&mut self, count: usize) {
        self.asked.exclude.truncate(count);
    }
}
