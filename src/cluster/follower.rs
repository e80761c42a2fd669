//! A stream that is being followed: when it is polled, and what becomes of what it delivers.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context as TaskContext, Poll};

use super::Shared;
use super::batch::merge;
use super::control::{Offer, Services, check};
use super::registry::Origin;
use super::shared::discard;
use super::source::Source;
use crate::discover::{Change, Empty, Options};
use crate::endpoint::{Endpoint, Payload};
use crate::error::{BoxError, Error};
use crate::event::Event;

/// The most changes that are applied at a time: enough to make one snapshot of a storm, few enough
/// to let a large one be seen before it ends.
const BATCH: usize = 1024;

/// What a stream delivers.
pub(super) enum Arrival {
    Change(Result<Change, BoxError>),
    /// An endpoint that brings its payload.
    Service(Endpoint, Payload),
}

/// How a stream is asked for the next.
pub(super) type Poller<'a> = dyn FnMut(&mut TaskContext<'_>) -> Poll<Option<Arrival>> + Send + 'a;

/// Why a stream is followed no longer.
pub(super) enum End {
    Finished,
    Panicked(Error),
    /// The source follows another stream.
    Overtaken,
    ClusterDropped,
}

/// A source that is being followed. Does not keep the cluster alive.
pub(super) struct Follower {
    shared: Weak<Shared>,
    origin: Weak<Origin>,
    options: Options,
    /// Which following of this source it is.
    turn: u64,
    /// Ready when that is no longer the last one.
    over: Pin<Box<dyn Future<Output = End> + Send>>,
}

impl Follower {
    /// Takes the turn from whoever follows the source so far.
    pub(super) fn of(source: &Source) -> Self {
        let mut turn = 0;
        source.origin.turn.send_modify(|last| {
            *last += 1;
            turn = *last;
        });
        let mut last = source.origin.turn.subscribe();
        let over = async move {
            let overtaken = last.wait_for(|last| *last != turn).await.is_ok();
            if overtaken { End::Overtaken } else { End::ClusterDropped }
        };
        Self {
            shared: Arc::downgrade(&source.shared),
            origin: Arc::downgrade(&source.origin),
            options: source.options.clone(),
            turn,
            over: Box::pin(over),
        }
    }

    /// Follows a stream to its end.
    pub(super) async fn follow(mut self, poll: &mut Poller<'_>) {
        let end = self.run(poll).await;
        self.tell(end);
    }

    /// Polls for arrivals and applies those that are ready together, until there are no more.
    async fn run(&mut self, poll: &mut Poller<'_>) -> End {
        loop {
            let mut batch = Vec::new();
            let end = poll_fn(|task| match self.over.as_mut().poll(task) {
                Poll::Ready(end) => Poll::Ready(Some(end)),
                Poll::Pending => collect(poll, task, &mut batch),
            })
            .await;
            let full = batch.len() == BATCH;
            self.apply(batch);
            match end {
                // A source that is always ready must not keep the thread from others.
                None if full => tokio::task::yield_now().await,
                None => {}
                Some(end) => return end,
            }
        }
    }

    /// Applies a batch as one snapshot.
    fn apply(&self, batch: Vec<Arrival>) {
        let (Some(shared), Some(origin)) = (self.shared.upgrade(), self.origin.upgrade()) else {
            return discard(batch);
        };
        let is_my_turn = || *origin.turn.borrow() == self.turn;
        if !is_my_turn() {
            return discard(batch);
        }
        let mut changes = Vec::with_capacity(batch.len());
        let mut services = Services::new();
        for arrival in batch {
            match self.accept(arrival, &mut services) {
                Ok(change) => changes.push(change),
                Err(error) => self.fail(&shared, &*error),
            }
        }
        if changes.is_empty() {
            return;
        }
        for error in shared.commit_if(&is_my_turn, origin.id, merge(changes), services).errors {
            self.fail(&shared, &error);
        }
        origin.has_spoken();
    }

    /// Refuses a bad set. Each is judged as it was delivered: what a batch amounts to may well be
    /// empty, after removals.
    fn accept(&self, arrival: Arrival, services: &mut Services) -> Result<Change, BoxError> {
        match arrival {
            Arrival::Service(endpoint, service) => {
                let key = (endpoint.id().clone(), endpoint.address().clone());
                services.insert(key, Offer::Brought(service));
                Ok(Change::Insert(endpoint))
            }
            Arrival::Change(Ok(Change::Replace(endpoints))) => {
                if endpoints.is_empty() && self.options.empty == Empty::Refused {
                    let reason = "delivered an empty set, which was refused: allow_empty is off";
                    return Err(reason.into());
                }
                check(&endpoints)?;
                Ok(Change::Replace(endpoints))
            }
            Arrival::Change(change) => change,
        }
    }

    fn tell(&self, end: End) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        match end {
            End::Finished | End::Overtaken => {
                let source = Arc::clone(&self.options.name);
                shared.bus.send(Event::DiscoveryEnded { source });
            }
            End::Panicked(error) => self.fail(&shared, &error),
            End::ClusterDropped => {}
        }
    }

    fn fail(&self, shared: &Shared, error: &dyn std::error::Error) {
        let reason = with_causes(error).into();
        shared.bus.send(Event::DiscoveryFailed { source: self.options.name.clone(), reason });
    }
}

/// The whole chain of an error in one line, for an event carries no error.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// Takes what is ready, up to a batch; pending if nothing is.
fn collect(
    poll: &mut Poller<'_>,
    task: &mut TaskContext<'_>,
    batch: &mut Vec<Arrival>,
) -> Poll<Option<End>> {
    while batch.len() < BATCH {
        match catch_unwind(AssertUnwindSafe(|| poll(task))) {
            Ok(Poll::Ready(Some(item))) => batch.push(item),
            Ok(Poll::Ready(None)) => return Poll::Ready(Some(End::Finished)),
            Ok(Poll::Pending) if batch.is_empty() => return Poll::Pending,
            Ok(Poll::Pending) => break,
            Err(panic) => {
                return Poll::Ready(Some(End::Panicked(Error::panicked("source", &*panic))));
            }
        }
    }
    Poll::Ready(None)
}
