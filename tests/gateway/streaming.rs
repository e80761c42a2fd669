//! Bodies through the gateway: every piece goes on as it comes, and what breaks off leaves nothing.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use crate::support::{Backend, Gateway};
use crate::wire::{full, get, read_head, soon, until};

/// Answers with the request's own body, frame by frame.
async fn echo() -> Backend {
    Backend::http("echo", |request| async { Response::new(request.into_body().boxed()) }).await
}

/// Sends a chunk and waits until it has come back before it sends the next, so that a buffer
/// anywhere would stop it.
async fn converse(
    address: std::net::SocketAddr,
    send: impl AsyncFnOnce(Request<StreamedBody>) -> Response<Incoming>,
) {
    let (chunks, receiver) = mpsc::channel::<Bytes>(1);
    let frames = tokio_stream(receiver).map(|chunk| Ok(Frame::data(chunk)));
    let request = Request::post(format!("http://{address}/"))
        .header("host", "gateway.test")
        .body(StreamedBody::new(frames.boxed()))
        .expect("a request");
    let mut body = send(request).await.into_body();
    for chunk in ["one", "two", "three"] {
        chunks.send(Bytes::from(chunk)).await.expect("an open request body");
        let frame = soon("the chunk's echo", body.frame()).await.expect("a frame");
        assert_eq!(frame.expect("no error").into_data().expect("data"), chunk);
    }
    drop(chunks);
    let rest = soon("the end", body.collect()).await.expect("no error");
    assert!(rest.to_bytes().is_empty());
}

type StreamedBody =
    StreamBody<futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>>;

fn tokio_stream(receiver: mpsc::Receiver<Bytes>) -> impl futures_util::Stream<Item = Bytes> {
    futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })
}

#[tokio::test]
async fn bodies_stream_both_ways_over_http_1() {
    let backend = echo().await;
    let gateway = Gateway::over(&[&backend]).await;
    let stream = TcpStream::connect(gateway.listen).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    converse(gateway.listen, async move |request| {
        soon("the head", sender.send_request(request)).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn bodies_stream_both_ways_over_http_2() {
    let backend = echo().await;
    let gateway = Gateway::over(&[&backend]).await;
    let stream = TcpStream::connect(gateway.listen).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    converse(gateway.listen, async move |request| {
        soon("the head", sender.send_request(request)).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn early_answer_leaves_no_byte_of_the_body_to_the_next_request() {
    // Answers a POST without reading it.
    let backend = Backend::http("a", |request: Request<Incoming>| async move {
        let length = match request.method().as_str() {
            "GET" => request.into_body().collect().await.map_or(0, |body| body.to_bytes().len()),
            _ => usize::MAX,
        };
        Response::new(full(length.to_string()))
    })
    .await;
    let gateway = Gateway::over(&[&backend]).await;
    let client = Client::builder(TokioExecutor::new()).build_http();
    for _ in 0..20 {
        let uri = format!("http://{}/", gateway.listen);
        let body = Full::new(Bytes::from(vec![b'G'; 1 << 20]));
        // The endpoint hangs up on the rest of the body, and with it the answer may be lost. That
        // is as it may be; what matters is the next request.
        let request = Request::post(uri).body(body).unwrap();
        if let Ok(response) = soon("an answer", client.request(request)).await {
            assert!(matches!(response.status().as_u16(), 200 | 502));
            let _ = response.into_body().collect().await;
        }
        assert_eq!(get(gateway.listen, "/").await.body(), "0");
    }
}

#[tokio::test]
async fn request_whose_client_goes_away_is_no_longer_in_flight() {
    let arrived = Arc::new(Notify::new());
    let notify = Arc::clone(&arrived);
    let backend = Backend::http("never", move |_| {
        notify.notify_one();
        std::future::pending()
    })
    .await;
    let gateway = Gateway::over(&[&backend]).await;
    let mut client = TcpStream::connect(gateway.listen).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    soon("the request at the endpoint", arrived.notified()).await;
    assert_eq!(gateway.in_flight().await, 1);
    drop(client);
    until("nothing is in flight", async || gateway.in_flight().await == 0).await;
}

#[tokio::test]
async fn download_is_in_flight_until_its_reader_goes_away() {
    let backend = Backend::http("endless", |_| async {
        let chunk = Bytes::from_static(&[b'x'; 65_536]);
        let chunks = futures_util::stream::repeat(chunk).map(|chunk| Ok(Frame::data(chunk)));
        Response::new(BodyExt::boxed(StreamBody::new(chunks)))
    })
    .await;
    let gateway = Gateway::over(&[&backend]).await;
    let mut client = TcpStream::connect(gateway.listen).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    soon("a megabyte", client.read_exact(&mut vec![0; 1 << 20])).await.unwrap();
    assert_eq!(gateway.in_flight().await, 1);
    drop(client);
    until("nothing is in flight", async || gateway.in_flight().await == 0).await;
}

#[tokio::test]
async fn client_that_waits_for_100_continue_gets_it() {
    let backend = Backend::http("a", |request: Request<Incoming>| async {
        Response::new(full(request.into_body().collect().await.unwrap().to_bytes()))
    })
    .await;
    let gateway = Gateway::over(&[&backend]).await;
    let mut client = TcpStream::connect(gateway.listen).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    client.write_all(head).await.unwrap();
    let first = read_head(&mut client).await;
    assert!(first.starts_with("HTTP/1.1 100 "), "{first}");
    client.write_all(b"hi").await.unwrap();
    let second = read_head(&mut client).await;
    assert!(second.starts_with("HTTP/1.1 200 "), "{second}");
}

#[tokio::test]
async fn trailers_reach_a_client_over_http_2() {
    let backend = Backend::raw("a", |mut stream: TcpStream| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                       2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
        let _ = stream.write_all(answer).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let gateway = Gateway::over(&[&backend]).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = Request::get(format!("http://{}/", gateway.listen)).body(full(""));
    let response = soon("an answer", client.request(request.unwrap())).await.unwrap();
    let body = soon("the end", response.into_body().collect()).await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "7");
    assert_eq!(body.to_bytes(), "ok");
}
