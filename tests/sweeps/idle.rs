//! Wake-ups that are not lost, and idleness that costs nothing.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;

use futures_util::FutureExt;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::{Duration, sleep};
use tower::ServiceExt;
use whippletree::{Balance, Cluster, Context};

use crate::staged::{Client, Script, empty};
use crate::strict::{endpoint, fleet, id};

/// How long anything may take that should happen at once. Only a failing test waits for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Uses up tokio's budget of the current task: a channel that is ready then pends all the same.
async fn burn_the_budget() {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    (0..1_000).for_each(|number| sender.send(number).unwrap());
    poll_fn(|task| {
        let mut taken = 0;
        while receiver.poll_recv(task).is_ready() {
            taken += 1;
        }
        assert!(taken < 1_000, "the budget has no end");
        Poll::Ready(())
    })
    .await;
}

fn balance(cluster: &Cluster<Client>) -> Balance<Client> {
    Balance::new(cluster.clone()).fail_fast(Duration::from_secs(600))
}

#[tokio::test(start_paused = true)]
async fn wake_up_is_not_lost_to_a_task_without_budget() {
    for inserted_first in [true, false] {
        let cluster = empty(&Script::default());
        if inserted_first {
            cluster.insert(endpoint(0)).unwrap();
        }
        let mut balance = balance(&cluster);
        let waiter = tokio::spawn(async move {
            burn_the_budget().await;
            balance.ready().await.map(drop)
        });
        // Long enough for it to have a budget again, and to wait in earnest.
        sleep(Duration::from_secs(1)).await;
        cluster.insert(endpoint(0)).unwrap();
        tokio::time::timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn fail_fast_is_not_lost_to_a_task_without_budget() {
    let cluster = empty(&Script::default());
    let waiter = tokio::spawn(async move {
        let mut balance = Balance::new(cluster).fail_fast(Duration::from_secs(1));
        let ready = balance.ready();
        burn_the_budget().await;
        ready.await.map(drop)
    });
    tokio::time::timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_wakes_all_who_wait_on_other_threads() {
    for _ in 0..200 {
        let cluster = empty(&Script::default());
        let wait = || {
            let mut balance = balance(&cluster);
            tokio::spawn(async move { balance.ready().await.map(drop) })
        };
        let waiters: Vec<_> = (0..8).map(|_| wait()).collect();
        cluster.insert(endpoint(0)).unwrap();
        for waiter in waiters {
            tokio::time::timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
        }
    }
}

/// Counts the polls of a future.
fn counted<F: Future>(
    future: F,
    polls: &Arc<AtomicUsize>,
) -> impl Future<Output = F::Output> + use<F> {
    let polls = Arc::clone(polls);
    let mut future = Box::pin(future);
    poll_fn(move |task| {
        polls.fetch_add(1, Ordering::Relaxed);
        future.as_mut().poll(task)
    })
}

#[tokio::test(start_paused = true)]
async fn task_that_waits_on_an_empty_cluster_is_not_polled_for_an_hour() {
    let cluster = empty(&Script::default());
    let mut balance = Balance::new(cluster.clone()).fail_fast(Duration::from_secs(7_200));
    let polls = Arc::new(AtomicUsize::new(0));
    let ready = tokio::spawn(counted(async move { balance.ready().await.map(drop) }, &polls));
    let waiting = cluster.clone();
    let available = tokio::spawn(counted(async move { waiting.available().await }, &polls));
    // A source that is silent is followed at no cost either.
    let silent = cluster.follow("silent", tokio_stream::pending::<whippletree::discover::Change>());
    let follower = tokio::spawn(counted(silent, &polls));
    for _ in 0..60 {
        sleep(Duration::from_secs(60)).await;
    }
    let polls = polls.load(Ordering::Relaxed);
    assert!(polls <= 6, "three tasks were polled {polls} times");
    assert!(!ready.is_finished() && !available.is_finished());
    cluster.insert(endpoint(0)).unwrap();
    tokio::time::timeout(PATIENCE, ready).await.unwrap().unwrap().unwrap();
    tokio::time::timeout(PATIENCE, available).await.unwrap().unwrap();
    follower.abort();
}

/// Runs what might never end on a thread of its own.
#[track_caller]
fn ends(what: impl FnOnce() + Send + 'static) {
    let (done, is_done) = std::sync::mpsc::channel();
    thread::spawn(move || {
        what();
        // An error means that the test has given up.
        let _ = done.send(());
    });
    is_done.recv_timeout(PATIENCE).expect("it is still busy, or stuck");
}

fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// The paused clock moves only while every task waits: a task that spins stops it for good.
#[test]
fn removed_endpoint_with_a_lease_makes_nothing_spin() {
    for forget_after in [Duration::from_secs(60), Duration::ZERO] {
        ends(move || {
            paused().block_on(async {
                let cluster = Cluster::builder().forget_after(forget_after).connect(|_| ());
                cluster.replace(fleet(&[1])).unwrap();
                let lease = cluster.pick(&Context::new()).unwrap();
                cluster.remove(&id(0));
                sleep(Duration::from_secs(3_600)).await;
                drop(lease);
            });
        });
    }
}

/// A runtime that shuts down drops the tasks that are spawned on it, at once and on the spot.
#[test]
fn endpoint_can_be_removed_while_the_runtime_shuts_down() {
    ends(|| {
        let runtime = paused();
        let handle = runtime.handle().clone();
        drop(runtime);
        let _entered = handle.enter();
        let cluster = Cluster::builder().connect(|_| ());
        cluster.replace(fleet(&[1, 1])).unwrap();
        assert!(cluster.remove(&id(0)));
        assert_eq!(cluster.len(), 1);
        assert!(cluster.remove(&id(1)));
    });
}

/// As a connection does that owns its endpoint: the task is dropped with the runtime.
#[test]
fn endpoint_can_be_removed_by_a_task_that_is_dropped_with_its_runtime() {
    struct Registered(Cluster<()>);
    impl Drop for Registered {
        fn drop(&mut self) {
            self.0.remove(&id(0));
        }
    }
    ends(|| {
        let cluster = Cluster::builder().connect(|_| ());
        cluster.replace(fleet(&[1])).unwrap();
        let registered = Registered(cluster.clone());
        let runtime = paused();
        runtime.block_on(async {
            tokio::spawn(async move {
                let _registered = registered;
                std::future::pending::<()>().await;
            });
            tokio::task::yield_now().await;
        });
        drop(runtime);
        assert!(cluster.is_empty());
    });
}

#[test]
fn cluster_needs_no_runtime_but_to_wait() {
    let cluster = empty(&Script::default());
    cluster.replace(fleet(&[1, 1])).unwrap();
    cluster.remove(&id(1));
    let mut balance = balance(&cluster);
    assert!(balance.ready().now_or_never().unwrap().is_ok());
}
