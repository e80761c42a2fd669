use std::time::Duration;

use super::Limits;
use crate::error::Error;

/// How live traffic is judged. See the [module](super) for the detectors.
///
/// ```
/// use std::time::Duration;
/// use whippletree::Cluster;
/// use whippletree::health::outlier::{Backoff, Outlier};
///
/// let outlier = Outlier::new().consecutive_failures(3).backoff(Backoff::Linear);
/// let cluster = Cluster::builder().outlier(outlier).connect(|_| ());
/// let off = Cluster::builder().outlier(None).connect(|_| ());
/// # let _ = (cluster.len(), off.len());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    consecutive_failures: u32,
    consecutive_gateway_failures: u32,
    success_rate: Option<f64>,
    failure_percentage: u32,
    small_pool: bool,
    interval: Duration,
    backoff: Backoff,
    base_ejection_time: Option<Duration>,
    max_ejection_time: Duration,
    max_ejection_percent: u32,
    slow_cancel: Duration,
    probe_unejects: bool,
}

/// How the time of an ejection grows with each one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backoff {
    /// By the base time: 30, 60, 90 s and so on (Envoy and gRPC A50).
    Linear,
    /// To twice the time before: 5, 10, 20 s and so on. A blip costs little, a lasting fault is
    /// soon left alone.
    #[default]
    Exponential,
}

impl Outlier {
    /// The longest time that any parameter may set, where a clock needs one: a year.
    pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

    /// All defaults: on.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            consecutive_failures: 5,
            consecutive_gateway_failures: 0,
            success_rate: Some(1.9),
            failure_percentage: 85,
            small_pool: true,
            interval: Duration::from_secs(10),
            backoff: Backoff::Exponential,
            base_ejection_time: None,
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 50,
            slow_cancel: Duration::from_secs(1),
            probe_unejects: false,
        }
    }

    /// Sets how many failures in a row are evidence; 0 turns the detector off. Default 5 (Envoy's
    /// `consecutive_5xx`).
    #[must_use]
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive_failures = failures;
        self
    }

    /// Sets how many answers 502, 503 or 504 in a row are evidence; 0, the default, turns the
    /// detector off.
    #[must_use]
    pub fn consecutive_gateway_failures(mut self, failures: u32) -> Self {
        self.consecutive_gateway_failures = failures;
        self
    }

    /// Sets how many standard deviations below the mean of all a success rate is evidence; `None`
    /// turns the detector off. Default 1.9 (Envoy's `success_rate_stdev_factor`).
    ///
    /// Unlike Envoy's, the rate must also be ten points below the mean: of ten endpoints that
    /// all fail once in a thousand, Envoy's rule ejects one in every other interval.
    ///
    /// # Errors
    ///
    /// A factor that is not finite or below 0.
    pub fn success_rate(mut self, factor: impl Into<Option<f64>>) -> Result<Self, Error> {
        let factor = factor.into();
        if let Some(odd) = factor.filter(|factor| !factor.is_finite() || *factor < 0.0) {
            return Err(Error::config("success_rate", odd, "is not a number from 0 on"));
        }
        self.success_rate = factor;
        Ok(self)
    }

    /// Sets the failure percentage above which an endpoint is an outlier; 0 turns the detector off,
    /// and nothing is above 100. Default 85 (Envoy's `failure_percentage_threshold`).
    ///
    /// # Errors
    ///
    /// A value above 100.
    pub fn failure_percentage(mut self, percent: u32) -> Result<Self, Error> {
        self.failure_percentage = percentage("failure_percentage", percent)?;
        Ok(self)
    }

    /// Sets whether two to four endpoints are compared by a test of their own. Default: they are.
    ///
    /// The test is Fisher's exact one, of one side: given how many requests failed in all, how
    /// probable is it that by chance so many of them, or more, fell to this endpoint? If that is less
    /// than one in a thousand, divided by the number of endpoints (Bonferroni), chance is ruled
    /// out. So **of a thousand intervals at most one ejects an endpoint that is no worse than the
    /// others**; as the counts are whole numbers it is fewer still. Chance is not all: with much
    /// traffic the smallest difference is beyond it. The endpoint must also have failed a tenth of its
    /// requests, and at a rate that is above the others' by a tenth. Both sides need 20 requests.
    #[must_use]
    pub fn small_pool(mut self, on: SmallPool) -> Self {
        self.small_pool = on == SmallPool::On;
        self
    }

    /// Sets how often endpoints are compared, 1 ms to a year. Default 10 s (Envoy).
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.clamp(Duration::from_millis(1), Self::LONGEST);
        self
    }

    /// Sets how the time of an ejection grows. Default [`Backoff::Exponential`].
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets the time of the first ejection; up to a tenth more is added to each at random. Default
    /// 5 s if they double, 30 s (Envoy) if they grow linearly.
    #[must_use]
    pub fn base_ejection_time(mut self, base: Duration) -> Self {
        self.base_ejection_time = Some(base);
        self
    }

    /// Sets the time that no ejection exceeds, unless the base time does. Default 300 s (Envoy).
    #[must_use]
    pub fn max_ejection_time(mut self, longest: Duration) -> Self {
        self.max_ejection_time = longest;
        self
    }

    /// Sets the most endpoints that may be ejected at a time, in percent of all. Default 50.
    /// However low it is, one may be, unless it is 0 or that one is the last that serves.
    ///
    /// # Errors
    ///
    /// A value above 100.
    pub fn max_ejection_percent(mut self, percent: u32) -> Result<Self, Error> {
        self.max_ejection_percent = percentage("max_ejection_percent", percent)?;
        Ok(self)
    }

    /// Sets after how long a request that its caller gives up counts as a failure: an endpoint that
    /// hangs is found though every caller gives up first. Default 1 s. Requests that are not
    /// timed do not count: see [`Cluster::pick`](crate::Cluster::pick).
    #[must_use]
    pub fn slow_cancel(mut self, time: Duration) -> Self {
        self.slow_cancel = time;
        self
    }

    /// Lets a passed probe end an ejection before its time. By default it does not: a probe may
    /// not go the way that requests go.
    #[must_use]
    pub fn let_probes_uneject(mut self) -> Self {
        self.probe_unejects = true;
        self
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { failures: self.consecutive_failures, gateway: self.consecutive_gateway_failures }
    }

    pub(super) fn success_rate_factor(&self) -> Option<f64> {
        self.success_rate
    }

    pub(super) fn failure_threshold(&self) -> u32 {
        self.failure_percentage
    }

    pub(super) fn compares_small_pools(&self) -> bool {
        self.small_pool
    }

    pub(crate) fn interval_time(&self) -> Duration {
        self.interval
    }

    pub(super) fn backoff_kind(&self) -> Backoff {
        self.backoff
    }

    pub(super) fn base(&self) -> Duration {
        let default = match self.backoff {
            Backoff::Linear => Duration::from_secs(30),
            Backoff::Exponential => Duration::from_secs(5),
        };
        self.base_ejection_time.unwrap_or(default)
    }

    /// How long an endpoint whose ejection is over waits for its trial: as long as the first ejection
    /// lasts; ours.
    pub(crate) fn patience(&self) -> Duration {
        self.base()
    }

    pub(super) fn longest(&self) -> Duration {
        self.max_ejection_time
    }

    pub(crate) fn cap(&self) -> u32 {
        self.max_ejection_percent
    }

    pub(crate) fn slow_cancel_time(&self) -> Duration {
        self.slow_cancel
    }

    pub(crate) fn probe_unejects(&self) -> bool {
        self.probe_unejects
    }
}

/// Whether small pools are compared by a test of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SmallPool {
    /// They are.
    #[default]
    On,
    /// Their endpoints are judged by failures in a row alone.
    Off,
}

fn percentage(field: &str, percent: u32) -> Result<u32, Error> {
    if percent > 100 {
        return Err(Error::config(field, percent, "is not in 0..=100"));
    }
    Ok(percent)
}

impl Default for Outlier {
    fn default() -> Self {
        Self::new()
    }
}
