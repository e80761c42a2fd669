//! What goes wrong with a source.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::mpsc;
use whippletree::discover::Change;
use whippletree::event::Event;
use whippletree::{Cluster, Context, Endpoint};

use crate::support::{ids, soon};
use crate::{cluster, ended, endpoint, failed, fed, id, set, told};

#[tokio::test]
async fn error_of_the_stream_keeps_the_last_set_and_the_next_one_is_taken() {
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let (sets, stream) = fed();
    let follower = tokio::spawn(cluster.follow("dns", stream));
    sets.send(Ok(set("a"))).unwrap();
    assert_eq!(soon(events.next()).await, Some(Event::Added(id("a"))));
    sets.send(Err("no answer")).unwrap();
    assert_eq!(soon(events.next()).await, Some(failed("dns", "no answer")));
    assert_eq!(ids(&cluster), ["a"]);
    sets.send(Ok(set("a b"))).unwrap();
    assert_eq!(soon(events.next()).await, Some(Event::Added(id("b"))));
    drop(sets);
    assert_eq!(soon(events.next()).await, Some(ended("dns")));
    soon(follower).await.unwrap();
    assert_eq!(ids(&cluster), ["a", "b"]);
}

#[tokio::test]
async fn results_of_changes_are_followed_too() {
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let changes = [Ok(Change::Insert(endpoint("a"))), Err(std::io::Error::other("gone"))];
    soon(cluster.follow("changes", stream::iter(changes))).await;
    assert_eq!(ids(&cluster), ["a"]);
    assert!(told(&mut events).contains(&failed("changes", "gone")));
}

#[tokio::test]
async fn set_with_an_id_twice_is_refused_and_the_last_one_stays() {
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let sets = stream::iter([set("a b"), set("c d c")]);
    soon(cluster.follow("file", sets)).await;
    assert_eq!(ids(&cluster), ["a", "b"]);
    let reason = r#"id: "c" stands twice in one set"#;
    assert!(told(&mut events).contains(&failed("file", reason)));
}

#[tokio::test]
async fn endpoint_that_cannot_be_connected_is_told_and_the_others_are_taken() {
    let cluster = Cluster::builder().connect(|endpoint| {
        assert!(endpoint.id().as_str() != "bad", "cannot connect");
    });
    let mut events = cluster.subscribe();
    let changes = ["a", "bad", "b"].map(|name| Change::Insert(endpoint(name)));
    soon(cluster.follow("changes", stream::iter(changes))).await;
    assert_eq!(ids(&cluster), ["a", "b"]);
    let expected = failed("changes", "connect panicked: cannot connect");
    assert!(told(&mut events).contains(&expected));
}

#[tokio::test]
async fn panic_of_the_stream_is_contained_and_the_stream_not_polled_again() {
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let polls = Arc::new(AtomicUsize::new(0));
    let sets = stream::poll_fn({
        let polls = Arc::clone(&polls);
        move |_| match polls.fetch_add(1, Ordering::Relaxed) {
            0 => Poll::Ready(Some(set("a"))),
            _ => panic!("bug"),
        }
    });
    soon(cluster.follow("buggy", sets)).await;
    assert_eq!(ids(&cluster), ["a"]);
    let expected = [Event::Added(id("a")), failed("buggy", "source panicked: bug")];
    assert_eq!(told(&mut events), expected);
    assert_eq!(polls.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn source_that_says_nothing_hinders_nobody() {
    let cluster = cluster();
    let stalled = stream::iter([set("a")]).chain(stream::pending());
    let follower = tokio::spawn(cluster.follow("stalled", stalled));
    soon(cluster.available()).await;
    soon(cluster.follow("other", stream::iter([set("b")]))).await;
    cluster.insert(endpoint("c")).unwrap();
    assert_eq!(ids(&cluster), ["a", "b", "c"]);
    follower.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn source_that_blocks_its_thread_blocks_no_pick_and_no_other_source() {
    let cluster = cluster();
    let (entered, mut is_blocked) = mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let blocking = stream::poll_fn(move |_| {
        entered.send(()).unwrap();
        // An error means released.
        let _ = released.recv();
        Poll::Ready(None::<Vec<Endpoint>>)
    });
    let follower = tokio::spawn(cluster.follow("blocking", blocking));
    soon(is_blocked.recv()).await.unwrap();

    soon(cluster.follow("other", stream::iter([set("a")]))).await;
    let lease = cluster.pick(&Context::new()).unwrap();
    assert_eq!(lease.id(), &id("a"));
    assert!(!follower.is_finished());
    drop(release);
    soon(follower).await.unwrap();
}

#[tokio::test]
async fn dropping_the_follower_keeps_its_last_set() {
    let cluster = cluster();
    let sets = stream::iter([set("a")]).chain(stream::pending());
    let mut follower = Box::pin(cluster.follow("sets", sets));
    assert!(follower.as_mut().now_or_never().is_none());
    drop(follower);
    assert_eq!(ids(&cluster), ["a"]);
}

#[tokio::test]
async fn source_that_is_always_ready_leaves_time_to_others() {
    let cluster = cluster();
    let mut left = 100_000;
    let eager = stream::poll_fn(move |_| {
        left -= 1;
        Poll::Ready((left > 0).then(|| Change::Insert(endpoint("a"))))
    });
    let follower = tokio::spawn(cluster.follow("eager", eager));
    tokio::task::yield_now().await;
    assert!(!follower.is_finished(), "nobody else came to anything");
    soon(follower).await.unwrap();
}

/// An error with a cause.
#[derive(Debug)]
struct Caused(std::io::Error);

impl std::fmt::Display for Caused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the registry cannot be reached")
    }
}

impl std::error::Error for Caused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test]
async fn event_of_an_error_tells_its_cause() {
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let error = Caused(std::io::Error::other("connection refused"));
    let sets = stream::iter([Err::<Change, _>(error)]);
    soon(cluster.follow("registry", sets)).await;
    let Some(Event::DiscoveryFailed { reason, .. }) = events.try_next() else {
        panic!("the failure is told");
    };
    assert!(reason.contains("connection refused"), "{reason}");
}
