//! Requests dropped at every poll of their wait, their call and their body: nothing is left.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceExt};
use whippletree::cluster::Queue;
use whippletree::{Balance, Cluster, Context};

use crate::strict::{StrictReady, endpoint, in_flight, preferring};
use crate::waiting;

/// Pends once at every stage.
#[derive(Clone, Debug)]
struct Slow;

#[derive(Debug)]
struct Once<T>(Option<T>, bool);

impl<T: Unpin> Future for Once<T> {
    type Output = Result<T, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match std::mem::replace(&mut self.1, true) {
            false => Poll::Pending,
            true => Poll::Ready(Ok(self.0.take().unwrap())),
        }
    }
}

impl Service<Request<()>> for Slow {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Once<Self::Response>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        Once(Some(Response::new(Full::from("body"))), false)
    }
}

type Client = StrictReady<Slow>;

fn balance() -> Balance<Client> {
    let queue = Queue::new().size(4).timeout(Duration::from_millis(100));
    let builder = Balance::builder().seed(3).queue(queue);
    let builder = builder.endpoint(endpoint(0).with_max_in_flight(1));
    let builder = builder.endpoint(endpoint(1).with_max_in_flight(1));
    builder.connect(|_| StrictReady::new(Slow)).unwrap()
}

async fn exchange(balance: Balance<Client>, context: Context) {
    let mut request = Request::new(());
    request.extensions_mut().insert(context);
    if let Ok(response) = StrictReady::new(balance).oneshot(request).await {
        drop(response.into_body().collect().await.unwrap());
    }
}

fn poll(future: &mut Pin<Box<impl Future>>) -> bool {
    future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_ready()
}

fn assert_nothing_is_left(cluster: &Cluster<Client>, what: &str) {
    assert_eq!((in_flight(cluster), waiting(cluster)), (0, 0), "{what}");
    let leases = [(); 2].map(|()| cluster.pick(&Context::new()));
    assert!(leases.iter().all(Result::is_ok), "{what}: a slot is lost");
}

/// One step of time and of the world between two polls of the request that is swept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    Nothing,
    /// Both slots become free after so many polls.
    Frees(usize),
    /// Time passes: the wait for the home, then the whole wait is over.
    Passes,
}

#[tokio::test(start_paused = true)]
async fn request_dropped_after_any_number_of_polls_leaves_no_slot_taken() {
    let sticky = preferring(0).with_prefer_wait(Duration::from_millis(30));
    let scenes = [
        Meanwhile::Nothing,
        Meanwhile::Frees(0),
        Meanwhile::Frees(1),
        Meanwhile::Frees(3),
        Meanwhile::Passes,
    ];
    for context in [Context::new(), sticky] {
        for scene in scenes {
            for behind in [0, 1, 3] {
                for polls in 0..14 {
                    sweep(&context, scene, behind, polls).await;
                }
            }
        }
    }
}

/// Both slots are taken; one request waits and is dropped after `polls` polls, with so many others
/// `behind` it, each of which must be served then.
async fn sweep(context: &Context, scene: Meanwhile, behind: usize, polls: usize) {
    let what = format!("{context:?} {scene:?}, {behind} behind, {polls} polls");
    let balance = balance();
    let cluster = balance.cluster().clone();
    let mut slots: Vec<_> = (0..2).map(|_| cluster.pick(&Context::new()).unwrap()).collect();
    let mut swept = Box::pin(exchange(balance.clone(), context.clone()));
    let mut done = polls > 0 && poll(&mut swept);
    let later = || Box::pin(exchange(balance.clone(), Context::new()));
    let mut others: Vec<_> = (0..behind).map(|_| later()).collect();
    others.iter_mut().for_each(|other| assert!(!poll(other), "{what}"));
    for count in 1..polls {
        match scene {
            Meanwhile::Frees(at) if at + 1 == count => slots.clear(),
            Meanwhile::Passes => tokio::time::advance(Duration::from_millis(20)).await,
            _ => {}
        }
        assert!(in_flight(&cluster) <= 2, "{what}");
        done = done || poll(&mut swept);
    }
    drop(swept);
    slots.clear();
    // Whoever was behind gets through by itself, unless its time is over.
    for mut other in others {
        let mut ended = false;
        for _ in 0..4 {
            ended = ended || poll(&mut other);
        }
        assert!(ended, "{what}: nobody woke the next");
    }
    assert_nothing_is_left(&cluster, &what);
}

#[tokio::test(start_paused = true)]
async fn acquire_dropped_between_grant_and_poll_wakes_the_next() {
    let balance = balance();
    let cluster = balance.cluster().clone();
    let slots: Vec<_> = (0..2).map(|_| cluster.pick(&Context::new()).unwrap()).collect();
    let line: Vec<_> = (0..4).map(|_| cluster.acquire(&Context::new())).collect();
    let woken: Vec<_> = line
        .into_iter()
        .map(|acquire| {
            let mut task = watched(acquire);
            assert!(task.poll());
            task
        })
        .collect();
    drop(slots);
    let states: Vec<bool> = woken.iter().map(Task::is_woken).collect();
    assert_eq!(states, [true, true, false, false], "one wake-up for each slot");
    let mut left = woken.into_iter();
    drop((left.next(), left.next()));
    let states: Vec<bool> = left.map(|task| task.is_woken()).collect();
    assert_eq!(states, [true, true]);
    assert_nothing_is_left(&cluster, "dropped with their grants");
}

/// A future with a waker that remembers that it was woken.
struct Task<F> {
    future: Pin<Box<F>>,
    flag: std::sync::Arc<Flag>,
}

#[derive(Default)]
struct Flag(std::sync::atomic::AtomicBool);

impl std::task::Wake for Flag {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

fn watched<F: Future>(future: F) -> Task<F> {
    Task { future: Box::pin(future), flag: std::sync::Arc::default() }
}

impl<F: Future> Task<F> {
    /// Whether it is pending.
    fn poll(&mut self) -> bool {
        let waker = Waker::from(self.flag.clone());
        self.future.as_mut().poll(&mut TaskContext::from_waker(&waker)).is_pending()
    }

    fn is_woken(&self) -> bool {
        self.flag.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}
