//! The gateway sends what fails on one endpoint to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hyper::Response;
use tokio::net::TcpStream;

use crate::support::{Backend, Gateway};
use crate::wire::{exchange, full, read_head};

fn config(endpoints: &[&Backend], rest: &str) -> String {
    let list = endpoints.iter().map(|endpoint| {
        let flag = endpoint.flag();
        let (id, address) = flag.split_once('=').unwrap();
        format!("[[cluster.endpoints]]\nid = \"{id}\"\naddress = \"{address}\"\n")
    });
    let cluster = "[cluster]\npolicy = \"round_robin\"\n";
    format!("{cluster}{}[cluster.outlier]\nenabled = false\n{rest}", list.collect::<String>())
}

/// Reads a request and closes the connection.
async fn closes(mut stream: TcpStream) {
    read_head(&mut stream).await;
}

/// Reads a request and says nothing.
async fn hangs(mut stream: TcpStream) {
    read_head(&mut stream).await;
    std::future::pending().await
}

async fn dead(name: &str) -> Backend {
    // Accepts nothing: the listener is gone as soon as its port is known.
    let mut backend = Backend::raw(name, closes).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    backend.address = socket.local_addr().unwrap();
    // Bound and not listening as long as the test runs: connections are refused.
    std::mem::forget(socket);
    backend
}

#[tokio::test]
async fn dead_or_hanging_endpoint_costs_the_client_nothing_and_retries_are_counted() {
    let (a, dead, c) =
        (Backend::named("a").await, dead("b").await, Backend::raw("c", closes).await);
    let gateway = Gateway::with_file(&config(&[&a, &dead, &c], "")).await;
    for _ in 0..30 {
        let response = gateway.get("/").await;
        assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"a"[..]));
    }
    let stats = gateway.stats().await;
    // Every failed try was made again, and is counted where it failed.
    let rows = stats["endpoints"].as_array().unwrap().iter();
    let failures: u64 = rows.map(|row| row["failures"].as_u64().unwrap()).sum();
    assert!(failures > 0 && stats["totals"]["retries"] == failures, "{stats}");
    assert_eq!(
        (&stats["totals"]["requests"], &stats["totals"]["failures"]),
        (&30.into(), &0.into())
    );
    assert_eq!(gateway.in_flight().await, 0);
}

#[tokio::test]
async fn post_is_sent_again_only_where_nothing_was_sent() {
    let (a, dead) = (Backend::named("a").await, dead("b").await);
    let post = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody";
    let gateway = Gateway::with_file(&config(&[&a, &dead], "")).await;
    for _ in 0..10 {
        let answer = exchange(gateway.listen, post.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let busy = Backend::http("busy", move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Response::builder().status(503).header("x-own", "1").body(full("busy")).unwrap() }
    })
    .await;
    let gateway = Gateway::with_file(&config(&[&busy], "")).await;
    let answer = exchange(gateway.listen, post.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-own: 1"), "{answer}");
    assert!(answer.ends_with("busy") && seen.load(Ordering::Relaxed) == 1, "{answer}");
}

#[tokio::test]
async fn connect_failure_after_all_attempts_is_502_and_a_timeout_504() {
    let (a, b) = (dead("a").await, dead("b").await);
    let gateway = Gateway::with_file(&config(&[&a, &b], "")).await;
    assert_eq!(gateway.get("/").await.status(), 502);

    let hanging = Backend::raw("a", hangs).await;
    let rest = "[failover]\nper_try_timeout = \"100ms\"\n";
    let gateway = Gateway::with_file(&config(&[&hanging], rest)).await;
    assert_eq!(gateway.get("/").await.status(), 504);
    assert_eq!(gateway.stats().await["totals"]["retries"], 1);
}

#[tokio::test]
async fn one_attempt_turns_it_off() {
    let (a, b) = (Backend::raw("a", closes).await, Backend::raw("b", closes).await);
    let gateway = Gateway::with_file(&config(&[&a, &b], "[failover]\nattempts = 1\n")).await;
    assert_eq!(gateway.get("/").await.status(), 502);
    let stats = gateway.stats().await;
    assert_eq!((&stats["totals"]["retries"], &stats["totals"]["failures"]), (&0.into(), &1.into()));
}
