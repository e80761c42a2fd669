//! Active checks: asking every endpoint whether it is well, before a user does.
//!
//! A [`Probe`] is a check, a rhythm and what the results do. A cluster that is given one checks
//! each of its endpoints, all the time, and lets none have traffic that fails.
//!
//! ```
//! use std::time::Duration;
//! use whippletree::health::Thresholds;
//! use whippletree::probe::Probe;
//! # type Body = String;
//! # type Client = tower::util::BoxCloneSyncService<
//! #     http::Request<Body>, http::Response<Body>, whippletree::BoxError>;
//!
//! let check = Probe::http("/api/v1/health")?.expect([200..=299]);
//! let probe = check
//!     .through::<Client, Body>()
//!     .interval(Duration::from_secs(5))
//!     .timeout(Duration::from_secs(2))
//!     .thresholds(Thresholds::new().fall(3).rise(2));
//! # assert_eq!(probe.to_string(), "http");
//! # Ok::<(), whippletree::Error>(())
//! ```
//!
//! # Probes or outliers?
//!
//! Both, for they are different evidence:
//!
//! | | a probe | outlier detection |
//! |---|---|---|
//! | asks | on its own, also endpoints without traffic | nobody: it reads the outcomes of live requests |
//! | costs | requests, all the time | failed requests of users, until it acts |
//! | acts | after `fall` checks: seconds | within milliseconds under load |
//! | sees | what the check looks at | what users see, on every path |
//! | misses | a fault off the checked path | an endpoint that has no traffic |
//! | brings back | yes: it is how a new or dead endpoint is found to be well | by trying live requests |
//!
//! Check what the **endpoint** needs to work, not what it shares with its peers: a check that asks a
//! common database takes all endpoints out at once when that is slow.
//!
//! # Which check?
//!
//! | check | sent | use it |
//! |---|---|---|
//! | [`HttpCheck::through`] | through the endpoint's own service | first of all: the way of the traffic, TLS and pools included |
//! | `HttpCheck::fresh`, `HttpCheck::reuse` (feature `hyper`) | over its own HTTP/1 connection | another port; to see that new connections are taken; plain text only |
//! | `Probe::tcp` (feature `hyper`) | a connection, no more | what speaks no HTTP |
//! | [`Probe::custom`] | any async closure | databases, gRPC health, a file, a command |
//!
//! # Parameters
//!
//! | parameter | default | HAProxy | Envoy |
//! |---|---|---|---|
//! | [`interval`](Probe::interval) | 5 s | `inter` (2 s) | `interval` |
//! | [`fast_interval`](Probe::fast_interval) | interval / 5 | `fastinter` | `unhealthy_edge_interval`, `healthy_edge_interval` |
//! | [`down_interval`](Probe::down_interval) | interval | `downinter` | `unhealthy_interval` |
//! | [`timeout`](Probe::timeout) | 2 s, never above interval | `timeout check` | `timeout` |
//! | [`thresholds`](Probe::thresholds) | fall 3, rise 2 | `fall` (3), `rise` (2) | `unhealthy_threshold`, `healthy_threshold` |
//! | [`jitter`](Probe::jitter) | 10 % | `spread-checks` | `interval_jitter_percent` |
//! | [`initial`](Probe::initial) | unproven | `init-state` | always unproven |
//! | [`concurrency`](Probe::concurrency) | 64 | – | – |
//! | [`adjust_rank`](Probe::adjust_rank) | off: takes the endpoint out | – (keepalived: `weight`) | – |
//! | [`trust_traffic`](Probe::trust_traffic) | off | `observe` is akin | – |
//! | [`HttpCheck::drain_on_status`] | off | `http-check disable-on-404` | `x-envoy-immediate-health-check-fail` is akin |
//!
//! # When checks are made
//!
//! A newcomer is checked at once; many that come together are spread, so that a thousand take one
//! interval. From then on every endpoint has a phase of its own, which it keeps: turns follow one
//! another by whole intervals, each give or take the jitter, whatever the checks take. At most one
//! check per endpoint is under way, and at most [`concurrency`](Probe::concurrency) in all; one deadline holds for connection,
//! head and body.
//!
//! # When the prober itself is late
//!
//! A process that was held up, by a busy machine or a suspended one, finds its checks overdue: that
//! says nothing of the endpoints. A check that is given up more than one interval after its deadline
//! says nothing, instead of counting as failed; and turns that were missed are left out, not made up
//! for in a burst. Checks run in tasks of their own, never in that of a request.

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
    /// Checks every endpoint again and again: spawn the future that this returns.
    ///
    /// From this call on every endpoint has to prove itself to the probe, those that are there and
    /// those that come: call it before the endpoints are inserted. Several probes may run at once;
    /// an endpoint then has to satisfy all of them.
    ///
    /// The future ends when the last handle of the cluster is dropped. It needs tokio's timers.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the probing and the checks under way, and what the probe has found
    /// no longer counts.
    ///
    /// ```
    /// use whippletree::probe::Probe;
    /// use whippletree::{BoxError, Cluster, Context, Endpoint};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let probe = Probe::custom(|_target| async { Ok::<_, BoxError>(()) });
    /// tokio::spawn(cluster.probe(probe));
    /// cluster.insert(Endpoint::new("a:80")?)?;
    /// assert!(cluster.pick(&Context::new()).is_err(), "not proven yet");
    /// cluster.available().await;
    /// assert!(cluster.pick(&Context::new()).is_ok());
    /// # Ok::<(), whippletree::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use = "the checks are made by the future: spawn it"]
    pub fn probe(&self, probe: Probe) -> impl Future<Output = ()> + Send + use<S> {
        let registration = runner::Registration::new(&self.probed(), &probe);
        runner::run(probe, registration)
    }
}
