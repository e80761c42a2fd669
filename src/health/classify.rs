use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderValue, StatusCode};

use super::{Failure, Outcome};
use crate::error::{self, Error};

/// Reads from responses and errors what they say of the endpoint.
///
/// [`HttpOutcomes`] is the default, [`GrpcOutcomes`] reads gRPC's status. Write one of your own
/// where the endpoint says it otherwise, and give it to
/// [`Balance::classify`](crate::Balance::classify). It runs on the path of every request: it should
/// be quick. A panic in it harms its verdict alone, which is then [`Outcome::Ignored`].
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
/// I/O error lies beneath, names that were not found, TLS, the caller's own request body.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpOutcomes;

impl Classify for HttpOutcomes {
    fn head(&self, status: StatusCode, _: &HeaderMap) -> Outcome {
        status.into()
    }

    fn error(&self, error: &(dyn StdError + 'static)) -> Outcome {
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

/// By `grpc-status`, in the trailers or, where there is no message, in the head.
///
/// | status | is |
/// |---|---|
/// | `OK` | a success |
/// | `UNAVAILABLE` | [`Failure::Gateway`] |
/// | `DEADLINE_EXCEEDED` | [`Failure::Timeout`] |
/// | `UNKNOWN`, `INTERNAL`, `DATA_LOSS`, or none that gRPC knows | [`Failure::Server`] |
/// | all others, `RESOURCE_EXHAUSTED` and `CANCELLED` among them | ignored |
///
/// These failures are the ones that linkerd2-proxy counts; `RESOURCE_EXHAUSTED` is a caller's
/// quota as often as the endpoint's distress. HTTP statuses other than 200, as a proxy on the way
/// answers them, and errors are read as by [`HttpOutcomes`]. A response that ends without a status
/// is a success.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcOutcomes;

impl Classify for GrpcOutcomes {
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        if status != StatusCode::OK {
            return status.into();
        }
        headers.get(GRPC_STATUS).map_or(Outcome::Success, grpc)
    }

    fn trailers(&self, trailers: &HeaderMap) -> Option<Outcome> {
        trailers.get(GRPC_STATUS).map(grpc)
    }
}

const GRPC_STATUS: &str = "grpc-status";

/// Numbers of gRPC's `statuscodes.md`; a status that is none of them is UNKNOWN there.
fn grpc(status: &HeaderValue) -> Outcome {
    let code: Option<u8> = status.to_str().ok().and_then(|text| text.parse().ok());
    match code {
        Some(0) => Outcome::Success,
        Some(4) => Outcome::Failure(Failure::Timeout),
        Some(14) => Outcome::Failure(Failure::Gateway),
        Some(1 | 3 | 5..=12 | 16) => Outcome::Ignored,
        _ => Outcome::Failure(Failure::Server),
    }
}

/// A user's [`Classify`] whose panics stay within.
pub(crate) struct Classifier {
    classify: Box<dyn Classify>,
    /// Whether a panic was logged already: one bad line of code should not fill the log.
    told: AtomicBool,
}

impl Classifier {
    pub(crate) fn new(classify: impl Classify) -> Self {
        Self { classify: Box::new(classify), told: AtomicBool::new(false) }
    }

    pub(crate) fn head(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        self.contain(|classify| classify.head(status, headers)).unwrap_or(Outcome::Ignored)
    }

    pub(crate) fn trailers(&self, trailers: &HeaderMap) -> Option<Outcome> {
        self.contain(|classify| classify.trailers(trailers)).unwrap_or(Some(Outcome::Ignored))
    }

    pub(crate) fn error(&self, error: &(dyn StdError + 'static)) -> Outcome {
        self.contain(|classify| classify.error(error)).unwrap_or(Outcome::Ignored)
    }

    fn contain<T>(&self, work: impl FnOnce(&dyn Classify) -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(|| work(&*self.classify)));
        result.map_err(|panic| self.tell(&*panic)).ok()
    }

    #[cold]
    fn tell(&self, panic: &(dyn std::any::Any + Send)) {
        if !self.told.swap(true, Ordering::Relaxed) {
            let error = Error::panicked("classifier", panic);
            tracing::error!(target: "whippletree", "{error}; told once, its verdict is ignored");
        }
    }
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

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

    #[derive(Clone, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn panic_of_a_classifier_is_ignored_and_told_once() {
        struct Panics;
        impl Classify for Panics {
            fn head(&self, _: StatusCode, _: &HeaderMap) -> Outcome {
                panic!("planted")
            }

            fn trailers(&self, _: &HeaderMap) -> Option<Outcome> {
                panic!("planted")
            }
        }
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let classifier = Classifier::new(Panics);
            let nothing = HeaderMap::new();
            for _ in 0..3 {
                assert_eq!(classifier.head(StatusCode::OK, &nothing), Outcome::Ignored);
                assert_eq!(classifier.trailers(&nothing), Some(Outcome::Ignored));
            }
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches("classifier panicked: planted").count(), 1, "{log}");
    }

    #[test]
    fn grpc_statuses_are_told_by_their_numbers() {
        let told = |code: &str| grpc(&HeaderValue::from_str(code).unwrap());
        let outcomes: String = (0..18)
            .map(|code| match told(&code.to_string()) {
                Outcome::Success => 's',
                Outcome::Ignored => 'i',
                Outcome::Failure(Failure::Timeout) => 't',
                Outcome::Failure(Failure::Gateway) => 'g',
                Outcome::Failure(_) => 'f',
            })
            .collect();
        assert_eq!(outcomes, "sifitiiiiiiiifgfif");
        assert_eq!(told("junk"), Outcome::Failure(Failure::Server));
    }
}
