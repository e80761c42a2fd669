use std::future::Future;
use std::pin::Pin;

use super::Target;
use crate::error::BoxError;

/// Looks at an endpoint once and says how it is.
///
/// [`Probe::custom`](super::Probe::custom) makes one of any async closure; implement it for what
/// has parameters and state of its own.
///
/// ```
/// use whippletree::probe::{Answer, Check, CheckFuture, Probe, Target};
///
/// struct Role;
///
/// impl Check for Role {
///     fn check(&self, target: Target) -> CheckFuture {
///         Box::pin(async move {
///             match target.endpoint().labels().get("role") {
///                 Some("retired") => Ok(Answer::AsksToLeave),
///                 Some(_) => Ok(Answer::Healthy),
///                 None => Err("has no role".into()),
///             }
///         })
///     }
/// }
///
/// assert_eq!(Probe::new(Role).name("role").to_string(), "role");
/// ```
pub trait Check: Send + Sync + 'static {
    /// Looks at the endpoint. An error is a failed check; it stands, with its causes, as the reason
    /// in the status and in events.
    ///
    /// Called and polled in a task of its own, and dropped at the probe's timeout. A panic is a
    /// failed check. What blocks the thread cannot be stopped: use `spawn_blocking`.
    fn check(&self, target: Target) -> CheckFuture;
}

/// One check under way.
pub type CheckFuture = Pin<Box<dyn Future<Output = Result<Answer, BoxError>> + Send>>;

/// What an endpoint that passes a check says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// It serves.
    Healthy,
    /// It serves, but wants no new requests: it is treated as drained until a check finds it
    /// healthy again.
    AsksToLeave,
}

impl From<()> for Answer {
    fn from((): ()) -> Self {
        Self::Healthy
    }
}

/// An async closure as a check.
pub(super) struct Custom<F>(pub(super) F);

impl<F, R, T, E> Check for Custom<F>
where
    F: Fn(Target) -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Answer>,
    E: Into<BoxError>,
{
    fn check(&self, target: Target) -> CheckFuture {
        let check = (self.0)(target);
        Box::pin(async move { check.await.map(Into::into).map_err(Into::into) })
    }
}
