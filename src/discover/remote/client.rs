use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::Body;
use parking_lot::Mutex;
use tower_service::Service;

use super::plain;
use crate::error::BoxError;

/// The body of a response, whoever has sent it, as the pieces in which it arrives.
pub(super) trait Pieces: Send {
    fn poll_piece(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>>;
}

pub(super) type Answering =
    Pin<Box<dyn Future<Output = Result<Response<Box<dyn Pieces>>, BoxError>> + Send>>;

trait Sender: Send + Sync {
    fn send(&self, request: Request<String>) -> Answering;
}

/// What requests are sent with: plain HTTP/1.1, or the user's own service.
#[derive(Clone)]
pub(in crate::discover) struct Client(Arc<dyn Sender>);

impl Client {
    pub(in crate::discover) fn plain() -> Self {
        Self(Arc::new(Plain))
    }

    pub(in crate::discover) fn of<S, R, B>(service: S) -> Self
    where
        S: Service<Request<R>, Response = Response<B>, Future: Send, Error: Into<BoxError>>
            + Clone
            + Send
            + 'static,
        R: From<String> + Send + 'static,
        B: Body<Error: Into<BoxError>> + Send + 'static,
    {
        Self(Arc::new(Own { service: Mutex::new(service), body: PhantomData::<fn(R)> }))
    }

    pub(super) fn send(&self, request: Request<String>) -> Answering {
        self.0.send(request)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

struct Plain;

impl Sender for Plain {
    fn send(&self, request: Request<String>) -> Answering {
        Box::pin(plain::send(request))
    }
}

struct Own<S, R> {
    service: Mutex<S>,
    body: PhantomData<fn(R)>,
}

impl<S, R, B> Sender for Own<S, R>
where
    S: Service<Request<R>, Response = Response<B>, Future: Send, Error: Into<BoxError>>
        + Clone
        + Send
        + 'static,
    R: From<String> + Send + 'static,
    B: Body<Error: Into<BoxError>> + Send + 'static,
{
    fn send(&self, request: Request<String>) -> Answering {
        let mut service = self.service.lock().clone();
        Box::pin(async move {
            poll_fn(|task| service.poll_ready(task)).await.map_err(Into::into)?;
            let response = service.call(request.map(R::from)).await.map_err(Into::into)?;
            Ok(response.map(|body| -> Box<dyn Pieces> { Box::new(Data(Box::pin(body))) }))
        })
    }
}

/// The data frames of a body.
pub(super) struct Data<B>(pub(super) Pin<Box<B>>);

impl<B: Body<Error: Into<BoxError>> + Send> Pieces for Data<B> {
    fn poll_piece(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            let frame = std::task::ready!(self.0.as_mut().poll_frame(task));
            let data = match frame {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => frame.into_data(),
            };
            if let Ok(mut data) = data {
                return Poll::Ready(Some(Ok(data.copy_to_bytes(data.remaining()))));
            }
        }
    }
}
