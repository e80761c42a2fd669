//! What can be followed, and when that ends.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::{FutureExt, StreamExt, stream};
use http::{Request, Response};
use tokio_stream::Stream;
use tower::discover::{Change as TowerChange, ServiceList};
use tower::{ServiceExt, service_fn};
use whippletree::discover::Change;
use whippletree::event::Event;
use whippletree::{Balance, BalanceLayer, Cluster, Context, Endpoint};

use crate::support::{ids, soon};
use crate::{cluster, ended, endpoint, failed, fed, id, set, told};

/// Items that are never ready together, and so are not merged.
pub(crate) fn one_by_one<T>(items: impl IntoIterator<Item = T>) -> impl Stream<Item = T> {
    stream::iter(items).then(|item| async {
        tokio::task::yield_now().await;
        item
    })
}

#[tokio::test]
async fn changes_that_are_ready_together_are_applied_as_what_they_amount_to() {
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let changes =
        [Change::Insert(endpoint("a")), Change::Replace(set("b")), Change::Remove(id("b"))];
    soon(cluster.follow("changes", stream::iter(changes))).await;
    assert!(cluster.is_empty());
    assert_eq!(told(&mut events), [ended("changes")]);
}

#[tokio::test]
async fn stream_of_changes_is_followed() {
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let changes = one_by_one([
        Change::Insert(endpoint("a")),
        Change::Insert(endpoint("b")),
        Change::Remove(id("a")),
        Change::Remove(id("never there")),
    ]);
    soon(cluster.follow("changes", changes)).await;
    assert_eq!(ids(&cluster), ["b"]);
    let expected =
        [Event::Added(id("a")), Event::Added(id("b")), Event::Removed(id("a")), ended("changes")];
    assert_eq!(told(&mut events), expected);
}

#[tokio::test]
async fn stream_of_whole_sets_is_followed_as_differences() {
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let sets = one_by_one([set("a b"), set("b c")]);
    soon(cluster.follow("sets", sets)).await;
    assert_eq!(ids(&cluster), ["b", "c"]);
    let expected = [
        Event::Added(id("a")),
        Event::Added(id("b")),
        Event::Added(id("c")),
        Event::Removed(id("a")),
        ended("sets"),
    ];
    assert_eq!(told(&mut events), expected);
}

#[tokio::test]
async fn updates_are_applied_though_no_request_comes() {
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let (sets, stream) = fed();
    let follower = tokio::spawn(cluster.follow("sets", stream));
    for (names, expected) in [("a", Event::Added(id("a"))), ("a b", Event::Added(id("b")))] {
        sets.send(set(names)).unwrap();
        assert_eq!(soon(events.next()).await, Some(expected));
    }
    drop(sets);
    soon(follower).await.unwrap();
}

#[tokio::test]
async fn balance_is_built_with_its_sources() {
    let builder = Balance::builder().discover("sets", || stream::iter([set("a b")]));
    let balance = builder
        .connect(|endpoint| {
            let id = endpoint.id().to_string();
            service_fn(move |_: Request<()>| {
                std::future::ready(Ok::<_, Infallible>(Response::new(id.clone())))
            })
        })
        .unwrap();
    let request = Request::get("/").body(()).unwrap();
    let response = soon(balance.clone().oneshot(request)).await.unwrap();
    assert!(["a", "b"].contains(&response.into_body().into_inner().as_str()));
}

#[test]
fn balance_with_sources_needs_a_runtime_and_says_so() {
    let builder = Balance::builder().discover("sets", stream::empty::<Vec<Endpoint>>);
    let error = builder.connect(|_| ()).unwrap_err();
    assert!(error.is_config());
    assert_eq!(error.to_string(), r#"discover: "sets" needs a tokio runtime"#);
}

#[test]
fn balance_with_two_sources_of_one_name_is_refused() {
    let builder = Balance::builder().discover("sets", stream::empty::<Vec<Endpoint>>);
    let builder = builder.discover("sets", stream::empty::<Vec<Endpoint>>);
    let refused = r#"discover: "sets" names two sources"#;
    assert_eq!(builder.clone().connect(|_| ()).unwrap_err().to_string(), refused);
    assert_eq!(BalanceLayer::new(builder).unwrap_err().to_string(), refused);
}

#[tokio::test]
async fn service_list_is_followed() {
    let greet = |name: &'static str| {
        service_fn(move |_: Request<()>| async move {
            Ok::<_, Infallible>(Response::new(name.to_owned()))
        })
    };
    let list = ServiceList::new::<Request<()>>(vec![greet("zero"), greet("one")]);
    let cluster = Cluster::builder().build();
    let describe = |key: &usize| Endpoint::new(format!("list:{}", key + 1));
    soon(cluster.follow_discover("list", list, describe)).await;
    assert_eq!(ids(&cluster), ["list:1", "list:2"]);

    let balance = Balance::new(cluster);
    let prefer = Context::new().with_prefer(id("list:2"));
    let request = Request::builder().extension(prefer).body(()).unwrap();
    let response = soon(balance.oneshot(request)).await.unwrap();
    assert_eq!(response.into_body().into_inner(), "one");
}

#[tokio::test]
async fn services_of_a_discover_come_and_go() {
    let cluster = Cluster::builder().build();
    let mut events = cluster.subscribe();
    let describe = |key: &&str| match *key {
        "nameless" => Endpoint::new(""),
        key => Ok(endpoint(key)),
    };
    let changes = stream::iter([
        Ok(TowerChange::Insert("a", "service of a")),
        Ok(TowerChange::Insert("b", "service of b")),
        Ok(TowerChange::Insert("nameless", "nobody's")),
        Err("broken"),
        Ok(TowerChange::Insert("b", "better service of b")),
        Ok(TowerChange::Remove("a")),
    ]);
    soon(cluster.follow_discover("tower", changes, describe)).await;
    assert_eq!(ids(&cluster), ["b"]);
    let lease = cluster.pick(&Context::new()).unwrap();
    assert_eq!(*lease.service(), "better service of b");
    let told = told(&mut events);
    assert!(told.contains(&failed("tower", "broken")));
    let describe = Endpoint::new("").unwrap_err().to_string();
    assert!(told.contains(&failed("tower", &describe)));
    assert_eq!(told.last(), Some(&ended("tower")));
}

/// A stream that holds something and is always pending.
struct Holding(#[allow(dead_code, reason = "held for its drop")] Arc<()>);

impl Stream for Holding {
    type Item = Vec<Endpoint>;

    fn poll_next(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<Vec<Endpoint>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn follower_ends_with_the_cluster_and_drops_its_stream() {
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let held = Arc::new(());
    let mut follower = pin!(cluster.follow("sets", Holding(Arc::clone(&held))));
    assert!(follower.as_mut().now_or_never().is_none());
    let spawned = tokio::spawn(cluster.follow("spawned", Holding(Arc::clone(&held))));
    drop(cluster);
    soon(follower).await;
    soon(spawned).await.unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(soon(events.next()).await, None);
}
