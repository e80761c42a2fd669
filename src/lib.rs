//! Load balancing for tower services: any Rust HTTP client or server can spread its requests over
//! endpoints that come and go, with no proxy in the middle.
//!
//! A whippletree is the pivoting bar that shares one load evenly between several horses.
//!
//! # Where to begin
//!
//! | you want | look at |
//! |---|---|
//! | a balanced HTTP client, from hyper, reqwest or tonic | [`Balance`] and the module [`balance`] |
//! | the primitive alone, for TCP, databases or anything else | [`Cluster::pick`] and [`Lease`] |
//! | to choose an algorithm | the module [`policy`] |
//! | equal requests at one endpoint | the module [`affinity`] |
//! | to choose what counts as load | the module [`load`] |
//! | dead endpoints found before a request is lost on them | the module [`probe`] |
//! | endpoints from a file, a registry, a stream | the module [`discover`] |
//! | a few endpoints out of a large fleet | [`discover::Subsetting`] |
//! | a failed request sent to another endpoint | the module [`failover`] |
//! | dead endpoints out, and back | the modules [`probe`] and [`health::outlier`] |
//! | to bear more load than there is room for | the module [`limit`] |
//! | to take an endpoint out and lose nothing | [`Cluster::drain`] |
//! | to see what happens | [`Cluster::status`] and [`Cluster::subscribe`] |
//!
//! ```
//! use whippletree::policy::P2c;
//! use whippletree::{Cluster, Context, Endpoint, Outcome};
//!
//! let cluster = Cluster::builder()
//!     .policy(P2c::new())
//!     .connect(|endpoint| format!("connection to {}", endpoint.address()));
//! cluster.insert(Endpoint::new("10.0.0.1:5432")?)?;
//! cluster.insert(Endpoint::new("10.0.0.2:5432")?.with_weight(3))?;
//!
//! let mut lease = cluster.pick(&Context::new())?;
//! println!("using the {}", lease.service());
//! lease.report(Outcome::Success);
//! # Ok::<(), whippletree::Error>(())
//! ```
//!
//! # Words
//!
//! An **endpoint** is one server's address with an identity; a **cluster** the endpoints that
//! share a load. **Discovery** says which there are, as changes. A **policy** builds pickers, a
//! picker **picks**. An endpoint is **available** while it may be picked. A request is **in
//! flight** from its pick to the end of its response; the **lease** counts it. An **outcome** is
//! what a request learnt of its endpoint.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `cookie` | sticky sessions: [`sticky`](https://docs.rs/whippletree/latest/whippletree/sticky/) |
//! | `hyper` | probes over HTTP and TCP connections of their own: [`probe::HttpCheck`], [`probe::Probe`] |
//! | `http2` | streams that HTTP/2 says were not processed are sent elsewhere, whatever their method ([`failover`]) |
//! | `serde` | [`config::ClusterConfig`](https://docs.rs/whippletree/latest/whippletree/config/): a cluster described in TOML, JSON and the like |
//! | `admin` | [`admin::Admin`](https://docs.rs/whippletree/latest/whippletree/admin/): health, statistics and the operator's verbs |
//! | `full` | all of them |

#![forbid(unsafe_code)]

#[cfg(feature = "admin")]
pub mod admin;
pub mod affinity;
pub mod balance;
pub mod cluster;
#[cfg(feature = "serde")]
pub mod config;
pub mod discover;
pub mod endpoint;
mod error;
pub mod event;
pub mod failover;
pub mod health;
mod id;
pub mod limit;
pub mod load;
pub mod policy;
pub mod probe;
mod random;
#[cfg(feature = "cookie")]
pub mod sticky;
mod sync;

pub use self::balance::{Balance, BalanceLayer};
pub use self::cluster::{Cluster, Context, Lease};
pub use self::endpoint::{Endpoint, EndpointId, Weight};
pub use self::error::{BoxError, Error};
pub use self::health::Outcome;

/// The README's programs, compiled and run with the documentation tests.
#[cfg(all(doctest, feature = "cookie"))]
#[doc = include_str!("../README.md")]
struct Readme;
