//! A request is dropped after every number of polls, and nothing is left of it.

use std::future::Future;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower::retry::budget::Budget;
use tower::{Layer, Service, ServiceExt};
use whippletree::failover::{Failover, FailoverLayer, Hedge};

use crate::faults::{Does, connect};
use crate::strict::{StrictReady, in_flight};

/// Counts what was taken.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicU64>);

impl Budget for Counted {
    fn deposit(&self) {}

    fn withdraw(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        true
    }
}

fn request() -> Request<Full<Bytes>> {
    Request::put("/").body(Full::from("payload")).unwrap()
}

/// Drops the request after every number of polls, a few ms apart; answers after how many it is done.
async fn sweep(does: &[Does], hedge: Option<Hedge>) -> usize {
    for polls in 0..500 {
        let (balance, log) = connect(does);
        let cluster = balance.cluster().clone();
        let budget = Counted::default();
        let failover = Failover::new()
            .seed(5)
            .budget(budget.clone())
            .per_try_timeout(Duration::from_millis(40))
            .backoff(Duration::from_millis(30), Duration::from_millis(30));
        // Tower's contract holds above and below.
        let layer = FailoverLayer::new(failover.clone()).hedge(hedge.clone());
        let mut service = StrictReady::new(layer.layer(StrictReady::new(balance)));
        let mut future = Box::pin(service.ready().await.unwrap().call(request()));
        let mut done = false;
        for _ in 0..polls {
            done = future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
            if done {
                break;
            }
            tokio::time::advance(Duration::from_millis(3)).await;
        }
        drop(future);
        assert_eq!(in_flight(&cluster), 0, "{does:?}, {polls} polls");
        let status = cluster.status();
        for status in &status.endpoints {
            let told = status.successes + status.failures + status.ignored + status.cancelled;
            assert_eq!(told, status.requests, "{does:?}, {polls} polls");
        }
        let stats = failover.stats();
        let spent = budget.0.load(Ordering::Relaxed);
        assert_eq!(spent, stats.retries + stats.hedges, "{does:?}, {polls} polls");
        // What was paid for was sent, but for the one that was dropped in its pause.
        let picked: u64 = status.endpoints.iter().map(|status| status.requests).sum();
        let unsent = spent + 1 - picked;
        assert!(unsent <= u64::from(!done), "{does:?}, {polls} polls: {stats:?}, {picked}");
        assert!(log.bodies().iter().all(|body| body == "payload"));
        if done {
            return polls;
        }
    }
    panic!("it never completes");
}

#[tokio::test(start_paused = true)]
async fn retried_request_dropped_at_any_poll_is_in_flight_nowhere() {
    let slow = Does::Answer(503, 10);
    assert!(sweep(&[slow, slow, Does::Answer(200, 10)], None).await > 8);
    assert!(sweep(&[Does::Hang, Does::Hang, Does::Answer(200, 10)], None).await > 20);
    let refused = Does::Fail(ErrorKind::ConnectionRefused);
    sweep(&[refused, refused, Does::Answer(200, 1)], None).await;
    sweep(&[slow], None).await;
}

#[tokio::test(start_paused = true)]
async fn hedged_request_dropped_at_any_poll_is_in_flight_nowhere() {
    let hedge = || Some(Hedge::after(Duration::from_millis(10)));
    assert!(sweep(&[Does::Hang, Does::Answer(200, 20)], hedge()).await > 8);
    assert!(sweep(&[Does::Answer(200, 25), Does::Hang], hedge()).await > 5);
    // Both fail, and failover goes on with two more.
    let bad = Does::Answer(503, 15);
    assert!(sweep(&[bad, bad, Does::Hang, Does::Answer(200, 10)], hedge()).await > 12);
}
