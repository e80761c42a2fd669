//! From evidence to verdict: what a response says about its endpoint.
//!
//! An [`Outcome`] is what one request learnt of the endpoint that served it. It is about the
//! **endpoint**, not about the request: a 404 is a fine answer of a healthy endpoint, and a
//! request that its caller gave up says nothing. Who reads it from a response is a [`Classify`]:
//! [`HttpOutcomes`] by default, [`GrpcOutcomes`], or one of your own.
//!
//! ```
//! use http::StatusCode;
//! use whippletree::health::{Failure, Outcome};
//!
//! assert_eq!(Outcome::from(StatusCode::OK), Outcome::Success);
//! assert_eq!(Outcome::from(StatusCode::NOT_FOUND), Outcome::Ignored);
//! assert_eq!(Outcome::from(StatusCode::BAD_GATEWAY), Outcome::Failure(Failure::Gateway));
//! ```

mod classifier;
mod classify;
mod counter;
mod grpc;
pub mod outlier;
mod retry_after;
mod slow_start;

use http::StatusCode;

pub(crate) use self::classifier::Classifier;
pub use self::classify::{Classify, HttpOutcomes};
pub(crate) use self::counter::{Counter, Standing, Turn};
pub use self::counter::{Initial, Thresholds};
pub use self::grpc::GrpcOutcomes;
pub(crate) use self::retry_after::retry_after;
pub use self::slow_start::SlowStart;

/// What one request learnt of the endpoint that served it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The endpoint did its work.
    Success,
    /// The endpoint, or the way to it, failed.
    Failure(Failure),
    /// Nothing is said of the endpoint: the caller's own mistake, or a request given up early.
    Ignored,
}

/// How an endpoint failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No connection could be made, or the endpoint's service did not get ready. A verdict on the
    /// endpoint, not a proof that the request was never sent.
    Connect,
    /// It took longer than it may.
    Timeout,
    /// It answered 502, 503 or 504, or gRPC's `UNAVAILABLE`: what is behind it failed.
    Gateway,
    /// It answered with another 5xx, or with a gRPC status that says as much.
    Server,
    /// Its response broke off within the body.
    Body,
    /// Any other error before the response head.
    Other,
}

/// 5xx is a failure, 4xx is ignored, everything else a success (Envoy's and gRPC's reading).
impl From<StatusCode> for Outcome {
    fn from(status: StatusCode) -> Self {
        match status.as_u16() {
            502..=504 => Self::Failure(Failure::Gateway),
            500..=599 => Self::Failure(Failure::Server),
            400..=499 => Self::Ignored,
            _ => Self::Success,
        }
    }
}
