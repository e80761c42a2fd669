//! A request that prefers an endpoint waits for it a while, and is then diverted.

use std::time::Duration;

use tokio::time::Instant;
use whippletree::cluster::Admin;
use whippletree::{Cluster, Context};

use crate::queue::peek;
use crate::strict::{endpoint, id, in_flight, index, preferring};
use crate::{fill, queued, waiting};

fn sticky(home: usize, milliseconds: u64) -> Context {
    preferring(home).with_prefer_wait(Duration::from_millis(milliseconds))
}

async fn served(cluster: &Cluster<()>, context: &Context) -> (usize, u128) {
    let begin = Instant::now();
    let lease = cluster.acquire(context).await.unwrap();
    (index(lease.id()), begin.elapsed().as_millis())
}

#[tokio::test(start_paused = true)]
async fn home_that_is_free_serves_at_once_and_one_that_is_full_is_waited_for() {
    let cluster = queued(&[1, 5], 10);
    assert_eq!(served(&cluster, &sticky(0, 200)).await, (0, 0));
    let lease = cluster.pick(&preferring(0)).unwrap();
    let frees = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(lease);
    };
    let context = sticky(0, 200);
    let ((home, took), ()) = tokio::join!(served(&cluster, &context), frees);
    assert_eq!(home, 0);
    assert!((100..=101).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn wait_over_it_is_diverted() {
    let cluster = queued(&[1, 5], 10);
    let _lease = cluster.pick(&preferring(0)).unwrap();
    let (at, took) = served(&cluster, &sticky(0, 200)).await;
    assert_eq!(at, 1);
    assert!((200..=201).contains(&took), "{took}");
    // A plain pick cannot wait, and one without a wait does not.
    assert_eq!(index(cluster.pick(&sticky(0, 200)).unwrap().id()), 1);
    assert_eq!(served(&cluster, &preferring(0)).await, (1, 0));
    assert_eq!(served(&cluster, &sticky(0, 0)).await, (1, 0));
    assert_eq!(in_flight(&cluster), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_else_waits_because_of_it() {
    let cluster = queued(&[1, 1], 10);
    let _lease = cluster.pick(&preferring(0)).unwrap();
    let mut waits = cluster.acquire(&sticky(0, 500));
    assert!(peek(&mut waits).is_none());
    assert_eq!(served(&cluster, &Context::new()).await, (1, 0));
    assert_eq!(waiting(&cluster), 1);
}

#[tokio::test(start_paused = true)]
async fn diverted_it_has_the_place_in_line_that_it_had() {
    let cluster = queued(&[1, 1], 10);
    let mut leases = fill(&cluster);
    let mut first = cluster.acquire(&sticky(0, 100));
    let mut second = cluster.acquire(&Context::new());
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(peek(&mut first).is_none() && peek(&mut second).is_none());
    drop(leases.remove(1));
    let lease = peek(&mut first).expect("it came first").unwrap();
    assert_eq!(index(lease.id()), 1);
    assert!(peek(&mut second).is_none());
}

#[tokio::test(start_paused = true)]
async fn slot_of_the_home_is_first_come_first_served_too() {
    let cluster = queued(&[1, 1], 10);
    let mut leases = fill(&cluster);
    let mut plain = cluster.acquire(&Context::new());
    let mut sticky = cluster.acquire(&sticky(0, 500));
    drop(leases.remove(0));
    let lease = peek(&mut plain).expect("it came first").unwrap();
    assert!(peek(&mut sticky).is_none());
    drop(lease);
    assert_eq!(index(peek(&mut sticky).expect("now").unwrap().id()), 0);
}

#[tokio::test(start_paused = true)]
async fn home_that_goes_while_it_is_waited_for_is_waited_for_no_longer() {
    let cluster = queued(&[1, 5], 10);
    let _lease = cluster.pick(&preferring(0)).unwrap();
    let waits = cluster.acquire(&sticky(0, 900));
    let begin = Instant::now();
    cluster.remove(&id(0));
    let lease = waits.await.unwrap();
    assert_eq!((index(lease.id()), begin.elapsed()), (1, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn home_that_will_not_serve_is_not_waited_for_while_others_have_room() {
    let excluding = sticky(0, 900).with_exclude(id(0));
    for (context, leaves) in [(sticky(0, 900), true), (excluding, false)] {
        let cluster = queued(&[1, 1], 10);
        let mut leases = fill(&cluster);
        let mut waits = cluster.acquire(&context);
        assert!(peek(&mut waits).is_none());
        if leaves {
            cluster.set_admin(&id(0), Admin::Maintenance, "test").unwrap();
        }
        drop(leases.remove(1));
        let lease = peek(&mut waits).expect("there is room").unwrap();
        assert_eq!(index(lease.id()), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn wait_is_no_longer_than_the_queue_lets_it() {
    let cluster = queued(&[1, 1], 10);
    let leases = fill(&cluster);
    let begin = Instant::now();
    let error = cluster.acquire(&sticky(0, 60_000)).await.unwrap_err();
    assert!(error.is_overloaded(), "{error}");
    assert!(begin.elapsed() <= Duration::from_millis(1001));
    // At its end it takes what there is.
    cluster.insert(endpoint(1)).unwrap();
    let (at, took) = served(&cluster, &sticky(0, 60_000)).await;
    assert_eq!(at, 1);
    assert!((1000..=1001).contains(&took), "{took}");
    drop(leases);
}
