//! What a pick by a key costs, and what building rings and tables does.
//!
//! Measured for whippletree: `cluster.pick(&context)` with a hash, another one at every pick, and the
//! drop of the lease. Building is the change of the weight of one of n endpoints, which builds anew
//! what the policy picks by (and publishes it, which `publish` measures alone).
//!
//! Measured for the peers:
//!
//! - pingora's `Continuum::node`: the search of the same ring. It counts nothing in flight and its
//!   list does not change; it hashes the key, 8 bytes, by itself.
//! - pingora's `LoadBalancer` over that ring.
//! - a table of as many slots as Maglev's in a cluster, with the same lease: a policy that does
//!   nothing but read it.
//!
//! ```text
//! cargo bench -p whippletree-bench --bench hashing [-- --quick]
//! ```

use std::cell::Cell;
use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId};
use whippletree::policy::hash::{Maglev, Rendezvous, RingHash};
use whippletree::policy::{Build, Candidates, Pick, Policy, Random};
use whippletree::{Cluster, Context, Weight};
use whippletree_bench::peers::pingora;
use whippletree_bench::service::Unit;
use whippletree_bench::{criterion, fixtures, names, threads};

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn main() {
    let mut criterion = criterion();
    for (threads, name) in names::HASHING {
        let mut group = criterion.benchmark_group(name);
        for size in names::HASHING_SIZES {
            whippletree(&mut group, threads, size);
            peers(&mut group, threads, size);
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group(names::BUILD);
    for size in names::HASHING_SIZES {
        build(&mut group, size);
    }
    group.finish();
    criterion.final_summary();
}

fn cluster(policy: impl Policy, size: usize) -> Cluster<Unit> {
    fixtures::cluster(Cluster::builder().policy(policy), size)
}

/// As many points as nginx's ring has.
fn ring(size: usize) -> RingHash {
    let points = size as u32 * 160;
    RingHash::new().ring_size(points..=8_388_608).expect("a range of points")
}

fn whippletree(group: &mut Group<'_>, threads: usize, size: usize) {
    let bounded = Maglev::new().bounded(1.25).expect("a factor above 1");
    let clusters = [
        (names::RANDOM, cluster(Random::new(), size)),
        (names::MAGLEV, cluster(Maglev::new(), size)),
        (names::MAGLEV_BOUNDED, cluster(bounded, size)),
        (names::RING_HASH, cluster(ring(size), size)),
        (names::KETAMA, cluster(RingHash::ketama(), size)),
        (names::RENDEZVOUS, cluster(Rendezvous::new(), size)),
    ];
    for (name, cluster) in &clusters {
        shared(group, (threads, size), name, || || pick(cluster));
    }
    let busy = &clusters[2].1;
    let without_key = Context::new();
    let held: Vec<_> = (0..names::BUSY * size).map(|_| busy.pick(&without_key)).collect();
    shared(group, (threads, size), names::MAGLEV_BUSY, || || pick(busy));
    drop(held);
}

/// The owners of as many slots as Maglev's table has.
#[derive(Debug)]
struct BareTable;

struct Slots(Box<[u16]>);

impl Policy for BareTable {
    fn name(&self) -> &str {
        "bare_table"
    }

    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        let owners = (0..65_537).map(|slot| (slot % build.endpoints.len()) as u16);
        Box::new(Slots(owners.collect()))
    }
}

impl Pick for Slots {
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
        let slot = candidates.hash()? % self.0.len() as u64;
        Some(self.0[slot as usize].into())
    }
}

fn peers(group: &mut Group<'_>, threads: usize, size: usize) {
    let at = (threads, size);
    let continuum = pingora::ketama(size);
    let lookup = || {
        black_box(continuum.node(&key().to_le_bytes()));
    };
    shared(group, at, names::PINGORA_KETAMA, || lookup);
    let balancer = pingora::balancer::<pingora::Consistent>(size);
    let select = || {
        drop(black_box(balancer.select(&key().to_le_bytes(), pingora::MAX_ITERATIONS)));
    };
    shared(group, at, names::PINGORA_CONSISTENT, || select);
    let table = cluster(BareTable, size);
    shared(group, at, names::BARE_TABLE, || || pick(&table));
}

fn build(group: &mut Group<'_>, size: usize) {
    let clusters = [
        (names::RANDOM, cluster(Random::new(), size)),
        (names::MAGLEV, cluster(Maglev::new(), size)),
        (names::RING_HASH, cluster(ring(size), size)),
        (names::KETAMA, cluster(RingHash::ketama(), size)),
        (names::RENDEZVOUS, cluster(Rendezvous::new(), size)),
    ];
    let middle = fixtures::endpoint(size / 2);
    for (name, cluster) in &clusters {
        group.bench_function(BenchmarkId::new(*name, size), |bencher| {
            let mut weight = 1;
            bencher.iter(|| {
                // 1 and 2 in turn: half of the tables have equal weights.
                weight = 3 - weight;
                cluster.set_weight(middle.id(), Weight::from(weight)).expect("it is there");
            });
        });
    }
    group.bench_function(BenchmarkId::new(names::PINGORA_KETAMA, size), |bencher| {
        bencher.iter(|| pingora::ketama(size));
    });
}

fn pick(cluster: &Cluster<Unit>) {
    let context = Context::new().with_hash(key());
    let lease = cluster.pick(&context).expect("all endpoints are available");
    black_box(&lease);
}

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0x853c_49e6_748f_ea9b) };
}

/// The next number of Marsaglia's xorshift64 (13, 7, 17), whose low bits a ring of 32 bits takes.
fn key() -> u64 {
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        x
    })
}

/// Benchmarks the step that `worker` returns, in `at.0` threads at once.
fn shared<W, F>(group: &mut Group<'_>, at: (usize, usize), name: &str, worker: F)
where
    W: FnMut(),
    F: Fn() -> W + Sync,
{
    let (threads, size) = at;
    group.bench_function(BenchmarkId::new(name, size), |bencher| {
        bencher.iter_custom(|iters| threads::elapsed(threads, iters, &worker));
    });
}
