use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::queue::Queue;
use super::rules::Rules;
use super::tiers::{Failback, Panic, Spill, TierRules};
use super::{Cluster, Shared};
use crate::endpoint::{Endpoint, Locality, Payload};
use crate::error::Error;
use crate::health::SlowStart;
use crate::health::outlier::Outlier;
use crate::load::Cost;
use crate::policy::{P2c, Policy};

/// Parameters of a [`Cluster`], all with defaults.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) name: Arc<str>,
    pub(super) policy: Arc<dyn Policy>,
    pub(super) cost: Cost,
    pub(super) seed: Option<u64>,
    pub(super) forget_after: Duration,
    pub(super) event_capacity: usize,
    outlier: Option<Outlier>,
    slow_start: Option<SlowStart>,
    tiers: TierRules,
    locality: Option<Locality>,
    pub(super) queue: Option<Queue>,
}

/// Makes the payload of a new endpoint.
pub(super) type Connect = Box<dyn Fn(&Endpoint) -> Payload + Send + Sync>;

impl Builder {
    /// All defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: "cluster".into(),
            policy: Arc::new(P2c::new()),
            cost: Cost::InFlight,
            seed: None,
            forget_after: Duration::from_secs(300),
            event_capacity: 1024,
            outlier: Some(Outlier::new()),
            slow_start: None,
            tiers: TierRules::default(),
            locality: None,
            queue: None,
        }
    }

    /// Names the cluster, for logs and statistics. Default `cluster`.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the selection algorithm; an `Arc` of one will do as well. Default [`P2c`].
    #[must_use]
    pub fn policy(mut self, policy: impl Policy) -> Self {
        self.policy = Arc::new(policy);
        self
    }

    /// Sets what load-aware policies compare. Default [`Cost::InFlight`].
    #[must_use]
    pub fn cost(mut self, cost: Cost) -> Self {
        self.cost = cost;
        self
    }

    /// Makes every random choice repeatable: the same seed and the same calls give the same picks.
    /// If the cost is a latency, the measured times are part of the calls: see
    /// [`Cluster::pick_at`], [`Lease::report_at`](super::Lease::report_at) and
    /// [`Lease::cancel_at`](super::Lease::cancel_at).
    ///
    /// Meant for tests and simulations: threads that pick at the same time then share a counter.
    /// Default: seeded by the operating system, each thread for itself.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets how long what was learnt of a removed endpoint is kept, so that one that comes back
    /// within this time is the same endpoint. Default 5 minutes.
    #[must_use]
    pub fn forget_after(mut self, time: Duration) -> Self {
        self.forget_after = time;
        self
    }

    /// Sets how many events a subscriber may be behind before it loses the oldest, at least 1.
    /// Default 1024.
    #[must_use]
    pub fn event_capacity(mut self, events: usize) -> Self {
        self.event_capacity = events.clamp(1, 1 << 20);
        self
    }

    /// Sets how live traffic is judged; `None` turns it off. Default [`Outlier::new`]: on.
    #[must_use]
    pub fn outlier(mut self, outlier: impl Into<Option<Outlier>>) -> Self {
        self.outlier = outlier.into();
        self
    }

    /// Lets endpoints that have just become fit to serve start slowly; `None`, the default, gives
    /// them their full share at once.
    #[must_use]
    pub fn slow_start(mut self, slow_start: impl Into<Option<SlowStart>>) -> Self {
        self.slow_start = slow_start.into();
        self
    }

    /// Sets how requests are spread over the tiers of priority. Default [`Spill::Strict`].
    #[must_use]
    pub fn spill(mut self, spill: Spill) -> Self {
        self.tiers.spill = spill;
        self
    }

    /// Sets when requests go back to a tier that has recovered. Default after 10 s.
    #[must_use]
    pub fn failback(mut self, failback: Failback) -> Self {
        self.tiers.failback = failback;
        self
    }

    /// Sets the percentage of available endpoints below which a tier is in [panic](Panic), 0 to
    /// 100; 0 turns it off. Default 50 (Envoy's `healthy_panic_threshold`). Endpoints that are
    /// drained or in maintenance are not counted at all, and those not yet proven count as
    /// available: at the start nobody is called sick before his first check. With tiers that stand
    /// in for one another, all of them must be below; the first with an available endpoint serves.
    ///
    /// # Errors
    ///
    /// A value above 100.
    pub fn panic_threshold(mut self, percent: u32) -> Result<Self, Error> {
        if percent > 100 {
            return Err(Error::config("panic_threshold", percent, "is not in 0..=100"));
        }
        self.tiers.threshold = percent;
        Ok(self)
    }

    /// Sets what happens below the [panic threshold](Self::panic_threshold). Default
    /// [`Panic::FailOpen`].
    #[must_use]
    pub fn panic(mut self, panic: Panic) -> Self {
        self.tiers.panic = panic;
        self
    }

    /// Says where this balancer runs: endpoints of the same zone are preferred, then those of the
    /// same region. As long as 72 % of them are available they get everything; what they lack goes
    /// on to the others (Envoy's overprovisioning factor of 1.4). Default: no preference.
    #[must_use]
    pub fn locality(mut self, own: impl Into<Option<Locality>>) -> Self {
        self.locality = own.into();
        self
    }

    /// Lets requests wait while all endpoints are at their
    /// [limits](Endpoint::with_max_in_flight). Default: none waits.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<Option<Queue>>) -> Self {
        self.queue = queue.into();
        self
    }

    /// With what a cluster has from the start taken from `first`.
    pub(super) fn made_as(mut self, first: &Self) -> Self {
        self.name = Arc::clone(&first.name);
        (self.seed, self.event_capacity) = (first.seed, first.event_capacity);
        self.queue = first.queue;
        self
    }

    pub(super) fn rules(&self) -> Rules {
        let (policy_name, policy_keeps_unavailable, policy_spreads) = asked(&*self.policy);
        Rules {
            policy: Arc::clone(&self.policy),
            policy_name,
            policy_keeps_unavailable,
            policy_spreads,
            generation: 0,
            cost: self.cost,
            forget_after: self.forget_after,
            outlier: self.outlier.clone(),
            slow_start: self.slow_start,
            tiers: self.tiers,
            locality: self.locality.clone(),
        }
    }

    /// Makes the cluster, empty; `connect` will make the payload of every new endpoint: a service,
    /// or anything else.
    ///
    /// It is called once per endpoint, outside all locks, and again only if the address of an
    /// endpoint changes. It should be quick: what takes time, like opening a connection, belongs
    /// into the service's `poll_ready`. If it panics, the change that brought the endpoint is
    /// refused with an [error](crate::Error::is_panic).
    #[must_use]
    pub fn connect<S, F>(self, connect: F) -> Cluster<S>
    where
        S: Send + Sync + 'static,
        F: Fn(&Endpoint) -> S + Send + Sync + 'static,
    {
        let connect = move |endpoint: &Endpoint| -> Payload { Payload::new(connect(endpoint)) };
        Cluster::of(Shared::new(self, Some(Box::new(connect))))
    }

    /// Makes the cluster, empty and without a way to make payloads: endpoints come with theirs,
    /// by [`Cluster::insert_service`] and [`Cluster::follow_discover`].
    #[must_use]
    pub fn build<S: Send + Sync + 'static>(self) -> Cluster<S> {
        Cluster::of(Shared::new(self, None))
    }
}

/// What a policy says of itself, asked once: it is the user's code here too.
fn asked(policy: &dyn Policy) -> (Arc<str>, bool, bool) {
    let asked = || (policy.name().into(), policy.keeps_unavailable(), policy.spreads());
    catch_unwind(AssertUnwindSafe(asked)).unwrap_or_else(|_| ("unnamed".into(), false, true))
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}
