//! Answers of our own, where there is none of an endpoint.
//!
//! They are for strangers: one plain line, which names no endpoint and no address.

use std::error::Error as StdError;
use std::io;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use whippletree::Error;

/// Why a request gets no answer of an endpoint.
pub(crate) struct Refusal {
    status: StatusCode,
    line: &'static str,
    header: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    /// This is no forward proxy.
    pub(crate) const CONNECT: Self = Self {
        status: StatusCode::METHOD_NOT_ALLOWED,
        line: "no CONNECT here",
        header: Some((ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
    };

    pub(crate) const BAD_GATEWAY: Self =
        Self::new(StatusCode::BAD_GATEWAY, "the server could not be reached");

    pub(crate) const fn bad_request(line: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, line)
    }

    const fn new(status: StatusCode, line: &'static str) -> Self {
        Self { status, line, header: None }
    }

    /// It may be otherwise in a second.
    const fn unavailable(line: &'static str) -> Self {
        let header = Some((RETRY_AFTER, "1"));
        Self { status: StatusCode::SERVICE_UNAVAILABLE, line, header }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(format!("{}\n", self.line)));
        *response.status_mut() = self.status;
        let plain = (CONTENT_TYPE, "text/plain");
        for (name, value) in self.header.into_iter().chain([plain]) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// What the library's error means to whoever sent the request.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        if error.is_no_endpoint() {
            return Self::unavailable("no server is available");
        }
        if error.is_overloaded() {
            return Self::unavailable("too many requests at the moment");
        }
        // Else it is the HTTP client's, and the reason is somewhere among its causes.
        let causes = || std::iter::successors(Some(&error as &Cause), |cause| (*cause).source());
        if causes().any(is_of_the_body) {
            Self::bad_request("the request body broke off")
        } else if error.is_timeout() || causes().any(is_timeout) {
            Self::new(StatusCode::GATEWAY_TIMEOUT, "the server did not answer in time")
        } else {
            Self::BAD_GATEWAY
        }
    }
}

type Cause = dyn StdError + 'static;

/// hyper calls an error of a body that it was given to send one of its user: here it is the
/// client's body that broke off or is malformed.
fn is_of_the_body(cause: &Cause) -> bool {
    cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user)
}

fn is_timeout(cause: &Cause) -> bool {
    let error = cause.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}
