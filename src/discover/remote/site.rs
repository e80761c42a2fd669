use std::fmt;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::bounded::excerpt;
use super::{Client, Reader};
use crate::error::{BoxError, Error};

/// How long a server may take, unless told otherwise. Ours: twice etcd's own request timeout would
/// be longer than a client of several members wants to wait for the first of them.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The servers of an engine, and how they are asked.
#[derive(Clone)]
pub(in crate::discover) struct Site {
    servers: Vec<Uri>,
    /// The one that answered last.
    at: usize,
    pub(in crate::discover) client: Client,
    headers: HeaderMap,
    pub(in crate::discover) timeout: Duration,
}

/// One request, without the server that it goes to.
#[derive(Clone, Debug)]
pub(in crate::discover) struct Ask {
    pub(in crate::discover) method: Method,
    /// With the query.
    pub(in crate::discover) path: String,
    pub(in crate::discover) body: String,
    /// A header of this request alone.
    pub(in crate::discover) header: Option<(HeaderName, HeaderValue)>,
}

/// Why a request has failed.
#[derive(Debug)]
pub(in crate::discover) struct Failure {
    /// What the server answered, if it did.
    pub(in crate::discover) status: Option<StatusCode>,
    message: String,
}

impl Site {
    /// # Errors
    ///
    /// No server, or one that is no URL.
    pub(in crate::discover) fn new<T: AsRef<str>>(
        field: &str,
        servers: impl IntoIterator<Item = T>,
    ) -> Result<Self, Error> {
        let servers = servers.into_iter().map(|server| parse(field, server.as_ref()));
        let servers: Vec<Uri> = servers.collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(Error::config(field, "", "names no server"));
        }
        let (client, headers) = (Client::plain(), HeaderMap::new());
        Ok(Self { servers, at: 0, client, headers, timeout: TIMEOUT })
    }

    pub(in crate::discover) fn header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// The server that is asked first.
    pub(in crate::discover) fn server(&self) -> &Uri {
        &self.servers[self.at]
    }

    /// Asks one server after the other, beginning with the one that answered last, until one
    /// answers. What all have in common (a refusal of the request itself) is told at once.
    pub(in crate::discover) async fn ask(
        &mut self,
        ask: &Ask,
        patience: Duration,
    ) -> Result<Response<Reader>, Failure> {
        let mut messages = Vec::new();
        let mut status = None;
        for _ in 0..self.servers.len() {
            match self.attempt(ask, patience).await {
                Ok(response) => return Ok(response),
                Err(failure) if failure.is_final() => return Err(failure),
                Err(failure) => {
                    status = failure.status;
                    messages.push(failure.message);
                }
            }
            self.next_server();
        }
        Err(Failure { status, message: messages.join("; ") })
    }

    /// Asks another server the next time.
    pub(in crate::discover) fn next_server(&mut self) {
        self.at = (self.at + 1) % self.servers.len();
    }

    /// Says of an error which server and which request it is about.
    pub(in crate::discover) fn blame(&self, ask: &Ask, error: impl fmt::Display) -> Failure {
        let path = ask.path.split('?').next().unwrap_or_default();
        let server = self.server().to_string();
        let message = format!("{}{path}: {error}", server.trim_end_matches('/'));
        Failure { status: None, message }
    }

    async fn attempt(&self, ask: &Ask, patience: Duration) -> Result<Response<Reader>, Failure> {
        let request = self.request(ask).map_err(|error| self.blame(ask, chain(&*error)))?;
        let response = timeout(patience, self.client.send(request)).await;
        let response = response.map_err(|_| self.blame(ask, format!("no answer in {patience:?}")));
        let response = response?.map_err(|error| self.blame(ask, chain(&*error)))?;
        let status = response.status();
        let response = response.map(Reader::new);
        if status.is_success() {
            return Ok(response);
        }
        let text = timeout(self.timeout, response.into_body().beginning()).await;
        let text = excerpt(&text.unwrap_or_default());
        let failure = self.blame(ask, format!("status {}: {text}", status.as_u16()));
        Err(Failure { status: Some(status), ..failure })
    }

    fn request(&self, ask: &Ask) -> Result<Request<String>, BoxError> {
        let mut parts = self.server().clone().into_parts();
        let base = parts.path_and_query.as_ref().map_or("", |path| path.path());
        let path = format!("{}{}", base.trim_end_matches('/'), ask.path);
        parts.path_and_query = Some(PathAndQuery::try_from(path)?);
        let mut request = Request::new(ask.body.clone());
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = Uri::from_parts(parts)?;
        *request.headers_mut() = self.headers.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if !ask.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some((name, value)) = &ask.header {
            headers.insert(name, value.clone());
        }
        Ok(request)
    }
}

impl fmt::Debug for Site {
    /// Without the headers, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Ask {
    #[cfg(any(feature = "consul", feature = "kube"))]
    pub(in crate::discover) fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: String::new(), header: None }
    }

    #[cfg(feature = "etcd")]
    pub(in crate::discover) fn post(path: &str, body: &serde_json::Value) -> Self {
        let (path, body) = (path.to_owned(), body.to_string());
        Self { method: Method::POST, path, body, header: None }
    }
}

impl Failure {
    /// Whether another server would say the same: what is wrong is the request.
    fn is_final(&self) -> bool {
        let status = self.status.filter(StatusCode::is_client_error);
        status.is_some_and(|status| status != StatusCode::TOO_MANY_REQUESTS)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// `http://host:port` with or without a path, `https` for a client that has TLS.
fn parse(field: &str, text: &str) -> Result<Uri, Error> {
    let refuse = |reason: &str| Error::config(field, text, reason);
    let uri: Uri = text.parse().map_err(|_| refuse("is not a URL"))?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    match uri.authority() {
        Some(authority) if known && !authority.as_str().contains('@') => {}
        Some(_) if known => return Err(refuse("has a user name: send it in a header")),
        _ => return Err(refuse("is not a URL such as http://127.0.0.1:2379")),
    }
    if uri.query().is_some() {
        return Err(refuse("has a query"));
    }
    Ok(uri)
}

/// An error with its causes, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes: Vec<String> = crate::error::causes(error).map(ToString::to_string).collect();
    excerpt(causes.join(": ").as_bytes())
}
