//! Two endpoints for one request: who wins, and what is left of the loser.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{Empty, Full};
use tokio::time::Instant;
use tower::Layer;
use whippletree::cluster::EndpointStatus;
use whippletree::failover::{Failover, FailoverLayer, Hedge, HedgeLayer, Replay};
use whippletree::{Balance, Cluster, Context, EndpointId};

use crate::faults::{Does, connect, connect_with, send, text};

const AFTER: Duration = Duration::from_millis(50);

fn get() -> Request<Empty<Bytes>> {
    Request::new(Empty::new())
}

fn statuses<S: Send + Sync + 'static>(balance: &Balance<S>) -> Vec<EndpointStatus> {
    balance.cluster().status().endpoints
}

fn in_flight<S: Send + Sync + 'static>(balance: &Balance<S>) -> Vec<u32> {
    statuses(balance).iter().map(|status| status.in_flight).collect()
}

/// Names of who was asked and of who answered, and the time it took in ms.
async fn hedged(does: &[Does]) -> (Vec<String>, Result<String, String>, u128) {
    let (balance, log) = connect(does);
    let layer = HedgeLayer::new(Hedge::after(AFTER));
    let started = Instant::now();
    let result = match send(&layer.layer(balance.clone()), get()).await {
        Ok(response) => Ok(text(response).await),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(in_flight(&balance).iter().sum::<u32>(), 0);
    (log.names(), result, started.elapsed().as_millis())
}

#[tokio::test(start_paused = true)]
async fn first_good_answer_wins() {
    let ok = |after| Does::Answer(200, after);
    for (does, asked, answered, took) in [
        // In time: no hedge.
        ([ok(40), ok(0)], "a", Some("a"), 40),
        // Too slow: the second wins, or the first all the same.
        ([ok(900), ok(10)], "ab", Some("b"), 60),
        ([ok(70), ok(100)], "ab", Some("a"), 70),
        ([Does::Hang, ok(10)], "ab", Some("b"), 60),
        // A bad answer of one leaves the other its chance.
        ([ok(200), Does::Answer(503, 10)], "ab", Some("a"), 200),
        ([Does::Answer(503, 70), ok(100)], "ab", Some("b"), 150),
        ([ok(200), Does::Fail(ErrorKind::ConnectionReset)], "ab", Some("a"), 200),
        // Both bad: the later one is told. Bad before the hedge: failover's business.
        ([Does::Answer(503, 70), Does::Answer(502, 100)], "ab", Some("b"), 150),
        ([Does::Fail(ErrorKind::ConnectionReset), ok(0)], "a", None, 0),
    ] {
        let (names, result, time) = hedged(&does).await;
        assert_eq!(names.concat(), asked, "{does:?}");
        assert_eq!(result.ok().as_deref(), answered, "{does:?}");
        assert!((took..took + 4).contains(&time), "{does:?}: {time} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn loser_leaves_no_trace_but_a_lower_bound() {
    let does = [Does::Answer(200, 900), Does::Answer(200, 100)];
    let (balance, _) = connect(&does);
    let service = HedgeLayer::new(Hedge::after(AFTER)).layer(balance.clone());
    let request = tokio::spawn(async move { send(&service, get()).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(in_flight(&balance), [1, 0]);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(in_flight(&balance), [1, 1]);
    let response = request.await.unwrap().unwrap();
    assert_eq!(in_flight(&balance), [0, 1], "the loser is dropped before the body is read");
    text(response).await;
    assert_eq!(in_flight(&balance), [0, 0]);

    let [a, b] = &statuses(&balance)[..] else { panic!("two endpoints") };
    assert_eq!((a.requests, a.failures, a.cancelled), (1, 0, 1));
    assert_eq!((b.requests, b.successes), (1, 1));
    // An answer would have taken longer than the 150 ms it had: no more than that is learnt.
    let (a, b) = (a.latency.unwrap().as_millis(), b.latency.unwrap().as_millis());
    assert!((145..=160).contains(&a) && (95..=110).contains(&b), "{a} {b}");
}

#[tokio::test(start_paused = true)]
async fn estimate_of_the_loser_is_not_lowered() {
    let does = [Does::Answer(200, 900), Does::Answer(200, 0)];
    let (balance, _) = connect(&does);
    // Learns 900 ms without hedges.
    send(&balance, Request::new(Replay::wrap(get(), 0).into_body())).await.unwrap();
    let before = statuses(&balance)[0].latency.unwrap();
    assert!(before.as_millis() >= 899);
    let service =
        FailoverLayer::new(Failover::new()).hedge(Hedge::after(AFTER)).layer(balance.clone());
    send(&service, get()).await.unwrap();
    let after = statuses(&balance)[0].latency.unwrap();
    // It decays with time, as ever, and that is all.
    let decay = (-0.060_f64 / 10.0).exp();
    assert!(after >= before.mul_f64(decay * 0.99), "{before:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn no_hedge_without_another_endpoint_or_for_what_is_not_idempotent() {
    let slow = Does::Answer(200, 200);
    assert_eq!(hedged(&[slow]).await.0, ["a"]);

    let (balance, log) = connect(&[slow, slow]);
    let service = HedgeLayer::new(Hedge::after(AFTER)).layer(balance);
    let post = Request::builder().method(Method::POST).body(Empty::<Bytes>::new()).unwrap();
    send(&service, post).await.unwrap();
    assert_eq!(log.names(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn body_is_sent_to_both_as_a_whole_or_not_at_all() {
    let slow = Does::Answer(200, 200);
    for (limit, asked) in [(7, 2), (6, 1)] {
        let (balance, log) = connect::<Replay<Full<Bytes>>>(&[slow, slow]);
        let failover = Failover::new().replay_limit(limit);
        let service = FailoverLayer::new(failover).hedge(Hedge::after(AFTER)).layer(balance);
        let put = Request::put("/").body(Full::from("payload")).unwrap();
        send(&service, put).await.unwrap();
        assert_eq!(log.bodies(), vec!["payload"; asked], "{limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn hedges_and_retries_are_paid_from_one_budget() {
    let does = [Does::Hang, Does::Answer(200, 0)];
    let (balance, _) = connect(&does);
    let budget = tower::retry::budget::TpsBudget::new(Duration::from_secs(10), 1, 0.0);
    let failover = Failover::new().budget(budget).per_try_timeout(Duration::from_millis(100));
    let service = FailoverLayer::new(failover.clone()).hedge(Hedge::after(AFTER)).layer(balance);
    let mut good = 0;
    for _ in 0..30 {
        good += usize::from(send(&service, get()).await.is_ok());
    }
    let stats = failover.stats();
    assert_eq!(stats.hedges + stats.retries, good as u64);
    assert_eq!(stats.hedges, stats.hedges_won);
    // Ten at the start, one per second; 20 requests without take 100 ms each.
    assert!((10..=13).contains(&good), "{stats:?}");
    assert!(stats.budget_exhausted > 0);
}

#[tokio::test(start_paused = true)]
async fn failover_does_not_go_back_to_either_of_two_hedged_endpoints() {
    let bad = Does::Answer(503, 70);
    let (balance, log) = connect(&[bad, bad, Does::Answer(200, 0)]);
    let service = FailoverLayer::new(Failover::new()).hedge(Hedge::after(AFTER)).layer(balance);
    assert_eq!(text(send(&service, get()).await.unwrap()).await, "c");
    assert_eq!(log.names(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_hangs_is_ejected_though_hedges_spare_every_request() {
    let does = [Does::Hang, Does::Answer(200, 0)];
    let (balance, log) = connect_with(Cluster::builder().panic_threshold(0).unwrap(), &does);
    let service = HedgeLayer::new(Hedge::after(AFTER)).layer(balance.clone());
    for _ in 0..40 {
        send(&service, get()).await.unwrap();
    }
    let asked = log.names().iter().filter(|name| *name == "a").count();
    // Four may be chance, five more are a row of failures, which is judged a moment later.
    assert!((9..=10).contains(&asked), "{asked}");
    assert_eq!(statuses(&balance)[0].failures, asked as u64 - 4);
    assert_eq!(statuses(&balance)[0].state.as_str(), "ejected");
}

#[tokio::test(start_paused = true)]
async fn slow_endpoint_that_answers_now_and_then_is_not_blamed_for_lost_hedges() {
    let does = [Does::Answer(200, 200), Does::Answer(200, 0)];
    let (balance, _) = connect_with(Cluster::builder().panic_threshold(0).unwrap(), &does);
    let service = HedgeLayer::new(Hedge::after(AFTER)).layer(balance.clone());
    for at in 0..40 {
        if at % 4 == 3 {
            // Nobody else to ask.
            let only = Context::new().with_exclude(EndpointId::new("b").unwrap());
            let mut request = get();
            request.extensions_mut().insert(only);
            send(&service, request).await.unwrap();
        } else {
            send(&service, get()).await.unwrap();
        }
    }
    assert_eq!(statuses(&balance)[0].failures, 0);
}

#[tokio::test(start_paused = true)]
async fn learnt_delay_hedges_what_is_slower_than_usual() {
    let does = [Does::Answer(200, 10), Does::Answer(200, 10)];
    let (balance, _) = connect(&does);
    let layer = HedgeLayer::new(Hedge::percentile(95.0).unwrap());
    let service = layer.layer(balance);
    for _ in 0..300 {
        send(&service, get()).await.unwrap();
    }
    assert_eq!(layer.stats().hedges, 0, "all are equally fast");

    let does = [Does::Answer(200, 10), Does::Answer(200, 500)];
    let (balance, _) = connect(&does);
    let service = layer.layer(balance.clone());
    let id = balance.cluster().status().endpoints[0].endpoint.id().clone();
    let mut request = get();
    let slow = Context::new().with_prefer(statuses(&balance)[1].endpoint.id().clone());
    request.extensions_mut().insert(slow);
    let started = Instant::now();
    assert_eq!(text(send(&service, request).await.unwrap()).await, id.as_str());
    assert!(started.elapsed() < Duration::from_millis(30), "{:?}", started.elapsed());
}
