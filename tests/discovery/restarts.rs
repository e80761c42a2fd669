//! Streams that are started anew when they break off. Time is paused: it passes at once while all
//! tasks wait.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_stream::Stream;
use whippletree::discover::Options;
use whippletree::event::Event;
use whippletree::{Balance, Cluster, Context, Endpoint};

use crate::support::ids;
use crate::{cluster, ended, failed, id, set, told};

type Sets = Pin<Box<dyn Stream<Item = Result<Vec<Endpoint>, &'static str>> + Send>>;

/// What one stream of the source does.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Delivers a set and goes on in silence.
    Deliver(&'static str),
    /// Delivers a set and ends.
    DeliverAndEnd(&'static str),
    End,
    Panic,
    /// Panics before there is a stream.
    PanicAtStart,
    /// Tells an error and ends.
    FailAndEnd,
    /// Tells an error and is silent ever after.
    FailAndStall,
    /// Tells one error after the other, without a pause.
    FailForEver,
    Stall,
}

/// A source that does one after the other, and when it was asked.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<(VecDeque<Does>, Vec<Instant>)>>);

impl Script {
    fn new(script: &[Does]) -> Self {
        Self(Arc::new(Mutex::new((script.iter().copied().collect(), Vec::new()))))
    }

    fn start(&self) -> impl Fn() -> Sets + Send + Sync + 'static {
        let script = self.clone();
        move || {
            let next = {
                let mut script = script.0.lock().unwrap();
                script.1.push(Instant::now());
                script.0.pop_front().unwrap_or(Does::Stall)
            };
            next.stream()
        }
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }

    /// The times between the starts.
    fn delays(&self) -> Vec<Duration> {
        let asked = &self.0.lock().unwrap().1;
        asked.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

impl Does {
    fn stream(self) -> Sets {
        let panics = stream::poll_fn(|_| panic!("bug"));
        match self {
            Self::Deliver(names) => {
                Box::pin(stream::iter([Ok(set(names))]).chain(stream::pending()))
            }
            Self::DeliverAndEnd(names) => Box::pin(stream::iter([Ok(set(names))])),
            Self::End => Box::pin(stream::empty()),
            Self::Panic => Box::pin(panics),
            Self::PanicAtStart => panic!("bug"),
            Self::FailAndEnd => Box::pin(stream::iter([Err("no answer")])),
            Self::FailAndStall => {
                Box::pin(stream::iter([Err("no answer")]).chain(stream::pending()))
            }
            Self::FailForEver => Box::pin(stream::repeat_with(|| Err("no answer"))),
            Self::Stall => Box::pin(stream::pending()),
        }
    }
}

/// What a delay without jitter may have become.
fn about(seconds: u64, delay: Duration) -> bool {
    let nominal = Duration::from_secs(seconds);
    // A timer of tokio's may be a millisecond late.
    let allowed = nominal * 4 / 5..=nominal * 6 / 5 + Duration::from_millis(2);
    allowed.contains(&delay)
}

#[track_caller]
fn assert_delays(script: &Script, seconds: &[u64]) {
    let delays = script.delays();
    let fit = seconds.iter().zip(&delays).all(|(seconds, delay)| about(*seconds, *delay));
    assert!(fit && delays.len() == seconds.len(), "{delays:?} are not about {seconds:?}");
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn source_that_breaks_off_keeps_its_set_and_is_asked_again() {
    let trouble = [
        Does::End,
        Does::Panic,
        Does::PanicAtStart,
        Does::FailAndEnd,
        Does::FailAndStall,
        Does::FailForEver,
    ];
    for does in trouble {
        let script = Script::new(&[Does::DeliverAndEnd("a"), does, does, Does::Deliver("a b")]);
        let cluster = cluster();
        cluster.insert(crate::endpoint("own")).unwrap();
        tokio::spawn(cluster.discover("dns", script.start()));
        while script.asked() < 4 {
            sleep(Duration::from_millis(100)).await;
            assert_eq!(ids(&cluster)[0], "a", "{does:?}");
            assert!(cluster.pick(&Context::new()).is_ok());
        }
        sleep(Duration::from_millis(1)).await;
        assert_eq!(ids(&cluster), ["a", "b", "own"], "{does:?}");
        assert_delays(&script, &[1, 2, 4]);
        sleep(HOUR).await;
        assert_eq!(script.asked(), 4, "nobody asks a stream that goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn delays_double_to_a_minute_and_begin_anew_after_a_delivery() {
    let mut does = vec![Does::FailAndEnd; 8];
    does.extend([Does::DeliverAndEnd("a"), Does::FailAndEnd, Does::End]);
    let script = Script::new(&does);
    let cluster = cluster();
    tokio::spawn(cluster.discover("dns", script.start()));
    sleep(HOUR).await;
    assert_delays(&script, &[1, 2, 4, 8, 16, 32, 60, 60, 1, 2, 4]);
    let distinct: std::collections::BTreeSet<_> = script.delays().into_iter().collect();
    assert!(distinct.len() > 8, "no jitter: {distinct:?}");
}

#[tokio::test(start_paused = true)]
async fn source_that_always_ends_after_its_set_is_asked_once_a_minute() {
    let starts = Arc::new(AtomicUsize::new(0));
    let cluster = cluster();
    let mut events = cluster.subscribe();
    let start = {
        let starts = Arc::clone(&starts);
        move || {
            starts.fetch_add(1, Ordering::Relaxed);
            stream::iter([set("a")])
        }
    };
    tokio::spawn(cluster.discover("list", start));
    sleep(HOUR).await;
    let starts = starts.load(Ordering::Relaxed);
    assert!((50..80).contains(&starts), "{starts} starts in an hour");
    let told = told(&mut events);
    assert_eq!(told[0], Event::Added(id("a")));
    assert!(told[1..].iter().all(|event| *event == ended("list")), "{told:?}");
    assert_eq!(told.len(), 1 + starts);
    assert_eq!(cluster.sources()[0].failures, 0);
}

#[tokio::test(start_paused = true)]
async fn every_trouble_is_told() {
    let cases = [
        (Does::End, vec![ended("dns")]),
        (Does::Panic, vec![failed("dns", "source panicked: bug")]),
        (Does::PanicAtStart, vec![failed("dns", "source panicked: bug")]),
        (Does::FailAndEnd, vec![failed("dns", "no answer"), ended("dns")]),
        (Does::FailAndStall, vec![failed("dns", "no answer")]),
    ];
    for (does, expected) in cases {
        let script = Script::new(&[does, Does::Deliver("a")]);
        let cluster = cluster();
        let mut events = cluster.subscribe();
        tokio::spawn(cluster.discover("dns", script.start()));
        sleep(Duration::from_secs(2)).await;
        let mut told = told(&mut events);
        assert_eq!(told.pop(), Some(Event::Added(id("a"))));
        assert_eq!(told, expected, "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn stream_that_recovers_from_its_error_is_not_started_anew() {
    let starts = Arc::new(AtomicUsize::new(0));
    let cluster = cluster();
    let start = {
        let starts = Arc::clone(&starts);
        move || {
            starts.fetch_add(1, Ordering::Relaxed);
            let answers =
                [Ok(set("a")), Err("no answer"), Ok(set("b")), Err("no answer"), Ok(set("c"))];
            let slowly = stream::iter(answers).then(|answer| async {
                sleep(Duration::from_millis(500)).await;
                answer
            });
            slowly.chain(stream::pending())
        }
    };
    tokio::spawn(cluster.discover("dns", start));
    sleep(HOUR).await;
    assert_eq!(starts.load(Ordering::Relaxed), 1);
    assert_eq!(ids(&cluster), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn refused_set_is_no_reason_to_start_anew() {
    let script = Script::new(&[Does::Deliver("a a"), Does::Deliver("")]);
    for _ in 0..2 {
        let cluster = cluster();
        let before = script.asked();
        tokio::spawn(cluster.discover(Options::new("dns"), script.start()));
        sleep(HOUR).await;
        assert_eq!(script.asked(), before + 1);
        assert_eq!(cluster.sources()[0].failures, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn source_that_is_back_is_heard_after_one_delay() {
    let script = Script::new(&[Does::Deliver("a")]);
    let is_back = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let cluster = cluster();
    let start = {
        let (script, is_back) = (script.clone(), Arc::clone(&is_back));
        let mut first = true;
        move || match (std::mem::take(&mut first), is_back.load(Ordering::Relaxed)) {
            (true, _) => Does::DeliverAndEnd("a").stream(),
            (false, true) => script.start()(),
            (false, false) => Does::FailAndEnd.stream(),
        }
    };
    tokio::spawn(cluster.discover("dns", start));
    sleep(HOUR).await;
    assert_eq!(ids(&cluster), ["a"]);
    let status = &cluster.sources()[0];
    assert!(status.age > Some(HOUR - Duration::from_secs(10)), "{:?}", status.age);
    assert!(status.failures > 50, "{status:?}");
    assert!(status.is_followed);

    is_back.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(73)).await;
    assert_eq!(script.asked(), 1);
    let status = &cluster.sources()[0];
    assert!(status.age < Some(Duration::from_secs(73)), "{:?}", status.age);
    assert_eq!((status.failures, status.last_error.as_deref()), (0, Some("no answer")));
}

#[tokio::test(start_paused = true)]
async fn nothing_spins_while_a_source_waits() {
    let cluster = cluster();
    let polls = Arc::new(AtomicUsize::new(0));
    let script = Script::new(&[Does::FailAndStall, Does::Panic, Does::End, Does::FailForEver]);
    let mut discovery = Box::pin(cluster.discover("dns", script.start()));
    let counted = Arc::clone(&polls);
    tokio::spawn(std::future::poll_fn(move |task| {
        counted.fetch_add(1, Ordering::Relaxed);
        discovery.as_mut().poll(task)
    }));
    sleep(HOUR).await;
    assert_eq!(script.asked(), 5);
    let polls = polls.load(Ordering::Relaxed);
    assert!(polls < 30, "{polls} polls");
}

#[tokio::test(start_paused = true)]
async fn discovery_ends_with_the_cluster_and_when_it_is_overtaken_also_while_it_waits() {
    for does in [Does::Deliver("a"), Does::FailAndEnd] {
        let cluster = cluster();
        let script = Script::new(&[does]);
        let first = tokio::spawn(cluster.discover("dns", script.start()));
        sleep(Duration::from_millis(100)).await;
        let second = tokio::spawn(cluster.discover("dns", script.start()));
        timeout(Duration::from_millis(100), first).await.unwrap().unwrap();
        assert_eq!(script.asked(), 2);
        drop(cluster);
        timeout(Duration::from_millis(100), second).await.unwrap().unwrap();
    }
    let cluster = cluster();
    let script = Script::new(&[]);
    let overtaken = cluster.discover("dns", script.start());
    drop(cluster.discover("dns", script.start()));
    overtaken.await;
    assert_eq!(script.asked(), 0, "it was over before it began");
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_drop_of_a_stream_is_contained() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("bug");
        }
    }
    let cluster = cluster();
    let starts = Arc::new(AtomicUsize::new(0));
    let start = {
        let starts = Arc::clone(&starts);
        move || {
            let start = starts.fetch_add(1, Ordering::Relaxed);
            let bomb = (start == 0).then(|| Bomb);
            stream::poll_fn(move |_| match &bomb {
                Some(_) => Poll::Ready(None),
                None => Poll::Ready(Some(set("a"))),
            })
            .take(1)
        }
    };
    tokio::spawn(cluster.discover("dns", start));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(ids(&cluster), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn seeded_run_repeats_its_delays() {
    let run = |seed: Option<u64>| async move {
        let builder = seed.map_or(Cluster::builder(), |seed| Cluster::builder().seed(seed));
        let cluster = builder.connect(|_| ());
        let script = Script::new(&[Does::FailAndEnd; 6]);
        tokio::spawn(cluster.discover("dns", script.start()));
        sleep(HOUR).await;
        script.delays()
    };
    assert_eq!(run(Some(7)).await, run(Some(7)).await);
    assert_ne!(run(Some(7)).await, run(Some(8)).await);
    assert_ne!(run(None).await, run(None).await);
}

#[tokio::test(start_paused = true)]
async fn balance_is_built_with_sources_that_are_asked_again() {
    let script = Script::new(&[Does::FailAndEnd, Does::PanicAtStart, Does::DeliverAndEnd("a b")]);
    let balance = Balance::builder().discover("dns", script.start()).connect(|_| ()).unwrap();
    tokio::task::yield_now().await;
    assert!(balance.cluster().is_empty());
    advance(Duration::from_secs(4)).await;
    timeout(HOUR, balance.cluster().available()).await.unwrap();
    assert_eq!(ids(balance.cluster()), ["a", "b"]);
}
