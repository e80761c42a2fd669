//! Whatever the other side does: the last good set stays in use, what went wrong is told, there is
//! no storm of requests, and what changed meanwhile is there as soon as all is well.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_stream::StreamExt;
use whippletree::discover::{Change, Options};

use crate::fake::Mode;
use crate::registry::{Engine, Registry, slice};
use crate::{Followed, eventually, soon};

/// What the bad answers are called, in events.
fn told(mode: Mode) -> &'static [&'static str] {
    match mode {
        Mode::Good => &[],
        Mode::Gone => &["connection", "incomplete", "reset", "closed"],
        Mode::Mute => &["no answer in 500ms"],
        Mode::Drips => &["in time"],
        Mode::Fails => &["status 500: out of order"],
        Mode::Html => &["expected", "other than"],
        Mode::Nothing => &["EOF", "broke off", "ended"],
        Mode::Breaks => &["EOF", "broke off", "body", "other than", "connection"],
        _ => &[
            "longer than allowed",
            "expected",
            "missing field",
            "other than",
            "in time",
            "error",
            "recursion",
            "no such",
        ],
    }
}

async fn survives(engine: Engine, mode: Mode) {
    let registry = Registry::start(engine).await;
    registry.add("a");
    let mut followed = Followed::new(registry.watch());
    let id = |name: &str| engine.id(name);
    followed.lists(&[&id("a")]).await;
    registry.add("b");
    followed.lists(&[&id("a"), &id("b")]).await;
    followed.failures();
    let before = registry.server.asked();

    registry.server.set(mode);
    loop {
        // A watch that has begun and then drips is one that is silent.
        if (engine, mode) == (Engine::Kube, Mode::Drips) {
            break;
        }
        // The cut of the connections is told first.
        let reason = followed.fails("").await;
        assert!(reason.len() < 1000, "{reason}");
        if told(mode).iter().any(|text| reason.contains(text)) {
            break;
        }
    }
    registry.remove("a");
    registry.add("c");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(followed.cluster.len(), 2, "{engine:?} {mode:?}");
    let asked = registry.server.asked() - before;
    assert!(asked < 12, "{engine:?} {mode:?}: {asked} requests");

    registry.server.set(Mode::Good);
    followed.lists(&[&id("b"), &id("c")]).await;
    assert_eq!(followed.cluster.sources()[0].failures, 0);
    registry.add("d");
    followed.lists(&[&id("b"), &id("c"), &id("d")]).await;
}

async fn survives_all(engine: Engine) {
    let cases = Mode::BAD.map(|mode| tokio::spawn(survives(engine, mode)));
    for case in cases {
        case.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_may_misbehave_as_it_likes() {
    survives_all(Engine::Etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consul_may_misbehave_as_it_likes() {
    survives_all(Engine::Consul).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubernetes_may_misbehave_as_it_likes() {
    survives_all(Engine::Kube).await;
}

#[tokio::test]
async fn empty_answer_is_refused_unless_it_is_allowed() {
    for engine in Engine::ALL {
        let registry = Registry::start(engine).await;
        registry.add("a");
        let mut followed = Followed::new(registry.watch());
        let cleared = Followed::with(Options::new("registry").allow_empty(), registry.watch());
        followed.lists(&[&engine.id("a")]).await;
        cleared.lists(&[&engine.id("a")]).await;
        registry.remove("a");
        followed.fails("empty set").await;
        cleared.lists(&[]).await;
        followed.lists(&[&engine.id("a")]).await;
        registry.add("b");
        followed.lists(&[&engine.id("b")]).await;
        cleared.lists(&[&engine.id("b")]).await;
    }
}

#[tokio::test]
async fn garbage_among_the_records_costs_only_itself() {
    for engine in Engine::ALL {
        let registry = Registry::start(engine).await;
        registry.add("a");
        registry.put("bad", json!({ "address": 7 }));
        let mut followed = Followed::new(registry.watch());
        followed.lists(&[&engine.id("a")]).await;
        followed.fails(" in {").await;
        registry.add("b");
        followed.lists(&[&engine.id("a"), &engine.id("b")]).await;
        registry.put("bad", engine.record("bad", 1));
        followed.lists(&[&engine.id("a"), &engine.id("b"), &engine.id("bad")]).await;
    }
}

#[tokio::test]
async fn nothing_but_garbage_is_not_taken_for_nothing() {
    for engine in Engine::ALL {
        let registry = Registry::start(engine).await;
        registry.add("a");
        let options = Options::new("registry").allow_empty();
        let mut followed = Followed::with(options, registry.watch());
        followed.lists(&[&engine.id("a")]).await;
        registry.put("a", json!({ "address": 7 }));
        followed.fails(" in {").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        followed.lists(&[&engine.id("a")]).await;
    }
}

#[tokio::test]
async fn registry_restored_from_a_backup_is_believed() {
    for engine in Engine::ALL {
        let registry = Registry::start(engine).await;
        registry.add("a");
        registry.add("b");
        let followed = Followed::new(registry.watch());
        followed.lists(&[&engine.id("a"), &engine.id("b")]).await;
        registry.server.set(Mode::Gone);
        registry.restore(&["c"]);
        registry.server.set(Mode::Good);
        followed.lists(&[&engine.id("c")]).await;
        registry.add("d");
        followed.lists(&[&engine.id("c"), &engine.id("d")]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_records_are_taken() {
    for engine in Engine::ALL {
        let registry = Registry::start(engine).await;
        let names: Vec<String> = (0..10_000).map(|at| format!("record-{at}")).collect();
        match engine {
            // As Kubernetes does: a hundred to a slice.
            Engine::Kube => names.chunks(100).for_each(|names| {
                let pods = names.iter().map(|name| (name.as_str(), "10.0.0.1", json!({})));
                registry.put(&names[0], slice(&pods.collect::<Vec<_>>(), 80));
            }),
            _ => names.iter().for_each(|name| registry.add(name)),
        }
        let mut followed = Followed::new(registry.watch());
        eventually(|| followed.cluster.len() == 10_000).await;
        registry.remove("record-100");
        let left = if engine == Engine::Kube { 9_900 } else { 9_999 };
        eventually(|| followed.cluster.len() == left).await;
        assert_eq!(followed.failures(), [""; 0], "{engine:?}");
    }
}

#[tokio::test]
async fn thousand_updates_in_a_second_are_few_sets() {
    for engine in Engine::ALL {
        let registry = Registry::start(engine).await;
        registry.add("a");
        let mut stream = registry.watch()();
        let began = Instant::now();
        let writes = async {
            for at in 1..=1000 {
                registry.add(&format!("r{at}"));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let reads = async {
            let mut sets = 0_u32;
            loop {
                let Change::Replace(set) = soon(stream.next()).await.unwrap().unwrap() else {
                    panic!("a whole set")
                };
                sets += 1;
                if set.len() == 1001 {
                    return sets;
                }
            }
        };
        let ((), sets) = tokio::join!(writes, reads);
        let most = u32::try_from(began.elapsed().as_millis()).unwrap() / 100 + 3;
        assert!((5..=most).contains(&sets), "{engine:?}: {sets} sets, {most} are allowed");
    }
}
