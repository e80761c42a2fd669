//! What a cluster tells of its sources.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{advance, sleep};
use whippletree::cluster::SourceStatus;
use whippletree::discover::Change;
use whippletree::{Cluster, Endpoint};

use crate::{cluster, endpoint, fed, set};

type Answer = Result<Vec<Endpoint>, &'static str>;

fn status(cluster: &Cluster<()>, name: &str) -> SourceStatus {
    let mut sources = cluster.sources().into_iter();
    sources.find(|source| source.name == name).unwrap()
}

/// Lets a follower do what it can.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn sources_are_told_by_name_with_what_each_lists() {
    let cluster = cluster();
    assert!(cluster.sources().is_empty());
    cluster.replace(set("own both")).unwrap();
    cluster.source("file").replace(set("a both")).unwrap();
    cluster.follow("dns", stream::iter([set("a b c")])).await;
    let silent = tokio::spawn(cluster.follow("silent", stream::pending::<Change>()));
    let told: Vec<_> = cluster
        .sources()
        .into_iter()
        .map(|source| (source.name, source.endpoints, source.age.is_some(), source.is_followed))
        .collect();
    let expected = [("dns", 3, true, false), ("file", 2, true, false), ("silent", 0, false, true)];
    let expected =
        expected.map(|(name, count, heard, followed)| (name.to_owned(), count, heard, followed));
    assert_eq!(told, expected);
    silent.abort();
    let _ = silent.await;
    assert!(!status(&cluster, "silent").is_followed);
}

#[tokio::test(start_paused = true)]
async fn age_grows_while_a_source_is_silent_and_the_cluster_goes_on_serving() {
    let cluster = cluster();
    let (sets, stream) = fed();
    tokio::spawn(cluster.follow("dns", stream));
    sets.send(set("a")).unwrap();
    settle().await;
    for hours in 1..=3 {
        advance(Duration::from_secs(3600)).await;
        let age = status(&cluster, "dns").age.unwrap();
        assert_eq!(age.as_secs() / 3600, hours, "{age:?}");
        assert!(cluster.pick(&whippletree::Context::new()).is_ok());
    }
    // The same set is no news, but a sign of life.
    sets.send(set("a")).unwrap();
    settle().await;
    assert!(status(&cluster, "dns").age < Some(Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn failures_are_counted_until_something_is_taken() {
    let cluster = Cluster::builder().connect(|at: &Endpoint| {
        assert!(at.id().as_str() != "bad", "cannot connect");
    });
    let (answers, stream) = fed();
    tokio::spawn(cluster.follow("dns", stream));
    let twice = r#"id: "b" stands twice in one set"#;
    let empty = "delivered an empty set, which was refused: allow_empty is off";
    // Each is delivered at one moment.
    let steps: [(Vec<Answer>, u64, &str); 7] = [
        (vec![Err("no answer")], 1, "no answer"),
        (vec![Ok(set("b b"))], 2, twice),
        (vec![Err("no answer"), Ok(set(""))], 4, empty),
        (vec![Ok(set("bad"))], 5, "connect panicked: cannot connect"),
        (vec![Ok(set("a"))], 0, "connect panicked: cannot connect"),
        (vec![Err("one"), Ok(set("a")), Err("two")], 1, "two"),
        (vec![Err("three"), Ok(set("a"))], 0, "three"),
    ];
    for (delivered, failures, last_error) in steps {
        advance(Duration::from_secs(10)).await;
        let is_taken = delivered.contains(&Ok(set("a")));
        delivered.into_iter().for_each(|answer| answers.send(answer).unwrap());
        settle().await;
        let status = status(&cluster, "dns");
        assert_eq!((status.failures, status.last_error.as_deref()), (failures, Some(last_error)));
        let is_fresh = status.age.is_some_and(|age| age < Duration::from_secs(5));
        assert_eq!(is_fresh, is_taken, "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn stream_that_ends_with_nothing_said_has_failed() {
    let cluster = cluster();
    cluster.follow("none", stream::empty::<Change>()).await;
    cluster.follow("some", stream::iter([set("a")])).await;
    let none = status(&cluster, "none");
    assert_eq!(none.failures, 1);
    let reason = "the stream ended before it had delivered anything";
    assert_eq!(none.last_error.as_deref(), Some(reason));
    assert_eq!(status(&cluster, "some").failures, 0);
}

#[tokio::test(start_paused = true)]
async fn program_that_writes_is_heard_but_forgives_no_stream() {
    let cluster = cluster();
    let source = cluster.source("dns");
    source.follow(stream::iter([Err::<Change, _>("no answer")]).take(1)).await;
    let failures = status(&cluster, "dns").failures;
    assert!(failures > 0);
    assert_eq!(status(&cluster, "dns").age, None);
    assert!(source.replace(set("a a")).is_err());
    assert_eq!(status(&cluster, "dns").age, None, "nothing was taken");
    source.insert(endpoint("a")).unwrap();
    assert_eq!(status(&cluster, "dns").age, Some(Duration::ZERO));
    assert_eq!(status(&cluster, "dns").failures, failures);
}

#[tokio::test(start_paused = true)]
async fn withdrawn_source_is_forgotten_with_its_last_handle() {
    let cluster = cluster();
    let source = cluster.source("file");
    source.replace(set("a")).unwrap();
    source.withdraw();
    assert_eq!(status(&cluster, "file").endpoints, 0);
    drop(source);
    assert!(cluster.sources().is_empty());

    let source = cluster.source("file");
    source.replace(set("a")).unwrap();
    source.withdraw();
    source.insert(endpoint("b")).unwrap();
    drop(source);
    assert_eq!(status(&cluster, "file").endpoints, 1);
}
