//! No endpoint ever has more than its limit, whoever picks, and no slot is left unused.

use std::time::{Duration, Instant};

use whippletree::endpoint::Subset;
use whippletree::health::SlowStart;
use whippletree::policy::{Build, Candidates, Pick, Policy, Ranked};
use whippletree::{Cluster, Context};

use crate::strict::{cases, endpoint, excluding, in_flight, index, preferring};
use crate::{fill, limited};

fn counts(cluster: &Cluster<()>) -> Vec<u32> {
    cluster.status().endpoints.iter().map(|status| status.in_flight).collect()
}

#[test]
fn every_policy_fills_every_endpoint_to_its_limit_and_no_further() {
    for case in cases().filter(|case| case.spreads()) {
        let cluster = case.cluster(&limited(&[3, 1, 5, 2]));
        for keyed in [false, true] {
            let context = |key| match keyed {
                true => Context::new().with_hash(key),
                false => Context::new(),
            };
            let picks = (0..20).map(|key| cluster.pick(&context(key)));
            let (leases, errors): (Vec<_>, Vec<_>) = picks.partition(Result::is_ok);
            assert_eq!(counts(&cluster), [3, 1, 5, 2], "{case:?}");
            for error in errors.into_iter().map(|error| error.unwrap_err()) {
                assert!(error.is_overloaded() && !error.is_no_endpoint() && !error.is_timeout());
                assert_eq!(error.to_string(), "overloaded: 4 endpoints, all at their limit");
            }
            drop(leases);
            assert_eq!(in_flight(&cluster), 0);
        }
    }
}

#[test]
fn freed_slot_is_the_one_that_is_picked() {
    for case in cases().filter(|case| case.spreads()) {
        let cluster = case.cluster(&limited(&[2, 2, 2]));
        for (round, key) in (0..60).enumerate() {
            let mut leases = fill(&cluster);
            assert_eq!(leases.len(), 6);
            let freed = leases.remove(round % 6);
            let at = index(freed.id());
            drop(freed);
            let lease = cluster.pick(&Context::new().with_hash(key)).unwrap();
            assert_eq!(index(lease.id()), at, "{case:?}");
        }
    }
}

#[test]
fn key_of_a_full_endpoint_goes_where_it_would_if_that_were_excluded() {
    for case in cases().filter(|case| matches!(case.policy.name(), "ring_hash" | "maglev")) {
        let cluster = case.cluster(&limited(&[1, 0, 0, 0, 0]));
        let next = |key| {
            let context = excluding([0]).with_hash(key);
            index(cluster.pick(&context).unwrap().id())
        };
        let full = cluster.pick(&preferring(0)).unwrap();
        for key in (0..200).map(|key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let lease = cluster.pick(&Context::new().with_hash(key)).unwrap();
            assert_eq!(index(lease.id()), next(key), "{case:?} {key}");
        }
        drop(full);
    }
}

#[test]
fn unlimited_endpoints_beside_limited_ones_take_the_rest() {
    for case in cases().filter(|case| case.spreads()) {
        let cluster = case.cluster(&limited(&[1, 0, 1]));
        let leases: Vec<_> = (0..50).map(|_| cluster.pick(&Context::new()).unwrap()).collect();
        let counts = counts(&cluster);
        assert!(counts[0] <= 1 && counts[2] <= 1, "{case:?} {counts:?}");
        drop(leases);
    }
}

#[test]
fn preferred_endpoint_that_is_full_is_passed_over() {
    let cluster = Cluster::builder().seed(1).connect(|_| ());
    cluster.replace(limited(&[1, 1])).unwrap();
    let first = cluster.pick(&preferring(0)).unwrap();
    let second = cluster.pick(&preferring(0)).unwrap();
    assert_eq!([index(first.id()), index(second.id())], [0, 1]);
    assert!(cluster.pick(&preferring(0)).unwrap_err().is_overloaded());
    // Also one of weight 0, which nothing but a preference reaches.
    cluster.insert(endpoint(2).with_weight(0).with_max_in_flight(1)).unwrap();
    let third = cluster.pick(&preferring(2)).unwrap();
    assert_eq!(index(third.id()), 2);
    assert!(cluster.pick(&preferring(2)).is_err());
}

#[test]
fn who_excludes_all_but_full_endpoints_is_told_of_overload_and_else_of_exclusion() {
    let cluster = Cluster::builder().seed(1).connect(|_| ());
    cluster.replace(limited(&[1, 0])).unwrap();
    let _full = cluster.pick(&preferring(0)).unwrap();
    let error = cluster.pick(&excluding([1])).unwrap_err();
    assert_eq!(error.to_string(), "overloaded: 1 endpoint, at its limit");
    let error = cluster.pick(&excluding([0, 1])).unwrap_err();
    assert!(error.is_no_endpoint() && !error.is_overloaded(), "{error}");
}

#[test]
fn next_tier_takes_what_the_first_has_no_room_for() {
    let cluster = Cluster::builder().seed(1).connect(|_| ());
    let backup = endpoint(1).with_priority(1).with_max_in_flight(1);
    cluster.replace([endpoint(0).with_max_in_flight(2), backup]).unwrap();
    let leases: Vec<_> = (0..3).map(|_| cluster.pick(&Context::new()).unwrap()).collect();
    assert_eq!(leases.iter().map(|lease| index(lease.id())).collect::<Vec<_>>(), [0, 0, 1]);
    assert!(cluster.pick(&Context::new()).unwrap_err().is_overloaded());
}

#[test]
fn standby_does_not_serve_because_the_active_one_is_full() {
    let cluster = Cluster::builder().policy(Ranked::new()).connect(|_| ());
    cluster.replace(limited(&[1, 1])).unwrap();
    let active = cluster.pick(&Context::new()).unwrap();
    let error = cluster.pick(&Context::new()).unwrap_err();
    assert_eq!(error.to_string(), "overloaded: 1 endpoint, at its limit");
    // A request that has failed there goes to the next, as ever.
    let retry = cluster.pick(&Context::new().with_exclude(active.id().clone())).unwrap();
    assert_ne!(retry.id(), active.id());
}

#[test]
fn subsets_have_the_same_slots() {
    let cluster = Cluster::builder().seed(1).connect(|_| ());
    let blue = endpoint(0).with_label("colour", "blue").with_max_in_flight(1);
    cluster.replace([blue, endpoint(1).with_max_in_flight(1)]).unwrap();
    let context = Context::new().with_subset(Subset::new([("colour", "blue")]));
    let lease = cluster.pick(&context).unwrap();
    let error = cluster.pick(&context).unwrap_err();
    assert_eq!(error.to_string(), "overloaded: 1 endpoint, at its limit");
    assert_eq!(index(cluster.pick(&Context::new()).unwrap().id()), 1);
    drop(lease);
    assert!(cluster.pick(&context).is_ok());
}

#[test]
fn limit_that_changes_holds_from_then_on() {
    let cluster = Cluster::builder().seed(1).connect(|_| ());
    cluster.replace(limited(&[4])).unwrap();
    let mut leases = fill(&cluster);
    cluster.insert(endpoint(0).with_max_in_flight(2)).unwrap();
    for left in [3, 2] {
        leases.pop();
        assert_eq!(counts(&cluster), [left]);
        assert!(cluster.pick(&Context::new()).is_err(), "{left} in flight");
    }
    leases.pop();
    leases.extend(fill(&cluster));
    assert_eq!(counts(&cluster), [2]);
    cluster.insert(endpoint(0)).unwrap();
    leases.extend((0..10).map(|_| cluster.pick(&Context::new()).unwrap()));
    assert_eq!(counts(&cluster), [12]);
}

#[test]
fn slow_start_scales_the_limit_which_is_never_less_than_1() {
    for case in cases().filter(|case| case.spreads()) {
        let slow_start = SlowStart::new(Duration::from_secs(60));
        let builder = Cluster::builder().policy(case.policy.clone()).cost(case.cost);
        let cluster = builder.seed(5).slow_start(slow_start).connect(|_| ());
        let begin = Instant::now();
        cluster.work_at(begin);
        cluster.insert(endpoint(0).with_max_in_flight(20)).unwrap();
        cluster.work_at(begin + Duration::from_secs(100));
        cluster.insert(endpoint(1).with_max_in_flight(20)).unwrap();
        cluster.insert(endpoint(2).with_max_in_flight(5)).unwrap();
        // The clock is the time since they came; see SlowStart for the shares.
        for (seconds, expected) in [(0, [20, 2, 1]), (15, [20, 5, 1]), (30, [20, 10, 2])] {
            let now = begin + Duration::from_secs(100 + seconds) + Duration::from_millis(200);
            let picks = std::iter::from_fn(|| cluster.pick_at(&Context::new(), now).ok());
            let leases: Vec<_> = picks.collect();
            assert_eq!(counts(&cluster), expected, "{case:?}");
            assert!(cluster.pick_at(&preferring(1), now).is_err());
            drop(leases);
        }
    }
}

#[test]
fn policy_that_knows_nothing_of_limits_is_kept_within_them() {
    #[derive(Debug)]
    struct AlwaysTheFirst;
    impl Policy for AlwaysTheFirst {
        fn name(&self) -> &str {
            "first"
        }
        fn build(&self, _: &Build<'_>) -> Box<dyn Pick> {
            Box::new(AlwaysTheFirst)
        }
    }
    impl Pick for AlwaysTheFirst {
        fn pick(&self, _: &Candidates<'_>) -> Option<usize> {
            Some(0)
        }
    }
    let cluster = Cluster::builder().policy(AlwaysTheFirst).connect(|_| ());
    cluster.replace(limited(&[2, 2])).unwrap();
    assert_eq!(fill(&cluster).len(), 4);
    // Nor does one that panics gain anything.
    #[derive(Debug)]
    struct Panics;
    impl Policy for Panics {
        fn name(&self) -> &str {
            "panics"
        }
        fn build(&self, _: &Build<'_>) -> Box<dyn Pick> {
            Box::new(Panics)
        }
    }
    impl Pick for Panics {
        fn pick(&self, _: &Candidates<'_>) -> Option<usize> {
            panic!("planted")
        }
    }
    let cluster = Cluster::builder().policy(Panics).connect(|_| ());
    cluster.replace(limited(&[2, 2])).unwrap();
    assert_eq!(fill(&cluster).len(), 4);
}
