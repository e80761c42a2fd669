//! Where the parts meet: panic with tiers, zones, ranks and slow start; trials with all of them. Two
//! things hold whatever is combined: known-dead endpoints are never preferred to fit ones, and no
//! endpoint that is well stays out for ever.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use whippletree::cluster::{Failback, Panic, Spill, State};
use whippletree::endpoint::Locality;
use whippletree::health::{Outcome, SlowStart};
use whippletree::policy::Ranked;
use whippletree::{Cluster, Context};

use crate::strict::{endpoint, fleet, id, index, pick, preferring, shares};
use crate::tiers::{fragile, tiered};
use crate::world::{FAILED, World, seconds};

fn eject(world: &World, endpoints: impl IntoIterator<Item = usize>) {
    endpoints.into_iter().for_each(|at| world.eject(at));
}

#[test]
fn a_backup_that_is_alive_goes_before_a_first_tier_that_is_dead() {
    let mut world = World::new(fragile(), tiered(&[2, 3]));
    eject(&world, [0, 1, 2, 3]);
    let status = world.cluster.status();
    assert!(status.panic);
    assert_eq!(status.serving, Some(1));
    let counts = shares(&world.cluster, 5, 3_000);
    assert_eq!(counts[..2], [0, 0]);
    assert!(counts[4] > 900, "{counts:?}");
    // Nor does the time of the failback bring the dead tier back.
    world.after(4.0);
    assert_eq!(world.cluster.status().serving, Some(1));
    // Who may not go there is still served.
    let context = [2, 3, 4].iter().fold(Context::new(), |c, at| c.with_exclude(id(*at)));
    assert!(index(world.begin(&context).id()) < 2);
}

#[test]
fn the_own_zone_in_panic_does_not_keep_requests_from_the_others() {
    let zone = |at: usize| Locality::new("eu", if at < 2 { "a" } else { "b" });
    let endpoints = (0..8).map(|at| endpoint(at).with_locality(zone(at)));
    let world = World::new(fragile().locality(zone(0)), endpoints.collect());
    eject(&world, 0..5);
    assert!(world.cluster.status().panic);
    let counts = shares(&world.cluster, 8, 8_000);
    let well: u64 = counts[5..].iter().sum();
    assert!(well > 2_600, "three of eight get their part: {counts:?}");
}

#[test]
fn ranked_goes_by_health_also_in_a_panic() {
    let ranked = |at, rank| endpoint(at).with_rank(rank).unwrap();
    let builder = fragile().policy(Ranked::new());
    let world = World::new(builder, vec![ranked(0, 200), ranked(1, 150), ranked(2, 100)]);
    eject(&world, [0, 1]);
    assert!(world.cluster.status().panic);
    assert!((0..100).all(|_| pick(&world.cluster) == 2));
}

#[test]
fn ranked_sends_nothing_on_trial() {
    let mut world = World::new(fragile().policy(Ranked::new().no_preempt()), fleet(&[1, 1, 1]));
    world.eject(0);
    let serving = pick(&world.cluster);
    for _ in 0..20 {
        world.after(1.0);
        assert_eq!(world.send(|_| Outcome::Success), serving);
    }
    assert_eq!(world.state(0), State::Up, "its time is over");
}

#[test]
fn closed_panic_refuses_the_share_of_the_tier_that_is_in_it_and_no_more() {
    let closed = || fragile().spill(Spill::Proportional).panic(Panic::FailClosed);
    // The first tier carries 98 %, the second 2 %; the third is dead and carries nothing.
    let world = World::new(closed(), tiered(&[10, 2, 2]));
    eject(&world, [0, 1, 2, 12, 13]);
    assert!(!world.cluster.status().panic);
    assert!((0..1_000).all(|_| world.cluster.pick(&Context::new()).is_ok()));
    // 28 % fall to a tier that is in a panic.
    let world = World::new(closed(), tiered(&[5, 4]));
    eject(&world, [0, 1, 2, 3, 5, 6]);
    assert!(world.cluster.status().panic);
    let refused = (0..10_000).filter(|_| world.cluster.pick(&Context::new()).is_err()).count();
    assert!((2_600..=3_000).contains(&refused), "{refused}");
}

#[test]
fn in_a_panic_nobody_starts_slowly() {
    let builder = fragile().slow_start(SlowStart::new(seconds(30.0)));
    let mut world = World::new(builder, fleet(&[1; 10]));
    world.after(31.0);
    eject(&world, 0..9);
    world.after(6.0);
    world.end(world.begin(&preferring(9)), Outcome::Success);
    let counts = shares(&world.cluster, 10, 10_000);
    assert!(counts.iter().all(|count| *count > 500), "{counts:?}");
}

#[test]
fn a_newcomer_alone_in_the_own_zone_does_not_get_everything() {
    let zone = |name: &str| Locality::new("eu", name);
    let builder = Cluster::builder().slow_start(SlowStart::new(seconds(60.0))).locality(zone("a"));
    let far = (1..10).map(|at| endpoint(at).with_locality(zone("b")));
    let mut world = World::new(builder, far.collect());
    world.after(61.0);
    world.cluster.insert(endpoint(0).with_locality(zone("a"))).unwrap();
    let share = |world: &World| {
        let at = |_| usize::from(index(world.begin(&Context::new()).id()) == 0);
        (0..10_000).map(at).sum::<usize>() as f64 / 10_000.0
    };
    let first = share(&world);
    assert!((0.05..0.25).contains(&first), "a tenth of its strength, 1.4 times: {first}");
    world.after(30.0);
    let half = share(&world);
    assert!((0.6..0.8).contains(&half), "half of it: {half}");
    world.after(31.0);
    assert_eq!(share(&world), 1.0);
}

#[test]
fn a_backup_on_trial_does_not_use_up_the_cap() {
    let mut world = World::new(Cluster::builder(), tiered(&[2, 2]));
    eject(&world, [2, 3]);
    world.after(5.6);
    world.after(5.1);
    assert_eq!((world.state(2), world.state(3)), (State::Up, State::Up));
    let mut failed = 0;
    for _ in 0..1_000 {
        world.after(0.01);
        failed +=
            usize::from(world.send(|at| if at == 0 { FAILED } else { Outcome::Success }) == 0);
    }
    assert!(failed < 20, "{failed} requests went to an endpoint that fails");
}

#[test]
fn the_tiers_that_share_get_their_trials() {
    let builder = fragile().spill(Spill::Proportional);
    let mut world = World::new(builder, tiered(&[10, 4]));
    eject(&world, [0, 1, 2, 3, 4, 10, 11]);
    world.after(5.6);
    let tried: Vec<usize> = (0..300).map(|_| world.send(|_| Outcome::Ignored)).collect();
    assert!([0, 4, 10, 11].iter().all(|at| tried.contains(at)), "{tried:?}");
    world.after(20.0);
    assert!((0..14).all(|at| world.state(at) == State::Up));
}

#[test]
fn a_row_of_failures_is_heard_again_after_a_blip_of_discovery() {
    let mut world = World::new(Cluster::builder(), fleet(&[1; 4]));
    let leases: Vec<_> = (0..5).map(|_| world.begin(&preferring(0))).collect();
    world.cluster.remove(&id(0));
    for lease in leases {
        world.end(lease, FAILED);
    }
    world.after(1.0);
    world.cluster.insert(endpoint(0)).unwrap();
    world.on(0, FAILED, 5);
    assert_eq!(world.state(0), State::Ejected);
}

#[test]
fn few_requests_in_a_row_are_trials() {
    let mut world = World::new(Cluster::builder(), fleet(&[1; 100]));
    eject(&world, 0..50);
    world.after(5.6);
    let trials =
        (0..500).filter(|_| world.send(|at| if at < 50 { FAILED } else { Outcome::Success }) < 50);
    let trials = trials.count();
    assert!((5..=15).contains(&trials), "one request in fifty: {trials} of 500");
}

#[test]
fn with_nobody_else_every_request_is_a_trial_and_the_cluster_says_so() {
    let mut world = World::new(fragile().panic_threshold(0).unwrap(), fleet(&[1, 1]));
    world.eject(0);
    world.cluster.set_admin(&id(1), whippletree::cluster::Admin::Drain, "test").unwrap();
    assert!(!world.cluster.is_available());
    world.after(5.6);
    assert!(world.cluster.is_available(), "a request may show that it is well");
    let trial = world.begin(&Context::new());
    assert!(!world.cluster.is_available(), "one at a time");
    world.end(trial, Outcome::Success);
    assert!(world.cluster.is_available());
}

#[test]
fn who_has_no_traffic_does_not_hide_an_outlier_among_few() {
    let endpoints = tiered(&[4, 1]);
    let mut world = World::new(Cluster::builder(), endpoints);
    for turn in 0..400 {
        world.after(0.05);
        let lease = world.begin(&Context::new());
        let fails = index(lease.id()) == 0 && turn % 5 != 0;
        world.end(lease, if fails { FAILED } else { Outcome::Success });
    }
    assert!(world.status(0).ejections > 0);
}

#[test]
fn darkness_and_its_end_are_told() {
    let mut world = World::new(fragile().panic(Panic::FailClosed), tiered(&[2]));
    world.eject(0);
    world.cluster.set_admin(&id(1), whippletree::cluster::Admin::Drain, "test").unwrap();
    assert!(world.told().ends_with("tier0tonone"));
    world.after(5.6);
    world.end(world.trial(0), Outcome::Success);
    assert!(world.told().contains("tiernoneto0"));
}

#[derive(Clone, Debug)]
struct Scene {
    spill: Spill,
    slow: bool,
    zones: bool,
    threshold: u32,
    /// Tier and zone of each endpoint, and whether it answers.
    endpoints: Vec<(u32, bool, bool)>,
}

fn scenes() -> impl Strategy<Value = Scene> {
    let endpoint = (0..2_u32, any::<bool>(), prop::bool::weighted(0.4));
    let spill = prop_oneof![Just(Spill::Strict), Just(Spill::Proportional)];
    let threshold = prop_oneof![Just(0_u32), Just(50)];
    let endpoints = prop::collection::vec(endpoint, 1..9);
    (spill, any::<bool>(), any::<bool>(), threshold, endpoints).prop_map(
        |(spill, slow, zones, threshold, endpoints)| Scene {
            spill,
            slow,
            zones,
            threshold,
            endpoints,
        },
    )
}

/// Ten minutes in which the dead ones fail whatever they get; then all recover.
fn play(scene: &Scene) {
    let mut builder = fragile()
        .spill(scene.spill)
        .failback(Failback::After(seconds(1.0)))
        .panic_threshold(scene.threshold)
        .unwrap();
    let zone = |own: bool| Locality::new("eu", if own { "a" } else { "b" });
    if scene.slow {
        builder = builder.slow_start(SlowStart::new(seconds(10.0)));
    }
    if scene.zones {
        builder = builder.locality(zone(true));
    }
    let endpoints =
        scene.endpoints.iter().enumerate().map(|(at, (tier, own, _))| {
            endpoint(at).with_priority(*tier).with_locality(zone(*own))
        });
    let mut world = World::new(builder, endpoints.collect());
    let alive = |at: usize| if scene.endpoints[at].2 { Outcome::Success } else { FAILED };
    let (mut served, mut sent) = (0, 0);
    for turn in 0..6_000 {
        world.after(0.1);
        let late = turn > 1_000;
        let Ok(lease) = world.cluster.pick_at(&Context::new(), world.now) else {
            continue;
        };
        let outcome = alive(index(lease.id()));
        sent += usize::from(late);
        served += usize::from(late && outcome == Outcome::Success);
        world.end(lease, outcome);
    }
    if scene.endpoints.iter().any(|(_, _, alive)| *alive) {
        // The worst there can be: a panic spreads over all of a tier of eight.
        assert!(served * 10 >= sent, "{served} of {sent} to who is well: {scene:?}");
    }
    for _ in 0..8_000 {
        world.after(0.1);
        if let Ok(lease) = world.cluster.pick_at(&Context::new(), world.now) {
            world.end(lease, Outcome::Success);
        }
    }
    let out: Vec<usize> =
        (0..scene.endpoints.len()).filter(|at| world.state(*at) != State::Up).collect();
    assert!(out.is_empty(), "{out:?} stay out for ever: {scene:?}");
}

#[test]
fn the_dead_are_never_preferred_and_the_well_never_stay_out() {
    let config = Config {
        cases: 100,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_263),
        max_shrink_iters: 200,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&scenes(), |scene| {
        play(&scene);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
