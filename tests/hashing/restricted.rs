//! Keys whose endpoint cannot serve them, and requests without a key.

use std::collections::BTreeSet;

use whippletree::policy::{Maglev, RingHash, RoundRobin};
use whippletree::{Cluster, Context, EndpointId};

use crate::{bounded, cluster, fleet, hashes, home, keyed, policies};

fn without(cluster: &Cluster<()>, hash: u64, out: &[EndpointId]) -> Option<EndpointId> {
    let context = out.iter().fold(keyed(hash), |context, id| context.with_exclude(id.clone()));
    cluster.pick(&context).ok().map(|lease| lease.id().clone())
}

#[test]
fn an_exclusion_moves_the_lost_keys_and_no_others() {
    let endpoints = fleet(&[1, 2, 1, 1, 3, 1]);
    let out = [endpoints[1].id().clone(), endpoints[4].id().clone()];
    for policy in policies().into_iter().chain(bounded(1.25)) {
        let cluster = cluster(policy.clone(), &endpoints);
        for hash in hashes(5000) {
            let (before, after) = (home(&cluster, hash), without(&cluster, hash, &out).unwrap());
            assert_eq!(out.contains(&before), before != after, "{policy:?}");
            assert!(!out.contains(&after), "{policy:?}");
        }
    }
}

#[test]
fn keys_of_one_endpoint_go_to_many_others() {
    let endpoints = fleet(&[1; 10]);
    for policy in policies() {
        let cluster = cluster(policy.clone(), &endpoints);
        let lost = endpoints[7].id();
        let of_lost = hashes(20_000).filter(|hash| home(&cluster, *hash) == *lost);
        let next: BTreeSet<EndpointId> = of_lost
            .filter_map(|hash| without(&cluster, hash, std::slice::from_ref(lost)))
            .collect();
        assert_eq!(next.len(), 9, "{policy:?}");
    }
}

#[test]
fn every_key_has_one_order_that_ends_with_everybody() {
    let endpoints = fleet(&[1, 2, 1, 1, 300, 1, 90]);
    for policy in policies().into_iter().chain(bounded(2.0)) {
        let cluster = cluster(policy.clone(), &endpoints);
        for hash in hashes(200) {
            let mut order = Vec::new();
            while let Some(next) = without(&cluster, hash, &order) {
                assert!(!order.contains(&next), "{policy:?}");
                assert_eq!(without(&cluster, hash, &order).as_ref(), Some(&next));
                order.push(next);
            }
            assert_eq!(order.len(), endpoints.len(), "{policy:?}");
        }
    }
}

#[test]
fn the_last_of_a_thousand_is_found() {
    let endpoints = fleet(&[1; 1000]);
    let (last, others) = endpoints.split_last().unwrap();
    let context = |hash| {
        others.iter().fold(keyed(hash), |context, other| context.with_exclude(other.id().clone()))
    };
    for policy in policies() {
        let cluster = cluster(policy, &endpoints);
        for hash in hashes(5) {
            assert_eq!(cluster.pick(&context(hash)).unwrap().id(), last.id());
        }
    }
}

#[test]
fn requests_without_a_key_take_the_less_loaded_of_two() {
    for policy in policies().into_iter().chain(bounded(1.25)) {
        let cluster = cluster(policy, &fleet(&[1, 1]));
        let one = cluster.pick(&Context::new()).unwrap();
        let other = cluster.pick(&Context::new()).unwrap();
        assert_ne!(one.id(), other.id());
    }
}

#[test]
fn requests_without_a_key_take_the_fallback_that_was_chosen() {
    let endpoints = fleet(&[1; 3]);
    let ring = RingHash::new().fallback(RoundRobin::new());
    let maglev = Maglev::new().fallback(RoundRobin::new());
    for cluster in [cluster(ring, &endpoints), cluster(maglev, &endpoints)] {
        let turn = || cluster.pick(&Context::new()).unwrap().id().clone();
        let first = [turn(), turn(), turn()];
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3);
        // A change goes on from where the order was.
        cluster.insert(endpoints[0].clone().with_label("version", "2")).unwrap();
        assert_eq!([turn(), turn(), turn()], first);
    }
}
