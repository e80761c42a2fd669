//! What `sweeps` leaves open: exact counts at every poll, drops that panic on the way of a
//! request, requests that are not HTTP.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "sweeps/staged.rs"]
#[allow(dead_code, reason = "this suite uses its part of it")]
mod staged;
mod strict;

use std::cell::Cell;
use std::future::{Future, Ready, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Task, Poll, Waker};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::time::{Duration, Instant};
use tower::retry::{Policy as RetryPolicy, Retry};
use tower::{Service, ServiceExt, service_fn};
use whippletree::cluster::EndpointStatus;
use whippletree::event::Event;
use whippletree::load::Completion;
use whippletree::policy::{Build, Candidates, Pick, Policy};
use whippletree::{Balance, Cluster, Context};

use crate::staged::{Client, Script, Stage, balance, empty, request};
use crate::strict::{StrictReady, endpoint, fleet, id, in_flight, index};

/// In flight, requests, successes, failures, ignored, cancelled.
fn counts(status: &EndpointStatus) -> [u64; 6] {
    [
        status.in_flight.into(),
        status.requests,
        status.successes,
        status.failures,
        status.ignored,
        status.cancelled,
    ]
}

fn only<S: Send + Sync + 'static>(cluster: &Cluster<S>) -> [u64; 6] {
    let status = cluster.status().endpoints;
    assert_eq!(status.len(), 1);
    counts(&status[0])
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Task::from_waker(Waker::noop()))
}

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Progress {
    NotStarted,
    Called,
    Head,
    Over,
}

async fn exchange(balance: Balance<Client>, progress: &Cell<Progress>) {
    let mut balance = StrictReady::new(balance);
    let response = balance.ready().await.unwrap().call(request());
    progress.set(Progress::Called);
    if let Ok(response) = response.await {
        progress.set(Progress::Head);
        let _ = response.into_body().collect().await;
    }
    progress.set(Progress::Over);
}

#[test]
fn every_drop_is_counted_once_and_under_the_right_name() {
    // What a response of each kind adds once its head has arrived; before that it is cancelled.
    let answers = [
        (StatusCode::OK, false, [0, 1, 1, 0, 0, 0]),
        (StatusCode::NOT_FOUND, false, [0, 1, 0, 0, 1, 0]),
        (StatusCode::BAD_GATEWAY, false, [0, 1, 0, 1, 0, 0]),
        (StatusCode::OK, true, [0, 1, 0, 1, 0, 0]),
    ];
    for (status, unready, answered) in answers {
        for completion in [Completion::Head, Completion::FirstData, Completion::End] {
            let script = Script { pends: 2, frames: 2, status, unready, ..Script::default() };
            let builder = Balance::builder().completion(completion);
            let balance = balance(builder, &script);
            let cluster = balance.cluster().clone();
            for polls in 0.. {
                let before = only(&cluster);
                let progress = Cell::new(Progress::NotStarted);
                let mut future = Box::pin(exchange(balance.clone(), &progress));
                let done = (0..polls).any(|_| poll_once(future.as_mut()).is_ready());
                drop(future);
                let added: Vec<u64> =
                    only(&cluster).iter().zip(before).map(|(now, then)| now - then).collect();
                let expected = match progress.get() {
                    Progress::NotStarted => [0; 6],
                    Progress::Called => [0, 1, 0, 0, 0, 1],
                    Progress::Head | Progress::Over => answered,
                };
                assert_eq!(added, expected, "{script:?}, {completion:?}, {polls} polls");
                if done {
                    assert!(polls > script.pends);
                    break;
                }
            }
        }
    }
}

/// `Drop` alone would hide a body that forgets to end its request.
#[test]
fn request_ends_with_its_completion_though_the_response_is_kept() {
    for (completion, expected) in [
        (Completion::Head, [0, 0, 0, 0]),
        (Completion::FirstData, [1, 0, 0, 0]),
        (Completion::End, [1, 1, 1, 0]),
    ] {
        for trailers in [false, true] {
            let frames = 2 - usize::from(trailers);
            let script = Script { frames, trailers, ..Script::default() };
            let balance = balance(Balance::builder().completion(completion), &script);
            let cluster = balance.cluster().clone();
            let response = balance.oneshot(request()).now_or_never().unwrap().unwrap();
            let mut body = pin!(response.into_body());
            let mut seen = vec![in_flight(&cluster)];
            let mut task = Task::from_waker(Waker::noop());
            while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut task) {
                frame.unwrap();
                seen.push(in_flight(&cluster));
            }
            seen.push(in_flight(&cluster));
            // Trailers are the last frame there can be.
            let mut expected = expected;
            expected[2] *= u32::from(!trailers);
            assert_eq!(seen, expected, "{completion:?}, trailers: {trailers}");
        }
    }
}

/// A body that breaks off is a failure from then on, and a success if it is given up before.
#[test]
fn body_that_breaks_off_fails_at_that_poll_and_not_before() {
    type Broken = Result<Frame<Bytes>, std::io::Error>;
    let frames = || -> Vec<Broken> {
        vec![
            Ok(Frame::data(Bytes::from_static(b"1"))),
            Ok(Frame::data(Bytes::from_static(b"2"))),
            Err(std::io::Error::other("broken off")),
        ]
    };
    for (completion, at_the_error) in [
        (Completion::End, [0, 1, 0, 1, 0, 0]),
        (Completion::FirstData, [0, 1, 1, 0, 0, 0]),
        (Completion::Head, [0, 1, 1, 0, 0, 0]),
    ] {
        for polls in 0..=3 {
            let builder = Balance::builder().completion(completion).endpoint(endpoint(0));
            let connect = move |_: &_| {
                StrictReady::new(service_fn(move |_: Request<()>| {
                    let stream = futures_util::stream::iter(frames());
                    let body = http_body_util::StreamBody::new(stream);
                    ready(Ok::<_, std::io::Error>(Response::new(body)))
                }))
            };
            let balance = builder.connect(connect).unwrap();
            let cluster = balance.cluster().clone();
            let response = balance.oneshot(request()).now_or_never().unwrap().unwrap();
            let mut body = Box::pin(response.into_body());
            let mut task = Task::from_waker(Waker::noop());
            for _ in 0..polls {
                assert!(body.as_mut().poll_frame(&mut task).is_ready());
            }
            if polls == 3 {
                assert_eq!(only(&cluster), at_the_error, "{completion:?}");
            }
            drop(body);
            let expected = if polls < 3 { [0, 1, 1, 0, 0, 0] } else { at_the_error };
            assert_eq!(only(&cluster), expected, "{completion:?}, {polls} polls");
        }
    }
}

/// Panics when it is dropped while armed, and then no more.
#[derive(Clone)]
struct Bomb(Arc<AtomicBool>);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.0.swap(false, Ordering::Relaxed), "planted in a drop");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Service,
    Response,
    Body,
}

/// A service that pends at every stage, and one part of which may panic when it is dropped.
struct Trapped {
    script: Script,
    part: Part,
    bomb: Bomb,
    inner: Client,
}

impl Clone for Trapped {
    fn clone(&self) -> Self {
        let (script, inner) = (self.script.clone(), self.inner.clone());
        Self { script, part: self.part, bomb: self.bomb.clone(), inner }
    }
}

struct Holding<T> {
    inner: T,
    _bomb: Option<Bomb>,
}

impl<F: Future<Output = std::io::Result<Response<B>>> + Unpin, B> Future for Holding<(F, Part)>
where
    B: Unpin,
{
    type Output = std::io::Result<Response<Holding<B>>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let polled = self.inner.0.poll_unpin(task);
        let bomb = if self.inner.1 == Part::Body { self._bomb.take() } else { None };
        match polled {
            Poll::Pending => {
                self._bomb = self._bomb.take().or(bomb);
                Poll::Pending
            }
            Poll::Ready(response) => Poll::Ready(
                response.map(|response| response.map(|inner| Holding { inner, _bomb: bomb })),
            ),
        }
    }
}

impl<B: http_body::Body + Unpin> http_body::Body for Holding<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.inner).poll_frame(task)
    }
}

impl Service<Request<()>> for Trapped {
    type Response = Response<Holding<staged::Frames>>;
    type Error = std::io::Error;
    type Future = Holding<(<Client as Service<Request<()>>>::Future, Part)>;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<std::io::Result<()>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let bomb = (self.part != Part::Service).then(|| self.bomb.clone());
        Holding { inner: (self.inner.call(request), self.part), _bomb: bomb }
    }
}

/// Every part of a request is dropped at some poll, and may panic then: the count ends at 0.
#[test]
fn drop_that_panics_at_any_poll_ends_its_request_and_no_other() {
    for part in [Part::Service, Part::Response, Part::Body] {
        let fuse = Arc::new(AtomicBool::new(false));
        let script = Script { pends: 2, frames: 2, ..Script::default() };
        let (bomb, of) = (Bomb(Arc::clone(&fuse)), script.clone());
        let cluster = Cluster::builder().connect(move |_| Trapped {
            inner: staged::Staged::client(&of),
            script: of.clone(),
            part,
            bomb: bomb.clone(),
        });
        cluster.replace(fleet(&[1])).unwrap();
        let balance = Balance::new(cluster.clone());
        let exchange = async |balance: Balance<Trapped>| {
            let response = balance.oneshot(request()).await.unwrap();
            // Held beside, so that its drop is one of its own.
            let mut body = pin!(response.into_body());
            while body.frame().await.is_some() {}
        };
        let mut exploded = 0;
        for polls in 0..100 {
            let mut future = Some(Box::pin(exchange(balance.clone())));
            fuse.store(true, Ordering::Relaxed);
            let polled = catch_unwind(AssertUnwindSafe(|| {
                let mut future = future.as_mut().unwrap().as_mut();
                (0..polls).any(|_| poll_once(future.as_mut()).is_ready())
            }));
            // What is left of it may go without a bang, or with one.
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(future.take())));
            exploded += usize::from(polled.is_err()) + usize::from(dropped.is_err());
            fuse.store(false, Ordering::Relaxed);
            let found = only(&cluster);
            assert_eq!(found[0], 0, "{part:?}, {polls} polls");
            assert_eq!(found[2] + found[3] + found[4] + found[5], found[1]);
            assert!(poll_to_end(exchange(balance.clone())), "{part:?}, {polls} polls");
            assert_eq!(in_flight(&cluster), 0);
        }
        assert!(exploded > 90, "{part:?}: {exploded} explosions");
    }
}

fn poll_to_end(future: impl Future<Output = ()>) -> bool {
    let mut future = pin!(future);
    (0..100).any(|_| poll_once(future.as_mut()).is_ready())
}

#[test]
fn body_that_panicked_and_is_dropped_later_is_no_success() {
    let script = Script { panic: Some(Stage::Body), frames: 2, ..Script::default() };
    let balance = balance(Balance::builder(), &script);
    let cluster = balance.cluster().clone();
    let response = balance.oneshot(request()).now_or_never().unwrap().unwrap();
    let mut body = Box::pin(response.into_body());
    let poll = || body.as_mut().poll_frame(&mut Task::from_waker(Waker::noop())).is_ready();
    assert!(catch_unwind(AssertUnwindSafe(poll)).is_err());
    drop(body);
    assert_eq!(only(&cluster), [0, 1, 0, 0, 0, 1]);
}

#[derive(Debug)]
struct Panicking;

impl Policy for Panicking {
    fn name(&self) -> &str {
        "panicking"
    }

    /// Panics for the tier of the endpoints with a label.
    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        assert!(build.endpoints[0].labels().is_empty(), "planted in build");
        Box::new(Panicking)
    }
}

impl Pick for Panicking {
    fn pick(&self, _: &Candidates<'_>) -> Option<usize> {
        panic!("planted in pick");
    }
}

fn faults(events: &mut whippletree::event::Events) -> usize {
    let told = std::iter::from_fn(|| events.try_next());
    told.filter(|event| matches!(event, Event::PolicyFailed { .. })).count()
}

#[test]
fn policy_that_panics_under_many_threads_is_told_once_per_snapshot() {
    let cluster = Cluster::builder().policy(Panicking).connect(|_| ());
    let mut events = cluster.subscribe();
    for change in 1..=5_u16 {
        cluster.replace(fleet(&[change, 1, 1])).unwrap();
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..20 {
                        drop(cluster.pick(&Context::new()).unwrap());
                    }
                });
            }
        });
        assert_eq!(faults(&mut events), 1, "change {change}");
    }
    assert_eq!(in_flight(&cluster), 0);
}

#[test]
fn policy_that_panics_in_build_and_in_pick_is_told_once_per_snapshot() {
    let cluster = Cluster::builder().policy(Panicking).connect(|_| ());
    let mut events = cluster.subscribe();
    let second = endpoint(1).with_priority(1).with_label("panic", "");
    cluster.replace([endpoint(0), second]).unwrap();
    drop(cluster.pick(&Context::new()).unwrap());
    assert_eq!(faults(&mut events), 1);
}

#[test]
fn request_is_served_and_counted_though_the_policy_panics() {
    let script = Script { pends: 1, frames: 1, ..Script::default() };
    let balance = balance(Balance::builder().policy(Panicking), &script);
    let cluster = balance.cluster().clone();
    let mut events = cluster.subscribe();
    for _ in 0..10 {
        let progress = Cell::new(Progress::NotStarted);
        assert!(poll_to_end(exchange(balance.clone(), &progress)));
        assert_eq!(progress.get(), Progress::Over);
    }
    assert_eq!(only(&cluster), [0, 10, 10, 0, 0, 0]);
    assert_eq!(faults(&mut events), 1);
}

#[tokio::test(start_paused = true)]
async fn every_wait_of_an_instance_lasts_for_fail_fast_and_each_call_says_so() {
    let cluster = empty(&Script::default());
    let mut balance = Balance::new(cluster.clone()).fail_fast(Duration::from_secs(1));
    for _ in 0..3 {
        let begin = Instant::now();
        let error = balance.ready().await.unwrap().call(request()).await.unwrap_err();
        assert!(error.is_no_endpoint());
        let waited = begin.elapsed();
        assert!(waited >= Duration::from_secs(1) && waited < Duration::from_millis(1_010));
    }
    cluster.insert(endpoint(0)).unwrap();
    drop(balance.ready().await.unwrap().call(request()).await.unwrap());
    cluster.remove(&id(0));
    assert!(balance.ready().now_or_never().is_none(), "ready without an endpoint");
}

/// Not HTTP at all: words in, their lengths out.
#[derive(Clone)]
struct Words;

impl Service<String> for Words {
    type Response = usize;
    type Error = &'static str;
    type Future = futures_util::future::BoxFuture<'static, Result<usize, &'static str>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, word: String) -> Self::Future {
        match word.as_str() {
            "bad" => ready(Err("bad word")).boxed(),
            "slow" => pending().boxed(),
            _ => ready(Ok(word.len())).boxed(),
        }
    }
}

fn words(weights: &[u16]) -> Cluster<StrictReady<Words>> {
    let cluster = Cluster::builder().seed(7).connect(|_| StrictReady::new(Words));
    cluster.replace(fleet(weights)).unwrap();
    cluster
}

#[test]
fn plain_balance_tells_answers_errors_and_cancellations_apart() {
    let cluster = words(&[1]);
    let mut balance = StrictReady::new(Balance::plain(cluster.clone()));
    let mut send = |word: &str| {
        balance.ready().now_or_never().unwrap().unwrap().call(word.to_owned()).now_or_never()
    };
    assert_eq!(send("hello").unwrap().unwrap(), 5);
    let error = send("bad").unwrap().unwrap_err();
    assert!(error.is_service());
    assert_eq!(index(error.endpoint().unwrap()), 0);
    assert_eq!(error.into_source().to_string(), "bad word");
    assert!(send("slow").is_none());
    assert_eq!(only(&cluster), [0, 3, 1, 1, 0, 1]);
    // Without readiness too, and without an endpoint.
    let mut balance = Balance::plain(cluster.clone());
    assert_eq!(balance.call("four".into()).now_or_never().unwrap().unwrap(), 4);
    cluster.remove(&id(0));
    let error = balance.call("four".into()).now_or_never().unwrap().unwrap_err();
    assert!(error.is_no_endpoint());
}

#[derive(Clone)]
struct Twice(bool);

impl RetryPolicy<String, usize, whippletree::Error> for Twice {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        word: &mut String,
        result: &mut Result<usize, whippletree::Error>,
    ) -> Option<Ready<()>> {
        word.clear();
        (result.is_err() && std::mem::replace(&mut self.0, false)).then(|| ready(()))
    }

    fn clone_request(&mut self, word: &String) -> Option<String> {
        Some(word.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn plain_balance_keeps_the_contract_under_retry_timeout_and_buffer() {
    let cluster = words(&[1, 1]);
    let stack = tower::ServiceBuilder::new()
        .buffer(4)
        .timeout(Duration::from_secs(1))
        .retry(Twice(true))
        .service(StrictReady::new(Balance::plain(cluster.clone())));
    for word in ["a", "bad", "slow"] {
        let _ = stack.clone().oneshot(word.to_owned()).await;
    }
    assert!(Retry::new(Twice(false), Balance::plain(cluster.clone())).ready().await.is_ok());
    let sum = cluster.status().endpoints.iter().map(counts).fold([0; 6], |mut sum, counts| {
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        sum
    });
    // One answer, one failure and its second try, one that ran out of time: after a second that
    // is a failure too.
    assert_eq!(sum, [0, 4, 2, 2, 0, 0]);
}
