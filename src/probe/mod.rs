//! Active checks: endpoints are asked how they are before requests find out.
//!
//! A [`Probe`] asks every endpoint of a cluster again and again, and takes those out that fail. A
//! cluster may have several; an endpoint serves when none speaks against it.
//!
//! ```
//! use std::time::Duration;
//! use whippletree::probe::Probe;
//! use whippletree::{BoxError, Cluster, Context, Endpoint};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
//! # .unwrap().block_on(async {
//! let cluster = Cluster::builder().connect(|_| ());
//! let probe = Probe::custom(|target| async move {
//!     match target.endpoint().address().host() {
//!         "10.0.0.1" => Ok(()),
//!         _ => Err(BoxError::from("does not answer")),
//!     }
//! });
//! tokio::spawn(cluster.probe(probe.interval(Duration::from_secs(1))));
//! cluster.replace([Endpoint::new("10.0.0.1:80")?, Endpoint::new("10.0.0.2:80")?])?;
//!
//! let error = cluster.pick(&Context::new()).unwrap_err();
//! assert_eq!(error.to_string(), "no available endpoint: 2 known, 2 not yet proven");
//! cluster.available().await;
//! assert_eq!(cluster.pick(&Context::new())?.endpoint().address().host(), "10.0.0.1");
//! # Ok::<(), whippletree::Error>(())
//! # }).unwrap();
//! ```
//!
//! # What to ask
//!
//! | check | asks | needs |
//! |---|---|---|
//! | [`Probe::http`], [`through`](HttpCheck::through) the endpoint's service | an HTTP request on the way that all requests take | a payload that is a tower service |
//! | [`Probe::http`] over a connection of its own | an HTTP/1.1 request | the feature `hyper` |
//! | `Probe::tcp` | whether somebody listens | the feature `hyper` |
//! | [`Probe::custom`], [`Check`] | whatever you write: gRPC's health service, `PING` of a database | |
//!
//! # Probes and outlier detection
//!
//! A probe asks on purpose, [outlier detection](crate::health::outlier) listens to live traffic.
//! They find different things, so both belong together.
//!
//! | | probe | outlier detection |
//! |---|---|---|
//! | a server that dies | found within `fall` checks, with no request lost if there were none | found by the first requests, within milliseconds under load |
//! | a server without traffic | found | not found |
//! | a failure that only real requests meet | not found, if the health path does not meet it | found |
//! | a server that is back | found without a request at risk | one request has to try it |
//! | a new server | serves once it has passed | serves at once |
//!
//! A check that passes does not end an ejection by default: the health path may well work where
//! requests fail ([`Outlier`](crate::health::outlier::Outlier) has the switch).
//!
//! # Parameters
//!
//! | parameter | default | HAProxy | Envoy |
//! |---|---|---|---|
//! | [`interval`](Probe::interval) | 5 s | `inter` (2 s) | `interval` |
//! | [`timeout`](Probe::timeout) | 2 s, never above the interval | `timeout check` | `timeout` |
//! | [`fast_interval`](Probe::fast_interval) | interval / 5 | `fastinter` | `unhealthy_edge_interval`, `healthy_edge_interval` |
//! | [`down_interval`](Probe::down_interval) | interval | `downinter` | `unhealthy_interval` |
//! | [`thresholds`](Probe::thresholds): fall | 3 | `fall` (3) | `unhealthy_threshold` |
//! | [`thresholds`](Probe::thresholds): rise | 2 | `rise` (2) | `healthy_threshold` |
//! | [`jitter`](Probe::jitter) | ±10 % | `spread-checks` (0) | `interval_jitter_percent` |
//! | [`initial`](Probe::initial) | unproven: no requests before one check has passed | `init-state`: `Up` is its `fully-up`, `Down` its `fully-down` | unhealthy until one has passed |
//! | [`concurrency`](Probe::concurrency) | 64, of this probe in this cluster | no limit | no limit |
//! | [`adjust_rank`](Probe::adjust_rank) | takes the endpoint out | | |
//! | [`trust_traffic`](Probe::trust_traffic) | off | `observe` (the reverse: traffic that fails) | |
//! | [`HttpCheck::expect`] | 200 to 399 | `http-check expect` | `expected_statuses` (200) |
//! | [`HttpCheck::drain_on_status`] | off | `http-check disable-on-404` | |
//! | [`HttpCheck::port`] | the endpoint's | `port` | `health_check_config.port_value` |
//!
//! HAProxy's `option httpchk GET /api/v1/health` with `inter 5s fall 3 rise 2` is
//! `Probe::http("/api/v1/health")?`, sent `fresh` or through the endpoint's service.
//!
//! # When checks are made
//!
//! New endpoints are checked at once: up to 64 that come within an interval, the others spread over
//! it. From then on each has a place of its own within the interval and keeps it; the jitter is
//! counted from there. So ten thousand endpoints make an even stream of checks, and still do after
//! days. Fast and slow intervals keep the places as well: the first check at a new pace comes after
//! half of the new interval to one and a half.
//!
//! There is one check at a time of an endpoint, and [`concurrency`](Probe::concurrency) of all;
//! who waits for a turn is checked in the order of the times. Between checks nothing runs: a
//! probe costs a timer.
//!
//! # Who is late?
//!
//! A check has failed at its [`timeout`](Probe::timeout), which counts from its start to the end of
//! the body. But on a machine that is too busy it is the prober that is late: it cannot look at
//! answers that have long been there. So a deadline that is noticed late is put off by as much, and a
//! failure that is noticed more than an interval late says that *this* machine was asleep or
//! overloaded, and nothing of the endpoint: it is not counted. After such a time all checks would be
//! due together; they are made at their next places instead. (`tests/starvation.rs`: 64 busy loops on
//! two cores.)
//!
//! # States
//!
//! In [maintenance](crate::cluster::Admin::Maintenance) an endpoint is not checked, and afterwards
//! it has to prove itself anew; a drained one is checked as ever. What a removed one has shown is
//! kept as long as the [endpoint](crate::cluster::Builder::forget_after) is.

mod builder;
mod check;
#[cfg(feature = "hyper")]
mod direct;
mod http;
mod runner;
mod schedule;
mod target;
mod through;

use crate::cluster::Cluster;

pub use self::builder::Probe;
pub use self::check::{Answer, Check, CheckFuture};
pub use self::http::HttpCheck;
pub use self::target::Target;
pub use self::through::Answering;

impl<S: Send + Sync + 'static> Cluster<S> {
    /// Checks every endpoint again and again: spawn the future that this returns. See
    /// [`probe`](crate::probe) for what follows from it.
    ///
    /// The probe counts from this call on, and not from the future's first poll: endpoints that are
    /// inserted afterwards, and those that are here, have to pass before they serve, unless its
    /// [`initial`](Probe::initial) state says otherwise.
    ///
    /// The future ends when the last handle of the cluster is dropped. Checks run in tasks of their
    /// own; a panic in one is a failed check.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the probe and the checks under way; what it has found no longer
    /// counts.
    ///
    /// # Panics
    ///
    /// The future, outside of a tokio runtime with a timer.
    #[must_use = "the checks are made by the future: spawn it"]
    pub fn probe(&self, probe: Probe) -> impl Future<Output = ()> + Send + use<S> {
        let registration = runner::Registration::new(&self.probed(), &probe);
        runner::run(probe, registration)
    }
}
