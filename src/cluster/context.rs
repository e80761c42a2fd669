use std::time::{Duration, Instant};

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
