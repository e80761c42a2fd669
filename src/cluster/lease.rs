use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use super::clock;
use crate::endpoint::{Endpoint, EndpointId, Member, Node, Seat};
use crate::error::Error;
use crate::health::{Failure, Outcome};
use crate::load::{Begun, Nanos};

/// One request on one endpoint: proof that it was picked, and its place in the count of requests
/// in flight.
///
/// The request is in flight until the lease is dropped, on every path: success, error,
/// cancellation, panic. [`report`](Self::report) says what was learnt of the endpoint; a lease
/// dropped without a report counts as cancelled.
///
/// ```
/// use whippletree::health::Outcome;
/// use whippletree::{Cluster, Context, Endpoint};
///
/// let cluster = Cluster::builder().connect(|_| ());
/// cluster.insert(Endpoint::new("10.0.0.1:80")?)?;
///
/// let mut lease = cluster.pick(&Context::new())?;
/// assert_eq!(cluster.status().endpoints[0].in_flight, 1);
/// lease.report(Outcome::Success);
/// drop(lease);
/// assert_eq!(cluster.status().endpoints[0].in_flight, 0);
/// # Ok::<(), whippletree::Error>(())
/// ```
#[must_use = "dropping the lease ends the request"]
pub struct Lease<S> {
    guard: LeaseGuard,
    payload: PhantomData<fn() -> S>,
}

/// A [`Lease`] without the endpoint's service: keeps its request in flight until it is dropped.
///
/// One type for all services, so that a response body can hold it without naming them.
#[must_use = "dropping the guard ends the request"]
pub struct LeaseGuard {
    node: Arc<Node>,
    /// When the request was picked, if it is timed: one more than the time, so that no time is 0
    /// and the guard is three words. It is moved with every request.
    begun: Option<NonZeroU64>,
    answered: bool,
    /// Whether this is the one request that an ejected endpoint gets on trial.
    on_trial: bool,
    outcome: Option<Outcome>,
    /// Where its task waits to hear that it has to end.
    seat: Option<Seat>,
}

/// A wait to hear that a request has to end.
struct Forced<'a> {
    node: &'a Node,
    seat: Option<Seat>,
}

impl Drop for Forced<'_> {
    fn drop(&mut self) {
        self.seat.into_iter().for_each(|seat| self.node.leave.give_back(seat));
    }
}

impl<S: 'static> Lease<S> {
    /// Of a request on a node of a `Cluster<S>`.
    pub(super) fn of(guard: LeaseGuard) -> Self {
        Self { guard, payload: PhantomData }
    }

    /// The payload of the endpoint: its service, or whatever the connect closure made.
    #[must_use]
    pub fn service(&self) -> &S {
        let payload = self.guard.node.payload.get();
        payload.expect("a Cluster<S> puts nothing but S into its nodes")
    }

    /// Who was picked.
    #[must_use]
    pub fn id(&self) -> &EndpointId {
        self.guard.id()
    }

    /// The endpoint's description, as it is now.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.guard.node.endpoint()
    }

    /// Says what was learnt of the endpoint. The first report counts, except that a failure
    /// (a body that breaks off) takes the place of an earlier success.
    ///
    /// If the request is timed (see [`Cluster::pick`](super::Cluster::pick)), this is also the
    /// moment of its answer.
    pub fn report(&mut self, outcome: Outcome) {
        self.guard.report(outcome);
    }

    /// As [`report`](Self::report), with the moment given.
    pub fn report_at(&mut self, outcome: Outcome, now: Instant) {
        self.guard.report_at(outcome, || now);
    }

    /// Ends the request without an outcome, as dropping the lease does, with the moment given.
    pub fn cancel_at(mut self, now: Instant) {
        if let (Some(begun), false) = (self.guard.begun(), self.guard.answered) {
            self.guard.give_up(begun, self.guard.node.nanos(now));
            self.guard.begun = None;
        }
    }

    /// Resolves when the request has to end, for its endpoint's [drain](super::Cluster::drain) has
    /// lasted too long; for ever pending, if that does not happen.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the future holds nothing.
    pub async fn forced(&self) {
        self.guard.forced().await;
    }

    /// Gives up the service and keeps the request in flight: what a response body holds.
    pub fn into_guard(self) -> LeaseGuard {
        self.guard
    }
}

impl<S> fmt::Debug for Lease<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.guard).finish()
    }
}

impl LeaseGuard {
    /// Counts a request in on the member's node.
    #[inline]
    pub(super) fn begin(member: &Member, now: Option<Nanos>) -> Result<Self, NotBegun> {
        // In a panic the policy picks endpoints that are on trial.
        Self::begin_on(&member.node, now, member.on_trial && member.node.probation.take())
    }

    /// Of a request that is counted in already.
    #[inline]
    pub(super) fn counted(member: &Member, now: Option<Nanos>) -> Result<Self, NotBegun> {
        let on_trial = member.on_trial && member.node.probation.take();
        Self::unless_drained(Self::of(&member.node, now, on_trial))
    }

    /// As [`begin`](Self::begin), with the slot for the one request on trial already taken; gives it
    /// back if the endpoint is full.
    #[cold]
    pub(super) fn begin_trial(member: &Member, now: Option<Nanos>) -> Result<Self, NotBegun> {
        if let Err(in_flight) = member.node.load.begin_within(member.limit, now) {
            member.node.probation.give_back();
            return Err(overloaded(&member.node, in_flight));
        }
        Self::unless_drained(Self::of(&member.node, now, true))
    }

    #[inline]
    fn begin_on(node: &Arc<Node>, now: Option<Nanos>, on_trial: bool) -> Result<Self, NotBegun> {
        match node.load.begin(now) {
            Ok(Begun::Freely) => Ok(Self::of(node, now, on_trial)),
            Ok(Begun::Drained) => Err(NotBegun::Drained(Self::of(node, now, on_trial))),
            Err(in_flight) => {
                if on_trial {
                    node.probation.give_back();
                }
                Err(overloaded(node, in_flight))
            }
        }
    }

    #[inline]
    fn unless_drained(guard: Self) -> Result<Self, NotBegun> {
        if guard.node.load.is_drained() { Err(NotBegun::Drained(guard)) } else { Ok(guard) }
    }

    /// Of a request that goes elsewhere: it counts as cancelled, without a latency.
    pub(super) fn in_vain(mut self) -> Self {
        self.begun = None;
        self
    }

    /// Whether the request [is forced](Self::is_forced) to end. If not, the task is woken when it is.
    pub(crate) fn poll_forced(&mut self, task: &Task<'_>) -> bool {
        self.node.leave.wait(&mut self.seat, task.waker());
        // After it has sat down: one or the other is seen.
        self.is_forced()
    }

    /// Whether the request has to end, for its endpoint's drain has lasted too long.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.node.leave.is_forced()
    }

    /// Resolves when the request has to end, for its endpoint's [drain](super::Cluster::drain) has
    /// lasted too long; for ever pending, if that does not happen.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the future holds nothing.
    pub async fn forced(&self) {
        let mut wait = Forced { node: &self.node, seat: None };
        poll_fn(|task| {
            self.node.leave.wait(&mut wait.seat, task.waker());
            if self.is_forced() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    #[inline]
    fn of(node: &Arc<Node>, now: Option<Nanos>, on_trial: bool) -> Self {
        let begun = now.and_then(|now| NonZeroU64::new(now.saturating_add(1)));
        let node = Arc::clone(node);
        Self { node, begun, answered: false, on_trial, outcome: None, seat: None }
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// When the request was picked, if it is timed.
    fn begun(&self) -> Option<Nanos> {
        self.begun.map(|begun| begun.get() - 1)
    }

    /// Who was picked.
    #[must_use]
    pub fn id(&self) -> &EndpointId {
        self.node.id()
    }

    /// As [`Lease::report`].
    pub fn report(&mut self, outcome: Outcome) {
        self.report_at(outcome, clock::now);
    }

    /// The response head has arrived and is no failure: the latency is known, the outcome not yet.
    pub(crate) fn answered(&mut self) {
        if let Some(begun) = self.begun() {
            self.answer(begun, self.node.nanos(clock::now()));
        }
        // A trial is passed with the head: a stream that follows may last for hours.
        if std::mem::take(&mut self.on_trial) {
            self.node.end_trial(Some(Outcome::Success));
        }
    }

    fn report_at(&mut self, outcome: Outcome, now: impl FnOnce() -> Instant) {
        let failed = matches!(outcome, Outcome::Failure(_));
        match self.outcome {
            None => {}
            Some(before @ Outcome::Success) if failed => self.node.tally.retract(before),
            Some(_) => return,
        }
        self.outcome = Some(outcome);
        self.node.learn(outcome);
        let Some(begun) = self.begun() else {
            return;
        };
        if !failed && self.answered {
            return;
        }
        let now = self.node.nanos(now());
        if failed {
            self.end_wait(now);
            self.node.load.penalize(begun, now);
        } else {
            self.answer(begun, now);
        }
    }

    /// As [`report`](Self::report), of what must not look as fast as it came.
    ///
    /// With `at_least` it is an answer that counts for this time, the penalty or the time to the
    /// response head, whichever is longest. Without, it is no answer of the endpoint: all that is
    /// known is that one would have taken longer.
    pub(crate) fn report_slow(&mut self, outcome: Outcome, at_least: Option<Duration>) {
        // What was reported before stands, but for a success that turns out to be none.
        let news = matches!(self.outcome, None | Some(Outcome::Success));
        if let Some(begun) = self.begun().filter(|_| news) {
            let now = self.node.nanos(clock::now());
            match at_least {
                None => self.node.load.give_up(begun, now),
                Some(at_least) => {
                    let since = if self.end_wait(now) { begun } else { now };
                    self.node.load.penalize_for(since, now, at_least);
                }
            }
            // Its latency is settled.
            self.begun = None;
        }
        self.report(outcome);
    }

    /// Another endpoint, asked later, has answered first. Once or twice that is chance; in a row
    /// without any answer, it is a failure of this one, which else would hang unseen.
    pub(crate) fn overtaken(&mut self) {
        if self.node.is_overtaken() {
            self.report(Outcome::Failure(Failure::Timeout));
        }
    }

    /// Records the latency of the first answer.
    fn answer(&mut self, begun: Nanos, now: Nanos) {
        if self.end_wait(now) {
            self.node.load.sample(begun, now);
            self.node.keeps_up();
        }
    }

    /// The request ends without an answer. One would have taken longer than this.
    #[cold]
    fn give_up(&mut self, begun: Nanos, now: Nanos) {
        self.node.load.give_up(begun, now);
        if self.outcome.is_none() && self.node.hangs(now.saturating_sub(begun)) {
            self.outcome = Some(Outcome::Failure(Failure::Timeout));
            self.node.learn(Outcome::Failure(Failure::Timeout));
        }
    }

    /// The endpoint owes this request no answer any more; false if it did not before.
    fn end_wait(&mut self, now: Nanos) -> bool {
        let first = !std::mem::replace(&mut self.answered, true);
        if first {
            self.node.load.answer(now);
        }
        first
    }
}

/// What hinders a request that was picked for.
pub(super) enum NotBegun {
    /// The endpoint cannot count any more requests.
    Overloaded(Error),
    /// The endpoint may have begun to drain since it was picked; the request is counted.
    Drained(LeaseGuard),
}

#[cold]
fn overloaded(node: &Node, in_flight: u32) -> NotBegun {
    NotBegun::Overloaded(Error::overloaded(node.id().clone(), in_flight))
}

impl Drop for LeaseGuard {
    #[inline]
    fn drop(&mut self) {
        if self.answered {
            self.node.load.close();
        } else if let Some(begun) = self.begun() {
            self.give_up(begun, self.node.nanos(clock::now()));
        }
        if self.outcome.is_none() {
            self.node.tally.cancel();
        }
        if self.on_trial {
            self.node.end_trial(self.outcome);
        }
        if let Some(seat) = self.seat {
            self.node.leave.give_back(seat);
        }
        self.node.end();
    }
}

impl fmt::Debug for LeaseGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseGuard")
            .field("id", self.node.id())
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}
