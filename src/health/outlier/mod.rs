//! Verdicts from live traffic: which endpoint fails more than it should.
//!
//! A probe asks whether an endpoint *can* answer a question made for the purpose; live traffic
//! shows whether it *does* answer those that matter. An endpoint may pass its health check with a broken
//! database behind it, and a network may let the checks through and not the requests. And traffic
//! is quicker: an endpoint with a thousand requests a second has shown five failures within
//! milliseconds, when the next probe is seconds away. The two are evidence of different kinds and
//! stay apart: by default a passed probe does not end an ejection.
//!
//! # Detectors
//!
//! | detector | says that an endpoint is an outlier when | needs |
//! |---|---|---|
//! | consecutive failures | 5 of its requests in a row have failed | nothing: acts at once |
//! | consecutive gateway failures (off) | so many 502, 503 or 504 in a row | nothing: acts at once |
//! | success rate | its rate is below mean − 1.9 · standard deviation of all, and 10 points below the mean | 5 endpoints with 100 requests in the interval |
//! | failure percentage | more than 85 % of its requests have failed | 5 endpoints with 50 requests |
//! | small pool | it fails more than the others do, beyond chance | 2 to 4 endpoints with 20 requests |
//!
//! The first two look at one endpoint alone and act on the request that completes the row. The
//! others compare, at the end of every interval in which anything has failed. A mean and a deviation
//! say little about fewer than five endpoints: one of four cannot be far enough from the mean, whatever
//! it does. There the small pool's test stands in: [how it decides](Outlier::small_pool).
//!
//! # Ejection and return
//!
//! An outlier gets no requests for a while, longer each time ([`Backoff`]). Never more than half of
//! the endpoints are out ([`Outlier::max_ejection_percent`]), and never the last one that serves: when
//! all fail, the fault is elsewhere. When the time is over, one request at a time is let through, or
//! one probe where there are probes, and the first success brings the endpoint back, by
//! [slow start](super::SlowStart) if there is one. A failure ejects it again.

mod config;
mod detect;
mod ejection;
mod small_pool;
mod streak;

use std::fmt;

pub use self::config::{Backoff, Outlier, SmallPool};

pub(crate) use self::detect::{Sample, detect};
pub(crate) use self::ejection::{Ejections, may_eject};
pub(crate) use self::streak::{Limits, Streaks};

/// What live traffic says against an endpoint.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// So many of its requests in a row have failed.
    ConsecutiveFailures(u32),
    /// So many in a row were answered 502, 503 or 504.
    ConsecutiveGatewayFailures(u32),
    /// Too few of its requests succeed.
    SuccessRate {
        /// In percent.
        rate: f64,
        /// What the rates of all endpoints ask for, in percent.
        threshold: f64,
    },
    /// Too many of its requests fail.
    FailurePercentage {
        /// In percent.
        rate: f64,
        /// The highest that is tolerated, in percent.
        threshold: f64,
    },
    /// It fails more than the few others do, beyond chance.
    SmallPool {
        /// Its failures, and its requests.
        own: (u64, u64),
        /// The others' failures, and their requests.
        others: (u64, u64),
    },
    /// The request that it was given on trial after an ejection has failed.
    TrialFailed,
    /// An earlier process had ejected it; see [`Cluster::import`](crate::Cluster).
    Earlier,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures(count) => write!(f, "{count} failures in a row"),
            Self::ConsecutiveGatewayFailures(count) => {
                write!(f, "{count} gateway failures in a row")
            }
            Self::SuccessRate { rate, threshold } => {
                write!(f, "success rate {rate:.1} % below the threshold {threshold:.1} %")
            }
            Self::FailurePercentage { rate, threshold } => {
                write!(f, "failure percentage {rate:.1} % above {threshold:.0} %")
            }
            Self::SmallPool { own, others } => write!(
                f,
                "failed {} of {} requests while the others failed {} of {}",
                own.0, own.1, others.0, others.1
            ),
            Self::Earlier => f.write_str("ejected before a restart"),
            Self::TrialFailed => f.write_str("the request on trial failed"),
        }
    }
}
