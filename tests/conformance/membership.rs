//! Endpoints that come and go under traffic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use whippletree::event::Event;
use whippletree::{Cluster, Context, Endpoint};

use crate::strict::{
    Case, Seed, cases, endpoint, excluding, fleet, id, in_flight, index, preferring,
};

#[test]
fn removed_endpoint_gets_no_pick() {
    for case in cases() {
        let cluster = case.cluster(&fleet(&[1, 5, 1, 1]));
        let lease = cluster.pick(&preferring(1)).unwrap();
        assert!(cluster.remove(&id(1)));
        for _ in 0..300 {
            assert_ne!(cluster.pick(&Context::new()).unwrap().id(), &id(1));
            assert_ne!(cluster.pick(&preferring(1)).unwrap().id(), &id(1));
            assert_ne!(cluster.pick(&excluding([0, 2])).unwrap().id(), &id(1));
        }
        // Its request goes on.
        assert_eq!(lease.id(), &id(1));
        drop(lease);
        cluster.insert(endpoint(1)).unwrap();
        let back = &cluster.status().endpoints[1];
        assert_eq!((back.in_flight, back.requests), (0, 1));
    }
}

/// A cluster whose payloads are the ids of their endpoints.
fn named(case: &Case, weights: &[u16]) -> Cluster<String> {
    let builder = Cluster::builder().policy(std::sync::Arc::clone(&case.policy)).cost(case.cost);
    let cluster = builder.seed(case.seed).event_capacity(1 << 16).connect(|at| at.id().to_string());
    cluster.replace(fleet(weights)).unwrap();
    cluster
}

#[test]
fn storm_of_changes_never_mixes_endpoints_up() {
    for case in cases() {
        let cluster = named(&case, &[1, 2]);
        let over = AtomicBool::new(false);
        let request = |own: &mut Seed| {
            let context = match own.below(4) {
                0 => excluding([0]),
                1 => preferring(own.below(8)),
                _ => Context::new(),
            };
            // Endpoints 0 and 1 stay and always have a weight: there is always one to pick.
            let lease = cluster.pick(&context).unwrap();
            assert_eq!(lease.service(), lease.id().as_str());
            assert!(index(lease.id()) < 8);
            lease
        };
        thread::scope(|scope| {
            for seed in 0..2 {
                let over = &over;
                scope.spawn(move || {
                    let mut own = Seed(seed);
                    let mut held: Vec<_> = (0..16).map(|_| request(&mut own)).collect();
                    while !over.load(Ordering::Relaxed) {
                        let at = own.below(held.len());
                        held[at] = request(&mut own);
                    }
                });
            }
            let mut own = Seed(2);
            for _ in 0..1_500 {
                let at = 2 + own.below(6);
                match own.below(3) {
                    0 => drop(cluster.remove(&id(at))),
                    _ => {
                        let weight = own.below(4) as u16;
                        let priority = own.below(2) as u32;
                        let changed = endpoint(at).with_weight(weight).with_priority(priority);
                        cluster.insert(changed).unwrap();
                    }
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        cluster.replace(fleet(&[1; 8])).unwrap();
        assert_eq!(cluster.len(), 8);
        assert_eq!(in_flight(&cluster), 0);
    }
}

/// Who keeps a list by the events must end with the cluster's own.
#[test]
fn events_of_two_writers_come_in_the_order_of_the_changes() {
    let case = cases().next().unwrap();
    let cluster = named(&case, &[]);
    let mut events = cluster.subscribe();
    thread::scope(|scope| {
        for seed in 0..2 {
            let cluster = &cluster;
            scope.spawn(move || {
                let mut own = Seed(seed);
                for _ in 0..8_000 {
                    match own.below(2) {
                        0 => drop(cluster.remove(&id(0))),
                        _ => cluster.insert(endpoint(0)).unwrap(),
                    }
                }
            });
        }
    });
    let mut present = false;
    while let Some(event) = events.try_next() {
        let added = match event {
            Event::Added(_) => true,
            Event::Removed(_) => false,
            // The only one comes and goes, and with it who serves.
            Event::TierSwitched { to, .. } => {
                assert_eq!(to.is_some(), present);
                continue;
            }
            other => panic!("{other}"),
        };
        assert_ne!(added, present, "told twice in a row");
        present = added;
    }
    assert_eq!(present, cluster.len() == 1);
}

/// Two sources list an id at different addresses; the one that spoke last leaves.
#[test]
fn address_that_nobody_lists_any_more_is_left_when_the_other_source_speaks_again() {
    let connects = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&connects);
    let cluster = Cluster::builder().connect(move |at| {
        counted.fetch_add(1, Ordering::Relaxed);
        at.address().to_string()
    });
    let at = |address: &str| [Endpoint::new(address).unwrap().with_id("x").unwrap()];
    cluster.replace(at("old:1")).unwrap();
    let other = cluster.source("other");
    other.replace(at("new:1")).unwrap();
    other.replace([]).unwrap();
    for _ in 0..3 {
        cluster.replace(at("old:1")).unwrap();
    }
    let lease = cluster.pick(&Context::new()).unwrap();
    assert_eq!(lease.service(), "old:1", "no source lists new:1");
    let connects = connects.load(Ordering::Relaxed);
    assert!(connects <= 3, "{connects} payloads were made");
}
