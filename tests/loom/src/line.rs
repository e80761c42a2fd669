//! The hand-over of slots: whoever waits gets the slot that becomes free, and one that was granted
//! and not fetched goes on to the next.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use loom::sync::atomic::AtomicU64;
use loom::thread;

use whippletree::cluster::{Acquire, Queue};
use whippletree::{Cluster, Context, Lease};

use super::{endpoint, in_flight};

/// Explores within a runtime whose timers exist and never fire.
///
/// A pick that fails has looked at every count several times, and loom tries every value that each
/// look may see: with at most three switches that no thread asked for, it ends in seconds.
fn model(explore: impl Fn() + Send + Sync + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(explore);
}

fn cluster(limits: &[u32]) -> Cluster<()> {
    let builder = Cluster::builder().seed(7).outlier(None).queue(Queue::new());
    let cluster = builder.connect(|_| ());
    let limited = limits.iter().zip(["a:1", "b:1"]);
    let limited = limited.map(|(limit, address)| endpoint(address).with_max_in_flight(*limit));
    cluster.replace(limited).unwrap();
    cluster
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A request that waits, and whether it was woken.
struct Waits {
    acquire: Acquire<()>,
    flag: Arc<Flag>,
}

impl Waits {
    fn begin(cluster: &Cluster<()>) -> Self {
        Self { acquire: cluster.acquire(&Context::new()), flag: Arc::default() }
    }

    /// The lease, if it is there.
    fn poll(&mut self) -> Option<Lease<()>> {
        let waker = Waker::from(Arc::clone(&self.flag));
        match Pin::new(&mut self.acquire).poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(lease) => Some(lease.unwrap()),
            Poll::Pending => None,
        }
    }

    /// The lease that must be there when everybody else is done: at once, or as a wake-up said.
    fn served(mut self, polled: Option<Lease<()>>) -> Lease<()> {
        polled.unwrap_or_else(|| {
            assert!(self.flag.0.load(Ordering::SeqCst), "a wake-up was lost");
            self.poll().expect("woken for a lease")
        })
    }
}

/// One slot is taken and ends while another request comes to wait for it.
#[test]
fn who_comes_to_wait_while_the_slot_is_freed_gets_it() {
    model(|| {
        let cluster = cluster(&[1]);
        let lease = cluster.pick(&Context::new()).unwrap();
        let ends = thread::spawn(move || drop(lease));
        let mut waits = Waits::begin(&cluster);
        let polled = waits.poll();
        ends.join().unwrap();
        drop(waits.served(polled));
        assert_eq!((in_flight(&cluster), cluster.status().queue.waiting), (0, 0));
    });
}

/// The first in line goes while it is granted the slot: the second gets it in any case.
#[test]
fn who_leaves_while_it_is_served_passes_the_slot_on() {
    model(|| {
        let cluster = cluster(&[1]);
        let lease = cluster.pick(&Context::new()).unwrap();
        let mut first = Waits::begin(&cluster);
        let mut second = Waits::begin(&cluster);
        assert!(first.poll().is_none() && second.poll().is_none());
        let ends = thread::spawn(move || drop(lease));
        drop(first);
        ends.join().unwrap();
        drop(second.served(None));
        assert_eq!((in_flight(&cluster), cluster.status().queue.waiting), (0, 0));
    });
}

/// A pick that does not wait comes at the moment at which the slot is freed: the slot is one.
#[test]
fn newcomer_and_the_first_in_line_do_not_both_get_the_slot() {
    model(|| {
        let cluster = cluster(&[1]);
        let lease = cluster.pick(&Context::new()).unwrap();
        let mut waits = Waits::begin(&cluster);
        assert!(waits.poll().is_none());
        let other = cluster.clone();
        let newcomer = thread::spawn(move || {
            assert!(other.pick(&Context::new()).is_err(), "overtaken");
        });
        drop(lease);
        newcomer.join().unwrap();
        let lease = waits.served(None);
        assert_eq!(in_flight(&cluster), 1);
        drop(lease);
    });
}

/// Two slots of two endpoints end at the same moment: both who wait are served.
#[test]
fn two_slots_that_end_at_once_serve_two() {
    model(|| {
        let cluster = cluster(&[1, 1]);
        let (one, two) = (cluster.pick(&Context::new()), cluster.pick(&Context::new()));
        let (mut first, mut second) = (Waits::begin(&cluster), Waits::begin(&cluster));
        assert!(first.poll().is_none() && second.poll().is_none());
        let ends = thread::spawn(move || drop(one.unwrap()));
        drop(two.unwrap());
        ends.join().unwrap();
        let leases = (first.served(None), second.served(None));
        assert_eq!(in_flight(&cluster), 2);
        drop(leases);
        assert_eq!((in_flight(&cluster), cluster.status().queue.waiting), (0, 0));
    });
}

/// An endpoint comes while a request begins to wait.
#[test]
fn endpoint_that_comes_serves_who_comes_to_wait() {
    model(|| {
        let cluster = cluster(&[1]);
        let _lease = cluster.pick(&Context::new()).unwrap();
        let other = cluster.clone();
        let comes = thread::spawn(move || other.insert(endpoint("b:1")).unwrap());
        let mut waits = Waits::begin(&cluster);
        let polled = waits.poll();
        comes.join().unwrap();
        assert_eq!(waits.served(polled).id().as_str(), "b:1");
    });
}

#[test]
fn last_slot_is_taken_once() {
    model(|| {
        let cluster = cluster(&[1]);
        let other = cluster.clone();
        let picker = thread::spawn(move || other.pick(&Context::new()).ok());
        let mine = cluster.pick(&Context::new()).ok();
        let theirs = picker.join().unwrap();
        assert!(mine.is_some() != theirs.is_some(), "a slot for two, or for none");
    });
}

/// As [`who_comes_to_wait_while_the_slot_is_freed_gets_it`], with the mark and the count in two
/// words: who ends looks for the mark before the other makes it, and the other for the slot before
/// it is free.
#[test]
#[should_panic(expected = "a wake-up was lost")]
fn twin_a_mark_beside_the_count_loses_a_wake_up() {
    loom::model(|| {
        let in_flight = loom::sync::Arc::new(AtomicU64::new(1));
        let (marked, woken) = (loom::sync::Arc::new(AtomicU64::new(0)), Arc::new(Flag::default()));
        let (its_count, its_mark) = (in_flight.clone(), marked.clone());
        let wakes = Arc::clone(&woken);
        let ends = thread::spawn(move || {
            its_count.fetch_sub(1, Ordering::Release);
            if its_mark.load(Ordering::Acquire) == 1 {
                wakes.wake();
            }
        });
        marked.store(1, Ordering::Release);
        let free = in_flight.load(Ordering::Acquire) == 0;
        ends.join().unwrap();
        assert!(free || woken.0.load(Ordering::SeqCst), "a wake-up was lost");
    });
}

/// As [`last_slot_is_taken_once`], with a look at the count before it is raised.
#[test]
#[should_panic(expected = "a slot for two")]
fn twin_a_count_that_is_looked_at_and_then_raised_exceeds_the_limit() {
    loom::model(|| {
        let in_flight = loom::sync::Arc::new(AtomicU64::new(0));
        let begin = |in_flight: &AtomicU64| {
            in_flight.load(Ordering::Acquire) < 1 && {
                in_flight.fetch_add(1, Ordering::AcqRel);
                true
            }
        };
        let other = in_flight.clone();
        let picker = thread::spawn(move || begin(&other));
        let mine = begin(&in_flight);
        assert!(!(picker.join().unwrap() && mine), "a slot for two");
    });
}
