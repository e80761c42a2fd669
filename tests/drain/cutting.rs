//! What outlasts a drain is told, over real sockets: bodies, waits for a response, upgrades.

use std::time::{Duration, Instant};

use http::{Response, header};
use http_body_util::BodyExt;
use tokio::time::sleep;
use whippletree::balance::HeldLease;
use whippletree::cluster::DrainOptions;
use whippletree::{Balance, Error};

use crate::support::server::{Server, full};
use crate::support::{HttpBalance, client, get, send, soon};

const DEADLINE: Duration = Duration::from_millis(500);

fn over(server: &Server) -> HttpBalance {
    Balance::builder().endpoint(server.endpoint()).shared(client()).unwrap()
}

/// Drains the one endpoint and answers when that was over and how many requests were forced.
async fn drained(balance: &HttpBalance) -> (Duration, u32) {
    let start = Instant::now();
    let id = balance.cluster().status().endpoints[0].endpoint.id().clone();
    let options = DrainOptions::new().deadline(DEADLINE);
    let report = soon(balance.cluster().drain(&id, options).unwrap()).await;
    (start.elapsed(), report.forced)
}

fn at_the_deadline((took, forced): (Duration, u32)) {
    let late = took.checked_sub(DEADLINE).unwrap();
    assert!(late < Duration::from_millis(100), "{took:?}");
    assert_eq!(forced, 1);
}

#[tokio::test]
async fn body_that_outlasts_the_drain_ends_with_an_error_that_says_so() {
    let (server, feed) = Server::fed("a", Response::builder()).await;
    let balance = over(&server);
    let response = send(&balance, get("http://a/")).await.unwrap();
    feed.data("first");
    let mut body = response.into_body();
    assert!(soon(body.frame()).await.unwrap().unwrap().is_data());
    let reader = tokio::spawn(async move { body.frame().await });
    at_the_deadline(drained(&balance).await);
    let error = soon(reader).await.unwrap().unwrap().unwrap_err();
    let error = error.downcast::<Error>().unwrap();
    assert!(error.is_drained() && error.endpoint().unwrap().as_str() == "a", "{error}");
    assert_eq!(balance.cluster().status().endpoints[0].in_flight, 0);
    drop(feed);
}

#[tokio::test]
async fn wait_for_a_response_ends_with_the_drain() {
    let server = Server::with("a", |_| async {
        sleep(Duration::from_secs(3600)).await;
        Response::new(full("never"))
    })
    .await;
    let balance = over(&server);
    let request = tokio::spawn({
        let balance = balance.clone();
        async move { send(&balance, get("http://a/")).await.map(drop) }
    });
    while balance.cluster().status().endpoints[0].in_flight == 0 {
        tokio::task::yield_now().await;
    }
    at_the_deadline(drained(&balance).await);
    assert!(soon(request).await.unwrap().unwrap_err().is_drained());
    let status = &balance.cluster().status().endpoints[0];
    assert_eq!((status.in_flight, status.failures, status.ignored), (0, 0, 1));
}

#[tokio::test]
async fn upgraded_connection_is_told_at_the_deadline() {
    let server = Server::upgrading("a").await;
    let balance = over(&server);
    let mut request = get("http://a/");
    request.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
    request.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
    let mut response = send(&balance, request).await.unwrap();
    let lease = response.extensions_mut().remove::<HeldLease>().unwrap();
    let told = tokio::spawn(async move { lease.forced().await });
    at_the_deadline(drained(&balance).await);
    soon(told).await.unwrap();
    while balance.cluster().status().endpoints[0].in_flight > 0 {
        tokio::task::yield_now().await;
    }
}
