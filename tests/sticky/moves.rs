//! Sessions move at safe points, and only then.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tower::{Service, ServiceExt};
use whippletree::Cluster;
use whippletree::cluster::Admin;
use whippletree::event::Event;
use whippletree::sticky::{Builder, SessionState};

use crate::world::{User, World, endpoint, id};

const SAFE: [(&str, &str); 1] = [("x-session-safe-point", "1")];

/// Sixteen users at home on `a`, nobody on `b`.
async fn uneven(layer: impl FnOnce(Builder) -> Builder) -> (World, Vec<User>) {
    let world = World::with(&[("a", 1)], Cluster::builder(), layer);
    let mut users = vec![User::default(); 16];
    for user in &mut users {
        user.get(&world).await;
    }
    world.cluster.insert(endpoint("b", 1)).unwrap();
    (world, users)
}

fn moved(world: &World) -> u64 {
    world.layer.counts().moved
}

#[tokio::test(start_paused = true)]
async fn nobody_moves_without_a_safe_point() {
    let (world, mut users) = uneven(|layer| layer).await;
    for _ in 0..20 {
        for user in &mut users {
            assert_eq!(user.get(&world).await.served_by, "a");
        }
        world.pass(Duration::from_secs(20)).await;
    }
    assert_eq!(moved(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn sessions_move_at_safe_points_until_the_load_is_even() {
    let (world, mut users) = uneven(|layer| layer).await;
    let mut events = world.cluster.subscribe();
    world.answer_with(&SAFE);
    for user in &mut users {
        let answer = user.get(&world).await;
        assert_eq!(answer.served_by, "a", "this request is still served at home");
        assert_eq!(answer.header("x-session-safe-point"), None, "the header is for the balancer");
        if answer.session.state == SessionState::Moved {
            assert_eq!(answer.session.home, Some(id("b")));
            world.answer_with(&[]);
            assert_eq!(user.get(&world).await.served_by, "b");
            world.answer_with(&SAFE);
        }
    }
    // The mean is 8: ten are as many as 1.25 times that, nine are less.
    assert_eq!(moved(&world), 7);
    assert_eq!(world.sessions().into_values().collect::<Vec<_>>(), [9, 7]);
    let told = std::iter::from_fn(|| events.try_next()).collect::<Vec<_>>();
    let (from, to) = (id("a"), id("b"));
    assert_eq!(told, [Event::SessionsMoved { from, to, moved: 1, left: 15, mean: 8 }]);
}

#[tokio::test(start_paused = true)]
async fn moves_keep_to_their_rate() {
    let (world, mut users) = uneven(|layer| layer.migrate_rate(2)).await;
    world.answer_with(&SAFE);
    for expected in [2, 4, 6, 7, 7] {
        for user in &mut users {
            user.get(&world).await;
        }
        assert_eq!(moved(&world), expected);
        world.pass(Duration::from_secs(1)).await;
    }
    assert!(world.layer.counts().deferred > 0);
}

#[tokio::test(start_paused = true)]
async fn endpoint_in_drain_is_left_at_the_first_safe_point() {
    let (world, mut users) = uneven(|layer| layer.migrate_rate(1)).await;
    world.cluster.set_admin(&id("a"), Admin::Drain, "test").unwrap();
    for user in &mut users {
        assert_eq!(user.get(&world).await.served_by, "a");
    }
    world.answer_with(&SAFE);
    for user in &mut users {
        assert_eq!(user.get(&world).await.session.state, SessionState::Moved);
    }
    assert_eq!(world.status("a").sessions, Some(0), "it may be taken out");
}

#[tokio::test(start_paused = true)]
async fn idle_sessions_move_before_their_next_request_if_allowed() {
    let idle = Duration::from_secs(60);
    let (world, mut users) = uneven(|layer| layer.migrate_idle(idle)).await;
    let (first, second) = users.split_at_mut(8);
    for _ in 0..4 {
        world.pass(Duration::from_secs(40)).await;
        for user in first.iter_mut() {
            assert_eq!(user.get(&world).await.served_by, "a", "never idle for a minute");
        }
    }
    let mut moved = 0;
    for user in second {
        let answer = user.get(&world).await;
        if answer.session.state == SessionState::Moved {
            assert_eq!((answer.served_by.as_str(), answer.set.is_some()), ("b", true));
            moved += 1;
        }
    }
    assert_eq!(moved, 7);
}

#[tokio::test(start_paused = true)]
async fn hand_over_comes_first_and_its_failure_leaves_the_session_at_home() {
    let mode = Arc::new(AtomicU32::new(0));
    let (asked, seen) = (Arc::clone(&mode), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&seen);
    let (world, mut users) = uneven(|layer| {
        layer.hand_over_timeout(Duration::from_secs(5)).on_move(move |session, from, to| {
            log.lock().unwrap().push((session, from, to));
            let mode = asked.load(Ordering::Relaxed);
            assert_ne!(mode, 1, "a panic before its future");
            async move {
                assert_ne!(mode, 2, "a panic in its future");
                match mode {
                    3 => Err("the store is down".into()),
                    4 => std::future::pending().await,
                    _ => Ok(()),
                }
            }
        })
    })
    .await;
    let mut events = world.cluster.subscribe();
    world.answer_with(&SAFE);
    std::panic::set_hook(Box::new(|_| {}));
    for (failing, user) in (1..=4).zip(&mut users) {
        mode.store(failing, Ordering::Relaxed);
        let answer = user.get(&world).await;
        assert_eq!((answer.session.state, answer.set), (SessionState::Home, None), "{failing}");
    }
    let _ = std::panic::take_hook();
    let counts = world.layer.counts();
    assert_eq!((counts.moved, counts.stayed), (0, 4));
    let home = id("a");
    let reason = "on_move panicked: assertion `left != right` failed: a panic before its future\n  \
                  left: 1\n right: 1";
    assert_eq!(events.try_next(), Some(Event::SessionStayed { home, reason: reason.into() }));
    assert_eq!(events.try_next(), None, "once in ten seconds");

    mode.store(0, Ordering::Relaxed);
    let answer = users[0].get(&world).await;
    assert_eq!(answer.session.state, SessionState::Moved);
    let expected = (answer.session.id, id("a"), id("b"));
    assert_eq!(seen.lock().unwrap().last(), Some(&expected));
    world.answer_with(&[]);
    assert_eq!(users[0].get(&world).await.served_by, "b");
}

#[tokio::test(start_paused = true)]
async fn dropped_request_leaves_its_session_at_home_and_free_to_move_later() {
    let hang = Arc::new(AtomicU32::new(1));
    let hangs = Arc::clone(&hang);
    let (world, mut users) = uneven(|layer| {
        layer.on_move(move |_, _, _| {
            let hangs = hangs.load(Ordering::Relaxed) == 1;
            async move { if hangs { std::future::pending().await } else { Ok(()) } }
        })
    })
    .await;
    world.answer_with(&SAFE);
    let mut user = users.remove(0);
    {
        let mut front = world.front.clone();
        let mut request = Request::new(String::new());
        let cookie = user.cookie.clone().unwrap();
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        let mut sent = Box::pin(front.ready().await.unwrap().call(request));
        assert!(futures_util::poll!(&mut sent).is_pending());
    }
    assert_eq!(world.status("a").in_flight, 0);
    hang.store(0, Ordering::Relaxed);
    assert_eq!(user.get(&world).await.session.state, SessionState::Moved);
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_follow_a_session_that_moved() {
    let (world, mut users) = uneven(|layer| layer).await;
    world.answer_with(&SAFE);
    let mut user = users.remove(0);
    let mut before = user.clone();
    assert_eq!(user.get(&world).await.session.state, SessionState::Moved);
    world.answer_with(&[]);
    let late = before.get(&world).await;
    assert_eq!(late.served_by, "b");
    assert!(late.set.is_some(), "the browser hears of it again, not of the old home");
    assert_eq!(before.get(&world).await.served_by, "b");
    assert_eq!(world.sessions().values().sum::<u32>(), 16);
}
