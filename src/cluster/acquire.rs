use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

use super::context::{Context, IfFull};
use super::lease::Lease;
use super::line::{After, Grant, Places, Ticket};
use super::queue::Queue;
use super::{Shared, clock};
use crate::error::{Crowd, Error};

/// An endpoint that is waited for: [`Cluster::acquire`](super::Cluster::acquire).
///
/// # Cancel safety
///
/// Dropping it leaves the queue; a slot that was granted meanwhile goes to the next.
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<S> {
    state: State,
    payload: PhantomData<fn() -> S>,
}

enum State {
    Done(Option<Grant>),
    /// Boxed, because most never wait.
    Waits(Box<Seat>),
}

/// A place in the line.
struct Seat {
    shared: Arc<Shared>,
    ticket: Ticket,
    context: Context,
    since: Instant,
    until: Instant,
    /// When the request no longer waits for the endpoint that it prefers, but for any.
    divert_at: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
}

impl<S: 'static> Acquire<S> {
    pub(super) fn of(admission: Result<Grant, Waiting>) -> Self {
        let state = match admission {
            Ok(grant) => State::Done(Some(grant)),
            Err(Waiting(seat)) => State::Waits(seat),
        };
        Self { state, payload: PhantomData }
    }

    /// What it has come to, if it need not wait.
    pub(crate) fn now(self) -> Result<Result<Lease<S>, Error>, Self> {
        match self.state {
            State::Done(Some(grant)) => Ok(grant.map(Lease::of)),
            _ => Err(self),
        }
    }
}

impl<S: 'static> Future for Acquire<S> {
    type Output = Result<Lease<S>, Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let grant = match &mut self.state {
            State::Done(grant) => grant.take().expect("a future is not polled after its end"),
            State::Waits(seat) => match seat.poll(task) {
                Poll::Ready(grant) => grant,
                Poll::Pending => return Poll::Pending,
            },
        };
        self.state = State::Done(None);
        Poll::Ready(grant.map(Lease::of))
    }
}

/// A request that stands in line.
pub(super) struct Waiting(Box<Seat>);

impl Shared {
    /// Picks an endpoint, or puts the request in line if there is one to stand in.
    pub(super) fn admit(
        self: &Arc<Self>,
        context: &Context,
        now: Instant,
    ) -> Result<Grant, Waiting> {
        match self.line.queue {
            None => Ok(self.pick(context, Some(now))),
            Some(queue) => self.admit_in_turn(queue, context, now),
        }
    }

    fn admit_in_turn(
        self: &Arc<Self>,
        queue: Queue,
        context: &Context,
        now: Instant,
    ) -> Result<Grant, Waiting> {
        let divert_at = context.diverted_at(now);
        let if_full = if divert_at.is_some() { IfFull::Wait } else { IfFull::Divert };
        if !self.line.is_occupied() {
            match self.pick_at_once(context, Some(now), if_full) {
                Err(error) if error.is_overloaded() => {}
                grant => return Ok(grant),
            }
        }
        let longest = now.checked_add(queue.time()).unwrap_or(now + FOR_EVER);
        let until = context.deadline.map_or(longest, |deadline| deadline.min(longest));
        let first = divert_at.map_or(until, |at| at.min(until));
        let Some(sleep) = timer(first).filter(|_| until > now) else {
            return Ok(self.pick(context, Some(now)));
        };
        let shared = Arc::clone(self);
        self.join(queue.most(), context, if_full, now).map_err(|ticket| {
            let context = context.clone();
            let divert_at = divert_at.filter(|at| *at < until);
            Waiting(Box::new(Seat { shared, ticket, context, since: now, until, divert_at, sleep }))
        })
    }

    /// Puts a request at the end of the line, unless there is a slot for it, or no place.
    fn join(
        self: &Arc<Self>,
        most: usize,
        context: &Context,
        if_full: IfFull,
        now: Instant,
    ) -> Result<Grant, Ticket> {
        let now = Some(now);
        self.line.with(|places, after| {
            let waiting = places.len();
            if waiting >= most {
                let grant = self.take(places, after, Ticket::MAX, context, IfFull::Divert, now);
                places.counts.refused += u64::from(is_overload(&grant));
                return Ok(grant.map_err(|error| too_many(error, waiting)));
            }
            let ticket = places.push(context, if_full);
            self.watch();
            let grant = self.take(places, after, ticket, context, if_full, now);
            if is_overload(&grant) {
                places.counts.queued += 1;
                return Err(ticket);
            }
            places.remove(ticket);
            Ok(grant)
        })
    }
}

impl Context {
    /// When the request is diverted from the endpoint that it prefers, if it waits for that at all.
    fn diverted_at(&self, now: Instant) -> Option<Instant> {
        let time = self.prefer_wait.filter(|time| self.prefer.is_some() && !time.is_zero())?;
        Some(now.checked_add(time).unwrap_or(now + FOR_EVER))
    }
}

impl Seat {
    fn poll(&mut self, task: &mut TaskContext<'_>) -> Poll<Grant> {
        // Cloned and dropped outside the lock: a waker is somebody else's code.
        let waker = task.waker().clone();
        let polled = self.shared.line.with(|places, _| places.poll(self.ticket, waker));
        if let Ok(grant) = polled {
            return Poll::Ready(grant);
        }
        while self.sleep.as_mut().poll(task).is_ready() {
            let grant = match self.divert_at.take() {
                Some(_) => self.divert(),
                None => Some(self.give_up()),
            };
            if let Some(grant) = grant {
                return Poll::Ready(grant);
            }
            self.sleep.as_mut().reset(self.until.into());
        }
        Poll::Pending
    }

    /// The time for the preferred endpoint is over: from now on any will do.
    fn divert(&mut self) -> Option<Grant> {
        let grant = self.shared.line.with(|places, after| {
            places.divert(self.ticket);
            self.look_again(places, after)
        });
        if is_overload(&grant) { None } else { Some(grant) }
    }

    /// The time is over.
    fn give_up(&mut self) -> Grant {
        let (grant, _left) = self.shared.line.with(|places, after| {
            let grant = self.look_again(places, after);
            places.counts.timed_out += u64::from(is_overload(&grant));
            (grant, places.remove(self.ticket))
        });
        grant.map_err(|error| match error.full_endpoints() {
            Some(endpoints) => {
                let waited = clock::now().saturating_duration_since(self.since);
                Error::crowded(Crowd::TooLong { endpoints, waited })
            }
            None => error,
        })
    }

    /// What was granted meanwhile, or else what there is now.
    fn look_again(&self, places: &mut Places, after: &mut After) -> Grant {
        if let Some(grant) = places.fetch(self.ticket) {
            return grant;
        }
        let now = Some(clock::now());
        self.shared.take(places, after, self.ticket, &self.context, IfFull::Divert, now)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A lease that was granted ends here, without the lock, and its slot is the next one's.
        let _left = self.shared.line.with(|places, _| places.remove(self.ticket));
    }
}

impl<S> fmt::Debug for Acquire<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Done(Some(Ok(_))) => "found an endpoint",
            State::Done(Some(Err(_))) => "found none",
            State::Done(None) => "is over",
            State::Waits(_) => "waits",
        };
        f.debug_struct("Acquire").field("state", &state).finish_non_exhaustive()
    }
}

fn is_overload(grant: &Grant) -> bool {
    grant.as_ref().is_err_and(Error::is_overloaded)
}

/// The error of a request that finds so many in line before it.
fn too_many(error: Error, waiting: usize) -> Error {
    match error.full_endpoints() {
        Some(endpoints) => Error::crowded(Crowd::QueueFull { endpoints, waiting }),
        None => error,
    }
}

/// A time that nobody waits for and that every clock can tell.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// A timer, if this is a tokio runtime whose timers are enabled; it panics where there are none.
pub(super) fn timer(at: Instant) -> Option<Pin<Box<Sleep>>> {
    tokio::runtime::Handle::try_current().ok()?;
    catch_unwind(AssertUnwindSafe(|| Box::pin(sleep_until(at.into())))).ok()
}
