//! Accepts connections and speaks HTTP on them, within limits.
//!
//! HTTP/1.1 and HTTP/2 come in on the same port: hyper-util looks for HTTP/2's preface in the
//! first bytes ("prior knowledge"; there is no TLS here to negotiate it).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::admin::Admin;
use crate::proxy::Proxy;
use crate::shutdown::Guard;

type Server = auto::Builder<TokioExecutor>;

/// The longest request head. hyper answers 431 to more, over HTTP/2 as over HTTP/1.1.
const LONGEST_HEAD: usize = 64 * 1024;

/// How long a client may take for a request head, and how long a connection may idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests at once on one HTTP/2 connection. The protocol's default is no limit at all, which
/// lets one connection cost as much as a thousand.
const MOST_STREAMS: u32 = 200;

/// How long after the gateway stopped accepting a request still counts as sent before: a client
/// with an idle connection cannot know yet.
const LAST_CALL: Duration = Duration::from_millis(100);

/// Serves the clients until the shutdown.
pub(crate) async fn traffic(listener: TcpListener, proxy: Arc<Proxy>, mut guard: Guard) {
    let server = server();
    let serve = |(stream, peer): (TcpStream, SocketAddr), guard: &Guard| {
        let (proxy, tunnels) = (Arc::clone(&proxy), guard.clone());
        // An IPv4 client of an IPv6 socket shall be known by its IPv4 address.
        let peer = peer.ip().to_canonical();
        let handle = move |request| Arc::clone(&proxy).handle(request, peer, tunnels.clone());
        tokio::spawn(connection(server.clone(), stream, handle, Some(guard.clone())));
    };
    loop {
        tokio::select! {
            accepted = accept(&listener) => serve(accepted, &guard),
            () = guard.stopping() => break,
        }
    }
    // The kernel has accepted more already, and their clients may have sent a request. It is asked
    // directly: tokio may not have heard of them yet.
    let Ok(listener) = listener.into_std() else {
        return;
    };
    while let Ok((stream, peer)) = listener.accept() {
        if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream))
        {
            serve((stream, peer), &guard);
        }
    }
}

/// Serves the operator until the process ends.
pub(crate) async fn admin(listener: TcpListener, admin: Admin) {
    let server = server();
    loop {
        let (stream, _) = accept(&listener).await;
        let admin = admin.clone();
        let handle = move |request| {
            let answer = admin.clone().oneshot(request);
            async { answer.await.unwrap_or_else(|never| match never {}) }
        };
        tokio::spawn(connection(server.clone(), stream, handle, None));
    }
}

fn server() -> Server {
    let mut server = Server::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(LONGEST_HEAD);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_TIMEOUT)
        .max_header_list_size(LONGEST_HEAD as u32)
        .max_concurrent_streams(MOST_STREAMS);
    server
}

/// The next connection. Errors are not the end: the client gave up, or we are out of files, which
/// passes when others close; then wait, so as not to spin.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                eprintln!("gateway: accept: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves one connection to its end, or as far as the shutdown lets it go.
async fn connection<H, F, B>(server: Server, stream: TcpStream, handle: H, mut guard: Option<Guard>)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Send, Error: Into<whippletree::BoxError>> + Send + 'static,
{
    let _ = stream.set_nodelay(true);
    // hyper times a head from its first byte on; who never sends one would stay for ever.
    tokio::select! {
        readable = timeout(HEAD_TIMEOUT, stream.readable()) => {
            if readable.is_err() {
                return;
            }
        }
        () = stopping(&mut guard) => {}
    }
    let service = service_fn(|request| {
        let response = handle(request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let mut served = pin!(server.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // The connection comes first: a request that has arrived is begun before we look at the clock.
    tokio::select! {
        biased;
        _ = served.as_mut() => return,
        () = stopping(&mut guard) => {}
    }
    if timeout(LAST_CALL, served.as_mut()).await.is_err() {
        served.as_mut().graceful_shutdown();
        let _ = served.await;
    }
}

/// Resolves when `guard` says so. The admin side has none: it serves to the end.
async fn stopping(guard: &mut Option<Guard>) {
    match guard {
        Some(guard) => guard.stopping().await,
        None => std::future::pending().await,
    }
}
