//! Request bodies that are sent again: as a whole, or not at all.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, StreamBody};
use tower::Layer;
use whippletree::failover::{Failover, FailoverLayer, Replay};

use crate::faults::{Does, connect, send};

const LIMIT: usize = 64 * 1024;

type Frames = Vec<Result<Frame<Bytes>, Infallible>>;

fn chunks(
    bytes: usize,
    size: usize,
) -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
    let data = pattern(bytes);
    let frames: Frames =
        data.chunks(size).map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk)))).collect();
    StreamBody::new(stream::iter(frames))
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

/// Sends a `PUT` with this body where the first endpoint reads all of it and breaks off; answers
/// how many endpoints saw it whole.
async fn put<B>(body: B, expected: &[u8]) -> usize
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let does = [Does::Fail(ErrorKind::ConnectionReset), Does::Answer(200, 0)];
    let (balance, log) = connect(&does);
    let service = FailoverLayer::new(Failover::new()).layer(balance.clone());
    let result = send(&service, Request::put("/").body(body).unwrap()).await;
    let bodies = log.bodies();
    let status = balance.cluster().status().endpoints;
    let asked: u64 = status.iter().map(|status| status.requests).sum();
    assert_eq!(asked, bodies.len() as u64, "an endpoint was asked in vain");
    assert_eq!(result.is_ok(), bodies.len() == 2);
    assert!(bodies.iter().all(|body| body == expected), "a part of the body was sent");
    bodies.len()
}

#[tokio::test]
async fn body_is_replayed_up_to_the_limit_and_not_a_byte_beyond() {
    for (bytes, tries) in [(0, 2), (1, 2), (LIMIT - 1, 2), (LIMIT, 2), (LIMIT + 1, 1)] {
        let data = pattern(bytes);
        assert_eq!(put(Full::from(data.clone()), &data).await, tries, "{bytes} bytes");
        assert_eq!(put(chunks(bytes, 1000), &data).await, tries, "{bytes} bytes in chunks");
    }
}

/// A body that says a length it has not.
struct Lies(Full<Bytes>, u64);

impl Body for Lies {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(task)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.1)
    }
}

#[tokio::test]
async fn limit_holds_whatever_length_a_body_says() {
    let long = pattern(LIMIT + 1);
    assert_eq!(put(Lies(Full::from(long.clone()), 10), &long).await, 1);
    // Too long by its own word: not kept, whatever it turns out to be.
    let short = pattern(10);
    assert_eq!(put(Lies(Full::from(short.clone()), LIMIT as u64 + 1), &short).await, 1);
}

#[tokio::test]
async fn long_body_that_was_not_begun_is_sent_elsewhere() {
    // Refused before anything was read: the body is still whole.
    let (balance, log) = connect::<Replay<Full<Bytes>>>(&[Does::Answer(200, 0)]);
    let long = pattern(10 * LIMIT);
    let request = Request::post("/").body(Full::from(long.clone())).unwrap();
    let first = Replay::wrap(request, LIMIT);
    let second = first.clone();
    drop(first);
    send(&balance, second).await.unwrap();
    assert_eq!(log.bodies(), [long]);
}

#[tokio::test]
async fn endless_body_streams_through_and_keeps_nothing() {
    let endless =
        stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[7; 4096]))));
    let request = Request::put("/").body(StreamBody::new(endless)).unwrap();
    let (mut body, mut again) = {
        let request = Replay::wrap(request, LIMIT);
        (request.clone().into_body(), request.into_body())
    };
    for _ in 0..10_000 {
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap().len(), 4096);
    }
    // Nobody gets the rest for the whole.
    assert!(again.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn half_read_body_is_taken_over_as_a_whole() {
    let request = Replay::wrap(Request::put("/").body(chunks(5000, 1000)).unwrap(), LIMIT);
    let again = request.clone();
    let mut first = request.into_body();
    first.frame().await.unwrap().unwrap();
    first.frame().await.unwrap().unwrap();
    let mut second = again.into_body();
    second.frame().await.unwrap().unwrap();
    assert!(first.frame().await.unwrap().is_err(), "two read one source");
    let rest = second.collect().await.unwrap().to_bytes();
    assert_eq!(rest, pattern(5000)[1000..]);
}

#[tokio::test]
async fn tiny_pieces_are_not_kept_without_end() {
    let bytes = 2000;
    assert_eq!(put(chunks(bytes, 1), &pattern(bytes)).await, 1);
    assert_eq!(put(chunks(bytes, 2), &pattern(bytes)).await, 2);
}

#[tokio::test]
async fn length_trailers_and_end_are_those_of_the_body() {
    let trailers = http::HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
    let frames: Frames =
        vec![Ok(Frame::data("hello".into())), Ok(Frame::trailers(trailers.clone()))];
    let body = StreamBody::new(stream::iter(frames));
    let request = Replay::wrap(Request::put("/").body(body).unwrap(), LIMIT);
    for body in [request.clone().into_body(), request.into_body()] {
        let collected = body.collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "hello");
    }
    let request =
        Replay::wrap(Request::put("/").body(Full::<Bytes>::from("hello")).unwrap(), LIMIT);
    let mut body = request.into_body();
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
    let again = body.clone();
    body.frame().await.unwrap().unwrap();
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
    assert_eq!((again.size_hint().exact(), again.is_end_stream()), (Some(5), false));
    let empty = Replay::wrap(Request::put("/").body(Full::<Bytes>::default()).unwrap(), LIMIT);
    assert_eq!((empty.body().size_hint().exact(), empty.body().is_end_stream()), (Some(0), true));
}
