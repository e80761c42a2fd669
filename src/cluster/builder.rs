use std::sync::Arc;
use std::time::Duration;

use super::{Cluster, Shared};
use crate::endpoint::{Endpoint, Payload};
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

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}
