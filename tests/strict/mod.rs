//! What the core suites share: small fleets of endpoints, statistics, and [`StrictReady`].

#![allow(dead_code, reason = "every test binary uses its part of this")]
#![allow(unused_imports, reason = "every test binary uses its part of this")]

pub(crate) mod ready;
pub(crate) mod statistics;

use std::sync::Arc;

use whippletree::cluster::Failback;
use whippletree::load::{Cost, PeakEwma};
use whippletree::policy::{
    LeastRequest, Maglev, P2c, Policy, Random, Ranked, Rendezvous, RingHash, RoundRobin,
};
use whippletree::{Cluster, Context, Endpoint, EndpointId, Lease};

pub(crate) use self::ready::StrictReady;

/// All policies: a new one is one line here and gets every test that goes through them.
pub(crate) fn policies() -> Vec<Arc<dyn Policy>> {
    vec![
        Arc::new(P2c::new()),
        Arc::new(P2c::new().choices(3)),
        Arc::new(LeastRequest::new()),
        Arc::new(RoundRobin::new()),
        Arc::new(Random::new()),
        Arc::new(Ranked::new()),
        // Small, because some tests change the endpoints thousands of times.
        Arc::new(RingHash::new().ring_size(64..=4096).unwrap()),
        Arc::new(Maglev::new().table_size(251).unwrap()),
        Arc::new(Rendezvous::new()),
    ]
}

/// A policy with a cost and a seed, which are printed if the test that uses them fails.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) cost: Cost,
    pub(crate) seed: u64,
}

/// Every policy with every cost.
pub(crate) fn cases() -> impl Iterator<Item = Case> {
    let costs = [Cost::InFlight, Cost::PeakEwma(PeakEwma::new())];
    let with_costs = move |policy: Arc<dyn Policy>| {
        costs.map(|cost| Case { policy: Arc::clone(&policy), cost, seed: 20_261 })
    };
    policies().into_iter().flat_map(with_costs)
}

impl Case {
    /// Whether the policy spreads requests. `ranked` is there to send all of them to one endpoint, so
    /// that shares, turns and seeds mean nothing to it; `sequences::ranked` tests whom it chooses.
    pub(crate) fn spreads(&self) -> bool {
        self.policy.name() != "ranked"
    }

    pub(crate) fn cluster(&self, endpoints: &[Endpoint]) -> Cluster<()> {
        self.seeded(self.seed, endpoints)
    }

    pub(crate) fn seeded(&self, seed: u64, endpoints: &[Endpoint]) -> Cluster<()> {
        let builder = Cluster::builder().policy(Arc::clone(&self.policy)).cost(self.cost);
        let builder = builder.failback(Failback::Immediate);
        let cluster = builder.seed(seed).connect(|_| ());
        cluster.replace(endpoints.to_vec()).unwrap();
        cluster
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with {self:?}");
        }
    }
}

/// Prints the seed of a random test that fails.
#[derive(Debug)]
pub(crate) struct Seed(pub(crate) u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with {self:?}");
        }
    }
}

impl Seed {
    /// The next number of this test's own, uniform over `0..bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // SplitMix64, as in the crate, but apart from it.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * bound as u128) >> 64) as usize
    }
}

/// The id of the endpoint number `index` of a [`fleet`].
pub(crate) fn id(index: usize) -> EndpointId {
    EndpointId::new(format!("e{index:04}")).unwrap()
}

/// The number of an endpoint of a [`fleet`].
pub(crate) fn index(id: &EndpointId) -> usize {
    id.as_str()[1..].parse().unwrap()
}

pub(crate) fn endpoint(index: usize) -> Endpoint {
    let address = format!("e{index:04}:80");
    Endpoint::new(address).and_then(|endpoint| endpoint.with_id(id(index))).unwrap()
}

/// Endpoints with these weights, ordered by id as a policy sees them.
pub(crate) fn fleet(weights: &[u16]) -> Vec<Endpoint> {
    let endpoint = |(at, weight): (usize, &u16)| endpoint(at).with_weight(*weight);
    weights.iter().enumerate().map(endpoint).collect()
}

pub(crate) fn excluding(indexes: impl IntoIterator<Item = usize>) -> Context {
    indexes.into_iter().fold(Context::new(), |context, index| context.with_exclude(id(index)))
}

pub(crate) fn preferring(index: usize) -> Context {
    Context::new().with_prefer(id(index))
}

/// Picks without anything in particular; answers who was picked, and lets go at once.
pub(crate) fn pick<S: Send + Sync + 'static>(cluster: &Cluster<S>) -> usize {
    index(cluster.pick(&Context::new()).unwrap().id())
}

/// How often each of `len` endpoints is picked in so many picks one after the other.
pub(crate) fn shares(cluster: &Cluster<()>, len: usize, picks: usize) -> Vec<u64> {
    let mut counts = vec![0; len];
    for _ in 0..picks {
        counts[pick(cluster)] += 1;
    }
    counts
}

/// Puts these numbers of requests on the endpoints.
pub(crate) fn hold(cluster: &Cluster<()>, loads: &[usize]) -> Vec<Lease<()>> {
    let on = |(at, load): (usize, &usize)| vec![preferring(at); *load];
    let contexts = loads.iter().enumerate().flat_map(on);
    contexts.map(|context| cluster.pick(&context).unwrap()).collect()
}

/// Requests in flight on all endpoints.
pub(crate) fn in_flight<S: Send + Sync + 'static>(cluster: &Cluster<S>) -> u32 {
    cluster.status().endpoints.iter().map(|status| status.in_flight).sum()
}

/// Everything that a cluster says of itself but for the time.
pub(crate) fn face<S: Send + Sync + 'static>(cluster: &Cluster<S>) -> Vec<String> {
    let endpoints = cluster.status().endpoints.into_iter();
    endpoints
        .map(|status| {
            let counts = [
                u64::from(status.in_flight),
                status.requests,
                status.successes,
                status.failures,
                status.ignored,
                status.cancelled,
            ];
            format!("{:?} {:?} {counts:?}", status.endpoint, status.state)
        })
        .collect()
}
