use std::ops::RangeInclusive;
use std::sync::Arc;

use super::bound::Factor;
use super::picker::Options;
use super::placement::{envoy, nginx};
use super::points::Ring;
use super::scores::Scores;
use crate::error::Error;
use crate::policy::{Build, Pick, Policy};

/// The fewest points of Envoy's ring (`minimum_ring_size`).
const ENVOY_LEAST: u32 = 1024;

/// The most points of Envoy's ring (`maximum_ring_size`), which is also the most that it lets one
/// ask for.
const ENVOY_MOST: u32 = 8 << 20;

/// Consistent hashing on a ring: a key belongs to the endpoint whose point comes next.
///
/// Every endpoint has many points on a ring of hash values. While it cannot serve, each of its
/// keys goes to the next point clockwise whose endpoint can, and no other key moves. Two
/// placements of the points, for agreeing with what else picks by the same keys:
///
/// - [`new`](Self::new): Envoy's and gRPC's. Point *i* of an endpoint is XXH64 of `id_i`. Hash keys
///   with [`xxh64_key`](super::xxh64_key). How many points an endpoint has depends on its share of
///   the weights, and so on all the others: **a removal may also move keys between those that
///   stay**, of ten equal endpoints 6 %, of a hundred none (they have 11 points each, with or
///   without it). An endpoint that is only unavailable keeps its points, and moves its own keys.
/// - [`ketama`](Self::ketama): that of nginx's `hash … consistent` and pingora. Hash keys with
///   [`crc32_key`](super::crc32_key). A removal moves the lost keys, exactly, and no others.
///
/// A pick is a search among one or two points, however many there are: at 160 000 points some
/// 40 to 50 ns more than [`Random`](crate::policy::Random), which are cache misses. Memory: 18 to
/// 20 bytes per point with Envoy's placement, 10 to 12 with nginx's (1.9 KB per endpoint of weight
/// 1). Building 160 000 points takes 3 ms with nginx's placement and 8 with Envoy's.
///
/// ```
/// use whippletree::policy::hash::{RingHash, crc32_key};
/// use whippletree::{Cluster, Context, Endpoint};
///
/// let cluster = Cluster::builder().policy(RingHash::ketama()).connect(|_| ());
/// cluster.replace([Endpoint::new("127.0.0.1:7777")?, Endpoint::new("127.0.0.1:7778")?])?;
/// // nginx's choice among the same two servers:
/// let context = Context::new().with_hash(crc32_key("/some/path"));
/// assert_eq!(cluster.pick(&context)?.id().as_str(), "127.0.0.1:7778");
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RingHash {
    placement: Placement,
    least: u32,
    most: u32,
    options: Options,
}

#[derive(Clone, Copy, Debug)]
enum Placement {
    Envoy,
    Nginx,
}

impl RingHash {
    /// Envoy's placement, with its ring size of 1024 to 8 388 608 points.
    ///
    /// The string that is hashed is the endpoint's id, which is the address unless it was
    /// [set](crate::Endpoint::with_id). Envoy hashes the address, or what `hash_key` says.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Placement::Envoy)
    }

    /// nginx's placement: 160 points per unit of weight.
    ///
    /// The string that is hashed is the **address**, as in nginx: host, a zero byte and port. An
    /// IPv6 host keeps its brackets; pingora leaves them out. In nginx a server that is written
    /// without its port is hashed without it. Endpoints with one address between them have the
    /// same points: the first by id serves their keys, the others stand by.
    #[must_use]
    pub fn ketama() -> Self {
        Self::with(Placement::Nginx)
    }

    /// How many points the ring may have, at most 8 388 608. Default 1024 to 8 388 608.
    ///
    /// With Envoy's placement every endpoint gets as many points as its weight says, and the
    /// lightest so many that the ring has at least the lower number. The more points, the more
    /// even the shares: with 1024 among a hundred endpoints the busiest has 1.8 times the mean,
    /// with 131 072 it has 1.08 times. A weight far below the others makes the ring as large as
    /// the upper number allows: 8 388 608 points take 160 MB and a second to build. gRPC stops
    /// at 4096.
    ///
    /// With nginx's placement the number of points follows from the weights. Only beyond the upper
    /// number (by default a sum of weights of more than 52 428) they are scaled down in proportion;
    /// then picks are no longer exactly those of nginx, which builds a ring of any size.
    ///
    /// # Errors
    ///
    /// A range that is empty, begins with 0 or ends above 8 388 608 (Envoy's limit).
    ///
    /// ```
    /// use whippletree::policy::RingHash;
    ///
    /// assert!(RingHash::new().ring_size(100_000..=8_388_608).is_ok());
    /// assert!(RingHash::new().ring_size(2..=1).unwrap_err().is_config());
    /// ```
    pub fn ring_size(mut self, points: RangeInclusive<u32>) -> Result<Self, Error> {
        if points.is_empty() || *points.start() == 0 || *points.end() > ENVOY_MOST {
            let given = format!("{points:?}");
            return Err(Error::config("ring_size", given, "is not a range within 1..=8388608"));
        }
        (self.least, self.most) = points.into_inner();
        Ok(self)
    }

    /// Bounds the load: see [bounded loads](super#bounded-loads). Default: not bounded.
    ///
    /// # Errors
    ///
    /// A factor that is not above 1 and at most 1000.
    pub fn bounded(mut self, factor: f64) -> Result<Self, Error> {
        self.options.bound = Some(Factor::new(factor)?);
        Ok(self)
    }

    /// Picks for requests that have no hash. Default [`P2c`](crate::policy::P2c).
    #[must_use]
    pub fn fallback(mut self, policy: impl Policy) -> Self {
        self.options.fallback = Some(Arc::new(policy));
        self
    }

    fn with(placement: Placement) -> Self {
        Self { placement, least: ENVOY_LEAST, most: ENVOY_MOST, options: Options::default() }
    }
}

impl Default for RingHash {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for RingHash {
    fn name(&self) -> &str {
        match self.placement {
            Placement::Envoy => "ring_hash",
            Placement::Nginx => "ketama",
        }
    }

    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        let rest = Scores::new(build.endpoints);
        match self.placement {
            Placement::Envoy => {
                let points = envoy(build.endpoints, self.least, self.most);
                self.options.picker(Ring::new(&points, rest), build)
            }
            Placement::Nginx => {
                let points = nginx(build.endpoints, self.most);
                self.options.picker(Ring::new(&points, rest), build)
            }
        }
    }

    fn keeps_unavailable(&self) -> bool {
        true
    }
}
