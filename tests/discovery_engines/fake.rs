//! A server that speaks for a registry, and that misbehaves when told to.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use whippletree::BoxError;

pub(super) type FakeBody = UnsyncBoxBody<Bytes, BoxError>;
pub(super) type Answering = Pin<Box<dyn Future<Output = Response<FakeBody>> + Send>>;

/// What the server does with requests. A change cuts all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Good,
    /// Connections are closed at once.
    Gone,
    /// Connections are accepted, and never answered.
    Mute,
    /// An answer comes a byte a second.
    Drips,
    Fails,
    /// An HTML page, with status 200.
    Html,
    /// A body without a byte, with status 200.
    Nothing,
    /// The right form, broken off within an object.
    Breaks,
    /// An object without end.
    Floods,
    /// Objects without end.
    FloodsObjects,
    /// Braces without end.
    Nests,
}

impl Mode {
    pub(super) const BAD: [Self; 10] = [
        Self::Gone,
        Self::Mute,
        Self::Drips,
        Self::Fails,
        Self::Html,
        Self::Nothing,
        Self::Breaks,
        Self::Floods,
        Self::FloodsObjects,
        Self::Nests,
    ];

    /// The bad answer, if it is one.
    async fn answer(self) -> Option<Response<FakeBody>> {
        let body = match self {
            Self::Good | Self::Gone => return None,
            Self::Mute => pending().await,
            Self::Drips => forever("{", Duration::from_secs(1)),
            Self::Fails => full("out of order"),
            Self::Html => full("<html>\n<body>Welcome to the hotel</body></html>"),
            Self::Nothing => full(""),
            Self::Breaks => {
                let first = stream::iter([Ok(Frame::data(Bytes::from("[{\"a\":{\"b")))]);
                let body = first.chain(stream::iter([Err("cut".into())]));
                StreamBody::new(body).boxed_unsync()
            }
            Self::Floods => forever("{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaa", Duration::ZERO),
            Self::FloodsObjects => forever("{\"a\":[]} ", Duration::ZERO),
            Self::Nests => forever("{\"a\":", Duration::ZERO),
        };
        let mut response = Response::new(body);
        if self == Self::Fails {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        Some(response)
    }
}

/// The server. Dropping it closes its port.
pub(super) struct Fake {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    asked: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl Fake {
    pub(super) async fn start<H>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> Answering + Clone + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Good);
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (handler, mut modes) = (handler.clone(), modes.clone());
                let mode = *modes.borrow_and_update();
                if mode == Mode::Gone {
                    continue;
                }
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let handler = handler.clone();
                        async move {
                            let response = match mode.answer().await {
                                Some(response) => response,
                                None => handler(request).await,
                            };
                            Ok::<_, Infallible>(response)
                        }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    tokio::select! {
                        _ = http.serve_connection(TokioIo::new(stream), service) => {}
                        _ = modes.changed() => {}
                    }
                });
            }
        });
        Self { address, mode, asked, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts all connections, and treats those that follow so.
    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many connections there have been: each is for one request.
    pub(super) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn full(text: impl Into<Bytes>) -> FakeBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

fn forever(piece: &'static str, pause: Duration) -> FakeBody {
    // Many at a time, where there is no pause: what counts is the amount.
    let piece = if pause.is_zero() { piece.repeat(2000) } else { piece.to_owned() };
    let pieces = stream::unfold(Bytes::from(piece), move |piece| async move {
        tokio::time::sleep(pause).await;
        Some((Ok(Frame::data(piece.clone())), piece))
    });
    StreamBody::new(pieces).boxed_unsync()
}
