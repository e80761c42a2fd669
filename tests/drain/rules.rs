//! One rule per test, on a paused clock.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout};
use whippletree::cluster::{Admin, DrainEnd, DrainOptions, State, Then};
use whippletree::event::Event;
use whippletree::health::SlowStart;
use whippletree::policy::LeastRequest;
use whippletree::{Cluster, Context, Endpoint, EndpointId, Weight};

fn cluster(ids: &[&str]) -> Cluster<()> {
    let cluster = Cluster::builder().seed(7).connect(|_| ());
    cluster.replace(ids.iter().map(|id| endpoint(id))).unwrap();
    cluster
}

fn endpoint(id: &str) -> Endpoint {
    Endpoint::new("10.0.0.1:80").unwrap().with_id(id).unwrap()
}

fn id(id: &str) -> EndpointId {
    EndpointId::new(id).unwrap()
}

fn prefer(name: &str) -> Context {
    Context::new().with_prefer(id(name))
}

fn state(cluster: &Cluster<()>, name: &str) -> State {
    let status = cluster.status();
    let found = status.endpoints.iter().find(|status| status.endpoint.id().as_str() == name);
    found.unwrap().state
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn drain_waits_for_the_last_lease_and_says_what_became_of_the_requests() {
    let cluster = cluster(&["a", "b"]);
    let first = cluster.pick(&prefer("a")).unwrap();
    let second = cluster.pick(&prefer("a")).unwrap();
    let drain = cluster.drain(&id("a"), DrainOptions::new().by("alice")).unwrap();
    tokio::pin!(drain);
    for _ in 0..50 {
        assert_eq!(cluster.pick(&Context::new()).unwrap().id().as_str(), "b");
    }
    drop(first);
    assert!(timeout(SECOND, &mut drain).await.is_err());
    drop(second);
    let report = drain.await;
    assert_eq!((report.end, report.completed, report.forced), (DrainEnd::Empty, 2, 0));
    assert!(report.longest >= SECOND && report.longest < 2 * SECOND, "{report:?}");
    assert_eq!(state(&cluster, "a"), State::Drain);
    let status = cluster.status();
    assert_eq!(
        status.endpoints[0].reason().unwrap(),
        "drain by alice; back by setting it to ready"
    );
}

#[tokio::test(start_paused = true)]
async fn drain_that_never_ends_is_over_at_its_deadline_and_tells_the_leases() {
    let cluster = cluster(&["a"]);
    let lease = cluster.pick(&Context::new()).unwrap();
    let start = Instant::now();
    let options = DrainOptions::new().deadline(SECOND / 2);
    let drain = cluster.drain(&id("a"), options).unwrap();
    assert!(lease.forced().now_or_never().is_none());
    let report = drain.await;
    assert_eq!((report.end, report.forced), (DrainEnd::Deadline, 1));
    let took = start.elapsed();
    assert!((SECOND / 2..SECOND / 2 + SECOND / 10).contains(&took), "{took:?}");
    lease.forced().await;
    assert!(cluster.pick(&prefer("a")).is_err(), "the deadline ends sessions too");
    // Ready again, requests may stay.
    drop(lease);
    cluster.set_admin(&id("a"), Admin::Ready, "alice").unwrap();
    let lease = cluster.pick(&prefer("a")).unwrap();
    assert!(lease.forced().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn sessions_are_served_until_their_deadline_and_then_diverted() {
    let cluster = cluster(&["a", "b"]);
    let _held = cluster.pick(&prefer("a")).unwrap();
    let options = DrainOptions::new().deadline(10 * SECOND).session_deadline(2 * SECOND);
    let drain = cluster.drain(&id("a"), options).unwrap();
    sleep(SECOND).await;
    assert_eq!(cluster.pick(&prefer("a")).unwrap().id().as_str(), "a");
    sleep(SECOND + SECOND / 10).await;
    assert_eq!(cluster.pick(&prefer("a")).unwrap().id().as_str(), "b");
    let report = drain.await;
    assert_eq!((report.completed, report.diverted, report.forced), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn session_deadline_holds_whatever_the_drain_itself_waits_for() {
    for (deadline, busy) in [(30 * SECOND, true), (30 * SECOND, false), (Duration::MAX, true)] {
        let cluster = cluster(&["a", "b"]);
        let held = busy.then(|| cluster.pick(&prefer("a")).unwrap());
        let options = DrainOptions::new().deadline(deadline).session_deadline(2 * SECOND);
        let drain = cluster.drain(&id("a"), options).unwrap();
        assert_eq!(drain.report().is_none(), busy);
        sleep(SECOND).await;
        assert_eq!(cluster.pick(&prefer("a")).unwrap().id().as_str(), "a");
        sleep(2 * SECOND).await;
        assert_eq!(cluster.pick(&prefer("a")).unwrap().id().as_str(), "b", "{deadline:?} {busy}");
        // What is done is not due any more: the cluster's task would not sleep until the deadline.
        let now = Instant::now().into_std();
        let due = cluster.work_at(now);
        assert!(due.is_none_or(|due| due > now + 20 * SECOND), "{deadline:?} {busy}");
        drop(held);
        cluster.set_admin(&id("a"), Admin::Ready, "alice").unwrap();
        sleep(60 * SECOND).await;
        assert_eq!(cluster.pick(&prefer("a")).unwrap().id().as_str(), "a");
    }
}

#[tokio::test(start_paused = true)]
async fn idle_endpoint_is_empty_also_without_time_for_it() {
    let cluster = cluster(&["a", "b"]);
    let _held = cluster.pick(&prefer("b")).unwrap();
    for (name, end) in [("a", DrainEnd::Empty), ("b", DrainEnd::Deadline)] {
        let options = DrainOptions::new().deadline(Duration::ZERO);
        let report = cluster.drain(&id(name), options).unwrap().report().unwrap();
        assert_eq!((report.end, report.forced), (end, u32::from(name == "b")));
    }
}

#[tokio::test(start_paused = true)]
async fn drain_that_waits_for_sessions_ends_when_nobody_has_asked_for_a_while() {
    let cluster = cluster(&["a", "b"]);
    let options = DrainOptions::new().deadline(60 * SECOND).wait_for_sessions(3 * SECOND);
    let drain = cluster.drain(&id("a"), options).unwrap();
    tokio::pin!(drain);
    for _ in 0..5 {
        assert!(timeout(2 * SECOND, &mut drain).await.is_err());
        drop(cluster.pick(&prefer("a")).unwrap());
    }
    let start = Instant::now();
    assert!(drain.await.is_empty());
    assert!(start.elapsed() >= 3 * SECOND - SECOND / 10 && start.elapsed() <= 6 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn dropped_future_does_not_end_the_drain_and_what_follows_comes() {
    let cluster = cluster(&["a", "b"]);
    let lease = cluster.pick(&prefer("a")).unwrap();
    let mut events = cluster.subscribe();
    drop(cluster.drain(&id("a"), DrainOptions::new().then(Then::Maintenance)).unwrap());
    sleep(SECOND).await;
    assert_eq!(state(&cluster, "a"), State::Drain);
    drop(lease);
    sleep(SECOND).await;
    assert_eq!(state(&cluster, "a"), State::Maintenance);
    let drained = std::iter::from_fn(|| events.try_next())
        .filter(|event| matches!(event, Event::Drained { report, .. } if report.is_empty()));
    assert_eq!(drained.count(), 1);
    drop(cluster.drain(&id("b"), DrainOptions::new().then(Then::Removal)).unwrap());
    assert_eq!(cluster.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn second_drain_gives_the_first_new_deadlines() {
    let cluster = cluster(&["a"]);
    let _lease = cluster.pick(&Context::new()).unwrap();
    let first = cluster.drain(&id("a"), DrainOptions::new().deadline(60 * SECOND)).unwrap();
    sleep(SECOND).await;
    let second = cluster.drain(&id("a"), DrainOptions::new().deadline(SECOND)).unwrap();
    let start = Instant::now();
    let (first, second) = (first.await, second.await);
    assert_eq!(first, second);
    assert_eq!((first.end, first.forced), (DrainEnd::Deadline, 1));
    assert!(start.elapsed() < 2 * SECOND && first.took >= 2 * SECOND, "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn making_it_ready_ends_the_drain() {
    let cluster = cluster(&["a"]);
    let lease = cluster.pick(&Context::new()).unwrap();
    let drain = cluster.drain(&id("a"), DrainOptions::new()).unwrap();
    cluster.set_admin(&id("a"), Admin::Ready, "bob").unwrap();
    assert_eq!(drain.await.end, DrainEnd::Undone);
    assert!(cluster.drained(&id("a")).is_none());
    assert!(cluster.pick(&Context::new()).is_ok());
    assert!(timeout(60 * SECOND, lease.forced()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn drain_outlives_weights_policies_and_a_blip_of_discovery() {
    let cluster = cluster(&["b"]);
    let source = cluster.source("dns");
    source.replace([endpoint("a")]).unwrap();
    let lease = cluster.pick(&prefer("a")).unwrap();
    let drain = cluster.drain(&id("a"), DrainOptions::new()).unwrap();
    cluster.set_weight(&id("a"), Weight::from(9)).unwrap();
    cluster.reconfigure(cluster.settings().policy(LeastRequest::new()));
    source.replace([endpoint("a").with_weight(3)]).unwrap();
    assert_eq!(state(&cluster, "a"), State::Drain);
    source.replace([]).unwrap();
    sleep(SECOND).await;
    source.replace([endpoint("a")]).unwrap();
    assert_eq!(state(&cluster, "a"), State::Drain);
    drop(lease);
    assert_eq!(
        (drain.await.end, cluster.status().policy.as_str()),
        (DrainEnd::Empty, "least_request")
    );
}

#[tokio::test(start_paused = true)]
async fn drain_of_a_removed_endpoint_ends_with_its_last_lease() {
    let cluster = cluster(&["a", "b"]);
    let lease = cluster.pick(&prefer("a")).unwrap();
    let drain = cluster.drain(&id("a"), DrainOptions::new()).unwrap();
    assert!(cluster.remove(&id("a")));
    sleep(SECOND).await;
    assert!(drain.report().is_none());
    drop(lease);
    assert!(drain.await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn drain_of_a_removed_endpoint_is_told_before_the_endpoint_is_forgotten() {
    let cluster = Cluster::builder().seed(7).forget_after(2 * SECOND).connect(|_| ());
    cluster.insert(endpoint("a")).unwrap();
    let lease = cluster.pick(&Context::new()).unwrap();
    let drain = cluster.drain(&id("a"), DrainOptions::new()).unwrap();
    cluster.remove(&id("a"));
    sleep(SECOND).await;
    // Both are due before the cluster's task runs.
    drop(lease);
    tokio::time::advance(2 * SECOND).await;
    assert!(drain.await.is_empty());
    sleep(10 * SECOND).await;
    assert!(cluster.drained(&id("a")).is_none(), "forgotten");
}

#[tokio::test(start_paused = true)]
async fn description_that_says_draining_is_a_fact_of_its_own() {
    let cluster = cluster(&["b"]);
    let source = cluster.source("kube");
    source.replace([endpoint("a").with_draining()]).unwrap();
    assert_eq!(state(&cluster, "a"), State::Drain);
    assert_eq!(cluster.pick(&prefer("a")).unwrap().id().as_str(), "a", "sessions are served");
    let reason = cluster.status().endpoints[0].reason().unwrap();
    assert_eq!(reason, "draining by kube; back by a description that says otherwise");
    cluster.set_admin(&id("a"), Admin::Drain, "alice").unwrap();
    source.replace([endpoint("a")]).unwrap();
    assert_eq!(state(&cluster, "a"), State::Drain, "the operator's drain stands");
    cluster.set_admin(&id("a"), Admin::Ready, "alice").unwrap();
    assert_eq!(state(&cluster, "a"), State::Up);
}

#[tokio::test(start_paused = true)]
async fn shutdown_closes_the_cluster_and_drains_it() {
    let cluster = cluster(&["a", "b"]);
    let lease = cluster.pick(&prefer("a")).unwrap();
    let empty = Cluster::builder().connect(|_| ());
    let shutdown = cluster.shutdown(DrainOptions::new().deadline(SECOND));
    for context in [Context::new(), prefer("a"), prefer("b")] {
        assert!(cluster.pick(&context).unwrap_err().is_closed());
    }
    assert!(cluster.is_closed() && !cluster.is_available());
    cluster.available().await;
    cluster.insert(endpoint("c")).unwrap();
    assert!(cluster.pick(&Context::new()).unwrap_err().is_closed());
    let reports = shutdown.await;
    let forced: u32 = reports.iter().map(|(_, report)| report.forced).sum();
    assert_eq!((reports.len(), forced), (2, 1));
    drop(lease);

    let wait = tokio::spawn({
        let empty: Cluster<()> = empty.clone();
        async move { empty.available().await }
    });
    sleep(SECOND).await;
    assert!(!wait.is_finished());
    assert!(empty.shutdown(DrainOptions::new()).await.is_empty());
    wait.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_requests_on_endpoints_that_have_left() {
    let cluster = cluster(&["a", "b", "c"]);
    let leases = ["a", "b"].map(|name| cluster.pick(&prefer(name)).unwrap());
    cluster.replace([]).unwrap();
    let shutdown = cluster.shutdown(DrainOptions::new().deadline(10 * SECOND));
    tokio::pin!(shutdown);
    assert!(timeout(SECOND, &mut shutdown).await.is_err());
    let [first, second] = leases;
    drop(first);
    let mut reports = shutdown.await;
    reports.sort_by(|one, other| one.0.cmp(&other.0));
    let told: Vec<_> = reports.iter().map(|(id, report)| (id.as_str(), report.end)).collect();
    assert_eq!(told, [("a", DrainEnd::Empty), ("b", DrainEnd::Deadline)]);
    second.forced().await;
}

#[tokio::test]
async fn shutdown_of_many_endpoints_is_one_change() {
    let cluster = Cluster::builder().seed(7).connect(|_| ());
    cluster.replace((0..2000).map(|at| endpoint(&format!("e{at}")))).unwrap();
    let before = Instant::now();
    assert_eq!(cluster.shutdown(DrainOptions::new()).await.len(), 2000);
    // A snapshot for each of them takes 7 s.
    assert!(before.elapsed() < 2 * SECOND, "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_leaves_maintenance_starts_slowly() {
    let slow_start = SlowStart::new(60 * SECOND);
    let cluster = Cluster::builder().seed(7).slow_start(slow_start).connect(|_| ());
    cluster.replace([endpoint("a"), endpoint("b")]).unwrap();
    sleep(100 * SECOND).await;
    cluster.drain(&id("a"), DrainOptions::new().then(Then::Maintenance)).unwrap().await;
    assert!(cluster.pick(&prefer("a")).unwrap().id().as_str() == "b");
    sleep(SECOND).await;
    cluster.set_admin(&id("a"), Admin::Ready, "alice").unwrap();
    let status = cluster.status();
    assert!(status.endpoints[0].share < 0.11, "{}", status.endpoints[0].share);
    assert_eq!(status.endpoints[1].share, 1.0);
}

#[test]
fn drain_without_a_runtime_ends_with_the_last_lease() {
    let cluster = cluster(&["a"]);
    let lease = cluster.pick(&Context::new()).unwrap();
    let drain = cluster.drain(&id("a"), DrainOptions::new()).unwrap();
    assert!(drain.report().is_none());
    drop(lease);
    assert!(drain.report().unwrap().is_empty());
}

#[test]
fn unknown_endpoint_is_an_error_that_names_it() {
    let error = cluster(&["a"]).drain(&id("x"), DrainOptions::new()).unwrap_err();
    assert_eq!(error.to_string(), r#"id: "x" is not the id of an endpoint of this cluster"#);
}
