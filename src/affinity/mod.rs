//! Keys of requests, by which hash policies let equal requests meet at one endpoint.
//!
//! An [`AffinityLayer`] above a [`Balance`](crate::Balance) reads a [`Key`] from every request (a
//! header, a cookie, the path, a query parameter, the client's address, or what a closure says)
//! and puts its hash into the request's [`Context`](crate::Context). A policy of
//! [`policy::hash`](crate::policy::hash) picks by it. A request without the key, or with an empty
//! one, has no hash and goes where the policy's fallback sends it.
//!
//! Envoy calls this a route's *hash policy*, HAProxy `balance hdr`, `uri`, `url_param` or
//! `source`, nginx `hash $variable`.
//!
//! ```
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use whippletree::affinity::{AffinityLayer, Key};
//! use whippletree::policy::Maglev;
//! use whippletree::{Balance, BoxError};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let client = service_fn(|request: Request<()>| async move {
//!     Ok::<_, BoxError>(Response::new(request.uri().to_string()))
//! });
//! let endpoints = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];
//! let users = ServiceBuilder::new()
//!     .layer(AffinityLayer::new(Key::header("x-user")?))
//!     .service(Balance::builder().endpoints(endpoints)?.policy(Maglev::new()).shared(client)?);
//!
//! let ask = || Request::get("/").header("x-user", "ada").body(());
//! let first = users.clone().oneshot(ask()?).await?.into_body().into_inner();
//! for _ in 0..10 {
//!     assert_eq!(users.clone().oneshot(ask()?).await?.into_body().into_inner(), first);
//! }
//! # Ok::<(), BoxError>(())
//! # }).unwrap();
//! ```
//!
//! # Which hash
//!
//! All processes that shall agree need the same [`KeyHash`] and the same policy. The default agrees
//! with Envoy and gRPC. [`KeyHash::crc32`] with [`RingHash::ketama`](crate::policy::RingHash::ketama)
//! agrees with nginx: `Key::query("key")` with `hash $arg_key consistent`. Clients who choose their
//! keys can have them meet at one endpoint under any hash that they can compute;
//! [`KeyHash::secret`] is one that they cannot.
//!
//! # What it costs
//!
//! Reading and hashing a key allocates nothing. The context is a request extension, which `http`
//! keeps in a box: a request that has none yet costs that allocation, and two more if it had no
//! extension at all.

mod client;
mod hash;
mod key;
mod layer;
mod network;

pub use self::client::{ClientAddress, Peer};
pub use self::hash::KeyHash;
pub use self::key::Key;
pub use self::layer::{Affinity, AffinityLayer};
pub use self::network::Network;
