//! reqwest as the client that the endpoints share.
//!
//! ```text
//! cargo run --example reqwest_client
//! ```
//!
//! reqwest has request and response types of its own, which convert from and to those of the
//! `http` crate; a `service_fn` of three lines is the whole adapter.

use std::collections::BTreeMap;

use axum::{Router, routing::get};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tower::{ServiceExt, service_fn};
use whippletree::{Balance, BoxError, Endpoint};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let endpoints = [start_server("a").await?, start_server("b").await?];

    let client = reqwest::Client::new();
    let adapter = service_fn(move |request: http::Request<reqwest::Body>| {
        let client = client.clone();
        async move {
            let request = reqwest::Request::try_from(request)?;
            let response = client.execute(request).await?;
            Ok::<_, reqwest::Error>(http::Response::<reqwest::Body>::from(response))
        }
    });
    let balance = Balance::builder().endpoints(endpoints)?.shared(adapter)?;

    let mut served = BTreeMap::new();
    for number in 0..100 {
        // The host is a mere name: the balance puts the address of an endpoint in its place.
        let uri = format!("http://greeter/hello?number={number}");
        let request = http::Request::get(uri).body(reqwest::Body::default())?;
        let response = balance.clone().oneshot(request).await?;
        if !response.status().is_success() {
            return Err(format!("request {number}: {}", response.status()).into());
        }
        let body = response.into_body().collect().await?.to_bytes();
        let text = String::from_utf8(body.to_vec())?;
        *served.entry(text).or_insert(0) += 1;
    }

    for (greeting, times) in &served {
        println!("{times:>3} x {greeting}");
    }
    if served.len() < 2 {
        return Err("one of the servers was left out".into());
    }
    Ok(())
}

async fn start_server(name: &'static str) -> Result<Endpoint, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = Endpoint::from(listener.local_addr()?).with_id(name)?;
    let greet = move || async move { format!("hello from {name}") };
    let router = Router::new().route("/hello", get(greet));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(endpoint)
}
