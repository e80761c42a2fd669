//! Whether a request is sent again: the one place that decides.

use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use tower::retry::Policy;

use super::replay::Recording;
use super::{Deadline, Failover, Pause, asks_for_another, is_idempotent};
use crate::balance::ServedBy;
use crate::cluster::{Attempt, Context};
use crate::endpoint::EndpointId;
use crate::error::Error;
use crate::health::retry_after;

/// What became of one request so far. Every request has a clone of the policy, with its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    retries: u32,
    /// Whether a try that was followed by a retry may have been executed.
    executed: bool,
    /// The exclusions that the request came with, once ours stand behind them.
    asked: Option<usize>,
    /// Whether our exclusions were given up.
    relaxed: bool,
    /// The longest that an endpoint has asked to be left alone.
    wait: Duration,
}

/// How a try went wrong.
struct Failed {
    executed: bool,
    /// How long its endpoint asks to be left alone.
    wait: Duration,
}

impl<B: Clone, R> Policy<Request<B>, Response<R>, Error> for Failover {
    type Future = Pause;

    fn retry(
        &mut self,
        request: &mut Request<B>,
        result: &mut Result<Response<R>, Error>,
    ) -> Option<Pause> {
        let unpicked = result.as_ref().is_err_and(Error::is_no_endpoint);
        let pause = if unpicked { self.relax(request) } else { self.again(request, result) };
        if pause.is_none() {
            self.explain(result);
        }
        pause.map(Pause::new)
    }

    /// Called once per try, before it is made.
    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        if self.session.retries == 0 {
            self.purse.deposit();
        }
        (self.rules.attempts > 1).then(|| request.clone())
    }
}

impl Failover {
    /// Decides on a retry, and on the pause before it. `None` leaves the result as it is.
    fn again<B, R>(
        &mut self,
        request: &mut Request<B>,
        result: &Result<Response<R>, Error>,
    ) -> Option<Duration> {
        let failed = failure(result)?;
        let spent = self.session.retries + 1 >= self.rules.attempts || self.session.relaxed;
        if spent || failed.executed && !is_idempotent(request) || is_lost(request) {
            return None;
        }
        let pause = self.elsewhere(request, result, &failed)?;
        if is_too_late(request, pause) || !self.purse.retry() {
            return None;
        }
        self.session.retries += 1;
        self.session.executed |= failed.executed;
        Some(pause)
    }

    /// Rules out the endpoints that were tried, if others are left.
    fn elsewhere<B, R>(
        &mut self,
        request: &mut Request<B>,
        result: &Result<Response<R>, Error>,
        failed: &Failed,
    ) -> Option<Duration> {
        let attempt = request.extensions().get::<Attempt>().cloned();
        let context = request.extensions_mut().get_or_insert_with(Context::new);
        let asked = *self.session.asked.get_or_insert(context.excluded().len());
        for id in tried(attempt.as_ref(), result) {
            if !context.excluded().contains(&id) {
                *context = std::mem::take(context).with_exclude(id);
            }
        }
        self.session.wait = self.session.wait.max(failed.wait);
        let pause = self.pause(self.session.retries);
        let Some(attempt) = attempt else {
            return Some(pause);
        };
        let prospect = attempt.prospect(context);
        if prospect.panic && failed.executed {
            return None;
        }
        if prospect.any {
            return Some(pause);
        }
        context.keep_excluded(asked);
        self.session.relaxed = true;
        // An endpoint that is drained does not take back what it has cut.
        if result.as_ref().is_err_and(Error::is_drained) && !attempt.prospect(context).any {
            return None;
        }
        self.patient(pause)
    }

    /// Nothing was picked. If that is for our exclusions, once more without them; nothing was
    /// sent, so that this is no try.
    fn relax<B>(&mut self, request: &mut Request<B>) -> Option<Duration> {
        let asked = self.session.asked?;
        let context = request.extensions_mut().get_mut::<Context>()?;
        if self.session.relaxed || context.excluded().len() <= asked {
            return None;
        }
        context.keep_excluded(asked);
        self.session.relaxed = true;
        self.patient(Duration::ZERO).filter(|pause| !is_too_late(request, *pause))
    }

    /// A pause before an endpoint is asked again that was tried, unless it asked for a longer one
    /// than there is patience for.
    fn patient(&self, pause: Duration) -> Option<Duration> {
        let wait = self.session.wait;
        (wait <= self.rules.patience).then_some(pause.max(wait))
    }

    /// Lets a final error tell of the tries before it.
    fn explain<R>(&self, result: &mut Result<Response<R>, Error>) {
        let Session { retries, executed, .. } = self.session;
        if retries == 0 {
            return;
        }
        if let Err(error) = result {
            let tries = retries + u32::from(!error.is_no_endpoint());
            let cause = std::mem::replace(error, Error::silent(None, Duration::ZERO));
            *error = cause.after(tries, executed);
        }
    }
}

/// What calls for another try, if the request may be sent again.
fn failure<R>(result: &Result<Response<R>, Error>) -> Option<Failed> {
    match result {
        Ok(response) => asks_for_another(response.status())
            .then(|| Failed { executed: true, wait: retry_after(response.headers()) }),
        // Overload, or a fault of the caller's own code: it would be the same again, or worse.
        Err(error) if !error.is_service() && !error.is_timeout() && !error.is_drained() => None,
        Err(error) => Some(Failed { executed: !error.is_not_executed(), wait: Duration::ZERO }),
    }
}

fn tried<R>(attempt: Option<&Attempt>, result: &Result<Response<R>, Error>) -> Vec<EndpointId> {
    let mut tried = attempt.map(Attempt::take_picks).unwrap_or_default();
    tried.extend(match result {
        Ok(response) => response.extensions().get().map(|ServedBy(id)| id.clone()),
        Err(error) => error.endpoint().cloned(),
    });
    tried
}

/// Whether a part of the body is gone.
fn is_lost<B>(request: &Request<B>) -> bool {
    request.extensions().get().is_some_and(Recording::is_lost)
}

fn is_too_late<B>(request: &Request<B>, pause: Duration) -> bool {
    let deadline = request.extensions().get::<Deadline>();
    // Tokio's clock, which tests may stop.
    deadline.is_some_and(|Deadline(end)| *end <= Instant::now().into_std() + pause)
}
