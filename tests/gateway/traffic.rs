//! Requests through the gateway: where they go, and what an error looks like.

use std::collections::BTreeMap;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::{Backend, Gateway};
use crate::wire::{full, soon};

#[tokio::test]
async fn requests_are_spread_evenly_over_three_endpoints() {
    let backends =
        [Backend::named("a").await, Backend::named("b").await, Backend::named("c").await];
    let gateway = Gateway::over(&backends.each_ref()).await;
    let mut served = BTreeMap::new();
    for _ in 0..30 {
        let body = gateway.get("/").await.into_body();
        *served.entry(body).or_insert(0) += 1;
    }
    assert_eq!(served.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

#[tokio::test]
async fn weights_are_honoured() {
    let (a, b) = (Backend::named("a").await, Backend::named("b").await);
    let heavy = format!("{},weight=3", a.flag());
    let flags = ["--endpoint", &heavy, "--endpoint", &b.flag(), "--policy", "round_robin"];
    let gateway = Gateway::start(&flags).await;
    let mut heavy = 0;
    for _ in 0..20 {
        heavy += usize::from(gateway.get("/").await.body() == "a");
    }
    assert_eq!(heavy, 15);
}

#[tokio::test]
async fn without_arguments_there_are_three_demo_endpoints() {
    let gateway = Gateway::start(&[]).await;
    assert!(gateway.preface.iter().any(|line| line.contains("demo")), "{:?}", gateway.preface);
    let stats = gateway.stats().await;
    assert_eq!(stats["endpoints"].as_array().map(Vec::len), Some(3));
    assert_eq!(gateway.get("/").await.status(), 200);
}

#[tokio::test]
async fn responses_name_their_endpoint_only_when_told_to() {
    let backend = Backend::named("a").await;
    let mut text =
        format!("[[cluster.endpoints]]\nid = \"x-1\"\naddress = \"{}\"", backend.address);
    let silent = Gateway::with_file(&text).await;
    assert_eq!(silent.get("/").await.headers().get("x-served-by"), None);
    text.insert_str(0, "expose_endpoint = true\n");
    let open = Gateway::with_file(&text).await;
    assert_eq!(open.get("/").await.headers()["x-served-by"], "x-1");
}

#[tokio::test]
async fn http_2_authority_becomes_the_host_and_cookie_crumbs_are_joined() {
    let backend = Backend::http("a", |request: Request<Incoming>| async move {
        let header = |name: &str| -> Vec<_> { request.headers().get_all(name).iter().collect() };
        let seen = (request.version(), header("host"), header("cookie"));
        Response::new(full(format!("{seen:?}")))
    })
    .await;
    let gateway = Gateway::over(&[&backend]).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = Request::get(format!("http://localhost:{}/", gateway.listen.port()))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Empty::<Bytes>::new());
    let response = soon("a response", client.request(request.unwrap())).await.unwrap();
    assert_eq!(response.version(), hyper::Version::HTTP_2);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let host = format!("localhost:{}", gateway.listen.port());
    assert_eq!(body, format!("(HTTP/1.1, [\"{host}\"], [\"a=1; b=2\"])"));
}

#[tokio::test]
async fn no_endpoint_is_503_with_retry_after() {
    let gateway = Gateway::with_file("[cluster]\nfail_fast = \"50ms\"").await;
    let response = gateway.get("/").await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(response.body(), "no server is available\n");
    let totals = &gateway.stats().await["totals"];
    assert_eq!((&totals["rejected"], &totals["failures"]), (&1.into(), &0.into()));
}

#[tokio::test]
async fn refused_connection_is_502_without_an_address() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = Gateway::start(&["--endpoint", &format!("secret-id={closed}")]).await;
    let response = gateway.get("/").await;
    assert_eq!(response.status(), 502);
    let body = String::from_utf8(response.body().to_vec()).unwrap();
    assert_eq!(body.lines().count(), 1);
    for secret in ["127.0.0.1", "secret-id", &closed.port().to_string()] {
        assert!(!body.contains(secret), "{body}");
    }
    assert_eq!(gateway.stats().await["totals"]["failures"], 1);
}

#[tokio::test]
async fn connection_that_is_not_accepted_in_time_is_504() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    // Nobody accepts: when the backlog is full the kernel lets further connects hang.
    let mut waiting = Vec::new();
    let patience = std::time::Duration::from_millis(200);
    while let Ok(stream) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    let gateway = Gateway::start(&["--endpoint", &address.to_string()]).await;
    assert_eq!(gateway.get("/").await.status(), 504);
}

#[tokio::test]
async fn endpoint_that_hangs_up_is_502_and_the_gateway_goes_on() {
    let backend = Backend::raw("a", |stream| async { drop(stream) }).await;
    let gateway = Gateway::over(&[&backend]).await;
    for _ in 0..3 {
        assert_eq!(gateway.get("/").await.status(), 502);
    }
    assert_eq!(gateway.in_flight().await, 0);
}
