//! Endpoints and clusters of a given size.

use whippletree::cluster::Builder;
use whippletree::{Cluster, Endpoint};

use crate::service::Unit;

/// Endpoint number `i`: an address of its own, up to 2^16 of them.
#[must_use]
pub fn address(i: usize) -> String {
    format!("10.0.{}.{}:80", i / 256, i % 256)
}

/// Endpoint number `i`, weight 1.
///
/// # Panics
///
/// If the fixture's address does not parse.
#[must_use]
pub fn endpoint(i: usize) -> Endpoint {
    Endpoint::new(address(i)).expect("a fixture is ip:port")
}

/// The first `count` endpoints.
pub fn endpoints(count: usize) -> impl Iterator<Item = Endpoint> {
    (0..count).map(endpoint)
}

/// A cluster of the first `count` endpoints.
///
/// # Panics
///
/// If the cluster refuses the fixtures.
#[must_use]
pub fn cluster(builder: Builder, count: usize) -> Cluster<Unit> {
    let cluster = builder.connect(|_| Unit);
    cluster.replace(endpoints(count)).expect("no two fixtures have the same id");
    cluster
}

/// As [`cluster`], where every endpoint has a limit that nobody reaches.
///
/// # Panics
///
/// If the cluster refuses the fixtures.
#[must_use]
pub fn limited(builder: Builder, count: usize) -> Cluster<Unit> {
    let cluster = builder.connect(|_| Unit);
    let limited = endpoints(count).map(|endpoint| endpoint.with_max_in_flight(1000));
    cluster.replace(limited).expect("no two fixtures have the same id");
    cluster
}
