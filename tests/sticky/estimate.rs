//! How many sessions endpoints are said to have, against how many they have.

use std::collections::BTreeMap;
use std::time::Duration;

use whippletree::Cluster;
use whippletree::policy;

use crate::world::{User, World};

#[tokio::test(start_paused = true)]
async fn new_sessions_honour_weights_with_every_policy() {
    let weights = [("a", 1), ("b", 2), ("c", 3), ("d", 4)];
    let names =
        ["p2c", "least_request", "round_robin", "random", "ring_hash", "maglev", "rendezvous"];
    for name in names {
        let cluster = Cluster::builder().policy(policy::by_name(name).unwrap());
        let world = World::with(&weights, cluster, |layer| layer);
        for _ in 0..100 {
            User::default().get(&world).await;
        }
        // nginx's own test of the same name.
        let expected = [("a", 10), ("b", 20), ("c", 30), ("d", 40)];
        let expected: BTreeMap<String, u32> =
            expected.iter().map(|(id, count)| (id.to_string(), *count)).collect();
        assert_eq!(world.sessions(), expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn sticky_requests_do_not_skew_the_policy_of_others() {
    let cluster = Cluster::builder().policy(policy::RoundRobin::new());
    let world = World::with(&[("a", 1), ("b", 1)], cluster, |layer| layer);
    let mut user = User::default();
    user.get(&world).await;
    let mut served = BTreeMap::<String, u32>::new();
    for _ in 0..10 {
        user.get(&world).await;
        let lease = world.cluster.pick(&whippletree::Context::new()).unwrap();
        *served.entry(lease.id().to_string()).or_default() += 1;
    }
    assert!(served.values().all(|count| *count == 5), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn estimate_is_exact_for_who_is_active_and_forgets_who_left_in_its_time() {
    let world = World::new(&[("a", 1), ("b", 1), ("c", 1)]);
    let mut users = vec![User::default(); 300];
    // Each comes every 20 to 100 seconds, for half an hour; the window is five minutes.
    let mut truth = BTreeMap::<String, u32>::new();
    for second in 0..1800_usize {
        for (nth, user) in users.iter_mut().enumerate() {
            let every = 20 + nth % 81;
            if (second + nth).is_multiple_of(every) {
                let first = user.cookie.is_none();
                let answer = user.get(&world).await;
                if first {
                    *truth.entry(answer.served_by).or_default() += 1;
                }
            }
        }
        world.pass(Duration::from_secs(1)).await;
        if second > 100 && second % 97 == 0 {
            assert_eq!(world.sessions(), truth, "after {second} s");
        }
    }
    // All leave at once: nobody is forgotten before 13/16 of the window, all are by 17/16.
    let sum = |world: &World| world.sessions().values().sum::<u32>();
    let window = Duration::from_secs(300);
    world.pass(window * 13 / 16 - Duration::from_secs(101)).await;
    assert_eq!(sum(&world), 300);
    world.pass(Duration::from_secs(101) + window * 4 / 16).await;
    assert_eq!(sum(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn restarted_balancer_knows_its_sessions_after_an_eighth_of_the_window() {
    let world = World::new(&[("a", 1), ("b", 1)]);
    let mut users = vec![User::default(); 100];
    for user in &mut users {
        user.get(&world).await;
    }
    let now = world.now();
    let renewed = World::with(&[("a", 1), ("b", 1)], Cluster::builder(), |layer| {
        let start = tokio::time::Instant::now();
        layer.clock(move || now + start.elapsed())
    });
    for _ in 0..4 {
        for user in &mut users {
            user.get(&renewed).await;
        }
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    assert_eq!(renewed.layer.counts().home, 400);
    for user in &mut users {
        user.get(&renewed).await;
    }
    assert_eq!(renewed.sessions(), world.sessions());
}
