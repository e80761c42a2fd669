//! What becomes of a set of nothing.

use futures_util::stream;
use whippletree::discover::{Change, Options};
use whippletree::event::Event;

use crate::streams::one_by_one;
use crate::support::{ids, soon};
use crate::{cluster, ended, endpoint, failed, id, set, told};

const REFUSED: &str = "delivered an empty set, which was refused: allow_empty is off";

#[tokio::test]
async fn empty_set_is_refused_and_the_last_one_stays() {
    let cluster = cluster();
    cluster.replace(set("own")).unwrap();
    let mut events = cluster.subscribe();
    let sets = one_by_one([set("a b"), set(""), set("b")]);
    soon(cluster.follow("dns", sets)).await;
    assert_eq!(ids(&cluster), ["b", "own"]);
    let expected = [
        Event::Added(id("a")),
        Event::Added(id("b")),
        failed("dns", REFUSED),
        Event::Removed(id("a")),
        ended("dns"),
    ];
    assert_eq!(told(&mut events), expected);
}

#[tokio::test]
async fn empty_set_is_taken_from_a_source_that_may_deliver_one() {
    let cluster = cluster();
    cluster.replace(set("own")).unwrap();
    let mut events = cluster.subscribe();
    let sets = one_by_one([set("a b"), set("")]);
    soon(cluster.follow(Options::new("dns").allow_empty(), sets)).await;
    assert_eq!(ids(&cluster), ["own"]);
    assert!(told(&mut events).ends_with(&[Event::Removed(id("b")), ended("dns")]));
}

/// Changes that are ready together are merged; a set is judged before.
#[tokio::test]
async fn set_is_judged_as_it_was_delivered_whatever_stands_beside_it() {
    let insert = |name| Change::Insert(endpoint(name));
    let (empty, of_a) = (|| Change::Replace(set("")), || Change::Replace(set("a")));
    let cases: [(&[Change], usize, &[&str]); 6] = [
        // Refused, and what else was said counts.
        (&[empty(), insert("a")], 1, &["a", "last"]),
        (&[insert("a"), empty()], 1, &["a", "last"]),
        (&[of_a(), empty()], 1, &["a"]),
        (&[empty(), of_a(), empty()], 2, &["a"]),
        // Removals are single changes, as many as there may be.
        (&[of_a(), Change::Remove(id("a"))], 0, &[]),
        (&[Change::Remove(id("last"))], 0, &[]),
    ];
    for (changes, refused, left) in cases {
        let cluster = cluster();
        let last = [Change::Replace(set("last"))];
        let mut events = cluster.subscribe();
        let batches = one_by_one([last.to_vec(), changes.to_vec()]);
        let changes = futures_util::StreamExt::flat_map(batches, stream::iter);
        soon(cluster.follow("changes", changes)).await;
        assert_eq!(ids(&cluster), left);
        let failures = told(&mut events).into_iter().filter(|e| *e == failed("changes", REFUSED));
        assert_eq!(failures.count(), refused);
    }
}

#[test]
fn program_itself_may_empty_what_is_its_own() {
    let cluster = cluster();
    cluster.replace(set("a")).unwrap();
    let source = cluster.source("file");
    source.replace(set("b")).unwrap();
    cluster.replace([]).unwrap();
    assert_eq!(ids(&cluster), ["b"]);
    source.replace([]).unwrap();
    assert!(cluster.is_empty());
}
