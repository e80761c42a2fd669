//! Three endpoints inside this process, to have something to balance over.

use std::convert::Infallible;
use std::io;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use whippletree::Endpoint;

/// Starts `demo-1` to `demo-3` on free loopback ports.
pub(crate) async fn start() -> io::Result<Vec<Endpoint>> {
    let mut endpoints = Vec::new();
    for name in ["demo-1", "demo-2", "demo-3"] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = Endpoint::from(listener.local_addr()?);
        endpoints.push(endpoint.with_id(name).map_err(io::Error::other)?);
        tokio::spawn(serve(listener, name));
    }
    Ok(endpoints)
}

async fn serve(listener: TcpListener, name: &'static str) {
    while let Ok((stream, _)) = listener.accept().await {
        let answer = move |request: Request<Incoming>| async move {
            let text = format!("hello from {name}: {} {}\n", request.method(), request.uri());
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
        };
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
        tokio::spawn(connection);
    }
}
