//! A service that pends, or panics, at the stage that a test wants.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tower::Service;
use whippletree::balance::Builder;
use whippletree::{Balance, Cluster, Endpoint};

use crate::strict::{self, StrictReady};

/// Where to panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Clone,
    PollReady,
    Call,
    Response,
    Body,
}

/// What a staged service does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// How often each stage pends before it goes on.
    pub(crate) pends: usize,
    /// Frames of data in the body.
    pub(crate) frames: usize,
    pub(crate) trailers: bool,
    pub(crate) status: StatusCode,
    pub(crate) unready: bool,
    pub(crate) panic: Option<Stage>,
}

impl Script {
    fn reach(&self, stage: Stage) {
        assert!(self.panic != Some(stage), "planted in {stage:?}");
    }
}

#[derive(Debug)]
pub(crate) struct Staged {
    script: Script,
    countdown: Countdown,
}

pub(crate) type Client = StrictReady<Staged>;

/// Pends so often, each time with a wake-up, and then is over; and so again from the start.
#[derive(Debug)]
struct Countdown {
    pends: usize,
    left: usize,
}

impl Countdown {
    fn new(pends: usize) -> Self {
        Self { pends, left: pends }
    }

    fn poll(&mut self, task: &Context<'_>) -> Poll<()> {
        if self.left == 0 {
            self.left = self.pends;
            return Poll::Ready(());
        }
        self.left -= 1;
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Staged {
    pub(crate) fn client(script: &Script) -> Client {
        StrictReady::new(Self { countdown: Countdown::new(script.pends), script: script.clone() })
    }
}

impl Clone for Staged {
    fn clone(&self) -> Self {
        self.script.reach(Stage::Clone);
        Self { script: self.script.clone(), countdown: Countdown::new(self.script.pends) }
    }
}

impl Service<Request<()>> for Staged {
    type Response = Response<Frames>;
    type Error = std::io::Error;
    type Future = StagedFuture;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.script.reach(Stage::PollReady);
        let unready = self.script.unready;
        self.countdown
            .poll(task)
            .map(|()| if unready { Err(std::io::Error::other("not ready")) } else { Ok(()) })
    }

    fn call(&mut self, _: Request<()>) -> StagedFuture {
        self.script.reach(Stage::Call);
        StagedFuture { countdown: Countdown::new(self.script.pends), script: self.script.clone() }
    }
}

#[derive(Debug)]
pub(crate) struct StagedFuture {
    script: Script,
    countdown: Countdown,
}

impl Future for StagedFuture {
    type Output = std::io::Result<Response<Frames>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        self.script.reach(Stage::Response);
        self.countdown.poll(task).map(|()| {
            let frames = self.script.frames + usize::from(self.script.trailers);
            let body = Frames {
                countdown: Countdown::new(self.script.pends),
                script: self.script.clone(),
                left: frames,
                over: false,
            };
            Ok(Response::builder().status(self.script.status).body(body).unwrap())
        })
    }
}

/// A body of unknown length that pends before every frame, and before its end.
#[derive(Debug)]
pub(crate) struct Frames {
    script: Script,
    countdown: Countdown,
    left: usize,
    over: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.script.reach(Stage::Body);
        if self.countdown.poll(task).is_pending() {
            return Poll::Pending;
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.over = true;
            return Poll::Ready(None);
        };
        self.left = left;
        let trailers = left == 0 && self.script.trailers;
        Poll::Ready(Some(Ok(match trailers {
            true => Frame::trailers(HeaderMap::new()),
            false => Frame::data(Bytes::from_static(b"data")),
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A balance over one endpoint that follows the script.
pub(crate) fn balance(builder: Builder, script: &Script) -> Balance<Client> {
    let script = script.clone();
    let builder = builder.endpoint(strict::endpoint(0));
    builder.connect(move |_| Staged::client(&script)).unwrap()
}

/// A cluster without endpoints whose services will follow the script.
pub(crate) fn empty(script: &Script) -> Cluster<Client> {
    let script = script.clone();
    Cluster::builder().connect(move |_: &Endpoint| Staged::client(&script))
}

pub(crate) fn request() -> Request<()> {
    Request::new(())
}
