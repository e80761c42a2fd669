//! Policies by which equal keys meet at one endpoint.
//!
//! A request says its key by [`Context::with_hash`](crate::Context::with_hash), hashed by
//! [`xxh64_key`] or [`crc32_key`]. One without a key is picked for by the fallback, [`P2c`] unless
//! set.
//!
//! | | agrees with | evenness | a removal moves | a pick at 1000 endpoints |
//! |---|---|---|---|---|
//! | [`Maglev`] | Envoy | best | a little more than it must | as `Random` |
//! | [`RingHash::new`] | Envoy, gRPC | by the number of points | the lost keys | as `Random` |
//! | [`RingHash::ketama`] | nginx, pingora | peak 1.3 times the mean | the lost keys | as `Random` |
//! | [`Rendezvous`] | | good | the lost keys, evenly | some 1.5 µs |
//!
//! Take `Maglev` where there is no reason for another, `RingHash` to agree with what else routes the same
//! keys, and `Rendezvous` up to some tens of endpoints.
//!
//! # What is hashed of an endpoint
//!
//! Its id, which is the address as it was written unless one was set; with `RingHash::ketama` the
//! address. Endpoints are ordered by id before anything is built. So two processes that know the
//! same endpoints agree, in whatever order they learnt of them.
//!
//! # When an endpoint cannot serve
//!
//! Every key has an order of all endpoints that depends on nothing but the key, the ids and the weights, and goes
//! to the first that may serve it. So an endpoint that is out, or excluded by the request, loses its own
//! keys to the next in their orders, gets back just these, and moves no other. `RingHash` goes on clockwise for at most 4096 points, `Maglev` looks
//! at 64 slots of its table; after that the scores of `Rendezvous` decide.
//!
//! # Bounded loads
//!
//! One hot key can sink the endpoint that it belongs to. With `bounded(c)` the endpoints have slots:
//! all together c times the requests in flight, this one included, rounded up; each in
//! proportion to its weight, and at least one. An endpoint whose slots are taken is passed over for the next in the
//! key's order (Mirrokni, Thorup and Zadimoghaddam 2016; the rounding is that of HAProxy's `hash-balance-factor`).
//! So none has more than c times the mean, rounded up. 1.25 is a good start: lower is more even,
//! higher leaves more keys at home.
//!
//! The slots are counted anew at each pick, so the bound is exact, but for as many requests as are
//! being picked for at the same moment by other threads. There is no shared count of all requests, for
//! which all threads would have to queue. The price: an endpoint that is idle takes the request at once; otherwise
//! the requests in flight are summed, over all endpoints at worst (some 1 ns for each), or until
//! the sum is so large that the endpoint must have a slot free.
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
