use std::sync::Arc;

use super::bound::Factor;
use super::picker::{Options, Order};
use super::scores::Scores;
use super::table;
use crate::error::Error;
use crate::policy::{Build, Pick, Policy};

/// Slots of the table by default: Envoy's, and that of the Maglev paper.
const SIZE: u32 = 65_537;

/// The most slots: Envoy's limit.
const MOST: u32 = 5_000_011;

/// Slots of the table that a key looks at before all endpoints are compared by score. Where one of
/// ten endpoints can serve, that finds it for 998 keys in a thousand.
const PROBES: u64 = 64;

/// Consistent hashing by Google's Maglev table, exactly as Envoy fills it.
///
/// A table of a prime number of slots is filled by the endpoints taking turns, each going through
/// the slots in an order of its own; a key belongs to the endpoint in slot `hash % size`. Shares
/// are as even as can be: with equal weights no endpoint has more than one slot more than another.
/// Hash keys with [`xxh64_key`](super::xxh64_key).
///
/// An endpoint that cannot serve keeps its slots: each of its keys looks into other slots, by the
/// rule of Envoy's retries, and no other key moves. A change of **membership** or weight refills
/// the table, which moves some keys besides: at 65 537 slots 0.2 % when one of ten endpoints
/// leaves, 0.6 % of a hundred or a thousand; a larger table moves fewer.
///
/// A pick is one division and one look into the table, some 6 ns more than
/// [`Random`](crate::policy::Random). Memory: 2 bytes per slot (4 with more than 65 536 endpoints),
/// 128 KiB by default, and 8 or 16 per endpoint. Building takes 2 to 4 ms.
///
/// ```
/// use whippletree::policy::hash::{Maglev, xxh64_key};
/// use whippletree::{Cluster, Context, Endpoint};
///
/// let cluster = Cluster::builder().policy(Maglev::new()).connect(|_| ());
/// cluster.replace([Endpoint::new("a:80")?, Endpoint::new("b:80")?])?;
/// let context = Context::new().with_hash(xxh64_key("user 42"));
/// assert_eq!(cluster.pick(&context)?.id(), cluster.pick(&context)?.id());
/// # Ok::<(), whippletree::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Maglev {
    size: u32,
    options: Options,
}

impl Maglev {
    /// A table of 65 537 slots.
    #[must_use]
    pub fn new() -> Self {
        Self { size: SIZE, options: Options::default() }
    }

    /// Sets the number of slots, a prime of at most 5 000 011 (Envoy's limit). Default 65 537.
    ///
    /// It should be at least a hundred times the number of endpoints; those beyond the number of
    /// slots get no keys. Building takes up to 60 ms with
    /// 655 373 slots and 1.5 s with the most.
    ///
    /// # Errors
    ///
    /// A number that is not a prime, or larger.
    ///
    /// ```
    /// use whippletree::policy::Maglev;
    ///
    /// assert!(Maglev::new().table_size(655_373).is_ok());
    /// let error = Maglev::new().table_size(65_536).unwrap_err();
    /// assert_eq!(error.to_string(), r#"table_size: "65536" is not a prime up to 5000011"#);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn table_size(mut self, slots: u32) -> Result<Self, Error> {
        if slots > MOST || !is_prime(slots) {
            return Err(Error::config("table_size", slots, "is not a prime up to 5000011"));
        }
        self.size = slots;
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
}

impl Default for Maglev {
    fn default() -> Self {
        Self::new()
    }
}

impl Policy for Maglev {
    fn name(&self) -> &str {
        "maglev"
    }

    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        let slots = table::fill(build.endpoints, self.size);
        let rest = Scores::new(build.endpoints);
        if build.endpoints.len() > usize::from(u16::MAX) + 1 {
            let table = Table { slots: slots.into_boxed_slice(), rest };
            return self.options.picker(table, build);
        }
        let slots = slots.into_iter().map(|owner| owner as u16).collect();
        self.options.picker(Table { slots, rest }, build)
    }

    fn keeps_unavailable(&self) -> bool {
        true
    }
}

fn is_prime(number: u32) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number >= 2 && divisors.all(|divisor| number % divisor != 0)
}

struct Table<I> {
    slots: Box<[I]>,
    /// Who comes after all that were looked at.
    rest: Scores,
}

impl<I: Copy + Into<u32>> Table<I> {
    #[inline]
    fn owner(&self, hash: u64) -> usize {
        self.slots[(hash % self.slots.len() as u64) as usize].into() as usize
    }
}

impl<I: Copy + Into<u32> + Send + Sync + 'static> Order for Table<I> {
    #[inline]
    fn home(&self, key: u64) -> usize {
        self.owner(key)
    }

    fn first(&self, key: u64, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        // Envoy's retry number `attempt` looks at the key xor 2^64 − `attempt`.
        let mut probes = (0..PROBES).map(|attempt| self.owner(key ^ attempt.wrapping_neg()));
        probes.find(|owner| wanted(*owner)).or_else(|| self.rest.best(key, wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;

    #[test]
    fn retries_look_where_those_of_envoy_do() {
        let endpoints: Vec<Endpoint> =
            (90..96).map(|port| Endpoint::new(format!("127.0.0.1:{port}")).unwrap()).collect();
        let endpoints: Vec<&Endpoint> = endpoints.iter().collect();
        let slots = table::fill(&endpoints, 7).into_boxed_slice();
        let table = Table { slots, rest: Scores::new(&endpoints) };
        assert_eq!(table.home(10), 1);
        assert_eq!(table.first(10, |owner| owner != 1), Some(0));
        assert_eq!(table.first(10, |owner| owner > 1), Some(5));
        assert_eq!(table.first(10, |_| false), None);
        for only in 0..6 {
            assert_eq!(table.first(10, |owner| owner == only), Some(only));
        }
    }

    #[test]
    fn composite_sizes_are_refused() {
        for size in [2, 3, 7, 17, 65_537, 655_373, MOST] {
            assert!(Maglev::new().table_size(size).is_ok(), "{size}");
        }
        for size in [0, 1, 4, 8, 65_536, 65_535, MOST - 2, 5_000_077, u32::MAX] {
            assert!(Maglev::new().table_size(size).unwrap_err().is_config(), "{size}");
        }
    }
}
