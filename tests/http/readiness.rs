//! Tower's contract: readiness and cancellation.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tokio::sync::{Notify, mpsc};
use tower::{Service, ServiceExt};
use whippletree::Balance;

use crate::balance_of;
use crate::support::server::Server;
use crate::support::{client, fetch, get, soon, status, text};

#[tokio::test]
async fn readiness_waits_until_an_endpoint_arrives() {
    let server = Server::named("late").await;
    let balance = Balance::builder().fail_fast(Duration::from_secs(600));
    let balance = balance.shared(client()).unwrap();
    let mut waiting = pin!(fetch(&balance, "/"));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    balance.cluster().insert(server.endpoint()).unwrap();
    assert_eq!(waiting.await, "late");
}

#[tokio::test]
async fn readiness_that_has_waited_long_enough_fails_the_request_and_not_the_service() {
    let limit = Duration::from_millis(50);
    let balance = Balance::builder().fail_fast(limit);
    let balance = balance.shared(client()).unwrap();
    let start = Instant::now();
    let mut service = balance.clone();
    soon(service.ready()).await.unwrap();
    let error = service.call(get("/")).await.unwrap_err();
    assert!(start.elapsed() >= limit);
    assert!(error.is_no_endpoint());
    assert_eq!(error.to_string(), "no available endpoint: 0 known");

    // The same service recovers.
    let server = Server::named("late").await;
    balance.cluster().insert(server.endpoint()).unwrap();
    let response = soon(service.ready()).await.unwrap().call(get("/")).await;
    assert_eq!(text(response.unwrap().into_body()).await, "late");
}

#[tokio::test]
async fn readiness_reserves_nothing_and_call_needs_none() {
    let server = Server::named("a").await;
    let balance = balance_of([&server]);
    for _ in 0..10_000 {
        drop(soon(balance.clone().ready_oneshot()).await.unwrap());
    }
    assert_eq!(status(balance.cluster(), "a").requests, 0);
    // Misuse: called without having been ready.
    let response = soon(balance.clone().call(get("/"))).await.unwrap();
    assert_eq!(text(response.into_body()).await, "a");
}

#[tokio::test]
async fn waiting_task_that_has_used_up_its_budget_is_still_woken() {
    let server = Server::named("late").await;
    let balance = Balance::builder().fail_fast(Duration::from_secs(600));
    let balance = balance.shared(client()).unwrap();
    let waits = Arc::new(Notify::new());
    let waiting = tokio::spawn({
        let (mut balance, waits) = (balance.clone(), Arc::clone(&waits));
        async move {
            let (sender, mut receiver) = mpsc::unbounded_channel();
            (0..1000).for_each(|number| sender.send(number).unwrap());
            let burn = poll_fn(|task| {
                while let Poll::Ready(Some(_)) = receiver.poll_recv(task) {}
                let ready = balance.poll_ready(task);
                waits.notify_one();
                ready
            });
            burn.await.unwrap();
            fetch(&balance, "/").await
        }
    });
    soon(waits.notified()).await;
    balance.cluster().insert(server.endpoint()).unwrap();
    assert_eq!(soon(waiting).await.unwrap(), "late");
}

#[tokio::test]
async fn request_that_is_given_up_is_cancelled_and_no_longer_in_flight() {
    let reached = Arc::new(Notify::new());
    let server = Server::with("silent", {
        let reached = Arc::clone(&reached);
        move |_| {
            reached.notify_one();
            std::future::pending()
        }
    });
    let server = server.await;
    let balance = balance_of([&server]);
    {
        let mut response = pin!(balance.clone().oneshot(get("/")));
        tokio::select! {
            _ = &mut response => panic!("the server never answers"),
            () = soon(reached.notified()) => {}
        }
        assert_eq!(status(balance.cluster(), "silent").in_flight, 1);
    }
    let status = status(balance.cluster(), "silent");
    assert_eq!((status.in_flight, status.cancelled), (0, 1));
}

#[tokio::test]
async fn request_dropped_before_it_was_polled_is_never_sent() {
    let server = Server::named("a").await;
    let balance = balance_of([&server]);
    drop(balance.clone().call(get("/")));
    let status = status(balance.cluster(), "a");
    assert_eq!((status.in_flight, status.cancelled), (0, 1));
}

/// A service that insists on tower's contract: every call takes a readiness of its own, which
/// comes at the second poll, and which a clone does not have.
#[derive(Default)]
struct Strict {
    polled: bool,
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        if !std::mem::replace(&mut self.polled, true) {
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        std::future::ready(Ok(Response::new("strict".to_owned())))
    }
}

#[tokio::test]
async fn service_of_an_endpoint_is_made_ready_before_every_call() {
    let builder = Balance::builder().endpoints(["a:80", "b:80"]).unwrap();
    let mut balance = builder.connect(|_| Strict::default()).unwrap();
    for _ in 0..10 {
        let service = soon(balance.ready()).await.unwrap();
        let (first, second) = (service.call(Request::new(())), service.call(Request::new(())));
        soon(first).await.unwrap();
        soon(second).await.unwrap();
    }
}

#[tokio::test]
async fn request_dropped_while_its_endpoint_gets_ready_is_cancelled() {
    let builder = Balance::builder().endpoints(["a:80"]).unwrap();
    let mut balance = builder.connect(|_| Strict::default()).unwrap();
    let mut response = balance.call(Request::new(()));
    assert!(futures_util::poll!(&mut response).is_pending());
    assert_eq!(status(balance.cluster(), "a:80").in_flight, 1);
    drop(response);
    let status = status(balance.cluster(), "a:80");
    assert_eq!((status.in_flight, status.cancelled), (0, 1));
}
