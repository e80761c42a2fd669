//! Bounded loads: nobody has more than its slots, and keys stay at home where they can.

use std::collections::VecDeque;
use std::thread;

use whippletree::policy::{Policy, Rendezvous};
use whippletree::{Cluster, Endpoint, Lease};

use crate::{bounded, cluster, fleet, hashes, home, keyed};

/// Numbers that repeat (SplitMix64), and draws of Zipf's distribution from them.
struct Zipf {
    state: u64,
    /// Ends of the shares of the ranks, within 0..1.
    ends: Vec<f64>,
}

impl Zipf {
    fn new(ranks: u32, exponent: f64) -> Self {
        let shares = (1..=ranks).map(|rank| f64::from(rank).powf(-exponent));
        let sums = shares.scan(0.0, |sum, share| {
            *sum += share;
            Some(*sum)
        });
        let mut ends: Vec<f64> = sums.collect();
        let sum = ends[ends.len() - 1];
        ends.iter_mut().for_each(|end| *end /= sum);
        Self { state: 7, ends }
    }

    fn unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn rank(&mut self) -> usize {
        let unit = self.unit();
        self.ends.partition_point(|end| *end <= unit).min(self.ends.len() - 1)
    }
}

fn in_flight(cluster: &Cluster<()>) -> Vec<u64> {
    let status = cluster.status();
    status.endpoints.iter().map(|endpoint| u64::from(endpoint.in_flight)).collect()
}

/// Panics if the endpoint had no slot free before it got this request.
fn within_slots(cluster: &Cluster<()>, lease: &Lease<()>, percent: u64) {
    let (loads, status) = (in_flight(cluster), cluster.status());
    let at = status.endpoints.iter().position(|one| one.endpoint.id() == lease.id()).unwrap();
    let sum: u64 = loads.iter().sum();
    let weight = |one: &Endpoint| u64::from(one.weight().get());
    let whole: u64 = status.endpoints.iter().map(|one| weight(&one.endpoint)).sum();
    let share = (sum * percent).div_ceil(100) * weight(&status.endpoints[at].endpoint);
    let most = share.div_ceil(whole).max(1);
    assert!(loads[at] <= most, "{} with {loads:?}, at most {most}", lease.id());
}

/// Keys by Zipf(1.1), the oldest requests ending at random.
fn zipf_stays_within(policy: impl Policy, weights: &[u16], percent: u64) {
    let cluster = cluster(policy, &fleet(weights));
    let hashes: Vec<u64> = hashes(10_000).collect();
    let mut zipf = Zipf::new(10_000, 1.1);
    let mut leases = VecDeque::new();
    for _ in 0..3000 {
        let lease = cluster.pick(&keyed(hashes[zipf.rank()])).unwrap();
        within_slots(&cluster, &lease, percent);
        leases.push_back(lease);
        // Up to about 300 at once, now and then none.
        while leases.len() as f64 * zipf.unit() > 150.0 {
            leases.pop_front();
        }
        if zipf.unit() < 0.002 {
            leases.clear();
        }
    }
}

#[test]
fn keys_by_zipf_never_take_more_than_the_slots() {
    for (factor, percent) in [(1.1, 110), (1.25, 125), (2.0, 200)] {
        for policy in bounded(factor) {
            zipf_stays_within(policy.clone(), &[1; 20], percent);
            zipf_stays_within(policy, &[1, 5, 2, 1, 9, 1, 1], percent);
        }
    }
}

#[test]
fn a_single_hot_key_fills_everybody_to_the_bound() {
    const REQUESTS: u64 = 20_000;
    for policy in bounded(1.25) {
        let cluster = cluster(policy, &fleet(&[1; 10]));
        let leases: Vec<Lease<()>> =
            (0..REQUESTS).map(|_| cluster.pick(&keyed(42)).unwrap()).collect();
        let loads = in_flight(&cluster);
        assert_eq!(loads.iter().sum::<u64>(), REQUESTS);
        assert_eq!(loads.iter().max(), Some(&(REQUESTS / 10 * 125 / 100)));
        drop(leases);
    }
}

/// `hash-balance-factor` 150 with three equal servers has 15, 16 and 16 slots at 30 requests.
#[test]
fn the_last_slot_is_taken_and_no_more() {
    let endpoints = fleet(&[1; 3]);
    let cluster = cluster(Rendezvous::new().bounded(1.5).unwrap(), &endpoints);
    for (at, slots) in [15, 16, 16].into_iter().enumerate() {
        let id = endpoints[at].id();
        let hash = hashes(1000).find(|hash| home(&cluster, *hash) == *id).unwrap();
        let others = (0..3).filter(|other| *other != at);
        let on = |at: usize, count: usize| -> Vec<Lease<()>> {
            let context = || keyed(0).with_prefer(endpoints[at].id().clone());
            (0..count).map(|_| cluster.pick(&context()).unwrap()).collect()
        };
        let rest = 30 - (slots - 1);
        let spread: Vec<_> = others
            .zip([rest / 2, rest - rest / 2])
            .map(|(other, count)| on(other, count))
            .collect();
        let own = on(at, slots - 1);
        assert_eq!(in_flight(&cluster).iter().sum::<u64>(), 30);
        assert_eq!(cluster.pick(&keyed(hash)).unwrap().id(), id);
        let moved = on(at, 1);
        drop((spread, own, moved));
        // One more at home, one less elsewhere: now it is full.
        let own = on(at, slots);
        let rest = on((at + 1) % 3, 30 - slots);
        assert_ne!(cluster.pick(&keyed(hash)).unwrap().id(), id);
        drop((own, rest));
    }
}

#[test]
fn an_idle_cluster_and_light_keys_stay_at_home() {
    let endpoints = fleet(&[1; 10]);
    for policy in bounded(1.25) {
        let cluster = cluster(policy, &endpoints);
        let homes: Vec<_> = hashes(1000).map(|hash| home(&cluster, hash)).collect();
        // One request at a time is never in anybody's way.
        assert!(hashes(1000).zip(&homes).all(|(hash, at)| home(&cluster, hash) == *at));
        let held: Vec<Lease<()>> =
            hashes(1000).map(|hash| cluster.pick(&keyed(hash)).unwrap()).collect();
        let away = held.iter().zip(&homes).filter(|(lease, home)| lease.id() != *home).count();
        assert!(away < 300, "{away} of 1000 left home");
    }
}

/// A request that excludes endpoints is bounded among those that are left.
#[test]
fn without_some_endpoints_the_others_share_their_slots() {
    let endpoints = fleet(&[1; 4]);
    for policy in bounded(1.25) {
        let cluster = cluster(policy, &endpoints);
        let context = keyed(42).with_exclude(endpoints[0].id().clone());
        let leases: Vec<_> = (0..300).map(|_| cluster.pick(&context).unwrap()).collect();
        let loads = in_flight(&cluster);
        assert_eq!(loads[0], 0);
        assert_eq!(loads.iter().max(), Some(&125), "{loads:?}");
        drop(leases);
    }
}

/// Each thread may find the same slot free at the same moment.
#[test]
fn threads_exceed_the_bound_by_their_number_at_most() {
    const THREADS: u64 = 4;
    const EACH: u64 = 500;
    for policy in bounded(1.25) {
        let cluster = cluster(policy, &fleet(&[1; 8]));
        let hold = || (0..EACH).map(|_| cluster.pick(&keyed(42)).unwrap()).collect::<Vec<_>>();
        let leases: Vec<Vec<Lease<()>>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(hold)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let loads = in_flight(&cluster);
        let most = (THREADS * EACH * 125).div_ceil(800) + THREADS;
        assert!(loads.iter().all(|load| *load <= most), "{loads:?}");
        drop(leases);
    }
}
