//! What to do with more requests than the endpoints can serve.
//!
//! Four means, from the endpoint outwards; each is of use alone.
//!
//! | means | where | what it does |
//! |---|---|---|
//! | a **limit** | [`Endpoint::with_max_in_flight`](crate::Endpoint::with_max_in_flight) | an endpoint never has more requests in flight than it can work on |
//! | a **queue** | [`Queue`], by [`balance::Builder::queue`](crate::balance::Builder::queue) | requests wait a moment for whichever endpoint has room first |
//! | an **answer** | [`too_busy`] | who cannot be served is told at once: 503 with `Retry-After` |
//! | a **throttle** | [`ThrottleLayer`], at the caller | who was told often enough stops asking |
//!
//! # Why a limit, and how high?
//!
//! Beyond some number of requests at once a server only gets slower: it answers everyone late
//! instead of some in time, callers give up and try again, and what it works on is no longer wanted.
//! The number in flight that keeps it busy is throughput times latency (Little's law): 200 requests
//! a second of 50 ms each are 10 at once. Set the limit to two or three times that.
//!
//! # Why a queue, and how long?
//!
//! Requests do not come evenly. A queue of a fraction of a second turns most short bursts into a
//! little latency. Under a lasting overload every queue is full and adds its whole length to every
//! request that is served, so it should be no longer than callers like to wait.
//!
//! # Why a throttle?
//!
//! Refusing a request costs little, but not nothing: at a hundred times the load a server is busy
//! with refusing. The [adaptive throttle](Throttle) of the SRE book lets a caller send about twice
//! what is accepted, and refuses the rest where it arises.
//!
//! `cargo run --example overload` shows all four under a burst.

mod layer;
mod refusal;
mod throttle;
mod window;

pub use self::layer::{ThrottleFuture, ThrottleLayer, Throttled};
pub use self::refusal::{is_overload, too_busy};
pub use self::throttle::{Attempt, Throttle};
pub use crate::cluster::{Queue, QueueStatus};
