//! Ejection by live traffic, and the way back.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tower::{ServiceExt, service_fn};
use whippletree::cluster::{Admin, FactKind, State};
use whippletree::event::Event;
use whippletree::health::outlier::{Backoff, Outlier, Reason, SmallPool};
use whippletree::health::{Failure, Outcome};
use whippletree::policy::RoundRobin;
use whippletree::{Balance, Cluster, Context, Endpoint};

use crate::strict::{cases, endpoint, fleet, id, index, preferring};
use crate::world::{FAILED, World, seconds};

fn world(len: usize) -> World {
    World::new(Cluster::builder(), fleet(&vec![1; len]))
}

fn judged(outlier: Outlier, len: usize) -> World {
    World::new(Cluster::builder().policy(RoundRobin::new()).outlier(outlier), fleet(&vec![1; len]))
}

fn fails(bad: &[usize]) -> impl Fn(usize) -> Outcome + '_ {
    |at| if bad.contains(&at) { FAILED } else { Outcome::Success }
}

#[test]
fn endpoint_is_out_after_exactly_five_failures_in_a_row() {
    let mut world = world(3);
    world.on(0, FAILED, 4);
    world.on(0, Outcome::Success, 1);
    world.on(0, FAILED, 2);
    world.on(0, Outcome::Ignored, 1);
    world.on(0, FAILED, 2);
    assert_eq!(world.state(0), State::Up);
    world.on(0, FAILED, 1);
    assert_eq!(world.state(0), State::Ejected);
    assert_eq!(world.told(), "ejected0");
}

#[test]
fn failure_that_takes_the_place_of_a_success_counts() {
    let world = world(3);
    for _ in 0..5 {
        let mut lease = world.begin(&preferring(0));
        lease.report_at(Outcome::Success, world.now);
        lease.report_at(FAILED, world.now);
    }
    // Each success before ends the row: head 200, body broken off, five times over.
    let status = world.status(0);
    assert_eq!((status.failures, status.successes), (5, 0));
}

#[test]
fn gateway_failures_have_a_limit_of_their_own() {
    let outlier = Outlier::new().consecutive_failures(0).consecutive_gateway_failures(3);
    let world = judged(outlier, 3);
    world.on(0, FAILED, 20);
    assert_eq!(world.state(0), State::Up);
    world.on(0, Outcome::Failure(Failure::Gateway), 3);
    assert_eq!(world.state(0), State::Ejected);
}

#[test]
fn endpoint_that_hangs_is_out_though_all_give_up() {
    let mut world = world(3);
    for _ in 0..5 {
        let lease = world.begin(&preferring(0));
        world.after(1.0);
        lease.cancel_at(world.now);
    }
    assert_eq!(world.state(0), State::Ejected);
    let status = world.status(0);
    assert_eq!((status.failures, status.cancelled), (5, 0));
    // Who gives up sooner says nothing.
    for _ in 0..20 {
        let lease = world.begin(&preferring(1));
        world.after(0.999);
        lease.cancel_at(world.now);
    }
    assert_eq!((world.status(1).failures, world.status(1).cancelled), (0, 20));
}

#[test]
fn endpoint_that_fails_fast_gets_its_share_at_most_and_then_nothing() {
    for case in cases().filter(|case| case.spreads()) {
        let cluster = case.cluster(&fleet(&[1; 5]));
        let now = Instant::now();
        let mut counts = [0_usize; 5];
        for _ in 0..1_000 {
            let mut lease = cluster.pick_at(&Context::new(), now).unwrap();
            let at = index(lease.id());
            counts[at] += 1;
            lease.report_at(fails(&[2])(at), now);
        }
        assert!(counts[2] <= 5, "{case:?}: {counts:?}");
    }
}

#[test]
fn ejection_ends_half_open_and_success_returns_it() {
    let mut world = world(3);
    world.eject(0);
    let status = world.status(0);
    let lasts = status.returns_in.unwrap();
    assert!(lasts > seconds(4.9) && lasts <= seconds(5.5), "{lasts:?}");
    assert_eq!(status.fact(FactKind::Outlier).unwrap().value, "ejected");
    let reason = status.reason().unwrap();
    assert_eq!(
        reason,
        "ejected by live traffic: 5 failures in a row; back by one success after its time is over"
    );
    world.after(4.9);
    assert_eq!(world.status(0).fact(FactKind::Outlier).unwrap().value, "ejected");
    (0..100).for_each(|_| assert_ne!(world.send(fails(&[])), 0));
    world.after(0.7);
    let status = world.status(0);
    assert_eq!(status.fact(FactKind::Outlier).unwrap().value, "half_open");
    assert_eq!(status.state, State::Ejected);
    assert!(status.returns_in.unwrap() <= seconds(5.0));
    let reason = status.reason().unwrap();
    assert_eq!(
        reason,
        "half_open by live traffic: 5 failures in a row; back by one success, or time"
    );
    let trial = world.trial(0);
    (0..100).for_each(|_| assert_ne!(world.send(fails(&[])), 0));
    world.end(trial, Outcome::Success);
    let status = world.status(0);
    assert_eq!((status.state, status.reason(), status.ejections), (State::Up, None, 1));
    assert_eq!(status.fact(FactKind::Outlier).unwrap().value, "ok");
    assert!((0..100).any(|_| world.send(fails(&[])) == 0));
    assert_eq!(world.told(), "ejected0 half0 returned0");
}

#[test]
fn failed_trial_ejects_for_twice_as_long_and_so_on() {
    let mut world = world(3);
    world.eject(0);
    let mut lasts = 5.0;
    for _ in 0..8 {
        world.after(1.11 * lasts);
        world.end(world.trial(0), FAILED);
        lasts = f64::min(2.0 * lasts, 300.0);
        let left = world.status(0).returns_in.unwrap();
        assert!(left >= seconds(lasts - 0.1) && left <= seconds(1.1 * lasts), "{left:?}");
    }
    assert!(world.status(0).reason().unwrap().contains("the request on trial failed"));
    assert_eq!(world.told(), format!("ejected0{}", " half0 ejected0".repeat(8)));
}

#[test]
fn linear_backoff_adds_thirty_seconds_each_time() {
    let mut world = judged(Outlier::new().backoff(Backoff::Linear), 3);
    world.eject(0);
    for times in 1..=4 {
        let left = world.status(0).returns_in.unwrap().as_secs_f64();
        let meant = 30.0 * f64::from(times);
        assert!(left > meant - 0.1 && left <= 1.1 * meant, "{left}");
        world.after(left + 0.1);
        world.end(world.trial(0), FAILED);
    }
}

#[test]
fn trial_that_says_nothing_leaves_its_place_to_another() {
    let mut world = world(3);
    world.eject(0);
    world.after(6.0);
    for _ in 0..3 {
        world.end(world.trial(0), Outcome::Ignored);
        world.trial(0).cancel_at(world.now);
    }
    assert_eq!(world.state(0), State::Ejected);
    // One that hangs is a failure.
    let hanging = world.trial(0);
    world.after(1.0);
    hanging.cancel_at(world.now);
    assert!(world.status(0).returns_in.unwrap() > seconds(9.0));
}

#[test]
fn trial_goes_to_no_request_that_rules_the_endpoint_out() {
    let mut world = world(3);
    world.eject(0);
    world.after(6.0);
    let context = Context::new().with_exclude(id(0));
    (0..50).for_each(|_| assert_ne!(index(world.begin(&context).id()), 0));
    assert_eq!(index(world.begin(&preferring(1)).id()), 1);
    world.end(world.trial(0), Outcome::Success);
    assert_eq!(world.state(0), State::Up);
}

#[test]
fn threads_that_pick_at_once_make_one_trial() {
    for _ in 0..200 {
        let mut world = world(3);
        world.eject(0);
        world.after(6.0);
        let (barrier, trials) = (Barrier::new(4), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    let lease = world.begin(&Context::new());
                    if index(lease.id()) == 0 {
                        trials.fetch_add(1, Ordering::Relaxed);
                    }
                    barrier.wait();
                });
            }
        });
        assert_eq!(trials.into_inner(), 1);
    }
}

#[test]
fn trial_of_an_earlier_ejection_says_nothing_of_the_present_one() {
    let mut world = world(3);
    world.eject(0);
    world.after(6.0);
    let old = world.trial(0);
    world.cluster.set_admin(&id(0), Admin::Maintenance, "test").unwrap();
    world.cluster.set_admin(&id(0), Admin::Ready, "test").unwrap();
    assert_eq!(world.state(0), State::Up);
    world.eject(0);
    world.end(old, Outcome::Success);
    assert_eq!(world.state(0), State::Ejected);
    world.after(6.0);
    world.end(world.trial(0), Outcome::Success);
    assert_eq!(world.state(0), State::Up);
}

#[test]
fn cap_holds_and_the_last_one_stays() {
    for (total, expected) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)] {
        let world = world(total);
        (0..total).for_each(|at| world.on(at, FAILED, 5));
        assert_eq!(world.ejected(), expected, "of {total}");
    }
    for (total, percent, expected) in [(4, 30, 1), (5, 10, 1), (9, 10, 1), (5, 0, 0), (5, 100, 4)] {
        let world = judged(Outlier::new().max_ejection_percent(percent).unwrap(), total);
        (0..total).for_each(|at| world.on(at, FAILED, 5));
        assert_eq!(world.ejected(), expected, "{percent} % of {total}");
    }
}

#[test]
fn refusal_is_told_once_and_made_good_when_there_is_room() {
    let mut world = world(2);
    world.eject(0);
    world.on(1, FAILED, 50);
    assert_eq!(world.told(), "ejected0 refused1");
    world.after(6.0);
    assert_eq!(world.send(fails(&[])), 0);
    world.eject(1);
    assert_eq!(world.told(), "half0 returned0 ejected1");
}

/// So many requests one after the other on each endpoint, of which so many out of ten fail,
/// never five in a row.
fn traffic(world: &World, failing: &[usize], requests: usize) {
    let pattern = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    for turn in 0..requests {
        for (at, failing) in failing.iter().enumerate() {
            let failed = pattern[turn % 10] < *failing;
            world.on(at, if failed { FAILED } else { Outcome::Success }, 1);
        }
    }
}

#[test]
fn one_bad_of_two_of_three_and_of_four_is_found_though_it_never_fails_five_in_a_row() {
    for len in 2..=4 {
        let mut world = judged(Outlier::new(), len);
        let failing: Vec<usize> = (0..len).map(|at| if at == 1 { 5 } else { 0 }).collect();
        traffic(&world, &failing, 60);
        assert_eq!(world.ejected(), 0);
        world.after(11.0);
        assert_eq!((world.ejected(), world.state(1)), (1, State::Ejected), "of {len}");
        let told = world.status(1).reason().unwrap();
        assert!(told.contains("while the others failed 0 of"), "{told}");
        // Off, it is not found.
        let mut world = judged(Outlier::new().small_pool(SmallPool::Off), len);
        traffic(&world, &failing, 60);
        world.after(11.0);
        assert_eq!(world.ejected(), 0);
    }
}

#[test]
fn success_rate_and_failure_percentage_find_the_bad_one_of_five() {
    let quiet = Outlier::new().consecutive_failures(0);
    let mut world = judged(quiet.clone().failure_percentage(0).unwrap(), 5);
    traffic(&world, &[5, 0, 0, 0, 0], 110);
    world.after(11.0);
    assert_eq!(world.state(0), State::Ejected);
    assert!(world.status(0).reason().unwrap().contains("success rate"));
    let mut world = judged(quiet.success_rate(None).unwrap(), 5);
    traffic(&world, &[8, 0, 10, 0, 0], 60);
    world.after(11.0);
    assert_eq!((world.state(0), world.state(2)), (State::Up, State::Ejected));
    assert!(world.status(2).reason().unwrap().contains("failure percentage"));
}

#[test]
fn interval_counts_what_happened_in_it_alone() {
    let mut world = judged(Outlier::new(), 2);
    traffic(&world, &[0, 0], 1_000);
    traffic(&world, &[0, 5], 40);
    world.after(11.0);
    assert_eq!(world.state(1), State::Ejected);
}

#[test]
fn replaced_payload_keeps_its_counters_and_is_judged_in_the_same_interval() {
    let mut world = judged(Outlier::new(), 2);
    traffic(&world, &[0, 1], 100);
    world.after(11.0);
    traffic(&world, &[0, 1], 10);
    world.cluster.insert_service(endpoint(1), ());
    assert_eq!(world.status(1).requests, 110);
    traffic(&world, &[0, 5], 40);
    world.after(11.0);
    assert_eq!(world.state(1), State::Ejected);
    assert_eq!((world.status(1).requests, world.status(1).failures), (150, 31));
}

#[test]
fn healthy_intervals_shorten_the_next_ejection() {
    let ejected_again_after = |healthy: f64| {
        let mut world = judged(Outlier::new().backoff(Backoff::Linear), 3);
        world.eject(0);
        world.after(34.0);
        assert_eq!(world.send(fails(&[0])), 0);
        world.after(67.0);
        assert_eq!(world.send(fails(&[])), 0);
        for _ in 0..(healthy / 10.0) as usize {
            world.after(10.1);
        }
        world.eject(0);
        (world.status(0).returns_in.unwrap().as_secs_f64() / 33.1).ceil() as u32
    };
    // Twice out; each healthy interval takes one back.
    assert_eq!(ejected_again_after(0.0), 3);
    assert_eq!(ejected_again_after(10.0), 2);
    assert_eq!(ejected_again_after(20.0), 1);
    assert_eq!(ejected_again_after(50.0), 1);
}

#[test]
fn ejection_survives_a_blip_of_discovery_and_ends_with_another_address() {
    let mut world = world(3);
    world.eject(0);
    world.cluster.remove(&id(0));
    world.after(3.0);
    world.cluster.insert(endpoint(0)).unwrap();
    assert_eq!(world.state(0), State::Ejected);
    let left = world.status(0).returns_in.unwrap();
    assert!(left > seconds(1.8) && left < seconds(2.6), "{left:?}");
    world.cluster.remove(&id(0));
    world.after(10.0);
    world.cluster.insert(endpoint(0)).unwrap();
    assert_eq!(world.status(0).fact(FactKind::Outlier).unwrap().value, "half_open");
    world.cluster.insert(Endpoint::new("elsewhere:80").unwrap().with_id(id(0)).unwrap()).unwrap();
    assert_eq!((world.state(0), world.status(0).ejections), (State::Up, 0));
}

#[test]
fn forgotten_endpoint_starts_over() {
    let mut world =
        World::new(Cluster::builder().forget_after(Duration::from_secs(2)), fleet(&[1, 1, 1]));
    world.eject(0);
    world.cluster.remove(&id(0));
    world.after(3.0);
    world.cluster.insert(endpoint(0)).unwrap();
    assert_eq!((world.state(0), world.status(0).requests), (State::Up, 0));
}

#[test]
fn changes_of_weight_and_labels_leave_an_ejection_alone() {
    let world = world(3);
    world.eject(0);
    world.cluster.set_weight(&id(0), 7.into()).unwrap();
    world.cluster.insert(endpoint(0).with_priority(1)).unwrap();
    assert_eq!(world.state(0), State::Ejected);
}

#[test]
fn nothing_is_judged_if_that_is_off() {
    let mut world = World::new(Cluster::builder().outlier(None), fleet(&[1, 1]));
    world.on(0, FAILED, 1_000);
    world.after(60.0);
    assert_eq!((world.state(0), world.told()), (State::Up, String::new()));
    assert_eq!(world.cluster.work_at(world.now), None);
}

#[test]
fn maintenance_pardons() {
    let mut world = world(3);
    world.eject(0);
    world.cluster.set_admin(&id(0), Admin::Maintenance, "alice").unwrap();
    let reason = world.status(0).reason().unwrap();
    assert_eq!(reason, "maintenance by alice; back by setting it to ready");
    world.cluster.set_admin(&id(0), Admin::Ready, "alice").unwrap();
    assert_eq!((world.state(0), world.status(0).reason()), (State::Up, None));
    assert_eq!(world.told(), "ejected0 maintenance0 ready0");
}

#[test]
fn endpoint_that_is_out_costs_nothing_while_it_waits() {
    let mut world = world(3);
    world.eject(0);
    world.after(6.0);
    world.after(10.1);
    // Half open, it waits for a request; there is nothing to look at meanwhile.
    assert_eq!(world.cluster.work_at(world.now + seconds(20.0)), None);
}

type Bodiless = http::Response<http_body_util::Empty<bytes::Bytes>>;
type Served = tower::util::BoxCloneSyncService<http::Request<()>, Bodiless, std::io::Error>;

/// A balance whose endpoints answer with this status, or never.
fn balance(
    len: usize,
    behave: impl Fn(usize) -> Option<u16> + Clone + Send + Sync + 'static,
) -> Balance<Served> {
    let cluster = Cluster::builder().policy(RoundRobin::new()).seed(1).connect(move |endpoint| {
        let (at, behave) = (index(endpoint.id()), behave.clone());
        let service = service_fn(move |_: http::Request<()>| {
            let status = behave(at);
            async move {
                let Some(status) = status else { return std::future::pending().await };
                let body = http_body_util::Empty::new();
                Ok(http::Response::builder().status(status).body(body).unwrap())
            }
        });
        Served::new(service)
    });
    cluster.replace(fleet(&vec![1; len])).unwrap();
    Balance::new(cluster)
}

async fn request(balance: &Balance<Served>, patience: Duration) {
    let response = balance.clone().oneshot(http::Request::new(()));
    // Whoever waits for too long drops the request.
    let _ = tokio::time::timeout(patience, response).await;
}

fn states(cluster: &Cluster<Served>) -> Vec<State> {
    cluster.status().endpoints.iter().map(|status| status.state).collect()
}

#[tokio::test(start_paused = true)]
async fn hanging_endpoint_is_ejected_by_requests_that_are_dropped() {
    let balance = balance(3, |at| (at != 1).then_some(200));
    for _ in 0..15 {
        request(&balance, seconds(1.5)).await;
    }
    tokio::time::sleep(seconds(0.02)).await;
    assert_eq!(states(balance.cluster()), [State::Up, State::Ejected, State::Up]);
    assert_eq!(balance.cluster().status().endpoints[1].failures, 5);
}

#[tokio::test(start_paused = true)]
async fn requests_dropped_early_say_nothing() {
    let balance = balance(3, |at| (at != 1).then_some(200));
    for _ in 0..60 {
        request(&balance, seconds(0.5)).await;
    }
    tokio::time::sleep(seconds(20.0)).await;
    assert_eq!(states(balance.cluster()), [State::Up; 3]);
}

#[tokio::test(start_paused = true)]
async fn ejection_trial_and_return_happen_by_themselves() {
    let sick = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_sick = sick.clone();
    let balance = balance(3, move |at| {
        Some(if at == 1 && is_sick.load(Ordering::Relaxed) { 500 } else { 200 })
    });
    let mut events = balance.cluster().subscribe();
    let patience = seconds(0.5);
    for _ in 0..15 {
        request(&balance, patience).await;
    }
    let ejected = tokio::time::timeout(seconds(1.0), events.next()).await.unwrap();
    assert!(matches!(ejected, Some(Event::Ejected { reason: Reason::ConsecutiveFailures(5), .. })));
    let status = balance.cluster().status().endpoints.remove(1);
    assert_eq!((status.state, status.failures), (State::Ejected, 5));
    let since = tokio::time::Instant::now();
    assert_eq!(events.next().await, Some(Event::HalfOpen(id(1))));
    let waited = since.elapsed();
    assert!(waited >= seconds(4.9) && waited <= seconds(5.6), "{waited:?}");
    // The next request is the trial, and it fails.
    request(&balance, patience).await;
    let Some(Event::Ejected { reason: Reason::TrialFailed, lasts, .. }) = events.next().await
    else {
        panic!("not ejected again");
    };
    assert!(lasts >= seconds(10.0) && lasts <= seconds(11.0), "{lasts:?}");
    sick.store(false, Ordering::Relaxed);
    assert_eq!(events.next().await, Some(Event::HalfOpen(id(1))));
    request(&balance, patience).await;
    assert_eq!(events.next().await, Some(Event::Returned(id(1))));
    assert_eq!(states(balance.cluster()), [State::Up; 3]);
}

/// The tasks that live: a cluster has one while it waits for a time to come.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn cluster_has_no_task_once_nothing_fails() {
    let balance = balance(3, |_| Some(200));
    for _ in 0..100 {
        request(&balance, seconds(0.5)).await;
    }
    assert_eq!(tasks(), 0, "healthy traffic needs no task");
    let cluster = balance.cluster().clone();
    let mut lease = cluster.pick_at(&preferring(0), Instant::now()).unwrap();
    lease.report(FAILED);
    drop(lease);
    tokio::time::sleep(seconds(1.0)).await;
    assert_eq!(tasks(), 1, "the detectors wait for the end of the interval");
    tokio::time::sleep(seconds(25.0)).await;
    assert_eq!(tasks(), 0, "and for nothing more");
}

/// A stream that answers 200 has passed its trial, however long its body lasts.
#[tokio::test(start_paused = true)]
async fn trial_is_passed_with_the_head_of_the_response() {
    use bytes::Bytes;
    use http::{Request, Response, StatusCode};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tower::{ServiceExt, service_fn};
    use whippletree::Balance;

    let sick = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let state = std::sync::Arc::clone(&sick);
    let cluster = Cluster::builder().connect(move |_| {
        let sick = std::sync::Arc::clone(&state);
        service_fn(move |_: Request<()>| {
            let sick = sick.load(std::sync::atomic::Ordering::Relaxed);
            let status = if sick { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
            let body =
                StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, std::io::Error>>());
            let response = Response::builder().status(status).body(body);
            async move { response }
        })
    });
    cluster.replace([endpoint(0), endpoint(1)]).unwrap();
    let balance = Balance::new(cluster.clone());
    let call = || balance.clone().oneshot(Request::new(()));
    for _ in 0..12 {
        drop(call().await);
    }
    let ejected =
        || cluster.status().endpoints.iter().filter(|at| at.state == State::Ejected).count();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(ejected(), 1, "one of two, and not the last");
    sick.store(false, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let open = call().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(ejected(), 0);
    drop(open);
}
