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

mod administer;
mod assemble;
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
mod lease;
mod membership;
mod memory;
mod operate;
mod pick;
mod probing;
mod record;
mod registry;
mod retired;
mod rules;
mod shared;
mod shutdown;
mod snapshot;
mod source;
mod source_status;
mod spread;
mod status;
mod swap;
mod tiers;
mod verdicts;
mod witness;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use crate::error::Error;
use crate::event::Events;

use self::shared::Shared;

pub(crate) use self::clock::now;
pub(crate) use self::control::check;
pub(crate) use self::probing::{Listed, Probed, WeakProbed};
pub(crate) use self::verdicts::{Effect, Finding, ProbeId, ProbePace, ProbeRule};

pub use self::builder::Builder;
pub use self::context::Context;
pub use self::drain::Drain;
pub use self::drain_options::{DrainOptions, Then};
#[cfg(feature = "serde")]
pub use self::export::{ClusterState, EndpointState};
pub use self::lease::{Lease, LeaseGuard};
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
    /// Reads the clock only if the cost is a latency: about 25 ns less without.
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

    /// As [`pick`](Self::pick), timed whatever the cost.
    pub(crate) fn pick_now(&self, context: &Context) -> Result<Lease<S>, Error> {
        self.lease(context, Some(clock::now()))
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
