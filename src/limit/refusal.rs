use std::error::Error as StdError;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};

use crate::error::{Error, causes};

/// Whether an error, or any of its causes, is a crate's [`Error`] that
/// [says overload](Error::is_overloaded): what layers above a balance see may be wrapped.
#[must_use]
pub fn is_overload(error: &(dyn StdError + 'static)) -> bool {
    let overloaded = |cause: &(dyn StdError + 'static)| {
        cause.downcast_ref::<Error>().is_some_and(Error::is_overloaded)
    };
    causes(error).any(overloaded)
}

/// The answer to a request that was turned away because of [overload](is_overload): 503 with
/// `Retry-After`, and an empty body. `None` if the error is another.
///
/// `retry_after` is rounded up to whole seconds, and is 1 s at least: the header has no finer unit
/// (RFC 9110, section 10.2.3).
///
/// ```
/// use std::time::Duration;
/// use http::{Response, StatusCode};
/// use whippletree::limit::too_busy;
/// use whippletree::{Cluster, Context, Endpoint};
///
/// let cluster = Cluster::builder().connect(|_| ());
/// cluster.insert(Endpoint::new("10.0.0.1:80")?.with_max_in_flight(1))?;
/// let _busy = cluster.pick(&Context::new())?;
///
/// let error = cluster.pick(&Context::new()).unwrap_err();
/// let response: Response<String> = too_busy(&error, Duration::from_secs(1)).expect("overload");
/// assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
/// assert_eq!(response.headers()["retry-after"], "1");
/// # Ok::<(), whippletree::Error>(())
/// ```
#[must_use]
pub fn too_busy<B: Default>(
    error: &(dyn StdError + 'static),
    retry_after: Duration,
) -> Option<Response<B>> {
    if !is_overload(error) {
        return None;
    }
    let seconds = retry_after.as_secs().saturating_add(u64::from(retry_after.subsec_nanos() > 0));
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Crowd;

    fn seconds(retry_after: Duration) -> String {
        let error = Error::crowded(Crowd::Full(3));
        let response: Response<()> = too_busy(&error, retry_after).unwrap();
        response.headers()["retry-after"].to_str().unwrap().to_owned()
    }

    #[test]
    fn seconds_are_rounded_up_and_never_0() {
        assert_eq!(seconds(Duration::ZERO), "1");
        assert_eq!(seconds(Duration::from_millis(1001)), "2");
        assert_eq!(seconds(Duration::from_secs(30)), "30");
        assert_eq!(seconds(Duration::MAX), u64::MAX.to_string());
    }

    #[test]
    fn overload_is_found_beneath_other_errors_and_nothing_else_is_overload() {
        let wrapped = std::io::Error::other(Error::crowded(Crowd::Full(3)));
        assert!(is_overload(&wrapped));
        assert!(!is_overload(&std::io::Error::other("full")));
        let never = too_busy::<()>(&std::io::Error::other("full"), Duration::ZERO);
        assert!(never.is_none());
    }
}
