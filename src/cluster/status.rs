use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Cluster, clock};
use crate::endpoint::Endpoint;

/// What a cluster knows of itself, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// The cluster's name.
    pub name: String,
    /// The policy's name.
    pub policy: String,
    /// The endpoints, ordered by id.
    pub endpoints: Vec<EndpointStatus>,
}

/// What a cluster knows of an endpoint, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// Its description.
    pub endpoint: Endpoint,
    /// Whether it serves.
    pub state: State,
    /// How long it has been a member.
    pub since: Duration,
    /// Requests in flight.
    pub in_flight: u32,
    /// Requests begun.
    pub requests: u64,
    /// Of these, the ones that succeeded.
    pub successes: u64,
    /// The ones that failed by the endpoint's fault.
    pub failures: u64,
    /// The ones that ended without saying anything of the endpoint.
    pub ignored: u64,
    /// The ones that were dropped without a report.
    pub cancelled: u64,
    /// The moving average of the latency, once a timed request was answered.
    pub latency: Option<Duration>,
}

/// Whether an endpoint serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It gets requests.
    Up,
    /// Its weight is 0: it gets only requests that ask for it.
    Drain,
}

impl<S> Cluster<S> {
    /// What the cluster knows of itself now. Counters of different endpoints are read one after
    /// the other.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        let policy = self.shared.policy.to_string();
        let instant = clock::now();
        let now = self.shared.nanos(instant);
        let snapshot = self.shared.published.load();
        let endpoints = snapshot.members.iter().map(|member| {
            let (load, tally) = (&member.node.load, &member.node.tally);
            // The outcomes first: a request that ends in between is then in flight or cancelled
            // rather than counted twice.
            let successes = tally.succeeded.load(Ordering::Relaxed);
            let failures = tally.failed.load(Ordering::Relaxed);
            let ignored = tally.ignored.load(Ordering::Relaxed);
            let in_flight = load.in_flight();
            let requests = load.started();
            let ended = requests.saturating_sub(u64::from(in_flight));
            let weightless = member.endpoint.weight().is_zero();
            EndpointStatus {
                endpoint: member.endpoint.clone(),
                state: if weightless { State::Drain } else { State::Up },
                since: instant.saturating_duration_since(member.node.added),
                in_flight,
                requests,
                successes,
                failures,
                ignored,
                cancelled: ended.saturating_sub(successes + failures + ignored),
                latency: load.latency(now).map(Duration::from_secs_f64),
            }
        });
        ClusterStatus { name: self.shared.name.to_string(), policy, endpoints: endpoints.collect() }
    }
}
