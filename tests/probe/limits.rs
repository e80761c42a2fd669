//! How many checks there are, when, and that they end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use whippletree::cluster::State;
use whippletree::probe::Probe;
use whippletree::{Balance, BoxError};

use crate::script::{Book, INTERVAL, asking, cluster, endpoint, pass, probed, settle, state};

/// Counts the checks under way, and the most there were.
#[derive(Clone, Default)]
struct Gauge(Arc<[AtomicUsize; 3]>);

struct Under(Gauge);

impl Gauge {
    fn enter(&self) -> Under {
        let now = self.0[0].fetch_add(1, SeqCst) + 1;
        self.0[1].fetch_max(now, SeqCst);
        self.0[2].fetch_add(1, SeqCst);
        Under(self.clone())
    }

    fn now(&self) -> usize {
        self.0[0].load(SeqCst)
    }

    fn most(&self) -> usize {
        self.0[1].load(SeqCst)
    }

    fn total(&self) -> usize {
        self.0[2].load(SeqCst)
    }

    /// A probe whose checks take so long.
    fn probe(&self, time: Duration) -> Probe {
        let gauge = self.clone();
        let probe = Probe::custom(move |_| {
            let under = gauge.enter();
            async move {
                tokio::time::sleep(time).await;
                drop(under);
                Ok::<_, BoxError>(())
            }
        });
        probe.interval(INTERVAL)
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        self.0.0[0].fetch_sub(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_are_checked_at_a_time() {
    let gauge = Gauge::default();
    let cluster = cluster();
    tokio::spawn(cluster.probe(gauge.probe(Duration::from_secs(1)).concurrency(3)));
    cluster.replace((0..40).map(|nth| endpoint(&nth.to_string()))).unwrap();
    pass(INTERVAL * 20).await;
    assert_eq!(gauge.most(), 3);
    // Three at a time, a second each: none idle.
    assert!(gauge.total() >= 280, "{}", gauge.total());
    assert!((0..40).all(|nth| state(&cluster, &nth.to_string()) == State::Up), "all had a turn");
}

#[tokio::test(start_paused = true)]
async fn one_endpoint_is_checked_by_one_at_a_time() {
    let gauge = Gauge::default();
    let probe = gauge.probe(Duration::from_secs(5)).timeout(INTERVAL);
    let probe = probe.fast_interval(Duration::from_millis(10));
    let _cluster = probed(probe, &["a"]);
    pass(INTERVAL * 20).await;
    assert_eq!(gauge.most(), 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_stops_checks_and_withdraws_what_they_said() {
    let gauge = Gauge::default();
    let cluster = cluster();
    let checks = tokio::spawn(cluster.probe(gauge.probe(Duration::from_secs(1))));
    cluster.insert(endpoint("a")).unwrap();
    settle().await;
    assert_eq!((gauge.now(), state(&cluster, "a")), (1, State::Unproven));
    checks.abort();
    assert!(checks.await.unwrap_err().is_cancelled());
    settle().await;
    assert_eq!((gauge.now(), state(&cluster, "a")), (0, State::Up));
    pass(INTERVAL * 4).await;
    assert_eq!(gauge.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn checks_end_with_the_last_handle_of_the_cluster() {
    let gauge = Gauge::default();
    let cluster = cluster();
    let checks = tokio::spawn(cluster.probe(gauge.probe(Duration::from_secs(1))));
    cluster.insert(endpoint("a")).unwrap();
    settle().await;
    assert_eq!(gauge.now(), 1);
    drop(cluster);
    checks.await.unwrap();
    settle().await;
    assert_eq!(gauge.now(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_removed_endpoint_is_no_longer_checked_and_a_new_one_is_at_once() {
    let (probe, mut asked) = asking();
    let cluster = probed(probe, &["a"]);
    let check = asked.recv().await.unwrap();
    cluster.remove(endpoint("a").id());
    settle().await;
    drop(check);
    pass(INTERVAL * 4).await;
    assert!(asked.try_recv().is_err());
    cluster.insert(endpoint("b")).unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(asked.recv().await.unwrap().id, "b");
    assert!(began.elapsed() < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_endpoints_are_all_checked_once_per_interval() {
    let book = Book::default();
    let cluster = cluster();
    tokio::spawn(cluster.probe(book.probe()));
    cluster.replace((0..1000).map(|nth| endpoint(&nth.to_string()))).unwrap();
    pass(INTERVAL * 4).await;
    assert_eq!(cluster.status().available(), 1000);
    assert!((0..1000).all(|nth| (3..=6).contains(&book.checks(&nth.to_string()))));
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_wakes_the_probe_between_its_timers() {
    let book = Book::default();
    let cluster = cluster();
    let mut checks = pin!(cluster.probe(book.probe()));
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut poll = |task: &mut TaskContext<'_>| assert!(checks.as_mut().poll(task).is_pending());
    let mut task = TaskContext::from_waker(&waker);
    poll(&mut task);
    pass(Duration::from_secs(3600)).await;
    assert_eq!(wakes.0.load(SeqCst), 0, "nothing to check, nothing to do");

    cluster.insert(endpoint("a")).unwrap();
    for _ in 0..20 {
        settle().await;
        poll(&mut task);
    }
    let (woken, checked) = (wakes.0.load(SeqCst), book.checks("a"));
    for _ in 0..10_000 {
        pass(Duration::from_millis(100)).await;
        if wakes.0.load(SeqCst) > 0 {
            poll(&mut task);
        }
    }
    let (woken, checked) = (wakes.0.load(SeqCst) - woken, book.checks("a") - checked);
    // Its timer and its end.
    assert!((190..=210).contains(&checked), "{checked}");
    assert!(woken <= 2 * checked + 2, "woken {woken} times for {checked} checks");
    assert!(matches!(checks.as_mut().poll(&mut task), Poll::Pending));
}

#[tokio::test(start_paused = true)]
async fn a_balance_is_probed_from_its_first_moment() {
    let (probe, mut asked) = asking();
    let balance = Balance::builder().endpoint(endpoint("a")).probe(probe).connect(|_| ()).unwrap();
    assert_eq!(state(balance.cluster(), "a"), State::Unproven);
    asked.recv().await.unwrap().pass();
    balance.cluster().available().await;
}

#[test]
fn a_balance_with_a_probe_needs_a_runtime() {
    let probe = Book::default().probe().name("health");
    let refused = Balance::builder().endpoint(endpoint("a")).probe(probe).connect(|_| ());
    let error = refused.unwrap_err();
    assert_eq!(error.to_string(), r#"probe: "health" needs a tokio runtime"#);
}
