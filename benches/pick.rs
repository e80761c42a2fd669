//! What a pick costs: choosing one of n endpoints, counting the request in and out again.
//!
//! Measured for whippletree: `cluster.pick(&context)` and the drop of the lease. With peak EWMA the
//! lease is reported as a success first, so that a latency is recorded, as tower's does by itself.
//!
//! Measured for the peers:
//!
//! - tower's `Balance`: `poll_ready`, `call` and the drop of the future, on a service that is always
//!   ready. It needs `&mut self`, so only one thread can use it.
//! - tower's `Balance` behind a `Buffer`, which is how threads share one: the request and its
//!   answer, by tasks on a runtime with one worker per thread. Once with one request at a time per
//!   thread, and once with 32, which spreads the cost of waking the buffer's task.
//! - pingora's `LoadBalancer::select`. It counts nothing in flight.
//! - the floor: the memory that any pick by two choices has to touch.
//!
//! With two threads the time is the wall time of one thread's pick while another thread does the
//! same on the same cluster. Picks per second of both together are twice its inverse.
//!
//! ```text
//! cargo bench -p whippletree-bench --bench pick [-- --quick]
//! ```

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId};
use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};
use whippletree::cluster::Builder;
use whippletree::load::{Cost, PeakEwma};
use whippletree::policy::{LeastRequest, P2c, Random, RoundRobin};
use whippletree::{Cluster, Context, Outcome};
use whippletree_bench::peers::{floor::Floor, pingora, tower};
use whippletree_bench::service::{Unit, call_and_drop};
use whippletree_bench::{criterion, fixtures, names, threads};

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn main() {
    let mut criterion = criterion();
    for (threads, name) in names::PICK {
        let mut group = criterion.benchmark_group(name);
        for size in names::PICK_SIZES {
            whippletree(&mut group, threads, size);
            pingora(&mut group, threads, size);
            let floor = Floor::new(size);
            shared(&mut group, (threads, size), names::FLOOR, || || floor.pick());
            if threads == 1 {
                tower_alone(&mut group, size);
            }
            if names::BUFFER_SIZES.contains(&size) {
                tower_buffered(&mut group, threads, size);
            }
        }
        group.finish();
    }
    criterion.final_summary();
}

fn whippletree(group: &mut Group<'_>, threads: usize, size: usize) {
    let of = |builder: Builder| fixtures::cluster(builder, size);
    let policies = [
        (names::P2C, of(Cluster::builder().policy(P2c::new()))),
        (names::RANDOM, of(Cluster::builder().policy(Random::new()))),
        (names::ROUND_ROBIN, of(Cluster::builder().policy(RoundRobin::new()))),
        (names::LEAST_REQUEST, of(Cluster::builder().policy(LeastRequest::new()))),
    ];
    for (name, cluster) in &policies {
        shared(group, (threads, size), name, || || pick(cluster));
    }
    let limited = fixtures::limited(Cluster::builder().policy(P2c::new()), size);
    shared(group, (threads, size), names::P2C_LIMITED, || || pick(&limited));
    let ewma = of(Cluster::builder().cost(Cost::PeakEwma(PeakEwma::default())));
    shared(group, (threads, size), names::P2C_EWMA, || || pick_and_report(&ewma));
}

/// Asks for nothing in particular, as most requests do.
static CONTEXT: Context = Context::new();

fn pick(cluster: &Cluster<Unit>) {
    let lease = cluster.pick(black_box(&CONTEXT)).expect("all endpoints are available");
    black_box(&lease);
}

fn pick_and_report(cluster: &Cluster<Unit>) {
    let mut lease = cluster.pick(black_box(&CONTEXT)).expect("all endpoints are available");
    lease.report(Outcome::Success);
    black_box(&lease);
}

fn pingora(group: &mut Group<'_>, threads: usize, size: usize) {
    let round_robin = pingora::balancer::<pingora::RoundRobin>(size);
    let at = (threads, size);
    shared(group, at, names::PINGORA_ROUND_ROBIN, || || select(&round_robin));
    let random = pingora::balancer::<pingora::Random>(size);
    shared(group, at, names::PINGORA_RANDOM, || || select(&random));
}

fn select<S>(balancer: &LoadBalancer<S>)
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let backend = balancer.select(black_box(b""), pingora::MAX_ITERATIONS);
    drop(black_box(backend.expect("all backends are healthy")));
}

fn tower_alone(group: &mut Group<'_>, size: usize) {
    let mut balance = tower::pending::<_, ()>(size, &Unit);
    group.bench_function(BenchmarkId::new(names::TOWER, size), |bencher| {
        bencher.iter(|| call_and_drop(&mut balance));
    });
    let mut balance = tower::peak_ewma(size);
    group.bench_function(BenchmarkId::new(names::TOWER_EWMA, size), |bencher| {
        bencher.iter(|| call_and_drop(&mut balance));
    });
}

fn tower_buffered(group: &mut Group<'_>, threads: usize, size: usize) {
    let in_flight = [(names::TOWER_BUFFER, 1), (names::TOWER_PIPELINE, names::PIPELINE)];
    for (name, per_thread) in in_flight {
        let buffered = tower::Buffered::new(size, threads, per_thread);
        group.bench_function(BenchmarkId::new(name, size), |bencher| {
            bencher.iter_custom(|iters| buffered.elapsed(iters));
        });
    }
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
