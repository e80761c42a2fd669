//! Whether a request that failed may have been executed.

use std::error::Error as StdError;
use std::{fmt, io};

use super::{Error, Kind, causes};

/// What became of a request before the error that ended it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    /// How often it was sent, if a retry was made.
    tries: u32,
    /// Whether an earlier try may have been executed.
    executed: bool,
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tries {
            0 | 1 => Ok(()),
            tries => write!(f, ", after {tries} tries"),
        }
    }
}

impl Error {
    /// The request was certainly not executed: nothing of it has left, or the endpoint has said so.
    ///
    /// It may be sent again whatever its method. If this is false, it **may** have been executed;
    /// nobody can tell. After retries it speaks of all the tries together.
    ///
    /// | certainly not executed | feature |
    /// |---|---|
    /// | no endpoint, overload, an endpoint's service that did not get ready | |
    /// | an I/O error of the kind `ConnectionRefused` or `AddrNotAvailable`: only connects make them | |
    /// | an error of hyper-util's connector, such as a name that was not found, TLS, a connect timeout | `hyper` |
    /// | a request that hyper has cancelled before the connection took it | `hyper` |
    /// | a stream with HTTP/2's `REFUSED_STREAM`, or above the last one of a `GOAWAY` | `http2` |
    ///
    /// A connection that closes before the response (hyper's `IncompleteMessage`) proves nothing, nor
    /// does a request that was [cut](Error::is_drained) by its endpoint's drain.
    ///
    /// ```
    /// use std::io::{Error as IoError, ErrorKind};
    /// use http::Request;
    /// use tower::{ServiceExt, service_fn};
    /// use whippletree::Balance;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// for (kind, not_executed) in
    ///     [(ErrorKind::ConnectionRefused, true), (ErrorKind::ConnectionReset, false)]
    /// {
    ///     let balance = Balance::builder().endpoints(["10.0.0.1:80"])?.connect(move |_| {
    ///         service_fn(move |_: Request<()>| async move {
    ///             Err::<http::Response<String>, _>(IoError::from(kind))
    ///         })
    ///     })?;
    ///     let error = balance.oneshot(Request::new(())).await.unwrap_err();
    ///     assert_eq!(error.is_not_executed(), not_executed);
    /// }
    /// # Ok::<(), whippletree::BoxError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn is_not_executed(&self) -> bool {
        !self.1.executed && self.was_not_sent()
    }

    fn was_not_sent(&self) -> bool {
        match &*self.0 {
            Kind::Service { source, .. } => says_not_executed(&**source),
            Kind::Silent { .. } | Kind::Drained { .. } | Kind::Panicked(..) => false,
            _ => true,
        }
    }

    /// Adds what became of the request before: how often it was sent, and whether one of the
    /// earlier tries may have been executed.
    pub(crate) fn after(mut self, tries: u32, executed: bool) -> Self {
        self.1 = History { tries, executed };
        self
    }
}

/// The outermost cause that knows decides: an error that wraps another one saw more than that.
fn says_not_executed(error: &(dyn StdError + 'static)) -> bool {
    causes(error).find_map(verdict).unwrap_or(false)
}

fn verdict(cause: &(dyn StdError + 'static)) -> Option<bool> {
    if let Some(error) = cause.downcast_ref::<Error>() {
        return Some(error.is_not_executed());
    }
    if of_a_client(cause) {
        return Some(true);
    }
    let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
    // A connection that is up is reset, not refused.
    let connect = [io::ErrorKind::ConnectionRefused, io::ErrorKind::AddrNotAvailable];
    kind.is_some_and(|kind| connect.contains(&kind)).then_some(true)
}

#[cfg(feature = "hyper")]
fn of_a_client(cause: &(dyn StdError + 'static)) -> bool {
    use hyper_util::client::legacy;
    let unconnected = cause.downcast_ref().is_some_and(legacy::Error::is_connect);
    // Every place where hyper says so still has the request in its hands.
    unconnected || cause.downcast_ref().is_some_and(hyper::Error::is_canceled) || of_http2(cause)
}

/// Whether the error is the caller's own doing, such as a request body that broke off.
#[cfg(feature = "hyper")]
pub(crate) fn is_callers(cause: &(dyn StdError + 'static)) -> bool {
    cause.downcast_ref().is_some_and(hyper::Error::is_user)
}

#[cfg(not(feature = "hyper"))]
pub(crate) fn is_callers(_: &(dyn StdError + 'static)) -> bool {
    false
}

#[cfg(not(feature = "hyper"))]
fn of_a_client(_: &(dyn StdError + 'static)) -> bool {
    false
}

/// RFC 9113, 8.7: such a stream was not processed and may be sent again. Of a received `GOAWAY`, h2
/// tells only the streams above the last one that the server names.
#[cfg(feature = "http2")]
fn of_http2(cause: &(dyn StdError + 'static)) -> bool {
    cause.downcast_ref::<h2::Error>().is_some_and(|error| {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || error.is_reset() && refused)
    })
}

#[cfg(all(feature = "hyper", not(feature = "http2")))]
fn of_http2(_: &(dyn StdError + 'static)) -> bool {
    false
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;
    use crate::error::Census;
    use crate::id::EndpointId;

    fn of(source: impl Into<crate::BoxError>) -> Error {
        Error::service(EndpointId::new("e").expect("a good id"), source.into())
    }

    #[test]
    fn only_what_cannot_have_left_is_certainly_not_executed() {
        let kind = |kind: io::ErrorKind| of(io::Error::from(kind));
        assert!(kind(io::ErrorKind::ConnectionRefused).is_not_executed());
        assert!(of(io::Error::other(kind(io::ErrorKind::AddrNotAvailable))).is_not_executed());
        assert!(Error::no_endpoint(Census::default()).is_not_executed());
        for kind in [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::BrokenPipe,
            io::ErrorKind::TimedOut,
            // The kernel says so of connections that were up, too.
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::NetworkUnreachable,
        ] {
            assert!(!of(io::Error::from(kind)).is_not_executed(), "{kind}");
        }
        assert!(!of("anything").is_not_executed());
        assert!(!Error::silent(None, std::time::Duration::ZERO).is_not_executed());
        let cut = Error::drained(EndpointId::new("e").expect("a good id"));
        assert!(!cut.is_not_executed());
        assert!(!of(cut).is_not_executed(), "a body that was cut, too");
    }

    #[test]
    fn an_earlier_try_is_remembered_and_counted() {
        let refused = || of(io::Error::from(io::ErrorKind::ConnectionRefused));
        let error = refused().after(3, false);
        assert!(error.is_not_executed());
        assert_eq!(error.to_string(), "endpoint e failed, after 3 tries");
        assert!(!refused().after(2, true).is_not_executed());
        assert!(!of(refused().after(2, true)).is_not_executed());
        assert_eq!(refused().after(1, false).to_string(), "endpoint e failed");
    }
}
