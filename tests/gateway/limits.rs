//! What clients may send that no client should: refused with a 4xx, and the gateway goes on.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Backend, Gateway};
use crate::wire::{exchange, full, soon};

fn status(answer: &str) -> u16 {
    let code = answer.strip_prefix("HTTP/1.1 ").or_else(|| answer.strip_prefix("HTTP/1.0 "));
    code.and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn with_padding(length: usize) -> String {
    format!(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-pad: {}\r\n\r\n",
        "x".repeat(length)
    )
}

#[tokio::test]
async fn head_above_64_kib_is_4xx() {
    let backend = Backend::named("a").await;
    let gateway = Gateway::over(&[&backend]).await;
    assert_eq!(status(&exchange(gateway.listen, with_padding(60_000).as_bytes()).await), 200);
    for length in [66_000, 100_000, 1_000_000, 10_000_000] {
        let answer = exchange(gateway.listen, with_padding(length).as_bytes()).await;
        assert_eq!(status(&answer), 431, "{length}");
    }
    let path =
        format!("GET /{} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "x".repeat(65_400));
    assert_eq!(status(&exchange(gateway.listen, path.as_bytes()).await), 200);
    let path = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(70_000));
    let answer = exchange(gateway.listen, path.as_bytes()).await;
    assert!(matches!(status(&answer), 414 | 431), "{answer}");
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "a: b\r\n".repeat(5_000));
    assert_eq!(status(&exchange(gateway.listen, many.as_bytes()).await), 431);
    assert_eq!(gateway.get("/").await.status(), 200);
}

#[tokio::test]
async fn head_above_64_kib_is_431_over_http_2_and_the_connection_goes_on() {
    let backend = Backend::named("a").await;
    let gateway = Gateway::over(&[&backend]).await;
    let stream = TcpStream::connect(gateway.listen).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for (length, expected) in [(60_000, 200), (70_000, 431), (10, 200)] {
        let request = Request::get(format!("http://{}/", gateway.listen))
            .header("x-pad", "x".repeat(length))
            .body(Empty::<Bytes>::new());
        let response = soon("a response", sender.send_request(request.unwrap())).await.unwrap();
        assert_eq!(response.status(), expected, "{length}");
    }
}

#[tokio::test]
async fn malformed_head_is_4xx_and_the_gateway_goes_on() {
    let backend = Backend::named("a").await;
    let gateway = Gateway::over(&[&backend]).await;
    for bytes in [
        &b"\r\n\r\n\r\nfoo\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1 x\r\nhost: a\r\n\r\n",
        b"G@T / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx y: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n folded: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
        b"GET / HTTP/1.1\r\n: 1\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 TLS\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n",
        b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        // Well-formed for a parser, not for a proxy: whose host, which of the two?
        b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a/b\r\nconnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: me@a\r\nconnection: close\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\n\r\n",
    ] {
        let answer = exchange(gateway.listen, bytes).await;
        let text = String::from_utf8_lossy(bytes);
        assert!((400..500).contains(&status(&answer)), "{text}{answer}");
    }
    assert_eq!(gateway.get("/").await.status(), 200);
    let requests = gateway.stats().await["endpoints"][0]["requests"].as_u64();
    assert_eq!(requests, Some(1), "a malformed request reached the endpoint");
}

#[tokio::test]
async fn odd_but_legal_heads_are_served() {
    let backend = Backend::http("a", |request: Request<hyper::body::Incoming>| async move {
        Response::new(full(format!("{:?} {}", request.headers().get("host"), request.uri())))
    })
    .await;
    let gateway = Gateway::over(&[&backend]).await;
    for (request, body) in [
        ("GET / HTTP/1.1\r\nHost: a:1\r\nConnection: close", "Some(\"a:1\") /"),
        ("GET http://b/x?y HTTP/1.1\r\nHost: a\r\nConnection: close", "Some(\"b\") /x?y"),
        ("GET http://u:p@b/ HTTP/1.1\r\nHost: a\r\nConnection: close", "Some(\"b\") /"),
        ("GET //a//b/../c HTTP/1.1\r\nHost: a\r\nConnection: close", "Some(\"a\") //a//b/../c"),
        ("GET /?a=%00&b=/../ HTTP/1.0\r\nHost: a", "Some(\"a\") /?a=%00&b=/../"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close", "Some(\"a\") *"),
        ("BREW /pot HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close", "Some(\"[::1]:80\") /pot"),
    ] {
        let answer = exchange(gateway.listen, format!("{request}\r\n\r\n").as_bytes()).await;
        assert_eq!(status(&answer), 200, "{request}");
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{request}\n{answer}");
    }
}

#[tokio::test]
async fn body_that_breaks_off_is_not_the_endpoints_fault() {
    let backend = Backend::http("a", |request: Request<hyper::body::Incoming>| async move {
        let whole = request.into_body().collect().await.is_ok();
        Response::new(full(whole.to_string()))
    })
    .await;
    let gateway = Gateway::over(&[&backend]).await;
    let request = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    assert_eq!(status(&exchange(gateway.listen, request).await), 400);
    assert_eq!(gateway.get("/").await.status(), 200);
}

#[tokio::test]
async fn many_streams_on_one_connection_are_all_answered() {
    let backend = Backend::named("a").await;
    let gateway = Gateway::over(&[&backend]).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let one = || {
        let request =
            Request::get(format!("http://{}/", gateway.listen)).body(Empty::<Bytes>::new());
        client.request(request.expect("a request"))
    };
    let all = futures_util::future::join_all((0..1_000).map(|_| one()));
    for response in soon("a thousand answers", all).await {
        assert_eq!(response.unwrap().status(), 200);
    }
}

/// Five clients that give up their uploads must not cost an endpoint its place.
#[tokio::test]
async fn uploads_that_clients_break_off_are_held_against_no_endpoint() {
    let one = Backend::named("a").await;
    let other = Backend::named("b").await;
    let gateway = Gateway::over(&[&one, &other]).await;
    for broken in ["5\r\nhello\r\nzz\r\n", "5\r\nhel"] {
        for _ in 0..20 {
            let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            let mut client = TcpStream::connect(gateway.listen).await.expect("a connection");
            client.write_all(format!("{head}{broken}").as_bytes()).await.expect("written");
            client.shutdown().await.expect("closed");
            let mut answer = Vec::new();
            // How the gateway ends it is its affair.
            let _ = client.read_to_end(&mut answer).await;
        }
    }
    let stats = gateway.stats().await;
    for row in stats["endpoints"].as_array().expect("an array") {
        assert_eq!(row["failures"], 0, "{row}");
        assert_eq!(row["state"], "up", "{row}");
    }
}
