//! Policies by which equal keys meet at one endpoint.
//!
//! A request says its key by [`Context::with_hash`](crate::Context::with_hash), hashed by
//! [`xxh64_key`] or [`crc32_key`]; an [`AffinityLayer`](crate::affinity::AffinityLayer) reads it from
//! HTTP requests. One without a key is picked for by the fallback, [`P2c`] unless
//! set.
//!
//! | | agrees with | busiest of 100, times the mean | a removal of one of 100 moves | a pick |
//! |---|---|---:|---|---|
//! | [`Maglev`] | Envoy | 1.00 | its keys and 0.6 % of all | as `Random` |
//! | [`RingHash::ketama`] | nginx, pingora | 1.19 | its keys | a few cache misses |
//! | [`RingHash::new`] | Envoy, gRPC | 1.83; 1.08 with 131 072 points | its keys and up to 1 % of all | the same |
//! | [`Rendezvous`] | | 1.00 | its keys | 2.5 ns per endpoint |
//!
//! Take `Maglev` where there is no reason for another, `RingHash` to agree with what else routes
//! the same keys, and `Rendezvous` up to some tens of endpoints.
//!
//! Keys that clients choose can be chosen so that they all meet at one endpoint. Against that, hash
//! them with a [secret](crate::affinity::KeyHash::secret) that your processes share, or bound the
//! loads.
//!
//! # What is hashed of an endpoint
//!
//! Its id, which is the address as it was written unless one was set; with `RingHash::ketama` the
//! address. Endpoints are ordered by id before anything is built. So two processes that know the
//! same endpoints agree, in whatever order they learnt of them.
//!
//! # When an endpoint cannot serve
//!
//! Every key has an order of all endpoints that depends on nothing but the key, the ids and the
//! weights, and goes to the first that may serve it. So an endpoint that is out, or excluded by the
//! request, loses its own keys to the next in their orders, gets just these back, and moves no
//! other. `RingHash` goes on clockwise for at most 4096 points, `Maglev` looks at 64 slots of its
//! table; after that the scores of `Rendezvous` decide.
//!
//! # Bounded loads
//!
//! One hot key can sink the endpoint that it belongs to. With `bounded(c)` the endpoints have
//! slots: all together c times the requests in flight, this one included, rounded up; each in
//! proportion to its weight, and at least one. An endpoint whose slots are taken is passed over for
//! the next in the key's order (Mirrokni, Thorup and Zadimoghaddam 2016; rounded as by HAProxy's
//! `hash-balance-factor`). So none has more than c times the mean, rounded up. 1.25 is a good
//! start: lower is more even, higher leaves more requests at home. With keys by Zipf's law, whose
//! hottest asks for a seventh of all, 22 to 27 % of the requests leave home at c = 1.25 and ten
//! endpoints, and 3 to 8 % at c = 2; without a bound the busiest has four times the mean.
//!
//! The slots are counted anew at each pick, so the bound is exact, but for as many requests as are
//! being picked for at the same moment by other threads. There is no shared count of all requests,
//! for which all threads would have to queue. The price: an idle endpoint takes the request at
//! once; otherwise the requests in flight are summed, at some 1 ns per endpoint, until the sum is
//! so large that the endpoint must have a slot free, or over all. Endpoints that are out or
//! excluded do not count.
//!
//! [`P2c`]: super::P2c

mod bound;
mod key;
mod maglev;
mod picker;
mod placement;
mod points;
mod rendezvous;
mod ring;
mod scores;
mod shares;
mod table;

pub use self::key::{crc32_key, xxh64_key};
pub use self::maglev::Maglev;
pub use self::rendezvous::Rendezvous;
pub use self::ring::RingHash;
