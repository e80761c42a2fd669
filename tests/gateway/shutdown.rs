//! After SIGTERM: what was begun is finished, nothing new begins, and the exit code is 0.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::support::{Backend, Gateway};
use crate::tunnel;
use crate::wire::{full, get, read_head, soon, until};

/// Answers when it may: `arrived` says that a request is there, `go` lets one be answered.
async fn slow() -> (Backend, Arc<Notify>, Arc<Semaphore>) {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (notify, permit) = (Arc::clone(&arrived), Arc::clone(&go));
    let backend = Backend::http("slow", move |_| {
        let (notify, permit) = (Arc::clone(&notify), Arc::clone(&permit));
        async move {
            notify.notify_one();
            permit.acquire().await.expect("never closed").forget();
            Response::new(full("at last"))
        }
    })
    .await;
    (backend, arrived, go)
}

#[tokio::test]
async fn slow_request_is_finished_after_sigterm() {
    let (backend, arrived, go) = slow().await;
    let mut gateway = Gateway::over(&[&backend]).await;
    let listen = gateway.listen;
    let request = tokio::spawn(async move { get(listen, "/").await });
    soon("the request at the endpoint", arrived.notified()).await;

    gateway.signal("TERM");
    until("healthz is 503", async || gateway.healthz().await == 503).await;
    until("no connection is accepted", async || TcpStream::connect(listen).await.is_err()).await;
    assert!(!request.is_finished());
    go.add_permits(1);

    assert_eq!(soon("the answer", request).await.unwrap().body(), "at last");
    assert_eq!(gateway.exit().await.code(), Some(0));
}

#[tokio::test]
async fn idle_gateway_ends_at_once_in_spite_of_open_connections() {
    let backend = Backend::named("a").await;
    let mut gateway = Gateway::over(&[&backend]).await;
    let _silent = TcpStream::connect(gateway.listen).await.unwrap();
    let _admin = TcpStream::connect(gateway.admin).await.unwrap();
    let mut idle = TcpStream::connect(gateway.listen).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(read_head(&mut idle).await.starts_with("HTTP/1.1 200 "));
    let start = Instant::now();
    gateway.signal("INT");
    assert_eq!(gateway.exit().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn release_delay_goes_on_accepting_while_healthz_is_503() {
    let backend = Backend::named("a").await;
    let text =
        format!("release_delay = \"1h\"\n[[cluster.endpoints]]\naddress = \"{}\"", backend.address);
    let gateway = Gateway::with_file(&text).await;
    gateway.signal("TERM");
    until("healthz is 503", async || gateway.healthz().await == 503).await;
    assert_eq!(gateway.get("/").await.status(), 200);
}

#[tokio::test]
async fn tunnel_is_open_until_its_end_after_sigterm() {
    let backend = tunnel::echo().await;
    let mut gateway = Gateway::over(&[&backend]).await;
    let mut stream = tunnel::open(&gateway).await;
    gateway.signal("TERM");
    let listen = gateway.listen;
    until("no connection is accepted", async || TcpStream::connect(listen).await.is_err()).await;
    tunnel::echoes(&mut stream, "still here").await;
    assert_eq!(gateway.in_flight().await, 1);
    stream.shutdown().await.unwrap();
    assert_eq!(soon("the end", stream.read_to_end(&mut Vec::new())).await.unwrap(), 0);
    assert_eq!(gateway.exit().await.code(), Some(0));
}

#[tokio::test]
async fn shutdown_timeout_ends_what_does_not_end_by_itself() {
    let backend = tunnel::echo().await;
    let text = format!(
        "shutdown_timeout = \"200ms\"\n[[cluster.endpoints]]\naddress = \"{}\"",
        backend.address
    );
    let mut gateway = Gateway::with_file(&text).await;
    let mut stream = tunnel::open(&gateway).await;
    gateway.signal("TERM");
    assert_eq!(gateway.exit().await.code(), Some(0));
    let _ = soon("the cut", stream.read_to_end(&mut Vec::new())).await;
}

#[tokio::test]
async fn no_request_is_lost_that_was_sent_before_sigterm() {
    let backend = Backend::named("a").await;
    for _ in 0..5 {
        let mut gateway = Gateway::over(&[&backend]).await;
        let mut clients = Vec::new();
        for _ in 0..100 {
            let mut client = TcpStream::connect(gateway.listen).await.unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            clients.push(client);
        }
        gateway.signal("TERM");
        for client in &mut clients {
            assert!(read_head(client).await.starts_with("HTTP/1.1 200 "));
        }
        assert_eq!(gateway.exit().await.code(), Some(0));
    }
}
