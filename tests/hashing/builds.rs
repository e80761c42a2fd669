//! Rings and tables are built when endpoints change, not by requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use whippletree::Outcome;
use whippletree::cluster::State;
use whippletree::health::Failure;
use whippletree::policy::{Build, Maglev, Pick, Policy};

use crate::{cluster, fleet, hashes, keyed};

/// Maglev that counts how often it is built.
#[derive(Debug)]
struct Counting(Arc<AtomicUsize>);

impl Policy for Counting {
    fn name(&self) -> &str {
        "counting"
    }

    fn keeps_unavailable(&self) -> bool {
        true
    }

    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Maglev::new().build(build)
    }
}

#[test]
fn a_whole_set_is_one_build_and_requests_are_none() {
    let builds = Arc::new(AtomicUsize::new(0));
    let endpoints = fleet(&[1; 1000]);
    let cluster = cluster(Counting(Arc::clone(&builds)), &endpoints);
    assert_eq!(builds.swap(0, Ordering::Relaxed), 1);
    for hash in hashes(10_000) {
        let mut lease = cluster.pick(&keyed(hash)).unwrap();
        lease.report(Outcome::Success);
        let excluded = keyed(hash).with_exclude(lease.id().clone());
        drop(cluster.pick(&excluded).unwrap());
    }
    assert_eq!(builds.load(Ordering::Relaxed), 0);
}

#[test]
fn an_ejection_by_requests_that_failed_builds_nothing() {
    let builds = Arc::new(AtomicUsize::new(0));
    let endpoints = fleet(&[1; 10]);
    let cluster = cluster(Counting(Arc::clone(&builds)), &endpoints);
    let before = builds.load(Ordering::Relaxed);
    for _ in 0..5 {
        cluster.pick(&keyed(7)).unwrap().report(Outcome::Failure(Failure::Connect));
    }
    let ejected = |state| state == State::Ejected;
    assert!(cluster.status().endpoints.iter().any(|endpoint| ejected(endpoint.state)));
    drop(cluster.pick(&keyed(7)).unwrap());
    assert_eq!(builds.load(Ordering::Relaxed), before);
}
