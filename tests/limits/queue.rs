//! The queue: in order, bounded, and over when it is over.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;
use whippletree::cluster::{Acquire, DrainOptions};
use whippletree::endpoint::Subset;
use whippletree::{Cluster, Context, Error, Lease};

use crate::strict::{endpoint, excluding, id, in_flight, index};
use crate::{fill, queued, waiting};

/// Polls once, without being woken.
pub(crate) fn peek(acquire: &mut Acquire<()>) -> Option<Result<Lease<()>, Error>> {
    let mut task = TaskContext::from_waker(Waker::noop());
    match Pin::new(acquire).poll(&mut task) {
        Poll::Ready(lease) => Some(lease),
        Poll::Pending => None,
    }
}

fn acquire(cluster: &Cluster<()>) -> Acquire<()> {
    cluster.acquire(&Context::new())
}

#[tokio::test(start_paused = true)]
async fn slots_go_to_those_who_came_first() {
    let cluster = queued(&[2], 10);
    let mut leases = fill(&cluster);
    let mut line: Vec<_> = (0..5).map(|_| acquire(&cluster)).collect();
    for served in 0..5 {
        assert_eq!(waiting(&cluster), 5 - served);
        drop(leases.remove(0));
        // Only the first has anything; nobody who comes now overtakes.
        assert!(cluster.pick(&Context::new()).unwrap_err().is_overloaded());
        let ready: Vec<_> = line.iter_mut().map(peek).collect();
        assert!(ready.iter().skip(1).all(Option::is_none));
        leases.extend(ready.into_iter().flatten().map(Result::unwrap));
        assert_eq!((leases.len(), in_flight(&cluster)), (2, 2));
        drop(line.remove(0));
    }
    assert_eq!(cluster.status().queue.queued, 5);
}

#[tokio::test(start_paused = true)]
async fn whichever_endpoint_frees_first_serves() {
    let cluster = queued(&[1, 1, 1], 10);
    let mut leases = fill(&cluster);
    for _ in 0..6 {
        let mut first = acquire(&cluster);
        assert!(peek(&mut first).is_none());
        let freed = leases.remove(1);
        let at = freed.id().clone();
        drop(freed);
        let lease = first.await.unwrap();
        assert_eq!(lease.id(), &at);
        leases.push(lease);
    }
}

#[tokio::test(start_paused = true)]
async fn one_more_than_the_queue_holds_is_refused_at_once() {
    let cluster = queued(&[1], 2);
    let lease = acquire(&cluster).await.unwrap();
    let (one, two) = (acquire(&cluster), acquire(&cluster));
    let begin = Instant::now();
    let error = acquire(&cluster).await.unwrap_err();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert!(error.is_overloaded());
    let message = "overloaded: 1 endpoint, at its limit, and 2 requests wait already";
    assert_eq!(error.to_string(), message);
    drop(one);
    let three = acquire(&cluster);
    assert_eq!(waiting(&cluster), 2);
    drop(lease);
    drop(two.await.unwrap());
    drop(three.await.unwrap());
    let status = cluster.status().queue;
    assert_eq!((status.waiting, status.queued, status.refused), (0, 3, 1));
}

#[tokio::test(start_paused = true)]
async fn wait_ends_with_the_timeout_or_the_deadline_whichever_comes_first() {
    let cluster = queued(&[1, 1], 10);
    let _leases = fill(&cluster);
    let begin = Instant::now();
    let deadline = (begin + Duration::from_millis(300)).into_std();
    let late = (begin + Duration::from_secs(300)).into_std();
    let past = begin.into_std();
    for (context, wait) in [
        (Context::new(), 1000),
        (Context::new().with_deadline(deadline), 300),
        (Context::new().with_deadline(late), 1000),
        (Context::new().with_deadline(past), 0),
    ] {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let begin = Instant::now();
            let error = cluster.acquire(&context).await.unwrap_err();
            assert!(error.is_overloaded(), "{error}");
            let took = begin.elapsed().as_millis() as u64;
            assert!((wait..=wait + 1).contains(&took), "{took} ms, not {wait}");
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((waiting(&cluster), cluster.status().queue.timed_out), (0, 3));
    let error = acquire(&cluster).await.unwrap_err().to_string();
    assert!(error.starts_with("overloaded: 2 endpoints, all at their limit, for 1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_passes_on_what_was_granted() {
    let cluster = queued(&[1], 10);
    let lease = acquire(&cluster).await.unwrap();
    let (one, two, mut three) = (acquire(&cluster), acquire(&cluster), acquire(&cluster));
    drop(two);
    // Granted to the first, which never looks.
    drop(lease);
    assert_eq!((waiting(&cluster), in_flight(&cluster)), (1, 1));
    assert!(peek(&mut three).is_none());
    drop(one);
    let lease = peek(&mut three).expect("it was passed on").unwrap();
    assert_eq!((waiting(&cluster), in_flight(&cluster)), (0, 1));
    drop(lease);
    assert_eq!(in_flight(&cluster), 0);
    drop(cluster.pick(&Context::new()).unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_cannot_use_a_slot_holds_nobody_up_and_keeps_its_place() {
    let cluster = queued(&[1, 1], 10);
    cluster.insert(endpoint(1).with_label("colour", "blue").with_max_in_flight(1)).unwrap();
    let mut leases = fill(&cluster);
    let blue = Context::new().with_subset(Subset::new([("colour", "blue")]));
    let (mut blue_1, mut blue_2) = (cluster.acquire(&blue), cluster.acquire(&blue));
    let mut not_blue = cluster.acquire(&excluding([1]));
    let mut any = acquire(&cluster);
    // The first endpoint is free: those before cannot use it.
    drop(leases.remove(0));
    let first = peek(&mut not_blue).expect("served").unwrap();
    assert!([&mut blue_1, &mut blue_2, &mut any].into_iter().all(|other| peek(other).is_none()));
    // The second is: in their order.
    drop(leases.remove(0));
    let second = peek(&mut blue_1).expect("served").unwrap();
    assert!(peek(&mut any).is_none());
    drop(first);
    let third = peek(&mut any).expect("served").unwrap();
    assert_eq!(index(third.id()), 0);
    drop(second);
    assert_eq!(index(peek(&mut blue_2).expect("served").unwrap().id()), 1);
    assert_eq!(waiting(&cluster), 0);
}

#[tokio::test(start_paused = true)]
async fn newcomer_gets_what_nobody_in_line_can_use() {
    let cluster = queued(&[1, 1], 1);
    let only_first = excluding([1]);
    let _lease = cluster.pick(&only_first).unwrap();
    let mut waits = cluster.acquire(&only_first);
    assert!(peek(&mut waits).is_none());
    let plain = cluster.pick(&Context::new()).unwrap();
    assert_eq!(index(plain.id()), 1);
    drop(plain);
    // Also one for which there is no place in line.
    assert_eq!(index(acquire(&cluster).await.unwrap().id()), 1);
    assert_eq!(waiting(&cluster), 1);
}

#[tokio::test(start_paused = true)]
async fn subset_that_is_named_first_while_others_wait_is_served() {
    let cluster = queued(&[1], 10);
    let blue = endpoint(1).with_label("colour", "blue").with_max_in_flight(1);
    let lease = cluster.pick(&Context::new()).unwrap();
    let mut waits = acquire(&cluster);
    cluster.insert(blue).unwrap();
    let granted = peek(&mut waits).expect("the new endpoint serves").unwrap();
    let mut waits = acquire(&cluster);
    let context = Context::new().with_subset(Subset::new([("colour", "blue")]));
    let mut blue = cluster.acquire(&context);
    assert!(peek(&mut blue).is_none());
    drop(lease);
    let first = peek(&mut waits).expect("it came first").unwrap();
    drop(granted);
    assert_eq!(index(peek(&mut blue).expect("served").unwrap().id()), 1);
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn subset_that_is_named_first_while_a_drain_comes_to_its_end_hangs_nobody() {
    let cluster = queued(&[1, 1], 10);
    let mut leases = fill(&cluster);
    let drain = cluster.drain(&id(0), DrainOptions::new()).unwrap();
    let mut waits = acquire(&cluster);
    assert!(peek(&mut waits).is_none());
    // From here on the drain is over, and the cluster's task has not been told yet.
    drop(leases.remove(0));
    let context = Context::new().with_subset(Subset::new([("colour", "blue")]));
    let error = peek(&mut cluster.acquire(&context)).expect("at once").unwrap_err();
    assert!(error.is_no_endpoint(), "{error}");
    assert!(drain.await.is_empty());
    drop(leases);
    assert_eq!(index(waits.await.unwrap().id()), 1);
}

#[tokio::test(start_paused = true)]
async fn room_that_comes_with_a_change_serves_those_who_wait() {
    let cluster = queued(&[1], 10);
    let _lease = acquire(&cluster).await.unwrap();
    let mut line: Vec<_> = (0..5).map(|_| acquire(&cluster)).collect();
    let served = |line: &mut Vec<Acquire<()>>| line.iter_mut().filter_map(peek).count();
    cluster.insert(endpoint(0).with_max_in_flight(2)).unwrap();
    assert_eq!(in_flight(&cluster), 2);
    cluster.insert(endpoint(1).with_max_in_flight(2)).unwrap();
    assert_eq!((in_flight(&cluster), waiting(&cluster)), (4, 2));
    cluster.insert(endpoint(2)).unwrap();
    assert_eq!(waiting(&cluster), 0);
    assert_eq!(served(&mut line), 5);
}

#[tokio::test(start_paused = true)]
async fn wait_ends_at_once_when_the_last_endpoint_goes() {
    let cluster = queued(&[1], 10);
    let _lease = acquire(&cluster).await.unwrap();
    let waits = acquire(&cluster);
    let begin = Instant::now();
    cluster.remove(&id(0));
    let error = waits.await.unwrap_err();
    assert!(error.is_no_endpoint(), "{error}");
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn without_limits_nobody_waits_and_without_a_queue_neither() {
    let cluster = queued(&[0, 0], 10);
    let leases: Vec<_> = (0..1000).map(|_| peek(&mut acquire(&cluster)).unwrap()).collect();
    assert!(leases.iter().all(Result::is_ok));
    for cluster in [queued(&[1], 0), Cluster::builder().connect(|_| ())] {
        cluster.insert(endpoint(0).with_max_in_flight(1)).unwrap();
        let _lease = acquire(&cluster).await.unwrap();
        let error = peek(&mut acquire(&cluster)).expect("at once").unwrap_err();
        assert_eq!(error.to_string(), "overloaded: 1 endpoint, at its limit");
    }
}

#[test]
fn without_a_timer_nobody_waits() {
    let cluster = queued(&[1], 10);
    let _lease = cluster.pick(&Context::new()).unwrap();
    let error = peek(&mut acquire(&cluster)).expect("at once").unwrap_err();
    assert!(error.is_overloaded());
    assert_eq!(waiting(&cluster), 0);
}
