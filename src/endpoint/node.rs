use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use parking_lot::RwLock;

use super::sessions::{Home, Sessions};
use super::{Endpoint, EndpointId, Leave};
use crate::error::Error;
use crate::health::Outcome;
use crate::health::outlier::{Limits, Reason, Sample, Streaks};
use crate::load::{Ended, Load, Nanos, PeakEwma};
use crate::sync::{self, Ordering};

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
    pub(crate) probation: Probation,
    /// Whether live traffic has spoken against it and nothing has taken that back.
    pub(crate) suspect: AtomicBool,
    pub(crate) sessions: Sessions,
    streaks: Streaks,
    /// How often in a row, without an answer in between, another endpoint has answered first.
    overtaken: AtomicU64,
    witness: Option<Arc<dyn Witness>>,
    usher: Arc<dyn Usher>,
    epoch: Instant,
    id: EndpointId,
    /// Requests that asked for this endpoint and found it, and those that were sent elsewhere.
    pub(crate) asked: Asked,
    pub(crate) leave: Leave,
    /// The latest description, for who holds a lease; picks use the snapshot's.
    endpoint: RwLock<Endpoint>,
    pub(crate) payload: Payload,
}

/// Requests that asked for an endpoint, as those of sessions do.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) served: AtomicU64,
    pub(crate) diverted: AtomicU64,
}

/// Who hears what live traffic says against an endpoint, or for it: the cluster's control side,
/// which nodes know only as this.
pub(crate) trait Witness: Send + Sync {
    /// When a row of failures is evidence; nothing, if live traffic is not judged.
    fn limits(&self) -> Option<Limits>;

    /// A request that is dropped without an answer after so long counts as a failure.
    fn slow_cancel(&self) -> Nanos;

    /// A request has failed: there is something to compare at the end of the interval.
    fn failed(&self);

    /// Takes evidence to where it is judged. Must not block for long: a request waits.
    fn testify(&self, node: &Arc<Node>, evidence: Evidence);
}

/// Who is told when a request ends on an endpoint that others wait for: the cluster's line, which
/// nodes know only as this.
pub(crate) trait Usher: Send + Sync {
    /// There may be a slot free.
    fn freed(&self, node: &Node);
}

/// What traffic says of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Evidence {
    /// Too many failures in a row.
    Streak(Reason),
    /// The request that an ejected endpoint was given on trial has succeeded.
    TrialPassed,
    /// It has failed.
    TrialFailed,
    /// The last request has ended, for which a drain waits.
    Emptied,
}

/// Outcomes by kind. Requests that ended without one were cancelled.
///
/// Laid out in this order: users of bare leases that report nothing count them all as cancelled,
/// on the cache line that the end of a request writes to in any case.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Tally {
    pub(crate) cancelled: AtomicU64,
    pub(crate) succeeded: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) ignored: AtomicU64,
}

/// The one request at a time that an endpoint gets on trial after its ejection.
#[derive(Debug, Default)]
pub(crate) struct Probation(sync::AtomicU64);

impl Probation {
    const FREE: u64 = 0;
    const TAKEN: u64 = 1;

    /// Takes the place for a request, if it is free.
    pub(crate) fn take(&self) -> bool {
        let (free, taken) = (Self::FREE, Self::TAKEN);
        self.is_free()
            && self.0.compare_exchange(free, taken, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Gives the place back for another request.
    pub(crate) fn give_back(&self) {
        self.0.store(Self::FREE, Ordering::Release);
    }

    pub(crate) fn is_free(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::FREE
    }
}

impl Tally {
    pub(crate) fn count(&self, outcome: Outcome) {
        self.counter(outcome).fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back an outcome that was counted and has turned out otherwise.
    pub(crate) fn retract(&self, outcome: Outcome) {
        self.counter(outcome).fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a request that ended without an outcome.
    pub(crate) fn cancel(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    /// What the detectors compare.
    pub(crate) fn sample(&self) -> Sample {
        Sample {
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
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
        witness: Option<Arc<dyn Witness>>,
        usher: Arc<dyn Usher>,
    ) -> Self {
        Self {
            load: Load::new(parameters),
            tally: Tally::default(),
            probation: Probation::default(),
            suspect: AtomicBool::new(false),
            sessions: Sessions::default(),
            streaks: Streaks::default(),
            overtaken: AtomicU64::new(0),
            witness,
            usher,
            epoch,
            id: endpoint.id().clone(),
            asked: Asked::default(),
            leave: Leave::default(),
            endpoint: RwLock::new(endpoint),
            payload,
        }
    }

    /// Takes in what a request learnt.
    pub(crate) fn learn(self: &Arc<Self>, outcome: Outcome) {
        self.tally.count(outcome);
        let Some(witness) = &self.witness else {
            return;
        };
        let Some(limits) = witness.limits() else {
            return;
        };
        let streak = self.streaks.record(outcome, &limits);
        if matches!(outcome, Outcome::Failure(_)) {
            witness.failed();
        }
        if let Some(reason) = streak {
            witness.testify(self, Evidence::Streak(reason));
        }
    }

    /// Takes in how a request on trial ended; without an outcome the next request tries.
    pub(crate) fn end_trial(self: &Arc<Self>, outcome: Option<Outcome>) {
        let evidence = match outcome {
            Some(Outcome::Success) => Evidence::TrialPassed,
            Some(Outcome::Failure(_)) => Evidence::TrialFailed,
            Some(Outcome::Ignored) | None => return self.probation.give_back(),
        };
        if let Some(witness) = &self.witness {
            witness.testify(self, evidence);
        }
    }

    /// Whether a request that was dropped after such a time says that the endpoint hangs.
    pub(crate) fn hangs(&self, waited: Nanos) -> bool {
        self.witness.as_ref().is_some_and(|witness| waited >= witness.slow_cancel())
    }

    /// Takes note that another endpoint, asked later, has answered first; whether that was so
    /// often in a row as failures are evidence.
    pub(crate) fn is_overtaken(&self) -> bool {
        let limit = self.witness.as_ref().and_then(|witness| witness.limits());
        let limit = limit.map_or(0, |limits| limits.failures);
        let row = self.overtaken.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        limit > 0 && row >= u64::from(limit)
    }

    /// Takes note of an answer.
    pub(crate) fn keeps_up(&self) {
        if self.overtaken.load(Ordering::Relaxed) != 0 {
            self.overtaken.store(0, Ordering::Relaxed);
        }
    }

    /// The outcomes are read first: of a request that ends in between it is not yet known how.
    pub(crate) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (succeeded, failed) = (read(&self.tally.succeeded), read(&self.tally.failed));
        let (ignored, cancelled) = (read(&self.tally.ignored), read(&self.tally.cancelled));
        let (requests, in_flight) = self.load.begun();
        Counts { requests, in_flight, succeeded, failed, ignored, cancelled }
    }

    /// Counts a request out.
    #[inline]
    pub(crate) fn end(self: &Arc<Self>) {
        let ended = self.load.end();
        if ended.is_marked() {
            self.tell(ended);
        }
    }

    /// Tells those who wait for the end of a request.
    #[cold]
    fn tell(self: &Arc<Self>, ended: Ended) {
        if let Some(witness) = self.witness.as_ref().filter(|_| ended.is_last()) {
            witness.testify(self, Evidence::Emptied);
        }
        if ended.is_watched() {
            self.usher.freed(self);
        }
    }

    /// Starts the count of failures in a row anew.
    pub(crate) fn absolve(&self) {
        self.streaks.reset();
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

/// Requests by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) in_flight: u32,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    pub(crate) cancelled: u64,
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            in_flight: self.in_flight + other.in_flight,
            succeeded: self.succeeded + other.succeeded,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
            cancelled: self.cancelled + other.cancelled,
        }
    }
}

/// An endpoint as it was described when a snapshot was made, and its live part.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) endpoint: Endpoint,
    pub(crate) node: Arc<Node>,
    /// The rank with all adjustments.
    pub(crate) rank: u8,
    /// Whether it serves requests that ask for it.
    pub(crate) sticky: bool,
    /// What it is to the sessions that call it home.
    #[cfg_attr(not(feature = "cookie"), allow(dead_code, reason = "for the sticky layer"))]
    pub(crate) home: Home,
    /// Whether it gets one request at a time, on trial.
    pub(crate) on_trial: bool,
    /// The most requests in flight, without regard to slow start; [`UNLIMITED`] is no limit.
    pub(crate) limit: u32,
}

/// More requests than can be counted.
pub(crate) const UNLIMITED: u32 = u32::MAX;

impl Member {
    pub(crate) fn is_limited(&self) -> bool {
        self.limit != UNLIMITED
    }

    /// Whether as many are in flight as may be while it has this share of its weight.
    pub(crate) fn is_full(&self, share: f64) -> bool {
        self.is_limited() && self.node.load.in_flight() >= self.limit_at(share)
    }

    /// The limit while it has this share of its weight: at least 1.
    pub(crate) fn limit_at(&self, share: f64) -> u32 {
        if share >= 1.0 || !self.is_limited() {
            return self.limit;
        }
        ((f64::from(self.limit) * share) as u32).max(1)
    }
}

/// Nanoseconds from `epoch` to `now`, 0 if that is not later; they last 584 years.
pub(crate) fn since(epoch: Instant, now: Instant) -> Nanos {
    let elapsed = now.saturating_duration_since(epoch);
    // Not `as_nanos`, whose 128 bits cost several nanoseconds on the path of every pick.
    let seconds = elapsed.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(elapsed.subsec_nanos()))
}
