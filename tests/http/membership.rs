//! Requests while endpoints come, go and fail.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use whippletree::{Balance, BoxError};

use crate::body::Exchange;
use crate::support::server::{Server, dead, full};
use crate::support::{HttpBalance, client, fetch, get, send, soon, status};
use crate::{balance_of, id};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_spread_over_the_endpoints_and_none_fails() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let c = Server::named("c").await;
    let balance = balance_of([&a, &b, &c]);
    let requests = (0..300).map(|_| {
        let balance = balance.clone();
        tokio::spawn(async move { fetch(&balance, "/").await })
    });
    let mut served = BTreeMap::new();
    for request in requests.collect::<Vec<_>>() {
        *served.entry(request.await.unwrap()).or_insert(0_u64) += 1;
    }
    for name in ["a", "b", "c"] {
        assert!(served[name] > 30, "{served:?}");
        let status = status(balance.cluster(), name);
        let (requests, successes) = (status.requests, status.successes);
        assert_eq!((requests, successes), (served[name], served[name]));
        assert_eq!(status.in_flight, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_endpoints_join_and_leave() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let c = Server::named("c").await;
    let balance = balance_of([&a]);
    let (done, mut results) = mpsc::channel(1);
    let workers: Vec<_> = (0..16)
        .map(|_| {
            let (balance, done) = (balance.clone(), done.clone());
            tokio::spawn(async move { while done.send(attempt(&balance).await).await.is_ok() {} })
        })
        .collect();
    let mut served = BTreeSet::new();
    let cluster = balance.cluster();
    for round in 0..40 {
        match round % 4 {
            0 => cluster.insert(b.endpoint()).unwrap(),
            1 => cluster.replace([c.endpoint(), b.endpoint()]).unwrap(),
            2 => assert!(cluster.remove(&id("b"))),
            _ => cluster.replace([a.endpoint()]).unwrap(),
        }
        for _ in 0..25 {
            let result = soon(results.recv()).await.unwrap();
            served.insert(result.unwrap());
        }
    }
    drop(results);
    for worker in workers {
        soon(worker).await.unwrap();
    }
    assert_eq!(served, ["a", "b", "c"].map(str::to_owned).into());
}

async fn attempt(balance: &HttpBalance) -> Result<String, BoxError> {
    let response = send(balance, get("/")).await?;
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec())?)
}

#[tokio::test]
async fn request_under_way_finishes_on_an_endpoint_that_was_removed() {
    let mut exchange = Exchange::chunked().await;
    assert!(exchange.balance.cluster().remove(&id("fed")));
    exchange.feed.data("still here");
    assert_eq!(exchange.read().await, "still here");
    // Nobody is left for further ones.
    let mut next = pin!(send(&exchange.balance, get("/")));
    assert!(futures_util::poll!(&mut next).is_pending());
}

#[tokio::test]
async fn refused_connection_is_told_as_the_endpoints_error_and_counted() {
    let (endpoint, _socket) = dead("dead");
    let balance = Balance::builder().endpoint(endpoint);
    let balance = balance.shared(client()).unwrap();
    let error = send(&balance, get("/")).await.unwrap_err();
    assert!(error.is_service() && !error.is_no_endpoint());
    assert_eq!(error.endpoint(), Some(&id("dead")));
    assert_eq!(error.to_string(), "endpoint dead failed");
    let status = status(balance.cluster(), "dead");
    let counted = (status.requests, status.failures, status.in_flight);
    assert_eq!(counted, (1, 1, 0));
    let source = error.into_source();
    let source = source.downcast::<hyper_util::client::legacy::Error>();
    assert!(source.unwrap().is_connect());
}

#[tokio::test]
async fn statuses_are_counted_for_the_endpoint() {
    let server = Server::with("s", |request| async move {
        let status = request.uri().path().trim_start_matches('/').parse();
        let response = Response::builder().status::<StatusCode>(status.unwrap());
        response.body(full("")).unwrap()
    });
    let server = server.await;
    let balance = balance_of([&server]);
    for path in ["/200", "/302", "/404", "/500", "/503"] {
        drop(send(&balance, get(path)).await.unwrap());
    }
    let status = status(balance.cluster(), "s");
    let outcomes = [status.successes, status.ignored, status.failures];
    assert_eq!(outcomes, [2, 1, 2]);
}
