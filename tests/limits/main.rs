//! Limits of endpoints, and the queue before them.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../strict/mod.rs"]
mod strict;

mod cancel;
mod connect;
mod exact;
mod home;
mod model;
mod queue;
mod threads;

use std::time::Duration;

use whippletree::cluster::Queue;
use whippletree::{Cluster, Context, Endpoint, Lease};

use crate::strict::{endpoint, index};

/// Endpoints with these limits.
fn limited(limits: &[u32]) -> Vec<Endpoint> {
    let limited = |(at, limit): (usize, &u32)| endpoint(at).with_max_in_flight(*limit);
    limits.iter().enumerate().map(limited).collect()
}

/// A seeded cluster of endpoints with these limits, and a queue of this size and 1 s.
fn queued(limits: &[u32], size: usize) -> Cluster<()> {
    let queue = Queue::new().size(size).timeout(Duration::from_secs(1));
    let cluster = Cluster::builder().seed(7).outlier(None).queue(queue).connect(|_| ());
    cluster.replace(limited(limits)).unwrap();
    cluster
}

/// Takes every slot there is; the leases are ordered by endpoint.
fn fill(cluster: &Cluster<()>) -> Vec<Lease<()>> {
    let mut leases: Vec<_> = std::iter::from_fn(|| cluster.pick(&Context::new()).ok()).collect();
    leases.sort_by_key(|lease| index(lease.id()));
    leases
}

fn waiting<S: Send + Sync + 'static>(cluster: &Cluster<S>) -> usize {
    cluster.status().queue.waiting
}
