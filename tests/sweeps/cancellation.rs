//! A request is dropped after every number of polls, at every stage, and nothing is left of it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::Duration;
use tower::{Service, ServiceExt, service_fn};
use whippletree::cluster::EndpointStatus;
use whippletree::load::{Completion, Cost, PeakEwma};
use whippletree::{Balance, Cluster};

use crate::staged::{Client, Script, balance, empty, request};
use crate::strict::{StrictReady, endpoint, fleet, in_flight};

/// Polls the future so often; answers whether it completed.
fn poll_times(future: Pin<&mut (impl Future + ?Sized)>, times: usize) -> bool {
    let mut future = future;
    let mut task = Context::from_waker(Waker::noop());
    (0..times).any(|_| future.as_mut().poll(&mut task).is_ready())
}

/// Drops what `start` makes after every number of polls until it completes; `check` sees the
/// number of polls and whether it completed.
fn sweep<F: Future>(start: impl Fn() -> F, mut check: impl FnMut(usize, bool)) -> usize {
    for polls in 0..1_000 {
        let mut future = Box::pin(start());
        let done = poll_times(future.as_mut(), polls);
        drop(future);
        check(polls, done);
        if done {
            return polls;
        }
    }
    panic!("it never completes");
}

/// The requests that ended with an outcome.
fn said(status: &EndpointStatus) -> u64 {
    status.successes + status.failures + status.ignored
}

/// One exchange from readiness to the end of the body.
async fn exchange(balance: Balance<Client>) {
    let mut balance = StrictReady::new(balance);
    if let Ok(response) = balance.ready().await.unwrap().call(request()).await {
        let _ = response.into_body().collect().await;
    }
}

#[test]
fn request_dropped_at_any_poll_is_no_longer_in_flight() {
    let scripts = [
        Script { pends: 2, frames: 3, ..Script::default() },
        Script { pends: 1, frames: 0, trailers: true, ..Script::default() },
        Script { pends: 3, frames: 1, trailers: true, ..Script::default() },
        Script { pends: 1, status: StatusCode::BAD_GATEWAY, frames: 1, ..Script::default() },
        Script { pends: 2, unready: true, ..Script::default() },
    ];
    for script in scripts {
        for completion in [Completion::Head, Completion::FirstData, Completion::End] {
            for cost in [Cost::InFlight, Cost::PeakEwma(PeakEwma::new())] {
                let builder = Balance::builder().completion(completion).cost(cost);
                let balance = balance(builder, &script);
                let cluster = balance.cluster().clone();
                let mut before = cluster.status().endpoints.remove(0);
                let polls = sweep(
                    || exchange(balance.clone()),
                    |polls, done| {
                        let status = cluster.status().endpoints.remove(0);
                        assert_eq!(status.in_flight, 0, "{script:?}, {polls} polls");
                        assert_eq!(said(&status) + status.cancelled, status.requests);
                        let new =
                            |count: fn(&EndpointStatus) -> u64| count(&status) - count(&before);
                        let (requests, told) = (new(|status| status.requests), new(said));
                        let cancelled = new(|status| status.cancelled);
                        // The first poll calls: one request each time but for none. It ends with
                        // one outcome or as cancelled, and what completed is not cancelled.
                        assert_eq!(requests, u64::from(polls > 0), "{script:?}, {polls} polls");
                        assert_eq!(told + cancelled, requests, "{script:?}, {polls} polls");
                        assert!(!done || (told, cancelled) == (1, 0), "{script:?}, {status:?}");
                        before = status;
                    },
                );
                // Every stage was met: readiness and response at the least.
                assert!(polls > script.pends, "{polls} polls");
            }
        }
    }
}

#[test]
fn request_is_in_flight_at_every_poll_from_call_to_the_end_of_the_body() {
    let script = Script { pends: 2, frames: 2, ..Script::default() };
    let balance = balance(Balance::builder(), &script);
    let cluster = balance.cluster().clone();
    let mut future = Box::pin(exchange(balance));
    assert_eq!(in_flight(&cluster), 0);
    // The balance is ready at once, so the first poll calls already.
    while !poll_times(future.as_mut(), 1) {
        assert_eq!(in_flight(&cluster), 1);
    }
    assert_eq!(in_flight(&cluster), 0);
}

#[test]
fn call_counts_before_the_first_poll_and_a_drop_then_is_cancelled() {
    let mut balance = balance(Balance::builder(), &Script::default());
    let cluster = balance.cluster().clone();
    let future = balance.call(request());
    assert_eq!(in_flight(&cluster), 1);
    drop(future);
    let status = &cluster.status().endpoints[0];
    assert_eq!((status.in_flight, status.requests, status.cancelled), (0, 1, 1));
}

#[test]
fn body_kept_without_being_polled_keeps_its_request_in_flight() {
    let script = Script { frames: 2, ..Script::default() };
    let balance = balance(Balance::builder(), &script);
    let cluster = balance.cluster().clone();
    let mut response = Box::pin(balance.oneshot(request()));
    let mut task = Context::from_waker(Waker::noop());
    let std::task::Poll::Ready(Ok(response)) = response.as_mut().poll(&mut task) else {
        panic!("nothing pends");
    };
    assert_eq!(in_flight(&cluster), 1);
    drop(response);
    let status = &cluster.status().endpoints[0];
    assert_eq!((status.in_flight, status.successes), (0, 1));
}

#[test]
fn plain_request_dropped_at_any_poll_is_no_longer_in_flight() {
    let cluster = Cluster::builder().connect(|_| {
        StrictReady::new(service_fn(|request: u8| async move {
            for _ in 0..request {
                tokio::task::yield_now().await;
            }
            Ok::<u8, std::io::Error>(request)
        }))
    });
    cluster.replace(fleet(&[1, 1])).unwrap();
    let balance = Balance::plain(cluster.clone());
    let start = || StrictReady::new(balance.clone()).oneshot(5);
    let polls = sweep(start, |polls, _| assert_eq!(in_flight(&cluster), 0, "{polls} polls"));
    assert!(polls > 5);
}

/// The wait for an endpoint is the one stage that needs a runtime.
#[tokio::test(start_paused = true)]
async fn wait_for_an_endpoint_dropped_at_any_moment_leaves_nothing() {
    let script = Script { pends: 1, frames: 1, ..Script::default() };
    for waits in 0..8_u64 {
        let cluster = empty(&script);
        let balance = Balance::new(cluster.clone()).fail_fast(Duration::from_secs(5));
        let request = tokio::spawn(exchange(balance.clone()));
        tokio::time::sleep(Duration::from_secs(waits)).await;
        request.abort();
        let done = request.await.is_ok();
        assert_eq!(done, waits > 5, "after {waits} s");
        cluster.insert(endpoint(0)).unwrap();
        exchange(balance).await;
        let status = &cluster.status().endpoints[0];
        assert_eq!((status.in_flight, status.requests), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_that_is_not_used_holds_nothing() {
    let balance = balance(Balance::builder(), &Script { frames: 1, ..Script::default() });
    let mut unused = Vec::new();
    for _ in 0..100_000 {
        let mut clone = balance.clone();
        StrictReady::new(&mut clone).ready().await.unwrap();
        if unused.len() < 100 {
            unused.push(clone);
        }
    }
    assert_eq!(in_flight(balance.cluster()), 0);
    // A hundred that are ready and do nothing do not hinder others.
    exchange(balance.clone()).await;
    assert_eq!(balance.cluster().status().endpoints[0].requests, 1);
    drop(unused);
}
