//! Endpoints that have just become fit start slowly, whatever the policy.

use std::collections::VecDeque;
use std::sync::Arc;

use whippletree::cluster::Admin;
use whippletree::health::{Outcome, SlowStart};
use whippletree::load::Cost;
use whippletree::policy::{Build, Candidates, Pick, Policy};
use whippletree::{Cluster, Context};

use crate::strict::{Case, endpoint, fleet, id, index, policies, shares};
use crate::world::{World, seconds};

/// A user's policy that knows nothing of slow start: the key's endpoint, or any.
#[derive(Debug)]
struct Own;

impl Policy for Own {
    fn name(&self) -> &str {
        "own"
    }

    fn build(&self, _: &Build<'_>) -> Box<dyn Pick> {
        Box::new(Self)
    }
}

impl Pick for Own {
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
        let from = candidates.hash().unwrap_or_else(|| candidates.random());
        let len = candidates.len();
        let start = ((u128::from(from) * len as u128) >> 64) as usize;
        (start..start + len).map(|at| at % len).find(|at| candidates.allows(*at))
    }
}

fn spreading() -> Vec<Arc<dyn Policy>> {
    let own: Arc<dyn Policy> = Arc::new(Own);
    let case = |policy: Arc<dyn Policy>| Case { policy, cost: Cost::InFlight, seed: 0 };
    policies().into_iter().chain([own]).filter(|policy| case(policy.clone()).spreads()).collect()
}

fn world(policy: Arc<dyn Policy>, weights: &[u16]) -> World {
    let builder = Cluster::builder().policy(policy).slow_start(SlowStart::new(seconds(60.0)));
    World::new(builder, fleet(weights))
}

/// Endpoints that are all warm.
fn warm(policy: Arc<dyn Policy>, weights: &[u16]) -> World {
    let mut world = world(policy, weights);
    world.after(61.0);
    world
}

/// How often each endpoint is picked while 400 requests are under way at any time.
fn steady(world: &World, len: usize, picks: usize) -> Vec<usize> {
    let (mut under_way, mut counts) = (VecDeque::new(), vec![0; len]);
    for turn in 0..picks + 2_000 {
        let lease = world.begin(&Context::new());
        // Not before the load has settled.
        counts[index(lease.id())] += usize::from(turn >= 2_000);
        under_way.push_back(lease);
        if under_way.len() > 400 {
            world.end(under_way.pop_front().unwrap(), Outcome::Success);
        }
    }
    for lease in under_way {
        world.end(lease, Outcome::Success);
    }
    counts
}

/// Checks the share of the last of the endpoints while it counts for so much of its weight.
fn check(world: &World, policy: &dyn Policy, weights: &[u16], share: f64) {
    const PICKS: usize = 20_000;
    let last = weights.len() - 1;
    let told = world.status(last).share;
    assert!((told - share).abs() < 0.01, "{policy:?}: {told} is told instead of {share}");
    let count = steady(world, weights.len(), PICKS)[last];
    let own = share * f64::from(weights[last]);
    let rest: f64 = weights[..last].iter().map(|weight| f64::from(*weight)).sum();
    // Who turns a policy's choice away as often as the share says leaves the rest to the others;
    // a policy that takes the share as a weight comes to a little more.
    let fair = if policy.name() == "own" { own / (rest + 1.0) } else { own / (rest + own) };
    let noise = 3.0 * (PICKS as f64 * fair * (1.0 - fair)).sqrt();
    let most = PICKS as f64 * fair + noise;
    assert!(count > 0 && (count as f64) < most, "{policy:?} at {share}: {count} of {most}");
    // Without a key the hash policies pick as p2c does.
    let by_load = ["p2c", "least_request", "ring_hash", "ketama", "maglev", "rendezvous"];
    if !by_load.contains(&policy.name()) {
        let least = PICKS as f64 * fair - noise;
        assert!(count as f64 > least, "{policy:?} at {share}: {count}, at least {least}");
    }
}

#[test]
fn share_of_a_new_endpoint_grows_with_time_under_every_policy() {
    for policy in spreading() {
        let mut world = warm(policy.clone(), &[1; 4]);
        world.cluster.insert(endpoint(4)).unwrap();
        for (step, share) in [(6.0, 0.1), (24.0, 0.5), (30.1, 1.0)] {
            world.after(step);
            check(&world, &*policy, &[1; 5], share);
        }
    }
}

#[test]
fn weights_count_during_the_ramp() {
    for policy in spreading().into_iter().filter(|policy| policy.name() != "own") {
        let mut world = warm(policy.clone(), &[3, 1, 2]);
        world.cluster.insert(endpoint(3).with_weight(4)).unwrap();
        world.after(30.0);
        check(&world, &*policy, &[3, 1, 2, 4], 0.5);
    }
}

#[test]
fn endpoints_that_are_cold_together_are_at_full_share() {
    for policy in spreading() {
        let world = world(policy.clone(), &[1; 5]);
        check(&world, &*policy, &[1; 5], 1.0);
    }
}

#[test]
fn return_from_ejection_from_maintenance_and_from_discovery_starts_slowly() {
    for policy in spreading() {
        let mut world = warm(policy.clone(), &[1; 5]);
        world.cluster.set_admin(&id(4), Admin::Maintenance, "test").unwrap();
        world.after(1.0);
        world.cluster.set_admin(&id(4), Admin::Ready, "test").unwrap();
        check(&world, &*policy, &[1; 5], 0.1);
        world.after(61.0);
        world.cluster.remove(&id(4));
        world.after(1.0);
        world.cluster.insert(endpoint(4)).unwrap();
        check(&world, &*policy, &[1; 5], 0.1);
        world.after(61.0);
        world.eject(4);
        world.after(6.0);
        assert_eq!(world.send(|_| Outcome::Success), 4);
        check(&world, &*policy, &[1; 5], 0.1);
    }
}

#[test]
fn drain_weights_and_labels_start_nothing_anew() {
    let world = warm(Arc::new(Own), &[1; 3]);
    world.cluster.set_admin(&id(0), Admin::Drain, "test").unwrap();
    world.cluster.set_admin(&id(0), Admin::Ready, "test").unwrap();
    world.cluster.set_weight(&id(1), 3.into()).unwrap();
    assert!((0..3).all(|at| world.status(at).share == 1.0));
}

#[test]
fn lone_endpoint_of_its_kind_serves_while_it_starts() {
    for policy in policies() {
        let world = warm(policy, &[1]);
        world.cluster.insert(endpoint(1)).unwrap();
        let only = Context::new().with_exclude(id(0));
        assert!((0..100).all(|_| index(world.begin(&only).id()) == 1));
    }
}

#[test]
fn ranked_sends_everything_to_the_best_however_new() {
    let ranked = policies().into_iter().find(|policy| policy.name() == "ranked").unwrap();
    let world = warm(ranked, &[1, 1]);
    world.cluster.insert(endpoint(2).with_rank(200).unwrap()).unwrap();
    assert_eq!(shares(&world.cluster, 3, 100), [0, 0, 100]);
}

#[test]
fn key_moves_to_the_new_endpoint_once_and_never_back() {
    let mut world = warm(Arc::new(Own), &[1; 4]);
    let spread = |key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let home = |world: &World, key| index(world.begin(&Context::new().with_hash(spread(key))).id());
    world.cluster.insert(endpoint(4)).unwrap();
    let mut homes: Vec<usize> = (0..2_000).map(|key| home(&world, key)).collect();
    let mut moved = Vec::new();
    for _ in 0..12 {
        world.after(5.1);
        let mut moves = 0;
        for (key, before) in homes.iter_mut().enumerate() {
            let now = home(&world, key as u64);
            assert!(now == *before || now == 4, "key {key} went from {before} to {now}");
            moves += usize::from(now != *before);
            *before = now;
        }
        moved.push(moves);
    }
    let on_it = homes.iter().filter(|home| **home == 4).count();
    assert!((330..=470).contains(&on_it), "{on_it} of 2000 keys, meant are 400: {moved:?}");
}
