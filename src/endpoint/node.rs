use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::RwLock;

use super::{Endpoint, EndpointId};
use crate::error::Error;
use crate::health::Outcome;
use crate::load::{Load, Nanos, PeakEwma};

/// What the user keeps per endpoint, a service most often. Its type is known to the typed shell
/// around the cluster alone, so that everything within is compiled once.
///
/// Its drop is the user's code and may run anywhere: with the last lease, within a pick that was
/// overtaken by a change, in the timer's task. A panic in it is logged and goes no further.
pub(crate) struct Payload(Option<Box<dyn Any + Send + Sync>>);

impl Payload {
    pub(crate) fn new(payload: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(payload)))
    }

    pub(crate) fn get<S: 'static>(&self) -> Option<&S> {
        self.0.as_deref()?.downcast_ref()
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        let payload = self.0.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            let error = Error::panicked("drop of a payload", &*panic);
            tracing::error!(target: "whippletree", "{error}");
        }
    }
}

/// An endpoint as it lives: its payload and what was measured. Exists from its first insertion
/// until it is forgotten and its last lease is dropped.
///
/// Laid out in this order, so that the load shares a cache line with the reference counts that
/// stand before it: a pick writes to that line alone.
#[repr(C)]
pub(crate) struct Node {
    pub(crate) load: Load,
    pub(crate) tally: Tally,
    epoch: Instant,
    id: EndpointId,
    /// The latest description, for who holds a lease; picks use the snapshot's.
    endpoint: RwLock<Endpoint>,
    pub(crate) added: Instant,
    pub(crate) payload: Payload,
}

/// Outcomes by kind. Requests that ended without one were cancelled: what is left of the requests
/// begun when these and those in flight are taken away.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) succeeded: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) ignored: AtomicU64,
}

impl Tally {
    pub(crate) fn count(&self, outcome: Outcome) {
        self.counter(outcome).fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back an outcome that was counted and has turned out otherwise.
    pub(crate) fn retract(&self, outcome: Outcome) {
        self.counter(outcome).fetch_sub(1, Ordering::Relaxed);
    }

    fn counter(&self, outcome: Outcome) -> &AtomicU64 {
        match outcome {
            Outcome::Success => &self.succeeded,
            Outcome::Failure(_) => &self.failed,
            Outcome::Ignored => &self.ignored,
        }
    }
}

impl Node {
    pub(crate) fn new(
        endpoint: Endpoint,
        payload: Payload,
        parameters: PeakEwma,
        epoch: Instant,
        now: Instant,
    ) -> Self {
        Self {
            load: Load::new(parameters),
            tally: Tally::default(),
            epoch,
            id: endpoint.id().clone(),
            endpoint: RwLock::new(endpoint),
            added: now,
            payload,
        }
    }

    pub(crate) fn id(&self) -> &EndpointId {
        &self.id
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.read().clone()
    }

    /// `now` as the node's measurements count it.
    pub(crate) fn nanos(&self, now: Instant) -> Nanos {
        since(self.epoch, now)
    }

    pub(crate) fn describe(&self, endpoint: Endpoint) {
        *self.endpoint.write() = endpoint;
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An endpoint as it was described when a snapshot was made, and its live part.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) endpoint: Endpoint,
    pub(crate) node: Arc<Node>,
}

/// Nanoseconds from `epoch` to `now`, 0 if that is not later; they last 584 years.
pub(crate) fn since(epoch: Instant, now: Instant) -> Nanos {
    let elapsed = now.saturating_duration_since(epoch);
    // Not `as_nanos`, whose 128 bits cost several nanoseconds on the path of every pick.
    let seconds = elapsed.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(elapsed.subsec_nanos()))
}
