use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::{Failure, Outcome};
use crate::error;

/// Reads from responses and errors what they say of the endpoint.
///
/// [`HttpOutcomes`] is the default, [`GrpcOutcomes`](super::GrpcOutcomes) reads gRPC's status.
/// Write one of your own where the endpoint says it otherwise, and give it to
/// [`Balance::classify`](crate::balance::Balance::classify). It runs on the path of every request:
/// it should be quick. A panic in it harms its verdict alone, which is then [`Outcome::Ignored`].
///
/// A mistake of the caller should not count against the endpoint. One that looks like any other
/// error is a request body that fails while it is sent. Whoever knows the client can tell:
///
/// ```
/// use std::error::Error;
/// use http::{HeaderMap, StatusCode};
/// use whippletree::Balance;
/// use whippletree::health::{Classify, HttpOutcomes, Outcome};
///
/// struct Hyper;
///
/// impl Classify for Hyper {
///     fn head(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
///         HttpOutcomes.head(status, headers)
///     }
///
///     fn error(&self, error: &(dyn Error + 'static)) -> Outcome {
///         let mut causes = std::iter::successors(Some(error), |&error| error.source());
///         let ours = causes.any(|cause| {
///             cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user)
///         });
///         if ours { Outcome::Ignored } else { HttpOutcomes.error(error) }
///     }
/// }
///
/// let builder = Balance::builder().classify(Hyper);
/// # let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
/// # assert_eq!(Hyper.error(&refused), HttpOutcomes.error(&refused));
/// ```
pub trait Classify: Send + Sync + 'static {
    /// What the head of a response says.
    ///
    /// A success is one for the time being: the body may still break off, and its trailers may say
    /// otherwise.
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Outcome;

    /// What the trailers say, if they say anything. A failure takes the place of the head's
    /// success. Not asked if the request was over before, by its
    /// [`Completion`](crate::load::Completion) or because the body was not read so far.
    ///
    /// By default trailers say nothing.
    fn trailers(&self, trailers: &HeaderMap) -> Option<Outcome> {
        let _ = trailers;
        None
    }

    /// What an error of the endpoint's service says, which came instead of a response.
    ///
    /// An error of the service's readiness is not asked about: it is [`Failure::Connect`], nothing
    /// was sent.
    ///
    /// By default as [`HttpOutcomes`].
    fn error(&self, error: &(dyn StdError + 'static)) -> Outcome {
        HttpOutcomes.error(error)
    }
}

impl<T: Classify + ?Sized> Classify for Arc<T> {
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        (**self).head(status, headers)
    }

    fn trailers(&self, trailers: &HeaderMap) -> Option<Outcome> {
        (**self).trailers(trailers)
    }

    fn error(&self, error: &(dyn StdError + 'static)) -> Outcome {
        (**self).error(error)
    }
}

/// By status, see [`Outcome`], and by the causes of errors: the default.
///
/// | an error with this among its causes | is |
/// |---|---|
/// | tower's or tokio's `Elapsed`, [`ErrorKind::TimedOut`] | [`Failure::Timeout`] |
/// | [`ErrorKind::ConnectionRefused`], `HostUnreachable`, `NetworkUnreachable`, `NetworkDown`, `AddrNotAvailable` | [`Failure::Connect`] |
/// | none of them | [`Failure::Other`] |
///
/// Of several the outermost counts. What a client says by types of its own cannot be told without
/// a dependency on it and is `Other`: hyper's and reqwest's `is_timeout` and `is_connect` where no
/// I/O error lies beneath, names that were not found, TLS.
///
/// With the feature `hyper`, an error that is the caller's own doing (hyper's `is_user`: a request
/// body that broke off, as an upload that a client gives up) is ignored: it says nothing of the
/// endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpOutcomes;

impl Classify for HttpOutcomes {
    fn head(&self, status: StatusCode, _: &HeaderMap) -> Outcome {
        status.into()
    }

    fn error(&self, error: &(dyn StdError + 'static)) -> Outcome {
        if error::causes(error).any(error::is_callers) {
            return Outcome::Ignored;
        }
        let known = error::causes(error).find_map(|cause| {
            if error::is_timeout(cause) {
                return Some(Failure::Timeout);
            }
            let error: &io::Error = cause.downcast_ref()?;
            is_connect(error.kind()).then_some(Failure::Connect)
        });
        Outcome::Failure(known.unwrap_or(Failure::Other))
    }
}

/// The kinds that a connect makes and that an established connection makes hardly ever.
fn is_connect(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
    )
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;
    use crate::error::Error;

    fn of(error: impl Into<crate::error::BoxError>) -> Outcome {
        HttpOutcomes.error(&*error.into())
    }

    #[test]
    fn errors_are_told_by_their_causes() {
        let connect = Outcome::Failure(Failure::Connect);
        let timeout = Outcome::Failure(Failure::Timeout);
        let other = Outcome::Failure(Failure::Other);
        let refused = || io::Error::from(ErrorKind::ConnectionRefused);
        assert_eq!(of(refused()), connect);
        assert_eq!(of(io::Error::other(refused())), connect);
        assert_eq!(of(io::Error::from(ErrorKind::HostUnreachable)), connect);
        assert_eq!(of(io::Error::from(ErrorKind::TimedOut)), timeout);
        assert_eq!(of(tower::timeout::error::Elapsed::new()), timeout);
        assert_eq!(of(io::Error::other(tower::timeout::error::Elapsed::new())), timeout);
        assert_eq!(of(io::Error::from(ErrorKind::ConnectionReset)), other);
        assert_eq!(of("anything"), other);
        let id = crate::id::EndpointId::new("inner").unwrap();
        assert_eq!(of(Error::service(id, refused().into())), connect);
    }

    #[test]
    fn an_error_that_is_its_own_cause_is_walked_for_a_while_only() {
        #[derive(Debug)]
        struct Own;
        impl std::fmt::Display for Own {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("round and round")
            }
        }
        impl StdError for Own {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(self)
            }
        }
        assert_eq!(of(Own), Outcome::Failure(Failure::Other));
    }
}
