//! A stream that is being followed: when it is polled, and what becomes of what it delivers.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context as TaskContext, Poll};

use tokio::task::unconstrained;

use super::batch::merge;
use super::control::{Offer, Services};
use super::discover::Restarts;
use super::gather::Gathered;
use super::membership::check;
use super::registry::Origin;
use super::rest::Rest;
use super::shared::discard;
use super::source::Source;
use super::{Shared, clock};
use crate::discover::{Change, Empty, Options};
use crate::endpoint::{Endpoint, Payload};
use crate::error::{BoxError, Error};
use crate::event::Event;

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
    /// It told an error and has not recovered.
    GivenUp,
    /// The source follows another stream.
    Overtaken,
    ClusterDropped,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Taken {
    /// Whether anything was taken.
    pub(super) good: bool,
    /// Whether the stream told an error, and nothing that could be taken after it.
    pub(super) broken: bool,
}

/// What is left of a batch without what is refused.
#[derive(Default)]
struct Sifted {
    changes: Vec<Change>,
    services: Services,
    /// How much was refused after the last change.
    failures: u64,
    /// Whether an error of the stream was among that.
    broken: bool,
}

/// A source that is being followed. Does not keep the cluster alive.
pub(super) struct Follower {
    shared: Weak<Shared>,
    origin: Weak<Origin>,
    options: Options,
    /// Which following of this source it is.
    turn: u64,
    /// Ready when that is no longer the last one.
    pub(super) over: Pin<Box<dyn Future<Output = End> + Send>>,
    /// Whether the present stream has delivered anything, be it an error.
    has_spoken: bool,
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
            has_spoken: false,
        }
    }

    /// Takes all that the stream delivers, and tells so where a subset was asked for.
    pub(super) fn without_subset(mut self) -> Self {
        if self.options.subsetting.take().is_some() {
            if let (Some(shared), Some(origin)) = (self.shared.upgrade(), self.origin.upgrade()) {
                let reason = "cannot be done with services that are there already";
                let error = Error::config("subsetting", &self.options.name, reason);
                self.fail(&shared, &origin, &error);
            }
        }
        self
    }

    /// Follows a stream to its end.
    pub(super) async fn follow(mut self, poll: &mut Poller<'_>) {
        let end = self.run(poll, None).await;
        self.tell(end);
    }

    /// Polls for arrivals and applies those that are ready together, until there are no more, or
    /// the stream is to be started anew.
    pub(super) async fn run(
        &mut self,
        poll: &mut Poller<'_>,
        mut restarts: Option<&mut Restarts>,
    ) -> End {
        self.has_spoken = false;
        let mut rest = Rest::new();
        loop {
            let mut batch = Gathered::default();
            let mut due = |task: &mut TaskContext<'_>| match restarts.as_deref_mut() {
                Some(restarts) => restarts.poll_due(task).map(|()| Some(End::GivenUp)),
                None => Poll::Pending,
            };
            let next = poll_fn(|task| match self.over.as_mut().poll(task) {
                Poll::Ready(end) => Poll::Ready(Some(end)),
                Poll::Pending => match batch.gather(poll, task, &mut rest) {
                    Poll::Pending if batch.is_empty() => due(task),
                    gathered => gathered,
                },
            });
            // Batches have an end of their own: tokio's channels shall hand out all they have.
            let end = unconstrained(next).await;
            let (full, start) = (batch.is_full(), clock::now());
            self.has_spoken |= !batch.is_empty();
            let taken = self.apply(batch.arrivals);
            if !full {
                rest.after(start);
            }
            let gives_up = |restarts: &mut Restarts| restarts.note(&taken, || self.draw());
            let given_up = restarts.as_deref_mut().is_some_and(gives_up);
            match end {
                Some(end) => return end,
                None if given_up => return End::GivenUp,
                // A source that is always ready must not keep the thread from others.
                None if full => tokio::task::yield_now().await,
                None => {}
            }
        }
    }

    /// Applies a batch as one snapshot.
    fn apply(&self, batch: Vec<Arrival>) -> Taken {
        let (Some(shared), Some(origin)) = (self.shared.upgrade(), self.origin.upgrade()) else {
            discard(batch);
            return Taken::default();
        };
        let is_my_turn = || *origin.turn.borrow() == self.turn;
        if !is_my_turn() {
            discard(batch);
            return Taken::default();
        }
        let Sifted { changes, services, failures, broken } = self.sift(batch, |error| {
            self.fail(&shared, &origin, error);
        });
        if changes.is_empty() {
            return Taken { good: false, broken };
        }
        let changes = origin.narrow(self.options.subsetting.as_ref(), merge(changes));
        let count = changes.len();
        let errors = shared.commit_if(&is_my_turn, origin.id, changes, services).errors;
        // Nothing, where the members of a subset stay as they are.
        let good = errors.len() < count || count == 0;
        if good {
            origin.has_delivered(clock::now(), failures);
        }
        errors.iter().for_each(|error| self.fail(&shared, &origin, error));
        Taken { good, broken }
    }

    /// Keeps what can be taken and tells what cannot.
    fn sift(&self, batch: Vec<Arrival>, tell: impl Fn(&dyn std::error::Error)) -> Sifted {
        let mut sifted = Sifted::default();
        for arrival in batch {
            let is_error = matches!(arrival, Arrival::Change(Err(_)));
            match self.accept(arrival, &mut sifted.services) {
                Ok(change) => {
                    sifted.changes.push(change);
                    (sifted.failures, sifted.broken) = (0, false);
                }
                Err(error) => {
                    tell(&*error);
                    sifted.failures += 1;
                    sifted.broken |= is_error;
                }
            }
        }
        sifted
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

    /// Tells why a stream is followed no longer.
    pub(super) fn tell(&self, end: End) {
        let (Some(shared), Some(origin)) = (self.shared.upgrade(), self.origin.upgrade()) else {
            return;
        };
        if matches!(end, End::Finished) && !self.has_spoken {
            origin.has_failed("the stream ended before it had delivered anything".into());
        }
        match end {
            End::Panicked(error) => self.fail(&shared, &origin, &error),
            End::Finished | End::Overtaken => {
                let source = Arc::clone(&self.options.name);
                shared.bus.send(Event::DiscoveryEnded { source });
            }
            End::GivenUp | End::ClusterDropped => {}
        }
    }

    /// A number at random; the same in every run of a seeded cluster.
    pub(super) fn draw(&self) -> u64 {
        self.shared.upgrade().map_or(0, |shared| shared.random.next())
    }

    fn fail(&self, shared: &Shared, origin: &Origin, error: &dyn std::error::Error) {
        let reason: Arc<str> = with_causes(error).into();
        origin.has_failed(Arc::clone(&reason));
        let source = Arc::clone(&self.options.name);
        shared.bus.send(Event::DiscoveryFailed { source, reason });
    }
}

/// The whole chain of an error in one line, for an event carries no error.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
