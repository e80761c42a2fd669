//! The orders and distributions of the policies, against golden values: those of nginx, Envoy,
//! gRPC, Caddy and tonic, and bounds that follow from the algorithms.
#![allow(clippy::unwrap_used, reason = "tests")]

mod distribution;
mod least_request;
mod p2c;
mod ranked;
mod round_robin;
#[path = "../strict/mod.rs"]
mod strict;
mod stride;
mod turns;

use whippletree::Cluster;
use whippletree::policy::Policy;

/// An idle cluster of endpoints with these weights. The test harness shows what is printed here
/// when a test fails.
fn cluster(policy: impl Policy, seed: u64, weights: &[u16]) -> Cluster<()> {
    println!("seed {seed}, weights {weights:?}");
    let cluster = Cluster::builder().policy(policy).seed(seed).connect(|_| ());
    cluster.replace(strict::fleet(weights)).unwrap();
    cluster
}
