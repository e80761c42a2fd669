//! What a balancer adds to a request.
//!
//! Measured: a request built, `poll_ready`, `call`, the response awaited and dropped with its body,
//! on a service that answers at once with `200 OK` and an empty body. The same loop around the
//! service itself is what everything else is compared with.
//!
//! whippletree's `Balance` times every request for its statistics (two readings of the clock) and
//! keeps it in flight until the end of its body; tower's, with `PendingRequests` over
//! `CompleteOnResponse`, does neither. `shared` also readdresses the request.
//!
//! ```text
//! cargo bench -p whippletree-bench --bench request [-- --quick]
//! ```

use ::tower::Service;
use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId};
use http::Request;
use http_body_util::Empty;
use whippletree::Balance;
use whippletree::balance::Builder;
use whippletree_bench::peers::tower;
use whippletree_bench::service::{Http, exchange, request};
use whippletree_bench::{criterion, fixtures, names};

fn main() {
    let mut criterion = criterion();
    let mut group = criterion.benchmark_group(names::REQUEST);
    for size in names::REQUEST_SIZES {
        requests(&mut group, names::BARE, size, Http);
        requests(&mut group, names::TOWER_REQUEST, size, tower::pending(size, &Http));
        let connected = balance(size).connect(|_| Http);
        let connected = connected.expect("no two fixtures have the same id");
        requests(&mut group, names::BALANCE, size, connected);
        let shared = balance(size).shared(Http).expect("no two fixtures have the same id");
        requests(&mut group, names::BALANCE_SHARED, size, shared);
    }
    group.finish();
    criterion.final_summary();
}

fn balance(size: usize) -> Builder {
    fixtures::endpoints(size).fold(Balance::builder(), Builder::endpoint)
}

fn requests<S>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, size: usize, mut service: S)
where
    S: Service<Request<Empty<Bytes>>>,
{
    group.bench_function(BenchmarkId::new(name, size), |bencher| {
        bencher.iter(|| exchange(&mut service, request()));
    });
}
