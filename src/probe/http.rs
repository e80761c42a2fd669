use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::Arc;

use bytes::Buf;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::Body;

use super::runner::failure;
use super::through::{Answering, Through};
use super::{Answer, Probe};
use crate::endpoint::Endpoint;
use crate::error::{BoxError, Error};

/// The most of a body that is read; one endpoint that talks without end must not fill the memory.
const MOST: usize = 64 * 1024;

/// A check by an HTTP request, made by [`Probe::http`]; one of three ways to send it makes it a
/// [`Probe`].
///
/// | sent by | over |
/// |---|---|
/// | [`through`](Self::through) | the endpoint's own service in the cluster: what requests go over, pool, TLS and all |
/// | `fresh` (feature `hyper`), or [`Into`] | a connection of its own, new for each check: as HAProxy does |
/// | `reuse` (feature `hyper`) | a connection of its own, kept from one check to the next |
///
/// A check passes if the response head has one of the expected statuses, the body ends within 64
/// KiB, and what it has to contain is in it. Once that is found the rest is not read, and may be
/// of any length. Redirects are not followed: with the default statuses one is a success.
#[derive(Clone, Debug)]
#[must_use = "choose what it is sent over: `through`, `fresh` or `reuse`"]
pub struct HttpCheck {
    path: PathAndQuery,
    method: Method,
    headers: HeaderMap,
    expect: Vec<RangeInclusive<u16>>,
    contains: Option<Arc<[u8]>>,
    port: Option<u16>,
    drain_on: Option<StatusCode>,
}

impl Probe {
    /// A check by an HTTP request for `path`, which begins with a slash and may have a query.
    ///
    /// # Errors
    ///
    /// A path that is none.
    ///
    /// ```
    /// use http_body_util::Empty;
    /// use hyper_util::client::legacy::{Client, connect::HttpConnector};
    /// use whippletree::balance::Addressed;
    /// use whippletree::probe::Probe;
    ///
    /// type HttpClient = Client<HttpConnector, Empty<bytes::Bytes>>;
    ///
    /// let check = Probe::http("/api/v1/health")?.expect([200..=204]);
    /// let probe = check.through::<Addressed<HttpClient>, _>().name("health");
    /// assert_eq!(probe.to_string(), "health");
    ///
    /// let error = Probe::http("health").unwrap_err();
    /// assert_eq!(error.to_string(), r#"path: "health" does not begin with a slash"#);
    /// # Ok::<(), whippletree::Error>(())
    /// ```
    pub fn http(path: impl AsRef<str>) -> Result<HttpCheck, Error> {
        let path = path.as_ref();
        if !path.starts_with('/') {
            return Err(Error::config("path", path, "does not begin with a slash"));
        }
        let refuse = |_| Error::config("path", path, "is not a valid path");
        let path = path.parse().map_err(refuse)?;
        Ok(HttpCheck {
            path,
            method: Method::GET,
            headers: HeaderMap::new(),
            expect: vec![200..=399],
            contains: None,
            port: None,
            drain_on: None,
        })
    }
}

impl HttpCheck {
    /// Sets the method. Default `GET`.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets the `Host` header. Default: the endpoint's address.
    pub fn host(self, host: HeaderValue) -> Self {
        self.header(header::HOST, host)
    }

    /// Adds a header; one of this name that was set before is replaced.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets the statuses that pass. Default 200 to 399 (HAProxy).
    pub fn expect(mut self, statuses: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        self.expect = statuses.into_iter().collect();
        self
    }

    /// Sets what has to stand in the first 64 KiB of the body. Default: nothing.
    pub fn contains(mut self, text: impl AsRef<[u8]>) -> Self {
        self.contains = Some(text.as_ref().into()).filter(|text: &Arc<[u8]>| !text.is_empty());
        self
    }

    /// Asks at another port of the same host, over a connection of its own;
    /// [`through`](Self::through) the endpoint's service it means nothing. Default: the endpoint's.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Lets a response with this status mean that the endpoint asks to leave: it gets no new
    /// requests, as if drained, until a check passes (HAProxy's `disable-on-404`). Default: none.
    pub fn drain_on_status(mut self, status: StatusCode) -> Self {
        self.drain_on = Some(status);
        self
    }

    /// Sends the request through the endpoint's own service, of the type `S` for requests with a
    /// body `B`, empty here: a clone of it, once that is ready. What the service does to a request
    /// (addressing, TLS, authentication) is checked too.
    ///
    /// If the cluster's payload is of another type, every check fails and says so.
    pub fn through<S, B>(self) -> Probe
    where
        S: tower_service::Service<
                Request<B>,
                Response: Answering,
                Future: Send,
                Error: Into<BoxError>,
            > + Clone
            + Send
            + Sync
            + 'static,
        B: Default + Send + 'static,
    {
        Probe::new(Through::<S, B>::new(self)).name("http")
    }

    /// What is sent to this endpoint; `uri` is absolute.
    pub(super) fn request<B: Default>(&self, uri: Uri) -> Request<B> {
        let mut request = Request::new(B::default());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// The absolute URI to ask for.
    pub(super) fn uri(&self, endpoint: &Endpoint) -> Result<Uri, BoxError> {
        let address = endpoint.address();
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(address.scheme().cloned().unwrap_or(Scheme::HTTP));
        uri.authority = Some(match self.port {
            Some(port) => at_port(address.authority().host(), port).parse()?,
            None => address.authority().clone(),
        });
        uri.path_and_query = Some(self.path.clone());
        Ok(Uri::from_parts(uri)?)
    }

    /// Reads from a response how the endpoint is.
    pub(super) async fn judge<B>(&self, status: StatusCode, body: B) -> Result<Answer, BoxError>
    where
        B: Body<Error: Into<BoxError>>,
    {
        if self.drain_on == Some(status) {
            return Ok(Answer::AsksToLeave);
        }
        if !self.expect.iter().any(|range| range.contains(&status.as_u16())) {
            return Err(failure(format!("status {}", status.as_u16())));
        }
        self.read(body).await.map(|()| Answer::Healthy)
    }

    async fn read<B: Body<Error: Into<BoxError>>>(&self, body: B) -> Result<(), BoxError> {
        let mut body = pin!(body);
        let mut text = Vec::new();
        loop {
            let frame = std::future::poll_fn(|task| body.as_mut().poll_frame(task)).await;
            let Some(frame) = frame else {
                return self.contains.as_ref().map_or(Ok(()), |_| Err(failure(LACKS)));
            };
            let Ok(mut data) = frame.map_err(Into::into)?.into_data() else {
                continue;
            };
            let before = text.len();
            let whole = append(&mut text, &mut data);
            match &self.contains {
                Some(wanted) if is_in(&text, before, wanted) => return Ok(()),
                Some(_) if !whole => return Err(failure(LACKS)),
                None if !whole => return Err(failure("the body is longer than 64 KiB")),
                _ => {}
            }
        }
    }

    #[cfg(feature = "hyper")]
    pub(super) fn asks_at(&self, endpoint: &Endpoint) -> u16 {
        self.port.unwrap_or(endpoint.address().port())
    }
}

const LACKS: &str = "the first 64 KiB of the body lack what is expected";

/// Adds as much of `data` as may be read; answers whether that was all.
fn append(text: &mut Vec<u8>, data: &mut impl Buf) -> bool {
    while data.has_remaining() && text.len() < MOST {
        let chunk = data.chunk();
        let taken = chunk.len().min(MOST - text.len());
        text.extend_from_slice(&chunk[..taken]);
        data.advance(taken);
    }
    !data.has_remaining()
}

/// Whether `wanted` stands in the text, of which the first `before` bytes were searched already.
fn is_in(text: &[u8], before: usize, wanted: &[u8]) -> bool {
    let from = before.saturating_sub(wanted.len().saturating_sub(1));
    text[from..].windows(wanted.len()).any(|part| part == wanted)
}

fn at_port(host: &str, port: u16) -> String {
    format!("{host}:{port}")
}
