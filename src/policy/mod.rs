//! The selection algorithms.
//!
//! **A policy builds, a picker picks.** Whenever the endpoints change, the cluster hands those
//! that may serve to [`Policy::build`], which may sort and allocate; what it returns, a [`Pick`],
//! is then asked on every request, by many threads at once, and only reads. It sees the endpoints
//! as indexes `0..len` with live costs ([`Candidates`]), never a service, a request or a clock.
//!
//! # Which one, when?
//!
//! | policy | picks | cost of a pick | memory | choose it when |
//! |---|---|---|---|---|
//! | [`P2c`] (the default) | the cheaper of two at random | two costs read | none; 12 to 16 bytes per endpoint if weights differ | almost always |
//! | [`LeastRequest`] | the cheapest of all | every cost read | 2 bytes per endpoint if weights differ | few endpoints, long requests, one balancer in front of them |
//! | [`RoundRobin`] | each in its turn | one shared counter | none; up to 512 KiB if weights differ | requests cost the same and exact shares matter |
//! | [`Random`] | any | nothing read | as `P2c` | many balancers, stateless; the baseline |
//! | [`Ranked`] | always the same, until it is out | nothing read | 4 bytes per endpoint | active and standby: one may serve at a time |
//! | [`Maglev`] | the endpoint of the key | one look into a table | 128 KiB, and 8 to 16 bytes per endpoint | caches, sessions in memory: equal keys must meet; evenly |
//! | [`RingHash`] | the endpoint of the key | a search of one or two points | 10 to 20 bytes per point, 160 points per endpoint as nginx | the same, in agreement with Envoy, gRPC or nginx |
//! | [`Rendezvous`] | the endpoint of the key | one hash per endpoint | 8 to 16 bytes per endpoint | the same, few endpoints; nothing moves but what must |
//!
//! Why two at random and not the cheapest of all? Every balancer sees only its own requests. If
//! each of a hundred sends its next one to the endpoint it believes the least loaded, they all
//! choose the same one (and an endpoint that fails fast looks idle and draws everything). Of two
//! at random the worst endpoint is never chosen and no endpoint can get more than 2/n of the
//! requests, at a cost that does not grow with n (Mitzenmacher 2001).
//!
//! All policies honour exclusions and seeds, and all that spread requests honour weights. Endpoints
//! of weight 0 are not among the candidates.
//!
//! # Your own
//!
//! ```
//! use whippletree::policy::{Build, Candidates, Pick, Policy};
//! use whippletree::{Cluster, Context, Endpoint};
//!
//! /// Always the endpoint whose id sorts first.
//! #[derive(Debug)]
//! struct First;
//!
//! impl Policy for First {
//!     fn name(&self) -> &str {
//!         "first"
//!     }
//!
//!     fn build(&self, _: &Build<'_>) -> Box<dyn Pick> {
//!         Box::new(First)
//!     }
//! }
//!
//! impl Pick for First {
//!     fn pick(&self, candidates: &Candidates<'_>) -> Option<usize> {
//!         (0..candidates.len()).find(|&index| candidates.allows(index))
//!     }
//! }
//!
//! let cluster = Cluster::builder().policy(First).connect(|_| ());
//! cluster.replace([Endpoint::new("b:80")?, Endpoint::new("a:80")?])?;
//! assert_eq!(cluster.pick(&Context::new())?.id().as_str(), "a:80");
//! # Ok::<(), whippletree::Error>(())
//! ```

mod candidates;
pub mod hash;
mod least_request;
mod p2c;
mod random;
mod ranked;
mod round_robin;
mod smooth;
mod wheel;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::error::Error;

pub use self::candidates::Candidates;
pub use self::hash::{Maglev, Rendezvous, RingHash};
pub use self::least_request::LeastRequest;
pub use self::p2c::P2c;
pub use self::random::Random;
pub use self::ranked::Ranked;
pub use self::round_robin::RoundRobin;

pub(crate) use self::candidates::{Asked, Moment, Ramp, Restraint};

/// Makes a [`Pick`] for every set of endpoints.
///
/// Called off the request path, once per change, while the cluster is locked for other changes: it
/// must not call the cluster. A panic in it is contained: the cluster reports
/// it as an [event](crate::event::Event) and picks with [`P2c`] until the next change.
pub trait Policy: fmt::Debug + Send + Sync + 'static {
    /// The name by which configuration and statistics call the policy.
    fn name(&self) -> &str;

    /// Whether pickers are built over all the endpoints of a tier, available or not, so that a
    /// change of health moves nobody's requests but those of the endpoint concerned. Those that are
    /// not available are then not [allowed](Candidates::allows). Default no: pickers are built over
    /// the available ones alone.
    fn keeps_unavailable(&self) -> bool {
        false
    }

    /// Whether requests are spread over several endpoints. Default yes.
    ///
    /// A policy that has one endpoint serve alone says no, and is then spared what only makes sense
    /// where a wrong endpoint costs a share of the requests and not all of them: in a
    /// [panic](crate::cluster::Panic) it gets endpoints that are known to be out only if there is
    /// no other; after an ejection no request is sent elsewhere on trial; sessions that begin or are
    /// diverted go where it says; and while its endpoint is [full](Endpoint::with_max_in_flight)
    /// requests wait, instead of going to another: it picks by [`Candidates::permits`].
    fn spreads(&self) -> bool {
        true
    }

    /// Prepares to pick among `build.endpoints`, which are never empty.
    fn build(&self, build: &Build<'_>) -> Box<dyn Pick>;
}

/// Picks one of the endpoints that it was built for.
pub trait Pick: Send + Sync + 'static {
    /// The index of an endpoint that [`candidates.allows`](Candidates::allows), or `None` if
    /// there is none.
    ///
    /// Runs on every request: it should neither block nor allocate. An index that is out of range
    /// or not allowed, or a panic, is a fault of the policy; the cluster then takes any endpoint
    /// that is allowed.
    fn pick(&self, candidates: &Candidates<'_>) -> Option<usize>;

    /// How far a policy with an order has come, as a fraction of its cycle in units of 2⁻⁶⁴.
    ///
    /// The next picker of the same group of endpoints gets it as [`Build::phase`], so that a change
    /// does not send everybody back to the first endpoint. Default 0, for policies without one.
    fn phase(&self) -> u64 {
        0
    }

    /// Whether picks take account of [`Candidates::share`], by which endpoints in slow start get
    /// less. Default no: the cluster then lets a pick of such an endpoint through with the
    /// probability of its share, and otherwise asks again without it.
    fn heeds_share(&self) -> bool {
        false
    }

    /// What the picker that replaces this one shall know, of any type.
    ///
    /// The next picker of the same group of endpoints gets it as [`Build::memory`]. Default `None`,
    /// for policies that start anew with every change.
    fn memory(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }

    /// When to build again although nothing changes, as [`Build::now`] counts it. Asked once, when
    /// the picker was built. Default `None`.
    fn rebuild_at(&self) -> Option<Duration> {
        None
    }
}

/// What a [`Policy`] builds from.
#[derive(Debug)]
#[non_exhaustive]
pub struct Build<'a> {
    /// The endpoints to pick among, ordered by id. A pick names them by their index here.
    pub endpoints: &'a [&'a Endpoint],
    /// The effective rank of each endpoint, in the same order: its [rank](Endpoint::rank), adjusted
    /// by what is known against it, 1 to 254.
    pub ranks: &'a [u8],
    /// Where in its cycle the policy shall go on: the [`Pick::phase`] of the picker that this one
    /// replaces, or a random number for the first one.
    pub phase: u64,
    /// The time since the cluster was made.
    pub now: Duration,
    /// The [`Pick::memory`] of the picker that this one replaces; `None` for the first one.
    pub memory: Option<Arc<dyn Any + Send + Sync>>,
}

/// The built-in policy called `name`: `p2c`, `least_request`, `round_robin`, `random`, `ranked`,
/// `ring_hash`, `ketama` (a ring as nginx's), `maglev` or `rendezvous`.
///
/// # Errors
///
/// Another name.
///
/// ```
/// use whippletree::policy;
///
/// assert_eq!(policy::by_name("round_robin")?.name(), "round_robin");
/// let error = policy::by_name("fastest").unwrap_err();
/// assert!(error.to_string().starts_with(r#"policy: "fastest" is none of"#));
/// # Ok::<(), whippletree::Error>(())
/// ```
pub fn by_name(name: &str) -> Result<Arc<dyn Policy>, Error> {
    let known: [Arc<dyn Policy>; 9] = [
        Arc::new(P2c::new()),
        Arc::new(LeastRequest::new()),
        Arc::new(RoundRobin::new()),
        Arc::new(Random::new()),
        Arc::new(Ranked::new()),
        Arc::new(RingHash::new()),
        Arc::new(RingHash::ketama()),
        Arc::new(Maglev::new()),
        Arc::new(Rendezvous::new()),
    ];
    let names: Vec<&str> = known.iter().map(|policy| policy.name()).collect();
    let unknown = || Error::config("policy", name, format!("is none of {}", names.join(", ")));
    known.iter().find(|policy| policy.name() == name).cloned().ok_or_else(unknown)
}

impl<P: Policy + ?Sized> Policy for Arc<P> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn keeps_unavailable(&self) -> bool {
        (**self).keeps_unavailable()
    }

    fn spreads(&self) -> bool {
        (**self).spreads()
    }

    fn build(&self, build: &Build<'_>) -> Box<dyn Pick> {
        (**self).build(build)
    }
}
