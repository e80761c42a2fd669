//! Retries do not make a bad day worse.

use std::io::ErrorKind;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use tokio::time::{Duration, Instant};
use tower::Layer;
use tower::retry::budget::Budget;
use whippletree::failover::{Failover, FailoverLayer};

use crate::faults::{Does, connect, send};

const REQUESTS: usize = 4_000;

/// Pays for everything.
struct Bottomless;

impl Budget for Bottomless {
    fn deposit(&self) {}

    fn withdraw(&self) -> bool {
        true
    }
}

/// Tries per request, when every endpoint fails half of what it gets.
async fn tries_per_request(failover: Failover) -> f64 {
    let (balance, log) = connect(&[Does::Half; 5]);
    let service = FailoverLayer::new(failover).layer(balance);
    for _ in 0..REQUESTS {
        send(&service, Request::new(Empty::<Bytes>::new())).await.unwrap();
    }
    log.names().len() as f64 / REQUESTS as f64
}

#[tokio::test(start_paused = true)]
async fn tries_stay_within_the_budget_when_every_endpoint_fails_half_its_requests() {
    // The log's number decides on what fails, so that tries in a row take turns: a third try is
    // hardly ever needed, and the bottomless budget spends 0.5 to 1 per request.
    let within = tries_per_request(Failover::new()).await;
    assert!(within <= 1.25, "{within}");
    let without = tries_per_request(Failover::new().budget(Bottomless)).await;
    assert!(without > 1.25, "the test would not notice a storm: {without}");
    println!("tries per request: {within} with the budget, {without} without");
}

#[tokio::test(start_paused = true)]
async fn with_all_down_requests_fail_fast_with_one_clear_error() {
    let refused = Does::Fail(ErrorKind::ConnectionRefused);
    let (balance, log) = connect(&[refused; 5]);
    let failover = Failover::new();
    let service = FailoverLayer::new(failover.clone()).layer(balance);
    let started = Instant::now();
    let error = send(&service, Request::new(Empty::<Bytes>::new())).await.unwrap_err();
    assert_eq!(error.to_string(), "endpoint c failed, after 3 tries");
    assert!(error.is_not_executed());
    // Two retries, the second after a pause of 25 ms at the most.
    assert!(started.elapsed() <= Duration::from_millis(27), "{:?}", started.elapsed());
    assert_eq!(log.names(), ["a", "b", "c"]);

    for _ in 0..REQUESTS {
        send(&service, Request::new(Empty::<Bytes>::new())).await.unwrap_err();
    }
    let tries = log.names().len() as f64 / REQUESTS as f64;
    assert!(tries <= 1.25, "{tries}, {:?}", failover.stats());
}
