//! Divert is not rebind.

use std::time::Duration;

use http::Request;
use whippletree::cluster::{Admin, DrainOptions};
use whippletree::health::outlier::Outlier;
use whippletree::sticky::{OnMiss, SessionState};
use whippletree::{Cluster, Context, Outcome};

use crate::world::{User, World, endpoint, id};

const FIVE: [(&str, u16); 5] = [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1)];

/// Live traffic ejects for a second at first, or for `base`.
fn ejecting(base: Duration) -> whippletree::cluster::Builder {
    Cluster::builder().outlier(Outlier::new().base_ejection_time(base)).panic_threshold(0).unwrap()
}

/// Takes the endpoint out, as five failures in a row do.
fn eject(world: &World, home: &str) {
    for _ in 0..5 {
        let mut lease = world.cluster.pick(&Context::new().with_prefer(id(home))).unwrap();
        lease.report(Outcome::Failure(whippletree::health::Failure::Connect));
    }
    world.cluster.work_at(tokio::time::Instant::now().into_std());
    assert!(world.status(home).reason().is_some(), "it is out");
}

#[tokio::test(start_paused = true)]
async fn user_comes_home_and_the_cookie_is_set_once() {
    let world = World::new(&FIVE);
    let mut user = User::default();
    let first = user.get(&world).await;
    assert_eq!(first.session.state, SessionState::New);
    assert_eq!(first.session.home, Some(id(&first.served_by)));
    for _ in 0..20 {
        let next = user.get(&world).await;
        assert_eq!(next.served_by, first.served_by);
        assert_eq!(next.set, None);
        assert_eq!(next.session.state, SessionState::Home);
        assert_eq!(next.session.id, first.session.id);
    }
    assert_eq!((world.layer.counts().new, world.layer.counts().home), (1, 20));
}

#[tokio::test(start_paused = true)]
async fn short_outage_diverts_to_one_endpoint_and_brings_nobody_another_home() {
    let world = World::with(&FIVE, ejecting(Duration::from_secs(5)), |layer| layer);
    let mut user = User::default();
    let home = user.get(&world).await.served_by;
    eject(&world, &home);
    let stand_in = user.get(&world).await;
    assert_ne!(stand_in.served_by, home);
    assert_eq!(stand_in.session.state, SessionState::Diverted);
    assert_eq!(stand_in.session.home, Some(id(&home)));
    for _ in 0..10 {
        world.pass(Duration::from_millis(300)).await;
        let next = user.get(&world).await;
        assert_eq!((next.served_by, next.set), (stand_in.served_by.clone(), None));
    }
    // It recovers: the trial is somebody else's.
    world.pass(Duration::from_secs(3)).await;
    for _ in 0..100 {
        if world.status(&home).reason().is_some() {
            User::default().get(&world).await;
            world.pass(Duration::from_millis(20)).await;
        }
    }
    let back = user.get(&world).await;
    assert_eq!((back.served_by, back.session.state), (home, SessionState::Home));
    assert_eq!(world.layer.counts().rebound, 0);
}

#[tokio::test(start_paused = true)]
async fn home_that_is_out_for_thirty_seconds_is_given_up_for_its_stand_in() {
    let world = World::with(&FIVE, ejecting(Duration::from_secs(300)), |layer| layer);
    let mut user = User::default();
    let home = user.get(&world).await.served_by;
    eject(&world, &home);
    let stand_in = user.get(&world).await.served_by;
    world.pass(Duration::from_millis(29_990)).await;
    assert_eq!(user.get(&world).await.session.state, SessionState::Diverted);
    world.pass(Duration::from_millis(10)).await;
    let rebound = user.get(&world).await;
    assert_eq!(rebound.session.state, SessionState::Rebound);
    assert_eq!(rebound.served_by, stand_in);
    assert!(rebound.set.is_some());
    let next = user.get(&world).await;
    assert_eq!((next.served_by, next.session.state), (stand_in, SessionState::Home));
}

#[tokio::test(start_paused = true)]
async fn home_in_maintenance_or_gone_is_given_up_at_once() {
    for gone in [false, true] {
        let world = World::new(&FIVE);
        let mut user = User::default();
        let home = user.get(&world).await.served_by;
        match gone {
            true => drop(world.cluster.remove(&id(&home))),
            false => world.cluster.set_admin(&id(&home), Admin::Maintenance, "test").unwrap(),
        }
        let rebound = user.get(&world).await;
        assert_eq!(rebound.session.state, SessionState::Rebound);
        assert_ne!(rebound.served_by, home);
        // And stays there when the first is back.
        world.cluster.insert(endpoint(&home, 1)).unwrap();
        world.cluster.set_admin(&id(&home), Admin::Ready, "test").unwrap();
        assert_eq!(user.get(&world).await.served_by, rebound.served_by);
    }
}

#[tokio::test(start_paused = true)]
async fn home_in_drain_or_of_weight_0_serves_its_sessions_and_no_others() {
    for weight in [false, true] {
        let world = World::new(&FIVE);
        let mut user = User::default();
        let home = user.get(&world).await.served_by;
        match weight {
            true => world.cluster.insert(endpoint(&home, 0)).unwrap(),
            false => world.cluster.set_admin(&id(&home), Admin::Drain, "test").unwrap(),
        }
        for _ in 0..12 {
            assert_eq!(user.get(&world).await.served_by, home);
            assert_ne!(User::default().get(&world).await.served_by, home);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn last_endpoint_in_drain_still_serves_its_sessions() {
    let world = World::new(&[("a", 1)]);
    let mut user = User::default();
    user.get(&world).await;
    world.cluster.set_admin(&id("a"), Admin::Drain, "test").unwrap();
    assert_eq!(user.get(&world).await.served_by, "a");
    let error = User::default().request(&world, Request::new(String::new())).await.unwrap_err();
    assert!(error.is_no_endpoint(), "and no cookie: there is no response");
}

#[tokio::test(start_paused = true)]
async fn on_miss_fail_fails_where_it_would_divert() {
    let world =
        World::with(&FIVE, ejecting(Duration::from_secs(300)), |layer| layer.on_miss(OnMiss::Fail));
    let mut user = User::default();
    let home = user.get(&world).await.served_by;
    eject(&world, &home);
    let error = user.request(&world, Request::new(String::new())).await.unwrap_err();
    assert!(error.is_no_endpoint());
    assert_eq!(error.endpoint(), Some(&id(&home)));
    assert_eq!(world.layer.counts().missed, 1);
    world.pass(Duration::from_secs(30)).await;
    assert_eq!(user.get(&world).await.session.state, SessionState::Rebound);
}

#[tokio::test(start_paused = true)]
async fn exclusion_of_a_layer_above_wins() {
    let world = World::new(&FIVE);
    let mut user = User::default();
    let home = user.get(&world).await.served_by;
    let mut request = Request::new(String::new());
    request.extensions_mut().insert(Context::new().with_exclude(id(&home)));
    let diverted = user.request(&world, request).await.unwrap();
    assert_ne!(diverted.served_by, home);
    assert_eq!((diverted.session.state, diverted.set), (SessionState::Diverted, None));
    assert_eq!(user.get(&world).await.served_by, home);
}

#[tokio::test(start_paused = true)]
async fn every_balancer_diverts_a_session_to_the_same_endpoint() {
    let reversed: Vec<(&str, u16)> = FIVE.iter().rev().copied().collect();
    let (one, other) = (World::new(&FIVE), World::new(&reversed));
    for _ in 0..50 {
        let mut user = User::default();
        let home = user.get(&one).await.served_by;
        assert_eq!(user.get(&other).await.served_by, home);
        let exclude = || {
            let mut request = Request::new(String::new());
            request.extensions_mut().insert(Context::new().with_exclude(id(&home)));
            request
        };
        let here = user.request(&one, exclude()).await.unwrap().served_by;
        let there = user.request(&other, exclude()).await.unwrap().served_by;
        assert_eq!(here, there);
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_end_by_idle_and_by_absolute() {
    let world = World::new(&FIVE);
    let mut user = User::default();
    let first = user.get(&world).await;
    let mut other = user.clone();
    world.pass(Duration::from_secs(30 * 60)).await;
    assert_eq!(other.get(&world).await.session.id, first.session.id, "at the limit");
    world.pass(Duration::from_millis(1)).await;
    assert_eq!(user.get(&world).await.session.state, SessionState::New, "idle");

    let mut worker = User::default();
    let began = worker.get(&world).await.session.id;
    for _ in 0..8 * 3 {
        assert_eq!(worker.get(&world).await.session.id, began);
        world.pass(Duration::from_secs(20 * 60)).await;
    }
    assert_eq!(worker.get(&world).await.session.id, began, "eight hours");
    world.pass(Duration::from_secs(1)).await;
    assert_ne!(worker.get(&world).await.session.id, began);
    assert_eq!(world.layer.counts().expired, 2);
}

#[tokio::test(start_paused = true)]
async fn keys_rotate_without_the_loss_of_a_session() {
    let new = "the new key of 32 bytes, or more";
    let world = World::new(&FIVE);
    let mut user = User::default();
    let first = user.get(&world).await;
    let key = crate::world::KEY;
    let renewed = World::with(&FIVE, Cluster::builder(), |_| {
        let layer = whippletree::sticky::StickyLayer::builder().key(new).key(key);
        let start = world.now();
        layer.clock(move || start)
    });
    let next = user.get(&renewed).await;
    assert_eq!((next.session.id, &next.served_by), (first.session.id, &first.served_by));
    assert!(next.set.is_some(), "signed anew");
    assert_eq!(user.get(&renewed).await.set, None);
    assert_eq!(user.get(&world).await.session.state, SessionState::New, "the old key knows it not");
}

#[tokio::test(start_paused = true)]
async fn ranked_keeps_new_sessions_on_the_one_that_serves() {
    let cluster = Cluster::builder().policy(whippletree::policy::Ranked::new());
    let world = World::with(&[("a", 1), ("b", 1)], cluster, |layer| layer);
    for _ in 0..10 {
        assert_eq!(User::default().get(&world).await.served_by, "a");
    }
}

#[tokio::test(start_paused = true)]
async fn session_is_rebound_after_the_drains_session_deadline_whatever_becomes_of_the_home() {
    let world = World::with(&FIVE, ejecting(Duration::from_secs(60)), |layer| layer);
    let mut user = User::default();
    let home = user.get(&world).await.served_by;
    let hold = |_| world.cluster.pick(&Context::new().with_prefer(id(&home))).unwrap();
    let held: Vec<_> = (0..5).map(hold).collect();
    let options = DrainOptions::new()
        .deadline(Duration::from_secs(60))
        .session_deadline(Duration::from_secs(1));
    drop(world.cluster.drain(&id(&home), options).unwrap());
    world.pass(Duration::from_secs(2)).await;
    world.cluster.work_at(tokio::time::Instant::now().into_std());
    // The operator stops it, and what was under way fails.
    for mut lease in held {
        lease.report(Outcome::Failure(whippletree::health::Failure::Connect));
    }
    world.cluster.work_at(tokio::time::Instant::now().into_std());
    let next = user.get(&world).await;
    assert_eq!(next.session.state, SessionState::Rebound);
    assert_eq!(user.get(&world).await.served_by, next.served_by);
}
