use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::check::Custom;
use super::schedule::Timing;
use super::{Answer, Check, Target};
use crate::cluster::{Effect, ProbeRule};
use crate::error::BoxError;
use crate::health::{Initial, Thresholds};

/// The shortest and the longest time between two checks of an endpoint that can be set.
const INTERVALS: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_secs(24 * 60 * 60));

/// A check with all that says when it is made and what follows from it.
///
/// Made by [`Probe::http`], [`Probe::custom`] and their like, set going by
/// [`Cluster::probe`](crate::Cluster::probe) or
/// [`balance::Builder::probe`](crate::balance::Builder::probe). All parameters have
/// [defaults](super#parameters).
///
/// ```
/// use std::time::Duration;
/// use whippletree::BoxError;
/// use whippletree::health::Thresholds;
/// use whippletree::probe::Probe;
///
/// let probe = Probe::custom(|target| async move {
///     let address = target.endpoint().address().to_string();
///     Ok::<_, BoxError>(drop(address))
/// });
/// let probe = probe
///     .name("ping")
///     .interval(Duration::from_secs(2))
///     .timeout(Duration::from_millis(500))
///     .thresholds(Thresholds::new().fall(5));
/// assert_eq!(probe.to_string(), "ping");
/// ```
#[derive(Clone)]
pub struct Probe {
    name: Arc<str>,
    check: Arc<dyn Check>,
    interval: Duration,
    timeout: Duration,
    fast_interval: Option<Duration>,
    down_interval: Option<Duration>,
    jitter: f64,
    concurrency: usize,
    thresholds: Thresholds,
    initial: Initial,
    effect: Effect,
    trusts_traffic: Trust,
}

/// Whether live traffic may stand in for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    ChecksOnly,
    Traffic,
}

impl Probe {
    /// A probe that makes this check, with all defaults.
    #[must_use]
    pub fn new(check: impl Check) -> Self {
        Self {
            name: "probe".into(),
            check: Arc::new(check),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            fast_interval: None,
            down_interval: None,
            jitter: 0.1,
            concurrency: 64,
            thresholds: Thresholds::new(),
            initial: Initial::Unproven,
            effect: Effect::TakesOut,
            trusts_traffic: Trust::ChecksOnly,
        }
    }

    /// A probe that asks an async closure: `Ok(())` or an [`Answer`] passes, an error fails. See
    /// [`Check::check`] for how it is called.
    #[must_use]
    pub fn custom<F, R, T, E>(check: F) -> Self
    where
        F: Fn(Target) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Answer> + 'static,
        E: Into<BoxError> + 'static,
    {
        Self::new(Custom(check))
    }

    /// Names the probe, for the status, the events and the rank's evidence. Default `probe`.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the time from the start of one check of an endpoint to that of the next, 1 ms to one
    /// day; a value outside is taken to the nearer end. Default 5 s.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = clamped(interval);
        self
    }

    /// Sets how long a check may take in all, from the connection to the end of the body; it has
    /// failed then. Never above the [`interval`](Self::interval), whatever is set here. Default
    /// 2 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = clamped(timeout);
        self
    }

    /// Sets the interval while the last results differ from the verdict, so that it turns soon: a
    /// failure of an endpoint that is up, a success of one that is down, and before anything is
    /// known. 1 ms to one day; default a fifth of the [`interval`](Self::interval).
    #[must_use]
    pub fn fast_interval(mut self, interval: Duration) -> Self {
        self.fast_interval = Some(clamped(interval));
        self
    }

    /// Sets the interval for endpoints that are down, 1 ms to one day. Default the
    /// [`interval`](Self::interval).
    #[must_use]
    pub fn down_interval(mut self, interval: Duration) -> Self {
        self.down_interval = Some(clamped(interval));
        self
    }

    /// Sets by how many percent of the interval each check is made earlier or later, at random, 0
    /// to 50; a value above is taken as 50. Default 10.
    #[must_use]
    pub fn jitter(mut self, percent: u32) -> Self {
        self.jitter = f64::from(percent.min(50)) / 100.0;
        self
    }

    /// Sets how many endpoints are checked at a time, at least 1. Default 64.
    ///
    /// Enough is `endpoints · timeout / interval`: then no check waits though all of them hang.
    #[must_use]
    pub fn concurrency(mut self, checks: usize) -> Self {
        self.concurrency = checks.max(1);
        self
    }

    /// Sets how many results in a row turn the verdict. Default fall 3, rise 2.
    #[must_use]
    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// Sets what an endpoint is before its first check. Default [`Initial::Unproven`].
    #[must_use]
    pub fn initial(mut self, initial: Initial) -> Self {
        self.initial = initial;
        self
    }

    /// Lets an endpoint that fails stay in, with `points` added to its
    /// [rank](crate::Endpoint::with_rank), less than 0 as a rule: for the policy
    /// [`Ranked`](crate::policy::Ranked). Default: an endpoint that fails is taken out.
    ///
    /// Before the first result nothing is added.
    #[must_use]
    pub fn adjust_rank(mut self, points: i32) -> Self {
        self.effect = Effect::Adjusts(points);
        self
    }

    /// Lets live traffic stand in for a check: an endpoint that is up and that has served requests
    /// since it was looked at last, without a failure, is not checked this time. It saves the
    /// checks where they are needed least. Default: every check is made.
    ///
    /// Only while the endpoint is up and its last check has passed. The success is no older than the
    /// time between two checks: an interval and its jitter.
    #[must_use]
    pub fn trust_traffic(mut self) -> Self {
        self.trusts_traffic = Trust::Traffic;
        self
    }

    pub(super) fn check(&self) -> &Arc<dyn Check> {
        &self.check
    }

    pub(super) fn trusts_traffic(&self) -> bool {
        self.trusts_traffic == Trust::Traffic
    }

    /// The time for one check.
    pub(super) fn time(&self) -> Duration {
        self.timeout.min(self.interval)
    }

    pub(super) fn timing(&self) -> Timing {
        let fifth = clamped(self.interval / 5);
        Timing {
            interval: self.interval,
            fast_interval: self.fast_interval.unwrap_or(fifth),
            down_interval: self.down_interval.unwrap_or(self.interval),
            jitter: self.jitter,
            concurrency: self.concurrency,
        }
    }

    pub(super) fn rule(&self) -> ProbeRule {
        ProbeRule {
            id: 0,
            name: Arc::clone(&self.name),
            thresholds: self.thresholds,
            initial: self.initial,
            effect: self.effect,
        }
    }
}

fn clamped(interval: Duration) -> Duration {
    interval.clamp(INTERVALS.0, INTERVALS.1)
}

/// Its name.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("name", &self.name)
            .field("timing", &self.timing())
            .field("timeout", &self.time())
            .field("thresholds", &self.thresholds)
            .field("initial", &self.initial)
            .field("effect", &self.effect)
            .field("trusts_traffic", &self.trusts_traffic)
            .finish_non_exhaustive()
    }
}
