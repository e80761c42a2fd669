//! pingora-load-balancing: round robin, random, and the update of a list.

use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};
use pingora_load_balancing::{Backend, Backends, LoadBalancer};

use crate::fixtures;

pub use pingora_ketama::Continuum;
pub use pingora_load_balancing::selection::{Consistent, Random, RoundRobin};

/// How many backends `select` may look at: the value of pingora's own examples.
pub const MAX_ITERATIONS: usize = 256;

/// A load balancer whose list of backends can be exchanged.
#[derive(Debug)]
pub struct Switchable {
    list: Arc<ArcSwap<BTreeSet<Backend>>>,
}

impl Switchable {
    /// A load balancer over `list`, and the handle that exchanges the list.
    pub fn over<S>(list: BTreeSet<Backend>) -> (Self, LoadBalancer<S>)
    where
        S: BackendSelection + 'static,
        S::Iter: BackendIter,
    {
        let list = Arc::new(ArcSwap::from_pointee(list));
        let discovery = Discovery(Arc::clone(&list));
        let balancer = LoadBalancer::from_backends(Backends::new(Box::new(discovery)));
        update(&balancer);
        (Self { list }, balancer)
    }

    /// What the next update finds.
    pub fn switch(&self, list: &Arc<BTreeSet<Backend>>) {
        self.list.store(Arc::clone(list));
    }
}

/// A load balancer over the first `endpoints` addresses.
pub fn balancer<S>(endpoints: usize) -> LoadBalancer<S>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    Switchable::over(backends(endpoints)).1
}

/// The first `endpoints` addresses, each of weight 1.
pub fn backends(endpoints: usize) -> BTreeSet<Backend> {
    (0..endpoints).map(|i| backend(i, 1)).collect()
}

/// Endpoint number `i`.
///
/// # Panics
///
/// If the fixture's address does not parse.
pub fn backend(i: usize, weight: usize) -> Backend {
    Backend::new_with_weight(&fixtures::address(i), weight).expect("a fixture is ip:port")
}

/// pingora's ring of the first `endpoints` addresses.
///
/// # Panics
///
/// If the fixture's address does not parse.
pub fn ketama(endpoints: usize) -> Continuum {
    let address = |i| fixtures::address(i).parse().expect("a fixture is ip:port");
    let buckets: Vec<_> =
        (0..endpoints).map(|i| pingora_ketama::Bucket::new(address(i), 1)).collect();
    Continuum::new(&buckets)
}

/// One whole update: discovery, comparison, selector built and stored.
///
/// # Panics
///
/// If discovery does not answer at once.
pub fn update<S>(balancer: &LoadBalancer<S>)
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let done = pin!(balancer.update()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(done, Poll::Ready(Ok(()))), "the list is in memory");
}

/// Hands out a copy of the list, as the trait asks for an owned one.
struct Discovery(Arc<ArcSwap<BTreeSet<Backend>>>);

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> pingora_error::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let enabled = HashMap::new();
        Ok((BTreeSet::clone(&self.0.load_full()), enabled))
    }
}
