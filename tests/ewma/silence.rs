//! Endpoints that have said nothing yet, or no more.

use std::time::Duration;

use whippletree::health::Outcome;
use whippletree::policy::{LeastRequest, P2c};
use whippletree::{Context, Weight};

use crate::simulation::{Answer, Simulation, ms, success};
use crate::strict::{endpoint, hold, id, index};

fn last_takes_500_ms(at: usize, _: Duration) -> Answer {
    success(if at == 5 { ms(500) } else { ms(20) })
}

fn all_take_20_ms(_: usize, _: Duration) -> Answer {
    success(ms(20))
}

#[test]
fn unmeasured_endpoint_gets_one_request_at_a_time() {
    for weight in [1, 10, 100] {
        let mut simulation =
            Simulation::latency_aware(LeastRequest::new(), 1, &[1; 5], last_takes_500_ms);
        simulation.run(ms(2), ms(1_000));
        simulation.cluster.insert(endpoint(5).with_weight(weight)).unwrap();
        let joined = ms(1_000);
        // At 500 requests a second.
        simulation.run(ms(2), ms(498));
        assert_eq!(simulation.share_since(joined, 5).0, 1, "weight {weight}");
    }
}

fn slow_but_for_the_last(at: usize, _: Duration) -> Answer {
    if at == 5 { Answer::Never } else { success(ms(1_000)) }
}

/// However heavy the newcomer and however slow the others are.
#[test]
fn unmeasured_endpoint_of_great_weight_gets_one_request_at_a_time_too() {
    let mut simulation =
        Simulation::latency_aware(LeastRequest::new(), 1, &[1; 5], slow_but_for_the_last);
    simulation.run(ms(500), ms(10_000));
    simulation.cluster.insert(endpoint(5).with_weight(65_535)).unwrap();
    simulation.run(ms(500), ms(10_000));
    assert_eq!(simulation.share_since(ms(10_000), 5).0, 1);
}

#[test]
fn newcomer_gets_its_share_once_it_has_answered() {
    let mut simulation = Simulation::latency_aware(P2c::new(), 1, &[1; 5], all_take_20_ms);
    simulation.run(ms(2), ms(1_000));
    simulation.cluster.insert(endpoint(5)).unwrap();
    simulation.run(ms(2), ms(4_000));
    let (got, all) = simulation.share_since(ms(1_000), 5);
    assert!(got * 12 >= all && got * 3 <= all, "{got} of {all}, a sixth would be fair");
}

/// A cold start: nobody is measured, and every request must go somewhere.
#[test]
fn cold_fleet_shares_from_the_first_request_on() {
    let mut simulation = Simulation::latency_aware(P2c::new(), 1, &[1; 10], all_take_20_ms);
    for _ in 0..1_000 {
        simulation.send();
    }
    for endpoint in simulation.cluster.status().endpoints {
        assert!((90..=110).contains(&endpoint.in_flight), "{}", endpoint.in_flight);
    }
}

fn first_hangs_from_1_s_on(at: usize, now: Duration) -> Answer {
    if at == 0 && now >= ms(1_000) { Answer::Never } else { success(ms(20)) }
}

/// servicetalk#2833. Of 500 requests a second it gets few before the others' latency has passed,
/// and then hardly any: its cost is its silence times what it owes.
#[test]
fn hanging_endpoint_grows_expensive_before_any_answer_or_timeout() {
    for seed in 0..3 {
        let mut simulation =
            Simulation::latency_aware(P2c::new(), seed, &[1; 5], first_hangs_from_1_s_on);
        simulation.run(ms(2), ms(6_000));
        let (got, _) = simulation.share_since(ms(1_000), 0);
        assert!((1..=10).contains(&got), "{got} of 2500 requests");
        let (got, _) = simulation.share_since(ms(1_100), 0);
        assert!(got <= 1, "{got} requests after 100 ms of silence");
    }
}

fn first_hangs_and_callers_give_up(at: usize, now: Duration) -> Answer {
    if at == 0 && now >= ms(1_000) { Answer::GivenUpAfter(ms(1_000)) } else { success(ms(20)) }
}

/// A request that was given up after a second proves that its answer takes longer than that. With
/// little traffic, where one request is over before the next one begins, nothing else tells.
#[test]
fn hanging_endpoint_whose_callers_give_up_gets_no_more_than_its_share() {
    for n in [2, 5] {
        let mut simulation =
            Simulation::latency_aware(P2c::new(), 1, &vec![1; n], first_hangs_and_callers_give_up);
        simulation.run(ms(25), ms(1_000));
        simulation.run(ms(2_000), ms(400_000));
        let (got, all) = simulation.share_since(ms(1_000), 0);
        assert!(got * n <= all, "{got} of {all} requests with {n} endpoints");
    }
}

fn new_one_hangs_and_callers_give_up(at: usize, _: Duration) -> Answer {
    if at == 0 { Answer::GivenUpAfter(ms(1_000)) } else { success(ms(20)) }
}

#[test]
fn endpoint_that_never_answers_gets_no_more_than_its_share() {
    for n in [2, 5] {
        let mut simulation = Simulation::latency_aware(
            P2c::new(),
            1,
            &vec![1; n],
            new_one_hangs_and_callers_give_up,
        );
        simulation.run(ms(2_000), ms(400_000));
        let (got, all) = simulation.share_since(Duration::ZERO, 0);
        assert!(got * n <= all, "{got} of {all} requests with {n} endpoints");
    }
}

/// The response head is there, the body goes on for an hour: that is one request in flight, and
/// no silence.
#[test]
fn long_lived_stream_is_not_penalised() {
    let simulation = Simulation::latency_aware(LeastRequest::new(), 1, &[1; 2], all_take_20_ms);
    let cluster = &simulation.cluster;
    let begin = simulation.now();
    let on = |at| Context::new().with_prefer(id(at));
    let mut stream = cluster.pick_at(&on(0), begin).unwrap();
    stream.report_at(Outcome::Success, begin + ms(20));
    // The other one is three times as slow.
    let mut other = cluster.pick_at(&on(1), begin).unwrap();
    other.report_at(Outcome::Success, begin + ms(60));
    drop(other);
    for minute in 1..=60 {
        // Two in flight on the streaming one cost 40 ms against 60 ms.
        let now = begin + Duration::from_secs(60 * minute);
        let lease = cluster.pick_at(&Context::new(), now).unwrap();
        assert_eq!(index(lease.id()), 0, "after {minute} minutes");
        let mut lease = lease;
        lease.report_at(Outcome::Success, now + ms(20));
        let mut other = cluster.pick_at(&on(1), now).unwrap();
        other.report_at(Outcome::Success, now + ms(60));
    }
    drop(stream);
}

/// Streams that go on are no debt even while new requests come and are answered.
#[test]
fn many_streams_cost_what_they_are_requests() {
    let simulation = Simulation::latency_aware(LeastRequest::new(), 1, &[1; 2], all_take_20_ms);
    let cluster = &simulation.cluster;
    let begin = simulation.now();
    let mut streams = hold(cluster, &[4, 9]);
    for stream in &mut streams {
        stream.report_at(Outcome::Success, begin + Duration::from_secs(20));
    }
    cluster.set_weight(&id(0), Weight::from(1)).unwrap();
    let lease = cluster.pick_at(&Context::new(), begin + Duration::from_secs(3_600)).unwrap();
    // Both took as long; nine cost more than four.
    assert_eq!(index(lease.id()), 0);
    drop(streams);
}
