//! What results lead to, under a paused clock.

use std::sync::Arc;
use std::time::Duration;

use whippletree::cluster::{Admin, State};
use whippletree::event::Event;
use whippletree::health::outlier::Outlier;
use whippletree::health::{Failure, Initial, Thresholds};
use whippletree::policy::Ranked;
use whippletree::probe::Answer;
use whippletree::{BoxError, Cluster, Context, Outcome};

use crate::script::{
    Book, INTERVAL, asking, cluster, endpoint, pass, probed, reason, settle, state,
};

#[tokio::test(start_paused = true)]
async fn an_unproven_endpoint_gets_no_request_until_one_check_has_passed() {
    let (probe, mut asked) = asking();
    let cluster = probed(probe, &["a"]);
    let check = asked.recv().await.unwrap();
    assert_eq!(state(&cluster, "a"), State::Unproven);
    let error = cluster.pick(&Context::new()).unwrap_err();
    assert_eq!(error.to_string(), "no available endpoint: 1 known, 1 not yet proven");
    check.pass();
    cluster.available().await;
    assert_eq!(state(&cluster, "a"), State::Up);
    assert!(cluster.pick(&Context::new()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_probe_counts_from_its_call_and_not_from_its_first_poll() {
    let cluster = cluster();
    let checks = cluster.probe(Book::default().probe());
    cluster.insert(endpoint("a")).unwrap();
    assert_eq!(state(&cluster, "a"), State::Unproven);
    drop(checks);
    assert_eq!(state(&cluster, "a"), State::Up, "a probe that is dropped counts no more");
}

#[tokio::test(start_paused = true)]
async fn initial_states_are_as_they_were_chosen() {
    let (probe, mut asked) = asking();
    let probe = probe.thresholds(Thresholds::new().fall(2));
    for (initial, expected) in [
        (Initial::Up, State::Up),
        (Initial::Unproven, State::Unproven),
        (Initial::Down, State::Down),
    ] {
        let cluster = probed(probe.clone().initial(initial), &["a"]);
        let check = asked.recv().await.unwrap();
        assert_eq!(state(&cluster, "a"), expected);
        check.fail();
        settle().await;
        let after = if initial == Initial::Up { State::Up } else { State::Down };
        assert_eq!(state(&cluster, "a"), after, "{initial:?}");
    }
}

/// The state after each result, `S` for passed and `F` for failed.
async fn states(initial: Initial, results: &str) -> String {
    let (probe, mut asked) = asking();
    let cluster = probed(probe.initial(initial), &["a"]);
    let mut seen = String::new();
    for result in results.chars() {
        let check = asked.recv().await.unwrap();
        if result == 'S' {
            check.pass()
        } else {
            check.fail()
        }
        settle().await;
        seen.push(if state(&cluster, "a") == State::Up { 'U' } else { 'D' });
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn verdicts_turn_by_rise_two_and_fall_three() {
    // HAProxy's integer, rise 2 fall 3: from the top 3,2,4,3,2,0; from the bottom 1,0,1,4.
    assert_eq!(states(Initial::Up, "FFSFFF").await, "UUUUUD");
    assert_eq!(states(Initial::Down, "SFSS").await, "DDDU");
    assert_eq!(states(Initial::Unproven, "SFFFSS").await, "UUUDDU");
    assert_eq!(states(Initial::Up, "FSFSFSFFSF").await, "UUUUUUUUUU");
}

#[tokio::test(start_paused = true)]
async fn a_failing_endpoint_is_out_within_the_fast_intervals_and_the_reason_is_told() {
    let book = Book::default();
    let cluster = probed(book.probe().name("health"), &["a", "b"]);
    pass(10 * INTERVAL).await;
    let mut events = cluster.subscribe();
    book.fell_ill("a");
    let before = book.checks("a");
    // One round, and two more at a fifth of it.
    pass(INTERVAL * 2).await;
    assert_eq!(state(&cluster, "a"), State::Down);
    assert!(book.checks("a") - before >= 3);
    let event = events.next().await.unwrap();
    let Event::ProbeDown { endpoint, probe, reason } = event else {
        panic!("{event:?}");
    };
    assert_eq!((endpoint.as_str(), &*probe, &*reason), ("a", "health", "ill"));
    book.recovered("a");
    pass(INTERVAL * 2).await;
    assert_eq!(state(&cluster, "a"), State::Up);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_has_failed_at_its_deadline() {
    let (probe, mut asked) = asking();
    let cluster = probed(probe.timeout(Duration::from_secs(2)), &["a"]);
    let began = tokio::time::Instant::now();
    let hanging = asked.recv().await.unwrap();
    while state(&cluster, "a") == State::Unproven {
        pass(Duration::from_millis(10)).await;
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took <= Duration::from_millis(2050), "{took:?}");
    let why = reason(&cluster, "a");
    drop(hanging);
    assert!(why.contains("no answer within 2s"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn the_timeout_is_never_above_the_interval() {
    let (probe, mut asked) = asking();
    let probe = probe.timeout(Duration::from_secs(60));
    let cluster = probed(probe, &["a"]);
    let hanging = asked.recv().await.unwrap();
    pass(INTERVAL + Duration::from_millis(50)).await;
    assert_eq!(state(&cluster, "a"), State::Down);
    drop(hanging);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_has_failed_and_the_others_go_on() {
    let probe = whippletree::probe::Probe::custom(|target| async move {
        assert!(target.endpoint().id().as_str() != "bad", "no such luck");
        Ok::<_, BoxError>(())
    });
    let cluster = probed(probe, &["bad", "good"]);
    pass(INTERVAL * 4).await;
    assert_eq!(state(&cluster, "bad"), State::Down);
    assert_eq!(state(&cluster, "good"), State::Up);
    assert_eq!(reason(&cluster, "bad"), "check panicked: no such luck");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_fires_ten_intervals_late_says_nothing() {
    let (probe, mut asked) = asking();
    let cluster = probed(probe.initial(Initial::Up).thresholds(Thresholds::new().fall(1)), &["a"]);
    let hanging = asked.recv().await.unwrap();
    // As after a paused process: all timers fire at once, much too late.
    tokio::time::advance(INTERVAL * 10).await;
    settle().await;
    assert_eq!(state(&cluster, "a"), State::Up);
    drop(hanging);
    // The next check is made as ever, and counts.
    asked.recv().await.unwrap().fail();
    settle().await;
    assert_eq!(state(&cluster, "a"), State::Down);
}

#[tokio::test(start_paused = true)]
async fn maintenance_pauses_the_checks_and_ends_unproven() {
    let (probe, mut asked) = asking();
    let cluster = probed(probe, &["a"]);
    asked.recv().await.unwrap().pass();
    settle().await;
    let id = endpoint("a").id().clone();
    cluster.set_admin(&id, Admin::Maintenance, "test").unwrap();
    settle().await;
    while asked.try_recv().is_ok() {}
    pass(INTERVAL * 20).await;
    assert!(asked.try_recv().is_err(), "a check during maintenance");

    cluster.set_admin(&id, Admin::Ready, "test").unwrap();
    assert_eq!(state(&cluster, "a"), State::Unproven);
    let check = asked.recv().await.unwrap();
    assert_eq!(state(&cluster, "a"), State::Unproven);
    check.pass();
    settle().await;
    assert_eq!(state(&cluster, "a"), State::Up);
}

#[tokio::test(start_paused = true)]
async fn what_a_check_from_before_the_maintenance_finds_says_nothing() {
    let (probe, mut asked) = asking();
    let cluster = probed(probe, &["a"]);
    let before = asked.recv().await.unwrap();
    let id = endpoint("a").id().clone();
    pass(Duration::from_millis(1)).await;
    cluster.set_admin(&id, Admin::Maintenance, "test").unwrap();
    cluster.set_admin(&id, Admin::Ready, "test").unwrap();
    let after = asked.recv().await.unwrap();
    // Its check was stopped: nobody waits for the answer.
    drop(before);
    assert_eq!(state(&cluster, "a"), State::Unproven);
    after.pass();
    settle().await;
    assert_eq!(state(&cluster, "a"), State::Up);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_asks_to_leave_is_drained_until_it_passes() {
    let (probe, mut asked) = asking();
    let cluster = probed(probe, &["a"]);
    asked.recv().await.unwrap().pass();
    let mut events = cluster.subscribe();
    asked.recv().await.unwrap().say(Ok(Answer::AsksToLeave));
    settle().await;
    assert_eq!(state(&cluster, "a"), State::Drain);
    let id = endpoint("a").id().clone();
    assert!(cluster.pick(&Context::new()).unwrap_err().is_no_endpoint());
    assert!(cluster.pick(&Context::new().with_prefer(id.clone())).is_ok());
    // A failure on the way out is no return.
    asked.recv().await.unwrap().say(Err("gone".into()));
    settle().await;
    assert_eq!(state(&cluster, "a"), State::Drain);
    asked.recv().await.unwrap().pass();
    settle().await;
    assert_eq!(state(&cluster, "a"), State::Up);
    let told = std::iter::from_fn(|| events.try_next())
        .filter(|event| matches!(event, Event::AskedToLeave { .. } | Event::Stayed { .. }));
    let probe: Arc<str> = "probe".into();
    let asked = Event::AskedToLeave { endpoint: id.clone(), probe: Arc::clone(&probe) };
    assert_eq!(told.collect::<Vec<_>>(), [asked, Event::Stayed { endpoint: id, probe }]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_adjusts_the_rank_takes_nobody_out() {
    let book = Book::default();
    let cluster = Cluster::builder().policy(Ranked::new()).connect(|_| ());
    tokio::spawn(cluster.probe(book.probe().adjust_rank(-20)));
    cluster.insert(endpoint("main").with_rank(110).unwrap()).unwrap();
    cluster.insert(endpoint("standby").with_rank(100).unwrap()).unwrap();
    let picked = || {
        let lease = cluster.pick(&Context::new()).unwrap();
        lease.endpoint().id().to_string()
    };
    assert_eq!(picked(), "main");
    book.fell_ill("main");
    pass(INTERVAL * 4).await;
    assert_eq!((state(&cluster, "main"), picked()), (State::Up, "standby".to_owned()));
    assert_eq!(crate::support::status(&cluster, "main").rank, 90);
    book.recovered("main");
    pass(INTERVAL * 4).await;
    assert_eq!(picked(), "main");
}

fn served(cluster: &Cluster<()>, id: &str, outcome: Outcome) {
    let context = Context::new().with_prefer(endpoint(id).id().clone());
    let mut lease = cluster.pick(&context).unwrap();
    lease.report(outcome);
}

#[tokio::test(start_paused = true)]
async fn live_traffic_stands_in_for_checks_if_it_is_trusted() {
    let (trusting, careful) = (Book::default(), Book::default());
    let a = probed(trusting.probe().trust_traffic(), &["busy", "idle"]);
    let b = probed(careful.probe(), &["busy"]);
    pass(INTERVAL * 4).await;
    let before = [trusting.checks("busy"), trusting.checks("idle"), careful.checks("busy")];
    for _ in 0..100 {
        served(&a, "busy", Outcome::Success);
        served(&b, "busy", Outcome::Success);
        pass(INTERVAL / 5).await;
    }
    let after = [trusting.checks("busy"), trusting.checks("idle"), careful.checks("busy")];
    assert!(after[0] - before[0] <= 1, "{before:?} {after:?}");
    assert!(after[1] - before[1] >= 18 && after[2] - before[2] >= 18, "{before:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn traffic_is_not_trusted_when_it_fails_or_when_the_endpoint_leaves() {
    let book = Book::default();
    let cluster = probed(book.probe().trust_traffic(), &["a"]);
    pass(INTERVAL * 4).await;
    let before = book.checks("a");
    for _ in 0..50 {
        served(&cluster, "a", Outcome::Success);
        served(&cluster, "a", Outcome::Failure(Failure::Server));
        pass(INTERVAL / 5).await;
    }
    assert!(book.checks("a") - before >= 8, "a failure calls for a check");

    book.wants_to_leave("a");
    pass(INTERVAL * 3).await;
    assert_eq!(state(&cluster, "a"), State::Drain);
    book.recovered("a");
    for _ in 0..10 {
        served(&cluster, "a", Outcome::Success);
        pass(INTERVAL / 5).await;
    }
    assert_eq!(state(&cluster, "a"), State::Up, "those who stay with it must not keep it out");
}

/// The known-bad one is no reason to call the others, of whom nothing is known yet, a panic.
#[tokio::test(start_paused = true)]
async fn one_that_fails_its_first_check_does_not_get_everything_while_the_others_are_checked() {
    let (probe, mut asked) = asking();
    let cluster = probed(probe, &["a", "b", "c"]);
    let mut first = Vec::new();
    for _ in 0..3 {
        first.push(asked.recv().await.unwrap());
    }
    first.remove(0).say(Err("refused".into()));
    settle().await;
    assert!(!cluster.is_available());
    let error = cluster.pick(&Context::new()).unwrap_err();
    assert_eq!(error.to_string(), "no available endpoint: 3 known, 1 down, 2 not yet proven");
    first.into_iter().for_each(crate::script::Asked::pass);
    settle().await;
    assert_eq!(cluster.status().available(), 2);
    assert!((0..100).all(|_| cluster.pick(&Context::new()).unwrap().id().as_str() != "a"));
}

/// In a panic an ejected endpoint gets requests; that they succeed is no substitute for the check
/// that lets it return.
#[tokio::test(start_paused = true)]
async fn traffic_is_not_trusted_of_an_endpoint_that_was_ejected() {
    let book = Book::default();
    let outlier = Outlier::new().max_ejection_percent(100).unwrap();
    let outlier = outlier.base_ejection_time(INTERVAL * 5);
    let cluster = Cluster::builder().seed(1).outlier(outlier).connect(|_| ());
    tokio::spawn(cluster.probe(book.probe().trust_traffic()));
    cluster.replace(["a", "b", "c"].map(endpoint)).unwrap();
    pass(INTERVAL * 4).await;
    for id in ["a", "b"] {
        (0..5).for_each(|_| served(&cluster, id, Outcome::Failure(Failure::Server)));
        settle().await;
    }
    book.fell_ill("c");
    for _ in 0..400 {
        for _ in 0..10 {
            cluster.pick(&Context::new()).unwrap().report(Outcome::Success);
        }
        pass(INTERVAL / 10).await;
    }
    assert_eq!([state(&cluster, "a"), state(&cluster, "b")], [State::Up; 2]);
}
