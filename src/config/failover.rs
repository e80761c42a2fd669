use std::time::Duration;

use serde::Deserialize;

use crate::error::Error;
use crate::failover::{Failover, FailoverLayer, Hedge};

/// When a failed request is sent to another endpoint; every key has the default of [`Failover`].
///
/// Not a part of [`ClusterConfig`](super::ClusterConfig): it is about a layer above the cluster.
///
/// ```
/// use whippletree::config::FailoverConfig;
///
/// let config: FailoverConfig = toml::from_str("attempts = 2\nper_try_timeout = '500ms'")?;
/// assert!(config.layer().is_ok());
///
/// let config: FailoverConfig = toml::from_str("attempts = 0")?;
/// let error = config.layer().unwrap_err();
/// assert_eq!(error.to_string(), r#"attempts: "0" is not in 1..=100"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct FailoverConfig {
    /// How often a request is sent at most, 1 to 100; 3 by default. 1 turns failover off, and with
    /// it the timeout, unless that is set.
    pub attempts: Option<u32>,
    /// Such as `2s`, the default; `0s` is for ever.
    #[serde(with = "humantime_serde")]
    pub per_try_timeout: Option<Duration>,
    /// How many bytes of a body are kept to be sent again; 65536 by default.
    pub replay_limit: Option<usize>,
    /// The longest `Retry-After` that is waited for; `1s` by default.
    #[serde(with = "humantime_serde")]
    pub patience: Option<Duration>,
    /// Sends a request to a second endpoint too after this time, such as `50ms`, or after the
    /// latency of so many percent, such as `95%`. Off by default.
    pub hedge: Option<String>,
}

impl FailoverConfig {
    /// The rules; clones share their budget and counters.
    ///
    /// # Errors
    ///
    /// A number of attempts out of range.
    pub fn failover(&self) -> Result<Failover, Error> {
        let mut failover = Failover::new();
        if let Some(attempts) = self.attempts {
            failover = failover.attempts(attempts)?;
        }
        if let Some(bytes) = self.replay_limit {
            failover = failover.replay_limit(bytes);
        }
        if let Some(time) = self.patience {
            failover = failover.patience(time);
        }
        Ok(match self.per_try_timeout {
            Some(limit) => failover.per_try_timeout(Some(limit).filter(|limit| !limit.is_zero())),
            None if self.attempts == Some(1) => failover.per_try_timeout(None),
            None => failover,
        })
    }

    /// The rules as a layer, with its hedge.
    ///
    /// # Errors
    ///
    /// As [`failover`](Self::failover), and a hedge that is neither a time nor a percentage
    /// between 0 and 100.
    pub fn layer(&self) -> Result<FailoverLayer, Error> {
        self.layer_of(self.failover()?)
    }

    /// As [`layer`](Self::layer), of these rules, whose counters the caller wants to see.
    ///
    /// # Errors
    ///
    /// A hedge that is neither a time nor a percentage between 0 and 100.
    pub fn layer_of(&self, failover: Failover) -> Result<FailoverLayer, Error> {
        let layer = FailoverLayer::new(failover);
        let Some(text) = &self.hedge else {
            return Ok(layer);
        };
        let hedge = hedge(text).ok_or_else(|| {
            Error::config(
                "hedge",
                text,
                "is neither a time such as 50ms nor a percentage such as 95%",
            )
        })?;
        Ok(layer.hedge(hedge))
    }
}

fn hedge(text: &str) -> Option<Hedge> {
    match text.strip_suffix('%') {
        Some(percent) => Hedge::percentile(percent.trim().parse().ok()?).ok(),
        None => humantime_serde::re::humantime::parse_duration(text).map(Hedge::after).ok(),
    }
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

    fn layer(text: &str) -> Result<FailoverLayer, Error> {
        toml::from_str::<FailoverConfig>(text).expect("good TOML").layer()
    }

    #[test]
    fn hedges_are_times_or_percentages() {
        for good in ["50ms", "1s", "95%", "99.9 %"] {
            assert!(layer(&format!("hedge = '{good}'")).is_ok(), "{good}");
        }
        for bad in ["50", "soon", "100%", "0%", "-1%", "%", "NaN%", ""] {
            let error = layer(&format!("hedge = '{bad}'")).unwrap_err().to_string();
            assert!(error.starts_with(&format!("hedge: {bad:?} is neither")), "{error}");
        }
    }

    #[test]
    fn one_attempt_turns_the_timeout_off_unless_it_is_set() {
        let limit = |text: &str| {
            let failover = toml::from_str::<FailoverConfig>(text).unwrap().failover().unwrap();
            let text = format!("{failover:?}");
            let start = text.find("per_try_timeout: ").unwrap() + "per_try_timeout: ".len();
            text[start..].split(", p").next().unwrap().to_owned()
        };
        assert_eq!(limit(""), "Some(2s)");
        assert_eq!(limit("attempts = 1"), "None");
        assert_eq!(limit("attempts = 1\nper_try_timeout = '3s'"), "Some(3s)");
        assert_eq!(limit("per_try_timeout = '0s'"), "None");
    }
}
