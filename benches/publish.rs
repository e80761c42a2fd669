//! What a change costs: one of n endpoints added, removed or given another weight.
//!
//! Measured for whippletree: `insert`, `remove` and `set_weight` of a cluster whose policy is `P2c`.
//! Each returns when picks see the new snapshot. The endpoint that is added is one that the cluster
//! has not forgotten yet, as after a restart; a new one costs its `connect` besides.
//!
//! Measured for the peers:
//!
//! - pingora: the whole `LoadBalancer::update` for one backend of another list. The copy of the
//!   list that its discovery has to hand out is part of it.
//! - a list of `Arc`s copied, changed and stored in an `ArcSwap`: what publishing costs without
//!   a policy, weights or names.
//!
//! Every change is undone before the next one, outside the measured time.
//!
//! ```text
//! cargo bench -p whippletree-bench --bench publish [-- --quick]
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId};
use pingora_load_balancing::{Backend, LoadBalancer};
use whippletree::{Cluster, Endpoint, Weight};
use whippletree_bench::peers::{floor::ArcList, pingora};
use whippletree_bench::service::Unit;
use whippletree_bench::{criterion, fixtures, names};

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn main() {
    let mut criterion = criterion();
    for name in names::PUBLISH {
        let mut group = criterion.benchmark_group(name);
        for size in names::PUBLISH_SIZES {
            whippletree(&mut group, name, size);
            pingora(&mut group, name, size);
            arc_list(&mut group, name, size);
        }
        group.finish();
    }
    criterion.final_summary();
}

fn whippletree(group: &mut Group<'_>, change: &str, size: usize) {
    let cluster = fixtures::cluster(Cluster::builder(), size);
    let id = BenchmarkId::new(names::CLUSTER, size);
    // In the middle of the order in which the cluster keeps its endpoints.
    let middle = fixtures::endpoint(size / 2);
    match change {
        names::ADD => {
            remove(&cluster, &middle);
            pair(group, id, || insert(&cluster, &middle), || remove(&cluster, &middle));
        }
        names::REMOVE => {
            pair(group, id, || remove(&cluster, &middle), || insert(&cluster, &middle));
        }
        _ => pair(group, id, || weigh(&cluster, &middle, 2), || weigh(&cluster, &middle, 1)),
    }
}

fn insert(cluster: &Cluster<Unit>, endpoint: &Endpoint) {
    cluster.insert(endpoint.clone()).expect("a fixture is a valid endpoint");
}

fn remove(cluster: &Cluster<Unit>, endpoint: &Endpoint) {
    assert!(cluster.remove(endpoint.id()), "the endpoint is there");
}

fn weigh(cluster: &Cluster<Unit>, endpoint: &Endpoint, weight: u16) {
    cluster.set_weight(endpoint.id(), Weight::from(weight)).expect("the endpoint is there");
}

fn pingora(group: &mut Group<'_>, change: &str, size: usize) {
    let all = pingora::backends(size);
    let without: BTreeSet<Backend> =
        all.iter().filter(|backend| **backend != pingora::backend(size / 2, 1)).cloned().collect();
    let (before, after) = match change {
        names::ADD => (without, all),
        names::REMOVE => (all, without),
        _ => {
            let mut reweighted = without;
            reweighted.insert(pingora::backend(size / 2, 2));
            (all, reweighted)
        }
    };
    let (list, balancer) = pingora::Switchable::over::<pingora::RoundRobin>(before.clone());
    let (before, after) = (Arc::new(before), Arc::new(after));
    let to = |next: &Arc<BTreeSet<Backend>>, balancer: &LoadBalancer<pingora::RoundRobin>| {
        list.switch(next);
        pingora::update(balancer);
    };
    let id = BenchmarkId::new(names::PINGORA_UPDATE, size);
    pair(group, id, || to(&after, &balancer), || to(&before, &balancer));
}

fn arc_list(group: &mut Group<'_>, change: &str, size: usize) {
    let list = ArcList::new(size);
    let id = BenchmarkId::new(names::ARC_LIST, size);
    match change {
        names::ADD => pair(group, id, || list.add(), || list.remove()),
        names::REMOVE => pair(group, id, || list.remove(), || list.add()),
        _ => pair(group, id, || list.change(), || {}),
    }
}

/// Measures `change`, each time followed by `undo` with the clock stopped.
fn pair(group: &mut Group<'_>, id: BenchmarkId, mut change: impl FnMut(), mut undo: impl FnMut()) {
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|iters| {
            let mut total = Duration::ZERO;
            for _ in 0..iters {
                let start = Instant::now();
                change();
                total += start.elapsed();
                undo();
            }
            total
        });
    });
}
