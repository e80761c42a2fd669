//! Tower's contract, both as its user (of the endpoints' services) and as its provider.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use tokio::time::{Duration, Instant};
use tower::buffer::Buffer;
use tower::retry::{Policy, Retry};
use tower::timeout::Timeout;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use whippletree::{Balance, BoxError, Cluster, Context};

use crate::staged::{Script, balance, empty, request};
use crate::strict::{StrictReady, endpoint, excluding, fleet, id, in_flight};

type Answer = Response<Empty<Bytes>>;

#[tokio::test]
async fn balance_holds_to_the_contract_of_its_services() {
    let script = Script { pends: 1, frames: 1, ..Script::default() };
    let mut balance = StrictReady::new(balance(Balance::builder(), &script));
    for _ in 0..10 {
        let response = balance.ready().await.unwrap().call(request()).await.unwrap();
        response.into_body().collect().await.unwrap();
        let clone = balance.clone();
        drop(clone.oneshot(request()).await.unwrap());
    }
    assert_eq!(in_flight(balance.inner().cluster()), 0);
}

#[test]
fn call_without_poll_ready_works() {
    let mut balance = balance(Balance::builder(), &Script::default());
    for _ in 0..3 {
        let response = balance.call(request()).now_or_never().unwrap();
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
    let nobody = Cluster::builder().connect(|_| service_fn(answer));
    let error = Balance::new(nobody).call(request()).now_or_never().unwrap().unwrap_err();
    assert!(error.is_no_endpoint());
}

async fn answer(_: Request<()>) -> Result<Answer, Infallible> {
    Ok(Response::default())
}

/// Retries errors and 5xx, and not on an endpoint that was tried.
#[derive(Clone)]
struct Again {
    left: usize,
}

impl<B, E: std::borrow::Borrow<whippletree::Error>> Policy<Request<()>, Response<B>, E> for Again {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        request: &mut Request<()>,
        result: &mut Result<Response<B>, E>,
    ) -> Option<Ready<()>> {
        let failed = match result {
            Ok(response) => {
                let served = response.extensions().get::<whippletree::balance::ServedBy>();
                response.status().is_server_error().then(|| served.unwrap().0.clone())
            }
            Err(error) => (*error).borrow().endpoint().cloned(),
        }?;
        self.left = self.left.checked_sub(1)?;
        let context: &mut Context = request.extensions_mut().get_or_insert_default();
        *context = context.clone().with_exclude(failed);
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &Request<()>) -> Option<Request<()>> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn retry_goes_to_another_endpoint_and_each_try_is_counted_on_its_own() {
    // Endpoint 0 fails before the head, 1 answers 503, 2 serves.
    let cluster = Cluster::builder().connect(|endpoint| {
        let id = endpoint.id().clone();
        StrictReady::new(service_fn(move |_: Request<()>| {
            let answer = match crate::strict::index(&id) {
                0 => Err(std::io::Error::other("broken")),
                1 => Ok(StatusCode::SERVICE_UNAVAILABLE),
                _ => Ok(StatusCode::OK),
            };
            ready(answer.map(|status| {
                let mut response = Answer::default();
                *response.status_mut() = status;
                response
            }))
        }))
    });
    cluster.replace(fleet(&[1, 1, 1])).unwrap();
    let strict = StrictReady::new(Balance::new(cluster.clone()));
    let retry = Retry::new(Again { left: 2 }, strict);
    for _ in 0..100 {
        let request = Request::builder().extension(Context::new()).body(()).unwrap();
        let response = retry.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    let counts = cluster.status().endpoints.into_iter();
    let counts: Vec<_> = counts.map(|at| (at.in_flight, at.successes, at.failures)).collect();
    assert_eq!(counts[2], (0, 100, 0));
    assert!(counts[..2].iter().all(|at| at.0 == 0 && at.1 == 0 && at.2 > 20), "{counts:?}");
}

#[tokio::test]
async fn refused_retry_passes_the_error_on() {
    let cluster = Cluster::builder().connect(|_| {
        StrictReady::new(service_fn(|_: Request<()>| {
            ready(Err::<Answer, _>(std::io::Error::other("broken")))
        }))
    });
    cluster.replace(fleet(&[1, 1])).unwrap();
    let retry = Retry::new(Again { left: 5 }, StrictReady::new(Balance::new(cluster.clone())));
    // The third try finds all excluded.
    let error = retry.oneshot(request()).await.unwrap_err();
    assert!(error.is_no_endpoint());
    let message = "no available endpoint: 2 known, 2 excluded by the request";
    assert_eq!(error.to_string(), message);
    assert_eq!(in_flight(&cluster), 0);
}

#[tokio::test(start_paused = true)]
async fn timeout_above_the_balance_cancels_the_request() {
    let cluster = Cluster::builder().connect(|_| {
        StrictReady::new(service_fn(|_: Request<()>| {
            std::future::pending::<Result<Answer, BoxError>>()
        }))
    });
    cluster.replace(fleet(&[1])).unwrap();
    let strict = StrictReady::new(Balance::new(cluster.clone()));
    let mut timeout = StrictReady::new(Timeout::new(strict, Duration::from_secs(2)));
    let error = timeout.ready().await.unwrap().call(request()).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    drop(timeout);
    let status = &cluster.status().endpoints[0];
    // Dropped after so long it counts as a timeout of the endpoint.
    assert_eq!((status.in_flight, status.failures, status.cancelled), (0, 1, 0));
}

#[tokio::test]
async fn balance_works_behind_a_buffer() {
    let script = Script { pends: 1, frames: 1, ..Script::default() };
    let balance = balance(Balance::builder(), &script);
    let cluster = balance.cluster().clone();
    let (buffer, worker) = Buffer::pair(StrictReady::new(balance), 4);
    let worker = tokio::spawn(worker);
    let requests = (0..50).map(|_| {
        let buffer = buffer.clone();
        tokio::spawn(async move {
            let response = buffer.oneshot(request()).await.unwrap();
            response.into_body().collect().await.unwrap()
        })
    });
    for request in requests.collect::<Vec<_>>() {
        request.await.unwrap();
    }
    drop(buffer);
    worker.await.unwrap();
    let status = &cluster.status().endpoints[0];
    assert_eq!((status.in_flight, status.successes), (0, 50));
}

#[tokio::test(start_paused = true)]
async fn balance_works_in_the_middle_of_a_stack() {
    let script = Script { pends: 2, frames: 1, ..Script::default() };
    let balance = balance(Balance::builder(), &script);
    let cluster = balance.cluster().clone();
    let stack = ServiceBuilder::new()
        .buffer(8)
        .concurrency_limit(3)
        .timeout(Duration::from_secs(1))
        .retry(Again { left: 1 })
        .service(StrictReady::new(balance));
    for _ in 0..20 {
        let response = stack.clone().oneshot(request()).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    let status = &cluster.status().endpoints[0];
    assert_eq!((status.in_flight, status.successes), (0, 20));
}

#[tokio::test(start_paused = true)]
async fn without_endpoints_readiness_pends_and_wakes_on_insert() {
    let cluster = empty(&Script::default());
    let balance = Balance::new(cluster.clone());
    let mut waiting = StrictReady::new(balance.clone());
    let mut waiting = Box::pin(waiting.ready());
    assert!(waiting.as_mut().now_or_never().is_none());
    // Neither an endpoint of weight 0 nor a removal is availability.
    cluster.insert(endpoint(0).with_weight(0)).unwrap();
    cluster.remove(&id(0));
    assert!(waiting.as_mut().now_or_never().is_none());
    // Inserted from another task while this one waits in earnest.
    let begin = Instant::now();
    let inserter = cluster.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        inserter.insert(endpoint(1)).unwrap();
    });
    let response = waiting.await.unwrap().call(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(begin.elapsed() < Duration::from_secs(2), "woken by the clock alone");
}

#[tokio::test(start_paused = true)]
async fn readiness_pends_again_when_the_last_available_endpoint_goes() {
    let cluster = empty(&Script::default());
    let mut balance = Balance::new(cluster.clone());
    for round in 0..3 {
        cluster.insert(endpoint(0)).unwrap();
        assert!(balance.ready().now_or_never().is_some(), "round {round}");
        if round == 1 {
            cluster.set_weight(&id(0), whippletree::Weight::ZERO).unwrap();
        } else {
            cluster.remove(&id(0));
        }
        assert!(balance.ready().now_or_never().is_none(), "round {round}");
        assert!(balance.clone().ready().now_or_never().is_none(), "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_endpoints_call_says_so_after_fail_fast() {
    let cluster = empty(&Script::default());
    for fail_fast in [Duration::ZERO, Duration::from_millis(300), Duration::from_secs(5)] {
        let balance = Balance::new(cluster.clone()).fail_fast(fail_fast);
        let begin = Instant::now();
        let error = StrictReady::new(balance).oneshot(request()).await.unwrap_err();
        assert!(error.is_no_endpoint());
        assert_eq!(error.to_string(), "no available endpoint: 0 known");
        let waited = begin.elapsed();
        assert!(waited >= fail_fast && waited <= fail_fast + Duration::from_millis(2));
    }
    // It recovers: the instance that failed serves once there is an endpoint.
    let mut balance = Balance::new(cluster.clone()).fail_fast(Duration::from_secs(1));
    assert!(balance.ready().await.unwrap().call(request()).await.is_err());
    cluster.insert(endpoint(0)).unwrap();
    assert!(balance.ready().await.unwrap().call(request()).await.is_ok());
    // All excluded is no lack of endpoints: it fails at once.
    let mut excluded = request();
    excluded.extensions_mut().insert(excluding([0]));
    let begin = Instant::now();
    let error = balance.ready().await.unwrap().call(excluded).await.unwrap_err();
    assert!(error.is_no_endpoint() && begin.elapsed() == Duration::ZERO);
}

#[test]
fn without_timers_readiness_does_not_wait() {
    let cluster = empty(&Script::default());
    let mut balance = Balance::new(cluster.clone());
    let mut check = || {
        let service = balance.ready().now_or_never().expect("it does not wait").unwrap();
        let error = service.call(request()).now_or_never().unwrap().unwrap_err();
        assert!(error.is_no_endpoint());
    };
    // Outside any runtime, in one without timers, and outside again.
    check();
    let timeless = tokio::runtime::Builder::new_current_thread().build().unwrap();
    timeless.block_on(async { check() });
    check();
    cluster.insert(endpoint(0)).unwrap();
    assert!(
        balance.ready().now_or_never().unwrap().unwrap().call(request()).now_or_never().is_some()
    );
}

#[tokio::test]
async fn wait_that_has_begun_goes_on_outside_the_runtime() {
    let cluster = empty(&Script::default());
    let mut balance = Balance::new(cluster.clone());
    assert!(balance.ready().now_or_never().is_none());
    let waiting = std::thread::spawn(move || {
        assert!(balance.ready().now_or_never().is_none());
        balance
    });
    let mut balance = waiting.join().unwrap();
    cluster.insert(endpoint(0)).unwrap();
    assert!(balance.ready().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn wait_without_end_is_possible() {
    let cluster = empty(&Script::default());
    let mut balance = Balance::new(cluster.clone()).fail_fast(Duration::MAX);
    let woken = Arc::new(AtomicUsize::new(0));
    let waiter = tokio::spawn({
        let woken = Arc::clone(&woken);
        async move {
            balance.ready().await.unwrap();
            woken.fetch_add(1, Ordering::Relaxed);
        }
    });
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(woken.load(Ordering::Relaxed), 0);
    cluster.insert(endpoint(0)).unwrap();
    waiter.await.unwrap();
}
