//! What responses and errors say of their endpoint.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::timeout::Timeout;
use tower::{Service, ServiceExt, service_fn};
use whippletree::balance::Builder;
use whippletree::cluster::EndpointStatus;
use whippletree::health::{Classify, Failure, GrpcOutcomes, HttpOutcomes, Outcome};
use whippletree::load::{Completion, Cost, PeakEwma};
use whippletree::{Balance, BoxError};

use crate::support::server::{Server, ServerBody, dead};
use crate::support::{StrictReady, client, get, send, soon, status};

const FAILED: [u64; 3] = [0, 1, 0];
const IGNORED: [u64; 3] = [0, 0, 1];
const SUCCEEDED: [u64; 3] = [1, 0, 0];

/// Successes, failures and ignored, of one request that is over.
fn counts(status: &EndpointStatus) -> [u64; 3] {
    assert_eq!((status.in_flight, status.requests), (0, 1));
    [status.successes, status.failures, status.ignored]
}

/// Reads as the default does and remembers what it read.
#[derive(Clone, Default)]
struct Remembers(Arc<Mutex<Vec<Outcome>>>);

impl Classify for Remembers {
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        HttpOutcomes.head(status, headers)
    }

    fn error(&self, error: &(dyn StdError + 'static)) -> Outcome {
        let outcome = HttpOutcomes.error(error);
        self.0.lock().unwrap().push(outcome);
        outcome
    }
}

impl Remembers {
    fn last(&self) -> Outcome {
        self.0.lock().unwrap().pop().unwrap()
    }
}

#[tokio::test]
async fn refused_connection_is_told_from_a_timeout() {
    let read = Remembers::default();
    let (endpoint, _socket) = dead("dead");
    let builder = Balance::builder().classify(read.clone()).endpoint(endpoint);
    let balance = builder.shared(client()).unwrap();
    let error = send(&balance, get("/")).await.unwrap_err();
    assert!(error.is_service() && !error.is_timeout());
    assert_eq!(read.last(), Outcome::Failure(Failure::Connect));
    assert_eq!(counts(&status(balance.cluster(), "dead")), FAILED);

    let silent = Server::with("silent", |_| std::future::pending()).await;
    let builder = Balance::builder().classify(read.clone()).endpoint(silent.endpoint());
    let client = Timeout::new(client(), Duration::from_millis(50));
    let balance = builder.shared(StrictReady::new(client)).unwrap();
    let error = soon(balance.clone().oneshot(get("/"))).await.unwrap_err();
    assert!(error.is_service() && error.is_timeout());
    assert_eq!(read.last(), Outcome::Failure(Failure::Timeout));
    assert_eq!(counts(&status(balance.cluster(), "silent")), FAILED);
}

/// Tells what hyper's client says of the caller's own body.
struct Hyper;

impl Classify for Hyper {
    fn head(&self, status: StatusCode, _: &HeaderMap) -> Outcome {
        status.into()
    }

    fn error(&self, error: &(dyn StdError + 'static)) -> Outcome {
        let mut causes = std::iter::successors(Some(error), |&error| error.source());
        let ours = causes
            .any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user));
        if ours { Outcome::Ignored } else { HttpOutcomes.error(error) }
    }
}

#[tokio::test]
async fn broken_request_body_is_the_callers_own_to_who_can_tell() {
    let server = Server::with("a", |request: Request<hyper::body::Incoming>| async move {
        let _ = request.into_body().collect().await;
        std::future::pending().await
    });
    let server = server.await;
    let builder = || Balance::builder().endpoint(server.endpoint());
    let by_default = if cfg!(feature = "hyper") { IGNORED } else { FAILED };
    for (builder, expected) in [(builder(), by_default), (builder().classify(Hyper), IGNORED)] {
        let client = Client::builder(TokioExecutor::new()).build_http::<ServerBody>();
        let balance = builder.shared(StrictReady::new(client)).unwrap();
        let frames = [Ok(Frame::data(Bytes::from_static(b"half"))), Err(BoxError::from("gone"))];
        let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
        let request = Request::post("/").body(body).unwrap();
        let error = soon(balance.clone().oneshot(request)).await.unwrap_err();
        assert!(error.is_service());
        assert_eq!(counts(&status(balance.cluster(), "a")), expected);
    }
}

/// What becomes of one request whose response is `answer`, read to its end.
async fn exchange<B>(
    builder: Builder,
    answer: impl Fn() -> Response<B> + Send + Sync + 'static,
) -> EndpointStatus
where
    B: http_body::Body<Error: std::fmt::Debug> + Send + Unpin + 'static,
{
    let answer = Arc::new(answer);
    let balance = builder.endpoints(["a:1"]).unwrap().connect(move |_| {
        let answer = Arc::clone(&answer);
        StrictReady::new(service_fn(move |_: Request<()>| {
            let response = answer();
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok::<_, BoxError>(response)
            }
        }))
    });
    let mut balance = balance.unwrap();
    let response = balance.ready().await.unwrap().call(Request::new(())).await.unwrap();
    let mut body = response.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    drop(body);
    status(balance.cluster(), "a:1")
}

fn grpc(place: &'static str, code: &'static str) -> Response<ServerBody> {
    let status = HeaderMap::from_iter([(
        header::HeaderName::from_static("grpc-status"),
        header::HeaderValue::from_static(code),
    )]);
    let mut response = Response::new(Full::new(Bytes::from_static(b"message")));
    if place == "head" {
        *response.headers_mut() = status;
        return response.map(|_| Full::default().map_err(|never| match never {}).boxed_unsync());
    }
    response.map(|body| {
        let body = body.with_trailers(async move { Some(Ok(status)) });
        body.map_err(|never| match never {}).boxed_unsync()
    })
}

#[tokio::test(start_paused = true)]
async fn grpc_status_is_read_from_the_trailers_or_from_the_head() {
    for place in ["head", "trailers"] {
        for (code, expected) in [("0", SUCCEEDED), ("14", FAILED), ("5", IGNORED), ("13", FAILED)] {
            let builder = Balance::builder().classify(GrpcOutcomes);
            let status = exchange(builder, move || grpc(place, code)).await;
            assert_eq!(counts(&status), expected, "{code} in the {place}");
            let status = exchange(Balance::builder(), move || grpc(place, code)).await;
            assert_eq!(counts(&status), SUCCEEDED, "{code} in the {place}, read as HTTP");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_overrule_the_head_where_the_request_is_still_in_flight() {
    for (completion, expected) in [
        (Completion::Head, SUCCEEDED),
        (Completion::FirstData, SUCCEEDED),
        (Completion::End, FAILED),
    ] {
        let builder = Balance::builder().classify(GrpcOutcomes).completion(completion);
        let status = exchange(builder, || grpc("trailers", "14")).await;
        assert_eq!(counts(&status), expected, "{completion:?}");
    }
}

fn timed(classify: impl Classify) -> Builder {
    let penalty = PeakEwma::new().penalty(Duration::from_secs(2));
    Balance::builder().cost(Cost::PeakEwma(penalty)).classify(classify)
}

fn plain(status: u16, headers: &[(header::HeaderName, &str)]) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, *value);
    }
    response.body(Full::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn refusals_count_as_slow_and_for_as_long_as_they_ask() {
    let date = (header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT");
    let after = |text| (header::RETRY_AFTER, text);
    for (code, headers, outcome, seconds) in [
        (200, vec![after("60")], SUCCEEDED, 0.001),
        (404, vec![after("60")], IGNORED, 0.001),
        (429, vec![], IGNORED, 2.0),
        (429, vec![after("60")], IGNORED, 60.0),
        (429, vec![after("1")], IGNORED, 2.0),
        (503, vec![], FAILED, 2.0),
        (503, vec![after("99999999")], FAILED, 300.0),
        (500, vec![date, after("Sun, 06 Nov 1994 08:50:07 GMT")], FAILED, 30.0),
    ] {
        let answer = headers.clone();
        let status = exchange(timed(HttpOutcomes), move || plain(code, &answer)).await;
        assert_eq!(counts(&status), outcome, "{code} {headers:?}");
        let latency = status.latency.unwrap().as_secs_f64();
        assert!((latency / seconds - 1.0).abs() < 0.01, "{code} {headers:?}: {latency}");
    }
}

#[tokio::test(start_paused = true)]
async fn time_that_a_body_took_before_it_broke_off_is_no_latency() {
    let status = exchange(timed(HttpOutcomes), || {
        let frames = stream::once(Box::pin(async {
            tokio::time::sleep(Duration::from_secs(3000)).await;
            Err::<Frame<Bytes>, _>(BoxError::from("broken off"))
        }));
        Response::new(StreamBody::new(frames))
    });
    let status = status.await;
    assert_eq!(counts(&status), FAILED);
    assert!((status.latency.unwrap().as_secs_f64() / 2.0 - 1.0).abs() < 0.01, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn ignored_error_is_no_answer() {
    struct Nothing;
    impl Classify for Nothing {
        fn head(&self, _: StatusCode, _: &HeaderMap) -> Outcome {
            Outcome::Success
        }

        fn error(&self, _: &(dyn StdError + 'static)) -> Outcome {
            Outcome::Ignored
        }
    }
    let cases = [(timed(Nothing), IGNORED, 0.5), (timed(HttpOutcomes), FAILED, 2.0)];
    for (builder, expected, seconds) in cases {
        let balance = builder.endpoints(["a:1"]).unwrap().connect(|_| {
            service_fn(|_: Request<()>| async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                Err::<Response<Full<Bytes>>, _>(BoxError::from("the caller's own"))
            })
        });
        let balance = balance.unwrap();
        let error = balance.clone().oneshot(Request::new(())).await.unwrap_err();
        assert!(error.is_service());
        let status = status(balance.cluster(), "a:1");
        assert_eq!(counts(&status), expected);
        let latency = status.latency.unwrap().as_secs_f64();
        assert!((latency / seconds - 1.0).abs() < 0.01, "{latency}");
    }
}

struct Panics(&'static str);

impl Panics {
    fn at(&self, place: &str) {
        assert!(self.0 != place, "planted in the {place}");
    }
}

impl Classify for Panics {
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        self.at("head");
        HttpOutcomes.head(status, headers)
    }

    fn trailers(&self, _: &HeaderMap) -> Option<Outcome> {
        self.at("trailers");
        None
    }

    fn error(&self, error: &(dyn StdError + 'static)) -> Outcome {
        self.at("error");
        HttpOutcomes.error(error)
    }
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_classifier_harms_its_verdict_alone() {
    for (place, expected) in [("head", IGNORED), ("trailers", IGNORED), ("nowhere", SUCCEEDED)] {
        let builder = Balance::builder().classify(Panics(place));
        let status = exchange(builder, || grpc("trailers", "0")).await;
        assert_eq!(counts(&status), expected, "{place}");
    }
    let (endpoint, _socket) = dead("dead");
    let builder = Balance::builder().classify(Panics("error")).endpoint(endpoint);
    let balance = builder.shared(client()).unwrap();
    let error = balance.clone().oneshot(get("/")).await.unwrap_err();
    assert!(error.is_service());
    assert_eq!(counts(&status(balance.cluster(), "dead")), IGNORED);
}
