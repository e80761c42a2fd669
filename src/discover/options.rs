use std::sync::Arc;

use super::Subsetting;

/// A source's name, and how what it delivers is taken.
///
/// Whatever asks for these takes a name as well, which is all defaults:
/// `cluster.follow("dns", stream)`.
///
/// ```
/// use whippletree::discover::Options;
/// use whippletree::{Cluster, Endpoint};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let sets = || tokio_stream::iter([vec![Endpoint::new("a:80").unwrap()], vec![]]);
/// let cluster = Cluster::builder().connect(|_| ());
/// cluster.follow("dns", sets()).await;
/// assert_eq!(cluster.len(), 1, "the empty set was refused");
///
/// let cluster = Cluster::builder().connect(|_| ());
/// cluster.follow(Options::new("dns").allow_empty(), sets()).await;
/// assert_eq!(cluster.len(), 0);
/// # Ok::<(), whippletree::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) name: Arc<str>,
    pub(crate) empty: Empty,
    pub(crate) subsetting: Option<Subsetting>,
}

/// What becomes of an empty set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Empty {
    Refused,
    Allowed,
}

impl Options {
    /// All defaults. The name stands in events and in the status.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), empty: Empty::Refused, subsetting: None }
    }

    /// Takes an empty set at its word: it withdraws all that the source lists. Default: it is
    /// refused, and the last good set stays in use.
    ///
    /// For sources whose "nothing" is certain. A name service that was emptied by mistake, a file
    /// that was just truncated and a registry that has only just started say "nothing" too.
    ///
    /// Only whole sets are meant: a stream of single changes may always remove one endpoint after
    /// the other, up to the last.
    #[must_use]
    pub fn allow_empty(mut self) -> Self {
        self.empty = Empty::Allowed;
        self
    }

    /// Lists only a [subset](Subsetting) of what streams deliver; `None`, the default, lists all.
    ///
    /// Streams say what the fleet is, and are judged by that: an empty set, an id that stands twice.
    /// What is [inserted](crate::cluster::Source::insert) or [replaced](crate::cluster::Source::replace)
    /// by hand is listed as it is, until the stream says a whole set. Of a
    /// [tower `Discover`](crate::Cluster::follow_discover), whose services are there already, all
    /// are listed, which an [event](crate::event::Event::DiscoveryFailed) tells.
    ///
    /// ```
    /// use whippletree::discover::{Options, Subsetting};
    /// use whippletree::{Cluster, Endpoint};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let fleet: Vec<Endpoint> =
    ///     (0..100).map(|n| Endpoint::new(format!("10.0.0.{n}:80"))).collect::<Result<_, _>>()?;
    /// let cluster = Cluster::builder().connect(|_| ());
    /// let options = Options::new("dns").subsetting(Subsetting::random(20)?.client("web-7"));
    /// cluster.follow(options, tokio_stream::iter([fleet])).await;
    /// assert_eq!(cluster.len(), 20);
    /// assert_eq!((cluster.sources()[0].endpoints, cluster.sources()[0].fleet), (20, 100));
    /// # Ok::<(), whippletree::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn subsetting(mut self, subsetting: impl Into<Option<Subsetting>>) -> Self {
        self.subsetting = subsetting.into();
        self
    }
}

impl<N: Into<Arc<str>>> From<N> for Options {
    fn from(name: N) -> Self {
        Self::new(name)
    }
}
