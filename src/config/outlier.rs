use std::time::Duration;

use serde::Deserialize;

use crate::error::Error;
use crate::health::outlier::{Backoff, Outlier, SmallPool};

/// How live traffic is judged; every key has the default of [`Outlier`]. Numbers of 0 turn their
/// detector off.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct OutlierConfig {
    /// `false` turns all of it off.
    pub enabled: Option<bool>,
    /// Failures in a row; 5 by default.
    pub consecutive_failures: Option<u32>,
    /// Answers 502, 503 or 504 in a row; off by default.
    pub consecutive_gateway_failures: Option<u32>,
    /// Whether success rates are compared.
    pub success_rate: Option<bool>,
    /// In percent; 85 by default.
    pub failure_percentage: Option<u32>,
    /// Whether two to four endpoints are compared by a test of their own.
    pub small_pool: Option<bool>,
    /// Such as `10s`.
    #[serde(with = "humantime_serde")]
    pub interval: Option<Duration>,
    /// `exponential` (the default) or `linear`.
    pub backoff: Option<String>,
    /// Such as `5s`.
    #[serde(with = "humantime_serde")]
    pub base_ejection_time: Option<Duration>,
    /// Such as `5m`.
    #[serde(with = "humantime_serde")]
    pub max_ejection_time: Option<Duration>,
    /// 0 to 100; 50 by default.
    pub max_ejection_percent: Option<u32>,
    /// Such as `1s`.
    #[serde(with = "humantime_serde")]
    pub slow_cancel: Option<Duration>,
}

impl OutlierConfig {
    /// The parameters; `None` if they are turned off.
    ///
    /// # Errors
    ///
    /// A percentage above 100, or an unknown backoff.
    pub fn outlier(&self) -> Result<Option<Outlier>, Error> {
        if self.enabled == Some(false) {
            return Ok(None);
        }
        let mut outlier = self.times(Outlier::new().backoff(self.backoff()?));
        if let Some(failures) = self.consecutive_failures {
            outlier = outlier.consecutive_failures(failures);
        }
        if let Some(failures) = self.consecutive_gateway_failures {
            outlier = outlier.consecutive_gateway_failures(failures);
        }
        if self.success_rate == Some(false) {
            outlier = outlier.success_rate(None)?;
        }
        if let Some(percent) = self.failure_percentage {
            outlier = outlier.failure_percentage(percent)?;
        }
        if self.small_pool == Some(false) {
            outlier = outlier.small_pool(SmallPool::Off);
        }
        if let Some(percent) = self.max_ejection_percent {
            outlier = outlier.max_ejection_percent(percent)?;
        }
        Ok(Some(outlier))
    }

    fn times(&self, mut outlier: Outlier) -> Outlier {
        if let Some(base) = self.base_ejection_time {
            outlier = outlier.base_ejection_time(base);
        }
        if let Some(longest) = self.max_ejection_time {
            outlier = outlier.max_ejection_time(longest);
        }
        if let Some(interval) = self.interval {
            outlier = outlier.interval(interval);
        }
        if let Some(time) = self.slow_cancel {
            outlier = outlier.slow_cancel(time);
        }
        outlier
    }

    fn backoff(&self) -> Result<Backoff, Error> {
        match self.backoff.as_deref() {
            None | Some("exponential") => Ok(Backoff::Exponential),
            Some("linear") => Ok(Backoff::Linear),
            Some(other) => Err(Error::config("backoff", other, "is none of exponential, linear")),
        }
    }
}
