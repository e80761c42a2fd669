//! tower's `Balance`, alone and behind a `Buffer`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tower::Service;
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, Load, PeakEwma, PendingRequests};

use crate::service::Unit;

/// A balancer over a fixed list of `S`.
pub type Fixed<S, R = ()> = Balance<ServiceList<Vec<S>>, R>;

type Shared = Buffer<(), <Fixed<PendingRequests<Unit>> as Service<()>>::Future>;

/// The round trip that an endpoint starts with and the time in which it decays, as in linkerd2-proxy.
const DEFAULT_RTT: Duration = Duration::from_millis(30);
const DECAY_NANOS: f64 = 10e9;

/// A balancer over `endpoints` copies of `service`, by requests in flight.
pub fn pending<S, R>(endpoints: usize, service: &S) -> Fixed<PendingRequests<S>, R>
where
    S: Service<R> + Clone,
    S::Error: Into<tower::BoxError>,
{
    fixed(endpoints, || PendingRequests::new(service.clone(), CompleteOnResponse::default()))
}

/// A balancer over `endpoints` services, by peak EWMA.
pub fn peak_ewma(endpoints: usize) -> Fixed<PeakEwma<Unit>> {
    let completion = CompleteOnResponse::default();
    fixed(endpoints, || PeakEwma::new(Unit, DEFAULT_RTT, DECAY_NANOS, completion))
}

fn fixed<S, R>(endpoints: usize, mut service: impl FnMut() -> S) -> Fixed<S, R>
where
    S: Service<R> + Load,
    S::Error: Into<tower::BoxError>,
{
    let services = (0..endpoints).map(|_| service()).collect();
    Balance::new(ServiceList::new::<R>(services))
}

/// tower's answer to sharing a balancer between threads: a task that owns it and a channel to it.
///
/// The clients and the task run on one tokio runtime with as many workers as there are client
/// threads, so that a wake-up stays within the runtime: the cheapest way to use a `Buffer`.
#[derive(Debug)]
pub struct Buffered {
    runtime: Runtime,
    buffer: Shared,
    clients: usize,
    per_thread: usize,
}

impl Buffered {
    /// `threads` threads, each with `per_thread` requests at a time.
    ///
    /// # Panics
    ///
    /// If the system gives no thread.
    pub fn new(endpoints: usize, threads: usize, per_thread: usize) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .build()
            .expect("the system has a thread left for the bench");
        let clients = threads * per_thread;
        let _inside = runtime.enter();
        // A bound above the number of clients, as `Buffer::new` advises: nobody waits for a slot.
        let buffer = Buffer::new(pending(endpoints, &Unit), 2 * clients);
        Self { runtime, buffer, clients, per_thread }
    }

    /// Time for each thread to send `iters` requests and to see them answered.
    pub fn elapsed(&self, iters: u64) -> Duration {
        let per_thread = self.per_thread as u64;
        let each = iters.div_ceil(per_thread);
        let slowest = self.runtime.block_on(self.slowest_client(each));
        // All clients of a thread together make a few requests more than asked for.
        slowest.mul_f64(iters as f64 / (each * per_thread) as f64)
    }

    async fn slowest_client(&self, each: u64) -> Duration {
        let start = Arc::new(Barrier::new(self.clients));
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            let (mut buffer, start) = (self.buffer.clone(), Arc::clone(&start));
            clients.spawn(async move {
                start.wait().await;
                let start = Instant::now();
                for _ in 0..each {
                    request(&mut buffer).await;
                }
                start.elapsed()
            });
        }
        clients.join_all().await.into_iter().max().unwrap_or_default()
    }
}

async fn request(shared: &mut Shared) {
    let ready = std::future::poll_fn(|context| shared.poll_ready(context)).await;
    ready.expect("the buffer's task lives as long as the runtime");
    shared.call(()).await.expect("the service cannot fail");
}
