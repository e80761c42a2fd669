//! HTTP servers on ports of their own.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::wrappers::UnboundedReceiverStream;
use whippletree::{BoxError, Endpoint};

pub(crate) type ServerBody = UnsyncBoxBody<Bytes, BoxError>;

/// A server for HTTP/1 and HTTP/2. Dropping it closes its port and its connections.
pub(crate) struct Server {
    name: &'static str,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers every request with `handler`.
    pub(crate) async fn with<H, F>(name: &'static str, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<ServerBody>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let handler = handler.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let response = handler(request);
                        async move { Ok::<_, Infallible>(response.await) }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    let io = TokioIo::new(stream);
                    let connection = builder.serve_connection_with_upgrades(io, service);
                    // How a connection ends is the client's affair.
                    let _ = connection.await;
                });
            }
        });
        Self { name, address, task }
    }

    /// Answers every request with its name.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::with(name, move |_| async move { Response::new(full(name)) }).await
    }

    /// Answers every request with its `Host` header, path and query.
    pub(crate) async fn mirror(name: &'static str) -> Self {
        Self::with(name, move |request| async move {
            let host = request.headers().get(header::HOST);
            let host = host.map_or("none", |host| host.to_str().unwrap());
            Response::new(full(format!("{host} {}", request.uri())))
        })
        .await
    }

    /// Answers one request with `head` and a body that the test feeds.
    pub(crate) async fn fed(name: &'static str, head: http::response::Builder) -> (Self, Feed) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let body = StreamBody::new(UnboundedReceiverStream::new(receiver)).boxed_unsync();
        let response = Arc::new(Mutex::new(Some(head.body(body).unwrap())));
        let server = Self::with(name, move |_| {
            let response = response.lock().unwrap().take();
            async move { response.expect("one request only") }
        });
        (server.await, Feed(sender))
    }

    /// Switches protocols when asked to, or to a tunnel on CONNECT, and then echoes.
    pub(crate) async fn upgrading(name: &'static str) -> Self {
        Self::with(name, move |mut request| async move {
            let connect = request.method() == Method::CONNECT;
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (mut reader, mut writer) =
                    tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
            let mut response = Response::new(full(""));
            if !connect {
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                let echo = HeaderValue::from_static("echo");
                response.headers_mut().insert(header::UPGRADE, echo);
            }
            response
        })
        .await
    }

    /// The endpoint, with the server's name as its id.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::from(self.address).with_id(self.name).unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The body of a response on its way: ends when dropped.
pub(crate) struct Feed(mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>);

impl Feed {
    pub(crate) fn data(&self, text: &'static str) {
        self.0.send(Ok(Frame::data(text.into()))).unwrap();
    }

    pub(crate) fn trailer(&self, name: &'static str, value: &'static str) {
        let name = HeaderName::from_static(name);
        let trailers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        self.0.send(Ok(Frame::trailers(trailers))).unwrap();
    }

    /// Breaks the connection off.
    pub(crate) fn abort(self) {
        self.0.send(Err("aborted by the test".into())).unwrap();
    }
}

pub(crate) fn full(text: impl Into<Bytes>) -> ServerBody {
    let body = Full::new(text.into());
    body.map_err(|never| match never {}).boxed_unsync()
}

/// A port that is taken and that refuses connections, as long as the socket lives.
pub(crate) fn dead(name: &str) -> (Endpoint, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = Endpoint::from(socket.local_addr().unwrap());
    (endpoint.with_id(name).unwrap(), socket)
}
