use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::refusal::is_overload;
use super::throttle::{Attempt, MULTIPLIER, Throttle};
use crate::cluster;
use crate::error::{BoxError, Error};

/// Tells the time.
type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Puts an adaptive [`Throttle`] before an HTTP client or a [`Balance`](crate::Balance).
///
/// A request is refused, by an error that [says overload](super::is_overload), as often as the
/// throttle says. A response counts as accepted unless its status is 429 or 503, an error unless it
/// says overload itself: other failures are no reason to send less. Every service that the layer
/// makes counts for itself; clones of a service count together.
///
/// ```
/// use std::convert::Infallible;
/// use http::{Request, Response, StatusCode};
/// use tower::{Layer, ServiceExt, service_fn};
/// use whippletree::limit::{ThrottleLayer, is_overload};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let busy = service_fn(|_: Request<()>| async {
///     let mut response = Response::new(());
///     *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
///     Ok::<_, Infallible>(response)
/// });
/// let client = ThrottleLayer::new().seed(1).layer(busy);
/// let mut refused = 0;
/// for _ in 0..100 {
///     if let Err(error) = client.clone().oneshot(Request::new(())).await {
///         assert!(is_overload(&*error));
///         refused += 1;
///     }
/// }
/// assert!(refused > 80);
/// # });
/// ```
#[derive(Clone)]
pub struct ThrottleLayer {
    multiplier: f64,
    window: Option<Duration>,
    seed: Option<u64>,
    clock: Clock,
}

impl ThrottleLayer {
    /// The parameters of [`Throttle::new`], by tokio's clock.
    #[must_use]
    pub fn new() -> Self {
        Self { multiplier: MULTIPLIER, window: None, seed: None, clock: Arc::new(cluster::now) }
    }

    /// As [`Throttle::multiplier`].
    ///
    /// # Errors
    ///
    /// A value that is not finite and at least 1.
    pub fn multiplier(mut self, multiplier: f64) -> Result<Self, Error> {
        Throttle::new().multiplier(multiplier)?;
        self.multiplier = multiplier;
        Ok(self)
    }

    /// As [`Throttle::window`].
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// As [`Throttle::seed`].
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Takes the time from elsewhere, such as a simulation.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn throttle(&self) -> Throttle {
        let mut throttle = Throttle::new();
        if let Some(window) = self.window {
            throttle = throttle.window(window);
        }
        if let Some(seed) = self.seed {
            throttle = throttle.seed(seed);
        }
        throttle.multiplier(self.multiplier).expect("it was checked when it was set")
    }
}

impl Default for ThrottleLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for ThrottleLayer {
    type Service = Throttled<S>;

    fn layer(&self, inner: S) -> Throttled<S> {
        Throttled { inner, throttle: self.throttle(), clock: Arc::clone(&self.clock) }
    }
}

impl fmt::Debug for ThrottleLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleLayer")
            .field("multiplier", &self.multiplier)
            .field("window", &self.window)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// A service behind a [`ThrottleLayer`].
#[derive(Clone)]
pub struct Throttled<S> {
    inner: S,
    throttle: Throttle,
    clock: Clock,
}

impl<S, Request, B> Service<Request> for Throttled<S>
where
    S: Service<Request, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = ThrottleFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(task).map_err(Into::into)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.throttle.attempt((self.clock)()) {
            Ok(attempt) => {
                let (response, clock) = (self.inner.call(request), Arc::clone(&self.clock));
                let state = State::Sent { response, attempt: Some(attempt), clock };
                ThrottleFuture { state }
            }
            Err(error) => ThrottleFuture { state: State::Refused { error: Some(error) } },
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Throttled<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttled")
            .field("inner", &self.inner)
            .field("throttle", &self.throttle)
            .finish_non_exhaustive()
    }
}

pin_project! {
    /// The response of a [`Throttled`], to be awaited.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the request, which stays one that was not accepted.
    #[must_use = "futures do nothing unless polled"]
    pub struct ThrottleFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Sent { #[pin] response: F, attempt: Option<Attempt>, clock: Clock },
        Refused { error: Option<Error> },
    }
}

impl<F, B, E> Future for ThrottleFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<B>, BoxError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Refused { error } => {
                Poll::Ready(Err(error.take().expect(POLLED).into()))
            }
            StateProjection::Sent { response, attempt, clock } => {
                let response = ready!(response.poll(task)).map_err(Into::into);
                let attempt = attempt.take().expect(POLLED);
                if was_refused(&response) {
                    attempt.refused(clock());
                } else {
                    attempt.accepted(clock());
                }
                Poll::Ready(response)
            }
        }
    }
}

/// Why the `expect`s of this file hold, unless the caller breaks the contract of futures.
const POLLED: &str = "a future is not polled after it has completed";

fn was_refused<B>(response: &Result<Response<B>, BoxError>) -> bool {
    match response {
        Ok(response) => matches!(
            response.status(),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ),
        Err(error) => is_overload(&**error as &(dyn StdError + 'static)),
    }
}

impl<F> fmt::Debug for ThrottleFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Sent { .. } => "awaits the response",
            State::Refused { .. } => "refused",
        };
        f.debug_struct("ThrottleFuture").field("state", &state).finish_non_exhaustive()
    }
}
