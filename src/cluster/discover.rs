//! Streams that are started anew when they break off.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use futures_core::Stream;
use tokio::time::{Sleep, sleep_until};

use super::follower::{Arrival, End, Follower, Poller, Taken};
use super::shared::discard;
use super::source::Source;
use super::{Cluster, clock};
use crate::discover::{Backoff, Options, Update};
use crate::error::Error;

impl<S: Send + Sync + 'static> Cluster<S> {
    /// Follows the streams that `start` makes, one after the other: spawn the future that this
    /// returns. Short for
    /// [`source(options)`](Self::source)[`.discover(start)`](Source::discover), where all is said.
    #[must_use = "the streams are followed by the future: spawn it"]
    pub fn discover<N, F, T>(
        &self,
        options: N,
        start: F,
    ) -> impl Future<Output = ()> + Send + use<S, N, F, T>
    where
        N: Into<Options>,
        F: FnMut() -> T + Send,
        T: Stream + Send,
        T::Item: Into<Update>,
    {
        self.source(options).discover(start)
    }
}

impl Source {
    /// Follows a stream of changes or of whole sets, which `start` makes, and makes anew whenever
    /// it breaks off: spawn the future that this returns.
    ///
    /// Where [`follow`](Self::follow) ends with its stream, this ends only when the last handle of
    /// the cluster is dropped or the source follows another stream. Until a new stream speaks,
    /// what the one before has listed stays in use.
    ///
    /// | the stream | then |
    /// |---|---|
    /// | ends | it is started anew |
    /// | panics, or `start` does | it is started anew |
    /// | tells an error | it is started anew, unless it delivers something good before that is due |
    /// | delivers a set that is refused, like an empty one | it is followed on |
    /// | says nothing | it is followed on: see the [age](super::SourceStatus::age) of what it said last |
    ///
    /// # Delays
    ///
    /// The first delay is 1 s; it doubles up to 60 s, each a fifth shorter or longer at random
    /// (gRPC's connection backoff, with half its maximum). It begins anew with a stream that
    /// delivers something good after others had not, and with one that delivers and lasts longer
    /// than the delay before it. So a source that is back is heard after 72 s at most; and one that
    /// always ends after a set, like `stream::iter`, is asked about once a minute in the long run.
    ///
    /// # Panics
    ///
    /// The future, when there is something to wait for, outside of a tokio runtime with timers.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the following and leaves the last set in use.
    ///
    /// ```
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// # tokio::runtime::Builder::new_current_thread()
    /// #     .enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let mut asked = 0;
    /// // Breaks off at once, the first two times.
    /// let start = move || {
    ///     asked += 1;
    ///     let set = (asked > 2).then(|| vec![Endpoint::new("a:80").unwrap()]);
    ///     tokio_stream::iter(set.ok_or("no route to the registry").into_iter())
    /// };
    /// tokio::spawn(cluster.discover("registry", start));
    /// cluster.available().await;
    /// assert_eq!(cluster.len(), 1);
    /// # });
    /// ```
    #[must_use = "the streams are followed by the future: spawn it"]
    pub fn discover<F, T>(&self, mut start: F) -> impl Future<Output = ()> + Send + use<F, T>
    where
        F: FnMut() -> T + Send,
        T: Stream + Send,
        T::Item: Into<Update>,
    {
        let follower = Follower::of(self);
        async move {
            let mut start = || -> Box<Poller<'_>> {
                let mut stream = Box::pin(start());
                Box::new(move |task: &mut TaskContext<'_>| {
                    let item = stream.as_mut().poll_next(task);
                    item.map(|item| item.map(|update| Arrival::Change(update.into().0)))
                })
            };
            follower.discover(&mut start).await;
        }
    }
}

impl Follower {
    /// Follows one stream after the other.
    async fn discover<'a>(mut self, start: &mut (dyn FnMut() -> Box<Poller<'a>> + Send)) {
        let mut restarts = Restarts::new();
        loop {
            if let Some(end) = self.rest(&mut restarts).await {
                return self.tell(end);
            }
            restarts.backoff.restart(clock::now());
            let end = self.attempt(start, &mut restarts).await;
            if matches!(end, End::Overtaken | End::ClusterDropped) {
                return self.tell(end);
            }
            restarts.backoff.broke_off(clock::now(), || self.draw());
            self.tell(end);
        }
    }

    /// Follows one stream, from its start to its drop, which are the user's code.
    async fn attempt<'a>(
        &mut self,
        start: &mut (dyn FnMut() -> Box<Poller<'a>> + Send),
        restarts: &mut Restarts,
    ) -> End {
        match catch_unwind(AssertUnwindSafe(start)) {
            Ok(mut poll) => {
                let end = self.run(&mut *poll, Some(restarts)).await;
                discard(poll);
                end
            }
            Err(panic) => End::Panicked(Error::panicked("source", &*panic)),
        }
    }

    /// Waits until the next stream is due. Answers why there is to be none.
    async fn rest(&mut self, restarts: &mut Restarts) -> Option<End> {
        poll_fn(|task| match self.over.as_mut().poll(task) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            Poll::Pending if restarts.backoff.due().is_none() => Poll::Ready(None),
            Poll::Pending => restarts.poll_due(task).map(|()| None),
        })
        .await
    }
}

/// When to give a stream up and start the next.
pub(super) struct Restarts {
    backoff: Backoff,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Restarts {
    fn new() -> Self {
        Self { backoff: Backoff::new(clock::now()), sleep: None }
    }

    /// Takes in what a stream has delivered; answers whether it is given up: a stream that tells
    /// one error after the other, maybe without end and without a pause.
    pub(super) fn note(&mut self, taken: &Taken, draw: impl FnOnce() -> u64) -> bool {
        let was_broken = self.backoff.due().is_some();
        if taken.good {
            self.backoff.delivered();
        }
        if taken.broken {
            self.backoff.broke_off(clock::now(), draw);
        }
        was_broken && taken.broken && !taken.good
    }

    /// Ready when the next stream is due; pending for ever if none is.
    pub(super) fn poll_due(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        let Some(due) = self.backoff.due().map(Into::into) else {
            return Poll::Pending;
        };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(task)
    }
}
