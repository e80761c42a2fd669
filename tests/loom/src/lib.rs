//! Every interleaving of picks, lease ends and publications, explored by loom.
//!
//! ```text
//! RUSTFLAGS="--cfg whippletree_loom" cargo test -p whippletree-loom
//! ```
//!
//! The cluster's counters are loom's atomics and its publication is a lock that loom knows; see
//! `src/sync.rs`. Each model has a twin with the bug that it is there to catch, which must fail.
#![cfg(all(test, whippletree_loom))]

mod line;

use std::time::{Duration, Instant};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use whippletree::cluster::DrainOptions;
use whippletree::health::Failure;
use whippletree::health::outlier::Outlier;
use whippletree::{Cluster, Context, Endpoint, Outcome, Weight};

fn endpoint(address: &str) -> Endpoint {
    Endpoint::new(address).unwrap()
}

fn cluster(addresses: &[&str]) -> Cluster<()> {
    let cluster = Cluster::builder().seed(7).connect(|_| ());
    cluster.replace(addresses.iter().map(|address| endpoint(address))).unwrap();
    cluster
}

fn in_flight(cluster: &Cluster<()>) -> u32 {
    cluster.status().endpoints.iter().map(|endpoint| endpoint.in_flight).sum()
}

#[test]
fn leases_of_two_threads_are_counted_in_and_out() {
    loom::model(|| {
        let cluster = cluster(&["a:1"]);
        let other = cluster.clone();
        let picker = thread::spawn(move || {
            let mut lease = other.pick(&Context::new()).unwrap();
            lease.report(Outcome::Success);
        });
        drop(cluster.pick(&Context::new()).unwrap());
        picker.join().unwrap();
        let status = &cluster.status().endpoints[0];
        assert_eq!((status.in_flight, status.requests), (0, 2));
        assert_eq!((status.successes, status.cancelled), (1, 1));
    });
}

#[test]
#[should_panic(expected = "a request was lost")]
fn twin_a_counter_that_loads_and_stores_loses_a_request() {
    loom::model(|| {
        let counter = Arc::new(AtomicU64::new(0));
        let begin = |counter: &AtomicU64| {
            let before = counter.load(Ordering::Relaxed);
            counter.store(before + 1, Ordering::Relaxed);
        };
        let other = counter.clone();
        let picker = thread::spawn(move || begin(&other));
        begin(&counter);
        picker.join().unwrap();
        assert_eq!(counter.load(Ordering::Relaxed), 2, "a request was lost");
    });
}

#[test]
fn a_pick_sees_the_set_before_a_change_or_after_it() {
    loom::model(|| {
        let cluster = cluster(&["a:1", "b:1"]);
        let other = cluster.clone();
        let writer = thread::spawn(move || other.replace([endpoint("c:1")]).unwrap());
        let first = cluster.pick(&Context::new()).unwrap();
        let second = cluster.pick(&Context::new()).unwrap();
        let replaced = |id: &str| id == "c:1";
        let (one, two) = (first.id().as_str(), second.id().as_str());
        // Once the new set was seen, the old one does not come back.
        assert!(!replaced(one) || replaced(two), "{one}, then {two}");
        // Of the old set the second pick took the lighter one, not the one that has a request.
        assert!(replaced(two) || one != two, "{one}, then {two}");
        writer.join().unwrap();
        assert_eq!(cluster.pick(&Context::new()).unwrap().id().as_str(), "c:1");
        drop((first, second));
        assert_eq!(in_flight(&cluster), 0);
    });
}

#[test]
#[should_panic(expected = "an index of one set was used in the other")]
fn twin_two_stores_show_a_mixture() {
    loom::model(|| {
        let length = Arc::new(AtomicU64::new(2));
        let picker = Arc::new(AtomicU64::new(2));
        let (its_length, its_picker) = (length.clone(), picker.clone());
        let writer = thread::spawn(move || {
            its_length.store(1, Ordering::SeqCst);
            its_picker.store(1, Ordering::SeqCst);
        });
        let index = picker.load(Ordering::SeqCst) - 1;
        let len = length.load(Ordering::SeqCst);
        assert!(index < len, "an index of one set was used in the other");
        writer.join().unwrap();
    });
}

#[test]
fn removal_during_a_request_leaves_its_count_right_and_the_endpoint_unpicked() {
    loom::model(|| {
        let cluster = cluster(&["a:1", "b:1"]);
        let other = cluster.clone();
        let gone = endpoint("a:1").id().clone();
        let removed = gone.clone();
        let remover = thread::spawn(move || assert!(other.remove(&removed)));
        drop(cluster.pick(&Context::new()).unwrap());
        remover.join().unwrap();
        assert_ne!(cluster.pick(&Context::new()).unwrap().id(), &gone);
        // Back within its time it is the same endpoint, and nothing is in flight on it.
        cluster.insert(endpoint("a:1")).unwrap();
        assert_eq!(in_flight(&cluster), 0);
    });
}

#[test]
fn two_writers_lose_neither_change() {
    loom::model(|| {
        let cluster = cluster(&["a:1"]);
        let other = cluster.clone();
        let inserter = thread::spawn(move || other.insert(endpoint("b:1")).unwrap());
        let id = endpoint("a:1").id().clone();
        cluster.set_weight(&id, Weight::from(5)).unwrap();
        inserter.join().unwrap();
        let status = cluster.status();
        assert_eq!(status.endpoints.len(), 2);
        assert_eq!(status.endpoints[0].endpoint.weight(), Weight::from(5));
    });
}

#[test]
fn ejected_endpoint_gets_one_request_on_trial() {
    loom::model(|| {
        let cluster = half_open();
        let other = cluster.clone();
        let on_trial = |cluster: &Cluster<()>| {
            let lease = cluster.pick(&Context::new()).unwrap();
            (lease.id().as_str() == "a:1").then_some(lease)
        };
        let picker = thread::spawn(move || on_trial(&other));
        let mine = on_trial(&cluster);
        let theirs = picker.join().unwrap();
        assert!(mine.is_none() || theirs.is_none(), "two requests on trial");
        let mut trial = mine.or(theirs).expect("one of them makes the trial");
        trial.report(Outcome::Success);
        drop(trial);
        assert!(cluster.status().endpoints[0].reason().is_none());
    });
}

/// A trial that ends while another thread picks: its place goes to nobody or to that one.
#[test]
fn failed_trial_lets_no_second_one_through_once_it_is_judged() {
    loom::model(|| {
        let cluster = half_open();
        let mut trial = cluster.pick(&Context::new()).unwrap();
        assert_eq!(trial.id().as_str(), "a:1");
        let other = cluster.clone();
        let picker = thread::spawn(move || drop(other.pick(&Context::new()).unwrap()));
        trial.report(Outcome::Failure(Failure::Other));
        drop(trial);
        assert_eq!(cluster.pick(&Context::new()).unwrap().id().as_str(), "b:1");
        picker.join().unwrap();
        assert_eq!(in_flight(&cluster), 0);
        assert_eq!(cluster.status().endpoints[0].ejections, 2);
    });
}

/// Every interleaving with up to three preemptions: a drain takes the control lock so often that all of
/// them would take hours.
fn bounded(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// The last lease ends while a drain begins: one of them sees the other.
#[test]
fn wake_up_of_a_drain_is_never_lost() {
    bounded(|| {
        let cluster = cluster(&["a:1"]);
        let lease = cluster.pick(&Context::new()).unwrap();
        let ender = thread::spawn(move || drop(lease));
        let id = endpoint("a:1").id().clone();
        let drain = cluster.drain(&id, DrainOptions::new()).unwrap();
        ender.join().unwrap();
        assert!(drain.report().is_some_and(|report| report.is_empty()), "the wake-up was lost");
    });
}

/// A pick that goes on while a drain begins: it is waited for, or goes nowhere.
#[test]
fn drained_endpoint_gets_no_request_after_its_drain_is_over() {
    bounded(|| {
        let cluster = cluster(&["a:1"]);
        let other = cluster.clone();
        let picker = thread::spawn(move || other.pick(&Context::new()).ok());
        let id = endpoint("a:1").id().clone();
        let drain = cluster.drain(&id, DrainOptions::new()).unwrap();
        let over = drain.report().is_some();
        let lease = picker.join().unwrap();
        assert!(!(over && lease.is_some()), "a request begins on an empty endpoint");
        drop(lease);
        assert!(drain.report().is_some());
    });
}

#[test]
#[should_panic(expected = "the wake-up was lost")]
fn twin_a_flag_beside_the_count_loses_the_wake_up() {
    loom::model(|| {
        let (count, watched) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(0)));
        let told = Arc::new(AtomicU64::new(0));
        let (its_count, its_watched, its_told) = (count.clone(), watched.clone(), told.clone());
        let ender = thread::spawn(move || {
            // The flag is looked at before the count falls.
            let is_watched = its_watched.load(Ordering::SeqCst) == 1;
            if its_count.fetch_sub(1, Ordering::SeqCst) == 1 && is_watched {
                its_told.store(1, Ordering::SeqCst);
            }
        });
        watched.store(1, Ordering::SeqCst);
        let over = count.load(Ordering::SeqCst) == 0;
        ender.join().unwrap();
        assert!(over || told.load(Ordering::SeqCst) == 1, "the wake-up was lost");
    });
}

/// Two endpoints, of which the first was ejected and waits for its trial.
fn half_open() -> Cluster<()> {
    let outlier = Outlier::new().consecutive_failures(1);
    let cluster = Cluster::builder().seed(7).outlier(outlier).connect(|_| ());
    cluster.replace(["a:1", "b:1"].map(endpoint)).unwrap();
    let first = Context::new().with_exclude(endpoint("b:1").id().clone());
    cluster.pick(&first).unwrap().report(Outcome::Failure(Failure::Other));
    cluster.work_at(Instant::now() + Duration::from_secs(6));
    assert_eq!(cluster.status().endpoints[0].ejections, 1);
    cluster
}

#[test]
#[should_panic(expected = "two requests on trial")]
fn twin_a_slot_that_is_looked_at_and_then_taken_is_taken_twice() {
    loom::model(|| {
        let slot = Arc::new(AtomicU64::new(0));
        let take = |slot: &AtomicU64| {
            let free = slot.load(Ordering::Acquire) == 0;
            if free {
                slot.store(1, Ordering::Release);
            }
            free
        };
        let other = slot.clone();
        let picker = thread::spawn(move || take(&other));
        let mine = take(&slot);
        let theirs = picker.join().unwrap();
        assert!(!(mine && theirs), "two requests on trial");
    });
}
