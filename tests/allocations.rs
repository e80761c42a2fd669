//! What the crate allocates per request: nothing.
//!
//! A test binary of its own, because it replaces the allocator by one that counts, each thread for
//! itself.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unsafe_code, reason = "an allocator cannot be written without; none is in the crate")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::Service;
use whippletree::affinity::{ClientAddress, Key, KeyHash, Peer};
use whippletree::cluster::Queue;
use whippletree::health::HttpOutcomes;
use whippletree::load::{Cost, PeakEwma};
use whippletree::policy::{self, Maglev, P2c, Policy, Rendezvous, RingHash};
use whippletree::{Balance, Cluster, Context, Endpoint, Outcome};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands every call on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is being torn down has no counter any more, and no test.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` allocates on this thread, once it has run a few times before.
fn allocations(mut work: impl FnMut()) -> usize {
    (0..100).for_each(|_| work());
    let before = ALLOCATIONS.with(Cell::get);
    (0..1000).for_each(|_| work());
    ALLOCATIONS.with(Cell::get) - before
}

fn endpoints(count: u16, weight: impl Fn(u16) -> u16) -> impl Iterator<Item = Endpoint> {
    (0..count).map(move |index| {
        let address = format!("10.0.{}.{}:80", index / 256, index % 256);
        Endpoint::new(address).unwrap().with_weight(weight(index))
    })
}

#[test]
fn the_allocator_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1000);
}

#[test]
fn limits_and_an_idle_queue_allocate_nothing() {
    for name in ["p2c", "least_request", "round_robin", "random", "ranked", "maglev"] {
        let policy = policy::by_name(name).unwrap();
        let cluster = Cluster::builder().policy(policy).queue(Queue::new()).connect(|_| ());
        cluster.replace(endpoints(10, |_| 1).map(|one| one.with_max_in_flight(1))).unwrap();
        let held = cluster.pick(&Context::new()).unwrap();
        let others = Context::new().with_exclude(held.id().clone()).with_hash(1);
        let counted = allocations(|| drop(cluster.pick(&others).unwrap()));
        assert_eq!(counted, 0, "{name}");
    }
}

#[test]
fn no_policy_allocates_per_pick() {
    let names = [
        "p2c",
        "least_request",
        "round_robin",
        "random",
        "ranked",
        "ring_hash",
        "ketama",
        "maglev",
        "rendezvous",
    ];
    let mut policies: Vec<Arc<dyn Policy>> =
        names.iter().map(|name| policy::by_name(name).unwrap()).collect();
    policies.push(Arc::new(P2c::new().choices(3)));
    policies.push(Arc::new(RingHash::new().bounded(1.25).unwrap()));
    policies.push(Arc::new(Maglev::new().bounded(1.25).unwrap()));
    policies.push(Arc::new(Rendezvous::new().bounded(1.25).unwrap()));
    for policy in policies {
        for cost in [Cost::InFlight, Cost::PeakEwma(PeakEwma::new())] {
            for count in [2, 10, 1000] {
                for weight in [|_| 1, |index: u16| 1 + index % 7] {
                    let builder = Cluster::builder().policy(policy.clone()).cost(cost);
                    let cluster = builder.connect(|_| ());
                    cluster.replace(endpoints(count, weight)).unwrap();
                    let first = cluster.status().endpoints[0].endpoint.id().clone();
                    let contexts = [
                        Context::new(),
                        Context::new().with_hash(42),
                        Context::new().with_hash(42).with_exclude(first.clone()),
                        Context::new().with_exclude(first.clone()),
                        Context::new().with_prefer(first),
                    ];
                    for context in &contexts {
                        let counted = allocations(|| {
                            let mut lease = cluster.pick(context).unwrap();
                            lease.report(Outcome::Success);
                        });
                        assert_eq!(counted, 0, "{policy:?}, {cost:?}, {count}, {context:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn reading_and_hashing_a_key_allocates_nothing() {
    let request = Request::get("/a/b?x=1&user=ada")
        .header("x-user", "ada")
        .header("cookie", "theme=dark; user=ada")
        .header("x-forwarded-for", "192.0.2.7, 2001:db8::1")
        .extension(Peer([10, 0, 0, 1].into()));
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let proxies = ["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let keys = [
        Key::header("x-user").unwrap(),
        Key::cookie("user").unwrap(),
        Key::query("user").unwrap(),
        Key::path(),
        Key::client(ClientAddress::new().trusted(proxies)),
        Key::client(ClientAddress::new().trusted_hops(2)),
    ];
    for key in &keys {
        for hash in [KeyHash::default(), KeyHash::crc32(), KeyHash::secret([7; 16]).unwrap()] {
            let counted = allocations(|| assert!(key.hash(&parts, hash).is_some()));
            assert_eq!(counted, 0, "{key:?}, {hash:?}");
        }
    }
}

/// A service that allocates nothing.
#[derive(Clone)]
struct Instant;

impl Service<Request<()>> for Instant {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"well")))))
    }
}

#[test]
fn a_balanced_call_allocates_nothing_of_its_own() {
    let costs = [Cost::InFlight, Cost::PeakEwma(PeakEwma::new())];
    for (cost, classified) in costs.into_iter().flat_map(|cost| [(cost, false), (cost, true)]) {
        let cluster = Cluster::builder().cost(cost).connect(|_| Instant);
        cluster.replace(endpoints(10, |_| 1)).unwrap();
        let balance = Balance::new(cluster);
        let mut balance = if classified { balance.classify(HttpOutcomes) } else { balance };
        let task = &mut TaskContext::from_waker(Waker::noop());
        let counted = allocations(|| {
            assert!(balance.poll_ready(task).is_ready());
            let mut response = pin!(balance.call(Request::new(())));
            let Poll::Ready(Ok(response)) = response.as_mut().poll(task) else {
                panic!("the service is always ready");
            };
            let mut body = response.into_body();
            while let Poll::Ready(Some(frame)) = pin!(body.frame()).as_mut().poll(task) {
                frame.unwrap();
            }
        });
        assert_eq!(counted, 0, "{cost:?}, {classified}");
        assert_eq!(balance.cluster().status().endpoints[0].in_flight, 0);
    }
}

#[cfg(feature = "cookie")]
#[test]
fn cookies_of_others_are_read_without_an_allocation() {
    use http::header::{COOKIE, HeaderValue, SET_COOKIE};
    use tower::Layer;
    use whippletree::sticky::StickyLayer;

    let balance = Balance::builder().endpoints(endpoints(3, |_| 1)).unwrap();
    let balance = balance.connect(|_| Instant).unwrap();
    let layer = StickyLayer::builder().key("0123456789abcdef").build(balance.cluster()).unwrap();
    let mut sticky = layer.layer(balance);
    let mut task = TaskContext::from_waker(Waker::noop());
    let mut send = |cookies: &[HeaderValue]| {
        let mut request = Request::new(());
        for value in cookies {
            request.headers_mut().append(COOKIE, value.clone());
        }
        let Poll::Ready(response) = pin!(sticky.call(request)).poll(&mut task) else {
            panic!("it is ready at once");
        };
        response.unwrap()
    };
    let set = send(&[]).headers()[SET_COOKIE].to_str().unwrap().to_owned();
    let own = HeaderValue::from_str(set.split(';').next().unwrap()).unwrap();
    let many = HeaderValue::from_str(&vec!["name=value"; 4096].join("; ")).unwrap();
    let few = HeaderValue::from_static("a=b");
    let counted = |cookies: [HeaderValue; 2], send: &mut dyn FnMut(&[HeaderValue])| {
        allocations(|| send(&cookies))
    };
    let mut send = |cookies: &[HeaderValue]| drop(send(cookies));
    let with_few = counted([own.clone(), few], &mut send);
    assert_eq!(counted([own, many], &mut send), with_few);
}
