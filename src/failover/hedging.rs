//! Two tries of one request, side by side.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use super::purse::Purse;
use super::replay::Recording;
use super::{Hedge, asks_for_another};
use crate::cluster::{Attempt, Context};
use crate::error::Error;

pin_project! {
    /// The response of a [`HedgeService`](super::HedgeService), to be awaited.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the tries that are under way; none is in flight any more.
    ///
    /// # Panics
    ///
    /// Without tokio's timers, if the request is hedged.
    #[must_use = "futures do nothing unless polled"]
    pub struct HedgeFuture<S, Request>
    where
        S: Service<Request>,
    {
        #[pin]
        first: Option<S::Future>,
        #[pin]
        second: Second<S, Request, S::Future>,
        race: Option<Race>,
    }
}

pin_project! {
    #[project = SecondProjection]
    enum Second<S, Request, F> {
        /// Waits until the first has had its time.
        Waiting { #[pin] sleep: Sleep, service: Option<S>, request: Option<Request> },
        /// Awaits readiness.
        Ready { service: S, request: Option<Request> },
        Called { #[pin] response: F },
        /// There is none, or it has failed.
        Over,
    }
}

/// What both tries have in common.
struct Race {
    hedge: Hedge,
    purse: Arc<Purse>,
    started: Instant,
    first: Attempt,
    second: Option<Attempt>,
    /// Where the layer above looks for who was tried.
    whole: Option<Attempt>,
}

impl<S, Q> HedgeFuture<S, Q>
where
    S: Service<Q>,
{
    pub(super) fn single(first: S::Future) -> Self {
        Self { first: Some(first), second: Second::Over, race: None }
    }

    pub(super) fn hedged(
        called: S::Future,
        first: Attempt,
        whole: Option<Attempt>,
        hedge: Hedge,
        purse: Arc<Purse>,
        spare: Option<(Duration, Q, S)>,
    ) -> Self {
        let started = Instant::now();
        let second = spare.map_or(Second::Over, |(delay, request, service)| Second::Waiting {
            sleep: tokio::time::sleep(delay),
            service: Some(service),
            request: Some(request),
        });
        let race = Race { hedge, purse, started, first, second: None, whole };
        Self { first: Some(called), second, race: Some(race) }
    }
}

impl<S, B, R> Future for HedgeFuture<S, Request<B>>
where
    S: Service<Request<B>, Response = Response<R>, Error = Error>,
{
    type Output = Result<Response<R>, Error>;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut failed = None;
        if let Some(first) = this.first.as_mut().as_pin_mut() {
            if let Poll::Ready(result) = first.poll(task) {
                this.first.set(None);
                if is_good(&result) || !this.second.is_under_way() {
                    this.second.set(Second::Over);
                    conclude(this.race, &result, Winner::First);
                    return Poll::Ready(result);
                }
                failed = Some(result);
            }
        }
        // What the first had to say is heard only if the second has nothing better: it is gone
        // by then, and so is its place in flight.
        drop(failed);
        let Poll::Ready(result) = this.second.as_mut().poll(this.race, task) else {
            return Poll::Pending;
        };
        this.second.set(Second::Over);
        if !is_good(&result) && this.first.is_some() {
            return Poll::Pending;
        }
        if let (Some(race), true) = (this.race.as_ref(), is_good(&result)) {
            race.first.overtake();
        }
        this.first.set(None);
        conclude(this.race, &result, Winner::Second);
        Poll::Ready(result)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Winner {
    First,
    Second,
}

/// Tells what was learnt.
fn conclude<R>(race: &mut Option<Race>, result: &Result<Response<R>, Error>, winner: Winner) {
    let Some(race) = race.take() else {
        return;
    };
    if is_good(result) {
        race.hedge.learn(race.started.elapsed());
        if winner == Winner::Second {
            race.purse.hedge_won();
        }
    }
    if let Some(whole) = race.whole {
        whole.adopt(&race.first);
        race.second.iter().for_each(|second| whole.adopt(second));
    }
}

fn is_good<R>(result: &Result<Response<R>, Error>) -> bool {
    result.as_ref().is_ok_and(|response| !asks_for_another(response.status()))
}

impl<S, Q, F> Second<S, Q, F> {
    /// Whether it was sent and has not failed.
    fn is_under_way(&self) -> bool {
        matches!(self, Self::Ready { .. } | Self::Called { .. })
    }
}

impl<S, B, R> Second<S, Request<B>, S::Future>
where
    S: Service<Request<B>, Response = Response<R>, Error = Error>,
{
    fn poll(
        mut self: Pin<&mut Self>,
        race: &mut Option<Race>,
        task: &mut TaskContext<'_>,
    ) -> Poll<Result<Response<R>, Error>> {
        loop {
            match self.as_mut().project() {
                SecondProjection::Waiting { sleep, service, request } => {
                    ready!(sleep.poll(task));
                    let begun = race.as_mut().and_then(|race| race.begin(request.take()?));
                    let next = service.take().zip(begun);
                    self.set(next.map_or(Self::Over, |(service, request)| Self::Ready {
                        service,
                        request: Some(request),
                    }));
                }
                SecondProjection::Ready { service, request } => {
                    if let Err(error) = ready!(service.poll_ready(task)) {
                        return Poll::Ready(Err(error));
                    }
                    let request = request.take().expect("it is called once");
                    let response = service.call(request);
                    self.set(Self::Called { response });
                }
                SecondProjection::Called { response } => return response.poll(task),
                SecondProjection::Over => return Poll::Pending,
            }
        }
    }
}

impl Race {
    /// The request for another endpoint, if there is one and the budget has something left.
    fn begin<B>(&mut self, mut request: Request<B>) -> Option<Request<B>> {
        let extensions = request.extensions_mut();
        if extensions.get::<Recording>().is_some_and(|body| !body.is_complete()) {
            return None;
        }
        let context = extensions.get_or_insert_with(Context::new);
        *context = std::mem::take(context).with_exclude(self.first.endpoint()?);
        let prospect = self.first.prospect(context);
        if !prospect.any || prospect.panic || !self.purse.hedge() {
            return None;
        }
        let second = Attempt::new();
        extensions.insert(second.clone());
        self.second = Some(second);
        Some(request)
    }
}

impl<S, Q> fmt::Debug for HedgeFuture<S, Q>
where
    S: Service<Q>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeFuture")
            .field("first", &self.first.is_some())
            .field("second", &self.second.is_under_way())
            .finish_non_exhaustive()
    }
}
