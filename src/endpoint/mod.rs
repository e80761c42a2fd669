//! What a cluster balances over: an address with an identity and the facts that steer picks.
//!
//! An [`Endpoint`] is a description, a plain value. Its **identity is the [`EndpointId`] alone**:
//! a cluster that is given the same id with another weight, priority, locality or other labels
//! changes the description and keeps what it has learnt of the endpoint (requests in flight,
//! latency, counters). Only a new address makes it a new endpoint, because another server answers
//! there.
//!
//! The id defaults to the address in its canonical form ([`Address`]), `https://web:443` for
//! `https://Web`. Give one of your own where addresses are reused (containers) or change (a machine
//! that moves): everything that should survive such a change, stickiness and statistics above all,
//! hangs on the id.
//!
//! ```
//! use whippletree::{Endpoint, Weight};
//! use whippletree::endpoint::Locality;
//!
//! let canary = Endpoint::new("10.0.0.7:8080")?
//!     .with_id("web-7")?
//!     .with_weight(Weight::new(5)?)
//!     .with_locality(Locality::new("eu-west", "b"))
//!     .with_label("version", "2.0-rc1");
//! assert_eq!(canary.id().as_str(), "web-7");
//! assert_eq!(canary.address().port(), 8080);
//! # Ok::<(), whippletree::Error>(())
//! ```

mod address;
mod labels;
mod leave;
mod node;
mod report;
#[cfg_attr(not(feature = "cookie"), allow(dead_code, reason = "for the sticky layer"))]
mod sessions;
mod state;
mod weight;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::error::Error;

/// The rank of an endpoint that is given none: VRRP's default priority (RFC 5798, section 5.2.4).
const RANK: u8 = 100;

pub use self::address::Address;
pub use self::labels::{Labels, Locality, Subset};
pub use self::report::{DrainEnd, DrainReport};
pub use self::state::{Admin, State};
pub use self::weight::Weight;

pub(crate) use self::leave::{Leave, Seat};
pub(crate) use self::node::{
    Counts, Evidence, Member, Node, Payload, Tally, UNLIMITED, Usher, Witness, since,
};
pub(crate) use self::sessions::Home;
#[cfg(feature = "cookie")]
pub(crate) use self::sessions::SLOTS;
pub use crate::id::EndpointId;

/// An address to send requests to, its identity, and the facts that steer picks.
///
/// Cheap to clone: clones share one allocation until one of them is changed.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Arc<Description>);

#[derive(Clone, PartialEq, Eq)]
struct Description {
    id: EndpointId,
    address: Address,
    weight: Weight,
    priority: u32,
    rank: u8,
    max_in_flight: Option<NonZeroU32>,
    locality: Option<Locality>,
    labels: Labels,
    draining: bool,
}

impl Endpoint {
    /// An endpoint at `address`, written `host:port`, or a URL without a path: `http://host`,
    /// `https://host:port/`; an IPv6 host in brackets. With a scheme the port may be left out: 80
    /// or 443. The id is the canonical text of the address, the weight 1, the priority 0,
    /// the rank 100.
    ///
    /// # Errors
    ///
    /// A malformed address, or a host that no server can have: `256.1.1.1`, `a..b`. The error [is a config error](Error::is_config) that names the field
    /// and the value.
    ///
    /// ```
    /// use whippletree::Endpoint;
    ///
    /// assert_eq!(Endpoint::new("[::1]:8080")?.id().as_str(), "[::1]:8080");
    /// assert_eq!(Endpoint::new("https://web/")?.id().as_str(), "https://web:443");
    /// let error = Endpoint::new("10.0.0.1:http").unwrap_err();
    /// assert_eq!(error.to_string(), r#"address: "10.0.0.1:http" has no valid port"#);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn new(address: impl AsRef<str>) -> Result<Self, Error> {
        let address = Address::parse(address.as_ref())?;
        let id = EndpointId::unchecked(&address.to_string());
        Ok(Self(Arc::new(Description {
            id,
            address,
            weight: Weight::default(),
            priority: 0,
            rank: RANK,
            max_in_flight: None,
            locality: None,
            labels: Labels::default(),
            draining: false,
        })))
    }

    /// Gives the endpoint an identity other than its address.
    ///
    /// # Errors
    ///
    /// An id that is empty, longer than 272 bytes, or has control characters.
    pub fn with_id(mut self, id: impl AsRef<str>) -> Result<Self, Error> {
        self.edit().id = EndpointId::new(id)?;
        Ok(self)
    }

    /// Sets the share of the requests, relative to the other endpoints' weights. Default 1.
    ///
    /// Weight 0 means no new traffic by any policy; a request that asks for this endpoint by
    /// [`Context::with_prefer`](crate::Context::with_prefer) is still served (HAProxy's meaning).
    #[must_use]
    pub fn with_weight(mut self, weight: impl Into<Weight>) -> Self {
        self.edit().weight = weight.into();
        self
    }

    /// Sets the tier: 0, the default, is used first; endpoints of a higher number only while no
    /// endpoint of a lower number is available.
    #[must_use]
    pub fn with_priority(mut self, priority: u32) -> Self {
        self.edit().priority = priority;
        self
    }

    /// Sets the place in the order in which [`Ranked`](crate::policy::Ranked) chooses the one
    /// endpoint that serves: 1 to 254, the highest first; default 100, as VRRP's priority (RFC
    /// 5798). Other policies ignore it.
    ///
    /// # Errors
    ///
    /// 0 and 255, which mean something else in VRRP: that a router resigns, and that it owns the
    /// address.
    ///
    /// ```
    /// use whippletree::Endpoint;
    ///
    /// let active = Endpoint::new("10.0.0.1:5432")?.with_rank(200)?;
    /// assert_eq!(active.rank(), 200);
    /// let error = active.with_rank(255).unwrap_err();
    /// assert_eq!(error.to_string(), r#"rank: "255" is not in 1..=254"#);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn with_rank(self, rank: u8) -> Result<Self, Error> {
        self.ranked(rank.into())
    }

    /// As [`with_rank`](Self::with_rank), of any number that a configuration may have.
    pub(crate) fn ranked(mut self, rank: u32) -> Result<Self, Error> {
        match u8::try_from(rank) {
            Ok(rank @ 1..=254) => self.edit().rank = rank,
            _ => return Err(Error::config("rank", rank, "is not in 1..=254")),
        }
        Ok(self)
    }

    /// Sets how many requests may be in flight on the endpoint at once; 0, the default, is no limit.
    ///
    /// Exact, whatever the number of threads: an endpoint that has as many is full and is passed
    /// over by every policy, as if it were not available, until one of them has ended. When all are
    /// full the pick fails ([`Error::is_overloaded`]), or waits where there is a
    /// [queue](crate::cluster::Queue). While the endpoint starts slowly the limit is its
    /// [share](crate::health::SlowStart) of this number, rounded down, and at least 1.
    ///
    /// ```
    /// use whippletree::{Cluster, Context, Endpoint};
    ///
    /// let cluster = Cluster::builder().connect(|_| ());
    /// cluster.insert(Endpoint::new("10.0.0.1:80")?.with_max_in_flight(1))?;
    ///
    /// let lease = cluster.pick(&Context::new())?;
    /// let error = cluster.pick(&Context::new()).unwrap_err();
    /// assert!(error.is_overloaded());
    /// assert_eq!(error.to_string(), "overloaded: 1 endpoint, at its limit");
    /// drop(lease);
    /// assert!(cluster.pick(&Context::new()).is_ok());
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    #[must_use]
    pub fn with_max_in_flight(mut self, requests: u32) -> Self {
        self.edit().max_in_flight = NonZeroU32::new(requests);
        self
    }

    /// Says where the endpoint runs.
    #[must_use]
    pub fn with_locality(mut self, locality: Locality) -> Self {
        self.edit().locality = Some(locality);
        self
    }

    /// Adds a label, or changes the value of the one with this `key`.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.edit().labels.insert(key.into(), value.into());
        self
    }

    /// Sets all labels anew.
    #[must_use]
    pub fn with_labels(mut self, labels: Labels) -> Self {
        self.edit().labels = labels;
        self
    }

    /// Says that the endpoint is about to leave: no new requests, those that ask for it are served.
    ///
    /// It is the word of whoever describes the endpoint (a registry that tells of a pod that
    /// terminates) and stands beside what the operator wants: a description without it ends this
    /// drain, and none that the operator has begun.
    ///
    /// ```
    /// use whippletree::cluster::State;
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let endpoint = Endpoint::new("10.0.0.1:80")?;
    /// cluster.insert(endpoint.clone().with_draining())?;
    /// assert_eq!(cluster.status().endpoints[0].state, State::Drain);
    /// cluster.insert(endpoint)?;
    /// assert_eq!(cluster.status().endpoints[0].state, State::Up);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    #[must_use]
    pub fn with_draining(mut self) -> Self {
        self.edit().draining = true;
        self
    }

    /// Who the endpoint is.
    #[must_use]
    pub fn id(&self) -> &EndpointId {
        &self.0.id
    }

    /// Where the endpoint listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// Its share of the requests.
    #[must_use]
    pub fn weight(&self) -> Weight {
        self.0.weight
    }

    /// Its tier, 0 first.
    #[must_use]
    pub fn priority(&self) -> u32 {
        self.0.priority
    }

    /// Its place in the order of [`Ranked`](crate::policy::Ranked), the highest first.
    #[must_use]
    pub fn rank(&self) -> u8 {
        self.0.rank
    }

    /// How many requests may be in flight on it at once, if that is limited.
    #[must_use]
    pub fn max_in_flight(&self) -> Option<NonZeroU32> {
        self.0.max_in_flight
    }

    /// Where it runs, if known.
    #[must_use]
    pub fn locality(&self) -> Option<&Locality> {
        self.0.locality.as_ref()
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.0.labels
    }

    /// Whether whoever describes it says that it is about to leave.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining
    }

    fn edit(&mut self) -> &mut Description {
        Arc::make_mut(&mut self.0)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.0.id)
            .field("address", &self.0.address)
            .field("weight", &self.0.weight)
            .field("priority", &self.0.priority)
            .field("rank", &self.0.rank)
            .field("max_in_flight", &self.0.max_in_flight)
            .field("locality", &self.0.locality)
            .field("labels", &self.0.labels)
            .field("draining", &self.0.draining)
            .finish()
    }
}

impl std::str::FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl TryFrom<String> for Endpoint {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl From<std::net::SocketAddr> for Endpoint {
    fn from(address: std::net::SocketAddr) -> Self {
        let address = Address::from(address);
        Self(Arc::new(Description {
            id: EndpointId::unchecked(&address.to_string()),
            address,
            weight: Weight::default(),
            priority: 0,
            rank: RANK,
            max_in_flight: None,
            locality: None,
            labels: Labels::default(),
            draining: false,
        }))
    }
}
