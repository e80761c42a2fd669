//! A cluster described in a configuration file (feature `serde`).
//!
//! [`ClusterConfig`] is a plain serde type: it reads TOML, JSON or anything else with a serde
//! implementation, alone or as a part of a larger configuration. Every key has a default; an
//! unknown key is an error.
//!
//! ```
//! use whippletree::config::ClusterConfig;
//!
//! let config: ClusterConfig = toml::from_str(
//!     r#"
//!     policy = "round_robin"
//!     fail_fast = "2s"
//!
//!     [[endpoints]]
//!     id = "backend-1"
//!     address = "127.0.0.1:9001"
//!     weight = 3
//!     labels = { role = "replica" }
//!     "#,
//! )?;
//! let cluster = config.cluster()?.connect(|_| ());
//! cluster.replace(config.endpoints()?)?;
//! assert_eq!(cluster.status().policy, "round_robin");
//!
//! let unknown = toml::from_str::<ClusterConfig>(r#"colour = "red""#).unwrap_err();
//! assert!(unknown.to_string().contains("unknown field `colour`"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod discover_engines;
mod failover;
mod hash;
mod outlier;
mod probe;
mod queue;
#[cfg(feature = "cookie")]
mod sticky;
mod subsetting;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::balance;
use crate::cluster::{self, Failback, Panic, Spill};
use crate::endpoint::{Endpoint, Locality, Weight};
use crate::error::Error;
use crate::health::SlowStart;
use crate::load::{Cost, PeakEwma};

pub use self::discover_engines::{ConsulConfig, EnginesConfig, EtcdConfig, KubeConfig};
pub use self::failover::FailoverConfig;
pub use self::outlier::OutlierConfig;
pub use self::probe::ProbeConfig;
pub use self::queue::QueueConfig;
#[cfg(feature = "cookie")]
pub use self::sticky::StickyConfig;
pub use self::subsetting::SubsettingConfig;

/// A cluster's parameters and its list of endpoints.
///
/// Values are as they were written; [`endpoints`](Self::endpoints), [`cluster`](Self::cluster) and
/// [`balance`](Self::balance) check them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// The cluster's name, for logs and statistics.
    pub name: Option<String>,
    /// A name that [`policy::by_name`](crate::policy::by_name) knows; `p2c` by default.
    pub policy: Option<String>,
    /// `in_flight` (the default) or `peak_ewma`.
    pub cost: Option<String>,
    /// What of a request is its key, by which the hash policies pick: `header:NAME`, `cookie:NAME`,
    /// `query:NAME`, `path` or `client_ip`. Needs the layer that [`affinity`](Self::affinity) makes.
    pub hash_on: Option<String>,
    /// What the processes that shall agree share, at least 16 bytes, so that clients cannot choose
    /// keys that all meet at one endpoint. Absent, they agree with nginx, Envoy and gRPC.
    pub hash_secret: Option<String>,
    /// Of `client_ip`: how many proxies there are in front, who append to `X-Forwarded-For`; 0 by
    /// default.
    pub trusted_hops: Option<usize>,
    /// Of `client_ip`, instead of their number: the addresses of the proxies in front, such as
    /// `10.0.0.0/8`.
    pub trusted: Option<Vec<String>>,
    /// How much more than the mean the hash policies let an endpoint have, above 1; 1.25 is a good
    /// start. Absent: not bounded.
    pub bounded: Option<f64>,
    /// How long a request waits for an available endpoint, such as `5s`.
    #[serde(with = "humantime_serde")]
    pub fail_fast: Option<Duration>,
    /// How long what was learnt of a removed endpoint is kept, such as `5m`.
    #[serde(with = "humantime_serde")]
    pub forget_after: Option<Duration>,
    /// Makes random choices repeatable.
    pub seed: Option<u64>,
    /// How long an endpoint that has become fit takes to get its whole share, such as `30s`.
    #[serde(with = "humantime_serde")]
    pub slow_start: Option<Duration>,
    /// In percent; 50 by default, 0 is off.
    pub panic_threshold: Option<u32>,
    /// `fail_open` (the default) or `fail_closed`.
    pub panic: Option<String>,
    /// `strict` (the default) or `proportional`.
    pub spill: Option<String>,
    /// `immediate`, `manual`, or a time such as `10s`, the default.
    pub failback: Option<String>,
    /// Where this balancer runs.
    pub locality: Option<LocalityConfig>,
    /// How endpoints are checked; they are not, if this is absent. With the feature `hyper` it is
    /// part of [`balance`](Self::balance), over connections of its own; otherwise see
    /// [`ProbeConfig::check`].
    pub probe: Option<ProbeConfig>,
    /// How live traffic is judged.
    pub outlier: Option<OutlierConfig>,
    /// Sources of endpoints beside the list; followed by what [`balance`](Self::balance) builds.
    pub discover: EnginesConfig,
    /// The endpoints.
    pub endpoints: Vec<EndpointConfig>,
}

/// One endpoint of a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// The identity; the address by default.
    pub id: Option<String>,
    /// `host:port`, or `http://host` and `https://host` with or without a port.
    pub address: String,
    /// 0 to 65535; 1 by default.
    pub weight: Option<u32>,
    /// The tier, 0 first; 0 by default.
    #[serde(default)]
    pub priority: u32,
    /// 1 to 254, the highest first; 100 by default. Only the policy `ranked` asks for it.
    pub rank: Option<u32>,
    /// How many requests may be in flight on it at once; 0, the default, is no limit.
    #[serde(default)]
    pub max_in_flight: u32,
    /// Names and values.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where it runs.
    pub locality: Option<LocalityConfig>,
}

/// Where an endpoint runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LocalityConfig {
    /// The region; empty if not known.
    pub region: String,
    /// The zone; empty if not known.
    pub zone: String,
}

impl ClusterConfig {
    /// The endpoints of the list.
    ///
    /// # Errors
    ///
    /// A malformed address or id, or a weight or rank out of range: names the field, with its place in
    /// the list, and the value.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        let endpoint = |(place, config): (usize, &EndpointConfig)| {
            config.endpoint().map_err(|error| error.within(&format!("endpoints[{place}]")))
        };
        let endpoints = self.endpoints.iter().enumerate().map(endpoint);
        let endpoints: Vec<Endpoint> = endpoints.collect::<Result<_, _>>()?;
        cluster::check(&endpoints).map_err(|error| error.within("endpoints"))?;
        Ok(endpoints)
    }

    /// The parameters as those of a [`Cluster`](crate::Cluster), without the endpoints.
    ///
    /// # Errors
    ///
    /// An unknown policy or cost.
    pub fn cluster(&self) -> Result<cluster::Builder, Error> {
        let mut builder = cluster::Builder::new().cost(self.cost()?);
        if let Some(name) = &self.name {
            builder = builder.name(name.as_str());
        }
        if let Some(policy) = self.picks_by()? {
            builder = builder.policy(policy);
        }
        if let Some(time) = self.forget_after {
            builder = builder.forget_after(time);
        }
        if let Some(seed) = self.seed {
            builder = builder.seed(seed);
        }
        self.health(builder)
    }

    fn health(&self, mut builder: cluster::Builder) -> Result<cluster::Builder, Error> {
        builder = builder.slow_start(self.slow_start.map(SlowStart::new));
        builder = builder.locality(self.locality.as_ref().map(LocalityConfig::locality));
        if let Some(percent) = self.panic_threshold {
            builder = builder.panic_threshold(percent)?;
        }
        if let Some(outlier) = &self.outlier {
            builder = builder.outlier(outlier.outlier().map_err(|error| error.within("outlier"))?);
        }
        let panic = choice("panic", &self.panic, [Panic::FailOpen, Panic::FailClosed], PANIC)?;
        let spill = choice("spill", &self.spill, [Spill::Strict, Spill::Proportional], SPILL)?;
        Ok(builder.panic(panic).spill(spill).failback(self.failback()?))
    }

    fn failback(&self) -> Result<Failback, Error> {
        let reason = "is none of immediate, manual, or a time such as 10s";
        match self.failback.as_deref() {
            None => Ok(Failback::default()),
            Some("immediate") => Ok(Failback::Immediate),
            Some("manual") => Ok(Failback::Manual),
            Some(time) => humantime_serde::re::humantime::parse_duration(time)
                .map(Failback::After)
                .map_err(|_| Error::config("failback", time, reason)),
        }
    }

    /// The parameters and the endpoints as those of a [`Balance`](crate::Balance).
    ///
    /// # Errors
    ///
    /// As [`cluster`](Self::cluster) and [`endpoints`](Self::endpoints).
    pub fn balance(&self) -> Result<balance::Builder, Error> {
        let mut builder = balance::Builder::of(self.cluster()?).endpoints(self.endpoints()?)?;
        if let Some(time) = self.fail_fast {
            builder = builder.fail_fast(time);
        }
        self.probed(self.follow(builder)?)
    }

    /// Adds the sources of [`discover`](Self::discover) to a balance, for who builds it otherwise
    /// than by [`balance`](Self::balance).
    ///
    /// # Errors
    ///
    /// A parameter of a source that is out of its range, or whose feature is not compiled in.
    pub fn follow(&self, builder: balance::Builder) -> Result<balance::Builder, Error> {
        self.discover.apply(builder).map_err(|error| error.within("discover"))
    }

    #[cfg(feature = "hyper")]
    fn probed(&self, builder: balance::Builder) -> Result<balance::Builder, Error> {
        let Some(config) = &self.probe else {
            return Ok(builder);
        };
        let probe = config.check().and_then(|check| config.probe(check.fresh()));
        Ok(builder.probe(probe.map_err(|error| error.within("probe"))?))
    }

    #[cfg(not(feature = "hyper"))]
    fn probed(&self, builder: balance::Builder) -> Result<balance::Builder, Error> {
        match &self.probe {
            None => Ok(builder),
            Some(_) => Err(Error::config("probe", "on", "needs the feature `hyper`")),
        }
    }

    fn cost(&self) -> Result<Cost, Error> {
        match self.cost.as_deref() {
            None | Some("in_flight") => Ok(Cost::InFlight),
            Some("peak_ewma") => Ok(Cost::PeakEwma(PeakEwma::new())),
            Some(other) => Err(Error::config("cost", other, "is none of in_flight, peak_ewma")),
        }
    }
}

const PANIC: [&str; 2] = ["fail_open", "fail_closed"];

const SPILL: [&str; 2] = ["strict", "proportional"];

/// The value with this name; the default, if there is none.
fn choice<T: Copy + Default, const N: usize>(
    field: &str,
    name: &Option<String>,
    values: [T; N],
    names: [&str; N],
) -> Result<T, Error> {
    let Some(name) = name else {
        return Ok(T::default());
    };
    let unknown = || Error::config(field, name, format!("is none of {}", names.join(", ")));
    let place = names.iter().position(|known| known == name).ok_or_else(unknown)?;
    Ok(values[place])
}

impl LocalityConfig {
    fn locality(&self) -> Locality {
        Locality::new(&*self.region, &*self.zone)
    }
}

impl EndpointConfig {
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Error> {
        let mut endpoint = Endpoint::new(&self.address)?
            .with_priority(self.priority)
            .with_max_in_flight(self.max_in_flight);
        if let Some(id) = &self.id {
            endpoint = endpoint.with_id(id)?;
        }
        if let Some(weight) = self.weight {
            endpoint = endpoint.with_weight(Weight::new(weight)?);
        }
        if let Some(rank) = self.rank {
            endpoint = endpoint.ranked(rank)?;
        }
        if let Some(locality) = &self.locality {
            endpoint = endpoint.with_locality(locality.locality());
        }
        for (key, value) in &self.labels {
            endpoint = endpoint.with_label(key, value);
        }
        Ok(endpoint)
    }
}
