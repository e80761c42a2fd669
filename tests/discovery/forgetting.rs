//! What was learnt of an endpoint that is gone, and for how long.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::time::advance;
use whippletree::health::Outcome;
use whippletree::{Cluster, Context, Endpoint, Error};

use crate::support::status;
use crate::{endpoint, id, set};

const FORGET: Duration = Duration::from_secs(60);

/// The payloads made so far, in their order.
type Payloads = Mutex<Vec<Weak<()>>>;

/// A cluster of payloads that tell whether they are still there.
fn mortal() -> (Cluster<Arc<()>>, Arc<Payloads>) {
    let payloads = Arc::new(Payloads::default());
    let made = Arc::clone(&payloads);
    let cluster = Cluster::builder().forget_after(FORGET).connect(move |_| {
        let payload = Arc::new(());
        made.lock().unwrap().push(Arc::downgrade(&payload));
        payload
    });
    (cluster, payloads)
}

/// Which of them are still there.
fn alive(payloads: &Payloads) -> Vec<bool> {
    let payloads = payloads.lock().unwrap();
    let alive = payloads.iter().map(|payload| payload.strong_count() > 0);
    alive.collect()
}

fn serve_one(cluster: &Cluster<Arc<()>>) -> Result<(), Error> {
    cluster.pick(&Context::new())?.report(Outcome::Success);
    Ok(())
}

/// Lets time pass, and the timers that are due with it.
async fn pass(time: Duration) {
    advance(time).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_comes_back_in_time_is_the_same() {
    let (cluster, payloads) = mortal();
    cluster.insert(endpoint("a")).unwrap();
    serve_one(&cluster).unwrap();
    cluster.remove(&id("a"));
    pass(FORGET - Duration::from_millis(10)).await;
    cluster.insert(endpoint("a")).unwrap();
    assert_eq!(status(&cluster, "a").requests, 1);
    // And it stays: the time of the first absence is over.
    pass(FORGET * 2).await;
    assert_eq!(status(&cluster, "a").requests, 1);
    assert_eq!(alive(&payloads), [true]);
}

#[tokio::test(start_paused = true)]
async fn endpoint_that_comes_back_too_late_is_new_and_the_old_one_freed() {
    let (cluster, payloads) = mortal();
    cluster.insert(endpoint("a")).unwrap();
    serve_one(&cluster).unwrap();
    cluster.remove(&id("a"));
    assert_eq!(alive(&payloads), [true]);
    pass(FORGET + Duration::from_millis(10)).await;
    // Without any further change.
    assert_eq!(alive(&payloads), [false]);
    cluster.insert(endpoint("a")).unwrap();
    assert_eq!(status(&cluster, "a").requests, 0);
    assert_eq!(alive(&payloads), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn endpoint_with_a_request_under_way_is_not_forgotten() {
    let (cluster, payloads) = mortal();
    cluster.insert(endpoint("a")).unwrap();
    let lease = cluster.pick(&Context::new()).unwrap();
    cluster.remove(&id("a"));
    pass(FORGET + Duration::from_millis(10)).await;
    cluster.insert(endpoint("a")).unwrap();
    assert_eq!(status(&cluster, "a").in_flight, 1);
    assert_eq!(alive(&payloads), [true]);

    cluster.remove(&id("a"));
    drop(lease);
    pass(FORGET + Duration::from_millis(10)).await;
    assert_eq!(alive(&payloads), [false]);
}

#[tokio::test(start_paused = true)]
async fn payload_of_a_new_address_replaces_the_old_one_at_once() {
    let (cluster, payloads) = mortal();
    cluster.insert(endpoint("a")).unwrap();
    let lease = cluster.pick(&Context::new()).unwrap();
    let moved = Endpoint::new("elsewhere:80").unwrap().with_id("a").unwrap();
    cluster.insert(moved).unwrap();
    assert_eq!(alive(&payloads), [true, true]);
    drop(lease);
    assert_eq!(alive(&payloads), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_cluster_frees_what_was_removed_and_what_was_not() {
    let (cluster, payloads) = mortal();
    cluster.replace(set("a b")).unwrap();
    cluster.remove(&id("a"));
    drop(cluster);
    assert_eq!(alive(&payloads), [false, false]);
}
