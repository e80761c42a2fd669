//! Checks through the endpoint's own service.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::check::{Check, CheckFuture};
use super::runner::failure;
use super::{HttpCheck, Target};
use crate::error::BoxError;

/// A [`Response`] with any body: what a service answers that HTTP checks can go through. Sealed.
pub trait Answering: sealed::Sealed + Send {
    #[doc(hidden)]
    type Body: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;

    #[doc(hidden)]
    fn open(self) -> (StatusCode, Self::Body);
}

mod sealed {
    /// Keeps a trait from being implemented elsewhere.
    pub trait Sealed {}

    impl<B> Sealed for http::Response<B> {}
}

impl<B> Answering for Response<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;

    fn open(self) -> (StatusCode, B) {
        (self.status(), self.into_body())
    }
}

pub(super) struct Through<S, B> {
    check: Arc<HttpCheck>,
    service: PhantomData<fn() -> (S, B)>,
}

impl<S, B> Through<S, B> {
    pub(super) fn new(check: HttpCheck) -> Self {
        Self { check: Arc::new(check), service: PhantomData }
    }
}

impl<S, B> Check for Through<S, B>
where
    S: Service<Request<B>, Response: Answering, Future: Send, Error: Into<BoxError>>
        + Clone
        + Send
        + Sync
        + 'static,
    B: Default + Send + 'static,
{
    fn check(&self, target: Target) -> CheckFuture {
        let check = Arc::clone(&self.check);
        Box::pin(async move {
            let service = target.service::<S>().ok_or_else(|| wrong_type::<S>())?;
            let mut service = service.clone();
            let request = check.request(check.uri(target.endpoint())?);
            poll_fn(|task| service.poll_ready(task)).await.map_err(Into::into)?;
            let response = service.call(request).await.map_err(Into::into)?;
            let (status, body) = response.open();
            check.judge(status, body).await
        })
    }
}

fn wrong_type<S>() -> BoxError {
    let expected = std::any::type_name::<S>();
    failure(format!("the cluster's payload is not the service {expected} that the check is for"))
}
