use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::purse::Purse;
use super::quantile::Quantile;
use super::{FailoverStats, HedgeFuture, is_idempotent};
use crate::cluster::Attempt;
use crate::error::Error;

/// No hedge is made sooner: it is the resolution of tokio's timers.
const SOONEST: Duration = Duration::from_millis(1);

/// When a request is slow enough to be sent to a second endpoint too.
///
/// Only idempotent requests without a body, or with one that was kept as a whole, and only if
/// there is another endpoint than the first. The first good answer wins, the other request is
/// dropped; good is what failover would not send again. Hedges and retries are paid from one budget;
/// in a panic there are none.
///
/// The endpoint of a request that lost is told no more than that an answer would have taken longer.
/// But if that happens to it as often in a row as failures are evidence
/// ([5](crate::health::outlier::Outlier::consecutive_failures)), and it has answered nothing in between,
/// every further time is a failure: hedges must not hide an endpoint that hangs.
///
/// Clones share what they have learnt of latencies.
///
/// ```
/// use std::time::Duration;
/// use whippletree::failover::Hedge;
///
/// let fixed = Hedge::after(Duration::from_millis(50));
/// let learnt = Hedge::percentile(95.0)?;
/// assert!(Hedge::percentile(100.0).is_err());
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone)]
pub struct Hedge(Arc<Delay>);

#[derive(Debug)]
enum Delay {
    Fixed(Duration),
    Learnt(Quantile),
}

impl Hedge {
    /// After this time without a response head.
    #[must_use]
    pub fn after(delay: Duration) -> Self {
        Self(Arc::new(Delay::Fixed(delay)))
    }

    /// After a time within which so many percent of the requests have their response head, of
    /// the last few thousand; 1 ms at least, and never before 100 responses are known.
    ///
    /// The share that lies above is about the share of requests that are hedged: 95 is a good
    /// choice (Dean and Barroso, "The Tail at Scale", 2013), and less than 80 is more than the default
    /// budget pays for.
    ///
    /// # Errors
    ///
    /// What is not above 0 and below 100.
    pub fn percentile(percent: f64) -> Result<Self, Error> {
        if !(percent > 0.0 && percent < 100.0) {
            return Err(Error::config("percentile", percent, "is not between 0 and 100"));
        }
        Ok(Self(Arc::new(Delay::Learnt(Quantile::new(percent / 100.0)))))
    }

    /// How long to wait for the first endpoint, if that is known.
    pub(super) fn delay(&self) -> Option<Duration> {
        match &*self.0 {
            Delay::Fixed(delay) => Some(*delay),
            Delay::Learnt(quantile) => quantile.estimate().map(|time| time.max(SOONEST)),
        }
    }

    /// The first endpoint took so long, or longer.
    pub(super) fn learn(&self, took: Duration) {
        if let Delay::Learnt(quantile) = &*self.0 {
            quantile.record(took);
        }
    }
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &*self.0 {
            Delay::Fixed(_) => "fixed",
            Delay::Learnt(_) => "learnt",
        };
        f.debug_struct("Hedge").field("kind", &kind).field("delay", &self.delay()).finish()
    }
}

/// Sends slow requests to a second endpoint too, without failover.
///
/// Has a budget of its own, that of [`Failover`](super::Failover). To have both, and one budget, see
/// [`FailoverLayer::hedge`](super::FailoverLayer::hedge).
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
/// use whippletree::failover::{Hedge, HedgeLayer};
/// use whippletree::Balance;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let balance = Balance::builder().endpoints(["10.0.0.1:80", "10.0.0.2:80"])?.connect(|endpoint| {
///     let slow = endpoint.address().host() == "10.0.0.1";
///     service_fn(move |_: Request<()>| async move {
///         tokio::time::sleep(Duration::from_millis(if slow { 5000 } else { 10 })).await;
///         Ok::<_, std::io::Error>(Response::new(String::from("well")))
///     })
/// })?;
/// let service = HedgeLayer::new(Hedge::after(Duration::from_millis(50))).layer(balance);
/// for _ in 0..10 {
///     let started = tokio::time::Instant::now();
///     service.clone().oneshot(Request::new(())).await?;
///     assert!(started.elapsed() <= Duration::from_millis(61));
/// }
/// # Ok::<(), whippletree::BoxError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct HedgeLayer {
    hedge: Hedge,
    purse: Arc<Purse>,
}

impl HedgeLayer {
    /// With the default budget.
    #[must_use]
    pub fn new(hedge: Hedge) -> Self {
        Self { hedge, purse: Arc::default() }
    }

    /// What was counted so far, over all clones and all services that it made.
    #[must_use]
    pub fn stats(&self) -> FailoverStats {
        self.purse.stats()
    }
}

impl<S> Layer<S> for HedgeLayer {
    type Service = HedgeService<S>;

    fn layer(&self, inner: S) -> HedgeService<S> {
        let mut service =
            HedgeService::new(inner, Some(self.hedge.clone()), Arc::clone(&self.purse));
        service.deposits = Deposits::Here;
        service
    }
}

/// A service that hedges its requests. Made by [`HedgeLayer`].
#[derive(Clone, Debug)]
pub struct HedgeService<S> {
    inner: S,
    hedge: Option<Hedge>,
    purse: Arc<Purse>,
    deposits: Deposits,
}

/// Who tells the budget that a request has come in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Deposits {
    Here,
    Above,
}

impl<S> HedgeService<S> {
    /// Below a failover that makes the deposits.
    pub(super) fn new(inner: S, hedge: Option<Hedge>, purse: Arc<Purse>) -> Self {
        Self { inner, hedge, purse, deposits: Deposits::Above }
    }
}

impl<S, B, R> Service<Request<B>> for HedgeService<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Error> + Clone,
    B: Clone,
{
    type Response = Response<R>;
    type Error = Error;
    type Future = HedgeFuture<S, Request<B>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if self.deposits == Deposits::Here {
            self.purse.deposit();
        }
        let hedge = self.hedge.as_ref().filter(|_| is_idempotent(&request));
        let Some(hedge) = hedge else {
            return HedgeFuture::single(self.inner.call(request));
        };
        let whole = request.extensions().get::<Attempt>().cloned();
        let first = Attempt::new();
        request.extensions_mut().insert(first.clone());
        // Only a request that may be hedged is kept a second time.
        let spare = hedge.delay().map(|delay| (delay, request.clone(), self.inner.clone()));
        let called = self.inner.call(request);
        HedgeFuture::hedged(called, first, whole, hedge.clone(), Arc::clone(&self.purse), spare)
    }
}
