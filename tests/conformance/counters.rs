//! What is counted, and how it survives changes.

use std::sync::Barrier;
use std::thread;

use whippletree::endpoint::Subset;
use whippletree::health::{Failure, Outcome};
use whippletree::{Cluster, Context, Weight};

use crate::strict::{Case, cases, endpoint, face, fleet, id, in_flight, index};

/// Each of two threads makes so many picks and holds them.
const HELD: usize = 6_000;

#[test]
fn two_threads_on_one_cluster_share_as_the_weights_say() {
    for case in cases().filter(Case::spreads) {
        let weights = [1, 2, 3];
        let cluster = case.cluster(&fleet(&weights));
        let start = Barrier::new(2);
        let picks = || {
            start.wait();
            (0..HELD).map(|_| cluster.pick(&Context::new()).unwrap()).collect::<Vec<_>>()
        };
        let leases = thread::scope(|scope| {
            let threads = [scope.spawn(picks), scope.spawn(picks)];
            threads.map(|thread| thread.join().unwrap())
        });
        for (at, weight) in weights.iter().enumerate() {
            let got = leases.iter().flatten().filter(|lease| index(lease.id()) == at).count();
            let want = 2 * HELD * usize::from(*weight) / 6;
            // Five standard deviations of a random draw, the loosest of the policies.
            let off = got.abs_diff(want) as f64;
            assert!(off <= 5.0 * (want as f64).sqrt(), "{got} for {at}, expected {want}");
        }
        assert_eq!(in_flight(&cluster), 2 * HELD as u32);
        drop(leases);
        assert_eq!(in_flight(&cluster), 0);
    }
}

#[test]
fn leases_end_at_0_however_they_end() {
    for case in cases() {
        let cluster = case.cluster(&fleet(&[3, 1, 1, 1]));
        let mut leases: Vec<_> = (0..100).map(|_| cluster.pick(&Context::new()).unwrap()).collect();
        for (at, lease) in leases.iter_mut().enumerate() {
            match at % 5 {
                0 => lease.report(Outcome::Success),
                1 => lease.report(Outcome::Failure(Failure::Timeout)),
                2 => lease.report(Outcome::Ignored),
                3 => {
                    lease.report(Outcome::Success);
                    lease.report(Outcome::Failure(Failure::Body));
                }
                _ => {}
            }
        }
        assert_eq!(in_flight(&cluster), 100);
        // A thread that panics with leases in its hands ends them too.
        let odd: Vec<_> = leases.split_off(37);
        let panicked = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _odd = odd;
                    std::panic::resume_unwind(Box::new("with leases"));
                })
                .join()
        });
        assert!(panicked.is_err());
        assert_eq!(in_flight(&cluster), 37);
        drop(leases);
        let endpoints = cluster.status().endpoints;
        let sum = |count: fn(&whippletree::cluster::EndpointStatus) -> u64| -> u64 {
            endpoints.iter().map(count).sum()
        };
        assert_eq!(sum(|endpoint| endpoint.in_flight.into()), 0);
        assert_eq!(sum(|endpoint| endpoint.requests), 100);
        assert_eq!(sum(|endpoint| endpoint.successes), 20);
        assert_eq!(sum(|endpoint| endpoint.failures), 40);
        assert_eq!(sum(|endpoint| endpoint.ignored), 20);
        assert_eq!(sum(|endpoint| endpoint.cancelled), 20);
    }
}

fn counts(cluster: &Cluster<()>) -> Vec<[u64; 3]> {
    let endpoints = cluster.status().endpoints.into_iter();
    endpoints
        .map(|endpoint| [endpoint.in_flight.into(), endpoint.requests, endpoint.successes])
        .collect()
}

#[test]
fn changes_of_weight_label_priority_or_locality_keep_in_flight_and_counters() {
    for case in cases() {
        let cluster = case.cluster(&fleet(&[1, 1, 1]));
        let mut leases: Vec<_> = (0..30).map(|_| cluster.pick(&Context::new()).unwrap()).collect();
        leases.iter_mut().step_by(2).for_each(|lease| lease.report(Outcome::Success));
        leases.truncate(20);
        let before = counts(&cluster);

        cluster.set_weight(&id(0), Weight::from(9)).unwrap();
        cluster.insert(endpoint(1).with_label("version", "2")).unwrap();
        let locality = whippletree::endpoint::Locality::new("eu", "b");
        cluster.insert(endpoint(2).with_priority(4).with_locality(locality)).unwrap();
        assert_eq!(counts(&cluster), before);
        let latest = cluster.status().endpoints[1].endpoint.labels().get("version").map(str::len);
        assert_eq!(latest, Some(1));

        // Even gone and back, within `forget_after`.
        assert!(cluster.remove(&id(1)));
        assert!(cluster.remove(&id(2)));
        cluster.replace(fleet(&[1, 2, 3])).unwrap();
        assert_eq!(counts(&cluster), before);
        drop(leases);
        assert_eq!(in_flight(&cluster), 0);
    }
}

#[test]
fn naming_a_subset_changes_nothing_but_what_is_prepared() {
    for case in cases() {
        let cluster = case.cluster(&fleet(&[1, 2, 3]));
        let _lease = cluster.pick(&Context::new()).unwrap();
        let before = face(&cluster);
        let mut events = cluster.subscribe();
        // More than are kept prepared, so that some are prepared again.
        for name in (0..100).chain(0..100) {
            let subset = Subset::new([("name", name.to_string())]);
            let error = cluster.pick(&Context::new().with_subset(subset)).unwrap_err();
            assert!(error.is_no_endpoint());
        }
        assert_eq!(face(&cluster), before);
        assert_eq!(events.try_next(), None);
    }
}
