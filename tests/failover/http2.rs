//! What HTTP/2 says was not processed is sent again, whatever its method.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceExt};
use whippletree::failover::{Failover, FailoverLayer, Replay};
use whippletree::{Balance, Context, Endpoint, Error};

const PREFACE: usize = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const HEADERS: u8 = 1;

/// A frame on stream 1 that resets it, for this reason.
fn reset(reason: u8) -> Vec<u8> {
    vec![0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, reason]
}

/// Takes no stream above `last`.
fn go_away(last: u8) -> Vec<u8> {
    vec![0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0]
}

/// Answers the first request with these frames.
async fn faulty(mut stream: TcpStream, frames: Vec<u8>) -> Option<()> {
    stream.read_exact(&mut [0; PREFACE]).await.ok()?;
    stream.write_all(SETTINGS).await.ok()?;
    let mut head = [0; 9];
    while head[3] != HEADERS {
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await.ok()?;
    }
    stream.write_all(&frames).await.ok()?;
    // Until the client has read it all and closes.
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    Some(())
}

/// Sends a `POST` that meets these frames first.
async fn post(frames: Vec<u8>) -> Result<Bytes, Error> {
    let (bad, good) = (bind().await, bind().await);
    let faulty_endpoint = Endpoint::from(bad.local_addr().unwrap());
    let endpoints = [faulty_endpoint.clone(), Endpoint::from(good.local_addr().unwrap())];
    tokio::spawn(async move {
        while let Ok((stream, _)) = bad.accept().await {
            tokio::spawn(faulty(stream, frames.clone()));
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = good.accept().await {
            let echo = service_fn(|request: Request<hyper::body::Incoming>| async {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                Ok::<_, Infallible>(Response::new(Full::new(body)))
            });
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), echo));
        }
    });
    let client =
        Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Replay<Full<Bytes>>>();
    let balance = Balance::builder().endpoints(endpoints).unwrap().shared(client).unwrap();
    let request = Request::post("/")
        .extension(Context::new().with_prefer(faulty_endpoint.id().clone()))
        .body(Full::from("payload"));
    let service = FailoverLayer::new(Failover::new()).layer(balance);
    let response = service.oneshot(request.unwrap()).await?;
    Ok(response.into_body().collect().await.unwrap().to_bytes())
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test]
async fn refused_stream_was_not_executed() {
    assert_eq!(post(reset(7)).await.unwrap(), "payload");
}

#[tokio::test]
async fn stream_above_the_last_of_a_goaway_was_not_executed() {
    assert_eq!(post(go_away(0)).await.unwrap(), "payload");
}

#[tokio::test]
async fn other_resets_say_nothing_of_the_sort() {
    for reason in [1, 2, 8] {
        let error = post(reset(reason)).await.unwrap_err();
        assert!(error.is_service() && !error.is_not_executed(), "{reason}: {error:?}");
    }
    // The stream was among those that may have been processed, and the connection ends.
    let mut frames = go_away(1);
    frames.extend(reset(2));
    assert!(!post(frames).await.unwrap_err().is_not_executed());
}
