//! Checks over connections of their own: HTTP/1 by hyper, and bare TCP.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;

use http::header::{CONNECTION, HOST};
use http::uri::Scheme;
use http::{HeaderValue, Request, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::check::{Check, CheckFuture};
use super::runner::failure;
use super::{Answer, HttpCheck, Probe, Target};
use crate::endpoint::Endpoint;
use crate::error::BoxError;

/// The longest response head that is read.
const HEAD: usize = 64 * 1024;

/// Whether a connection is kept from one check to the next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Never,
    Between,
}

impl HttpCheck {
    /// Sends the request over a connection of its own, new for each check, by HTTP/1.1 and without
    /// TLS: for an `https` endpoint use [`through`](Self::through).
    #[must_use]
    pub fn fresh(self) -> Probe {
        Probe::new(Direct { check: Arc::new(self), keep: Keep::Never }).name("http")
    }

    /// As [`fresh`](Self::fresh), but keeps the connection for the next check of the same endpoint.
    /// A kept one may have died unnoticed: what fails on it is tried once more on a fresh one
    /// before it counts.
    #[must_use]
    pub fn reuse(self) -> Probe {
        Probe::new(Direct { check: Arc::new(self), keep: Keep::Between }).name("http")
    }
}

impl From<HttpCheck> for Probe {
    fn from(check: HttpCheck) -> Self {
        check.fresh()
    }
}

impl Probe {
    /// A check that a TCP connection can be made; it is closed at once.
    ///
    /// ```
    /// use whippletree::probe::Probe;
    ///
    /// assert_eq!(Probe::tcp().to_string(), "tcp");
    /// ```
    #[must_use]
    pub fn tcp() -> Self {
        Self::new(Tcp { port: None }).name("tcp")
    }

    /// As [`tcp`](Self::tcp), at another port of the same host.
    #[must_use]
    pub fn tcp_port(port: u16) -> Self {
        Self::new(Tcp { port: Some(port) }).name("tcp")
    }
}

struct Tcp {
    port: Option<u16>,
}

impl Check for Tcp {
    fn check(&self, target: Target) -> CheckFuture {
        let port = self.port;
        Box::pin(async move {
            let endpoint = target.endpoint();
            connect(endpoint, port.unwrap_or(endpoint.address().port())).await?;
            Ok(Answer::Healthy)
        })
    }
}

async fn connect(endpoint: &Endpoint, port: u16) -> Result<TcpStream, BoxError> {
    Ok(TcpStream::connect((endpoint.address().host(), port)).await?)
}

struct Direct {
    check: Arc<HttpCheck>,
    keep: Keep,
}

impl Check for Direct {
    fn check(&self, target: Target) -> CheckFuture {
        let (check, keep) = (Arc::clone(&self.check), self.keep);
        Box::pin(async move {
            if target.endpoint().address().scheme() == Some(&Scheme::HTTPS) {
                return Err(failure("https needs TLS: send the check by `HttpCheck::through`"));
            }
            let uri = check.uri(target.endpoint())?;
            if let Some(kept) = target.take_kept::<Link>() {
                let asked = ask(&check, &uri, *kept, &target, keep);
                // Half of the time at most, so that a dead one leaves enough for a fresh one.
                if let Ok(Ok(answer)) = timeout(target.time() / 2, asked).await {
                    return Ok(answer);
                }
            }
            let port = check.asks_at(target.endpoint());
            let stream = connect(target.endpoint(), port).await?;
            // Small packets are what checks are made of.
            stream.set_nodelay(true)?;
            let (sender, connection) =
                Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream)).await?;
            ask(&check, &uri, Link { sender, connection }, &target, keep).await
        })
    }
}

/// A connection that is only driven while a check is made over it: there is no task to leave
/// behind.
struct Link {
    sender: SendRequest<String>,
    connection: Connection<TokioIo<TcpStream>, String>,
}

/// Sends the request, judges the response, and keeps the connection if it is as good as before.
async fn ask(
    check: &HttpCheck,
    uri: &Uri,
    link: Link,
    target: &Target,
    keep: Keep,
) -> Result<Answer, BoxError> {
    let Link { mut sender, mut connection } = link;
    let request = request(check, uri, keep)?;
    let answer = {
        let mut exchange = pin!(async {
            sender.ready().await?;
            let response = sender.send_request(request).await?;
            let (head, body): (_, Incoming) = response.into_parts();
            check.judge(head.status, body).await
        });
        let mut closed = false;
        poll_fn(|task| {
            // It ends early if the server closes; what it had delivered may still be read.
            closed = closed || Pin::new(&mut connection).poll(task).is_ready();
            exchange.as_mut().poll(task)
        })
        .await?
    };
    if keep == Keep::Between && !sender.is_closed() {
        target.keep(Link { sender, connection });
    }
    Ok(answer)
}

/// The request as HTTP/1.1 has it: the path alone, and the host in its header.
fn request(check: &HttpCheck, uri: &Uri, keep: Keep) -> Result<Request<String>, BoxError> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = check.request::<String>(path.parse()?);
    if let Some(authority) = uri.authority().filter(|_| !request.headers().contains_key(HOST)) {
        let host = HeaderValue::from_str(authority.as_str())?;
        request.headers_mut().insert(HOST, host);
    }
    if keep == Keep::Never {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(request)
}
