//! The hash policies: agreement with nginx, pingora and Envoy, whose keys move when an endpoint
//! leaves, and bounded loads; and the keys of requests.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bounded;
mod builds;
mod disruption;
mod envoy;
mod forwarded;
mod keys;
mod nginx;
mod restricted;

use std::sync::Arc;

use whippletree::policy::hash::xxh64_key;
use whippletree::policy::{Maglev, Policy, Rendezvous, RingHash};
use whippletree::{Cluster, Context, Endpoint, EndpointId};

/// Every hash policy, not bounded.
fn policies() -> [Arc<dyn Policy>; 4] {
    [
        Arc::new(RingHash::new().ring_size(16_384..=8_388_608).unwrap()),
        Arc::new(RingHash::ketama()),
        Arc::new(Maglev::new()),
        Arc::new(Rendezvous::new()),
    ]
}

/// Every hash policy with loads bounded by `factor`.
fn bounded(factor: f64) -> [Arc<dyn Policy>; 4] {
    [
        Arc::new(RingHash::new().ring_size(16_384..=8_388_608).unwrap().bounded(factor).unwrap()),
        Arc::new(RingHash::ketama().bounded(factor).unwrap()),
        Arc::new(Maglev::new().bounded(factor).unwrap()),
        Arc::new(Rendezvous::new().bounded(factor).unwrap()),
    ]
}

/// Endpoints at `10.0.0.1:80`, `10.0.0.2:80` and so on with these weights.
fn fleet(weights: &[u16]) -> Vec<Endpoint> {
    let endpoint = |(at, weight): (usize, &u16)| {
        let address = format!("10.0.{}.{}:80", (at + 1) / 256, (at + 1) % 256);
        Endpoint::new(address).unwrap().with_weight(*weight)
    };
    weights.iter().enumerate().map(endpoint).collect()
}

fn cluster(policy: impl Policy, endpoints: &[Endpoint]) -> Cluster<()> {
    let cluster = Cluster::builder().policy(policy).seed(1).connect(|_| ());
    cluster.replace(endpoints.to_vec()).unwrap();
    cluster
}

fn hashes(count: u32) -> impl Iterator<Item = u64> {
    (0..count).map(|key| xxh64_key(format!("key {key}")))
}

fn keyed(hash: u64) -> Context {
    Context::new().with_hash(hash)
}

/// Who serves the key on an idle cluster.
fn home(cluster: &Cluster<()>, hash: u64) -> EndpointId {
    cluster.pick(&keyed(hash)).unwrap().id().clone()
}

fn homes(cluster: &Cluster<()>, count: u32) -> Vec<EndpointId> {
    hashes(count).map(|hash| home(cluster, hash)).collect()
}
