use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::clock;
use super::node::{Counted, Node};
use crate::endpoint::{Endpoint, EndpointId};
use crate::health::Outcome;
use crate::load::Nanos;

/// One request on one endpoint: proof that it was picked, and its place in the count of requests
/// in flight.
///
/// The request is in flight until the lease is dropped, on every path: success, error,
/// cancellation, panic. [`report`](Self::report) says what was learnt of the endpoint; a lease
/// dropped without a report counts as cancelled.
///
/// ```
/// use whippletree::health::Outcome;
/// use whippletree::{Cluster, Context, Endpoint};
///
/// let cluster = Cluster::builder().connect(|_| ());
/// cluster.insert(Endpoint::new("10.0.0.1:80")?)?;
///
/// let mut lease = cluster.pick(&Context::new())?;
/// assert_eq!(cluster.status().endpoints[0].in_flight, 1);
/// lease.report(Outcome::Success);
/// drop(lease);
/// assert_eq!(cluster.status().endpoints[0].in_flight, 0);
/// # Ok::<(), whippletree::Error>(())
/// ```
#[must_use = "dropping the lease ends the request"]
pub struct Lease<S> {
    node: Arc<Node<S>>,
    /// Whether the count of this request is the lease's own and not yet a guard's.
    owns: bool,
    progress: Progress,
}

/// How far a request has come, as its endpoint's measurements see it.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// When it was picked, if it is timed.
    begun: Option<Nanos>,
    answered: bool,
    outcome: Option<Outcome>,
}

impl<S> Lease<S> {
    /// Takes over the request that the caller has counted in on `node`.
    pub(super) fn new(node: Arc<Node<S>>, begun: Option<Nanos>) -> Self {
        let progress = Progress {
            begun,
            answered: false,
            outcome: None,
        };
        Self {
            node,
            owns: true,
            progress,
        }
    }

    /// The payload of the endpoint: its service, or whatever the connect closure made.
    #[must_use]
    pub fn service(&self) -> &S {
        &self.node.service
    }

    /// Who was picked.
    #[must_use]
    pub fn id(&self) -> &EndpointId {
        self.node.id()
    }

    /// The endpoint's description, as it is now.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.node.endpoint()
    }
}

impl<S: Send + Sync + 'static> Lease<S> {
    /// Says what was learnt of the endpoint. The first report counts, except that a failure
    /// (a body that breaks off) takes the place of an earlier success.
    ///
    /// If the cluster's [`Cost`](crate::load::Cost) is a latency, this is also the moment of the
    /// answer.
    pub fn report(&mut self, outcome: Outcome) {
        let now = self.progress.begun.map(|_| clock::now());
        self.progress.report(&*self.node, outcome, now);
    }

    /// As [`report`](Self::report), with the moment given.
    pub fn report_at(&mut self, outcome: Outcome, now: Instant) {
        self.progress.report(&*self.node, outcome, Some(now));
    }

    /// Gives up the service and keeps the request in flight: what a response body holds.
    pub fn into_guard(mut self) -> LeaseGuard {
        self.owns = false;
        let node: Arc<dyn Counted> = Arc::clone(&self.node) as _;
        LeaseGuard {
            node,
            progress: self.progress,
        }
    }
}

impl<S> Drop for Lease<S> {
    fn drop(&mut self) {
        if self.owns {
            self.progress.end(&self.node.load);
        }
    }
}

impl<S> fmt::Debug for Lease<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("id", self.node.id())
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// A [`Lease`] without the endpoint's service: keeps its request in flight until it is dropped.
///
/// One type for all services, so that a response body can hold it without naming them.
#[must_use = "dropping the guard ends the request"]
pub struct LeaseGuard {
    node: Arc<dyn Counted>,
    progress: Progress,
}

impl LeaseGuard {
    /// Who was picked.
    #[must_use]
    pub fn id(&self) -> &EndpointId {
        self.node.id()
    }

    /// As [`Lease::report`].
    pub fn report(&mut self, outcome: Outcome) {
        let now = self.progress.begun.map(|_| clock::now());
        self.progress.report(&*self.node, outcome, now);
    }

    /// The response head has arrived and is no failure: the latency is known, the outcome not yet.
    pub(crate) fn answered(&mut self) {
        if let Some(begun) = self.progress.begun {
            let now = self.node.nanos(clock::now());
            if self.progress.answer(&*self.node, now) {
                self.node.load().sample(begun, now);
            }
        }
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.progress.end(self.node.load());
    }
}

impl fmt::Debug for LeaseGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseGuard")
            .field("id", self.node.id())
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl Progress {
    fn report(&mut self, node: &dyn Counted, outcome: Outcome, now: Option<Instant>) {
        let failed = matches!(outcome, Outcome::Failure(_));
        match self.outcome {
            None => {}
            Some(before @ Outcome::Success) if failed => node.tally().retract(before),
            Some(_) => return,
        }
        self.outcome = Some(outcome);
        node.tally().count(outcome);
        if let (Some(begun), Some(now)) = (self.begun, now) {
            let now = node.nanos(now);
            let first = self.answer(node, now);
            if failed {
                node.load().penalize(begun, now);
            } else if first {
                node.load().sample(begun, now);
            }
        }
    }

    /// Marks the request as answered; false if it was already.
    fn answer(&mut self, node: &dyn Counted, now: Nanos) -> bool {
        let first = !std::mem::replace(&mut self.answered, true);
        if first {
            node.load().answered(now);
        }
        first
    }

    fn end(&self, load: &crate::load::Load) {
        if self.begun.is_some() && !self.answered {
            load.abandoned();
        }
        load.end();
    }
}
