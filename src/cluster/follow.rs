use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context as TaskContext, Poll};

use futures_core::Stream;
use tower::discover::{Change as TowerChange, Discover};

use super::batch::merge;
use super::control::{Offer, Services, SourceId, check};
use super::{Cluster, Shared};
use crate::discover::{Change, Empty, Options, Update};
use crate::endpoint::{Endpoint, Payload};
use crate::error::{BoxError, Error};
use crate::event::Event;

/// The most changes that are applied at a time: enough to make one snapshot of a storm, few enough
/// to let a large one be seen before it ends.
const BATCH: usize = 1024;

impl<S: Send + Sync + 'static> Cluster<S> {
    /// Follows a stream of changes or of whole sets, as a [source](crate::discover) of its own:
    /// spawn the future that this returns.
    ///
    /// The future ends when the stream does, or when the last handle of the cluster is dropped. An
    /// error of the stream, a refused set or a panic leaves the last good set in use and becomes
    /// an [event](Event::DiscoveryFailed); after a panic the stream is not polled again.
    ///
    /// `options` are a name, or [more](Options).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the following and leaves the last set in use.
    ///
    /// ```
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let sets = tokio_stream::iter([vec![Endpoint::new("a:80")?], vec![Endpoint::new("b:80")?]]);
    /// cluster.follow("sets", sets).await;
    /// assert_eq!(cluster.status().endpoints[0].endpoint.id().as_str(), "b:80");
    /// # Ok::<(), whippletree::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use = "the stream is followed by the future: spawn it"]
    pub fn follow<N, T>(
        &self,
        options: N,
        stream: T,
    ) -> impl Future<Output = ()> + Send + use<S, N, T>
    where
        N: Into<Options>,
        T: Stream + Send,
        T::Item: Into<Update>,
    {
        let follower = self.follower(options.into());
        async move {
            let mut stream = pin!(stream);
            let poll = |task: &mut TaskContext<'_>| {
                let item = stream.as_mut().poll_next(task);
                item.map(|item| item.map(|update| Arrival::Change(update.into().0)))
            };
            follower.run(poll).await;
        }
    }

    /// Follows tower's [`Discover`], whose endpoints bring their services: spawn the future that
    /// this returns. `describe` says which endpoint a key is.
    ///
    /// Errors, ends and panics are taken as by [`follow`](Self::follow); so is an error of
    /// `describe`.
    #[must_use = "the services are followed by the future: spawn it"]
    pub fn follow_discover<N, D, F>(
        &self,
        options: N,
        discover: D,
        mut describe: F,
    ) -> impl Future<Output = ()> + Send + use<S, N, D, F>
    where
        N: Into<Options>,
        D: Discover<Service = S> + Send,
        D::Error: Into<BoxError>,
        F: FnMut(&D::Key) -> Result<Endpoint, Error> + Send,
    {
        let follower = self.follower(options.into());
        async move {
            let mut discover = pin!(discover);
            let poll = |task: &mut TaskContext<'_>| {
                let item = discover.as_mut().poll_discover(task);
                item.map(|item| item.map(|change| arrival(change, &mut describe)))
            };
            follower.run(poll).await;
        }
    }

    fn follower(&self, options: Options) -> Follower {
        let source = self.shared.control.lock().add_source();
        Follower { shared: Arc::downgrade(&self.shared), source, options }
    }
}

/// One source that is being followed. Does not keep the cluster alive.
struct Follower {
    shared: Weak<Shared>,
    source: SourceId,
    options: Options,
}

/// What a source delivers.
enum Arrival {
    Change(Result<Change, BoxError>),
    /// An endpoint that brings its payload.
    Service(Endpoint, Payload),
}

fn arrival<K, S: Send + Sync + 'static, E: Into<BoxError>>(
    change: Result<TowerChange<K, S>, E>,
    describe: &mut impl FnMut(&K) -> Result<Endpoint, Error>,
) -> Arrival {
    match change {
        Ok(TowerChange::Insert(key, service)) => match describe(&key) {
            Ok(endpoint) => Arrival::Service(endpoint, Payload::new(service)),
            Err(error) => Arrival::Change(Err(error.into())),
        },
        Ok(TowerChange::Remove(key)) => {
            let change = describe(&key).map(|endpoint| Change::Remove(endpoint.id().clone()));
            Arrival::Change(change.map_err(Into::into))
        }
        Err(error) => Arrival::Change(Err(error.into())),
    }
}

impl Follower {
    /// Polls for arrivals and applies those that are ready together, until there are no more.
    async fn run<P>(self, mut poll: P)
    where
        P: FnMut(&mut TaskContext<'_>) -> Poll<Option<Arrival>>,
    {
        let Some(mut version) = self.shared.upgrade().map(|shared| shared.version.subscribe())
        else {
            return;
        };
        let mut dropped = pin!(async move { while version.changed().await.is_ok() {} });
        loop {
            let mut batch = Vec::new();
            let end = poll_fn(|task| match dropped.as_mut().poll(task) {
                Poll::Ready(()) => Poll::Ready(Some(End::ClusterDropped)),
                Poll::Pending => collect(&mut poll, task, &mut batch),
            })
            .await;
            let Some(shared) = self.shared.upgrade() else {
                return;
            };
            let full = batch.len() == BATCH;
            self.apply(&shared, batch);
            match end {
                // A source that is always ready must not keep the thread from others.
                None if full => tokio::task::yield_now().await,
                None => {}
                Some(End::ClusterDropped) => return,
                Some(End::Finished) => {
                    return shared
                        .bus
                        .send(Event::DiscoveryEnded { source: self.options.name.clone() });
                }
                Some(End::Panicked(reason)) => return self.fail(&shared, &reason),
            }
        }
    }

    /// Applies a batch as one snapshot.
    fn apply(&self, shared: &Arc<Shared>, batch: Vec<Arrival>) {
        let mut changes = Vec::with_capacity(batch.len());
        let mut services = Services::new();
        for arrival in batch {
            let checked = match arrival {
                Arrival::Service(endpoint, service) => {
                    let key = (endpoint.id().clone(), endpoint.address().clone());
                    services.insert(key, Offer::Brought(service));
                    Ok(Change::Insert(endpoint))
                }
                Arrival::Change(Ok(Change::Replace(endpoints))) => {
                    self.check(&endpoints).map(|()| Change::Replace(endpoints))
                }
                Arrival::Change(change) => change,
            };
            match checked {
                Ok(change) => changes.push(change),
                Err(error) => self.fail(shared, &*error),
            }
        }
        if changes.is_empty() {
            return;
        }
        for error in shared.commit(self.source, merge(changes), services).errors {
            self.fail(shared, &error);
        }
    }

    /// Refuses a bad set. Each is judged as it was delivered: what a batch amounts to may well be
    /// empty, after removals.
    fn check(&self, endpoints: &[Endpoint]) -> Result<(), BoxError> {
        if endpoints.is_empty() && self.options.empty == Empty::Refused {
            return Err("delivered an empty set, which was refused: allow_empty is off".into());
        }
        check(endpoints).map_err(BoxError::from)
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

/// Why a source delivers no more.
enum End {
    Finished,
    Panicked(Error),
    ClusterDropped,
}

/// Takes what is ready, up to a batch; pending if nothing is.
fn collect<I>(
    poll: &mut impl FnMut(&mut TaskContext<'_>) -> Poll<Option<I>>,
    task: &mut TaskContext<'_>,
    batch: &mut Vec<I>,
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
