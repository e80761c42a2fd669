//! Other clients and servers than hyper-util.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{ServiceExt, service_fn};
use whippletree::policy::RoundRobin;
use whippletree::{Balance, Endpoint, Error};

use crate::id;
use crate::support::server::{Server, dead, full};
use crate::support::{self, StrictReady, soon, status, text};

#[tokio::test]
async fn tonic_channels_are_balanced_until_their_trailers() {
    let servers = [grpc("a").await, grpc("b").await];
    let builder = Balance::builder().policy(RoundRobin::new());
    let builder = builder.endpoints(servers.each_ref().map(Server::endpoint));
    let balance = builder.unwrap().connect(|at| StrictReady::new(channel(at))).unwrap();
    let mut served = BTreeSet::new();
    for _ in 0..6 {
        let request = Request::post("/demo.Greeter/Greet").body(tonic::body::Body::empty());
        let response = soon(balance.clone().oneshot(request.unwrap())).await;
        let (head, body) = response.unwrap().into_parts();
        let name = head.headers["x-name"].to_str().unwrap().to_owned();
        assert_eq!(status(balance.cluster(), &name).in_flight, 1);
        let body = soon(body.collect()).await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(status(balance.cluster(), &name).in_flight, 0);
        served.insert(name);
    }
    assert_eq!(served.len(), 2);
}

fn channel(endpoint: &Endpoint) -> tonic::transport::Channel {
    let uri = format!("http://{}", endpoint.address().authority());
    tonic::transport::Endpoint::from_shared(uri).unwrap().connect_lazy()
}

/// Answers as a gRPC server does: with a head, no message, and the status in the trailers.
async fn grpc(name: &'static str) -> Server {
    Server::with(name, move |_| async move {
        let trailers = http::HeaderMap::from_iter([(
            header::HeaderName::from_static("grpc-status"),
            header::HeaderValue::from_static("0"),
        )]);
        let body = full("").with_trailers(async move { Some(Ok(trailers)) });
        let response = Response::builder().header("x-name", name);
        response.body(body.boxed_unsync()).unwrap()
    })
    .await
}

#[tokio::test]
async fn reqwest_is_shared() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let client = reqwest::Client::new();
    let adapter = service_fn(move |request: Request<reqwest::Body>| {
        let client = client.clone();
        async move {
            let response = client.execute(request.try_into()?).await?;
            Ok::<_, reqwest::Error>(Response::<reqwest::Body>::from(response))
        }
    });
    let builder = Balance::builder().policy(RoundRobin::new());
    let builder = builder.endpoints([a.endpoint(), b.endpoint()]).unwrap();
    let balance = builder.shared(StrictReady::new(adapter)).unwrap();
    let mut served = BTreeSet::new();
    for _ in 0..4 {
        let request = Request::get("http://greeter/").body(reqwest::Body::default());
        let response = soon(balance.clone().oneshot(request.unwrap())).await;
        served.insert(text(response.unwrap().into_body()).await);
    }
    assert_eq!(served, ["a", "b"].map(str::to_owned).into());

    // What is broken is the endpoint's error here too.
    let (endpoint, _socket) = dead("dead");
    balance.cluster().replace([endpoint]).unwrap();
    let request = Request::get("/").body(reqwest::Body::default()).unwrap();
    let error = soon(balance.oneshot(request)).await.unwrap_err();
    assert_eq!(error.endpoint(), Some(&id("dead")));
    let source = error.into_source().downcast::<reqwest::Error>().unwrap();
    assert!(source.is_connect());
}

#[tokio::test]
async fn axum_falls_back_to_the_balance() {
    let backend = Server::mirror("backend").await;
    let client = Client::builder(TokioExecutor::new()).build_http::<axum::body::Body>();
    let builder = Balance::builder().fail_fast(Duration::ZERO);
    let balance = builder.endpoint(backend.endpoint()).shared(StrictReady::new(client)).unwrap();
    let cluster = balance.cluster().clone();
    let explain = |error: Error| async move { (StatusCode::BAD_GATEWAY, error.to_string()) };
    let router = axum::Router::new()
        .route("/own", axum::routing::get(|| async { "own" }))
        .fallback_service(axum::error_handling::HandleError::new(balance, explain));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });

    let client = support::client();
    let fetch = |path: &str| {
        let response = client.inner().get(format!("http://{gateway}{path}").parse().unwrap());
        async move {
            let response = soon(response).await.unwrap();
            (response.status(), text(response.into_body()).await)
        }
    };
    assert_eq!(fetch("/own").await, (StatusCode::OK, "own".to_owned()));
    // The backend sees the host that the client of the gateway asked for.
    let seen = format!("{gateway} /else?x=1");
    assert_eq!(fetch("/else?x=1").await, (StatusCode::OK, seen));
    assert_eq!(status(&cluster, "backend").in_flight, 0);
    cluster.replace([]).unwrap();
    let (status, reason) = fetch("/else").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert_eq!(reason, "no available endpoint: 0 known");
    server.abort();
}
