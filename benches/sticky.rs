//! What the sticky layer adds to a request.
//!
//! As in the bench `request`: a request built, `poll_ready`, `call`, the response awaited and dropped
//! with its body, on endpoints that answer at once. Beside the bare balance:
//!
//! - a session at home, whose cookie needs no renewal: the usual request
//! - no cookie: a session begins, its endpoint is the one with the fewest, a token is signed
//! - a cookie that is forged, which costs one digest more
//!
//! ```text
//! cargo bench -p whippletree-bench --bench sticky [-- --quick]
//! ```

use ::tower::{Layer, Service};
use bytes::Bytes;
use criterion::BenchmarkId;
use http::header::{COOKIE, HeaderValue, SET_COOKIE};
use http::{Request, Response};
use http_body_util::Empty;
use whippletree::Balance;
use whippletree::balance::Body;
use whippletree::sticky::StickyLayer;
use whippletree_bench::service::{Http, exchange, request};
use whippletree_bench::{criterion, fixtures};

fn main() {
    let mut criterion = criterion();
    let mut group = criterion.benchmark_group("sticky");
    for size in [10, 1_000] {
        let balance = fixtures::endpoints(size)
            .fold(Balance::builder(), |builder, endpoint| builder.endpoint(endpoint));
        let mut balance = balance.connect(|_| Http).expect("no two fixtures have the same id");
        let layer = StickyLayer::builder().key("a key of thirty-two bytes, or more");
        let layer = layer.build(balance.cluster()).expect("good parameters");
        let mut front = layer.layer(balance.clone());
        let known = cookie(&mut front);
        let mut forged = known.as_bytes().to_vec();
        forged[30] ^= 1;
        let forged = HeaderValue::from_bytes(&forged).expect("a header");
        group.bench_function(BenchmarkId::new("balance alone", size), |bencher| {
            bencher.iter(|| exchange(&mut balance, request()));
        });
        group.bench_function(BenchmarkId::new("session at home", size), |bencher| {
            bencher.iter(|| exchange(&mut front, with(&known)));
        });
        group.bench_function(BenchmarkId::new("new session", size), |bencher| {
            bencher.iter(|| exchange(&mut front, request()));
        });
        group.bench_function(BenchmarkId::new("forged token", size), |bencher| {
            bencher.iter(|| exchange(&mut front, with(&forged)));
        });
    }
    group.finish();
    criterion.final_summary();
}

fn with(cookie: &HeaderValue) -> Request<Empty<Bytes>> {
    let mut request = request();
    request.headers_mut().insert(COOKIE, cookie.clone());
    request
}

/// What a browser sends back after its first request.
fn cookie<S>(front: &mut S) -> HeaderValue
where
    S: Service<
            Request<Empty<Bytes>>,
            Response = Response<Body<Empty<Bytes>>>,
            Error = whippletree::Error,
        >,
{
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    let mut response = pin!(front.call(request()));
    match response.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) => {
            let set = response.headers()[SET_COOKIE].as_bytes();
            let pair = set.split(|byte| *byte == b';').next().unwrap_or_default();
            HeaderValue::from_bytes(pair).expect("a header")
        }
        _ => panic!("the endpoints answer at once"),
    }
}
