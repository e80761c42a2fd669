//! The endpoints that share one load, and the primitive that all else is made of: the lease.
//!
//! ```
//! use whippletree::health::{Failure, Outcome};
//! use whippletree::{Cluster, Context, Endpoint};
//!
//! // The payload can be anything: a client, a connection pool, or just the address to dial.
//! let cluster = Cluster::builder().connect(|endpoint| endpoint.address().to_string());
//! cluster.replace([Endpoint::new("10.0.0.1:5432")?, Endpoint::new("10.0.0.2:5432")?])?;
//!
//! let mut lease = cluster.pick(&Context::new())?;
//! match dial(lease.service()) {
//!     Ok(()) => lease.report(Outcome::Success),
//!     Err(_) => lease.report(Outcome::Failure(Failure::Connect)),
//! }
//! # fn dial(_: &str) -> Result<(), ()> { Ok(()) }
//! # Ok::<(), whippletree::Error>(())
//! ```
//!
//! # How it works
//!
//! Two halves meet in one immutable snapshot:
//!
//! ```text
//!  control: rare, behind a lock                    data: every request, no lock
//!
//!  insert, remove, replace ─┐                      pick(&Context)
//!  follow, discover ────────┼─► control                │ loads
//!  timers ──────────────────┘      │ Policy::build     ▼
//!                                  └──────────► snapshot: endpoints + picker, stored as one
//!                                                      │
//!                                                      ▼
//!                                                    Lease ──► atomics of its endpoint
//! ```
//!
//! **Membership is a snapshot.** What changes rarely (who is in, weights, tiers) makes a new
//! snapshot, off the request path. A pick works on one snapshot from beginning to end: it sees
//! the state before a change or after it, never a mixture.
//!
//! **Measurements are atomics.** What changes with every request lives in the endpoint and
//! outlives snapshots. A change of weight or labels keeps it, and so does leaving and coming back
//! within [`forget_after`](Builder::forget_after).
//!
//! A pick takes no lock and allocates nothing. It waits for nobody: not for a change in progress,
//! not for other picks.

mod acquire;
mod administer;
mod ask;
mod assemble;
mod attempt;
mod band;
mod batch;
mod builder;
mod clock;
mod compose;
mod context;
mod control;
mod discover;
mod drain;
mod drain_options;
mod driver;
#[cfg(feature = "serde")]
mod export;
mod facts;
mod follow;
mod follower;
mod gather;
#[cfg(feature = "cookie")]
mod homes;
mod judge;
mod lease;
mod limited;
mod line;
mod membership;
mod memory;
mod operate;
mod pick;
mod placement;
mod probing;
mod queue;
mod record;
mod registry;
mod rest;
mod retired;
mod rules;
mod shared;
mod shutdown;
mod snapshot;
mod soft_start;
mod source;
mod source_status;
mod spread;
mod status;
mod swap;
mod tiers;
mod trials;
mod verdicts;
mod witness;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use crate::error::Error;
use crate::event::Events;

use self::shared::Shared;

pub(crate) use self::attempt::Verdict;
pub(crate) use self::clock::now;
#[cfg(feature = "cookie")]
pub(crate) use self::homes::Homes;
pub(crate) use self::membership::check;
pub(crate) use self::probing::{Listed, Probed, WeakProbed};
pub(crate) use self::verdicts::{Effect, Finding, ProbeId, ProbePace, ProbeRule};

pub use self::acquire::Acquire;
pub use self::attempt::Attempt;
pub use self::builder::Builder;
pub use self::context::Context;
pub use self::drain::Drain;
pub use self::drain_options::{DrainOptions, Then};
#[cfg(feature = "serde")]
pub use self::export::{ClusterState, EndpointState};
pub use self::lease::{Lease, LeaseGuard};
pub use self::queue::{Queue, QueueStatus};
pub use self::shutdown::Shutdown;
pub use self::source::Source;
pub use self::source_status::SourceStatus;
pub use self::status::{CheckStatus, ClusterStatus, EndpointStatus, Fact, FactKind};
pub use self::tiers::{Failback, Panic, Spill};
pub use crate::endpoint::{Admin, DrainEnd, DrainReport, State};

/// A set of endpoints with a payload `S` each, and the means to pick among them.
///
/// A handle: clones are the same cluster. See the [module](self) for how it works.
pub struct Cluster<S> {
    shared: Arc<Shared>,
    payload: PhantomData<fn() -> S>,
}

impl Cluster<()> {
    /// Starts a cluster with the default parameters; the builder decides on the payload.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl<S: Send + Sync + 'static> Cluster<S> {
    /// Picks an endpoint for a request and counts the request in flight until the lease is
    /// dropped.
    ///
    /// Reads the clock only if the cost is a latency: about 25 ns less without. A request that is not
    /// timed and is dropped without a report says nothing, however long it took: for endpoints that
    /// hang to be found, report a [timeout](crate::health::Failure::Timeout), or pick with
    /// [`pick_at`](Self::pick_at). [`Balance`](crate::Balance) times every request.
    ///
    /// # Errors
    ///
    /// [No endpoint](Error::is_no_endpoint) if none is available to this request.
    pub fn pick(&self, context: &Context) -> Result<Lease<S>, Error> {
        self.lease(context, None)
    }

    /// As [`pick`](Self::pick), with the moment given: the request's latency is measured from it.
    ///
    /// # Errors
    ///
    /// As [`pick`](Self::pick).
    pub fn pick_at(&self, context: &Context, now: Instant) -> Result<Lease<S>, Error> {
        self.lease(context, Some(now))
    }

    /// As [`pick`](Self::pick), but waits for an endpoint if all are at their limits and the cluster
    /// has a [queue](Builder::queue), no longer than that allows. The request is timed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use whippletree::cluster::Queue;
    /// use whippletree::{Cluster, Context, Endpoint};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
    /// # .unwrap().block_on(async {
    /// let queue = Queue::new().timeout(Duration::from_secs(1));
    /// let cluster = Cluster::builder().queue(queue).connect(|_| ());
    /// cluster.insert(Endpoint::new("10.0.0.1:80")?.with_max_in_flight(1))?;
    ///
    /// let lease = cluster.acquire(&Context::new()).await?;
    /// let waiting = cluster.acquire(&Context::new());
    /// assert_eq!(cluster.status().queue.waiting, 1);
    /// drop(lease);
    /// let lease = waiting.await?;
    /// let error = cluster.acquire(&Context::new()).await.unwrap_err();
    /// assert!(error.is_overloaded());
    /// # drop(lease);
    /// # Ok::<(), whippletree::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The future resolves to the errors of [`pick`](Self::pick), of which
    /// [overload](Error::is_overloaded) comes at once if the queue is full or there is none, and
    /// otherwise when the time is over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the queue, whether or not an endpoint was found already; the slot
    /// then goes to the next.
    pub fn acquire(&self, context: &Context) -> Acquire<S> {
        Acquire::of(self.shared.admit(context, clock::now()))
    }

    /// Whether any endpoint may be picked now, by a request that asks for nothing in particular.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.shared.published.load().is_available()
    }

    /// What [`is_available`](Self::is_available) said when the last change was made, cheaper: a
    /// caller that is told wrongly finds out at its pick, or on a second look.
    pub(crate) fn seems_available(&self) -> bool {
        self.shared.available.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Waits until an endpoint [is available](Self::is_available), for ever if need be, or until the
    /// cluster [is closed](Self::is_closed). Uses no CPU meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the future holds nothing.
    pub async fn available(&self) {
        let mut version = self.shared.version.subscribe();
        while !self.is_available() && !self.is_closed() {
            // An error would mean that the sender is gone, but `self` holds it.
            let _ = version.changed().await;
        }
    }

    /// Subscribes to what happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> Events {
        self.shared.bus.subscribe()
    }

    fn lease(&self, context: &Context, now: Option<Instant>) -> Result<Lease<S>, Error> {
        self.shared.pick(context, now).map(Lease::of)
    }
}

impl<S> Cluster<S> {
    fn of(shared: Arc<Shared>) -> Self {
        Self { shared, payload: PhantomData }
    }
}

impl<S> Clone for Cluster<S> {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.shared))
    }
}

impl<S> fmt::Debug for Cluster<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.shared.name)
            .field("endpoints", &self.shared.published.load().members.len())
            .finish_non_exhaustive()
    }
}
