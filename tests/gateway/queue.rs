//! An overload as clients see it: some wait, the rest are told at once when to come back.

use std::sync::Arc;

use hyper::Response;
use tokio::sync::Semaphore;

use crate::support::{Backend, Gateway};
use crate::wire::{full, until};

/// A server that answers each request when the test says so.
async fn held(answers: &Arc<Semaphore>) -> Backend {
    let answers = Arc::clone(answers);
    Backend::http("a", move |_| {
        let answers = Arc::clone(&answers);
        async move {
            answers.acquire().await.unwrap().forget();
            Response::new(full("done"))
        }
    })
    .await
}

fn config(backend: &Backend, queue: &str) -> String {
    format!(
        "{queue}\n[[cluster.endpoints]]\nid = \"a\"\naddress = \"{}\"\nmax_in_flight = 1\n",
        backend.address
    )
}

fn assert_refused(response: &Response<bytes::Bytes>) {
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.body(), "too many requests at the moment\n");
}

#[tokio::test]
async fn requests_wait_in_the_queue_and_beyond_it_are_told_to_come_back() {
    let answers = Arc::new(Semaphore::new(0));
    let backend = held(&answers).await;
    let text = config(&backend, "[queue]\nsize = 1\ntimeout = \"20s\"");
    let gateway = Gateway::with_file(&text).await;
    let total = |name: &'static str| {
        let stats = gateway.stats();
        async move { stats.await["totals"][name].as_u64().unwrap() }
    };
    let third = async {
        until("one waits", || async { total("queued").await == 1 }).await;
        let refused = gateway.get("/").await;
        assert_eq!((gateway.in_flight().await, total("rejected").await), (1, 1));
        answers.add_permits(2);
        refused
    };
    let (first, second, third) = tokio::join!(gateway.get("/"), gateway.get("/"), third);
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    assert_refused(&third);
    assert_eq!((total("failures").await, gateway.in_flight().await), (0, 0));
}

#[tokio::test]
async fn without_a_queue_a_request_beyond_the_limit_is_refused_at_once() {
    let answers = Arc::new(Semaphore::new(0));
    let backend = held(&answers).await;
    let gateway = Gateway::with_file(&config(&backend, "")).await;
    let second = async {
        until("one is in flight", || async { gateway.in_flight().await == 1 }).await;
        let refused = gateway.get("/").await;
        answers.add_permits(1);
        refused
    };
    let (first, second) = tokio::join!(gateway.get("/"), second);
    assert_eq!(first.status(), 200);
    assert_refused(&second);
}

#[tokio::test]
async fn wait_that_takes_too_long_is_refused() {
    let answers = Arc::new(Semaphore::new(0));
    let backend = held(&answers).await;
    let text = config(&backend, "[queue]\ntimeout = \"50ms\"");
    let gateway = Gateway::with_file(&text).await;
    let second = async {
        until("one is in flight", || async { gateway.in_flight().await == 1 }).await;
        let refused = gateway.get("/").await;
        answers.add_permits(1);
        refused
    };
    let (_, second) = tokio::join!(gateway.get("/"), second);
    assert_refused(&second);
    assert_eq!(gateway.stats().await["totals"]["queued"], 1);
}
