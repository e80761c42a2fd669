//! A source is known by its name.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use futures_util::{FutureExt, stream};
use tower::discover::Change as TowerChange;
use whippletree::discover::{Change, Options};
use whippletree::event::Event;
use whippletree::{Cluster, Endpoint};

use crate::support::{ids, soon};
use crate::{cluster, ended, endpoint, failed, fed, id, set, told};

#[test]
fn handles_of_one_name_are_one_source() {
    let cluster = cluster();
    let (one, other) = (cluster.source("file"), cluster.source("file"));
    one.replace(set("a b")).unwrap();
    other.replace(set("b c")).unwrap();
    assert_eq!(ids(&cluster), ["b", "c"]);
    assert!(one.remove(&id("c")));
    drop((one, other));
    assert_eq!(cluster.source(Options::new("file")).name(), "file");
    cluster.source("file").replace(set("d")).unwrap();
    assert_eq!(ids(&cluster), ["d"]);
}

#[tokio::test]
async fn first_set_of_a_new_stream_replaces_what_the_one_before_listed() {
    let cluster = cluster();
    soon(cluster.follow("dns", stream::iter([set("a b")]))).await;
    soon(cluster.follow("dns", stream::iter([set("b c")]))).await;
    assert_eq!(ids(&cluster), ["b", "c"]);
    // By whatever way the source is written for.
    soon(cluster.source("dns").follow(stream::iter([set("d")]))).await;
    assert_eq!(ids(&cluster), ["d"]);
    cluster.source("dns").replace(set("e")).unwrap();
    assert_eq!(ids(&cluster), ["e"]);
}

#[tokio::test]
async fn what_single_changes_listed_stays_until_it_is_withdrawn() {
    let cluster = cluster();
    cluster.insert(endpoint("a")).unwrap();
    let changes = |names| stream::iter(set(names).into_iter().map(Change::Insert));
    soon(cluster.follow("changes", changes("a b"))).await;
    soon(cluster.follow("changes", changes("c"))).await;
    assert_eq!(ids(&cluster), ["a", "b", "c"]);
    let mut events = cluster.subscribe();
    cluster.source("changes").withdraw();
    assert_eq!(told(&mut events), [Event::Removed(id("b")), Event::Removed(id("c"))]);
    assert_eq!(ids(&cluster), ["a"], "the handle lists it");
    // Nor is a name lost for ever.
    soon(cluster.follow("changes", changes("d"))).await;
    assert_eq!(ids(&cluster), ["a", "d"]);
}

#[tokio::test]
async fn services_of_a_discover_are_gone_on_with() {
    let cluster = Cluster::builder().build();
    let follow = |changes: Vec<Result<TowerChange<&'static str, &'static str>, &'static str>>| {
        cluster.follow_discover("tower", stream::iter(changes), |key| Ok(endpoint(key)))
    };
    let insert = |key| Ok(TowerChange::Insert(key, "service"));
    soon(follow(vec![insert("a"), insert("b")])).await;
    soon(follow(vec![Ok(TowerChange::Remove("a"))])).await;
    assert_eq!(ids(&cluster), ["b"]);
}

#[tokio::test]
async fn earlier_stream_ends_when_another_is_followed_under_its_name() {
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let (sets, stream) = fed();
    let (later, later_stream) = fed();
    let first = tokio::spawn(cluster.follow("dns", stream));
    sets.send(set("a")).unwrap();
    assert_eq!(soon(events.next()).await, Some(Event::Added(id("a"))));

    let second = tokio::spawn(cluster.follow("dns", later_stream));
    // Not taken, though it may be ready before the task knows.
    let _ = sets.send(set("late"));
    soon(first).await.unwrap();
    assert!(sets.is_closed(), "the stream is dropped");
    assert_eq!(told(&mut events), [ended("dns")]);
    assert_eq!(ids(&cluster), ["a"]);
    later.send(set("b")).unwrap();
    assert_eq!(soon(events.next()).await, Some(Event::Added(id("b"))));
    assert_eq!(ids(&cluster), ["b"]);
    assert!(!second.is_finished());
    drop(later);
    soon(second).await.unwrap();
}

/// The earlier stream's set is on its way (its endpoint is being connected) when the later stream
/// delivers its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn earlier_stream_does_not_undo_what_the_later_one_has_delivered() {
    let (entered, is_connecting) = channel();
    let (release, released) = channel::<()>();
    let released: std::sync::Mutex<Receiver<()>> = released.into();
    let cluster = Cluster::builder().connect(move |at: &Endpoint| {
        if at.id().as_str() == "slow" {
            entered.send(()).unwrap();
            // An error means released.
            let _ = released.lock().unwrap().recv();
        }
    });
    let earlier = tokio::spawn(cluster.follow("dns", stream::iter([set("slow")])));
    tokio::task::spawn_blocking(move || is_connecting.recv().unwrap()).await.unwrap();
    soon(cluster.follow("dns", stream::iter([set("new")]))).await;
    assert_eq!(ids(&cluster), ["new"]);
    drop(release);
    soon(earlier).await.unwrap();
    assert_eq!(ids(&cluster), ["new"]);
}

#[tokio::test]
async fn following_that_is_overtaken_before_it_began_ends_at_once() {
    let cluster = cluster();
    let held = Arc::new(());
    let keep = Arc::clone(&held);
    let first = cluster.follow("dns", stream::repeat_with(move || (set("a"), &keep).0));
    let second = cluster.follow("dns", stream::iter([set("b")]));
    assert!(first.now_or_never().is_some());
    assert_eq!(Arc::strong_count(&held), 1);
    assert!(cluster.is_empty());
    soon(second).await;
    assert_eq!(ids(&cluster), ["b"]);
}

#[tokio::test]
async fn refused_change_of_a_handle_is_no_news_of_discovery() {
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let source = cluster.source("file");
    assert!(source.replace(set("a a")).is_err());
    assert!(told(&mut events).is_empty());
    soon(source.follow(stream::iter([Err::<Change, _>("gone")]))).await;
    assert_eq!(told(&mut events), [failed("file", "gone"), ended("file")]);
}
