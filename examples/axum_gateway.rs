//! An axum gateway: one route of its own, everything else goes to the balanced backends.
//!
//! ```text
//! cargo run --example axum_gateway               # sends itself a few requests and exits
//! cargo run --example axum_gateway -- --serve    # keeps serving
//! ```

use axum::{Router, body::Body, error_handling::HandleError, routing::get};
use http::{StatusCode as Status, Uri};
use http_body_util::BodyExt;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;
use whippletree::{Balance, BoxError, Endpoint, Error};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let backends = [start_backend("one").await?, start_backend("two").await?];
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let builder = Balance::builder().fail_fast(std::time::Duration::ZERO);
    let balance = builder.endpoints(backends)?.shared(client.clone())?;
    let cluster = balance.cluster().clone();
    let gateway = Router::new()
        .route("/health", get(|| async { "the gateway is well" }))
        .fallback_service(HandleError::new(balance, explain));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    let server = tokio::spawn(async move { axum::serve(listener, gateway).await });
    if std::env::args().nth(1).as_deref() == Some("--serve") {
        return Ok(server.await??);
    }
    for (path, expected) in [("/health", 200), ("/a?b=c", 200), ("/gone", 503)] {
        if path == "/gone" {
            cluster.replace([])?;
        }
        let uri = format!("http://{address}{path}").parse()?;
        let (head, body) = client.get(uri).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        println!("{path}: {} {body:?}", head.status);
        assert_eq!(head.status, expected);
    }
    Ok(())
}
/// 502 if a backend failed, 503 if there is none to ask. Clients are not told the addresses.
async fn explain(error: Error) -> (Status, &'static str) {
    eprintln!("{error}");
    if error.is_service() {
        return (Status::BAD_GATEWAY, "a backend failed");
    }
    (Status::SERVICE_UNAVAILABLE, "no backend is available")
}

async fn start_backend(name: &'static str) -> Result<Endpoint, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = Endpoint::from(listener.local_addr()?).with_id(name)?;
    let answer = move |uri: Uri| async move { format!("backend {name} got {uri}") };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    Ok(endpoint)
}
