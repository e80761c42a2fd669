use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;

use super::{Addressed, Balance, FAIL_FAST, Http};
use crate::cluster::{self, Cluster, Queue};
#[cfg(feature = "serde")]
use crate::discover::Subsetting;
use crate::discover::{Options, Update};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::health::outlier::Outlier;
use crate::health::{Classify, SlowStart};
use crate::load::{Completion, Cost};
use crate::policy::Policy;
use crate::probe::Probe;

/// Parameters of a [`Balance`] and of the cluster behind it, all with defaults.
#[derive(Clone)]
pub struct Builder {
    cluster: cluster::Builder,
    endpoints: Vec<Endpoint>,
    sources: Vec<Discovery>,
    probes: Vec<Probe>,
    fail_fast: Duration,
    edge: Http,
}

/// A named source, started anew for every balance that the builder makes.
#[derive(Clone)]
struct Discovery {
    options: Options,
    start: Arc<dyn Fn() -> BoxStream + Send + Sync>,
}

type BoxStream = Pin<Box<dyn Stream<Item = Update> + Send>>;

impl Builder {
    /// All defaults, no endpoint.
    #[must_use]
    pub fn new() -> Self {
        Self::of(cluster::Builder::new())
    }

    /// Starts with a cluster's parameters instead of the defaults: those that this builder has no
    /// method for, such as tiers, panic and locality.
    #[must_use]
    pub fn of(cluster: cluster::Builder) -> Self {
        Self {
            cluster,
            endpoints: Vec::new(),
            sources: Vec::new(),
            probes: Vec::new(),
            fail_fast: FAIL_FAST,
            edge: Http::new(),
        }
    }

    /// Adds endpoints, as [`Endpoint`]s or as addresses.
    ///
    /// # Errors
    ///
    /// A malformed address.
    pub fn endpoints<I>(mut self, endpoints: I) -> Result<Self, Error>
    where
        I: IntoIterator<Item: TryInto<Endpoint, Error: Into<Error>>>,
    {
        for endpoint in endpoints {
            self.endpoints.push(endpoint.try_into().map_err(Into::into)?);
        }
        Ok(self)
    }

    /// Adds an endpoint.
    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint);
        self
    }

    /// Follows a stream of changes or of whole sets, which `start` makes, and makes anew whenever
    /// it breaks off; see [`Source::discover`](cluster::Source::discover). The balance then has to
    /// be made within a tokio runtime with timers.
    ///
    /// `options` are a name, or [more](Options).
    #[must_use]
    pub fn discover<T>(
        mut self,
        options: impl Into<Options>,
        start: impl Fn() -> T + Send + Sync + 'static,
    ) -> Self
    where
        T: Stream<Item: Into<Update>> + Send + 'static,
    {
        let start = move || -> BoxStream { Box::pin(Updates { stream: Box::pin(start()) }) };
        self.sources.push(Discovery { options: options.into(), start: Arc::new(start) });
        self
    }

    /// Checks the endpoints again and again; see [`probe`](crate::probe). None serves before it has
    /// passed a check, if the probe says no otherwise. The balance then has to be made within a
    /// tokio runtime.
    #[must_use]
    pub fn probe(mut self, probe: impl Into<Probe>) -> Self {
        self.probes.push(probe.into());
        self
    }

    /// Names the cluster, for logs and statistics. Default `cluster`.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.cluster = self.cluster.name(name);
        self
    }

    /// Sets the selection algorithm. Default [`P2c`](crate::policy::P2c).
    #[must_use]
    pub fn policy(mut self, policy: impl Policy) -> Self {
        self.cluster = self.cluster.policy(policy);
        self
    }

    /// Sets what load-aware policies compare. Default [`Cost::InFlight`].
    #[must_use]
    pub fn cost(mut self, cost: Cost) -> Self {
        self.cluster = self.cluster.cost(cost);
        self
    }

    /// Sets how live traffic is judged; `None` turns it off. Default [`Outlier::new`]: on.
    #[must_use]
    pub fn outlier(mut self, outlier: impl Into<Option<Outlier>>) -> Self {
        self.cluster = self.cluster.outlier(outlier);
        self
    }

    /// Lets endpoints that have just become fit to serve start slowly. Default `None`: at once.
    #[must_use]
    pub fn slow_start(mut self, slow_start: impl Into<Option<SlowStart>>) -> Self {
        self.cluster = self.cluster.slow_start(slow_start);
        self
    }

    /// Makes every random choice repeatable; see [`cluster::Builder::seed`].
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.cluster = self.cluster.seed(seed);
        self
    }

    /// Sets how long `poll_ready` waits for an available endpoint. Default 5 s; zero does not
    /// wait, nor does it without [timers](super#what-it-does-with-a-request).
    #[must_use]
    pub fn fail_fast(mut self, time: Duration) -> Self {
        self.fail_fast = time;
        self
    }

    /// Lets requests wait while all endpoints are at their
    /// [limits](Endpoint::with_max_in_flight). Default: none waits.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<Option<Queue>>) -> Self {
        self.cluster = self.cluster.queue(queue);
        self
    }

    /// Sets when a request stops being in flight. Default [`Completion::End`].
    #[must_use]
    pub fn completion(mut self, completion: Completion) -> Self {
        self.edge.completion = completion;
        self
    }

    /// Sets who reads from responses and errors what they say of their endpoint. Default
    /// [`HttpOutcomes`](crate::health::HttpOutcomes); for gRPC,
    /// [`GrpcOutcomes`](crate::health::GrpcOutcomes).
    #[must_use]
    pub fn classify(mut self, classify: impl Classify) -> Self {
        self.edge.classify(classify);
        self
    }

    /// Lets every response say who served it, by the extension [`ServedBy`](super::ServedBy), and
    /// not only those whose request carried a [`Context`](crate::Context). Costs an allocation
    /// per response.
    #[must_use]
    pub fn tag_responses(mut self) -> Self {
        self.edge.tag = true;
        self
    }

    /// Makes every source that was added so far list a subset.
    #[cfg(feature = "serde")]
    pub(crate) fn narrow(mut self, subsetting: &Subsetting) -> Self {
        for source in &mut self.sources {
            source.options = source.options.clone().subsetting(subsetting.clone());
        }
        self
    }

    /// Finds out now what would hinder [`shared`](Self::shared).
    pub(super) fn check(&self) -> Result<(), Error> {
        cluster::check(&self.endpoints)?;
        let mut names: Vec<&str> =
            self.sources.iter().map(|source| &*source.options.name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::config("discover", pair[0], "names two sources")),
            None => Ok(()),
        }
    }

    /// Balances one client over the endpoints; see [`Addressed`].
    ///
    /// # Errors
    ///
    /// An id that two endpoints have, a name that two discovery sources have; a discovery source or
    /// a probe without a tokio runtime.
    pub fn shared<C>(self, client: C) -> Result<Balance<Addressed<C>>, Error>
    where
        C: Clone + Send + Sync + 'static,
    {
        self.connect(move |endpoint| Addressed::new(client.clone(), endpoint))
    }

    /// Balances over a service per endpoint, which `connect` makes; see
    /// [`cluster::Builder::connect`].
    ///
    /// # Errors
    ///
    /// As [`shared`](Self::shared), or a panic of `connect`.
    pub fn connect<S, F>(self, connect: F) -> Result<Balance<S>, Error>
    where
        S: Send + Sync + 'static,
        F: Fn(&Endpoint) -> S + Send + Sync + 'static,
    {
        self.check()?;
        let cluster = self.cluster.connect(connect);
        // Before there are endpoints: none is to serve unproven.
        for probe in self.probes {
            spawn("probe", &probe.to_string(), cluster.probe(probe.clone()))?;
        }
        cluster.replace(self.endpoints)?;
        for discovery in self.sources {
            start(&cluster, discovery)?;
        }
        let balance = Balance::new(cluster).fail_fast(self.fail_fast);
        Ok(Balance { edge: self.edge, ..balance })
    }
}

fn start<S: Send + Sync + 'static>(
    cluster: &Cluster<S>,
    discovery: Discovery,
) -> Result<(), Error> {
    let name = Arc::clone(&discovery.options.name);
    let task = cluster.discover(discovery.options, move || (discovery.start)());
    spawn("discover", &name, task)
}

fn spawn(
    field: &str,
    name: &str,
    task: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Handle::try_current()
        .map_err(|_| Error::config(field, name, "needs a tokio runtime"))?;
    runtime.spawn(task);
    Ok(())
}

/// A stream whose items are made updates.
struct Updates<T> {
    stream: Pin<Box<T>>,
}

impl<T: Stream<Item: Into<Update>>> Stream for Updates<T> {
    type Item = Update;

    fn poll_next(
        mut self: Pin<&mut Self>,
        task: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Update>> {
        self.stream.as_mut().poll_next(task).map(|item| item.map(Into::into))
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources: Vec<&str> = self.sources.iter().map(|source| &*source.options.name).collect();
        f.debug_struct("Builder")
            .field("cluster", &self.cluster)
            .field("endpoints", &self.endpoints)
            .field("sources", &sources)
            .field("probes", &self.probes)
            .field("fail_fast", &self.fail_fast)
            .field("edge", &self.edge)
            .finish()
    }
}
