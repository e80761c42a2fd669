//! What is sent again, where, when, and what the caller is told.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{Empty, Full};
use tokio::time::Instant;
use tower::Layer;
use tower::retry::RetryLayer;
use whippletree::cluster::{DrainOptions, EndpointStatus, Queue};
use whippletree::failover::{
    Deadline, Failover, FailoverLayer, FailoverService, Idempotent, Replay, TryTimeoutLayer,
};
use whippletree::health::Thresholds;
use whippletree::probe::Probe;
use whippletree::{Balance, Context, EndpointId, Error};

use crate::faults::{Client, Does, Log, connect, connect_with, patient, send, text};

type Full1 = Full<Bytes>;
type Guarded = FailoverService<Balance<Client<Replay<Full1>>>>;

fn guarded(does: &[Does], failover: Failover) -> (Guarded, Balance<Client<Replay<Full1>>>, Log) {
    let (balance, log) = connect(does);
    (FailoverLayer::new(failover).layer(balance.clone()), balance, log)
}

fn request(method: Method) -> Request<Full1> {
    Request::builder().method(method).body(Full::from("payload")).unwrap()
}

fn get() -> Request<Full1> {
    request(Method::GET)
}

fn statuses<S: Send + Sync + 'static>(balance: &Balance<S>) -> Vec<EndpointStatus> {
    balance.cluster().status().endpoints
}

const OK: Does = Does::Answer(200, 0);

#[tokio::test(start_paused = true)]
async fn outcome_of_every_try_reaches_its_own_endpoint() {
    for (does, sent) in [
        (Does::Answer(503, 0), true),
        (Does::Fail(ErrorKind::ConnectionReset), true),
        (Does::Fail(ErrorKind::ConnectionRefused), true),
        (Does::Hang, true),
    ] {
        let failover = Failover::new();
        let (service, balance, log) = guarded(&[does, OK], failover.clone());
        let response = send(&service, get()).await.unwrap();
        assert_eq!(text(response).await, "b", "{does:?}");
        assert_eq!(log.names().len(), 1 + usize::from(sent), "{does:?}");
        let counts: Vec<_> = statuses(&balance)
            .iter()
            .map(|e| (e.requests, e.successes, e.failures, e.cancelled, e.in_flight))
            .collect();
        assert_eq!(counts, [(1, 0, 1, 0, 0), (1, 1, 0, 0, 0)], "{does:?}");
        let stats = failover.stats();
        assert_eq!((stats.requests, stats.retries, stats.hedges), (1, 1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_statuses_of_gateways_are_another_endpoints_chance() {
    for (status, tries) in [(500, 1), (501, 1), (502, 2), (503, 2), (504, 2), (404, 1), (429, 1)] {
        let (service, _, log) = guarded(&[Does::Answer(status, 0), OK], Failover::new());
        let response = send(&service, get()).await.unwrap();
        assert_eq!(log.names().len(), tries, "{status}");
        assert_eq!(response.status() == 200, tries == 2, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn refused_retry_passes_the_original_response_on() {
    let does = Does::Answer(503, 0);
    let (service, _, log) = guarded(&[does, OK], Failover::new());
    let response = send(&service, request(Method::POST)).await.unwrap();
    assert_eq!((response.status().as_u16(), text(response).await), (503, "a".into()));
    assert_eq!(log.names(), ["a"]);

    let response = send(&service, {
        let mut marked = request(Method::POST);
        marked.extensions_mut().insert(Idempotent);
        marked
    });
    assert_eq!(text(response.await.unwrap()).await, "b");

    let off = Failover::new().attempts(1).unwrap();
    let (service, _, _) = guarded(&[does, OK], off);
    assert_eq!(text(send(&service, get()).await.unwrap()).await, "a");

    // All fail: the last one's answer.
    let (service, _, log) = guarded(&[does; 5], Failover::new());
    assert_eq!(text(send(&service, get()).await.unwrap()).await, "c");
    assert_eq!(log.names(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_executed_is_sent_again_whatever_its_method() {
    for method in [Method::GET, Method::POST, Method::PATCH, Method::DELETE] {
        let refused = Does::Fail(ErrorKind::ConnectionRefused);
        let (service, ..) = guarded(&[refused, OK], Failover::new());
        let response = send(&service, request(method.clone())).await.unwrap();
        assert_eq!(text(response).await, "b", "{method}");

        let reset = Does::Fail(ErrorKind::ConnectionReset);
        let (service, _, log) = guarded(&[reset, OK], Failover::new());
        let result = send(&service, request(method.clone())).await;
        assert_eq!(result.is_ok(), method.is_idempotent(), "{method}");
        if let Err(error) = result {
            assert!(!error.is_not_executed());
            assert_eq!(log.names(), ["a"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn error_tells_how_many_tries_there_were_and_whether_one_may_have_been_executed() {
    let (refused, reset) =
        (Does::Fail(ErrorKind::ConnectionRefused), Does::Fail(ErrorKind::ConnectionReset));
    let fail =
        async |does: &[Does]| send(&guarded(does, Failover::new()).0, get()).await.unwrap_err();
    let error = fail(&[refused; 4]).await;
    assert_eq!(error.to_string(), "endpoint c failed, after 3 tries");
    assert!(error.is_not_executed() && error.is_service());

    let error = fail(&[reset, refused, refused]).await;
    assert!(!error.is_not_executed(), "the first try may have been executed");

    let error = fail(&[Does::Hang; 3]).await;
    assert_eq!(error.to_string(), "endpoint c did not answer within 2s, after 3 tries");
    assert!(error.is_timeout() && !error.is_not_executed());
    assert_eq!(error.endpoint().unwrap().as_str(), "c");
}

#[tokio::test(start_paused = true)]
async fn when_all_were_tried_once_more_without_the_exclusion() {
    let failing = Does::Answer(503, 0);
    let (service, balance, log) = guarded(&[failing], Failover::new());
    assert_eq!(send(&service, get()).await.unwrap().status(), 503);
    assert_eq!(log.names(), ["a", "a"]);
    assert_eq!(statuses(&balance)[0].requests, 2);

    let four = Failover::new().attempts(5).unwrap();
    let (service, _, log) = guarded(&[failing; 2], four);
    send(&service, get()).await.unwrap();
    assert_eq!(log.names(), ["a", "b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn exclusions_that_the_caller_asked_for_are_kept() {
    let (service, _, log) = guarded(&[OK, Does::Answer(503, 0)], Failover::new());
    let context = Context::new().with_exclude(EndpointId::new("a").unwrap());
    let mut request = get();
    request.extensions_mut().insert(context);
    assert_eq!(send(&service, request).await.unwrap().status(), 503);
    assert_eq!(log.names(), ["b", "b"]);
}

#[tokio::test(start_paused = true)]
async fn first_retry_is_made_at_once_and_the_second_after_a_pause() {
    let (base, longest) = (Duration::from_secs(3), Duration::from_secs(3));
    let failover = Failover::new().seed(11).backoff(base, longest);
    let (service, ..) = guarded(&[Does::Answer(503, 0); 2], failover.clone());
    let two = Failover::new().attempts(2).unwrap();
    let started = Instant::now();
    send(&guarded(&[Does::Answer(503, 0); 2], two).0, get()).await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
    send(&service, get()).await.unwrap();
    assert!(started.elapsed() > Duration::ZERO && started.elapsed() <= base);
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_asks_for_time_is_left_alone_and_others_are_asked_at_once() {
    let started = Instant::now();
    let (service, _, log) = guarded(&[Does::RetryAfter(60), OK], Failover::new());
    assert_eq!(send(&service, get()).await.unwrap().status(), 200);
    assert_eq!((log.names().len(), started.elapsed()), (2, Duration::ZERO));

    // No other: wait, if that is not too long.
    let (service, _, log) = guarded(&[Does::RetryAfter(1)], Failover::new());
    assert_eq!(send(&service, get()).await.unwrap().status(), 503);
    assert_eq!(log.names().len(), 2);
    // Tokio's timers are a millisecond late at the most.
    assert!((1000..1003).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());

    let (service, _, log) = guarded(&[Does::RetryAfter(2)], Failover::new());
    let response = send(&service, get()).await.unwrap();
    assert_eq!(response.headers()["retry-after"], "2");
    assert_eq!(log.names().len(), 1);
    assert!(started.elapsed().as_millis() < 1003);
}

#[tokio::test(start_paused = true)]
async fn in_a_panic_only_what_was_not_executed_is_sent_again() {
    for (does, tries) in [
        (Does::Answer(503, 0), 1),
        (Does::Fail(ErrorKind::ConnectionReset), 1),
        (Does::Fail(ErrorKind::ConnectionRefused), 3),
    ] {
        let (balance, log) = connect_with(patient().panic_threshold(100).unwrap(), &[does; 2]);
        let service = FailoverLayer::new(Failover::new()).layer(balance.clone());
        let probe =
            Probe::custom(|_| async { Err::<(), _>("down") }).thresholds(Thresholds::new().fall(1));
        let probes = tokio::spawn(balance.cluster().probe(probe));
        while !balance.cluster().status().panic {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let _ = send(&service, get()).await;
        assert_eq!(log.names().len(), tries, "{does:?}");
        probes.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_after_the_deadline() {
    let deadline = |after| {
        let mut request = get();
        let end = Instant::now().into_std() + Duration::from_millis(after);
        request.extensions_mut().insert(Deadline(end));
        request
    };
    let (service, _, log) = guarded(&[Does::Answer(503, 0), OK], Failover::new());
    assert_eq!(send(&service, deadline(0)).await.unwrap().status(), 503);
    assert_eq!(log.names().len(), 1);

    let (service, balance, log) = guarded(&[Does::Hang, OK], Failover::new());
    let error = send(&service, deadline(100)).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(log.names().len(), 1);
    // The caller was in a hurry: that says nothing against the endpoint.
    assert_eq!((statuses(&balance)[0].failures, statuses(&balance)[0].cancelled), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn timeout_is_a_failure_of_the_endpoint_that_did_not_answer() {
    let failover = Failover::new().per_try_timeout(Duration::from_millis(100));
    let (service, balance, _) = guarded(&[Does::Answer(200, 150), OK], failover);
    let started = Instant::now();
    assert_eq!(text(send(&service, get()).await.unwrap()).await, "b");
    assert!((100..103).contains(&started.elapsed().as_millis()));
    let a = &statuses(&balance)[0];
    assert_eq!((a.failures, a.cancelled, a.in_flight), (1, 0, 0));
    // A failure counts as the penalty at least.
    assert!(a.latency.unwrap() > Duration::from_secs(4), "{:?}", a.latency);
}

#[tokio::test(start_paused = true)]
async fn wait_in_the_queue_is_no_part_of_a_try() {
    let queue = Queue::new().timeout(Duration::from_secs(5));
    let (balance, log) = connect_with::<Replay<Full1>>(patient().queue(queue), &[Does::Hang]);
    let cluster = balance.cluster();
    let limited = cluster.status().endpoints[0].endpoint.clone().with_max_in_flight(1);
    cluster.insert(limited).unwrap();
    let service = FailoverLayer::new(Failover::new()).layer(balance.clone());
    for method in [Method::GET, Method::POST] {
        let _busy = cluster.pick(&Context::new()).unwrap();
        let started = Instant::now();
        let error = send(&service, request(method)).await.unwrap_err();
        assert!(error.is_overloaded() && error.is_not_executed(), "{error}");
        assert_eq!((started.elapsed().as_secs(), log.names().len()), (5, 0));
    }
    // Its time begins with the endpoint.
    let busy = cluster.pick(&Context::new()).unwrap();
    let waits = tokio::spawn(async move { send(&service, request(Method::POST)).await });
    tokio::time::sleep(Duration::from_millis(3500)).await;
    drop(busy);
    let started = Instant::now();
    assert!(waits.await.unwrap().unwrap_err().is_timeout());
    assert!((2000..2003).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(log.names(), ["a"]);
    assert_eq!(statuses(&balance)[0].failures, 1);
}

#[tokio::test(start_paused = true)]
async fn policy_works_in_towers_own_layer() {
    let does = [Does::Answer(503, 0), Does::Hang, OK];
    let (balance, log) = connect::<Empty<Bytes>>(&does);
    let balance = balance.tag_responses();
    let failover = Failover::new();
    let timeout = TryTimeoutLayer::new(Duration::from_millis(50)).layer(balance);
    let service = RetryLayer::new(failover.clone()).layer(timeout);
    let response = send(&service, Request::new(Empty::new())).await.unwrap();
    assert_eq!(text(response).await, "c");
    assert_eq!(log.names(), ["a", "b", "c"]);
    assert_eq!(failover.stats().retries, 2);

    // Without a window into the cluster, that all were tried is found out at the pick.
    let (balance, log) = connect::<Empty<Bytes>>(&[Does::Answer(502, 0)]);
    let balance = balance.tag_responses();
    let service = RetryLayer::new(Failover::new()).layer(balance);
    assert_eq!(send(&service, Request::new(Empty::new())).await.unwrap().status(), 502);
    assert_eq!(log.names(), ["a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn no_endpoint_is_no_try_and_told_as_it_is() {
    let (balance, _) = connect::<Replay<Full1>>(&[]);
    let balance = balance.fail_fast(Duration::ZERO);
    let failover = Failover::new();
    let error: Error =
        send(&FailoverLayer::new(failover.clone()).layer(balance), get()).await.unwrap_err();
    assert_eq!(error.to_string(), "no available endpoint: 0 known");
    assert!(error.is_not_executed());
    assert_eq!((failover.stats().requests, failover.stats().retries), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_drain_has_cut_goes_elsewhere_if_it_may_be_sent_twice() {
    for (method, does, tries) in [
        (Method::GET, &[Does::Hang, OK][..], ["a", "b"].as_slice()),
        (Method::POST, &[Does::Hang, OK], &["a"]),
        // Nobody else is there, so the error stays what it was.
        (Method::GET, &[Does::Hang], &["a"]),
    ] {
        let failover = Failover::new().per_try_timeout(None);
        let (service, balance, log) = guarded(does, failover);
        let sent = request(method);
        let sent = tokio::spawn(async move { send(&service, sent).await });
        while log.names().is_empty() {
            tokio::task::yield_now().await;
        }
        let options = DrainOptions::new().deadline(Duration::from_secs(1));
        balance.cluster().drain(&EndpointId::new("a").unwrap(), options).unwrap().await;
        let result = sent.await.unwrap();
        assert_eq!(log.names(), tries);
        match result {
            Ok(response) => assert_eq!(text(response).await, "b"),
            Err(error) => assert!(error.is_drained() && !error.is_not_executed(), "{error}"),
        }
        let in_flight: u32 = statuses(&balance).iter().map(|endpoint| endpoint.in_flight).sum();
        assert_eq!(in_flight, 0);
    }
}
