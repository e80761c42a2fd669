//! Where endpoints come from.
//!
//! A **source** owns a set of endpoints and may change it at any time. A cluster merges its
//! sources: an endpoint belongs to the cluster as long as any source lists it, so a list from a
//! file and one from DNS can stand side by side, and one that replaces its set never removes what
//! another listed.
//!
//! | source | how |
//! |---|---|
//! | a fixed list | [`Cluster::replace`](crate::Cluster::replace), or `endpoints` of a builder |
//! | your own code, at run time | the [`Cluster`](crate::Cluster) handle, or a [`Source`](crate::cluster::Source) of its own |
//! | any stream of changes or of whole sets | [`Cluster::follow`](crate::Cluster::follow) |
//! | streams that are made anew when they break off | [`Cluster::discover`](crate::Cluster::discover), or `discover` of a builder |
//! | tower's [`Discover`](tower::discover::Discover), which brings its own services | [`Cluster::follow_discover`](crate::Cluster::follow_discover) |
//!
//! Whatever a source does, the cluster keeps serving: an error, a refused set, a panic or the end
//! of the stream leaves its last good set in use and is told as an [event](crate::event).
//! [`Cluster::sources`](crate::Cluster::sources) tells how old that set is and what fails.
//!
//! An empty set is refused like any other bad one, unless [`allow_empty`](Options::allow_empty) is
//! set: a source that says "nothing" is more often broken than right. Each set is judged as it was
//! delivered, whatever stands beside it: of an empty set and then an insert, the insert is taken.
//!
//! Of a fleet that is large, a source can keep to a few endpoints: see [`Subsetting`].
//!
//! A source is known by its name: a stream that is followed under the name of one that broke off
//! [goes on](crate::cluster::Source::follow) with what that has listed.
//!
//! Changes that are ready at the same moment are applied together, up to 1024. A storm is gathered:
//! when the changes of a stream have cost more than 5 ms, and a twentieth of the time that has gone
//! by, those that follow wait until that is made up for, at most a second, and are applied together
//! too. So a source keeps about a tenth of a core busy and no more, however fast its changes come: a
//! hundred per second to ten thousand endpoints are seen some 40 ms late, and those to some hundreds
//! of endpoints at once. An error or the end of a stream does not wait.

mod backoff;
#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "kube")]
mod kube;
mod options;
#[cfg(any(feature = "consul", feature = "etcd", feature = "kube"))]
mod remote;
mod subsetting;

use crate::endpoint::{Endpoint, EndpointId};
use crate::error::BoxError;

pub(crate) use self::backoff::Backoff;
pub(crate) use self::options::Empty;
pub(crate) use self::subsetting::Fleet;

#[cfg(feature = "consul")]
pub use self::consul::Consul;
#[cfg(feature = "etcd")]
pub use self::etcd::{Etcd, Registration};
#[cfg(feature = "kube")]
pub use self::kube::{IpFamily, Kube};
pub use self::options::Options;
#[cfg(any(feature = "consul", feature = "etcd", feature = "kube"))]
pub use self::remote::Feed;
pub use self::subsetting::Subsetting;

/// One change to the endpoints of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Adds the endpoint, or changes the description of the one with its id.
    Insert(Endpoint),
    /// Removes the endpoint with this id; one that the source does not list is no error.
    Remove(EndpointId),
    /// Makes these endpoints the source's whole set. Applied as a difference: what stays the same
    /// is not touched. An id that stands in it twice is an error, and nothing changes. So is an
    /// empty set, unless the source may [deliver one](Options::allow_empty).
    Replace(Vec<Endpoint>),
}

/// What a stream delivers: a [`Change`] or an error.
///
/// Made by `From`, so that streams of [`Change`], of whole sets (`Vec<Endpoint>`) and of results
/// of either can be followed as they are.
#[derive(Debug)]
pub struct Update(pub(crate) Result<Change, BoxError>);

impl From<Change> for Update {
    fn from(change: Change) -> Self {
        Self(Ok(change))
    }
}

impl From<Vec<Endpoint>> for Update {
    fn from(endpoints: Vec<Endpoint>) -> Self {
        Self(Ok(Change::Replace(endpoints)))
    }
}

impl<T, E> From<Result<T, E>> for Update
where
    T: Into<Self>,
    E: Into<BoxError>,
{
    fn from(result: Result<T, E>) -> Self {
        result.map_or_else(|error| Self(Err(error.into())), Into::into)
    }
}
