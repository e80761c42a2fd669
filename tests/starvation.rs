//! A machine that is too busy: the balancer must not take its own lateness for the endpoints'.
//!
//! Where HAProxy was put to the same test (64 busy loops on two cores, `inter 100ms fall 2`, 300
//! requests a second for 20 s) it called no server down and lost none of 9063 requests.
#![cfg(feature = "hyper")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/mod.rs"]
mod support;

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tower::ServiceExt;
use whippletree::event::Event;
use whippletree::health::Thresholds;
use whippletree::probe::Probe;
use whippletree::{Balance, Endpoint};

use support::server::Server;
use support::{client, get, text};

/// Busy threads, on however few cores there are.
const LOOPS: usize = 64;

/// How long they are busy.
const TIME: Duration = Duration::from_secs(3);

/// Time between two requests: 300 a second.
const PACE: Duration = Duration::from_nanos(1_000_000_000 / 300);

/// Threads that compute nothing, as fast as they can, until dropped.
struct Loops {
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Loops {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let spin = |_| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    spin_loop();
                }
            })
        };
        let threads = (0..LOOPS).map(spin).collect();
        Self { over, threads }
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// A server in a thread of its own, as it would be in a process of its own. Runs to the end of the
/// test.
fn alone(name: &'static str) -> Endpoint {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::named(name).await;
            sender.send(server.endpoint()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

#[tokio::test]
async fn endpoints_are_not_blamed_for_a_busy_machine() {
    let probe = Probe::http("/").unwrap().fresh();
    let probe = probe
        .interval(Duration::from_millis(100))
        .timeout(Duration::from_millis(100))
        .thresholds(Thresholds::new().fall(2).rise(2));
    let builder = Balance::builder().endpoint(alone("a")).endpoint(alone("b"));
    let balance = builder.probe(probe).shared(client()).unwrap();
    let cluster = balance.cluster();
    cluster.available().await;
    let mut events = cluster.subscribe();

    let busy = Loops::start();
    let (start, mut requests) = (Instant::now(), tokio::task::JoinSet::new());
    let mut ticks = tokio::time::interval(PACE);
    while start.elapsed() < TIME {
        ticks.tick().await;
        let balance = balance.clone();
        requests.spawn(async move {
            let response = balance.oneshot(get("/")).await?;
            let status = response.status();
            text(response.into_body()).await;
            Ok::<_, whippletree::Error>(status)
        });
    }
    let answers = requests.join_all().await;
    drop(busy);

    let failed: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), answers.len(), failed[0]);
    assert!(answers.len() > 300, "only {} requests were sent", answers.len());
    let told = std::iter::from_fn(|| events.try_next());
    let blame = |event: &Event| matches!(event, Event::ProbeDown { .. } | Event::Ejected { .. });
    let blames: Vec<Event> = told.filter(blame).collect();
    assert!(blames.is_empty(), "{blames:?}");
    assert_eq!(cluster.status().available(), 2);
}
