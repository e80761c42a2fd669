//! Requests that wait for a connection count from their pick.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::{Sleep, sleep};
use tower::{Service, ServiceExt};
use whippletree::{Balance, Endpoint};

use crate::strict::{endpoint, index};

/// Takes this long to connect, and 10 ms to answer.
struct Connecting {
    takes: Duration,
    connect: Option<Pin<Box<Sleep>>>,
}

impl Clone for Connecting {
    fn clone(&self) -> Self {
        Self { takes: self.takes, connect: None }
    }
}

impl Service<Request<()>> for Connecting {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        let takes = self.takes;
        let connect = self.connect.get_or_insert_with(|| Box::pin(sleep(takes)));
        ready!(connect.as_mut().poll(task));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        Box::pin(async {
            sleep(Duration::from_millis(10)).await;
            Ok(Response::new(String::new()))
        })
    }
}

/// Of four endpoints one takes 1 s to connect. Requests come one per millisecond.
async fn share_of_the_slow_one(limit: u32) -> (u64, u64) {
    let connect = |endpoint: &Endpoint| {
        let takes = Duration::from_millis(if index(endpoint.id()) == 0 { 1000 } else { 0 });
        Connecting { takes, connect: None }
    };
    let endpoints = (0..4).map(|at| endpoint(at).with_max_in_flight(limit));
    let builder = Balance::builder().seed(9);
    let balance = builder.endpoints(endpoints).unwrap().connect(connect).unwrap();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..2000 {
        requests.spawn(balance.clone().oneshot(Request::new(())));
        sleep(Duration::from_millis(1)).await;
        let slow = balance.cluster().status().endpoints[0].in_flight;
        assert!(limit == 0 || slow <= limit);
    }
    let status = balance.cluster().status();
    let all: u64 = status.endpoints.iter().map(|status| status.requests).sum();
    (status.endpoints[0].requests, all)
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_takes_a_second_to_connect_gets_no_more_than_its_share() {
    let (slow, all) = share_of_the_slow_one(0).await;
    assert!(slow * 4 <= all, "{slow} of {all}");
    // By its limit it gets as many as it connects: 8 a second.
    let (slow, all) = share_of_the_slow_one(8).await;
    assert_eq!(all, 2000);
    assert!(slow <= 8 * 3, "{slow}");
}
