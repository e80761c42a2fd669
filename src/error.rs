//! The one error type of the crate.

mod census;
mod execution;

use std::error::Error as StdError;
use std::time::Duration;
use std::{fmt, io, iter};

use crate::id::EndpointId;

pub(crate) use self::census::{Census, Crowd};
pub(crate) use self::execution::is_callers;

use self::execution::History;

/// A boxed error, as tower and hyper hand them around.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a pick, a request or a change of a cluster did not succeed.
///
/// Opaque, so that new reasons can be added: ask it with its predicates. The message is one line
/// in lower case and carries the numbers that explain it; a cause is never part of the message
/// but of [`source`](StdError::source).
///
/// # Examples
///
/// ```
/// use whippletree::{Cluster, Context};
///
/// let cluster = Cluster::builder().connect(|_| ());
/// let error = cluster.pick(&Context::new()).unwrap_err();
/// assert!(error.is_no_endpoint());
/// assert_eq!(error.to_string(), "no available endpoint: 0 known");
/// ```
pub struct Error(Box<Kind>, History);

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("no available endpoint: {0}")]
    NoEndpoint(Census),
    #[error("endpoint {0} alone was asked for, and may not serve")]
    NotPreferred(EndpointId),
    #[error("the cluster was shut down")]
    Closed,
    #[error("endpoint {endpoint} was drained, and the request had not ended by the deadline")]
    Drained { endpoint: EndpointId },
    #[error("endpoint {endpoint} has {in_flight} requests in flight, as many as it can count")]
    Overloaded { endpoint: EndpointId, in_flight: u32 },
    #[error("overloaded: {0}")]
    Crowded(Crowd),
    #[error("{field}: {value:?} {reason}")]
    Config { field: String, value: String, reason: String },
    #[error("endpoint {endpoint} failed")]
    Service { endpoint: EndpointId, source: BoxError },
    #[error("endpoint {endpoint} did not get ready")]
    Unready { endpoint: EndpointId, source: BoxError },
    #[error("{} did not answer within {limit:?}", Asked(.endpoint.as_ref()))]
    Silent { endpoint: Option<EndpointId>, limit: Duration },
    #[error("{0} panicked: {1}")]
    Panicked(&'static str, String),
}

impl Error {
    pub(crate) fn crowded(crowd: Crowd) -> Self {
        Kind::Crowded(crowd).into()
    }

    /// How many endpoints were at their limit, if that is the reason.
    pub(crate) fn full_endpoints(&self) -> Option<usize> {
        match *self.0 {
            Kind::Crowded(
                Crowd::Full(endpoints)
                | Crowd::QueueFull { endpoints, .. }
                | Crowd::TooLong { endpoints, .. },
            ) => Some(endpoints),
            _ => None,
        }
    }

    pub(crate) fn no_endpoint(census: Census) -> Self {
        Kind::NoEndpoint(census).into()
    }

    pub(crate) fn not_preferred(endpoint: EndpointId) -> Self {
        Kind::NotPreferred(endpoint).into()
    }

    pub(crate) fn closed() -> Self {
        Kind::Closed.into()
    }

    pub(crate) fn drained(endpoint: EndpointId) -> Self {
        Kind::Drained { endpoint }.into()
    }

    pub(crate) fn overloaded(endpoint: EndpointId, in_flight: u32) -> Self {
        Kind::Overloaded { endpoint, in_flight }.into()
    }

    pub(crate) fn config(
        field: impl Into<String>,
        value: impl fmt::Display,
        reason: impl Into<String>,
    ) -> Self {
        Kind::Config { field: field.into(), value: value.to_string(), reason: reason.into() }.into()
    }

    /// Says of a config error where in a larger whole its field stands.
    #[cfg(feature = "serde")]
    pub(crate) fn within(mut self, place: &str) -> Self {
        if let Kind::Config { field, .. } = &mut *self.0 {
            *field = format!("{place}.{field}");
        }
        self
    }

    pub(crate) fn service(endpoint: EndpointId, source: BoxError) -> Self {
        Kind::Service { endpoint, source }.into()
    }

    /// The endpoint's service did not get ready: the request was not given to it.
    pub(crate) fn unready(endpoint: EndpointId, source: BoxError) -> Self {
        Kind::Unready { endpoint, source }.into()
    }

    /// The endpoint, if one was picked, did not answer in time.
    pub(crate) fn silent(endpoint: Option<EndpointId>, limit: Duration) -> Self {
        Kind::Silent { endpoint, limit }.into()
    }

    /// Reports a panic of the user's code; `payload` is what `catch_unwind` caught.
    pub(crate) fn panicked(what: &'static str, payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Kind::Panicked(what, text).into()
    }

    /// No endpoint could be picked: none is known, or none of the known ones is available to this
    /// request.
    #[must_use]
    pub fn is_no_endpoint(&self) -> bool {
        matches!(*self.0, Kind::NoEndpoint(_) | Kind::NotPreferred(_))
    }

    /// The cluster was [shut down](crate::Cluster::shutdown): no request will find an endpoint any
    /// more.
    ///
    /// ```
    /// use whippletree::cluster::DrainOptions;
    /// use whippletree::{Cluster, Context, Endpoint};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let cluster = Cluster::builder().connect(|_| ());
    /// cluster.insert(Endpoint::new("a:80")?)?;
    /// cluster.shutdown(DrainOptions::new()).await;
    /// let error = cluster.pick(&Context::new()).unwrap_err();
    /// assert!(error.is_closed() && !error.is_no_endpoint());
    /// # Ok::<(), whippletree::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(*self.0, Kind::Closed)
    }

    /// The request was cut short, because the [drain](crate::Cluster::drain) of its endpoint had
    /// come to its deadline. The endpoint may have carried it out.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        matches!(*self.0, Kind::Drained { .. })
    }

    /// The request was turned away because of load: all endpoints that it could have gone to were at
    /// their [limit](crate::Endpoint::with_max_in_flight), or a throttle refused it. It was not sent
    /// to anybody.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        matches!(*self.0, Kind::Overloaded { .. } | Kind::Crowded(_))
    }

    /// A value was refused: the message names the field and the value. The cluster is as it was.
    #[must_use]
    pub fn is_config(&self) -> bool {
        matches!(*self.0, Kind::Config { .. })
    }

    /// The endpoint's own service failed; the reason is the [`source`](StdError::source), which
    /// [`into_source`](Self::into_source) hands out.
    #[must_use]
    pub fn is_service(&self) -> bool {
        matches!(*self.0, Kind::Service { .. } | Kind::Unready { .. })
    }

    /// It took too long: a try of [`Failover`](crate::failover::Failover) ran into its timeout, or
    /// the endpoint's own service failed, and among the causes is tower's or tokio's `Elapsed`, or
    /// an I/O error of the kind [`TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// Clients that tell their timeouts by types of their own (reqwest, tonic) are not understood:
    /// ask the [`source`](StdError::source). A timeout above the balance is that layer's error.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::{ServiceExt, service_fn, timeout::Timeout};
    /// use whippletree::Balance;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
    /// # .unwrap().block_on(async {
    /// let balance = Balance::builder().endpoints(["10.0.0.1:80"])?.connect(|_| {
    ///     let hangs = service_fn(|_: http::Request<()>| {
    ///         std::future::pending::<Result<http::Response<String>, std::io::Error>>()
    ///     });
    ///     Timeout::new(hangs, Duration::from_millis(10))
    /// })?;
    /// let error = balance.oneshot(http::Request::new(())).await.unwrap_err();
    /// assert!(error.is_timeout() && error.is_service());
    /// # Ok::<(), whippletree::BoxError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match &*self.0 {
            Kind::Service { source, .. } | Kind::Unready { source, .. } => {
                causes(&**source).any(is_timeout)
            }
            Kind::Silent { .. } => true,
            _ => false,
        }
    }

    /// The user's own code (a connect closure) panicked. The panic was contained.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(*self.0, Kind::Panicked(..))
    }

    /// The endpoint that the error is about, where there is one.
    #[must_use]
    pub fn endpoint(&self) -> Option<&EndpointId> {
        match &*self.0 {
            Kind::Overloaded { endpoint, .. }
            | Kind::Drained { endpoint }
            | Kind::Service { endpoint, .. }
            | Kind::Unready { endpoint, .. }
            | Kind::NotPreferred(endpoint) => Some(endpoint),
            Kind::Silent { endpoint, .. } => endpoint.as_ref(),
            _ => None,
        }
    }

    /// The error of the endpoint's own service, or this error itself if there is none beneath.
    #[must_use]
    pub fn into_source(self) -> BoxError {
        match *self.0 {
            Kind::Service { source, .. } | Kind::Unready { source, .. } => source,
            kind => Box::new(Self(Box::new(kind), self.1)),
        }
    }
}

/// Whom a request was with.
struct Asked<'a>(Option<&'a EndpointId>);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(endpoint) => write!(f, "endpoint {endpoint}"),
            None => f.write_str("the service"),
        }
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self(Box::new(kind), History::default())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0, self.1)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// An error and its causes, from without to within.
///
/// What an I/O error wraps is among them, which its `source` passes over. At most 64, for nothing
/// keeps an error from being its own cause.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    iter::successors(Some(error), |error| cause(*error)).take(64)
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// Whether this error, apart from its causes, says that something took too long.
pub(crate) fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    let io: Option<&io::Error> = error.downcast_ref();
    io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        || error.is::<tower::timeout::error::Elapsed>()
        || error.is::<tokio::time::error::Elapsed>()
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

    fn of(source: impl Into<BoxError>) -> Error {
        Error::service(EndpointId::new("e").expect("a good id"), source.into())
    }

    #[test]
    fn timeouts_are_found_however_deep_they_lie() {
        let elapsed = tower::timeout::error::Elapsed::new;
        assert!(of(elapsed()).is_timeout());
        assert!(of(io::Error::from(io::ErrorKind::TimedOut)).is_timeout());
        assert!(of(io::Error::other(elapsed())).is_timeout());
        assert!(of(of(of(io::Error::other(io::Error::other(elapsed()))))).is_timeout());
        assert!(!of(io::Error::from(io::ErrorKind::ConnectionReset)).is_timeout());
        assert!(!of("timed out").is_timeout());
        assert!(!Error::no_endpoint(Census::default()).is_timeout());
    }

    #[tokio::test]
    async fn elapsed_of_tokio_is_a_timeout() {
        let never = std::future::pending::<()>();
        let elapsed = tokio::time::timeout(std::time::Duration::ZERO, never).await;
        assert!(of(elapsed.expect_err("it never ends")).is_timeout());
    }
}
