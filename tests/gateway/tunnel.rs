//! Upgrades: bytes both ways, and a request in flight for as long as the tunnel is open.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Backend, Gateway};
use crate::wire::{exchange, full, read_head, soon, until};

/// Switches to a protocol that sends everything back, if asked to; else says what it saw.
pub(crate) async fn echo() -> Backend {
    Backend::http("echo", |mut request: Request<Incoming>| async move {
        let Some(protocol) = request.headers().get("upgrade").cloned() else {
            return Response::new(full(format!("{:?}", request.headers().get("connection"))));
        };
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let stream = TokioIo::new(upgrade.await.expect("an upgrade"));
            let (mut reader, mut writer) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            let _ = writer.shutdown().await;
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", protocol)
            .body(full(Bytes::new()))
            .expect("a response")
    })
    .await
}

/// A tunnel through `gateway`, as far as its 101.
pub(crate) async fn open(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.listen).await.expect("a connection");
    let request =
        b"GET /chat HTTP/1.1\r\nHost: gateway.test\r\nConnection: keep-alive, Upgrade\r\n\
                    Upgrade: echo/1\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let head = read_head(&mut stream).await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: echo/1\r\n"));
    stream
}

/// Sends `text` and waits for its echo.
pub(crate) async fn echoes(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut back = vec![0; text.len()];
    soon("an echo", stream.read_exact(&mut back)).await.expect("received");
    assert_eq!(back, text.as_bytes());
}

#[tokio::test]
async fn tunnel_carries_bytes_and_is_in_flight_until_it_closes() {
    let backend = echo().await;
    let gateway = Gateway::over(&[&backend]).await;
    let mut stream = open(&gateway).await;
    echoes(&mut stream, "hello").await;
    echoes(&mut stream, &"x".repeat(300_000)).await;
    assert_eq!(gateway.in_flight().await, 1);
    let mut second = open(&gateway).await;
    echoes(&mut second, "other").await;
    assert_eq!(gateway.in_flight().await, 2);
    drop((stream, second));
    until("no tunnel is in flight", async || gateway.in_flight().await == 0).await;
}

#[tokio::test]
async fn end_of_one_direction_is_passed_on_and_the_other_goes_on() {
    let backend = echo().await;
    let gateway = Gateway::over(&[&backend]).await;
    let mut stream = open(&gateway).await;
    stream.write_all(b"last words").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    soon("the rest", stream.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "last words");
    until("the tunnel is over", async || gateway.in_flight().await == 0).await;
}

#[tokio::test]
async fn upgrade_that_is_refused_is_an_ordinary_answer() {
    let backend = Backend::named("plain").await;
    let gateway = Gateway::over(&[&backend]).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: x\r\n\r\n";
    let answer = exchange(gateway.listen, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("plain"), "{answer}");
    until("nothing is in flight", async || gateway.in_flight().await == 0).await;
}

#[tokio::test]
async fn h2c_and_http_1_0_are_not_upgraded() {
    let backend = echo().await;
    let gateway = Gateway::over(&[&backend]).await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo/1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUpgrade: echo/1\r\n\r\n",
    ] {
        let answer = exchange(gateway.listen, request.as_bytes()).await;
        assert!(answer.contains(" 200 ") && answer.ends_with("None"), "{request}{answer}");
    }
}

#[tokio::test]
async fn switch_that_nobody_asked_for_is_502() {
    let backend = Backend::raw("rogue", |mut stream| async move {
        read_head(&mut stream).await;
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        let _ = stream.write_all(answer).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let gateway = Gateway::over(&[&backend]).await;
    assert_eq!(gateway.get("/").await.status(), 502);
    until("nothing is in flight", async || gateway.in_flight().await == 0).await;
}
