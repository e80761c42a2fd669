//! Tiers, panic and locality on whole clusters.

use whippletree::cluster::{Admin, Builder, Failback, Panic, Spill};
use whippletree::endpoint::Locality;
use whippletree::health::Outcome;
use whippletree::policy::Random;
use whippletree::{Cluster, Context, Endpoint};

use crate::strict::statistics::drawn_in_proportion;
use crate::strict::{endpoint, id, index, pick, shares};
use crate::world::{World, seconds};

/// Endpoints of these tiers, so many each.
pub(crate) fn tiered(sizes: &[usize]) -> Vec<Endpoint> {
    let tiers = sizes.iter().enumerate();
    let priorities = tiers.flat_map(|(tier, size)| vec![tier as u32; *size]);
    priorities.enumerate().map(|(at, tier)| endpoint(at).with_priority(tier)).collect()
}

/// Any number of endpoints may be ejected.
pub(crate) fn fragile() -> Builder {
    use whippletree::health::outlier::Outlier;
    Cluster::builder()
        .policy(Random::new())
        .outlier(Outlier::new().max_ejection_percent(100).unwrap())
}

fn set(world: &World, at: usize, state: Admin) {
    world.cluster.set_admin(&id(at), state, "test").unwrap();
}

/// The share of each tier in percent of 100 000 picks, for tiers of 100 of which so many are not
/// ejected.
fn measured(available: &[usize], threshold: u32) -> Vec<f64> {
    let builder = fragile().spill(Spill::Proportional).panic_threshold(threshold).unwrap();
    let world = World::new(builder, tiered(&vec![100; available.len()]));
    for (tier, available) in available.iter().enumerate() {
        (0..100 - available).for_each(|at| world.eject(100 * tier + at));
    }
    let counts = shares(&world.cluster, 100 * available.len(), 100_000);
    counts.chunks(100).map(|tier| tier.iter().sum::<u64>() as f64 / 1_000.0).collect()
}

#[test]
fn proportional_tiers_share_as_envoy_says() {
    for (available, threshold, expected) in [
        (&[72, 100][..], 50, &[100.0, 0.0][..]),
        (&[71, 100], 50, &[99.0, 1.0]),
        (&[50, 100], 50, &[70.0, 30.0]),
        (&[25, 25], 0, &[50.0, 50.0]),
        (&[25, 25, 20], 0, &[37.0, 35.0, 28.0]),
    ] {
        let shares = measured(available, threshold);
        for (share, expected) in shares.iter().zip(expected) {
            // Three standard deviations of 100 000 draws: 0.47 % at a half, 0.1 % at one in a hundred.
            let off = 0.3 * (expected * (100.0 - expected) / 1_000.0_f64).sqrt();
            assert!((share - expected).abs() <= off + 1e-9, "{available:?}: {shares:?}");
        }
    }
}

#[test]
fn strict_tier_serves_when_nothing_before_it_can() {
    let mut world = World::new(fragile().failback(Failback::Immediate), tiered(&[2, 2]));
    assert!(pick(&world.cluster) < 2);
    world.eject(0);
    assert_eq!(pick(&world.cluster), 1);
    world.eject(1);
    assert!(pick(&world.cluster) >= 2);
    assert_eq!(world.cluster.status().serving, Some(1));
    assert_eq!(world.told(), "ejected0 ejected1 tier0to1");
    // The first tier is ahead of the one that serves: its trials are made.
    world.after(6.0);
    assert!(world.send(|_| Outcome::Success) < 2);
    assert_eq!(world.cluster.status().serving, Some(0));
}

#[test]
fn tier_behind_the_one_that_serves_gets_no_trials() {
    let mut world = World::new(fragile(), tiered(&[2, 2]));
    set(&world, 0, Admin::Maintenance);
    set(&world, 1, Admin::Maintenance);
    world.eject(2);
    set(&world, 0, Admin::Ready);
    set(&world, 1, Admin::Ready);
    // The first tier serves again after its 10 s.
    world.after(10.1);
    assert_eq!(world.cluster.status().serving, Some(0));
    (0..100).for_each(|_| assert!(world.send(|_| Outcome::Success) < 2));
}

fn failing_over(failback: Failback) -> World {
    let mut world = World::new(fragile().failback(failback), tiered(&[1, 1]));
    set(&world, 0, Admin::Drain);
    assert_eq!(pick(&world.cluster), 1);
    set(&world, 0, Admin::Ready);
    world.told();
    world
}

#[test]
fn failback_is_immediate_or_after_a_time_or_by_hand() {
    let world = failing_over(Failback::Immediate);
    assert_eq!(pick(&world.cluster), 0);
    let mut world = failing_over(Failback::After(seconds(10.0)));
    world.after(9.9);
    assert_eq!(pick(&world.cluster), 1);
    world.after(0.3);
    assert_eq!(pick(&world.cluster), 0);
    assert_eq!(world.told(), "tier1to0");
    let mut world = failing_over(Failback::Manual);
    world.after(86_400.0);
    assert_eq!(pick(&world.cluster), 1);
    world.cluster.fail_back();
    assert_eq!(pick(&world.cluster), 0);
    assert_eq!(world.told(), "tier1to0");
    // Back by hand once is not back for ever.
    set(&world, 0, Admin::Drain);
    set(&world, 0, Admin::Ready);
    assert_eq!(pick(&world.cluster), 1);
    // The tier that serves fails: there is no choice.
    set(&world, 1, Admin::Drain);
    assert_eq!(pick(&world.cluster), 0);
}

#[test]
fn interruption_starts_the_time_until_failback_anew() {
    let mut world = failing_over(Failback::After(seconds(10.0)));
    world.after(8.0);
    set(&world, 0, Admin::Drain);
    world.after(1.0);
    set(&world, 0, Admin::Ready);
    world.after(9.0);
    assert_eq!(pick(&world.cluster), 1);
    world.after(1.1);
    assert_eq!(pick(&world.cluster), 0);
}

#[tokio::test(start_paused = true)]
async fn failback_happens_by_itself() {
    let cluster = Cluster::builder().connect(|_| ());
    cluster.replace(tiered(&[1, 1])).unwrap();
    cluster.set_admin(&id(0), Admin::Drain, "test").unwrap();
    cluster.set_admin(&id(0), Admin::Ready, "test").unwrap();
    tokio::time::sleep(seconds(9.9)).await;
    assert_eq!(pick(&cluster), 1);
    tokio::time::sleep(seconds(0.3)).await;
    assert_eq!(pick(&cluster), 0);
}

#[test]
fn panic_sets_in_below_the_threshold_and_spares_who_is_drained_or_in_maintenance() {
    let mut world = World::new(fragile(), tiered(&[102]));
    set(&world, 100, Admin::Drain);
    set(&world, 101, Admin::Maintenance);
    (0..50).for_each(|at| world.eject(at));
    assert!(!world.cluster.status().panic);
    assert!(shares(&world.cluster, 102, 10_000)[..50].iter().all(|count| *count == 0));
    world.told();
    world.eject(50);
    assert_eq!(world.told(), "ejected50 panic");
    let counts = shares(&world.cluster, 102, 100_000);
    assert_eq!(counts[100..], [0, 0]);
    drawn_in_proportion(&counts[..100], &[1.0; 100]);
    // One more available is enough again: the trials of all go on in the panic.
    world.after(6.0);
    while world.cluster.status().panic {
        world.send(|_| Outcome::Success);
    }
    assert!(world.told().ends_with("calm"));
}

#[test]
fn all_failing_endpoints_share_the_requests() {
    for len in [1, 2, 3, 5, 10, 50, 100] {
        let world = World::new(Cluster::builder().policy(Random::new()), tiered(&[len]));
        for _ in 0..100 * len {
            world.send(|_| crate::world::FAILED);
        }
        assert!(world.ejected() <= usize::max(1, len / 2) && world.ejected() < len);
        let counts = shares(&world.cluster, len, 1_000 * len);
        let serving = counts.iter().filter(|count| **count > 0).count();
        // Half are ejected, and the other half serve; below that all do.
        assert!(serving >= len - len / 2 || serving == len, "{serving} of {len}");
    }
}

#[test]
fn all_but_the_last_ejected_is_panic_that_spreads_over_all() {
    let world = World::new(fragile(), tiered(&[20]));
    for _ in 0..2_000 {
        world.send(|_| crate::world::FAILED);
    }
    assert!(world.cluster.status().panic);
    drawn_in_proportion(&shares(&world.cluster, 20, 20_000), &[1.0; 20]);
}

#[test]
fn closed_panic_fails_requests_and_says_why() {
    let mut world = World::new(fragile().panic(Panic::FailClosed), tiered(&[4]));
    world.eject(0);
    world.eject(1);
    assert!(world.cluster.is_available());
    world.eject(2);
    assert!(!world.cluster.is_available());
    let error = world.cluster.pick(&Context::new()).unwrap_err();
    assert!(error.is_no_endpoint());
    assert_eq!(
        error.to_string(),
        "no available endpoint: 4 known, 3 ejected: fewer are available than the panic threshold asks for"
    );
    assert_eq!(world.told(), "ejected0 ejected1 ejected2 panic tier0tonone");
    // Trials lead out of it.
    world.after(6.0);
    while world.send(|_| Outcome::Success) != 0 {}
    assert!(world.cluster.is_available());
    assert!(world.told().contains("returned0 calm"));
}

#[test]
fn no_panic_if_the_threshold_is_zero() {
    let world = World::new(fragile().panic_threshold(0).unwrap(), tiered(&[10]));
    (0..9).for_each(|at| world.eject(at));
    assert!(!world.cluster.status().panic);
    assert!((0..100).all(|_| pick(&world.cluster) == 9));
}

#[test]
fn own_zone_is_preferred_then_the_region() {
    let at = |region: &str, zone: &str| Locality::new(region, zone);
    let zones = [("eu", "a"), ("eu", "b"), ("us", "a")];
    let endpoints = (0..30).map(|number| {
        let (region, zone) = zones[number / 10];
        endpoint(number).with_locality(at(region, zone))
    });
    let builder = fragile().panic_threshold(0).unwrap().locality(at("eu", "a"));
    let world = World::new(builder, endpoints.collect());
    let by_zone = |world: &World| {
        let counts = shares(&world.cluster, 30, 10_000);
        counts.chunks(10).map(|zone| zone.iter().sum::<u64>()).collect::<Vec<_>>()
    };
    assert_eq!(by_zone(&world), [10_000, 0, 0]);
    // 8 of 10 carry everything, 5 of 10 carry 70 %.
    (0..2).for_each(|at| world.eject(at));
    assert_eq!(by_zone(&world), [10_000, 0, 0]);
    (2..5).for_each(|at| world.eject(at));
    let counts = by_zone(&world);
    assert_eq!(counts[2], 0);
    assert!((6_860..=7_140).contains(&counts[0]), "{counts:?}");
    (5..10).for_each(|at| world.eject(at));
    assert_eq!(by_zone(&world), [0, 10_000, 0]);
    (10..20).for_each(|at| world.eject(at));
    assert_eq!(by_zone(&world), [0, 0, 10_000]);
}

#[test]
fn key_stays_in_its_tier_as_long_as_the_shares_do() {
    let builder = fragile().spill(Spill::Proportional);
    let world = World::new(builder, tiered(&[10, 10]));
    (0..5).for_each(|at| world.eject(at));
    let mut second = 0;
    for key in 0..2_000_u64 {
        let context = Context::new().with_hash(key);
        let tier = |_| index(world.cluster.pick(&context).unwrap().id()) / 10;
        let tiers: Vec<usize> = (0..5).map(tier).collect();
        assert!(tiers.windows(2).all(|pair| pair[0] == pair[1]));
        second += tiers[0];
    }
    assert!((530..=670).contains(&second), "{second} of 2000 keys, meant are 600");
}
