//! HTTP/1.1 over a connection per request, without TLS. There is no task and no pool: dropping the
//! response closes the connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::uri::{Scheme, Uri};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::client::{Data, Pieces};
use crate::error::BoxError;

/// The longest response head, and how much of a body is read ahead.
const BUFFER: usize = 64 * 1024;

type Link = Connection<TokioIo<TcpStream>, String>;

/// Sends a request whose URI is absolute.
pub(super) async fn send(
    mut request: Request<String>,
) -> Result<Response<Box<dyn Pieces>>, BoxError> {
    let uri = std::mem::take(request.uri_mut());
    let (host, port) = address(&uri)?;
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let handshake = Builder::new().max_buf_size(BUFFER).handshake(TokioIo::new(stream));
    let (mut sender, mut link) = handshake.await?;
    *request.uri_mut() = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority)?);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let mut closed = false;
    let response = {
        let mut exchange = pin!(sender.send_request(request));
        poll_fn(|task| {
            closed = closed || Pin::new(&mut link).poll(task).is_ready();
            exchange.as_mut().poll(task)
        })
        .await?
    };
    let link = (!closed).then_some(link);
    Ok(response
        .map(|body| -> Box<dyn Pieces> { Box::new(Driven { link, body: Data(Box::pin(body)) }) }))
}

fn address(uri: &Uri) -> Result<(&str, u16), BoxError> {
    if uri.scheme() == Some(&Scheme::HTTPS) {
        return Err("https needs TLS: give the source a client that has it".into());
    }
    let host = uri.host().unwrap_or_default();
    Ok((host.trim_start_matches('[').trim_end_matches(']'), uri.port_u16().unwrap_or(80)))
}

/// A body with the connection that it arrives over.
struct Driven {
    link: Option<Link>,
    body: Data<Incoming>,
}

impl Pieces for Driven {
    fn poll_piece(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        // How the connection ends is told by the body as well.
        if self.link.as_mut().is_some_and(|link| Pin::new(link).poll(task).is_ready()) {
            self.link = None;
        }
        self.body.poll_piece(task)
    }
}
