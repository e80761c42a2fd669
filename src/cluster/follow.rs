use std::future::Future;
use std::pin::pin;
use std::task::Context as TaskContext;

use futures_core::Stream;
use tower::discover::{Change as TowerChange, Discover};

use super::Cluster;
use super::follower::{Arrival, Follower};
use super::source::Source;
use crate::discover::{Change, Options, Update};
use crate::endpoint::{Endpoint, Payload};
use crate::error::{BoxError, Error};

impl<S: Send + Sync + 'static> Cluster<S> {
    /// Follows a stream of changes or of whole sets: spawn the future that this returns. Short for
    /// [`source(options)`](Self::source)[`.follow(stream)`](Source::follow), where all is said.
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
        self.source(options).follow(stream)
    }

    /// Follows tower's [`Discover`], whose endpoints bring their services: spawn the future that
    /// this returns. `describe` says which endpoint a key is.
    ///
    /// All else is as with [`Source::follow`]; an error of `describe` is one of the stream. A
    /// [subset](Options::subsetting) is not made: the services are there already.
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
        let follower = Follower::of(&self.source(options)).without_subset();
        async move {
            let mut discover = pin!(discover);
            let mut poll = |task: &mut TaskContext<'_>| {
                let item = discover.as_mut().poll_discover(task);
                item.map(|item| item.map(|change| arrival(change, &mut describe)))
            };
            follower.follow(&mut poll).await;
        }
    }
}

impl Source {
    /// Follows a stream of changes or of whole sets: spawn the future that this returns.
    ///
    /// The future ends when the stream does, or when the last handle of the cluster is dropped. An
    /// error of the stream, a refused set or a panic leaves the last good set in use and becomes
    /// an [event](crate::event::Event::DiscoveryFailed); after a panic the stream is not polled
    /// again.
    ///
    /// # One stream after the other
    ///
    /// A source follows one stream at a time. To follow another ends the one before, from this
    /// call on: whatever that still delivers is not taken, and its future ends. What it has listed
    /// stays in use until the new stream speaks. The first whole set of the new stream then
    /// replaces it, as any set does; a stream of single changes adds to it, and what is not removed
    /// one by one stays until [`withdraw`](Self::withdraw).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the following and leaves the last set in use.
    ///
    /// ```
    /// use tokio_stream::iter;
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let registry = cluster.source("registry");
    /// registry.follow(iter([vec![Endpoint::new("a:80")?, Endpoint::new("b:80")?]])).await;
    /// assert_eq!(cluster.len(), 2, "the stream has ended, its set stays");
    ///
    /// // Connected anew: what is gone since is gone here too.
    /// registry.follow(iter([vec![Endpoint::new("b:80")?]])).await;
    /// assert_eq!(cluster.len(), 1);
    /// # Ok::<(), whippletree::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use = "the stream is followed by the future: spawn it"]
    pub fn follow<T>(&self, stream: T) -> impl Future<Output = ()> + Send + use<T>
    where
        T: Stream + Send,
        T::Item: Into<Update>,
    {
        let follower = Follower::of(self);
        async move {
            let mut stream = pin!(stream);
            let mut poll = |task: &mut TaskContext<'_>| {
                let item = stream.as_mut().poll_next(task);
                item.map(|item| item.map(|update| Arrival::Change(update.into().0)))
            };
            follower.follow(&mut poll).await;
        }
    }
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
